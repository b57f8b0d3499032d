"""`kltheory audit`: the printed formulas of the source against the derived ones."""

from __future__ import annotations

from pathlib import Path

import click

from kltheory.cli.options import emit, format_option, json_text, output_option


@click.command(
    "audit",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--full", is_flag=True, help="Every finding in full, as for single ones.")
@format_option("text", "markdown", "latex", "json")
@output_option
def command(ids: tuple[str, ...], full: bool, output_format: str, output: Path | None) -> int:
    """Where the text of the paper (HAL v1) does not follow from its own argument.

    Each printed formula is implemented as printed and held, beside the derived one, against a case
    that is computed now.  Without ID: a list; with E1, ..., E31: these findings in full.

    \b
    kltheory audit
    kltheory audit E12 E13
    kltheory audit --full --format markdown --output audit.md

    LaTeX needs amsmath and amssymb.  Exit code 1: a finding is not confirmed.
    """
    from kltheory import report
    from kltheory.paper import audit as library

    found = library.audit(*ids)
    if output_format == "json":
        emit(json_text(found.to_dict()), output)
    else:
        write = {"text": report.text, "markdown": report.markdown, "latex": report.latex_snippet}
        pages = found.pages() if ids or full else (library.list_page(found),)
        emit("\n\n".join(map(write[output_format], pages)), output)
    return 0 if found.confirmed else 1
