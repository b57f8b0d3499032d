"""Where numbers end: infinite and zero times, limits, refusals, and the way back of each bound."""

import math
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

import kltheory as kl
from kltheory.activation import get
from kltheory.certification import Survey
from kltheory.constants import Constant, Evidence
from kltheory.errors import InputError
from kltheory.loss_functions import RadialLoss
from kltheory.loss_functions import get as get_loss
from kltheory.numeric import inverse_questions as ask
from kltheory.numeric import recovery
from kltheory.numeric.certificate import ladder
from kltheory.numeric.certificate_law import Law, MirrorLaw, Piece, is_concave, path_left
from kltheory.numeric.curve import Curve
from kltheory.numeric.estimate import estimate_from_decay, estimate_from_gradients
from kltheory.numeric.guarantees import constants
from kltheory.numeric.kl_test import ball_points, kl_test
from kltheory.numeric.march import BALL_LOCK, TooHard
from kltheory.numeric.poisson import poisson_v_max
from kltheory.numeric.reach_proof import BoxImage, exact_gap
from kltheory.numeric.reach_rate import mirror_rate
from kltheory.numeric.rounding import down, up
from kltheory.numeric.sample_complexity import measurements, width_l1, width_linf, width_subspace
from kltheory.numeric.sampled import SampledCurve
from kltheory.symbolic.samples import cubics

MSE = kl.loss("mse")
LARGEST = math.nextafter(math.inf, 0)


def bound(**constants):
    return kl.rate(MSE).bound(**{"kappa": 1, "loss0": 1} | constants)


# -- what is refused -------------------------------------------------------------------------------


def given_bound(**constants):
    return bound(**{"noise": "0.1", "mu": 1, "lip_f": 0, "dist": 0} | constants)


PSI = kl.Desingularizer.from_psi("sqrt(2*s)")
REFUSED = [
    (lambda: constants(kappa=1, sigma_f=1, loss0=1), "kappa is given with sigma_f"),
    (lambda: constants(sigma_j=1, loss0=1), "sigma_f is missing"),
    (lambda: constants(sigma_f=1, loss0=1), "sigma_j is missing"),
    (lambda: constants(kappa=-1, loss0=1), "kappa = -1 is given; a positive number"),
    (lambda: constants(kappa=1, loss0=0), "loss0 = 0 is given; a positive number"),
    (lambda: constants(kappa=1, loss0=1, noise=-1), "noise = -1 is given; a non-negative number"),
    (lambda: bound().signal(1), "needs mu, noise, lip_f, dist"),
    (lambda: bound(mu=1, noise=0).signal(1), "needs lip_f, dist"),
    (lambda: bound().stopping_time(), "needs the noise level"),
    (lambda: bound().loss([0.0, math.nan]), "t holds NaN or infinity"),
    (lambda: bound().loss(math.inf), "t is inf; a finite number"),
    (lambda: ask.needed_sigma_j(bound(theory="printed"), 1, loss=1), "corrected theory"),
    (lambda: ask.needed_sigma_j(bound(), 1, sigma_f=1), "give loss= or observation="),
    (
        lambda: ask.needed_sigma_j(bound(), 1, sigma_f=1, loss=1, observation=1),
        "give loss= or observation=",
    ),
    (lambda: ask.needed_sigma_j(bound(), 0, sigma_f=1, loss=1), "t and sigma_f must be positive"),
    (lambda: ask.needed_sigma_j(bound(), 1, sigma_f=0, loss=1), "t and sigma_f must be positive"),
    (lambda: ask.needed_sigma_j(bound(), 1, loss=1), "sigma_f is missing"),
    (lambda: ask.time_to_signal_error(given_bound(), 1, mu=0), "mu must be positive"),
    (lambda: ask.time_to_signal_error(bound(noise=0, mu=1, dist=0), 1), "lip_f is missing"),
    (lambda: ask.time_to_observation_error(bound(), 1), "noise is missing"),
    (lambda: ask.time_to_loss(bound(theory="printed"), 1), "printed bounds"),
    (
        lambda: recovery.signal_error(1.0, mu=1, noise=0, theory="printed", sigma_f=1),
        "needs sigma_f and sigma_j",
    ),
    (lambda: recovery.signal_error(1.0, mu=1, noise=0, theory="other"), "theory = 'other'"),
    (
        lambda: recovery.local_signal_error(
            1.0, mu=1, noise=0, lip_jacobian=0, theory="printed", sigma_f=1, sigma_j=1
        ),
        "lip_jacobian > 0",
    ),
    (
        lambda: recovery.local_signal_error(1.0, mu=1, noise=0, lip_jacobian=1, theory="sharp"),
        "choose corrected or printed",
    ),
    (lambda: estimate_from_gradients([1.0, 2.0], [[1.0, 2.0]]), "two equal lists"),
    (lambda: estimate_from_decay([0.0, math.nan], [2.0, 1.0]), "two equal lists"),
    (
        lambda: estimate_from_decay(np.arange(30.0), np.exp(-np.arange(30.0)), confidence=1),
        "confidence = 1 is given",
    ),
    (lambda: poisson_v_max([1.0, -1.0], 1.0), "y holds counts"),
    (lambda: poisson_v_max([], 1.0), "y holds counts"),
    (lambda: poisson_v_max([1.0], 0.0), "r0 = 0.0 is given"),
    (lambda: poisson_v_max([1.0], math.nan), "r0 = nan is given"),
    (lambda: kl_test("v1**2"), "needs psi and points"),
    (lambda: kl_test("v1**2", psi=PSI, points=[1.0]), r"shape \(N, m\)"),
    (lambda: kl_test("v1**2", psi=PSI, points=[[math.nan]]), r"shape \(N, m\)"),
    (
        lambda: kl_test(lambda v: "much", lambda v: v, PSI, [[1.0]]),
        "value returned 'much'; a finite number",
    ),
    (
        lambda: kl_test(lambda v: v @ v / 2, lambda v: [1.0, 2.0], PSI, [[1.0]]),
        r"gradient has shape \(2,\)",
    ),
    (lambda: ball_points([0.0], radius=0.0, n=1, seed=0), "radius > 0"),
    (lambda: ball_points([0.0], radius=math.inf, n=1, seed=0), "radius > 0"),
    (lambda: ball_points([0.0], radius=1.0, n=0, seed=0), "n >= 1"),
    (lambda: ball_points([[0.0]], radius=1.0, n=1, seed=0), r"shape \(m,\)"),
    (lambda: width_subspace(0), "dimension = 0 is given; a whole number >= 1"),
    (lambda: width_subspace(True), "dimension = True is given"),
    (lambda: width_subspace(1.5), "dimension = 1.5 is given"),
    (lambda: width_l1(3, 4), "sparsity = 4 is given; it is at most n = 3"),
    (lambda: width_linf(3, 4), "saturated = 4 is given; it is at most n = 3"),
    (lambda: measurements(1.0, failure=1.0), "failure = 1.0 is given"),
    (lambda: measurements(-1.0, failure=0.1), "width = -1.0 is given"),
    (lambda: measurements(1.0, failure=0.1, theory="other"), "theory = 'other'"),
    (lambda: SampledCurve(cubics([(1, 2), (4, 8)]), Fraction(1)), "loss0 must be above"),
    (lambda: SampledCurve(cubics([(1, 2), (4, 8)]), Fraction(5)), "loss0 must be above"),
    (lambda: Law(MSE, 1.0, [Piece(Fraction(0), Fraction(1), Fraction(0))]), "positive speed"),
    (lambda: Law(MSE, 1.0, [Piece(Fraction(0), Fraction(0), Fraction(0))]), "positive speed"),
]


@pytest.mark.parametrize(("call", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_is_not_allowed_is_refused_with_what_is(call, said):
    """Each argument out of range is an `InputError` of at most two lines that names it."""
    with pytest.raises(InputError, match=said) as refusal:
        call()
    assert len(str(refusal.value).splitlines()) <= 2


# -- rounding and exact constants ------------------------------------------------------------------


def test_numbers_beyond_every_float_are_rounded_to_their_side():
    """Above the largest float up is infinite and down the largest; below, the other way round."""
    huge = Fraction(10) ** 400
    assert (up(huge), down(huge)) == (math.inf, LARGEST)
    assert (up(-huge), down(-huge)) == (-LARGEST, -math.inf)


@given(st.integers(2, 50).filter(lambda n: math.isqrt(n) ** 2 != n))
def test_an_irrational_constant_is_moved_to_the_safe_side(n):
    """κ = √n as an expression is taken below √n, ‖ε‖ = √n above it, both to 40 digits."""
    found = constants(kappa=sp.sqrt(n), loss0=1, noise=sp.sqrt(n))
    assert found.kappa**2 < n < found.noise**2
    assert found.noise - found.kappa < Fraction(1, 10**40)


def test_a_speed_beyond_every_float_is_infinite_and_its_bounds_are_not():
    """κ = 10^400 as a float is inf; at t = 10^-400 the loss is e^{-2} all the same."""
    found = bound(kappa="1e400")
    assert found.kappa == math.inf
    at = found.loss(Fraction(1, 10**400))
    assert math.exp(-2) <= at <= math.exp(-2) * (1 + 1e-12)


# -- what results say ------------------------------------------------------------------------------


def test_an_answer_says_its_value_or_why_there_is_none():
    """str of an answer ends with the value, or with what is impossible; to_dict is all of it."""
    there = ask.time_to_loss(bound(), "0.5")
    assert str(there) == f"{there.question}: {there.value}"
    assert there.possible
    never = ask.time_to_loss(bound(), 0)
    assert str(never).startswith(f"{never.question}: impossible")
    assert not never.possible
    for answer in (there, never):
        assert answer.to_dict() == asdict(answer) | {"possible": answer.possible}


def test_a_guarantee_says_what_it_rests_on():
    """str of a guarantee names the theorem, the bound, the evidence and each assumption."""
    found = recovery.signal_error(1.0, mu=Constant(2, Evidence.PROVED, "by hand"), noise=0)
    said = str(found)
    assert said.startswith("(13), corrected: ‖x(t) - x̄‖")
    assert f"bound {found.value}" in said
    assert "constants: assumed" in said
    assert all(f"{a.id} {a.status}" in said for a in found.assumptions)


def test_an_infinite_error_in_the_observation_stays_infinite():
    """Where nothing bounds ‖y(t) - y‖, nothing bounds the signal's; to_dict says "inf"."""
    found = recovery.signal_error(np.array([math.inf, 1.0]), mu=2, noise=0)
    assert found.value.tolist() == [math.inf, 0.5]
    assert found.to_dict()["value"] == ["inf", 0.5]


def test_estimates_and_widths_are_plain_data():
    """to_dict holds all that the results hold, tuples as lists."""
    s = np.logspace(-6, 0, 40)
    found = estimate_from_gradients(s, np.sqrt(2 * s))
    plain = found.to_dict()
    assert plain["alpha_interval"] == list(found.alpha_interval)
    assert plain["c_interval"] == list(found.c_interval)
    assert plain["points"] == 40
    missing = estimate_from_gradients(s[:2], s[:2]).to_dict()
    assert (missing["verdict"], missing["c_interval"]) == ("insufficient data", None)
    width = width_subspace(4)
    assert width.to_dict() == asdict(width)
    need = measurements(width, failure=0.1)
    assert need.to_dict() == asdict(need) | {"assumptions": list(need.assumptions)}


def test_a_test_at_no_point_says_that_nothing_was_tested():
    """Points outside ]0, r0[ are skipped; with none left the verdict says so."""
    found = kl_test("v1**2/2", psi=PSI, points=[[0.0], [0.0]])
    assert (found.points, found.skipped, found.at, found.loss) == (0, 2, None, None)
    assert str(found) == "no point has 0 < L < r0: nothing was tested"
    assert found.to_dict()["smallest"] is None
    near = kl_test("v1**2/2", psi=PSI, points=[[1.0], [0.5]])
    assert str(near).startswith("consistent on 2 points")
    assert not near.at.flags.writeable


# -- estimates -------------------------------------------------------------------------------------


def test_an_estimate_that_data_cannot_carry_is_not_given():
    """Rates that jump, a slope of no exponent and losses in few groups: each is said, no number."""
    rng = np.random.default_rng(0)
    s = np.logspace(-2, 0, 40)
    jumping = estimate_from_gradients(s, np.sqrt(s) * np.exp(3 * rng.standard_normal(40)))
    assert "only known to" in jumping.reason
    groups = np.array([1e-2] * 5 + [1.0] * 5)
    assert "too few groups" in estimate_from_gradients(groups, np.sqrt(groups)).reason
    t = np.cumsum(np.exp(4 * rng.standard_normal(60)))
    assert "only known to" in estimate_from_decay(t, np.exp(-np.arange(60) / 20)).reason
    steps = np.repeat([1.0, 1e-2], 8)  # one fall, and nothing else
    assert "steadily" in estimate_from_decay(np.arange(16), steps).reason
    fast = -np.expm1(np.linspace(-30, -1e-3, 200))  # L' = -L^-1 and faster: α < 0 or > 1
    wrong = estimate_from_decay(np.linspace(0, 1, 200), 1 / (1 + np.expm1(fast) ** 2 * 1e6))
    assert wrong.alpha is None


# -- Poisson ---------------------------------------------------------------------------------------


@given(st.floats(1e-6, 1e6), st.floats(1e-3, 1e3))
def test_the_largest_count_solves_its_equation(y, share):
    """v = y t with t - 1 - log t = r0/y, t > 1, and v is not below that root."""
    t = poisson_v_max([y], share * y) / y
    assert t > 1
    assert t - 1 - math.log(t) == pytest.approx(share, rel=1e-6)
    assert t - 1 - math.log(t) >= share * (1 - 1e-12)


def test_the_largest_of_several_counts_is_taken():
    """The bound holds for each entry: it is the largest of theirs."""
    several = poisson_v_max([1.0, 5.0, 0.01], 2.0)
    assert several == max(poisson_v_max([y], 2.0) for y in (1.0, 5.0, 0.01))


def test_a_count_of_zero_allows_r0_itself():
    """L = v where y = 0, so that v < r0 there; other counts allow more."""
    assert 0.5 <= poisson_v_max([0.0], 0.5) <= 0.5 * (1 + 1e-8)
    assert poisson_v_max([0.0, 2.0], 0.5) == poisson_v_max([2.0], 0.5) > 2.0


# -- ψ at samples ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sampled():
    """Samples of ψ = √(2s), not evenly spaced."""
    points = [Fraction(k * k, 16) for k in (1, 2, 3, 5, 8)]
    return SampledCurve(cubics([(s, Fraction(math.sqrt(2 * s))) for s in points]), Fraction(3))


def test_the_time_of_a_sampled_law_is_the_integral_of_its_slope(sampled):
    """time_to_loss(v) = ∫ ψ'² from v to L0 over the cubics, by quadrature."""
    for v in (Fraction(1, 16), Fraction(1, 5), Fraction(9, 16), Fraction(2), Fraction(29, 10)):
        expected = 0.0
        for q in sampled._pieces:
            low, high = max(float(q.start), float(v)), min(float(q.end), 3.0)
            _, b, c, d = map(float, q.coefficients)
            a = float(q.start)
            if low < high:
                slope = np.polynomial.Polynomial([b, 2 * c, 3 * d])
                expected += quad(lambda s, f=slope, a=a: f(s - a) ** 2, low, high)[0]
        assert sampled.time_to_loss(v) == pytest.approx(expected, rel=1e-12)


@given(st.floats(0.0, 1.0))
def test_a_sampled_law_and_its_times_are_inverse(part):
    """loss(time_to_loss(v)) is v within two floats, not below it at a time rounded down."""
    curve = SampledCurve(cubics([(1, 2), (4, 7), (9, 9)]), Fraction(8))
    v = Fraction(1 + 6.9 * part)
    kt = curve.time_to_loss(v)
    assert curve.loss(Fraction(math.nextafter(kt, 0.0))) >= v
    assert curve.loss(Fraction(kt)) <= math.nextafter(float(v), math.inf) * (1 + 1e-15)
    assert curve.psi(Fraction(kt)) == pytest.approx(float(curve._value(v)), rel=1e-12)
    log = curve.log_decrease(Fraction(kt))
    assert log <= math.log(8 / v) * (1 + 1e-15)
    assert log == pytest.approx(math.log(8 / v), rel=1e-9, abs=1e-12)


def test_a_sampled_law_stops_at_its_smallest_sample(sampled):
    """From the time of the smallest sample on the bounds stay; what lies below it is refused."""
    end = Fraction(sampled.time_to_loss(sampled.least))
    assert sampled.loss(end) == sampled.loss(10 * end) == 1 / 16
    assert sampled.loss(end * Fraction(99, 100)) > 1 / 16
    assert sampled.loss(0) == 3.0
    assert sampled.extinction() == math.inf
    assert sampled.psi0 == sampled.psi(0) == pytest.approx(math.sqrt(6), rel=2e-2)
    with pytest.raises(InputError, match="smallest sample"):
        sampled.time_to_loss(Fraction(1, 17))
    with pytest.raises(InputError, match="samples nearer to 0"):
        sampled.stopping(Fraction(1, 10))


def test_the_stopping_time_of_a_sampled_law_is_where_psi_is_the_noise(sampled):
    """ψ at the stopping time is ‖ε‖; it is 0 for ‖ε‖ >= ψ(L0), and later for less noise."""
    assert sampled.stopping(10) == 0.0
    assert sampled.time_to_loss(4) == 0.0
    times = [sampled.stopping(Fraction(e)) for e in (2.4, 1.5, 1.0, 0.5)]
    assert all(a < b for a, b in pairwise(times))
    for e, t in zip((2.4, 1.5, 1.0, 0.5), times, strict=True):
        assert sampled.psi(Fraction(t)) == pytest.approx(e, rel=1e-12)


# -- laws of certificates --------------------------------------------------------------------------


def mirror_law(loss, y=0.5):
    """One neuron tanh, y inside its image: the certificate is proved."""
    found = mirror_rate([[1.0]], [y], [0.0], get("tanh"), loss=loss)
    assert found.proved
    radial = isinstance(loss, RadialLoss)
    pieces = (Piece(Fraction(found.rate), Fraction(0), Fraction(0)),) if radial else ()
    value = float(loss.value(np.array([y]), np.zeros(1)))
    return MirrorLaw(found, kl.loss(loss.name), value, pieces)


@pytest.mark.parametrize("name", ["mse", "log-cosh"])
def test_the_time_for_a_loss_is_inverse_to_the_bound_of_the_mirror_law(name):
    """At the time for a loss the bound is just below it, and before it above; 0 takes for ever."""
    law = mirror_law(get_loss(name))
    for share in (0.5, 1e-2):
        t = law.time_to_loss(law.loss0 * share)
        assert law.loss(t) <= law.loss0 * share < law.loss(t * (1 - 1e-6))
    assert law.time_to_loss(law.loss0 * 2) == 0.0
    assert law.time_to_loss(0) == math.inf


def test_the_stopping_time_of_the_mirror_law_is_inverse_to_its_error():
    """At the stopping time the bound on ‖y(t) - y‖ is just below ‖ε‖; none for ‖ε‖ = 0."""
    law = mirror_law(get_loss("mse"))
    for share in (0.5, 1e-2):
        t = law.stopping_time(law.psi(0.0) * share)
        assert law.psi(t) <= law.psi(0.0) * share < law.psi(t * (1 - 1e-6))
    assert law.stopping_time(law.psi(0.0) * 2) == 0.0
    assert law.stopping_time(0) == math.inf


@pytest.mark.parametrize("name", ["mse", "huber", "power"])
def test_the_mirror_law_never_says_that_the_loss_is_zero(name):
    """No finite time brings the loss to 0: below every float the bounds stay above 0."""
    law = mirror_law(get_loss(name, **{"power": {"p": 0.5}, "huber": {"delta": 0.1}}.get(name, {})))
    late = np.array([1e3, 1e4, 1e6, 1e300])
    assert np.all(law.psi(late) > 0)
    assert np.all(law.loss(late) > 0)


def test_the_mirror_law_of_a_radial_loss_bounds_the_path():
    """‖θ(t) - θ(∞)‖ <= ∫₀^p dπ/√λ = p/√λ, p the bound on the residual, at each time of an array."""
    law = mirror_law(get_loss("mse"))
    t = np.array([0.0, 1.0, 5.0])
    expected = law.psi(t) / math.sqrt(law.mirror.rate)
    assert np.all(law.parameters(t) >= expected * (1 - 1e-15))
    assert law.parameters(t) == pytest.approx(expected, rel=1e-12)


def test_no_path_is_bounded_without_a_rate():
    """A loss that is not radial has no rate: its path is bounded by nothing."""
    law = mirror_law(get_loss("log-cosh"))
    assert not law.pieces
    assert law.parameters([0.0, 10.0]).tolist() == [math.inf, math.inf]


def test_a_speed_of_zero_leaves_an_infinite_path():
    """Where s may be 0 on the way, no path length follows."""
    assert path_left([Piece(Fraction(0), Fraction(0), Fraction(0))], Fraction(1)) == math.inf


def test_a_law_started_at_a_zero_loss_is_concave_there():
    """Nothing is asked of ψ where the loss cannot fall; else its ψ'' is looked at."""
    convex = kl.Desingularizer.from_psi("s + s**2")
    assert is_concave(convex, 0.0)
    assert not is_concave(convex, 1.0)
    assert is_concave(MSE, 1.0)


# -- the printed forms -----------------------------------------------------------------------------


def both_theories(psi, **constants):
    law = kl.rate(psi)
    return law.bound(**constants), law.bound(**constants, theory="printed")


@pytest.mark.parametrize(("alpha", "c"), [(0.25, 3.0), (0.4, 0.5), (0.5, 2.0)])
def test_corollary_3_3_as_printed_lacks_the_factors_of_the_path(alpha, c):
    """For ψ = c s^α, α <= 1/2: its loss is V, its path V^α (V for 1/2), not c V^α/√κ."""
    psi = kl.loss("lojasiewicz", alpha=repr(alpha), c=repr(c))
    right, printed = both_theories(psi, kappa="0.3", loss0="0.7")
    for t in (1, 7, 40):
        value = right.loss(t)
        assert printed.loss(t) == pytest.approx(value, rel=1e-12)
        assert right.parameters(t) == pytest.approx(c * value**alpha / math.sqrt(0.3), rel=1e-12)
        path = value if alpha == 0.5 else value**alpha
        assert printed.parameters(t) == pytest.approx(path, rel=1e-12)


def test_corollary_3_3_as_printed_says_nothing_before_gamma_is_positive():
    """For α > 1/2, Ψ(L0) < 0: infinite up to its t0, and ((2α-1)γ/(α²c²))^{-1/(2α-1)} after it."""
    _, printed = both_theories("s**(3/4)", kappa=1, loss0=1)
    t0 = 9 / 8  # Ψ(s) = -(9/16)·2·√s
    assert printed.loss("1.12") == math.inf
    assert printed.loss(2) == pytest.approx((8 / 9 * (2 - t0)) ** -2, rel=1e-12)
    assert printed.parameters(2) == pytest.approx((8 / 9 * (2 - t0)) ** -1.5, rel=1e-12)


def test_printed_bounds_that_are_right_are_the_derived_ones():
    """For a ψ that is no power the printed (10) and (11) are those of the proof."""
    right, printed = both_theories("sqrt(s) + s", kappa="0.3", loss0="0.7")
    for t in (0, 1, 7):
        assert printed.loss(t) == pytest.approx(right.loss(t), rel=1e-12)
        assert printed.parameters(t) == pytest.approx(right.parameters(t), rel=1e-12)


def test_the_first_term_of_the_printed_signal_has_a_factor_too_many():
    """(13) as printed exceeds the corrected one by p/μ (1/√κ - 1), √κ = σ_F σ_J/2."""
    more = {"noise": "0.1", "mu": 2, "lip_f": 3, "dist": "0.01"}
    right, printed = both_theories(MSE, sigma_f=1, sigma_j="0.5", loss0=1, **more)
    for t in (0, 5):
        excess = right.observation(t) / 2 * (4 - 1)
        assert printed.signal(t) - right.signal(t) == pytest.approx(excess, rel=1e-10)


def test_the_printed_stopping_time_by_hand():
    """ψ = √(2s), Ψ(s) = -log(s)/2: Ψ(ε²/2)/κ - Ψ(L0), also for ‖ε‖ > ψ(L0)."""
    right, printed = both_theories(MSE, kappa="0.5", loss0=3)
    for eps in ("0.1", "7"):
        at_noise = -math.log(float(eps) ** 2 / 2) / 2
        expected = at_noise / 0.5 + math.log(3) / 2
        assert printed.stopping_time(eps) == pytest.approx(expected, rel=1e-12)
    assert right.stopping_time(7) == 0.0
    assert printed.stopping_time(0) == right.stopping_time(0) == math.inf


def test_a_printed_formula_without_a_closed_form_is_refused():
    """Without a closed Ψ there is no printed (12); without a closed ψ⁻¹ none for ‖ε‖ > ψ(L0)."""
    found = kl.rate("sqrt(s) + tanh(s)").bound(kappa=1, loss0=1, theory="printed")
    with pytest.raises(InputError, match="closed form of Ψ"):
        found.stopping_time("0.1")
    found = kl.rate("sqrt(s) + s**3").bound(kappa=1, loss0=1, theory="printed")
    assert math.isfinite(found.stopping_time("0.1"))
    with pytest.raises(InputError, match="no closed ψ⁻¹"):
        found.stopping_time(4)


# -- exponents, exactly ----------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "c", "kappa"), [(0.25, 2.0, 0.5), (0.4, 0.7, 3.0)])
def test_a_decay_by_its_formula_gives_alpha_and_c_with_their_intervals(alpha, c, kappa):
    """V = (L0^{2α-1} + (1-2α)κt/(αc)²)^{-1/(1-2α)}: α, c/√κ, and both inside their intervals."""
    t = np.linspace(0, 40, 400) ** 2
    b = 1 - 2 * alpha
    found = estimate_from_decay(t, (1 + b * kappa * t / (alpha * c) ** 2) ** (-1 / b))
    assert found.alpha == pytest.approx(alpha, abs=5e-3)
    assert found.c == pytest.approx(c / math.sqrt(kappa), rel=2e-2)
    assert found.c_interval[0] <= found.c <= found.c_interval[1]
    low, high = (found.c_interval[i] / found.c for i in (0, 1))
    assert 0.9 < low <= 1 <= high < 1.1


def test_noise_on_a_decay_widens_the_interval_of_c():
    """With 1 % noise the interval holds c/√κ = 4 in 8 of 10 runs, and is wider than without."""
    t = np.linspace(0, 1000, 2000)
    clean = (1 + 0.5 / 0.25**2 / 16 * t) ** -2.0
    low, high = estimate_from_decay(t, clean).c_interval
    hits = 0
    for seed in range(10):
        noise = np.exp(0.01 * np.random.default_rng(seed).standard_normal(len(t)))
        found = estimate_from_decay(t, clean * noise).c_interval
        hits += found[0] <= 4.0 <= found[1]
        assert found[1] - found[0] > 3 * (high - low)
    assert hits >= 8


# -- scalars and boxes -----------------------------------------------------------------------------


def test_a_scalar_array_is_a_number():
    """A bound given as an array of shape () gives what the number gives, infinity too."""
    for value in (0.5, math.inf):
        found = recovery.observation_error(np.array(value), noise="0.25")
        assert found.value == recovery.observation_error(value, noise="0.25").value == value + 0.25


def test_a_direction_that_is_beyond_doubt_is_left_as_it_is():
    """v with ⟨v, N_j⟩ < 0 towards every infinite upper end (> 0: lower) is not turned."""
    N = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    up = BoxImage.of(N, np.zeros(3), np.array([np.inf, np.inf, 1.0]), 0.0, 0.0)
    away = np.array([-1.0, -2.0])
    assert up.turned(away) is away
    turned = up.turned(np.array([1e-9, -2.0]))
    assert turned[0] < 0
    assert turned[1] == pytest.approx(-2.0)
    down = BoxImage.of(N, np.array([-np.inf, -np.inf, 0.0]), np.ones(3), 0.0, 0.0)
    assert down.turned(-away) is not away
    assert (down.turned(-away) == -away).all()
    assert down.turned(np.array([-1e-9, 2.0]))[0] > 0


# -- proofs that must fail -------------------------------------------------------------------------


@pytest.mark.parametrize("off", [Fraction(1, 10**3), Fraction(-1, 10**3)])
def test_a_start_that_is_not_the_root_is_never_proved(off):
    """The ball around y0 with S(e^{-y0}) = L0 is proved by two signs, which fail beside it."""
    pytest.importorskip("flint")
    p = sp.Symbol("p", positive=True)
    curve = Curve(sp.exp(p) - 1 - p, p, p, loss0=2, certified=True)
    bits = curve._ctx.prec
    true = curve._start(bits)
    with BALL_LOCK, curve._engine.precision(bits + 10):
        proved = curve._root_ball(bits)
        assert proved.contains(curve._engine.arb(true))
        curve._starts[bits] = true + curve._ctx.mpf(off.numerator) / off.denominator
        with pytest.raises(TooHard, match="the start is not proved"):
            curve._root_ball(bits)


def test_samples_below_every_float_are_found():
    """The smallest sample may be 10^-400: times and losses are exact down to it."""
    tiny = Fraction(1, 10**400)
    curve = SampledCurve(cubics([(tiny, tiny), (1, 1)]), Fraction(1))  # ψ = s
    assert curve.loss(Fraction(1, 4)) == 0.75
    assert curve.loss(Fraction(1) - Fraction(1, 2**60)) == 2**-60
    assert curve.loss(2) == math.ulp(0.0)
    assert curve.time_to_loss(Fraction(1, 3)) == pytest.approx(2 / 3)


# -- exact arithmetic ------------------------------------------------------------------------------


@given(st.integers(0, 10**6))
def test_the_gap_of_a_box_is_its_sum_of_fractions(seed):
    """⟨v, y⟩ - Σ sup ⟨v, N_j⟩a, entry by entry in fractions, with zeros and far exponents among."""
    rng = np.random.default_rng(seed)

    def some(*shape):
        values = rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 30, shape)
        return np.where(rng.random(shape) < 0.4, 0.0, values)

    m, k = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    N, y, v = some(m, k), some(m), some(m)
    low = some(k)
    high = low + np.abs(some(k))

    def dot(a, b):
        return sum((Fraction(p) * Fraction(q) for p, q in zip(a, b, strict=True)), Fraction(0))

    expected = dot(v.tolist(), y.tolist())
    for j in range(k):
        c = dot(v.tolist(), N[:, j].tolist())
        expected -= max(c * Fraction(low[j]), c * Fraction(high[j]))
    assert exact_gap(N, y, low, high, v) == expected
    assert exact_gap(N, y, low, high, [Fraction(x) for x in v]) == expected


@pytest.mark.parametrize("end", [1e-9, 1e-3, 0.5])
def test_a_point_that_is_proved_stays_inside_its_box(end):
    """N b = y with |b - a| <= d: a - d and a + d are strictly between the ends."""
    N, low, high = np.array([[1.0, 1.0]]), np.array([1.0, 1.0]), np.array([3.0, 3.0])
    box = BoxImage.of(N, low, high, 0.0, 0.0)
    for a in (np.array([1.0 + end, 2.0]), np.array([3.0 - end, 2.0])):
        found = box.proves(N @ a + 1e-3, a)
        assert found is not None
        assert np.all(low < a - found)
        assert np.all(a + found < high)
        assert abs(found.sum() - 1e-3) < 1e-9
    assert box.proves(np.array([7.0]), np.array([2.0, 2.0])) is None


def test_a_bound_by_the_divergence_is_above_its_quotient():
    """For a loss that is not radial L <= D/(κωt), compared in fractions: never below."""
    found = mirror_law(get_loss("log-cosh")).mirror
    for t in np.geomspace(1e-3, 1e6, 200):
        exact = Fraction(found.divergence) / (
            Fraction(found.homogeneity) * Fraction(found.omega) * Fraction(t)
        )
        assert Fraction(float(found.loss_bound(t))) >= exact


def test_what_was_not_measured_counts_as_zero():
    """Without A V and Q V the certificates on them say so, and their constants are 0."""
    net = kl.TwoLayerNetwork.draw(3, 20, 2, seed=0)
    problem = kl.Problem(np.eye(3), [0.1, 0.2, 0.3])
    facts = replace(Survey(problem, net, "hidden", None).facts(net), observed=None, whitened=None)
    for found in ladder(facts, names=("S4Q", "S4A", "q")):
        assert not found.holds
        assert found.threshold == 0.0
        assert "not known for this operator" in found.reason
        assert all(v == 0.0 for name, v in found.constants.items() if name != "sigma_F")


def test_a_test_by_points_is_plain_data():
    """to_dict has every field of the result, and the sentence."""
    found = kl_test("v1**2/2", psi=PSI, points=[[1.0], [0.5]])
    plain = found.to_dict()
    assert set(plain) == set(asdict(found)) | {"verdict"}
    assert plain["gradient_norm"] == found.gradient_norm
    assert plain["at"] == found.at.tolist()
