"""How large v can be where the Poisson loss is small: the v_max of its ψ."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from kltheory.errors import InputError

__all__ = ["poisson_v_max"]


def poisson_v_max(y: ArrayLike, r0: float) -> float:
    """The largest v_i on [L < r0], L = Σ v_i - y_i + y_i log(y_i/v_i); ψ(s) = 2√(v_max s) there.

    v_i = y_i t with t - 1 - log t = r0/y_i, t > 1, that is t = -W₋₁(-e^{-1-r0/y_i}); v_i = r0 where
    y_i = 0.  Newton's iteration for t - 1 from √(2a) + a, a = r0/y_i, stays above the root because
    the function is convex.

    >>> round(poisson_v_max([1.0, 2.0], r0=0.5), 6)  # t - 1 - log t = 1/4
    3.76543
    """
    counts = np.atleast_1d(np.asarray(y, dtype=np.float64))
    if not (np.all(np.isfinite(counts)) and np.all(counts >= 0) and counts.size):
        raise InputError("y holds counts: finite numbers >= 0")
    if not (np.isfinite(r0) and r0 > 0):
        raise InputError(f"r0 = {r0} is given; a positive number is wanted")
    seen = counts[counts > 0]
    largest = r0 if seen.size < counts.size else 0.0
    if seen.size:
        a = r0 / seen
        u = np.sqrt(2 * a) + a  # t - 1
        for _ in range(60):
            u = u - (u - np.log1p(u) - a) * (1 + u) / u
        largest = max(largest, float(np.max(seen * (1 + u))))
    return largest * (1 + 1e-9)
