"""From ψ to the rate: Ψ, Ψ⁻¹ and the regime (Theorem 3.2(i), Corollary 3.3).

The loss V along the flow satisfies V' <= -κ/ψ'(V)², κ = σ_F² σ_J²/4.  With Ψ a primitive of -ψ'²
this is Ψ(V(t)) >= κt + Ψ(V(0)), so V(t) <= Ψ⁻¹(κt + Ψ(L0)) =: γ.  Ψ is defined up to a constant,
and nothing that is reported as a bound depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sympy as sp
from sympy import S

from kltheory.symbolic.desingularizer import Check, Desingularizer, Piece, samples_inside
from kltheory.symbolic.inverse import inverses, tame_power
from kltheory.symbolic.parse import to_text
from kltheory.symbolic.primitive import integrand, primitives, real_form
from kltheory.symbolic.regime import Regime, classify, regime_of
from kltheory.symbolic.verify import inverse_holds, primitive_holds
from kltheory.symbolic.wire import decode, encode

#: Symbols of the law: the argument of Ψ⁻¹, time, κ, and the loss at time 0.
GAMMA = sp.Symbol("gamma", real=True)
TIME = sp.Symbol("t", positive=True)
KAPPA = sp.Symbol("kappa", positive=True)
LOSS0 = sp.Symbol("L0", positive=True)
#: The argument of ψ⁻¹.
PSI_VALUE = sp.Symbol("p", positive=True)

#: Seconds of symbolic work for one ψ, unless the caller says otherwise.
DEFAULT_LIMIT = 10.0


@dataclass(frozen=True)
class RateLaw:
    """The rate law of a desingularizing function.

    Ψ and Ψ⁻¹ are closed forms where they were found and verified, else None: a missing closed form
    is a normal answer, and numbers are then computed from ψ itself.
    """

    desingularizer: Desingularizer
    """ψ, with its domain and what was checked about it."""
    regime: Regime
    """How fast the loss and the parameters converge."""
    Psi: sp.Expr | None = None
    """A primitive of -ψ'², as a function of the symbol of ψ (up to a constant)."""
    Psi_inverse: sp.Expr | None = None
    """Ψ⁻¹ as a function of gamma; for a curve s = S(p) it gives p."""
    psi_inverse: sp.Expr | None = None
    """ψ⁻¹ as a function of p."""
    loss_bound: sp.Expr | None = None
    """Ψ⁻¹(κt + Ψ(L0)) in t, kappa, L0, simplified: free of the constant in Ψ."""
    how: dict[str, str] = field(default_factory=dict)
    """How each closed form was found."""
    checks: tuple[Check, ...] = ()
    """What was verified, and how."""
    notes: tuple[str, ...] = ()
    """What the reader should know: limits that were reached, cases."""

    @property
    def psi(self) -> sp.Expr:
        """ψ as an expression in the symbol of the desingularizer."""
        return self.desingularizer.value

    @property
    def tier(self) -> str:
        """ "closed": Ψ and Ψ⁻¹; "half-closed": Ψ only; "numeric": neither."""
        if self.Psi is None:
            return "numeric"
        return "half-closed" if self.Psi_inverse is None else "closed"

    @property
    def method(self) -> str:
        """How Ψ and Ψ⁻¹ are obtained, in a sentence."""
        return {
            "closed": "closed forms of Ψ and Ψ⁻¹",
            "half-closed": "closed form of Ψ, inverted by a bracketed solve on a logarithmic scale",
            "numeric": "Ψ by quadrature of ψ'² on a logarithmic scale, and its monotone inverse",
        }[self.tier]


# ---------------------------------------------------------------------------------------------
# The power family, where everything is known by hand (Corollary 3.3)


def monomial(d: Desingularizer) -> tuple[sp.Expr, sp.Expr] | None:
    """(c, α) if ψ(s) = c s^α, else None."""
    if not d.explicit or len(d.pieces) != 1:
        return None
    c, power = d.value.as_independent(d.symbol, as_Add=False)
    base, alpha = power.as_base_exp()
    if base != d.symbol or alpha.has(d.symbol):
        return None
    return c, alpha


def power_law(d: Desingularizer, c: sp.Expr, alpha: sp.Expr) -> RateLaw:
    """Corollary 3.3 for ψ(s) = c s^α, α a number or a symbol; all three cases if it is a symbol.

    Corrected: see `kltheory audit E11`, and E4 for the exponents that are empty.

    α < 1/2: polynomial; α = 1/2: exponential; α > 1/2: extinction in finite time, which A-1
    excludes (the gradient of such a loss is not Lipschitz at its minimum).
    """
    s = d.symbol
    excess = sp.simplify(1 - 2 * alpha)
    size = c**2 * alpha**2
    speed = excess * KAPPA * TIME / size
    below = {
        "Psi": size / excess * s ** (-excess),
        "Psi_inverse": tame_power(excess * GAMMA / size, -1 / excess),
        "loss_bound": (LOSS0 ** (-excess) + speed) ** (-1 / excess),
    }
    at = {
        "Psi": -(c**2) * sp.log(s) / 4,
        "Psi_inverse": sp.exp(-4 * GAMMA / c**2),
        "loss_bound": LOSS0 * sp.exp(-4 * KAPPA * TIME / c**2),
    }
    above = {
        "Psi": size / excess * s ** (-excess),
        "Psi_inverse": tame_power(sp.Max(0, excess * GAMMA / size), -1 / excess),
        "loss_bound": sp.Max(0, LOSS0 ** (-excess) + speed) ** (-1 / excess),
    }
    if excess.is_number:
        case = at if excess.is_zero else below if excess.is_positive else above
        if excess.is_zero:
            regime = regime_of("exponential", c**2 / 4, "Corollary 3.3 with α = 1/2")
        elif excess.is_positive:
            regime = regime_of("polynomial", excess, "Corollary 3.3 with α < 1/2")
        else:
            regime = regime_of("finite-time", excess, "Corollary 3.3 with α > 1/2, corrected")
        laws = case
        notes: tuple[str, ...] = ()
    else:
        half = sp.Rational(1, 2)
        laws = {
            key: sp.Piecewise(
                (below[key], alpha < half), (at[key], sp.Eq(alpha, half)), (above[key], True)
            )
            for key in below
        }
        regime = Regime(
            "undetermined",
            "undetermined",
            reason=f"depends on α = {to_text(alpha)}: polynomial of order 1/(1 - 2α) below 1/2,"
            " exponential at 1/2, extinct in finite time above 1/2",
        )
        notes = (f"three cases, by the value of α = {to_text(alpha)}",)
    check = Check(
        "Ψ' = -ψ'² and Ψ⁻¹(Ψ(s)) = s", "derived by hand; tested symbolically for the family"
    )
    return RateLaw(
        d,
        regime,
        laws["Psi"],
        laws["Psi_inverse"],
        (PSI_VALUE / c) ** (1 / alpha),
        laws["loss_bound"],
        {"Psi": "the power rule", "Psi_inverse": "solved for s"},
        (*d.checks, check),
        notes,
    )


# ---------------------------------------------------------------------------------------------
# Any other ψ


def derive(d: Desingularizer, seconds: float = DEFAULT_LIMIT) -> RateLaw:
    """The rate law of ψ: closed forms within `seconds` of symbolic work, and the regime.

    >>> law = derive(Desingularizer.from_psi("asinh(s)"))
    >>> law.Psi, law.regime.loss
    (-atan(s), 'finite-time')
    """
    from kltheory.symbolic.worker import events

    if (power := monomial(d)) is not None:
        return power_law(d, *power)
    assembler = _Assembler(d)
    started = time.monotonic()
    for event in events(task_of(d), seconds):
        assembler.take(event)
    return assembler.law(seconds, time.monotonic() - started)


def task_of(d: Desingularizer) -> dict[str, Any]:
    """What the worker needs to know, as plain data."""
    return {
        "symbol": encode(d.symbol),
        "pieces": [[encode(e) for e in (q.lower, q.upper, q.loss, q.value)] for q in d.pieces],
        "radius": encode(d.radius),
        "points": [encode(q) for q in samples_inside(d)],
    }


def work(
    task: dict[str, Any], seconds: float, attempt: Callable[..., Any]
) -> Iterator[dict[str, Any]]:
    """The symbolic work of one ψ, as events; runs in the worker process.

    `attempt(f, share)` calls f for at most that many seconds and returns None if it did not finish.
    """
    if task.get("kind") == "primitive":
        from kltheory.symbolic.primitive_of import work as primitive_work

        yield from primitive_work(task, seconds, attempt)
        return
    p = decode(task["symbol"])
    pieces = [Piece(*map(decode, piece)) for piece in task["pieces"]]
    radius = decode(task["radius"])
    all_points = [decode(q) for q in task["points"]]
    short, middle = seconds / 12, seconds / 5

    first = pieces[0]
    if not (first.loss.free_symbols | first.value.free_symbols) - {p}:
        regime = classify(first.loss, first.value, p, lambda f: attempt(f, seconds / 6))
        yield {
            "kind": "regime",
            "names": [regime.loss, regime.parameters, regime.reason],
            "numbers": [
                None if e is None else encode(e)
                for e in (regime.order, regime.parameter_order, regime.limit, regime.exponent)
            ],
        }
    forms: list[sp.Expr | None] = []
    for i, piece in enumerate(pieces):
        points, extremes = _points(piece, radius, all_points, len(pieces) == 1)
        free = (piece.loss.free_symbols | piece.value.free_symbols) - {p}
        found = _primitive(
            piece, p, points, extremes, free, lambda f, share=1: attempt(f, share * middle)
        )
        forms.append(None if found is None else found[0])
        if found is not None:
            yield {"kind": "Psi", "piece": i, "expr": encode(found[0]), "how": found[1]}
    for i, (piece, form) in enumerate(zip(pieces, forms, strict=True)):
        points, _ = _points(piece, radius, all_points, len(pieces) == 1)
        if form is not None:
            inverse = attempt(partial(_inverse, form, p, GAMMA, points), seconds / 3)
            if inverse is not None:
                yield {"kind": "Psi_inverse", "piece": i, "expr": encode(inverse)}
                if len(pieces) == 1 and first.loss == p:
                    bound = attempt(partial(_bound, form, inverse, p), short)
                    if bound is not None:
                        yield {"kind": "loss_bound", "expr": encode(bound)}
        inverse = attempt(partial(_inverse, piece.value, p, PSI_VALUE, points), short)
        if inverse is not None:
            yield {"kind": "psi_inverse", "piece": i, "expr": encode(inverse)}


def _points(
    piece: Piece, radius: sp.Expr, points: list[sp.Expr], single: bool
) -> tuple[list[sp.Expr], list[sp.Expr]]:
    """Test points inside a piece, and extreme ones."""
    if single:
        tiny = [sp.Rational(1, 10**30)]
        huge = [S(40)] if radius is S.Infinity and piece.loss.is_Symbol else []
        return points, tiny + huge
    if piece.upper is S.Infinity:
        return [piece.lower * q for q in (sp.Rational(9, 8), 2, 5, 9)], []
    shares = [sp.Rational(k, 16) for k in (1, 3, 8, 13, 15)]
    return [piece.lower + (piece.upper - piece.lower) * q for q in shares], []


def _primitive(
    piece: Piece,
    p: sp.Symbol,
    points: list[sp.Expr],
    extremes: list[sp.Expr],
    free: set[sp.Symbol],
    attempt: Callable[..., Any],
) -> tuple[sp.Expr, str] | None:
    names = sorted(free, key=lambda q: str(q.name))
    swap = {q: sp.Rational(3 + i, 7 + 2 * i) for i, q in enumerate(names)}
    f = integrand(piece.loss, piece.value, p)
    for candidate in primitives(piece.loss, piece.value, p, attempt):
        form = attempt(partial(real_form, candidate.expr.subs(swap), p, points[2]))
        if form is None:
            continue
        checked = attempt(partial(primitive_holds, form, f.subs(swap), p, points, extremes), 2)
        if checked:
            return (form if not swap else candidate.expr), candidate.how
    return None


def _inverse(form: sp.Expr, p: sp.Symbol, u: sp.Symbol, points: list[sp.Expr]) -> sp.Expr | None:
    names = sorted(form.free_symbols - {p}, key=lambda q: str(q.name))
    swap = {q: sp.Rational(3 + i, 7 + 2 * i) for i, q in enumerate(names)}
    for candidate in inverses(form, p, u):
        if candidate.has(S.ImaginaryUnit, S.NaN, S.ComplexInfinity):
            continue
        if inverse_holds(candidate.subs(swap), u, form.subs(swap), p, points):
            return candidate
    return None


def _bound(form: sp.Expr, inverse: sp.Expr, p: sp.Symbol) -> sp.Expr:
    gamma = KAPPA * TIME + form.subs(p, LOSS0)
    return sp.simplify(sp.powsimp(sp.expand_power_exp(inverse.subs(GAMMA, gamma))))


class _Assembler:
    """Puts the events of the worker together, piece by piece."""

    def __init__(self, d: Desingularizer) -> None:
        self.d = d
        self.found: dict[str, dict[int, sp.Expr]] = {
            "Psi": {},
            "Psi_inverse": {},
            "psi_inverse": {},
        }
        self.how: dict[str, str] = {}
        self.bound: sp.Expr | None = None
        self.regime: Regime | None = None
        self.notes: list[str] = []

    def take(self, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind in self.found:
            self.found[kind][event.get("piece", 0)] = decode(event["expr"])
            self.how.setdefault(kind, event.get("how", "solved for s"))
        elif kind == "loss_bound":
            self.bound = decode(event["expr"])
        elif kind == "regime":
            numbers = [None if e is None else decode(e) for e in event["numbers"]]
            loss, parameters, reason = event["names"]
            order, parameter_order, limit, exponent = numbers
            self.regime = Regime(loss, parameters, order, parameter_order, limit, exponent, reason)
        elif kind == "note":
            self.notes.append(event["text"])

    def law(self, limit: float, spent: float) -> RateLaw:
        d, n = self.d, len(self.d.pieces)
        Psi, shifts = self._joined_primitive(n)
        Psi_inverse = None if Psi is None else self._joined_inverse(shifts)
        psi_inverse = self._joined_psi_inverse(n)
        regime = self.regime or Regime(
            "undetermined",
            "undetermined",
            reason="ψ has free parameters" if d.parameters else "the time limit was reached",
        )
        checks = list(d.checks)
        if Psi is not None:
            checks.append(
                Check(
                    "Ψ' = -ψ'²", "evaluated at 5 points to 1e-20, and against quadrature to 1e-12"
                )
            )
        if Psi_inverse is not None:
            checks.append(Check("Ψ⁻¹(Ψ(s)) = s", "evaluated at 5 points to 1e-20"))
        return RateLaw(
            d,
            regime,
            Psi,
            Psi_inverse,
            psi_inverse,
            self.bound,
            dict(self.how),
            tuple(checks),
            tuple(self.notes),
        )

    def _joined_primitive(self, n: int) -> tuple[sp.Expr | None, list[sp.Expr]]:
        forms = self.found["Psi"]
        if len(forms) < n:
            return None, []
        p, shifts = self.d.symbol, [S.Zero]
        for i, piece in enumerate(self.d.pieces[:-1]):
            gap = (forms[i] + shifts[i] - forms[i + 1]).subs(p, piece.upper)
            shifts.append(sp.nsimplify(gap) if gap.is_Rational else gap)
        if n == 1:
            return forms[0], shifts
        cases = [
            (forms[i] + shifts[i], p < piece.upper if i < n - 1 else S.true)
            for i, piece in enumerate(self.d.pieces)
        ]
        return sp.Piecewise(*cases), shifts

    def _joined_inverse(self, shifts: list[sp.Expr]) -> sp.Expr | None:
        forms, n = self.found["Psi_inverse"], len(self.d.pieces)
        if len(forms) < n:
            return None
        if n == 1:
            return forms[0]
        p, cases = self.d.symbol, []
        for i, piece in enumerate(self.d.pieces):
            knot = (self.found["Psi"][i] + shifts[i]).subs(p, piece.upper) if i < n - 1 else None
            inside = S.true if knot is None else sp.Gt(GAMMA, knot)
            cases.append((forms[i].subs(GAMMA, GAMMA - shifts[i]), inside))
        return sp.Piecewise(*cases)

    def _joined_psi_inverse(self, n: int) -> sp.Expr | None:
        forms = self.found["psi_inverse"]
        if len(forms) < n:
            return None
        if n == 1:
            return forms[0]
        cases = [
            (
                forms[i],
                PSI_VALUE < piece.value.subs(self.d.symbol, piece.upper) if i < n - 1 else S.true,
            )
            for i, piece in enumerate(self.d.pieces)
        ]
        return sp.Piecewise(*cases)
