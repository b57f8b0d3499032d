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


def _sqrt(value: Fraction, side: int) -> Fraction:
    """√value to 100 bits, from below (side 0) or above (side 1)."""
    shift = max(0, 200 - value.numerator.bit_length() + value.denominator.bit_length())
    shift += shift % 2
    root = math.isqrt((value.numerator << shift) // value.denominator)
    return Fraction(root + side, 1 << shift // 2)


def sqrt_up(value: Fraction) -> Fraction:
    """A rational that is at least √value, by at most 100 bits' worth.

    >>> sqrt_down(Fraction(2)) ** 2 < 2 < sqrt_up(Fraction(2)) ** 2
    True
    """
    return _sqrt(value, 1) if value else Fraction(0)


def sqrt_down(value: Fraction) -> Fraction:
    """A rational that is at most √value."""
    return _sqrt(value, 0)
