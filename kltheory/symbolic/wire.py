"""SymPy expressions as plain lists, so that another process can send them without executing code.

Pickle and `srepr` both run code when they are read back; `decode` builds nothing that is not in the
table below.

>>> x = sp.Symbol("x", positive=True)
>>> encode(sp.sqrt(x) + 1)
['Add', ['q', '1'], ['Pow', ['s', 'x', 'p'], ['q', '1/2']]]
>>> decode(encode(sp.sqrt(x) + 1)) == sp.sqrt(x) + 1
True
"""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy import S

from kltheory.errors import InputError

_NAMES = (
    "Add Mul exp log sin cos tan cot sec csc asin acos atan sinh cosh tanh coth sech csch asinh"
    " acosh atanh acoth asech acsch erf erfc erfi erfinv erfcinv Ei li Si Ci Shi Chi expint gamma"
    " loggamma lowergamma uppergamma polylog LambertW besseli besselj besselk bessely Abs Min Max"
    " sign Heaviside digamma polygamma fresnels fresnelc atan2"
).split()
_BUILD = {name: getattr(sp, name) for name in _NAMES}
_CONSTANTS = {
    "pi": S.Pi,
    "E": S.Exp1,
    "oo": S.Infinity,
    "-oo": S.NegativeInfinity,
    "EulerGamma": S.EulerGamma,
    "Catalan": S.Catalan,
    "true": S.true,
    "false": S.false,
}
_CONSTANT_NAMES = {value: name for name, value in _CONSTANTS.items()}
_RELATIONS = {"Lt": sp.Lt, "Le": sp.Le, "Gt": sp.Gt, "Ge": sp.Ge, "Eq": sp.Eq, "Ne": sp.Ne}
_RELATION_NAMES = {
    sp.StrictLessThan: "Lt",
    sp.LessThan: "Le",
    sp.StrictGreaterThan: "Gt",
    sp.GreaterThan: "Ge",
    sp.Equality: "Eq",
    sp.Unequality: "Ne",
}


def encode(expr: Any) -> list[Any]:
    """`expr` as nested lists of strings; raises InputError for what the table does not hold."""
    if expr in _CONSTANT_NAMES:
        return ["c", _CONSTANT_NAMES[expr]]
    if isinstance(expr, sp.Rational):
        return ["q", str(expr)]
    if isinstance(expr, sp.Float):
        return ["q", str(sp.Rational(expr))]
    if isinstance(expr, sp.Symbol):
        kind = "p" if expr.is_positive else "r" if expr.is_real else ""
        return ["s", expr.name, kind]
    if isinstance(expr, sp.Pow):
        return ["Pow", encode(expr.base), encode(expr.exp)]
    if isinstance(expr, sp.Piecewise):
        return ["Piecewise", *[[encode(e), encode(c)] for e, c in expr.args]]
    if isinstance(expr, sp.hyper):
        return ["hyper", *[[encode(a) for a in args] for args in (expr.ap, expr.bq)],
                encode(expr.argument)]  # fmt: skip
    if isinstance(expr, sp.Integral):
        (inner, low, high), *_ = expr.limits
        return ["Integral", *[encode(e) for e in (expr.function, inner, low, high)]]
    if type(expr) in _RELATION_NAMES:
        return [_RELATION_NAMES[type(expr)], encode(expr.lhs), encode(expr.rhs)]
    name = expr.func.__name__
    if _BUILD.get(name) is not expr.func:
        raise InputError(f"{name} is not a function that kltheory knows")
    args = sorted(expr.args, key=sp.default_sort_key) if name in ("Add", "Mul") else expr.args
    return [name, *[encode(a) for a in args]]


def decode(data: list[Any]) -> Any:
    """The expression that `encode` made; raises InputError for anything else."""
    kind, *rest = data
    if kind == "q":
        return sp.Rational(rest[0])
    if kind == "c":
        return _CONSTANTS[rest[0]]
    if kind == "s":
        assumption = {"p": {"positive": True}, "r": {"real": True}, "": {}}[rest[1]]
        return sp.Symbol(rest[0], **assumption)
    if kind == "Pow":
        base, exponent = decode(rest[0]), decode(rest[1])
        # (c u)^n is c^n u^n to SymPy, with all digits of c^n
        big = exponent.is_Rational and max(abs(exponent.p), exponent.q) > 64
        return sp.Pow(base, exponent, evaluate=not big)
    if kind == "Piecewise":
        return sp.Piecewise(*[(decode(e), decode(c)) for e, c in rest])
    if kind == "hyper":
        ap, bq, z = rest
        return sp.hyper(tuple(map(decode, ap)), tuple(map(decode, bq)), decode(z))
    if kind == "Integral":
        function, inner, low, high = map(decode, rest)
        return sp.Integral(function, (inner, low, high))
    if kind in _RELATIONS:
        return _RELATIONS[kind](decode(rest[0]), decode(rest[1]))
    if kind not in _BUILD:
        raise InputError(f"{kind!r} is not a function that kltheory knows")
    return _BUILD[kind](*[decode(a) for a in rest])
