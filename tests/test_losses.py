"""The registry of losses and ψ derived from radial profiles, growth and uniform convexity."""

import contextlib
import io
import json
from pathlib import Path

import jsonschema
import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from kltheory import cli
from kltheory import loss_functions as lf
from kltheory.errors import InputError, KLTheoryError, LimitReached, NotDesingularizing
from kltheory.numeric.kl_test import ball_points, kl_test
from kltheory.numeric.poisson import poisson_v_max
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.evaluate import compile_expr
from kltheory.symbolic.integral import IntegralProgram, integral_from_zero
from kltheory.symbolic.losses import (
    _supremum,
    from_growth,
    from_radial,
    from_strong_convexity,
    from_uniform_convexity,
    loss,
    losses,
)

N, M = 10_000, 5
s = sp.Symbol("s", positive=True)


def residuals(rng: np.random.Generator, low: float = 0.05, high: float = 4.0) -> np.ndarray:
    """Residuals of norms from `low` to `high`, some along one axis, some with equal entries."""
    r = rng.standard_normal((N, M))
    r[: N // 10] *= np.eye(M)[rng.integers(0, M, N // 10)]
    r[N // 10 : N // 5] = np.sign(r[N // 10 : N // 5])
    r /= np.linalg.norm(r, axis=1, keepdims=True)
    return r * np.exp(rng.uniform(np.log(low), np.log(high), (N, 1)))


def named(name: str, **params: float):
    """A loss of loss_functions, as (L, ∇L) of the residuals."""
    known = lf.get(name, **params)

    def value_and_gradient(rng):
        r = residuals(rng)
        zero = np.zeros(M)
        return known.value(r, zero), known.gradient(r, zero)

    return value_and_gradient


def squared(scale: float):
    return lambda rng: (scale * np.sum((r := residuals(rng)) ** 2, axis=1), 2 * scale * r)


def weighted(rng):
    q, _ = np.linalg.qr(rng.standard_normal((M, M)))
    weights = q @ np.diag([0.5, 1, 2, 3, 7]) @ q.T
    r = residuals(rng)
    r[:100] = q[:, 0] * rng.uniform(0.1, 3, (100, 1))  # the eigenvector of the smallest eigenvalue
    return np.sum(r @ weights * r, axis=1) / 2, r @ weights


def strongly_convex(rng):
    """Σ 2r² + cos r - 1, with second derivatives between 3 and 5."""
    r = residuals(rng)
    return np.sum(2 * r**2 + np.cos(r) - 1, axis=1), 4 * r - np.sin(r)


def polyak(rng):
    """x² + 3 sin²x in each entry: not convex, (PL) with a μ from the worst point of a fine grid."""
    r = residuals(rng)
    return np.sum(r**2 + 3 * np.sin(r) ** 2, axis=1), 2 * r + 3 * np.sin(2 * r)


def polyak_constant() -> float:
    x = np.linspace(1e-3, 6, 400_001)
    f, g = x**2 + 3 * np.sin(x) ** 2, 2 * x + 3 * np.sin(2 * x)
    return float(np.min(g**2 / (2 * f))) * (1 - 1e-6)


def separable_power(rng):
    r = residuals(rng)
    return np.sum(np.abs(r) ** 4, axis=1) / 4, r**3


def uniformly_convex(rng):
    """‖r‖⁴/4, whose modulus is (2^(2-p)/p) x^p with p = 4."""
    r = residuals(rng)
    norm = np.linalg.norm(r, axis=1, keepdims=True)
    return norm[:, 0] ** 4 / 4, norm**2 * r


def growth(rng):
    """½dist² to a disc, which grows like dist²/2 and has many minimisers."""
    r = residuals(rng, 1.05, 6)
    norm = np.linalg.norm(r, axis=1, keepdims=True)
    return (norm[:, 0] - 1) ** 2 / 2, (norm - 1) * r / norm


def kl_softmax(rng):
    logits = rng.uniform(-1, 1, (N, M))
    q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p = rng.dirichlet(np.full(M, 3.0), N)
    keep = q.min(axis=1) >= 0.05
    return np.sum(p * np.log(p / q), axis=1)[keep], (q - p)[keep]


def poisson(rng):
    v, y = rng.uniform(0.1, 10, (2, N, M))
    return np.sum(v - y + y * np.log(y / v), axis=1), 1 - y / v


def norm(rng):
    r = residuals(rng)
    size = np.linalg.norm(r, axis=1)
    return size, r / size[:, None]


ROWS = {
    "mse": ({}, named("mse"), True),
    "squared-norm": ({}, squared(1.0), True),
    "mean-squared": ({"m": M}, squared(1 / M), True),
    "weighted-mse": ({"lambda_min": "0.5"}, weighted, True),
    "lojasiewicz": ({"alpha": "1/4", "c": sp.sqrt(2)}, named("power", p=1.0), True),
    "pl": ({"mu": repr(polyak_constant())}, polyak, False),
    "strongly-convex": ({"mu": 3}, strongly_convex, False),
    "power": ({"p": "0.2"}, named("power", p=0.2), True),
    "separable-power": ({"p": 4, "m": M}, separable_power, True),
    "huber": ({}, named("huber"), True),
    "log-cosh": ({}, named("log-cosh"), True),
    "pseudo-huber": ({"delta": "1/2"}, named("pseudo-huber", delta=0.5), True),
    "cauchy": ({}, named("cauchy"), True),
    "welsch": ({}, named("welsch"), True),
    "uniformly-convex": ({"p": 4, "mu": "1/4"}, uniformly_convex, False),
    "growth-power": ({"p": 2, "mu": 1}, growth, False),
    "kl-softmax": ({"q_min": "0.05"}, kl_softmax, False),
    "poisson": ({"v_max": 10}, poisson, False),
    "norm": ({}, norm, True),
}  # fmt: skip
"""name -> parameters, points (L, ∇L), whether (4) is an equality at some of the points."""

REFUSED = ("radial", "logistic", "cross-entropy")


def test_every_row_of_the_registry_is_tested():
    """No loss enters the registry without its test."""
    assert {q.name for q in losses()} == {*ROWS, *REFUSED}


@pytest.mark.parametrize("name", ROWS)
def test_the_inequality_holds_at_random_points(name):
    """ψ'(L)‖∇L‖ >= 1 - 1e-12 at 10,000 points of the domain, and it is 1 where it is said to be."""
    params, points, tight = ROWS[name]
    values, gradients = points(np.random.default_rng(20230901))
    assert len(values) > N / 4
    d = loss(name, **params)
    slope = sp.lambdify(d.symbol, d.derivative, "numpy")
    products = slope(values) * np.linalg.norm(gradients, axis=1)
    assert np.min(products) >= 1 - 1e-12
    if tight:
        assert np.min(products) <= 1 + 1e-12


@pytest.mark.parametrize("name", [n for n, row in ROWS.items() if row[0]])
def test_symbols_take_values_later(name):
    """ψ with symbols, given its values afterwards, is ψ with values from the start."""
    params = ROWS[name][0]
    if name == "pseudo-huber":  # its δ has a default
        return
    assert sp.simplify(loss(name).with_values(**params).value / loss(name, **params).value) == 1


@pytest.mark.parametrize("name", ROWS)
def test_alpha_is_the_exponent_near_zero(name):
    """log ψ / log s tends to the α of the registry."""
    params = ROWS[name][0]
    row = next(q for q in losses() if q.name == name)
    d = loss(name, **params)
    alpha = sp.sympify(row.alpha).subs({sp.Symbol(k): sp.sympify(v) for k, v in params.items()})
    ctx = mpmath.MPContext()
    value = compile_expr(d.value, d.symbol).at_exp(ctx, ctx.mpf(10) ** 8)
    assert abs(-ctx.log(value) / 10**8 - ctx.mpf(sp.Float(alpha, 20)._mpf_)) < 1e-6


@pytest.mark.parametrize("name", REFUSED)
def test_losses_without_psi_are_refused_with_the_reason(name):
    """A loss whose infimum is not attained has no ψ."""
    with pytest.raises(NotDesingularizing, match=r"infimum|must be given"):
        loss(name)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("power", {"p": -1}, "p >= 0"),
        ("separable-power", {"p": "1.5", "m": 2}, "p >= 2"),
        ("uniformly-convex", {"p": "1.9", "mu": 1}, "p >= 2"),
        ("lojasiewicz", {"alpha": 0, "c": 1}, "alpha > 0"),
        ("lojasiewicz", {"alpha": 2, "c": 1}, "alpha <= 1"),
        ("mse", {"p": 1}, "no parameter p"),
        ("hubber", {}, "did you mean huber"),
        ("kl-softmax", {"q_min": 2}, "q_min <= 1"),
    ],
)
def test_wrong_requests_say_what_is_allowed(name, params, message):
    """An unknown name or a number out of range is answered with what is allowed."""
    with pytest.raises(InputError, match=message):
        loss(name, **params)


# -- derived ψ ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("derived", "expected"),
    [
        (lambda: from_radial("x**2/2"), sp.sqrt(2 * s)),
        (lambda: from_radial("x**4/4"), (4 * s) ** sp.Rational(1, 4)),
        (lambda: from_radial("log(1+x**2)/2"), sp.sqrt(sp.exp(2 * s) - 1)),
        (lambda: from_growth("x**2/2"), 2 * sp.sqrt(2 * s)),
        (lambda: from_growth("x**3"), 3 * sp.cbrt(s)),
        (lambda: from_uniform_convexity("x**2/2"), sp.sqrt(2 * s)),
        (
            lambda: from_uniform_convexity("x**4/4"),
            4 * sp.Rational(3, 4) ** sp.Rational(3, 4) * s ** sp.Rational(1, 4),
        ),
        (lambda: from_strong_convexity(8), sp.sqrt(s) / 2),
    ],
)
def test_powers_have_their_psi_by_hand(derived, expected):
    """Examples 2.3 and 2.4 for powers: p (ps)^{1/p} and p q^{-1/q} s^{1/p}."""
    assert sp.simplify(derived().value / expected) == 1


def test_the_printed_example_misses_a_factor_p():
    """For f = x²/2 the paper's q^{-1/q} s^{1/p} gives ψ'(f)|f'| = 1/2; the corrected ψ gives 1."""
    x = sp.Symbol("x", positive=True)
    corrected = from_uniform_convexity("x**2/2").value
    printed = sp.sqrt(s / 2)
    for psi, expected in ((corrected, 1), (printed, sp.Rational(1, 2))):
        assert sp.simplify(sp.diff(psi, s).subs(s, x**2 / 2) * x) == expected


DERIVED = {
    "growth of two powers": (from_growth, "x**2 + x**4", "x*phi1/phi", "phi"),
    "flat but integrable growth": (from_growth, "exp(-1/sqrt(x))", "x*phi1/phi", "phi"),
    "uniform, two powers": (from_uniform_convexity, "x**2/2 + x**4/4", "x*phi2/phi1", "x*phi1-phi"),
    "uniform, exponential": (from_uniform_convexity, "exp(x)-1-x", "x*phi2/phi1", "x*phi1-phi"),
    "uniform, not supercoercive": (
        from_uniform_convexity, "sqrt(1+x**2)-1", "x*phi2/phi1", "x*phi1-phi",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DERIVED)
def test_a_derived_psi_is_its_integral(case):
    """ψ(S(x)) equals the quadrature of P' from 0 to x, and ψ' = P'/S'."""
    derive, text, slope, loss_text = DERIVED[case]
    x = sp.Symbol("x", positive=True)
    phi = sp.sympify(text, {"x": x})
    names = {"x": x, "phi": phi, "phi1": sp.diff(phi, x), "phi2": sp.diff(phi, x, 2)}
    p_prime, big_s = (sp.lambdify(x, sp.sympify(e, names), "mpmath") for e in (slope, loss_text))
    d = derive(text)
    ctx = mpmath.MPContext()
    for at in (0.3, 1.1, 2.5):
        with mpmath.workdps(70):
            area = mpmath.quad(p_prime, [mpmath.mpf(10) ** -k for k in (30, 10, 4, 2)] + [at])
        p = big_s(mpmath.mpf(at)) if d.explicit else at
        assert abs(compile_expr(d.value, d.symbol)(ctx, p) - area) < 1e-8 * area


def test_a_modulus_that_is_not_supercoercive_has_a_finite_radius():
    """φ = √(1+x²) - 1 has slopes below 1, and ψ ends at s = lim xφ' - φ = 1."""
    assert from_uniform_convexity("sqrt(1+x**2)-1").radius == 1


@pytest.mark.parametrize(
    ("derive", "text", "reason"),
    [
        (from_growth, "exp(-1/x)", "too flat"),
        (from_uniform_convexity, "exp(-1/x)", "too flat"),
        (from_uniform_convexity, "x**1.5", "no differentiable function has the modulus"),
        (from_uniform_convexity, "x**2*log(1/x)", "no differentiable function has the modulus"),
        (from_uniform_convexity, "x", "no differentiable function has the modulus"),
        (from_radial, "x + 1", "must be 0"),
        (from_radial, "1/x", "must be 0"),
        (from_growth, "-x", "increase"),
        (from_growth, "sin(x)", "does not increase"),
        (from_radial, "x**2 - x**3", "decreases at"),
        (from_uniform_convexity, "x**2/(1+x**2)", "not increasing and convex"),
        (from_radial, "Max(x, x**2)", "in pieces"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(derive, text, reason):
    """Flat moduli, moduli that no function has, and profiles that do not start at 0."""
    with pytest.raises(KLTheoryError, match=reason):
        derive(text)


def test_parameters_stay_symbols_or_take_values():
    """ℓ = c x² gives √(s/c), and 2√s for c = 1/4."""
    c = sp.Symbol("c", positive=True)
    assert sp.simplify(from_radial("c*x**2").value - sp.sqrt(s / c)) == 0
    assert from_radial("c*x**2", parameters={"c": "1/4"}).value == 2 * sp.sqrt(s)
    mu, p = sp.symbols("mu p", positive=True)
    assert sp.simplify(from_growth("mu*x**p/p").value / (p * (p * s / mu) ** (1 / p))) == 1


# -- the KL test -------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(0, 100))
def test_the_kl_test_accepts_the_truth_and_refutes_less(m, seed):
    """ψ of a radial loss is consistent, and 0.99 ψ has a counterexample."""
    points = ball_points(np.ones(m), radius=2.0, n=20, seed=seed)

    def value(v):
        return np.linalg.norm(v - 1) ** 4 / 4

    def gradient(v):
        return np.linalg.norm(v - 1) ** 2 * (v - 1)

    good = kl_test(value, gradient, loss("power", p=1), points)
    assert good.consistent
    assert good.points == 20
    bad = kl_test(value, gradient, Desingularizer.from_psi("0.99*(4*s)**(1/4)"), points)
    assert not bad.consistent
    assert bad.smallest == pytest.approx(0.99, rel=1e-9)
    assert "< 1 at" in bad.verdict


def test_the_kl_test_works_on_a_curve():
    """ψ without a closed inverse: ℓ = exp(x) - 1 - x, with equality at every point."""
    points = ball_points(np.zeros(3), radius=3.0, n=60, seed=1)

    def ell(v):
        x = np.linalg.norm(v)
        return float(mpmath.expm1(x) - x) if x > 1e-3 else float(x**2 / 2 + x**3 / 6 + x**4 / 24)

    result = kl_test(
        ell,
        lambda v: np.expm1(np.linalg.norm(v)) * v / np.linalg.norm(v),
        from_radial("exp(x)-1-x"),
        points,
        tolerance=1e-9,
    )
    assert result.consistent
    assert result.smallest == pytest.approx(1, abs=1e-9)


def test_points_outside_are_skipped():
    """Points with L = 0 or L >= r0 say nothing."""
    psi = loss("welsch")
    points = np.array([[0.0], [1.0], [50.0]])
    result = kl_test(
        lambda v: -np.expm1(-(v[0] ** 2) / 2), lambda v: v * np.exp(-(v**2) / 2), psi, points
    )
    assert (result.points, result.skipped) == (1, 2)
    none = kl_test(lambda v: 0.0, lambda v: v, psi, points)
    assert "nothing was tested" in none.verdict


# -- the command -------------------------------------------------------------------------------


def run(*words: str) -> tuple[int, str, str]:
    """The exit code, the output and the error of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["losses", *words])
    return code, out.getvalue(), err.getvalue()


def test_the_command_lists_every_loss_in_every_format():
    """Each format names each loss."""
    for form in ("text", "json", "csv", "latex", "markdown"):
        code, out, _ = run("--format", form)
        assert code == 0
        assert all(q.name in out for q in losses())


def test_one_loss_is_shown_with_its_proof():
    """`kltheory losses NAME` has the proof line, the range of parameters, and ψ with numbers."""
    code, out, _ = run("power", "--param", "p=1")
    assert code == 0
    assert "equality in (4)" in out
    assert "p >= 0" in out
    assert "sqrt(2)*s**(1/4)" in out


def test_the_answer_fits_its_schema():
    """The JSON of all losses, and of one with numbers, is what the schema says."""
    schema = json.loads((Path(cli.__file__).parents[1] / "schemas" / "losses.json").read_text())
    for words in ((), ("welsch",), ("lojasiewicz", "--param", "alpha=1/3", "--param", "c=2")):
        answer = json.loads(run(*words, "--format", "json")[1])
        jsonschema.validate(answer, schema)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hubber",), "did you mean huber"),
        (("power", "--param", "q=1"), "no parameter q"),
        (("power", "--param", "p=-1"), "p >= 0"),
        (("--param", "p=1"), "goes with a NAME"),
    ],
)
def test_wrong_words_end_with_code_2(words, message):
    """What the command cannot do it says in a line, with exit code 2."""
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err


# -- ψ without a closed form -------------------------------------------------------------------


def test_an_integral_without_a_closed_form_is_a_program():
    """∫_0^x e^{-ξ}/(1+ξ) and ∫_0^x ξ^{-1/2} by quadrature, from tiny to large x, in any order."""
    x = sp.Symbol("x", positive=True)
    ctx = mpmath.MPContext()
    ctx.prec = 100
    root = IntegralProgram(integral_from_zero(1 / sp.sqrt(x), x), x)
    for at in ("1e-200", "3", "0.25", "1e100"):
        p = ctx.mpf(at)
        assert abs(root(ctx, p) / (2 * ctx.sqrt(p)) - 1) < ctx.mpf(10) ** -28
    decay = IntegralProgram(integral_from_zero(sp.exp(-x) / (1 + x), x), x)
    for at in (5, 0.1, 60):
        area = ctx.e * (ctx.expint(1, 1) - ctx.expint(1, 1 + ctx.mpf(at)))
        assert abs(decay(ctx, at) / area - 1) < ctx.mpf(10) ** -26


def test_a_flat_integrand_is_summed_to_its_end():
    """∫_0^x dξ/(ξ log²ξ) = 1/log(1/x): the tail falls like a power of log x."""
    x = sp.Symbol("x", positive=True)
    ctx = mpmath.MPContext()
    ctx.prec = 80
    program = IntegralProgram(integral_from_zero(1 / (x * sp.log(x) ** 2), x), x)
    assert abs(program.at_exp(ctx, ctx.mpf(50)) * 50 - 1) < ctx.mpf(10) ** -20


def test_bounds_come_from_an_integral_without_a_closed_form():
    """Growth like cosh(x) - 1: ψ(L0), the loss and the stopping time against SciPy's quadrature."""
    import warnings

    from scipy.integrate import quad

    import kltheory as kl

    d = from_growth("cosh(x)-1")
    assert d.value.has(sp.Integral)
    bound = kl.rate(d, limit=3).bound(kappa=1, loss0="0.5", limit=60)

    def u(q):  # P'
        return q * np.sinh(q) / (np.cosh(q) - 1)

    x0 = np.arccosh(1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        psi0 = quad(u, 1e-9, x0)[0] + 2e-9
        x1 = np.arccosh(1 + bound.loss(0.5))
        time = quad(lambda q: u(q) ** 2 / np.sinh(q), x1, x0)[0]
    assert bound.curve.psi0 == pytest.approx(psi0, rel=1e-8)
    assert time == pytest.approx(0.5, rel=1e-8)
    assert bound.observation(bound.stopping_time("0.3")) == pytest.approx(0.3, rel=1e-9)
    constants = {"sigma_f": 1, "sigma_j": 1, "loss0": "0.01"}
    assert kl.sharp_bound(d, deviation=0, **constants).loss(1) < 0.01
    with pytest.raises(LimitReached, match="closed form"):
        kl.sharp_bound(d, deviation="0.1", **constants)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_v_max_is_where_the_poisson_loss_is_r0(y, r0):
    """One observation: L(v_max) = r0, from above and tightly."""
    v = poisson_v_max([y], r0)
    assert v - y + y * np.log(y / v) == pytest.approx(r0, rel=1e-5, abs=1e-12 * y)
    assert v >= y
    below = v * (1 - 1e-7)
    assert below - y + y * np.log(y / below) <= r0 * (1 + 1e-12) + 1e-13 * y
    assert poisson_v_max([y, 0.0], r0) >= r0


def test_the_poisson_psi_holds_on_its_sublevel_set():
    """With v_max from r0, no point of [L < r0] violates the inequality."""
    y, r0 = np.array([0.5, 2.0, 7.0]), 1.5

    def value(v):
        return float(np.sum(v - y + y * np.log(y / v)))

    rng = np.random.default_rng(2)
    points = y * np.exp(rng.normal(0, 0.6, (400, 3)))
    points = np.array([v for v in points if value(v) < r0])
    assert len(points) > 50
    psi = loss("poisson", v_max=repr(poisson_v_max(y, r0)))
    assert kl_test(value, lambda v: 1 - y / v, psi, points).consistent


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("norm", {}),
        ("mse", {}),
        *(("lojasiewicz", {"alpha": q}) for q in ("1/3", "1/2", "2/3", "1")),
        *(("lojasiewicz", {"alpha": q, "c": 1}) for q in ("1/3", "1/2", "2/3", "1")),
    ],
)
def test_what_the_gradient_cannot_be_is_said(name, values):
    """Where s ψ'(s)² tends to 0, and only there, it is said that A-1 fails for the loss."""
    d = loss(name, **values)
    psi = d.value.subs({q: 1 for q in d.value.free_symbols - {d.symbol}})
    vanishes = sp.limit(d.symbol * sp.diff(psi, d.symbol) ** 2, d.symbol, 0) == 0
    assert any("(A-1)" in warning for warning in d.warnings) is vanishes


@pytest.mark.parametrize(
    ("profile", "supremum"),
    [
        ("log(1 + x)", None),
        ("log(1 + log(1 + x))", None),
        ("sqrt(x)", None),
        ("x/(1 + x)", "1"),
        ("x**2/(3 + 2*x**2)", "1/2"),
        ("log((1 + 2*x)/(1 + x))", "log(2)"),
    ],
)
def test_where_a_loss_ends(profile, supremum):
    """The supremum of a loss is found exactly, and a loss that grows slowly for ever has none."""
    from kltheory.symbolic.parse import parse

    expr = parse(profile, "x").expr
    (x,) = expr.free_symbols
    found = _supremum(expr, x)
    assert found == (None if supremum is None else sp.sympify(supremum))
