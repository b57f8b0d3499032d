"""The Łojasiewicz exponent α and constant c of a loss, estimated from data.

ψ(s) = c s^α makes (4) an inequality between logarithms: with e = 1 - α,

    log ‖∇L‖ >= (1 - α) log L - log(cα),    log(-L'/L) = (1 - 2α) log L + log(κ/(c²α²)) on the flow.

An estimate is an indication and no bound: it says so, and says when the data do not suffice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.errors import InputError

__all__ = ["Estimate", "estimate_from_decay", "estimate_from_gradients"]

_LEAST_POINTS = 8
_LEAST_DECADES = 1.0
_BLOCKS = 12
"""The residuals of a smooth curve are dependent: it counts as this many independent points."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """α and c from data, with intervals."""

    verdict: str
    """ "estimated" or "insufficient data"."""
    reason: str
    """Why."""
    alpha: float | None
    """The exponent."""
    alpha_interval: tuple[float, float] | None
    """An interval of confidence for α."""
    c: float | None
    """The least c for which (4) holds at all points, with α; from a decay, c/√κ."""
    c_interval: tuple[float, float] | None
    """What c is at the ends of the interval for α."""
    points: int
    """How many points were used."""
    decades: float
    """The range of the losses, in powers of ten."""
    confidence: float
    """The level of the intervals."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        found = {q: getattr(self, q) for q in self.__slots__}
        for name in ("alpha_interval", "c_interval"):
            found[name] = None if found[name] is None else list(found[name])
        return found


def estimate_from_gradients(
    loss: ArrayLike, gradient_norm: ArrayLike, *, confidence: float = 0.95
) -> Estimate:
    """α and c from pairs (L, ‖∇L‖), near the minimum.

    The slope of the lower envelope of log‖∇L‖ over log L is 1 - α; c is the least one for which
    ψ = c s^α satisfies (4) at all points.

    Args:
        loss: the values L - min L > 0; others are dropped.
        gradient_norm: ‖∇L‖ at the same points, positive.
        confidence: level of the interval.

    >>> s = np.logspace(-6, 0, 40)
    >>> found = estimate_from_gradients(s, np.sqrt(2 * s))  # the mse: α = 1/2, c = √2
    >>> round(found.alpha, 9), round(found.c, 9)
    (0.5, 1.414213562)
    """
    s, g = _pairs(loss, gradient_norm, "loss", "gradient_norm")
    x, y = np.log(s), np.log(g)
    decades = float(np.ptp(x) / math.log(10)) if len(x) else 0.0
    if problem := _insufficient(len(x), decades):
        return _none(problem, len(x), decades, confidence)
    bx, by = _envelope(x, y)
    if len(bx) < 5:
        return _none("the losses lie in too few groups", len(x), decades, confidence)
    slope, error = _line(bx, by)
    half = _quantile(confidence, len(bx) - 2) * error
    alpha, low, high = 1 - slope, 1 - slope - half, 1 - slope + half
    if not 0 < alpha <= 1:
        reason = (
            f"the slope gives α = {alpha:.3g}, which is no exponent of a ψ: not a power law here"
        )
        return _none(reason, len(x), decades, confidence)
    if high - low > 0.5:
        return _none(f"α is only known to {half:.2g}", len(x), decades, confidence)

    def constant(a: float) -> float:
        """The least c with c a s^(a-1) g >= 1 at all points."""
        return float(np.exp(np.max((1 - a) * x - y)) / a)

    ends = sorted(constant(min(max(a, 1e-9), 1.0)) for a in (low, high))
    return Estimate(
        "estimated",
        "the lower envelope of log‖∇L‖ over log L; an indication, not a bound",
        alpha,
        (low, high),
        constant(alpha),
        (min(ends[0], constant(alpha)), max(ends[1], constant(alpha))),
        len(x),
        decades,
        confidence,
    )


def estimate_from_decay(
    t: ArrayLike, loss: ArrayLike, *, confidence: float = 0.95, floor: float = 0.0
) -> Estimate:
    """α from a decay curve L(t), and c/√κ.

    If L' = -κ/ψ'(L)² with ψ = c s^α then log(-L'/L) is linear in log L with slope 1 - 2α and
    constant log(κ/(c²α²)).  The derivative is that of log L between samples.

    Args:
        t: increasing times.
        loss: L(t), decreasing; samples at or below `floor` are dropped (rounding, noise).
        confidence: level of the interval.
        floor: the smallest loss that is trusted.

    >>> t = np.linspace(0, 20, 200)
    >>> found = estimate_from_decay(t, np.exp(-2 * t))  # α = 1/2 and 4κ/c² = 2
    >>> round(found.alpha, 6), round(found.c, 6)
    (0.5, 1.414214)
    """
    times, s = np.asarray(t, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    if times.shape != s.shape or times.ndim != 1 or not np.all(np.isfinite(times)):
        raise InputError(
            f"t has shape {times.shape} and loss {s.shape}; two equal lists are wanted"
        )
    if np.any(np.diff(times) <= 0):
        raise InputError("t must increase")
    usable = np.isfinite(s) & (s > max(floor, 0.0))
    stop = len(s) if usable.all() else int(np.argmin(usable))
    times, s = times[:stop], s[:stop]
    decades = float(np.ptp(np.log10(s))) if len(s) else 0.0
    if problem := _insufficient(len(s), decades):
        return _none(problem, len(s), decades, confidence)
    # one rate for each block of equal decrease, so that noise and rounding are averaged
    x, secant, drop = _rates(times, np.log(s))
    if len(x) < 5:
        return _none("the loss does not decrease steadily", len(s), decades, confidence)
    y, slope, error = secant, 0.0, math.inf
    for _ in range(20):  # the rate in the middle of a block, from its mean and the slope
        slope, error = _line(x, y)
        half_drop = np.maximum(np.abs(slope) * drop / 2, 1e-9)
        y = secant + np.log(np.sinh(half_drop) / half_drop)
    half = _quantile(confidence, len(x) - 2) * error / 2
    alpha = (1 - slope) / 2
    if not 0 < alpha <= 1:
        reason = (
            f"the decay gives α = {alpha:.3g}, which is no exponent of a ψ: not a power law here"
        )
        return _none(reason, len(s), decades, confidence)
    if half > 0.25:
        return _none(f"α is only known to {half:.2g}", len(s), decades, confidence)

    def constant(a: float) -> float:
        return float(np.exp(-np.mean(y - (1 - 2 * a) * x) / 2) / a)

    ends = sorted(constant(max(a, 1e-9)) for a in (alpha - half, alpha, alpha + half))
    return Estimate(
        "estimated",
        "the slope of log(-L'/L) over log L; an indication, not a bound",
        alpha,
        (alpha - half, alpha + half),
        constant(alpha),
        (ends[0], ends[-1]),
        len(s),
        decades,
        confidence,
    )


def _pairs(a: ArrayLike, b: ArrayLike, *names: str) -> tuple[NDArray[np.float64], ...]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(
            f"{names[0]} has shape {x.shape} and {names[1]} {y.shape}; two equal lists are wanted"
        )
    good = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
    return x[good], y[good]


def _insufficient(points: int, decades: float) -> str | None:
    if points < _LEAST_POINTS:
        return f"{points} usable points; at least {_LEAST_POINTS} are needed"
    if decades < _LEAST_DECADES:
        return f"the losses span {decades:.2g} powers of ten; at least {_LEAST_DECADES:g} is needed"
    return None


def _none(reason: str, points: int, decades: float, confidence: float) -> Estimate:
    return Estimate(
        "insufficient data", reason, None, None, None, None, points, decades, confidence
    )


def _envelope(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """In each of some bins of x, the point that is lowest against the mean slope."""
    slope = np.polyfit(x, y, 1)[0]
    bins = np.minimum(((x - x.min()) / np.ptp(x) * _BLOCKS).astype(int), _BLOCKS - 1)
    chosen = []
    for k in range(_BLOCKS):
        inside = np.flatnonzero(bins == k)
        if len(inside):
            chosen.append(inside[np.argmin((y - slope * x)[inside])])
    return x[chosen], y[chosen]


def _rates(
    t: NDArray[np.float64], log_loss: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """log L in the middle, log of the mean -L'/L, and the decrease, of up to 12 blocks."""
    edges = np.linspace(log_loss[0], log_loss.min(), _BLOCKS + 1)
    falling = np.minimum.accumulate(log_loss)
    knots = np.unique(np.searchsorted(-falling, -edges).clip(0, len(t) - 1))
    x, y, drop = [], [], []
    for a, b in pairwise(knots):
        rate = (log_loss[a] - log_loss[b]) / (t[b] - t[a])
        if rate > 0:
            x.append((log_loss[a] + log_loss[b]) / 2)
            y.append(math.log(rate))
            drop.append(log_loss[a] - log_loss[b])
    return np.array(x), np.array(y), np.array(drop)


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """(slope, its standard error) of the least-squares line."""
    centred = x - x.mean()
    total = float(centred @ centred)
    slope = float(centred @ y) / total
    rest = y - y.mean() - slope * centred
    return slope, math.sqrt(float(rest @ rest) / max(len(x) - 2, 1) / total)


def _quantile(confidence: float, freedom: int) -> float:
    from scipy.stats import t as student

    if not 0 < confidence < 1:
        raise InputError(f"confidence = {confidence} is given; a number between 0 and 1 is wanted")
    return float(student.ppf((1 + confidence) / 2, max(freedom, 1)))
