"""How far gradient descent is from the gradient flow: a certified bound, and the comparison.

For F = A and radial losses the flow itself is known with a certified error (`certified`), so that

    ‖θ_j - θ(jη)‖ ≤ ‖θ_j - θ̂(jη)‖ + ‖θ̂(jη) - θ(jη)‖

is the distance itself, up to an error that is far below it.  For a nonlinear F descent is held
against its own defect (`defect`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.certified import distance, follow
from kltheory.empirical.defect import defect_bound, jacobian_lipschitz
from kltheory.empirical.dynamics import descend
from kltheory.empirical.enclosure import square_flow, why_not
from kltheory.empirical.flow import flow
from kltheory.empirical.forms import ObservationForm
from kltheory.empirical.network import TwoLayerNetwork, check_train
from kltheory.empirical.trajectory import LAYERS, Trajectory
from kltheory.errors import InputError
from kltheory.loss_functions import RadialLoss
from kltheory.problem import Problem
from kltheory.shown import Content, Facts, Shown, Table, figure, thinned

__all__ = ["Comparison", "Distance", "certified_distance", "compare"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Distance(Shown):
    """A certified bound on the distance between descent and flow, at every step."""

    t: Array
    """t_j = jη."""
    distance: Array
    """Bound on ‖θ_j - θ(t_j)‖; infinite from where it is lost."""
    observation: Array
    """Bound on ‖y_j - y(t_j)‖."""
    flow_error: Array
    """The part of `distance` that need not be there: the error of the flow, with rounding."""
    run: Trajectory
    """The descent that it belongs to."""
    method: str
    """"mirror" or "observation": the variables in which the flow is certified; "defect": the bound
    for a nonlinear F, where all of `distance` is a bound."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; an infinite bound is None."""

        def plain(values: Array) -> list[float | None]:
            return [float(v) if np.isfinite(v) else None for v in values]

        return {
            "t": self.t.tolist(),
            "distance": plain(self.distance),
            "observation": plain(self.observation),
            "flow_error": plain(self.flow_error),
            "method": self.method,
        }

    def content(self) -> Content:
        """Return what it says."""
        kind = "a bound by Grönwall" if self.method == "defect" else "the distance, to within"
        pairs = (
            ("step size", figure(self.run.step, 6)),
            ("steps", str(self.run.steps)),
            ("largest distance", f"<= {figure(float(self.distance.max()), side=1)}"),
            ("which is", f"{kind} {figure(float(self.flow_error.max()), side=1)}"),
        )
        columns = (self.t, self.distance, self.observation)
        rows = tuple(
            tuple(figure(float(c[i]), 6, side) for c, side in zip(columns, (0, 1, 1), strict=True))
            for i in thinned(self.t.size)
        )
        return Content(
            f"Gradient descent against the gradient flow, {LAYERS[self.run.train]}",
            (
                Facts("Certified distance", pairs),
                Table("Bounds", ("t = jη", "‖θ_j - θ(t)‖ <=", "‖y_j - y(t)‖ <="), rows),
            ),
        )

    def __repr__(self) -> str:
        """Return the bound at the end."""
        most = figure(float(self.distance[-1]), side=1)
        return f"Distance(‖θ_j - θ(t_j)‖ <= {most} at t = {self.t[-1]:.6g})"


@dataclass(frozen=True, slots=True, eq=False)
class Comparison(Shown):
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
    """The certified distance, where there is one."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "t": self.t.tolist(),
            "loss_gap": self.loss_gap.tolist(),
            "descent": self.descent.to_dict(),
            "flow": self.flow.to_dict(),
            "certified": None if self.certified is None else self.certified.to_dict(),
        }

    def content(self) -> Content:
        """Return what it says."""
        marks = np.searchsorted(self.descent.t, self.t * (1.0 - 1e-12))
        bound = None if self.certified is None else self.certified.distance
        rows = tuple(
            (
                figure(float(self.t[i]), 6),
                figure(float(self.descent.loss[marks[i]]), 6),
                figure(float(self.flow.loss[i]), 6),
                figure(float(self.loss_gap[i]), 3),
                "-" if bound is None else figure(float(bound[marks[i]]), 3, 1),
            )
            for i in thinned(self.t.size)
        )
        header = ("t", "L, descent", "L, flow", "difference", "‖θ_j - θ(t)‖ <=")
        pairs = (
            ("step size", figure(self.descent.step, 6)),
            ("steps", str(self.descent.steps)),
            ("largest difference of the losses", figure(float(self.loss_gap.max()))),
            (
                "certified distance",
                "none here" if bound is None else figure(float(bound.max()), side=1),
            ),
        )
        return Content(
            f"Gradient descent beside the gradient flow, {LAYERS[self.descent.train]}",
            (Facts("Both to the same time", pairs), Table("Losses", header, rows)),
        )

    def __repr__(self) -> str:
        """Return the largest difference of the losses."""
        return f"Comparison(largest |L_descent - L_flow| = {self.loss_gap.max():.4g})"


def certified_distance(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str = "hidden",
    *,
    step: float,
    steps: int,
    rtol: float = 1e-12,
    atol: float = 1e-14,
) -> Distance:
    """Bound ‖θ_j - θ(jη)‖ between descent and flow at every step, hidden layer or both.

    F = A, a radial loss and an activation by name: the distance to a flow that is certified; θ_j
    are the iterates of the plain step, as they come out in floating point, and rounding on the side
    of the flow is included (see `enclosure`).  A callable F whose `jacobian` has an attribute
    `lipschitz`, a Lipschitz constant of J_F, such as `phase_retrieval`: by Grönwall,
        e_{j+1} ≤ exp(μη)(e_j + η²β‖g_j‖/2),  g = ∇f,
    β and μ bounds on ∇²f and on -λ_min(∇²f) nearby (see `defect`); for any loss.  It includes no
    rounding, some 1e-16 a step, and says little once exp(Σμη) is large.  O(mk) a step for F = A.

    >>> import numpy as np
    >>> net = TwoLayerNetwork.draw(n=2, k=50, d=4, seed=0)
    >>> bound = certified_distance(Problem(np.array([[0.6, 0.8]]), [0.3]), net, step=0.1, steps=100)
    >>> bool(0 < bound.distance[-1] < 0.02)
    True
    """
    check_train(train)
    problem.require_size(network.n)
    curvature = jacobian_lipschitz(problem)
    reason = why_not(problem, network, train)
    if reason is not None and curvature is None:
        raise InputError(f"there is no certified distance here: {reason}.")
    run = descend(problem, network, train, step=step, steps=steps, tol=0.0)
    if curvature is None:
        return _certify(problem, network, run, step, rtol, atol)
    return _by_defect(problem, network, run, step, curvature)


def _by_defect(
    problem: Problem, network: TwoLayerNetwork, run: Trajectory, step: float, curvature: float
) -> Distance:
    far, seen = defect_bound(problem, network, run.train, step, run.steps, curvature)
    return Distance(step * np.arange(run.steps + 1.0), far, seen, far, run, "defect")


def _certify(
    problem: Problem,
    network: TwoLayerNetwork,
    run: Trajectory,
    step: float,
    rtol: float = 1e-12,
    atol: float = 1e-14,
) -> Distance:
    smooth, loss = square_flow(problem, network, run.train), problem.loss
    assert isinstance(loss, RadialLoss)
    form = ObservationForm(replace(smooth.reduced, problem=problem))
    t = step * np.arange(run.steps + 1.0)
    far, seen, own = (np.full(t.size, np.inf) for _ in range(3))
    state = form.start
    for j, place in enumerate(follow(smooth, loss, t, rtol, atol)):
        y = form.observe(state)
        there = smooth.parameters(place.state)
        here = smooth.parameters(state) if run.train == "both" else (state, there[1])
        gap = distance(network, here, there, run.train)
        rounded = 1e-15 * (form.drift(state) + float(np.linalg.norm(state)))
        own[j] = place.error + rounded
        far[j] = (gap + own[j]) * (1.0 + 1e-9)
        r = smooth.residual(place.state)
        seen[j] = float(np.linalg.norm(y - problem.observation - r)) + place.observation
        state = state - step * form.velocity(state, y)
    return Distance(t, far, seen, own, run, smooth.label)


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

    The certified distance is added where it exists, see `certified_distance`.
    """
    run = descend(problem, network, train, step=step, steps=steps, tol=0.0)
    marks = np.unique(np.linspace(0, steps, min(points, steps + 1)).astype(int))
    smooth = flow(problem, network, train, times=step * marks, rtol=rtol, atol=atol)
    certified, curvature = None, jacobian_lipschitz(problem)
    if curvature is not None:
        certified = _by_defect(problem, network, run, step, curvature)
    elif why_not(problem, network, train) is None:
        certified = _certify(problem, network, run, step)
    return Comparison(
        t=smooth.t,
        descent=run,
        flow=smooth,
        loss_gap=np.abs(run.losses[marks[: smooth.t.size]] - smooth.loss),
        certified=certified,
    )
