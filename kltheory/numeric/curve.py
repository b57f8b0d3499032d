"""The rate law as numbers: the one door from SymPy to floats.

With p = exp(-y), y = y0 + x and S(p0) = L0, the law V' = -kappa / psi'(V)^2 reads

    H(x) = int_0^x w = kappa t,    w = p P'(p)^2 / S'(p)    at p = exp(-(y0 + x)),

for a psi that is given as s = S(p), psi = P(p).  H is additive and does not depend on the constant
in Psi.  It is integrated over panels in x = c + h sinh(sigma), linear near c and geometric far from
it, so that times up to 1e400 and beyond cost a few dozen panels; the panels are kept, so that a
table of many times costs little more than its last row.

Two engines do the integrals: ball arithmetic (python-flint), whose enclosures are proofs, and
Gauss-Legendre quadrature at high precision, whose error is the difference between one panel and its
two halves.  Every answer is moved outward by the error and rounded to the safe side.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias, TypeVar

import mpmath
import sympy as sp

from kltheory.errors import InputError, LimitReached, brief
from kltheory.numeric.march import (
    BALL_LOCK,
    Balls,
    Integrand,
    Knot,
    Map,
    March,
    OutOfBudget,
    Quadrature,
    TooHard,
)
from kltheory.symbolic.evaluate import (
    MAX_PRECISION,
    EvaluationError,
    Program,
    RealField,
    as_pieces,
    compile_expr,
    float_fraction,
    have_balls,
)

__all__ = ["Curve", "Enclosure", "exact_number"]

Number: TypeAlias = Any
"""An mpf of the curve's own context."""
T = TypeVar("T")

_BALL_SECONDS = 2.5
"""CPU seconds that one call leaves to balls, at most a third of its deadline; then quadrature takes
over.  How busy the machine is changes no result."""
_MAX_SIGMA = 2**1500
_MAX_RATE = 3000
"""A time that ends where w is above 2 to this power is beyond every float."""
_MAX_KNOWN = 4096
"""Times whose answer a curve keeps, so that loss, psi and log_decrease share it."""
_ROUNDS = 6
"""How often the precision is raised when an answer is not tight ..."""
_REFINING = 1.5
"""... and for how many CPU seconds."""


@dataclass(frozen=True, slots=True)
class Enclosure:
    """Two numbers with the true value between them."""

    lower: Any
    """Lower bound, an mpf (inf if the loss is certainly extinct)."""
    upper: Any
    """Upper bound, an mpf (inf where nothing better is known)."""
    certified: bool
    """True if ball arithmetic proved it; False if it rests on a quadrature's error estimate."""


def exact_number(value: Any, name: str = "number") -> Any:
    """The exact value of an int, a float, a Fraction, decimal text or a SymPy number.

    A rational comes back as a Fraction, any other SymPy constant as it is.

    >>> exact_number("1e-3")
    Fraction(1, 1000)
    """
    if isinstance(value, bool):
        raise InputError(f"{name} is {value}; a number is needed")
    if isinstance(value, str):
        try:
            return Fraction(value.strip())
        except (ValueError, ZeroDivisionError):
            raise InputError(
                f'{name} is "{value}"; a decimal number or a fraction is needed'
            ) from None
    if isinstance(value, int | Fraction | Decimal):
        return Fraction(value)
    if isinstance(value, sp.Basic):
        if value.is_Rational:
            return Fraction(int(value.p), int(value.q))
        if value.is_Float:
            return float_fraction(value)
        if value.is_number and value.is_real:
            return value
        raise InputError(f"{name} is {value}; a real number is needed")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is {value!r}; a number is needed") from None
    if not math.isfinite(number):
        raise InputError(f"{name} is {number}; a finite number is needed")
    return Fraction(number)


def _round_up(value: Number) -> float:
    """The smallest float that is at least an mpf."""
    # -value would be rounded to the digits of its context
    return -_float_below(mpmath.libmp.mpf_neg(value._mpf_)) + 0.0


def _round_down(value: Number) -> float:
    """The largest float that is at most an mpf."""
    return _float_below(value._mpf_)


def _float_below(number: tuple[int, int, int, int]) -> float:
    sign, man, exp, bits = number
    if not man:
        if exp:  # inf, -inf or nan
            return math.inf if exp == -456 else -math.inf if exp == -789 else math.nan
        return 0.0
    top = exp + bits
    if top > 1024:
        return -math.inf if sign else math.nextafter(math.inf, 0)
    drop = max(bits - 53, -1074 - exp)
    if drop > 0:  # towards zero, away from it for a negative number
        man, exp = (-(-man >> drop) if sign else man >> drop), exp + drop
    if not man:
        return 0.0
    if man.bit_length() + exp > 1024:
        return -math.inf
    return math.ldexp(-int(man) if sign else int(man), exp)


def _derivative(f: Any, symbol: Any) -> Any:
    """f'; over one denominator with Lambert's W, where W/(1 + W) - 1 cancels for large values."""
    derivative = sp.diff(f, symbol)
    if not derivative.has(sp.LambertW):
        return derivative
    top, bottom = sp.fraction(sp.together(derivative))
    return sp.expand(sp.powsimp(sp.expand(top))) / bottom


class Curve:
    """The rate law of psi given as s = S(p), psi = P(p), started at the loss L0.

    All arguments of the methods are exact: int, Fraction, decimal text, float (its exact value) or
    a SymPy number; `kt` is the product kappa t.  Upper bounds are rounded up, lower bounds down.
    One curve may be used from several threads.

    Args:
        S, P: SymPy expressions in `symbol` without other parameters, both increasing from 0.
        symbol: the variable p > 0; for a psi given in s take S = symbol, P = psi.
        loss0: the loss L0 at time 0, exact, 0 < L0 < radius.
        radius: the psi is one on ]0, radius[; None for no bound.
        digits: digits that the answers shall have.
        deadline: seconds that one call may take; None for no limit.
        certified: True demands ball arithmetic, False forbids it, None takes it where it works.
        finite_time: True if int_0 psi'^2 is known to be finite.  A sum that has stopped to grow is
            never taken as a proof of that.
        speed: a positive expression F in `symbol` for the law V' = -kappa F / psi'(V)^2.

    Raises:
        InputError: L0 is not in ]0, radius[, or an expression still has parameters.
        LimitReached: the time is up, or no accurate value was found at the highest precision.

    >>> import sympy
    >>> s = sympy.Symbol("s", positive=True)
    >>> curve = Curve(s, sympy.sqrt(2 * s), s, loss0=1)
    >>> round(curve.log_decrease(5), 12), curve.loss("0"), curve.stopping(0)
    (10.0, 1.0, inf)
    """

    def __init__(
        self,
        S: Any,
        P: Any,
        symbol: Any,
        *,
        loss0: Any,
        radius: Any = None,
        digits: int = 17,
        deadline: float | None = None,
        certified: bool | None = None,
        finite_time: bool | None = None,
        speed: Any = 1,
    ) -> None:
        self.S, self.P, self.symbol = sp.sympify(S), sp.sympify(P), symbol
        self.deadline = deadline
        self.digits = max(17, int(digits))
        self.finite_time = finite_time
        self._lock = threading.RLock()
        self._within_extinction = False
        self._until: float | None = None
        self._soft: float | None = None
        self._ctx = mpmath.MPContext()
        self._set_precision(0)
        self.loss0 = exact_number(loss0, "loss0")
        if not self._constant(self.loss0) > 0:
            raise InputError(f"loss0 is {brief(loss0)}; it must be positive")
        if radius is not None and not self._constant(self.loss0) < self._constant(
            exact_number(radius, "radius")
        ):
            raise InputError(
                f"loss0 = {brief(loss0)} is not below the radius {brief(radius)} of psi's domain"
            )
        if certified and not have_balls():
            raise InputError(
                "certified numbers need python-flint; install kltheory[certified] or allow others"
            )
        self.certified = certified
        self._plain = self.S == symbol
        dS, dP = (_derivative(as_pieces(f), symbol) for f in (self.S, self.P))
        try:
            self._program = compile_expr(symbol * dP**2 / (dS * speed), symbol)
            self._s_program = compile_expr(self.S, symbol)
            self._p_program = compile_expr(self.P, symbol)
        except EvaluationError as error:
            raise LimitReached(f"psi cannot be evaluated: {error}") from None
        self._known: dict[Any, tuple[Number, Number]] = {}
        self._starts: dict[int, Number] = {}
        self._start_balls: dict[int, Any] = {}
        self._panels: dict[Any, Any] = {}
        self._fall_programs: dict[str, Program | None] = {}
        self._integrand = Integrand(self, self._program)
        self._reset()

    # what holds for one call ----------------------------------------------------------------

    def _set_precision(self, round_: int) -> None:
        """Tolerance 10^-(digits + 5) relative to H, squared with each round."""
        self._round = round_
        bits = int((self.digits + 5) * 3.33) * 2**round_
        self._ctx.prec = bits + 40
        self._tolerance = self._ctx.ldexp(1, -bits)
        self._nodes = max(16, bits // 4 + 2)

    def _reset(self) -> None:
        self._marches: list[March] = []
        self._extinction: tuple[Number, Number] | None = None
        self._engine: Any = None
        if self.certified is not False and have_balls() and not getattr(self, "_gave_up", False):
            self._engine = Balls(self._integrand)
        else:
            self._engine = Quadrature(self._integrand)

    def _tick(self) -> None:
        if self._soft is not None and time.thread_time() > self._soft:
            raise LimitReached("the work that a tight number may take is done")
        if self._until is not None and time.monotonic() > self._until:
            limit = "the time" if self.deadline is None else f"{self.deadline:g} s"
            raise LimitReached(f"the numbers were not found within {limit}; allow more time")

    def _call(self, work: Callable[[], T], tight: Callable[[T], bool] = lambda _: True) -> T:
        """Runs `work` under the locks, with more precision until `tight`, and a fallback."""
        with self._lock:
            outer = self._until
            if self._engine.certified:
                self._engine.field.work = 0
                share = _BALL_SECONDS if self.deadline is None else self.deadline / 3
                self._engine.until = time.thread_time() + min(_BALL_SECONDS, share)
            if outer is None and self.deadline is not None:
                self._until = time.monotonic() + self.deadline
            try:
                return self._rounds(work, tight)
            except EvaluationError as error:
                raise LimitReached(
                    f"no accurate number at the highest precision: {error}"
                ) from None
            finally:
                self._until = outer
                if self._round:
                    self._set_precision(0)
                    self._reset()

    def _rounds(self, work: Callable[[], T], tight: Callable[[T], bool]) -> T:
        result = self._first_round(work)
        if tight(result):
            return result
        outer, soft = self._soft, time.thread_time() + _REFINING
        self._soft = soft if outer is None else min(soft, outer)
        try:
            for round_ in range(1, _ROUNDS):
                self._set_precision(round_)
                self._reset()
                with suppress(TooHard, EvaluationError):
                    result = self._run(work)
                    if tight(result):
                        break
        except LimitReached:
            pass  # a bound, but not a tight one
        finally:
            self._soft = outer
        return result

    def _first_round(self, work: Callable[[], T]) -> T:
        """One answer: from balls, else from quadrature, else from quadrature at more digits."""
        if self._engine.certified:
            try:
                return self._run(work)
            except (TooHard, EvaluationError):
                if self.certified:
                    raise LimitReached(
                        "ball arithmetic does not enclose this rate law; allow numbers that are "
                        "not certified"
                    ) from None
                self._gave_up = True
                self._reset()
                self._known.clear()
        for round_ in range(3):
            if round_:
                self._set_precision(round_)
                self._reset()
            try:
                return self._run(work)
            except (TooHard, EvaluationError):
                continue
        raise LimitReached(
            "the integral of the rate law was not found to the tolerance at "
            f"{int(self._ctx.prec / 3.33)} digits"
        )

    def _run(self, work: Callable[[], T]) -> T:
        if not self._engine.certified:
            return work()
        with BALL_LOCK:
            return work()

    # constants and the start ----------------------------------------------------------------

    def _constant(self, value: Any) -> Number:
        """An exact number at the precision of the context."""
        field = RealField(self._ctx)
        return field.rational(value) if isinstance(value, Fraction) else field.constant(value)

    def _log(self, value: Any) -> Number:
        """log of an exact positive number, accurate also near 1."""
        ctx = self._ctx
        if isinstance(value, Fraction) and Fraction(1, 2) < value < 2:
            above = value - 1
            return ctx.log1p(ctx.mpf(above.numerator) / above.denominator)
        return ctx.log(self._constant(value))

    def _start(self, bits: int) -> Number:
        """y0 = -log p0 at some precision, S(p0) = L0."""
        found = self._starts.get(bits)
        if found is None:
            before = self._ctx.prec
            self._ctx.prec = bits + 10
            try:
                if self._plain:
                    found = -self._log(self.loss0)
                else:
                    found = self._start_root()
            finally:
                self._ctx.prec = before
            self._starts[bits] = found
        return found

    def _start_root(self) -> Number:
        """The root y0 of S(exp(-y)) = L0, from the best one that is known."""
        ctx = self._ctx
        if not self._starts:
            return self._solve(self._s_program, self.loss0)[0]
        bits, known = max(self._starts.items())
        log_loss = self._log(self.loss0)

        def excess(y: Number) -> Number:
            return ctx.log(self._s_program.at_exp(ctx, y)) - log_loss

        width = (abs(known) + ctx.ldexp(1, -bits)) * ctx.ldexp(1, 8 - bits)
        low, high = known - width, known + width
        at_low, at_high = excess(low), excess(high)
        if not at_low > 0 > at_high:
            return self._solve(self._s_program, self.loss0)[0]
        return self._bracketed(excess, low, high, at_low, at_high, ctx.prec)[0]

    def _start_ball(self, bits: int) -> Any:
        """A ball around y0."""
        import flint

        found = self._start_balls.get(bits)
        if found is None:
            engine = self._engine
            with engine.precision(bits + 10):
                if self._plain:
                    if isinstance(self.loss0, Fraction):
                        above = self.loss0 - 1
                        if abs(above) < Fraction(1, 2):
                            found = -flint.arb(
                                flint.fmpq(above.numerator, above.denominator)
                            ).log1p()
                        else:
                            found = -flint.arb(
                                flint.fmpq(self.loss0.numerator, self.loss0.denominator)
                            ).log()
                    else:
                        found = -engine.field.constant(self.loss0).real.log()
                else:
                    found = self._root_ball(bits)
            self._start_balls[bits] = found
        return found

    def _root_ball(self, bits: int) -> Any:
        """A ball around the root of S(exp(-y)) = L0, proved by the signs at its ends."""
        engine, ctx = self._engine, self._ctx
        middle = self._start(bits)
        target = self._start_loss_ball()
        acb = engine.flint.acb
        width = (abs(middle) + ctx.ldexp(1, -bits)) * ctx.ldexp(1, 4 - bits)
        for _ in range(12):
            with ctx.workprec(bits + 60):
                low, high = middle - width, middle + width
            ends = []
            for y in (low, high):
                values = [
                    self._s_program.ball(engine.field, acb(engine.arb(y)), order).real - target
                    for order in (1, 2, 4)
                ]
                ends.append(values)
            if any(bool(v > 0) for v in ends[0]) and any(bool(v < 0) for v in ends[1]):
                return engine.arb(low).union(engine.arb(high))
            width *= 16
        raise TooHard("the start is not proved")

    def _solve(self, program: Program, target: Any) -> tuple[Number, Number]:
        """(y, error) with program(exp(-y)) = target, program decreasing in y, from the right."""
        ctx = self._ctx
        bits = ctx.prec
        ctx.prec = bits + 20
        try:
            log_target = self._log(target)

            def excess(y: Number) -> Number:
                self._tick()
                value = program.at_exp(ctx, y)
                if not value > 0:
                    raise EvaluationError("a value is not positive")
                return ctx.log(value) - log_target

            high = ctx.one
            while True:
                try:
                    at_high = excess(high)
                    if at_high < 0:
                        break
                except EvaluationError:
                    if high > 2**20:
                        raise
                high = high * 4 if high < 2**10 else high**2
                if ctx.mag(high) > 2**14:
                    raise EvaluationError("the value is not attained")
            low, at_low, step = high, at_high, ctx.one
            while at_low < 0:
                # towards larger p, as long as the value exists and grows
                trial = low - step
                try:
                    at_trial = excess(trial)
                    if at_trial < at_low:
                        raise EvaluationError("not monotone")
                except EvaluationError:
                    step /= 4
                    if ctx.mag(step) < ctx.mag(low) - bits and ctx.mag(step) < -bits:
                        raise
                    continue
                if at_trial < 0:
                    high, at_high = trial, at_trial
                low, at_low = trial, at_trial
                step *= 2
            return self._bracketed(excess, low, high, at_low, at_high, bits)
        finally:
            ctx.prec = bits

    def _bracketed(
        self,
        f: Callable[[Number], Number],
        low: Number,
        high: Number,
        at_low: Number,
        at_high: Number,
        bits: int,
    ) -> tuple[Number, Number]:
        """(root, half width) of a decreasing f between low and high: secant steps that are kept
        inside, and bisection (geometric while the ends are far apart) when they do not halve."""
        ctx = self._ctx
        if at_low == 0:
            return low, abs(low) * ctx.ldexp(1, -bits)
        for count in range(20 * bits):
            if high - low <= max(abs(low), abs(high)) * ctx.ldexp(1, -bits):
                break
            middle = None
            if count % 3 < 2:
                middle = low + (high - low) * at_low / (at_low - at_high)
                # step a little over the root, so that both ends move
                nudge = (high - low) * ctx.ldexp(1, -bits // 2 - 2)
                nudge = max(nudge, max(abs(low), abs(high)) * ctx.ldexp(1, -bits - 2))
                middle += nudge if count % 2 else -nudge
                if not low < middle < high:
                    middle = None
            if middle is None:
                geometric = low > 0 and high > 4 * low
                middle = ctx.sqrt(low * high) if geometric else (low + high) / 2
                if not low < middle < high:
                    break
            value = f(middle)
            if value == 0:
                return middle, abs(middle) * ctx.ldexp(1, -bits)
            if value > 0:
                low, at_low = middle, value
            else:
                high, at_high = middle, value
        return (low + high) / 2, (high - low) / 2

    def _w(self, x: Number) -> Number:
        """w at x by the floating engine, accurate."""
        return self._integrand.value(x)

    # H and its inverse ----------------------------------------------------------------------

    def _march(self, floor: Number, exact: bool = False) -> March:
        """A march that serves sums from `floor` on."""
        for march in self._marches:
            if (
                march.floor == floor
                if exact
                else march.floor <= floor and (march.floor or not floor)
            ):
                return march
        march = March(self, self._engine, floor if exact else floor * self._ctx.ldexp(1, -20))
        self._marches.append(march)
        self._marches.sort(key=lambda m: -m.floor)
        return march

    def _integral_to(self, x: Number) -> tuple[Number, Number]:
        """(H(x), error)."""
        ctx = self._ctx
        if not x > 0:
            return ctx.zero, ctx.zero
        guess = max(self._w(x * k / 16) for k in (0, 1, 4, 8, 12, 15, 16)) * x
        while True:
            march = self._march(guess * ctx.ldexp(1, -40))
            while march.last.x < x:
                march.advance()
            k = max(i for i, knot in enumerate(march.knots) if knot.x <= x)
            knot = march.knots[k]
            value, error = self._from_knot(march, knot, x)
            total = knot.total + value
            if total >= march.floor or not guess:
                return total, knot.error + error
            guess = total if total < guess * ctx.ldexp(1, -60) else guess * ctx.ldexp(1, -200)

    def _from_knot(self, march: March, knot: Knot, x: Number) -> tuple[Number, Number]:
        """(value, error) of H from a knot to x."""
        ctx = self._ctx
        sigma = ctx.asinh((x - knot.map.origin) / knot.map.scale)
        if sigma <= knot.sigma:
            return ctx.zero, abs(x - knot.x) * self._w(x)
        return self._pieces(knot.map, knot.sigma, sigma, max(march.floor, knot.total))

    def _pieces(self, m: Map, a: Number, b: Number, floor: Number) -> tuple[Number, Number]:
        """An integral over part of a panel, halved until it is within the tolerance."""
        todo, value, error = [(a, b)], self._ctx.zero, self._ctx.zero
        while todo:
            low, high = todo.pop()
            try:
                part, part_error = self._engine.integral(m, low, high, max(floor, abs(value)))
            except OutOfBudget:
                raise
            except TooHard:
                middle = (low + high) / 2
                if not low < middle < high or len(todo) > 200:
                    raise
                todo += [(middle, high), (low, middle)]
                continue
            value += part
            error += part_error
        return value, error

    def _decrease_x(self, kt: Any) -> tuple[Number, Number]:
        """(lower, upper) of the x with H(x) = kt; upper may be inf."""
        ctx = self._ctx
        target = self._constant(kt)
        slack = target * ctx.ldexp(1, 4 - ctx.prec)
        self._within_extinction = False
        if self.finite_time:
            low_time, high_time = self._extinction_times()
            self._within_extinction = bool(low_time - slack <= target)
            if target - slack >= high_time:
                return ctx.inf, ctx.inf
        march = self._march(target)
        while march.last.total < target:
            if march.stalled > 40 or march.last.sigma > _MAX_SIGMA:
                # the largest x that is proved; never taken for extinction
                return (
                    march.last.x if march.last.total + march.last.error <= target else ctx.zero,
                    ctx.inf,
                )
            if self.finite_time and target >= low_time and march.last.total >= low_time:
                return march.last.x, ctx.inf
            march.advance()
        k = next(i for i, knot in enumerate(march.knots) if knot.total >= target)
        if k == 0:
            return ctx.zero, ctx.zero
        return self._invert(march, march.knots[k - 1], march.knots[k], target, slack)

    def _invert(
        self, march: March, a: Knot, b: Knot, target: Number, slack: Number
    ) -> tuple[Number, Number]:
        """Newton in sigma between two knots, then the margins and their proof."""
        ctx, engine = self._ctx, self._engine
        m = a.map
        floor = max(march.floor, a.total)
        top = ctx.asinh((b.x - m.origin) / m.scale)
        low, high = a.sigma, top
        need = target - a.total
        have = b.total - a.total
        base = ctx.zero  # H(low) - a.total
        guess = a.sigma + (top - a.sigma) * need / have if have else top
        if a.density > 0 and need / a.density < (top - a.sigma) / 16:
            guess = a.sigma + need / a.density
        for _ in range(120):
            self._tick()
            if not low < guess < high:
                guess = (low + high) / 2
            sigma = guess
            value = base + self._pieces(m, low, sigma, max(floor, a.total + base))[0]
            miss = need - value
            density = engine.density(m, sigma)
            if miss >= 0:
                low, base = sigma, value
            else:
                high = sigma
            if abs(miss) <= self._tolerance * max(need, floor) or not low < (low + high) / 2 < high:
                break
            if not density > 0:
                guess = (low + high) / 2
            elif abs(miss) > target / 2:
                # far away: Newton on log H, which is exact for exponential growth
                total = a.total + value
                guess = sigma + ctx.log(target / total) * total / density if total > 0 else high
            else:
                guess = sigma + miss / density
        value, error = self._pieces(m, a.sigma, sigma, floor)
        error += a.error + slack
        miss = abs(need - value)
        margin = (miss + 2 * error) / density if density > 0 else ctx.inf
        lower, upper = ctx.zero, ctx.inf
        for _ in range(6):
            low, high = sigma - margin, sigma + margin
            if low >= a.sigma:
                at_low, spread = self._pieces(m, a.sigma, low, floor)
                if at_low + spread + a.total + a.error + slack <= target:
                    lower = m.x(ctx, low) * (1 - ctx.ldexp(1, 8 - ctx.prec))
                    break
            elif a.total + a.error + slack <= target:
                lower = a.x
                break
            margin *= 4
        for _ in range(6):
            high = sigma + margin
            if not ctx.isfinite(high) or high - sigma > (top - a.sigma):
                break
            at_high, spread = self._pieces(m, a.sigma, high, floor)
            if at_high - spread + a.total - a.error - slack >= target:
                upper = m.x(ctx, high) * (1 + ctx.ldexp(1, 8 - ctx.prec))
                break
            margin *= 4
        return lower, upper

    def _extinction_times(self) -> tuple[Number, Number]:
        """(lower, upper) bounds of H(inf), which is known to be finite."""
        if self._extinction is not None:
            return self._extinction
        ctx = self._ctx
        # near p = 1 at the latest the integrand shows its size
        y0 = self._start(ctx.prec)
        points = [ctx.zero] if y0 >= 0 else [-y0 * k / 8 for k in range(9)]
        floor = max(self._w(x) for x in points) * ctx.ldexp(1, -40) if y0 < -8 else ctx.zero
        march = self._march(floor, exact=True)
        indices: list[Number] = []
        while True:
            march.advance()
            last, before = march.last, march.knots[-2]
            if last.map is not before.map or not last.sigma > before.sigma > 0:
                continue
            if not last.density > 0:
                tail = ctx.zero
            else:
                # dH/dsigma ~ sigma^-k, with k growing: what remains is density sigma / (k - 1)
                k = ctx.log(before.density / last.density) / ctx.log(last.sigma / before.sigma)
                indices.append(k)
                if len(indices) < 3 or min(indices[-3:]) <= ctx.mpf(5) / 4:
                    tail = ctx.inf
                else:
                    tail = 4 * last.density * last.sigma / (min(indices[-3:]) - 1)
            if tail <= last.total * self._tolerance * 4:
                if last.total >= march.floor:
                    break
                march, indices = self._march(ctx.zero, exact=True), []
            if last.sigma > _MAX_SIGMA:
                raise LimitReached("the extinction time converges too slowly to be computed")
        self._extinction = (
            (last.total - last.error) * (1 - ctx.ldexp(1, 4 - ctx.prec)),
            (last.total + last.error + tail) * (1 + ctx.ldexp(1, 4 - ctx.prec)),
        )
        return self._extinction

    # answers ----------------------------------------------------------------------------------

    def _q(self, x: Number, side: int) -> Number:
        """log(L0 / S(p)) at x, moved to one side (-1 down, 1 up)."""
        ctx = self._ctx
        if self._plain or not ctx.isfinite(x) or not x:
            return x
        bits = ctx.prec
        extra = max(0, -ctx.mag(x)) + 20
        while extra <= MAX_PRECISION:
            ctx.prec = bits + extra
            try:
                low, high = self._log_ratio(x)
            finally:
                ctx.prec = bits
            if high - low <= low * ctx.ldexp(1, 24 - bits):
                return low if side < 0 else high
            extra = 2 * extra + 40
        raise EvaluationError("log(L0/V) cancels")

    def _log_ratio(self, x: Number) -> tuple[Number, Number]:
        """Bounds of log(L0 / S(p)) at x, absolutely accurate at the precision of the context."""
        ctx = self._ctx
        if self._engine.certified:
            s, (_, bits) = self._engine.ball(self._s_program, x)
            with self._engine.precision(bits):
                top = self._start_loss_ball()
                ratio = (top / s).log()
                found: tuple[Number, Number] = self._engine.bounds(ratio)
            return found
        s = self._s_program.at_exp(ctx, self._start(ctx.prec) + x)
        if not s > 0:  # exp(-y) is below every number
            return ctx.ldexp(1, 4000), ctx.inf
        value = self._log(self.loss0) - ctx.log(s)
        error = (1 + abs(value)) * ctx.ldexp(1, 12 - ctx.prec)
        return value - error, value + error

    def _start_loss_ball(self) -> Any:
        """A real ball around L0 at the precision of python-flint."""
        field = self._engine.field
        exact = isinstance(self.loss0, Fraction)
        return (field.rational if exact else field.constant)(self.loss0).real

    def _time(self, kt: Any, name: str = "kappa t") -> Any:
        kt = exact_number(kt, name)
        if self._constant(kt) < 0:
            raise InputError(f"{name} is {kt}; it must not be negative")
        return kt

    def _tight(self, ends: tuple[Number, Number]) -> bool:
        """Absolute 1e-15 on q, or relative 10^-digits."""
        ctx = self._ctx
        low, high = ends
        if low == high:
            return True
        if ctx.mag(low) > 1100:
            return True  # beyond every float
        if not ctx.isfinite(high):
            return self._round > 0 and self._within_extinction
        width = high - low
        return bool(
            width <= ctx.mpf(10) ** -16 or width <= high * ctx.mpf(10) ** -self.digits
        ) and bool(width <= high * ctx.mpf(10) ** -12)

    def _x(self, kt: Any) -> tuple[Number, Number]:
        if not self._constant(kt):
            return self._ctx.zero, self._ctx.zero
        found = self._known.get(kt)
        if found is None:
            found = self._call(lambda: self._decrease_x(kt), self._tight)
            if len(self._known) < _MAX_KNOWN:
                self._known[kt] = found
        return found

    @property
    def method(self) -> str:
        """How the numbers are obtained, as a sentence."""
        if self._engine.certified:
            return "ball arithmetic (python-flint): certified"
        digits = int(self._ctx.prec / 3.33)
        return f"adaptive quadrature at {digits} digits, rounded outward (not a proof)"

    def decrease(self, kt: Any) -> Enclosure:
        """q = log(L0 / V) at kappa t."""
        kt = self._time(kt)
        with self._lock:
            low, high = self._x(kt)
            lower, upper = self._call(lambda: (self._q(low, -1), self._q(high, 1)))
            # the extinction time rests on an estimate of what comes after the last panel
            proved = self._engine.certified and lower < self._ctx.inf
            return Enclosure(lower, upper, proved)

    def log_decrease(self, kt: Any) -> float:
        """Lower bound on q = log(L0 / V), rounded down; inf if the loss is certainly extinct."""
        lower = self.decrease(kt).lower
        return math.inf if lower == self._ctx.inf else _round_down(lower)

    def loss(self, kt: Any) -> float:
        """Upper bound on V, rounded up; 0 only if kt is above a bound on the extinction time."""
        kt = self._time(kt)
        with self._lock:
            ctx = self._ctx
            if not self._constant(kt):
                return self._up(self.loss0)
            q = self.decrease(kt).lower
            if q == ctx.inf:
                return 0.0
            if q > 10**6:
                return math.ulp(0.0)
            value = self._constant(self.loss0) * ctx.exp(-q) * (1 + ctx.ldexp(1, 10 - ctx.prec))
            return min(_round_up(value), self._up(self.loss0))

    def _up(self, value: Any) -> float:
        """The smallest float that is at least an exact positive number."""
        ctx = self._ctx
        if isinstance(value, Fraction):
            bits = ctx.prec
            ctx.prec = 1200
            try:
                number = ctx.mpf(value.numerator) / value.denominator
                result = _round_up(number)
            finally:
                ctx.prec = bits
            if Fraction(result) < value if math.isfinite(result) else False:
                result = math.nextafter(result, math.inf)
            return result
        return _round_up(self._constant(value) * (1 + ctx.ldexp(1, 4 - ctx.prec)))

    def psi(self, kt: Any) -> float:
        """Upper bound on psi(V), rounded up; 0 only if the loss is certainly extinct."""
        kt = self._time(kt)
        if not self._constant(kt):
            return self.psi0
        with self._lock:
            low, _ = self._x(kt)
            return self._call(lambda: self._psi_at(low))

    def _psi_at(self, x: Number) -> float:
        if x == self._ctx.inf:
            return 0.0
        # 0 is where exp(-y) is below every number
        return max(_round_up(self._psi_upper(x)), math.ulp(0.0))

    def _psi_upper(self, x: Number) -> Number:
        """Upper bound on psi at x."""
        ctx = self._ctx
        if self._engine.certified:
            ball = self._engine.ball(self._p_program, x)[0]
            return self._engine.bounds(ball)[1]
        return self._integrand.value(x, self._p_program) * (1 + ctx.ldexp(1, 8 - ctx.prec))

    def _fall_program(self, kind: str) -> Program | None:
        """-d log(V or psi)/dx = p S'/S or p P'/P; None where that is 1."""
        with self._lock:
            if kind not in self._fall_programs:
                f = as_pieces(self.P if kind == "psi" else self.S)
                density = self.symbol * _derivative(f, self.symbol) / f
                found = compile_expr(density, self.symbol)
                self._fall_programs[kind] = None if f == self.symbol else found
            return self._fall_programs[kind]

    def at_times(self, what: str, times: Any, speed: Fraction) -> Any:
        """`loss`, `psi` or `log_decrease` at kt = speed t, for an array of rising times t >= 0.

        Upper bounds (`log_decrease` a lower one), rounded up like those for one time, and at most
        1e-12 max(1, log(L0/V)/128) from the true value in relative terms; a single time is
        computed to about 1e-16.  They do not rise with time.  The bits at one time may depend on
        which other times are asked for.

        A time costs about a microsecond once the curve has panels near it, and these come in
        10 ms each; between 1 ms and 50 ms each if it is computed by itself, as are fewer than 24
        times that lie near each other and those next to the extinction of the loss.
        """
        from kltheory.numeric.many_times import at_times

        return at_times(self, what, times, speed)

    @property
    def psi0(self) -> float:
        """psi(L0), rounded up; a rational value is not moved if it is a float."""
        if self._plain and isinstance(self.loss0, Fraction) and self.P.is_algebraic_expr():
            q = self.loss0
            value = self.P.subs(self.symbol, sp.Rational(q.numerator, q.denominator))
            if value.is_Rational:
                return self._up(Fraction(int(value.p), int(value.q)))
        return self._call(lambda: self._psi_at(self._ctx.zero))

    def extinction(self) -> float:
        """Upper bound on kappa T with V(T) = 0, rounded up; inf unless `finite_time` is True."""
        if not self.finite_time:
            return math.inf
        return self._call(lambda: _round_up(self._extinction_times()[1]))

    def time_to_loss(self, v: Any) -> float:
        """Upper bound on kappa t with V(t) = v, rounded up; 0 for v >= L0."""
        v = exact_number(v, "the loss")
        if self._constant(v) < 0:
            raise InputError(f"the loss is {v}; it must not be negative")
        if not self._constant(v):
            return self.extinction()
        return self._call(lambda: self._time_to(self._s_program, v, self.loss0))

    def stopping(self, eps: Any) -> float:
        """Upper bound on kappa t* with psi(V(t*)) = eps, rounded up; 0 for eps >= psi(L0)."""
        eps = exact_number(eps, "the noise level")
        if self._constant(eps) < 0:
            raise InputError(f"the noise level is {eps}; it must not be negative")
        if not self._constant(eps):
            return self.extinction()
        return self._call(lambda: self._time_to(self._p_program, eps, None))

    def _time_to(self, program: Program, target: Any, start: Any) -> float:
        ctx = self._ctx
        at_start = (
            self._constant(start) if start is not None else self._integrand.value(ctx.zero, program)
        )
        if self._constant(target) >= at_start * (1 - ctx.ldexp(1, 8 - ctx.prec)):
            exactly = self._constant(target) >= at_start * (1 + ctx.ldexp(1, 8 - ctx.prec))
            if exactly or (isinstance(start, Fraction) and target >= start):
                return 0.0
        if self._plain and program is self._s_program:
            bits = ctx.prec
            ctx.prec = bits + 40
            x = self._start_difference(target)
            ctx.prec = bits
        else:
            y, error = self._solve_right(program, target)
            x = y - self._start(ctx.prec + 40) + 4 * error
        if not x > 0:
            return 0.0
        x *= 1 + ctx.ldexp(1, 8 - ctx.prec)
        if ctx.mag(self._w(x)) > _MAX_RATE:
            return math.inf
        value, error = self._integral_to(x)
        upper = (value + error) * (1 + ctx.ldexp(1, 8 - ctx.prec))
        if self.finite_time:
            upper = min(upper, self._extinction_times()[1])
        return _round_up(upper)

    def _start_difference(self, target: Any) -> Number:
        """log(L0 / v) for exact L0 and v."""
        if isinstance(target, Fraction) and isinstance(self.loss0, Fraction):
            return self._log(self.loss0 / target)
        return self._log(self.loss0) - self._log(target)

    def _solve_right(self, program: Program, target: Any) -> tuple[Number, Number]:
        """(y, error) with program(exp(-y)) = target and y >= y0."""
        ctx = self._ctx
        bits = ctx.prec
        ctx.prec = bits + 40
        try:
            y0 = self._start(ctx.prec)
            log_target = self._log(target)

            def excess(x: Number) -> Number:
                self._tick()
                return ctx.log(program.at_exp(ctx, y0 + x)) - log_target

            low, at_low = ctx.zero, excess(ctx.zero)
            if at_low <= 0:
                return y0, ctx.zero
            high = ctx.one
            while True:
                at_high = excess(high)
                if at_high < 0:
                    break
                low, at_low = high, at_high
                high = high * 4 if high < 2**10 else high**2
                if ctx.mag(high) > 2**14:
                    raise EvaluationError("the value is not attained")
            x, error = self._bracketed(excess, low, high, at_low, at_high, bits)
            return y0 + x, error
        finally:
            ctx.prec = bits
