"""`kltheory bound`: the rates and bounds that follow from a loss or from ψ."""

from __future__ import annotations

import re
import shutil
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kltheory.cli.options import (
    EXACT,
    EXACT_LIST,
    emit,
    format_option,
    json_text,
    output_option,
    param_option,
)
from kltheory.errors import InputError, LimitReached

if TYPE_CHECKING:
    from kltheory.numeric.guarantees import Bound
    from kltheory.numeric.table import Budget
    from kltheory.rates import RateLaw
    from kltheory.report import Answer, Printed
    from kltheory.symbolic.desingularizer import Desingularizer

SOURCES = ("loss", "psi", "psi_table", "growth", "uniform_convexity", "radial")
"""The options that say what ψ is; exactly one is given."""
CONSTANTS = ("kappa", "sigma_f", "sigma_j", "loss0", "noise", "mu", "lip_f", "dist")
"""The options that give numbers."""
LIMIT = 10
"""Seconds of work, unless --limit says otherwise."""


@click.command(
    "bound",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--loss", help="Name of a loss; `kltheory losses` lists them.")
@click.option("--alpha", type=EXACT, help="α of --loss lojasiewicz, ψ(s) = c s^α.")
@click.option("--c", "c", type=EXACT, help="c of --loss lojasiewicz.")
@param_option
@click.option("--psi", help="ψ as text in s, such as sqrt(s)+s or -1/log(s).")
@click.option("--psi-table", metavar="FILE.csv", help="Samples of ψ: columns s, psi.")
@click.option("--growth", help="φ in x: the loss is convex with L ≥ φ(distance to its minimisers).")
@click.option("--uniform-convexity", help="φ in x: the loss is uniformly convex with modulus φ.")
@click.option("--radial", help="ℓ in x: L(v) = ℓ(‖v - y‖).")
@click.option("--radius", type=EXACT, help="r0, where ψ shall end (found if not given).")
@click.option("--kappa", type=EXACT, help="κ = σ_F² σ_J²/4; or else:")
@click.option("--sigma-f", type=EXACT, help="σ_F of the operator.")
@click.option("--sigma-j", type=EXACT, help="σ_min of the network's Jacobian at the start.")
@click.option("--loss0", type=EXACT, help="L0, the loss at the start.")
@click.option("--noise", type=EXACT, help="‖ε‖, for the early stopping time.")
@click.option("--mu", type=EXACT, help="μ of A-7; with --lip-f, --dist, --noise: the signal.")
@click.option("--lip-f", type=EXACT, help="L_F, bound on the operator's Jacobian.")
@click.option("--dist", type=EXACT, help="dist(x̄, Σ), the modelling error.")
@click.option("--deviation", type=EXACT, help="Λ, for --theory sharp.")
@click.option("--at", type=EXACT_LIST, help="Times, such as 0,1,10.")
@click.option(
    "--theory",
    type=click.Choice(["corrected", "printed", "sharp"]),
    default="corrected",
    show_default=True,
    help="printed: also what the paper's text gives.",
)
@click.option("--derivation", is_flag=True, help="Show the steps, each checked.")
@click.option("--digits", type=click.IntRange(1, 200), default=17, help="Digits to compute with.")
@click.option(
    "--limit",
    type=click.FloatRange(0, 86400, min_open=True),
    default=LIMIT,
    show_default=True,
    help="Seconds of work.",
)
@format_option()
@output_option
def command(output_format: str, output: Path | None, **options: Any) -> int:
    """Rates and bounds that follow from a loss or from ψ.

    Name a loss, or give ψ or what it follows from; without constants the answer is symbolic.
    Numbers are exact: 0.1 is 1/10, and 1/3 is a third.

    \b
    kltheory bound --loss lojasiewicz --alpha 0.5
    kltheory bound --psi "sqrt(s)+s" --sigma-f 2 --sigma-j 1 --loss0 1 --at 0,1,10
    kltheory bound --psi -1/log(s) --kappa 1 --loss0 0.1 --format json
    kltheory bound --loss power --param p=0.2 --kappa 1/16 --loss0 10 --noise 0.1
    kltheory bound --radial "x**2/2" --derivation

    Exit codes: 0 done; 2 the input is invalid; 3 given up within the limits.
    """
    from kltheory import report

    answer = _answer(**options)
    emit(_written(report, answer, output_format, output), output)
    return 0


# -- from the options to an answer -------------------------------------------------------------


def _answer(
    *,
    at: tuple[Fraction, ...] | None,
    theory: str,
    derivation: bool,
    digits: int,
    limit: float,
    **options: Any,
) -> Answer:
    from kltheory.report import Answer

    source = _source(options)
    constants = {name: options[name] for name in CONSTANTS}
    numbers = _wants_numbers(constants, at, theory)
    if source == "psi":
        _start_worker()
    from kltheory.rates import rate

    started = time.monotonic()  # loading SymPy is not work
    d = _desingularizer(source, options)
    _check_numbers(d, constants, at, numbers)
    law = rate(d, limit=0.6 * limit if numbers else limit)
    steps = None
    if derivation:
        from kltheory.symbolic.derivation import derive_steps

        steps = derive_steps(law)
    if not numbers:
        return Answer(law, derivation=steps, hints=(_how_to_get_numbers(d),))

    from kltheory.numeric.table import Budget, default_times, rows

    budget = Budget(started + limit + 1 - time.monotonic())
    given = {k: v for k, v in constants.items() if v is not None}
    bound = law.bound(**given, digits=digits, limit=limit)
    extinction = budget.call(bound, bound.extinction_time)
    times = default_times(bound, budget) if at is None else tuple(sorted(set(at)))
    table = rows(bound, times, budget)
    stopping = None if options["noise"] is None else budget.call(bound, bound.stopping_time)
    printed = _printed(law, given, digits, limit, times, budget) if theory == "printed" else None
    return Answer(
        law,
        bound,
        table,
        stopping_time=stopping,
        extinction_time=extinction,
        printed=printed,
        derivation=steps,
        hints=_missing_for_more(constants),
    )


def _source(options: dict[str, Any]) -> str:
    """The one option that says what ψ is."""
    given = [name for name in SOURCES if options[name] is not None]
    if len(given) != 1:
        names = ", ".join(_option(n) for n in SOURCES)
        lead = (
            "nothing says what ψ is"
            if not given
            else f"{_option(given[0])} is given with {_option(given[1])}"
        )
        raise InputError(f"{lead}; give exactly one of {names}")
    source = given[0]
    name = str(options["loss"]).strip().lower()
    for letter in ("alpha", "c"):
        if options[letter] is not None and name != "lojasiewicz":
            raise InputError(
                f"--{letter} belongs to --loss lojasiewicz; give other parameters by --param {letter}=..."
            )
    if options["radius"] is not None and source == "loss":
        raise InputError("--radius does not go with --loss, whose domain is known")
    return source


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _wants_numbers(constants: dict[str, Any], at: Any, theory: str) -> bool:
    """Whether the answer has numbers; raises if some constants are given and others miss."""
    if all(v is None for v in constants.values()) and at is None:
        if theory != "corrected":
            raise InputError(
                f"--theory {theory} needs constants: --loss0 with --kappa, or --sigma-f, --sigma-j"
            )
        return False
    missing = [] if constants["loss0"] is not None else ["--loss0"]
    if constants["kappa"] is None:
        missing += [_option(n) for n in ("sigma_f", "sigma_j") if constants[n] is None]
        if len(missing) > 1 and "--sigma-f" in missing and "--sigma-j" in missing:
            missing = [*missing[:-2], "--kappa (or --sigma-f and --sigma-j)"]
    if missing:
        raise InputError(f"numbers need {' and '.join(missing)} as well")
    return True


def _start_worker() -> None:
    from kltheory.symbolic.worker import prepare

    prepare()


def _desingularizer(source: str, options: dict[str, Any]) -> Desingularizer:
    """ψ from the option that is given."""
    given, params, radius = options[source], dict(options["params"]), options["radius"]
    if source == "loss":
        from kltheory.symbolic.losses import loss

        for letter in ("alpha", "c"):
            if options[letter] is not None:
                if letter in params:
                    raise InputError(f"{letter} is given by --{letter} and by --param")
                params[letter] = options[letter]
        return loss(given, **params)
    if source == "psi_table":
        raise InputError("--psi-table is not there yet")
    unknown = [name for name in params if not re.search(rf"\b{re.escape(name)}\b", given)]
    if unknown:
        raise InputError(f"{_option(source)} {given[:60]!r} has no parameter {unknown[0]}")
    if source == "psi":
        from kltheory.symbolic.desingularizer import Desingularizer

        return Desingularizer.from_psi(given, radius=radius, parameters=params)
    from kltheory.symbolic import losses

    make = {
        "growth": losses.from_growth,
        "uniform_convexity": losses.from_uniform_convexity,
        "radial": losses.from_radial,
    }[source]
    return make(given, radius=radius, parameters=params)


def _check_numbers(
    d: Desingularizer, given: dict[str, Any], at: tuple[Fraction, ...] | None, numbers: bool
) -> None:
    """Refuse constants and times that are out of range before the long work begins."""
    if not numbers:
        return
    from kltheory.numeric.guarantees import constants
    from kltheory.numeric.table import check_times

    constants(**given)
    check_times(at or ())
    if d.parameters:
        names = " and ".join(_giving(d, q.name) for q in d.parameters)
        raise InputError(f"numbers need values for the parameters of ψ: give {names}")


def _giving(d: Desingularizer, name: str) -> str:
    own = d.source == "loss: lojasiewicz" and name in ("alpha", "c")
    return f"--{name}" if own else f"--param {name}=..."


def _how_to_get_numbers(d: Desingularizer) -> str:
    values = [_giving(d, q.name) for q in d.parameters]
    needed = ", ".join([*values, "--loss0", "--kappa (or --sigma-f and --sigma-j)"])
    return f"For numbers give {needed}; --at for the times, --noise for early stopping."


def _missing_for_more(constants: dict[str, Any]) -> tuple[str, ...]:
    if constants["noise"] is None:
        return (
            "For the early stopping time give --noise; for the signal also --mu, --lip-f, --dist.",
        )
    missing = [_option(n) for n in ("mu", "lip_f", "dist") if constants[n] is None]
    return (f"For the bound on the signal give {', '.join(missing)} as well.",) if missing else ()


def _printed(
    law: RateLaw,
    given: dict[str, Any],
    digits: int,
    limit: float,
    times: tuple[Fraction, ...],
    budget: Budget,
) -> Printed:
    """What the paper's text gives; a formula that has no value says why."""
    from kltheory.numeric.table import has_signal
    from kltheory.report import Printed

    bound = law.bound(**given, digits=digits, limit=limit, theory="printed")
    reasons: dict[str, None] = {}

    def value(f: Any, *args: Any) -> float | None:
        try:
            found: float = budget.call(bound, lambda: f(*args))
        except InputError as error:
            reasons.setdefault(str(error))
            return None
        return found

    names = ["loss", "parameters", *(["signal"] if has_signal(bound) else [])]
    table = tuple((t, {n: value(getattr(bound, n), t) for n in names}) for t in times)
    stopping = value(bound.stopping_time) if bound.constants.noise is not None else None
    return Printed(table, stopping, tuple(reasons))


# -- formats -----------------------------------------------------------------------------------


def _written(report: Any, answer: Answer, output_format: str, output: Path | None) -> str:
    if output_format == "json":
        return json_text(report.answer_dict(answer))
    if output_format == "csv":
        if not answer.rows:
            raise InputError("csv is the table of values; give --loss0 and --kappa for numbers")
        return str(report.csv_text(answer))
    content = report.page(answer)
    if output_format == "latex":
        return str(report.latex_snippet(content))
    if output_format == "markdown":
        return str(report.markdown(content))
    if output is None and report.wants_colour(sys.stdout):
        return str(report.coloured(content, shutil.get_terminal_size((100, 24)).columns))
    return str(report.text(content, ascii_only=output is None and not _speaks_unicode(sys.stdout)))


def _speaks_unicode(stream: Any) -> bool:
    """True if the stream can show the letters of formulas."""
    try:
        "√ψ∞≤‖²⁻₀".encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
