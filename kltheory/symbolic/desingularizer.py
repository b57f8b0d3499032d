"""Desingularizing functions, checked before anything is built on them (Definition 2.2)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import mpmath
import sympy as sp
from sympy import S

from kltheory.errors import InputError, NotDesingularizing, brief
from kltheory.symbolic.evaluate import EvaluationError, compile_expr
from kltheory.symbolic.inverse import simple_inverses
from kltheory.symbolic.parse import parse, parse_number, to_text
from kltheory.symbolic.primitive import integrand

#: x = -log s of the points at which ψ and ψ' are looked at: the whole range of losses, and far
#: beyond.
_TOP = 691  # s = 1e300
_GRID = tuple(range(-_TOP, -20, 11)) + tuple(k / 4 for k in range(-80, 161)) + tuple(
    range(41, 700, 7)
)  # fmt: skip
_DEEP = tuple(10**k for k in range(3, 31, 3))
#: Seconds after which only every eighth point is looked at.
_PATIENCE = 1.5
#: x at which the limit of ψ at 0+ is judged.
_LIMIT = (10**10, 10**100, 10**300)
_SHALLOW = (10, 100, 1000)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified, and how."""

    what: str
    """The statement."""
    how: str
    """The way: "symbolic", or where and how closely it was evaluated."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A smooth part of a loss-to-ψ curve: S and P on lower < p < upper."""

    lower: sp.Expr
    upper: sp.Expr
    loss: sp.Expr
    value: sp.Expr


@dataclass(frozen=True)
class Desingularizer:
    """A desingularizing function ψ, as the curve s = S(p), ψ = P(p), checked when built.

    For a ψ given as a function of the loss, S(p) = p = s and P = ψ.  A loss, a growth condition or
    a modulus of convexity gives S and P directly and no inverse is needed (theory: Ψ = -∫ P'²/S'
    dp).

    Definition 2.2: ψ is continuous on [0, r0[, C¹ with ψ' > 0 on ]0, r0[, and ψ(0) = 0.

    >>> d = Desingularizer.from_psi("s*log(1/s)")
    >>> d.radius
    exp(-1)
    >>> Desingularizer.from_psi("log(s)")
    Traceback (most recent call last):
    ...
    kltheory.errors.NotDesingularizing: ψ(0+) = -oo, and it must be 0; did you mean log(s + 1)?
    """

    symbol: sp.Symbol
    """p, positive; it is s when S(p) = p."""
    loss: sp.Expr
    """S(p), increasing, S(0+) = 0."""
    value: sp.Expr
    """P(p) = ψ(S(p)), increasing, P(0+) = 0."""
    radius: sp.Expr = S.Infinity
    """r0: ψ is defined on [0, r0[, in units of the loss."""
    source: str = "psi"
    """Where ψ comes from: "psi", a loss of the registry, a growth condition, ..."""
    warnings: tuple[str, ...] = ()
    """What the reader should know about the input."""
    checks: tuple[Check, ...] = field(default=(), compare=False)
    """What was verified, and how."""
    pieces: tuple[Piece, ...] = field(default=(), compare=False)
    """The smooth parts, in order; one if ψ is smooth."""

    @classmethod
    def from_psi(
        cls,
        psi: str | sp.Expr,
        *,
        radius: str | int | sp.Expr | None = None,
        parameters: dict[str, Any] | None = None,
        source: str = "psi",
    ) -> Desingularizer:
        """ψ as text in s (see `kltheory.symbolic.parse`) or as a SymPy expression in one symbol.

        `radius` is r0 (found where it is not given); `parameters` gives values to the other
        symbols. Raises `ParseError` for a text that is not an expression and `NotDesingularizing`,
        with the reason, for an expression that is not a desingularizing function.
        """
        values = {k: None if v is None else exact(v, k) for k, v in (parameters or {}).items()}
        warnings: tuple[str, ...] = ()
        if isinstance(psi, str):
            parsed = parse(psi, "s", parameters=values)
            s, expr, warnings = parsed.variable, parsed.expr, parsed.warnings
        else:
            s, expr = _own_symbols(psi, values)
        return cls.from_curve(s, s, expr, radius=radius, source=source, warnings=warnings)

    @classmethod
    def from_curve(
        cls,
        symbol: sp.Symbol,
        loss: sp.Expr,
        value: sp.Expr,
        *,
        radius: str | int | sp.Expr | None = None,
        source: str = "curve",
        warnings: tuple[str, ...] = (),
    ) -> Desingularizer:
        """The curve s = S(p), ψ = P(p), p > 0, checked."""
        r0 = None if radius is None else exact(radius, "radius")
        if r0 is not None and not (r0.is_positive or r0 is S.Infinity):
            raise InputError(f"radius = {brief(r0)} is given; r0 is a positive number")
        if r0 is not None and r0.is_Rational and max(r0.p, r0.q) > 10**400:
            raise InputError(f"radius = {brief(r0)} is given; r0 is at most 400 digits long")
        checker = _Checker(symbol, loss, value, r0)
        return cls(
            symbol,
            loss,
            value,
            checker.radius,
            source,
            (*warnings, *checker.warnings),
            tuple(checker.checks),
            checker.pieces,
        )

    @property
    def explicit(self) -> bool:
        """True if ψ is given as a function of the loss (S(p) = p)."""
        return bool(self.loss == self.symbol)

    @property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The symbols without a value, sorted by name."""
        free = (self.loss.free_symbols | self.value.free_symbols) - {self.symbol}
        return tuple(sorted(free, key=lambda q: str(q.name)))

    @cached_property
    def derivative(self) -> sp.Expr:
        """ψ' as an expression in the symbol: P'/S'."""
        return sp.diff(self.value, self.symbol) / sp.diff(self.loss, self.symbol)

    def with_values(self, **values: Any) -> Desingularizer:
        """The same ψ with values for its parameters, checked again."""
        known = {q.name: q for q in self.parameters}
        unknown = set(values) - set(known)
        if unknown:
            names = ", ".join(known) or "none"
            raise InputError(
                f"ψ has no parameter {sorted(unknown)[0]}; its parameters are: {names}"
            )
        swap = {known[k]: exact(v, k) for k, v in values.items()}
        radius = None if self.parameters else self.radius
        loss, value = self.loss.subs(swap), self.value.subs(swap)
        return Desingularizer.from_curve(
            self.symbol, loss, value, radius=radius, source=self.source, warnings=self.warnings
        )

    def __str__(self) -> str:
        if self.explicit:
            return f"ψ(s) = {to_text(self.value)}"
        p = self.symbol.name
        return f"s = {to_text(self.loss)}, ψ = {to_text(self.value)}, {p} > 0"


def exact(value: Any, name: str = "number") -> sp.Expr:
    """`value` as an exact SymPy number: decimal text and fractions stay what they are."""
    if isinstance(value, bool):
        raise InputError(f"{name} = {value} is given; a number is wanted")
    if isinstance(value, str):
        return parse_number(value, name=name)
    number = value if isinstance(value, sp.Expr) else None
    if number is None:
        try:
            number = sp.Rational(repr(value)) if isinstance(value, float) else sp.Rational(value)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{name} = {value!r} is given; a finite number is wanted") from None
    if number is S.Infinity:
        return number
    if number.free_symbols or not number.is_real or not number.is_finite:
        raise InputError(f"{name} = {value!r} is given; a finite real number is wanted")
    return number


def _own_symbols(psi: sp.Expr, values: dict[str, Any]) -> tuple[sp.Symbol, sp.Expr]:
    """The expression with positive symbols; its variable is s, or its only free symbol."""
    if not isinstance(psi, sp.Expr):
        raise InputError(
            f"ψ is given as {type(psi).__name__}; text or a SymPy expression is wanted"
        )
    names = {q.name: q for q in psi.free_symbols}
    candidates = [n for n in names if n not in values]
    if "s" not in names and len(candidates) != 1:
        raise InputError(f"ψ = {psi} does not say which symbol is the loss: call it s")
    variable = "s" if "s" in names else candidates[0]
    swap: dict[Any, Any] = {q: sp.Symbol(n, positive=True) for n, q in names.items()}
    swap |= {names[n]: v for n, v in values.items() if v is not None and n in names}
    # text is the one door: what the parser does not accept does not enter as an object either
    parsed = parse(to_text(sp.nsimplify(psi, rational=True).subs(swap)), variable)
    return parsed.variable, parsed.expr


# ---------------------------------------------------------------------------------------------
# The checks


class _Checker:
    """Looks at a curve (S, P) over the whole range and says what it found."""

    def __init__(self, p: sp.Symbol, loss: sp.Expr, value: sp.Expr, radius: sp.Expr | None) -> None:
        self.p, self.loss, self.value = p, loss, value
        self.given = radius
        self.radius: sp.Expr = S.Infinity if radius is None else radius
        self.warnings: list[str] = []
        self.checks: list[Check] = []
        self.ctx = mpmath.MPContext()
        self.ctx.prec = 120
        self.trouble = ""
        self.samples = self._sample_values()
        if not value.has(p):
            raise NotDesingularizing(f"ψ = {value} is constant; ψ must increase from ψ(0) = 0")
        self._pieces()
        self._limit_at_zero()
        self._increasing()

    # -- evaluation ---------------------------------------------------------------------------

    def _sample_values(self) -> dict[sp.Symbol, sp.Expr]:
        free = (self.loss.free_symbols | self.value.free_symbols) - {self.p}
        names = sorted(free, key=lambda q: str(q.name))
        chosen = {q: sp.Rational(3 + i, 7 + 2 * i) for i, q in enumerate(names)}
        if chosen:
            given = ", ".join(f"{q} = {v}" for q, v in chosen.items())
            self.sample_note = f" for the sample values {given}"
        else:
            self.sample_note = ""
        return chosen

    def _program(self, expr: sp.Expr) -> Callable[[Any], Any]:
        """x -> expr at p = e^{-x}; inf where it cannot be held, None where it is not real."""
        program = compile_expr(expr.subs(self.samples), self.p)

        def at(x: Any) -> Any:
            try:
                return program.at_exp(self.ctx, self.ctx.mpf(x))
            except (EvaluationError, ArithmeticError, ValueError) as error:
                self.trouble = str(error)
                beyond = x > 700 and "beyond" in self.trouble
                return self.ctx.inf if "too large" in self.trouble or beyond else None

        return at

    # -- pieces -------------------------------------------------------------------------------

    def _pieces(self) -> None:
        kinds = (sp.Piecewise, sp.Min, sp.Max, sp.Abs, sp.sign, sp.Heaviside)
        if not (self.value.has(*kinds) or self.loss.has(*kinds)):
            self.pieces: tuple[Piece, ...] = (Piece(S.Zero, S.Infinity, self.loss, self.value),)
            return
        knots = self._knots(kinds)
        edges = [S.Zero, *knots, S.Infinity]
        found: list[Piece] = []
        for lower, upper in itertools.pairwise(edges):
            share = sp.Rational(31, 97)  # not a point where two branches are likely to meet
            span = upper - lower if upper is not S.Infinity else lower + 1
            inside = (lower + share * span).subs(self.samples)
            loss, value = (self._smooth(e, inside, kinds) for e in (self.loss, self.value))
            if found and (found[-1].loss, found[-1].value) == (loss, value):
                found[-1] = Piece(found[-1].lower, upper, loss, value)
            else:
                found.append(Piece(lower, upper, loss, value))
        self.pieces = tuple(found)
        if len(found) == 1:
            self.loss, self.value = found[0].loss, found[0].value
        for left, right in itertools.pairwise(found):
            self._join(left, right)

    def _knots(self, kinds: tuple[Any, ...]) -> list[sp.Expr]:
        """Where the choice between smooth expressions can change, in order."""
        borders: list[sp.Expr] = []
        for atom in self.loss.atoms(*kinds) | self.value.atoms(*kinds):
            if isinstance(atom, sp.Piecewise):
                for _, condition in atom.args:
                    borders += [
                        r.lhs - r.rhs for r in condition.atoms(sp.core.relational.Relational)
                    ]
            elif isinstance(atom, sp.Min | sp.Max):
                borders += [a - b for i, a in enumerate(atom.args) for b in atom.args[:i]]
            else:
                borders.append(atom.args[0])
        found: dict[sp.Expr, Any] = {}
        for border in borders:
            at = self._program(border)
            grid = sorted({*(float(x) for x in _GRID), *(k / 32 for k in range(-640, 641))})
            previous = None
            for x in grid:
                here = at(x)
                if previous is not None and here is not None and previous[1] * here < 0:
                    root, _ = _bisect(partial(_same_sign, at, here), previous[0], x)
                    found.setdefault(self._knot(-root, border), -root)
                if here is not None:
                    previous = None if here == 0 else (x, here)
                    if here == 0:
                        found.setdefault(self._knot(-self.ctx.mpf(x), border), -x)
        return sorted(found, key=lambda e: float(e.subs(self.samples).evalf(20)))

    def _smooth(self, expr: sp.Expr, inside: sp.Expr, kinds: tuple[Any, ...]) -> sp.Expr:
        """`expr` with each choice made as it is at the point `inside`."""
        at = {self.p: inside, **self.samples}

        def value(e: sp.Expr) -> Any:
            return e.subs(at).evalf(30)

        def chosen(e: Any) -> Any:
            if isinstance(e, sp.Piecewise):
                for branch, condition in e.args:
                    if condition.subs(at) == S.true:
                        return branch
                raise NotDesingularizing(f"ψ = {e} has no value at s = {inside}")
            if isinstance(e, sp.Min | sp.Max):
                return (min if isinstance(e, sp.Min) else max)(e.args, key=value)
            if isinstance(e, sp.Abs):
                return e.args[0] * (1 if value(e.args[0]) >= 0 else -1)
            if isinstance(e, sp.sign):
                return S.One if value(e.args[0]) > 0 else S.NegativeOne
            return S.One if value(e.args[0]) > 0 else S.Zero

        while expr.has(*kinds):
            expr = expr.replace(lambda e: isinstance(e, kinds), chosen)
        return expr

    def _join(self, left: Piece, right: Piece) -> None:
        knot = left.upper
        for name, a, b in (
            ("the loss", left.loss, right.loss),
            ("ψ", left.value, right.value),
        ):
            gap = (a - b).subs(self.p, knot).subs(self.samples)
            size = abs(a.subs(self.p, knot).subs(self.samples).evalf(30))
            if not abs(gap.evalf(30)) <= 1e-20 * max(size, sp.Float("1e-300")):
                at = to_text(knot) if len(str(knot)) < 40 else str(knot.evalf(6))
                raise NotDesingularizing(
                    f"{name} jumps at {self.p} = {at}; it must be continuous on [0, r0["
                )
        slopes = [
            (sp.diff(q.value, self.p) / sp.diff(q.loss, self.p)).subs(self.p, knot)
            for q in (left, right)
        ]
        a, b = (q.subs(self.samples).evalf(30) for q in slopes)
        if not abs(a - b) <= 1e-20 * (abs(a) + abs(b)):
            self.warnings.append(
                f"ψ has a kink at {self.p} = {knot} (Definition 2.2 asks for C¹); the bounds"
                " hold all the same, because they integrate ψ'²"
            )

    # -- ψ(0+) = 0 ----------------------------------------------------------------------------

    def _limit_at_zero(self) -> None:
        first = self.pieces[0]
        for name, expr in (("the loss", first.loss), ("ψ", first.value)):
            at = self._program(expr)
            self.trouble = ""
            values, depth = [at(x) for x in _LIMIT], "1e300"
            if shallow := "beyond" in self.trouble:  # exp(1e10) as an argument
                values, depth = [at(x) for x in _SHALLOW], "1000"
            label = f"{name}(0+)" if name == "ψ" else "S(0+)"
            if any(v is None for v in values):
                raise NotDesingularizing(
                    f"{name} = {to_text(expr)} is not a real number near 0; it must be real,"
                    " continuous and 0 at 0"
                )
            if not all(self.ctx.isfinite(v) for v in values):
                raise NotDesingularizing(
                    f"{name} = {to_text(expr)} is beyond what can be evaluated near 0: that it"
                    " tends to 0 is not seen; give it in another form"
                )
            sizes = [abs(v) for v in values]
            if sizes[2] == 0 or (sizes[2] < sizes[1] * 0.75 and sizes[1] < sizes[0] * 0.75):
                continue
            if shallow:
                raise NotDesingularizing(
                    f"{name} = {to_text(expr)} does not tend to 0 as s does; ψ(0+) must be 0"
                )
            if sizes[2] > 2 * sizes[1] > 2 * sizes[0]:
                raise NotDesingularizing(
                    f"{label} = {'-' if values[-1] < 0 else ''}oo, and it must be 0"
                    + self._suggestion(expr)
                )
            constant = self.ctx.nstr(values[-1], 6)
            raise NotDesingularizing(
                f"{label} = {constant}, and it must be 0{self.sample_note}"
                + self._without(expr, sp.nsimplify(constant, rational=True))
            )
        self.checks.append(Check("ψ(0+) = 0", f"evaluated down to s = exp(-{depth})"))

    def _without(self, expr: sp.Expr, constant: sp.Rational) -> str:
        """The suggestion to take a constant away, where that helps."""
        shifted = sp.expand(expr - constant)
        if self.samples or constant.q > 1000 or not shifted.has(self.p):
            return ""
        slope = self._program(sp.diff(shifted, self.p))(3)
        return f"; did you mean {to_text(shifted)}?" if slope is not None and slope > 0 else ""

    def _suggestion(self, expr: sp.Expr) -> str:
        shifted = expr.replace(sp.log, lambda a: sp.log(1 + a))
        if shifted != expr:
            return f"; did you mean {to_text(shifted)}?"
        flipped = expr.replace(
            lambda e: e.is_Pow and e.base == self.p and e.exp.is_negative,
            lambda e: self.p ** (-e.exp),
        )
        return f"; did you mean {to_text(flipped)}?" if flipped != expr else ""

    # -- ψ' > 0, and r0 -----------------------------------------------------------------------

    def _increasing(self) -> None:
        p = self.p
        slopes = [(q, sp.diff(q.loss, p), sp.diff(q.value, p)) for q in self.pieces]
        top = self._p_of_radius()
        symbolic = all(ds.is_positive and dv.is_positive for _, ds, dv in slopes)
        if symbolic:
            self.checks.append(Check("ψ' > 0 on ]0, r0[", "symbolic: a sum of positive terms"))
            # a positive derivative does not exclude a pole: the values are looked at as well
        programs = [
            (q, self._program(q.loss), self._program(q.value), self._program(ds), self._program(dv))
            for q, ds, dv in slopes
        ]

        def sample(x: Any) -> tuple[Any, ...] | None:
            """(S, P) at p = e^{-x} if they are fine there, () if they cannot be held."""
            at = self.ctx.exp(-self.ctx.mpf(x))
            for q, loss, value, ds, dv in programs:
                if at <= _number(self.ctx, q.upper, self.samples):
                    s, v = loss(x), value(x)
                    a, b = (1, 1) if symbolic else (ds(x), dv(x))
                    if s is None or v is None or a is None or b is None:
                        return None
                    if 0 in (s, v, a, b) or self.ctx.inf in (s, v, a, b):
                        return ()
                    return (s, v) if s > 0 and v > 0 and a > 0 and b > 0 else None
            return None

        for _, ds, dv in slopes:
            if ds.is_zero or dv.is_zero:
                raise NotDesingularizing(f"ψ = {to_text(self.value)} is constant on an interval")
        looked = _GRID[::8] if symbolic else _GRID
        grid = [x for x in (*looked, *_DEEP) if top is None or self.ctx.exp(-x) < top]
        grid = sorted(grid, reverse=True)  # from 0 upwards
        last_x, last = None, None
        started, seen = time.monotonic(), 0
        for i, x in enumerate(grid):
            if i % 8 and time.monotonic() - started > _PATIENCE:
                continue  # slow to evaluate: a coarser look
            here, seen = sample(x), seen + 1
            if here == ():  # below the smallest number that can be held
                continue
            if here is None or (
                last is not None and not (here[0] > last[0] and here[1] >= last[1])
            ):
                if last_x is None or x >= 40:
                    raise NotDesingularizing(self._not_increasing(sample, x))
                return self._found_radius(sample, last_x, x)
            last_x, last = x, here
        if not symbolic:
            self.checks.append(
                Check(
                    "ψ' > 0 on ]0, r0[",
                    f"evaluated at {seen} points from s = exp(-1e30)" + self.sample_note,
                )
            )
        if self.given is None:
            self.radius = S.Infinity
        return None

    def _p_of_radius(self) -> Any:
        """p with S(p) = the given r0 as a number, None without a bound."""
        if self.given is None or self.given is S.Infinity:
            return None
        target = _number(self.ctx, self.given, self.samples)
        if self.loss == self.p:
            return target
        at = self._program(self.pieces[-1].loss if len(self.pieces) == 1 else self.loss)
        root, _ = _bisect(lambda x: (v := at(x)) is None or v > target, _TOP, -_TOP)
        return self.ctx.exp(-root)

    def _not_increasing(self, sample: Callable[[Any], Any], x: Any) -> str:
        dv = self._program(sp.diff(self.pieces[0].value, self.p))(x)
        v = self._program(self.pieces[0].value)(x)
        at = (
            f"s = exp({-x})" if x > 700 or x < -700 else f"s = {self.ctx.nstr(self.ctx.exp(-x), 3)}"
        )
        if v is None or dv is None:
            return f"ψ = {to_text(self.value)} is not a finite real number at {at}"
        if v <= 0:
            return f"ψ = {to_text(self.value)} is negative near 0; it must increase from ψ(0) = 0"
        return f"ψ = {to_text(self.value)} does not increase near 0 (ψ' <= 0 at {at})"

    def _found_radius(self, sample: Callable[[Any], Any], good: Any, bad: Any) -> None:
        """ψ stops being fine between x = good and x = bad < good: r0 lies there."""
        reference = sample(good)

        def fine(x: Any) -> bool:
            here = sample(x)
            return bool(here) and bool(here[0] > reference[0] and here[1] > reference[1])

        edge, beyond = _bisect(lambda x: not fine(x), good, bad, patience=2 * _PATIENCE)
        if edge - beyond < 1e-25:
            p0, exactly = self._recognised(-edge)
        else:
            p0, exactly = self._simplest(fine, edge, beyond)
        s0 = p0 if self.loss == self.p else sp.simplify(self.loss.subs(self.p, p0))
        if self.given is not None:
            raise NotDesingularizing(
                f"ψ = {to_text(self.value)} stops increasing at s = {to_text(s0)}, before the given"
                f" radius {to_text(self.given)}; choose a radius of at most {to_text(s0)}"
            )
        self.radius = s0
        how = "recognised exactly" if exactly else "bisection, rounded down"
        self.checks.append(Check(f"ψ' > 0 on ]0, r0[ with r0 = {to_text(s0)}", how))

    def _knot(self, log_value: Any, border: sp.Expr) -> sp.Expr:
        """e^{log_value} as the exact root of `border` if it has a simple one, else to 32 digits."""
        value = self.ctx.exp(self.ctx.mpf(log_value))
        for root in simple_inverses(border, self.p, S.Zero):
            if root.has(S.ImaginaryUnit, S.NaN, S.ComplexInfinity) or root.has(self.p):
                continue
            if abs(_number(self.ctx, root, self.samples) - value) <= value * self.ctx.mpf("1e-25"):
                return root
        simple, exactly = self._recognised(log_value)
        return simple if exactly else sp.Rational(self.ctx.nstr(value, 33))

    def _simplest(
        self, fine: Callable[[Any], bool], edge: Any, beyond: Any
    ) -> tuple[sp.Expr, bool]:
        """A simple fraction between e^{-edge} and e^{-beyond} at which `fine` ends, if any.

        For a ψ that is too slow to evaluate for a bisection to all digits.
        """
        low, high = self.ctx.exp(-edge), self.ctx.exp(-beyond)
        for q in range(1, 9):
            for n in range(int(self.ctx.ceil(low * q)), int(self.ctx.floor(high * q)) + 1):
                x = -self.ctx.log(self.ctx.mpf(n) / q)
                if fine(x + self.ctx.mpf("1e-15")) and not fine(x - self.ctx.mpf("1e-15")):
                    return sp.Rational(n, q), True
        return self._recognised(-edge)[0], False

    def _recognised(self, log_value: Any) -> tuple[sp.Expr, bool]:
        """e^{log_value} as a simple exact number if one fits to 25 digits, else rounded down."""
        value = self.ctx.exp(self.ctx.mpf(log_value))
        for unit, back in _UNITS:
            guess = back(_rational(self.ctx, unit(self.ctx, value, log_value)))
            if guess is None:
                continue
            near = _number(self.ctx, guess, {})
            if abs(near - value) <= abs(value) * self.ctx.mpf(10) ** -25:
                return guess, True
        rounded = self.ctx.nstr(
            value * (1 - self.ctx.mpf(10) ** -15), 15, min_fixed=-9, max_fixed=9
        )
        return sp.Rational(rounded), False


def _rational(ctx: Any, value: Any, largest: int = 48) -> sp.Rational | None:
    """A fraction with a small denominator that is `value` to 25 digits, or None."""
    for q in range(1, largest + 1):
        n = ctx.nint(value * q)
        if abs(value * q - n) <= abs(value) * q * ctx.mpf(10) ** -25 and abs(n) < 10**9:
            return sp.Rational(int(n), q)
    return None


_UNITS: tuple[tuple[Callable[..., Any], Callable[[Any], Any]], ...] = (
    (lambda ctx, v, x: v, lambda q: q),
    (lambda ctx, v, x: ctx.mpf(x), lambda q: None if q is None else sp.exp(q)),
    (lambda ctx, v, x: v / ctx.pi, lambda q: None if q is None else q * sp.pi),
    (lambda ctx, v, x: v / ctx.pi**2, lambda q: None if q is None else q * sp.pi**2),
    (lambda ctx, v, x: v**2, lambda q: None if q is None else sp.sqrt(q)),
    (lambda ctx, v, x: v**3, lambda q: None if q is None else sp.cbrt(q)),
    (lambda ctx, v, x: ctx.exp(v), lambda q: None if q is None or q <= 0 else sp.log(q)),
)


def _number(ctx: Any, expr: sp.Expr, samples: dict[sp.Symbol, sp.Expr]) -> Any:
    if expr is S.Infinity:
        return ctx.inf
    value = expr.subs(samples)
    if value.is_Rational:
        return ctx.mpf(int(value.p)) / int(value.q)
    return ctx.mpf(str(value.evalf(45)))


def _same_sign(at: Callable[[Any], Any], sign: Any, x: Any) -> bool:
    return bool((at(x) or 0) * sign > 0)


def _bisect(
    after: Callable[[Any], bool], x: Any, end: Any, patience: float = 60.0
) -> tuple[Any, Any]:
    """Two numbers between x (not after) and end (after) where `after` becomes true: 33 digits."""
    ctx = mpmath.MPContext()
    ctx.prec = 120
    a, b = ctx.mpf(x), ctx.mpf(end)
    started = time.monotonic()
    for _ in range(118):
        if time.monotonic() - started > patience:
            break
        middle = (a + b) / 2
        if after(middle):
            b = middle
        else:
            a = middle
    return a, b


def samples_inside(desingularizer: Desingularizer) -> Iterator[sp.Rational]:
    """Points p at which identities of this ψ are tested, from near 0 to near r0."""
    ctx = mpmath.MPContext()
    r0 = desingularizer.radius
    top = 2.3 if r0 is S.Infinity else min(float(r0.evalf(20)), 2.3)
    if not desingularizer.explicit:
        top = min(top, 1.0)
    for share in ("0.000001", "0.01", "0.2", "0.5", "0.9"):
        yield sp.Rational(share) * sp.Rational(str(ctx.nstr(ctx.mpf(top), 12)))


__all__ = ["Check", "Desingularizer", "Piece", "exact", "integrand", "samples_inside"]
