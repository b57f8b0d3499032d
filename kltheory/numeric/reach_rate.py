"""How fast the flow of the hidden layer goes to zero loss, with no condition on the width.

V fixed, F = A, N = A V/√k, ω = ‖u‖², and Z' = 1/φ' on the branch of φ that a neuron starts on.
With h' = Z∘φ⁻¹, convex, a = φ(z), and D_h(b, a) = Σ h(b_i) - h(a_i) - h'(a_i)(b_i - a_i),

    d/dt h'(a) = -ω Nᵀ∇L,   d/dt D_h(b, a(t)) = -ω⟨∇L(y(t)), y(t) - y⟩ ≤ -ω κ L(y(t))

for every b with N b = y and every loss with ⟨∇L(v), v - y⟩ ≥ κ L(v): κ = 1 for a convex one, q for
one of degree q.  As L falls along the flow, L(y(t)) ≤ D_h(b, a(0))/(κ ω t).

In the square loss, S = ∫ r dt is the gradient flow of a convex function Q with ∇Q = -r and Hessian
H = ω N diag(φ'²) Nᵀ, and Z(z(t)) = Z(z(0)) - ω Nᵀ S(t).  If r(S*) = 0, then ‖S(t) - S*‖ falls,
‖r(t)‖ ≤ ‖S*‖/t, and ‖r‖ and ‖S - S*‖ fall at the rate λ, the smallest eigenvalue of
ω Σ l_i N_i N_iᵀ with l_i = min φ'² over |Z - Z(z_i*)| ≤ ω‖N_i‖‖S - S*‖.  The point b of least
D_h is φ(z*): the limit of the flow.  Other radial losses move on the same path by another clock.

>>> import numpy as np
>>> from kltheory.activation import get
>>> N = np.random.default_rng(0).standard_normal((2, 40)) / 40**0.5
>>> rate = mirror_rate(N, N @ np.full(40, 0.6), np.zeros(40), get("sigmoid"))
>>> rate.proved, bool(rate.residual_bound(1e4) < 1e-9 * rate.residual)
(True, True)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.activation import Activation
from kltheory.errors import InputError
from kltheory.loss_functions import (
    MSE,
    LossFunction,
    MeanSquared,
    Power,
    Radial,
    RadialLoss,
    SeparablePower,
    SquaredNorm,
)
from kltheory.numeric.reach import BoxImage, branch_box, gap_certificate
from kltheory.numeric.reach_proof import gamma
from kltheory.shown import figure

__all__ = ["MirrorCertificate", "divergence", "mirror_rate"]

Array = NDArray[np.float64]

_Z_ERROR = 1e-12
"""Z is evaluated with an error below this times 1 + |Z| (the tests hold it to 2e-14)."""
_STAGES = 10
"""How often the radius around S* is halved for a better rate."""


@dataclass(frozen=True, slots=True, eq=False)
class MirrorCertificate:
    """The flow of the hidden layer reaches zero loss, and how fast; rounded to the safe side."""

    proved: bool
    """Whether a z* with N φ(z*) = y on the branches of the start was proved to exist."""
    loss: LossFunction
    """The loss whose flow is bounded."""
    omega: float
    """ω = ‖u‖²."""
    residual: float
    """An upper bound on ‖r(0)‖."""
    divergence: float
    """An upper bound on D_h(φ(z*), φ(z(0))), the least over all attaining points."""
    homogeneity: float
    """κ with ⟨∇L(v), v - y⟩ ≥ κ L(v); 0: none, and D_h/(κωt) says nothing."""
    dual_norm: float
    """An upper bound on ‖S*‖."""
    rate: float
    """λ: in the square loss ‖r(t)‖ ≤ ‖r(0)‖ e^{-λt}; 0: none proved."""
    knots: tuple[tuple[float, float], ...]
    """(t_j, λ_j): in the square loss the rate is at least λ_j from t_j on."""
    drift: float
    """An upper bound on ‖θ(∞) - θ(0)‖."""
    state: Array
    """S*, approximately."""
    z: Array
    """z*, approximately."""
    evidence: str
    """"proved", or "computed" for GELU, SiLU and a user's φ, whose Z is a quadrature without an
    error bound."""
    reason: str
    """The result in a sentence."""

    def residual_bound(self, t: ArrayLike) -> Array:
        """Return bounds on ‖r(t)‖ at times t ≥ 0 of the loss's own flow (a radial loss).

        With τ the clock of the square loss, dτ = w(‖r‖) dt, w(ρ) = ℓ'(ρ)/ρ:
        ‖r‖ ≤ b(τ) = min(‖r(0)‖ exp(-∫λ), ‖S*‖/τ, √(D/(ωτ))).
        """
        loss = self.loss
        if not isinstance(loss, RadialLoss):
            raise InputError(f"a bound on ‖r(t)‖ needs a radial loss; got {loss!r}.")
        t = np.asarray(t, dtype=np.float64)
        if not self.proved:
            return np.full(t.shape, self.residual)
        if not isinstance(loss, Power) or loss.p == 0.0:
            # w does not grow with ρ, and ‖r‖ falls, so that τ ≥ w(‖r(0)‖) t.
            return self._in_square_clock(t * float(loss.weight(self.residual)) * (1.0 - 1e-14))
        # While ‖r‖ ≥ ρ, τ ≥ w(ρ)t; so ρ > b(w(ρ)t) is impossible.
        low, high = np.zeros(t.shape), np.full(t.shape, self.residual)
        for _ in range(80):
            middle = 0.5 * (low + high)
            over = middle > self._in_square_clock(t * loss.weight(middle) * (1.0 - 1e-13))
            low, high = np.where(over, low, middle), np.where(over, middle, high)
        q = 2.0 * loss.p
        slow = (self.residual**-q + q * self.rate * t * (1.0 - 1e-13)) ** (-1.0 / q)
        return np.asarray(np.minimum(high, slow * (1.0 + 1e-12)))

    def loss_bound(self, t: ArrayLike) -> Array:
        """Return bounds on L(y(t)): ℓ of the bound on ‖r(t)‖, or D/(κωt) for a loss not radial."""
        t = np.asarray(t, dtype=np.float64)
        if isinstance(self.loss, RadialLoss):
            residual = self.residual_bound(t)
            bound = self.loss.profile(residual) * (1.0 + 1e-14)
            return np.asarray(np.where(residual > 0.0, bound + math.ulp(0.0), bound))
        if not self.proved:
            return np.full(t.shape, np.inf)
        with np.errstate(divide="ignore"):
            bound = self.divergence / (self.homogeneity * self.omega * t)
        return np.asarray(bound * (1.0 + 1e-14))

    def time_to(self, residual: float) -> float:
        """Return a time from which on ‖r(t)‖ ≤ residual; inf if the certificate has none."""
        if not residual > 0.0 or not (self.proved or self.residual <= residual):
            return math.inf
        if self.residual <= residual:
            return 0.0
        high = 1.0
        while not self.residual_bound(high) <= residual:
            high *= 2.0
            if high > 1e300:
                return math.inf
        low = 0.0
        for _ in range(100):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self.residual_bound(middle) <= residual else (middle, high)
        return high

    def _in_square_clock(self, tau: Array) -> Array:
        """Return b(τ)."""
        exponent = np.zeros(tau.shape)
        times = [t for t, _ in self.knots[1:]] + [math.inf]
        for (start, rate), end in zip(self.knots, times, strict=True):
            exponent += rate * np.clip(np.minimum(tau, end) - start, 0.0, None)
        with np.errstate(divide="ignore"):
            sublinear = np.minimum(
                self.dual_norm / tau, np.sqrt(self.divergence / self.omega / tau)
            )
            decay = self.residual * np.exp(-exponent * (1.0 - 1e-13))
        bound = np.minimum(decay, sublinear) * (1.0 + 1e-13)
        return np.asarray(np.minimum(bound + math.ulp(0.0), self.residual))  # no float is 0 here

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; a number that is not finite is None."""
        return {
            "proved": self.proved,
            "residual": self.residual,
            "divergence": self.divergence if math.isfinite(self.divergence) else None,
            "homogeneity": self.homogeneity,
            "dual_norm": self.dual_norm if math.isfinite(self.dual_norm) else None,
            "rate": self.rate,
            "drift": self.drift if math.isfinite(self.drift) else None,
            "evidence": self.evidence,
            "reason": self.reason,
        }

    def __repr__(self) -> str:
        """Return the reason."""
        return f"MirrorCertificate({self.reason})"


def mirror_rate(
    N: ArrayLike,
    y: ArrayLike,
    z0: ArrayLike,
    activation: Activation,
    *,
    loss: LossFunction | None = None,
    omega: float = 1.0,
    matrix_error: ArrayLike = 0.0,
    steps: int = 100,
) -> MirrorCertificate:
    """Prove that the flow of the hidden layer from z0 converges to zero loss, and bound its speed.

    Statement: see the top of this module; the bounds are those of `MirrorCertificate`.
    Assumptions: V fixed, F = A linear, φ' ≠ 0 at z0, and y = N φ(z*) for some z* on the branches of
    z0, which is proved here: S* is found by Newton's method in m unknowns, and a point S with
    ‖r(S)‖ = e has S* within e/λ if λ(e/λ) > 0 allows it (Q is strongly convex there).
    N = A V/√k is (m, k), y (m,), z0 (k,); `matrix_error` bounds the entries of what N is off by.
    The loss is convex or radial (default: the square loss).

    Raises InputError for another loss, and for shapes that do not fit.
    """
    N, y, z0 = (np.asarray(x, dtype=np.float64) for x in (N, y, z0))
    if N.ndim != 2 or y.shape != N.shape[:1] or z0.shape != N.shape[1:]:
        raise InputError(
            f"N {N.shape}, y {y.shape} and z0 {z0.shape} must be (m, k), (m,) and (k,)."
        )
    loss = MSE() if loss is None else loss
    if isinstance(loss, Radial) or not (loss.convex or isinstance(loss, RadialLoss)):
        raise InputError(f"a convex or a named radial loss is needed; got {loss!r}.")
    dual = _Dual(N, y, z0, activation, omega, np.asarray(matrix_error, dtype=np.float64))
    with np.errstate(all="ignore"):  # what overflows proves nothing
        state, z = dual.newton(steps)
        found = dual.ball(state, z)
    evidence = "proved" if activation.built_in and activation.name in _CLOSED else "computed"
    common: dict[str, Any] = {
        "loss": loss,
        "omega": omega,
        "residual": dual.residual(z0),
        "homogeneity": _homogeneity(loss),
        "state": state,
        "z": z,
        "evidence": evidence,
    }
    if found is None:
        reason = (
            f"y cannot be reached: it is {figure(dual.distance, 3, -1)} off what the network gives"
            if dual.distance > 0.0
            else "not proved: Newton's method did not come close enough to a state with y(S) = y"
        )
        return MirrorCertificate(
            proved=False,
            divergence=math.inf,
            dual_norm=math.inf,
            rate=0.0,
            knots=((0.0, 0.0),),
            drift=math.inf,
            reason=reason,
            **common,
        )
    with np.errstate(all="ignore"):
        return _certificate(dual, found, common)


def _certificate(
    dual: _Dual, found: tuple[float, Array], common: dict[str, Any]
) -> MirrorCertificate:
    """Return all bounds, from a proved ball around S*."""
    activation, omega, z0, z = dual.activation, dual.omega, dual.z0, common["z"]
    spread, off = found
    a, b = dual.around(z, dual.widths(spread, off))
    limit = divergence(activation, z0, a, b)
    drift = float(np.linalg.norm(np.maximum(np.abs(a - z0), np.abs(b - z0)))) / math.sqrt(omega)
    norm = float(np.linalg.norm(common["state"])) * (1.0 + 1e-12) + spread
    knots, time, radius = [(0.0, dual.rate(z, norm + spread, off))], 0.0, norm
    while knots[-1][1] > 0.0 and len(knots) < _STAGES and 0.5 * radius > spread:
        time += math.log(2.0) / knots[-1][1] * (1.0 + 1e-13)
        radius *= 0.5
        knots.append((time, max(knots[-1][1], dual.rate(z, radius + spread, off))))
    rate = knots[0][1]
    reason = (
        f"the flow reaches zero loss: D_h ≤ {figure(limit, side=1)}, "
        f"‖S*‖ ≤ {figure(norm, side=1)}, rate ≥ {figure(rate, 3, -1)} "
        f"from the start and ≥ {figure(knots[-1][1], 3, -1)} in the end"
    )
    return MirrorCertificate(
        proved=True,
        divergence=limit,
        dual_norm=norm,
        rate=rate,
        knots=tuple(knots),
        drift=drift * (1.0 + 1e-12),
        reason=reason,
        **common,
    )


def _homogeneity(loss: LossFunction) -> float:
    """Return κ ≥ 0 with ⟨∇L(v), v - y⟩ ≥ κ L(v); a loss that is not convex may have none but 0."""
    match loss:
        case MSE() | SquaredNorm() | MeanSquared():
            return 2.0
        case Power(p=p):
            return 2.0 * p + 2.0
        case SeparablePower(p=p):
            return p
    return 1.0 if loss.convex else 0.0


class _Dual:
    """S ↦ y(S), with bounds on all that floats get wrong."""

    def __init__(
        self, N: Array, y: Array, z0: Array, activation: Activation, omega: float, error: Array
    ) -> None:
        self.N, self.y, self.z0, self.activation, self.omega = N, y, z0, activation, omega
        self.branches = activation.branches
        self.m, self.k = N.shape
        grow = 1.0 + gamma(self.m)
        self.norms = np.sqrt(np.square(N).sum(axis=0)) * grow
        self.errors = np.sqrt(np.square(np.broadcast_to(error, N.shape)).sum(axis=0)) * grow
        self.Z0 = self.branches.Z(z0)
        self.B2 = activation.B2
        self.unimodal = activation.built_in
        low, high, end_error = branch_box(activation, z0)
        self.image = BoxImage.of(N, low, high, error, end_error)
        self.distance = 0.0

    def z(self, state: Array, near: Array) -> Array:
        """Return z(S); `near` is where to look first."""
        return self.inverse(self.Z0 - self.omega * (state @ self.N), near)

    def inverse(self, zeta: Array, near: Array) -> Array:
        """Return Z⁻¹(ζ) on the branches of z0: by Newton's iteration where Z⁻¹ is a table."""
        if self.activation.built_in and self.activation.name in _QUICK_INVERSE:
            return np.asarray(self.branches.Z_inverse(zeta, near))
        z, left = near.copy(), np.arange(near.size)
        low, high = self.branches.interval(near)
        with np.errstate(all="ignore"):
            for _ in range(10):
                at = z[left]
                ahead = at + self.activation.dphi(at) * (zeta[left] - self.branches.Z(at))
                done = np.abs(ahead - at) <= 1e-14 * (1.0 + np.abs(at))
                inside = (ahead > low[left]) & (ahead < high[left])
                z[left] = np.where(inside, ahead, np.nan)
                left = left[~done & inside]
                if left.size == 0:
                    break
        missing = np.isnan(z)
        missing[left] = True
        if missing.any():
            z[missing] = self.branches.Z_inverse(zeta[missing], near[missing])
        return z

    def newton(self, steps: int) -> tuple[Array, Array]:
        """Return S and z(S) with ‖r(S)‖ as small as floats allow."""
        state, z = np.zeros(self.m), self.z0
        r = self.N @ self.activation.phi(z) - self.y
        size = float(np.linalg.norm(r))
        scale = float(np.linalg.norm(self.y)) + float(self.norms @ np.abs(self.activation.phi(z)))
        identity = np.eye(self.m)
        with np.errstate(all="ignore"):
            for _ in range(steps):
                self.distance = float(gap_certificate(self.image, self.y, r, state))
                if not size > 4e-16 * scale or self.distance > 0.0:
                    break
                slope = self.activation.dphi(z)
                half = self.N * slope
                H = self.omega * (half @ half.T)
                H += 1e-15 * float(np.trace(H)) * identity
                direction = np.linalg.lstsq(H, r)[0]
                part = 1.0
                while part > 1e-8:
                    ahead = state + part * direction
                    z_ahead = self.z(ahead, z)
                    r_ahead = self.N @ self.activation.phi(z_ahead) - self.y
                    size_ahead = float(np.linalg.norm(r_ahead))
                    if size_ahead <= (1.0 - 0.25 * part) * size:
                        break
                    part *= 0.5
                if not size_ahead < size:
                    break
                state, z, r, size = ahead, z_ahead, r_ahead, size_ahead
        return state, z

    def residual(self, z: Array) -> float:
        """Return an upper bound on ‖N φ(z) - y‖."""
        a = self.activation.phi(z)
        size = np.abs(a)
        found = float(np.linalg.norm(self.N @ a - self.y)) * (1.0 + gamma(self.m))
        error = gamma(self.k + 16) * (float(np.abs(self.y).sum()) + float(size @ self.norms))
        return found + error + float(size @ self.errors) * (1.0 + gamma(self.k))

    def widths(self, radius: float, off: Array) -> Array:
        """Return bounds on |Z(z_i(S')) - Z(z_i)| for ‖S' - S‖ ≤ radius, z_i = z_i(S) up to off."""
        return np.asarray((self.omega * (self.norms + self.errors) * radius + off) * (1.0 + 1e-12))

    def ball(self, state: Array, z: Array) -> tuple[float, Array] | None:
        """Return (ε, off): some S* with r(S*) = 0 has ‖S* - S‖ ≤ ε, Z(z) = Z(z(S)) up to off."""
        if not (np.isfinite(z).all() and np.isfinite(state).all()):
            return None
        zeta, Z = self.Z0 - self.omega * (state @ self.N), self.branches.Z(z)
        length = float(np.linalg.norm(state))
        off = np.abs(Z - zeta) + _Z_ERROR * (2.0 + np.abs(Z) + np.abs(self.Z0))
        off = off + self.omega * length * (gamma(self.m) * self.norms + self.errors)
        steep = np.square(self.activation.dphi(z)) * np.exp(2.0 * self.B2 * off) * off
        e = self.residual(z) + float(steep @ (self.norms + self.errors)) * (1.0 + gamma(self.k))
        rate = self.rate(z, 0.0, off)
        for _ in range(3):
            if not rate > 0.0:
                return None
            radius = 1.5 * e / rate
            rate = self.rate(z, radius, off)
            if e < rate * radius * (1.0 - 1e-12):
                return e / rate * (1.0 + 1e-12), off
        return None

    def rate(self, z: Array, radius: float, off: Array) -> float:
        """Return a lower bound on λ_min(ω N diag(φ'²) Nᵀ) over the ball around S."""
        least = self.least_slope(z, self.widths(radius, off))
        squares = np.square(least) * (1.0 - 1e-15)
        H = (self.N * squares) @ self.N.T
        mass = float(squares @ np.square(self.norms))
        doubt = float(squares @ (self.errors * (2.0 * self.norms + self.errors)))
        low = float(np.linalg.eigvalsh(H)[0])
        low -= gamma(self.k + 20 * self.m) * mass + doubt * (1.0 + gamma(self.k))
        return max(0.0, self.omega * low * (1.0 - 1e-15))

    def least_slope(self, z: Array, width: Array) -> Array:
        """Return lower bounds on |φ'| over |Z - Z(z)| ≤ width.

        The |φ'| of every built-in φ rises and then falls on a branch, so that its minimum is at an
        end.  In general |d log|φ'|/dZ| = |φ''| ≤ B2.
        """
        general = slope_below(self.activation, z) * np.exp(-self.B2 * width) * (1.0 - 1e-13)
        if not self.unimodal:
            return np.asarray(general)
        a, b = self.around(z, width)
        at_ends = np.minimum(slope_below(self.activation, a), slope_below(self.activation, b))
        return np.asarray(np.maximum(general, np.nan_to_num(at_ends, nan=0.0)))

    def around(self, z: Array, width: Array) -> tuple[Array, Array]:
        """Return a ≤ z ≤ b on the branch such that |Z - Z(z)| ≤ width lies between them."""
        Z = self.branches.Z(z)
        rising = np.where(self.activation.dphi(z) >= 0.0, 1.0, -1.0)
        ends = []
        for side in (-1.0, 1.0):
            asked = width * (1.0 + 1e-10) + 8.0 * _Z_ERROR * (1.0 + np.abs(Z))
            for _ in range(60):
                with np.errstate(all="ignore"):
                    end = self.inverse(Z + side * rising * asked, z)
                    got = self.branches.Z(end)
                    needed = width + 2.0 * _Z_ERROR * (2.0 + np.abs(Z) + np.abs(got))
                    short = ~(np.abs(got - Z) >= needed)
                if not short.any():
                    break
                asked = np.where(short, 2.0 * asked, asked)
            # Where floats end before the branch does, its end stands in.
            beyond = self.branches.interval(z)[int(side > 0)]
            ends.append(np.where(short, beyond, end))
        return np.minimum(ends[0], z), np.maximum(ends[1], z)


_QUICK_INVERSE = ("sigmoid", "tanh", "softplus", "sin", "arctan")


def slope_below(activation: Activation, z: Array) -> Array:
    """Return lower bounds on |φ'(z)|: what its evaluation may be off by is taken away."""
    with np.errstate(all="ignore"):
        slope = np.abs(activation.dphi(z)) * (1.0 - 1e-13)
    if activation.name in _TAILS and activation.built_in:
        return np.asarray(slope)
    return np.asarray(np.maximum(slope - 1e-15, 0.0))  # φ' is a difference


_TAILS = ("sigmoid", "tanh", "softplus", "erf", "arctan")
"""Activations whose φ' is a product of positive terms: its relative error is small everywhere."""


# -- the divergence --------------------------------------------------------------------------------


def divergence(activation: Activation, z0: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Return an upper bound on Σ D_h(φ(x_i), φ(z0_i)) over all x_i in [low_i, high_i].

    D_h(φ(x), φ(z0)) = ∫ (φ(x) - φ(ζ))/φ'(ζ) dζ from z0 to x, on one branch; it grows with |x - z0|
    on either side.  From the closed form of h where there is one, with a bound on its rounding;
    else from an upper sum.

    >>> from kltheory.activation import get
    >>> x = np.log(3.0)  # sigmoid: a = 3/4, h(a) = (2a - 1) log(a/(1 - a))
    >>> bool(0 <= divergence(get("sigmoid"), [0.0], [x], [x]) - 0.5 * x < 1e-12)
    True
    """
    z0, low, high = (np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (z0, low, high))
    one = _closed_divergence if activation.name in _CLOSED and activation.built_in else _upper_sum
    far = np.maximum(one(activation, z0, low), one(activation, z0, high))
    return float(far.sum()) * (1.0 + gamma(far.size))


def _h_softplus(z: Array) -> Array:
    """z s + Li₂(-e^z) + log(1 + e^-z), s = log(1 + e^z)."""
    from scipy.special import spence

    s = np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))
    # Li₂(-x) = -π²/6 - log²(x)/2 - Li₂(-1/x)
    small = spence(1.0 + np.exp(-np.abs(z)))
    li = np.where(z > 0, -(np.pi**2) / 6.0 - 0.5 * z * z - small, small)
    return np.asarray(z * s + li + (s - z))


def _h_sin(z: Array) -> Array:
    """½[(1 + a) log(1 + a) + (1 - a) log(1 - a)], a = sin z."""
    from scipy.special import xlog1py

    a = np.sin(z)
    return np.asarray(0.5 * (xlog1py(1.0 + a, a) + xlog1py(1.0 - a, -a)))


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def _h_erf(z: Array) -> Array:
    """∫ F(t) dt from 0 to z, F Dawson's integral; inf beyond |z| = 12.

    Gauss-Legendre, 16 nodes on each of 12 panels: F is entire, |F(x + iy)| ≤ |x + iy| e^{y²}, and
    on the Bernstein ellipse with ρ = 4 around a panel of length 1 the error is below 1e-17 |z|.
    """
    from scipy.special import dawsn

    middles = (np.arange(12) + 0.5) / 12.0
    nodes = (middles[:, None] + _NODES / 24.0).ravel()
    weights = np.tile(_WEIGHTS / 24.0, 12)
    value = z * (dawsn(np.multiply.outer(z, nodes)) @ weights)
    return np.where(np.abs(z) <= 12.0, value, np.inf)


_CLOSED: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda z: np.asarray(z * np.tanh(0.5 * z)),
    "tanh": lambda z: np.asarray(0.5 * z * np.tanh(z)),
    "arctan": lambda z: np.asarray((np.square(z) + 2.0 * np.log1p(np.square(z))) / 6.0),
    "softplus": _h_softplus,
    "sin": _h_sin,
    "erf": _h_erf,
}
"""h(φ(z)), up to a constant on each branch."""

_ROUNDING = 2.0**-45
"""What the few operations of a closed form can lose, relative to its largest term."""


def _closed_divergence(activation: Activation, z0: Array, x: Array) -> Array:
    """h(φ(x)) - h(φ(z0)) - Z(z0)(φ(x) - φ(z0)), plus what rounding may have taken from it."""
    h = _CLOSED[activation.name]
    with np.errstate(all="ignore"):
        hx, h0, Z = h(x), h(z0), activation.branches.Z(z0)
        a, a0 = activation.phi(x), activation.phi(z0)
        value = hx - h0 - Z * (a - a0)
        size = np.abs(hx) + np.abs(h0) + np.abs(Z) * (np.abs(a) + np.abs(a0)) + 1.0
        if activation.name == "softplus":
            size = size + np.square(x) + np.square(z0)
    return np.where(np.isfinite(value), np.maximum(value, 0.0) + _ROUNDING * size, np.inf)


_PANELS = 512


def _upper_sum(activation: Activation, z0: Array, x: Array) -> Array:
    """∫ (φ(x) - a)/φ'² da over 512 panels in z, φ'² replaced by its minimum on each."""
    out = np.empty(x.shape)
    for i in range(0, x.size, 2048):
        part = slice(i, i + 2048)
        out[part] = _upper_sum_of(activation, z0[part], x[part])
    return out


def _upper_sum_of(activation: Activation, z0: Array, x: Array) -> Array:
    finite = np.isfinite(x)
    end = np.where(finite, x, z0)
    z = z0[:, None] + (end - z0)[:, None] * np.linspace(0.0, 1.0, _PANELS + 1)
    a, slope = activation.phi(z), slope_below(activation, z)
    least = np.minimum(slope[:, 1:], slope[:, :-1])
    if not activation.built_in:
        step = np.abs(end - z0)[:, None] / _PANELS
        least = 0.5 * (slope[:, 1:] + slope[:, :-1]) - 0.5 * activation.B2 * step
    rise = np.abs(a[:, 1:] - a[:, :-1])
    left = np.abs(a[:, -1:] - 0.5 * (a[:, 1:] + a[:, :-1]))
    error = 1e-15 * np.abs(a).max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(least > 0.0, (rise + error) * (left + error) / np.square(least), np.inf)
    return np.where(finite, terms.sum(axis=1) * (1.0 + 1e-12), np.inf)
