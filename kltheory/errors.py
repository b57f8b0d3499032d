"""What can go wrong, in words for people.

Every error that a user can cause derives from `KLTheoryError` and carries one or two lines:
what was given, what is allowed, and what to do.  `exit_code` is what the command line returns.
"""

from __future__ import annotations


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
