"""How wide must the network be?  One setting, every answer: the table of README and of this folder.

    python docs/make_width_ladder.py          write docs/width_ladder.md and the table in README
    python docs/make_width_ladder.py --check  fail if they say anything else (about half a minute)

The setting is that of `kltheory certify --gaussian 10x60 --seed 0`: 10 observations of 60 unknowns
through a Gaussian matrix, sigmoid, the square loss, failure probability 1/20 for the theorems about
random networks.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

import kltheory as kl
from kltheory.cli.instance import instance

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
PAGE = HERE / "width_ladder.md"
START, END = "<!-- widths: made by docs/make_width_ladder.py -->", "<!-- end of widths -->"
FAILURE = 0.05


def setting(train: str, k: int = 200) -> tuple[kl.Problem, kl.TwoLayerNetwork]:
    """The problem, and its network with k neurons: the first k of one sequence."""
    return instance(
        operator=None,
        gaussian="10x60",
        observation=None,
        noise_level=Fraction(0),
        k=Fraction(k),
        d=None,
        activation="sigmoid",
        train=train,
        output_init="rademacher",
        loss="mse",
        params={},
        seed=Fraction(0),
    )


def theorems(train: str) -> dict[tuple[str, str], int]:
    """The widths of the theorems about random networks, by theorem and form."""
    problem, network = setting(train)
    rows = kl.width(
        n=network.n,
        m=problem.m,
        train=train,
        sigma_f=problem.sigma_F,
        norm_f=problem.norm_F,
        y_norm=float(np.linalg.norm(problem.observation)),
        failure=FAILURE,
    ).rows
    return {(row.theorem, row.theory): row.k for row in rows if row.k is not None}


@cache
def certificates(train: str) -> dict[str, str]:
    """The smallest width at which each certificate of this very draw holds."""
    found = kl.certify(*setting(train), train=train, smallest_k=True).smallest
    return {s.name: f"{s.k:,}" if s.k is not None else f"more than {s.searched:,}" for s in found}


@cache
def on_line(train: str, border: int) -> int:
    """The smallest width up to the border at which a run is proved to converge on the way."""
    low, high = 0, border
    while high - low > 1:
        middle = (low + high) // 2
        proved = kl.certify(*setting(train, middle), train=train, online="flow").online
        low, high = (low, middle) if proved is not None else (middle, high)
    at_border = kl.certify(*setting(train, high), train=train, online="flow").online
    if at_border is None:
        sys.exit(f"train {train}: no run is certified up to the border, k = {border}")
    return high


@cache
def border(train: str) -> str:
    """The width from which on the observation can be reached at all."""
    if train == "both":
        return "1"
    found = kl.border_k(
        lambda k: kl.certify(*setting(train, k), train=train).reach, most=4096, around=40
    )
    return f"{found.settled:,}"


def table() -> str:
    """The table in Markdown."""
    hidden, both = theorems("hidden"), theorems("both")
    drawn = {train: certificates(train) for train in ("hidden", "both")}
    reached = {train: border(train) for train in ("hidden", "both")}
    online = {
        train: on_line(train, int(reached[train].replace(",", ""))) for train in ("hidden", "both")
    }
    rows: list[tuple[str, str, str]] = [
        (
            "the paper's theorem as printed, its constants C = C' = 1",
            f"{hidden['B.1', 'printed']:,}",
            f"{both['4.1', 'printed']:,}",
        ),
        (
            "the same argument with every constant",
            format(hidden["B.1 (R' < R)", "corrected"], ","),
            format(both["4.1 (R' < R)", "corrected"], ","),
        ),
        ("corrected (B.1*)", f"{hidden['B.1', 'corrected']:,}", "-"),
        (
            "sharp (M; V), for random networks",
            f"{hidden['M', 'sharp']:,}",
            f"{both['4.1 (independent entries)', 'sharp']:,}",
        ),
        ("this network: the paper's condition R' < R", drawn["hidden"]["P"], drawn["both"]["P"]),
        ("this network: S3; S1", drawn["hidden"]["S3"], drawn["both"]["S1"]),
        ("this network: q; V", drawn["hidden"]["q"], drawn["both"]["V"]),
        ("this network: M; C", drawn["hidden"]["M"], drawn["both"]["C"]),
        ("on line, while it trains", f"{online['hidden']:,}", f"{online['both']:,}"),
        ("the border: where zero loss can be reached", reached["hidden"], reached["both"]),
    ]
    lines = ["| neurons that are enough | hidden layer trained | both layers trained |",
             "| --- | ---: | ---: |"]  # fmt: skip
    return "\n".join(lines + [f"| {what} | {a} | {b} |" for what, a, b in rows])


def written(made: str) -> dict[Path, str]:
    """The two files with the table in them."""
    readme = README.read_text(encoding="utf-8")
    if START not in readme or END not in readme:
        sys.exit(f"README.md has no place for the table: {START}")
    before, rest = readme.split(START)
    _, after = rest.split(END)
    page = f"# How wide must the network be?\n\n{__doc__.split(chr(10) * 2)[2].strip()}\n\n{made}\n"
    return {README: f"{before}{START}\n\n{made}\n\n{END}{after}", PAGE: page}


def main(words: list[str]) -> int:
    """Write the files, or compare them."""
    files = written(table())
    if words == ["--check"]:
        wrong = [p.name for p, text in files.items() if not p.exists() or p.read_text() != text]
        for name in wrong:
            print(f"{name} differs from what is made now", file=sys.stderr)
        return 1 if wrong else 0
    if words:
        print(__doc__, file=sys.stderr)
        return 2
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
