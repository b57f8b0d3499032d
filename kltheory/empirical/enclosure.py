"""The gradient flow with a certified error: an approximation, its defect, and what becomes of it.

An integrator gives a piecewise polynomial θ̂(τ).  On each piece the defect θ̂' - f(θ̂), f = -∇L, is
evaluated at Chebyshev nodes.  Between the nodes it is bounded too, since f(θ̂(τ)) is analytic in an
ellipse around the piece: with ‖f‖ ≤ M there, interpolation in q + 1 nodes is off by at most
4 M ϱ^-q/(ϱ - 1), ϱ the sum of the half axes.  Then (Grönwall, with the logarithmic norm)

    e(τ) = ‖θ̂(τ) - θ(τ)‖,   e' ≤ μ e + ‖defect‖,   μ ≥ -λ_min(∇²L between the two).

All this is done for the square loss.  Hidden layer: in the m variables of `mirror` that flow
contracts, μ = 0.  In the variables of θ the part JᵀJ of the Hessian is dropped, and what remains is
the curvature of the network, at most Λ‖r‖, which fades with the residual.  Any radial loss takes
the same path by another clock, dt = dτ/w(‖r‖), which is enclosed in the same way.

Rounding is included: in the evaluation of f, of the polynomials and of the distances, with
elementary functions good to 8 units in the last place; what is certified is the flow of the
reduced system whose entries N = A V/√k, z(0) and y are the floats at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kltheory.empirical.forms import ObservationForm
from kltheory.empirical.mirror import MirrorForm
from kltheory.empirical.network import TwoLayerNetwork
from kltheory.empirical.reduced import Reduced, has_reduction, reduce
from kltheory.errors import InputError
from kltheory.loss_functions import (
    MSE,
    Cauchy,
    Huber,
    MeanSquared,
    ObservedLoss,
    Power,
    RadialLoss,
    SquaredNorm,
    Welsch,
)
from kltheory.problem import Problem

__all__ = ["Piece", "SquareFlow", "pieces", "square_flow", "why_not"]

Array = NDArray[np.float64]

STRIPS = {
    "sigmoid": (np.pi / 2, 0.5),
    "tanh": (np.pi / 4, 2.0),
    "softplus": (np.pi / 2, 1.0),
    "sin": (1.0, 1.5431),
    "erf": (0.5, 1.4489),
    "arctan": (0.5, 4.0 / 3.0),
    "silu": (np.pi / 2, 2.0),
    "gelu": (1.0, 2.7),
}
"""R and a bound on |φ'| for |Im z| ≤ R.

sigmoid: |φ'| = 1/(4|cosh(z/2)|²), |cosh(a + ib)|² ≥ cos²b; tanh: the same; softplus: |1 + e^-z| ≥ 1
for |Im z| ≤ π/2; sin: cosh R; erf: (2/√π)e^{R²}; arctan: 1/(1 - R²); silu: φ' = σ(1 + zσ(-z)) with
|σ| ≤ 1 and |zσ(z)σ(-z)| ≤ (|x| + π/2)/(4sinh²(x/2) + 2) < 1; gelu: φ' = Φ(z) + z e^{-z²/2}/√(2π)
with |Φ(x + iy)| ≤ 1 + |y|e^{y²/2}/√(2π) < 1.66 and the rest ≤ (|x| + 1)e^{(1 - x²)/2}/√(2π) < 0.9.
"""

CLOSED_Z = ("sigmoid", "tanh", "softplus", "sin", "erf", "arctan")
"""Activations whose Z is a closed form, accurate to rounding."""

_U = float(np.finfo(np.float64).eps)
_DEGREE, _NODES = 7, 16
_POWERS = np.arange(1.0, _DEGREE + 1.0)
_LOBATTO = np.cos(np.pi * np.arange(_DEGREE + 1) / _DEGREE)
_FIT = np.linalg.inv(np.polynomial.chebyshev.chebvander(_LOBATTO, _DEGREE))
_POINTS = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
_T = np.polynomial.chebyshev.chebvander(_POINTS, _DEGREE)
_DT = np.polynomial.chebyshev.chebvander(_POINTS, _DEGREE - 1) @ np.polynomial.chebyshev.chebder(
    np.eye(_DEGREE + 1)
)
_INTERPOLATE = np.linalg.inv(np.polynomial.chebyshev.chebvander(_POINTS, _NODES - 1))
_LEBESGUE = float(2.0 / np.pi * np.log(_NODES) + 1.0)
"""Interpolation in Chebyshev nodes is at most so many times the largest value (Rivlin)."""
_HALF_GAP = float(np.sin(np.pi / (2 * _NODES)))
"""No point of [-1, 1] is farther from a node."""
_ELLIPSES = (3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0)
_HALVINGS = 8


# -- the flow of the square loss in two sets of variables ------------------------------------------


class View(Protocol):
    """What is known around a state; `radius` is that of a real ball in the norm of the state."""

    residual: float
    """‖r‖ at the state."""

    def spread(self, reach: Array) -> float:
        """Return sup ‖r - r(state)‖, arguments off by at most `reach` in ℂ; inf if unknown."""

    def largest(self, reach: Array) -> float:
        """Return sup ‖f‖ there."""

    def curvature(self, radius: float) -> float:
        """Return the logarithmic norm μ of f on a ball."""

    def gain(self, radius: float) -> float:
        """Return a Lipschitz constant of y on a ball."""

    def speed(self, radius: float) -> float:
        """Return a bound on ‖f‖ on a ball."""

    def rounding(self, radius: float) -> tuple[float, float]:
        """Return bounds on the rounding errors of r and of f, as they are evaluated, on a ball."""


class SquareFlow(Protocol):
    """The flow of the square loss; `norm` is the norm of its state."""

    label: str
    """The variables."""
    reduced: Reduced
    """The reduced system."""
    start: Array
    """The state at τ = 0."""

    def field(self, t: float, state: Array) -> Array:
        """Return f(state), evaluated in floating point."""

    def residual(self, state: Array) -> Array:
        """Return r = y(state) - y."""

    def norm(self, state: Array) -> float:
        """Return the norm of a difference of states."""

    def moves(self, coefficients: Array) -> Array:
        """Return what the coefficients of a polynomial do to the arguments, one row for each."""

    def look(self, state: Array) -> View:
        """Return what is known around a state."""

    def parameters(self, state: Array) -> tuple[Array, Array]:
        """Return z, and N (or P, if it is trained), at a state."""

    def parameter_error(self, error: float) -> float:
        """Return a bound on ‖θ̂ - θ‖ from one on the state."""

    def evaluation_error(self, state: Array) -> float:
        """Return a bound on what rounding does to θ where it is evaluated at a state."""

    def network_at(self, state: Array) -> TwoLayerNetwork:
        """Return the network at a state."""


class _Matrices:
    """The norms that the bounds are made of."""

    def __init__(self, problem: Problem, network: TwoLayerNetwork, matrix: Array) -> None:
        self.problem, self.network = problem, network
        self.activation = network.activation
        self.strip, self.slope = STRIPS[network.activation.name]
        self.b1, self.b2 = network.activation.B1, network.activation.B2
        self.k, self.m, self.omega = network.k, problem.m, network.omega
        self.root = float(np.sqrt(network.omega))
        self.size = float(np.linalg.norm(matrix))
        self.spectral = float(np.sqrt(np.linalg.eigvalsh(matrix @ matrix.T)[-1])) * (1.0 + 1e-9)
        self.widest = float(np.sqrt(np.square(matrix).sum(axis=0).max()))
        self.observed = float(np.linalg.norm(problem.observation))

    def sum_rounding(self, features: float) -> float:
        """Return a bound on the rounding of N φ, relative to ‖N‖ (Frobenius)."""
        values = 8.0 * _U * (float(np.sqrt(self.k)) + features)
        return (self.k + self.m + 16) * _U * features + values


class ParameterFlow:
    """θ itself, as z = W u and, if V is trained, P = Q V/√k; the norm is that of θ."""

    label = "observation"

    def __init__(self, problem: Problem, network: TwoLayerNetwork, train: str) -> None:
        """Measure the matrices once."""
        self.reduced = reduce(problem, network, train)
        self.form = ObservationForm(self.reduced)
        self.start, self.both = self.form.start, self.form.both
        outer, inner = self.reduced.outer, self.reduced.inner
        self.matrices = _Matrices(problem, network, inner)
        self.outer = 1.0 if outer is None else float(np.linalg.norm(outer, 2)) * (1.0 + 1e-9)
        self.outer_size = 1.0 if outer is None else float(np.linalg.norm(outer))

    def field(self, t: float, state: Array) -> Array:
        """Return -∇L."""
        return -self.form.velocity(state, self.form.observe(state))

    def residual(self, state: Array) -> Array:
        """Return r."""
        return self.form.observe(state) - self.form.problem.observation

    def norm(self, state: Array) -> float:
        """Return the norm of a change of θ."""
        return float(np.sqrt((self.form.weights * state * state).sum()))

    def moves(self, coefficients: Array) -> Array:
        """Return |c|."""
        return np.abs(coefficients)

    def look(self, state: Array) -> View:
        """Return what is known around a state."""
        return _ParameterView(self, state)

    def parameters(self, state: Array) -> tuple[Array, Array]:
        """Return z and the inner matrix."""
        k, inner = self.matrices.k, self.reduced.inner
        return state[:k], state[k:].reshape(inner.shape) if self.both else inner

    def parameter_error(self, error: float) -> float:
        """Return the same: the state is θ."""
        return error

    def evaluation_error(self, state: Array) -> float:
        """Return 0: the state is θ."""
        return 0.0

    def network_at(self, state: Array) -> TwoLayerNetwork:
        """Return the network."""
        return self.form.network_at(state)


class _ParameterView:
    """The bounds in the variables of θ.

    Per neuron the Hessian of ⟨q, P φ(z)⟩ is ((ωφ''P_i·q, √(ω/k)φ'q), (·, 0)) in the norm of θ, and
    JJᵀ = ω P diag(φ'²) Pᵀ + [V trained] ‖φ‖²/k.
    """

    def __init__(self, flow: ParameterFlow, state: Array) -> None:
        self.flow, self.matrices = flow, flow.matrices
        self.residual = float(np.linalg.norm(flow.residual(state)))
        phi = self.matrices.activation.phi(state[: self.matrices.k])
        self.features = float(np.linalg.norm(phi))
        self.drift = flow.norm(state - flow.start) if flow.both else 0.0
        self.place = flow.norm(state)

    def _inner(self, radius: float) -> float:
        """Return how far ‖P‖ may be from that of the start."""
        far = self.drift + radius if self.flow.both else 0.0
        return far / float(np.sqrt(self.matrices.k))

    def _complex(self, reach: Array) -> tuple[float, float, float]:
        """Return sup ‖P‖, sup ‖φ - φ(state)‖ and sup ‖r - r(state)‖."""
        at = self.matrices
        if not (float(reach[: at.k].max()) <= at.strip):
            return (float("inf"),) * 3
        dphi = at.slope * float(np.linalg.norm(reach[: at.k]))
        dP = float(np.linalg.norm(reach[at.k :]))
        P = at.spectral + self._inner(0.0) + dP
        return P, dphi, self.flow.outer * (P * dphi + dP * self.features)

    def spread(self, reach: Array) -> float:
        """Return sup ‖r - r(state)‖."""
        return self._complex(reach)[2]

    def largest(self, reach: Array) -> float:
        """Return sup ‖f‖."""
        P, dphi, dr = self._complex(reach)
        q = self.flow.outer * (self.residual + dr)
        hidden = self.matrices.root * self.matrices.slope * P * q
        output = q * (self.features + dphi) / np.sqrt(self.matrices.k) if self.flow.both else 0.0
        return float(np.hypot(hidden, output))

    def gain(self, radius: float) -> float:
        """Return sup ‖J‖."""
        at = self.matrices
        hidden = at.root * at.b1 * (at.spectral + self._inner(radius))
        output = 0.0
        if self.flow.both:
            output = (self.features + at.b1 * at.root * radius) / np.sqrt(at.k)
        return self.flow.outer * float(np.hypot(hidden, output))

    def curvature(self, radius: float) -> float:
        """Return Λ‖q‖."""
        at = self.matrices
        q = self.flow.outer * (self.residual + self.gain(radius) * radius)
        a = at.omega * at.b2 * (at.widest + self._inner(radius)) * q
        b = at.root * at.b1 * q / np.sqrt(at.k) if self.flow.both else 0.0
        return 0.5 * (a + float(np.sqrt(a * a + 4.0 * b * b)))

    def speed(self, radius: float) -> float:
        """Return sup ‖J‖ sup ‖r‖."""
        gain = self.gain(radius)
        return gain * (self.residual + gain * radius)

    def rounding(self, radius: float) -> tuple[float, float]:
        """Return the rounding errors of r and of f."""
        at, outer = self.matrices, self.flow.outer_size
        features = self.features + at.b1 * at.root * radius
        size = at.size + self._inner(radius)
        gain = self.gain(radius)
        state = 16.0 * _U * (self.place + radius)
        dr = outer * size * at.sum_rounding(features) + 2.0 * _U * at.observed
        most = self.residual + gain * radius
        dq = outer * (dr + (at.m + 24) * _U * most)
        q = outer * most
        hidden = at.root * size * ((at.m + 24) * _U * q * (1.0 + at.b1) + at.b1 * dq)
        values = 8.0 * _U * (np.sqrt(at.k) + features)
        output = (dq * features + q * values) / np.sqrt(at.k) if self.flow.both else 0.0
        lipschitz = gain**2 + self.curvature(radius)
        return float(dr + gain * state), float(hidden + output + lipschitz * state)


class MirrorFlow:
    """The m variables S of the hidden layer: S' = r(S), a contraction."""

    label = "mirror"

    def __init__(self, problem: Problem, network: TwoLayerNetwork) -> None:
        """Measure the matrix once."""
        self.reduced = reduce(problem, network, "hidden")
        self.form = MirrorForm(self.reduced)
        self.start = self.form.start
        self.matrices = _Matrices(problem, network, self.form.matrix)

    def field(self, t: float, state: Array) -> Array:
        """Return r."""
        return self.residual(state)

    def residual(self, state: Array) -> Array:
        """Return r."""
        return self.form.observe(state) - self.form.problem.observation

    def norm(self, state: Array) -> float:
        """Return the Euclidean norm."""
        return float(np.linalg.norm(state))

    def moves(self, coefficients: Array) -> Array:
        """Return what happens to ζ = Z(z)."""
        return self.matrices.omega * np.abs(coefficients @ self.form.matrix)

    def look(self, state: Array) -> View:
        """Return what is known around a state."""
        return _MirrorView(self, state)

    def parameters(self, state: Array) -> tuple[Array, Array]:
        """Return z and N."""
        return np.array(self.form.z(state)), self.form.matrix

    def parameter_error(self, error: float) -> float:
        """Return √ω B1‖N‖ times the error, since dz/dζ = φ' and ζ = Z(z0) - ωNᵀS."""
        return self.matrices.root * self.matrices.b1 * self.matrices.spectral * error

    def evaluation_error(self, state: Array) -> float:
        """Return ‖Δz‖/√ω for the z that is found from Z(z) = ζ."""
        return self.z_rounding(state, self.form.z(state)) / self.matrices.root

    def z_rounding(self, state: Array, z: Array) -> float:
        """Return a bound on ‖z - z(S)‖: Δz = φ' ΔZ, read off from Z(z), twice."""
        at, form = self.matrices, self.form
        lift = at.omega * (np.abs(state) @ np.abs(form.matrix))
        zeta = form.Z0 - at.omega * (state @ form.matrix)
        off = np.abs(form.branches.Z(z) - zeta)
        off += (at.m + 24) * _U * (np.abs(form.Z0) + np.abs(zeta) + lift)
        slope = np.linalg.norm(at.activation.dphi(z) * off)
        return 2.0 * float(slope) + 16.0 * _U * float(np.linalg.norm(z))

    def network_at(self, state: Array) -> TwoLayerNetwork:
        """Return the network."""
        return self.form.network_at(state)


class _MirrorView:
    """The bounds in the variables S.

    Off the real line dz/dζ = φ'(z) keeps z within R of where it is while |ζ - ζ0| sup|φ'| ≤ R.
    """

    def __init__(self, flow: MirrorFlow, state: Array) -> None:
        self.flow, self.matrices, self.state = flow, flow.matrices, state
        self.residual = float(np.linalg.norm(flow.residual(state)))

    def spread(self, reach: Array) -> float:
        """Return sup ‖r - r(state)‖."""
        at = self.matrices
        if not (at.slope * float(reach.max()) <= at.strip):
            return float("inf")
        return at.spectral * at.slope**2 * float(np.linalg.norm(reach))

    def largest(self, reach: Array) -> float:
        """Return sup ‖r‖."""
        return self.residual + self.spread(reach)

    def gain(self, radius: float) -> float:
        """Return sup ω‖N diag φ'‖²."""
        at = self.matrices
        return at.omega * (at.b1 * at.spectral) ** 2

    def curvature(self, radius: float) -> float:
        """Return 0."""
        return 0.0

    def speed(self, radius: float) -> float:
        """Return sup ‖r‖."""
        return self.residual + self.gain(radius) * radius

    def rounding(self, radius: float) -> tuple[float, float]:
        """Return the rounding error of r, twice; that of z is read off from Z(z)."""
        at, form = self.matrices, self.flow.form
        z = form.z(self.state)
        wide = at.omega * radius * at.spectral
        dz = self.flow.z_rounding(self.state, z) + (at.m + 24) * _U * at.b1 * wide
        features = float(np.linalg.norm(at.activation.phi(z))) + at.b1**2 * wide
        dr = at.size * at.sum_rounding(features) + at.spectral * at.b1 * dz
        dr += 2.0 * _U * at.observed + self.gain(radius) * 16.0 * _U * radius
        return dr, dr


def why_not(problem: Problem, network: TwoLayerNetwork, train: str) -> str | None:
    """Return why there is no certified flow here, or None if there is one."""
    if isinstance(problem.loss, ObservedLoss):
        return f"it needs a loss of v - y; {problem.loss.name} is not one"
    if not has_reduction(problem, train):
        return "it needs a linear F" + (" with a known row space" if problem.linear else "")
    if not isinstance(problem.loss, (MSE, SquaredNorm, MeanSquared, Power, Huber, Cauchy, Welsch)):
        return f"it needs one of the radial losses by name; got {problem.loss!r}"
    if network.activation.name not in STRIPS:
        return "it needs an activation by name, whose continuation into ℂ is known"
    return None


def square_flow(problem: Problem, network: TwoLayerNetwork, train: str) -> SquareFlow:
    """Return the flow of the square loss in the variables in which it is certified.

    Raises InputError with the reason where there is none.
    """
    problem.require_size(network.n)
    reason = why_not(problem, network, train)
    if reason is not None:
        raise InputError(f"there is no certified flow here: {reason}.")
    square = problem if isinstance(problem.loss, MSE) else replace(problem, loss=MSE())
    moving = bool((network.activation.dphi(network.z) != 0.0).all())
    if train == "hidden" and moving and network.activation.name in CLOSED_Z:
        return MirrorFlow(square, network)
    return ParameterFlow(square, network, train)


# -- clocks ----------------------------------------------------------------------------------------


def _constant(loss: RadialLoss) -> bool:
    return isinstance(loss, (MSE, SquaredNorm, MeanSquared))


def _largest_slowness(loss: RadialLoss, square: float, move: float) -> float:
    """Return sup |1/w| over complex s = Σ r_i² with |s - square| ≤ move; inf if it is unknown."""
    if isinstance(loss, Power) and move < square:
        return float((square - move) ** -loss.p)
    if isinstance(loss, Cauchy):
        return 1.0 + square + move
    if isinstance(loss, Welsch):
        return float(np.exp(min(0.5 * (square + move), 700.0)))
    if isinstance(loss, Huber):
        if square + move <= loss.delta**2:
            return 1.0
        if square - move >= loss.delta**2:
            return float(np.sqrt(square + move) / loss.delta)
    return float("inf")


def _steepest(loss: RadialLoss, low: float, high: float) -> float:
    """Return sup |d(1/w)/dρ| for ρ in [low, high]."""
    if isinstance(loss, Power):
        return float(2.0 * loss.p * low ** (-2.0 * loss.p - 1.0)) if loss.p else 0.0
    if isinstance(loss, Cauchy):
        return 2.0 * high
    if isinstance(loss, Welsch):
        return float(high * np.exp(min(0.5 * high**2, 700.0)))
    assert isinstance(loss, Huber)
    return 1.0 / loss.delta if high > loss.delta else 0.0


# -- pieces ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A polynomial in τ on [start, end], how far it is from the flow, and the clock of the loss."""

    start: float
    """Where it begins."""
    end: float
    """Where it ends."""
    base: Array
    """A state; the polynomial is base + Σ c_l T_l(x), x from -1 to 1."""
    coefficients: Array
    """The c_l, (8, dim)."""
    error: float
    """A bound on its distance from the flow on the piece, in the norm of the state."""
    observation: float
    """A bound on the error of y on the piece, rounding included."""
    view: View
    """What is known around base + c_0."""
    travel: float
    """A bound on the distance from there on the piece."""
    clock: Array
    """Chebyshev coefficients of the time t since the beginning of the piece, as a function of x."""
    clock_error: float
    """A bound on the error of that time."""

    def states(self, x: Array) -> Array:
        """Return the states at points x of [-1, 1], (points, dim)."""
        return self.base + np.polynomial.chebyshev.chebvander(x, _DEGREE) @ self.coefficients

    def times(self, x: Array) -> Array:
        """Return the time since the beginning of the piece."""
        return np.asarray(np.polynomial.chebyshev.chebval(x, self.clock))


def pieces(flow: SquareFlow, loss: RadialLoss, rtol: float, atol: float) -> Iterator[Piece]:
    """Follow a flow and yield its pieces, without end; the error is inf once it is lost."""
    from scipy.integrate import DOP853

    solver = DOP853(flow.field, 0.0, flow.start.copy(), np.inf, rtol=rtol, atol=atol)
    error, last = 0.0, flow.start
    with np.errstate(all="ignore"):
        while True:
            solver.step()
            if solver.status != "running":
                return
            dense, span = solver.dense_output(), (float(solver.t_old), float(solver.t))
            for piece in _split(flow, loss, dense, span, 0, last, error):
                error, last = piece.error, piece.states(np.array([1.0]))[0]
                yield piece


def _split(
    flow: SquareFlow,
    loss: RadialLoss,
    dense: Any,
    span: tuple[float, float],
    depth: int,
    last: Array,
    error: float,
) -> Iterator[Piece]:
    """Yield the pieces of one step, halved until nothing is lost between the nodes."""
    piece, fine = _piece(flow, loss, dense, span, last, error)
    if fine or depth == _HALVINGS or not np.isfinite(error):
        yield piece
        return
    middle = 0.5 * (span[0] + span[1])
    for half in ((span[0], middle), (middle, span[1])):
        for piece in _split(flow, loss, dense, half, depth + 1, last, error):
            error, last = piece.error, piece.states(np.array([1.0]))[0]
            yield piece


def _piece(
    flow: SquareFlow,
    loss: RadialLoss,
    dense: Any,
    span: tuple[float, float],
    last: Array,
    error: float,
) -> tuple[Piece, bool]:
    """Return the piece, and whether it is as good as its nodes."""
    length = span[1] - span[0]
    base = np.asarray(dense(span[0]), dtype=np.float64)
    where = 0.5 * (span[0] + span[1]) + 0.5 * length * _LOBATTO
    coefficients = _FIT @ (np.asarray(dense(where)).T - base)
    states, slopes = base + _T @ coefficients, (2.0 / length) * (_DT @ coefficients)
    defects, rho = np.empty(_NODES), np.empty(_NODES)
    for j, (state, slope) in enumerate(zip(states, slopes, strict=True)):
        defects[j] = flow.norm(slope - flow.field(0.0, state))
        rho[j] = np.linalg.norm(flow.residual(state))
    view = flow.look(base + coefficients[0])
    travel = flow.norm(np.abs(coefficients[1:]).sum(axis=0))
    seen = _LEBESGUE * float(defects.max())
    missed, late = _between(view, loss, flow.moves(coefficients[1:]))
    off_r, off_f = view.rounding(travel)
    off_f += 64.0 * _U * travel / length
    defect = length * (seen + missed + _LEBESGUE * off_f)
    jump = flow.norm(base + np.polynomial.chebyshev.chebval(-1.0, coefficients) - last)
    slack = 32.0 * _U * (flow.norm(base) + travel)
    # Continuation: as long as e ≤ radius, μ holds; then e ≤ grown < radius on the whole piece.
    radius = 2.0 * (error + jump + slack + defect)
    mu = view.curvature(travel + radius)
    grown = float(np.exp(min(mu * length, 700.0))) * 0.5 * radius * (1.0 + 1e-12)
    grown = grown if grown < radius else float("inf")
    observation = view.gain(travel + grown) * grown + off_r if np.isfinite(grown) else grown
    wander = flow.norm(np.square(_POWERS) @ np.abs(coefficients[1:]))
    gap = _HALF_GAP * view.gain(travel) * wander + observation
    clock, late, off = _clock(loss, rho, observation, gap, late, length)
    clock_error = length * (late + off)
    piece = Piece(*span, base, coefficients, grown, observation, view, travel, clock, clock_error)
    fast = view.speed(travel) * float(np.max(loss.weight(rho)))
    fine = missed <= 0.1 * seen and late * fast <= max(seen, off * fast) and mu * length <= 0.5
    return piece, fine


def _between(view: View, loss: RadialLoss, moves: Array) -> tuple[float, float]:
    """Return bounds on what interpolation in the nodes misses: of f, and of 1/w(‖r‖)."""
    missed, late = float("inf"), 0.0 if _constant(loss) else float("inf")
    for size in _ELLIPSES:
        reach = (0.5 * (size**_POWERS + size**-_POWERS)) @ moves
        far = view.spread(reach)
        if not np.isfinite(far):
            break
        rest = 4.04 * size ** -(_NODES - 1.0) / (size - 1.0)
        missed = min(missed, rest * view.largest(reach))
        move = far * (2.0 * view.residual + far)
        late = min(late, rest * _largest_slowness(loss, view.residual**2, move))
    return missed, late


def _clock(
    loss: RadialLoss, rho: Array, off: float, gap: float, late: float, length: float
) -> tuple[Array, float, float]:
    """Return ∫ dτ/w(ρ) over a piece as a polynomial in x, and bounds on the error of 1/w.

    The first is what interpolation misses: `late`, or what the range of the values allows, ρ being
    nowhere more than `gap` from a value at a node.  The second comes from the error of ρ, `off`.
    """
    slowness = 1.0 / loss.weight(rho)
    values = _INTERPOLATE @ slowness * (0.5 * length)
    series = np.asarray(np.polynomial.chebyshev.chebint(values, lbnd=-1), dtype=np.float64)
    if _constant(loss):
        return series, 0.0, 0.0
    low, high = max(float(rho.min()) - gap, 0.0), float(rho.max()) + gap
    if not np.isfinite(gap) or (isinstance(loss, Power) and low == 0.0):
        return series, float("inf"), 0.0
    steepest = _steepest(loss, low, high)
    late = min(late, 0.5 * (1.0 + _LEBESGUE) * steepest * (high - low))
    rounded = 64.0 * _U * float(slowness.max()) * _LEBESGUE
    return series, late, (1.0 + _LEBESGUE) * steepest * off + rounded
