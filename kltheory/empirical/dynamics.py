"""Training: gradient descent and gradient flow, one run or many, in the cheapest exact form.

>>> import numpy as np
>>> from kltheory.problem import Problem
>>> from kltheory.empirical.network import TwoLayerNetwork
>>> problem = Problem(np.array([[0.6, 0.8]]), [0.3])
>>> net = TwoLayerNetwork.draw(n=2, k=50, d=4, seed=0)
>>> run = descend(problem, net, step=1.0, steps=2000, tol=1e-12)
>>> run.converged, run.form, bool(run.loss[-1] < 1e-12)
(True, 'observation', True)

Progress is told to a function, here one that keeps the last share; a bar is drawn in the same way:

>>> shares = [0.0]
>>> run = descend(problem, net, steps=600, tol=0.0, progress=lambda j, of: shares.append(j / of))
>>> shares == sorted(shares) and shares[-1] == 1.0
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.batch import Job, Outcome, Progress, run_batch
from kltheory.empirical.flow import flow
from kltheory.empirical.forms import make_form
from kltheory.empirical.interrupt import deferred_interrupt
from kltheory.empirical.network import TwoLayerNetwork, check_train
from kltheory.empirical.reduced import Reduced, has_reduction, reduce
from kltheory.empirical.single import SingleRun, run_single
from kltheory.empirical.step_size import safe_step, unstable_from
from kltheory.empirical.trajectory import Trajectory, left_domain
from kltheory.empirical.verified import run_verified
from kltheory.errors import InputError
from kltheory.loss_functions import ObservedLoss
from kltheory.problem import Problem

__all__ = ["FORMS", "Trajectory", "descend", "flow"]

Array = NDArray[np.float64]

FORMS = ("auto", "full", "signal", "observation")
"""The variables of the computation: W and V; z = W u and V; z and the observed part of V.  All give
the same trajectory; "auto" takes the last that there is."""

_KEPT_ENTRIES = 2**26


@overload
def descend(
    problem: Problem, network: TwoLayerNetwork, train: str = ..., *, step: float | str = ...,
    steps: int = ..., tol: float = ..., verified: bool = ..., form: str = ..., every: int = ...,
    watch: Iterable[int] = ..., sigma_min: bool = ..., fast: bool = ..., stop_failed: bool = ...,
    allow_unstable: bool = ..., progress: Progress | None = ...,
) -> Trajectory: ...  # fmt: skip
@overload
def descend(
    problem: Sequence[Problem], network: Sequence[TwoLayerNetwork], train: str = ..., *,
    step: float | str | Sequence[float] = ..., steps: int = ..., tol: float = ...,
    verified: bool = ..., form: str = ..., every: int = ..., watch: Iterable[int] = ...,
    sigma_min: bool = ..., fast: bool = ..., stop_failed: bool = ..., allow_unstable: bool = ...,
    progress: Progress | None = ...,
) -> list[Trajectory]: ...  # fmt: skip
def descend(
    problem: Problem | Sequence[Problem],
    network: TwoLayerNetwork | Sequence[TwoLayerNetwork],
    train: str = "hidden",
    *,
    step: float | str | Sequence[float] = "safe",
    steps: int = 25_000,
    tol: float = 1e-7,
    verified: bool = False,
    form: str = "auto",
    every: int = 1,
    watch: Iterable[int] = (),
    sigma_min: bool = False,
    fast: bool = True,
    stop_failed: bool = True,
    allow_unstable: bool = False,
    progress: Progress | None = None,
) -> Trajectory | list[Trajectory]:
    """Train by gradient descent θ⁺ = θ - η ∇L(y(θ)), until the loss is below `tol`.

    Lists of problems and networks give the same numbers as one by one.  Runs in the observation
    form are computed as one batch; others, as of an F that is a function or of a loss that is not
    one of v - y, one after the other.  Where y leaves the domain of the loss, the run ends.
    A run ends on the tolerance, on a proof that this width cannot reach it (`stop_failed`), or
    after `steps`; its `reason` says which.  Proofs are looked for with radial losses and F = A: for
    a bounded φ every 64 steps, for an unbounded one once, after some 20m steps.  Ctrl-C ends all
    runs and keeps what they have.

    step: η; "safe" takes `step_size.safe_step`.  A step that is unstable at the initialisation is
        refused with the largest stable one, unless `allow_unstable`.
    verified: halve the step until the loss falls by η‖∇f‖²/2 (then `step` is the first one tried).
    form: one of `FORMS`.
    every: record time, loss, residual and drift at every so many steps, and at the last;
        `losses` holds every step in any case.  With both layers trained the drift of every step
        takes a quarter to two thirds more time, of every tenth step nearly none.
    watch: steps at which ‖x - x̄‖ (if the signal is known) and, with `sigma_min`, σ_min(J_g) are
        evaluated; multiples of `every`.  The last step is added.
    fast: for sigmoid and tanh, the step without exponentials: the same iterates to rounding.
    progress: called now and then with (steps done, steps in all) over all runs, a run that ended
        early counting as done.

    Raises InputError for shapes that do not fit, an unstable step, or a form that does not exist.
    """
    check_train(train)
    single = isinstance(problem, Problem)
    problems, networks = _pairs(problem, network)
    steps, every = _whole("steps", steps, 0), _whole("every", every, 1)
    if not (np.isfinite(tol) and tol >= 0):
        raise InputError(f"tol: got {tol!r}; it must be a number >= 0 (0: run all steps).")
    if form not in FORMS:
        raise InputError(f"form: got {form!r}; allowed are {', '.join(FORMS)}.")
    watched = tuple(sorted({_whole("watch", w, 0) for w in watch}))
    if any(w % every for w in watched):
        raise InputError(f"watch: {watched}; each must be a multiple of every = {every}.")
    settings = _Settings(
        train, steps, tol, verified, every, watched, sigma_min, fast, stop_failed, progress
    )
    labels = [_label(form, p, train) for p in problems]
    given = _given_steps(step, len(problems))
    any_step = verified or allow_unstable
    etas, kept = _prepare(problems, networks, given, labels, train, any_step)
    with deferred_interrupt() as interrupted:
        runs = _run_all(settings, problems, networks, etas, labels, kept, interrupted)
    return runs[0] if single else runs


class _Settings:
    """What is common to all runs of one call."""

    __slots__ = (
        "every",
        "fast",
        "progress",
        "sigma_min",
        "steps",
        "stop_failed",
        "tol",
        "train",
        "verified",
        "watch",
    )

    def __init__(
        self,
        train: str,
        steps: int,
        tol: float,
        verified: bool,
        every: int,
        watch: tuple[int, ...],
        sigma_min: bool,
        fast: bool,
        stop_failed: bool,
        progress: Progress | None,
    ) -> None:
        self.train, self.steps, self.tol, self.verified = train, steps, tol, verified
        self.every, self.watch, self.sigma_min = every, watch, sigma_min
        self.fast, self.stop_failed, self.progress = fast, stop_failed, progress


# -- checking what was asked for -----------------------------------------------------------------


def _pairs(
    problem: Problem | Sequence[Problem], network: TwoLayerNetwork | Sequence[TwoLayerNetwork]
) -> tuple[list[Problem], list[TwoLayerNetwork]]:
    problems = [problem] if isinstance(problem, Problem) else list(problem)
    networks = [network] if isinstance(network, TwoLayerNetwork) else list(network)
    if isinstance(problem, Problem) != isinstance(network, TwoLayerNetwork):
        raise InputError("give one problem and one network, or a list of each.")
    if len(problems) != len(networks) or not problems:
        raise InputError(
            f"got {len(problems)} problems and {len(networks)} networks: give as many of each."
        )
    for p, net in zip(problems, networks, strict=True):
        if not isinstance(p, Problem) or not isinstance(net, TwoLayerNetwork):
            raise InputError(
                f"got {type(p).__name__} and {type(net).__name__}; give Problem and "
                "TwoLayerNetwork objects."
            )
        p.require_size(net.n)
    return problems, networks


def _whole(name: str, value: float, least: int) -> int:
    if isinstance(value, bool) or not np.isfinite(value) or int(value) != value or value < least:
        raise InputError(f"{name}: got {value!r}; it must be a whole number >= {least}.")
    return int(value)


def _label(form: str, problem: Problem, train: str) -> str:
    reducible = has_reduction(problem, train)
    if form == "auto":
        return "observation" if reducible else "signal"
    if form == "observation" and not reducible:
        raise InputError(
            "form 'observation' needs a linear F"
            + (" with a known row space" if problem.linear else "")
            + "; use 'signal' or 'auto'."
        )
    return form


def _given_steps(step: float | str | Sequence[float], runs: int) -> list[float | None]:
    """Return one step for each run; None where the safe step is to be taken."""
    if isinstance(step, str):
        if step != "safe":
            raise InputError(f"step: got {step!r}; give a number, or 'safe'.")
        return [None] * runs
    given = np.atleast_1d(np.asarray(step, dtype=np.float64))
    if (
        given.ndim != 1
        or given.size not in (1, runs)
        or (np.ndim(step) == 1 and given.size != runs)
    ):
        raise InputError(f"got {given.size} steps for {runs} runs: give one of each.")
    for eta in given:
        if not (np.isfinite(eta) and eta > 0):
            raise InputError(f"step: got {float(eta)!r}; it must be a positive number.")
    return [float(eta) for eta in np.broadcast_to(given, runs)]


def _prepare(
    problems: list[Problem],
    networks: list[TwoLayerNetwork],
    given: list[float | None],
    labels: list[str],
    train: str,
    any_step: bool,
) -> tuple[list[float], list[Reduced | None]]:
    """Fix the steps, refuse unstable ones, and keep the reduced systems if they are small."""
    total = sum(p.m * net.k for p, net in zip(problems, networks, strict=True))
    keep = total <= _KEPT_ENTRIES or len(problems) == 1
    etas: list[float] = []
    kept: list[Reduced | None] = []
    for problem, network, eta, label in zip(problems, networks, given, labels, strict=True):
        reduced = reduce(problem, network, train) if label == "observation" else None
        if eta is None:
            eta = safe_step(problem, network, train, reduced).value
        elif not any_step:
            limit = unstable_from(problem, network, train, reduced)
            if not eta < limit:
                raise InputError(
                    f"the step {eta:g} is unstable at this initialisation: the largest stable "
                    f"step is {limit:.4g}. Take a smaller step, or allow_unstable=True."
                )
        etas.append(eta)
        kept.append(reduced if keep else None)
    return etas, kept


# -- running ---------------------------------------------------------------------------------------


def _run_all(
    settings: _Settings,
    problems: list[Problem],
    networks: list[TwoLayerNetwork],
    etas: list[float],
    labels: list[str],
    kept: list[Reduced | None],
    interrupted: Callable[[], bool],
) -> list[Trajectory]:
    found: dict[int, Trajectory] = {}
    finished, total = 0, settings.steps * len(problems)

    def report(done: int, of: int) -> None:
        if settings.progress is not None:
            settings.progress(finished + done, total)

    for batch in _groups(settings, problems, networks, labels):
        jobs = [
            Job(
                i,
                _system(problems[i], networks[i], settings.train, kept[i]),
                etas[i],
                settings.watch,
            )
            for i in batch
        ]
        if settings.verified:
            for index, run in run_verified(
                jobs,
                steps=settings.steps,
                tol=settings.tol,
                every=settings.every,
                interrupted=interrupted,
                progress=report,
            ):
                found[index] = _from_single(
                    settings, problems[index], etas[index], "observation", run
                )
            finished += settings.steps * len(batch)
            continue
        for index, outcome in run_batch(
            jobs,
            steps=settings.steps,
            tol=settings.tol,
            every=settings.every,
            fast=settings.fast,
            stop_failed=settings.stop_failed,
            interrupted=interrupted,
            progress=report,
        ):
            found[index] = _from_outcome(settings, problems[index], etas[index], outcome)
        finished += settings.steps * len(batch)
    for i, (problem, network) in enumerate(zip(problems, networks, strict=True)):
        if i not in found:
            form = make_form(labels[i], problem, network, settings.train)
            run = run_single(
                form,
                step=etas[i],
                steps=settings.steps,
                tol=settings.tol,
                every=settings.every,
                watch=settings.watch,
                verified=settings.verified,
                interrupted=interrupted,
                progress=report,
            )
            found[i] = _from_single(settings, problem, etas[i], labels[i], run)
            finished += settings.steps
    return [found[i] for i in range(len(problems))]


def _groups(
    settings: _Settings,
    problems: list[Problem],
    networks: list[TwoLayerNetwork],
    labels: list[str],
) -> list[list[int]]:
    """Return the runs that go together into one set of arrays."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, (problem, network) in enumerate(zip(problems, networks, strict=True)):
        if labels[i] != "observation" or isinstance(problem.loss, ObservedLoss):
            continue
        whitened = settings.train == "both" or problem.m > network.n
        rank = problem.rank if whitened else 0
        key = (problem.m, network.k, rank, problem.loss, network.activation)
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def _system(
    problem: Problem, network: TwoLayerNetwork, train: str, kept: Reduced | None
) -> Callable[[], Reduced]:
    return (lambda: kept) if kept is not None else (lambda: reduce(problem, network, train))


def _from_outcome(
    settings: _Settings, problem: Problem, eta: float, outcome: Outcome
) -> Trajectory:
    recorded = outcome.recorded
    return _trajectory(
        settings,
        problem,
        t=eta * recorded.astype(np.float64),
        loss=outcome.losses[recorded],
        residual=np.sqrt(outcome.squares[recorded]),
        drift=outcome.drift,
        losses=outcome.losses,
        recorded=recorded,
        seen=[(w.step, w.network) for w in outcome.watched],
        network=outcome.network,
        form="observation",
        step=eta,
        status=outcome.status,
        bound=outcome.bound,
    )


def _from_single(
    settings: _Settings, problem: Problem, eta: float, form: str, run: SingleRun
) -> Trajectory:
    recorded = np.array(run.recorded, dtype=np.intp)
    losses = np.array(run.losses)
    return _trajectory(
        settings,
        problem,
        t=np.array(run.t)[recorded],
        loss=losses[recorded],
        residual=np.array(run.residuals)[recorded],
        drift=np.array(run.drift),
        losses=losses,
        recorded=recorded,
        seen=run.watched,
        network=run.network,
        form=form,
        step=eta,
        status=run.status,
        bound=0.0,
    )


def _trajectory(
    settings: _Settings,
    problem: Problem,
    *,
    t: Array,
    loss: Array,
    residual: Array,
    drift: Array,
    losses: Array,
    recorded: NDArray[np.intp],
    seen: list[tuple[int, TwoLayerNetwork]],
    network: TwoLayerNetwork,
    form: str,
    step: float,
    status: str,
    bound: float,
) -> Trajectory:
    steps = losses.size - 1
    if settings.watch:
        seen = [*seen, (steps, network)]
    signal = problem.signal
    errors = None if signal is None else [np.linalg.norm(n.forward() - signal) for _, n in seen]
    sigmas = [n.sigma_min(settings.train) for _, n in seen] if settings.sigma_min else None
    return Trajectory(
        t=t,
        loss=loss,
        residual=residual,
        drift=drift,
        losses=losses,
        watched=np.searchsorted(recorded, [s for s, _ in seen]).astype(np.intp),
        signal_error=None if errors is None else np.array(errors),
        sigma_min=None if sigmas is None else np.array(sigmas),
        network=network,
        train=settings.train,
        method="verified descent" if settings.verified else "descent",
        form=form,
        step=step,
        steps=steps,
        converged=status == "tolerance",
        status=status,
        reason=_reason(problem, status, steps, settings.tol, float(losses[-1]), bound),
        lower_bound=bound,
    )


def _reason(
    problem: Problem, status: str, steps: int, tol: float, loss: float, bound: float
) -> str:
    if status == "tolerance":
        return f"the loss fell below {tol:g} at step {steps}"
    if status == "failure":
        return f"proved at step {steps}: at this width the loss stays above {bound:.3g}; widen"
    if status == "diverged":
        return f"the loss is not finite at step {steps}; take a smaller step"
    if status == "domain":
        return left_domain(problem, f"step {steps}", steps == 0)
    if status == "stalled":
        return f"no step can be verified above rounding after step {steps}, at loss {loss:.3g}"
    if status == "interrupted":
        return f"interrupted at step {steps}, at loss {loss:.3g}"
    goal = f", not below {tol:g}" if tol > 0 else ""
    return f"{steps} steps done, at loss {loss:.3g}{goal}"
