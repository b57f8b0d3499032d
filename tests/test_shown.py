"""Results of training show themselves: as text, in a notebook, in rich, and as data."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from kltheory.empirical.certified import certified_flow
from kltheory.empirical.compare import certified_distance, compare
from kltheory.empirical.dynamics import descend, flow
from kltheory.empirical.mirror import newton_limit
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.step_size import safe_step
from kltheory.numeric.reach import box_limit
from kltheory.problem import Problem
from kltheory.shown import Content, Facts, Shown, thinned

_NET = TwoLayerNetwork.draw(n=3, k=20, d=2, seed=0)
_A = np.array([[0.6, 0.8, 0.1], [0.0, 0.3, 0.9]])
_PROBLEM = Problem(_A, [0.3, -0.2], signal=[0.1, 0.2, -0.3])
_FAR = Problem(_A, [50.0, 0.0])

RESULTS: dict[str, tuple[Any, list[str]]] = {
    "descent": (
        lambda: descend(_PROBLEM, _NET, step=0.5, steps=40, tol=0.0, watch=[10], sigma_min=True),
        ["Descent, hidden layer trained", "40 steps done", "step size", "σ_min(J_g)", "‖x(t) - x̄‖"],
    ),
    "failure": (lambda: descend(_FAR, _NET, step=0.5, steps=200), ["the loss stays above"]),
    "flow": (
        lambda: flow(_PROBLEM, _NET, "both", times=[1.0, 2.0]),
        ["Flow, both layers trained", "DOP853", "conserved", "followed to t = 2"],
    ),
    "accuracy": (
        lambda: flow(_PROBLEM, _NET, times=[1.0]).accuracy,
        ["Accuracy of a gradient flow", "integrator", "1e-10 relative"],
    ),
    "limit": (lambda: newton_limit(_PROBLEM, _NET), ["the loss tends to 0", "Newton steps"]),
    "no limit": (lambda: newton_limit(_FAR, _NET), ["widen the network", "infinite"]),
    "step": (lambda: safe_step(_PROBLEM, _NET), ["Step size", "proved", "the loss decreases"]),
    "distance": (
        lambda: certified_distance(_PROBLEM, _NET, step=0.5, steps=20),
        ["Certified distance", "‖θ_j - θ(t)‖ <="],
    ),
    "comparison": (
        lambda: compare(_PROBLEM, _NET, step=0.5, steps=20),
        ["L, descent", "L, flow", "certified distance"],
    ),
    "certified flow": (
        lambda: certified_flow(_PROBLEM, _NET, "both", times=[0.0, 1.0]),
        ["Certified gradient flow, both layers trained", "rounding", "at most"],
    ),
    "constants": (lambda: _NET.constants(_PROBLEM), ["Measured constants", "sigma_F", "computed"]),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_shows_itself_everywhere(kind: str) -> None:
    """Text, HTML and rich say the same things; the repr is one line (a table for constants)."""
    make, words = RESULTS[kind]
    result = make()
    page = str(result)
    assert len(page.splitlines()) <= 45
    stream = io.StringIO()
    Console(file=stream, width=150).print(result)
    notebook = result._repr_html_()
    assert "<table>" in notebook
    for word in words:
        assert word in page
        assert word in stream.getvalue()
        assert word.replace("<", "&lt;") in notebook
    assert kind == "constants" or len(repr(result).splitlines()) == 1
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_long_run_is_shown_at_few_times_with_the_first_and_the_last() -> None:
    """A page stays on one screen whatever the number of steps."""
    run = descend(_PROBLEM, _NET, step=0.5, steps=1000, tol=0.0)
    table = str(run).split("Along the way")[1]
    times = [
        float(line.split()[0])
        for line in table.splitlines()
        if line[:6].strip(" .0123456789-") == "" and line.strip("- ")
    ]
    assert times[0] == 0.0
    assert times[-1] == run.t[-1]
    assert len(times) <= 9
    assert thinned(1) == [0]


def test_looking_at_a_result_is_what_loads_the_reports() -> None:
    """Content is plain text: nothing of it needs rich."""

    class Two(Shown):
        def content(self) -> Content:
            return Content(
                "Two", (Facts("Parts", (("one", "1 < 2"), ("other", "ψ"))),), ("beware",)
            )

    assert str(Two()).splitlines()[0] == "Two"
    assert "beware" in str(Two())
    assert "1 &lt; 2" in Two()._repr_html_()


def test_bounds_are_shown_on_their_safe_side() -> None:
    """What is read off a page is a bound too: upper ones are rounded up, lower ones down."""
    times = np.linspace(0.0, 9.0, 9)
    run = certified_flow(_PROBLEM, _NET, times=times)
    rows = run.content().parts[1].rows
    for i, (_, _, low, high, error) in enumerate(rows):
        assert float(low) <= run.loss_low[i]
        assert float(high) >= run.loss_high[i]
        assert float(error) >= run.error[i]
    assert float(repr(run).split("<= ")[1].rstrip(")")) >= run.error[-1]
    apart = certified_distance(_PROBLEM, _NET, step=0.5, steps=8)
    for i, (_, distance, seen) in enumerate(apart.content().parts[1].rows):
        assert float(distance) >= apart.distance[i]
        assert float(seen) >= apart.observation[i]
    for y in (5.1, 7.3, 50.0, 51.7):
        limit = newton_limit(Problem(_A, [y, 0.0]), _NET)
        assert float(repr(limit).split("above ")[1].rstrip(")")) <= limit.loss
        box = box_limit(_A @ _NET.V, [y, 0.0], 0.0, 1.0)
        least, most = repr(box).removeprefix("BoxLimit(").rstrip(")").split(" <= inf <= ")
        assert float(least) <= box.lower
        assert float(most) >= box.upper
