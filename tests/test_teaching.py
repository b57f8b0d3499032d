"""Exercises: every form of the right answer is right, no wrong one is, and slips get their hint."""

import math

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import kltheory as kl
from kltheory.errors import InputError
from kltheory.symbolic.equivalence import compare, compare_numbers
from kltheory.teaching import Course, Exercise

PSI = {
    "sqrt(s)": "-log(s)/4",
    "2*s**(1/4)": "1/(2*sqrt(s))",
    "sqrt(s) + s": None,
    "sqrt(2*s)": None,
}


@pytest.mark.parametrize("psi", PSI)
def test_every_form_of_a_primitive_is_right(psi):
    """Ψ shifted, expanded, factored or rewritten is still right up to a constant."""
    Psi = kl.rate(psi).Psi
    for form in (sp.expand(Psi), sp.factor(Psi), sp.together(Psi), Psi + sp.Rational(22, 7)):
        assert compare(str(form), Psi, "s", up_to="constant").right
    if PSI[psi]:
        assert compare(PSI[psi], Psi, "s", up_to="constant").right


@pytest.mark.parametrize("psi", PSI)
def test_a_changed_primitive_is_wrong(psi):
    """Another sign, factor, argument or power is wrong up to a constant."""
    Psi = kl.rate(psi).Psi
    s = sp.Symbol("s", positive=True)
    for wrong in (-Psi, 2 * Psi, Psi + s / 1000, Psi + s**20, sp.diff(Psi, s), 1 / Psi):
        assert not compare(str(wrong), Psi, "s", up_to="constant").right


SLIPS = [
    ("log(s)/4", "-log(s)/4", "constant", "sign"),
    ("-log(s)/2", "-log(s)/4", "constant", "1/2 times"),
    ("-log(s)/(4*pi)", "-log(s)/4", "constant", "pi times"),
    ("c*sqrt(s)", "sqrt(s)", "nothing", "c is not in the question"),
    ("sqrt(s)", "c*sqrt(s)", "nothing", "c times"),
    ("c*sqrt(s)", "sqrt(s)/c", "nothing", "c**(-2) times"),
    ("alpha*sqrt(s)", "(1-2*alpha)*sqrt(s)", "nothing", "depends on alpha"),
    ("sqrt(s) + 1", "sqrt(s)", "nothing", "added constant"),
    ("1/sqrt(s)", "sqrt(s)", "nothing", "reciprocal"),
    ("s**2", "sqrt(s)", "nothing", "inverse function"),
    ("1/(2*sqrt(s))", "sqrt(s)", "nothing", "derivative"),
    ("sqrt(s)", "1/(2*sqrt(s))", "nothing", "its derivative"),
    ("exp(-s)", "exp(-2*s)", "nothing", "square root"),
    ("exp(-4*s)", "exp(-2*s)", "nothing", "square of"),
    ("sqrt(s-1)", "sqrt(s)", "nothing", "not real"),
    ("3", "sqrt(s)", "nothing", "formula in s"),
]


@pytest.mark.parametrize(("answer", "expected", "up_to", "words"), SLIPS)
def test_a_common_slip_has_its_hint(answer, expected, up_to, words):
    """What lies between a wrong answer and the right one is said."""
    found = compare(answer, expected, "s", up_to=up_to)
    assert not found.right
    assert words in (found.hint or "").replace("1/c**2", "c**(-2)")


def test_a_name_for_the_constant_is_allowed_and_no_other():
    """C may name the added constant, and may not change the answer with s."""
    assert compare("-log(s)/4 + C", "-log(s)/4", "s", up_to="constant").right
    assert not compare("-log(s)/4 + C*s", "-log(s)/4", "s", up_to="constant").right
    assert not compare("-log(s)/4 + C", "-log(s)/4", "s").right


def test_a_known_mistake_has_its_own_words():
    """The words of the exercise come before those of the checker."""
    found = compare("-sqrt(s)", "-log(s)/4", "s", up_to="constant",
                    mistakes={"-sqrt(s)": "square the derivative"})  # fmt: skip
    assert found.hint == "square the derivative"


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(-0.009, 0.009))
def test_numbers_are_right_to_their_accuracy(value, error):
    """A number is right within one per cent, and its double, half and negative are not."""
    assert compare_numbers(value * (1 + error), value).right
    for wrong in (2 * value, value / 2, -value, 0.0, math.inf, math.nan):
        assert not compare_numbers(wrong, value).right


@pytest.mark.parametrize(
    ("answer", "words"),
    [(1000.0, "1/1000 times"), (4.0, "1/4 times"), (-1.0, "sign"), ("log(10)", "1/log(10)")],
)
def test_the_slip_of_a_number_has_its_hint(answer, words):
    """Units, forgotten factors and signs are recognised."""
    assert words in (compare_numbers(answer, 1.0).hint or "")


COURSE = Course(
    (
        Exercise("1.1", "Ψ of √s?", lambda: kl.rate("sqrt(s)").Psi, "s", up_to="constant"),
        Exercise("1.2", "How much?", 2.0, mistakes={"7": "seven is too many"}, marks=2),
        Exercise("1.3", "Which regime?", "finite-time", choices=("finite-time", "polynomial"),
                 mistakes={"polynomial": "look at Ψ(0+)"}),
    )
)  # fmt: skip


def test_a_course_gives_marks():
    """Right answers count their marks, the others none."""
    marks = COURSE.grade({"1.1": "1 - log(s)/4", "1.2": "2", "1.3": "polynomial"})
    assert (marks.got, marks.of) == (3, 4)
    assert marks.to_dict()["exercises"]["1.3"]["hint"] == "look at Ψ(0+)"
    assert "3 of 4" in repr(marks)
    assert COURSE.check("1.2", 7).hint == "seven is too many"
    assert COURSE.check("1.3", "Finite time").right
    assert COURSE.grade({}).got == 0


@pytest.mark.parametrize(
    "answer",
    [None, ..., "", "  ", "s +", "__import__('os')", "1/0", "x"*5000, [], {}, object(), "2*", "nan",
     float("nan"), 1e400, True],
)  # fmt: skip
@pytest.mark.parametrize("name", ["1.1", "1.2", "1.3"])
def test_no_answer_breaks_the_checker(name, answer):
    """Whatever is handed in, it is answered in words and not accepted."""
    found = COURSE.check(name, answer)
    assert not found.right
    assert "not yet" in repr(found)
    assert "✗" in found._repr_html_()


def test_an_exercise_that_does_not_exist_is_refused():
    """A wrong name is an error for the teacher, not a wrong answer."""
    with pytest.raises(InputError, match=r"1\.1, 1\.2, 1\.3"):
        COURSE.grade({"9.9": "1"})
    with pytest.raises(InputError, match="twice"):
        Course((COURSE["1.1"], COURSE["1.1"]))
