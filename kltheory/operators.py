"""Linear operators as they come: arrays, sparse matrices, LinearOperators; their spectra and tests.

>>> import numpy as np
>>> spectrum(np.diag([3.0, 2.0, 0.0])).values.tolist()
[3.0, 2.0]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.errors import InputError, LimitReached

__all__ = [
    "GRAM_SIDE",
    "OperatorTest",
    "Spectrum",
    "adjoint_columns",
    "adjoint_test",
    "columns",
    "is_product_operator",
    "is_sparse",
    "jacobian_test",
    "real_operator",
    "real_vector",
    "spectrum",
]

Array = NDArray[np.float64]

_DENSE_ENTRIES = 2_000_000
"""Up to this many entries an operator that is given by products is written out for its SVD."""
GRAM_SIDE = 2_000
"""Up to this many rows (or columns) the Gram matrix of an operator is formed exactly."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The singular values of a linear operator A, with what goes with them."""

    values: Array
    """The non-zero singular values, decreasing (with method "lanczos": the largest and the
    smallest only)."""
    left: Array | None
    """U (m, r): orthonormal basis of Im A; None with method "lanczos"."""
    right: Array | None
    """Q (r, n) with A = U diag(values) Q; None where it is not held, see `Problem.row_space`."""
    method: str
    """"svd" (accurate to rounding), "gram" (small values to √rounding), or "lanczos" (found from
    one drawn vector: the smallest value is proved from above only)."""
    zero: float = 0.0
    """Singular values up to this were taken for 0, which some of them may not be; 0: none were."""


@dataclass(frozen=True, slots=True)
class OperatorTest:
    """The outcome of an adjoint or Jacobian test; true if it was passed."""

    passed: bool
    """Whether error ≤ tolerance."""
    error: float
    """The relative error that was seen."""
    tolerance: float
    """What was allowed."""
    message: str
    """The outcome in a sentence."""

    def __bool__(self) -> bool:
        """Return whether the test was passed."""
        return self.passed


def is_product_operator(a: Any) -> bool:
    """Return whether a is given by its products, like SciPy's and PyLops' LinearOperator."""
    return hasattr(a, "matvec") and hasattr(a, "rmatvec") and hasattr(a, "shape")


def is_sparse(a: Any) -> bool:
    """Return whether a is a SciPy sparse matrix or array."""
    return hasattr(a, "tocsr") and hasattr(a, "shape")


def _require_size(entries: Array, name: str, least: float = 0.0) -> None:
    """Refuse what is so large or so small that squares overflow or vanish."""
    largest = float(np.abs(entries).max(initial=0.0))
    if largest > 1e100 or 0.0 < largest < least:
        raise InputError(
            f"{name}: the largest entry is {largest:.3g}; choose units in which it is near 1."
        )


def real_vector(value: ArrayLike, name: str) -> Array:
    """Return value as a finite, read-only vector of floats; `name` says what it is."""
    try:
        array = np.asarray(value)
        if np.iscomplexobj(array):
            raise InputError(f"{name} is complex; split it into real and imaginary parts.")
        array = np.array(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} is not an array of numbers: {error}.") from None
    if array.ndim != 1:
        raise InputError(f"{name} has shape {array.shape}; it must be a vector.")
    if array.size == 0:
        raise InputError(f"{name} is empty.")
    if not np.isfinite(array).all():
        where = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InputError(f"{name} is not finite: entry {where} is {array[where]}.")
    _require_size(array, name)
    array.flags.writeable = False
    return array


def real_operator(a: Any, name: str = "the operator") -> Any:
    """Return a as a read-only float array, a CSR matrix, or the product operator itself."""
    if is_product_operator(a):
        if np.issubdtype(getattr(a, "dtype", None) or np.float64, np.complexfloating):
            raise InputError(f"{name} is complex; split it into real and imaginary parts.")
        return a
    if is_sparse(a):
        if np.issubdtype(a.dtype, np.complexfloating):
            raise InputError(f"{name} is complex; split it into real and imaginary parts.")
        a = a.tocsr().astype(np.float64)
        if not np.isfinite(a.data).all():
            raise InputError(f"{name} has an entry that is not finite.")
        _require_size(a.data, name, least=1e-100)
        return a
    try:
        array = np.asarray(a)
        if np.iscomplexobj(array):
            raise InputError(f"{name} is complex; split it into real and imaginary parts.")
        array = np.array(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name} is neither a matrix, a sparse matrix, a LinearOperator nor a callable."
        ) from None
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{name} has shape {array.shape}; it must be a matrix (m, n).")
    if not np.isfinite(array).all():
        i, j = (int(index) for index in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{name} is not finite: entry ({i}, {j}) is {array[i, j]}.")
    _require_size(array, name, least=1e-100)
    array.flags.writeable = False
    return array


def columns(a: Any, block: Array) -> Array:
    """Return a @ block for a block of columns."""
    if is_product_operator(a):
        if hasattr(a, "matmat"):
            return np.asarray(a.matmat(block), dtype=np.float64)
        return np.stack([np.asarray(a.matvec(column)).ravel() for column in block.T], axis=1)
    return np.asarray(a @ block)


def adjoint_columns(a: Any, block: Array) -> Array:
    """Return aᵀ @ block for a block of columns."""
    if is_product_operator(a):
        if hasattr(a, "rmatmat"):
            return np.asarray(a.rmatmat(block), dtype=np.float64)
        return np.stack([np.asarray(a.rmatvec(column)).ravel() for column in block.T], axis=1)
    return np.asarray(a.T @ block)


def spectrum(a: Any) -> Spectrum:
    """Return the non-zero singular values of a; a large a is used through its products only."""
    m, n = (int(side) for side in a.shape)
    if isinstance(a, np.ndarray) or m * n <= _DENSE_ENTRIES:
        dense = a if isinstance(a, np.ndarray) else columns(a, np.eye(n))
        left, values, right = np.linalg.svd(np.asarray(dense), full_matrices=False)
        least = float(max(m, n) * np.finfo(float).eps * values[0])
        rank = int((values > least).sum())
        _require_rank(rank)
        zero = least if rank < values.size else 0.0
        return Spectrum(values[:rank], left[:, :rank], right[:rank], "svd", zero)
    if min(m, n) <= GRAM_SIDE:
        return _gram_spectrum(a, m, n)
    return _lanczos_spectrum(a, m, n)


def _require_rank(rank: int) -> None:
    if rank == 0:
        raise InputError("the operator is zero: it observes nothing.")


def _gram_spectrum(a: Any, m: int, n: int) -> Spectrum:
    wide = m <= n
    side = min(m, n)
    gram = np.empty((side, side))
    for start in range(0, side, 64):
        unit = np.zeros((side, min(64, side - start)))
        unit[np.arange(start, start + unit.shape[1]), np.arange(unit.shape[1])] = 1.0
        inner = adjoint_columns(a, unit) if wide else columns(a, unit)
        gram[:, start : start + unit.shape[1]] = (
            columns(a, inner) if wide else adjoint_columns(a, inner)
        )
    squares, vectors = np.linalg.eigh((gram + gram.T) / 2)
    squares, vectors = squares[::-1], vectors[:, ::-1]
    least = float(side * np.finfo(float).eps * 4 * squares[0])
    rank = int((squares > least).sum())
    _require_rank(rank)
    zero = float(np.sqrt(least)) if rank < side else 0.0
    values = np.sqrt(squares[:rank])
    vectors = vectors[:, :rank]
    if wide:
        return Spectrum(values, vectors, None, "gram", zero)
    return Spectrum(values, columns(a, vectors) / values, vectors.T, "gram", zero)


def _lanczos_spectrum(a: Any, m: int, n: int) -> Spectrum:
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    side = min(m, n)

    def product(w: Array) -> Array:
        column = np.asarray(w, dtype=np.float64).reshape(-1, 1)
        first, then = (adjoint_columns, columns) if m <= n else (columns, adjoint_columns)
        return np.asarray(then(a, first(a, column))).ravel()

    gram = LinearOperator((side, side), matvec=product, dtype=np.float64)
    # A smallest singular vector that is orthogonal to the start is not seen at all, and those of
    # real operators are often orthogonal to simple vectors; to a drawn one none is.
    start = np.random.default_rng(20_230_414).standard_normal(side)
    try:
        largest = float(eigsh(gram, k=1, which="LA", v0=start, return_eigenvectors=False)[0])
        _require_rank(int(largest > 0))
        # The smallest one is looked for at the top of shift - A Aᵀ: a start vector that is mapped
        # into the range first would lose the null space of A Aᵀ itself.
        shift = 1.1 * largest
        flipped = LinearOperator(
            (side, side), matvec=lambda w: shift * np.ravel(w) - product(w), dtype=np.float64
        )
        top = eigsh(
            flipped,
            k=1,
            which="LA",
            v0=start,
            ncv=min(side, 80),
            tol=1e-10,
            return_eigenvectors=False,
        )
        smallest = shift - float(top[0])
    except ArpackError as error:
        raise LimitReached(
            f"the extreme singular values of an operator of shape ({m}, {n}) did not converge "
            f"({error}); work with a preconditioned or smaller operator."
        ) from None
    if not (smallest > 1e-12 * largest):
        raise LimitReached(
            f"an operator of shape ({m}, {n}) is rank deficient to rounding (κ > 1e6), and too "
            f"large for its smallest non-zero singular value (limit: {GRAM_SIDE} rows or columns)."
        )
    return Spectrum(np.sqrt([largest, smallest]), None, None, "lanczos")


def adjoint_test(
    operator: Any, *, trials: int = 5, tolerance: float = 1e-10, seed: int = 0
) -> OperatorTest:
    """Test that the transpose of an operator is its transpose: ⟨A x, w⟩ = ⟨x, Aᵀ w⟩.

    `operator` is an array, a sparse matrix or a LinearOperator (for a Problem: its operator).

    >>> bool(adjoint_test(np.ones((2, 3))))
    True
    """
    a = real_operator(operator)
    m, n = (int(side) for side in a.shape)
    rng = np.random.default_rng(seed)
    error = 0.0
    for _ in range(trials):
        x, w = rng.standard_normal((n, 1)), rng.standard_normal((m, 1))
        ax, aw = columns(a, x), adjoint_columns(a, w)
        if ax.shape != (m, 1) or aw.shape != (n, 1):
            raise InputError(
                f"an operator of shape ({m}, {n}) gave products of shapes {ax.shape[:1]} and "
                f"{aw.shape[:1]}; they must be ({m},) and ({n},)."
            )
        scale = float(
            np.linalg.norm(ax) * np.linalg.norm(w) + np.linalg.norm(x) * np.linalg.norm(aw)
        )
        gap = abs(float(np.vdot(ax, w)) - float(np.vdot(x, aw)))
        relative = gap / scale if scale > 0 else gap
        error = max(error, relative) if np.isfinite(relative) else float("inf")
    return _outcome("adjoint", error, tolerance)


def jacobian_test(
    function: Callable[[Array], ArrayLike],
    jacobian: Callable[[Array], Any],
    x: ArrayLike,
    *,
    trials: int = 5,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> OperatorTest:
    """Test a Jacobian against central differences, (F(x + hv) - F(x - hv))/2h → J(x) v.

    The smallest error over steps h from 1e-1 to 1e-8 counts, relative to ‖J v‖; the
    Jacobian may be an array, a sparse matrix or a LinearOperator.

    >>> bool(jacobian_test(lambda x: x**2, lambda x: np.diag(2 * x), [1.0, 2.0]))
    True
    >>> bool(jacobian_test(lambda x: x**2, lambda x: np.diag(x), [1.0, 2.0]))
    False
    """
    x = np.asarray(x, dtype=np.float64)
    rng = np.random.default_rng(seed)
    matrix = real_operator(jacobian(x), "the Jacobian")
    value = np.asarray(function(x), dtype=np.float64)
    if tuple(matrix.shape) != (value.size, x.size):
        raise InputError(
            f"the Jacobian has shape {tuple(matrix.shape)}; from x of shape {x.shape} to F(x) of "
            f"shape {value.shape} it must be ({value.size}, {x.size})."
        )
    size = max(1.0, float(np.linalg.norm(x)))
    error = 0.0
    for _ in range(trials):
        v = rng.standard_normal(x.size)
        v /= np.linalg.norm(v)
        exact = columns(matrix, v[:, None]).ravel()
        best = float("inf")
        for h in size * 10.0 ** -np.arange(1, 9):
            ahead, behind = np.asarray(function(x + h * v)), np.asarray(function(x - h * v))
            gap = float(np.linalg.norm((ahead - behind) / (2 * h) - exact))
            if np.isfinite(gap):
                best = min(best, gap)
        scale = max(float(np.linalg.norm(exact)), 1e-8 * float(np.linalg.norm(value)), 1e-300)
        error = max(error, best / scale)
    return _outcome("Jacobian", error, tolerance)


def _outcome(name: str, error: float, tolerance: float) -> OperatorTest:
    passed = error <= tolerance
    verb = "passed" if passed else "failed"
    message = f"{name} test {verb}: relative error {error:.1e}, allowed {tolerance:.1e}."
    return OperatorTest(passed, error, tolerance, message)
