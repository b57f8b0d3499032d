"""Many gradient flows in the observation form, as one array program.

The Runge-Kutta pair of order 8(5,3) of Dormand and Prince with its interpolant of order 7, as in
Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, II.5 and II.10, with the
coefficients that SciPy has.  Every row has its own time and step; at every round each row tries one
step.  A row that is done leaves to one that waits, and its bits do not depend on its company.

The interpolant is some hundred times less accurate than the steps.  So a step ends on a time that
was asked for, where such times are at least `LANDING` steps apart: at a tenth of the cost at most.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.forms import ObservationForm
from kltheory.loss_functions import RadialLoss

__all__ = ["LANDING", "Flow", "run_flows"]

Array = NDArray[np.float64]

_ENTRIES = 2**20
_MOST_ROWS = 48
_SAFETY, _SHRINK, _GROW, _POWER = 0.9, 0.2, 10.0, -0.125
_ROOT_STEPS = 60
LANDING = 10.0
"""Steps end on the times asked for if so many steps lie between two of these."""


class Flow:
    """One flow: where it starts, and what it passed through."""

    __slots__ = ("end", "evaluations", "form", "states", "status", "times")

    def __init__(self, form: ObservationForm) -> None:
        """Start at the start of the form."""
        self.form = form
        self.times: list[float] = []
        self.states: list[Array] = []
        self.status, self.evaluations, self.end = "budget", 0, 0.0


def run_flows(
    flows: list[Flow],
    grid: Array,
    *,
    tol: float,
    rtol: float,
    atol: float,
    budget: int,
    interrupted: Callable[[], bool],
    progress: Callable[[float], None] | None = None,
) -> None:
    """Follow flows of one shape, loss, activation and mode to the last time, and fill them in.

    The states at the times of `grid` are kept, and the last one where a flow ends before: on the
    tolerance, the budget of evaluations, divergence or interruption.  `progress` is called with the
    number of flows that are done, those under way in part.
    """
    engine = _Engine(flows, grid, tol, rtol, atol, budget)
    with np.errstate(all="ignore"):
        engine.fill()
        while engine.running and not interrupted():
            engine.round()
            engine.fill()
            if progress is not None:
                under_way = float((engine.t[: len(engine.running)] / grid[-1]).sum())
                progress(engine.finished + under_way)
        for row in reversed(range(len(engine.running))):
            engine.stop(row, "interrupted", float(engine.t[row]), engine.state[row])
        for flow in engine.queue:
            flow.status = "interrupted"
            flow.times, flow.states = [0.0], [flow.form.start]


class _Engine:
    """The arrays of `run_flows`."""

    def __init__(
        self, flows: list[Flow], grid: Array, tol: float, rtol: float, atol: float, budget: int
    ) -> None:
        from scipy.integrate import DOP853

        self.scheme = DOP853
        self.queue = list(reversed(flows))
        self.grid, self.tol, self.budget = grid, tol, budget
        self.rtol, self.atol = max(rtol, 100.0 * float(np.finfo(np.float64).eps)), atol
        first = flows[0].form.reduced
        self.loss, self.activation = first.problem.loss, first.network.activation
        self.both = first.train == "both"
        (q, self.k), m = first.inner.shape, first.problem.m
        self.q, n = q, flows[0].form.start.size
        self.stages = 1 + DOP853.B.size
        size = max(1, min(_MOST_ROWS, len(flows), _ENTRIES // (n * (self.stages + 1))))
        self.inner = np.empty((0 if self.both else size, q, self.k))
        self.outer = None if first.outer is None else np.empty((size, m, q))
        self.y, self.omega = np.empty((size, m)), np.empty((size, 1))
        self.state, self.t, self.h = np.empty((size, n)), np.empty(size), np.empty(size)
        self.slopes = np.empty((size, self.stages, n))
        self.after_reject = np.zeros(size, dtype=np.bool_)
        self.next_time = np.zeros(size, dtype=np.intp)
        self.arrays = [
            self.y, self.omega, self.state, self.t, self.h, self.slopes, self.after_reject,
            self.next_time,
        ]  # fmt: skip
        self.arrays += [self.inner] if not self.both else []
        self.arrays += [self.outer] if self.outer is not None else []
        self.running: list[Flow] = []
        self.finished = 0

    # -- the equations -----------------------------------------------------------------------

    def observe(self, state: Array, rows: slice) -> tuple[Array, Array, Array]:
        """Return P, φ and y(θ) - y."""
        phi = self.activation.phi(state[:, : self.k])
        inner = self.inner[rows]
        if self.both:
            inner = state[:, self.k :].reshape(-1, self.q, self.k)
        x = np.matvec(inner, phi)
        if self.outer is not None:
            x = np.matvec(self.outer[rows], x)
        return inner, phi, x - self.y[rows]

    def field(self, state: Array, rows: slice) -> tuple[Array, Array]:
        """Return the right-hand side of z' = -ω φ'(z) Pᵀq, P' = -q φᵀ/k, and y(θ) - y."""
        inner, phi, r = self.observe(state, rows)
        q = self.loss.gradient(r, 0.0)
        if self.outer is not None:
            q = np.vecmat(q, self.outer[rows])
        out = np.empty_like(state)
        slope = self.activation.dphi(state[:, : self.k])
        np.multiply(slope, np.vecmat(-self.omega[rows] * q, inner), out=out[:, : self.k])
        if self.both:
            change = out[:, self.k :].reshape(inner.shape)
            np.multiply((q / -self.k)[:, :, None], phi[:, None, :], out=change)
        return out, r

    def values(self, r: Array) -> Array:
        """Return the losses."""
        if isinstance(self.loss, RadialLoss):
            return np.asarray(self.loss.profile(np.sqrt(np.vecdot(r, r))))
        return np.asarray(self.loss.value(r, 0.0))

    # -- rows --------------------------------------------------------------------------------

    def fill(self) -> None:
        """Give the free rows to flows that wait."""
        while self.queue and len(self.running) < self.t.size:
            self._start(self.queue.pop())

    def _start(self, flow: Flow) -> None:
        row, reduced = len(self.running), flow.form.reduced
        here = slice(row, row + 1)
        self.running.append(flow)
        if not self.both:
            self.inner[row] = reduced.inner
        if self.outer is not None:
            self.outer[row] = reduced.outer
        self.y[row], self.omega[row] = reduced.problem.observation, reduced.network.omega
        self.state[row], self.t[row] = flow.form.start, 0.0
        self.after_reject[row] = False
        self.next_time[row] = int(self.grid[0] == 0.0)
        if self.next_time[row]:
            flow.times, flow.states = [0.0], [flow.form.start]
        slope, r = self.field(self.state[here], here)
        self.slopes[row, 0] = slope[0]
        if self.values(r)[0] < self.tol:
            self.stop(row, "tolerance", 0.0, self.state[row])
        elif self.next_time[row] == self.grid.size:
            self.stop(row, "budget", 0.0, self.state[row])
        else:
            self.h[row] = self._first_step(here)
            flow.evaluations = 2

    def _first_step(self, here: slice) -> float:
        """Return a first step such that an explicit step of Euler is as good as the tolerance."""
        state, slope = self.state[here], self.slopes[here, 0]
        scale, end = self.atol + np.abs(state) * self.rtol, float(self.grid[-1])

        def size(v: Array) -> float:
            return float(np.sqrt(np.mean(np.square(v / scale))))

        d0, d1 = size(state), size(slope)
        h0 = min(1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1, end)
        d2 = size(self.field(state + h0 * slope, here)[0] - slope) / h0
        largest = max(d1, d2)
        h1 = max(1e-6, 1e-3 * h0) if largest <= 1e-15 else (0.01 / largest) ** 0.125
        return min(100.0 * h0, h1, end)

    def stop(self, row: int, status: str, t: float, state: Array) -> None:
        """Finish the flow in a row; the last one takes its place."""
        flow = self.running[row]
        flow.status, flow.end = status, t
        if not flow.times or flow.times[-1] < t:
            flow.times.append(t)
            flow.states.append(np.array(state))
        self.finished += 1
        last = len(self.running) - 1
        if row != last:
            for array in self.arrays:
                array[row] = array[last]
            self.running[row] = self.running[last]
        self.running.pop()

    # -- one round ---------------------------------------------------------------------------

    def round(self) -> None:
        """Try one step in every row."""
        rows, scheme = slice(0, len(self.running)), self.scheme
        state, slopes, t = self.state[rows], self.slopes[rows], self.t[rows]
        wish = self.h[rows].copy()
        goal = self._goals(rows, wish)
        h = np.minimum(wish, goal - t)
        ends = np.where(wish >= goal - t, goal, t + h)
        wide = h[:, None]
        for stage in range(1, self.stages - 1):
            ahead = np.vecmat(scheme.A[stage, :stage], slopes[:, :stage])
            ahead *= wide
            ahead += state
            slopes[:, stage], _ = self.field(ahead, rows)
        after = np.vecmat(scheme.B, slopes[:, :-1])
        after *= wide
        after += state
        slopes[:, -1], r = self.field(after, rows)
        error = self._error(np.maximum(np.abs(state), np.abs(after)), slopes, h)
        good = error < 1.0
        values = self.values(r)
        factor = np.where(error == 0.0, _GROW, _SAFETY * error**_POWER)
        factor = np.clip(factor, _SHRINK, np.where(good & ~self.after_reject[rows], _GROW, 1.0))
        # An error that is not finite: a quarter of the step.
        next_h = h * np.where(np.isfinite(error), factor, 0.25)
        # After a step that was cut short to end on a time, as long a one as before.
        self.h[rows] = np.where(good & (h < wish), np.maximum(next_h, wish), next_h)
        self.after_reject[rows] = ~good
        # From the last row on, so that a row that takes the place of another was seen already.
        for row in reversed(range(len(self.running))):
            flow = self.running[row]
            flow.evaluations += self.stages - 1
            if good[row]:
                end = float(ends[row])
                self._accept(row, float(h[row]), end, after[row], float(values[row]))
            elif not self.h[row] > 1e-14 * (1.0 + self.t[row]):
                self.stop(row, "diverged", float(self.t[row]), self.state[row])
            elif flow.evaluations > self.budget:
                self.stop(row, "budget", float(self.t[row]), self.state[row])

    def _goals(self, rows: slice, h: Array) -> Array:
        """Return the time that each row must not step over."""
        place = self.next_time[rows]
        ahead, last = self.grid[place], float(self.grid[-1])
        before = np.where(place > 0, self.grid[place - 1], 0.0)
        return np.where(LANDING * h <= ahead - before, ahead, last)

    def _error(self, size: Array, slopes: Array, h: Array) -> Array:
        """Return the estimated error of the step over the tolerance."""
        scale = self.atol + self.rtol * size
        five = np.vecmat(self.scheme.E5, slopes) / scale
        three = np.vecmat(self.scheme.E3, slopes) / scale
        a, b = np.vecdot(five, five), np.vecdot(three, three)
        both = np.sqrt((a + 0.01 * b) * scale.shape[1])
        return np.asarray(np.where(a == 0.0, 0.0, h * a / both))

    def _accept(self, row: int, h: float, end: float, after: Array, value: float) -> None:
        flow, t = self.running[row], float(self.t[row])
        last = end == self.grid[-1]
        hit, place = value < self.tol, int(self.next_time[row])
        stop, final = end, after
        between: Callable[[float], Array] | None = None
        if hit or self.grid[place] < end:
            between = self._interpolant(row, h, after)
            flow.evaluations += len(self.scheme.C_EXTRA)
            if hit:
                stop = self._crossing(row, between, t, h)
                final = between((stop - t) / h)
        while place < self.grid.size and self.grid[place] <= stop:
            moment = float(self.grid[place])
            flow.times.append(moment)
            if between is None or moment == end:
                flow.states.append(after.copy())
            else:
                flow.states.append(between((moment - t) / h))
            place += 1
        self.next_time[row] = place
        self.state[row], self.t[row] = after, end
        self.slopes[row, 0] = self.slopes[row, -1]
        if hit:
            self.stop(row, "tolerance", stop, final)
        elif last:
            self.stop(row, "budget", end, after)
        elif flow.evaluations > self.budget:
            self.stop(row, "budget", end, after)

    def _interpolant(self, row: int, h: float, after: Array) -> Callable[[float], Array]:
        """Return the state as a function of the share of the step in a row."""
        scheme, here, before = self.scheme, slice(row, row + 1), self.state[row].copy()
        slopes = np.empty((self.stages + len(scheme.C_EXTRA), before.size))
        slopes[: self.stages] = self.slopes[row]
        for stage, weights in enumerate(scheme.A_EXTRA, start=self.stages):
            ahead = before + h * (weights[:stage] @ slopes[:stage])
            slopes[stage] = self.field(ahead[None], here)[0][0]
        delta = after - before
        parts = [
            delta,
            h * slopes[0] - delta,
            2.0 * delta - h * (slopes[self.stages - 1] + slopes[0]),
            *(h * (scheme.D @ slopes)),
        ]

        def between(share: float) -> Array:
            total = np.zeros_like(before)
            for i, part in enumerate(reversed(parts)):
                total = (total + part) * (share if i % 2 == 0 else 1.0 - share)
            return np.asarray(before + total)

        return between

    def _crossing(self, row: int, between: Callable[[float], Array], t: float, h: float) -> float:
        """Return the first time in the step with a loss below the tolerance, by bisection."""
        low, high, here = 0.0, 1.0, slice(row, row + 1)
        for _ in range(_ROOT_STEPS):
            middle = 0.5 * (low + high)
            r = self.observe(between(middle)[None], here)[2]
            if self.values(r)[0] < self.tol:
                high = middle
            else:
                low = middle
        return t + high * h
