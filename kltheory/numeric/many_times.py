"""Bounds at many times at once: the law x(t), -log p = y0 + x, in panels of polynomials.

On a panel [a, a + 2h] of x, with u = (x - a)/h - 1, the law reads

    t = T(a) + d g(u),    d = x - a,    g = mean of w/kappa over [a, x],

and g is a polynomial up to a bound: w is interpolated in Chebyshev's nodes by values from balls,
and w is analytic, and at most M, on the ellipse with foci a, a + 2h and sum of half-axes 4h, which
is covered by balls; so the error of degree n is at most (4/3) M 4^-n (Trefethen, Approximation
Theory and Approximation Practice, Theorem 8.2).  log(L0/V) and log(psi(a)/psi) are d times the mean
of p S'/S and of p P'/P, treated in the same way.

The equation is solved for d by Newton's method in floats.  What is left of it, the rounding of the
polynomial (Horner: coefficient k passes 2k + 1 operations), the error of T(a) and the bound above,
divided by the least w of the panel, bounds the distance to the true d; so d is moved by it to the
safe side.  Only +, -, *, / and scaling by powers of 2 are used, which IEEE 754 rounds correctly;
there is no elementary function whose error would have to be trusted, and exp is made of them too.

Times at which the enclosure is too wide are left to the exact path, one by one.  Without
python-flint the error of interpolation is estimated instead of proved, as all else then is.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kltheory.errors import LimitReached
from kltheory.numeric.curve import Curve, _round_down, _round_up
from kltheory.numeric.march import TooHard
from kltheory.symbolic.evaluate import EvaluationError, Program, real_context

__all__ = ["WIDTH", "at_times", "exp_up"]

Floats: TypeAlias = NDArray[np.float64]
Number: TypeAlias = Any
"""An mpf of the curve's own context."""

WIDTH = 1e-12
"""The enclosure of log L that is accepted, times max(1, log(L0/L)/128); relative for log(L0/L)."""

_DEGREE = 36
_BITS = 200
"""Fixed point of the values and of the matrices that turn them into coefficients."""
_ULP = 2.0**-53
_CHUNK = 1 << 15
_GRID = 1024
_WORTH = 4
"""So many times pay for a panel."""
_FINEST = 2.0**45
"""a/h at most, so that a, h and what is between them are floats without rounding."""
_FAR = 2.0**1000
_TINY = 1e-290
_LOW = 4096.0
"""An x at which the loss is below every float, unless it began far above 1."""
_HUGE = 5000
"""A power of 2 beyond every float, with room."""
_MOST_PANELS = 1 << 13
_TROUBLE = (TooHard, EvaluationError, LimitReached)


# -- polynomials --------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _matrices() -> tuple[tuple[Number, ...], Any, Any]:
    """Chebyshev's nodes, and the fixed-point matrices from values there to coefficients in u.

    The first matrix gives the interpolating polynomial p, the second the mean of p over [-1, u].
    """
    n, ctx = _DEGREE, real_context(2 * _BITS)
    angles = [ctx.pi * (2 * j + 1) / (2 * n + 2) for j in range(n + 1)]
    before, last = [1] + [0] * n, [0, 1] + [0] * (n - 1)
    chebyshev = [before, last]
    for _ in range(n - 1):
        following = [2 * q - r for q, r in zip([0, *last[:-1]], before, strict=True)]
        before, last = last, following
        chebyshev.append(following)
    plain = [[ctx.zero] * (n + 1) for _ in range(n + 1)]
    for k, row in enumerate(chebyshev):
        for j, angle in enumerate(angles):
            weight = ctx.cos(k * angle) * (2 if k else 1) / (n + 1)
            for i, q in enumerate(row):
                if q:
                    plain[i][j] += q * weight
    # (W(u) - W(-1))/(u + 1) with W' = p, by synthetic division
    mean = [[ctx.zero] * (n + 1) for _ in range(n + 1)]
    for j in range(n + 1):
        carry = ctx.zero
        for i in range(n, -1, -1):
            carry = plain[i][j] / (i + 1) - carry
            mean[i][j] = carry

    def fixed(rows: Any) -> Any:
        return np.array([[int(ctx.nint(ctx.ldexp(v, _BITS))) for v in row] for row in rows], object)

    return tuple(ctx.cos(angle) for angle in angles), fixed(plain), fixed(mean)


@dataclass(frozen=True, slots=True)
class _Mean:
    """A positive density on a panel and its mean from a on, in units of 2^exponent."""

    exponent: int
    density: Floats
    """Coefficients of the density in u."""
    mean: Floats
    """Coefficients of the mean."""
    error: float
    """Bound on |mean - computed mean| at every u of the panel."""
    least: float
    """A positive lower bound of the density."""
    most: float
    """An upper bound of the density."""


def _horner(coefficients: Floats, u: Floats) -> Floats:
    total = np.full_like(u, coefficients[-1])
    for c in coefficients[-2::-1]:
        total *= u
        total += c
    return total


def _trimmed(coefficients: Floats, slack: float) -> tuple[Floats, float]:
    """Without the last coefficients, of sum at most `slack`; and that sum."""
    tails = np.cumsum(np.abs(coefficients[::-1]))[::-1]
    keep = max(1, int(np.count_nonzero(tails > slack)))
    return coefficients[:keep], float(tails[keep]) if keep < len(tails) else 0.0


def _mean_of(ctx: Any, values: list[Number], error: Number) -> _Mean | None:
    """The polynomials through positive values at the nodes; `error` bounds |density - p|."""
    exponent = int(ctx.mag(max(values)))
    fixed = np.array([int(ctx.ldexp(v, _BITS - exponent)) for v in values], object)
    plain, mean = (
        np.array([c / 2 ** (2 * _BITS) for c in matrix @ fixed], float)
        for matrix in _matrices()[1:]
    )
    grid = np.linspace(-1.0, 1.0, _GRID + 1)
    order = np.arange(_DEGREE + 1)
    # between two points of the grid, the density changes by at most its slope over half a step
    rough = float(_horner(plain, grid).min()) - float(order @ np.abs(plain)) / _GRID
    plain, off_plain = _trimmed(plain, 2.0**-60)
    mean, off_mean = _trimmed(mean, 2.0**-60)
    size = np.abs(mean)
    order = order[: len(mean)]
    bound = float(ctx.ldexp(error, -exponent)) * 1.001 + 2.0**-90
    rounding = _ULP * float((2 * order + 4) @ size + 2 * order @ size) * 1.001
    least = (rough - bound - off_plain - 2.0**-40) * 0.999
    if not least > 0:
        return None
    most = (float(np.abs(plain).sum()) + bound + off_plain) * 1.001
    return _Mean(exponent, plain, mean, (bound + off_mean + rounding) * 1.001, least, most)


def exp_up(y: Floats, mantissa: float, exponent: int) -> Floats:
    """Upper bounds of mantissa 2^exponent exp(-y) for y >= 0, at least the smallest float > 0.

    For 0 < mantissa <= 1 and |exponent| <= 5000.  Too large by a factor of at most
    1 + 1e-14 where the result is a normal number.

    >>> bound = exp_up(np.array([0.0, 1.0]), 0.5, 1)
    >>> bool(1 <= bound[0] <= 1 + 1e-14 and 0.36787944117144232 <= bound[1] <= 0.36787944117145)
    True
    """
    # the first 40 bits of log 2, so that k times it is exact for k < 2^13, and 53 bits of the rest
    high, low = 762123384785 * 2.0**-40, 7.371002565167799e-13
    over = max(0.0, exponent * 0.6931471805599453)
    y = np.minimum(y, over + 1500.0)
    k = np.rint(y * 1.4426950408889634)
    r = (y - k * high) - k * low
    # Taylor's series on |r| < 0.35: the rest is below 1e-19, the rounding below 4 ulp
    total = np.full_like(r, 1.0)
    for i in range(14, 0, -1):
        total *= r
        total /= -i
        total += 1.0
    total *= mantissa * (1.0 + 2.0**-48)
    with np.errstate(over="ignore", under="ignore"):
        found = np.ldexp(total, exponent - k.astype(np.int64))
    found = np.where(found < 2.0**-1020, np.nextafter(found, np.inf), found)
    return np.maximum(found, math.ulp(0.0))


# -- one panel ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Knot:
    """T(x) = H(x)/speed = near + rest, up to the error."""

    near: float
    rest: float
    error: float

    @property
    def before(self) -> float:
        """A float below T."""
        return math.nextafter(self.near - 2 * (abs(self.rest) + self.error), -math.inf)

    @property
    def after(self) -> float:
        """A float above T."""
        return math.nextafter(self.near + 2 * (abs(self.rest) + self.error), math.inf)


@dataclass(frozen=True, slots=True)
class _Panel:
    """The law on [a, a + 2h], h a power of 2."""

    a: float
    h: float
    time: _Mean
    """w/speed."""
    fall: _Mean | None
    """The density of log(L0/V), or of -log psi; None where that is x itself."""
    base: Any
    """Lower bound of log(L0/V) at a; or (m, e) with psi at a at most m 2^e."""


@dataclass(frozen=True, slots=True)
class _Solved:
    """For some times: whether d was found, a lower bound of the fall from a, and its width."""

    good: NDArray[np.bool_]
    tiny: NDArray[np.bool_]
    """Where d is near the smallest floats, so that no panel helps."""
    fall: Floats
    width: Floats


def _solve(panel: _Panel, start: _Knot, end: _Knot, t: Floats) -> _Solved:
    """The fall from a at sorted times between the knots, moved to the safe side."""
    time, h = panel.time, panel.h
    need = (t - start.near) - start.rest
    scaled = np.ldexp(need, -time.exponent)
    off = np.ldexp(start.error, -time.exponent) + 4 * _ULP * scaled
    lengths = np.linspace(0.0, 2 * h, _GRID + 1)
    clock = lengths * _horner(time.mean, lengths / h - 1)
    d = np.interp(scaled, clock, lengths)
    speed = _horner(time.density, d / h - 1)
    np.maximum(speed, time.least, out=speed)
    for _ in range(2):
        mean = _horner(time.mean, d / h - 1)
        d -= (d * mean - scaled) / speed
        np.clip(d, 0.0, 2 * h, out=d)
    mean = _horner(time.mean, d / h - 1)
    miss = np.abs(d * mean - scaled) * (1 + 8 * _ULP)
    miss += d * (time.error + 4 * _ULP * mean) + off
    margin = miss * ((1 + 8 * _ULP) / time.least)
    low = (d - margin) * (1 - 4 * _ULP)
    tiny = (scaled < _TINY) | (d < _TINY)
    good = (t <= end.before) & (need > 2 * start.error) & (low > 0) & ~tiny
    np.maximum(low, 0.0, out=low)
    if panel.fall is None:
        return _Solved(good, tiny, low, 2 * margin + 8 * _ULP * d)
    unit = math.ldexp(1.0, panel.fall.exponent)
    mean = _horner(panel.fall.mean, low / h - 1) - panel.fall.error
    good &= mean > 0
    fall = low * mean * (1 - 8 * _ULP) * unit
    width = unit * (2 * panel.fall.most * margin + 2 * panel.fall.error * low) + 16 * _ULP * fall
    return _Solved(good, tiny, np.maximum(fall, 0.0), width)


class _Builder:
    """Makes panels of one curve at one speed."""

    def __init__(self, curve: Curve, what: str, speed: Fraction) -> None:
        self.curve, self.what, self.speed = curve, what, speed
        self.kind = "psi" if what == "psi" else "loss"
        self.program = curve._fall_program(self.kind)
        top = curve._constant(curve.loss0)
        self.loss0 = _split_up(curve._ctx, top * (1 + curve._ctx.ldexp(1, 8 - curve._ctx.prec)))

    def knot(self, x: float) -> _Knot | None:
        """T at x; None where it is not found."""
        if not x:
            return _Knot(0.0, 0.0, 0.0)
        found = self._kept(("knot", x), lambda: self._knot(x))
        assert found is None or isinstance(found, _Knot)
        return found

    def panel(self, a: float, h: float) -> _Panel | None:
        """The panel; None where it is not good enough."""
        found = self._kept(("panel", self.kind, a, h), lambda: self._panel(a, h))
        assert found is None or isinstance(found, _Panel)
        return found

    def gone(self, x: float) -> bool:
        """Whether the loss is certainly below the smallest float at x."""
        curve = self.curve

        def bound() -> float:
            return _round_down(curve._q(curve._ctx.mpf(x), -1))

        try:
            fall = curve._call(bound)
        except LimitReached:
            return False
        return bool(exp_up(np.array([fall]), *self.loss0)[0] == math.ulp(0.0))

    def _kept(self, name: tuple[Any, ...], work: Any) -> object:
        curve = self.curve
        key = (self.speed, *name)
        with curve._lock:
            if key not in curve._panels:
                found = None
                with suppress(LimitReached):
                    found = curve._call(work)
                if len(curve._panels) >= _MOST_PANELS:
                    curve._panels.clear()
                curve._panels[key] = found
            return curve._panels[key]

    def _knot(self, x: float) -> _Knot | None:
        ctx = self.curve._ctx
        try:
            value, error = self.curve._integral_to(ctx.mpf(x))
        except _TROUBLE:
            return None
        speed = self.curve._constant(self.speed)
        value, error = value / speed, (error + value * ctx.ldexp(1, 4 - ctx.prec)) / speed
        if not ctx.mag(value) < 1020:
            return _Knot(math.inf, 0.0, 0.0)
        near = float(value)
        rest = float(value - near)
        return _Knot(near, rest, float(error) * 1.001 + abs(rest) * 2 * _ULP + math.ulp(0.0))

    def _panel(self, a: float, h: float) -> _Panel | None:
        curve = self.curve
        try:
            time = self._mean(curve._program, a, h, curve._constant(self.speed))
            if time is None:
                return None
            fall = None
            if self.program is not None:
                fall = self._mean(self.program, a, h, curve._ctx.one)
                if fall is None or abs(fall.exponent) > 900:
                    return None
            x = curve._ctx.mpf(a)
            base: Any = (
                _split_up(curve._ctx, curve._psi_upper(x))
                if self.kind == "psi"
                else _round_down(curve._q(x, -1))
            )
        except _TROUBLE:
            return None
        if abs(time.exponent) > 4000 or (self.kind == "psi" and base[1] > _HUGE):
            return None
        return _Panel(a, h, time, fall, base)

    def _mean(self, program: Program, a: float, h: float, unit: Number) -> _Mean | None:
        ctx = self.curve._ctx
        with ctx.workprec(2 * _BITS + 60):
            points = [a + h * (1 + node) for node in _matrices()[0]]
        sample = self._balls if self.curve._engine.certified else self._estimates
        found = sample(program, points, a, h)
        if found is None:
            return None
        values, error = found
        with ctx.workprec(2 * _BITS):
            return _mean_of(ctx, [v / unit for v in values], error / unit)

    def _balls(
        self, program: Program, points: list[Number], a: float, h: float
    ) -> tuple[list[Number], Number] | None:
        """Values at the nodes, and a proved bound on the density minus its interpolant."""
        curve, ctx = self.curve, self.curve._ctx
        engine = curve._engine
        curve._tick()
        values, widest, order, bits = [], ctx.zero, 1, ctx.prec
        for x in points:
            ball, level = engine.ball(program, x)
            value, radius = engine.mpf(ball.mid()), engine.mpf(ball.rad())
            if not (value > 0 and radius <= value * ctx.ldexp(1, -70)):
                return None
            values.append(value)
            widest = max(widest, radius)
            order, bits = max(order, level[0]), max(bits, level[1])
        limit = ctx.ldexp(min(values), 2 * _DEGREE - 58)
        with engine.precision(bits):
            top = _bound_on_ellipse(curve, program, order, bits, a, h, engine.arb(limit))
            if top is None:
                return None
            most = engine.mpf(top.upper())
        # Lebesgue's constant of 37 nodes is below 4
        return values, ctx.ldexp(most, 1 - 2 * _DEGREE) + 4 * widest

    def _estimates(
        self, program: Program, points: list[Number], a: float, h: float
    ) -> tuple[list[Number], Number] | None:
        """Values at the nodes, and 16 times the largest miss at points between them."""
        curve, ctx = self.curve, self.curve._ctx

        def value(x: Number) -> Number:
            curve._tick()
            return curve._integrand.value(x, program)

        values = [value(x) for x in points]
        worst = max(values) * ctx.ldexp(1, -65)
        nodes = _matrices()[0]
        weights = [
            (-1) ** j * ctx.sin(ctx.pi * (2 * j + 1) / (2 * _DEGREE + 2)) for j in range(len(nodes))
        ]
        for u in (-1.0, -0.9375, -0.59375, -0.21875, 0.21875, 0.59375, 0.9375, 1.0):
            parts = [w / (u - node) for w, node in zip(weights, nodes, strict=True)]
            said = sum(p * v for p, v in zip(parts, values, strict=True)) / sum(parts)
            worst = max(worst, 16 * abs(said - value(ctx.mpf(a) + ctx.mpf(h) * (1 + u))))
        return (values, worst) if worst <= min(values) * ctx.ldexp(1, -50) else None


def _bound_on_ellipse(
    curve: Curve, program: Program, order: int, bits: int, a: float, h: float, limit: Number
) -> Number | None:
    """A bound of |program| on the ellipse, on which it is analytic; None if above `limit`.

    The values are real on the real line, so the upper half is enough.
    """
    engine = curve._engine
    arb, acb = engine.flint.arb, engine.flint.acb
    centre = curve._start_ball(bits) + arb(a) + arb(h)
    long, high = 2.125, 1.875
    todo = [(-long + long * (2 * i + 1) / 4, high / 2, long / 4, 0) for i in range(4)]
    todo = [(x, y * (2 * j + 1) / 2, r, 0) for x, y, r, _ in todo for j in range(2)]
    top, count = arb(0), 0
    while todo:
        x, y, r, depth = todo.pop()
        tall = high / 4 * 2.0**-depth
        near_x, near_y = max(0.0, abs(x) - r), max(0.0, y - tall)
        if (near_x / long) ** 2 + (near_y / high) ** 2 > 1.000001:
            continue
        count += 1
        if count % 16 == 0:
            curve._tick()
        box = acb(centre + arb(x, r) * arb(h), arb(y, tall) * arb(h))
        value = program.ball(engine.field, box, order, True)
        size = value.abs_upper()
        if size.is_finite() and bool(size <= limit):
            top = top.max(size)
        elif depth == 3 or count > 250:
            return None
        else:
            half, low = r / 2, tall / 2
            todo += [(x + i * half, y + j * low, half, depth + 1) for i in (-1, 1) for j in (-1, 1)]
    return top


# -- many times ---------------------------------------------------------------------------------


def at_times(curve: Curve, what: str, times: Floats, speed: Fraction) -> Floats:
    """`loss`, `psi` or `log_decrease` of a curve at kt = speed t, for rising times.

    Upper bounds, `log_decrease` a lower one, and monotone, as the loss is.  Panels are made where
    at least four times lie and kept with the curve; a time that they do not settle goes to the
    method of the same name.  Memory: about ten arrays of the size of `times`.
    """
    times = np.asarray(times, dtype=float)
    found = np.full(times.shape, np.nan)
    with suppress(EvaluationError):
        _fill(_Builder(curve, what, speed), times, found)
    method = getattr(curve, what)
    for i in np.flatnonzero(np.isnan(found)):
        found[i] = method(speed * Fraction(times[i].item()))
    # what holds at a time holds later: V does not rise
    best = np.maximum if what == "log_decrease" else np.minimum
    return np.asarray(best.accumulate(found))


def _fill(builder: _Builder, times: Floats, found: Floats) -> None:
    """The entries that panels settle."""
    if builder.loss0[1] > _HUGE:
        return
    first, last = int(np.searchsorted(times, 0.0, side="right")), len(times)
    last = _after_extinction(builder, times, found)
    if last - first < _WORTH:
        return
    h = _half_of_root(builder, times[last - 1].item())
    end = None if h is None else builder.knot(2 * h)
    start = builder.knot(0.0)
    if h is None or end is None or start is None:
        return
    if builder.what == "loss" and 2 * h > _LOW:
        low = builder.knot(_LOW)
        if low is not None and builder.gone(_LOW):
            found[np.searchsorted(times, low.after) : last] = math.ulp(0.0)
            h, end = _LOW / 2, low
    last = min(last, int(np.searchsorted(times, end.before)))
    todo = [(0.0, h, start, end, first, last)]
    while todo:
        a, h, start, end, i, j = todo.pop()
        if j - i < _WORTH:
            continue
        panel = builder.panel(a, h)
        if (
            panel is not None
            and _settle(builder, panel, start, end, times[i:j], found[i:j]) < _WORTH
        ):
            continue
        middle = builder.knot(a + h) if a < h * _FINEST and h > 2.0**-900 else None
        if middle is None:
            continue
        cut = i + int(np.searchsorted(times[i:j], middle.after))
        if not a and j - cut < _WORTH <= cut - i:
            # many halvings may be needed to reach the next times: go there at once
            near = _half_of_root(builder, times[cut - _WORTH].item())
            reach = None if near is None or near >= h / 2 else builder.knot(2 * near)
            if near is not None and reach is not None:
                stop = i + int(np.searchsorted(times[i:cut], reach.before))
                todo.append((0.0, near, start, reach, i, stop))
                continue
        todo.append((a, h / 2, start, middle, i, cut))
        todo.append((a + h, h / 2, middle, end, cut, j))


def _after_extinction(builder: _Builder, times: Floats, found: Floats) -> int:
    """The number of times before extinction; after it the loss is 0."""
    curve = builder.curve
    if not curve.finite_time:
        return len(times)
    try:
        lower, upper = curve._call(curve._extinction_times)
    except LimitReached:
        return len(times)
    speed = curve._constant(builder.speed)
    before = _round_down(lower / speed) * (1 - 2e-16)
    after = _round_up(upper / speed) * (1 + 4e-16)
    if after > 1e-290:
        found[np.searchsorted(times, after, side="right") :] = (
            math.inf if builder.what == "log_decrease" else 0.0
        )
    return int(np.searchsorted(times, before))


def _half_of_root(builder: _Builder, t: float) -> float | None:
    """h = 2^k such that [0, 2h] reaches the last time, if a float does."""
    curve = builder.curve
    try:
        upper = curve._x(builder.speed * Fraction(t))[1]
    except LimitReached:
        return None
    if not upper < _FAR:
        return _FAR / 2
    return float(math.ldexp(1.0, max(-500, int(curve._ctx.mag(upper)))))


def _settle(
    builder: _Builder, panel: _Panel, start: _Knot, end: _Knot, times: Floats, found: Floats
) -> int:
    """Fills what the panel settles; the number of entries that smaller panels may settle."""
    left = 0
    with np.errstate(all="ignore"):
        for k in range(0, len(times), _CHUNK):
            chunk = slice(k, k + _CHUNK)
            solved = _solve(panel, start, end, times[chunk])
            values, good = _answers(builder, panel, solved)
            good &= solved.good & np.isnan(found[chunk])
            found[chunk][good] = values[good]
            left += int(np.count_nonzero(np.isnan(found[chunk]) & ~solved.tiny))
    return left


def _answers(builder: _Builder, panel: _Panel, solved: _Solved) -> tuple[Floats, NDArray[np.bool_]]:
    """The bounds, and where they are sharp enough."""
    fall, width = solved.fall, solved.width
    if builder.kind == "psi":
        base, (mantissa, exponent) = fall, panel.base
    else:
        at_a = panel.base
        base = fall if not at_a else np.nextafter(at_a + fall, -np.inf)
        width = width + 4 * _ULP * base
        mantissa, exponent = builder.loss0
    if builder.what == "log_decrease":
        return base, width <= WIDTH * base
    values = exp_up(base, mantissa, exponent)
    if builder.what == "loss":
        values = np.minimum(values, builder.curve._up(builder.curve.loss0))
    wide = np.maximum(1.0, base / 128) * WIDTH
    return values, (width <= wide) | (values <= math.ulp(0.0))


def _split_up(ctx: Any, value: Number) -> tuple[float, int]:
    """(m, e) with m 2^e at least a positive mpf, m in [0.5, 1] and e not below -_HUGE."""
    exponent = int(ctx.mag(value))
    return (
        (0.5, -_HUGE) if exponent < -_HUGE else (_round_up(ctx.ldexp(value, -exponent)), exponent)
    )
