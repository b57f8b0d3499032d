"""Exponents from data, and how many measurements a cone needs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kltheory as kl
from kltheory import loss_functions as lf
from kltheory.errors import InputError
from kltheory.numeric.estimate import estimate_from_decay, estimate_from_gradients
from kltheory.numeric.sample_complexity import (
    measurements,
    width_l1,
    width_linf,
    width_nuclear,
    width_subspace,
)
from kltheory.symbolic.losses import loss

# -- α and c -----------------------------------------------------------------------------------


@given(st.floats(0.1, 0.9), st.floats(0.1, 10))
def test_exact_pairs_give_alpha_and_c_back(alpha, c):
    """‖∇L‖ = L^{1-α}/(cα) gives α and c to rounding."""
    s = np.logspace(-7, 0, 30)
    found = estimate_from_gradients(s, s ** (1 - alpha) / (c * alpha))
    assert found.alpha == pytest.approx(alpha, abs=1e-9)
    assert found.c == pytest.approx(c, rel=1e-8)


def test_the_estimated_c_satisfies_the_inequality_at_all_points():
    """c α s^{α-1} ‖∇L‖ >= 1 at every point that was given."""
    rng = np.random.default_rng(0)
    r = rng.standard_normal((400, 3)) * 10 ** rng.uniform(-3, 0, (400, 1))
    known = lf.get("log-cosh")
    s, g = known.value(r, np.zeros(3)), np.linalg.norm(known.gradient(r, np.zeros(3)), axis=1)
    found = estimate_from_gradients(s, g)
    assert found.verdict == "estimated"
    assert found.alpha == pytest.approx(0.5, abs=0.03)
    assert np.min(found.c * found.alpha * s ** (found.alpha - 1) * g) >= 1 - 1e-12
    assert found.c_interval[0] <= found.c <= found.c_interval[1]


@pytest.mark.parametrize(
    ("alpha", "c", "kappa"), [(0.5, 1.4, 0.3), (0.25, 2.0, 1.0), (0.1, 1.0, 2.0)]
)
def test_a_decay_of_the_law_gives_alpha_and_c_back(alpha, c, kappa):
    """L = Ψ⁻¹(κt + Ψ(L0)) for ψ = c s^α gives α and c/√κ."""
    bound = kl.rate(loss("lojasiewicz", alpha=repr(alpha), c=repr(c))).bound(kappa=kappa, loss0=1)
    t = np.linspace(0, 40, 300) ** 2
    found = estimate_from_decay(t, bound.loss(t), floor=1e-12)
    assert found.alpha == pytest.approx(alpha, abs=5e-3)
    assert found.c == pytest.approx(c / math.sqrt(kappa), rel=2e-2)


def test_the_interval_covers_the_truth_under_noise():
    """With 1 % noise on L, the 95 % interval contains α in at least 80 of 100 runs."""
    t = np.linspace(0, 1000, 2000)
    clean = (1 + 0.5 / (0.25 * 0.5) ** 2 * 0.01 * t) ** (-1 / 0.5)
    hits = 0
    for seed in range(100):
        noisy = clean * np.exp(0.01 * np.random.default_rng(seed).standard_normal(len(t)))
        low, high = estimate_from_decay(t, noisy).alpha_interval
        hits += low <= 0.25 <= high
    assert hits >= 80


def test_too_little_data_is_said():
    """Few points, a small range, no decrease, and a slope that no ψ has: no number is given."""
    s = np.logspace(-3, 0, 20)
    for found in (
        estimate_from_gradients(s[:5], s[:5]),
        estimate_from_gradients(np.linspace(1, 2, 50), np.ones(50)),
        estimate_from_gradients(s, s**1.5),  # α = -1/2
        estimate_from_decay(np.arange(9), np.ones(9)),
        estimate_from_decay(np.arange(30), np.exp(-np.arange(30) / 100)),
    ):
        assert found.verdict == "insufficient data"
        assert found.alpha is None
        assert found.reason
    with pytest.raises(InputError, match="must increase"):
        estimate_from_decay([0, 0, 1], [1, 1, 1])
    with pytest.raises(InputError, match="shape"):
        estimate_from_gradients([1, 2], [1])


# -- Gaussian widths ---------------------------------------------------------------------------


def simulated(support, n, draws=4000):
    """E sup over a cone, from the distance to its polar: E‖Π_K z‖."""
    z = np.random.default_rng(3).standard_normal((draws, n))
    sizes = support(z)
    return float(sizes.mean()), float(sizes.std() / math.sqrt(draws))


@pytest.mark.parametrize("d", [1, 2, 7, 100, 10**6])
def test_the_width_of_a_subspace_is_the_mean_of_chi(d):
    """d/√(d+1) <= w <= √d; w is E‖z‖ in dimension d."""
    w = width_subspace(d).value
    assert d / math.sqrt(d + 1) <= w <= math.sqrt(d) * (1 + 1e-9)
    if d <= 100:
        mean, error = simulated(lambda z: np.linalg.norm(z, axis=1), d)
        assert abs(w - mean) < 4 * error


@pytest.mark.parametrize(("n", "k"), [(8, 8), (10, 3)])
def test_the_width_of_the_linf_cone_bounds_its_simulation(n, k):
    """The cone is a product: ‖Π_K z‖² = Σ (z_i)₊² over k entries and Σ z_i² over the others."""
    bound = width_linf(n, k).value
    mean, error = simulated(
        lambda z: np.sqrt((np.maximum(z[:, :k], 0) ** 2).sum(1) + (z[:, k:] ** 2).sum(1)), n
    )
    assert mean - 4 * error <= bound <= mean * 1.1


@pytest.mark.parametrize(("n", "s"), [(50, 5), (50, 25), (50, 50), (200, 4)])
def test_the_width_of_the_l1_cone_bounds_its_simulation(n, s):
    """The mean distance of z to the polar cone is w, and w² <= 2s log(n/s) + 5s/4."""

    def distance(z):
        best = np.full(len(z), np.inf)
        for tau in np.linspace(0, 5, 400):  # the cone over {sign on the support, [-1, 1] outside}
            on = ((z[:, :s] - tau) ** 2).sum(1)
            off = (np.maximum(np.abs(z[:, s:]) - tau, 0) ** 2).sum(1)
            best = np.minimum(best, on + off)
        return np.sqrt(best)

    bound = width_l1(n, s).value
    mean, error = simulated(distance, n, 500)
    assert mean - 4 * error <= bound <= mean * 1.15 + 0.1
    assert bound**2 <= 2 * s * math.log(n / s) + 1.25 * s + 1e-6


def test_nuclear_widths_have_their_limits():
    """Full rank leaves the whole space; rank 1 gives 3(n1 + n2 - 1)."""
    assert width_nuclear(5, 4, 4).value ** 2 == pytest.approx(20)
    assert width_nuclear(30, 20, 1).value ** 2 == pytest.approx(147)
    for wrong in ((5, 4, 5), (0, 1, 1)):
        with pytest.raises(InputError):
            width_nuclear(*wrong)


# -- Proposition 3.5 ---------------------------------------------------------------------------


def test_the_corrected_number_does_not_change_when_the_operator_is_scaled():
    """A -> cA has (α, σ) -> (cα, cσ) and the same kernel; the printed second term has c^{-2}."""
    w = width_l1(100, 5)

    def m(scale, theory):
        return measurements(
            w, failure=1e-3, alpha=0.8 * scale, sigma=1.0 * scale, theory=theory
        ).terms

    for scale in (0.1, 10.0):
        a, b = m(scale, "corrected"), m(1.0, "corrected")
        assert list(a.values()) == pytest.approx(list(b.values()), rel=1e-12)
        a, b = m(scale, "printed"), m(1.0, "printed")
        assert list(a.values())[1] == pytest.approx(list(b.values())[1] / scale**2, rel=1e-12)


def test_proposition_by_hand():
    """C = 2, C' = 3, α = 1/2, σ = 1, w = 2, failure e^{-8}: 3·64·4 + 2/4·16·4 = 800."""
    found = measurements(
        2.0, failure=math.exp(-8), alpha=0.5, sigma=1, C=2, C_prime=3, theory="corrected"
    )
    assert sum(found.terms.values()) == pytest.approx(800, rel=1e-12)
    assert found.m in (800, 801)
    assert found.probability == 1 - math.exp(-8)


def test_the_sharp_number_holds_in_simulation():
    """On a subspace, σ_min >= m/√(m+1) - w - τ fails with probability at most e^{-τ²/2}."""
    d, failure = 6, 0.3
    m = measurements(width_subspace(d), failure=failure, theory="sharp").m
    need = width_subspace(d).value + math.sqrt(2 * math.log(1 / failure))
    assert (m - 1) / math.sqrt(m) <= need * (1 + 1e-9) < m / math.sqrt(m + 1) * (1 + 1e-9)
    rng = np.random.default_rng(11)
    draws = rng.standard_normal((1000, m, d))
    smallest = np.linalg.svd(draws, compute_uv=False)[:, -1]
    assert np.mean(smallest < m / math.sqrt(m + 1) - need) <= failure
    assert np.mean(smallest < math.sqrt(m) - math.sqrt(d) + 2) > failure  # the test can fail


@pytest.mark.parametrize(
    "wrong",
    [{"failure": 0}, {"failure": 1}, {"alpha": 0}, {"theory": "exact"}, {"C": -1}],
)
def test_wrong_numbers_are_refused(wrong):
    """Probabilities, positive constants and known theories only."""
    with pytest.raises(InputError):
        measurements(3.0, **{"failure": 0.1, **wrong})
