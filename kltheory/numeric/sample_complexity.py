"""How many random measurements make an operator injective on a cone (Proposition 3.5).

The number depends on the Gaussian width w(K) = E sup_{w in K, ‖w‖ = 1} ⟨z, w⟩ of the cone of
directions from x̄_Σ into Σ; it is computed here for the cones where it is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kltheory.errors import InputError

__all__ = [
    "GaussianWidth",
    "Measurements",
    "measurements",
    "width_l1",
    "width_linf",
    "width_nuclear",
    "width_subspace",
]

_SAFE = 1 + 1e-12
"""More than the rounding of any formula here."""


@dataclass(frozen=True, slots=True)
class GaussianWidth:
    """An upper bound on the Gaussian width of a cone."""

    value: float
    """w(K), an upper bound."""
    exact: bool
    """True if it is w(K) itself, up to rounding."""
    cone: str
    """The cone, in words."""
    formula: str
    """How it was computed."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {q: getattr(self, q) for q in self.__slots__}


def width_subspace(dimension: int) -> GaussianWidth:
    """A subspace: w = E‖z‖ = √2 Γ((d+1)/2)/Γ(d/2), between d/√(d+1) and √d.

    >>> round(width_subspace(1).value, 6)  # E|z| = √(2/π)
    0.797885
    """
    d = _count(dimension, "dimension")
    value = math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
    # log Γ of large numbers loses digits, and √d is always a bound
    error = 1 + 4e-16 * max(1.0, abs(math.lgamma(d / 2)))
    return GaussianWidth(
        min(value * error, math.sqrt(d)) * _SAFE,
        True,
        f"a subspace of dimension {d}",
        "√2 Γ((d+1)/2)/Γ(d/2)",
    )


def width_l1(n: int, sparsity: int) -> GaussianWidth:
    """The descent cone of ‖·‖₁ at a vector of R^n with s entries that are not 0.

    w² <= δ <= inf_τ s(1 + τ²) + (n - s) E(|z| - τ)₊², δ the statistical dimension (Amelunxen, Lotz,
    McCoy, Tropp 2014, Proposition 4.5); E(|z| - τ)₊² = 2((1 + τ²)Q(τ) - τ φ(τ)).

    >>> width_l1(100, 10).value ** 2 < 2 * 10 * math.log(10) + 12.5  # the simple bound
    True
    """
    size, s = _count(n, "n"), _count(sparsity, "sparsity")
    if s > size:
        raise InputError(f"sparsity = {s} is given; it is at most n = {size}")

    def bound(tau: float) -> float:
        tail = math.erfc(tau / math.sqrt(2)) / 2
        density = math.exp(-tau * tau / 2) / math.sqrt(2 * math.pi)
        return s * (1 + tau * tau) + (size - s) * max(
            0.0, 2 * ((1 + tau * tau) * tail - tau * density)
        )

    # each τ gives a bound, so that an approximate minimiser is enough; + 1e-9 for the cancellation
    delta = min(
        float(size), _minimum(bound, 0.0, 2 + math.sqrt(2 * math.log(size / s))) + 1e-9 * size
    )
    return GaussianWidth(
        math.sqrt(delta) * _SAFE,
        False,
        f"the descent cone of ‖·‖₁ at a vector with {s} of {size} entries not 0",
        "w² ≤ inf_τ s(1+τ²) + (n-s) E(|z|-τ)₊²",
    )


def width_nuclear(rows: int, columns: int, rank: int) -> GaussianWidth:
    """The descent cone of the nuclear norm at a matrix of rank r: w² <= 3r(n1 + n2 - r).

    Source: Chandrasekaran, Recht, Parrilo, Willsky 2012, Proposition 3.11; and w² <= n1 n2.

    >>> width_nuclear(30, 20, 1).value ** 2 < 3 * 49 + 1e-6
    True
    """
    n1, n2, r = _count(rows, "rows"), _count(columns, "columns"), _count(rank, "rank")
    if r > min(n1, n2):
        raise InputError(f"rank = {r} is given; it is at most {min(n1, n2)}")
    return GaussianWidth(
        math.sqrt(min(3 * r * (n1 + n2 - r), n1 * n2)) * _SAFE,
        False,
        f"the descent cone of the nuclear norm at a {n1} x {n2} matrix of rank {r}",
        "w² ≤ min(3r(n₁+n₂-r), n₁n₂)",
    )


def width_linf(n: int, saturated: int) -> GaussianWidth:
    """The descent cone of ‖·‖∞ at a vector with k entries of largest modulus: w² <= n - k/2.

    The cone is a product of k half-lines and n - k lines, of statistical dimension k/2 + (n - k).

    >>> round(width_linf(8, 8).value ** 2, 6)
    4.0
    """
    size, k = _count(n, "n"), _count(saturated, "saturated")
    if k > size:
        raise InputError(f"saturated = {k} is given; it is at most n = {size}")
    return GaussianWidth(
        math.sqrt(size - k / 2) * _SAFE,
        False,
        f"the descent cone of ‖·‖∞ at a vector with {k} of {size} entries of largest modulus",
        "w² ≤ δ = n - k/2",
    )


@dataclass(frozen=True, slots=True)
class Measurements:
    """How many rows are enough for λ_min(A; T) > 0."""

    m: int
    """The number of measurements."""
    theory: str
    """printed, corrected or sharp."""
    probability: float
    """The probability with which A is injective on the cone, at least."""
    terms: dict[str, float]
    """The two parts of the sum, or the two sides of the inequality."""
    constants: dict[str, float]
    """C, C', α, σ, τ and w."""
    statement: str
    """The formula."""
    assumptions: tuple[str, ...]
    """What the rows must be."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "m": self.m,
            "theory": self.theory,
            "probability": self.probability,
            "terms": dict(self.terms),
            "constants": dict(self.constants),
            "statement": self.statement,
            "assumptions": list(self.assumptions),
        }


def measurements(
    width: GaussianWidth | float,
    *,
    failure: float,
    alpha: float = math.sqrt(2 / math.pi),
    sigma: float = 1.0,
    C: float = 1.0,
    C_prime: float = 1.0,
    theory: str = "corrected",
) -> Measurements:
    """The number m of measurements for which λ_min(A; T) > 0 with probability 1 - failure.

    corrected: m >= C'(σ/α)⁶ w² + 2 C⁻² (σ⁴/α⁴) τ², probability 1 - exp(-C τ²)
    printed: with σ²/α⁴ in the second term, which changes when A is multiplied by a number; see E17
        in `kltheory audit E17`
    sharp: for rows N(0, I), m/√(m+1) > w + τ with probability 1 - exp(-τ²/2) (Gordon); it has no
        unknown constants

    Assumes independent rows with E A^i = 0, E|⟨A^i, w⟩| >= α and sub-Gaussian tails of parameter σ;
    the default α and σ are those of N(0, I).  C and C' are constants that exist but are not known;
    they are 1 unless they are given: the printed and corrected numbers show the scaling only.

    >>> measurements(width_subspace(10), failure=0.01, theory="sharp").m
    39
    """
    w = width.value if isinstance(width, GaussianWidth) else _positive(width, "width")
    if not 0 < failure < 1:
        raise InputError(f"failure = {failure} is given; a probability between 0 and 1 is wanted")
    a, s = _positive(alpha, "alpha"), _positive(sigma, "sigma")
    c, c_prime = _positive(C, "C"), _positive(C_prime, "C_prime")
    rows = ("independent rows", "E A^i = 0", "E|⟨A^i, w⟩| ≥ α", "sub-Gaussian tails with σ")
    if theory == "sharp":
        tau = math.sqrt(2 * math.log(1 / failure)) * _SAFE
        need = w + tau
        # m²/(m+1) > need², so m > (need² + √(need⁴ + 4 need²))/2
        m = math.floor((need**2 + math.sqrt(need**4 + 4 * need**2)) / 2 * _SAFE) + 1
        return Measurements(
            m,
            theory,
            1 - failure,
            {"m/√(m+1)": m / math.sqrt(m + 1), "w + τ": need},
            {"tau": tau, "w": w},
            "m/√(m+1) > w + τ, probability 1 - exp(-τ²/2)",
            ("rows N(0, c² I), independent",),
        )
    powers = {"corrected": 4, "printed": 2}
    if theory not in powers:
        raise InputError(f"theory = {theory!r} is given; choose corrected, printed or sharp")
    tau = math.sqrt(math.log(1 / failure) / c)
    terms = {
        "C'(σ/α)⁶w²": c_prime * (s / a) ** 6 * w**2,
        f"2C⁻²(σ^{powers[theory]}/α⁴)τ²": 2 / c**2 * s ** powers[theory] / a**4 * tau**2,
    }
    return Measurements(
        math.ceil(sum(terms.values()) * _SAFE),
        theory,
        1 - failure,
        terms,
        {"C": c, "C_prime": c_prime, "alpha": a, "sigma": s, "tau": tau, "w": w},
        f"m ≥ C'(σ/α)⁶w² + 2C⁻²(σ^{powers[theory]}/α⁴)τ², probability 1 - exp(-Cτ²)",
        rows,
    )


def _minimum(f: Callable[[float], float], low: float, high: float) -> float:
    """The minimum of a convex f on [low, high], by golden section."""
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(80):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if f(a) < f(b):
            high = b
        else:
            low = a
    return f((low + high) / 2)


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise InputError(f"{name} = {value} is given; a whole number >= 1 is wanted")
    return int(value)


def _positive(value: Any, name: str) -> float:
    number = float(value)
    if not (number > 0 and math.isfinite(number)):
        raise InputError(f"{name} = {value} is given; a positive number is wanted")
    return number
