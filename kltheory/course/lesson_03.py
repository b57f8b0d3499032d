"""Lesson 3: early stopping."""

from __future__ import annotations

from typing import Any

from kltheory.teaching import Exercise

__all__ = ["EXERCISES"]


def _stopping_formula() -> Any:
    """[Ψ(ψ⁻¹(ε)) - Ψ(L0)]/κ for ψ = √(2s)."""
    from kltheory.rates import rate
    from kltheory.symbolic.parse import parse

    eps, loss0, kappa = (parse(name, name).expr for name in ("eps", "L0", "kappa"))
    law = rate("sqrt(2*s)")
    assert law.psi_inverse is not None
    assert law.Psi is not None
    s = law.desingularizer.symbol
    (p,) = law.psi_inverse.free_symbols
    at_noise = law.psi_inverse.subs(p, eps)
    return (law.Psi.subs(s, at_noise) - law.Psi.subs(s, loss0)) / kappa


def _stopping(psi: str, kappa: str, noise: str) -> float:
    from kltheory.rates import rate

    return float(rate(psi).bound(kappa=kappa, loss0=1, noise=noise).stopping_time())


EXERCISES = (
    Exercise("3.1", "t* for ψ = √(2s), in eps, kappa, L0?", _stopping_formula, "eps",
             mistakes={
                 "log(2/eps**2)/(2*kappa)": "Ψ(L0) is missing: the start counts too",
                 "(log(2/eps**2)/kappa + log(L0))/2":
                     "κ divides both terms: that is the missing bracket of (12)",
             }),
    Exercise("3.2", "How much later is t* with a tenth of the noise, κ = 1/4?",
             lambda: (_stopping("sqrt(2*s)", "1/4", "0.001")
                      - _stopping("sqrt(2*s)", "1/4", "0.01"))),
    Exercise("3.3", "t* for ψ = s^(1/4), κ = 1, L0 = 1, noise 0.1?",
             lambda: _stopping("s**(1/4)", "1", "0.1")),
)  # fmt: skip
