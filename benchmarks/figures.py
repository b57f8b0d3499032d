"""The time of the paper's figures at its scale: measured, or estimated from some of their cells.

    python benchmarks/figures.py [--whole] [fig1a fig1b ...]

--whole makes each figure by `kltheory reproduce FIG --scale paper` on all cores, in a new process
and a new folder, and reads its manifest.  Otherwise: CPU seconds of every fifth value of each long
axis, all networks of these cells in their batches, times what that is a part of; of the figures
with few cells, a tenth of the networks.  A machine with two idle cores takes half.  For Figure 1,
beside it, what a straightforward PyTorch loop (autograd, float32, one thread) would take: its
measured time per iteration, at nine sizes of the grid, times the iterations that each run took
here; a run that does not converge takes all 25,000.  PyTorch is no dependency of the package:
    pip install torch==2.13.0
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import Cell, Column, Table, load

# isort: split

import numpy as np

from kltheory.paper.figures import FIGURES, Recipe, recipe
from kltheory.paper.runs import draw
from kltheory.paper.sweep import run_sweep

ENGINES = ("exact", "descent")
EVERY, LONG = 5, 10
"""A sample takes every fifth value of the axes that have ten or more."""
ITERATIONS = 100
ASKED = {
    ("fig1a", "exact"): 120,
    ("fig1a", "descent"): 600,
    ("fig1b", "exact"): 300,
    ("fig1b", "descent"): 1500,
    **{(name, engine): 600 for name in ("fig2a", "fig2b", "fig3") for engine in ENGINES},
}
"""Seconds on a machine with two cores that are asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A figure, or a sample of its runs."""

    cpu: float
    """CPU seconds, of the whole figure."""
    wall: float | None
    """Seconds from start to end, if the whole figure was made."""
    rows: list[dict[str, str]]
    """The data."""
    part: float
    """Which share of the networks these are."""


def thinned(chosen: Recipe) -> tuple[Recipe, float]:
    """A part of the networks, in batches of the size of the whole figure, and which part it is."""
    long = [axis for axis in chosen.axes if len(chosen.value(axis)) >= LONG]
    if not long:
        fewer = chosen.with_values({"runs": chosen.chunk})
        return fewer, chosen.chunk / chosen.value("runs")
    fewer = chosen.with_values({axis: chosen.value(axis)[EVERY // 2 :: EVERY] for axis in long})
    return fewer, math.prod(len(fewer.value(axis)) / len(chosen.value(axis)) for axis in long)


def sample(chosen: Recipe, engine: str) -> Made:
    """Run a part of the networks."""
    fewer, part = thinned(chosen)
    with tempfile.TemporaryDirectory() as folder:
        found = run_sweep(fewer.sweep(engine, 1), folder)
        return Made(found.cpu_seconds / part, None, _rows(found.csv), part)


def whole(chosen: Recipe, engine: str) -> Made:
    """Make the figure by its command, on all cores."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "kltheory", "reproduce", chosen.figure, "--scale", "paper",
             "--engine", engine, "--out", folder, "--jobs", str(os.cpu_count() or 1)],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wall = time.perf_counter() - start
        spent = json.loads(Path(folder, f"{chosen.figure}.json").read_text("utf-8"))["time"]
        rows = _rows(Path(folder, f"{chosen.figure}.csv"))
    return Made(spent["cpu_seconds"], wall, rows, 1.0)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def seconds_per_iteration(given: dict) -> float:
    """Return the CPU time of one step of the loop that one would write in PyTorch."""
    import torch

    torch.set_num_threads(1)
    problem, net = draw(given, 0)
    a, y, u, v = (
        torch.tensor(x, dtype=torch.float32)
        for x in (problem.operator, problem.observation, net.u, net.V)
    )
    w = torch.tensor(net.W, dtype=torch.float32, requires_grad=True)

    def steps(count: int) -> float:
        start = time.process_time()
        for _ in range(count):
            x = v @ torch.sigmoid(w @ u) / net.k**0.5
            loss = 0.5 * torch.sum((a @ x - y) ** 2)
            loss.item()  # compared with the tolerance
            (gradient,) = torch.autograd.grad(loss, [w])
            with torch.no_grad():
                w.sub_(given["step"] * gradient)
        return (time.process_time() - start) / count

    steps(5)
    return steps(ITERATIONS)


def torch_seconds(chosen: Recipe, found: Made) -> float | None:
    """Return the CPU time of the whole figure in PyTorch; None where PyTorch is not there."""
    k_axis, other = (np.array(chosen.value(axis)) for axis in chosen.axes)
    rest = chosen.sweep("descent", 0).settings
    some = [np.unique(axis[[0, axis.size // 2, -1]]) for axis in (k_axis, other)]
    try:
        measured = {
            (k, x): seconds_per_iteration({**rest, "k": int(k), chosen.axes[1]: int(x)})
            for k in some[0]
            for x in some[1]
        }
    except ImportError:
        return None

    def near(value: int, axis: np.ndarray) -> int:
        return int(axis[np.argmin(np.abs(np.log(axis / value)))])

    total = 0.0
    for row in found.rows:
        k, x = (int(row[axis]) for axis in chosen.axes)
        converged = row["converged"].lower() in ("true", "1")
        count = int(row["steps"]) if converged else chosen.value("steps")
        total += count * measured[near(k, some[0]), near(x, some[1])]
    return total / found.part


def figures(entire: bool, names: Sequence[str] = tuple(FIGURES)) -> Table:
    """Measure each figure with both engines: entire, or a part of its networks."""
    rows: list[tuple[Cell, ...]] = []
    notes = [
        f"{os.cpu_count()} cores. Asked: wall time on a machine with two cores. Where the wall "
        "time is -, the CPU time is that of a part of the networks divided by that part."
    ]
    for name in names:
        chosen = recipe(name).at("paper")
        for engine in ENGINES:
            found = whole(chosen, engine) if entire else sample(chosen, engine)
            slow = None
            if engine == "descent" and name.startswith("fig1"):
                slow = torch_seconds(chosen, found)
                if slow is None:
                    notes.append(f"{name}: PyTorch is not installed, not compared.")
            rows.append(
                (name, engine, found.part, found.wall, found.cpu, ASKED[name, engine],
                 slow, None if slow is None else slow / found.cpu, load())
            )  # fmt: skip
    return Table(
        "The paper's figures at its scale",
        (
            Column("figure"),
            Column("engine"),
            Column("part", "share"),
            Column("wall time", "s"),
            Column("CPU time", "s"),
            Column("asked at most", "s"),
            Column("PyTorch, CPU time", "s"),
            Column("PyTorch / kltheory", "times"),
            Column("load", "load"),
        ),
        tuple(rows),
        tuple(notes),
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", default=list(FIGURES), choices=[*FIGURES, []])
    parser.add_argument("--whole", action="store_true", help="make the figures, in minutes")
    wanted = parser.parse_args()
    print(figures(wanted.whole, wanted.figures).text())


if __name__ == "__main__":
    main()
