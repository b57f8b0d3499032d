"""Closed forms are accepted only after they have been evaluated: Ψ' = -ψ'², Ψ⁻¹(Ψ(s)) = s."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath
import sympy as sp
from mpmath.calculus.quadrature import GaussLegendre

from kltheory.symbolic.evaluate import EvaluationError, compile_expr

#: Relative accuracy to which an identity must hold at every point.
TOLERANCE = mpmath.mpf("1e-20")
_WORKING, _DEEP = 160, 800
_FAILURES = (EvaluationError, ArithmeticError, ValueError, mpmath.libmp.NoConvergence)


def _at(ctx: Any, point: sp.Expr) -> Any:
    value = sp.sympify(point)
    if value.is_Rational:
        return ctx.mpf(int(value.p)) / int(value.q)
    return ctx.mpf(str(value.evalf(60)))


def primitive_holds(
    candidate: sp.Expr, f: sp.Expr, p: sp.Symbol, points: list[sp.Expr], extremes: list[sp.Expr]
) -> bool:
    """True if candidate' = -f at all points, it is real, and its differences are the integrals.

    The derivative alone would accept a branch that jumps; the integrals between neighbouring points
    exclude it.  At the extremes (s = 1e-30, ...) only the derivative is compared, at high
    precision.
    """
    try:
        value, slope, integrand = (
            compile_expr(e, p) for e in (candidate, sp.diff(candidate, p), f)
        )
        ctx = mpmath.MPContext()
        ctx.prec = _WORKING
        at = [_at(ctx, q) for q in points]
        for q in at:
            a, b = slope(ctx, q), integrand(ctx, q)
            if not abs(a + b) <= TOLERANCE * abs(b):
                return False
        values = [value(ctx, q) for q in at]
        ctx.prec = 80
        for (a, b), (fa, fb) in zip(_pairs(at), _pairs(values), strict=True):
            for parts in (1, 4, 24):  # in many parts where the integrand varies by powers of ten
                area = _area(ctx, integrand, ctx.log(a), ctx.log(b), parts)
                if agrees := abs((fa - fb) - area) <= ctx.mpf("1e-12") * abs(area):
                    break
            if not agrees:
                return False
        return _holds_at_extremes(value, slope, integrand, extremes)
    except _FAILURES:
        return False


def _area(ctx: Any, f: Any, a: Any, b: Any, parts: int) -> Any:
    """∫ e^x f(e^x) dx from a to b, by Gauss and Legendre's rule of 24 nodes on each part."""
    nodes = GaussLegendre(ctx).get_nodes(-1, 1, 4, ctx.prec)
    half = (b - a) / (2 * parts)
    total = ctx.zero
    for i in range(parts):
        middle = a + (2 * i + 1) * half
        for x, weight in nodes:
            at = ctx.exp(middle + half * x)
            total += weight * at * f(ctx, at)
    return total * half


def _holds_at_extremes(value: Any, slope: Any, integrand: Any, extremes: list[sp.Expr]) -> bool:
    ctx = mpmath.MPContext()
    ctx.prec = _DEEP
    for point in extremes:
        q = _at(ctx, point)
        value(ctx, q)  # raises where it is not real
        a, b = slope(ctx, q), integrand(ctx, q)
        if not abs(a + b) <= TOLERANCE * abs(b):
            return False
    return True


def inverse_holds(
    candidate: sp.Expr, u: sp.Symbol, f: sp.Expr, p: sp.Symbol, points: list[sp.Expr]
) -> bool:
    """True if candidate(f(p)) = p at all points, on a real branch."""
    try:
        forth = compile_expr(f, p)
        v = sp.Symbol("v", positive=True)
        plus, minus = (compile_expr(candidate.subs(u, sign * v), v) for sign in (1, -1))
        for precision in (_WORKING, _DEEP):
            ctx = mpmath.MPContext()
            ctx.prec = precision
            errors = []
            for q in (_at(ctx, point) for point in points):
                y = forth(ctx, q)
                back = plus(ctx, y) if y > 0 else minus(ctx, -y)
                errors.append(abs(back - q) / abs(q))
            if all(e <= TOLERANCE for e in errors):
                return True
            if not all(e <= ctx.mpf("1e-3") for e in errors):
                return False
        return False
    except _FAILURES:
        return False


def _pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    return list(itertools.pairwise(values))
