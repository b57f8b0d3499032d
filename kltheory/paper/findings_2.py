"""Findings on Section 2 of the source: notation, networks, KL functions (E1 to E6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.network import TwoLayerNetwork
from kltheory.paper.finding import (
    Claim,
    Entry,
    Formula,
    Outcome,
    at_most,
    every,
    implies,
    same,
)
from kltheory.paper.follow import follow
from kltheory.problem import Problem

Array = NDArray[np.float64]

# -- E1: the smallest singular value ---------------------------------------------------------------


def smallest_nonzero(J: Array) -> float:
    """The smallest non-zero singular value, as printed."""
    found = np.linalg.svd(J, compute_uv=False)
    return float(found[found > 1e-12 * found[0]][-1])


def nth(J: Array) -> float:
    """σ_n(J) = inf ‖Jᵀw‖/‖w‖ for J with n rows; 0 with fewer columns than rows."""
    n, p = J.shape
    return float(np.linalg.svd(J, compute_uv=False)[n - 1]) if p >= n else 0.0


def _one_lipschitz(sigma: Callable[[Array], float]) -> Outcome:
    A, B = np.diag([1.0, 0.0]), np.diag([1.0, 0.01])
    moved, distance = abs(sigma(A) - sigma(B)), float(np.linalg.norm(A - B, 2))
    return Outcome(at_most(moved, distance), {"|σ(A) - σ(B)|": moved, "‖A - B‖": distance})


def _theorem_with(sigma: Callable[[Array], float]) -> Outcome:
    """Theorem 3.2 with σ as given, on two networks z ↦ V sin(z)/√k; F = Id, square loss."""
    cases: list[tuple[str, bool, bool | None]] = []
    numbers: dict[str, Any] = {}
    for name, V in (("k = 1 neuron", [[1.0], [0.0]]), ("k = 2 neurons", [[1.0, 0.0], [0.0, 1.0]])):
        k = len(V[0])
        network = TwoLayerNetwork([1.0], np.zeros((k, 1)), V, "sin")
        problem = Problem(np.eye(2), np.array([0.0, 0.1]))
        run = follow(problem, network, times=[0.0, 50.0])
        s, psi0 = sigma(network.jacobian()), float(np.linalg.norm(network.forward() - [0.0, 0.1]))
        lipschitz = 1 / math.sqrt(k)  # |sin''| <= 1 and unit columns
        reach = 2 * psi0 / s if s > 0 else math.inf
        admitted = s > 0 and reach < s / (2 * lipschitz)
        bound = float(run.loss[0]) * math.exp(-2 * s**2 / 4 * 50)
        loss = float(run.loss[-1])
        numbers |= {
            f"{name}: σ": s,
            f"{name}: R'": reach,
            f"{name}: R": s / (2 * lipschitz),
            f"{name}: loss at t = 50": loss,
            f"{name}: bound (10) at t = 50": bound,
        }
        cases.append((name, admitted, at_most(loss, bound + 1e-12)))
    outcome = implies(cases)
    return Outcome(outcome.holds, {**numbers, **outcome.numbers})


E1 = Entry(
    "E1",
    "σ_min is the smallest non-zero singular value",
    "σ_J must be the n-th singular value of the network's Jacobian, 0 if it has rank below n:"
    " a user who takes the smallest non-zero one gets rates for losses that never move.",
    (
        Claim(
            "Section 2.1, used in Theorem 3.2",
            "false",
            Formula(
                "σ_min(J) = the smallest non-zero singular value of J",
                r"\sigma_{\min}(J)=\min\{\sigma_i(J):\sigma_i(J)\ne0\}",
            ),
            Formula(
                "σ_min(J) = σ_n(J) = inf ‖Jᵀw‖/‖w‖ over w ≠ 0 in Rⁿ, 0 if rank J < n",
                r"\sigma_{\min}(J)=\sigma_n(J)=\inf_{w\in\mathbb R^n\setminus\{0\}}"
                r"\|J^\top w\|/\|w\|",
            ),
            "The proof of (10) uses ‖Jᵀw‖ ≥ σ_min(J)‖w‖ for all w, and σ_min > 0 to exclude that"
            " the flow stops; the smallest non-zero value gives neither. With one neuron,"
            " V = (1, 0) fixed and y = (0, 0.1), it gives σ = 1 and R' < R, and the flow never"
            " moves. With a trained last layer (or output bias) J has rank n and the two agree;"
            " the networks of Appendix B, with V fixed, are concerned.",
            "where σ > 0 and R' < R, the loss at t = 50 obeys (10)",
            smallest_nonzero,
            nth,
            _theorem_with,
        ),
        Claim(
            "Lemma 3.10(i), proof",
            "false",
            Formula(
                "σ_min is 1-Lipschitz, σ_min the smallest non-zero singular value",
                r"|\sigma_{\min}(A)-\sigma_{\min}(B)|\le\|A-B\|,\quad"
                r"\sigma_{\min}=\min\{\sigma_i:\sigma_i\ne0\}",
            ),
            Formula(
                "|σ_n(A) - σ_n(B)| ≤ ‖A - B‖",
                r"|\sigma_n(A)-\sigma_n(B)|\le\|A-B\|",
            ),
            "A zero singular value that becomes 0.01 lets the smallest non-zero one jump from 1 to"
            " 0.01, while the n-th one moves by 0.01 (Weyl).",
            "|σ(A) - σ(B)| ≤ ‖A - B‖ for A = diag(1, 0), B = diag(1, 0.01)",
            smallest_nonzero,
            nth,
            _one_lipschitz,
        ),
    ),
)

# -- E2, E3: the set of signals --------------------------------------------------------------------


def image_contains(x: Decimal) -> bool:
    """Whether x = φ(z) for a real z, φ the sigmoid: z = log(x/(1 - x)) exists."""
    return 0 < x < 1


def closure_contains(x: Decimal) -> bool:
    """Whether x is a limit of values of the sigmoid."""
    return 0 <= x <= 1


def _projection_of_two(contains: Callable[[Decimal], bool]) -> Outcome:
    with localcontext(prec=500):
        values = [1 / (1 + (-Decimal(2**j)).exp()) for j in range(11)]
        distances = [2 - x for x in values]
        infimum = distances[-1].quantize(Decimal(10) ** -400)
        candidates = [2 - infimum, 2 + infimum]
        found = [c for c in candidates if contains(c)]
        decreasing = all(a > b for a, b in pairwise(distances))
        numbers = {
            "infimum of |2 - x|": float(infimum),
            "every distance is larger": bool(decreasing and min(distances) > infimum),
            "points of the set at that distance": [float(x) for x in found],
        }
        return Outcome(bool(found), numbers)


E2 = Entry(
    "E2",
    "a closed Θ does not make Σ closed",
    "dist(x̄, Σ) is what it is, but x̄_Σ is a projection on the closure of Σ; A-7 and (13) extend"
    " to it by continuity.",
    (
        Claim(
            "Section 2.1",
            "false",
            Formula("if Θ is closed, so is Σ", r"\Theta\text{ closed}\implies\Sigma\text{ closed}"),
            Formula(
                "x̄_Σ is a projection of x̄ on the closure of Σ",
                r"\bar x_\Sigma\in\operatorname{argmin}_{x\in\overline\Sigma}\|x-\bar x\|",
            ),
            "A continuous image of a closed set need not be closed (that of a compact one is). For"
            " one sigmoid neuron with V = 1 fixed, Θ = R is closed and Σ = ]0, 1[ is not: 2 has"
            " distance 1 from Σ and no projection on it.",
            "a point of the set is at the distance dist(2, Σ) from 2",
            image_contains,
            closure_contains,
            _projection_of_two,
        ),
    ),
)


def ratio_everywhere(A: Array, cone: Array) -> float:
    """Inf of ‖Az‖/‖z‖ over all z of the cone, as printed."""
    with np.errstate(invalid="ignore"):
        return float(np.min(np.linalg.norm(cone @ A.T, axis=1) / np.linalg.norm(cone, axis=1)))


def ratio_off_zero(A: Array, cone: Array) -> float:
    """Inf of ‖Az‖/‖z‖ over the z ≠ 0 of the cone."""
    return ratio_everywhere(A, cone[np.linalg.norm(cone, axis=1) > 0])


def _conic_value(ratio: Callable[[Array, Array], float]) -> Outcome:
    grid = np.linspace(0, 1, 11)
    cone = np.array([[a, b] for a in grid for b in grid])  # the quadrant
    found = ratio(np.diag([2.0, 1.0]), cone)
    holds = False if math.isnan(found) else same(found, 1.0)
    return Outcome(holds, {"infimum": found, "least singular value": 1.0})


E3 = Entry(
    "E3",
    "conic singular values divide by ‖0‖",
    "None, if z = 0 is left out.",
    (
        Claim(
            "Section 2.1, likewise (7) and A-7",
            "misprint",
            Formula(
                "λ_min(A; T) = inf{‖Az‖/‖z‖ : z in T}",
                r"\lambda_{\min}(A;T)=\inf\{\|Az\|/\|z\|:z\in T\}",
            ),
            Formula(
                "λ_min(A; T) = inf{‖Az‖/‖z‖ : z in T, z ≠ 0}",
                r"\lambda_{\min}(A;T)=\inf\{\|Az\|/\|z\|:z\in T\setminus\{0\}\}",
            ),
            "Every cone holds 0, where the quotient is 0/0.",
            "the infimum is a number, and that of A = diag(2, 1) on the quadrant is 1",
            ratio_everywhere,
            ratio_off_zero,
            _conic_value,
        ),
    ),
)

# -- E4: Łojasiewicz exponents ---------------------------------------------------------------------


def _exponents(allowed: Callable[[float], bool]) -> Outcome:
    """ψ = s^α under A-1: the Lipschitz constant that 1/√(2 Lip s) <= ψ'(s) asks for is finite."""
    cases: list[tuple[str, bool, bool | None]] = []
    numbers: dict[str, Any] = {}
    for alpha in (0.0, 0.25, 0.5, 0.75, 1.0):
        s = np.array([1e-8, 1e-16])
        psi, slope = s**alpha, alpha * s ** (alpha - 1)
        with np.errstate(divide="ignore"):
            needed = 1 / (2 * s * slope**2)
        vanishes = bool(psi[1] < psi[0])
        smooth = at_most(float(needed[1]), float(needed[0]))
        numbers |= {
            f"α = {alpha:g}: Lipschitz constant asked for at s = 1e-16": float(needed[1]),
            f"α = {alpha:g}: ψ(1e-16)": float(psi[1]),
        }
        cases.append((f"α = {alpha:g}", allowed(alpha), vanishes and bool(smooth)))
    outcome = implies(cases)
    return Outcome(outcome.holds, {**numbers, **outcome.numbers})


E4 = Entry(
    "E4",
    "exponents α = 0 and α > 1/2 are empty",
    "With a smooth loss α is at most 1/2: there is no extinction in finite time, and the second"
    " line of Corollary 3.3 has no user.",
    (
        Claim(
            "Section 2.3, Corollary 3.3, Remark 4.3",
            "vacuous",
            Formula("ψ(s) = c s^α with α in [0, 1]", r"\psi(s)=cs^\alpha,\ \alpha\in[0,1]"),
            Formula(
                "α in ]0, 1/2] under A-1; α in ]0, 1] without it",
                r"\alpha\in\,]0,\tfrac12]\ \text{(A-1)}",
            ),
            "For α = 0, ψ is constant and ψ(0) ≠ 0. Under A-1 and A-3, 0 ≤ L(v - ∇L/Lip)"
            " ≤ L(v) - ‖∇L‖²/(2 Lip), so ‖∇L‖ ≤ √(2 Lip L), and the KL inequality gives"
            " ψ'(s) ≥ 1/√(2 Lip s): for α > 1/2 no Lipschitz constant is large enough. The same"
            " bound gives Ψ(0) = ∞, which (10) needs for Ψ⁻¹(γ(t)) to exist at all times.",
            "ψ(0) = 0, and the Lipschitz constant that ψ asks of ∇L stays bounded as s → 0",
            lambda alpha: 0 <= alpha <= 1,
            lambda alpha: 0 < alpha <= 0.5,
            _exponents,
        ),
    ),
)

# -- E5: uniformly convex functions ----------------------------------------------------------------


def _kl_product(pairs: Sequence[tuple[str, Any, Any, float]], slope: Any) -> Outcome:
    """ψ'(f(x))|f'(x)| >= 1 at some x, for each (name, f, f', p)."""
    numbers: dict[str, Any] = {}
    for name, f, df, p in pairs:
        products = [slope(f(x), p) * abs(df(x)) for x in (0.1, 1.0, 3.0)]
        numbers[f"{name}: least ψ'(f)|f'|"] = min(products)
    return Outcome(every(at_most(1, value) for value in numbers.values()), numbers)


_SQUARE = ("f = x²/2", lambda x: x**2 / 2, lambda x: x, 2.0)
_QUARTIC = ("f = 3x⁴/4", lambda x: 0.75 * x**4, lambda x: 3 * x**3, 4.0)


def primitive_of_conjugate(s: float, p: float) -> float:
    """ψ'(s) = 1/φ₊(s) for φ = x^p/p, φ₊ = a^q/q: as printed."""
    q = p / (p - 1)
    return float(q / s**q)


def primitive_of_inverse_conjugate(s: float, p: float) -> float:
    """ψ'(s) = 1/φ₊⁻¹(s) = (q s)^(-1/q)."""
    q = p / (p - 1)
    return float((q * s) ** (-1 / q))


def power_slope_printed(s: float, p: float) -> float:
    """ψ' of the printed ψ = q^(-1/q) s^(1/p)."""
    q = p / (p - 1)
    return float(q ** (-1 / q) / p * s ** (1 / p - 1))


def power_slope_derived(s: float, p: float) -> float:
    """ψ' of ψ = p q^(-1/q) s^(1/p)."""
    return p * power_slope_printed(s, p)


def _flat_modulus(converges: Callable[[Array], bool]) -> Outcome:
    """ψ = ∫ ds/φ₊⁻¹(s) for φ = x²/2 and φ = exp(-1/x), along x = 1/w, w → ∞.

    With a = φ'(x) and s = φ₊(a) = a x - φ(x): for the square ds/a = dw/w², for the flat one
    (w - 2)/w² dw.  The antiderivatives -1/w and log w + 2/w are the independent truth.
    """
    ends = 2.0 ** np.arange(3, 14)
    cases: list[tuple[str, bool, bool | None]] = []
    numbers: dict[str, Any] = {}
    moduli: tuple[tuple[str, Callable[[Any], Any], Callable[[float], float]], ...] = (
        ("φ = x²/2", lambda w: w**-2.0, lambda w: -1 / w),
        ("φ = exp(-1/x)", lambda w: (w - 2) / w**2, lambda w: math.log(w) + 2 / w),
    )
    for name, rate, primitive in moduli:
        parts = []
        for low, high in pairwise(ends):
            w = np.linspace(low, high, 2001)
            parts.append(float(np.trapezoid(rate(w), w)))
        growth = primitive(1e12) - primitive(1e6)
        numbers[f"{name}: ∫ between x = 1e-12 and 1e-6"] = growth
        numbers[f"{name}: part of ∫ in the last octave"] = parts[-1]
        cases.append((name, converges(np.array(parts)), growth < 1e-3))
    outcome = implies(cases)
    return Outcome(outcome.holds, {**numbers, **outcome.numbers})


def _uniformly_convex_exponents(allowed: Callable[[float], bool]) -> Outcome:
    """(6) on N parts of a segment of length 1: ⟨∇f(x) - ∇f(z), x - z⟩ >= 2 N^(2-p)/p for all N."""
    cases: list[tuple[str, bool, bool | None]] = []
    numbers: dict[str, Any] = {}
    for p in (1.5, 2.0, 4.0):
        needed = [2 * N ** (2 - p) / p for N in (1.0, 1e6, 1e12)]
        numbers[f"p = {p:g}: slope asked for with N = 1e12"] = needed[-1]
        cases.append((f"p = {p:g}", allowed(p), at_most(max(needed), needed[0])))
    outcome = implies(cases)
    return Outcome(outcome.holds, {**numbers, **outcome.numbers})


E5 = Entry(
    "E5",
    "Example 2.4 misses an inverse and a factor p",
    "ψ of a uniformly convex loss is p times larger than printed: times to reach a loss and all"
    " bounds on parameters grow with it (for p = 2, κt counts four times less).",
    (
        Claim(
            "Example 2.4, last sentence",
            "false",
            Formula("ψ(s) = q^(-1/q) s^(1/p) for φ = s^p/p", r"\psi(s)=q^{-1/q}s^{1/p}"),
            Formula("ψ(s) = p q^(-1/q) s^(1/p)", r"\psi(s)=p\,q^{-1/q}s^{1/p}"),
            "φ₊(a) = a^q/q, so φ₊⁻¹(s) = (q s)^(1/q), and the primitive of (q s)^(-1/q) is"
            " p q^(-1/q) s^(1/p), as 1 - 1/q = 1/p.",
            "ψ'(f)|f'| ≥ 1 for f = x²/2 (p = 2) and f = 3x⁴/4 (p = 4)",
            power_slope_printed,
            power_slope_derived,
            lambda slope: _kl_product((_SQUARE, _QUARTIC), slope),
        ),
        Claim(
            "Example 2.4",
            "misprint",
            Formula("ψ is a primitive of 1/φ₊", r"\psi'=1/\varphi_+"),
            Formula("ψ is a primitive of 1/φ₊⁻¹", r"\psi'=1/\varphi_+^{-1}"),
            "From f ≤ φ₊(‖∇f‖) follows ‖∇f‖ ≥ φ₊⁻¹(f), the inverse function.",
            "ψ'(f)|f'| ≥ 1 for f = x²/2 at x = 0.1, 1, 3",
            primitive_of_conjugate,
            primitive_of_inverse_conjugate,
            lambda slope: _kl_product((_SQUARE,), slope),
        ),
        Claim(
            "Example 2.4",
            "gap",
            Formula(
                "φ strictly convex and supercoercive: ψ vanishes at 0",
                r"\varphi\text{ strictly convex, supercoercive}\implies\psi(0)=0",
            ),
            Formula(
                "and ∫ ds/φ₊⁻¹(s) < ∞ at 0",
                r"\text{and}\ \int_0\frac{ds}{\varphi_+^{-1}(s)}<\infty",
            ),
            "f = x²/2 also has the modulus φ = exp(-1/x) near 0, which is strictly convex there;"
            " φ₊⁻¹(s) is about s log(1/s), and the integral diverges: the recipe gives no ψ."
            " Example 2.3 has the condition, Example 2.4 lacks it.",
            "ψ stays finite between x = 1e-12 and 1e-6",
            lambda parts: True,
            lambda parts: bool(parts[-1] < 0.75 * parts[-2]),
            _flat_modulus,
        ),
        Claim(
            "Example 2.4",
            "vacuous",
            Formula("φ(s) = s^p/p with p in ]1, ∞[", r"\varphi(s)=\tfrac1ps^p,\ p\in\,]1,\infty["),
            Formula("p ≥ 2, hence α = 1/p ≤ 1/2", r"p\ge2,\quad\alpha=\tfrac1p\le\tfrac12"),
            "Adding (6) over N parts of a segment gives ⟨∇f(x) - ∇f(z), x - z⟩ ≥"
            " 2N²φ(‖x - z‖/N), which tends to ∞ with N if p < 2: there is no such f.",
            "the slope that (6) asks for on N parts of a segment stays bounded",
            lambda p: p > 1,
            lambda p: p >= 2,
            _uniformly_convex_exponents,
        ),
    ),
)

# -- E6: losses that are not finite ----------------------------------------------------------------


def _kullback_leibler(domain: Callable[[], tuple[float, float]]) -> Outcome:
    """The loss v - 1 + log(1/v): A-1 and its KL inequality on a domain, on ever finer points."""
    low, high = domain()
    v = low + (high - low) * 2.0 ** -np.arange(0, 50)
    v = v[(v != 1) & (v > low)]
    with np.errstate(invalid="ignore", divide="ignore"):
        loss, gradient = v - 1 - np.log(v), 1 - 1 / v
        quotients = np.abs(np.diff(gradient) / np.diff(v))
        slope = math.sqrt(max(high, 1)) / np.sqrt(loss)  # of ψ = 2√(v_max s)
        product = slope * np.abs(gradient)
    finite = bool(np.all(np.isfinite(loss)) and np.all(np.isfinite(gradient)))
    largest = float(np.max(quotients)) if finite else math.inf
    least = float(np.min(product)) if finite else math.nan
    numbers = {"finite": finite, "largest slope of ∇L": largest, "least ψ'(L)‖∇L‖": least}
    holds = False if not finite or largest > 1e6 else at_most(1, least)
    return Outcome(holds, numbers)


E6 = Entry(
    "E6",
    "Kullback-Leibler and cross-entropy do not satisfy A-1",
    "For these losses the theorems need a set of observations away from the boundary, which the"
    " sublevel set of the initial loss has to stay in.",
    (
        Claim(
            "Example 2.5, with A-1",
            "gap",
            Formula(
                "Kullback-Leibler divergence and cross-entropy on Rᵐ",
                r"\mathcal L_y\in\mathcal C^1(\mathbb R^m)\ \text{for}\ \mathrm{KL}(y\,|\,v)",
            ),
            Formula(
                "on {v ≥ v_min > 0}, where ψ(s) = 2√(v_max s)",
                r"v_{\min}\le v\le v_{\max},\quad\psi(s)=2\sqrt{v_{\max}s}",
            ),
            "They are KL functions, but neither finite nor with a locally Lipschitz gradient on"
            " Rᵐ: y log(y/v) ends at v = 0.",
            "the loss is finite with a Lipschitz gradient, and ψ'(L)‖∇L‖ ≥ 1",
            lambda: (-1.0, 2.0),
            lambda: (0.5, 2.0),
            _kullback_leibler,
        ),
    ),
)

ENTRIES = (E1, E2, E3, E4, E5, E6)
