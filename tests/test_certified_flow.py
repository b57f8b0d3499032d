"""The certified error of the flow: it holds, it is small, and each of its parts is a bound."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
from scipy.integrate import DOP853

from kltheory.activation import ACTIVATIONS
from kltheory.activation import get as get_activation
from kltheory.empirical.certified import certified_flow
from kltheory.empirical.compare import certified_distance
from kltheory.empirical.dynamics import descend, flow
from kltheory.empirical.enclosure import (
    STRIPS,
    MirrorFlow,
    ParameterFlow,
    _piece,
    pieces,
    square_flow,
)
from kltheory.empirical.forms import ObservationForm
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.step_size import unstable_from
from kltheory.errors import InputError
from kltheory.loss_functions import MSE, Radial
from kltheory.loss_functions import get as get_loss
from kltheory.problem import Problem, phase_retrieval

MODES = ("hidden", "both")
LOSSES = tuple(
    get_loss(name, **parameters)
    for name, parameters in (
        ("mse", {}),
        ("mean-squared", {"m": 4}),
        ("power", {"p": 0.2}),
        ("power", {"p": 1.0}),
        ("huber", {"delta": 0.4}),
        ("cauchy", {}),
        ("welsch", {}),
    )
)


def _draw(
    seed: int = 0,
    m: int = 4,
    n: int = 12,
    k: int = 60,
    activation: str = "sigmoid",
    loss: Any = "mse",
    scale: float = 1.0,
) -> tuple[Problem, TwoLayerNetwork]:
    rng = np.random.default_rng(seed)
    a, x = rng.standard_normal((m, n)) / np.sqrt(n), 0.5 * rng.standard_normal(n)
    net = TwoLayerNetwork.draw(n, k, 3, activation=activation, seed=seed)
    if scale != 1.0:
        net = TwoLayerNetwork(scale * net.u, net.W / scale, net.V, activation)
    return Problem(a, a @ x, loss=loss), net


def _between(one: TwoLayerNetwork, other: TwoLayerNetwork) -> float:
    return float(np.hypot(np.linalg.norm(one.W - other.W), np.linalg.norm(one.V - other.V)))


# -- the whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_certified_error_bounds_the_distance_to_another_integrator(name: str, train: str) -> None:
    """‖θ̂(t) - θ(t)‖ and ‖ŷ(t) - y(t)‖ stay below their bounds, which are small; ‖u‖ ≠ 1."""
    problem, net = _draw(1, m=10, n=20, k=200, activation=name, scale=1.4)
    end = 5.0 * unstable_from(problem, net, train)
    exact = flow(problem, net, train, times=[end], form="observation", rtol=1e-13, atol=1e-15)
    ours = certified_flow(problem, net, train, times=[0.0, end])
    assert ours.t.tolist() == [0.0, end]
    assert ours.error[0] < 1e-12
    assert _between(ours.network, exact.network) <= ours.error[-1] < 1e-6
    gap = problem.forward(ours.network.forward() - exact.network.forward())
    assert np.linalg.norm(gap) <= ours.observation_error[-1] < 1e-6
    assert ours.loss_low[-1] <= exact.loss[-1] <= ours.loss_high[-1]
    assert ours.drift[-1] == pytest.approx(exact.drift[-1], abs=2 * ours.error[-1])


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_every_radial_loss_has_a_certified_flow(loss: Any, train: str) -> None:
    """One path, many clocks: the bound holds for each loss, at every time."""
    problem, net = _draw(2, loss=loss)
    times = unstable_from(problem, net, train) * np.array([0.5, 2.0, 6.0])
    ours = certified_flow(problem, net, train, times=times)
    exact = flow(problem, net, train, times=times, form="observation", rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(ours.t, times)
    assert _between(ours.network, exact.network) <= ours.error[-1] < 1e-5
    assert (ours.loss_low <= exact.loss).all()
    assert (exact.loss <= ours.loss_high).all()
    assert (np.abs(ours.drift - exact.drift) <= ours.error).all()


@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[5]], ids=repr)
@pytest.mark.parametrize(
    ("train", "form"), [("hidden", "mirror"), ("hidden", "auto"), ("both", "auto")]
)
def test_a_flow_tells_its_certified_error(train: str, form: str, loss: Any) -> None:
    """m = 10: the bound is above the error of θ and y at every time, and near it."""
    problem, net = _draw(1, m=10, n=20, k=200, loss=loss)
    times = unstable_from(problem, net, train) * np.array([0.0, 2.0, 20.0])
    run = flow(problem, net, train, times=times, form=form, rtol=1e-7, atol=1e-9, certify=True)
    assert run.form == ("observation" if form == "auto" else form)
    bound, seen = run.accuracy.error, run.accuracy.observation_error
    exact = certified_flow(problem, net, train, times=times)
    true = _between(run.network, exact.network)
    assert true - exact.error[-1] <= bound[-1] <= true + 2.1 * exact.error[-1] + 1e-12
    y = problem.forward(run.network.forward())
    high = problem.loss.profile(run.residual + seen) * (1 + 1e-12)
    assert ((exact.loss_low <= high) & (run.loss <= high)).all()
    gap = np.linalg.norm(y - problem.forward(exact.network.forward()))
    assert gap <= seen[-1] + exact.observation_error[-1]
    assert 1e-12 < bound[-1] < 1e-3
    assert bound[0] < 1e-12
    plain = run.to_dict()["accuracy"]
    assert plain["error"] == bound.tolist()
    assert "certified error of θ" in str(run)


def test_certified_flows_of_a_batch_are_those_of_single_ones_and_stop_on_the_tolerance() -> None:
    """Lists in, the same bounds out; the time at which the tolerance is reached has one too."""
    pairs = [_draw(s, m=10, n=20, k=200) for s in (1, 2)]
    problems, nets = map(list, zip(*pairs, strict=True))
    options = {"times": [1.0, 400.0], "tol": 1e-3, "certify": True}
    for problem, net, run in zip(problems, nets, flow(problems, nets, **options), strict=True):
        alone = flow(problem, net, **options)
        np.testing.assert_array_equal(run.accuracy.error, alone.accuracy.error)
        assert run.status == "tolerance"
        assert run.accuracy.error.shape == run.t.shape
        assert run.accuracy.error.max() < 1e-6


def test_a_flow_without_a_certificate_is_refused_with_the_reason() -> None:
    """A loss without a clock that is enclosed, and variables that are not those of the proof."""
    problem, net = _draw(1, loss=get_loss("log-cosh"))
    with pytest.raises(InputError, match="certify: there is no certified flow here: "):
        flow(problem, net, times=[1.0], certify=True)
    problem, net = _draw(1)
    with pytest.raises(InputError, match="form 'signal' has other variables"):
        flow(problem, net, times=[1.0], form="signal", certify=True)


def test_a_poor_integration_has_a_larger_bound_that_still_holds() -> None:
    """With rtol = 1e-3 the approximation is bad, and its bound says so."""
    for train in MODES:
        problem, net = _draw(3, m=10, n=20, k=200)
        end = 4.0 * unstable_from(problem, net, train)
        fine = certified_flow(problem, net, train, times=[end])
        for rtol in (1e-3, 1e-5, 1e-8):
            rough = certified_flow(problem, net, train, times=[end], rtol=rtol, atol=rtol)
            true = _between(rough.network, fine.network)
            assert true <= rough.error[-1] + fine.error[-1]
            assert true > fine.error[-1] / 10
            assert rough.error[-1] > 10 * fine.error[-1]


def test_an_error_put_into_the_flow_is_seen() -> None:
    """A solution of a field that is wrong by 1e-6 has a bound of at least its true error."""
    problem, net = _draw(4)
    smooth = square_flow(problem, net, "hidden")
    ones = 1e-6 * np.ones(problem.m)
    solver = DOP853(
        lambda t, s: smooth.field(t, s) + ones,
        0.0,
        smooth.start.copy(),
        3.0,
        rtol=1e-12,
        atol=1e-14,
    )
    error, last = 0.0, smooth.start
    while solver.status == "running":
        solver.step()
        span = (float(solver.t_old), float(solver.t))
        piece, _ = _piece(smooth, MSE(), solver.dense_output(), span, last, error)
        error, last = piece.error, piece.states(np.array([1.0]))[0]
    exact = certified_flow(problem, net, times=[3.0])
    true = np.linalg.norm(smooth.parameters(solver.y)[0] - exact.network.z)
    assert 1e-8 < true <= smooth.parameter_error(error) < 1e-3


def test_square_loss_of_the_hidden_layer_never_loses_its_bound() -> None:
    """That flow contracts: long after the loss is at rounding the error is as small as before."""
    problem, net = _draw(5)
    run = certified_flow(problem, net, times=[10.0, 1e3, 1e5])
    assert run.form == "mirror"
    assert run.error[-1] < 1e-4
    assert run.loss[-1] < 1e-20


def test_where_the_bound_is_lost_the_times_are_left_out() -> None:
    """A power loss far below rounding: its clock has no meaning there, and nothing is claimed."""
    problem, net = _draw(6, loss=get_loss("power", p=0.01))
    run = certified_flow(problem, net, times=[1.0, 1e4], rtol=1e-5, atol=1e-5)
    assert run.t.tolist() == [1.0]
    assert np.isfinite(run.error).all()
    bound = certified_distance(problem, net, step=0.5, steps=2000, rtol=1e-5, atol=1e-5)
    assert np.isfinite(bound.distance[1])
    assert np.isinf(bound.distance[-1])


def test_what_has_no_certified_flow_is_refused_with_the_reason() -> None:
    """Losses that are not radial or not by name, and operators that are not linear."""
    problem, net = _draw(6)
    own = Radial(lambda r: r**2, lambda r: 2 * r)
    for loss in ("log-cosh", own):
        with pytest.raises(InputError, match="radial losses by name"):
            certified_flow(replace(problem, loss=loss), net, times=[1.0])
    with pytest.raises(InputError, match="linear F"):
        certified_flow(phase_retrieval(np.eye(12), np.ones(12)), net, times=[1.0])


# -- its parts ---------------------------------------------------------------------------------

_COMPLEX = {
    "sigmoid": lambda z: 1 / (4 * np.cosh(z / 2) ** 2),
    "tanh": lambda z: 1 / np.cosh(z) ** 2,
    "softplus": lambda z: 1 / (1 + np.exp(-z)),
    "sin": np.cos,
    "erf": lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2)),
    "arctan": lambda z: 1 / (1 + z**2),
    "silu": lambda z: (1 + z / (1 + np.exp(z))) / (1 + np.exp(-z)),
    "gelu": lambda z: _gelu_slope(z),
}


def _gelu_slope(z: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return 0.5 * (1 + erf(z / np.sqrt(2))) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_is_bounded_in_the_strip(name: str) -> None:
    """|φ'(z)| ≤ its bound for |Im z| ≤ R, and the continuation is that of φ' on the line."""
    radius, bound = STRIPS[name]
    x, y = np.linspace(-20, 20, 4001), np.linspace(-radius, radius, 201)
    values = np.abs(_COMPLEX[name](x[:, None] + 1j * y))
    assert np.nanmax(values) <= bound * (1 + 1e-12)
    assert np.nanmax(values) >= 0.5 * bound
    real = _COMPLEX[name](x + 0j)
    np.testing.assert_allclose(real.real, get_activation(name).dphi(x), atol=1e-12)


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("name", ["sigmoid", "gelu", "sin"])
def test_defect_between_the_nodes_is_below_its_bound(name: str, train: str) -> None:
    """On 200 points of each piece: error growth per unit of time ≥ the defect there."""
    problem, net = _draw(7, activation=name)
    smooth = square_flow(problem, net, train)
    before = 0.0
    for piece in islice(pieces(smooth, MSE(), 1e-6, 1e-6), 8):
        x = np.linspace(-1, 1, 201)
        h = piece.end - piece.start
        slope = np.polynomial.chebyshev.chebder(piece.coefficients) * (2 / h)
        worst = max(
            smooth.norm(np.polynomial.chebyshev.chebval(s, slope) - smooth.field(0.0, state))
            for s, state in zip(x, piece.states(x), strict=True)
        )
        assert h * worst <= piece.error - before
        before = piece.error


def _long_residual(problem: Problem, net: TwoLayerNetwork, z: np.ndarray) -> np.ndarray:
    """Return N φ(z) - y in extended precision, N as it is in floats."""
    wide = np.longdouble
    inner = ObservationForm(square_flow(problem, net, "hidden").reduced).reduced.inner
    phi = 1 / (1 + np.exp(-z.astype(wide)))
    return inner.astype(wide) @ phi - problem.observation.astype(wide)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="no extended precision here")
def test_rounding_of_the_field_is_below_its_bound() -> None:
    """The field in floats against 64-bit mantissas: within the bound, and not far below it."""
    problem, net = _draw(8, m=10, n=20, k=400)
    direct = ParameterFlow(problem, net, "hidden")
    wide = np.longdouble
    inner = direct.reduced.inner.astype(wide)
    z = net.z.astype(wide)
    slope = 1 / (4 * np.cosh(z / 2) ** 2)
    r = _long_residual(problem, net, net.z)
    exact = -wide(net.omega) * slope * (inner.T @ r)
    seen = direct.norm((direct.field(0.0, net.z) - exact).astype(float))
    off_r, off_f = direct.look(net.z).rounding(0.0)
    assert 0 < seen <= off_f < 1e-10
    assert float(np.linalg.norm(direct.residual(net.z) - r)) <= off_r
    # In the mirror variables z is what Z⁻¹ gives; the error of z counts too.
    mirror = MirrorFlow(problem, net)
    state = 0.3 * np.ones(problem.m)
    zeta = (2 * net.z.astype(wide) + 2 * np.sinh(net.z.astype(wide))) - wide(net.omega) * (
        state.astype(wide) @ inner
    )
    z = mirror.form.z(state).astype(wide)
    for _ in range(4):
        z = z - (2 * z + 2 * np.sinh(z) - zeta) / (2 + 2 * np.cosh(z))
    gap = mirror.residual(state) - (inner @ (1 / (1 + np.exp(-z))) - problem.observation)
    assert float(np.linalg.norm(gap)) <= mirror.look(state).rounding(0.0)[0] < 1e-10


@pytest.mark.parametrize("train", MODES)
def test_gain_and_curvature_bound_what_they_say(train: str) -> None:
    """Along random segments: ‖Δy‖ ≤ gain ‖Δθ‖ and ⟨Δf, Δθ⟩ ≤ μ‖Δθ‖²."""
    problem, net = _draw(9, activation="tanh", scale=1.3)
    smooth = ParameterFlow(problem, net, train)
    rng = np.random.default_rng(9)
    weights = smooth.form.weights
    for radius in (0.05, 0.5, 3.0):
        view = smooth.look(smooth.start)
        for _ in range(60):
            a, b = (rng.standard_normal(smooth.start.size) / np.sqrt(weights) for _ in range(2))
            a, b = (smooth.start + 0.99 * radius * v / smooth.norm(v) for v in (a, b))
            change = smooth.norm(a - b)
            seen = np.linalg.norm(smooth.residual(a) - smooth.residual(b))
            assert seen <= view.gain(radius) * change
            pull = (weights * (a - b) * (smooth.field(0, a) - smooth.field(0, b))).sum()
            assert pull <= view.curvature(radius) * change**2
            assert smooth.norm(smooth.field(0, a)) <= view.speed(radius)


def test_curvature_of_the_hidden_layer_is_attained() -> None:
    """One neuron, one observation, r φ'' extreme: μ is then what -∇²f is without JJᵀ."""
    problem = Problem(np.array([[1.0]]), [-5.0])
    z = 1.3169578969248166  # where σ'' has its minimum, -B2
    net = TwoLayerNetwork([1.0], [[z]], [[1.0]])
    smooth = ParameterFlow(problem, net, "hidden")
    view = smooth.look(smooth.start)
    h = 1e-5
    slope = (smooth.field(0, smooth.start + h) - smooth.field(0, smooth.start - h)) / (2 * h)
    jacobian = net.activation.dphi(net.z) ** 2
    assert (slope + jacobian).item() == pytest.approx(view.curvature(0.0), rel=1e-6)


# -- descent against the flow --------------------------------------------------------------------


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_certified_distance_of_any_radial_loss_is_the_distance(loss: Any, train: str) -> None:
    """Above the true ‖θ_j - θ(jη)‖ and less than one per cent more, hidden layer and both."""
    problem, net = _draw(10, m=10, n=20, k=100, loss=loss, scale=0.8)
    step = 0.1 * unstable_from(problem, net, train)
    bound = certified_distance(problem, net, train, step=step, steps=30)
    for mark in (1, 30):
        there = descend(problem, net, train, step=step, steps=mark, tol=0.0).network
        exact = flow(problem, net, train, times=[step * mark], form="observation",
                     rtol=1e-13, atol=1e-15).network  # fmt: skip
        true = _between(there, exact)
        assert true <= bound.distance[mark] <= 1.01 * true
        seen = np.linalg.norm(problem.forward(there.forward() - exact.forward()))
        assert seen <= bound.observation[mark] <= 1.01 * seen + 1e-9
    assert bound.distance[0] < 1e-12


def test_certified_distance_says_why_there_is_none() -> None:
    """A loss that is not radial, and an F whose Jacobian has no known Lipschitz constant."""
    problem, net = _draw(11, loss="log-cosh")
    with pytest.raises(InputError, match="radial"):
        certified_distance(problem, net, step=0.1, steps=3)


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("loss", ["mse", "log-cosh", "cauchy"])
def test_distance_of_a_nonlinear_operator_is_bounded_by_the_defect(loss: str, train: str) -> None:
    """Phase retrieval: the bound holds at every mark, and is within 10 times the distance early."""
    rng = np.random.default_rng(12)
    a, x = rng.standard_normal((4, 6)) / np.sqrt(6), rng.standard_normal(6)
    problem = phase_retrieval(a, (a @ x) ** 2, loss=loss)
    net = TwoLayerNetwork.draw(6, 200, 3, seed=12)
    step = 0.01 * unstable_from(problem, net, train)
    bound = certified_distance(problem, net, train, step=step, steps=40)
    assert bound.method == "defect"
    for mark in (1, 5, 20, 40):
        there = descend(problem, net, train, step=step, steps=mark, tol=0.0).network
        exact = flow(problem, net, train, times=[step * mark], rtol=1e-12, atol=1e-14).network
        true = _between(there, exact)
        assert true <= bound.distance[mark]
        seen = np.linalg.norm(problem.forward(there.forward()) - problem.forward(exact.forward()))
        assert seen <= bound.observation[mark]
    assert bound.distance[1] <= 10 * _between(
        descend(problem, net, train, step=step, steps=1, tol=0.0).network,
        flow(problem, net, train, times=[step], rtol=1e-12, atol=1e-14).network,
    )


def test_jacobian_of_phase_retrieval_has_its_lipschitz_constant() -> None:
    """‖J(x) - J(x')‖ ≤ L‖x - x'‖, with equality for one row."""
    rng = np.random.default_rng(13)
    a = rng.standard_normal((5, 4))
    problem = phase_retrieval(a, np.ones(5))
    for _ in range(50):
        x, w = rng.standard_normal(4), rng.standard_normal(4)
        change = np.linalg.norm(problem.jacobian_at(x) - problem.jacobian_at(w), 2)
        assert change <= problem.jacobian.lipschitz * np.linalg.norm(x - w)
    row = phase_retrieval(a[:1], [1.0])
    change = np.linalg.norm(row.jacobian_at(a[0]) - row.jacobian_at(0 * a[0]), 2)
    assert change == pytest.approx(row.jacobian.lipschitz * np.linalg.norm(a[0]))


@pytest.mark.parametrize("z", [0.93, 2.33, 3.73, 5.98])
def test_the_rounding_of_z_is_part_of_the_error(z: float) -> None:
    """A flow that hardly moves, z' = φ'(z)(y - arctan z), in 50 digits: z is off by its ulp."""
    from mpmath import MPContext

    ctx = MPContext()
    ctx.dps = 50
    net = TwoLayerNetwork([1.0], [[z]], [[1.0]], "arctan")
    y = float(net.forward()[0]) + 1e-7
    t = 1e-5
    found = certified_flow(Problem([[1.0]], [y]), net, times=[t])
    start = ctx.mpf(z)  # by Taylor: the next term is below 1e-24
    exact = start + ctx.mpf(t) / (1 + start**2) * (ctx.mpf(y) - ctx.atan(start))
    assert abs(ctx.mpf(float(found.network.z[0])) - exact) <= found.error[0] < 1e-13
