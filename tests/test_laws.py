"""Laws of the bounds, over all ψ of the table: one law a test, numbers drawn by Hypothesis."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from psi_table import IDS, law, start

import kltheory as kl
from kltheory.errors import InputError

times = st.fractions(min_value=0, max_value=50, max_denominator=64)
factors = st.fractions(min_value=Fraction(1, 8), max_value=8, max_denominator=16)
cases = st.sampled_from(IDS)


@cache
def loss0(case_id: str) -> Fraction:
    """An exact loss inside the domain of a case."""
    value = start(case_id)
    return Fraction(int(value.p), int(value.q))


@cache
def bound(case_id: str, kappa: Fraction = Fraction(1), share: Fraction = Fraction(1)):
    """The bounds of a case from a share of its loss, at speed κ."""
    return law(case_id).bound(kappa=kappa, loss0=loss0(case_id) * share, limit=60)


@given(cases, times, times)
def test_loss_never_increases(case_id, t1, t2):
    """V(t) is non-increasing, starts at L0, and stays non-negative."""
    b = bound(case_id)
    early, late = sorted((t1, t2))
    assert 0 <= b.loss(late) <= b.loss(early) <= b.loss(0)
    assert b.loss(0) >= float(loss0(case_id)) * (1 - 1e-15)


@given(cases, times, factors)
def test_only_the_product_of_speed_and_time_matters(case_id, t, c):
    """(κ, t) and (cκ, t/c) give the same loss to the last bit."""
    assert bound(case_id).loss(t) == bound(case_id, c).loss(t / c)


@given(cases, times)
def test_parameters_are_psi_of_the_loss_over_root_kappa(case_id, t):
    """(11) and (10) are consistent: √κ ‖θ - θ∞‖ = ψ(loss), the bound on the observation."""
    four = bound(case_id, Fraction(4))
    assert four.parameters(t) == pytest.approx(four.observation(t) / 2, rel=1e-15)


@settings(max_examples=settings.default.max_examples // 2)  # each makes a bound of its own
@given(cases, times, times)
def test_bounding_twice_is_bounding_once(case_id, t1, t2):
    """From t1 on with V(t1) as the new start, t2 more gives V(t1 + t2): the semigroup law."""
    middle = bound(case_id).loss(t1)
    if not middle > 1e-300:
        return
    again = law(case_id).bound(kappa=1, loss0=min(Fraction(middle), loss0(case_id)), limit=60)
    q1, q2 = bound(case_id).log_decrease(t1), again.log_decrease(t2)
    q = bound(case_id).log_decrease(t1 + t2)
    if math.isinf(q) or math.isinf(q2):
        return
    # V(t1) was rounded up by at most 1e-12, and near extinction that is felt more strongly
    slope = abs(q - bound(case_id).log_decrease(t1 + t2 + Fraction(1, 10**9))) * 10
    assert q1 + q2 == pytest.approx(q, rel=1e-9, abs=1e-9 + slope)


@given(cases, times.filter(bool))
def test_stopping_time_is_the_inverse_of_the_observation(case_id, t):
    """ψ(V(t*(ε))) = ε: the time that (12) gives is the time at which the bound reaches ε."""
    b = bound(case_id)
    eps = b.observation(t)
    if not eps > 1e-280:
        return
    found = b.stopping_time(noise=Fraction(eps))
    assert found <= float(t) * (1 + 1e-9) + 1e-12
    assert b.observation(Fraction(found)) <= eps * (1 + 1e-9)


@pytest.mark.parametrize("case_id", IDS)
def test_limits(case_id):
    """At t = 0 the bound is L0, and for t → ∞ it tends to 0; only finite time reaches it."""
    b = bound(case_id)
    assert b.log_decrease(0) == 0
    if law(case_id).regime.loss == "finite-time":
        end = b.extinction_time()
        assert end is not None
        assert b.loss(Fraction(end) * 2) == 0
        assert b.loss(Fraction(end) / 2) > 0
        assert b.stopping_time(noise=0) == end
    else:
        assert b.extinction_time() is None
        assert b.log_decrease(Fraction(10) ** 30) > 20
        assert b.stopping_time(noise=0) == math.inf
    assert b.stopping_time(noise=10**6) == 0


@pytest.mark.parametrize("case_id", IDS)
def test_against_a_quadrature_that_shares_nothing(case_id):
    """log(L0/V) agrees to 1e-10 with κt = ∫ψ'², integrated in x = -log s by mpmath at 30 digits."""
    found = law(case_id)
    s = found.desingularizer.symbol
    with mpmath.workdps(40):
        slope = sp.lambdify(s, sp.diff(found.psi, s), "mpmath")
        x0 = -mpmath.log(mpmath.mpf(loss0(case_id).numerator) / loss0(case_id).denominator)

        def w(x):
            v = mpmath.exp(-x)
            return v * slope(v) ** 2

        for q in (mpmath.mpf("0.01"), mpmath.mpf(1), mpmath.mpf(7)):
            knots = [x0, *(k for k in [mpmath.mpf(0)] if x0 < k < x0 + q), x0 + q]
            kt = mpmath.quad(w, sorted({*knots, *mpmath.linspace(x0, x0 + q, 9)}))
            if w(x0 + q) < kt * mpmath.mpf("1e-30"):
                continue  # so near extinction that 35 digits of the time do not tell
            got = bound(case_id).log_decrease(Fraction(mpmath.nstr(kt, 35)))
            assert abs(got - q) <= 1e-10 * max(q, 1)
            assert got <= q * (1 + mpmath.mpf("1e-25"))


def test_the_whole_range_of_losses_and_times():
    """√s + s from L0 = 1e300 at t = 1e305: between √s's and s's laws, and no stagnation."""
    b = kl.rate("sqrt(s) + s").bound(kappa=1, loss0="1e300")
    # ∫ψ'² from V to 1e300 is (log s)/4 + 2√s + s: at t = 1e305 the logarithm has the rest
    rest = mpmath.mpf("1e305") - mpmath.mpf("1e300") - 2 * mpmath.mpf("1e150")
    assert b.log_decrease("1e305") == pytest.approx(float(4 * rest), rel=1e-12)
    assert b.loss("1e305") == 5e-324


@pytest.mark.parametrize("t", ["1e-300", "1e30", "1e300", "1e1000"])
@pytest.mark.parametrize("start_at", ["1e-300", "1", "1e300"])
def test_extremes_of_the_power_family(start_at, t):
    """c s^α over 600 orders of magnitude, against the closed law at 80 digits."""
    with mpmath.workdps(1100):
        for alpha in ("1/4", "1/2", "49/100"):
            a, L0, kt = (mpmath.mpf(Fraction(v).numerator) / Fraction(v).denominator
                         for v in (alpha, start_at, t))  # fmt: skip
            e = 1 - 2 * a
            q = 4 * kt if e == 0 else mpmath.log(1 + e / a**2 * kt * L0**e) / e
            got = kl.rate(f"s**({alpha})").bound(kappa=1, loss0=start_at).log_decrease(t)
            if q < mpmath.mpf("1e300"):
                assert got <= q
                assert q - got <= q * mpmath.mpf("1e-15") + mpmath.mpf("1e-320")


# -- nothing depends on the constant in Ψ ------------------------------------------------------


@pytest.mark.parametrize("shift", [-5, 0, 5, 1000])
def test_bounds_do_not_depend_on_the_constant_in_psi(shift):
    """Ψ + const gives the same bounds and the same t*; the printed (12) changes with it."""
    import dataclasses

    found = kl.rate("sqrt(2*s)")
    moved = dataclasses.replace(found, Psi=found.Psi + shift)
    given_ = {"kappa": 1, "loss0": 2, "noise": "1/10"}
    assert moved.bound(**given_).stopping_time() == found.bound(**given_).stopping_time()
    assert moved.bound(**given_).loss(3) == found.bound(**given_).loss(3)
    printed = [m.bound(**given_, theory="printed").stopping_time() for m in (found, moved)]
    sigma = 1  # Ψ/κ - Ψ moves by shift (1/κ - 1) = 0 at κ = 1, so κ is changed
    given_["kappa"] = sigma * Fraction(1, 2)
    printed = [m.bound(**given_, theory="printed").stopping_time() for m in (found, moved)]
    assert (printed[0] == printed[1]) == (shift == 0)


def test_printed_forms_fail_where_the_audit_says():
    """The printed (12) gives 142.9 where 1842 is needed, and Corollary 3.3 gives 0.5 < 1."""
    found = kl.rate("sqrt(2*s)")
    given_ = {"sigma_f": "1/10", "sigma_j": 1, "loss0": 5000, "noise": 1}
    assert found.bound(**given_, theory="printed").stopping_time() == pytest.approx(142.9, abs=0.1)
    assert found.bound(**given_).stopping_time() == pytest.approx(1842.07, abs=0.01)
    unit = {"sigma_f": 1, "sigma_j": 1, "loss0": Fraction(1, 2)}
    assert found.bound(**unit, theory="printed").parameters(0) == pytest.approx(0.5)
    assert found.bound(**unit).parameters(0) >= 1


# -- arrays and bad input ---------------------------------------------------------------------


def test_arrays_in_arrays_out():
    """The shape of the times is the shape of the answer, and each entry is the scalar answer."""
    b = kl.rate("sqrt(s)+s").bound(kappa=1, loss0=1, noise="0.1", mu=1, lip_f=1, dist=0)
    t = np.array([[0.0, 1.0], [2.5, 1.0]])
    for f in (b.loss, b.parameters, b.observation, b.log_decrease, b.signal):
        assert f(t).shape == t.shape
        assert f(t)[1, 0] == f(2.5)
    assert b.loss(np.float64(1.0)) == b.loss(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss0": 1}, "sigma_f is missing"),
        ({"loss0": 1, "sigma_f": 1}, "sigma_j is missing"),
        ({"loss0": 1, "kappa": 1, "sigma_f": 1}, "kappa is given with"),
        ({"loss0": 0, "kappa": 1}, "positive"),
        ({"loss0": -1, "kappa": 1}, "positive"),
        ({"loss0": float("nan"), "kappa": 1}, "finite"),
        ({"loss0": True, "kappa": 1}, "number"),
        ({"loss0": 1, "kappa": 0}, "positive"),
        ({"loss0": 1, "kappa": 1, "noise": -1}, "non-negative"),
        ({"loss0": 1, "kappa": 1, "theory": "best"}, "choose corrected"),
    ],
)
def test_bad_constants_are_refused_in_a_line(arguments, message):
    """What was given and what is allowed, in one line."""
    with pytest.raises(InputError, match=message) as error:
        kl.rate("sqrt(s)").bound(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("t", [-1, float("nan"), "soon", True])
def test_bad_times_are_refused(t):
    """Times are finite numbers >= 0."""
    with pytest.raises(InputError):
        kl.rate("sqrt(s)").bound(kappa=1, loss0=1).loss(t)


def test_loss_outside_the_domain_is_refused():
    """L0 must be below r0."""
    with pytest.raises(InputError, match="radius"):
        kl.rate("s*log(1/s)").bound(kappa=1, loss0="0.5")


def test_no_global_state_is_changed():
    """mpmath's precision is what it was."""
    before = mpmath.mp.prec
    kl.rate("sqrt(s)+s").bound(kappa=1, loss0=1).loss(3)
    assert mpmath.mp.prec == before
