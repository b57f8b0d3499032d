"""Descent against the flow for a nonlinear F, by the defect of descent itself.

Between two steps descent is at θ_j - s g_j, g = ∇f, where the flow has the velocity -∇f; the
difference is at most s β‖g_j‖.  With e = ‖θ̃ - θ‖ and μ ≥ -λ_min(∇²f) between the two,

    e_{j+1} ≤ exp(μη) (e_j + η² β ‖g_j‖/2).

∇²f = J_gᵀ(J_FᵀL''J_F + Σ_l (∇L)_l ∇²F_l) J_g + ⟨q, ∇²g⟩ with q = J_Fᵀ∇L: on a ball around θ_j
‖J_g‖ ≤ κ from ‖V‖, B1 and ‖φ‖, ‖J_F‖ ≤ ‖J_F(x_j)‖ + L_J κ ϱ, and ⟨q, ∇²g⟩ falls apart into 2 × 2
blocks, one for each neuron.  L_J is a Lipschitz constant of J_F, which the user vouches for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.forms import SignalForm
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.loss_functions import ObservedLoss
from kltheory.problem import Problem

__all__ = ["defect_bound", "jacobian_lipschitz"]

Array = NDArray[np.float64]


def jacobian_lipschitz(problem: Problem) -> float | None:
    """Return the attribute `lipschitz` of the Jacobian of a callable F, if it has one.

    None for a loss that is not one of v - y: ‖∇L‖ is not bounded by ‖r‖ then.
    """
    if problem.linear or isinstance(problem.loss, ObservedLoss):
        return None
    value = getattr(problem.jacobian, "lipschitz", None)
    return None if value is None else float(value)


class _Ball:
    """Bounds on a ball around one iterate."""

    def __init__(
        self, problem: Problem, network: TwoLayerNetwork, both: bool, curvature: float
    ) -> None:
        self.problem, self.network, self.both, self.curvature = problem, network, both, curvature
        self.b1, self.b2 = network.activation.B1, network.activation.B2
        self.spectral = float(np.linalg.norm(network.V, 2))
        self.widest = float(network.columns.norms().max())

    def move(self, residual: float, slope: float, features: float, drift: float) -> None:
        """Go to an iterate with ‖r‖, ‖J_F‖, ‖φ‖ and ‖θ - θ0‖."""
        self.residual, self.slope, self.features, self.drift = residual, slope, features, drift

    def bounds(self, radius: float) -> tuple[float, float, float]:
        """Return μ, β and a Lipschitz constant of y on the ball."""
        k, omega, loss = self.network.k, self.network.omega, self.problem.loss
        root = float(np.sqrt(omega))
        moved = self.drift + radius if self.both else 0.0
        features = self.features + self.b1 * root * radius if self.both else 0.0
        kappa = float(np.hypot(root * self.b1 * (self.spectral + moved), features) / np.sqrt(k))
        slope = self.slope + self.curvature * kappa * radius
        most = self.residual + slope * kappa * radius
        stiff = loss.lipschitz(most)
        force = stiff * most
        a = omega * self.b2 * (self.widest + moved) * slope * force / np.sqrt(k)
        b = root * self.b1 * slope * force / np.sqrt(k) if self.both else 0.0
        bend = 0.5 * (a + float(np.hypot(a, 2.0 * b))) + kappa**2 * self.curvature * force
        gain = slope * kappa
        return bend + (0.0 if loss.convex else stiff * gain**2), bend + stiff * gain**2, gain


def defect_bound(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str,
    step: float,
    steps: int,
    curvature: float,
) -> tuple[Array, Array]:
    """Return bounds on ‖θ_j - θ(jη)‖ and on ‖y_j - y(jη)‖, j = 0 to steps; inf once lost."""
    form, both = SignalForm(problem, network, train), train == "both"
    ball = _Ball(problem, network, both, curvature)
    far, seen = np.full(steps + 1, np.inf), np.full(steps + 1, np.inf)
    state, e = form.start, 0.0
    with np.errstate(all="ignore"):
        for j in range(steps + 1):
            y, net = form.observe(state), form.network_at(state)
            g = form.velocity(state, y)
            ball.move(
                float(np.linalg.norm(y - problem.observation)),
                problem.norm_at(net.forward()),
                float(np.linalg.norm(network.activation.phi(net.z))),
                form.drift(state),
            )
            far[j], seen[j] = e, ball.bounds(e)[2] * e
            size = form.drift(form.start + g)
            # Continuation: as long as e ≤ room, μ and β hold; then e ≤ grown < room in the step.
            room = 2.0 * e + step * size
            mu, beta, _ = ball.bounds(step * size + room)
            grown = float(np.exp(mu * step)) * (e + 0.5 * step**2 * beta * size)
            if not (grown < room or grown == room == 0.0):
                break
            state, e = state - step * g, grown
    return far, seen
