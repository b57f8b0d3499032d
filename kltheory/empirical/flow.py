"""Gradient flow θ' = -∇L(y(θ)) with error control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.empirical.certified import errors_of
from kltheory.empirical.enclosure import why_not
from kltheory.empirical.flow_batch import LANDING, Flow, run_flows
from kltheory.empirical.forms import FlowForm, ObservationForm, make_form
from kltheory.empirical.interrupt import deferred_interrupt
from kltheory.empirical.mirror import MirrorForm
from kltheory.empirical.network import TwoLayerNetwork, check_train
from kltheory.empirical.reduced import has_reduction, reduce
from kltheory.empirical.step_size import unstable_from
from kltheory.empirical.trajectory import (
    Accuracy,
    Trajectory,
    increasing_times,
    left_domain,
    not_finite,
)
from kltheory.errors import InputError
from kltheory.loss_functions import ObservedLoss
from kltheory.problem import Problem

__all__ = [
    "FLOW_FORMS",
    "Integration",
    "conservation_defect",
    "flow",
    "flow_form",
    "increasing_times",
]

Array = NDArray[np.float64]

FLOW_FORMS = ("auto", "mirror", "observation", "signal", "full")
"""The variables of the computation; "mirror" is the flow in m variables (V fixed, F = A)."""

_QUICK_INVERSE = ("sigmoid", "softplus", "sin", "arctan")
_ROOT_STEPS = 60
_SHORT = 500.0
"""Up to so many of the largest stable steps of descent, DOP853 in z is faster than LSODA."""


@overload
def flow(
    problem: Problem, network: TwoLayerNetwork, train: str = ..., *, times: ArrayLike,
    tol: float = ..., rtol: float = ..., atol: float = ..., form: str = ...,
    sigma_min: bool = ..., certify: bool = ..., max_evaluations: int = ...,
    progress: Callable[[int, int], None] | None = ...,
) -> Trajectory: ...  # fmt: skip
@overload
def flow(
    problem: Sequence[Problem], network: Sequence[TwoLayerNetwork], train: str = ..., *,
    times: ArrayLike, tol: float = ..., rtol: float = ..., atol: float = ..., form: str = ...,
    sigma_min: bool = ..., certify: bool = ..., max_evaluations: int = ...,
    progress: Callable[[int, int], None] | None = ...,
) -> list[Trajectory]: ...  # fmt: skip
def flow(
    problem: Problem | Sequence[Problem],
    network: TwoLayerNetwork | Sequence[TwoLayerNetwork],
    train: str = "hidden",
    *,
    times: ArrayLike,
    tol: float = 0.0,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    form: str = "auto",
    sigma_min: bool = False,
    certify: bool = False,
    max_evaluations: int = 1_000_000,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory | list[Trajectory]:
    """Follow the gradient flow and return it at the given times (and where the loss reaches tol).

    Lists of problems and networks give the same numbers as one by one; flows in z, and Q V if V is
    trained, are computed as one batch, by DOP853.  These are the variables for F = A, except for
    long flows with V fixed and a φ with a quick Z⁻¹: the m-dimensional flow, by LSODA with its
    m × m Jacobian, one by one.  For a nonlinear F: z and V, by DOP853.
    `rtol` and `atol` control the error of each step in those variables; `accuracy` of the result
    repeats them, and with both layers trained says how well the conserved quantities were kept.
    The states between the steps of DOP853 are some hundred times less accurate than those at them,
    where the steps end on `times` that lie ten steps apart or more: for many times take a smaller
    rtol, which costs little.
    With `sigma_min`, σ_min(J_g) is evaluated at every time.
    With `certify`, `accuracy.error` bounds ‖θ̂(t) - θ(t)‖ at every time, θ̂ what is returned and θ
    the exact flow, and `accuracy.observation_error` the same of y: a second integration is followed
    with a proof (see `certified_flow`, also for where there is one), and the distance to it added.
    Ctrl-C keeps what was computed.
    `progress` is called with (thousandths done, 1000) over all flows.

    >>> import numpy as np
    >>> net = TwoLayerNetwork.draw(n=2, k=50, d=4, seed=0)
    >>> run = flow(Problem(np.array([[0.6, 0.8]]), [0.3]), net, times=[0.0, 10.0, 20.0])
    >>> run.t.tolist(), bool(run.loss[2] < run.loss[1] < run.loss[0])
    ([0.0, 10.0, 20.0], True)
    """
    check_train(train)
    single = isinstance(problem, Problem)
    problems = [problem] if isinstance(problem, Problem) else list(problem)
    networks = [network] if isinstance(network, TwoLayerNetwork) else list(network)
    if len(problems) != len(networks) or not problems:
        raise InputError(
            f"got {len(problems)} problems and {len(networks)} networks: give as many of each."
        )
    grid = increasing_times(times)
    if form not in FLOW_FORMS:
        raise InputError(f"form: got {form!r}; allowed are {', '.join(FLOW_FORMS)}.")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{name}: got {value!r}; it must be a positive number.")
    for p, net in zip(problems, networks, strict=True):
        p.require_size(net.n)
        if certify:
            _require_certified(form, p, net, train)
    integrations = [
        Integration(_form_until(float(grid[-1]), form, p, net, train), train, rtol, atol, tol)
        for p, net in zip(problems, networks, strict=True)
    ]
    with deferred_interrupt() as interrupted:
        _run_all(integrations, grid, max_evaluations, interrupted, progress)
        errors = [one.errors(interrupted) if certify else None for one in integrations]
    runs = [one.trajectory(sigma_min, e) for one, e in zip(integrations, errors, strict=True)]
    return runs[0] if single else runs


def _run_all(
    integrations: list[Integration],
    grid: Array,
    budget: int,
    interrupted: Callable[[], bool],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run flows in the observation form together, and the others one by one."""
    finished, total = 0, len(integrations)

    def share(part: float) -> None:
        if progress is not None:
            progress(int(1000 * (finished + part) / total), 1000)

    groups: dict[tuple[object, ...], list[tuple[Integration, Flow]]] = {}
    for one in integrations:
        if _batched(one):
            assert isinstance(one.form, ObservationForm)
            reduced = one.form.reduced
            key = (reduced.inner.shape, one.problem.m, one.problem.loss, reduced.network.activation)
            groups.setdefault(key, []).append((one, Flow(one.form)))
    for group in groups.values():
        first, flows = group[0][0], [flow for _, flow in group]
        run_flows(
            flows,
            grid,
            tol=first.tol,
            rtol=first.rtol,
            atol=first.atol,
            budget=budget,
            interrupted=interrupted,
            progress=share,
        )
        for one, flow in group:
            one.take(flow)
        finished += len(flows)
    for one in integrations:
        if not _batched(one):
            one.run(grid, budget, interrupted, share)
            finished += 1


def _step(solver: Any, before: float, ahead: float, last: float) -> None:
    """Take a step, and end it at `ahead` instead of stepping over it if that is `LANDING` away."""
    wish = getattr(solver, "h_abs", np.inf)
    landing = LANDING * wish <= ahead - before
    solver.t_bound, solver.status = ahead if landing else last, "running"
    solver.step()
    if landing and solver.status == "finished":
        solver.h_abs = max(solver.h_abs, wish)


def _batched(one: Integration) -> bool:
    """Return whether a flow is computed together with others."""
    return isinstance(one.form, ObservationForm) and not isinstance(one.problem.loss, ObservedLoss)


def _require_certified(form: str, problem: Problem, network: TwoLayerNetwork, train: str) -> None:
    """Refuse what has no certified flow."""
    reason = why_not(problem, network, train)
    if reason is None and form not in ("auto", "mirror", "observation"):
        reason = f"form {form!r} has other variables; use 'auto'"
    if reason is not None:
        raise InputError(f"certify: there is no certified flow here: {reason}.")


def _form_until(
    end: float, label: str, problem: Problem, network: TwoLayerNetwork, train: str
) -> FlowForm:
    """Return the variables for a flow to a given time: z if it is short, for V fixed."""
    if label == "auto" and train == "hidden" and problem.linear:
        reduced = reduce(problem, network, train)
        if end <= _SHORT * unstable_from(problem, network, train, reduced):
            return ObservationForm(reduced)
    return flow_form(label, problem, network, train)


def flow_form(label: str, problem: Problem, network: TwoLayerNetwork, train: str) -> FlowForm:
    """Return the variables in which a flow is followed; `label` is one of `FLOW_FORMS`."""
    reducible = has_reduction(problem, train)
    mirrored = train == "hidden" and reducible and not isinstance(problem.loss, ObservedLoss)
    if label == "mirror" and not mirrored:
        raise InputError(
            "form 'mirror' needs train='hidden', a linear F and a loss of v - y; use 'auto'."
        )
    if label == "auto" and mirrored and network.activation.name in _QUICK_INVERSE:
        moving = bool((network.activation.dphi(network.z) != 0.0).all())
        label = "mirror" if moving and problem.m < network.k else label
    if label == "mirror":
        return MirrorForm(reduce(problem, network, train))
    if label == "auto":
        label = "observation" if reducible else "signal"
    if label == "observation" and not reducible:
        raise InputError("form 'observation' needs a linear F; use 'signal' or 'auto'.")
    return make_form(label, problem, network, train)


class Integration:
    """One run of an integrator, with what it passed through."""

    def __init__(self, form: FlowForm, train: str, rtol: float, atol: float, tol: float) -> None:
        """Start at the start of the form."""
        self.form, self.train, self.tol = form, train, tol
        self.rtol, self.atol = rtol, atol
        self.problem = form.problem
        self.evaluations = 0
        self.times: list[float] = []
        self.states: list[Array] = []
        self.status, self.method = "budget", ""
        self.reached = 0.0

    def field(self, t: float, state: Array) -> Array:
        """Return the right-hand side."""
        self.evaluations += 1
        return -self.form.velocity(state, self.form.observe(state))

    def loss(self, state: Array) -> float:
        """Return the loss at a state."""
        return float(self.problem.loss_value(self.form.observe(state)))

    def keep(self, t: float, state: Array) -> None:
        """Note a state that was asked for."""
        self.times.append(t)
        self.states.append(np.array(state))

    def solver(self, end: float) -> Any:
        """Return the integrator that suits the form."""
        from scipy.integrate import DOP853, LSODA

        start = self.form.start.copy()
        if isinstance(self.form, MirrorForm):
            self.method = "LSODA, mirror form"
            form, jac = self.form, None
            if self.problem.loss.name == "mse":

                def jac(t: float, state: Array) -> Array:
                    return -form.hessian(state)

            return LSODA(self.field, 0.0, start, end, rtol=self.rtol, atol=self.atol, jac=jac)
        self.method = f"DOP853, {self.form.label} form"
        return DOP853(self.field, 0.0, start, end, rtol=self.rtol, atol=self.atol)

    def take(self, flow: Flow) -> None:
        """Take over a flow that was computed together with others."""
        self.times, self.states = flow.times, flow.states
        self.status, self.evaluations = flow.status, flow.evaluations
        self.method, self.reached = f"DOP853, {self.form.label} form", flow.end

    def run(
        self,
        grid: Array,
        budget: int,
        interrupted: Callable[[], bool],
        share: Callable[[float], None],
    ) -> None:
        """Integrate to the last time, the tolerance, the budget or Ctrl-C."""
        start = self.form.start
        pending = list(grid[::-1])
        if pending[-1] == 0.0:
            self.keep(pending.pop(), start)
        if self.loss(start) < self.tol:
            self._finish("tolerance", 0.0, start)
            return
        if not np.isfinite(self.loss(start)):
            self._finish(not_finite(self.problem, self.form.observe(start)), 0.0, start)
            return
        if not pending:
            return
        solver, before = self.solver(float(grid[-1])), 0.0
        while self.reached < grid[-1]:
            _step(solver, before, pending[-1], float(grid[-1]))
            if solver.status == "failed" or not np.isfinite(solver.y).all():
                self._finish("diverged", self.reached, self.states[-1] if self.states else start)
                return
            end, hit, between = float(solver.t), None, None
            low = self.tol > 0 and self.loss(solver.y) < self.tol
            if low or pending[-1] < end:
                between = solver.dense_output()
            if low:
                hit = self._crossing(between, float(solver.t_old), end)
                end = hit
            while pending and pending[-1] <= end:
                before = float(pending.pop())
                self.keep(before, solver.y if between is None else between(before))
            self.reached = end
            if hit is not None:
                assert between is not None
                self._finish("tolerance", hit, between(hit))
                return
            if interrupted() or self.evaluations > budget:
                status = "interrupted" if interrupted() else "budget"
                self._finish(status, end, np.array(solver.y))
                return
            share(end / float(grid[-1]))

    def _crossing(self, between: Any, low: float, high: float) -> float:
        """Return the first time at which the loss is below the tolerance, by bisection."""
        for _ in range(_ROOT_STEPS):
            middle = 0.5 * (low + high)
            if self.loss(between(middle)) < self.tol:
                high = middle
            else:
                low = middle
        return high

    def _finish(self, status: str, t: float, state: Array) -> None:
        self.status = status
        if not self.times or self.times[-1] < t:
            self.keep(t, state)

    def errors(self, interrupted: Callable[[], bool]) -> tuple[Array, Array]:
        """Return certified bounds on the errors of θ and of y at the states that were kept."""
        form = self.form
        if isinstance(form, MirrorForm):
            network = form.network
            parameters = [(form.z(state), form.matrix) for state in self.states]
        else:
            assert isinstance(form, ObservationForm)
            network = form.reduced.network
            parameters = [form.parts(state) for state in self.states]
        y = [form.observe(state) for state in self.states]
        times = np.array(self.times)
        return errors_of(self.problem, network, self.train, times, parameters, y, interrupted)

    def trajectory(
        self, sigma_min: bool, certified: tuple[Array, Array] | None = None
    ) -> Trajectory:
        """Evaluate everything at the states that were kept."""
        error, observation_error = (None, None) if certified is None else certified
        form, problem = self.form, self.problem
        y = [form.observe(state) for state in self.states]
        loss = np.array([float(problem.loss_value(v)) for v in y])
        residual = np.array([float(np.linalg.norm(v - problem.observation)) for v in y])
        drift = np.array([form.drift(state) for state in self.states])
        errors, sigmas, watched = None, None, np.arange(0)
        if problem.signal is not None or sigma_min:
            networks = [form.network_at(state) for state in self.states]
            watched = np.arange(len(networks))
            if problem.signal is not None:
                errors = np.array(
                    [np.linalg.norm(net.forward() - problem.signal) for net in networks]
                )
            if sigma_min:
                sigmas = np.array([net.sigma_min(self.train) for net in networks])
        t = np.array(self.times)
        return Trajectory(
            t=t,
            loss=loss,
            residual=residual,
            drift=drift,
            losses=loss,
            watched=watched.astype(np.intp),
            signal_error=errors,
            sigma_min=sigmas,
            network=form.network_at(self.states[-1]),
            train=self.train,
            method="flow",
            form=form.label,
            step=None,
            steps=self.evaluations,
            converged=self.status == "tolerance",
            status=self.status,
            reason=self._reason(float(t[-1]), float(loss[-1])),
            accuracy=Accuracy(
                self.method, self.rtol, self.atol, self._conservation(), error, observation_error
            ),
        )

    def _reason(self, t: float, loss: float) -> str:
        if self.status == "tolerance":
            return f"the loss reached {self.tol:g} at t = {t:.6g}"
        if self.status == "domain":
            return left_domain(self.problem, f"t = {t:.6g}", t == 0.0)
        if self.status == "diverged":
            return f"the integrator failed after t = {t:.6g}"
        if self.status == "interrupted":
            return f"interrupted at t = {t:.6g}, at loss {loss:.3g}"
        return f"followed to t = {t:.6g}, at loss {loss:.3g}"

    def _conservation(self) -> float | None:
        """Return the largest change of a conserved quantity, relative to 1 + ‖V_i(0)‖²."""
        if self.train != "both":
            return None
        first, last = (self.form.network_at(s) for s in (self.form.start, self.states[-1]))
        size = 1.0 + np.square(first.columns.norms())
        return float((np.abs(conservation_defect(first, last)) / size).max())


def conservation_defect(before: TwoLayerNetwork, after: TwoLayerNetwork) -> Array:
    """Return the change of ‖V_i‖² - G(z_i)/ω of every neuron, G' = 2φ/φ': 0 along the exact flow.

    Holds for any F and any loss when both layers are trained, since ‖V_i‖² has the derivative
    -(2/√k) φ(z_i) V_iᵀq and z_i the derivative -(ω/√k) φ'(z_i) V_iᵀq.  The change of G is
    integrated from z_i(0) to z_i(t), so that large values of G cost no digits.
    """
    phi, dphi = before.activation.phi, before.activation.dphi
    nodes, weights = np.polynomial.legendre.leggauss(48)
    half = 0.5 * (after.z - before.z)
    points = before.z + half * (1.0 + nodes[:, None])
    with np.errstate(all="ignore"):
        ratio = np.where(half == 0.0, 0.0, 2.0 * phi(points) / dphi(points))
    change = half * (weights @ ratio)
    squares = np.square(after.columns.norms()) - np.square(before.columns.norms())
    return np.asarray(squares - change / before.omega)
