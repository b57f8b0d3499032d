"""Enclosures of a function on a whole half-line [M, ∞), for its end there.

On t ≥ M ≥ 4 every node of a tree is held as a sum of terms

    γ(t) t^a (log t)^l exp(Σ r_j t^c_j),      γ(t) in a known interval,

with rational a, l, r_j and c_j.  Sums and products are exact in the exponents, and an interval
that is one rational number is kept exact, so that what cancels at infinity cancels.  The rest of
f(c + u) is u f'(ξ), with ξ in the range of c + u: decay survives.  The same with x = 1/t encloses
a function on (0, 1/M].
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cmp_to_key
from typing import Any, TypeAlias

import sympy as sp

from kltheory.symbolic.exact import EvaluationError, float_fraction
from kltheory.symbolic.fields import BallField

__all__ = ["End", "Undecided"]

Ball: TypeAlias = Any
"""An arb."""
Ends: TypeAlias = tuple[Ball, Ball]
"""Two arbs without radius, with the values between them."""
Coefficient: TypeAlias = "Fraction | Ends"
Key: TypeAlias = tuple[tuple[tuple[Fraction, Fraction], ...], Fraction, Fraction]
"""((c_j, r_j) with falling c_j, a, l)."""
Terms: TypeAlias = dict[Key, Coefficient]

_ONE: Key = ((), Fraction(0), Fraction(0))
_KEPT = 8
"""Terms that are kept apart; smaller ones are added to the interval of the last."""
_GRAIN = Fraction(1, 2**20)


class Undecided(Exception):
    """The function has no enclosure of this kind on [M, ∞), or none is found."""


def _product(p: Key, q: Key, sign: int = 1) -> Key:
    rates = dict(p[0])
    for c, r in q[0]:
        rates[c] = rates.get(c, Fraction(0)) + sign * r
    kept = sorted(((c, r) for c, r in rates.items() if r), reverse=True)
    return tuple(kept), p[1] + sign * q[1], p[2] + sign * q[2]


def _growth(key: Key) -> int:
    """1 if t^a (log t)^l exp(...) tends to infinity, -1 if it tends to 0, 0 if it is 1."""
    for value in (*(r for _, r in key[0]), key[1], key[2]):
        if value:
            return 1 if value > 0 else -1
    return 0


def _slower(p: Key, q: Key) -> int:
    return -_growth(_product(p, q, -1))


def _falling(keys: Iterable[Key]) -> list[Key]:
    """Sort by growth, the fastest first."""
    return sorted(keys, key=cmp_to_key(_slower))


def _is(value: Coefficient, number: int) -> bool:
    """Say whether an interval is exactly that number."""
    return isinstance(value, Fraction) and value == number


def _ends(ball: Ball) -> Ends:
    return ball.lower(), ball.upper()


@dataclass(frozen=True, slots=True)
class Lead:
    """f = c·s·(1 + u): s the dominant scale, u in a bounded interval."""

    key: Key
    coefficient: Coefficient
    """c, without 0."""
    rest: Terms
    """u."""
    span: Ball
    """An interval of 1 + u, without 0."""


class End:
    """A function of x > 0 on x ≥ M, or with `near_zero` on 0 < x ≤ 1/M.

    The caller holds the precision of python-flint.
    """

    def __init__(self, symbol: Any, start: float, near_zero: bool = False) -> None:
        import flint

        if start < 4:
            raise Undecided("the half-line must start at 4 or beyond")
        self.arb: Any = flint.arb
        self.fmpq: Any = flint.fmpq
        self.field = BallField()
        self.symbol = symbol
        self.start = self.arb(start)
        self.log_start = self.start.log()
        self.sign = -1 if near_zero else 1
        self._known: dict[Any, Terms] = {}

    # what is asked -------------------------------------------------------------------------------

    def span(self, expr: Any) -> Ends:
        """Return an interval that contains the values on the whole half-line."""
        return self._span(self.terms(expr))

    def limit(self, expr: Any) -> tuple[int, Ends]:
        """Return (0, an interval around the limit), or (±1, _) where f tends to ±∞."""
        found = self.terms(expr)
        fastest = next(iter(_falling(found)), _ONE)
        if _growth(fastest) > 0:
            lead = self._lead(found)
            return self._side(lead), _ends(self.arb(0))
        return 0, self._as_ends(found.get(_ONE, Fraction(0)))

    def sign_of(self, expr: Any) -> int:
        """Return the sign that f has on the whole half-line.

        Raises:
            Undecided: it is not seen to have one.
        """
        return self._side(self._lead(self.terms(expr)))

    def unbounded(self, expr: Any) -> bool:
        """Say whether |f| is proved to be unbounded."""
        try:
            found = self.terms(expr)
            return bool(found) and _growth(self._lead(found).key) > 0
        except (Undecided, EvaluationError):
            return False

    # intervals -----------------------------------------------------------------------------------

    def _ball(self, value: Coefficient) -> Ball:
        if isinstance(value, Fraction):
            return self.arb(self.fmpq(value.numerator, value.denominator))
        return value[0].union(value[1])

    def _as_ends(self, value: Coefficient) -> Ends:
        return _ends(self._ball(value)) if isinstance(value, Fraction) else value

    def _side(self, lead: Lead) -> int:
        return 1 if self._ball(lead.coefficient) * lead.span > 0 else -1

    def _scale(self, key: Key) -> Ends:
        """Return the range of t^a (log t)^l exp(...) on t ≥ M, where it falls from M on."""
        if key == _ONE:
            return _ends(self.arb(1))
        rates, a, log_power = key
        # d/dlog t of the logarithm is a + l/log t + Σ r c t^c, to be seen to be ≤ 0 from M on
        slope = self._ball(a) + self._ball(max(log_power, Fraction(0))) / self.log_start
        if rates:
            top, rate = rates[0]
            pull = self._ball(rate * top)
            for c, r in rates[1:]:
                if r > 0:
                    pull = pull + self._ball(r * c) * self._power(c - top)
            if not pull < 0:
                raise Undecided("it does not decay yet")
            slope = slope + pull * self._power(top)
        if not slope <= 0:
            raise Undecided("it does not decay yet, or never")
        at_start = self._power(a) * self.log_start ** self._ball(log_power)
        for c, r in rates:
            at_start = at_start * (self._ball(r) * self._power(c)).exp()
        return self.arb(0), at_start.upper()

    def _power(self, a: Fraction) -> Ball:
        return (self._ball(a) * self.log_start).exp()

    def _span(self, terms: Terms) -> Ends:
        total: Coefficient = Fraction(0)
        for key, coefficient in terms.items():
            total = self._added(total, self._times(coefficient, self._scale(key)))
        low, high = self._as_ends(total)
        if not (low.is_finite() and high.is_finite()):
            raise Undecided("no finite enclosure")
        return low, high

    def _range(self, terms: Terms) -> Ball:
        return self._ball(self._span(terms))

    # sums and products ---------------------------------------------------------------------------

    def _added(self, p: Coefficient, q: Coefficient) -> Coefficient:
        if isinstance(p, Fraction) and isinstance(q, Fraction):
            return p + q
        (a, b), (c, d) = self._as_ends(p), self._as_ends(q)
        return (a + c).lower(), (b + d).upper()

    def _times(self, p: Coefficient, q: Coefficient) -> Coefficient:
        if isinstance(p, Fraction) and isinstance(q, Fraction):
            return p * q
        products = [x * y for x in self._as_ends(p) for y in self._as_ends(q)]
        if not all(product.is_finite() for product in products):
            raise Undecided("no finite enclosure")
        return min(x.lower() for x in products), max(x.upper() for x in products)

    def _sum(self, parts: list[Terms]) -> Terms:
        total: Terms = {}
        for part in parts:
            for key, value in part.items():
                total[key] = self._added(total.get(key, Fraction(0)), value)
        return self._trimmed(total)

    def _trimmed(self, terms: Terms) -> Terms:
        kept = {key: value for key, value in terms.items() if not _is(value, 0)}
        if len(kept) <= _KEPT:
            return kept
        order = _falling(kept)
        last = order[_KEPT - 1]
        for key in order[_KEPT:]:
            share = self._times(kept.pop(key), self._scale(_product(key, last, -1)))
            kept[last] = self._added(kept[last], share)
        return kept

    def _mul(self, p: Terms, q: Terms) -> Terms:
        total: Terms = {}
        for k1, c1 in p.items():
            for k2, c2 in q.items():
                key = _product(k1, k2)
                total[key] = self._added(total.get(key, Fraction(0)), self._times(c1, c2))
        return self._trimmed(total)

    def _scaled(self, terms: Terms, factor: Ball) -> Terms:
        return {key: self._times(value, _ends(factor)) for key, value in terms.items()}

    def _lead(self, terms: Terms) -> Lead:
        if not terms:
            raise Undecided("it is 0")
        key = _falling(terms)[0]
        coefficient = terms[key]
        ball = self._ball(coefficient)
        if ball.contains(0):
            raise Undecided("the size of the dominant term is not known")
        rest: Terms = {}
        for k, c in terms.items():
            if k != key:
                inverse = 1 / coefficient if isinstance(coefficient, Fraction) else _ends(1 / ball)
                rest[_product(k, key, -1)] = self._times(c, inverse)
        span = 1 + self._range(rest)
        if span.contains(0):
            raise Undecided("the rest is not small yet")
        return Lead(key, coefficient, rest, span)

    def _constant_part(self, terms: Terms) -> tuple[Coefficient, Terms, Ball]:
        """Split f = γ + u, u tending to 0, and return the range of f as well."""
        rest = {key: value for key, value in terms.items() if key != _ONE}
        return terms.get(_ONE, Fraction(0)), rest, self._range(terms)

    # functions -----------------------------------------------------------------------------------

    def _pow(self, terms: Terms, q: Fraction) -> Terms:
        if q.denominator == 1 and 0 <= q <= 4:
            found: Terms = {_ONE: Fraction(1)}
            for _ in range(int(q)):
                found = self._mul(found, terms)
            return found
        lead = self._lead(terms)
        c, whole = lead.coefficient, q.denominator == 1
        if not whole and not (self._ball(c) > 0 and lead.span > 0):
            raise Undecided("a power of a negative number")
        if isinstance(c, Fraction) and (whole or _is(c, 1)):
            powered: Coefficient = c ** int(q) if whole else Fraction(1)
        else:
            powered = _ends(self._ball(c) ** self._ball(q))
        key: Key = (
            tuple((x, r * q) for x, r in lead.key[0]),
            lead.key[1] * q,
            lead.key[2] * q,
        )
        slope = self._ball(q) * lead.span.union(self.arb(1)) ** self._ball(q - 1)
        tail = self._sum([{_ONE: Fraction(1)}, self._scaled(lead.rest, slope)])
        return self._mul({key: powered}, tail)

    def _log(self, terms: Terms) -> Terms:
        lead = self._lead(terms)
        if not (self._ball(lead.coefficient) > 0 and lead.span > 0):
            raise Undecided("the logarithm of a negative number")
        if lead.key[2]:
            raise Undecided("the logarithm of a logarithm")
        head: Terms = {((), c, Fraction(0)): r for c, r in lead.key[0]}
        if not _is(lead.coefficient, 1):
            head[_ONE] = _ends(self._ball(lead.coefficient).log())
        if lead.key[1]:
            head[((), Fraction(0), Fraction(1))] = lead.key[1]
        return self._sum([head, self._scaled(lead.rest, 1 / lead.span.union(self.arb(1)))])

    def _exp(self, terms: Terms) -> Terms:
        factor: Terms = {_ONE: Fraction(1)}
        small: Terms = {}
        for key, value in terms.items():
            rates, a, log_power = key
            growth = _growth(key)
            if growth < 0:
                small[key] = value
            elif key == _ONE:
                factor = self._mul(factor, {_ONE: _ends(self._ball(value).exp())})
            elif rates or log_power:
                return self._super(terms)
            elif isinstance(value, Fraction):
                factor = self._mul(factor, {(((a, value),), Fraction(0), Fraction(0)): Fraction(1)})
            else:
                # exp(γ t^a) ≤ exp(r t^a) for a rational r between γ and 0
                if not value[1] < 0:
                    raise Undecided("the rate of growth is not known exactly")
                rate = -_GRAIN * math.floor(-float(value[1]) / float(_GRAIN) - 1)
                if not (rate < 0 and self._ball(rate) >= value[1]):
                    raise Undecided("the rate of decay is too small, or too large")
                bounded = self.arb(0), self.arb(1)
                factor = self._mul(factor, {(((a, rate),), Fraction(0), Fraction(0)): bounded})
        if not small:
            return factor
        slope = self._range(small).union(self.arb(0)).exp()
        return self._mul(factor, self._sum([{_ONE: Fraction(1)}, self._scaled(small, slope)]))

    def _super(self, terms: Terms) -> Terms:
        """Enclose exp(f) in [0, 1] exp(-t²), where f ≤ -t² on the half-line."""
        lead = self._lead(terms)
        if not self._ball(lead.coefficient) * lead.span < 0:
            raise Undecided("it grows faster than an exponential")
        inverse = _product(_ONE, _product(lead.key, ((), Fraction(-2), Fraction(0))), -1)
        factor = (self._ball(lead.coefficient) * lead.span).abs_lower()
        if not self._scale(inverse)[1] <= factor:  # t²/s(t) falls, and is ≤ |f|/s
            raise Undecided("it does not decay yet")
        square = ((Fraction(2), Fraction(-1)),)
        return {(square, Fraction(0), Fraction(0)): (self.arb(0), self.arb(1))}

    def _unbounded_sign(self, terms: Terms) -> int:
        """Return the sign of f if |f| tends to infinity, else 0."""
        if not terms or _growth(_falling(terms)[0]) <= 0:
            return 0
        return self._side(self._lead(terms))

    def _call(self, name: str, f: Terms) -> Terms:
        sign = 0 if name in ("sin", "cos") else self._unbounded_sign(f)
        if name in ("sin", "cos") and any(_growth(key) > 0 for key in f):
            return {_ONE: (self.arb(-1), self.arb(1))}
        one: Terms = {_ONE: Fraction(1)}

        def times(terms: Terms, q: int) -> Terms:
            return self._mul(terms, {_ONE: Fraction(q)})

        if name in ("sinh", "cosh") and sign:
            other = times(self._exp(times(f, -1)), -1 if name == "sinh" else 1)
            return self._mul(self._sum([self._exp(f), other]), {_ONE: Fraction(1, 2)})
        if name == "tanh" and sign:  # sign (1 - 2e/(1 + e)), e = exp(-2|f|)
            e = self._exp(times(f, -2 * sign))
            tail = self._mul(e, self._pow(self._sum([one, e]), Fraction(-1)))
            return times(self._sum([one, times(tail, -2)]), sign)
        if name in ("erf", "erfc") and sign:  # 0 ≤ erfc(t) ≤ exp(-t²) for t ≥ 0
            below = self._exp(times(self._mul(f, f), -1))
            tail = self._scaled(below, self.arb(0).union(self.arb(1)))
            if name == "erfc" and sign > 0:
                return tail
            erf = times(self._sum([one, times(tail, -1)]), sign)
            return erf if name == "erf" else self._sum([one, times(erf, -1)])
        if name == "atan" and sign:
            inverse = self._call("atan", self._pow(f, Fraction(-1)))
            return self._sum([{_ONE: _ends(sign * self.arb.pi() / 2)}, times(inverse, -1)])
        if name == "asinh" and sign:
            size = times(f, sign)
            root = self._pow(self._sum([self._mul(f, f), one]), Fraction(1, 2))
            return times(self._log(self._sum([size, root])), sign)
        if sign or name not in _SLOPES:
            raise Undecided(f"{name} is not enclosed here")
        centre, rest, whole = self._constant_part(f)
        if _is(centre, 0):
            value: Coefficient = Fraction(1 if name in ("cos", "cosh", "erfc") else 0)
        else:
            value = _ends(getattr(self._ball(centre), name)())
        slope = _SLOPES[name](whole.union(self._ball(centre)))
        if not slope.is_finite():
            raise Undecided(f"{name} has no bounded slope here")
        return self._sum([{_ONE: value}, self._scaled(rest, slope)])

    # the tree ------------------------------------------------------------------------------------

    def terms(self, expr: Any) -> Terms:
        """Return the terms of a tree.

        Raises:
            Undecided: there are none, or this M is too small to see them.
        """
        found = self._known.get(expr)
        if found is None:
            found = self._known[expr] = self._terms(expr)
        return found

    def _terms(self, expr: Any) -> Terms:
        if expr == self.symbol:
            return {((), Fraction(self.sign), Fraction(0)): Fraction(1)}
        if not expr.has(self.symbol):
            return self._number(expr)
        if expr.is_Add:
            return self._sum([self.terms(part) for part in expr.args])
        if expr.is_Mul:
            found: Terms = {_ONE: Fraction(1)}
            for part in expr.args:
                found = self._mul(found, self.terms(part))
            return found
        if isinstance(expr, sp.exp):
            return self._exp(self.terms(expr.args[0]))
        if expr.is_Pow:
            if expr.exp.is_Rational:
                return self._pow(self.terms(expr.base), Fraction(int(expr.exp.p), int(expr.exp.q)))
            if expr.base is sp.E:
                return self._exp(self.terms(expr.exp))
            return self._exp(self._mul(self.terms(expr.exp), self._log(self.terms(expr.base))))
        if isinstance(expr, sp.log):
            return self._log(self.terms(expr.args[0]))
        if isinstance(expr, sp.Function) and len(expr.args) == 1:
            return self._call(type(expr).__name__, self.terms(expr.args[0]))
        raise Undecided(f"{type(expr).__name__} is not enclosed here")

    def _number(self, expr: Any) -> Terms:
        if expr.is_Rational:
            exact = Fraction(int(expr.p), int(expr.q))
            return {_ONE: exact} if exact else {}
        if expr.is_Float:
            return {_ONE: float_fraction(expr)}
        value = self.field.constant(expr)
        if not (value.is_finite() and value.imag.is_zero()):
            raise Undecided(f"the constant {expr} is not real")
        return {_ONE: _ends(value.real)}


_SLOPES: dict[str, Any] = {
    "sin": lambda x: x.cos(),
    "cos": lambda x: -x.sin(),
    "tanh": lambda x: 1 - x.tanh() ** 2,
    "sinh": lambda x: x.cosh(),
    "cosh": lambda x: x.sinh(),
    "atan": lambda x: 1 / (1 + x * x),
    "asinh": lambda x: 1 / (1 + x * x).sqrt(),
    "erf": lambda x: 2 / x.const_sqrt_pi() * (-x * x).exp(),
    "erfc": lambda x: -2 / x.const_sqrt_pi() * (-x * x).exp(),
}
"""The derivatives of the functions that are analytic on ℝ."""
