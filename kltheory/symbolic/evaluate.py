"""SymPy trees as numbers that stay accurate when the variable is exp(-1e60).

A rate law lives on s = exp(-y) with y up to 1e60 and beyond, where `1 + s`, `log(1 + s)` or
`exp(s) - 1 - s` lose all their digits at any affordable precision.  A tree is therefore compiled,
once, into a straight line of scalar operations on *frames* (`frames.py`), whose leading terms in
z = exp(-|y|) are exact: what cancels is exact, and what remains is computed relative to its own
size.  The same line runs on mpmath numbers (`RealField`) and on python-flint balls (`BallField`),
which enclose the value.

Nothing is evaluated by name: the tree is walked, and a node that is not listed is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import sympy as sp

from kltheory.symbolic.exact import EvaluationError, Exact, float_fraction
from kltheory.symbolic.fields import (
    MAX_PRECISION,
    BallField,
    LostDigits,
    Number,
    RealField,
    have_balls,
    real_context,
)
from kltheory.symbolic.frames import (
    ADD,
    CONST,
    EXP,
    FUN,
    LOG,
    MUL,
    POW,
    REM,
    YVAR,
    ZPOW,
    Compiler,
)

__all__ = [
    "MAX_PRECISION",
    "BallField",
    "EvaluationError",
    "LostDigits",
    "Program",
    "RealField",
    "as_pieces",
    "compile_expr",
    "float_fraction",
    "have_balls",
    "real_context",
]

_ORDERS = (1, 2, 4, 8)
"""Numbers of exact terms of a frame, tried in this order."""

_RELATIONS: dict[Any, Callable[[Any], bool]] = {
    sp.StrictLessThan: lambda d: d < 0,
    sp.LessThan: lambda d: d <= 0,
    sp.StrictGreaterThan: lambda d: d > 0,
    sp.GreaterThan: lambda d: d >= 0,
    sp.Equality: lambda d: d == 0,
    sp.Unequality: lambda d: d != 0,
}


def as_pieces(expr: Any) -> Any:
    """Abs, sign, Heaviside, Min and Max as Piecewise; DiracDelta, which has no value, as 0.

    Do this before differentiating: the derivative is then that of the piece, also at a knot.
    """
    if not expr.has(sp.Abs, sp.sign, sp.Heaviside, sp.Min, sp.Max, sp.DiracDelta):
        return expr
    cases = sp.Piecewise
    args = [as_pieces(a) for a in expr.args]
    if isinstance(expr, sp.Abs):
        return cases((args[0], args[0] >= 0), (-args[0], True))
    if isinstance(expr, sp.sign):
        return cases((sp.S.One, args[0] > 0), (sp.S.NegativeOne, True))
    if isinstance(expr, sp.Heaviside):
        return cases((sp.S.One, args[0] > 0), (sp.S.Zero, True))
    if isinstance(expr, sp.DiracDelta):
        return sp.S.Zero
    if isinstance(expr, sp.Min | sp.Max):
        pieces = []
        for k, arg in enumerate(args):
            rest = args[k + 1 :]
            wins = (
                (arg <= b for b in rest) if isinstance(expr, sp.Min) else (arg >= b for b in rest)
            )
            pieces.append((arg, sp.And(*wins)))
        return cases(*pieces)
    return expr.func(*args) if args else expr


def _relations(expr: Any) -> list[Any]:
    """The relations on which the pieces of an expression depend, in a fixed order."""
    found: set[Any] = set()
    for piecewise in expr.atoms(sp.Piecewise):
        for _, condition in piecewise.args:
            if condition not in (sp.true, sp.false):
                found |= condition.atoms(sp.core.relational.Relational)
    return sorted(found, key=sp.default_sort_key)


Signature: TypeAlias = tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A compiled line: the operations, and where the value is: z^lead * register."""

    code: tuple[tuple[Any, ...], ...]
    register: int
    lead: Exact
    cost: int
    """A rough price: a special function is worth a hundred products."""


class Program:
    """An expression in one positive variable p, ready to be evaluated at p = exp(-y).

    `at_exp` and `__call__` return values that two precisions agree on.  `run` is the bare
    evaluation, on numbers or on balls, for those who check for themselves.
    """

    def __init__(self, expr: Any, symbol: Any) -> None:
        expr = sp.sympify(expr)
        free = expr.free_symbols - {symbol}
        if free:
            names = ", ".join(sorted(str(s) for s in free))
            raise EvaluationError(f"the expression still contains {names}")
        self.expr = as_pieces(expr)
        self.symbol = symbol
        self.relations = _relations(self.expr)
        self._tests = [
            (_RELATIONS[type(r)], Program(r.lhs - r.rhs, symbol)) for r in self.relations
        ]
        self._lines: dict[tuple[int, int, Signature], Line] = {}
        self._level: tuple[int, int] = (_ORDERS[0], 0)

    def line(self, direction: int, order: int, signature: Signature) -> Line:
        """The operations for small p (direction 1) or large p (-1) with the pieces chosen."""
        key = (direction, order, signature)
        found = self._lines.get(key)
        if found is None:
            compiler = Compiler(
                self.symbol, direction, order, dict(zip(self.relations, signature, strict=True))
            )
            frame = compiler.frame(self.expr)
            register = compiler.mantissa(frame)
            cost = 40 + sum(100 if i[0] in (FUN, REM) else 2 for i in compiler.code)
            found = Line(tuple(compiler.code), register, frame.lead, cost)
            self._lines[key] = found
        return found

    def leading_power(self) -> Fraction | None:
        """b if the value is p^b times a function of log p that is not a power, as p -> 0."""
        try:
            return self.line(1, _ORDERS[-1], tuple(True for _ in self.relations)).lead.rational
        except (EvaluationError, LostDigits):
            return None

    def signature(self, field: RealField, y: Number) -> Signature:
        """Which of the relations hold at p = exp(-y)."""
        out = []
        for holds, test in self._tests:
            try:
                value = test.run(field, y)
            except LostDigits:
                value = field.ctx.zero
            out.append(bool(holds(value)))
        return tuple(out)

    def run(
        self, field: RealField, y: Number, order: int = 1, signature: Signature | None = None
    ) -> Number:
        """The value at p = exp(-y) in the arithmetic of the field, unchecked."""
        if signature is None:
            signature = self.signature(field, y)
        direction = 1 if y >= 0 else -1
        line = self.line(direction, order, signature)
        size = abs(y)
        value = _execute(line, field, size)
        if line.lead:
            value = value * field.zpower(line.lead, size)
        return value

    def at_exp(self, ctx: Any, y: Number) -> Number:
        """The value at p = exp(-y), to the precision of ctx.

        The precision is raised, then the number of exact terms, until two precisions agree.

        Raises:
            EvaluationError: the value is not real, not finite, or not found up to 2^14 bits.
        """
        value, self._level = self.settle(ctx, lambda: ctx.mpf(y), self._level)
        return value

    def settle(
        self,
        ctx: Any,
        point: Callable[[], Number],
        start: tuple[int, int] = (1, 0),
        relative_bits: int | None = None,
    ) -> tuple[Number, tuple[int, int]]:
        """The value at exp(-point()) and the level (order, extra bits) at which it is accurate."""
        target = ctx.prec
        agree = min(target, relative_bits or target)
        field = RealField(ctx)
        reason: Exception = EvaluationError("no digits are left")
        tried = 0
        orders = [o for o in _ORDERS if o >= start[0]]
        passes = [(o, False, 5 * target) for o in orders[:2]]
        passes += [(o, False, MAX_PRECISION + target) for o in orders]
        # the last resort: a sum that is exactly 0 at this point is not 0 beside it
        for order, aside, most in [*passes, (_ORDERS[0], True, MAX_PRECISION + target)]:
            extra = start[1] if order == start[0] else 0
            previous = None
            bits = target + 20 + extra
            while bits <= most + extra:
                ctx.prec = bits
                try:
                    field.checked = True
                    y = point()
                    if aside:
                        tried += 1
                        y += (abs(y) or 1) * ctx.ldexp(tried, -2 * target - 20)
                    value = self.run(field, y, order)
                    if not ctx.isfinite(value):
                        raise EvaluationError("the value is not finite")
                except LostDigits:
                    previous = None
                except EvaluationError as error:
                    reason = error
                    if previous is None and bits > 8 * target:
                        break
                    previous = None
                else:
                    if previous is not None and abs(value - previous[0]) <= abs(value) * ctx.ldexp(
                        1, -agree - 2
                    ):
                        ctx.prec = target
                        return +value, (order, previous[1])
                    previous = (value, bits - target - 20)
                finally:
                    ctx.prec = target
                bits = max(bits + 64, int(bits * 1.6))
        raise EvaluationError(
            f"no accurate value of the expression within {MAX_PRECISION} bits: {reason}"
        )

    def __call__(self, ctx: Any, value: Any) -> Number:
        """The value at p = value > 0, to the precision of ctx."""
        p = ctx.mpf(value)
        if not p > 0 or not ctx.isfinite(p):
            raise EvaluationError(f"the variable must be positive and finite, not {value}")
        result, self._level = self.settle(ctx, lambda: -ctx.log(p), self._level)
        return result

    # balls -----------------------------------------------------------------------------------

    def ball(self, field: BallField, y: Number, order: int = 1, analytic: bool = False) -> Number:
        """A ball around the values at p = exp(-y), y an acb whose real part keeps one sign.

        With `analytic`, a non-finite ball unless the value is analytic on all of y.
        """
        direction = 1 if y.real.mid() >= 0 else -1
        size = y if direction > 0 else -y
        total = None
        for signature in self._signatures(field, y):
            if total is not None and analytic:
                return field.nan
            line = self.line(direction, order, signature)
            field.analytic_only = analytic
            field.work += line.cost * (2 if field.bits > 256 else 1)
            value = _execute(line, field, size)
            if line.lead:
                value = value * field.zpower(line.lead, size)
            total = value if total is None else total.union(value)
        return total

    def _signatures(self, field: BallField, y: Number) -> list[Signature]:
        """All signatures that cannot be excluded on the real part of the ball."""
        out: list[Signature] = [()]
        real = field.acb(y.real)
        for relation, (_, test) in zip(self.relations, self._tests, strict=True):
            value = test.ball(field, real).real
            possible = _possible(type(relation), value)
            out = [(*s, p) for s in out for p in possible]
        return out


def _possible(relation: Any, value: Number) -> tuple[bool, ...]:
    """Which truth values `value rel 0` can take on a real ball."""
    if value.is_finite():
        below, above = bool(value.upper() < 0), bool(value.lower() > 0)
        if below or above:
            return (bool(_RELATIONS[relation](-1 if below else 1)),)
    return (True, False)


def _operands(field: Any, line: Line) -> tuple[Number | None, ...]:
    """The numbers of the exact operands of a line, kept for each precision."""
    key = (id(line), field.bits)
    found = field.tables.get(key)
    if found is None:
        numbers = tuple(field.exact(i[1]) if i[0] in (CONST, ZPOW) else None for i in line.code)
        # the line is kept too, so that its id stays its own
        found = field.tables[key] = (line, numbers)
    operands: tuple[Number | None, ...] = found[1]
    return operands


def _execute(line: Line, field: Any, y: Number) -> Number:
    """Runs the operations on one number or ball; returns the register of the value."""
    registers: list[Any] = []
    push = registers.append
    constants = _operands(field, line)
    for instruction, constant in zip(line.code, constants, strict=True):
        op = instruction[0]
        if op == MUL:
            push(registers[instruction[1]] * registers[instruction[2]])
        elif op == ADD:
            push(field.add(registers[instruction[1]], registers[instruction[2]]))
        elif op == CONST:
            push(constant)
        elif op == ZPOW:
            push(field.zpower(instruction[1], y, constant))
        elif op == REM:
            push(field.remainder(instruction[1], instruction[2], registers[instruction[3]]))
        elif op == POW:
            push(field.pow(registers[instruction[1]], instruction[2]))
        elif op == YVAR:
            push(y)
        elif op == LOG:
            push(field.log(registers[instruction[1]]))
        elif op == EXP:
            push(field.exp(registers[instruction[1]]))
        else:
            push(field.function(instruction[1], instruction[2], registers[instruction[3]]))
    return registers[line.register]


def compile_expr(expr: Any, symbol: Any) -> Program:
    """A program for a SymPy expression in one positive symbol.

    >>> import mpmath, sympy
    >>> s = sympy.Symbol("s", positive=True)
    >>> ctx = mpmath.MPContext()
    >>> program = compile_expr(sympy.log(1 + s) / s, s)
    >>> program.at_exp(ctx, ctx.mpf(10) ** 60)
    mpf('1.0')
    """
    if isinstance(expr, sp.Integral):
        from kltheory.symbolic.integral import IntegralProgram

        return IntegralProgram(expr, symbol)
    return Program(expr, symbol)
