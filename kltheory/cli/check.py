"""`kltheory check`: guarantees against a trajectory that was trained or read."""

from __future__ import annotations

import shutil
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kltheory.cli.instance import instance, instance_options
from kltheory.cli.limits import Seconds, within
from kltheory.cli.options import (
    EXACT,
    EXACT_LIST,
    beside,
    emit,
    format_option,
    json_text,
    keep,
    output_option,
    plot_option,
)
from kltheory.errors import InputError

if TYPE_CHECKING:
    from kltheory.checks import CheckResult

_MEMORY = 8 << 30

_CONSTANTS = {
    "sigma_f": "--sigma-f", "sigma_j": "--sigma-j", "kappa": "--kappa", "noise": "--noise",
    "deviation": "--deviation",
}  # fmt: skip
_COLUMNS = ("loss", "parameters", "observation", "signal", "error", "drift", "sigma_min")


@click.command(
    "check",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@instance_options
@click.option(
    "--trajectory", metavar="FILE|-", help="Or read a run: columns t, loss and more, see below."
)
@click.option("--psi", help="With --trajectory: ψ as text in s (or --loss for a registered loss).")
@click.option("--sigma-f", type=EXACT, help="With --trajectory: σ_F of the operator.")
@click.option("--sigma-j", type=EXACT, help="With --trajectory: σ_min(J_g) at the start.")
@click.option("--kappa", type=EXACT, help="With --trajectory: σ_F²σ_J²/4, instead of the two.")
@click.option("--deviation", type=EXACT, help="With --trajectory: Λ; R' < R is assumed without.")
@click.option("--noise", type=EXACT, help="With --trajectory: ‖ε‖.")
@click.option(
    "--precision", default="float64", show_default=True, help="Of --trajectory's numbers."
)
@click.option("--y-norm", type=EXACT, help="With --trajectory: ‖y‖, for the numerical floor.")
@click.option("--mu", type=EXACT, help="μ of (13); measured for a matrix if not given.")
@click.option("--lip-f", type=EXACT, help="L_F of (13).")
@click.option("--dist", type=EXACT, help="dist(x̄, Σ) of (13).")
@click.option("--mu-local", type=EXACT, help="μ of Theorem A.1, at the projection of x̄ on Σ.")
@click.option("--lip-jacobian", type=EXACT, help="L_J of Theorem A.1.")
@click.option(
    "--method", type=click.Choice(["flow", "descent"]), default="flow", show_default=True,
    help="What is trained by, or what the data is a run of.",
)  # fmt: skip
@click.option("--times", type=EXACT_LIST, help="Times of the flow (default: by its kernel).")
@click.option("--steps", type=EXACT, default="5000", show_default=True, help="Steps of descent.")
@click.option("--step-size", type=EXACT, help="Step size of descent (default: the safe step).")
@click.option("--verified", is_flag=True, help="Descent: halve the step until the loss falls.")
@click.option("--points", type=EXACT, help="Times, or rows of data, that are compared.")
@click.option("--tol", type=EXACT, default="1e-7", show_default=True, help="Loss of convergence.")
@plot_option
@click.option(
    "--limit", type=Seconds(), default=600.0, show_default=True,
    help="Seconds for the whole.",
)  # fmt: skip
@format_option("text", "json", "csv", "markdown")
@output_option
def command(
    output_format: str,
    output: Path | None,
    trajectory: str | None,
    plot: Path | None,
    limit: float,
    **options: Any,
) -> int:
    """Hold every guarantee against a trajectory: does it keep below each bound, and how closely?

    \b
    kltheory check --gaussian 10x60 --k 200 --train both --method flow --seed 0
    kltheory check --gaussian 3x6 --k 400 --method descent --plot run.png
    kltheory check --trajectory run.csv --psi "sqrt(2*s)" --sigma-f 1 --sigma-j 0.5

    A trajectory is a CSV with a header, or an NPZ: t and loss, and any of parameters ‖θ(t) - θ∞‖,
    observation ‖y(t) - y‖, signal ‖x(t) - x̄‖, error ‖y(t) - ȳ‖, drift ‖θ(t) - θ(0)‖, sigma_min.

    Exit code 1: a corrected or sharp guarantee is violated.  What is violated only as printed in
    the paper (HAL v1) is reported and counted in printed_violated.
    """
    keep((options["operator"], options["observation"], trajectory), (*beside(plot), output))
    with within(limit, memory=_MEMORY):
        found = _read(trajectory, options) if trajectory is not None else _trained(options)
    if plot is not None:
        from kltheory.plot import check_figure, save

        save(check_figure(found), plot, found.to_dict(), found.curves())
    emit(_written(found, output_format, output), output)
    return 0 if found.holds else 1


def _written(found: CheckResult, output_format: str, output: Path | None) -> str:
    from kltheory import report

    if output_format == "json":
        return json_text(found.to_dict())
    if output_format == "csv":
        return found.to_csv()
    if output_format == "markdown":
        return report.markdown(found.page())
    if output is None and report.wants_colour(sys.stdout):
        return report.coloured(found.page(), shutil.get_terminal_size((100, 24)).columns)
    return report.text(found.page())


def _floats(options: dict[str, Any], *names: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        value: Fraction | None = options[name]
        if value is not None and abs(value) >= 10**150:
            raise InputError(f"--{name.replace('_', '-')}: the number is too large.")
        found[name] = None if value is None else float(value)
    return found


def _given(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source not in (None, click.core.ParameterSource.DEFAULT)


def _trained(options: dict[str, Any]) -> CheckResult:
    """Train the network of the options."""
    from kltheory.checks import check

    for name in (*_CONSTANTS, "psi", "y_norm", "precision"):
        if _given(name):
            raise InputError(f"--{name.replace('_', '-')} goes with --trajectory; it is measured.")
    for name in ("steps", "step_size", "verified"):
        if options["method"] == "flow" and _given(name):
            said = name.replace("_", "-")
            raise InputError(f"--{said} is for --method descent; a flow takes --times.")
    wanted = (
        "operator", "gaussian", "observation", "noise_level", "k", "d", "activation", "train",
        "output_init", "loss", "params", "seed",
    )  # fmt: skip
    problem, network = instance(**{name: options[name] for name in wanted})
    times = options["times"]
    if times is not None and max(abs(t) for t in times) > 10**100:
        raise InputError("--times: a time is too large; at most 1e100 is taken.")
    if times is not None and options["points"] is not None:
        raise InputError("give one of --times and --points.")
    numbers = _floats(
        options, "step_size", "mu", "lip_f", "dist", "lip_jacobian", "mu_local", "tol"
    )
    tol = numbers.pop("tol")
    return check(
        problem,
        network,
        options["train"],
        method=options["method"],
        times=None if times is None else [float(t) for t in times],
        steps=_whole("steps", options["steps"]),
        verified=options["verified"],
        tol=tol or 0.0,
        **_points(options),
        **numbers,
    )


def _whole(name: str, value: Fraction) -> int:
    if value.denominator != 1 or not 1 <= value <= 10**9:
        raise InputError(f"--{name}: give a whole number from 1 to 1e9.")
    return int(value)


def _points(options: dict[str, Any]) -> dict[str, Any]:
    given = options["points"]
    return {} if given is None else {"points": _whole("points", given)}


def _read(trajectory: str, options: dict[str, Any]) -> CheckResult:
    """Take the trajectory of a file."""
    from kltheory.checks import check_trajectory
    from kltheory.files import read_columns

    mine = ("operator", "gaussian", "observation", "noise_level", "k", "d", "activation", "train",
            "output_init", "seed", "times", "steps", "step_size", "verified")  # fmt: skip
    for name in mine:
        if _given(name):
            said = name.replace("_", "-")
            raise InputError(f"--{said} is for a network that is trained, not for --trajectory.")
    if options["psi"] is None and not _given("loss"):
        raise InputError('give the ψ of the loss, --psi "sqrt(2*s)", or its name, --loss mse.')
    if options["psi"] is not None and (_given("loss") or options["params"]):
        raise InputError("give one of --psi, and --loss with its --param.")
    columns: dict[str, Any] = read_columns(trajectory)
    unknown = [name for name in columns if name not in ("t", *_COLUMNS)]
    for name in ("t", "loss"):
        if name not in columns:
            raise InputError(f"the trajectory has no column {name}; it has: {', '.join(columns)}.")
    numbers = _floats(
        options, *_CONSTANTS, "mu", "lip_f", "dist", "lip_jacobian", "mu_local", "tol", "y_norm"
    )  # fmt: skip
    psi = options["psi"]
    if psi is None:
        from kltheory.symbolic.losses import loss

        psi = loss(options["loss"], **options["params"])
    given: dict[str, Any] = {name: columns.get(name) for name in _COLUMNS if name != "loss"}
    tol, y_norm = numbers.pop("tol"), numbers.pop("y_norm")
    found = check_trajectory(
        columns["t"],
        columns["loss"],
        psi=psi,
        method=options["method"],
        precision=options["precision"],
        observation_norm=y_norm,
        tol=tol or 0.0,
        **given,
        **_points(options),
        **numbers,
    )
    if not unknown:
        return found
    from dataclasses import replace

    shown = ", ".join(name[:20] for name in unknown[:8])
    return replace(found, warnings=(*found.warnings, f"columns that are not used: {shown}"))
