"""H = int w in panels: the two engines that integrate, and the march that collects their panels.

Panels are intervals of sigma with x = origin + scale * sinh(sigma): linear near the origin,
geometric far from it.  An engine gives (value, error) of one panel or says that it is too hard;
then the march takes a smaller step.

Ball arithmetic (python-flint) proves its errors.  Gauss-Legendre quadrature at high precision takes
the difference between one panel and its two halves, and asks that the interpolating polynomials
meet the integrand at their ends: nodes that miss a peak agree with each other, but not with it.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import mpmath

from kltheory.symbolic.evaluate import (
    MAX_PRECISION,
    BallField,
    EvaluationError,
    LostDigits,
    Program,
    RealField,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kltheory.numeric.curve import Curve

__all__ = [
    "BALL_LOCK",
    "Balls",
    "Integrand",
    "Knot",
    "Map",
    "March",
    "OutOfBudget",
    "Quadrature",
    "TooHard",
]

Number: TypeAlias = Any
"""An mpf of the curve's own context."""

BALL_LOCK = threading.RLock()
"""python-flint has one precision for the whole process."""

ROUGH = 24
"""Bits of a density, which only steers."""
_BALL_PASSES = ((1, 5), (2, 5), (1, MAX_PRECISION), (2, MAX_PRECISION), (4, MAX_PRECISION))
"""Numbers of exact terms, and the precision (in units of the target) up to which they are tried."""
_BUDGET = 4_000_000
"""Ball operations in one call before quadrature takes over (some seconds)."""


@lru_cache(maxsize=16)
def _legendre(n: int, bits: int) -> tuple[tuple[Any, Any, Any, Any], ...]:
    """Gauss-Legendre quadrature on [-1, 1] as raw mpf tuples, by rising node.

    Node x, weight w, and l/(-1 - x), l/(1 - x) with l the barycentric weight +-sqrt((1 - x^2) w),
    which give the interpolating polynomial at the ends.
    """
    ctx = mpmath.MPContext()
    ctx.prec = bits + 20

    def legendre(x: Any) -> tuple[Any, Any]:
        p0, p1 = ctx.one, x
        for j in range(2, n + 1):
            p0, p1 = p1, ((2 * j - 1) * x * p1 - (j - 1) * p0) / j
        return p1, n * (x * p1 - p0) / (x * x - 1)

    out = []
    for k in range(n, 0, -1):
        x = ctx.mpf(math.cos(math.pi * (k - 0.25) / (n + 0.5)))
        for _ in range(100):
            value, slope = legendre(x)
            step = value / slope
            x -= step
            if abs(step) < ctx.ldexp(1, -bits - 5):
                break
        slope = legendre(x)[1]
        weight = 2 / ((1 - x * x) * slope**2)
        bary = (-1) ** k * ctx.sqrt((1 - x * x) * weight)
        out.append(tuple(v._mpf_ for v in (x, weight, bary / (-1 - x), bary / (1 - x))))
    return tuple(out)


class TooHard(Exception):
    """An engine cannot integrate a panel to the tolerance."""


class OutOfBudget(TooHard):
    """Balls would take too long."""


@dataclass(frozen=True, slots=True)
class Map:
    """x = origin + scale * sinh(sigma)."""

    origin: Number
    scale: Number

    def x(self, ctx: Any, sigma: Number) -> Number:
        """The point."""
        return self.origin + self.scale * ctx.sinh(sigma)


@dataclass(frozen=True, slots=True)
class Knot:
    """A point of the march and H there."""

    map: Map
    sigma: Number
    x: Number
    total: Number
    error: Number
    density: Number
    """dH/dsigma at the knot, from the side of the next panel."""


class Integrand:
    """w(x) with the precision that it needs, and the start y0."""

    def __init__(self, curve: Curve, program: Program) -> None:
        self.curve = curve
        self.ctx = curve._ctx
        self.program = program
        self.field = RealField(self.ctx)
        self.checking = RealField(self.ctx)
        self.checking.checked = True

    def y(self, x: Number) -> Number:
        """y0 + x at the current precision."""
        return self.curve._start(self.ctx.prec) + x

    def value(
        self, x: Number, program: Program | None = None, relative_bits: int | None = None
    ) -> Number:
        """w at x (or another program), to the precision of the context or to some bits."""
        value, level = (program or self.program).settle(
            self.ctx, lambda: self.y(x), relative_bits=relative_bits
        )
        self.last_level = level
        return value

    def size(self, x: Number) -> Number:
        """w at x roughly; inf where a sum loses its digits."""
        try:
            return abs(self.program.run(self.checking, self.y(x)))
        except LostDigits:
            return self.ctx.inf

    def raw(self, x: Number, level: tuple[int, int]) -> Number:
        """w at x with the precision of a level, unchecked."""
        ctx = self.ctx
        before = ctx.prec
        ctx.prec = before + 20 + level[1]
        try:
            return self.program.run(self.field, self.y(x), level[0])
        finally:
            ctx.prec = before


class Quadrature:
    """Gauss-Legendre panels: the error is the difference between one panel and its halves."""

    certified = False

    def __init__(self, w: Integrand) -> None:
        self.w = w
        self.ctx = w.ctx

    def density(self, m: Map, sigma: Number) -> Number:
        """dH/dsigma."""
        value = self.w.value(m.x(self.ctx, sigma), relative_bits=ROUGH)
        return value * m.scale * self.ctx.cosh(sigma)

    def _sum(
        self, m: Map, a: Number, b: Number, level: tuple[int, int], n: int
    ) -> tuple[Number, Number, Number]:
        """The sum over [a, b], and what its interpolating polynomial says at a and b."""
        ctx = self.ctx
        half, middle = (b - a) / 2, (a + b) / 2
        total = ctx.zero
        ends = [[ctx.zero, ctx.zero], [ctx.zero, ctx.zero]]
        raw, x_of, make = self.w.raw, m.x, ctx.make_mpf
        for node, weight, at_minus, at_plus in _legendre(n, ctx.prec):
            sigma = middle + half * make(node)
            value = raw(x_of(ctx, sigma), level) * ctx.cosh(sigma)
            total += make(weight) * value
            for end, factor in zip(ends, (make(at_minus), make(at_plus)), strict=True):
                end[0] += factor * value
                end[1] += factor
        return total * half * m.scale, *(m.scale * top / bottom for top, bottom in ends)

    def _negligible(self, m: Map, a: Number, b: Number, floor: Number) -> bool:
        """True if w is far too small on [a, b] to matter, as seen at five points."""
        ctx = self.ctx
        limit = floor * ctx.ldexp(1, -2 * ctx.prec)
        try:
            return all(
                self.w.size(m.x(ctx, sigma)) * m.scale * ctx.cosh(sigma) * (b - a) < limit
                for sigma in (a + (b - a) * k / 4 for k in (4, 0, 2, 1, 3))
            )
        except EvaluationError:
            return False

    def integral(self, m: Map, a: Number, b: Number, floor: Number) -> tuple[Number, Number]:
        """(value, error) of H over [a, b] in sigma, signed; TooHard if not below the tolerance."""
        ctx = self.ctx
        self.w.curve._tick()
        if a == b:
            return ctx.zero, ctx.zero
        middle = (a + b) / 2
        if floor and self._negligible(m, a, b, floor):
            return ctx.zero, floor * ctx.ldexp(1, -ctx.prec)
        level = (1, 0)
        truth = []
        for sigma in (a, middle, b):
            value = self.w.value(m.x(ctx, sigma), relative_bits=ctx.prec - 24)
            truth.append(value * m.scale * ctx.cosh(sigma))
            level = max(level, self.w.last_level)
        n = self.w.curve._nodes
        try:
            whole, *_ = self._sum(m, a, b, level, n)
            left, *left_ends = self._sum(m, a, middle, level, n)
            right, *right_ends = self._sum(m, middle, b, level, n)
        except EvaluationError as trouble:
            raise TooHard(str(trouble)) from None
        value = left + right
        error = abs(value - whole)
        scale = max(abs(value), floor)
        tolerance = self.w.curve._tolerance
        # nodes that do not see the integrand agree with each other, but not with its ends
        seen = max(
            abs(known - said)
            for known, said in zip(
                (truth[0], truth[1], truth[1], truth[2]), (*left_ends, *right_ends), strict=True
            )
        )
        if not (error <= scale * tolerance and seen * abs(b - a) <= scale * ctx.sqrt(tolerance)):
            raise TooHard
        return value, error + scale * ctx.ldexp(1, 12 - ctx.prec)


class Balls:
    """acb.integral: the error is a proof."""

    certified = True

    def __init__(self, w: Integrand) -> None:
        import flint

        self.flint = flint
        self.w = w
        self.ctx = w.ctx
        self.field = BallField()
        self.until = math.inf

    def spend(self) -> None:
        """Refuses to go on when the time is up or balls have done too much."""
        curve = self.w.curve
        curve._tick()
        spent = self.field.work > _BUDGET or time.thread_time() > self.until
        if spent and not curve.certified:
            raise OutOfBudget

    @contextmanager
    def precision(self, bits: int) -> Iterator[None]:
        """Holds the precision of python-flint; the caller holds the lock."""
        before = self.flint.ctx.prec
        self.flint.ctx.prec = bits
        try:
            yield
        finally:
            self.flint.ctx.prec = before

    def arb(self, x: Number) -> Any:
        """The exact ball of an mpf."""
        sign, man, exp, _ = x._mpf_
        return self.flint.arb((-int(man) if sign else int(man), int(exp)))

    def mpf(self, mid: Any) -> Number:
        """The mpf of an exact arb."""
        man, exp = mid.man_exp()
        return self.ctx.make_mpf(mpmath.libmp.from_man_exp(int(man), int(exp)))

    def bounds(self, ball: Any) -> tuple[Number, Number]:
        """Lower and upper end of a real ball."""
        return self.mpf(ball.lower()), self.mpf(ball.upper())

    def ball(
        self,
        program: Program,
        x: Number,
        bits_needed: int | None = None,
        negligible: Number | None = None,
    ) -> Any:
        """A real ball around a program at x, as sharp as asked or surely below `negligible`."""
        target = self.ctx.prec
        needed = target - 30 if bits_needed is None else bits_needed
        best = None
        for order, most in _BALL_PASSES:
            bits = target + 20
            while bits <= min(most * target, MAX_PRECISION):
                self.spend()
                with self.precision(bits):
                    y = self.flint.acb(self.w.curve._start_ball(bits) + self.arb(x))
                    value = program.ball(self.field, y, order).real
                    if value.is_finite():
                        accuracy = value.rel_accuracy_bits()
                        if best is None or accuracy > best[0]:
                            best = (accuracy, value, (order, bits))
                        if accuracy >= needed or (
                            negligible is not None
                            and bool(value.abs_upper() < self.arb(negligible))
                        ):
                            return value, (order, bits)
                bits = bits + max(64, bits * 3 // 5)
        if best is None:
            raise TooHard("no finite ball")
        return best[1], best[2]

    def density(self, m: Map, sigma: Number) -> Number:
        """dH/dsigma."""
        ctx = self.ctx
        value, self.last_level = self.ball(self.w.program, m.x(ctx, sigma), ROUGH)
        return self.mpf(value.mid()) * m.scale * ctx.cosh(sigma)

    def integral(self, m: Map, a: Number, b: Number, floor: Number) -> tuple[Number, Number]:
        """(value, error) of H over [a, b] in sigma, signed."""
        ctx = self.ctx
        if a == b:
            return ctx.zero, ctx.zero
        xa, xb = m.x(ctx, a), m.x(ctx, b)
        if xb < xa:
            value, error = self.between(xb, xa, floor)
            return -value, error
        return self.between(xa, xb, floor)

    def between(self, xa: Number, xb: Number, floor: Number) -> tuple[Number, Number]:
        """(value, error) of int_xa^xb w."""
        curve = self.w.curve
        curve._tick()
        order, bits = 1, self.ctx.prec
        negligible = floor * curve._tolerance / (1024 * (1 + xb - xa))
        for x in (xa, xb):
            level = self.ball(self.w.program, x, negligible=negligible)[1]
            order, bits = max(order, level[0]), max(bits, level[1])
        trouble: list[BaseException] = []
        program, field, acb = self.w.program, self.field, self.flint.acb
        with self.precision(bits):
            start = curve._start_ball(bits)
            nan = acb("nan")

            def f(x: Any, analytic: bool) -> Any:
                if trouble:
                    return nan
                try:
                    self.spend()
                    return program.ball(field, acb(start) + x, order, analytic)
                except BaseException as error:  # C code cannot pass it on: kept, raised below
                    trouble.append(error)
                    return nan

            tolerance = curve._tolerance / 16
            result = acb.integral(
                f,
                self.arb(xa),
                self.arb(xb),
                rel_tol=self.arb(tolerance),
                abs_tol=self.arb(floor * tolerance)
                if floor
                else self.arb(self.ctx.ldexp(1, -(10**9))),
                eval_limit=4000,
            ).real
            if trouble and not isinstance(trouble[0], EvaluationError | TooHard):
                raise trouble[0]
            if trouble or not result.is_finite():
                raise TooHard(str(trouble[:1]))
            value, radius = self.mpf(result.mid()), self.mpf(result.rad())
        if not radius <= max(abs(value), floor) * curve._tolerance:
            raise TooHard("the ball is too wide")
        return value, radius


class March:
    """Knots of H from 0 on, with errors below the tolerance times max(H, floor)."""

    def __init__(self, curve: Curve, engine: Any, floor: Number) -> None:
        self.curve = curve
        self.engine = engine
        self.ctx = curve._ctx
        self.floor = floor
        self.step = self.ctx.one
        self.stalled = 0
        first = Map(self.ctx.zero, self._first_scale())
        self.knots = [self._knot(first, self.ctx.zero, self.ctx.zero, self.ctx.zero)]

    def _first_scale(self) -> Number:
        """min(1, 1/|(log w)'|) at x = 0, or 1 if what lies within is negligible."""
        ctx = self.ctx
        w0 = self.curve._w(ctx.zero)
        near = ctx.ldexp(1, -60)
        while True:
            w1 = self.curve._w(near)
            ratio = w1 / w0
            if ctx.ldexp(1, -2) < ratio < 4 or ctx.mag(near) < -5000:
                break
            near *= ctx.ldexp(1, -64)
        slope = abs(ctx.log(ratio)) / near
        if slope <= 1:
            return ctx.one
        if ratio > 1 and w0 / slope < self.floor * ctx.ldexp(1, -200):
            return ctx.one
        return 1 / slope

    def _knot(self, m: Map, sigma: Number, total: Number, error: Number) -> Knot:
        density = self.engine.density(m, sigma)
        return Knot(m, sigma, m.x(self.ctx, sigma), total, error, density)

    @property
    def last(self) -> Knot:
        """The knot that has been reached."""
        return self.knots[-1]

    def advance(self) -> None:
        """One panel more."""
        ctx, last = self.ctx, self.last
        m, sigma = last.map, last.sigma
        y0 = self.curve._start(ctx.prec)
        new_map = None
        while True:
            self.curve._tick()
            end = sigma + self.step
            x_end = m.x(ctx, end)
            new_map = None
            if last.x < -y0 <= x_end:
                # p = 1: the geometric growth starts anew
                end = ctx.asinh((-y0 - m.origin) / m.scale)
                new_map = Map(-y0, ctx.one)
                if end <= sigma:
                    self.knots.append(self._knot(new_map, ctx.zero, last.total, last.error))
                    self.step = ctx.one
                    return
            resume = end
            if self.curve._program.relations:
                end, resume = self._before_switch(m, sigma, end)
                if resume != end:
                    new_map = None
            try:
                value, error = self.engine.integral(m, sigma, end, max(self.floor, last.total))
                if resume != end:
                    jump = self._across(m, end, resume, max(self.floor, last.total + value))
                    value, error = value + jump[0], error + jump[1]
            except OutOfBudget:
                raise
            except TooHard:
                value = None
            if value is not None:
                break
            self.step = min(self.step, end - sigma) / 4
            if self.step <= abs(sigma) * ctx.ldexp(1, 30 - ctx.prec) or ctx.mag(self.step) < -2000:
                raise TooHard("the step is too small")
        total = last.total + value
        error = last.error + error
        end = resume
        grown = 2 if value > total * ctx.ldexp(1, -40) else 4
        self.stalled = self.stalled + 1 if total + value * ctx.ldexp(1, -20) == total else 0
        if end - sigma >= self.step:
            self.step *= grown
        if new_map is not None:
            m, end = new_map, ctx.zero
            self.step = ctx.one
        self.knots.append(self._knot(m, end, total, error))

    def _across(self, m: Map, a: Number, b: Number, floor: Number) -> tuple[Number, Number]:
        """(value, error) over the tiny gap [a, b] in which the integrand changes its piece."""
        if self.engine.certified:
            value, error = self.engine.integral(m, a, b, floor)
            return value, error
        value = max(self.engine.density(m, a), self.engine.density(m, b)) * (b - a)
        return value, value

    def _before_switch(self, m: Map, a: Number, b: Number) -> tuple[Number, Number]:
        """The first place in [a, b] where a piece of the integrand changes, as a tiny bracket."""
        ctx = self.ctx
        w = self.curve._integrand

        def pieces(sigma: Number) -> Any:
            return w.program.signature(w.field, w.y(m.x(ctx, sigma)))

        first = pieces(a)
        low, high = a, b
        for k in range(1, 17):
            point = a + (b - a) * k / 16
            if pieces(point) != first:
                high = point
                break
            low = point
        else:
            return b, b
        while high - low > max(abs(low), abs(high)) * ctx.ldexp(1, 8 - ctx.prec):
            middle = (low + high) / 2
            if middle in (low, high):
                break
            if pieces(middle) == first:
                low = middle
            else:
                high = middle
        return low, high
