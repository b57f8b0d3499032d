"""How the cost grows: exponents of k, m, n and the number of runs, and of the number of workers.

    python benchmarks/cost.py [--quick]

CPU time of a descent step, from runs with few and with many steps, whose difference is steps alone,
in rounds in which the sizes take turns; the exponent is the slope in logarithms.  Wall time of a
sweep on 1, 2, ... processes.  Beside them what the reductions promise: a step costs O(mk) whatever
n is, and n only counts before the first step.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from measure import Cell, Column, Table, cpu, load, median, slope

# isort: split

from dynamics import MODES, STEP, draws
from figures import thinned

from kltheory.empirical.dynamics import descend
from kltheory.paper.figures import recipe
from kltheory.paper.sweep import run_sweep


@dataclass(frozen=True, slots=True)
class Axis:
    """One size that grows while the others stay."""

    name: str
    values: tuple[int, ...]
    expected: float
    """The exponent of a step."""
    setup: float | None = None
    """The exponent of what comes before the first step, where it is asked for."""

    others: tuple[int, int, int] = (10, 200, 4000)
    """(m, n, k), of which the one that grows is replaced."""

    def size(self, value: int) -> tuple[tuple[int, int, int], int]:
        """(m, n, k) and the number of runs."""
        m, n, k, runs = (
            value if name == self.name else other
            for name, other in zip(("m", "n", "k", "runs"), (*self.others, 1), strict=True)
        )
        return (m, n, k), runs

    def fixed(self) -> str:
        """The sizes that stay."""
        pairs = zip(("m", "n", "k"), self.others, strict=True)
        return ", ".join(f"{name} = {value:,}" for name, value in pairs if name != self.name)


AXES = (
    Axis("k", (4000, 8000, 16_000, 32_000), 1),
    Axis("m", (40, 80, 160, 320), 1, others=(40, 400, 2000)),
    Axis("n", (400, 800, 1600, 3200), 0, 1),
    Axis("runs", (12, 24, 48, 96), 1, others=(10, 200, 500)),
)


def steps_and_setup(
    axis: Axis, train: str, steps: int, count: int
) -> tuple[list[float], list[float]]:
    """CPU seconds of a step, and of what comes before the steps, at each value of an axis."""
    whole: list[tuple[Callable[[], object], Callable[[], object]]] = []
    for value in axis.values:
        size, runs = axis.size(value)

        def train_for(length: int, size=size, runs=runs) -> None:
            problems, nets = draws(size, runs, 5)
            descend(problems, nets, train, step=STEP, steps=length, tol=0.0, every=length or 1,
                    allow_unstable=True, stop_failed=False)  # fmt: skip

        whole.append((lambda f=train_for: f(0), lambda f=train_for: f(steps)))
    for _, long in whole:
        long()
    times = [[(cpu(short), cpu(long)) for short, long in whole] for _ in range(count)]
    columns = list(zip(*times, strict=True))
    each = [median([(b - a) / steps for a, b in column]) for column in columns]
    return each, [median([a for a, _ in column]) for column in columns]


def exponents(quick: bool, axes: Sequence[Axis] = AXES) -> Table:
    """Fit the exponents of a step, and of the set-up in n."""
    rows: list[tuple[Cell, ...]] = []
    for axis in axes:
        for train in MODES:
            steps, before = steps_and_setup(axis, train, 100 if quick else 400, 3 if quick else 5)

            def row(
                what: str,
                times: list[float],
                expected: float,
                axis: Axis = axis,
                train: str = train,
            ) -> None:
                rows.append((axis.name, ", ".join(f"{value:,}" for value in axis.values),
                             axis.fixed(), what, train, times[0], times[-1],
                             slope(axis.values, times), expected, load()))  # fmt: skip

            row("a step", steps, axis.expected)
            if axis.setup is not None:
                row("set-up", before, axis.setup)
    return Table(
        "How the cost of training grows",
        (
            Column("grows"),
            Column("values"),
            Column("with"),
            Column("cost of"),
            Column("trained"),
            Column("first", "s"),
            Column("last", "s"),
            Column("exponent", "slope"),
            Column("expected", "slope"),
            Column("load", "load"),
        ),
        tuple(rows),
        ("CPU time; several runs are one batch. A step has a part that does not grow, the calls of "
         "NumPy, and slows down where arrays leave a cache; the set-up draws V and forms A V.",),
    )  # fmt: skip


def workers(figure: str) -> Table:
    """Measure the wall time of a part of a figure as workers grow."""
    counts = [1]
    while 2 * counts[-1] <= (os.cpu_count() or 1):
        counts.append(2 * counts[-1])
    chosen, part = thinned(recipe(figure).at("paper"))
    seconds = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            seconds.append(run_sweep(chosen.sweep("descent", 1), folder, jobs=count).seconds)
    fitted = slope([float(c) for c in counts], seconds) if len(counts) > 1 else None
    rows = [
        (count, spent, seconds[0] / spent, fitted if count == counts[-1] else None, -1, load())
        for count, spent in zip(counts, seconds, strict=True)
    ]
    return Table(
        f"How a sweep speeds up with workers: {100 * part:.0f} % of {figure} at paper scale",
        (
            Column("workers", "count"),
            Column("wall time", "s"),
            Column("speed-up", "times"),
            Column("exponent", "slope"),
            Column("expected", "slope"),
            Column("load", "load"),
        ),
        tuple(rows),
        ("Processes on this machine, their start included; other work on it is seen here.",),
    )


def main() -> None:
    """Print both tables."""
    quick = "--quick" in sys.argv[1:]
    print(exponents(quick).text(), flush=True)
    print(workers("fig1a" if quick else "fig1b").text())


if __name__ == "__main__":
    main()
