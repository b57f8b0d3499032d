"""Gradient descent on one run, in any form, with a fixed step or with verified descent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.forms import Form
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.trajectory import not_finite

__all__ = ["SingleRun", "run_single"]

Array = NDArray[np.float64]

ROUNDING = 4.0 * float(np.finfo(np.float64).eps)


class SingleRun:
    """What `run_single` gives."""

    __slots__ = (
        "drift",
        "losses",
        "network",
        "recorded",
        "residuals",
        "status",
        "t",
        "watched",
    )

    def __init__(self) -> None:
        """Start empty."""
        self.t: list[float] = [0.0]
        self.losses: list[float] = []
        self.residuals: list[float] = []
        self.drift: list[float] = []
        self.recorded: list[int] = []
        self.watched: list[tuple[int, TwoLayerNetwork]] = []
        self.status = "budget"
        self.network: TwoLayerNetwork


def run_single(
    form: Form,
    *,
    step: float,
    steps: int,
    tol: float,
    every: int,
    watch: Sequence[int],
    verified: bool,
    interrupted: Callable[[], bool],
    progress: Callable[[int, int], None] | None = None,
) -> SingleRun:
    """Run gradient descent θ⁺ = θ - η ∇f(θ).

    With `verified`, η is halved until f(θ⁺) ≤ f(θ) - η‖∇f(θ)‖²/2, and doubled again (never beyond
    `step`) after a step that was accepted at once; a step that cannot be verified above rounding
    ends the run.
    """
    problem, run = form.problem, SingleRun()
    state = form.start.copy()
    y = form.observe(state)
    loss = float(problem.loss_value(y))
    eta = step
    with np.errstate(all="ignore"):
        for j in range(steps + 1):
            run.losses.append(loss)
            run.residuals.append(float(np.linalg.norm(y - problem.observation)))
            last = True
            if not np.isfinite(loss):
                run.status = not_finite(problem, y)
            elif loss < tol:
                run.status = "tolerance"
            elif j == steps:
                run.status = "budget"
            elif interrupted():
                run.status = "interrupted"
            else:
                last = False
            if last or j % every == 0:
                run.recorded.append(j)
                run.drift.append(form.drift(state))
            if j in watch and not last:
                run.watched.append((j, form.network_at(state)))
            if last:
                break
            velocity = form.velocity(state, y)
            if verified:
                speed = float((form.weights * velocity * velocity).sum())
                tried = eta
                while True:
                    after = state - eta * velocity
                    y_after = form.observe(after)
                    loss_after = float(problem.loss_value(y_after))
                    if loss_after <= loss - 0.5 * eta * speed:
                        break
                    if 0.5 * eta * speed < ROUNDING * loss:
                        break
                    eta *= 0.5
                if not loss_after <= loss - 0.5 * eta * speed:
                    run.status = "stalled"
                    break
                state, y, loss = after, y_after, loss_after
                run.t.append(run.t[-1] + eta)
                if eta == tried:
                    eta = min(2.0 * eta, step)
            else:
                state = state - step * velocity
                y = form.observe(state)
                loss = float(problem.loss_value(y))
                run.t.append(step * (j + 1))
            if progress is not None and j % 256 == 255:
                progress(j + 1, steps)
    if run.recorded[-1] != len(run.losses) - 1:
        run.recorded.append(len(run.losses) - 1)
        run.drift.append(form.drift(state))
    if progress is not None:
        progress(steps, steps)
    run.network = form.network_at(state)
    return run
