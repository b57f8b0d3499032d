"""Laws of the rate law's numbers: the answers, their safe side, and the whole range."""

from __future__ import annotations

import json
import math
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import mpmath
import pytest
import sympy as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psi_table import desingularizer

from kltheory.errors import InputError, LimitReached
from kltheory.numeric.curve import Curve, _round_down, _round_up, exact_number
from kltheory.symbolic.evaluate import as_pieces, have_balls
from kltheory.symbolic.parse import parse, parse_number

s = sp.Symbol("s", positive=True)
p = sp.Symbol("p", positive=True)
DIGITS = 60

ENGINES = [False] + ([None] if have_balls() else [])
engines = pytest.mark.parametrize("certified", ENGINES, ids=["quadrature", "balls"][: len(ENGINES)])


def plain(psi: Any, loss0: Any, **options: Any) -> Curve:
    """The curve of a psi given in s."""
    return Curve(s, psi, s, loss0=loss0, **options)


def real(value: Any) -> mpmath.mpf:
    """A number of any kind at the precision of mpmath.mp."""
    if isinstance(value, Fraction | int):
        return mpmath.mpf(value.numerator) / value.denominator
    return mpmath.mpf(value)


def encloses(curve: Curve, kt: Any, q: Any, width: float = 1e-17) -> bool:
    """The enclosure contains q and is narrow: 1e-17 relative, and 1e-14 where V is a float."""
    found = curve.decrease(kt)
    low, high = real(found.lower), real(found.upper)
    narrow = high - low <= width * high or high - low <= 1e-15
    return bool(low <= q <= high and narrow)


def fixture() -> list[dict[str, Any]]:
    """The valid psi with radius and regime, parameters inserted."""
    out = []
    for case in json.loads((Path(__file__).parent / "psi_cases.json").read_text()):
        if case["family"] == "invalid":
            continue
        parsed = parse(
            case["psi"], parameters={k: sp.Rational(str(v)) for k, v in case["params"].items()}
        )
        psi = parsed.expr.subs(parsed.variable, s)
        radius = None if case["radius"] is None else parse_number(str(case["radius"]))
        finite = case["regime"] == "finite-time"
        out.append({"id": case["id"], "psi": psi, "radius": radius, "finite_time": finite})
    return out


def cases() -> Any:
    """One parameter for each valid psi."""
    return pytest.mark.parametrize("case", fixture(), ids=lambda c: c["id"])


def start_of(case: dict[str, Any]) -> str:
    """A loss inside the domain, away from round numbers."""
    return "0.3" if case["radius"] is None or case["radius"] > sp.Rational(1, 3) else "0.03"


def oracle(psi: Any, loss0: Any, q: Any) -> tuple[mpmath.mpf, mpmath.mpf]:
    """(H(q), w(q)) by mpmath.quad over x = log(L0/s), with mpmath's own functions."""
    w = sp.lambdify(s, s * sp.diff(as_pieces(psi), s) ** 2, "mpmath")
    top = real(Fraction(loss0))

    def density(x: Any) -> Any:
        # psi' may cancel like s itself
        with mpmath.workdps(DIGITS + 10 + int(abs(x) / 2)):
            return mpmath.re(w(top * mpmath.exp(-x)))

    panels = max(2, int(q / 4))
    kink = min(q, max(q * 0, mpmath.log(top)))  # s = 1
    knots = sorted({q * k / panels for k in range(panels + 1)} | {kink})
    return mpmath.quad(density, knots), density(q)


# powers: everything is known ------------------------------------------------------------------


def power_decrease(c: Fraction, alpha: Fraction, loss0: Fraction, kt: Fraction) -> mpmath.mpf:
    """q for c s^a: log(1 + (1-2a) kt L0^(1-2a) / (a c)^2) / (1-2a), and 4 kt/c^2 for a = 1/2."""
    if alpha == Fraction(1, 2):
        return 4 * real(kt) / real(c) ** 2
    b = 1 - 2 * alpha
    inner = real(b * kt) / real(alpha * c) ** 2 * real(loss0) ** real(b)
    return mpmath.inf if inner <= -1 else mpmath.log1p(inner) / real(b)


decades = st.integers(min_value=-300, max_value=300)
rationals = st.fractions(min_value=Fraction(1, 20), max_value=3, max_denominator=20)


@engines
@settings(max_examples=12)
@given(c=rationals, alpha=rationals, loss0=decades, kt=decades)
def test_powers_have_their_closed_form(
    certified: bool | None, c: Fraction, alpha: Fraction, loss0: int, kt: int
) -> None:
    """psi = c s^alpha: q is the closed form for losses 1e-300..1e300 and times 1e-300..1e300."""
    psi = sp.Rational(c.numerator, c.denominator) * s ** sp.Rational(
        alpha.numerator, alpha.denominator
    )
    start, time = Fraction(10) ** loss0, Fraction(10) ** kt
    curve = plain(psi, start, certified=certified, finite_time=alpha > Fraction(1, 2))
    with mpmath.workdps(700):
        truth = power_decrease(c, alpha, start, time)
        found = curve.decrease(time)
        if truth == mpmath.inf:
            assert found.lower == mpmath.inf
            assert curve.loss(time) == 0
            return
        low, high = real(found.lower), real(found.upper)
        assert low <= truth <= high
        assert high - low <= high * real("1e-17") or high - low <= real("1e-15")
        loss = start * mpmath.exp(-truth)
        bound = curve.loss(time)
        assert bound >= loss
        assert bound <= max(loss * (1 + real("1e-12")), real(2) ** -1073)
        parameters = real(c) * loss ** real(alpha)
        assert curve.psi(time) >= parameters
        if alpha <= 1:
            assert curve.psi(time) <= max(parameters * (1 + real("1e-12")), real(2) ** -1073)


@engines
def test_near_critical_power_does_not_cancel(certified: bool | None) -> None:
    """psi = s^0.4999999 at times up to 1e30, where Psi(V) - Psi(L0) loses seven digits."""
    curve = plain(s ** sp.Rational("0.4999999"), "1e300", certified=certified)
    with mpmath.workdps(DIGITS):
        for kt in ("1e-300", "1e-3", "1e3", "1e9", "1e30"):
            time = Fraction(kt)
            truth = power_decrease(Fraction(1), Fraction("0.4999999"), Fraction(10) ** 300, time)
            assert encloses(curve, time, truth)


@engines
def test_extinction_time_of_powers(certified: bool | None) -> None:
    """psi = c s^alpha, alpha > 1/2: kappa T = (alpha c)^2 L0^(2 alpha - 1) / (2 alpha - 1)."""
    curve = plain(3 * s ** sp.Rational(2, 3), "1e-3", certified=certified, finite_time=True)
    truth = 4 * 3 * 0.1  # (2/3 * 3)^2 * (1e-3)^(1/3) / (1/3)
    assert truth <= curve.extinction() <= truth * (1 + 1e-14)
    assert curve.loss("1.2000001") == 0
    assert curve.psi("1.2000001") == 0
    assert curve.log_decrease("1.2000001") == math.inf
    assert curve.stopping(0) == curve.extinction() == curve.time_to_loss(0)
    assert 0 < curve.loss("1.1999999") < 1e-20


@engines
def test_extinction_at_the_border_exponent(certified: bool | None) -> None:
    """psi = sqrt(s)/log(1/s): w = (1+2/y)^2/(4y^2), so kappa T = 1/(4y) + 1/(2y^2) + 1/(3y^3)."""
    curve = plain(sp.sqrt(s) / sp.log(1 / s), "0.01", certified=certified, finite_time=True)
    with mpmath.workdps(40):
        y = -mpmath.log(real(Fraction("0.01")))
        truth = 1 / (4 * y) + 1 / (2 * y**2) + 1 / (3 * y**3)
        assert truth <= curve.extinction() <= truth * (1 + real("1e-14"))


@engines
def test_stagnation_is_not_extinction(certified: bool | None) -> None:
    """Without the statement that the time is finite, no time makes the bound on the loss 0."""
    curve = plain(s, 1, certified=certified)  # extinct at 1
    for kt in ("1.5", "1e30"):
        assert curve.loss(kt) > 0
        assert math.isfinite(curve.log_decrease(kt))
    assert curve.extinction() == math.inf
    assert curve.stopping(0) == math.inf


# other closed forms ---------------------------------------------------------------------------


@engines
@pytest.mark.parametrize("kt", ["1e-300", "1e-3", "1", "1e299", "1e301", "1e305", "1e400"])
@pytest.mark.parametrize("loss0", ["1e-300", "1", "1e300"])
def test_square_root_plus_linear(certified: bool | None, kt: str, loss0: str) -> None:
    """psi = sqrt(s) + s: kappa t = [log(s)/4 + 2 sqrt(s) + s] from V to L0, at any scale."""
    curve = plain(sp.sqrt(s) + s, loss0, certified=certified)
    found = curve.decrease(kt)
    with mpmath.workdps(1500):
        top, time = real(Fraction(loss0)), real(Fraction(kt))

        def spent(q: Any) -> Any:
            v = top * mpmath.exp(-q)
            return q / 4 + 2 * (mpmath.sqrt(top) - mpmath.sqrt(v)) + top - v

        low, high = real(found.lower), real(found.upper)
        assert spent(low) <= time <= spent(high)
        assert high - low <= high * real("1e-17")


@engines
@pytest.mark.parametrize("kt", ["1e-300", "1e-3", "1", "60", "1e30"])
def test_parametric_law_of_the_exponential_loss(certified: bool | None, kt: str) -> None:
    """s = e^p - 1 - p, psi = p: p(t) = -log(1 - (1 - e^-p0) e^(-kappa t)), no inverse needed."""
    curve = Curve(sp.exp(p) - 1 - p, p, p, loss0=sp.exp(2) - 3, certified=certified)
    with mpmath.workdps(400):
        time = real(Fraction(kt))
        rest = (1 - mpmath.exp(-2)) * mpmath.exp(-time)
        if time > 1000:
            q = mpmath.log(mpmath.expm1(2) - 2) - 2 * mpmath.log(rest) + mpmath.log(2)
        else:
            angle = -mpmath.log1p(-rest)
            q = mpmath.log((mpmath.expm1(2) - 2) / (mpmath.expm1(angle) - angle))
        assert encloses(curve, kt, q)
    assert 2 <= curve.psi0 <= 2 * (1 + 1e-15)
    assert curve.decrease(kt).certified == (certified is None)


@engines
@pytest.mark.parametrize("loss0", ["1e-30", "0.3", "40"])
@pytest.mark.parametrize("kt", ["1e-300", "1e-3", "1", "1e30"])
def test_parametric_law_of_log_cosh(certified: bool | None, loss0: str, kt: str) -> None:
    """s = log cosh p, psi = p: V = log(1 + e^(-2 kappa t) (e^(2 L0) - 1)) / 2, as p' = -tanh p."""
    curve = Curve(sp.log(sp.cosh(p)), p, p, loss0=loss0, certified=certified)
    with mpmath.workdps(700):
        top, time = real(Fraction(loss0)), real(Fraction(kt))
        v = mpmath.log1p(mpmath.exp(-2 * time) * mpmath.expm1(2 * top)) / 2
        assert encloses(curve, kt, mpmath.log(top / v))


@engines
def test_double_exponential_time(certified: bool | None) -> None:
    """psi = sqrt(s/log(1/s)): H = [log(y)/4 - 1/(2y) - 1/(8y^2)], so q is about exp(4 kt)."""
    curve = plain(sp.sqrt(s / sp.log(1 / s)), "0.1", certified=certified)
    with mpmath.workdps(DIGITS):

        def primitive(y: Any) -> Any:
            return mpmath.log(y) / 4 - 1 / (2 * y) - 1 / (8 * y * y)

        y0 = -mpmath.log(real(Fraction("0.1")))
        for kt in ("1e-3", "1", "20"):
            found = curve.decrease(kt)
            low, high = real(found.lower), real(found.upper)
            time = real(Fraction(kt)) + primitive(y0)
            assert primitive(y0 + low) <= time <= primitive(y0 + high)
            assert high - low <= high * real("1e-17")
    assert curve.log_decrease("1e30") == math.nextafter(math.inf, 0)
    assert curve.loss("1e30") == math.ulp(0.0)


# against quadrature, over all psi ----------------------------------------------------------------


@cases()
def test_every_psi_agrees_with_quadrature(case: dict[str, Any]) -> None:
    """H(q) = kappa t for every psi of the fixture, by mpmath.quad at 60 digits, to 1e-15 in q."""
    curve = plain(
        case["psi"], start_of(case), radius=case["radius"], finite_time=case["finite_time"]
    )
    with mpmath.workdps(DIGITS):
        for kt in ("0.125",):
            found = curve.decrease(kt)
            if found.lower == mpmath.inf:
                assert real(Fraction(kt)) >= oracle(case["psi"], start_of(case), 60)[0]
                continue
            spent, density = oracle(case["psi"], start_of(case), real(found.lower))
            gap = (real(Fraction(kt)) - spent) / density
            assert -real("1e-30") <= gap <= real("1e-15")
            assert real(found.upper) - real(found.lower) <= real("1e-15")


@pytest.mark.skipif(not have_balls(), reason="python-flint is not installed")
@cases()
def test_both_engines_overlap(case: dict[str, Any]) -> None:
    """Balls and quadrature enclose a common value, at losses and times of every size."""
    options = {"radius": case["radius"], "finite_time": case["finite_time"]}
    balls = plain(case["psi"], start_of(case), **options)
    other = plain(case["psi"], start_of(case), certified=False, **options)
    for kt in ("1e-300", "3", "1e30"):
        a, b = balls.decrease(kt), other.decrease(kt)
        assert real(a.lower) <= real(b.upper)
        assert real(b.lower) <= real(a.upper)


@cases()
def test_bounds_are_monotone(case: dict[str, Any]) -> None:
    """loss and psi do not increase and log_decrease does not decrease, asked in any order."""
    curve = plain(
        case["psi"], start_of(case), radius=case["radius"], finite_time=case["finite_time"]
    )
    times = [Fraction(k, 7) for k in (3, 1, 40, 0)] + [Fraction(1, 10**9)]
    rows = sorted((t, curve.loss(t), curve.psi(t), curve.log_decrease(t)) for t in times)
    for before, after in pairwise(rows):
        assert before[1] >= after[1]
        assert before[2] >= after[2]
        assert before[3] <= after[3]
    assert rows[0][1] == float(start_of(case)) or rows[0][1] == math.nextafter(
        float(start_of(case)), 1
    )
    assert rows[0][3] == 0


@cases()
def test_semigroup(case: dict[str, Any]) -> None:
    """Bounding to t1 and from there to t2 is bounding to t1 + t2."""
    loss0 = Fraction(start_of(case))
    middle = Fraction(float(loss0 / 3))
    options = {"radius": case["radius"], "finite_time": case["finite_time"]}
    whole, second = plain(case["psi"], loss0, **options), plain(case["psi"], middle, **options)
    first = whole.time_to_loss(middle)
    after = Fraction(1, 100)
    joined, split = whole.loss(Fraction(first) + after), second.loss(after)
    assert joined == pytest.approx(split, rel=1e-11, abs=1e-300)
    assert joined <= split  # `first` is rounded up


@cases()
def test_stopping_time_solves_its_equation(case: dict[str, Any]) -> None:
    """At the stopping time for eps = psi(L0/2) the loss is L0/2, and the time is rounded up."""
    loss0 = start_of(case)
    curve = plain(case["psi"], loss0, radius=case["radius"], finite_time=case["finite_time"])
    half = Fraction(loss0) / 2
    eps = plain(case["psi"], half, radius=case["radius"]).psi0
    time = curve.stopping(eps)
    assert time > 0
    assert curve.loss(time) == pytest.approx(float(half), rel=1e-12)
    assert time == pytest.approx(curve.time_to_loss(half), rel=1e-11)
    assert curve.stopping(curve.psi0 * 1.001) == 0
    assert curve.stopping(0) == curve.extinction()


# the safe side --------------------------------------------------------------------------------


@given(man=st.integers(min_value=-(2**90), max_value=2**90), exp=st.integers(-1250, 1100))
@example(man=9_486_303_953_026_085, exp=0)  # more digits than its context has
def test_rounding_goes_to_the_stated_side(man: int, exp: int) -> None:
    """The neighbours of an mpf among the floats, with under- and overflow to the right side."""
    exact = Fraction(man) * Fraction(2) ** exp
    value = mpmath.MPContext().make_mpf(mpmath.libmp.from_man_exp(man, exp))
    down, up = _round_down(value), _round_up(value)
    assert down == -math.inf or Fraction(down) <= exact
    assert up == math.inf or Fraction(up) >= exact
    assert math.nextafter(down, math.inf) >= up
    assert down < math.inf
    assert up > -math.inf


def test_rounding_of_special_values() -> None:
    """Infinities keep their place, and zero is zero."""
    ctx = mpmath.MPContext()
    assert _round_down(ctx.inf) == _round_up(ctx.inf) == math.inf
    assert _round_down(ctx.zero) == _round_up(ctx.zero) == 0
    assert _round_up(ctx.mpf(2) ** -5000) == math.ulp(0.0)
    assert _round_down(ctx.mpf(2) ** 5000) == math.nextafter(math.inf, 0)


def test_psi_stays_finite_where_the_loss_underflows() -> None:
    """psi = -1/log s at 1e3000: V underflows, psi(V) = 1/(log(1/L0) + q) does not."""
    curve = plain(-1 / sp.log(s), "0.1")
    assert curve.loss("1e3000") == math.ulp(0.0)
    assert 1e-4 < curve.psi("1e3000") < 1.5e-4
    assert curve.log_decrease("1e3000") > 6800


@engines
def test_start_is_exact(certified: bool | None) -> None:
    """At time 0 nothing is lost: V = L0 rounded up once, q = 0; 0.1 is not a float."""
    curve = plain(sp.sqrt(s), "0.1", certified=certified)
    assert Fraction(curve.loss(0)) >= Fraction(1, 10) > Fraction(math.nextafter(curve.loss(0), 0))
    assert curve.log_decrease(0) == 0
    assert plain(sp.sqrt(s), 0.1).loss(0) == 0.1
    assert plain(sp.sqrt(s), sp.exp(-1)).loss(0) == pytest.approx(math.exp(-1), rel=1e-15)
    assert curve.time_to_loss("0.1") == 0
    assert curve.time_to_loss("0.2") == 0


@engines
def test_method_says_what_is_proved(certified: bool | None) -> None:
    """Only ball arithmetic is called certified."""
    curve = plain(sp.sqrt(s), 1, certified=certified)
    assert curve.decrease(1).certified == (certified is None)
    assert ("not a proof" in curve.method) == (certified is False)


# the surroundings -----------------------------------------------------------------------------


def test_kappa_and_time_enter_as_their_product() -> None:
    """int, Fraction, text, float and SymPy numbers of the same value give the same answer."""
    curve = plain(sp.sqrt(s) + s, 1)
    answers = {
        curve.loss(v) for v in ("0.5", 0.5, Fraction(1, 2), sp.Rational(1, 2), "1/2", "5e-1")
    }
    assert len(answers) == 1
    assert exact_number("1e400") == Fraction(10) ** 400
    assert exact_number(0.1) == Fraction(0.1) != exact_number("0.1")
    assert exact_number(sp.sqrt(2)) == sp.sqrt(2)


@pytest.mark.parametrize(
    "value", ["", "x", "nan", "inf", float("nan"), float("inf"), True, None, s, sp.I, "1/0"]
)
def test_numbers_that_are_none_are_refused(value: Any) -> None:
    """What is not a finite real number raises InputError."""
    with pytest.raises(InputError):
        exact_number(value)


def test_arguments_outside_their_range_are_refused() -> None:
    """L0 outside ]0, radius[, negative times and noise levels raise InputError."""
    for loss0 in (0, -1, "0.4"):
        with pytest.raises(InputError, match="loss0"):
            plain(-1 / sp.log(s), loss0, radius=sp.exp(-1))
    curve = plain(sp.sqrt(s), 1)
    for ask in (curve.loss, curve.psi, curve.log_decrease, curve.stopping, curve.time_to_loss):
        with pytest.raises(InputError):
            ask(-1)


def test_deadline_is_kept() -> None:
    """A call that has no time raises LimitReached and says so; the curve can be used again."""
    curve = plain(s ** sp.Rational(1, 3), 1, deadline=0)
    with pytest.raises(LimitReached, match="more time"):
        curve.loss("1e30")
    curve.deadline = None
    assert 0 < curve.loss("1e30") < 1e-80


def test_threads_share_curves_and_precision() -> None:
    """16 threads on shared and own curves get the answers of one thread; precisions are kept."""
    times = [Fraction(k, 3) for k in range(1, 5)]
    psis = [sp.sqrt(s) + s, s ** sp.Rational(1, 3), sp.log(1 + sp.sqrt(s)), -1 / sp.log(s)]
    expected = {(i, t): plain(f, "0.1").loss(t) for i, f in enumerate(psis) for t in times}
    shared = [plain(f, "0.1") for f in psis]
    before = mpmath.mp.prec
    flint_before = None
    if have_balls():
        import flint

        flint_before = flint.ctx.prec
    wrong: list[Any] = []

    def work(k: int) -> None:
        try:
            for i, f in enumerate(psis):
                curve = shared[i] if k % 2 else plain(f, "0.1", certified=False if k % 4 else None)
                for t in times[:: 1 if k % 3 else -1]:
                    found = curve.loss(t)
                    if not abs(found / expected[i, t] - 1) <= 1e-13:
                        wrong.append((k, i, t, found))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert mpmath.mp.prec == before
    if flint_before is not None:
        import flint

        assert flint.ctx.prec == flint_before


@pytest.mark.slow
@cases()
@pytest.mark.parametrize("loss0", ["1e-300", "1e-3", "1", "1e300"])
def test_range_of_losses_and_times(case: dict[str, Any], loss0: str) -> None:
    """Both engines agree to 1e-14 in q (1e-17 relative) from 1e-300 to 1e300, times to 1e30."""
    radius = desingularizer(case["id"]).radius
    if not bool(sp.Rational(loss0) < radius):
        pytest.skip("outside the domain")
    options = {"radius": case["radius"], "finite_time": case["finite_time"], "deadline": 150}
    balls = plain(case["psi"], loss0, **options)
    other = plain(case["psi"], loss0, certified=False, **options)
    for kt in ("1e-300", "1e-3", "1", "1e3", "1e30"):
        a, b = balls.decrease(kt), other.decrease(kt)
        assert real(a.lower) <= real(b.upper)
        assert real(b.lower) <= real(a.upper)


@pytest.mark.slow
@cases()
@pytest.mark.parametrize("loss0", ["1e-12", "start", "40"])
@pytest.mark.parametrize("kt", ["1e-9", "1", "50"])
def test_wider_range_against_quadrature(case: dict[str, Any], loss0: str, kt: str) -> None:
    """H(q) = kappa t by mpmath.quad also far from the middle, wherever q is below 1000."""
    loss0 = start_of(case) if loss0 == "start" else loss0
    if case["radius"] is not None and not Fraction(loss0) < Fraction(str(float(case["radius"]))):
        pytest.skip("outside the domain")
    curve = plain(case["psi"], loss0, radius=case["radius"], finite_time=case["finite_time"])
    found = curve.decrease(kt)
    if found.lower > 1000:
        pytest.skip("beyond the reach of plain quadrature")
    with mpmath.workdps(DIGITS):
        spent, density = oracle(case["psi"], loss0, real(found.lower))
        gap = (real(Fraction(kt)) - spent) / density
        assert -real("1e-25") <= gap <= real("1e-14")
