"""Exact rationals to floats, on the safe side."""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = ["down", "sqrt_down", "sqrt_up", "up"]


def up(value: Fraction | int) -> float:
    """The smallest float that is at least `value`.

    >>> up(Fraction(1, 3)) >= Fraction(1, 3) > up(Fraction(1, 3)) - 1e-16
    True
    """
    try:
        near = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.nextafter(math.inf, 0)
    return near if Fraction(near) >= value else math.nextafter(near, math.inf)


def down(value: Fraction | int) -> float:
    """The largest float that is at most `value`."""
    return -up(-value)


def _sqrt(value: Fraction) -> tuple[Fraction, Fraction]:
    """√value between two rationals that agree to 140 bits, equal if it is rational."""
    square = value.numerator * value.denominator
    half = max(0, 150 - square.bit_length() // 2)
    root = math.isqrt(square << 2 * half)
    exact = root * root == square << 2 * half
    below, above = (Fraction(r, value.denominator << half) for r in (root, root + 1))
    return below, below if exact else above


def sqrt_up(value: Fraction) -> Fraction:
    """A rational that is at least √value, and √value itself if that is rational.

    >>> sqrt_down(Fraction(2)) ** 2 < 2 < sqrt_up(Fraction(2)) ** 2
    True
    """
    return _sqrt(value)[1]


def sqrt_down(value: Fraction) -> Fraction:
    """A rational that is at most √value, and √value itself if that is rational.

    >>> sqrt_down(Fraction(1, 400))
    Fraction(1, 20)
    """
    return _sqrt(value)[0]
