"""The library is pure: the same answers from many threads, and nothing global is changed."""

import decimal
import gc
import locale
import os
import random
import signal
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest
import sympy
import sympy.assumptions
from sympy.core.parameters import global_parameters

import kltheory as kl

A = np.random.default_rng(0).standard_normal((2, 3))
Y = np.array([0.3, -0.2])


def network(seed=0):
    """A small network."""
    return kl.TwoLayerNetwork.draw(n=3, k=30, d=3, seed=seed)


def problem():
    """A small problem."""
    return kl.Problem(A, Y)


def law(text):
    """What `rate` says of ψ."""
    found = kl.rate(text, limit=100)
    return str(found.psi_inverse), str(found.Psi), found.regime.loss


def numbers():
    """Bounds of a law without closed forms, and of the power family."""
    mixed = kl.rate("sqrt(s) + s").bound(kappa=1, loss0=1)
    power = kl.rate("3*s**(1/3)").bound(kappa=0.25, loss0=2, noise=0.1)
    return mixed.loss(2), mixed.parameters(2), power.loss(5), power.stopping_time()


def widths():
    """k of all theorems."""
    found = kl.width(n=60, m=10, sigma_f=1, norm_f=1, y_norm=3, failure=0.05)
    return [(row.theorem, row.theory, row.k) for row in found.rows]


def certificates():
    """Verdict and thresholds."""
    found = kl.certify(problem(), network())
    return found.verdict, [(c.name, c.threshold, c.margin) for c in found.certificates]


def descents():
    """A run of descent."""
    run = kl.descend(problem(), network(), steps=50)
    return run.losses.tolist(), run.status


def flows():
    """A path of the flow."""
    return kl.flow(problem(), network(), times=[0.0, 1.0, 5.0]).loss.tolist()


def checks():
    """Guarantees against a run."""
    found = kl.check(problem(), network(), times=[0.0, 1.0, 2.0])
    return [(c.bound, c.theory, c.verdict) for c in found.checks], found.holds


def reaches():
    """What can be reached."""
    net = network()
    matrix = net.observe(problem()) / np.sqrt(net.k)
    found = kl.reachability(matrix, Y, np.zeros(net.k), np.ones(net.k))
    return found.attainable, found.limit_loss


WORK = {
    "rate": lambda: [law(text) for text in ("sqrt(2*s)", "-1/log(s)", "s**(3/10)", "sqrt(s)+s**2")],
    "bound": numbers,
    "width": widths,
    "certify": certificates,
    "descend": descents,
    "flow": flows,
    "check": checks,
    "reach": reaches,
    "losses": lambda: [row.name for row in kl.losses()],
    "signal": lambda: kl.estimate_from_decay(
        np.arange(1.0, 60.0), np.exp(-0.5 * np.arange(1.0, 60.0))
    ).to_dict(),
}


def global_state():
    """All that a library could leave behind for other code of the same process."""
    return {
        "numpy errors": np.geterr(),
        "numpy print": {k: v for k, v in np.get_printoptions().items() if k != "override_repr"},
        "numpy chance": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python chance": random.getstate(),
        "mpmath": (mpmath.mp.prec, mpmath.mp.pretty, mpmath.iv.prec, mpmath.mp.trap_complex),
        "decimal": str(decimal.getcontext()),
        "sympy parameters": dict(vars(global_parameters)),
        "sympy assumptions": set(sympy.assumptions.assume.global_assumptions),
        "locale": locale.setlocale(locale.LC_ALL),
        "filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "recursion": sys.getrecursionlimit(),
        "digits": sys.get_int_max_str_digits(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGALRM, signal.SIGTERM)],
        "path": list(sys.path),
        "hooks": (sys.excepthook, sys.displayhook, sys.stdout, sys.stderr),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "switch": sys.getswitchinterval(),
    }


@pytest.mark.parametrize("name", sorted(WORK))
def test_nothing_global_is_changed(name):
    """NumPy, SymPy, mpmath, decimal, chance, locale, filters, signals: as they were before."""
    WORK[name]()  # what a library does once, when it is loaded, is its own
    before = global_state()
    WORK[name]()
    after = global_state()
    assert [key for key in before if before[key] != after[key]] == []


def test_loading_changes_nothing_either():
    """The same of importing every module of the package, in a new process."""
    import subprocess

    code = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy, scipy, sympy, mpmath, click, rich  # with what they do themselves
import test_threads as t, importlib, pkgutil, kltheory
t.kl.rate
before = t.global_state()
for module in pkgutil.walk_packages(kltheory.__path__, "kltheory."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in kltheory.__all__:
    getattr(kltheory, name)
after = t.global_state()
print([key for key in before if before[key] != after[key]])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, os.path.dirname(__file__)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", sorted(WORK))
def test_sixteen_threads_get_the_answer_of_one(name):
    """Each function, called 16 times at once, gives what it gives alone."""
    alone = WORK[name]()
    with ThreadPoolExecutor(16) as pool:
        answers = [f.result(timeout=150) for f in [pool.submit(WORK[name]) for _ in range(16)]]
    assert all(answer == alone for answer in answers)


def test_different_work_in_sixteen_threads():
    """All functions at once, in any order, with the thread switched often."""
    alone = {name: WORK[name]() for name in WORK}
    jobs = [name for name in WORK for _ in range(3)]
    random.Random(0).shuffle(jobs)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(16) as pool:
            found = [(name, pool.submit(WORK[name])) for name in jobs]
            wrong = [name for name, f in found if f.result(timeout=150) != alone[name]]
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def test_one_object_read_by_sixteen_threads():
    """A law, a bound, a problem and a network may be shared: what they keep is kept safely."""
    bound = kl.rate("sqrt(s) + s").bound(kappa=1, loss0=1)
    shared, net = problem(), network()
    times = [0.1 * i for i in range(1, 33)]
    fresh = kl.rate("sqrt(s) + s").bound(kappa=1, loss0=1)
    expected = [fresh.loss(t) for t in times]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(bound.loss, times)) == expected
        found = list(pool.map(lambda _: kl.certify(shared, net).to_dict(), range(16)))
    assert all(answer == found[0] for answer in found)
    assert found[0] == kl.certify(problem(), network()).to_dict()


def test_arrays_of_the_caller_are_left_alone():
    """No function writes into what it is given."""
    a, y, x = A.copy(), Y.copy(), np.array([0.1, 0.2, 0.3])
    given = kl.Problem(a, y, signal=x)
    kl.certify(given, network())
    kl.descend(given, network(), steps=20)
    kl.flow(given, network(), times=[0.0, 1.0])
    np.testing.assert_array_equal(a, A)
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(x, [0.1, 0.2, 0.3])
    assert a.flags.writeable
