"""Closed antiderivatives of ψ'², by substitution and a table of terms.

SymPy's general integrator is the last resort: for the integrands that desingularizing functions
produce, a table of terms ``c v^a log(v)^k exp(b v^n)`` after a well chosen substitution answers in
milliseconds, with real functions and no spurious branches.  Everything here proposes candidates;
`kltheory.symbolic.rate` accepts one only after it has checked it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import sympy as sp
from sympy import S

from kltheory.symbolic.inverse import simple_inverses

#: Terms beyond this number are not expanded: the table would be slower than it is useful.
MAX_TERMS = 60


@dataclass(frozen=True, slots=True)
class Primitive:
    """A candidate for ∫ f dv and how it was found."""

    expr: sp.Expr
    """The antiderivative, in the variable of the integrand."""
    how: str
    """The substitution and the rule, in words."""


# ---------------------------------------------------------------------------------------------
# The table of terms


def power_exponential(c: sp.Expr, k: sp.Expr, b: sp.Expr, x: sp.Expr) -> sp.Expr:
    """∫ c x^k e^{bx} dx for x > 0, in real functions of x.

    >>> from sympy import S, Symbol
    >>> x = Symbol("x", positive=True)
    >>> power_exponential(S(1), S(-1), S(2), x)
    Ei(2*x)
    >>> power_exponential(S(1), S(2), S(0), x)
    x**3/3
    """
    if b.is_zero:
        if (k + 1).is_zero:
            return c * sp.log(x)
        if k.is_number:
            return c * x ** (k + 1) / (k + 1)
        power, logarithm = c * x ** (k + 1) / (k + 1), c * sp.log(x)
        return sp.Piecewise((logarithm, sp.Eq(k, -1)), (power, True))
    if k.is_Integer and k >= 0:
        n = int(k)
        terms = ((-1) ** j * sp.ff(k, j) * x ** (k - j) / b ** (j + 1) for j in range(n + 1))
        return c * sp.exp(b * x) * sp.Add(*terms)
    if k == -1:
        return c * sp.Ei(b * x)
    if k == -S.Half:
        if b.is_negative:
            return c * sp.sqrt(sp.pi / -b) * sp.erf(sp.sqrt(-b * x))
        return c * sp.sqrt(sp.pi / b) * sp.erfi(sp.sqrt(b * x))
    half_integer = (2 * k).is_Integer
    if k.is_Rational and (k.is_Integer or half_integer) and abs(k) < 40:
        edge = x**k * sp.exp(b * x)
        if k < 0:
            return c * x * edge / (k + 1) - power_exponential(c * b / (k + 1), k + 1, b, x)
        return c * edge / b - power_exponential(c * k / b, k - 1, b, x)
    if b.is_negative:
        return -c * (-b) ** (-k - 1) * sp.uppergamma(k + 1, -b * x)
    return c * x ** (k + 1) / (k + 1) * sp.hyper((k + 1,), (k + 2,), b * x)


def _factors(term: sp.Expr, v: sp.Symbol) -> tuple[sp.Expr, ...] | None:
    """`term` as (c, a, k, b, n) with term = c v^a log(v)^k exp(b v^n), or None."""
    c, a, k, b, n = S.One, S.Zero, S.Zero, S.Zero, S.One
    for factor in sp.Mul.make_args(term):
        if not factor.has(v):
            c *= factor
            continue
        base, exponent = factor.as_base_exp()
        if isinstance(factor, sp.exp):
            for part in sp.Add.make_args(sp.expand(factor.args[0])):
                if not part.has(v):
                    c *= sp.exp(part)
                    continue
                coefficient, rest = part.as_independent(v, as_Add=False)
                inner, power = rest.as_base_exp()
                if inner != v or power.has(v) or (b != 0 and power != n):
                    return None
                b, n = b + coefficient, power
        elif base == v and not exponent.has(v):
            a += exponent
        elif base == sp.log(v) and not exponent.has(v):
            k += exponent
        else:
            return None
    return c, a, k, b, n


def _term(term: sp.Expr, v: sp.Symbol) -> sp.Expr | None:
    factors = _factors(term, v)
    if factors is None:
        return None
    c, a, k, b, n = factors
    if b == 0:
        if k == 0:
            return power_exponential(c, a, S.Zero, v)
        if not k.is_Integer:
            return None
        y = sp.Dummy("y", positive=True)  # y = -log v
        return power_exponential(-c * (-1) ** k, k, -(a + 1), y).subs(y, -sp.log(v))
    if k != 0 or not n.is_number:
        return None
    y = sp.Dummy("y", positive=True)  # y = v^n
    return power_exponential(c / n, (a + 1) / n - 1, b, y).subs(y, v**n)


def _merged(f: sp.Expr) -> sp.Expr:
    """`f` as a sum of products, with powers and exponentials of the same base merged."""
    f = sp.expand(f)
    f = sp.powsimp(f.replace(sp.exp, lambda e: sp.exp(sp.expand(e))))
    return sp.expand(sp.powsimp(f))


def by_terms(f: sp.Expr, v: sp.Symbol) -> sp.Expr | None:
    """∫ f dv if every term of the expanded f is in the table, else None.

    >>> from sympy import Symbol, log, sqrt
    >>> v = Symbol("v", positive=True)
    >>> by_terms(1 / (4 * v) + 1 / sqrt(v) + 1, v)
    2*sqrt(v) + v + log(v)/4
    """
    for form in (sp.expand, _merged):
        terms = sp.Add.make_args(form(f))
        if len(terms) <= MAX_TERMS:
            parts = [_term(sp.powsimp(term), v) for term in terms]
            if None not in parts:
                return sp.Add(*parts)
    return None


def by_rational(f: sp.Expr, v: sp.Symbol) -> sp.Expr | None:
    """∫ f dv for a rational f with a real elementary antiderivative, else None."""
    if not f.is_rational_function(v):
        return None
    if f.free_symbols - {v}:  # with parameters: linear denominators only
        return _by_linear_fractions(f, v)
    from sympy.integrals.rationaltools import ratint

    result = ratint(sp.cancel(sp.together(f)), v, real=True)
    return None if result.has(sp.RootSum, sp.Integral, S.ImaginaryUnit) else result


def _by_linear_fractions(f: sp.Expr, v: sp.Symbol) -> sp.Expr | None:
    total = S.Zero
    for part in sp.Add.make_args(sp.apart(sp.factor(f), v)):
        base, exponent = sp.Mul(
            *[g for g in sp.Mul.make_args(sp.factor(part)) if g.has(v)]
        ).as_base_exp()
        slope = sp.diff(base, v)
        coefficient = sp.cancel(part / base**exponent)
        if slope.has(v) or coefficient.has(v) or not exponent.is_Integer:
            return None
        total += coefficient / slope * power_exponential(S.One, exponent, S.Zero, v).subs(v, base)
    return total


def by_rational_exponential(f: sp.Expr, v: sp.Symbol) -> sp.Expr | None:
    """∫ R(v) e^{bv} dv for rational R with linear denominators: exponential integrals."""
    c, b, rational = S.One, S.Zero, S.One
    for factor in sp.Mul.make_args(sp.powsimp(sp.factor(f))):
        if isinstance(factor, sp.exp):
            slope = sp.diff(factor.args[0], v)
            if slope.has(v):
                return None
            b += slope
            c *= sp.exp(sp.expand(factor.args[0] - slope * v))
        else:
            rational *= factor
    if b == 0 or not rational.is_rational_function(v):
        return None
    total = S.Zero
    y = sp.Dummy("y", positive=True)
    for part in sp.Add.make_args(sp.apart(sp.cancel(rational), v)):
        top, bottom = sp.fraction(sp.factor(part))
        if not bottom.has(v):
            total += sp.Add(*[_term(t * sp.exp(b * v), v) or S.NaN for t in sp.Add.make_args(part)])
            continue
        base, exponent = sp.Mul(*[g for g in sp.Mul.make_args(bottom) if g.has(v)]).as_base_exp()
        slope = sp.diff(base, v)
        if top.has(v) or slope.has(v) or not exponent.is_Integer:
            return None
        shift = sp.expand(base / slope - v)
        coefficient = sp.simplify(part * (v + shift) ** exponent)
        piece = power_exponential(coefficient * sp.exp(-b * shift), -exponent, b, y)
        total += piece.subs(y, v + shift)
    return None if total.has(S.NaN) else c * total


def by_binomial(f: sp.Expr, v: sp.Symbol) -> sp.Expr | None:
    """∫ Σ c v^m (a + b v^n)^r dv by Gauss' function ₂F₁, for a > 0."""
    f = sp.factor(f)
    polynomial, rest = S.One, S.One
    for factor in sp.Mul.make_args(f):
        exponent = factor.as_base_exp()[1]
        if exponent.is_Integer and exponent > 0:
            polynomial *= factor
        else:
            rest *= factor
    total = S.Zero
    for term in sp.Add.make_args(sp.expand(polynomial)):
        c, m, r, binomial = S.One, S.Zero, S.Zero, None
        for factor in sp.Mul.make_args(term * rest):
            base, exponent = factor.as_base_exp()
            if not factor.has(v):
                c *= factor
            elif exponent.has(v):
                return None
            elif base == v:
                m += exponent
            elif base.is_Add and binomial in (None, base):
                binomial, r = base, r + exponent
            else:
                return None
        if binomial is None:
            total += power_exponential(c, m, S.Zero, v)
            continue
        a, bv = binomial.as_independent(v, as_Add=True)
        b, power = bv.as_independent(v, as_Add=False)
        base, n = power.as_base_exp()
        if base != v or not (a.is_positive and n.is_number):
            return None
        q = (m + 1) / n
        if q.is_Integer and q <= 0:
            return None
        total += c * a**r * v ** (m + 1) / (m + 1) * sp.hyper((-r, q), (q + 1,), -b / a * v**n)
    return total


def by_parts(f: sp.Expr, v: sp.Symbol, depth: int = 3) -> sp.Expr | None:
    """∫ Σ R(v) log(h)^k dv by parts, R rational and h linear: logarithms and dilogarithms."""
    total = S.Zero
    for term in sp.Add.make_args(sp.expand(f)):
        logs = [g for g in sp.Mul.make_args(term) if g.as_base_exp()[0].func is sp.log]
        if not logs:
            piece = by_rational(term, v)
        elif len(logs) > 1 or depth == 0:
            return None
        else:
            logarithm, k = logs[0].as_base_exp()
            piece = _log_term(sp.cancel(term / logs[0]), logarithm, k, v, depth)
        if piece is None:
            return None
        total += piece
    return total


def _log_term(
    rational: sp.Expr, logarithm: sp.Expr, k: sp.Expr, v: sp.Symbol, depth: int
) -> sp.Expr | None:
    h = logarithm.args[0]
    slope = sp.diff(h, v)
    if not (k.is_Integer and k > 0 and rational.is_rational_function(v)) or slope.has(v):
        return None
    total = S.Zero
    for part in sp.Add.make_args(sp.apart(rational, v)):
        multiple = sp.cancel(part * h)
        if not multiple.has(v):  # c/h: the derivative of log(h)
            total += multiple / slope * logarithm ** (k + 1) / (k + 1)
            continue
        multiple = sp.cancel(part * v)
        if not multiple.has(v):  # c/v
            a = h.subs(v, 0)
            if k != 1 or not a.is_positive:
                return None
            total += multiple * (sp.log(a) * sp.log(v) - sp.polylog(2, -slope * v / a))
            continue
        outer = by_rational(part, v)
        if outer is None or outer.has(sp.log, sp.atan):
            return None
        inner = by_parts(sp.expand(outer * k * slope / h) * logarithm ** (k - 1), v, depth - 1)
        if inner is None:
            return None
        total += outer * logarithm**k - inner
    return total


# ---------------------------------------------------------------------------------------------
# Substitutions


#: The passes over all substitutions: elementary rules, then ₂F₁, then SymPy's integrator.
_PASSES = ("elementary", "hypergeometric", "general")


def _integrate(f: sp.Expr, v: sp.Symbol, effort: str) -> Iterator[tuple[sp.Expr, str]]:
    """Antiderivatives of f in v, by the rules of one pass."""
    rules: tuple[tuple[Callable[[sp.Expr, sp.Symbol], sp.Expr | None], str], ...] = (
        (by_terms, "term by term"),
        (by_rational, "partial fractions"),
        (by_rational_exponential, "exponential integrals"),
        (by_parts, "by parts"),
    )
    if effort == "hypergeometric":
        rules = ((by_binomial, "Gauss' hypergeometric function"),)
    if effort != "general":
        forms = [f, sp.simplify(f)]
        if f.has(sp.sinh, sp.cosh):  # e^{2u}/u is in the table, cosh(u)²/u is not
            forms.append(sp.expand(f.rewrite(sp.exp)))
        for form in dict.fromkeys(forms):
            for rule, name in rules:
                result = rule(form, v)
                if result is not None and not result.has(S.NaN, S.ComplexInfinity):
                    yield result, name
    else:
        result = sp.integrate(sp.simplify(f), v)
        if not result.has(sp.Integral):
            yield result, "SymPy's integrator"


def _units(f: sp.Expr, s: sp.Symbol) -> list[sp.Expr]:
    """Sub-expressions of f that may serve as the new variable, the likeliest first."""
    units: list[sp.Expr] = []
    roots = [p.exp.q for p in f.atoms(sp.Pow) if p.base == s and p.exp.is_Rational and p.exp.q > 1]
    if roots and (q := int(sp.ilcm(1, *roots))) <= 60:
        units.append(s ** sp.Rational(1, q))
    for power in sorted(f.atoms(sp.Pow), key=sp.default_sort_key):
        if power.base != s and power.base.has(s) and power.exp.is_Rational and power.exp.q > 1:
            units += [power.base ** sp.Rational(1, power.exp.q), power.base]
    for kind in (sp.exp, sp.log, sp.LambertW):
        for atom in sorted(f.atoms(kind), key=sp.default_sort_key):
            lower_branch = kind is sp.LambertW and len(atom.args) == 2
            units.append(-atom if lower_branch else atom)  # a new variable is positive
            if kind is sp.exp and not atom.args[0].is_Symbol:
                units.append(atom.args[0])
    return [u for u in dict.fromkeys(units) if u.has(s) and u != s]


def _in_logarithm(psi: sp.Expr, s: sp.Symbol, x: sp.Symbol) -> sp.Expr:
    """ψ'² ds with s = e^{-x}: (dψ/dx)² e^x, with log(1/s) turned into x."""
    psi_x = sp.simplify(sp.expand_log(psi.subs(s, sp.exp(-x)), force=True))
    return sp.powdenest(sp.powsimp(sp.simplify(sp.diff(psi_x, x) ** 2 * sp.exp(x))), force=True)


def integrand(loss: sp.Expr, value: sp.Expr, p: sp.Symbol) -> sp.Expr:
    """P'²/S', the integrand of -Ψ: ψ'(s)² when S = p."""
    f = sp.diff(value, p) ** 2 / sp.diff(loss, p)
    return f.replace(
        lambda e: isinstance(e, sp.polylog) and e.args[0] == 1, lambda e: -sp.log(1 - e.args[1])
    )


def primitives(
    loss: sp.Expr, value: sp.Expr, p: sp.Symbol, attempt: Callable[[Callable[[], object]], object]
) -> Iterator[Primitive]:
    """Candidates for Ψ = -∫ P'²/S' dp, cheapest first.

    `loss` is S(p), `value` is P(p) (S = p and P = ψ for a ψ given as a function of the loss).
    `attempt(f)` calls f under a time limit and returns its value, or None if it was stopped or
    failed; the caller checks each candidate and stops the iteration when one holds.
    """
    explicit = loss == p
    f = integrand(loss, value, p)
    u, x = sp.Symbol("u", positive=True), sp.Symbol("x", positive=True)

    def direct(effort: str) -> list[Primitive]:
        return [Primitive(-r, how) for r, how in _integrate(f, p, effort)]

    def logarithmic(effort: str) -> list[Primitive]:
        found = _integrate(_in_logarithm(value, p, x), x, effort)
        return [Primitive(r.subs(x, -sp.log(p)), f"s = exp(-x), {how}") for r, how in found]

    def substituted(unit: sp.Expr, effort: str) -> list[Primitive]:
        found: list[Primitive] = []
        for inverse in simple_inverses(unit, p, u)[:2]:
            s_u, psi_u = (g.subs(unit, u).subs(p, inverse) for g in (loss, value))
            g = integrand(s_u, psi_u, u)
            g = sp.powdenest(sp.powsimp(sp.simplify(g)), force=True)
            for r, how in _integrate(g, u, effort):
                found.append(Primitive(-r.subs(u, unit), f"u = {unit}, {how}"))
        return found

    units: list[sp.Expr] | None = None
    for effort in _PASSES:
        yield from _listed(attempt(partial(direct, effort)))
        if explicit:
            yield from _listed(attempt(partial(logarithmic, effort)))
        if units is None:
            units = _listed(attempt(lambda: _units(sp.simplify(f), p)))
            if explicit and value not in units:
                units.append(value)
        for unit in units:
            yield from _listed(attempt(partial(substituted, unit, effort)))


def _listed(found: object) -> list:  # type: ignore[type-arg]
    return found if isinstance(found, list) else []


def real_form(expr: sp.Expr, v: sp.Symbol, point: sp.Expr) -> sp.Expr:
    """`expr` with log(a) turned into log(-a) where a < 0 at `point`.

    An antiderivative such as log(s - 1) on 0 < s < 1 differs from the real one, log(1 - s), by a
    constant only, because the sign of the argument does not change where the function is regular.
    """
    expr = sp.unpolarify(expr)

    def flip(argument: sp.Expr) -> sp.Expr:
        at = argument.subs(v, point).evalf(15)
        return sp.log(-argument) if at.is_negative else sp.log(argument)

    return expr.replace(sp.log, flip)
