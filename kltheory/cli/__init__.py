"""The command line: one table of commands, and one place where errors become exit codes.

A command lives in `kltheory/cli/NAME.py` as `command`, is loaded only when it is called, and may
return its exit code: 0 done, 1 the answer is no, 2 invalid input, 3 given up within the limits.
"""

from __future__ import annotations

import codecs
import importlib
import os
import sys
from collections.abc import Sequence
from typing import TextIO

import click

import kltheory
from kltheory.errors import KLTheoryError

COMMANDS = {
    "losses": ("kltheory.cli.losses", "The losses that are known, each with its ψ and its proof."),
    "bound": ("kltheory.cli.bound", "Rates and bounds that follow from a loss or from ψ."),
    "width": ("kltheory.cli.width", "How wide a network must be for the guarantees to hold."),
    "audit": ("kltheory.cli.audit", "The paper's printed formulas against the derived ones."),
    "certify": ("kltheory.cli.certify", "Whether training must converge from here, or cannot."),
    "check": ("kltheory.cli.check", "Guarantees against a trajectory that really happened."),
    "reproduce": ("kltheory.cli.reproduce", "The figures of the paper, each by one command."),
}
"""Name of a command -> where it lives, what it does in one line."""

CITATION = """\
@software{{kltheory,
  author  = {{{{The kltheory authors}}}},
  title   = {{kltheory: convergence and recovery bounds for unsupervised neural networks
             in inverse problems}},
  version = {{{version}}},
  year    = {{2026}},
}}

@misc{{buskulic2023convergence,
  author = {{Buskuli{{\\'c}}, Nathan and Fadili, Jalal and Qu{{\\'e}}au, Yvain}},
  title  = {{Convergence and Recovery Guarantees of Unsupervised Neural Networks
            for Inverse Problems}},
  year   = {{2023}},
  note   = {{HAL preprint hal-04059168v1}},
  url    = {{https://hal.science/hal-04059168v1}},
}}"""

_SIGNS = {
    **dict(
        zip("∞≤≥≈≠√∫∂∈×→…⁻₊", "inf <= >= ~ != sqrt int d in x -> ... ^- +".split(), strict=True)
    ),
    **dict(zip("−–—·÷′‖²³⁴", ["-", "-", "-", "*", "/", "'", "||", "^2", "^3", "^4"], strict=True)),
}
"""Signs of formulas that have no plain letter in them -> what to write where only ASCII works."""


class _Commands(click.Group):
    """A group that reads names and one-line help from `COMMANDS` and loads only what runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _cite(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print how to cite, and stop."""
    if wanted and not ctx.resilient_parsing:
        click.echo(CITATION.format(version=kltheory.__version__))
        ctx.exit()


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 the answer is no; 2 invalid input; 3 given up within the limits.",
)
@click.version_option(kltheory.__version__, prog_name="kltheory", message="%(prog)s %(version)s")
@click.option(
    "--cite", is_flag=True, is_eager=True, expose_value=False, callback=_cite, help="How to cite."
)
def cli() -> None:
    """Convergence and recovery bounds for unsupervised neural networks in inverse problems.

    Example: kltheory bound --loss lojasiewicz --alpha 0.5
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no error leaves a traceback.

    Set KLTHEORY_DEBUG=1 to see the traceback of an error.

    >>> main(["--version"])
    kltheory 1.0.0
    0
    >>> main(["no-such-command"])
    2
    """
    codecs.register_error("kltheory", _spell_out)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="kltheory")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if "_KLTHEORY_COMPLETE" in os.environ:
            cli.main(words, prog_name="kltheory")
        code = _invoke(words or ["--help"])
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _forget(sys.stdout)
        return 141  # as a program that SIGPIPE ended
    except (KeyboardInterrupt, click.Abort):
        return 130
    except Exception as error:
        if os.environ.get("KLTHEORY_DEBUG") == "1":
            raise
        return _explain(error)


def _invoke(words: list[str]) -> int:
    """Parse the words, run the command, and return its exit code."""
    try:
        with cli.make_context("kltheory", words) as ctx:
            result = cli.invoke(ctx)
    except click.exceptions.Exit as done:
        return done.exit_code
    return result if isinstance(result, int) else 0


def _explain(error: Exception) -> int:
    """Say on stderr what went wrong, and return the exit code."""
    match error:
        case KLTheoryError():
            text, code = str(error), error.exit_code
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else "kltheory"
            text, code = f"{error.format_message()}\nTry '{path} -h' for help.", 2
        case click.ClickException():
            text, code = error.format_message(), 2
        case MemoryError():
            text, code = "the memory limit was reached; ask for less at once", 3
        case OSError():
            _forget(sys.stdout)
            where = f": {error.filename}" if error.filename else ""
            text, code = f"{error.strerror or error}{where}", 2
        case _:
            kind = type(error).__name__
            text, code = f"internal error, {kind}: {error}\nKLTHEORY_DEBUG=1 shows where.", 70
    if sys.stderr is not None:
        print("\n".join(map(_short, f"kltheory: {text}".split("\n"))), file=sys.stderr)
    return code


def _short(line: str, most: int = 400) -> str:
    """A line of a message without the middle of what is very long in it, and in plain signs.

    >>> _short("'" + "x" * 1000 + "' is no number", 30)
    "'xxxxxxxxx ... x' is no number"
    """
    if len(line) > most:
        tail = min(most // 2, most - 5)
        line = f"{line[: most - tail - 5]} ... {line[-tail:]}"
    return "".join(sign if sign.isprintable() else "?" for sign in line)


def _forget(stream: TextIO | None) -> None:
    """Send what is still buffered nowhere, so that the interpreter ends without complaint."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _spell_out(error: UnicodeError) -> tuple[str, int]:
    """Write letters that a stream cannot show as words: ψ as psi, ≤ as <=."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(sign: str) -> str:
    """One character in ASCII.

    >>> [_ascii(sign) for sign in "αΨλ≤é☃"]
    ['alpha', 'Psi', 'lambda', '<=', 'e', '?']
    """
    if sign in _SIGNS:
        return _SIGNS[sign]
    import unicodedata

    name = unicodedata.name(sign, "")
    if name.startswith("GREEK"):
        letter = name.split(" WITH ")[0].split()[-1].replace("LAMDA", "LAMBDA")
        return letter.capitalize() if "CAPITAL" in name else letter.lower()
    plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return plain or "?"
