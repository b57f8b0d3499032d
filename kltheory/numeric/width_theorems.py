"""The width theorems, each as the supply S(k) of its condition: demand < σ_F · S(k)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from kltheory.activation import Activation, OneBranch
from kltheory.numeric.width_bounds import Bounds, Setting

__all__ = ["THEOREMS", "Theorem", "attainability"]

Values = dict[str, tuple[Decimal, str]]
"""Name of a constant -> its value and what it means."""


@dataclass(frozen=True, slots=True)
class Theorem:
    """One sufficient condition on k."""

    name: str
    """Theorem and variant."""
    theory: str
    """corrected (the paper's route, repaired) or sharp."""
    train: str
    """The layers that are trained: hidden or both."""
    independent: bool
    """Whether the entries of V(0) must be independent (or only its columns)."""
    events: int
    """How many events share the failure probability p equally."""
    supply: Callable[[Bounds], Decimal]
    """S(k): the certified initial error divided by σ_F; 0 or less where nothing is certified."""
    values: Callable[[Bounds], Values]
    """The constants that S(k) is made of."""
    statement: str
    """What holds with probability 1 - p."""
    scaling: str
    """How k grows, with L_F of order 1 and ‖y‖ ~ √m."""
    assumptions: tuple[str, ...]
    """What must hold besides the condition on k."""
    attains: bool = False
    """Whether the condition is on ‖y‖ alone (attainability), not on the initial error."""
    refusal: str = ""
    """Why it says nothing about this φ, or nothing."""


_BASE = ("A-1", "A-2", "A-3", "A-4", "A-5", "A-6", "‖u‖ = 1", "A-9", "σ_F > 0", "F(0) = 0")
_BARE = (*_BASE, "A-10")
_INDEPENDENT = (*_BASE, "A-10 with independent entries of V(0)")
_LINEAR = ("F linear", "y in Im F")


def _slope_square(b: Bounds) -> Decimal:
    return b.setting.constants.C_phi_prime.low**2


def _per_curvature(value: Decimal, s: Setting) -> Decimal:
    """Return value/(2 B2); a linear φ has B2 = 0, and its Jacobian does not move."""
    b2 = s.constants.B2.high
    if b2 == 0:
        return Decimal("Infinity") if value > 0 else Decimal(0)
    return value / (2 * b2)


# -- the hidden layer is trained -----------------------------------------------------------------


def hidden_sharp(b: Bounds) -> Decimal:
    """Theorem B.1, by the condition ψ0 < σ_F σ²/(2Λ): S = (1 - ε) C_φ'² √(k/n)/(2 B2 D).

    σ² = λ_min(J Jᵀ) ≥ (1 - ε) C_φ'² and Λ = B2 max‖V_i‖/√k ≤ B2 D √(n/k).  Equivalently
    k > 4 B2² D² n ψ̄²/(σ_F² (1 - ε)² C_φ'⁴) with k ≥ B1² D² n (log n + ℓ)/(C_φ'² g(ε)).
    """
    s = b.setting
    signal = b.kept_conditioning() * _slope_square(b) * (b.k / s.n).sqrt()
    return _per_curvature(signal / s.D, s)


def hidden_paper(b: Bounds) -> Decimal:
    """Theorem B.1 by R' < R, ψ0 < σ_F σ²/(4Λ): half of `hidden_sharp` (`kltheory audit E27`)."""
    return hidden_sharp(b) / 2


def _hidden_values(b: Bounds) -> Values:
    return {"one_minus_eps": (b.kept_conditioning(), "σ_min(J_g(0))² ≥ (1 - ε) C_φ'²")}


def whitened(b: Bounds) -> Decimal:
    """Whitened certificate (S4Q): S = (1 - ε)(1 - τ) C_φ'² √k/(2 B2 b).

    ψ0 < σ_F σ_Q²/(2Λ_Q), where Q projects on the row space of A, of dimension r:
    σ_Q² ≥ (1 - ε)(1 - τ) C_φ'² by matrix Chernoff in dimension r for the columns with
    ‖QV_i‖ ≤ b, and Λ_Q ≤ B2 b/√k.
    """
    return max(_whitened(b, *pair)[1] for pair in _row_norms(b))


def _row_norms(b: Bounds) -> list[tuple[Decimal, Decimal]]:
    """Return the pairs (b, τ): ‖QV_i‖ ≤ ‖V_i‖ ≤ D√n; for independent entries also Talagrand's."""
    always = [(b.setting.D * b.setting.n.sqrt(), Decimal(0))]
    return [b.row_norm(), *always] if b.independent else always


def _whitened(b: Bounds, norm: Decimal, cut: Decimal) -> tuple[Decimal, Decimal]:
    """Return 1 - ε and S for one pair (b, τ)."""
    if cut >= 1:
        return Decimal(0), Decimal(0)
    keep = b.kept(b.setting.rank, norm * norm, 1 - cut)
    signal = keep * (1 - cut) * _slope_square(b) * b.k.sqrt()
    return keep, _per_curvature(signal / norm, b.setting)


def _whitened_values(b: Bounds) -> Values:
    norm, cut = max(_row_norms(b), key=lambda pair: _whitened(b, *pair)[1])
    return {
        "rank": (b.setting.rank, "bound on the rank r of F"),
        "b": (norm, "bound on max ‖QV_i‖"),
        "tau": (cut, "share of E QVVᵀQᵀ beyond ‖QV_i‖ ≤ b"),
        "one_minus_eps": (_whitened(b, norm, cut)[0], "σ_Q² ≥ (1 - ε)(1 - τ) C_φ'²"),
    }


# -- both layers are trained ---------------------------------------------------------------------


def both_sharp(b: Bounds) -> Decimal:
    """Theorem 4.1, by the output block of the Jacobian: S = h₋² √k/B1.

    The flow converges if ψ0 < σ_F h(0)² √k/B1, with no condition on V or n.
    """
    return b.lower_h() ** 2 * b.k.sqrt() / b.setting.constants.B1.high


def _both_values(b: Bounds) -> Values:
    return {"h_minus": (b.lower_h(), "lower bound on h(0) = ‖φ(W(0)u)‖/√k")}


def _both_conditioning(b: Bounds) -> Decimal:
    """σ_min(J_g(0))² = h² + λ_min(J_W J_Wᵀ) ≥ h₋² + (1 - ε) C_φ'²."""
    return b.lower_h() ** 2 + b.kept_conditioning() * _slope_square(b)


def both_paper(b: Bounds) -> Decimal:
    """Theorem 4.1 by R' < R with every constant: S = R σ/2, as R' = 2ψ0/(σ_F σ).

    Lip(J_g) ≤ B(1 + 2D + 2ρ)√(n/k) on a ball of radius ρ (n ≥ 2), so R is the positive root of
    R(1 + 2D + 2R) = (σ/(2B)) √(k/n).
    """
    s = b.setting
    if s.n < 2:
        return Decimal(0)
    sigma = _both_conditioning(b).sqrt()
    right = sigma * (b.k / s.n).sqrt() / (2 * s.constants.B.high)
    linear = 1 + 2 * s.D
    radius = 2 * right / (linear + (linear * linear + 8 * right).sqrt())
    return radius * sigma / 2


def _both_paper_values(b: Bounds) -> Values:
    sigma = _both_conditioning(b).sqrt()
    return _both_values(b) | {"sigma_g": (sigma, "lower bound on σ_min(J_g(0))")}


# -- attainability, V fixed ----------------------------------------------------------------------


def _mean_projection(b: Bounds) -> Decimal:
    """c with E|⟨v, V_i⟩| ≥ c for every unit v.

    Independent entries: 1/√2 for Rademacher entries (Szarek), which D = 1 forces, and else
    (E t²)^{3/2}/(E t⁴)^{1/2} ≥ 1/√max(3, D²).  In general E|t| ≥ E t²/sup|t| ≥ 1/(D√n).
    """
    s = b.setting
    if not b.independent:
        return 1 / (s.D * s.n.sqrt())
    return 1 / (Decimal(2) if s.D == 1 else max(Decimal(3), s.D * s.D)).sqrt()


def _deviation(b: Bounds) -> Decimal:
    """2√r + D√(nℓ/2): how far sup_v Σ⟨v, V_i⟩₊/√k falls below its mean, with E and tail."""
    s = b.setting
    return 2 * s.rank.sqrt() + s.D * (s.n * b.ell / 2).sqrt()


def bounded_image(half_width: Decimal, largest: Decimal) -> Callable[[Bounds], Decimal]:
    """Theorem M for φ from ℝ onto ]lo, hi[ ∋ 0 (or with 0 at an end).

    x† = A⁺y is (1/√k) QV a for an a in ]lo, hi[^k iff ⟨v, x†⟩ < (1/√k) Σ max(hi t_i, lo t_i) for
    all unit v, t_i = ⟨v, V_i⟩.  The mean is at least √k c (hi - lo)/2; with M = max(|lo|, |hi|) the
    uniform deviation has mean at most 2M√r (symmetrisation, contraction) and bounded differences
    M D√n/√k.  So S = √k c (hi - lo)/2 - M(2√r + D√(nℓ/2)), and the condition is ‖x†‖ < S.
    """

    def supply(b: Bounds) -> Decimal:
        return b.k.sqrt() * _mean_projection(b) * half_width - largest * _deviation(b)

    return supply


def unbounded_image(share: Decimal) -> Callable[[Bounds], Decimal]:
    """Theorem M for φ with image ]lo, ∞[, lo ≤ 0, on the branch of a `share` of the neurons.

    If every half-space contains a V_i of such a neuron, each x† is reached: K of them suffice as
    soon as √K c/2 > 2√r + D√(nℓ/2).  K is binomial (k, share), with
    P(K ≤ κ) ≤ exp(-k kl(κ/k, share)).
    """

    def supply(b: Bounds) -> Decimal:
        enough = (2 * _deviation(b) / _mean_projection(b)) ** 2
        part = enough / b.k
        if part >= share:
            return Decimal(0)
        if share < 1:
            divergence = part * (part / share).ln() + (1 - part) * ((1 - part) / (1 - share)).ln()
            if b.k * divergence < b.ell:
                return Decimal(0)
        return Decimal("Infinity")

    return supply


def _attainability_values(b: Bounds) -> Values:
    return {
        "rank": (b.setting.rank, "bound on the rank r of F"),
        "c_star": (_mean_projection(b), "E|⟨v, V_i⟩| ≥ c for every unit v"),
        "deviation": (_deviation(b), "2√r + D√(nℓ/2)"),
    }


def _normal_cdf(x: str) -> Decimal:
    """Return P(X ≤ x), rounded down."""
    from scipy.special import ndtr

    return Decimal(float(ndtr(float(x)))) - Decimal("1e-12")


def _image(activation: str) -> tuple[Callable[[Bounds], Decimal], int] | None:
    """Return the supply of Theorem M for a built-in activation, and how many events share p."""
    one, half = Decimal(1), Decimal("0.5")
    half_pi = Decimal("1.5707963267948966192313216916397514420985846996876")
    match activation:
        case "sigmoid":
            return bounded_image(half, one), 1
        case "tanh" | "erf" | "sin":
            return bounded_image(one, one), 1
        case "arctan":
            return bounded_image(half_pi, half_pi + Decimal("1e-45")), 1
        case "softplus":
            return unbounded_image(one), 1
        case "gelu":  # φ increases on the right of -0.75179...
            return unbounded_image(_normal_cdf("0.7517")), 2
        case "silu":  # φ increases on the right of -1.27846...
            return unbounded_image(_normal_cdf("1.2784")), 2
    return None


def _users_image(branch: OneBranch | str) -> tuple[Callable[[Bounds], Decimal], int] | str:
    """Return the supply of Theorem M for a user's φ that is monotone, or why there is none."""
    if isinstance(branch, str):
        return branch
    low, high = branch.infimum, branch.supremum
    if low is None or high is None:  # the support function of the image is infinite
        return unbounded_image(Decimal(1)), 1
    if not (low[1] <= 0 <= high[0]):
        return "0 is not seen to lie between inf φ and sup φ"
    return bounded_image((high[0] - low[1]) / 2, max(abs(low[0]), abs(high[1]))), 1


def attainability(activation: Activation) -> tuple[Theorem, ...]:
    """Return Theorem M for an activation, for both kinds of V(0); it may have a reason why not."""
    found = _image(activation.name) if activation.built_in else _users_image(activation.monotone)
    if found is None:
        return ()
    refusal = found if isinstance(found, str) else ""
    supply, events = (lambda b: Decimal(0), 1) if isinstance(found, str) else found
    return tuple(
        Theorem(
            name=name,
            theory="sharp",
            train="hidden",
            independent=independent,
            events=events,
            supply=supply,
            values=_attainability_values,
            statement="y is attainable: the flow of the hidden layer converges to zero loss",
            scaling=scaling,
            assumptions=(*laws, *_LINEAR, "convex loss"),
            attains=True,
            refusal=refusal,
        )
        for name, independent, laws, scaling in (
            ("M", True, _INDEPENDENT, "n + m + ‖A⁺y‖²; no dependence on the condition number"),
            ("M (columns only)", False, _BARE, "n (n + m + ‖A⁺y‖²)"),
        )
    )


THEOREMS = (
    Theorem(
        "B.1 (R' < R)",
        "corrected",
        "hidden",
        False,
        3,
        hidden_paper,
        _hidden_values,
        "(8), R' < R, holds with the constants of the proof made explicit",
        "n (n + m) σ_F^-2 and n log n",
        _BARE,
    ),
    Theorem(
        "B.1",
        "corrected",
        "hidden",
        False,
        3,
        hidden_sharp,
        _hidden_values,
        "ψ0 < σ_F σ_min(J_g(0))²/(2Λ): convergence with the rates of the sharp theorem",
        "n (n + m) σ_F^-2 and n log n",
        _BARE,
    ),
    Theorem(
        "B.1 (independent entries)",
        "corrected",
        "hidden",
        True,
        3,
        hidden_sharp,
        _hidden_values,
        "ψ0 < σ_F σ_min(J_g(0))²/(2Λ): convergence with the rates of the sharp theorem",
        "n (n + m) σ_F^-2 and n log n",
        _INDEPENDENT,
    ),
    Theorem(
        "S4Q",
        "sharp",
        "hidden",
        True,
        4,
        whitened,
        _whitened_values,
        "ψ0 < σ_F σ_Q²/(2Λ_Q): convergence, with the rank r of F in place of n",
        "m (n + m) σ_F^-2, up to log k",
        (*_INDEPENDENT, *_LINEAR),
    ),
    Theorem(
        "S4Q (columns only)",
        "sharp",
        "hidden",
        False,
        3,
        whitened,
        _whitened_values,
        "ψ0 < σ_F σ_Q²/(2Λ_Q): convergence",
        "n (n + m) σ_F^-2 and n log m",
        (*_BARE, *_LINEAR),
    ),
    Theorem(
        "4.1 (R' < R)",
        "corrected",
        "both",
        False,
        4,
        both_paper,
        _both_paper_values,
        "(8), R' < R, holds with the constants of the proof made explicit",
        "n (n + m)^2 σ_F^-4",
        (*_BARE, "n ≥ 2"),
    ),
    Theorem(
        "4.1",
        "sharp",
        "both",
        False,
        3,
        both_sharp,
        _both_values,
        "ψ0 < σ_F h(0)² √k/B1: convergence with the rates of the sharp theorem",
        "(n + m) σ_F^-2",
        _BARE,
    ),
    Theorem(
        "4.1 (independent entries)",
        "sharp",
        "both",
        True,
        3,
        both_sharp,
        _both_values,
        "ψ0 < σ_F h(0)² √k/B1: convergence with the rates of the sharp theorem",
        "(n + m) σ_F^-2",
        _INDEPENDENT,
    ),
)
"""The theorems whose condition compares the initial error with S(k), for any activation."""
