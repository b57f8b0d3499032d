"""Proofs that y is, or is not, in the image of a box under a matrix.

A = {N a : low ≤ a ≤ high}, with N (m, k).  For every direction v,

    dist(y, A) ≥ (⟨v, y⟩ - Σ_j sup {⟨v, N_j⟩ a : low_j ≤ a ≤ high_j}) / ‖v‖,

so that one v with a positive right side proves y ∉ A; and y ∈ A is proved by a point next to which
N a = y has a solution that stays in the box.  In floats with bounds on all rounding errors, and,
where these are too coarse, in integers: a float is an integer times a power of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoxImage", "exact_gap", "gamma", "solve_exactly"]

Array = NDArray[np.float64]

_UNIT = 2.0**-53


def gamma(count: int) -> float:
    """Return a bound on the relative error of a sum of `count` products in floats.

    nu/(1 - nu) of Higham, Accuracy and Stability of Numerical Algorithms (2002), Lemma 3.1, with
    some room for the handful of operations that are not counted.
    """
    return (count + 8) * _UNIT * 1.01


@dataclass(frozen=True, slots=True, eq=False)
class BoxImage:
    """The set {N a : low ≤ a ≤ high}, and what floats can prove of it."""

    N: Array
    """The matrix, (m, k)."""
    low: Array
    """Lower ends, (k,); -inf: none."""
    high: Array
    """Upper ends, (k,); inf: none."""
    norms: Array
    """Upper bounds on ‖N_j‖, (k,)."""
    errors: Array
    """Upper bounds on ‖N_j - what it stands for‖, (k,); 0: N is exact."""
    end_error: float
    """An upper bound on how far a finite end is from what it stands for."""
    reach: Array
    """max(|low|, |high|) over the finite ends, (k,)."""
    slack: float
    """sup over ‖v‖ = 1 of the error in the support function, as far as finite ends go."""

    @classmethod
    def of(
        cls, N: Array, low: Array, high: Array, matrix_error: Array | float, end_error: float
    ) -> BoxImage:
        """Prepare the bounds; `matrix_error` bounds the entries of |N - what it stands for|."""
        m, k = N.shape
        grow = 1.0 + gamma(m + k)
        norms = np.sqrt(np.einsum("ij,ij->j", N, N)) * grow + 1e-150
        entries = np.broadcast_to(np.asarray(matrix_error, dtype=np.float64), N.shape)
        errors = np.sqrt(np.square(entries).sum(axis=0)) * grow
        finite = np.where(np.isfinite([low, high]), np.abs([low, high]), 0.0)
        reach = finite.max(axis=0) + end_error
        slack = float((reach * (gamma(m + k) * norms + errors) + end_error * norms).sum()) * grow
        return cls(N, low, high, norms, errors, end_error, reach, slack)

    @property
    def bounded(self) -> bool:
        """Whether all ends are finite."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def exact(self) -> bool:
        """Whether N and the ends are the numbers themselves."""
        return self.end_error == 0.0 and not self.errors.any()

    def distance(self, y: Array, v: Array) -> Array:
        """Return lower bounds on dist(y, A) from directions v of shape (..., m); 0: nothing proved.

        All rounding errors are covered.  O(mk) a direction.

        >>> box = BoxImage.of(np.array([[1.0, 1.0]]), np.zeros(2), np.ones(2), 0.0, 0.0)
        >>> box.distance(np.array([3.0]), np.array([[1.0], [-1.0]])).round(6).tolist()
        [1.0, 0.0]
        """
        m, k = self.N.shape
        with np.errstate(invalid="ignore", divide="ignore"):
            v = v / np.abs(v).max(axis=-1, keepdims=True)
            length = np.sqrt(np.square(v).sum(axis=-1))
            c = v @ self.N
            if self.bounded:
                support = np.maximum(c * self.low, c * self.high)
            else:  # towards an infinite end the sign of c must be beyond doubt
                unsure = length[..., None] * (gamma(m) * self.norms + self.errors)
                rises = (c > -unsure) & np.isposinf(self.high)
                falls = (c < unsure) & np.isneginf(self.low)
                end = np.where(c > 0, self.high, self.low)
                held = c * np.where(np.isfinite(end), end, 0.0)
                support = np.where(rises | falls, np.inf, held)
            size = float(np.sqrt(np.square(y).sum()))
            gap = (v @ y) - support.sum(axis=-1)
            gap = gap - length * (self.slack + gamma(m + k) * size) * (1.0 + gamma(8))
            bound = gap / length * (1.0 - gamma(m + 8))
        return np.where((gap > 0.0) & np.isfinite(bound), bound, 0.0)

    def turned(self, v: Array) -> Array:
        """Return a v nearby that points, beyond doubt, away from every infinite end."""
        length = float(np.linalg.norm(v))
        unsure = 8.0 * length * (gamma(self.N.shape[0]) * self.norms + self.errors)
        for _ in range(4):
            c = v @ self.N
            over = np.where(np.isposinf(self.high), np.maximum(c + unsure, 0.0), 0.0)
            under = np.where(np.isneginf(self.low), np.maximum(unsure - c, 0.0), 0.0)
            wrong = np.flatnonzero((over > 0.0) | (under > 0.0))
            if wrong.size == 0:
                break
            change = 2.0 * (under - over)[wrong]
            v = v + np.linalg.lstsq(self.N[:, wrong].T, change)[0]
        return v

    def proves(self, y: Array, a: Array) -> Array | None:
        """Return d with: N b = y for some b with |b - a| ≤ d, b inside the box; None: not proved.

        With weights W and any matrix R, N(a + W Nᵀ R x) = y holds for an x with
        ‖x‖ ≤ ‖y - N a‖/(1 - ε), provided ε ≥ ‖I - N W Nᵀ R‖ is below 1 (Neumann's series).
        "Inside" is: strictly between the ends; a column with low = high stays where it is.
        """
        m, k = self.N.shape
        room = np.minimum(a - self.low, self.high - a) * (1.0 - gamma(2)) - self.end_error
        fixed = self.low == self.high
        room = np.where(fixed, 0.0, np.minimum(room, 1.0 + np.abs(a)))
        if not (room[~fixed] > 0.0).all():
            return None
        weights = np.square(room)
        gram = (self.N * weights) @ self.N.T
        try:
            R = np.linalg.inv(gram)
        except np.linalg.LinAlgError:
            return None
        big = float(np.linalg.norm(R)) * (1.0 + gamma(m * m))
        mass = float(weights @ np.square(self.norms)) * (1.0 + gamma(k))
        doubt = float(weights @ (self.norms * self.errors)) * (1.0 + gamma(k))
        epsilon = float(np.linalg.norm(np.eye(m) - gram @ R)) * (1.0 + gamma(m * m))
        epsilon += (gamma(2 * m + k) * mass + doubt) * big * (1.0 + gamma(8))
        if not epsilon < 0.5:
            return None
        size = np.abs(a)
        residual = float(np.linalg.norm(y - self.N @ a)) * (1.0 + gamma(m))
        residual += float(gamma(k) * (np.abs(y).sum() + size @ self.norms) + size @ self.errors)
        residual += float((self.norms + self.errors)[fixed].sum()) * self.end_error
        radius = weights * self.norms * (big * residual / (1.0 - epsilon) * (1.0 + gamma(k + m)))
        return radius if (radius[~fixed] < room[~fixed]).all() else None


# -- in integers ---------------------------------------------------------------------------------


def _integers(x: Array) -> tuple[Any, int]:
    """Return integers X (an object array) and e with x = X 2^e exactly."""
    mantissa, exponent = np.frexp(x)
    whole = np.ldexp(mantissa, 53).astype(np.int64).astype(object)
    shift = np.where(mantissa == 0.0, np.iinfo(np.int64).max, exponent.astype(np.int64) - 53)
    least = int(shift.min(initial=np.iinfo(np.int64).max))
    if least == np.iinfo(np.int64).max:
        return whole, 0
    shift = np.where(mantissa == 0.0, 0, shift - least)
    return whole * (np.array(2, dtype=object) ** shift.astype(object)), least


def _power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def exact_gap(
    N: Array, y: Array, low: Array, high: Array, v: Array | list[Fraction]
) -> Fraction | None:
    """Return ⟨v, y⟩ - Σ_j sup {⟨v, N_j⟩ a : low_j ≤ a ≤ high_j} exactly; None: the sup is infinite.

    >>> exact_gap(np.array([[0.1, 0.2]]), np.array([0.3]), np.zeros(2), np.ones(2), np.ones(1))
    Fraction(-1, 36028797018963968)
    """
    if isinstance(v, list):
        common = math.lcm(*(f.denominator for f in v))
        V, ev, scale = np.array([int(f * common) for f in v], dtype=object), 0, Fraction(1, common)
    else:
        (V, ev), scale = _integers(v), Fraction(1)
    (M, em), (Y, ey) = _integers(N), _integers(y)
    c = V @ M
    up, down = c > 0, c < 0
    if np.isposinf(high[up]).any() or np.isneginf(low[down]).any():
        return None
    (H, eh), (L, el) = _integers(high[up]), _integers(low[down])
    support = int(c[up] @ H) * _power(eh) + int(c[down] @ L) * _power(el)
    return scale * _power(ev) * (int(V @ Y) * _power(ey) - support * _power(em))


def solve_exactly(A: Array, b: list[Fraction]) -> list[Fraction] | None:
    """Return the solution of A x = b (A square) in rationals; None if A is singular.

    Bareiss' elimination (1968): all intermediate results are integers.

    >>> solve_exactly(np.array([[2.0, 1.0], [1.0, 1.0]]), [Fraction(1), Fraction(1)])
    [Fraction(0, 1), Fraction(1, 1)]
    """
    rows, exponent = _integers(A)
    common = math.lcm(*(value.denominator for value in b))
    right = np.array([int(value * common) for value in b], dtype=object)
    T = np.concatenate([rows, right[:, None]], axis=1)
    n, last = len(b), 1
    for i in range(n):
        pivot = next((j for j in range(i, n) if T[j, i] != 0), None)
        if pivot is None:
            return None
        T[[i, pivot]] = T[[pivot, i]]
        below = T[i + 1 :]
        T[i + 1 :] = (T[i, i] * below - below[:, i : i + 1] * T[i]) // last
        last = T[i, i]
    x: list[Fraction] = [Fraction(0)] * n
    for i in reversed(range(n)):
        rest = T[i, n] - sum(T[i, j] * x[j] for j in range(i + 1, n))
        x[i] = Fraction(rest) / T[i, i]
    return [value / (common * _power(exponent)) for value in x]
