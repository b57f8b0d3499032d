"""The closure of φ(ℝ), what a neuron can give; and how far an observation is from what all can."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.activation import Activation, OneBranch
from kltheory.errors import InputError

__all__ = ["image", "separation", "support_gap", "unreachable_distance"]

Array = NDArray[np.float64]

# GELU and SiLU have their minimum where φ' vanishes; the values are rounded away from the image.
_IMAGES = {
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "sin": (-1.0, 1.0),
    "arctan": (-math.pi / 2, math.pi / 2),
    "softplus": (0.0, math.inf),
    "gelu": (-0.16997120747991, math.inf),
    "silu": (-0.27846454276108, math.inf),
}
_EPS = float(np.finfo(np.float64).eps)


def image(activation: Activation) -> tuple[float, float] | None:
    """Return (inf φ, sup φ), rounded outwards; None for a user's φ where nothing is proved.

    >>> from kltheory.activation import get
    >>> image(get("softplus"))
    (0.0, inf)
    """
    proved = activation.monotone
    if activation.built_in or not isinstance(proved, OneBranch):
        return _IMAGES.get(activation.name) if activation.built_in else None
    low, high = -math.inf, math.inf
    if proved.infimum is not None:
        low = math.nextafter(float(min(proved.infimum)), -math.inf)
    if proved.supremum is not None:
        high = math.nextafter(float(max(proved.supremum)), math.inf)
    return low, high


def support_gap(matrix: Array, y: Array, v: Array, low: Array, high: Array) -> float:
    """Return a lower bound on dist(y, {N a : low ≤ a ≤ high}) from a direction v, or 0.

    ⟨v, y - N a⟩ ≥ ⟨v, y⟩ - Σ_j sup c_j a_j with c = Nᵀv, over ‖v‖.  An upper bound on the rounding
    of every sum is taken off; a side that is infinite needs a c_j of the right sign, for certain.
    """
    size = float(np.linalg.norm(v)) * (1.0 + 1e-14 * y.size)
    if not 0.0 < size < math.inf:
        return 0.0
    c = v @ matrix
    slip = 2.0 * (y.size + 4) * _EPS * (np.abs(v) @ np.abs(matrix))
    with np.errstate(invalid="ignore"):
        ends = np.stack([(c - slip) * low, (c - slip) * high, (c + slip) * low, (c + slip) * high])
    support = np.where(np.isnan(ends), 0.0, ends).max(axis=0)
    if not np.isfinite(support).all():
        return 0.0
    terms = float(np.abs(support).sum()) + float(np.abs(v) @ np.abs(y))
    slack = 2.0 * (matrix.shape[1] + y.size + 8) * _EPS * terms
    gap = float(v @ y) - float(support.sum()) - slack
    return gap / size if gap > 0.0 else 0.0


def separation(
    matrix: ArrayLike, y: ArrayLike, low: ArrayLike, high: ArrayLike
) -> tuple[float, Array | None]:
    """Return a proved lower bound on dist(y, {N a : low ≤ a ≤ high}) and the v that proves it.

    The bound is 0, and v None, where nothing is proved.  v is the residual of the nearest point.
    Where a side is infinite, the set is a cone along that column, and v has to be in the dual cone,
    c_j = ⟨N_j, v⟩ ≤ 0: the nearest point has c_j = 0 up to rounding, so that v is moved inwards by
    a d with ⟨N_j, d⟩ ≤ -1, which there is if the cone is pointed (if it is not, then for columns in
    general position it is everything, and there is nothing to prove).

    >>> bound, v = separation(np.eye(2), [-3.0, 4.0], [0.0, 0.0], [np.inf, np.inf])
    >>> round(bound, 9)
    3.0
    """
    from scipy.optimize import lsq_linear, nnls

    matrix, y = np.asarray(matrix, dtype=np.float64), np.asarray(y, dtype=np.float64)
    k = matrix.shape[1] if matrix.ndim == 2 else 0
    if matrix.ndim != 2 or y.shape != matrix.shape[:1]:
        raise InputError(f"N has shape {matrix.shape} and y has shape {y.shape}: they do not fit.")
    low, high = (np.array(np.broadcast_to(side, k), dtype=np.float64) for side in (low, high))
    if not (low <= high).all():
        raise InputError("low, high: each low must be at most its high.")
    downwards = np.isinf(low) & np.isfinite(high)
    sign = np.where(downwards, -1.0, 1.0)
    matrix = matrix * sign
    low, high = np.where(downwards, -high, low), np.where(downwards, np.inf, high)
    if np.isinf(low).any():
        return 0.0, None
    rest = y - matrix @ low
    open_ended = np.isinf(high)
    try:
        if open_ended.all():
            a = nnls(matrix, rest)[0]
        else:
            sides = (np.zeros(k), np.maximum(high - low, 1e-300))
            a = lsq_linear(matrix, rest, bounds=sides, method="bvls", tol=1e-14).x
        v = rest - matrix @ a
        gap = support_gap(matrix, y, v, low, high)
        if gap > 0.0 or not open_ended.any() or not np.linalg.norm(v) > 0.0:
            return gap, (v if gap > 0.0 else None)
        inwards = _inwards(matrix[:, open_ended], nnls)
    except RuntimeError:  # nnls gave up
        return 0.0, None
    if inwards is None:
        return 0.0, None
    size = np.abs(v) @ np.abs(matrix[:, open_ended])
    excess = float(np.max(v @ matrix[:, open_ended] + 4.0 * (y.size + 4) * _EPS * size))
    for factor in (2.0, 16.0, 128.0, 1024.0):
        moved = v + factor * max(excess, 0.0) * inwards
        gap = support_gap(matrix, y, moved, low, high)
        if gap > 0.0:
            return gap, moved
    return 0.0, None


def _inwards(matrix: Array, nnls: Callable[..., Any]) -> Array | None:
    """Return d with ⟨N_j, d⟩ ≤ -1 for all columns, or None if the cone is not pointed.

    The nearest point p to 0 in the convex hull of the columns, scaled to norm 1, has
    ⟨N_j, p⟩ ≥ ‖p‖²; it comes from min ‖N a‖² + (1 - Σ a)² over a ≥ 0, p = N a/Σ a.
    """
    norms = np.sqrt(np.square(matrix).sum(axis=0))
    columns = matrix[:, norms > 0.0] / norms[norms > 0.0]
    if not columns.size:
        return None
    stacked = np.vstack([columns, np.ones(columns.shape[1])])
    a = nnls(stacked, np.append(np.zeros(matrix.shape[0]), 1.0))[0]
    d = -(columns @ a)
    reach = float(np.max(d @ columns))
    if not reach < -1e-10 * float(a.sum()):
        return None
    return np.asarray(d / (-reach * float(norms[norms > 0.0].min())))


def unreachable_distance(
    matrix: ArrayLike, y: ArrayLike, low: ArrayLike, high: ArrayLike, left: Array | None = None
) -> float:
    """Return a proved lower bound on ‖y(θ) - y‖ over all weights of the hidden layer.

    N = A V/√k is fixed and neuron j gives values in [low_j, high_j] only.  `left`, an orthonormal
    basis of Im A, splits off what no signal explains: dist² = dist(y, Im A)² + the rest within.
    """
    matrix, y = np.asarray(matrix, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if left is None or left.shape[1] == left.shape[0]:
        return separation(matrix, y, low, high)[0]
    inside = left.T @ y
    outside = float(np.linalg.norm(y - left @ inside)) - 1e-13 * y.size * float(np.linalg.norm(y))
    within = separation(left.T @ matrix, inside, low, high)[0]
    error = 1e-13 * y.size * (float(np.linalg.norm(y)) + 1.0)
    return math.hypot(max(outside, 0.0), max(within - error, 0.0))
