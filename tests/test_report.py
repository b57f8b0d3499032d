"""How results are shown: numbers on their safe side, formulas as on paper, LaTeX that compiles."""

import math
import re
import shutil
import subprocess
from fractions import Fraction

import jsonschema
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import kltheory as kl
from kltheory import report
from kltheory.symbolic.losses import from_radial, losses
from kltheory.symbolic.parse import parse
from kltheory.symbolic.rate import derive
from kltheory.symbolic.show import formulas, latex, parameter_bound, unicode

positive_floats = st.floats(min_value=5e-324, allow_infinity=False, allow_nan=False)


def value_of(text):
    return Fraction(text.removeprefix("< "))


@given(positive_floats)
def test_a_shown_upper_bound_is_one(x):
    """Six digits, rounded up, exceed the number by at most one in the sixth digit."""
    shown = value_of(report.number(x))
    assert Fraction(x) <= shown
    assert x < 1e-310 or shown <= Fraction(x) * (1 + Fraction(1, 10**5))


@given(positive_floats)
def test_a_shown_lower_bound_is_one(x):
    """Rounded down, six digits fall short by at most one in the sixth digit."""
    shown = value_of(report.number(x, -1))
    assert Fraction(x) * (1 - Fraction(1, 10**5)) <= shown <= Fraction(x)


@given(st.fractions(min_value=0, max_value=10**12, max_denominator=10**6))
def test_exact_numbers_are_shown_exactly(q):
    """A constant that is shown without "about" reads back as itself."""
    shown = report.exact_text(q)
    assert shown.startswith("about ") or Fraction(shown) == q


@pytest.mark.parametrize(
    ("value", "side", "shown"),
    [
        (0.0, 1, "0"),
        (1.0, 1, "1"),
        (math.inf, 1, "> 1.79e308"),
        (math.inf, -1, "inf"),
        (5e-324, 1, "< 1e-323"),
        (None, 1, "-"),
        (123456789.0, 1, "1.23457e8"),
        (1234567.0, -1, "1.23456e6"),
        (123456.7, -1, "123456"),
    ],
)
def test_numbers_at_the_edges(value, side, shown):
    """Zero, infinity, underflow and what is missing have words of their own."""
    assert report.number(value, side) == shown


def test_formulas_in_one_line():
    """Roots, powers and Greek letters are written as on paper."""
    s, c, t, L0, kappa, alpha = sp.symbols("s c t L0 kappa alpha", positive=True)
    third = sp.Rational(1, 3)
    written = {
        sp.sqrt(2 * s): "√(2s)",
        c * s**alpha: "c·s^α",
        L0 * sp.exp(-2 * kappa * t): "L₀·exp(-2κt)",
        (3 * s) ** third: "(3s)^(1/3)",
        s**-2: "1/s²",
        3 * c * s**2 / 7: "3cs²/7",
        -1 / sp.log(s): "-1/log(s)",
        sp.LambertW(-s, -1): "W₋₁(-s)",
        c / (s + 1): "c/(s + 1)",
    }
    assert {e: unicode(e) for e in written} == written


@given(
    st.lists(
        st.tuples(st.sampled_from([2, 3, 5, 6, 10]), st.fractions(-2, 2, max_denominator=6)),
        min_size=1,
        max_size=4,
    ),
    st.fractions(-3, 3, max_denominator=7).filter(bool),
)
def test_merged_roots_keep_their_value(factors, coefficient):
    """However the powers of numbers in a product are merged, the product is the same."""
    s = sp.Symbol("s", positive=True)
    e = (
        sp.Rational(coefficient)
        * sp.sqrt(s)
        * sp.Mul(*[sp.Integer(b) ** sp.Rational(q) for b, q in factors])
    )
    shown = unicode(e)
    for sign, word in {"√": "sqrt", "^": "**", "·": "*"}.items():
        shown = shown.replace(sign, word)
    shown = re.sub(r"sqrt(\d+|s)", r"sqrt(\1)", shown)
    shown = re.sub(r"(\d|\))(?=[s(])", r"\1*", re.sub(r"sqrt\(", "Q(", shown))
    shown = re.sub(r"(\d|\))(?=Q)", r"\1*", shown).replace("²", "**2").replace("³", "**3")
    back = parse(shown.replace("Q", "sqrt"), "s").expr
    assert float(back.subs(s, 1.7)) == pytest.approx(float(e.subs(s, 1.7)), rel=1e-12)


def test_no_symbol_is_left_raw_in_latex():
    """LaTeX has \\kappa, L_0 and \\alpha, and no name of SymPy's."""
    text = formulas(kl.rate("c*s**alpha")).loss_rate.latex
    assert r"\kappa" in text
    assert "L_{0}" in text
    assert not re.search(r"(?<![\\a-z])(kappa|alpha|L0|Piecewise|sqrt)", text)


def test_asymptotic_classes_are_not_called_bounds():
    """Without a closed form the rate is roughly a class; with one it is a bound."""
    rough = report.page(report.Answer(kl.rate("sqrt(s)+s")))
    assert any(part.title == "Rates: asymptotic classes, not bounds" for part in rough.parts)
    shown = formulas(kl.rate("sqrt(s)+s"))
    assert shown.loss_rate.text.startswith("roughly exp(-4*kappa*t)")
    assert shown.parameter_rate.text.startswith("roughly exp(-2*kappa*t)/sqrt(kappa)")
    assert not shown.loss_rate.closed
    closed = report.page(report.Answer(kl.rate("sqrt(2*s)")))
    assert any(part.title == "Rates: bounds (10) and (11)" for part in closed.parts)


def test_a_formula_that_ends_says_where():
    """A bound of finite time without max(0, ·) says that it holds until the extinction only."""
    shown = formulas(kl.rate("s/(1+s)"))
    assert shown.loss_rate.text.endswith("until the loss is extinct, then 0")


@pytest.mark.parametrize("name", [q.name for q in losses() if q.refusal is None])
def test_every_loss_of_the_registry_has_a_page(name):
    """Each loss is shown in every format, with A-1 violated for the norm alone."""
    law = derive(kl.loss(name))
    answer = report.Answer(law)
    page = report.page(answer)
    for write in (report.text, report.markdown, report.latex_snippet, report.html):
        assert name in write(page) or "ψ" in write(page)
    found = report.answer_dict(answer)
    smooth = next(a for a in found["assumptions"] if a["id"] == "A-1")
    assert (smooth["status"] == "violated") == (name == "norm")


def test_python_objects_show_the_same():
    """A law shows itself as text, HTML, LaTeX and data."""
    law = kl.rate("sqrt(2*s)")
    assert "exp(-2γ)" in report.law_text(law)
    assert r"e^{- 2 \gamma}" in report.law_latex(law)
    assert "<table>" in report.law_html(law)
    assert report.law_dict(law)["regime"] == "exponential"
    bound = law.bound(kappa=1, loss0=1)
    assert report.bound_dict(law, bound, [1])["values"][0]["t"] == 1.0
    assert "Bounds over time" in report.bound_text(law, bound)
    assert "<table>" in report.bound_html(law, bound, [0])


@pytest.fixture(scope="module")
def snippets():
    """Answers with every kind of content."""
    return list(answers())


def answers():
    yield report.answer_of(kl.rate("c*s**alpha"))
    yield report.answer_of(kl.rate("-1/log(s)"))
    yield report.answer_of(derive(kl.loss("huber")))
    yield report.answer_of(derive(kl.loss("poisson")))
    yield report.answer_of(derive(from_radial("exp(x)-1-x")))
    law = kl.rate("s**0.8")
    yield report.answer_of(law, law.bound(kappa="1/3", loss0="1e-200", noise=1))
    from kltheory.symbolic.derivation import derive_steps

    law = kl.rate("sqrt(s)/log(1/s)")
    yield report.Answer(law, derivation=derive_steps(law), warnings=("50% of ‖∇L‖² & σ_F_#{}~^\\",))


def test_latex_is_balanced(snippets):
    """In every snippet braces, dollars and environments are closed in order."""
    for answer in snippets:
        text = report.latex_snippet(report.page(answer))
        plain = re.sub(r"\\[\\{}$%&#_]", "", text)
        assert plain.count("{") == plain.count("}")
        assert plain.count("$") % 2 == 0
        opened = re.findall(r"\\begin\{(\w+)\}", text)
        assert sorted(opened) == sorted(re.findall(r"\\end\{(\w+)\}", text))
        assert text.isascii()
        for row in re.findall(r"^(?!\\|%).* & .*$", text, re.M):
            assert row.rstrip().endswith((r"\\", r"\hline")), row


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(tmp_path, snippets):
    """Every snippet compiles in an article with amsmath."""
    body = "\n\n".join(report.latex_snippet(report.page(answer)) for answer in snippets)
    document = rf"""\documentclass{{article}}
\usepackage{{amsmath}}
\begin{{document}}
{body}
\end{{document}}
"""
    (tmp_path / "page.tex").write_text(document, "utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
    assert (tmp_path / "page.pdf").stat().st_size > 10_000


def test_the_schema_fits_symbolic_laws(snippets):
    """The data of a law without numbers fits the schema."""
    import json
    from importlib.resources import files

    schema = json.loads((files("kltheory") / "schemas" / "bound.json").read_text("utf-8"))
    for answer in snippets:
        jsonschema.validate(report.answer_dict(answer), schema)


def test_latex_of_a_root_of_fractions():
    """(12 s/5)^(5/12) is not written as four roots."""
    s = sp.Symbol("s", positive=True)
    shown = latex((sp.Rational(12, 5) * s) ** sp.Rational(5, 12))
    assert shown == r"\left(\frac{12 s}{5}\right)^{5/12}"


@pytest.mark.parametrize("alpha", ["3/10", "1/2", "4/5"])
def test_the_bound_on_the_parameters_is_psi_of_that_on_the_loss(alpha):
    """In every case of the law of c s^alpha it is c V(t)^alpha/sqrt(kappa)."""
    law = kl.rate(kl.loss("lojasiewicz"))
    values = {"alpha": sp.Rational(alpha), "c": 2, "L0": sp.Rational(3, 4), "t": 1, "kappa": 3}

    def at(expr):
        return expr.subs({q: values[q.name] for q in expr.free_symbols})

    expected = 2 * at(law.loss_bound) ** sp.Rational(alpha) / sp.sqrt(3)
    assert float(at(parameter_bound(law))) == pytest.approx(float(expected), rel=1e-12)
