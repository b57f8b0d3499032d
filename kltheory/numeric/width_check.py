"""Monte Carlo check of the width theorems: draw networks and count how often the event fails.

A theorem promises that at its k the certificate holds with probability at least 1 - p.  Here the
certificate is computed from the network that was drawn, with no tail bound in between; so the
frequency of failure must not exceed p, and the least k at which it is p says how loose the
theorem is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.errors import InputError, LimitReached
from kltheory.numeric.width import Widths
from kltheory.numeric.width_cases import theorems_for
from kltheory.numeric.width_problem import WidthProblem, integer_of
from kltheory.numeric.width_theorems import Theorem

__all__ = ["MAX_WORK", "WidthCheck", "check_widths", "wilson"]

Array = NDArray[np.float64]

MAX_WORK = 2e9
"""How many entries of V(0) (times n/32 beyond n = 32) one theorem may take: about 20 seconds."""
BLOCK = 2_000_000
"""Entries of V that are held at once."""


@dataclass(frozen=True, slots=True)
class WidthCheck:
    """How often the event of one theorem failed in draws of the network."""

    theorem: str
    """Its name."""
    theory: str
    """corrected or sharp."""
    k: int
    """The number of neurons that were drawn."""
    promised: bool
    """Whether k is at least what the theorem asks for."""
    draws: int
    """The number of networks."""
    failures: int
    """How many of them the certificate does not cover."""
    allowed: float
    """p, the failure probability that was asked for."""
    interval: tuple[float, float]
    """Wilson's 95 % interval for the probability of failure."""
    holds: bool
    """False if the theorem is refuted: promised, and the whole interval is above p."""
    k_observed: int | None
    """About the least k with failures in at most a share p of the draws; None if above k."""

    @property
    def frequency(self) -> float:
        """The share of draws in which the event failed."""
        return self.failures / self.draws

    @property
    def looseness(self) -> float | None:
        """k divided by the least k that was observed to be enough."""
        return None if self.k_observed is None else self.k / self.k_observed

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        found = {name: getattr(self, name) for name in self.__slots__}
        found["interval"] = list(self.interval)
        return found | {"frequency": self.frequency, "looseness": self.looseness}


def wilson(failures: int, draws: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return Wilson's interval for a probability (95 % by default).

    >>> [round(end, 4) for end in wilson(0, 100)]
    [0.0, 0.037]
    """
    share, weight = failures / draws, z * z / draws
    middle = share + weight / 2
    reach = z * math.sqrt(share * (1 - share) / draws + weight / (4 * draws))
    low = (middle - reach) if failures else 0.0
    return max(0.0, low / (1 + weight)), min(1.0, (middle + reach) / (1 + weight))


@dataclass(frozen=True, slots=True)
class _Draw:
    """What the certificates need of one network, in coordinates of the row space of A."""

    problem: WidthProblem
    k: int
    h_square: float
    """‖φ(z)‖²/k."""
    gram: Array
    """(1/k) V diag(φ'(z)²) Vᵀ, (n, n)."""
    column: float
    """max‖V_i‖."""
    row_gram: Array
    """(1/k) QV diag(φ'(z)²) (QV)ᵀ, (r, r)."""
    row_column: float
    """max‖QV_i‖."""
    error: float
    """‖y(0) - y‖."""
    signal: Array
    """S⁻¹Uᵀy = QA⁺y, (r,)."""
    mixed: Array | None
    """QV/√k, (r, k), only where attainability is asked for."""
    z: Array
    """W(0)u, (k,)."""


class _Experiment:
    """One operator and one observation, and networks drawn for them."""

    def __init__(self, problem: WidthProblem, theorem: Theorem, seed: int) -> None:
        self.problem, self.theorem, self.seed = problem, theorem, seed
        rank = min(problem.n, problem.m) if problem.rank is None else problem.rank
        rng = np.random.default_rng([seed, 0])
        self.row_space = np.linalg.qr(rng.standard_normal((problem.n, rank)))[0].T
        self.singular = np.linspace(float(problem.norm_f), float(problem.sigma_f), rank)
        self.singular[-1] = float(problem.sigma_f)
        direction = rng.standard_normal(rank)
        self.y = float(problem.y_norm) * direction / np.linalg.norm(direction)
        self.event = _EVENTS[theorem.supply.__name__ if not theorem.attains else "attains"]

    def draw(self, k: int, index: int) -> _Draw:
        """Draw z ~ N(0, I) and V: Rademacher if D = 1, else the values -D, 0, D."""
        p, rng = self.problem, np.random.default_rng([self.seed, 1, index])
        phi = p.activation
        n, rank, bound = p.n, len(self.y), float(p.entry_bound)
        z = rng.standard_normal(k)
        values, slopes = phi.phi(z), phi.dphi(z) ** 2
        gram, row_gram, x = np.zeros((n, n)), np.zeros((rank, rank)), np.zeros(n)
        column = row_column = 0.0
        mixed = np.empty((rank, k)) if self.theorem.attains else None
        step = max(1, BLOCK // n)
        for start in range(0, k, step):
            part = slice(start, min(k, start + step))
            shape = (n, part.stop - start)
            if bound == 1:
                V = 2.0 * rng.integers(0, 2, shape, dtype=np.int8) - 1.0
            else:
                coin = rng.random(shape)
                half = 0.5 / bound**2
                V = bound * ((coin < half).astype(float) - (coin > 1 - half))
            rows = self.row_space @ V
            x += V @ values[part]
            gram += (V * slopes[part]) @ V.T
            row_gram += (rows * slopes[part]) @ rows.T
            column = max(column, float(np.sqrt(np.max(np.sum(V * V, axis=0)))))
            row_column = max(row_column, float(np.sqrt(np.max(np.sum(rows * rows, axis=0)))))
            if mixed is not None:
                mixed[:, part] = rows / math.sqrt(k)
        observed = self.singular * (self.row_space @ x) / math.sqrt(k)
        return _Draw(
            problem=p,
            k=k,
            h_square=float(values @ values) / k,
            gram=gram / k,
            column=column,
            row_gram=row_gram / k,
            row_column=row_column,
            error=float(np.linalg.norm(observed - self.y)),
            signal=self.y / self.singular,
            mixed=mixed,
            z=z,
        )

    def failures(self, k: int, draws: int) -> int:
        return sum(not self.event(self.draw(k, i)) for i in range(draws))

    def enough(self, k: int, draws: int, allowed: float) -> bool:
        """Do at most a share `allowed` of the draws fail?  Stops at the first draw too many."""
        failed = 0
        for i in range(draws):
            failed += not self.event(self.draw(k, i))
            if failed > allowed * draws:
                return False
        return True


def _smallest(gram: Array) -> float:
    """Return the smallest eigenvalue, 0 where rounding could have made it."""
    values = np.linalg.eigvalsh(gram)
    return float(values[0]) if values[0] > 1e-12 * values[-1] else 0.0


def _hidden(d: _Draw, factor: float) -> bool:
    slope = d.problem.activation.B2 * d.column / math.sqrt(d.k)
    return d.error * factor * slope < float(d.problem.sigma_f) * _smallest(d.gram)


def _whitened(d: _Draw) -> bool:
    slope = d.problem.activation.B2 * d.row_column / math.sqrt(d.k)
    return d.error * 2 * slope < float(d.problem.sigma_f) * _smallest(d.row_gram)


def _both(d: _Draw) -> bool:
    scale = float(d.problem.sigma_f) * math.sqrt(d.k) / d.problem.activation.B1
    return d.error < scale * d.h_square


def _both_paper(d: _Draw) -> bool:
    """R' < R with R from the Lipschitz constant B(1 + 2D + 2ρ)√(n/k) and the measured σ."""
    p = d.problem
    sigma = math.sqrt(d.h_square + _smallest(d.gram))
    right = sigma * math.sqrt(d.k / p.n) / (2 * max(p.activation.B1, p.activation.B2))
    linear = 1 + 2 * float(p.entry_bound)
    radius = 2 * right / (linear + math.sqrt(linear**2 + 8 * right))
    return 2 * d.error / (float(p.sigma_f) * sigma) < radius


def _attains(d: _Draw) -> bool:
    """Is A⁺y the image of a point of the box, 1e-7 inside its faces?  A linear program."""
    from scipy.optimize import linprog

    if d.mixed is None:
        raise TypeError("attainability needs QV")
    low, high = d.problem.activation.branches.image(d.z)
    inset = 1e-7 * np.where(np.isfinite(high), high - low, 1.0)
    box = list(zip((low + inset).tolist(), (high - inset).tolist(), strict=True))
    found = linprog(np.zeros(d.k), A_eq=d.mixed, b_eq=d.signal, bounds=box, method="highs")
    return bool(found.status == 0)


_EVENTS: dict[str, Callable[[_Draw], bool]] = {
    "hidden_sharp": lambda d: _hidden(d, 2.0),
    "hidden_paper": lambda d: _hidden(d, 4.0),
    "whitened": _whitened,
    "both_sharp": _both,
    "both_paper": _both_paper,
    "attains": _attains,
}
"""Supply of a theorem -> whether its certificate holds for a network."""


def _observed(experiment: _Experiment, draws: int, allowed: float, start: int) -> int:
    """Return about the least k with at most a share `allowed` of failures, within 2 %.

    `start` is such a k already.
    """
    low, high = 0, 1
    while high < start and not experiment.enough(high, draws, allowed):
        low, high = high, min(2 * high, start)
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        if experiment.enough(middle, draws, allowed):
            high = middle
        else:
            low = middle
    return high


def check_widths(
    widths: Widths,
    *,
    draws: int = 200,
    seed: int = 0,
    k: int | None = None,
    max_work: float = MAX_WORK,
) -> tuple[WidthCheck, ...]:
    """Draw networks at the k of each theorem (or at a given k) and count the failures.

    F has singular values from L_F down to σ_F and a random row space; y has the norm that was
    given and a random direction; both are drawn once.  V(0) has iid entries: ±1 if D = 1, and
    else -D, 0, D with variance 1.  The same seed gives the same networks.

    Raises:
        InputError: the loss is not radial, so that ψ(L_y(y(0))) is not ‖y(0) - y‖.
        LimitReached: no theorem can be checked with `max_work` entries of V(0).
    """
    problem = widths.problem
    draws, seed = integer_of("draws", draws, high=10**6), integer_of("seed", seed, low=0)
    if not problem.loss.radial:
        raise InputError(f"check: the loss {problem.loss.name} is not radial; use mse.")
    asked = {(row.theorem, row.theory): row.k for row in widths.rows}
    found, skipped = [], []
    for theorem in theorems_for(problem):
        needed = asked.get((theorem.name, theorem.theory))
        if (theorem.name, theorem.theory) not in asked:
            continue
        at = integer_of("k", k) if k is not None else needed
        size = float(at or math.inf) * draws * problem.n * max(problem.n / 32, 1)
        if at is None or not size <= max_work:
            skipped.append(theorem.name)
            continue
        experiment = _Experiment(problem, theorem, seed)
        failures, allowed = experiment.failures(at, draws), float(problem.failure)
        interval = wilson(failures, draws)
        promised = needed is not None and at >= needed
        found.append(
            WidthCheck(
                theorem=theorem.name,
                theory=theorem.theory,
                k=at,
                promised=promised,
                draws=draws,
                failures=failures,
                allowed=allowed,
                interval=interval,
                holds=not (promised and interval[0] > allowed),
                k_observed=(
                    _observed(experiment, draws, allowed, at)
                    if failures <= allowed * draws
                    else None
                ),
            )
        )
    if skipped and not found:
        raise LimitReached(
            f"check: {', '.join(skipped)} would draw more than {max_work:.0e} entries of V(0); "
            "ask for fewer draws, a smaller --k, or raise --max-work."
        )
    return tuple(found)
