"""What a training run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.empirical.network import TwoLayerNetwork
from kltheory.errors import InputError
from kltheory.loss_functions import ObservedLoss
from kltheory.problem import Problem
from kltheory.shown import Content, Facts, Shown, Table, figure, thinned

__all__ = ["STATUS", "Accuracy", "Trajectory", "increasing_times"]

Array = NDArray[np.float64]

STATUS = ("tolerance", "failure", "budget", "diverged", "domain", "stalled", "interrupted")
"""Why a run ended: the loss fell below the tolerance; it was proved that it never will; the steps
or the time were used up; the loss is not finite; y is where the loss is not defined; no step can be
verified above rounding; Ctrl-C."""


LAYERS = {"hidden": "hidden layer trained", "both": "both layers trained"}


def increasing_times(times: ArrayLike) -> Array:
    """Return times as an increasing array from 0 on, or refuse them."""
    grid = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if grid.ndim != 1 or grid.size == 0 or not np.isfinite(grid).all():
        raise InputError("times: give a list of finite numbers.")
    if grid[0] < 0 or (np.diff(grid) <= 0).any():
        raise InputError("times: give them in increasing order, from 0 on.")
    return grid


def not_finite(problem: Problem, y: Array) -> str:
    """Return why the loss is not finite at y: the status of a run that ends there."""
    loss = problem.loss
    outside = isinstance(loss, ObservedLoss) and np.isfinite(y).all() and not loss.inside(y)
    return "domain" if outside else "diverged"


def left_domain(problem: Problem, when: str, start: bool) -> str:
    """Return the reason of a run with status "domain", in a sentence."""
    where = f"the domain of the loss {problem.loss.name}, {problem.loss.domain}"
    if start:
        return f"y(0) is outside {where}: begin with a network inside it"
    return f"y left {where}, at {when}; take a smaller step, or verified=True"


def plain(values: Array | None) -> list[float | None] | None:
    """Return plain data; a number that is not finite is None."""
    if values is None:
        return None
    return [float(v) if np.isfinite(v) else None for v in values]


@dataclass(frozen=True, slots=True, eq=False)
class Accuracy(Shown):
    """How accurately the gradient flow was integrated."""

    method: str
    """The integrator and the form of the equations."""
    rtol: float
    """Relative tolerance of a step."""
    atol: float
    """Absolute tolerance of a step."""
    conservation: float | None = None
    """Both layers trained: the largest drift of ‖V_i‖² - G(z_i)/ω, which is constant in the exact
    flow; an error of the integration that was seen, not a bound."""
    error: Array | None = None
    """With `flow(certify=True)`: a proved bound on ‖θ̂(t) - θ(t)‖ at every time, θ̂ being the state
    that was returned; inf from where it is lost."""
    observation_error: Array | None = None
    """The same of ‖ŷ(t) - y(t)‖."""

    def content(self) -> Content:
        """Return what it says."""
        return Content("Accuracy of a gradient flow", (Facts("Integration", self.pairs()),))

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return it as labels and values."""
        found = [
            ("integrator", self.method),
            ("tolerance of a step", f"{figure(self.rtol)} relative, {figure(self.atol)} absolute"),
        ]
        if self.conservation is not None:
            found.append(("drift of the conserved ‖V_i‖² - G(z_i)/ω", figure(self.conservation)))
        for name, bound in (("θ", self.error), ("y", self.observation_error)):
            if bound is not None:
                found.append((f"certified error of {name}", f"<= {figure(float(bound.max()))}"))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "method": self.method,
            "rtol": self.rtol,
            "atol": self.atol,
            "conservation": self.conservation,
            "error": plain(self.error),
            "observation_error": plain(self.observation_error),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory(Shown):
    """One run of gradient descent or gradient flow.

    `t`, `loss`, `residual` and `drift` have one entry for each recorded time; `signal_error` and
    `sigma_min` have one for each entry of `watched`.
    """

    t: Array
    """Recorded times; for descent the sum of the step sizes so far."""
    loss: Array
    """L(y(t))."""
    residual: Array
    """‖y(t) - y‖."""
    drift: Array
    """‖θ(t) - θ(0)‖."""
    losses: Array
    """The loss at every step, whatever was recorded (for a flow: `loss`)."""
    watched: NDArray[np.intp]
    """Indices into `t` at which the two fields below were evaluated."""
    signal_error: Array | None
    """‖x(t) - x̄‖ at the watched times; None if the signal is not known."""
    sigma_min: Array | None
    """σ_min(J_g(t)) at the watched times; None if it was not asked for."""
    network: TwoLayerNetwork
    """The network at the end."""
    train: str
    """"hidden" or "both"."""
    method: str
    """"descent", "verified descent" or "flow"."""
    form: str
    """The equations that were solved: "full", "signal" or "observation"."""
    step: float | None
    """The step size; None for a flow, the first one tried for verified descent."""
    steps: int
    """The number of steps taken (for a flow: evaluations of the right-hand side)."""
    converged: bool
    """Whether the loss fell below the tolerance."""
    status: str
    """One of `STATUS`."""
    reason: str
    """Why it ended, in a sentence."""
    lower_bound: float = 0.0
    """With status "failure": no weights of the hidden layer have a smaller loss than this."""
    accuracy: Accuracy | None = field(default=None)
    """For a flow: how accurately it was integrated."""

    @property
    def seed(self) -> int | None:
        """The seed of the network."""
        return self.network.seed

    @property
    def final_loss(self) -> float:
        """The loss at the end."""
        return float(self.losses[-1])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; a number that is not finite is None."""
        return {
            "t": plain(self.t),
            "loss": plain(self.loss),
            "residual": plain(self.residual),
            "drift": plain(self.drift),
            "watched": [int(i) for i in self.watched],
            "signal_error": plain(self.signal_error),
            "sigma_min": plain(self.sigma_min),
            "train": self.train,
            "method": self.method,
            "form": self.form,
            "step": self.step,
            "steps": self.steps,
            "seed": self.seed,
            "converged": self.converged,
            "status": self.status,
            "reason": self.reason,
            "lower_bound": self.lower_bound,
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
        }

    def content(self) -> Content:
        """Return what it says: the outcome, how it was computed, and some times."""
        net = self.network
        how = [
            ("variables", f"{self.form} form"),
            ("steps" if self.step is not None else "evaluations", str(self.steps)),
        ]
        if self.step is not None:
            how.append(("step size", figure(self.step, 6)))
        if self.accuracy is not None:
            how += self.accuracy.pairs()
        network = f"n = {net.n}, k = {net.k}, d = {net.d}, {net.activation.name}"
        how.append(("network", network + ("" if self.seed is None else f", seed {self.seed}")))
        outcome = [
            ("ended because", self.reason),
            ("loss", f"{figure(float(self.losses[0]))} -> {figure(self.final_loss)}"),
            ("drift ‖θ - θ(0)‖", figure(float(self.drift[-1]))),
        ]
        if self.status == "failure":
            outcome.append(("the loss stays above", figure(self.lower_bound)))
        header, columns = ["t", "loss", "‖y(t) - y‖", "‖θ(t) - θ(0)‖"], [
            self.t, self.loss, self.residual, self.drift
        ]  # fmt: skip
        parts: list[Facts | Table] = [
            Facts("Outcome", tuple(outcome)),
            Facts("How", tuple(how)),
            _table("Along the way", header, columns, thinned(self.t.size)),
        ]
        seen = [("‖x(t) - x̄‖", self.signal_error), ("σ_min(J_g)", self.sigma_min)]
        held = [(name, values) for name, values in seen if values is not None and values.size]
        if held:
            columns = [self.t[self.watched], *(values for _, values in held)]
            names = ["t", *(name for name, _ in held)]
            parts.append(_table("Watched", names, columns, thinned(self.watched.size)))
        title = f"{self.method.capitalize()}, {LAYERS[self.train]}"
        return Content(title, tuple(parts))

    def __repr__(self) -> str:
        """Return what happened in one line."""
        return (
            f"Trajectory({self.method}, train={self.train!r}, {self.form} form: "
            f"{self.steps} steps, loss {self.losses[0]:.3g} -> {self.final_loss:.3g}, "
            f"drift {self.drift[-1]:.3g}; {self.reason})"
        )


def _table(title: str, header: list[str], columns: list[Array], rows: list[int]) -> Table:
    cells = tuple(tuple(figure(float(column[i]), 6) for column in columns) for i in rows)
    return Table(title, tuple(header), cells)
