"""Many reduced runs as rows of one set of arrays: residuals and gradient steps in place.

For φ(z) = a + b tanh(c z) no exponential is needed: with τ = tanh(c z) and δ = -c Δz, the addition
formula gives the step exactly, τ ← τ - (1 - τ²)T/(1 - τT), T = tanh δ.  With T = δ/C it becomes
τ ← τ - (1 - τ²)δ/(C - τδ), and C = δ coth δ = 1 + δ²/3 - δ⁴/45 + ... needs one or two terms while
δ is small.  What is kept is σ = √3 τ and ε = δ/√3: then the short form has no constant left,
σ ← σ - (3 - σ²)ε/(1 + (ε - σ)ε), and while δ is tiny it needs no division either,
σ ← σ - (3 - σ²)ε(1 + σε).  Which form a row takes depends on that row alone, so that a run gives
the same bits in whatever company it is computed.

If V is trained, P changes by a matrix of rank one at every step.  These changes wait as the factors
C and Φ of P + CΦ, the rows of Φ below those of P, so that one product serves both; after `DELAY`
steps they are added at once.  P is thus written once in so many steps.  Where the drift is wanted
at nearly every step it is summed up: with Δ = P - P0, ‖Δ + cφᵀ‖² = ‖Δ‖² + ⟨c, 2Δφ + ‖φ‖²c⟩, and of
Δφ = Pφ - P0φ the first is at hand.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kltheory.activation import Activation
from kltheory.empirical.reduced import Reduced, tanh_form
from kltheory.loss_functions import MSE, LossFunction, RadialLoss

__all__ = ["DELAY", "LEVELS", "Rows"]

Array = NDArray[np.float64]

LEVELS = (3e-6, 1e-3, 1e-2)
"""Bounds on |δ| for the form without division and for the series with one and with two terms; the
errors in τ are below 0.34 |δ|³, |δ|⁵/45 and 2|δ|⁷/945, that is 3e-17.  Beyond the last, tanh
itself."""

DELAY = 4
"""After how many steps the changes of P are carried out, if V is trained."""

_ROOT3 = float(np.sqrt(3.0))
_EDGES = np.square([*LEVELS, np.inf])
_BLOCK = 8


class _Part:
    """Views of some rows of all buffers, while so many changes are pending."""

    __slots__ = (
        "factors",
        "g",
        "matrix",
        "phi",
        "r",
        "rate",
        "state",
        "turn",
        "v",
        "v_inner",
        "v_pending",
        "x",
        "x_inner",
        "x_pending",
        "y",
    )

    def __init__(self, rows: Rows, start: int, stop: int, pending: int) -> None:
        some, q, end = slice(start, stop), rows.q, rows.q + pending
        self.matrix = rows.matrix[some, :end]
        self.x, self.x_inner = rows.x[some, :end], rows.x[some, :q]
        self.v, self.v_inner = rows.v[some, :end], rows.v[some, :q]
        self.x_pending, self.v_pending = rows.x[some, q:end], rows.v[some, q:end]
        self.state, self.g = rows.state[some], rows.g[some]
        self.r, self.y, self.rate = rows.r[some], rows.y[some], rows.rate[some]
        self.turn = None if rows.turn is None else rows.turn[some]
        self.factors = rows.factors[some, :, :pending]
        if rows.both:
            self.phi = rows.matrix[some, end]
        else:
            self.phi = rows.s[some] if rows.tanh is None else self.state


class Rows:
    """`capacity` runs of one shape, loss, activation and training mode."""

    def __init__(
        self,
        capacity: int,
        like: Reduced,
        loss: LossFunction,
        activation: Activation,
        fast: bool,
        follow: bool = False,
    ) -> None:
        """Allocate all buffers once; with `follow`, ‖P - P0‖ is summed up at every step."""
        q, k = like.inner.shape
        self.loss, self.activation = loss, activation
        self.both = like.train == "both"
        self.mse = isinstance(loss, MSE)
        self.tanh = tanh_form(activation.name) if fast else None
        # φ = unit · (shift + state), and the matrices below are those of the problem times unit.
        self.unit = 1.0 if self.tanh is None else self.tanh.b / _ROOT3
        self.shift = 0.0 if self.tanh is None else self.tanh.a / self.unit
        # A radial loss is turned into the coordinates of U, where A V = U S P√k; others keep U.
        turned = like.outer is not None and not isinstance(loss, RadialLoss)
        m = like.problem.m if turned else q
        waiting = DELAY if self.both else 0
        self.q, self.pending = q, 0
        self.matrix = np.empty((capacity, q + waiting, k))
        self.turn = np.empty((capacity, m, q)) if turned else None
        self.y = np.empty((capacity, m))
        self.rest = None if turned or like.outer is None else np.empty(capacity)
        self.state = np.empty((capacity, k))
        self.moved = np.empty((capacity, k))
        self.z0 = np.empty((capacity, k))
        self.rate = np.empty((capacity, 1))
        self.omega = np.empty(capacity)
        self.r = np.empty((capacity, m))
        self.v = np.empty((capacity, q + waiting))
        self.x = np.empty((capacity, q + waiting))
        self.g = np.empty((capacity, k))
        self.s = np.empty((capacity, k))
        self.d = np.empty((capacity, k))
        self.w = np.empty((capacity, k))
        self._level = np.zeros(capacity, dtype=np.intp)
        self._size = np.empty(capacity)
        self._most = np.empty(capacity)
        self._sorted = 0
        self._segments: list[tuple[int, list[Array]]] = []
        self._swapped = [
            self.matrix, self.y, self.state, self.moved, self.z0, self.rate, self.omega, self.r,
            self.v, self.g, self._level, self._size, self._most,
        ]  # fmt: skip
        self._swapped += [array for array in (self.turn, self.rest) if array is not None]
        self.factors = np.empty((capacity, q, waiting))
        self._parts: dict[tuple[int, int, int], _Part] = {}
        if self.both:
            from scipy.linalg.blas import dgemm

            self._dgemm = dgemm
            self.matrix0 = np.empty((capacity, q, k))
            self.scale = np.empty((capacity, q))
            self._gain = np.empty((capacity, q))
            self._change = np.empty((_BLOCK, q, k))
            self._swapped += [self.matrix0, self.scale, self.factors, self._gain]
        self._follow = follow and self.both
        if self._follow:
            self._moved2 = np.empty(capacity)
            self._twice = np.empty((capacity, q))
            self._swapped += [self._moved2, self._twice, self.x]

    # -- rows --------------------------------------------------------------------------------

    def load(self, row: int, job: Reduced, step: float) -> None:
        """Start a run in a row; if V is trained, only while nothing is pending."""
        inner, y = job.inner * self.unit, job.problem.observation
        self.omega[row] = job.network.omega
        rate = step * job.network.omega
        if self.tanh is not None:
            rate *= self.tanh.c**2 / 3.0
        self.rate[row] = rate
        scale = np.ones(self.q)
        if job.outer is not None:
            left, scale = job.problem.spectrum.left, job.problem.spectrum.values
            assert left is not None
            inner = scale[:, None] * inner
            if self.turn is not None:
                self.turn[row] = left
            elif self.rest is not None:
                inside = left.T @ y
                self.rest[row] = np.square(y - left @ inside).sum()
                y = inside
        self.y[row] = y
        self.matrix[row, : self.q] = inner
        self.z0[row], self.moved[row] = job.z0, 0.0
        self.state[row] = job.z0 if self.tanh is None else _ROOT3 * np.tanh(self.tanh.c * job.z0)
        if self.both:
            self.matrix0[row] = inner
            self.scale[row] = scale * self.unit
            if self._follow:
                self._moved2[row] = 0.0
                self._twice[row] = 2.0 / np.square(self.scale[row])
            self._gain[row] = -step / (rate * job.k) * self.scale[row] ** 2
        elif self.shift:
            # The constant part of N φ goes to y.
            constant = self.shift * inner.sum(axis=1)
            self.y[row] -= constant if self.turn is None else self.turn[row] @ constant
        # |δ_j| ≤ 3√3 |g_j|, and |g_j| ≤ max‖N_j‖ ‖v‖, or ‖g‖ if N moves.
        self._level[row] = 0
        self._size[row] = 27.0 * (1.0 if self.both else np.square(inner).sum(axis=0).max())
        self._sorted = -1

    def swap(self, i: int, j: int) -> None:
        """Exchange two rows."""
        if i == j:
            return
        for array in self._swapped:
            array[[i, j]] = array[[j, i]]
        self._sorted = -1

    def dz(self, row: int) -> Array:
        """Return z - z0 of a row."""
        if self.tanh is None:
            return np.asarray(self.state[row] - self.z0[row])
        return np.asarray(self.moved[row] * (-_ROOT3 / self.tanh.c))

    def dp(self, row: int) -> Array:
        """Return P - P0 of a row, if V is trained."""
        change = self._changes(slice(row, row + 1))[0]
        return np.asarray(change / self.scale[row][:, None])

    def _changes(self, rows: slice) -> Array:
        """Return how far the matrices of at most `_BLOCK` rows moved; a view of a buffer."""
        p, change = self.pending, self._change[: rows.stop - rows.start]
        np.matmul(self.factors[rows, :, :p], self.matrix[rows, self.q : self.q + p], out=change)
        np.add(self.matrix[rows, : self.q], change, out=change)
        return np.subtract(change, self.matrix0[rows], out=change)

    def drift(self, rows: slice) -> Array:
        """Return ‖θ - θ0‖ of some rows."""
        if self.tanh is None:
            np.subtract(self.state[rows], self.z0[rows], out=self.moved[rows])
            size = 1.0
        else:
            size = 3.0 / self.tanh.c**2
        squares = np.vecdot(self.moved[rows], self.moved[rows]) * size / self.omega[rows]
        k = self.state.shape[1]
        if self._follow:
            squares += k * np.maximum(self._moved2[rows], 0.0)
        elif self.both:
            for start in range(rows.start, rows.stop, _BLOCK):
                block = slice(start, min(start + _BLOCK, rows.stop))
                change = self._changes(block)
                parts = np.vecdot(change, change) / np.square(self.scale[block])
                squares[start - rows.start : block.stop - rows.start] += k * parts.sum(axis=1)
        return np.asarray(np.sqrt(squares))

    # -- one step ----------------------------------------------------------------------------

    def _part(self, start: int, stop: int) -> _Part:
        key = (start, stop, self.pending)
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = _Part(self, *key)
        return part

    def observe(self, start: int, stop: int, squares: Array) -> None:
        """Evaluate r = y(θ) - y of some rows, in place, and write ‖r‖²."""
        part = self._part(start, stop)
        if self.tanh is None:
            part.phi[...] = self.activation.phi(part.state)
        elif self.both:
            np.add(part.state, self.shift, out=part.phi)
        np.matvec(part.matrix, part.phi, out=part.x)
        x, r = part.x_inner, part.r
        if self.pending:
            np.add(x, np.matvec(part.factors, part.x_pending), out=x)
        if part.turn is not None:
            x = np.matvec(part.turn, x, out=r)
        np.subtract(x, part.y, out=r)
        np.vecdot(r, r, out=squares)
        if self.rest is not None:
            np.add(squares, self.rest[start:stop], out=squares)

    def values(self, squares: Array, rows: slice) -> Array:
        """Return the losses of some rows, given ‖r‖²."""
        if self.mse:
            return 0.5 * squares
        if isinstance(self.loss, RadialLoss):
            return self.loss.profile(np.sqrt(squares))
        return self.loss.value(self.r[rows], 0.0)

    def pull(self, active: int, squares: Array) -> None:
        """Evaluate the gradient in z up to φ', times the step, from the current residuals."""
        part = self._part(0, active)
        gradient = part.r
        if isinstance(self.loss, RadialLoss):
            if not self.mse:
                np.multiply(gradient, self.loss.weight(np.sqrt(squares))[:, None], out=gradient)
        else:
            gradient = self.loss.gradient(gradient, 0.0)
        if part.turn is not None:
            gradient = np.vecmat(gradient, part.turn)
        np.multiply(gradient, part.rate, out=part.v_inner)
        if self.pending:
            np.vecmat(part.v_inner, part.factors, out=part.v_pending)
        np.vecmat(part.v, part.matrix, out=part.g)

    def push(self, active: int) -> None:
        """Take the step that `pull` prepared."""
        rows = slice(0, active)
        if self.tanh is None:
            slope = self.activation.dphi(self.state[rows])
            np.multiply(slope, self.g[rows], out=self.d[rows])
            np.subtract(self.state[rows], self.d[rows], out=self.state[rows])
        else:
            for level, views in self._segments:
                self._advance(level, *views)
        if self.both:
            change = self.factors[rows, :, self.pending]
            np.multiply(self.v[rows, : self.q], self._gain[rows], out=change)
            if self._follow:
                self._sum_up(active, change)
            self.pending += 1
            if self.pending == DELAY:
                self._carry_out(active)

    def _sum_up(self, active: int, change: Array) -> None:
        """Add what the step about to be taken does to ‖P - P0‖²."""
        rows, part = slice(0, active), self._part(0, active)
        mean = part.x_inner - np.matvec(self.matrix0[rows], part.phi)
        mean += change * (0.5 * np.vecdot(part.phi, part.phi))[:, None]
        self._moved2[rows] += np.vecdot(mean, change * self._twice[rows])

    def _carry_out(self, active: int) -> None:
        """Add the pending changes, P ← P + CΦ, by BLAS, in place."""
        for row in range(active):
            matrix = self.matrix[row]
            self._dgemm(1.0, matrix[self.q :].T, self.factors[row].T, beta=1.0,
                        c=matrix[: self.q].T, overwrite_c=1)  # fmt: skip
        self.pending = 0

    # -- the step without exponentials -------------------------------------------------------

    def sort(self, active: int, lower: bool) -> list[tuple[int, int]]:
        """Bring rows of one form of the step together, and return the rows that were exchanged.

        Called between `pull` and `push`.  A row takes a longer form as soon as it needs to, and a
        shorter one if `lower` says that it is time to look.
        """
        if self.tanh is None:
            return []
        v = self.g[:active] if self.both else self.v[:active]
        squares = np.vecdot(v, v)
        if not lower and active == self._sorted:
            if not np.logical_or.reduce(squares > self._most[:active]):
                return []
        level = np.searchsorted(_EDGES[:-1], squares * self._size[:active])
        if not lower:
            np.maximum(level, self._level[:active], out=level)
        self._level[:active] = level
        with np.errstate(divide="ignore"):
            self._most[:active] = _EDGES[level] / self._size[:active]
        target = np.sort(level)
        swaps = []
        for i in np.flatnonzero(level != target):
            if self._level[i] == target[i]:
                continue
            wrong = np.flatnonzero(self._level[i + 1 : active] == target[i]) + i + 1
            j = int(wrong[np.argmax(target[wrong] != target[i])])
            self.swap(int(i), j)
            swaps.append((int(i), j))
        cuts = np.searchsorted(target, range(len(LEVELS) + 2)).tolist()
        used = (self.state, self.moved, self.g, self.s, self.d, self.w)
        self._segments = [
            (value, [array[start:stop] for array in used])
            for value, (start, stop) in enumerate(pairwise(cuts))
            if start < stop
        ]
        self._sorted = active
        return swaps

    @staticmethod
    def _advance(
        level: int, sigma: Array, moved: Array, g: Array, s: Array, d: Array, w: Array
    ) -> None:
        """σ ← σ - (3 - σ²)ε/(1 + (ε - σ)ε), ε = (3 - σ²)g, and add ε to what was moved."""
        np.square(sigma, out=s)
        np.subtract(3.0, s, out=s)
        np.multiply(s, g, out=d)
        np.add(moved, d, out=moved)
        if level == 0:  # 1/(1 + (ε - σ)ε) = 1 + σε up to 2ε²
            np.multiply(s, d, out=s)
            np.multiply(sigma, d, out=w)
            np.multiply(w, s, out=w)
            np.add(s, w, out=s)
            np.subtract(sigma, s, out=sigma)
            return
        if level == len(LEVELS):
            # With t = tanh(√3 ε)/√3 the step is exactly σ - (3 - σ²)t/(1 - σt).
            np.multiply(d, _ROOT3, out=d)
            np.tanh(d, out=d)
            np.multiply(d, 1.0 / _ROOT3, out=d)
            np.multiply(sigma, d, out=w)
            np.subtract(1.0, w, out=w)
        else:
            if level == 2:  # ε - ε³/5 takes the place of ε
                np.square(d, out=w)
                np.multiply(w, -0.2, out=w)
                np.add(w, 1.0, out=w)
                np.multiply(w, d, out=w)
                np.subtract(w, sigma, out=w)
            else:
                np.subtract(d, sigma, out=w)
            np.multiply(w, d, out=w)
            np.add(w, 1.0, out=w)
        np.multiply(s, d, out=s)
        np.divide(s, w, out=s)
        np.subtract(sigma, s, out=sigma)

    # -- a proof that the tolerance is out of reach --------------------------------------------

    def distances(self, rows: slice, box: tuple[float, float], squares: Array) -> Array:
        """Return lower bounds on dist(y, {N a : a in box}) of some rows, from v = -r; V fixed.

        ⟨v, y - N a⟩ ≥ ⟨v, y⟩ - Σ_j max(lo c_j, hi c_j) =: gap with c = Nᵀv, so that every signal
        the network can give stays gap/‖v‖ away.  A margin for rounding is taken off.
        """
        v = -self.r[rows]
        c = np.vecmat(v if self.turn is None else np.vecmat(v, self.turn[rows]), self.matrix[rows])
        low, high = (-_ROOT3, _ROOT3) if self.tanh is not None else box
        with np.errstate(invalid="ignore"):
            support = np.where(c > 0.0, c * high, np.where(c < 0.0, c * low, 0.0))
        reach = support.sum(axis=1)
        level = np.vecdot(v, self.y[rows])
        slack = 1e-12 * np.abs(support).sum(axis=1) + 1e-12 * np.abs(v * self.y[rows]).sum(axis=1)
        gap = level - reach - slack
        if self.rest is not None:
            gap += (1.0 - 1e-12) * self.rest[rows]
        return np.asarray(np.where(gap > 0.0, gap, 0.0) / np.sqrt(squares))
