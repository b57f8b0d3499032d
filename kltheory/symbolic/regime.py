"""How fast the loss can decay: the regime of a desingularizing function.

With x = -log s and W(x) = s ψ'(s)², the law is ∫ W dx = κt, so the regime is the growth of W:

    δ = lim (log W)'              δ > 0  polynomial, order 1/δ        δ < 0  finite time
    η = lim x (log W)'   (δ = 0)  η = ∞  quasi-polynomial             η > 0  stretched exponential
                                  W → l  exponential, rate κ/l        -1 < η < 0  super-exponential
    ζ = lim log x (η(x) + 1)      (η = -1)  ζ > -1  double-exponential
    otherwise finite time: ∫ W dx < ∞ decides, not the exponent of ψ (√s / log(1/s) is extinct in
    finite time with exponent 1/2).

The limits are found symbolically and, independently, by evaluating (log W)' at x up to 1e200; the
regime is named only if the two agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mpmath
import sympy as sp
from sympy import S

from kltheory.symbolic.evaluate import EvaluationError, compile_expr

#: x at which the growth of W is read; the spacing doubles log x, which makes the trends visible.
_DEPTHS = (10**25, 10**50, 10**100, 10**200)

Attempt = Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True, slots=True)
class Regime:
    """How fast the loss and the parameters converge."""

    loss: str
    """Regime of the loss, "undetermined" if the two ways do not agree."""
    parameters: str
    """Regime of the parameter error."""
    order: sp.Expr | None = None
    """n for a loss of order t^-n (polynomial regime)."""
    parameter_order: sp.Expr | None = None
    """The same for the parameter error."""
    limit: sp.Expr | None = None
    """l = lim s ψ'(s)² in the exponential regime: the loss decays like exp(-κ t / l)."""
    exponent: sp.Expr | None = None
    """1/(1 + η): like exp(-t^exponent) in the stretched and super-exponential regimes."""
    reason: str = ""
    """How it was decided, or why it was not."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one way found: a name and the index that goes with it (δ, η or l)."""

    name: str
    index: Any = None


def _growth(loss: sp.Expr, value: sp.Expr, p: sp.Symbol) -> sp.Expr:
    """(log W)' with respect to x along the curve: -(1 + 2 (S/S') (P''/P' - S''/S'))."""
    ds, dv = sp.diff(loss, p), sp.diff(value, p)
    return -(1 + 2 * (loss / ds) * (sp.diff(dv, p) / dv - sp.diff(ds, p) / ds))


# ---------------------------------------------------------------------------------------------
# By numbers


def read_numbers(growth: sp.Expr, loss: sp.Expr, value: sp.Expr, p: sp.Symbol) -> _Reading:
    """The regime from (log W)' at x = 1e25 ... 1e200, with the trend extrapolated in 1/log x."""
    try:
        return _read_numbers(growth, loss, value, p)
    except _FAILURES:
        return _read_flat(growth, p)


_FAILURES = (EvaluationError, ArithmeticError, ValueError, mpmath.libmp.NoConvergence)


def _read_flat(growth: sp.Expr, p: sp.Symbol) -> _Reading:
    """Finite time if (log W)' runs to -∞ so fast that it cannot be held at great depth."""
    ctx = mpmath.MPContext()
    ctx.prec = 200
    try:
        program = compile_expr(growth, p)
        a, b, c = (program.at_exp(ctx, ctx.mpf(y)) for y in (25, 50, 100))
    except _FAILURES:
        return _Reading("undetermined")
    return _Reading("finite-time" if c < 10 * b < 100 * a < 0 else "undetermined")


def _read_numbers(growth_expr: sp.Expr, loss: sp.Expr, value: sp.Expr, p: sp.Symbol) -> _Reading:
    ctx = mpmath.MPContext()
    growth = compile_expr(growth_expr, p)
    x_of = compile_expr(-sp.log(loss), p)
    deltas, etas = [], []
    for depth in _DEPTHS:
        ctx.prec = int(240 + 4 * depth.bit_length())
        y = ctx.mpf(depth)
        near = [growth.at_exp(ctx, y + shift) for shift in (0, ctx.mpf(13) / 10, ctx.mpf(29) / 10)]
        spread = max(near) - min(near)
        noise = ctx.ldexp(1, -ctx.prec // 2)
        largest = max(map(abs, near))
        if largest < 10**6 and spread > max(noise, largest / 10**6):
            return _Reading("undetermined", "oscillates")
        delta = near[0] if abs(near[0]) > noise else ctx.zero
        deltas.append(delta)
        etas.append(delta * x_of.at_exp(ctx, y))
    if all(d == 0 for d in deltas[1:]):
        ctx.prec = 200
        w = compile_expr(loss * (sp.diff(value, p) / sp.diff(loss, p)) ** 2, p)
        return _Reading("exponential", w.at_exp(ctx, ctx.mpf(10) ** 6))
    if deltas[-1] < 10 * deltas[-2] < 100 * deltas[-3] < 0:
        return _Reading("finite-time")
    if _settled(deltas, 1e-4) and deltas[-1] != 0:
        return _Reading("polynomial" if deltas[-1] > 0 else "finite-time", deltas[-1])
    if not abs(deltas[-1]) < abs(deltas[-2]) * 0.9:
        return _Reading("undetermined")
    # η = a + b/log x + ...: log x doubles, so 2 η_(k+1) - η_k removes the first correction
    sharp = [2 * b - a for a, b in itertools.pairwise(etas)]
    if abs(etas[-1]) > 1.5 * abs(etas[-2]) > 2 * abs(etas[-3]) and abs(etas[-1]) > 50:
        return _Reading("quasi-polynomial" if etas[-1] > 0 else "finite-time")
    eta = sharp[-1]
    if not abs(sharp[-1] - sharp[-2]) <= 1e-3 * (1 + abs(eta)):
        return _Reading("undetermined")
    slope = (etas[-1] - eta) * ctx.log(_DEPTHS[-1])  # b: W ~ x^eta (log x)^b
    if abs(eta) < 1e-3:
        if abs(slope) < 1e-3:
            ctx.prec = 200
            w = compile_expr(loss * (sp.diff(value, p) / sp.diff(loss, p)) ** 2, p)
            return _Reading("exponential", w.at_exp(ctx, ctx.mpf(10) ** 60))
        return _Reading("stretched-exponential" if slope > 0 else "super-exponential", ctx.zero)
    if abs(eta + 1) < 1e-3:
        if abs(slope + 1) < 1e-2:
            return _Reading("undetermined")
        return _Reading("double-exponential" if slope > -1 else "finite-time")
    if eta < -1:
        return _Reading("finite-time")
    return _Reading("stretched-exponential" if eta > 0 else "super-exponential", eta)


def _settled(values: list[Any], tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance * abs(b) for a, b in itertools.pairwise(values))


# ---------------------------------------------------------------------------------------------
# By limits


def read_limits(loss: sp.Expr, value: sp.Expr, p: sp.Symbol, attempt: Attempt) -> _Reading:
    """The regime from the exact limits of (log W)', its dominant term or SymPy's `limit`."""
    explicit = loss == p
    if explicit and (found := _dominant(sp.diff(value, p), p)) is not None:
        return found
    found = attempt(lambda: _leading(loss, value, p))
    if found is not None:
        return found  # type: ignore[no-any-return]
    y = sp.Symbol("y", positive=True)

    def in_y() -> sp.Expr:
        growth = _growth(loss, value, p).subs(p, sp.exp(-y))
        return sp.simplify(sp.powsimp(sp.expand_log(growth, force=True)))

    def x_of() -> sp.Expr:
        return sp.expand_log(-sp.log(loss.subs(p, sp.exp(-y))), force=True)

    growth = attempt(in_y)
    ways: list[Callable[[], Any]] = [partial(_limit_at_zero, _growth(loss, value, p), p)]
    if growth is not None:
        ways.insert(0, partial(_limit, growth, y, S.Infinity))
    for way in ways:
        delta = attempt(way)
        if delta is None:
            continue
        if delta.is_infinite:
            if delta.is_extended_negative:
                return _Reading("finite-time")
            continue
        if not delta.is_zero:
            if delta > 1:  # impossible for an integrable ψ': a limit that went wrong
                continue
            return _Reading("polynomial" if delta.is_positive else "finite-time", delta)
        if growth is None:
            w = loss * (sp.diff(value, p) / sp.diff(loss, p)) ** 2
            limit = attempt(partial(_limit_at_zero, w, p))
            if limit is not None and limit.is_positive and limit.is_finite:
                return _Reading("exponential", limit)
            continue
        if growth == 0:
            eta = S.Zero
        else:
            eta = attempt(lambda: _limit(sp.simplify(growth * x_of()), y, S.Infinity))
        if eta is None:
            continue
        return _named(eta, loss, value, p, growth, x_of, attempt)
    return _Reading("undetermined")


def _leading(loss: sp.Expr, value: sp.Expr, p: sp.Symbol) -> _Reading | None:
    """The regime from the exact leading power of W itself, or from W being constant at depth."""
    w = compile_expr(loss * (sp.diff(value, p) / sp.diff(loss, p)) ** 2, p)
    power, size = w.leading_power(), compile_expr(loss, p).leading_power()
    if power is None or size is None or size <= 0:
        return None
    ctx = mpmath.MPContext()
    ctx.prec = 400
    depths = [ctx.mpf(10) ** k for k in (4, 20, 60)]
    values = [w.at_exp(ctx, y) for y in depths]
    if power == 0:
        if not max(values) - min(values) <= ctx.mpf("1e-40") * max(values):
            return None
        return _Reading("exponential", _recognised(ctx.nstr(values[-1], 30)))
    b = ctx.mpf(power.numerator) / power.denominator
    rest = [abs(ctx.log(v) + b * y) / y for v, y in zip(values, depths, strict=True)]
    if not (rest[0] < 0.5 and rest[1] < rest[0] / 2 + ctx.mpf("1e-15") and rest[2] < 1e-15):
        return None  # W is not this power times something slower
    delta = -sp.Rational(power.numerator, power.denominator)
    delta /= sp.Rational(size.numerator, size.denominator)
    return _Reading("polynomial" if delta > 0 else "finite-time", delta)


def _recognised(digits: str) -> sp.Expr:
    """A simple exact number with these 30 digits, else the decimal itself."""
    guess = sp.nsimplify(sp.Float(digits, 30), [sp.pi, sp.E])
    return guess if guess.count_ops() <= 6 else sp.Rational(digits)


def _named(
    eta: sp.Expr,
    loss: sp.Expr,
    value: sp.Expr,
    p: sp.Symbol,
    growth: sp.Expr,
    x_of: Callable[[], sp.Expr],
    attempt: Attempt,
) -> _Reading:
    y = sp.Symbol("y", positive=True)
    if eta.is_infinite:
        return _Reading("quasi-polynomial" if eta.is_extended_positive else "finite-time")
    if eta.is_zero:
        w = loss * (sp.diff(value, p) / sp.diff(loss, p)) ** 2
        limit = attempt(lambda: _limit(_at_depth(w, p, y), y, S.Infinity))
        if limit is None:
            limit = attempt(partial(_limit_at_zero, w, p))
        if limit is None:
            return _Reading("undetermined")
        if limit.is_infinite:
            return _Reading("stretched-exponential", S.Zero)
        return (
            _Reading("super-exponential", S.Zero) if limit == 0 else _Reading("exponential", limit)
        )
    if eta == -1:
        zeta = attempt(
            lambda: _limit(sp.simplify(sp.log(y) * (growth * x_of() + 1)), y, S.Infinity)
        )
        if zeta is None or zeta == -1:
            return _Reading("undetermined")
        return _Reading("double-exponential" if zeta > -1 else "finite-time")
    if eta < -1:
        return _Reading("finite-time")
    return _Reading("stretched-exponential" if eta > 0 else "super-exponential", eta)


def _at_depth(expr: sp.Expr, p: sp.Symbol, y: sp.Symbol) -> sp.Expr:
    return sp.simplify(sp.powsimp(sp.expand_log(expr.subs(p, sp.exp(-y)), force=True)))


def _limit_at_zero(expr: sp.Expr, p: sp.Symbol) -> sp.Expr | None:
    return _limit(sp.simplify(expr), p, S.Zero)


def _limit(expr: sp.Expr, v: sp.Symbol, at: sp.Expr) -> sp.Expr | None:
    result = sp.limit(expr, v, at, "+" if at == 0 else "-")
    if result.has(sp.Limit, sp.AccumBounds, S.NaN, S.ComplexInfinity) or result.free_symbols:
        return None
    if not (result.is_infinite or result.is_extended_real):
        return None
    return result


def _dominant(slope: sp.Expr, s: sp.Symbol) -> _Reading | None:
    """The regime of ψ' = Σ c s^a log(1/s)^k from its largest term at 0, exactly."""
    leading: tuple[Any, Any, Any] | None = None
    for term in sp.Add.make_args(sp.expand(sp.expand_log(slope))):
        c, a, k = S.One, S.Zero, S.Zero
        for factor in sp.Mul.make_args(term):
            base, exponent = factor.as_base_exp()
            if not factor.has(s):
                c *= factor
            elif base == s and exponent.is_Rational:
                a += exponent
            elif base in (sp.log(s), -sp.log(s), sp.log(1 / s)) and exponent.is_Rational:
                k += exponent
            else:
                return None
        if leading is None or (a, -k) < (leading[0], -leading[1]):
            leading = (a, k, c)
        elif (a, k) == leading[:2]:
            leading = (a, k, leading[2] + c)
    if leading is None or leading[2] == 0:
        return None
    a, k, c = leading
    delta, eta = -(1 + 2 * a), 2 * k
    if delta != 0:
        return _Reading("polynomial" if delta > 0 else "finite-time", delta)
    if eta == 0:
        return _Reading("exponential", sp.simplify(c**2))
    if eta <= -1:
        return _Reading("double-exponential" if eta == -1 else "finite-time")
    return _Reading("stretched-exponential" if eta > 0 else "super-exponential", eta)


# ---------------------------------------------------------------------------------------------
# Together


def classify(loss: sp.Expr, value: sp.Expr, p: sp.Symbol, attempt: Attempt) -> Regime:
    """The regime of the curve s = S(p), ψ = P(p) near p = 0, named only if two ways agree.

    >>> s = sp.Symbol("s", positive=True)
    >>> r = classify(s, sp.sqrt(s) / sp.log(1 / s), s, lambda f: f())
    >>> r.loss
    'finite-time'
    """
    growth = _growth(loss, value, p)
    numbers = _Reading("undetermined")
    for form in (attempt(lambda: sp.simplify(growth)), growth):  # simplified, much has cancelled
        if form is not None and numbers.name == "undetermined" and numbers.index is None:
            numbers = attempt(partial(read_numbers, form, loss, value, p)) or numbers
    limits = read_limits(loss, value, p, attempt)
    if numbers.index == "oscillates":
        return Regime(
            "undetermined",
            "undetermined",
            reason="s ψ'(s)² oscillates near 0: the loss stays between two multiples of one rate,"
            " but has no regime of its own",
        )
    if "undetermined" in (numbers.name, limits.name) or numbers.name != limits.name:
        found = f"evaluation says {numbers.name}, limits say {limits.name}"
        return Regime("undetermined", "undetermined", reason=found)
    if not _same_index(numbers.index, limits.index):
        found = f"the indices differ: {numbers.index} by evaluation, {limits.index} by limits"
        return Regime("undetermined", "undetermined", reason=found)
    reason = "limits of (log sψ'²)', and its values up to s = exp(-1e200), agree"
    return regime_of(limits.name, limits.index, reason)


def _same_index(numeric: Any, exact: Any) -> bool:
    if numeric is None or exact is None:
        return True
    a, b = float(numeric), float(sp.sympify(exact).evalf(20))
    return abs(a - b) <= 1e-3 * abs(b) + 1e-12


def regime_of(name: str, index: sp.Expr | None, reason: str) -> Regime:
    """The regime with what follows for the parameters: their error is ψ(loss)/√κ at most."""
    if name == "polynomial" and index is not None:
        order = sp.nsimplify(sp.simplify(1 / index))
        if index == 1:
            return Regime(name, "logarithmic", order, None, reason=reason)
        return Regime(name, name, order, sp.simplify((1 - index) / (2 * index)), reason=reason)
    if name == "exponential":
        return Regime(name, name, limit=index, reason=reason)
    if name in ("stretched-exponential", "super-exponential") and index is not None:
        return Regime(name, name, exponent=1 / (1 + index), reason=reason)
    return Regime(name, name, reason=reason)
