"""Theorem 3.2 as numbers: the bounds (10), (11), (12) and (13) for one ψ and one set of constants.

κ = σ_F² σ_J²/4, V(t) <= Ψ⁻¹(κt + Ψ(L0)).  The `printed` forms are those of the paper's text (HAL
v1); where they differ from what its proof gives, the `corrected` ones are the default: (12), see
E12 in `kltheory audit E12`; (13), see `kltheory audit E13`; the whole, see `kltheory audit E30`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kltheory.errors import InputError, brief
from kltheory.numeric.curve import Curve, exact_number
from kltheory.numeric.rounding import sqrt_down, up

FEW = 24
"""So many different times in an array are worth the panels of `Curve.at_times`."""
THEORIES = ("corrected", "printed", "sharp")


@dataclass(frozen=True, slots=True)
class Constants:
    """The constants of one bound, exact."""

    kappa: Fraction
    """κ = σ_F² σ_J² / 4."""
    loss0: Fraction
    """L0, the loss at time 0."""
    sigma_f: Fraction | None = None
    """σ_F, the smallest non-zero singular value of the operator's Jacobian."""
    sigma_j: Fraction | None = None
    """σ_J = σ_min of the network's Jacobian at time 0 (the n-th: `kltheory audit E1`)."""
    noise: Fraction | None = None
    """‖ε‖."""
    mu: Fraction | None = None
    """μ of A-7, the restricted injectivity of the operator."""
    lip_f: Fraction | None = None
    """L_F, a bound of the operator's Jacobian from x̄ to its projection (`kltheory audit E14`)."""
    dist: Fraction | None = None
    """dist(x̄, Σ), the modelling error."""


def positive(value: Any, name: str, *, zero: bool = False, side: int = 1) -> Fraction:
    """`value` > 0 (>= 0 with `zero`) as a fraction; an irrational one moved to the safe `side`."""
    number = exact_number(value, name)
    if number < 0 or (number == 0 and not zero):
        kind = "non-negative" if zero else "positive"
        raise InputError(f"{name} = {brief(value)} is given; a {kind} number is wanted")
    if isinstance(number, Fraction):
        return number
    return Fraction(str(number.evalf(60))) * (1 + side * Fraction(1, 10**50))


def constants(
    *,
    kappa: Any = None,
    sigma_f: Any = None,
    sigma_j: Any = None,
    loss0: Any,
    noise: Any = None,
    mu: Any = None,
    lip_f: Any = None,
    dist: Any = None,
) -> Constants:
    """The constants of Theorem 3.2, checked; κ itself or σ_F with σ_J.

    >>> constants(sigma_f=2, sigma_j="1/2", loss0=1).kappa
    Fraction(1, 4)
    """
    if kappa is not None and (sigma_f is not None or sigma_j is not None):
        raise InputError("kappa is given with sigma_f or sigma_j; give kappa or the two others")
    if kappa is None:
        if sigma_f is None or sigma_j is None:
            missing = "sigma_f" if sigma_f is None else "sigma_j"
            raise InputError(f"{missing} is missing; give sigma_f and sigma_j, or kappa")
        sigma_f = positive(sigma_f, "sigma_f", side=-1)
        sigma_j = positive(sigma_j, "sigma_j", side=-1)
        kappa = (sigma_f * sigma_j) ** 2 / 4
    return Constants(
        positive(kappa, "kappa", side=-1),
        positive(loss0, "loss0"),
        sigma_f,
        sigma_j,
        None if noise is None else positive(noise, "noise", zero=True),
        None if mu is None else positive(mu, "mu", side=-1),
        None if lip_f is None else positive(lip_f, "lip_f", zero=True),
        None if dist is None else positive(dist, "dist", zero=True),
    )


class Bound:
    """The guarantees of Theorem 3.2 as functions of time, for one ψ and one set of constants.

    Times and results are floats, or arrays of the same shape.  Every bound is rounded up (a bound
    on a time as well), `log_decrease` down.  One time is computed to about 1e-16, in 1 ms to 50 ms;
    of many times in an array each is within 1e-12 of the true value (for the loss and ψ, times
    log(L0/L)/128 where that is more), and a million of them take about a second: see
    `Curve.at_times`.  The formulas as printed, and a ψ known at samples, are computed one by one.

    Assumes A-1 to A-6 and R' < R (8), so that σ_min(J_g(t)) >= σ_J/2 for all t.
    """

    def __init__(
        self, curve: Curve, constants: Constants, printed: dict[str, Callable[..., float]] | None
    ) -> None:
        self.curve = curve
        self.constants = constants
        self._printed = printed

    @property
    def theory(self) -> str:
        """ "corrected", or "printed" for the formulas of the paper's text."""
        return "corrected" if self._printed is None else "printed"

    @property
    def kappa(self) -> float:
        """κ = σ_F² σ_J² / 4, the speed of the law."""
        try:
            return float(self.constants.kappa)
        except OverflowError:
            return math.inf

    def loss(self, t: Any) -> Any:
        """(10): L(y(t)) <= Ψ⁻¹(κt + Ψ(L0)); tight for the law V' = -κ/ψ'(V)²."""
        if self._printed is not None:
            return _each(t, self._printed["loss"])
        return self._at(t, lambda x: self.curve.loss(self._kt(x)), "loss")

    def log_decrease(self, t: Any) -> Any:
        """log(L0 / loss(t)), a lower bound that stays finite where the loss underflows."""
        return self._at(t, lambda x: self.curve.log_decrease(self._kt(x)), "log_decrease")

    def parameters(self, t: Any) -> Any:
        """(11): ‖θ(t) - θ∞‖ <= ψ(Ψ⁻¹(κt + Ψ(L0)))/√κ, √κ = σ_F σ_J/2."""
        if self._printed is not None:
            return _each(t, self._printed["parameters"])
        return self._at(t, self._parameters, "psi", self._paths_left)

    def observation(self, t: Any) -> Any:
        """(18): ‖y(t) - y‖ <= ψ(Ψ⁻¹(κt + Ψ(L0))) if y is the only minimiser (convex or not)."""
        return self._at(t, lambda x: self.curve.psi(self._kt(x)), "psi")

    def signal(self, t: Any) -> Any:
        """(13), corrected: ‖x(t) - x̄‖ <= (p(t) + ‖ε‖)/μ + (1 + L_F/μ) dist(x̄, Σ).

        p(t) is the bound on the observation.  The printed first term: `kltheory audit E13`.
        """
        c = self.constants
        missing = [n for n in ("mu", "noise", "lip_f", "dist") if getattr(c, n) is None]
        if missing:
            raise InputError(f"the bound on the signal needs {', '.join(missing)}")
        mu, noise, lip_f, dist = (getattr(c, n) for n in ("mu", "noise", "lip_f", "dist"))
        if self._printed is not None:
            return _each(t, self._printed["signal"])
        rest = noise / mu + (1 + lip_f / mu) * dist

        def at(x: Any) -> float:
            error = self.curve.psi(self._kt(x))
            return error if math.isinf(error) else up(Fraction(error) / mu + rest)

        return self._at(t, at, "psi", lambda errors: line_up(errors, 1 / mu, rest))

    def stopping_time(self, noise: Any = None) -> float:
        """(12), corrected: t* = (Ψ(ψ⁻¹(‖ε‖)) - Ψ(L0))₊/κ; ‖y(t) - ȳ‖ <= 2‖ε‖ for all t >= t*.

        0 if ‖ε‖ >= ψ(L0); infinite for ‖ε‖ = 0 where the loss never vanishes.  The printed time
        is another: `kltheory audit E12`.
        """
        noise = self.constants.noise if noise is None else positive(noise, "noise", zero=True)
        if noise is None:
            raise InputError("the stopping time needs the noise level: give noise=")
        if self._printed is not None:
            return self._printed["stopping"](noise)
        return self._time(self.curve.stopping(noise))

    def extinction_time(self) -> float | None:
        """Time after which the loss is 0, an upper bound; None if that never happens."""
        extinct = self.curve.extinction()
        return None if math.isinf(extinct) else self._time(extinct)

    def time_to_loss(self, loss: Any) -> float:
        """The first time from which the loss is at most `loss`, by (10); an upper bound."""
        return self._time(self.curve.time_to_loss(positive(loss, "loss", zero=True)))

    # -- helpers ------------------------------------------------------------------------------

    def _at(
        self,
        t: Any,
        one: Callable[[Any], float],
        what: str,
        then: Callable[[Any], Any] = lambda found: found,
    ) -> Any:
        """`one` at a number; at many, what `then` makes of the curve's `what` there."""
        curve = self.curve
        if not isinstance(curve, Curve):
            return _each(t, one)
        return _each(t, one, lambda times: then(curve.at_times(what, times, self._speed)))

    @property
    def _speed(self) -> Fraction:
        """kt per time."""
        return self.constants.kappa

    def _paths_left(self, errors: Any) -> Any:
        """ψ/√κ for an array of values of ψ."""
        return line_up(errors, 1 / sqrt_down(self.constants.kappa))

    def _kt(self, t: Any) -> Fraction:
        return self.constants.kappa * positive(t, "t", zero=True, side=-1)

    def _time(self, kt: float) -> float:
        return kt if math.isinf(kt) else up(Fraction(kt) / self.constants.kappa)

    def _parameters(self, t: Any) -> float:
        error = self.curve.psi(self._kt(t))
        return error if math.isinf(error) else up(Fraction(error) / sqrt_down(self.constants.kappa))


def _each(t: Any, one: Callable[[Any], float], many: Callable[[Any], Any] | None = None) -> Any:
    """`one` at a number, or at each entry of an array (entries that are equal are computed once).

    Where an array has at least `FEW` different times, `many` gets them, rising, if there is one.
    """
    if (hasattr(t, "shape") and getattr(t, "shape", ()) != ()) or isinstance(t, list | tuple):
        import numpy as np

        times = np.asarray(t, dtype=float)
        if not np.all(np.isfinite(times)):
            raise InputError("t holds NaN or infinity; times are finite numbers >= 0")
        values, back = np.unique(times, return_inverse=True)
        if many is None or len(values) < FEW or values[0] < 0:
            found = np.array([one(x.item()) for x in values], dtype=float)
        else:
            found = many(values)
        return found[back].reshape(times.shape)
    return one(t.item() if hasattr(t, "item") else t)


def line_up(values: Any, factor: Fraction, plus: Fraction = Fraction(0)) -> Any:
    """factor x + plus for an array of x >= 0, both numbers >= 0, rounded up; inf stays inf.

    >>> import numpy as np
    >>> line_up(np.array([4.0, 0.0]), Fraction(1, 2))
    array([2., 0.])
    """
    import numpy as np

    slope = up(factor)
    if not 1e-280 < slope < 1e280:
        exact = [x if math.isinf(x) else up(factor * Fraction(x) + plus) for x in values.tolist()]
        return np.array(exact, dtype=float)
    with np.errstate(over="ignore", under="ignore"):
        found = np.where(values > 0, np.nextafter(values * slope, np.inf), 0.0)
        return np.nextafter(found + up(plus), np.inf) if plus else found


__all__ = ["FEW", "THEORIES", "Bound", "Constants", "constants", "line_up"]
