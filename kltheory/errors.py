"""What can go wrong, in words for people.

Every error that a user can cause derives from `KLTheoryError` and carries one or two lines:
what was given, what is allowed, and what to do.  `exit_code` is what the command line returns.
"""

from __future__ import annotations

from typing import Any


def brief(value: Any, most: int = 40) -> str:
    """Return what was given in few letters, for a message: a text quoted, a large number rounded.

    >>> brief("mse"), brief("x" * 1000), brief(3), brief(-(10**5000))
    ("'mse'", "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'", '3', 'about -1e5000')
    """
    if isinstance(value, str):
        return repr(value if len(value) <= most else value[: most - 6] + "...")
    above = abs(getattr(value, "numerator", 0)) if not isinstance(value, float) else 0
    below = getattr(value, "denominator", 1) if above else 1
    if hasattr(value, "p") and hasattr(value, "q"):  # SymPy's rational numbers
        above, below = abs(value.p), value.q
    if isinstance(above, int) and isinstance(below, int) and max(above, below) >= 10**most:
        power = round((above.bit_length() - below.bit_length()) * 0.30103)
        return f"about {'-' if value < 0 else ''}1e{power}"
    shown = str(value)
    return shown if len(shown) <= most else shown[: most - 3] + "..."


class KLTheoryError(Exception):
    """Base class of all errors of this package."""

    exit_code = 2


class InputError(KLTheoryError, ValueError):
    """A value that was given is not allowed."""


class ParseError(InputError):
    """A text is not an expression that the parser accepts.

    `text` is what was given, `position` the place (0-based) of the problem, `reason` the
    sentence without the caret.
    """

    def __init__(self, reason: str, text: str = "", position: int | None = None) -> None:
        self.reason = reason
        self.text = text
        self.position = position
        super().__init__(reason)

    def __str__(self) -> str:
        if self.position is None or not self.text:
            return self.reason
        start = max(0, self.position - 60)
        shown = self.text[start : self.position + 20]
        shown = "".join(c if c.isprintable() else "?" for c in shown)
        lead = "..." if start else ""
        caret = " " * (len(lead) + self.position - start) + "^"
        return f"{self.reason}\n  {lead}{shown}\n  {caret}"


class NotDesingularizing(InputError):
    """A function ψ is well formed but not a desingularizing function (Definition 2.2)."""


class LimitReached(KLTheoryError):
    """A time, memory or size limit was reached before an answer was found."""

    exit_code = 3
