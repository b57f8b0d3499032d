"""The KL test of a loss given as an expression: against functions, known ψ and exact values."""

import math

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from kltheory.errors import InputError, ParseError
from kltheory.numeric.kl_test import ball_points, kl_test
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.loss_expression import read_loss
from kltheory.symbolic.losses import loss

SQUARE = Desingularizer.from_psi("sqrt(2*s)")
RADIUS = "sqrt(v1**2 + v2**2)"


def _huber(v):
    r = np.linalg.norm(v)
    return (r**2 / 2, v) if r <= 1 else (r - 0.5, v / r)


def _cauchy(v):
    return np.log1p(v @ v) / 2, v / (1 + v @ v)


def _log_cosh(v):
    return np.log1p(2 * np.sinh(v / 2) ** 2).sum(), np.tanh(v)


def _power(v):
    return (np.abs(v) ** 1.5).sum() / 1.5, np.sign(v) * np.abs(v) ** 0.5


CASES = {
    "huber": (f"Piecewise(({RADIUS}**2/2, {RADIUS} <= 1), ({RADIUS} - 1/2, True))", _huber),
    "huber by min": (f"Min({RADIUS}, 1)**2/2 + Max({RADIUS} - 1, 0)", _huber),
    "cauchy": ("log(1 + v1**2 + v2**2)/2", _cauchy),
    "log-cosh": ("log(cosh(v1)) + log(cosh(v2))", _log_cosh),
    "separable power": ("(Abs(v1)**1.5 + Abs(v2)**1.5)/1.5", _power),
    "power by root": ("((v1**2)^0.75 + sqrt(v2^2)^1.5)/1.5", _power),
}


@pytest.mark.parametrize("name", CASES)
def test_text_and_functions_agree(name):
    """The smallest ψ'(L)‖∇L‖ and its point are those of L and ∇L written by hand."""
    text, both = CASES[name]
    points = ball_points([0.0, 0.0], radius=3.0, n=60, seed=2)
    by_hand = kl_test(lambda v: both(v)[0], lambda v: both(v)[1], SQUARE, points)
    by_text = kl_test(text, psi=SQUARE, points=points)
    assert by_text.points == by_hand.points == 60
    assert by_text.smallest == pytest.approx(by_hand.smallest, rel=1e-9)
    at = np.array([by_text.at])
    assert kl_test(lambda v: both(v)[0], lambda v: both(v)[1], SQUARE, at).smallest == (
        pytest.approx(by_text.smallest, rel=1e-9)
    )


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("huber", "Piecewise((sqrt(2*s), s <= 1/2), (s + 1/2, True))"),
        ("cauchy", "sqrt(exp(2*s) - 1)"),
        ("log-cosh", "acosh(exp(s))"),
    ],
)
def test_the_right_psi_is_consistent_and_a_smaller_one_is_not(name, right):
    """ψ = ℓ⁻¹ holds, to 1e-9, also at 1e-6 from the minimiser; 0.99 ψ does not."""
    text, both = CASES[name]
    points = np.vstack([ball_points([0.0, 0.0], radius=3.0, n=60, seed=3), [[1e-6, 0], [2, 0]]])
    assert kl_test(text, psi=Desingularizer.from_psi(right), points=points).consistent
    wrong = Desingularizer.from_psi(f"0.99*({right})")
    result = kl_test(text, psi=wrong, points=points)
    assert not result.consistent
    assert result.smallest == pytest.approx(0.99, rel=1e-6)
    value, gradient = both(result.at)
    assert result.loss == pytest.approx(value, rel=1e-3)
    assert result.gradient_norm == pytest.approx(np.linalg.norm(gradient))


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_a_saddle_has_the_gradient_of_its_larger_side(x, y):
    """max(x, y)² + |xy|: ψ = s gives ‖∇L‖ itself, which is known on every side."""
    top = np.array([2 * x, 0]) if x >= y else np.array([0, 2 * y])
    slope = top + np.sign(x * y) * np.array([y, x])
    value = max(x, y) ** 2 + abs(x * y)
    if x * y == 0 or x == y or not value > 1e-300:
        return
    psi = Desingularizer.from_psi("s")
    result = kl_test("Max(v1, v2)**2 + Abs(v1*v2)", psi=psi, points=[[x, y]])
    assert result.loss == pytest.approx(value, rel=1e-14)
    assert result.smallest == pytest.approx(np.linalg.norm(slope), rel=1e-13)


def test_sympy_expressions_in_given_symbols():
    """The coordinates follow the order of the symbols; text in the same names says the same."""
    x, y = sp.symbols("x y")
    points = ball_points([0.0, 0.0], radius=1.0, n=20, seed=4)
    by_tree = kl_test(x**2 / 2 + 3 * sp.sqrt(y**2), psi=SQUARE, points=points, variables=[y, x])
    by_text = kl_test("x^2/2 + 3*Abs(y)", psi=SQUARE, points=points, variables=["y", "x"])
    assert by_tree.smallest == by_text.smallest
    swapped = kl_test("x^2/2 + 3*Abs(y)", psi=SQUARE, points=points, variables=["x", "y"])
    assert swapped.smallest != by_text.smallest


def test_conditions_of_sympy_are_judged():
    """And, Or, Not, Eq and a condition that depends on another choose the case that they say."""
    x, y = sp.symbols("x y", real=True)
    nested = sp.Piecewise((1, x < 0), (3, True)) > 2
    case = (x > 0) & (y < 1) & nested | sp.Not(sp.Eq(y, 2)) & (x <= -1)
    psi = Desingularizer.from_psi("s")
    expected = {(1.0, 0.0): 1.0, (1.0, 1.0): 2.0, (-2.0, 1.0): 1.0, (-2.0, 2.0): 2.0}
    for point, value in expected.items():
        tree = sp.Piecewise((1, case), (2, True)) + 0 * x
        assert kl_test(tree, psi=psi, points=[point], variables=[x, y]).loss == value


def test_tiny_distances_keep_their_digits():
    """½ log(1 + v²) at v = 1e-30 is v²/2, and at 1e100 its gradient is 1/v."""
    result = kl_test("log(1 + v1**2)/2", psi=loss("cauchy"), points=[[1e-30]])
    assert result.loss == pytest.approx(5e-61, rel=1e-15)
    far = kl_test("log(1 + v1**2)/2", psi=SQUARE, points=[[1e100]])
    assert far.gradient_norm == pytest.approx(1e-100, rel=1e-15)


def test_the_minimum_is_subtracted():
    """L and L + 2 with minimum = 2 are the same; an exact constant may stand in the text."""
    points = ball_points([0.0], radius=1.0, n=20, seed=5)
    plain = kl_test("v1**2/2", psi=SQUARE, points=points)
    assert kl_test("v1**2/2 + 2", psi=SQUARE, points=points, minimum=2).smallest == plain.smallest
    logistic = kl_test("log(exp(v1) + exp(-v1)) - log(2)", psi=loss("log-cosh"), points=points)
    assert logistic.consistent
    assert logistic.points == 20


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("v1**2 + w", 8, "w is not a variable of the loss: v1, v2"),
        ("v1**2 + v3", 8, "v3 is not a variable"),
        ("v1 +* v2", 4, "is expected here"),
        ("v1.real", 2, ""),
        ("__import__('os')", 0, ""),
        ("v1 + gamma(v2)", 5, "gamma is not available"),
        ("v2 + sqrt(-1)", 5, "not a finite real number"),
        ("v2 + sqrt(-v1**2)", 5, "is not real"),
    ],
)
def test_bad_text_is_refused_with_its_place(text, at, message):
    """What is not an expression in v1, v2 is refused, with a caret under the place."""
    with pytest.raises(ParseError) as caught:
        kl_test(text, psi=SQUARE, points=[[1.0, 1.0]])
    assert caught.value.position == at
    assert message in caught.value.reason
    assert str(caught.value).splitlines()[-1] == "  " + " " * at + "^"


@pytest.mark.parametrize(("n", "said"), [(3, "v1, v2, v3"), (4, "v1, v2, ..., v4")])
def test_variables_are_listed_from_the_first_to_the_last(n, said):
    """Who names a variable that is not there is told which there are, the last one included."""
    with pytest.raises(ParseError) as caught:
        read_loss("v1 + w", [f"v{i + 1}" for i in range(n)])
    assert caught.value.reason == f"w is not a variable of the loss: {said}"


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("log(v1)", -1.0),
        ("sqrt(v1)", -1.0),
        ("v1**1.5", -1.0),
        ("acosh(v1)", 0.5),
        ("1/v1", 0.0),
        ("exp(exp(v1))", 10.0),
        ("Piecewise((1, log(v1) < 0), (2, True)) + v1**2", -1.0),
        ("Max(log(v1), 1)", -1.0),
    ],
)
def test_values_that_are_not_real_are_reported(text, point):
    """A point where L is not real and finite is named, not skipped; other points are judged."""
    with pytest.raises(InputError, match=r"L is not real and finite at v = \["):
        kl_test(text, psi=SQUARE, points=[[2.0], [point]])
    assert math.isfinite(kl_test(text, psi=SQUARE, points=[[2.0]]).tolerance)


def test_a_gradient_that_is_not_finite_is_reported():
    """sqrt|v1| + v2² has no finite slope at v1 = 0, where L is finite."""
    with pytest.raises(InputError, match=r"∇L is not real and finite at v = \[0\. 1\.\]"):
        kl_test("sqrt(Abs(v1)) + v2**2", psi=SQUARE, points=[[0.0, 1.0]])


def test_a_surprising_reading_is_told():
    """v1**1/2 is v1/2."""
    result = kl_test("v1**1/2", psi=SQUARE, points=[[1.0]])
    assert "v1**1/2 is read as" in result.to_dict()["warnings"][0]
    assert result.loss == 0.5


def test_the_derivative_passes_through_nested_kinks():
    """|||x| - 1| - y| has slope √2 off its kinks."""
    points = np.random.default_rng(7).normal(size=(20, 2))
    psi = Desingularizer.from_psi("s")
    result = kl_test("Abs(Abs(Abs(v1) - 1) - v2)", psi=psi, points=points)
    assert (result.smallest, result.points) == (pytest.approx(math.sqrt(2)), 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"value": "v1", "gradient": lambda v: v}, "needs no gradient"),
        ({"value": lambda v: v @ v}, "needs its gradient"),
        ({"value": lambda v: v, "gradient": lambda v: v, "variables": ["v1"]}, "no gradient"),
        ({"value": 3}, "given as int"),
        ({"value": "x", "variables": ["x", "y"]}, "2 variables are given; points have 1"),
        ({"value": "x", "variables": ["log"]}, "another meaning"),
        ({"value": sp.Symbol("v1") ** 2}, "are its symbols"),
        ({"value": sp.Symbol("x") ** 2, "variables": [sp.Symbol("y")]}, "still contains x"),
        (
            {"value": sp.Symbol("x", positive=True), "variables": [sp.Symbol("x", positive=True)]},
            "assumptions; give Symbol..x., real=True",
        ),
        ({"value": sp.Function("f")(sp.Symbol("v1")), "variables": [sp.Symbol("v1")]}, "has f"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(arguments, message):
    """One line says what was given and what to do."""
    with pytest.raises(InputError, match=message):
        kl_test(psi=SQUARE, points=[[1.0]], **arguments)
