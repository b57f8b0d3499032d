"""The point of a box whose image is closest to y: a primal-dual path in floats.

min ½‖v‖² over N a + v = y, low ≤ a ≤ high.  At the optimum v = y - N a points away from the image
of the box, ⟨v, N_j⟩ = z⁺_j - z⁻_j with multipliers z ≥ 0 of the two sides.  Each step solves one
system in m unknowns, so that its cost is O(m² k).  What the path yields are candidates: what they
prove is for `reach_proof` to say.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["closest"]

Array = NDArray[np.float64]

_FAR = 1e150
"""Stands for an infinite end: its barrier has no force."""


def closest(
    N: Array, y: Array, low: Array, high: Array, *, steps: int = 60
) -> Iterator[tuple[Array, Array]]:
    """Yield (a, v), low < a < high, towards a closest point; v becomes its residual y - N a.

    The predictor-corrector method of Mehrotra (1992), with v as the multiplier of N a + v = y.
    If y is in the image of the open box, a goes to the analytic centre of {a: N a = y}, and v/‖v‖
    still has a limit.  `low < high` must hold, and each
    column must have an end.

    >>> *_, (a, v) = closest(np.array([[1.0, 1.0]]), np.array([3.0]), np.zeros(2), np.ones(2))
    >>> a.round(6).tolist(), v.round(6).tolist()
    ([1.0, 1.0], [1.0])
    """
    both = np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore"):
        start = np.where(
            both, 0.5 * (low + high), np.where(np.isfinite(low), low + 1.0, high - 1.0)
        )
    ends = np.stack([np.maximum(low, -_FAR), np.minimum(high, _FAR)])
    near = np.isfinite(np.stack([low, high]))
    sign = np.array([[1.0], [-1.0]])
    identity = np.eye(y.size)
    a = start
    v = y - N @ a
    pull = v @ N
    room = sign * (a - ends)
    floor = float(np.abs(pull).mean()) + 1e-300
    force = np.where(near, np.maximum(-sign * pull, 0.0) + floor, floor / room)
    mean = float((room * force).mean())
    small, least = 1e-10 * mean, 1e-20 * mean
    for _ in range(steps):
        yield a, v
        product = room * force
        last, mean = mean, float(product.mean())
        if not mean > least or (mean < small and not mean <= last):  # as far as floats go
            return
        gap_v = y - N @ a - v
        gap_a = force[1] - force[0] - v @ N
        stiff = (force / room).sum(axis=0)
        scaled = N / stiff
        try:
            inverse = np.linalg.inv(scaled @ N.T + identity)
        except np.linalg.LinAlgError:
            return
        aim = -product
        for corrected in (False, True):
            share = aim / room
            g = gap_a - share[0] + share[1]
            dv = inverse @ (gap_v + scaled @ g)
            da = (dv @ N - g) / stiff
            d_room = sign * da
            d_force = share - force * d_room / room
            if not corrected:
                size = _size(room, d_room, force, d_force, 1.0)
                ahead = float(((room + size * d_room) * (force + size * d_force)).mean())
                aim = (ahead / mean) ** 3 * mean - product - d_room * d_force
        size = _size(room, d_room, force, d_force, 0.99)
        moved = a + size * da
        room, force = room + size * d_room, force + size * d_force
        if not (np.isfinite(moved).all() and (room > 0).all() and (force > 0).all()):
            return
        a, v = np.clip(moved, low, high), v + size * dv


def _size(room: Array, d_room: Array, force: Array, d_force: Array, part: float) -> float:
    """Return the step, at most 1, that leaves room and force at least 1 - part of themselves."""
    most = max(float((-d_room / room).max()), float((-d_force / force).max()))
    return 1.0 if most <= part else part / most
