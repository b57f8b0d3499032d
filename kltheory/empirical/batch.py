"""Gradient descent with a fixed step on many reduced runs, as one array program.

Rows hold runs; a run that is done leaves its row to the next one in the queue.  The loss of every
iterate is kept.  A run's bits do not depend on which other runs share the arrays, nor on the
process that computes it; they may depend on the build of NumPy and on its number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.image import image, unreachable_distance
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.reduced import Reduced
from kltheory.empirical.rows import DELAY, Rows
from kltheory.loss_functions import RadialLoss
from kltheory.operators import GRAM_SIDE

__all__ = ["Job", "Outcome", "Progress", "Watched", "run_batch"]

Array = NDArray[np.float64]
Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) over the whole batch."""

_CHUNK = 256
_ROW_ENTRIES = 3 * 2**18
_MOST_ROWS = 96
_PERIOD = 64
"""Runs start, proofs of failure are tried and shorter forms of the step are taken at multiples of
so many steps: thus at the same steps of a run in any company.  A multiple of `rows.DELAY` and a
divisor of `_CHUNK`."""
_OFTEN = 4
"""If the drift is recorded every so many steps or more often, ‖P - P0‖ is summed up on the way."""
_PROOF_STEPS = 20
"""An unbounded φ: the proof of failure takes the time of some 2m steps; it is tried once, after so
many times m steps.  A bounded φ is caught along the way, mostly at the first look."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run to do."""

    index: int
    """Its place in the answer."""
    system: Callable[[], Reduced]
    """Makes the reduced system, when its turn comes."""
    step: float
    """η."""
    watch: tuple[int, ...] = ()
    """Steps at which the caller wants to see the network."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The network at one step."""

    step: int
    """Which step."""
    network: TwoLayerNetwork
    """The network there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job gave."""

    squares: Array
    """‖r‖² at every step, 0 to the last."""
    losses: Array
    """The loss at every step."""
    recorded: NDArray[np.intp]
    """The steps at which the drift was evaluated: every so many, and the last."""
    drift: Array
    """‖θ - θ0‖ there."""
    watched: tuple[Watched, ...]
    """The networks that were asked for."""
    network: TwoLayerNetwork
    """The network at the end."""
    status: str
    """One of `trajectory.STATUS`."""
    bound: float
    """With status "failure": a lower bound on the loss for ever."""


@dataclass(slots=True, eq=False)
class _Running:
    job: Job
    reduced: Reduced
    start: int
    """The global step at which this run is at its step 0."""
    squares: list[Array] = field(default_factory=list)
    losses: list[Array] = field(default_factory=list)
    drift: list[Array] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)


def capacity(q: int, k: int, jobs: int) -> int:
    """Return how many rows are worked on together.

    So many that a call of NumPy costs little per run, no more than a share of the outer cache
    holds, and such that runs of one length fill the rows as often as they are filled at all.
    """
    most = max(1, min(_MOST_ROWS, _ROW_ENTRIES // (q * k)))
    return -(-jobs // -(-jobs // most))


def run_batch(
    jobs: list[Job],
    *,
    steps: int,
    tol: float,
    every: int,
    fast: bool,
    stop_failed: bool,
    interrupted: Callable[[], bool],
    progress: Progress | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """Run jobs of one shape, loss, activation and mode; yield (index, outcome) as they finish.

    Once `interrupted()` is true the runs under way are yielded as they stand; those that did not
    start are left out.
    """
    engine = _Engine(jobs, steps, tol, every, fast, stop_failed, interrupted, progress)
    yield from engine.run()


class _Engine:
    """The loop of `run_batch`."""

    def __init__(
        self,
        jobs: list[Job],
        steps: int,
        tol: float,
        every: int,
        fast: bool,
        stop_failed: bool,
        interrupted: Callable[[], bool],
        progress: Progress | None,
    ) -> None:
        self.queue = list(reversed(jobs))
        self.total = steps * len(jobs)
        self.steps, self.tol, self.every = steps, tol, every
        self.progress, self.interrupted = progress, interrupted
        first = jobs[0].system()
        self.waiting: Reduced | None = first
        problem, network = first.problem, first.network
        q, k = first.inner.shape
        # A matrix that moves is written too.
        entries = q if first.train == "hidden" else 3 * (q + DELAY) // 2
        size = capacity(entries, k, len(jobs))
        follow = every <= _OFTEN
        self.rows = Rows(size, first, problem.loss, network.activation, fast, follow)
        self.box = image(network.activation) if first.train == "hidden" else None
        certifiable = stop_failed and tol > 0 and isinstance(problem.loss, RadialLoss)
        self.stop_failed = certifiable and self.box is not None
        self.stop_outside = certifiable and first.train == "both"
        # At this step of a run failure is to be proved from N and y alone; 0: never.
        self.proof_step = 0
        if self.stop_failed and not np.isfinite(self.box or 0.0).all() and problem.m <= GRAM_SIDE:
            self.proof_step = _PERIOD * -(-_PROOF_STEPS * problem.m // _PERIOD)
        self.running: list[_Running] = []
        self.squares = np.empty((_CHUNK, size))
        self.losses = self.squares if self.rows.mse else np.empty((_CHUNK, size))
        self.drift = np.empty((_CHUNK, size))
        self.clock = 0
        self.next_event = 0
        # At which clocks, modulo `every`, some run is to be recorded.
        self.phases: set[int] = set()
        self.finished_steps = 0
        self.done: list[tuple[int, Outcome]] = []

    # -- the loop ----------------------------------------------------------------------------

    def run(self) -> Iterator[tuple[int, Outcome]]:
        """Run the queue to its end."""
        with np.errstate(all="ignore"):
            self._settle(0)
            while self.running and not self.interrupted():
                self._chunk()
                yield from self._hand_over()
                if self.progress is not None:
                    under_way = sum(self.clock - run.start for run in self.running)
                    self.progress(self.finished_steps + under_way, self.total)
            for row in reversed(range(len(self.running))):
                self._stop(row, self.clock % _CHUNK, "interrupted")
            yield from self._hand_over()

    def _hand_over(self) -> list[tuple[int, Outcome]]:
        done, self.done = self.done, []
        return done

    def _chunk(self) -> None:
        """Advance all rows to the end of the chunk of buffers."""
        rows = self.rows
        limit = 2.0 * self.tol if rows.mse else self.tol
        while self.running:
            j = self.clock % _CHUNK
            active = len(self.running)
            rows.pull(active, self.squares[j, :active])
            for a, b in rows.sort(active, self.clock % _PERIOD == 0):
                self._exchange(a, b, j)
            rows.push(active)
            if j == _CHUNK - 1:
                for row in range(active):
                    self._collect(row, j)
                j = -1
            j += 1
            self.clock += 1
            self._evaluate(slice(0, active), j)
            if self.stop_failed and self.clock % _PERIOD == 0:
                self._stop_failed(j)
            least = np.minimum.reduce(self.losses[j, :active])
            if self.clock >= self.next_event or not (least >= limit):
                self._settle(j)
            if self.clock % _CHUNK == _CHUNK - 1:
                return

    def _evaluate(self, rows: slice, j: int) -> None:
        squares = self.squares[j, rows]
        self.rows.observe(rows.start, rows.stop, squares)
        if not self.rows.mse:
            self.losses[j, rows] = self.rows.values(squares, rows)
        if self.clock % self.every in self.phases:
            self.drift[j, rows] = self.rows.drift(rows)

    def _settle(self, j: int) -> None:
        """Stop what is done, start what waits, show what is watched; then say when to come back."""
        # From the last row on, so that a row that takes the place of another was seen already.
        for row in reversed(range(len(self.running))):
            self._settle_row(row, j)
        if self.queue and not self.running:
            self.clock += -self.clock % _PERIOD
            self.rows.pending = 0
        room, j = self.rows.y.shape[0], self.clock % _CHUNK
        while self.queue and len(self.running) < room and self.clock % _PERIOD == 0:
            self._start(j)
            self._settle_row(len(self.running) - 1, j)
        self.phases = {run.start % self.every for run in self.running}
        events = [self._next_event(run) for run in self.running]
        if self.queue and len(self.running) < room:
            events.append(self.clock + _PERIOD - self.clock % _PERIOD)
        self.next_event = min(events, default=0)

    def _settle_row(self, row: int, j: int) -> None:
        """Stop the run in a row if it is done, or show it if it is watched now."""
        run = self.running[row]
        step = self.clock - run.start
        value = self.losses[j, row]
        limit = 2.0 * self.tol if self.rows.mse else self.tol
        if not np.isfinite(value):
            self._stop(row, j, "diverged")
        elif value < limit:
            self._stop(row, j, "tolerance")
        elif step == 0 and (bound := self._outside(run)) >= 1.001 * self.tol > 0.0:
            self._stop(row, j, "failure", bound)
        elif step >= self.steps:
            self._stop(row, j, "budget")
        elif step in run.job.watch:
            run.watched.append(Watched(step, self._network(row)))

    def _outside(self, run: _Running) -> float:
        """Return the least loss of any signal at all, if V is trained: 0 if y is in Im A."""
        loss = self.rows.loss
        if not self.stop_outside or not isinstance(loss, RadialLoss):
            return 0.0
        return float(loss.profile(np.array(run.reduced.problem.distance_to_range())))

    def _next_event(self, run: _Running) -> int:
        step = self.clock - run.start
        return run.start + min([self.steps, *(w for w in run.job.watch if w > step)])

    # -- rows --------------------------------------------------------------------------------

    def _start(self, j: int) -> None:
        job, row = self.queue.pop(), len(self.running)
        reduced, self.waiting = (self.waiting or job.system()), None
        self.rows.load(row, reduced, job.step)
        self.running.append(_Running(job, reduced, self.clock))
        self.phases.add(self.clock % self.every)
        self._evaluate(slice(row, row + 1), j)

    def _exchange(self, a: int, b: int, j: int) -> None:
        """Exchange two runs; the arrays of `rows` are exchanged by the caller."""
        self.running[a], self.running[b] = self.running[b], self.running[a]
        for buffer in {id(x): x for x in (self.squares, self.losses, self.drift)}.values():
            buffer[: j + 1, [a, b]] = buffer[: j + 1, [b, a]]

    def _network(self, row: int) -> TwoLayerNetwork:
        reduced = self.running[row].reduced
        inner = reduced.inner + self.rows.dp(row) if self.rows.both else None
        return reduced.trained(reduced.z0 + self.rows.dz(row), inner)

    def _collect(self, row: int, j: int) -> None:
        """Move the buffered values of a row, up to place j, to its run."""
        run = self.running[row]
        begin = self.clock - j
        first = max(0, run.start - begin)
        run.squares.append(self.squares[first : j + 1, row].copy())
        if not self.rows.mse:
            run.losses.append(self.losses[first : j + 1, row].copy())
        due = first + (run.start - begin - first) % self.every
        run.drift.append(self.drift[due : j + 1 : self.every, row].copy())

    def _stop(self, row: int, j: int, status: str, bound: float = 0.0) -> None:
        """Finish the run in a row; the last one takes its place."""
        run = self.running[row]
        self._collect(row, j)
        squares = np.concatenate(run.squares)
        drift = np.concatenate(run.drift)
        recorded = np.arange(0, squares.size, self.every)
        if recorded[-1] != squares.size - 1:
            recorded = np.append(recorded, squares.size - 1)
            drift = np.append(drift, self.rows.drift(slice(row, row + 1)))
        outcome = Outcome(
            squares,
            0.5 * squares if self.rows.mse else np.concatenate(run.losses),
            recorded,
            drift,
            tuple(run.watched),
            self._network(row),
            status,
            bound,
        )
        self.done.append((run.job.index, outcome))
        self.finished_steps += self.steps
        self.next_event = self.clock
        last = len(self.running) - 1
        if row != last:
            self.rows.swap(row, last)
            self._exchange(row, last, j)
        self.running.pop()

    def _stop_failed(self, j: int) -> None:
        """Stop the runs whose loss is proved to stay above the tolerance."""
        assert self.box is not None
        loss = self.rows.loss
        assert isinstance(loss, RadialLoss)
        active = slice(0, len(self.running))
        distances = self.rows.distances(active, self.box, self.squares[j, active])
        for row, run in enumerate(self.running):
            if self.proof_step and self.clock - run.start == self.proof_step:
                distances[row] = max(distances[row], self._unreachable(run.reduced))
        bounds = loss.profile(distances)
        for row in reversed(np.flatnonzero(bounds >= 1.001 * self.tol)):
            self._stop(int(row), j, "failure", float(bounds[row]))

    def _unreachable(self, reduced: Reduced) -> float:
        """Return a lower bound on the distance of y from what the hidden layer can give."""
        assert self.box is not None
        problem, outer = reduced.problem, reduced.outer
        matrix = reduced.inner if outer is None else outer @ reduced.inner
        y, left = problem.observation, problem.spectrum.left
        return unreachable_distance(matrix, y, *self.box, left) * (1.0 - 1e-12)
