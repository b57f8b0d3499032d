"""Text to expression, on a whitelist; nothing in the text is ever evaluated as code.

Three passes, each of which may refuse with a caret at the place:

1. a tokenizer and a recursive-descent parser of our own turn the text into a small tree.
   The characters that attribute access, strings, subscripts and statements need do not exist here;
2. `_measure` folds every constant part (exactly, or at 40 digits) and bounds the length of the
   numbers that building can produce, so that no input costs more than a few milliseconds;
3. `_Builder` calls SymPy's constructors, one per node, with SymPy objects only.

SymPy is imported by the third pass, so a text that is refused by the first two never loads it.
"""

from __future__ import annotations

import difflib
import keyword
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from kltheory.errors import InputError, ParseError

if TYPE_CHECKING:
    import sympy

__all__ = ["Parsed", "parse", "parse_number", "to_text"]

MAX_LENGTH = 1000  # characters
MAX_TOKENS = 600
MAX_NODES = 300
MAX_DEPTH = 40  # parentheses, calls and exponents inside each other
MAX_NEST = 12  # functions and powers inside each other
MAX_SUMS = 8  # sums inside each other: SymPy's questions about signs double with each
MAX_DIGITS = 40  # of one number, as written
MAX_DECIMAL_EXPONENT = 400  # of one number, as written
MAX_EXPONENT = 1000  # |e| of a power b**e
MAX_LOG = 1000  # |log|c|| of every constant part c
MAX_BITS = 4096  # of an exact constant
MAX_GROWTH = 16384  # bits that numbers may reach while SymPy combines powers
MAX_ORDER = 20  # of lowergamma, besseli, polylog, ...
MAX_WRITTEN = 3  # largest order of lowergamma and uppergamma that SymPy may write out
MAX_WEIGHT = 500  # parts of the expression, with these written out
MAX_DEGREE = 16  # of a sum in a function, power or condition: SymPy seeks its roots for its sign
MAX_CHOICES = 6  # arguments of Min, Max, Abs and cases of Piecewise in a text, together


@dataclass(frozen=True, slots=True)
class Parsed:
    """An accepted text and its expression."""

    text: str
    """What was given."""
    expr: sympy.Expr
    """The expression, exact: every decimal is a rational number."""
    variable: sympy.Symbol
    """The variable, a positive symbol."""
    parameters: tuple[sympy.Symbol, ...]
    """The other symbols of `expr`, positive, sorted by name."""
    warnings: tuple[str, ...]
    """What was read in a way that may surprise."""


# ---------------------------------------------------------------------------- words


@dataclass(frozen=True, slots=True)
class _Function:
    """A function of the grammar; `value` computes it on constants in an mpmath context."""

    usage: str
    arity: tuple[int, int]
    value: Callable[..., Any]
    domain: str = ""
    """Where the value is real and finite, in words; empty: everywhere."""
    inside: Callable[..., bool] = lambda *_: True
    largest: float = math.inf
    """Largest |argument| for a constant argument."""
    order: bool = False
    """Whether the first of two arguments is an order, which must be small."""


def _one(
    name: str,
    value: Callable[..., Any],
    domain: str = "",
    inside: Callable[..., bool] = lambda *_: True,
    largest: float = math.inf,
) -> _Function:
    return _Function(f"{name}(x)", (1, 1), value, domain, inside, largest)


def _two(
    usage: str, value: Callable[..., Any], domain: str, inside: Callable[..., bool]
) -> _Function:
    return _Function(usage, (2, 2), value, domain, inside, 1000, order=True)


_TINY = 1e-25


def _lambertw_inside(m: Any, x: Any, k: Any = 0) -> bool:
    low = -m.exp(-1) * (1 + _TINY)
    return bool(x >= low) if k == 0 else bool(k == -1 and low <= x < 0)


def _lambertw_value(m: Any, x: Any, k: Any = 0) -> Any:
    return m.lambertw(max(m.mpf(x), -m.exp(-1)), int(k)).real


_FUNCTIONS: dict[str, _Function] = {
    "sqrt": _one("sqrt", lambda m, x: m.sqrt(x), "x >= 0", lambda m, x: x >= 0),
    "cbrt": _one("cbrt", lambda m, x: m.cbrt(x), "x >= 0", lambda m, x: x >= 0),
    "root": _Function(
        "root(x, n)",
        (2, 2),
        lambda m, x, n: m.mpf(0) if x == 0 else m.exp(m.log(x) / n),
        "x >= 0 and n > 0",
        lambda m, x, n: x >= 0 and n > 0,
    ),
    "log": _one("log", lambda m, x: m.log(x), "x > 0", lambda m, x: x > 0),
    "log1p": _one("log1p", lambda m, x: m.log1p(x), "x > -1", lambda m, x: x > -1),
    "log2": _one("log2", lambda m, x: m.log(x, 2), "x > 0", lambda m, x: x > 0),
    "log10": _one("log10", lambda m, x: m.log10(x), "x > 0", lambda m, x: x > 0),
    "exp": _one("exp", lambda m, x: m.exp(x), largest=MAX_LOG),
    "expm1": _one("expm1", lambda m, x: m.expm1(x), largest=MAX_LOG),
    "sin": _one("sin", lambda m, x: m.sin(x), largest=1e6),
    "cos": _one("cos", lambda m, x: m.cos(x), largest=1e6),
    "tan": _one(
        "tan", lambda m, x: m.tan(x), "cos(x) != 0", lambda m, x: abs(m.cos(x)) > _TINY, 1e6
    ),
    "asin": _one("asin", lambda m, x: m.asin(x), "-1 <= x <= 1", lambda m, x: abs(x) <= 1),
    "acos": _one("acos", lambda m, x: m.acos(x), "-1 <= x <= 1", lambda m, x: abs(x) <= 1),
    "atan": _one("atan", lambda m, x: m.atan(x)),
    "sinh": _one("sinh", lambda m, x: m.sinh(x), largest=MAX_LOG),
    "cosh": _one("cosh", lambda m, x: m.cosh(x), largest=MAX_LOG),
    "tanh": _one("tanh", lambda m, x: m.tanh(x), largest=MAX_LOG),
    "sech": _one("sech", lambda m, x: m.sech(x), largest=MAX_LOG),
    "asinh": _one("asinh", lambda m, x: m.asinh(x)),
    "acosh": _one("acosh", lambda m, x: m.acosh(x), "x >= 1", lambda m, x: x >= 1),
    "atanh": _one("atanh", lambda m, x: m.atanh(x), "-1 < x < 1", lambda m, x: abs(x) < 1),
    "erf": _one("erf", lambda m, x: m.erf(x), largest=1000),
    "erfc": _one("erfc", lambda m, x: m.erfc(x), largest=30),
    "erfi": _one("erfi", lambda m, x: m.erfi(x), largest=30),
    "erfinv": _one("erfinv", lambda m, x: m.erfinv(x), "-1 < x < 1", lambda m, x: abs(x) < 1),
    "Ei": _one("Ei", lambda m, x: m.ei(x), "x != 0", lambda m, x: x != 0, 1000),
    "li": _one("li", lambda m, x: m.li(x), "x > 0, x != 1", lambda m, x: x > 0 and x != 1, 1000),
    "Si": _one("Si", lambda m, x: m.si(x), largest=1000),
    "Ci": _one("Ci", lambda m, x: m.ci(x), "x > 0", lambda m, x: x > 0, 1000),
    "Shi": _one("Shi", lambda m, x: m.shi(x), largest=1000),
    "Chi": _one("Chi", lambda m, x: m.chi(x).real, "x > 0", lambda m, x: x > 0, 1000),
    "LambertW": _Function(
        "LambertW(x) or LambertW(x, k) with the branch k = 0 or -1",
        (1, 2),
        _lambertw_value,
        "x >= -1/e, and x < 0 on the branch k = -1",
        _lambertw_inside,
    ),
    "gamma": _one("gamma", lambda m, x: m.gamma(x), "x > 0", lambda m, x: x > 0, largest=200),
    "loggamma": _one(
        "loggamma", lambda m, x: m.loggamma(x), "x > 0", lambda m, x: x > 0, largest=200
    ),
    "lowergamma": _two(
        "lowergamma(a, x)",
        lambda m, a, x: m.gammainc(a, 0, x),
        "a > 0 and x >= 0",
        lambda m, a, x: a > 0 and x >= 0,
    ),
    "uppergamma": _two(
        "uppergamma(a, x)",
        lambda m, a, x: m.gammainc(a, x),
        "x > 0",
        lambda m, a, x: x > 0,
    ),
    "polylog": _two(
        "polylog(n, x)",
        lambda m, n, x: m.polylog(n, x).real,
        "x < 1, or x = 1 with n > 1",
        lambda m, n, x: x < 1 or (x == 1 and n > 1),
    ),
    "Li2": _one("Li2", lambda m, x: m.polylog(2, x).real, "x <= 1", lambda m, x: x <= 1, 1000),
    "besseli": _two(
        "besseli(n, x)",
        lambda m, n, x: m.besseli(n, x),
        "n >= 0 and x >= 0",
        lambda m, n, x: n >= 0 and x >= 0,
    ),
    "besselj": _two(
        "besselj(n, x)",
        lambda m, n, x: m.besselj(n, x),
        "n >= 0 and x >= 0",
        lambda m, n, x: n >= 0 and x >= 0,
    ),
    "besselk": _two(
        "besselk(n, x)", lambda m, n, x: m.besselk(n, x), "x > 0", lambda m, n, x: x > 0
    ),
    "Abs": _one("Abs", lambda m, x: abs(x)),
    "Min": _Function("Min(x, y, ...)", (1, MAX_CHOICES), lambda m, *x: min(x)),
    "Max": _Function("Max(x, y, ...)", (1, MAX_CHOICES), lambda m, *x: max(x)),
}
_PIECEWISE = "Piecewise((x, condition), ..., (y, True))"
_ALIASES = {
    "ln": "log",
    "abs": "Abs",
    "min": "Min",
    "max": "Max",
    "W": "LambertW",
    "lambertw": "LambertW",
    **{f"arc{x}": f"a{x}" for x in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{f"ar{x}": f"a{x}" for x in ("sinh", "cosh", "tanh")},
}
_CALLABLE = {*_FUNCTIONS, *_ALIASES, "Piecewise"}
_CHOICES = {"Min", "Max", "Abs", "Piecewise"}
_BARE = {"gamma", "W"}  # functions whose names are parameters when they are not called
_CONSTANTS = {"pi": "pi", "e": "e", "E": "e"}
_MISREAD = {
    "oo": "infinity",
    "inf": "infinity",
    "zoo": "infinity",
    "nan": "an undefined value",
    "I": "the imaginary unit",
}
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
        "sigma tau upsilon phi chi psi omega".split(),
        strict=True,
    )
) | {"µ": "mu", "ϕ": "phi", "ϵ": "epsilon", "Λ": "Lambda", "Δ": "Delta", "Γ": "Gamma"}
_SUPERSCRIPT = {c: str(i) for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")} | {"⁻": "-"}
_SIGNS = {"^": "**", "×": "*", "·": "*", "⋅": "*", "÷": "/", "−": "-", "≤": "<=", "≥": ">="}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_TOKEN = re.compile(
    r"(?P<blank>[ \t\r\n]+)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_]*)"
    rf"|(?P<greek>[{''.join(_GREEK)}](?:[0-9]+|_[A-Za-z0-9]+)?)"
    rf"|(?P<power>[{''.join(_SUPERSCRIPT)}]+)"
    r"|(?P<root>√)"
    rf"|(?P<sign>\*\*|<=|>=|[-+*/(),<>{''.join(map(re.escape, _SIGNS))}])"
)
_HINTS = {
    "=": "give only the right-hand side, without =",
    "|": "write Abs(x) for the absolute value",
    "!": "write gamma(n + 1) for a factorial",
    "[": "use round parentheses",
    "]": "use round parentheses",
    "{": "use round parentheses",
    "}": "use round parentheses",
    "'": "quotes are not part of an expression",
    '"': "quotes are not part of an expression",
    ".": "a dot is allowed only inside a number, as in 0.5",
    "_": "a name starts with a letter",
    "∞": "infinity is not a number here",
}


# ---------------------------------------------------------------------------- text → tree


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, name, power, root, end, or the sign itself
    text: str
    at: int
    end: int


@dataclass(slots=True)
class _Node:
    """A node of the tree; the fields from `value` on are filled by `_measure`."""

    kind: str  # number, constant, symbol, neg, add, mul, inv, pow, call, piecewise, compare, true
    at: int
    end: int
    args: tuple[_Node, ...] = ()
    name: str = ""
    number: Fraction = Fraction(0)
    wrapped: bool = False  # in parentheses
    value: Any = None  # of a constant part: Fraction or mpf; else None
    bits: float = 0.0  # bound on the length of the numbers that building can make of it
    up: float = 0.0  # bound on log2 of the numeric factors in it
    down: float = 0.0  # bound on -log2 of the numeric factors in it
    log_bits: float = 0.0  # `bits` inside logarithms: exp(k*log(n)) becomes n**k
    sums: int = 0  # sums inside each other
    nest: int = 0  # functions and powers inside each other
    weight: float = 1.0  # number of parts that SymPy may write
    degree: float = 0.0  # of a polynomial
    rough: float = 0.0  # the degree, in sums that depend on the variable in several terms


class _Source:
    """The text, and errors that point into it."""

    def __init__(self, text: str, name: str = "") -> None:
        if not isinstance(text, str):
            raise InputError(f"an expression is given as text, not as {type(text).__name__}")
        self.text = text
        self.name = name

    def fail(self, reason: str, at: int) -> NoReturn:
        lead = f"{self.name}: " if self.name else ""
        raise ParseError(lead + reason, self.text, at)

    def part(self, node: _Node) -> str:
        return _short(self.text[node.at : node.end])


def _short(text: str, length: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."


def _tokens(source: _Source) -> list[_Token]:
    text, found = source.text, list[_Token]()
    if len(text) > MAX_LENGTH:
        source.fail(
            f"the text has {len(text)} characters; at most {MAX_LENGTH} are allowed", MAX_LENGTH
        )
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            source.fail(_strange(text[at]), at)
        kind, word, end = str(match.lastgroup), match.group(), match.end()
        if kind == "number":
            _check_number(source, word, at, end)
        elif kind == "greek":
            kind, word = "name", _GREEK[word[0]] + word[1:]
        elif kind == "power":
            word = "".join(_SUPERSCRIPT[c] for c in word)
            if not re.fullmatch(r"-?[0-9]{1,4}", word):
                source.fail("this superscript is not an integer of at most 4 digits", at)
        elif kind == "sign":
            kind = word = _SIGNS.get(word, word)
        if kind == "name" and len(word) > 31:
            source.fail("this name is too long: at most 31 characters are allowed", at)
        if kind != "blank":
            found.append(_Token(kind, word, at, end))
        if len(found) > MAX_TOKENS:
            source.fail(f"the text is too long: at most {MAX_TOKENS} words and signs", at)
        at = end
    if not found:
        source.fail("the text is empty: an expression is expected", 0)
    found.append(_Token("end", "", len(text), len(text)))
    return found


def _strange(character: str) -> str:
    if character in _HINTS:
        return f"unexpected {character}: {_HINTS[character]}"
    if character.isprintable() and not character.isspace():
        return f"unexpected character {character}"
    return f"unexpected character U+{ord(character):04X}, which does not print"


def _check_number(source: _Source, word: str, at: int, end: int) -> None:
    mantissa, _, exponent = word.lower().partition("e")
    if len(mantissa.replace(".", "")) > MAX_DIGITS:
        source.fail(f"this number has more than {MAX_DIGITS} digits", at)
    if exponent and (len(exponent) > 6 or abs(int(exponent)) > MAX_DECIMAL_EXPONENT):
        source.fail(
            f"the decimal exponent is too large: at most {MAX_DECIMAL_EXPONENT} in size is allowed",
            at,
        )
    if source.text[end : end + 1] == ".":
        source.fail("this number has two decimal points", end)


class _Parser:
    """Recursive descent over the tokens; every nesting passes `deeper`, so it cannot run away."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self.tokens = _tokens(source)
        self.here = 0
        self.depth = 0
        self.nodes = 0
        self.choices = 0
        self.cases = False
        self.warnings = list[str]()

    @property
    def token(self) -> _Token:
        return self.tokens[self.here]

    def fail(self, reason: str, at: int) -> NoReturn:
        self.source.fail(reason, at)

    def take(self, *kinds: str) -> _Token | None:
        token = self.token
        if token.kind not in kinds:
            return None
        self.here += 1
        return token

    def node(self, kind: str, at: int, end: int, *args: _Node, name: str = "") -> _Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.fail(f"the expression is too large: at most {MAX_NODES} parts are allowed", at)
        return _Node(kind, at, end, args, name)

    def deeper(self, at: int) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"too deeply nested: at most {MAX_DEPTH} levels are allowed", at)

    def whole(self) -> _Node:
        tree = self.sum()
        token = self.token
        if token.kind == ")":
            self.fail("this ) closes nothing: remove it, or add the ( that is missing", token.at)
        if token.kind == ",":
            self.fail("a comma is allowed only between the arguments of a function", token.at)
        if token.kind in ("<", ">", "<=", ">="):
            self.fail(f"a comparison is allowed only in {_PIECEWISE}", token.at)
        if token.kind != "end":
            self.fail(f"unexpected {token.text}", token.at)
        return tree

    def sum(self) -> _Node:
        terms = [self.product()]
        while sign := self.take("+", "-"):
            term = self.product()
            if sign.kind == "-":
                term = _Node("neg", sign.at, term.end, (term,))
            terms.append(term)
        if len(terms) == 1:
            return terms[0]
        return self.node("add", terms[0].at, terms[-1].end, *terms)

    def product(self) -> _Node:
        factors = [self.signed()]
        while sign := self.take("*", "/"):
            factor = self.signed()
            if sign.kind == "/":
                self.warn_fraction(factors[-1], factor)
                factor = _Node("inv", sign.at, factor.end, (factor,))
            factors.append(factor)
        if self.token.kind in ("number", "name", "(", "root"):
            self.fail_implicit(factors[-1])
        if len(factors) == 1:
            return factors[0]
        return self.node("mul", factors[0].at, factors[-1].end, *factors)

    def signed(self) -> _Node:
        first, negative, signs = self.token.at, False, 0
        while sign := self.take("+", "-"):
            negative ^= sign.kind == "-"
            signs += 1
            if signs > 3:
                self.fail("too many signs in a row", sign.at)
        power = self.power()
        return _Node("neg", first, power.end, (power,)) if negative else power

    def power(self) -> _Node:
        base = self.primary()
        if exponent := self.take("power"):
            number = self.node("number", exponent.at, exponent.end)
            number.number, number.wrapped = Fraction(int(exponent.text)), True
            base = self.node("pow", base.at, exponent.end, base, number)
        sign = self.take("**")
        if sign is None:
            return base
        if base.kind == "pow" and not base.wrapped:
            self.fail("two powers in a row: use parentheses", sign.at)
        self.deeper(sign.at)
        above = self.signed()
        self.depth -= 1
        return self.node("pow", base.at, above.end, base, above)

    def primary(self) -> _Node:
        token = self.token
        if self.take("number"):
            number = self.node("number", token.at, token.end)
            number.number = Fraction(token.text)
            self.warn_decimal(token.text, number.number)
            return number
        if self.take("root"):
            self.deeper(token.at)
            inner = self.primary()
            self.depth -= 1
            return self.node("call", token.at, inner.end, inner, name="sqrt")
        if self.take("("):
            self.deeper(token.at)
            inner = self.sum()
            self.close(token)
            self.depth -= 1
            inner.wrapped = True
            inner.at, inner.end = token.at, self.tokens[self.here - 1].end
            return inner
        if self.take("name"):
            return self.named(token)
        if token.kind == "end":
            self.fail("the text ends where a number, a name or ( is expected", token.at)
        given = self.source.text[token.at : token.end]
        self.fail(f"a number, a name or ( is expected here, not {given}", token.at)

    def close(self, opened: _Token) -> None:
        token = self.token
        if self.take(")"):
            return
        if token.kind == "end":
            self.fail("this parenthesis is never closed", opened.at)
        if token.kind == ",":
            self.fail("a comma is allowed only between the arguments of a function", token.at)
        if token.kind in ("<", ">", "<=", ">="):
            self.fail(f"a comparison is allowed only in {_PIECEWISE}", token.at)
        self.fail(f"a ) is expected here, not {token.text}", token.at)

    def named(self, token: _Token) -> _Node:
        name = token.text
        if name in _CONSTANTS and self.token.kind != "(":
            return self.node("constant", token.at, token.end, name=_CONSTANTS[name])
        if keyword.iskeyword(name) and name != "lambda":
            self.fail(f"{name} cannot be used here: it is a reserved word", token.at)
        if self.token.kind == "(":
            if name not in _CALLABLE:
                self.fail_unknown(token)
            return self.call(token, _ALIASES.get(name, name))
        if name in _CALLABLE and name not in _BARE:
            after = self.token
            if after.kind in ("name", "number"):
                self.fail(f"{name} needs parentheses: write {name}({after.text})", after.at)
            usage = _PIECEWISE if name == "Piecewise" else _usage(name)
            self.fail(f"{name} is a function: write {usage}", token.at)
        if name in _MISREAD:
            self.warnings.append(f"{name} is read as a parameter, not as {_MISREAD[name]}")
        return self.node("symbol", token.at, token.end, name=name)

    def call(self, token: _Token, name: str) -> _Node:
        opened = self.token
        self.here += 1
        self.deeper(opened.at)
        if self.token.kind == ")":
            self.fail(f"{token.text} needs an argument: write {_usage(name)}", self.token.at)
        if name == "Piecewise" and self.cases:
            self.fail("Piecewise is inside Piecewise: write all cases in one", token.at)
        inside, self.cases = self.cases, self.cases or name == "Piecewise"
        read = self.case if name == "Piecewise" else self.sum
        args = [read()]
        while self.take(","):
            args.append(read())
        self.close(opened)
        self.depth -= 1
        self.cases = inside
        end = self.tokens[self.here - 1].end
        if name in _CHOICES:
            self.choices += len(args)
            if self.choices > MAX_CHOICES:
                self.fail(
                    "too many cases: Min, Max, Abs and Piecewise may have "
                    f"{MAX_CHOICES} arguments together",
                    token.at,
                )
        if name == "Piecewise":
            return self.piecewise(token, args, end)
        low, high = _FUNCTIONS[name].arity
        if not low <= len(args) <= high:
            number = str(low) if low == high else f"{low} to {high}"
            plural = "" if number == "1" else "s"
            self.fail(
                f"{token.text} takes {number} argument{plural}, not {len(args)}: "
                f"write {_usage(token.text)}",
                token.at if len(args) < low else args[high].at,
            )
        return self.node("call", token.at, end, *args, name=name)

    def case(self) -> _Node:
        opened = self.token
        if not self.take("("):
            self.fail(f"write {_PIECEWISE}", opened.at)
        self.deeper(opened.at)
        value = self.sum()
        if not self.take(","):
            self.fail(f"a comma and a condition are expected here: {_PIECEWISE}", self.token.at)
        token = self.token
        if token.kind == "name" and token.text == "True":
            self.here += 1
            condition = self.node("true", token.at, token.end)
        else:
            left = self.sum()
            sign = self.take("<", ">", "<=", ">=")
            if sign is None:
                self.fail("a condition is a comparison with <, <=, > or >=", self.token.at)
            right = self.sum()
            if self.token.kind in ("<", ">", "<=", ">="):
                self.fail("a condition has one comparison: split the cases", self.token.at)
            condition = self.node("compare", left.at, right.end, left, right, name=sign.kind)
        self.close(opened)
        self.depth -= 1
        return self.node("case", opened.at, self.tokens[self.here - 1].end, value, condition)

    def piecewise(self, token: _Token, cases: list[_Node], end: int) -> _Node:
        for case in cases[:-1]:
            if case.args[1].kind == "true":
                self.fail("the condition True is allowed only in the last case", case.args[1].at)
        last = cases[-1].args[1]
        if last.kind != "true":
            self.fail("the condition of the last case must be True", last.at)
        return self.node("piecewise", token.at, end, *cases)

    # Errors and warnings with a suggestion.

    def fail_implicit(self, left: _Node) -> NoReturn:
        token, text = self.token, self.source.text
        if keyword.iskeyword(token.text) and token.text != "lambda":
            self.fail(f"unexpected {token.text}", token.at)
        while left.kind in ("neg", "inv"):
            left = left.args[0]
        right = text[token.at : token.end]
        if token.kind == "(":
            right = self.group(self.here)
        elif token.kind == "name" and self.tokens[self.here + 1].kind == "(":
            right += self.group(self.here + 1)
        first = text[left.at : left.end]
        self.fail(f"a * is missing: write {_short(first, 30)}*{right}", token.at)

    def group(self, first: int) -> str:
        """Return the text from the parenthesis at the token `first` to the one that closes it."""
        level = 0
        for token in self.tokens[first:]:
            level += (token.kind == "(") - (token.kind == ")")
            if level == 0:
                return _short(self.source.text[self.tokens[first].at : token.end], 30)
        return "(...)"

    def fail_unknown(self, token: _Token) -> NoReturn:
        name = token.text
        product = f"{name}*{self.group(self.here)}"
        names = sorted(_CALLABLE)
        lower = {n.lower(): n for n in reversed(names)}
        near = [lower[name.lower()]] if name.lower() in lower else []
        if len(name) > 1:
            near = near or difflib.get_close_matches(name, names, 1, 0.7)
        if near:
            self.fail(f"unknown function {name}: did you mean {near[0]}?", token.at)
        if len(name) == 1 or name in _GREEK.values() or name in _CONSTANTS:
            self.fail(f"{name} is not a function: for a product write {product}", token.at)
        self.fail(
            f"unknown function {name}; for a product write {product}. There are sqrt, log, exp, "
            "sin, atan, asinh, erf, Ei, LambertW, gamma, polylog, besseli, Min, Piecewise and more",
            token.at,
        )

    def warn_fraction(self, power: _Node, below: _Node) -> None:
        """Warn of b**p/q, which is (b**p)/q, where p/q looks like one exponent."""
        while power.kind == "neg":
            power = power.args[0]
        if power.kind != "pow" or power.wrapped:
            return
        above, sign = power.args[1], ""
        if above.kind == "neg" and not above.wrapped:
            above, sign = above.args[0], "-"
        numbers = above.number, below.number
        if any(n.kind != "number" or n.wrapped for n in (above, below)):
            return
        if any(n.denominator != 1 or n == 0 for n in numbers) or below.number == 1:
            return
        p, q = (n.numerator for n in numbers)
        if p != 1 and not (p < q and math.gcd(p, q) == 1):
            return
        base = self.source.part(power.args[0])
        what = {(1, 2): "square root", (1, 3): "cube root"}.get((p, q), f"power {p}/{q}")
        if sign:
            what = f"power -{p}/{q}"
        result = f" = {base}/{q}" if p == 1 and not sign else ""
        self.warnings.append(
            f"{base}**{sign}{p}/{q} is read as ({base}**{sign}{p})/{q}{result}; "
            f"write {base}**({sign}{p}/{q}) for the {what}"
        )

    def warn_decimal(self, text: str, number: Fraction) -> None:
        """Warn of 0.333, which is kept as 333/1000."""
        digits = len(text.partition(".")[2])
        if digits < 3 or "e" in text.lower():
            return
        near = number.limit_denominator(6)
        if near.denominator in (3, 6) and abs(near - number) < Fraction(1, 10**digits):
            self.warnings.append(
                f"{text} is kept exactly as written; write {near} if that is meant"
            )


def _usage(name: str) -> str:
    known = _ALIASES.get(name, name)
    usage = _PIECEWISE if known == "Piecewise" else _FUNCTIONS[known].usage
    return usage.replace(known, name, 1)


# ---------------------------------------------------------------------------- limits


@lru_cache(maxsize=1)
def _context() -> Any:
    """Return an mpmath context of our own, at 40 digits; the global one is left alone."""
    import mpmath

    context = mpmath.MPContext()
    context.dps = 40
    return context


def _mpf(value: Any) -> Any:
    if isinstance(value, Fraction):
        return _context().mpf(value.numerator) / value.denominator
    return value


def _log_size(value: Any) -> float:
    """Return log|value| of a nonzero constant."""
    if isinstance(value, Fraction):
        return math.log(abs(value.numerator)) - math.log(value.denominator)
    return float(_context().log(abs(value)))


def _double(exponent: float) -> float:
    """Return 2**exponent, capped."""
    return float(2 ** min(exponent, 60.0))


class _Measure:
    """Folds the constants of a tree and bounds the work of building it, or refuses."""

    def __init__(self, source: _Source, values: Mapping[str, Any]) -> None:
        self.source = source
        self.values = values

    def fail(self, reason: str, node: _Node) -> NoReturn:
        self.source.fail(reason, node.at)

    def measure(self, node: _Node) -> None:
        for arg in node.args:
            self.measure(arg)
        node.bits = sum(a.bits for a in node.args)
        node.up = sum(a.up for a in node.args)
        node.down = sum(a.down for a in node.args)
        node.log_bits = sum(a.log_bits for a in node.args)
        node.sums = max((a.sums for a in node.args), default=0) + (node.kind == "add")
        if node.sums > MAX_SUMS:
            self.fail(f"sums are nested too deeply: at most {MAX_SUMS} levels are allowed", node)
        node.nest = max((a.nest for a in node.args), default=0) + (node.kind in ("call", "pow"))
        if node.nest > MAX_NEST:
            self.fail(
                f"functions and powers are nested too deeply: at most {MAX_NEST} levels", node
            )
        node.weight = 1 + sum(a.weight for a in node.args)
        self.set_degree(node)
        values = [a.value for a in node.args]
        constant = bool(values) and all(v is not None for v in values)
        match node.kind:
            case "number":
                self.leaf(node, node.number)
            case "constant":
                self.leaf(node, +_context().pi if node.name == "pi" else _context().exp(1))
            case "symbol":
                if node.name in self.values:
                    self.leaf(node, self.values[node.name])
            case "neg":
                node.value = -values[0] if constant else None
            case "add":
                node.bits += len(values)
                node.up = max(a.up for a in node.args) + math.log2(len(values))
                node.down = max(a.down for a in node.args)
                if constant:
                    node.value = self.total(node, values)
            case "inv":
                if values[0] == 0:
                    self.fail("division by zero", node)
                node.value = 1 / values[0] if constant else None
                node.up, node.down = node.down, node.up
            case "mul":
                node.value = self.multiply(values) if constant else None
                exact = [v for v in values if isinstance(v, Fraction) and v != 0]
                others = [a for a in node.args if not isinstance(a.value, Fraction)]
                size = sum(_log_size(v) for v in exact) / math.log(2)
                node.up = sum(a.up for a in others) + max(0.0, size)
                node.down = sum(a.down for a in others) + max(0.0, -size)
            case "pow":
                self.power(node, constant)
            case "call":
                self.call(node, constant)
            case "compare":
                if constant:
                    self.fail("this condition compares constants", node)
        if node.value is not None:
            self.check_size(node)
        if isinstance(node.value, Fraction):
            self.set_reach(node)
        if node.weight > MAX_WEIGHT:
            self.fail(f"{self.source.part(node)} becomes too long when it is written out", node)
        if node.bits > MAX_GROWTH or max(node.up, node.down) > MAX_GROWTH:
            self.fail(
                f"the numbers in {self.source.part(node)} can become too long; "
                "use smaller numbers or smaller exponents",
                node,
            )

    def set_degree(self, node: _Node) -> None:
        degrees = [a.degree for a in node.args]
        node.degree = max(degrees, default=0.0)
        node.rough = max((a.rough for a in node.args), default=0.0)
        checked = node.kind == "call"
        match node.kind:
            case "symbol":
                node.degree = 1.0
            case "mul":
                node.degree = sum(degrees)
            case "pow":
                exponent = node.args[1].value
                whole = isinstance(exponent, Fraction) and exponent.denominator == 1
                checked = not whole
                node.degree = degrees[0] * max(1.0, float(abs(exponent or 1))) + degrees[1]
        several = sum(a.value is None for a in node.args) > 1
        if several and (node.kind in ("add", "compare") or node.name in ("Min", "Max")):
            node.rough = node.degree
            checked = node.kind != "add"
        if checked and node.rough > MAX_DEGREE:
            self.fail(
                f"the sum in {self.source.part(node)} has too high a degree: at most {MAX_DEGREE} "
                "is allowed in a function, a comparison or a power",
                node,
            )

    def leaf(self, node: _Node, value: Any) -> None:
        node.value = value
        if isinstance(value, Fraction):
            node.bits = value.numerator.bit_length() + value.denominator.bit_length()
        self.set_reach(node)

    def set_reach(self, node: _Node) -> None:
        size = _log_size(node.value) / math.log(2) if node.value else 0.0
        node.up, node.down = max(0.0, size), max(0.0, -size)

    def check_size(self, node: _Node) -> None:
        value = node.value
        if isinstance(value, Fraction):
            if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
                self.fail(f"{self.source.part(node)} is too long a number", node)
        elif not _context().isfinite(value) or not isinstance(value, _context().mpf):
            self.fail(f"{self.source.part(node)} is not a finite real number", node)
        if value != 0 and not abs(_log_size(value)) <= MAX_LOG:
            self.fail(
                f"{self.source.part(node)} is out of range: constants lie between "
                f"e**-{MAX_LOG} and e**{MAX_LOG}",
                node,
            )

    def total(self, node: _Node, values: list[Any]) -> Any:
        if all(isinstance(v, Fraction) for v in values):
            return sum(values)
        terms = [_mpf(v) for v in values]
        result = sum(terms[1:], terms[0])
        if not abs(result) > _TINY * sum(abs(t) for t in terms):
            self.fail(
                f"{self.source.part(node)} is zero, or too close to zero to tell: simplify it", node
            )
        return result

    def multiply(self, values: list[Any]) -> Any:
        if not all(isinstance(v, Fraction) for v in values):
            values = [_mpf(v) for v in values]
        result = values[0]
        for value in values[1:]:
            result = result * value
        return result

    def power(self, node: _Node, constant: bool) -> None:
        base, above = node.args
        if above.value is not None:
            if not abs(above.value) <= MAX_EXPONENT:
                self.fail(
                    f"this exponent is too large: at most {MAX_EXPONENT} in size is allowed", above
                )
            factor = max(1.0, float(abs(above.value)))
        else:
            factor = _double(above.up)
        self.grow(node, base, above, factor)
        if base.value == 0 and (above.value is None or above.value <= 0):
            self.fail("0 is raised to a power that is not known to be positive", node)
        if not constant:
            return
        b, e = base.value, above.value
        whole = isinstance(e, Fraction) and e.denominator == 1
        if isinstance(b, Fraction) and whole:
            if (b.numerator.bit_length() + b.denominator.bit_length()) * abs(e) > MAX_BITS:
                self.fail(f"{self.source.part(node)} is too long a number", node)
            node.value = b ** int(e)
        elif b == 0:
            node.value = b
        elif b < 0 and not whole:
            self.fail("a negative number with an exponent that is no integer is not real", node)
        elif abs(_log_size(b)) * float(abs(e)) > MAX_LOG:
            self.fail(f"{self.source.part(node)} is too large or too small", node)
        else:
            node.value = _mpf(b) ** (int(e) if whole else _mpf(e))

    def grow(self, node: _Node, base: _Node, above: _Node, factor: float) -> None:
        """Bound the numbers in base**above, where `factor` bounds those in the exponent."""
        hidden = _double(above.up) * above.log_bits
        node.bits = factor * base.bits + hidden + above.bits
        node.up = node.down = factor * max(base.up, base.down) + hidden + max(above.up, above.down)
        node.log_bits = factor * base.log_bits + above.log_bits

    def call(self, node: _Node, constant: bool) -> None:
        function = _FUNCTIONS[node.name]
        values = [a.value for a in node.args]
        match node.name:
            case "exp" | "expm1":
                hidden = _double(node.up) * node.log_bits
                node.bits += hidden
                node.up = node.down = max(node.up, node.down) + hidden
            case "log" | "log1p" | "log2" | "log10":
                node.log_bits += node.bits
            case "root":
                self.root(node)
        if function.order:
            order = values[0]
            if order is not None and not abs(order) <= MAX_ORDER:
                self.fail(
                    f"the order of {node.name} is too large: at most {MAX_ORDER} in size",
                    node.args[0],
                )
            written = node.name in ("lowergamma", "uppergamma")
            if written and order is not None and abs(order) <= MAX_WRITTEN:
                node.bits *= 1 + float(abs(order))
                node.weight *= 1 + float(abs(order))
        if node.name == "LambertW" and len(values) == 2 and values[1] not in (0, -1):
            self.fail("the branch k of LambertW must be 0 or -1", node.args[1])
        argument, place = values[-1], node.args[-1]
        if node.name == "LambertW":
            argument, place = values[0], node.args[0]
        if argument is not None and not abs(argument) <= function.largest:
            self.fail(
                f"the argument of {node.name} is too large: at most "
                f"{function.largest:g} in size for a constant",
                place,
            )
        if not constant:
            return
        context = _context()
        numbers = [_mpf(v) for v in values]
        if not function.inside(context, *numbers):
            self.fail(
                f"{self.source.part(node)} is not a finite real number: "
                f"{function.usage.partition(' or ')[0]} needs {function.domain}",
                node,
            )
        if node.name in ("Abs", "Min", "Max") and all(isinstance(v, Fraction) for v in values):
            node.value = function.value(context, *values)
        else:
            node.value = function.value(context, *numbers)
            node.bits += 4 * abs(_log_size(node.value)) if node.value else 0

    def root(self, node: _Node) -> None:
        base, index = node.args
        if index.value is None:
            factor = _double(index.down)
        elif not index.value > 0 or not 1 / index.value <= MAX_EXPONENT:
            self.fail(f"root(x, n) needs n of at least 1/{MAX_EXPONENT}", index)
        else:
            factor = max(1.0, float(1 / index.value))
            if base.value and not abs(_log_size(base.value)) * factor <= MAX_LOG:
                self.fail(f"{self.source.part(node)} is too large or too small", node)
        self.grow(node, base, index, factor)


# ---------------------------------------------------------------------------- tree → SymPy


@lru_cache(maxsize=1)
def _constructors() -> dict[str, Callable[..., Any]]:
    """Return the SymPy constructor of each function of the grammar."""
    import sympy as sp

    one, half, third = sp.S.One, sp.S.Half, sp.Rational(1, 3)
    same = (
        sp.log, sp.exp, sp.sin, sp.cos, sp.tan, sp.asin, sp.acos, sp.atan, sp.sinh, sp.cosh,
        sp.tanh, sp.sech, sp.asinh, sp.acosh, sp.atanh, sp.erf, sp.erfc, sp.erfi, sp.erfinv,
        sp.li, sp.LambertW, sp.gamma, sp.loggamma, sp.Abs, sp.Min, sp.Max,
    )  # fmt: skip
    # These search for branches and zeros of their argument, which can take minutes.
    plain = (
        sp.Ei, sp.Si, sp.Ci, sp.Shi, sp.Chi, sp.polylog, sp.besseli, sp.besselj, sp.besselk,
    )  # fmt: skip

    def quick(function: Any) -> Callable[..., Any]:
        return lambda *x: function(*x, evaluate=not any(a.free_symbols for a in x))

    def written(function: Any) -> Callable[..., Any]:
        def build(a: Any, x: Any) -> Any:
            small = a.is_Rational and abs(a) <= MAX_WRITTEN
            return function(a, x, evaluate=bool(small))

        return build

    return (
        {f.__name__: f for f in same}
        | {f.__name__: quick(f) for f in plain}
        | {
            "lowergamma": written(sp.lowergamma),
            "uppergamma": written(sp.uppergamma),
            "sqrt": lambda x: sp.Pow(x, half),
            "cbrt": lambda x: sp.Pow(x, third),
            "root": lambda x, n: sp.Pow(x, sp.Pow(n, sp.S.NegativeOne)),
            "log1p": lambda x: sp.log(sp.Add(one, x)),
            "log2": lambda x: sp.Mul(sp.log(x), sp.Pow(sp.log(sp.Integer(2)), -one)),
            "log10": lambda x: sp.Mul(sp.log(x), sp.Pow(sp.log(sp.Integer(10)), -one)),
            "expm1": lambda x: sp.Add(sp.exp(x), -one),
            "Li2": lambda x: quick(sp.polylog)(sp.Integer(2), x),
        }
    )


class _Builder:
    """Builds the SymPy expression of a measured tree."""

    def __init__(self, source: _Source, symbols: Mapping[str, Any]) -> None:
        import sympy

        self.sp = sympy
        self.source = source
        self.symbols = symbols
        self.functions = _constructors()

    def build(self, tree: _Node) -> Any:
        try:
            return self.built(tree)
        except InputError:
            raise
        except Exception as error:  # SymPy's evaluation has no list of what it raises
            reason = f"SymPy cannot work with this expression ({type(error).__name__})"
            raise ParseError(reason, self.source.text, tree.at) from error

    def built(self, node: _Node) -> Any:
        sp, kind = self.sp, node.kind
        if kind == "number":
            return sp.Rational(node.number.numerator, node.number.denominator)
        if kind == "constant":
            return sp.pi if node.name == "pi" else sp.E
        if kind == "symbol":
            return self.symbols[node.name]
        if kind == "true":
            return sp.true
        if kind == "piecewise":
            return self.checked(sp.Piecewise(*(self.case(c) for c in node.args)), node)
        if kind in ("neg", "mul", "inv"):
            return self.checked(sp.Mul(*self.factors(node, divided=False)), node)
        args = [self.built(a) for a in node.args]
        if kind == "add":
            return self.checked(sp.Add(*args), node)
        if kind == "compare":
            relation = {"<": sp.Lt, "<=": sp.Le, ">": sp.Gt, ">=": sp.Ge}[node.name]
            return relation(*args)
        for arg, part in zip(args, node.args, strict=True):
            if part.value is None and not arg.free_symbols:
                self.source.fail(
                    f"{self.source.part(part)} is a constant: write its value", part.at
                )
        if kind == "pow":
            return self.checked(sp.Pow(*args), node)
        return self.checked(self.functions[node.name](*args), node)

    def factors(self, node: _Node, divided: bool) -> list[Any]:
        """Return the factors of a product, so that SymPy sees it whole, as `to_text` shows it."""
        sp = self.sp
        match node.kind:
            case "neg":
                return [sp.S.NegativeOne, *self.factors(node.args[0], divided)]
            case "mul":
                return [f for a in node.args for f in self.factors(a, divided)]
            case "inv":
                return self.factors(node.args[0], not divided)
        built = self.built(node)
        if not divided:
            return [built]
        if built.is_Number and built.is_zero:
            self.source.fail("division by zero", node.at)
        return [self.checked(sp.Pow(built, sp.S.NegativeOne), node)]

    def case(self, node: _Node) -> tuple[Any, Any]:
        value, condition = node.args
        return self.built(value), self.built(condition)

    def checked(self, built: Any, node: _Node) -> Any:
        sp = self.sp
        if built.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
            self.source.fail(f"{self.source.part(node)} is not finite", node.at)
        if built.has(sp.I):
            self.source.fail(f"{self.source.part(node)} is not real", node.at)
        for power in built.atoms(sp.Pow, sp.exp):
            exponent = power.exp
            if not exponent.free_symbols and abs(exponent.as_coeff_Mul()[0]) > MAX_EXPONENT:
                self.source.fail(f"{self.source.part(node)} has too large an exponent", node.at)
        return built


def _walk(node: _Node) -> Iterator[_Node]:
    yield node
    for arg in node.args:
        yield from _walk(arg)


# ---------------------------------------------------------------------------- the doors


def parse(
    text: str, variable: str = "s", *, parameters: Mapping[str, sympy.Expr | None] | None = None
) -> Parsed:
    """Return the expression that `text` writes, a function of `variable`.

    Numbers are exact ("0.5" is 1/2), `^` is a power, `pi` and `e` (or `E`) are constants.  Every
    other name that is not called is a positive parameter, also `gamma`, `beta` and `lambda`.
    `parameters` gives some of them a value; None leaves a symbol.

    Raises `ParseError` with the place in the text where it is not an expression, not real or
    finite, or beyond the limits on size; `InputError` for parameters that make no sense.

    >>> parse("c*s^0.5").expr
    c*sqrt(s)
    >>> parse("s**1/3").warnings
    ('s**1/3 is read as (s**1)/3 = s/3; write s**(1/3) for the cube root',)
    """
    source = _Source(text)
    _check_name(variable, "the variable")
    given = {_GREEK.get(n, n): v for n, v in (parameters or {}).items()}
    for name in given:
        _check_name(name, "a parameter")
        if name == variable:
            raise InputError(f"the parameter {name} has the name of the variable; rename one")
    parser = _Parser(source)
    tree = parser.whole()
    used = {n.name: n for n in reversed([*_walk(tree)]) if n.kind == "symbol"}
    exact = {n: _exact(n, v) for n, v in given.items() if v is not None}
    _Measure(source, {n: _constant(n, v) for n, v in exact.items()}).measure(tree)
    if variable not in used:
        _fail_other_variable(parser, tree, variable, {n: used[n] for n in used if n not in given})
    warnings = [*parser.warnings]
    warnings += [f"the parameter {n} does not occur in the text" for n in given if n not in used]

    from sympy import Symbol

    symbols = {n: exact[n] if n in exact else Symbol(n, positive=True) for n in used}
    expr = _Builder(source, symbols).build(tree)
    free = expr.free_symbols
    if symbols[variable] not in free:
        source.fail(f"{_short(text)} does not depend on {variable}: it is constant", 0)
    others = sorted(free - {symbols[variable]}, key=lambda symbol: symbol.name)
    unique = tuple(dict.fromkeys(warnings))
    return Parsed(text, expr, symbols[variable], tuple(others), unique)


def parse_number(text: str, *, name: str = "number") -> sympy.Expr:
    """Return the exact real number that `text` writes; `name` is what errors call it.

    >>> parse_number("0.5"), parse_number("1/e**2"), parse_number("sqrt(2)/4")
    (1/2, exp(-2), sqrt(2)/4)
    """
    source = _Source(text, name)
    tree = _Parser(source).whole()
    for node in _walk(tree):
        if node.kind == "symbol":
            source.fail(f"a number is expected, and {node.name} is not one", node.at)
        if node.kind == "piecewise":
            source.fail("a number is expected, not Piecewise", node.at)
    _Measure(source, {}).measure(tree)
    number: sympy.Expr = _Builder(source, {}).build(tree)
    return number


def _check_name(name: str, what: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 31:
        raise InputError(
            f"{what} cannot be called {_short(str(name))!r}: "
            "a name is a letter, then letters, digits or _, at most 31"
        )
    if name in _CONSTANTS:
        raise InputError(f"{what} cannot be called {name}: that is a constant")
    if (name in _CALLABLE and name not in _BARE) or (keyword.iskeyword(name) and name != "lambda"):
        raise InputError(f"{what} cannot be called {name}: the name has another meaning")


def _fail_other_variable(
    parser: _Parser, tree: _Node, variable: str, others: Mapping[str, _Node]
) -> NoReturn:
    what = "ψ" if variable == "s" else "the expression"
    likely = [*others] if len(others) == 1 else [n for n in others if n in tuple("sxtuvrzySX")]
    if len(likely) != 1:
        parser.fail(f"{what} does not depend on {variable}", tree.at)
    name, text = likely[0], parser.source.text
    meant, last = "", 0
    for token in parser.tokens:
        renamed = token.kind == "name" and token.text == name
        meant += text[last : token.at] + (variable if renamed else text[token.at : token.end])
        last = token.end
    parser.fail(
        f"{what} does not depend on {variable}; did you mean {_short(meant, 60)}?",
        others[name].at,
    )


def _exact(name: str, value: Any) -> Any:
    """Return the exact SymPy number that is given for a parameter."""
    import sympy

    if isinstance(value, (int, float, Fraction, sympy.Float)) and not isinstance(value, bool):
        return parse_number(str(value), name=name)
    if not isinstance(value, sympy.Expr) or value.free_symbols:
        raise InputError(f"the parameter {name} needs a number, not {_short(str(value))}")
    return value


def _constant(name: str, value: Any) -> Any:
    """Return the value of an exact SymPy number as `_Measure` works with it."""
    if value.is_Rational:
        return Fraction(int(value.p), int(value.q))
    digits = value.evalf(40) if value.is_finite is not False else value
    if not digits.is_Float or not digits.is_finite:
        raise InputError(f"the parameter {name} must be real and finite, not {_short(str(value))}")
    return _context().make_mpf(digits._mpf_)


@lru_cache(maxsize=1)
def _printer() -> Any:
    from sympy.printing.str import StrPrinter

    class Printer(StrPrinter):  # type: ignore[misc]
        """SymPy's text, with integers longer than a literal may be written in pieces."""

        def _print_Integer(self, expr: Any) -> str:
            return _integer_text(int(expr))

        def _print_Rational(self, expr: Any) -> str:
            text = _integer_text(int(expr.p))
            return text if expr.q == 1 else f"{text}/{_integer_text(int(expr.q))}"

    return Printer()


def _integer_text(number: int) -> str:
    if number < 0:
        return "-" + _integer_text(-number)
    if number < 10**MAX_DIGITS:
        return str(number)
    digits = str(number)
    short = digits.rstrip("0")
    zeros = len(digits) - len(short)
    if len(short) <= MAX_DIGITS and zeros <= MAX_DECIMAL_EXPONENT:
        return f"{short}e{zeros}"
    high, low = divmod(number, 10**MAX_DIGITS)
    return f"({_integer_text(high)}*1e{MAX_DIGITS} + {low})"


def to_text(expr: sympy.Expr) -> str:
    """Return `expr` in the syntax of `parse`, so that reading it again gives `expr`.

    Functions that `parse` does not know are written as SymPy writes them.

    >>> to_text(parse("s^0.5/(1+s)").expr)
    'sqrt(s)/(s + 1)'
    """
    text: str = _printer().doprint(expr)
    return text
