"""Activations φ of assumption A-5 and the constants that the width theorems ask of them.

from kltheory.activation import get
phi = get("tanh")
phi.phi(z), phi.dphi(z), phi.d2phi(z)      # arrays in, arrays out, finite for every finite z
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kltheory.errors import InputError, brief

if TYPE_CHECKING:
    from kltheory.activation_branches import Branches
    from kltheory.activation_constants import ActivationConstants

__all__ = ["ACTIVATIONS", "Activation", "OneBranch", "get"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class OneBranch:
    """What is proved of a φ with φ' ≠ 0 on ℝ: its image, and what keeps it from 0."""

    infimum: tuple[Decimal, Decimal] | None
    """Two ends around inf φ; None: -∞."""
    supremum: tuple[Decimal, Decimal] | None
    """Two ends around sup φ; None: ∞."""
    never_zero: bool
    """Whether φ ≠ 0 on ℝ, and no neuron can reach φ = 0 in the limit either."""
    levels: tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]
    """For x > 0 and x < 0: pairs (z, g) with |∫ 2φ/φ'| ≥ g from the zero of φ to ±z."""


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation φ with the derivatives that a network and its Jacobian need."""

    name: str
    """How it is asked for: one of `ACTIVATIONS`, or the text or name of a user's φ."""
    formula: str
    """φ as text in x."""
    phi: Function
    """φ, elementwise."""
    dphi: Function
    """φ', elementwise."""
    d2phi: Function | None
    """φ'', elementwise; None where the user gave only φ and φ'."""
    slope_bound: tuple[float, str] | None = None
    """sup|φ'| of a user's φ, and where it comes from; None for a built-in one."""
    curvature_bound: tuple[float, str] | None = None
    """Lip(φ') of a user's φ, and where it comes from; None for a built-in one."""
    enclosed: ActivationConstants | None = None
    """The constants of a user's φ, where they are proved."""
    monotone: OneBranch | str = "only a φ given as text is examined for its branches"
    """What is proved of a user's φ that is monotone, or why nothing is."""

    @property
    def proved(self) -> bool:
        """Whether the constants of this φ have proved enclosures."""
        return self.built_in or self.enclosed is not None

    @property
    def built_in(self) -> bool:
        """Whether this is one of `ACTIVATIONS`."""
        return self.slope_bound is None

    @property
    def constants(self) -> ActivationConstants:
        """B1, B2, C_φ, C_φ', E|φ|, E[φ⁴], each with an enclosure and its evidence."""
        from kltheory.activation_constants import constants_of

        return constants_of(self)

    @property
    def B1(self) -> float:
        """An upper bound on sup|φ'|."""
        return self.constants.B1.upper

    @property
    def B2(self) -> float:
        """An upper bound on the Lipschitz constant of φ'."""
        return self.constants.B2.upper

    @property
    def branches(self) -> Branches:
        """The monotone branches of φ, with Z' = 1/φ' and G' = 2φ/φ' on them."""
        from kltheory.activation_branches import branches_of

        return branches_of(self)

    def __repr__(self) -> str:
        return f"Activation({self.name}: {self.formula})"


def _sigmoid(z: Array) -> Array:
    e = np.exp(-np.abs(z))
    return np.where(np.asarray(z) >= 0, 1.0, e) / (1.0 + e)


def _sigmoid_d(z: Array) -> Array:
    e = np.exp(-np.abs(z))
    return e / (1.0 + e) ** 2


def _sigmoid_d2(z: Array) -> Array:
    return -_sigmoid_d(z) * np.tanh(np.asarray(z) / 2)


def _tanh(z: Array) -> Array:
    return np.tanh(z)


def _tanh_d(z: Array) -> Array:
    return 4.0 * _sigmoid_d(2.0 * np.asarray(z))


def _tanh_d2(z: Array) -> Array:
    return -2.0 * np.tanh(z) * _tanh_d(z)


def _softplus(z: Array) -> Array:
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))


def _density(z: Array) -> Array:
    return np.asarray(np.exp(-0.5 * np.square(z)) / np.sqrt(2.0 * np.pi))


def _gelu(z: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(z * ndtr(z))


def _gelu_d(z: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr(z) + z * _density(z))


def _gelu_d2(z: Array) -> Array:
    return (2.0 - np.square(z)) * _density(z)


def _silu(z: Array) -> Array:
    return z * _sigmoid(z)


def _silu_d(z: Array) -> Array:
    return _sigmoid(z) * (1.0 + z * _sigmoid(-np.asarray(z)))


def _silu_d2(z: Array) -> Array:
    return _sigmoid_d(z) * (2.0 - z * np.tanh(np.asarray(z) / 2))


def _sin(z: Array) -> Array:
    return np.sin(z)


def _sin_d(z: Array) -> Array:
    return np.cos(z)


def _sin_d2(z: Array) -> Array:
    return -np.sin(z)


def _erf(z: Array) -> Array:
    from scipy.special import erf

    return np.asarray(erf(z))


def _erf_d(z: Array) -> Array:
    return np.asarray(2.0 / np.sqrt(np.pi) * np.exp(-np.square(z)))


def _erf_d2(z: Array) -> Array:
    return -2.0 * z * _erf_d(z)


def _arctan(z: Array) -> Array:
    return np.arctan(z)


def _arctan_d(z: Array) -> Array:
    return 1.0 / (1.0 + np.square(z))


def _arctan_d2(z: Array) -> Array:
    return -2.0 * z / np.square(1.0 + np.square(z))


_BUILT_IN = {
    a.name: a
    for a in (
        Activation("sigmoid", "1/(1 + exp(-x))", _sigmoid, _sigmoid_d, _sigmoid_d2),
        Activation("tanh", "tanh(x)", _tanh, _tanh_d, _tanh_d2),
        Activation("softplus", "log(1 + exp(x))", _softplus, _sigmoid, _sigmoid_d),
        Activation("gelu", "x*(1 + erf(x/sqrt(2)))/2", _gelu, _gelu_d, _gelu_d2),
        Activation("silu", "x/(1 + exp(-x))", _silu, _silu_d, _silu_d2),
        Activation("sin", "sin(x)", _sin, _sin_d, _sin_d2),
        Activation("erf", "erf(x)", _erf, _erf_d, _erf_d2),
        Activation("arctan", "atan(x)", _arctan, _arctan_d, _arctan_d2),
    )
}

ACTIVATIONS: tuple[str, ...] = tuple(_BUILT_IN)
"""The names of the built-in activations."""


def get(activation: str | Activation) -> Activation:
    """Return a built-in activation by name (an `Activation` is handed back as it is).

    >>> get("sin").dphi(np.array([0.0])).tolist()
    [1.0]
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str) and activation.lower() in _BUILT_IN:
        return _BUILT_IN[activation.lower()]
    raise InputError(
        f"activation: got {brief(activation)}; allowed are {', '.join(ACTIVATIONS)} or an "
        "Activation."
    )
