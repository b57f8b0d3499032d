"""`kltheory certify`: must training converge from here, or can it not?"""

from __future__ import annotations

import csv
import io
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kltheory.cli.instance import instance, instance_options
from kltheory.cli.limits import Seconds, within
from kltheory.cli.options import emit, format_option, json_text, keep, output_option

if TYPE_CHECKING:
    from kltheory.certification import Certification

#: Address space of one call, in bytes; NumPy reserves more than it uses.
_MEMORY = 8 << 30


@click.command(
    "certify",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@instance_options
@click.option("--online", is_flag=True, help="Also follow the run until convergence is proved.")
@click.option(
    "--method",
    type=click.Choice(["flow", "descent"]),
    default="flow",
    show_default=True,
    help="What --online follows; descent is verified, step by step.",
)
@click.option("--smallest-k", is_flag=True, help="The smallest k for each certificate (slow).")
@click.option(
    "--limit",
    type=Seconds(),
    default=600.0,
    show_default=True,
    help="Seconds for the whole.",
)
@format_option()
@output_option
def command(
    online: bool,
    method: str,
    smallest_k: bool,
    limit: float,
    output_format: str,
    output: Path | None,
    **options: Any,
) -> int:
    """Whether training must converge to zero loss from here, how fast, or whether it cannot.

    \b
    kltheory certify --gaussian 10x60 --k 200 --activation sigmoid --train hidden --seed 0
    kltheory certify --operator A.npy --observation y.npy --k 500 --train both --online
    kltheory certify --gaussian 10x60 --k 200 --smallest-k --format json

    Each certificate is a theorem on the gradient flow, evaluated at this very network: it holds if
    ψ(L0) is below its threshold.  The verdict is certified, impossible (with a separating
    direction) or not certified.  Exit code 0: certified; 1: not.
    """
    from kltheory.certification import certify

    keep((options["operator"], options["observation"]), (output,))
    with within(limit, memory=_MEMORY):
        problem, network = instance(**options)
        found = certify(
            problem,
            network,
            options["train"],
            online=method if online else False,
            smallest_k=smallest_k,
        )
    emit(_written(found, output_format, output), output)
    return 0 if found.verdict == "certified" else 1


def _written(found: Certification, output_format: str, output: Path | None) -> str:
    """Write the answer in one of the formats."""
    from kltheory import report

    if output_format == "json":
        return json_text(found.to_dict())
    if output_format == "csv":
        return _csv(found)
    page = found.page()
    if output_format == "latex":
        return report.latex_snippet(page)
    if output_format == "markdown":
        return report.markdown(page)
    if output is None and report.wants_colour(sys.stdout):
        return report.coloured(page, shutil.get_terminal_size((100, 24)).columns)
    return report.text(page)


_COLUMNS = ("name", "holds", "threshold", "psi0", "margin", "rate", "path_length", "reason")


def _csv(found: Certification) -> str:
    """One row for each certificate, with all digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for certificate in found.certificates:
        row = certificate.to_dict()
        writer.writerow("" if row[name] is None else row[name] for name in _COLUMNS)
    return stream.getvalue()
