"""Step sizes of gradient descent: which are safe, which are unstable, which reach a tolerance.

What is called unstable, and what is said to reach a tolerance, is so for the dynamics linearised at
θ(0), r⁺ = (I - η w K) r with the kernel K of the initialisation.  The kernel moves during training:
a step that is refused may settle further on, and one that is allowed may become unstable.  Neither
is a theorem about the run; `safe_step` is one where its evidence says "proved", and
`descend(verified=True)` checks every step as it is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.constants import Evidence
from kltheory.empirical.network import TwoLayerNetwork, check_train
from kltheory.empirical.reduced import Reduced, has_reduction, reduce
from kltheory.errors import InputError
from kltheory.loss_functions import (
    ObservedLoss,
    Radial,
    RadialLoss,
    SeparableLoss,
    require_residual_loss,
)
from kltheory.problem import Problem
from kltheory.shown import Content, Facts, Shown, figure

__all__ = ["StepSize", "initial_kernel", "required_step", "safe_step", "unstable_from"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepSize(Shown):
    """A step size with what is known about it."""

    value: float
    """η."""
    evidence: Evidence
    """"proved": the loss decreases at every step, by η‖∇f‖²/2 at least; "computed": the linearised
    dynamics at the initialisation."""
    meaning: str
    """What it guarantees, in a sentence."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "step": self.value if np.isfinite(self.value) else "inf",
            "evidence": str(self.evidence),
            "meaning": self.meaning,
        }

    def content(self) -> Content:
        """Return what it says."""
        pairs = (
            ("η", figure(self.value, 6)),
            ("rests on", str(self.evidence)),
            ("meaning", self.meaning),
        )
        return Content("Step size", (Facts("For gradient descent", pairs),))

    def __float__(self) -> float:
        """Return η."""
        return self.value


def initial_kernel(
    problem: Problem, network: TwoLayerNetwork, train: str, reduced: Reduced | None = None
) -> Array:
    """Return (J_F J_g)(J_F J_g)ᵀ (m, m) at the initialisation."""
    if reduced is None:
        return network.kernel(train, problem)
    weights = network.omega * np.square(network.activation.dphi(network.z))
    kernel = (reduced.inner * weights) @ reduced.inner.T
    if train == "both":
        kernel[np.diag_indices_from(kernel)] += network.feature_norm() ** 2
    if reduced.outer is not None:
        kernel = reduced.outer @ kernel @ reduced.outer.T
    return np.asarray((kernel + kernel.T) / 2)


def _observed(problem: Problem, network: TwoLayerNetwork, reduced: Reduced | None) -> Array:
    """Return y(0); from the reduced system if there is one, so that V is not drawn again."""
    if reduced is None:
        return problem.forward(network.forward())
    x = reduced.inner @ network.activation.phi(network.z)
    return np.asarray(x if reduced.outer is None else reduced.outer @ x)


def _weight(problem: Problem, y0: Array) -> float:
    """Return the size of ∇L relative to r at the start: the stiffness of the loss there.

    For a loss that is not one of v - y, of its Hessian (1 outside the domain).
    """
    loss = problem.loss
    r = y0 - problem.observation
    if isinstance(loss, RadialLoss):
        rho = float(np.linalg.norm(r))
        return float(loss.weight(np.array(rho))) if rho > 0 else loss.lipschitz(0.0)
    if isinstance(loss, ObservedLoss):
        return loss.curvature(y0, problem.observation) if loss.inside(y0) else 1.0
    assert isinstance(loss, SeparableLoss)
    moving = r != 0.0
    if not moving.any():
        return loss.lipschitz(0.0)
    return float((loss.term_slope(r)[moving] / r[moving]).min())


def unstable_from(
    problem: Problem, network: TwoLayerNetwork, train: str, reduced: Reduced | None = None
) -> float:
    """Return 2/(w λ_max(K)): beyond it the first steps amplify the residual.

    Near the initialisation r⁺ ≈ (I - η w K) r, K = (J_F J_g)(J_F J_g)ᵀ, ∇L = w r, w that of the
    start.  Linearised at θ(0), and no more: larger steps may still converge, to flatter places,
    since K moves and w changes with ‖r‖; smaller ones may diverge later.  `descend` refuses from
    here on unless `allow_unstable`.
    """
    weight = _weight(problem, _observed(problem, network, reduced))
    largest = float(np.linalg.eigvalsh(initial_kernel(problem, network, train, reduced))[-1])
    stiffness = weight * largest
    return 2.0 / stiffness if stiffness > 0 else float("inf")


def safe_step(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str = "hidden",
    reduced: Reduced | None = None,
) -> StepSize:
    """Return a step size under which descent is safe.

    Output layer fixed, F = A and a loss of v - y: proved for all steps.  The gradient of the loss
    in θ is β-Lipschitz along every step with
        β = ω [L B1² ‖N‖² + B2 max‖N_i‖ G0],  N = A V/√k,
    L the Lipschitz constant of ∇L on the ball of radius 2‖y(0) - y‖, G0 = sup‖∇L‖ on [L ≤ L0];
    then η = 1/β gives f(θ⁺) ≤ f(θ) - η‖∇f‖²/2.  Otherwise η = 1/(L λ_max(K)) of the kernel at the
    initialisation, which is stable there and proves nothing further on.  A reduced system that is
    at hand already may be given.
    """
    check_train(train)
    problem.require_size(network.n)
    if reduced is None and has_reduction(problem, train):
        reduced = reduce(problem, network, train)
    observed = isinstance(problem.loss, ObservedLoss)
    if train == "hidden" and reduced is not None and not observed:
        return _proved_step(problem, network, reduced)
    y0 = _observed(problem, network, reduced)
    rho = float(np.linalg.norm(y0 - problem.observation))
    largest = float(np.linalg.eigvalsh(initial_kernel(problem, network, train, reduced))[-1])
    stiffness = (_weight(problem, y0) if observed else problem.loss.lipschitz(rho)) * largest
    value = 1.0 / stiffness if stiffness > 0 else float("inf")
    return StepSize(value, Evidence.COMPUTED, "half the largest stable step at the initialisation")


def _proved_step(problem: Problem, network: TwoLayerNetwork, observed: Reduced) -> StepSize:
    b1, b2 = network.activation.B1, network.activation.B2
    matrix = observed.inner if observed.outer is None else observed.outer @ observed.inner
    y0 = _observed(problem, network, observed)
    rho = float(np.linalg.norm(y0 - problem.observation))
    lipschitz = problem.loss.lipschitz(2.0 * rho)
    if isinstance(problem.loss, RadialLoss) and problem.loss.convex:
        slope = float(problem.loss.slope(np.array(rho)))
    else:
        slope = lipschitz * rho
    columns = float(np.sqrt(np.square(matrix).sum(axis=0).max()))
    norm = float(np.sqrt(np.linalg.eigvalsh(matrix @ matrix.T)[-1]))
    beta = network.omega * (lipschitz * (b1 * norm) ** 2 + b2 * columns * slope)
    value = (1.0 - 1e-12) / beta if beta > 0 else float("inf")
    evidence = Evidence.PROVED
    if not network.activation.built_in or isinstance(problem.loss, Radial):
        evidence = Evidence.ASSUMED  # as good as the bounds that the user gave
    return StepSize(value, evidence, "1/β: the loss decreases at every step, for ever")


def required_step(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str = "hidden",
    *,
    tol: float,
    steps: int,
) -> StepSize:
    """Return the smallest step that brings the loss below tol within a number of steps.

    In the linearised dynamics of the square loss, r_j = (I - ηK)^j r_0 in the eigenbasis of
    K = (J_F J_g)(J_F J_g)ᵀ at θ(0).  Refused, with the number of steps that would do, if no stable
    step is large enough.  Kernel and weight are kept as they are at the start: an estimate, good
    where the network hardly moves, and not a guarantee.
    """
    check_train(train)
    problem.require_size(network.n)
    if not (tol > 0 and steps >= 1):
        raise InputError(f"tol = {tol}, steps = {steps}: both must be positive.")
    require_residual_loss(problem.loss, "the step for a tolerance is known")
    reduced = reduce(problem, network, train) if has_reduction(problem, train) else None
    values, vectors = np.linalg.eigh(initial_kernel(problem, network, train, reduced))
    values = np.maximum(values, 0.0)
    r0 = _observed(problem, network, reduced) - problem.observation
    parts = np.square(vectors.T @ r0)
    weight = _weight(problem, r0 + problem.observation)

    def loss(eta: float, count: float) -> float:
        shrink = np.abs(1.0 - eta * weight * values)
        return 0.5 * float((parts * shrink ** (2.0 * count)).sum())

    if 0.5 * float(parts.sum()) < tol:
        return StepSize(0.0, Evidence.COMPUTED, "the loss is below the tolerance already")
    best = 1.0 / (weight * float(values[-1]))
    if not loss(best, steps) < tol:
        needed = float(steps)
        while needed < 1e15 and not loss(best, needed) < tol:
            needed *= 1.25
        count = f"about {needed:.2g} steps" if needed < 1e15 else "no number of steps"
        raise InputError(
            f"no stable step reaches {tol:g} in {steps} steps at this initialisation: with the "
            f"step {best:.3g} it takes {count}."
        )
    low, high = 0.0, best
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if loss(middle, steps) < tol else (middle, high)
    return StepSize(high, Evidence.COMPUTED, f"reaches {tol:g} in {steps} steps, linearised")
