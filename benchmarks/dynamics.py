"""Training speed and accuracy, as ratios measured side by side in one run.

    python benchmarks/dynamics.py [--quick]

One thread, CPU time, medians over rounds in which the candidates take turns.  Compared with
(1) straightforward loops in PyTorch and JAX: autograd, float32, one network at a time; for PyTorch
    both as its tutorials write it, with modules and an optimizer, and bare, on tensors alone;
(2) the two matrix products of a step alone; (3) 25,000 descent steps, for the Newton limit;
(4) runs one by one, for batches.  Then the accuracy of the reductions, of the fast step, of the
conserved quantities and of the certified distance.  In brackets: what is asked for.
PyTorch and JAX are needed for (1) only and are no dependencies of the package:
    pip install torch==2.13.0 jax
"""

# ruff: noqa: E402

from __future__ import annotations

import importlib
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is loaded

import sys
import time
from collections.abc import Callable

import numpy as np

from kltheory.activation import ACTIVATIONS
from kltheory.empirical.batch import capacity
from kltheory.empirical.compare import certified_distance
from kltheory.empirical.dynamics import descend, flow
from kltheory.empirical.mirror import newton_limit
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.step_size import unstable_from
from kltheory.problem import Problem

SIZES = {(10, 200, 500): (80, 40), (10, 1000, 800): (80, 40), (30, 60, 500): (40, 40)}
"""(m, n, k), with the ratios to PyTorch that are asked for: hidden layer, both layers."""
MODES = ("hidden", "both")
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


def rounds(count: int, *works: Callable[[], object]) -> np.ndarray:
    """Return the CPU time of each piece of work, one row a round, the pieces taking turns."""
    for work in works:
        work()
    return np.array([[cpu(work) for work in works] for _ in range(count)])


def load() -> str:
    """Return how busy the machine is."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def torch_loop(
    problem: Problem, net: TwoLayerNetwork, train: str, steps: int
) -> Callable[[], object]:
    """Return the loop as PyTorch's tutorials write it: modules, `backward`, an optimizer."""
    import torch

    torch.set_num_threads(1)
    a, y, u = (
        torch.tensor(v, dtype=torch.float32) for v in (problem.operator, problem.observation, net.u)
    )
    hidden = torch.nn.Linear(net.d, net.k, bias=False)
    outer = torch.nn.Linear(net.k, net.n, bias=False)
    model = torch.nn.Sequential(hidden, torch.nn.Sigmoid(), outer)
    outer.requires_grad_(train == "both")
    w0, v0 = (torch.tensor(v, dtype=torch.float32) for v in (net.W, net.V / net.k**0.5))
    # V/√k is what is trained: a step of size η in V is one of size η/k in V/√k.
    groups = [{"params": hidden.parameters()}, {"params": outer.parameters(), "lr": STEP / net.k}]

    def run() -> object:
        with torch.no_grad():
            hidden.weight.copy_(w0)
            outer.weight.copy_(v0)
        optimizer = torch.optim.SGD(groups if train == "both" else groups[:1], lr=STEP)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = 0.5 * torch.sum((a @ model(u) - y) ** 2)
            loss.backward()
            if loss.item() < 1e-30:
                break
            optimizer.step()
        return hidden.weight

    return run


def torch_bare_loop(
    problem: Problem, net: TwoLayerNetwork, train: str, steps: int
) -> Callable[[], object]:
    """Return the shortest loop on bare tensors: no modules, no optimizer."""
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


def jax_loop(
    problem: Problem, net: TwoLayerNetwork, train: str, steps: int
) -> Callable[[], object]:
    """Return the loop that one would write in JAX: a compiled step, called from Python."""
    import jax
    import jax.numpy as jnp

    a, y, u = (
        jnp.asarray(v, dtype=jnp.float32) for v in (problem.operator, problem.observation, net.u)
    )
    w0, v0 = jnp.asarray(net.W, dtype=jnp.float32), jnp.asarray(net.V, dtype=jnp.float32)

    def loss(trained: tuple) -> object:
        w, v = trained if train == "both" else (trained[0], v0)
        x = v @ jax.nn.sigmoid(w @ u) / net.k**0.5
        return 0.5 * jnp.sum((a @ x - y) ** 2)

    @jax.jit
    def step(trained: tuple) -> tuple:
        value, gradients = jax.value_and_grad(loss)(trained)
        return value, tuple(p - STEP * g for p, g in zip(trained, gradients, strict=True))

    def run() -> object:
        trained = (w0, v0) if train == "both" else (w0,)
        for _ in range(steps):
            value, trained = step(trained)
            if float(value) < 1e-30:
                break
        return trained

    return run


def frameworks() -> dict[str, Callable[..., Callable[[], object]]]:
    """Return the loops of the frameworks that are installed."""
    found: dict[str, Callable[..., Callable[[], object]]] = {}
    loops = (
        ("torch", ", modules and SGD", torch_loop),
        ("torch", ", bare tensors", torch_bare_loop),
        ("jax", ", compiled step", jax_loop),
    )
    for name, style, loop in loops:
        try:
            module = importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed: its comparison is skipped (pip install {name}).")
        else:
            found[f"{name} {module.__version__}{style}"] = loop
    return found


def against_frameworks(quick: bool) -> None:
    """Print how many times faster than a framework a step is."""
    ours, theirs = (1000, 30) if quick else (10_000, 100)
    for name, loop in frameworks().items():
        print(f"-- a descent step against {name}: autograd, float32, d = {D}")
        print("   (whole runs, set-up included; kltheory in float64 with every loss recorded)")
        print(f"{'(m, n, k)':>16} {'train':>7} {'runs':>5} {'kltheory':>11} {name.split()[0]:>11}")
        for place, train in enumerate(MODES):
            for (m, n, k), asked in SIZES.items():
                size = capacity(m, k, 96)
                problems, nets = map(
                    list, zip(*(gaussian(m, n, k, s) for s in range(size)), strict=True)
                )

                def batch(train: str = train, p=problems, g=nets) -> object:
                    return descend(p, g, train, step=STEP, steps=ours, tol=0.0, every=100)

                other = loop(problems[0], nets[0], train, theirs)
                times = rounds(3 if quick else 5, batch, other) / [ours * size, theirs]
                a, b = np.median(times, axis=0)
                ratio = np.median(times[:, 1] / times[:, 0])
                goal = f"[{asked[place]}]" if name.startswith("torch") else ""
                print(
                    f"{(m, n, k)!s:>16} {train:>7} {size:>5} {a * 1e6:>8.2f} us {b * 1e6:>8.1f} us "
                    f"{ratio:>7.1f} times {goal}   {load()}"
                )


def against_products(quick: bool) -> None:
    """Print the cost of a step relative to its two matrix products alone."""
    print("-- a descent step (hidden layer) against np.matvec + np.vecmat alone [2.5]")
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

        times = rounds(
            3 if quick else 5, products, lambda b=batch: b(True), lambda b=batch: b(False)
        )
        fast, plain = np.median(times[:, 1:] / times[:, :1], axis=0)
        each = np.median(times[:, 0]) / steps / size
        print(
            f"{(m, n, k)!s:>16}: products {each * 1e6:.2f} us; without exponentials "
            f"{fast:.2f} times that, plain form {plain:.2f} times   {load()}"
        )


def batches(quick: bool) -> None:
    """Print what a batch saves against the same runs one by one."""
    print("-- a batch of 32 runs against the same runs one by one, (m, n, k) = (10, 200, 500)")
    problems, nets = map(list, zip(*(gaussian(10, 200, 500, s, 5) for s in range(32)), strict=True))
    short = 200 if quick else 1000
    for train in MODES:
        for name, settings in (
            ("fixed step", {"step": STEP, "steps": short}),
            ("verified descent", {"step": 20.0, "steps": short // 4, "verified": True}),
        ):
            settings |= {"tol": 1e-20, "every": 50}

            def together(train: str = train, settings=settings) -> object:
                return descend(problems, nets, train, **settings)

            def alone(train: str = train, settings=settings) -> object:
                return [
                    descend(p, g, train, **settings) for p, g in zip(problems, nets, strict=True)
                ]

            times = rounds(3, together, alone)
            ratio = np.median(times[:, 1] / times[:, 0])
            print(f"{train:>16}, {name}: {ratio:.1f} times   {load()}")

        def flows(train: str = train) -> object:
            return flow(problems, nets, train, times=[50.0, 100.0])

        def flows_alone(train: str = train) -> object:
            return [
                flow(p, g, train, times=[50.0, 100.0]) for p, g in zip(problems, nets, strict=True)
            ]

        times = rounds(3, flows, flows_alone)
        ratio = np.median(times[:, 1] / times[:, 0])
        each = np.median(times[:, 0]) / len(problems)
        print(f"{train:>16}, flow to t = 100: {ratio:.1f} times, {each * 1e3:.1f} ms a flow")


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
    times = rounds(
        3,
        lambda: newton_limit(problem, net),
        lambda: descend(problem, net, step=STEP, steps=25_000, tol=1e-300, every=1000),
    )
    a, b = np.median(times, axis=0)
    ratio = np.median(times[:, 1] / times[:, 0])
    print(
        f"   Newton {a * 1e3:.2f} ms, descent {b * 1e3:.0f} ms: {ratio:.0f} times [50]   {load()}"
    )
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


def reductions() -> None:
    """Print how far the reduced dynamics are from the network itself after 1,000 steps."""
    print("-- reduced against full network, 1,000 steps: largest difference in W, V, loss, drift")
    for train in MODES:
        worst, at = 0.0, ""
        for name in ACTIVATIONS:
            rng = np.random.default_rng(0)
            a, x = rng.standard_normal((4, 12)) / np.sqrt(12), 0.5 * rng.standard_normal(12)
            problem = Problem(a, a @ x)
            net = TwoLayerNetwork.draw(12, 60, 3, activation=name, seed=0)
            settings = {
                "step": min(0.3, 0.5 * unstable_from(problem, net, train)),
                "steps": 1000,
                "tol": 0.0,
            }
            full = descend(problem, net, train, form="full", **settings)
            for fast in (True, False):
                run = descend(problem, net, train, fast=fast, **settings)
                error = max(
                    float(np.abs(p - q).max())
                    for p, q in (
                        (run.network.W, full.network.W),
                        (run.network.V, full.network.V),
                        (run.losses, full.losses),
                        (run.drift, full.drift),
                    )
                )
                worst, at = max((worst, at), (error, name))
        print(f"{train:>16}: {worst:.1e} ({at}), over {len(ACTIVATIONS)} activations [1e-12]")


def conservation() -> None:
    """Print the drift of ‖V_i‖² - G(z_i) along the flow of both layers, relative to 1 + ‖V_i‖²."""
    worst = 0.0
    for name in ACTIVATIONS:
        for seed in range(3):
            problem, _ = gaussian(4, 12, 20, seed, 3)
            net = TwoLayerNetwork.draw(12, 20, 3, activation=name, seed=seed)
            run = flow(problem, net, "both", times=[0.0, 20.0])
            assert run.accuracy is not None
            assert run.accuracy.conservation is not None
            worst = max(worst, run.accuracy.conservation)
    print(f"-- conserved quantities of both layers drift by at most {worst:.1e} [1e-8]")


def distances() -> None:
    """Print the certified distance between descent and flow against the true one."""
    print("-- certified ‖θ_descent - θ_flow‖ against the true distance, m = 10 [1 to 10]")
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
    against_frameworks(quick)
    against_products(quick)
    batches(quick)
    stopping_indices(quick)
    limits(quick)
    reductions()
    conservation()
    distances()


if __name__ == "__main__":
    main()
