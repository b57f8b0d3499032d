"""Tail bounds and inequalities behind the width theorems, in decimal arithmetic.

Every theorem says: if ψ(bound on the initial error) < σ_F · S(k) then, with probability at least
1 - p over the draw of the network, the certificate of the theorem holds.  S(k), the *supply*,
grows with the number of neurons k; the initial error, the *demand*, does not.  So each theorem
is one function, and the least k, the margin at a given k, the largest ‖y‖ and the smallest σ_F
all come from it.  Decimals have no overflow, and as many digits as k needs.

Notation: X ~ N(0, 1); z ~ N(0, I_k); V, independent of z, has iid centered columns V_i with
E V_i V_iᵀ = I and |V_ij| ≤ D; h = ‖φ(z)‖/√k; ℓ = log(q/p), where the q events of a theorem share p
equally.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from kltheory.activation_constants import ActivationConstants

__all__ = ["Bounds", "Setting", "chernoff_exponent", "chernoff_keep", "exactly", "least_integer"]

GUARD = 40
"""Decimal digits beyond those of k."""
LARGEST = 300
"""k is given as an integer up to 10^300, and as its logarithm beyond."""
SIGNIFICANT = 50
"""k is least up to 10^50, and rounded up in its 50th digit beyond."""

_TRAPS = [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]
_RANGE = 10**17


def exactly(digits: int = GUARD) -> decimal.Context:
    """Return the arithmetic to compute in: `digits` decimal digits, no overflow.

    >>> with decimal.localcontext(exactly()):
    ...     print(Decimal(10) ** 100_000 / Decimal(10) ** 99_999)
    1E+1
    """
    return decimal.Context(prec=digits, Emin=-_RANGE, Emax=_RANGE, traps=_TRAPS)


@dataclass(frozen=True, slots=True)
class Setting:
    """The numbers that a width depends on."""

    n: Decimal
    """Size of the signal x."""
    m: Decimal
    """Size of the observation y."""
    D: Decimal
    """Bound on the entries of V(0), at least 1."""
    L_F: Decimal
    """L_{F,0}: bound on ‖J_F‖ where x(0) can be."""
    failure: Decimal
    """p: the probability with which the theorem may fail."""
    constants: ActivationConstants
    """B1, B2, C_φ, C_φ', E[φ⁴]."""
    known_rank: Decimal | None = None
    """A bound on the rank of F = A, if one is known below min(n, m)."""

    @property
    def rank(self) -> Decimal:
        """An upper bound on the rank of F = A."""
        smaller = min(self.n, self.m)
        return smaller if self.known_rank is None else min(self.known_rank, smaller)


def chernoff_exponent(eps: Decimal) -> Decimal:
    """g(ε) = ε + (1 - ε) log(1 - ε), the exponent of the matrix Chernoff inequality.

    >>> chernoff_exponent(Decimal(1)), round(chernoff_exponent(Decimal("0.5")), 6)
    (Decimal('1'), Decimal('0.153426'))
    """
    keep = 1 - eps
    return eps if keep == 0 else eps + keep * keep.ln()


def chernoff_keep(c: Decimal) -> Decimal:
    """Return 1 - ε for the ε with g(ε) = c: the largest kept fraction; 0 if c ≥ 1.

    u = 1 - ε solves 1 - u + u log u = c.  The left side is convex and decreasing, so Newton's
    iteration from a point below the root increases to it: g(ε) ≥ ε²/2 gives u ≥ 1 - √(2c), and
    u = (1 - c)²/4 is below as well.

    >>> round(chernoff_keep(chernoff_exponent(Decimal("0.75"))), 12)
    Decimal('0.250000000000')
    """
    if c >= 1:
        return Decimal(0)
    rest = 1 - c
    u = max(1 - (2 * c).sqrt(), rest * rest / 4)
    if u >= 1:
        return Decimal(1)
    tolerance = Decimal(10) ** (8 - decimal.getcontext().prec)
    while True:
        step = (rest - u + u * u.ln()) / -u.ln()
        u += step
        if step <= u * tolerance:
            return u


@dataclass(frozen=True, slots=True)
class Bounds:
    """The tail bounds at one k, each of which fails with probability at most e^{-ℓ}."""

    setting: Setting
    k: Decimal
    ell: Decimal
    """ℓ: what one event may fail with is e^{-ℓ}."""
    independent: bool = False
    """Whether the entries of V(0), not only its columns, are independent."""

    def upper_h(self) -> Decimal:
        """h₊ = C_φ + B1 √(2ℓ/k) ≥ h.

        h is B1/√k-Lipschitz in the Gaussian z, and E h ≤ (E h²)^½ = C_φ.
        """
        c = self.setting.constants
        return c.C_phi.high + c.B1.high * (2 * self.ell / self.k).sqrt()

    def lower_h(self) -> Decimal:
        """h₋ ≤ h, the larger of two bounds (0 where neither is positive).

        (E h)² = C_φ² - Var h ≥ C_φ² - B1²/k by Poincaré's inequality, and Gaussian
        concentration; or Σφ(z_i)² ≥ k C_φ² - √(2ℓ k E[φ⁴]), the lower tail of a sum of
        non-negative iid variables.
        """
        c, k, ell = self.setting.constants, self.k, self.ell
        square, b1 = c.C_phi.low**2, c.B1.high
        by_lipschitz = max(square - b1 * b1 / k, Decimal(0)).sqrt() - b1 * (2 * ell / k).sqrt()
        by_moments = square - (2 * ell * c.fourth_moment.high / k).sqrt()
        return max(by_lipschitz, max(by_moments, Decimal(0)).sqrt(), Decimal(0))

    def spread(self, grows: bool = True) -> Decimal:
        """ν with ‖x(0)‖ = ‖Vφ(z)‖/√k ≤ √n h ν, given z.

        E‖x(0)‖² = n h².  Bounded differences: column i moves the norm by at most
        2D√n |φ(z_i)|/√k, so ν = 1 + D√(2ℓ); Hoeffding's inequality in a Hilbert space (Pinelis):
        ν = D√(2(ℓ + log 2)); Cauchy-Schwarz: ν = D√k (left out unless `grows`).  Independent
        entries in addition: the norm is convex and h-Lipschitz in V (Talagrand),
        ν = 1 + 2D√(2ℓ/n); the quadratic form of sub-Gaussian entries (Hsu, Kakade, Zhang),
        ν² = D²(1 + 2√(ℓ/n) + 2ℓ/n).
        """
        big_d, ell, n = self.setting.D, self.ell, self.setting.n
        options = [1 + big_d * (2 * ell).sqrt(), big_d * (2 * (ell + Decimal(2).ln())).sqrt()]
        if grows:
            options.append(big_d * self.k.sqrt())
        if self.independent:
            options.append(1 + 2 * big_d * (2 * ell / n).sqrt())
            options.append(big_d * (1 + 2 * (ell / n).sqrt() + 2 * ell / n).sqrt())
        return min(options)

    def initial_signal(self, grows: bool = True) -> Decimal:
        """L_F √n h₊ ν ≥ ‖F(x(0))‖, as F(0) = 0."""
        s = self.setting
        return s.L_F * s.n.sqrt() * self.upper_h() * self.spread(grows)

    def kept_conditioning(self) -> Decimal:
        """Return 1 - ε with λ_min(J_W J_Wᵀ) ≥ (1 - ε) C_φ'², J_W the Jacobian in W; 0 if none.

        J_W J_Wᵀ = (1/k) Σ φ'(z_i)² V_i V_iᵀ has mean C_φ'² I and terms of norm at most
        B1² D² n/k; matrix Chernoff fails with probability n exp(-g(ε) k C_φ'²/(B1² D² n)).
        """
        s = self.setting
        return self.kept(s.n, s.D * s.D * s.n, Decimal(1))

    def kept(self, dimension: Decimal, square: Decimal, mass: Decimal) -> Decimal:
        """Matrix Chernoff in `dimension`, with ‖V_i‖² ≤ square and E V_i V_iᵀ ≥ mass · I."""
        c = self.setting.constants
        mean = mass * c.C_phi_prime.low**2
        needed = c.B1.high**2 * square * (dimension.ln() + self.ell)
        return chernoff_keep(needed / (self.k * mean)) if mean > 0 else Decimal(0)

    def row_norm(self) -> tuple[Decimal, Decimal]:
        """Return (b, τ): max ‖QV_i‖ ≤ b, and E QV_iV_iᵀQᵀ restricted to ‖QV_i‖ ≤ b is ≥ 1 - τ.

        Q projects on the row space of A, of dimension r, and the entries of V are independent.
        v -> ‖Qv‖ is convex and 1-Lipschitz with mean at most √r, so Talagrand's inequality gives
        P(‖QV_i‖ > √r + s) ≤ exp(-s²/(8D²)), which is e^{-ℓ}/k for s = 2D√(2(log k + ℓ)).  What is
        cut off weighs at most E[‖QV_i‖²; ‖QV_i‖ > b], by integration of that tail and by
        ‖QV_i‖² ≤ D² n.
        """
        s, share = self.setting, (-self.ell).exp() / self.k
        excess = 2 * s.D * (2 * (self.k.ln() + self.ell)).sqrt()
        b = s.rank.sqrt() + excess
        tail = b * b + 8 * s.D * s.D * (1 + s.rank.sqrt() / excess)
        return b, share * min(tail, s.D * s.D * s.n)


def least_integer(holds: Callable[[Decimal], bool]) -> tuple[int | None, float]:
    """Return the least k ≥ 1 with holds(k), and its decimal logarithm, for a monotone condition.

    The condition holds at k and fails at k - 1; beyond 10^50, k is rounded up in the 50th digit,
    and beyond 10^300 only the logarithm is returned, rounded up.

    >>> least_integer(lambda k: k * k > 200)
    (15, 1.1760912590556813)
    >>> least_integer(lambda k: k.log10() > 1000)[0] is None
    True
    """
    ten = Decimal(10)
    with decimal.localcontext(exactly()):
        if holds(Decimal(1)):
            return 1, 0.0
        high = ten
        while not holds(ten**high if high == high.to_integral_value() else (high * ten.ln()).exp()):
            high *= 2
            if high > _RANGE // 1000:
                raise OverflowError("no width below 10^(10^14) is enough")
        low = high / 2 if high > 10 else Decimal(0)
    if low >= LARGEST:
        with decimal.localcontext(exactly(60)):
            while high - low > high * Decimal("1e-14"):
                middle = (low + high) / 2
                low, high = (low, middle) if holds((middle * ten.ln()).exp()) else (middle, high)
            return None, float(high)
    below, above = (10 ** int(low) if low else 1), 10 ** int(high)
    with decimal.localcontext(exactly(GUARD + SIGNIFICANT + 10)):
        while above - below > max(1, below // 10**SIGNIFICANT):
            if above < 4 * below:
                middle = (below + above) // 2
            else:
                middle = 1 << ((below.bit_length() + above.bit_length()) // 2)
                middle = min(max(middle, below + 1), above - 1)
            below, above = (below, middle) if holds(Decimal(middle)) else (middle, above)
        logarithm = float(Decimal(above).log10())
    return (above if logarithm <= LARGEST else None), logarithm
