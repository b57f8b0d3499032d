"""The border of the image of a box, in rational arithmetic.

Near a face of {N a : low ≤ a ≤ high} the closest point has its columns at an end of the box, but
for a few; the face's normal v is orthogonal to those few, and ⟨v, y⟩ against sup ⟨v, N a⟩ tells on
which side of it y lies.  With the few columns guessed from floats, all the rest is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from kltheory.numeric.reach_proof import BoxImage, exact_gap, solve_exactly
from kltheory.numeric.rounding import down, sqrt_up

__all__ = ["Border", "decide"]

Array = NDArray[np.float64]

_MOST_ROWS = 50
_MOST_ENTRIES = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Border:
    """What rational arithmetic says."""

    attainable: bool | None
    """Whether y = N a for some a in the closed box."""
    interior: bool | None
    """Whether y = N a for some a in the open box."""
    margin: float
    """With interior=True: what is left between such an a and the ends; with attainable=False: the
    distance of y from the image; both rounded down."""
    witness: Array | None
    """That a, rounded."""
    normal: Array | None
    """With interior=False: v with ⟨v, y⟩ ≥ sup ⟨v, N a⟩, rounded, ‖v‖ = 1."""
    rational: tuple[Fraction, ...] | None
    """That v, as it is, of some length."""


def decide(image: BoxImage, y: Array, a: Array, v: Array) -> Border:
    """Decide from a point a near the closest one, and a direction v near the normal there.

    N stands for itself here; the ends may be off by `image.end_error`.

    >>> box = BoxImage.of(np.array([[1.0, 1.0]]), np.zeros(2), np.ones(2), 0.0, 0.0)
    >>> found = decide(box, np.array([2.0]), np.ones(2), np.ones(1))
    >>> found.attainable, found.interior
    (True, False)
    """
    m, k = image.N.shape
    if image.errors.any() or m > _MOST_ROWS or m * k > _MOST_ENTRIES:
        return Border(None, None, 0.0, None, None, None)
    with np.errstate(all="ignore"):
        return _decide(image, y, a, v)


def _decide(image: BoxImage, y: Array, a: Array, v: Array) -> Border:
    inside = _inside(image, y, a)
    if inside is not None:
        return inside
    on_face = Border(None, None, 0.0, None, None, None)
    for between, few in _guesses(image, a):
        normal = _normal(image.N[:, few], v)
        if normal is None or not any(normal):
            continue
        gap = exact_gap(image.N, y, image.low, image.high, normal)
        if gap is None:
            continue
        if gap < 0:
            inside = _inside(image, y, _inwards(image, a, few, normal, -gap))
            if inside is not None:
                return inside
            continue
        length = sqrt_up(sum((f * f for f in normal), start=Fraction(0)))
        rounded = np.array([float(f / length) for f in normal])
        if gap > 0:
            gap -= _doubt(image, normal)
            if gap > 0:
                return Border(False, False, down(gap / length), None, rounded, tuple(normal))
            continue
        if image.end_error or not _moves(image, normal):
            continue  # v is orthogonal to all: y may still be inside
        point = _on_face(image, y, a, between, few)
        on_face = Border(None if point is None else True, False, 0.0, point, rounded, tuple(normal))
        if point is not None:
            return on_face
    return on_face


def _guesses(image: BoxImage, a: Array) -> list[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Return candidates for the columns not at an end, and independent ones among them.

    Fewer than there are rows can be independent, or there would be no normal.
    """
    room = np.minimum(a - image.low, image.high - a) / np.maximum(1.0, np.abs(a))
    room = np.where(image.low == image.high, 0.0, room)
    found: list[tuple[NDArray[np.bool_], NDArray[np.intp]]] = []
    for least in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-9, 0.0):
        between = room > least
        columns = np.flatnonzero(between)
        few = columns[_pivots(image.N[:, columns])] if columns.size else columns
        new = not any(np.array_equal(between, old) for old, _ in found)
        if new and few.size < image.N.shape[0]:
            found.append((between, few))
    return found


def _pivots(M: Array, least: float = 1e-12) -> NDArray[np.intp]:
    """Return independent columns of M, as many as there are, best first; what is below `least`
    times the largest is taken as dependent."""
    from scipy.linalg import qr

    R, order = qr(M, mode="r", pivoting=True)
    size = np.abs(np.diag(R))
    return np.asarray(order[: int((size > least * size[0]).sum())], dtype=np.intp)


def _normal(few: Array, v: Array) -> list[Fraction] | None:
    """Return a vector orthogonal to the columns `few`, (m, q), close to v; None: they depend."""
    m, q = few.shape
    v = v / np.abs(v).max()
    normal = [Fraction(float(x)) for x in v]
    if q == 0:
        return normal
    rows = _pivots(few.T)
    if rows.size < q:
        return None
    others = np.setdiff1d(np.arange(m), rows)
    free = v[others]
    right = [-_product(few[others, j], [Fraction(float(x)) for x in free]) for j in range(q)]
    solved = solve_exactly(few[rows].T, right)
    if solved is None:
        return None
    for i, x in zip(others, free, strict=True):
        normal[i] = Fraction(float(x))
    for i, value in zip(rows, solved, strict=True):
        normal[i] = value
    return normal


def _product(row: Array, values: list[Fraction]) -> Fraction:
    pairs = zip(row, values, strict=True)
    return sum((Fraction(float(c)) * x for c, x in pairs), start=Fraction(0))


def _moves(image: BoxImage, normal: list[Fraction]) -> bool:
    """Return whether ⟨v, N a⟩ is not constant on the box."""
    return any(_product(image.N[:, j], normal) != 0 for j in np.flatnonzero(image.low < image.high))


def _doubt(image: BoxImage, normal: list[Fraction]) -> Fraction:
    """Return what the ends may be off by, in ⟨v, N a⟩."""
    if image.end_error == 0.0:
        return Fraction(0)
    size = sum((abs(_product(column, normal)) for column in image.N.T), start=Fraction(0))
    return Fraction(image.end_error) * size


def _rest(image: BoxImage, y: Array, a: Array, basis: NDArray[np.intp]) -> list[Fraction]:
    """Return y - N a over the columns that are not in the basis."""
    others = np.setdiff1d(np.arange(a.size), basis)
    others = others[a[others] != 0.0]
    values = [Fraction(float(x)) for x in a[others]]
    rows = zip(y, image.N[:, others], strict=True)
    return [Fraction(float(target)) - _product(row, values) for target, row in rows]


def _inside(image: BoxImage, y: Array, a: Array) -> Border | None:
    """Solve N a = y exactly in m columns, the others left as they are; all must be inside."""
    m = image.N.shape[0]
    free = image.low < image.high
    room = np.where(free, np.minimum(a - image.low, image.high - a), 0.0)
    if not (room[free] > 0.0).all() or (image.end_error and not free.all()):
        return None
    basis = _pivots(image.N * np.minimum(room, 1.0), 0.0)  # room may be tiny
    if basis.size < m:
        return None
    solved = solve_exactly(image.N[:, basis], _rest(image, y, a, basis))
    if solved is None:
        return None
    margin = down(_least_room(image, basis, solved))
    others = np.setdiff1d(np.flatnonzero(free), basis)
    margin = min(margin, float(room[others].min(initial=np.inf)) * (1.0 - 1e-15))
    margin -= image.end_error
    if not margin > 0.0:
        return None
    point = a.copy()
    point[basis] = [float(x) for x in solved]
    return Border(True, True, margin, point, None, None)


def _inwards(
    image: BoxImage, a: Array, few: NDArray[np.intp], normal: list[Fraction], gap: Fraction
) -> Array:
    """Return a point whose columns at an end are moved inwards, all alike, until the gap closes."""
    v = np.array([float(f) for f in normal])
    pull = v @ image.N
    pull[few] = 0.0
    pull[image.low == image.high] = 0.0
    total = float(np.abs(pull).sum())
    move = float(gap) / total if total > 0.0 else 0.0
    point = np.where(pull > 0.0, image.high - move, np.where(pull < 0.0, image.low + move, a))
    return np.asarray(point)


def _least_room(image: BoxImage, basis: NDArray[np.intp], values: list[Fraction]) -> Fraction:
    room = Fraction(1)
    for j, value in zip(basis, values, strict=True):
        for end, sign in ((image.low[j], 1), (image.high[j], -1)):
            if np.isfinite(end):
                room = min(room, sign * (value - Fraction(float(end))))
    return room


def _on_face(
    image: BoxImage, y: Array, a: Array, between: NDArray[np.bool_], few: NDArray[np.intp]
) -> Array | None:
    """Return a point of the closed box with N a = y, all columns but those between at an end."""
    nearer = np.where(a - image.low <= image.high - a, image.low, image.high)
    point = np.where(between, a, nearer)
    if not np.isfinite(point).all():
        return None
    rest = _rest(image, y, point, few)
    solved: list[Fraction] | None = []
    if few.size:
        rows = _pivots(image.N[:, few].T)
        solved = solve_exactly(image.N[np.ix_(rows, few)], [rest[i] for i in rows])
    if solved is None:
        return None
    for row, target in zip(image.N[:, few], rest, strict=True):
        if _product(row, solved) != target:
            return None
    if few.size and _least_room(image, few, solved) < 0:
        return None
    point[few] = [float(x) for x in solved]
    return point
