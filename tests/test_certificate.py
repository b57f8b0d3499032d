"""The ladder of certificates: thresholds that are reached, formulas by hand, and no violation."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from certificate_cases import ACTIVATIONS, broken, measured, random_case, violations

import kltheory as kl
from kltheory.certification import Survey
from kltheory.empirical.dynamics import descend
from kltheory.loss_functions import get as get_loss
from kltheory.numeric.certificate import ladder, lowest_features
from kltheory.numeric.certificate_facts import Observed, sigma_floor
from kltheory.numeric.certificate_law import Law, Piece, path_left
from kltheory.numeric.certificate_path import profile
from kltheory.numeric.user_activation import from_callable

HAT = from_callable(
    lambda z: np.where(np.abs(z) < 1, z - np.sign(z) * z * z / 2, np.sign(z) * 0.5),
    lambda z: np.maximum(1 - np.abs(z), 0.0),
    slope_bound=1.0,
    curvature_bound=1.0,
    name="hat",
)
"""φ' = max(1 - |z|, 0)."""
IDENTITY = from_callable(
    lambda z: z, np.ones_like, slope_bound=1.0, curvature_bound=1e-300, name="identity"
)


def facts_of(problem, network, train):
    return Survey(problem, network, train, None).facts(network)


def at(y, activation, z0, train):
    """A certificate ladder for n = m = k = 1, V = 1, A = 1."""
    network = kl.TwoLayerNetwork([1.0], [[z0]], [[1.0]], activation)
    problem = kl.Problem([[1.0]], [y])
    return {c.name: c for c in ladder(facts_of(problem, network, train))}, problem, network


def limit(problem, network, train, t=1e5):
    run = kl.flow(problem, network, train, times=[t], form="signal")
    return float(run.residual[-1])


# -- examples that attain their thresholds -------------------------------------------------------


def test_the_sharp_condition_is_attained_with_v_fixed():
    """φ' = max(1 - |z|, 0), z0 = 0: S3 asks for |y| < 1/2 = sup φ, and it is necessary."""
    for name in ("S3", "S4Q", "S4A"):
        inside, problem, network = at(0.5 - 1e-6, HAT, 0.0, "hidden")
        assert inside[name].holds
        assert abs(inside[name].threshold - 0.5) < 1e-6
        assert limit(problem, network, "hidden") < 1e-5
        outside, problem, network = at(0.5 + 1e-6, HAT, 0.0, "hidden")
        assert not outside[name].holds
    assert limit(*at(0.51, HAT, 0.0, "hidden")[1:], "hidden") > 0.0099


def test_the_condition_of_the_v_block_is_attained():
    """φ = id, V0 = z0 = 1: V asks for ψ(L0) < 1; at ψ(L0) = 1.01 the flow sticks at 0."""
    inside, problem, network = at(1e-6, IDENTITY, 1.0, "both")
    assert inside["V"].holds
    assert abs(inside["V"].threshold - 1.0) < 1e-6
    assert limit(problem, network, "both") < 1e-5
    outside, problem, network = at(-0.01, IDENTITY, 1.0, "both")
    assert not outside["V"].holds
    assert not outside["C"].holds
    assert limit(problem, network, "both") > 0.0099


def test_the_sharp_law_is_attained():
    """For the same φ the bound of S3 is the flow itself, ż = φ'(z)(y - φ(z))."""
    found, problem, network = at(0.4, HAT, 0.0, "hidden")
    law = found["S3"].law(kl.loss("mse"))
    times = [0.0, 0.5, 2.0, 8.0]
    run = kl.flow(problem, network, times=times, form="signal", rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(law.loss(times), run.loss, rtol=1e-7)
    assert found["S3"].path_length == pytest.approx(1 - math.sqrt(1 - 0.8), rel=1e-7)


# -- thresholds by their formulas ----------------------------------------------------------------


@pytest.fixture(scope="module")
def example():
    rng = np.random.default_rng(3)
    A = rng.standard_normal((3, 5))
    return kl.Problem(A, A @ rng.standard_normal(5)), kl.TwoLayerNetwork.draw(5, 60, 4, seed=1)


def test_thresholds_of_the_hidden_layer(example):
    """P, S3, S4Q and S4A are σ_F σ²/(4Λ), σ_F σ²/(2Λ) on V and Q V, and σ²/(2Λ) on A V."""
    problem, net = example
    found = {c.name: c for c in ladder(facts_of(problem, net, "hidden"))}
    A, V = problem.operator, net.V
    b2, root = 1 / (6 * math.sqrt(3)), math.sqrt(net.k)
    left, values, right = np.linalg.svd(A, full_matrices=False)
    slopes = net.activation.dphi(net.z)

    def threshold(matrix, factor):
        sigma = np.linalg.svd(matrix * slopes, compute_uv=False)[-1] / root
        return factor * sigma**2 / (2 * b2 * np.linalg.norm(matrix, axis=0).max() / root)

    expected = {
        "S3": threshold(V, values[-1]),
        "S4Q": threshold(right @ V, values[-1]),
        "S4A": threshold(left.T @ A @ V, 1.0),
    }
    expected["P"] = expected["S3"] / 2
    for name, value in expected.items():
        assert found[name].threshold == pytest.approx(value, rel=1e-9)
        assert found[name].threshold <= value
    assert found["S4Q"].threshold >= found["S3"].threshold
    residual = np.linalg.norm(problem.forward(net.forward()) - problem.observation)
    assert residual <= found["S3"].psi0 <= residual * (1 + 1e-9)


def test_thresholds_of_both_layers(example):
    """V: σ_F h0²√k/B1; S1: σ_F σ_J²/(2Λ_J); P: R' = R with the Lipschitz constant of the ball."""
    problem, net = example
    found = {c.name: c for c in ladder(facts_of(problem, net, "both"))}
    h0, root, b1, b2 = net.feature_norm(), math.sqrt(net.k), 0.25, 1 / (6 * math.sqrt(3))
    assert found["V"].threshold == pytest.approx(problem.sigma_F * h0**2 * root / b1, rel=1e-9)
    Q = problem.row_space()
    slopes = net.activation.dphi(net.z)
    sigma = np.hypot(np.linalg.svd(Q @ net.V * slopes, compute_uv=False)[-1] / root, h0)
    m = b2 * np.linalg.norm(Q @ net.V, axis=0).max()
    deviation = (m + math.sqrt(m**2 + 4 * b1**2)) / (2 * root)
    expected = problem.sigma_F * sigma**2 / (2 * deviation)
    assert found["S1"].threshold == pytest.approx(expected, rel=1e-9)
    sigma = net.sigma_min("both")
    R = 2 * found["P"].threshold / (problem.sigma_F * sigma)
    m = b2 * (net.columns.norms().max() + R)
    lipschitz = (m + math.sqrt(m**2 + 4 * b1**2)) / (2 * root)
    assert R * lipschitz == pytest.approx(sigma / 2, rel=1e-9)


def test_the_deviation_constants_are_constants(example):
    """‖J(θ) - J(θ0)‖ ≤ Λ‖θ - θ0‖ for V fixed and both layers, any ‖u‖, any distance."""
    rng = np.random.default_rng(0)
    problem, _ = example
    for scale in (1.0, 2.0):
        u = scale * np.array([0.6, 0.8])
        W, V = rng.standard_normal((6, 2)), rng.standard_normal((5, 6))
        net = kl.TwoLayerNetwork(u, W, V, "tanh")
        found = {c.name: c for c in ladder(facts_of(problem, net, "hidden"))}
        both = {c.name: c for c in ladder(facts_of(problem, net, "both"))}
        for size in (1e-3, 0.3, 3.0):
            dW, dV = size * rng.standard_normal((6, 2)), size * rng.standard_normal((5, 6))
            moved = kl.TwoLayerNetwork(u, W + dW, V, "tanh")
            change = np.linalg.norm(moved.jacobian("hidden") - net.jacobian("hidden"), 2)
            assert change <= found["S3"].constants["Lambda_g"] * np.linalg.norm(dW)
            moved = kl.TwoLayerNetwork(u, W + dW, V + dV, "tanh")
            Q = problem.row_space()
            change = np.linalg.norm(Q @ (moved.jacobian("both") - net.jacobian("both")), 2)
            length = math.hypot(np.linalg.norm(dW), np.linalg.norm(dV))
            assert change <= both["S1"].constants["Lambda_J"] * length
            change = abs(moved.feature_norm() - net.feature_norm())
            assert change <= both["V"].constants["Lambda_h"] * np.linalg.norm(dW)


def test_q_integrates_the_smallest_eigenvalue(example):
    """For one sigmoid neuron q asks for ψ(L0) < ∫ φ'(Z⁻¹(Z0 + q))² dq, taken from below."""
    net = kl.TwoLayerNetwork([1.0], [[0.7]], [[1.0]], "sigmoid")
    problem = kl.Problem([[1.0]], [0.9])
    found = ladder(facts_of(problem, net, "hidden"), names=("q",))[0]
    branches, dphi = net.activation.branches, net.activation.dphi
    q = np.concatenate([[0.0], np.geomspace(1e-6, 1e8, 400_000)])
    zeta = branches.Z(np.array([0.7]))
    slopes = np.square(dphi(branches.Z_inverse(zeta + q, np.zeros(q.size))))
    exact = float(np.sum(0.5 * (slopes[1:] + slopes[:-1]) * np.diff(q)))
    assert exact == pytest.approx(1 - 1 / (1 + math.exp(-0.7)), rel=1e-4)  # ∫ φ'² dZ = ∫ dφ
    assert 0.93 * exact < found.threshold <= exact


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_profile_is_below_the_kernel(activation):
    """λ(q) is below the smallest eigenvalue for every shift of Z(z_i) by up to ‖M_i‖q/√k."""
    rng = np.random.default_rng(5)
    net = kl.TwoLayerNetwork.draw(4, 30, 3, activation=activation, seed=2)
    A = rng.standard_normal((3, 4))
    problem = kl.Problem(A, A @ rng.standard_normal(4))
    facts = facts_of(problem, net, "hidden")
    found = profile(facts, facts.observed, along_flow=True)
    assert (np.diff(found.floors) <= 0).all()
    branches = net.activation.branches
    M = A @ net.V
    for at_step in (0, len(found.floors) // 3, len(found.floors) - 5):
        q = float(found.widths[: at_step + 1].sum())
        for _ in range(10):
            shift = rng.uniform(-1, 1, net.k) * np.linalg.norm(M, axis=0) * q / math.sqrt(net.k)
            with np.errstate(all="ignore"):
                z = branches.Z_inverse(branches.Z(net.z) + shift, net.z)
            kernel = (M * net.activation.dphi(z) ** 2) @ M.T / net.k
            assert found.floors[at_step] <= np.linalg.eigvalsh(kernel)[0] * (1 + 1e-9)


def test_zero_output_weights_need_no_condition():
    """V(0) = 0: C0 and C hold for k = 1 and any y, with the rate σ_F² h0²; and not for V(0) ≠ 0."""
    for activation in ACTIVATIONS:
        net = kl.TwoLayerNetwork([1.0], [[0.8]], np.zeros((2, 1)), activation)
        problem = kl.Problem(np.array([[3.0, 1.0]]), [50.0])
        found = {c.name: c for c in ladder(facts_of(problem, net, "both"))}
        rate = problem.sigma_F**2 * net.feature_norm() ** 2
        assert found["C0"].holds
        assert rate * (1 - 1e-9) <= found["C0"].rate <= rate
        assert found["C"].rate == pytest.approx(found["C0"].rate, rel=1e-6)
        small = kl.TwoLayerNetwork([1.0], [[0.8]], np.full((2, 1), 1e-300), activation)
        assert not ladder(facts_of(problem, small, "both"), names=("C0",))[0].holds


def test_positive_log_concave_activations_always_converge():
    """Sigmoid and softplus keep |φ(z_i)| away from 0 for every V(0): C holds for every k and y."""
    rng = np.random.default_rng(1)
    for activation in ("sigmoid", "softplus"):
        for k in (1, 3):
            net = kl.TwoLayerNetwork(
                [1.0], rng.standard_normal((k, 1)), rng.standard_normal((2, k)), activation
            )
            facts = facts_of(kl.Problem(np.eye(2), [30.0, -20.0]), net, "both")
            assert ladder(facts, names=("C",))[0].holds
            assert not ladder(facts, names=("V",))[0].holds


def test_the_lowest_features_are_never_passed():
    """Along the flow of both layers h(t) ≥ h_low, also where it comes close."""
    rng = np.random.default_rng(2)
    closest = 1e9
    for activation in ("sigmoid", "softplus", "tanh", "erf", "arctan"):
        net = kl.TwoLayerNetwork(
            [1.0], [[1.5], [-1.2]], 0.5 * rng.standard_normal((1, 2)), activation
        )
        low = lowest_features(facts_of(kl.Problem([[1.0]], [-3.0]), net, "both"))
        for y in (-3.0, -0.1, 0.05, 3.0):
            run = kl.flow(kl.Problem([[1.0]], [y]), net, "both", times=[200.0])
            assert run.network.feature_norm() >= low
            closest = min(closest, run.network.feature_norm() / max(low, 1e-9))
    assert closest < 1.2


# -- laws ----------------------------------------------------------------------------------------

STAIRS = (
    Piece(Fraction(2), Fraction(0), Fraction("1.2")),
    Piece(Fraction(1), Fraction(0), Fraction("0.5")),
    Piece(Fraction("0.25"), Fraction(0), Fraction(0)),
)


@pytest.mark.parametrize("loss", ["mse", "power", "huber", "log-cosh"])
def test_a_staircase_is_its_differential_equation(loss):
    """V' = -s(p)²/ψ'(V)² by a fine Runge-Kutta scheme is what the law of three stairs gives."""
    psi = kl.loss(loss, **{"power": {"p": "1/2"}, "huber": {"delta": 1}}.get(loss, {}))
    fast = get_loss(loss, **({"p": 0.5} if loss == "power" else {}))
    rho = 2.0
    loss0 = float(fast.value(np.array([rho]), np.zeros(1)))
    law = Law(psi, loss0, STAIRS)

    def speed(r):  # in one variable: L = ℓ(r), ψ(L) = r, r' = -s² ℓ'(r)
        s2 = 2.0 if r > 1.2 else 1.0 if r > 0.5 else 0.25
        return -s2 * float(fast.gradient(np.array([r]), np.zeros(1))[0])

    r, t, step = rho, 0.0, 1e-3
    seen = {}
    for j in range(6001):
        if j % 1500 == 0:
            seen[t] = float(fast.value(np.array([r]), np.zeros(1)))
        k1 = speed(r)
        r, t = r + step * speed(r + 0.5 * step * k1), t + step
    for when, value in seen.items():
        assert law.loss(when) == pytest.approx(value, rel=5e-3)
    assert law.time_to_loss(law.loss(4.0)) == pytest.approx(4.0, rel=1e-9)
    assert law.stopping_time(law.psi(3.0)) == pytest.approx(3.0, rel=1e-9)
    assert law.stopping_time(5.0) == 0.0
    assert law.stopping_time(0) == math.inf


@pytest.mark.parametrize("step", range(20))
def test_a_slow_stair_is_not_entered_late(step):
    """ψ falls to the end of a stair and 1e-16 further: the time is at least that by hand."""
    from mpmath import MPContext

    ctx = MPContext()
    ctx.prec = 200
    end, slow = Fraction(1, 3) + Fraction(step, 194), Fraction(1, 10**12)
    stairs = [Piece(Fraction(1), Fraction(0), end), Piece(slow, Fraction(0), Fraction(0))]
    law = Law(kl.loss("mse"), 0.5, stairs)
    target = float(end) * (1 - 2**-53)
    first, whole = (-ctx.log(ctx.mpf(q.numerator) / q.denominator) for q in (end, Fraction(target)))
    assert whole > first
    assert law.stopping_time(Fraction(target)) >= first + (whole - first) / slow


def test_the_path_that_is_left():
    """∫₀^p dπ/s(π) over stairs and over an affine s², by hand."""
    expected = 0.5 / 0.5 + 0.7 + 0.8 / math.sqrt(2)
    assert path_left(STAIRS, Fraction(2)) == pytest.approx(expected, rel=1e-12)
    assert path_left(STAIRS, Fraction("0.5")) == pytest.approx(1.0, rel=1e-12)
    affine = [Piece(Fraction(1), Fraction(3), Fraction(0))]  # s² = 1 + 3p, ∫₀¹ = (2/3)(2 - 1)
    assert path_left(affine, Fraction(1)) == pytest.approx(2 / 3, rel=1e-12)
    assert path_left(affine, Fraction(1), Fraction(1, 2)) == pytest.approx(4 / 3, rel=1e-12)


def test_a_law_that_starts_at_zero_stays_there(example):
    """With L0 = 0 the certificates hold and bound the loss by 0."""
    _, net = example
    problem = kl.Problem(np.eye(5), net.forward())
    facts = replace(facts_of(problem, net, "hidden"), loss0=0.0, psi0=0.0)
    found = ladder(facts, names=("S3",))[0]
    assert found.holds
    assert found.path_length == 0.0
    assert found.law(kl.loss("mse")).loss([0.0, 1.0]).tolist() == [0.0, 0.0]


# -- rounding ------------------------------------------------------------------------------------


def test_singular_values_are_rounded_down():
    """The floor of a singular value is below the true one, and 0 where rounding decides."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        r, k = int(rng.integers(1, 6)), int(rng.integers(6, 30))
        left, right = (
            np.linalg.qr(rng.standard_normal((r, r)))[0],
            np.linalg.qr(rng.standard_normal((k, r)))[0],
        )
        values = np.sort(10.0 ** rng.uniform(-14, 0, r))[::-1]
        matrix = left * values @ right.T
        floor = sigma_floor(Observed.of(matrix, 1e-16), np.ones(k))
        assert floor <= values[-1]
        if values[-1] > 1e-9:
            assert floor > 0.9 * values[-1]
    assert sigma_floor(Observed.of(np.ones((2, 5)), 0.0), np.ones(5)) == 0.0
    assert sigma_floor(Observed.of(np.ones((3, 2)), 0.0), np.ones(2)) == 0.0


def test_a_rademacher_layer_can_be_singular():
    """Equal rows in V: σ_g is 0 although rounding leaves 1e-17, and S3 says so."""
    V = np.ones((2, 6))
    net = kl.TwoLayerNetwork([1.0], np.linspace(-1, 1, 6)[:, None], V, "tanh")
    found = ladder(facts_of(kl.Problem(np.eye(2), [0.1, 0.1]), net, "hidden"))
    assert all(not c.holds and c.threshold == 0.0 for c in found)


# -- no violation --------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", range(3))
def test_no_certificate_is_violated(chunk):
    """Loss, path and singular value of random flows keep to the bounds of all certificates."""
    assert seen_wrong(range(8 * chunk, 8 * chunk + 8)) == []


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(500))
def test_no_certificate_is_violated_in_10_000_runs(chunk):
    """The same on 10,000 instances, of which half are at 0.9 to 1.0 of a threshold."""
    assert seen_wrong(range(1000 + 20 * chunk, 1020 + 20 * chunk)) == []


def seen_wrong(seeds):
    wrong = []
    for seed in seeds:
        found, _ = violations(*random_case(np.random.default_rng([7, seed])))
        wrong += [f"seed {seed}: {sentence}" for sentence in found]
    return wrong


def descent_wrong(seed):
    """What goes wrong for descent with verified steps, c = 1/2."""
    rng = np.random.default_rng([11, seed])
    problem, network, train = random_case(rng)
    if problem.loss.name in ("cauchy", "welsch"):
        return []
    survey = Survey(problem, network, train, None)
    found = [c for c in ladder(survey.facts(network)) if 0 < c.threshold < 1e6]
    if not found or survey.void:
        return []
    chosen = found[int(rng.integers(len(found)))]
    half = Fraction(1, 2)
    start = problem.forward(network.forward())
    y = start + (problem.observation - start) * min(1.0, 0.45 * chosen.threshold / chosen.psi0)
    problem = kl.Problem(problem.operator, y, loss=problem.loss)
    survey = Survey(problem, network, train, None)
    held = [c for c in ladder(survey.facts(network), c=half) if c.holds]
    if not held or survey.void:
        return []
    states, time, net = [(0.0, network)], 0.0, network
    for steps in (1, 3, 20, 100):
        run = descend(problem, net, train, step=8.0, steps=steps, tol=1e-25, verified=True)
        time, net = time + float(run.t[-1]), run.network
        states.append((time, net))
    rows = measured(problem, survey, network, train, states)
    scale = rows[0][1]["loss"] + float(np.linalg.norm(y)) ** 2
    return [s for c in held for s in broken(c, survey, rows, scale)]


def test_no_certificate_of_verified_descent_is_violated():
    """With every step verified, c = 1/2, the same bounds hold in the sum of the steps."""
    assert [s for seed in range(20) for s in descent_wrong(seed)] == []


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(100))
def test_no_certificate_of_verified_descent_is_violated_in_2_000_runs(chunk):
    """The same on 2,000 instances."""
    seeds = range(1000 + 20 * chunk, 1020 + 20 * chunk)
    assert [s for seed in seeds for s in descent_wrong(seed)] == []
