"""Losses L_y(v) as numbers: value and gradient, over any leading axes.

Most act on the residual r = v - y alone; those that do not are subclasses of `ObservedLoss`, which
may have a domain.  A radial loss is ℓ(‖r‖), a separable one Σ h(r_i).  What a
radial loss adds is its weight w(ρ) = ℓ'(ρ)/ρ: then ∇L = w(‖r‖) r, so that all radial losses move
a network along one path and only the clock differs.

>>> import numpy as np
>>> loss = get("power", p=0.5)
>>> v, y = np.array([3.0, 4.0]), np.zeros(2)
>>> round(float(loss.value(v, y)), 6), loss.gradient(v, y).tolist()
(41.666667, [15.0, 20.0])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.errors import InputError, brief

__all__ = [
    "LOSSES",
    "MSE",
    "Cauchy",
    "Huber",
    "KLSoftmax",
    "LogCosh",
    "LossFunction",
    "MeanSquared",
    "ObservedLoss",
    "Poisson",
    "Power",
    "PseudoHuber",
    "Radial",
    "RadialLoss",
    "SeparableLoss",
    "SeparablePower",
    "SquaredNorm",
    "WeightedMSE",
    "Welsch",
    "get",
    "require_residual_loss",
]

Array = NDArray[np.float64]


class LossFunction:
    """What every loss offers: a name, values and gradients."""

    __slots__ = ()
    name: ClassVar[str]
    convex: ClassVar[bool] = True
    """Whether v ↦ L_y(v) is convex."""

    def value(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return L_y(v), shape (...), for v and y of shape (..., m)."""
        raise NotImplementedError

    def gradient(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return the gradient of L_y at v, shape (..., m)."""
        raise NotImplementedError

    def lipschitz(self, radius: float) -> float:
        """Return a Lipschitz constant of the gradient on the ball ‖v - y‖ ≤ radius."""
        raise NotImplementedError

    def require_size(self, m: int) -> None:
        """Refuse a number of observations that the loss is not made for; most take any."""

    def require_observation(self, y: Array) -> None:
        """Refuse observations that the loss is not made for; most take any."""

    def parameters(self) -> dict[str, float]:
        """Return the parameters by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.repr}  # type: ignore[arg-type]


class RadialLoss(LossFunction):
    """L_y(v) = ℓ(‖v - y‖), with ℓ(0) = 0 and ℓ' > 0 on ]0, ∞[."""

    __slots__ = ()

    def profile(self, rho: ArrayLike) -> Array:
        """Return ℓ(ρ)."""
        raise NotImplementedError

    def slope(self, rho: ArrayLike) -> Array:
        """Return ℓ'(ρ)."""
        return self.weight(rho) * np.asarray(rho, dtype=np.float64)

    def weight(self, rho: ArrayLike) -> Array:
        """Return ℓ'(ρ)/ρ: the speed of this loss's clock relative to the square loss."""
        raise NotImplementedError

    def value(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return ℓ(‖v - y‖)."""
        return self.profile(np.linalg.norm(np.subtract(v, y), axis=-1))

    def gradient(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return w(‖r‖) r with r = v - y; at r = 0 the gradient is 0."""
        r = np.subtract(v, y)
        return np.asarray(self.weight(np.linalg.norm(r, axis=-1))[..., None] * r)


class SeparableLoss(LossFunction):
    """L_y(v) = Σ h(v_i - y_i)."""

    __slots__ = ()

    def term(self, r: ArrayLike) -> Array:
        """Return h(r), elementwise."""
        raise NotImplementedError

    def term_slope(self, r: ArrayLike) -> Array:
        """Return h'(r), elementwise."""
        raise NotImplementedError

    def value(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return Σ h(v_i - y_i)."""
        return np.asarray(self.term(np.subtract(v, y)).sum(axis=-1))

    def gradient(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return h'(v_i - y_i), entry by entry."""
        return self.term_slope(np.subtract(v, y))


class ObservedLoss(LossFunction):
    """A loss of v and y that is not one of v - y; it may be defined for some v only.

    Training takes it, step by step and run by run; certificates and guarantees do not.
    """

    __slots__ = ()
    domain: ClassVar[str] = "any v"
    """Where it is defined, in words."""

    def inside(self, v: ArrayLike) -> bool:
        """Return whether v is in the domain; elsewhere the value is inf."""
        return True

    def curvature(self, v: ArrayLike, y: ArrayLike) -> float:
        """Return a bound on the eigenvalues of the Hessian at v, in the domain."""
        raise NotImplementedError


def require_residual_loss(loss: LossFunction, what: str) -> None:
    """Refuse a loss that is not one of v - y, for `what` is known for those only."""
    if isinstance(loss, ObservedLoss):
        raise InputError(
            f"loss {loss.name}: {what} for losses of v - y only, and this one depends on v and y "
            "otherwise; train with kl.descend or kl.flow, or take another loss."
        )


def _excess(t: Array) -> Array:
    """Return e^t - 1 - t ≥ 0 without cancellation."""
    small = np.where(np.abs(t) < 0.1, t, 0.0)
    series = np.ones_like(small)
    for j in range(11, 2, -1):
        series = 1.0 + series * small / j
    with np.errstate(over="ignore"):
        return np.where(small == t, 0.5 * small * small * series, np.expm1(t) - t)


def _positive(name: str, parameter: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"loss {name}: {parameter} = {value!r}; it must be a positive number.")


@dataclass(frozen=True, slots=True)
class MSE(RadialLoss):
    """½‖v - y‖²."""

    name: ClassVar[str] = "mse"

    def value(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return ½‖v - y‖²."""
        r = np.subtract(v, y, dtype=np.float64)
        return np.asarray(0.5 * np.vecdot(r, r))

    def profile(self, rho: ArrayLike) -> Array:
        """Return ρ²/2."""
        return np.asarray(0.5 * np.square(rho, dtype=np.float64))

    def weight(self, rho: ArrayLike) -> Array:
        """Return 1."""
        return np.ones(np.shape(rho))

    def lipschitz(self, radius: float) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True, slots=True)
class SquaredNorm(RadialLoss):
    """‖v - y‖²."""

    name: ClassVar[str] = "squared-norm"

    def profile(self, rho: ArrayLike) -> Array:
        """Return ρ²."""
        return np.asarray(np.square(rho, dtype=np.float64))

    def weight(self, rho: ArrayLike) -> Array:
        """Return 2."""
        return np.full(np.shape(rho), 2.0)

    def lipschitz(self, radius: float) -> float:
        """Return 2."""
        return 2.0


@dataclass(frozen=True, slots=True)
class MeanSquared(RadialLoss):
    """‖v - y‖²/m, m the number of observations."""

    name: ClassVar[str] = "mean-squared"
    m: float
    """The number of observations."""

    def __post_init__(self) -> None:
        """Refuse m ≤ 0."""
        _positive(self.name, "m", self.m)

    def profile(self, rho: ArrayLike) -> Array:
        """Return ρ²/m."""
        return np.asarray(np.square(rho, dtype=np.float64) / self.m)

    def weight(self, rho: ArrayLike) -> Array:
        """Return 2/m."""
        return np.full(np.shape(rho), 2.0 / self.m)

    def lipschitz(self, radius: float) -> float:
        """Return 2/m."""
        return 2.0 / self.m


@dataclass(frozen=True, slots=True)
class Power(RadialLoss):
    """‖v - y‖^(2p+2)/(2p+2), p ≥ 0; p = 0 is the square loss."""

    name: ClassVar[str] = "power"
    p: float
    """The exponent p ≥ 0."""

    def __post_init__(self) -> None:
        """Refuse p < 0, where the gradient is not Lipschitz at y."""
        if not (np.isfinite(self.p) and self.p >= 0):
            raise InputError(f"loss power: p = {self.p!r}; it must be a number >= 0.")

    def profile(self, rho: ArrayLike) -> Array:
        """Return ρ^(2p+2)/(2p+2)."""
        q = 2.0 * self.p + 2.0
        return np.asarray(np.power(rho, q) / q)

    def weight(self, rho: ArrayLike) -> Array:
        """Return ρ^(2p)."""
        return np.asarray(np.power(np.asarray(rho, dtype=np.float64), 2.0 * self.p))

    def lipschitz(self, radius: float) -> float:
        """Return (2p+1) radius^(2p)."""
        return float((2.0 * self.p + 1.0) * radius ** (2.0 * self.p))


@dataclass(frozen=True, slots=True)
class Huber(RadialLoss):
    """ρ²/2 for ρ ≤ δ and δ(ρ - δ/2) beyond, ρ = ‖v - y‖."""

    name: ClassVar[str] = "huber"
    delta: float = 1.0
    """Where the loss becomes linear."""

    def __post_init__(self) -> None:
        """Refuse δ ≤ 0."""
        _positive(self.name, "delta", self.delta)

    def profile(self, rho: ArrayLike) -> Array:
        """Return ℓ(ρ)."""
        inner = np.minimum(rho, self.delta)
        return np.asarray(0.5 * inner**2 + self.delta * (np.asarray(rho) - inner))

    def weight(self, rho: ArrayLike) -> Array:
        """Return min(1, δ/ρ)."""
        return np.asarray(self.delta / np.maximum(rho, self.delta))

    def lipschitz(self, radius: float) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True, slots=True)
class Cauchy(RadialLoss):
    """½ log(1 + ‖v - y‖²); not convex."""

    name: ClassVar[str] = "cauchy"
    convex: ClassVar[bool] = False

    def profile(self, rho: ArrayLike) -> Array:
        """Return ½ log(1 + ρ²)."""
        return np.asarray(0.5 * np.log1p(np.square(rho, dtype=np.float64)))

    def weight(self, rho: ArrayLike) -> Array:
        """Return 1/(1 + ρ²)."""
        return np.asarray(1.0 / (1.0 + np.square(rho, dtype=np.float64)))

    def lipschitz(self, radius: float) -> float:
        """Return 1: the eigenvalues of the Hessian lie in [-1/8, 1]."""
        return 1.0


@dataclass(frozen=True, slots=True)
class Welsch(RadialLoss):
    """1 - exp(-‖v - y‖²/2); not convex."""

    name: ClassVar[str] = "welsch"
    convex: ClassVar[bool] = False

    def profile(self, rho: ArrayLike) -> Array:
        """Return 1 - exp(-ρ²/2)."""
        return np.asarray(-np.expm1(-0.5 * np.square(rho, dtype=np.float64)))

    def weight(self, rho: ArrayLike) -> Array:
        """Return exp(-ρ²/2)."""
        return np.asarray(np.exp(-0.5 * np.square(rho, dtype=np.float64)))

    def lipschitz(self, radius: float) -> float:
        """Return 1: the eigenvalues of the Hessian lie in [-2 exp(-3/2), 1]."""
        return 1.0


@dataclass(frozen=True, slots=True)
class SeparablePower(SeparableLoss):
    """Σ |v_i - y_i|^p/p, p ≥ 2."""

    name: ClassVar[str] = "separable-power"
    p: float
    """The exponent p ≥ 2."""

    def __post_init__(self) -> None:
        """Refuse p < 2, where the gradient is not Lipschitz at y."""
        if not (np.isfinite(self.p) and self.p >= 2):
            raise InputError(f"loss separable-power: p = {self.p!r}; it must be a number >= 2.")

    def term(self, r: ArrayLike) -> Array:
        """Return |r|^p/p."""
        return np.asarray(np.abs(r, dtype=np.float64) ** self.p / self.p)

    def term_slope(self, r: ArrayLike) -> Array:
        """Return |r|^(p-1) sign r."""
        return np.asarray(np.sign(r) * np.abs(r, dtype=np.float64) ** (self.p - 1.0))

    def lipschitz(self, radius: float) -> float:
        """Return (p-1) radius^(p-2)."""
        return float((self.p - 1.0) * radius ** (self.p - 2.0))


@dataclass(frozen=True, slots=True)
class WeightedMSE(SeparableLoss):
    """½ Σ λ_i (v_i - y_i)², one weight λ_i > 0 for each observation, such as 1/variance.

    >>> WeightedMSE((1.0, 4.0)).gradient([1.0, 2.0], [0.0, 0.0]).tolist()
    [1.0, 8.0]
    """

    name: ClassVar[str] = "weighted-mse"
    weights: tuple[float, ...]
    """The λ_i."""

    def __post_init__(self) -> None:
        """Keep the weights as floats, and refuse those that are not positive."""
        weights = tuple(float(weight) for weight in self.weights)
        if not weights:
            raise InputError("loss weighted-mse: give one weight for each observation.")
        for weight in weights:
            _positive(self.name, "a weight", weight)
        object.__setattr__(self, "weights", weights)

    def require_size(self, m: int) -> None:
        """Refuse another number of observations than of weights."""
        if len(self.weights) != m:
            raise InputError(
                f"loss weighted-mse has {len(self.weights)} weights and y has shape ({m},): "
                "give one weight for each observation."
            )

    def parameters(self) -> dict[str, float]:
        """Return the smallest weight, which is what its ψ depends on."""
        return {"lambda_min": min(self.weights)}

    def term(self, r: ArrayLike) -> Array:
        """Return λ_i r_i²/2."""
        return np.asarray(0.5 * np.asarray(self.weights) * np.square(r, dtype=np.float64))

    def term_slope(self, r: ArrayLike) -> Array:
        """Return λ_i r_i."""
        return np.asarray(np.asarray(self.weights) * np.asarray(r, dtype=np.float64))

    def lipschitz(self, radius: float) -> float:
        """Return the largest weight."""
        return max(self.weights)

    def __repr__(self) -> str:
        """Return the number of weights and their range."""
        low, high = min(self.weights), max(self.weights)
        return f"WeightedMSE({len(self.weights)} weights from {low:g} to {high:g})"


@dataclass(frozen=True, slots=True)
class LogCosh(SeparableLoss):
    """Σ log cosh(v_i - y_i)."""

    name: ClassVar[str] = "log-cosh"

    def term(self, r: ArrayLike) -> Array:
        """Return log cosh r without overflow and without loss of small values."""
        a = np.abs(np.asarray(r, dtype=np.float64))
        small = np.log1p(2.0 * np.square(np.sinh(0.5 * np.minimum(a, 1.0))))
        large = a + np.log1p(np.exp(-2.0 * a)) - np.log(2.0)
        return np.where(a < 1.0, small, large)

    def term_slope(self, r: ArrayLike) -> Array:
        """Return tanh r."""
        return np.asarray(np.tanh(r))

    def lipschitz(self, radius: float) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True, slots=True)
class PseudoHuber(SeparableLoss):
    """Σ δ²(√(1 + (v_i - y_i)²/δ²) - 1)."""

    name: ClassVar[str] = "pseudo-huber"
    delta: float = 1.0
    """Where the loss bends from quadratic to linear."""

    def __post_init__(self) -> None:
        """Refuse δ ≤ 0."""
        _positive(self.name, "delta", self.delta)

    def term(self, r: ArrayLike) -> Array:
        """Return r²/(√(1 + r²/δ²) + 1), which is h(r) without cancellation."""
        r2 = np.square(r, dtype=np.float64)
        return np.asarray(r2 / (np.sqrt(1.0 + r2 / self.delta**2) + 1.0))

    def term_slope(self, r: ArrayLike) -> Array:
        """Return r/√(1 + r²/δ²)."""
        r = np.asarray(r, dtype=np.float64)
        return np.asarray(r / np.sqrt(1.0 + np.square(r) / self.delta**2))

    def lipschitz(self, radius: float) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True, slots=True)
class KLSoftmax(ObservedLoss):
    """KL(y ‖ softmax(v)) = Σ y_i log(y_i/q_i), q = softmax(v): y are probabilities.

    Its minimisers are v = log y + c.

    >>> KLSoftmax().gradient([0.0, 0.0], [0.25, 0.75]).tolist()
    [0.25, -0.25]
    """

    name: ClassVar[str] = "kl-softmax"

    def require_observation(self, y: Array) -> None:
        """Refuse what are no probabilities, all positive."""
        if not ((y > 0).all() and abs(float(y.sum()) - 1.0) <= 1e-12 * y.size):
            raise InputError(
                f"loss kl-softmax: the smallest entry of y is {y.min():.6g} and their sum is "
                f"{y.sum():.15g}; they must be positive (soft labels) and sum to 1."
            )

    def _log_ratio(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return log(q_i/y_i)."""
        v = np.asarray(v, dtype=np.float64)
        v = v - v.max(axis=-1, keepdims=True)
        total = np.log(np.exp(v).sum(axis=-1, keepdims=True))
        return np.asarray(v - total - np.log(y))

    def value(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return Σ y_i (e^t_i - 1 - t_i), t_i = log(q_i/y_i), whose terms are all ≥ 0."""
        return np.asarray((np.asarray(y) * _excess(self._log_ratio(v, y))).sum(axis=-1))

    def gradient(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return q - y."""
        return np.asarray(np.asarray(y) * np.expm1(self._log_ratio(v, y)))

    def curvature(self, v: ArrayLike, y: ArrayLike) -> float:
        """Return 1/2."""
        return 0.5

    def lipschitz(self, radius: float) -> float:
        """Return 1/2: ⟨w, ∇²L w⟩ is the variance of w under q, at most (max w - min w)²/4."""
        return 0.5


@dataclass(frozen=True, slots=True)
class Poisson(ObservedLoss):
    """Σ v_i - y_i + y_i log(y_i/v_i) for v_i > 0: counts y_i > 0 of mean v_i.

    >>> Poisson().gradient([1.0, 4.0], [2.0, 4.0]).tolist()
    [-1.0, 0.0]
    """

    name: ClassVar[str] = "poisson"
    domain: ClassVar[str] = "v_i > 0"

    def require_observation(self, y: Array) -> None:
        """Refuse y_i ≤ 0: at 0 the minimum is on the border of the domain."""
        if not (y > 0).all():
            raise InputError(
                f"loss poisson: the smallest entry of y is {y.min():.6g}; all must be positive."
            )

    def inside(self, v: ArrayLike) -> bool:
        """Return whether all v_i > 0."""
        return bool((np.asarray(v) > 0).all())

    def value(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return Σ y_i (e^t_i - 1 - t_i), t_i = log(v_i/y_i); inf outside the domain."""
        v, y = np.asarray(v, dtype=np.float64), np.asarray(y, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(2.0 * v > y, np.log1p((v - y) / y), np.log(v / y))
            terms = y * _excess(t)
        return np.asarray(np.where(v > 0, terms, np.inf).sum(axis=-1))

    def gradient(self, v: ArrayLike, y: ArrayLike) -> Array:
        """Return 1 - y_i/v_i; not a number outside the domain."""
        v, y = np.asarray(v, dtype=np.float64), np.asarray(y, dtype=np.float64)
        return np.asarray(np.divide(v - y, v, out=np.full((v - y).shape, np.nan), where=v > 0))

    def curvature(self, v: ArrayLike, y: ArrayLike) -> float:
        """Return max y_i/v_i²."""
        return float(np.max(np.asarray(y) / np.square(v, dtype=np.float64)))

    def lipschitz(self, radius: float) -> float:
        """Refuse: ∇L grows without bound towards v_i = 0."""
        raise InputError("loss poisson: its gradient is not Lipschitz towards v_i = 0.")


@dataclass(frozen=True, slots=True)
class Radial(RadialLoss):
    """A radial loss ℓ(‖v - y‖) given by ℓ and ℓ'.

    >>> quartic = Radial(lambda rho: rho**4 / 4, lambda rho: rho**3)
    >>> float(quartic.value([2.0, 0.0], [0.0, 0.0]))
    4.0
    """

    name: ClassVar[str] = "radial"
    convex: ClassVar[bool] = False
    ell: Callable[[Array], ArrayLike] = field(repr=False)
    """ℓ, elementwise, with ℓ(0) = 0."""
    d_ell: Callable[[Array], ArrayLike] = field(repr=False)
    """ℓ', elementwise, positive on ]0, ∞[."""
    curvature: float | None = field(default=None, repr=False)
    """A Lipschitz constant of the gradient, where one is known."""

    def profile(self, rho: ArrayLike) -> Array:
        """Return ℓ(ρ)."""
        return np.asarray(self.ell(np.asarray(rho, dtype=np.float64)), dtype=np.float64)

    def slope(self, rho: ArrayLike) -> Array:
        """Return ℓ'(ρ)."""
        return np.asarray(self.d_ell(np.asarray(rho, dtype=np.float64)), dtype=np.float64)

    def weight(self, rho: ArrayLike) -> Array:
        """Return ℓ'(ρ)/ρ (0 at ρ = 0, where the gradient vanishes anyway)."""
        rho = np.asarray(rho, dtype=np.float64)
        return np.asarray(np.divide(self.slope(rho), rho, out=np.zeros(rho.shape), where=rho > 0))

    def lipschitz(self, radius: float) -> float:
        """Return the constant that was given."""
        if self.curvature is None:
            raise InputError(
                "loss radial: no Lipschitz constant of the gradient is known; give curvature=."
            )
        return self.curvature


LOSSES: dict[str, type[LossFunction]] = {
    kind.name: kind
    for kind in (
        MSE,
        SquaredNorm,
        MeanSquared,
        Power,
        SeparablePower,
        Huber,
        LogCosh,
        PseudoHuber,
        Cauchy,
        Welsch,
        KLSoftmax,
        Poisson,
    )
}
"""The losses that are asked for by name."""


def get(loss: str | LossFunction, **parameters: float) -> LossFunction:
    """Return a loss by name, with its parameters; a loss is handed back as it is.

    >>> get("huber", delta=2.0)
    Huber(delta=2.0)
    """
    if isinstance(loss, LossFunction):
        if parameters:
            raise InputError(f"loss {loss!r} already has its parameters; {parameters} not taken.")
        return loss
    kind = LOSSES.get(loss.lower()) if isinstance(loss, str) else None
    if kind is None:
        raise InputError(
            f"loss: got {brief(loss)}; allowed are {', '.join(LOSSES)}, or "
            "Radial(ell, d_ell), WeightedMSE(weights)."
        )
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    unknown = [name for name in parameters if name not in known]
    if unknown:
        allowed = ", ".join(known) or "none"
        raise InputError(f"loss {kind.name}: unknown parameter {unknown[0]!r}; it has: {allowed}.")
    try:
        return kind(**{name: float(value) for name, value in parameters.items()})
    except TypeError:
        missing = [name for name in known if name not in parameters]
        raise InputError(f"loss {kind.name}: give a number for {', '.join(missing)}.") from None
