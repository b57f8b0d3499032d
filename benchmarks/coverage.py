"""What the reachability proofs cover, on the cells of the paper's Figure 1: a table, one thread.

    python benchmarks/coverage.py [--runs 50] [--descents 2] [--seed 0]

Sigmoid, V fixed (Rademacher), A Gaussian with entries of variance 1/n, x̄ ~ N(0, I), m = 10,
d = 500: for every (n, k), each run is decided before it is trained, with a proof.  Held against
the limit of the flow, found by Newton's method, and for some runs of every cell against 25,000
descent steps.  "share" is the part of the runs with that limit that were proved to have it.
Exit code 1 if a share is below 99 % or if anything contradicts a proof.
"""

# ruff: noqa: E402

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is loaded

import argparse
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from kltheory.empirical.dynamics import descend
from kltheory.empirical.mirror import newton_limit
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.numeric.reach import Reach, product_error, reachability
from kltheory.problem import Problem

M, D = 10, 500
NS = (20, 60, 100, 200)
KS = (20, 40, 60, 80, 90, 100, 150, 250, 500, 1000)
STEPS, LEVEL = 25_000, 1e-7


@dataclass
class Row:
    """What was found at one k, over all n."""

    seen: Counter[tuple[bool | None, bool | None]] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    trained: int = 0
    contradictions: int = 0

    def add(self, other: Row) -> None:
        self.seen += other.seen
        self.seconds += other.seconds
        self.trained += other.trained
        self.contradictions += other.contradictions

    def share(self, limit: bool) -> str:
        runs = sum(count for (truth, _), count in self.seen.items() if truth is limit)
        return f"{self.seen[limit, limit]}/{runs}" if runs else "-"

    def covered(self, limit: bool) -> bool:
        runs = sum(count for (truth, _), count in self.seen.items() if truth is limit)
        return self.seen[limit, limit] >= 0.99 * runs

    def text(self, k: int | str) -> str:
        ms = [1e3 * s for s in self.seconds]
        undecided = sum(count for (_, verdict), count in self.seen.items() if verdict is None)
        unknown = sum(count for (truth, _), count in self.seen.items() if truth is None)
        return (
            f"{k:>6} {sum(self.seen.values()):>6} {self.share(True):>12} {self.share(False):>12} "
            f"{undecided:>10} {unknown:>9} {self.trained:>8} {self.contradictions:>14} "
            f"{statistics.median(ms):>8.2f} {max(ms):>8.2f}"
        )


def decide(problem: Problem, network: TwoLayerNetwork) -> tuple[Reach, float]:
    """Return the proof about a run, for the exact A V/√k, and the seconds it took."""
    A, V = problem.operator, network.V
    start = time.perf_counter()
    scale = np.sqrt(network.k)
    N = np.asarray(A @ V) / scale
    rows, columns = np.linalg.norm(A, axis=1), np.linalg.norm(V, axis=0) / scale
    error = product_error(rows, columns, network.n)
    found = reachability(N, problem.observation, 0.0, 1.0, matrix_error=error)
    return found, time.perf_counter() - start


def cell(n: int, k: int, runs: int, descents: int, seed: int) -> Row:
    """Decide and check the runs of one cell."""
    row, problems, networks, proofs = Row(), [], [], []
    for run in range(runs):
        rng = np.random.default_rng([seed, n, k, run])
        A = rng.standard_normal((M, n)) / np.sqrt(n)
        problem = Problem(A, A @ rng.standard_normal(n))
        network = TwoLayerNetwork.draw(n, k, D, seed=int(rng.integers(2**31)))
        found, seconds = decide(problem, network)
        truth = newton_limit(problem, network)
        row.seen[truth.reachable, found.attainable] += 1
        row.seconds.append(seconds)
        opposed = None not in (truth.reachable, found.attainable)
        row.contradictions += opposed and truth.reachable != found.attainable
        if run < descents:
            problems.append(problem)
            networks.append(network)
            proofs.append(found)
    if problems:
        for found, run in zip(
            proofs,
            descend(
                problems,
                networks,
                step=1.0,
                steps=STEPS,
                tol=LEVEL,
                allow_unstable=True,
                stop_failed=False,
            ),
            strict=True,
        ):
            row.trained += 1
            row.contradictions += bool(run.loss.min() < found.limit_loss)
            row.contradictions += run.converged and found.attainable is False
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50, help="runs of a cell (n, k)")
    parser.add_argument("--descents", type=int, default=2, help="of these, also trained")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    total = Row()
    print(
        f"{'k':>6} {'runs':>6} {'limit 0':>12} {'limit > 0':>12} {'undecided':>10} "
        f"{'no limit':>9} {'trained':>8} {'contradictions':>14} {'ms':>8} {'max ms':>8}"
    )
    for k in KS:
        row = Row()
        for n in NS:
            row.add(cell(n, k, given.runs, given.descents, given.seed))
        print(row.text(k), flush=True)
        total.add(row)
    print(total.text("all"))
    good = total.covered(True) and total.covered(False) and not total.contradictions
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
