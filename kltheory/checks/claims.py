"""What is claimed: every guarantee as a curve over the times of a trajectory, with its hypotheses.

Each guarantee is there in up to three forms: as printed (HAL v1), corrected, and sharp.  Gradient
descent has its own: with f(θ⁺) ≤ f(θ) - cη‖∇f(θ)‖² at every step and ψ concave, the law of the flow
holds at c times the sum of the steps, and paths are 1/c times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.checks.observed import Observed
from kltheory.errors import InputError
from kltheory.numeric.curve import Curve
from kltheory.numeric.recovery import Assumption, local_signal_error
from kltheory.numeric.sharp import affine_constants, descent_bound, sharp_bound
from kltheory.rates import Bound, RateLaw
from kltheory.symbolic.evaluate import compile_expr, real_context
from kltheory.symbolic.rate import monomial

__all__ = ["Claim", "Psi", "Setting", "theorem_claims"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Claim:
    """One guarantee in one form."""

    bound: str
    """Its place: "(10)", "Lemma 3.10 (ii)", "S4Q", ..."""
    theory: str
    """printed, corrected or sharp."""
    column: str
    """The column of the trajectory that it bounds."""
    statement: str
    """The formula."""
    curve: Callable[[Observed], Array]
    """The bound at the times of a trajectory; inf where it says nothing."""
    hypotheses: tuple[Assumption, ...]
    """What it rests on; if one is violated the claim is not made."""
    lower: bool = False
    """True for a lower bound."""
    law: str = "flow"
    """"flow" or "descent": whose trajectories it speaks of."""
    doubt: Callable[[Observed], float] | None = None
    """What the measured value may be too large by, on top of its column's: for ‖θ(t) - θ∞‖, the
    distance of the last θ from θ∞.  Not needed where the path to θ∞ is what is bounded."""


class Psi:
    """ψ and its inverse as functions of floats."""

    def __init__(self, law: RateLaw) -> None:
        """Compile ψ."""
        self.desingularizer = d = law.desingularizer
        self._context = real_context(80)
        self._program = compile_expr(d.value, d.symbol) if d.explicit else None
        self._radius = math.inf if d.radius.is_infinite else float(d.radius)

    def __call__(self, s: float) -> float:
        """Return ψ(s); inf beyond the domain."""
        if not s > 0:
            return 0.0
        if not s < self._radius:
            return math.inf
        if self._program is not None:
            return float(self._program(self._context, s))
        d = self.desingularizer
        return Curve(d.loss, d.value, d.symbol, loss0=s).psi0

    def inverse(self, p: float) -> float:
        """Return ψ⁻¹(p), by bisection of the exponent."""
        if not p > 0:
            return 0.0
        low, high = -690.0, min(690.0, math.log(self._radius))
        if self(math.exp(low)) >= p:
            return 0.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self(math.exp(middle)) >= p else (middle, high)
        return math.exp(high)

    def of(self, losses: Array) -> Array:
        """Return ψ at each of the losses."""
        return np.array([self(float(s)) for s in losses])


@dataclass(frozen=True, eq=False)
class Setting:
    """The constants that the guarantees are made of; None where one is not known."""

    law: RateLaw
    """The rate law of ψ."""
    loss0: float
    """L0."""
    sigma_f: float | None = None
    """σ_F."""
    sigma_j: float | None = None
    """σ_J = σ_n(J_g(0))."""
    kappa: float | None = None
    """κ, where σ_F and σ_J are not known one by one."""
    deviation: float | None = None
    """Λ: ‖J_g(θ) - J_g(θ(0))‖ ≤ Λ‖θ - θ(0)‖."""
    noise: float | None = None
    """‖ε‖."""
    mu: float | None = None
    """μ of A-7."""
    lip_f: float | None = None
    """L_F."""
    dist: float | None = None
    """dist(x̄, Σ)."""
    lip_jacobian: float | None = None
    """A Lipschitz constant of J_F; 0 for a linear F."""
    mu_local: float | None = None
    """μ of Theorem A.1: the least ‖J_F(x̄_Σ)v‖ over unit v in the tangent cone of Σ."""
    hypotheses: tuple[Assumption, ...] = ()
    """What all guarantees share: A-1, A-4."""
    decrease: float | None = None
    """None for the flow; for descent the factor c."""
    cache: dict[str, Any] = field(default_factory=dict)
    """Bounds that were made."""

    @property
    def c(self) -> Fraction:
        """1 for the flow, the factor of the decrease for descent."""
        return Fraction(1) if self.decrease is None else Fraction(self.decrease)

    @cached_property
    def psi(self) -> Psi:
        """ψ as a function."""
        return Psi(self.law)

    @cached_property
    def psi0(self) -> float:
        """ψ(L0)."""
        return self.psi(self.loss0)

    @cached_property
    def a0(self) -> float | None:
        """σ_F σ_J, or 2√κ."""
        if self.sigma_f is not None and self.sigma_j is not None:
            return self.sigma_f * self.sigma_j
        return None if self.kappa is None else 2.0 * math.sqrt(self.kappa)

    def bound(self, theory: str) -> Bound:
        """The bound of Theorem 3.2 in that form."""
        if theory not in self.cache:
            self.cache[theory] = self._bound(theory)
        found: Bound = self.cache[theory]
        return found

    def _bound(self, theory: str) -> Any:
        given: dict[str, Any] = {
            "loss0": self.loss0, "noise": self.noise, "mu": self.mu or None, "lip_f": self.lip_f,
            "dist": self.dist,
        }  # fmt: skip
        if theory != "sharp":
            speeds: dict[str, Any] = (
                {"kappa": self.kappa}
                if self.sigma_f is None or self.sigma_j is None
                else {"sigma_f": self.sigma_f, "sigma_j": self.sigma_j}
            )
            return self.law.bound(**given, **speeds, theory=theory)
        finite = {"finite-time": True, "undetermined": None}.get(self.law.regime.loss, False)
        return sharp_bound(
            self.law.desingularizer, sigma_f=self.sigma_f, sigma_j=self.sigma_j,
            deviation=self.deviation, finite_time=finite, **given, **self._descent,
        )  # fmt: skip

    @property
    def _descent(self) -> dict[str, Any]:
        """A step and a smoothness with 1 - ηβ/2 = c."""
        return {} if self.decrease is None else {"step": 1, "smoothness": 2 * (1 - self.c)}

    def clock(self, t: Array) -> Array:
        """The time of the flow whose law holds at t: c t."""
        return t if self.decrease is None else np.nextafter(float(self.c) * t, 0.0)

    # -- the hypotheses ---------------------------------------------------------------------

    def start(self) -> Assumption:
        """(8), R' < R, with Λ in place of the Lipschitz constant (which is at least as large)."""
        name = "R' < R" if self.decrease is None else "R' < cR"
        if self.sigma_j == 0.0:
            reason = "σ_min(J_g(0)) = 0: fewer trained parameters than entries of the signal"
            return Assumption(name, "violated", f"{reason}, or a rank that is lost")
        if self.deviation is None or self.sigma_j is None or self.sigma_f is None:
            return Assumption(name, "assumed", "Λ is not given, so that R is not known")
        radius = math.inf if self.deviation == 0 else self.sigma_j / (2 * self.deviation)
        radius *= float(self.c)
        length = 2 * self.psi0 / (self.sigma_f * self.sigma_j)
        if length < radius:
            return Assumption(name, "met", f"R' = {length:.4g} < {radius:.4g}")
        too = f"R' = {length:.4g} against {radius:.4g}: ψ(L0) is {length / radius:.3g} times"
        return Assumption(name, "violated", f"{too} too large; widen, or start nearer to y")

    def sharp_start(self) -> Assumption:
        """ψ(L0) < c σ_F σ_J²/(2Λ)."""
        name = "ψ(L0) < σ_Fσ_J²/(2Λ)" if self.decrease is None else "ψ(L0) < cσ_Fσ_J²/(2Λ)"
        if self.sigma_j == 0.0:
            return replace(self.start(), id=name)
        if self.deviation is None or self.sigma_j is None or self.sigma_f is None:
            return Assumption(name, "violated", "σ_F, σ_J and Λ are needed and not all given")
        q = affine_constants(
            self.psi0, Fraction(self.sigma_f), Fraction(self.sigma_j), Fraction(self.deviation),
            self.c,
        )  # fmt: skip
        if q.holds:
            return Assumption(name, "met", f"ψ(L0) = {q.psi0:.4g} < {q.threshold:.4g}")
        reason = f"ψ(L0) = {q.psi0:.4g} is {1 / q.margin:.3g} times too large; widen"
        return Assumption(name, "violated", f"{reason}, or start nearer to y")

    def concave(self) -> tuple[Assumption, ...]:
        """What descent needs beyond the flow."""
        if self.decrease is None:
            return ()
        said = f"f(θ⁺) ≤ f(θ) - cη‖∇f(θ)‖² at every step with c = {self.decrease:.4g}"
        step = Assumption("descent", "met", said)
        try:
            descent_bound(self.bound("corrected"), step=1, smoothness=2 * (1 - self.c))
        except InputError as error:
            return step, Assumption("ψ concave", "violated", str(error))
        return step, Assumption("ψ concave", "met", "ψ' does not increase on [0, L0]")


UNIQUE = Assumption("Argmin L = {y}", "met", "the loss vanishes at y only")


def theorem_claims(s: Setting, observed: Observed) -> Iterator[Claim]:
    """Theorem 3.2, its corollary, its lemmas and Theorem A.1, in every form."""
    made = [*_rates(s), *_lemmas(s), *_errors(s), *_local(s, observed)]
    if s.decrease is None:
        yield from made
        return
    more = s.concave()
    for claim in made:
        if claim.theory != "printed":  # the paper prints nothing on descent
            named = replace(claim, bound=f"{claim.bound} descent", law="descent")
            yield replace(named, hypotheses=(*more, *claim.hypotheses))


def _forms(s: Setting) -> Iterator[tuple[str, tuple[Assumption, ...]]]:
    yield "printed", (*s.hypotheses, s.start())
    yield "corrected", (*s.hypotheses, s.start())
    if s.kappa is None:
        yield "sharp", (*s.hypotheses, s.sharp_start())


def _rates(s: Setting) -> Iterator[Claim]:
    """(10), (11), (18) and Corollary 3.3; (10) and (11) are true as they are printed."""

    def at(theory: str, what: str) -> Callable[[Observed], Array]:
        form = "sharp" if theory == "sharp" else "corrected"

        def curve(observed: Observed) -> Array:
            found = np.asarray(getattr(s.bound(form), what)(s.clock(observed.t)), dtype=float)
            if what == "parameters" and form == "corrected" and s.decrease is not None:
                found = found / float(s.c)
            return found

        return curve

    for theory, rests in _forms(s):
        sharp = theory == "sharp"
        yield Claim(
            "(10)", theory, "loss",
            "L(y(t)) ≤ V(t), V' = -(A + Bψ(V))/ψ'(V)²" if sharp else "L(y(t)) ≤ Ψ⁻¹(γ(t))",
            at(theory, "loss"), rests,
        )  # fmt: skip
        yield Claim(
            "(11)", theory, "parameters",
            "‖θ(t) - θ∞‖ ≤ (√(A + Bp(t)) - √A)/a₁"
            if sharp else "‖θ(t) - θ∞‖ ≤ 2ψ(Ψ⁻¹(γ(t)))/(σ_J σ_F)",
            at(theory, "parameters"), rests,
        )  # fmt: skip
        if theory != "printed":
            formula = "‖y(t) - y‖ ≤ ψ(V(t))" if sharp else "‖y(t) - y‖ ≤ ψ(Ψ⁻¹(γ(t)))"
            yield Claim(
                "(18)", theory, "observation", formula, at(theory, "observation"), (*rests, UNIQUE)
            )
    if monomial(s.law.desingularizer) is not None:
        rests = (*s.hypotheses, s.start())
        yield Claim(
            "Corollary 3.3, loss", "printed", "loss", "L(y(t)) ≤ the rate of Corollary 3.3",
            lambda o: np.asarray(s.bound("printed").loss(o.t)), rests,
        )  # fmt: skip
        yield Claim(
            "Corollary 3.3, θ", "printed", "parameters", "‖θ(t) - θ∞‖ ≤ the rate of Corollary 3.3",
            lambda o: np.asarray(s.bound("printed").parameters(o.t)), rests,
            doubt=lambda o: _rest(s, o),
        )  # fmt: skip


def _rest(s: Setting, o: Observed) -> float:
    """‖θ(T) - θ∞‖ ≤ 2ψ(L(T))/(σ_J σ_F), where the last θ stands for θ∞."""
    return 2 * s.psi(o.final_loss) / s.a0 if o.limit == "last" and s.a0 else 0.0


def _lemmas(s: Setting) -> Iterator[Claim]:
    """Drift and conditioning: Lemma 3.10 and (17)."""
    c, sigma_j = float(s.c), s.sigma_j
    speed, half = (s.a0 or 0.0) * c / 2, (sigma_j or 0.0) / 2

    def fallen(o: Observed) -> Array:
        """ψ(L0) - ψ(L(t)), at most."""
        loss = o.columns["loss"]
        rest = s.psi.of(np.maximum(loss.values - loss.below, 0.0))
        return np.asarray(np.maximum(s.psi0 - rest, 0.0))

    for theory, rests in _forms(s):
        if theory == "sharp":
            yield from _sharp_lemmas(s, rests, fallen)
            continue
        yield Claim(
            "Lemma 3.10 (ii)", theory, "drift", "‖θ(t) - θ(0)‖ ≤ R' = 2ψ(L0)/(σ_J σ_F)",
            lambda o: np.full(o.t.size, s.psi0 / speed), rests,
        )  # fmt: skip
        yield Claim(
            "(17)", theory, "path", "∫‖θ'‖ ≤ 2(ψ(L0) - ψ(L(y(t))))/(σ_J σ_F)",
            lambda o: fallen(o) / speed, rests,
        )  # fmt: skip
        if sigma_j is not None:
            yield Claim(
                "Lemma 3.10 (iii)", theory, "sigma_min", "σ_min(J_g(t)) ≥ σ_J/2",
                lambda o: np.full(o.t.size, half), rests, lower=True,
            )  # fmt: skip


def _sharp_lemmas(
    s: Setting, rests: tuple[Assumption, ...], fallen: Callable[[Observed], Array]
) -> Iterator[Claim]:
    sigma_f, sigma_j, deviation = s.sigma_f, s.sigma_j, s.deviation
    if sigma_f is None or sigma_j is None or deviation is None:
        return
    a0, a1, c = sigma_f * sigma_j, sigma_f * deviation, float(s.c)

    def speed(gone: Array) -> Array:
        """√(a0² - 2a1(ψ0 - p)/c)."""
        return np.asarray(np.sqrt(np.maximum(a0**2 - 2 * a1 * gone / c, 0.0)))

    def length(gone: Array) -> Array:
        """(a0 - √(a0² - 2a1(ψ0 - p)/c))/a1, without cancellation."""
        return np.asarray(2 * gone / c / (a0 + speed(gone)))

    formula = "(a₀ - √(a₀² - 2a₁(ψ(L0) - p(t))))/a₁"
    yield Claim(
        "Lemma 3.10 (ii)", "sharp", "drift", f"‖θ(t) - θ(0)‖ ≤ {formula}",
        lambda o: length(fallen(o)), rests,
    )  # fmt: skip
    yield Claim(
        "(17)", "sharp", "path", f"∫‖θ'‖ ≤ {formula}", lambda o: length(fallen(o)), rests
    )  # fmt: skip
    yield Claim(
        "Lemma 3.10 (iii)", "sharp", "sigma_min", "σ_min² ≥ σ_J² - 2Λ(ψ(L0) - p(t))/σ_F",
        lambda o: speed(fallen(o)) / sigma_f, rests, lower=True,
    )  # fmt: skip


def _errors(s: Setting) -> Iterator[Claim]:
    """(12) and (13)."""
    for theory, rests in _forms(s):
        if s.noise is not None:

            def after(o: Observed, theory: str = theory) -> Array:
                stop = s.bound(theory).stopping_time() / float(s.c)
                return np.where(o.t >= stop, 2.0 * (s.noise or 0.0), math.inf)

            left = "‖y(t) - ȳ‖ ≤ 2‖ε‖ from "
            formula = {
                "printed": "4Ψ(ψ⁻¹(‖ε‖))/(σ_F²σ_J²) - Ψ(L0)",
                "corrected": "4[Ψ(ψ⁻¹(‖ε‖)) - Ψ(L0)]₊/(σ_F²σ_J²)",
                "sharp": "the time at which the sharp p(t) is ‖ε‖",
            }[theory]
            yield Claim("(12)", theory, "error", left + formula + " on", after, (*rests, UNIQUE))
        if None in (s.mu, s.noise, s.lip_f, s.dist):
            continue
        if theory == "printed" and s.kappa is not None:
            continue
        a7 = Assumption("A-7", "met", f"μ = {s.mu:.4g}")
        if not s.mu:
            a7 = Assumption(
                "A-7", "violated", "μ = 0: the operator is not injective on the signals of g"
            )
        first = "2p(t)/(μσ_Jσ_F)" if theory == "printed" else "p(t)/μ"

        def whole(o: Observed, theory: str = theory) -> Array:
            return np.asarray(s.bound(theory).signal(s.clock(o.t)))

        yield Claim(
            "(13)", theory, "signal",
            f"‖x(t) - x̄‖ ≤ {first} + (1 + L_F/μ)dist(x̄, Σ) + ‖ε‖/μ", whole, (*rests, UNIQUE, a7),
        )  # fmt: skip


def _local(s: Setting, observed: Observed) -> Iterator[Claim]:
    """Theorem A.1, where J_F is injective at one point: corrected (A.1*), and as printed."""
    if s.noise is None or s.lip_f is None or s.kappa is not None:
        return
    if not s.mu_local or s.dist is None or s.lip_jacobian is None:
        return
    given: dict[str, Any] = {
        "mu": s.mu_local, "lip_jacobian": s.lip_jacobian, "noise": s.noise, "lip_f": s.lip_f,
        "dist": s.dist,
    }  # fmt: skip
    signal = observed.columns.get("signal")
    for theory, rests in _forms(s):
        form = "sharp" if theory == "sharp" else "corrected"
        if theory == "printed":
            if not s.lip_jacobian:
                continue

            def late(o: Observed) -> Array:
                """(21) is claimed for t large enough: held at the last time."""
                p = np.asarray(s.bound("corrected").observation(o.t[-1:]))
                found = local_signal_error(
                    p, theory="printed", sigma_f=s.sigma_f, sigma_j=s.sigma_j, **given
                )
                return np.append(np.full(o.t.size - 1, math.inf), found.value)

            small = Assumption("t large", "assumed", "the last time is taken to be large enough")
            yield Claim(
                "Theorem A.1", theory, "signal", "‖x(t) - x̄‖ ≤ √(...) of (21)", late,
                (*rests, UNIQUE, small),
            )  # fmt: skip
            continue
        if signal is None:
            continue

        def near(o: Observed, form: str = form) -> Array:
            p = np.asarray(s.bound(form).observation(s.clock(o.t)))
            value = np.asarray(local_signal_error(p, theory="corrected", **given).value)
            signal = o.columns["signal"]
            started = (signal.values + signal.below < _radius(s)) & np.isfinite(value)
            return np.where(np.logical_or.accumulate(started), value, math.inf)

        yield Claim(
            "Theorem A.1", theory, "signal",
            "‖x(t) - x̄‖ ≤ 2N/(μ + √(μ² - 2L_J N)) + dist(x̄, Σ), N = p + ‖ε‖ + L_F dist",
            near, (*rests, UNIQUE, _localised(s, observed)),
        )  # fmt: skip


def _radius(s: Setting) -> float:
    """μ/L_J less what separates x̄ from its projection."""
    return (s.mu_local or 0.0) / s.lip_jacobian - (s.dist or 0.0) if s.lip_jacobian else math.inf


def _localised(s: Setting, o: Observed) -> Assumption:
    signal = o.columns["signal"]
    radius = _radius(s)
    near = signal.values + signal.below < radius
    if math.isinf(radius):
        return Assumption("localisation", "met", "F is affine: L_J = 0")
    if near.any():
        t = o.t[int(np.argmax(near))]
        return Assumption("localisation", "met", f"‖x(t) - x̄_Σ‖ < μ/L_J at t = {t:.4g}")
    reason = f"‖x(t) - x̄‖ is never below μ/L_J - dist = {radius:.4g}"
    return Assumption("localisation", "violated", reason)
