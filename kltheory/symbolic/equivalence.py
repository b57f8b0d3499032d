"""Whether two formulas say the same, and if not, which common slip lies between them.

Formulas are compared by their values at rational points in 48 digits, so that any form of the right
answer is accepted: unsimplified, with other names for the same constant, up to an added constant.

>>> compare("-log(4*s)/4", "-log(s)/4", "s", up_to="constant").right
True
>>> compare("log(s)/4", "-log(s)/4", "s", up_to="constant").hint
'the sign is the other one'
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import sympy as sp

from kltheory.errors import InputError, ParseError
from kltheory.symbolic.evaluate import EvaluationError, compile_expr
from kltheory.symbolic.parse import parse, parse_number

__all__ = ["POINTS", "UP_TO", "Comparison", "compare", "compare_numbers"]

UP_TO = ("nothing", "constant", "factor")
"""What may differ between two formulas that count as equal: an added constant, or a factor."""

POINTS = tuple(Fraction(q) for q in ("1/17", "1/5", "2/5", "3/7", "8/13", "9/10"))
"""Where two formulas are compared."""

_PARAMETERS = tuple(Fraction(q) for q in ("3/7", "5/4", "7/3", "11/13", "17/5", "2/9"))
_TOLERANCE = mpmath.mpf("1e-20")
_BITS = 160
_FAILURES = (EvaluationError, ArithmeticError, ValueError, mpmath.libmp.NoConvergence)
_FACTORS = (2, 4, 8, sp.pi, sp.sqrt(2), sp.E, sp.log(10), 10, 100, 1000)

Values = list[Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came out of comparing an answer."""

    right: bool
    """Whether it is the answer."""
    hint: str | None
    """If it is not: what lies between the two, where that is known."""


def compare(
    answer: str,
    expected: str | sp.Expr,
    variable: str,
    *,
    up_to: str = "nothing",
    at: Sequence[Fraction] = POINTS,
    mistakes: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare the text of an answer with a formula in `variable`.

    Other names are positive parameters.  `at` are points inside the domain; `mistakes` maps wrong
    formulas to what to say about them.  Raises ParseError if the answer is not a formula.
    """
    if up_to not in UP_TO:
        raise InputError(f"up_to = {up_to!r} is given; choose {', '.join(UP_TO)}")
    wanted = _formula(expected, variable)
    try:
        given = parse(answer, variable).expr
    except ParseError as error:
        if "constant" in error.reason or "depend" in error.reason:
            return Comparison(False, f"the answer is a formula in {variable}")
        raise
    extra = sorted({str(q) for q in given.free_symbols - wanted.free_symbols})
    if extra and not _free_of(given, wanted, extra, up_to):
        return Comparison(False, f"{', '.join(extra)} is not in the question")
    judge = _Judge(sp.Symbol(variable, positive=True), at, wanted, given)
    b = judge.values(wanted)
    if b is None:
        raise InputError(f"{sp.sstr(wanted)} has no values at {', '.join(map(str, at))}")
    a = judge.values(given)
    if a is None:
        return Comparison(False, "the answer is not real where the question asks for it")
    same: Callable[[Values, Values], bool] = _SAME[up_to]
    if same(a, b):
        return Comparison(True, None)
    for text, hint in (mistakes or {}).items():
        wrong = judge.values(_formula(text, variable))
        if wrong is not None and same(a, wrong):
            return Comparison(False, hint)
    return Comparison(False, _slip(judge, given, wanted, a, b, same))


def _formula(text: str | sp.Expr, variable: str) -> Any:
    if isinstance(text, str):
        return parse(text, variable).expr
    expr = sp.sympify(text)
    return expr.subs({q: sp.Symbol(q.name, positive=True) for q in expr.free_symbols})


def _free_of(given: Any, wanted: Any, extra: list[str], up_to: str) -> bool:
    """Whether the names that the question does not have only make a constant or a factor."""
    if up_to == "nothing":
        return False
    residue = given - wanted if up_to == "constant" else given / wanted
    fixed = sp.simplify(residue) if residue.count_ops() < 60 else residue
    return not (fixed.free_symbols & wanted.free_symbols)


class _Judge:
    """Evaluates formulas at the same points, with the same values of their parameters."""

    def __init__(self, x: Any, at: Sequence[Fraction], *formulas: Any) -> None:
        names = sorted({str(q) for f in formulas for q in f.free_symbols} - {str(x)})
        self.x, self.at = x, at
        self.values_of = dict(zip(names, itertools.cycle(_PARAMETERS), strict=False))
        self.ctx = mpmath.MPContext()
        self.ctx.prec = _BITS

    def program(self, formula: Any) -> Any:
        put = {
            q: sp.Rational(*self.values_of[str(q)].as_integer_ratio())
            for q in formula.free_symbols
            if str(q) in self.values_of
        }
        return compile_expr(formula.subs(put), self.x)

    def points(self) -> Values:
        return [self.ctx.mpf(q.numerator) / q.denominator for q in self.at]

    def values(self, formula: Any, at: Values | None = None) -> Values | None:
        """The values at the points, or None where there is one that is not real."""
        try:
            program = self.program(formula)
            return [program(self.ctx, q) for q in at or self.points()]
        except _FAILURES:
            return None


def _near(a: Any, b: Any) -> bool:
    return bool(abs(a - b) <= _TOLERANCE * (abs(a) + abs(b)))


def _equal(a: Values, b: Values) -> bool:
    return all(_near(p, q) for p, q in zip(a, b, strict=True))


def _equal_shifted(a: Values, b: Values) -> bool:
    """Whether a - b is one constant."""
    first = a[0] - b[0]
    return all(
        abs((p - q) - first) <= _TOLERANCE * (abs(p) + abs(q) + abs(first))
        for p, q in zip(a, b, strict=True)
    )


def _equal_scaled(a: Values, b: Values) -> bool:
    """Whether a/b is one positive constant."""
    return all(b) and a[0] / b[0] > 0 and _equal([p / q for p, q in zip(a, b, strict=True)],
                                                 [a[0] / b[0]] * len(a))  # fmt: skip


_SAME: dict[str, Callable[[Values, Values], bool]] = {
    "nothing": _equal,
    "constant": _equal_shifted,
    "factor": _equal_scaled,
}


def _slip(
    judge: _Judge,
    given: Any,
    wanted: Any,
    a: Values,
    b: Values,
    same: Callable[[Values, Values], bool],
) -> str | None:
    """Return the common slip between a wrong answer and the right one."""
    if same([-p for p in a], b):
        return "the sign is the other one"
    if same is _equal and _equal_shifted(a, b):
        return "it differs from the answer by an added constant"
    ratio = _one_ratio(a, b, same)
    if ratio is not None:
        factor = _factor(judge, given, wanted, ratio)
        if factor is None:
            return f"a factor that depends on {', '.join(judge.values_of)} is missing"
        return f"a factor is missing: the answer is {sp.sstr(factor)} times this"
    if all(q != 0 for q in a) and same([1 / p for p in a], b):
        return "it is the reciprocal of the answer"
    if same([p * p for p in a], b):
        return "it is the square root of the answer"
    if same(a, [q * q for q in b]):
        return "it is the square of the answer"
    if _inverse_of(judge, given, b):
        return "it is the inverse function of the answer"
    slope = judge.values(sp.diff(wanted, judge.x))
    if slope is not None and (_equal(a, slope) or _equal([-p for p in a], slope)):
        return "it is the derivative of the answer: integrate it"
    turned = judge.values(sp.diff(given, judge.x))
    if turned is not None and _equal(turned, b):
        return "its derivative is the answer"
    return None


def _one_ratio(a: Values, b: Values, same: Callable[[Values, Values], bool]) -> Any:
    """The factor between the two (between their changes, where a constant may be added)."""
    if same is _equal_scaled:
        return None
    if same is _equal_shifted:
        a, b = [p - a[0] for p in a[1:]], [q - b[0] for q in b[1:]]
    if not all(b) or not all(a):
        return None
    ratios = [p / q for p, q in zip(a, b, strict=True)]
    return ratios[0] if _equal(ratios, [ratios[0]] * len(ratios)) else None


def _factor(judge: _Judge, given: Any, wanted: Any, ratio: Any) -> sp.Expr | None:
    """What answer/given is: a number, or a number times a power of a parameter, else None."""
    other = _Judge(judge.x, judge.at, wanted, given)
    other.values_of = {name: q / (1 + q) for name, q in judge.values_of.items()}
    a, b = other.values(given), other.values(wanted)
    # The change between two points is right for factors with and without an added constant.
    again = None if a is None or b is None else (a[1] - a[0]) / (b[1] - b[0])
    if again is None or _near(ratio, again):
        return _named(1 / ratio)
    for name, q in judge.values_of.items():
        for power in (-2, -1, 1, 2):
            here, there = judge.ctx.mpf(q.numerator) / q.denominator, other.values_of[name]
            ahead = judge.ctx.mpf(there.numerator) / there.denominator
            rest = 1 / (ratio * here**power)
            if _near(rest, 1 / (again * ahead**power)):
                return _named(rest) * sp.Symbol(name, positive=True) ** power
    return None


def _inverse_of(judge: _Judge, given: Any, b: Values) -> bool:
    """Whether the answer, applied to the values of the right one, gives the points back."""
    if not all(q > 0 for q in b):
        return False
    back = judge.values(given, b)
    return back is not None and _equal(back, judge.points())


def _named(value: Any) -> sp.Expr:
    """A factor as a fraction, alone or with a known constant, else in four digits."""
    for unit in (sp.Integer(1), *_FACTORS[3:7]):
        for scale in (unit, 1 / unit):
            size = mpmath.mpf(str(sp.N(scale, 50)))
            quotient = Fraction(str(mpmath.nstr(value / size, 30))).limit_denominator(64)
            if quotient and abs(float(quotient) * float(size) / float(value) - 1) < 1e-14:
                return scale * sp.Rational(*quotient.as_integer_ratio())
    return sp.Float(str(mpmath.nstr(value, 4)), 4)


# -- numbers -----------------------------------------------------------------------------------


def compare_numbers(answer: str | float, expected: float, relative: float = 0.01) -> Comparison:
    """Compare a number, given as such or as text, with the right one, to a relative accuracy.

    >>> compare_numbers("1/3", 0.3334).right
    True
    >>> compare_numbers(6.28, 3.14159).hint
    'a factor is missing: the answer is 1/2 times this'
    """
    value = float(parse_number(answer).evalf(30)) if isinstance(answer, str) else float(answer)
    wanted = float(expected)

    def near(a: float, b: float) -> bool:
        return abs(a - b) <= relative * abs(b)

    if near(value, wanted):
        return Comparison(True, None)
    if not value or not wanted or not abs(value) < float("inf"):
        return Comparison(False, None)
    if near(-value, wanted):
        return Comparison(False, "the sign is the other one")
    for factor in _FACTORS:
        for scale, name in ((float(factor), sp.sstr(factor)), (1 / float(factor), f"1/{factor}")):
            if near(value * scale, wanted):
                return Comparison(False, f"a factor is missing: the answer is {name} times this")
    if near(1 / value, wanted):
        return Comparison(False, "it is the reciprocal of the answer")
    if wanted > 0 and near(value * value, wanted):
        return Comparison(False, "it is the square root of the answer")
    if wanted > 0 and value > 0 and near(value**0.5, wanted):
        return Comparison(False, "it is the square of the answer")
    return Comparison(False, "it is too small" if value < wanted else "it is too large")
