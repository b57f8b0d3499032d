"""The ψ that every law is tested on: tests/psi_cases.json, with the laws derived once a session."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import kltheory as kl

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "psi_cases.json").read_text())
VALID = [case for case in CASES if case["regime"] != "invalid"]
INVALID = [case for case in CASES if case["regime"] == "invalid"]
BY_ID = {case["id"]: case for case in CASES}
IDS = [case["id"] for case in VALID]
# No closed Ψ is found for these, however long it is looked for.
OPEN = {"H06", "H07", "E05", "E06", "S10"}


def desingularizer(case_id: str) -> Any:
    """The checked ψ of a case."""
    from kltheory.symbolic.desingularizer import Desingularizer

    case = BY_ID[case_id]
    values = {name: str(value) for name, value in case["params"].items()}
    return Desingularizer.from_psi(case["psi"], radius=case["radius"], parameters=values)


@cache
def law(case_id: str) -> Any:
    """The rate law of a case; where Ψ is found, that takes seconds, of a busy machine a minute."""
    return kl.rate(desingularizer(case_id), limit=8 if case_id in OPEN else 60)


def start(case_id: str) -> Any:
    """A loss well inside the domain of a case."""
    import sympy as sp

    radius = desingularizer(case_id).radius
    return sp.Rational(3, 10) if radius is sp.oo else sp.Rational(str(radius.evalf(12))) / 3
