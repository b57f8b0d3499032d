"""A loss in several real variables, as text or SymPy expression, and its gradient, as steps.

The text is read by the parser, but with symbols that are real, not positive: sqrt(v1**2) becomes
|v1|, and sqrt(v1) stays what it is.  The gradient is derived by SymPy.  Both are laid out as one
straight line of steps, each a name and the steps that it works on, so that evaluating them calls
nothing but the functions of `functions`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import sympy as sp

from kltheory.errors import InputError
from kltheory.symbolic.parse import (
    _Builder,
    _check_name,
    _Measure,
    _Parser,
    _Source,
    _walk,
    to_text,
)

__all__ = ["DIGITS", "LossExpression", "functions", "read_loss"]

DIGITS = 100
"""Digits of the evaluation: near a minimiser log(1 + v**2) has no correct one in a float."""
MAX_PARTS = 20_000
"""Of a loss with its gradient."""
_LARGEST = 1100  # log2 of the largest number that evaluation works with; floats end at 1024

_NAMES: dict[Any, str] = {
    sp.Pow: "pow", sp.Add: "add", sp.Mul: "mul", sp.And: "and", sp.Or: "or", sp.Not: "not",
    sp.ITE: "ite",
    sp.StrictLessThan: "lt", sp.LessThan: "le", sp.StrictGreaterThan: "gt", sp.GreaterThan: "ge",
    sp.Equality: "eq", sp.Unequality: "ne",
} | {
    f: f.__name__
    for f in (
        sp.exp, sp.log, sp.sin, sp.cos, sp.tan, sp.asin, sp.acos, sp.atan, sp.sinh, sp.cosh,
        sp.tanh, sp.sech, sp.asinh, sp.acosh, sp.atanh, sp.erf, sp.erfc,
    )
}  # fmt: skip


class _Larger(sp.Function):  # type: ignore[misc]
    """max(a, b), whose derivative is that of the larger one; |a|, min(a, b) and Max become it."""

    def _eval_derivative(self, s: Any) -> Any:
        a, b = self.args
        return _Chosen(a, b, a.diff(s), b.diff(s))


class _Chosen(sp.Function):  # type: ignore[misc]
    """x if a >= b, else y.  Unlike Piecewise, SymPy knows nothing of it, and searches nothing."""


_NAMES[_Larger] = "max"
_WORDS = {*_NAMES.values(), *"sqrt cbrt root log1p log2 log10 expm1 Abs Min Max".split()}


def _with_larger(expr: Any) -> Any:
    if not expr.has(sp.Abs, sp.Max, sp.Min):
        return expr
    args = [_with_larger(a) for a in expr.args]
    if isinstance(expr, sp.Abs):
        return _Larger(args[0], -args[0])
    if isinstance(expr, sp.Max):
        return functools.reduce(_Larger, args)
    if isinstance(expr, sp.Min):
        return -functools.reduce(_Larger, [-a for a in args])
    return expr.func(*args)


@dataclass(frozen=True, slots=True)
class LossExpression:
    """L and ∇L as steps."""

    text: str
    """L, as the parser writes it."""
    variables: tuple[str, ...]
    """The names of v1, v2, ..., in the order of the coordinates."""
    steps: tuple[tuple[str, Any], ...]
    """(name, numbers of earlier steps), ("variable", coordinate) or ("number", digits or bool)."""
    value: int
    """The step that is L."""
    gradient: tuple[int, ...]
    """The steps that are the partial derivatives."""
    warnings: tuple[str, ...]
    """What was read in a way that may surprise."""


def read_loss(loss: Any, variables: Sequence[Any]) -> LossExpression:
    """Read L(v) as text in named variables or as a SymPy expression in symbols; derive ∇L.

    Every variable is real.  Where L has a kink, ∇L is the derivative of one of its sides.  SymPy's
    simplifications apply: exp(log(v1)) is v1.

    Args:
        loss: the text, or the expression.
        variables: the names, or the symbols: without assumptions, or real.

    Raises:
        ParseError: the text is not an expression in these variables; with the place.
        InputError: a function has no evaluation here, or a variable is not as it must be.

    >>> read_loss("sqrt(v1**2) + v2**2/2", ["v1", "v2"]).text
    'v2**2/2 + Abs(v1)'
    """
    names = tuple(v.name if isinstance(v, sp.Symbol) else v for v in variables)
    for name in names:
        _check_name(name, "a variable")
    if len(set(names)) < len(names) or not names:
        raise InputError(f"the variables are {', '.join(names) or 'none'}; give different ones")
    symbols = {name: sp.Symbol(name, real=True) for name in names}
    warnings: tuple[str, ...] = ()
    if isinstance(loss, str):
        source = _Source(loss)
        parser = _Parser(source)
        tree = parser.whole()
        for node in _walk(tree):
            if node.kind == "symbol" and node.name not in symbols:
                shown = names if len(names) <= 3 else (*names[:2], "...", names[-1])
                source.fail(
                    f"{node.name} is not a variable of the loss: {', '.join(shown)}", node.at
                )
            if node.kind == "call" and node.name not in _WORDS:
                source.fail(f"{node.name} is not available for a loss", node.at)
        _Measure(source, {}).measure(tree)
        expr = _Builder(source, symbols).build(tree)
        warnings = tuple(dict.fromkeys(parser.warnings))
    elif isinstance(loss, sp.Expr):
        for v in variables:
            if not isinstance(v, sp.Symbol):
                raise InputError(
                    f"the variable {v} is given as {type(v).__name__}; the variables of a SymPy"
                    " expression are its symbols"
                )
            if v not in (sp.Symbol(v.name), symbols[v.name]):
                raise InputError(
                    f"the variable {v} has assumptions; give Symbol('{v}', real=True) or none"
                )
        expr = loss.xreplace({v: symbols[v.name] for v in variables})
        unknown = sorted(str(s) for s in expr.free_symbols - set(symbols.values()))
        if unknown:
            raise InputError(f"the loss still contains {', '.join(unknown)}; give values to these")
    else:
        raise InputError(f"the loss is given as {type(loss).__name__}; give text or a SymPy Expr")
    plain = _with_larger(expr)
    parts = [plain.diff(symbol) for symbol in symbols.values()]
    layout = _Layout([*symbols.values()])
    value, *gradient = [layout.step(part) for part in (plain, *parts)]
    return LossExpression(
        to_text(expr), names, tuple(layout.steps), value, tuple(gradient), warnings
    )


class _Layout:
    """Lays trees out as steps; what occurs twice is one step."""

    def __init__(self, symbols: list[sp.Symbol]) -> None:
        self.steps: list[tuple[str, Any]] = [("variable", k) for k in range(len(symbols))]
        self.known: dict[Any, int] = {symbol: k for k, symbol in enumerate(symbols)}

    def step(self, expr: Any) -> int:
        if expr not in self.known:
            self.known[expr] = self.laid(expr)
        return self.known[expr]

    def laid(self, expr: Any) -> int:
        if expr in (sp.true, sp.false):
            return self.leaf("number", bool(expr))
        if isinstance(expr, sp.Expr) and not expr.free_symbols:
            number = expr.evalf(DIGITS + 5)
            if not (number.is_Float or number.is_zero):
                raise InputError(f"{to_text(expr)} is not a finite real number")
            return self.leaf("number", str(number))
        if isinstance(expr, sp.Piecewise):
            otherwise = self.leaf("number", "nan")
            for value, condition in reversed(expr.args):
                otherwise = self.add("select", self.step(condition), self.step(value), otherwise)
            return otherwise
        if isinstance(expr, _Chosen):
            a, b, x, y = [self.step(part) for part in expr.args]
            return self.add("select", self.add("ge", a, b), x, y)
        name = _NAMES.get(expr.func)
        if name is None:
            raise InputError(f"the loss or its gradient has {expr.func.__name__}, not known here")
        first, *rest = [self.step(part) for part in expr.args]
        if name not in ("add", "mul", "and", "or"):
            return self.add(name, first, *rest)
        for part in rest:
            first = self.add(name, first, part)
        return first

    def add(self, name: str, *on: int) -> int:
        return self.leaf(name, on)

    def leaf(self, name: str, on: Any) -> int:
        if len(self.steps) >= MAX_PARTS:
            raise InputError(f"the loss with its gradient has more than {MAX_PARTS} parts")
        self.steps.append((name, on))
        return len(self.steps) - 1


def functions() -> tuple[Callable[[float | str], Any], dict[str, tuple[Callable[..., Any], int]]]:
    """Return what makes a number of a float or of digits, and each step's function with its arity.

    They work on numbers of `DIGITS` digits; what is not real or not finite is nan, and a condition
    on nan is None.

    >>> number, table = functions()
    >>> float(table["log"][0](number(-1.0)))
    nan
    """
    context = mpmath.MPContext()
    context.dps = DIGITS
    real, nan = context.mpf, context.nan

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*x: Any) -> Any:
            try:
                if any(a != a or context.mag(a) > _LARGEST for a in x):
                    return nan
                y = function(*x)
            except (ArithmeticError, ValueError):
                return nan
            return y if isinstance(y, real) and context.isfinite(y) else nan

        return call

    def compared(relation: Callable[[Any, Any], bool]) -> Callable[..., Any]:
        return lambda a, b: None if a != a or b != b else relation(a, b)

    def both(a: Any, b: Any) -> Any:
        return None if a is None or b is None else a and b

    def either(a: Any, b: Any) -> Any:
        return None if a is None or b is None else a or b

    table: dict[str, tuple[Callable[..., Any], int]] = {
        "add": (guarded(operator.add), 2),
        "mul": (guarded(operator.mul), 2),
        "pow": (guarded(operator.pow), 2),
        "and": (both, 2),
        "or": (either, 2),
        "not": (lambda a: None if a is None else not a, 1),
        "max": (guarded(max), 2),
        "ite": (lambda c, a, b: None if c is None else a if c else b, 3),
        "select": (lambda c, a, b: nan if c is None else a if c else b, 3),
    }
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        table[name] = (compared(getattr(operator, name)), 2)
    for name in set(_NAMES.values()) - table.keys():
        table[name] = (guarded(getattr(context, name)), 1)
    return real, table
