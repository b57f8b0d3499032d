"""The same gradient dynamics in three sets of variables, one run at a time.

Each form is a gradient flow θ' = -velocity(θ) in a vector of variables; `weights` gives back the
norm of the parameters, ‖θ - θ0‖² = Σ weights · (state - start)².
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.reduced import Reduced, reduce
from kltheory.problem import Problem

__all__ = ["FlowForm", "Form", "FullForm", "ObservationForm", "SignalForm", "make_form"]

Array = NDArray[np.float64]


class FlowForm(Protocol):
    """A flow in one set of variables."""

    label: str
    """"full", "signal" or "observation"."""
    problem: Problem
    """The problem."""
    start: Array
    """The variables at the start, one flat vector."""

    def observe(self, state: Array) -> Array:
        """Return y(θ), shape (m,)."""

    def velocity(self, state: Array, y: Array) -> Array:
        """Return the gradient of the loss in these variables, given y(θ)."""

    def drift(self, state: Array) -> float:
        """Return ‖θ - θ0‖."""

    def network_at(self, state: Array) -> TwoLayerNetwork:
        """Return the full network at these variables."""


class Form(FlowForm, Protocol):
    """A gradient flow of the parameters themselves, with the norm of the parameters."""

    weights: Array
    """One weight for each variable."""


class _Weighted:
    start: Array
    weights: Array

    def drift(self, state: Array) -> float:
        """Return ‖θ - θ0‖."""
        change = state - self.start
        return float(np.sqrt((self.weights * change * change).sum()))


class FullForm(_Weighted):
    """The parameters themselves: W (k, d), and V (n, k) if it is trained; for any F."""

    label = "full"

    def __init__(self, problem: Problem, network: TwoLayerNetwork, train: str) -> None:
        """Write out the parameters."""
        self.problem, self.network, self.both = problem, network, train == "both"
        self.V0 = network.V
        parts = [network.W.ravel()] + ([self.V0.ravel()] if self.both else [])
        self.start = np.concatenate(parts)
        self.weights = np.ones(self.start.size)

    def _layers(self, state: Array) -> tuple[Array, Array]:
        net = self.network
        split = net.k * net.d
        V = state[split:].reshape(net.n, net.k) if self.both else self.V0
        return state[:split].reshape(net.k, net.d), V

    def observe(self, state: Array) -> Array:
        """Return F(V φ(W u)/√k)."""
        W, V = self._layers(state)
        net = self.network
        return self.problem.forward(V @ net.activation.phi(W @ net.u) / np.sqrt(net.k))

    def velocity(self, state: Array, y: Array) -> Array:
        """Return the gradient in (W, V)."""
        W, V = self._layers(state)
        net, root = self.network, np.sqrt(self.network.k)
        z = W @ net.u
        phi = net.activation.phi(z)
        q = self.problem.pull_back(V @ phi / root, self.problem.loss_gradient(y)) / root
        dW = np.outer(net.activation.dphi(z) * (V.T @ q), net.u).ravel()
        return np.concatenate([dW, np.outer(q, phi).ravel()]) if self.both else dW

    def network_at(self, state: Array) -> TwoLayerNetwork:
        """Return the network with these weights."""
        W, V = self._layers(state)
        net = TwoLayerNetwork(self.network.u, W, V, self.network.activation)
        net.seed = self.network.seed
        return net


class SignalForm(_Weighted):
    """z = W u, and V if it is trained; for any F.  d is gone."""

    label = "signal"

    def __init__(self, problem: Problem, network: TwoLayerNetwork, train: str) -> None:
        """Write out z and V."""
        self.problem, self.network, self.both = problem, network, train == "both"
        self.columns = network.columns.toarray()
        parts = [network.z] + ([self.columns.ravel()] if self.both else [])
        self.start = np.concatenate(parts)
        self.weights = np.ones(self.start.size)
        self.weights[: network.k] /= network.omega

    def _parts(self, state: Array) -> tuple[Array, Array]:
        k = self.network.k
        return state[:k], (state[k:].reshape(k, -1) if self.both else self.columns)

    def observe(self, state: Array) -> Array:
        """Return F(V φ(z)/√k)."""
        z, columns = self._parts(state)
        net = self.network
        return self.problem.forward(net.activation.phi(z) @ columns / np.sqrt(net.k))

    def velocity(self, state: Array, y: Array) -> Array:
        """Return the gradient in (z, V), that in z times ω."""
        z, columns = self._parts(state)
        net, root = self.network, np.sqrt(self.network.k)
        phi = net.activation.phi(z)
        q = self.problem.pull_back(phi @ columns / root, self.problem.loss_gradient(y)) / root
        dz = net.omega * net.activation.dphi(z) * (columns @ q)
        return np.concatenate([dz, np.outer(phi, q).ravel()]) if self.both else np.asarray(dz)

    def network_at(self, state: Array) -> TwoLayerNetwork:
        """Return the network with this z and V."""
        z, columns = self._parts(state)
        if not self.both:
            return self.network.moved(z - self.network.z)
        change = columns - self.columns
        return self.network.moved(z - self.network.z, change, np.eye(self.network.n))


class ObservationForm(_Weighted):
    """z = W u, and Q V/√k if V is trained; F = A.  d and n are gone."""

    label = "observation"

    def __init__(self, reduced: Reduced) -> None:
        """Take over the reduced matrices."""
        self.reduced, self.problem, self.both = reduced, reduced.problem, reduced.train == "both"
        parts = [reduced.z0] + ([reduced.inner.ravel()] if self.both else [])
        self.start = np.concatenate(parts)
        self.weights = np.full(self.start.size, float(reduced.k))
        self.weights[: reduced.k] = 1.0 / reduced.network.omega

    def parts(self, state: Array) -> tuple[Array, Array]:
        """Return z and Q V/√k, or N."""
        k = self.reduced.k
        inner = state[k:].reshape(self.reduced.inner.shape) if self.both else self.reduced.inner
        return state[:k], inner

    def observe(self, state: Array) -> Array:
        """Return U S P φ(z), or N φ(z)."""
        z, inner = self.parts(state)
        x = inner @ self.reduced.network.activation.phi(z)
        return np.asarray(x if self.reduced.outer is None else self.reduced.outer @ x)

    def velocity(self, state: Array, y: Array) -> Array:
        """Return the gradient in (z, P): that in z times ω, that in P over k."""
        z, inner = self.parts(state)
        net, outer = self.reduced.network, self.reduced.outer
        q = self.problem.loss_gradient(y)
        if outer is not None:
            q = outer.T @ q
        dz = net.omega * net.activation.dphi(z) * (inner.T @ q)
        if not self.both:
            return np.asarray(dz)
        return np.concatenate([dz, np.outer(q, net.activation.phi(z)).ravel() / net.k])

    def network_at(self, state: Array) -> TwoLayerNetwork:
        """Return the full network with this z and Q V."""
        z, inner = self.parts(state)
        return self.reduced.trained(z, inner.copy() if self.both else None)


def make_form(label: str, problem: Problem, network: TwoLayerNetwork, train: str) -> Form:
    """Return the dynamics in the variables of that name."""
    if label == "full":
        return FullForm(problem, network, train)
    if label == "signal":
        return SignalForm(problem, network, train)
    return ObservationForm(reduce(problem, network, train))
