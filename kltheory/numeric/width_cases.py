"""A theorem applied to a problem: its least k, its constants, and what it says at a given k."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from kltheory.activation import Activation
from kltheory.constants import Constant, Constants, Evidence
from kltheory.errors import InputError
from kltheory.numeric.width_bounds import SIGNIFICANT, Bounds, exactly, least_integer
from kltheory.numeric.width_problem import WidthProblem
from kltheory.numeric.width_row import AtWidth, WidthRow
from kltheory.numeric.width_theorems import THEOREMS, Theorem, attainability

__all__ = ["Case", "Printed", "least_width", "printed_for", "theorems_for"]


@dataclass(frozen=True, slots=True)
class Case:
    """A theorem applied to a problem; all methods but `row` compute in the current context."""

    problem: WidthProblem
    theorem: Theorem

    def bounds(self, k: Decimal) -> Bounds:
        """Return the tail bounds at k, with p shared by the events of the theorem."""
        ell = (self.theorem.events / self.problem.failure).ln()
        return Bounds(self.problem.setting(), k, ell, self.theorem.independent)

    def start(self, bounds: Bounds) -> Decimal:
        """Bound ‖F(x(0))‖, or 0 where the initial error plays no part."""
        if self.theorem.attains:
            return Decimal(0)
        return bounds.initial_signal(grows=self.problem.loss.radial)

    def demand(self, start: Decimal, y: Decimal) -> Decimal:
        """Bound ψ(L_y(y(0))); for attainability ‖A⁺y‖σ_F ≤ ‖y‖."""
        if self.theorem.attains or self.problem.loss.radial:
            return start + y
        return self.problem.loss.bound(start + y, start + 2 * y)

    def needed(self, bounds: Bounds) -> Decimal:
        """Return the demand divided by σ_F: what S(k) must exceed."""
        if self.theorem.attains and self.problem.x_norm is not None:
            return self.problem.x_norm
        return self.demand(self.start(bounds), self.problem.y_norm) / self.problem.sigma_f

    def holds(self, k: Decimal) -> bool:
        """Say whether the condition on k is met."""
        bounds = self.bounds(k)
        supply = self.theorem.supply(bounds)
        return supply > 0 and bool(self.needed(bounds) < supply)

    def row(self) -> WidthRow:
        """Return the least k with everything that it is made of."""
        k: int | None = None
        logarithm, constants, reason = None, Constants(), self.refusal()
        if not reason:
            try:
                k, logarithm = least_integer(self.holds)
                with decimal.localcontext(exactly(60)):
                    exponent = Decimal(logarithm)
                    at = Decimal(k) if k is not None else (exponent * Decimal(10).ln()).exp()
                    constants = self.constants(at)
                if k is None:
                    reason = "k is beyond 10^300: only its logarithm is given, rounded up"
                elif k > 10**SIGNIFICANT:
                    reason = "sufficient, and least up to its 50th digit"
                else:
                    reason = "the least k: the condition holds at k and fails at k - 1"
            except InputError as error:  # ψ is not defined, or overflows, at this initial error
                reason = str(error)
        return WidthRow(
            theorem=self.theorem.name,
            theory=self.theorem.theory,
            k=k,
            log10_k=logarithm,
            constants=constants,
            probability=min(float(1 - self.problem.failure), math.nextafter(1.0, 0.0)),
            statement=self.theorem.statement,
            scaling=self.theorem.scaling,
            reason=reason,
            assumptions=self.theorem.assumptions,
        )

    def refusal(self) -> str:
        """Return why the theorem says nothing about this problem, or nothing."""
        if "n ≥ 2" in self.theorem.assumptions and self.problem.n < 2:
            return "the bound on the Lipschitz constant of the Jacobian needs n ≥ 2"
        if "convex loss" in self.theorem.assumptions and not self.problem.loss.convex:
            return f"the loss {self.problem.loss.name} is not convex (or not known to be)"
        return self.theorem.refusal

    def constants(self, k: Decimal) -> Constants:
        """Return the constants of the condition at this k, with their evidence."""
        p, b = self.problem, self.bounds(k)
        tail = float(1 - (-b.ell).exp())
        found = activation_constants(p.activation, fourth=self.theorem.train == "both")
        found |= _given(p)
        found["ell"] = Constant(
            float(b.ell), Evidence.PROVED, f"log({self.theorem.events}/p), for each tail"
        )
        if not self.theorem.attains:
            start = self.start(b)
            tails = {
                "h_plus": (b.upper_h(), "upper bound on h(0) = ‖φ(W(0)u)‖/√k"),
                "nu": (b.spread(p.loss.radial), "‖x(0)‖ ≤ √n h(0) ν"),
                "psi_bar": (self.demand(start, p.y_norm), "bound on ψ(L_y(y(0)))"),
            }
        else:
            tails = {"x_norm": (self.needed(b), "bound on ‖A⁺y‖")}
        for name, (value, meaning) in (tails | self.theorem.values(b)).items():
            found[name] = Constant(_finite(value), Evidence.PROBABILITY, meaning, tail)
        supply = self.theorem.supply(b) * (1 if self.theorem.attains else p.sigma_f)
        if supply.is_finite():
            found["certified"] = Constant(
                _finite(supply), Evidence.PROBABILITY, "largest admissible bound", tail
            )
        return Constants(found)

    def at(self, k: int) -> AtWidth:
        """Say whether the theorem holds at k, and what it could afford."""
        p, refusal = self.problem, self.refusal()
        bounds = self.bounds(Decimal(k))
        supply = Decimal(0) if refusal else self.theorem.supply(bounds)
        try:
            needed = self.needed(bounds)
        except InputError as error:
            refusal, supply, needed = str(error), Decimal(0), Decimal(0)
        if supply <= 0:
            reason = refusal or "certifies nothing at this k: too few neurons for its tail bounds"
            return self.verdict(False, Decimal(0), None, None, reason)
        margin = supply / needed if needed and supply.is_finite() else Decimal("Infinity")
        if not supply.is_finite() or (self.theorem.attains and p.x_norm is not None):
            largest, smallest = None, None
        else:
            largest = self.largest_y(bounds, p.sigma_f * supply)
            smallest = needed * p.sigma_f / supply
        holds = bool(needed < supply)
        comparison = f"{_short(needed * p.sigma_f)} {'<' if holds else '≥'} "
        comparison += f"{_short(supply * p.sigma_f)}, what k = {k} neurons certify"
        return self.verdict(holds, margin, largest, smallest, comparison)

    def largest_y(self, bounds: Bounds, certified: Decimal) -> Decimal | None:
        """Return the supremum of the ‖y‖ with demand < certified; None if there is none."""
        start = self.start(bounds)
        if self.theorem.attains or self.problem.loss.radial:
            return certified - start if certified > start else None
        return _largest(lambda y: self.demand(start, y) < certified)

    def verdict(
        self,
        holds: bool,
        margin: Decimal,
        largest: Decimal | None,
        smallest: Decimal | None,
        reason: str,
    ) -> AtWidth:
        """Return the answer at a k, rounded to the safe side."""
        return _verdict(
            self.problem,
            (self.theorem.name, self.theorem.theory),
            holds,
            margin,
            largest,
            smallest,
            reason,
        )


def _verdict(
    problem: WidthProblem,
    name: tuple[str, str],
    holds: bool,
    margin: Decimal,
    largest: Decimal | None,
    smallest: Decimal | None,
    reason: str,
) -> AtWidth:
    if smallest is not None and smallest > problem.norm_f:
        smallest = None
    noise = None
    if largest is not None and problem.x_inf is not None:
        noise = largest / Decimal(problem.m).sqrt() - problem.x_inf
    return AtWidth(
        theorem=name[0],
        theory=name[1],
        holds=holds,
        margin=_finite(margin) if margin.is_finite() else None,
        largest_y_norm=None if largest is None else _down(largest),
        largest_noise=None if noise is None or noise < 0 else _down(noise),
        smallest_sigma_f=None if smallest is None else _up(smallest),
        reason=reason,
    )


def _largest(holds: Callable[[Decimal], bool]) -> Decimal | None:
    """Return the largest y ≥ 0 (to 15 digits) at which a condition that y can only break holds."""
    if not holds(Decimal(0)):
        return None
    low, high = Decimal(0), Decimal(1)
    while holds(high) and high < Decimal("1e120"):
        low, high = high, 10 * high
    while high - low > high * Decimal("1e-16") and high > Decimal("1e-120"):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _finite(value: Decimal) -> float:
    """Return a float; what is beyond the floats is the largest float."""
    return max(min(float(value), 1.7e308), -1.7e308)


def _down(value: Decimal) -> float:
    return math.nextafter(_finite(value), -math.inf) if value else 0.0


def _up(value: Decimal) -> float:
    return math.nextafter(_finite(value), math.inf)


def _short(value: Decimal) -> str:
    return f"{value:.4g}" if value.is_finite() else "∞"


def activation_constants(activation: Activation, fourth: bool) -> dict[str, Constant]:
    """Return B1, B2, C_φ, C_φ' (and E[φ⁴]) with their evidence."""
    c = activation.constants
    named = {
        "B1": (c.B1.upper, "sup|φ'|: " + c.B1.evidence),
        "B2": (c.B2.upper, "Lip(φ'): " + c.B2.evidence),
        "C_phi": (c.C_phi.value, "E[φ(X)²]^½: " + c.C_phi.evidence),
        "C_phi_prime": (c.C_phi_prime.value, "E[φ'(X)²]^½: " + c.C_phi_prime.evidence),
    }
    if fourth:
        named["fourth_moment"] = (c.fourth_moment.value, "E[φ(X)⁴]: " + c.fourth_moment.evidence)
    proved = Evidence.PROVED if activation.proved else Evidence.SAMPLED
    return {name: Constant(value, proved, meaning) for name, (value, meaning) in named.items()}


def _given(problem: WidthProblem) -> dict[str, Constant]:
    named = {
        "D": (problem.entry_bound, "bound on the entries of V(0)"),
        "sigma_F": (problem.sigma_f, "σ_F, given"),
        "L_F": (problem.norm_f, "L_{F,0}, given"),
        "y_norm": (problem.y_norm, "bound on ‖y‖"),
        "p": (problem.failure, "failure probability, given"),
    }
    return {
        name: Constant(_finite(value), Evidence.ASSUMED, text)
        for name, (value, text) in named.items()
    }


def theorems_for(problem: WidthProblem) -> tuple[Theorem, ...]:
    """Return the theorems for the layers that are trained and the activation of the problem."""
    found = tuple(theorem for theorem in THEOREMS if theorem.train == problem.train)
    if problem.train == "hidden":
        found += attainability(problem.activation)
    return found


def least_width(problem: WidthProblem, theorem: Theorem) -> tuple[int | None, float]:
    """Return the least k (None beyond 10^300) of one theorem, and its logarithm."""
    return least_integer(Case(problem, theorem).holds)


# -- as printed ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Printed:
    """Theorem 4.1 (q = 4) or B.1 (q = 2): k ≥ C' σ_F^-q n ψ(L_L/2 (C L_F √(n log d) + ‖y‖)²)^q.

    As the text has it; see E19 in `kltheory audit E19`.
    """

    problem: WidthProblem
    name: str
    power: int

    def start(self) -> Decimal:
        """C L_F √(n log d)."""
        p = self.problem
        return p.C * p.norm_f * (p.n * Decimal(p.d).ln()).sqrt()

    def psi(self, y: Decimal) -> Decimal:
        """ψ(L_L/2 ρ²), L_L over the v with ‖v‖ ≤ ρ = start + ‖y‖: ‖v - y‖ ≤ start + 2‖y‖."""
        return self.problem.loss.bound(self.start() + y, self.start() + 2 * y)

    def needed(self) -> Decimal:
        """Return the right-hand side of the condition on k."""
        p = self.problem
        return p.C_prime * p.n * (self.psi(p.y_norm) / p.sigma_f) ** self.power

    def probability(self) -> float:
        """1 - 1/n - 1/d, or 0."""
        p = self.problem
        return max(0.0, 1 - 1 / p.n - 1 / p.d)

    def row(self) -> WidthRow:
        """Return the least k with everything that it is made of."""
        p = self.problem
        reason = f"C = {p.C}, C' = {p.C_prime}; the theorem says that such constants exist"
        if self.probability() <= 0:
            reason += "; vacuous: 1 - 1/n - 1/d is not positive"
        k: int | None = None
        logarithm, constants = None, _given(p)
        with decimal.localcontext(exactly(400)):
            try:
                needed = self.needed()
            except InputError as error:
                reason = str(error)
            else:
                logarithm = max(float(needed.log10()), 0.0) if needed else 0.0
                k = _ceiling(needed) if logarithm <= 300 else None
                for name, value, text in (
                    ("C", p.C, "C of the theorem"),
                    ("C_prime", p.C_prime, "C' of the theorem"),
                    ("d", Decimal(p.d), "size of the input"),
                    ("rho", self.start() + p.y_norm, "C L_F √(n log d) + ‖y‖"),
                    ("psi", self.psi(p.y_norm), "ψ(L_L ρ²/2)"),
                ):
                    constants[name] = Constant(_finite(value), Evidence.ASSUMED, text)
        both = self.power == 4
        return WidthRow(
            theorem=self.name,
            theory="printed",
            k=k,
            log10_k=logarithm,
            constants=Constants(constants),
            probability=self.probability(),
            statement="(8), R' < R, holds, as printed",
            scaling=(
                "n (n + m)^2 σ_F^-4 for the square loss; the text says n^3 m^2"
                if both
                else "n (n + m) σ_F^-2 for the square loss; the text says n^2 m"
            ),
            reason=reason,
            assumptions=("A-1", "A-3", "A-5", "A-6", "A-8", "A-9", "A-10"),
        )

    def at(self, k: int) -> AtWidth:
        """Say whether the theorem holds at k, and what it could afford."""
        p, name = self.problem, (self.name, "printed")
        certified = p.sigma_f * (Decimal(k) / (p.C_prime * p.n)) ** (Decimal(1) / self.power)
        try:
            psi = self.psi(p.y_norm)
            holds = Decimal(k) >= self.needed() * (1 - Decimal("1e-40"))
            largest = _largest(lambda y: self.psi(y) <= certified)
        except InputError as error:
            return _verdict(p, name, False, Decimal(0), None, None, str(error))
        margin = certified / psi if psi else Decimal("Infinity")
        sign = "≤" if holds else ">"
        reason = f"{_short(psi)} {sign} {_short(certified)} with C = {p.C}, C' = {p.C_prime}"
        return _verdict(p, name, holds, margin, largest, psi * p.sigma_f / certified, reason)


def _ceiling(value: Decimal) -> int:
    """Round up to a whole number ≥ 1, after taking 40 digits for an equality."""
    nearest = value.to_integral_value()
    if abs(value - nearest) <= abs(value) * Decimal("1e-350"):
        return max(int(nearest), 1)
    return max(int(value.to_integral_value(rounding=decimal.ROUND_CEILING)), 1)


def printed_for(problem: WidthProblem) -> tuple[Printed, ...]:
    """Return the printed theorem for the layers that are trained."""
    both = problem.train == "both"
    return (Printed(problem, "4.1", 4) if both else Printed(problem, "B.1", 2),)
