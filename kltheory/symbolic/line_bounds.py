"""Proved bounds for a function on ℝ that is given as text: suprema, moments, signs, limits.

The two half-lines of φ are covered by cells: [0, b], [a, b], and [a, ∞).  On a cell φ and its
derivatives are enclosed in ball arithmetic, by their trees, by Taylor's formula around the middle,
and at the two ends by `tails`.  Cells that decide nothing are split (branch and bound).  A cell
counts only if φ and the derivative in question are seen to be analytic on it; at 0, where the
halves meet, φ and φ' must agree exactly.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, TypeVar

import sympy as sp

from kltheory.errors import InputError
from kltheory.symbolic.exact import EvaluationError, from_sympy
from kltheory.symbolic.fields import BallField
from kltheory.symbolic.half_lines import HalfLines
from kltheory.symbolic.tails import End, Undecided

__all__ = ["Interval", "LineBounds", "Monotone", "bounds_on_line"]

Ball: TypeAlias = Any
"""An arb."""
T = TypeVar("T")
Ends: TypeAlias = tuple[Ball, Ball]
"""Two arbs without radius, with the values between them."""

PRECISION = 160
"""Bits."""
TOLERANCE = 2.0**-48
"""Upper and lower bounds on a supremum differ by at most this share."""
LONGEST = 2.0**100
"""A last cell [a, ∞) starts no later than here."""
MOST_CELLS = 6000
"""Cells for one supremum."""
CUT = 16
"""Moments are integrated over [-16, 16]; the tail beyond is bounded."""
MOST_OPERATIONS = 60
"""A tree with more operations is not simplified, which could take forever."""
LONGEST_TEXT = 40
"""A φ with more operations is not examined: its fourth derivative could take forever."""
_PIECES = (sp.Abs, sp.sign, sp.Min, sp.Max, sp.Heaviside, sp.Piecewise, sp.DiracDelta)
_CALLS = frozenset("sin cos sinh cosh tanh atan asinh erf erfc".split())


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and two rational ends around it."""

    low: Fraction
    high: Fraction


@dataclass(frozen=True, slots=True)
class Monotone:
    """What is proved about a φ whose φ' has one sign on ℝ and no zero."""

    infimum: Interval | None
    """inf φ; None: -∞."""
    supremum: Interval | None
    """sup φ; None: ∞."""
    slow: bool
    """Whether φ'/φ is bounded where |φ| is least, at an end: then ∫ φ/φ' diverges there."""
    levels: tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]
    """For x > 0 and x < 0: pairs (z, g) with |∫ 2φ/φ'| ≥ g from the zero of φ to ±z."""


@dataclass(frozen=True, slots=True)
class LineBounds:
    """What is proved about φ, with X ~ N(0, 1)."""

    slope: Interval
    """sup|φ'|."""
    curvature: Interval
    """sup|φ''| = Lip(φ')."""
    square: Interval
    """E[φ(X)²]."""
    slope_square: Interval
    """E[φ'(X)²]."""
    absolute: Interval
    """E|φ(X)|."""
    fourth: Interval
    """E[φ(X)⁴]."""
    branch: Monotone | str
    """What is proved if φ is monotone, or why nothing is."""


# -- trees on balls --------------------------------------------------------------------------------


class _Tree:
    """Trees in x, as one straight line of operations on acb balls."""

    def __init__(self, exprs: tuple[Any, ...], symbol: Any) -> None:
        self.symbol = symbol
        self.code: list[tuple[Any, ...]] = []
        self._at: dict[Any, int] = {}
        self.results = [self._compile(expr) for expr in exprs]

    def _compile(self, expr: Any) -> int:
        if expr not in self._at:
            self.code.append(self._operation(expr))
            self._at[expr] = len(self.code) - 1
        return self._at[expr]

    def _operation(self, expr: Any) -> tuple[Any, ...]:
        if expr == self.symbol:
            return ("x",)
        if not expr.has(self.symbol):
            return ("constant", expr)
        if expr.is_Add or expr.is_Mul:
            return ("add" if expr.is_Add else "mul", [self._compile(a) for a in expr.args])
        if isinstance(expr, sp.exp):
            return ("exp", self._compile(expr.args[0]))
        if expr.is_Pow:
            if not expr.exp.has(self.symbol):
                return ("pow", self._compile(expr.base), from_sympy(expr.exp))
            return ("exp", self._compile(expr.exp * sp.log(expr.base)))
        if isinstance(expr, sp.log):
            return ("log", self._compile(expr.args[0]))
        name = type(expr).__name__
        if isinstance(expr, sp.Function) and name in _CALLS:
            return ("call", self._compile(expr.args[0]), name)
        raise Undecided(f"{name} is not enclosed")

    def __call__(self, field: BallField, x: Any, analytic: bool) -> list[Any]:
        """Return the values on the ball x; with `analytic`, not finite unless seen to be that."""
        field.analytic_only = analytic
        values: list[Any] = []
        for operation, *operands in self.code:
            if operation == "x":
                value = x
            elif operation == "constant":
                value = field.constant(operands[0])
            elif operation in ("add", "mul"):
                value = values[operands[0][0]]
                for i in operands[0][1:]:
                    value = value + values[i] if operation == "add" else value * values[i]
            elif operation == "exp":
                value = values[operands[0]].exp()
            elif operation == "log":
                value = field.log(values[operands[0]])
            elif operation == "pow":
                value = field.pow(values[operands[0]], operands[1])
            else:
                value = field.function(operands[1], (), values[operands[0]])
            values.append(value)
        return [values[i] for i in self.results]


def _plain(expr: Any) -> Any:
    """Bring an algebraic function over one denominator: what cancels costs digits and cells."""
    if expr.has(sp.Function, sp.exp, *_PIECES) or expr.count_ops() > MOST_OPERATIONS:
        return expr
    return sp.factor(sp.together(expr))


def _rational(point: Ball) -> Fraction:
    """Return the exact value of an arb without radius."""
    mantissa, exponent = point.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _interval(ball: Ball) -> Interval:
    return Interval(_rational(ball.lower()), _rational(ball.upper()))


# -- one half-line ---------------------------------------------------------------------------------


class _Half:
    """φ and its derivatives on x > 0, or the same for φ(-x)."""

    def __init__(self, halves: HalfLines, side: int, flint: Any) -> None:
        self.flint, self.symbol, self.side = flint, halves.variable, side
        self.exprs = [_plain(halves.derivative(order)[side]) for order in range(5)]
        self.field = BallField()
        self._trees: dict[tuple[int, ...], _Tree] = {}

    def tree(self, *orders: int) -> _Tree:
        if orders not in self._trees:
            self._trees[orders] = _Tree(tuple(self.exprs[o] for o in orders), self.symbol)
        return self._trees[orders]

    def ball(self, a: float, b: float) -> Ball:
        return self.flint.arb(a).union(self.flint.arb(b))

    def at(self, order: int, x: float) -> Ball:
        """Return the value of a derivative at a point."""
        return self.tree(order)(self.field, self.flint.acb(x), False)[0].real

    def end(self, a: float, near_zero: bool = False) -> End:
        return End(self.symbol, a, near_zero)

    def slope_sign(self, a: float, b: float | None) -> int:
        """Return the sign that φ' has on a cell, 0 where none is seen."""
        found = self.range(1, a, b)
        if found is not None and (found[0] > 0 or found[1] < 0):
            return 1 if found[0] > 0 else -1
        try:
            if b is None and a >= 4:
                return self.end(a).sign_of(self.exprs[1])
        except (Undecided, EvaluationError):
            pass
        return 0

    def range(self, order: int, a: float, b: float | None) -> Ends | None:
        """Enclose φ^(order) on a cell; None where it is not known, or φ not analytic."""
        found = self._tail(order, a, b)
        if b is None:
            return found
        inside = self._inside(order, a, b)
        if found is None or inside is None:
            return inside if found is None else found
        return _narrower(found, inside)

    def _tail(self, order: int, a: float, b: float | None) -> Ends | None:
        """Enclose it at an end: on [a, ∞), or on ]0, b]."""
        try:
            if a >= 4:
                end = self.end(a)
            elif a == 0 and b is not None and b <= 0.25:
                end = self.end(1 / b, near_zero=True)
            else:
                return None
            end.terms(self.exprs[0])  # φ is analytic there as well
            return end.span(self.exprs[order])
        except (Undecided, EvaluationError):
            return None

    def _inside(self, order: int, a: float, b: float) -> Ends | None:
        flint, x = self.flint, self.ball(a, b)
        values = self.tree(0, order, order + 1, order + 2)(self.field, flint.acb(x), a > 0)
        if not (values[0].is_finite() and values[1].is_finite()):
            return None
        found = _ends(values[1].real)
        middle = a + (b - a) / 2
        centre = [v.real for v in self.tree(order, order + 1)(self.field, flint.acb(middle), False)]
        step = x - middle
        slope, second = values[2].real, values[3].real
        steep = slope
        if second.is_finite() and all(value.is_finite() for value in centre):
            steep = centre[1] + second * step
            found = _narrower(found, _ends(centre[0] + centre[1] * step + second * step * step / 2))
        if a > 0 and any(value.is_finite() and not value.contains(0) for value in (slope, steep)):
            left, right = self.at(order, a), self.at(order, b)  # monotone
            if left.is_finite() and right.is_finite():
                ends = min(left.lower(), right.lower()), max(left.upper(), right.upper())
                found = _narrower(found, ends)
        return found


def _ends(ball: Ball) -> Ends:
    return ball.lower(), ball.upper()


def _narrower(first: Ends, second: Ends) -> Ends:
    """Return the intersection of two enclosures of the same values."""
    return max(first[0], second[0]), min(first[1], second[1])


# -- branch and bound ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Clock:
    """A limit on the time of one φ."""

    end: float

    def check(self) -> None:
        if time.monotonic() > self.end:
            raise Undecided("the time limit was reached")


def _split(a: float, b: float | None) -> tuple[tuple[float, float | None], ...]:
    if b is None:
        return ((a, 2 * a), (2 * a, None))
    middle = math.sqrt(a * b) if a > 0 and b > 2 * a else a + (b - a) / 2
    return ((a, middle), (middle, b))


def _supremum(halves: tuple[_Half, _Half], order: int, clock: _Clock) -> Interval:
    """Enclose sup|φ^(order)| on ℝ by branch and bound.

    Raises:
        Undecided: a cell resists, or there are too many.
    """
    arb = halves[0].flint.arb
    if all(half.exprs[order].is_zero for half in halves):
        return Interval(Fraction(0), Fraction(0))
    best = arb(0)
    ticket = itertools.count()
    queue: list[tuple[float, int, Any, _Half, float, float | None]] = []

    def add(half: _Half, a: float, b: float | None) -> None:
        nonlocal best
        clock.check()
        found = half.range(order, a, b)
        if a > 0:
            at = half.at(order, a)
            if at.is_finite():
                best = max(best, at.abs_lower())
        bound = None if found is None else max(-found[0], found[1])
        priority = -math.inf if bound is None else -float(bound)
        heapq.heappush(queue, (priority, next(ticket), bound, half, a, b))

    for half in halves:
        add(half, 0.0, 1.0)
        add(half, 1.0, None)
    for _ in range(MOST_CELLS):
        _, _, bound, half, a, b = heapq.heappop(queue)
        if bound is not None and bound <= best * (1 + TOLERANCE):
            return Interval(_rational(best), _rational(bound))
        if (b is None and a > LONGEST) or (b is not None and b - a <= 1e-18 * max(a, 1e-12)):
            raise Undecided(f"no enclosure of derivative {order} near |x| = {a:.3g}")
        for cell in _split(a, b):
            add(half, *cell)
    raise Undecided(f"derivative {order} needs more than {MOST_CELLS} cells")


def _refuse_unbounded(text: str, halves: tuple[_Half, _Half]) -> None:
    """Refuse a φ whose φ' or φ'' is proved to be unbounded at an end of a half-line."""
    for half in halves:
        sign = "" if half.side == 0 else "-"
        for order, name in ((1, "φ'"), (2, "φ''")):
            for start, near_zero in itertools.product((16.0, 2.0**40), (False, True)):
                if half.end(start, near_zero).unbounded(half.exprs[order]):
                    where = f"{sign}0" if near_zero else f"{sign}∞"
                    reason = "sup|φ'| < ∞" if order == 1 else "a Lipschitz continuous φ'"
                    raise InputError(
                        f"activation {text}: {name} grows without bound as x tends to {where}, "
                        f"but A-5 asks for {reason}."
                    )


def _vanishes(expr: Any) -> bool:
    """Say whether an expression is seen to be 0."""
    small = expr.count_ops() <= MOST_OPERATIONS
    return bool(expr == 0) or (small and bool(sp.simplify(expr) == 0))


def _require_smooth_zero(text: str, halves: tuple[_Half, _Half]) -> None:
    """Require that φ and φ' agree at 0 from both sides; refuse a φ where they do not."""
    right, left = halves
    plain = sp.Symbol("t", real=True)
    mirrored = left.exprs[0].subs(left.symbol, -plain)
    if _vanishes(right.exprs[0].subs(right.symbol, plain) - mirrored):
        around = right.flint.arb(0, 2.0**-20)
        values = right.tree(0, 1)(right.field, right.flint.acb(around), True)
        if all(value.is_finite() for value in values):
            return
    for order, name in ((0, "φ"), (1, "φ'")):
        ends = []
        for half in halves:
            values = half.tree(order)(half.field, right.flint.acb(half.ball(0.0, 2.0**-60)), False)
            if not values[0].is_finite():
                raise Undecided(f"{name} is not enclosed at 0")
            ends.append(values[0].real)
        if not ends[0].overlaps(ends[1]):
            raise InputError(
                f"activation {text}: {name} jumps at 0, so that φ' is not Lipschitz, but A-5 asks "
                "for a φ with bounded and Lipschitz φ'."
            )
        exact = [half.exprs[order].subs(half.symbol, 0) for half in halves]
        if not _vanishes(exact[0] - exact[1]):
            raise Undecided(f"{name} is not seen to be continuous at 0")


# -- moments ---------------------------------------------------------------------------------------


def _moment(
    halves: tuple[_Half, _Half],
    order: int,
    power: int,
    growth: tuple[Ball, Ball],
    clock: _Clock,
) -> Interval:
    """Enclose E|φ^(order)(X)|^power, where |φ^(order)(x)| ≤ c + d|x|, growth = (c, d).

    Beyond T = 16, ∫_T^∞ (c + dx)^q density ≤ (c + d)^q 2 T^(q-1) density(T), for q ≤ 4.
    """
    flint = halves[0].flint
    acb, arb = flint.acb, flint.arb
    nan = acb("nan")
    scale = 1 / (2 * arb.pi()).sqrt()
    total = arb(0)
    late: list[Exception] = []
    for half in halves:
        tree = half.tree(order)

        def density(x: Any, analytic: bool, half: _Half = half, tree: _Tree = tree) -> Any:
            try:
                clock.check()
                value = tree(half.field, x, analytic)[0]
            except (Undecided, EvaluationError) as error:
                late.append(error)
                return nan
            if power == 1:
                value = value.real_abs(analytic=analytic)
            return value**power * (-x * x / 2).exp()

        close, negligible = arb(2) ** -70, arb(2) ** -150
        for a, b in ((0, 1), (1, 4), (4, CUT)):
            part = acb.integral(density, a, b, rel_tol=close, abs_tol=negligible)
            if late:
                raise Undecided(str(late[0]))
            if not part.is_finite():
                raise Undecided("a moment is not enclosed")
            total = total + part.real
    end = arb(CUT)
    tail = (growth[0] + growth[1]) ** power * 4 * end ** (power - 1) * (-end * end / 2).exp()
    total = (total + arb(0).union(tail)) * scale
    if not (total > 0 and total.rad() <= total.mid() * 1e-15):
        raise Undecided("a moment is not enclosed tightly")
    return _interval(total)


# -- a monotone φ ----------------------------------------------------------------------------------


def _slope_sign(halves: tuple[_Half, _Half], clock: _Clock) -> int:
    """Return the one sign of φ' on ℝ.

    Raises:
        Undecided: φ' changes its sign, or is not seen to be without a zero.
    """
    stack: list[tuple[_Half, float, float | None]] = []
    for half in halves:
        stack += [(half, 0.0, 1.0), (half, 1.0, None)]
    signs: set[int] = set()
    while stack:
        clock.check()
        half, a, b = stack.pop()
        sign = half.slope_sign(a, b)
        if sign:
            signs.add(sign)
        else:
            point = half.at(1, a if a > 0 else 0.5 * (b or 1.0))
            if point.is_finite() and not point.contains(0):
                signs.add(1 if point > 0 else -1)
            stack += [(half, *cell) for cell in _split(a, b)]
        near = f"x = {'' if half.side == 0 else '-'}{a:.3g}"
        if len(signs) > 1:
            raise Undecided(f"φ is not monotone: φ' changes its sign, seen near {near}")
        if not sign and (a > LONGEST or (b is not None and b - a <= 1e-9 * max(a, 1e-9))):
            raise Undecided(f"φ' is not seen to be without a zero near {near}")
    return signs.pop()


def _limit(half: _Half) -> Interval | int:
    """Return an interval around the limit of φ at the end, or its sign if it is infinite."""
    for start in (16.0, 2.0**10, 2.0**50):
        try:
            sign, (low, high) = half.end(start).limit(half.exprs[0])
        except (Undecided, EvaluationError):
            continue
        if sign:
            return sign
        if high - low <= 1e-20:
            return Interval(_rational(low), _rational(high))
    raise Undecided("the limit of φ at infinity is not enclosed")


def _levels(half: _Half, outward: int, clock: _Clock) -> tuple[tuple[float, float], ...]:
    """Return pairs (z, g), |∫ 2φ/φ'| ≥ g up to z, where |φ| grows: 2|φ(a)|(b - a)/sup|φ'|."""
    found, total = [], 0.0
    for j in range(64):
        clock.check()
        a, b = max(j / 8, 2.0**-40), (j + 1) / 8
        start = half.at(0, a) * outward
        slope = half.range(1, a, b)
        if start.is_finite() and start > 0 and slope is not None:
            steepest = max(abs(slope[0]), abs(slope[1]))
            total += float((2 * start.lower() * (b - a) / steepest).lower()) * (1 - 1e-12)
        found.append((b, total))
    return tuple(found)


def _branch(halves: tuple[_Half, _Half], clock: _Clock) -> Monotone | str:
    """Return what is proved of a monotone φ, or why nothing is."""
    right, left = halves
    try:
        sign = _slope_sign(halves, clock)
        ends = (_limit(left), _limit(right)) if sign > 0 else (_limit(right), _limit(left))
        levels = (_levels(right, sign, clock), _levels(left, -sign, clock))
    except Undecided as reason:
        return str(reason)
    low, high = (None if isinstance(end, int) else end for end in ends)
    slow = False
    for start in (16.0, 2.0**10):
        positive = low is not None and low.low >= 0
        end = left if positive == (sign > 0) else right
        try:
            end.end(start).span(end.exprs[1] / end.exprs[0])
            slow = True
        except (Undecided, EvaluationError):
            continue
    return Monotone(low, high, slow, levels)


def bounds_on_line(halves: HalfLines, seconds: float = 10.0) -> LineBounds:
    """Enclose the constants of φ; the caller holds the lock on python-flint's precision.

    Raises:
        InputError: φ' or φ'' is proved to be unbounded, or to jump at 0.
        Undecided: no proof was found within the time.
    """
    return _with_precision(lambda flint: _bounds(halves, flint, seconds))


def _with_precision(work: Callable[[Any], T]) -> T:
    import flint

    before = flint.ctx.prec
    flint.ctx.prec = PRECISION
    try:
        return work(flint)
    except EvaluationError as error:
        raise Undecided(str(error)) from error
    finally:
        flint.ctx.prec = before


def _both(halves: HalfLines, flint: Any) -> tuple[_Half, _Half]:
    if max(side.count_ops() for side in (halves.right, halves.left)) > LONGEST_TEXT:
        raise Undecided(f"it has more than {LONGEST_TEXT} operations")
    pair = _Half(halves, 0, flint), _Half(halves, 1, flint)
    if any(half.exprs[0].has(*_PIECES) for half in pair):
        raise Undecided("it is made of pieces that meet beside 0")
    return pair


def _bounds(halves: HalfLines, flint: Any, seconds: float) -> LineBounds:
    pair, clock = _both(halves, flint), _Clock(time.monotonic() + seconds)
    _refuse_unbounded(halves.text, pair)
    _require_smooth_zero(halves.text, pair)
    slope, curvature = (_supremum(pair, order, clock) for order in (1, 2))
    arb = flint.arb
    steepest = arb(flint.fmpq(slope.high.numerator, slope.high.denominator))
    at_one = pair[0].at(0, 1.0).abs_upper()
    growth = at_one + steepest, steepest  # |φ(x)| ≤ |φ(1)| + B1 (1 + |x|)
    flat = steepest, arb(0)
    return LineBounds(
        slope=slope,
        curvature=curvature,
        square=_moment(pair, 0, 2, growth, clock),
        slope_square=_moment(pair, 1, 2, flat, clock),
        absolute=_moment(pair, 0, 1, growth, clock),
        fourth=_moment(pair, 0, 4, growth, clock),
        branch=_branch(pair, clock),
    )
