"""Guarantees against trajectories: train or read one, and hold every guarantee against it.

>>> import numpy as np
>>> from kltheory.empirical.network import TwoLayerNetwork
>>> from kltheory.problem import Problem
>>> net = TwoLayerNetwork.draw(n=2, k=500, d=4, seed=0)
>>> A = np.array([[0.6, 0.8]])
>>> found = check(Problem(A, A @ net.forward() + 0.01), net, train="both")
>>> found.holds, found["(10)", "sharp"].verdict
(True, 'holds')
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kltheory.certification import psi_of
from kltheory.checks.claims import Claim, Setting, theorem_claims
from kltheory.checks.ladder import certificate_claims
from kltheory.checks.observed import (
    POINTS,
    ROWS,
    Observed,
    follow_descent,
    follow_flow,
    from_columns,
)
from kltheory.checks.result import CheckResult
from kltheory.checks.verdicts import VERDICTS, Check, judge
from kltheory.errors import InputError, brief
from kltheory.loss_functions import LossFunction, RadialLoss, require_residual_loss
from kltheory.numeric.recovery import Assumption
from kltheory.rates import RateLaw, rate

if TYPE_CHECKING:
    from kltheory.constants import Constants
    from kltheory.empirical.network import TwoLayerNetwork
    from kltheory.problem import Problem
    from kltheory.symbolic.desingularizer import Desingularizer

__all__ = ["VERDICTS", "Check", "CheckResult", "check", "check_trajectory"]

METHODS = ("flow", "descent")
PRECISIONS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11}


def check(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str = "hidden",
    *,
    method: str = "flow",
    times: ArrayLike | None = None,
    steps: int = 5_000,
    step_size: float | None = None,
    verified: bool = False,
    psi: str | Desingularizer | None = None,
    mu: float | None = None,
    lip_f: float | None = None,
    dist: float | None = None,
    lip_jacobian: float | None = None,
    mu_local: float | None = None,
    points: int = POINTS,
    tol: float = 1e-7,
) -> CheckResult:
    """Train, and hold every guarantee that applies against what happened.

    method: "flow" follows the gradient flow to `times` (chosen from the kernel if not given);
        "descent" takes `steps` steps of `step_size` (the safe step if not given; halved wherever
        the decrease fails with `verified`).
    psi: ψ of a loss that is not in the registry, as text in s.
    mu, lip_f, dist: constants of (13), measured for a linear F where they are not given.
    mu_local, lip_jacobian: the μ and L_J of Theorem A.1, which asks for injectivity at x̄_Σ only;
        μ and 0 for a linear F.
    points: how many times are looked at, where `times` does not say.
    tol: the loss below which the run counts as converged.

    Raises InputError for arguments that do not fit.
    """
    if method not in METHODS:
        raise InputError(f"method: got {method!r}; allowed are {', '.join(METHODS)}.")
    if method == "descent" and times is not None:
        raise InputError("times are those of a flow; descent takes steps and step_size.")
    if method == "flow" and (step_size is not None or verified):
        raise InputError("step_size and verified are for method='descent'; a flow takes times.")
    _whole_points(points)
    require_residual_loss(problem.loss, "the guarantees are checked")
    constants = network.constants(problem, train)
    loss0 = constants.value("loss0")
    if not loss0 > 0:
        raise InputError("the loss is 0 at the start: there is nothing to check.")
    law = law_of(problem.loss, problem.m) if psi is None else rate(psi)
    if method == "flow":
        observed = follow_flow(problem, network, train, times, points=points)
    else:
        observed = follow_descent(
            problem,
            network,
            train,
            step=step_size,
            steps=steps,
            verified=verified,
            points=points,
        )
    setting = measured_setting(
        problem,
        constants,
        law,
        mu=mu,
        lip_f=lip_f,
        dist=dist,
        lip_jacobian=lip_jacobian,
        mu_local=mu_local,
    )
    ladder = certificate_claims(problem, network, train, law.desingularizer, observed)
    claims = (*_claims(setting, observed), *ladder)
    checks = [judge(claim, observed) for claim in claims]
    sizes = f"n = {network.n}, m = {problem.m}, k = {network.k}, {network.activation.name}"
    return CheckResult(
        checks=tuple(checks),
        observed=observed,
        psi=str(law.desingularizer),
        title=f"{method} of a network with {sizes}, train {train}, loss {problem.loss.name}",
        constants=_shown(setting),
        tol=tol,
        train=train,
        warnings=observed.warnings,
    )


def _claims(setting: Setting, observed: Observed) -> Iterator[Claim]:
    """The claims on the flow, and those on descent where its decrease was seen."""
    for claim in theorem_claims(setting, observed):
        # The paper prints nothing on descent, and corrected is what its proofs give.
        if observed.method == "flow" or claim.theory != "printed":
            yield claim
    if observed.decrease is not None:
        yield from theorem_claims(replace(setting, decrease=observed.decrease, cache={}), observed)


@lru_cache(maxsize=64)
def law_of(loss: LossFunction, m: int) -> RateLaw:
    """The rate law of a loss of the registry, for m observations.

    >>> from kltheory.loss_functions import get
    >>> law_of(get("power", p=0.5), 3).desingularizer.value
    3**(1/3)*s**(1/3)
    """
    psi = psi_of(loss, m)
    if psi is None:
        raise InputError("the loss is radial with an ℓ of your own: give psi=, its inverse in s.")
    return rate(psi)


def measured_setting(
    problem: Problem,
    constants: Constants,
    law: RateLaw,
    *,
    mu: float | None = None,
    lip_f: float | None = None,
    dist: float | None = None,
    lip_jacobian: float | None = None,
    mu_local: float | None = None,
) -> Setting:
    """The constants of Theorem 3.2 as they were measured, or as they are given."""

    def measured(name: str, given: float | None = None) -> float | None:
        if given is not None:
            return float(given)
        return constants.value(name) if name in constants else None

    sigma_f = measured("sigma_F")
    if sigma_f is None:
        raise InputError(
            "σ_F of this operator is not known; give lower_bound= to the problem: a bound on the"
            " smallest singular value of J_F on the signals that are visited."
        )
    return Setting(
        law=law,
        loss0=constants.value("loss0"),
        sigma_f=sigma_f,
        sigma_j=measured("sigma_J"),
        deviation=measured("Lambda_J"),
        noise=measured("noise"),
        mu=measured("mu", mu),
        lip_f=measured("norm_F", lip_f),
        dist=measured("dist", dist),
        lip_jacobian=0.0 if problem.linear and lip_jacobian is None else lip_jacobian,
        mu_local=measured("mu") if problem.linear and mu_local is None else mu_local,
        hypotheses=(_range(problem, constants),),
    )


def _range(problem: Problem, constants: Constants) -> Assumption:
    """A-4: ∇L(y(t)) in the range of J_F."""
    if not problem.linear:
        return Assumption("A-4", "assumed", "J_F(x(t)) is onto, with the given σ_F, along the run")
    rank, away = int(constants.value("rank")), constants.value("range_distance")
    if rank == problem.m:
        return Assumption("A-4", "met", "the operator is onto")
    if isinstance(problem.loss, RadialLoss) and away == 0:
        return Assumption("A-4", "met", "y is in the range of the operator, and the loss is radial")
    where = f"y is {away:.3g} away from the range of the operator" if away else "rank < m"
    return Assumption("A-4", "violated", f"{where}: the loss need not vanish in the limit")


def check_trajectory(
    t: ArrayLike,
    loss: ArrayLike,
    *,
    psi: str | RateLaw | Desingularizer,
    sigma_f: float | None = None,
    sigma_j: float | None = None,
    kappa: float | None = None,
    deviation: float | None = None,
    parameters: ArrayLike | None = None,
    observation: ArrayLike | None = None,
    signal: ArrayLike | None = None,
    error: ArrayLike | None = None,
    drift: ArrayLike | None = None,
    sigma_min: ArrayLike | None = None,
    noise: float | None = None,
    mu: float | None = None,
    lip_f: float | None = None,
    dist: float | None = None,
    lip_jacobian: float | None = None,
    mu_local: float | None = None,
    method: str = "flow",
    precision: str | float = "float64",
    observation_norm: float | None = None,
    points: int = ROWS,
    tol: float = 1e-7,
) -> CheckResult:
    """Hold every guarantee that applies against a trajectory of any framework.

    t, loss: times (for descent: step size times iteration) and L(y(t)), from the start on.
    parameters: ‖θ(t) - θ∞‖, or the parameters themselves, one vector a row.
    observation, signal, error: ‖y(t) - y‖, ‖x(t) - x̄‖, ‖y(t) - ȳ‖; drift ‖θ(t) - θ(0)‖; sigma_min
        σ_min(J_g(t)).  Without `error`, ‖y(t) - y‖ - ‖ε‖ stands for it, which is no larger.
    sigma_f, sigma_j: σ_F, and σ_J at the start; or kappa = σ_F²σ_J²/4.
    deviation: Λ, for the condition R' < R (assumed otherwise) and the sharp forms.
    precision: what the numbers were computed in (float64, float32, float16, or a unit roundoff),
        and observation_norm ‖y‖: from them the numerical floor.
    points: how many rows are compared at most.

    >>> t = np.linspace(0, 5, 11)
    >>> found = check_trajectory(t, np.exp(-2 * t) / 2, psi="sqrt(2*s)", sigma_f=1, sigma_j=1)
    >>> found.holds, found["(10)", "corrected"].verdict
    (True, 'holds')
    """
    if method not in METHODS:
        raise InputError(f"method: got {method!r}; allowed are {', '.join(METHODS)}.")
    if kappa is None and (sigma_f is None or sigma_j is None):
        raise InputError("give sigma_f and sigma_j, or kappa = σ_F²σ_J²/4.")
    if kappa is not None and (sigma_f is not None or sigma_j is not None):
        raise InputError("kappa is given with sigma_f or sigma_j; give kappa or the two others.")
    _whole_points(points)
    law = psi if isinstance(psi, RateLaw) else rate(psi)
    given: dict[str, Any] = {
        "sigma_f": sigma_f, "sigma_j": sigma_j, "kappa": kappa, "deviation": deviation,
        "noise": noise, "mu": mu, "lip_f": lip_f, "dist": dist, "lip_jacobian": lip_jacobian,
        "mu_local": mu_local,
    }  # fmt: skip
    values: dict[str, Any] = {name: _number(name, value) for name, value in given.items()}
    first = np.atleast_1d(np.asarray(loss, dtype=np.float64)).ravel()
    if first.size == 0 or not (np.isfinite(first[0]) and first[0] > 0):
        raise InputError("loss: it starts with no positive number.")
    onto = "the gradient of the loss is in the range of J_F, with the given σ_F, along the run"
    setting = Setting(
        law=law,
        loss0=float(first[0]),
        hypotheses=(Assumption("A-4", "assumed", onto),),
        **values,
    )
    if not np.isfinite(setting.psi0):
        radius = law.desingularizer.radius
        raise InputError(f"loss: it starts at {first[0]:g}, outside ψ's domain [0, {radius}[.")
    columns = {
        "loss": loss, "parameters": parameters, "observation": observation, "signal": signal,
        "error": error, "drift": drift, "sigma_min": sigma_min,
    }  # fmt: skip
    observed = from_columns(
        t,
        columns,
        method=method,
        precision=_precision(precision),
        scale=_number("observation_norm", observation_norm),
        noise=values["noise"],
        psi=setting.psi,
        rows=int(points),
    )
    checks = [judge(claim, observed) for claim in _claims(setting, observed)]
    return CheckResult(
        checks=tuple(checks),
        observed=observed,
        psi=str(law.desingularizer),
        title=f"{method} from data, {observed.t.size} times",
        constants=_shown(setting),
        tol=tol,
        train=None,
        warnings=observed.warnings,
    )


def _whole_points(points: int) -> None:
    if isinstance(points, bool) or int(points) != points or points < 2:
        raise InputError(f"points: got {points!r}; it must be a whole number >= 2.")


def _number(name: str, value: Any) -> float | None:
    """A constant >= 0 as a float."""
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    positive = name in ("sigma_f", "sigma_j", "kappa")
    if not (np.isfinite(number) and number >= 0) or (positive and number == 0):
        raise InputError(f"{name}: got {value!r}; give a number {'> 0' if positive else '>= 0'}.")
    return number


def _precision(given: str | float) -> float:
    if isinstance(given, str) and given in PRECISIONS:
        return PRECISIONS[given]
    try:
        unit = float(given)
    except ValueError:
        unit = float("nan")
    if not 0 < unit < 0.1:
        raise InputError(
            f"precision: got {brief(given)}; give {', '.join(PRECISIONS)}, or a unit roundoff."
        )
    return unit


def _shown(s: Setting) -> dict[str, float]:
    names = {
        "loss0": s.loss0, "psi0": s.psi0, "sigma_F": s.sigma_f, "sigma_J": s.sigma_j,
        "kappa": s.kappa if s.a0 is None else s.a0**2 / 4, "Lambda": s.deviation,
        "noise": s.noise, "mu": s.mu, "L_F": s.lip_f, "dist": s.dist, "L_J": s.lip_jacobian,
    }  # fmt: skip
    return {name: value for name, value in names.items() if value is not None}
