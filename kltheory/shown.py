"""How a result says what it holds: facts and tables of text, from which a page is made.

A class that derives from `Shown` and has a `content` is printed as a page of text, shows itself in
a notebook and in rich.  The page itself is made by `kltheory.report`, which is above all rooms
that compute and is therefore loaded only when somebody looks.
"""

from __future__ import annotations

import decimal
import importlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Content", "Facts", "Shown", "Table", "figure", "thinned"]


@dataclass(frozen=True, slots=True)
class Facts:
    """Labels and what belongs to them."""

    title: str
    """What they are about."""
    pairs: tuple[tuple[str, str], ...]
    """(label, value)."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of numbers or words."""

    title: str
    """What it shows."""
    header: tuple[str, ...]
    """The columns."""
    rows: tuple[tuple[str, ...], ...]
    """The cells."""
    words: bool = False
    """Whether the cells are words, the last of them possibly long."""


@dataclass(frozen=True, slots=True)
class Content:
    """All that one result says."""

    title: str
    """Its name."""
    parts: tuple[Facts | Table, ...]
    """What it holds."""
    warnings: tuple[str, ...] = ()
    """What to beware of."""


class Shown:
    """A result that shows itself: `print`, `_repr_html_`, rich."""

    __slots__ = ()

    def content(self) -> Content:
        """Return what the result says."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return the page as plain text."""
        report, page = _page(self.content())
        return str(report.text(page))

    def _repr_html_(self) -> str:
        """Return the page as HTML, for a notebook."""
        report, page = _page(self.content())
        return str(report.html(page))

    def __rich__(self) -> Any:
        """Return the page for rich."""
        report, page = _page(self.content())
        return report.rich_page(page)


def _page(content: Content) -> tuple[Any, Any]:
    """Return the room of reports, and a page of it."""
    report = importlib.import_module("kltheory.report")
    words = report.words

    def row(cells: Iterable[str]) -> tuple[Any, ...]:
        return tuple(words(cell) for cell in cells)

    parts = [
        report.Pairs(part.title, tuple(row(pair) for pair in part.pairs))
        if isinstance(part, Facts)
        else report.Grid(
            part.title, row(part.header), tuple(row(cells) for cells in part.rows), part.words
        )
        for part in content.parts
    ]
    return report, report.Page(words(content.title), tuple(parts), content.warnings)


def figure(value: float | None, digits: int = 4, side: int = 0) -> str:
    """Return a number in a few digits; what is not finite in words.

    side: 1 rounds up and -1 down, as an upper or lower bound asks for; 0 to the nearest.

    >>> figure(0.00012345678), figure(float("inf")), figure(None), figure(3.0)
    ('0.0001235', 'infinite', '-', '3')
    >>> figure(1.23441, side=1), figure(1.23449, side=-1), figure(0.25, side=1)
    ('1.235', '1.234', '0.25')
    """
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if side:
        rounding = decimal.ROUND_CEILING if side > 0 else decimal.ROUND_FLOOR
        context = decimal.Context(prec=digits, rounding=rounding)
        value = float(context.create_decimal(float(value)))
    return f"{value:.{digits}g}"


def thinned(count: int, most: int = 9) -> list[int]:
    """Return at most so many indices below a count, evenly spread, with the first and the last.

    >>> thinned(3), thinned(101, 5)
    ([0, 1, 2], [0, 25, 50, 75, 100])
    """
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]
