"""What happened: a trajectory's columns over time, each with what its numbers may be wrong by.

A trajectory is followed here with its states kept, or comes from elsewhere as columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.empirical.flow import Integration, flow_form, increasing_times
from kltheory.empirical.forms import FlowForm, make_form
from kltheory.empirical.interrupt import deferred_interrupt
from kltheory.empirical.mirror import MirrorForm
from kltheory.empirical.reduced import has_reduction
from kltheory.empirical.step_size import safe_step
from kltheory.errors import InputError

if TYPE_CHECKING:
    from kltheory.empirical.network import TwoLayerNetwork
    from kltheory.problem import Problem

__all__ = [
    "COLUMNS",
    "POINTS",
    "ROWS",
    "Measured",
    "Observed",
    "follow_descent",
    "follow_flow",
    "from_columns",
]

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
POINTS = 64
"""Times at which a trajectory is compared, unless the caller says which."""
ROWS = 512
"""Rows of data that are compared, unless the caller wants more: each costs some milliseconds."""
RTOL, ATOL = 1e-11, 1e-13
"""Tolerances of a step of the integrator; its steps times this is the stated allowance."""
_SIGMA_ENTRIES = 2_000_000

COLUMNS = {
    "loss": "L(y(t))",
    "parameters": "‖θ(t) - θ∞‖",
    "drift": "‖θ(t) - θ(0)‖",
    "path": "∫‖θ'‖ up to t",
    "observation": "‖y(t) - y‖",
    "error": "‖y(t) - ȳ‖",
    "signal": "‖x(t) - x̄‖",
    "sigma_min": "σ_min(J_g(t))",
}
"""What a column is called -> what it holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One quantity over time."""

    values: Array
    """As measured; NaN where it was not."""
    below: Array
    """By how much the true value may lie on the other side: rounding, the integrator's tolerance,
    a limit that is known only so well."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """A trajectory as the guarantees see it."""

    t: Array
    """Times from 0 on; for descent the sum of the step sizes so far."""
    columns: Mapping[str, Measured]
    """The quantities of `COLUMNS` that are known."""
    method: str
    """"flow" or "descent"."""
    reason: str
    """How it ended, or where it came from."""
    floor: float
    """A loss below this is rounding."""
    decrease: float | None = None
    """Descent: the largest c with f(θ⁺) ≤ f(θ) - cη‖∇f(θ)‖² at every step; None if there is none
    or it is not known."""
    steps: int | None = None
    """Steps of descent, or evaluations of the right-hand side of the flow."""
    limit: str = "last"
    """What θ∞ is in the column parameters: the "last" θ, or as "given"."""
    network: TwoLayerNetwork | None = None
    """The network at the end, for the built-in ones."""
    warnings: tuple[str, ...] = ()
    """What the reader should know."""

    @property
    def final_loss(self) -> float:
        """The loss at the last time."""
        return float(self.columns["loss"].values[-1])


# -- the built-in network ------------------------------------------------------------------------


def horizon(problem: Problem, network: TwoLayerNetwork, train: str) -> float:
    """A time by which the linearised flow has converged, or its fast part has many times over."""
    values = np.linalg.eigvalsh(network.kernel(train, problem))
    r = problem.forward(network.forward()) - problem.observation
    size = float(np.linalg.norm(r))
    weight = float(np.linalg.norm(problem.loss_gradient(r + problem.observation))) / size
    slow, fast = max(float(values[0]), 1e-300), max(float(values[-1]), 1e-300)
    return min(20.0 / (weight * slow), 2e4 / (weight * fast))


def default_times(problem: Problem, network: TwoLayerNetwork, train: str, points: int) -> Array:
    """0 and times spaced geometrically over three decades up to `horizon`."""
    end = horizon(problem, network, train)
    return np.concatenate([[0.0], np.geomspace(1e-3 * end, end, points - 1)])


def follow_flow(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str,
    times: ArrayLike | None,
    *,
    points: int = POINTS,
    max_evaluations: int = 1_000_000,
) -> Observed:
    """Follow the gradient flow to the last time, and keep the state at each."""
    problem.require_size(network.n)
    if times is None:
        grid = default_times(problem, network, train, points)
    else:
        grid = increasing_times(times)
    if grid[0] > 0:
        grid = np.concatenate([[0.0], grid])
    form = flow_form("auto", problem, network, train)
    run = Integration(form, train, RTOL, ATOL, 0.0)
    with deferred_interrupt() as interrupted:
        if isinstance(form, MirrorForm):
            run.run(grid, max_evaluations, interrupted, _silent)
        else:
            _land(run, grid, max_evaluations, interrupted)
    per_step = 1 if isinstance(form, MirrorForm) else 12
    steps = run.evaluations // per_step + 1
    error = steps * max(_tolerance(form, state) for state in run.states)
    reason = f"followed to t = {run.times[-1]:.6g} by {run.method}"
    warnings: tuple[str, ...] = ()
    if run.times[-1] < grid[-1]:
        warnings = (f"the flow was followed to t = {run.times[-1]:.4g} only ({run.status})",)
    return _observe(
        form, train, np.array(run.times), run.states, None, error,
        method="flow", reason=reason, steps=run.evaluations, warnings=warnings,
    )  # fmt: skip


def _silent(*_: Any) -> None:
    """No progress is shown."""


def _land(run: Integration, grid: Array, budget: int, interrupted: Callable[[], bool]) -> None:
    """Integrate with steps that end on the times: between its steps DOP853 is a hundred times less
    accurate than at them."""
    solver = run.solver(float(grid[-1]))
    run.keep(0.0, run.form.start)
    for t in grid[1:]:
        solver.t_bound, solver.status = float(t), "running"
        while solver.status == "running":
            solver.step()
            if interrupted() or run.evaluations > budget:
                return
        if solver.status == "failed" or not np.isfinite(solver.y).all():
            run.status = "diverged"
            return
        run.keep(float(t), solver.y)


def _tolerance(form: FlowForm, state: Array) -> float:
    """What one step may be wrong by, as a distance of parameters."""
    size = RTOL * np.abs(state) + ATOL
    if isinstance(form, MirrorForm):  # δz = φ' ω Nᵀ δS
        return float(np.linalg.norm(size)) * float(np.linalg.norm(form.matrix)) * (
            form.activation.B1 * float(np.sqrt(form.network.omega))
        )  # fmt: skip
    weights = form.weights  # type: ignore[attr-defined]
    return float(np.sqrt((weights * size * size).sum()))


def follow_descent(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str,
    *,
    step: float | None,
    steps: int,
    verified: bool,
    points: int = POINTS,
) -> Observed:
    """Run gradient descent, and hold every step against f(θ⁺) ≤ f(θ) - cη‖∇f(θ)‖².

    `step` None is the safe step.  With `verified` the step is halved until c = 1/2, and doubled
    again after a step that was accepted at once.  Ends where rounding hides the decrease.
    """
    problem.require_size(network.n)
    if isinstance(steps, bool) or int(steps) != steps or steps < 1:
        raise InputError(f"steps: got {steps!r}; it must be a whole number >= 1.")
    if step is None:
        step = safe_step(problem, network, train).value
    if not (np.isfinite(step) and step > 0):
        raise InputError(f"step_size: got {step!r}; it must be a positive number.")
    label = "observation" if has_reduction(problem, train) else "signal"
    form = make_form(label, problem, network, train)
    marks = {0, *np.unique(np.geomspace(1, steps, points - 1).astype(int)).tolist()}
    rounding = _rounding(problem, network)
    state = form.start.copy()
    y = form.observe(state)
    loss = float(problem.loss_value(y))
    t = path = 0.0
    eta, least = step, np.inf
    kept: list[tuple[float, float, Array]] = []
    reason, warnings = f"{steps} steps done", []
    j = 0
    with np.errstate(all="ignore"), deferred_interrupt() as interrupted:
        while True:
            if j in marks:
                kept.append((t, path, state))
            if j == steps or interrupted():
                break
            velocity = form.velocity(state, y)
            speed = float((form.weights * velocity * velocity).sum())
            hidden = 2.0 * _loss_error(problem, y, rounding)
            if speed == 0.0 or hidden > 0.01 * eta * speed:
                reason = f"after {j} steps the decrease of the loss is below rounding"
                break
            tried = eta
            while True:
                after = state - eta * velocity
                y_after = form.observe(after)
                loss_after = float(problem.loss_value(y_after))
                c = (loss - loss_after - hidden) / (eta * speed)
                if not verified or c >= 0.49 or hidden > 0.01 * eta * speed:
                    break
                eta *= 0.5
            if not np.isfinite(loss_after):
                reason = f"the loss is not finite after step {j + 1}"
                warnings.append(f"{reason}: take a smaller step")
                least = -np.inf
                break
            least = min(least, c)
            state, y, loss = after, y_after, loss_after
            t, path = t + eta, path + eta * float(np.sqrt(speed))
            if verified and eta == tried:
                eta = min(2.0 * eta, step)
            j += 1
    if kept[-1][0] < t:
        kept.append((t, path, state))
    decrease = None if not 0 < least < np.inf else min(float(least), 1.0 - 2.0**-20)
    return _observe(
        form, train, np.array([k[0] for k in kept]), [k[2] for k in kept],
        np.array([k[1] for k in kept]), 0.0,
        method="descent", reason=reason, decrease=decrease, steps=j, warnings=tuple(warnings),
    )  # fmt: skip


def _rounding(problem: Problem, network: TwoLayerNetwork) -> float:
    """What rounding may do to y(t): 8 ulp of ‖A‖ ‖V‖ ‖φ(z)‖/√k, of ‖A‖ ‖x‖ and of ‖y‖."""
    x = network.forward()
    norm = problem.norm_F if problem.linear else problem.norm_at(x)
    output = float(np.linalg.norm(network.columns.norms()))
    size = norm * output * network.feature_norm()
    size += float(np.linalg.norm(problem.observation)) + norm * float(np.linalg.norm(x))
    return 8.0 * EPS * size


def _loss_error(problem: Problem, y: Array, delta: float) -> float:
    """How much an error δ of y changes the loss: ‖∇L‖δ + Lip(∇L)δ²/2."""
    rho = float(np.linalg.norm(y - problem.observation))
    slope = float(np.linalg.norm(problem.loss_gradient(y)))
    return slope * delta + _curvature(problem, rho + delta) * delta**2 / 2


def _curvature(problem: Problem, radius: float) -> float:
    try:
        return float(problem.loss.lipschitz(radius))
    except InputError:  # a radial loss of the user, without one
        return 0.0


def _observe(
    form: FlowForm,
    train: str,
    t: Array,
    states: Sequence[Array],
    path: Array | None,
    error: float,
    **rest: Any,
) -> Observed:
    """Evaluate every column at the states; `error` is what they may be wrong by."""
    problem = form.problem
    networks = [form.network_at(state) for state in states]
    first, last = networks[0], networks[-1]
    ends = [np.linalg.eigvalsh(net.kernel(train, problem))[-1] for net in (first, last)]
    norm_K = float(np.sqrt(max(*ends, 0.0)))
    rounding = max(_rounding(problem, net) for net in (first, last))
    delta = rounding + norm_K * error
    seen = [form.observe(state) for state in states]
    count = len(states)

    def constant(value: float) -> Array:
        return np.full(count, value)

    def column(values: Any, below: Any) -> Measured:
        array = np.asarray(values, dtype=np.float64)
        return Measured(array, np.broadcast_to(np.asarray(below, dtype=float), array.shape))

    moved = np.array([_distance(form, a, states[-1]) for a in states])
    drift = np.array([_distance(form, a, states[0]) for a in states])
    chords = [_distance(form, a, b) for a, b in pairwise(states)]
    if path is None:
        path = np.concatenate([[0.0], np.cumsum(chords)])
    size = EPS * 8.0 * (float(np.linalg.norm(last.z)) + float(np.linalg.norm(last.columns.norms())))
    apart = 2.0 * error + size
    columns = {
        "loss": column(
            [float(problem.loss_value(y)) for y in seen],
            np.array([_loss_error(problem, y, delta) for y in seen]),
        ),
        "parameters": column(moved, apart),
        "drift": column(drift, apart),
        "path": column(path, apart * np.arange(count) if error else constant(apart)),
        "observation": column([_norm(y - problem.observation) for y in seen], delta),
    }
    clean = _noise_free(problem)
    if clean is not None:
        columns["error"] = column([_norm(y - clean) for y in seen], delta)
    slopes = np.square(first.activation.dphi(first.z) * first.columns.norms()).sum()
    norm_J = float(np.sqrt(first.omega * slopes / first.k + first.n * first.feature_norm() ** 2))
    if problem.signal is not None:
        signals = [_norm(net.forward() - problem.signal) for net in networks]
        columns["signal"] = column(signals, rounding + norm_J * error)
    if first.k * first.n <= _SIGMA_ENTRIES:
        bend = first.activation.B2 * float(first.columns.norms().max()) + 2 * first.activation.B1
        values = [net.sigma_min(train) for net in networks]
        columns["sigma_min"] = column(values, bend * error + 64.0 * EPS * norm_J)
    floor = _curvature(problem, delta) * delta**2 / 2
    return Observed(t=t, columns=columns, floor=floor, network=last, **rest)


def _norm(v: Array) -> float:
    return float(np.linalg.norm(v))


def _distance(form: FlowForm, a: Array, b: Array) -> float:
    """The distance of two states as parameters."""
    if isinstance(form, MirrorForm):
        return _norm(form.z(a) - form.z(b)) / float(np.sqrt(form.network.omega))
    weights = form.weights  # type: ignore[attr-defined]
    return float(np.sqrt((weights * np.square(a - b)).sum()))


def _noise_free(problem: Problem) -> Array | None:
    """ȳ = F(x̄), where it is known."""
    if problem.noise is not None and np.ndim(problem.noise) == 1:
        return np.asarray(problem.observation - problem.noise)
    return None if problem.signal is None else problem.forward(problem.signal)


# -- columns from elsewhere ------------------------------------------------------------------------


def from_columns(
    t: ArrayLike,
    columns: Mapping[str, ArrayLike | None],
    *,
    method: str,
    precision: float,
    scale: float | None,
    noise: float | None,
    psi: Any,
    rows: int = ROWS,
) -> Observed:
    """Take over a trajectory of any framework.

    `precision` is the unit roundoff of the numbers (float32: 6e-8), `scale` the size of y that it
    is relative to; `psi` is ψ, with its inverse: a loss s belongs to residuals up to ψ(s).
    """
    times = np.atleast_1d(np.asarray(t, dtype=np.float64))
    if times.ndim != 1 or times.size < 2 or not np.isfinite(times).all():
        raise InputError("t: give at least two finite times.")
    if (np.diff(times) <= 0).any():
        row = int(np.argmax(np.diff(times) <= 0)) + 1
        raise InputError(f"t: entry {row} is not after the one before it; times increase.")
    warnings = []
    if times[0] != 0.0:
        warnings.append(
            f"t starts at {times[0]:g}: that is taken as time 0, and the constants as those there"
        )
        times = times - times[0]
    given = {name: _given(name, v, times.size) for name, v in columns.items() if v is not None}
    if "loss" not in given:
        raise InputError("the column loss is missing.")
    if times.size > rows:
        warnings.append(f"{rows} of {times.size} rows are compared; ask for more points")
        chosen = _thinned(times.size, rows)
        times, given = times[chosen], {name: v[chosen] for name, v in given.items()}
    loss = given["loss"]
    if np.isnan(loss).any():
        row = int(np.argmax(np.isnan(loss)))
        raise InputError(f"loss: entry {row} is not a number; give the run up to there.")
    if not (loss[0] > 0 and np.isfinite(loss[0])):
        raise InputError(f"loss: it starts at {loss[0]:g}; a positive number is wanted.")
    if "observation" in given and "error" not in given and noise is not None:
        # ‖y(t) - ȳ‖ >= ‖y(t) - y‖ - ‖ε‖
        given["error"] = np.maximum(given["observation"] - noise, 0.0)
    size = scale if scale is not None else float(given.get("observation", [0.0])[0])
    delta = 8.0 * precision * size
    floor = float(psi.inverse(delta))
    measured = {}
    for name, values in given.items():
        below = 4.0 * precision * np.abs(values)
        if name == "loss":
            rest = np.array([psi.inverse(psi(float(s)) - delta) for s in values])
            below = below + np.where(np.isfinite(values), values - rest, 0.0)
        elif name in ("observation", "error"):
            below = below + delta
        measured[name] = Measured(values, below)
    return Observed(
        t=times,
        columns=measured,
        method=method,
        reason=f"data up to t = {times[-1]:.6g}",
        floor=floor,
        limit="last" if np.ndim(np.asarray(columns.get("parameters"))) == 2 else "given",
        warnings=tuple(warnings),
    )


def _thinned(size: int, rows: int) -> NDArray[np.intp]:
    """Rows to keep: the first and the last, half of them spaced evenly, half geometrically."""
    even = np.linspace(0, size - 1, rows - rows // 2).astype(np.intp)
    early = np.geomspace(1, size - 1, rows // 2).astype(np.intp)
    return np.unique(np.concatenate([even, early]))


def _given(name: str, values: ArrayLike, size: int) -> Array:
    """One column; parameters may be the vectors themselves, one a row."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 2 and name == "parameters":
        array = np.linalg.norm(array - array[-1], axis=1)
    if array.shape != (size,):
        raise InputError(f"{name} has shape {array.shape} and t has {size} entries: give as many.")
    if (array < 0).any():
        row = int(np.argmax(array < 0))
        raise InputError(f"{name}: entry {row} is {array[row]:g}; it is a norm or a loss, >= 0.")
    return array
