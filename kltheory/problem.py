"""The inverse problem: find x from y = F(x) + ε.

>>> import numpy as np
>>> problem = Problem(np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), [1.0, 3.0])
>>> problem.shape, problem.rank, problem.sigma_F, problem.norm_F
((2, 3), 2, 1.0, 2.0)
>>> float(problem.loss_value(problem.forward(np.zeros(3))))
5.0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.errors import InputError, LimitReached
from kltheory.loss_functions import get as get_loss
from kltheory.operators import (
    GRAM_SIDE,
    OperatorTest,
    Spectrum,
    adjoint_columns,
    adjoint_test,
    columns,
    is_product_operator,
    is_sparse,
    jacobian_test,
    real_operator,
    real_vector,
    spectrum,
)

__all__ = [
    "OperatorTest",
    "Problem",
    "Spectrum",
    "adjoint_test",
    "jacobian_test",
    "phase_retrieval",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Find x from the observation y = F(x) + ε, by a loss on F(x) - y.

    The operator F is a matrix (m, n): an array, a SciPy sparse matrix or a LinearOperator (PyLops
    operators are ones) - or any callable x ↦ F(x) on vectors, together with its Jacobian.
    """

    operator: Any
    """F."""
    observation: Array
    """y, shape (m,)."""
    loss: Any = "mse"
    """The loss: a name, or one of `kltheory.loss_functions`."""
    jacobian: Callable[[Array], Any] | None = None
    """For a callable F: x ↦ J_F(x), a matrix (m, n) of any of the kinds above."""
    signal: Array | None = None
    """The true signal x̄, where it is known."""
    noise: Any = None
    """The noise ε as a vector, or its norm ‖ε‖, where it is known."""
    lower_bound: float | None = None
    """For a callable F: the user's σ_F > 0 on the signals that are visited."""
    loss_parameters: Mapping[str, float] | None = None
    """The parameters of a loss that is given by name, such as {"p": 0.2}; part of `loss` then."""
    _cache: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check shapes and values, and make the arrays read-only."""
        put = object.__setattr__
        put(self, "observation", real_vector(self.observation, "the observation y"))
        put(self, "loss", get_loss(self.loss, **(self.loss_parameters or {})))
        put(self, "loss_parameters", None)
        m = self.observation.size
        self.loss.require_size(m)
        self.loss.require_observation(self.observation)
        if callable(self.operator) and not is_product_operator(self.operator):
            if not callable(self.jacobian):
                raise InputError(
                    "the operator is a callable: give its Jacobian too, jacobian=x -> (m, n)."
                )
        else:
            if self.jacobian is not None:
                raise InputError("jacobian= goes with a callable operator; a matrix is its own.")
            put(self, "operator", real_operator(self.operator))
            shape = tuple(int(side) for side in self.operator.shape)
            if len(shape) != 2 or 0 in shape:
                raise InputError(f"the operator has shape {shape}; it must be a matrix (m, n).")
            if shape[0] != m:
                raise InputError(
                    f"the operator has shape {shape} and y has shape ({m},): "
                    f"y must have {shape[0]} entries."
                )
        if self.signal is not None:
            put(self, "signal", real_vector(self.signal, "the signal"))
            if self.n is not None and self.signal.size != self.n:
                raise InputError(
                    f"the operator has shape {self.shape} and the signal has shape "
                    f"({self.signal.size},): the signal must have {self.n} entries."
                )
        if self.noise is not None:
            if np.ndim(self.noise) == 0:
                level = float(self.noise)
                if not (np.isfinite(level) and level >= 0):
                    raise InputError(f"noise: got {level}; the norm ‖ε‖ must be a number >= 0.")
                put(self, "noise", level)
            else:
                put(self, "noise", real_vector(self.noise, "the noise"))
                if self.noise.size != m:
                    raise InputError(
                        f"the noise has shape ({self.noise.size},) and y has shape ({m},): "
                        "they must agree."
                    )
        if self.lower_bound is not None and not (
            np.isfinite(self.lower_bound) and self.lower_bound > 0
        ):
            raise InputError(f"lower_bound: got {self.lower_bound}; σ_F must be positive.")

    # -- shapes ------------------------------------------------------------------------------

    @property
    def linear(self) -> bool:
        """Whether F is a matrix."""
        return self.jacobian is None

    @property
    def m(self) -> int:
        """The number of observations."""
        return self.observation.size

    @property
    def n(self) -> int | None:
        """The number of unknowns; None for a callable, which does not tell it."""
        if self.linear:
            return int(self.operator.shape[1])
        return None if self.signal is None else self.signal.size

    @property
    def shape(self) -> tuple[int, int | None]:
        """(m, n)."""
        return (self.m, self.n)

    @property
    def noise_norm(self) -> float | None:
        """‖ε‖, where it is known."""
        return None if self.noise is None else float(np.linalg.norm(self.noise))

    def require_size(self, n: int) -> None:
        """Refuse a signal size that the operator does not take."""
        if self.n is not None and self.n != n:
            raise InputError(
                f"the operator has shape {self.shape} and the network gives a signal of shape "
                f"({n},): draw the network with n={self.n}."
            )

    # -- F and its derivative ----------------------------------------------------------------

    def forward(self, x: ArrayLike) -> Array:
        """Return F(x), shape (..., m), for x of shape (..., n); a callable takes one vector."""
        x = np.asarray(x, dtype=np.float64)
        if self.linear:
            if x.shape[-1:] != (self.operator.shape[1],):
                raise InputError(
                    f"the operator has shape {self.shape} and x has shape {x.shape}: "
                    f"the last axis of x must have {self.n} entries."
                )
            return self._apply(x)
        value = np.asarray(self.operator(x), dtype=np.float64)
        if value.shape != (self.m,):
            raise InputError(
                f"F(x) has shape {value.shape} and y has shape ({self.m},): they must agree."
            )
        return value

    def _apply(self, x: Array) -> Array:
        if isinstance(self.operator, np.ndarray):
            return np.asarray(x @ self.operator.T)
        flat = x.reshape(-1, x.shape[-1])
        return np.asarray(columns(self.operator, flat.T).T).reshape(*x.shape[:-1], self.m)

    def jacobian_at(self, x: ArrayLike) -> Any:
        """Return J_F(x): the matrix itself if F is linear."""
        if self.jacobian is None:
            return self.operator
        x = np.asarray(x, dtype=np.float64)
        matrix = self.jacobian(x)
        if not is_product_operator(matrix) and not is_sparse(matrix):
            matrix = np.asarray(matrix, dtype=np.float64)
        if tuple(matrix.shape) != (self.m, x.size):
            raise InputError(
                f"the Jacobian has shape {tuple(matrix.shape)}; with y of shape ({self.m},) and "
                f"x of shape ({x.size},) it must be ({self.m}, {x.size})."
            )
        return matrix

    def pull_back(self, x: ArrayLike, w: ArrayLike) -> Array:
        """Return J_F(x)ᵀ w, shape (n,)."""
        matrix, w = self.jacobian_at(x), np.asarray(w, dtype=np.float64)
        return np.asarray(matrix.rmatvec(w) if is_product_operator(matrix) else matrix.T @ w)

    def times(self, block: Array) -> Array:
        """Return A @ block for a linear F and a block of columns (n, c)."""
        self._require_linear("a product with a block")
        return columns(self.operator, block)

    def transpose_times(self, block: Array) -> Array:
        """Return Aᵀ @ block for a linear F and a block of columns (m, c)."""
        self._require_linear("a product with a block")
        return adjoint_columns(self.operator, block)

    def _require_linear(self, what: str) -> None:
        if not self.linear:
            raise InputError(f"{what} needs a linear operator; F is a callable here.")

    # -- loss --------------------------------------------------------------------------------

    def loss_value(self, v: ArrayLike) -> Array:
        """Return L_y(v)."""
        return np.asarray(self.loss.value(v, self.observation))

    def loss_gradient(self, v: ArrayLike) -> Array:
        """Return the gradient of L_y at v."""
        return np.asarray(self.loss.gradient(v, self.observation))

    # -- spectrum ----------------------------------------------------------------------------

    @property
    def spectrum(self) -> Spectrum:
        """The singular values of a linear F; computed once, large operators are never densified."""
        self._require_linear("the spectrum")
        if "spectrum" not in self._cache:
            self._cache["spectrum"] = spectrum(self.operator)
        result: Spectrum = self._cache["spectrum"]
        return result

    @property
    def sigma_F(self) -> float:
        """σ_F: the smallest non-zero singular value of A, or the user's bound for a callable."""
        if not self.linear:
            if self.lower_bound is None:
                raise InputError(
                    "σ_F of a callable F depends on the signals that are visited: give it as "
                    "lower_bound=, or look at sigma_at(x) along a trajectory."
                )
            return self.lower_bound
        return float(self.spectrum.values[-1])

    @property
    def norm_F(self) -> float:
        """‖A‖, the largest singular value, of a linear F."""
        return float(self.spectrum.values[0])

    @property
    def rank(self) -> int:
        """The rank of a linear F."""
        parts = self.spectrum
        return min(self.operator.shape) if parts.left is None else parts.values.size

    def row_space(self) -> Array:
        """Return Q (r, n): orthonormal rows that span the row space of A, A = U S Q."""
        parts = self.spectrum
        if parts.right is not None:
            return parts.right
        if parts.left is None:
            raise LimitReached(
                f"an operator of shape {self.shape} is too large for a basis of its row space "
                f"(limit: {GRAM_SIDE} rows or columns)."
            )
        return np.asarray(self.transpose_times(parts.left / parts.values).T)

    def sigma_at(self, x: ArrayLike) -> float:
        """Return the smallest non-zero singular value of J_F(x)."""
        if self.linear:
            return self.sigma_F
        return float(spectrum(real_operator(self.jacobian_at(x), "the Jacobian")).values[-1])

    def norm_at(self, x: ArrayLike) -> float:
        """Return ‖J_F(x)‖."""
        if self.linear:
            return self.norm_F
        return float(spectrum(real_operator(self.jacobian_at(x), "the Jacobian")).values[0])

    def distance_to_range(self) -> float:
        """Return dist(y, Im A): no signal at all has a smaller residual."""
        left = self.spectrum.left
        if left is None:
            return 0.0 if self.m <= self.operator.shape[1] else float("nan")
        y = self.observation
        inside = left @ (left.T @ y)
        distance = float(np.linalg.norm(y - inside))
        return distance if distance > 1e-13 * self.m * float(np.linalg.norm(y)) else 0.0

    def __repr__(self) -> str:
        """Return one line: the kind of F, the shape and the loss."""
        kind = type(self.operator).__name__ if self.linear else "callable"
        return f"Problem({kind} {self.shape}, loss={self.loss!r})"


@dataclass(frozen=True, slots=True)
class _Intensity:
    """x ↦ (Ax)²."""

    matrix: Array

    def __call__(self, x: Array) -> Array:
        return np.asarray(np.square(self.matrix @ x))


@dataclass(frozen=True, slots=True)
class _IntensityJacobian:
    """x ↦ 2 diag(Ax) A."""

    matrix: Array

    def __call__(self, x: Array) -> Array:
        return np.asarray(2.0 * (self.matrix @ x)[:, None] * self.matrix)

    @property
    def lipschitz(self) -> float:
        """2 max‖a_i‖ ‖A‖: a Lipschitz constant, as ‖2 diag(Ah) A‖ ≤ 2 max|⟨a_i, h⟩| ‖A‖."""
        rows = float(np.sqrt(np.square(self.matrix).sum(axis=1).max()))
        return 2.0 * rows * float(np.linalg.norm(self.matrix, 2)) * (1.0 + 1e-12)


def phase_retrieval(matrix: ArrayLike, observation: ArrayLike, **options: Any) -> Problem:
    """Return the problem of real phase retrieval: y = (A x)² entrywise, x known up to its sign.

    F(x) = (Ax)², J_F(x) = 2 diag(Ax) A, F(0) = 0.  σ_F > 0 fails where an entry of Ax vanishes, so
    that guarantees hold along a trajectory only.  `options` are those of `Problem`.

    >>> problem = phase_retrieval(np.eye(2), [1.0, 4.0], signal=[1.0, -2.0])
    >>> problem.forward([1.0, -2.0]).tolist(), problem.sigma_at([1.0, -2.0])
    ([1.0, 4.0], 2.0)
    """
    a = real_operator(matrix)
    if not isinstance(a, np.ndarray):
        raise InputError("phase retrieval takes a dense matrix A.")
    y = real_vector(observation, "the observation y")
    if a.shape[0] != y.size:
        raise InputError(
            f"A has shape {a.shape} and y has shape {y.shape}: y must have {a.shape[0]} entries."
        )
    return Problem(_Intensity(a), y, jacobian=_IntensityJacobian(a), **options)
