"""A function of a real variable, as text, by its two halves on x > 0.

The parser's variable is positive, which is what a ψ needs.  An activation φ lives on ℝ, so its
text is read twice: as it is, for x > 0, and with -x in place of x.  Both readings are exact on
their half-line (|x| and max(x, 0) included), and so are their derivatives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from kltheory.errors import InputError, ParseError
from kltheory.symbolic.parse import parse, to_text

__all__ = ["NAMES", "HalfLines", "read_half_lines"]

Function = Callable[..., Any]

NAMES = (
    "abs sign maximum minimum heaviside exp log sqrt power sin cos tan sinh cosh tanh "
    "arctan arcsin arccos arcsinh arccosh arctanh erf erfc"
).split()
"""The elementwise functions that an evaluation needs, named as in NumPy and SciPy."""

_HEADS: dict[Any, str] = {
    sp.Abs: "abs",
    sp.sign: "sign",
    sp.Max: "maximum",
    sp.Min: "minimum",
    sp.Heaviside: "heaviside",
    sp.exp: "exp",
    sp.log: "log",
    sp.sin: "sin",
    sp.cos: "cos",
    sp.tan: "tan",
    sp.sinh: "sinh",
    sp.cosh: "cosh",
    sp.tanh: "tanh",
    sp.atan: "arctan",
    sp.asin: "arcsin",
    sp.acos: "arccos",
    sp.asinh: "arcsinh",
    sp.acosh: "arccosh",
    sp.atanh: "arctanh",
    sp.erf: "erf",
    sp.erfc: "erfc",
}


@dataclass(frozen=True, slots=True)
class HalfLines:
    """φ(x) for x > 0 and φ(-x) for x > 0, as expressions in the positive symbol x."""

    text: str
    """What was given."""
    variable: sp.Symbol
    """x > 0."""
    right: sp.Expr
    """φ(x)."""
    left: sp.Expr
    """φ(-x)."""

    def derivative(self, order: int) -> tuple[sp.Expr, sp.Expr]:
        """Return φ^(order) at x and at -x."""
        x = self.variable
        return sp.diff(self.right, x, order), (-1) ** order * sp.diff(self.left, x, order)

    def evaluator(self, order: int, functions: Mapping[str, Function]) -> Function | None:
        """Return (x, right: bool) -> φ^(order)(±x), or None where a part has no plain function.

        `functions` holds an elementwise function for each of `NAMES`.
        """
        try:
            halves = [_compiled(e, self.variable, functions) for e in self.derivative(order)]
        except InputError:
            return None
        return lambda x, right: halves[0 if right else 1](x)


def read_half_lines(text: str, variable: str = "x") -> HalfLines:
    """Read φ as text in `variable`.

    Raises:
        ParseError: the text is not an expression that is real for every real x.

    >>> read_half_lines("x/(1 + Abs(x))").left
    -x/(x + 1)
    """
    right = parse(text, variable)
    if right.parameters:
        names = ", ".join(symbol.name for symbol in right.parameters)
        raise InputError(f"activation {text!r}: {names} has no value; write a number.")
    x = right.variable
    if not re.fullmatch(r"[\x00-\x7f]*", text):
        raise InputError(f"activation {text!r}: write it in plain ASCII, in {variable}.")
    mirrored = re.sub(rf"\b{variable}\b", f"(-{variable})", text)
    left = _mirrored(text, mirrored, x)
    for sign, side in (("", right.expr), ("-", left)):
        if side.is_real is False:
            raise InputError(
                f"activation {text!r} is not real at {sign}{variable} > 0: {to_text(side)}"
            )
    return HalfLines(text, x, right.expr, left)


def _mirrored(text: str, mirrored: str, x: sp.Symbol) -> sp.Expr:
    """Read φ(-x); the reader refuses constants, so a φ that is constant there is read with + x."""
    try:
        try:
            found = parse(mirrored, x.name)
            return found.expr.subs(found.variable, x)
        except InputError:
            found = parse(f"({mirrored}) + {x.name}", x.name)
            return found.expr.subs(found.variable, x) - x
    except InputError as error:
        reason = error.reason if isinstance(error, ParseError) else str(error)
        if "constant" in reason:
            reason = "a part of it is constant there; give a Python function instead"
        raise InputError(f"activation {text!r} at negative {x.name}: {reason}") from error


def _compiled(expr: sp.Expr, x: sp.Symbol, functions: Mapping[str, Function]) -> Function:
    """Turn a tree into nested calls of elementwise functions; no text is evaluated."""
    if expr == x:
        return lambda value: value
    if not expr.free_symbols:
        number = float(sp.N(expr, 30))
        return lambda value: number
    if expr.is_Pow and expr.base is not sp.E:
        base, exponent = (_compiled(part, x, functions) for part in expr.args)
        if expr.exp == sp.S.Half:
            return lambda value: functions["sqrt"](base(value))
        if expr.exp.is_Integer and abs(int(expr.exp)) <= 64:
            whole = int(expr.exp)
            return lambda value: base(value) ** whole
        return lambda value: functions["power"](base(value), exponent(value))
    parts = [_compiled(part, x, functions) for part in expr.args]
    if expr.is_Add or expr.is_Mul:
        add = expr.is_Add

        def fold(value: Any) -> Any:
            total = parts[0](value)
            for part in parts[1:]:
                total = total + part(value) if add else total * part(value)
            return total

        return fold
    if isinstance(expr, sp.Heaviside):
        return lambda value: functions["heaviside"](parts[0](value))
    name = _HEADS.get(expr.func)
    if name is None:
        raise InputError(f"{expr.func.__name__} is not among the functions of an activation.")
    head = functions[name]
    if name in ("maximum", "minimum"):

        def choose(value: Any) -> Any:
            best = parts[0](value)
            for part in parts[1:]:
                best = head(best, part(value))
            return best

        return choose
    return lambda value: head(parts[0](value))
