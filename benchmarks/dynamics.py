"""Training speed and accuracy, as ratios measured side by side in one run.

    python benchmarks/dynamics.py [--quick]

One thread, CPU time, medians over rounds in which the candidates take turns.  Compared with
(1) straightforward loops in PyTorch and JAX: autograd, float32, one network at a time; for PyTorch
    both as its tutorials write it, with modules and an optimizer, and bare, on tensors alone; the
    flow with SciPy's integrator around autograd in float64, over all weights;
(2) the two matrix products of a step alone; (3) 25,000 descent steps, for the Newton limit;
(4) runs one by one, for batches.  Then the accuracy of the reductions, of the fast step, of the
conserved quantities and of the certified distance.  "asked" is what is to be reached.
PyTorch and JAX are needed for (1) only and are no dependencies of the package:
    pip install torch==2.13.0 jax
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

from measure import Cell, Column, Table, load, median, rounds

# isort: split

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
LONG = 25_000
"""The steps of a long descent."""
TIME = 50.0
"""How long the flow of one network is followed."""


def gaussian(m: int, n: int, k: int, seed: int, d: int = D) -> tuple[Problem, TwoLayerNetwork]:
    """Return the paper's setting: A with entries of variance 1/n, x̄ Gaussian, V Rademacher."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((m, n)) / np.sqrt(n)
    return Problem(a, a @ rng.standard_normal(n)), TwoLayerNetwork.draw(n, k, d, seed=seed)


def draws(size: tuple[int, int, int], count: int, d: int = D) -> tuple[list, list]:
    """Return so many problems and networks of one size."""
    problems, nets = zip(*(gaussian(*size, seed, d) for seed in range(count)), strict=True)
    return list(problems), list(nets)


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


def torch_flow(problem: Problem, net: TwoLayerNetwork) -> Callable[[], object]:
    """Return the gradient flow of W as SciPy integrates it around autograd in float64."""
    import torch
    from scipy.integrate import solve_ivp

    torch.set_num_threads(1)
    a, y, u, v = (
        torch.tensor(value, dtype=torch.float64)
        for value in (problem.operator, problem.observation, net.u, net.V)
    )

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        w = torch.tensor(flat.reshape(net.W.shape), requires_grad=True)
        loss = 0.5 * torch.sum((a @ (v @ torch.sigmoid(w @ u) / net.k**0.5) - y) ** 2)
        (gradient,) = torch.autograd.grad(loss, [w])
        return -gradient.numpy().ravel()

    def run() -> object:
        return solve_ivp(velocity, (0.0, TIME), net.W.ravel(), method="DOP853",
                         rtol=1e-10, atol=1e-12)  # fmt: skip

    return run


Loop = Callable[[Problem, TwoLayerNetwork, str, int], Callable[[], object]]

LOOPS: tuple[tuple[str, str, Loop], ...] = (
    ("torch", "modules and SGD", torch_loop),
    ("torch", "bare tensors", torch_bare_loop),
    ("jax", "compiled step", jax_loop),
)
"""The framework, how the loop is written, and the loop."""


def version(module: str) -> str | None:
    """Return the version of a module, None if it is not there."""
    try:
        return str(importlib.import_module(module).__version__)
    except ImportError:
        return None


def against_frameworks(quick: bool, cases: Sequence[tuple[int, int, int]] = tuple(SIZES)) -> Table:
    """Measure how many times faster than a loop in a framework a step is."""
    ours, theirs = (1000, 30) if quick else (5000, 100)
    rows: list[tuple[Cell, ...]] = []
    for name, style, _ in LOOPS:
        if version(name) is None:
            rows.append((f"{name}, {style}: not installed", *[None] * 8))
    there = [(name, style, loop) for name, style, loop in LOOPS if version(name) is not None]
    for place, train in enumerate(MODES):
        for size in cases:
            m, _, k = size
            count = capacity(m, k, 96)
            problems, nets = draws(size, count)

            def batch(train: str = train, p=problems, g=nets) -> object:
                return descend(p, g, train, step=STEP, steps=ours, tol=0.0, every=100)

            loops = [loop(problems[0], nets[0], train, theirs) for _, _, loop in there]
            mine, *others = rounds(3 if quick else 5, batch, *loops)
            for (name, style, _), other in zip(there, others, strict=True):
                ratios = [b / theirs / (a / ours / count) for a, b in zip(mine, other, strict=True)]
                asked = SIZES[size][place] if name == "torch" and size in SIZES else None
                rows.append(
                    (f"{name}, {style}", train, str(size), count, median(mine) / ours / count,
                     median(other) / theirs, median(ratios), asked, load())
                )  # fmt: skip
    return Table(
        "A step of gradient descent against frameworks",
        (
            Column("framework"),
            Column("trained"),
            Column("(m, n, k)"),
            Column("runs", "count"),
            Column("kltheory", "s"),
            Column("framework's", "s"),
            Column("framework / kltheory", "times"),
            Column("asked", "times"),
            Column("load", "load"),
        ),
        tuple(sorted(rows, key=lambda row: str(row[0]))),
        (
            f"Frameworks: autograd, float32, one network at a time, d = {D}. kltheory: float64, so "
            "many runs as one batch, every loss recorded. CPU time of a step of one run, from "
            "whole runs, set-up included.",
        ),
    )


def against_products(quick: bool, cases: Sequence[tuple[int, int, int]] = tuple(SIZES)) -> Table:
    """Measure the cost of a step relative to its two matrix products alone."""
    rows: list[tuple[Cell, ...]] = []
    for size in cases:
        m, _, k = size
        count = capacity(m, k, 96)
        problems, nets = draws(size, count, 10)
        steps = 1500 if quick else 5000
        rng = np.random.default_rng(0)
        matrix, state = rng.standard_normal((count, m, k)), rng.standard_normal((count, k))
        r, g = np.empty((count, m)), np.empty((count, k))

        def products(steps: int = steps, matrix=matrix, state=state, r=r, g=g) -> None:
            for _ in range(steps):
                np.matvec(matrix, state, out=r)
                np.vecmat(r, matrix, out=g)

        def batch(fast: bool, steps: int = steps, p=problems, q=nets) -> object:
            return descend(p, q, step=STEP, steps=steps, tol=0.0, every=100, fast=fast)

        bare, *both = rounds(
            3 if quick else 5, products, lambda b=batch: b(True), lambda b=batch: b(False)
        )
        fast, plain = (median([x / y for x, y in zip(t, bare, strict=True)]) for t in both)
        rows.append((str(size), median(bare) / steps / count, fast, plain, 2.5, load()))
    return Table(
        "A step (hidden layer) against np.matvec + np.vecmat alone",
        (
            Column("(m, n, k)"),
            Column("products", "s"),
            Column("without exponentials", "times"),
            Column("plain form", "times"),
            Column("asked at most", "times"),
            Column("load", "load"),
        ),
        tuple(rows),
    )


def batches(quick: bool) -> Table:
    """Measure what a batch saves against the same runs one by one."""
    problems, nets = draws((10, 200, 500), 32, 5)
    short = 200 if quick else 1000
    rows: list[tuple[Cell, ...]] = []
    for train in MODES:
        for name, settings in (
            ("fixed step", {"step": STEP, "steps": short}),
            ("verified descent", {"step": 20.0, "steps": short // 4, "verified": True}),
            ("flow to t = 100", {"times": [50.0, 100.0]}),
        ):
            call = flow if "times" in settings else descend
            if call is descend:
                settings |= {"tol": 1e-20, "every": 50}

            def together(call=call, train: str = train, settings=settings) -> object:
                return call(problems, nets, train, **settings)

            def alone(call=call, train: str = train, settings=settings) -> object:
                return [call(p, g, train, **settings) for p, g in zip(problems, nets, strict=True)]

            batch, single = rounds(3, together, alone)
            ratio = median([b / a for a, b in zip(batch, single, strict=True)])
            rows.append(
                (name, train, median(batch) / len(nets), median(single) / len(nets), ratio, load())
            )
    return Table(
        "A batch of 32 runs against the same runs one by one, (m, n, k) = (10, 200, 500)",
        (
            Column("training"),
            Column("trained"),
            Column("a run in the batch", "s"),
            Column("a run alone", "s"),
            Column("alone / batch", "times"),
            Column("load", "load"),
        ),
        tuple(rows),
    )


def flow_and_limit(quick: bool) -> Table:
    """Measure the flow, and the limit t = ∞ by Newton's method, against what does the same."""
    problem, net = gaussian(10, 200, 500, 1)
    torch = version("torch") is not None
    steps = 30 if quick else 100
    works: list[Callable[[], object]] = [
        lambda: flow(problem, net, times=[0.0, TIME]),
        lambda: newton_limit(problem, net),
        lambda: descend(problem, net, step=STEP, steps=LONG, tol=1e-300, every=1000),
    ]
    if torch:
        works += [torch_flow(problem, net), torch_loop(problem, net, "hidden", steps)]
    flows, limits, long, *others = rounds(3, *works)

    def row(what: str, mine: list[float], other: str, its: list[float] | None, asked: Cell) -> None:
        ratio = None if its is None else median([b / a for a, b in zip(mine, its, strict=True)])
        cost = None if its is None else median(its)
        rows.append((what, median(mine), other, cost, ratio, asked, load()))

    rows: list[tuple[Cell, ...]] = []
    if torch:
        integrated, trained = others[0], [t * LONG / steps for t in others[1]]
        row(f"flow to t = {TIME:g}", flows, "SciPy's DOP853 around PyTorch's autograd, float64",
            integrated, None)  # fmt: skip
    else:
        row(f"flow to t = {TIME:g}", flows, "PyTorch: not installed", None, None)
    row("limit t = ∞ (Newton)", limits, f"{LONG:,} descent steps, kltheory", long, 50)
    if torch:
        row("limit t = ∞ (Newton)", limits,
            f"{LONG:,} descent steps, PyTorch (from {steps} steps)", trained, None)  # fmt: skip
    return Table(
        "The gradient flow, and its limit, (m, n, k) = (10, 200, 500), hidden layer, one run",
        (
            Column("what"),
            Column("kltheory", "s"),
            Column("against"),
            Column("its time", "s"),
            Column("the other / kltheory", "times"),
            Column("asked", "times"),
            Column("load", "load"),
        ),
        tuple(rows),
        (f"Both flows with rtol 1e-10 and atol 1e-12; d = {D}.",),
    )


def accuracy(quick: bool) -> Table:
    """Compare the fast forms with the plain ones, and each proved number with the true one."""
    rows = (
        stopping_indices(quick),
        reachability(quick),
        *(reduction(train) for train in MODES),
        conservation(),
        *distances(),
    )
    return Table(
        "Accuracy of what is fast",
        (Column("what"), Column("found"), Column("asked")),
        rows,
    )


def stopping_indices(quick: bool) -> tuple[str, str, str]:
    """Return whether the fast and the plain step stop at the same iterates."""
    runs = 60 if quick else 500
    problems, nets = map(
        list, zip(*(gaussian(10, 60, 60 + s % 200, s, 5) for s in range(runs)), strict=True)
    )
    settings = {"step": STEP, "steps": 3000, "tol": 1e-7, "every": 1000}
    fast = descend(problems, nets, fast=True, **settings)
    plain = descend(problems, nets, fast=False, **settings)
    same = sum((a.steps, a.status) == (b.steps, b.status) for a, b in zip(fast, plain, strict=True))
    return (
        "runs with the same stopping index and reason with and without the fast step",
        f"{same} of {runs}",
        "all",
    )


def reachability(quick: bool) -> tuple[str, str, str]:
    """Return how often the Newton limit and the linear program agree."""
    from scipy.optimize import linprog

    agree = decided = 0
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
            if abs(margin) > 1e-6:
                decided += 1
                agree += limit.reachable is (margin > 0)
    return (
        "cells with a margin above 1e-6 where the Newton limit and the linear program agree",
        f"{agree} of {decided}",
        "all",
    )


def reduction(train: str) -> tuple[str, str, str]:
    """Return how far the reduced dynamics are from the network itself after 1,000 steps."""
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
    return (
        f"reduced against full network, {train}, 1,000 steps, {len(ACTIVATIONS)} activations: "
        "largest difference in W, V, loss, drift",
        f"{worst:.1e} ({at})",
        "1e-12",
    )


def conservation() -> tuple[str, str, str]:
    """Return the drift of ‖V_i‖² - G(z_i) along the flow of both layers, relative to 1 + ‖V_i‖²."""
    worst = 0.0
    for name in ACTIVATIONS:
        for seed in range(3):
            problem, _ = gaussian(4, 12, 20, seed, 3)
            net = TwoLayerNetwork.draw(12, 20, 3, activation=name, seed=seed)
            run = flow(problem, net, "both", times=[0.0, 20.0])
            assert run.accuracy is not None
            assert run.accuracy.conservation is not None
            worst = max(worst, run.accuracy.conservation)
    return ("conserved quantities of both layers: largest drift", f"{worst:.1e}", "1e-8")


def distances() -> list[tuple[str, str, str]]:
    """Return the certified distance between descent and flow relative to the true one."""
    rows = []
    for step in (0.1, 0.5, 1.0):
        problem, net = gaussian(10, 200, 500, 3, 10)
        steps = int(60 / step)
        bound = certified_distance(problem, net, step=step, steps=steps)
        true = flow_distance(problem, net, step, steps)
        marks = np.unique(np.linspace(0, steps, 21).astype(int))[1:]
        ratio = bound.distance[marks] / true[1:]
        rows.append(
            (
                f"certified ‖θ_descent - θ_flow‖ relative to the true distance, step {step}",
                f"{bound.distance.max() / true.max():.2f}; at single times "
                f"{ratio.min():.2f} to {ratio.max():.2f}",
                "1 to 10",
            )
        )
    return rows


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
    for part in (against_frameworks, against_products, batches, flow_and_limit, accuracy):
        print(part(quick).text(), flush=True)


if __name__ == "__main__":
    main()
