"""Lesson 1: the Kurdyka–Łojasiewicz inequality."""

from __future__ import annotations

from typing import Any

from kltheory.teaching import Exercise

__all__ = ["EXERCISES"]


def _psi(profile: str) -> Any:
    from kltheory.symbolic.losses import from_radial

    return from_radial(profile).value


def _strongly_convex() -> float:
    """C with c√s = √(2s/8)."""
    from kltheory.symbolic.desingularizer import Desingularizer

    d = Desingularizer.from_psi("sqrt(2*s/mu)", parameters={"mu": 8})
    return float(d.value.subs(d.symbol, 1))


def _path() -> float:
    d_value = _psi("x**2/2")
    (s,) = d_value.free_symbols
    return float(d_value.subs(s, 0.02))


EXERCISES = (
    Exercise("1.1", "ψ of x²/2, with equality?", lambda: _psi("x**2/2"), "s",
             mistakes={"s**2/2": "that is the loss; ψ is its inverse function",
                       "1/sqrt(2*s)": "that is ψ′: integrate it, with ψ(0) = 0"}),
    Exercise("1.2", "ψ of |x|³/3, with equality?", lambda: _psi("x**3/3"), "s"),
    Exercise("1.3", "c in ψ = c√s for a loss that is 8-strongly convex?", _strongly_convex,
             mistakes={"2": "then ψ′‖∇f‖ is at least 4: it works, and a smaller c does too"}),
    Exercise("1.4", "The longest path from f = 0.02 with ψ = √(2s)?", _path),
)  # fmt: skip
