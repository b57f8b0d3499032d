"""How loose the width theorems are: networks drawn at the k that each theorem asks for.

    python benchmarks/width_montecarlo.py [--draws 200] [--seed 0] [--activation sigmoid ...]

For each theorem: k, the failures of its event in so many draws with Wilson's 95 % interval, and
about the least k at which the event fails in a share p of the draws.  The frequency must not
exceed p; the script ends with code 1 if a theorem is refuted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from measure import Cell, Column, Table, cpu, load, median

# isort: split

from kltheory.activation import ACTIVATIONS
from kltheory.numeric.width import width
from kltheory.numeric.width_check import check_widths

SETTINGS = (
    {"n": 5, "m": 5, "sigma_f": 0.5},
    {"n": 20, "m": 5, "sigma_f": 0.5},
)
COMMON = {"norm_f": 1, "x_inf": 1, "noise_inf": 0, "failure": 0.05, "d": 20, "C": 1, "C_prime": 1}


def answers(repeats: int) -> Table:
    """Measure how long one question takes: all theorems and forms, the least k of each."""
    rows: list[tuple[Cell, ...]] = []
    for activation in ("sigmoid", "tanh", "softplus"):
        for train in ("both", "hidden"):

            def ask(activation: str = activation, train: str = train) -> object:
                return width(**COMMON, **SETTINGS[1], activation=activation, train=train)

            first = cpu(ask)
            rows.append((activation, train, len(ask().rows), first,
                         median([cpu(ask) for _ in range(repeats)])))  # fmt: skip
    return Table(
        "kl.width: all theorems and forms",
        (
            Column("activation"),
            Column("trained"),
            Column("answers", "count"),
            Column("first call", "s"),
            Column("again", "s"),
        ),
        tuple(rows),
        (f"CPU time; the median of {repeats} calls.",),
    )


def refuted(found: Table) -> bool:
    """Whether a theorem is refuted."""
    return not all(found.column("holds"))


def drawn(
    draws: int,
    seed: int = 0,
    activations: Sequence[str] = ("sigmoid", "tanh"),
    max_work: float = 2e9,
    settings: Sequence[dict] = SETTINGS,
) -> Table:
    """Draw networks at the k that each theorem asks for."""
    rows: list[tuple[Cell, ...]] = []
    for activation in activations:
        for setting in settings:
            for train in ("both", "hidden"):
                found = width(**COMMON, **setting, activation=activation, train=train)
                checks: list = []

                def draw(found=found, checks=checks) -> None:
                    checks += check_widths(found, draws=draws, seed=seed, max_work=max_work)

                seconds = cpu(draw) / max(len(checks), 1)
                for c in checks:
                    rows.append((activation, setting["n"], setting["m"], c.theorem, c.k,
                                 c.failures, f"[{c.interval[0]:.4f}, {c.interval[1]:.4f}]",
                                 c.holds, c.k_observed, c.looseness, seconds, load()))  # fmt: skip
    return Table(
        f"The width theorems against networks that are drawn: {draws} draws, seed {seed}",
        (
            Column("activation"),
            Column("n", "count"),
            Column("m", "count"),
            Column("theorem"),
            Column("k", "count"),
            Column("failures", "count"),
            Column("95 %"),
            Column("holds"),
            Column("observed k", "count"),
            Column("loose", "times"),
            Column("CPU", "s"),
            Column("load", "load"),
        ),
        tuple(rows),
        (
            f"A theorem may fail in a share of {COMMON['failure']} of the draws; Wilson's interval "
            'for the share found. "observed k" is about the least k at which it does.',
        ),
    )


def main() -> int:
    """Print one table; return 1 if a theorem is refuted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--activation", nargs="+", choices=ACTIVATIONS, default=["sigmoid", "tanh"])
    parser.add_argument("--max-work", type=float, default=2e9)
    options = parser.parse_args()
    print(answers(5).text())
    found = drawn(options.draws, options.seed, options.activation, options.max_work)
    print(found.text())
    return int(refuted(found))


if __name__ == "__main__":
    sys.exit(main())
