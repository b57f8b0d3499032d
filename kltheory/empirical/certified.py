"""The gradient flow at given times, with a certified error.

>>> import numpy as np
>>> net = TwoLayerNetwork.draw(n=2, k=50, d=4, seed=0)
>>> run = certified_flow(Problem(np.array([[0.6, 0.8]]), [0.3]), net, times=[0.0, 10.0, 20.0])
>>> bool(run.error.max() < 1e-7), bool((run.loss_low <= run.loss_high).all())
(True, True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.empirical.enclosure import Piece, SquareFlow, pieces, square_flow
from kltheory.empirical.interrupt import deferred_interrupt
from kltheory.empirical.network import TwoLayerNetwork, check_train
from kltheory.empirical.trajectory import LAYERS, increasing_times
from kltheory.loss_functions import RadialLoss
from kltheory.problem import Problem
from kltheory.shown import Content, Facts, Shown, Table, figure, thinned

__all__ = ["CertifiedFlow", "Place", "certified_flow", "errors_of", "follow"]

Array = NDArray[np.float64]

_U = float(np.finfo(np.float64).eps)
_BISECTIONS = 60


@dataclass(frozen=True, slots=True, eq=False)
class CertifiedFlow(Shown):
    """The gradient flow at some times, each with a bound on its error."""

    t: Array
    """The times."""
    loss: Array
    """L at the approximation."""
    loss_low: Array
    """A lower bound on L along the exact flow."""
    loss_high: Array
    """An upper bound on it."""
    drift: Array
    """‖θ̂(t) - θ(0)‖, at most `error` from the exact one."""
    error: Array
    """A bound on ‖θ̂(t) - θ(t)‖; infinite from where it is lost."""
    observation_error: Array
    """A bound on ‖ŷ(t) - y(t)‖."""
    network: TwoLayerNetwork
    """The network at the last time that was reached."""
    train: str
    """"hidden" or "both"."""
    form: str
    """"mirror" (the flow contracts there) or "observation"."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; an infinite bound is None."""

        def plain(values: Array) -> list[float | None]:
            return [float(v) if np.isfinite(v) else None for v in values]

        names = ("t", "loss", "loss_low", "loss_high", "drift", "error", "observation_error")
        arrays: dict[str, Any] = {name: plain(getattr(self, name)) for name in names}
        return {**arrays, "train": self.train, "form": self.form}

    def content(self) -> Content:
        """Return what it says."""
        variables = {
            "mirror": "m variables in which the flow contracts",
            "observation": "z, and Q V if V is trained",
        }
        pairs = (
            ("followed to", f"t = {figure(float(self.t[-1]), 6)}"),
            ("largest error ‖θ̂ - θ‖", f"<= {figure(float(self.error.max()), side=1)}"),
            ("variables", variables[self.form]),
            ("rounding", "included, elementary functions good to 8 units in the last place"),
        )
        columns = (self.t, self.loss, self.loss_low, self.loss_high, self.error)
        rows = tuple(
            tuple(
                figure(float(c[i]), digits, side)
                for c, digits, side in zip(columns, (8, 8, 8, 8, 3), (0, 0, -1, 1, 1), strict=True)
            )
            for i in thinned(self.t.size)
        )
        header = ("t", "loss", "at least", "at most", "‖θ̂ - θ‖ <=")
        return Content(
            f"Certified gradient flow, {LAYERS[self.train]}",
            (Facts("Accuracy", pairs), Table("At the times asked for", header, rows)),
        )

    def __repr__(self) -> str:
        """Return the bound at the end."""
        return (
            f"CertifiedFlow(train={self.train!r}, {self.form} form: loss {self.loss[0]:.3g} -> "
            f"{self.loss[-1]:.3g} at t = {self.t[-1]:.6g}, "
            f"‖θ̂ - θ‖ <= {figure(float(self.error[-1]), 3, 1)})"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where the flow is at one time."""

    t: float
    """The time."""
    state: Array
    """The approximation, in the variables of the flow."""
    error: float
    """A bound on ‖θ̂ - θ‖."""
    observation: float
    """A bound on ‖ŷ - y‖."""


def follow(
    flow: SquareFlow, loss: RadialLoss, times: Array, rtol: float, atol: float
) -> Iterator[Place]:
    """Yield the places of the flow of a loss at increasing times, as far as they are certified."""
    pending = list(times[::-1])
    while pending and pending[-1] == 0.0:
        off = flow.look(flow.start).rounding(0.0)[0]
        yield Place(float(pending.pop()), flow.start, 0.0, off)
    now, late = 0.0, 0.0
    for piece in pieces(flow, loss, rtol, atol):
        if not pending:
            return
        after = now + float(piece.times(np.array([1.0]))[0])
        late += piece.clock_error + _U * after  # the sum itself is rounded
        if not np.isfinite(piece.error + late):
            return
        inside = []
        while pending and pending[-1] <= after:
            inside.append(float(pending.pop()))
        if inside:
            yield from _places(flow, loss, piece, np.array(inside), now, late)
        now = after


def _places(
    flow: SquareFlow, loss: RadialLoss, piece: Piece, times: Array, now: float, late: float
) -> Iterator[Place]:
    """Yield the places at times that lie in one piece."""
    low, high = np.full(times.size, -1.0), np.ones(times.size)
    for _ in range(_BISECTIONS):
        x = 0.5 * (low + high)
        before = now + piece.times(x) < times
        low, high = np.where(before, x, low), np.where(before, high, x)
    for t, state in zip(times, piece.states(high), strict=True):
        move = _move(piece, loss, late + 64.0 * _U * t)
        rounded = 32.0 * _U * (flow.norm(state) + piece.travel)
        whole = (piece.error + move + rounded) * (1.0 + 1e-12)
        seen = piece.observation + piece.view.gain(piece.travel + whole) * (move + rounded)
        error = flow.parameter_error(whole) + flow.evaluation_error(state)
        yield Place(float(t), state, error, seen)


def _move(piece: Piece, loss: RadialLoss, late: float) -> float:
    """Return how far the flow goes while its clock may be off by `late`, in the norm of the state.

    From any point of the piece it stays within `room` of it as long as speed · time ≤ room.
    """
    view = piece.view
    room = piece.travel + piece.error
    for _ in range(3):
        radius = piece.travel + piece.error + room
        rho = view.residual + view.gain(radius) * radius
        move = late * loss.lipschitz(rho) * view.speed(radius)
        if not move <= room:
            room = 4.0 * move
            continue
        room = 2.0 * move
    return move if move <= room else float("inf")


def certified_flow(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str = "hidden",
    *,
    times: ArrayLike,
    rtol: float = 1e-12,
    atol: float = 1e-14,
) -> CertifiedFlow:
    """Follow the gradient flow and bound the distance from the exact one at every time.

    For F = A, a radial loss by name and an activation by name, hidden layer or both; see
    `enclosure` for the method.  The bound is a proof up to the accuracy of the elementary functions
    (8 units in the last place); rounding is part of it.  What is followed is the reduced system
    with the floats N = A V/√k, z(0) and y.  O(mk) for each evaluation.  From where the bound is
    lost - the curvature of the network may let errors grow, and where the loss is at rounding the
    clock of a loss other than the square has no meaning - the times are left out.

    Raises InputError where there is no certified flow, with the reason.
    """
    check_train(train)
    grid = increasing_times(times)
    flow = square_flow(problem, network, train)
    loss = problem.loss
    assert isinstance(loss, RadialLoss)
    found = []
    with deferred_interrupt() as interrupted:
        for place in follow(flow, loss, grid, rtol, atol):
            found.append(place)
            if interrupted():
                break
    if not found:
        found = [Place(0.0, flow.start, 0.0, 0.0)]
    rho = np.array([np.linalg.norm(flow.residual(place.state)) for place in found])
    seen = np.array([place.observation for place in found])
    z0 = flow.parameters(flow.start)
    drift = [distance(network, flow.parameters(p.state), z0, train) for p in found]
    return CertifiedFlow(
        t=np.array([place.t for place in found]),
        loss=loss.profile(rho),
        loss_low=loss.profile(np.maximum(rho - seen, 0.0)) * (1.0 - 1e-12),
        loss_high=loss.profile(rho + seen) * (1.0 + 1e-12),
        drift=np.array(drift),
        error=np.array([place.error for place in found]),
        observation_error=seen,
        network=flow.network_at(found[-1].state),
        train=train,
        form=flow.label,
    )


def errors_of(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str,
    times: Array,
    parameters: Sequence[tuple[Array, Array]],
    observations: Sequence[Array],
    interrupted: Callable[[], bool],
    rtol: float = 1e-12,
    atol: float = 1e-14,
) -> tuple[Array, Array]:
    """Return bounds on the errors of θ, as (z, N) or (z, P), and of y, as they were computed.

    At every time it is the distance to the certified flow, plus the bound of that.
    """
    smooth, loss = square_flow(problem, network, train), problem.loss
    assert isinstance(loss, RadialLoss)
    error, seen = np.full(times.size, np.inf), np.full(times.size, np.inf)
    for j, place in enumerate(follow(smooth, loss, times, rtol, atol)):
        there, r = smooth.parameters(place.state), smooth.residual(place.state)
        gap = distance(network, parameters[j], there, train)
        size = distance(network, parameters[j], (0.0 * there[0], 0.0 * there[1]), train)
        error[j] = (gap + place.error + 1e-15 * size) * (1.0 + 1e-9)
        off = float(np.linalg.norm(observations[j] - problem.observation - r))
        seen[j] = (off + place.observation) * (1.0 + 1e-9)
        if interrupted():
            break
    return error, seen


def distance(
    network: TwoLayerNetwork,
    one: tuple[Array, Array],
    other: tuple[Array, Array],
    train: str,
) -> float:
    """Return ‖θ - θ'‖ from (z, P) and (z', P')."""
    hidden = float(np.linalg.norm(one[0] - other[0])) / float(np.sqrt(network.omega))
    if train == "hidden":
        return hidden
    output = float(np.linalg.norm(one[1] - other[1])) * float(np.sqrt(network.k))
    return float(np.hypot(hidden, output))
