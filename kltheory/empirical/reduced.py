"""Exact reductions: what training really moves.

Gradient steps change W along uᵀ only, so that z = W u (k numbers) carries W; with F = A a matrix, V
enters through A V only, or, if it is trained, moves within the row space of A only.  With
A = U S Q (thin SVD) and P = Q V/√k the observation is y = U S P φ(z), and

    dz = -ω φ'(z) ⊙ Pᵀ q,   dP = -(1/k) q φ(z)ᵀ,   q = S Uᵀ ∇L(y)

is the whole dynamics: d and n are gone, and ‖V - V0‖ = √k ‖P - P0‖.  If V is fixed, N = A V/√k with
y = N φ(z), q = ∇L(y) does the same with one product less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.network import TwoLayerNetwork
from kltheory.problem import Problem

__all__ = ["Reduced", "TanhForm", "has_reduction", "reduce", "tanh_form"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TanhForm:
    """φ(z) = a + b tanh(c z)."""

    a: float
    b: float
    c: float


def tanh_form(name: str) -> TanhForm | None:
    """Return a, b, c for the activations that are a scaled tanh, else None.

    >>> tanh_form("sigmoid")
    TanhForm(a=0.5, b=0.5, c=0.5)
    """
    return {"sigmoid": TanhForm(0.5, 0.5, 0.5), "tanh": TanhForm(0.0, 1.0, 1.0)}.get(name)


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """A training problem in the space of observations: y(z, P) = outer P φ(z)."""

    problem: Problem
    """The problem that it came from."""
    network: TwoLayerNetwork
    """The network that it starts from."""
    train: str
    """"hidden" or "both"."""
    inner: Array
    """N = A V/√k (m, k), or P = Q V/√k (r, k)."""
    outer: Array | None
    """U S (m, r); None stands for the identity, with inner = N."""

    @property
    def z0(self) -> Array:
        """z at the start, (k,)."""
        return self.network.z

    @property
    def k(self) -> int:
        """The number of neurons."""
        return self.network.k

    def trained(self, z: Array, inner: Array | None = None) -> TwoLayerNetwork:
        """Return the full network at the state (z, inner): W = W0 + (z - z0)uᵀ/ω,
        V = V0 + √k Qᵀ(inner - inner0)."""
        if inner is None or self.train == "hidden":
            return self.network.moved(z - self.z0)
        parts = self.problem.spectrum
        change = np.sqrt(self.k) * (inner - self.inner)
        if parts.right is not None:
            return self.network.moved(z - self.z0, change.T, parts.right)
        assert parts.left is not None
        right = self.problem.transpose_times(parts.left / parts.values).T
        return self.network.moved(z - self.z0, change.T, np.asarray(right))


def has_reduction(problem: Problem, train: str) -> bool:
    """Return whether the dynamics can be written in the space of observations."""
    if not problem.linear:
        return False
    return train == "hidden" or problem.spectrum.left is not None


def reduce(problem: Problem, network: TwoLayerNetwork, train: str) -> Reduced:
    """Return the reduced form; `has_reduction` says where there is one."""
    observed = network.observe(problem) / np.sqrt(network.k)
    if train == "hidden" and (problem.m <= network.n or problem.spectrum.left is None):
        return Reduced(problem, network, train, observed, None)
    parts = problem.spectrum
    assert parts.left is not None
    if parts.right is not None and network.columns.held:
        inner = parts.right @ network.columns.toarray().T / np.sqrt(network.k)
    else:
        inner = (parts.left.T @ observed) / parts.values[:, None]
    return Reduced(problem, network, train, np.asarray(inner), parts.left * parts.values)
