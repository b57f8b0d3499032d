"""Proofs that no weights of the hidden layer reach an observation, for bounded and unbounded φ."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from kltheory.activation import ACTIVATIONS, get
from kltheory.empirical.dynamics import flow
from kltheory.empirical.image import image, separation, support_gap, unreachable_distance
from kltheory.empirical.mirror import newton_limit
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.errors import InputError
from kltheory.problem import Problem

UNBOUNDED = ("softplus", "gelu", "silu")


def _case(seed: int, m: int = 5, k: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, k)), rng.standard_normal(m)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_separation_is_the_distance_to_what_can_be_reached(name: str) -> None:
    """Never above the least squares distance, and hardly below it."""
    low, high = image(get(name))
    found = 0
    for seed in range(30):
        matrix, y = _case(seed)
        y = 3.0 * y
        exact = np.sqrt(2 * lsq_linear(matrix, y, (low, high), tol=1e-14, method="bvls").cost)
        bound, v = separation(matrix, y, low, high)
        assert bound <= exact * (1 + 1e-9)
        if exact > 1e-6:
            found += 1
            assert bound >= exact * (1 - 1e-7)
            assert bound == support_gap(matrix, y, v, np.full(9, low), np.full(9, high))
        else:
            assert bound == 0.0
    assert 5 <= found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 9), st.floats(1e-6, 1e6))
def test_a_proof_holds_in_exact_arithmetic(seed: int, m: int, k: int, scale: float) -> None:
    """With one-sided boxes: Nᵀv ≤ 0 in fractions, and ⟨v, y - N a⟩ ≥ bound ‖v‖ at the corner."""
    matrix, y = _case(seed, m, k)
    y = scale * y
    bound, v = separation(matrix, y, -0.25, np.inf)
    if v is None:
        assert bound == 0.0
        return
    exact = [[Fraction(x) for x in row] for row in matrix.tolist()]
    direction = [Fraction(x) for x in v.tolist()]
    c = [sum(direction[i] * exact[i][j] for i in range(m)) for j in range(k)]
    assert all(x <= 0 for x in c)
    gap = sum(d * Fraction(x) for d, x in zip(direction, y.tolist(), strict=True))
    gap -= sum(x * Fraction(-1, 4) for x in c)
    assert gap > 0
    assert gap**2 >= Fraction(bound) ** 2 * sum(d * d for d in direction)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 12), st.booleans())
def test_what_can_be_reached_is_never_called_unreachable(
    seed: int, m: int, k: int, border: bool
) -> None:
    """y = N a with a in the set, also on its border, has no proof against it."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((m, k))
    low = np.where(rng.random(k) < 0.5, -np.inf, -rng.random(k))
    high = np.where(rng.random(k) < 0.5, np.inf, rng.random(k))
    inner = np.clip(3 * rng.standard_normal(k), low, high)
    if border:
        inner = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, inner))
    assert separation(matrix, matrix @ inner, low, high) == (0.0, None)


def test_sides_of_every_kind_are_taken_into_account() -> None:
    """Boxes that are open below, above, on both sides or on none."""
    eye, inf = np.eye(2), np.inf
    assert separation(eye, [5.0, 0.5], [-inf, 0.0], [1.0, 1.0])[0] == pytest.approx(4.0)
    assert separation(eye, [-5.0, 0.5], [-inf, 0.0], [1.0, 1.0])[0] == 0.0
    assert separation(eye, [-5.0, 3.0], [-1.0, 0.0], [inf, 1.0])[0] == pytest.approx(np.sqrt(20))
    assert separation(eye, [-5.0, 3.0], [-inf, 0.0], [inf, 1.0])[0] == 0.0
    line = np.array([[1.0, -1.0], [0.0, 0.0]])
    assert separation(line, [1.0, 2.0], [0.0, 0.0], [inf, inf])[0] == pytest.approx(2.0)
    slope = np.array([[0.1, -0.1], [0.3, -0.3]])  # a cone that is a line, known to rounding only
    assert separation(slope, [1.0, 2.0], [0.0, 0.0], [inf, inf])[0] == 0.0
    with pytest.raises(InputError, match="do not fit"):
        separation(eye, [1.0, 2.0, 3.0], 0.0, 1.0)
    with pytest.raises(InputError, match="at most its high"):
        separation(eye, [1.0, 2.0], 1.0, 0.0)


@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_what_no_signal_explains_adds_to_the_distance(name: str) -> None:
    """y outside Im A: dist² is the sum of two squares, and the first is there for every width."""
    rng = np.random.default_rng(3)
    a = rng.standard_normal((6, 3))
    x = rng.standard_normal(3)
    normal = np.linalg.svd(a)[0][:, 4]
    problem = Problem(a, a @ x + 0.7 * normal)
    low, high = image(get(name))
    for k in (2, 200):
        net = TwoLayerNetwork.draw(3, k, 2, activation=name, seed=4)
        matrix = net.observe(problem) / np.sqrt(k)
        bound = unreachable_distance(matrix, problem.observation, low, high, problem.spectrum.left)
        exact = np.sqrt(2 * lsq_linear(matrix, problem.observation, (low, high), tol=1e-14).cost)
        assert 0.7 * (1 - 1e-9) <= bound <= exact * (1 + 1e-6)
        assert (bound > 0.71) is (k == 2)


@pytest.mark.parametrize("name", UNBOUNDED)
def test_the_limit_is_decided_for_unbounded_activations(name: str) -> None:
    """Cases in general position are decided, both ways, and a flow stays above the bound."""
    verdicts = []
    for seed in range(22):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((4, 8)) / np.sqrt(8)
        problem = Problem(a, 2 * a @ rng.standard_normal(8))
        net = TwoLayerNetwork.draw(8, 5 + seed % 6, 2, name, output="uniform", seed=seed)
        limit = newton_limit(problem, net)
        verdicts.append(limit.reachable)
        if limit.reachable is False:
            run = flow(problem, net, times=[20.0], form="observation", rtol=1e-6)
            assert 0 < limit.loss <= run.loss[-1] * (1 + 1e-9)
    assert None not in verdicts
    assert min(verdicts.count(True), verdicts.count(False)) >= 3
