"""How long a command takes to start, as a multiple of what it cannot do without.

    python benchmarks/startup.py [--runs 15]

The runs of a pair are interleaved, so that other work on the machine hits both alike; the ratio is
that of the medians.  Times are of whole processes, the interpreter included; the processor time,
children included, is shown as well, because other work disturbs it less.  All runs take their
bytecode from one folder of their own, filled by the first run of each pair, whatever is installed.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from measure import Cell, Column, Table

PAIRS = (
    (
        "import kltheory",
        ("-c", "import kltheory"),
        "import click, rich",
        None,
    ),
    ("kltheory --help", ("-m", "kltheory", "--help"), "import click, rich", 2.5),
    ("kltheory --version", ("-m", "kltheory", "--version"), "import click, rich", 2.5),
    (
        "kltheory bound --loss lojasiewicz --alpha 0.5",
        ("-m", "kltheory", "bound", "--loss", "lojasiewicz", "--alpha", "0.5"),
        "import sympy",
        1.6,
    ),
)
"""What runs, its arguments, what it is compared with, and how many times that it may take; None
where nothing is asked."""


def run(arguments: Sequence[str], bytecode: str) -> tuple[float, float]:
    """Wall time and processor time of one run of this Python."""
    around = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    before, started = _ended(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=around)
    return time.perf_counter() - started, _ended() - before


def _ended() -> float:
    """Processor time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(
    ours: Sequence[str], theirs: Sequence[str], runs: int, bytecode: str
) -> dict[str, tuple[float, float]]:
    """Median times of both, in turns; the first pair warms the file cache and is not counted."""
    pairs = [(run(ours, bytecode), run(theirs, bytecode)) for _ in range(runs + 1)][1:]
    return {
        kind: (
            statistics.median(a[i] for a, _ in pairs),
            statistics.median(b[i] for _, b in pairs),
        )
        for i, kind in enumerate(("wall time", "processor time"))
    }


def starts(runs: int) -> Table:
    """Measure all pairs."""
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as bytecode:
        for name, ours, statement, allowed in PAIRS:
            for kind, (a, b) in compare(ours, ("-c", statement), runs, bytecode).items():
                rows.append((name, kind, a, f"python -c {statement!r}", b, a / b, allowed))
    return Table(
        "Starting, in a new process",
        (
            Column("what"),
            Column("clock"),
            Column("kltheory", "s"),
            Column("against"),
            Column("its time", "s"),
            Column("kltheory / the other", "times"),
            Column("asked at most", "times"),
        ),
        tuple(rows),
        (f"Medians of {runs} runs of each, in turns; the interpreter included.",),
    )


def main() -> int:
    """Print the ratios; 1 if a median is above what is allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    found = starts(parser.parse_args().runs)
    print(found.text())
    walls = [row for row in found.rows if row[1] == "wall time" and row[6] is not None]
    return 0 if all(ratio <= allowed for *_, ratio, allowed in walls) else 1


if __name__ == "__main__":
    sys.exit(main())
