"""Activations: φ and its derivatives, the enclosed constants, Z, G, and a user's φ."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from kltheory.activation import ACTIVATIONS, Activation, get
from kltheory.activation_branches import branches_of
from kltheory.errors import InputError, ParseError
from kltheory.numeric.user_activation import from_callable, from_text, resolve

REFERENCE = {
    # B1, B2, C_φ, C_φ', E|φ|, Eφ⁴ to 15 digits, by mpmath alone at 30 digits: tanh-sinh quadrature
    # on panels of [-14, 14], numerical derivatives, and Newton's iteration for the extrema.
    "sigmoid": (
        0.25,
        0.0962250448649376,
        0.54164475060513,
        0.211745699720666,
        0.5,
        0.13159431306638,
    ),
    "tanh": (
        1.0,
        0.769800358919501,
        0.627928730349107,
        0.681471131045379,
        0.5559793157821,
        0.252991883243951,
    ),
    "softplus": (
        1.0,
        0.25,
        0.959815559813082,
        0.54164475060513,
        0.80605918334744,
        2.33775215383196,
    ),
    "gelu": (
        1.12890414518515,
        0.797884560802865,
        0.65209008777185,
        0.675167287158736,
        0.398942280401433,
        1.30467909721713,
    ),
    "silu": (
        1.09983932012887,
        0.5,
        0.596469211122713,
        0.616021388941025,
        0.398942280401433,
        0.919164411255855,
    ),
    "sin": (
        1.0,
        1.0,
        0.6575198539829,
        0.753437218100026,
        0.579153218723036,
        0.307374291210181,
    ),
    "erf": (
        1.12837916709551,
        0.967882898076573,
        0.681585691162557,
        0.754592628332494,
        0.608173447969393,
        0.336636734846508,
    ),
    "arctan": (
        1.0,
        0.649519052838329,
        0.670597432469661,
        0.707106781186548,
        0.585070653851016,
        0.359151610178254,
    ),
}
NAMES = ("B1", "B2", "C_phi", "C_phi_prime", "mean_abs", "fourth_moment")
FORMULA = {
    "sigmoid": lambda m, x: 1 / (1 + m.exp(-x)),
    "tanh": lambda m, x: m.tanh(x),
    "softplus": lambda m, x: m.log(1 + m.exp(x)),
    "gelu": lambda m, x: x * m.ncdf(x),
    "silu": lambda m, x: x / (1 + m.exp(-x)),
    "sin": lambda m, x: m.sin(x),
    "erf": lambda m, x: m.erf(x),
    "arctan": lambda m, x: m.atan(x),
}
activations = pytest.mark.parametrize("name", ACTIVATIONS)


# -- φ and its derivatives -------------------------------------------------------------------------


@activations
def test_phi_is_the_formula_to_rounding(name):
    """φ, φ', φ'' agree with mpmath at 40 digits to a few units in the last place."""
    m = mpmath.MPContext()
    m.dps = 40
    phi = get(name)
    for x in (-30.0, -7.5, -2.0, -1e-3, 0.0, 0.3, 2.0, 9.0, 36.0):
        for order, f in enumerate((phi.phi, phi.dphi, phi.d2phi)):
            exact = m.diff(lambda t: FORMULA[name](m, t), m.mpf(x), order)
            assert abs(float(f(np.array(x))) - exact) <= 4e-15 * max(abs(exact), m.mpf(10) ** -25)


@activations
def test_phi_is_finite_far_out(name):
    """φ, φ' and φ'' are finite without a warning for |z| up to 1000, and keep the shape."""
    phi, z = get(name), np.linspace(-1e3, 1e3, 4002).reshape(2, -1)
    for f in (phi.phi, phi.dphi, phi.d2phi):
        assert f(z).shape == z.shape
        assert np.isfinite(f(z)).all()


def test_get_refuses_unknown_names():
    """An unknown name is answered with the names that there are."""
    with pytest.raises(InputError, match="sigmoid, tanh, softplus"):
        get("relu")
    assert get(get("erf")) is get("ERF")


# -- constants -------------------------------------------------------------------------------------


@activations
def test_constants_match_the_table_to_12_digits(name):
    """The six constants agree with those of another quadrature to more than 12 digits."""
    found = get(name).constants
    for label, reference in zip(NAMES, REFERENCE[name], strict=True):
        assert getattr(found, label).value == pytest.approx(reference, rel=2e-14), label


@activations
def test_enclosures_are_tight_and_say_why(name):
    """Each constant has 12 or more certified digits, ordered ends, and its evidence."""
    for label, c in get(name).constants.to_dict().items():
        assert c["lower"] <= c["value"] <= c["upper"]
        assert c["upper"] - c["lower"] <= 3e-16 * c["value"], label
        assert len(c["digits"].replace(".", "").lstrip("0")) >= 12 or c["lower"] == c["upper"]
        assert c["evidence"].startswith(("closed form", "quadrature", "value at", "Fourier"))


@activations
def test_b1_and_b2_bound_the_derivatives(name):
    """B1 ≥ |φ'| and B2 ≥ |φ''| on a fine grid, and both are attained to 1e-6."""
    phi, z = get(name), np.linspace(-40, 40, 800_001)
    for bound, f in ((phi.B1, phi.dphi), (phi.B2, phi.d2phi)):
        largest = np.max(np.abs(f(z)))
        assert bound * (1 - 1e-6) <= largest <= bound * (1 + 1e-15)


def test_b1_and_b2_are_rounded_up():
    """√(2/π) and 4/(3√3), as bounds, are not below the numbers that they stand for."""
    m = mpmath.MPContext()
    m.dps = 40
    assert m.mpf(get("gelu").B2) >= m.sqrt(2 / m.pi)
    assert m.mpf(get("tanh").B2) >= 4 / (3 * m.sqrt(3))
    assert m.mpf(get("erf").B1) >= 2 / m.sqrt(m.pi)


# -- Z, G and the branches -------------------------------------------------------------------------

POINTS = np.array([-5.5, -3.3, -2.0, -1.5, -0.9, -0.4, 0.25, 0.7, 1.2, 2.1, 3.3, 4.0])


@activations
def test_z_and_g_are_primitives(name):
    """Differences of Z and of G on a branch are ∫ 1/φ' and ∫ 2φ/φ' by adaptive quadrature."""
    phi, b = get(name), get(name).branches
    low, high = b.interval(POINTS)
    for x, lo, hi in zip(POINTS, low, high, strict=True):
        start = 0.5 * (lo + hi) if np.isfinite([lo, hi]).all() else x - 0.35
        start = min(max(start, lo + 0.1), hi - 0.1)
        for primitive, f in (
            (b.Z, lambda t: 1 / phi.dphi(t)),
            (b.G, lambda t: 2 * phi.phi(t) / phi.dphi(t)),
        ):
            ends = primitive(np.array([start, x]))
            expected = quad(f, start, x, epsabs=1e-13, epsrel=1e-12, limit=300)[0]
            assert ends[1] - ends[0] == pytest.approx(expected, rel=1e-9, abs=1e-11)


@activations
def test_z_inverse_undoes_z(name):
    """Z⁻¹(Z(z)) = z on the branch of z, and the result stays on that branch."""
    b = get(name).branches
    z = np.concatenate([POINTS, np.random.default_rng(1).normal(size=200)])
    assert np.allclose(b.Z_inverse(b.Z(z), z), z, rtol=1e-12, atol=1e-12)
    low, high = b.interval(z)
    moved = b.Z_inverse(b.Z(z) + 0.75, z)
    assert ((low < moved) & (moved < high)).all()


@activations
def test_image_is_where_phi_lives(name):
    """φ maps a branch into its image, and comes close to both ends."""
    phi, b = get(name), get(name).branches
    z = np.linspace(-60, 60, 24_001) + 1e-4
    low, high = b.image(z)
    values = phi.phi(z)
    assert ((low <= values) & (values <= high)).all()
    first = np.isclose(low, low[0]) & np.isclose(high, high[0])
    assert np.min(values[first]) - low[0] < 0.03


@activations
@settings(max_examples=40, deadline=None)
@given(z0=st.floats(-4, 4), drop=st.floats(0, 6))
def test_lowest_is_the_least_phi_with_that_much_g(name, z0, drop):
    """At the returned |φ|, G has dropped by exactly `drop`; below it G would be lower still."""
    phi, b = get(name), get(name).branches
    if abs(phi.dphi(np.array(z0))) < 1e-3 or abs(phi.phi(np.array(z0))) < 1e-6:
        return
    start = np.array([z0])
    least = float(b.lowest(start, np.array([drop]))[0])
    low, high = b.interval(start)
    grid = np.linspace(max(low[0], -12.0), min(high[0], 12.0), 40_003)[1:-1]
    with np.errstate(all="ignore"):
        g = b.G(grid)
    same_sign = np.sign(phi.phi(grid)) == np.sign(phi.phi(start))
    allowed = same_sign & (g >= b.G(start)[0] - drop)
    brute = np.min(np.abs(phi.phi(grid[allowed])), initial=abs(float(phi.phi(start)[0])))
    if brute < 5e-3:  # the grid ends before |φ| is small
        assert least < 6e-3
    else:
        assert least == pytest.approx(brute, abs=3e-3)


def test_lowest_closed_forms():
    """tanh: G = sinh²; sin: |cos| grows by e^{drop/2}; both 0 where nothing protects the neuron."""
    z, drop = np.array([1.3, 0.2]), np.array([0.7, 0.7])
    s2 = math.sinh(1.3) ** 2 - 0.7
    assert get("tanh").branches.lowest(z, drop) == pytest.approx([math.sqrt(s2 / (1 + s2)), 0.0])
    c = math.cos(1.3) * math.exp(0.35)
    assert get("sin").branches.lowest(z, drop) == pytest.approx([math.sqrt(1 - c * c), 0.0])


def test_critical_points_of_gelu_and_silu():
    """φ' changes sign at -0.7517915247 and -1.2784645428, and the branches end there."""
    for name, critical in (("gelu", -0.7517915247), ("silu", -1.2784645428)):
        low, high = get(name).branches.interval(np.array([-3.0, 3.0]))
        assert (high[0], low[1]) == pytest.approx((critical, critical), abs=1e-9)
        assert np.isinf([low[0], high[1]]).all()


# -- a user's φ ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_text_gives_the_same_constants_as_the_name(name):
    """φ as text has the constants of the built-in φ to 12 digits, as upper and lower bounds."""
    text, built = from_text(get(name).formula), get(name)
    assert text.proved
    for label in NAMES:
        ours, theirs = getattr(text.constants, label), getattr(built.constants, label)
        assert ours.low <= theirs.high, label
        assert theirs.low <= ours.high, label
        assert ours.upper == pytest.approx(theirs.value, rel=1e-13), label
        assert ours.lower == pytest.approx(theirs.value, rel=1e-13), label
        assert "ball arithmetic" in ours.evidence
    z = np.linspace(-5, 5, 101)
    assert np.allclose(text.d2phi(z), built.d2phi(z), atol=1e-12)


def test_text_with_absolute_value_is_right_on_both_sides():
    """x/(1 + |x|) is odd: the reader knows x > 0 only, and is asked twice."""
    softsign, z = resolve("x/(1 + Abs(x))"), np.linspace(-4, 4, 81)
    assert np.allclose(softsign.phi(z), z / (1 + np.abs(z)))
    assert np.allclose(softsign.dphi(z), 1 / (1 + np.abs(z)) ** 2)


def test_a_sympy_expression_is_taken():
    """A SymPy expression in x is the activation that its text writes."""
    import sympy

    x = sympy.Symbol("x")
    assert resolve(x / sympy.sqrt(1 + x**2)).B1 == resolve("x/sqrt(1 + x**2)").B1


def test_a_users_phi_has_branches():
    """x/(1 + x²) is monotone between -1 and 1, where Z is found by quadrature."""
    b = resolve("x/(1+x**2)").branches
    assert [float(e[0]) for e in b.interval(np.array([0.3]))] == pytest.approx([-1, 1], abs=1e-12)
    z = np.array([0.5, -0.25])
    # ∫ (1 + x²)²/(1 - x²) dx = 4 artanh x - 3x - x³/3
    exact = 4 * np.arctanh(z) - 3 * z - z**3 / 3
    zero = float(b.Z(np.array([0.0]))[0])
    assert b.Z(z) - zero == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("relu", "φ' jumps from 0 to 1 at 0"),
        ("Max(x, 0)", "not Lipschitz"),
        ("Abs(x)", "not Lipschitz"),
        ("sqrt(Abs(x))", "not|grows"),
        ("x**2", "grows"),
        ("exp(x)", "grows"),
        ("log(x)", "not real"),
        ("1/x", "not Lipschitz|not finite"),
        ("a*x", "a has no value"),
        ("softmax", "does not act on each coordinate"),
        ("nonsense", "allowed are sigmoid"),
    ],
)
def test_violations_of_a5_are_refused_with_the_reason(text, reason):
    """A φ without a bounded and Lipschitz derivative is refused, and the message says why."""
    with pytest.raises(InputError, match=reason):
        resolve(text)


def test_text_is_never_executed():
    """What is not a formula is a parse error."""
    with pytest.raises(ParseError):
        resolve("__import__('os').system('x')")


def test_callables_are_checked():
    """A wrong derivative, a constant φ, a kink and a bound that is too small are found."""
    ok = from_callable(np.arctan, lambda z: 1 / (1 + z * z), name="mine")
    assert ok.B2 == pytest.approx(3 * math.sqrt(3) / 8, rel=1e-6)
    assert isinstance(ok, Activation)
    assert not ok.built_in
    with pytest.raises(InputError, match="not the derivative"):
        from_callable(np.sin, np.sin)
    with pytest.raises(InputError, match="constant"):
        from_callable(lambda z: 0 * z, lambda z: 0 * z)
    with pytest.raises(InputError, match="not Lipschitz"):
        from_callable(lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0)
    with pytest.raises(InputError, match="at least 1"):
        from_callable(np.sin, np.cos, slope_bound=0.5)
    with pytest.raises(InputError, match="not finite"):
        from_callable(lambda z: np.where(z == z, np.nan, z), np.cos)
    assert from_callable(np.sin, np.cos, slope_bound=1.0).constants.B1.value == 1.0


def test_constants_and_branches_are_computed_once():
    """The constants of an activation are computed on first use and kept."""
    assert get("tanh").constants is get("tanh").constants
    assert branches_of(get("tanh")) is branches_of(get("tanh"))
