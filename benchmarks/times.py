"""How long the bound takes at many times: bound.loss on an array, against plain NumPy.

    python benchmarks/times.py

CPU seconds of bound.loss, rounded to its safe side, at 10³ and at 10⁶ times in [0, 100]; beside it
the closed form, where there is one, as NumPy evaluates it, in floats and rounded to nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from measure import Cell, Column, Table, cpu, load, median

# isort: split

import numpy as np
import sympy as sp

import kltheory as kl

PSIS = (
    ("sqrt(2*s)", None),
    ("s**(1/3)", None),
    ("2*s**(3/4)", None),
    ("log(1+sqrt(s))", None),
    ("sqrt(s)+s", None),
    ("sqrt(s)/log(1/s)", "1/e"),
)
"""ψ and its radius: exponential, polynomial, extinct in finite time, no power, no closed Ψ⁻¹ ..."""
LOSS0, KAPPA = "0.1", "0.25"
END = 100.0
PATIENCE = 60.0
"""Seconds; what would take longer, at the pace of a tenth of the times, is not run."""


def in_numpy(law: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """The closed form of the bound as NumPy evaluates it; None where there is none."""
    if law.Psi is None or law.Psi_inverse is None:
        return None
    s = law.desingularizer.symbol
    (gamma,) = law.Psi_inverse.free_symbols
    psi = sp.lambdify(s, law.Psi, ["numpy", "scipy"])
    inverse = sp.lambdify(gamma, law.Psi_inverse, ["numpy", "scipy"])
    start, kappa = float(psi(float(LOSS0))), float(KAPPA)
    return lambda t: inverse(start + kappa * t)


def many_times(
    most: int = 10**6, psis: Sequence[tuple[str, str | None]] = PSIS, few: int = 1000
) -> Table:
    """Measure all ψ, at `few` times and at `most`, ten to a power times as many."""
    rows: list[tuple[Cell, ...]] = []
    for text, radius in psis:
        law = kl.rate(text, radius=radius)
        plain = in_numpy(law)
        count, spent = few, 0.0
        while count <= most and 10 * spent <= PATIENCE:
            times = np.linspace(0.0, END, count)
            spent = _seconds(law, times)
            if spent < 1.0:
                spent = median([spent, *(_seconds(law, times) for _ in range(2))])
            if count in (few, most):
                bare = None if plain is None else _plain(plain, times)
                ratio = None if bare is None else spent / bare
                rows.append((f"`{text}`", count, spent, bare, ratio, load()))
            count *= 10
        if rows[-1][1] != most:
            rows.append((f"`{text}`", most, None, None, None, load()))
    return Table(
        "The bound on the loss at many times",
        (
            Column("ψ"),
            Column("times", "count"),
            Column("bound.loss", "s"),
            Column("closed form in NumPy", "s"),
            Column("kltheory / NumPy", "times"),
            Column("load", "load"),
        ),
        tuple(rows),
        (
            f"CPU time, t from 0 to {END:g}, κ = {KAPPA}, L0 = {LOSS0}; each bound is new, so that "
            "nothing is known beforehand. bound.loss is an upper bound, NumPy's numbers are "
            f"near the truth. Not run, where it would take more than {PATIENCE:g} s: -.",
        ),
    )


def _seconds(law: Any, times: np.ndarray) -> float:
    """CPU seconds of a bound that knows nothing yet."""
    bound = law.bound(kappa=KAPPA, loss0=LOSS0)
    return cpu(lambda: bound.loss(times))


def _plain(plain: Callable[[np.ndarray], np.ndarray], times: np.ndarray) -> float:
    """CPU seconds of NumPy, from as many calls as take some milliseconds."""

    def calls(count: int) -> None:
        with np.errstate(all="ignore"):
            for _ in range(count):
                plain(times)

    repeats = max(1, 200_000 // times.size)
    calls(1)
    return median([cpu(lambda: calls(repeats)) / repeats for _ in range(5)])


if __name__ == "__main__":
    print(many_times().text())
