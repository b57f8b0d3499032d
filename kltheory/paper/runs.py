"""The runs behind the figures: draw a problem and a network from a seed, then train or decide.

Each function here is the `work` of a sweep: (cell, settings, seeds) -> the rows of each run.
"descent" trains as the paper did; "exact" says where the gradient flow goes without training, by
the linear program of what the hidden layer can reach, box least squares, Newton's method, or the
flow in as many variables as observations; "both" does both on the same draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.dynamics import descend, flow
from kltheory.empirical.mirror import newton_limit
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.seeded import generator
from kltheory.empirical.step_size import unstable_from
from kltheory.empirical.trajectory import Trajectory
from kltheory.errors import InputError
from kltheory.loss_functions import Power
from kltheory.numeric.reach import Reach, box_limit, branch_box, reachability
from kltheory.problem import Problem

__all__ = [
    "CONVERGENCE",
    "LOSSES",
    "PROFILES",
    "SIGNAL",
    "VARIANCES",
    "convergence",
    "draw",
    "losses",
    "marks",
    "profiles",
    "signal",
    "spectrum_operator",
]

Array = NDArray[np.float64]
Rows = list[list[Any]]

VARIANCES = ("1/n", "1/sqrt(n)")
"""How "entries from N(0, 1/√n)" is read: the variance of an entry of F."""

_OPERATOR, _SIGNAL, _NOISE = 3, 4, 5  # streams of a seed; the network's are 0, 1, 2


def draw(given: Mapping[str, Any], seed: int) -> tuple[Problem, TwoLayerNetwork]:
    """Draw F, x̄, ε and the network of one run.

    given: n, m, k, d, p (the loss is ‖·‖^(2p+2)/(2p+2)), beta (ε uniform on [-β, β]), variance,
    activation, output (the law of V), and, for an operator that all runs share, operator_seed.

    >>> given = {"n": 60, "m": 10, "k": 20, "d": 5, "variance": "1/n", "output": "rademacher"}
    >>> problem, network = draw({**given, "activation": "sigmoid"}, 7)
    >>> problem.shape, network.k, problem.noise_norm
    ((10, 60), 20, 0.0)
    """
    m, n = int(given["m"]), int(given["n"])
    if "operator_seed" in given:
        operator = spectrum_operator(n, given["operator_seed"])
    else:
        if given["variance"] not in VARIANCES:
            raise InputError(
                f"variance: got {given['variance']!r}; allowed are {', '.join(VARIANCES)}."
            )
        power = 0.5 if given["variance"] == "1/n" else 0.25
        operator = generator(seed, _OPERATOR, 0).standard_normal((m, n)) / n**power
    x = generator(seed, _SIGNAL, 0).standard_normal(n)
    beta = float(given.get("beta", 0.0))
    noise = generator(seed, _NOISE, 0).uniform(-1.0, 1.0, m) * beta
    problem = Problem(
        operator,
        operator @ x + noise,
        loss=Power(float(given.get("p", 0.0))) if given.get("p") else "mse",
        signal=x,
        noise=noise,
    )
    network = TwoLayerNetwork.draw(
        n, int(given["k"]), int(given["d"]), given["activation"], given["output"], seed
    )
    return problem, network


def spectrum_operator(n: int, seed: int) -> Array:
    """Return a random F (n, n) with the singular values 1/(z² + 1), z = 0, ..., n - 1.

    The singular vectors are uniform: the orthogonal factors of Gaussian matrices.

    >>> np.linalg.svd(spectrum_operator(3, 0))[1].round(12).tolist()
    [1.0, 0.5, 0.2]
    """
    rng = generator(seed, _OPERATOR, 0)
    factors = []
    for _ in range(2):
        q, r = np.linalg.qr(rng.standard_normal((n, n)))
        factors.append(q * np.sign(np.diag(r)))
    return np.asarray((factors[0] / (np.arange(n) ** 2 + 1.0)) @ factors[1].T)


def marks(steps: int, count: int) -> list[int]:
    """Return 0 and about so many multiples of 10, evenly spread in log, up to the last step.

    >>> marks(1000, 5)
    [0, 10, 30, 100, 320, 1000]
    """
    last = steps // 10 * 10
    spread = np.geomspace(10, max(last, 10), count)
    return [0, *sorted({min(last, round(float(s) / 10) * 10) for s in spread if last > 0})]


def _train(
    given: Mapping[str, Any],
    pairs: Sequence[tuple[Problem, TwoLayerNetwork]],
    *,
    stop_failed: bool,
    watch: Sequence[int] = (),
) -> list[Trajectory]:
    """Run gradient descent with the step size of the figure on one batch."""
    runs = descend(
        [problem for problem, _ in pairs],
        [network for _, network in pairs],
        step=float(given["step"]),
        steps=int(given["steps"]),
        tol=float(given["tol"]),
        every=10 if watch else int(given["steps"]),
        watch=watch,
        stop_failed=stop_failed,
        allow_unstable=True,
    )
    if any(run.status == "interrupted" for run in runs):
        raise KeyboardInterrupt
    return runs


def _follow(
    given: Mapping[str, Any], problem: Problem, network: TwoLayerNetwork, steps: Sequence[int]
) -> Trajectory:
    """Follow the flow to the times t = η step, or until its loss is below the tolerance."""
    times = float(given["step"]) * np.array(steps, dtype=np.float64)
    path = flow(problem, network, times=times, tol=float(given["tol"]))
    if path.status == "interrupted":
        raise KeyboardInterrupt
    return path


def _held(values: Array, count: int) -> list[float]:
    """Return so many values; after the end of a run the last one stays."""
    found = values[:count].tolist()
    return [*found, *[found[-1]] * (count - len(found))]


def _descends(given: Mapping[str, Any]) -> bool:
    return given["engine"] in ("descent", "both")


def _decides(given: Mapping[str, Any]) -> bool:
    return given["engine"] in ("exact", "both")


# -- Figure 1 --------------------------------------------------------------------------------------

CONVERGENCE = ("converged", "status", "steps", "loss", "reaches", "limit_loss", "explanation")
"""Columns of Figure 1.  converged, status, steps and (final) loss are of descent; reaches says
whether the loss of the flow falls below the tolerance as t → ∞ (empty: on the border, within
rounding); limit_loss is a proved lower bound on the loss for ever; explanation is given where the
two differ: "budget" (the limit is below, the steps were not enough), "step" (so is it, and the step
is unstable at the start), "border", "contradiction"."""


def convergence(
    cell: Mapping[str, Any], settings: Mapping[str, Any], seeds: Sequence[int]
) -> list[Rows]:
    """Return whether each run gets below the tolerance: one row, `CONVERGENCE`."""
    given = {**settings, **cell}
    if not _descends(given):
        # What can be reached does not depend on W: V, F and y are the same for every d.
        given["d"] = 1
    pairs = [draw(given, seed) for seed in seeds]
    found: list[Rows] = []
    runs = _train(given, pairs, stop_failed=True) if _descends(given) else [None] * len(pairs)
    for (problem, network), run in zip(pairs, runs, strict=True):
        row: list[Any] = [None] * len(CONVERGENCE)
        if run is not None:
            row[:4] = [run.converged, run.status, run.steps, run.final_loss]
        if _decides(given):
            reach = _reach(problem, network)
            row[4:6] = [_reaches(reach, given["tol"]), reach.limit_loss]
        if run is not None and _decides(given) and row[0] is not row[4]:
            row[6] = _explain(problem, network, float(given["step"]), run, row[4])
        found.append([row])
    return found


def _box(problem: Problem, network: TwoLayerNetwork) -> tuple[Array, Array, Array, float]:
    """Return N = A V/√k and the box of what the neurons can give."""
    matrix = network.observe(problem) / np.sqrt(network.k)
    low, high, error = branch_box(network.activation, network.z)
    return matrix, low, high, error


def _reach(problem: Problem, network: TwoLayerNetwork) -> Reach:
    matrix, low, high, error = _box(problem, network)
    return reachability(matrix, problem.observation, low, high, end_error=error)


def _reaches(reach: Reach, tol: float) -> bool | None:
    """Return whether the limit of the square loss is below the tolerance."""
    if reach.attainable or reach.limit_loss_upper < tol:
        return True
    return False if reach.limit_loss >= tol else None


def _explain(
    problem: Problem,
    network: TwoLayerNetwork,
    step: float,
    run: Trajectory,
    reaches: bool | None,
) -> str:
    """Say why descent and the limit of the flow differ."""
    if reaches is None:
        return "border"
    if run.converged or run.status == "failure":
        return "contradiction"
    return "step" if not step < unstable_from(problem, network, "hidden") else "budget"


# -- Figure 2a -------------------------------------------------------------------------------------

SIGNAL = ("step", "signal_error", "flow_error", "loss", "noise_norm", "reaches")
"""Columns of Figure 2a: ‖x - x̄‖ of descent after `step` steps, and of the flow at t = η step; a row
without a step is the limit t = ∞ of the flow (empty if zero loss is out of reach: `reaches`)."""


def signal(
    cell: Mapping[str, Any], settings: Mapping[str, Any], seeds: Sequence[int]
) -> list[Rows]:
    """Return the distance to the true signal at the marked steps: rows `SIGNAL`."""
    given = {**settings, **cell}
    steps = marks(int(given["steps"]), int(given["marks"]))
    pairs = [draw(given, seed) for seed in seeds]
    runs = _train(given, pairs, stop_failed=False, watch=steps) if _descends(given) else None
    found: list[Rows] = []
    for i, (problem, network) in enumerate(pairs):
        epsilon = problem.noise_norm
        rows: Rows = [[step, None, None, None, epsilon, None] for step in steps]
        if runs is not None:
            _fill_descent(rows, runs[i], float(given["step"]))
        if _decides(given):
            path = _follow(given, problem, network, steps)
            assert path.signal_error is not None
            for row, error in zip(rows, _held(path.signal_error, len(rows)), strict=True):
                row[2] = error
            limit = newton_limit(problem, network)
            last = None
            if limit.network is not None and problem.signal is not None:
                last = float(np.linalg.norm(limit.network.forward() - problem.signal))
            rows.append([None, None, last, None, epsilon, limit.reachable])
        found.append(rows)
    return found


def _fill_descent(rows: Rows, run: Trajectory, step: float) -> None:
    """Enter a run at its watched steps; after its end it keeps what it had."""
    assert run.signal_error is not None
    at = np.rint(run.t[run.watched] / step).astype(int)
    seen = dict(zip(at.tolist(), run.signal_error.tolist(), strict=True))
    for row in rows:
        row[1] = seen.get(row[0], float(run.signal_error[-1]))
        row[3] = float(run.losses[min(row[0], run.steps)])


# -- Figure 2b -------------------------------------------------------------------------------------

LOSSES = ("status", "steps", "loss", "limit_lower", "limit_upper")
"""Columns of Figure 2b: how descent ended and its final loss; proved bounds on the limit of the
flow's loss, from box least squares."""


def losses(
    cell: Mapping[str, Any], settings: Mapping[str, Any], seeds: Sequence[int]
) -> list[Rows]:
    """Return the final loss and its limit: one row, `LOSSES`."""
    given = {**settings, **cell}
    pairs = [draw(given, seed) for seed in seeds]
    runs = _train(given, pairs, stop_failed=False) if _descends(given) else [None] * len(pairs)
    found: list[Rows] = []
    for (problem, network), run in zip(pairs, runs, strict=True):
        row: list[Any] = [None] * len(LOSSES)
        if run is not None:
            row[:3] = [run.status, run.steps, run.final_loss]
        if _decides(given):
            matrix, low, high, error = _box(problem, network)
            limit = box_limit(matrix, problem.observation, low, high, end_error=error)
            ends = np.sqrt(2.0 * np.array([limit.lower, limit.upper]))
            row[3:] = [float(value) for value in problem.loss.profile(ends)]
        found.append([row])
    return found


# -- Figure 3 --------------------------------------------------------------------------------------

PROFILES = ("step", "loss", "flow_loss")
"""Columns of Figure 3: the loss of descent after `step` steps (after the end of a run: its last
loss) and of the flow at t = η step."""


def profiles(
    cell: Mapping[str, Any], settings: Mapping[str, Any], seeds: Sequence[int]
) -> list[Rows]:
    """Return the loss at the marked steps: rows `PROFILES`."""
    given = {**settings, **cell}
    steps = marks(int(given["steps"]), int(given["marks"]))
    pairs = [draw(given, seed) for seed in seeds]
    runs = _train(given, pairs, stop_failed=False) if _descends(given) else None
    found: list[Rows] = []
    for i, (problem, network) in enumerate(pairs):
        rows: Rows = [[step, None, None] for step in steps]
        if runs is not None:
            for row in rows:
                row[1] = float(runs[i].losses[min(row[0], runs[i].steps)])
        if _decides(given):
            path = _follow(given, problem, network, steps)
            for row, value in zip(rows, _held(path.loss, len(rows)), strict=True):
                row[2] = value
        found.append(rows)
    return found
