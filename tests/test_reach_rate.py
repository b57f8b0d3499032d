"""The mirror certificate against flows, quadratures and Newton limits that know nothing of it."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from mpmath import MPContext
from scipy.integrate import quad

from kltheory.activation import ACTIVATIONS, get
from kltheory.empirical.flow import flow
from kltheory.empirical.mirror import MirrorForm, newton_limit
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.reduced import reduce
from kltheory.errors import InputError
from kltheory.loss_functions import (
    MSE,
    Cauchy,
    Huber,
    LogCosh,
    LossFunction,
    MeanSquared,
    Power,
    Radial,
    SeparablePower,
    SquaredNorm,
    Welsch,
)
from kltheory.numeric.reach import branch_box, reachability
from kltheory.numeric.reach_rate import MirrorCertificate, divergence, mirror_rate
from kltheory.problem import Problem

mp = MPContext()
mp.dps = 25

LOSSES: tuple[LossFunction, ...] = (
    MSE(),
    Power(0.5),
    Huber(0.5),
    SeparablePower(3.0),
    Power(1.0),
    MeanSquared(2.0),
    LogCosh(),
    Cauchy(),
    SquaredNorm(),
    Welsch(),
    Power(0.1),
)


def instance(seed: int, name: str, loss: LossFunction) -> tuple[Problem, TwoLayerNetwork]:
    """Draw a problem whose y is attained on the branches of the start; every second one by a point
    at 0.9 to 1 of the way to the border of the box."""
    rng = np.random.default_rng([3, seed])
    m = int(rng.integers(1, 5))
    n, k = int(rng.integers(m, 9)), int(rng.integers(m + 1, 40))
    A = rng.standard_normal((m, n)) / np.sqrt(n)
    net = TwoLayerNetwork.draw(n=n, k=k, d=3, seed=seed, activation=name)
    low, high, _ = branch_box(net.activation, net.z)
    low, high = np.maximum(low, -3.0), np.minimum(high, 3.0)
    part = rng.uniform(0.9, 1.0) if seed % 2 else rng.random()
    sides = rng.choice([-1.0, 1.0], k) if seed % 4 < 2 else 2.0 * rng.random(k) - 1.0
    a = 0.5 * (low + high) + 0.5 * (high - low) * part * sides
    return Problem(A, A @ net.V @ a / np.sqrt(k), loss=loss), net


def certificate(problem: Problem, net: TwoLayerNetwork) -> MirrorCertificate:
    """Return the certificate of a network."""
    N = np.asarray(problem.operator @ net.V) / np.sqrt(net.k)
    y, loss = problem.observation, problem.loss
    return mirror_rate(N, y, net.z, net.activation, loss=loss, omega=net.omega)


def check_against_flow(seed: int) -> bool:
    """Hold every bound of a certificate against the flow; return whether it was proved."""
    name, loss = ACTIVATIONS[seed % len(ACTIVATIONS)], LOSSES[seed % len(LOSSES)]
    problem, net = instance(seed, name, loss)
    found = certificate(problem, net)
    if not found.proved:
        return False
    times = np.concatenate([[0.0], np.geomspace(0.01, 1e3, 25)])
    with np.errstate(all="ignore"):
        run = flow(problem, net, times=times, form="mirror", rtol=1e-9, atol=1e-12)
    at_work = run.residual > 1e-7 * (1.0 + run.residual[0])
    slack = 1.0 + 1e-6
    assert (run.loss <= found.loss_bound(run.t) * slack)[at_work].all(), (name, loss)
    if not isinstance(loss, (LogCosh, SeparablePower)):
        assert (run.residual <= found.residual_bound(run.t) * slack)[at_work].all(), (name, loss)
    if run.residual[-1] < 1e-8:  # on the way it may be further off than in the end
        assert run.drift[-1] <= found.drift * slack + 1e-5
    return True


@pytest.mark.parametrize("seed", range(44))
def test_no_bound_is_violated(seed: int) -> None:
    """Loss, residual and drift of the flow stay below the certificate."""
    assert check_against_flow(seed) or seed % 2  # near the border it need not be proved


@pytest.mark.slow
@pytest.mark.parametrize("block", range(15))
def test_no_bound_is_violated_in_hundreds_of_runs(block: int) -> None:
    """The same, 600 times; all but a few at the very border are proved."""
    proved = [check_against_flow(seed) for seed in range(44 + 40 * block, 84 + 40 * block)]
    assert sum(proved) >= 0.9 * len(proved)


def test_a_single_neuron_by_hand() -> None:
    """k = m = 1, N = 1, sigmoid, z0 = 0, y = 3/4: z* = log 3, S* = -Z(z*) with Z = 2z + 2 sinh z,
    D_h = h(3/4) = ½ log 3, and λ = φ'(z)² where Z(z) = 2 Z(z*)."""
    found = mirror_rate([[1.0]], [0.75], [0.0], get("sigmoid"))
    z = math.log(3.0)
    Z = 2.0 * z + 2.0 * math.sinh(z)
    far = float(get("sigmoid").branches.Z_inverse(np.array([2.0 * Z]), np.zeros(1))[0])
    assert found.z == pytest.approx([z], rel=1e-12)
    assert found.dual_norm == pytest.approx(Z, rel=1e-9)
    assert found.divergence == pytest.approx(0.5 * z, rel=1e-9)
    assert found.rate == pytest.approx(
        float(get("sigmoid").dphi(np.array([far]))[0]) ** 2, rel=1e-6
    )
    assert found.drift == pytest.approx(z, rel=1e-9)
    assert found.residual == pytest.approx(0.25, rel=1e-9)
    assert found.divergence >= 0.5 * z
    assert found.dual_norm >= Z


def test_the_rate_in_the_end_is_that_of_the_limit() -> None:
    """The last knot comes within 2 % of λ_min(H) at the limit, and never above it."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        N = rng.standard_normal((5, 200)) / np.sqrt(200)
        z0 = rng.standard_normal(200)
        y = N @ np.full(200, 0.5) + 0.3 * rng.standard_normal(5)
        found = mirror_rate(N, y, z0, get("tanh"))
        H = (N * np.square(get("tanh").dphi(found.z))) @ N.T
        limit = float(np.linalg.eigvalsh(H)[0])
        assert 0.98 * limit <= found.knots[-1][1] <= limit
        assert found.rate <= found.knots[-1][1]


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "sin"])
def test_the_rate_holds_in_the_ball(name: str) -> None:
    """λ is below λ_min(H(S)) at 50 points of the ball ‖S - S*‖ ≤ ‖S*‖, most of them on its rim."""
    problem, net = instance(8, name, MSE())
    found = certificate(problem, net)
    form = MirrorForm(reduce(problem, net, "hidden"))
    rng = np.random.default_rng(0)
    for _ in range(50):
        step = rng.standard_normal(problem.m)
        step *= found.dual_norm * rng.random() ** 0.1 / np.linalg.norm(step)
        H = form.hessian(found.state + step)
        assert np.linalg.eigvalsh(H)[0] >= found.rate * (1.0 - 1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_divergence_is_an_upper_bound(name: str) -> None:
    """D_h is at least ∫ (φ(x) - φ(ζ))/φ'(ζ) dζ by adaptive quadrature, and at most 4 % more."""
    activation = get(name)
    rng = np.random.default_rng(4)
    z0 = rng.standard_normal(40)
    left, right = activation.branches.interval(z0)
    spread = rng.standard_normal(40) * 1.5
    x = np.clip(z0 + spread, np.maximum(left, -6.0) + 0.02, np.minimum(right, 6.0) - 0.02)
    for start, end in zip(z0, x, strict=True):
        top = float(activation.phi(np.array(end)))

        def slope(s: float, top: float = top) -> float:
            at = np.array(s)
            return float((top - activation.phi(at)) / activation.dphi(at))

        exact = quad(slope, start, end, epsabs=0.0, epsrel=1e-10, limit=200)[0]
        bound = divergence(activation, [start], [end], [end])
        assert exact * (1.0 - 1e-9) <= bound <= 1.04 * exact + 1e-10


SLOPES = {
    "sigmoid": lambda z: 1 / (2 + 2 * mp.cosh(z)),
    "tanh": lambda z: mp.sech(z) ** 2,
    "softplus": lambda z: 1 / (1 + mp.exp(-z)),
    "gelu": lambda z: mp.ncdf(z) + z * mp.npdf(z),
    "silu": lambda z: 1 / (1 + mp.exp(-z)) * (1 + z / (1 + mp.exp(z))),
    "sin": lambda z: mp.cos(z),
    "erf": lambda z: 2 / mp.sqrt(mp.pi) * mp.exp(-(z**2)),
    "arctan": lambda z: 1 / (1 + z**2),
}
"""φ' as mpmath evaluates it."""


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_Z_is_as_exact_as_the_proof_takes_it_to_be(name: str) -> None:
    """Differences of Z are those of ∫ 1/φ' at 25 digits, to 2e-14 of |Z|."""
    Z = get(name).branches.Z
    points = {"sin": [-1.5, -0.7, 0.0, 0.9, 1.55]}.get(name, [-0.7, -0.2, 0.0, 0.4, 1.5, 3.0, 5.0])
    runs = [points, [-8.0, -4.0, -2.0, -1.3]] if name in ("gelu", "silu") else [points]
    for run in runs:
        for a, b in itertools.pairwise(run):
            exact = mp.quad(lambda z: 1 / SLOPES[name](z), [mp.mpf(a), mp.mpf(b)])
            at = Z(np.array([a, b]))
            assert abs(float(at[1] - at[0]) - float(exact)) <= 2e-14 * (1.0 + np.abs(at).max())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_rise_and_then_fall(name: str) -> None:
    """On a branch |φ'| has no local minimum inside: the minimum over an interval is at its ends."""
    activation = get(name)
    z = np.linspace(-12.0, 12.0, 200_001)
    left, _ = activation.branches.interval(z)
    for start in np.unique(left):
        slope = np.abs(activation.dphi(z[left == start]))
        top = int(slope.argmax())
        noise = 1e-15
        assert (np.diff(slope[: top + 1]) >= -noise).all()
        assert (np.diff(slope[top:]) <= noise).all()


def test_the_divergence_grows_away_from_the_start() -> None:
    """Over an interval around z0 it is that of the end which gives more."""
    phi = get("erf")
    whole = divergence(phi, [0.3], [-1.0], [1.2])
    ends = [divergence(phi, [0.3], [x], [x]) for x in (-1.0, 1.2, 0.0, 0.9)]
    assert whole == pytest.approx(max(ends[:2]))
    assert whole >= max(ends)


def test_the_limit_is_the_bregman_projection() -> None:
    """No other point with N a = y has a smaller divergence from the start."""
    rng = np.random.default_rng(6)
    N, z0 = rng.standard_normal((2, 12)) / np.sqrt(12), rng.standard_normal(12)
    phi = get("sigmoid")
    y = N @ np.full(12, 0.55)
    found = mirror_rate(N, y, z0, phi)
    a = phi.phi(found.z)
    null = np.linalg.svd(N)[2][2:]
    for _ in range(30):
        other = a + 0.05 * rng.standard_normal(10) @ null
        x = np.log(other / (1.0 - other))
        assert divergence(phi, z0, x, x) >= found.divergence * (1.0 - 1e-9)


def test_it_is_proved_where_newton_ends_and_only_there() -> None:
    """At the width where half of the networks can reach y: proved exactly where reachable, with
    the same limit as an independent Newton iteration."""
    proved = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((5, 40)) / np.sqrt(40)
        problem = Problem(A, A @ rng.standard_normal(40))
        net = TwoLayerNetwork.draw(40, 44, 2, seed=seed)
        found = certificate(problem, net)
        N = A @ net.V / np.sqrt(44)
        assert found.proved is reachability(N, problem.observation, 0.0, 1.0).interior
        limit = newton_limit(problem, net)
        assert limit.reachable is found.proved
        if found.proved:
            assert limit.drift <= found.drift * (1.0 + 1e-7)
            assert limit.drift == pytest.approx(found.drift, rel=1e-3)
        else:
            assert found.loss_bound(1e9) == pytest.approx(0.5 * found.residual**2)
            assert found.time_to(1e-3) == math.inf
        proved.append(found.proved)
    assert 3 < sum(proved) < 21


@pytest.mark.parametrize("loss", [MSE(), Power(0.5), Huber(0.2)])
def test_bounds_fall_and_time_to_inverts_them(loss: LossFunction) -> None:
    """The bounds do not grow with t, start at ‖r(0)‖, and time_to is where they pass a level."""
    problem, net = instance(2, "tanh", loss)
    found = certificate(problem, net)
    t = np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 200)])
    bound = found.residual_bound(t)
    assert bound[0] == pytest.approx(found.residual)
    assert (np.diff(bound) <= 1e-12 * bound[0]).all()
    level = 0.05 * found.residual
    reached = found.time_to(level)
    assert found.residual_bound(reached) <= level < found.residual_bound(0.999 * reached)
    assert found.time_to(2.0 * found.residual) == 0.0
    assert found.time_to(0.0) == math.inf


def test_the_input_only_rescales_time() -> None:
    """ω scales the clock: with ‖u‖² = ω, all bounds at t are those of ω = 1 at ωt."""
    rng = np.random.default_rng(9)
    N, z0 = rng.standard_normal((2, 20)) / np.sqrt(20), rng.standard_normal(20)
    y = N @ np.full(20, 0.6)
    one, four = (mirror_rate(N, y, z0, get("sigmoid"), omega=w) for w in (1.0, 4.0))
    assert four.residual_bound(10.0) == pytest.approx(one.residual_bound(40.0), rel=1e-6)
    assert four.drift == pytest.approx(0.5 * one.drift, rel=1e-6)


def test_the_error_of_the_matrix_is_covered() -> None:
    """With matrix_error, the bounds hold for the certificates of matrices that near."""
    rng = np.random.default_rng(11)
    N, z0 = rng.standard_normal((2, 30)) / np.sqrt(30), rng.standard_normal(30)
    y, phi = N @ np.full(30, 0.6), get("sigmoid")
    wide = mirror_rate(N, y, z0, phi, matrix_error=1e-6)
    assert wide.proved
    for _ in range(5):
        near = mirror_rate(N + 1e-6 * rng.choice([-1.0, 1.0], N.shape), y, z0, phi)
        assert near.divergence <= wide.divergence * (1.0 + 1e-9)
        assert near.rate >= wide.rate * (1.0 - 1e-9)
        assert near.dual_norm <= wide.dual_norm * (1.0 + 1e-9)
        assert near.residual <= wide.residual


def test_what_is_refused() -> None:
    """Losses neither convex nor one of the named radial ones, and shapes that do not fit."""
    quartic = Radial(lambda rho: rho**4 / 4.0, lambda rho: rho**3)
    with pytest.raises(InputError, match="convex"):
        mirror_rate([[1.0]], [0.5], [0.0], get("tanh"), loss=quartic)
    with pytest.raises(InputError, match=r"\(m, k\)"):
        mirror_rate([[1.0]], [0.5, 1.0], [0.0], get("tanh"))
    found = mirror_rate([[1.0]], [0.5], [0.0], get("tanh"), loss=LogCosh())
    with pytest.raises(InputError, match="radial"):
        found.residual_bound(1.0)


def test_results_are_plain_data() -> None:
    """to_dict holds plain numbers, whether proved or not."""
    for y in (0.5, 2.0):
        json.dumps(mirror_rate([[1.0]], [y], [0.0], get("tanh")).to_dict(), allow_nan=False)
