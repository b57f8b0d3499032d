"""Exact constants: rational combinations of products of rational powers of symbols.

What cancels exactly must be seen to cancel; so the coefficients and the exponents of a frame are
held as sums of q * g_1^e_1 * g_2^e_2 * ... with q, e_i rational and the g_i positive symbols:
rationals, e, pi, other SymPy constants, and Y = |y|, where the variable is exp(-y).
"""

from __future__ import annotations

import math
import threading
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import mpmath
import sympy as sp

from kltheory.errors import KLTheoryError

__all__ = [
    "ONE",
    "Y_EXACT",
    "ZERO",
    "EvaluationError",
    "Exact",
    "Monomial",
    "Y",
    "exact_exp",
    "exact_log",
    "float_fraction",
    "from_sympy",
    "order_key",
    "rational",
    "symbol_of",
    "to_sympy",
]

_MAX_BITS = 4096
"""An exact number with more bits than this is kept as a symbol."""


class EvaluationError(KLTheoryError):
    """A value is not real, not finite, not supported, or was not found within the precision."""


Y = sp.Dummy("Y", positive=True)
"""|y| inside exact numbers: log z = -Y."""

Monomial: TypeAlias = "frozenset[tuple[Any, Fraction]]"
UNIT: Monomial = frozenset()


class Exact:
    """Sum of q_i m_i with q_i rational and m_i a product of rational powers of positive symbols."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: dict[Monomial, Fraction]) -> None:
        self.terms = {m: q for m, q in terms.items() if q}
        self._hash = hash(frozenset(self.terms.items()))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exact) and self.terms == other.terms

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __repr__(self) -> str:
        return f"Exact({to_sympy(self)})"

    @property
    def rational(self) -> Fraction | None:
        """The value, if it is rational."""
        if not self.terms:
            return Fraction(0)
        if len(self.terms) == 1 and UNIT in self.terms:
            return self.terms[UNIT]
        return None

    @property
    def has_y(self) -> bool:
        """True if the value depends on Y."""
        return any(g is Y for m in self.terms for g, _ in m)

    def __add__(self, other: Exact) -> Exact:
        terms = dict(self.terms)
        for m, q in other.terms.items():
            terms[m] = terms.get(m, Fraction(0)) + q
        return Exact(terms)

    def __neg__(self) -> Exact:
        return Exact({m: -q for m, q in self.terms.items()})

    def __sub__(self, other: Exact) -> Exact:
        return self + (-other)

    def __mul__(self, other: Exact) -> Exact:
        terms: dict[Monomial, Fraction] = {}
        for m1, q1 in self.terms.items():
            for m2, q2 in other.terms.items():
                m, q = _monomial_product(m1, m2)
                terms[m] = terms.get(m, Fraction(0)) + q1 * q2 * q
        return Exact(terms)

    def power(self, a: Fraction) -> Exact | None:
        """self**a when self is one positive product (or a is an integer), else None."""
        if len(self.terms) != 1:
            return None
        ((m, q),) = self.terms.items()
        if a.denominator == 1 and abs(a.numerator) * _bits(q) <= _MAX_BITS:
            result = Exact({UNIT: q**a.numerator})
        elif q == 1:
            result = ONE
        elif q > 0:
            result = Exact({frozenset({(q, Fraction(1))}): Fraction(1)})
            ((m1, _),) = result.terms.items()
            powered, factor = _normal_monomial({g: e * a for g, e in m1})
            result = Exact({powered: factor})
        else:
            return None
        powered, factor = _normal_monomial({g: e * a for g, e in m})
        return result * Exact({powered: factor})


def _bits(q: Fraction) -> int:
    return max(q.numerator.bit_length(), q.denominator.bit_length())


def _normal_monomial(powers: dict[Any, Fraction]) -> tuple[Monomial, Fraction]:
    """Exponents of rational symbols are brought to [0, 1); the rest becomes a factor."""
    factor = Fraction(1)
    out = []
    for g, e in powers.items():
        if isinstance(g, Fraction):
            whole = math.floor(e)
            if whole and abs(whole) * _bits(g) <= _MAX_BITS:
                factor *= g**whole
                e -= whole
        if e:
            out.append((g, e))
    return frozenset(out), factor


@lru_cache(maxsize=4096)
def _monomial_product(m1: Monomial, m2: Monomial) -> tuple[Monomial, Fraction]:
    if not m1:
        return m2, Fraction(1)
    if not m2:
        return m1, Fraction(1)
    powers = dict(m1)
    for g, e in m2:
        powers[g] = powers.get(g, Fraction(0)) + e
    return _normal_monomial(powers)


def rational(value: int | Fraction) -> Exact:
    """A rational number as an exact one."""
    return Exact({UNIT: Fraction(value)})


ZERO = rational(0)
ONE = rational(1)
Y_EXACT = Exact({frozenset({(Y, Fraction(1))}): Fraction(1)})


def symbol_of(gen: Any) -> Exact:
    """A constant SymPy number as a symbol; symbols are positive by construction."""
    value = _constant_value(gen)
    if value > 0:
        return Exact({frozenset({(gen, Fraction(1))}): Fraction(1)})
    if value < 0:
        return Exact({frozenset({(-gen, Fraction(1))}): Fraction(-1)})
    raise EvaluationError(f"the constant {gen} is zero or undefined")


def from_sympy(expr: Any) -> Exact:
    """An exact number from a constant SymPy expression."""
    if expr.is_Rational:
        return rational(Fraction(int(expr.p), int(expr.q)))
    if expr.is_Float:
        return rational(float_fraction(expr))
    if expr.is_Add:
        total = ZERO
        for arg in expr.args:
            total = total + from_sympy(arg)
        return total
    if expr.is_Mul:
        product = ONE
        for arg in expr.args:
            product = product * from_sympy(arg)
        return product
    if expr is sp.E:
        return Exact({frozenset({(sp.E, Fraction(1))}): Fraction(1)})
    if isinstance(expr, sp.exp) or (expr.is_Pow and expr.base is sp.E):
        return exact_exp(from_sympy(expr.exp if expr.is_Pow else expr.args[0]))
    if expr.is_Pow and expr.exp.is_Rational:
        powered = from_sympy(expr.base).power(Fraction(int(expr.exp.p), int(expr.exp.q)))
        if powered is not None:
            return powered
    return symbol_of(expr)


def float_fraction(value: Any) -> Fraction:
    """The exact rational value of a SymPy Float."""
    sign, man, exp, _ = value._mpf_
    if not man and exp:
        raise EvaluationError(f"{value} is not a finite number")
    return Fraction((-1) ** int(sign) * int(man)) * Fraction(2) ** int(exp)


def to_sympy(value: Exact) -> Any:
    """The SymPy expression of an exact number."""
    total = sp.S.Zero
    for m, q in value.terms.items():
        factors = [sp.Rational(q.numerator, q.denominator)]
        for g, e in m:
            base = sp.Rational(g.numerator, g.denominator) if isinstance(g, Fraction) else g
            factors.append(sp.Pow(base, sp.Rational(e.numerator, e.denominator)))
        total += sp.Mul(*factors)
    return total


def exact_exp(value: Exact) -> Exact:
    """exp of a constant: a product of rational powers of e and of exp(symbol)."""
    powers: dict[Any, Fraction] = {}
    for m, q in value.terms.items():
        gen = sp.exp(to_sympy(Exact({m: Fraction(1)}))) if m else sp.E
        powers[gen] = powers.get(gen, Fraction(0)) + q
    return Exact({frozenset(powers.items()): Fraction(1)})


def exact_log(value: Exact) -> Exact | None:
    """log of one positive product without Y, else None."""
    if len(value.terms) != 1 or value.has_y:
        return None
    ((m, q),) = value.terms.items()
    if q <= 0:
        return None
    total = ZERO
    if q != 1:
        total = total + symbol_of(sp.log(sp.Rational(q.numerator, q.denominator), evaluate=False))
    for g, e in m:
        if g is sp.E:
            total = total + rational(e)
            continue
        base = sp.Rational(g.numerator, g.denominator) if isinstance(g, Fraction) else g
        if isinstance(base, sp.exp):
            total = total + rational(e) * from_sympy(base.args[0])
        else:
            total = total + rational(e) * symbol_of(sp.log(base, evaluate=False))
    return total


_constants = mpmath.MPContext()
_constants.prec = 300
_constants_lock = threading.RLock()


def _constant_value(expr: Any) -> Any:
    """A constant at 300 bits, for decisions of sign and order only."""
    with _constants_lock:
        from kltheory.symbolic.fields import RealField

        return RealField(_constants).constant(expr)


@lru_cache(maxsize=4096)
def order_key(value: Exact) -> Any:
    """A real number that orders exponents."""
    q = value.rational
    return q if q is not None else _Ordered(_constant_value(to_sympy(value)))


class _Ordered:
    """An mpf that compares with Fractions."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    @staticmethod
    def _plain(other: Any) -> Any:
        if isinstance(other, _Ordered):
            return other.value
        return _constants.mpf(other.numerator) / other.denominator

    def __lt__(self, other: Any) -> bool:
        return bool(self.value < self._plain(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > self._plain(other))

    def __le__(self, other: Any) -> bool:
        return bool(self.value <= self._plain(other))

    def __ge__(self, other: Any) -> bool:
        return bool(self.value >= self._plain(other))

    def __eq__(self, other: object) -> bool:
        return bool(self.value == self._plain(other))

    def __hash__(self) -> int:
        return hash(self.value)
