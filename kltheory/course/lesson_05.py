"""Lesson 5: overparametrization."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from kltheory.teaching import Exercise

__all__ = ["EXERCISES"]


def _threshold() -> float:
    """c a0²/(2 a1) of the sharp form, for σ_F = 1, σ_J = 1/2, Λ = 1/20."""
    from kltheory.numeric.sharp import affine_constants

    return affine_constants(
        1.0, Fraction(1), Fraction(1, 2), Fraction(1, 20), Fraction(1)
    ).threshold


def _width() -> Any:
    """k with ψ0 = σ a √k/2."""
    from kltheory.symbolic.parse import parse

    return parse("(2*psi0/(sigma*a))**2", "psi0").expr


EXERCISES = (
    Exercise("5.1", "The threshold of (5.2) for σ_F = 1, σ_J = 0.5, Λ = 0.05?", _threshold,
             mistakes={"1.25": "that is (5.1), the paper's condition",
                       "5": "σ_J is squared, and 2Λ is below"}),
    Exercise("5.2", "The smallest k for (5.2)?", _width, "psi0",
             mistakes={"16*psi0**2/(sigma**2*a**2)": "that is the k of (5.1)"}),
    Exercise("5.3", "The path of the flow of ¼‖v-y‖⁴?", "the same",
             choices=("shorter", "longer", "the same")),
)  # fmt: skip
