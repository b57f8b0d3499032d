"""How the rate follows from ψ, step by step; each step is checked by machine when it is made.

The checks do not use the algebra that they check: slopes are compared with difference quotients,
primitives with quadrature, inverses by going there and back, all at high precision at points that
spread over the domain.  A step that fails raises, and is never shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import mpmath
import sympy as sp
from sympy import S

from kltheory.errors import LimitReached
from kltheory.symbolic.desingularizer import Desingularizer, Piece, samples_inside
from kltheory.symbolic.evaluate import EvaluationError, compile_expr
from kltheory.symbolic.parse import to_text
from kltheory.symbolic.primitive import integrand
from kltheory.symbolic.rate import GAMMA, KAPPA, LOSS0, PSI_VALUE, TIME, RateLaw, monomial
from kltheory.symbolic.show import formulas, latex, parameter_bound, psi_inverse, unicode
from kltheory.symbolic.verify import inverse_holds, primitive_holds

_PRECISION = 240
_STEP = mpmath.mpf("1e-20")
"""Relative step of a difference quotient; its own error is of the order of the square."""
_CLOSE = mpmath.mpf("1e-20")
_LARGEST = 64
"""Largest exponent in an inverse that is written out."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a derivation."""

    title: str
    """What the step does."""
    why: str
    """Why it is allowed, in words."""
    latex: str
    """The statement, for LaTeX's mathematical mode."""
    text: str
    """The statement in plain text."""
    unicode: str
    """The statement for a terminal."""
    check: str
    """What was verified when the step was made, and how."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """The steps from ψ to the bounds."""

    steps: tuple[Step, ...]
    """In order; each was verified."""


class StepFailed(RuntimeError):
    """A step did not survive its check: a fault of the program, not of the input."""


@dataclass(frozen=True, slots=True)
class _Case:
    """Values of the parameters, and points p of the curve at which statements are checked."""

    values: dict[sp.Symbol, sp.Expr]
    points: list[sp.Expr]


def derive_steps(law: RateLaw) -> Derivation:
    """The derivation of Theorem 3.2 (i) for this ψ, each step checked.

    Raises `StepFailed` if a statement of the law does not hold, and `LimitReached` if one cannot be
    checked.

    >>> from kltheory.symbolic.rate import derive
    >>> steps = derive_steps(derive(Desingularizer.from_psi("sqrt(2*s)"))).steps
    >>> print(steps[1].text, "|", steps[1].check)
    psi'(s) = sqrt(2)/(2*sqrt(s)) | difference quotients at 5 points, to 1e-20
    """
    try:
        return Derivation(tuple(_steps(_readable(law))))
    except (EvaluationError, mpmath.libmp.NoConvergence) as error:
        raise LimitReached(
            f"a step could not be checked to 20 digits ({error}); leave out the derivation"
        ) from error


def _readable(law: RateLaw) -> RateLaw:
    """The law without an inverse of Ψ that has enormous exponents (α = 0.4999999).

    SymPy writes out all digits of such a power of a number as soon as anything is put into it.
    """
    if law.Psi_inverse is None or not any(
        q.exp.is_Rational and abs(q.exp) > _LARGEST for q in law.Psi_inverse.atoms(sp.Pow)
    ):
        return law
    return replace(law, Psi_inverse=None, loss_bound=None)


def _steps(law: RateLaw) -> list[Step]:
    d, cases = law.desingularizer, _cases(law)
    steps = [_psi(d, cases), *_slopes(d, cases), _substitution(d, cases)]
    steps.append(_primitive(law, cases))
    steps.append(_gradient_flow(d, cases))
    steps.append(_inverse(law, cases))
    steps.append(_loss(law, cases))
    steps.append(_parameters(law, cases))
    steps.append(_stopping(law, cases))
    if law.regime.loss == "finite-time":
        steps.append(_extinction(law))
    return steps


def _cases(law: RateLaw) -> list[_Case]:
    """Sample values of the parameters; for a symbolic exponent one on each side of 1/2 and 1/2."""
    d = law.desingularizer
    points = list(samples_inside(d))
    sample = {q: sp.Rational(3 + i, 7 + 2 * i) for i, q in enumerate(d.parameters)}
    power = monomial(d)
    if power is not None and power[1].is_Symbol:
        exponents = [sp.Rational(k, 4) for k in (1, 2, 3)]
        return [_Case({**sample, power[1]: e}, points) for e in exponents]
    return [_Case(sample, points)]


def _where(cases: list[_Case]) -> str:
    """ "5 points", with the sample values of the parameters if there are any."""
    if not cases[0].values:
        return f"{len(cases[0].points)} points"
    given = " and ".join(
        "(" + ", ".join(f"{q} = {v}" for q, v in case.values.items()) + ")" for case in cases
    )
    return f"{len(cases[0].points)} points for {given}"


def _context() -> Any:
    ctx = mpmath.MPContext()
    ctx.prec = _PRECISION
    return ctx


def _number(ctx: Any, q: sp.Expr) -> Any:
    value = sp.sympify(q)
    return ctx.mpf(int(value.p)) / int(value.q)


def _require(holds: bool, step: str) -> None:
    if not holds:
        raise StepFailed(f"the step {step!r} of the derivation does not hold; please report this ψ")


def _have(expr: sp.Expr | None) -> sp.Expr:
    """An expression that is there."""
    if expr is None:
        raise StepFailed("a closed form is missing")
    return expr


def _agree(ctx: Any, a: Any, b: Any) -> bool:
    return bool(abs(a - b) <= _CLOSE * abs(b))


def _everywhere(
    cases: list[_Case], step: str, test: Callable[[Any, dict[sp.Symbol, sp.Expr], Any], bool]
) -> None:
    """Require `test(ctx, values, p)` at every point of every case."""
    ctx = _context()
    for case in cases:
        for point in case.points:
            _require(test(ctx, case.values, _number(ctx, point)), step)


def _slope(ctx: Any, program: Any, p: Any) -> Any:
    """The difference quotient of a program."""
    h = p * _STEP
    return (program(ctx, p + h) - program(ctx, p - h)) / (2 * h)


def _known(label: str, expr: sp.Expr, label_latex: str, label_unicode: str) -> tuple[str, str, str]:
    """Label = formula, for LaTeX, text and Unicode."""
    shown = unicode(expr).replace("\n", "; ")
    return (
        f"{label_latex} = {latex(expr)}",
        f"{label} = {to_text(expr)}",
        f"{label_unicode} = {shown}",
    )


# ---------------------------------------------------------------------------------------------
# ψ and its slope


def _psi(d: Desingularizer, cases: list[_Case]) -> Step:
    def grows(ctx: Any, values: dict[sp.Symbol, sp.Expr], p: Any) -> bool:
        ends = [
            [compile_expr(e.subs(values), d.symbol)(ctx, q) for q in (p / 2, p)]
            for e in (d.loss, d.value)
        ]
        return all(0 < low < high for low, high in ends)

    _everywhere(cases, "ψ increases from 0", grows)
    checks = "; ".join(f"{check.what}: {check.how}" for check in d.checks)
    if d.explicit:
        statement = _known("psi(s)", d.value, r"\psi(s)", "ψ(s)")
        why = "ψ(0) = 0 and ψ' > 0 on ]0, r0[, so that ψ'(L)‖∇L‖ >= 1 bounds the loss (A-2)"
    else:
        name = d.symbol.name
        statement = (
            rf"s = {latex(d.loss)},\quad \psi = {latex(d.value)},\quad {latex(d.symbol)} > 0",
            f"s = {to_text(d.loss)}, psi = {to_text(d.value)}, {name} > 0",
            f"s = {unicode(d.loss)}, ψ = {unicode(d.value)}, {unicode(d.symbol)} > 0",
        )
        why = "ψ as a curve: no inverse function is needed"
    return Step("the desingularizing function", why, *statement, checks)


def _slopes(d: Desingularizer, cases: list[_Case]) -> tuple[Step, Step]:
    slope = sp.simplify(d.derivative)
    square = sp.simplify(slope**2)

    def right(expr: sp.Expr, power: int) -> Callable[[Any, dict[sp.Symbol, sp.Expr], Any], bool]:
        def test(ctx: Any, values: dict[sp.Symbol, sp.Expr], p: Any) -> bool:
            rise, run = (
                _slope(ctx, compile_expr(e.subs(values), d.symbol), p) for e in (d.value, d.loss)
            )
            found = compile_expr(expr.subs(values), d.symbol)(ctx, p)
            return _agree(ctx, found, (rise / run) ** power)

        return test

    _everywhere(cases, "ψ'", right(slope, 1))
    _everywhere(cases, "ψ'²", right(square, 2))
    how = f"difference quotients at {_where(cases)}, to 1e-20"
    argument = "s" if d.explicit else d.symbol.name
    first = "differentiated" if d.explicit else "ψ' = (dψ/dp)/(ds/dp) along the curve"
    return (
        Step(
            "its slope",
            first,
            *_known(f"psi'({argument})", slope, rf"\psi'({argument})", f"ψ'({argument})"),
            how,
        ),
        Step(
            "squared",
            "the rate depends on ψ through ψ'² alone",
            *_known(f"psi'({argument})^2", square, rf"\psi'({argument})^2", f"ψ'({argument})²"),
            how,
        ),
    )


def _substitution(d: Desingularizer, cases: list[_Case]) -> Step:
    """∫ ψ'² ds = ∫ s ψ'² dx with s = e^{-x}; along a curve ∫ P'²/S' dp."""
    p = d.symbol
    f = integrand(d.loss, d.value, p)
    weight = sp.simplify(p * f)
    name = "the integral in x = -log s" if d.explicit else "the integral along the curve"
    ctx = _context()
    ctx.prec = 120
    for case in cases:
        a, b = (_number(ctx, q) for q in case.points[2:4])
        knots = [_limit(ctx, q.upper.subs(case.values)) for q in d.pieces[:-1]]
        path = [a, *(k for k in knots if a < k < b), b]
        plain = compile_expr(f.subs(case.values), p)
        heavy = compile_expr(weight.subs(case.values), p)
        left = ctx.quad(lambda q, g=plain: g(ctx, q), path)
        right = ctx.quad(lambda x, g=heavy: g(ctx, ctx.exp(-x)), [-ctx.log(q) for q in path])
        _require(abs(left + right) <= ctx.mpf("1e-15") * abs(left), name)
    ends = f"{cases[0].points[2]} and {cases[0].points[3]}"
    how = f"both integrals by quadrature between {ends}, to 1e-15"
    if d.explicit:
        return Step(
            name,
            "s = exp(-x) turns the singularity at 0 into a tail, where numbers keep their digits",
            rf"\int \psi'(s)^2\,ds = -\int w\,dx,\quad w = s\,\psi'(s)^2 = {latex(weight)}",
            f"int psi'(s)^2 ds = - int w dx with w = s psi'(s)^2 = {to_text(weight)}",
            f"∫ ψ'(s)² ds = -∫ w dx with w = s·ψ'(s)² = {_line(weight)}",
            how,
        )
    shown = sp.simplify(f)
    q = latex(p)
    return Step(
        name,
        "s = S(p), ψ = P(p): ψ'² ds = (P')²/S' dp",
        rf"\int \psi'^2\,ds = \int {latex(shown)}\,d{q}",
        f"int psi'^2 ds = int {to_text(shown)} d{p.name}",
        f"∫ ψ'² ds = ∫ {_line(shown)} d{p.name}",
        how,
    )


def _line(expr: sp.Expr) -> str:
    return unicode(expr).replace("\n", "; ")


def _limit(ctx: Any, expr: sp.Expr) -> Any:
    return ctx.mpf(str(expr.evalf(40)))


# ---------------------------------------------------------------------------------------------
# Ψ


def _primitive(law: RateLaw, cases: list[_Case]) -> Step:
    d = law.desingularizer
    argument = "s" if d.explicit else d.symbol.name
    if law.Psi is None:
        _decreasing(law, cases)
        return Step(
            "a primitive of -ψ'²",
            "no closed form was found; only differences of Ψ are needed, and they are computed",
            r"\Psi(a) - \Psi(b) = \int_a^b \psi'(s)^2\,ds",
            "Psi(a) - Psi(b) = int_a^b psi'(s)^2 ds, computed in x = -log s with an error bound",
            "Ψ(a) - Ψ(b) = ∫ ψ'(s)² ds from a to b, computed in x = -log s with an error bound",
            f"the integrand is positive at {_where(cases)}, so that Ψ decreases",
        )
    for case in cases:
        for form, piece, points in _pieces(law, case):
            f = integrand(piece.loss, piece.value, d.symbol).subs(case.values)
            _require(primitive_holds(form, f, d.symbol, points, []), "Ψ' + ψ'² = 0")
    _continuous(law, cases)
    found = law.how.get("Psi", "")
    return Step(
        "a primitive of -ψ'²",
        f"found by {found}; it is defined up to a constant, which every bound cancels",
        *_known(f"Psi({argument})", law.Psi, rf"\Psi({argument})", f"Ψ({argument})"),
        f"Ψ' + ψ'² = 0 to 1e-20 at {_where(cases)}; differences of Ψ against quadrature to 1e-12",
    )


def _decreasing(law: RateLaw, cases: list[_Case]) -> None:
    d = law.desingularizer
    f = integrand(d.loss, d.value, d.symbol)
    _everywhere(
        cases,
        "Ψ decreases",
        lambda ctx, values, p: compile_expr(f.subs(values), d.symbol)(ctx, p) > 0,
    )


def _pieces(law: RateLaw, case: _Case) -> list[tuple[sp.Expr, Piece, list[sp.Expr]]]:
    """Each smooth part of Ψ with its piece of ψ, and points inside it."""
    pieces = law.desingularizer.pieces
    form = _have(law.Psi).subs(case.values)
    if len(pieces) == 1:
        return [(form, pieces[0], case.points)]
    branches = [branch for branch, _ in form.args]
    inside = [_inside(piece, case) for piece in pieces]
    return list(zip(branches, pieces, inside, strict=True))


def _inside(piece: Piece, case: _Case) -> list[sp.Expr]:
    """Points inside a piece."""
    low, high = (_rational(q.subs(case.values)) for q in (piece.lower, piece.upper))
    width = low + 1 if high is None else high - low
    return [low + width * sp.Rational(k, 16) for k in (2, 5, 8, 11, 14)]


def _rational(expr: sp.Expr) -> Any:
    """A fraction near a knot (its own value if it is one); None for infinity."""
    if expr is S.Infinity:
        return None
    return expr if expr.is_Rational else sp.Rational(str(expr.evalf(20)))


def _continuous(law: RateLaw, cases: list[_Case]) -> None:
    """The pieces of Ψ meet at the knots."""
    p = law.desingularizer.symbol
    for case in cases:
        for (left, piece, _), (right, _, _) in pairwise(_pieces(law, case)):
            knot = piece.upper.subs(case.values)
            a, b = (e.subs(p, knot).evalf(30) for e in (left, right))
            _require(abs(a - b) <= (1 + abs(b)) / 10**18, "Ψ is continuous")


# ---------------------------------------------------------------------------------------------
# From the flow to the bounds


def _gradient_flow(d: Desingularizer, cases: list[_Case]) -> Step:
    sigma_f, sigma_j = sp.symbols("sigma_F sigma_J", positive=True)
    _require((sigma_f * sigma_j / 2) ** 2 - sigma_f**2 * sigma_j**2 / 4 == 0, "κ")
    slope = d.derivative
    f = integrand(d.loss, d.value, d.symbol)
    ds = sp.diff(d.loss, d.symbol)

    def chain(ctx: Any, values: dict[sp.Symbol, sp.Expr], p: Any) -> bool:
        """(dΨ/ds)(ds/dt) = (-f/S')(-1/ψ'²) is 1 for κ = 1."""
        at = [compile_expr(e.subs(values), d.symbol)(ctx, p) for e in (f, ds, slope)]
        return _agree(ctx, at[0] / at[1] / at[2] ** 2, ctx.one)

    _everywhere(cases, "dΨ(V)/dt >= κ", chain)
    return Step(
        "the flow",
        "V(t) = L(y(t)) falls at the speed ‖Jᵀ∇L‖² >= (σ_F σ_J/2)²‖∇L‖² (A-4 and (8)), and"
        " ‖∇L‖ >= 1/ψ'(V) (A-2); so Ψ(V) rises at least at the speed κ",
        r"V' \le -\frac{\kappa}{\psi'(V)^2},\quad \kappa = \frac{\sigma_F^2\sigma_J^2}{4},\quad"
        r" \frac{d}{dt}\Psi(V) = -\psi'(V)^2 V' \ge \kappa,\quad"
        r" \Psi(V(t)) \ge \gamma(t) = \kappa t + \Psi(L_0)",
        "V' <= -kappa/psi'(V)^2 with kappa = sigma_F^2 sigma_J^2/4, so"
        " d/dt Psi(V) = -psi'(V)^2 V' >= kappa and Psi(V(t)) >= gamma(t) = kappa t + Psi(L0)",
        "V' ≤ -κ/ψ'(V)² with κ = σ_F² σ_J²/4, so d/dt Ψ(V) = -ψ'(V)² V' ≥ κ and"
        " Ψ(V(t)) ≥ γ(t) = κt + Ψ(L₀)",
        f"Ψ'(s)·(-κ/ψ'(s)²) = κ to 1e-20 at {_where(cases)}; (σ_F σ_J/2)² = κ symbolically",
    )


def _inverse(law: RateLaw, cases: list[_Case]) -> Step:
    d = law.desingularizer
    if law.Psi_inverse is None:
        _decreasing(law, cases)
        return Step(
            "inverted",
            "Ψ decreases, so it has an inverse; no short closed form was found; it is solved for"
            " within a bracket on a logarithmic scale",
            r"\Psi(v) = \gamma \iff v = \Psi^{-1}(\gamma)",
            "Psi(v) = gamma has one solution v = Psi^-1(gamma)",
            "Ψ(v) = γ has one solution v = Ψ⁻¹(γ)",
            f"Ψ' < 0 at {_where(cases)}",
        )
    for case in cases:
        form, inverse = (_have(e).subs(case.values) for e in (law.Psi, law.Psi_inverse))
        if len(d.pieces) == 1:
            _require(inverse_holds(inverse, GAMMA, form, d.symbol, case.points), "Ψ⁻¹(Ψ(s)) = s")
            continue
        for (branch, _, points), (back, _) in zip(_pieces(law, case), inverse.args, strict=True):
            _require(inverse_holds(back, GAMMA, branch, d.symbol, points), "Ψ⁻¹(Ψ(s)) = s")
    return Step(
        "inverted",
        "solved for s on the branch that is real and decreasing",
        *_known("Psi^-1(gamma)", law.Psi_inverse, r"\Psi^{-1}(\gamma)", "Ψ⁻¹(γ)"),
        f"Ψ⁻¹(Ψ(s)) = s to 1e-20 at {_where(cases)}",
    )


def _loss(law: RateLaw, cases: list[_Case]) -> Step:
    """(10)."""
    shown = formulas(law).loss_rate
    if law.loss_bound is None or law.Psi is None or not shown.closed:
        _decreasing(law, cases)
        return Step(
            "the loss, (10)",
            "Ψ decreases, so Ψ(V) >= γ is V <= Ψ⁻¹(γ); numbers come from this equation",
            r"V(t) \le \Psi^{-1}(\kappa t + \Psi(L_0))",
            "V(t) <= Psi^-1(kappa t + Psi(L0))",
            "V(t) ≤ Ψ⁻¹(κt + Ψ(L₀))",
            f"Ψ' < 0 at {_where(cases)}",
        )
    _check_loss(law, cases)
    return Step(
        "the loss, (10)",
        "Ψ decreases, so Ψ(V) >= γ is V <= Ψ⁻¹(γ); the constant in Ψ cancels",
        rf"V(t) \le {shown.formula}",
        f"V(t) <= {shown.text}",
        f"V(t) ≤ {shown.unicode}".replace("\n", "; "),
        "V(0) = L0, and V = s at the time (Ψ(s) - Ψ(L0))/κ, to 1e-20 for pairs of"
        f" {_where(cases)} with κ = 3/7",
    )


def _check_loss(law: RateLaw, cases: list[_Case]) -> None:
    """V(0) = L0 and V((Ψ(s) - Ψ(L0))/κ) = s for pairs of points."""
    ctx = _context()
    ctx.prec = 400
    d, kappa = law.desingularizer, sp.Rational(3, 7)
    for case in cases:
        form = compile_expr(_have(law.Psi).subs(case.values), d.symbol)
        for low, high in pairwise(case.points):
            bound = _have(law.loss_bound).subs({**case.values, KAPPA: kappa, LOSS0: high})
            s, start = _number(ctx, low), _number(ctx, high)
            time = (form(ctx, s) - form(ctx, start)) * 7 / 3
            found = compile_expr(bound, TIME)(ctx, time)
            at_zero = compile_expr(bound.subs(TIME, 0), TIME)(ctx, ctx.one)
            _require(_agree(ctx, found, s) and _agree(ctx, at_zero, start), "V(t)")


def _parameters(law: RateLaw, cases: list[_Case]) -> Step:
    """(11)."""
    why = (
        "‖θ(t) - θ∞‖ is at most the length of the path that is left, and"
        " -d/dt ψ(V) = ψ'(V)‖Jᵀ∇L‖² >= √κ ψ'(V)‖∇L‖‖θ'‖ >= √κ‖θ'‖"
    )
    shown = formulas(law).parameter_rate
    general = (
        r"\|\theta(t) - \theta_\infty\| \le \frac{\psi(\Psi^{-1}(\gamma(t)))}{\sqrt{\kappa}}",
        "||theta(t) - theta_inf|| <= psi(Psi^-1(gamma(t)))/sqrt(kappa)",
        "‖θ(t) - θ∞‖ ≤ ψ(Ψ⁻¹(γ(t)))/√κ",
    )
    _require(sp.sqrt(KAPPA) ** 2 - KAPPA == 0, "√κ")
    if not shown.closed:
        return Step("the parameters, (11)", why, *general, "√κ² = κ symbolically")
    _check_parameters(law, cases)
    return Step(
        "the parameters, (11)",
        why,
        f"{general[0]} = {shown.formula}",
        f"{general[1]} = {shown.text}",
        f"{general[2]} = {shown.unicode}".replace("\n", "; "),
        f"equal to ψ(V(t))/√κ to 1e-20 at {_where(cases)} as times",
    )


def _check_parameters(law: RateLaw, cases: list[_Case]) -> None:
    d = law.desingularizer
    formula = parameter_bound(law)
    ctx = _context()
    for case in cases:
        start = case.points[-1]
        fixed = {**case.values, KAPPA: sp.Rational(3, 7), LOSS0: start}
        error = compile_expr(formula.subs(fixed), TIME)
        loss = compile_expr(_have(law.loss_bound).subs(fixed), TIME)
        psi = compile_expr(d.value.subs(case.values), d.symbol)
        for point in case.points[:2]:  # early, where no law of finite time is extinct
            t = _number(ctx, point)
            expected = psi(ctx, loss(ctx, t)) / ctx.sqrt(ctx.mpf(3) / 7)
            _require(_agree(ctx, error(ctx, t), expected), "ψ(V)/√κ")


def _stopping(law: RateLaw, cases: list[_Case]) -> Step:
    """(12), corrected."""
    d = law.desingularizer
    general = (
        r"t^* = \frac{(\Psi(\psi^{-1}(\|\varepsilon\|)) - \Psi(L_0))_+}{\kappa}",
        "t* = max(0, Psi(psi^-1(||eps||)) - Psi(L0))/kappa",
        "t* = (Ψ(ψ⁻¹(‖ε‖)) - Ψ(L₀))₊/κ",
    )
    why = (
        "‖y(t) - y‖ <= ψ(V(t)) (18), which is at most ‖ε‖ from t* on; then ‖y(t) - ȳ‖ <= 2‖ε‖; t*"
        " does not depend on the constant in Ψ"
    )
    if law.psi_inverse is None:
        _decreasing(law, cases)
        check = (
            f"ψ increases and Ψ decreases at {_where(cases)}, so ψ(V) <= ‖ε‖ is Ψ(V) >= Ψ(ψ⁻¹(‖ε‖))"
        )
        return Step("early stopping, (12)", why, *general, check)
    for case in cases:
        inverse, value = law.psi_inverse.subs(case.values), d.value.subs(case.values)
        if len(d.pieces) == 1:
            parts = [(inverse, value, case.points)]
        else:
            parts = [
                (back, piece.value.subs(case.values), _inside(piece, case))
                for (back, _), piece in zip(inverse.args, d.pieces, strict=True)
            ]
        for back, forth, points in parts:
            _require(inverse_holds(back, PSI_VALUE, forth, d.symbol, points), "ψ⁻¹(ψ(s)) = s")
    argument, shown = "s" if d.explicit else d.symbol.name, psi_inverse(law)
    return Step(
        "early stopping, (12)",
        why,
        rf"{general[0]},\quad \psi^{{-1}}(p) = {latex(shown)}",
        f"{general[1]} with psi^-1(p) = {to_text(shown)}",
        f"{general[2]} with ψ⁻¹(p) = {_line(shown)}",
        f"ψ⁻¹(ψ({argument})) = {argument} to 1e-20 at {_where(cases)}",
    )


def _extinction(law: RateLaw) -> Step:
    _require(law.regime.loss == "finite-time", "extinction")
    return Step(
        "extinction",
        "∫ ψ'² converges at 0, so γ(t) passes Ψ(0+) after a finite time; no loss with a locally"
        " Lipschitz gradient has such a ψ (A-1 is violated)",
        r"T = \frac{\Psi(0^+) - \Psi(L_0)}{\kappa} < \infty",
        "T = (Psi(0+) - Psi(L0))/kappa is finite",
        "T = (Ψ(0⁺) - Ψ(L₀))/κ is finite",
        law.regime.reason,
    )


__all__ = ["Derivation", "Step", "StepFailed", "derive_steps"]
