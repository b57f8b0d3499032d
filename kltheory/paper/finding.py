"""What a finding is: two readings of one formula, and a witness that can tell them apart.

A `Claim` holds the formula as the text of the source prints it and the formula that its own
argument gives, both as code, and a *witness*: a case whose truth is computed without either.  The
witness says of any formula that it is handed whether the formula holds there.  A claim is confirmed
if the printed formula fails and the derived one holds; what is undecided confirms nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ("false", "gap", "misprint", "loose", "constant", "vacuous")
"""What can be wrong with a printed statement."""

MEANING = {
    "false": "a case contradicts the printed statement",
    "gap": "a hypothesis or a step is missing; with it the statement is right",
    "misprint": "a sign or a symbol is wrong; what is meant is clear",
    "loose": "right, but better can be had from the same argument",
    "constant": "a constant in a proof is wrong, with no effect on the order",
    "vacuous": "nothing satisfies the hypotheses, or nothing is claimed",
}
"""Each kind in words."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula to read: as text for a terminal, and in LaTeX."""

    text: str
    """Plain text, in Unicode."""
    latex: str
    """LaTeX, without dollars."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a witness says of one formula."""

    holds: bool | None
    """Whether the formula holds there; None where that could not be decided."""
    numbers: Mapping[str, Any]
    """What was computed, by name."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One printed statement, what it should be, and the witness between them."""

    place: str
    """Where it is in the source."""
    kind: str
    """One of `KINDS`."""
    printed: Formula
    """What the text says."""
    derived: Formula
    """What its argument gives."""
    why: str
    """Why they differ."""
    tested: str
    """The sentence that the witness tests."""
    printed_form: Any
    """The printed formula as code."""
    derived_form: Any
    """The derived formula as code, called in the same way."""
    witness: Callable[[Any], Outcome]
    """Says of a formula whether it holds on a case that is computed now."""

    def check(self, printed: Any = None, derived: Any = None) -> tuple[Outcome, Outcome]:
        """Run the witness on both formulas (or on others in their places)."""
        return (
            self.witness(self.printed_form if printed is None else printed),
            self.witness(self.derived_form if derived is None else derived),
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A finding before it is run: its number and its claims, the main one first."""

    id: str
    """E1, E2, ..."""
    title: str
    """What is found, in a few words."""
    effect: str
    """How it changes the numbers of a user."""
    claims: tuple[Claim, ...]
    """The independent claims under this number."""


# -- comparisons that can be undecided -------------------------------------------------------------


def at_most(a: float, b: float) -> bool | None:
    """Whether a <= b: None for NaN, and where rounding could decide.

    >>> at_most(1, 2), at_most(2, 1), at_most(float("nan"), 1), at_most(1, 1 + 1e-12)
    (True, False, None, True)
    """
    if math.isnan(a) or math.isnan(b):
        return None
    if math.isinf(a) or math.isinf(b):
        return a <= b
    if a <= b + 1e-9 * abs(b):
        return True
    return False if a > b + 1e-6 * max(abs(a), abs(b)) else None


def same(a: float, b: float, tolerance: float = 1e-9) -> bool | None:
    """Whether a = b to a relative tolerance: None for NaN and within a thousand tolerances.

    >>> same(1, 1 + 1e-12), same(1, 2), same(float("inf"), float("inf"))
    (True, False, True)
    """
    if math.isnan(a) or math.isnan(b):
        return None
    if a == b:
        return True
    if math.isinf(a) or math.isinf(b):
        return False
    gap, size = abs(a - b), max(abs(a), abs(b))
    return True if gap <= tolerance * size else False if gap > 1000 * tolerance * size else None


def every(parts: Iterable[bool | None]) -> bool | None:
    """Whether all hold: False if one fails, else None if one is undecided.

    >>> every([True, None]), every([None, False]), every([True, True])
    (None, False, True)
    """
    found = list(parts)
    return False if False in found else None if None in found else True


def implies(cases: Iterable[tuple[str, bool, bool | None]]) -> Outcome:
    """A theorem on cases (name, hypothesis, conclusion): it holds if no admitted case fails.

    A hypothesis that admits no case at all proves nothing: then the outcome is undecided.
    """
    listed = list(cases)
    numbers: dict[str, Any] = {}
    for name, admitted, conclusion in listed:
        numbers[f"{name}: admitted"] = admitted
        numbers[f"{name}: conclusion"] = conclusion
    admitted_ones = [conclusion for _, admitted, conclusion in listed if admitted]
    return Outcome(every(admitted_ones) if admitted_ones else None, numbers)


__all__ = [
    "KINDS",
    "MEANING",
    "Claim",
    "Entry",
    "Formula",
    "Outcome",
    "at_most",
    "every",
    "implies",
    "same",
]
