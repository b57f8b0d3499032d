"""Claim against trajectory: the verdict, the worst ratio and where, the tightness over time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.checks.claims import Claim
from kltheory.checks.observed import COLUMNS, Observed
from kltheory.errors import KLTheoryError
from kltheory.numeric.recovery import Assumption

__all__ = ["SLACK", "VERDICTS", "Check", "judge"]

Array = NDArray[np.float64]

VERDICTS = ("holds", "violated", "vacuous", "floor", "not-applicable")
"""The bound was kept; it was not; it says nothing at the times that were seen; it was exceeded by
no more than rounding and the integrator may be wrong by; a hypothesis fails, or a number lacks."""

SLACK = 1e-9
"""A ratio up to 1 + SLACK is kept: the measured constants are floats."""
_STILL = 1e-3
"""A bound on the loss that falls by less than this share says nothing that L ≤ L0 does not."""


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """One guarantee in one form, held against one trajectory."""

    bound: str
    """Its place in the paper, or the certificate's name."""
    theory: str
    """printed, corrected or sharp."""
    verdict: str
    """One of `VERDICTS`."""
    worst_ratio: float | None
    """The largest actual/bound, the actual less its numerical uncertainty (for a lower bound:
    bound/actual); above 1 the bound is violated."""
    at: float | None
    """The time of the worst ratio."""
    tightness: Array | None
    """bound/actual over time (for a lower bound actual/bound): 1 is tight; NaN where the actual
    value is rounding or the bound says nothing."""
    quantity: str
    """What is bounded."""
    statement: str
    """The formula."""
    hypotheses: tuple[Assumption, ...]
    """What it rests on."""
    reason: str
    """Why this verdict, in a sentence."""
    finding: str | None = None
    """ "step size": descent went over a bound on the flow."""
    curve: Array | None = None
    """The bound over time."""
    column: str = ""
    """The column of the trajectory that is bounded."""
    law: str = "flow"
    """ "flow" or "descent": whose trajectories it speaks of."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "bound": self.bound,
            "theory": self.theory,
            "verdict": self.verdict,
            "worst_ratio": _plain(self.worst_ratio),
            "at": _plain(self.at),
            "tightness": None if self.tightness is None else [_plain(v) for v in self.tightness],
            "quantity": self.quantity,
            "statement": self.statement,
            "hypotheses": [a.to_dict() for a in self.hypotheses],
            "reason": self.reason,
            "finding": self.finding,
        }

    def __repr__(self) -> str:
        """Return the verdict in one line."""
        worst = "" if self.worst_ratio is None else f", worst ratio {self.worst_ratio:.4g}"
        return f"Check({self.bound} {self.theory}: {self.verdict}{worst})"


def _plain(value: Any) -> float | str | None:
    if value is None or np.isnan(value):
        return None
    return "inf" if np.isinf(value) else float(value)


def judge(claim: Claim, observed: Observed) -> Check:
    """Hold a claim against a trajectory."""

    def answer(verdict: str, reason: str, **more: Any) -> Check:
        return Check(
            bound=claim.bound, theory=claim.theory, verdict=verdict,
            quantity=COLUMNS[claim.column], statement=claim.statement,
            hypotheses=claim.hypotheses, reason=reason, column=claim.column, law=claim.law,
            **{"worst_ratio": None, "at": None, "tightness": None, **more},
        )  # fmt: skip

    broken = [a for a in claim.hypotheses if a.status == "violated"]
    if broken:
        return answer("not-applicable", "; ".join(f"{a.id} fails: {a.reason}" for a in broken))
    if claim.column not in observed.columns:
        return answer("not-applicable", f"{COLUMNS[claim.column]} is not known here")
    try:
        curve = np.asarray(claim.curve(observed), dtype=np.float64)
    except KLTheoryError as error:
        return answer("not-applicable", str(error))
    column = observed.columns[claim.column]
    actual, below = column.values, column.below
    if claim.doubt is not None:
        below = below + claim.doubt(observed)
    seen = ~np.isnan(actual)
    if not seen.any():
        return answer("not-applicable", f"{COLUMNS[claim.column]} is empty")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if claim.lower:
            plain, kept = curve / actual, curve / (actual + below)
            room = actual / curve
        else:
            plain, kept = actual / curve, np.maximum(actual - below, 0.0) / curve
            room = curve / actual
        # 0/0 is a bound that is attained; NaN elsewhere must not pass as kept.
        plain = np.where((actual == 0) & (curve == 0), 0.0, plain)
        kept = np.where((np.maximum(actual - below, 0.0) == 0) & (curve == 0), 0.0, kept)
    room = np.where(seen & np.isfinite(curve) & (actual > below) & (curve > 0), room, np.nan)
    says = seen & (np.isfinite(curve) if not claim.lower else curve > 0)
    over = seen & ~(kept <= 1 + SLACK)
    above = seen & ~(plain <= 1 + SLACK)
    ratios = np.where(seen, kept, -np.inf)
    worst = int(np.argmax(np.where(np.isnan(ratios), np.inf, ratios)))
    more = {
        "worst_ratio": float(ratios[worst]), "at": float(observed.t[worst]), "tightness": room,
        "curve": curve,
    }  # fmt: skip
    if over.any():
        times = f"{int(over.sum())} of {int(seen.sum())} times"
        size = f"by a factor {ratios[worst]:.4g} at t = {observed.t[worst]:.4g}, at {times}"
        if observed.method == "descent" and claim.law == "flow":
            reason = f"the bound is on the flow, and descent went over it {size}: a smaller step"
            return answer("not-applicable", reason, **more, finding="step size")
        return answer("violated", f"exceeded {size}", **more)
    if not says.any():
        silent = {**more, "worst_ratio": None, "at": None}
        return answer("vacuous", _vacuous(claim), **silent)
    if claim.column == "loss" and not curve[says][-1] < (1 - _STILL) * curve[says][0]:
        last = observed.t[says][-1]
        reason = f"up to t = {last:.4g} it falls by less than {_STILL:.1%}"
        return answer("vacuous", reason, **more)
    if above.any():
        first = int(np.argmax(above))
        reason = f"from t = {observed.t[first]:.4g} on, by no more than what the numbers are worth"
        return answer("floor", reason, **more)
    return answer("holds", _kept(room), **more)


def _vacuous(claim: Claim) -> str:
    if claim.lower:
        return "the lower bound is 0"
    if claim.column == "error":
        return "the stopping time is later than the last time that was seen"
    return "the bound is infinite at all times that were seen"


def _kept(room: Array) -> str:
    known = room[~np.isnan(room)]
    if known.size == 0:
        return "kept; all values are rounding"
    return f"kept; the bound is {known.min():.3g} to {known.max():.3g} times the actual value"


def counts(checks: Iterable[Check]) -> dict[str, int]:
    """How many checks have each verdict."""
    found = dict.fromkeys(VERDICTS, 0)
    for check in checks:
        found[check.verdict] += 1
    return found
