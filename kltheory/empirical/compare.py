"""How far gradient descent is from the gradient flow: a certified bound, and the comparison.

The flow of the hidden layer is S' = f(S) := y(S) - y in m variables (see `mirror`); f contracts:
⟨S1 - S2, f(S1) - f(S2)⟩ ≤ -λ‖S1 - S2‖² with λ the smallest eigenvalue of H = -∂y/∂S in between.
Descent moves S̃_{j+1} = S̃_j + η r_j and has Z(z_j) = Z(z0) - ω Nᵀ S̃_j + E_j with an E_j that is
known.  So its interpolant solves the flow up to the defect r_j - f(S̃(t)), and
    e' ≤ -λ e + ‖defect‖,   e(t) = ‖S̃(t) - S(t)‖.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.dynamics import descend
from kltheory.empirical.flow import flow
from kltheory.empirical.mirror import MirrorForm
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.reduced import reduce
from kltheory.empirical.trajectory import Trajectory
from kltheory.errors import InputError
from kltheory.loss_functions import MSE
from kltheory.problem import Problem

__all__ = ["Comparison", "Distance", "certified_distance", "compare"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Distance:
    """A certified bound on the distance between descent and flow, at every step."""

    t: Array
    """t_j = jη."""
    distance: Array
    """Bound on ‖θ_j - θ(t_j)‖; infinite from where it is lost."""
    observation: Array
    """Bound on ‖y_j - y(t_j)‖."""
    run: Trajectory
    """The descent that it belongs to."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; an infinite bound is None."""
        return {
            "t": self.t.tolist(),
            "distance": [float(d) if np.isfinite(d) else None for d in self.distance],
            "observation": [float(d) if np.isfinite(d) else None for d in self.observation],
        }

    def __repr__(self) -> str:
        """Return the bound at the end."""
        return f"Distance(‖θ_j - θ(t_j)‖ <= {self.distance[-1]:.4g} at t = {self.t[-1]:.6g})"


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Descent and flow at the same times."""

    t: Array
    """Times."""
    descent: Trajectory
    """Gradient descent."""
    flow: Trajectory
    """The gradient flow, integrated."""
    loss_gap: Array
    """|L_descent - L_flow|."""
    certified: Distance | None
    """The certified distance, where there is one (hidden layer, F = A, square loss)."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "t": self.t.tolist(),
            "loss_gap": self.loss_gap.tolist(),
            "descent": self.descent.to_dict(),
            "flow": self.flow.to_dict(),
            "certified": None if self.certified is None else self.certified.to_dict(),
        }

    def __repr__(self) -> str:
        """Return the largest difference of the losses."""
        return f"Comparison(largest |L_descent - L_flow| = {self.loss_gap.max():.4g})"


def certified_distance(
    problem: Problem, network: TwoLayerNetwork, *, step: float, steps: int
) -> Distance:
    """Bound ‖θ_j - θ(jη)‖ between descent and flow: hidden layer trained, F = A, square loss.

    With N = A V/√k, ζ = Z(z), a = φ(Z⁻¹(ζ)): da/dζ = φ'², |d log φ'/dζ| = |φ''| ≤ B2, and so
      ∫‖defect‖ over a step ≤ η(‖r_j - f(S̃_j)‖ + ‖r_j - f(S̃_{j+1})‖)/2
                              + (η³/12) 2 B1² B2 ω² ‖N‖ ‖(Nᵀr_j)²‖   (chord, and its error),
      H(S) ≥ exp(-2 B2 ω max‖N_i‖ ‖S - S'‖) H(S') for the contraction λ between evaluations of
      λ_min(H), one every m steps, and the same for λ_max(H), which bounds ‖N diag φ'‖;
      ‖z_j - z(t)‖ ≤ ‖g E_j‖ + √ω ‖N diag g‖ e √ω, g the largest φ' in between.
    O(mk) a step.  Evaluated in floating point: rounding, some 1e-16 a step, is not included.
    Infinite from where a neuron leaves the branch of φ that it started on.

    >>> import numpy as np
    >>> net = TwoLayerNetwork.draw(n=2, k=50, d=4, seed=0)
    >>> bound = certified_distance(Problem(np.array([[0.6, 0.8]]), [0.3]), net, step=0.1, steps=100)
    >>> bool(0 < bound.distance[-1] < 0.02)
    True
    """
    if not (problem.linear and isinstance(problem.loss, MSE)):
        raise InputError("the certified distance needs a linear F and the square loss.")
    run = descend(problem, network, step=step, steps=steps, tol=0.0)
    return _certify(problem, network, run, step)


class _Reference:
    """Eigenvalues of H at one S, and their bounds around it."""

    def __init__(self, form: MirrorForm, state: Array) -> None:
        self.state = state
        self.rate = form.activation.B2 * form.network.omega * _widest(form.matrix)
        values = np.linalg.eigvalsh(form.hessian(state))
        self.smallest = max(float(values[0]) - 1e-14 * float(values[-1]), 0.0)
        self.largest = float(values[-1])

    def least(self, state: Array, radius: float) -> float:
        """Return a lower bound on λ_min(H) within a radius of a state."""
        far = float(np.linalg.norm(state - self.state)) + radius
        return self.smallest * float(np.exp(-2.0 * self.rate * far))

    def most(self, state: Array, radius: float, extra: float) -> float:
        """Return an upper bound on ω‖N diag φ'‖², where log φ' moves by at most `extra` more."""
        far = float(np.linalg.norm(state - self.state)) + radius
        exponent = 2.0 * (self.rate * far + extra)
        return self.largest * float(np.exp(exponent)) if exponent < 600.0 else float("inf")


def _widest(matrix: Array) -> float:
    return float(np.sqrt(np.square(matrix).sum(axis=0).max()))


def _certify(problem: Problem, network: TwoLayerNetwork, run: Trajectory, step: float) -> Distance:
    omega, b1, b2 = network.omega, network.activation.B1, network.activation.B2
    form = MirrorForm(reduce(problem, network, "hidden"))
    matrix, phi, dphi = form.matrix, form.activation.phi, form.activation.dphi
    norm, columns = float(np.linalg.norm(matrix, 2)), np.sqrt(np.square(matrix).sum(axis=0))
    bend = step**3 / 6.0 * b1**2 * b2 * omega**2 * norm
    low, high = form.interval
    z, state, e = network.z.copy(), form.start.copy(), 0.0
    r = matrix @ phi(z) - problem.observation
    here = r.copy()
    distance, seen = [0.0], [0.0]
    reference = _Reference(form, state)
    for j in range(run.steps):
        pull = r @ matrix
        z = z - step * omega * dphi(z) * pull
        if not ((z > low) & (z < high)).all():
            break
        ahead = state + step * r
        there = form.observe(ahead) - problem.observation
        chord = float(np.linalg.norm(r - here)) + float(np.linalg.norm(r - there))
        defect = 0.5 * step * chord + bend * float(np.linalg.norm(pull * pull))
        radius = e + defect + step * float(np.linalg.norm(r))
        e = float(np.exp(-step * reference.least(state, radius))) * e + defect
        state, here = ahead, there
        if j % problem.m == 0:
            reference = _Reference(form, state)
        E = form.branches.Z(z) - form.Z0 + omega * (state @ matrix)
        r = matrix @ phi(z) - problem.observation
        grown = dphi(z) * np.exp(np.minimum(b2 * (np.abs(E) + omega * columns * e), 600.0))
        spread = reference.most(state, e, b2 * float(np.abs(E).max()))
        moved = float(np.linalg.norm(grown * E)) + np.sqrt(omega * spread) * e
        distance.append(float(moved / np.sqrt(omega)))
        seen.append(float(np.linalg.norm(r - here)) + reference.most(state, e, 0.0) * e)
    rest = [float("inf")] * (run.steps + 1 - len(distance))
    return Distance(step * np.arange(run.steps + 1.0), np.array(distance + rest),
                    np.array(seen + rest), run)  # fmt: skip


def compare(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str = "hidden",
    *,
    step: float,
    steps: int,
    points: int = 101,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> Comparison:
    """Run gradient descent and the gradient flow to the same time, and compare their losses.

    The certified distance is added where it exists: hidden layer trained, F = A, square loss.
    """
    run = descend(problem, network, train, step=step, steps=steps, tol=0.0)
    marks = np.unique(np.linspace(0, steps, min(points, steps + 1)).astype(int))
    smooth = flow(problem, network, train, times=step * marks, rtol=rtol, atol=atol)
    certifiable = train == "hidden" and problem.linear and isinstance(problem.loss, MSE)
    return Comparison(
        t=smooth.t,
        descent=run,
        flow=smooth,
        loss_gap=np.abs(run.losses[marks[: smooth.t.size]] - smooth.loss),
        certified=_certify(problem, network, run, step) if certifiable else None,
    )
