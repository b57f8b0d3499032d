"""∫_0^x f in closed form, found in the worker process and verified there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import mpmath
import sympy as sp
from sympy import S

from kltheory.symbolic.evaluate import EvaluationError, compile_expr
from kltheory.symbolic.inverse import simple_inverses
from kltheory.symbolic.primitive import _integrate as antiderivatives
from kltheory.symbolic.primitive import real_form
from kltheory.symbolic.verify import primitive_holds
from kltheory.symbolic.wire import decode, encode

#: Seconds of symbolic work for one integral.
SECONDS = 4.0

_POINTS = [sp.Rational(k, 40) for k in (1, 9, 20, 31, 52)]


def primitive_from_zero(
    f: sp.Expr, x: sp.Symbol, units: list[sp.Expr], samples: dict[sp.Symbol, sp.Expr]
) -> sp.Expr | None:
    """F with F' = f on ]0, ∞[ and F(0+) = 0, verified; None if none was found in time.

    `units` are expressions that may serve as a new variable; `samples` are the numbers at which an
    f with parameters is verified.

    >>> x = sp.Symbol("x", positive=True)
    >>> primitive_from_zero(1 / (1 + x**2), x, [], {})
    atan(x)
    """
    from kltheory.symbolic.worker import events

    task = {
        "kind": "primitive",
        "symbol": encode(x),
        "integrand": encode(f),
        "units": [encode(u) for u in units],
        "samples": [[encode(q), encode(v)] for q, v in samples.items()],
    }
    for event in events(task, SECONDS):
        if event["kind"] == "primitive":
            found: sp.Expr = decode(event["expr"])
            return found
    return None


def work(
    task: dict[str, Any], seconds: float, attempt: Callable[..., Any]
) -> Iterator[dict[str, Any]]:
    """The work of one integral, in the worker; `attempt(f, share)` limits the time of f."""
    x, f = decode(task["symbol"]), decode(task["integrand"])
    samples = {decode(q): decode(v) for q, v in task["samples"]}
    for candidate in _candidates(f, x, [decode(u) for u in task["units"]], seconds, attempt):
        found = attempt(lambda c=candidate: _verified(c, f, x, samples), seconds / 4)
        if found is not None:
            yield {"kind": "primitive", "expr": encode(found)}
            return


def _candidates(
    f: sp.Expr,
    x: sp.Symbol,
    units: list[sp.Expr],
    seconds: float,
    attempt: Callable[..., Any],
) -> Iterator[sp.Expr]:
    u = sp.Symbol("u", positive=True)
    original = f
    f = attempt(lambda: sp.simplify(original), seconds / 8) or original

    def direct(effort: str) -> list[sp.Expr]:
        return [r for r, _ in antiderivatives(f, x, effort)]

    def substituted(unit: sp.Expr) -> list[sp.Expr]:
        found = []
        for inverse in simple_inverses(unit, x, u)[:2]:
            g = sp.simplify(f.subs(x, inverse) * sp.diff(inverse, u))
            found += [r.subs(u, unit) for r, _ in antiderivatives(g, u, "elementary")]
        return found

    yield from attempt(lambda: direct("elementary"), seconds / 5) or []
    for unit in units:
        yield from attempt(lambda w=unit: substituted(w), seconds / 8) or []
    for effort, share in (("hypergeometric", 8), ("general", 2)):
        yield from attempt(partial(direct, effort), seconds / share) or []


def _verified(
    candidate: sp.Expr, f: sp.Expr, x: sp.Symbol, samples: dict[sp.Symbol, sp.Expr]
) -> sp.Expr | None:
    """The candidate without its value at 0+, if it is a primitive of f; else None."""
    at_samples = real_form(candidate.subs(samples), x, _POINTS[2])
    if not primitive_holds(-at_samples, f.subs(samples), x, _POINTS, []):
        return None
    constant = _value_at_zero(at_samples, x)
    if constant is None or (samples and constant != 0):
        return None
    return (candidate if samples else at_samples) - constant


def _value_at_zero(expr: sp.Expr, x: sp.Symbol) -> sp.Expr | None:
    """The limit at 0+ if it is 0 or a simple number, else None."""
    ctx = mpmath.MPContext()
    ctx.prec = 120
    program = compile_expr(expr, x)
    try:
        a, b, c = (program.at_exp(ctx, ctx.mpf(10) ** k) for k in (10, 100, 300))
    except (EvaluationError, ArithmeticError, ValueError):
        return None
    if c == 0 or (abs(c) < abs(b) * 0.75 and abs(b) < abs(a) * 0.75):
        return S.Zero
    if not abs(c - b) <= abs(c) * ctx.mpf(10) ** -25:
        return None
    for unit in (S.One, sp.pi, sp.pi**2, sp.log(2)):
        size = c / ctx.mpf(str(unit.evalf(45)))
        for q in range(1, 49):
            n = ctx.nint(size * q)
            if abs(size * q - n) <= abs(size) * q * ctx.mpf(10) ** -25:
                return sp.Rational(int(n), q) * unit
    return None
