"""Write docs/psi_table.md: what kltheory finds for each ψ of tests/psi_cases.json.

    python docs/make_psi_table.py [--check]

Each number is compared with a quadrature by mpmath at 30 digits that shares no code with the
package; `--check` writes nothing and fails if the table in docs/ says something else.
"""

from __future__ import annotations

import json
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import sympy as sp

import kltheory as kl
from kltheory.errors import KLTheoryError
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.parse import to_text

HERE = Path(__file__).parent
CASES = HERE.parent / "tests" / "psi_cases.json"
TABLE = HERE / "psi_table.md"

HEAD = """\
# Every ψ of the test set

Made by `python docs/make_psi_table.py`; do not edit. For each ψ: its domain ]0, r₀[, the closed
forms of Ψ and Ψ⁻¹ that were found and verified (— where there is none: numbers are then computed),
the regimes of the loss and of the parameters, and the largest difference of log(L₀/V) to an
independent quadrature at 30 digits, for L₀ inside the domain and three times.

| | ψ(s) | r₀ | Ψ(s) | Ψ⁻¹(γ) | loss | parameters | difference |
|---|---|---|---|---|---|---|---|
"""


def difference(law: Any, loss0: Fraction) -> mpmath.mpf:
    """The largest difference of log(L0/V) to the quadrature, in relative terms beyond 1."""
    d = law.desingularizer
    with mpmath.workdps(40):
        slope = sp.lambdify(d.symbol, sp.diff(d.value, d.symbol), "mpmath")
        x0 = -mpmath.log(mpmath.mpf(loss0.numerator) / loss0.denominator)
        bound = law.bound(kappa=1, loss0=loss0, limit=60)
        worst = mpmath.mpf(0)
        for q in (mpmath.mpf("0.01"), mpmath.mpf(1), mpmath.mpf(20)):
            knots = {x0, x0 + q, *mpmath.linspace(x0, x0 + q, 17)}
            knots |= {k for k in [mpmath.mpf(0)] if x0 < k < x0 + q}
            kt = mpmath.quad(lambda x: mpmath.exp(-x) * slope(mpmath.exp(-x)) ** 2, sorted(knots))
            v = mpmath.exp(-x0 - q)
            if v * slope(v) ** 2 < kt * mpmath.mpf("1e-30"):
                continue  # so near extinction that 36 digits of the time do not tell
            got = bound.log_decrease(Fraction(mpmath.nstr(kt, 36)))
            worst = max(worst, abs(got - q) / max(q, 1))
        return worst


def row(case: dict[str, Any]) -> str:
    """One line of the table."""
    values = {k: str(v) for k, v in case["params"].items()}
    shown = case["psi"] + (f", {', '.join(f'{k} = {v}' for k, v in values.items())}" * bool(values))
    try:
        d = Desingularizer.from_psi(case["psi"], radius=case["radius"], parameters=values)
    except KLTheoryError as error:
        return f"| {case['id']} | `{shown}` | refused: {error} | | | | | |"
    law = kl.rate(d)
    start = sp.Rational(3, 10) if d.radius is sp.oo else sp.Rational(str(d.radius.evalf(12))) / 3
    gap = difference(law, Fraction(int(start.p), int(start.q)))
    cells = [
        case["id"],
        f"`{shown}`",
        "∞" if d.radius is sp.oo else f"`{to_text(d.radius)}`",
        "—" if law.Psi is None else f"`{to_text(law.Psi)}`",
        "—" if law.Psi_inverse is None else f"`{to_text(law.Psi_inverse)}`",
        law.regime.loss,
        law.regime.parameters,
        f"< 1e{int(mpmath.ceil(mpmath.log10(max(gap, mpmath.mpf('1e-15')))))}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    """Write or compare the table."""
    started = time.monotonic()
    rows = [row(case) for case in json.loads(CASES.read_text())]
    laws = [r.split(" | ") for r in rows if "refused" not in r]
    closed = sum(r[3] != "—" for r in laws), sum(r[4] != "—" for r in laws)
    foot = (
        f"\n{len(laws)} valid ψ: a closed Ψ for {closed[0]}, a closed Ψ⁻¹ for {closed[1]};"
        f" {len(rows) - len(laws)} refused with the reason.\n"
    )
    text = HEAD + "\n".join(rows) + "\n" + foot
    print(f"{len(rows)} ψ in {time.monotonic() - started:.0f} s: {foot.strip()}")
    if "--check" in sys.argv[1:]:
        same = TABLE.read_text(encoding="utf-8") == text
        print("the table is up to date" if same else "docs/psi_table.md says something else")
        return 0 if same else 1
    TABLE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
