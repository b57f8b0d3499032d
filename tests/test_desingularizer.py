"""What is and what is not a desingularizing function, and how the user is told."""

from __future__ import annotations

from itertools import accumulate, pairwise

import mpmath
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from kltheory.errors import InputError, NotDesingularizing
from kltheory.symbolic.desingularizer import Desingularizer, exact
from kltheory.symbolic.samples import cubics, from_samples


@pytest.mark.parametrize(
    ("psi", "radius"),
    [
        ("s*log(1/s)", sp.exp(-1)),
        ("sqrt(s*log(1/s))", sp.exp(-1)),
        ("sqrt(s)*log(1/s)", sp.exp(-2)),
        ("-1/log(s)", sp.Integer(1)),
        ("s - s**2", sp.Rational(1, 2)),
        ("Si(s)", sp.pi),
        ("sin(s)", sp.pi / 2),
        ("tan(sqrt(s))", sp.pi**2 / 4),
        ("1 - sqrt(1-s)", sp.Integer(1)),
        ("sqrt(s)", sp.oo),
        ("atan(s)", sp.oo),
        ("exp(s) - 1", sp.oo),
    ],
)
def test_radius_is_found_exactly(psi, radius):
    """r0 is where ψ stops to increase or to be finite, as an exact number."""
    assert Desingularizer.from_psi(psi).radius == radius


def test_radius_that_is_no_simple_number_is_rounded_down():
    """A radius without a simple form is a decimal below the true one: ψ' > 0 holds up to it."""
    found = Desingularizer.from_psi("s - s**3*exp(s)").radius
    s = sp.Symbol("s", positive=True)
    true = sp.nsolve(sp.diff(s - s**3 * sp.exp(s), s), s, 0.4, prec=40)
    assert found.is_Rational
    assert 0 < true - found < 1e-12


@pytest.mark.parametrize(
    ("psi", "reason"),
    [
        ("log(s)", "did you mean log(s + 1)?"),
        ("s**(-1/3)", "did you mean s**(1/3)?"),
        ("sqrt(s) + 1", "did you mean sqrt(s)?"),
        ("cos(s)", "ψ(0+) = 1"),
        ("-sqrt(s)", "negative near 0"),
        ("s**2 - s", "negative near 0"),
        ("sqrt(s - 1)", "not a real number near 0"),
        ("log(-s)", "not a real number near 0"),
        ("Piecewise((s, s<1), (1, True))", "constant on an interval"),
        ("Piecewise((s, s<1), (s+1, True))", "jumps at s = 1"),
        ("sqrt(s)*(1+sin(1/s))", "ψ"),
    ],
)
def test_what_is_no_desingularizing_function_is_refused(psi, reason):
    """The sentence says what is wrong and, where it can, what was meant."""
    with pytest.raises(NotDesingularizing) as error:
        Desingularizer.from_psi(psi)
    assert reason in str(error.value)
    assert str(error.value).count("\n") <= 1


def test_given_radius_beyond_the_domain_is_refused():
    """A radius that reaches past r0 is refused with the largest that is allowed."""
    with pytest.raises(NotDesingularizing, match="at most exp\\(-1\\)"):
        Desingularizer.from_psi("s*log(1/s)", radius="1/2")
    assert Desingularizer.from_psi("s*log(1/s)", radius="1/e").radius == sp.exp(-1)


@pytest.mark.parametrize("radius", [0, -1, "0", "-1/2"])
def test_radius_must_be_positive(radius):
    """r0 is a positive number."""
    with pytest.raises(InputError, match="r0 is a positive number"):
        Desingularizer.from_psi("sqrt(s)", radius=radius)


def test_kink_is_accepted_and_said():
    """ψ with a kink is not C¹; the bounds hold, and the reader is told."""
    found = Desingularizer.from_psi("Min(s, sqrt(s))")
    assert [q.upper for q in found.pieces] == [1, sp.oo]
    assert "kink at s = 1" in found.warnings[0]


def test_pieces_of_abs_and_max():
    """Abs and Max are split where they switch."""
    found = Desingularizer.from_psi("Max(s, s**2)")
    assert [(q.lower, q.upper) for q in found.pieces] == [(0, 1), (1, sp.oo)]
    assert len(Desingularizer.from_psi("Abs(sqrt(s))").pieces) == 1


def test_pieces_of_sign():
    """sign is split where its argument changes its sign."""
    s = sp.Symbol("s", positive=True)
    found = Desingularizer.from_curve(s, s, 2 * s + (s - 2) * sp.sign(s - 2) - 2)
    assert [(q.upper, q.value) for q in found.pieces] == [(2, s), (sp.oo, 3 * s - 4)]


def test_borders_where_nothing_changes_are_no_borders():
    """Neighbours with the same formula are one piece, at the beginning and at the end."""
    whole = Desingularizer.from_psi("Min(s, 1) + Max(s, 1) - 1")
    assert [(q.lower, q.upper, q.value) for q in whole.pieces] == [(0, sp.oo, whole.symbol)]
    late = Desingularizer.from_psi("Min(s, sqrt(s)) + Min(s, 4) + Max(s, 4) - s - 4")
    root = sp.sqrt(late.symbol)
    assert [(q.lower, q.upper) for q in late.pieces] == [(0, 1), (1, sp.oo)]
    assert [q.value for q in late.pieces] == [late.symbol, root]


def test_parameters_stay_symbols_until_they_get_values():
    """Parameters are positive symbols; a value may be given later, and is checked."""
    found = Desingularizer.from_psi("c*s**alpha")
    assert [q.name for q in found.parameters] == ["alpha", "c"]
    assert found.with_values(c="1/3", alpha=0.5).value == sp.sqrt(found.symbol) / 3
    with pytest.raises(InputError, match="no parameter beta"):
        found.with_values(beta=1)
    with pytest.raises(NotDesingularizing):
        found.with_values(alpha=-1, c=1)


def test_checks_say_how():
    """Each check names the way it was made."""
    assert any("symbolic" in c.how for c in Desingularizer.from_psi("sqrt(s) + s").checks)
    assert any("points" in c.how for c in Desingularizer.from_psi("tanh(s)").checks)


def test_warning_of_the_parser_is_kept():
    """s**1/3 is read as s/3, and the reader is told."""
    assert any("s**(1/3)" in w for w in Desingularizer.from_psi("s**1/3").warnings)


def test_curve_is_checked_like_a_function():
    """A curve needs S(0+) = 0 and both parts increasing."""
    v = sp.Symbol("v", positive=True)
    assert Desingularizer.from_curve(v, v**2 / 2, v).radius is sp.oo
    with pytest.raises(NotDesingularizing, match="S\\(0\\+\\) = 1"):
        Desingularizer.from_curve(v, v**2 + 1, v)


@pytest.mark.parametrize("value", [True, "nan", "oo", float("nan"), float("inf"), "x", None, [1]])
def test_numbers_are_exact_and_finite(value):
    """Booleans, NaN, infinities, text and other objects are no numbers."""
    with pytest.raises(InputError):
        exact(value, "c")


def test_decimal_floats_mean_their_decimal():
    """0.3 is 3/10 and not the nearest binary number."""
    assert exact(0.3) == sp.Rational(3, 10)
    assert exact("0.3") == sp.Rational(3, 10)
    assert exact(1e300) == sp.Integer(10) ** 300


@pytest.mark.parametrize(
    ("psi", "knot"),
    [
        ("Min(sqrt(s), 100*s)", sp.Rational(1, 10**4)),
        ("Piecewise((sqrt(s), s<1e-3), (s*sqrt(1000), True))", sp.Rational(1, 1000)),
        ("Piecewise((2*sqrt(s), s<1e-20), (1e10*s+1e-10, True))", sp.Rational(1, 10**20)),
    ],
)
def test_knots_are_exact_wherever_they_lie(psi, knot):
    """A knot is the exact root of the condition, not a decimal near it."""
    found = Desingularizer.from_psi(psi).pieces[0].upper
    assert sp.simplify(found - knot) == 0


def test_a_knot_without_a_simple_form_is_found_to_32_digits():
    """Where the branches meet at no simple number, the pieces still meet to all digits."""
    found = Desingularizer.from_psi("Min(s**(1/3), log(1+5*s))")  # below, above, below again
    knots = [piece.upper for piece in found.pieces[:-1]]
    assert len(knots) == 2
    for knot in knots:
        assert abs((sp.cbrt(knot) - sp.log(1 + 5 * knot)).evalf(50)) < 1e-30


def test_very_flat_psi_is_accepted():
    """exp(-1/s) and its relatives are desingularizing functions, whatever they cost to evaluate."""
    assert Desingularizer.from_psi("-Ei(-1/s)").radius is sp.oo


steps = st.fractions(min_value="1/5", max_value=5, max_denominator=5)


@settings(max_examples=8)
@given(st.lists(st.tuples(steps, steps), min_size=2, max_size=5))
def test_samples_are_joined_smoothly(rises):
    """ψ goes through its samples, with one slope on both sides of each, and rises everywhere."""
    points = list(zip(*(accumulate(column) for column in zip(*rises, strict=True)), strict=True))
    found = from_samples(points)
    s = found.symbol
    assert s == Desingularizer.from_psi("s").symbol
    assert (found.pieces[0].lower, found.radius) == (0, points[-1][0])
    for (knot, value), (left, right) in zip(points, pairwise(found.pieces), strict=False):
        assert left.upper == right.lower == knot
        assert right.value.subs(s, knot) == value
        for near in (left.value, sp.diff(left.value, s)):
            far = right.value if near is left.value else sp.diff(right.value, s)
            x = mpmath.mpf(knot.numerator) / knot.denominator
            assert sp.lambdify(s, near, "mpmath")(x) == pytest.approx(float(far.subs(s, knot)))
    assert found.value.subs(s, points[-1][0]) == points[-1][1]
    for cubic, piece in zip(cubics(points), found.pieces[1:], strict=True):
        slope = sp.diff(piece.value, s)
        inside = [cubic.start + (cubic.end - cubic.start) * k / 7 for k in range(1, 7)]
        assert all(slope.subs(s, x) > 0 for x in inside)
        area = sp.integrate(sp.expand(slope**2), (s, piece.lower, cubic.end))
        assert cubic.area(cubic.start, cubic.end) == area
