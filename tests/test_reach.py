"""Reachability: verdicts against independent solvers, proofs against rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, lsq_linear

from kltheory.activation import ACTIVATIONS, get
from kltheory.empirical.flow import flow
from kltheory.empirical.mirror import newton_limit
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.errors import InputError, LimitReached
from kltheory.numeric.reach import (
    BoxImage,
    Reach,
    box_limit,
    branch_box,
    gap_certificate,
    product_error,
    reachability,
)
from kltheory.numeric.reach_proof import exact_gap, solve_exactly
from kltheory.numeric.reach_width import border_k
from kltheory.problem import Problem

Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def random_case(seed: int) -> Case:
    """Draw N, y and a box; of the sides some are infinite, of the columns some are fixed.

    y is the image of a point near the border of the box, half the time moved off.
    """
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 8))
    k = int(rng.integers(1, 40))
    N = rng.standard_normal((m, k)) * 10.0 ** rng.uniform(-2, 2)
    low = rng.standard_normal(k)
    high = low + rng.random(k) + 0.1
    a = low + (high - low) * rng.random(k) ** rng.choice([0.2, 1.0, 5.0])
    y = N @ a
    if rng.random() < 0.5:
        y = y + rng.standard_normal(m) * np.linalg.norm(y) * 10.0 ** rng.uniform(-3, 0)
    kind = rng.integers(4)
    if kind == 1:
        high = np.full(k, np.inf)
    elif kind == 2:
        high = np.where(rng.random(k) < 0.3, np.inf, high)
        low = np.where(rng.random(k) < 0.1, -np.inf, low)
    elif kind == 3:
        high = np.where(rng.random(k) < 0.3, low, high)
    return N, y, low, high


def best_box_distance(case: Case) -> float:
    """Return dist(y, image) by SciPy; columns that are fixed moved to the right side."""
    N, y, low, high = case
    free = low < high
    rest = y - N[:, ~free] @ low[~free]
    if not free.any():
        return float(np.linalg.norm(rest))
    found = lsq_linear(N[:, free], rest, (low[free], high[free]), method="bvls", tol=1e-14)
    return float(np.sqrt(2.0 * found.cost))


@pytest.mark.parametrize("seed", range(150))
def test_the_two_bounds_enclose_what_scipy_finds(seed: int) -> None:
    """Lower and upper bound on inf ½‖N a - y‖² lie around the value of another algorithm."""
    case = random_case(seed)
    limit = box_limit(*case)
    scale = float(np.linalg.norm(case[1])) + 1e-300
    other = best_box_distance(case)
    assert np.sqrt(2.0 * limit.lower) <= other * (1.0 + 1e-9) + 1e-13 * scale
    assert limit.lower <= limit.upper
    assert abs(np.sqrt(2.0 * limit.upper) - other) <= 1e-6 * scale
    assert ((case[2] <= limit.a) & (limit.a <= case[3])).all()


@pytest.mark.parametrize("seed", range(150))
def test_a_verdict_is_that_of_a_linear_program(seed: int) -> None:
    """HiGHS finds a feasible point exactly where y is attainable."""
    N, y, low, high = random_case(seed)
    found = reachability(N, y, low, high)
    bounds = [
        (None if np.isinf(a) else a, None if np.isinf(b) else b)
        for a, b in zip(low, high, strict=True)
    ]
    scale = float(np.abs(y).max())
    program = linprog(np.zeros(low.size), A_eq=N / scale, b_eq=y / scale, bounds=bounds)
    assert program.status in (0, 2)
    if found.verified is None:  # only where rows depend on each other
        assert (low < high).sum() < y.size
    else:
        assert found.attainable is (program.status == 0)


@pytest.mark.parametrize("seed", range(150))
def test_impossible_is_a_statement(seed: int) -> None:
    """The separating direction separates in rational arithmetic, by what is claimed."""
    N, y, low, high = random_case(seed)
    found = reachability(N, y, low, high)
    if found.attainable is not False:
        return
    assert found.separating is not None
    v = list(found.separating_exact or map(Fraction, found.separating.tolist()))
    gap = exact_gap(N, y, low, high, v)
    length = sum(x**2 for x in v)
    assert gap is not None
    assert gap > 0
    assert gap**2 >= Fraction(found.distance) ** 2 * length * (1 - Fraction(1, 10**12))
    assert Fraction(found.limit_loss) <= Fraction(found.distance) ** 2 / 2


@pytest.mark.parametrize("seed", range(150))
def test_attainable_is_a_statement(seed: int) -> None:
    """Next to the witness N a = y has an exact rational solution, as far inside as is claimed."""
    N, y, low, high = random_case(seed)
    found = reachability(N, y, low, high)
    if not found.attainable or found.verified is None:
        return
    a = found.witness
    assert a is not None
    free = np.flatnonzero(low < high)
    room = np.minimum(np.minimum(a - low, high - a), 1.0)[free]
    basis = free[np.argsort(-room * np.linalg.norm(N[:, free], axis=0))[: y.size]]
    others = np.setdiff1d(np.arange(a.size), basis)
    rest = [
        Fraction(float(t))
        - sum(Fraction(float(c)) * Fraction(float(x)) for c, x in zip(r, a[others], strict=True))
        for t, r in zip(y, N[:, others], strict=True)
    ]
    exact = solve_exactly(N[:, basis], rest)
    assert exact is not None
    slack = 100.0 * found.witness_error + 1e-15
    for value, j in zip(exact, basis, strict=True):
        assert abs(float(value) - a[j]) <= slack * np.linalg.cond(N[:, basis])
        assert low[j] < value < high[j]
    assert found.margin <= room.min()


def facet(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return N, a point y on a facet of N [0, 1]^k, and its normal; all dyadic, y exact."""
    rng = np.random.default_rng([7, seed])
    m, k = int(rng.integers(2, 7)), int(rng.integers(8, 30))
    N = np.round(rng.standard_normal((m, k)) * 2.0**14) / 2.0**14
    few = rng.choice(k, m - 1, replace=False)
    v = np.linalg.svd(N[:, few].T)[2][-1]
    a = (v @ N > 0).astype(float)
    a[few] = rng.integers(8, 56, m - 1) / 64.0
    return N, N @ a, v


@pytest.mark.parametrize("seed", range(40))
def test_the_border_is_decided_exactly(seed: int) -> None:
    """On a facet y is attainable, but not inside; 1e-13 off it, it is inside or impossible."""
    N, y, v = facet(seed)
    on = reachability(N, y, 0.0, 1.0)
    assert (on.attainable, on.interior, on.verified) == (True, False, "exact")
    move = np.round(v * 2.0**6) / 2.0**6 * 2.0**-43
    outside = reachability(N, y + move, 0.0, 1.0)
    assert outside.attainable is False
    assert outside.verified is not None
    inside = reachability(N, y - move, 0.0, 1.0)
    assert inside.interior is True
    assert inside.verified == "exact"
    assert 0.0 < inside.margin < 1e-10


def test_the_smallest_and_the_largest_floats_are_decided_as_they_are() -> None:
    """y below 0 by the least float is impossible for a ≥ 0, a matrix near 1e308 is no overflow,
    and no upper bound on a positive limit is 0."""
    N = np.array([[-0.94539915, -0.72442295], [1.52866231, 2.01337032]])
    below = reachability(N, np.full(2, -math.ulp(0.0)), 0.0, math.inf)
    assert below.attainable is False
    assert reachability([[1.7e308]], [1e308], 0.0, 1.0).attainable is True
    assert box_limit([[1e-310]], [2e-310], 0.0, 1.0).upper > 0.0


@pytest.mark.parametrize("seed", range(60))
def test_a_verdict_covers_the_error_of_the_matrix(seed: int) -> None:
    """With matrix_error, what is proved holds for every matrix that near, and every such end."""
    N, y, low, high = random_case(seed)
    rng = np.random.default_rng([1, seed])
    error = 1e-4 * np.abs(N)
    found = reachability(N, y, low, high, matrix_error=error, end_error=1e-4)
    if found.verified is None:
        return
    for _ in range(5):
        near = N + error * rng.choice([-1.0, 1.0], N.shape)
        moved = [end + 1e-4 * rng.choice([-1.0, 1.0], end.shape) for end in (low, high)]
        fixed = low == high
        moved[1] = np.where(fixed, moved[0], np.maximum(moved[0], moved[1]))
        again = reachability(near, y, *moved)
        assert again.attainable is found.attainable
        if found.attainable is False:
            assert again.limit_loss_upper >= found.limit_loss


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_flow_comes_to_the_limit(name: str) -> None:
    """Along the flow the loss stays above the bound, and comes near it, whatever the activation;
    and φ(z_i) stays in its interval."""
    activation = get(name)
    rng = np.random.default_rng(5)
    unreachable = 0
    for seed in range(6):
        m, n, k = 3, 5, 5
        A = rng.standard_normal((m, n)) / np.sqrt(n)
        net = TwoLayerNetwork.draw(n=n, k=k, d=2, seed=seed, activation=activation)
        y = rng.standard_normal(m) * 2.0
        low, high, error = branch_box(activation, net.z)
        N = A @ net.V / np.sqrt(k)
        found = reachability(N, y, low, high, end_error=error)
        with np.errstate(over="ignore"):  # far out, where the loss cannot reach 0
            run = flow(Problem(A, y), net, times=[0.0, 10.0, 3000.0], rtol=1e-8, atol=1e-10)
        assert found.attainable is not None
        assert (run.loss >= found.limit_loss * (1.0 - 1e-6)).all()
        at_end = activation.phi(run.network.z)
        assert ((at_end >= low - error - 1e-9) & (at_end <= high + error + 1e-9)).all()
        if not found.attainable:
            unreachable += 1
            assert run.loss[-1] <= found.limit_loss_upper + 0.02 * (run.loss[0] + 1.0)
    assert unreachable > 0


def test_newton_and_the_proof_agree_near_the_border() -> None:
    """The limit of the flow is zero loss exactly where y is proved attainable: 60 networks at the
    width where half of them can."""
    verdicts = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((10, 60)) / np.sqrt(60)
        problem = Problem(A, A @ rng.standard_normal(60))
        net = TwoLayerNetwork.draw(60, 88, 2, seed=seed)
        N = A @ net.V / np.sqrt(88)
        found = reachability(N, problem.observation, 0.0, 1.0)
        limit = newton_limit(problem, net)
        assert found.attainable is limit.reachable
        assert found.limit_loss_upper >= limit.loss * (1.0 - 1e-9) or limit.reachable
        verdicts.append(found.attainable)
    assert 5 < sum(verdicts) < 55


@given(st.integers(0, 10_000), st.integers(-300, 300))
@settings(max_examples=40, deadline=None)
def test_units_do_not_matter(seed: int, power: int) -> None:
    """Scaling N and y by 2^j changes distances by 2^j, and no verdict."""
    N, y, low, high = random_case(seed)
    a, b = (reachability(s * N, s * y, low, high) for s in (1.0, 2.0**power))
    assert a.attainable is b.attainable
    assert b.distance == pytest.approx(a.distance * 2.0**power, rel=1e-3)


@given(st.integers(0, 10_000), st.floats(0.0, 0.999))
@settings(max_examples=40, deadline=None)
def test_what_is_reached_is_convex(seed: int, part: float) -> None:
    """With y, every point between it and another point of the image can be reached."""
    rng = np.random.default_rng(seed)
    m, k = int(rng.integers(1, 5)), int(rng.integers(5, 20))
    N, y = rng.standard_normal((m, k)), rng.standard_normal(m) * rng.uniform(0.1, 4.0)
    centre = N @ np.full(k, 0.5)
    if reachability(N, y, 0.0, 1.0).interior:
        assert reachability(N, centre + part * (y - centre), 0.0, 1.0).interior


def test_one_neuron_by_hand() -> None:
    """N = 2: the image of [0, 1] is [0, 2]."""
    N = np.array([[2.0]])
    inside = reachability(N, [1.5], 0.0, 1.0)
    assert inside.interior
    assert inside.witness == pytest.approx([0.75])
    assert inside.margin == pytest.approx(0.25)
    outside = reachability(N, [3.0], 0.0, 1.0)
    assert outside.distance == pytest.approx(1.0)
    assert outside.limit_loss == pytest.approx(0.5)
    assert outside.limit_loss <= 0.5 <= outside.limit_loss_upper
    border = reachability(N, [2.0], 0.0, 1.0)
    assert (border.attainable, border.interior) == (True, False)


def test_one_sided_boxes_by_hand() -> None:
    """Softplus: (1, 1) a reaches every y > 0, not y = 0, and y = -1 is 1 away."""
    N = np.array([[1.0, 1.0]])
    assert reachability(N, [7.0], 0.0, np.inf).interior
    below = reachability(N, [-1.0], 0.0, np.inf)
    assert below.attainable is False
    assert below.distance == pytest.approx(1.0)
    assert reachability(N, [0.0], 0.0, np.inf).interior is not True


def test_columns_without_ends_reach_their_span() -> None:
    """A column with no end moves y freely along it."""
    N = np.array([[1.0, 0.0], [0.0, 1.0]])
    low, high = np.array([-np.inf, 0.0]), np.array([np.inf, 1.0])
    assert reachability(N, [1e6, 0.5], low, high).interior
    found = reachability(N, [1e6, 3.0], low, high)
    assert found.attainable is not True
    assert found.limit_loss_upper == pytest.approx(2.0)
    assert reachability(N, [5.0, -4.0], -np.inf, np.inf).interior


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e9])
def test_a_large_condition_number_is_no_excuse(condition: float) -> None:
    """With y = N a for an a inside, the verdict is "attainable"; moved out along the weakest row by
    what the whole box spans there, "impossible": both for all matrices within rounding."""
    rng = np.random.default_rng(17)
    left, right = (np.linalg.qr(rng.standard_normal((8, 8)))[0] for _ in range(2))
    A = left @ np.diag(np.geomspace(1.0, 1.0 / condition, 8)) @ right
    V = rng.choice([-1.0, 1.0], (8, 200)) / np.sqrt(200.0)
    N = A @ V
    error = product_error(np.linalg.norm(A, axis=1), np.linalg.norm(V, axis=0), 8)
    y = N @ (0.5 + 0.2 * rng.standard_normal(200).clip(-2.0, 2.0))
    found = reachability(N, y, 0.0, 1.0, matrix_error=error)
    assert found.interior
    assert np.linalg.norm(N @ found.witness - y) <= 1e-10
    moved = y + left[:, -1] * np.abs(left[:, -1] @ N).sum()
    found = reachability(N, moved, 0.0, 1.0, matrix_error=error)
    assert found.attainable is False
    assert 0.0 < found.limit_loss <= found.limit_loss_upper


def test_dependent_rows_are_said_to_be() -> None:
    """Where N has dependent rows, y in its range is attainable within rounding, without a proof;
    y off its range is impossible."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((2, 30))
    N = np.vstack([rows, rows[0] + rows[1] / 3.0])
    y = N @ np.full(30, 0.4)
    found = reachability(N, y, 0.0, 1.0)
    assert found.attainable is True
    assert found.verified is None
    assert "rank" in found.reason
    assert reachability(N, y + np.array([0.0, 0.0, 1e-3]), 0.0, 1.0).attainable is False


def test_gap_certificates_of_a_batch() -> None:
    """Iterates in a batch get the bounds that they get alone, none above the distance."""
    rng = np.random.default_rng(1)
    N, y = rng.standard_normal((4, 12)), 9.0 * rng.standard_normal(4)
    image = BoxImage.of(N, np.zeros(12), np.ones(12), 0.0, 0.0)
    distance = np.sqrt(2.0 * box_limit(N, y, 0.0, 1.0).upper)
    r = (N @ rng.random((12, 50))).T - y
    S = np.cumsum(r, axis=0)
    batch = gap_certificate(image, y, r, S)
    alone = [float(gap_certificate(image, y, a, b)) for a, b in zip(r, S, strict=True)]
    assert batch == pytest.approx(alone, rel=1e-12)
    assert (batch <= distance).all()
    assert batch.max() > 0.8 * distance


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_no_gap_at_what_is_attained(seed: int) -> None:
    """No direction separates N a from the image, not even by rounding: at a vertex, with the
    normal there, the exact gap is 0."""
    rng = np.random.default_rng(seed)
    m, k = int(rng.integers(1, 6)), int(rng.integers(1, 60))
    N = np.round(rng.standard_normal((m, k)) * 2.0**20) / 2.0**20
    v = rng.standard_normal(m)
    y = N @ (v @ N > 0)
    image = BoxImage.of(N, np.zeros(k), np.ones(k), 0.0, 0.0)
    assert image.distance(y, v) == 0.0
    assert exact_gap(N, y, np.zeros(k), np.ones(k), v) == 0


def test_zero_directions_prove_nothing() -> None:
    """v = 0, and v that is not a number, give no bound."""
    image = BoxImage.of(np.ones((2, 3)), np.zeros(3), np.ones(3), 0.0, 0.0)
    v = np.array([[0.0, 0.0], [np.nan, 1.0]])
    assert image.distance(np.full(2, 9.0), v).tolist() == [0.0, 0.0]


def test_the_error_of_a_product_is_covered() -> None:
    """`product_error` bounds what A V/√k in floats is off by, entry for entry."""
    rng = np.random.default_rng(2)
    A, V = rng.standard_normal((3, 40)), rng.choice([-1.0, 1.0], (40, 6)) / np.sqrt(6.0)
    bound = product_error(np.linalg.norm(A, axis=1), np.linalg.norm(V, axis=0), 40)
    N = A @ V
    for i in range(3):
        for j in range(6):
            exact = sum(
                Fraction(float(a)) * Fraction(float(b)) for a, b in zip(A[i], V[:, j], strict=True)
            )
            assert abs(Fraction(float(N[i, j])) - exact) <= Fraction(float(bound[i, j]))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_branch_box_holds_phi(name: str) -> None:
    """φ(z) lies in the box of the branch of z, and comes near to its finite ends."""
    activation = get(name)
    z = np.linspace(-30.0, 30.0, 4001)
    low, high, error = branch_box(activation, z)
    a = activation.phi(z)
    assert ((low - error <= a) & (a <= high + error)).all()
    for ends, sign in ((low, 1.0), (high, -1.0)):
        for end in np.unique(ends[np.isfinite(ends)]):
            assert (sign * (a - end))[ends == end].min() < 0.04


def test_the_border_in_k() -> None:
    """N_j = 1/√k: y = 3 needs k > 9; below 5 there is no border."""
    columns = np.ones((1, 200))

    def reach(k: int) -> Reach:
        return reachability(columns[:, :k] / np.sqrt(k), np.array([3.0]), 0.0, 1.0)

    found = border_k(reach, most=200)
    assert (found.first, found.settled) == (10, 10)
    assert found.undecided == ()
    assert found.tested_to >= 19
    with pytest.raises(LimitReached, match="any k tried up to 5"):
        border_k(reach, most=5)
    with pytest.raises(InputError, match="least"):
        border_k(reach, least=9, most=5)


def test_reachability_in_k_is_not_monotone() -> None:
    """A column that points away only shrinks the rest: reachable at k = 1, not at 2, again at 4."""
    columns = np.array([[1.0, -1.0, 1.0, 1.0, 1.0, 1.0]])

    def reach(k: int) -> Reach:
        return reachability(columns[:, :k] / np.sqrt(k), np.array([0.9]), 0.0, 1.0)

    found = border_k(reach, most=6, around=6)
    assert [bool(reach(k).interior) for k in range(1, 7)] == [True, False, True, True, True, True]
    assert (found.first, found.settled) == (1, 3)


def test_what_is_refused() -> None:
    """Shapes that do not fit, ends in the wrong order, and numbers not finite."""
    with pytest.raises(InputError, match=r"\(m, k\)"):
        reachability(np.ones((2, 3)), np.ones(3), 0.0, 1.0)
    with pytest.raises(InputError, match="ends have shapes"):
        reachability(np.ones((2, 3)), np.ones(2), np.zeros(2), 1.0)
    with pytest.raises(InputError, match="low <= high"):
        reachability(np.ones((2, 3)), np.ones(2), 1.0, 0.0)
    with pytest.raises(InputError, match="finite"):
        reachability(np.full((2, 3), np.nan), np.ones(2), 0.0, 1.0)


def test_results_are_plain_data() -> None:
    """to_dict holds numbers and lists only."""
    import json

    for y in (0.5, 5.0, 2.0):
        json.dumps(reachability([[2.0]], [y], 0.0, 1.0).to_dict(), allow_nan=False)
    json.dumps(box_limit([[2.0]], [5.0], 0.0, 1.0).to_dict(), allow_nan=False)


@pytest.mark.parametrize("ends", [(0, 1), (-1, 1), (0, np.inf), (-np.inf, np.inf)])
def test_nothing_reaches_zero_and_no_more(ends):
    """With N = 0 (V(0) = 0), y = 0 is attained and every other y is impossible, at its norm."""
    there = reachability(np.zeros((2, 3)), np.zeros(2), *ends)
    assert there.attainable
    assert there.interior
    assert there.margin > 0
    beyond = reachability(np.zeros((2, 3)), [3.0, 4.0], *ends)
    assert beyond.attainable is False
    assert 4.9999999 < beyond.distance <= 5
    assert beyond.limit_loss <= 12.5 <= beyond.limit_loss_upper
