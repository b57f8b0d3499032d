"""`kltheory reproduce`: the figures of the paper, each by one command."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kltheory.cli.options import emit, format_option, json_text, keep, output_option
from kltheory.errors import InputError

if TYPE_CHECKING:
    from kltheory.paper.figures import Recipe
    from kltheory.paper.sweep import Progress

FIGURES = ("fig1a", "fig1b", "fig2a", "fig2b", "fig3")
"""The figures of the paper that have data."""


def _pairs(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=VALUE, each name once."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value:
            raise click.BadParameter(
                f"{text[:40]!r} is not NAME=VALUE, such as step=1.", ctx, param
            )
        if name in found:
            raise click.BadParameter(f"{name} is given twice.", ctx, param)
        found[name] = value
    return found


@click.command(
    "reproduce",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("figure", required=False, type=click.Choice(FIGURES))
@click.option(
    "--scale",
    type=click.Choice(("small", "paper")),
    help="A minute, or the resolution of the paper.  [default: small]",
)
@click.option(
    "--engine",
    type=click.Choice(("descent", "exact", "both")),
    help="Train as the paper did, decide where the gradient flow goes without training, or both on "
    "the same draws.  [default: both]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for FIG.csv, FIG.png, FIG.json and the store FIG.sqlite.  [default: here; with "
    "--manifest: 'again' beside it]",
)
@click.option("--runs", type=click.IntRange(min=1), help="Networks for each cell.")
@click.option("--seed", type=click.IntRange(min=0), help="Root of all seeds.  [default: 0]")
@click.option("--jobs", type=click.IntRange(1, 1000), help="Processes on this machine.")
@click.option("--executor", help="A Dask cluster instead: dask://HOST:PORT.")
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Go on from what is in the store, or empty it first.",
)
@click.option(
    "--set",
    "values",
    multiple=True,
    callback=_pairs,
    metavar="NAME=VALUE",
    help="Another value of a setting; repeatable; lists with commas.",
)
@click.option("--settings", is_flag=True, help="List the settings of FIGURE, and stop.")
@click.option(
    "--manifest",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Make the figure of this FIG.json again, and compare the data.",
)
@format_option("text", "json", "markdown")
@output_option
def command(
    figure: str | None,
    scale: str | None,
    engine: str | None,
    out: Path | None,
    runs: int | None,
    seed: int | None,
    jobs: int | None,
    executor: str | None,
    resume: bool,
    values: Mapping[str, str],
    settings: bool,
    manifest: Path | None,
    output_format: str,
    output: Path | None,
) -> int:
    """Make Figure 1a, 1b, 2a, 2b or 3 of the paper: its data, its picture, and a manifest.

    A run that was interrupted goes on where it was; the same settings and seed give the same CSV,
    byte for byte.  What the text of the paper does not give (step size, law of V, ranges) is a
    setting.  Exit code 1: --manifest, and the data differ.  Exit code 3: some runs failed.

    \b
    kltheory reproduce fig1a
    kltheory reproduce fig1a --scale paper --engine exact --out results
    kltheory reproduce fig3 --settings
    kltheory reproduce fig2b --set beta=0,0.5 --set step=4 --runs 5
    kltheory reproduce --manifest results/fig1a.json
    """
    from kltheory.paper.figures import read_manifest, recipe, reproduce

    given = {"scale": scale, "engine": engine, "seed": seed, "settings": dict(values)}
    given = {name: value for name, value in given.items() if value not in (None, {})}
    wanted: dict[str, Any] = {"figure": figure, **given}
    if runs is not None:
        wanted["runs"] = runs
    if manifest is not None:
        if figure is not None or given or runs is not None:
            raise InputError("--manifest says what to make: give it no FIGURE and no settings.")
        wanted = read_manifest(manifest)
        out = out or manifest.parent / "again"
        made_again = out / f"{wanted['figure']}.json"
        keep((manifest,), (made_again, output))
        before = json.loads(manifest.read_text(encoding="utf-8"))
    if wanted["figure"] is None:
        raise InputError(f"give a FIGURE ({', '.join(FIGURES)}) or --manifest FIG.json.")
    if settings:
        if output_format != "text":
            raise InputError("--settings is a page of text; leave --format out.")
        chosen = recipe(wanted["figure"]).at(wanted.get("scale", "small"))
        changed = {**wanted.get("settings", {}), **({"runs": runs} if runs else {})}
        emit(_settings(chosen.with_values(changed)), output)
        return 0
    with _progress(wanted["figure"]) as tell:
        made = reproduce(
            **wanted, out=out or Path(), jobs=jobs, executor=executor, resume=resume, progress=tell
        )
    answer = made.to_dict()
    if manifest is not None:
        answer = {**answer, "again": _compared(before, answer)}
    show = {"text": _text, "json": json_text, "markdown": _markdown}[output_format]
    emit(show(answer if output_format == "json" else {**answer, "folder": made.folder}), output)
    if answer.get("again", {}).get("same") is False:
        return 1
    return 3 if answer["failures"] else 0


@contextmanager
def _progress(name: str) -> Iterator[Callable[[Progress], None] | None]:
    """Draw a bar with the time left on a terminal; on Ctrl-C say that the work is kept."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    try:
        if not console.is_terminal:
            yield None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
        with Bar(*columns, console=console, transient=True) as bar:
            task = bar.add_task(name, total=1.0, said="starting")
            yield lambda p: bar.update(task, completed=p.fraction, said=_said(p))
    except KeyboardInterrupt:
        print("interrupted; finished runs are kept, the same command goes on.", file=sys.stderr)
        raise


def _said(p: Progress) -> str:
    """Say how far it is.

    >>> from kltheory.paper.sweep import Progress
    >>> _said(Progress(30, 720, 1, 0.04, 95.2))
    '30 of 720 runs, 1 failed, 1 min 35 s left'
    """
    failed = f", {p.failed} failed" if p.failed else ""
    if p.seconds_left is None:
        return f"{p.done} of {p.total} runs{failed}"
    minutes, seconds = divmod(round(p.seconds_left), 60)
    left = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{p.done} of {p.total} runs{failed}, {left} left"


def _compared(before: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """Hold the data against those of a manifest."""
    old, new = _part(before, "files").get("csv_sha256"), answer["files"]["csv_sha256"]
    versions = _part(before, "versions")
    differ = {
        k: [versions.get(k), v] for k, v in answer["versions"].items() if versions.get(k) != v
    }
    return {"same": None if old is None else old == new, "versions_that_differ": differ}


def _part(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a manifest, empty where it is missing or is something else."""
    part = manifest.get(name)
    return part if isinstance(part, Mapping) else {}


def _settings(chosen: Recipe) -> str:
    from kltheory.paper.figures import settings_table

    lines = [chosen.title, ""]
    rows = settings_table(chosen)
    width = max(len(name) for name, *_ in rows)
    for name, value, source, note in rows:
        lines.append(f"{name.ljust(width)}  {value}  ({source})")
        lines += textwrap.wrap(note, 90, initial_indent=" " * (width + 4),
                               subsequent_indent=" " * (width + 4))  # fmt: skip
    return "\n".join(lines)


def _about(answer: Mapping[str, Any]) -> list[str]:
    """What is said after the caption."""
    folder, files = answer["folder"], answer["files"]
    names = [files["csv"], files["image"], f"{answer['figure']}.json"]
    time = answer["time"]
    lines = ["written: " + ", ".join(str(folder / name) for name in names if name)]
    lines.append(
        f"{time['seconds']:.0f} s ({time['cpu_seconds']:.0f} s of CPU time in all, "
        f"{time['resumed_runs']} runs were there already)"
    )
    again = answer.get("again")
    if again is not None:
        said = {True: "the same, byte for byte", False: "not the same", None: "not compared"}
        lines.append(f"data of the manifest: {said[again['same']]}")
        for name, (old, new) in again["versions_that_differ"].items():
            lines.append(f"  {name} was {old}, is {new}")
    lines += [f"warning: {text}" for text in answer["warnings"]]
    for failure in answer["failures"][:10]:
        where = ", ".join(f"{axis}={value}" for axis, value in failure["cell"].items())
        run = f"run {failure['run']}, seed {failure['seed']}"
        lines.append(f"failed: {where}, {run}: {failure['error']}")
    return lines


def _text(answer: Mapping[str, Any]) -> str:
    return "\n".join(
        [answer["title"], "", *textwrap.wrap(answer["caption"], 96), "", *_about(answer)]
    )


def _markdown(answer: Mapping[str, Any]) -> str:
    image = answer["files"]["image"]
    lines = [f"## {answer['title']}", ""]
    if image:
        lines += [f"![{answer['title']}]({answer['folder'] / image})", ""]
    lines += [answer["caption"], "", "| setting | value | source |", "| --- | --- | --- |"]
    for s in answer["settings"]:
        value = ", ".join(map(str, s["value"])) if isinstance(s["value"], list) else s["value"]
        lines.append(f"| {s['name']} | {value} | {s['source']} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in _about(answer))])
