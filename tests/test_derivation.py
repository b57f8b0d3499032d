"""The derivation: every step checks itself, and a wrong law does not get through."""

import dataclasses
import time

import pytest
import sympy as sp

from kltheory.symbolic.derivation import StepFailed, derive_steps
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.losses import from_radial, loss
from kltheory.symbolic.rate import GAMMA, derive

TITLES = [
    "the desingularizing function",
    "its slope",
    "squared",
    "the integral in x = -log s",
    "a primitive of -ψ'²",
    "the flow",
    "inverted",
    "the loss, (10)",
    "the parameters, (11)",
    "early stopping, (12)",
]


def law_of(psi):
    return derive(Desingularizer.from_psi(psi))


@pytest.mark.parametrize(
    "psi",
    ["sqrt(2*s)", "c*s**alpha", "s**0.3", "s/(1+s)", "sqrt(s)+s", "-1/log(s)", "sqrt(s)/log(1/s)"],
)
def test_every_derivation_goes_from_psi_to_the_stopping_time(psi):
    """The steps are the same for every ψ, each with a statement, a reason and a check."""
    steps = derive_steps(law_of(psi)).steps
    assert [step.title for step in steps[:10]] == TITLES
    for step in steps:
        assert step.why
        assert step.check
        assert step.latex.count("{") == step.latex.count("}")
        assert step.text
        assert step.unicode


def test_pieces_are_checked_each():
    """A ψ in pieces is derived piece by piece; Ψ is continuous."""
    steps = derive_steps(derive(loss("huber"))).steps
    assert "Piecewise" in steps[4].text
    assert "Piecewise" in steps[6].text
    assert derive_steps(law_of("Piecewise((sqrt(s), s<1), (s/2+1/2, True))")).steps


def test_a_curve_is_derived_without_its_inverse():
    """For s = S(x) the integral runs along the curve, and ψ⁻¹ = ℓ."""
    steps = derive_steps(derive(from_radial("exp(x)-1-x"))).steps
    assert steps[3].text == "int psi'^2 ds = int 1/(exp(x) - 1) dx"
    assert steps[9].text.endswith("psi^-1(p) = -p + exp(p) - 1")


def test_without_closed_forms_the_numeric_route_is_explained():
    """Where no closed form was found the step says how numbers are made."""
    law = dataclasses.replace(law_of("sqrt(s)+s"), Psi=None, psi_inverse=None)
    steps = derive_steps(law).steps
    assert "error bound" in steps[4].text
    assert "bracket" in steps[6].why


@pytest.mark.parametrize("exponent", ["0.4999999", "0.5000001"])
def test_exponents_near_one_half_take_no_time(exponent):
    """Powers with millions of digits are never written out."""
    started = time.process_time()
    steps = derive_steps(law_of(f"2*s**{exponent}")).steps
    assert "bracket" in steps[6].why
    assert time.process_time() - started < 15


def test_extinction_is_the_last_step_of_a_law_of_finite_time():
    """A ψ with ∫ψ'² < ∞ ends with the extinction time, and A-1 is said to be violated."""
    last = derive_steps(law_of("s**0.8")).steps[-1]
    assert last.title == "extinction"
    assert "A-1" in last.why


@pytest.mark.parametrize(
    "wrong",
    [
        {"Psi": lambda s: -sp.log(s) / 3},  # a wrong factor
        {"Psi": lambda s: -sp.log(s) / 2 + s / 10**9},  # nearly right
        {"Psi_inverse": lambda s: sp.exp(-2 * GAMMA) * 2},
        {"psi_inverse": lambda s: sp.Symbol("p", positive=True) ** 2},
        {"loss_bound": lambda s: sp.exp(-2 * sp.Symbol("t", positive=True))},
    ],
)
def test_a_wrong_law_does_not_get_through(wrong):
    """Each closed form is checked again, so that a wrong one raises instead of being shown."""
    law = law_of("sqrt(2*s)")
    s = law.desingularizer.symbol
    broken = dataclasses.replace(law, **{name: form(s) for name, form in wrong.items()})
    with pytest.raises(StepFailed):
        derive_steps(broken)


def test_a_jump_between_pieces_does_not_get_through():
    """A Ψ whose pieces do not meet is refused."""
    law = derive(loss("huber"))
    (a, low), (b, high) = law.Psi.args
    broken = dataclasses.replace(law, Psi=sp.Piecewise((a, low), (b + 1, high)))
    with pytest.raises(StepFailed, match="continuous"):
        derive_steps(broken)
