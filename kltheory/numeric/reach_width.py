"""The least width at which an observation can be reached, by proof at every width that is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kltheory.errors import InputError, LimitReached
from kltheory.numeric.reach import Reach

__all__ = ["BorderWidth", "border_k"]


@dataclass(frozen=True, slots=True)
class BorderWidth:
    """Where reachability begins, for one draw of nested columns."""

    first: int
    """The least k tried at which y is proved reachable."""
    settled: int
    """y is proved reachable at every k from here to `tested_to`."""
    tested_from: int
    """Every k from here to `tested_to` was tried."""
    tested_to: int
    """The largest of them."""
    undecided: tuple[int, ...]
    """Those of them at which nothing was proved; they count as not reachable."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "first": self.first,
            "settled": self.settled,
            "tested_from": self.tested_from,
            "tested_to": self.tested_to,
            "undecided": list(self.undecided),
        }

    def __repr__(self) -> str:
        """Return the border in a line."""
        return (
            f"BorderWidth(reachable from k = {self.settled} on, first at {self.first}; "
            f"every k in {self.tested_from}..{self.tested_to} tried)"
        )


def border_k(
    reach: Callable[[int], Reach],
    *,
    least: int = 1,
    most: int = 1_000_000,
    around: int | None = None,
) -> BorderWidth:
    """Find the width from which on y is in the image of the open box.

    `reach(k)` is the proof at width k, with common columns: the first k of one sequence V_1, V_2...
    With the factor 1/√k, what can be reached does not only grow: each column adds a segment, and
    the whole shrinks by √(k/(k+1)).  So bisection finds *a* border, between doublings of k, and
    then every k below it is tried until `around` in a row are not reachable, and every k above it
    until `around` in a row are (default: a tenth of the border, at least 10).

    Raises LimitReached if y is not reachable at any k tried up to `most`.

    >>> import numpy as np
    >>> from kltheory.numeric.reach import reachability
    >>> columns = np.ones((1, 100))
    >>> y = np.array([3.0])
    >>> border_k(lambda k: reachability(columns[:, :k] / k**0.5, y, 0.0, 1.0), most=100)
    BorderWidth(reachable from k = 10 on, first at 10; every k in 1..19 tried)
    """
    if not 1 <= least <= most:
        raise InputError(f"least = {least} and most = {most} must be 1 <= least <= most.")
    known: dict[int, bool | None] = {}

    def reached(k: int) -> bool:
        if k not in known:
            known[k] = reach(k).interior
        return known[k] is True

    low, high = least - 1, least
    while not reached(high):
        if high == most:
            raise LimitReached(
                f"y was not reachable at any k tried up to {most}; raise the largest k."
            )
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    row = max(10, high // 10) if around is None else around
    top, run = high, 1
    while run < row and top < most:
        top += 1
        run = run + 1 if reached(top) else 0
    bottom, run = high, 0
    while run < row and bottom > least:
        bottom -= 1
        run = 0 if reached(bottom) else run + 1
    tried = range(bottom, top + 1)
    failed = [k for k in tried if not reached(k)]
    return BorderWidth(
        first=min(k for k, verdict in known.items() if verdict is True),
        settled=max(failed, default=bottom - 1) + 1,
        tested_from=bottom,
        tested_to=top,
        undecided=tuple(k for k in failed if known[k] is None),
    )
