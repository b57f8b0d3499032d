"""The table of terms, the inverses, the wire format, and the worker's limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import mpmath
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from psi_table import IDS, desingularizer

import kltheory as kl
from kltheory.errors import InputError
from kltheory.symbolic import worker
from kltheory.symbolic.inverse import inverses, peel, simple_inverses
from kltheory.symbolic.primitive import (
    _units,
    by_binomial,
    by_parts,
    by_terms,
    power_exponential,
    real_form,
)
from kltheory.symbolic.regime import _leading, regime_of
from kltheory.symbolic.wire import decode, encode

X = sp.Symbol("x", positive=True)
U = sp.Symbol("u", positive=True)

rationals = st.fractions(min_value=-4, max_value=4, max_denominator=6).map(
    lambda q: sp.Rational(q.numerator, q.denominator)
)


def value(expr, symbol, at):
    """expr at a number, by mpmath at 40 digits."""
    with mpmath.workdps(40):
        return sp.lambdify(symbol, expr, "mpmath")(mpmath.mpf(at))


@given(k=rationals, b=rationals, c=rationals.filter(bool))
def test_term_of_the_table_is_an_antiderivative(k, b, c):
    """d/dx ∫ c x^k e^{bx} dx = c x^k e^{bx}, for all rational k and b, and it is real."""
    found = power_exponential(c, k, b, X)
    for at in ("0.3", "2.5"):
        a = value(sp.diff(found, X), X, at)
        e = value(c * X**k * sp.exp(b * X), X, at)
        assert abs(a - e) <= 1e-25 * abs(e)
        assert abs(mpmath.im(value(found, X, at))) <= 1e-25


@given(st.lists(st.tuples(rationals, st.integers(0, 3)), min_size=1, max_size=4))
def test_powers_and_logarithms_are_integrated_term_by_term(terms):
    """Σ s^a log(s)^k has an antiderivative in the table."""
    f = sum(X**a * sp.log(X) ** k for a, k in terms)
    found = by_terms(f, X)
    gap = value(sp.diff(found, X) - f, X, "0.37")
    assert abs(gap) <= 1e-25 * (1 + abs(value(f, X, "0.37")))


def test_dilogarithm_by_parts():
    """∫ log(1+x)²/x² dx ends in a dilogarithm."""
    f = sp.log(1 + X) ** 2 / X**2
    found = by_parts(f, X)
    assert found.has(sp.polylog)
    assert abs(value(sp.diff(found, X), X, "0.7") - value(f, X, "0.7")) < 1e-25


@pytest.mark.parametrize(
    "f",
    [
        X ** sp.Rational(1, 3) * (2 + 3 * X**2) ** sp.Rational(1, 4),
        sp.sqrt(5 + X / 2) / sp.sqrt(X),
        (1 + X) * (2 + X**3) ** sp.Rational(-1, 2),
    ],
    ids=str,
)
def test_powers_of_a_binomial_are_integrated(f):
    """∫ Σ c x^m (a + b x^n)^r dx is Gauss' function, for every a > 0 and b."""
    found = by_binomial(f, X)
    for at in ("0.2", "0.7"):
        assert abs(value(sp.diff(found, X) - f, X, at)) <= 1e-25


def test_every_root_is_tried_as_the_variable():
    """The roots in an integrand, of the variable and of others, are all proposed."""
    one, two = 1 + X, 2 + X
    units = _units(sp.sqrt(one) + sp.cbrt(two) + X ** sp.Rational(1, 4), X)
    assert {sp.sqrt(one), one, sp.cbrt(two), two, X ** sp.Rational(1, 4)} <= set(units)


@pytest.mark.parametrize(
    ("psi", "name", "index"),
    [
        (sp.asinh(sp.cbrt(X)), "polynomial", sp.Rational(1, 3)),
        (sp.sinh(X ** sp.Rational(2, 3)), "finite-time", -sp.Rational(1, 3)),
        (sp.asinh(sp.sqrt(X)), "exponential", sp.Rational(1, 4)),
    ],
)
def test_leading_power_gives_the_regime(psi, name, index):
    """Where s ψ'² is c s^-δ (1 + o(1)), δ is the index; for δ = 0 it is c."""
    found = _leading(X, psi, X)
    assert (found.name, found.index) == (name, index)
    regime = regime_of(found.name, found.index, "")
    assert regime.limit == (index if name == "exponential" else None)


def test_logarithm_of_a_negative_argument_becomes_real():
    """log(x - 1) on x < 1 differs from log(1 - x) by a constant only."""
    assert real_form(sp.log(X - 1), X, sp.Rational(1, 2)) == sp.log(1 - X)


@pytest.mark.parametrize(
    "f",
    [
        sp.sqrt(1 + X) - 1,
        X / (1 + X),
        sp.log(1 + sp.sqrt(X)),
        X + sp.sqrt(X),
        sp.exp(2 * X) - sp.exp(X),
        sp.log(X) / 3 - sp.log(X + 1) / 3,
        sp.log(X) + 5 * X,
        -sp.log(1 - sp.exp(-X)) / 4 - sp.exp(-X) / 4,
        (sp.log(X) + 2) ** 3,
        sp.LambertW(X) ** 2,
        sp.atan(sp.sinh(X)),
        sp.expand((X - 1) ** 4),
        sp.expand((X - 2) ** 3) / 5,
        sp.expand(-2 * (X - 3) ** 5) + 1,
        sp.asinh(X) ** 2 + sp.asinh(X),
    ],
    ids=str,
)
def test_inverse_is_among_the_candidates(f):
    """One candidate g has g(f(x)) = x."""
    at = mpmath.mpf("0.41")
    with mpmath.workdps(40):
        y = value(f, X, at)
        errors = []
        for g in inverses(f, X, sp.Symbol("w", real=True)):
            (w,) = g.free_symbols
            try:
                errors.append(abs(sp.lambdify(w, g, "mpmath")(y) - at))
            except ZeroDivisionError:
                continue
        assert min(errors) < 1e-30


def test_peel_needs_the_variable_in_one_place():
    """What occurs twice is not peeled."""
    assert peel(X + sp.sqrt(X), X, U) == []
    assert peel(sp.sqrt(sp.exp(X) - 1), X, U) == [sp.log(U**2 + 1)]
    assert simple_inverses(sp.sin(X) + X, X, U) == []


@pytest.mark.parametrize("case_id", IDS)
def test_expressions_survive_the_wire(case_id):
    """decode(encode(e)) is e for every ψ and its slope."""
    d = desingularizer(case_id)
    for expr in (d.value, d.derivative, d.radius):
        assert decode(encode(expr)) == expr


@pytest.mark.parametrize("bad", [["eval", ["q", "1"]], ["__import__", ["s", "os", ""]], ["system"]])
def test_wire_builds_nothing_outside_its_table(bad):
    """Names that are not in the table are refused."""
    with pytest.raises(InputError):
        decode(bad)


# -- the worker -------------------------------------------------------------------------------


def test_time_limit_holds_and_numbers_still_come():
    """Symbolic work that does not end is cut off, and the numbers come without it."""
    worker._stop_all()  # so that the time of every worker is counted
    started = sum(os.times()[:4])
    law = kl.rate("tanh(sqrt(s))*(1+atan(s)**(1/3))", limit=1)
    worker._stop_all()
    # CPU time of this process and its workers; some seconds are the start of a worker.
    assert sum(os.times()[:4]) - started < 20
    assert law.Psi is None
    bound = law.bound(kappa=1, loss0=1)
    assert 0 < bound.loss(1) < 1


def test_killed_worker_is_not_the_end(monkeypatch):
    """A worker that dies at work leaves a law with numbers, and the next law has a new worker."""
    send = worker._Worker.send

    def send_and_die(self, message):
        send(self, message)
        os.kill(self.process.pid, signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(worker._Worker, "send", send_and_die)
        law = kl.rate("tanh(sqrt(s))", limit=5)
    assert any("stopped" in note for note in law.notes)
    assert law.bound(kappa=1, loss0=1).loss(1) < 1
    assert kl.rate("asinh(s)").Psi is not None


def test_without_processes_the_work_runs_here(monkeypatch):
    """In a browser no process can be started: the same law comes from this one."""
    monkeypatch.setattr(worker, "_can_spawn", lambda: False)
    assert kl.rate("asinh(s)").Psi is not None


def test_workers_do_not_outlive_their_parent():
    """When the parent is killed, its worker ends."""
    code = (
        "import time, kltheory as kl; from kltheory.symbolic import worker;"
        "kl.rate('asinh(s)'); print(worker._idle[0].process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(600):  # a busy machine takes its time
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the worker is still alive")


def test_laws_from_many_threads():
    """Laws derived in several threads are those derived alone."""
    texts = ["asinh(s)", "sqrt(s)+s", "s/(1+s)", "log(1+s)"] * 2
    found: dict[int, object] = {}

    def derive(i: int) -> None:
        found[i] = kl.rate(texts[i]).Psi

    threads = [threading.Thread(target=derive, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[i] == found[i % 4] for i in range(len(texts)))
    assert None not in found.values()
