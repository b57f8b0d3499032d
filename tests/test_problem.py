"""The inverse problem: operators of every kind, losses, spectra, and clear refusals."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import kltheory.operators as operators
from kltheory.certification import certify
from kltheory.constants import Evidence
from kltheory.empirical.dynamics import descend, flow
from kltheory.empirical.measure import measure
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.step_size import safe_step
from kltheory.errors import InputError, LimitReached
from kltheory.loss_functions import (
    LOSSES,
    LossFunction,
    ObservedLoss,
    Radial,
    RadialLoss,
    WeightedMSE,
    get,
)
from kltheory.problem import Problem, adjoint_test, jacobian_test, phase_retrieval


def _losses() -> list[LossFunction]:
    needs = {
        "power": {"p": 0.4},
        "separable-power": {"p": 3.0},
        "mean-squared": {"m": 4.0},
        "huber": {"delta": 0.7},
        "pseudo-huber": {"delta": 1.3},
    }
    of_residual = [name for name, kind in LOSSES.items() if not issubclass(kind, ObservedLoss)]
    made = [get(name, **needs.get(name, {})) for name in of_residual]
    return [*made, Radial(lambda rho: rho**4 / 4, lambda rho: rho**3)]


LOSS_LIST = _losses()


def _kinds(a: np.ndarray) -> list[Any]:
    return [a, csr_array(a), aslinearoperator(a)]


@pytest.mark.parametrize("loss", LOSS_LIST, ids=lambda loss: loss.name)
def test_gradient_is_the_derivative_of_the_value(loss: LossFunction) -> None:
    """⟨∇L(v), e⟩ is the derivative of L at v along e, over leading axes."""
    rng = np.random.default_rng(0)
    v, y, e = rng.standard_normal((3, 5, 4))
    h = 1e-6
    slope = (loss.value(v + h * e, y) - loss.value(v - h * e, y)) / (2 * h)
    np.testing.assert_allclose(np.vecdot(loss.gradient(v, y), e), slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("loss", LOSS_LIST, ids=lambda loss: loss.name)
@pytest.mark.parametrize("scale", [0.0, 1e-8, 1.0, 50.0])
def test_loss_is_finite_and_accurate_near_its_minimum(loss: LossFunction, scale: float) -> None:
    """L ≥ 0 with L = 0 at v = y only, finite everywhere, and ½ρ² near y where ψ is √(2s)."""
    r = scale * np.array([0.6, -0.8])
    value, gradient = float(loss.value(r, 0.0)), loss.gradient(r, np.zeros(2))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert (value > 0) == (scale > 0)
    quadratic = {"squared-norm": 1e-16, "mean-squared": 0.25e-16}
    if scale == 1e-8 and loss.name not in ("power", "separable-power", "radial"):
        assert value == pytest.approx(quadratic.get(loss.name, 0.5e-16), rel=1e-6)


@pytest.mark.parametrize("loss", [x for x in LOSS_LIST if x.name != "radial"], ids=lambda x: x.name)
def test_lipschitz_constant_of_the_gradient_bounds_every_quotient(loss: LossFunction) -> None:
    """‖∇L(v) - ∇L(w)‖ ≤ lipschitz(R) ‖v - w‖ on the ball of radius R."""
    rng = np.random.default_rng(1)
    for radius in (0.3, 2.0, 10.0):
        v, w = rng.standard_normal((2, 400, 3))
        for x in (v, w):
            x *= (radius * rng.uniform(0, 1, (400, 1))) / np.linalg.norm(x, axis=1)[:, None]
        rise = np.linalg.norm(loss.gradient(v, 0.0) - loss.gradient(w, 0.0), axis=1)
        assert (rise <= loss.lipschitz(radius) * np.linalg.norm(v - w, axis=1) + 1e-12).all()


@pytest.mark.parametrize("loss", [x for x in LOSS_LIST if isinstance(x, RadialLoss)], ids=repr)
def test_radial_gradients_have_the_direction_of_the_residual(loss: RadialLoss) -> None:
    """∇L = (ℓ'(ρ)/ρ) r, of norm ℓ'(ρ)."""
    r = np.array([[3.0, 4.0], [0.3, -0.4]])
    np.testing.assert_allclose(np.linalg.norm(loss.gradient(r, 0.0), axis=1), loss.slope([5, 0.5]))


@pytest.mark.parametrize("index", range(3))
def test_every_kind_of_operator_gives_the_same_problem(index: int) -> None:
    """An array, a sparse matrix and a LinearOperator give the same F, adjoint and spectrum."""
    rng = np.random.default_rng(2)
    a, y = rng.standard_normal((4, 7)), rng.standard_normal(4)
    x, w = rng.standard_normal((3, 7)), rng.standard_normal(4)
    problem = Problem(_kinds(a)[index], y)
    values = np.linalg.svd(a, compute_uv=False)
    np.testing.assert_allclose(problem.forward(x), x @ a.T, rtol=1e-13)
    np.testing.assert_allclose(problem.forward(x[0]), a @ x[0], rtol=1e-13)
    np.testing.assert_allclose(problem.pull_back(x[0], w), a.T @ w, rtol=1e-13)
    assert problem.sigma_F == pytest.approx(values[-1], rel=1e-12)
    assert problem.norm_F == pytest.approx(values[0], rel=1e-12)
    assert problem.rank == 4
    q = problem.row_space()
    np.testing.assert_allclose(q @ q.T, np.eye(4), atol=1e-13)
    np.testing.assert_allclose(a @ q.T @ q, a, atol=1e-12)


def test_an_operator_that_offers_matvec_and_rmatvec_only_is_enough() -> None:
    """Products of single vectors, as any operator library offers them, give the same problem."""
    a = np.random.default_rng(10).standard_normal((3, 5))

    class Minimal:
        shape = (3, 5)

        def matvec(self, x: np.ndarray) -> np.ndarray:
            return a @ x

        def rmatvec(self, w: np.ndarray) -> np.ndarray:
            return a.T @ w

    problem = Problem(Minimal(), np.ones(3))
    assert adjoint_test(Minimal())
    np.testing.assert_allclose(problem.forward(np.eye(5)), a.T, rtol=1e-14)
    assert problem.sigma_F == pytest.approx(np.linalg.svd(a, compute_uv=False)[-1])


def test_smallest_singular_value_is_the_smallest_nonzero_one() -> None:
    """σ_F of a rank-deficient A skips the zeros, and the rank counts the others."""
    u, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 6)))
    a = u @ np.diag([3.0, 2.0, 0.5, 0.0, 0.0, 0.0]) @ u.T
    problem = Problem(a, np.ones(6))
    assert problem.rank == 3
    assert problem.sigma_F == pytest.approx(0.5, rel=1e-12)
    inside = a @ np.arange(6.0)
    assert Problem(a, inside).distance_to_range() == 0.0
    beside = Problem(a, inside + u[:, 5])
    assert beside.distance_to_range() == pytest.approx(1.0, rel=1e-10)


def test_large_operators_are_never_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Gram and Lanczos spectra agree with the dense one, using products only."""
    rng = np.random.default_rng(4)
    a = random_array((40, 900), density=0.2, rng=rng, data_sampler=rng.standard_normal).tocsr()
    values = np.linalg.svd(a.toarray(), compute_uv=False)
    biggest = 0

    def block(x: np.ndarray) -> np.ndarray:
        nonlocal biggest
        biggest = max(biggest, x.shape[1])
        return a @ x

    operator = LinearOperator(
        a.shape,
        matvec=lambda x: a @ x,
        rmatvec=lambda w: a.T @ w,
        matmat=block,
        rmatmat=lambda w: a.T @ w,
        dtype=np.float64,
    )
    monkeypatch.setattr(operators, "_DENSE_ENTRIES", 10)
    for side in (100, 1):
        monkeypatch.setattr(operators, "GRAM_SIDE", side)
        for linear, shape in ((operator, (40, 900)), (operator.T, (900, 40))):
            problem = Problem(linear, np.ones(shape[0]))
            assert problem.sigma_F == pytest.approx(values[-1], rel=1e-5)
            assert problem.norm_F == pytest.approx(values[0], rel=1e-6)
            assert problem.rank == 40
    assert biggest <= 64


def test_gram_spectrum_gives_an_orthonormal_row_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where A is not written out, Q = S⁻¹UᵀA has orthonormal rows."""
    monkeypatch.setattr(operators, "_DENSE_ENTRIES", 10)
    a = np.random.default_rng(5).standard_normal((5, 30))
    problem = Problem(aslinearoperator(a), np.ones(5))
    assert problem.spectrum.method == "gram"
    q = problem.row_space()
    np.testing.assert_allclose(q @ q.T, np.eye(5), atol=1e-11)


def test_large_rank_deficient_operator_is_refused_with_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lanczos does not tell the smallest non-zero singular value from zeros, and says so."""
    monkeypatch.setattr(operators, "_DENSE_ENTRIES", 10)
    monkeypatch.setattr(operators, "GRAM_SIDE", 1)
    a = np.diag(np.r_[np.arange(1.0, 120.0), 0.0])
    problem = Problem(aslinearoperator(a), np.ones(120))
    with pytest.raises(LimitReached, match=r"\(120, 120\).*rank deficient"):
        _ = problem.sigma_F


def test_lanczos_finds_a_singular_vector_orthogonal_to_constants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The smallest singular value is found where its vector has mean 0, and is called sampled."""
    monkeypatch.setattr(operators, "_DENSE_ENTRIES", 10)
    monkeypatch.setattr(operators, "GRAM_SIDE", 1)
    a = np.diag(np.linspace(1.0, 2.0, 200))
    a[:2, :2] = [[0.525, 0.475], [0.475, 0.525]]  # 0.05 along (1, -1)
    problem = Problem(aslinearoperator(a), np.ones(200))
    assert problem.spectrum.method == "lanczos"
    assert problem.sigma_F == pytest.approx(0.05, rel=1e-8)
    network = TwoLayerNetwork.draw(n=200, k=4, d=2)
    assert measure(problem, network)["sigma_F"].evidence == Evidence.SAMPLED
    found = certify(problem, network, train="both")
    assert found["V"].evidence == Evidence.SAMPLED
    assert any("sampled" in note for note in found.warnings)


def test_adjoint_test_finds_a_wrong_adjoint() -> None:
    """⟨Ax, w⟩ = ⟨x, Aᵀw⟩ passes for the transpose and fails for anything else."""
    a = np.random.default_rng(6).standard_normal((4, 6))
    wrong = LinearOperator((4, 6), matvec=lambda x: a @ x, rmatvec=lambda w: 1.01 * a.T @ w)
    assert all(adjoint_test(kind) for kind in _kinds(a))
    outcome = adjoint_test(wrong)
    assert not outcome
    assert outcome.error > 1e-4
    assert "failed" in outcome.message


def test_jacobian_test_finds_a_wrong_jacobian() -> None:
    """Central differences pass for the Jacobian and fail for a wrong one."""
    a = np.random.default_rng(7).standard_normal((6, 3))
    problem = phase_retrieval(a, np.ones(6))
    x = np.array([0.3, -1.0, 2.0])
    assert jacobian_test(problem.operator, problem.jacobian, x)
    assert not jacobian_test(problem.operator, lambda v: 1.001 * problem.jacobian(v), x)
    assert not jacobian_test(problem.operator, lambda v: np.zeros((6, 3)), x)


def test_phase_retrieval_is_even_and_its_sigma_depends_on_the_signal() -> None:
    """F(x) = F(-x), and σ of J_F(x) = 2 diag(Ax)A is that of the dense matrix."""
    rng = np.random.default_rng(8)
    a, x = rng.standard_normal((9, 4)), rng.standard_normal(4)
    problem = phase_retrieval(a, (a @ x) ** 2, signal=x)
    np.testing.assert_array_equal(problem.forward(x), problem.forward(-x))
    dense = 2 * (a @ x)[:, None] * a
    assert problem.sigma_at(x) == pytest.approx(np.linalg.svd(dense, compute_uv=False)[-1])
    assert problem.norm_at(x) == pytest.approx(np.linalg.norm(dense, 2))
    with pytest.raises(InputError, match="lower_bound"):
        _ = problem.sigma_F
    assert phase_retrieval(a, (a @ x) ** 2, lower_bound=0.5).sigma_F == 0.5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Problem(np.ones((2, 3)), np.ones(4)), r"\(2, 3\).*\(4,\)"),
        (lambda: Problem(np.ones((2, 3)), np.ones((2, 1))), r"y has shape \(2, 1\)"),
        (lambda: Problem(np.ones((2, 3)), [1.0, np.nan]), "not finite: entry 1"),
        (lambda: Problem([[1.0, np.inf]], [1.0]), r"not finite: entry \(0, 1\)"),
        (lambda: Problem(np.ones((2, 3)) * 1j, np.ones(2)), "complex"),
        (lambda: Problem(csr_array(np.ones((2, 3)) * 1j), np.ones(2)), "complex"),
        (lambda: Problem(np.ones((2, 3)), ["a", "b"]), "not an array of numbers"),
        (lambda: Problem("matrix", [1.0]), "neither a matrix"),
        (lambda: Problem(np.ones(3), [1.0]), r"shape \(3,\); it must be a matrix"),
        (lambda: Problem(np.ones((1, 3)), []), "empty"),
        (lambda: Problem(lambda x: x, [1.0]), "jacobian="),
        (lambda: Problem(np.ones((1, 3)), [1.0], jacobian=lambda x: x), "callable"),
        (lambda: Problem(np.ones((1, 3)), [1.0], signal=np.ones(2)), r"\(1, 3\).*\(2,\)"),
        (lambda: Problem(np.ones((1, 3)), [1.0], noise=np.ones(2)), r"\(2,\).*\(1,\)"),
        (lambda: Problem(np.ones((1, 3)), [1.0], noise=-1.0), "noise"),
        (lambda: Problem(np.ones((1, 3)), [1.0], loss="mean"), "allowed are mse"),
        (lambda: Problem(np.ones((1, 3)), [1.0], loss="power"), "give a number for p"),
        (lambda: get("power", p=-0.5), "p = -0.5"),
        (lambda: get("huber", delta=0.0), "positive"),
        (lambda: get("separable-power", p=1.5), "p = 1.5"),
        (lambda: Problem(np.ones((1, 3)), [1.0], loss=3), "loss: got 3"),
        (lambda: get("mse", p=1.0), "unknown parameter 'p'"),
        (lambda: Problem(np.zeros((2, 3)), np.ones(2)).sigma_F, "observes nothing"),
        (lambda: Problem(np.ones((1, 3)), [1.0]).forward(np.ones(2)), r"\(1, 3\).*\(2,\)"),
        (lambda: phase_retrieval(np.ones((2, 3)), [1.0]), r"\(2, 3\).*\(1,\)"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(make: Any, words: str) -> None:
    """The message names what was given, and both shapes where two must agree."""
    with pytest.raises(InputError, match=words) as caught:
        make()
    assert len(str(caught.value).splitlines()) <= 2


def test_callable_with_a_jacobian_of_the_wrong_shape_is_refused_when_used() -> None:
    """The shapes of F(x) and J(x) are checked against y and x."""
    wrong = Problem(lambda x: x[:2], np.ones(3), jacobian=lambda x: np.ones((3, 2)))
    with pytest.raises(InputError, match=r"\(2,\).*\(3,\)"):
        wrong.forward(np.ones(4))
    with pytest.raises(InputError, match=r"\(3, 2\).*\(3, 4\)"):
        wrong.jacobian_at(np.ones(4))


def test_weighted_squares_are_squares_of_a_scaled_problem() -> None:
    """½ Σ λ_i r_i² on (A, y) is ½‖r‖² on (√Λ A, √Λ y): the same run, hidden layer and both."""
    rng = np.random.default_rng(14)
    a, x, weights = rng.standard_normal((3, 8)), rng.standard_normal(8), np.array([0.5, 1.0, 3.0])
    roots = np.sqrt(weights)
    weighted = Problem(a, a @ x, loss=WeightedMSE(tuple(weights)))
    scaled = Problem(roots[:, None] * a, roots * (a @ x))
    net = TwoLayerNetwork.draw(8, 40, 2, seed=14)
    for train in ("hidden", "both"):
        one, two = (
            descend(p, net, train, step=0.02, steps=100, tol=0.0) for p in (weighted, scaled)
        )
        np.testing.assert_allclose(one.losses, two.losses, rtol=1e-9)
        np.testing.assert_allclose(one.network.z, two.network.z, atol=1e-10)
        smooth = flow(weighted, net, train, times=[1.0])
        assert smooth.loss[-1] == pytest.approx(
            flow(scaled, net, train, times=[1.0]).loss[-1], 1e-7
        )
    assert safe_step(weighted, net).value > 0
    assert weighted.loss.parameters() == {"lambda_min": 0.5}
    assert repr(weighted.loss) == "WeightedMSE(3 weights from 0.5 to 3)"


def test_weights_that_do_not_fit_are_refused() -> None:
    """As many weights as observations, all of them positive."""
    with pytest.raises(InputError, match=r"2 weights and y has shape \(3,\)"):
        Problem(np.eye(3), np.ones(3), loss=WeightedMSE((1.0, 2.0)))
    with pytest.raises(InputError, match="positive"):
        WeightedMSE((1.0, 0.0))
    with pytest.raises(InputError, match="one weight"):
        WeightedMSE(())


def test_parameters_of_a_loss_may_be_given_beside_its_name() -> None:
    """Problem(..., loss="power", loss_parameters={"p": 0.2}) is that with Power(0.2)."""
    problem = Problem(np.ones((1, 3)), [1.0], loss="power", loss_parameters={"p": 0.2})
    assert problem.loss == get("power", p=0.2)


def test_arrays_of_a_problem_are_copies_and_read_only() -> None:
    """Changing the caller's arrays does not change the problem, nor can its own be changed."""
    a, y = np.ones((2, 3)), np.ones(2)
    problem = Problem(a, y)
    a[0, 0], y[0] = 5.0, 5.0
    assert problem.operator[0, 0] == problem.observation[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        problem.observation[0] = 2.0


def test_a_problem_can_be_sent_to_another_process() -> None:
    """Linear problems and phase retrieval survive pickling."""
    a = np.random.default_rng(9).standard_normal((3, 4))
    for problem in (
        Problem(a, np.ones(3), loss=get("power", p=0.2)),
        phase_retrieval(a, np.ones(3)),
    ):
        again = pickle.loads(pickle.dumps(problem))
        x = np.arange(4.0)
        np.testing.assert_array_equal(again.forward(x), problem.forward(x))
        assert again.loss == problem.loss


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_spectrum_factors_give_the_operator_back(m: int, n: int, seed: int) -> None:
    """A = U S Q for every shape, with U and Q orthonormal."""
    a = np.random.default_rng(seed).standard_normal((m, n))
    problem = Problem(a, np.ones(m))
    parts = problem.spectrum
    assert parts.left is not None
    np.testing.assert_allclose((parts.left * parts.values) @ problem.row_space(), a, atol=1e-12)
