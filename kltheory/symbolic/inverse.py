"""Closed inverses of monotone functions: peeling, rational equations, Lambert's W.

Each function proposes real candidates for v with f(v) = u; the caller chooses the branch by
evaluating them (`kltheory.symbolic.rate`).  Nothing here calls `solve` on a transcendental
equation: it would hang or return branches that violate their own assumptions.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp
from sympy import S

_TWIN = {
    sp.log: sp.exp,
    sp.exp: sp.log,
    sp.sinh: sp.asinh,
    sp.asinh: sp.sinh,
    sp.tanh: sp.atanh,
    sp.atanh: sp.tanh,
    sp.cosh: sp.acosh,
    sp.acosh: sp.cosh,
    sp.sin: sp.asin,
    sp.asin: sp.sin,
    sp.cos: sp.acos,
    sp.acos: sp.cos,
    sp.tan: sp.atan,
    sp.atan: sp.tan,
    sp.erf: sp.erfinv,
    sp.erfinv: sp.erf,
    sp.erfc: sp.erfcinv,
}


def tame_power(y: sp.Expr, n: sp.Expr) -> sp.Expr:
    """y^n; unevaluated for a large n, because SymPy would write out the digits of c^n."""
    return sp.Pow(y, n, evaluate=not (n.is_Rational and max(abs(n.p), n.q) > 64))


def peel(f: sp.Expr, v: sp.Symbol, u: sp.Expr) -> list[sp.Expr]:
    """Real candidates for v with f(v) = u when v stands in one place of f, else an empty list.

    >>> s, u = sp.symbols("s u", positive=True)
    >>> peel(sp.log(1 + sp.sqrt(s)), s, u)
    [(exp(u) - 1)**2]
    """
    found: list[sp.Expr] = []
    todo: list[tuple[sp.Expr, sp.Expr]] = [(f, u)]
    while todo:
        g, y = todo.pop()
        if g == v:
            found.append(y)
            continue
        if g.is_Add or g.is_Mul:
            fixed, moving = g.as_independent(v, as_Add=bool(g.is_Add))
            if moving.func is g.func:
                return []
            todo.append((moving, y - fixed if g.is_Add else y / fixed))
        elif isinstance(g, sp.LambertW):
            todo.append((g.args[0], y * sp.exp(y)))
        elif g.func in _TWIN:
            todo.append((g.args[0], _TWIN[g.func](y)))
        elif g.is_Pow and not g.exp.has(v):
            if (g.exp.is_Integer and g.exp % 2 == 0) or not g.exp.is_Rational:
                todo += [(g.base, -(y ** (1 / g.exp))), (g.base, y ** (1 / g.exp))]
            elif g.exp.is_Integer and abs(g.exp) > 1:
                todo += [(g.base, -((-y) ** (1 / g.exp))), (g.base, y ** (1 / g.exp))]
            else:
                todo.append((g.base, tame_power(y, 1 / g.exp)))
        elif g.is_Pow and not g.base.has(v):
            todo.append((g.exp, sp.log(y) / sp.log(g.base)))
        else:
            return []
    return found


def _root_unit(f: sp.Expr, v: sp.Symbol) -> tuple[sp.Expr, sp.Symbol, sp.Integer]:
    """f with v = r^q, where q clears the rational exponents of v."""
    q = S.One
    for power in f.atoms(sp.Pow):
        if power.base == v and power.exp.is_Rational:
            q = sp.ilcm(q, power.exp.q)
    r = sp.Symbol("r", positive=True)
    return sp.powdenest(f.subs(v, r**q), force=True), r, sp.Integer(q)


def _polynomial(f: sp.Expr, v: sp.Symbol, u: sp.Expr) -> list[sp.Expr]:
    """Candidates for a rational equation f(v) = u of degree one or two, or a decomposable one."""
    top, bottom = sp.fraction(sp.together(f))
    if not (top.is_polynomial(v) and bottom.is_polynomial(v)):
        return []
    equation = sp.Poly(sp.expand(top - u * bottom), v)
    if equation.degree() == 1:
        b, a = equation.all_coeffs()
        return [sp.cancel(-a / b)]
    if equation.degree() == 2:
        a, b, c = equation.all_coeffs()
        root = sp.sqrt(sp.factor(sp.cancel((b**2 - 4 * a * c) / (4 * a**2))))
        return [sp.cancel(-b / (2 * a)) + root, sp.cancel(-b / (2 * a)) - root]
    if bottom.has(v) or not 3 <= sp.degree(top, v) <= 8:
        return []
    return _shifted_power(sp.expand(f), v, u)


def _shifted_power(f: sp.Expr, v: sp.Symbol, u: sp.Expr) -> list[sp.Expr]:
    """Candidates for a (v + b)^n + c = u, recognised by its derivative a n (v + b)^(n-1)."""
    n = sp.degree(f, v)
    leading = sp.Poly(f, v).LC()
    b = sp.Poly(f, v).coeff_monomial(v ** (n - 1)) / (n * leading)
    c = sp.expand(f - leading * (v + b) ** n)
    if c.has(v):
        return []
    y = (u - c) / leading
    roots = [y ** (S.One / n), -((-y) ** (S.One / n))] if n % 2 else [y ** (S.One / n)]
    roots += [-(y ** (S.One / n))] if n % 2 == 0 else []
    return [root - b for root in roots]


def simple_inverses(f: sp.Expr, v: sp.Symbol, u: sp.Expr) -> list[sp.Expr]:
    """Real candidates for v with f(v) = u that need no unit but a root of v or an exponential.

    >>> s, u = sp.symbols("s u", positive=True)
    >>> simple_inverses(s / (1 + s), s, u)
    [-u/(u - 1)]
    """
    found = peel(f, v, u)
    if found:
        return found
    g, r, q = _root_unit(f, v)
    found = [y**q for y in _polynomial(g, r, u)]
    if found:
        return found
    rates = {e.args[0] / v for e in f.atoms(sp.exp) if (e.args[0] / v).is_Rational}
    if rates:
        step = S.One / sp.ilcm(1, *[rate.q for rate in rates])
        if all((rate / step).is_Integer for rate in rates):
            e = sp.Symbol("r", positive=True)  # e = exp(step v)
            g = sp.expand_power_exp(f).subs(v, sp.log(e) / step)
            found = [sp.log(y) / step for y in _polynomial(sp.simplify(g), e, u)]
    return found


def _one_logarithm(f: sp.Expr, v: sp.Symbol) -> tuple[sp.Expr, sp.Expr, sp.Expr] | None:
    """f as a log(R) + rest, with the logarithms of v gathered in one, or None.

    >>> s = sp.Symbol("s", positive=True)
    >>> _one_logarithm(sp.log(s + 1) / 4 - sp.log(s) / 4 + 3, s)
    (1/4, (s + 1)/s, 3)
    """
    rest, parts = S.Zero, []
    for term in sp.Add.make_args(sp.expand(sp.expand_log(f, force=True))):
        coefficient, moving = term.as_independent(v, as_Add=False)
        if isinstance(moving, sp.log):
            parts.append((coefficient, moving.args[0]))
        else:
            rest += term
    if not parts:
        return None
    a = parts[0][0]
    if not all((c / a).is_Rational for c, _ in parts):
        return None
    step = S.One / sp.ilcm(1, *[(c / a).q for c, _ in parts])
    powers = [c / a / step for c, _ in parts]
    step *= (unit := sp.igcd(0, *powers))
    ratio = sp.Mul(*[g ** (n / unit) for (_, g), n in zip(parts, powers, strict=True)])
    step *= a
    if step.is_negative:
        step, ratio = -step, 1 / ratio
    return step, sp.factor(sp.simplify(ratio)), rest


def _log_units(f: sp.Expr, v: sp.Symbol) -> list[sp.Expr]:
    """Units z(v) in which f may be A log z + B z^n + C."""
    arguments = [a.args[0] for a in f.atoms(sp.log) if a.has(v)]
    units = [a for a in sorted(arguments, key=sp.default_sort_key) if a != v]
    combined = _one_logarithm(f, v)
    if combined is not None:
        ratio = combined[1]
        factors = [g.as_base_exp() for g in sp.Mul.make_args(ratio) if g.has(v)]
        if all(n.is_Integer for _, n in factors):
            common = sp.igcd(0, *[n for _, n in factors]) or S.One
            ratio = sp.Mul(*[g ** (n / common) for g, n in factors])
        units += [ratio, 1 / ratio]
    units += [sp.exp(-v), v]
    return list(dict.fromkeys(units))


def _lambert(f: sp.Expr, z: sp.Symbol, u: sp.Expr) -> list[sp.Expr]:
    """Candidates for A log z + B z^n + C = u: z^n = W(nβ e^{nh})/(nβ), h = (u - C)/A, β = B/A."""
    f = sp.expand(sp.expand_log(f, force=True))
    a, b, c, n = S.Zero, S.Zero, S.Zero, S.One
    for term in sp.Add.make_args(f):
        coefficient, rest = term.as_independent(z, as_Add=False)
        base, exponent = rest.as_base_exp()
        if rest == 1:
            c += coefficient
        elif rest == sp.log(z):
            a += coefficient
        elif base == z and exponent.is_number and (b == 0 or exponent == n):
            b, n = b + coefficient, exponent
        else:
            return []
    if a == 0 or b == 0:
        return []
    beta = n * b / a
    w = beta * sp.exp(n * (u - c) / a)
    branches = [sp.LambertW(w)] + ([sp.LambertW(w, -1)] if beta.is_negative else [])
    return [(branch / beta) ** (1 / n) for branch in branches]


def inverses(f: sp.Expr, v: sp.Symbol, u: sp.Expr, depth: int = 2) -> Iterator[sp.Expr]:
    """Candidates for the inverse function of f: v as an expression in u, simplest first.

    >>> s, u = sp.symbols("s u", positive=True)
    >>> next(inverses(-sp.log(s) / 4, s, u))
    exp(-4*u)
    """
    yield from simple_inverses(f, v, u)
    g, r, q = _root_unit(f, v)
    if q != 1:
        for candidate in inverses(sp.expand_log(g, force=True), r, u, depth):
            yield candidate**q
        return
    if (factored := sp.factor(f)) != f:
        yield from simple_inverses(factored, v, u)
    combined = _one_logarithm(f, v)
    if combined is not None and not combined[2].has(v):
        yield from simple_inverses(combined[1], v, sp.exp((u - combined[2]) / combined[0]))
    z = sp.Symbol(f"z{depth}", positive=True)
    yield from _in_logarithm(f, v, u, z)
    atoms = sorted(f.atoms(sp.Function), key=sp.default_sort_key) if depth else []
    for atom in atoms:
        for kernel in (atom, -atom):
            in_z = f.subs(atom, z if kernel == atom else -z)
            if atom.has(v) and not in_z.has(v) and in_z != z:
                for candidate in inverses(in_z, z, u, depth - 1):
                    yield from simple_inverses(kernel, v, candidate)
    for unit in _log_units(f, v):
        for back in simple_inverses(unit, v, z)[:2]:
            in_z = sp.simplify(sp.expand_log(sp.simplify(f.subs(v, back)), force=True))
            for candidate in _lambert(in_z, z, u):
                yield back.subs(z, candidate)


def _in_logarithm(f: sp.Expr, v: sp.Symbol, u: sp.Expr, z: sp.Symbol) -> Iterator[sp.Expr]:
    """Candidates for an f that depends on v through z = -log v only, as v = e^{-z}."""
    in_z = sp.expand(sp.expand_log(f, force=True)).subs(sp.log(v), -z)
    if in_z.has(v):
        return
    for candidate in simple_inverses(in_z, z, u):
        yield sp.exp(-candidate)
    for candidate in simple_inverses(sp.expand(in_z.subs(z, 1 / z)), z, u):
        yield sp.exp(-1 / candidate)
