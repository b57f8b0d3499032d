"""What the benchmarks share: one thread, CPU time, pieces of work in turns, and tables of numbers.

To be imported before NumPy: it keeps linear algebra to one thread.
"""

# ruff: noqa: E402

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Cell",
    "Column",
    "Table",
    "cpu",
    "family_cpu",
    "load",
    "median",
    "rounds",
    "shown",
    "slope",
]

Cell = str | float | int | bool | None
"""What stands in a table; None where there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    """Its head."""
    unit: str = ""
    """"s" (seconds), "times" (a ratio), "slope" (an exponent), "share", "error", "load" or ""."""


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers that were measured, raw: in seconds, ratios, exponents."""

    title: str
    """What was measured."""
    columns: tuple[Column, ...]
    """What the entries of a row are."""
    rows: tuple[tuple[Cell, ...], ...]
    """The numbers."""
    notes: tuple[str, ...] = ()
    """What a reader should know: how it was measured, what was left out and why."""

    def column(self, name: str) -> list[Any]:
        """The entries of one column that are there."""
        at = [c.name for c in self.columns].index(name)
        return [row[at] for row in self.rows if row[at] is not None]

    def text(self) -> str:
        """The table for a terminal."""
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                word.ljust(width) if c.unit == "" else word.rjust(width)
                for word, width, c in zip(row, widths, self.columns, strict=True)
            ).rstrip()
            for row in cells
        ]
        return "\n".join([f"-- {self.title}", *lines, *(f"   {note}" for note in self.notes)])

    def markdown(self) -> str:
        """The table for a page."""
        head, *rows = self._cells()
        rule = ["---" if c.unit == "" else "---:" for c in self.columns]
        lines = ["| " + " | ".join(w.replace("|", "\\|") for w in row) + " |"
                 for row in (head, rule, *rows)]  # fmt: skip
        notes = [f"\n{note}" for note in self.notes]
        return "\n".join([f"### {self.title}\n", *lines, *notes]) + "\n"

    def _cells(self) -> list[list[str]]:
        rows = [
            [shown(cell, c.unit) for cell, c in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]
        return [[c.name for c in self.columns], *rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "title": self.title,
            "columns": [{"name": c.name, "unit": c.unit} for c in self.columns],
            "rows": [[_plain(cell) for cell in row] for row in self.rows],
            "notes": list(self.notes),
        }

    @classmethod
    def of_dict(cls, data: dict[str, Any]) -> Table:
        """The table that gave these plain data."""
        return cls(
            data["title"],
            tuple(Column(c["name"], c["unit"]) for c in data["columns"]),
            tuple(map(tuple, data["rows"])),
            tuple(data["notes"]),
        )


def _plain(value: Any) -> Cell:
    """A number of Python instead of NumPy; None for what JSON has no number for."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(value: Cell, unit: str = "") -> str:
    """A number in words, to three digits.

    >>> shown(0.00123, "s"), shown(84.21, "times"), shown(250.0, "s"), shown(None)
    ('1.23 ms', '84.2', '4.2 min', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if unit == "s":
        return _duration(value)
    if unit == "slope":
        return f"{value:+.2f}"
    if unit == "share":
        return f"{100 * value:.0f} %"
    if unit == "error":
        return f"{value:.1e}"
    if unit == "load":
        return f"{value:.1f}"
    if isinstance(value, int) or value >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _duration(seconds: float) -> str:
    if seconds >= 100:
        return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
    unit, size = next((u for u in units if seconds >= 0.9995 * u[1]), units[-1])
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 99.5 else f"{value:.3g} {unit}"


def median(values: Sequence[float]) -> float:
    """The median of some numbers, NaN of none."""
    return float(statistics.median(values)) if len(values) else math.nan


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The exponent p of times ≈ c sizes^p, by least squares in logarithms.

    >>> round(slope([1, 2, 4], [3, 12, 48]), 12)
    2.0
    """
    x, y = ([math.log(v) for v in values] for values in (sizes, times))
    return statistics.linear_regression(x, y).slope


def cpu(work: Callable[[], object]) -> float:
    """The CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def rounds(count: int, *works: Callable[[], object]) -> list[list[float]]:
    """The CPU times of each piece of work, in `count` rounds in which the pieces take turns.

    A first round warms the caches and is not counted.
    """
    for work in works:
        work()
    times = [[cpu(work) for work in works] for _ in range(count)]
    return [list(column) for column in zip(*times, strict=True)]


def family_cpu() -> float:
    """CPU seconds of this process and its children, those still running included (Linux).

    Elsewhere the children that still run are not seen.
    """
    import resource

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for pid in _children():
        try:
            # The kernel's number of the CPU clock of another process.
            total += time.clock_gettime((~pid << 3) | 2)
        except OSError:
            continue  # it has just ended
    return total


def _children() -> list[int]:
    """The processes that this one started and that still run, on Linux."""
    found = []
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid():
            found.append(pid)
    return found


def load() -> float:
    """How many processes want to run just now, averaged over a minute."""
    return os.getloadavg()[0]
