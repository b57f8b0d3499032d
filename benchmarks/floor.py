"""Training against a floor: the same steps in plain C, fused, one run at a time.

    python benchmarks/floor.py [--quick]

floor.c is compiled into a temporary folder by the compiler that is there (what CC names, or cc,
gcc or clang); it is no part of the package.  First both must give the same losses over 200 steps,
then the CPU time of a step is compared, in turns, one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import Cell, Column, Table, load, median, rounds

# isort: split

import numpy as np
from dynamics import MODES, SIZES, STEP, draws

from kltheory.empirical.batch import capacity
from kltheory.empirical.dynamics import descend
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.reduced import reduce
from kltheory.problem import Problem

SOURCE = Path(__file__).with_name("floor.c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC")
COMPARED = 200
"""Over so many steps the losses are compared ..."""
AGREED = 1e-10
"""... and may differ by so much, relative to the loss, or to the first one times ..."""
NOISE = 1e-8
"""... this, below which rounding is seen."""

Array = np.ndarray
_NUMBERS = ctypes.POINTER(ctypes.c_double)


class NoFloor(Exception):
    """There is no compiler, or it does not compile."""


@contextlib.contextmanager
def compiled() -> Iterator[Any]:
    """The library of floor.c, built in a folder that is gone afterwards."""
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    compiler = next((path for name in names if name and (path := shutil.which(name))), None)
    if compiler is None:
        raise NoFloor("no C compiler (cc, gcc, clang)")
    with tempfile.TemporaryDirectory() as folder:
        made, library = (str(Path(folder, f"floor.{end}")) for end in ("o", "so"))
        # Linked without -ffast-math, which may change how the whole process rounds tiny numbers.
        for step in (
            [compiler, *FLAGS, "-c", str(SOURCE), "-o", made],
            [compiler, "-shared", made, "-o", library, "-lm"],
        ):
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode != 0:
                first = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]
                raise NoFloor(f"{Path(compiler).name} does not compile floor.c: {first}")
        yield ctypes.CDLL(library)


@dataclass(frozen=True, slots=True, eq=False)
class CRun:
    """One run of descent as floor.c wants it, from the matrices of the reduced problem."""

    library: Any
    blocks: int
    matrix: Array
    y: Array
    t: Array
    z: Array
    rate: float
    gain: Array | None = None
    rest: float = 0.0

    def __call__(self, steps: int) -> tuple[Array, Array]:
        """All losses, and z at the end."""
        matrix, t, z = (a.copy() for a in (self.matrix, self.t, self.z))
        losses = np.empty(steps + 1)
        pass_on = [ctypes.c_int(self.y.size), ctypes.c_int(self.blocks), _at(matrix), _at(self.y)]
        if self.gain is not None:
            pass_on += [_at(self.gain), ctypes.c_double(self.rest)]
        pass_on += [_at(t), _at(z), ctypes.c_double(self.rate), ctypes.c_int(steps), _at(losses)]
        (self.library.hidden if self.gain is None else self.library.both)(*pass_on)
        return losses, z


def _at(array: Array) -> Any:
    assert array.dtype == np.float64
    assert array.flags.c_contiguous
    return array.ctypes.data_as(_NUMBERS)


def prepare(library: Any, problem: Problem, net: TwoLayerNetwork, train: str) -> CRun:
    """One run of descent with steps `STEP`: the square loss, F = A, sigmoid."""
    assert net.activation.name == "sigmoid"
    assert problem.loss.name == "mse"
    size = library.block_size()
    blocks = -(-net.k // size)
    reduced = reduce(problem, net, train)

    def padded(values: Array, empty: float = 0.0) -> Array:
        out = np.full((*values.shape[:-1], blocks * size), empty)
        out[..., : net.k] = values
        return out

    def by_block(matrix: Array) -> Array:
        parts = padded(matrix).reshape(len(matrix), blocks, size)
        return np.ascontiguousarray(parts.transpose(1, 0, 2))

    t, z = padded(np.tanh(net.z / 2), -1.0), padded(net.z)  # an empty place gives 0, and stays
    y = problem.observation
    if train == "hidden":
        # N sigmoid(z) - y = (N/2) t - (y - N 1/2); x = dz/2 = -η ω/2 (1 - t²)/4 · 2 (N/2)ᵀr.
        half = reduced.inner / 2
        return CRun(library, blocks, by_block(half), y - half.sum(axis=1), t, z,
                    -STEP * net.omega / 4)  # fmt: skip
    # A V/√k = U S P: in the coordinates of U the matrix is S P, and dP = -(η/k) S r φᵀ.
    values = problem.spectrum.values
    left = reduced.outer / values
    inside = left.T @ y
    return CRun(library, blocks, by_block(values[:, None] * reduced.inner), inside, t, z,
                -STEP * net.omega / 8, STEP / net.k * values**2,
                float(np.square(y - left @ inside).sum()))  # fmt: skip


def difference(run: CRun, problem: Problem, net: TwoLayerNetwork, train: str) -> float:
    """The largest relative difference of the losses over the first steps."""
    mine = descend(problem, net, train, step=STEP, steps=COMPARED, tol=0.0).losses
    theirs, _ = run(COMPARED)
    return float((np.abs(theirs - mine) / np.maximum(mine, NOISE * mine[0])).max())


def against_floor(quick: bool, cases: Sequence[tuple[int, int, int]] = tuple(SIZES)) -> Table:
    """Measure a descent step against plain C."""
    columns = (
        Column("(m, n, k)"),
        Column("trained"),
        Column("difference of the losses", "error"),
        Column("C", "s"),
        Column("runs", "count"),
        Column("kltheory, batch", "s"),
        Column("batch / C", "times"),
        Column("kltheory, one run", "s"),
        Column("one run / C", "times"),
        Column("load", "load"),
    )
    title = "A step of gradient descent against plain C (float64, fused, one run at a time)"
    try:
        with compiled() as library:
            rows = tuple(
                _row(library, size, train, 1000 if quick else 3000)
                for train in MODES
                for size in cases
            )
    except NoFloor as why:
        return Table(title, columns, ((f"not measured: {why}", *[None] * 9),))
    return Table(
        title,
        columns,
        rows,
        (
            f"floor.c, {' '.join(FLAGS)}. The losses of {COMPARED} steps agree to {AGREED:g} of "
            f"each loss (or of {NOISE:g} of the first), or there is no ratio. kltheory records "
            "every loss, the drift of every hundredth step, and looks for a proof of failure; C "
            "records the losses.",
        ),
    )


def _row(library: Any, size: tuple[int, int, int], train: str, steps: int) -> tuple[Cell, ...]:
    m, _, k = size
    count = capacity(m, k, 96)
    problems, nets = draws(size, count, 10)
    run = prepare(library, problems[0], nets[0], train)
    error = difference(run, problems[0], nets[0], train)
    if not error <= AGREED:
        return (str(size), train, error, *[None] * 6, load())
    settings: dict[str, Any] = {"step": STEP, "tol": 0.0, "every": 100}
    works: tuple[Callable[[], object], ...] = (
        lambda: run(4 * steps),
        lambda: descend(problems, nets, train, steps=steps, **settings),
        lambda: descend(problems[0], nets[0], train, steps=steps, **settings),
    )
    c, batch, one = rounds(5, *works)
    c, batch, one = (
        [t / per for t in times]
        for times, per in ((c, 4 * steps), (batch, steps * count), (one, steps))
    )
    ratios = (median([b / a for a, b in zip(c, times, strict=True)]) for times in (batch, one))
    first, second = ratios
    return (str(size), train, error, median(c), count, median(batch), first, median(one), second,
            load())  # fmt: skip


if __name__ == "__main__":
    print(against_floor("--quick" in sys.argv[1:]).text())
