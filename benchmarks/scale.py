"""One training run at a size that no memory holds: time and peak memory.

    nice python benchmarks/scale.py                    # n = 10^5, k = 10^6: V would take 800 GB
    python benchmarks/scale.py --n 20000 --k 50000     # some seconds

V is drawn in blocks from its seed and goes through A once; from then on a step costs O(mk).
Seen on one core of an AMD EPYC, NumPy 2.4: 279 s, of which 270 s to draw V and build A V, 768 steps
of 11.7 ms (11.7 ns a neuron), peak memory 322 MiB; at n = 20,000 and k = 50,000: 2 s, 4.2 ns a
neuron, 58 MiB.
"""

# ruff: noqa: E402

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is loaded

import argparse
import resource
import time

import numpy as np

from kltheory.empirical.dynamics import descend
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.problem import Problem


def peak() -> float:
    """Return the peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def train(m: int, n: int, k: int, d: int, steps: int) -> None:
    """Run descent and print what it took."""
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
    print(f"m = {m}, n = {n}, k = {k}, d = {d}: V has {n * k:.1e} entries ({8e-9 * n * k:.3g} GB)")
    print(f"   {whole:.1f} s in all, {whole - step * steps:.1f} s of it to draw V and build A V")
    print(f"   {steps} steps of {step * 1e3:.3g} ms, {step / k * 1e9:.3g} ns a neuron")
    print(f"   loss {run.losses[0]:.4g} -> {run.losses[-1]:.4g}; peak memory {peak():.0f} MiB")


def main() -> None:
    """Run the size that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("m", 10), ("n", 100_000), ("k", 1_000_000), ("d", 500), ("steps", 768)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = vars(parser.parse_args())
    print(f"NumPy {np.__version__}, one thread, CPU time")
    train(**options)


if __name__ == "__main__":
    main()
