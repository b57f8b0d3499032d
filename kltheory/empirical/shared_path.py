"""All radial losses from one integration: they share one path, and only the clock differs.

For L = ℓ(‖v - y‖) the gradient is w(ρ) r with w = ℓ'(ρ)/ρ, ρ = ‖r‖.  So the flow of any radial loss
runs along that of the square loss, and its time t is related to that of the square loss τ by
dτ = w(ρ(τ)) dt, that is t(τ) = ∫ dτ/w(ρ(τ)).  For any network and any F.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.empirical.flow import Integration, flow_form, increasing_times
from kltheory.empirical.interrupt import deferred_interrupt
from kltheory.empirical.network import TwoLayerNetwork, check_train
from kltheory.empirical.trajectory import Trajectory
from kltheory.errors import InputError, LimitReached
from kltheory.loss_functions import MSE, LossFunction, RadialLoss
from kltheory.loss_functions import get as get_loss
from kltheory.problem import Problem

__all__ = ["shared_path"]

Array = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_BISECTIONS = 60
_HALVINGS = 12


def shared_path(
    problem: Problem,
    network: TwoLayerNetwork,
    losses: Sequence[str | LossFunction],
    train: str = "hidden",
    *,
    times: ArrayLike,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    form: str = "auto",
    max_evaluations: int = 1_000_000,
) -> list[Trajectory]:
    """Return the gradient flow under each radial loss at the given times, from one integration.

    The flow of the square loss is followed until every clock has passed the last time; a clock is a
    Gauss quadrature over each step of the integrator.

    >>> import numpy as np
    >>> from kltheory.loss_functions import Power
    >>> net = TwoLayerNetwork.draw(n=2, k=50, d=4, seed=0)
    >>> problem = Problem(np.array([[0.6, 0.8]]), [0.3])
    >>> runs = shared_path(problem, net, [Power(0.0), Power(0.5)], times=[0.0, 10.0])
    >>> bool(runs[0].residual[-1] < runs[1].residual[-1] < runs[1].residual[0])
    True
    """
    check_train(train)
    problem.require_size(network.n)
    grid = increasing_times(times)
    radial = [get_loss(loss) for loss in losses]
    for loss in radial:
        if not isinstance(loss, RadialLoss):
            raise InputError(f"losses: {loss!r} is not radial; only radial losses share a path.")
    square = flow_form(form, replace(problem, loss=MSE()), network, train)
    path = Integration(square, train, rtol, atol, 0.0)
    clocks = [_Clock(loss, grid) for loss in radial if isinstance(loss, RadialLoss)]
    y = square.problem.observation
    if grid[-1] > 0.0:
        solver = path.solver(np.inf)
        with deferred_interrupt() as interrupted:
            while any(clock.pending for clock in clocks) and not interrupted():
                solver.step()
                if solver.status != "running" or not np.isfinite(solver.y).all():
                    raise LimitReached("the integrator failed on the path of the square loss.")
                if path.evaluations > max_evaluations:
                    raise LimitReached(
                        f"the clocks did not pass t = {grid[-1]:g} within {max_evaluations} "
                        "evaluations; raise max_evaluations, or ask for earlier times."
                    )
                step = _Step(square, solver, y)
                for clock in clocks:
                    clock.pass_step(step)
    runs = []
    for clock in clocks:
        own = Integration(
            flow_form(square.label, replace(problem, loss=clock.loss), network, train),
            train,
            rtol,
            atol,
            0.0,
        )
        own.method = f"{path.method}, shared path"
        own.evaluations = path.evaluations
        if grid[0] == 0.0:
            own.keep(0.0, square.start)
        for t, state in clock.found:
            own.keep(t, state)
        if clock.pending:
            own.status = "interrupted"
            if not own.times:
                own.keep(0.0, square.start)
        runs.append(own.trajectory(sigma_min=False))
    return runs


class _Step:
    """One step of the integrator of the square loss, with its interpolant."""

    def __init__(self, form: Any, solver: Any, y: Array) -> None:
        self.start, self.end = float(solver.t_old), float(solver.t)
        self.at = solver.dense_output()
        self._form, self._y = form, y
        self._parts: dict[tuple[float, float], Array] = {}

    def _residuals(self, low: float, high: float) -> Array:
        """Return ρ at the Gauss points of [low, high]; kept, as all clocks ask for them."""
        if (low, high) not in self._parts:
            states = [self.at(tau) for tau in low + 0.5 * (high - low) * (1.0 + _NODES)]
            rho = [np.linalg.norm(self._form.observe(s) - self._y) for s in states]
            self._parts[low, high] = np.array(rho, dtype=np.float64)
        return self._parts[low, high]

    def _gauss(self, loss: RadialLoss, low: float, high: float) -> float:
        with np.errstate(divide="ignore"):
            slowness = 1.0 / loss.weight(self._residuals(low, high))
        return 0.5 * (high - low) * float(_WEIGHTS @ slowness)

    def duration(self, loss: RadialLoss, low: float, high: float, depth: int = 0) -> float:
        """Return ∫ dτ/w(ρ) from low to high, halved until it settles (w may have a kink)."""
        middle = 0.5 * (low + high)
        whole = self._gauss(loss, low, high)
        halves = self._gauss(loss, low, middle) + self._gauss(loss, middle, high)
        if not np.isfinite(halves) or abs(halves - whole) <= 1e-12 * halves or depth == _HALVINGS:
            return halves
        return self.duration(loss, low, middle, depth + 1) + self.duration(
            loss, middle, high, depth + 1
        )


class _Clock:
    """The time of one loss along the path, and the states at the times that were asked for."""

    def __init__(self, loss: RadialLoss, grid: Array) -> None:
        self.loss, self.now = loss, 0.0
        self.pending = [float(t) for t in grid[::-1] if t > 0.0]
        self.found: list[tuple[float, Array]] = []

    def pass_step(self, step: _Step) -> None:
        """Advance over a step of the path and note the states at the times within it."""
        if not self.pending:
            return
        after = self.now + step.duration(self.loss, step.start, step.end)
        while self.pending and self.pending[-1] <= after:
            t = self.pending.pop()
            low, high, passed = step.start, step.end, self.now
            for _ in range(_BISECTIONS):
                middle = 0.5 * (low + high)
                if not low < middle < high or high - low < 1e-13 * high:
                    break
                part = passed + step.duration(self.loss, low, middle)
                if part < t:
                    low, passed = middle, part
                else:
                    high = middle
            self.found.append((t, step.at(high)))
        self.now = after
