"""What the commands share: exact numbers, output formats, writing a file whole or not at all."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from kltheory.errors import InputError, brief

FORMATS = ("text", "json", "csv", "latex", "markdown")
"""The output formats; a command offers those that make sense for it."""

MAX_EXPONENT = 10_000
"""The largest power of ten that a number may be written with."""

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,9}))?")
_ALLOWED = "a number is decimal text such as 0.5 or 1e-3, or a fraction such as 1/3"


def exact(text: str) -> Fraction:
    """Read decimal or fraction text as the rational number that it says, without rounding.

    Raises:
        InputError: the text is no finite number, or is too long or too large to be worked with.

    >>> exact("0.1"), exact("1/3"), exact("2e-3"), exact("0.5/2")
    (Fraction(1, 10), Fraction(1, 3), Fraction(1, 500), Fraction(1, 4))
    """
    shown = repr(text if len(text) <= 40 else text[:37] + "...")
    if len(text) > 1000:
        raise InputError(f"{shown} is too long: at most 1000 characters")
    parts = [part.strip() for part in text.split("/")]
    matches = [_NUMBER.fullmatch(part) for part in parts]
    if len(parts) > 2 or not all(matches):
        raise InputError(f"{shown} is not a number: {_ALLOWED}")
    if any(abs(int(match[1] or 0)) > MAX_EXPONENT for match in matches if match):
        raise InputError(f"{shown}: powers of ten go from 1e-{MAX_EXPONENT} to 1e{MAX_EXPONENT}")
    numbers = [Fraction(part) for part in parts]
    if len(numbers) == 2 and numbers[1] == 0:
        raise InputError(f"{shown} divides by zero")
    return numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0]


def exact_list(text: str) -> tuple[Fraction, ...]:
    """Read numbers separated by commas.

    >>> exact_list("0, 1/2, 1e2")
    (Fraction(0, 1), Fraction(1, 2), Fraction(100, 1))
    """
    try:
        return tuple(exact(part.strip()) for part in text.split(","))
    except InputError as error:
        raise InputError(f"{error}; separate numbers by commas: 0,1,10") from error


def name_value(text: str) -> tuple[str, Fraction]:
    """Read NAME=VALUE.

    >>> name_value("p=0.2")
    ('p', Fraction(1, 5))
    """
    name, equals, number = (part.strip() for part in text.partition("="))
    if not (equals and name.isidentifier()):
        raise InputError(f"{text[:40]!r} is not NAME=VALUE, such as p=0.2")
    try:
        return name, exact(number)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def output_file(text: str) -> Path | None:
    """Read the name of a file that can be written; `-` is standard output (None)."""
    if text == "-":
        return None
    path = Path(text)
    if _is_open(path):
        return path
    try:
        if not text or path.is_dir():
            raise InputError(f"{text!r} is a directory; give a file in it")
        if not path.parent.is_dir():
            raise InputError(f"there is no directory {str(path.parent)!r}; make it first")
        target = Path(os.path.realpath(path))
        if not os.access(target if target.exists() else target.parent, os.W_OK):
            raise InputError(f"{brief(text, 80)} cannot be written; give a place that can")
        if not target.exists() or target.is_file():  # it is replaced: see `emit`
            if not os.access(target.parent, os.W_OK | os.X_OK):
                raise InputError(f"no file can be made in {str(target.parent)!r}")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {brief(text, 60)}: {why}") from error
    return path


def _is_open(path: Path) -> bool:
    """Whether a name is of a stream that is open already: it is added to, and never replaced.

    >>> _is_open(Path("answer.json"))
    False
    """
    name = os.fspath(path)
    for _ in range(40):  # as many links as a system follows
        folder = os.path.realpath(os.path.dirname(name) or ".")
        if re.fullmatch(r"/dev/fd|/proc/[0-9]+/(task/[0-9]+/)?fd", folder):
            return True
        if not os.path.islink(name):
            break
        name = os.path.join(folder, os.readlink(name))
    return False


def figure_name(text: str) -> Path:
    """Read the name of a figure to write, while there is still nothing to lose."""
    from kltheory.plot import figure_file

    path = output_file(text)
    if path is None:
        raise InputError("a figure goes to a file, such as figure.png")
    figure_file(path)
    return path


def keep(inputs: Iterable[str | Path | None], outputs: Iterable[Path | None]) -> None:
    """Refuse to write over a file that is read, and to write two things to one file.

    Raises:
        InputError: an output is one of the inputs, or two outputs are one file.
    """
    try:
        read = {os.path.realpath(name) for name in inputs if name is not None}
        written = [os.path.realpath(name) for name in outputs if name is not None]
    except ValueError as error:  # a NUL, which only a program can give
        raise InputError(f"this is no name of a file: {error}") from None
    except FileNotFoundError:
        raise InputError("the working directory is gone: go to another one") from None
    for i, name in enumerate(written):
        if os.path.exists(name) and not os.path.isfile(name):
            continue  # a device or a pipe
        if name in read:
            raise InputError(f"{brief(name, 80)} is read: write to another file")
        if name in written[:i]:
            raise InputError(f"{brief(name, 80)} is written twice: give two names")


def beside(plot: Path | None) -> tuple[Path, ...]:
    """Return the files of a figure: the picture, its data and its manifest."""
    return () if plot is None else (plot, plot.with_suffix(".csv"), plot.with_suffix(".json"))


def _option_type(read: Callable[[str], _T], name: str) -> Callable[[Any], _T]:
    """Make a reader of text a type of click's options, called `name` in the help."""

    def convert(value: Any) -> _T:
        if not isinstance(value, str):
            return cast(_T, value)
        try:
            return read(value)
        except InputError as error:
            raise click.BadParameter(f"{error}.") from error

    convert.__name__ = name
    return convert


EXACT = _option_type(exact, "number")
"""An option's type: an exact number."""
EXACT_LIST = _option_type(exact_list, "numbers")
"""An option's type: exact numbers separated by commas."""
PARAM = _option_type(name_value, "name=value")
"""An option's type: NAME=VALUE with an exact number."""
OUTPUT = _option_type(output_file, "file")
"""An option's type: a file to write, checked before the work begins."""
FIGURE = _option_type(figure_name, "file")
"""An option's type: a figure to write, checked before the work begins."""


def _distinct(
    ctx: click.Context, param: click.Parameter, pairs: tuple[tuple[str, Fraction], ...]
) -> dict[str, Fraction]:
    """Collect NAME=VALUE pairs, each name once."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise click.BadParameter("a name is given twice.", ctx, param)
    return values


def format_option(*formats: str) -> Callable[[_F], _F]:
    """Give a command the option --format with these formats (default: all), as `output_format`."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats or FORMATS),
        default="text",
        show_default=True,
        help="How to write the answer.",
    )


def output_option(command: _F) -> _F:
    """Give a command the option --output FILE, as `output`: a `Path`, or None for stdout."""
    option: Callable[[_F], _F] = click.option(
        "--output", "output", type=OUTPUT, help="Write to this file instead of standard output."
    )
    return option(command)


def plot_option(command: _F) -> _F:
    """Give a command the option --plot FILE, as `plot`: a `Path`, or None."""
    option: Callable[[_F], _F] = click.option(
        "--plot", type=FIGURE, help="Draw a figure (.png, .svg, .pdf), with its data."
    )
    return option(command)


def param_option(command: _F) -> _F:
    """Give a command the repeatable option --param NAME=VALUE, as `params`: a dict."""
    option: Callable[[_F], _F] = click.option(
        "--param",
        "params",
        type=PARAM,
        multiple=True,
        callback=_distinct,
        help="The value of a parameter; repeatable.",
    )
    return option(command)


def json_text(answer: Mapping[str, Any]) -> str:
    """Write an answer as JSON: a `schema` first, `warnings` always, never NaN or Infinity.

    >>> print(json_text({"schema": "kltheory/bound/1", "kappa": 0.25}))
    {
      "schema": "kltheory/bound/1",
      "kappa": 0.25,
      "warnings": []
    }
    """
    if not str(answer.get("schema", "")).startswith("kltheory/"):
        raise ValueError("an answer names its schema: kltheory/<command>/<version>")
    complete = {**answer, "warnings": list(answer.get("warnings", []))}
    return json.dumps(complete, indent=2, allow_nan=False)


def emit(text: str, output: Path | None = None) -> None:
    """Write the text to standard output, or to a file that is then there whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    text = text if text.endswith("\n") else text + "\n"
    if output is None:
        if sys.stdout is None:
            raise InputError("standard output is closed; give --output FILE")
        sys.stdout.write(text)
        return
    try:
        if _is_open(output):
            with open(output, "a", encoding="utf-8", newline="\n") as file:
                file.write(text)
        else:
            _write(Path(os.path.realpath(output)), text)
    except OSError as error:
        raise InputError(f"cannot write {str(output)!r}: {error.strerror or error}") from error


def _write(path: Path, text: str) -> None:
    """Replace a regular file in one step; write into a device or a pipe as it is."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    draft = path.with_name(f".kltheory-{secrets.token_hex(8)}.tmp")
    try:
        with open(draft, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            draft.chmod(path.stat().st_mode)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
