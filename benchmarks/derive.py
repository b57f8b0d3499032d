"""How long a derivation takes: kl.rate over every ψ of the test set, and sympy.integrate.

    python benchmarks/derive.py [--quick]

The ψ are those of docs/psi_table.md.  CPU seconds of one first call for each, the worker process
included; then, for some of them, of plain `sympy.integrate(ψ'², s)`, which is stopped at a limit,
with SymPy's cache emptied before.  kl.rate gives Ψ and also Ψ⁻¹, verified, and the regimes.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from measure import Cell, Column, Table, cpu, family_cpu, load, median

# isort: split

import sympy as sp
from sympy.core.cache import clear_cache

import kltheory as kl
from kltheory.errors import KLTheoryError
from kltheory.symbolic.desingularizer import Desingularizer

CASES = Path(__file__).parents[1] / "tests" / "psi_cases.json"


class _Stop(BaseException):
    """The time is up; not an Exception, so that SymPy does not swallow it."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise _Stop after so much CPU time."""

    def stop(*_: object) -> None:
        raise _Stop

    before = signal.signal(signal.SIGPROF, stop)
    # again and again: a first one may fall into a callback that cannot raise
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def cases() -> list[dict[str, Any]]:
    """Every ψ of the test set."""
    return list(json.loads(CASES.read_text(encoding="utf-8")))


def derive(case: dict[str, Any]) -> Any:
    """The law of one ψ, or None if it is refused."""
    values = {name: str(value) for name, value in case["params"].items()}
    try:
        return kl.rate(
            Desingularizer.from_psi(case["psi"], radius=case["radius"], parameters=values)
        )
    except KLTheoryError:
        return None


def name_of(case: dict[str, Any]) -> str:
    """ψ with the values of its parameters."""
    return ", ".join([f"`{case['psi']}`", *(f"{name} = {v}" for name, v in case["params"].items())])


def timed(work: Callable[[], Any], clock: Callable[[], float]) -> tuple[float, Any]:
    """The seconds of a call, and its answer."""
    start = clock()
    answer = work()
    return clock() - start, answer


def integrate(law: Any, limit: float) -> tuple[float, bool]:
    """CPU seconds of sympy.integrate(ψ'², s), at most `limit`, and whether it came to an end."""
    d = law.desingularizer
    clear_cache()
    found = []

    def work() -> None:
        with contextlib.suppress(Exception), at_most(limit):  # what fails is not found
            found.append(sp.integrate(sp.diff(d.value, d.symbol) ** 2, d.symbol))

    try:
        seconds = cpu(work)
    except _Stop:
        return limit, False
    return seconds, bool(found) and not found[0].has(sp.Integral)


def derivations(chosen: Sequence[dict[str, Any]], every: int, limit: float) -> tuple[Table, Table]:
    """Measure kl.rate on each ψ, and plain sympy.integrate on every so many of them."""
    kl.rate("sqrt(s) + s**2")  # starts the worker, which imports SymPy
    laws = []
    seconds = []
    for case in chosen:
        spent, law = timed(lambda case=case: derive(case), family_cpu)
        if law is not None:
            laws.append((case, law, spent))
            seconds.append(spent)
    closed = [law.Psi is not None for _, law, _ in laws]
    inverse = [law.Psi_inverse is not None for _, law, _ in laws]
    worst = max(laws, key=lambda found: found[2])
    first = Table(
        "kl.rate on every ψ of the test set",
        (
            Column("ψ that are valid", "count"),
            Column("refused", "count"),
            Column("median", "s"),
            Column("worst", "s"),
            Column("worst ψ"),
            Column("closed Ψ", "share"),
            Column("closed Ψ⁻¹", "share"),
            Column("load", "load"),
        ),
        (
            (len(laws), len(chosen) - len(laws), median(seconds), worst[2], name_of(worst[0]),
             sum(closed) / len(laws), sum(inverse) / len(laws), load()),
        ),
        ("CPU time of the first call for each ψ, with the worker process that does the symbolic "
         "work: Ψ, Ψ⁻¹, their verification and the regimes. The ψ are listed in "
         "[psi_table.md](psi_table.md).",),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for case, law, spent in laws[::every]:
        plain, found = integrate(law, limit)
        rows.append((case["psi"], spent, law.Psi is not None, plain, found, plain / spent, load()))
    second = Table(
        "kl.rate against plain sympy.integrate(ψ'², s)",
        (
            Column("ψ"),
            Column("kl.rate", "s"),
            Column("closed Ψ"),
            Column("sympy.integrate", "s"),
            Column("closed form"),
            Column("sympy / kl.rate", "times"),
            Column("load", "load"),
        ),
        tuple(rows),
        (f"sympy.integrate is stopped after {limit:g} s; it gives Ψ alone, unverified.",),
    )
    return first, second


def main() -> None:
    """Print both tables."""
    quick = "--quick" in sys.argv[1:]
    for table in derivations(cases(), 12 if quick else 4, 3.0 if quick else 5.0):
        print(table.text())


if __name__ == "__main__":
    main()
