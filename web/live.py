"""What the page asks of Python: a law for a text, and points of its curve.  No NumPy, no SciPy.

>>> said = law("sqrt(s)")
>>> said["regime"], said["formulas"][1][1]
('exponential', '- \\\\frac{\\\\log{\\\\left(s \\\\right)}}{4}')
>>> drawn = curve("sqrt(s)", {}, "1", "1")
>>> drawn["t"][0], drawn["loss"][0]
(0.0, 1.0)
"""

from __future__ import annotations

import json
from typing import Any

import mpmath

from kltheory.errors import KLTheoryError
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.evaluate import EvaluationError, compile_expr
from kltheory.symbolic.parse import parse, parse_number
from kltheory.symbolic.rate import derive
from kltheory.symbolic.show import formulas, latex

SECONDS = 8.0
"""Of symbolic work for one ψ."""
DECADES = 12
"""Powers of ten that the curve goes down."""


def law(text: str, values: dict[str, str] | None = None) -> dict[str, Any]:
    """Everything about the law of ψ = text that is a formula or a word."""
    d = Desingularizer.from_psi(text, parameters=values or None)
    found = derive(d, SECONDS)
    shown = formulas(found)
    named = (
        (r"\psi(s)", shown.psi),
        (r"\Psi(s)", shown.Psi),
        (r"\psi^{-1}(p)", shown.psi_inverse),
        (r"\Psi^{-1}(\gamma)", shown.Psi_inverse),
    )
    return {
        "formulas": [[name, f.latex if f else None] for name, f in named],
        "radius": latex(d.radius),
        "regime": found.regime.loss,
        "parameter_regime": found.regime.parameters,
        "reason": found.regime.reason,
        "loss_rate": shown.loss_rate.formula if shown.loss_rate.closed else None,
        "loss_words": None if shown.loss_rate.closed else shown.loss_rate.unicode,
        "method": found.method,
        "notes": [*d.warnings, *found.notes],
        "parameters": [q.name for q in parse(text).parameters],
    }


def curve(text: str, values: dict[str, str], kappa: str, loss0: str) -> dict[str, Any]:
    """Points (t, V) with κt = Ψ(V) - Ψ(L0) = ∫_V^L0 ψ'², from V = L0 down.

    Drawn, not certified: by Gauss and Legendre's rule in log V.
    """
    d = Desingularizer.from_psi(text, parameters=values or None)
    ctx = mpmath.MPContext()
    ctx.prec = 80
    rate, start = (_number(ctx, q) for q in (kappa, loss0))
    radius = None if d.radius.is_infinite else _number(ctx, str(d.radius.evalf(25)))
    if not start > 0 or not rate > 0:
        raise ValueError("κ and L0 are positive numbers")
    if radius is not None and start >= radius:
        start = radius * ctx.mpf("0.999")
    slope = compile_expr(d.derivative**2 if d.explicit else d.derivative, d.symbol)
    value = compile_expr(d.value, d.symbol)
    times, losses, errors = [ctx.zero], [start], [2 * value(ctx, start)]
    steps = 6 * DECADES
    for i in range(1, steps + 1):
        low, high = start * ctx.mpf(10) ** (-i * DECADES / ctx.mpf(steps)), losses[-1]
        times.append(times[-1] + _area(ctx, slope, ctx.log(low), ctx.log(high)) / rate)
        losses.append(low)
        errors.append(2 * value(ctx, low))
    return {
        "t": [float(q) for q in times],
        "loss": [float(q) for q in losses],
        "psi": [float(q) / 2 for q in errors],
        "loss0": float(start),
    }


_NODES = (
    (0.1834346424956498, 0.362683783378362),
    (0.525532409916329, 0.3137066458778873),
    (0.7966664774136267, 0.2223810344533745),
    (0.9602898564975363, 0.1012285362903763),
)
"""Gauss and Legendre's rule with 8 nodes on [-1, 1] (Abramowitz and Stegun, table 25.4)."""


def _area(ctx: Any, f: Any, a: Any, b: Any) -> Any:
    """∫ e^x f(e^x) dx from a to b."""
    half, middle, total = (b - a) / 2, (a + b) / 2, ctx.zero
    for x, weight in _NODES:
        for sign in (-1, 1):
            at = ctx.exp(middle + sign * half * x)
            total += weight * at * f(ctx, at)
    return total * half


def _number(ctx: Any, text: str) -> Any:
    return ctx.mpf(str(parse_number(text).evalf(25)))


def answer(request: str) -> str:
    """One request of the page as JSON, and what it gets; no error leaves this function."""
    asked = json.loads(request)
    try:
        work = {"law": law, "curve": curve}[asked["what"]]
        return json.dumps({"ok": True, **work(*asked["arguments"])}, allow_nan=False)
    except (KLTheoryError, EvaluationError, ArithmeticError, ValueError) as error:
        return json.dumps({"ok": False, "error": str(error) or type(error).__name__})
