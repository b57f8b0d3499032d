"""Training speed, as ratios measured side by side: one thread, CPU time, medians of rounds.

    python benchmarks/dynamics.py [--quick]

Compared with (1) a straightforward PyTorch loop: autograd, float32, one network at a time;
(2) the two matrix products of a step alone; (3) 25,000 descent steps, for the Newton limit.
PyTorch is needed for (1) only and is no dependency of the package:
    pip install torch==2.13.0
"""

# ruff: noqa: E402

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is loaded

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from kltheory.empirical.batch import capacity
from kltheory.empirical.compare import certified_distance
from kltheory.empirical.dynamics import descend, flow
from kltheory.empirical.mirror import newton_limit
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.problem import Problem

SIZES = ((10, 200, 500), (10, 1000, 800), (30, 60, 500))
D = 500
STEP = 1.0


def gaussian(m: int, n: int, k: int, seed: int, d: int = D) -> tuple[Problem, TwoLayerNetwork]:
    """Return the paper's setting: A with entries of variance 1/n, x̄ Gaussian, V Rademacher."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((m, n)) / np.sqrt(n)
    return Problem(a, a @ rng.standard_normal(n)), TwoLayerNetwork.draw(n, k, d, seed=seed)


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def medians(rounds: int, *works: Callable[[], object]) -> list[float]:
    """Return the median CPU time of each piece of work, the pieces taking turns."""
    for work in works:
        work()
    times = [[cpu(work) for work in works] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def torch_loop(
    problem: Problem, net: TwoLayerNetwork, train: str, steps: int
) -> Callable[[], object]:
    """Return the loop that one would write in PyTorch."""
    import torch

    torch.set_num_threads(1)
    a, y, u = (
        torch.tensor(v, dtype=torch.float32) for v in (problem.operator, problem.observation, net.u)
    )
    w0, v0 = torch.tensor(net.W, dtype=torch.float32), torch.tensor(net.V, dtype=torch.float32)

    def run() -> object:
        w = w0.clone().requires_grad_(True)
        v = v0.clone().requires_grad_(train == "both")
        trained = [w, v] if train == "both" else [w]
        for _ in range(steps):
            x = v @ torch.sigmoid(w @ u) / net.k**0.5
            loss = 0.5 * torch.sum((a @ x - y) ** 2)
            if loss.item() < 1e-30:
                break
            gradients = torch.autograd.grad(loss, trained)
            with torch.no_grad():
                for parameter, gradient in zip(trained, gradients, strict=True):
                    parameter -= STEP * gradient
        return w

    return run


def against_torch(quick: bool) -> None:
    """Print how many times faster than PyTorch a step is."""
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: this comparison is skipped (pip install torch==2.13.0).")
        return
    print(f"-- a descent step against PyTorch {torch.__version__} autograd, float32, d = {D}")
    print("   (whole runs, set-up included; kltheory in float64 with every loss recorded)")
    print(
        f"{'(m, n, k)':>16} {'train':>7} {'runs':>5} {'kltheory':>11} {'PyTorch':>11} {'ratio':>7}"
    )
    for train in ("hidden", "both"):
        for m, n, k in SIZES:
            size = capacity(m, k, 96)
            problems, nets = map(
                list, zip(*(gaussian(m, n, k, s) for s in range(size)), strict=True)
            )
            ours, theirs = (1000, 30) if quick else (10_000, 100)

            def batch(train: str = train, steps: int = ours, p=problems, g=nets) -> object:
                return descend(p, g, train, step=STEP, steps=steps, tol=0.0, every=100)

            loop = torch_loop(problems[0], nets[0], train, theirs)
            a, b = medians(3, batch, loop)
            a, b = a / (ours * size), b / theirs
            print(
                f"{(m, n, k)!s:>16} {train:>7} {size:>5} {a * 1e6:>8.2f} us {b * 1e6:>8.1f} us "
                f"{b / a:>7.1f}"
            )


def against_products(quick: bool) -> None:
    """Print the cost of a step relative to its two matrix products alone."""
    print("-- a descent step (hidden layer) against np.matvec + np.vecmat alone")
    for m, n, k in SIZES:
        size = capacity(m, k, 96)
        problems, nets = map(
            list, zip(*(gaussian(m, n, k, s, 10) for s in range(size)), strict=True)
        )
        steps = 1500 if quick else 5000
        rng = np.random.default_rng(0)
        matrix, state = rng.standard_normal((size, m, k)), rng.standard_normal((size, k))
        r, g = np.empty((size, m)), np.empty((size, k))

        def products(steps: int = steps, matrix=matrix, state=state, r=r, g=g) -> None:
            for _ in range(steps):
                np.matvec(matrix, state, out=r)
                np.vecmat(r, matrix, out=g)

        def batch(fast: bool, steps: int = steps, p=problems, q=nets) -> object:
            return descend(p, q, step=STEP, steps=steps, tol=0.0, every=100, fast=fast)

        a, b, c = medians(
            3 if quick else 5, products, lambda b=batch: b(True), lambda b=batch: b(False)
        )
        print(
            f"{(m, n, k)!s:>16}: products {a / steps / size * 1e6:.2f} us; without exponentials "
            f"{b / a:.2f} times that, plain form {c / a:.2f} times"
        )


def stopping_indices(quick: bool) -> None:
    """Print whether the fast and the plain step stop at the same iterates."""
    runs = 60 if quick else 500
    problems, nets = map(
        list, zip(*(gaussian(10, 60, 60 + s % 200, s, 5) for s in range(runs)), strict=True)
    )
    settings = {"step": STEP, "steps": 3000, "tol": 1e-7, "every": 1000}
    fast = descend(problems, nets, fast=True, **settings)
    plain = descend(problems, nets, fast=False, **settings)
    same = sum((a.steps, a.status) == (b.steps, b.status) for a, b in zip(fast, plain, strict=True))
    counts = {s: sum(a.status == s for a in fast) for s in ("tolerance", "failure", "budget")}
    print(f"-- stopping index and reason the same with and without the fast step: {same} of {runs}")
    print(f"   {counts}")


def limits(quick: bool) -> None:
    """Print the Newton limit against long descent, and its agreement with the linear program."""
    from scipy.optimize import linprog

    print("-- the limit t = ∞ by Newton's method against 25,000 descent steps, one run")
    problem, net = gaussian(10, 200, 500, 1, 10)
    a, b = medians(
        3,
        lambda: newton_limit(problem, net),
        lambda: descend(problem, net, step=STEP, steps=25_000, tol=1e-300, every=1000),
    )
    print(f"   Newton {a * 1e3:.2f} ms, descent {b * 1e3:.0f} ms: {b / a:.0f} times")
    agree = decided = cells = 0
    for k in (40, 60, 80, 90, 100, 120, 160):
        for seed in range(3 if quick else 15):
            problem, net = gaussian(10, 60, k, seed, 3)
            matrix = net.observe(problem) / np.sqrt(k)
            # The largest margin t with y = N a, t ≤ a ≤ 1 - t.
            n_eq = np.hstack([matrix, np.zeros((10, 1))])
            rows = np.vstack(
                [np.hstack([np.eye(k), np.ones((k, 1))]), np.hstack([-np.eye(k), np.ones((k, 1))])]
            )
            lp = linprog(
                np.r_[np.zeros(k), -1.0],
                A_ub=rows,
                b_ub=np.r_[np.ones(k), np.zeros(k)],
                A_eq=n_eq,
                b_eq=problem.observation,
                bounds=[(None, None)] * k + [(-10.0, 0.5)],
            )
            margin, limit = -lp.fun, newton_limit(problem, net)
            cells += 1
            if abs(margin) > 1e-6:
                decided += 1
                agree += limit.reachable is (margin > 0)
    print(f"   reachability: agrees with the linear program on {agree} of {decided} cells with a")
    print(f"   margin above 1e-6 ({cells} cells in all)")


def distances() -> None:
    """Print the certified distance between descent and flow against the true one."""
    print("-- certified ‖θ_descent - θ_flow‖ against the true distance, m = 10")
    for step in (0.1, 0.5, 1.0):
        problem, net = gaussian(10, 200, 500, 3, 10)
        steps = int(60 / step)
        bound = certified_distance(problem, net, step=step, steps=steps)
        true = flow_distance(problem, net, step, steps)
        marks = np.unique(np.linspace(0, steps, 21).astype(int))[1:]
        ratio = bound.distance[marks] / true[1:]
        print(
            f"   step {step}: largest bound / largest true distance "
            f"{bound.distance.max() / true.max():.2f}; at single times "
            f"{ratio.min():.2f} to {ratio.max():.2f}"
        )


def flow_distance(problem: Problem, net: TwoLayerNetwork, step: float, steps: int) -> np.ndarray:
    """Return the true ‖θ_j - θ(jη)‖ at every twentieth of the run."""
    marks = np.unique(np.linspace(0, steps, 21).astype(int))
    out = []
    for mark in marks:
        a = descend(problem, net, step=step, steps=int(mark), tol=0.0).network
        b = flow(problem, net, times=[mark * step] if mark else [0.0], form="observation").network
        out.append(np.linalg.norm(a.z - b.z))
    return np.array(out)


def main() -> None:
    """Run everything."""
    quick = "--quick" in sys.argv[1:]
    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}, one thread, CPU time, medians")
    against_torch(quick)
    against_products(quick)
    stopping_indices(quick)
    limits(quick)
    distances()


if __name__ == "__main__":
    main()
