"""Lesson 6: trajectories."""

from __future__ import annotations

from typing import Any

from kltheory.teaching import Exercise

__all__ = ["EXERCISES"]


def _weyl() -> float:
    """The bound on σ_min(J) at distance 5, for σ_J = 0.3, Λ = 0.02."""
    import numpy as np

    sigma, deviation, distance = 0.3, 0.02, 5.0
    worst = sigma * np.eye(2) - deviation * distance * np.diag([0.0, 1.0])
    return float(np.linalg.svd(worst, compute_uv=False)[-1])


def _width() -> Any:
    """k with a ρ/√k = q σ_J."""
    from kltheory.symbolic.parse import parse

    return parse("(a*rho/(q*sigma))**2", "rho").expr


def _margin() -> float:
    """How c a0²/(2 a1 ψ(L)) grows while L falls to 1e-4 and σ_J from 1/2 to 2/5."""
    from fractions import Fraction

    from kltheory.numeric.certificate_law import start_value
    from kltheory.numeric.sharp import affine_constants
    from kltheory.symbolic.losses import loss

    psi, one = loss("mse"), Fraction(1)
    early, late = (
        affine_constants(1.0, one, Fraction(sigma), one, one).threshold / start_value(psi, level)
        for sigma, level in (("1/2", 1.0), ("2/5", 1e-4))
    )
    return float(late / early)


EXERCISES = (
    Exercise("6.1", "The least σ_min(J) at distance 5 for σ_J = 0.3, Λ = 0.02?", _weyl,
             mistakes={"0.1": "that is how much it can fall",
                       "0.4": "the worst case is that it falls"}),
    Exercise("6.2", "From which k on is σ_min above (1-q)σ_J?", _width, "rho",
             mistakes={"a*rho/(q*sigma)": "that is √k",
                       "(a*rho/((1-q)*sigma))**2": "what may be lost is qσ_J, not (1-q)σ_J"}),
    Exercise("6.3", "The growth of the margin of (6.2)?", _margin,
             mistakes={"80": "σ is squared in (6.2)",
                       "6400": "ψ is the square root of the loss, up to a factor",
                       "156.25": "σ fell: the threshold became smaller"}),
    Exercise("6.4", "What is known of the loss after a certificate has fired?", "a bound",
             choices=("nothing", "an estimate", "a bound"),
             mistakes={"an estimate": "the certificate is a theorem, and θ(3) its initial value"}),
)  # fmt: skip
