"""Results show themselves: in a terminal, in rich, in a notebook, as data and in a paper."""

import io
import json

import pytest
from rich.console import Console

import kltheory as kl


@pytest.fixture(scope="module")
def law():
    return kl.rate("asinh(s)")


@pytest.fixture(scope="module")
def bound(law):
    return law.bound(kappa=1, loss0=1, noise="1/10")


def test_law_in_every_form(law):
    """One law, six ways to look at it, all of them saying Ψ = -atan(s)."""
    assert repr(law) == "<RateLaw ψ(s) = asinh(s), r0 = oo, finite-time, closed>"
    assert "-atan(s)" in str(law)
    assert law.to_dict()["Psi"]["expr"] == "-atan(s)"
    assert r"\operatorname{atan}" in law._repr_latex_()
    assert law._repr_latex_().startswith("$")
    assert "<table>" in law._repr_html_()
    assert r"\subsection*" in law.to_latex()
    stream = io.StringIO()
    Console(file=stream, width=100).print(law)
    assert "asinh(s)" in stream.getvalue()


def test_bound_in_every_form(bound):
    """The bounds show their constants, their times and their table."""
    assert repr(bound) == "<Bound ψ(s) = asinh(s), κ = 1, L0 = 1, corrected>"
    assert "Bounds over time" in str(bound)
    assert "early stopping" in str(bound)
    data = bound.to_dict([0, 0.5])
    assert [row["t"] for row in data["values"]] == [0, 0.5]
    assert data["values"][1]["loss"] == bound.loss(0.5)
    json.dumps(data, allow_nan=False)
    assert "<table>" in bound._repr_html_()
    assert r"\begin{tabular}" in bound.to_latex([0, 1])
    stream = io.StringIO()
    Console(file=stream, width=100).print(bound)
    assert "Bounds over time" in stream.getvalue()


def test_public_names_all_load():
    """Every name that the package offers exists."""
    for name in kl.__all__:
        assert getattr(kl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kl.nothing
