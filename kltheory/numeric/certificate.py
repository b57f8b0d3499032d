"""The ladder of certificates: does gradient flow converge from here, how fast, and how far away?

With K = J_F J_g and p = ψ(L(y)) each theorem gives a non-increasing s with -ṗ ≥ s(ξ) ξ̇ for a length
ξ of the path.  Integrated: if ψ(L0) < ∫ s, the path never comes to the end of s, the flow exists
for all time and L → 0.  The names, from the narrowest condition to the widest:

    P     the condition R' < R of the paper, with measured constants
    S3    s = σ_F (σ_g - Λ_g ρ)                                V fixed, any F
    S4Q   s = σ_F (σ_Q - Λ_Q ρ), S4A   s = σ_A - Λ_A ρ         V fixed, F = A; k ≥ rank A is enough
    q     s = λ_min(Σ l_i(q) M_i M_iᵀ/k), q = ∫‖∇L‖            V fixed, F = A
    S1    s = σ_F (σ_J - Λ_J ρ)                                both layers, any F
    V     s = 2 σ_F (h0 - Λ_h b), b = ∫‖Ẇ‖                     both layers, any F
    C     h(t) ≥ h_low by the conserved ‖V_i‖² - G(z_i)/ω      both layers, any F, any ψ(L0)
    C0    h(t) ≥ h0 if V(0) = 0                                both layers, any F, any ψ(L0)
    M     what the network can reach at all                    V fixed, F = A, any ψ(L0)

All numbers are measured at the start and moved to the safe side; the comparisons are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from kltheory.constants import Evidence
from kltheory.errors import InputError
from kltheory.loss_functions import RadialLoss
from kltheory.numeric.certificate_facts import (
    EPS,
    Facts,
    Observed,
    features_below,
    sigma_floor,
)
from kltheory.numeric.certificate_law import Law, MirrorLaw, Piece, path_left
from kltheory.numeric.certificate_path import Profile, profile
from kltheory.numeric.reach import Reach
from kltheory.numeric.reach_rate import MirrorCertificate
from kltheory.numeric.rounding import down, up
from kltheory.symbolic.desingularizer import Desingularizer

__all__ = ["BOTH", "HIDDEN", "Certificate", "ladder", "lowest_features", "mirror_certificate"]

HIDDEN = ("P", "S3", "S4Q", "S4A", "q")
"""The certificates for V fixed."""
BOTH = ("P", "S1", "V", "C", "C0")
"""The certificates for both layers trained."""

THEOREMS = {
    "P": "Theorem 3.2, R' < R (8)",
    "S3": "sharp form of Theorem 3.2, V fixed",
    "S4Q": "sharp form on the row space of A",
    "S4A": "sharp form of the observed Jacobian",
    "q": "path measured by ∫‖∇L‖",
    "S1": "sharp form of Theorem 3.2, both layers",
    "V": "V-block",
    "C": "conservation of ‖V_i‖² - G(z_i)/ω",
    "C0": "conservation, from V(0) = 0",
    "M": "mirror flow of the hidden layer",
}
"""Name -> the theorem in words."""

_PATH = "A-1 to A-3: the loss is C¹ with a locally Lipschitz gradient, and ψ desingularizes it"
_RANGE = "A-4: ∇L(y(t)) lies in the range of J_F"
_SIGMA = "σ_F bounds J_F from below wherever the trajectory goes"
_PHI = "A-5: φ' is bounded by B1 and Lipschitz with B2"
_RATES = "both layers are trained at one rate"
_STAIRS = 20

_ONE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One theorem on one network: whether its condition holds, and what follows."""

    name: str
    """One of P, S3, S4Q, S4A, q, S1, V, C, C0, M."""
    theorem: str
    """The theorem in words."""
    holds: bool
    """Whether ψ(L0) < threshold: then the flow exists for all time and L(y(t)) → 0."""
    threshold: float
    """What ψ(L0) must stay below, rounded down; inf where nothing is asked of it."""
    psi0: float
    """ψ(L0), rounded up; ‖y(0) - y‖ for a radial loss."""
    margin: float
    """threshold/ψ(L0), more than 1 if the condition holds; of M, how far inside its interval every
    neuron can end."""
    rate: float | None
    """a with -dL/dt ≥ a/ψ'(L)² at all times, rounded down; for ½‖r‖² the loss falls at least like
    e^{-2at}.  None if the condition fails."""
    path_length: float | None
    """‖θ(t) - θ(0)‖ at most, for all t, rounded up.  None if the condition fails."""
    reason: str
    """The condition with its numbers."""
    advice: str
    """What to change, if it fails."""
    assumptions: tuple[str, ...]
    """What it rests on besides the measured numbers."""
    evidence: Evidence
    """The weakest evidence among the numbers."""
    constants: Mapping[str, float] = field(default_factory=dict)
    """The measured numbers of the condition."""
    loss0: float = 0.0
    """The loss at the start that can still fall."""
    pieces: tuple[Piece, ...] = field(default=(), repr=False)
    """s² as a function of p; empty if the condition fails."""
    mirror: MirrorCertificate | None = field(default=None, repr=False)
    """Of M: the mirror flow that it is about."""
    c: Fraction = _ONE
    """1 for the flow; the c of L⁺ ≤ L - cη‖∇f‖² for descent."""

    def law(self, psi: Desingularizer) -> Law | MirrorLaw:
        """The bounds over time that follow, for the ψ of the loss; needs a condition that holds.

        The loss, ‖y(t) - y‖, ‖θ(t) - θ(∞)‖ and the stopping time; see `Law`.
        """
        if self.mirror is not None:
            return MirrorLaw(self.mirror, psi, self.loss0, self.pieces)
        if not self.pieces:
            what = "no bound over time is proved" if self.holds else "it does not hold"
            raise InputError(f"certificate {self.name}: {what} ({self.reason}).")
        return Law(psi, self.loss0, self.pieces, self.c)

    def path_left(self, p: float) -> float:
        """‖θ(t) - θ(∞)‖ at most, from the moment at which ψ(L(y(t))) = p."""
        return path_left(self.pieces, Fraction(p), self.c)

    def singular_value(self, p: float) -> float:
        """A lower bound on ‖Kᵀ∇L‖/‖∇L‖ at the moment at which ψ(L(y(t))) = p."""
        for piece in self.pieces:
            if p >= piece.end:
                return math.sqrt(max(0.0, down(piece.A + piece.B * Fraction(p)))) * (1 - 2 * EPS)
        return 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data; an infinite number is the text "inf"."""
        return {
            "name": self.name,
            "theorem": self.theorem,
            "holds": self.holds,
            "threshold": _plain(self.threshold),
            "psi0": _plain(self.psi0),
            "margin": _plain(self.margin),
            "rate": _plain(self.rate),
            "path_length": _plain(self.path_length),
            "reason": self.reason,
            "advice": self.advice,
            "assumptions": list(self.assumptions),
            "evidence": str(self.evidence),
            "constants": {name: _plain(value) for name, value in self.constants.items()},
        }


def _plain(value: float | None) -> float | str | None:
    if value is None or math.isnan(value):
        return None
    return value if math.isfinite(value) else "inf" if value > 0 else "-inf"


def ladder(
    facts: Facts, *, c: Fraction = _ONE, names: Iterable[str] | None = None
) -> tuple[Certificate, ...]:
    """Every certificate for what is trained, or those of these names.

    With c < 1: for descent whose every step has L⁺ ≤ L - cη‖∇f‖², where ψ must be concave; P, C and
    C0, which are about the flow alone, are left out, and q bounds |Δz_i| by B1 in place of Z.
    """
    known: dict[str, Callable[[Facts, Fraction], Certificate]] = {
        "P": _paper, "S3": _s3, "S4Q": _s4q, "S4A": _s4a, "q": _q, "S1": _s1, "V": _v, "C": _c,
        "C0": _c0,
    }  # fmt: skip
    chosen = tuple(names) if names is not None else (HIDDEN if facts.train == "hidden" else BOTH)
    if c < 1:
        chosen = tuple(name for name in chosen if name not in ("P", "C", "C0"))
    void = facts.void or ("" if facts.sigma_f > 0 else "σ_F = 0, to rounding")
    if void:
        return tuple(_nothing(name, facts, c, void) for name in chosen)
    return tuple(known[name](facts, c) for name in chosen)


def _nothing(name: str, facts: Facts, c: Fraction, void: str) -> Certificate:
    """A certificate that does not apply."""
    found = _make(
        name, facts, c, threshold=0.0, condition="", missing=void, constants={}, pieces=list
    )
    return replace(found, advice="")


# -- how certificates are made -------------------------------------------------------------------


def _make(
    name: str,
    facts: Facts,
    c: Fraction,
    *,
    threshold: float,
    condition: str,
    constants: Mapping[str, float],
    pieces: Callable[[], Sequence[Piece]],
    missing: str = "",
    more: tuple[str, ...] = (),
    evidence: Evidence = Evidence.PROVED,
) -> Certificate:
    """Compare ψ(L0) with the threshold, and say what follows or what to change."""
    psi0 = facts.psi0
    holds = not missing and psi0 < threshold
    sigma = () if facts.linear else (_SIGMA,)
    assumptions = (_PATH, _RANGE, *sigma, _PHI, *more, *facts.assumed)
    if c < 1:
        assumptions += (f"every step has L⁺ ≤ L - {c}·η‖∇f‖², and ψ is concave",)
    rate = length = None
    found: tuple[Piece, ...] = ()
    if holds:
        found = tuple(pieces())
        rate = down(found[-1].last_speed)
        length = path_left(found, Fraction(psi0), c)
    said = f"ψ(L0) = {psi0:.4g} {'<' if psi0 < threshold else '≥'} {condition} = {threshold:.4g}"
    return Certificate(
        name, THEOREMS[name], holds, threshold, psi0,
        threshold / psi0 if psi0 > 0 else math.inf, rate, length,
        missing or (said if threshold < math.inf else "nothing is asked of ψ(L0)"),
        "" if holds else _advice(name, facts, threshold, missing),
        assumptions, max(facts.evidence, evidence, key=lambda e: e.rank), dict(constants),
        facts.loss0, found, None, c,
    )  # fmt: skip


def _advice(name: str, facts: Facts, threshold: float, missing: str) -> str:
    """What would make a certificate hold."""
    both = facts.train == "both"
    if name == "C0":
        return "start with zero output weights: then this certificate holds for every k and y"
    other = "or start with zero output weights (C0)" if both else "or train both layers (V, C)"
    if missing or not threshold > 0:
        return f"take more neurons {other}" if name != "C" else "start with smaller output weights"
    ratio = facts.psi0 / threshold
    k = min(facts.k * min(ratio, 1e140) ** 2, 1e300)
    return (
        f"ψ(L0) is {ratio:.3g} times too large: start nearer to y, take about k = {k:.3g} neurons"
        f" (the threshold grows like √k), {other}"
    )


def _affine(
    name: str,
    facts: Facts,
    c: Fraction,
    a0: Fraction,
    a1: Fraction,
    condition: str,
    constants: Mapping[str, float],
    missing: str = "",
    more: tuple[str, ...] = (),
    evidence: Evidence = Evidence.PROVED,
) -> Certificate:
    """s = a0 - a1 ξ: the condition is ψ(L0) < c a0²/(2 a1), and s² ≥ a0² - 2 a1 (ψ(L0) - p)/c."""
    if a0 <= 0:
        threshold = 0.0
    else:
        threshold = math.inf if not a1 else down(c * a0**2 / (2 * a1))

    def pieces() -> list[Piece]:
        slope = 2 * a1 / c
        return [Piece(a0**2 - slope * Fraction(facts.psi0), slope, Fraction(0))]

    return _make(
        name, facts, c, threshold=threshold, condition=condition, constants=constants,
        pieces=pieces, missing=missing, more=more, evidence=evidence,
    )  # fmt: skip


def _deviation(seen: Observed, facts: Facts) -> float:
    """Λ = B2 ω max‖columns_i‖/√k, rounded up: ‖J - J0‖ ≤ Λ‖W - W0‖ for fixed columns."""
    value = facts.activation.B2 * facts.omega * seen.largest / math.sqrt(facts.k)
    return value * (1 + 8 * EPS)


def _deviation_both(seen: Observed, facts: Facts, radius: float = 0.0) -> float:
    """Λ_J = (M + √(M² + 4 ω B1²))/(2√k), M = ω B2 (max‖columns_i‖ + radius), rounded up.

    With a = ‖V - V0‖, b = ‖W - W0‖: ‖J - J0‖² ≤ [(√ω B1 a + M b)² + ω B1² b²]/k, and Λ_J² is the
    largest eigenvalue of this form.  With the radius of a ball around θ(0): between any two points
    of the ball.
    """
    m = facts.omega * facts.activation.B2 * (seen.largest + radius)
    slope = facts.activation.B1 * math.sqrt(facts.omega)
    return (m + math.hypot(m, 2 * slope)) / (2 * math.sqrt(facts.k)) * (1 + 8 * EPS)


def _absent(seen: Observed | None, what: str) -> str:
    return f"{what} is not known for this operator" if seen is None else ""


def _too_narrow(seen: Observed, facts: Facts, letter: str, size: str) -> str:
    if facts.k >= seen.rank:
        return ""
    return f"k = {facts.k} < {size} = {seen.rank}: {letter} = 0"


# -- V fixed -------------------------------------------------------------------------------------


def _paper(facts: Facts, c: Fraction) -> Certificate:
    """R' = 2ψ(L0)/(σ_F σ) < R, R the largest radius with R·Lip ≤ σ/2 on the ball of radius R.

    V fixed: Lip = Λ_g, and R = σ_g/(2Λ_g).  Both layers: Lip = Λ_J with max‖V_i‖ + R in place of
    max‖V_i‖; x = Lip √k solves x² = M x + ω B1² with M = M0 + ω B2 R, and R x = σ_J √k/2.
    """
    missing = _absent(facts.plain, "σ_min(J_g)")
    sigma = threshold = 0.0
    both = facts.train == "both"
    if facts.plain is not None:
        sigma = sigma_floor(facts.plain, facts.weights)
        if both:
            sigma = math.hypot(sigma, facts.h) * (1 - 4 * EPS)
        else:
            missing = _too_narrow(facts.plain, facts, "σ_g", "n")
        if sigma > 0:
            threshold = facts.sigma_f * sigma / 2 * _radius(facts, facts.plain, sigma, both)
            threshold *= 1 - 16 * EPS
    kappa = Fraction(facts.sigma_f) ** 2 * Fraction(sigma) ** 2 / 4
    return _make(
        "P", facts, c, threshold=threshold, condition="σ_F σ R/2", missing=missing,
        constants={"sigma_F": facts.sigma_f, "sigma_J": sigma},
        pieces=lambda: [Piece(kappa, Fraction(0), Fraction(0))],
    )  # fmt: skip


def _radius(facts: Facts, seen: Observed, sigma: float, both: bool) -> float:
    """R, rounded down."""
    if not both:
        deviation = _deviation(seen, facts)
        return sigma / (2 * deviation) if deviation > 0 else math.inf
    b1, b2, omega = facts.activation.B1, facts.activation.B2, facts.omega
    half = sigma * math.sqrt(facts.k) / 2
    m0 = omega * b2 * seen.largest
    x = (m0 + math.hypot(m0, 2 * math.sqrt(omega * b1**2 + omega * b2 * half))) / 2
    return half / x if x > 0 else math.inf


def _s3(facts: Facts, c: Fraction) -> Certificate:
    """σ_n(J_g) ≥ σ_g - Λ_g ρ: threshold σ_F σ_g²/(2Λ_g)."""
    return _fixed("S3", facts, c, facts.plain, "g", "n")


def _s4q(facts: Facts, c: Fraction) -> Certificate:
    """For w = U c: ‖Kᵀw‖ = ‖(Q J_g)ᵀ S c‖ ≥ σ_r(Q J_g) σ_F ‖w‖: threshold σ_F σ_Q²/(2Λ_Q)."""
    return _fixed("S4Q", facts, c, facts.whitened, "Q", "rank A")


def _s4a(facts: Facts, c: Fraction) -> Certificate:
    """For w in Im A: ‖Kᵀw‖ ≥ σ_r(Uᵀ A J_g) ‖w‖: threshold σ_A²/(2Λ_A)."""
    return _fixed("S4A", facts, c, facts.observed, "A", "rank A")


def _fixed(
    name: str, facts: Facts, c: Fraction, seen: Observed | None, letter: str, size: str
) -> Certificate:
    sigma = deviation = 0.0
    missing = _absent(seen, f"σ_{letter}")
    if seen is not None:
        sigma, deviation = sigma_floor(seen, facts.weights), _deviation(seen, facts)
        missing = _too_narrow(seen, facts, f"σ_{letter}", size)
    factor = Fraction(1) if letter == "A" else Fraction(facts.sigma_f)
    constants = {f"sigma_{letter}": sigma, f"Lambda_{letter}": deviation}
    if letter != "A":
        constants["sigma_F"] = facts.sigma_f
    lead = "" if letter == "A" else "σ_F "
    half = "" if c == 1 else f"{c}·"
    return _affine(
        name, facts, c, factor * Fraction(sigma), factor * Fraction(deviation),
        f"{half}{lead}σ_{letter}²/(2Λ_{letter})", constants, missing,
    )  # fmt: skip


def _q(facts: Facts, c: Fraction) -> Certificate:
    """-ṗ ≥ λ(q) q̇ with q = ∫‖∇L‖, or σ_F λ_Q(q) q̇ with q = ∫‖Aᵀ∇L‖: threshold ∫₀^∞ λ dq.

    |Z(z_i) - Z(z_i(0))| ≤ ω‖M_i‖q/√k along the flow, and φ'² has its least value over that interval
    at one of its ends.  The integral is a lower Riemann sum.
    """
    missing = _absent(facts.observed, "A V")
    best: tuple[float, Profile | None, Fraction] = (0.0, None, _ONE)
    if facts.observed is not None and facts.whitened is not None:
        missing = _too_narrow(facts.observed, facts, "λ", "rank A")
        for seen, factor in (
            (facts.observed, _ONE),
            (facts.whitened, Fraction(facts.sigma_f)),
        ):
            if missing:
                continue
            found = profile(facts, seen, along_flow=c == 1, stairs=facts.stairs)
            threshold = down(c * factor * Fraction(found.area))
            if threshold > best[0]:
                best = (threshold, found, factor)
    threshold, chosen, factor = best

    def pieces() -> list[Piece]:
        assert chosen is not None
        return _profile_pieces(chosen, factor, Fraction(facts.psi0), c)

    start = 0.0 if chosen is None else float(chosen.floors[0])
    return _make(
        "q", facts, c, threshold=threshold, condition="∫ λ dq", missing=missing, pieces=pieces,
        constants={"lambda_0": down(factor**2 * Fraction(start))},
        evidence=Evidence.PROVED if facts.activation.proved else Evidence.SAMPLED,
    )  # fmt: skip


def _profile_pieces(found: Profile, factor: Fraction, psi0: Fraction, c: Fraction) -> list[Piece]:
    """p = ψ(L0) - c·factor·∫λ dq falls along q, and s² = factor²·λ(q)."""
    pieces, p = [], psi0
    for width, floor in zip(found.widths, found.floors, strict=True):
        p -= c * factor * Fraction(float(width)) * Fraction(float(floor))
        end = max(p, Fraction(0))
        pieces.append(Piece(factor**2 * Fraction(float(floor)), Fraction(0), end))
        if not end:
            break
    return pieces


def mirror_certificate(
    facts: Facts, reach: Reach | None, mirror: MirrorCertificate | None, *, fits: bool = True
) -> Certificate:
    """M: the flow of a convex or radial loss comes to its infimum over what the network reaches.

    V fixed, F = A.  `fits` says that the loss is of this kind.  Zero loss follows from a point in
    the open box of the branches (`reach`), or from the zero of the dual (`mirror`), which also
    gives the speed: λ bounds ‖Kᵀ∇L‖²/‖∇L‖² from below all along the flow of a radial loss.
    """
    proved = mirror is not None and mirror.proved
    reason = "nothing is known of what the network reaches" if reach is None else reach.reason
    if not fits:
        reason = "the loss is neither convex nor radial"
    if facts.void is not None:
        reason = facts.void
    holds = bool(fits and facts.void is None and (proved or (reach is not None and reach.interior)))
    rate = length = None
    pieces: tuple[Piece, ...] = ()
    if holds and mirror is not None and proved:
        if isinstance(mirror.loss, RadialLoss) and mirror.rate > 0:
            pieces, rate = (Piece(Fraction(mirror.rate), Fraction(0), Fraction(0)),), mirror.rate
            length = path_left(pieces, Fraction(facts.psi0))
        reason = f"{reason}; {mirror.reason}"
    margin = 0.0 if reach is None or not holds else reach.margin
    evidence = Evidence.PROVED if facts.activation.proved else Evidence.SAMPLED
    if (
        (mirror is not None and proved and mirror.evidence != "proved")
        or (not proved and reach is not None and reach.verified is None)
        or facts.assumed
    ):  # within rounding, or by a quadrature
        evidence = max(evidence, Evidence.COMPUTED, key=lambda e: e.rank)
    return Certificate(
        "M", THEOREMS["M"], holds, math.inf if holds else 0.0, facts.psi0, margin, rate, length,
        reason, "" if holds else "take more neurons, or train both layers (V, C)",
        ("the loss is convex, or radial", _PHI, *facts.assumed), evidence,
        {"lambda": rate} if rate is not None else {}, facts.loss0, pieces,
        mirror if holds and proved else None,
    )  # fmt: skip


# -- both layers ---------------------------------------------------------------------------------


def _s1(facts: Facts, c: Fraction) -> Certificate:
    """σ_min(J_g)² = h² + σ_g² falls by at most Λ_J ρ: threshold σ_F σ_J²/(2Λ_J).

    For F = A both are taken on the row space of A.
    """
    seen = facts.whitened or facts.plain
    sigma = deviation = 0.0
    if seen is not None:
        sigma = math.hypot(sigma_floor(seen, facts.weights), facts.h) * (1 - 4 * EPS)
        deviation = _deviation_both(seen, facts)
    factor = Fraction(facts.sigma_f)
    return _affine(
        "S1", facts, c, factor * Fraction(sigma), factor * Fraction(deviation),
        "σ_F σ_J²/(2Λ_J)",
        {"sigma_F": facts.sigma_f, "sigma_J": sigma, "Lambda_J": deviation},
        _absent(seen, "σ_min(J_g)"),
    )  # fmt: skip


def _speeds(facts: Facts) -> tuple[Fraction, Fraction]:
    """σ_F and Λ_h = B1 √(ω/k), rounded up: |h - h0| ≤ Λ_h ‖W - W0‖."""
    deviation = facts.activation.B1 * math.sqrt(facts.omega / facts.k) * (1 + 8 * EPS)
    return Fraction(facts.sigma_f), Fraction(deviation)


def _v(facts: Facts, c: Fraction) -> Certificate:
    """s(b) = 2σ_F(h0 - Λ_h b) by the means: -ṗ ≥ σ_F h (v² + w²)/v ≥ 2σ_F h w, v = ‖V̇‖, w = ‖Ẇ‖.

    Threshold σ_F h0²/Λ_h; then ‖Kᵀ∇L‖ ≥ σ_F h ‖∇L‖ with h² ≥ h0² - Λ_h(ψ(L0) - p)/(cσ_F).
    """
    sigma_f, deviation = _speeds(facts)
    # The same numbers as s = a0 - a1 ρ with a0 = σ_F h0, a1 = σ_F Λ_h/2.
    return _affine(
        "V", facts, c, sigma_f * Fraction(facts.h), sigma_f * deviation / 2, "σ_F h0²/Λ_h",
        {"sigma_F": facts.sigma_f, "h0": facts.h, "Lambda_h": up(deviation)},
    )  # fmt: skip


def lowest_features(facts: Facts) -> float:
    """h_low ≤ h(t) for all t: ‖V_i‖² - G(z_i)/ω is conserved and ‖V_i‖² ≥ 0, G' = 2φ/φ'.

    So G(z_i(t)) ≥ G(z_i(0)) - ω‖V_i(0)‖², which keeps |φ(z_i)| above the solution of the equation
    on the monotone branch of z_i(0).
    """
    branches = facts.activation.branches
    drop = facts.omega * np.square(facts.norms)
    with np.errstate(all="ignore"):
        start = np.abs(np.asarray(branches.G(facts.z)))
        drop = drop * (1 + 1e-9) + np.where(drop > 0, 1e-10 * (1 + start), 0.0)
        lowest = np.asarray(branches.lowest(facts.z, drop), dtype=float)
        still = np.abs(facts.activation.dphi(facts.z)) < 1e-12
    lowest = np.where(np.isfinite(lowest) & ~still, np.maximum(lowest, 0.0), 0.0)
    lowest = np.minimum(lowest, features_below(facts.activation, facts.z))
    # What is smaller may be an underflow's rest.
    lowest = np.where(lowest > 1e-100, lowest * (1 - 1e-9), 0.0)
    return float(np.linalg.norm(lowest)) / math.sqrt(facts.k) * (1 - (facts.k + 8) * EPS)


def _c(facts: Facts, c: Fraction) -> Certificate:
    """h ≥ max(h_low, h_*), h_*² = h0² - Λ_h(ψ(L0) - p)/σ_F as in V: no condition if h_low > 0."""
    low = lowest_features(facts)
    missing = "" if low > 0 else "no neuron is kept from φ = 0: h_low = 0"
    sigma_f, deviation = _speeds(facts)

    def pieces() -> list[Piece]:
        floor, slope = (sigma_f * Fraction(low)) ** 2, sigma_f * deviation
        start = (sigma_f * Fraction(facts.h)) ** 2
        return _maximum(floor, start - slope * Fraction(facts.psi0), slope, Fraction(facts.psi0))

    return _make(
        "C", facts, c, threshold=math.inf if low > 0 else 0.0, condition="∞", missing=missing,
        constants={"sigma_F": facts.sigma_f, "h0": facts.h, "h_low": low}, pieces=pieces,
        more=(_RATES,),
        evidence=Evidence.COMPUTED if facts.activation.proved else Evidence.SAMPLED,
    )  # fmt: skip


def _maximum(floor: Fraction, A: Fraction, B: Fraction, psi0: Fraction) -> list[Piece]:
    """max(floor, A + B p) on [0, ψ(L0)], A + Bψ(L0) ≥ floor, in pieces of equal ratio."""
    turn = (floor - A) / B
    if turn <= 0:
        return [Piece(A, B, Fraction(0))]
    last = Piece(floor, Fraction(0), Fraction(0))
    if turn >= psi0:
        return [last]
    ratio = _log(A + B * psi0) - _log(floor)
    ends = [(floor * Fraction(math.exp(ratio * j / _STAIRS)) - A) / B for j in range(_STAIRS)]
    return [Piece(A, B, end) for end in reversed(ends) if turn <= end < psi0] + [last]


def _log(value: Fraction) -> float:
    return math.log(value.numerator) - math.log(value.denominator)


def _c0(facts: Facts, c: Fraction) -> Certificate:
    """V(0) = 0: G(z_i(t)) - G(z_i(0)) = ω‖V_i(t)‖² ≥ 0, so that |φ(z_i)| never falls and h ≥ h0."""
    missing = "" if facts.zero_output else "V(0) is not 0"
    if not missing and not facts.h > 0:
        missing = "φ(z(0)) = 0: the network does not move"
    speed = (Fraction(facts.sigma_f) * Fraction(facts.h)) ** 2
    return _make(
        "C0", facts, c, threshold=0.0 if missing else math.inf, condition="∞", missing=missing,
        constants={"sigma_F": facts.sigma_f, "h0": facts.h},
        pieces=lambda: [Piece(speed, Fraction(0), Fraction(0))], more=(_RATES,),
    )  # fmt: skip
