"""Results for the terminal, as plain text, JSON, CSV, LaTeX, Markdown and HTML; no arithmetic.

A result becomes one `Page` of titles, pairs and tables; each format writes the same page.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kltheory.numeric.guarantees import Bound, Constants
    from kltheory.numeric.table import Row
    from kltheory.symbolic.derivation import Derivation
    from kltheory.symbolic.rate import RateLaw
    from kltheory.symbolic.show import Formula, LawFormulas, Rate

SCHEMA = "kltheory/bound/1"
"""The schema of `law_dict` and `bound_dict`; its text is kltheory/schemas/bound.json."""

DIGITS = 6
"""Significant digits of a number on a page; CSV and JSON have all."""


# ---------------------------------------------------------------------------------------------
# The page


@dataclass(frozen=True, slots=True)
class Text:
    """One thing to read, as plain text, in Unicode and in LaTeX."""

    plain: str
    """For ASCII; formulas in the syntax of the parser."""
    unicode: str
    """For a terminal."""
    latex: str
    """For LaTeX, with its own $...$."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Labels and what belongs to them."""

    title: str
    pairs: tuple[tuple[Text, Text], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; numbers stand right, words left."""

    title: str
    header: tuple[Text, ...]
    rows: tuple[tuple[Text, ...], ...]
    words: bool = False
    """True for a table of words, whose last column may be long."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One result, ready to be written in any format."""

    title: Text
    parts: tuple[Pairs | Grid, ...]
    notes: tuple[str, ...] = ()
    """Warnings."""
    hints: tuple[str, ...] = ()
    """What to do next."""


def words(text: str) -> Text:
    """Text in words; its formulas' letters are set in LaTeX where there are any."""
    return Text(text.replace("∇", "grad "), text, _escape(text))


def _formula(formula: Formula) -> Text:
    return Text(formula.text, formula.unicode, f"${formula.latex}$")


def _math(plain: str, unicode: str, latex: str) -> Text:
    return Text(plain, unicode, f"${latex}$")


_PSI = _math("psi(s)", "ψ(s)", r"\psi(s)")
_PSI_INVERSE = _math("psi^-1(p)", "ψ⁻¹(p)", r"\psi^{-1}(p)")
_BIG_PSI = _math("Psi(s)", "Ψ(s)", r"\Psi(s)")
_BIG_PSI_INVERSE = _math("Psi^-1(gamma)", "Ψ⁻¹(γ)", r"\Psi^{-1}(\gamma)")
_DOMAIN = _math("r0", "r₀", "r_0")
_GAMMA = _math("gamma(t)", "γ(t)", r"\gamma(t)")
_LOSS = _math("L(y(t)) <=", "L(y(t)) ≤", r"\mathcal L_y(y(t)) \le")
_ERROR = _math("||theta(t) - theta_inf|| <=", "‖θ(t) - θ∞‖ ≤", r"\|\theta(t) - \theta_\infty\| \le")

MEANING = {
    "finite-time": "the bound is exactly 0 after a finite time, the extinction time",
    "double-exponential": "the logarithm of the loss itself falls exponentially",
    "super-exponential": "faster than every exponential exp(-a t)",
    "exponential": "in equal times the loss falls by equal factors; a straight line on a log scale",
    "stretched-exponential": "slower than every exponential, faster than every power of 1/t",
    "quasi-polynomial": "faster than every power of 1/t, slower than every stretched exponential",
    "polynomial": "like a power of 1/t; a straight line on a log-log scale",
    "logarithmic": "slower than every power of 1/t",
    "undetermined": "no regime is claimed",
}
"""What a regime means, in words."""


# ---------------------------------------------------------------------------------------------
# Numbers


def number(value: float | None, side: int = 1) -> str:
    """A number in six digits, rounded up (`side` = 1) or down (-1); exact zeros stay 0.

    >>> number(0.1234561), number(0.1234561, -1), number(5e-324), number(1e-320)
    ('0.123457', '0.123456', '< 1e-323', '9.99989e-321')
    >>> number(float("inf")), number(float("inf"), -1)
    ('> 1.79e308', 'inf')
    """
    if value is None:
        return "-"
    if math.isinf(value):
        return "> 1.79e308" if side > 0 else "inf"
    if side > 0 and 0 < value < 1e-323:
        return "< 1e-323"
    return _digits(Decimal(value), side)


def _digits(value: Decimal, side: int) -> str:
    rounding = ROUND_CEILING if side > 0 else ROUND_FLOOR
    rounded = Context(prec=DIGITS, rounding=rounding).create_decimal(value)
    if rounded == 0:
        return "0"
    power = rounded.adjusted()
    if -5 <= power < DIGITS:
        return _trimmed(f"{rounded:f}")
    digits = _trimmed(f"{rounded.scaleb(-power):f}")
    return f"{digits}e{power}"


def _trimmed(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _power_of_ten(log10: float) -> str:
    """A number above the largest float, from its logarithm."""
    return f"10^{_digits(Decimal(log10), 1)}"


def exact_text(value: Fraction) -> str:
    """A rational number as exact text: decimal if that is finite and short, else a fraction.

    >>> [exact_text(Fraction(q)) for q in ("1/16", "1/3", "1e20", "120", "1e-9")]
    ['0.0625', '1/3', '1e20', '120', '1e-9']
    """
    whole = value.denominator
    for prime in (2, 5):
        while whole % prime == 0:
            whole //= prime
    if whole == 1:
        size = max(value.numerator.bit_length(), value.denominator.bit_length()) + 10
        shown = Context(prec=size).divide(Decimal(value.numerator), Decimal(value.denominator))
        sign, digits, power = shown.normalize().as_tuple()
        if len(digits) <= 20 and isinstance(power, int):
            lead = len(digits) + power - 1
            if -7 <= lead <= 15:
                return f"{shown:f}" if power >= 0 else _trimmed(f"{shown:f}")
            text = "".join(map(str, digits))
            mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
            return f"{'-' if sign else ''}{mantissa}e{lead}"
    if len(str(value)) <= 40:
        return str(value)
    return f"about {_digits(_decimal(value), 1)}"


def _decimal(value: Fraction) -> Decimal:
    """A fraction to 30 digits, rounded up."""
    context = Context(prec=30, rounding=ROUND_CEILING)
    return context.divide(Decimal(value.numerator), Decimal(value.denominator))


def _plain_number(value: Fraction | float | None) -> float | str | None:
    """A number that JSON can hold: "inf" in words, None where no float can hold it."""
    if value is None:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return "inf" if math.isinf(number) else number


# ---------------------------------------------------------------------------------------------
# Assumptions


@dataclass(frozen=True, slots=True)
class Assumption:
    """One assumption of the theorems, and where it stands."""

    id: str
    status: str
    """ "met", "violated" or "assumed"."""
    reason: str


_DEFINED = ("lojasiewicz", "pl", "strongly-convex", "uniformly-convex", "growth-power")
_FAST = ("finite-time", "double-exponential", "super-exponential")


def assumptions(law: RateLaw, bound: Bound | None = None) -> tuple[Assumption, ...]:
    """Assumptions A-1 to A-7 and (8): which are met, violated or left to the user."""
    constants = None if bound is None else bound.constants
    listed = [_smoothness(law), *_inequality(law)]
    listed += [
        Assumption(
            "A-4",
            "assumed",
            "the gradient of the loss lies in the range of the operator's Jacobian, and σ_F > 0;"
            " it does where that Jacobian is onto",
        ),
        Assumption(
            "A-5",
            "assumed",
            "the activation is C¹ with a bounded, Lipschitz derivative: sigmoid, tanh, softplus;"
            " not ReLU",
        ),
        Assumption(
            "A-6",
            "assumed",
            "the operator is C¹ with a locally Lipschitz Jacobian; every linear operator is",
        ),
    ]
    if constants is not None and constants.mu is not None:
        listed.append(
            Assumption(
                "A-7",
                "assumed",
                f"the operator is injective on the set of signals, with the given μ ="
                f" {exact_text(constants.mu)}",
            )
        )
    listed.append(_start(bound))
    return tuple(listed)


def _start(bound: Bound | None) -> Assumption:
    """(8), or its sharp form, which is checked."""
    affine = getattr(bound, "affine", None)
    if affine is not None:
        return Assumption(
            "(8)",
            "met",
            f"in its sharp form: ψ(L0) = {number(affine.psi0)} < {number(affine.threshold, -1)} ="
            " σ_F σ_J²/(2Λ), if the network's Jacobian moves at most by Λ‖θ - θ(0)‖",
        )
    return Assumption(
        "(8)",
        "assumed",
        "R' < R: the network starts so close to a solution that σ_min of its Jacobian stays above"
        " σ_J/2; wide networks do",
    )


def _smoothness(law: RateLaw) -> Assumption:
    if law.regime.loss in _FAST:
        return Assumption(
            "A-1",
            "violated",
            "a loss whose gradient is locally Lipschitz has s ψ'(s)² >= 1/(2 Lip) near 0, and here"
            " it tends to 0: no such loss has this ψ",
        )
    text = "the gradient of the loss is Lipschitz on bounded sets"
    if law.desingularizer.parameters and law.regime.loss == "undetermined":
        text += "; that excludes α > 1/2 (extinction in finite time): then A-1 is violated"
    return Assumption("A-1", "assumed", text)


def _inequality(law: RateLaw) -> Iterator[Assumption]:
    """A-2 and A-3."""
    kind, _, name = law.desingularizer.source.partition(": ")
    if kind == "loss" and name not in _DEFINED:
        from kltheory.symbolic.losses import find

        known = find(name)
        everywhere = known.valid_on in ("everywhere", "s < 1")
        where = "" if everywhere else f"; needs: {known.valid_on}"
        yield Assumption("A-2", "met" if everywhere else "assumed", f"{known.proof}{where}")
        yield Assumption("A-3", "met", f"the minimum of {known.formula} is 0")
        return
    if kind == "radial":
        yield Assumption("A-2", "met", "ψ is the inverse of ℓ: equality in the KL inequality")
        yield Assumption("A-3", "met", "ℓ(0) = 0 and ℓ increases")
        return
    reason = "the loss satisfies ψ'(L)‖∇L‖ >= 1 for 0 < L < L0 + η"
    if kind == "growth":
        reason = "follows if the loss is convex and grows as given (Example 2.3)"
    elif kind == "uniform convexity":
        reason = (
            "follows if the loss is uniformly convex with this modulus (Example 2.4, corrected)"
        )
    yield Assumption("A-2", "assumed", reason)
    yield Assumption("A-3", "assumed", "the minimum of the loss is 0")


# ---------------------------------------------------------------------------------------------
# JSON


@dataclass(frozen=True)
class Answer:
    """All that one call of `kltheory bound` shows."""

    law: RateLaw
    bound: Bound | None = None
    rows: tuple[Row, ...] = ()
    stopping_time: float | None = None
    extinction_time: float | None = None
    printed: Printed | None = None
    derivation: Derivation | None = None
    descent: Descent | None = None
    warnings: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """What was asked for and not computed within the limits, and why."""
    shown: LawFormulas = field(init=False)

    def __post_init__(self) -> None:
        from kltheory.symbolic.show import formulas

        object.__setattr__(self, "shown", formulas(self.law))

    def lacks(self, name: str) -> bool:
        """Whether this was asked for and not computed."""
        return any(note.startswith(f"{name}: not computed") for note in self.missing)

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything that the reader should know."""
        all_notes = [*self.law.desingularizer.warnings, *self.law.notes, *self.warnings]
        all_notes += self.missing
        finite = self.bound is not None and self.law.regime.loss == "finite-time"
        finite = finite and not self.lacks("extinction time")
        if finite and (self.extinction_time is None or math.isinf(self.extinction_time)):
            all_notes.append("the loss vanishes in finite time, but not before t = 1.8e308")
        return tuple(dict.fromkeys(all_notes))

    @property
    def method(self) -> str:
        """How Ψ and Ψ⁻¹, and the numbers, were obtained."""
        if self.bound is None or not self.rows:
            return self.law.method
        if self.law.desingularizer.source.startswith("samples"):
            return self.bound.curve.method
        tail = ""
        if self.law.regime.loss == "finite-time":
            tail = (
                "; the extinction time rests on an estimate of its tail, rounded up (not a proof)"
            )
        return f"{self.law.method}; numbers: {self.bound.curve.method}{tail}"


@dataclass(frozen=True, slots=True)
class Printed:
    """What the formulas of the paper's text give for the same constants."""

    rows: tuple[tuple[Fraction, dict[str, float | None]], ...]
    """Times, and the printed loss, parameters and signal at them."""
    stopping_time: float | None
    reasons: tuple[str, ...] = ()
    """Why a printed value is missing, and where the two differ."""


@dataclass(frozen=True, slots=True)
class Descent:
    """The guarantees for gradient descent."""

    step: Fraction
    """The step size η."""
    smoothness: Fraction
    """β, a Lipschitz constant of the gradient."""
    rows: tuple[Row, ...]
    """The guarantees at iterations; `t` is the iteration."""
    stopping_iteration: float | None
    """The iteration from which ‖y_j - ȳ‖ <= 2‖ε‖."""


def answer_dict(answer: Answer) -> dict[str, Any]:
    """The JSON of `kltheory bound`."""
    law, shown, bound = answer.law, answer.shown, answer.bound
    c = bound.constants if bound else None
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "psi": _formula_dict(shown.psi),
        "Psi": _formula_dict(shown.Psi),
        "psi_inverse": _formula_dict(shown.psi_inverse),
        "Psi_inverse": _formula_dict(shown.Psi_inverse),
        "curve": _curve_dict(shown),
        "radius": shown.radius.text,
        "source": law.desingularizer.source,
        "parameters_without_value": list(shown.parameters),
        "regime": law.regime.loss,
        "parameter_regime": law.regime.parameters,
        "order": _order(law),
        "regime_reason": law.regime.reason,
        "rate": {
            "loss": _said(shown.loss_rate).plain,
            "parameters": _said(shown.parameter_rate).plain,
        },
        "kappa": _plain_number(c.kappa) if c else None,
        "constants": _constants_dict(c),
        "extinction_time": _plain_number(answer.extinction_time),
        "stopping_time": _plain_number(answer.stopping_time),
        "values": [_row_dict(row) for row in answer.rows],
        "theory": bound.theory if bound else "corrected",
        "assumptions": [
            {"id": a.id, "status": a.status, "reason": a.reason} for a in assumptions(law, bound)
        ],
        "method": answer.method,
        "checks": [{"what": check.what, "how": check.how} for check in law.checks],
    }
    if answer.printed is not None:
        result["printed"] = {
            "values": [
                {"t": _plain_number(t), **{k: _plain_number(v) for k, v in values.items()}}
                for t, values in answer.printed.rows
            ],
            "stopping_time": _plain_number(answer.printed.stopping_time),
            "reasons": list(answer.printed.reasons),
        }
    if (descent := answer.descent) is not None:
        result["descent"] = {
            "step_size": _plain_number(descent.step),
            "smoothness": _plain_number(descent.smoothness),
            "values": [_iteration_dict(row) for row in descent.rows],
            "stopping_iteration": _plain_number(descent.stopping_iteration),
        }
    if answer.derivation is not None:
        result["derivation"] = [
            {
                "title": q.title,
                "why": q.why,
                "latex": q.latex,
                "text": q.text,
                "check": q.check,
            }
            for q in answer.derivation.steps
        ]
    result["warnings"] = list(answer.notes)
    return result


def _formula_dict(formula: Formula | None) -> dict[str, Any]:
    if formula is None:
        return {"expr": None, "latex": None, "closed_form": False}
    return {"expr": formula.text, "latex": formula.latex, "closed_form": True}


def _curve_dict(shown: LawFormulas) -> dict[str, Any] | None:
    if shown.curve is None:
        return None
    name, loss, value, primitive = shown.curve
    return {
        "parameter": name,
        "s": _formula_dict(loss),
        "psi": _formula_dict(value),
        "Psi": _formula_dict(primitive),
    }


def _order(law: RateLaw) -> float | None:
    return None if law.regime.order is None else float(law.regime.order)


def _constants_dict(c: Constants | None) -> dict[str, str] | None:
    if c is None:
        return None
    names = ("kappa", "loss0", "sigma_f", "sigma_j", "noise", "mu", "lip_f", "dist")
    return {n: _all_digits(v) for n in names if (v := getattr(c, n)) is not None}


def _all_digits(value: Fraction) -> str:
    """A rational number exactly; zeros at an end as a power of ten, where there are many.

    >>> [_all_digits(Fraction(q)) for q in ("1/3", "12e5000", "-1e-5000")]
    ['1/3', '12e5000', '-1/1e5000']
    """
    if max(abs(value.numerator), value.denominator) < 10**100:
        return str(value)
    parts = [value.numerator] if value.denominator == 1 else [value.numerator, value.denominator]
    texts = []
    for part in parts:
        sign, digits, _ = Decimal(part).as_tuple()
        text = "".join(map(str, digits))
        kept = text.rstrip("0")
        zeros = f"e{len(text) - len(kept)}" if len(kept) < len(text) else ""
        texts.append(f"{'-' if sign else ''}{kept}{zeros}")
    return "/".join(texts)


def _row_dict(row: Row) -> dict[str, Any]:
    return {
        "t": _plain_number(row.t),
        "t_exact": _all_digits(row.t),
        "loss": _finite(row.loss),
        "log_decrease": _plain_number(row.log_decrease),
        "parameters": _finite(row.parameters),
        "observation": _finite(row.observation),
        "signal": _finite(row.signal),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _iteration_dict(row: Row) -> dict[str, Any]:
    values = _row_dict(row)
    del values["t"], values["t_exact"]
    return {"iteration": int(row.t), **values}


# ---------------------------------------------------------------------------------------------
# The page of an answer


def _said(rate: Rate) -> Text:
    return Text(rate.text, rate.unicode, rate.latex)


def page(answer: Answer) -> Page:
    """The page of `kltheory bound`."""
    law, shown = answer.law, answer.shown
    parts: list[Pairs | Grid] = [Pairs("The law", tuple(_law_pairs(law, shown)))]
    parts.append(Pairs("Regime", tuple(_regime_pairs(law))))
    parts.append(_rate_pairs(shown))
    if answer.bound is not None:
        parts.append(Pairs("Constants", tuple(_constant_pairs(answer.bound.constants))))
        parts.append(Pairs("Times", tuple(_time_pairs(answer))))
    elif law.regime.loss == "finite-time":
        parts.append(
            Pairs("Times", ((words("extinction time"), words("finite; constants give its value")),))
        )
    if answer.rows:
        parts.append(_values(answer))
    if answer.descent is not None:
        parts += [*_descent(answer.descent)]
    if answer.printed is not None:
        parts.append(_beside(answer, answer.printed))
    if answer.derivation is not None:
        parts.append(_steps(answer.derivation))
    parts.append(_assumption_grid(assumptions(law, answer.bound)))
    parts.append(Pairs("How it was found", tuple(_how_pairs(answer))))
    return Page(_title(law, shown), tuple(parts), answer.notes, answer.hints)


def _title(law: RateLaw, shown: LawFormulas) -> Text:
    source = law.desingularizer.source
    lead = "Convergence rate for "
    if shown.psi is not None:
        text = _formula(shown.psi)
        tail = "" if source == "psi" else f" ({source})"
        return Text(
            f"{lead}psi(s) = {text.plain}{tail}",
            f"{lead}ψ(s) = {text.unicode}{tail}",
            rf"{lead}$\psi(s) = {shown.psi.latex}${_escape(tail)}",
        )
    return words(f"{lead}{source}")


def _law_pairs(law: RateLaw, shown: LawFormulas) -> Iterator[tuple[Text, Text]]:
    if shown.curve is not None:
        name, loss, value, primitive = shown.curve
        yield _math("s", "s", "s"), _formula(loss)
        yield _math("psi", "ψ", r"\psi"), _formula(value)
        yield words("along the curve"), words(f"{name} > 0")
        if primitive is not None:
            yield _math("Psi", "Ψ", r"\Psi"), _formula(primitive)
    elif shown.psi is not None:
        yield _PSI, _formula(shown.psi)
    yield _DOMAIN, _formula(shown.radius)
    if shown.psi is None and shown.curve is None:
        yield _PSI, words("interpolated between the samples by monotone cubics")
        return
    none = words("no closed form was found; numbers are computed")
    yield _PSI_INVERSE, none if shown.psi_inverse is None else _formula(shown.psi_inverse)
    if shown.curve is None:
        yield _BIG_PSI, none if shown.Psi is None else _formula(shown.Psi)
    yield (
        _BIG_PSI_INVERSE,
        none if shown.Psi_inverse is None else _formula(shown.Psi_inverse),
    )
    yield (
        words("where"),
        Text(
            "Psi' = -(psi')^2, up to a constant on which no bound depends",
            "Ψ' = -(ψ')², up to a constant on which no bound depends",
            r"$\Psi' = -(\psi')^2$, up to a constant on which no bound depends",
        ),
    )


def _regime_pairs(law: RateLaw) -> Iterator[tuple[Text, Text]]:
    r = law.regime
    order = "" if r.order is None else f", order {r.order}"
    yield words("loss"), words(f"{r.loss}{order}: {MEANING[r.loss]}")
    error_order = "" if r.parameter_order is None else f", order {r.parameter_order}"
    yield words("parameters"), words(f"{r.parameters}{error_order}")
    yield words("decided by"), words(r.reason)


def _rate_pairs(shown: LawFormulas) -> Pairs:
    pairs = ((_LOSS, _said(shown.loss_rate)), (_ERROR, _said(shown.parameter_rate)))
    if shown.loss_rate.closed:
        kappa = Text("sigma_F^2 sigma_J^2/4", "σ_F² σ_J²/4", r"$\sigma_F^2 \sigma_J^2/4$")
        return Pairs(
            "Rates: bounds (10) and (11)", (*pairs, (_math("kappa", "κ", r"\kappa"), kappa))
        )
    loss = _math("L(y(t))", "L(y(t))", r"\mathcal L_y(y(t))")
    error = _math("||theta(t) - theta_inf||", "‖θ(t) - θ∞‖", r"\|\theta(t) - \theta_\infty\|")
    pairs = ((loss, pairs[0][1]), (error, pairs[1][1]))
    return Pairs("Rates: asymptotic classes, not bounds", pairs)


_CONSTANTS = {
    "kappa": _math("kappa", "κ", r"\kappa"),
    "sigma_f": _math("sigma_F", "σ_F", r"\sigma_F"),
    "sigma_j": _math("sigma_J", "σ_J", r"\sigma_J"),
    "loss0": _math("L0", "L₀", "L_0"),
    "noise": _math("||eps||", "‖ε‖", r"\|\varepsilon\|"),
    "mu": _math("mu", "μ", r"\mu"),
    "lip_f": _math("L_F", "L_F", "L_F"),
    "dist": _math("dist(x, Sigma)", "dist(x̄, Σ)", r"\mathrm{dist}(\bar x, \Sigma)"),
}


def _constant_pairs(c: Constants) -> Iterator[tuple[Text, Text]]:
    for name, label in _CONSTANTS.items():
        value = getattr(c, name)
        if value is not None:
            tail = " = σ_F² σ_J²/4" if name == "kappa" and c.sigma_f is not None else ""
            shown = exact_text(value)
            yield label, Text(shown + tail, shown + tail, f"${shown}$")


def _time_pairs(answer: Answer) -> Iterator[tuple[Text, Text]]:
    extinct = answer.extinction_time
    never = "never: the bound stays above 0"
    if extinct is None and answer.law.regime.loss == "undetermined":
        never = "none is claimed"
    if answer.lacks("extinction time"):
        never = "not computed"
    yield words("extinction time"), words(never if extinct is None else number(extinct))
    stop = answer.stopping_time
    label = words("early stopping")
    if stop is None:
        lacks = answer.lacks("stopping time")
        yield label, words("not computed" if lacks else "needs the noise level")
        return
    t = "never" if math.isinf(stop) else number(stop)
    if math.isinf(stop):
        yield label, words("never: without noise the loss stays above 0")
        return
    yield (
        label,
        Text(
            f"||y(t) - ybar|| <= 2 ||eps|| for all t >= t* = {t}",
            f"‖y(t) - ȳ‖ ≤ 2‖ε‖ for all t ≥ t* = {t}",
            rf"$\|y(t) - \bar y\| \le 2\|\varepsilon\|$ for all $t \ge t^* = {t}$",
        ),
    )


_HEADER = {
    "t": _math("t", "t", "t"),
    "loss": _math("loss", "L(y(t)) ≤", r"\mathcal L_y(y(t)) \le"),
    "log_decrease": _math("log(L0/loss)", "log(L₀/L) ≥", r"\log(L_0/\mathcal L) \ge"),
    "parameters": _math("parameters", "‖θ(t)-θ∞‖ ≤", r"\|\theta(t)-\theta_\infty\| \le"),
    "observation": _math("observation", "‖y(t)-y‖ ≤", r"\|y(t)-y\| \le"),
    "signal": _math("signal", "‖x(t)-x̄‖ ≤", r"\|x(t)-\bar x\| \le"),
}
COLUMNS = tuple(_HEADER)
"""Columns of the table of values, as in CSV."""


def _values(answer: Answer) -> Grid:
    with_signal = any(row.signal is not None for row in answer.rows)
    names = [n for n in COLUMNS if n != "signal" or with_signal]
    rows = tuple(tuple(_cell(row, n) for n in names) for row in answer.rows)
    sharp = ", sharp form" if answer.bound is not None and answer.bound.theory == "sharp" else ""
    return Grid(
        f"Bounds over time{sharp}", tuple(_HEADER[n] for n in names), rows, note=_HOW_ROUNDED
    )


def _descent(descent: Descent) -> Iterator[Pairs | Grid]:
    """The table over iterations, and what it rests on."""
    eta, beta = exact_text(descent.step), exact_text(descent.smoothness)
    with_signal = any(row.signal is not None for row in descent.rows)
    names = [n for n in COLUMNS if n != "signal" or with_signal]
    header = (_math("j", "j", "j"), *(_HEADER[n] for n in names[1:]))
    rows = tuple(tuple(_cell(row, n) for n in names) for row in descent.rows)
    stop = descent.stopping_iteration
    ends = "" if stop is None else f" Early stopping: at iteration {_whole(stop)}."
    note = (
        f"Step size η = {eta}, gradient Lipschitz with β = {beta}; iteration j stands for y at θ_j."
        f" Assumes R' < (1 - ηβ/2) R.{ends}"
    )
    yield Grid("Gradient descent: bounds over iterations", header, rows, note=note)


def _whole(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f}"


_HOW_ROUNDED = (
    f"{DIGITS} digits, bounds rounded up and log(L0/L) down; the bound on the observation needs y"
    " to be the only minimiser of the loss."
)


def _cell(row: Row, name: str) -> Text:
    if name == "t":
        return _number(exact_text(row.t))
    if name == "loss" and row.log10_loss is not None:
        return _number(_power_of_ten(row.log10_loss))
    if name == "loss" and row.start is not None:
        return _number(_digits(_decimal(row.start), 1))
    return _number(number(getattr(row, name), -1 if name == "log_decrease" else 1))


def _number(shown: str) -> Text:
    inside = {"-": "--", "inf": r"$\infty$"}.get(shown)
    if inside is None:
        power = re.fullmatch(r"([<>]? ?)([\d.]+)e(-?\d+)", shown)
        if power:
            lead = "" if power[2] == "1" else rf"{power[2]} \cdot "
            inside = rf"${power[1]}{lead}10^{{{power[3]}}}$"
        elif shown.startswith("10^"):
            inside = f"$10^{{{shown[3:]}}}$"
        else:
            inside = f"${shown}$"
    return Text(shown, "∞" if shown == "inf" else shown, inside)


def _beside(answer: Answer, printed: Printed) -> Grid:
    """Printed values beside the corrected ones."""
    header = [_HEADER["t"]]
    names = ["loss", "parameters"]
    if any(values.get("signal") is not None for _, values in printed.rows):
        names.append("signal")
    for name in names:
        label = _HEADER[name]
        header += [_with(label, "printed"), _with(label, "corrected")]
    rows = []
    for row, (_, values) in zip(answer.rows, printed.rows, strict=True):
        cells = [_cell(row, "t")]
        for name in names:
            cells += [_number(number(values.get(name))), _cell(row, name)]
        rows.append(tuple(cells))
    stops = ""
    if answer.stopping_time is not None:
        ours, theirs = (_stop(v) for v in (answer.stopping_time, printed.stopping_time))
        stops = f"Early stopping: t* = {theirs} printed, {ours} corrected. "
    return Grid(
        "As printed in the paper (HAL v1), beside the corrected bounds",
        tuple(header),
        tuple(rows),
        note=stops + " ".join(printed.reasons),
    )


def _stop(value: float | None) -> str:
    return "none" if value is None else "infinite" if math.isinf(value) else number(value)


def _with(label: Text, tail: str) -> Text:
    return Text(f"{label.plain} {tail}", f"{label.unicode} {tail}", f"{label.latex} {tail}")


def _steps(derivation: Derivation) -> Pairs:
    pairs = []
    for i, step in enumerate(derivation.steps, 1):
        pairs.append(
            (words(f"{i}. {step.title}"), Text(step.text, step.unicode, f"${step.latex}$"))
        )
        pairs.append((words("   because"), words(step.why)))
        pairs.append((words("   checked"), words(step.check)))
    return Pairs("Derivation, each step checked by machine", tuple(pairs))


def _assumption_grid(listed: Sequence[Assumption]) -> Grid:
    header = (words("assumption"), words("status"), words("reason"))
    rows = tuple((words(a.id), words(a.status), words(a.reason)) for a in listed)
    return Grid("Assumptions", header, rows, words=True)


def _how_pairs(answer: Answer) -> Iterator[tuple[Text, Text]]:
    yield words("method"), words(answer.method)
    for check in answer.law.checks:
        yield words(check.what), words(check.how)


# ---------------------------------------------------------------------------------------------
# Text


def text(content: Page, *, ascii_only: bool = False) -> str:
    """The page as plain text: no colours, nothing cut, one line for one thing."""

    def said(t: Text) -> str:
        return t.plain if ascii_only else t.unicode

    lines = [said(content.title), "=" * len(said(content.title))]
    for part in content.parts:
        lines += ["", part.title, "-" * len(part.title)]
        if isinstance(part, Pairs):
            width = max(len(said(label)) for label, _ in part.pairs)
            for label, value in part.pairs:
                cases = said(value).split("\n")
                lines.append(f"{said(label):<{width}}  {cases[0]}")
                lines += [f"{'':<{width}}  {case}" for case in cases[1:]]
        else:
            lines += _text_table(part, said)
        if part.note:
            lines.append(part.note)
    if content.notes:
        lines += ["", "Warnings", "--------", *content.notes]
    if content.hints:
        lines += ["", *content.hints]
    return "\n".join(line.rstrip() for line in lines)


def _text_table(grid: Grid, said: Any) -> list[str]:
    cells = [[said(c) for c in row] for row in (grid.header, *grid.rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(grid.header))]
    align = "<" if grid.words else ">"
    return ["  ".join(f"{c:{align}{w}}" for c, w in zip(row, widths, strict=True)) for row in cells]


# ---------------------------------------------------------------------------------------------
# Terminal

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def sketch(
    name: str,
    clock: str,
    t: Sequence[float],
    values: Sequence[float],
    *,
    lines: int = 9,
    ascii_only: bool = False,
) -> str:
    """A curve on a log scale, drawn with letters: a column for each value, filled up to it.

    >>> print(sketch("L", "t", [0, 1, 2, 3], [1, 0.1, 0.01, 0.001], lines=3, ascii_only=True))
    L
     1.0e+00 |#
             |###
     1.0e-03 |####
              t from 0 to 3
    """
    logs = [math.log10(v) if 0 < v < math.inf else None for v in values]
    seen = [x for x in logs if x is not None]
    if not seen:
        return f"{name}: there is nothing to draw between 0 and infinity"
    low, high = min(seen), max(seen)
    unit = (high - low) / (lines - 1) or 1.0
    heights = [0.0 if x is None else 1.0 + (x - low) / unit for x in logs]
    rows = []
    for line in reversed(range(lines)):
        parts = (min(8, max(0, round(8 * (height - line)))) for height in heights)
        cells = "".join(" #"[part >= 4] if ascii_only else _EIGHTHS[part] for part in parts)
        label = {0: f"{10**low:.1e}", lines - 1: f"{10**high:.1e}"}.get(line, "")
        rows.append(f" {label:>7} |{cells}".rstrip())
    return "\n".join([name, *rows, f"{'':10}{clock} from {t[0]:.4g} to {t[-1]:.4g}"])


def rich_page(content: Page) -> Any:
    """The page as something that rich shows in colours."""
    from rich import box
    from rich.console import Group
    from rich.padding import Padding
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text as Rich

    blocks: list[Any] = [Panel(Rich(content.title.unicode, style="bold"), box=box.ROUNDED)]
    for part in content.parts:
        blocks.append(Rich(f"\n{part.title}", style="bold cyan"))
        if isinstance(part, Pairs):
            shown = Table.grid(padding=(0, 2))
            shown.add_column(no_wrap=True, style="dim")
            shown.add_column(overflow="fold")
            for label, value in part.pairs:
                shown.add_row(Rich(label.unicode), Rich(value.unicode))
        else:
            shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            last = len(part.header) - 1
            for i, label in enumerate(part.header):
                shown.add_column(
                    Rich(label.unicode),
                    justify="left" if part.words else "right",
                    no_wrap=not (part.words and i == last),
                    overflow="fold",
                )
            for row in part.rows:
                shown.add_row(*(Rich(c.unicode, style=_STYLES.get(c.plain, "")) for c in row))
        blocks.append(Padding(shown, (0, 0, 0, 2)))
        if part.note:
            blocks.append(Padding(Rich(part.note, style="dim"), (0, 0, 0, 2)))
    blocks += [Rich(f"\nWarning: {note}", style="yellow") for note in content.notes]
    blocks += [Rich(f"\n{hint}", style="italic") for hint in content.hints]
    return Group(*blocks)


_STYLES = {"met": "green", "violated": "bold red", "assumed": "yellow"}


def coloured(content: Page, width: int) -> str:
    """The page for a terminal of this width; tables are as wide as their numbers need."""
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=max(width, _widest(content)))
    console.print(rich_page(content), highlight=False, markup=False)
    return stream.getvalue()


def _widest(content: Page) -> int:
    """Columns that the widest table of numbers needs."""
    grids = [p for p in content.parts if isinstance(p, Grid) and not p.words]
    lines = [line for grid in grids for line in _text_table(grid, lambda t: t.unicode)]
    return max(map(len, lines), default=0) + 4


def wants_colour(stream: Any) -> bool:
    """True for a terminal that shows colours; NO_COLOR and FORCE_COLOR are respected."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(hasattr(stream, "isatty") and stream.isatty())


# ---------------------------------------------------------------------------------------------
# CSV, Markdown, LaTeX, HTML


def csv_text(answer: Answer) -> str:
    """The table of values with all digits; the printed ones in columns of their own."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    printed = answer.printed.rows if answer.printed else ()
    extra = ("loss", "parameters", "signal") if printed else ()
    writer.writerow((*COLUMNS, *(f"printed_{name}" for name in extra)))
    for i, row in enumerate(answer.rows):
        cells = [exact_text(row.t), *(_csv_cell(getattr(row, name)) for name in COLUMNS[1:])]
        cells += [_csv_cell(printed[i][1].get(name)) for name in extra]
        writer.writerow(cells)
    return stream.getvalue()


def _csv_cell(value: float | None) -> str:
    return "" if value is None else repr(value)


def markdown(content: Page) -> str:
    """The page as Markdown with LaTeX formulas between dollars."""
    lines = [f"## {_markdown(content.title)}"]
    for part in content.parts:
        lines += ["", f"### {part.title}", ""]
        if isinstance(part, Pairs):
            lines += [f"- {_markdown(label)}: {_markdown(value)}" for label, value in part.pairs]
        else:
            lines.append(_markdown_row(part.header))
            lines.append(
                "|" + "|".join(" --- " if part.words else " ---: " for _ in part.header) + "|"
            )
            lines += [_markdown_row(row) for row in part.rows]
        if part.note:
            lines += ["", part.note]
    lines += [f"\n> **Warning:** {note}" for note in content.notes]
    lines += [f"\n*{hint}*" for hint in content.hints]
    return "\n".join(lines)


def _markdown(t: Text) -> str:
    return t.latex if t.latex.startswith("$") or "$" in t.latex else t.unicode.replace("*", "\\*")


def _markdown_row(cells: Iterable[Text]) -> str:
    return "| " + " | ".join(_markdown(c).replace("|", r"\vert ") for c in cells) + " |"


_LATEX_SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "≤": r"$\le$", "≥": r"$\ge$", "<": "$<$", ">": "$>$", "∞": r"$\infty$", "·": r"$\cdot$",
    "‖": r"$\|$", "√": r"$\surd$", "∇": r"$\nabla$", "∫": r"$\int$", "∈": r"$\in$",
    "→": r"$\to$", "Σ": r"$\Sigma$", "²": "$^2$", "³": "$^3$", "⁻¹": "$^{-1}$", "¹": "$^1$",
    "₀": "$_0$", "₁": "$_1$", "₊": "$_+$", "½": r"$\tfrac12$", "−": "$-$", "–": "--",
    "ᵀ": r"$^\top$", "∂": r"$\partial$", ">=": r"$\ge$", "<=": r"$\le$", "≠": r"$\ne$", "⁰": "$^0$",
    "⁴": "$^4$", "⁺": "$^+$", "Γ": r"$\Gamma$", "Δ": r"$\Delta$",
    "⟨": r"$\langle$", "⟩": r"$\rangle$", "χ": r"$\chi$", "ζ": r"$\zeta$", "Θ": r"$\Theta$",
    "\N{COMBINING MACRON}": "",
    "ȳ": r"$\bar y$", "x̄": r"$\bar x$", "ℓ": r"$\ell$", "≈": r"$\approx$", "×": r"$\times$",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "ε": r"$\varepsilon$",
    "η": r"$\eta$", "θ": r"$\theta$", "κ": r"$\kappa$", "λ": r"$\lambda$", "Λ": r"$\Lambda$",
    "μ": r"$\mu$", "ν": r"$\nu$", "ξ": r"$\xi$", "π": r"$\pi$", "ρ": r"$\rho$", "σ": r"$\sigma$",
    "τ": r"$\tau$", "φ": r"$\varphi$", "ψ": r"$\psi$", "Ψ": r"$\Psi$", "ω": r"$\omega$",
    "…": r"\dots{}", "Ł": r"\L{}", "ś": r"\'s", "ć": r"\'c", "é": r"\'e",
}  # fmt: skip
_LATEX_PATTERN = re.compile(
    r"(?P<letter>[α-ω])_(?P<below>[A-Za-z]+)|"
    + "|".join(map(re.escape, sorted(_LATEX_SIGNS, key=len, reverse=True)))
    + r"|[^\x00-\x7f]"
)


def _escape(text: str) -> str:
    """Words for LaTeX: special signs escaped, letters of formulas in mathematical mode.

    >>> print(_escape("ψ' > 0 on 10% of A_1"))
    $\\psi$' $>$ 0 on 10\\% of A\\_1
    """
    return _LATEX_PATTERN.sub(_sign, text).replace("$$", "")


def _plain_letter(sign: str) -> str:
    """A sign that has no entry above, without its accents or as a question mark."""
    return unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode() or "?"


def _sign(match: re.Match[str]) -> str:
    """A sign, or a Greek letter with a subscript."""
    if match["letter"]:
        below = {"min": r"\min", "max": r"\max"}.get(match["below"], match["below"])
        return rf"{_LATEX_SIGNS[match['letter']][:-1]}_{{{below}}}$"
    return _LATEX_SIGNS.get(match[0]) or _plain_letter(match[0])


def latex_snippet(content: Page) -> str:
    """The page as LaTeX for an article with amsmath; no other package is needed."""
    lines = ["% made by kltheory; needs \\usepackage{amsmath}"]
    lines += [rf"\subsection*{{{content.title.latex}}}"]
    for part in content.parts:
        lines += ["", rf"\paragraph{{{_escape(part.title)}}}\mbox{{}}\par", ""]
        if isinstance(part, Pairs):
            lines.append(r"\begin{itemize}")
            lines += [rf"\item {_latex_pair(label, value)}" for label, value in part.pairs]
            lines.append(r"\end{itemize}")
        else:
            lines += _latex_table(part)
        if part.note:
            lines += ["", rf"\noindent {_escape(part.note)}"]
    for note in (*content.notes, *content.hints):
        lines += ["", rf"\noindent\emph{{{_escape(note)}}}"]
    return "\n".join(lines)


def _latex_pair(label: Text, value: Text) -> str:
    relation = r"\le$" in label.latex
    if value.latex.startswith("$") and value.latex.endswith("$") and value.latex.count("$") == 2:
        joint = " " if relation else " = " if label.latex.startswith("$") else ": "
        if label.latex.startswith("$"):
            return f"$\\displaystyle {label.latex.strip('$')}{joint}{value.latex.strip('$')}$"
        return f"{label.latex}: {value.latex}"
    return f"{label.latex}{'' if relation else ':'} {value.latex}"


def _latex_table(grid: Grid) -> list[str]:
    if grid.words:
        columns = "ll" + r"p{0.6\linewidth}"
    else:
        columns = "r" * len(grid.header)
    lines = [r"\begin{center}", rf"\begin{{tabular}}{{{columns}}}", r"\hline"]
    lines.append(" & ".join(c.latex for c in grid.header) + r" \\ \hline")
    lines += [" & ".join(c.latex for c in row) + r" \\" for row in grid.rows]
    return [*lines, r"\hline", r"\end{tabular}", r"\end{center}"]


def html(content: Page) -> str:
    """The page as HTML for a notebook, formulas for MathJax."""
    parts = [f"<h4>{_html(content.title)}</h4>"]
    for part in content.parts:
        parts.append(f"<b>{escape(part.title)}</b>")
        rows: list[str] = []
        if isinstance(part, Pairs):
            rows = [_html_row((label, value), "td", "left") for label, value in part.pairs]
        else:
            side = "left" if part.words else "right"
            rows = [
                _html_row(part.header, "th", side),
                *(_html_row(r, "td", side) for r in part.rows),
            ]
        parts.append(f"<table>{''.join(rows)}</table>")
        if part.note:
            parts.append(f"<p>{escape(part.note)}</p>")
    parts += [f"<p><b>Warning:</b> {escape(note)}</p>" for note in content.notes]
    parts += [f"<p><i>{escape(hint)}</i></p>" for hint in content.hints]
    return "\n".join(parts)


def _html(t: Text) -> str:
    formula = t.latex.startswith("$") and t.latex != _escape(t.unicode)
    return escape(t.latex if formula else t.unicode)


def _html_row(cells: Iterable[Text], tag: str, side: str) -> str:
    inside = "".join(f'<{tag} style="text-align:{side}">{_html(c)}</{tag}>' for c in cells)
    return f"<tr>{inside}</tr>"


# ---------------------------------------------------------------------------------------------
# What laws and bounds show of themselves


def answer_of(law: RateLaw, bound: Bound | None = None, times: Any = None) -> Answer:
    """The answer for a law, or for its bounds at these times (or at some that suit them)."""
    if bound is None:
        return Answer(law)
    from kltheory.numeric.table import check_times, default_times, rows

    at = default_times(bound) if times is None else check_times(times)
    c = bound.constants
    return Answer(
        law,
        bound,
        rows(bound, at),
        stopping_time=None if c.noise is None else bound.stopping_time(),
        extinction_time=bound.extinction_time(),
    )


def law_dict(law: RateLaw) -> dict[str, Any]:
    """The law as plain data: the JSON of `kltheory bound` without constants."""
    return answer_dict(Answer(law))


def bound_dict(law: RateLaw, bound: Bound, times: Any = None) -> dict[str, Any]:
    """The bounds as plain data: the JSON of `kltheory bound`."""
    return answer_dict(answer_of(law, bound, times))


def law_text(law: RateLaw) -> str:
    """The law on one screen of plain text."""
    return text(page(Answer(law)))


def bound_text(law: RateLaw, bound: Bound, times: Any = None) -> str:
    """The bounds on one screen of plain text."""
    return text(page(answer_of(law, bound, times)))


def law_html(law: RateLaw) -> str:
    """The law for a notebook."""
    return html(page(Answer(law)))


def bound_html(law: RateLaw, bound: Bound, times: Any = None) -> str:
    """The bounds for a notebook."""
    return html(page(answer_of(law, bound, times)))


def law_latex(law: RateLaw) -> str:
    """ψ, Ψ, Ψ⁻¹ and the rate as one formula between dollars, for a notebook."""
    from kltheory.symbolic.show import law_latex

    return law_latex(law)


def law_rich(law: RateLaw) -> Any:
    """The law for rich."""
    return rich_page(page(Answer(law)))


def bound_rich(law: RateLaw, bound: Bound, times: Any = None) -> Any:
    """The bounds for rich."""
    return rich_page(page(answer_of(law, bound, times)))
