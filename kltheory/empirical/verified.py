"""Verified descent on many reduced runs, as one array program.

At every round each row tries one step.  Rows whose loss fell by enough go on from there; the others
stay and halve their step.  With V trained the step tried is not carried out: its observation is
(P - (η/k) q φᵀ)φ⁺ = Pφ⁺ - (η/k) q ⟨φ, φ⁺⟩.  A run's bits do not depend on its company.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.batch import Job, Progress, capacity
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.reduced import Reduced
from kltheory.empirical.single import ROUNDING, SingleRun
from kltheory.loss_functions import RadialLoss

__all__ = ["run_verified"]

Array = NDArray[np.float64]

_LOOK_UP = 64


def run_verified(
    jobs: list[Job],
    *,
    steps: int,
    tol: float,
    every: int,
    interrupted: Callable[[], bool],
    progress: Progress | None = None,
) -> Iterator[tuple[int, SingleRun]]:
    """Run jobs of one shape, loss, activation and mode; yield (index, run) as they finish.

    The rule for the step is that of `run_single`.  Once `interrupted()` is true the runs under way
    are yielded as they stand; those that did not start are left out.
    """
    engine = _Engine(jobs, steps, tol, every)
    total, rounds = steps * len(jobs), 0
    with np.errstate(all="ignore"):
        yield from engine.fill()
        while engine.running and not interrupted():
            engine.round()
            yield from engine.fill()
            rounds += 1
            if progress is not None and (rounds % _LOOK_UP == 0 or not engine.running):
                under_way = sum(len(row.run.losses) - 1 for row in engine.running)
                progress(engine.finished * steps + under_way, total)
        for row in reversed(range(len(engine.running))):
            engine.stop(row, "interrupted")
        yield from engine.fill()


class _Row:
    """The run in one row."""

    __slots__ = ("job", "reduced", "run")

    def __init__(self, job: Job, reduced: Reduced) -> None:
        self.job, self.reduced, self.run = job, reduced, SingleRun()


class _Engine:
    """The arrays of `run_verified`; the letters are those of `reduced`."""

    def __init__(self, jobs: list[Job], steps: int, tol: float, every: int) -> None:
        self.queue = list(reversed(jobs))
        self.steps, self.tol, self.every = steps, tol, every
        self.first: Reduced | None = jobs[0].system()
        first = self.first
        self.loss, self.activation = first.problem.loss, first.network.activation
        self.both = first.train == "both"
        if self.both:
            from scipy.linalg.blas import dger

            self._dger = dger
        (q, k), m = first.inner.shape, first.problem.m
        size = capacity(q, k, len(jobs))
        self.inner = np.empty((size, q, k))
        self.outer = None if first.outer is None else np.empty((size, m, q))
        self.y, self.z = np.empty((size, m)), np.empty((size, k))
        self.omega, self.eta, self.top = np.empty((size, 1)), np.empty((size, 1)), np.empty(size)
        self.phi, self.r = np.empty((size, k)), np.empty((size, m))
        self.rho, self.value = np.empty(size), np.empty(size)
        self.at_once = np.ones(size, dtype=np.bool_)
        self.arrays = [
            array
            for array in (
                self.inner,
                self.outer,
                self.y,
                self.z,
                self.omega,
                self.eta,
                self.top,
                self.phi,
                self.r,
                self.rho,
                self.value,
                self.at_once,
            )
            if array is not None
        ]
        self.direction: tuple[Array, Array, Array] | None = None  # as long as no row moves
        self.running: list[_Row] = []
        self.done: list[tuple[int, SingleRun]] = []
        self.finished = 0

    # -- rows --------------------------------------------------------------------------------

    def fill(self) -> list[tuple[int, SingleRun]]:
        """Give the free rows to runs that wait, and return the runs that are done."""
        while self.queue and len(self.running) < self.y.shape[0]:
            self._start(self.queue.pop())
        done, self.done = self.done, []
        return done

    def _start(self, job: Job) -> None:
        reduced, self.first = (self.first or job.system()), None
        row = len(self.running)
        self.running.append(_Row(job, reduced))
        self.direction = None
        self.inner[row], self.z[row] = reduced.inner, reduced.z0
        self.y[row] = reduced.problem.observation
        if self.outer is not None:
            self.outer[row] = reduced.outer
        self.omega[row] = reduced.network.omega
        self.eta[row] = self.top[row] = job.step
        self.at_once[row] = True
        here = slice(row, row + 1)
        self.phi[here] = self.activation.phi(self.z[here])
        self.r[here] = self._residual(here, np.matvec(self.inner[here], self.phi[here]))
        self.rho[here], self.value[here] = self._losses(self.r[here])
        self._note(row)

    def stop(self, row: int, status: str) -> None:
        """Finish the run in a row; the last one takes its place."""
        one = self.running[row]
        last_step = len(one.run.losses) - 1
        if not one.run.recorded or one.run.recorded[-1] != last_step:
            one.run.recorded.append(last_step)
            one.run.drift.append(self._drift(row))
        one.run.status, one.run.network = status, self._network(row)
        self.done.append((one.job.index, one.run))
        self.finished += 1
        last = len(self.running) - 1
        if row != last:
            for array in self.arrays:
                array[row] = array[last]
            self.running[row] = self.running[last]
        self.running.pop()
        self.direction = None

    def _note(self, row: int) -> None:
        """Record the iterate in a row, and stop the run if it is done."""
        one, value = self.running[row], float(self.value[row])
        run = one.run
        step = len(run.losses)
        run.losses.append(value)
        run.residuals.append(float(self.rho[row]))
        if step % self.every == 0:
            run.recorded.append(step)
            run.drift.append(self._drift(row))
        if not math.isfinite(value):
            self.stop(row, "diverged")
        elif value < self.tol:
            self.stop(row, "tolerance")
        elif step == self.steps:
            self.stop(row, "budget")
        elif step in one.job.watch:
            run.watched.append((step, self._network(row)))

    def _drift(self, row: int) -> float:
        reduced = self.running[row].reduced
        moved = self.z[row] - reduced.z0
        square = float(moved @ moved) / reduced.network.omega
        if self.both:
            square += reduced.k * float(np.square(self.inner[row] - reduced.inner).sum())
        return float(np.sqrt(square))

    def _network(self, row: int) -> TwoLayerNetwork:
        inner = self.inner[row].copy() if self.both else None
        return self.running[row].reduced.trained(self.z[row].copy(), inner)

    # -- one round ---------------------------------------------------------------------------

    def _residual(self, rows: slice, x: Array) -> Array:
        y = x if self.outer is None else np.matvec(self.outer[rows], x)
        return np.asarray(y - self.y[rows])

    def _losses(self, r: Array) -> tuple[Array, Array]:
        """Return ‖r‖ and the loss."""
        rho = np.sqrt(np.vecdot(r, r))
        radial = self.loss if isinstance(self.loss, RadialLoss) else None
        return rho, self.loss.value(r, 0.0) if radial is None else radial.profile(rho)

    def _direction(self, rows: slice) -> tuple[Array, Array, Array]:
        """Return q, the velocity of z, and ‖∇f‖²."""
        q = self.loss.gradient(self.r[rows], 0.0)
        if self.outer is not None:
            q = np.vecmat(q, self.outer[rows])
        slope = self.activation.dphi(self.z[rows]) * np.vecmat(q, self.inner[rows])
        velocity = self.omega[rows] * slope
        speed = np.vecdot(slope, velocity)
        if self.both:
            phi = self.phi[rows]
            speed += np.vecdot(q, q) * np.vecdot(phi, phi) / self.z.shape[1]
        return q, velocity, speed

    def round(self) -> None:
        """Try one step in every row."""
        rows = slice(0, len(self.running))
        inner, z, phi, eta = self.inner[rows], self.z[rows], self.phi[rows], self.eta[rows]
        value = self.value[rows]
        if self.direction is None:
            self.direction = self._direction(rows)
        q, velocity, speed = self.direction
        z_tried = z - eta * velocity
        phi_tried = self.activation.phi(z_tried)
        x = np.matvec(inner, phi_tried)
        if self.both:
            x -= eta * q * (np.vecdot(phi, phi_tried) / z.shape[1])[:, None]
        r_tried = self._residual(rows, x)
        rho_tried, value_tried = self._losses(r_tried)
        fall = 0.5 * eta[:, 0] * speed
        good = value_tried <= value - fall
        tried = eta[:, 0].tolist()
        if good.all():
            stalled = ~good
            if self.both:
                self._move_inner(list(range(len(tried))), q)
            self.direction = None
            z[...], phi[...], value[...] = z_tried, phi_tried, value_tried
            self.r[rows], self.rho[rows] = r_tried, rho_tried
        else:
            stalled = ~good & (fall < ROUNDING * value)
            if self.both:
                self._move_inner(np.flatnonzero(good).tolist(), q)
            if good.any():
                self.direction = None
            np.copyto(z, z_tried, where=good[:, None])
            np.copyto(phi, phi_tried, where=good[:, None])
            np.copyto(self.r[rows], r_tried, where=good[:, None])
            np.copyto(self.rho[rows], rho_tried, where=good)
            np.copyto(value, value_tried, where=good)
        # A step that was good at once may be twice as long next time.
        double = good & self.at_once[rows]
        longer = np.minimum(2.0 * eta[:, 0], self.top[rows])
        np.copyto(eta[:, 0], longer, where=double)
        np.copyto(eta[:, 0], 0.5 * eta[:, 0], where=~good)
        self.at_once[rows] = good
        # From the last row on, so that a row that takes the place of another was seen already.
        accepted, given_up = good.tolist(), stalled.tolist()
        for row in reversed(range(len(tried))):
            if accepted[row]:
                run = self.running[row].run
                run.t.append(run.t[-1] + tried[row])
                self._note(row)
            elif given_up[row]:
                self.stop(row, "stalled")

    def _move_inner(self, good: list[int], q: Array) -> None:
        """P ← P - (η/k) q φᵀ, by BLAS, in place."""
        scale = (-self.eta[:, 0] / self.z.shape[1]).tolist()
        for row in good:
            self._dger(scale[row], self.phi[row], q[row], a=self.inner[row].T, overwrite_a=1)
