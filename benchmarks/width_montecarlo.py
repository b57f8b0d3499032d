"""How loose the width theorems are: networks drawn at the k that each theorem asks for.

    python benchmarks/width_montecarlo.py [--draws 200] [--seed 0] [--activation sigmoid ...]

For each theorem: k, the failures of its event in so many draws with Wilson's 95 % interval, and
about the least k at which the event fails in a share p of the draws.  The frequency must not
exceed p; the script ends with code 1 if a theorem is refuted.
"""

from __future__ import annotations

import argparse
import sys
import time

from kltheory.activation import ACTIVATIONS
from kltheory.numeric.width import width
from kltheory.numeric.width_check import check_widths

SETTINGS = (
    {"n": 5, "m": 5, "sigma_f": 0.5},
    {"n": 20, "m": 5, "sigma_f": 0.5},
)
COMMON = {"norm_f": 1, "x_inf": 1, "noise_inf": 0, "failure": 0.05, "d": 20, "C": 1, "C_prime": 1}


def main() -> int:
    """Print one table; return 1 if a theorem is refuted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--activation", nargs="+", choices=ACTIVATIONS, default=["sigmoid", "tanh"])
    parser.add_argument("--max-work", type=float, default=2e9)
    options = parser.parse_args()
    print(f"p = {COMMON['failure']}, {options.draws} draws, seed {options.seed}")
    print(f"{'phi':<9}{'n':>4}{'m':>4}  {'theorem':<28}{'k':>9}{'fail':>6}  {'95 %':<18}", end="")
    print(f"{'observed k':>11}{'loose':>8}{'s':>7}")
    refuted = False
    for activation in options.activation:
        for setting in SETTINGS:
            for train in ("both", "hidden"):
                found = width(**COMMON, **setting, activation=activation, train=train)
                start = time.perf_counter()
                checks = check_widths(
                    found, draws=options.draws, seed=options.seed, max_work=options.max_work
                )
                seconds = (time.perf_counter() - start) / len(checks)
                for c in checks:
                    refuted |= not c.holds
                    interval = f"[{c.interval[0]:.4f}, {c.interval[1]:.4f}]"
                    loose = "-" if c.looseness is None else f"{c.looseness:.1f}"
                    place = f"{activation:<9}{setting['n']:>4}{setting['m']:>4}"
                    print(
                        f"{place}  {c.theorem:<28}{c.k:>9}"
                        f"{c.failures:>6}  {interval:<18}{c.k_observed or '-':>11}{loose:>8}"
                        f"{seconds:>7.1f}",
                        flush=True,
                    )
    return int(refuted)


if __name__ == "__main__":
    sys.exit(main())
