"""The time of the paper's figures at its scale, estimated from a sample of their runs.

    python benchmarks/figures.py [--runs N] [fig1a fig1b ...]

CPU seconds of N networks in every cell, times 50/N; a machine with two idle cores takes half.  For
Figure 1, beside it, what a straightforward PyTorch loop (autograd, float32, one thread) would take:
its measured time per iteration, at nine sizes of the grid, times the iterations that each run took
here; a run that does not converge takes all 25,000.  PyTorch is no dependency of the package:
    pip install torch==2.13.0
"""

# ruff: noqa: E402

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is loaded

import argparse
import tempfile
import time

import numpy as np

from kltheory.paper.figures import FIGURES, Recipe, recipe
from kltheory.paper.runs import draw
from kltheory.paper.sweep import SweepResult, run_sweep

PAPER_RUNS = 50
ITERATIONS = 100


def sample(chosen: Recipe, engine: str, runs: int) -> SweepResult:
    """Run so many networks of every cell."""
    with tempfile.TemporaryDirectory() as folder:
        return run_sweep(chosen.with_values({"runs": runs}).sweep(engine, 1), folder)


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


def torch_seconds(chosen: Recipe, found: SweepResult, runs: int) -> float:
    """Return the CPU time of the whole figure in PyTorch."""
    k_axis, other = (np.array(chosen.value(axis)) for axis in chosen.axes)
    rest = chosen.sweep("descent", 0).settings
    some = [np.unique(axis[[0, axis.size // 2, -1]]) for axis in (k_axis, other)]
    measured = {
        (k, x): seconds_per_iteration({**rest, "k": int(k), chosen.axes[1]: int(x)})
        for k in some[0]
        for x in some[1]
    }

    def near(value: int, axis: np.ndarray) -> int:
        return int(axis[np.argmin(np.abs(np.log(axis / value)))])

    total = 0.0
    columns = (found.column(n) for n in (*chosen.axes, "converged", "steps"))
    for k, x, converged, taken in zip(*columns, strict=True):
        count = taken if converged else chosen.value("steps")
        total += count * measured[near(k, some[0]), near(x, some[1])]
    return total * PAPER_RUNS / runs


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("figures", nargs="*", default=list(FIGURES), choices=[*FIGURES, []])
    parser.add_argument("--runs", type=int, default=3)
    wanted = parser.parse_args()
    print(f"NumPy {np.__version__}; {wanted.runs} of {PAPER_RUNS} runs of every cell; one thread")
    for name in wanted.figures:
        chosen = recipe(name).at("paper")
        for engine in ("exact", "descent"):
            found = sample(chosen, engine, wanted.runs)
            cpu = found.cpu_seconds * PAPER_RUNS / wanted.runs
            line = f"{name} {engine:>8}: {cpu:7.0f} CPU s, {cpu / 120:5.1f} min on two idle cores"
            print(line, flush=True)
            if engine == "descent" and name.startswith("fig1"):
                try:
                    slow = torch_seconds(chosen, found, wanted.runs)
                except ImportError:
                    print("      PyTorch is not installed: not compared")
                    continue
                times = f"{slow:7.0f} CPU s, {slow / 3600:5.1f} h: {slow / cpu:.0f} times"
                print(f"      PyTorch: {times}")


if __name__ == "__main__":
    main()
