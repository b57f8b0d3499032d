"""An integral from 0 as a program: P(p) = ∫_0^p f where f has no closed primitive.

With p = e^{-y} and u(η) = e^{-η} f(e^{-η}) this is ∫_y^∞ u dη.  It is summed over panels that begin
with the length on which u changes and double, so that tails that fall like a power of η need some
hundred panels and not more.  Each panel is done by Gauss-Legendre quadrature twice, with n and with
2n nodes; panels on which they differ are halved.
"""

from __future__ import annotations

import bisect
from functools import lru_cache
from typing import Any

import mpmath
import sympy as sp
from mpmath.calculus.quadrature import GaussLegendre

from kltheory.symbolic.evaluate import EvaluationError, Program, RealField

__all__ = ["IntegralProgram", "integral_from_zero"]

_MAX_PANELS = 4000


def integral_from_zero(f: sp.Expr, x: sp.Symbol) -> sp.Integral:
    """∫_0^x f as an unevaluated integral, whose derivative is f.

    >>> x = sp.Symbol("x", positive=True)
    >>> integral_from_zero(sp.exp(-x) / (1 + x), x).diff(x)
    exp(-x)/(x + 1)
    """
    inner = sp.Symbol("xi", positive=True)
    return sp.Integral(f.subs(x, inner), (inner, 0, x))


@lru_cache(maxsize=8)
def _nodes(degree: int, bits: int) -> tuple[tuple[Any, Any], ...]:
    """Nodes and weights on [-1, 1] as raw mpf tuples, 3·2^(degree-1) of them."""
    ctx = mpmath.MPContext()
    found = GaussLegendre(ctx).calc_nodes(degree, bits + 20)
    return tuple((x._mpf_, w._mpf_) for x, w in found)


class IntegralProgram(Program):
    """An integral from 0 to the symbol, evaluated like any `Program`.

    >>> x = sp.Symbol("x", positive=True)
    >>> program = IntegralProgram(integral_from_zero(sp.exp(-x), x), x)
    >>> ctx = mpmath.MPContext()
    >>> abs(program(ctx, 1) - (1 - ctx.exp(-1))) < 1e-15
    True
    """

    def __init__(self, expr: sp.Integral, symbol: sp.Symbol) -> None:
        (inner, low, high), *more = expr.limits
        if more or low != 0 or high != symbol:
            raise EvaluationError(f"{expr} is not an integral from 0 to {symbol}")
        self.expr = expr
        self.symbol = symbol
        self.relations = []
        self._level = (1, 0)
        self._density = Program(expr.function * inner, inner)
        self._known: dict[int, tuple[list[Any], list[Any]]] = {}

    def leading_power(self) -> None:
        """Not known."""
        return None

    def signature(self, field: Any, y: Any) -> tuple[bool, ...]:
        """No pieces."""
        return ()

    def ball(self, *args: Any, **options: Any) -> Any:
        """Refused: the quadrature has an error estimate, not a proof."""
        raise EvaluationError("an integral without a closed form has no ball")

    def settle(
        self,
        ctx: Any,
        point: Any,
        start: tuple[int, int] = (1, 0),
        relative_bits: int | None = None,
    ) -> tuple[Any, tuple[int, int]]:
        """The value at exp(-point()), to the precision of the context."""
        return self.at_exp(ctx, point()), start

    def at_exp(self, ctx: Any, y: Any) -> Any:
        """∫_y^∞ u, to the precision of ctx."""
        target = ctx.prec
        points, values = self._known.setdefault(target, ([], []))
        y = ctx.mpf(y)
        k = bisect.bisect_left(points, y)
        if k < len(points) and points[k] == y:
            return +ctx.make_mpf(values[k])
        ctx.prec = target + 20
        try:
            end = points[k] if k < len(points) else None
            base = ctx.make_mpf(values[k]) if k < len(points) else ctx.zero
            tails = self._march(ctx, y, end, base, target)
        finally:
            ctx.prec = target
        for point, tail in tails:
            if point not in points[k : k + 1]:
                points.insert(k, point)
                values.insert(k, tail._mpf_)
        total = tails[-1][1]
        if not (ctx.isfinite(total) and total > 0):
            raise EvaluationError("the integral is not a positive number")
        return +total

    def _march(self, ctx: Any, y: Any, end: Any, base: Any, target: int) -> list[tuple[Any, Any]]:
        """(point, ∫_point^∞ u), from the deepest point that is accurate up to y."""
        tiny = ctx.ldexp(1, -target - 40)
        at, beside = (self._density.at_exp(ctx, q) for q in (y, y + ctx.ldexp(1, -20)))
        slope = abs(ctx.log(at / beside)) * ctx.ldexp(1, 20) if at > 0 and beside > 0 else 1
        step = 1 / max(slope, 1 / max(abs(y), ctx.one))
        parts: list[tuple[Any, Any]] = []
        total, left, quiet = base, y, 0
        # the panels double: if two in a row are nothing, so is the rest
        while quiet < 2:
            last = end is not None and left + step >= end
            right = end if last else left + step
            part = self._panel(ctx, left, right, tiny * total, 0)
            parts.append((left, part))
            total += part
            if last:
                break
            quiet = quiet + 1 if total > 0 and part <= tiny * total else 0
            left, step = right, 2 * step
            if len(parts) > _MAX_PANELS:
                raise EvaluationError("the integral converges too slowly to be computed")
        tails, tail = [], base
        for point, part in reversed(parts):
            tail += part
            if tail >= total * ctx.ldexp(1, -30) or point is y:
                tails.append((point, tail))
        return tails

    def _panel(self, ctx: Any, a: Any, b: Any, small: Any, depth: int) -> Any:
        level = (1, 0)
        for q in (a, (a + b) / 2, b):
            self._density.at_exp(ctx, q)
            level = max(level, self._density._level)
        coarse, fine = (self._sum(ctx, a, b, degree, level) for degree in (4, 5))
        if abs(fine - coarse) <= abs(fine) * ctx.ldexp(1, 12 - ctx.prec) + small:
            return fine
        if depth > 40:
            raise EvaluationError("the integral is not found to the precision")
        middle = (a + b) / 2
        return self._panel(ctx, a, middle, small, depth + 1) + self._panel(
            ctx, middle, b, small, depth + 1
        )

    def _sum(self, ctx: Any, a: Any, b: Any, degree: int, level: tuple[int, int]) -> Any:
        """The quadrature with 3·2^(degree-1) nodes, at the precision that the ends need."""
        half, middle = (b - a) / 2, (a + b) / 2
        total, field, bits = ctx.zero, RealField(ctx), ctx.prec
        for node, weight in _nodes(degree, bits):
            q = middle + half * ctx.make_mpf(node)
            ctx.prec = bits + 20 + level[1]
            try:
                value = self._density.run(field, q, level[0])
            except (ArithmeticError, ValueError) as error:
                raise EvaluationError(f"the integrand is not a number: {error}") from None
            finally:
                ctx.prec = bits
            total += ctx.make_mpf(weight) * value
        return total * half
