"""Losses of v and y that are not losses of v - y: Poisson's, and the divergence of a softmax."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.special import rel_entr, softmax

import kltheory as kl
from kltheory.empirical.certified import certified_flow
from kltheory.empirical.compare import certified_distance, compare
from kltheory.empirical.mirror import newton_limit
from kltheory.empirical.shared_path import shared_path
from kltheory.empirical.step_size import required_step, safe_step, unstable_from
from kltheory.errors import InputError
from kltheory.loss_functions import KLSoftmax, LossFunction, Poisson
from kltheory.problem import Problem, phase_retrieval

LOSSES = (Poisson(), KLSoftmax())
MODES = ("hidden", "both")


def _observation(loss: LossFunction, m: int, rng: np.random.Generator) -> np.ndarray:
    y = rng.uniform(0.3, 3.0, m)
    return y if loss.name == "poisson" else y / y.sum()


def _draw(loss: LossFunction, seed: int = 0, m: int = 3) -> tuple[Problem, kl.TwoLayerNetwork]:
    """A positive operator and positive output weights: y(0) > 0."""
    rng = np.random.default_rng(seed)
    net = kl.TwoLayerNetwork(
        rng.standard_normal(3) / 2,
        rng.standard_normal((30, 3)),
        rng.uniform(0.2, 1.0, (6, 30)),
        "sigmoid",
    )
    a = rng.uniform(0.1, 1.0, (m, 6))
    y = _observation(loss, m, rng)
    if loss.name == "poisson":
        y *= a @ net.forward()
    return Problem(a, y, loss=loss), net


# -- the functions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_value_is_the_divergence_and_the_gradient_its_derivative(loss: LossFunction) -> None:
    """Against SciPy's relative entropy and central differences, over leading axes."""
    rng = np.random.default_rng(1)
    y, v = _observation(loss, 4, rng), rng.uniform(0.2, 4.0, (5, 4))
    if loss.name == "poisson":
        expected = (v - y + rel_entr(y, v)).sum(axis=1)
    else:
        expected = rel_entr(y, softmax(v, axis=1)).sum(axis=1)
    np.testing.assert_allclose(loss.value(v, y), expected, rtol=1e-12)
    e, h = rng.standard_normal((5, 4)), 1e-6
    slope = (loss.value(v + h * e, y) - loss.value(v - h * e, y)) / (2 * h)
    np.testing.assert_allclose(np.vecdot(loss.gradient(v, y), e), slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("power", [-12, -8, -4, -2, -1, 0])
def test_value_has_all_digits_near_the_minimum(power: int) -> None:
    """In 60 digits, Poisson, from 1e-12 to 1 off the minimum on either side, and near v = 0."""
    mp = mpmath.MPContext()
    mp.dps = 60
    loss = Poisson()
    for v in (1.5 + 10.0**power, 1.5 - 0.99 * 10.0**power, 10.0 ** (20 * power)):
        exact = mp.mpf(v) - 1.5 + 1.5 * mp.log(mp.mpf(1.5) / mp.mpf(v))
        u = (v - 1.5) / 1.5
        rounding = 1e-15 * (1.0 + 1e-16 / max(abs(u), 1e-300))
        assert float(loss.value([v], [1.5])) == pytest.approx(float(exact), rel=rounding + 1e-14)
    assert float(loss.value([1.5], [1.5])) == 0.0


def test_softmax_loss_is_zero_on_a_line_and_finite_far_away() -> None:
    """L ≥ 0 everywhere, with L = 0 at log y + c."""
    loss, y = KLSoftmax(), np.array([0.1, 0.2, 0.7])
    for c in (0.0, -700.0, 1e4):
        assert 0.0 <= float(loss.value(np.log(y) + c, y)) < 1e-20
    far = loss.value([1e4, 0.0, -1e4], y)
    assert float(far) == pytest.approx(0.2 * 1e4 + 0.7 * 2e4 + rel_entr(y, 1.0).sum())
    assert np.isfinite(loss.gradient([1e4, 0.0, -1e4], y)).all()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_curvature_bounds_the_hessian(loss: Any) -> None:
    """The largest eigenvalue by differences of the gradient; the bound is attained by Poisson."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        y, v = _observation(loss, 4, rng), rng.uniform(0.2, 4.0, 4)
        h = 1e-6 * np.eye(4)
        hessian = (loss.gradient(v + h, y) - loss.gradient(v - h, y)) / 2e-6
        largest = np.linalg.eigvalsh(hessian)[-1]
        assert largest <= loss.curvature(v, y) * (1 + 1e-7)
        if loss.name == "poisson":
            assert largest == pytest.approx(loss.curvature(v, y), rel=1e-6)
    pair = KLSoftmax().gradient(np.array([[1e-6, -1e-6]]), [0.5, 0.5])[0]
    assert (pair[0] - pair[1]) / 2e-6 == pytest.approx(KLSoftmax().lipschitz(1.0))


@pytest.mark.parametrize(
    ("name", "y", "words"),
    [
        ("poisson", [1.0, 0.0], "smallest entry of y is 0; all must be positive"),
        ("poisson", [1.0, -2.0], "smallest entry of y is -2"),
        ("kl-softmax", [0.5, 0.6], "sum is 1.1"),
        ("kl-softmax", [1.0, 0.0], "must be positive"),
    ],
)
def test_observations_that_do_not_fit_are_refused(name: str, y: list[float], words: str) -> None:
    """Counts must be positive, and labels soft."""
    with pytest.raises(InputError, match=words):
        Problem(np.eye(2), y, loss=name)


# -- training --------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_every_form_gives_the_same_run(loss: LossFunction, train: str) -> None:
    """Descent and flow, in the parameters and in the reduced variables, alone and in a list."""
    pairs = [_draw(loss, seed) for seed in range(3)]
    problems, nets = map(list, zip(*pairs, strict=True))
    options: dict[str, Any] = {"step": 0.5, "steps": 200, "tol": 0.0}
    for problem, net, run in zip(
        problems, nets, kl.descend(problems, nets, train, **options), strict=True
    ):
        assert run.form == "observation"
        for form in ("full", "signal"):
            other = kl.descend(problem, net, train, form=form, **options)
            np.testing.assert_allclose(run.losses, other.losses, rtol=1e-10)
            np.testing.assert_allclose(run.drift, other.drift, rtol=1e-10, atol=1e-14)
    problem, net = pairs[0]
    one, full = (
        kl.flow(problem, net, train, times=[0.0, 5.0, 30.0], form=form) for form in ("auto", "full")
    )
    assert one.form == "observation"
    assert one.loss[-1] < one.loss[0]
    np.testing.assert_allclose(one.loss, full.loss, rtol=1e-7)
    with pytest.raises(InputError, match="a loss of v - y"):
        kl.flow(problem, net, times=[1.0], form="mirror")


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_both_layers_reach_the_tolerance(loss: LossFunction) -> None:
    """Descent with the safe step, whose loss falls at every step, and the flow."""
    problem, net = _draw(loss)
    tol = 1e-3 * float(problem.loss_value(problem.forward(net.forward())))
    run = kl.descend(problem, net, "both", steps=5000, tol=tol)
    assert run.status == "tolerance"
    assert (np.diff(run.losses) < 0).all()
    assert safe_step(problem, net, "both").value == pytest.approx(
        0.5 * unstable_from(problem, net, "both")
    )
    flow = kl.flow(problem, net, "both", times=[1e4], tol=tol)
    assert flow.status == "tolerance"
    assert flow.accuracy.conservation < 1e-8


def test_a_run_that_leaves_the_domain_says_so() -> None:
    """Status, a sentence and no NaN; verified steps stay inside from the same start."""
    problem, net = _draw(LOSSES[0])
    run = kl.descend(problem, net, "both", step=1e6, steps=50, allow_unstable=True)
    assert run.status == "domain"
    assert not run.converged
    assert 0 < run.steps < 50
    assert "left the domain of the loss poisson, v_i > 0, at step" in run.reason
    assert np.isfinite(run.losses[:-1]).all()
    assert run.losses[-1] == np.inf
    assert run.to_dict()["loss"][-1] is None
    for array in (run.losses, run.drift, run.residual, run.t):
        assert not np.isnan(array).any()
    kept = kl.descend(problem, net, "both", step=1e6, steps=50, tol=0.0, verified=True)
    assert kept.status == "budget"
    assert (np.diff(kept.losses) < 0).all()
    finite = kl.descend(
        *_draw(LOSSES[1]), "both", step=1e200, steps=50, tol=0.0, allow_unstable=True
    )
    assert finite.status != "domain"


def test_a_start_outside_the_domain_is_told_at_once() -> None:
    """Descent and flow take no step, whatever the step that is asked for."""
    inside, net = _draw(LOSSES[0])
    problem = Problem(-inside.operator, inside.observation, loss="poisson")
    for run in (
        kl.descend(problem, net),
        kl.descend(problem, net, "both", step=0.1),
        kl.descend(problem, net, verified=True, step=1.0, form="full"),
        kl.flow(problem, net, times=[1.0, 2.0]),
        kl.flow(problem, net, "both", times=[0.0, 2.0], form="full"),
    ):
        assert (run.status, run.steps, run.t.tolist()) == ("domain", 0, [0.0])
        assert "y(0) is outside the domain of the loss poisson, v_i > 0" in run.reason
        assert run.drift.tolist() == [0.0]


# -- what is not for them --------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_certificates_and_checks_are_refused_in_a_sentence(loss: LossFunction) -> None:
    """`kl.certify` and `kl.check`, with a ψ or without, and what else is known for v - y only."""
    problem, net = _draw(loss)
    psi = kl.rate("sqrt(s)").desingularizer
    for call in (
        lambda: kl.certify(problem, net),
        lambda: kl.certify(problem, net, "both", psi=psi, online=True),
        lambda: kl.check(problem, net),
        lambda: kl.check(problem, net, method="descent", psi=psi),
        lambda: required_step(problem, net, tol=1e-3, steps=100),
    ):
        with pytest.raises(InputError, match=f"loss {loss.name}: .* for losses of v - y only"):
            call()
    for call in (
        lambda: kl.flow(problem, net, times=[1.0], certify=True),
        lambda: certified_flow(problem, net, times=[1.0]),
        lambda: certified_distance(problem, net, step=0.1, steps=2),
    ):
        with pytest.raises(InputError, match="needs a loss of v - y"):
            call()
    with pytest.raises(InputError, match="radial"):
        newton_limit(problem, net)
    with pytest.raises(InputError, match="not radial"):
        shared_path(problem, net, [loss], times=[1.0])
    assert compare(problem, net, step=0.1, steps=20).certified is None
    nonlinear = phase_retrieval(problem.operator, problem.observation, loss=loss)
    assert compare(nonlinear, net, step=0.01, steps=5).certified is None
