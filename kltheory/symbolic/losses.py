"""From a loss to its desingularizing function ψ: a registry, and ψ derived from what is known.

A loss of the registry has its ψ by the proof line beside it.  Where only a property of the loss is
known, ψ follows from it as a curve s = S(x), ψ = P(x), so that no function need be inverted:

    radial     L = ℓ(‖v - y‖)                        S = ℓ          P = x, with equality in (4)
    growth     convex, L >= φ(dist(v, Argmin L))     S = φ          P' = x φ'/φ     (Example 2.3)
    uniform    convex with modulus φ, see (6)        S = x φ' - φ   P' = x φ''/φ'   (Example 2.4)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import sympy as sp
from sympy import S

from kltheory.errors import InputError, LimitReached, NotDesingularizing, brief
from kltheory.symbolic.desingularizer import Check, Desingularizer, Piece, exact
from kltheory.symbolic.evaluate import EvaluationError, compile_expr
from kltheory.symbolic.integral import integral_from_zero
from kltheory.symbolic.inverse import peel
from kltheory.symbolic.parse import parse, to_text
from kltheory.symbolic.primitive_of import primitive_from_zero
from kltheory.symbolic.verify import inverse_holds

__all__ = [
    "Loss",
    "Parameter",
    "from_growth",
    "from_radial",
    "from_strong_convexity",
    "from_uniform_convexity",
    "loss",
    "losses",
]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a loss, and the numbers that it may be."""

    name: str
    """Its name in formulas and in `loss(...)`."""
    meaning: str
    """What it is."""
    default: str | None = None
    """The value that is taken if none is given; None leaves a symbol."""
    least: Fraction = Fraction(0)
    """Lower end of the allowed range."""
    least_allowed: bool = False
    """True if the lower end itself is allowed."""
    most: Fraction | None = None
    """Upper end of the allowed range, itself allowed; None for no bound."""

    @property
    def allowed(self) -> str:
        """The range in words: "p >= 0"."""
        lower = f"{self.name} {'>=' if self.least_allowed else '>'} {self.least}"
        return lower if self.most is None else f"{lower} and {self.name} <= {self.most}"

    def check(self, value: Any, loss_name: str) -> sp.Expr:
        """`value` as an exact number in the range."""
        number = (
            sp.Rational(value.numerator, value.denominator)
            if isinstance(value, Fraction)
            else value
        )
        number = exact(number, self.name)
        low = (
            number >= _rational(self.least)
            if self.least_allowed
            else number > _rational(self.least)
        )
        fits = low is S.true and number is not S.Infinity
        if not fits or not (self.most is None or (number <= _rational(self.most)) is S.true):
            raise InputError(
                f"loss {loss_name}: {self.name} = {brief(value)} is given; it must be "
                f"{self.allowed}"
            )
        return number


def _rational(value: Fraction) -> sp.Rational:
    return sp.Rational(value.numerator, value.denominator)


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss and its desingularizing function; r = v - y is the residual, ρ = ‖r‖."""

    name: str
    """The name that `loss` and the command line know."""
    formula: str
    """L_y(v)."""
    psi: str | None
    """ψ as text in s and the parameters; None if there is none."""
    alpha: str | None
    """The Łojasiewicz exponent near 0: ψ(s) ~ c s^α."""
    valid_on: str
    """Where the inequality (4) holds."""
    convex: bool
    """Whether the loss is convex."""
    proof: str
    """Why (4) holds, in a line."""
    notes: str = ""
    """What else the reader should know."""
    parameters: tuple[Parameter, ...] = ()
    """What ψ depends on."""
    smooth: bool = True
    """Whether the gradient can be locally Lipschitz (A-1)."""
    refusal: str | None = None
    """Why `loss` does not build it."""

    @property
    def formula_latex(self) -> str:
        """L_y(v) in LaTeX."""
        return _LATEX[self.name]

    @property
    def psi_latex(self) -> str | None:
        """ψ(s) in LaTeX; None if there is none."""
        if self.psi is None:
            return None
        if self.name == "radial":
            return r"\ell^{-1}(s)"
        found: str = sp.latex(parse(self.psi, "s").expr)
        return found

    def desingularizer(self, **values: Any) -> Desingularizer:
        """ψ with these values of the parameters; those that are not given stay symbols."""
        if self.refusal is not None or self.psi is None:
            raise NotDesingularizing(f"loss {self.name}: {self.refusal}")
        known = {q.name: q for q in self.parameters}
        for name in values:
            if name not in known:
                allowed = ", ".join(known) or "none"
                raise InputError(
                    f"loss {self.name} has no parameter {name}; its parameters are: {allowed}"
                )
        given: dict[str, sp.Expr | None] = {}
        for q in self.parameters:
            value = values.get(q.name, q.default)
            given[q.name] = None if value is None else q.check(value, self.name)
        source = f"loss: {self.name}"
        warnings = () if self._smooth_for(given) else (_NOT_SMOOTH,)
        if any(v is None for v in given.values()):
            found = parse(self.psi, "s", parameters=given)
            return _proved(found.variable, found.expr, source, self.proof, warnings)
        expr = parse(self.psi, "s", parameters=given).expr
        d = Desingularizer.from_psi(expr, source=source)
        return _with(d, warnings=(*d.warnings, *warnings))

    def _smooth_for(self, given: Mapping[str, sp.Expr | None]) -> bool:
        alpha = given.get("alpha")
        return self.smooth and not (alpha is not None and alpha > sp.Rational(1, 2))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "formula": self.formula,
            "formula_latex": self.formula_latex,
            "psi": self.psi,
            "psi_latex": self.psi_latex,
            "alpha": self.alpha,
            "valid_on": self.valid_on,
            "convex": self.convex,
            "smooth": self.smooth,
            "parameters": [
                {"name": q.name, "meaning": q.meaning, "default": q.default, "allowed": q.allowed}
                for q in self.parameters
            ],
            "notes": self.notes,
            "proof": self.proof,
            "refusal": self.refusal,
        }


_NOT_SMOOTH = (
    "a loss with this ψ cannot have a locally Lipschitz gradient (A-1): then s ψ'(s)² would stay"
    " above a positive constant; only such losses vanish in finite time"
)


def _proved(
    s: sp.Symbol, psi: sp.Expr, source: str, proof: str, warnings: tuple[str, ...]
) -> Desingularizer:
    """c s^α with symbols, c > 0 and α > 0 in the whole range of the parameters."""
    psi = sp.expand_power_base(psi, force=True)  # all symbols are positive
    if psi.as_independent(s, as_Add=False)[1].as_base_exp()[0] != s:
        raise InputError(f"{source}: ψ = {to_text(psi)} needs numbers for its parameters")
    check = Check("ψ' > 0 on ]0, r0[", f"proved for all allowed parameters: {proof}")
    piece = Piece(S.Zero, S.Infinity, s, psi)
    return Desingularizer(s, s, psi, S.Infinity, source, warnings, (check,), (piece,))


def _with(d: Desingularizer, **changes: Any) -> Desingularizer:
    import dataclasses

    return dataclasses.replace(d, **changes) if changes else d


# ---------------------------------------------------------------------------------------------
# The registry

_LATEX = {
    "mse": r"\frac12\|r\|^2",
    "squared-norm": r"\|r\|^2",
    "mean-squared": r"\frac1m\|r\|^2",
    "weighted-mse": r"\frac12 r^\top\Lambda r",
    "lojasiewicz": r"\|\nabla L\| \ge \frac{L^{1-\alpha}}{c\alpha}",
    "pl": r"\|\nabla L\|^2 \ge 2\mu L",
    "strongly-convex": r"\mu\text{-strongly convex}",
    "radial": r"\ell(\|r\|)",
    "power": r"\frac{\|r\|^{2p+2}}{2p+2}",
    "separable-power": r"\frac1p\sum_i|r_i|^p",
    "huber": r"\frac12\|r\|^2\ (\|r\|\le\delta),\quad \delta\|r\|-\frac{\delta^2}2",
    "log-cosh": r"\sum_i\log\cosh r_i",
    "pseudo-huber": r"\sum_i\delta^2\Big(\sqrt{1+(r_i/\delta)^2}-1\Big)",
    "cauchy": r"\frac12\log(1+\|r\|^2)",
    "welsch": r"1-e^{-\|r\|^2/2}",
    "uniformly-convex": r"\text{uniformly convex, } \varphi(x)=\frac{\mu}{p}x^p",
    "growth-power": r"\text{convex, } L\ge\frac{\mu}{p}\,\mathrm{dist}(v,\mathrm{Argmin}\,L)^p",
    "kl-softmax": r"\mathrm{KL}(p\,\|\,\mathrm{softmax}(v))",
    "poisson": r"\sum_i v_i-y_i+y_i\log\frac{y_i}{v_i}",
    "norm": r"\|r\|",
    "logistic": r"\sum_i\log(1+e^{-z_i})",
    "cross-entropy": r"-\log\mathrm{softmax}(v)_j",
}

_MU = Parameter("mu", "the constant μ")
_REGISTRY = (
    Loss(
        "mse",
        "½‖r‖²",
        "sqrt(2*s)",
        "1/2",
        "everywhere",
        True,
        "‖∇L‖² = ‖r‖² = 2L, with equality in (4)",
        "ψ(L) = ‖r‖",
    ),
    Loss("squared-norm", "‖r‖²", "sqrt(s)", "1/2", "everywhere", True, "‖∇L‖² = 4‖r‖² = 4L"),
    Loss(
        "mean-squared",
        "(1/m)‖r‖²",
        "sqrt(m*s)",
        "1/2",
        "everywhere",
        True,
        "‖∇L‖² = 4‖r‖²/m² = 4L/m",
        "ψ(L) = ‖r‖",
        (Parameter("m", "the number of observations", None, Fraction(1), True),),
    ),
    Loss(
        "weighted-mse",
        "½ rᵀΛr",
        "sqrt(2*s/lambda_min)",
        "1/2",
        "everywhere",
        True,
        "‖Λr‖² >= λ_min rᵀΛr = 2 λ_min L",
        "Λ symmetric positive definite",
        (Parameter("lambda_min", "the smallest eigenvalue of Λ"),),
    ),
    Loss(
        "lojasiewicz",
        "any with ‖∇L‖ >= L^(1-α)/(cα)",
        "c*s**alpha",
        "alpha",
        "as assumed",
        False,
        "ψ'(s) = cα s^(α-1), so (4) is the assumption itself",
        "A-1 forces α <= 1/2",
        (
            Parameter("alpha", "the Łojasiewicz exponent", None, Fraction(0), False, Fraction(1)),
            Parameter("c", "the constant c"),
        ),
    ),
    Loss(
        "pl",
        "any with ‖∇L‖² >= 2μL",
        "sqrt(2*s/mu)",
        "1/2",
        "everywhere",
        False,
        "ψ'(s) = 1/√(2μs), so (4) is the assumption itself",
        "Polyak-Łojasiewicz inequality; convexity is not needed",
        (_MU,),
    ),
    Loss(
        "strongly-convex",
        "μ-strongly convex, min L = 0",
        "sqrt(2*s/mu)",
        "1/2",
        "everywhere",
        True,
        "minimise both sides of (6) with φ = μx²/2 in x: L <= ‖∇L‖²/(2μ)",
        "",
        (_MU,),
    ),
    Loss(
        "radial",
        "ℓ(‖r‖)",
        "ℓ⁻¹(s)",
        "any",
        "the range of ℓ",
        False,
        "ψ'(L)‖∇L‖ = (1/ℓ'(ρ)) ℓ'(ρ) = 1, with equality in (4)",
        "ψ(L) = ‖r‖, the smallest ψ(L) that is possible where y is the only minimiser",
        refusal='ℓ must be given: from_radial("x**2/2"), or --radial "x**2/2"',
    ),
    Loss(
        "power",
        "‖r‖^(2p+2)/(2p+2)",
        "((2*p+2)*s)**(1/(2*p+2))",
        "1/(2*p+2)",
        "everywhere",
        True,
        "radial, ψ = ℓ⁻¹, with equality in (4)",
        "the losses of the paper's Section 5; p = 0 is mse",
        (Parameter("p", "the exponent", None, Fraction(0), True),),
    ),
    Loss(
        "separable-power",
        "(1/p)Σ|r_i|^p",
        "m**((p-2)/(2*p))*(p*s)**(1/p)",
        "1/p",
        "everywhere",
        True,
        "power means: (Σ|r_i|^(2p-2)/m)^(1/(2p-2)) >= (Σ|r_i|^p/m)^(1/p), equality for equal |r_i|",
        "the constant grows with m",
        (
            Parameter("p", "the exponent", None, Fraction(2), True),
            Parameter("m", "the number of observations", None, Fraction(1), True),
        ),
    ),
    Loss(
        "huber",
        "ρ²/2 for ρ <= δ, δρ - δ²/2 beyond",
        "Piecewise((sqrt(2*s), s <= delta**2/2), (delta/2 + s/delta, True))",
        "1/2",
        "everywhere",
        True,
        "radial, ψ = ℓ⁻¹, with equality in (4)",
        "in two pieces",
        (Parameter("delta", "where the loss becomes linear", "1"),),
    ),
    Loss(
        "log-cosh",
        "Σ log cosh r_i",
        "acosh(exp(s))",
        "1/2",
        "everywhere",
        True,
        "tanh²r = g(log cosh r) with g(a) = 1 - e^(-2a) concave, g(0) = 0, so Σg(a_i) >= g(Σa_i)",
        "equality when one r_i alone is not 0",
    ),
    Loss(
        "pseudo-huber",
        "Σ δ²(√(1+(r_i/δ)²) - 1)",
        "sqrt(2*s + s**2/delta**2)",
        "1/2",
        "everywhere",
        True,
        "h'² = g(h) with g(a) = δ²(1 - (1+a/δ²)^(-2)) concave, g(0) = 0, so Σg(h_i) >= g(Σh_i)",
        "equality when one r_i alone is not 0",
        (Parameter("delta", "where the loss bends from quadratic to linear", "1"),),
    ),
    Loss(
        "cauchy",
        "½ log(1 + ‖r‖²)",
        "sqrt(exp(2*s) - 1)",
        "1/2",
        "everywhere",
        False,
        "radial, ψ = ℓ⁻¹, with equality in (4)",
    ),
    Loss(
        "welsch",
        "1 - exp(-‖r‖²/2)",
        "sqrt(-2*log(1 - s))",
        "1/2",
        "s < 1",
        False,
        "radial, ψ = ℓ⁻¹, with equality in (4)",
        "bounded: r0 = 1",
    ),
    Loss(
        "uniformly-convex",
        "uniformly convex with modulus (μ/p)x^p",
        "p*((p-1)/p)**((p-1)/p)*mu**(-1/p)*s**(1/p)",
        "1/p",
        "everywhere",
        True,
        "Example 2.4 corrected: L <= φ₊(‖∇L‖), φ₊(a) = sup_x (ax - φ(x)), so ψ' = 1/φ₊⁻¹",
        "ψ = p q^(-1/q) μ^(-1/p) s^(1/p), 1/p + 1/q = 1; p < 2 is impossible on a whole space",
        (Parameter("p", "the exponent", None, Fraction(2), True), _MU),
    ),
    Loss(
        "growth-power",
        "convex, L >= (μ/p) dist(v, Argmin L)^p",
        "p*(p*s/mu)**(1/p)",
        "1/p",
        "where the growth condition holds",
        True,
        "Example 2.3: L <= ‖∇L‖ dist <= ‖∇L‖ φ⁻¹(L), so ψ'(s) = φ⁻¹(s)/s",
        "a factor p more than radial losses need",
        (Parameter("p", "the exponent", None, Fraction(1), True), _MU),
    ),
    Loss(
        "kl-softmax",
        "KL(p ‖ softmax(v)), cross-entropy minus entropy",
        "2*sqrt(s/q_min)",
        "1/2",
        "where softmax(v)_i >= q_min for all i",
        True,
        "KL(p‖q) <= Σ(p_i-q_i)²/q_i <= ‖∇L‖²/q_min, ∇L = q - p",
        "the minimisers form a line; all p_i > 0, else the infimum is not attained",
        (Parameter("q_min", "a lower bound on all q_i", None, Fraction(0), False, Fraction(1)),),
    ),
    Loss(
        "poisson",
        "Σ v_i - y_i + y_i log(y_i/v_i)",
        "2*sqrt(v_max*s)",
        "1/2",
        "0 < v_i <= v_max",
        True,
        "log u <= u - 1 with u = y/v: L_i <= v_i (1-u_i)² <= v_max (∂_i L)²",
        "on [L < r0]: v_max = max y_i t_i, where t_i - 1 - log t_i = r0/y_i and t_i > 1",
        (Parameter("v_max", "an upper bound on all v_i"),),
    ),
    Loss(
        "norm",
        "‖r‖",
        "s",
        "1",
        "everywhere but at r = 0",
        True,
        "‖∇L‖ = 1",
        "not differentiable at y: the loss is 0 after a finite time, which A-1 excludes",
        smooth=False,
    ),
    Loss(
        "logistic",
        "Σ log(1 + exp(-z_i))",
        None,
        None,
        "nowhere",
        True,
        "at z → ∞ the gradient tends to 0 with the loss and no point attains the infimum",
        refusal="its infimum 0 is not attained, so A-3 fails and the trajectory goes to infinity;"
        " use kl-softmax with soft labels, or mse",
    ),
    Loss(
        "cross-entropy",
        "-log softmax(v)_j, a hard label j",
        None,
        None,
        "nowhere",
        True,
        "at v_j → ∞ the gradient tends to 0 with the loss and no point attains the infimum",
        refusal="with hard labels its infimum 0 is not attained, so A-3 fails and the trajectory"
        " goes to infinity; use kl-softmax with soft labels, or mse",
    ),
)


def losses() -> tuple[Loss, ...]:
    """The registry of losses, each with its ψ and the reason for it.

    >>> [q.name for q in losses()][:3]
    ['mse', 'squared-norm', 'mean-squared']
    """
    return _REGISTRY


def find(name: str) -> Loss:
    """The loss of that name.

    Raises `InputError`, with the nearest names, if there is none.
    """
    known = {q.name: q for q in _REGISTRY}
    found = known.get(str(name).strip().lower().replace("_", "-"))
    if found is None:
        near = difflib.get_close_matches(str(name).lower(), known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(
            f"there is no loss {str(name)[:40]!r}; {hint}the losses are: {', '.join(known)}"
        )
    return found


def loss(name: str, **params: Any) -> Desingularizer:
    """The desingularizing function ψ of a loss of the registry.

    `params` are numbers (exact as text or fraction); a parameter without a value stays a symbol or
    takes its default, see `losses()`.  Raises `InputError` for an unknown name or a number out of
    range, `NotDesingularizing` with the reason for a loss that has no ψ.

    >>> loss("power", p="0.5").value
    3**(1/3)*s**(1/3)
    >>> loss("lojasiewicz", alpha="1/2").parameters
    (c,)
    """
    return find(name).desingularizer(**params)


def described(d: Desingularizer) -> dict[str, str]:
    """ψ as text and as LaTeX, and r0 as text.

    >>> described(loss("mse"))["latex"]
    '\\\\sqrt{2} \\\\sqrt{s}'
    """
    return {"expr": to_text(d.value), "latex": sp.latex(d.value), "radius": to_text(d.radius)}


# ---------------------------------------------------------------------------------------------
# ψ derived from a property of the loss


def from_radial(
    profile: str, *, radius: Any = None, parameters: Mapping[str, Any] | None = None
) -> Desingularizer:
    """ψ = ℓ⁻¹ of L_y(v) = ℓ(‖v - y‖), with equality in (4); `profile` is ℓ as text in x.

    Statement: if ℓ(0) = 0 and ℓ' > 0 on ]0, ∞[ then ψ'(L)‖∇L‖ = 1.  No other ψ gives a smaller
    ψ(L), for ψ(L) >= dist(v, Argmin L) always.

    >>> from_radial("x**2/2").value
    sqrt(2)*sqrt(s)
    >>> print(from_radial("exp(x)-1-x"))
    s = -x + exp(x) - 1, ψ = x, x > 0
    """
    x, ell, warnings = _read(profile, "ℓ", parameters)
    if _limit_at_zero(ell, x) == "zero":
        _require_positive(
            sp.diff(ell, x),
            ell,
            x,
            f"ℓ = {to_text(ell)} decreases at x = {{where}}, and then L is small also far from y;"
            " where ‖v - y‖ is known to be smaller, give ψ itself with its radius",
        )
    if _limit_at_zero(sp.diff(ell, x), x) != "zero":
        warnings = (*warnings, f"ℓ = {to_text(ell)} has no derivative 0 at 0: {_NOT_SMOOTH}")
    return _curve(x, ell, x, radius, f"radial: {profile}", warnings)


def from_growth(
    phi: str, *, radius: Any = None, parameters: Mapping[str, Any] | None = None
) -> Desingularizer:
    """ψ of a convex loss with L >= φ(dist(v, Argmin L)) (Example 2.3); `phi` is φ as text in x.

    Statement: ψ(s) = ∫_0^s φ⁻¹(τ)/τ dτ; with τ = φ(x) this is ψ(φ(x)) = ∫_0^x ξ φ'(ξ)/φ(ξ) dξ.
    Assumes: L convex and differentiable, φ increasing, φ(0) = 0, and the integral finite.
    Raises `NotDesingularizing` where it is infinite (an exponentially flat φ).

    >>> from_growth("x**2/2").value
    2*sqrt(2)*sqrt(s)
    >>> from_growth("exp(-1/x)")
    Traceback (most recent call last):
    ...
    kltheory.errors.NotDesingularizing: φ = exp(-1/x) is too flat at 0: ∫ φ⁻¹(s)/s ds is infinite...
    """
    x, expr, warnings = _read(phi, "φ", parameters)
    slope = sp.diff(expr, x)
    for part in (expr, slope):
        _require_positive(
            part,
            expr,
            x,
            f"φ = {to_text(expr)} does not increase from 0 at x = {{where}}: the distance to the"
            " minimisers is then not bounded by the loss",
        )
    f = x * slope / expr
    value = _integral(x, f, expr, [expr, sp.exp(x)], "φ⁻¹(s)/s", "φ' > 0")
    return _integrated(x, expr, value, f, radius, f"growth: {phi}", warnings)


def from_uniform_convexity(
    phi: str, *, radius: Any = None, parameters: Mapping[str, Any] | None = None
) -> Desingularizer:
    """ψ of a uniformly convex loss with modulus φ (Example 2.4, corrected); `phi` as text in x.

    Statement: ψ' = 1/φ₊⁻¹ with the monotone conjugate φ₊(a) = sup_x (ax - φ(x)) (the paper's text
    has 1/φ₊: `kltheory audit E5`).  With a = φ'(x): s = φ₊(a) = x φ' - φ and
    ψ = ∫_0^x ξ φ''(ξ)/φ'(ξ) dξ.
    Assumes: φ is C², strictly convex, φ(0) = φ'(0) = 0.  If φ'(∞) is finite, ψ has a finite radius.
    Raises `NotDesingularizing` where φ is not such, where no function has this modulus
    (φ(x)/x² → ∞ at 0), and where ψ would be infinite.

    >>> from_uniform_convexity("x**4/4").value  # 4 (3/4)^(3/4) s^(1/4)
    sqrt(2)*3**(3/4)*s**(1/4)
    >>> from_uniform_convexity("x**1.5")
    Traceback (most recent call last):
    ...
    kltheory.errors.NotDesingularizing: no differentiable function has the modulus φ = x**(3/2)...
    """
    x, expr, warnings = _read(phi, "φ", parameters)
    if _limit_at_zero(expr / x**2, x) == "infinite":
        raise NotDesingularizing(
            f"no differentiable function has the modulus φ = {to_text(expr)}: φ(x)/x² is unbounded"
            " at 0, and N steps along a segment would make its gradients differ without bound;"
            " take φ ~ x^p with p >= 2"
        )
    slope = sp.diff(expr, x)
    second = sp.diff(slope, x)
    loss_ = sp.expand(x * slope - expr)
    simple = sp.simplify(loss_) if sp.count_ops(loss_) < 60 else loss_
    f = x * second / slope
    value = _integral(x, f, expr, [slope, sp.exp(x)], "1/φ₊⁻¹(s)", "φ'' > 0")
    for part in (slope, second):
        _require_positive(
            part,
            expr,
            x,
            f"φ = {to_text(expr)} is not increasing and convex at x = {{where}}; a smaller φ that"
            " is will do",
        )
    return _integrated(x, simple, value, f, radius, f"uniform convexity: {phi}", warnings)


def from_strong_convexity(mu: Any) -> Desingularizer:
    """ψ(s) = √(2s/μ) of a μ-strongly convex loss, or one with ‖∇L‖² >= 2μL.

    >>> from_strong_convexity(2).value
    sqrt(s)
    """
    return find("strongly-convex").desingularizer(mu=mu)


def _read(
    text: str, letter: str, parameters: Mapping[str, Any] | None
) -> tuple[sp.Symbol, sp.Expr, tuple[str, ...]]:
    """The function of x that a text writes."""
    values = {k: None if v is None else exact(_plain(v), k) for k, v in (parameters or {}).items()}
    parsed = parse(text, "x", parameters=values)
    kinds = (sp.Piecewise, sp.Min, sp.Max, sp.Abs, sp.sign, sp.Heaviside)
    if parsed.expr.has(*kinds):
        raise InputError(
            f"{letter} = {text} is in pieces; give one smooth expression, or ψ itself by --psi"
        )
    return parsed.variable, parsed.expr, parsed.warnings


def _plain(value: Any) -> Any:
    return sp.Rational(value.numerator, value.denominator) if isinstance(value, Fraction) else value


def _samples(expr: sp.Expr, x: sp.Symbol) -> dict[sp.Symbol, sp.Expr]:
    """Values of the parameters at which identities are tested; above 2: x^p is a modulus then."""
    names = sorted(expr.free_symbols - {x}, key=lambda q: str(q.name))
    return {q: sp.Rational(17 + 4 * i, 7 + i) for i, q in enumerate(names)}


def _program(expr: sp.Expr, x: sp.Symbol) -> Callable[[Any], Any]:
    """y -> expr at x = e^{-y}, or None where it has no real value."""
    program = compile_expr(expr.subs(_samples(expr, x)), x)
    ctx = mpmath.MPContext()
    ctx.prec = 120

    def at(y: Any) -> Any:
        try:
            return program.at_exp(ctx, ctx.mpf(y))
        except (EvaluationError, ArithmeticError, ValueError):
            return None

    return at


_GRID = (10**6, 10**4, *range(690, 40, -50), *(k / 4 for k in range(160, -161, -1)))
"""y = -log x of the points where signs are looked at, from small x to large."""


def _require_positive(expr: sp.Expr, function: sp.Expr, x: sp.Symbol, otherwise: str) -> None:
    """Refuse an expression that is negative somewhere where the function has a value."""
    at, there = _program(expr, x), _program(function, x)
    for y in _GRID:
        value = at(y)
        if y < 0 and (value is None or there(y) is None):  # too large to be held, or the end
            return
        if value is not None and value < 0:
            where = mpmath.nstr(mpmath.exp(-y), 3)
            raise NotDesingularizing(otherwise.format(where=where))


def _limit_at_zero(expr: sp.Expr, x: sp.Symbol) -> str:
    """The limit of a positive expression at x = 0+: "zero", "infinite" or "finite"."""
    if not expr.has(x):
        return "finite" if expr != 0 else "zero"
    at = _program(expr, x)
    values = [at(10**k) for k in (10, 100, 300)]
    if any(v is None for v in values):
        return "finite"
    a, b, c = (abs(v) for v in values)
    if c == 0 or (c < b * 0.75 and b < a * 0.75):
        return "zero"
    return "infinite" if c > 2 * b > 4 * a else "finite"


def _integral(
    x: sp.Symbol, f: sp.Expr, phi: sp.Expr, units: list[sp.Expr], what: str, needs: str
) -> sp.Expr:
    """∫_0^x f as a closed form, verified; refusals carry the reason."""
    simple = sp.simplify(f) if sp.count_ops(f) < 60 else f
    at = _program(x * simple, x)  # with y = -log x: the integral is ∫ x f dy
    values = [at(10**k) for k in (8, 9, 10)]
    if not all(v is not None and v > 0 for v in values):
        raise NotDesingularizing(
            f"φ = {to_text(phi)} does not increase from φ(0) = 0 as is needed near 0 ({needs})"
        )
    if not values[2] * 10**10 < values[0] * 10**8 * 0.9:
        raise NotDesingularizing(
            f"φ = {to_text(phi)} is too flat at 0: ∫ {what} ds is infinite, so no ψ with ψ(0) = 0"
            " follows from it"
        )
    found = simple * x if not simple.has(x) else primitive_from_zero(f, x, units, _samples(f, x))
    if found is None and simple.free_symbols - {x}:
        raise LimitReached(
            f"φ = {to_text(phi)[:60]}: no closed form of ψ = ∫ {what} ds was found in the time;"
            " give numbers for its parameters, or a simpler φ below this one"
        )
    return integral_from_zero(simple, x) if found is None else found


def _integrated(
    x: sp.Symbol,
    loss_: sp.Expr,
    value: sp.Expr,
    f: sp.Expr,
    radius: Any,
    source: str,
    warnings: tuple[str, ...],
) -> Desingularizer:
    """The curve s = S, ψ = P; by quadrature of P' = f if P cannot be evaluated everywhere."""
    try:
        return _curve(x, loss_, value, radius, source, warnings)
    except NotDesingularizing:
        if value.has(sp.Integral) or f.free_symbols - {x}:
            raise
        return _curve(x, loss_, integral_from_zero(f, x), radius, source, warnings)


def _curve(
    x: sp.Symbol,
    loss_: sp.Expr,
    value: sp.Expr,
    radius: Any,
    source: str,
    warnings: tuple[str, ...],
) -> Desingularizer:
    """The curve s = S(x), ψ = P(x), as ψ(s) where S has a closed inverse; checked."""
    s = sp.Symbol("s", positive=True)
    swap = _samples(loss_ + value, x)
    points = [sp.Rational(k, 40) for k in (1, 9, 20, 31, 39)]
    for candidate in () if value.has(sp.Integral) else peel(loss_, x, s):
        if candidate.has(S.ImaginaryUnit, sp.erfinv, sp.erfcinv):
            continue
        if inverse_holds(candidate.subs(swap), s, loss_.subs(swap), x, points):
            psi = sp.powdenest(value.subs(x, candidate), force=True)
            try:
                return _checked(s, s, sp.expand_power_base(psi), radius, source, warnings)
            except (NotDesingularizing, TypeError):
                break  # a form that is not good on the whole range: the curve is judged instead
    return _checked(x, loss_, value, radius, source, warnings)


def _checked(
    p: sp.Symbol,
    loss_: sp.Expr,
    value: sp.Expr,
    radius: Any,
    source: str,
    warnings: tuple[str, ...],
) -> Desingularizer:
    """The desingularizer of a curve, checked; one with parameters is checked at sample values."""
    if value.has(sp.Integral):
        return _checked_by_slopes(p, loss_, value, radius, source, warnings)
    swap = _samples(loss_ + value, p)
    top = _supremum(loss_, p) if radius is None and not swap else None
    # just below a finite S(∞), S can still be told from its limit
    below = radius if top is None else top * (1 - sp.Rational(1, 10**15))
    d = Desingularizer.from_curve(
        p, loss_.subs(swap), value.subs(swap), radius=below, source=source, warnings=warnings
    )
    if top is not None:
        d = _with(d, radius=top)
    if not d.radius.is_extended_real:  # S has a pole where x ends
        d = _with(d, radius=S.Infinity)
    if not swap:
        return d
    values = ", ".join(f"{q} = {v}" for q, v in swap.items())
    checks = tuple(Check(c.what, f"{c.how}, at {values}") for c in d.checks)
    piece = Piece(S.Zero, S.Infinity, loss_, value)
    return _with(d, loss=loss_, value=value, checks=checks, pieces=(piece,))


def _checked_by_slopes(
    x: sp.Symbol,
    loss_: sp.Expr,
    value: sp.Expr,
    radius: Any,
    source: str,
    warnings: tuple[str, ...],
) -> Desingularizer:
    """A curve whose P is an integral without a closed form: S(0+) = 0, S' > 0 and P' > 0."""
    if _limit_at_zero(loss_, x) != "zero":
        raise NotDesingularizing(f"S(0+) must be 0 for s = {to_text(loss_)}")
    programs = [_program(sp.diff(e, x), x) for e in (loss_, value)]
    for y in _GRID:
        slopes = [at(y) for at in programs]
        if y < 0 and None in slopes:  # too large to be held; the loss is astronomical there
            break
        if any(v is not None and not v > 0 for v in slopes):
            at = f"x = exp({-y})"
            raise NotDesingularizing(f"ψ does not increase at {at}")
    r0 = exact(radius, "radius") if radius is not None else _supremum(loss_, x) or S.Infinity
    checks = (
        Check(
            "ψ(0+) = 0", "the integrand is integrable at 0, by its size at exp(-1e8) ... exp(-1e10)"
        ),
        Check("ψ' > 0 on ]0, r0[", f"S' and P' evaluated at {len(_GRID)} points"),
    )
    piece = Piece(S.Zero, S.Infinity, loss_, value)
    note = "no closed form of ψ was found: its values are those of a quadrature"
    return Desingularizer(x, loss_, value, r0, source, (*warnings, note), checks, (piece,))


def _supremum(loss_: sp.Expr, x: sp.Symbol) -> sp.Expr | None:
    """S(∞) where it is finite, else None: equal to 25 digits at two far points."""
    at = _program(loss_, x)
    for near, far in ((-5, -6), (-(10**4), -(10**8))):
        a, b = at(near), at(far)
        if a is not None and b is not None and abs(a - b) <= abs(b) * 1e-25:
            break
    else:
        return None
    ctx = b.context
    for unit, back in ((b, lambda q: q), (ctx.exp(b), sp.log)):
        for q in range(1, 49):
            n = ctx.nint(unit * q)
            if n > 0 and abs(unit * q - n) <= abs(unit) * q * ctx.mpf(10) ** -25:
                return back(sp.Rational(int(n), q))
    return sp.Rational(ctx.nstr(b * (1 - ctx.mpf(10) ** -15), 15))
