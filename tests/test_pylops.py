"""Operators of PyLops are used through their products, in problems, training and measurement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kltheory.empirical.dynamics import descend, flow
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.problem import Problem, adjoint_test

pylops = pytest.importorskip("pylops")

MODES = ("hidden", "both")


def _blur(n: int, m: int) -> Any:
    """Return a smoothing and subsampling operator (m, n)."""
    kept = np.linspace(0, n - 1, m).astype(int)
    return pylops.Restriction(n, kept) @ pylops.Smoothing1D(nsmooth=5, dims=n)


@pytest.mark.parametrize("train", MODES)
def test_an_operator_of_pylops_is_its_matrix(train: str) -> None:
    """Descent, flow and measured constants agree with those of the dense matrix."""
    operator = _blur(64, 10)
    assert adjoint_test(operator)
    x = 0.3 * np.random.default_rng(0).standard_normal(64)
    problems = [Problem(a, operator @ x, signal=x) for a in (operator, operator.todense())]
    net = TwoLayerNetwork.draw(64, 80, 3, seed=1)
    one, two = (descend(p, net, train, steps=300, tol=0.0) for p in problems)
    assert one.losses[-1] < 0.1 * one.losses[0]
    np.testing.assert_allclose(one.losses, two.losses, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(one.network.forward(), two.network.forward(), atol=1e-10)
    ends = [flow(p, net, train, times=[5.0]).loss[-1] for p in problems]
    assert ends[0] == pytest.approx(ends[1], rel=1e-8)
    here, there = (net.constants(p, train) for p in problems)
    assert set(here) == set(there)
    for name in there:
        assert here.value(name) == pytest.approx(there.value(name), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("train", MODES)
def test_an_operator_of_pylops_is_never_written_out(
    train: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At n = 80,000: no call of the operator with more columns than k or 64, no dense matrix."""
    n, m, k = 80_000, 30, 40
    operator = _blur(n, m)
    widths = []
    for name in ("matmat", "rmatmat"):
        true = getattr(operator, name)

        def seen(block: np.ndarray, true: Any = true) -> Any:
            widths.append(block.shape[1])
            return true(block)

        monkeypatch.setattr(operator, name, seen)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the operator was written out")

    monkeypatch.setattr(type(operator), "todense", refuse)
    x = 0.2 * np.random.default_rng(1).standard_normal(n)
    problem = Problem(operator, operator @ x, signal=x)
    net = TwoLayerNetwork.draw(n, k, 3, seed=2)
    run = descend(problem, net, train, steps=40, tol=0.0)
    assert run.losses[-1] < run.losses[0]
    found = net.constants(problem, train)
    assert found.value("rank") == m
    assert found.value("sigma_F") > 0
    assert problem.spectrum.method == "gram"
    assert 0 < max(widths) <= 64


def test_a_stack_of_operators_and_a_callable_with_a_pylops_jacobian() -> None:
    """A two-dimensional convolution, and F(x) = (Bx)³ with the Jacobian 3 diag((Bx)²) B."""
    image = pylops.signalprocessing.Convolve2D((12, 12), np.ones((3, 3)) / 9, offset=(1, 1))
    both = pylops.VStack([image, pylops.Identity(144)])
    problem = Problem(both, both @ np.ones(144))
    exact = np.linalg.svd(both.todense(), compute_uv=False)
    assert problem.sigma_F == pytest.approx(exact[-1], rel=1e-9)
    blur = _blur(30, 4)
    cubed = Problem(
        lambda x: (blur @ x) ** 3,
        np.array([0.1, -0.1, 0.2, 0.05]),
        jacobian=lambda x: pylops.Diagonal(3 * (blur @ x) ** 2) @ blur,
    )
    net = TwoLayerNetwork.draw(30, 40, 3, seed=3)
    run = descend(cubed, net, step=0.05, steps=100, tol=0.0)
    assert run.form == "signal"
    assert run.losses[-1] < run.losses[0]
    assert net.kernel("both", cubed).shape == (4, 4)
