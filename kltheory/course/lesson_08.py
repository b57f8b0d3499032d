"""Lesson 8: your own inverse problem."""

from __future__ import annotations

from typing import Any

from kltheory.teaching import Exercise

__all__ = ["EXERCISES"]


def _stop(speed: str, distance: str, noise: str) -> float:
    """t* of the square loss where ‖y(t) - y‖ falls like e^(-speed t) from `distance`."""
    from fractions import Fraction

    from kltheory.rates import rate

    start = Fraction(distance) ** 2 / 2
    bound = rate("sqrt(2*s)").bound(kappa=speed, loss0=start, noise=noise)
    return float(bound.stopping_time())


def _largest_noise() -> Any:
    """ε with 2ε/σ = δ."""
    from kltheory.symbolic.parse import parse

    return parse("sigma*delta/2", "delta").expr


EXERCISES = (
    Exercise("8.1", "The transpose of the convolution with a symmetric pulse?", "A itself",
             choices=("the inverse of A", "A itself", "the identity"),
             mistakes={"the inverse of A": "the transpose turns ⟨Ax, w⟩ into ⟨x, Aᵀw⟩; it undoes"
                                           " nothing"}),
    Exercise("8.2", "t* for σ_F = h = 0.5, ‖y(0)-y‖ = 4, noise 0.04?",
             lambda: _stop("1/16", "4", "0.04"),
             mistakes={"18.42": "both σ_F and h are squared in the rate",
                       "147.4": "(8.2) bounds the residual, not the loss: no factor 2",
                       "36.84": "the loss falls twice as fast as the residual"}),
    Exercise("8.3", "The largest noise for an error of delta?", _largest_noise, "delta",
             mistakes={"2*delta/sigma": "solve 2ε/σ ≤ δ for ε"}),
    Exercise("8.4", "The factor on t* when A and y are scaled by 3?",
             lambda: _stop("9/16", "12", "0.12") / _stop("1/16", "4", "0.04"),
             mistakes={"9": "the flow is faster with a larger operator, not slower",
                       "0.3333": "σ_F is squared in the rate"}),
)  # fmt: skip
