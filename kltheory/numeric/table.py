"""A table of guarantees over time: what a page, a CSV file and a JSON answer show."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, TypeVar

from kltheory.errors import InputError, LimitReached, brief
from kltheory.numeric.guarantees import Bound, positive

if TYPE_CHECKING:
    from kltheory.numeric.sharp import DescentBound

_T = TypeVar("_T")

_POINTS = 8
"""Times after 0 in a table for which no times are given."""
_FALL = 10**6
"""The loss falls by this factor over such a table."""


@dataclass(frozen=True, slots=True)
class Row:
    """The guarantees at one time; every bound is rounded up, `log_decrease` down.

    None is what was not computed within the limits.
    """

    t: Fraction
    """Time, exact."""
    loss: float | None = None
    """(10): bound on L(y(t)); inf above the largest float."""
    log10_loss: float | None = None
    """log10 of that bound where it is above the largest float, else None."""
    log_decrease: float | None = None
    """log(L0/loss), a lower bound; inf once the loss is extinct."""
    parameters: float | None = None
    """(11): bound on ‖θ(t) - θ∞‖."""
    observation: float | None = None
    """(18): bound on ‖y(t) - y‖."""
    signal: float | None = None
    """(13): bound on ‖x(t) - x̄‖ (`kltheory audit E13`); None without μ and what goes with it."""
    start: Fraction | None = None
    """L0 itself where t = 0 and the bound is L0."""


_NO_TIME = (
    "the time limit was reached before all numbers were found; raise it (--limit 60) or ask for"
    " fewer times"
)


class Budget:
    """Seconds of numeric work that several calls share."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def call(self, bound: Bound, work: Callable[[], _T]) -> _T:
        """work() within what is left; raises `LimitReached` when nothing is left."""
        left = self._end - time.monotonic()
        if left > 0:
            bound.curve.deadline = left
            try:
                return work()
            except LimitReached as error:
                if time.monotonic() < self._end:  # not time, but precision
                    raise
                cause: LimitReached | None = error
        else:
            cause = None
        raise LimitReached(_NO_TIME) from cause


class Collected:
    """Rows as they are found, so that what ends one of them does not lose the others.

    >>> found = Collected("t", [Fraction(0), Fraction(1)])
    >>> def row(t):
    ...     if t:
    ...         raise LimitReached("too little time")
    ...     return Row(t, loss=1.0)
    >>> found.collect(row)
    >>> [r.loss for r in found.rows]
    [1.0, None]
    >>> print(found.warnings[0])
    t = 1: not computed: too little time; what holds at t = 0 holds there too
    """

    def __init__(self, name: str, times: Iterable[Fraction]) -> None:
        self._name, self._times = name, tuple(times)
        self._rows: dict[Fraction, Row] = {}
        self._why: dict[Fraction, str] = {}

    def collect(self, row: Callable[[Fraction], Row]) -> None:
        """row(t) for each time; a limit that one of them reaches is noted."""
        for t in self._times:
            try:
                self._rows[t] = row(t)
            except LimitReached as error:
                self._why[t] = str(error)

    @property
    def complete(self) -> bool:
        """Whether every row is there."""
        return len(self._rows) == len(self._times)

    @property
    def rows(self) -> tuple[Row, ...]:
        """A row for every time; without values where there are none."""
        return tuple(self._rows.get(t) or Row(t) for t in self._times)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Which rows are missing and why; no bound rises, so those of an earlier time hold."""
        found, name = [], self._name
        missing = [t for t in self._times if t not in self._rows]
        for why in dict.fromkeys(self._why.get(t, _NO_TIME) for t in missing):
            times = [t for t in missing if self._why.get(t, _NO_TIME) == why]
            shown = ", ".join(brief(t, 30) for t in times[:5]) + ", ..." * (len(times) > 5)
            before = [t for t in self._rows if t < times[0]]
            text = f"{name} = {shown}: not computed: {why}"
            if before:
                text += f"; what holds at {name} = {brief(max(before), 30)} holds there too"
            found.append(text)
        return tuple(found)


def rows(bound: Bound, times: Iterable[Fraction], budget: Budget | None = None) -> tuple[Row, ...]:
    """The guarantees at these times.

    Raises `LimitReached` when the budget is spent.

    >>> import kltheory as kl
    >>> bound = kl.rate("sqrt(2*s)").bound(kappa=1, loss0=1)
    >>> [row.log_decrease for row in rows(bound, (Fraction(0), Fraction(5)))]
    [0.0, 9.9999999...]
    """
    limit = budget or Budget(math.inf)
    return tuple(limit.call(bound, lambda t=t: row_at(bound, t)) for t in times)  # type: ignore[misc]


def row_at(bound: Bound, t: Fraction) -> Row:
    """The guarantees at one time."""
    loss, decrease = bound.loss(t), bound.log_decrease(t)
    return Row(
        t,
        loss,
        _log10(bound.constants.loss0, decrease) if math.isinf(loss) else None,
        decrease,
        bound.parameters(t),
        bound.observation(t),
        bound.signal(t) if has_signal(bound) else None,
        bound.constants.loss0 if t == 0 else None,
    )


def descent_row(descent: DescentBound, j: Fraction) -> Row:
    """The guarantees for gradient descent at one iteration, which is the `t` of the row."""
    flow = descent.bound
    loss, decrease = descent.loss(j), descent.log_decrease(j)
    return Row(
        j,
        loss,
        _log10(flow.constants.loss0, decrease) if math.isinf(loss) else None,
        decrease,
        descent.parameters(j),
        descent.observation(j),
        descent.signal(j) if has_signal(flow) else None,
        flow.constants.loss0 if j == 0 else None,
    )


def has_signal(bound: Bound) -> bool:
    """True if μ, L_F, dist(x̄, Σ) and ‖ε‖ are all known, as (13) needs them."""
    c = bound.constants
    return None not in (c.mu, c.lip_f, c.dist, c.noise)


def _log10(loss0: Fraction, decrease: float) -> float:
    """log10(L0 e^-decrease) for an L0 above the largest float, rounded up."""
    size = max(0, loss0.numerator.bit_length() - loss0.denominator.bit_length() - 1000)
    value = (math.log(loss0 / 2**size) + size * math.log(2) - decrease) / math.log(10)
    return value + 1e-12 * abs(value)


def default_times(bound: Bound, budget: Budget | None = None) -> tuple[Fraction, ...]:
    """0 and round times from where the loss has fallen by a tenth to where it has fallen a lot.

    The last one is after the extinction of the loss, if there is one.

    >>> import kltheory as kl
    >>> [float(t) for t in default_times(kl.rate("sqrt(2*s)").bound(kappa=1, loss0=1))]
    [0.0, 0.06, 0.2, 0.3, 0.5, 0.9, 2.0, 4.0, 7.0]
    """
    limit = budget or Budget(math.inf)
    loss0 = bound.constants.loss0
    least = getattr(bound.curve, "least", Fraction(0))  # of the samples, if ψ is known at samples
    first = limit.call(bound, lambda: bound.time_to_loss(max(loss0 * 9 / 10, least)))
    last = limit.call(bound, bound.extinction_time)
    if last is None:
        last = limit.call(bound, lambda: bound.time_to_loss(max(loss0 / _FALL, least)))
    if not (0 < first < math.inf and 0 < last < math.inf):
        return (Fraction(0),)
    ratio = math.log(last) - math.log(first)
    inner = (math.exp(math.log(first) + ratio * k / (_POINTS - 1)) for k in range(_POINTS - 1))
    found = {Fraction(0), *(_round(t, 1) for t in inner), _round(last, 2)}
    return tuple(sorted(found))


def _round(t: float, digits: int) -> Fraction:
    return Fraction(Context(prec=digits, rounding=ROUND_CEILING).create_decimal(Decimal(t)))


def check_times(times: Iterable[Fraction]) -> tuple[Fraction, ...]:
    """Times that are allowed: non-negative, at most a thousand, each once, in order."""
    checked = sorted({positive(t, "t", zero=True) for t in times})
    if len(checked) > 1000:
        raise InputError(f"{len(checked)} times are given; at most 1000 at once")
    return tuple(checked)


__all__ = [
    "Budget",
    "Collected",
    "Row",
    "check_times",
    "default_times",
    "descent_row",
    "has_signal",
    "row_at",
    "rows",
]
