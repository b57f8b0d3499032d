"""The two-layer network g(u, θ) = V φ(W u)/√k and its Jacobian.

Only the norm of u matters, ω = ‖u‖², and of W only z = W u: a change of W along uᵀ, which is all
that training does, is kept as a vector, so that a trained network costs no second copy of W.

>>> net = TwoLayerNetwork.draw(n=3, k=8, d=5, seed=1)
>>> net.forward().shape, net.jacobian("hidden").shape, net.jacobian("both").shape
((3,), (3, 40), (3, 64))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.activation import Activation
from kltheory.activation import get as get_activation
from kltheory.empirical.seeded import HELD_ENTRIES, SeededUnits, Weights, check_law, generator
from kltheory.errors import InputError, LimitReached
from kltheory.problem import Problem

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

    from kltheory.constants import Constants

__all__ = ["TRAIN", "TwoLayerNetwork", "check_train", "smallest_singular_value"]

Array = NDArray[np.float64]

TRAIN = ("hidden", "both")
"""What is trained: W alone, or W and V."""

_SVD_ENTRIES = 4_000_000


def check_train(train: str) -> str:
    """Return `train`, or refuse what is not one of `TRAIN`."""
    if train not in TRAIN:
        raise InputError(f"train: got {train!r}; allowed are {', '.join(TRAIN)}.")
    return train


def _count(name: str, value: int) -> int:
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise InputError(f"{name}: got {value!r}; it must be a whole number >= 1.")
    return int(value)


def _matrix(name: str, value: ArrayLike, ndim: int) -> Array:
    array = np.array(value, dtype=np.float64)
    if array.ndim != ndim or array.size == 0:
        kind = "a vector" if ndim == 1 else "a matrix"
        raise InputError(f"{name} has shape {array.shape}; it must be {kind}.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} has an entry that is not finite.")
    return array


class TwoLayerNetwork:
    """g(u, θ) = V φ(W u)/√k with u (d,), W (k, d), V (n, k); immutable."""

    __slots__ = ("_hidden", "_output", "activation", "seed", "u", "z")

    u: Array
    """The fixed input, shape (d,)."""
    activation: Activation
    """φ."""
    z: Array
    """W u, shape (k,)."""
    seed: int | None
    """The seed that it was drawn from, if it was drawn."""

    def __init__(
        self, u: ArrayLike, W: ArrayLike, V: ArrayLike, activation: str | Activation = "sigmoid"
    ) -> None:
        """Build the network from its weights."""
        u, W, V = _matrix("u", u, 1), _matrix("W", W, 2), _matrix("V", V, 2)
        if W.shape[1] != u.size:
            raise InputError(
                f"W has shape {W.shape} and u has shape {u.shape}: W must have {u.size} columns."
            )
        if V.shape[1] != W.shape[0]:
            raise InputError(
                f"V has shape {V.shape} and W has shape {W.shape}: "
                f"V must have {W.shape[0]} columns, one for each row of W."
            )
        if not np.any(u):
            raise InputError("u is zero: the network would be constant in W.")
        self._set(u, Weights(W), Weights(np.ascontiguousarray(V.T)), get_activation(activation))

    def _set(
        self,
        u: Array,
        hidden: Weights,
        output: Weights,
        activation: Activation,
        z: Array | None = None,
        seed: int | None = None,
    ) -> None:
        self.u, self.activation, self.seed = u, activation, seed
        self._hidden, self._output = hidden, output
        self.z = hidden.times(u) if z is None else z
        for array in (self.u, self.z, hidden.start, output.start):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

    @classmethod
    def draw(
        cls,
        n: int,
        k: int,
        d: int,
        activation: str | Activation = "sigmoid",
        output: str = "rademacher",
        seed: int = 0,
        hold: bool | None = None,
    ) -> TwoLayerNetwork:
        """Draw a network: u uniform on the sphere, W Gaussian, V of the law `output` (A-8 to A-10).

        The columns of V are independent with identity covariance: entries ±1 ("rademacher"),
        uniform on [-√3, √3] ("uniform"), or all 0 ("zero", outside A-10).  With `hold=False` V and
        W are not kept but drawn again, block by block, whenever they are needed; by default this
        is done for matrices beyond 1 GiB.  The numbers are the same either way.

        >>> TwoLayerNetwork.draw(n=2, k=3, d=4, output="zero", seed=7).forward().tolist()
        [0.0, 0.0]
        """
        n, k, d = _count("n", n), _count("k", k), _count("d", d)
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise InputError(f"seed: got {seed!r}; it must be a whole number >= 0.")
        seed = int(seed)
        direction = generator(seed, 0, 0).standard_normal(d)
        u = direction / np.linalg.norm(direction)
        hidden = SeededUnits(k, d, "gaussian", seed, 1)
        columns = SeededUnits(k, n, check_law(output), seed, 2)
        if hold is None:
            hold = k * max(n, d) <= HELD_ENTRIES
        net = cls.__new__(cls)
        net._set(
            u,
            Weights(hidden.toarray() if hold else hidden),
            Weights(columns.toarray() if hold else columns),
            get_activation(activation),
            z=Weights(hidden).times(u),
            seed=seed,
        )
        return net

    def moved(
        self, dz: Array, output_left: Array | None = None, output_right: Array | None = None
    ) -> TwoLayerNetwork:
        """Return the network with z + dz, W + dz uᵀ/ω, and V + (left @ right)ᵀ."""
        net = TwoLayerNetwork.__new__(TwoLayerNetwork)
        hidden = self._hidden.moved(dz[:, None] / self.omega, self.u[None, :])
        output = self._output
        if output_left is not None and output_right is not None:
            output = output.moved(output_left, output_right)
        net._set(self.u, hidden, output, self.activation, z=self.z + dz, seed=self.seed)
        return net

    # -- sizes and weights -------------------------------------------------------------------

    @property
    def n(self) -> int:
        """The size of the signal."""
        return self._output.size

    @property
    def k(self) -> int:
        """The number of hidden neurons."""
        return self._output.count

    @property
    def d(self) -> int:
        """The size of the input."""
        return self.u.size

    @property
    def omega(self) -> float:
        """‖u‖²."""
        return float(self.u @ self.u)

    @property
    def W(self) -> Array:
        """The hidden layer, (k, d)."""
        return self._hidden.toarray()

    @property
    def V(self) -> Array:
        """The output layer, (n, k)."""
        return self._output.toarray().T

    @property
    def columns(self) -> Weights:
        """The columns V_i of the output layer, as units; used block by block where V is large."""
        return self._output

    # -- the map -----------------------------------------------------------------------------

    def forward(self) -> Array:
        """Return x = V φ(z)/√k, shape (n,)."""
        x = self._output.transpose_times(self.activation.phi(self.z))
        return np.asarray(x / np.sqrt(self.k))

    def feature_norm(self) -> float:
        """Return h = ‖φ(z)‖/√k."""
        return float(np.linalg.norm(self.activation.phi(self.z)) / np.sqrt(self.k))

    def observe(self, problem: Problem) -> Array:
        """Return M = A V, shape (m, k), for a linear F, without ever holding V."""
        problem.require_size(self.n)
        out = np.empty((problem.m, self.k))
        for where, block in self._output.blocks():
            out[:, where] = problem.times(block.T)
        return out

    # -- the Jacobian ------------------------------------------------------------------------

    def size(self, train: str = "hidden") -> int:
        """Return p, the number of trained parameters."""
        return self.k * self.d + (self.n * self.k if check_train(train) == "both" else 0)

    def jacobian(self, train: str = "hidden") -> Array:
        """Return J_g, shape (n, p): W row by row, then (train="both") V row by row.

        ∂x_a/∂W_ij = V_ai φ'(z_i) u_j/√k and ∂x_a/∂V_bi = δ_ab φ(z_i)/√k.
        """
        entries = self.n * self.size(train)
        if entries > HELD_ENTRIES:
            raise LimitReached(
                f"the Jacobian has {self.n} x {self.size(train)} entries (limit {HELD_ENTRIES}); "
                "use jacobian_operator, or kernel."
            )
        scaled = self.V * (self.activation.dphi(self.z) / np.sqrt(self.k))
        hidden = (scaled[:, :, None] * self.u).reshape(self.n, -1)
        if train == "hidden":
            return np.asarray(hidden)
        phi = self.activation.phi(self.z) / np.sqrt(self.k)
        return np.hstack([hidden, np.kron(np.eye(self.n), phi)])

    def push_forward(self, direction: ArrayLike, train: str = "hidden") -> Array:
        """Return J_g p for a direction p in parameter space; shape (n,)."""
        p = np.asarray(direction, dtype=np.float64)
        if p.shape != (self.size(train),):
            raise InputError(
                f"the direction has shape {p.shape}; with train={train!r} it must be "
                f"({self.size(train)},)."
            )
        root = np.sqrt(self.k)
        dz = p[: self.k * self.d].reshape(self.k, self.d) @ self.u
        out = self._output.transpose_times(self.activation.dphi(self.z) * dz) / root
        if train == "both":
            dv = p[self.k * self.d :].reshape(self.n, self.k)
            out = out + dv @ self.activation.phi(self.z) / root
        return np.asarray(out)

    def pull_back(self, w: ArrayLike, train: str = "hidden") -> Array:
        """Return J_gᵀ w, shape (p,), for w of shape (n,)."""
        check_train(train)
        w = np.asarray(w, dtype=np.float64)
        if w.shape != (self.n,):
            raise InputError(f"w has shape {w.shape}; it must be ({self.n},).")
        root = np.sqrt(self.k)
        dz = self.activation.dphi(self.z) * self._output.times(w) / root
        hidden = np.outer(dz, self.u).ravel()
        if train == "hidden":
            return hidden
        return np.concatenate([hidden, np.outer(w, self.activation.phi(self.z) / root).ravel()])

    def jacobian_operator(self, train: str = "hidden") -> LinearOperator:
        """Return J_g as a SciPy LinearOperator (n, p), by its products."""
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator(
            (self.n, self.size(train)),
            matvec=lambda p: self.push_forward(np.ravel(p), train),
            rmatvec=lambda w: self.pull_back(np.ravel(w), train),
            dtype=np.float64,
        )

    def kernel(self, train: str = "hidden", problem: Problem | None = None) -> Array:
        """Return J_g J_gᵀ (n, n), or with a problem (J_F J_g)(J_F J_g)ᵀ (m, m), J never formed.

        J_g J_gᵀ = (ω/k) V diag(φ'(z)²) Vᵀ + [both] h² I, with h = ‖φ(z)‖/√k.
        """
        check_train(train)
        weights = self.omega * np.square(self.activation.dphi(self.z)) / self.k
        h2 = self.feature_norm() ** 2 if train == "both" else 0.0
        if problem is None:
            out = h2 * np.eye(self.n)
            for where, block in self._output.blocks():
                out += (block.T * weights[where]) @ block
            return (out + out.T) / 2
        problem.require_size(self.n)
        if problem.linear:
            observed = self.observe(problem)
            out = (observed * weights) @ observed.T
            if h2:
                out += h2 * _gram(problem)
            return np.asarray((out + out.T) / 2)
        matrix = problem.jacobian_at(self.forward())
        dense = np.asarray(matrix @ np.eye(self.n), dtype=np.float64)
        return np.asarray(dense @ self.kernel(train) @ dense.T)

    def sigma_min(self, train: str = "hidden") -> float:
        """Return the n-th singular value of J_g: inf ‖J_gᵀ w‖ over ‖w‖ = 1; 0 if rank J_g < n.

        It is √(ω σ_n(V diag φ'(z))²/k + [both] h²), and 0 for train="hidden" with k < n.
        """
        check_train(train)
        hidden = smallest_singular_value(self._scaled_columns(), self.n, self.k)
        return float(np.hypot(hidden, self.feature_norm() if train == "both" else 0.0))

    def _scaled_columns(self) -> Array:
        """Return √(ω/k) diag(φ'(z)) Vᵀ, (k, n)."""
        if self.k * self.n > HELD_ENTRIES:
            raise LimitReached(
                f"σ_min of a network with {self.n} x {self.k} output weights is beyond the limit "
                f"of {HELD_ENTRIES} entries; use the kernel of the observation instead."
            )
        weights = self.activation.dphi(self.z) * np.sqrt(self.omega / self.k)
        return np.asarray(self._output.toarray() * weights[:, None])

    def constants(self, problem: Problem, train: str = "hidden") -> Constants:
        """Return every measured constant of this network and problem, with its evidence."""
        from kltheory.empirical.measure import measure

        return measure(problem, self, train)

    def __repr__(self) -> str:
        """Return one line: sizes, activation and seed."""
        seed = "" if self.seed is None else f", seed={self.seed}"
        return (
            f"TwoLayerNetwork(n={self.n}, k={self.k}, d={self.d}, "
            f"activation={self.activation.name!r}{seed})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the fields."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the fields."""
        for name, value in state.items():
            setattr(self, name, value)


def _gram(problem: Problem) -> Array:
    """Return A Aᵀ."""
    if isinstance(problem.operator, np.ndarray):
        return np.asarray(problem.operator @ problem.operator.T)
    parts = problem.spectrum
    if parts.left is None:
        return problem.times(problem.transpose_times(np.eye(problem.m)))
    return np.asarray((parts.left * parts.values**2) @ parts.left.T)


def smallest_singular_value(columns: Array, rank: int, k: int) -> float:
    """Return the rank-th singular value of a matrix given by its k columns as rows (k, size)."""
    if k < rank:
        return 0.0
    if columns.size <= _SVD_ENTRIES:
        values = np.linalg.svd(columns, compute_uv=False)
        value, largest = float(values[rank - 1]), float(values[0])
        return value if value > 1e-12 * largest else 0.0
    gram = columns.T @ columns
    squares = np.linalg.eigvalsh(gram)
    value, largest = float(squares[-rank]), float(squares[-1])
    return float(np.sqrt(value)) if value > 1e-15 * gram.shape[0] * largest else 0.0
