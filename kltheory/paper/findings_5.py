"""Findings on Section 5 of the source: the experiments (E29)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.activation import get
from kltheory.paper.finding import Claim, Entry, Formula, Outcome, at_most, every

Array = NDArray[np.float64]


def _mean_noise(interval: Callable[[int, float], tuple[float, float]]) -> Outcome:
    """E‖ε‖ for m entries uniform on [-β, β], by simulation (40000 draws)."""
    rng = np.random.default_rng(14)
    numbers: dict[str, Any] = {}
    holds: list[bool | None] = []
    for m, beta in ((10, 1.0), (10, 0.1)):
        norms = np.linalg.norm(rng.uniform(-beta, beta, (40_000, m)), axis=1)
        seen, error = float(np.mean(norms)), 5 * float(np.std(norms)) / 200
        low, high = interval(m, beta)
        name = f"m = {m}, β = {beta:g}"
        numbers |= {f"{name}: E‖ε‖": seen, f"{name}: from": low, f"{name}: to": high}
        holds += [at_most(low, seen + error), at_most(seen - error, high), at_most(high, 1.2 * low)]
    return Outcome(every(holds), numbers)


def _operator_norm(deviation: Callable[[int], float]) -> Outcome:
    """The norm of a Gaussian A (10, n) for n = 100 and n = 10000."""
    rng = np.random.default_rng(15)
    norms = {
        n: float(np.linalg.norm(deviation(n) * rng.standard_normal((10, n)), 2))
        for n in (100, 10_000)
    }
    numbers = {f"n = {n}: ‖A‖": value for n, value in norms.items()}
    return Outcome(at_most(norms[10_000], 1.5 * norms[100]), numbers)


def reaches(N: Array, y: Array) -> bool:
    """Whether N a = y for some a in [0, 1]ᵏ (a linear program)."""
    from scipy.optimize import linprog

    k = N.shape[1]
    found = linprog(np.zeros(k), A_eq=N, b_eq=y, bounds=(0, 1), method="highs")
    return bool(found.status == 0)


def below_support(N: Array, x: Array) -> bool:
    """Whether ⟨v, x⟩ <= Σ⟨v, N_i⟩₊ for v = x/‖x‖: necessary for x in Σ."""
    return bool(x @ x <= np.sum(np.maximum(x @ N, 0)))


def _spans(member: Callable[[Array, Array], bool]) -> Outcome:
    """Σ of a sigmoid network, V fixed, n = 10, k = 50, against a linear program."""
    rng = np.random.default_rng(16)
    N = rng.choice([-1.0, 1.0], (10, 50)) / math.sqrt(50)
    centre, direction = N.sum(axis=1) / 2, rng.standard_normal(10)
    numbers: dict[str, Any] = {}
    holds: list[bool | None] = []
    for size in (0.1, 100.0):
        x = centre + size * direction / np.linalg.norm(direction)
        true, said = reaches(N, x), member(N, x)
        numbers |= {f"distance {size:g} from the centre: in the closure of Σ": true}
        numbers |= {f"distance {size:g} from the centre: by the formula": said}
        holds.append(true == said)
    return Outcome(all(holds), numbers)


def least_width(n: int, m: int, draws: int) -> int:
    """The least k (in steps of m) at which half of the draws can reach zero loss, V fixed."""
    for k in range(2 * m, 60 * m, m):
        hits = 0
        for seed in range(draws):
            rng = np.random.default_rng([n, m, k, seed])
            A = rng.standard_normal((m, n)) / math.sqrt(n)
            V = rng.choice([-1.0, 1.0], (n, k))
            hits += reaches(A @ V / math.sqrt(k), A @ rng.standard_normal(n))
        if 2 * hits >= draws:
            return k
    return 0


def _dependence(factor: Callable[[int, int], float]) -> Outcome:
    """How the least width changes from n = 20 to n = 320, m = 4, for the limit t → ∞."""
    phi = get("sigmoid")
    small, large = (least_width(n, 4, 16) for n in (20, 320))
    predicted, seen = factor(20, 320), large / small if small else math.nan
    numbers = {
        "activation": phi.name,
        "n = 20, m = 4: least k": small,
        "n = 320, m = 4: least k": large,
        "growth seen": seen,
        "growth predicted": predicted,
    }
    holds = every([at_most(predicted, 2 * seen), at_most(seen, 2 * predicted)])
    return Outcome(holds, numbers)


E29 = Entry(
    "E29",
    "Section 5: the dashed line, the variance, the span and the law of Figure 1",
    "The expected noise is about 40 % above the dashed line of Figure 2a; draw the operator with"
    " variance 1/n; with V fixed, what can be reached decides, and k is a multiple of m.",
    (
        Claim(
            "Section 5, Figure 2a",
            "false",
            Formula(
                "E‖ε‖ drawn as √m β/√6", r"\mathbb E\|\varepsilon\|\to\frac{\sqrt m\beta}{\sqrt6}"
            ),
            Formula(
                "√m β/2 ≤ E‖ε‖ ≤ √m β/√3",
                r"\tfrac12\sqrt m\beta\le\mathbb E\|\varepsilon\|\le\tfrac1{\sqrt3}\sqrt m\beta",
            ),
            "E ε_i² = β²/3 and E|ε_i| = β/2. √m β/√6 is a lower bound, and not the expectation that"
            " the figure is said to show: for m = 10, β = 1 it is 1.29, and E‖ε‖ is 1.81.",
            "E‖ε‖ lies in the interval, whose ends differ by at most 20 %",
            lambda m, beta: (math.sqrt(m / 6) * beta,) * 2,
            lambda m, beta: (math.sqrt(m) * beta / 2, math.sqrt(m / 3) * beta),
            _mean_noise,
        ),
        Claim(
            "Section 5, set-up",
            "misprint",
            Formula("entries of F from N(0, 1/√n)", r"F_{ij}\sim\mathcal N(0,1/\sqrt n)"),
            Formula("entries of variance 1/n", r"F_{ij}\sim\mathcal N(0,1/n)"),
            "For L_F of constant order (n ≫ m) the variance must be 1/n; with variance 1/√n, as"
            " N(0, 1) in the same sentence suggests, ‖F‖ grows like n^(1/4).",
            "‖F‖ for n = 10000 is at most 1.5 times that for n = 100",
            lambda n: n**-0.25,
            lambda n: n**-0.5,
            _operator_norm,
        ),
        Claim(
            "Section 5, before Figure 2",
            "false",
            Formula("our networks can span Rⁿ", r"\Sigma=\mathbb R^n"),
            Formula(
                "V fixed, sigmoid: Σ = V ]0, 1[ᵏ/√k is bounded, ⟨v, x⟩ < Σ_i⟨v, V_i⟩₊/√k",
                r"\Sigma=\tfrac1{\sqrt k}V\,]0,1[^k,\quad"
                r"\langle v,x\rangle<\tfrac1{\sqrt k}\textstyle\sum_i\langle v,V_i\rangle_+",
            ),
            "With V fixed the signals of a sigmoid network fill a zonotope, not Rⁿ.",
            "membership agrees with a linear program, near the centre and far from it",
            lambda N, x: True,
            below_support,
            _spans,
        ),
        Claim(
            "Section 5, Figure 1a",
            "loose",
            Formula("k ≳ n²m is expected, quadratic in n", r"k\gtrsim n^2m"),
            Formula(
                "zero loss is reached as t → ∞ iff y is in the box image, k ≈ const · m",
                r"y\in\tfrac1{\sqrt k}AV[0,1]^k,\quad k\approx\mathrm{const}\cdot m",
            ),
            "With V fixed and a linear F the flow of a convex loss reaches zero loss wherever it"
            " can be reached, which n does not change; so convergence for n > k is no surprise. The"
            " 25000 steps, of a size that the text does not give, may add a dependence on n.",
            "the growth of the least k from n = 20 to n = 320 (m = 4, t → ∞) within a factor 2",
            lambda n, larger: (larger / n) ** 2,
            lambda n, larger: 1.0,
            _dependence,
        ),
    ),
)

ENTRIES = (E29,)
