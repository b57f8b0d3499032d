"""From the error in the observation to the error in the signal: (13) and Theorem A.1.

p(t) = ψ(Ψ⁻¹(γ(t))) bounds ‖y(t) - y‖ (`Bound.observation`).  Each result says which theorem it is,
which of its assumptions were checked, and what its weakest constant rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kltheory.constants import Constant, Evidence
from kltheory.errors import InputError
from kltheory.numeric.guarantees import Bound, positive
from kltheory.numeric.rounding import sqrt_down, sqrt_up, up

__all__ = [
    "Assumption",
    "Guarantee",
    "guarantees",
    "local_signal_error",
    "observation_error",
    "signal_error",
]


@dataclass(frozen=True, slots=True)
class Assumption:
    """One hypothesis of a theorem, and what is known about it."""

    id: str
    """Its name, "A-1", or the formula."""
    status: str
    """ "met", "violated" or "assumed"."""
    reason: str
    """Why."""

    def to_dict(self) -> dict[str, str]:
        """Return plain data."""
        return {"id": self.id, "status": self.status, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Guarantee:
    """One bound, with everything that it rests on."""

    theorem: str
    """Its place: "(13)", "Theorem A.1", ..."""
    theory: str
    """printed, corrected or sharp."""
    value: Any
    """The bound: a float, or an array like the times; inf where the theorem says nothing."""
    statement: str
    """What is bounded by what."""
    latex: str
    """The formula."""
    terms: Mapping[str, Any]
    """The parts that add up to the value, where it is a sum."""
    assumptions: tuple[Assumption, ...]
    """What it uses, and what is known about each."""
    evidence: Evidence
    """What the weakest constant rests on."""

    def __str__(self) -> str:
        rests = ", ".join(f"{a.id} {a.status}" for a in self.assumptions)
        return (
            f"{self.theorem}, {self.theory}: {self.statement}; bound {self.value}"
            f" (constants: {self.evidence}; {rests})"
        )

    @property
    def holds(self) -> bool:
        """Whether no assumption is violated."""
        return all(a.status != "violated" for a in self.assumptions)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "theorem": self.theorem,
            "theory": self.theory,
            "value": _plain(self.value),
            "statement": self.statement,
            "latex": self.latex,
            "terms": {name: _plain(part) for name, part in self.terms.items()},
            "assumptions": [a.to_dict() for a in self.assumptions],
            "evidence": str(self.evidence),
            "holds": self.holds,
        }


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value


class _Given:
    """Constants as exact numbers, and the weakest evidence among them."""

    def __init__(self) -> None:
        self.evidence = Evidence.PROVED

    def take(self, name: str, value: Any, *, zero: bool = False, side: int = 1) -> Fraction:
        """The exact number of a constant, or one to its safe side; without evidence: assumed."""
        evidence = value.evidence if isinstance(value, Constant) else Evidence.ASSUMED
        given = value.value if isinstance(value, Constant) else value
        number = positive(given, name, zero=zero, side=side)
        if evidence.rank > self.evidence.rank:
            self.evidence = evidence
        return number


def _each(p: Any, f: Callable[[Fraction], float]) -> Any:
    """f at a bound ‖y(t) - y‖ <= p, or at each of an array of them; inf stays inf."""

    def at(value: Any) -> float:
        if isinstance(value, float) and math.isinf(value) and value > 0:
            return math.inf
        return f(Fraction(positive(value, "observation", zero=True)))

    if hasattr(p, "shape") and p.shape != ():
        import numpy as np

        return np.array([at(float(v)) for v in p.ravel()]).reshape(p.shape)
    return at(p.item() if hasattr(p, "item") else p)


_UNIQUE = Assumption(
    "Argmin L = {y}", "assumed", "the observation y is the only minimiser of the loss"
)


def observation_error(observation: Any, *, noise: Any) -> Guarantee:
    """‖y(t) - ȳ‖ <= p(t) + ‖ε‖: the error against the noise-free observation ȳ = F(x̄).

    Proof: y = ȳ + ε and ‖y(t) - y‖ <= p(t), equation (18); (12) is the time from which p <= ‖ε‖
    (`kltheory audit E12`).

    >>> observation_error(0.5, noise="0.25").value
    0.75
    """
    given = _Given()
    eps = given.take("noise", noise, zero=True)
    return Guarantee(
        "(12)",
        "corrected",
        _each(observation, lambda p: up(p + eps)),
        "‖y(t) - ȳ‖ ≤ p(t) + ‖ε‖",
        r"\|y(t)-\bar y\| \le p(t) + \|\varepsilon\|",
        {"optimisation": observation, "noise": up(eps)},
        (_UNIQUE,),
        given.evidence,
    )


def signal_error(
    observation: Any,
    *,
    mu: Any,
    noise: Any,
    lip_f: Any = 0,
    dist: Any = 0,
    theory: str = "corrected",
    sigma_f: Any = None,
    sigma_j: Any = None,
) -> Guarantee:
    """The error in the signal, Theorem 3.2(iii), in three terms.

    corrected (13*): ‖x(t) - x̄‖ <= p(t)/μ + (1 + L_F/μ) dist(x̄, Σ) + ‖ε‖/μ
    printed (13): the first term is 2 p(t)/(μ σ_J σ_F), which is false where σ_J σ_F > 2; see E13
        in `kltheory audit E13`
    sharp: (p(t) + ‖ε‖)/μ if ‖F(x) - F(x̄)‖ >= μ‖x - x̄‖ for all x in Σ (then L_F and dist are
        not needed, and x̄ itself takes the place of its projection)

    `observation` is p(t), a float or an array; σ_F and σ_J are needed by the printed form only.
    Assumes A-7: ‖F(x) - F(x̄_Σ)‖ >= μ‖x - x̄_Σ‖ on Σ, x̄_Σ the projection on the closure of Σ, and
    L_F >= ‖J_F‖ on the segment from x̄ to x̄_Σ.  Convexity of the loss is not needed.

    >>> signal_error(1.0, mu=2, noise="0.5", lip_f=3, dist="0.1").value  # 1/2 + 5/2 0.1 + 1/4
    1.0
    """
    given = _Given()
    m = given.take("mu", mu, side=-1)
    eps = given.take("noise", noise, zero=True)
    lipschitz, distance = given.take("lip_f", lip_f, zero=True), given.take("dist", dist, zero=True)
    modelling = (1 + lipschitz / m) * distance
    first, latex = Fraction(1), r"\frac{p(t)}{\mu}"
    a7 = Assumption("A-7", "assumed", "μ is given: ‖F(x) - F(x̄_Σ)‖ ≥ μ‖x - x̄_Σ‖ on Σ")
    assumptions: tuple[Assumption, ...] = (_UNIQUE, a7)
    if theory == "printed":
        if sigma_f is None or sigma_j is None:
            raise InputError("the printed bound on the signal needs sigma_f and sigma_j")
        product = given.take("sigma_f", sigma_f, side=-1) * given.take("sigma_j", sigma_j, side=-1)
        first, latex = 2 / product, r"\frac{2p(t)}{\mu\sigma_J\sigma_F}"
        sound = "met" if product <= 2 else "violated"
        reason = f"σ_J σ_F = {float(product):.4g}: the factor 2/(σ_J σ_F) is not in the proof"
        assumptions += (Assumption("σ_J σ_F ≤ 2", sound, reason),)
    elif theory == "sharp":
        modelling = Fraction(0)
        a7 = Assumption("‖F(x) - F(x̄)‖ ≥ μ‖x - x̄‖ on Σ", "assumed", "μ is given for x̄ itself")
        assumptions = (_UNIQUE, a7)
    elif theory != "corrected":
        raise InputError(f"theory = {theory!r} is given; choose corrected, printed or sharp")
    else:
        ball = "L_F is given: a bound on ‖J_F‖ between x̄ and its projection on the closure of Σ"
        assumptions += (Assumption("L_F", "assumed", ball),)
    tail = (
        "" if theory == "sharp" else r" + \Big(1+\frac{L_F}{\mu}\Big)\mathrm{dist}(\bar x,\Sigma)"
    )
    return Guarantee(
        "(13)",
        theory,
        _each(observation, lambda p: up(p * first / m + modelling + eps / m)),
        "‖x(t) - x̄‖ ≤ optimisation + modelling + noise",
        rf"\|x(t)-\bar x\| \le {latex}{tail} + \frac{{\|\varepsilon\|}}{{\mu}}",
        {
            "optimisation": _each(observation, lambda p: up(p * first / m)),
            "modelling": up(modelling),
            "noise": up(eps / m),
        },
        assumptions,
        given.evidence,
    )


def local_signal_error(
    observation: Any,
    *,
    mu: Any,
    lip_jacobian: Any,
    noise: Any,
    lip_f: Any = 0,
    dist: Any = 0,
    start_distance: Any = None,
    theory: str = "corrected",
    sigma_f: Any = None,
    sigma_j: Any = None,
) -> Guarantee:
    """Theorem A.1: the error in the signal where the Jacobian is injective at one point only.

    N(t) = p(t) + ‖ε‖ + L_F dist(x̄, Σ), μ = λ_min(J_F(x̄_Σ); T_Σ(x̄_Σ)), L_J >= Lip(J_F).
    corrected: if 2 L_J N(t1) < μ² and ‖x(t1) - x̄_Σ‖ < μ/L_J at some t1, then for all t >= t1
        ‖x(t) - x̄‖ <= 2N/(μ + √(μ² - 2 L_J N)) + dist(x̄, Σ) <= 2N/μ + dist(x̄, Σ): linear in ‖ε‖
    printed (21): √((μ/L_J)(L_J/μ dist² + (L_F/μ + 1) dist + (δ + ‖ε‖)/μ)), δ = 2p/(σ_J σ_F); see
        E28 in `kltheory audit E28`, and `kltheory audit E16` for its order in ‖ε‖

    Proof: X = ‖x(t) - x̄_Σ‖ satisfies μX <= N + L_J X²/2; μX - L_J X²/2 has its maximum
    μ²/(2L_J) > N at μ/L_J, so X, which is continuous, never reaches μ/L_J.  Without the second
    condition, the localisation, the claim is false.  `start_distance` is ‖x(t1) - x̄_Σ‖, at a t1
    that meets the first condition and is none of the later times: from an earlier one, X may pass.
    The value is inf where the first condition fails.

    >>> local_signal_error(0.0, mu=1, lip_jacobian=1, noise="0.375", start_distance=0).value
    0.5
    """
    given = _Given()
    m, eps = given.take("mu", mu, side=-1), given.take("noise", noise, zero=True)
    lj = given.take("lip_jacobian", lip_jacobian, zero=True)
    lf, distance = given.take("lip_f", lip_f, zero=True), given.take("dist", dist, zero=True)

    def excess(p: Fraction) -> Fraction:
        return p + eps + lf * distance

    if theory == "printed":
        if sigma_f is None or sigma_j is None or not lj:
            raise InputError("the printed Theorem A.1 needs sigma_f, sigma_j and lip_jacobian > 0")
        sigma_f = given.take("sigma_f", sigma_f, side=-1)
        factor = 2 / (sigma_f * given.take("sigma_j", sigma_j, side=-1))

        def printed(p: Fraction) -> float:
            inner = lj / m * distance**2 + (lf / m + 1) * distance + (factor * p + eps) / m
            return up(sqrt_up(m / lj * inner))

        value = _each(observation, printed)
        latex = (
            r"\|x(t)-\bar x\| \le \sqrt{\frac{\mu}{L_J}\Big(\frac{L_J}{\mu}d^2 +"
            r" \Big(\frac{L_F}{\mu}+1\Big)d + \frac{\delta(t)+\|\varepsilon\|}{\mu}\Big)}"
        )
    elif theory == "corrected":

        def corrected(p: Fraction) -> float:
            rest = m**2 - 2 * lj * excess(p)
            if rest <= 0:
                return math.inf
            return up(2 * excess(p) / (m + sqrt_down(rest)) + distance)

        value = _each(observation, corrected)
        latex = (
            r"\|x(t)-\bar x\| \le \frac{2N(t)}{\mu+\sqrt{\mu^2-2L_JN(t)}}"
            r" + \mathrm{dist}(\bar x,\Sigma)"
        )
    else:
        raise InputError(f"theory = {theory!r} is given; choose corrected or printed")
    return Guarantee(
        "Theorem A.1",
        theory,
        value,
        "‖x(t) - x̄‖ ≤ 2N/(μ + √(μ² - 2 L_J N)) + dist(x̄, Σ)"
        if theory == "corrected"
        else "‖x(t) - x̄‖ ≤ √(...) of (21)",
        latex,
        {},
        (_UNIQUE, *_local_assumptions(value, m, lj, given, start_distance)),
        given.evidence,
    )


def _local_assumptions(
    value: Any, m: Fraction, lj: Fraction, given: _Given, start_distance: Any
) -> tuple[Assumption, ...]:
    values = value.ravel().tolist() if hasattr(value, "ravel") else [value]
    late = math.isfinite(values[-1])
    small = Assumption(
        "2 L_J N(t) < μ²",
        "met" if late else "violated",
        "met at the last time that is asked for" if late else "noise, modelling or loss too large",
    )
    if not lj:
        return small, Assumption("localisation", "met", "F is affine: L_J = 0")
    limit = float(m / lj)
    if start_distance is None:
        reason = f"not given: ‖x(t1) - x̄_Σ‖ must be below μ/L_J = {limit:.4g}"
        return small, Assumption("localisation", "assumed", reason)
    near = given.take("start_distance", start_distance, zero=True)
    status = "met" if near < m / lj else "violated"
    reason = f"‖x(t1) - x̄_Σ‖ = {float(near):.4g} against μ/L_J = {limit:.4g}"
    return small, Assumption("localisation", status, reason)


_FORMULAS = {
    "loss": ("(10)", "L(y(t)) ≤ Ψ⁻¹(γ(t))", r"\mathcal L_y(y(t)) \le \Psi^{-1}(\gamma(t))"),
    "parameters": (
        "(11)",
        "‖θ(t) - θ∞‖ ≤ 2ψ(Ψ⁻¹(γ(t)))/(σ_J σ_F)",
        r"\|\theta(t)-\theta_\infty\| \le \frac{2\,\psi(\Psi^{-1}(\gamma(t)))}{\sigma_J\sigma_F}",
    ),
    "observation": (
        "(18)",
        "‖y(t) - y‖ ≤ ψ(Ψ⁻¹(γ(t)))",
        r"\|y(t)-y\| \le \psi(\Psi^{-1}(\gamma(t)))",
    ),
}
_SHARP = {
    "loss": (
        "L(y(t)) ≤ V(t), V' = -(A + Bψ(V))/ψ'(V)²",
        r"\mathcal L_y(y(t)) \le V(t),\quad \dot V = -\frac{A+B\psi(V)}{\psi'(V)^2}",
    ),
    "parameters": (
        "‖θ(t) - θ∞‖ ≤ (√(A + Bp(t)) - √A)/a₁",
        r"\|\theta(t)-\theta_\infty\| \le \frac{\sqrt{A+Bp(t)}-\sqrt A}{a_1}",
    ),
    "observation": ("‖y(t) - y‖ ≤ p(t) = ψ(V(t))", r"\|y(t)-y\| \le p(t) = \psi(V(t))"),
}


def guarantees(
    bound: Bound,
    t: Any,
    *,
    evidence: Mapping[str, Evidence] | None = None,
    assumptions: tuple[Assumption, ...] = (),
) -> dict[str, Guarantee]:
    """(10), (11), (18), (12) and (13) at the times t, each with what it rests on.

    `bound` is a `Bound` or `SharpBound`; (12) and (13) are there if it knows their constants.
    `evidence` gives that of σ_F, σ_J, ... by name ("sigma_f"); what is not named is assumed.
    """
    known = evidence or {}

    def weakest(*names: str) -> Evidence:
        found = [known.get(n, Evidence.ASSUMED) for n in names]
        return max(found, key=lambda e: e.rank)

    sharp = bound.theory == "sharp"
    names = ("sigma_f", "sigma_j", "deviation") if sharp else ("sigma_f", "sigma_j")
    c = bound.constants
    found: dict[str, Guarantee] = {}
    basin = _basin(bound)
    for key, (place, statement, latex) in _FORMULAS.items():
        if sharp:
            statement, latex = _SHARP[key]
        found[key] = Guarantee(
            place,
            bound.theory,
            getattr(bound, key)(t),
            statement,
            latex,
            {},
            (*assumptions, basin) if key != "observation" else (*assumptions, basin, _UNIQUE),
            weakest(*names),
        )
    p = found["observation"].value
    if c.noise is not None:
        found["error"] = _joined(
            observation_error(p, noise=c.noise), bound, assumptions, basin, weakest(*names, "noise")
        )
    if None not in (c.mu, c.noise, c.lip_f, c.dist):
        theory = "printed" if bound.theory == "printed" else "corrected"
        signal = signal_error(
            p, mu=c.mu, noise=c.noise, lip_f=c.lip_f, dist=c.dist, theory=theory,
            sigma_f=c.sigma_f, sigma_j=c.sigma_j,
        )  # fmt: skip
        used = weakest(*names, "noise", "mu", "lip_f", "dist")
        found["signal"] = _joined(signal, bound, assumptions, basin, used)
    return found


def _basin(bound: Bound) -> Assumption:
    affine = getattr(bound, "affine", None)
    if affine is not None:
        reason = f"ψ(L0) = {affine.psi0:.4g} < {affine.threshold:.4g} = σ_F σ_J²/(2Λ)"
        return Assumption("ψ(L0) < σ_F σ_J²/(2Λ)", "met", reason)
    reason = "R' < R is not checked here: it needs the network's Jacobian around θ(0)"
    return Assumption("(8)", "assumed", reason)


def _joined(
    g: Guarantee,
    bound: Bound,
    assumptions: tuple[Assumption, ...],
    basin: Assumption,
    evidence: Evidence,
) -> Guarantee:
    from dataclasses import replace

    return replace(
        g,
        theory=bound.theory,
        assumptions=(*assumptions, basin, *g.assumptions),
        evidence=evidence,
    )
