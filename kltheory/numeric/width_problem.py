"""What a width is asked for: sizes, norms, loss and activation, checked once."""

from __future__ import annotations

import decimal
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from kltheory.activation import Activation
from kltheory.errors import InputError, brief
from kltheory.numeric.width_bounds import Setting, exactly

__all__ = ["LOSSES", "Number", "WidthLoss", "WidthProblem", "number_of", "problem_of"]

Number = int | float | Fraction | Decimal
"""A real number; a float means the decimal number that Python prints for it."""

MOST = 10**15
"""The largest n, m and d."""
SMALLEST, LARGEST = 1e-100, 1e100
"""The range of norms, σ_F and constants."""


@dataclass(frozen=True, slots=True)
class WidthLoss:
    """A loss, as far as a width depends on it."""

    name: str
    """Its name."""
    psi: Callable[[Decimal], Decimal]
    """ψ, for which the loss has the KL property; InputError where ψ is not defined."""
    smoothness: Callable[[Decimal], Decimal]
    """radius -> L with ‖∇L_y(v)‖ ≤ L ‖v - y‖ where ‖v - y‖ ≤ radius."""
    radial: bool
    """Whether L_y(v) = ℓ(‖v - y‖) and ψ = ℓ⁻¹, so that ψ(L_y(v)) = ‖v - y‖."""
    convex: bool
    """Whether L_y is convex."""
    majorant: Callable[[Decimal], Decimal] | None = None
    """Φ with L_y(v) ≤ Φ(‖v - y‖), in place of the smoothness (4.2: `kltheory audit E20`)."""

    @classmethod
    def from_log_psi(
        cls,
        log_psi: Callable[[float], float],
        smoothness: float = 1.0,
        *,
        majorant: Callable[[float], float] | None = None,
        name: str = "user",
        convex: bool = False,
    ) -> WidthLoss:
        """Build a loss from log s -> log ψ(s) and a Lipschitz constant of its gradient.

        If ‖∇L_y(v) - ∇L_y(w)‖ ≤ φ(‖v - w‖) instead, give majorant = Φ with Φ(s) = ∫_0^s φ.
        Both are floats, taken to be good to 8 units in the last place, and are moved up by that.

        >>> quartic = WidthLoss.from_log_psi(lambda t: 0.5 * (t + math.log(2)), 1.0)
        >>> round(quartic.psi(Decimal(8)), 9)
        Decimal('4.000000000')
        """
        if not (0 < smoothness < math.inf):
            raise InputError(f"smoothness: got {smoothness!r}; it must be a positive number.")

        def psi(s: Decimal) -> Decimal:
            if not s > 0:
                return Decimal(0)
            value = float(log_psi(math.nextafter(float(s.ln()), math.inf)))  # ψ increases
            if math.isnan(value) or value == math.inf:
                raise InputError(f"loss {name}: log ψ is {value} at log s = {s.ln():.6g}.")
            return Decimal(value + 8 * math.ulp(max(abs(value), 1.0))).exp()

        above = None
        if majorant is not None:
            function = majorant

            def above(error: Decimal) -> Decimal:
                value = function(math.nextafter(float(error), math.inf))
                found = number_of(f"majorant({float(error):g})", value, 0.0)
                return found * (1 + 8 * Decimal(math.ulp(1.0)))

        return cls(name, psi, lambda radius: Decimal(smoothness), False, convex, above)

    def bound(self, error: Decimal, radius: Decimal) -> Decimal:
        """ψ(½ L error²) ≥ ψ(L_y(y(0))) for ‖y(0) - y‖ ≤ error, by the descent lemma."""
        try:
            if self.majorant is not None:
                return self.psi(self.majorant(error))
            return self.psi(self.smoothness(radius) * error * error / 2)
        except decimal.Overflow as overflow:
            raise InputError(
                f"loss {self.name}: ψ of the bound on the loss overflows at {error:.4g}."
            ) from overflow


def _one(radius: Decimal) -> Decimal:
    return Decimal(1)


def _power(p: Decimal) -> WidthLoss:
    """‖v - y‖^(2p+2)/(2p+2): ψ(s) = ((2p+2)s)^(1/(2p+2)), ‖∇L‖ = ‖v - y‖^(2p) ‖v - y‖."""
    exponent = 2 * p + 2

    def psi(s: Decimal) -> Decimal:
        if p == 0:
            return (2 * s).sqrt()
        return (exponent * s) ** (1 / exponent) if s else s

    return WidthLoss(
        "power" if p else "mse",
        psi,
        lambda radius: radius ** (2 * p) if radius else radius,
        True,
        True,
    )


def _huber(delta: Decimal) -> WidthLoss:
    def psi(s: Decimal) -> Decimal:
        return (2 * s).sqrt() if 2 * s <= delta * delta else delta / 2 + s / delta

    return WidthLoss("huber", psi, _one, True, True)


def _pseudo_huber(delta: Decimal) -> WidthLoss:
    def psi(s: Decimal) -> Decimal:
        return (2 * s + (s / delta) ** 2).sqrt()

    return WidthLoss("pseudo-huber", psi, _one, False, True)


def _log_cosh() -> WidthLoss:
    def psi(s: Decimal) -> Decimal:
        """arccosh(e^s) = s + log(1 + √(1 - e^{-2s}))."""
        return s + (1 + (1 - (-2 * s).exp()).sqrt()).ln()

    return WidthLoss("log-cosh", psi, _one, False, True)


def _cauchy() -> WidthLoss:
    return WidthLoss("cauchy", lambda s: ((2 * s).exp() - 1).sqrt(), _one, True, False)


def _welsch() -> WidthLoss:
    def psi(s: Decimal) -> Decimal:
        if s >= 1:
            raise InputError(
                "loss welsch: ψ is defined for s < 1 only; the bound on the loss is not."
            )
        return (-2 * (1 - s).ln()).sqrt()

    return WidthLoss("welsch", psi, _one, True, False)


LOSSES: dict[str, tuple[Callable[..., WidthLoss], tuple[str, ...]]] = {
    "mse": (lambda: _power(Decimal(0)), ()),
    "power": (_power, ("p",)),
    "huber": (_huber, ("delta",)),
    "pseudo-huber": (_pseudo_huber, ("delta",)),
    "log-cosh": (_log_cosh, ()),
    "cauchy": (_cauchy, ()),
    "welsch": (_welsch, ()),
}
"""Name -> how to build the loss, and the names of its parameters."""


def loss_of(loss: str | WidthLoss, parameters: Mapping[str, Number]) -> WidthLoss:
    """Return the loss of that name; `power` also takes alpha = 1/(2p + 2) in place of p."""
    if isinstance(loss, WidthLoss):
        if parameters:
            raise InputError(f"loss {loss.name}: it already has its parameters.")
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise InputError(
            f"loss: got {brief(loss)}; allowed are {', '.join(LOSSES)}, or a WidthLoss."
        )
    build, names = LOSSES[loss]
    values = {name: number_of(name, value, 0.0, 1e6) for name, value in parameters.items()}
    if loss == "power" and list(values) == ["alpha"]:
        alpha = values["alpha"]
        if not 0 < alpha <= Decimal("0.5"):
            raise InputError(f"alpha: got {alpha}; a loss of the power family has 0 < α ≤ 1/2.")
        with decimal.localcontext(exactly()):
            values = {"p": 1 / (2 * alpha) - 1}
    if sorted(values) != sorted(names):
        wanted = ", ".join(names) or "no parameters"
        raise InputError(f"loss {loss}: got {', '.join(values) or 'none'}; it takes {wanted}.")
    if "delta" in values and values["delta"] == 0:
        raise InputError("delta: got 0; it must be positive.")
    made = build(*(values[name] for name in names))
    return made


def number_of(
    name: str,
    value: Any,
    low: float = SMALLEST,
    high: float = LARGEST,
) -> Decimal:
    """Return a number as a decimal, or say what is allowed."""
    allowed = f"a number from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, Decimal)):
        raise InputError(f"{name}: got {value!r}; it must be {allowed}.")
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, numbers.Rational):
        with decimal.localcontext(exactly(60)):
            number = Decimal(int(value.numerator)) / Decimal(int(value.denominator))
    else:
        number = Decimal(repr(float(value)))
    if number.is_nan() or not Decimal(repr(low)) <= number <= Decimal(repr(high)):
        raise InputError(f"{name}: got {brief(value)}; it must be {allowed}.")
    return number


def integer_of(name: str, value: Any, low: int = 1, high: int = MOST) -> int:
    """Return a whole number, or say what is allowed."""
    allowed = f"a whole number from {low} to {high:g}"
    whole = isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool)
    if not whole or value != value or not low <= value <= high or value != int(value):
        raise InputError(f"{name}: got {brief(value)}; it must be {allowed}.")
    return int(value)


@dataclass(frozen=True, slots=True)
class WidthProblem:
    """A checked question; build it with `problem_of`."""

    n: int
    """Size of the signal."""
    m: int
    """Size of the observation."""
    d: int
    """Size of the input u; only the printed theorems depend on it (`kltheory audit E23`)."""
    d_given: bool
    """Whether d was given (or chosen as ⌈1/p⌉)."""
    activation: Activation
    """φ."""
    train: str
    """The layers that are trained: hidden or both."""
    sigma_f: Decimal
    """σ_F."""
    norm_f: Decimal
    """L_{F,0}."""
    y_norm: Decimal
    """‖y‖, or the bound √m(‖F(x̄)‖∞ + ‖ε‖∞) on it."""
    x_inf: Decimal | None
    """‖F(x̄)‖∞, if the bound on ‖y‖ is made from it."""
    noise_inf: Decimal
    """‖ε‖∞."""
    x_norm: Decimal | None
    """A bound on ‖A⁺y‖, if one was given (else ‖y‖/σ_F)."""
    rank: int | None
    """A bound on the rank of a linear F, if one was given (else min(n, m))."""
    failure: Decimal
    """p."""
    entry_bound: Decimal
    """D."""
    loss: WidthLoss
    """The loss."""
    C: Decimal
    """C of the printed theorems."""
    C_prime: Decimal
    """C' of the printed theorems."""
    assumed: tuple[str, ...]
    """What was not given and therefore chosen, in words."""

    def setting(self) -> Setting:
        """Return the numbers of the tail bounds."""
        return Setting(
            n=Decimal(self.n),
            m=Decimal(self.m),
            D=self.entry_bound,
            L_F=self.norm_f,
            failure=self.failure,
            constants=self.activation.constants,
            known_rank=None if self.rank is None else Decimal(self.rank),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        optional = {"x_inf": self.x_inf, "x_norm": self.x_norm}
        return {
            "n": self.n,
            "m": self.m,
            "d": self.d,
            "activation": self.activation.name,
            "train": self.train,
            "sigma_f": float(self.sigma_f),
            "norm_f": float(self.norm_f),
            "y_norm": float(self.y_norm),
            **{name: None if v is None else float(v) for name, v in optional.items()},
            "rank": self.rank,
            "noise_inf": float(self.noise_inf),
            "failure": float(self.failure),
            "entry_bound": float(self.entry_bound),
            "loss": self.loss.name,
            "C": float(self.C),
            "C_prime": float(self.C_prime),
        }


def problem_of(
    *,
    n: int,
    m: int,
    activation: Activation,
    train: str,
    sigma_f: Number,
    norm_f: Number,
    failure: Number,
    y_norm: Number | None = None,
    x_inf: Number | None = None,
    noise_inf: Number | None = None,
    x_norm: Number | None = None,
    rank: int | None = None,
    entry_bound: Number = 1,
    d: int | None = None,
    loss: str | WidthLoss = "mse",
    params: Mapping[str, Number] | None = None,
    C: Number | None = None,
    C_prime: Number | None = None,
) -> WidthProblem:
    """Check a question and fill in what was not given.

    Raises:
        InputError: a value is not allowed, or neither ‖y‖ nor ‖F(x̄)‖∞ is given.
    """
    sizes = integer_of("n", n), integer_of("m", m)
    if train not in ("hidden", "both"):
        raise InputError(f"train: got {train!r}; allowed are hidden and both.")
    sigma, norm = number_of("sigma_f", sigma_f), number_of("norm_f", norm_f)
    if sigma > norm:
        raise InputError(
            f"sigma_f: got {sigma}, which is above norm_f = {norm}; σ_F is a singular value of "
            "the Jacobian whose norm norm_f bounds."
        )
    p = number_of("failure", failure, 1e-300, 1.0)
    if p == 1:
        raise InputError("failure: got 1; it must be below 1.")
    bound = number_of("entry_bound", entry_bound, 0.0)
    if bound < 1:
        raise InputError(f"entry_bound: got {bound}; A-10's identity covariance forces D >= 1.")
    assumed = []
    if y_norm is not None and (x_inf is not None or noise_inf is not None):
        raise InputError("y_norm: give y_norm, or x_inf with noise_inf, not both.")
    if y_norm is None and x_inf is None:
        raise InputError("y_norm: give y_norm (a bound on ‖y‖), or x_inf and noise_inf.")
    noise = number_of("noise_inf", noise_inf if noise_inf is not None else 0, 0.0)
    sup = None if x_inf is None else number_of("x_inf", x_inf, 0.0)
    if sup is None:
        y = number_of("y_norm", y_norm, 0.0)
    else:
        if noise_inf is None:
            assumed.append("noise_inf was not given: no noise, ‖ε‖∞ = 0")
        with decimal.localcontext(exactly(80)):
            y = Decimal(sizes[1]).sqrt() * (sup + noise)
    if d is None:
        inputs = max(2, math.ceil(1 / Fraction(p)))
        inputs = min(inputs, MOST)
        assumed.append(
            f"d was not given: d = {inputs} is used in the printed theorems (log d stands for the "
            "logarithm of 1/failure; nothing else depends on d)"
        )
    else:
        inputs = integer_of("d", d)
    constants = []
    for name, given in (("C", C), ("C_prime", C_prime)):
        if given is None:
            assumed.append(
                f"{name} = 1 was assumed: the printed theorems only say that a constant exists"
            )
        constants.append(number_of(name, 1 if given is None else given))
    return WidthProblem(
        n=sizes[0],
        m=sizes[1],
        d=inputs,
        d_given=d is not None,
        activation=activation,
        train=train,
        sigma_f=sigma,
        norm_f=norm,
        y_norm=y,
        x_inf=sup,
        noise_inf=noise,
        x_norm=None if x_norm is None else number_of("x_norm", x_norm, 0.0),
        rank=None if rank is None else integer_of("rank", rank, high=min(sizes)),
        failure=p,
        entry_bound=bound,
        loss=loss_of(loss, params or {}),
        C=constants[0],
        C_prime=constants[1],
        assumed=tuple(assumed),
    )
