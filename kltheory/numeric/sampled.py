"""Numbers for a ψ that is known at samples: exact, and only where the samples are.

Between samples ψ is a cubic, so Ψ(v) - Ψ(L0) = ∫ ψ'² from v to L0 is a rational number for rational
v; the loss at a time is the smallest float at which it is no larger than κt, found by bisection.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from kltheory.errors import InputError, brief
from kltheory.numeric.guarantees import Bound, Constants, positive
from kltheory.numeric.rounding import down, up
from kltheory.symbolic.samples import Cubic


class SampledCurve:
    """What `Curve` is for a formula, for cubics between samples; `kt` is the product κt.

    The loss does not increase, so from the time at which it may reach the smallest sample on, the
    bounds stay at their values there.

    >>> from kltheory.symbolic.samples import cubics
    >>> curve = SampledCurve(cubics([(1, 2), (4, 8)]), Fraction(2))
    >>> curve.loss(Fraction(2)), curve.psi(Fraction(2)), curve.loss(Fraction(100))
    (1.5, 3.0, 1.0)
    """

    deadline: float | None = None
    """No call takes long enough for a limit."""
    method = "exact rational arithmetic on the interpolated ψ"

    def __init__(self, pieces: Sequence[Cubic], loss0: Fraction) -> None:
        self._pieces = tuple(pieces)
        self._starts = [q.start for q in pieces]
        self.loss0 = loss0
        self.least = pieces[0].start
        least, most = pieces[0].start, pieces[-1].end
        if not least < loss0 <= most:
            raise InputError(
                f"loss0 = {brief(loss0)} is given, and the samples go from s = {brief(least)}"
                f" to {brief(most)}; loss0 must be above the smallest and at most the largest"
            )
        self._beyond = [Fraction(0)] * (len(self._pieces) + 1)
        for i in range(len(self._pieces) - 1, -1, -1):
            q = self._pieces[i]
            if q.start < loss0:
                end = min(q.end, loss0)
                self._beyond[i] = self._beyond[i + 1] + q.area(q.start, end)
        self._last = self._beyond[0]

    def _at(self, s: Fraction) -> Cubic:
        return self._pieces[max(0, bisect_right(self._starts, s) - 1)]

    def _value(self, s: Fraction) -> Fraction:
        return self._at(s).value(s)

    def _area(self, v: Fraction) -> Fraction:
        """∫ ψ'² from v to L0."""
        i = max(0, bisect_right(self._starts, v) - 1)
        piece = self._pieces[i]
        if self.loss0 <= piece.end:
            return piece.area(v, self.loss0)
        return piece.area(v, piece.end) + self._beyond[i + 1]

    def _loss(self, kt: Fraction) -> Fraction:
        """The smallest float v (or the least sample, or L0) with ∫ ψ'² from v to L0 at most kt."""
        least = self.least
        if kt >= self._last:
            return least
        found = _first(lambda v: self._area(Fraction(v)) <= kt, float(least), float(self.loss0))
        return min(max(Fraction(found), least), self.loss0)

    def loss(self, kt: Any) -> float:
        """Upper bound on V, rounded up."""
        return up(self._loss(Fraction(kt)))

    def psi(self, kt: Any) -> float:
        """Upper bound on ψ(V), rounded up."""
        return up(self._value(self._loss(Fraction(kt))))

    def log_decrease(self, kt: Any) -> float:
        """Lower bound on log(L0/V), rounded down."""
        v = self._loss(Fraction(kt))
        found = math.log1p(down((self.loss0 - v) / v))
        return max(0.0, found * (1 - 2**-50))

    @property
    def psi0(self) -> float:
        """ψ(L0), rounded up."""
        return up(self._value(self.loss0))

    def extinction(self) -> float:
        """Infinite: nothing is known near 0."""
        return math.inf

    def time_to_loss(self, v: Any) -> float:
        """Upper bound on κt with V(t) = v; a v below the smallest sample is refused."""
        least = self.least
        if v < least:
            raise InputError(
                f"the smallest sample is s = {float(least):g}; ask for no smaller loss"
            )
        return 0.0 if v >= self.loss0 else up(self._area(Fraction(v)))

    def stopping(self, eps: Any) -> float:
        """Upper bound on κt* with ψ(V(t*)) = ε; an ε below ψ at the smallest sample is refused."""
        least = self.least
        if eps >= self._value(self.loss0):
            return 0.0
        if eps < self._value(least):
            raise InputError(
                f"noise = {float(eps):g} is below ψ = {float(self._value(least)):g} at the smallest"
                " sample; give samples nearer to 0, or leave out the noise"
            )
        low, high = float(least), float(self.loss0)
        above = _first(lambda s: self._value(min(Fraction(s), self.loss0)) > eps, low, high)
        return up(self._area(max(Fraction(math.nextafter(above, 0.0)), least)))


def _first(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest float in [low, high] from which on a statement holds."""
    high = math.nextafter(high, math.inf)
    low = math.nextafter(low, 0.0)
    while True:
        far = high > 2 * low > 0
        middle = math.sqrt(low) * math.sqrt(high) if far else low + (high - low) / 2
        if not low < middle < high:
            return high
        if holds(middle):
            high = middle
        else:
            low = middle


def sampled_bound(pieces: Sequence[Cubic], constants: Constants) -> Bound:
    """The guarantees of Theorem 3.2 where the samples of ψ are."""
    loss0 = positive(constants.loss0, "loss0")
    return Bound(SampledCurve(pieces, loss0), constants, None)  # type: ignore[arg-type]


__all__ = ["SampledCurve", "sampled_bound"]
