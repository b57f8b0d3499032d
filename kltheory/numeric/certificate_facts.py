"""The numbers that certificates rest on, each moved to the side on which it proves less.

Rounding is covered by the classical a-priori bounds: a sum of N products is off by at most N ulp of
the sum of their moduli, a singular value by a small multiple of the size times the norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kltheory.activation import Activation
from kltheory.constants import Evidence

__all__ = ["EPS", "Facts", "Observed", "features_below", "gram_floor", "sigma_floor"]

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
_GRAM = 1e-4
"""Where λ_min is above this share of λ_max, the Gram matrix is accurate enough."""
_ZERO = 1e-12
"""A singular value below this share of the norm counts as 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """The columns of V as the operator sees them, (r, k): Uᵀ A V, Q V or V itself."""

    columns: Array
    """The matrix."""
    error: float
    """A bound on the norm of what rounding did to it."""
    largest: float
    """max_i ‖columns_i‖, rounded up."""

    @classmethod
    def of(cls, columns: Array, error: float) -> Observed:
        """Measure the columns."""
        rank = columns.shape[0]
        largest = math.sqrt(float(np.square(columns).sum(axis=0).max())) * (1 + rank * EPS)
        return cls(columns, error, largest + error)

    @property
    def rank(self) -> int:
        """r."""
        return int(self.columns.shape[0])

    def norms(self) -> Array:
        """‖columns_i‖, rounded up."""
        norms = np.sqrt(np.square(self.columns).sum(axis=0)) * (1 + self.rank * EPS)
        return np.asarray(norms + self.error)


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """One network on one problem, as far as convergence depends on it."""

    train: str
    """"hidden" or "both"."""
    n: int
    """Size of the signal."""
    k: int
    """Neurons."""
    omega: float
    """ω = ‖u‖²."""
    activation: Activation
    """φ."""
    z: Array
    """W u, (k,)."""
    loss0: float
    """The loss that can still fall, rounded up."""
    psi0: float
    """ψ of it, rounded up; ‖y(0) - y‖ for a radial loss."""
    sigma_f: float
    """σ_F, rounded down."""
    h: float
    """‖φ(z)‖/√k, rounded down."""
    norms: Array
    """‖V_i‖, rounded up, (k,)."""
    zero_output: bool
    """Whether V = 0."""
    plain: Observed | None = None
    """V itself; None where it is too large, or not asked for."""
    whitened: Observed | None = None
    """Q V, for F = A = U S Q."""
    observed: Observed | None = None
    """Uᵀ A V."""
    linear: bool = True
    """Whether F is a matrix."""
    evidence: Evidence = Evidence.COMPUTED
    """The weakest evidence among these numbers."""
    stairs: int = 100
    """How finely q is computed: the stairs of its integral, at most."""
    void: str | None = None
    """Why no certificate of this kind applies, if none does."""
    assumed: tuple[str, ...] = ()
    """What is assumed of A."""

    @property
    def weights(self) -> Array:
        """√(ω/k) φ'(z)."""
        return np.asarray(math.sqrt(self.omega / self.k) * self.activation.dphi(self.z))


def features_below(activation: Activation, z: Array) -> Array:
    """Lower bounds on |φ(z_i)|: of a user's φ, which may be a difference, with an absolute error.

    >>> from kltheory.activation import get
    >>> bool(0.4999 < features_below(get("sigmoid"), np.zeros(1))[0] < 0.5)
    True
    """
    value = np.abs(np.asarray(activation.phi(z), dtype=float))
    if activation.built_in:
        return np.asarray(value * (1 - 8 * EPS))
    doubt = 8 * EPS * (1 + value + activation.B1 * np.abs(z))
    return np.asarray(np.maximum(value - doubt, 0.0))


def gram_floor(matrix: Array, weights: Array) -> float:
    """A lower bound on λ_min(Σ weights_i matrix_i matrix_iᵀ), from the Gram matrix alone.

    >>> 0.99 < gram_floor(np.eye(2), np.ones(2)) <= 1.0
    True
    """
    rank, k = matrix.shape
    gram = (matrix * weights) @ matrix.T
    if not np.isfinite(gram).all():
        return 0.0
    values = np.linalg.eigvalsh(gram)
    margin = 4 * (k + 2 * rank + 8) * EPS * float(np.trace(gram))
    return float(max(0.0, float(values[0]) - margin))


def sigma_floor(seen: Observed, weights: Array) -> float:
    """A lower bound on the r-th singular value of columns · diag(weights); 0 if k < r.

    >>> sigma_floor(Observed.of(np.diag([2.0, 1.0]), 0.0), np.ones(2)) > 1 - 1e-13
    True
    """
    rank, k = seen.columns.shape
    if k < rank:
        return 0.0
    error = seen.error * float(np.abs(weights).max())
    matrix = seen.columns * weights
    size = float(np.square(matrix).sum())
    square = gram_floor(seen.columns, np.square(weights))
    if square > _GRAM * size:
        return float(max(0.0, math.sqrt(square) * (1 - 4 * EPS) - error))
    values = np.linalg.svd(matrix, compute_uv=False)
    value = float(values[-1]) - 4 * (k + rank + 8) * EPS * float(values[0]) - error
    return value if value > _ZERO * float(values[0]) else 0.0
