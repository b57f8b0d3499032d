"""Expressions as people read them: LaTeX in the paper's letters, Unicode, plain text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import sympy as sp
from sympy import S
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.inverse import tame_power
from kltheory.symbolic.parse import to_text
from kltheory.symbolic.rate import KAPPA, RateLaw, monomial

_GREEK = dict(
    zip(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho"
        " sigma tau upsilon phi chi psi omega".split(),
        "αβγδεζηθικλμνξοπρστυφχψω",
        strict=True,
    )
)
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True, slots=True)
class Formula:
    """One formula in the three ways in which it is written."""

    text: str
    """In the syntax of the parser."""
    latex: str
    """For LaTeX's mathematical mode."""
    unicode: str
    """One line for a terminal."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A bound as a function of time, or words on how fast something falls."""

    text: str
    """In plain text."""
    latex: str
    """For LaTeX's text mode, with its own $...$."""
    unicode: str
    """For a terminal."""
    closed: bool
    """True for a bound; False for an asymptotic class, which is none."""

    @property
    def formula(self) -> str:
        """A bound for LaTeX's mathematical mode."""
        bare = self.latex.replace("$", "").removeprefix(r"\displaystyle ")
        return bare.replace(_UNTIL, rf"\text{{{_UNTIL}}}")


def formula(expr: sp.Expr | None) -> Formula | None:
    """The formula of an expression; None stays None.

    >>> alpha, s = sp.symbols("alpha s", positive=True)
    >>> formula(s ** (2 * alpha - 1)).unicode
    's^(2α - 1)'
    """
    return None if expr is None else Formula(to_text(expr), latex(expr), unicode(expr))


def latex(expr: sp.Expr) -> str:
    """`expr` for LaTeX's mathematical mode (amsmath for cases).

    >>> print(latex(sp.Symbol("L0") * sp.exp(-4 * sp.Symbol("kappa") * sp.Symbol("t"))))
    L_{0} e^{- 4 \\kappa t}
    """
    text: str = _latex_printer().doprint(expr)
    return text


def unicode(expr: sp.Expr) -> str:
    """`expr` with the letters and signs of formulas, in one line (one line a case if it has cases).

    >>> s = sp.Symbol("s", positive=True)
    >>> unicode(-sp.log(s) / 4 - 2 * sp.sqrt(s) - s**2)
    '-2√s - s² - log(s)/4'
    """
    if isinstance(expr, sp.Piecewise):
        return "\n".join(_unicode_printer().cases(expr))
    text: str = _unicode_printer().doprint(expr)
    return text


@lru_cache(maxsize=1)
def _latex_printer() -> Any:
    class Printer(LatexPrinter):  # type: ignore[misc]
        def _print_Mul(self, expr: Any) -> str:
            rest, root = _one_root(expr)
            if root is None:
                return str(super()._print_Mul(_bare_exponents(expr)))
            name = sp.Dummy(positive=True)
            self._settings["symbol_names"][name] = self._print(root)
            return str(self._print(rest.xreplace({_ROOT: name})))

        def _print_Pow(self, expr: Any) -> str:
            base, exponent = expr.args
            rational = exponent.is_Rational
            if rational and (_huge(exponent) or exponent.q > (3 if exponent > 0 else 2)):
                return f"{self.parenthesize(base, PRECEDENCE['Pow'])}^{{{exponent}}}"
            return str(super()._print_Pow(expr))

        def _print_LambertW(self, expr: Any, exp: Any = None) -> str:
            branch = "" if len(expr.args) == 1 else f"_{{{self._print(expr.args[1])}}}"
            power = "" if exp is None else f"^{{{exp}}}"
            return rf"W{branch}{power}\left({self._print(expr.args[0])}\right)"

        def _print_Piecewise(self, expr: Any) -> str:
            cases = []
            for branch, condition in expr.args:
                when = (
                    r"\text{otherwise}"
                    if condition == S.true
                    else rf"\text{{if }} {self._print(condition)}"
                )
                cases.append(rf"{self._print(branch)}, & {when}")
            return r"\begin{cases} " + r" \\ ".join(cases) + r" \end{cases}"

    return Printer({"fold_frac_powers": True, "long_frac_ratio": 3, "symbol_names": {}})


def _bare_exponents(product: sp.Expr) -> sp.Expr:
    """The product with exponents that are not known to be negative, unless they are numbers.

    SymPy's printer asks of such an exponent whether it is constant, and simplifies it to see; the
    answer, no, changes nothing, but loads a tenth of SymPy that nothing else needs.

    >>> t = sp.Symbol("t", positive=True)
    >>> [f.exp.is_negative for f in _bare_exponents(2 * sp.exp(-t) / t).args if not f.is_number]
    [True, None]
    """
    if not product.is_Mul:  # the printer comes here with powers too
        return product
    factors = []
    for factor in product.args:
        exponent = factor.exp if isinstance(factor, sp.Pow | sp.exp) else S.One
        if exponent.free_symbols and exponent.is_negative:
            bare = {
                q: sp.Symbol(q.name) for q in exponent.free_symbols if not isinstance(q, sp.Dummy)
            }
            factor = factor.func(*factor.args[:-1], exponent.xreplace(bare))
        factors.append(factor)
    return sp.Mul(*factors, evaluate=False)


_ROOT = sp.Symbol("\u221a", positive=True)
"""Stands for the one root that the roots in a product are merged to."""


def _huge(exponent: sp.Expr) -> bool:
    """True for a power that SymPy must not be led to write out."""
    return bool(exponent.is_Rational and abs(exponent) > 64)


def _one_root(product: sp.Expr) -> tuple[sp.Expr, sp.Expr | None]:
    """√a √b c as (√ c, √(ab)), the root not evaluated; None for it if nothing merges.

    >>> s = sp.Symbol("s", positive=True)
    >>> _one_root(3 * sp.sqrt(2) * sp.sqrt(s))
    (3*√, sqrt(2*s))
    >>> _one_root((sp.Rational(12, 5) * s) ** sp.Rational(5, 12))
    (√, (12*s/5)**(5/12))
    """
    for half in (S.Half, -S.Half):
        roots = [f for f in product.args if f.is_Pow and f.exp == half]
        if len(roots) > 1:
            others = [f for f in product.args if f not in roots]
            base = sp.Mul(*[f.base for f in roots])
            return sp.Mul(*others) * _ROOT ** (2 * half), sp.Pow(base, S.Half, evaluate=False)
    return _one_power(product)


def _one_power(product: sp.Expr) -> tuple[sp.Expr, sp.Expr | None]:
    """The numbers in a product as one power of a small fraction, with a symbol of that exponent."""
    roots = [f for f in product.args if f.is_Pow and f.base.is_Rational and f.exp.is_Rational]
    m = math.lcm(*[int(f.exp.q) for f in roots])
    if m < 3 or m > 60:
        return product, None
    coefficient = product.as_coeff_Mul()[0]
    if not coefficient.is_Rational or abs(coefficient.p) + coefficient.q > 10**9:
        return product, None
    size = abs(coefficient) ** m * sp.Mul(*[f.base ** (f.exp * m) for f in roots])
    factors = sp.factorrat(size, limit=1000)
    step = math.gcd(*map(int, factors.values()))
    base = sp.Mul(*[sp.Integer(q) ** (e // step) for q, e in factors.items()])
    if base.p + base.q > 10**6:
        return product, None
    exponent = sp.Rational(step, m)
    if base < 1 and base.p == 1:
        base, exponent = 1 / base, -exponent
    others = [f for f in product.args if f not in roots and f != coefficient]
    same = [f for f in others if f.is_Pow and f.base.is_Symbol and f.exp == exponent]
    others = [f for f in others if f not in same]
    base = sp.Mul(base, *[f.base for f in same])
    merged = sp.Pow(base, exponent, evaluate=False)
    return sp.sign(coefficient) * sp.Mul(*others) * _ROOT, merged


_LETTER = re.compile(r"[^\W\d_][₀-₉]?[⁰¹²³⁴⁵⁶⁷⁸⁹]*")
_NUMBER = re.compile(r"\d+(\.\d+)?")


@lru_cache(maxsize=1)
def _unicode_printer() -> Any:
    class Printer(StrPrinter):  # type: ignore[misc]
        roots: ClassVar[dict[Any, str]] = {}

        def _print_Symbol(self, expr: Any) -> str:
            return _name(expr.name)

        def _print_Dummy(self, expr: Any) -> str:
            return str(self.roots[expr])

        def _print_Pi(self, expr: Any) -> str:
            return "π"

        def _print_Exp1(self, expr: Any) -> str:
            return "e"

        def _print_Infinity(self, expr: Any) -> str:
            return "∞"

        def _print_Pow(self, expr: Any, rational: bool = False) -> str:
            base, exponent = expr.args
            if exponent == S.Half:
                return "√" + self._inside(base)
            if exponent == -S.Half:
                return "1/√" + self._inside(base)
            if exponent == S.NegativeOne:
                return f"1/{self.parenthesize(base, PRECEDENCE['Pow'])}"
            if exponent.is_Integer and exponent < -1 and not _huge(exponent):
                return f"1/{self._print(base**-exponent)}"
            shown: str = self.parenthesize(base, PRECEDENCE["Pow"])
            if exponent.is_Integer and 1 < exponent < 1000:
                return shown + str(exponent).translate(_SUPERSCRIPTS)
            power = self._print(exponent)
            return f"{shown}^{power}" if _LETTER.fullmatch(power) else f"{shown}^({power})"

        def _inside(self, base: Any) -> str:
            shown: str = self._print(base)
            plain = re.fullmatch(r"[^\W\d_][₀-₉]?|\d+", shown)
            return shown if plain else f"({shown})"

        def _print_Mul(self, expr: Any) -> str:
            rest, root = _one_root(expr)
            if root is not None:
                name = sp.Dummy(positive=True)
                self.roots[name] = self._print(root)
                return str(self._print(rest.xreplace({_ROOT: name})))
            number, rest = expr.as_coeff_Mul()
            top: list[str] = []
            bottom: list[str] = []
            if abs(number.p if number.is_Rational else 1) != 1:
                top.append(self._print(S(abs(number.p))))
            if number.is_Rational and number.q != 1:
                bottom.append(self._print(S(number.q)))
            for factor in rest.as_ordered_factors():
                base, exponent = factor.as_base_exp()
                below = exponent.could_extract_minus_sign() and not isinstance(factor, sp.exp)
                below = below and not _huge(exponent)
                shown = base ** (-exponent) if below else factor
                (bottom if below else top).append(
                    self.parenthesize(shown, PRECEDENCE["Mul"], strict=False)
                )
            sign = "-" if number.is_extended_negative else ""
            above = _joined(top) or "1"
            if not bottom:
                return sign + above
            below_text = _joined(bottom)
            single = len(bottom) == 1
            return f"{sign}{above}/{below_text}" if single else f"{sign}{above}/({below_text})"

        def _print_LambertW(self, expr: Any) -> str:
            branch = {0: "₀", -1: "₋₁"}[int(expr.args[1])] if len(expr.args) == 2 else ""
            return f"W{branch}({self._print(expr.args[0])})"

        def _print_Max(self, expr: Any) -> str:
            return f"max({', '.join(map(self._print, expr.args))})"

        def _print_Min(self, expr: Any) -> str:
            return f"min({', '.join(map(self._print, expr.args))})"

        def cases(self, expr: Any) -> list[str]:
            return [
                self._print(branch)
                + (" otherwise" if condition == S.true else f" if {self._print(condition)}")
                for branch, condition in expr.args
            ]

        def _print_Piecewise(self, expr: Any) -> str:
            return f"({'; '.join(self.cases(expr))})"

        def _print_Relational(self, expr: Any) -> str:
            sign = {"==": "=", "<=": "≤", ">=": "≥", "!=": "≠"}.get(expr.rel_op, expr.rel_op)
            return f"{self._print(expr.lhs)} {sign} {self._print(expr.rhs)}"

        def emptyPrinter(self, expr: Any) -> str:
            return to_text(expr)

    return Printer()


def _name(name: str) -> str:
    """A symbol's name with Greek letters and subscripts.

    >>> [_name(n) for n in ("kappa", "L0", "q_min", "p", "alpha1")]
    ['κ', 'L₀', 'q_min', 'p', 'α₁']
    """
    head = re.match(r"([A-Za-z]+)(\d*)$", name)
    if head is None:
        stem, _, rest = name.partition("_")
        return _GREEK.get(stem, stem) + (f"_{rest}" if rest else "")
    return _GREEK.get(head[1], head[1]) + head[2].translate(_SUBSCRIPTS)


def _joined(factors: list[str]) -> str:
    """A product: single letters and roots stand together, everything else gets a dot."""
    text = ""
    last = ""
    for factor in factors:
        close = not last or (
            (_NUMBER.fullmatch(last) and not factor[0].isdigit())
            or (_LETTER.fullmatch(last) and (_LETTER.fullmatch(factor) or factor[0] == "√"))
        )
        text += factor if close else "·" + factor
        last = factor
    return text


# ---------------------------------------------------------------------------------------------
# The law as formulas


@dataclass(frozen=True, slots=True)
class LawFormulas:
    """All formulas of a rate law, written."""

    psi: Formula | None
    """ψ(s); None if ψ is given as a curve."""
    Psi: Formula | None
    """Ψ(s) up to a constant."""
    psi_inverse: Formula | None
    """ψ⁻¹(p)."""
    Psi_inverse: Formula | None
    """Ψ⁻¹(γ)."""
    curve: tuple[str, Formula, Formula, Formula | None] | None
    """The curve's parameter, S, P and Ψ along it, if ψ is given as a curve."""
    radius: Formula
    """r0."""
    order: Formula | None
    """n of a loss of order t^-n."""
    loss_rate: Rate
    """The bound on the loss as a formula in t, or its asymptotic class in words."""
    parameter_rate: Rate
    """The same for ‖θ(t) - θ∞‖."""
    parameters: tuple[str, ...]
    """Parameters of ψ without a value."""


def formulas(law: RateLaw) -> LawFormulas:
    """Everything about the law that is a formula.

    >>> from kltheory.symbolic.rate import derive
    >>> shown = formulas(derive(Desingularizer.from_psi("sqrt(2*s)")))
    >>> shown.loss_rate.text, shown.parameter_rate.text
    ('L0*exp(-2*kappa*t)', 'sqrt(2)*sqrt(L0)*exp(-kappa*t)/sqrt(kappa)')
    """
    d = law.desingularizer
    sampled = d.source.startswith("samples")
    explicit = d.explicit and not sampled
    loss_rate, parameter_rate = _rates(law)
    return LawFormulas(
        formula(d.value) if explicit else None,
        formula(law.Psi) if explicit else None,
        formula(psi_inverse(law)),
        formula(law.Psi_inverse) if explicit else None,
        None
        if d.explicit
        else (unicode(d.symbol), _known(d.loss), _known(d.value), formula(law.Psi)),
        _known(d.radius),
        formula(law.regime.order),
        loss_rate,
        parameter_rate,
        tuple(q.name for q in d.parameters),
    )


def _known(expr: sp.Expr) -> Formula:
    return Formula(to_text(expr), latex(expr), unicode(expr))


def psi_inverse(law: RateLaw) -> sp.Expr | None:
    """ψ⁻¹(p); the law of a curve has the parameter of the curve there, and S gives the loss."""
    d = law.desingularizer
    if d.explicit or law.psi_inverse is None:
        return law.psi_inverse
    return d.loss.subs(d.symbol, law.psi_inverse)


def _rates(law: RateLaw) -> tuple[Rate, Rate]:
    """Closed forms where the loss bound has one, else the class in words."""
    bound = law.loss_bound
    if bound is None or bound.count_ops() > 60:
        return _in_words(law)
    tail = ""
    if law.regime.loss == "finite-time" and not bound.has(sp.Max):
        tail = _UNTIL
    return _bound(bound, tail), _bound(parameter_bound(law), tail)


_UNTIL = " until the loss is extinct, then 0"


def _bound(expr: sp.Expr, tail: str) -> Rate:
    shown = _known(expr)
    return Rate(
        shown.text + tail, f"$\\displaystyle {shown.latex}${tail}", shown.unicode + tail, True
    )


def parameter_bound(law: RateLaw) -> sp.Expr:
    """ψ(V(t))/√κ for the closed bound V of the law, in every case of a piecewise one."""
    d, bound = law.desingularizer, law.loss_bound
    if bound is None:
        raise ValueError("the law has no closed bound on the loss")
    power = monomial(d)

    def of(v: sp.Expr, alpha: sp.Expr | None) -> sp.Expr:
        if power is None:
            return _composed(d, v) / sp.sqrt(KAPPA)
        return power[0] * _power(v, alpha) / sp.sqrt(KAPPA)

    alpha = None if power is None else power[1]
    if not isinstance(bound, sp.Piecewise):
        return of(bound, alpha)
    half = sp.Rational(1, 2)
    cases = [
        (of(v, half if alpha is not None and c == sp.Eq(alpha, half) else alpha), c)
        for v, c in bound.args
    ]
    return sp.Piecewise(*cases)


def _composed(d: Desingularizer, v: sp.Expr) -> sp.Expr:
    """ψ(v); for v = e^u with a real u, so that its roots and logarithms are written in u."""
    if not isinstance(v, sp.exp):
        return d.value.subs(d.symbol, v)
    u = sp.Dummy(real=True)
    return d.value.subs(d.symbol, sp.exp(u)).subs(u, v.args[0])


def _power(v: sp.Expr, alpha: sp.Expr) -> sp.Expr:
    """v^α with the exponents of a power or an exponential multiplied."""
    result = S.One
    for factor in sp.Mul.make_args(v):
        base, exponent = factor.as_base_exp()
        power = exponent * alpha
        result *= tame_power(base, sp.simplify(power) if alpha.free_symbols else power)
    return result


def _in_words(law: RateLaw) -> tuple[Rate, Rate]:
    """The asymptotic class of the loss and of the parameters, never a bound."""
    r = law.regime
    t, a, n = (sp.Symbol(q, positive=True) for q in ("t", "lambda", "n"))
    match r.loss:
        case "finite-time":
            loss = _class("0 after a finite time")(None)
        case "double-exponential":
            loss = _class("like ", " for some λ > 0")(sp.exp(-sp.exp(a * t)))
        case "super-exponential" | "stretched-exponential" if r.exponent not in (None, 1):
            loss = _class("roughly ", " for some λ > 0")(sp.exp(-a * t**r.exponent))
        case "super-exponential":
            loss = _class("faster than ", " for every λ")(sp.exp(-a * t))
        case "stretched-exponential":
            loss = _class("slower than ", " for every λ > 0")(sp.exp(-a * t))
        case "exponential" if r.limit is not None:
            rough = _class("roughly ", ", up to factors that change more slowly")
            speed = KAPPA * t / r.limit
            return rough(sp.exp(-speed)), rough(sp.exp(-speed / 2) / sp.sqrt(KAPPA))
        case "quasi-polynomial":
            loss = _class("faster than ", " for every n")(t**-n)
        case "polynomial":
            power = _class("", " up to factors that change more slowly than any power of t")
            slow = _class("logarithmic: slower than every power of 1/t")(None)
            error = slow if r.parameter_order is None else power(t**-r.parameter_order)
            return (power(t**-r.order) if r.order is not None else slow), error
        case _:
            loss = _class(f"{r.loss}: {r.reason}")(None)
    return loss, loss


def _class(lead: str, tail: str = "") -> Callable[[sp.Expr | None], Rate]:
    """Words around a formula; not a bound."""

    def rate(expr: sp.Expr | None) -> Rate:
        if expr is None:
            return Rate(lead, lead, lead, False)
        shown = _known(expr)
        return Rate(
            f"{lead}{shown.text}{tail}",
            f"{lead}${shown.latex}${tail}",
            f"{lead}{shown.unicode}{tail}",
            False,
        )

    return rate


def law_latex(law: RateLaw) -> str:
    """ψ, Ψ, Ψ⁻¹ and the rate as one formula between dollars, for a notebook.

    >>> from kltheory.symbolic.rate import derive
    >>> print(law_latex(derive(Desingularizer.from_psi("s"))))
    $\\displaystyle \\begin{aligned} \\psi(s) &= s \\\\ ... \\end{aligned}$
    """
    shown = formulas(law)
    lines = [
        lead + formula.latex
        for lead, formula in (
            (r"\psi(s) &= ", shown.psi),
            (r"\Psi(s) &= ", shown.Psi),
            (r"\Psi^{-1}(\gamma) &= ", shown.Psi_inverse),
        )
        if formula is not None
    ]
    if shown.curve is not None:
        lines += [rf"s &= {shown.curve[1].latex}", rf"\psi &= {shown.curve[2].latex}"]
    if shown.loss_rate.closed:
        lines.append(rf"\mathcal L_y(y(t)) &\le {shown.loss_rate.formula}")
    body = r" \\ ".join(lines) or rf"\text{{{law.desingularizer.source}}}"
    return rf"$\displaystyle \begin{{aligned}} {body} \end{{aligned}}$"


__all__ = [
    "Formula",
    "LawFormulas",
    "Rate",
    "formula",
    "formulas",
    "latex",
    "law_latex",
    "parameter_bound",
    "psi_inverse",
    "unicode",
]
