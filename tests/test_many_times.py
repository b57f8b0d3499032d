"""Bounds at many times at once: enclosures, to the safe side, as sharp as promised, everywhere."""

from __future__ import annotations

import json
import math
import threading
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kltheory as kl
from kltheory.errors import InputError, NotDesingularizing
from kltheory.numeric.certificate_law import Law, Piece, path_left, paths_left
from kltheory.numeric.curve import Curve
from kltheory.numeric.guarantees import FEW, Bound, constants, line_up
from kltheory.numeric.many_times import WIDTH, exp_up
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.losses import losses

CTX = mpmath.MPContext()
CTX.dps = 50

CASES = json.loads((Path(__file__).parent / "psi_cases.json").read_text())
SOME = {"P06", "A17", "L01", "L04", "E04", "W01"}
"""One of each kind: powers, sums, logarithms, exponentials, special functions, pieces."""


def exact(t: float) -> Any:
    return CTX.mpf(t)


def power(alpha: Fraction) -> Any:
    """V for ψ = s^α, L0 = 1, κ = 1: the correct form of Corollary 3.3."""
    a = CTX.mpf(alpha.numerator) / alpha.denominator

    def v(t: Any) -> Any:
        if alpha == Fraction(1, 2):
            return CTX.exp(-4 * t)
        inside = 1 + (1 - 2 * a) / a**2 * t
        return inside ** (-1 / (1 - 2 * a)) if inside > 0 else CTX.zero

    return v


# ψ, its V for L0 = 1 and κ = 1 by the rule for the primitive, and ψ itself
CLOSED: dict[str, tuple[Any, Any]] = {
    "s**(1/2)": (power(Fraction(1, 2)), CTX.sqrt),
    "s**(1/5)": (power(Fraction(1, 5)), lambda v: CTX.root(v, 5)),
    "s**(49/100)": (power(Fraction(49, 100)), lambda v: v ** (CTX.mpf(49) / 100)),
    "s**(4/5)": (power(Fraction(4, 5)), lambda v: v ** (CTX.mpf(4) / 5)),
    # ψ'² = 1/(1+s)², Ψ = 1/(1+s)
    "log(1+s)": (lambda t: max(CTX.zero, 1 / (CTX.mpf(1) / 2 + t) - 1), CTX.log1p),
    # ψ'² = 1/(s(s+2)), Ψ = log(1 + 2/s)/2
    "acosh(1+s)": (
        lambda t: 2 / CTX.expm1(2 * t + CTX.log(3)),
        lambda v: 2 * CTX.asinh(CTX.sqrt(v / 2)),
    ),
    # ψ'² = 1/(1+s²), Ψ = -atan
    "asinh(s)": (lambda t: CTX.tan(max(CTX.zero, CTX.pi / 4 - t)), CTX.asinh),
}


def adversarial(size: int, extinction: float | None) -> np.ndarray:
    """Random times of all sizes, the ends of the floats, dyadic ones, and those at extinction."""
    rng = np.random.default_rng(size)
    parts = [
        [0.0, 5e-324, 1e-300, 1e-200, 2.0**-53, 0.25, 0.5, 1.0, 2.0, 1e200, 1e300],
        rng.uniform(0, 3, 10 * size),
        rng.exponential(1e-6, size),
        np.exp(rng.uniform(-30, 60, size // 2)),
        np.arange(64) / 64,
    ]
    if extinction is not None:
        near = extinction * (1 - np.exp(rng.uniform(-21, 0, size)))
        ends = extinction * np.array([1 - 2e-16, 1, 1 + 2e-16])
        parts += [near, ends]
    times = np.concatenate([np.asarray(p, float) for p in parts])
    return np.unique(times[times >= 0])


def allowed(v: Any, v0: Any = 1) -> Any:
    """The factor by which a bound may be above v."""
    fall = CTX.log(v0 / v) if v else CTX.inf
    return 1 + 1.01 * WIDTH * max(1, fall / 128)


@pytest.mark.parametrize("psi", CLOSED)
@pytest.mark.parametrize(
    ("certified", "size"),
    [
        (None, 40),
        pytest.param(False, 40, marks=pytest.mark.slow),
        pytest.param(None, 800, marks=pytest.mark.slow),
    ],
)
def test_bounds_enclose_the_closed_form(psi: str, certified: bool | None, size: int) -> None:
    """Where the law has a closed form, V <= bound <= V (1 + 1e-12), at fifty digits, for loss,
    log_decrease and ψ, with balls and with quadrature, from 5e-324 to 1e300 and at extinction."""
    value, psi_of = CLOSED[psi]
    finite = psi in ("s**(4/5)", "log(1+s)", "asinh(s)")
    bound = plain(psi, 1, finite, certified=certified)
    times = adversarial(size, bound.extinction_time())
    if certified is False:
        times = np.unique(np.r_[times[(times > 0.3) & (times < 1.5)], 0.7])
    loss, decrease = bound.loss(times), bound.log_decrease(times)
    error = bound.observation(times)
    for t, above, below, p in zip(times, loss, decrease, error, strict=True):
        with CTX.workdps(50 if t > 1e-30 else 380):  # log V cancels at tiny times
            v = value(exact(t))
            if not v:
                continue  # extinct: nothing is too large
            fall, slack = -CTX.log(v), CTX.mpf(10) ** -40
            assert v * (1 - slack) <= above
            assert above <= v * allowed(v) or above <= 2e-308
            assert below <= fall * (1 + slack)
            assert below >= fall * (1 - 1.01 * WIDTH) - 1e-323
            assert psi_of(v) * (1 - slack) <= p
            assert p <= psi_of(v) * allowed(v) or p <= 2e-308


def test_extinct_only_after_extinction() -> None:
    """0 is given only from the true time of extinction on: ψ = s has V = (L0 - κt)₊."""
    bound = plain("s", Fraction(1, 7), True, "1/3")
    end = Fraction(3, 7)
    near = float(end) * (1 + np.arange(-8, 8) * 2.0**-53)
    times = np.unique(np.r_[np.linspace(0, 0.4285, 400), near])
    for t, loss in zip(times.tolist(), bound.loss(times).tolist(), strict=True):
        left = (end - Fraction(t)) / 3
        assert Fraction(loss) >= left
        if left > 0:
            assert Fraction(loss) <= left * (1 + Fraction(1, 10**11))
    assert bound.loss(times)[-1] == 0


def plain(psi: str, loss0: Any, finite: bool | None, kappa: Any = 1, **options: Any) -> Bound:
    """The bound without the search for closed forms, which it does not use."""
    parameters = options.pop("parameters", {})
    d = Desingularizer.from_psi(psi, radius=options.pop("radius", None), parameters=parameters)
    radius = None if d.radius.is_infinite else d.radius
    curve = Curve(
        d.loss, d.value, d.symbol, loss0=loss0, radius=radius, finite_time=finite, **options
    )
    return Bound(curve, constants(kappa=kappa, loss0=loss0), None)


def _agrees(bound: Any, times: np.ndarray, at: Any) -> None:
    """Many at once are not below the certified side of one alone, and as near as promised."""
    for many, side in ((bound.loss, 1), (bound.observation, 1), (bound.log_decrease, -1)):
        found = many(times)
        assert np.all(side * np.diff(found[np.isfinite(found)]) <= 0)
        for i in at:
            one = many(float(times[i]))
            if not (0 < one < math.inf):
                assert found[i] == one or (side > 0 and found[i] <= 5e-324)
                continue
            # one alone is rounded out by an ulp or so, and may be a little above the best
            assert side * (found[i] / one - 1) >= -1e-15
            fall = max(1.0, bound.log_decrease(float(times[i])) / 128 if side > 0 else 1.0)
            assert side * (found[i] / one - 1) <= 1.1 * WIDTH * fall or one < 2e-308


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=() if c["id"] in SOME else pytest.mark.slow, id=c["id"]) for c in CASES],
)
def test_many_agree_with_one(case: dict[str, Any]) -> None:
    """For every ψ of the table, many times at once give what each gives alone, up to 1e-12, and
    panels settle nearly all of them."""
    parameters = {k: str(v) for k, v in case["params"].items()}
    try:
        d = Desingularizer.from_psi(case["psi"], radius=case["radius"], parameters=parameters)
    except NotDesingularizing:
        return
    start = Fraction(3, 10) if d.radius.is_infinite else Fraction(float(d.radius)) / 3
    finite = case["regime"] == "finite-time"
    bound = plain(case["psi"], start, finite, "1/3", radius=case["radius"], parameters=parameters)
    end = bound.extinction_time() or bound.time_to_loss(start / 10**6)
    times = np.linspace(0, 1.5 * end, 3001)
    alone = 0
    loss = bound.curve.loss

    def counted(kt: Any) -> float:
        nonlocal alone
        alone += 1
        return float(loss(kt))

    bound.curve.loss = counted  # type: ignore[method-assign]
    bound.loss(times)
    assert alone < 150
    del bound.curve.loss
    _agrees(bound, times, (1, 700, 1500, 2500))


VALUES = {
    "m": "4", "lambda_min": "1/3", "alpha": "2/5", "c": "1", "mu": "1/2", "p": "3", "q_min": "1/5",
    "v_max": "2",
}  # fmt: skip
QUICK = {"mse", "power", "huber", "cauchy"}


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(q, marks=() if q.name in QUICK else pytest.mark.slow, id=q.name)
        for q in losses()
        if q.name != "radial" and q.refusal is None
    ],
)
def test_many_agree_with_one_for_losses(entry: Any) -> None:
    """For every loss of the registry, many times at once give what each gives alone."""
    needed = {q.name: VALUES[q.name] for q in entry.parameters if q.name in VALUES}
    d = kl.loss(entry.name, **needed)
    start = Fraction(1, 10) if d.radius.is_infinite else Fraction(float(d.radius)) / 3
    radius = None if d.radius.is_infinite else d.radius
    curve = Curve(d.loss, d.value, d.symbol, loss0=start, radius=radius)
    bound = Bound(curve, constants(kappa="1/3", loss0=start), None)
    times = np.linspace(0, bound.time_to_loss(start / 10**4), 1001)
    _agrees(bound, times, (1, 300, 700, 999))


def test_implicit_curve() -> None:
    """A ψ that is known as a curve s = S(x), psi = P(x) is as any other."""
    from kltheory.symbolic.losses import from_radial

    psi = from_radial("x**2/2 + x**4 + x**6")
    curve = Curve(psi.loss, psi.value, psi.symbol, loss0="0.3", finite_time=False)
    bound = Bound(curve, constants(kappa=1, loss0="0.3"), None)
    _agrees(bound, np.linspace(0, 20, 801), (1, 400, 799))


@settings(max_examples=12, deadline=None)
@given(
    st.floats(0.05, 1.0),
    st.floats(1e-6, 1e6),
    st.floats(-250, 250),
    st.integers(0, 2**32),
)
def test_power_law_of_any_size(alpha: float, loss0: float, log10: float, seed: int) -> None:
    """For any α, L0 and κ from 1e-250 to 1e250, V <= bound at random times."""
    exponent = Fraction(alpha).limit_denominator(1000)
    if abs(exponent - Fraction(1, 2)) < Fraction(1, 1000):
        exponent = Fraction(1, 2)
    kappa = Fraction(10.0**log10)
    bound = plain(f"s**({exponent})", Fraction(loss0), 2 * exponent > 1, kappa)
    a, v0 = CTX.mpf(exponent.numerator) / exponent.denominator, exact(loss0)
    scale = float(v0 ** (2 * a - 1) * a**2 / (CTX.mpf(kappa.numerator) / kappa.denominator))
    if not 1e-290 < scale < 1e290:
        return
    times = np.sort(np.random.default_rng(seed).exponential(scale, 200))
    found = bound.loss(times)
    for t, above in zip(times[::9], found[::9], strict=True):
        kt = exact(t) * kappa.numerator / kappa.denominator
        if exponent == Fraction(1, 2):
            v = v0 * CTX.exp(-4 * kt)
        else:
            inside = v0 ** (2 * a - 1) + (1 - 2 * a) / a**2 * kt
            v = inside ** (-1 / (1 - 2 * a)) if inside > 0 else CTX.zero
        assert v * (1 - CTX.mpf(10) ** -40) <= above
        assert not v or above <= v * allowed(v, v0) or above <= 2e-308


def test_exp_is_above_and_near() -> None:
    """exp_up >= m 2^e exp(-y), by at most 1e-14, also where its reduction switches and underflows,
    and is never 0."""
    rng = np.random.default_rng(0)
    switches = (np.arange(1500) + 0.5) * math.log(2)
    y = np.concatenate(
        [rng.uniform(0, 760, 6000), np.exp(rng.uniform(-700, 8, 1500)), switches, [0.0, 1e300]]
    )
    y = np.concatenate([y, np.nextafter(switches, 0), np.nextafter(switches, 1e9)])
    for mantissa, exponent in ((0.5, 1), (0.75, -1000), (1.0, 1500), (0.6, -5000)):
        with np.errstate(all="raise", under="ignore", over="ignore"):
            found = exp_up(y, mantissa, exponent)
        assert np.all(found > 0)
        for x, above in zip(y[::9].tolist(), found[::9].tolist(), strict=True):
            truth = CTX.ldexp(CTX.mpf(mantissa), exponent) * CTX.exp(-CTX.mpf(x))
            assert above >= truth
            assert above <= truth * (1 + 1e-14) or above < 3e-308 or math.isinf(above)


def test_few_times_are_computed_alone() -> None:
    """Below 24 different times, an array holds the very bits of single times; shape, order and
    equal entries are kept for any number."""
    bound = plain("sqrt(s) + s", 1, False)
    few = np.array([[3.0, 0.1, 3.0], [0.0, 7.5, 1.0]])
    for f in (bound.loss, bound.log_decrease, bound.parameters, bound.observation):
        assert f(few).tolist() == [[f(t) for t in row] for row in few.tolist()]
    many = np.tile(np.linspace(5, 0, FEW + 1), (2, 1))
    found = bound.loss(many)
    assert found.shape == many.shape
    assert np.array_equal(found[0], found[1])
    assert np.all(np.diff(found[0]) > 0)


def test_bad_times_are_refused() -> None:
    """A negative time, NaN or infinity among many is refused, as it is alone."""
    bound = plain("sqrt(2*s)", 1, False)
    for bad in (-1e-300, math.nan, math.inf):
        with pytest.raises(InputError):
            bound.loss(np.append(np.linspace(0, 1, 100), bad))


def test_other_bounds_follow() -> None:
    """The bounds on parameters and signal, of the corrected and the sharp theory, are those of
    single times, up to 1e-12, and never below."""
    given_ = {"sigma_f": "0.7", "sigma_j": "1.3", "loss0": "0.04", "noise": "0.01"}
    signal = {"mu": "0.3", "lip_f": "2", "dist": "0.001"}
    psi = Desingularizer.from_psi("sqrt(2*s) + s")
    sharp = kl.sharp_bound(psi, **given_, **signal, deviation="0.2")
    curve = plain("sqrt(2*s) + s", Fraction(1, 25), False).curve
    for bound in (Bound(curve, constants(**given_, **signal), None), sharp):
        times = np.linspace(0, 400, 2000)
        for f in (bound.parameters, bound.signal, bound.loss):
            found = f(times)
            for i in (0, 1, 77, 400, 1999):
                one = f(float(times[i]))
                assert one * (1 - 1e-15) <= found[i] <= one * (1 + 1e-11)


@pytest.mark.parametrize("stairs", [1, 2, 20])
def test_laws_of_certificates_follow(stairs: int) -> None:
    """A law with one or many pieces gives at many times what it gives at each, up to 1e-11; less
    only where pieces meet, by the 1e-12 with which they are joined: an earlier bound holds there.
    """
    less = 1e-15 if stairs == 1 else 4e-12
    share = Fraction(2, stairs)
    pieces = [Piece(1 + share * k, Fraction(1, 10), share * k) for k in range(stairs - 1, -1, -1)]
    law = Law(Desingularizer.from_psi("sqrt(2*s)"), 2.0, pieces, Fraction(3, 4))
    ends = [float(w / law.c) for w in law._when] if stairs > 1 else []
    times = np.unique(np.r_[np.linspace(0, 15, 3000), ends, np.nextafter(ends, 0), 1e-200])
    for f in (law.loss, law.psi, law.parameters):
        found = f(times)
        for i in {0, 1, 2, *np.searchsorted(times, ends)[::5], 1000, 2900}:
            one = f(float(times[i]))
            assert one * (1 - less) <= found[i] <= one * (1 + 1e-11)


@given(st.integers(1, 12), st.integers(0, 2**32))
def test_paths_are_rounded_up(count: int, seed: int) -> None:
    """paths_left is at least path_left, and near it, for any pieces and also where they meet."""
    rng = np.random.default_rng(seed)
    ends = np.r_[0.0, np.sort(rng.uniform(0, 3, count - 1))]
    pieces = []
    for end in ends[::-1]:
        slope = Fraction(rng.uniform(-0.1, 1))
        pieces.append(Piece(Fraction(rng.uniform(0.5, 2)), slope, Fraction(end) / 3))
    values = np.unique(np.r_[0.0, ends / 3, np.nextafter(ends / 3, 9), rng.uniform(0, 2, 5)])
    for p, above in zip(values.tolist(), paths_left(pieces, values).tolist(), strict=True):
        one = path_left(pieces, Fraction(p))
        assert one * (1 - 2.0**-52) <= above <= one * (1 + 1e-13) + 1e-300


@settings(max_examples=60, deadline=None)
@given(
    st.fractions(0, 10**6),
    st.lists(st.floats(0, 1e200), min_size=1, max_size=8),
    st.fractions(0, 10**6),
)
def test_line_is_rounded_up(factor: Fraction, values: list[float], plus: Fraction) -> None:
    """line_up is at least factor x + plus, and within a few ulp of it."""
    for x, above in zip(values, line_up(np.array(values), factor, plus).tolist(), strict=True):
        truth = factor * Fraction(x) + plus
        assert math.isinf(above) or truth <= Fraction(above)
        assert Fraction(above) <= truth * (1 + Fraction(1, 2**49)) + Fraction(1, 10**300)


def test_a_million_times_cost_a_few_panels() -> None:
    """A million (or 10^5) distinct times take fewer than 64 computations of single times, fewer
    than 200 panels and less than 200 MB, in every regime."""
    for psi, loss0 in (("sqrt(2*s)", "1"), ("s**0.3", "1"), ("s", "60"), ("-1/log(s)", "0.1")):
        bound = plain(psi, Fraction(loss0), psi == "s")
        alone, one = 0, bound.curve.loss

        def counted(kt: Any, one: Any = one) -> float:
            nonlocal alone
            alone += 1
            return float(one(kt))

        bound.curve.loss = counted  # type: ignore[method-assign]
        times = np.linspace(0, 50, 10**6 if psi == "-1/log(s)" else 10**5)
        tracemalloc.start()
        found = bound.loss(times)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.all(np.diff(found) <= 0)
        assert alone < 64
        assert len(bound.curve._panels) < 200
        assert peak < 200e6


def test_threads_share_a_curve() -> None:
    """Threads that ask one curve at the same time get what one alone gets."""
    times = np.linspace(0, 30, 5000)
    expected = plain("log(1+sqrt(s))", Fraction(3, 10), False).loss(times)
    shared = plain("log(1+sqrt(s))", Fraction(3, 10), False)
    found: list[np.ndarray] = []
    workers = [threading.Thread(target=lambda: found.append(shared.loss(times))) for _ in range(6)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert len(found) == 6
    assert all(np.array_equal(f, expected) for f in found)
