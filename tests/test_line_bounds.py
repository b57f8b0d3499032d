"""A φ given as text: enclosed suprema, moments and ends, against calculus and brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

flint = pytest.importorskip("flint")

from kltheory.activation import get  # noqa: E402
from kltheory.errors import InputError  # noqa: E402
from kltheory.numeric import user_activation  # noqa: E402
from kltheory.numeric.user_activation import from_callable, from_text  # noqa: E402
from kltheory.numeric.width import width  # noqa: E402
from kltheory.numeric.width_check import check_widths  # noqa: E402
from kltheory.symbolic.half_lines import read_half_lines  # noqa: E402
from kltheory.symbolic.line_bounds import bounds_on_line  # noqa: E402
from kltheory.symbolic.tails import End, Undecided  # noqa: E402

ASK = {"n": 5, "m": 5, "sigma_f": 0.5, "norm_f": 1, "y_norm": 2, "failure": 0.05}


@pytest.fixture
def balls():
    """160 bits, put back afterwards."""
    before = flint.ctx.prec
    flint.ctx.prec = 160
    yield
    flint.ctx.prec = before


@pytest.mark.parametrize(
    ("text", "slope", "curvature"),
    [
        # by hand: the zeros of the next derivative
        ("x/(1 + Abs(x))", 1, 2),
        ("x**2/(1 + Abs(x))", 1, 2),
        ("sqrt(1 + x**2)", 1, 1),
        ("asinh(x)", 1, 2 / math.sqrt(27)),
        ("x + sin(x)", 2, 1),
        ("3*sin(2*x) + x", 7, 12),
        ("exp(-x**2/2)", math.exp(-0.5), 1),
        ("exp(-exp(-x))", math.exp(-1), None),
        ("3*x", 3, 0),
        ("tanh(x/1000)*1000", 1, 4 / (3 * math.sqrt(3)) / 1000),
        ("tanh(1000*x)/1000", 1, 4000 / (3 * math.sqrt(3))),
    ],
)
def test_suprema_by_calculus(text, slope, curvature):
    """The bounds on sup|φ'| and sup|φ''| are above the values by hand, and equal to 12 digits."""
    found = bounds_on_line(read_half_lines(text))
    for interval, exact in ((found.slope, slope), (found.curvature, curvature)):
        if exact is not None:
            assert interval.low <= exact * (1 + 1e-15)
            assert interval.high >= exact * (1 - 1e-15)
            assert float(interval.high) == pytest.approx(exact, rel=1e-12, abs=0)


def test_moments_by_hand():
    """E of X², 1, |X|, X⁴ for φ = x, and of exp(-X²): 1/√5, 3^-3/2·... by Gaussian integrals."""
    line = bounds_on_line(read_half_lines("x"))
    assert [float(i.high) for i in (line.square, line.slope_square, line.fourth)] == [1, 1, 3]
    assert float(line.absolute.high) == pytest.approx(math.sqrt(2 / math.pi), rel=1e-15)
    bell = bounds_on_line(read_half_lines("exp(-x**2)"))
    assert float(bell.absolute.low) == pytest.approx(3**-0.5, rel=1e-14)
    assert float(bell.square.low) == pytest.approx(5**-0.5, rel=1e-14)
    assert float(bell.fourth.low) == pytest.approx(9**-0.5, rel=1e-14)
    assert float(bell.slope_square.low) == pytest.approx(4 * 5**-1.5, rel=1e-14)


@pytest.mark.parametrize("text", ["x*tanh(log(1 + exp(x)))", "sin(3*x)*exp(-x**2)", "x/(1+x**4)"])
def test_no_sample_is_above_the_bounds(text):
    """No value of |φ'| or |φ''| on a fine grid exceeds the bound; the largest comes close."""
    phi, z = from_text(text), np.concatenate([np.linspace(-9, 9, 300_001), np.geomspace(9, 300)])
    assert phi.proved
    for f, bound in ((phi.dphi, phi.B1), (phi.d2phi, phi.B2)):
        largest = np.max(np.abs(f(z)))
        assert bound * (1 - 1e-6) <= largest <= bound * (1 + 1e-14)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x**2", "grows"),
        ("Abs(x)**1.5", "grows without bound"),
        ("Abs(x)**1.5/(1 + Abs(x))", "not Lipschitz|φ'' grows without bound as x tends to 0"),
        ("x*log(1 + x**2)", "φ' grows without bound"),
        ("sin(x)*sqrt(1 + x**2)", "grows"),
        ("Max(x, 0)", "not Lipschitz"),
        ("log(1 + Abs(x))", "not Lipschitz"),
    ],
)
def test_what_is_unbounded_is_refused(text, reason):
    """φ' or φ'' that grows or jumps is refused with the reason, never bounded."""
    with pytest.raises(InputError, match=reason):
        from_text(text)


@pytest.mark.parametrize("text", ["x**2", "Abs(x)**1.5", "x*log(1 + x**2)", "Abs(x)", "exp(x)"])
def test_the_proofs_themselves_refuse(text):
    """Without any sampling, unbounded and jumping derivatives are refused by a proof."""
    with pytest.raises(InputError, match="A-5"):
        bounds_on_line(read_half_lines(text))


def test_pieces_are_not_certified():
    """A knot beside 0 hides a jump from φ'': no proof is claimed, and the evidence says sampled."""
    phi = from_text("Abs(x - 1)**2.5/(1 + x**2)")
    assert not phi.proved
    assert "sampled" in phi.constants.B1.evidence
    assert "pieces" in phi.constants.B1.evidence
    assert any("not proved" in text for text in width(**ASK, activation=phi).warnings)


def test_without_balls_it_is_sampled(monkeypatch):
    """Where python-flint is missing the constants are sampled, and the reason is told."""
    monkeypatch.setattr("kltheory.symbolic.fields.have_balls", lambda: False)
    phi = user_activation.from_text.__wrapped__("tanh(x)")
    assert not phi.proved
    assert "python-flint is not installed" in phi.constants.B2.evidence


def test_time_is_limited_and_the_precision_is_put_back():
    """With no time there is no proof; the precision of python-flint is as before."""
    before = flint.ctx.prec
    with pytest.raises(Undecided, match="time"):
        bounds_on_line(read_half_lines("tanh(x)"), seconds=-1.0)
    assert flint.ctx.prec == before


def test_proved_constants_reach_the_rows():
    """tanh as text asks for the widths of tanh, with proved constants and no warning."""
    text, name = (width(**ASK, activation=a, theory="corrected") for a in ("tanh(x)+0*x", "tanh"))
    assert text["B.1"].k == name["B.1"].k
    assert text["B.1"].constants["B2"].evidence == "proved"
    assert not any("proved" in warning for warning in text.warnings)


ENDS = (
    ("tanh(x)", math.tanh),
    ("x/(1 + x**2)", lambda x: x / (1 + x * x)),
    ("1/(1 + exp(-x))", lambda x: 1 / (1 + math.exp(-x))),
    ("exp(x)/(1 + exp(x)) - 1", lambda x: 1 / (1 + math.exp(-x)) - 1),
    ("log(1 + exp(-x))", lambda x: math.log1p(math.exp(-x))),
    ("x*exp(-x/3)", lambda x: x * math.exp(-x / 3)),
    ("log(x)/sqrt(x)", lambda x: math.log(x) / math.sqrt(x)),
    ("sqrt(x**2 + 1)/x", lambda x: math.sqrt(x * x + 1) / x),
    ("atan(x**3) + erf(x)*sin(x)", lambda x: math.atan(x**3) + math.erf(x) * math.sin(x)),
    ("1/(2 + cos(1/x))", lambda x: 1 / (2 + math.cos(1 / x))),
    ("asinh(x)/log(x)", lambda x: math.asinh(x) / math.log(x)),
    ("sinh(x)/cosh(x + 1)", lambda x: math.exp(-1) * (1 - math.exp(-2 * x))),
)


@pytest.mark.usefixtures("balls")
@settings(max_examples=30, deadline=None)
@given(start=st.floats(16, 300), beyond=st.floats(1, 2))
@pytest.mark.parametrize(("text", "f"), ENDS, ids=[text for text, _ in ENDS])
def test_an_end_encloses_what_is_beyond(text, f, start, beyond):
    """Values at any x ≥ M lie in the enclosure over [M, ∞)."""
    half = read_half_lines(text) if "log(x)" not in text else None
    if half is None:
        from kltheory.symbolic.parse import parse

        parsed = parse(text, "x")
        expr, symbol = parsed.expr, parsed.variable
    else:
        expr, symbol = half.right, half.variable
    low, high = End(symbol, start).span(expr)
    slack = 1e-9 if "cosh" in text else 1e-13  # the reference drops e^{-2x-2}
    assert float(low) - slack <= f(start * beyond) <= float(high) + slack


@pytest.mark.usefixtures("balls")
def test_an_end_says_when_it_grows():
    """Unboundedness is claimed for x, log x and x^-1/2 at 0, not for sin or x sin(x)."""
    half = read_half_lines("x")
    x = half.variable
    import sympy as sp

    assert End(x, 16.0).unbounded(sp.log(x) + sp.cos(x))
    assert End(x, 16.0, near_zero=True).unbounded(1 / sp.sqrt(x) - 3)
    assert not End(x, 16.0).unbounded(sp.sin(x))
    assert not End(x, 16.0).unbounded(x * sp.sin(x))
    assert not End(x, 16.0).unbounded(sp.sqrt(x**2 + 1) - x)


def test_a_callable_is_never_proved():
    """A Python function stays sampled, and rows M and C say why they are empty."""
    phi = from_callable(np.tanh, lambda z: 1 - np.tanh(z) ** 2)
    assert not phi.proved
    for train, theorem in (("hidden", "M"), ("both", "C")):
        row = row_of(phi, train, theorem)
        assert row.k is None
        assert "only a φ given as text" in row.reason


# -- monotone φ ------------------------------------------------------------------------------------


def row_of(activation, train, theorem):
    rows = width(**ASK, activation=activation, train=train, theory="sharp").rows
    return next(row for row in rows if row.theorem == theorem)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus", "erf", "arctan"])
def test_attainability_of_the_text_is_that_of_the_name(name):
    """The image found for the text of φ gives the k of Theorem M of the built-in φ."""
    text = get(name).formula + " + 0*x"
    for theorem in ("M", "M (columns only)"):
        assert row_of(text, "hidden", theorem).k == row_of(name, "hidden", theorem).k


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus", "erf", "arctan"])
def test_protection_of_the_text_is_not_better_than_that_of_the_name(name):
    """Theorem C of the text needs at least the neurons of the built-in φ, and at most twice."""
    ours, theirs = row_of(get(name).formula, "both", "C").k, row_of(name, "both", "C").k
    assert theirs <= ours <= 2 * theirs


@pytest.mark.parametrize(
    ("text", "low", "high", "never_zero"),
    [
        ("2 + tanh(x)", 1, 3, True),
        ("-1/(1 + exp(x))", -1, 0, True),
        ("x/(1 + Abs(x))", -1, 1, False),
        ("erfc(-x)", 0, 2, False),  # ∫ φ/φ' converges on the left: φ is a Gaussian tail
        ("2*x + sin(x)", None, None, False),
        ("log(1 + exp(-x))", 0, None, True),
        ("-log(1 + exp(x))", None, 0, True),
    ],
)
def test_images_by_hand(text, low, high, never_zero):
    """inf φ, sup φ, and whether a neuron can be driven to φ = 0."""
    branch = from_text(text).monotone
    for ends, exact in ((branch.infimum, low), (branch.supremum, high)):
        assert (ends is None) == (exact is None)
        if ends is not None:
            assert ends[0] <= exact <= ends[1]
            assert ends[1] - ends[0] <= 1e-20
    assert branch.never_zero is never_zero


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sin(x)", "not monotone"),
        ("x/(1 + exp(-x))", "not monotone"),
        ("x**3/(1 + x**2)", "not seen to be without a zero"),  # φ'(0) = 0
    ],
)
def test_other_branches_are_not_established(text, reason):
    """Where φ' has a zero rows M and C are empty and say why."""
    for train, theorem in (("hidden", "M"), ("both", "C")):
        row = row_of(text, train, theorem)
        assert row.k is None
        assert reason in row.reason


def test_attainability_needs_zero_in_the_closure_of_the_image():
    """2 + tanh has the image ]1, 3[: Theorem M is not claimed."""
    row = row_of("2 + tanh(x)", "hidden", "M")
    assert row.k is None
    assert "between inf φ and sup φ" in row.reason


@pytest.mark.parametrize(("text", "exact"), [("tanh(x)", lambda z: np.sinh(z) ** 2)])
def test_levels_are_below_the_integral(text, exact):
    """The pairs (z, g) satisfy g ≤ G(z) = sinh² z, and g is of the right size."""
    for levels in from_text(text).monotone.levels:
        z, g = np.array(levels).T
        assert np.all(g <= exact(z))
        assert np.all(g[z > 1] >= 0.4 * exact(z[z > 1]))


@pytest.mark.parametrize("text", ["x/(1 + Abs(x))", "atan(x) + x/3"])
def test_drawn_networks_keep_the_promises_of_a_text(text):
    """At the k of each theorem the event fails in no more than a share p of the draws."""
    asked = {"n": 3, "m": 2, "sigma_f": 0.5, "norm_f": 1, "y_norm": 1, "failure": 0.2}
    found = width(**asked, activation=text, train="hidden", theory="sharp")
    checks = check_widths(found, draws=20, seed=6, max_work=1e9)
    assert {"S4Q", "M"} <= {check.theorem for check in checks}
    assert all(check.holds for check in checks)
