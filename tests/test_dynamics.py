"""Training: every form gives the same trajectory, runs stop for the right reason, laws are kept."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.optimize import linprog, lsq_linear
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator

import kltheory.empirical.batch as batch
import kltheory.empirical.flow_batch as flow_batch
import kltheory.empirical.seeded as seeded
from kltheory.activation import ACTIVATIONS
from kltheory.constants import Evidence
from kltheory.empirical.compare import certified_distance, compare
from kltheory.empirical.dynamics import Trajectory, descend, flow
from kltheory.empirical.flow import conservation_defect
from kltheory.empirical.forms import make_form
from kltheory.empirical.image import image
from kltheory.empirical.mirror import newton_limit
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.reduced import reduce
from kltheory.empirical.rows import LEVELS
from kltheory.empirical.shared_path import shared_path
from kltheory.empirical.step_size import required_step, safe_step, unstable_from
from kltheory.errors import InputError
from kltheory.loss_functions import RadialLoss
from kltheory.loss_functions import get as get_loss
from kltheory.problem import Problem, phase_retrieval

MODES = ("hidden", "both")
LOSSES = (
    get_loss("mse"),
    get_loss("power", p=0.2),
    get_loss("mean-squared", m=4),
    get_loss("separable-power", p=2.5),
    get_loss("huber", delta=0.5),
    get_loss("log-cosh"),
    get_loss("pseudo-huber"),
    get_loss("cauchy"),
    get_loss("welsch"),
)


def _draw(
    seed: int = 0,
    m: int = 4,
    n: int = 12,
    k: int = 60,
    d: int = 3,
    activation: str = "sigmoid",
    output: str = "rademacher",
    loss: Any = "mse",
) -> tuple[Problem, TwoLayerNetwork]:
    rng = np.random.default_rng(seed)
    a, x = rng.standard_normal((m, n)) / np.sqrt(n), 0.5 * rng.standard_normal(n)
    net = TwoLayerNetwork.draw(n, k, d, activation=activation, output=output, seed=seed)
    return Problem(a, a @ x, loss=loss, signal=x), net


def _plain_descent(
    problem: Problem, net: TwoLayerNetwork, train: str, step: float, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradient descent on W and V, written out from the definition, for any F."""
    u, W, V = net.u, net.W.copy(), net.V.copy()
    W0, V0, root = W.copy(), V.copy(), np.sqrt(net.k)
    losses, drift = [], []
    for j in range(steps + 1):
        phi, dphi = net.activation.phi(W @ u), net.activation.dphi(W @ u)
        x = V @ phi / root
        y = problem.forward(x)
        losses.append(float(problem.loss_value(y)))
        drift.append(np.hypot(np.linalg.norm(W - W0), np.linalg.norm(V - V0)))
        if j == steps:
            break
        q = np.asarray(problem.jacobian_at(x)).T @ problem.loss_gradient(y) / root
        dW = np.outer(dphi * (V.T @ q), u)
        if train == "both":
            V = V - step * np.outer(q, phi)
        W = W - step * dW
    return np.array(losses), np.array(drift), W, V


# -- reductions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_form_is_the_full_network_over_1000_steps(name: str, train: str) -> None:
    """Losses, drift, W, V and x of each form agree with descent on W and V to 1e-12."""
    problem, net = _draw(activation=name)
    step = min(0.3, 0.5 * unstable_from(problem, net, train))
    losses, drift, W, V = _plain_descent(problem, net, train, step, 1000)
    for form, fast in (("full", True), ("signal", True), ("observation", False), ("auto", True)):
        run = descend(problem, net, train, step=step, steps=1000, tol=0.0, form=form, fast=fast)
        for ours, exact in (
            (run.loss, losses),
            (run.residual, np.sqrt(2 * losses)),
            (run.drift, drift),
            (run.network.W, W),
            (run.network.V, V),
            (run.network.forward(), V @ net.activation.phi(W @ net.u) / np.sqrt(net.k)),
        ):
            assert np.abs(ours - exact).max() <= 1e-12, form


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_reductions_hold_for_every_loss(loss: Any, train: str) -> None:
    """The reduced dynamics follow the full network under radial and separable losses alike."""
    problem, net = _draw(1, loss=loss)
    step = 0.4 * unstable_from(problem, net, train)
    losses, drift, *_ = _plain_descent(problem, net, train, step, 300)
    run = descend(problem, net, train, step=step, steps=300, tol=0.0)
    assert run.form == "observation"
    np.testing.assert_allclose(run.loss, losses, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(run.drift, drift, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("kind", ["wide", "tall", "deficient", "sparse", "products"])
def test_reductions_hold_for_every_kind_of_operator(kind: str, train: str) -> None:
    """m < n, m > n, rank-deficient, sparse and product operators; y may lie outside Im A."""
    rng = np.random.default_rng(2)
    a = rng.standard_normal({"wide": (3, 9), "tall": (9, 4)}.get(kind, (6, 8))) / 3
    if kind == "deficient":
        a[4:] = a[:2] + a[2:4]
    y = 0.3 * rng.standard_normal(a.shape[0])
    net = TwoLayerNetwork(rng.standard_normal(3), rng.standard_normal((30, 3)),
                          rng.standard_normal((a.shape[1], 30)), "tanh")  # fmt: skip
    given_as = {"sparse": csr_array(a), "products": aslinearoperator(a)}.get(kind, a)
    step = 0.4 * unstable_from(Problem(a, y), net, train)
    losses, drift, W, V = _plain_descent(Problem(a, y), net, train, step, 300)
    run = descend(Problem(given_as, y), net, train, step=step, steps=300, tol=0.0)
    np.testing.assert_allclose(run.loss, losses, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(run.drift, drift, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run.network.W, W, atol=1e-11)
    np.testing.assert_allclose(run.network.V, V, atol=1e-11)


@pytest.mark.parametrize("train", MODES)
def test_nonlinear_operators_are_trained_in_the_signal_form(train: str) -> None:
    """Phase retrieval: the same trajectory as descent on W and V."""
    rng = np.random.default_rng(3)
    a, x = rng.standard_normal((9, 4)) / 3, rng.standard_normal(4)
    problem = phase_retrieval(a, (a @ x) ** 2, signal=x)
    net = TwoLayerNetwork.draw(4, 40, 3, activation="tanh", seed=3)
    losses, drift, W, V = _plain_descent(problem, net, train, 0.05, 500)
    run = descend(problem, net, train, step=0.05, steps=500, tol=0.0, watch=[0, 250])
    assert run.form == "signal"
    np.testing.assert_allclose(run.loss, losses, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(run.drift, drift, atol=1e-11)
    np.testing.assert_allclose(run.network.W, W, atol=1e-11)
    np.testing.assert_allclose(run.network.V, V, atol=1e-11)
    assert run.watched.tolist() == [0, 250, 500]
    assert run.signal_error[0] == pytest.approx(np.linalg.norm(net.forward() - x))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
@pytest.mark.parametrize("size", [1e-6, 2.9e-6, 1e-4, 0.9e-3, 5e-3, 0.1, 0.9])
def test_step_without_exponentials_is_exact_at_every_size(name: str, size: float) -> None:
    """In each range of |δ| the iterates of the fast and the plain step agree to rounding."""
    assert LEVELS == (3e-6, 1e-3, 1e-2)
    problem, net = _draw(4, activation=name)
    problem = Problem(problem.operator, problem.observation + 0.5)
    reduced = reduce(problem, net, "hidden")
    r = reduced.inner @ net.activation.phi(net.z) - problem.observation
    form = {"sigmoid": 0.5, "tanh": 1.0}[name]
    per_step = form * np.abs(net.activation.dphi(net.z) * (r @ reduced.inner)).max()
    step = size / per_step
    runs = [
        descend(problem, net, step=step, steps=20, tol=0.0, fast=fast, allow_unstable=True)
        for fast in (True, False)
    ]
    scale = max(1.0, float(np.abs(runs[1].network.z).max()))
    assert np.abs(runs[0].network.z - runs[1].network.z).max() <= 1e-13 * scale
    np.testing.assert_allclose(runs[0].loss, runs[1].loss, rtol=1e-12, atol=1e-14)


def test_stopping_indices_are_identical_with_and_without_the_fast_step() -> None:
    """500 runs of many widths stop at the same step, for the same reason."""
    pairs = [_draw(s, m=5, n=20, k=20 + 20 * (s % 5)) for s in range(500)]
    problems, nets = map(list, zip(*pairs, strict=True))
    options = {"step": 1.0, "steps": 1500, "tol": 1e-7, "every": 500}
    fast = descend(problems, nets, fast=True, **options)
    plain = descend(problems, nets, fast=False, **options)
    assert [(r.steps, r.status) for r in fast] == [(r.steps, r.status) for r in plain]
    assert {r.status for r in fast} >= {"tolerance", "budget"}
    worst = max(np.abs(a.losses / b.losses - 1).max() for a, b in zip(fast, plain, strict=True))
    assert worst < 1e-9


# -- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", MODES)
def test_a_batch_gives_the_bits_of_single_runs(train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever shares the arrays, in whatever order runs start and leave: the same bits."""
    monkeypatch.setattr(batch, "_MOST_ROWS", 4)
    pairs = [_draw(s, m=5, k=31 + 30 * (s % 2), activation="tanh" if s % 3 else "sigmoid")
             for s in range(13)]  # fmt: skip
    problems, nets = map(list, zip(*pairs, strict=True))
    steps = [0.05 * (1 + s % 4) for s in range(13)]
    options = {"steps": 900, "tol": 1e-5, "every": 7, "watch": [70, 0, 350]}
    together = descend(problems, nets, train, step=steps, **options)
    reverse = descend(problems[::-1], nets[::-1], train, step=steps[::-1], **options)[::-1]
    assert len({r.steps for r in together}) > 3
    for i, one in enumerate(together):
        alone = descend(problems[i], nets[i], train, step=steps[i], **options)
        for other in (alone, reverse[i]):
            np.testing.assert_array_equal(one.losses, other.losses)
            np.testing.assert_array_equal(one.t, other.t)
            np.testing.assert_array_equal(one.drift, other.drift)
            np.testing.assert_array_equal(one.network.z, other.network.z)
            np.testing.assert_array_equal(one.network.V, other.network.V)
            np.testing.assert_array_equal(one.signal_error, other.signal_error)
            assert one.reason == other.reason


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[1], LOSSES[5]], ids=lambda loss: loss.name)
def test_a_batch_of_verified_runs_gives_the_bits_of_single_runs(
    train: str, loss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever shares the arrays: the same steps, losses and networks, by the rule of one run."""
    monkeypatch.setattr(batch, "_MOST_ROWS", 3)
    pairs = [_draw(s, m=5, k=31, loss=loss) for s in range(8)]
    problems, nets = map(list, zip(*pairs, strict=True))
    steps = [4.0 * 3**s for s in range(8)]
    options = {"steps": 120, "tol": 1e-3, "every": 7, "watch": [70, 0], "verified": True}
    together = descend(problems, nets, train, step=steps, **options)
    assert len({r.steps for r in together}) > 3
    for i, one in enumerate(together):
        alone = descend(problems[i], nets[i], train, step=steps[i], **options)
        for name in ("losses", "t", "drift", "residual", "signal_error"):
            np.testing.assert_array_equal(getattr(one, name), getattr(alone, name))
        np.testing.assert_array_equal(one.network.V, alone.network.V)
        np.testing.assert_array_equal(one.network.z, alone.network.z)
        assert one.reason == alone.reason
        full = descend(problems[i], nets[i], train, step=steps[i], form="full", **options)
        first = min(20, one.steps, full.steps)
        np.testing.assert_allclose(one.losses[:first], full.losses[:first], rtol=1e-10)
        assert (one.steps, one.status) == (full.steps, full.status)


def test_recording_thins_what_is_kept_and_nothing_else() -> None:
    """every=37 keeps steps 0, 37, ... and the last; `losses` has all; long runs cross chunks."""
    problem, net = _draw(5)
    full = descend(problem, net, step=0.5, steps=800, tol=0.0)
    thin = descend(problem, net, step=0.5, steps=800, tol=0.0, every=37)
    kept = [*range(0, 801, 37), 800]
    np.testing.assert_array_equal(full.losses, thin.losses)
    np.testing.assert_array_equal(full.losses, full.loss)
    for name in ("t", "loss", "residual", "drift"):
        np.testing.assert_array_equal(getattr(thin, name), getattr(full, name)[kept])
    np.testing.assert_allclose(full.t, 0.5 * np.arange(801), rtol=1e-15)


@pytest.mark.parametrize("step", [1e-6, 0.5])
def test_drift_of_every_step_is_that_of_the_weights(step: float) -> None:
    """Both layers: the sum over the steps is the norm of the difference, at every size of it."""
    pairs = [_draw(s, k=40, activation=name) for s, name in enumerate(("sigmoid", "gelu", "tanh"))]
    for problem, net in pairs:
        options = {"step": step, "steps": 300, "tol": 0.0}
        often = descend(problem, net, "both", **options)
        rare = descend(problem, net, "both", every=5, **options)
        full = descend(problem, net, "both", form="full", **options)
        np.testing.assert_array_equal(often.losses, rare.losses)
        np.testing.assert_allclose(often.drift[::5], rare.drift, rtol=1e-9)
        np.testing.assert_allclose(often.drift, full.drift, rtol=1e-8)


def test_watched_steps_measure_the_network_there() -> None:
    """‖x - x̄‖ and σ_min(J) at chosen steps are those of the network after so many steps."""
    problem, net = _draw(6)
    run = descend(problem, net, step=0.5, steps=60, tol=0.0, watch=[20, 0], sigma_min=True)
    assert run.watched.tolist() == [0, 20, 60]
    for place, steps in enumerate((0, 20, 60)):
        there = descend(problem, net, step=0.5, steps=steps, tol=0.0).network
        error = np.linalg.norm(there.forward() - problem.signal)
        assert run.signal_error[place] == pytest.approx(error, rel=1e-12)
        assert run.sigma_min[place] == pytest.approx(there.sigma_min(), rel=1e-10)


def test_the_same_runs_in_another_process_give_the_same_bits(tmp_path: Any) -> None:
    """A run that is computed by another process, from its seeds, has the same bits."""
    pairs = [_draw(s, k=40) for s in range(6)]
    problems, nets = map(list, zip(*pairs, strict=True))
    runs = descend(problems, nets, step=0.7, steps=400, tol=1e-6)
    code = (
        "import sys, pickle, numpy as np\n"
        "from kltheory.empirical.dynamics import descend\n"
        "problems, nets = pickle.load(open(sys.argv[1], 'rb'))\n"
        "runs = descend(problems, nets, step=0.7, steps=400, tol=1e-6)\n"
        "pickle.dump([(r.losses, r.network.z) for r in runs], open(sys.argv[2], 'wb'))\n"
    )
    source, target = tmp_path / "in.pkl", tmp_path / "out.pkl"
    source.write_bytes(pickle.dumps((problems[3:], nets[3:])))
    subprocess.run([sys.executable, "-c", code, source, target], check=True, timeout=60,
                   env={**os.environ, "PYTHONPATH": os.getcwd()})  # fmt: skip
    for run, (losses, z) in zip(runs[3:], pickle.loads(target.read_bytes()), strict=True):
        np.testing.assert_array_equal(run.losses, losses)
        np.testing.assert_array_equal(run.network.z, z)


# -- why a run stops -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["auto", "signal", "full"])
def test_a_run_stops_at_the_first_loss_below_the_tolerance(form: str) -> None:
    """All losses but the last are at or above tol, and the reason says so."""
    problem, net = _draw(7)
    run = descend(problem, net, step=1.0, steps=20_000, tol=1e-4, form=form, every=10)
    assert run.converged
    assert run.status == "tolerance"
    assert run.losses[-1] < 1e-4
    assert (run.losses[:-1] >= 1e-4).all()
    assert run.steps == run.losses.size - 1
    assert f"at step {run.steps}" in run.reason


def test_a_run_that_starts_below_the_tolerance_takes_no_step() -> None:
    """ψ0 = 0: already converged."""
    problem, net = _draw(8)
    done = Problem(problem.operator, problem.forward(net.forward()))
    run = descend(done, net, step=1.0, steps=10)
    assert (run.steps, run.status, run.losses.size) == (0, "tolerance", 1)
    np.testing.assert_array_equal(run.network.z, net.z)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "arctan"])
def test_a_certified_failure_is_true(name: str) -> None:
    """The bound that stops a run is below the least loss of any weights in the hidden layer."""
    found = 0
    for seed in range(4):
        problem, net = _draw(seed, m=8, n=10, k=9, activation=name)
        problem = Problem(problem.operator, 4.0 * problem.observation - 1.0)
        run = descend(problem, net, step=0.3, steps=20_000, tol=1e-7, every=1000)
        low, high = {"sigmoid": (0, 1), "tanh": (-1, 1)}.get(name, (-np.pi / 2, np.pi / 2))
        matrix = problem.operator @ net.V / np.sqrt(net.k)
        best = lsq_linear(matrix, problem.observation, bounds=(low, high), tol=1e-14).cost
        if run.status == "failure":
            found += 1
            assert 1e-7 < run.lower_bound <= best
            assert not run.converged
        else:
            assert best < 0.05
    assert found > 0


@pytest.mark.parametrize("name", ["softplus", "gelu", "silu"])
def test_a_failure_of_an_unbounded_activation_is_proved_and_true(name: str) -> None:
    """A run that cannot converge ends early, with a bound below what any hidden layer reaches."""
    pairs = [_draw(s, m=6, n=9, k=9, activation=name, output="uniform") for s in range(12)]
    problems = [Problem(p.operator, 3.0 * p.observation) for p, _ in pairs]
    nets = [net for _, net in pairs]
    options = {"step": 0.3, "steps": 1500, "tol": 1e-7, "every": 1500}
    runs, found = descend(problems, nets, **options), []
    low = image(nets[0].activation)[0]
    for problem, net, run in zip(problems, nets, runs, strict=True):
        matrix = problem.operator @ net.V / np.sqrt(net.k)
        best = lsq_linear(matrix, problem.observation, (low, np.inf), "bvls", tol=1e-14).cost
        assert (run.status == "failure") is bool(best > 1e-6)
        if run.status == "failure":
            found.append(problem)
            assert 0.99 * best <= run.lower_bound <= min(best * (1 + 1e-9), run.final_loss)
            alone = descend(problem, net, **options)
            assert (alone.reason, alone.steps) == (run.reason, run.steps)
            np.testing.assert_array_equal(alone.losses, run.losses)
    assert 2 <= len(found) <= 10
    net = nets[problems.index(found[0])]
    assert descend(found[0], net, **options, stop_failed=False).status == "budget"


def test_observations_outside_the_range_are_certified_failures() -> None:
    """y ∉ Im A: told at once if both layers are trained, and on the way if V is fixed."""
    rng = np.random.default_rng(9)
    a = rng.standard_normal((9, 4)) / 3
    problem, net = Problem(a, rng.standard_normal(9)), TwoLayerNetwork.draw(4, 30, 3, seed=9)
    least = 0.5 * problem.distance_to_range() ** 2
    both = descend(problem, net, "both", step=0.1, steps=3000)
    hidden = descend(problem, net, step=0.5, steps=20_000)
    assert (both.status, both.steps) == ("failure", 0)
    assert hidden.status == "failure"
    assert hidden.steps > 0
    assert both.lower_bound == pytest.approx(least)
    assert 1e-7 < hidden.lower_bound <= least * (1 + 1e-12)
    assert descend(problem, net, "both", step=0.1, steps=5, stop_failed=False).steps == 5


def test_reachable_runs_are_never_called_failures() -> None:
    """Where some weights reach y, no run is stopped as a failure, also close to the border."""
    rng = np.random.default_rng(9)
    for seed in range(20):
        problem, net = _draw(seed, m=4, n=6, k=12)
        a = problem.operator
        y = a @ net.V @ rng.choice([0.01, 0.99], net.k) / np.sqrt(net.k)
        run = descend(Problem(a, y), net, step=1.0, steps=1500, tol=1e-12, every=500)
        assert run.status != "failure"


def test_budget_and_divergence_are_told_apart() -> None:
    """Steps used up: "budget".  A loss that is not finite: "diverged", with the step."""
    problem, net = _draw(10)
    assert descend(problem, net, step=0.1, steps=5).status == "budget"
    wild = phase_retrieval(np.eye(12), np.ones(12))
    run = descend(wild, net, "both", step=100.0, steps=500, allow_unstable=True)
    assert run.status == "diverged"
    assert "smaller step" in run.reason


@pytest.mark.parametrize("verified", [False, True])
def test_progress_rises_to_the_whole_of_all_runs(verified: bool) -> None:
    """Over batches of several shapes and runs of their own: from a part to steps x runs."""
    pairs = [_draw(s, k=30 + 10 * (s % 2)) for s in range(4)]
    rng = np.random.default_rng(0)
    retrieval = phase_retrieval(rng.standard_normal((9, 12)) / 3, np.ones(9))
    pairs.append((retrieval, TwoLayerNetwork.draw(12, 40, 3, activation="tanh", seed=0)))
    problems, nets = map(list, zip(*pairs, strict=True))
    seen: list[tuple[int, int]] = []
    options = {"step": 0.01, "steps": 700, "tol": 1e-3, "verified": verified}
    descend(problems, nets, progress=lambda done, total: seen.append((done, total)), **options)
    done = [d for d, _ in seen]
    assert {total for _, total in seen} == {5 * 700}
    assert 0 < done[0] < done[-1] == 5 * 700
    assert done == sorted(done)
    seen.clear()
    linear = problems[:4], nets[:4]
    flow(*linear, times=[5.0], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1000, 1000)
    assert seen == sorted(seen)


# -- Ctrl-C ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "verified"), [("auto", False), ("signal", False), ("auto", True)])
def test_ctrl_c_keeps_what_was_computed(form: str, verified: bool) -> None:
    """After SIGINT every run is returned with the losses so far, equal to an undisturbed run."""
    pairs = [_draw(s) for s in range(3)]
    problems, nets = map(list, zip(*pairs, strict=True))
    seen: list[int] = []

    def press(done: int, total: int) -> None:
        if not seen:
            os.kill(os.getpid(), signal.SIGINT)
        seen.append(done)

    options = {"step": 0.2, "steps": 5000, "tol": 0.0, "form": form, "verified": verified}
    before = signal.getsignal(signal.SIGINT)
    runs = descend(problems, nets, progress=press, **options)
    assert signal.getsignal(signal.SIGINT) is before
    assert [r.status for r in runs] == ["interrupted"] * 3
    assert 0 < runs[0].steps < 5000
    whole = descend(problems[0], nets[0], **{**options, "steps": runs[0].steps})
    np.testing.assert_array_equal(runs[0].losses, whole.losses)
    np.testing.assert_array_equal(runs[0].network.z, whole.network.z)


def test_ctrl_c_keeps_the_flow_so_far() -> None:
    """After SIGINT the flow is returned to the time that it reached."""
    problem, net = _draw(11)

    def press(done: int, total: int) -> None:
        if done > 100:
            os.kill(os.getpid(), signal.SIGINT)

    times = np.linspace(0, 500, 101)
    run = flow(problem, net, times=times, progress=press, form="observation")
    whole = flow(problem, net, times=times, form="observation")
    assert run.status == "interrupted"
    assert 50.0 < run.t[-1] < 500.0
    kept = run.t.size - 1
    np.testing.assert_array_equal(run.loss[:kept], whole.loss[:kept])


def test_training_works_outside_the_main_thread() -> None:
    """Signals are left alone in another thread, and the numbers are the same."""
    problem, net = _draw(11)
    found: list[Trajectory] = []
    thread = threading.Thread(target=lambda: found.append(descend(problem, net, steps=50)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0].losses, descend(problem, net, steps=50).losses)


# -- the gradient flow -----------------------------------------------------------------------------


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_conserved_quantities_and_forms_of_the_flow(name: str, train: str) -> None:
    """All forms agree; with both layers ‖V_i‖² - G(z_i) is constant to 1e-8, G' = 2φ/φ'."""
    problem, net = _draw(12, k=20, activation=name)
    times = [0.0, 1.0, 20.0]
    forms = ["full", "signal", "observation"] + (["mirror"] if train == "hidden" else [])
    runs = [flow(problem, net, train, times=times, form=form) for form in forms]
    for run in runs:
        np.testing.assert_allclose(run.loss, runs[0].loss, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(run.drift, runs[0].drift, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(run.signal_error, runs[0].signal_error, rtol=1e-7)
    if train == "both":
        end = runs[2].network
        squares = np.sum(end.V**2, axis=0) - np.sum(net.V**2, axis=0)
        phi = net.activation
        change = [
            quad(lambda s: float(2 * phi.phi(np.array(s)) / phi.dphi(np.array(s))), a, b)[0]
            for a, b in zip(net.z, end.z, strict=True)
        ]
        assert np.abs(squares - change).max() <= 1e-8
        np.testing.assert_allclose(conservation_defect(net, end), squares - change, atol=1e-9)
        assert runs[2].accuracy.conservation <= 1e-8


def test_conservation_law_tells_a_wrong_flow() -> None:
    """Descent with a large step does not conserve ‖V_i‖² - G(z_i)."""
    problem, net = _draw(13)
    run = descend(problem, net, "both", step=1.0, steps=20, tol=0.0)
    assert np.abs(conservation_defect(net, run.network)).max() > 1e-5


def test_conservation_law_holds_for_any_operator_loss_and_input_norm() -> None:
    """Phase retrieval, a loss that is not radial, and ‖u‖ ≠ 1."""
    rng = np.random.default_rng(14)
    a, x = rng.standard_normal((9, 4)) / 3, rng.standard_normal(4)
    problem = phase_retrieval(a, (a @ x) ** 2, loss="log-cosh")
    net = TwoLayerNetwork(rng.standard_normal(3), rng.standard_normal((15, 3)),
                          rng.standard_normal((4, 15)), "softplus")  # fmt: skip
    run = flow(problem, net, "both", times=[0.0, 10.0])
    assert run.drift[-1] > 0.1
    assert run.accuracy.conservation <= 1e-8


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[5]], ids=lambda loss: loss.name)
def test_a_batch_of_flows_gives_the_bits_of_single_flows(
    train: str, loss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever shares the arrays: the same times, states and reasons; flows leave when done."""
    monkeypatch.setattr(flow_batch, "_MOST_ROWS", 3)
    pairs = [_draw(s, m=5 + s % 2, k=31, loss=loss) for s in range(9)]
    problems, nets = map(list, zip(*pairs, strict=True))
    options = {"times": [0.0, 0.3, 1.0, 7.0, 60.0], "tol": 0.05, "form": "observation"}
    together = flow(problems, nets, train, **options)
    assert "tolerance" in {r.status for r in together}
    assert len({r.steps for r in together}) > 2
    for i, one in enumerate(together):
        alone = flow(problems[i], nets[i], train, **options)
        for name in ("t", "loss", "residual", "drift", "signal_error"):
            np.testing.assert_array_equal(getattr(one, name), getattr(alone, name))
        np.testing.assert_array_equal(one.network.z, alone.network.z)
        np.testing.assert_array_equal(one.network.V, alone.network.V)
        assert (one.reason, one.steps) == (alone.reason, alone.steps)


@pytest.mark.parametrize("train", MODES)
def test_batched_integrator_is_the_one_of_scipy(train: str) -> None:
    """The same states, between the steps too, with as many evaluations; fewer for a large rtol."""
    problem, net = _draw(12, k=20)
    form = make_form("observation", problem, net, train)
    times = np.array([0.0, 0.7, 3.0, 20.0])
    counts = []
    for rtol in (1e-10, 1e-5):
        run = flow(problem, net, train, times=times, form="observation", rtol=rtol, atol=rtol / 100)
        exact = solve_ivp(
            lambda t, s: -form.velocity(s, form.observe(s)), (0.0, 20.0), form.start,
            method="DOP853", t_eval=times, rtol=rtol, atol=rtol / 100,
        )  # fmt: skip
        residual = [np.linalg.norm(form.observe(s) - problem.observation) for s in exact.y.T]
        np.testing.assert_allclose(run.residual, residual, rtol=1e-11)
        np.testing.assert_allclose(run.drift, [form.drift(s) for s in exact.y.T], rtol=1e-11)
        assert abs(run.steps - exact.nfev) <= 0.1 * exact.nfev + 15
        counts.append(run.steps)
    assert counts[1] < 0.8 * counts[0]


@pytest.mark.parametrize("form", ["observation", "signal"])
@pytest.mark.parametrize("train", MODES)
def test_steps_of_the_flow_end_on_times_that_are_far_apart(train: str, form: str) -> None:
    """There the states are as good as those at the steps, at little cost; times between are not."""
    problem, net = _draw(3, m=5, n=10, k=40)
    times = 250.0 * unstable_from(problem, net, train) * np.array([0.3, 0.61, 1.0])
    options = {"form": form, "rtol": 1e-10, "atol": 1e-12}
    run = flow(problem, net, train, times=times, **options)
    last = flow(problem, net, train, times=times[-1:], **options)
    many = flow(problem, net, train, times=np.linspace(0.0, times[-1], 201), **options)
    exact = flow(problem, net, train, times=times, form=form, rtol=1e-13, atol=1e-15)
    fine = flow(problem, net, train, times=many.t, form=form, rtol=1e-13, atol=1e-15)
    error = np.abs(run.drift - exact.drift)
    assert error.max() < 1e-10
    assert np.abs(many.drift - fine.drift).max() > 5 * error.max()
    assert run.steps <= 1.15 * last.steps
    np.testing.assert_array_equal(run.t, times)


@pytest.mark.parametrize("form", ["mirror", "observation"])
def test_flow_stops_where_the_loss_reaches_the_tolerance(form: str) -> None:
    """The last time is the first at which the loss is below tol."""
    problem, net = _draw(15)
    run = flow(problem, net, times=np.linspace(0, 5000, 51), tol=1e-3, form=form)
    assert run.converged
    assert run.loss[-1] == pytest.approx(1e-3, rel=1e-6)
    assert (run.loss[:-1] >= 1e-3).all()
    assert (np.diff(run.t) > 0).all()


def test_flow_decreases_the_loss_at_the_rate_of_the_kernel() -> None:
    """dL/dt = -∇Lᵀ K ∇L, K = (J_F J_g)(J_F J_g)ᵀ, at the start, in both modes."""
    problem, net = _draw(16)
    g = problem.loss_gradient(problem.forward(net.forward()))
    for train in MODES:
        run = flow(problem, net, train, times=[0.0, 1e-4])
        rate = (run.loss[1] - run.loss[0]) / 1e-4
        assert rate == pytest.approx(-g @ net.kernel(train, problem) @ g, rel=1e-3)


def test_radial_losses_share_one_path() -> None:
    """Under every radial loss the flow visits the same networks: drift against residual."""
    problem, net = _draw(17)
    path = flow(problem, net, times=np.linspace(0, 60, 2001))
    for loss in (x for x in LOSSES if isinstance(x, RadialLoss) and x.name != "mse"):
        other = Problem(problem.operator, problem.observation, loss=loss)
        run = flow(other, net, times=[0.0, 2.0, 8.0])
        expected = np.interp(run.residual, path.residual[::-1], path.drift[::-1])
        np.testing.assert_allclose(run.drift, expected, atol=2e-5)


@pytest.mark.parametrize("train", MODES)
def test_one_integration_gives_the_flow_of_every_radial_loss(train: str) -> None:
    """The shared path with its clocks agrees with the flow of each loss, also in the far tail."""
    problem, net = _draw(17)
    radial: list[Any] = [get_loss("power", p=p) for p in (0.0, 0.2, 1.0)]
    radial += [x for x in LOSSES if x.name in ("huber", "welsch")]
    times = [0.0, 0.5, 3.0, 40.0, 300.0]
    for loss, run in zip(
        radial, shared_path(problem, net, radial, train, times=times), strict=True
    ):
        other = Problem(problem.operator, problem.observation, loss=loss, signal=problem.signal)
        exact = flow(other, net, train, times=times)
        np.testing.assert_array_equal(run.t, times)
        np.testing.assert_allclose(run.residual, exact.residual, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(run.loss, exact.loss, rtol=2e-5, atol=1e-16)
        np.testing.assert_allclose(run.drift, exact.drift, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(run.signal_error, exact.signal_error, rtol=1e-7)


def test_losses_that_are_not_radial_share_no_path() -> None:
    """Σ log cosh bends the path: refused."""
    with pytest.raises(InputError, match="not radial"):
        shared_path(*_draw(), ["mse", "log-cosh"], times=[1.0])


def test_descent_tends_to_the_flow_at_first_order() -> None:
    """Halving η halves ‖θ_j - θ(jη)‖."""
    problem, net = _draw(18)
    end = flow(problem, net, times=[8.0], form="observation").network
    gaps = []
    for eta in (0.2, 0.1, 0.05):
        run = descend(problem, net, step=eta, steps=round(8 / eta), tol=0.0)
        gaps.append(np.linalg.norm(run.network.z - end.z))
    assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=0.05)
    assert gaps[1] / gaps[2] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_certified_distance_bounds_the_true_one(name: str) -> None:
    """‖θ_j - θ(jη)‖ ≤ bound at every step checked, and ‖y_j - y(jη)‖ too; also for ‖u‖ ≠ 1."""
    problem, drawn = _draw(19, m=10, n=20, k=200, activation=name)
    for net in (drawn, TwoLayerNetwork(1.5 * drawn.u, drawn.W / 1.5, drawn.V, name)):
        step = 0.05 * unstable_from(problem, net, "hidden")
        bound = certified_distance(problem, net, step=step, steps=40)
        marks = np.array([1, 5, 20, 40])
        for mark in marks:
            there = descend(problem, net, step=step, steps=int(mark), tol=0.0).network
            exact = flow(problem, net, times=[step * mark], form="observation").network
            true = np.linalg.norm(there.W - exact.W)
            assert 0 < true <= bound.distance[mark]
            seen = np.linalg.norm(problem.forward(there.forward() - exact.forward()))
            assert seen <= bound.observation[mark]
            assert bound.distance[mark] <= 10 * true


def test_comparison_holds_descent_against_the_flow() -> None:
    """The loss gap shrinks with η, and the certified distance is there where it is defined."""
    problem, net = _draw(20)
    coarse = compare(problem, net, step=0.4, steps=50)
    fine = compare(problem, net, step=0.04, steps=500)
    assert fine.loss_gap.max() < 0.15 * coarse.loss_gap.max()
    assert fine.certified is not None
    assert compare(problem, net, "both", step=0.1, steps=10).certified is not None
    rough = Problem(problem.operator, problem.observation, loss="log-cosh")
    assert compare(rough, net, step=0.1, steps=10).certified is None


# -- the limit -------------------------------------------------------------------------------------


def _margin(matrix: np.ndarray, y: np.ndarray) -> float:
    """Return the largest t with y = N a and t ≤ a ≤ 1 - t."""
    m, k = matrix.shape
    one = np.ones((k, 1))
    answer = linprog(
        np.r_[np.zeros(k), -1.0],
        A_ub=np.block([[np.eye(k), one], [-np.eye(k), one]]),
        b_ub=np.r_[np.ones(k), np.zeros(k)],
        A_eq=np.hstack([matrix, np.zeros((m, 1))]),
        b_eq=y,
        bounds=[(None, None)] * k + [(-10.0, 0.5)],
    )
    return float(-answer.fun)


def test_newton_limit_agrees_with_the_linear_program() -> None:
    """Zero loss in the limit exactly if y lies inside the zonotope N[0, 1]^k (sigmoid)."""
    verdicts = []
    for seed in range(40):
        problem, net = _draw(seed, m=5, n=20, k=12 + 3 * (seed % 10))
        problem = Problem(problem.operator, 2.0 * problem.observation)
        matrix = problem.operator @ net.V / np.sqrt(net.k)
        margin = _margin(matrix, problem.observation)
        if abs(margin) > 1e-6:
            limit = newton_limit(problem, net)
            assert limit.reachable is (margin > 0)
            verdicts.append(limit.reachable)
            if not limit.reachable:
                least = lsq_linear(matrix, problem.observation, bounds=(0, 1), tol=1e-14).cost
                assert 0 < limit.loss <= least * (1 + 1e-9)
    assert min(verdicts.count(True), verdicts.count(False)) >= 5


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_newton_limit_is_where_the_flow_goes(name: str) -> None:
    """Drift and network of the limit agree with the flow after a long time."""
    problem, net = _draw(21, k=200, activation=name)
    limit = newton_limit(problem, net)
    run = flow(problem, net, times=[3000.0 if name == "sigmoid" else 300.0], form="observation")
    assert limit.reachable
    assert limit.loss < 1e-20
    assert run.loss[-1] < 1e-12
    assert limit.drift == pytest.approx(run.drift[-1], rel=1e-5)
    np.testing.assert_allclose(limit.network.z, run.network.z, atol=1e-4)


# -- step sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_proved_step_decreases_the_loss_at_every_step(name: str, loss: Any) -> None:
    """f(θ⁺) ≤ f(θ) - η‖∇f‖²/2 with η = 1/β; here: the loss never rises, from far away too."""
    problem, net = _draw(22, activation=name, loss=loss)
    problem = Problem(problem.operator, problem.observation + 1.0, loss=loss)
    step = safe_step(problem, net)
    assert step.evidence is Evidence.PROVED
    run = descend(problem, net, step=float(step), steps=150, tol=0.0, allow_unstable=True)
    weights = run.drift[1] / step.value  # ‖∇f(θ0)‖
    fall = run.losses[0] - run.losses[1]
    assert fall >= 0.5 * step.value * weights**2 * (1 - 1e-9)
    assert (np.diff(run.losses) <= 1e-15 * run.losses[0]).all()


def test_unstable_step_is_refused_with_the_number() -> None:
    """Just below 2/λ_max(K) a run is accepted; at it, it is refused with that number."""
    problem, net = _draw(23)
    limit = 2 / np.linalg.eigvalsh(net.kernel("hidden", problem))[-1]
    assert unstable_from(problem, net, "hidden") == pytest.approx(limit)
    descend(problem, net, step=0.999 * limit, steps=1)
    with pytest.raises(InputError, match=f"largest stable step is {limit:.4g}"):
        descend(problem, net, step=1.001 * limit, steps=1)
    descend(problem, net, step=1.001 * limit, steps=1, allow_unstable=True)


def test_required_step_reaches_the_tolerance_in_the_linear_case() -> None:
    """A wide network is nearly linear: the step found is about the smallest that is enough."""
    problem, net = _draw(24, k=20_000, d=2)
    step = required_step(problem, net, tol=1e-6, steps=300)
    runs = [descend(problem, net, step=f * step.value, steps=300, tol=1e-6) for f in (0.9, 1.1)]
    assert [r.converged for r in runs] == [False, True]
    with pytest.raises(InputError, match=r"no stable step reaches 1e-06 in 3 steps"):
        required_step(problem, net, tol=1e-6, steps=3)


@pytest.mark.parametrize("form", ["auto", "signal"])
@pytest.mark.parametrize("train", MODES)
def test_verified_descent_decreases_at_every_step_from_a_wild_start(train: str, form: str) -> None:
    """Backtracking from η = 1000: f falls by η‖∇f‖²/2 at every step, and the run converges."""
    problem, net = _draw(25)
    run = descend(problem, net, train, step=1000.0, steps=3000, tol=1e-10, verified=True, form=form)
    assert run.converged
    assert (np.diff(run.losses) < 0).all()
    eta = np.diff(run.t)
    assert eta.max() <= 1000.0
    assert np.unique(eta).size > 1
    assert run.method == "verified descent"


def test_verified_descent_says_when_rounding_ends_it() -> None:
    """With tol = 0 and y out of reach, no step can be verified any more at some point."""
    problem, net = _draw(26, m=8, n=10, k=9)
    problem = Problem(problem.operator, 10.0 + problem.observation)
    run = descend(problem, net, step=1e6, steps=20_000, tol=0.0, verified=True, every=100)
    assert run.status in ("stalled", "budget")
    assert (np.diff(run.losses) <= 0).all()


# -- invariances -----------------------------------------------------------------------------------


@given(st.integers(0, 2**20), st.sampled_from(MODES), st.sampled_from(("sigmoid", "gelu", "sin")))
@settings(max_examples=15, deadline=None)
def test_invariances_of_training(seed: int, train: str, name: str) -> None:
    """Rotations of u, of the signal and of y, and permutations of neurons change no loss."""
    problem, net = _draw(seed, k=15, activation=name)
    rng = np.random.default_rng(seed)
    step = 0.3 * unstable_from(problem, net, train)
    base = descend(problem, net, train, step=step, steps=60, tol=0.0)
    a, y = problem.operator, problem.observation
    qd, qn, qm = (np.linalg.qr(rng.standard_normal((s, s)))[0] for s in (3, 12, 4))
    order = rng.permutation(15)
    others = [
        (Problem(a, y), TwoLayerNetwork(qd @ net.u, net.W @ qd.T, net.V, name)),
        (Problem(a @ qn.T, y), TwoLayerNetwork(net.u, net.W, qn @ net.V, name)),
        (Problem(qm @ a, qm @ y), net),
        (Problem(a, y), TwoLayerNetwork(net.u, net.W[order], net.V[:, order], name)),
    ]
    for p, g in others:
        run = descend(p, g, train, step=step, steps=60, tol=0.0)
        np.testing.assert_allclose(run.losses, base.losses, rtol=1e-8, atol=1e-13)
        np.testing.assert_allclose(run.drift, base.drift, rtol=1e-8, atol=1e-11)


def test_trajectory_of_zero_output_weights_leaves_the_hidden_layer_at_first() -> None:
    """V(0) = 0: the first step moves V only, and x(0) = 0."""
    problem, net = _draw(27, output="zero")
    run = descend(problem, net, "both", step=0.1, steps=1, tol=0.0)
    np.testing.assert_array_equal(run.network.z, net.z)
    assert np.linalg.norm(run.network.V) > 0
    assert run.residual[0] == pytest.approx(np.linalg.norm(problem.observation))


# -- scale -----------------------------------------------------------------------------------------


def test_weights_that_are_not_held_train_to_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """V and W drawn in blocks: the same trajectory and final network as held in memory."""
    monkeypatch.setattr(seeded, "_BLOCK_ENTRIES", 50)
    problem, held = _draw(28)
    drawn = TwoLayerNetwork.draw(12, 60, 3, seed=28, hold=False)
    for train in MODES:
        one = descend(problem, held, train, step=0.3, steps=100, tol=0.0)
        two = descend(problem, drawn, train, step=0.3, steps=100, tol=0.0)
        np.testing.assert_allclose(one.losses, two.losses, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(one.network.forward(), two.network.forward(), atol=1e-12)
        np.testing.assert_allclose(one.network.W, two.network.W, atol=1e-12)


@pytest.mark.slow
def test_wide_networks_train_in_bounded_memory() -> None:
    """n = 10⁵ and k = 10⁴ (V of 8 GB): trained within 1 GiB, V never held."""
    code = (
        "import resource, numpy as np\n"
        "from kltheory.problem import Problem\n"
        "from kltheory.empirical.network import TwoLayerNetwork\n"
        "from kltheory.empirical.dynamics import descend\n"
        "n, k = 100_000, 10_000\n"
        "rng = np.random.default_rng(0)\n"
        "a = rng.standard_normal((5, n)) / np.sqrt(n)\n"
        "net = TwoLayerNetwork.draw(n, k, 5, seed=0)\n"
        "run = descend(Problem(a, a @ rng.standard_normal(n)), net, step=0.5, steps=50, tol=0.0)\n"
        "assert run.losses[-1] < run.losses[0]\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                         timeout=170, env={**os.environ, "PYTHONPATH": os.getcwd()})  # fmt: skip
    assert int(out.stdout) < 2**20  # KiB


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, g: descend(p, g, "output"), "train: got 'output'"),
        (lambda p, g: descend(p, g, step=-1.0), "step: got -1.0"),
        (lambda p, g: descend(p, g, step=float("nan")), "step: got nan"),
        (lambda p, g: descend(p, g, step="fast"), "step: got 'fast'"),
        (lambda p, g: descend(p, g, steps=2.5), "steps: got 2.5"),
        (lambda p, g: descend(p, g, steps=-1), "steps: got -1"),
        (lambda p, g: descend(p, g, tol=-1.0), "tol: got -1.0"),
        (lambda p, g: descend(p, g, every=0), "every: got 0"),
        (lambda p, g: descend(p, g, every=4, watch=[6]), "multiple of every = 4"),
        (lambda p, g: descend(p, g, form="dense"), "form: got 'dense'"),
        (lambda p, g: descend([p, p], [g]), "2 problems and 1 networks"),
        (lambda p, g: descend([], []), "0 problems and 0 networks"),
        (lambda p, g: descend([p], g), "a list of each"),
        (lambda p, g: descend([p], [p]), "Problem and Problem"),
        (lambda p, g: descend([p], [g], step=[0.1, 0.2]), "2 steps for 1 runs"),
        (
            lambda p, g: descend(p, TwoLayerNetwork.draw(5, 4, 3)),
            r"shape \(4, 12\).*shape \(5,\).*n=12",
        ),
        (lambda p, g: flow(p, g, times=[1.0, 0.5]), "increasing order"),
        (lambda p, g: flow(p, g, times=[-1.0, 0.5]), "from 0 on"),
        (lambda p, g: flow(p, g, times=[]), "times"),
        (lambda p, g: flow(p, g, times=[1.0], rtol=0.0), "rtol"),
        (lambda p, g: flow(p, g, "both", times=[1.0], form="mirror"), "train='hidden'"),
        (lambda p, g: flow(p, g, times=[1.0], form="dual"), "form: got 'dual'"),
        (lambda p, g: newton_limit(Problem(p.operator, p.observation, "log-cosh"), g), "radial"),
        (lambda p, g: required_step(p, g, tol=0.0, steps=10), "must be positive"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call: Any, words: str) -> None:
    """The message names what was given and what is allowed."""
    with pytest.raises(InputError, match=words) as caught:
        call(*_draw())
    assert len(str(caught.value).splitlines()) <= 2


def test_observation_form_of_a_callable_is_refused() -> None:
    """There is no reduction to the space of observations for a nonlinear F."""
    problem = phase_retrieval(np.eye(3), np.ones(3))
    net = TwoLayerNetwork.draw(3, 5, 2)
    with pytest.raises(InputError, match="needs a linear F"):
        descend(problem, net, form="observation", step=0.1)


def test_a_trajectory_becomes_plain_data_and_survives_pickling() -> None:
    """to_dict holds JSON numbers only, and a pickled run is the same run."""
    problem, net = _draw(29)
    run = descend(problem, net, step=0.2, steps=5, tol=0.0, watch=[0])
    data = run.to_dict()
    assert data["loss"] == run.loss.tolist()
    assert data["reason"] == run.reason
    again = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(again.losses, run.losses)
    np.testing.assert_array_equal(again.network.W, run.network.W)
    assert "5 steps" in repr(run)
