"""The constants of an activation that the width theorems use, each with a proved enclosure.

B1 = sup|φ'|, B2 = Lip(φ'), and with X ~ N(0, 1): C_φ = E[φ(X)²]^½, C_φ' = E[φ'(X)²]^½,
E|φ(X)| and E[φ(X)⁴].  A built-in activation has a closed form, the root of an equation found
by bisection, or a Gauss-Legendre quadrature whose error is bounded by the size of φ in a
strip around the real axis; all of it in 40-digit decimal arithmetic.  A user's φ given as text
brings enclosures along, where they were found; else nothing is proved, and the evidence says so.
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from kltheory.errors import InputError

if TYPE_CHECKING:
    from kltheory.activation import Activation

__all__ = ["ActivationConstants", "Enclosure", "constants_of", "decimal_ends", "enclosed_constants"]

DIGITS = 40
"""Working precision, in decimal digits."""

_PANELS = 12
"""The quadrature covers [-12, 12] in panels of length 1; the tail beyond is bounded."""
_NODES = 32
"""Gauss-Legendre nodes in a panel."""
_ROUNDING = Decimal(10) ** (6 - DIGITS)
"""What 10⁶ roundings can add to a quantity of size 1."""

_Function = Callable[[Decimal], Decimal]


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A number with two floats around it and the reason to believe them."""

    value: float
    """The float nearest to the constant."""
    lower: float
    """A float that is not above the constant."""
    upper: float
    """A float that is not below the constant."""
    low: Decimal
    """The lower end to some 30 digits, for widths beyond the precision of floats."""
    high: Decimal
    """The upper end to some 30 digits."""
    digits: str
    """The decimal digits on which the two ends agree (at most 30)."""
    evidence: str
    """Closed form, root, quadrature with its error bound, given, or sampled."""

    def __float__(self) -> float:
        return self.value

    def to_dict(self) -> dict[str, float | str]:
        """Return the fields as plain JSON values."""
        return {
            "value": self.value,
            "lower": self.lower,
            "upper": self.upper,
            "digits": self.digits,
            "evidence": self.evidence,
        }


@dataclass(frozen=True, slots=True)
class ActivationConstants:
    """The constants of one activation."""

    B1: Enclosure
    """sup|φ'|."""
    B2: Enclosure
    """The Lipschitz constant of φ'."""
    C_phi: Enclosure
    """E[φ(X)²]^½."""
    C_phi_prime: Enclosure
    """E[φ'(X)²]^½."""
    mean_abs: Enclosure
    """E|φ(X)|."""
    fourth_moment: Enclosure
    """E[φ(X)⁴]."""

    @property
    def B(self) -> Enclosure:
        """max(B1, B2), the one constant of assumption A-5."""
        return max(self.B1, self.B2, key=lambda constant: constant.upper)

    def to_dict(self) -> dict[str, dict[str, float | str]]:
        """Return the constants by name."""
        return {name: getattr(self, name).to_dict() for name in self.__slots__}


# -- elementary functions in the current decimal context ---------------------------------------


def _working() -> decimal.Context:
    traps = [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]
    return decimal.Context(prec=DIGITS, Emin=-(10**9), Emax=10**9, traps=traps)


def _atan(x: Decimal) -> Decimal:
    """Arctangent: x -> x/(1 + √(1 + x²)) halves it; five halvings, then the power series."""
    for _ in range(5):
        x = x / (1 + (1 + x * x).sqrt())
    term, total, j, square = x, x, 1, x * x
    while abs(term) > Decimal(10) ** (-DIGITS - 4):
        term, j = -term * square, j + 2
        total += term / j
    return 32 * total


@functools.cache
def _pi() -> Decimal:
    with decimal.localcontext(_working()) as context:
        context.prec += 5
        return 4 * _atan(Decimal(1))


def _erf(x: Decimal) -> Decimal:
    """Error function: 2/√π e^{-x²} Σ 2ʲ x^{2j+1}/(2j+1)!!, a series of positive terms."""
    term = total = abs(x)
    j = 0
    while term > total * Decimal(10) ** (-DIGITS - 4):
        j += 1
        term *= 2 * x * x / (2 * j + 1)
        total += term
    return (2 / _pi().sqrt() * (-x * x).exp() * total).copy_sign(x)


def _sigmoid(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def _sigmoid_slope(x: Decimal) -> Decimal:
    e = (-abs(x)).exp()
    return e / (1 + e) ** 2


def _tanh(x: Decimal) -> Decimal:
    return 2 * _sigmoid(2 * x) - 1


def _softplus(x: Decimal) -> Decimal:
    return max(x, Decimal(0)) + (1 + (-abs(x)).exp()).ln()


def _density(x: Decimal) -> Decimal:
    return (-x * x / 2).exp() / (2 * _pi()).sqrt()


def _cdf(x: Decimal) -> Decimal:
    return (1 + _erf(x / Decimal(2).sqrt())) / 2


# -- quadrature with an error bound --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Strip:
    """φ in the complex plane: |φ(z)| ≤ m[0] + m[1]|x| and |φ'(z)| ≤ d[0] + d[1]|x| for |y| ≤ a."""

    phi: _Function
    dphi: _Function
    a: str
    m: tuple[str, str]
    d: tuple[str, str]


# Why the bounds hold, with z = x + iy and |y| ≤ a (each rounded up):
# sigmoid, |y| ≤ π/2: |1 + e^-z|² = 1 + 2e^-x cos y + e^-2x ≥ 1, and 1 - σ(z) = σ(-z).
# tanh, |y| ≤ π/4: |tanh z|² = (sinh²x + sin²y)/(sinh²x + cos²y) ≤ 1, and tanh' = 1 - tanh².
# softplus, |y| ≤ π/2: |log w| ≤ |log|w|| + |arg w| with w = 1 + e^z, 1 ≤ |w| ≤ 1 + e^x.
# SiLU: z σ(z), and φ' = σ(z) + z σ(z) σ(-z).
# erf, |y| ≤ 1: |erf z| ≤ 1 + (2/√π) e |y|, |erf' z| = (2/√π) e^{y²-x²}.
# GELU: |Φ(z)| ≤ (1 + |erf(z/√2)|)/2 ≤ 1.7 for |y| ≤ 1, and φ' = Φ(z) + z density(z).
# arctan, |y| ≤ 0.9: |1 + z²| = |z - i||z + i| ≥ 1 - y², |arctan z| ≤ π/2 + artanh|y|.
_STRIPS = {
    "sigmoid": _Strip(_sigmoid, _sigmoid_slope, "1.5", ("1", "0"), ("1", "0")),
    "tanh": _Strip(_tanh, lambda x: 4 * _sigmoid_slope(2 * x), "0.78", ("1", "0"), ("2", "0")),
    "softplus": _Strip(_softplus, _sigmoid, "1.5", ("2.3", "1"), ("1", "0")),
    "gelu": _Strip(
        lambda x: x * _cdf(x),
        lambda x: _cdf(x) + x * _density(x),
        "1",
        ("1.7", "1.7"),
        ("2.4", "0.7"),
    ),
    "silu": _Strip(
        lambda x: x * _sigmoid(x),
        lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)),
        "1.5",
        ("1.5", "1"),
        ("2.5", "1"),
    ),
    "erf": _Strip(
        _erf, lambda x: 2 / _pi().sqrt() * (-x * x).exp(), "1", ("4.1", "0"), ("3.1", "0")
    ),
    "arctan": _Strip(_atan, lambda x: 1 / (1 + x * x), "0.9", ("3.1", "0"), ("5.3", "0")),
}


@functools.cache
def _gauss_legendre() -> tuple[tuple[Decimal, Decimal], ...]:
    """Nodes and weights on [-1, 1]: Newton's iteration from the double-precision nodes."""
    rule = []
    for start in np.polynomial.legendre.leggauss(_NODES)[0]:
        x = Decimal(float(start))
        for _ in range(4):
            low, high = Decimal(1), x
            for j in range(2, _NODES + 1):
                low, high = high, ((2 * j - 1) * x * high - (j - 1) * low) / j
            slope = _NODES * (low - x * high) / (1 - x * x)
            x -= high / slope
        rule.append((x, 2 / ((1 - x * x) * slope * slope)))
    return tuple(rule)


def _quadrature_error(growth: tuple[str, str], power: int, strip_width: str) -> Decimal:
    """Bound the error of the quadrature of E[f(X)^power], |f(z)| ≤ growth[0] + growth[1]|x|.

    On a panel of half-length w = ½ the integrand is analytic in the ellipse of semi-minor axis
    a, and at most M there; n-point Gauss-Legendre errs by at most
    w (64/15) M ρ^{-2(n-1)}/(1 - ρ^{-2}) with (ρ - 1/ρ)w/2 = a (L. N. Trefethen, Approximation
    Theory and Approximation Practice, Theorem 19.3).  The density is at most e^{a²/2}/√(2π) in
    the strip.  The tail beyond T ≥ 4 is at most 2(growth[0] + growth[1])^q T^{q-1} density(T)
    on each side, q ≤ 4.
    """
    a, end = Decimal(strip_width), Decimal(_PANELS)
    g0, g1 = (Decimal(g) for g in growth)
    rho = 2 * a + (4 * a * a + 1).sqrt()
    reach = end - Decimal("0.5") + (rho + 1 / rho) / 4
    peak = (g0 + g1 * reach) ** power * (a * a / 2).exp() / (2 * _pi()).sqrt()
    panel = Decimal(32) / 15 * peak * rho ** (-2 * (_NODES - 1)) / (1 - rho**-2)
    tail = 2 * (g0 + g1) ** power * end ** (power - 1) * _density(end)
    return 2 * _PANELS * panel + 2 * tail + _ROUNDING * (g0 + g1 * end) ** power


def _moments(strip: _Strip) -> dict[str, tuple[Decimal, Decimal, str]]:
    """Return E[φ²], E[φ'²], E|φ| and E[φ⁴] with error bounds.

    Each φ here has one sign on each half-line, so that |φ| is analytic on every panel.
    """
    sums = dict.fromkeys(("square", "slope", "absolute", "fourth"), Decimal(0))
    half = Decimal("0.5")
    for panel in range(-_PANELS, _PANELS):
        for node, weight in _gauss_legendre():
            x = panel + half + half * node
            mass = half * weight * _density(x)
            f = strip.phi(x)
            sums["square"] += mass * f * f
            sums["slope"] += mass * strip.dphi(x) ** 2
            sums["absolute"] += mass * abs(f)
            sums["fourth"] += mass * f**4
    growth = {"square": (strip.m, 2), "slope": (strip.d, 2)}
    growth |= {"absolute": (strip.m, 1), "fourth": (strip.m, 4)}
    errors = {key: _quadrature_error(g, power, strip.a) for key, (g, power) in growth.items()}
    return {
        key: (total, errors[key], f"quadrature, proved error ≤ {errors[key]:.1e}")
        for key, total in sums.items()
    }


# -- closed forms ----------------------------------------------------------------------------------


def _silu_slope() -> tuple[Decimal, Decimal]:
    """Return sup φ' of SiLU: φ'' = σ'(x)(2 - x tanh(x/2)) changes sign at x tanh(x/2) = 2.

    φ' is largest at the positive root; |φ''| ≤ ½ bounds the error of its value in the middle of
    a bracket by a quarter of the length of the bracket.
    """
    low, high = Decimal(2), Decimal(3)
    for _ in range(3 * DIGITS):
        x = (low + high) / 2
        low, high = (x, high) if x * _tanh(x / 2) < 2 else (low, x)
    x = (low + high) / 2
    return _sigmoid(x) * (1 + x * _sigmoid(-x)), high - low + _ROUNDING


def _abs_sin_mean() -> tuple[Decimal, Decimal]:
    """E|sin X| by the Fourier series of |sin|: 2/π - (4/π) Σ e^{-2j²}/(4j² - 1)."""
    last = 7
    total = sum(Decimal(-2 * j * j).exp() / (4 * j * j - 1) for j in range(1, last + 1))
    return (2 - 4 * total) / _pi(), Decimal(-2 * (last + 1) ** 2).exp() + _ROUNDING


def _closed_forms(name: str) -> dict[str, Decimal]:
    """Return what has a closed form: B1, B2, and E[φ²], E[φ'²], E|φ|, E[φ⁴]."""
    one, two, three = Decimal(1), Decimal(2), Decimal(3)
    root3, pi = three.sqrt(), _pi()
    match name:
        case "sigmoid":
            return {"B1": one / 4, "B2": 1 / (6 * root3), "absolute": one / 2}
        case "tanh":
            return {"B1": one, "B2": 4 / (3 * root3)}
        case "softplus":
            return {"B1": one, "B2": one / 4}
        case "gelu":
            return {
                "B1": _cdf(two.sqrt()) + two.sqrt() * _density(two.sqrt()),
                "B2": (2 / pi).sqrt(),
                "square": one / 3 + 1 / (2 * root3 * pi),
                "slope": one / 3 + 2 / (3 * root3 * pi),
                "absolute": 1 / (2 * pi).sqrt(),
            }
        case "silu":
            return {"B2": one / 2, "absolute": 1 / (2 * pi).sqrt()}
        case "sin":
            e2, e8 = Decimal(-2).exp(), Decimal(-8).exp()
            return {
                "B1": one,
                "B2": one,
                "square": (1 - e2) / 2,
                "slope": (1 + e2) / 2,
                "fourth": (3 - 4 * e2 + e8) / 8,
            }
        case "erf":
            return {
                "B1": 2 / pi.sqrt(),
                "B2": 2 * two.sqrt() * (-one / 2).exp() / pi.sqrt(),
                "square": 2 / pi * _atan(2 / Decimal(5).sqrt()),
                "slope": 4 / (pi * Decimal(5).sqrt()),
                "absolute": 2 / pi * _atan(two.sqrt()),
            }
        case _:  # arctan; E[(1 + X²)^-2] = ½ by Stein's identity for x/(1 + x²)
            return {"B1": one, "B2": 3 * root3 / 8, "slope": one / 2}


# -- enclosures ----------------------------------------------------------------------------------


def _enclose(value: Decimal, error: Decimal, evidence: str) -> Enclosure:
    """Round value ± error outwards to floats, and to the decimal digits that it decides."""
    low, high = value - error, value + error
    lower, upper = float(low), float(high)
    if Decimal(lower) > low:
        lower = math.nextafter(lower, -math.inf)
    if Decimal(upper) < high:
        upper = math.nextafter(upper, math.inf)
    digits = ""
    for count in range(30, 0, -1):
        rounded = decimal.Context(prec=count)
        if rounded.plus(low) == rounded.plus(high):
            digits = str(rounded.plus(value))
            break
    return Enclosure(float(value), lower, upper, low, high, digits, evidence)


def _enclose_root(square: Decimal, error: Decimal, evidence: str) -> Enclosure:
    """Enclose the square root: |√a - √b| = |a - b|/(√a + √b) ≤ |a - b|/√b."""
    return _enclose(square.sqrt(), error / square.sqrt() + _ROUNDING, evidence)


def decimal_ends(low: Fraction, high: Fraction) -> tuple[Decimal, Decimal]:
    """Return decimals around two rational ends, exact where they are 0.

    >>> decimal_ends(Fraction(0), Fraction(0))
    (Decimal('0'), Decimal('0'))
    """
    with decimal.localcontext(_working()) as context:
        context.rounding = decimal.ROUND_FLOOR
        below = Decimal(low.numerator) / low.denominator
        context.rounding = decimal.ROUND_CEILING
        return below, Decimal(high.numerator) / high.denominator


def enclosed_constants(
    ends: Mapping[str, tuple[Fraction, Fraction]], suprema: str, moments: str
) -> ActivationConstants:
    """Return constants from rational ends of sup|φ'|, Lip(φ'), E[φ²], E[φ'²], E|φ| and E[φ⁴].

    Args:
        ends: the ends of B1, B2, square, slope, absolute and fourth.
        suprema: where the first two come from.
        moments: where the others come from.
    """
    with decimal.localcontext(_working()):

        def middle(name: str) -> tuple[Decimal, Decimal]:
            low, high = (Decimal(end.numerator) / end.denominator for end in ends[name])
            rounding = _ROUNDING * max(abs(low), abs(high))
            return (low + high) / 2, (high - low) / 2 + rounding

        return ActivationConstants(
            B1=_enclose(*middle("B1"), suprema),
            B2=_enclose(*middle("B2"), suprema),
            C_phi=_enclose_root(*middle("square"), moments),
            C_phi_prime=_enclose_root(*middle("slope"), moments),
            mean_abs=_enclose(*middle("absolute"), moments),
            fourth_moment=_enclose(*middle("fourth"), moments),
        )


def _proved(name: str) -> ActivationConstants:
    """Return the constants of a built-in activation, all enclosed."""
    with decimal.localcontext(_working()):
        found = _moments(_STRIPS[name]) if name in _STRIPS else {}
        if name == "sin":
            found["absolute"] = (*_abs_sin_mean(), "Fourier series with a bound on its tail")
        if name == "silu":
            found["B1"] = (*_silu_slope(), "value at the root of x tanh(x/2) = 2, by bisection")
        for key, value in _closed_forms(name).items():
            exact = Decimal(float(value)) == value
            found[key] = (value, Decimal(0) if exact else _ROUNDING, "closed form")
        return ActivationConstants(
            B1=_enclose(*found["B1"]),
            B2=_enclose(*found["B2"]),
            C_phi=_enclose_root(*found["square"]),
            C_phi_prime=_enclose_root(*found["slope"]),
            mean_abs=_enclose(*found["absolute"]),
            fourth_moment=_enclose(*found["fourth"]),
        )


def _estimated(activation: Activation) -> ActivationConstants:
    """Return the constants of a user's φ: quadrature with an estimated error, given suprema."""
    from scipy.integrate import quad

    def moment(f: Callable[[np.ndarray], np.ndarray], power: int) -> tuple[Decimal, Decimal, str]:
        def integrand(x: float) -> float:
            return float(abs(f(np.array([x]))[0])) ** power * math.exp(-x * x / 2)

        parts = [quad(integrand, left, left + 1, epsabs=1e-16) for left in range(-14, 14)]
        scale = math.sqrt(2 * math.pi)
        value = math.fsum(part[0] for part in parts) / scale
        if not 0 < value < math.inf:
            raise InputError(
                f"activation {activation.name}: the moments of φ(X) and φ'(X), X ~ N(0, 1), must "
                f"be positive and finite; one is {value:g}."
            )
        error = math.fsum(part[1] for part in parts) / scale + 1e-14 * value
        return Decimal(value), Decimal(error), f"quadrature, estimated error {error:.0e}: no proof"

    slope, curvature = activation.slope_bound, activation.curvature_bound
    if slope is None or curvature is None:
        raise InputError(f"activation {activation.name}: give bounds on sup|φ'| and on Lip(φ').")
    with decimal.localcontext(_working()):
        return ActivationConstants(
            B1=_enclose(Decimal(slope[0]), Decimal(0), slope[1]),
            B2=_enclose(Decimal(curvature[0]), Decimal(0), curvature[1]),
            C_phi=_enclose_root(*moment(activation.phi, 2)),
            C_phi_prime=_enclose_root(*moment(activation.dphi, 2)),
            mean_abs=_enclose(*moment(activation.phi, 1)),
            fourth_moment=_enclose(*moment(activation.phi, 4)),
        )


@functools.lru_cache(maxsize=64)
def constants_of(activation: Activation) -> ActivationConstants:
    """Return the constants of an activation, computed on first use."""
    if activation.enclosed is not None:
        return activation.enclosed
    return _proved(activation.name) if activation.built_in else _estimated(activation)
