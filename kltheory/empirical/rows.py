"""Many reduced runs as rows of one set of arrays: residuals and gradient steps in place.

For φ(z) = a + b tanh(c z) no exponential is needed: with τ = tanh(c z) and δ = c Δz, the addition
formula gives the step exactly, τ ← τ - (1 - τ²)T/(1 - τT), T = tanh δ.  Writing T = δ/C with
C = δ coth δ makes it τ ← τ - (1 - τ²)δ/(C - τδ), and C needs two or three terms of its series
    C = 1 + δ²/3 - δ⁴/45 + 2δ⁶/945 - ...
once δ is small.  Which form a row takes depends on that row alone, so that a run gives the same
bits in whatever company it is computed.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kltheory.activation import Activation
from kltheory.empirical.reduced import Reduced, tanh_form
from kltheory.loss_functions import MSE, LossFunction, RadialLoss

__all__ = ["LEVELS", "Rows"]

Array = NDArray[np.float64]

LEVELS = (1e-3, 1e-2, 0.3)
"""Bounds on |δ| for the series with one term, with two terms, and for the rational form of tanh;
beyond the last, tanh itself.  The error in τ is below 3e-17, 3e-17 and 4e-16."""


class Rows:
    """`capacity` runs of one shape, loss, activation and training mode."""

    def __init__(
        self, capacity: int, like: Reduced, loss: LossFunction, activation: Activation, fast: bool
    ) -> None:
        """Allocate all buffers once."""
        q, k = like.inner.shape
        m = like.problem.m
        self.loss, self.activation = loss, activation
        self.both = like.train == "both"
        self.tanh = tanh_form(activation.name) if fast else None
        self.shifted = self.tanh is not None and not self.both
        self.mse = isinstance(loss, MSE)
        self.inner = np.empty((capacity, q, k))
        self.inner0 = np.empty((capacity, q, k)) if self.both else None
        self.outer = None if like.outer is None else np.empty((capacity, m, q))
        self.y = np.empty((capacity, m))
        self.state = np.empty((capacity, k))
        self.moved = np.empty((capacity, k))
        self.z0 = np.empty((capacity, k))
        self.rate = np.empty(capacity)
        self._rate_column = self.rate[:, None]
        self.omega = np.empty(capacity)
        self.level = np.zeros(capacity, dtype=np.intp)
        self._low = np.zeros(capacity)
        self._high = np.zeros(capacity)
        self._size = np.ones(capacity)
        self._sorted = 0
        self._segments: list[tuple[int, slice]] = []
        self.r = np.empty((capacity, m))
        self._x = np.empty((capacity, q))
        self._q = np.empty((capacity, q))
        self._g = np.empty((capacity, k))
        self._phi = np.empty((capacity, k))
        self._s = np.empty((capacity, k))
        self._d = np.empty((capacity, k))
        self._w = np.empty((capacity, k))
        self._update = np.empty((capacity, q, k)) if self.both else None
        if self.both:
            from scipy.linalg.blas import dger

            self._dger, self._transposed = dger, [matrix.T for matrix in self.inner]
        self._swapped = [
            array
            for array in (
                self.inner,
                self.inner0,
                self.outer,
                self.y,
                self.state,
                self.moved,
                self.z0,
                self.rate,
                self.omega,
                self.level,
                self._low,
                self._high,
                self._size,
                self.r,
                self._q,
                self._g,
                self._phi,
            )
            if array is not None
        ]

    # -- rows --------------------------------------------------------------------------------

    def load(self, row: int, job: Reduced, step: float) -> None:
        """Start a run in a row."""
        self.inner[row], self.y[row], self.z0[row] = job.inner, job.problem.observation, job.z0
        if self.inner0 is not None:
            self.inner0[row] = job.inner
        if self.outer is not None:
            self.outer[row] = job.outer
        self.moved[row] = 0.0
        self.omega[row] = job.network.omega
        rate = step * job.network.omega
        if self.tanh is None:
            self.state[row] = job.z0
            self.rate[row] = rate
            return
        a, b, c = self.tanh.a, self.tanh.b, self.tanh.c
        self.state[row] = np.tanh(c * job.z0)
        self.rate[row] = rate * c * c
        if self.shifted:
            # y = N(a + bτ): b N takes the place of N, and the constant part that of y.
            constant = a * job.inner.sum(axis=1)
            self.y[row] -= constant if job.outer is None else job.outer @ constant
            self.inner[row] *= b
        else:
            self.rate[row] *= b
        self._low[row], self._high[row] = np.inf, -np.inf
        self._size[row] = np.sqrt(np.square(self.inner[row]).sum(axis=0).max())

    def swap(self, i: int, j: int) -> None:
        """Exchange two rows."""
        if i == j:
            return
        for array in self._swapped:
            array[[i, j]] = array[[j, i]]

    def dz(self, row: int) -> Array:
        """Return z - z0 of a row."""
        if self.tanh is None:
            return np.asarray(self.state[row] - self.z0[row])
        return np.asarray(self.moved[row] / -self.tanh.c)

    def drift(self, rows: slice) -> Array:
        """Return ‖θ - θ0‖ of some rows."""
        if self.tanh is None:
            np.subtract(self.state[rows], self.z0[rows], out=self.moved[rows])
            scale = 1.0
        else:
            scale = 1.0 / self.tanh.c**2
        squares = np.vecdot(self.moved[rows], self.moved[rows]) * scale / self.omega[rows]
        if self.inner0 is not None and self._update is not None:
            change = np.subtract(self.inner[rows], self.inner0[rows], out=self._update[rows])
            flat = change.reshape(change.shape[0], -1)
            squares = squares + np.vecdot(flat, flat) * self.state.shape[1]
        return np.asarray(np.sqrt(squares))

    # -- one step ----------------------------------------------------------------------------

    def residuals(self, rows: slice) -> Array:
        """Evaluate r = y(θ) - y of some rows, in place, and return it."""
        state, phi = self.state[rows], self._phi[rows]
        if self.shifted:
            phi = state
        elif self.tanh is not None:
            np.multiply(state, self.tanh.b, out=phi)
            if self.tanh.a:
                np.add(phi, self.tanh.a, out=phi)
        else:
            phi[...] = self.activation.phi(state)
        r = self.r[rows]
        if self.outer is None:
            np.matvec(self.inner[rows], phi, out=r)
        else:
            np.matvec(self.inner[rows], phi, out=self._x[rows])
            np.matvec(self.outer[rows], self._x[rows], out=r)
        np.subtract(r, self.y[rows], out=r)
        return r

    def values(self, squares: Array, rows: slice) -> Array:
        """Return the losses of some rows, given ‖r‖²."""
        if self.mse:
            return 0.5 * squares
        if isinstance(self.loss, RadialLoss):
            return self.loss.profile(np.sqrt(squares))
        return self.loss.value(self.r[rows], 0.0)

    def pull(self, active: int, squares: Array) -> None:
        """Evaluate the gradient in z up to φ', times the step, from the current residuals."""
        rows = slice(0, active)
        r = self.r[rows]
        if self.mse:
            np.multiply(r, self._rate_column[rows], out=r)
        elif isinstance(self.loss, RadialLoss):
            weight = self.loss.weight(np.sqrt(squares))
            np.multiply(r, self._rate_column[rows] * weight[:, None], out=r)
        else:
            np.multiply(self.loss.gradient(r, 0.0), self._rate_column[rows], out=r)
        q = r if self.outer is None else np.vecmat(r, self.outer[rows], out=self._q[rows])
        np.vecmat(q, self.inner[rows], out=self._g[rows])

    def push(self, active: int) -> None:
        """Take the step that `pull` prepared."""
        rows = slice(0, active)
        if self.both:
            self._push_inner(rows)
        if self.tanh is None:
            slope = self.activation.dphi(self.state[rows])
            d = np.multiply(slope, self._g[rows], out=self._d[rows])
            np.subtract(self.state[rows], d, out=self.state[rows])
            return
        for value, segment in self._segments:
            self._advance(segment, value)

    def _push_inner(self, rows: slice) -> None:
        """P ← P - (η/k) q φᵀ, by BLAS, row by row: one pass over P."""
        scale = -1.0 / (self.state.shape[1] * self.omega[rows])
        if self.tanh is not None:
            scale /= self.tanh.b * self.tanh.c**2
        for row, (alpha, q, phi) in enumerate(
            zip(scale.tolist(), self._q[rows], self._phi[rows], strict=True)
        ):
            self._dger(alpha, phi, q, a=self._transposed[row], overwrite_a=1)

    # -- the step without exponentials -------------------------------------------------------

    def sort_levels(self, active: int) -> list[tuple[int, int]]:
        """Give every row the form that its |δ| allows and bring equal forms together.

        Called between `pull` and `push`.  |δ_j| ≤ |g_j| = |N_jᵀ q|, at most max‖N_j‖ ‖q‖ if N is
        fixed, and ‖g‖ if it moves.  Returns the rows that were exchanged.
        """
        if self.tanh is None:
            return []
        if self.both:
            squares = np.vecdot(self._g[:active], self._g[:active])
        else:
            q = (self.r if self.outer is None else self._q)[:active]
            squares = np.vecdot(q, q)
        stale = (squares < self._low[:active]) | (squares >= self._high[:active])
        if active == self._sorted and not stale.any():
            return []
        self._sorted = active
        size = np.ones(active) if self.both else self._size[:active]
        level = np.searchsorted(LEVELS, np.sqrt(squares) * size, side="right")
        self.level[:active] = level
        edges = np.array([0.0, *LEVELS, np.inf])
        with np.errstate(divide="ignore"):
            self._low[:active] = np.square(edges[level] / size)
            self._high[:active] = np.square(edges[level + 1] / size)
        target = np.sort(level)
        swaps = []
        for i in np.flatnonzero(level != target):
            if self.level[i] == target[i]:
                continue
            wrong = np.flatnonzero(self.level[i + 1 : active] == target[i]) + i + 1
            j = int(wrong[np.argmax(target[wrong] != target[i])])
            self.swap(int(i), j)
            swaps.append((int(i), j))
        cuts = np.searchsorted(target, range(len(LEVELS) + 2))
        self._segments = [
            (value, slice(int(start), int(stop)))
            for value, (start, stop) in enumerate(pairwise(cuts))
            if start < stop
        ]
        return swaps

    def _advance(self, rows: slice, level: int) -> None:
        """τ ← τ - (1 - τ²)δ/(C - τδ), δ = (1 - τ²) g, and add δ to what was moved."""
        tau, s, d, w = self.state[rows], self._s[rows], self._d[rows], self._w[rows]
        moved = self.moved[rows]
        np.multiply(tau, tau, out=s)
        np.subtract(1.0, s, out=s)
        np.multiply(s, self._g[rows], out=d)
        np.add(moved, d, out=moved)
        if level == 3:
            np.tanh(d, out=d)
            np.multiply(tau, d, out=w)
            np.subtract(1.0, w, out=w)
        elif level == 2:
            self._rational(tau, d, w, self._phi[rows])
        else:
            if level == 1:
                np.multiply(d, d, out=w)
                np.multiply(w, -1.0 / 45.0, out=w)
                np.add(w, 1.0 / 3.0, out=w)
                np.multiply(w, d, out=w)
            else:
                np.multiply(d, 1.0 / 3.0, out=w)
            np.subtract(w, tau, out=w)
            np.multiply(w, d, out=w)
            np.add(w, 1.0, out=w)
        np.multiply(s, d, out=s)
        np.divide(s, w, out=s)
        np.subtract(tau, s, out=tau)

    @staticmethod
    def _rational(tau: Array, d: Array, w: Array, e: Array) -> None:
        """Write tanh δ = δ A(δ²)/B(δ²), the [5/6] Padé form; d ← δ A and w ← B - τ δ A."""
        np.multiply(d, d, out=w)
        np.multiply(w, 21.0, out=e)
        np.add(e, 1260.0, out=e)
        np.multiply(e, w, out=e)
        np.add(e, 10395.0, out=e)
        np.multiply(d, e, out=d)
        np.add(w, 210.0, out=e)
        np.multiply(e, w, out=e)
        np.add(e, 4725.0, out=e)
        np.multiply(e, w, out=e)
        np.add(e, 10395.0, out=e)
        np.multiply(tau, d, out=w)
        np.subtract(e, w, out=w)

    # -- a proof that the tolerance is out of reach --------------------------------------------

    def distances(self, rows: slice, box: tuple[float, float], squares: Array) -> Array:
        """Return lower bounds on dist(y, {N a : a in box}) of some rows, from v = -r.

        ⟨v, y - N a⟩ ≥ ⟨v, y⟩ - Σ_j max(lo c_j, hi c_j) =: gap with c = Nᵀv, so that every signal
        the network can give stays gap/‖v‖ away.  A margin for rounding is taken off.
        """
        v = -self.r[rows]
        q = v if self.outer is None else np.vecmat(v, self.outer[rows])
        c = np.vecmat(q, self.inner[rows])
        if self.shifted:
            box = (-1.0, 1.0)
        with np.errstate(invalid="ignore"):
            support = np.where(c > 0.0, c * box[1], np.where(c < 0.0, c * box[0], 0.0))
        reach = support.sum(axis=1)
        level = np.vecdot(v, self.y[rows])
        slack = 1e-12 * np.abs(support).sum(axis=1) + 1e-12 * np.abs(v * self.y[rows]).sum(axis=1)
        gap = level - reach - slack
        return np.asarray(np.where(gap > 0.0, gap, 0.0) / np.sqrt(squares))
