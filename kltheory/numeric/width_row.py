"""What one theorem asks for, as a row of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kltheory.constants import Constants

__all__ = ["WidthRow"]


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
