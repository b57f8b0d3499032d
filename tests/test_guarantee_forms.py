"""Sharp bounds, gradient descent, errors in the signal, inverse questions: against closed forms."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

import kltheory as kl
from kltheory.constants import Constant, Evidence
from kltheory.errors import InputError
from kltheory.numeric import inverse_questions as ask
from kltheory.numeric.recovery import (
    guarantees,
    local_signal_error,
    observation_error,
    signal_error,
)
from kltheory.numeric.rounding import down, sqrt_down, sqrt_up, up
from kltheory.numeric.sharp import descent_bound, sharp_bound
from kltheory.symbolic.losses import from_radial, loss

MSE = loss("mse")


def corrected(psi, **constants):
    return kl.rate(psi).bound(**constants)


# -- rounding ----------------------------------------------------------------------------------


@given(st.fractions(min_value=0, max_value=10**9))
def test_rounding_goes_to_its_side(q):
    """down <= q <= up, by at most one float, and the roots likewise."""
    assert Fraction(down(q)) <= q <= Fraction(up(q))
    assert up(q) in (down(q), math.nextafter(down(q), math.inf))
    assert sqrt_down(q) ** 2 <= q <= sqrt_up(q) ** 2
    assert sqrt_up(q) - sqrt_down(q) <= Fraction(1, 10**20)


# -- the square loss by hand ---------------------------------------------------------------------


@pytest.mark.parametrize("t", [0, 0.5, 3, 40])
def test_the_square_loss_by_hand(t):
    """ψ = √(2s), κ = σ_F²σ_J²/4: L = L0 e^{-2κt}, θ: 2√(2L)/(σ_Fσ_J), p = √(2L), and (13)."""
    f, j, l0, eps, mu, lf, dist = 0.8, 0.5, 2.0, 0.1, 0.5, 3.0, 0.01
    kappa = f**2 * j**2 / 4
    bound = corrected(MSE, sigma_f=f, sigma_j=j, loss0=l0, noise=eps, mu=mu, lip_f=lf, dist=dist)
    p = math.sqrt(2 * l0) * math.exp(-kappa * t)
    found = guarantees(bound, t)
    expected = {
        "loss": l0 * math.exp(-2 * kappa * t),
        "parameters": 2 * p / (f * j),
        "observation": p,
        "error": p + eps,
        "signal": p / mu + (1 + lf / mu) * dist + eps / mu,
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-12)
    stop = math.log(math.sqrt(2 * l0) / eps) / kappa
    assert bound.stopping_time() == pytest.approx(stop, rel=1e-12)


@pytest.mark.parametrize(("f", "j"), [(1.0, 1.0), (0.1, 1.0), (10.0, 1.0)])
def test_the_corrected_stopping_time_has_no_gauge_and_the_printed_one_has(f, j):
    """Shifting Ψ by -5, 0, 5 changes nothing in (12) corrected, and changes (12) as printed."""
    kappa, eps, start = f**2 * j**2 / 4, 1.0, 100.0

    def times(shift):
        big = lambda s: -math.log(s) / 2 + shift  # noqa: E731
        at_noise, at_start = big(eps**2 / 2), big(start**2 / 2)
        return (at_noise - at_start) / kappa, at_noise / kappa - at_start

    bound = corrected(MSE, sigma_f=f, sigma_j=j, loss0=start**2 / 2)
    right = [times(shift)[0] for shift in (-5, 0, 5)]
    printed = [times(shift)[1] for shift in (-5, 0, 5)]
    assert right == pytest.approx([bound.stopping_time(eps)] * 3, rel=1e-9)
    if kappa != 1:
        assert abs(printed[2] - printed[0]) > 1e-3 * abs(printed[1])
    law = kl.rate(MSE)
    as_printed = law.bound(sigma_f=f, sigma_j=j, loss0=start**2 / 2, theory="printed")
    assert as_printed.stopping_time(eps) == pytest.approx(printed[1], rel=1e-9)


def test_the_counterexample_to_the_printed_stopping_time():
    """F(x) = 0.1 x, ‖ε‖ = 1, |y(0) - y| = 100: printed 142.9, where the error is 22.9 at least."""
    law = kl.rate(MSE)
    constants = dict(sigma_f="0.1", sigma_j=1, loss0=5000, noise=1)
    printed = law.bound(**constants, theory="printed").stopping_time()
    assert printed == pytest.approx(142.9, abs=0.05)
    assert 100 * math.exp(-0.01 * printed) - 1 > 22.9
    assert law.bound(**constants).stopping_time() == pytest.approx(1842, abs=0.1)


# -- the sharp form ------------------------------------------------------------------------------


@pytest.mark.parametrize("c2", [2, 1, 9])
@pytest.mark.parametrize("t", [0.1, 1, 7, 60])
def test_the_sharp_bound_of_a_square_root_is_logistic(c2, t):
    """ψ = c√s: p = A p0 e^{-2At/c²}/(A + B p0 (1 - e^{-2At/c²})), and its inverse."""
    f, j, lam, p0 = 0.9, 1.2, 0.7, 0.4
    a0, a1 = f * j, f * lam
    big_a, big_b = a0**2 - 2 * a1 * p0, 2 * a1
    psi = loss("lojasiewicz", c=f"sqrt({c2})", alpha="1/2")
    bound = sharp_bound(psi, sigma_f=f, sigma_j=j, deviation=lam, loss0=p0**2 / c2)
    e = math.exp(-2 * big_a * t / c2)
    p = big_a * p0 * e / (big_a + big_b * p0 * (1 - e))
    assert bound.observation(t) == pytest.approx(p, rel=1e-10)
    assert bound.parameters(t) == pytest.approx(
        (math.sqrt(big_a + big_b * p) - math.sqrt(big_a)) / a1, rel=1e-10
    )
    stop = c2 / (2 * big_a) * math.log(p0 * (big_a + big_b * p) / (p * (big_a + big_b * p0)))
    assert bound.stopping_time(p) == pytest.approx(stop, rel=1e-9)


@pytest.mark.parametrize("exponent", [0.5, 1, 2])
def test_the_sharp_bound_of_a_power_is_its_quadrature(exponent):
    """t(p) = ∫_p^{p0} dπ/(π^{2q+1}(A + Bπ)) for the loss ‖r‖^{2q+2}/(2q+2)."""
    psi = loss("power", p=exponent)
    p0, lam = 0.3, 1.0
    l0 = p0 ** (2 * exponent + 2) / (2 * exponent + 2)
    bound = sharp_bound(psi, sigma_f=1, sigma_j=1, deviation=lam, loss0=l0)
    big_a, big_b = 1 - 2 * lam * p0, 2 * lam
    for p in (0.2, 0.05):
        t, _ = quad(lambda q: 1 / (q ** (2 * exponent + 1) * (big_a + big_b * q)), p, p0)
        assert bound.stopping_time(p) == pytest.approx(t, rel=1e-8)
        assert bound.observation(t) == pytest.approx(p, rel=1e-8)


PSIS = {
    "mse": (MSE, lambda rho: rho**2 / 2),
    "power": (loss("power", p=1), lambda rho: rho**4 / 4),
    "huber": (loss("huber"), lambda rho: rho**2 / 2 if rho <= 1 else rho - 0.5),
    "cauchy": (loss("cauchy"), lambda rho: math.log1p(rho**2) / 2),
    "curve": (from_radial("exp(x)-1-x"), lambda rho: math.expm1(rho) - rho),
}


@pytest.mark.parametrize("name", PSIS)
@settings(max_examples=3)
@given(share=st.floats(0.05, 0.95), lam=st.floats(0.01, 0.2))
def test_sharp_is_never_worse_than_corrected(name, share, lam):
    """Under R' < R, that is ψ(L0) < σ_F σ_J²/(4Λ), every sharp bound is below the corrected one."""
    psi, ell = PSIS[name]
    l0 = ell(min(share / (4 * lam), 3.0))
    constants = dict(sigma_f=1, sigma_j=1, loss0=l0)
    sharp, plain = sharp_bound(psi, deviation=lam, **constants), corrected(psi, **constants)
    for t in (0, 0.3, 2, 20):
        for what in ("loss", "observation", "parameters"):
            assert getattr(sharp, what)(t) <= getattr(plain, what)(t) * (1 + 1e-12)
        assert sharp.log_decrease(t) >= plain.log_decrease(t) * (1 - 1e-12)
    assert sharp.stopping_time(0.01) <= plain.stopping_time(0.01) * (1 + 1e-12)
    assert sharp.path_length <= 2 * plain.curve.psi0 * (1 + 1e-12)


@pytest.mark.parametrize("name", ["mse", "power", "huber"])
def test_the_sharp_bound_is_attained(name):
    """n = m = 1, F = Id, x = σθ - Λθ²/2: the flow has loss, error and path of the bound itself."""
    psi, ell = PSIS[name]
    sigma, lam, p0 = 1.0, 0.2, 1.7
    slope = {"mse": lambda r: r, "power": lambda r: r**3, "huber": lambda r: min(r, 1.0)}[name]

    def velocity(t, theta):
        r = p0 - (sigma * theta - lam * theta**2 / 2)
        return (sigma - lam * theta) * slope(r[0])

    times = np.array([0.5, 2.0, 6.0])
    run = solve_ivp(velocity, (0, 6.0), [0.0], t_eval=times, rtol=1e-12, atol=1e-14)
    residual = p0 - (sigma * run.y[0] - lam * run.y[0] ** 2 / 2)
    bound = sharp_bound(psi, sigma_f=1, sigma_j=sigma, deviation=lam, loss0=ell(p0))
    final = (sigma - math.sqrt(sigma**2 - 2 * lam * p0)) / lam
    assert bound.observation(times) == pytest.approx(residual, rel=1e-7)
    assert bound.loss(times) == pytest.approx([ell(r) for r in residual], rel=1e-7)
    assert bound.parameters(times) == pytest.approx(final - run.y[0], rel=1e-6)
    assert bound.path_length == pytest.approx(final, rel=1e-9)


def test_the_threshold_is_attained():
    """φ' = max(1 - |z|, 0), z0 = 0: y = 0.499 is reached, 0.51 > max φ = 1/2 = σ²/(2Λ) is not."""
    bound = sharp_bound(MSE, sigma_f=1, sigma_j=1, deviation=1, loss0=0.499**2 / 2)
    assert bound.affine.threshold == 0.5
    with pytest.raises(InputError, match=r"1\.02 times too large"):
        sharp_bound(MSE, sigma_f=1, sigma_j=1, deviation=1, loss0=0.51**2 / 2)


def test_without_deviation_the_exponent_is_four_times_the_printed_one():
    """Λ = 0: p = p0 e^{-σ_F²σ_J² t}, and no condition on L0."""
    bound = sharp_bound(MSE, sigma_f=2, sigma_j="0.5", deviation=0, loss0=10**6)
    assert bound.observation(1) == pytest.approx(math.sqrt(2e6) * math.exp(-1), rel=1e-12)
    assert bound.affine.threshold == math.inf


# -- gradient descent ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mse", "power", "huber"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_descent_stays_below_its_bound(name, share):
    """θ⁺ = θ - η∇f for a linear network x = Jθ, F = Id: L_j, ‖θ_j - θ∞‖ and (12) hold."""
    psi, ell = PSIS[name]
    rng = np.random.default_rng(7)
    jacobian = rng.standard_normal((2, 5))
    singular = np.linalg.svd(jacobian)[1]
    y = np.array([0.6, -0.4]) / 1.2
    curvature = {"mse": 1.0, "power": 3 * np.linalg.norm(y) ** 2, "huber": 1.0}[name]
    beta = singular[0] ** 2 * curvature
    eta = share * 2 / beta
    weight = {
        "mse": lambda r: 1.0,
        "power": lambda r: np.linalg.norm(r) ** 2,
        "huber": lambda r: 1 / max(1.0, np.linalg.norm(r)),
    }[name]
    constants = dict(sigma_f=1, sigma_j=singular[-1], loss0=ell(np.linalg.norm(y)))
    plain = descent_bound(corrected(psi, **constants), step=eta, smoothness=beta)
    sharp = descent_bound(
        sharp_bound(psi, deviation=0, step=eta, smoothness=beta, **constants),
        step=eta,
        smoothness=beta,
    )
    theta = np.zeros(5)
    path = [theta]
    for _ in range(60):
        r = jacobian @ theta - y
        theta = theta - eta * weight(r) * jacobian.T @ r
        path.append(theta)
    final = np.linalg.pinv(jacobian) @ y
    for j in (0, 1, 5, 59):
        residual = np.linalg.norm(jacobian @ path[j] - y)
        for bound in (sharp, plain):
            assert ell(residual) <= bound.loss(j) * (1 + 1e-12)
            assert residual <= bound.observation(j) * (1 + 1e-12)
            assert np.linalg.norm(path[j] - final) <= bound.parameters(j) * (1 + 1e-9)
        assert sharp.loss(j) <= plain.loss(j) * (1 + 1e-12)


def test_descent_by_hand():
    """MSE: L_j <= L0 e^{-2κ_η j}, κ_η = η(1 - ηβ/2)κ; arrays and counts agree with it."""
    flow = corrected(MSE, sigma_f=1, sigma_j=1, loss0=1)
    bound = descent_bound(flow, step="0.5", smoothness=1)
    kappa = 0.5 * 0.75 / 4
    assert bound.loss(np.array([0, 3])) == pytest.approx([1, math.exp(-6 * kappa)], rel=1e-9)
    assert bound.parameters(2) == pytest.approx(
        2 * math.sqrt(2) * math.exp(-2 * kappa) / 0.75, rel=1e-9
    )
    j = bound.iterations_to_loss("0.01")
    assert bound.loss(j) <= 0.01 < bound.loss(j - 1)
    assert j == math.ceil(math.log(100) / (2 * kappa))


def test_descent_refuses_what_is_not_proved():
    """η >= 2/β, a ψ that is not concave below L0, and a whole number that is none."""
    flow = corrected(MSE, sigma_f=1, sigma_j=1, loss0=1)
    with pytest.raises(InputError, match="2/β"):
        descent_bound(flow, step=2, smoothness=1)
    with pytest.raises(InputError, match="whole number"):
        descent_bound(flow, step=1, smoothness=1).loss(1.5)
    steep = corrected(loss("cauchy"), sigma_f=1, sigma_j=1, loss0=1)
    with pytest.raises(InputError, match="not concave"):
        descent_bound(steep, step=1, smoothness=1)
    gentle = corrected(loss("cauchy"), sigma_f=1, sigma_j=1, loss0="0.3")  # below log(2)/2
    assert descent_bound(gentle, step=1, smoothness=1).loss(10) < 0.3


# -- the signal ----------------------------------------------------------------------------------


def test_the_printed_first_term_is_false():
    """F(x) = 10x, σ_J = 1, ε = 0: the true error at t = 0 is 1, printed 0.2, corrected 1."""
    p0 = 10.0
    printed = signal_error(p0, mu=10, noise=0, theory="printed", sigma_f=10, sigma_j=1)
    assert printed.value == pytest.approx(0.2)
    assert not printed.holds
    assert signal_error(p0, mu=10, noise=0).value == 1.0


def test_the_three_terms_add_up():
    """optimisation + modelling + noise is the value, and sharp has no modelling term."""
    parts = dict(mu="1/3", noise="0.1", lip_f=2, dist="0.05")
    found = signal_error(np.array([0.0, 0.5]), **parts)
    assert found.value == pytest.approx(
        found.terms["optimisation"] + found.terms["modelling"] + found.terms["noise"], rel=1e-12
    )
    sharp = signal_error(np.array([0.0, 0.5]), **parts, theory="sharp")
    assert sharp.value == pytest.approx([0.3, 1.8], rel=1e-12)
    assert np.all(sharp.value <= found.value)
    assert observation_error(0.5, noise="0.1").value == pytest.approx(0.6)


def test_the_local_theorem_by_hand():
    """μ = 1, L_J = 1, N = 3/8: the smaller root of X - X²/2 = 3/8 is 1/2."""
    found = local_signal_error(
        "0.125", mu=1, lip_jacobian=1, noise="0.125", lip_f=1, dist="0.125", start_distance="0.1"
    )
    assert found.value == 0.5 + 0.125
    assert found.holds
    late = local_signal_error(0.0, mu=1, lip_jacobian=1, noise="0.5")
    assert late.value == math.inf
    assert not late.holds
    far = local_signal_error(0.0, mu=1, lip_jacobian=1, noise="0.1", start_distance="1.5")
    assert not far.holds
    affine = local_signal_error(0.0, mu=2, lip_jacobian=0, noise="0.1")
    assert affine.value == pytest.approx(0.05)
    assert affine.holds


def test_the_local_theorem_is_linear_in_the_noise():
    """Halving a small ‖ε‖ halves the corrected bound; the printed one falls by √2 only."""
    args = dict(mu=1, lip_jacobian=1)
    small = [local_signal_error(0.0, noise=e, **args).value for e in ("1e-6", "5e-7")]
    assert small[0] / small[1] == pytest.approx(2, rel=1e-5)
    root = [
        local_signal_error(0.0, noise=e, theory="printed", sigma_f=1, sigma_j=1, **args).value
        for e in ("1e-6", "5e-7")
    ]
    assert root[0] / root[1] == pytest.approx(math.sqrt(2), rel=1e-9)


def test_the_printed_local_theorem_is_false():
    """F(x) = e^{x1}(cos x2, sin x2) has period 2π in x2: the residual is 0 at a distance 2π."""
    x_bar, x = np.array([0.5, 1.5]), np.array([0.5, 1.5 + 2 * math.pi])
    forward = lambda v: math.exp(v[0]) * np.array([math.cos(v[1]), math.sin(v[1])])  # noqa: E731
    p = float(np.linalg.norm(forward(x) - forward(x_bar)))
    args = dict(mu=math.exp(0.5), lip_jacobian=math.exp(1), noise=0)
    printed = local_signal_error(p, theory="printed", sigma_f=1, sigma_j=1, **args)
    assert printed.value < 1e-6 < np.linalg.norm(x - x_bar)
    right = local_signal_error(p, start_distance=float(np.linalg.norm(x - x_bar)), **args)
    assert not right.holds  # the localisation says so


def test_evidence_is_that_of_the_weakest_constant():
    """A sampled constant makes the result sampled, a number without evidence makes it assumed."""
    good = Constant(2.0, Evidence.PROVED, "μ")
    weak = Constant(0.5, Evidence.SAMPLED, "‖ε‖")
    args = {
        "lip_f": Constant(0.0, Evidence.PROVED, "L_F"),
        "dist": Constant(0.0, Evidence.PROVED, "dist"),
    }
    assert signal_error(1.0, mu=good, noise=weak, **args).evidence is Evidence.SAMPLED
    assert signal_error(1.0, mu=good, noise=0.5, **args).evidence is Evidence.ASSUMED


def test_results_are_plain_data():
    """to_dict has no NaN, no infinity and no arrays."""
    import json

    bound = sharp_bound(
        MSE, sigma_f=1, sigma_j=1, deviation=1, loss0="0.01", noise="0.1", mu=1, lip_f=1, dist=0
    )
    found = guarantees(bound, np.array([0.0, 1.0]))
    text = json.dumps({k: g.to_dict() for k, g in found.items()}, allow_nan=False)
    assert '"sharp"' in text
    assert set(found) == {"loss", "parameters", "observation", "error", "signal"}
    late = local_signal_error(0.0, mu=1, lip_jacobian=1, noise=1)
    assert json.loads(json.dumps(late.to_dict(), allow_nan=False))["value"] == "inf"


# -- inverse questions ---------------------------------------------------------------------------


def bounds():
    constants = dict(
        sigma_f="0.9", sigma_j="0.8", loss0="0.02", noise="0.01", mu="0.5", lip_f=2, dist="0.001"
    )
    for name in ("mse", "power", "curve"):
        psi = PSIS[name][0]
        yield f"{name}, corrected", corrected(psi, **constants)
        yield f"{name}, sharp", sharp_bound(psi, deviation="0.1", **constants)


@pytest.mark.parametrize(("name", "bound"), list(bounds()))
def test_each_answer_inverts_its_guarantee(name, bound):
    """Round trips to 1e-9: time to a loss, to an observation error, to a signal error; noise."""
    v = 1e-4
    t = ask.time_to_loss(bound, v).value
    assert bound.loss(t) == pytest.approx(v, rel=1e-9)
    target = 0.05
    t = ask.time_to_observation_error(bound, target).value
    assert observation_error(bound.observation(t), noise="0.01").value == pytest.approx(
        target, rel=1e-9
    )
    target = 0.1
    t = ask.time_to_signal_error(bound, target).value
    assert bound.signal(t) == pytest.approx(target, rel=1e-9)
    noise = ask.affordable_noise(bound, target, t).value
    assert noise == pytest.approx(0.01, rel=1e-9)


@pytest.mark.parametrize("name", ["mse", "power", "curve"])
def test_the_needed_singular_value_gives_the_loss_in_time(name):
    """With the σ_J that is found, (10) gives the target at time t."""
    psi = PSIS[name][0]
    bound = corrected(psi, sigma_f="0.7", sigma_j=1, loss0="0.02")
    for wanted in ({"loss": 1e-3}, {"observation": 0.05}):
        sigma = ask.needed_sigma_j(bound, 5, **wanted).value
        again = corrected(psi, sigma_f="0.7", sigma_j=sigma, loss0="0.02")
        value = again.loss(5) if "loss" in wanted else again.observation(5)
        assert value == pytest.approx(next(iter(wanted.values())), rel=1e-9)


def test_impossible_is_said_with_the_amount():
    """Below the noise floor, and for a limit that no finite time reaches."""
    bound = corrected(
        MSE, sigma_f=1, sigma_j=1, loss0=1, noise="0.5", mu="0.5", lip_f=1, dist="0.1"
    )
    answer = ask.time_to_signal_error(bound, 1)  # floor: 3 * 0.1 + 1
    assert not answer.possible
    assert answer.short_by == pytest.approx(0.3)
    assert answer.floor == pytest.approx(1.3)
    assert "0.3 below the noise floor 1.3" in answer.reason
    assert not ask.time_to_observation_error(bound, "0.25").possible
    limit = ask.time_to_observation_error(bound, "0.5")
    assert not limit.possible
    assert "no finite time" in limit.reason
    assert not ask.time_to_loss(bound, 0).possible
    assert not ask.affordable_noise(bound, "0.1", 1000).possible
    assert not ask.needed_sigma_j(bound, 1, loss=0).possible
    assert ask.time_to_loss(bound, 2).value == 0


@pytest.mark.parametrize(
    ("psi", "is_concave"),
    [
        ("max(sqrt(s), 11/10*s**(13/25))", False),  # its slope jumps up by 4 %
        ("max(sqrt(s), 21/20*s**(51/100))", False),  # by 2 %
        ("min(sqrt(s), 21/20*s**(51/100))", True),
        ("sqrt(s) + s**(3/2)*cos(16*pi*log(s))/1000", False),  # alike at all log s = -k/8
        ("sqrt(s) + s", True),
        ("s", True),
    ],
)
def test_a_bend_between_samples_is_not_overlooked(psi, is_concave):
    """The bound for descent is refused for every ψ that is convex somewhere below L0."""
    flow = kl.rate(psi, limit=3).bound(kappa=1, loss0="9/10")
    if is_concave:
        assert kl.descent_bound(flow, step="1/2", smoothness=1).loss(1) < 0.9
    else:
        with pytest.raises(kl.InputError, match="not concave"):
            kl.descent_bound(flow, step="1/2", smoothness=1)
