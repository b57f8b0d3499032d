"""Work for sweeps that other processes can import, and a program that runs one."""

import itertools
import os
import sys
import time
from pathlib import Path

import numpy as np

from kltheory.paper.sweep import Sweep, run_sweep


def draws(cell, settings, seeds):
    """Two rows a run, of numbers that need all their digits."""
    time.sleep(settings.get("sleep", 0.0))
    out = []
    for seed in seeds:
        value = float(np.random.default_rng(seed).standard_normal(cell["n"]).sum())
        out.append([[0, value / 3.0, value > 0, None], [1, value * cell["k"], False, "a,b"]])
    return out


def some_fail(cell, settings, seeds):
    """Fail for one seed, and always at one cell."""
    if cell["k"] == 3 and cell["n"] == 2:
        raise ZeroDivisionError("this cell has no answer")
    if settings["bad_seed"] in seeds:
        raise ValueError("an unlucky seed\nwith a second line")
    return draws(cell, settings, seeds)


def dies_once(cell, settings, seeds):
    """End the worker process without a word, the first time that a cell is done."""
    if cell["k"] == 2:
        flag = Path(settings["folder"], f"died-{cell['n']}")
        if not flag.exists():
            flag.touch()
            os._exit(9)
    return draws(cell, settings, seeds)


def always_dies(cell, settings, seeds):
    """End the worker process whenever one seed is among those given."""
    if settings["bad_seed"] in seeds:
        os._exit(9)
    return draws(cell, settings, seeds)


def wrong_width(cell, settings, seeds):
    """Give a row that is too short."""
    return [[[1.0]] for _ in seeds]


def sweep(work=draws, **changes):
    """A small grid; `settings` are given as keywords beside the fields of a sweep."""
    given = {
        "name": "small",
        "axes": {"k": [1, 2, 3], "n": [2, 5]},
        "runs": 6,
        "work": work,
        "columns": ("part", "value", "positive", "note"),
        "chunk": 2,
    }
    return Sweep(**{**given, **changes})


def main(folder, jobs, pieces="1000"):
    """Run the small grid; after so many pieces stand still, until somebody ends this."""
    said = itertools.count()

    def say(progress):
        print(progress.done, flush=True)
        if next(said) >= int(pieces):
            time.sleep(600)

    run_sweep(sweep(settings={"sleep": 0.02}), folder, jobs=int(jobs), progress=say)


if __name__ == "__main__":
    main(*sys.argv[1:])
