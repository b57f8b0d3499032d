"""The audit: every finding is confirmed by a witness that could have refused it."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest

import kltheory as kl
from kltheory import cli, report
from kltheory.errors import InputError, LimitReached
from kltheory.paper import audit as library
from kltheory.paper import findings_2, findings_3, findings_4
from kltheory.paper.finding import KINDS, Outcome, at_most, every, implies, same

SCHEMAS = Path(kl.__file__).parent / "schemas"
ENTRIES = library.entries()
CLAIMS = {
    f"{entry.id}{'abcdefghij'[i] if len(entry.claims) > 1 else ''}": claim
    for entry in ENTRIES.values()
    for i, claim in enumerate(entry.claims)
}


@pytest.fixture(scope="module")
def found():
    """The whole audit, run once."""
    return kl.audit()


# -- all findings ------------------------------------------------------------------------------


@pytest.mark.parametrize("id", library.IDS)
def test_every_finding_is_confirmed(found, id):
    """On every witness the printed formula fails and the derived one holds."""
    for claim in found[id].claims:
        assert claim.printed.holds is False, claim.id
        assert claim.derived.holds is True, claim.id
        assert claim.printed.numbers
        assert claim.claim.kind in KINDS
    assert found[id].confirmed


def test_the_findings_are_there_in_order():
    """E1 to E31, each with its claims; nothing is left out."""
    assert tuple(ENTRIES) == tuple(f"E{i}" for i in range(1, 32))
    assert all(entry.claims for entry in ENTRIES.values())


def test_the_audit_is_repeatable():
    """Chance is seeded: two runs give the same evidence."""
    for id in ("E1", "E26"):
        assert kl.audit(id)[id].to_dict() == kl.audit(id)[id].to_dict()


# -- findings can fail -------------------------------------------------------------------------


@pytest.mark.parametrize("id", CLAIMS)
def test_a_correct_text_would_not_be_accused(id):
    """With the derived formula in the place of the printed one nothing is confirmed."""
    claim = CLAIMS[id]
    outcome = claim.witness(claim.derived_form)
    assert not library.Checked(id, claim, outcome, outcome).confirmed


@pytest.mark.parametrize("id", CLAIMS)
def test_a_wrong_correction_is_refused(id):
    """With the printed formula in the place of the derived one nothing is confirmed."""
    claim = CLAIMS[id]
    outcome = claim.witness(claim.printed_form)
    assert not library.Checked(id, claim, outcome, outcome).confirmed


def nothing(*_):
    """A bound that is not a number."""
    return math.nan


WRONG = {
    "E1a": [lambda J: float(np.linalg.norm(J, 2))],
    "E1b": [lambda J: 3 * float(np.linalg.svd(J, compute_uv=False)[-1]) ** 0.25],
    "E2": [lambda x: x < 1, lambda x: False],
    "E3": [lambda A, cone: 2.0, nothing],
    "E4": [lambda a: 0 < a <= 1, lambda a: 0 <= a <= 0.5, lambda a: a > 2],
    "E5a": [lambda s, p: 0.99 * findings_2.power_slope_derived(s, p), nothing],
    "E5b": [lambda s, p: 0.99 * findings_2.primitive_of_inverse_conjugate(s, p)],
    "E5c": [lambda parts: False],
    "E5d": [lambda p: p > 1.4, lambda p: False],
    "E6": [lambda: (0.0, 2.0), lambda: (-1e-9, 2.0)],
    "E7a": [lambda least, end: True, lambda least, end: math.isinf(end)],
    "E8a": [lambda A: 0.5 * float(np.linalg.norm(A, 2)), nothing],
    "E8d": [lambda drift: 10 * drift, nothing],
    "E8e": [lambda start, later: start + later],
    "E9": [lambda g, half: 2.0, lambda g, half: None],
    "E10": [{"a": ("b",), "b": ("a",)}],
    "E11a": [
        lambda *a: findings_3.parameters_derived(*a) / 3,
        lambda alpha, c, loss0, kt, sigma: findings_3.loss_derived(alpha, c, loss0, kt, 0),
        nothing,
    ],
    "E11b": [
        lambda alpha, c, loss0, kt, gauge: 0.9 * loss0,
        lambda alpha, c, loss0, kt, gauge: loss0 * math.exp(-gauge),
        nothing,
    ],
    "E11c": [
        lambda *a: 1.01 * findings_3.loss_derived(*a),
        lambda alpha, c, loss0, kt, gauge: findings_3.loss_derived(alpha, c, loss0, 2 * kt, gauge),
    ],
    "E12a": [lambda noise, start, sigma: math.log(start / noise) / sigma**2 / 2, lambda *a: 0.0],
    "E12b": [lambda gauge: 1842 + gauge],
    "E13b": [lambda a, b, c, d, mu: (a + b + c) / mu],
    "E14": [lambda x, projection: (-3 * x, 1.9 * x), lambda x, projection: (0.0, 0.5)],
    "E15": [lambda mu, conic: mu <= conic],
    "E16": [
        lambda e, mu, lip: 0.5 * e / mu,
        lambda e, mu, lip: e**0.9,
        lambda e, mu, lip: e**2,
    ],
    "E28a": [
        lambda p, sigma, lip, start: 2 * p / math.exp(0.5),  # without localisation
        lambda p, sigma, lip, start: np.full(p.shape, math.inf),  # no bound at all
    ],
    "E28b": [lambda x, signal, projection: 0.0],
    "E31": [lambda m, n: m >= n - 1, lambda m, n: False],
    "E18a": [lambda D: D > 0.25],
    "E18b": [lambda at_zero, B: at_zero, lambda at_zero, B: B / 2],
    "E19a": [lambda minimum, gradient: True],
    "E19b": [lambda n, d: 1 - 1 / d],
    "E19c": [lambda n, d: 1 - 1 / (2 * d)],
    "E20": [lambda modulus, s: 0.9 * findings_4.phi_derived(modulus, s), nothing],
    "E21a": [lambda n, m: float(n * n * m * m), lambda n, m: float(n * (n + m))],
    "E21b": [lambda loss0, alpha: 0.9 * findings_4.size_derived(loss0, alpha)],
    "E22a": [lambda n, m: float(n * m), lambda n, m: float((n + m) ** 3)],
    "E23": [lambda d: math.log(d)],
    "E24a": [lambda whole, part: 1.01 * part],
    "E24b": [lambda phi: phi**3, lambda phi: abs(phi)],
    "E24c": [lambda mean, log, tau: mean],
    "E24d": [lambda k, n: True, lambda k, n: False],
    "E24e": [lambda delta: 1 - delta**2],
    "E24f": [lambda n: 3 * n * math.log(n), lambda n: n],
    "E25": [
        lambda network, rho: findings_4.lipschitz_derived(network, rho) / 2,
        lambda network, rho: findings_4.lipschitz_derived(network, rho) * (1 + rho),
    ],
    "E26": [lambda k, C, first: C**2 + k**2 * first**2, lambda k, C, first: k * C**2],
    "E27a": [lambda C, B, D, ratio: C / (3 * B * D) * ratio],
    "E29a": [lambda m, beta: (math.sqrt(m / 3) * beta, math.sqrt(m) * beta)],
    "E29b": [lambda n: 1.0],
    "E29c": [lambda N, x: False],
    "E29d": [lambda n, larger: larger / n],
}
"""For claims by id: formulas that are not the derived one, close to it where that can be."""


@pytest.mark.parametrize(("id", "i"), [(id, i) for id in WRONG for i in range(len(WRONG[id]))])
def test_the_witness_refuses_other_formulas(id, i):
    """A formula that is neither is not taken for the derived one: the witness can tell."""
    assert CLAIMS[id].witness(WRONG[id][i]).holds is not True


@pytest.mark.parametrize("id", [id for id in CLAIMS if nothing in WRONG.get(id, [])])
def test_what_is_not_a_number_accuses_nobody(id):
    """A printed formula that gives NaN would not be called false for that."""
    claim = CLAIMS[id]
    if id != "E3":  # there 0/0 is the finding
        assert not library.Checked(id, claim, *claim.check(printed=nothing)).confirmed


def test_most_claims_have_been_attacked():
    """At least three quarters of the claims have wrong formulas of their own above."""
    assert len(WRONG) >= 0.75 * len(CLAIMS)


@pytest.mark.parametrize(
    ("reason", "end", "error"),
    [("interrupted at t = 1", 1.0, KeyboardInterrupt), ("out of budget", 1.0, LimitReached)],
)
def test_half_a_flow_is_no_evidence(monkeypatch, reason, end, error):
    """A flow that was interrupted, or ended early, stops the audit instead of misleading it."""
    cut = SimpleNamespace(reason=reason, t=np.array([0.0, end]))
    monkeypatch.setattr("kltheory.paper.follow.flow", lambda *_, **__: cut)
    with pytest.raises(error):
        kl.audit("E10")


def test_comparisons_can_be_undecided():
    """NaN and differences of the size of rounding decide nothing."""
    assert at_most(math.nan, 1) is None
    assert at_most(1 + 1e-8, 1) is None
    assert at_most(1 + 1e-5, 1) is False
    assert at_most(1, math.inf) is True
    assert at_most(math.inf, 1) is False
    assert same(1, 1 + 1e-7) is None
    assert same(math.inf, 1) is False
    assert every([True, None, False]) is False
    assert every([True, None]) is None
    assert implies([("x", False, False)]).holds is None
    assert implies([("x", True, True), ("y", False, False)]).holds is True
    assert implies([("x", True, True), ("y", True, False)]).holds is False


# -- printed means printed ---------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.25, 0.4, 0.5])
def test_corollary_3_3_is_what_the_package_prints(alpha):
    """The audit's Corollary 3.3 agrees with `--theory printed` in its own gauge."""
    law = kl.rate("2*s**a", a=str(alpha))
    bound = law.bound(sigma_f=1, sigma_j=2, loss0="0.25", theory="printed")
    for t in (0.0, 1.0, 10.0):
        ours = findings_3.loss_printed(alpha, 2.0, 0.25, t, 0.0)
        assert bound.loss(t) == pytest.approx(ours, rel=1e-12)
        ours = findings_3.parameters_printed(alpha, 2.0, 0.25, t, 2.0)
        assert bound.parameters(t) == pytest.approx(ours, rel=1e-12)
        corrected = law.bound(sigma_f=1, sigma_j=2, loss0="0.25")
        ours = findings_3.parameters_derived(alpha, 2.0, 0.25, t, 2.0)
        assert corrected.parameters(t) == pytest.approx(ours, rel=1e-12)


@pytest.mark.parametrize("p", [2, 4])
def test_uniform_convexity_is_what_the_package_derives(p):
    """ψ of E5 is the ψ of `from_uniform_convexity`."""
    psi = kl.from_uniform_convexity(f"x**{p}/{p}")
    s = 0.3
    slope = float(psi.value.diff(psi.symbol).subs(psi.symbol, s))
    assert slope == pytest.approx(findings_2.power_slope_derived(s, p), rel=1e-12)


# -- how it shows itself -----------------------------------------------------------------------


def test_the_answer_follows_its_schema(found):
    """JSON is plain data of the published schema, with the keys that were promised."""
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    schema = json.loads((SCHEMAS / "audit.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(data)
    promised = {"id", "place", "kind", "printed", "derived", "why", "evidence", "confirmed"}
    assert all(promised <= finding.keys() for finding in data["findings"])
    assert data["warnings"] == []


def test_an_unconfirmed_finding_is_said_and_is_exit_code_1(monkeypatch, capsys):
    """A finding that its witness refuses is named, and the command ends with 1."""
    entry = ENTRIES["E13"]
    silent = [Outcome(None, {}), Outcome(True, {})]
    monkeypatch.setattr(type(entry.claims[0]), "check", lambda *_: tuple(silent))
    assert cli.main(["audit", "E13", "--format", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["confirmed"] is False
    assert answer["warnings"] == ["not confirmed: E13a, E13b"]
    assert cli.main(["audit", "E13"]) == 1
    assert "NOT confirmed" in capsys.readouterr().out
    assert "NOT CONFIRMED" in repr(kl.audit("E13"))


def test_one_finding_is_a_page(capsys):
    """`kltheory audit E12` shows both formulas, the reason and the numbers."""
    assert cli.main(["audit", "e12"]) == 0
    shown = capsys.readouterr().out
    for part in ("E12a: Theorem 3.2(ii), (12)", "142.888", "1842.07", "effect", "HAL v1"):
        assert part in shown
    assert cli.main(["audit", "E12", "E13", "--format", "markdown"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("## E1") >= 2
    assert r"$t\ge\frac{4}{\sigma_F^2\sigma_J^2}" in shown


def test_the_list_has_one_line_a_finding(found):
    """Each number is on one line, with its kind and its place."""
    lines = repr(found).splitlines()
    for finding in found.findings:
        (line,) = [s for s in lines if s.startswith(f"{finding.id} ")]
        assert finding.kind in line
        assert finding.place in line
        assert "confirmed" in line


def test_unknown_findings_are_refused_with_the_list(capsys):
    """A number that does not exist is invalid input; the answer lists those that do."""
    assert cli.main(["audit", "E99"]) == 2
    said = capsys.readouterr().err
    assert "'E99'" in said
    assert "E1, E2, E3" in said
    assert "E31" in said
    with pytest.raises(InputError, match="E1 to E31"):
        kl.audit("12")
    with pytest.raises(InputError, match="E1 to E31"):
        kl.audit(["E12"])
    with pytest.raises(InputError, match="there are E13"):
        kl.audit("E13")["E12"]


def test_results_show_themselves():
    """Terminal, notebook and rich: a list for the audit, a page for a finding."""
    found = kl.audit("E13")
    assert "E13" in repr(found)
    assert "<table>" in found._repr_html_()
    assert repr(found["E13"]).startswith("<Finding E13")
    assert "computed now" in str(found["E13"])
    assert "<table>" in found["E13"]._repr_html_()
    assert found.__rich__() is not None
    assert found["E13"].__rich__() is not None


def test_no_letter_is_lost_in_latex(found):
    """Every sign of the pages has a form in LaTeX: none became a question mark."""
    for page in (library.list_page(found), *found.pages()):
        assert "?" not in report.latex_snippet(page)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(found, tmp_path):
    """All pages as LaTeX compile with amsmath and amssymb."""
    body = "\n".join(report.latex_snippet(p) for p in (library.list_page(found), *found.pages()))
    start = r"\documentclass{article}\usepackage{amsmath,amssymb}\begin{document}"
    (tmp_path / "audit.tex").write_text(f"{start}\n{body}\n\\end{{document}}\n", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "audit.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout.decode("latin-1")[-800:]


def test_docstrings_name_findings_that_exist():
    """Where a docstring or comment of the package sends to a finding, the finding exists."""
    package = Path(kl.__file__).parent
    named = set()
    for file in package.rglob("*.py"):
        named |= set(re.findall(r"kltheory audit (E\d+)", file.read_text("utf-8")))
    assert {"E11", "E12", "E13"} <= named
    assert named <= set(library.IDS)
