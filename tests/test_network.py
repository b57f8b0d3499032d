"""The two-layer network: its law, its Jacobian in every form, and the measured constants."""

from __future__ import annotations

import operator
import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

import kltheory.empirical.seeded as seeded
from kltheory.activation import ACTIVATIONS, get
from kltheory.constants import Constant, Constants, Evidence
from kltheory.empirical.dynamics import descend
from kltheory.empirical.image import image
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.seeded import SeededUnits, Weights
from kltheory.errors import InputError, LimitReached
from kltheory.problem import Problem, adjoint_test, phase_retrieval

MODES = ("hidden", "both")
# Analytic everywhere in a strip around the real axis, as the complex step needs it.
_COMPLEX = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "sin": np.sin,
    "arctan": np.arctan,
}


def _complex_phi(name: str) -> Any:
    if name in _COMPLEX:
        return _COMPLEX[name]
    from scipy.special import erf

    return {"erf": erf, "gelu": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2}[name]


def _small(name: str = "sigmoid", seed: int = 0, scale: float = 1.0) -> TwoLayerNetwork:
    rng = np.random.default_rng(seed)
    u = scale * rng.standard_normal(4)
    return TwoLayerNetwork(u, rng.standard_normal((5, 4)), rng.standard_normal((3, 5)), name)


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_jacobian_is_the_complex_step_derivative(name: str, train: str) -> None:
    """J_g agrees with Im g(θ + ih e)/h to rounding, W row by row, then V row by row."""
    net, phi, h = _small(name, scale=0.7), _complex_phi(name), 1e-30
    k, d, n = net.k, net.d, net.n
    theta = np.concatenate([net.W.ravel(), net.V.ravel()]).astype(complex)
    columns = []
    for i in range(net.size(train)):
        shifted = theta.copy()
        shifted[i] += 1j * h
        w, v = shifted[: k * d].reshape(k, d), shifted[k * d :].reshape(n, k)
        columns.append((v @ phi(w @ net.u) / np.sqrt(k)).imag / h)
    np.testing.assert_allclose(net.jacobian(train), np.array(columns).T, rtol=1e-11, atol=1e-14)
    expected = net.V @ get(name).phi(net.W @ net.u) / np.sqrt(k)
    np.testing.assert_allclose(net.forward(), expected, rtol=1e-13)


@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_jacobian_products_and_kernels_are_those_of_the_array(name: str, train: str) -> None:
    """J p, Jᵀ w, J Jᵀ and (A J)(A J)ᵀ agree with the dense J, which none of them forms."""
    net, rng = _small(name, 1, 1.3), np.random.default_rng(2)
    J = net.jacobian(train)
    p, w, a = rng.standard_normal(J.shape[1]), rng.standard_normal(3), rng.standard_normal((2, 3))
    problem = Problem(a, np.ones(2))
    np.testing.assert_allclose(net.push_forward(p, train), J @ p, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(net.pull_back(w, train), J.T @ w, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(net.kernel(train), J @ J.T, rtol=1e-11, atol=1e-13)
    observed = net.kernel(train, problem)
    np.testing.assert_allclose(observed, a @ J @ J.T @ a.T, rtol=1e-11, atol=1e-13)
    assert adjoint_test(net.jacobian_operator(train))


@pytest.mark.parametrize("train", MODES)
def test_kernel_of_a_nonlinear_operator_takes_its_jacobian_at_the_signal(train: str) -> None:
    """(J_F J_g)(J_F J_g)ᵀ with J_F at x = g."""
    net = _small()
    a = np.random.default_rng(3).standard_normal((6, 3))
    problem = phase_retrieval(a, np.ones(6))
    K = problem.jacobian_at(net.forward()) @ net.jacobian(train)
    np.testing.assert_allclose(net.kernel(train, problem), K @ K.T, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("train", MODES)
def test_sigma_min_is_the_nth_singular_value(train: str) -> None:
    """σ_min(J_g) = inf ‖J_gᵀw‖ over ‖w‖ = 1; also for ‖u‖ ≠ 1."""
    for scale in (0.5, 1.0, 2.0):
        net = _small(scale=scale)
        expected = np.linalg.svd(net.jacobian(train), compute_uv=False)[net.n - 1]
        assert net.sigma_min(train) == pytest.approx(expected, rel=1e-12)


def test_sigma_min_is_zero_below_n_neurons_and_not_the_smallest_nonzero_value() -> None:
    """k < n with V fixed: 0; with both trained it is h, since J_g J_gᵀ = h² I + N."""
    net = TwoLayerNetwork.draw(n=6, k=3, d=4, seed=1)
    assert net.sigma_min("hidden") == 0.0
    dense = np.linalg.svd(net.jacobian("both"), compute_uv=False)[5]
    assert net.sigma_min("both") == pytest.approx(net.feature_norm(), rel=1e-12)
    assert dense == pytest.approx(net.feature_norm(), rel=1e-12)


def test_exactly_singular_rademacher_columns_give_zero() -> None:
    """A repeated row of V makes σ_n exactly 0, not 1e-17."""
    V = np.array([[1.0, -1.0, 1.0], [1.0, -1.0, 1.0]])
    net = TwoLayerNetwork([1.0], [[0.1], [0.2], [0.3]], V)
    assert net.sigma_min("hidden") == 0.0


@pytest.mark.parametrize("output", ["rademacher", "uniform"])
def test_initialisation_follows_its_law(output: str) -> None:
    """u on the sphere; W Gaussian; V of mean 0, variance 1, bounded by D (A-8 to A-10)."""
    net = TwoLayerNetwork.draw(n=50, k=2000, d=20, output=output, seed=5)
    assert np.linalg.norm(net.u) == pytest.approx(1.0, abs=1e-14)
    for matrix in (net.W, net.V):
        assert abs(matrix.mean()) < 4 / np.sqrt(matrix.size)
        assert matrix.var() == pytest.approx(1.0, abs=8 / np.sqrt(matrix.size))
    assert np.mean(net.W**4) == pytest.approx(3.0, abs=0.2)
    assert set(np.unique(net.V)) == {-1.0, 1.0} or np.abs(net.V).max() <= np.sqrt(3)
    covariance = net.V @ net.V.T / net.k
    assert np.abs(covariance - np.eye(50)).max() < 6 / np.sqrt(net.k)
    assert abs(np.corrcoef(net.z, net.V[0])[0, 1]) < 4 / np.sqrt(net.k)


def test_a_seed_fixes_the_network_and_another_gives_another() -> None:
    """Same seed, same bits; different seeds, different networks."""
    one, same, other = (TwoLayerNetwork.draw(5, 40, 3, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.V, same.V)
    np.testing.assert_array_equal(one.W, same.W)
    assert not np.array_equal(one.V, other.V)
    assert not np.array_equal(one.z, other.z)


@pytest.mark.parametrize("output", ["rademacher", "uniform", "zero"])
def test_weights_that_are_not_held_are_the_same_weights(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn block by block whenever needed, V and W give the same numbers as held in memory."""
    monkeypatch.setattr(seeded, "_BLOCK_ENTRIES", 64)
    held = TwoLayerNetwork.draw(7, 100, 5, output=output, seed=3, hold=True)
    drawn = TwoLayerNetwork.draw(7, 100, 5, output=output, seed=3, hold=False)
    problem = Problem(np.random.default_rng(0).standard_normal((3, 7)), np.ones(3))
    assert not drawn.columns.held
    np.testing.assert_array_equal(drawn.z, held.z)
    np.testing.assert_array_equal(drawn.V, held.V)
    np.testing.assert_array_equal(drawn.W, held.W)
    np.testing.assert_allclose(drawn.forward(), held.forward(), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(drawn.observe(problem), held.observe(problem), rtol=1e-13)
    np.testing.assert_allclose(drawn.kernel("both"), held.kernel("both"), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(drawn.columns.norms(), held.columns.norms(), rtol=1e-14)


def test_blocks_are_drawn_alone_with_the_same_bits() -> None:
    """Block b depends on (seed, role, b) only: any process can draw it alone."""
    units = SeededUnits(10_000, 300, "rademacher", 9, 2)
    blocks = list(units.blocks())
    assert len(blocks) > 3
    alone = units._draw(2, blocks[2][1].shape)
    np.testing.assert_array_equal(alone, blocks[2][1])
    assert not np.array_equal(blocks[0][1], blocks[1][1])


def test_streamed_products_split_over_processes_have_the_same_bits(tmp_path: Any) -> None:
    """A V drawn by two other processes, each its own blocks, is A V drawn by this one."""
    n, k = 3_000, 1_000  # 174 columns a block
    a = np.random.default_rng(4).standard_normal((3, n))
    here = TwoLayerNetwork.draw(n, k, 2, seed=9, hold=False).observe(Problem(a, np.ones(3)))
    code = (
        "import sys, numpy as np\n"
        "from kltheory.empirical.seeded import SeededUnits\n"
        "a, part = np.load(sys.argv[1]), int(sys.argv[2])\n"
        "units = SeededUnits(1000, 3000, 'rademacher', 9, 2)\n"
        "own = {w.start: a @ b.T for i, (w, b) in enumerate(units.blocks()) if i % 2 == part}\n"
        "np.savez(sys.argv[3], **{str(start): block for start, block in own.items()})\n"
    )
    np.save(tmp_path / "a.npy", a)
    there = np.full_like(here, np.nan)
    for part in (0, 1):
        out = tmp_path / f"{part}.npz"
        subprocess.run([sys.executable, "-c", code, tmp_path / "a.npy", str(part), out], check=True,
                       timeout=60, env={**os.environ, "PYTHONPATH": os.getcwd()})  # fmt: skip
        for start, block in np.load(out).items():
            there[:, int(start) : int(start) + block.shape[1]] = block
    np.testing.assert_array_equal(here, there)


def test_huge_matrices_are_refused_and_not_written_out() -> None:
    """A network of 10⁶ × 10⁵ weights is drawn in bounded memory, and V itself is refused."""
    net = TwoLayerNetwork.draw(n=100_000, k=4_000, d=2, seed=0)
    assert not net.columns.held
    with pytest.raises(LimitReached, match="too large to be written out"):
        _ = net.V
    with pytest.raises(LimitReached, match="kernel"):
        net.jacobian("both")


def test_weights_of_a_network_cannot_be_changed() -> None:
    """u, z, W and V are read-only, and copies of what the caller gave."""
    W = np.ones((2, 3))
    net = TwoLayerNetwork(np.ones(3), W, np.ones((4, 2)))
    W[0, 0] = 7.0
    assert net.W[0, 0] == 1.0
    for array in (net.u, net.z, net.W, net.V):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


def test_low_rank_updates_add_up() -> None:
    """A moved network is W + dz uᵀ/ω and V + L R, also after a second move and with z in step."""
    net = _small(scale=1.7)
    rng = np.random.default_rng(4)
    dz, left, right = (
        rng.standard_normal(5),
        rng.standard_normal((5, 2)),
        rng.standard_normal((2, 3)),
    )
    moved = net.moved(dz, left, right).moved(dz, left, right)
    np.testing.assert_allclose(moved.W, net.W + 2 * np.outer(dz, net.u) / net.omega, rtol=1e-13)
    np.testing.assert_allclose(moved.V, net.V + 2 * (left @ right).T, rtol=1e-13)
    np.testing.assert_allclose(moved.W @ net.u, moved.z, rtol=1e-12)
    weights = Weights(rng.standard_normal((4, 3)), rng.standard_normal((4, 1)), np.ones((1, 3)))
    np.testing.assert_allclose(weights.norms(), np.linalg.norm(weights.toarray(), axis=1))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_image_contains_every_value(name: str) -> None:
    """inf φ ≤ φ(z) ≤ sup φ, and the bounds are approached."""
    low, high = image(get(name))
    values = get(name).phi(np.linspace(-40, 40, 400_001))
    assert values.min() >= low
    assert values.max() <= high
    assert values.min() - low < 0.04
    if np.isfinite(high):
        assert high - values.max() < 0.04


# -- measured constants ------------------------------------------------------------------------


def _measured(train: str, scale: float = 1.0) -> tuple[Problem, TwoLayerNetwork, Constants]:
    rng = np.random.default_rng(11)
    a = rng.standard_normal((4, 6))
    u = rng.standard_normal(3)
    u *= scale / np.linalg.norm(u)
    net = TwoLayerNetwork(u, rng.standard_normal((30, 3)), rng.standard_normal((6, 30)), "tanh")
    x = rng.standard_normal(6)
    problem = Problem(a, a @ x, signal=x, noise=0.25)
    return problem, net, net.constants(problem, train)


@pytest.mark.parametrize("scale", [1.0, 0.6])
@pytest.mark.parametrize("train", MODES)
def test_measured_constants_are_those_of_the_dense_matrices(train: str, scale: float) -> None:
    """σ_F, σ_J, σ_g, σ_Q, σ_A, σ_K, h0, L0 from their definitions with dense J."""
    problem, net, c = _measured(train, scale)
    a = problem.operator
    _, s, q = np.linalg.svd(a, full_matrices=False)
    hidden, trained = net.jacobian("hidden"), net.jacobian(train)

    def smallest(matrix: np.ndarray) -> float:
        return float(np.linalg.svd(matrix, compute_uv=False)[matrix.shape[0] - 1])

    expected = {
        "sigma_F": s[-1],
        "norm_F": s[0],
        "rank": 4,
        "sigma_g": smallest(hidden),
        "sigma_J": smallest(trained),
        "sigma_Q": smallest(q @ hidden),
        "sigma_A": smallest(a @ hidden),
        "sigma_K": smallest(a @ trained),
        "norm_K": np.linalg.norm(a @ trained, 2),
        "h0": np.linalg.norm(np.tanh(net.z)) / np.sqrt(30),
        "residual0": np.linalg.norm(a @ net.forward() - problem.observation),
        "loss0": np.sum((a @ net.forward() - problem.observation) ** 2) / 2,
        "max_V": np.linalg.norm(net.V, axis=0).max(),
        "max_QV": np.linalg.norm(q @ net.V, axis=0).max(),
        "max_AV": np.linalg.norm(a @ net.V, axis=0).max(),
        "D": np.abs(net.V).max(),
        "noise": 0.25,
    }
    for name, value in expected.items():
        assert c.value(name) == pytest.approx(value, rel=1e-9), name
    assert c["B1"].evidence is Evidence.PROVED
    assert c["noise"].evidence is Evidence.ASSUMED


@pytest.mark.parametrize("scale", [1.0, 0.6, 1.8])
@pytest.mark.parametrize("train", MODES)
def test_deviation_constants_bound_every_deviation(train: str, scale: float) -> None:
    """‖J(θ) - J(θ0)‖ ≤ Λ_J ‖θ - θ0‖, ‖A(J - J0)‖ ≤ Λ_A‖θ - θ0‖ (V fixed), and |h - h0| ≤ Λ_h‖·‖."""
    problem, net, c = _measured(train, scale)
    rng, J0 = np.random.default_rng(12), net.jacobian(train)
    for size in (1e-3, 0.1, 1.0, 10.0):
        for _ in range(10):
            dW = size * rng.standard_normal(net.W.shape)
            dV = size * rng.standard_normal(net.V.shape) * (train == "both")
            other = TwoLayerNetwork(net.u, net.W + dW, net.V + dV, "tanh")
            moved = np.hypot(np.linalg.norm(dW), np.linalg.norm(dV))
            change = other.jacobian(train) - J0
            assert np.linalg.norm(change, 2) <= c.value("Lambda_J") * moved * (1 + 1e-12)
            rise = abs(other.feature_norm() - net.feature_norm())
            assert rise <= c.value("Lambda_h") * np.linalg.norm(dW) * (1 + 1e-12)
            if train == "hidden":
                seen = np.linalg.norm(problem.operator @ change, 2)
                assert seen <= c.value("Lambda_A") * moved * (1 + 1e-12)


def test_deviation_constant_of_the_hidden_layer_is_sharp() -> None:
    """Λ_g is attained to first order where |φ''| is largest, along the longest column."""
    z = np.arctanh(1 / np.sqrt(3))  # |tanh''| is largest here
    V = np.array([[3.0, 0.1], [4.0, 0.2]])
    net = TwoLayerNetwork([1.0], [[z], [0.3]], V, "tanh")
    c = net.constants(Problem(np.eye(2), np.ones(2)), "hidden")
    t = 1e-5
    moved = TwoLayerNetwork([1.0], [[z + t], [0.3]], V, "tanh")
    slope = np.linalg.norm(moved.jacobian() - net.jacobian(), 2) / t
    assert slope == pytest.approx(c.value("Lambda_g"), rel=1e-4)


def test_recovery_constants_are_defined_by_the_set_of_signals() -> None:
    """Both layers: dist = 0, μ = σ_n(A).  V fixed, k < n: μ on the span of V, dist by a box."""
    rng = np.random.default_rng(13)
    a = rng.standard_normal((8, 5))
    net = TwoLayerNetwork.draw(n=5, k=3, d=2, seed=0)
    inside = net.V @ np.array([0.2, 0.5, 0.7]) / np.sqrt(3)
    problem = Problem(a, a @ inside, signal=inside)
    hidden, both = net.constants(problem, "hidden"), net.constants(problem, "both")
    assert both.value("dist") == 0.0
    assert both.value("mu") == pytest.approx(np.linalg.svd(a, compute_uv=False)[-1])
    basis = np.linalg.qr(net.V)[0]
    assert hidden.value("mu") == pytest.approx(np.linalg.svd(a @ basis, compute_uv=False)[-1])
    assert hidden.value("dist") < 1e-7
    far = Problem(a, a @ inside, signal=inside + 100.0)
    assert net.constants(far, "hidden").value("dist") > 50.0


def test_constants_of_other_operators_agree_with_the_dense_ones() -> None:
    """A LinearOperator gives the same table; a callable gives what is defined for it."""
    problem, net, c = _measured("both")
    same = net.constants(
        Problem(aslinearoperator(problem.operator), problem.observation, signal=problem.signal),
        "both",
    )
    for name in ("sigma_F", "sigma_Q", "sigma_A", "Lambda_Q", "mu", "sigma_K"):
        assert same.value(name) == pytest.approx(c.value(name), rel=1e-9)
    nonlinear = net.constants(phase_retrieval(problem.operator, np.ones(4)), "hidden")
    assert nonlinear["sigma_F_at_0"].evidence is Evidence.SAMPLED
    assert "sigma_Q" not in nonlinear


def test_weakest_constant_decides_the_evidence() -> None:
    """A result is only as good as its weakest constant; an unknown name is refused."""
    c = Constants(
        {
            "a": Constant(1.0, Evidence.PROVED, ""),
            "b": Constant(2.0, Evidence.SAMPLED, ""),
            "c": Constant(float("inf"), Evidence.COMPUTED, ""),
        }
    )
    assert c.weakest("a", "c") is Evidence.COMPUTED
    assert c.weakest() is Evidence.SAMPLED
    assert c.to_dict()["c"]["value"] == "inf"
    with pytest.raises(InputError, match="'d' was not measured; there are: a, b, c"):
        c.value("d")
    assert pickle.loads(pickle.dumps(c)).to_dict() == c.to_dict()


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TwoLayerNetwork([1.0], np.ones((2, 3)), np.ones((4, 2))), r"\(2, 3\).*\(1,\)"),
        (lambda: TwoLayerNetwork([1.0], np.ones((2, 1)), np.ones((4, 3))), r"\(4, 3\).*\(2, 1\)"),
        (lambda: TwoLayerNetwork([0.0], np.ones((2, 1)), np.ones((4, 2))), "u is zero"),
        (lambda: TwoLayerNetwork([np.nan], np.ones((2, 1)), np.ones((4, 2))), "not finite"),
        (lambda: TwoLayerNetwork.draw(3, 2, 1, activation="relu"), "relu"),
        (lambda: TwoLayerNetwork.draw(3, 2, 1, output="gauss"), "allowed are rademacher"),
        (lambda: TwoLayerNetwork.draw(3, 0, 1), "k: got 0"),
        (lambda: TwoLayerNetwork.draw(3, 2.5, 1), "k: got 2.5"),
        (lambda: TwoLayerNetwork.draw(3, 2, 1, seed=-1), "seed: got -1"),
        (lambda: _small().jacobian("output"), "train: got 'output'"),
        (lambda: _small().push_forward(np.ones(3)), r"\(3,\).*\(20,\)"),
        (lambda: _small().pull_back(np.ones(2)), r"\(2,\).*\(3,\)"),
        (lambda: _small().observe(Problem(np.ones((2, 4)), np.ones(2))), r"\(2, 4\).*\(3,\)"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(make: Any, words: str) -> None:
    """The message names what was given, and both shapes where two must agree."""
    with pytest.raises(InputError, match=words):
        make()


def test_a_network_can_be_sent_to_another_process() -> None:
    """Held, drawn and trained networks survive pickling."""
    net = TwoLayerNetwork.draw(4, 9, 3, seed=2, hold=False).moved(np.arange(9.0))
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.W, net.W)
    np.testing.assert_array_equal(again.forward(), net.forward())
    assert again.seed == 2


@given(st.integers(0, 2**20), st.sampled_from(ACTIVATIONS))
@settings(max_examples=30, deadline=None)
def test_network_does_not_change_under_a_rotation_of_its_input(seed: int, name: str) -> None:
    """(u, W) and (Q u, W Qᵀ) are the same network: forward, kernels and σ_min agree."""
    net = _small(name, seed)
    q, _ = np.linalg.qr(np.random.default_rng(seed + 1).standard_normal((4, 4)))
    turned = TwoLayerNetwork(q @ net.u, net.W @ q.T, net.V, name)
    np.testing.assert_allclose(turned.forward(), net.forward(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(turned.kernel("both"), net.kernel("both"), rtol=1e-9, atol=1e-11)
    assert turned.sigma_min("both") == pytest.approx(net.sigma_min("both"), rel=1e-8, abs=1e-11)


TORCH = {
    "sigmoid": "sigmoid", "tanh": "tanh", "sin": "sin", "erf": "erf", "arctan": "atan",
    "softplus": "nn.functional.softplus", "gelu": "nn.functional.gelu",
    "silu": "nn.functional.silu",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("train", MODES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_jacobian_agrees_with_automatic_differentiation(name: str, train: str) -> None:
    """PyTorch's autograd, where it is installed, gives the same Jacobian, for every activation."""
    torch = pytest.importorskip("torch")
    net = _small(name, 3, 0.8)
    phi = operator.attrgetter(TORCH[name])(torch)
    u, W, V = (torch.tensor(np.array(a), dtype=torch.float64) for a in (net.u, net.W, net.V))
    J = torch.autograd.functional.jacobian(lambda w, v: v @ phi(w @ u) / 5**0.5, (W, V))
    blocks = [j.reshape(3, -1).numpy() for j in (J if train == "both" else J[:1])]
    np.testing.assert_allclose(net.jacobian(train), np.hstack(blocks), rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("train", MODES)
def test_descent_agrees_with_automatic_differentiation(train: str) -> None:
    """50 steps of phase retrieval and of a linear F by PyTorch's autograd: the same losses."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    a, x = rng.standard_normal((4, 6)), rng.standard_normal(6)
    net = TwoLayerNetwork.draw(6, 30, 3, activation="tanh", seed=5)
    for problem, power in ((Problem(a, a @ x), 1), (phase_retrieval(a, (a @ x) ** 2), 2)):
        run = descend(problem, net, train, step=0.002, steps=50, tol=0.0)
        u, A, y = (torch.tensor(np.array(v)) for v in (net.u, a, problem.observation))
        W, V = (torch.tensor(np.array(v), requires_grad=True) for v in (net.W, net.V))
        trained, losses = [W, V] if train == "both" else [W], []
        for _ in range(51):
            loss = 0.5 * (((A @ (V @ torch.tanh(W @ u))) / 30**0.5) ** power - y).square().sum()
            losses.append(loss.item())
            with torch.no_grad():
                for weights, slope in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                    weights -= 0.002 * slope
        np.testing.assert_allclose(run.losses, losses, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("train", MODES)
def test_jacobian_agrees_with_jax(train: str) -> None:
    """JAX, where it is installed, gives the same Jacobian to single precision or better."""
    jax = pytest.importorskip("jax")
    net = _small("sigmoid", 3, 0.8)
    u, W, V = (jax.numpy.asarray(np.array(a)) for a in (net.u, net.W, net.V))
    J = jax.jacrev(lambda w, v: v @ jax.nn.sigmoid(w @ u) / 5**0.5, argnums=(0, 1))(W, V)
    blocks = [np.asarray(j).reshape(3, -1) for j in (J if train == "both" else J[:1])]
    np.testing.assert_allclose(net.jacobian(train), np.hstack(blocks), rtol=1e-5, atol=1e-6)
