"""Every guarantee against random instances: is a corrected or sharp one ever exceeded?

    python benchmarks/check_guarantees.py [--instances 10000] [--seed 0] [--points 8]
        [--jobs 1] [--minutes M] [--out FILE.csv]

An instance is an operator (m x n, n <= 8), a network (any activation, k up to 400), a loss, what is
trained and how: gradient flow or descent with verified steps.  The first half starts at 0.9 to 1.0
of the threshold of one of the theorems (P, the sharp form, S4Q, S4A, V; times c for descent), the
other half at 0.01 to 3 times it.  Instance i of a seed is the same whatever else is run.

Prints, for each guarantee, how often it has each verdict and its worst ratio actual/bound; ends
with code 1 if a corrected or sharp one is violated, and names the instances.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from kltheory.activation import ACTIVATIONS
from kltheory.checks import check, law_of
from kltheory.checks.claims import Psi
from kltheory.checks.verdicts import VERDICTS
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.errors import KLTheoryError
from kltheory.problem import Problem

LOSSES: tuple[tuple[str, dict[str, float]], ...] = (
    ("mse", {}),
    ("power", {"p": 0.5}),
    ("power", {"p": 1.0}),
    ("huber", {"delta": 0.5}),
    ("squared-norm", {}),
    ("pseudo-huber", {}),
    ("log-cosh", {}),
    ("separable-power", {"p": 3.0}),
    ("cauchy", {}),
    ("welsch", {}),
)


def instance(seed: int, i: int) -> tuple[Problem, TwoLayerNetwork, str, str]:
    """Instance i: problem, network, what is trained, by what."""
    rng = np.random.default_rng([seed, i])
    n = int(rng.integers(1, 9))
    m = int(rng.integers(1, n + 1))
    k = int(np.exp(rng.uniform(np.log(2), np.log(400))))
    activation = str(rng.choice(ACTIVATIONS))
    train, method = str(rng.choice(["hidden", "both"])), str(rng.choice(["flow", "descent"]))
    name, parameters = LOSSES[rng.integers(len(LOSSES))]
    output = str(rng.choice(["rademacher", "uniform", "zero"], p=[0.5, 0.4, 0.1]))
    if train == "hidden" and output == "zero":
        output = "rademacher"
    A = rng.standard_normal((m, n)) / np.sqrt(n)
    net = TwoLayerNetwork.draw(
        n=n, k=k, d=n, activation=activation, output=output, seed=int(rng.integers(2**31))
    )
    y, u = A @ net.forward(), rng.standard_normal(m)
    u /= np.linalg.norm(u)
    start = Problem(A, y + u, loss=name, loss_parameters=parameters)
    goal = rng.uniform(0.9, 1.0) if i % 2 == 0 else np.exp(rng.uniform(np.log(0.01), np.log(3)))
    threshold = _threshold(rng, start, net, train) * (1.0 if method == "flow" else 0.5)
    r = _distance(start, y, u, goal * threshold)
    return Problem(A, y + r * u, loss=name, loss_parameters=parameters), net, train, method


def _threshold(
    rng: np.random.Generator, problem: Problem, net: TwoLayerNetwork, train: str
) -> float:
    """What one of the theorems asks ψ(L0) to stay below; 1 where it asks for more neurons."""
    c = {name: constant.value for name, constant in net.constants(problem, train).items()}
    pairs = {
        "P": (c["sigma_F"], c["sigma_J"], 2 * c["Lambda_J"]),
        "sharp": (c["sigma_F"], c["sigma_J"], c["Lambda_J"]),
    }
    if train == "hidden":
        pairs["S4Q"] = (c["sigma_F"], c["sigma_Q"], c["Lambda_Q"])
        pairs["S4A"] = (1.0, c["sigma_A"], c["Lambda_A"])
    else:
        pairs["V"] = (c["sigma_F"], c["h0"], c["Lambda_h"] / 2)
    sigma_f, sigma, deviation = pairs[str(rng.choice(list(pairs)))]
    return sigma_f * sigma**2 / (2 * deviation) if sigma * deviation > 0 else 1.0


def _distance(problem: Problem, y: np.ndarray, u: np.ndarray, goal: float) -> float:
    """r with ψ(L) = goal for a residual r u, by bisection; at most what ψ allows."""
    psi = Psi(law_of(problem.loss, problem.m))
    low, high = 1e-9, 1e6
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        value = psi(float(problem.loss.value(y + middle * u, y)))
        low, high = (middle, high) if value <= goal else (low, middle)
    return low


def times(problem: Problem, net: TwoLayerNetwork, train: str, points: int) -> np.ndarray:
    """Times up to convergence of the linearised flow, or 2000 times its fastest scale."""
    values = np.linalg.eigvalsh(net.kernel(train, problem))
    y = problem.forward(net.forward())
    size = float(np.linalg.norm(y - problem.observation))
    weight = float(np.linalg.norm(problem.loss_gradient(y))) / size
    slow, fast = max(float(values[0]), 1e-300), max(float(values[-1]), 1e-300)
    end = min(20 / (weight * slow), 2000 / (weight * fast))
    return np.concatenate([[0.0], np.geomspace(1e-3 * end, end, points - 1)])


def one(seed: int, points: int, i: int) -> tuple[int, str, list[tuple[str, str, str, float]]]:
    """Check instance i; a label, and bound, theory, verdict and worst ratio of every check."""
    problem, net, train, method = instance(seed, i)
    label = (
        f"n={net.n} m={problem.m} k={net.k} {net.activation.name} {train} {method} {problem.loss!r}"
    )
    options: dict[str, Any] = {"times": times(problem, net, train, points)}
    if method == "descent":
        options = {"steps": 1500, "verified": True, "points": points}
    try:
        found = check(problem, net, train, method=method, **options)
    except KLTheoryError as error:
        return i, f"{label}: {error}", [("refused", str(error)[:60], "not-applicable", np.nan)]
    rows = []
    for c in found.checks:
        made = c.worst_ratio is not None and c.verdict != "not-applicable"
        rows.append((c.bound, c.theory, c.verdict, c.worst_ratio if made else np.nan))
    return i, label, rows


def results(seed: int, instances: int, points: int, jobs: int) -> Generator[Any, None, None]:
    """All instances, in order."""
    work = partial(one, seed, points)
    if jobs == 1:
        yield from map(work, range(instances))
        return
    pool = ProcessPoolExecutor(jobs)
    try:
        yield from pool.map(work, range(instances), chunksize=4)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def main() -> int:
    """Print counts and worst ratios; return 1 if a guarantee is violated."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=8, help="times that are looked at")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--out", help="write every check to this CSV file")
    options = parser.parse_args()
    began = time.monotonic()
    counts: Counter[tuple[str, str, str]] = Counter()
    worst: dict[tuple[str, str], tuple[float, int]] = {}
    broken: list[str] = []
    rows_out: list[tuple[Any, ...]] = []
    done = 0
    runs = results(options.seed, options.instances, options.points, options.jobs)
    for done, (i, label, rows) in enumerate(runs, 1):
        for bound, theory, verdict, ratio in rows:
            counts[bound, theory, verdict] += 1
            if not np.isnan(ratio) and ratio > worst.get((bound, theory), (-1.0, 0))[0]:
                worst[bound, theory] = (ratio, i)
            if verdict == "violated" and theory != "printed":
                broken.append(f"instance {i} ({label}): {bound} {theory} by {ratio:.6g}")
            rows_out.append((i, label, bound, theory, verdict, ratio))
        spent = time.monotonic() - began
        if done % 100 == 0:
            print(f"{done} instances, {spent:.0f} s, {len(broken)} violated", file=sys.stderr)
        if spent > 60 * options.minutes:
            break
    runs.close()
    if options.out:
        with open(options.out, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("instance", "label", "bound", "theory", "verdict", "worst_ratio"))
            writer.writerows(rows_out)
    print(f"{done} instances, seed {options.seed}, {time.monotonic() - began:.0f} s")
    print(f"{'guarantee':<28}{'theory':<11}" + "".join(f"{v:>15}" for v in VERDICTS), end="")
    print(f"{'worst ratio':>15}")
    for bound, theory in dict.fromkeys((b, t) for b, t, _ in counts):
        numbers = "".join(f"{counts[bound, theory, v]:>15}" for v in VERDICTS)
        ratio = worst.get((bound, theory), (float("nan"), 0))[0]
        print(f"{bound:<28}{theory:<11}{numbers}{ratio:>15.9g}")
    print("\n".join(broken) or "no corrected or sharp guarantee is violated")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
