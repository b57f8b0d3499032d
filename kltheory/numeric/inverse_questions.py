"""The guarantees asked the other way round: how long, how much noise, how well conditioned.

Each answer is the exact inverse of its guarantee, and says "impossible" where there is none: below
the noise floor, or for a loss that vanishes at no finite time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kltheory.errors import InputError
from kltheory.numeric.guarantees import Bound, positive
from kltheory.numeric.rounding import down, sqrt_up, up
from kltheory.shown import figure

__all__ = [
    "Answer",
    "affordable_noise",
    "needed_sigma_j",
    "time_to_loss",
    "time_to_observation_error",
    "time_to_signal_error",
]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an inverse question."""

    question: str
    """What was asked, in words."""
    value: float | None
    """The answer; None if it is impossible."""
    reason: str
    """The guarantee that was inverted, or why there is no answer."""
    floor: float = 0.0
    """What the error cannot be brought below, with these constants."""
    short_by: float = 0.0
    """If impossible: by how much the target is below the floor."""

    def __str__(self) -> str:
        return f"{self.question}: {self.reason if self.value is None else self.value}"

    @property
    def possible(self) -> bool:
        """Whether there is an answer."""
        return self.value is not None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "question": self.question,
            "value": self.value,
            "possible": self.possible,
            "reason": self.reason,
            "floor": self.floor,
            "short_by": self.short_by,
        }


def time_to_loss(bound: Bound, target: Any) -> Answer:
    """The time from which L(y(t)) <= target by (10).

    >>> import kltheory as kl
    >>> bound = kl.rate("sqrt(2*s)").bound(kappa=1, loss0=1)
    >>> abs(time_to_loss(bound, "0.1353352832366127").value - 1) < 1e-9  # e^{-2t}
    True
    """
    _not_printed(bound)
    question = f"time until the loss is at most {target}"
    return _time(
        question, bound.time_to_loss(positive(target, "target", zero=True, side=-1)), "(10)", 0.0
    )


def time_to_observation_error(bound: Bound, target: Any, *, noise: Any = None) -> Answer:
    """The time from which ‖y(t) - ȳ‖ <= target: p(t) <= target - ‖ε‖.

    `target` = 2‖ε‖ is (12), corrected: see E12 in `kltheory audit E12`.
    """
    goal = positive(target, "target", zero=True, side=-1)
    eps = positive(_or_given(noise, bound.constants.noise, "noise"), "noise", zero=True)
    question = f"time until ‖y(t) - ȳ‖ is at most {target}"
    return _time_to(bound, question, goal - eps, eps, goal, "p(t) + ‖ε‖ inverted, see (12)")


def time_to_signal_error(
    bound: Bound,
    target: Any,
    *,
    noise: Any = None,
    mu: Any = None,
    lip_f: Any = None,
    dist: Any = None,
) -> Answer:
    """The time from which ‖x(t) - x̄‖ <= target by (13), corrected (`kltheory audit E13`).

    The error never goes below the floor (1 + L_F/μ) dist(x̄, Σ) + ‖ε‖/μ.  Constants that are not
    given are those of the bound.
    """
    goal = positive(target, "target", zero=True, side=-1)
    m, floor = _signal_floor(bound, noise, mu, lip_f, dist)
    question = f"time until ‖x(t) - x̄‖ is at most {target}"
    return _time_to(bound, question, (goal - floor) * m, floor, goal, "(13) inverted")


def affordable_noise(
    bound: Bound, target: Any, t: Any, *, mu: Any = None, lip_f: Any = None, dist: Any = None
) -> Answer:
    """The largest ‖ε‖ for which (13) gives ‖x(t) - x̄‖ <= target at time t.

    ‖ε‖ <= μ(target - (1 + L_F/μ) dist(x̄, Σ)) - p(t).
    """
    goal = positive(target, "target", zero=True, side=-1)
    m, floor = _signal_floor(bound, 0, mu, lip_f, dist)
    p = Fraction(bound.observation(t))
    left = m * (goal - floor) - p
    question = f"largest ‖ε‖ for which ‖x(t) - x̄‖ is at most {target} at t = {t}"
    without = up(floor + p / m)
    if left < 0:
        shown = figure(without, 6, side=1)
        reason = f"impossible: even without noise the bound at t = {t} is {shown}"
        return Answer(question, None, reason, without, up(-left / m))
    return Answer(question, down(left), "(13) inverted", without)


def needed_sigma_j(
    bound: Bound, t: Any, *, loss: Any = None, observation: Any = None, sigma_f: Any = None
) -> Answer:
    """The least σ_J = σ_min(J_g(0)) for which (10) gives L(y(t)) <= loss at time t.

    With `observation` instead of `loss`: for which ‖y(t) - y‖ <= observation.  As κt is all that
    matters, σ_J = (2/σ_F) √(G/t), with G = Ψ(target) - Ψ(L0) >= 0.  That R' < R (8) holds for this
    σ_J is a condition of its own.
    """
    if bound.theory != "corrected":
        raise InputError("σ_J is found for the corrected theory; make the bound with it")
    if (loss is None) == (observation is None):
        raise InputError("give loss= or observation=, one of them")
    time = positive(t, "t", zero=True, side=-1)
    s = _or_given(sigma_f, bound.constants.sigma_f, "sigma_f")
    s = positive(s, "sigma_f", zero=True, side=-1)
    if not time or not s:
        raise InputError("t and sigma_f must be positive")
    if loss is not None:
        name, target, size = "the loss", loss, bound.curve.time_to_loss(loss)
    else:
        name, target, size = "‖y(t) - y‖", observation, bound.curve.stopping(observation)
    question = f"least σ_J for which {name} is at most {target} at t = {t}"
    if math.isinf(size):
        return Answer(question, None, "impossible: the loss is 0 at no finite time")
    return Answer(question, up(2 * sqrt_up(Fraction(size) / time) / s), "(10) inverted in κ")


def _signal_floor(
    bound: Bound, noise: Any, mu: Any, lip_f: Any, dist: Any
) -> tuple[Fraction, Fraction]:
    """(μ, the floor of (13))."""
    c = bound.constants
    m = positive(_or_given(mu, c.mu, "mu"), "mu", zero=True, side=-1)
    if not m:
        raise InputError("mu must be positive")
    eps = positive(_or_given(noise, c.noise, "noise"), "noise", zero=True)
    lipschitz = positive(_or_given(lip_f, c.lip_f, "lip_f"), "lip_f", zero=True)
    distance = positive(_or_given(dist, c.dist, "dist"), "dist", zero=True)
    return m, (1 + lipschitz / m) * distance + eps / m


def _time_to(
    bound: Bound, question: str, left: Fraction, floor: Fraction, goal: Fraction, how: str
) -> Answer:
    """The time from which p(t) <= left."""
    _not_printed(bound)
    if left < 0:
        short = up(floor - goal)
        reason = f"impossible: the target is {short:.6g} below the noise floor {float(floor):.6g}"
        return Answer(question, None, reason, up(floor), short)
    return _time(question, bound.stopping_time(left), how, up(floor))


def _not_printed(bound: Bound) -> None:
    if bound.theory == "printed":
        raise InputError(
            "the printed bounds cannot be relied on; make the bound with another theory"
        )


def _time(question: str, time: float, how: str, floor: float) -> Answer:
    if math.isinf(time):
        reason = "impossible: the target is the limit itself, which no finite time reaches"
        return Answer(question, None, reason, floor)
    return Answer(question, time, how, floor)


def _or_given(value: Any, known: Any, name: str) -> Any:
    if value is None and known is None:
        raise InputError(f"{name} is missing; give {name}= here or to the bound")
    return known if value is None else value
