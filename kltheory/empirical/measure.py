"""The constants that the certificates ask for, measured at a network and a problem.

Everything here is a number of this very network: no expectation over the draw, no width theorem.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kltheory.constants import Constant, Constants, Evidence
from kltheory.empirical.image import image
from kltheory.empirical.network import TwoLayerNetwork, check_train, smallest_singular_value
from kltheory.errors import LimitReached
from kltheory.problem import Problem

__all__ = ["measure"]

Array = NDArray[np.float64]

_MU_SIDE = 1_500
_BOX_ENTRIES = 1_000_000


class Put(Protocol):
    """Adds one constant to the table."""

    def __call__(
        self, name: str, value: float, meaning: str, evidence: Evidence = Evidence.COMPUTED
    ) -> None:
        """Add it."""


def measure(problem: Problem, network: TwoLayerNetwork, train: str = "hidden") -> Constants:
    """Return the constants of a network on a problem, each with its evidence.

    With M = A V, A = U S Q (thin SVD of rank r), h0 = ‖φ(z)‖/√k and z = W u:
    σ_g = σ_n(V diag φ'(z))√(ω/k) and Λ_g = B2 ω max‖V_i‖/√k, and the same with Q V (whitened: σ_Q,
    Λ_Q) and with A V (σ_A, Λ_A) at index r.  Both layers, for ‖u‖ = 1: σ_J² = σ_g² + h0² and
    Λ_J = (M + √(M² + 4 B1²))/(2√k) with M = B2 max‖V_i‖.
    A constant that is not defined here, such as σ_Q for a callable F, is left out.
    """
    check_train(train)
    problem.require_size(network.n)
    k, omega = network.k, network.omega
    activation = network.activation
    x = network.forward()
    y = problem.forward(x)
    out: dict[str, Constant] = {}

    def put(name: str, value: float, meaning: str, evidence: Evidence = Evidence.COMPUTED) -> None:
        out[name] = Constant(float(value), evidence, meaning)

    put("loss0", float(problem.loss_value(y)), "L0, the loss at initialisation")
    put("residual0", float(np.linalg.norm(y - problem.observation)), "‖y(0) - y‖")
    put("observation_norm", float(np.linalg.norm(problem.observation)), "‖y‖")
    put("h0", network.feature_norm(), "h0 = ‖φ(z(0))‖/√k")
    put("omega", omega, "ω = ‖u‖²")
    proved = activation.built_in
    for name, constant, meaning in (
        ("B1", activation.B1, "B1 = sup|φ'|"),
        ("B2", activation.B2, "B2 = Lip(φ')"),
    ):
        put(name, constant, meaning, Evidence.PROVED if proved else Evidence.SAMPLED)
    b1, b2 = activation.B1, activation.B2
    bound = Evidence.COMPUTED if proved else Evidence.SAMPLED
    norms = network.columns.norms()
    put("max_V", norms.max(), "max_i ‖V_i(0)‖")
    put("D", network.columns.largest_entry(), "D, the largest entry of |V(0)|")
    scale = omega / np.sqrt(k)
    put("Lambda_g", b2 * norms.max() * scale, "Λ_g, deviation constant of J_W", bound)
    put("Lambda_h", b1 * np.sqrt(omega / k), "Λ_h = B1/√k, deviation constant of h", bound)
    try:
        put("sigma_g", network.sigma_min("hidden"), "σ_g, n-th singular value of J_W")
    except LimitReached:
        pass
    _jacobian_constants(put, out, train, b1, b2, norms.max(), k, omega, bound)
    if problem.linear:
        _linear_constants(put, problem, network, b2, bound)
    else:
        put(
            "sigma_F_at_0",
            problem.sigma_at(x),
            "smallest non-zero singular value of J_F(x(0))",
            Evidence.SAMPLED,
        )
        if problem.lower_bound is not None:
            put("sigma_F", problem.lower_bound, "σ_F, given", Evidence.ASSUMED)
    kernel = np.linalg.eigvalsh(network.kernel(train, problem))
    smallest = kernel[0] if kernel[0] > 1e-14 * kernel.size * kernel[-1] else 0.0
    put("sigma_K", np.sqrt(smallest), "σ_m(J_F J_g), smallest of the observed kernel")
    put("norm_K", np.sqrt(max(kernel[-1], 0.0)), "‖J_F J_g‖")
    if problem.noise_norm is not None:
        put("noise", problem.noise_norm, "‖ε‖", Evidence.ASSUMED)
    _recovery_constants(put, problem, network, train)
    return Constants(out)


def _jacobian_constants(
    put: Put,
    out: dict[str, Constant],
    train: str,
    b1: float,
    b2: float,
    largest: float,
    k: int,
    omega: float,
    bound: Evidence,
) -> None:
    """Put σ_J and Λ_J of the parameters that are trained."""
    if train == "hidden":
        if "sigma_g" in out:
            put("sigma_J", out["sigma_g"].value, "σ_J = σ_g")
        put("Lambda_J", out["Lambda_g"].value, "Λ_J = Λ_g", bound)
        return
    # ‖J - J0‖² ≤ [(√ω B1 a + ω M b)² + ω B1² b²]/k with a = ‖V - V0‖, b = ‖W - W0‖: the largest
    # eigenvalue of this form in (a, b).
    m = omega * b2 * largest
    value = (m + np.sqrt(m**2 + 4.0 * omega * b1**2)) / (2.0 * np.sqrt(k))
    if "sigma_g" in out:
        put(
            "sigma_J",
            np.hypot(out["sigma_g"].value, out["h0"].value),
            "σ_J = √(σ_g² + h0²)",
        )
    put("Lambda_J", value, "Λ_J = Λ_1, deviation constant of J_g", bound)


def _linear_constants(
    put: Put, problem: Problem, network: TwoLayerNetwork, b2: float, bound: Evidence
) -> None:
    """Put what a matrix A has: its spectrum, and the constants of Q V and A V."""
    k, scale = network.k, network.omega / np.sqrt(network.k)
    found = Evidence.SAMPLED if problem.spectrum.method == "lanczos" else Evidence.COMPUTED
    put("sigma_F", problem.sigma_F, "σ_F, smallest non-zero singular value of A", found)
    put("norm_F", problem.norm_F, "‖A‖")
    put("rank", problem.rank, "r, the rank of A")
    put("range_distance", problem.distance_to_range(), "dist(y, Im A)")
    parts = problem.spectrum
    if parts.left is None:
        return
    weights = np.sqrt(network.omega / k) * network.activation.dphi(network.z)
    on_range = parts.left.T @ network.observe(problem)
    whitened = on_range / parts.values[:, None]
    rank = parts.values.size
    for letter, what, matrix in (("Q", "Q V", whitened), ("A", "A V", on_range)):
        largest = float(np.sqrt(np.square(matrix).sum(axis=0)).max())
        put(
            f"sigma_{letter}",
            smallest_singular_value((matrix * weights).T, rank, k),
            f"σ_{letter}, r-th singular value of {what} diag φ'(z)√(ω/k)",
        )
        put(
            f"Lambda_{letter}", b2 * largest * scale, f"Λ_{letter} = B2 ω max‖({what})_i‖/√k", bound
        )
        put(f"max_{letter}V", largest, f"max_i ‖({what})_i‖")


def _recovery_constants(put: Put, problem: Problem, network: TwoLayerNetwork, train: str) -> None:
    """Put μ and dist(x̄, Σ) where they are defined: Σ is the set of signals that g can give."""
    if problem.linear and network.n <= _MU_SIDE:
        basis = np.eye(network.n)
        if train == "hidden":
            left, values, _ = np.linalg.svd(network.V, full_matrices=False)
            basis = left[:, values > 1e-12 * max(float(values[0]), 1e-300)]
        singular = np.linalg.svd(problem.times(basis), compute_uv=False)
        narrow = singular.size == basis.shape[1] and singular.size > 0
        mu = float(singular[-1]) if narrow and singular[-1] > 1e-12 * singular[0] else 0.0
        put("mu", mu, "μ ≥ the smallest singular value of A on the span of Σ (A-7)")
    if problem.signal is None:
        return
    if train == "both":
        put("dist", 0.0, "dist(x̄, Σ): Σ is the whole space", Evidence.PROVED)
        return
    box = image(network.activation)
    if box is not None and network.n * network.k <= _BOX_ENTRIES:
        from scipy.optimize import lsq_linear

        fit = lsq_linear(network.V / np.sqrt(network.k), problem.signal, bounds=box, tol=1e-12)
        put("dist", np.sqrt(2.0 * fit.cost), "dist(x̄, Σ), by box least squares")
