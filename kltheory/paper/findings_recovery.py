"""Findings on recovery: Theorem 3.2(ii), (iii), 3.4 and A.1 (E12 to E17, E28, E31)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.network import TwoLayerNetwork
from kltheory.numeric.recovery import local_signal_error, signal_error
from kltheory.numeric.sample_complexity import measurements, width_subspace
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
from kltheory.paper.findings_3 import bound_of, primitive
from kltheory.paper.follow import follow
from kltheory.problem import Problem

Array = NDArray[np.float64]

# -- E12: early stopping ---------------------------------------------------------------------------


def _stopped(theory: str | Callable[[float, float, float], float]) -> Outcome:
    """F(x) = x/10, g = b, square loss: y(t) - y = 100 exp(-t/100); ε = -1, so ȳ = y + 1."""
    noise, start, sigma_f = 1.0, 100.0, 0.1
    if callable(theory):
        stop = theory(noise, start, sigma_f)
    else:
        stop = bound_of(theory, sigma_f="1/10", sigma_j=1, loss0=5000, noise=1).stopping_time()
    errors = [abs(start * math.exp(-(sigma_f**2) * t) - noise) for t in (stop, 1.5 * stop)]
    numbers = {
        "t*": stop,
        "‖y(t) - ȳ‖ at t*": errors[0],
        "‖y(t) - ȳ‖ at 1.5 t*": errors[1],
        "2‖ε‖": 2 * noise,
    }
    return Outcome(every(at_most(error, 2 * noise) for error in errors), numbers)


def stopping_printed(gauge: float) -> float:
    """(12) as printed for κ = 1/400, c² = 2, L0 = 5000, ‖ε‖ = 1, with Ψ + `gauge`."""
    at_noise, at_start = (primitive(s, 0.5, math.sqrt(2), gauge) for s in (0.5, 5000.0))
    return 400 * at_noise - at_start


def stopping_derived(gauge: float) -> float:
    """The same with both Ψ over κ."""
    at_noise, at_start = (primitive(s, 0.5, math.sqrt(2), gauge) for s in (0.5, 5000.0))
    return max(at_noise - at_start, 0.0) * 400


def _gauge_free(stop: Callable[[float], float]) -> Outcome:
    zero, hundred = stop(0.0), stop(100.0)
    return Outcome(same(zero, hundred), {"t* with Ψ": zero, "t* with Ψ + 100": hundred})


E12 = Entry(
    "E12",
    "the early stopping time is not over κ as a whole",
    "The printed t* can be far too early: in the example 143 instead of 1842. t* = ∞ without noise"
    " (unless the loss vanishes in finite time), 0 for ‖ε‖ ≥ ψ(L0).",
    (
        Claim(
            "Theorem 3.2(ii), (12)",
            "false",
            Formula(
                "t ≥ 4Ψ(ψ⁻¹(‖ε‖))/(σ_F²σ_J²) - Ψ(L0)",
                r"t\ge\frac{4\Psi(\psi^{-1}(\|\varepsilon\|))}{\sigma_F^2\sigma_J^2}-\Psi(L_0)",
            ),
            Formula(
                "t ≥ 4(Ψ(ψ⁻¹(‖ε‖)) - Ψ(L0))₊/(σ_F²σ_J²)",
                r"t\ge\frac{4}{\sigma_F^2\sigma_J^2}"
                r"\big[\Psi(\psi^{-1}(\|\varepsilon\|))-\Psi(L_0)\big]_+",
            ),
            "ψ(Ψ⁻¹(κt + Ψ(L0))) ≤ ‖ε‖ means κt + Ψ(L0) ≥ Ψ(ψ⁻¹(‖ε‖)): both terms are divided by κ."
            " Convexity of the loss is not needed.",
            "‖y(t*) - ȳ‖ ≤ 2‖ε‖ for F(x) = x/10, g = b, ‖ε‖ = 1, ‖y(0) - y‖ = 100",
            "printed",
            "corrected",
            _stopped,
        ),
        Claim(
            "Theorem 3.2(ii), (12)",
            "false",
            Formula(
                "t ≥ 4Ψ(ψ⁻¹(‖ε‖))/(σ_F²σ_J²) - Ψ(L0), Ψ any primitive of -ψ'²",
                r"\frac{4\Psi(\psi^{-1}(\|\varepsilon\|))}{\sigma_F^2\sigma_J^2}-\Psi(L_0),\quad"
                r"\Psi'=-\psi'^2",
            ),
            Formula(
                "only the difference of two values of Ψ",
                r"\tfrac1\kappa\big[\Psi(\psi^{-1}(\|\varepsilon\|))-\Psi(L_0)\big]_+",
            ),
            "A constant added to Ψ moves the printed time by (1/κ - 1) times that constant.",
            "t* is the same with Ψ and with Ψ + 100",
            stopping_printed,
            stopping_derived,
            _gauge_free,
        ),
    ),
)

# -- E13: the first term of (13) -------------------------------------------------------------------


def _tenfold(theory: str) -> Outcome:
    """F(x) = 10 x, g = b, ε = 0, |x(0) - x̄| = 1: p(0) = 10, μ = σ_F = 10, σ_J = 1."""
    bound = signal_error(10.0, mu=10, noise=0, theory=theory, sigma_f=10, sigma_j=1).value
    return Outcome(at_most(1.0, bound), {"‖x(0) - x̄‖": 1.0, "bound at t = 0": bound})


def last_line_printed(a: float, b: float, c: float, d: float, mu: float) -> float:
    """The last line of the chain as printed: μ⁻¹ on the first terms only."""
    return a / mu + b / mu + c + d


def last_line_derived(a: float, b: float, c: float, d: float, mu: float) -> float:
    """The last line with its parentheses."""
    return (a + b + c) / mu + d


def _chain(last: Callable[..., float]) -> Outcome:
    """F(x) = x/10 on Σ = ]-∞, 0], x̄ = 1: a = b = 0, c = ‖F(x̄) - F(x̄_Σ)‖ = 0.1, d = 1, μ = 0.1."""
    before, after = (0 + 0 + 0.1) / 0.1 + 1.0, last(0.0, 0.0, 0.1, 1.0, 0.1)
    return Outcome(at_most(before, after), {"line before": before, "last line": after})


E13 = Entry(
    "E13",
    "the first term of (13) has a factor 2/(σ_J σ_F) too many",
    "Where σ_J σ_F > 2 the printed bound on the signal is too small, elsewhere needlessly large.",
    (
        Claim(
            "Theorem 3.2(iii), (13)",
            "false",
            Formula(
                "first term 2ψ(Ψ⁻¹(γ(t)))/(μ σ_J σ_F)",
                r"\frac{2\psi(\Psi^{-1}(\gamma(t)))}{\mu_{F,\Sigma}\,\sigma_J\sigma_F}",
            ),
            Formula(
                "first term ψ(Ψ⁻¹(γ(t)))/μ", r"\frac{\psi(\Psi^{-1}(\gamma(t)))}{\mu_{F,\Sigma}}"
            ),
            "By (18) and (10), ‖y(t) - y‖ ≤ ψ(Ψ⁻¹(γ(t))); the factor 2/(σ_J σ_F) belongs to the"
            " parameters, (11).",
            "the bound at t = 0 is not below the error, for F(x) = 10x, g = b, ‖x(0) - x̄‖ = 1",
            "printed",
            "corrected",
            _tenfold,
        ),
        Claim(
            "Proof of Theorem 3.2(iii), last line",
            "misprint",
            Formula(
                "... + μ⁻¹‖ε‖ + ‖F(x̄) - F(x̄_Σ)‖ + dist(x̄, Σ)",
                r"\dots+\mu^{-1}\|\varepsilon\|+\|F(\bar x)-F(\bar x_\Sigma)\|"
                r"+\mathrm{dist}(\bar x,\Sigma)",
            ),
            Formula(
                "... + μ⁻¹(‖ε‖ + ‖F(x̄) - F(x̄_Σ)‖) + dist(x̄, Σ)",
                r"\dots+\mu^{-1}\big(\|\varepsilon\|+\|F(\bar x)-F(\bar x_\Sigma)\|\big)"
                r"+\mathrm{dist}(\bar x,\Sigma)",
            ),
            "The line before has μ⁻¹ before all three terms, as has (13) itself.",
            "the last line is at least the line before, for F(x) = x/10",
            last_line_printed,
            last_line_derived,
            _chain,
        ),
    ),
)

# -- E14: 0 in Σ -----------------------------------------------------------------------------------


def bent(x: Array) -> Array:
    """F: slope 1 up to 0.8, a cubic from (0.8, 0.8) to (1, -10), slope 5.7 from there."""
    h = (x - 0.8) / 0.2
    cubic = (
        0.8 * (1 + 2 * h) * (1 - h) ** 2
        + 0.2 * h * (1 - h) ** 2
        - 10 * h**2 * (3 - 2 * h)
        + 0.2 * 5.7 * h**2 * (h - 1)
    )
    return np.where(x <= 0.8, x, np.where(x >= 1, -10 + 5.7 * (x - 1), cubic))


def bent_slope(x: Array) -> Array:
    """F'."""
    h = (x - 0.8) / 0.2
    cubic = (
        -6 * h * (1 - h) * 0.8 + (1 - h) * (1 - 3 * h) * 0.2 - 60 * h * (1 - h)
    ) / 0.2 + 5.7 * (3 * h**2 - 2 * h)
    return np.where(x <= 0.8, 1.0, np.where(x >= 1, 5.7, cubic))


def _not_through_zero(segment: Callable[[float, float], tuple[float, float]]) -> Outcome:
    """φ = 2 + tanh, one neuron, V = 1: Σ = ]1, 3[; x̄ = 0.4, y = F(x̄), x̄_Σ = 1, from x(0) = 2.8."""
    from scipy.integrate import solve_ivp

    signal, projection, x0 = 0.4, 1.0, 2.8
    y = float(bent(np.array(signal)))

    def velocity(t: float, z: Array) -> Array:
        x = 2 + np.tanh(z)
        return np.asarray(-(1 - np.tanh(z) ** 2) * bent_slope(x) * (bent(x) - y))

    run = solve_ivp(velocity, (0, 40), [math.atanh(x0 - 2)], rtol=1e-10, atol=1e-12)
    end = 2 + math.tanh(run.y[0, -1])
    sigma = 1 - (x0 - 2) ** 2  # φ'(z(0)); Lip(φ') = 4/(3√3)
    reach = 2 * abs(float(bent(np.array(x0))) - y) / (5.7 * sigma)
    radius = sigma / (2 * 4 / (3 * math.sqrt(3)))
    low, high = segment(signal, projection)
    slope = float(np.max(np.abs(bent_slope(np.linspace(low, high, 20001)))))
    dist = projection - signal
    left = float(abs(bent(np.array(end)) - y))
    bound = signal_error(left, mu="5.7", noise=0, lip_f=slope, dist=dist).value
    numbers = {
        "R'": reach,
        "R": radius,
        "‖y(t) - y‖ at the end": left,
        "‖x(t) - x̄‖ at the end": end - signal,
        "L_F": slope,
        "bound (13) there": bound,
    }
    return Outcome(at_most(end - signal, bound) if reach < radius else None, numbers)


E14 = Entry(
    "E14",
    "0 need not lie in Σ",
    "L_F has to bound the Jacobian of F between x̄ and its projection; the ball of radius 2‖x̄‖ is"
    " enough if 0 is in the closure of Σ (trained V, or sigmoid, tanh, softplus, GELU, ...).",
    (
        Claim(
            "Proof of Theorem 3.2(iii), and Theorem A.1",
            "false",
            Formula(
                "since 0 is in Σ: L_F = max ‖J_F‖ on the ball of radius 2‖x̄‖",
                r"0\in\Sigma,\quad L_F=\max_{x\in\mathbb B(0,2\|\bar x\|)}\|J_F(x)\|",
            ),
            Formula(
                "L_F = max ‖J_F‖ on the segment [x̄, x̄_Σ]",
                r"L_F=\max_{x\in[\bar x,\bar x_\Sigma]}\|J_F(x)\|",
            ),
            "With V fixed, Σ holds 0 only if V a = 0 for some a in φ(R)ᵏ; for a sigmoid and"
            " independent columns (k ≤ n) it never does, though its closure does. For"
            " φ = 2 + tanh not even the closure does, the segment leaves the ball, and (13) fails.",
            "(13) at the end of a flow with R' < R: φ = 2 + tanh, x̄ = 0.4, x̄_Σ = 1",
            lambda x, projection: (-2 * abs(x), 2 * abs(x)),
            lambda x, projection: (min(x, projection), max(x, projection)),
            _not_through_zero,
        ),
    ),
)

# -- E15, E31: injectivity -------------------------------------------------------------------------


def _axes(relation: Callable[[float, float], bool]) -> Outcome:
    """Σ - x̄_Σ = the two axes of the plane, A = (1 1)."""
    A = np.array([[1.0, 1.0]])
    steps = np.linspace(-3, 3, 601)
    steps = steps[np.abs(steps) > 1e-9]
    points = np.concatenate([np.outer(steps, [1, 0]), np.outer(steps, [0, 1])])
    mu = float(np.min(np.linalg.norm(points @ A.T, axis=1) / np.linalg.norm(points, axis=1)))
    angles = np.linspace(0, 2 * np.pi, 3601)  # the convex hull of the axes is the plane
    plane = np.column_stack([np.cos(angles), np.sin(angles)])
    conic = float(np.min(np.linalg.norm(plane @ A.T, axis=1)))
    return Outcome(relation(mu, conic), {"μ": mu, "λ_min": conic})


E15 = Entry(
    "E15",
    "μ of A-7 is not the conic singular value",
    "λ_min is a lower bound on μ; a μ that is measured on Σ may be larger and gives better bounds.",
    (
        Claim(
            "Section 3.4.3, (14)",
            "gap",
            Formula(
                "μ_F,Σ = λ_min(A; T_Σ(x̄_Σ))",
                r"\mu_{F,\Sigma}=\lambda_{\min}(A;T_\Sigma(\bar x_\Sigma))",
            ),
            Formula(
                "μ_F,Σ ≥ λ_min(A; T_Σ(x̄_Σ)), with equality if Σ is convex",
                r"\mu_{F,\Sigma}\ge\lambda_{\min}(A;T_\Sigma(\bar x_\Sigma))",
            ),
            "T_Σ is the closed convex hull of the directions into Σ, and the hull may meet the"
            " kernel of A where no direction does; so A-7 does not amount to (14) either, which is"
            " sufficient. For the two-layer network Σ is convex, and they agree.",
            "the relation holds for Σ - x̄_Σ = the two axes of the plane, A = (1 1)",
            lambda mu, conic: abs(mu - conic) <= 1e-6,
            lambda mu, conic: mu >= conic - 1e-6,
            _axes,
        ),
    ),
)


def _spans_everything(holds_for: Callable[[int, int], bool]) -> Outcome:
    """Both layers trained: is A-7 possible with F = A (m, n)?  V = √k x φᵀ/‖φ‖² gives g = x."""
    base = TwoLayerNetwork.draw(n=2, k=3, d=2, seed=5)
    features = base.activation.phi(base.z)
    numbers: dict[str, Any] = {}
    cases: list[tuple[str, bool, bool | None]] = []
    for A in (np.array([[0.6, 0.8]]), np.array([[0.6, 0.8], [0.8, -0.6]])):
        signal, direction = np.array([1.0, 2.0]), np.linalg.svd(A)[2][-1]
        x = signal + direction
        V = math.sqrt(base.k) * np.outer(x, features) / float(features @ features)
        reached = TwoLayerNetwork(base.u, base.W, V, base.activation).forward()
        mu = float(np.linalg.norm(A @ (reached - signal)) / np.linalg.norm(reached - signal))
        m, n = A.shape
        name = f"m = {m}, n = {n}"
        numbers[f"{name}: ‖g(u, θ) - (x̄ + w)‖"] = float(np.linalg.norm(reached - x))
        numbers[f"{name}: ‖F(x) - F(x̄)‖/‖x - x̄‖"] = mu
        cases.append((name, holds_for(m, n), mu > 1e-9))
    outcome = implies(cases)
    return Outcome(outcome.holds, {**numbers, **outcome.numbers})


E31 = Entry(
    "E31",
    "with a trained last layer A-7 is injectivity on all of Rⁿ",
    "(13) is a statement for m ≥ n only, unless V is fixed; its modelling term is 0.",
    (
        Claim(
            "Theorem 3.2(iii), Section 3.4.3",
            "vacuous",
            Formula(
                "A-7 restricts injectivity to Σ, so that m < n is possible",
                r"\mu_{F,\Sigma}>0\ \text{possible with}\ m<n",
            ),
            Formula(
                "Σ = Rⁿ, dist(x̄, Σ) = 0, and A-7 makes J_F(x̄) injective, so m ≥ n",
                r"\Sigma=\mathbb R^n,\quad\mathrm{dist}(\bar x,\Sigma)=0,\quad m\ge n",
            ),
            "Definition 2.1 trains the output bias, and Section 4 the matrix V: every x in Rⁿ is"
            " g(u, θ) for some θ, and A-7 near x̄ says ‖J_F(x̄)w‖ ≥ μ‖w‖ for all w. The text calls"
            " this the worst case; for its own networks it is the only one, unless V is fixed. Then"
            " too an x̄_Σ inside Σ with V of rank n leaves all directions free.",
            "no signal that the network reaches lies in x̄ + ker A",
            lambda m, n: True,
            lambda m, n: m >= n,
            _spans_everything,
        ),
    ),
)

# -- E16, E28: Theorem A.1 -------------------------------------------------------------------------


def rate_printed(noise: float, mu: float, lip: float) -> float:
    """(21) with dist = 0, δ = 0."""
    return math.sqrt(mu / lip * noise / mu)


def rate_derived(noise: float, mu: float, lip: float) -> float:
    """2‖ε‖/(μ + √(μ² - 2 L_J‖ε‖))."""
    return 2 * noise / (mu + math.sqrt(mu**2 - 2 * lip * noise))


def _order_in_noise(bound: Callable[[float, float, float], float]) -> Outcome:
    """F = sinh, g = b, x̄ = 0: x∞ = arsinh ε; μ = 1, L_J = sinh 1 on [-1, 1]."""
    levels = [1e-6, 1e-4]
    errors = [math.asinh(e) for e in levels]
    bounds = [bound(e, 1.0, math.sinh(1)) for e in levels]
    slope = math.log(bounds[1] / bounds[0]) / math.log(100)
    true = math.log(errors[1] / errors[0]) / math.log(100)
    numbers = {
        "order of the error in ‖ε‖": true,
        "order of the bound": slope,
        "error for ‖ε‖ = 1e-6": errors[0],
        "bound for ‖ε‖ = 1e-6": bounds[0],
    }
    valid = every(at_most(e, b) for e, b in zip(errors, bounds, strict=True))
    return Outcome(every([valid, same(slope, true, 1e-4)]), numbers)


E16 = Entry(
    "E16",
    "Theorem A.1 is linear in the noise",
    "The corrected bound of Theorem A.1 is about ‖ε‖/μ for small noise, not √(‖ε‖/L_J).",
    (
        Claim(
            "Section 3.4.3, Theorem A.1 (21)",
            "loose",
            Formula("‖x(t) - x̄‖ = O(√‖ε‖)", r"\|x(t)-\bar x\|=O(\sqrt{\|\varepsilon\|})"),
            Formula("‖x(t) - x̄‖ = O(‖ε‖)", r"\|x(t)-\bar x\|=O(\|\varepsilon\|)"),
            "The small root of the quadratic inequality is (1 - √(1 - w))/(2a) ≤ w/(2a), linear in"
            " w; the last step of the proof replaces it by a square root.",
            "the bound has the order of the error in ‖ε‖, for F = sinh, g = b",
            rate_printed,
            rate_derived,
            _order_in_noise,
        ),
    ),
)


def local_printed(p: Array, sigma: float, lip: float, start: float) -> Array:
    """(21) with ε = 0, dist = 0, σ_F = μ = e^(1/2) and L_F of no effect, at p(t)."""
    mu = math.exp(0.5)
    return np.asarray(
        local_signal_error(
            p, mu=mu, lip_jacobian=lip, noise=0, theory="printed", sigma_f=1, sigma_j=sigma
        ).value
    )


def local_derived(p: Array, sigma: float, lip: float, start: float) -> Array:
    """Theorem A.1 with its localisation: no bound (∞) where ‖x(0) - x̄_Σ‖ >= μ/L_J."""
    mu = math.exp(0.5)
    found = local_signal_error(p, mu=mu, lip_jacobian=lip, noise=0, start_distance=start)
    return np.asarray(found.value) if found.holds else np.full(p.shape, math.inf)


def _spiral(x: Array) -> Array:
    return np.asarray(np.exp(x[0]) * np.array([np.cos(x[1]), np.sin(x[1])]))


def _spiral_jacobian(x: Array) -> Array:
    c, s = np.cos(x[1]), np.sin(x[1])
    return np.asarray(np.exp(x[0]) * np.array([[c, -s], [s, c]]))


def _wrong_root(bound: Callable[..., Array]) -> Outcome:
    """F(x) = e^(x₁)(cos x₂, sin x₂), V = √2 diag(1, 10) fixed, sigmoid: x̄ and x̄ + (0, 2π) in Σ."""
    target = np.array([0.5, 1.5])
    V = math.sqrt(2) * np.diag([1.0, 10.0])
    numbers: dict[str, Any] = {}
    holds: list[bool | None] = []
    for name, turn in (("near", 0.0), ("one turn away", 2 * math.pi)):
        x0 = np.array([0.502, 1.498 + turn])
        share = x0 / [1.0, 10.0]
        network = TwoLayerNetwork([1.0], np.log(share / (1 - share))[:, None], V)
        problem = Problem(_spiral, _spiral(target), jacobian=_spiral_jacobian, lower_bound=1.0)
        times = np.array([0.0, 10.0, 20.0, 40.0])
        ends = [follow(problem, network, times=[t]).network.forward() if t else x0 for t in times]
        errors = np.array([np.linalg.norm(x - target) for x in ends])
        p = np.array([np.linalg.norm(_spiral(x) - _spiral(target)) for x in ends])
        sigma = network.sigma_min()
        radius = sigma / (2 * 10 * network.activation.B2)
        allowed = bound(p, sigma, math.e, float(errors[0]))  # L_J <= max e^(x₁) = e on Σ
        numbers |= {
            f"{name}: R'": 2 * float(p[0]) / sigma,
            f"{name}: R": radius,
            f"{name}: ‖y(t) - y‖ at t = 40": float(p[-1]),
            f"{name}: ‖x(t) - x̄‖ at t = 40": float(errors[-1]),
            f"{name}: bound at t = 40": float(allowed[-1]),
        }
        inside = 2 * float(p[0]) / sigma < radius
        listed = [at_most(float(e), float(b)) for e, b in zip(errors, allowed, strict=True)]
        holds.append(every(listed) if inside else None)
        if not turn:
            holds.append(bool(np.isfinite(allowed[-1])))
    return Outcome(every(holds), numbers)


def _remainder(distance: Callable[[float, float, float], float]) -> Outcome:
    """F(x) = x²/2, L_J = 1, x̄_Σ = 0, x̄ = 0.9, x(t) = 1."""
    x, signal, projection = 1.0, 0.9, 0.0
    left = abs(x**2 / 2 - projection**2 / 2 - projection * (x - projection))
    right = distance(x, signal, projection) ** 2 / 2
    return Outcome(at_most(left, right), {"remainder": left, "bound": right})


E28 = Entry(
    "E28",
    "Theorem A.1 chooses a root without a reason",
    "Theorem A.1 needs ‖x(t₁) - x̄_Σ‖ < μ/L_J at some t₁; without it the error may stay large while"
    " the printed bound tends to 0.",
    (
        Claim(
            "Theorem A.1, (21)",
            "false",
            Formula(
                "for t large, dist and ‖ε‖ small: ‖x(t) - x̄‖ ≤ √(...) of (21)",
                r"\|x(t)-\bar x\|\le\sqrt{\tfrac{\mu}{L_J}\big(\tfrac{L_J}\mu d^2"
                r"+(\tfrac{L_F}\mu+1)d+\tfrac{\delta(t)+\|\varepsilon\|}\mu\big)}",
            ),
            Formula(
                "if 2L_J N(t₁) < μ² and ‖x(t₁) - x̄_Σ‖ < μ/L_J, N = p + ‖ε‖ + L_F dist: for t ≥ t₁,"
                " ‖x(t) - x̄‖ ≤ 2N/(μ + √(μ² - 2L_J N)) + dist",
                r"\|x(t)-\bar x\|\le\frac{2N(t)}{\mu+\sqrt{\mu^2-2L_JN(t)}}"
                r"+\mathrm{dist}(\bar x,\Sigma),\quad "
                r"N=p+\|\varepsilon\|+L_F\,\mathrm{dist}(\bar x,\Sigma)",
            ),
            "aX² - X + c ≥ 0 leaves X below the small root or above the large one; only continuity"
            " from a start below μ/L_J excludes the second. F(x) = e^(x₁)(cos x₂, sin x₂) takes the"
            " same value one turn away, where the flow then stays. δ(t) also has the factor of E13,"
            " and L_J = 0 divides by 0.",
            "the bound holds along two flows with R' < R, and is finite for the one that starts"
            " near x̄",
            local_printed,
            local_derived,
            _wrong_root,
        ),
        Claim(
            "Proof of Theorem A.1",
            "misprint",
            Formula("remainder ≤ L_J‖x(t) - x̄‖²/2", r"\le\tfrac{L_J}2\|x(t)-\bar x\|^2"),
            Formula("remainder ≤ L_J‖x(t) - x̄_Σ‖²/2", r"\le\tfrac{L_J}2\|x(t)-\bar x_\Sigma\|^2"),
            "F is developed at x̄_Σ; the next line has it right.",
            "the bound holds for F(x) = x²/2, x̄_Σ = 0, x̄ = 0.9, x(t) = 1",
            lambda x, signal, projection: abs(x - signal),
            lambda x, signal, projection: abs(x - projection),
            _remainder,
        ),
    ),
)

# -- E17: sample complexity ------------------------------------------------------------------------


def _units(theory: str) -> Outcome:
    """λ_min(cA) > 0 iff λ_min(A) > 0, and (α, σ) become (cα, cσ)."""
    found = {
        c: measurements(width_subspace(10), failure=0.01, alpha=0.5 * c, sigma=c, theory=theory).m
        for c in (0.1, 1.0, 10.0)
    }
    numbers = {f"m for {c:g} A": m for c, m in found.items()}
    return Outcome(len(set(found.values())) == 1, numbers)


E17 = Entry(
    "E17",
    "Proposition 3.5 changes with the units",
    "The number of measurements has σ⁴ in its second term, not σ²; for σ < 1 the printed number is"
    " larger than it should be, for σ > 1 smaller.",
    (
        Claim(
            "Proposition 3.5",
            "false",
            Formula(
                "m ≥ C'(σ/α)⁶w² + 2C⁻²(σ²/α⁴)τ²",
                r"m\ge C'(\tfrac\sigma\alpha)^6w^2+2C^{-2}\tfrac{\sigma^2}{\alpha^4}\tau^2",
            ),
            Formula(
                "m ≥ C'(σ/α)⁶w² + 2C⁻²(σ⁴/α⁴)τ²",
                r"m\ge C'(\tfrac\sigma\alpha)^6w^2+2C^{-2}\tfrac{\sigma^4}{\alpha^4}\tau^2",
            ),
            "The cited theorem asks c α³σ⁻²√m > C σ w + α τ, whose square has (σ/α)⁴τ². As printed,"
            " once m exceeds the first term a large multiple of A meets the condition for every τ,"
            " and the conclusion would hold with probability 1.",
            "m is the same for A/10, A and 10 A",
            "printed",
            "corrected",
            _units,
        ),
    ),
)

ENTRIES = (E12, E13, E14, E15, E16, E17, E28, E31)
