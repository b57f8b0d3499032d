"""SymPy trees as numbers that stay accurate when the variable is exp(-1e60).

A rate law lives on s = exp(-y) with y up to 1e60 and beyond, where `1 + s`, `log(1 + s)` or
`exp(s) - 1 - s` lose all their digits at any affordable precision.  A tree is therefore compiled,
once, into a straight line of scalar operations on *frames*: with z = exp(-|y|) every node is held as

    value = c_1 z^b_1 + ... + c_n z^b_n + z^rho r(y),

where the c_i and b_i are exact and r is the exact remainder, computed as a number.  This is an
identity and not an expansion: the choice of the terms changes the accuracy, never the value.  What
cancels is exact, and what remains is computed relative to its own size.  The same line of operations
runs on mpmath numbers (`RealField`) and on python-flint balls (`BallField`), which enclose the value.

Nothing is evaluated by name: the tree is walked, and a node that is not listed here is refused.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import mpmath
import sympy as sp

from kltheory.errors import KLTheoryError

__all__ = [
    "BallField",
    "EvaluationError",
    "LostDigits",
    "Program",
    "RealField",
    "as_pieces",
    "compile_expr",
    "have_balls",
    "real_context",
]

try:  # certified arithmetic is an extra
    import flint as _flint
except ImportError:  # pragma: no cover - exercised by the tests through `have_balls`
    _flint = None

Number: TypeAlias = Any
"""An mpf of some context, or an acb."""

MAX_PRECISION = 2**14
"""Bits at which the search for an accurate value gives up."""
_MAX_SLOW_PRECISION = 2500
"""The same for special functions, which take seconds there."""
_ORDERS = (1, 2, 4, 8)
"""Numbers of exact terms of a frame, tried in this order."""
_MAX_BITS = 4096
"""An exact number with more bits than this is kept as a symbol."""
_MAX_SIZE = 4096
"""Bits of size of an argument beyond which a function would take too long (sin of exp(1e10))."""
_ANY_SIZE = frozenset("atan acot asinh acosh tanh coth erf erfc LambertW omega".split())
"""Functions that are quick at any argument."""
_TINY_LOG = 4096
"""exp(-v) with v above 2 to this power is 0 to any precision that is used here."""


def real_context(bits: int) -> Any:
    """A context for real numbers of that precision, independent of mpmath's global one."""
    ctx = mpmath.MPContext()
    ctx.prec = bits
    return ctx


class EvaluationError(KLTheoryError):
    """A value is not real, not finite, not supported, or was not found within the precision."""


class LostDigits(Exception):
    """A sum has cancelled all its digits: more precision or more exact terms are needed."""


def have_balls() -> bool:
    """True if python-flint is installed, so that values can be enclosed."""
    return _flint is not None


# ---------------------------------------------------------------------------------------------
# exact numbers: rational combinations of products of rational powers of symbols
# ---------------------------------------------------------------------------------------------

_Y = sp.Dummy("Y", positive=True)
"""|y| inside exact numbers: log z = -Y."""

_Monomial: TypeAlias = "frozenset[tuple[Any, Fraction]]"
_UNIT: _Monomial = frozenset()


class _Exact:
    """Sum of q_i m_i with q_i rational and m_i a product of rational powers of positive symbols."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: dict[_Monomial, Fraction]) -> None:
        self.terms = {m: q for m, q in terms.items() if q}
        self._hash = hash(frozenset(self.terms.items()))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Exact) and self.terms == other.terms

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __repr__(self) -> str:
        return f"_Exact({to_sympy(self)})"

    @property
    def rational(self) -> Fraction | None:
        """The value, if it is rational."""
        if not self.terms:
            return Fraction(0)
        if len(self.terms) == 1 and _UNIT in self.terms:
            return self.terms[_UNIT]
        return None

    @property
    def has_y(self) -> bool:
        """True if the value depends on Y."""
        return any(g is _Y for m in self.terms for g, _ in m)

    def __add__(self, other: _Exact) -> _Exact:
        terms = dict(self.terms)
        for m, q in other.terms.items():
            terms[m] = terms.get(m, Fraction(0)) + q
        return _Exact(terms)

    def __neg__(self) -> _Exact:
        return _Exact({m: -q for m, q in self.terms.items()})

    def __sub__(self, other: _Exact) -> _Exact:
        return self + (-other)

    def __mul__(self, other: _Exact) -> _Exact:
        terms: dict[_Monomial, Fraction] = {}
        for m1, q1 in self.terms.items():
            for m2, q2 in other.terms.items():
                m, q = _monomial_product(m1, m2)
                terms[m] = terms.get(m, Fraction(0)) + q1 * q2 * q
        return _Exact(terms)

    def power(self, a: Fraction) -> _Exact | None:
        """self**a when self is one positive product (or a is an integer), else None."""
        if len(self.terms) != 1:
            return None
        ((m, q),) = self.terms.items()
        if a.denominator == 1 and abs(a.numerator) * _bits(q) <= _MAX_BITS:
            result = _Exact({_UNIT: q**a.numerator})
        elif q == 1:
            result = _ONE
        elif q > 0:
            result = _Exact({frozenset({(q, Fraction(1))}): Fraction(1)})
            ((m1, _),) = result.terms.items()
            powered, factor = _normal_monomial({g: e * a for g, e in m1})
            result = _Exact({powered: factor})
        else:
            return None
        powered, factor = _normal_monomial({g: e * a for g, e in m})
        return result * _Exact({powered: factor})


def _bits(q: Fraction) -> int:
    return max(q.numerator.bit_length(), q.denominator.bit_length())


def _normal_monomial(powers: dict[Any, Fraction]) -> tuple[_Monomial, Fraction]:
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
def _monomial_product(m1: _Monomial, m2: _Monomial) -> tuple[_Monomial, Fraction]:
    if not m1:
        return m2, Fraction(1)
    if not m2:
        return m1, Fraction(1)
    powers = dict(m1)
    for g, e in m2:
        powers[g] = powers.get(g, Fraction(0)) + e
    return _normal_monomial(powers)


def _q(value: int | Fraction) -> _Exact:
    return _Exact({_UNIT: Fraction(value)})


_ZERO = _q(0)
_ONE = _q(1)
_Y_EXACT = _Exact({frozenset({(_Y, Fraction(1))}): Fraction(1)})


def _symbol(gen: Any) -> _Exact:
    """A constant SymPy number as a symbol; symbols are positive by construction."""
    value = _constant_value(gen)
    if value > 0:
        return _Exact({frozenset({(gen, Fraction(1))}): Fraction(1)})
    if value < 0:
        return _Exact({frozenset({(-gen, Fraction(1))}): Fraction(-1)})
    raise EvaluationError(f"the constant {gen} is zero or undefined")


def from_sympy(expr: Any) -> _Exact:
    """An exact number from a constant SymPy expression."""
    if expr.is_Rational:
        return _q(Fraction(int(expr.p), int(expr.q)))
    if expr.is_Float:
        return _q(float_fraction(expr))
    if expr.is_Add:
        total = _ZERO
        for arg in expr.args:
            total = total + from_sympy(arg)
        return total
    if expr.is_Mul:
        product = _ONE
        for arg in expr.args:
            product = product * from_sympy(arg)
        return product
    if expr is sp.E:
        return _Exact({frozenset({(sp.E, Fraction(1))}): Fraction(1)})
    if isinstance(expr, sp.exp) or (expr.is_Pow and expr.base is sp.E):
        return _exact_exp(from_sympy(expr.exp if expr.is_Pow else expr.args[0]))
    if expr.is_Pow and expr.exp.is_Rational:
        powered = from_sympy(expr.base).power(Fraction(int(expr.exp.p), int(expr.exp.q)))
        if powered is not None:
            return powered
    return _symbol(expr)


def float_fraction(value: Any) -> Fraction:
    """The exact rational value of a SymPy Float."""
    sign, man, exp, _ = value._mpf_
    if not man and exp:
        raise EvaluationError(f"{value} is not a finite number")
    return Fraction((-1) ** int(sign) * int(man)) * Fraction(2) ** int(exp)


def to_sympy(value: _Exact) -> Any:
    """The SymPy expression of an exact number."""
    total = sp.S.Zero
    for m, q in value.terms.items():
        factors = [sp.Rational(q.numerator, q.denominator)]
        for g, e in m:
            base = sp.Rational(g.numerator, g.denominator) if isinstance(g, Fraction) else g
            factors.append(sp.Pow(base, sp.Rational(e.numerator, e.denominator)))
        total += sp.Mul(*factors)
    return total


def _exact_exp(value: _Exact) -> _Exact:
    """exp of a constant: a product of rational powers of e and of exp(symbol)."""
    powers: dict[Any, Fraction] = {}
    for m, q in value.terms.items():
        gen = sp.exp(to_sympy(_Exact({m: Fraction(1)}))) if m else sp.E
        powers[gen] = powers.get(gen, Fraction(0)) + q
    return _Exact({frozenset(powers.items()): Fraction(1)})


def _exact_log(value: _Exact) -> _Exact | None:
    """log of one positive product without Y, else None."""
    if len(value.terms) != 1 or value.has_y:
        return None
    ((m, q),) = value.terms.items()
    if q <= 0:
        return None
    total = _ZERO
    if q != 1:
        total = total + _symbol(sp.log(sp.Rational(q.numerator, q.denominator), evaluate=False))
    for g, e in m:
        if g is sp.E:
            total = total + _q(e)
            continue
        base = sp.Rational(g.numerator, g.denominator) if isinstance(g, Fraction) else g
        if isinstance(base, sp.exp):
            total = total + _q(e) * from_sympy(base.args[0])
        else:
            total = total + _q(e) * _symbol(sp.log(base, evaluate=False))
    return total


_constants = mpmath.MPContext()
_constants.prec = 300
_constants_lock = threading.RLock()


def _constant_value(expr: Any) -> Number:
    """A constant at 300 bits, for decisions of sign and order only."""
    with _constants_lock:
        return RealField(_constants).constant(expr)


@lru_cache(maxsize=4096)
def _order_key(value: _Exact) -> Any:
    """A real number that orders exponents."""
    q = value.rational
    return q if q is not None else _Ordered(_constant_value(to_sympy(value)))


class _Ordered:
    """An mpf that compares with Fractions."""

    __slots__ = ("value",)

    def __init__(self, value: Number) -> None:
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


# ---------------------------------------------------------------------------------------------
# analytic functions with exact Taylor coefficients, for f(c + u) with u small
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Analytic:
    """u -> f(c + u), analytic at u = 0, with exact coefficients."""

    name: str
    """`exp`, `log1p`, `binomial`, `omega`, `lowergamma` or the name of a SymPy function."""
    params: tuple[Any, ...] = ()
    """The fixed arguments, constant SymPy expressions."""
    centre: Any = sp.S.Zero
    """The point c, a constant SymPy expression."""

    def coefficient(self, k: int) -> _Exact:
        """f^(k)(c) / k!, exact; EvaluationError if f is not known to be analytic at c."""
        return _coefficient(self, k)


@lru_cache(maxsize=1024)
def _coefficient(f: _Analytic, k: int) -> _Exact:
    if f.name == "exp":
        return _q(Fraction(1, math.factorial(k)))
    if f.name == "log1p":
        return _q(Fraction((-1) ** (k + 1), k)) if k else _ZERO
    if f.name == "binomial":
        a = from_sympy(f.params[0])
        product = _ONE
        for j in range(k):
            product = product * (a - _q(j)) * _q(Fraction(1, j + 1))
        return product
    if f.name == "omega":
        return _q(_omega_coefficients(k + 1)[k])
    if f.name == "lowergamma":  # x^-a gamma(a, x) = sum (-x)^k / (k! (a + k))
        a = from_sympy(f.params[0]) + _q(k)
        inverse = a.power(Fraction(-1)) or _symbol(1 / to_sympy(a))
        return _q(Fraction((-1) ** k, math.factorial(k))) * inverse
    if not f.centre:
        if f.name == "LambertW" and f.params[0] == 0:
            return _q(Fraction((-k) ** (k - 1), math.factorial(k))) if k else _ZERO
        if f.name in ("besseli", "besselj") and f.params[0].is_Integer and f.params[0] >= 0:
            order = int(f.params[0])
            j, odd = divmod(k - order, 2)
            if j < 0 or odd:
                return _ZERO
            sign = -1 if f.name == "besselj" and j % 2 else 1
            return _q(Fraction(sign, 2**k * math.factorial(j) * math.factorial(j + order)))
        if f.name in ("Si", "Shi"):
            sign = -1 if f.name == "Si" and k % 4 == 3 else 1
            return _q(Fraction(sign, k * math.factorial(k))) if k % 2 else _ZERO
        if f.name == "polylog":
            if not k:
                return _ZERO
            powered = _q(k).power(-(from_sympy(f.params[0]).rational or Fraction(0)))
            if powered is not None and from_sympy(f.params[0]).rational is not None:
                return powered
    variable = sp.Dummy("u")
    function = getattr(sp, f.name, None)
    if function is None:
        raise EvaluationError(f"the function {f.name} is not supported")
    args = (variable, *f.params) if f.name == "LambertW" else (*f.params, variable)
    value = sp.diff(function(*args), variable, k).subs(variable, f.centre)
    if value.has(sp.nan, sp.zoo, sp.oo, -sp.oo, sp.I) or value.free_symbols:
        raise EvaluationError(f"{f.name} is not analytic at {f.centre}")
    return from_sympy(value) * _q(Fraction(1, math.factorial(k)))


@lru_cache(maxsize=32)
def _omega_coefficients(n: int) -> tuple[Fraction, ...]:
    """Omega(h) = h + h^2/3 + h^3/36 - ... solves Omega - log(1 + Omega) = h^2/2.

    From Omega Omega' = h (1 + Omega): with Omega = sum w_k h^k,
    sum_{i+j=m+1} j w_i w_j = [m = 1] + w_{m-1}.
    """
    w = [Fraction(0), Fraction(1)]
    while len(w) < n:
        m = len(w)
        known = sum((j * w[m + 1 - j] * w[j] for j in range(2, m)), Fraction(0))
        # j = 1 and j = m contribute w_m (1 + m)
        w.append((w[m - 1] - known) / (m + 1))
    return tuple(w[:n])


# ---------------------------------------------------------------------------------------------
# number fields
# ---------------------------------------------------------------------------------------------

_MP_NAMES = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "coth": "coth", "sech": "sech", "csch": "csch",
    "asin": "asin", "acos": "acos", "atan": "atan", "acot": "acot", "asec": "asec", "acsc": "acsc",
    "asinh": "asinh", "acosh": "acosh", "atanh": "atanh", "acoth": "acoth", "asech": "asech",
    "acsch": "acsch", "sinc": "sinc", "erf": "erf", "erfc": "erfc", "erfi": "erfi",
    "erfinv": "erfinv", "Ei": "ei", "li": "li", "Si": "si", "Ci": "ci", "Shi": "shi",
    "Chi": "chi", "expint": "expint", "gamma": "gamma", "loggamma": "loggamma",
    "digamma": "digamma", "polygamma": "psi", "polylog": "polylog", "besseli": "besseli",
    "besselj": "besselj", "besselk": "besselk", "bessely": "bessely", "zeta": "zeta",
    "airyai": "airyai", "airybi": "airybi", "fresnels": "fresnels", "fresnelc": "fresnelc",
}  # fmt: skip

_RELATIONS = {
    sp.StrictLessThan: lambda d: d < 0,
    sp.LessThan: lambda d: d <= 0,
    sp.StrictGreaterThan: lambda d: d > 0,
    sp.GreaterThan: lambda d: d >= 0,
    sp.Equality: lambda d: d == 0,
    sp.Unequality: lambda d: d != 0,
}


class RealField:
    """Scalar operations on the mpf of one private context, at its current precision."""

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        self.checked = False
        self._cache: dict[tuple[int, Any], Number] = {}
        self._tables: dict[tuple[int, int], Any] = {}

    def table(self, line: _Line) -> tuple[Number | None, ...]:
        """The numbers of the exact operands of a line."""
        return _table(self, line, self.ctx.prec)

    def exact(self, value: _Exact) -> Number:
        """The number of an exact value without Y."""
        key = (self.ctx.prec, value)
        found = self._cache.get(key)
        if found is None:
            total = self.ctx.zero
            for m, q in value.terms.items():
                product = self.ctx.mpf(q.numerator) / q.denominator
                for g, e in m:
                    product *= self._generator_power(g, e)
                total += product
            found = self._cache[key] = total
        return found

    def _generator_power(self, gen: Any, e: Fraction) -> Number:
        power = self.ctx.mpf(e.numerator) / e.denominator
        if gen is sp.E:
            return self.ctx.exp(power)
        if isinstance(gen, Fraction):
            base = self.ctx.mpf(gen.numerator) / gen.denominator
        else:
            base = self.constant(gen)
        return base if e == 1 else self._real(self.ctx.power(base, power))

    def constant(self, expr: Any) -> Number:
        """The number of a constant SymPy expression."""
        return _constant(self, expr)

    def rational(self, value: Fraction) -> Number:
        """A rational as a number."""
        return self.ctx.mpf(value.numerator) / value.denominator

    def _real(self, value: Any) -> Number:
        if isinstance(value, self.ctx.mpc):
            raise EvaluationError("the value is not real")
        if not self.ctx.isfinite(value):
            raise EvaluationError("the value is not finite")
        return value

    def add(self, a: Number, b: Number) -> Number:
        """a + b; in a checked run a sum that loses all its digits is refused."""
        total = a + b
        if self.checked and a and b:
            size = max(self.ctx.mag(a), self.ctx.mag(b))
            if not total or self.ctx.mag(total) < size - self.ctx.prec + 16:
                raise LostDigits
        return total

    def div(self, a: Number, b: Number) -> Number:
        """a / b."""
        if not b:
            raise EvaluationError("division by zero")
        return a / b

    def exp(self, a: Number) -> Number:
        """exp(a); 0 where it is below every number, refused where it is above."""
        if self.ctx.mag(a) > _TINY_LOG:
            if a < 0:
                return self.ctx.zero
            raise EvaluationError("the value is too large")
        if self.ctx.mag(a) > 64:  # mpmath would raise e to an integer power
            ctx = self.ctx
            with _extra_precision(ctx, ctx.mag(a) + 10):
                whole = ctx.floor(a / ctx.ln2)
                rest = a - whole * ctx.ln2
            return ctx.ldexp(ctx.exp(rest), int(whole))
        return self.ctx.exp(a)

    def zpower(self, exponent: _Exact, y: Number, known: Number | None = None) -> Number:
        """exp(-exponent * y), also where y is huge."""
        extra = self.ctx.mag(y)
        if extra < 8 or extra > _TINY_LOG:
            return self.exp(-(self.exact(exponent) if known is None else known) * y)
        with _extra_precision(self.ctx, extra + 4):
            q = exponent.rational
            if q is None:
                product = self.exact(exponent) * y
            else:
                product = y * q.numerator / q.denominator
        return self.exp(-product)

    def log(self, a: Number) -> Number:
        """log(a) of a positive number."""
        if not a > 0:
            raise EvaluationError("the logarithm of a number that is not positive")
        return self.ctx.log(a)

    def pow(self, a: Number, exponent: _Exact) -> Number:
        """a**exponent, real."""
        q = exponent.rational
        if q is not None and q.denominator == 1 and abs(q.numerator) < 10**6:
            if not a and q < 0:
                raise EvaluationError("division by zero")
            return a**q.numerator
        if not a > 0:
            if not a and self.exact(exponent) > 0:
                return self.ctx.zero
            raise EvaluationError("a power of a negative number is not real")
        if q == Fraction(1, 2):
            return self.ctx.sqrt(a)
        if q is not None and q.denominator == 2 and abs(q.numerator) < 100:
            return self.ctx.sqrt(a) ** q.numerator
        return self.exp(self.exact(exponent) * self.ctx.log(a))

    def function(self, name: str, params: tuple[Any, ...], x: Number) -> Number:
        """A named function of a real number."""
        ctx = self.ctx
        if name not in _ANY_SIZE and x and ctx.mag(x) > _MAX_SIZE:
            raise EvaluationError(f"{name} is not evaluated beyond 2^{_MAX_SIZE}")
        if name in _SLOW and ctx.prec > _MAX_SLOW_PRECISION:
            raise EvaluationError(f"{name} at {ctx.prec} bits takes too long")
        p = [self.constant(v) for v in params if isinstance(v, sp.Expr)]
        try:
            if name == "LambertW":
                value = ctx.lambertw(x, int(params[0]) if params else 0)
            elif name == "lowergamma":
                value = ctx.gammainc(p[0], 0, x)
            elif name == "uppergamma":
                value = ctx.gammainc(p[0], x)
            elif name == "hyper":
                value = ctx.hyper(
                    [self.constant(v) for v in params[0]], [self.constant(v) for v in params[1]], x
                )
            elif name == "omega":
                value = self._omega(x)
            elif name == "erfc" and ctx.mag(x) > 100 and x > 0:
                value = self._erfc_far(x)
            elif name == "erfcinv":
                value = ctx.erfinv(1 - x)
            elif name == "polygamma":
                value = ctx.psi(int(params[0]), x)
            else:
                value = getattr(ctx, _MP_NAMES[name])(*p, x)
        except (ValueError, ZeroDivisionError, OverflowError, ctx.NoConvergence) as error:
            raise EvaluationError(f"{name} has no value here: {error}") from None
        except KeyError:
            raise EvaluationError(f"the function {name} is not supported") from None
        if name in ("polylog", "hyper") and isinstance(value, ctx.mpc):
            # mpmath leaves rounding noise in the imaginary part
            if abs(value.imag) <= abs(value.real) * ctx.ldexp(1, 40 - ctx.prec):
                value = value.real
        return self._real(value)

    def _erfc_far(self, x: Number) -> Number:
        """erfc(x) = e^{-x²}/(x√π) (1 - 1/(2x²) + 3/(2x²)² - ...), where mpmath overflows."""
        ctx = self.ctx
        total = term = ctx.one
        for k in range(1, 100):
            term = term * (1 - 2 * k) / (2 * x * x)
            if ctx.mag(term) < -ctx.prec - 10:
                break
            total += term
        return ctx.exp(-x * x) * total / (x * ctx.sqrt(ctx.pi))

    def _omega(self, h: Number) -> Number:
        """The root w > -1 of w - log(1 + w) = h^2/2 with the sign of h, by Newton in log(1 + w)."""
        ctx = self.ctx
        if not h:
            return ctx.zero
        extra = 2 * max(0, -ctx.mag(h)) + 20
        with _extra_precision(ctx, extra):
            tau = h * h / 2
            if abs(h) < 1:
                w = sum((self.rational(c) * h**k for k, c in enumerate(_omega_coefficients(8))), ctx.zero)
                v = ctx.log1p(w)
            elif h > 0:
                v = ctx.log(1 + tau + ctx.log1p(tau) + ctx.sqrt(2 * tau))
            else:
                v = -1 - tau
            previous = ctx.inf
            for _ in range(200):  # exp(v) - 1 - v = tau is convex in v
                e = ctx.expm1(v)
                step = (e - v - tau) / e
                v -= step
                size = abs(step)
                if size <= abs(v) * ctx.ldexp(1, 4 - ctx.prec) or (
                    size >= previous and size <= abs(v) * ctx.ldexp(1, 20 + extra // 2 - ctx.prec)
                ):
                    break
                previous = size
            w = ctx.expm1(v)
        return +w

    def analytic(self, f: _Analytic, u: Number) -> Number:
        """f(c + u)."""
        ctx = self.ctx
        if f.name == "exp":
            return self.exp(u)
        if f.name == "log1p":
            if not u > -1:
                raise EvaluationError("the logarithm of a number that is not positive")
            return ctx.log1p(u)
        if f.name == "binomial":
            return self.pow(1 + u, from_sympy(f.params[0]))
        if f.name == "omega":
            return self._omega(u)
        if f.name == "lowergamma":
            if not u:
                return self.exact(f.coefficient(0))
            return self.function("lowergamma", f.params, u) * self.exp(
                -self.constant(f.params[0]) * self.log(u)
            )
        return self.function(f.name, f.params, self.constant(f.centre) + u)

    def remainder(self, f: _Analytic, n: int, u: Number) -> Number:
        """R_n(u) = (f(c + u) - sum_{k<n} f_k u^k) / u^n, accurate for every u."""
        ctx = self.ctx
        if not u:
            return self.exact(f.coefficient(n))
        mag = ctx.mag(u)
        if mag < -ctx.prec - 10:
            for k in range(n, n + 8):
                coefficient = f.coefficient(k)
                if coefficient:
                    return self.exact(coefficient) * u ** (k - n)
        if n == 1 and f.name == "binomial" and u > -1:
            half = _half_power(f.params[0], 1 + u, ctx.sqrt)
            if half is not None:
                return half
            if mag < 40:
                return ctx.expm1(self.constant(f.params[0]) * ctx.log1p(u)) / u
        if n == 0:
            return self.analytic(f, u)
        with _extra_precision(ctx, n * max(0, -mag) + 20):
            total = self.analytic(f, u)
            power = ctx.one
            for k in range(n):
                total -= self.exact(f.coefficient(k)) * power
                power *= u
            value = total / power
        return +value


def _half_power(a: Any, base: Number, sqrt: Callable[[Number], Number]) -> Number | None:
    """((1 + u)^a - 1) / u without cancellation for a = -1, 1/2, -1/2; base = 1 + u."""
    if a == -1:
        return -1 / base
    if a == sp.S.Half:
        return 1 / (sqrt(base) + 1)
    if a == -sp.S.Half:
        root = sqrt(base)
        return -1 / (root * (root + 1))
    return None


class _extra_precision:  # noqa: N801 - a context manager
    """Raises the precision of one context and puts it back."""

    def __init__(self, ctx: Any, bits: int) -> None:
        self.ctx = ctx
        self.bits = bits

    def __enter__(self) -> None:
        self.before = self.ctx.prec
        self.ctx.prec = self.before + int(self.bits)

    def __exit__(self, *exc: object) -> None:
        self.ctx.prec = self.before


_ACB_NAMES = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "coth": "coth", "sech": "sech", "csch": "csch",
    "asin": "asin", "acos": "acos", "atan": "atan", "asinh": "asinh", "acosh": "acosh",
    "atanh": "atanh", "sinc": "sinc", "erf": "erf", "erfc": "erfc", "erfi": "erfi", "Ei": "ei",
    "li": "li", "Si": "si", "Ci": "ci", "Shi": "shi", "Chi": "chi", "gamma": "gamma",
    "loggamma": "lgamma", "digamma": "digamma", "zeta": "zeta",
    "airyai": "airy_ai", "airybi": "airy_bi", "fresnels": "fresnel_s", "fresnelc": "fresnel_c",
}  # fmt: skip

_ENTIRE = {
    "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "sech", "csch",
    "sinc", "erf", "erfc", "erfi", "Si", "Shi", "gamma", "digamma", "polygamma", "airyai",
    "airybi", "fresnels", "fresnelc", "zeta",
}  # fmt: skip
"""Entire or meromorphic: no branch cut to look at."""
_SLOW = {
    "LambertW": 300, "omega": 300, "gamma": 300, "loggamma": 300, "digamma": 300,
    "lowergamma": 500, "uppergamma": 500, "polygamma": 500, "expint": 500, "zeta": 500,
    "besseli": 1000, "besselj": 1000, "besselk": 1000, "bessely": 1000, "hyper": 1000,
    "polylog": 1000,
}  # fmt: skip
"""The price of a ball, in products."""


class BallField:
    """Scalar operations on acb balls at the current precision of python-flint.

    The caller holds the lock on that precision.  `analytic` asks that a function with a branch cut
    answers with a non-finite ball unless it is analytic on the whole ball.
    """

    def __init__(self) -> None:
        self.analytic_only = False
        self.work = 0
        self._cache: dict[tuple[int, Any], Number] = {}
        self._tables: dict[tuple[int, int], Any] = {}
        self._acb = _flint.acb
        self._arb = _flint.arb
        self._nan = _flint.acb("nan")

    @property
    def prec(self) -> int:
        """The precision in bits."""
        return int(_flint.ctx.prec)

    def table(self, line: _Line) -> tuple[Number | None, ...]:
        """Balls around the exact operands of a line."""
        return _table(self, line, self.prec)

    def exact(self, value: _Exact) -> Number:
        """A ball around an exact value without Y."""
        key = (self.prec, value)
        found = self._cache.get(key)
        if found is None:
            total = self._acb(0)
            for m, q in value.terms.items():
                product = self.rational(q)
                for g, e in m:
                    product = product * self._generator_power(g, e)
                total = total + product
            found = self._cache[key] = total
        return found

    def _generator_power(self, gen: Any, e: Fraction) -> Number:
        if gen is sp.E:
            return self.rational(e).exp()
        base = self.rational(gen) if isinstance(gen, Fraction) else self.constant(gen)
        return base if e == 1 else base.pow(self.rational(e))

    def constant(self, expr: Any) -> Number:
        """A ball around a constant SymPy expression."""
        before, self.analytic_only = self.analytic_only, False
        try:
            return _constant(self, expr)
        finally:
            self.analytic_only = before

    def rational(self, value: Fraction) -> Number:
        """A ball around a rational."""
        return self._acb(_flint.fmpq(value.numerator, value.denominator))

    def add(self, a: Number, b: Number) -> Number:
        """a + b."""
        return a + b

    def div(self, a: Number, b: Number) -> Number:
        """a / b."""
        return a / b

    def exp(self, a: Number) -> Number:
        """exp(a)."""
        return a.exp()

    def zpower(self, exponent: _Exact, y: Number, known: Number | None = None) -> Number:
        """exp(-exponent * y)."""
        return (-(self.exact(exponent) if known is None else known) * y).exp()

    def log(self, a: Number) -> Number:
        """log(a) on the right half plane."""
        return a.log() if a.real.lower() > 0 else self._nan

    def pow(self, a: Number, exponent: _Exact) -> Number:
        """a**exponent, the branch that is positive on the positive axis."""
        q = exponent.rational
        if q is not None and q.denominator == 1 and abs(q.numerator) < 10**6:
            return a**q.numerator
        if not a.real.lower() > 0:
            if self.analytic_only or not a.imag.is_zero():
                return self._nan
            # a real number that is known to be nonnegative by the identity that it stands for
            if q is not None and q > 0 and a.real.upper() > 0:
                top = self._acb(a.real.upper()).pow(self.exact(exponent))
                return self._acb(self._arb(0).union(top.real))
            return self._nan
        if q == Fraction(1, 2):
            return a.sqrt()
        return a.pow(self.exact(exponent))

    def _cut_free(self, name: str, x: Number) -> bool:
        """True if the principal branch is analytic on the ball x."""
        re, im = x.real, x.imag
        if name in _ENTIRE:
            return True
        if name in ("asin", "acos", "atanh"):
            return bool(re.abs_upper() < 1) or not im.contains(0)
        if name in ("atan", "asinh"):
            return not re.contains(0) or bool(im.abs_upper() < 1)
        if name in ("acosh", "li"):
            return bool(re.lower() > 1)
        if name in ("polylog", "hyper"):
            return bool(re.upper() < 1)
        if name == "LambertW":
            return bool(re.lower() > self._acb(-1).exp().real.neg().upper())
        return bool(re.lower() > 0)

    def function(self, name: str, params: tuple[Any, ...], x: Number) -> Number:
        """A named function on a ball; a non-finite ball where it is not known."""
        if self.analytic_only and not (name == "omega" or self._cut_free(name, x)):
            entire = name == "hyper" and len(params[0]) <= len(params[1])
            integer = name in ("besseli", "besselj") and params[0].is_Integer
            if not (entire or integer):
                return self._nan
        self.work += _SLOW.get(name, 0)
        value = self._call(name, params, x)
        if x.imag.is_zero() and not value.imag.contains(0):
            return self._nan  # not real
        return value

    def _call(self, name: str, params: tuple[Any, ...], x: Number) -> Number:
        """The principal value."""
        p = [self.constant(v) for v in params if isinstance(v, sp.Expr)]
        if name in _ACB_NAMES:
            return getattr(x, _ACB_NAMES[name])()
        if name == "acot":
            return (1 / x).atan()
        if name == "omega":
            return self._omega(x)
        if name == "LambertW":
            return self._lambertw(int(params[0]) if params else 0, x)
        if name == "expint":
            return x.expint(p[0])
        if name == "lowergamma":
            return x.gamma_lower(p[0])
        if name == "uppergamma":
            return x.gamma_upper(p[0])
        if name == "polygamma":
            return x.polygamma(p[0])
        if name == "polylog":
            return x.polylog(p[0])
        if name in ("besseli", "besselj", "besselk", "bessely"):
            return getattr(x, f"bessel_{name[-1]}")(p[0])
        if name == "hyper":
            return x.hypgeom(
                [self.constant(v) for v in params[0]], [self.constant(v) for v in params[1]]
            )
        return self._nan

    def _lambertw(self, branch: int, x: Number) -> Number:
        if branch == 0:
            return x.lambertw()
        if x.real.upper() < 0 and x.real.lower() > self._acb(-1).exp().real.neg().upper():
            return x.lambertw(-1, middle=True)
        return self._nan

    def _omega(self, h: Number) -> Number:
        """The root of w - log(1 + w) = h^2/2 with the sign of h, from Lambert's W."""
        if h.real.lower() > 0:
            return -1 - self._lambertw(-1, -(-1 - h * h / 2).exp())
        if h.real.upper() < 0:
            x = -(-1 - h * h / 2).exp()
            if self.analytic_only and not self._cut_free("LambertW", x):
                return self._nan
            return -1 - x.lambertw()
        return self._nan

    def analytic(self, f: _Analytic, u: Number) -> Number:
        """f(c + u)."""
        if f.name == "exp":
            return u.exp()
        if f.name == "log1p":
            return self.log(1 + u)
        if f.name == "binomial":
            return self.pow(1 + u, from_sympy(f.params[0]))
        if f.name == "lowergamma":
            a = self.constant(f.params[0])
            return (-u).hypgeom([a], [a + 1]) / a
        if f.name == "omega":
            return self._omega(u)
        return self.function(f.name, f.params, self.constant(f.centre) + u)

    def remainder(self, f: _Analytic, n: int, u: Number) -> Number:
        """A ball around R_n(u) = (f(c + u) - sum_{k<n} f_k u^k) / u^n."""
        if n == 0:
            return self.analytic(f, u)
        size = u.abs_upper()
        if not size.is_finite():
            return self._nan
        if n == 1 and f.name == "binomial" and (1 + u).real.lower() > 0:
            half = _half_power(f.params[0], 1 + u, lambda v: v.sqrt())
            if half is not None:
                return half
        if u.contains(self._acb(0)) or size < 2.0**-10:
            series = self._series(f, n, u, size)
            if series.is_finite():
                return series
        if n == 1 and f.name == "exp":
            return u.expm1() / u
        if n == 1 and f.name == "log1p" and u.real.lower() > -1:
            return u.log1p() / u
        before = self.prec
        bits = 0 if size > 0.5 else min(MAX_PRECISION, n * (1 - int(float(size.log().lower()) / 0.69)))
        _flint.ctx.prec = before + bits + 10
        try:
            total = self.analytic(f, u)
            power = self._acb(1)
            for k in range(n):
                total = total - self.exact(f.coefficient(k)) * power
                power = power * u
            return total / power
        finally:
            _flint.ctx.prec = before

    def _series(self, f: _Analytic, n: int, u: Number, size: Number) -> Number:
        """Taylor terms and Cauchy's bound M R^-K |u|^(K-n) / (1 - |u|/R) on the rest."""
        terms = n + 6
        total = self._acb(0)
        for k in range(terms - 1, n - 1, -1):
            total = total * u + self.exact(f.coefficient(k))
        for radius, bound in self._cauchy(f):
            ratio = size / radius
            if ratio < 0.5:
                error = bound * ratio ** (terms - n) / self._arb(radius) ** n / (1 - ratio)
                ball = self._arb(0, error.upper())
                return total + self._acb(ball, ball)
        return self._nan

    def _cauchy(self, f: _Analytic) -> list[tuple[Number, Number]]:
        """Pairs (R, M) with |f(c + u)| <= M on the disc |u| <= R, largest R first."""
        key = (0, f)
        found = self._cache.get(key)
        if found is None:
            found = []
            before, self.analytic_only = self.analytic_only, True
            try:
                if f.name == "omega":
                    # analytic for |h| < 2 sqrt(pi); |Omega| < 4 on |h| = 2
                    found.append((self._arb(2), self._arb(4)))
                else:
                    for power in range(0, 12, 2):
                        radius = self._arb(2) ** -power * self._arb("0.9")
                        ball = self._arb(0, radius.upper())
                        value = self.analytic(f, self._acb(ball, ball))
                        if value.is_finite():
                            found.append((radius.lower(), value.abs_upper()))
            finally:
                self.analytic_only = before
            self._cache[key] = found
        return found


def _constant(field: Any, expr: Any) -> Number:
    """A constant SymPy expression as a number of the field."""
    if expr.is_Rational:
        return field.rational(Fraction(int(expr.p), int(expr.q)))
    if expr.is_Float:
        return field.rational(float_fraction(expr))
    if expr is sp.pi:
        return field.ctx.pi + 0 if isinstance(field, RealField) else _flint.acb.pi()
    if expr is sp.E:
        return field.exp(field.rational(Fraction(1)))
    if expr is sp.EulerGamma:
        if isinstance(field, RealField):
            return field.ctx.euler + 0
        return _flint.acb(_flint.arb.const_euler())
    if expr is sp.Catalan:
        if isinstance(field, RealField):
            return field.ctx.catalan + 0
        return _flint.acb(_flint.arb.const_catalan())
    if expr is sp.GoldenRatio:
        return (field.rational(Fraction(1)) + _constant(field, sp.sqrt(5))) / 2
    if expr.is_Add:
        total = _constant(field, expr.args[0])
        for arg in expr.args[1:]:
            total = total + _constant(field, arg)
        return total
    if expr.is_Mul:
        product = _constant(field, expr.args[0])
        for arg in expr.args[1:]:
            product = product * _constant(field, arg)
        return product
    if isinstance(expr, sp.exp):
        return field.exp(_constant(field, expr.args[0]))
    if expr.is_Pow:
        if expr.base is sp.E:
            return field.exp(_constant(field, expr.exp))
        base = _constant(field, expr.base)
        if expr.exp.is_Rational:
            return field.pow(base, _q(Fraction(int(expr.exp.p), int(expr.exp.q))))
        return field.exp(_constant(field, expr.exp) * field.log(base))
    if isinstance(expr, sp.log):
        return field.log(_constant(field, expr.args[0]))
    if isinstance(expr, sp.Function) and not expr.free_symbols:
        name, params, x = _split_call(expr)
        return field.function(name, params, _constant(field, x))
    raise EvaluationError(f"the constant {expr} is not supported")


def _split_call(expr: Any) -> tuple[str, tuple[Any, ...], Any]:
    """Name, fixed arguments and the last (for LambertW: the first) argument of a call."""
    name = type(expr).__name__
    if name == "LambertW":
        return name, tuple(expr.args[1:]), expr.args[0]
    if name == "hyper":
        return name, (tuple(expr.args[0]), tuple(expr.args[1])), expr.args[2]
    return name, tuple(expr.args[:-1]), expr.args[-1]


# ---------------------------------------------------------------------------------------------
# the compiler
# ---------------------------------------------------------------------------------------------

_CONST, _YVAR, _ZPOW, _ADD, _MUL, _POW, _LOG, _EXP, _FUN, _REM = range(10)


@dataclass(frozen=True, slots=True)
class _Frame:
    """c_1 z^b_1 + ... + z^rho r: the exact terms by rising exponent, and the remainder."""

    terms: tuple[tuple[_Exact, _Exact], ...]
    rho: _Exact | None = None
    reg: int | None = None
    small: bool = False
    """True if r is known to tend to 0 (only looked at when rho = 0)."""

    @property
    def lead(self) -> _Exact:
        """The exponent of the first part."""
        if self.terms:
            first = self.terms[0][0]
            if self.rho is None or _order_key(first) <= _order_key(self.rho):
                return first
        if self.rho is None:
            return _ZERO
        return self.rho

    @property
    def is_zero(self) -> bool:
        return not self.terms and self.reg is None

    @property
    def vanishes(self) -> bool:
        """True if the value tends to 0 with z, term by term."""
        if self.terms and not _order_key(self.terms[0][0]) > 0:
            return False
        if self.reg is None:
            return True
        return _order_key(self.rho) > 0 or (self.rho == _ZERO and self.small)


class _Compiler:
    """Turns one tree, with its pieces chosen, into a line of scalar operations."""

    def __init__(self, symbol: Any, direction: int, order: int, pieces: dict[Any, bool]) -> None:
        self.symbol = symbol
        self.direction = direction
        self.order = order
        self.pieces = pieces
        self.code: list[tuple[Any, ...]] = []
        self._registers: dict[Any, int] = {}
        self._frames: dict[Any, _Frame] = {}
        self._mantissas: dict[_Frame, int] = {}

    # scalar operations -----------------------------------------------------------------------

    def emit(self, *instruction: Any) -> int:
        """A register that holds the instruction's value; equal instructions share one."""
        if instruction[0] in (_ADD, _MUL) and instruction[1] > instruction[2]:
            instruction = (instruction[0], instruction[2], instruction[1])
        register = self._registers.get(instruction)
        if register is None:
            register = self._registers[instruction] = len(self.code)
            self.code.append(instruction)
        return register

    def scale(self, register: int, exponent: _Exact) -> int:
        """register * z^exponent."""
        if not exponent:
            return register
        return self.emit(_MUL, register, self.emit(_ZPOW, exponent))

    def number(self, value: _Exact) -> int:
        """A register with an exact number, which may contain Y."""
        if not value.has_y:
            return self.emit(_CONST, value)
        total = None
        grouped: dict[Fraction, dict[_Monomial, Fraction]] = {}
        for m, q in value.terms.items():
            power = next((e for g, e in m if g is _Y), Fraction(0))
            rest = frozenset((g, e) for g, e in m if g is not _Y)
            grouped.setdefault(power, {})[rest] = q
        for power, terms in sorted(grouped.items()):
            factor = _Exact(terms)
            if power:
                part = self.emit(_YVAR)
                if power != 1:
                    part = self.emit(_POW, part, _q(power))
                if factor != _ONE:
                    part = self.emit(_MUL, part, self.emit(_CONST, factor))
            else:
                part = self.emit(_CONST, factor)
            total = part if total is None else self.emit(_ADD, total, part)
        assert total is not None
        return total

    # frames ----------------------------------------------------------------------------------

    def build(
        self, exact: dict[_Exact, _Exact], parts: Iterable[tuple[_Exact, int, bool]]
    ) -> _Frame:
        """A frame from exact terms and numeric parts (exponent, register, small)."""
        parts = list(parts)
        terms = sorted(((b, c) for b, c in exact.items() if c), key=lambda t: _order_key(t[0]))
        rho = min((b for b, _, _ in parts), key=_order_key, default=None)
        kept = []
        for b, c in terms:
            if (rho is None or _order_key(b) <= _order_key(rho)) and len(kept) < self.order:
                kept.append((b, c))
            else:
                parts.append((b, self.number(c), False))
                if rho is None or _order_key(b) < _order_key(rho):
                    rho = b
        if rho is None:
            return _Frame(tuple(kept))
        # c r and -c r cancel exactly
        groups: dict[tuple[_Exact, int], tuple[_Exact, bool]] = {}
        for b, register, is_small in parts:
            base, factor = self.multiple(register)
            known, known_small = groups.get((b, base), (_ZERO, True))
            groups[b, base] = (known + factor, known_small and is_small)
        left = [(b, r, c, s) for (b, r), (c, s) in groups.items() if c]
        if not left:
            return _Frame(tuple(kept))
        rho = min((b for b, _, _, _ in left), key=_order_key)
        total = None
        small = True
        for b, register, factor, is_small in left:
            if factor != _ONE:
                register = self.emit(_MUL, register, self.emit(_CONST, factor))
            shifted = self.scale(register, b - rho)
            total = shifted if total is None else self.emit(_ADD, total, shifted)
            small = small and (is_small or _order_key(b) > _order_key(rho))
        return _Frame(tuple(kept), rho, total, small)

    def multiple(self, register: int) -> tuple[int, _Exact]:
        """(r, c) with register = c r, c exact."""
        instruction = self.code[register]
        if instruction[0] == _MUL:
            for one, other in (instruction[1:], instruction[:0:-1]):
                if self.code[one][0] == _CONST:
                    return other, self.code[one][1]
        return register, _ONE

    def mantissa(self, frame: _Frame) -> int:
        """A register with frame / z^lead."""
        register = self._mantissas.get(frame)
        if register is None:
            lead = frame.lead
            total = None
            for b, c in frame.terms:
                part = self.scale(self.number(c), b - lead)
                total = part if total is None else self.emit(_ADD, total, part)
            if frame.reg is not None and frame.rho is not None:
                part = self.scale(frame.reg, frame.rho - lead)
                total = part if total is None else self.emit(_ADD, total, part)
            register = self.emit(_CONST, _ZERO) if total is None else total
            self._mantissas[frame] = register
        return register

    def full(self, frame: _Frame) -> int:
        """A register with the value."""
        return self.scale(self.mantissa(frame), frame.lead)

    def numeric(self, register: int, exponent: _Exact = _ZERO, small: bool = False) -> _Frame:
        """A frame with no exact term."""
        return _Frame((), exponent, register, small)

    def add(self, frames: list[_Frame]) -> _Frame:
        """The sum."""
        exact: dict[_Exact, _Exact] = {}
        parts = []
        for frame in frames:
            for b, c in frame.terms:
                exact[b] = exact.get(b, _ZERO) + c
            if frame.reg is not None and frame.rho is not None:
                parts.append((frame.rho, frame.reg, frame.small))
        return self.build(exact, parts)

    def mul(self, a: _Frame, b: _Frame) -> _Frame:
        """The product: exact terms times exact terms, and a r_b + (exact part of b) r_a."""
        if a.is_zero or b.is_zero:
            return _Frame(())
        exact: dict[_Exact, _Exact] = {}
        for e1, c1 in a.terms:
            for e2, c2 in b.terms:
                exact[e1 + e2] = exact.get(e1 + e2, _ZERO) + c1 * c2
        parts = []
        if b.reg is not None and b.rho is not None:
            parts.append(
                (b.rho + a.lead, self.emit(_MUL, b.reg, self.mantissa(a)), b.small or a.vanishes)
            )
        if a.reg is not None and a.rho is not None and b.terms:
            head = _Frame(b.terms)
            parts.append(
                (a.rho + head.lead, self.emit(_MUL, a.reg, self.mantissa(head)), a.small)
            )
        return self.build(exact, parts)

    def monomial(self, coefficient: _Exact, exponent: _Exact) -> _Frame:
        """coefficient * z^exponent, exact."""
        return _Frame(((exponent, coefficient),)) if coefficient else _Frame(())

    def constant(self, value: _Exact) -> _Frame:
        """An exact number."""
        return self.monomial(value, _ZERO)

    def taylor(self, f: _Analytic, u: _Frame) -> _Frame:
        """f(c + u) with the leading Taylor terms exact."""
        if u.is_zero:
            return self.constant(f.coefficient(0))
        n = 1
        if u.terms:
            n = self.order
        acc = self.numeric(self.emit(_REM, f, n, self.full(u)))
        for k in range(n - 1, -1, -1):
            acc = self.add([self.constant(f.coefficient(k)), self.mul(u, acc)])
        return acc

    def split_lead(self, frame: _Frame) -> tuple[_Exact, _Exact, _Frame] | None:
        """(b, c, u) with frame = c z^b (1 + u), c one product and u vanishing; None if unknown."""
        if not frame.terms:
            return None
        b, c = frame.terms[0]
        inverse = c.power(Fraction(-1))
        if inverse is None:
            return None
        terms = tuple((e - b, k * inverse) for e, k in frame.terms[1:])
        if frame.reg is None or frame.rho is None:
            u = _Frame(terms)
        else:
            register = frame.reg
            if inverse != _ONE:
                register = self.emit(_MUL, register, self.number(inverse))
            u = _Frame(terms, frame.rho - b, register, frame.small)
        return (b, c, u) if u.vanishes else None

    def power(self, base: _Frame, a: _Exact) -> _Frame:
        """base**a for a constant a."""
        q = a.rational
        if q is not None and q.denominator == 1 and 0 <= q.numerator <= 4:
            result = self.constant(_ONE)
            for _ in range(q.numerator):
                result = self.mul(result, base)
            return result
        if q is not None and q.denominator <= 2 and 1 < abs(q.numerator) <= 8:
            root = self.power(base, _q(Fraction(1 if q > 0 else -1, q.denominator)))
            result = root
            for _ in range(abs(q.numerator) - 1):
                result = self.mul(result, root)
            return result
        if base.is_zero:
            if _order_key(a) > 0:
                return _Frame(())
            raise EvaluationError("division by zero")
        parts = self.split_lead(base)
        if parts is not None:
            b, c, u = parts
            lead = _constant_power(c, a)
            if lead is not None:
                tail = self.taylor(_Analytic("binomial", (to_sympy(a),)), u)
                return self.mul(self.monomial(lead, b * a), tail)
        return self.numeric(self.emit(_POW, self.mantissa(base), a), base.lead * a)

    def log(self, x: _Frame) -> _Frame:
        """log x = b log z + log c + log(1 + u)."""
        if x.is_zero:
            raise EvaluationError("log(0)")
        parts = self.split_lead(x)
        if parts is not None:
            b, c, u = parts
            head = _exact_log(c)
            if head is not None:
                return self.add(
                    [self.constant(head - b * _Y_EXACT), self.taylor(_Analytic("log1p"), u)]
                )
        lead = x.lead
        return self.add(
            [
                self.constant(-(lead * _Y_EXACT)),
                self.numeric(self.emit(_LOG, self.mantissa(x))),
            ]
        )

    def exp(self, x: _Frame) -> _Frame:
        """exp x: the part q Y becomes z^-q, constants stay exact, what vanishes is expanded."""
        factor = self.constant(_ONE)
        wild: list[_Frame] = []
        vanishing: dict[_Exact, _Exact] = {}
        for b, c in x.terms:
            sign = _order_key(b)
            if sign > 0:
                vanishing[b] = c
            elif b:
                wild.append(self.monomial(c, b))
            else:
                shift, fixed, rest = _exp_parts(c)
                factor = self.mul(factor, self.monomial(_exact_exp(fixed), -shift))
                if rest:
                    wild.append(self.constant(rest))
        u = self.build(vanishing, [])
        if x.reg is not None and x.rho is not None:
            tail = self.numeric(x.reg, x.rho, x.small)
            if tail.vanishes:
                u = self.add([u, tail])
            else:
                wild.append(tail)
        if wild:
            if not u.is_zero:
                wild.append(u)
            rest_frame = self.add(wild)
            return self.mul(factor, self.numeric(self.emit(_EXP, self.full(rest_frame))))
        return self.mul(factor, self.taylor(_Analytic("exp"), u))

    # nodes -----------------------------------------------------------------------------------

    def frame(self, expr: Any) -> _Frame:
        """The frame of a node; equal nodes are compiled once."""
        found = self._frames.get(expr)
        if found is None:
            found = self._frames[expr] = self._compile(expr)
        return found

    def _compile(self, expr: Any) -> _Frame:
        if expr == self.symbol:
            return self.monomial(_ONE, _q(self.direction))
        if expr.is_number or not expr.has(self.symbol):
            if expr.is_zero:
                return _Frame(())
            return self.constant(from_sympy(expr))
        if expr.is_Add:
            return self.add([self.frame(a) for a in expr.args])
        if expr.is_Mul:
            product = self.frame(expr.args[0])
            for a in expr.args[1:]:
                product = self.mul(product, self.frame(a))
            return product
        if isinstance(expr, sp.exp):
            return self.exp(self.frame(expr.args[0]))
        if expr.is_Pow:
            return self._compile_power(expr)
        if isinstance(expr, sp.log):
            return self.log(self.frame(expr.args[0]))
        if isinstance(expr, sp.Piecewise):
            return self._compile_piecewise(expr)
        if isinstance(expr, sp.Function):
            return self._compile_call(expr)
        raise EvaluationError(f"{type(expr).__name__} is not supported: {expr}")

    def _compile_power(self, expr: Any) -> _Frame:
        if expr.base is sp.E:
            return self.exp(self.frame(expr.exp))
        if not expr.exp.has(self.symbol):
            return self.power(self.frame(expr.base), from_sympy(expr.exp))
        if expr.base.has(self.symbol):
            return self.exp(self.mul(self.frame(expr.exp), self.log(self.frame(expr.base))))
        log_base = _exact_log(from_sympy(expr.base))
        if log_base is None:
            raise EvaluationError(f"the power {expr} is not real")
        return self.exp(self.mul(self.frame(expr.exp), self.constant(log_base)))

    def _compile_piecewise(self, expr: Any) -> _Frame:
        for value, condition in expr.args:
            if _decide(condition, self.pieces):
                return self.frame(value)
        raise EvaluationError("no piece of the Piecewise applies")

    def _compile_call(self, expr: Any) -> _Frame:
        name, params, argument = _split_call(expr)
        if any(p.has(self.symbol) for p in params if isinstance(p, sp.Basic)):
            raise EvaluationError(f"a parameter of {name} may not depend on the variable")
        rewritten = _rewrite_call(name, params, argument)
        if rewritten is not None:
            return self.frame(rewritten)
        if name == "LambertW":
            branch = params[0] if params else sp.S.Zero
            if branch not in (sp.S.Zero, sp.S.NegativeOne):
                raise EvaluationError(f"LambertW has no real branch {branch}")
            params = (branch,)
            root = self._near_branch_point(argument)
            if root is not None:
                sign = _q(1 if branch == -1 else -1)
                h = self.mul(self.constant(sign), root)
                if h.vanishes:
                    omega = self.taylor(_Analytic("omega"), h)
                else:
                    omega = self.numeric(self.emit(_FUN, "omega", (), self.full(h)))
                return self.add([self.constant(_q(-1)), self.mul(self.constant(_q(-1)), omega)])
        x = self.frame(argument)
        if name == "lowergamma" and x.vanishes and not x.is_zero:
            tail = self.taylor(_Analytic("lowergamma", params), x)
            return self.mul(self.power(x, from_sympy(params[0])), tail)
        centred = self._centre(x)
        if centred is not None:
            c, u = centred
            f = _Analytic(name, params, to_sympy(c))
            with suppress(EvaluationError, TypeError, ValueError):
                f.coefficient(self.order)
                return self.taylor(f, u)
            if name == "asin" and c in (_ONE, -_ONE):
                edge = sp.pi / 2 - 2 * sp.asin(sp.sqrt((1 - (c.rational or 1) * argument) / 2))
                return self.frame((c.rational or 1) * edge)
        far = self._far(name, x, argument)
        if far is not None:
            return far
        return self.numeric(self.emit(_FUN, name, params, self.full(x)))

    def _centre(self, x: _Frame) -> tuple[_Exact, _Frame] | None:
        """(c, u) with x = c + u, c a constant without Y and u vanishing."""
        c = dict(x.terms).get(_ZERO, _ZERO)
        if c.has_y:
            return None
        u = _Frame(tuple(t for t in x.terms if t[0]), x.rho, x.reg, x.small)
        return (c, u) if u.vanishes else None

    def _near_branch_point(self, argument: Any) -> _Frame | None:
        """sqrt(2 tau) with argument = -exp(-1 - tau), when the argument says so."""
        inner = (-argument).args[0] if isinstance(-argument, sp.exp) else None
        if inner is None:
            parts = self.split_lead(self.frame(argument))
            if parts is None or parts[0] or parts[1] != -_exact_exp(_q(-1)):
                return None
            minus_tau = self.taylor(_Analytic("log1p"), parts[2])
        else:
            minus_tau = self.add([self.constant(_ONE), self.frame(inner)])
        return self.power(self.mul(self.constant(_q(-2)), minus_tau), _q(Fraction(1, 2)))

    def _far(self, name: str, x: _Frame, argument: Any) -> _Frame | None:
        """tanh, coth, erf, atan, acot of what tends to infinity: the limit and what remains."""
        if name not in ("tanh", "coth", "erf", "atan", "acot") or not x.terms:
            return None
        b, c = x.terms[0]
        if not _order_key(b) < 0 or len(c.terms) != 1 or x.lead != b:
            return None
        (q,) = c.terms.values()
        sign = 1 if q > 0 else -1
        if name in ("atan", "acot"):
            if not (argument.is_positive if sign > 0 else argument.is_negative):
                return None  # atan(x) + atan(1/x) jumps at 0
            tail = self.taylor(_Analytic("atan"), self.power(x, _q(-1)))
            if name == "acot":
                return tail
            minus_tail = self.mul(self.constant(_q(-1)), tail)
            return self.add([self.constant(_q(sign) * from_sympy(sp.pi / 2)), minus_tail])
        size = x if sign > 0 else self.mul(self.constant(_q(-1)), x)
        if name == "erf":
            tail = self.emit(_FUN, "erfc", (), self.full(size))
            rest = self.mul(self.constant(_q(-sign)), self.numeric(tail, small=True))
        else:
            minus = self.mul(self.constant(_q(-2)), size)
            small = self.emit(_EXP, self.full(minus))
            one = self.emit(_CONST, _ONE)
            s = -1 if name == "coth" else 1
            below = self.emit(_ADD, one, self.emit(_MUL, small, self.emit(_CONST, _q(s))))
            tail = self.emit(_MUL, small, self.emit(_POW, below, _q(-1)))
            rest = self.mul(self.constant(_q(-2 * sign * s)), self.numeric(tail, small=True))
        return self.add([self.constant(_q(sign)), rest])


def _constant_power(c: _Exact, a: _Exact) -> _Exact | None:
    """c**a as an exact number, or None."""
    q = a.rational
    if q is not None:
        return c.power(q)
    if c == _ONE:
        return c
    if c.has_y or len(c.terms) != 1 or next(iter(c.terms.values())) <= 0:
        return None
    head = _exact_log(c)
    return None if head is None else _exact_exp(a * head)


def _exp_parts(c: _Exact) -> tuple[_Exact, _Exact, _Exact]:
    """c = shift * Y + fixed + rest, fixed and shift without Y."""
    shift, fixed, rest = _ZERO, _ZERO, _ZERO
    for m, q in c.terms.items():
        power = next((e for g, e in m if g is _Y), Fraction(0))
        if not power:
            fixed = fixed + _Exact({m: q})
        elif power == 1:
            shift = shift + _Exact({frozenset((g, e) for g, e in m if g is not _Y): q})
        else:
            rest = rest + _Exact({m: q})
    return shift, fixed, rest


def _rewrite_call(name: str, params: tuple[Any, ...], x: Any) -> Any:
    """A function in terms of those that the compiler knows better, or None."""
    if name == "asinh":
        return None
    if name == "acosh":
        return sp.log(x + sp.sqrt(x - 1) * sp.sqrt(x + 1))
    if name == "acos":
        return 2 * sp.asin(sp.sqrt((1 - x) / 2))
    if name == "asec":
        return sp.acos(1 / x)
    if name == "acsc":
        return sp.asin(1 / x)
    if name == "atanh":
        return (sp.log(1 + x) - sp.log(1 - x)) / 2
    if name == "acoth":
        return (sp.log(1 + 1 / x) - sp.log(1 - 1 / x)) / 2
    if name == "asech":
        return sp.acosh(1 / x)
    if name == "acsch":
        return sp.asinh(1 / x)
    if name == "polylog" and params[0] == 1:
        return -sp.log(1 - x)
    if name == "polylog" and params[0] == 0:
        return x / (1 - x)
    if name == "Li":
        return sp.li(x) - sp.li(2)
    return None


# ---------------------------------------------------------------------------------------------
# pieces
# ---------------------------------------------------------------------------------------------


def as_pieces(expr: Any) -> Any:
    """Abs, sign, Heaviside, Min and Max as Piecewise; DiracDelta, which has no value, as 0.

    Do this before differentiating: the derivative is then that of the piece, also at a knot.
    """
    if not expr.has(sp.Abs, sp.sign, sp.Heaviside, sp.Min, sp.Max, sp.DiracDelta):
        return expr
    cases = sp.Piecewise
    args = [as_pieces(a) for a in expr.args]
    if isinstance(expr, sp.Abs):
        return cases((args[0], args[0] >= 0), (-args[0], True))
    if isinstance(expr, sp.sign):
        return cases((sp.S.One, args[0] > 0), (sp.S.NegativeOne, True))
    if isinstance(expr, sp.Heaviside):
        return cases((sp.S.One, args[0] > 0), (sp.S.Zero, True))
    if isinstance(expr, sp.DiracDelta):
        return sp.S.Zero
    if isinstance(expr, sp.Min | sp.Max):
        pieces = []
        for k, arg in enumerate(args):
            rest = args[k + 1 :]
            wins = (arg <= b for b in rest) if isinstance(expr, sp.Min) else (arg >= b for b in rest)
            pieces.append((arg, sp.And(*wins)))
        return cases(*pieces)
    return expr.func(*args) if args else expr


def _relations(expr: Any) -> list[Any]:
    """The relations on which the pieces of an expression depend, in a fixed order."""
    found: set[Any] = set()
    for piecewise in expr.atoms(sp.Piecewise):
        for _, condition in piecewise.args:
            if condition not in (sp.true, sp.false):
                found |= condition.atoms(sp.core.relational.Relational)
    return sorted(found, key=sp.default_sort_key)


def _decide(condition: Any, known: dict[Any, bool]) -> bool:
    if condition is sp.true:
        return True
    if condition is sp.false:
        return False
    if condition in known:
        return known[condition]
    if isinstance(condition, sp.And):
        return all(_decide(c, known) for c in condition.args)
    if isinstance(condition, sp.Or):
        return any(_decide(c, known) for c in condition.args)
    if isinstance(condition, sp.ITE):
        test, first, second = condition.args
        return _decide(first if _decide(test, known) else second, known)
    if isinstance(condition, sp.Not):
        return not _decide(condition.args[0], known)
    raise EvaluationError(f"the condition {condition} is not supported")


# ---------------------------------------------------------------------------------------------
# programs
# ---------------------------------------------------------------------------------------------

Signature: TypeAlias = tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A compiled line: the operations, and where the value is: z^lead * register."""

    code: tuple[tuple[Any, ...], ...]
    register: int
    lead: _Exact
    cost: int
    """A rough price: a special function is worth a hundred products."""


class Program:
    """An expression in one positive variable p, ready to be evaluated at p = exp(-y).

    `at_exp` and `__call__` return values that two precisions agree on.  `run` is the bare
    evaluation, on numbers or on balls, for those who check for themselves.
    """

    def __init__(self, expr: Any, symbol: Any) -> None:
        expr = sp.sympify(expr)
        free = expr.free_symbols - {symbol}
        if free:
            names = ", ".join(sorted(str(s) for s in free))
            raise EvaluationError(f"the expression still contains {names}")
        self.expr = as_pieces(expr)
        self.symbol = symbol
        self.relations = _relations(self.expr)
        self._tests = [
            (_RELATIONS[type(r)], Program(r.lhs - r.rhs, symbol)) for r in self.relations
        ]
        self._lines: dict[tuple[int, int, Signature], _Line] = {}
        self._level: tuple[int, int] = (_ORDERS[0], 0)

    def line(self, direction: int, order: int, signature: Signature) -> _Line:
        """The operations for small p (direction 1) or large p (-1) with the pieces chosen."""
        key = (direction, order, signature)
        found = self._lines.get(key)
        if found is None:
            compiler = _Compiler(
                self.symbol, direction, order, dict(zip(self.relations, signature, strict=True))
            )
            frame = compiler.frame(self.expr)
            register = compiler.mantissa(frame)
            cost = 40 + sum(100 if i[0] in (_FUN, _REM) else 2 for i in compiler.code)
            found = _Line(tuple(compiler.code), register, frame.lead, cost)
            self._lines[key] = found
        return found

    def leading_power(self) -> Fraction | None:
        """b if the value is p^b times a function of log p that is not a power, as p -> 0."""
        try:
            return self.line(1, _ORDERS[-1], tuple(True for _ in self.relations)).lead.rational
        except (EvaluationError, LostDigits):
            return None

    def signature(self, field: RealField, y: Number) -> Signature:
        """Which of the relations hold at p = exp(-y)."""
        out = []
        for holds, test in self._tests:
            try:
                value = test.run(field, y)
            except LostDigits:
                value = field.ctx.zero
            out.append(bool(holds(value)))
        return tuple(out)

    def run(
        self, field: RealField, y: Number, order: int = 1, signature: Signature | None = None
    ) -> Number:
        """The value at p = exp(-y) in the arithmetic of the field, unchecked."""
        if signature is None:
            signature = self.signature(field, y)
        direction = 1 if y >= 0 else -1
        line = self.line(direction, order, signature)
        size = abs(y)
        value = _execute(line, field, size)
        if line.lead:
            value = value * field.zpower(line.lead, size)
        return value

    def at_exp(self, ctx: Any, y: Number) -> Number:
        """The value at p = exp(-y), to the precision of ctx.

        The precision is raised, then the number of exact terms, until two precisions agree.

        Raises:
            EvaluationError: the value is not real, not finite, or not found up to 2^14 bits.
        """
        value, self._level = self.settle(ctx, lambda: ctx.mpf(y), self._level)
        return value

    def settle(
        self,
        ctx: Any,
        point: Callable[[], Number],
        start: tuple[int, int] = (1, 0),
        relative_bits: int | None = None,
    ) -> tuple[Number, tuple[int, int]]:
        """The value at exp(-point()) and the level (order, extra bits) at which it is accurate."""
        target = ctx.prec
        agree = min(target, relative_bits or target)
        field = RealField(ctx)
        reason: Exception = EvaluationError("no digits are left")
        tried = 0
        orders = [o for o in _ORDERS if o >= start[0]]
        passes = [(o, False, 5 * target) for o in orders[:2]]
        passes += [(o, False, MAX_PRECISION + target) for o in orders]
        # the last resort: a sum that is exactly 0 at this point is not 0 beside it
        for order, aside, most in [*passes, (_ORDERS[0], True, MAX_PRECISION + target)]:
            extra = start[1] if order == start[0] else 0
            previous = None
            bits = target + 20 + extra
            while bits <= most + extra:
                ctx.prec = bits
                try:
                    field.checked = True
                    y = point()
                    if aside:
                        tried += 1
                        y += (abs(y) or 1) * ctx.ldexp(tried, -2 * target - 20)
                    value = self.run(field, y, order)
                    if not ctx.isfinite(value):
                        raise EvaluationError("the value is not finite")
                except LostDigits:
                    previous = None
                except EvaluationError as error:
                    reason = error
                    if previous is None and bits > 8 * target:
                        break
                    previous = None
                else:
                    if previous is not None and abs(value - previous[0]) <= abs(value) * ctx.ldexp(
                        1, -agree - 2
                    ):
                        ctx.prec = target
                        return +value, (order, previous[1])
                    previous = (value, bits - target - 20)
                finally:
                    ctx.prec = target
                bits = max(bits + 64, int(bits * 1.6))
        raise EvaluationError(
            f"no accurate value of the expression within {MAX_PRECISION} bits: {reason}"
        )

    def __call__(self, ctx: Any, value: Any) -> Number:
        """The value at p = value > 0, to the precision of ctx."""
        p = ctx.mpf(value)
        if not p > 0 or not ctx.isfinite(p):
            raise EvaluationError(f"the variable must be positive and finite, not {value}")
        result, self._level = self.settle(ctx, lambda: -ctx.log(p), self._level)
        return result

    # balls -----------------------------------------------------------------------------------

    def ball(self, field: BallField, y: Number, order: int = 1, analytic: bool = False) -> Number:
        """A ball around the values at p = exp(-y), y an acb whose real part keeps one sign.

        With `analytic`, a non-finite ball unless the value is analytic on all of y.
        """
        direction = 1 if y.real.mid() >= 0 else -1
        size = y if direction > 0 else -y
        total = None
        for signature in self._signatures(field, y):
            if total is not None and analytic:
                return field._nan
            line = self.line(direction, order, signature)
            field.analytic_only = analytic
            field.work += line.cost * (2 if field.prec > 256 else 1)
            value = _execute(line, field, size)
            if line.lead:
                value = value * field.zpower(line.lead, size)
            total = value if total is None else total.union(value)
        return total

    def _signatures(self, field: BallField, y: Number) -> list[Signature]:
        """All signatures that cannot be excluded on the real part of the ball."""
        out: list[Signature] = [()]
        real = field._acb(y.real)
        for relation, (_, test) in zip(self.relations, self._tests, strict=True):
            value = test.ball(field, real).real
            possible = _possible(type(relation), value)
            out = [(*s, p) for s in out for p in possible]
        return out


def _possible(relation: Any, value: Number) -> tuple[bool, ...]:
    """Which truth values `value rel 0` can take on a real ball."""
    if value.is_finite():
        below, above = bool(value.upper() < 0), bool(value.lower() > 0)
        if below or above:
            return (bool(_RELATIONS[relation](-1 if below else 1)),)
    return (True, False)


def _table(field: Any, line: _Line, bits: int) -> tuple[Number | None, ...]:
    found = field._tables.get((id(line), bits))
    if found is None:
        numbers = tuple(field.exact(i[1]) if i[0] in (_CONST, _ZPOW) else None for i in line.code)
        # the line is kept too, so that its id stays its own
        found = field._tables[id(line), bits] = (line, numbers)
    return found[1]


def _execute(line: _Line, field: Any, y: Number) -> Number:
    """Runs the operations on one number or ball; returns the register of the value."""
    registers: list[Any] = []
    push = registers.append
    constants = field.table(line)
    for instruction, constant in zip(line.code, constants, strict=True):
        op = instruction[0]
        if op == _MUL:
            push(registers[instruction[1]] * registers[instruction[2]])
        elif op == _ADD:
            push(field.add(registers[instruction[1]], registers[instruction[2]]))
        elif op == _CONST:
            push(constant)
        elif op == _ZPOW:
            push(field.zpower(instruction[1], y, constant))
        elif op == _REM:
            push(field.remainder(instruction[1], instruction[2], registers[instruction[3]]))
        elif op == _POW:
            push(field.pow(registers[instruction[1]], instruction[2]))
        elif op == _YVAR:
            push(y)
        elif op == _LOG:
            push(field.log(registers[instruction[1]]))
        elif op == _EXP:
            push(field.exp(registers[instruction[1]]))
        else:
            push(field.function(instruction[1], instruction[2], registers[instruction[3]]))
    return registers[line.register]


def compile_expr(expr: Any, symbol: Any) -> Program:
    """A program for a SymPy expression in one positive symbol.

    >>> import mpmath, sympy
    >>> s = sympy.Symbol("s", positive=True)
    >>> ctx = mpmath.MPContext()
    >>> program = compile_expr(sympy.log(1 + s) / s, s)
    >>> program.at_exp(ctx, ctx.mpf(10) ** 60)
    mpf('1.0')
    """
    if isinstance(expr, sp.Integral):
        from kltheory.symbolic.integral import IntegralProgram

        return IntegralProgram(expr, symbol)
    return Program(expr, symbol)
