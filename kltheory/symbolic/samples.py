"""ψ from samples: monotone cubics between them, exact; nothing is claimed below the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import sympy as sp
from sympy import S

from kltheory.errors import InputError, NotDesingularizing
from kltheory.symbolic.desingularizer import Check, Desingularizer, Piece
from kltheory.symbolic.rate import RateLaw
from kltheory.symbolic.regime import Regime

MAX_SAMPLES = 200
"""More samples than that are refused."""


@dataclass(frozen=True, slots=True)
class Cubic:
    """ψ on start <= s <= end: c0 + c1 h + c2 h² + c3 h³, h = s - start, with exact coefficients."""

    start: Fraction
    end: Fraction
    coefficients: tuple[Fraction, Fraction, Fraction, Fraction]

    def value(self, s: Fraction) -> Fraction:
        """ψ(s)."""
        h = s - self.start
        c0, c1, c2, c3 = self.coefficients
        return c0 + h * (c1 + h * (c2 + h * c3))

    def area(self, low: Fraction, high: Fraction) -> Fraction:
        """∫ ψ'² from low to high."""
        _, c1, c2, c3 = self.coefficients
        b, c = 2 * c2, 3 * c3  # ψ' = c1 + b h + c h²
        square = (c1 * c1, 2 * c1 * b, b * b + 2 * c1 * c, 2 * b * c, c * c)

        def primitive(h: Fraction) -> Fraction:
            total = Fraction(0)
            for n in range(4, -1, -1):
                total = total * h + square[n] / (n + 1)
            return total * h

        return primitive(high - self.start) - primitive(low - self.start)


def cubics(points: Sequence[tuple[Fraction, Fraction]]) -> tuple[Cubic, ...]:
    """ψ between samples (s, ψ(s)): cubics with the slopes of Fritsch and Butland (1984).

    It is C¹ and increases, and goes through the samples; a sample (0, 0) says nothing.
    Raises `NotDesingularizing` where the samples do not increase.

    >>> [str(q.coefficients[1]) for q in cubics([(1, 1), (2, 2), (4, 3)])]
    ['7/6', '9/13']
    """
    pairs = sorted((Fraction(s), Fraction(v)) for s, v in points)
    if pairs and pairs[0][0] < 0:
        raise InputError(f"s = {float(pairs[0][0]):g} is given; a loss is not negative")
    if pairs and pairs[0][0] == 0:
        if pairs[0][1] != 0:
            raise NotDesingularizing(f"ψ(0) = {float(pairs[0][1]):g} is given, and it must be 0")
        pairs = pairs[1:]
    if not 2 <= len(pairs) <= MAX_SAMPLES:
        raise InputError(
            f"{len(pairs)} samples with s > 0 are given; 2 to {MAX_SAMPLES} are wanted"
        )
    for (s, v), (s1, v1) in pairwise(pairs):
        if s == s1:
            raise InputError(f"s = {float(s):g} stands there twice; give each s once")
        if not 0 < v < v1:
            raise NotDesingularizing(
                f"ψ({float(s):g}) = {float(v):g} and ψ({float(s1):g}) = {float(v1):g}: ψ must"
                " increase from ψ(0) = 0"
            )
    slopes = _slopes(pairs)
    found = []
    for i, ((a, va), (b, vb)) in enumerate(pairwise(pairs)):
        h, mean = b - a, (vb - va) / (b - a)
        second = (3 * mean - 2 * slopes[i] - slopes[i + 1]) / h
        third = (slopes[i] + slopes[i + 1] - 2 * mean) / h**2
        found.append(Cubic(a, b, (va, slopes[i], second, third)))
    return tuple(found)


def from_samples(points: Sequence[tuple[Fraction, Fraction]], name: str = "") -> Desingularizer:
    """ψ through samples, as far as they go.

    Below the smallest sample it is continued as c s^α, so that it is a desingularizing function; no
    number may be taken from there.

    >>> d = from_samples([(Fraction(1, 4), Fraction(1, 2)), (1, 1), (4, 2)])
    >>> d.radius, [str(q.lower) for q in d.pieces]
    (4, ['0', '1/4', '1'])
    """
    parts = cubics(points)
    s = sp.Symbol("s", positive=True)
    first = parts[0]
    value, slope = first.coefficients[:2]
    alpha = first.start * slope / value
    start = _exact(value) * (s / _exact(first.start)) ** _exact(alpha)
    pieces = [Piece(S.Zero, _exact(first.start), s, start)]
    for q in parts:
        h = s - _exact(q.start)
        c0, c1, c2, c3 = map(_exact, q.coefficients)
        upper = S.Infinity if q is parts[-1] else _exact(q.end)
        pieces.append(Piece(_exact(q.start), upper, s, c0 + h * (c1 + h * (c2 + h * c3))))
    cases = [(q.value, s < q.upper) for q in pieces[:-1]]
    whole = sp.Piecewise(*cases, (pieces[-1].value, S.true), evaluate=False)
    n = len(parts) + 1
    check = Check("ψ' > 0 on ]0, r0[", f"{n} samples increase, and so do the cubics between them")
    warning = (
        f"ψ is known at {n} samples and interpolated between them; below s = {float(first.start):g}"
        " nothing is claimed: no regime and no rate, and the bounds stay at their values there"
    )
    radius = _exact(parts[-1].end)
    source = f"samples: {name}" if name else "samples"
    return Desingularizer(s, s, whole, radius, source, (warning,), (check,), tuple(pieces))


def sampled_law(d: Desingularizer) -> RateLaw:
    """The law of a sampled ψ: numbers only, because samples say nothing about ψ near 0."""
    reason = "samples say nothing about ψ near 0, and the regime depends on it alone"
    regime = Regime("undetermined", "undetermined", reason=reason)
    return RateLaw(d, regime, checks=d.checks)


def _exact(value: Fraction) -> sp.Rational:
    return sp.Rational(value.numerator, value.denominator)


def _slopes(pairs: list[tuple[Fraction, Fraction]]) -> list[Fraction]:
    """Positive slopes with which the cubics increase: weighted harmonic means of the secants."""
    steps = [b[0] - a[0] for a, b in pairwise(pairs)]
    rises = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(pairs)]
    inner = []
    for i in range(1, len(pairs) - 1):
        w1, w2 = 2 * steps[i] + steps[i - 1], steps[i] + 2 * steps[i - 1]
        inner.append((w1 + w2) / (w1 / rises[i - 1] + w2 / rises[i]))
    return [_end(steps, rises), *inner, _end(steps[::-1], rises[::-1])]


def _end(steps: list[Fraction], rises: list[Fraction]) -> Fraction:
    """A slope at an end: three-point formula, kept between half the secant and three times it."""
    if len(steps) == 1:
        return rises[0]
    slope = ((2 * steps[0] + steps[1]) * rises[0] - steps[0] * rises[1]) / (steps[0] + steps[1])
    return min(max(slope, rises[0] / 2), 3 * rises[0])


__all__ = ["MAX_SAMPLES", "Cubic", "cubics", "from_samples", "sampled_law"]
