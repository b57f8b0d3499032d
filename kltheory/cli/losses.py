"""`kltheory losses`: the registry of losses and their desingularizing functions."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from kltheory.cli.options import emit, format_option, json_text, output_option, param_option
from kltheory.errors import InputError


@click.command(
    "losses",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("name", required=False)
@param_option
@format_option()
@output_option
def command(
    name: str | None, params: Mapping[str, Fraction], output_format: str, output: Path | None
) -> None:
    """The losses that have a desingularizing function ψ by name; with NAME, one and its proof line.

    r = v - y is the residual.  --param gives ψ of NAME its numbers.

    \b
    kltheory losses
    kltheory losses huber
    kltheory losses power --param p=0.2
    """
    from kltheory.symbolic import losses

    if params and name is None:
        raise InputError("--param goes with a NAME: kltheory losses power --param p=0.2")
    chosen = losses.losses() if name is None else (losses.find(name),)
    rows = [row.to_dict() for row in chosen]
    if params:
        rows[0]["psi_value"] = losses.described(chosen[0].desingularizer(**params))
    answer = {"schema": "kltheory/losses/1", "losses": rows, "warnings": []}
    show = _ONE if name is not None else _ALL
    emit({**show, "json": json_text, "csv": _csv, "latex": _latex}[output_format](answer), output)


_COLUMNS = ("name", "formula", "psi", "alpha", "valid_on", "convex")
_TITLES = ("name", "loss", "ψ(s)", "α", "valid", "convex")


def _cells(row: Mapping[str, Any]) -> list[str]:
    found = [row[column] for column in _COLUMNS]
    return ["none" if c is None else {True: "yes", False: "no"}.get(c, str(c)) for c in found]


def _table(answer: Mapping[str, Any]) -> str:
    cells = [list(_TITLES), *map(_cells, answer["losses"])]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells]
    lines.insert(1, "-" * len(lines[0].rstrip()))
    return "\n".join(line.rstrip() for line in lines)


def _details(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What there is to say about one loss, as pairs."""
    pairs = [
        ("loss", row["formula"]),
        ("ψ(s)", row["psi"] or "none"),
        ("α near 0", row["alpha"] or "none"),
        ("valid", row["valid_on"]),
        ("convex", "yes" if row["convex"] else "no"),
        ("A-1", "can hold" if row["smooth"] else "fails: the gradient is not Lipschitz at y"),
        ("proof" if row["refusal"] is None or row["psi"] else "why not", row["proof"]),
        ("notes", row["notes"]),
        ("refused", row["refusal"] or ""),
    ]
    for q in row["parameters"]:
        default = "" if q["default"] is None else f", default {q['default']}"
        pairs.append((q["name"], f"{q['meaning']} ({q['allowed']}{default})"))
    if "psi_value" in row:
        pairs.append(("ψ here", f"{row['psi_value']['expr']}, r0 = {row['psi_value']['radius']}"))
    return [(title, text) for title, text in pairs if text]


def _page(answer: Mapping[str, Any]) -> str:
    row = answer["losses"][0]
    pairs = _details(row)
    width = max(len(title) for title, _ in pairs)
    return "\n".join([row["name"], *(f"  {title.ljust(width)}  {text}" for title, text in pairs)])


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def _markdown(answer: Mapping[str, Any]) -> str:
    rows = [_cells(row) for row in answer["losses"]]
    rows = [[row[0], *(f"`{c}`" if i == 1 else c for i, c in enumerate(row[1:]))] for row in rows]
    return "\n".join(
        [_markdown_row(list(_TITLES)), "|---" * len(_TITLES) + "|", *map(_markdown_row, rows)]
    )


def _markdown_page(answer: Mapping[str, Any]) -> str:
    row = answer["losses"][0]
    return "\n".join([f"**{row['name']}**", "", *(f"- {a}: {b}" for a, b in _details(row))])


def _csv(answer: Mapping[str, Any]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*_COLUMNS, "proof", "notes", "refusal"))
    for row in answer["losses"]:
        writer.writerow((*_cells(row), row["proof"], row["notes"], row["refusal"] or ""))
    return stream.getvalue()


def _latex(answer: Mapping[str, Any]) -> str:
    """Write a tabular of the formulas."""
    lines = []
    for row in answer["losses"]:
        psi = row.get("psi_value", {}).get("latex") or row["psi_latex"]
        shown = "none" if psi is None else f"${psi}$"
        convex = "yes" if row["convex"] else "no"
        lines.append(rf"{row['name']} & ${row['formula_latex']}$ & {shown} & {convex} \\")
    head = r"loss & $\mathcal L_y(v)$, $r = v - y$ & $\psi(s)$ & convex \\"
    body = "\n".join([r"\hline", head, r"\hline", *lines, r"\hline"])
    return "\\begin{tabular}{llll}\n" + body + "\n\\end{tabular}"


_ALL: dict[str, Callable[[Mapping[str, Any]], str]] = {"text": _table, "markdown": _markdown}
_ONE: dict[str, Callable[[Mapping[str, Any]], str]] = {"text": _page, "markdown": _markdown_page}
