"""The compiler: a SymPy tree as a straight line of scalar operations on frames.

With z = exp(-|y|) every node is held as

    value = c_1 z^b_1 + ... + c_n z^b_n + z^rho r(y),

where the c_i and b_i are exact and r is the exact remainder, a register of the line.  This is an
identity and not an expansion: the choice of the terms changes the accuracy, never the value.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy as sp

from kltheory.symbolic.exact import (
    ONE,
    Y_EXACT,
    ZERO,
    EvaluationError,
    Exact,
    Monomial,
    Y,
    exact_exp,
    exact_log,
    from_sympy,
    order_key,
    rational,
    to_sympy,
)
from kltheory.symbolic.fields import Analytic, split_call

__all__ = ["Compiler", "Frame", "decide"]

CONST, YVAR, ZPOW, ADD, MUL, POW, LOG, EXP, FUN, REM = range(10)


@dataclass(frozen=True, slots=True)
class Frame:
    """c_1 z^b_1 + ... + z^rho r: the exact terms by rising exponent, and the remainder."""

    terms: tuple[tuple[Exact, Exact], ...]
    rho: Exact | None = None
    reg: int | None = None
    small: bool = False
    """True if r is known to tend to 0 (only looked at when rho = 0)."""

    @property
    def lead(self) -> Exact:
        """The exponent of the first part."""
        if self.terms:
            first = self.terms[0][0]
            if self.rho is None or order_key(first) <= order_key(self.rho):
                return first
        if self.rho is None:
            return ZERO
        return self.rho

    @property
    def is_zero(self) -> bool:
        """True if nothing is left."""
        return not self.terms and self.reg is None

    @property
    def vanishes(self) -> bool:
        """True if the value tends to 0 with z, term by term."""
        if self.terms and not order_key(self.terms[0][0]) > 0:
            return False
        if self.reg is None:
            return True
        return order_key(self.rho) > 0 or (self.rho == ZERO and self.small)


class Compiler:
    """Turns one tree, with its pieces chosen, into a line of scalar operations."""

    def __init__(self, symbol: Any, direction: int, order: int, pieces: dict[Any, bool]) -> None:
        self.symbol = symbol
        self.direction = direction
        self.order = order
        self.pieces = pieces
        self.code: list[tuple[Any, ...]] = []
        self._registers: dict[Any, int] = {}
        self._frames: dict[Any, Frame] = {}
        self._mantissas: dict[Frame, int] = {}

    # scalar operations -----------------------------------------------------------------------

    def emit(self, *instruction: Any) -> int:
        """A register that holds the instruction's value; equal instructions share one."""
        if instruction[0] in (ADD, MUL) and instruction[1] > instruction[2]:
            instruction = (instruction[0], instruction[2], instruction[1])
        register = self._registers.get(instruction)
        if register is None:
            register = self._registers[instruction] = len(self.code)
            self.code.append(instruction)
        return register

    def scale(self, register: int, exponent: Exact) -> int:
        """register * z^exponent."""
        if not exponent:
            return register
        return self.emit(MUL, register, self.emit(ZPOW, exponent))

    def number(self, value: Exact) -> int:
        """A register with an exact number, which may contain Y."""
        if not value.has_y:
            return self.emit(CONST, value)
        total = None
        grouped: dict[Fraction, dict[Monomial, Fraction]] = {}
        for m, q in value.terms.items():
            power = next((e for g, e in m if g is Y), Fraction(0))
            rest = frozenset((g, e) for g, e in m if g is not Y)
            grouped.setdefault(power, {})[rest] = q
        for power, terms in sorted(grouped.items()):
            factor = Exact(terms)
            if power:
                part = self.emit(YVAR)
                if power != 1:
                    part = self.emit(POW, part, rational(power))
                if factor != ONE:
                    part = self.emit(MUL, part, self.emit(CONST, factor))
            else:
                part = self.emit(CONST, factor)
            total = part if total is None else self.emit(ADD, total, part)
        assert total is not None
        return total

    # frames ----------------------------------------------------------------------------------

    def build(self, exact: dict[Exact, Exact], parts: Iterable[tuple[Exact, int, bool]]) -> Frame:
        """A frame from exact terms and numeric parts (exponent, register, small)."""
        parts = list(parts)
        terms = sorted(((b, c) for b, c in exact.items() if c), key=lambda t: order_key(t[0]))
        rho = min((b for b, _, _ in parts), key=order_key, default=None)
        kept: list[tuple[Exact, Exact]] = []
        for b, c in terms:
            if (rho is None or order_key(b) <= order_key(rho)) and len(kept) < self.order:
                kept.append((b, c))
            else:
                parts.append((b, self.number(c), False))
                if rho is None or order_key(b) < order_key(rho):
                    rho = b
        if rho is None:
            return Frame(tuple(kept))
        # c r and -c r cancel exactly
        groups: dict[tuple[Exact, int], tuple[Exact, bool]] = {}
        for b, register, is_small in parts:
            base, factor = self.multiple(register)
            known, known_small = groups.get((b, base), (ZERO, True))
            groups[b, base] = (known + factor, known_small and is_small)
        left = [(b, r, c, s) for (b, r), (c, s) in groups.items() if c]
        if not left:
            return Frame(tuple(kept))
        rho = min((b for b, _, _, _ in left), key=order_key)
        total = None
        small = True
        for b, register, factor, is_small in left:
            if factor != ONE:
                register = self.emit(MUL, register, self.emit(CONST, factor))
            shifted = self.scale(register, b - rho)
            total = shifted if total is None else self.emit(ADD, total, shifted)
            small = small and (is_small or order_key(b) > order_key(rho))
        return Frame(tuple(kept), rho, total, small)

    def multiple(self, register: int) -> tuple[int, Exact]:
        """(r, c) with register = c r, c exact."""
        instruction = self.code[register]
        if instruction[0] == MUL:
            for one, other in (instruction[1:], instruction[:0:-1]):
                if self.code[one][0] == CONST:
                    return other, self.code[one][1]
        return register, ONE

    def mantissa(self, frame: Frame) -> int:
        """A register with frame / z^lead."""
        register = self._mantissas.get(frame)
        if register is None:
            lead = frame.lead
            total = None
            for b, c in frame.terms:
                part = self.scale(self.number(c), b - lead)
                total = part if total is None else self.emit(ADD, total, part)
            if frame.reg is not None and frame.rho is not None:
                part = self.scale(frame.reg, frame.rho - lead)
                total = part if total is None else self.emit(ADD, total, part)
            register = self.emit(CONST, ZERO) if total is None else total
            self._mantissas[frame] = register
        return register

    def full(self, frame: Frame) -> int:
        """A register with the value."""
        return self.scale(self.mantissa(frame), frame.lead)

    def numeric(self, register: int, exponent: Exact = ZERO, small: bool = False) -> Frame:
        """A frame with no exact term."""
        return Frame((), exponent, register, small)

    def add(self, frames: list[Frame]) -> Frame:
        """The sum."""
        exact: dict[Exact, Exact] = {}
        parts = []
        for frame in frames:
            for b, c in frame.terms:
                exact[b] = exact.get(b, ZERO) + c
            if frame.reg is not None and frame.rho is not None:
                parts.append((frame.rho, frame.reg, frame.small))
        return self.build(exact, parts)

    def mul(self, a: Frame, b: Frame) -> Frame:
        """The product: exact terms times exact terms, and a r_b + (exact part of b) r_a."""
        if a.is_zero or b.is_zero:
            return Frame(())
        exact: dict[Exact, Exact] = {}
        for e1, c1 in a.terms:
            for e2, c2 in b.terms:
                exact[e1 + e2] = exact.get(e1 + e2, ZERO) + c1 * c2
        parts = []
        if b.reg is not None and b.rho is not None:
            parts.append(
                (b.rho + a.lead, self.emit(MUL, b.reg, self.mantissa(a)), b.small or a.vanishes)
            )
        if a.reg is not None and a.rho is not None and b.terms:
            head = Frame(b.terms)
            parts.append((a.rho + head.lead, self.emit(MUL, a.reg, self.mantissa(head)), a.small))
        return self.build(exact, parts)

    def monomial(self, coefficient: Exact, exponent: Exact) -> Frame:
        """coefficient * z^exponent, exact."""
        return Frame(((exponent, coefficient),)) if coefficient else Frame(())

    def constant(self, value: Exact) -> Frame:
        """An exact number."""
        return self.monomial(value, ZERO)

    def taylor(self, f: Analytic, u: Frame) -> Frame:
        """f(c + u) with the leading Taylor terms exact."""
        if u.is_zero:
            return self.constant(f.coefficient(0))
        n = 1
        if u.terms:
            n = self.order
        acc = self.numeric(self.emit(REM, f, n, self.full(u)))
        for k in range(n - 1, -1, -1):
            acc = self.add([self.constant(f.coefficient(k)), self.mul(u, acc)])
        return acc

    def split_lead(self, frame: Frame) -> tuple[Exact, Exact, Frame] | None:
        """(b, c, u) with frame = c z^b (1 + u), c one product and u vanishing; None if unknown."""
        if not frame.terms:
            return None
        b, c = frame.terms[0]
        inverse = c.power(Fraction(-1))
        if inverse is None:
            return None
        terms = tuple((e - b, k * inverse) for e, k in frame.terms[1:])
        if frame.reg is None or frame.rho is None:
            u = Frame(terms)
        else:
            register = frame.reg
            if inverse != ONE:
                register = self.emit(MUL, register, self.number(inverse))
            u = Frame(terms, frame.rho - b, register, frame.small)
        return (b, c, u) if u.vanishes else None

    def power(self, base: Frame, a: Exact) -> Frame:
        """base**a for a constant a."""
        q = a.rational
        if q is not None and q.denominator == 1 and 0 <= q.numerator <= 4:
            result = self.constant(ONE)
            for _ in range(q.numerator):
                result = self.mul(result, base)
            return result
        if q is not None and q.denominator <= 2 and 1 < abs(q.numerator) <= 8:
            root = self.power(base, rational(Fraction(1 if q > 0 else -1, q.denominator)))
            result = root
            for _ in range(abs(q.numerator) - 1):
                result = self.mul(result, root)
            return result
        if base.is_zero:
            if order_key(a) > 0:
                return Frame(())
            raise EvaluationError("division by zero")
        parts = self.split_lead(base)
        if parts is not None:
            b, c, u = parts
            lead = _constant_power(c, a)
            if lead is not None:
                tail = self.taylor(Analytic("binomial", (to_sympy(a),)), u)
                return self.mul(self.monomial(lead, b * a), tail)
        return self.numeric(self.emit(POW, self.mantissa(base), a), base.lead * a)

    def log(self, x: Frame) -> Frame:
        """log x = b log z + log c + log(1 + u)."""
        if x.is_zero:
            raise EvaluationError("log(0)")
        parts = self.split_lead(x)
        if parts is not None:
            b, c, u = parts
            head = exact_log(c)
            if head is not None:
                return self.add(
                    [self.constant(head - b * Y_EXACT), self.taylor(Analytic("log1p"), u)]
                )
        lead = x.lead
        return self.add(
            [
                self.constant(-(lead * Y_EXACT)),
                self.numeric(self.emit(LOG, self.mantissa(x))),
            ]
        )

    def exp(self, x: Frame) -> Frame:
        """exp x: the part q Y becomes z^-q, constants stay exact, what vanishes is expanded."""
        factor = self.constant(ONE)
        wild: list[Frame] = []
        vanishing: dict[Exact, Exact] = {}
        for b, c in x.terms:
            sign = order_key(b)
            if sign > 0:
                vanishing[b] = c
            elif b:
                wild.append(self.monomial(c, b))
            else:
                shift, fixed, rest = _exp_parts(c)
                factor = self.mul(factor, self.monomial(exact_exp(fixed), -shift))
                if rest:
                    wild.append(self.constant(rest))
        u = self.build(vanishing, [])
        if x.reg is not None and x.rho is not None:
            tail = self.numeric(x.reg, x.rho, x.small)
            if tail.vanishes:
                u = self.add([u, tail])
            else:
                wild.append(tail)
        if wild:
            if not u.is_zero:
                wild.append(u)
            rest_frame = self.add(wild)
            return self.mul(factor, self.numeric(self.emit(EXP, self.full(rest_frame))))
        return self.mul(factor, self.taylor(Analytic("exp"), u))

    # nodes -----------------------------------------------------------------------------------

    def frame(self, expr: Any) -> Frame:
        """The frame of a node; equal nodes are compiled once."""
        found = self._frames.get(expr)
        if found is None:
            found = self._frames[expr] = self._compile(expr)
        return found

    def _compile(self, expr: Any) -> Frame:
        if expr == self.symbol:
            return self.monomial(ONE, rational(self.direction))
        if expr.is_number or not expr.has(self.symbol):
            if expr.is_zero:
                return Frame(())
            return self.constant(from_sympy(expr))
        if expr.is_Add:
            return self.add([self.frame(a) for a in expr.args])
        if expr.is_Mul:
            product = self.frame(expr.args[0])
            for a in expr.args[1:]:
                product = self.mul(product, self.frame(a))
            return product
        if isinstance(expr, sp.exp):
            return self.exp(self.frame(expr.args[0]))
        if expr.is_Pow:
            return self._compile_power(expr)
        if isinstance(expr, sp.log):
            return self.log(self.frame(expr.args[0]))
        if isinstance(expr, sp.Piecewise):
            return self._compile_piecewise(expr)
        if isinstance(expr, sp.Function):
            return self._compile_call(expr)
        raise EvaluationError(f"{type(expr).__name__} is not supported: {expr}")

    def _compile_power(self, expr: Any) -> Frame:
        if expr.base is sp.E:
            return self.exp(self.frame(expr.exp))
        if not expr.exp.has(self.symbol):
            return self.power(self.frame(expr.base), from_sympy(expr.exp))
        if expr.base.has(self.symbol):
            return self.exp(self.mul(self.frame(expr.exp), self.log(self.frame(expr.base))))
        log_base = exact_log(from_sympy(expr.base))
        if log_base is None:
            raise EvaluationError(f"the power {expr} is not real")
        return self.exp(self.mul(self.frame(expr.exp), self.constant(log_base)))

    def _compile_piecewise(self, expr: Any) -> Frame:
        for value, condition in expr.args:
            if decide(condition, self.pieces):
                return self.frame(value)
        raise EvaluationError("no piece of the Piecewise applies")

    def _compile_call(self, expr: Any) -> Frame:
        name, params, argument = split_call(expr)
        if any(p.has(self.symbol) for p in params if isinstance(p, sp.Basic)):
            raise EvaluationError(f"a parameter of {name} may not depend on the variable")
        rewritten = _rewrite_call(name, params, argument)
        if rewritten is not None:
            return self.frame(rewritten)
        if name == "LambertW":
            branch = params[0] if params else sp.S.Zero
            if branch not in (sp.S.Zero, sp.S.NegativeOne):
                raise EvaluationError(f"LambertW has no real branch {branch}")
            params = (branch,)
            root = self._near_branch_point(argument)
            if root is not None:
                sign = rational(1 if branch == -1 else -1)
                h = self.mul(self.constant(sign), root)
                if h.vanishes:
                    omega = self.taylor(Analytic("omega"), h)
                else:
                    omega = self.numeric(self.emit(FUN, "omega", (), self.full(h)))
                return self.add(
                    [self.constant(rational(-1)), self.mul(self.constant(rational(-1)), omega)]
                )
        x = self.frame(argument)
        if name == "lowergamma" and x.vanishes and not x.is_zero:
            tail = self.taylor(Analytic("lowergamma", params), x)
            return self.mul(self.power(x, from_sympy(params[0])), tail)
        centred = self._centre(x)
        if centred is not None:
            c, u = centred
            f = Analytic(name, params, to_sympy(c))
            with suppress(EvaluationError, TypeError, ValueError):
                f.coefficient(self.order)
                return self.taylor(f, u)
            if name == "asin" and c in (ONE, -ONE):
                edge = sp.pi / 2 - 2 * sp.asin(sp.sqrt((1 - (c.rational or 1) * argument) / 2))
                return self.frame((c.rational or 1) * edge)
        far = self._far(name, x, argument)
        if far is not None:
            return far
        return self.numeric(self.emit(FUN, name, params, self.full(x)))

    def _centre(self, x: Frame) -> tuple[Exact, Frame] | None:
        """(c, u) with x = c + u, c a constant without Y and u vanishing."""
        c = dict(x.terms).get(ZERO, ZERO)
        if c.has_y:
            return None
        u = Frame(tuple(t for t in x.terms if t[0]), x.rho, x.reg, x.small)
        return (c, u) if u.vanishes else None

    def _near_branch_point(self, argument: Any) -> Frame | None:
        """sqrt(2 tau) with argument = -exp(-1 - tau), when the argument says so."""
        inner = (-argument).args[0] if isinstance(-argument, sp.exp) else None
        if inner is None:
            parts = self.split_lead(self.frame(argument))
            if parts is None or parts[0] or parts[1] != -exact_exp(rational(-1)):
                return None
            minus_tau = self.taylor(Analytic("log1p"), parts[2])
        else:
            minus_tau = self.add([self.constant(ONE), self.frame(inner)])
        return self.power(
            self.mul(self.constant(rational(-2)), minus_tau), rational(Fraction(1, 2))
        )

    def _far(self, name: str, x: Frame, argument: Any) -> Frame | None:
        """tanh, coth, erf, atan, acot of what tends to infinity: the limit and what remains."""
        if name not in ("tanh", "coth", "erf", "atan", "acot") or not x.terms:
            return None
        b, c = x.terms[0]
        if not order_key(b) < 0 or len(c.terms) != 1 or x.lead != b:
            return None
        (q,) = c.terms.values()
        sign = 1 if q > 0 else -1
        if name in ("atan", "acot"):
            if not (argument.is_positive if sign > 0 else argument.is_negative):
                return None  # atan(x) + atan(1/x) jumps at 0
            inverse = self.taylor(Analytic("atan"), self.power(x, rational(-1)))
            if name == "acot":
                return inverse
            minus_tail = self.mul(self.constant(rational(-1)), inverse)
            return self.add([self.constant(rational(sign) * from_sympy(sp.pi / 2)), minus_tail])
        size = x if sign > 0 else self.mul(self.constant(rational(-1)), x)
        if name == "erf":
            tail = self.emit(FUN, "erfc", (), self.full(size))
            rest = self.mul(self.constant(rational(-sign)), self.numeric(tail, small=True))
        else:
            minus = self.mul(self.constant(rational(-2)), size)
            small = self.emit(EXP, self.full(minus))
            one = self.emit(CONST, ONE)
            s = -1 if name == "coth" else 1
            below = self.emit(ADD, one, self.emit(MUL, small, self.emit(CONST, rational(s))))
            tail = self.emit(MUL, small, self.emit(POW, below, rational(-1)))
            rest = self.mul(self.constant(rational(-2 * sign * s)), self.numeric(tail, small=True))
        return self.add([self.constant(rational(sign)), rest])


def _constant_power(c: Exact, a: Exact) -> Exact | None:
    """c**a as an exact number, or None."""
    q = a.rational
    if q is not None:
        return c.power(q)
    if c == ONE:
        return c
    if c.has_y or len(c.terms) != 1 or next(iter(c.terms.values())) <= 0:
        return None
    head = exact_log(c)
    return None if head is None else exact_exp(a * head)


def _exp_parts(c: Exact) -> tuple[Exact, Exact, Exact]:
    """c = shift * Y + fixed + rest, fixed and shift without Y."""
    shift, fixed, rest = ZERO, ZERO, ZERO
    for m, q in c.terms.items():
        power = next((e for g, e in m if g is Y), Fraction(0))
        if not power:
            fixed = fixed + Exact({m: q})
        elif power == 1:
            shift = shift + Exact({frozenset((g, e) for g, e in m if g is not Y): q})
        else:
            rest = rest + Exact({m: q})
    return shift, fixed, rest


def _rewrite_call(name: str, params: tuple[Any, ...], x: Any) -> Any:
    """A function in terms of those that the compiler knows better, or None."""
    if name == "asinh":
        return None
    if name == "acosh":
        return sp.log(x + sp.sqrt(x - 1) * sp.sqrt(x + 1))
    if name == "acos":
        return 2 * sp.asin(sp.sqrt((1 - x) / 2))
    if name == "asec":
        return sp.acos(1 / x)
    if name == "acsc":
        return sp.asin(1 / x)
    if name == "atanh":
        return (sp.log(1 + x) - sp.log(1 - x)) / 2
    if name == "acoth":
        return (sp.log(1 + 1 / x) - sp.log(1 - 1 / x)) / 2
    if name == "asech":
        return sp.acosh(1 / x)
    if name == "acsch":
        return sp.asinh(1 / x)
    if name == "polylog" and params[0] == 1:
        return -sp.log(1 - x)
    if name == "polylog" and params[0] == 0:
        return x / (1 - x)
    if name == "Li":
        return sp.li(x) - sp.li(2)
    return None


def decide(condition: Any, known: dict[Any, bool]) -> bool:
    """Whether a condition holds, given the truth of its relations."""
    if condition is sp.true:
        return True
    if condition is sp.false:
        return False
    if condition in known:
        return known[condition]
    if isinstance(condition, sp.And):
        return all(decide(c, known) for c in condition.args)
    if isinstance(condition, sp.Or):
        return any(decide(c, known) for c in condition.args)
    if isinstance(condition, sp.ITE):
        test, first, second = condition.args
        return decide(first if decide(test, known) else second, known)
    if isinstance(condition, sp.Not):
        return not decide(condition.args[0], known)
    raise EvaluationError(f"the condition {condition} is not supported")
