"""From ψ to Ψ, Ψ⁻¹ and the regime, over all ψ of the table."""

from __future__ import annotations

import mpmath
import pytest
import sympy as sp
from psi_table import BY_ID, IDS, INVALID, OPEN, desingularizer, law, start

import kltheory as kl
from kltheory.errors import InputError, NotDesingularizing
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.rate import GAMMA, KAPPA, LOSS0, PSI_VALUE, TIME
from kltheory.symbolic.regime import regime_of


def number(expr, symbol, value):
    """expr at a number by mpmath's own functions at 60 digits."""
    with mpmath.workdps(60):
        return sp.lambdify(symbol, expr, "mpmath")(value)


def inside(case_id: str) -> list[sp.Rational]:
    """Losses inside the domain that the package's own checks do not use."""
    middle = start(case_id)
    return [middle * q for q in (sp.Rational(1, 1031), sp.Rational(2, 7), sp.Rational(13, 12))]


@pytest.mark.parametrize("case_id", IDS)
def test_regime(case_id):
    """The regime is the one that the table says; only an oscillating ψ may be undetermined."""
    assert law(case_id).regime.loss == BY_ID[case_id]["regime"]


@pytest.mark.parametrize("case_id", IDS)
def test_psi_is_a_primitive_of_minus_the_squared_slope(case_id):
    """Ψ' = -ψ'², evaluated by SymPy itself and not by the evaluator that accepted Ψ."""
    found = law(case_id)
    if found.Psi is None:
        pytest.skip("no closed form")
    s = found.desingularizer.symbol
    left, right = sp.diff(found.Psi, s), -(sp.diff(found.psi, s) ** 2)
    for point in inside(case_id):
        a, b = (number(e, s, mpmath.mpf(point.p) / point.q) for e in (left, right))
        assert abs(a - b) <= 1e-12 * abs(b)


@pytest.mark.parametrize("case_id", IDS)
def test_inverse_of_psi(case_id):
    """Ψ⁻¹(Ψ(s)) = s and ψ⁻¹(ψ(s)) = s, on the real branch."""
    found = law(case_id)
    s = found.desingularizer.symbol
    pairs = [(found.Psi, found.Psi_inverse, GAMMA), (found.psi, found.psi_inverse, PSI_VALUE)]
    for point in inside(case_id):
        with mpmath.workdps(60):
            x = mpmath.mpf(point.p) / point.q
        for forth, inverse, symbol in pairs:
            if inverse is not None:
                back = number(inverse, symbol, number(forth, s, x))
                assert abs(back - x) <= 1e-12 * x


@pytest.mark.parametrize("case_id", IDS)
def test_closed_bound_solves_the_law(case_id):
    """The closed V(t) starts at L0 and satisfies V' = -κ/ψ'(V)²."""
    found = law(case_id)
    if found.loss_bound is None or found.loss_bound.has(sp.Max):
        pytest.skip("no smooth closed form")
    s = found.desingularizer.symbol
    kappa, loss0 = sp.Rational(1, 7), start(case_id)
    v = found.loss_bound.subs({KAPPA: kappa, LOSS0: loss0}, simultaneous=True)
    assert abs(number(v, TIME, 0) - float(loss0)) <= 1e-12 * float(loss0)
    t = mpmath.mpf(1) / 50
    slope = number(sp.diff(v, TIME), TIME, t)
    expected = -float(kappa) / number(sp.diff(found.psi, s), s, number(v, TIME, t)) ** 2
    assert abs(slope - expected) <= 1e-10 * abs(expected)


def test_how_many_closed_forms():
    """All but 5 of the 69 valid ψ have a closed Ψ and at least 30 a closed Ψ⁻¹."""
    assert {case_id for case_id in IDS if law(case_id).Psi is None} <= OPEN
    laws = [law(case_id) for case_id in IDS]
    assert sum(found.Psi_inverse is not None for found in laws) >= 30
    assert sum(found.regime.loss == "undetermined" for found in laws) <= 4


@pytest.mark.parametrize("case", INVALID, ids=[case["id"] for case in INVALID])
def test_invalid_psi_is_refused_with_the_reason(case):
    """What is not a desingularizing function is refused before anything is derived from it."""
    with pytest.raises(NotDesingularizing) as error:
        kl.rate(case["psi"], radius=case["radius"])
    wanted = {"X01": "ψ(0+) = -oo", "X02": "stops increasing at s = 1/2", "X03": "ψ(0+) = 1",
              "X04": "ψ(0+) = oo"}  # fmt: skip
    assert wanted[case["id"]] in str(error.value)


# -- Corollary 3.3 ----------------------------------------------------------------------------


def test_all_cases_of_corollary_33_in_one_law():
    """For a symbolic α the law has the three cases, each solving the equation, and no nan."""
    found = kl.rate("c*s**alpha")
    c, alpha = (sp.Symbol(n, positive=True) for n in ("c", "alpha"))
    s = found.desingularizer.symbol
    for value in (sp.Rational(1, 4), sp.Rational(1, 2), sp.Rational(2, 3), sp.Rational(1)):
        at = {c: sp.Rational(3, 2), alpha: value}
        v = found.loss_bound.subs(at)
        assert not v.has(sp.nan)
        assert sp.simplify(v.subs(TIME, 0) - LOSS0) == 0
        numbers = {KAPPA: sp.Rational(1, 5), LOSS0: sp.Rational(4, 5)}
        slope = sp.diff(v.subs(numbers), TIME).subs(TIME, sp.Rational(1, 3)).evalf(30)
        here = v.subs(numbers).subs(TIME, sp.Rational(1, 3))
        psi = (c * s**alpha).subs(at)
        expected = (-sp.Rational(1, 5) / sp.diff(psi, s).subs(s, here) ** 2).evalf(30)
        assert abs(slope - expected) < 1e-15
    assert "extinct in finite time" in found.regime.reason


def test_powers_by_hand():
    """ψ = c s^α: exponential with κ t 4/c² at 1/2, order 1/(1-2α) below, extinct above."""
    half = kl.rate("c*sqrt(s)", c=3)
    assert half.loss_bound == LOSS0 * sp.exp(-4 * KAPPA * TIME / 9)
    assert half.regime.limit == sp.Rational(9, 4)
    quarter = kl.rate("s**(1/4)")
    assert (quarter.regime.order, quarter.regime.parameter_order) == (2, sp.Rational(1, 2))
    bound = kl.rate("s").bound(kappa=2, loss0=3)
    assert 1.5 <= bound.extinction_time() <= 1.5 * (1 + 1e-12)
    assert bound.loss(1.5000001) == 0
    assert bound.loss(1.4) == pytest.approx(0.2, rel=1e-12)


def test_sum_with_symbolic_parameters_keeps_them():
    """Parameters without a value stay symbols in Ψ."""
    found = kl.rate("c*sqrt(s) + d*s")
    s = found.desingularizer.symbol
    c, d = (sp.Symbol(n, positive=True) for n in "cd")
    gap = sp.diff(found.Psi, s) + sp.diff(c * sp.sqrt(s) + d * s, s) ** 2
    assert sp.simplify(gap) == 0
    with pytest.raises(InputError, match="parameters without a value: c, d"):
        found.bound(kappa=1, loss0=1)
    assert found.bound(kappa=1, loss0=1, c=1, d=1).loss(0) == 1


# -- the border between exponential and finite time ----------------------------------------------


@pytest.mark.parametrize(
    ("psi", "regime"),
    [
        ("sqrt(s)*log(1/s)**2", "stretched-exponential"),
        ("sqrt(s)*log(log(1/s))", "stretched-exponential"),
        ("sqrt(s)/log(1/s)**(1/3)", "super-exponential"),
        ("sqrt(s)/log(1/s)**(1/2)", "double-exponential"),
        ("sqrt(s)/log(1/s)**(3/4)", "finite-time"),
        ("sqrt(s)*exp(sqrt(log(1/s)))", "quasi-polynomial"),
        ("sqrt(s)*exp(-sqrt(log(1/s)))", "finite-time"),
        ("s**(1/2 - 1/10**9)", "polynomial"),
        ("s**(1/2 + 1/10**9)", "finite-time"),
        ("1/log(1/s)**(1/5)", "polynomial"),
        ("sqrt(s)*(2+cos(s))", "exponential"),
    ],
)
def test_borders(psi, regime):
    """Convergence of ∫ψ'² decides between exponential and finite time, not the exponent of ψ."""
    assert kl.rate(psi).regime.loss == regime


def test_logarithmic_parameters():
    """A slowly varying ψ gives a loss like 1/t and parameters slower than every power."""
    found = kl.rate("-1/log(s)")
    assert (found.regime.loss, found.regime.order) == ("polynomial", 1)
    assert found.regime.parameters == "logarithmic"


def test_regime_of_a_polynomial():
    """The parameter error of order (1-δ)/(2δ) is ψ of a loss of order 1/δ."""
    regime = regime_of("polynomial", sp.Rational(1, 2), "")
    assert (regime.order, regime.parameter_order) == (2, sp.Rational(1, 2))


# -- entry ----------------------------------------------------------------------------------------


def test_sympy_expression_is_as_good_as_text():
    """A SymPy expression in any one symbol gives the law of the text."""
    x = sp.Symbol("x")
    assert kl.rate(sp.sqrt(x) + x).Psi == kl.rate("sqrt(s) + s").Psi.subs(
        kl.rate("sqrt(s) + s").desingularizer.symbol, sp.Symbol("x", positive=True)
    )


def test_floats_in_an_expression_are_exact_decimals():
    """0.3 is 3/10 in text and in an expression."""
    s = sp.Symbol("s")
    assert kl.rate(s**0.3).loss_bound == kl.rate("s**0.3").loss_bound


def test_unknown_parameter_is_refused():
    """A parameter that ψ does not have is an error, not ignored."""
    with pytest.raises(InputError, match="no parameter b"):
        kl.rate("c*sqrt(s)", c=1, b=2)


def test_parametric_curve_needs_no_inverse():
    """The loss e^v - 1 - v gives Ψ = -log(1 - e^-v) in the residual v, and the same numbers."""
    v = sp.Symbol("v", positive=True)
    radial = kl.rate(Desingularizer.from_curve(v, sp.exp(v) - 1 - v, v))
    points = [sp.Rational(1, 3), sp.Rational(5, 4)]
    a, b = (radial.Psi.subs(v, q) + sp.log(1 - sp.exp(-q)) for q in points)
    assert abs((a - b).evalf(30)) < 1e-25
    assert radial.regime.loss == "exponential"
    explicit = law("S03")
    for t in ("1/10", "3", "50"):
        left = radial.bound(kappa=1, loss0="1/2").log_decrease(t)
        right = explicit.bound(kappa=1, loss0="1/2").log_decrease(t)
        assert abs(left - right) <= 1e-13 * left


def test_piecewise_law_is_joined_continuously():
    """The pieces of Ψ meet at the knot, and its inverse chooses the piece by the value."""
    found = law("W01")
    s = found.desingularizer.symbol
    eps = sp.Rational(1, 10**12)
    gap = found.Psi.subs(s, 1 - eps) - found.Psi.subs(s, 1 + eps)
    assert abs(gap.evalf(30)) < 1e-11


def test_min_that_never_switches_is_smooth():
    """min(2√s, s+1) is 2√s everywhere, since (√s - 1)² >= 0."""
    assert len(desingularizer("W02").pieces) == 1
    assert law("W02").loss_bound == LOSS0 * sp.exp(-KAPPA * TIME)
