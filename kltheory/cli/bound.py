"""`kltheory bound`: the rates and bounds that follow from a loss or from ψ."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kltheory.cli.limits import Seconds, within
from kltheory.cli.options import (
    EXACT,
    EXACT_LIST,
    emit,
    exact,
    format_option,
    json_text,
    keep,
    output_option,
    param_option,
    plot_option,
)
from kltheory.errors import InputError, LimitReached, brief

if TYPE_CHECKING:
    from kltheory.numeric.guarantees import Bound
    from kltheory.report import Answer, Printed
    from kltheory.symbolic.derivation import Derivation
    from kltheory.symbolic.desingularizer import Desingularizer

SOURCES = ("loss", "psi", "psi_table", "growth", "uniform_convexity", "radial")
"""The options that say what ψ is; exactly one is given."""
CONSTANTS = ("kappa", "sigma_f", "sigma_j", "loss0", "noise", "mu", "lip_f", "dist")
"""The options that give numbers."""
LIMIT = 10
"""Seconds of work, unless --limit says otherwise."""
MAX_TABLE = 1_000_000
"""Bytes that a table of samples may have."""


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
@click.option(
    "--deviation", type=EXACT, help="Λ for --theory sharp: ‖J(θ) - J(θ(0))‖ ≤ Λ‖θ - θ(0)‖."
)
@click.option("--at", type=EXACT_LIST, help="Times, such as 0,1,10.")
@click.option(
    "--theory",
    type=click.Choice(["corrected", "printed", "sharp"]),
    default="corrected",
    show_default=True,
    help="printed: also what the paper's text gives; sharp: needs --deviation.",
)
@click.option("--step-size", type=EXACT, help="η of gradient descent; with:")
@click.option("--iterations", type=EXACT_LIST, help="Iterations, such as 0,100,1000.")
@click.option(
    "--smoothness", type=EXACT, help="β: the gradient of the composed loss is β-Lipschitz."
)
@click.option("--derivation", is_flag=True, help="Show the steps, each checked.")
@click.option("--digits", type=click.IntRange(1, 200), default=17, help="Digits to compute with.")
@click.option(
    "--limit",
    type=Seconds(),
    default=LIMIT,
    show_default=True,
    help="Seconds of work.",
)
@plot_option
@click.option("--sketch", is_flag=True, help="Add a sketch of the bound, in text.")
@format_option()
@output_option
def command(
    output_format: str, output: Path | None, plot: Path | None, sketch: bool, **options: Any
) -> int:
    """Rates and bounds that follow from a loss or from ψ.

    Name a loss, or give ψ or what it follows from; without constants the answer is symbolic.
    Numbers are exact: 0.1 is 1/10, and 1/3 is a third.

    \b
    kltheory bound --loss lojasiewicz --alpha 0.5
    kltheory bound --psi "sqrt(s)+s" --sigma-f 2 --sigma-j 1 --loss0 1 --at 0,1,10
    kltheory bound --psi -1/log(s) --kappa 1 --loss0 0.1 --format json
    kltheory bound --loss power --param p=0.2 --kappa 1/16 --loss0 10 --noise 0.1
    kltheory bound --radial "x**2/2" --derivation
    kltheory bound --loss mse --sigma-f 1 --sigma-j 2 --loss0 1/10 --theory sharp --deviation 1
    kltheory bound --loss mse --kappa 1 --loss0 1 --step-size 0.1 --smoothness 4 --iterations 0,100
    kltheory bound --loss mse --kappa 1/4 --loss0 2 --noise 0.1 --sketch --plot bound.png

    Exit codes: 0 done; 2 the input is invalid; 3 given up within the limits (what was found until
    then is shown, and what is missing is said).
    """
    from kltheory import report

    if sketch and (output_format != "text" or options["loss0"] is None):
        raise InputError("--sketch goes with --format text and numbers: give --loss0 and --kappa")
    keep((options["psi_table"],), (output,))
    answer = _answer(**options)
    if plot is not None:
        _draw(report, answer, plot)
    written = _written(report, answer, output_format, output)
    if sketch:
        written = f"{written.rstrip()}\n\n{_sketched(report, answer, output)}"
    emit(written, output)
    if answer.missing:
        raise LimitReached("\n".join(answer.missing))
    return 0


def _draw(report: Any, answer: Answer, plot: Path) -> None:
    """Write the figure of the bound, or of the law where there are no numbers."""
    from kltheory.drawn import bound_figure, law_figure, shown

    law, bound = answer.law, answer.bound
    if bound is None and law.desingularizer.source.startswith("samples"):
        raise InputError("--plot with --psi-table needs numbers: give --loss0 and --kappa")
    shown(
        law_figure(law) if bound is None else bound_figure(law, bound),
        plot,
        report.answer_dict(answer),
    )


def _sketched(report: Any, answer: Answer, output: Path | None) -> str:
    from kltheory.drawn import curve_times

    assert answer.bound is not None
    t, logarithmic = curve_times(answer.bound, 60)
    ascii_only = output is None and not _speaks_unicode(sys.stdout)
    clock = "t, logarithmic" if logarithmic else "t"
    losses = answer.bound.loss(t)
    return str(report.sketch("L(y(t))", clock, t, losses, ascii_only=ascii_only))


# -- from the options to an answer -------------------------------------------------------------


def _answer(*, derivation: bool, digits: int, limit: float, **options: Any) -> Answer:
    from kltheory.report import Answer

    source = _source(options)
    numbers = _wants_numbers(options)
    if source == "psi":
        _start_worker()
    from kltheory.rates import rate

    started = time.monotonic()  # loading SymPy is not work
    with within(limit + 1.5):
        d = _desingularizer(source, options)
        if numbers:
            _check_numbers(d, options)
        sampled = source == "psi_table"
        share = 0.6 if numbers or derivation else 1.0  # the rest of the time is for these
        share = min(share * limit, started + share * limit + 1 - time.monotonic())
        law: Any = _sampled_law(d) if sampled else rate(d, limit=max(share, 0.1 * limit))
        steps = _steps(law, sampled) if derivation else None
        if not numbers:
            return Answer(law, derivation=steps, hints=(_how_to_get_numbers(d),))
        work = _Numbers(law, options, digits, limit, started + limit + 1 - time.monotonic())
    try:
        with within(max(0.1, started + limit + 1.5 - time.monotonic())):
            work.run()
    except LimitReached as error:  # in the middle of something
        work.stopped(error)
    return work.answer(steps)


def _sampled_law(d: Desingularizer) -> Any:
    from kltheory.symbolic.samples import sampled_law

    return sampled_law(d)


def _steps(law: Any, sampled: bool) -> Derivation:
    from kltheory.symbolic.derivation import derive_steps

    if sampled:
        raise InputError("--derivation needs a formula of ψ; --psi-table gives samples")
    return derive_steps(law)


class _Numbers:
    """The numbers of one call, within one time limit."""

    def __init__(
        self, law: Any, options: dict[str, Any], digits: int, limit: float, seconds: float
    ) -> None:
        from kltheory.numeric.table import Budget, Collected, default_times

        self.law, self.options = law, options
        self.given = {k: options[k] for k in CONSTANTS if options[k] is not None}
        self.how: dict[str, Any] = {"digits": digits, "limit": limit}
        self.budget = Budget(seconds)
        self.bound = self._bound()
        self.missing: dict[str, str] = {}
        self.stopping_time: float | None = None
        self.extinction_time: float | None = None
        self.printed: Printed | None = None
        self.stopping_iteration: float | None = None
        times: tuple[Fraction, ...] = (Fraction(0),)
        if options["at"] is not None:
            times = tuple(sorted(set(options["at"])))
        else:
            with self._noting("table of times"):
                times = default_times(self.bound, self.budget)
        self.times = times
        self.rows = Collected("t", times)
        self.iterations = Collected("j", sorted(set(options["iterations"] or ())))

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Note a limit that is reached within, and go on."""
        try:
            yield
            self.missing.pop(name, None)
        except LimitReached as error:
            self.missing[name] = f"{name}: not computed: {error}"

    def _bound(self) -> Bound:
        """The corrected or the sharp bound."""
        if self.options["psi_table"] is not None:
            from kltheory.numeric.guarantees import constants
            from kltheory.numeric.sampled import sampled_bound
            from kltheory.symbolic.samples import cubics

            if self.options["theory"] != "corrected":
                raise InputError("--psi-table goes with --theory corrected only")
            points = _read_table(self.options["psi_table"])
            return sampled_bound(cubics(points), constants(**self.given))
        if self.options["theory"] != "sharp":
            bound: Bound = self.law.bound(**self.given, **self.how)
            return bound
        from kltheory.numeric.sharp import sharp_bound

        descent = {"step": self.options["step_size"], "smoothness": self.options["smoothness"]}
        finite = {"finite-time": True, "undetermined": None}.get(self.law.regime.loss, False)
        return sharp_bound(
            self.law.desingularizer,
            **self.given,
            deviation=self.options["deviation"],
            finite_time=finite,
            **self.how,
            **(descent if descent["step"] is not None else {}),
        )

    def run(self) -> None:
        """Everything that was asked for, as far as the limits allow."""
        from kltheory.numeric.table import row_at

        bound, budget, options = self.bound, self.budget, self.options
        asked = {
            "stopping time": options["noise"] is not None,
            "extinction time": True,
            "printed bounds": options["theory"] == "printed",
            "stopping iteration": options["noise"] is not None and options["step_size"] is not None,
        }
        self.missing |= {name: "" for name, wanted in asked.items() if wanted}
        self.rows.collect(lambda t: budget.call(bound, lambda: row_at(bound, t)))
        if options["noise"] is not None:
            with self._noting("stopping time"):
                self.stopping_time = budget.call(bound, bound.stopping_time)
        with self._noting("extinction time"):
            self.extinction_time = budget.call(bound, bound.extinction_time)
        if options["theory"] == "printed":
            with self._noting("printed bounds"):
                self.printed, limited = self._printed()
                if limited:
                    raise LimitReached("; ".join(self.printed.reasons))
        if options["step_size"] is not None:
            self._descend()

    def stopped(self, error: LimitReached) -> None:
        """Note that the work was ended from outside."""
        for name, why in self.missing.items():
            self.missing[name] = why or f"{name}: not computed: {error}"

    def answer(self, steps: Derivation | None) -> Answer:
        """What was found, and what is missing."""
        from kltheory.report import Answer, Descent

        step, smoothness = self.options["step_size"], self.options["smoothness"]
        descent = None
        if step is not None:
            descent = Descent(step, smoothness, self.iterations.rows, self.stopping_iteration)
        return Answer(
            self.law,
            self.bound,
            self.rows.rows,
            stopping_time=self.stopping_time,
            extinction_time=self.extinction_time,
            printed=self.printed,
            descent=descent,
            derivation=steps,
            hints=_missing_for_more(self.options),
            missing=(
                *self.rows.warnings,
                *(self.iterations.warnings if step is not None else ()),
                *self.missing.values(),
            ),
        )

    def _printed(self) -> tuple[Printed, bool]:
        """What the paper's text gives, with the reasons of what has no value; and whether one of
        them is a limit."""
        from kltheory.numeric.table import has_signal
        from kltheory.report import Printed

        bound = self.law.bound(**self.given, **self.how, theory="printed")
        reasons: dict[str, None] = {}
        limited = False

        def value(f: Any, *args: Any) -> float | None:
            nonlocal limited
            try:
                found: float = self.budget.call(bound, lambda: f(*args))
            except (InputError, LimitReached) as error:
                limited |= isinstance(error, LimitReached)
                reasons.setdefault(str(error))
                return None
            return found

        names = ["loss", "parameters", *(["signal"] if has_signal(bound) else [])]
        table = tuple((t, {n: value(getattr(bound, n), t) for n in names}) for t in self.times)
        stopping = value(bound.stopping_time) if bound.constants.noise is not None else None
        return Printed(table, stopping, tuple(reasons)), limited

    def _descend(self) -> None:
        """The guarantees for gradient descent."""
        from kltheory.numeric.sharp import descent_bound
        from kltheory.numeric.table import descent_row

        step, smoothness = self.options["step_size"], self.options["smoothness"]
        flow, budget = self.bound, self.budget
        descent = descent_bound(flow, step=step, smoothness=smoothness)
        self.iterations.collect(lambda j: budget.call(flow, lambda: descent_row(descent, j)))
        if self.options["noise"] is not None:
            with self._noting("stopping iteration"):
                self.stopping_iteration = budget.call(flow, descent.stopping_iteration)


def _source(options: dict[str, Any]) -> str:
    """The one option that says what ψ is."""
    given = [name for name in SOURCES if options[name] is not None]
    if len(given) != 1:
        names = ", ".join(map(_option, SOURCES))
        both = " and ".join(map(_option, given))
        lead = f"{both} are given" if given else "nothing says what ψ is"
        raise InputError(f"{lead}; give exactly one of {names}")
    source = given[0]
    name = str(options["loss"]).strip().lower()
    for letter in ("alpha", "c"):
        if options[letter] is not None and name != "lojasiewicz":
            raise InputError(
                f"--{letter} belongs to --loss lojasiewicz; other parameters go by --param"
            )
    if options["radius"] is not None and source == "loss":
        raise InputError("--radius does not go with --loss, whose domain is known")
    return source


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _wants_numbers(options: dict[str, Any]) -> bool:
    """Whether the answer has numbers; raises if some of what they need is given and some is not."""
    descent = ("step_size", "iterations", "smoothness")
    asked = [n for n in (*CONSTANTS, "at", "deviation", *descent) if options[n] is not None]
    theory = options["theory"]
    if not asked and theory == "corrected":
        return False
    missing = [] if options["loss0"] is not None else ["--loss0"]
    absent = [_option(n) for n in ("sigma_f", "sigma_j") if options[n] is None]
    if theory == "sharp":
        missing += absent + (["--deviation"] if options["deviation"] is None else [])
        if options["kappa"] is not None:
            raise InputError("--theory sharp needs --sigma-f and --sigma-j instead of --kappa")
    elif options["deviation"] is not None:
        raise InputError("--deviation belongs to --theory sharp")
    elif options["kappa"] is None:
        missing += ["--kappa (or --sigma-f with --sigma-j)"] if len(absent) == 2 else absent
    if any(options[n] is not None for n in descent):
        missing += [_option(n) for n in descent if options[n] is None]
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
        from kltheory.symbolic.samples import from_samples

        if params or radius is not None:
            raise InputError("--psi-table goes with neither --param nor --radius")
        return from_samples(_read_table(given), Path(given).name)
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


def _read_table(name: str) -> list[tuple[Fraction, Fraction]]:
    """The samples (s, ψ(s)) of a CSV file with columns s and psi."""
    try:
        if not Path(name).is_file() and Path(name).exists():
            raise InputError(f"{brief(name, 60)} is not a regular file")
        if Path(name).stat().st_size > MAX_TABLE:
            raise InputError(f"{name!r} is larger than {MAX_TABLE} bytes; give fewer samples")
        lines = Path(name).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise InputError(f"cannot read {name[:60]!r}: {reason}") from None
    rows = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    header = [cell.strip().strip('"') for cell in rows[0][1].split(",")] if rows else []
    if header != ["s", "psi"]:
        shown = ascii(rows[0][1][:40]) if rows else "nothing"
        raise InputError(f"{name!r} starts with {shown}; its first line must be: s,psi")
    points = []
    for i, line in rows[1:]:
        cells = [cell.strip().strip('"') for cell in line.split(",")]
        if len(cells) != 2:
            raise InputError(f"{name!r}, line {i}: two numbers are wanted, s and psi")
        try:
            points.append((exact(cells[0]), exact(cells[1])))
        except InputError as error:
            raise InputError(f"{name!r}, line {i}: {error}") from error
    return points


def _check_numbers(d: Desingularizer, options: dict[str, Any]) -> None:
    """Refuse constants and times that are out of range before the long work begins."""
    from kltheory.numeric.guarantees import constants, positive
    from kltheory.numeric.table import check_times

    constants(**{name: options[name] for name in CONSTANTS})
    check_times(options["at"] or ())
    for j in check_times(options["iterations"] or ()):
        if j.denominator != 1:
            raise InputError(f"iteration {j} is given; iterations are whole numbers")
    for name in ("step_size", "smoothness", "deviation"):
        if options[name] is not None:
            positive(options[name], _option(name), zero=name == "deviation")
    if d.parameters:
        names = " and ".join(_giving(d, q.name) for q in d.parameters)
        raise InputError(f"numbers need values for the parameters of ψ: give {names}")


def _giving(d: Desingularizer, name: str) -> str:
    own = d.source == "loss: lojasiewicz" and name in ("alpha", "c")
    return f"--{name}" if own else f"--param {name}=..."


def _how_to_get_numbers(d: Desingularizer) -> str:
    values = [_giving(d, q.name) for q in d.parameters]
    needed = ", ".join([*values, "--loss0, and --kappa or --sigma-f with --sigma-j"])
    return f"For numbers give {needed}; --at for the times, --noise for early stopping."


def _missing_for_more(options: dict[str, Any]) -> tuple[str, ...]:
    if options["noise"] is None:
        return (
            "For the early stopping time give --noise; for the bound on the signal also --mu,"
            " --lip-f and --dist.",
        )
    missing = [_option(n) for n in ("mu", "lip_f", "dist") if options[n] is None]
    return (f"For the bound on the signal give {', '.join(missing)} as well.",) if missing else ()


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
