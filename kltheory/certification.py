"""Does training converge to zero loss from here?  The certificates of a network on a problem.

>>> import numpy as np
>>> import kltheory as kl
>>> net = kl.TwoLayerNetwork.draw(n=2, k=200, d=4, seed=0)
>>> found = kl.certify(kl.Problem(np.array([[0.6, 0.8]]), [0.3]), net)
>>> found.verdict, found["S4Q"].holds, found.attainable
('certified', True, True)
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kltheory import report
from kltheory.constants import Evidence
from kltheory.empirical.dynamics import descend
from kltheory.empirical.flow import Integration, flow_form
from kltheory.empirical.network import TwoLayerNetwork, check_train
from kltheory.empirical.seeded import LAWS
from kltheory.errors import InputError, LimitReached
from kltheory.loss_functions import LossFunction, RadialLoss, require_residual_loss
from kltheory.numeric.certificate import (
    BOTH,
    HIDDEN,
    Certificate,
    ladder,
    mirror_certificate,
)
from kltheory.numeric.certificate_facts import EPS, Facts, Observed, features_below
from kltheory.numeric.certificate_law import Law, MirrorLaw, is_concave, start_value
from kltheory.numeric.reach import Reach, branch_box, product_error, reachability
from kltheory.numeric.reach_rate import mirror_rate
from kltheory.problem import Problem
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.losses import loss as registered_loss

if TYPE_CHECKING:
    from kltheory.report import Page

__all__ = ["Certification", "Online", "Smallest", "Survey", "certify", "psi_of"]

Array = NDArray[np.float64]

_PLAIN_ENTRIES = 2**24
"""Beyond so many entries V is not written out for P and S3: S4Q needs Q V only."""
_REACH_WORK = 3e10
"""m²k at most, where what the network reaches is decided."""
_MOST_ENTRIES = 2**24
"""The largest network that the search for the smallest k draws."""
_MOST_NEURONS = 2**17
_RATIO = 1.5
"""Ratio of the times, or steps, at which a run is examined."""
_NEAR = 8.0
"""On line, q is tried where ψ(L) is within this factor of a threshold that is cheaper."""


# ---------------------------------------------------------------------------------------------
# What is measured


@functools.lru_cache(maxsize=64)
def psi_of(loss: LossFunction, m: int) -> Desingularizer | None:
    """The desingularizing function of a loss; None for a `Radial` one, whose ψ = ℓ⁻¹ is not known.

    >>> from kltheory.loss_functions import get
    >>> psi_of(get("power", p=0.5), 3).value
    3**(1/3)*s**(1/3)
    """
    values = {name: Fraction(repr(value)) for name, value in loss.parameters().items()}
    if loss.name == "separable-power":
        values["m"] = Fraction(m)
    return None if loss.name == "radial" else registered_loss(loss.name, **values)


class Survey:
    """Measures networks on one problem; what does not change along a run is kept."""

    def __init__(
        self, problem: Problem, network: TwoLayerNetwork, train: str, psi: Desingularizer | None
    ) -> None:
        check_train(train)
        problem.require_size(network.n)
        require_residual_loss(problem.loss, "certificates are")
        self.problem, self.train = problem, train
        self.radial = isinstance(problem.loss, RadialLoss)
        self.psi = psi_of(problem.loss, problem.m) if psi is None else psi
        self.exact = self.radial and psi is None  # then ψ(L_y(v)) = ‖v - y‖
        if self.psi is None and not self.radial:
            raise InputError(f"the ψ of loss {problem.loss!r} is not known: give psi=")
        self.left: Array | None = None
        self.floor = 0.0
        self.void: str | None = None
        self.assumed: tuple[str, ...] = ()
        self._fixed: tuple[Observed | None, ...] | None = None
        self._seen: tuple[Array, float, Array | None] | None = None
        self._range()

    def _range(self) -> None:
        """Look at Im A: where y is outside, the square loss falls to that of its projection."""
        problem = self.problem
        if not problem.linear:
            if problem.lower_bound is None:
                self.void = "σ_F of a callable F is not known: give Problem(lower_bound=)"
            return
        zero = problem.spectrum.zero
        if zero > 0:
            self.assumed = (f"the singular values of A up to {zero:.3g} are 0",)
        if problem.rank == problem.m:
            return
        self.left = problem.spectrum.left
        if not self.radial:
            self.void = f"rank A = {problem.rank} < m: ∇L need not lie in Im A (A-4)"
            return
        distance = problem.distance_to_range()
        if not distance > 0:
            return
        if problem.loss.name not in ("mse", "squared-norm", "mean-squared"):
            self.void = f"y is not in Im A (distance {distance:.3g}), which A-4 asks of this loss"
            return
        assert isinstance(problem.loss, RadialLoss)
        self.floor = float(problem.loss.profile(distance))

    @property
    def sigma_f(self) -> float:
        """σ_F, rounded down."""
        problem = self.problem
        if not problem.linear:
            return problem.lower_bound or 0.0
        low, high, size = problem.sigma_F, problem.norm_F, max(problem.operator.shape)
        if problem.spectrum.method == "svd":
            return float(max(0.0, low - 8 * size * EPS * high))
        share = 32 * size * EPS if problem.spectrum.method == "gram" else 1e-9
        return math.sqrt(max(0.0, low**2 - share * high**2)) * (1 - 4 * EPS)

    def facts(self, network: TwoLayerNetwork, *, full: bool = True) -> Facts:
        """Measure a network; without `full` only what the cheap certificates ask for."""
        norms, size, matrix = self._output(network)
        loss0, psi0 = self._start(network, size, matrix)
        plain = whitened = observed = None
        if full or self.train == "hidden":
            if self.train == "both" or self._fixed is None:
                self._fixed = self._columns(network, size, matrix, full)
            plain, whitened, observed = self._fixed
        return Facts(
            train=self.train,
            n=network.n,
            k=network.k,
            omega=network.omega,
            activation=network.activation,
            z=network.z,
            loss0=loss0,
            psi0=psi0,
            sigma_f=self.sigma_f,
            h=float(np.linalg.norm(features_below(network.activation, network.z)))
            * (1 - (network.k + 16) * EPS)
            / math.sqrt(network.k),
            norms=norms,
            zero_output=size == 0.0,
            plain=plain,
            whitened=whitened,
            observed=observed,
            linear=self.problem.linear,
            evidence=self._evidence(network),
            void=self.void or self._outside(loss0),
            assumed=self.assumed,
        )

    def _output(self, network: TwoLayerNetwork) -> tuple[Array, float, Array | None]:
        """‖V_i‖ and ‖V‖_F, rounded up, and A V; computed once if V is fixed."""
        if self._seen is None or self.train == "both":
            norms = network.columns.norms() * (1 + (network.n + 8) * EPS)
            if network.columns.largest_entry() > 0:
                norms = norms + 1e-150  # what underflow may have taken
            size = float(np.linalg.norm(norms)) * (1 + network.k * EPS)
            fixed = self.train == "hidden" and self.problem.linear
            self._seen = norms, size, network.observe(self.problem) if fixed else None
        return self._seen

    def _evidence(self, network: TwoLayerNetwork) -> Evidence:
        if not self.problem.linear or not network.activation.proved:
            return Evidence.ASSUMED
        if self.problem.spectrum.method == "lanczos":
            return Evidence.SAMPLED
        return Evidence.COMPUTED

    def _start(
        self, network: TwoLayerNetwork, size: float, matrix: Array | None
    ) -> tuple[float, float]:
        """The loss that can still fall and its ψ, rounded up."""
        problem = self.problem
        if matrix is None:
            y = problem.forward(network.forward())
        else:
            y = matrix @ network.activation.phi(network.z) / math.sqrt(network.k)
        r = y - problem.observation
        gamma = (network.k + network.n + problem.m + 16) * EPS
        length = float(np.linalg.norm(y)) + float(np.linalg.norm(problem.observation))
        doubt = gamma * length
        if problem.linear:
            features = float(np.linalg.norm(network.activation.phi(network.z)))
            scale = size * features / math.sqrt(network.k)
            doubt += 2 * gamma * problem.norm_F * math.sqrt(problem.rank) * scale
        if self.radial:
            inside = r if self.left is None or not self.floor else self.left.T @ r
            psi0 = float(np.linalg.norm(inside)) * (1 + gamma) + doubt
            assert isinstance(problem.loss, RadialLoss)
            loss0 = float(problem.loss.profile(psi0)) * (1 + 8 * EPS)
            if self.exact or self.psi is None or self._outside(loss0):
                return loss0, psi0
            return loss0, start_value(self.psi, loss0)
        slope = float(np.linalg.norm(problem.loss_gradient(y))) + doubt
        loss0 = float(problem.loss_value(y)) * (1 + gamma) + 4 * slope * doubt
        if loss0 == 0.0:
            return 0.0, 0.0
        assert self.psi is not None
        return loss0, start_value(self.psi, loss0)

    def _outside(self, loss0: float) -> str | None:
        """Say that ψ is not one at L0, where it is so."""
        if self.psi is None or self.psi.radius.is_infinite or loss0 < float(self.psi.radius):
            return None
        return f"L0 = {loss0:.6g} is not below r0 = {self.psi.radius}, where ψ ends (A-2)"

    def _columns(
        self, network: TwoLayerNetwork, size: float, matrix: Array | None, full: bool
    ) -> tuple[Observed | None, ...]:
        """V, Q V and Uᵀ A V, where they are known."""
        problem, n = self.problem, network.n
        plain = whitened = observed = None
        if full and network.k * n <= _PLAIN_ENTRIES:
            plain = Observed.of(network.V, 8 * EPS * size)
        if not problem.linear:
            if plain is None:
                raise LimitReached(f"V has more than {_PLAIN_ENTRIES} entries; F is not linear")
            return plain, None, None
        parts = problem.spectrum
        if parts.left is not None:
            error = 8 * (n + problem.m + 8) * EPS * problem.norm_F * size
            on_range = parts.left.T @ (network.observe(problem) if matrix is None else matrix)
            observed = Observed.of(on_range, error)
            whitened = Observed.of(on_range / parts.values[:, None], error / problem.sigma_F)
        return plain, whitened, observed

    def mirror(self, network: TwoLayerNetwork) -> tuple[Reach, Certificate] | None:
        """Whether zero loss (or the least of all signals) can be reached with V fixed: M."""
        problem, loss = self.problem, self.problem.loss
        if self.train == "both" or not problem.linear:
            return None
        if problem.m**2 * network.k > _REACH_WORK:
            return None
        norms, _, seen = self._output(network)
        assert seen is not None
        root = math.sqrt(network.k)
        matrix, y, count = seen / root, problem.observation, problem.m + network.n
        rows = np.full(problem.m, problem.norm_F)
        if self.left is not None and self.void is None:
            matrix, y, count = self.left.T @ matrix, self.left.T @ y, 8 * count
            rows = np.full(y.size, problem.norm_F)
        error = product_error(rows, norms / root, count)
        low, high, end_error = branch_box(network.activation, network.z)
        reach = reachability(matrix, y, low, high, matrix_error=error, end_error=end_error)
        fits, rate = bool(loss.convex or self.radial), None
        if fits and loss.name != "radial" and reach.attainable is not False:
            with np.errstate(all="ignore"):  # far out Z overflows, and proves nothing there
                rate = mirror_rate(
                    matrix, y, network.z, network.activation, loss=loss, omega=network.omega,
                    matrix_error=error,
                )  # fmt: skip
        return reach, mirror_certificate(self.facts(network), reach, rate, fits=fits)


# ---------------------------------------------------------------------------------------------
# Results


@dataclass(frozen=True, slots=True)
class Online:
    """The first moment of a run from which on convergence is proved."""

    method: str
    """"flow" or "descent" (verified: every step has L⁺ ≤ L - η‖∇f‖²/2)."""
    at: float
    """The time (flow) or step (descent)."""
    name: str
    """The certificate that holds there."""
    loss: float
    """The loss there."""
    certificate: Certificate
    """The certificate, started there: its law bounds the rest of the run."""
    examined: int
    """Moments that were examined."""
    share: float
    """Share of the run's time that the certificates took."""
    then: Online | None = None
    """The first moment with a certificate that has a rate, where that of the start has none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "time" if self.method == "flow" else "step": self.at,
            "name": self.name,
            "loss": self.loss,
            "rate": self.certificate.to_dict()["rate"],
            "path_length": self.certificate.to_dict()["path_length"],
            "then": None if self.then is None else self.then.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Smallest:
    """The smallest width at which a certificate was found to hold, with nested draws."""

    name: str
    """The certificate."""
    k: int | None
    """It holds at this k, and not at the largest smaller k that the bisection looked at; None if it
    holds at no k that was tried."""
    searched: int
    """The largest k that was tried."""
    about: float | None
    """Where it holds at no k that was tried: a guess, from the threshold's growth like √k."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"k": self.k, "searched": self.searched, "about": self.about}


@dataclass(frozen=True, slots=True)
class Certification:
    """The certificates of a network on a problem, and the verdict."""

    problem: str
    """The problem in a line."""
    network: str
    """The network in a line."""
    train: str
    """"hidden" or "both"."""
    certificates: tuple[Certificate, ...]
    """All of them, from the narrowest condition to the widest."""
    reach: Reach | None
    """With V fixed and F = A: whether zero loss can be reached at all, with its proof."""
    floor: float
    """The loss that no signal at all falls below: y is not in Im A (square losses)."""
    online: Online | None
    """The first moment of the run from which on convergence is proved, if that was asked for."""
    smallest: tuple[Smallest, ...]
    """The smallest widths, if they were asked for."""
    psi: Desingularizer | None
    """ψ of the loss."""
    limit: float | None
    """The limit of the loss, where it is known."""
    warnings: tuple[str, ...] = ()
    """What else to know."""

    def __getitem__(self, name: str) -> Certificate:
        """Return the certificate of that name."""
        for found in self.certificates:
            if found.name == name:
                return found
        known = ", ".join(found.name for found in self.certificates)
        raise InputError(f"there is no certificate {name!r} here; there are: {known}.")

    @property
    def attainable(self) -> bool | None:
        """Whether zero loss can be reached; None where it is not decided."""
        if self.reach is not None and self.reach.attainable is not None:
            return self.reach.attainable
        return True if any(found.holds for found in self.certificates) else None

    @property
    def verdict(self) -> str:
        """ "certified", "impossible" or "not certified"."""
        if any(found.holds for found in self.certificates):
            return "certified"
        impossible = self.reach is not None and self.reach.attainable is False
        return "impossible" if impossible else "not certified"

    @property
    def best(self) -> Certificate | None:
        """The certificate with the largest rate among those that hold."""
        held = [found for found in self.certificates if found.holds]
        return max(held, key=lambda found: found.rate or 0.0) if held else None

    @property
    def limit_loss(self) -> float | None:
        """What the loss tends to: 0, or what stands in the way; None where it is not known."""
        return self.floor if self.verdict == "certified" else self.limit

    def law(self, name: str | None = None) -> Law | MirrorLaw:
        """The bounds over time of a certificate that holds (default: the best)."""
        found = self.best if name is None else self[name]
        if found is None or not found.holds:
            raise InputError(f"certificate {name or ''} does not hold: it bounds nothing.")
        if self.psi is None:
            raise InputError("the ψ of this loss is not known: give psi= to certify.")
        return found.law(self.psi)

    def to_dict(self) -> dict[str, Any]:
        """What `kltheory certify --format json` prints."""
        best = self.best
        return {
            "schema": "kltheory/certify/1",
            "problem": self.problem,
            "network": self.network,
            "train": self.train,
            "verdict": self.verdict,
            "best": None if best is None else best.name,
            "attainable": self.attainable,
            "limit_loss": self.limit_loss,
            "certificates": [found.to_dict() for found in self.certificates],
            "reach": None if self.reach is None else _reach_dict(self.reach),
            "online": None if self.online is None else self.online.to_dict(),
            "smallest_k": {found.name: found.to_dict() for found in self.smallest} or None,
            "warnings": list(self.warnings),
        }

    def page(self) -> Page:
        """The page of `kltheory certify`."""
        return _page(self)

    def __repr__(self) -> str:
        """Return the verdict and one line for each certificate."""
        return report.text(self.page())

    def _repr_html_(self) -> str:
        return report.html(self.page())

    def __rich__(self) -> Any:
        return report.rich_page(self.page())


def _reach_dict(reach: Reach) -> dict[str, Any]:
    """The verdict and its proof, without the point."""
    return {
        "attainable": reach.attainable,
        "verified": reach.verified,
        "margin": reach.margin if math.isfinite(reach.margin) else None,
        "distance": reach.distance,
        "separating": None if reach.separating is None else reach.separating.tolist(),
        "reason": reach.reason,
    }


# ---------------------------------------------------------------------------------------------
# The question


def certify(
    problem: Problem,
    network: TwoLayerNetwork,
    train: str = "hidden",
    *,
    online: bool | str = False,
    smallest_k: bool = False,
    psi: Desingularizer | None = None,
    tol: float = 1e-7,
    max_evaluations: int = 200_000,
) -> Certification:
    """Say whether training must converge to zero loss from here, how fast, and if not, whether it
    cannot.

    Every certificate of the ladder is evaluated at this very network, with its threshold for
    ψ(L0), what follows (rate, path length, `law` over time) or what to change.  With V fixed and
    F = A, the question is also decided by what the network can reach at all (name M).

    online: follow the gradient flow ("flow", or True) or descent with verified steps ("descent")
        until a certificate holds, and say when; to the loss `tol` or `max_evaluations` at most.
    smallest_k: for each certificate the smallest k at which it was found to hold, by doubling and
        bisection over networks that are drawn from the same seed; the columns of a narrow one are
        the first of a wide one.  A certificate need not hold at every larger k.
    psi: the desingularizing function of a loss whose ψ is not known by itself.

    Raises InputError for shapes that do not fit, or a network that was not drawn (smallest_k).
    """
    survey = Survey(problem, network, train, psi)
    facts, reach = survey.facts(network), None
    certificates, notes = ladder(facts), []
    mirror = survey.mirror(network)
    if mirror is not None:
        reach, last = mirror
        certificates += (last,)
    elif train == "hidden" and problem.linear:
        notes.append("m²k is too large to decide what the network can reach (M)")
    moved = smallest = None
    if online:
        method = "flow" if online is True else str(online)
        moved = _online(survey, network, method, tol, max_evaluations, certificates, reach)
    if smallest_k:
        smallest = _smallest(survey, network)
    if survey.floor:
        notes.append(
            f"y is not in Im A: no signal has a loss below {survey.floor:.6g}; the certificates are"
            " about what is above it"
        )
    if survey.assumed:
        notes.append(
            f"A has rank {problem.rank} if {survey.assumed[0]}; this is about such an A: along what"
            " was taken for 0 nothing is proved"
        )
    if facts.void is not None:
        notes.append(facts.void)
    elif facts.evidence.rank >= Evidence.SAMPLED.rank:
        notes.append("σ_F or the constants of φ are assumed or sampled: so is the verdict")
    limit = None
    if reach is not None and survey.radial and math.isfinite(reach.limit_loss):
        assert isinstance(problem.loss, RadialLoss)
        limit = survey.floor + float(problem.loss.profile(math.sqrt(2 * reach.limit_loss)))
    return Certification(
        problem=repr(problem),
        network=repr(network),
        train=train,
        certificates=certificates,
        reach=reach,
        floor=survey.floor,
        online=moved,
        smallest=smallest or (),
        psi=survey.psi,
        limit=limit,
        warnings=tuple(notes),
    )


# ---------------------------------------------------------------------------------------------
# On line


_SHARE = 0.025
"""Share of a run's work, counted in evaluations of the gradient, that its certificates may take.

It leaves room for what an evaluation costs besides, so that the share of the time is below 0.05."""
_GLANCE = 2
"""What a glance at h and the residual costs, in evaluations of the gradient."""
_FINE = 250
"""What q costs, in evaluations of the gradient."""


class _Watch:
    """Examines a run now and then: its cost stays below a share of that of the run.

    Costs are counted in evaluations of the gradient, so that a run is examined at the same moments
    wherever it is computed.
    """

    def __init__(self, survey: Survey, network: TwoLayerNetwork, method: str) -> None:
        self.survey, self.c = survey, Fraction(1 if method == "flow" else "1/2")
        linear, both = survey.problem.linear, survey.train == "both"
        self.cheap = 4 + (survey.problem.rank if linear and not both else network.n)
        self.examined, self.cost, self.spent = 0, 0.0, 0.0
        self.found: tuple[float, Certificate] | None = None

    def may(self, evaluations: int, cost: float) -> bool:
        """Whether the run has been long enough for one more look of this cost."""
        return self.cost + cost <= _SHARE * evaluations

    @property
    def glances(self) -> bool:
        """Whether `promising` can tell: V needs only h and the residual."""
        return self.survey.train == "both" and self.survey.exact

    def promising(self, network: TwoLayerNetwork, z: Array, y: Array) -> bool:
        """Whether V may hold where W u = z, at the cost of an evaluation of y."""
        self.cost += _GLANCE
        r, left = y - self.survey.problem.observation, self.survey.left
        square = float(np.square(network.activation.phi(z)).sum())
        slope = network.activation.B1 * math.sqrt(network.omega * network.k)
        residual = float(np.linalg.norm(r if left is None else left.T @ r))
        return residual * slope < self.survey.sigma_f * square

    def look(self, at: float, network: TwoLayerNetwork, evaluations: int) -> bool:
        """Examine one moment, the cheap certificates first; true once convergence is proved."""
        before = time.perf_counter()
        self.examined, self.cost = self.examined + 1, self.cost + self.cheap
        facts = replace(self.survey.facts(network, full=False), stairs=24)
        found = ladder(facts, c=self.c, names=self._names())
        near = max((c.margin for c in found), default=0.0) * _NEAR > 1
        hidden = self.survey.train == "hidden" and self.survey.problem.linear
        if hidden and near and self.may(evaluations, _FINE):
            self.cost += _FINE
            found += ladder(facts, c=self.c, names=("q",))
        held = next((c for c in found if c.holds), None)
        if held is not None:
            self.found = (float(at), held)
        self.spent += time.perf_counter() - before
        return held is not None

    def _names(self) -> tuple[str, ...]:
        if self.survey.train == "both":
            return ("V", "C", "C0")
        return ("S4A", "S4Q") if self.survey.problem.linear else ("S3",)


def _online(
    survey: Survey,
    network: TwoLayerNetwork,
    method: str,
    tol: float,
    budget: int,
    certificates: tuple[Certificate, ...],
    reach: Reach | None,
) -> Online | None:
    """The certificates at the start; if none has a speed, follow a run until one has."""
    if method not in ("flow", "descent"):
        raise InputError(f"online: got {method!r}; allowed are flow and descent.")
    if method == "descent":
        _require_concave(survey, survey.facts(network))
    if survey.void is not None or (reach is not None and reach.attainable is False):
        return None
    if method == "descent":
        certificates = ladder(survey.facts(network), c=Fraction(1, 2))
    held = [c for c in certificates if c.holds]
    first = max(held, key=lambda c: c.rate or 0.0) if held else None
    then = None
    if first is None or first.rate is None:
        watch, began = _Watch(survey, network, method), time.perf_counter()
        follow = _follow_flow if method == "flow" else _follow_descent
        follow(watch, survey, network, tol + survey.floor, budget)
        if watch.found is not None:
            at, found = watch.found
            share = watch.spent / max(time.perf_counter() - began, 1e-9)
            loss = found.loss0 + survey.floor
            then = Online(method, at, found.name, loss, found, watch.examined, share)
    if first is None:
        return then
    loss = first.loss0 + survey.floor
    return Online(method, 0.0, first.name, loss, first, 0, 0.0, then)


def _follow_flow(
    watch: _Watch, survey: Survey, network: TwoLayerNetwork, tol: float, budget: int
) -> None:
    """The gradient flow, examined between two steps of the integrator."""
    problem, train = survey.problem, survey.train
    integration = Integration(flow_form("auto", problem, network, train), train, 1e-9, 1e-11, tol)
    seen = 1

    def look() -> bool:
        nonlocal seen
        seen = len(integration.states)
        moved = integration.form.network_at(integration.states[-1])
        return watch.look(integration.times[-1], moved, integration.evaluations)

    def proved() -> bool:
        nonlocal seen
        spent = integration.evaluations
        if watch.found is not None or seen == len(integration.states):
            return watch.found is not None
        if not watch.glances:
            return watch.may(spent, watch.cheap) and look()
        if not watch.may(spent, _GLANCE):
            return False
        seen, state = len(integration.states), integration.states[-1]
        y = integration.form.observe(state)
        return watch.promising(network, state[: network.k], y) and look()

    unit = _unit_of_time(survey, network)
    count = 1 + math.ceil(math.log(1e12) / math.log(_RATIO))
    times = [0.0, *(1e-2 * unit * _RATIO**i for i in range(count))]
    integration.run(np.array(times), budget, proved, lambda *_: None)
    if watch.found is None:
        look()


def _unit_of_time(survey: Survey, network: TwoLayerNetwork) -> float:
    """1/(‖K‖² ‖∇L‖/‖r‖), the shortest time in which the residual changes."""
    problem = survey.problem
    kernel = np.linalg.eigvalsh(network.kernel(survey.train, problem))[-1]
    y = problem.forward(network.forward())
    residual = float(np.linalg.norm(y - problem.observation))
    slope = float(np.linalg.norm(problem.loss_gradient(y)))
    speed = float(kernel) * slope / residual if residual > 0 else 1.0
    return 1.0 / speed if speed > 0 else 1.0


def _follow_descent(
    watch: _Watch, survey: Survey, network: TwoLayerNetwork, tol: float, budget: int
) -> None:
    """Descent whose every step has L⁺ ≤ L - η‖∇f‖²/2, examined between stretches of it."""
    step: float | str = "safe"
    done = 0
    while done < budget:
        ahead = max(math.ceil(watch.cheap / _SHARE), math.ceil(done * (_RATIO - 1)))
        run = descend(
            survey.problem, network, survey.train, step=step, steps=min(ahead, budget - done),
            tol=tol, verified=True, every=ahead,
        )  # fmt: skip
        done += run.steps
        network, step = run.network, run.step or step
        if watch.look(float(done), network, done) or run.status != "budget":
            return


def _require_concave(survey: Survey, facts: Facts) -> None:
    """ψ is concave on [0, L0]: of the losses of the registry Cauchy's and Welsch's only near 0."""
    if facts.void is None and not (survey.psi and is_concave(survey.psi, facts.loss0)):
        raise InputError(
            "the certificates for descent need a ψ that is concave on [0, L0], which that of "
            f"{survey.problem.loss.name} is not known to be; take online='flow'."
        )


# ---------------------------------------------------------------------------------------------
# The smallest width


def _smallest(survey: Survey, network: TwoLayerNetwork) -> tuple[Smallest, ...]:
    """For each certificate the smallest k, by doubling and bisection with common seeds."""
    redraw = _redrawn(network)
    most = max(1, min(_MOST_NEURONS, _MOST_ENTRIES // network.n))
    names: tuple[str, ...] = HIDDEN if survey.train == "hidden" else BOTH
    if network.columns.largest_entry() > 0:
        names = tuple(name for name in names if name != "C0")
    reached = survey.train == "hidden" and survey.problem.linear and survey.problem.m <= 400
    held: dict[tuple[int, str], Certificate] = {}

    def certificate(k: int, name: str) -> Certificate:
        if (k, name) not in held:
            at = Survey(survey.problem, network, survey.train, survey.psi)
            drawn = redraw(k)
            if name == "M":
                mirror = at.mirror(drawn)
                assert mirror is not None
                held[k, name] = mirror[1]
            else:
                facts = at.facts(drawn)
                for found in ladder(facts, names=(n for n in names if n != "q")):
                    held[k, found.name] = found
                if name == "q":
                    held[k, name] = ladder(facts, names=(name,))[0]
        return held[k, name]

    return tuple(
        _bisected(name, lambda k, name=name: certificate(k, name), most)
        for name in (*names, *(("M",) if reached else ()))
    )


def _bisected(name: str, certificate: Any, most: int) -> Smallest:
    low, high = 0, 1
    while not certificate(high).holds:
        if high == most:
            last = certificate(most)
            about = most / last.margin**2 if 0 < last.margin < 1 else None
            return Smallest(name, None, most, about)
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if certificate(middle).holds else (middle, high)
    return Smallest(name, high, max(high, 1), None)


def _redrawn(network: TwoLayerNetwork) -> Any:
    """k -> the network of the same draw with k neurons."""
    if network.seed is not None:
        for law in LAWS[:3]:
            draw = functools.partial(
                TwoLayerNetwork.draw, network.n, d=network.d, activation=network.activation,
                output=law, seed=network.seed,
            )  # fmt: skip
            same = draw(k=network.k)
            if np.array_equal(same.z, network.z) and np.array_equal(
                same.columns.norms(), network.columns.norms()
            ):
                return lambda k: draw(k=k)
    raise InputError(
        "the smallest k is looked for among networks of one draw: give a network made by"
        " TwoLayerNetwork.draw(..., seed=)."
    )


# ---------------------------------------------------------------------------------------------
# How it shows itself


def _page(found: Certification) -> Page:
    """The page of a certification."""
    words, number = report.words, report.number
    best = found.best
    answer = [(words("verdict"), words(_said(found)))]
    if best is not None:
        rate = "" if best.rate is None else f", -dL/dt ≥ {number(best.rate, -1)}/ψ'(L)²"
        length = "" if best.path_length is None else f", path ≤ {number(best.path_length)}"
        answer.append((words("best"), words(f"{best.name}, {best.theorem}{rate}{length}")))
    if found.limit_loss is not None:
        answer.append((words("loss tends to"), words(number(found.limit_loss))))
    if found.reach is not None:
        answer.append((words("reachable"), words(found.reach.reason)))
    moment = found.online
    while moment is not None:
        answer.append((words("on line"), words(_online_said(moment))))
        moment = moment.then
    header = ("certificate", "holds", "ψ(L0)", "threshold", "margin", "rate", "path")
    rows = [
        (
            c.name,
            "yes" if c.holds else "no",
            number(c.psi0),
            "none" if math.isinf(c.threshold) else number(c.threshold, -1),
            "inf" if math.isinf(c.margin) else number(c.margin, -1),
            number(c.rate, -1),
            number(c.path_length),
        )
        for c in found.certificates
    ]
    parts: list[report.Pairs | report.Grid] = [
        report.Pairs("The answer", tuple(answer)),
        report.Grid("Certificates", _row(header), tuple(_row(row) for row in rows)),
        report.Pairs(
            "Why",
            tuple((words(c.name), words(_why(c))) for c in found.certificates),
        ),
    ]
    if found.smallest:
        listed = [
            (s.name, "-" if s.k is None else str(s.k), str(s.searched), number(s.about))
            for s in found.smallest
        ]
        parts.append(
            report.Grid(
                "Smallest k found",
                _row(("certificate", "k", "searched", "about")),
                tuple(_row(row) for row in listed),
                note="by doubling and bisection over nested draws of one seed; a certificate need"
                " not hold at every larger k",
            )
        )
    title = words(f"{found.problem}, {found.network}, train {found.train}")
    return report.Page(title, tuple(parts), found.warnings)


def _row(cells: Iterable[str]) -> tuple[report.Text, ...]:
    return tuple(report.words(cell) for cell in cells)


def _why(certificate: Certificate) -> str:
    return f"{certificate.reason}; {certificate.advice}".rstrip("; ")


def _said(found: Certification) -> str:
    match found.verdict:
        case "certified":
            return "certified: the loss tends to its least value"
        case "impossible":
            return "impossible: from here, training the hidden layer cannot give zero loss"
    return "not certified: none of the certificates holds"


def _online_said(online: Online) -> str:
    moment = f"t = {online.at:.6g}" if online.method == "flow" else f"step {online.at:.0f}"
    said = f"{online.name} holds from {moment} on, at loss {online.loss:.4g}"
    if online.examined:
        share = f"{100 * online.share:.1f} % of the time"
        said += f" (moments examined: {online.examined}, {share})"
    return said
