"""Widths: the table, exactness, inverse questions, curves, the Monte Carlo check, the command."""

import csv
import decimal
import io
import json
import math
from decimal import Decimal
from fractions import Fraction
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kltheory.activation import ACTIVATIONS, get
from kltheory.cli import main
from kltheory.errors import InputError, LimitReached
from kltheory.numeric.user_activation import from_callable
from kltheory.numeric.width import Widths, width
from kltheory.numeric.width_bounds import (
    Bounds,
    chernoff_exponent,
    chernoff_keep,
    exactly,
    least_integer,
)
from kltheory.numeric.width_cases import least_width, theorems_for
from kltheory.numeric.width_check import WidthCheck, check_widths, wilson
from kltheory.numeric.width_curves import exponents, width_curves
from kltheory.numeric.width_problem import WidthLoss
from kltheory.numeric.width_row import power_of_ten
from kltheory.numeric.width_zero import protected_share

BASE = {"n": 5, "m": 5, "sigma_f": 0.5, "norm_f": 1, "x_inf": 1, "noise_inf": 0, "failure": 0.05}
SIZES = ((5, 5), (20, 10), (100, 50))
TABLE = {
    # (hidden layer trained, both trained) for the sizes above: σ_F = 0.5, L_F = 1, ‖y‖ = √m,
    # p = 0.05, D = 1, tails for iid columns.  Computed once, separately, from the closed
    # inequalities; the largest to two digits.
    "sigmoid": ((15485, 179), (184710, 464), (4.4e6, 1943)),
    "tanh": ((12345, 1566), (143621, 4459), (3.3e6, 19953)),
    "softplus": ((6894, 661), (80271, 1805), (1.8e6, 7534)),
    "gelu": ((14627, 2125), (170390, 5706), (3.9e6, 24267)),
    "sin": ((14259, 1407), (169383, 4006), (4.0e6, 17841)),
    "erf": ((14316, 1605), (169071, 4618), (3.9e6, 20666)),
    "silu": ((8274, 2476), (91231, 6658), (2.0e6, 28597)),
}


def ask(**changes):
    return width(**{**BASE, **changes})


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", sorted(TABLE))
def test_the_table_of_widths_is_reproduced(activation):
    """B.1 and the sharp 4.1 ask for exactly these numbers of neurons."""
    for (n, m), expected in zip(SIZES, TABLE[activation], strict=True):
        hidden = ask(n=n, m=m, activation=activation, train="hidden", theory="corrected")
        both = ask(n=n, m=m, activation=activation, train="both", theory="sharp")
        assert both["4.1"].k == expected[1]
        if isinstance(expected[0], int):
            assert hidden["B.1"].k == expected[0]
        else:
            assert float(f"{hidden['B.1'].k:.1e}") == expected[0]


def test_independent_entries_need_fewer_neurons():
    """Stronger assumptions on V are another row, with a smaller k."""
    hidden, both = ask(train="hidden"), ask(train="both")
    assert hidden["B.1 (independent entries)"].k < hidden["B.1"].k
    assert both["4.1 (independent entries)"].k < both["4.1"].k
    assert "independent" in both["4.1 (independent entries)"].assumptions[-1]


def test_the_papers_route_costs_four_times_b1():
    """R' < R asks for ψ0 half as large: the second condition on k grows by 4 (at least by 3)."""
    found = ask(train="hidden", n=60, m=60)
    assert 3 < found["B.1 (R' < R)"].k / found["B.1"].k <= 4


def test_a_smaller_rank_lowers_s4q_and_m_only():
    """rank = min(n, m) changes nothing; M by hand: k > 8 (‖x†‖ + 2√r + √(nℓ/2))² for sigmoid."""
    base = {"n": 60, "m": 10, "train": "hidden"}
    full, same, low = (ask(**base, rank=r) for r in (None, 10, 2))
    assert [row.k for row in full.rows] == [row.k for row in same.rows]
    for before, after in zip(full.rows, low.rows, strict=True):
        if before.theorem.startswith(("S4Q", "M")):
            assert after.k < before.k
            assert after.constants["rank"].value == 2
        else:
            assert after.k == before.k
    x_norm, ell = math.sqrt(10) / 0.5, math.log(20)
    bracket = x_norm + 2 * math.sqrt(2) + math.sqrt(60 * ell / 2)
    assert next(r for r in low.rows if r.theorem == "M").k == math.floor(8 * bracket**2) + 1
    for wrong in (0, 11, 2.5):
        with pytest.raises(InputError, match=r"rank: got .* from 1 to 10"):
            ask(**base, rank=wrong)


def test_networks_of_that_rank_keep_the_promise():
    """The Monte Carlo check draws an operator of the rank that was given."""
    found = ask(n=3, m=3, train="hidden", theory="sharp", failure=0.2, rank=1)
    checks = check_widths(found, draws=20, seed=5, max_work=1e9)
    assert {"S4Q", "M"} <= {check.theorem for check in checks}
    assert all(check.holds for check in checks)


def test_printed_forms_by_hand():
    """k = ⌈C' n (ρ/σ_F)^q⌉ for the square loss, with ρ = C L_F √(n log d) + ‖y‖."""
    for train, power in (("hidden", 2), ("both", 4)):
        row = ask(train=train, d=10, C=2, C_prime=3, theory="printed").rows[0]
        rho = 2 * math.sqrt(5 * math.log(10)) + math.sqrt(5)
        assert row.k == math.ceil(3 * 5 * (rho / 0.5) ** power)
        assert row.theory == "printed"
        assert row.probability == pytest.approx(1 - 1 / 5 - 1 / 10)
        assert row.log10_k == pytest.approx(math.log10(row.k), abs=1e-3)


def test_printed_tie_is_not_rounded_up():
    """Where C' n (ψ/σ_F)² is a whole number, that number is enough: d = 1 makes ρ = ‖y‖."""
    row = width(n=5, m=5, sigma_f=0.5, norm_f=1, y_norm=1.5, failure=0.05, d=1).rows[0]
    assert row.k == 45
    assert "vacuous" in row.reason
    third = width(n=9, m=5, sigma_f=1, norm_f=1, y_norm=Fraction(1, 3), failure=0.05, d=1).rows[0]
    assert third.k == 1


def test_radial_losses_have_the_same_sharp_width():
    """For a radial loss ψ(L_y(y(0))) = ‖y(0) - y‖ whatever its exponent, but not as printed."""
    mse = ask(train="both")
    for params in ({"p": 0.2}, {"alpha": Fraction(1, 4)}):
        power = ask(train="both", loss="power", params=params)
        assert power["4.1"].k == mse["4.1"].k
        assert power.rows[0].k > mse.rows[0].k
    assert ask(train="both", loss="huber", params={"delta": 0.1})["4.1"].k == mse["4.1"].k


def test_other_losses_use_the_descent_lemma():
    """Σ log cosh: ψ(Y²/2) = arccosh(exp(Y²/2)) > Y, so that k is larger; M needs convexity."""
    cosh = ask(train="hidden", loss="log-cosh")
    assert cosh["B.1"].k > 5 * ask(train="hidden")["B.1"].k
    assert cosh["M"].k == ask(train="hidden")["M"].k
    cauchy = ask(train="hidden", loss="cauchy")["M"]
    assert cauchy.k is None
    assert "not convex" in cauchy.reason
    welsch = ask(train="hidden", loss="welsch").rows[0]
    assert welsch.k is None
    assert "s < 1" in welsch.reason


def test_a_users_log_psi_gives_the_width_of_the_loss_that_it_is():
    """ψ = √(2s) given as log ψ is the square loss, up to the option ν ≤ D√k that it cannot use."""
    loss = WidthLoss.from_log_psi(lambda t: 0.5 * (t + math.log(2)), 1.0, convex=True)
    for train, name in (("hidden", "B.1"), ("both", "4.1")):
        assert ask(train=train, loss=loss)[name].k == ask(train=train)[name].k


@pytest.mark.parametrize("y_norm", [3.2e6, 3.3e6, 1e7])
def test_the_floats_of_a_users_psi_never_make_k_too_small(y_norm):
    """Near k = 10¹⁷ the k of a ψ in floats is at least that of the same ψ in decimals."""
    exact = WidthLoss(
        "exact", lambda s: (2 * s).sqrt(), lambda radius: Decimal(1), radial=False, convex=True
    )
    floats = WidthLoss.from_log_psi(lambda t: 0.5 * (t + math.log(2)), 1.0, convex=True)
    options = {"train": "hidden", "y_norm": y_norm, "x_inf": None, "noise_inf": None}
    for least, found in zip(
        ask(loss=exact, **options).rows, ask(loss=floats, **options).rows, strict=True
    ):
        assert least.k <= found.k <= least.k * (1 + 1e-12)


@pytest.mark.parametrize("sigma_f", [1e-4, 1.1e-4, 1.2e-4, 1.3e-4])
def test_a_k_shown_as_a_power_of_ten_is_enough(sigma_f):
    """What is shown of a long k is rounded up: with that many neurons the theorem holds."""
    found = ask(train="hidden", sigma_f=sigma_f, theory="corrected", activation="tanh", n=10**4)
    for row in found.rows:
        assert row.k > 10**15
        assert f"{power_of_ten(row.log10_k):>16}" in repr(found)
        exponent = Decimal(power_of_ten(row.log10_k).removeprefix("10^"))
        assert row.k <= 10**exponent <= Decimal(row.k) * Decimal("1.03")


def test_a_probability_that_is_not_one_is_not_given_as_one(capsys):
    """1 - 1e-300 is rounded down in floats, and its text is not 1."""
    rows = ask(train="both", failure=1e-300, theory="sharp").rows
    assert all(row.probability < 1 for row in rows if row.theorem.startswith("4.1"))
    options = "--n 5 --m 5 --sigma-f 1 --norm-f 1 --y-norm 1 --failure 1e-9 --train both"
    main(["width", *options.split(), "--format", "csv"])
    assert "1 - 1e-09" in capsys.readouterr().out


def test_the_majorant_of_remark_4_2_replaces_the_smoothness():
    """With φ(τ) = τ for the gradient, Φ(s) = ∫_0^s φ = s²/2 gives the width of the square loss.

    The printed Φ(s) = ∫_0^1 φ(st)/t dt = s is not a bound: at s = 10 it is 10, the loss 50.
    """
    loss = WidthLoss.from_log_psi(
        lambda t: 0.5 * (t + math.log(2)), majorant=lambda s: s * s / 2, convex=True
    )
    assert ask(train="both", loss=loss)["4.1"].k == ask(train="both")["4.1"].k


def test_larger_sizes_do_not_overflow():
    """n = 10⁹ gives exact integers, and extreme σ_F their logarithm where k is beyond 10³⁰⁰."""
    big = ask(n=10**9, m=10**9, train="both", failure=1e-300)
    assert all(isinstance(row.k, int) and math.isfinite(row.log10_k) for row in big.rows)
    small = ask(n=10**9, m=10**9, train="both", sigma_f=1e-90, norm_f=1e90)
    assert small.rows[0].k is None
    assert small.rows[0].log10_k == pytest.approx(9 + 4 * (4.738 + 90 + 90), abs=0.1)
    json.dumps(small.to_dict(), allow_nan=False)


def test_k_is_least_for_huge_k():
    """The condition holds at k and fails at k - 1, also where floats cannot tell them apart."""
    found = ask(n=10**6, m=10**6, sigma_f=1e-6, train="hidden", theory="corrected")
    problem = found.problem
    for theorem in theorems_for(problem)[:3]:
        k, _ = least_width(problem, theorem)
        assert k > 10**20
        with decimal.localcontext(exactly(80)):

            def margin(k, theorem=theorem):
                b = Bounds(
                    problem.setting(),
                    Decimal(k),
                    (theorem.events / problem.failure).ln(),
                    theorem.independent,
                )
                needed = (b.initial_signal() + problem.y_norm) / problem.sigma_f
                return theorem.supply(b) - needed

            assert margin(k) > 0 >= margin(k - 1)


@settings(max_examples=60, deadline=None)
@given(threshold=st.integers(1, 10**50))
def test_least_integer_finds_the_threshold(threshold):
    """For k ≥ t the search returns t."""
    k, logarithm = least_integer(lambda k: k >= threshold)
    assert k == threshold
    assert logarithm == pytest.approx(math.log10(threshold), rel=1e-12, abs=1e-12)


def test_least_integer_rounds_up_in_the_50th_digit():
    """Beyond 10⁵⁰ the integer is sufficient, and too large by at most one part in 10⁵⁰."""
    threshold = 7 * 10**200 + 12345
    k, _ = least_integer(lambda k: k >= threshold)
    assert threshold <= k <= threshold + 10**151


def test_least_integer_beyond_the_limit_is_rounded_up():
    """Beyond 10³⁰⁰ the logarithm is an upper bound with 13 digits."""
    k, logarithm = least_integer(lambda k: k.ln() >= 5000)
    assert k is None
    assert 0 <= logarithm - 5000 / math.log(10) < 1e-9


@settings(max_examples=100, deadline=None)
@given(eps=st.floats(1e-9, 1 - 1e-9))
def test_chernoff_keep_inverts_the_exponent(eps):
    """g(1 - keep(c)) = c, and keep is 0 from c = 1 on."""
    with decimal.localcontext(exactly()):
        keep = chernoff_keep(chernoff_exponent(Decimal(eps)))
        assert abs(keep - (1 - Decimal(eps))) < Decimal("1e-15")
        assert chernoff_keep(Decimal(1)) == chernoff_keep(Decimal(2)) == 0


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 50),
    m=st.integers(1, 50),
    sigma=st.floats(0.05, 1),
    y=st.floats(0, 20),
    p=st.floats(0.001, 0.5),
)
def test_k_is_monotone_in_the_question(n, m, sigma, y, p):
    """A smaller σ_F, a larger ‖y‖, and a smaller p never need fewer neurons."""
    base = {"n": n, "m": m, "sigma_f": sigma, "norm_f": 1, "y_norm": y, "failure": p}
    harder = ({"sigma_f": sigma / 2}, {"y_norm": y + 1}, {"failure": p / 2}, {"norm_f": 2})
    start = width(**base, train="both", theory="sharp")
    for change in harder:
        found = width(**{**base, **change}, train="both", theory="sharp")
        for before, after in zip(start.rows, found.rows, strict=True):
            assert after.k >= before.k


def test_attainability_of_gelu_has_enough_neurons_on_the_right():
    """The exact binomial tail at k is below p/2, and the Chernoff bound is not far from it."""
    from scipy.stats import binom, norm

    for name, critical in (("gelu", -0.7517915247), ("silu", -1.2784645428)):
        k = ask(train="hidden", activation=name)["M"].k
        needed = (2 * math.sqrt(2) * (2 * math.sqrt(5) + math.sqrt(2.5 * math.log(40)))) ** 2
        share = norm.sf(critical)
        assert binom.cdf(math.floor(needed), k, share) <= 0.025
        assert binom.cdf(math.floor(needed), int(0.97 * k), share) > 0.025


def test_a_linear_phi_has_no_limit_on_the_error():
    """φ(x) = x has B2 = 0: with σ_min > 0 every initial error is allowed."""
    linear = from_callable(lambda z: 1.0 * z, np.ones_like, name="linear")
    found = ask(train="hidden", activation=linear, sigma_f=1e-9)
    assert found["B.1"].k < 1000
    at = {row.theorem: row for row in found.at(1000) if row.theory == "corrected"}
    assert at["B.1"].holds
    assert at["B.1"].margin is None


# -- without width ---------------------------------------------------------------------------------


def test_width_free_theorems_are_shown_with_their_price():
    """Both layers trained: C and C0 say k = 1 for sigmoid, and what it costs."""
    rows = {row.theorem: row for row in ask(train="both").rows}
    assert (rows["C"].k, rows["C0"].k) == (1, 1)
    assert "price" in rows["C"].reason
    assert "price" in rows["C0"].reason
    assert "V(0) = 0" in rows["C0"].assumptions
    assert not {"C", "C0"} & {row.theorem for row in ask(train="hidden").rows}


@pytest.mark.parametrize("name", [a for a in ACTIVATIONS if a not in ("sigmoid", "softplus")])
def test_protected_neurons_are_counted_from_below(name):
    """The share of neurons that cannot reach φ = 0 is at least the bound, in 4,000 draws."""
    energy, z = 2.0, np.random.default_rng(3).normal(size=4_000)
    lowest = get(name).branches.lowest(z, np.full(z.shape, energy))
    if name in ("gelu", "silu"):  # left of the critical point |φ| may be too small for a float
        critical = get(name).branches.interval(np.array([-9.0]))[1][0]
        observed = np.mean((lowest > 0) | (z < critical))
    else:
        observed = np.mean(lowest > 0)
    bound = math.exp(protected_share(get(name), energy))
    assert bound <= observed + 4 * math.sqrt(observed / len(z))
    assert bound >= 0.1 * observed


# -- inverse questions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "loss"), [("hidden", "mse"), ("both", "mse"), ("both", "log-cosh")]
)
def test_what_can_be_afforded_is_the_edge_of_what_holds(train, loss):
    """At the largest ‖y‖ and the smallest σ_F the theorem just holds; beyond them it does not."""
    k = 10**12 if loss == "log-cosh" else 10**8
    base = {**BASE, "train": train, "loss": loss, "d": 20}
    base = {name: value for name, value in base.items() if name not in ("x_inf", "noise_inf")}
    base["y_norm"] = 2.0
    for row in width(**base).at(k):
        if "columns" in row.theorem or "R' < R" in row.theorem:
            continue  # the same conditions with other numbers
        for name, edge, inward in (
            ("y_norm", row.largest_y_norm, 1 - 1e-9),
            ("sigma_f", row.smallest_sigma_f, 1 + 1e-9),
        ):
            if edge is None or (name == "sigma_f" and edge > 0.9):
                continue
            for factor, expected in ((inward, True), (2 - inward, False)):
                again = width(**{**base, name: edge * factor}).at(k)
                same = [r for r in again if (r.theorem, r.theory) == (row.theorem, row.theory)]
                assert same[0].holds is expected, (row.theorem, row.theory, name)


@pytest.mark.parametrize("train", ["hidden", "both"])
def test_margin_is_one_at_the_least_k(train):
    """At k the margin is just above 1, at k - 1 just below."""
    found = ask(train=train)
    for row in found.rows:
        if row.theorem in ("C", "C0"):
            continue
        for k, above in ((row.k, True), (row.k - 1, False)):
            at = next(r for r in found.at(k) if (r.theorem, r.theory) == (row.theorem, row.theory))
            assert at.holds is above
            if at.margin:
                assert at.margin == pytest.approx(1, abs=0.02)


def test_largest_noise_completes_the_bound_on_y():
    """√m(‖F(x̄)‖∞ + largest ‖ε‖∞) is the largest ‖y‖."""
    row = next(r for r in ask(train="both").at(250) if r.theorem == "4.1" and r.theory == "sharp")
    assert math.sqrt(5) * (1 + row.largest_noise) == pytest.approx(row.largest_y_norm, rel=1e-12)


# -- curves and exponents --------------------------------------------------------------------------


def test_curves_are_arrays_of_the_single_answers():
    """A curve over m holds, at each value, what `width` answers there."""
    question = {**BASE, "train": "both", "theory": "sharp"}
    question.pop("m")
    found = width_curves("m", [5, 10], **question)
    assert found.k("4.1", "sharp") == (ask(train="both")["4.1"].k, ask(train="both", m=10)["4.1"].k)
    assert found.log10_k("4.1", "sharp").dtype == np.float64
    assert found.x.tolist() == [5.0, 10.0]
    alphas = width_curves("alpha", [Fraction(1, 2), Fraction(1, 4)], **BASE, train="both")
    assert alphas.k("4.1", "sharp")[0] == alphas.k("4.1", "sharp")[1]
    assert alphas.k("4.1", "printed")[0] < alphas.k("4.1", "printed")[1]
    with pytest.raises(InputError, match="can run over"):
        width_curves("colour", [1], **BASE)


def test_exponents_of_the_printed_forms_are_not_those_of_the_remarks():
    """4.1 grows like n(n + m)² σ_F⁻⁴ and B.1 like n(n + m) σ_F⁻²; n³m² and n²m are refuted."""
    both = exponents("both", theory="printed")[0]
    hidden = exponents("hidden", theory="printed")[0]
    logarithms = [dict(e.slopes).pop("d") for e in (both, hidden)]
    assert all(0 < slope < 0.1 for slope in logarithms)
    assert {k: round(v, 3) for k, v in both.slopes.items() if k != "d"} == {
        "n": 3.0,
        "m": 2.0,
        "n=m": 3.0,
        "sigma_f": -4.0,
    }
    assert {k: round(v, 3) for k, v in hidden.slopes.items() if k != "d"} == {
        "n": 2.0,
        "m": 1.0,
        "n=m": 2.0,
        "sigma_f": -2.0,
    }
    assert both.claimed["n=m"] == 5
    assert hidden.claimed["n=m"] == 3


def test_exponents_of_the_sharp_forms():
    """The sharp 4.1 and M are linear in the sizes; S4Q is linear in n for a fixed rank."""
    both = {e.theorem: e.slopes for e in exponents("both", theory="sharp")}
    hidden = {e.theorem: e.slopes for e in exponents("hidden", theory="sharp")}
    assert both["4.1"] == pytest.approx({"n": 1, "m": 1, "n=m": 1, "sigma_f": -2, "d": 0}, abs=0.01)
    assert hidden["S4Q"]["n"] == pytest.approx(1, abs=0.05)
    assert hidden["S4Q (columns only)"]["n"] == pytest.approx(2, abs=0.05)
    assert hidden["M"]["n=m"] == pytest.approx(1, abs=0.01)


# -- Monte Carlo -----------------------------------------------------------------------------------


def test_wilson_interval_against_scipy():
    """The interval is SciPy's."""
    from scipy.stats import binomtest

    for failures, draws in ((0, 40), (3, 50), (50, 50)):
        reference = binomtest(failures, draws).proportion_ci(method="wilson")
        assert wilson(failures, draws) == pytest.approx((reference.low, reference.high), abs=1e-12)


@pytest.mark.parametrize(
    ("train", "activation", "bound"),
    [("both", "sigmoid", 1), ("both", "tanh", 2), ("hidden", "softplus", 1), ("hidden", "gelu", 1)],
)
def test_drawn_networks_keep_the_promises(train, activation, bound):
    """At the k of each theorem the event fails in no more than a share p of the draws."""
    asked = {**BASE, "n": 3, "m": 2, "failure": 0.2, "train": train, "activation": activation}
    found = width(**asked, entry_bound=bound, theory="sharp")
    checks = check_widths(found, draws=20, seed=4, max_work=1e9)
    assert {"4.1"} <= {c.theorem for c in checks} if train == "both" else len(checks) >= 2
    for check in checks:
        assert check.promised
        assert check.holds
        assert check.frequency <= 0.2
        assert 1 <= check.k_observed <= check.k


def test_too_few_neurons_are_seen_to_fail():
    """Far below the width the event does fail, so that the check can fail."""
    found = ask(train="both", theory="sharp")
    check = next(c for c in check_widths(found, draws=30, seed=1, k=4) if c.theorem == "4.1")
    assert check.frequency > 0.9
    assert not check.promised
    assert check.holds
    assert check.k_observed is None


def test_a_false_promise_is_refuted():
    """A theorem that promised success where the event always fails is reported as refuted."""
    found = ask(train="both", theory="sharp")
    lie = Widths(
        found.problem,
        tuple(type(r)(**{**_fields(r), "k": 4}) for r in found.rows if r.theorem == "4.1"),
        (),
    )
    assert [c.holds for c in check_widths(lie, draws=40, seed=1)] == [False]


def _fields(row):
    return {name: getattr(row, name) for name in row.__slots__}


def test_the_same_seed_draws_the_same_networks():
    """Checks are reproducible, and another seed gives other networks."""
    found = ask(train="both", theory="sharp")
    first, again, other = (check_widths(found, draws=40, seed=s, k=25) for s in (1, 1, 2))
    assert first == again
    assert [c.failures for c in first] != [c.failures for c in other]
    assert isinstance(first[0], WidthCheck)


def test_the_check_has_a_limit():
    """Work beyond the limit is refused with a way out, and so is a loss that is not radial."""
    with pytest.raises(LimitReached, match="--max-work"):
        check_widths(ask(train="hidden"), draws=1000, max_work=1e6)
    with pytest.raises(InputError, match="not radial"):
        check_widths(ask(loss="log-cosh"), draws=5)


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", ["hidden", "both"])
def test_a_number_never_comes_without_its_constants(train):
    """Each row names its constants with evidence, its assumptions, probability and reason."""
    for row in ask(train=train).rows:
        assert row.assumptions
        assert row.reason
        assert row.scaling
        assert 0 <= row.probability <= 1
        if row.theorem not in ("C", "C0"):
            assert {"sigma_F", "L_F", "y_norm", "D"} <= set(row.constants)
    certified = ask(train="both")["4.1"].constants
    assert certified.value("psi_bar") < certified.value("certified")
    assert certified["B1"].evidence == "proved"
    assert certified["h_minus"].probability == pytest.approx(1 - 0.05 / 3)


def test_defaults_are_said_aloud():
    """What was assumed is in the warnings; what was given is not."""
    text = " ".join(ask(train="both").warnings)
    assert "C = 1 was assumed" in text
    assert "C_prime = 1 was assumed" in text
    assert "d was not given" in text
    assert ask(train="both", d=10, C=1, C_prime=1).warnings == ()
    mine = from_callable(np.arctan, lambda z: 1 / (1 + z * z))
    sampled = ask(train="both", activation=mine, theory="sharp")
    assert "not proved" in sampled.warnings[-1]
    assert sampled["4.1"].constants["B1"].evidence == "sampled"


@pytest.mark.parametrize("theory", ["printed", "corrected", "sharp"])
def test_theory_selects_the_rows(theory):
    """`theory` keeps the rows of that kind, of all those that there are."""
    chosen = ask(train="both", theory=theory).rows
    assert chosen
    assert [r for r in ask(train="both").rows if r.theory == theory] == list(chosen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "n: got 0; it must be a whole number"),
        ({"n": 2.5}, "n: got 2.5"),
        ({"n": True}, "n: got True"),
        ({"n": math.nan}, "n: got nan"),
        ({"n": 1e300}, "n: got 1e\\+300"),
        ({"m": -1}, "m: got -1"),
        ({"m": "5"}, "m: got '5'"),
        ({"sigma_f": 0}, "sigma_f: got 0"),
        ({"sigma_f": -1}, "sigma_f: got -1"),
        ({"sigma_f": math.nan}, "sigma_f: got nan"),
        ({"sigma_f": True}, "sigma_f: got True"),
        ({"sigma_f": 2}, "above norm_f = 1"),
        ({"norm_f": math.inf}, "norm_f: got inf"),
        ({"norm_f": 1e300}, "norm_f: got 1e\\+300"),
        ({"x_inf": -1}, "x_inf: got -1"),
        ({"failure": 0}, "failure: got 0"),
        ({"failure": 1}, "failure: got 1"),
        ({"failure": 1.5}, "failure: got 1.5"),
        ({"entry_bound": 0.5}, "forces D >= 1"),
        ({"x_inf": None, "noise_inf": None}, "give y_norm"),
        ({"y_norm": 1}, "not both"),
        ({"d": 0}, "d: got 0"),
        ({"train": "none"}, "hidden and both"),
        ({"theory": "wild"}, "allowed are all, printed"),
        ({"loss": "logistic"}, "allowed are mse"),
        ({"loss": "power"}, "it takes p"),
        ({"loss": "mse", "params": {"p": 1}}, "no parameters"),
        ({"loss": "power", "params": {"alpha": 0.7}}, "α ≤ 1/2"),
        ({"loss": "huber", "params": {"delta": 0}}, "must be positive"),
        ({"activation": "relu"}, "φ' jumps"),
        ({"activation": 3}, "give a name"),
        ({"C": 0}, "C: got 0"),
    ],
)
def test_bad_input_is_one_clear_line(changes, message):
    """What was given and what is allowed, in one line."""
    with pytest.raises(InputError, match=message) as caught:
        ask(**changes)
    assert "\n" not in str(caught.value)


def test_numbers_of_any_kind_are_taken():
    """Fractions, decimals and NumPy numbers mean what their text says."""
    as_float = width(**{**BASE, "train": "both"})["4.1"].k
    as_exact = width(
        **{
            **BASE,
            "n": np.int64(5),
            "m": Fraction(5),
            "sigma_f": Fraction(1, 2),
            "failure": Decimal("0.05"),
            "x_inf": np.float64(1),
            "train": "both",
        }
    )["4.1"].k
    assert as_float == as_exact


def test_it_shows_itself():
    """repr and Markdown hold all rows; an unknown row is refused."""
    found = ask(train="both")
    assert "4.1 (R' < R)" in repr(found)
    assert found._repr_markdown_().count("\n") == len(found.rows) + 1
    with pytest.raises(InputError, match=r"there are: 4\.1"):
        found["B.1"]


# -- the command -----------------------------------------------------------------------------------

WORDS = "width --n 5 --m 5 --sigma-f 0.5 --norm-f 1 --x-inf 1 --failure 0.05".split()
EXTRAS = {
    "rows": [],
    "at_k": ["--k", "200"],
    "curve": ["--curve", "n=10,20"],
    "exponents": ["--exponents"],
    "checks": ["--check", "10", "--k", "200"],
}


def run(capsys, *words):
    code = main([*WORDS, *words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_json_fits_its_schema(extra, capsys):
    """Every JSON answer is valid JSON without NaN and fits the schema of the package."""
    code, out, err = run(capsys, "--train", "both", "--format", "json", *EXTRAS[extra])
    assert (code, err) == (0, "")
    answer = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert answer["schema"] == "kltheory/width/1"
    assert answer["rows"]
    assert extra in answer
    schema = json.loads((resources.files("kltheory") / "schemas" / "width.json").read_text())
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(answer, schema)


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        *(("text", extra) for extra in sorted(EXTRAS)),
        *((kind, extra) for kind in ("csv", "markdown", "latex") for extra in ("rows", "at_k")),
        ("csv", "curve"),
        ("latex", "checks"),
    ],
)
def test_every_format_holds_every_number(kind, extra, capsys):
    """Numbers are the same in every format, and none is cut."""
    code, out, err = run(capsys, "--train", "both", "--format", kind, *EXTRAS[extra])
    assert (code, err) == (0, "")
    assert "…" not in out
    assert "\x1b" not in out
    if kind == "csv":
        rows = list(csv.reader(io.StringIO(out)))
        assert len({len(row) for row in rows}) == 1
        assert rows[0][0] == "theorem"
    else:
        assert "49075309" in out
    if kind == "latex":
        assert out.count(r"\begin{tabular}") == (1 if extra == "rows" else 2)
        assert out.isascii() or "%" in out


def test_csv_is_what_python_says(capsys):
    """The CSV of the rows has the k of `width`."""
    _, out, _ = run(capsys, "--format", "csv")
    found = {(row["theorem"], row["theory"]): row["k"] for row in csv.DictReader(io.StringIO(out))}
    assert found == {(r.theorem, r.theory): str(r.k) for r in ask(train="hidden").rows}


def test_csv_is_exact_for_huge_k(capsys):
    """In CSV k is the integer itself, however large."""
    _, out, _ = run(capsys, "--format", "csv", "--sigma-f", "1e-30", "--theory", "printed")
    k = next(csv.DictReader(io.StringIO(out)))["k"]
    assert k == str(ask(sigma_f=1e-30, theory="printed").rows[0].k)
    assert len(k) > 60


def test_exit_codes(capsys, monkeypatch):
    """0 done; 1 no theorem holds at --k, or a theorem is refuted; 2 invalid; 3 too much work."""
    assert run(capsys, "--k", "10")[0] == 1
    assert run(capsys, "--k", "20000")[0] == 0
    assert run(capsys, "--n", "0")[0] == 2
    assert run(capsys, "--check", "1000", "--max-work", "1000")[0] == 3
    from kltheory.numeric import width_check

    monkeypatch.setattr(width_check._Experiment, "failures", lambda self, k, draws: draws)
    assert run(capsys, "--train", "both", "--check", "40")[0] == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--n", "nan"],
        ["--n", "-3"],
        ["--n", "1e300"],
        ["--n", "5/2"],
        ["--n", "true"],
        ["--sigma-f", "0"],
        ["--sigma-f", "1e300"],
        ["--failure", "2"],
        ["--y-norm", "1"],
        ["--activation", "relu"],
        ["--activation", "__import__('os')"],
        ["--loss", "nope"],
        ["--param", "p=1"],
        ["--k", "0"],
        ["--k", "10", "--exponents"],
        ["--curve", "n"],
        ["--curve", "n=1,b"],
        ["--curve", "colour=1"],
        ["--check", "0"],
        ["--check", "5", "--loss", "log-cosh"],
        ["--theory", "new"],
        ["--train", "none"],
    ],
)
def test_bad_words_are_refused_without_a_traceback(words, capsys):
    """Exit code 2, nothing on standard output, and a message of a few lines."""
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert err.startswith("kltheory: ")
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 4


def test_output_file(tmp_path, capsys):
    """--output writes the answer to a file and nothing to the terminal."""
    path = tmp_path / "width.json"
    code, out, _ = run(capsys, "--format", "json", "--output", str(path))
    assert (code, out) == (0, "")
    assert json.loads(path.read_text())["rows"]
