"""Findings on Section 4 and Appendix B of the source: two-layer networks (E18 to E27)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.activation import ACTIVATIONS, get
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.numeric.width import width
from kltheory.numeric.width_row import WidthRow
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


@cache
def _row(theorem: str, theory: str, train: str, n: int, m: int, d: int = 3) -> WidthRow:
    """One row of the width of a network: square loss, σ_F = L_F = 1, ‖y‖ = √m, p = 0.05."""
    found = width(
        n=n, m=m, d=d, train=train, sigma_f=1, norm_f=1, y_norm=math.sqrt(m), failure=0.05,
        theory=theory,
    )  # fmt: skip
    return next(row for row in found.rows if (row.theorem, row.theory) == (theorem, theory))


def _log10(row: WidthRow) -> float:
    return math.nan if row.log10_k is None else row.log10_k


# -- E18: the initialisation -----------------------------------------------------------------------


def _entry_bounds(allowed: Callable[[float], bool]) -> Outcome:
    """A centered entry in [-D, D] has variance at most D² (reached by ±D); A-10 asks variance 1."""
    bounds = (0.5, 1.0, 1.8)
    outcome = implies((f"D = {D:g}", allowed(D), D**2 >= 1) for D in bounds)
    largest = {f"D = {D:g}: largest variance": D**2 for D in bounds}
    return Outcome(outcome.holds, {**largest, **outcome.numbers})


def _second_moment(limit: Callable[[float, float], float]) -> Outcome:
    numbers: dict[str, Any] = {}
    holds: list[bool | None] = []
    for name in ACTIVATIONS:
        phi = get(name)
        found, bound = phi.constants.C_phi.value, limit(abs(float(phi.phi(np.zeros(1))[0])), phi.B1)
        numbers |= {f"{name}: C_φ": found, f"{name}: bound": bound}
        holds.append(math.isfinite(bound) and at_most(found, bound))
    return Outcome(every(holds), numbers)


E18 = Entry(
    "E18",
    "A-10 forces D ≥ 1, and C_φ < ∞ is automatic",
    "D is at least 1, and 1 for random signs only; of A-8 only ‖u‖ = 1 is used.",
    (
        Claim(
            "Section 4.1, A-10",
            "vacuous",
            Formula("entries of V(0) bounded by any D > 0", r"|V_{ij}(0)|\le D,\ D>0"),
            Formula("D ≥ 1, with D = 1 only for signs ±1", r"D\ge1"),
            "Centered entries of variance 1 (identity covariance) cannot stay below D < 1.",
            "an entry with values in [-D, D] and variance 1 exists",
            lambda D: D > 0,
            lambda D: D >= 1,
            _entry_bounds,
        ),
        Claim(
            "Section 4.1, A-9",
            "loose",
            Formula("C_φ < ∞ is assumed", r"C_\phi<+\infty\ \text{(hypothesis)}"),
            Formula("C_φ ≤ |φ(0)| + B by A-5", r"C_\phi\le|\phi(0)|+B"),
            "|φ(x)| ≤ |φ(0)| + B|x|, and E X² = 1; likewise C_φ' ≤ B.",
            "a finite bound follows from A-5, and C_φ obeys it for every built-in φ",
            lambda at_zero, B: math.inf,
            lambda at_zero, B: at_zero + B,
            _second_moment,
        ),
    ),
)

# -- E19: Theorem 4.1 ------------------------------------------------------------------------------


def _quotient(admits: Callable[[float, float], bool]) -> Outcome:
    """L(v) = (v - a)²/2 with y = 0: the quotient ‖∇L(v)‖/‖v - y‖ near y."""
    cases: list[tuple[str, bool, bool | None]] = []
    numbers: dict[str, Any] = {}
    for name, shift in (("minimiser y", 0.0), ("minimiser y + 1", 1.0)):
        v = 10.0 ** -np.arange(1, 13)
        quotients = np.abs(v - shift) / v
        numbers[f"{name}: quotient at distance 1e-12"] = float(quotients[-1])
        cases.append((name, admits(0.0, abs(0.0 - shift)), bool(np.max(quotients) < 1e6)))
    outcome = implies(cases)
    return Outcome(outcome.holds, {**numbers, **outcome.numbers})


def probability_printed(n: int, d: int) -> float:
    """1 - 1/n - 1/d, from the row of the printed theorem."""
    return _row("4.1", "printed", "both", n, 5, d).probability


def probability_derived(n: int, d: int) -> float:
    """The probability of the corrected theorem, where it gives a k."""
    row = _row("4.1", "sharp", "both", n, 5, d)
    return row.probability if row.k is not None else 0.0


def _says_something(probability: Callable[[int, int], float]) -> Outcome:
    found = {f"n = {n}, d = {d}": probability(n, d) for n, d in ((5, 1), (2, 2), (5, 3))}
    return Outcome(all(p > 0 for p in found.values()), found)


def _lemma_48(claimed: Callable[[int, int], float]) -> Outcome:
    """The probability of the bound on L(y(0)) cannot be above that of Lemma 4.8, 1 - 1/d."""
    pairs = ((100, 3), (3, 100))
    numbers = {f"n = {n}, d = {d}: claimed": claimed(n, d) for n, d in pairs}
    numbers |= {f"n = {n}, d = {d}: Lemma 4.8": 1 - 1 / d for n, d in pairs}
    return Outcome(every(at_most(claimed(n, d), 1 - 1 / d) for n, d in pairs), numbers)


E19 = Entry(
    "E19",
    "Theorem 4.1 lacks hypotheses, and is empty for small n or d",
    "`kltheory width` gives every constant and a failure probability of your choice, for any n"
    " and d.",
    (
        Claim(
            "Theorem 4.1",
            "gap",
            Formula("A-1, A-3, A-5 and A-6 are assumed", r"\text{A-1, A-3, A-5, A-6}"),
            Formula(
                "also A-2, A-4 with σ_F > 0, and y in Argmin L_y",
                r"\text{also A-2, A-4},\ \sigma_F>0,\ y\in\operatorname{Argmin}\mathcal L_y",
            ),
            "A-2 and A-4 are standing assumptions, left out of this list, and ψ and σ_F come from"
            " them; that y is a minimiser is nowhere assumed. If ∇L_y(y) ≠ 0, L_L,0, the maximum of"
            " ‖∇L(v)‖/‖v - y‖, is infinite and no k is large enough.",
            "the quotient ‖∇L(v)‖/‖v - y‖ is bounded near y, for L(v) = (v - a)²/2",
            lambda minimum, gradient_at_y: minimum == 0,
            lambda minimum, gradient_at_y: minimum == 0 and gradient_at_y == 0,
            _quotient,
        ),
        Claim(
            "Theorems 4.1 and B.1",
            "vacuous",
            Formula("with probability at least 1 - 1/n - 1/d", r"1-n^{-1}-d^{-1}"),
            Formula("with probability at least 1 - p, for any p", r"1-p"),
            "For d = 1, n = 1 or n = d = 2 the printed probability is not positive; log d = 0 for"
            " d = 1. The law of the network's output does not depend on d (E23).",
            "the probability is positive for (n, d) = (5, 1), (2, 2) and (5, 3)",
            probability_printed,
            probability_derived,
            _says_something,
        ),
        Claim(
            "Proofs of Theorems 4.1 and B.1",
            "misprint",
            Formula("with probability 1 - 1/n, L(y(0)) ≤ ...", r"1-n^{-1}"),
            Formula("with probability 1 - 1/d", r"1-d^{-1}"),
            "The bound on the initial loss is Lemma 4.8, which holds with probability 1 - 1/d; the"
            " sum of both failures is what the theorem says.",
            "the probability is not above that of Lemma 4.8",
            lambda n, d: 1 - 1 / n,
            lambda n, d: 1 - 1 / d,
            _lemma_48,
        ),
    ),
)

# -- E20 to E23: the remarks -----------------------------------------------------------------------


def _phi_of(Phi: Callable[[Callable[[float], float], float], float]) -> Outcome:
    """L = r²/2 (φ(τ) = τ) and L = 2r^(3/2)/3 (|∇L(r) - ∇L(r')| <= √2 |r - r'|^(1/2)) at s = 10."""
    cases: tuple[tuple[str, Callable[[float], float], Callable[[float], float]], ...] = (
        ("L = r²/2", lambda tau: tau, lambda r: r**2 / 2),
        ("L = 2r^1.5/3", lambda tau: math.sqrt(2 * tau), lambda r: 2 * r**1.5 / 3),
    )
    numbers: dict[str, Any] = {}
    holds: list[bool | None] = []
    for name, modulus, loss in cases:
        bound = Phi(modulus, 10.0)
        numbers |= {f"{name}: L at distance 10": loss(10.0), f"{name}: Φ(10)": bound}
        holds.append(at_most(loss(10.0), bound * (1 + 1e-6)))
    return Outcome(every(holds), numbers)


def phi_printed(modulus: Callable[[float], float], s: float) -> float:
    """∫₀¹ φ(st)/t dt."""
    from scipy.integrate import quad

    return float(quad(lambda t: modulus(s * t) / t, 0, 1)[0])


def phi_derived(modulus: Callable[[float], float], s: float) -> float:
    """∫₀ˢ φ."""
    from scipy.integrate import quad

    return float(quad(modulus, 0, s)[0])


E20 = Entry(
    "E20",
    "Remark 4.2 divides by t where it should multiply by s",
    "For losses with a modulus of continuity φ of the gradient, the initial loss is bounded by"
    " the integral of φ from 0 to s, which for large s is larger than printed.",
    (
        Claim(
            "Remark 4.2",
            "false",
            Formula("Φ(s) = ∫₀¹ φ(st)/t dt", r"\Phi(s)=\int_0^1\frac{\varphi(st)}t\,dt"),
            Formula(
                "Φ(s) = s ∫₀¹ φ(st) dt = ∫₀ˢ φ", r"\Phi(s)=s\int_0^1\varphi(st)\,dt=\int_0^s\varphi"
            ),
            "L(v) = ∫ ⟨∇L(y + t(v - y)), v - y⟩ dt, and ‖∇L(y + t(v - y))‖ ≤ φ(t‖v - y‖).",
            "L ≤ Φ at distance 10 from y, for L = r²/2 and L = 2r^1.5/3",
            phi_printed,
            phi_derived,
            _phi_of,
        ),
    ),
)


def _scaling(train: str) -> Callable[[Callable[[int, int], float]], Outcome]:
    def witness(scale: Callable[[int, int], float]) -> Outcome:
        """The printed theorem's own k (C = C' = 1) over the scaling, for n, m = 10 to 10⁴."""
        theorem = "4.1" if train == "both" else "B.1"
        sides = (10, 300, 10_000)
        ratios = [
            _log10(_row(theorem, "printed", train, n, m)) - math.log10(scale(n, m))
            for n in sides
            for m in sides
        ]
        spread = 10 ** (max(ratios) - min(ratios))
        return Outcome(at_most(spread, 30), {"largest over smallest k/scaling": spread})

    return witness


def size_printed(loss0: float, alpha: float) -> float:
    """c of ψ = c s^α if one may choose α freely with the constant of the square loss."""
    return math.sqrt(2)


def size_derived(loss0: float, alpha: float) -> float:
    """Least c with c s^α desingularizing L = r²/2 on ]0, L0]: ψ' >= 1/√(2s) there."""
    return float(math.sqrt(2) * 0.5 / alpha * loss0 ** (0.5 - alpha))


def _small_exponent(size: Callable[[float, float], float]) -> Outcome:
    loss0 = 50.0
    numbers: dict[str, Any] = {}
    holds: list[bool | None] = []
    for alpha in (0.5, 0.25, 0.1):
        c = size(loss0, alpha)
        s = np.geomspace(1e-9 * loss0, loss0, 400)
        least = float(np.min(c * alpha * s ** (alpha - 1) * np.sqrt(2 * s)))
        numbers[f"α = {alpha:g}: ψ(L0)"] = c * loss0**alpha
        numbers[f"α = {alpha:g}: least ψ'(L)‖∇L‖"] = least
        holds.append(at_most(1, least))
    return Outcome(every(holds), numbers)


E21 = Entry(
    "E21",
    "Remark 4.3: n³m² is not the scaling of Theorem 4.1",
    "For the square loss the printed theorem asks for about n(n + m)²σ_F⁻⁴ neurons: with n = 60"
    " and m = 10 that is 70 times less than n³m²; a smaller α for the same loss asks for more.",
    (
        Claim(
            "Remark 4.3",
            "loose",
            Formula("k ≳ n³m² for the square loss", r"k\gtrsim n^3m^2"),
            Formula("k ≳ n(n + m)²", r"k\gtrsim n(n+m)^2=n^3+2n^2m+nm^2"),
            "ψ(L_L,0(L_F²n + m))⁴ with ψ a square root is (n + m)²: the sum is not a product. As a"
            " sufficient condition n³m² is right and far too large.",
            "the k of Theorem 4.1 (C = C' = 1) follows the scaling within a factor 30, n and m from"
            " 10 to 10000",
            lambda n, m: float(n**3 * m**2),
            lambda n, m: float(n * (n + m) ** 2),
            _scaling("both"),
        ),
        Claim(
            "Remark 4.3",
            "false",
            Formula(
                "ψ = c s^α: a small α reduces the bound on k",
                r"\psi=cs^\alpha:\ \alpha\downarrow\ \Rightarrow\ \psi(L_0)\downarrow",
            ),
            Formula(
                "c must grow: ψ_α(L0) ≥ (α₀/α) ψ_α₀(L0)",
                r"\psi_\alpha(L_0)\ge\tfrac{\alpha_0}\alpha\psi_{\alpha_0}(L_0),\ \alpha<\alpha_0",
            ),
            "The loss fixes its ψ. If c₀s^α₀ is its least desingularizing function on ]0, L0], one"
            " with a smaller α needs a larger c, and is larger at L0. For radial losses"
            " ψ(L0) = ‖y(0) - y‖ whatever α.",
            "c s^α is a desingularizing function of the square loss on ]0, 50]",
            size_printed,
            size_derived,
            _small_exponent,
        ),
    ),
)


def order_printed(n: int, m: int) -> tuple[float, float]:
    """The powers of ten of k, V fixed and both layers trained, by the route of the paper."""
    return (
        _log10(_row("B.1 (R' < R)", "corrected", "hidden", n, m)),
        _log10(_row("4.1 (R' < R)", "corrected", "both", n, m)),
    )


def order_derived(n: int, m: int) -> tuple[float, float]:
    """The same by the sharp conditions on the Jacobian's blocks."""
    return (
        _log10(_row("B.1", "corrected", "hidden", n, m)),
        _log10(_row("4.1", "sharp", "both", n, m)),
    )


def _ranking(powers: Callable[[int, int], tuple[float, float]]) -> Outcome:
    """Training V as well adds h²I to the kernel: it should not ask for more neurons."""
    numbers: dict[str, Any] = {}
    holds: list[bool | None] = []
    for n, m in ((5, 5), (60, 10)):
        fixed, both = powers(n, m)
        numbers |= {f"n = {n}, m = {m}: log10 k, V fixed": fixed}
        numbers |= {f"n = {n}, m = {m}: log10 k, both trained": both}
        holds.append(at_most(both, fixed))
    return Outcome(every(holds), numbers)


E22 = Entry(
    "E22",
    "Remark 4.4: n²m is not the scaling of Theorem B.1",
    "With V fixed the printed theorem asks for about n(n + m)σ_F⁻² neurons; training both layers"
    " can be certified with fewer, not more.",
    (
        Claim(
            "Remark 4.4, Section 5",
            "loose",
            Formula("k ≳ n²m for the square loss", r"k\gtrsim n^2m"),
            Formula("k ≳ n(n + m)", r"k\gtrsim n(n+m)=n^2+nm"),
            "ψ(L_L,0(L_F²n + m))² with ψ a square root is n + m, not n m, which is sufficient too.",
            "the k of Theorem B.1 (C = C' = 1) follows the scaling within a factor 30, n and m from"
            " 10 to 10000",
            lambda n, m: float(n**2 * m),
            lambda n, m: float(n * (n + m)),
            _scaling("hidden"),
        ),
        Claim(
            "Remark 4.4",
            "loose",
            Formula("fixing V improves the bound on k", r"k_{V\text{ fixed}}<k_{\text{both}}"),
            Formula(
                "training V too: k > B₁²ψ²/(σ_F²h₋⁴) suffices",
                r"k_{\text{both}}>\frac{B_1^2\bar\psi^2}{\sigma_F^2h_-^4}",
            ),
            "The block of V gives J_gJ_gᵀ ≥ h²I with h = ‖φ(Wu)‖/√k, and only h has to be kept from"
            " falling: no n, no V and no fourth power. The text's order is that of its bounds, not"
            " of the networks.",
            "training both layers asks for no more neurons than fixing V",
            order_printed,
            order_derived,
            _ranking,
        ),
    ),
)


def _input_size(neurons: Callable[[int], float]) -> Outcome:
    """The same z(0) = W(0)u and V with d = 1 and d = 40: one and the same flow."""
    base = TwoLayerNetwork.draw(n=3, k=20, d=1, seed=6)
    rng = np.random.default_rng(7)
    u = rng.standard_normal(40)
    u /= np.linalg.norm(u)
    rest = rng.standard_normal((20, 40))
    W = rest + np.outer(base.z - rest @ u, u)  # W u = z, all else at random
    wide = TwoLayerNetwork(u, W, base.V, base.activation)
    problem = Problem(np.eye(3), base.forward() + np.array([0.3, -0.2, 0.1]))
    times = [0.0, 10.0, 100.0]
    small, large = (follow(problem, net, times=times).loss for net in (base, wide))
    gap = float(np.max(np.abs(small - large) / small))
    k2, k500 = neurons(2), neurons(500)
    numbers = {
        "relative difference of the losses, d = 1 and 40": gap,
        "log10 k for d = 2": k2,
        "log10 k for d = 500": k500,
    }
    return Outcome(same(k2, k500) if gap < 1e-6 else None, numbers)


E23 = Entry(
    "E23",
    "d plays no role",
    "--d is asked for by the printed theorems only.",
    (
        Claim(
            "Remark 4.5, Theorems 4.1 and B.1",
            "loose",
            Formula("k depends on d by a logarithm", r"k\gtrsim\psi(\dots\sqrt{n\log d}\dots)"),
            Formula(
                "k does not depend on d", r"z(0)=W(0)u\sim\mathcal N(0,I_k)\ \text{for every}\ d"
            ),
            "With ‖u‖ = 1, W(0)u is standard Gaussian for every d, and the flow of (V, Wu) is"
            " closed; log d stands for the logarithm of a failure probability.",
            "k is the same for d = 2 and d = 500, as the flows are",
            lambda d: _log10(_row("4.1", "printed", "both", 5, 5, d)),
            lambda d: _log10(_row("4.1", "sharp", "both", 5, 5, d)),
            _input_size,
        ),
    ),
)

# -- E24: Lemma 4.6 --------------------------------------------------------------------------------


def _kernel(block: Callable[[Array], Array]) -> Outcome:
    network = TwoLayerNetwork.draw(n=3, k=5, d=2, activation="tanh", seed=8)
    unit = TwoLayerNetwork(
        network.u / np.linalg.norm(network.u), network.W, network.V, network.activation
    )
    J, phi = unit.jacobian("both"), unit.activation
    H = (unit.V * phi.dphi(unit.z) ** 2) @ unit.V.T + np.sum(block(phi.phi(unit.z))) * np.eye(3)
    gap = float(np.max(np.abs(J @ J.T - H / unit.k)))
    return Outcome(gap <= 1e-12, {"largest difference to J_g J_gᵀ": gap})


def _tail(threshold: Callable[[float, float, float], float]) -> Outcome:
    """φ = ±softplus, B = 1, nk = 10⁶: P(φ(X) >= threshold) against exp(-τ²/2)."""
    from scipy.special import ndtr

    mean = get("softplus").constants.mean_abs.value
    numbers: dict[str, Any] = {}
    holds: list[bool | None] = []
    for tau in (1.0, 2.0):
        bound = math.exp(-(tau**2) / 2)
        for sign, name in ((-1, "φ = -softplus"), (1, "φ = softplus")):
            level = threshold(sign * mean, math.log(1e6), tau)
            # softplus(x) >= l iff x >= log(exp(l) - 1), for l > 0
            edge = math.log(math.expm1(sign * level)) if sign * level > 0 else -math.inf
            true = float(ndtr(-sign * edge))
            numbers[f"{name}, τ = {tau:g}: probability"] = true
            holds.append(at_most(true, bound))
        numbers[f"τ = {tau:g}: bound"] = bound
    return Outcome(every(holds), numbers)


def _truncated(mean: Callable[[float, float], float]) -> Outcome:
    """Softplus, φ² cut off at T = 4: the mean of the summands that the inequality is applied to."""
    x = np.linspace(-9, 9, 36001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    square = get("softplus").phi(x) ** 2
    kept = np.where(square <= 4, square, 0)
    whole, part = (float(np.trapezoid(v * density, x)) for v in (square, kept))
    used = mean(whole, part)
    return Outcome(at_most(used, part), {"mean used": used, "mean of the bounded summands": part})


def _chernoff(exponent: Callable[[float], float]) -> Outcome:
    """P(λ_min <= t μ) <= n exp(-(1-t)²μ/(2L)) with λ_min = σ_min²: t = δ²."""
    deltas = (0.25, 0.5, 0.75)
    numbers = {f"δ = {x:g}: exponent": exponent(x) for x in deltas}
    numbers |= {f"δ = {x:g}: cited inequality": (1 - x * x) ** 2 for x in deltas}
    return Outcome(every(same(exponent(x), (1 - x * x) ** 2) for x in deltas), numbers)


def condition_printed(k: int, n: int) -> bool:
    """k/log k >= C n log n with C = 100; 1/log 1 is +∞."""
    return k == 1 or k / math.log(k) >= 100 * n * math.log(n)


def condition_derived(k: int, n: int) -> bool:
    """The same for k >= 2."""
    return k >= 2 and condition_printed(k, n)


def _one_neuron(admits: Callable[[int, int], bool]) -> Outcome:
    """n = 3, tanh, signs: how often σ_min(J_g(0)) is below half of √(C_φ² + C_φ'²)."""
    n, constants = 3, get("tanh").constants
    level = math.hypot(constants.C_phi.value, constants.C_phi_prime.value) / 2
    rng = np.random.default_rng(9)
    cases: list[tuple[str, bool, bool | None]] = []
    numbers: dict[str, Any] = {}
    for k, draws in ((1, 20_000), (3000, 40)):
        low = 0
        for _ in range(draws):
            z = rng.standard_normal(k)
            phi, slope = np.tanh(z), 1 - np.tanh(z) ** 2
            least = 0.0
            if k >= n:
                V = rng.choice([-1.0, 1.0], (n, k))
                least = float(np.linalg.eigvalsh((V * slope**2) @ V.T / k)[0])
            low += math.sqrt(max(least, 0.0) + float(phi @ phi) / k) < level
        frequency = low / draws
        error = 4 * math.sqrt(0.25 / draws)
        numbers[f"k = {k}: frequency of failure, {draws} draws"] = frequency
        above, below = frequency - error > 1 / n, frequency + error < 1 / n
        conclusion = False if above else True if below else None
        cases.append((f"k = {k}", admits(k, n), conclusion))
    outcome = implies(cases)
    return Outcome(outcome.holds, {**numbers, "allowed": 1 / n, **outcome.numbers})


def quoted_printed(n: float) -> float:
    """Least k with k >= n log n."""
    return n * math.log(n)


def quoted_derived(n: float) -> float:
    """Least k >= 3 with k/log k >= n log n."""
    k = quoted_printed(n)
    for _ in range(200):
        k = n * math.log(n) * math.log(k)
    return k


def _quoted(least: Callable[[float], float]) -> Outcome:
    numbers = {}
    for n in (10.0, 1e4, 1e8, 1e12):
        k = least(n)
        numbers[f"n = {n:g}: (k/log k)/(n log n)"] = k / math.log(k) / (n * math.log(n))
    shares = list(numbers.values())
    return Outcome(at_most(0.5 * shares[0], shares[-1]), numbers)


E24 = Entry(
    "E24",
    "Lemma 4.6: a square, a sign, unbounded summands and k = 1",
    "None for `kltheory width`: σ_min(J_g)² = h² + λ_min(J_W J_Wᵀ) exactly, and h and λ_min are"
    " bounded apart, with no log k and no condition k ≳ n log n for h.",
    (
        Claim(
            "Proof of Lemma 4.6, matrix Chernoff",
            "gap",
            Formula(
                "E H = (C_φ² + C_φ'²) I for summands with φ² ≤ C log(nk)",
                r"\mathbb E[\phi^2\mid\phi^2\le C\log(nk)]=C_\phi^2",
            ),
            Formula(
                "the mean of the truncated summands, which is smaller",
                r"\mathbb E[\phi^2\mathbf 1_{\phi^2\le T}]<C_\phi^2",
            ),
            "The inequality asks for bounded summands; conditioning on an event that bounds them"
            " lowers their mean. The block of φ is a multiple of I and needs no matrix inequality.",
            "the mean used is not above that of the bounded summands (softplus, φ² ≤ 4)",
            lambda whole, part: whole,
            lambda whole, part: part,
            _truncated,
        ),
        Claim(
            "Proof of Lemma 4.6, H",
            "misprint",
            Formula(
                "H = (1/k) Σ φ'²V_iV_iᵀ + φ I",
                r"H=\tfrac1k\sum_i\phi'(W^iu)^2V_iV_i^\top+\phi(W^iu)I_n",
            ),
            Formula(
                "H = (1/k) Σ φ'²V_iV_iᵀ + φ² I",
                r"H=\tfrac1k\sum_i\phi'(W^iu)^2V_iV_i^\top+\phi(W^iu)^2I_n",
            ),
            "The block of V has φ(W^i u)/√k on its diagonal; the next lines have the square.",
            "H = J_g J_gᵀ for a drawn network",
            lambda phi: phi,
            lambda phi: phi**2,
            _kernel,
        ),
        Claim(
            "Proof of Lemma 4.6, (20)",
            "gap",
            Formula(
                "P(φ(X) ≥ E φ(X) √log(nk) + τ) ≤ exp(-τ²/(2B²))",
                r"\mathbb P\big(\phi\ge\mathbb E[\phi]\sqrt{\log(nk)}+\tau\big)"
                r"\le e^{-\tau^2/2B^2}",
            ),
            Formula(
                "P(φ(X) ≥ |E φ(X)| √log(nk) + τ) ≤ exp(-τ²/(2B²)), log(nk) ≥ 1",
                r"\mathbb P\big(\phi\ge|\mathbb E[\phi]|\sqrt{\log(nk)}+\tau\big)"
                r"\le e^{-\tau^2/2B^2}",
            ),
            "A negative mean times a large number is a low threshold. The bound on φ² also needs"
            " the other tail.",
            "the probability is below the bound, for softplus and -softplus, nk = 10⁶, τ = 1, 2",
            lambda mean, log, tau: mean * math.sqrt(log) + tau,
            lambda mean, log, tau: abs(mean) * math.sqrt(log) + tau,
            _tail,
        ),
        Claim(
            "Lemma 4.6",
            "gap",
            Formula("k/log k ≥ C n log n", r"k/\log k\ge Cn\log n"),
            Formula("and k ≥ 2", r"k\ge2,\quad k/\log k\ge Cn\log n"),
            "For k = 1 the left side is infinite, and the lemma would hold for one neuron. Then"
            " σ_min = |φ(X)| for n ≥ 2, and tanh fails with probability 0.385 > 1/n for n = 3.",
            "the frequency of failure is below 1/n for n = 3, tanh (C = 100)",
            condition_printed,
            condition_derived,
            _one_neuron,
        ),
        Claim(
            "Proofs of Lemmas 4.6 and B.2",
            "constant",
            Formula(
                "P(σ_min ≤ δ√μ) ≤ n exp(-(1 - δ)²kμ/(2L))",
                r"ne^{-(1-\delta)^2k\mu/(2L)}",
            ),
            Formula("exponent (1 - δ²)²", r"ne^{-(1-\delta^2)^2k\mu/(2L)}"),
            "λ_min(H) = σ_min², so σ_min ≤ δ√μ is λ_min ≤ δ²μ. The printed exponent is smaller, so"
            " the printed bound is valid.",
            "the exponent is that of the cited inequality",
            lambda delta: (1 - delta) ** 2,
            lambda delta: (1 - delta**2) ** 2,
            _chernoff,
        ),
        Claim(
            "Proof of Theorem 4.1",
            "gap",
            Formula("Lemma 4.6 with k ≥ C₀ n log n", r"k\ge C_0n\log n"),
            Formula("k/log k ≥ C n log n, as Lemma 4.6 asks", r"k/\log k\ge Cn\log n"),
            "The condition that is quoted is weaker than that of the lemma by the factor log k,"
            " which no constant makes up. For d ≥ 2 the condition of Theorem 4.1 implies both; and"
            " with the exact form of σ_min(J_g)² neither is needed.",
            "k/log k is at least a fixed share of n log n at the least k, n from 10 to 10¹²",
            quoted_printed,
            quoted_derived,
            _quoted,
        ),
    ),
)

# -- E25: Lemma 4.7 --------------------------------------------------------------------------------


def lipschitz_printed(network: TwoLayerNetwork, rho: float) -> float:
    """B(1 + 2(D + ρ))√(n/k), D = 1."""
    B = max(network.activation.B1, network.activation.B2)
    return float(B * (1 + 2 * (1 + rho)) * math.sqrt(network.n / network.k))


def lipschitz_derived(network: TwoLayerNetwork, rho: float) -> float:
    """(M + √(M² + 4B₁²))/(2√k), M = B₂ max‖V_i(0)‖."""
    M = network.activation.B2 * float(np.max(np.linalg.norm(network.V, axis=0)))
    return (M + math.sqrt(M**2 + 4 * network.activation.B1**2)) / (2 * math.sqrt(network.k))


def _deviation(constant: Callable[[TwoLayerNetwork, float], float]) -> Outcome:
    """‖J(θ) - J(θ(0))‖/‖θ - θ(0)‖ when one neuron moves, n = 20, k = 60, sigmoid, signs."""
    base = TwoLayerNetwork.draw(n=20, k=60, d=1, seed=10)
    J0, i = base.jacobian("both"), int(np.argmin(np.abs(np.abs(base.z) - 1.317)))
    seen = []
    for rho in (0.01, 0.1, 1.0, 10.0):
        for share in (0.0, 0.3, 1.0):
            W, V = base.W.copy(), base.V.copy()
            W[i] += math.sqrt(1 - share**2) * rho / base.u
            V[:, i] += share * rho * V[:, i] / np.linalg.norm(V[:, i])
            moved = TwoLayerNetwork(base.u, W, V, base.activation).jacobian("both") - J0
            seen.append((rho, math.sqrt(float(np.linalg.eigvalsh(moved @ moved.T)[-1])) / rho))
    numbers: dict[str, Any] = {}
    holds: list[bool | None] = []
    largest = max(value for _, value in seen)
    for rho in (0.01, 10.0):
        bound = constant(base, rho)
        numbers[f"ρ = {rho:g}: bound"] = bound
        holds.append(at_most(max(v for r, v in seen if r <= rho), bound))
        holds.append(at_most(bound, 3 * largest))
    return Outcome(every(holds), {"largest deviation seen": largest, **numbers})


E25 = Entry(
    "E25",
    "Lemma 4.7 is right, and too large by a factor that grows with the radius",
    "The printed constant is B(1 + 2(D + ρ))√n against B₂D√n + B₁, six times larger in the example"
    " at ρ = 0; its growth in ρ is what turns ψ² into ψ⁴ in the bound on k.",
    (
        Claim(
            "Lemma 4.7",
            "loose",
            Formula(
                "Lip on the ball of radius ρ ≤ B(1 + 2(D + ρ))√(n/k)",
                r"\mathrm{Lip}_{\mathbb B(\theta_0,\rho)}(J_g)\le B(1+2(D+\rho))\sqrt{n/k}",
            ),
            Formula(
                "‖J_g(θ) - J_g(θ₀)‖ ≤ Λ‖θ - θ₀‖ for all θ, Λ = (M + √(M² + 4B₁²))/(2√k),"
                " M = B₂ max‖V_i(0)‖",
                r"\|J_g(\theta)-J_g(\theta_0)\|\le\frac{M+\sqrt{M^2+4B_1^2}}{2\sqrt k}"
                r"\|\theta-\theta_0\|,\ M=B_2\max_i\|V_i(0)\|",
            ),
            "Only the deviation from θ₀ enters the proof of Theorem 3.2, and written as"
            " φ'(z)(V - V₀) + (φ'(z) - φ'(z₀))V₀ it has no ρ; the block of φ is a multiple of the"
            " identity, whose spectral norm has no √n.",
            "the bound is valid at radii 0.01 and 10, and within a factor 3 of the largest"
            " deviation seen",
            lipschitz_printed,
            lipschitz_derived,
            _deviation,
        ),
    ),
)

# -- E26: Lemma 4.8 --------------------------------------------------------------------------------


def _square_of_sum(expected: Callable[[int, float, float], float]) -> Outcome:
    """E (Σ|φ(X_i)|)²/k by simulation, sigmoid, k = 100, 4000 draws; and ‖x(0)‖ for k = 10⁴."""
    k, constants = 100, get("sigmoid").constants
    rng = np.random.default_rng(11)
    sums = np.sum(get("sigmoid").phi(rng.standard_normal((4000, k))), axis=1)
    seen = float(np.mean(sums**2)) / k
    found = expected(k, constants.C_phi.value, constants.mean_abs.value)
    network = TwoLayerNetwork.draw(n=50, k=10_000, d=1, seed=12)
    size = float(np.linalg.norm(network.forward()))
    route = math.sqrt(50) * float(np.sum(network.activation.phi(network.z))) / 100
    numbers = {
        "simulated": seen,
        "formula": found,
        "k = 10⁴, n = 50: ‖x(0)‖": size,
        "k = 10⁴, n = 50: D√n Σ|φ|/√k of the proof": route,
        "k = 10⁴, n = 50: √n C_φ": math.sqrt(50) * constants.C_phi.value,
    }
    gap = abs(found - seen) / seen
    return Outcome(True if gap < 0.02 else False if gap > 0.1 else None, numbers)


E26 = Entry(
    "E26",
    "the proof of Lemma 4.8 takes the square of a sum for a sum of squares",
    "The bound ‖x(0)‖ = O(√n) is right for d ≥ 2, but only because V(0) is centered and"
    " independent of W(0); `kltheory width` uses √n h₊ν with explicit tails.",
    (
        Claim(
            "Proof of Lemma 4.8",
            "false",
            Formula(
                "(1/k) E (Σ|φ(W^i u)|)² = C_φ²",
                r"\tfrac1k\mathbb E\Big[\big(\textstyle\sum_i|\phi(W^iu)|\big)^2\Big]=C_\phi^2",
            ),
            Formula(
                "(1/k) E (Σ|φ(W^i u)|)² = C_φ² + (k - 1)(E|φ|)²",
                r"\tfrac1k\mathbb E\Big[\big(\textstyle\sum_i|\phi(W^iu)|\big)^2\Big]"
                r"=C_\phi^2+(k-1)(\mathbb E|\phi|)^2",
            ),
            "The k(k - 1) mixed terms are left out. By the triangle inequality alone the initial"
            " signal is bounded by D√n√k E|φ|, which grows with k; conditionally on W(0), the"
            " columns of V(0) cancel and ‖x(0)‖ is about √n h.",
            "the formula agrees with a simulation (sigmoid, k = 100) to 2 %",
            lambda k, C, first: C**2,
            lambda k, C, first: C**2 + (k - 1) * first**2,
            _square_of_sum,
        ),
    ),
)

# -- E27: Appendix B -------------------------------------------------------------------------------


def _radius_b(R: Callable[[float, float, float, float], float]) -> Outcome:
    """(9) with Lemma B.2 (σ = C_φ'/2) and Lemma B.3 (Lip = BD√(n/k)); k = 10⁴, n = 10, D = 1."""
    c = get("sigmoid").constants
    B, ratio = max(c.B1.upper, c.B2.upper), math.sqrt(10_000 / 10)
    lemma = (c.C_phi_prime.value / 2) / (2 * B / ratio)
    found = R(c.C_phi_prime.value, B, 1.0, ratio)
    numbers = {"R of the lemmas": lemma, "claimed lower bound": found}
    return Outcome(at_most(found, lemma), numbers)


def _header(train: str) -> Outcome:
    """Is BD√(n/k) a global Lipschitz constant?  W moves a little, V is 50 times V(0)."""
    base = TwoLayerNetwork.draw(n=4, k=10, d=1, seed=13)
    V = base.V if train == "hidden" else 50 * base.V
    pair = [
        TwoLayerNetwork(base.u, W, V, base.activation).jacobian(train)
        for W in (base.W, base.W + 0.1)
    ]
    moved = float(np.linalg.norm(pair[0] - pair[1], 2)) / (0.1 * math.sqrt(base.k))
    bound = max(base.activation.B1, base.activation.B2) * math.sqrt(base.n / base.k)
    return Outcome(at_most(moved, bound), {"quotient seen": moved, "BD√(n/k)": bound})


E27 = Entry(
    "E27",
    "Appendix B: a factor 2 in R, and the header of Lemma B.3",
    "With every constant of its own proof, Theorem B.1 asks k > 256 B²D²nψ²/(σ_F²C_φ'⁴): four"
    " times what its printed R would ask.",
    (
        Claim(
            "Proof of Theorem B.1",
            "constant",
            Formula("R ≥ C_φ'/(2BD) √(k/n)", r"R\ge\frac{C_{\phi'}}{2BD}\sqrt{k/n}"),
            Formula("R ≥ C_φ'/(4BD) √(k/n)", r"R\ge\frac{C_{\phi'}}{4BD}\sqrt{k/n}"),
            "Lemma B.2 gives σ_min(J_g(0)) ≥ C_φ'/2, and (9) has another 2.",
            "the bound is not above the R that (9) and Lemmas B.2, B.3 give",
            lambda C, B, D, ratio: C / (2 * B * D) * ratio,
            lambda C, B, D, ratio: C / (4 * B * D) * ratio,
            _radius_b,
        ),
        Claim(
            "Lemma B.3",
            "misprint",
            Formula(
                "with both layers trained, Lip(J_g) ≤ BD√(n/k)",
                r"\text{both layers trained: }\mathrm{Lip}(J_g)\le BD\sqrt{n/k}",
            ),
            Formula(
                "with V fixed, Lip(J_g) ≤ BD√(n/k)",
                r"V\text{ fixed: }\mathrm{Lip}(J_g)\le BD\sqrt{n/k}",
            ),
            "The proof moves W only; with both layers trained V is not bounded by D, and there is"
            " no global constant. The radius ρ and n ≥ 2 of the header play no part.",
            "the Jacobian moves at most by BD√(n/k) times the step in W",
            "both",
            "hidden",
            _header,
        ),
    ),
)

ENTRIES = (E18, E19, E20, E21, E22, E23, E24, E25, E26, E27)
