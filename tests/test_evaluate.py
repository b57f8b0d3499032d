"""Laws of the evaluator: values keep their digits wherever the variable is."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import mpmath
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from kltheory.symbolic import evaluate as ev
from kltheory.symbolic.evaluate import EvaluationError, compile_expr
from kltheory.symbolic.fields import omega_coefficients
from kltheory.symbolic.parse import parse

s = sp.Symbol("s", positive=True)
BRANCH = sp.exp(-1 - s)

needs_balls = pytest.mark.skipif(not ev.have_balls(), reason="python-flint is not installed")


def context(bits: int = 113) -> mpmath.MPContext:
    """An own context, so that mpmath.mp is never touched."""
    ctx = mpmath.MPContext()
    ctx.prec = bits
    return ctx


def close(value: object, truth: object, bits: int) -> bool:
    """Relative agreement to some bits."""
    return bool(abs(value / truth - 1) <= mpmath.mpf(2) ** -bits)


def psi_cases() -> list[tuple[str, sp.Expr]]:
    """The valid psi of the fixture, with their parameters inserted."""
    out = []
    for case in json.loads((Path(__file__).parent / "psi_cases.json").read_text()):
        if case["family"] != "invalid":
            values = {k: sp.Rational(str(v)) for k, v in case["params"].items()}
            parsed = parse(case["psi"], parameters=values)
            out.append((case["id"], parsed.expr.subs(parsed.variable, s)))
    return out


FUNCTIONS = [
    sp.sin(s), sp.cos(s), sp.tan(s), sp.cot(s), sp.sec(s), sp.csc(s), sp.sinh(s), sp.cosh(s),
    sp.tanh(s), sp.coth(s), sp.sech(s), sp.csch(s), sp.asin(s / 4), sp.acos(s / 4), sp.atan(s),
    sp.acot(s), sp.asinh(s), sp.acosh(1 + s), sp.atanh(s / 4), sp.acoth(1 + s), sp.erf(s),
    sp.erfc(s), sp.erfi(s), sp.erfinv(s / 4), sp.Ei(s), sp.li(1 + s), sp.Si(s), sp.Ci(s),
    sp.Shi(s), sp.Chi(s), sp.expint(2, s), sp.gamma(s), sp.loggamma(s), sp.digamma(s),
    sp.polygamma(1, s), sp.lowergamma(sp.Rational(1, 3), s), sp.uppergamma(sp.Rational(1, 3), s),
    sp.polylog(2, -s), sp.polylog(sp.Rational(3, 2), -s), sp.LambertW(s),
    sp.LambertW(-sp.exp(-1 - s), -1), sp.LambertW(-sp.exp(-1 - s)), sp.LambertW(-s / 20, -1),
    sp.besseli(1, s), sp.besselj(1, s), sp.besselk(1, s), sp.besseli(sp.Rational(1, 3), s),
    sp.hyper([sp.Rational(1, 2), 1], [2], -s), sp.hyper([1], [sp.Rational(3, 2)], -s),
    s**s, 2**s, sp.exp(s), sp.log(s), s**sp.pi, s ** sp.sqrt(2), sp.exp(-1 / s),
    sp.pi * s + sp.E + sp.EulerGamma + sp.GoldenRatio,
]  # fmt: skip


@pytest.mark.parametrize("expr", FUNCTIONS, ids=str)
@pytest.mark.parametrize("point", ["1/1000", "1/3", "17/10", "7/2"])
def test_functions_agree_with_sympy(expr: sp.Expr, point: str) -> None:
    """Each supported function has the value that SymPy's evalf gives at 40 digits."""
    ctx = context()
    value = compile_expr(expr, s)(
        ctx, ctx.mpf(Fraction(point).numerator) / Fraction(point).denominator
    )
    # the point is rounded to 113 bits; near a zero of f that shows
    truth = mpmath.mpmathify(sp.N(expr.subs(s, sp.Rational(point)), 40))
    assert close(value, truth, 95)


@pytest.mark.parametrize(
    ("name", "psi"), psi_cases(), ids=lambda v: v if isinstance(v, str) else ""
)
@pytest.mark.parametrize("y", [0.75, 3.25, 40])
def test_derivatives_of_the_fixture_agree_with_mpmath(name: str, psi: sp.Expr, y: float) -> None:
    """psi'(exp(-y)) of every psi is the value of the derivative's text at 200 digits."""
    ctx = context()
    derivative = sp.diff(ev.as_pieces(psi), s)
    value = compile_expr(derivative, s).at_exp(ctx, ctx.mpf(y))
    reference = mpmath.MPContext()
    with mpmath.workdps(200):
        truth = sp.lambdify(s, derivative, "mpmath")(mpmath.exp(-mpmath.mpf(y)))
        assert abs(value / truth - 1) <= mpmath.mpf(2) ** -105
    assert reference.prec == 53


LEADING = [
    ((1 + s) - 1, s),
    (sp.log(1 + s), s),
    (1 - sp.exp(-s), s),
    (sp.sqrt(1 + s) - 1, s / 2),
    (sp.sqrt(2 + s) - sp.sqrt(2), s / (2 * sp.sqrt(2))),
    (sp.log(2 + s) - sp.log(2), s / 2),
    (sp.tanh(1 + s) - sp.tanh(1), s * (1 - sp.tanh(1) ** 2)),
    (sp.exp(s) - 1 - s, s**2 / 2),
    (s - sp.log(1 + s), s**2 / 2),
    (sp.exp(s) - 1 - s - s**2 / 2, s**3 / 6),
    (1 - sp.cos(s), s**2 / 2),
    (sp.tan(s) - s, s**3 / 3),
    (sp.sinh(s) - sp.sin(s), s**3 / 3),
    (sp.asin(s) - sp.atan(s), s**3 / 2),
    (sp.erf(s), 2 * s / sp.sqrt(sp.pi)),
    (1 - sp.erfc(s), 2 * s / sp.sqrt(sp.pi)),
    (sp.acosh(1 + s), sp.sqrt(2 * s)),
    (sp.acosh(sp.exp(s)), sp.sqrt(2 * s)),
    (sp.pi / 2 - sp.asin(1 - s), sp.sqrt(2 * s)),
    (1 + sp.LambertW(-BRANCH), sp.sqrt(2 * s)),
    (-1 - sp.LambertW(-BRANCH, -1), sp.sqrt(2 * s)),
    (-1 - s - sp.LambertW(-BRANCH, -1), sp.sqrt(2 * s)),
    (-1 - sp.LambertW((s - 1) / sp.E, -1), sp.sqrt(2 * s)),
    (sp.LambertW(s), s),
    (-sp.polylog(2, -s), s),
    (sp.lowergamma(sp.Rational(1, 3), s), 3 * s ** sp.Rational(1, 3)),
    (sp.besseli(1, s), s / 2),
    (sp.Si(s) - s, -(s**3) / 18),
    (s**s - 1, s * sp.log(s)),
    (sp.atan(1 / s) - sp.pi / 2, -s),
    (sp.acot(1 / s) - s, -(s**3) / 3),
    (sp.log(1 + 1 / s) - sp.log(1 / s), s),
    (sp.sin(s) ** 2 + sp.cos(s) ** 2 - 1 + s, s),
]  # fmt: skip


@pytest.mark.parametrize(("expr", "lead"), LEADING, ids=lambda e: str(e))
@pytest.mark.parametrize("y", ["2e5", "1e30", "1e60"])
def test_cancellation_keeps_all_digits(expr: sp.Expr, lead: sp.Expr, y: str) -> None:
    """At exp(-1e60) a difference has the value of its leading term, to every bit."""
    ctx = context()
    point = ctx.mpf(y)
    if str(lead).startswith("s*log"):
        truth = -point * compile_expr(s, s).at_exp(ctx, point)
    else:
        truth = compile_expr(lead, s).at_exp(ctx, point)
    assert close(compile_expr(expr, s).at_exp(ctx, point), truth, 105)


@given(st.floats(min_value=-600, max_value=3000))
def test_cancellation_is_exact_in_between(y: float) -> None:
    """exp(s) - 1 - s against its series with 2000 more bits, from huge to tiny s."""
    ctx = context()
    value = compile_expr(sp.log(1 + s) - s / (1 + s), s).at_exp(ctx, ctx.mpf(y))
    with mpmath.workprec(12000):
        p = mpmath.exp(-mpmath.mpf(y))
        truth = mpmath.log(1 + p) - p / (1 + p)
        assert abs(value / truth - 1) <= mpmath.mpf(2) ** -110


def test_logarithm_of_the_variable_is_exact() -> None:
    """log(1/s) at s = exp(-y) is y itself, also for y = 1e60 and far beyond."""
    ctx = context()
    y = ctx.mpf(10) ** 60 / 7
    assert compile_expr(sp.log(1 / s), s).at_exp(ctx, y) == y
    assert compile_expr(sp.log(s**3) / 3, s).at_exp(ctx, -y) == y
    assert (
        compile_expr(sp.sqrt(sp.log(1 / s)), s).at_exp(ctx, ctx.mpf(4) ** 5000)
        == ctx.mpf(2) ** 5000
    )


def test_powers_cancel_exactly() -> None:
    """s psi'^2 of sqrt(s) is 1/4 exactly, whatever s is."""
    ctx = context()
    program = compile_expr(s * sp.diff(sp.sqrt(s), s) ** 2, s)
    for y in ("-1e60", "-3", "0", "1e-30", "1e60", "1e4000"):
        assert program.at_exp(ctx, ctx.mpf(y)) == 0.25


@pytest.mark.parametrize("size", ["1e3", "1e40", "1e150"])
def test_saturated_functions_keep_their_distance(size: str) -> None:
    """1 - tanh^2 and 1 - erf of a huge number are tiny and right, not 0."""
    ctx = context()
    p = ctx.mpf(size)
    program = compile_expr(1 - sp.tanh(s) ** 2, s)
    truth = ctx.log(4) - 2 * p
    assert close(ctx.log(program(ctx, p)), truth, 90)
    value = compile_expr(1 - sp.erf(s), s)(ctx, p)
    assert close(ctx.log(value), -p * p - ctx.log(p * ctx.sqrt(ctx.pi)), 15)


def test_pieces_are_chosen_by_the_value() -> None:
    """Piecewise, Min, Max, Abs, sign and Heaviside take the piece that holds at the point."""
    ctx = context()
    hat = sp.Piecewise((s, s < 1), (2 - s, sp.And(s >= 1, s < 2)), (sp.S.Zero + 7, True))
    program = compile_expr(hat, s)
    assert [float(program(ctx, v)) for v in (0.25, 1, 1.5, 2, 1e9)] == [0.25, 1, 0.5, 7, 7]
    low = compile_expr(sp.Min(s, 2, 6 - s), s)
    assert [float(low(ctx, v)) for v in (0.5, 3, 5.5)] == [0.5, 2, 0.5]
    top = compile_expr(sp.Max(s, 2) + sp.Abs(s - 1) + sp.sign(s - 3) + sp.Heaviside(s - 4), s)
    assert [float(top(ctx, v)) for v in (0.5, 3.5, 5)] == [
        2 + 0.5 - 1,
        3.5 + 2.5 + 1,
        5 + 4 + 1 + 1,
    ]


@pytest.mark.parametrize(
    ("expr", "p"),
    [
        (sp.log(s - 1), "0.5"),
        (sp.sqrt(s - 1), "0.5"),
        (sp.acosh(s), "0.5"),
        (sp.asin(s), "1.5"),
        (1 / (s - 1), "1"),
        (sp.LambertW(-s), "1"),
        (sp.log(s), "-1"),
        (sp.log(s), "0"),
        (sp.exp(sp.exp(sp.exp(sp.exp(sp.exp(s))))), "3"),
        (sp.sin(s) ** 2 + sp.cos(s) ** 2 - 1, "0.5"),
    ],
    ids=str,
)
def test_no_value_is_an_error(expr: sp.Expr, p: str) -> None:
    """A value that is not real, not finite or lost to cancellation raises, it is never nan."""
    ctx = context()
    with pytest.raises(EvaluationError):
        compile_expr(expr, s)(ctx, ctx.mpf(p))


def test_unknown_nodes_are_refused() -> None:
    """Free parameters, undefined functions and parameters that vary raise when compiled or run."""
    ctx = context()
    with pytest.raises(EvaluationError, match="still contains c"):
        compile_expr(sp.Symbol("c") * s, s)
    for expr in (sp.Function("f")(s), sp.besseli(s, s), sp.ceiling(s), sp.I * s):
        with pytest.raises(EvaluationError):
            compile_expr(expr, s)(ctx, ctx.mpf("0.5"))


def test_precision_is_nobody_elses() -> None:
    """mpmath.mp, the caller's context and python-flint have their precision afterwards."""
    ctx = context(77)
    before = mpmath.mp.prec
    compile_expr(sp.log(1 + 1 / s) - 1 / (1 + s), s)(ctx, ctx.mpf("1e200"))
    with pytest.raises(EvaluationError):
        compile_expr(sp.log(s - 1), s)(ctx, ctx.mpf("0.5"))
    assert (ctx.prec, mpmath.mp.prec) == (77, before)


def test_taylor_coefficients_of_omega_are_bounded() -> None:
    """sum |w_k| 2^k < 4, which is the bound that the balls use on |h| = 2."""
    total = sum(abs(c) * 2**k for k, c in enumerate(omega_coefficients(120)))
    last = omega_coefficients(120)[-4:]
    # the ratio of coefficients tends to 1/(2 sqrt(pi)) = 0.28, so the tail is below 1e-20
    assert total < Fraction(39, 10)
    assert max(abs(c) for c in last) * 2**120 < Fraction(1, 10**20)


@needs_balls
@pytest.mark.parametrize("expr", [e for e in FUNCTIONS if not e.has(sp.erfinv)], ids=str)
@pytest.mark.parametrize("order", [1, 2, 4])
def test_balls_contain_the_values(expr: sp.Expr, order: int) -> None:
    """A ball over an interval of y, thin or wide, contains the values on it."""
    import flint

    ctx = context()
    program = compile_expr(expr, s)
    field = ev.BallField()
    before = flint.ctx.prec
    try:
        flint.ctx.prec = 113
        for middle, radius in ((1.0, 0.0), (1.0, 2.0**-10), (5.0, 0.5), (-0.5, 0.125)):
            ball = program.ball(field, flint.acb(flint.arb(middle, radius)), order).real
            for share in (-1, -0.5, 0, 1):
                y = middle + share * radius
                value = program.at_exp(ctx, ctx.mpf(y))
                sign, man, exp, _ = value._mpf_
                exact = flint.arb((-int(man) if sign else int(man), int(exp)))
                slack = flint.arb(0, abs(exact) * 2.0**-100)
                assert not ball.is_finite() or ball.overlaps(exact + slack)
            if radius < 0.01:
                assert ball.is_finite()
    finally:
        flint.ctx.prec = before


@needs_balls
@pytest.mark.parametrize(
    "expr",
    [sp.sqrt(s - sp.Rational(1, 2)), sp.log(s - sp.Rational(1, 2)), sp.Min(s, 1 - s)],
    ids=str,
)
def test_balls_refuse_what_is_not_analytic(expr: sp.Expr) -> None:
    """Asked for analyticity, a ball over a branch point or a kink is not finite."""
    import flint

    y = flint.acb(flint.arb(0.7, 0.1), flint.arb(0, 0.1))
    assert not compile_expr(expr, s).ball(ev.BallField(), y, 1, True).is_finite()
