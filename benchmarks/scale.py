"""One training run at a size that no memory holds: time and peak memory.

    nice python benchmarks/scale.py                    # n = 10^5, k = 10^6: V would take 800 GB
    python benchmarks/scale.py --n 20000 --k 50000     # some seconds

V is drawn in blocks from its seed and goes through A once; from then on a step costs O(mk).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

from measure import Column, Table, load

# isort: split

import numpy as np

from kltheory.empirical.dynamics import descend
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.problem import Problem


def peak() -> float:
    """Return the peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def train(m: int, n: int, k: int, d: int, steps: int) -> Table:
    """Run descent and say what it took, in this process."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, n)) / np.sqrt(n)
    problem = Problem(a, a @ rng.standard_normal(n))
    start = time.process_time()
    network = TwoLayerNetwork.draw(n, k, d, seed=0)
    clock = [(0, time.process_time())]
    run = descend(
        problem, network, step=1.0, steps=steps, tol=0.0, every=steps,
        progress=lambda done, total: clock.append((done, time.process_time())),
    )  # fmt: skip
    whole = time.process_time() - start
    (first, then), (last, now) = clock[1], clock[-1]
    step = (now - then) / max(last - first, 1)
    return Table(
        "One run with a V that is never held",
        (
            Column("m", "count"),
            Column("n", "count"),
            Column("k", "count"),
            Column("steps", "count"),
            Column("V would take, GB", "count"),
            Column("in all", "s"),
            Column("drawing V, A V", "s"),
            Column("a step", "s"),
            Column("a step and neuron", "s"),
            Column("loss at the start", "count"),
            Column("at the end", "count"),
            Column("peak memory, MiB", "count"),
            Column("load", "load"),
        ),
        (
            (m, n, k, steps, 8e-9 * n * k, whole, whole - step * steps, step, step / k,
             run.losses[0], run.losses[-1], round(peak()), load()),
        ),
        ("CPU time, one thread; the memory of the whole process, Python and libraries included.",),
    )  # fmt: skip


def in_new_process(words: Sequence[str]) -> Table:
    """The same in a process of its own, so that the memory is that of this run."""
    done = subprocess.run(
        [sys.executable, __file__, "--raw", *words], check=True, capture_output=True, text=True
    )
    return Table.of_dict(json.loads(done.stdout))


def main() -> None:
    """Run the size that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("m", 10), ("n", 100_000), ("k", 1_000_000), ("d", 500), ("steps", 768)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--raw", action="store_true", help="the numbers as JSON")
    options = vars(parser.parse_args())
    raw = options.pop("raw")
    found = train(**options)
    print(json.dumps(found.to_dict()) if raw else found.text())


if __name__ == "__main__":
    main()
