"""The theorems that need no width when both layers are trained, and their price."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal

import numpy as np

from kltheory.activation import Activation, OneBranch
from kltheory.constants import Constant, Constants, Evidence
from kltheory.numeric.width_bounds import exactly
from kltheory.numeric.width_problem import WidthProblem
from kltheory.numeric.width_row import WidthRow

__all__ = ["protected_share", "without_width"]

_CRITICAL = {"gelu": -0.7518, "silu": -1.2785}
"""Just below the z_c where φ' changes sign."""


def protected_share(activation: Activation, energy: float) -> float | None:
    """Return a lower bound on log P(the neuron can never reach φ = 0), or None if not known.

    ‖V_i‖² - G(z_i) is constant along the flow, so |φ(z_i)| stays above 0 if
    G(z_i(0)) - ‖V_i(0)‖² is above G at the zero of φ; `energy` is a bound on ‖V_i(0)‖².

    >>> from kltheory.activation import get
    >>> protected_share(get("sigmoid"), 1e6)
    0.0
    """
    from scipy.special import log_ndtr

    slack = 1e-9
    if isinstance(activation.monotone, OneBranch):
        return _users_share(activation, activation.monotone, energy)
    match activation.name if activation.built_in else None:
        case "sigmoid" | "softplus":  # φ > 0 and G has no lower bound
            return 0.0
        case "tanh":  # G = sinh² z
            z = math.asinh(math.sqrt(energy))
        case "sin":  # G = -2 log|cos z|: the distance of z to ±π/2 must be below e^{-energy/2}
            reach = math.pi / 2 + 0.66
            return -0.5 * energy + math.log(4.0) - 0.5 * reach**2 - 0.5 * math.log(2 * math.pi)
        case "erf" | "arctan":
            z = _level(activation, energy, 30.0 if activation.name == "erf" else 1e75)
        case "gelu" | "silu":  # left of z_c φ < 0 tends to 0 only at -∞
            return float(log_ndtr(_CRITICAL[activation.name])) - slack
        case _:
            return None
    share = math.log(2.0) + float(log_ndtr(-z))
    return share - slack * max(1.0, abs(share))


def _users_share(activation: Activation, branch: OneBranch, energy: float) -> float:
    """Add the tails of N(0, 1) beyond ±z with G(±z) ≥ energy; G' ≥ 2|φ|/B1 beyond the table."""
    from scipy.special import log_ndtr

    if branch.never_zero:
        return 0.0
    tails = []
    for sign, levels in zip((1.0, -1.0), branch.levels, strict=True):
        z = next((z for z, g in levels if g >= energy), None)
        if z is None:
            last, g = levels[-1]
            slope = 1.9 * abs(float(activation.phi(np.array([sign * last]))[0])) / activation.B1
            z = last + (energy - g) / slope if g > 0 else math.inf
        tails.append(float(log_ndtr(-z * (1 + 1e-9))))
    share = float(np.logaddexp(tails[0], tails[1]))
    return share - 1e-9 * max(1.0, abs(share)) if share > -math.inf else share


def _level(activation: Activation, energy: float, high: float) -> float:
    """Return a z > 0 with G(z) ≥ energy, as small as bisection finds."""
    low = 0.0
    for _ in range(300):
        middle = 0.5 * (low + high)
        with np.errstate(over="ignore"):
            enough = float(activation.branches.G(np.array([middle]))[0]) >= energy
        low, high = (low, middle) if enough else (middle, high)
    return high * (1 + 1e-9)


def without_width(problem: WidthProblem) -> tuple[WidthRow, ...]:
    """Return Theorems C and C0 (both layers trained); () where the output layer is fixed."""
    if problem.train != "both":
        return ()
    rows = [_zero_output(problem)]
    energy = problem.entry_bound**2 * problem.n
    share = protected_share(problem.activation, float(energy))
    if share is not None and share > -math.inf:
        rows.insert(0, _protected(problem, float(energy), share))
    elif isinstance(problem.activation.monotone, str):
        rows.insert(0, _unknown(problem, problem.activation.monotone))
    else:
        rows.insert(0, _unknown(problem, "no neuron is seen to be kept away from φ = 0"))
    return tuple(rows)


_ASSUMED = ("A-1", "A-2", "A-3", "A-4", "A-5", "A-6", "‖u‖ = 1", "σ_F > 0", "equal step sizes")


def _protected(problem: WidthProblem, energy: float, share: float) -> WidthRow:
    """Theorem C: zero loss for every k with h_low > 0, the least |φ| that each neuron can reach."""
    constants = {
        "log_share": Constant(
            share, Evidence.COMPUTED, "log of the share of neurons that never reach φ = 0"
        )
    }
    k: int | None = 1
    if share == 0.0:
        logarithm, probability = 0.0, 1.0
        price = "the guaranteed rate σ_F² h_low² can be very small"
        if problem.activation.built_in:  # G ~ 2z and φ ~ e^z on the left, for sigmoid and softplus
            decay = -(energy - 2.0) / math.log(10.0)
            constants["log10_h_low_square"] = Constant(
                decay,
                Evidence.COMPUTED,
                "about log10 of h_low², if all z_i(0) = 0 and ‖V_i‖² = D²n",
            )
            price = f"the guaranteed rate σ_F² h_low² can be as small as 10^{decay:.3g}"
        reason = f"no width needed: converges for every k ≥ 1 and every start; price: {price}"
    else:
        k, logarithm = _first_success(share, problem.failure)
        probability = min(float(1 - problem.failure), math.nextafter(1.0, 0.0))
        reason = (
            "no condition on the initial error: one neuron that cannot reach φ = 0 is enough; "
            "price: the guaranteed rate σ_F² h_low² can be very small"
        )
    return WidthRow(
        theorem="C",
        theory="sharp",
        k=k,
        log10_k=logarithm,
        constants=Constants(constants),
        probability=probability,
        statement="the flow converges to zero loss, at the rate σ_F² h_low²",
        scaling="none in m, σ_F, ‖y‖",
        reason=reason,
        assumptions=_ASSUMED,
    )


def _unknown(problem: WidthProblem, reason: str) -> WidthRow:
    """Theorem C where nothing is proved about φ."""
    return WidthRow(
        theorem="C",
        theory="sharp",
        k=None,
        log10_k=None,
        constants=Constants(),
        probability=min(float(1 - problem.failure), math.nextafter(1.0, 0.0)),
        statement="the flow converges to zero loss, at the rate σ_F² h_low²",
        scaling="none in m, σ_F, ‖y‖",
        reason=reason,
        assumptions=_ASSUMED,
    )


def _first_success(log_share: float, failure: Decimal) -> tuple[int | None, float]:
    """Return the least k with (1 - e^log_share)^k ≤ failure, or its logarithm beyond 10^280."""
    if log_share < -650:  # then -log(1 - share) is share to more digits than are shown
        return None, (math.log(-float(failure.ln())) - log_share) / math.log(10.0)
    with decimal.localcontext(exactly(400)):
        needed = -failure.ln() / -(1 - Decimal(log_share).exp()).ln()
        logarithm = max(float(needed.log10()), 0.0)
        return max(int(needed.to_integral_value(rounding=decimal.ROUND_CEILING)), 1), logarithm


def _zero_output(problem: WidthProblem) -> WidthRow:
    """Theorem C0: with V(0) = 0 no |φ(z_i)| ever decreases."""
    return WidthRow(
        theorem="C0",
        theory="sharp",
        k=1,
        log10_k=0.0,
        constants=Constants(),
        probability=1.0,
        statement="the flow converges to zero loss, at the rate σ_F² h(0)² from the start",
        scaling="none: ψ(L_y(y(0))) = ψ(L_y(0))",
        reason="no width needed if V(0) = 0; price: V(0) = 0 is not an initialisation of A-10, "
        "and a small k makes the rate σ_F² h(0)² random",
        assumptions=(*_ASSUMED, "V(0) = 0", "φ(W(0)u) ≠ 0"),
    )
