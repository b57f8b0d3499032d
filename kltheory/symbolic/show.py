"""Expressions as people read them: LaTeX in the paper's letters, one line of Unicode, plain text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy as sp
from sympy import S
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.parse import to_text
from kltheory.symbolic.rate import PSI_VALUE, RateLaw

_GREEK = dict(
    zip(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma"
        " tau upsilon phi chi psi omega".split(),
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
    '-s² - 2√s - log(s)/4'
    """
    if isinstance(expr, sp.Piecewise):
        return "\n".join(_unicode_printer().cases(expr))
    text: str = _unicode_printer().doprint(expr)
    return text


@lru_cache(maxsize=1)
def _latex_printer() -> Any:
    class Printer(LatexPrinter):  # type: ignore[misc]
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

    return Printer({"fold_short_frac": False, "ln_notation": False, "long_frac_ratio": 3})


_LETTER = re.compile(r"[^\W\d_][₀-₉]?[⁰¹²³⁴⁵⁶⁷⁸⁹]*")
_NUMBER = re.compile(r"\d+(\.\d+)?")


@lru_cache(maxsize=1)
def _unicode_printer() -> Any:
    class Printer(StrPrinter):  # type: ignore[misc]
        def _print_Symbol(self, expr: Any) -> str:
            return _name(expr.name)

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
                return "1/" + self.parenthesize(base, PRECEDENCE["Pow"])
            shown = self.parenthesize(base, PRECEDENCE["Pow"])
            if exponent.is_Integer and 1 < exponent < 1000:
                return shown + str(exponent).translate(_SUPERSCRIPTS)
            power = self._print(exponent)
            return f"{shown}^{power}" if _LETTER.fullmatch(power) else f"{shown}^({power})"

        def _inside(self, base: Any) -> str:
            shown: str = self._print(base)
            plain = _LETTER.fullmatch(shown) or _NUMBER.fullmatch(shown)
            return shown if plain else f"({shown})"

        def _print_Mul(self, expr: Any) -> str:
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

        def emptyPrinter(self, expr: Any) -> str:  # noqa: N802 - SymPy's name
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
    loss_rate: Formula | str
    """The bound on the loss as a formula in t, or its asymptotic class in words."""
    parameter_rate: Formula | str
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
    explicit = d.explicit
    loss_rate, parameter_rate = _rates(law)
    return LawFormulas(
        formula(d.value) if explicit else None,
        formula(law.Psi) if explicit else None,
        formula(_psi_inverse(law)),
        formula(law.Psi_inverse) if explicit else None,
        None
        if explicit
        else (unicode(d.symbol), _known(d.loss), _known(d.value), formula(law.Psi)),
        _known(d.radius),
        formula(law.regime.order),
        loss_rate,
        parameter_rate,
        tuple(q.name for q in d.parameters),
    )


def _known(expr: sp.Expr) -> Formula:
    return Formula(to_text(expr), latex(expr), unicode(expr))


def _psi_inverse(law: RateLaw) -> sp.Expr | None:
    """ψ⁻¹(p): for a curve with ψ = its parameter it is S itself."""
    d = law.desingularizer
    if d.explicit:
        return law.psi_inverse
    return d.loss.subs(d.symbol, PSI_VALUE) if d.value == d.symbol else None


def _rates(law: RateLaw) -> tuple[Formula | str, Formula | str]:
    """Closed forms where the loss bound has one and holds for all t, else words."""
    bound = law.loss_bound
    if bound is not None and bound.count_ops() <= 60 and _for_all_times(law):
        d = law.desingularizer
        error = _parameters_from(bound, d)
        return _known(bound), _known(error)
    return _in_words(law)


def _for_all_times(law: RateLaw) -> bool:
    """False where the formula ends at the extinction time and says so nowhere."""
    return law.regime.loss != "finite-time" or bool(law.loss_bound.has(sp.Max))


def _parameters_from(bound: sp.Expr, d: Desingularizer) -> sp.Expr:
    """ψ(bound)/√κ, in every case of a piecewise bound."""
    from kltheory.symbolic.rate import KAPPA, monomial

    power = monomial(d)

    def of(v: sp.Expr) -> sp.Expr:
        if power is None:
            return d.value.subs(d.symbol, v) / sp.sqrt(KAPPA)
        c, alpha = power
        return c * _power(v, alpha) / sp.sqrt(KAPPA)

    if isinstance(bound, sp.Piecewise):
        half = sp.Rational(1, 2)
        return sp.Piecewise(
            *(
                (of(v).subs(power[1], half) if power and c == sp.Eq(power[1], half) else of(v), c)
                for v, c in bound.args
            )
        )
    return of(bound)


def _power(v: sp.Expr, alpha: sp.Expr) -> sp.Expr:
    """v^α with the exponents of a power or an exponential multiplied."""
    result = S.One
    for factor in sp.Mul.make_args(v):
        base, exponent = factor.as_base_exp()
        result *= base ** sp.simplify(exponent * alpha)
    return result


def _in_words(law: RateLaw) -> tuple[str, str]:
    """The asymptotic class of the loss and of the parameters, never a bound."""
    r = law.regime
    if r.loss == "undetermined":
        return (f"not determined: {r.reason}",) * 2
    words: dict[str, Callable[[], tuple[str, str]]] = {
        "finite-time": lambda: ("0 after a finite time",) * 2,
        "double-exponential": lambda: ("like exp(-exp(a*t)) for some a > 0",) * 2,
        "super-exponential": lambda: _stretched(r.exponent, "faster than exp(-a*t) for every a"),
        "stretched-exponential": lambda: _stretched(
            r.exponent, "slower than exp(-a*t) for every a"
        ),
        "exponential": lambda: _exponential(r.limit),
        "quasi-polynomial": lambda: (
            ("faster than t**(-n) for every n, slower than exp(-t**a) for every a > 0",) * 2
        ),
        "polynomial": lambda: _polynomial(r.order, r.parameter_order, r.parameters),
    }
    return words[r.loss]()


def _stretched(exponent: sp.Expr | None, rest: str) -> tuple[str, str]:
    if exponent is None or exponent == 1:
        return rest, rest
    return (f"roughly exp(-a*t**({to_text(exponent)})) for some a > 0",) * 2


def _exponential(limit: sp.Expr | None) -> tuple[str, str]:
    if limit is None:
        return ("exponential",) * 2
    t = sp.Symbol("t")
    kappa = sp.Symbol("kappa")
    loss, parameters = (to_text(sp.exp(-kappa * t / (k * limit))) for k in (1, 2))
    return (
        f"roughly {loss}, up to factors that change more slowly",
        f"roughly {parameters}/sqrt(kappa), up to factors that change more slowly",
    )


def _polynomial(
    order: sp.Expr | None, parameter_order: sp.Expr | None, name: str
) -> tuple[str, str]:
    def power(n: sp.Expr | None) -> str:
        if n is None:
            return "polynomial in 1/t"
        return f"t**(-{to_text(n)}) up to factors that change more slowly than any power of t"

    if name == "logarithmic":
        return power(order), "logarithmic: slower than every power of 1/t"
    return power(order), power(parameter_order)


__all__ = ["Formula", "LawFormulas", "formula", "formulas", "latex", "unicode"]
