"""All benchmarks by one command, as one page.

    python benchmarks/report.py [--quick] [--only NAME ... [--add]] [--out FILE.md] [--json]
    python benchmarks/report.py --readme [--check]

The first measures, prints each part as soon as it is there, and writes the page of what is there;
with --json also the raw numbers, in seconds and ratios, beside it.  With --only NAME ... and no
--out nothing is written; with --add the new parts take their places in docs/benchmarks.json and
docs/benchmarks.md, if these are of this machine and these versions.  A part that fails is named and
the others go on; exit code 1.
The second measures nothing: it writes the page, and the block of README that holds its numbers,
from the raw numbers; --check only says whether they are up to date.

PyTorch, JAX and a C compiler are compared with where they are there; they are no dependencies:
    pip install torch==2.13.0 jax
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import Table, load, median, shown

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
START, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
SCHEMA = "kltheory/benchmarks/1"
MODULES = ("numpy", "scipy", "sympy", "flint", "torch", "jax")

Line = tuple[str, str]
"""What was measured, and the number, in words."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report."""

    name: str
    """Its name on the command line."""
    title: str
    """Its title."""
    measure: Callable[[bool], Sequence[Table]]
    """Measures it; True: quickly."""
    lines: Callable[[Sequence[Table]], Sequence[Line]]
    """What README says of it, from the tables alone."""


# -- the sections: what is measured, and what README says of it ------------------------------------


def startup(quick: bool) -> list[Table]:
    from startup import starts

    return [starts(5 if quick else 15)]


def startup_lines(tables: Sequence[Table]) -> list[Line]:
    found = {(row[0], row[1]): row for row in tables[0].rows}
    lines = []
    for name in ("kltheory --help", "kltheory bound --loss lojasiewicz --alpha 0.5"):
        _, _, mine, other, _, ratio, _ = found[name, "wall time"]
        plain = str(other).removeprefix("python -c ").strip("'")
        lines.append((f"`{name}`", f"{shown(mine, 's')}, {shown(ratio, 'times')} times `{plain}`"))
    return lines


def derive(quick: bool) -> Sequence[Table]:
    from derive import cases, derivations

    return derivations(cases(), 12 if quick else 4, 3.0 if quick else 5.0)


def derive_lines(tables: Sequence[Table]) -> list[Line]:
    valid, _, middle, worst, *_ = tables[0].rows[0]
    return [
        (
            f"Ψ, Ψ⁻¹ and the regimes of a ψ, {valid} ψ",
            f"median {shown(middle, 's')}, worst {shown(worst, 's')}",
        )
    ]


def times(quick: bool) -> list[Table]:
    from times import many_times

    return [many_times()]


def times_lines(tables: Sequence[Table]) -> list[Line]:
    most = max(tables[0].column("times"))
    spent = [row[2] for row in tables[0].rows if row[1] == most and row[2] is not None]
    return [(f"a bound at {most:,} times", _range(spent, "s"))] if spent else []


def widths(quick: bool) -> list[Table]:
    from width_montecarlo import answers, drawn

    return [
        answers(3 if quick else 11),
        drawn(20, activations=["sigmoid"]) if quick else drawn(100),
    ]


def widths_lines(tables: Sequence[Table]) -> list[Line]:
    return [("the widths of all theorems", _range(tables[0].column("again"), "s"))]


def training(quick: bool) -> list[Table]:
    from dynamics import accuracy, against_frameworks, against_products, batches, flow_and_limit

    parts = (against_frameworks, against_products, batches, flow_and_limit, accuracy)
    return [part(quick) for part in parts]


def training_lines(tables: Sequence[Table]) -> list[Line]:
    lines = []
    for name in dict.fromkeys(row[0] for row in tables[0].rows if row[6] is not None):
        for train in ("hidden", "both"):
            ratios = [row[6] for row in tables[0].rows if row[:2] == (name, train)]
            layers = "hidden layer" if train == "hidden" else "both layers"
            lines.append(
                (f"a descent step, {layers}, against {name}", f"{_range(ratios)} times as fast")
            )
    for what, _, other, _, ratio, *_ in tables[3].rows:
        if ratio is not None:
            lines.append((f"{what}, against {other}", f"{shown(ratio, 'times')} times as fast"))
    return lines


def floor(quick: bool) -> list[Table]:
    from floor import against_floor

    return [against_floor(quick)]


def floor_lines(tables: Sequence[Table]) -> list[Line]:
    ratios = tables[0].column("batch / C")
    return [("a descent step, against plain C", f"{_range(ratios)} times its time")] * bool(ratios)


def figures(quick: bool) -> list[Table]:
    import figures

    return [figures.figures(not quick)]


def figures_lines(tables: Sequence[Table]) -> list[Line]:
    lines = []
    for engine in ("exact", "descent"):
        rows = [row for row in tables[0].rows if row[1] == engine]
        walls = [row[3] for row in rows if row[3] is not None]
        seconds, clock = (walls, "") if walls else ([row[4] for row in rows], " of CPU time")
        lines.append(
            (f"a figure at paper scale, `--engine {engine}`", f"{_range(seconds, 's')}{clock}")
        )
    for name, _, _, _, _, _, slow, ratio, _ in tables[0].rows:
        if ratio is not None:
            lines.append(
                (f"{name} by training, against PyTorch",
                 f"{shown(ratio, 'times')} times as fast as its {shown(slow, 's')}")
            )  # fmt: skip
    return lines


def cost(quick: bool) -> list[Table]:
    from cost import exponents, workers
    from scale import in_new_process

    n, k = (20_000, 50_000) if quick else (50_000, 200_000)
    large = in_new_process(["--n", str(n), "--k", str(k)])
    return [exponents(quick), workers("fig1a" if quick else "fig1b"), large]


def cost_lines(tables: Sequence[Table]) -> list[Line]:
    found = [row for row in tables[0].rows if row[3] == "a step"]
    _, n, k, _, size, whole, *_, memory, _ = tables[2].rows[0]
    fitted = {
        name: median([row[7] for row in found if row[0] == name])
        for name in ("k", "m", "n", "runs")
    }
    said = ", ".join(f"{name} {shown(value, 'slope')}" for name, value in fitted.items())
    lines = [("exponents of the cost of a step", said)]
    count, _, speed_up, *_ = tables[1].rows[-1]
    return [
        *lines,
        (f"a sweep on {count} processes", f"{shown(speed_up, 'times')} times as fast"),
        (f"a run with n = {n:,}, k = {k:,}, whose V would take {size:,.0f} GB",
         f"{shown(whole, 's')}, {memory:,} MiB"),
    ]  # fmt: skip


def _range(values: Sequence[float], unit: str = "times") -> str:
    """The least and the greatest of some numbers."""
    low, high = shown(min(values), unit), shown(max(values), unit)
    return low if low == high else f"{low} to {high}"


SECTIONS = (
    Section("startup", "Starting", startup, startup_lines),
    Section("derive", "Derivations", derive, derive_lines),
    Section("times", "Bounds at many times", times, times_lines),
    Section("widths", "Widths", widths, widths_lines),
    Section("training", "Training", training, training_lines),
    Section("floor", "Training against plain C", floor, floor_lines),
    Section("figures", "The paper's figures", figures, figures_lines),
    Section("cost", "How cost grows", cost, cost_lines),
)


# -- measuring -------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    names = {}
    for name in MODULES:
        try:
            names[name] = str(importlib.import_module(name).__version__)
        except ImportError:
            names[name] = None
    import kltheory

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(load(), 2),
        "system": platform.platform(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {
            "kltheory": kltheory.__version__,
            "Python": platform.python_version(),
            **names,
        },
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def run(
    sections: Sequence[Section],
    quick: bool,
    keep: Callable[[dict[str, Any]], object],
    earlier: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure some sections, one after the other; print and keep each one once it is there.

    They take their place in an earlier report of the same machine and versions, if one is given.
    """
    report: dict[str, Any] = {"schema": SCHEMA, "machine": machine(), "sections": []}
    if earlier is not None:
        passing = {"load", "date"}
        here, there = (
            {k: v for k, v in r["machine"].items() if k not in passing} for r in (report, earlier)
        )
        if here != there:
            sys.exit("the report that is there was made with other versions or on another machine")
        report = earlier
    order = [section.name for section in SECTIONS]
    for section in sections:
        start, busy = time.perf_counter(), load()
        tables: Sequence[Table] = ()
        error = None
        try:
            tables = section.measure(quick)
        except Exception as problem:  # the other sections are measured still
            traceback.print_exc()
            error = f"{type(problem).__name__}: {problem}"
        seconds = time.perf_counter() - start
        report["sections"] = [p for p in report["sections"] if p["name"] != section.name]
        report["sections"].append(
            {
                "name": section.name,
                "title": section.title,
                "quick": quick,
                "seconds": round(seconds, 2),
                "load": round(busy, 2),
                "error": error,
                "tables": [table.to_dict() for table in tables],
            }
        )
        report["sections"].sort(key=lambda part: order.index(part["name"]))
        print(f"== {section.title} ({shown(seconds, 's')}, load {busy:.1f} when it began)")
        print("\n".join(table.text() for table in tables) or f"   failed: {error}", flush=True)
        keep(report)
    return report


# -- showing ---------------------------------------------------------------------------------------


def page(report: dict[str, Any]) -> str:
    """The report as a page."""
    found = report["machine"]
    versions = ", ".join(
        f"{name} {value or 'not installed'}" for name, value in found["versions"].items()
    )
    names = [part["name"] for part in report["sections"]]
    only = "" if len(names) == len(SECTIONS) else f" --only {' '.join(names)}"
    quick = all(part["quick"] for part in report["sections"])
    options = (" --quick" if quick else "") + only
    spent = sum(part["seconds"] for part in report["sections"])
    parts = [
        "# Benchmarks\n",
        f"Made by `python benchmarks/report.py{options}`; do not edit. Ratios are of pieces of "
        "work that took turns in one run, times are medians, of one thread and of the CPU where "
        'nothing else is said. "Asked" is what is to be reached, "load" how many processes wanted '
        "to run when a row was finished.\n",
        f"- {found['processor']}, {found['cores']} cores, load {found['load']} at the start, "
        f"{found['system']}\n- {versions}\n- {found['date']}, {shown(spent, 's')} in all\n",
    ]  # fmt: skip
    for part in report["sections"]:
        parts.append(f"## {part['title']}{' (--quick)' if part['quick'] and not quick else ''}\n")
        if part["error"] is not None:
            parts.append(f"Not measured: {part['error']}\n")
        parts += [Table.of_dict(table).markdown() for table in part["tables"]]
    return "\n".join(parts)


def block(report: dict[str, Any]) -> str:
    """What README says."""
    found = report["machine"]
    quick = all(part["quick"] for part in report["sections"])
    known = {section.name: section for section in SECTIONS}
    lines: list[Line] = []
    for part in report["sections"]:
        if part["error"] is None:
            lines += known[part["name"]].lines([Table.of_dict(t) for t in part["tables"]])
    about = (
        f"On {found['processor']} with {found['cores']} cores (load {found['load']} at the start), "
        f"Python {found['versions']['Python']}, NumPy {found['versions']['numpy']}, "
        f"{found['date'].split()[0]}{', a quick run' if quick else ''}; everything is in "
        "[docs/benchmarks.md](docs/benchmarks.md)."
    )
    rows = [f"| {what.replace('|', chr(92) + '|')} | {number} |" for what, number in lines]
    return "\n".join([about, "", "| what | measured |", "| --- | --- |", *rows])


def with_block(readme: str, made: str) -> str:
    """README with the block in its place."""
    if readme.count(START) != 1 or readme.count(END) != 1:
        sys.exit(f"README.md has no place for the numbers: {START} and {END}, once each")
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{made}\n\n{END}{after}"


def write(path: Path, text: str) -> None:
    """Write a file that is then there whole or not at all."""
    from kltheory.paper.store import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def read(path: Path) -> dict[str, Any]:
    """The raw numbers."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        sys.exit(f"{path} is not there: python benchmarks/report.py --json makes it")
    if report.get("schema") != SCHEMA:
        sys.exit(f"{path} is no report of this program")
    return dict(report)


def from_numbers(raw: Path, out: Path, readme: Path, check: bool) -> int:
    """Write the page and the block of README from the raw numbers, or compare them."""
    report = read(raw)
    wanted = {
        out: page(report),
        readme: with_block(readme.read_text(encoding="utf-8"), block(report)),
    }
    if check:
        wrong = [p.name for p, text in wanted.items()
                 if not p.exists() or p.read_text(encoding="utf-8") != text]  # fmt: skip
        for name in wrong:
            print(f"{name} says something else than {raw.name}", file=sys.stderr)
        return 1 if wrong else 0
    for path, text in wanted.items():
        write(path, text)
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Measure, or write from what was measured."""
    names = [section.name for section in SECTIONS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats, figures from samples")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME",
                        help=f"some parts: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--out", type=Path, help="the page  [docs/benchmarks.md]")
    parser.add_argument("--json", action="store_true", help="the raw numbers too, beside the page")
    parser.add_argument("--add", action="store_true",
                        help="these parts anew, the others as they are")  # fmt: skip
    parser.add_argument(
        "--readme", action="store_true", help="page and README from the raw numbers"
    )
    parser.add_argument("--check", action="store_true", help="with --readme: only compare")
    given = parser.parse_args(words)
    if given.check and not given.readme:
        parser.error("--check goes with --readme")
    if given.readme and (given.only or given.quick or given.json):
        parser.error("--readme measures nothing: leave out --quick, --only and --json")
    out = given.out or PAGE
    if given.readme:
        return from_numbers(out.with_suffix(".json"), out, README, given.check)
    if given.add and not given.only:
        parser.error("--add goes with --only")
    given.json = given.json or given.add
    if given.json and given.only and not given.add and given.out is None:
        parser.error("--json with --only: say where, --out FILE.md, or --add")
    chosen = [s for s in SECTIONS if given.only is None or s.name in given.only]

    def keep(report: dict[str, Any]) -> None:
        if given.only is not None and given.out is None and not given.add:
            return
        write(out, page(report))
        if given.json:
            text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
            write(out.with_suffix(".json"), text)

    report = run(chosen, given.quick, keep, read(out.with_suffix(".json")) if given.add else None)
    return 1 if any(part["error"] for part in report["sections"]) else 0


if __name__ == "__main__":
    sys.exit(main())
