"""Sweeps: a grid of cells, so many runs each, on any number of workers, resumable.

A run's seed is derived from the values of its axes, so that it is the same whatever else is run.
Finished runs go to a `Store`; the CSV is written from it in the order of the grid, and is the same,
byte for byte, whatever the workers, the order in which they finished, and the interruptions.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import importlib
import io
import itertools
import json
import os
import platform
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import SeedSequence  # here: NumPy loads it late, and may lose a Ctrl-C then

from kltheory.errors import InputError, LimitReached, brief
from kltheory.paper.store import Store, canonical, write_whole

__all__ = ["Failure", "Progress", "Sweep", "SweepResult", "run_seed", "run_sweep"]

Value = int | float | str
Row = Sequence[int | float | str | bool | None]
Work = Callable[[Mapping[str, Value], Mapping[str, Any], Sequence[int]], Sequence[Sequence[Row]]]
"""work(cell, settings, seeds): for each seed the rows of that run.  A function of a module, so that
other processes can find it; a run's rows must not depend on the other seeds of the call."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""Variables that keep linear algebra to one thread: workers share the cores, and sums keep their
order."""

_RETRIES = 2
_MOST_DEATHS = 50
_WINDOW = 64


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """What is to be run."""

    name: str
    """The name of its files."""
    axes: Mapping[str, Sequence[Value]]
    """Axis -> its values; a cell is one value of each, in this order."""
    runs: int
    """Runs for each cell."""
    work: Work
    """Does some runs of a cell."""
    columns: tuple[str, ...]
    """Names of the numbers in a row."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that the numbers depend on: plain data, given to `work`."""
    seed: int = 0
    """The root of all seeds."""
    seed_axes: tuple[str, ...] | None = None
    """The axes that a seed depends on; along the others the same draws are compared.  None: all."""
    chunk: int = 50
    """At most so many runs of a cell are done in one piece, and lost by a kill."""
    cost: Callable[[Mapping[str, Value]], float] | None = None
    """How long a run of a cell takes, relative to the others; for the time that is left."""

    def __post_init__(self) -> None:
        """Refuse an empty grid, values that are given twice, and names that are taken."""
        if self.runs < 1:
            raise InputError(f"runs: got {self.runs}; it must be at least 1.")
        if isinstance(self.seed, bool) or not self.seed >= 0:
            raise InputError(f"seed: got {self.seed!r}; it must be a whole number >= 0.")
        for axis, values in self.axes.items():
            if not values or len({canonical(v) for v in values}) < len(values):
                raise InputError(f"{axis}: got {list(values)}; give distinct values, at least one.")
        names = [*self.axes, "run", "seed", *self.columns]
        if len(set(names)) < len(names):
            raise InputError(f"the names {', '.join(names)} are not distinct.")

    def cells(self) -> Iterator[dict[str, Value]]:
        """Yield the cells in the order of the grid."""
        for values in itertools.product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))

    def seed_of(self, cell: Mapping[str, Value], run: int) -> int:
        """Return the seed of a run."""
        used = cell if self.seed_axes is None else {a: cell[a] for a in self.seed_axes}
        return run_seed(self.seed, used, run)


def run_seed(root: int, cell: Mapping[str, Value], run: int) -> int:
    """Return the seed of a run of a cell: 63 bits, spawned from the root by the axis values.

    >>> run_seed(0, {"k": 20, "n": 60}, 3) == run_seed(0, {"n": 60, "k": 20}, 3)
    True
    >>> run_seed(0, {"k": 20, "n": 60}, 3)
    3613762030556397561
    """
    text = canonical([dict(cell), run])
    key = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")
    sequence = SeedSequence(root, spawn_key=tuple(int(word) for word in key))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is."""

    done: int
    """Runs that are done, earlier sessions included."""
    total: int
    """Runs in all."""
    failed: int
    """Runs that failed in this session."""
    fraction: float
    """The part of the work that is done, by its cost."""
    seconds_left: float | None
    """How long it will take still; None before anything is known."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that raised an error, or ended its worker."""

    cell: Mapping[str, Value]
    """Where in the grid."""
    run: int
    """Which run of the cell."""
    seed: int
    """Its seed: with it the failure can be seen again."""
    error: str
    """What was raised."""

    def __str__(self) -> str:
        where = ", ".join(f"{axis}={value}" for axis, value in self.cell.items())
        return f"{where or 'the cell'}, run {self.run}, seed {self.seed}: {self.error}"


@dataclass(frozen=True, slots=True, eq=False)
class SweepResult:
    """What a sweep gave."""

    columns: tuple[str, ...]
    """Names of the entries of a row: the axes, run, seed, and the columns of the sweep."""
    rows: list[tuple[Any, ...]]
    """All rows, in the order of the CSV."""
    failures: tuple[Failure, ...]
    """Runs that are missing from the rows."""
    csv: Path
    """The file."""
    seconds: float
    """Time of this session."""
    cpu_seconds: float
    """CPU time of all workers over all sessions."""
    resumed: int
    """Runs that were there from an earlier session."""
    workers: tuple[str, ...]
    """The machines that worked in this session."""
    warnings: tuple[str, ...]
    """What a reader should know."""

    def column(self, name: str) -> list[Any]:
        """Return one column."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]

    def __repr__(self) -> str:
        """Return what there is, in a line."""
        failed = f", {len(self.failures)} runs failed" if self.failures else ""
        return (
            f"SweepResult({len(self.rows)} rows of {', '.join(self.columns)}{failed}; {self.csv})"
        )


def run_sweep(
    sweep: Sweep,
    folder: str | Path,
    *,
    executor: Executor | str | None = None,
    jobs: int | None = None,
    resume: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> SweepResult:
    """Run what is missing of a sweep and write folder/NAME.csv from folder/NAME.sqlite.

    executor: None for processes on this machine (`jobs` of them; default: one for each core),
        "dask://HOST:PORT" for a Dask cluster, or any `concurrent.futures.Executor`, which is left
        open.  Where linear algebra runs with more than one thread, last digits may differ.
    resume: go on from the store, if there is one; False empties it first.
    progress: called after every finished piece.

    A run that raises an error, or ends its worker three times, is listed in `failures` and tried
    again next time; the others go on.  On Ctrl-C or any kill the finished pieces are in the store.

    Raises InputError if the store belongs to something else; LimitReached if the workers are gone.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        shown = brief(str(folder), 80)
        raise InputError(f"cannot make {shown}: {error.strerror or error}.") from None
    about = {
        "sweep": dict(sweep.settings),
        "seed": sweep.seed,
        "seed_axes": None if sweep.seed_axes is None else list(sweep.seed_axes),
        "columns": list(sweep.columns),
        **_versions(),
    }
    started = time.monotonic()
    with Store(folder / f"{sweep.name}.sqlite", sweep.name, about, fresh=not resume) as store:
        session = _Session(sweep, store, progress)
        resumed = session.done
        if session.queue:
            with _opened(executor, jobs) as pool:
                session.run(pool)
        rows, texts = session.collect()
        target = folder / f"{sweep.name}.csv"
        try:
            write_whole(target, texts)
        except OSError as error:
            raise LimitReached(
                f"cannot write {str(target)!r}: {error.strerror or error}. All finished runs are "
                f"kept in {store.path.name}: make room, and the same call goes on."
            ) from None
        cells = {canonical(cell) for cell in sweep.cells()}
        cpu = sum(seconds for cell, seconds in store.cpu_seconds().items() if cell in cells)
        return SweepResult(
            columns=(*sweep.axes, "run", "seed", *sweep.columns),
            rows=rows,
            failures=session.failures(cells),
            csv=target,
            seconds=time.monotonic() - started,
            cpu_seconds=cpu,
            resumed=resumed,
            workers=tuple(sorted(session.hosts)),
            warnings=tuple(session.warnings),
        )


def _versions() -> dict[str, str]:
    """Return the versions that the digits of a result may depend on."""
    import scipy

    import kltheory

    return {"kltheory": kltheory.__version__, "numpy": np.__version__, "scipy": scipy.__version__}


# -- the side of the worker ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """Some runs of a cell; two tasks are never equal."""

    cell: Mapping[str, Value]
    runs: tuple[int, ...]
    seeds: tuple[int, ...]

    def split(self) -> list[_Task]:
        """Return one task for each run."""
        pairs = zip(self.runs, self.seeds, strict=True)
        return [_Task(self.cell, (run,), (seed,)) for run, seed in pairs]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a worker sends back: (run, rows as JSON) and (run, error)."""

    done: list[tuple[int, str]]
    failed: list[tuple[int, str]]
    cpu: float
    host: str
    versions: dict[str, str]
    one_thread: bool


def _do(work: Work, task: _Task, settings: Mapping[str, Any], width: int) -> _Answer:
    """Do a task; if it fails as a whole, run by run, so that one run spoils only itself."""
    start = time.thread_time()
    done: list[tuple[int, str]] = []
    failed: list[tuple[int, str]] = []
    try:
        rows = _plain(work(task.cell, settings, task.seeds), len(task.runs), width)
        done = list(zip(task.runs, rows, strict=True))
    except Exception as first:
        if len(task.runs) == 1:
            failed = [(task.runs[0], _described(first))]
        else:
            for part in task.split():
                answer = _do(work, part, settings, width)
                done += answer.done
                failed += answer.failed
    return _Answer(
        done,
        failed,
        time.thread_time() - start,
        platform.node(),
        _versions(),
        any(os.environ.get(name) == "1" for name in THREADS),
    )


def _described(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__


def _plain(runs: Sequence[Sequence[Row]], count: int, width: int) -> list[str]:
    """Return the rows of each run as JSON, which gives the same numbers back."""
    if len(runs) != count:
        raise TypeError(f"the work gave {len(runs)} results for {count} seeds")
    for row in itertools.chain.from_iterable(runs):
        if len(row) != width:
            raise TypeError(f"a row has {len(row)} entries for {width} columns")
    return [canonical([list(row) for row in rows]) for rows in runs]


def _begin_worker(gate: Any) -> None:
    """Prepare a worker process: it ends with its parent, and leaves Ctrl-C to it."""
    if not hasattr(signal, "pthread_sigmask"):  # elsewhere it is blocked since the start
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        # Nothing is ever sent: the pipe ends when the parent closes it or is gone.
        with contextlib.suppress(EOFError, OSError):
            gate.recv()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _ready() -> None:
    """Do nothing, in a worker."""


# -- the engines -----------------------------------------------------------------------------------


class _Pool:
    """An executor with what the session needs to know about it."""

    window = _WINDOW
    """How many tasks are handed out at a time."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Hand a call to the executor."""
        return self.executor.submit(function, *arguments)

    def renew(self) -> None:
        """Replace a broken executor."""
        raise LimitReached(
            "the executor broke. What is finished is kept: run again with a new executor."
        )

    def stop(self) -> None:
        """End what was opened here."""


class _LocalPool(_Pool):
    """Processes on this machine, with linear algebra on one thread each."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.window = jobs, 2 * jobs
        self.renew(first=True)

    def renew(self, first: bool = False) -> None:
        import multiprocessing

        if not first:
            self.stop()
        context = multiprocessing.get_context("spawn")
        self._gate, self._key = context.Pipe(duplex=False)
        self.executor = ProcessPoolExecutor(
            self.jobs, mp_context=context, initializer=_begin_worker, initargs=(self._gate,)
        )
        try:
            self.submit(_ready).result()
        except BrokenExecutor:
            self.stop()
            raise LimitReached(
                "the worker processes do not start. In a script, put the call under "
                "`if __name__ == '__main__':`; otherwise memory may be short: lower jobs."
            ) from None
        except BaseException:
            self.stop()
            raise

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        # A worker that this starts inherits that Ctrl-C is blocked, from its first moment on.
        if not hasattr(signal, "pthread_sigmask"):
            return self.executor.submit(function, *arguments)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self.executor.submit(function, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def stop(self) -> None:
        """End the workers now: whatever is worth keeping is in the store."""
        self._key.close()
        self.executor.shutdown(wait=True, cancel_futures=True)
        self._gate.close()


class _DaskPool(_Pool):
    """A Dask cluster by the address of its scheduler."""

    def __init__(self, address: str) -> None:
        try:
            distributed: Any = importlib.import_module("distributed")
        except ImportError:
            raise InputError(
                "Dask is not installed: pip install 'kltheory[distributed]'."
            ) from None
        try:
            self._client = distributed.Client(
                f"tcp://{address}", timeout="5s", set_as_default=False
            )
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(f"no Dask scheduler answers at {address}: {error}.") from None
        super().__init__(self._client.get_executor(pure=False))
        threads = sum(self._client.nthreads().values())
        self.window = max(2 * threads, 4)

    def stop(self) -> None:
        self.executor.shutdown(wait=False)
        self._client.close()


@contextlib.contextmanager
def _opened(executor: Executor | str | None, jobs: int | None) -> Iterator[_Pool]:
    """Open the engine, and end what was opened here."""
    if executor is not None and jobs is not None:
        raise InputError("give jobs or an executor, not both.")
    if isinstance(executor, Executor):
        yield _Pool(executor)
        return
    if executor is None:
        if jobs is None:
            jobs = _cores()
        if isinstance(jobs, bool) or jobs < 1:
            raise InputError(f"jobs: got {jobs!r}; it must be a whole number >= 1.")
        with _one_thread(), contextlib.ExitStack() as stack:
            pool: _Pool = _LocalPool(jobs)
            stack.callback(pool.stop)
            yield pool
        return
    kind, _, address = str(executor).partition("://")
    if kind != "dask" or not address:
        raise InputError(
            f"executor: got {brief(executor)}; give dask://HOST:PORT, or a "
            "concurrent.futures.Executor."
        )
    with contextlib.ExitStack() as stack:
        pool = _DaskPool(address)
        stack.callback(pool.stop)
        yield pool


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start in this block do linear algebra on one thread."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# -- the side of the parent ------------------------------------------------------------------------


class _Session:
    """One go at what is missing."""

    def __init__(
        self, sweep: Sweep, store: Store, progress: Callable[[Progress], None] | None
    ) -> None:
        self.sweep, self.store, self.progress = sweep, store, progress
        self.hosts: set[str] = set()
        self.warnings: list[str] = []
        self.done = self.failed = self.deaths = 0
        self.died: dict[_Task, int] = {}
        self.cost_done = self.cost_left = self.cost_before = 0.0
        there, tasks = store.done(), []
        for cell in sweep.cells():
            key, price = canonical(cell), self._price(cell)
            missing = [run for run in range(sweep.runs) if (key, run) not in there]
            self.done += sweep.runs - len(missing)
            self.cost_before += price * (sweep.runs - len(missing))
            self.cost_left += price * len(missing)
            for start in range(0, len(missing), sweep.chunk):
                runs = tuple(missing[start : start + sweep.chunk])
                tasks.append(_Task(cell, runs, tuple(sweep.seed_of(cell, run) for run in runs)))
        # The dearest first, so that no worker is left with a long one at the end.
        tasks.sort(key=lambda task: -self._price(task.cell) * len(task.runs))
        self.queue = deque(tasks)
        self.suspects: deque[_Task] = deque()
        self.flight: dict[Future[_Answer], _Task] = {}
        self.started = time.monotonic()

    def _price(self, cell: Mapping[str, Value]) -> float:
        return 1.0 if self.sweep.cost is None else float(self.sweep.cost(cell))

    def run(self, pool: _Pool) -> None:
        """Do the queue to its end."""
        self.started = time.monotonic()
        self._tell()
        try:
            while self.queue or self.suspects or self.flight:
                self._hand_out(pool)
                ready, _ = wait(self.flight, return_when=FIRST_COMPLETED)
                broken = any([self._take(future) for future in ready])
                if broken:
                    pool.renew()
        finally:
            for future in self.flight:
                future.cancel()

    def _hand_out(self, pool: _Pool) -> None:
        """Submit what may run now; a task under suspicion runs alone, so that blame is exact."""
        while self.queue and not self.suspects and len(self.flight) < pool.window:
            self._submit(pool, self.queue.popleft())
        if self.suspects and not self.flight:
            self._submit(pool, self.suspects.popleft())

    def _submit(self, pool: _Pool, task: _Task) -> None:
        settings, width = self.sweep.settings, len(self.sweep.columns)
        try:
            future = pool.submit(_do, self.sweep.work, task, settings, width)
        except BrokenExecutor:
            future = Future()
            future.set_exception(BrokenExecutor())
        self.flight[future] = task

    def _take(self, future: Future[_Answer]) -> bool:
        """Keep the answer of a task; return whether the pool is broken."""
        if future not in self.flight:  # taken together with another that broke
            return False
        task = self.flight.pop(future)
        try:
            answer = future.result()
        except BrokenExecutor:
            return self._broken(task)
        except CancelledError:
            raise LimitReached(
                "the executor went away. What is finished is kept: run again."
            ) from None
        except Exception as error:
            if type(error).__name__ == "KilledWorker":  # Dask gave up on it
                self._died(task)
            else:
                self._fail(task, _described(error))
            return False
        self._accept(task, answer)
        return False

    def _broken(self, task: _Task) -> bool:
        """Put all that was under way aside; only one that ran alone is to blame."""
        if self.flight:
            # Some of them may have been done before the pool broke.
            for future, other in list(self.flight.items()):
                if future.done() and not future.cancelled() and future.exception() is None:
                    self._accept(other, future.result())
                else:
                    self.suspects.append(other)
                del self.flight[future]
            self.suspects.append(task)
            self._count_death(task)
        else:
            self._died(task)
        return True

    def _died(self, task: _Task) -> None:
        """Count a death of a worker with this task; after some, split it or give it up."""
        self._count_death(task)
        self.died[task] = self.died.get(task, 0) + 1
        if self.died[task] <= _RETRIES:
            self.suspects.append(task)
        elif len(task.runs) > 1:
            self.suspects.extend(task.split())
        else:
            self._fail(task, f"its worker process died {self.died[task]} times")

    def _count_death(self, task: _Task) -> None:
        self.deaths += 1
        if self.deaths > _MOST_DEATHS:
            raise LimitReached(
                f"{self.deaths} worker processes died, the last one with {dict(task.cell)}: memory "
                "may be short; lower jobs. What is finished is kept."
            )

    def _accept(self, task: _Task, answer: _Answer) -> None:
        if answer.versions != _versions():
            raise InputError(
                f"the worker on {answer.host} has {answer.versions}, this machine {_versions()}: "
                "install the same versions, so that results are the same."
            )
        self.hosts.add(answer.host)
        if not answer.one_thread:
            said = (
                f"linear algebra on {answer.host} may use several threads: set OMP_NUM_THREADS=1 "
                "there, or last digits may differ"
            )
            if said not in self.warnings:
                self.warnings.append(said)
        key, seeds = canonical(task.cell), dict(zip(task.runs, task.seeds, strict=True))
        share = answer.cpu / len(task.runs)
        self.store.add(
            [(key, run, seeds[run], rows, share) for run, rows in answer.done],
            [(key, run, seeds[run], error) for run, error in answer.failed],
        )
        self._count(task, len(answer.done), len(answer.failed))

    def _fail(self, task: _Task, error: str) -> None:
        key = canonical(task.cell)
        pairs = zip(task.runs, task.seeds, strict=True)
        self.store.add(failures=[(key, run, seed, error) for run, seed in pairs])
        self._count(task, 0, len(task.runs))

    def _count(self, task: _Task, done: int, failed: int) -> None:
        self.done += done
        self.failed += failed
        cost = self._price(task.cell) * len(task.runs)
        self.cost_done += cost
        self.cost_left -= cost
        self._tell()

    def _tell(self) -> None:
        if self.progress is None:
            return
        left = None
        if self.cost_done > 0:
            elapsed = time.monotonic() - self.started
            left = max(0.0, elapsed * self.cost_left / self.cost_done)
        whole = self.cost_before + self.cost_done + self.cost_left
        fraction = 1.0 - max(0.0, self.cost_left) / whole if whole > 0 else 1.0
        total = self.sweep.runs * sum(1 for _ in self.sweep.cells())
        self.progress(Progress(self.done, total, self.failed, fraction, left))

    # -- what came of it ---------------------------------------------------------------------------

    def collect(self) -> tuple[list[tuple[Any, ...]], str]:
        """Return all rows in the order of the grid, and as CSV."""
        rows: list[tuple[Any, ...]] = []
        for cell in self.sweep.cells():
            for run, seed, text in self.store.rows(canonical(cell), self.sweep.runs):
                rows += [(*cell.values(), run, seed, *row) for row in json.loads(text)]
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow((*self.sweep.axes, "run", "seed", *self.sweep.columns))
        writer.writerows([_cell_text(value) for value in row] for row in rows)
        return rows, stream.getvalue()

    def failures(self, cells: set[str]) -> tuple[Failure, ...]:
        """Return the runs of this grid that failed."""
        return tuple(
            Failure(json.loads(cell), run, seed, error)
            for cell, run, seed, error in self.store.failures()
            if cell in cells and run < self.sweep.runs
        )


def _cell_text(value: Any) -> str:
    """Write a value for CSV: the shortest digits that give the number back; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
