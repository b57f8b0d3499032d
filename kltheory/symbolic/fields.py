"""The two kinds of numbers on which a compiled line runs: mpmath reals and python-flint balls.

Both have the same operations.  Next to the named functions these are the remainders of Taylor
series,

    R_n(u) = (f(c + u) - f_0 - f_1 u - ... - f_(n-1) u^(n-1)) / u^n,

which are what is left of a function once its first terms are held exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import mpmath
import sympy as sp

from kltheory.symbolic.exact import (
    ONE,
    ZERO,
    EvaluationError,
    Exact,
    float_fraction,
    from_sympy,
    rational,
    symbol_of,
    to_sympy,
)

__all__ = [
    "MAX_PRECISION",
    "Analytic",
    "BallField",
    "LostDigits",
    "Number",
    "RealField",
    "have_balls",
    "omega_coefficients",
    "real_context",
    "split_call",
]

flint: Any
try:  # certified arithmetic is an extra
    import flint
except ImportError:  # pragma: no cover - exercised by the tests through `have_balls`
    flint = None

Number: TypeAlias = Any
"""An mpf of some context, or an acb."""

MAX_PRECISION = 2**14
"""Bits at which the search for an accurate value gives up."""
_MAX_SLOW_PRECISION = 2500
"""The same for special functions, which take seconds there."""
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


class LostDigits(Exception):
    """A sum has cancelled all its digits: more precision or more exact terms are needed."""


def have_balls() -> bool:
    """True if python-flint is installed, so that values can be enclosed."""
    return flint is not None


@dataclass(frozen=True)
class Analytic:
    """u -> f(c + u), analytic at u = 0, with exact coefficients."""

    name: str
    """`exp`, `log1p`, `binomial`, `omega`, `lowergamma` or the name of a SymPy function."""
    params: tuple[Any, ...] = ()
    """The fixed arguments, constant SymPy expressions."""
    centre: Any = sp.S.Zero
    """The point c, a constant SymPy expression."""

    def coefficient(self, k: int) -> Exact:
        """f^(k)(c) / k!, exact; EvaluationError if f is not known to be analytic at c."""
        return _coefficient(self, k)


@lru_cache(maxsize=1024)
def _coefficient(f: Analytic, k: int) -> Exact:
    if f.name == "exp":
        return rational(Fraction(1, math.factorial(k)))
    if f.name == "log1p":
        return rational(Fraction((-1) ** (k + 1), k)) if k else ZERO
    if f.name == "binomial":
        a = from_sympy(f.params[0])
        product = ONE
        for j in range(k):
            product = product * (a - rational(j)) * rational(Fraction(1, j + 1))
        return product
    if f.name == "omega":
        return rational(omega_coefficients(k + 1)[k])
    if f.name == "lowergamma":  # x^-a gamma(a, x) = sum (-x)^k / (k! (a + k))
        a = from_sympy(f.params[0]) + rational(k)
        inverse = a.power(Fraction(-1)) or symbol_of(1 / to_sympy(a))
        return rational(Fraction((-1) ** k, math.factorial(k))) * inverse
    if not f.centre:
        if f.name == "LambertW" and f.params[0] == 0:
            return rational(Fraction((-k) ** (k - 1), math.factorial(k))) if k else ZERO
        if f.name in ("besseli", "besselj") and f.params[0].is_Integer and f.params[0] >= 0:
            order = int(f.params[0])
            j, odd = divmod(k - order, 2)
            if j < 0 or odd:
                return ZERO
            sign = -1 if f.name == "besselj" and j % 2 else 1
            return rational(Fraction(sign, 2**k * math.factorial(j) * math.factorial(j + order)))
        if f.name in ("Si", "Shi"):
            sign = -1 if f.name == "Si" and k % 4 == 3 else 1
            return rational(Fraction(sign, k * math.factorial(k))) if k % 2 else ZERO
        if f.name == "polylog":
            if not k:
                return ZERO
            powered = rational(k).power(-(from_sympy(f.params[0]).rational or Fraction(0)))
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
    return from_sympy(value) * rational(Fraction(1, math.factorial(k)))


@lru_cache(maxsize=32)
def omega_coefficients(n: int) -> tuple[Fraction, ...]:
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


class RealField:
    """Scalar operations on the mpf of one private context, at its current precision."""

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        self.checked = False
        self._cache: dict[tuple[int, Any], Number] = {}
        self.tables: dict[tuple[int, int], Any] = {}

    @property
    def bits(self) -> int:
        """The precision in bits."""
        return int(self.ctx.prec)

    def exact(self, value: Exact) -> Number:
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
        return constant_number(self, expr)

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
            with ExtraPrecision(ctx, ctx.mag(a) + 10):
                whole = ctx.floor(a / ctx.ln2)
                rest = a - whole * ctx.ln2
            return ctx.ldexp(ctx.exp(rest), int(whole))
        return self.ctx.exp(a)

    def zpower(self, exponent: Exact, y: Number, known: Number | None = None) -> Number:
        """exp(-exponent * y), also where y is huge."""
        extra = self.ctx.mag(y)
        if extra < 8 or extra > _TINY_LOG:
            return self.exp(-(self.exact(exponent) if known is None else known) * y)
        with ExtraPrecision(self.ctx, extra + 4):
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

    def pow(self, a: Number, exponent: Exact) -> Number:
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
        with ExtraPrecision(ctx, extra):
            tau = h * h / 2
            if abs(h) < 1:
                w = sum(
                    (self.rational(c) * h**k for k, c in enumerate(omega_coefficients(8))), ctx.zero
                )
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

    def analytic(self, f: Analytic, u: Number) -> Number:
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

    def remainder(self, f: Analytic, n: int, u: Number) -> Number:
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
        with ExtraPrecision(ctx, n * max(0, -mag) + 20):
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


class ExtraPrecision:
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
        self.tables: dict[tuple[int, int], Any] = {}
        self.acb = flint.acb
        self._arb = flint.arb
        self.nan = flint.acb("nan")

    @property
    def bits(self) -> int:
        """The precision in bits."""
        return int(flint.ctx.prec)

    def exact(self, value: Exact) -> Number:
        """A ball around an exact value without Y."""
        key = (self.bits, value)
        found = self._cache.get(key)
        if found is None:
            total = self.acb(0)
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
            return constant_number(self, expr)
        finally:
            self.analytic_only = before

    def rational(self, value: Fraction) -> Number:
        """A ball around a rational."""
        return self.acb(flint.fmpq(value.numerator, value.denominator))

    def add(self, a: Number, b: Number) -> Number:
        """a + b."""
        return a + b

    def div(self, a: Number, b: Number) -> Number:
        """a / b."""
        return a / b

    def exp(self, a: Number) -> Number:
        """exp(a)."""
        return a.exp()

    def zpower(self, exponent: Exact, y: Number, known: Number | None = None) -> Number:
        """exp(-exponent * y)."""
        return (-(self.exact(exponent) if known is None else known) * y).exp()

    def log(self, a: Number) -> Number:
        """log(a) on the right half plane."""
        return a.log() if a.real.lower() > 0 else self.nan

    def pow(self, a: Number, exponent: Exact) -> Number:
        """a**exponent, the branch that is positive on the positive axis."""
        q = exponent.rational
        if q is not None and q.denominator == 1 and abs(q.numerator) < 10**6:
            return a**q.numerator
        if not a.real.lower() > 0:
            if self.analytic_only or not a.imag.is_zero():
                return self.nan
            # a real number that is known to be nonnegative by the identity that it stands for
            if q is not None and q > 0 and a.real.upper() > 0:
                top = self.acb(a.real.upper()).pow(self.exact(exponent))
                return self.acb(self._arb(0).union(top.real))
            return self.nan
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
            return bool(re.lower() > self.acb(-1).exp().real.neg().upper())
        return bool(re.lower() > 0)

    def function(self, name: str, params: tuple[Any, ...], x: Number) -> Number:
        """A named function on a ball; a non-finite ball where it is not known."""
        if self.analytic_only and not (name == "omega" or self._cut_free(name, x)):
            entire = name == "hyper" and len(params[0]) <= len(params[1])
            integer = name in ("besseli", "besselj") and params[0].is_Integer
            if not (entire or integer):
                return self.nan
        self.work += _SLOW.get(name, 0)
        value = self._call(name, params, x)
        if x.imag.is_zero() and not value.imag.contains(0):
            return self.nan  # not real
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
        return self.nan

    def _lambertw(self, branch: int, x: Number) -> Number:
        if branch == 0:
            return x.lambertw()
        if x.real.upper() < 0 and x.real.lower() > self.acb(-1).exp().real.neg().upper():
            return x.lambertw(-1, middle=True)
        return self.nan

    def _omega(self, h: Number) -> Number:
        """The root of w - log(1 + w) = h^2/2 with the sign of h, from Lambert's W."""
        if h.real.lower() > 0:
            return -1 - self._lambertw(-1, -(-1 - h * h / 2).exp())
        if h.real.upper() < 0:
            x = -(-1 - h * h / 2).exp()
            if self.analytic_only and not self._cut_free("LambertW", x):
                return self.nan
            return -1 - x.lambertw()
        return self.nan

    def analytic(self, f: Analytic, u: Number) -> Number:
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

    def remainder(self, f: Analytic, n: int, u: Number) -> Number:
        """A ball around R_n(u) = (f(c + u) - sum_{k<n} f_k u^k) / u^n."""
        if n == 0:
            return self.analytic(f, u)
        size = u.abs_upper()
        if not size.is_finite():
            return self.nan
        if n == 1 and f.name == "binomial" and (1 + u).real.lower() > 0:
            half = _half_power(f.params[0], 1 + u, lambda v: v.sqrt())
            if half is not None:
                return half
        around_zero = u.contains(self.acb(0))
        if n == 1 and not around_zero:
            if f.name == "exp":
                return u.expm1() / u
            if f.name == "log1p" and u.real.lower() > -1:
                return u.log1p() / u
        if around_zero or size < 2.0**-10:
            series = self._series(f, n, u, size)
            if around_zero or series.rel_accuracy_bits() > self.bits - 20:
                return series
            direct = self._difference(f, n, u, size)
            better = direct.is_finite() and direct.real.rad() < series.real.rad()
            return direct if better or not series.is_finite() else series
        return self._difference(f, n, u, size)

    def _difference(self, f: Analytic, n: int, u: Number, size: Number) -> Number:
        """R_n(u) as it is written, with the bits that cancel."""
        before = self.bits
        bits = 0
        if size < 0.5:
            bits = min(MAX_PRECISION, n * (1 - int(float(size.log().lower()) / 0.69)))
        flint.ctx.prec = before + bits + 10
        try:
            total = self.analytic(f, u)
            power = self.acb(1)
            for k in range(n):
                total = total - self.exact(f.coefficient(k)) * power
                power = power * u
            return total / power
        finally:
            flint.ctx.prec = before

    def _series(self, f: Analytic, n: int, u: Number, size: Number) -> Number:
        """Taylor terms and Cauchy's bound M R^-K |u|^(K-n) / (1 - |u|/R) on the rest."""
        terms = n + 6
        total = self.acb(0)
        for k in range(terms - 1, n - 1, -1):
            total = total * u + self.exact(f.coefficient(k))
        for radius, bound in self._cauchy(f):
            ratio = size / radius
            if ratio < 0.5:
                error = bound * ratio ** (terms - n) / self._arb(radius) ** n / (1 - ratio)
                ball = self._arb(0, error.upper())
                return total + self.acb(ball, ball)
        return self.nan

    def _cauchy(self, f: Analytic) -> list[tuple[Number, Number]]:
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
                        value = self.analytic(f, self.acb(ball, ball))
                        if value.is_finite():
                            found.append((radius.lower(), value.abs_upper()))
            finally:
                self.analytic_only = before
            self._cache[key] = found
        return found


def constant_number(field: Any, expr: Any) -> Number:
    """A constant SymPy expression as a number of the field."""
    if expr.is_Rational:
        return field.rational(Fraction(int(expr.p), int(expr.q)))
    if expr.is_Float:
        return field.rational(float_fraction(expr))
    if expr is sp.pi:
        return field.ctx.pi + 0 if isinstance(field, RealField) else flint.acb.pi()
    if expr is sp.E:
        return field.exp(field.rational(Fraction(1)))
    if expr is sp.EulerGamma:
        if isinstance(field, RealField):
            return field.ctx.euler + 0
        return flint.acb(flint.arb.const_euler())
    if expr is sp.Catalan:
        if isinstance(field, RealField):
            return field.ctx.catalan + 0
        return flint.acb(flint.arb.const_catalan())
    if expr is sp.GoldenRatio:
        return (field.rational(Fraction(1)) + constant_number(field, sp.sqrt(5))) / 2
    if expr.is_Add:
        total = constant_number(field, expr.args[0])
        for arg in expr.args[1:]:
            total = total + constant_number(field, arg)
        return total
    if expr.is_Mul:
        product = constant_number(field, expr.args[0])
        for arg in expr.args[1:]:
            product = product * constant_number(field, arg)
        return product
    if isinstance(expr, sp.exp):
        return field.exp(constant_number(field, expr.args[0]))
    if expr.is_Pow:
        if expr.base is sp.E:
            return field.exp(constant_number(field, expr.exp))
        base = constant_number(field, expr.base)
        if expr.exp.is_Rational:
            return field.pow(base, rational(Fraction(int(expr.exp.p), int(expr.exp.q))))
        return field.exp(constant_number(field, expr.exp) * field.log(base))
    if isinstance(expr, sp.log):
        return field.log(constant_number(field, expr.args[0]))
    if isinstance(expr, sp.Function) and not expr.free_symbols:
        name, params, x = split_call(expr)
        return field.function(name, params, constant_number(field, x))
    raise EvaluationError(f"the constant {expr} is not supported")


def split_call(expr: Any) -> tuple[str, tuple[Any, ...], Any]:
    """Name, fixed arguments and the last (for LambertW: the first) argument of a call."""
    name = type(expr).__name__
    if name == "LambertW":
        return name, tuple(expr.args[1:]), expr.args[0]
    if name == "hyper":
        return name, (tuple(expr.args[0]), tuple(expr.args[1])), expr.args[2]
    return name, tuple(expr.args[:-1]), expr.args[-1]
