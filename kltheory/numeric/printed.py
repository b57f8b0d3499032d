"""Theorem 3.2 and Corollary 3.3 as the paper's text prints them (HAL v1).

They are here to be compared with, not to be used: Corollary 3.3 drops factors of the parameter
rate (`kltheory audit E11`), (12) depends on the constant of integration in Ψ (`kltheory audit
E12`), and the first term of (13) has a factor 2/(σ_F σ_J) too many (`kltheory audit E13`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kltheory.errors import InputError
from kltheory.numeric.curve import Curve, exact_number
from kltheory.numeric.guarantees import Constants
from kltheory.symbolic.evaluate import compile_expr, real_context
from kltheory.symbolic.rate import PSI_VALUE, RateLaw, monomial


def theorem_3_2(law: RateLaw, curve: Curve, c: Constants) -> dict[str, Callable[..., float]]:
    """The printed bounds: loss (Corollary 3.3 for a power, else (10)), parameters, (12), (13).

    Ψ is taken with the constant that the derivation gave it, as a reader of the paper would.
    Raises `InputError` where the printed formula needs a closed Ψ and there is none.
    """
    ctx = real_context(120)
    power = monomial(law.desingularizer)

    def number(value: Any) -> Any:
        return ctx.mpf(value.numerator) / value.denominator

    kappa = number(c.kappa)

    def Psi(s: Any) -> Any:
        if law.Psi is None or not law.desingularizer.explicit:
            raise InputError("the printed formula needs a closed form of Ψ(s), and none was found")
        return compile_expr(law.Psi, law.desingularizer.symbol)(ctx, s)

    def gamma(t: Any) -> Any:
        return kappa * number(exact_number(t, "t")) + Psi(number(c.loss0))

    def corollary(t: Any, exponent_of: str) -> float:
        """Corollary 3.3 as printed, for ψ = c s^α; see `kltheory audit E11`."""
        assert power is not None
        size, alpha = (compile_expr(e, law.desingularizer.symbol)(ctx, 1) for e in power)
        g = gamma(t)
        if alpha == ctx.mpf(1) / 2:
            return float(ctx.exp(-4 * g / size**2))
        base = abs(1 - 2 * alpha) / (alpha**2 * size**2) * g
        if base <= 0:  # "there is t0 such that γ(t) > 0 for all t > t0"
            return math.inf
        top = 1 if exponent_of == "loss" else alpha
        return float(base ** (-top / abs(1 - 2 * alpha)))

    def loss(t: Any) -> float:
        return corollary(t, "loss") if power else curve.loss(c.kappa * exact_number(t, "t"))

    def parameters(t: Any) -> float:
        if power:
            return corollary(t, "parameters")
        return float(curve.psi(c.kappa * exact_number(t, "t")) / ctx.sqrt(kappa))

    def stopping(noise: Any) -> float:
        """(12): t >= 4 Ψ(ψ⁻¹(‖ε‖))/(σ_F² σ_J²) - Ψ(L0); see `kltheory audit E12`."""
        if noise == 0:
            return math.inf
        if (kt := curve.stopping(noise)) > 0:
            at_noise = kt + Psi(number(c.loss0))
        elif law.psi_inverse is not None:
            at_noise = Psi(compile_expr(law.psi_inverse, PSI_VALUE)(ctx, number(noise)))
        else:
            raise InputError("the printed (12) needs ψ⁻¹(‖ε‖), and no closed ψ⁻¹ was found")
        return float(at_noise / kappa - Psi(number(c.loss0)))

    def signal(t: Any) -> float:
        """(13): 2 ψ(Ψ⁻¹(γ(t)))/(μ σ_F σ_J) + (1 + L_F/μ) dist(x̄, Σ) + ‖ε‖/μ."""
        mu = number(c.mu)
        first = curve.psi(c.kappa * exact_number(t, "t")) / (mu * ctx.sqrt(kappa))
        return float(first + (1 + number(c.lip_f) / mu) * number(c.dist) + number(c.noise) / mu)

    return {"loss": loss, "parameters": parameters, "stopping": stopping, "signal": signal}
