"""The flow of the hidden layer as a convex flow in as many variables as observations.

V fixed, F = A, N = A V/√k and Z' = 1/φ': along θ' = -∇L the quantity Z(z) moves within Im Nᵀ,

    Z(z(t)) = Z(z0) - ω Nᵀ S(t),   S' = ∇L(y(S)),   y(S) = N φ(Z⁻¹(Z(z0) - ω Nᵀ S)),

and ∂y/∂S = -ω N diag(φ'²) Nᵀ =: -H(S).  For the square loss S' = -∇Φ(S) with Φ convex, Hessian H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.image import support_gap, unreachable_distance
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.reduced import Reduced, reduce
from kltheory.errors import InputError
from kltheory.loss_functions import RadialLoss
from kltheory.problem import Problem
from kltheory.shown import Content, Facts, Shown, figure

__all__ = ["Limit", "MirrorForm", "newton_limit"]

Array = NDArray[np.float64]


_NEWTON_STEPS = 8


class MirrorForm:
    """The flow in the m variables S."""

    label = "mirror"

    def __init__(self, reduced: Reduced) -> None:
        """Evaluate Z at the start."""
        self.reduced, self.problem, self.network = reduced, reduced.problem, reduced.network
        outer = reduced.outer
        self.matrix = reduced.inner if outer is None else outer @ reduced.inner
        self.activation = self.network.activation
        self.moving = self.activation.dphi(reduced.z0) != 0.0
        if not self.moving.all():
            raise InputError("φ' vanishes at a neuron: it never moves; use form='observation'.")
        self.branches = self.activation.branches
        self.interval = self.branches.interval(reduced.z0)
        self.Z0 = self.branches.Z(reduced.z0)
        self.start = np.zeros(self.problem.m)
        self._state, self._z = self.start, reduced.z0

    def z(self, state: Array) -> Array:
        """Return z at S: Newton's iteration from the z before, or the safe inverse of Z."""
        if np.array_equal(state, self._state):
            return self._z
        zeta = self.Z0 - self.network.omega * (state @ self.matrix)
        z, found = self._z, False
        with np.errstate(all="ignore"):
            for _ in range(_NEWTON_STEPS):
                step = self.activation.dphi(z) * (zeta - self.branches.Z(z))
                z = z + step
                found = bool((np.abs(step) <= 1e-9 * (1.0 + np.abs(z))).all())
                if found:  # one step more is exact to rounding
                    z = z + self.activation.dphi(z) * (zeta - self.branches.Z(z))
                    break
        low, high = self.interval
        if not (found and ((z > low) & (z < high)).all()):
            z = np.asarray(self.branches.Z_inverse(zeta, self.reduced.z0))
        self._state, self._z = np.array(state), z
        return z

    def observe(self, state: Array) -> Array:
        """Return y(S)."""
        return np.asarray(self.matrix @ self.activation.phi(self.z(state)))

    def velocity(self, state: Array, y: Array) -> Array:
        """Return -∇L(y)."""
        return -self.problem.loss_gradient(y)

    def hessian(self, state: Array) -> Array:
        """Return H(S) = ω N diag(φ'²) Nᵀ = -∂y/∂S, positive semidefinite."""
        slope = self.activation.dphi(self.z(state))
        half = self.matrix * slope
        return np.asarray(self.network.omega * (half @ half.T))

    def drift(self, state: Array) -> float:
        """Return ‖θ - θ0‖."""
        return float(np.linalg.norm(self.z(state) - self.reduced.z0) / np.sqrt(self.network.omega))

    def network_at(self, state: Array) -> TwoLayerNetwork:
        """Return the full network at S."""
        return self.reduced.trained(self.z(state))


@dataclass(frozen=True, slots=True, eq=False)
class Limit(Shown):
    """Where the flow of the hidden layer goes as t → ∞."""

    reachable: bool | None
    """Whether the loss goes to 0; None if rounding does not tell."""
    loss: float
    """With reachable=True, the loss that Newton's method came down to; otherwise a lower bound on
    the loss at all times (0 if undecided)."""
    drift: float
    """‖θ(∞) - θ(0)‖; infinite where it is not reachable."""
    state: Array
    """S at the end of the iteration."""
    network: TwoLayerNetwork | None
    """The network in the limit, where there is one."""
    iterations: int
    """Newton steps taken."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; a number that is not finite is None."""
        return {
            "reachable": self.reachable,
            "loss": self.loss,
            "drift": self.drift if np.isfinite(self.drift) else None,
            "iterations": self.iterations,
        }

    def content(self) -> Content:
        """Return what it says."""
        if self.reachable is None:
            verdict, bound = "undecided: the observation is at the border to rounding", "-"
        elif self.reachable:
            verdict, bound = "the loss tends to 0", figure(self.loss)
        else:
            verdict, bound = (
                "the loss does not tend to 0: widen the network",
                figure(self.loss, side=-1),
            )
        label = "loss reached" if self.reachable else "the loss stays above"
        pairs = (
            ("verdict", verdict),
            (label, bound),
            ("drift ‖θ(∞) - θ(0)‖", figure(self.drift)),
            ("Newton steps", str(self.iterations)),
        )
        return Content(
            "Limit of the gradient flow, hidden layer trained", (Facts("As t -> ∞", pairs),)
        )

    def __repr__(self) -> str:
        """Return the verdict in one line."""
        if self.reachable is None:
            return f"Limit(undecided after {self.iterations} Newton steps)"
        if self.reachable:
            return f"Limit(loss -> 0, drift {self.drift:.4g})"
        return f"Limit(the loss stays above {figure(self.loss, side=-1)})"


def newton_limit(
    problem: Problem, network: TwoLayerNetwork, *, tol: float = 1e-24, steps: int = 200
) -> Limit:
    """Return the limit t → ∞ of the flow of the hidden layer, F = A, without following it.

    The limit does not depend on the loss among radial ones; it minimises the convex Φ with
    ∇Φ(S) = y - N φ(Z⁻¹(Z(z0) - ω Nᵀ S)), found by damped Newton steps in m variables.  Φ has a
    minimum exactly if y = N a for some a in the open box of the images φ(branch of z_i(0)).  If it
    has none, a certificate v with ⟨v, y⟩ > sup ⟨v, N a⟩ turns up along the way and proves it.

    >>> import numpy as np
    >>> net = TwoLayerNetwork.draw(n=2, k=50, d=4, seed=0)
    >>> newton_limit(Problem(np.array([[0.6, 0.8]]), [0.3]), net).reachable
    True
    >>> newton_limit(Problem(np.array([[0.6, 0.8]]), [50.0]), net).reachable
    False
    """
    radial = problem.loss
    if not isinstance(radial, RadialLoss):
        raise InputError(f"the Newton limit needs a radial loss; got {radial!r}.")
    reduced = reduce(problem, network, "hidden")
    form = MirrorForm(reduced)
    low, high = network.activation.branches.image(reduced.z0)
    y_given, matrix = problem.observation, form.matrix
    state, y = form.start.copy(), form.observe(form.start)
    left, tries = problem.spectrum.left, 0
    if not np.isfinite(high - low).all():
        gap = unreachable_distance(matrix, y_given, low, high, left)
        if gap > 0.0:
            return Limit(False, _loss(radial, gap), float("inf"), state, None, 0)
    loss = 0.5 * float(np.sum((y - y_given) ** 2))
    with np.errstate(all="ignore"):
        for j in range(steps):
            r = y - y_given
            gap = max(support_gap(matrix, y_given, -v, low, high) for v in (r, state))
            if gap > 0.0:
                return Limit(False, _loss(radial, gap), float("inf"), state, None, j)
            if loss <= tol:
                break
            H = form.hessian(state)
            damping = 1e-14 * float(np.trace(H))
            direction = np.asarray(np.linalg.lstsq(H + damping * np.eye(r.size), r)[0], dtype=float)
            size = 1.0
            while size > 1e-10 and tries < 2 * steps:
                tries += 1
                ahead = state + size * direction
                y_ahead = form.observe(ahead)
                loss_ahead = 0.5 * float(np.sum((y_ahead - y_given) ** 2))
                if loss_ahead <= (1.0 - 0.5 * size) * loss:
                    break
                size *= 0.5
            if tries == 2 * steps or not loss_ahead < loss:
                break
            state, y, loss = ahead, y_ahead, loss_ahead
        else:
            j = steps
    scale = float(np.sum(y_given**2)) + 1.0
    if loss <= max(tol, 1e-20 * scale):
        final = float(radial.profile(np.sqrt(2.0 * loss)))
        return Limit(True, final, form.drift(state), state, form.network_at(state), j)
    gap = unreachable_distance(matrix, y_given, low, high, left)
    if gap > 0.0:
        return Limit(False, _loss(radial, gap), float("inf"), state, None, j)
    return Limit(None, 0.0, float("nan"), state, None, j)


def _loss(radial: RadialLoss, gap: float) -> float:
    """Return ℓ(gap), rounded down."""
    return float(radial.profile(np.array(gap))) * (1.0 - 1e-14)
