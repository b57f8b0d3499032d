"""`kltheory width`: how wide a network must be."""

from __future__ import annotations

import csv
import io
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kltheory.cli.limits import Seconds, within
from kltheory.cli.options import (
    EXACT,
    emit,
    exact_list,
    format_option,
    json_text,
    output_option,
    param_option,
    plot_option,
)
from kltheory.errors import InputError
from kltheory.shown import figure

if TYPE_CHECKING:
    from kltheory.numeric.width import AtWidth, Widths
    from kltheory.numeric.width_check import WidthCheck
    from kltheory.numeric.width_curves import Exponents, WidthCurves


def _curve(ctx: click.Context, param: click.Parameter, text: str | None) -> Any:
    """Read NAME=V1,V2,..."""
    if text is None:
        return None
    name, equals, numbers = text.rpartition("=")
    try:
        if not equals:
            raise InputError(f"{text[:40]!r} is not NAME=V1,V2,... such as n=10,20,50")
        return name.strip().replace("-", "_"), exact_list(numbers)
    except InputError as error:
        raise click.BadParameter(f"{error}.", ctx, param) from error


#: Address space of one call, in bytes; NumPy reserves more than it uses.
_MEMORY = 8 << 30


@click.command(
    "width",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--n", type=EXACT, required=True, help="Size of the signal x.")
@click.option("--m", type=EXACT, required=True, help="Size of the observation y.")
@click.option("--d", type=EXACT, help="Size of the input u (printed theorems only).")
@click.option(
    "--activation", default="sigmoid", show_default=True, help="A name, or φ as text in x."
)
@click.option(
    "--train",
    type=click.Choice(["hidden", "both"]),
    default="hidden",
    show_default=True,
    help="The layers that are trained.",
)
@click.option("--sigma-f", type=EXACT, required=True, help="σ_F of the operator.")
@click.option("--norm-f", type=EXACT, required=True, help="L_F,0: bound on the norm of J_F.")
@click.option("--y-norm", type=EXACT, help="Bound on ‖y‖; or else:")
@click.option("--x-inf", type=EXACT, help="‖F(x̄)‖∞, for ‖y‖ ≤ √m(‖F(x̄)‖∞ + ‖ε‖∞).")
@click.option("--noise-inf", type=EXACT, help="‖ε‖∞, with --x-inf.")
@click.option("--x-norm", type=EXACT, help="Bound on ‖A⁺y‖ (default ‖y‖/σ_F), for theorem M.")
@click.option(
    "--rank", type=EXACT, help="Rank of a linear F (default min(n, m)), for theorems S4Q and M."
)
@click.option("--failure", type=EXACT, required=True, help="p: accepted probability of failure.")
@click.option(
    "--entry-bound",
    type=EXACT,
    default="1",
    show_default=True,
    help="D ≥ 1: bound on the entries of V(0).",
)
@click.option("--loss", default="mse", show_default=True, help="Name of the loss.")
@param_option
@click.option("--C", "C", type=EXACT, help="C of the printed theorems (default 1, and said so).")
@click.option("--C-prime", "C_prime", type=EXACT, help="C' of the printed theorems (default 1).")
@click.option(
    "--theory",
    type=click.Choice(["all", "printed", "corrected", "sharp"]),
    default="all",
    show_default=True,
    help="Which forms of the theorems.",
)
@click.option("--k", type=EXACT, help="What holds with k neurons, and what could be afforded.")
@click.option("--curve", callback=_curve, help="k along a parameter: n=10,20,50 or alpha=1/4,1/2.")
@click.option("--exponents", is_flag=True, help="Fit how k scales, against the remarks.")
@click.option("--check", "draws", type=EXACT, help="Draw so many networks and count failures.")
@click.option("--seed", type=EXACT, default="0", show_default=True, help="Seed of --check.")
@click.option("--max-work", type=EXACT, help="Entries of V(0) that --check may draw.")
@click.option(
    "--limit",
    type=Seconds(),
    default=60.0,
    show_default=True,
    help="Seconds for the widths themselves (a φ given as text may take long).",
)
@plot_option
@format_option()
@output_option
def command(
    output_format: str,
    output: Path | None,
    plot: Path | None,
    k: Fraction | None,
    curve: tuple[str, tuple[Fraction, ...]] | None,
    exponents: bool,
    draws: Fraction | None,
    seed: Fraction,
    max_work: Fraction | None,
    limit: float,
    **question: Any,
) -> int:
    """How many neurons the theorems ask for, and what each number is made of.

    \b
    kltheory width --n 60 --m 10 --train hidden --sigma-f 1 --norm-f 1 --y-norm 3.2 --failure 0.05
    kltheory width --n 5 --m 5 --sigma-f 0.5 --norm-f 1 --x-inf 1 --failure 0.05 --k 20000
    kltheory width --n 5 --m 5 --sigma-f 0.5 --norm-f 1 --x-inf 1 --failure 0.05 --curve m=5,10,20
    kltheory width --n 5 --m 5 --sigma-f 0.5 --norm-f 1 --x-inf 1 --failure 0.05 --plot widths.png

    --k, --curve, --exponents and --check add a second table; --check draws at --k, or else at the k
    of each theorem.  Exit code 1: with --k, no
    theorem holds at that k; with --check, a theorem is refuted.
    """
    from kltheory.numeric import width as widths_module
    from kltheory.numeric import width_check, width_curves

    if sum((k is not None or draws is not None, curve is not None, exponents)) > 1:
        raise InputError("give one of --curve, --exponents, and --k or --check (or both).")
    with within(limit, memory=_MEMORY):
        found = widths_module.width(**question)
    if plot is not None:
        found.plot(plot)
    exact = output_format == "csv"
    answer, tables, code = found.to_dict(), [_rows(found, exact)], 0
    if k is not None and draws is None:
        at = found.at(k)  # type: ignore[arg-type]
        answer["at_k"] = {"k": int(k), "rows": [row.to_dict() for row in at]}
        tables.append(_at(int(k), at))
        code = 0 if any(a.holds for a in at if a.theory != "printed" and a.theorem != "C0") else 1
    elif curve is not None:
        curves = width_curves.width_curves(curve[0], curve[1], **question)
        answer["curve"] = curves.to_dict()
        tables.append(_curves(curves, exact))
    elif exponents:
        fitted = width_curves.exponents(
            question["train"], question["activation"], theory=question["theory"]
        )
        answer["exponents"] = [row.to_dict() for row in fitted]
        tables.append(_exponents(fitted))
    elif draws is not None:
        most = Fraction(width_check.MAX_WORK) if max_work is None else max_work
        checks = width_check.check_widths(
            found,
            draws=draws,  # type: ignore[arg-type]
            seed=seed,  # type: ignore[arg-type]
            k=k,  # type: ignore[arg-type]
            max_work=float(max(Fraction(0), min(most, Fraction(10**18)))),  # what floats hold
        )
        answer["checks"] = [check.to_dict() for check in checks]
        tables.append(_checks(checks))
        left = [row.theorem for row in found.rows if row.theorem not in _names(checks)]
        answer["warnings"].append(f"not checked: {', '.join(dict.fromkeys(left))}")
        code = 0 if all(check.holds for check in checks) else 1
    emit(_FORMATS[output_format](answer, tables), output)
    return code


# -- tables ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Table:
    """A title, a header and rows of text."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def _names(checks: tuple[WidthCheck, ...]) -> set[str]:
    return {check.theorem for check in checks}


def _count(k: int | None, log10_k: float | None, exact: bool) -> str:
    """Write k, or its power of ten where that is clearer or all that is known."""
    if log10_k is None:
        return "" if exact else "none"
    if k is not None and (exact or k < 10**15):
        return str(k)
    from kltheory.numeric.width_row import power_of_ten

    return power_of_ten(log10_k)


def _probability(value: float) -> str:
    """Write a probability; one that is not 1 is not shown as 1."""
    text = f"{value:.6g}"
    return text if text != "1" or value == 1.0 else f"1 - {1.0 - value:.1g}"


def _rows(found: Widths, exact: bool) -> _Table:
    p = found.problem
    title = (
        f"Neurons for n = {p.n}, m = {p.m}, {p.activation.name}, train {p.train}, "
        f"σ_F = {float(p.sigma_f):g}, L_F = {float(p.norm_f):g}, ‖y‖ = {float(p.y_norm):.6g}, "
        f"p = {float(p.failure):g}"
    )
    rows = [
        (
            row.theorem,
            row.theory,
            _count(row.k, row.log10_k, exact),
            _probability(row.probability),
            row.scaling,
            row.reason,
        )
        for row in found.rows
    ]
    return _Table(title, ("theorem", "theory", "k", "probability", "scaling", "reason"), rows)


def _at(k: int, at: tuple[AtWidth, ...]) -> _Table:
    rows = [
        (
            row.theorem,
            row.theory,
            "yes" if row.holds else "no",
            figure(row.margin, 6, -1),
            figure(row.largest_y_norm, 6, -1),
            figure(row.largest_noise, 6, -1),
            figure(row.smallest_sigma_f, 6, 1),
            row.reason,
        )
        for row in at
    ]
    header = ("theorem", "theory", "holds", "margin", "max ‖y‖", "max ‖ε‖∞", "min σ_F", "reason")
    return _Table(f"With k = {k} neurons", header, rows)


def _curves(curves: WidthCurves, exact: bool) -> _Table:
    rows = []
    for name in curves.names:
        numbers = zip(curves.k(*name), curves.log10_k(*name), strict=True)
        cells = (_count(k, None if x != x else float(x), exact) for k, x in numbers)
        rows.append((*name, *cells))
    header = ("theorem", "theory", *(f"{curves.over} = {float(v):g}" for v in curves.values))
    return _Table(f"k along {curves.over}", header, rows)


def _exponents(fitted: tuple[Exponents, ...]) -> _Table:
    directions = ("n", "m", "n=m", "sigma_f", "d")

    def cell(row: Exponents, key: str) -> str:
        slope, claim = row.slopes.get(key), row.claimed.get(key)
        if slope is None:
            return "-"
        text = f"{slope:.3f}".replace("-0.000", "0.000")
        return text if claim is None else f"{text} (remark: {claim:g})"

    rows = [(row.theorem, row.theory, *(cell(row, key) for key in directions)) for row in fitted]
    return _Table("Exponents of k fitted to the formulas", ("theorem", "theory", *directions), rows)


def _checks(checks: tuple[WidthCheck, ...]) -> _Table:
    rows = [
        (
            check.theorem,
            str(check.k),
            f"{check.failures}/{check.draws}",
            f"[{check.interval[0]:.4f}, {check.interval[1]:.4f}]",
            f"{check.allowed:g}",
            "yes" if check.holds else "NO",
            "-" if check.k_observed is None else str(check.k_observed),
            "-" if check.looseness is None else f"{check.looseness:.1f}",
        )
        for check in checks
    ]
    header = ("theorem", "k", "failures", "95 %", "allowed", "holds", "observed k", "loose by")
    return _Table("Networks drawn at the k of each theorem", header, rows)


# -- formats ---------------------------------------------------------------------------------------


def _as_text(answer: Mapping[str, Any], tables: list[_Table]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout is not None and sys.stdout.isatty()
    stream = io.StringIO()
    columns = shutil.get_terminal_size((100, 24)).columns
    console = Console(file=stream, width=max(columns, 80) if terminal else 150, no_color=True)
    for table in tables:
        shown = Table(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in table.header:
            number = name not in ("theorem", "theory", "scaling", "reason")
            shown.add_column(
                name,
                justify="right" if number else "left",
                no_wrap=number,
                overflow="fold",
            )
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown, highlight=False, markup=False)
    for warning in answer["warnings"]:
        console.print(f"Note: {warning}", highlight=False, markup=False)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _as_json(answer: Mapping[str, Any], tables: list[_Table]) -> str:
    return json_text(answer)


def _as_csv(answer: Mapping[str, Any], tables: list[_Table]) -> str:
    """Write the last table: the rows, or what was asked for in addition."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(tables[-1].header)
    writer.writerows(tables[-1].rows)
    return stream.getvalue()


def _as_markdown(answer: Mapping[str, Any], tables: list[_Table]) -> str:
    parts = []
    for table in tables:
        lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in table.rows]
        rule = "|".join("---" for _ in table.header)
        head = " | ".join(table.header)
        body = "\n".join(f"| {line} |" for line in lines)
        parts.append(f"**{table.title}**\n\n| {head} |\n|{rule}|\n{body}")
    parts += [f"*{warning}*" for warning in answer["warnings"]]
    return "\n\n".join(parts)


_LETTERS = {
    "σ_F": r"$\sigma_F$",
    "σ": r"$\sigma$",
    "‖y‖": r"$\|y\|$",
    "‖ε‖∞": r"$\|\varepsilon\|_\infty$",
    "L_F": "$L_F$",
    "R' < R": "$R' < R$",
    "%": r"\%",
    "_": r"\_",
}


def _latex(text: str) -> str:
    """Write a cell in LaTeX: the few letters of formulas, and powers of ten."""
    power = re.fullmatch(r"10\^([0-9.]+)", text)
    if power:
        return f"$10^{{{power[1]}}}$"
    pattern = re.compile("|".join(re.escape(key) for key in _LETTERS))
    return pattern.sub(lambda match: _LETTERS[match[0]], text)


def _as_latex(answer: Mapping[str, Any], tables: list[_Table]) -> str:
    """Write tabulars, without the columns of free text."""
    parts = []
    for table in tables:
        kept = [i for i, name in enumerate(table.header) if name not in ("scaling", "reason")]
        lines = [
            " & ".join(_latex(row[i]) for i in kept) + r" \\" for row in (table.header, *table.rows)
        ]
        left = sum(name in ("theorem", "theory") for name in table.header)
        align = "l" * left + "r" * (len(kept) - left)
        body = "\n".join(["\\hline", lines[0], "\\hline", *lines[1:], "\\hline"])
        parts.append(f"% {table.title}\n\\begin{{tabular}}{{{align}}}\n{body}\n\\end{{tabular}}")
    return "\n\n".join(parts)


_FORMATS: dict[str, Callable[[Mapping[str, Any], list[_Table]], str]] = {
    "text": _as_text,
    "json": _as_json,
    "csv": _as_csv,
    "markdown": _as_markdown,
    "latex": _as_latex,
}
