"""Lesson 2: from ψ to a rate."""

from __future__ import annotations

from typing import Any

from kltheory.teaching import Exercise

__all__ = ["EXERCISES"]


def _law(psi: str) -> Any:
    from kltheory.rates import rate

    return rate(psi)


def _time() -> float:
    """When the bound on a loss of 1 with ψ = √(2s), κ = 1/4 is 1e-6."""
    return float(_law("sqrt(2*s)").bound(kappa="1/4", loss0=1).time_to_loss("1e-6"))


EXERCISES = (
    Exercise("2.1", "Ψ of 3√s?", lambda: _law("3*sqrt(s)").Psi, "s", up_to="constant",
             mistakes={"-3*sqrt(s)": "square the derivative before you integrate",
                       "-3*log(s)/4": "the factor 3 is squared too"}),
    Exercise("2.2", "Ψ of s^(1/4)?", lambda: _law("s**(1/4)").Psi, "s", up_to="constant",
             mistakes={"-s**(1/4)": "square the derivative before you integrate"}),
    Exercise("2.3", "Ψ⁻¹ of 2.2?", lambda: _law("s**(1/4)").Psi_inverse, "gamma"),
    Exercise("2.4", "The regime of √s + s?", lambda: _law("sqrt(s) + s").regime.loss,
             choices=("finite-time", "exponential", "polynomial"),
             mistakes={"finite-time": "which of the two terms is larger near 0?"}),
    Exercise("2.5", "When is a loss of 1 below 1e-6, with ψ = √(2s), κ = 1/4?", _time),
)  # fmt: skip
