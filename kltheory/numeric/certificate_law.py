"""What a certificate says about time: the law V' ≤ -s(p)²/ψ'(V)², p = ψ(V), for any ψ.

A certificate gives a lower bound s² on ‖Kᵀ∇L‖²/‖∇L‖², K = J_F J_g, as a function of p = ψ(L(y(t))).
From it follow the loss, ‖y(t) - y‖ ≤ p(t), the path that is left, ∫₀^p dπ/s(π), and the times.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kltheory.errors import InputError
from kltheory.loss_functions import RadialLoss
from kltheory.numeric.curve import Curve
from kltheory.numeric.guarantees import _each, positive
from kltheory.numeric.reach_rate import MirrorCertificate
from kltheory.numeric.rounding import down, sqrt_down, up
from kltheory.numeric.sharp import _AffineCurve, concave
from kltheory.symbolic.desingularizer import Desingularizer

__all__ = ["Law", "MirrorLaw", "Piece", "is_concave", "path_left", "start_value"]

_SLACK = Fraction(1, 10**12)
"""Share by which accumulated times are moved to the safe side."""
_STAIRS = 24
"""Pieces that a staircase has at most: each costs an integral."""


@dataclass(frozen=True, slots=True)
class Piece:
    """s² ≥ A + B p for p from the end of the piece before (or ψ(L0)) down to `end`."""

    A: Fraction
    B: Fraction
    end: Fraction
    """The p at which the piece ends; 0 for the last."""

    @property
    def last_speed(self) -> Fraction:
        """A + B end, the smallest s² of the piece."""
        return self.A + self.B * self.end


def path_left(pieces: Sequence[Piece], p: Fraction, c: Fraction = Fraction(1)) -> float:
    """An upper bound on ∫₀^p dπ/(c s(π)), the path from where ψ(L) = p on.

    >>> path_left([Piece(Fraction(1), Fraction(0), Fraction(0))], Fraction(3))
    3.0
    """
    total = Fraction(0)
    for before, piece in zip((None, *pieces), pieces, strict=False):
        top = p if before is None else min(p, before.end)
        if top <= piece.end:
            continue
        low, high = piece.last_speed, piece.A + piece.B * top
        if not high > 0:
            return math.inf
        total += 2 * (top - piece.end) / (sqrt_down(max(low, Fraction(0))) + sqrt_down(high))
    return up(total / c)


def paths_left(pieces: Sequence[Piece], values: Any, c: Fraction = Fraction(1)) -> Any:
    """`path_left` for an array of values p, rounded up.

    >>> import numpy as np
    >>> paths_left([Piece(Fraction(1), Fraction(0), Fraction(0))], np.array([4.0, 0.0])).round(9)
    array([4., 0.])
    """
    import numpy as np

    found = np.full(values.shape, np.inf)
    found[values == 0] = 0.0
    rest = 0.0  # of the pieces below
    with np.errstate(all="ignore"):
        for k in range(len(pieces) - 1, -1, -1):
            piece, end = pieces[k], down(pieces[k].end)
            top = down(pieces[k - 1].end) if k else math.inf
            here = (values > end) & (values <= top)
            A, B, p = float(piece.A), float(piece.B), values[here]
            low = max(0.0, down(piece.last_speed)) * (1 - 2.0**-50)
            high = A + B * p - 2.0**-50 * (abs(A) + abs(B) * p)
            speeds = math.sqrt(low) + np.sqrt(np.maximum(high, 0.0))
            part = 2 * (p - end) / (speeds * float(c)) * (1 + 2.0**-49)
            found[here] = np.nextafter(part + rest, np.inf)
            if k:
                whole = path_left([piece], pieces[k - 1].end, c)
                rest = math.nextafter(rest + whole, math.inf)
    found[np.isnan(found)] = np.inf
    return found


def start_value(psi: Desingularizer, loss0: float) -> float:
    """ψ(L0), rounded up.

    >>> start_value(Desingularizer.from_psi("sqrt(2*s)"), 2.0)
    2.0
    """
    return _curve(psi, loss0).psi0


def is_concave(psi: Desingularizer, loss0: float) -> bool:
    """Whether ψ is concave on [0, L0], which every statement on descent asks for.

    >>> cauchy = Desingularizer.from_psi("sqrt(exp(2*s) - 1)")  # concave up to log(2)/2
    >>> is_concave(cauchy, 0.34), is_concave(cauchy, 0.35)
    (True, False)
    """
    return not loss0 > 0 or concave(_curve(psi, loss0))


def _options(psi: Desingularizer, loss0: float) -> dict[str, Any]:
    return {"loss0": loss0, "radius": None if psi.radius.is_infinite else psi.radius}


def _curve(psi: Desingularizer, loss0: float) -> Curve:
    return Curve(psi.loss, psi.value, psi.symbol, **_options(psi, loss0))


class Law:
    """Upper bounds over time, from the start of a certificate on.

    Times and results are floats, or arrays of the same shape; every bound is rounded up.  For
    descent, t is the sum of the steps.
    """

    def __init__(
        self, psi: Desingularizer, loss0: float, pieces: Sequence[Piece], c: Fraction = Fraction(1)
    ) -> None:
        self.pieces, self.c, self.loss0 = tuple(pieces), c, loss0
        self._affine: Curve | None = None
        self._base: Curve | None = None
        if not loss0 > 0:
            return
        first = self.pieces[0]
        if len(self.pieces) == 1 and first.B:
            if not first.A > 0:
                raise InputError("the law needs a positive speed in the end")
            self._affine = _AffineCurve(
                psi.loss, psi.value, psi.symbol, first.A, first.B, **_options(psi, loss0)
            )
            return
        self._base = _curve(psi, loss0)
        self._stairs = _staircase(self.pieces)
        # The clock H = ∫ψ'² dV of the plain law and the time at which each stair ends: with speeds
        # that fall from stair to stair, a stair that ends too early makes the times too large.
        clock, when = [Fraction(0)], [Fraction(0)]
        for stair in self._stairs[:-1]:
            end = max(clock[-1], Fraction(self._base.stopping(stair.end)) * (1 - _SLACK))
            when.append((when[-1] + (end - clock[-1]) / stair.A) * (1 + _SLACK))
            clock.append(end)
        self._clock, self._when = clock, when

    # -- the law --------------------------------------------------------------------------------

    def loss(self, t: Any) -> Any:
        """L(y(t)) at most (minus what no signal can reach, if y is not in Im A)."""
        return _each(t, lambda x: self._at(x, "loss"), lambda times: self._many(times, "loss"))

    def psi(self, t: Any) -> Any:
        """ψ(L(y(t))), and with it ‖y(t) - y‖, at most (‖y(t) - Py‖, P on Im A, if y is outside).

        For a radial loss ψ is the loss's own, with ψ(L) = ‖y(t) - y‖, whatever ψ was given.
        """
        return _each(t, lambda x: self._at(x, "psi"), lambda times: self._many(times, "psi"))

    def parameters(self, t: Any) -> Any:
        """‖θ(t) - θ(∞)‖ at most."""
        return _each(
            t,
            lambda x: path_left(self.pieces, Fraction(self._at(x, "psi")), self.c),
            lambda times: paths_left(self.pieces, self._many(times, "psi"), self.c),
        )

    def stopping_time(self, noise: Any) -> float:
        """The first time from which ‖y(t) - ȳ‖ ≤ 2‖ε‖, by ψ(L(y(t))) ≤ ‖ε‖; 0 if it is so at 0."""
        return self._until(lambda curve: curve.stopping(positive(noise, "noise", zero=True)))

    def time_to_loss(self, loss: Any) -> float:
        """The first time from which the loss is at most `loss`."""
        return self._until(lambda curve: curve.time_to_loss(positive(loss, "loss", zero=True)))

    # -- helpers ---------------------------------------------------------------------------------

    def _at(self, t: Any, what: str) -> float:
        time = positive(t, "t", zero=True, side=-1) * self.c
        curve = self._affine or self._base
        if curve is None:
            return 0.0
        if self._affine is None:
            at = bisect_left(self._when, time) - 1 if time > 0 else 0
            time = self._clock[at] + self._stairs[at].A * (time - self._when[at])
            time = max(Fraction(0), time * (1 - _SLACK))
        return float(getattr(curve, what)(time))

    def _many(self, times: Any, what: str) -> Any:
        """`_at` for an array of rising times."""
        import numpy as np

        curve = self._affine or self._base
        if curve is None:
            return np.zeros(len(times))
        if self._affine is not None:
            return curve.at_times(what, times, self.c)
        clock, when, speed = (
            np.array([float(x) for x in xs])
            for xs in (self._clock, self._when, [q.A for q in self._stairs])
        )
        with np.errstate(all="ignore"):
            gone = times * float(self.c)
            at = np.maximum(np.searchsorted(when, gone) - 1, 0)
            # the speeds fall, so clock >= speed * when, and the rounding is below 16 ulp of the sum
            at_clock = clock[at] + speed[at] * np.maximum(gone - when[at], 0.0)
            at_clock *= float(1 - _SLACK) * (1 - 2.0**-46)
        if not np.all(np.isfinite(at_clock) & ((at_clock > 1e-290) | (times == 0))):
            return np.array([self._at(x, what) for x in times.tolist()])
        return curve.at_times(what, np.maximum.accumulate(at_clock), Fraction(1))

    def _until(self, ask: Any) -> float:
        curve = self._affine or self._base
        found = 0.0 if curve is None else float(ask(curve))
        if math.isinf(found) or not found:
            return found
        time = Fraction(found)
        if self._affine is None:
            at = bisect_left(self._clock, time) - 1
            gone = (time - self._clock[at]) / self._stairs[at].A
            time = (self._when[at] + gone) * (1 + _SLACK)
        return up(time / self.c)


class MirrorLaw:
    """Upper bounds over time for the hidden layer, V fixed and F = A, from its mirror flow."""

    def __init__(
        self, mirror: MirrorCertificate, psi: Desingularizer, loss0: float, pieces: Sequence[Piece]
    ) -> None:
        self.mirror, self.loss0, self.pieces = mirror, loss0, tuple(pieces)
        self._psi, self._radial = psi, isinstance(mirror.loss, RadialLoss)

    def loss(self, t: Any) -> Any:
        """L(y(t)) at most (minus what no signal can reach, if y is not in Im A)."""
        return _each(t, lambda x: min(self.loss0, float(self.mirror.loss_bound(_time(x)))))

    def psi(self, t: Any) -> Any:
        """ψ(L(y(t))), and with it ‖y(t) - y‖, at most (‖y(t) - Py‖, P on Im A, if y is outside).

        For a radial loss ψ is the loss's own, with ψ(L) = ‖y(t) - y‖, whatever ψ was given.
        """
        return _each(t, self._error)

    def _error(self, t: Any) -> float:
        if self._radial:
            return float(self.mirror.residual_bound(_time(t)))
        loss = self.loss(t)
        return start_value(self._psi, loss) if loss > 0 else 0.0

    def parameters(self, t: Any) -> Any:
        """‖θ(t) - θ(∞)‖ at most; inf if no rate is proved."""
        if not self.pieces:
            return _each(t, lambda x: math.inf)
        return _each(t, lambda x: path_left(self.pieces, Fraction(self._error(x))))

    def stopping_time(self, noise: Any) -> float:
        """The first time from which ‖y(t) - ȳ‖ ≤ 2‖ε‖, by ‖y(t) - y‖ ≤ ‖ε‖; 0 if it is so at 0."""
        return self._until(self._error, down(positive(noise, "noise", zero=True)))

    def time_to_loss(self, loss: Any) -> float:
        """The first time from which the loss is at most `loss`."""
        return self._until(self.loss, down(positive(loss, "loss", zero=True)))

    def _until(self, bound: Any, target: float) -> float:
        """The first time from which a bound that does not rise is at most `target`."""
        low, high = 0.0, 1.0
        if bound(0.0) <= target:
            return 0.0
        while not bound(high) <= target:
            low, high = high, 4 * high
            if high > 1e300:
                return math.inf
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if bound(middle) <= target else (middle, high)
        return high


def _time(t: Any) -> float:
    return down(positive(t, "t", zero=True, side=-1)) + 0.0  # no -0.0


def _staircase(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces with the smallest speed of each; few, and with speeds that do not rise."""
    share = -(-len(pieces) // _STAIRS)
    stairs: list[Piece] = []
    for at in range(0, len(pieces), share):
        piece = pieces[min(at + share, len(pieces)) - 1]
        speed = piece.last_speed
        if not speed > 0:
            raise InputError("the law needs a positive speed in the end")
        stairs.append(Piece(speed, Fraction(0), piece.end))
    return stairs
