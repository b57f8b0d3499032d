"""How k grows: curves over one parameter, and the exponents that the formulas really have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.errors import InputError
from kltheory.numeric.width import Widths, width

__all__ = ["OVER", "Exponents", "WidthCurves", "exponents", "width_curves"]

OVER: tuple[str, ...] = (
    *("n", "m", "n=m", "d", "sigma_f", "norm_f", "y_norm", "x_inf", "noise_inf"),
    *("failure", "entry_bound", "alpha", "p"),
)
"""What a curve can run over; alpha and p are parameters of the power loss."""


@dataclass(frozen=True, slots=True)
class WidthCurves:
    """k of every theorem against one parameter."""

    over: str
    """The parameter."""
    values: tuple[Any, ...]
    """Its values."""
    widths: tuple[Widths, ...]
    """The answer at each value."""

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """(theorem, theory) of the curves."""
        return tuple(
            dict.fromkeys((row.theorem, row.theory) for w in self.widths for row in w.rows)
        )

    @property
    def x(self) -> NDArray[np.float64]:
        """The values as floats."""
        return np.array([float(value) for value in self.values])

    def k(self, theorem: str, theory: str) -> tuple[int | None, ...]:
        """Return the exact integers of one curve."""
        return tuple(
            next((r.k for r in w.rows if (r.theorem, r.theory) == (theorem, theory)), None)
            for w in self.widths
        )

    def log10_k(self, theorem: str, theory: str) -> NDArray[np.float64]:
        """Return log10 of one curve; NaN where there is no width."""
        found = [
            next((r.log10_k for r in w.rows if (r.theorem, r.theory) == (theorem, theory)), None)
            for w in self.widths
        ]
        return np.array([math.nan if value is None else value for value in found])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "over": self.over,
            "values": [float(value) for value in self.values],
            "curves": [
                {
                    "theorem": theorem,
                    "theory": theory,
                    "k": list(self.k(theorem, theory)),
                    "log10_k": [
                        None if math.isnan(v) else float(v) for v in self.log10_k(theorem, theory)
                    ],
                }
                for theorem, theory in self.names
            ],
        }


def width_curves(over: str, values: Sequence[Any], **question: Any) -> WidthCurves:
    """Return `width(...)` along the values of one parameter; "n=m" moves both sizes.

    >>> found = width_curves("n", [10, 20], m=5, train="both", sigma_f=1, norm_f=1, x_inf=1,
    ...                      failure=0.05, theory="sharp")
    >>> found.k("4.1", "sharp")
    (91, 133)
    """
    if over not in OVER:
        raise InputError(f"curve: got {over!r}; it can run over {', '.join(OVER)}.")
    if not values:
        raise InputError(f"curve: give at least one value of {over}.")
    answers = []
    for value in values:
        changed: dict[str, Any] = {over: value}
        if over == "n=m":
            changed = {"n": value, "m": value}
        elif over in ("alpha", "p"):
            changed = {"params": {over: value}, "loss": "power"}
        answers.append(width(**{**question, **changed}))
    return WidthCurves(over, tuple(values), tuple(answers))


@dataclass(frozen=True, slots=True)
class Exponents:
    """Log-log slopes of one theorem, fitted to its formula where the sizes are large."""

    theorem: str
    """Its name."""
    theory: str
    """printed, corrected or sharp."""
    slopes: Mapping[str, float]
    """Direction (n, m, n=m, sigma_f, d) -> exponent of k."""
    claimed: Mapping[str, float]
    """What Remarks 4.3 to 4.5 of the paper say; empty for other theorems."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "theorem": self.theorem,
            "theory": self.theory,
            "slopes": dict(self.slopes),
            "claimed": dict(self.claimed),
        }


_CLAIMED = {
    # n³m² σ_F⁻⁴ and n²m σ_F⁻², with d "by a log factor" (Remark 4.5)
    "4.1": {"n": 3.0, "m": 2.0, "n=m": 5.0, "sigma_f": -4.0, "d": 0.0},
    "B.1": {"n": 2.0, "m": 1.0, "n=m": 3.0, "sigma_f": -2.0, "d": 0.0},
}
_BASE = {
    "sigma_f": 0.01,
    "norm_f": 1,
    "x_inf": 1,
    "noise_inf": 0,
    "failure": 0.05,
    "d": 20,
    "C": 1,
    "C_prime": 1,
}
_DIRECTIONS: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "n": ({"m": 1}, tuple(10**j for j in range(12, 16))),
    "m": ({"n": 2}, tuple(10**j for j in range(12, 16))),
    "n=m": ({}, tuple(10**j for j in range(12, 16))),
    "sigma_f": ({"n": 100, "m": 100}, (1e-9, 1e-8, 1e-7, 1e-6)),
    "d": ({"n": 100, "m": 100}, tuple(10**j for j in (12, 13, 14, 15))),
}


def exponents(
    train: str = "hidden", activation: Any = "sigmoid", **options: Any
) -> tuple[Exponents, ...]:
    """Fit d log k/d log(parameter) for each theorem, for ‖y‖ = √m, L_F = 1 and the square loss.

    In n with m small, in m with n small, in n = m together, in σ_F and in d.  The joint slope tells
    n(n + m)² (slope 3) from the n³m² (slope 5) of Remark 4.3, and n(n + m) (2) from the n²m (3) of
    Remark 4.4 (`kltheory audit E21`, `kltheory audit E22`).  Logarithms in the formulas remain as
    small deviations from whole numbers.

    >>> {r.theorem: round(r.slopes["n=m"], 2) for r in exponents("both", theory="printed")}
    {'4.1': 3.0}
    """
    fitted: dict[tuple[str, str], dict[str, float]] = {}
    for direction, (fixed, values) in _DIRECTIONS.items():
        question = {**_BASE, **fixed, "train": train, "activation": activation, **options}
        question.pop(direction, None)
        found = width_curves(direction, values, **question)
        for name in found.names:
            logs = found.log10_k(*name)
            if np.isfinite(logs).all():
                slope = np.polyfit(np.log10(found.x), logs, 1)[0]
                fitted.setdefault(name, {})[direction] = float(slope)
    return tuple(
        Exponents(name, theory, slopes, _CLAIMED[name] if theory == "printed" else {})
        for (name, theory), slopes in fitted.items()
    )
