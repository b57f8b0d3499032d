"""What one theorem asks for, and what it says at a given width, as rows of the answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kltheory.constants import Constants

__all__ = ["AtWidth", "WidthRow", "power_of_ten"]


def power_of_ten(log10_k: float) -> str:
    """Write a number of neurons as a power of ten, rounded up.

    >>> power_of_ten(17.241), power_of_ten(17.0)
    ('10^17.25', '10^17.00')
    """
    return f"10^{math.ceil(100 * log10_k) / 100:.2f}"


@dataclass(frozen=True, slots=True)
class WidthRow:
    """What one theorem asks for."""

    theorem: str
    """Its name, with the variant in parentheses."""
    theory: str
    """printed, corrected or sharp."""
    k: int | None
    """The least sufficient number of neurons; None where there is none or it is beyond 10^300."""
    log10_k: float | None
    """log10 of the number of neurons."""
    constants: Constants
    """What the number is made of, at this k."""
    probability: float
    """The probability with which the conclusion holds at this k."""
    statement: str
    """The conclusion."""
    scaling: str
    """How k grows with the sizes and with σ_F."""
    reason: str
    """Why this k, or why none."""
    assumptions: tuple[str, ...]
    """What must hold besides."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "theorem": self.theorem,
            "theory": self.theory,
            "k": self.k,
            "log10_k": self.log10_k,
            "constants": self.constants.to_dict(),
            "probability": self.probability,
            "statement": self.statement,
            "scaling": self.scaling,
            "reason": self.reason,
            "assumptions": list(self.assumptions),
        }


@dataclass(frozen=True, slots=True)
class AtWidth:
    """What one theorem says at a given number of neurons."""

    theorem: str
    """Its name."""
    theory: str
    """printed, corrected or sharp."""
    holds: bool
    """Whether its condition on k is met."""
    margin: float | None
    """What it certifies divided by what is needed: above 1 where it holds; None: infinite."""
    largest_y_norm: float | None
    """The largest ‖y‖ for which it holds; None where there is none, or no limit."""
    largest_noise: float | None
    """The largest ‖ε‖∞, where ‖y‖ is bounded by √m(‖F(x̄)‖∞ + ‖ε‖∞)."""
    smallest_sigma_f: float | None
    """The smallest σ_F for which it holds; None where there is none, or only above L_F."""
    reason: str
    """The comparison in words, with what to change."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}
