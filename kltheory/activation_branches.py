"""The monotone branches of φ, and on them the functions Z and G of the width-free theorems.

Z' = 1/φ' makes the gradient flow of the hidden layer a mirror flow, and G' = 2φ/φ' gives the
conserved quantity ‖V_i‖² - G(z_i) when both layers are trained.  Both are closed forms where
there is one, and otherwise Gauss-Legendre quadratures on a table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kltheory.activation import Activation

__all__ = ["Branches", "branches_of"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
Ends = Callable[[Array], tuple[Array, Array]]
Two = Callable[[Array, Array], Array]

SEARCHED = 50.0
"""Zeros of a user's φ and φ' are looked for in [-50, 50]."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Where φ is monotone, and Z and G there; all functions are elementwise on arrays."""

    interval: Ends
    """z -> the ends of the largest interval around z on which φ is strictly monotone."""
    image: Ends
    """z -> the ends (low, high) of φ(interval(z)), an open interval."""
    Z: Function
    """A primitive of 1/φ' on each branch; it maps the branch onto ℝ."""
    Z_inverse: Two
    """(ζ, near) -> the z with Z(z) = ζ on the branch of `near`."""
    G: Function
    """A primitive of 2φ/φ' on each branch, 0 at a zero of φ if the branch has one."""
    lowest: Two
    """(z0, drop) -> the least |φ(z)| with G(z) ≥ G(z0) - drop on the branch of z0."""


def _solve(f: Function, slope: Function, target: Array, low: Array, high: Array) -> Array:
    """Solve f(z) = target for f monotone on [low, high], elementwise.

    Newton's iteration, with a bisection wherever it leaves the bracket or does not at least halve
    the step before the last.  Where the target is not in f([low, high]), the nearer end is found.
    """
    target, low, high = np.broadcast_arrays(target, low, high)
    rising = np.where(f(high) >= f(low), 1.0, -1.0)
    low, high = np.array(low, dtype=float), np.array(high, dtype=float)
    z = 0.5 * (low + high)
    before = last = high - low
    for _ in range(200):
        gap = f(z) - target
        low, high = np.where(rising * gap <= 0, z, low), np.where(rising * gap >= 0, z, high)
        step = gap / slope(z)
        fast = (z - step > low) & (z - step < high) & (2 * np.abs(step) <= before)
        new = np.where(fast, z - step, 0.5 * (low + high))
        before, last = last, np.abs(new - z)
        z = new
        if np.all(last <= 4e-16 * np.abs(z)):
            break
    return z


# -- quadrature on a table -----------------------------------------------------------------------

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_STEP = 0.125


class _Primitive:
    """∫ f from a reference point to z on an interval whose ends may be singular or infinite.

    The variable s in ℝ runs over the interval by z = c + log(1 + e^s), its mirror image, a
    scaled logistic function, or z = s; the integral over panels of length 1/8 is tabulated once
    and a value adds one quadrature inside a panel.
    """

    def __init__(self, f: Function, low: float, high: float, reference: float) -> None:
        self.f, self.low, self.high = f, low, high
        left = -1000.0 if low == -np.inf and high == np.inf else -40.0
        right = 40.0 if np.isfinite(low) and np.isfinite(high) else 1000.0
        grid = np.arange(left, right + _STEP, _STEP)
        parts = self._panels(grid[:-1], grid[1:])
        start = int(np.searchsorted(grid, self.parameter(np.array(reference)))) - 1
        start = min(max(start, 0), len(parts) - 1)
        bad = np.flatnonzero(~(np.abs(parts) < 1e290))
        first = int(bad[bad < start].max(initial=-1)) + 1
        last = int(bad[bad > start].min(initial=len(parts)))
        self.grid = grid[first : last + 1]
        # Outwards from the reference, so that huge values far out do not drown small ones.
        before = np.cumsum(parts[first:start][::-1])[::-1]
        self.table = np.concatenate([-before, [0.0], np.cumsum(parts[start:last])])
        self.table -= self(np.array(reference))

    def point(self, s: Array) -> tuple[Array, Array]:
        """Return z(s) and dz/ds."""
        e = np.exp(-np.abs(s))
        logistic = np.where(s >= 0, 1.0, e) / (1.0 + e)
        softplus = np.maximum(s, 0.0) + np.log1p(e)
        if np.isfinite(self.low) and np.isfinite(self.high):
            width = self.high - self.low
            return self.low + width * logistic, width * e / (1.0 + e) ** 2
        if np.isfinite(self.low):
            return self.low + softplus, logistic
        if np.isfinite(self.high):
            return self.high - softplus, -logistic
        return s, np.ones_like(s)

    def parameter(self, z: Array) -> Array:
        """Return s(z)."""
        with np.errstate(all="ignore"):
            if np.isfinite(self.low) and np.isfinite(self.high):
                return np.asarray(np.log(z - self.low) - np.log(self.high - z))
            if np.isfinite(self.low) or np.isfinite(self.high):
                d = z - self.low if np.isfinite(self.low) else self.high - z
                return np.asarray(d + np.log(-np.expm1(-d)))
        return np.asarray(z, dtype=float)

    def _panels(self, a: Array, b: Array) -> Array:
        """Integrate from s = a to s = b, elementwise."""
        half = 0.5 * (b - a)[..., None]
        z, dz = self.point(a[..., None] + half * (1.0 + _NODES))
        with np.errstate(all="ignore"):
            return np.asarray(np.sum(half * _WEIGHTS * self.f(z) * dz, axis=-1))

    def __call__(self, z: Array) -> Array:
        """Return the integral up to z; beyond the table it is that of the table's end."""
        s = np.clip(np.nan_to_num(self.parameter(z), nan=0.0), self.grid[0], self.grid[-1])
        j = np.clip(((s - self.grid[0]) / _STEP).astype(int), 0, len(self.grid) - 2)
        return np.asarray(self.table[j] + self._panels(self.grid[j], s))

    def ends(self) -> tuple[float, float]:
        """Return the part of the interval that the table covers, in increasing order."""
        ends = self.point(self.grid[[0, -1]])[0]
        return float(ends.min()), float(ends.max())


def _tabulated(activation: Activation, critical: list[float], zeros: list[float]) -> Branches:
    """Branches of any φ with these zeros of φ' and of φ; everything by quadrature."""
    edges = np.array([-np.inf, *critical, np.inf])

    def inverse_slope(z: Array) -> Array:
        return np.asarray(1.0 / activation.dphi(z))

    def ratio(z: Array) -> Array:
        return np.asarray(2.0 * activation.phi(z) / activation.dphi(z))

    @functools.cache
    def tables(i: int) -> tuple[_Primitive, _Primitive, float | None]:
        low, high = float(edges[i]), float(edges[i + 1])
        zero = next((z for z in zeros if low < z < high), None)
        middle = {
            (True, True): 0.5 * (low + high),
            (True, False): low + 1.0,
            (False, True): high - 1.0,
        }.get((bool(np.isfinite(low)), bool(np.isfinite(high))), 0.0)
        reference = middle if zero is None else zero
        pair = [_Primitive(f, low, high, reference) for f in (inverse_slope, ratio)]
        return pair[0], pair[1], zero

    def index(z: Array) -> NDArray[np.intp]:
        return np.clip(np.searchsorted(edges, z, side="right") - 1, 0, len(edges) - 2)

    def by_branch(z: Array, f: Callable[[int, NDArray[np.bool_]], Array]) -> Array:
        i, out = index(z), np.empty(z.shape)
        for j in np.unique(i):
            out[i == j] = f(int(j), i == j)
        return out

    def interval(z: Array) -> tuple[Array, Array]:
        i = index(np.asarray(z))
        return edges[i], edges[i + 1]

    def image(z: Array) -> tuple[Array, Array]:
        far = np.clip(edges, -1e8, 1e8)
        with np.errstate(all="ignore"):
            values = np.asarray(activation.phi(far), dtype=float)
            steep = np.abs(np.asarray(activation.dphi(far))) > 1e-3
        values = np.where(np.isinf(edges) & steep, np.copysign(np.inf, values), values)
        i = index(np.asarray(z))
        return np.minimum(values[i], values[i + 1]), np.maximum(values[i], values[i + 1])

    def big_z(z: Array) -> Array:
        z = np.asarray(z, dtype=float)
        return by_branch(z, lambda j, at: tables(j)[0](z[at]))

    def z_inverse(zeta: Array, near: Array) -> Array:
        zeta, near = np.broadcast_arrays(np.asarray(zeta, dtype=float), np.asarray(near))

        def solve(j: int, at: NDArray[np.bool_]) -> Array:
            table = tables(j)[0]
            low, high = (np.full(zeta[at].shape, end) for end in table.ends())
            return _solve(table, inverse_slope, zeta[at], low, high)

        return by_branch(near, solve)

    def big_g(z: Array) -> Array:
        z = np.asarray(z, dtype=float)
        return by_branch(z, lambda j, at: tables(j)[1](z[at]))

    def lowest(z0: Array, drop: Array) -> Array:
        z0, drop = np.broadcast_arrays(np.asarray(z0, dtype=float), np.asarray(drop, dtype=float))

        def solve(j: int, at: NDArray[np.bool_]) -> Array:
            _, table, zero = tables(j)
            target, start = table(z0[at]) - drop[at], z0[at]
            if zero is None:
                falls = table(np.array(table.ends()))
                end = np.full(start.shape, table.ends()[int(falls[1] < falls[0])])
            else:
                end = np.full(start.shape, zero)
            z = _solve(table, ratio, target, np.minimum(start, end), np.maximum(start, end))
            return np.where(target > table(end), np.abs(activation.phi(z)), 0.0)

        return by_branch(z0, solve)

    return Branches(interval, image, big_z, z_inverse, big_g, lowest)


# -- closed forms --------------------------------------------------------------------------------


def _whole_line(low: float, high: float) -> tuple[Ends, Ends]:
    """`interval` and `image` of a φ that increases on ℝ from `low` to `high`."""

    def interval(z: Array) -> tuple[Array, Array]:
        return np.full(np.shape(z), -np.inf), np.full(np.shape(z), np.inf)

    def image(z: Array) -> tuple[Array, Array]:
        return np.full(np.shape(z), low), np.full(np.shape(z), high)

    return interval, image


def _x_plus_sinh_inverse(y: Array) -> Array:
    """Solve x + sinh x = y."""
    high = np.asarray(np.arcsinh(np.abs(y)))  # sinh x ≤ |y|
    x = _solve(lambda x: x + np.sinh(x), lambda x: 1 + np.cosh(x), np.abs(y), 0.0 * high, high)
    return np.asarray(np.copysign(x, y))


def _sigmoid_lowest(z0: Array, drop: Array) -> Array:
    """G(z) = 2(z + e^z), and u = e^z solves u + log u = z0 + e^z0 - drop/2."""
    from scipy.special import wrightomega

    u = wrightomega(np.asarray(z0 + np.exp(z0) - 0.5 * np.asarray(drop), dtype=float))
    return np.asarray(u / (1.0 + u))


def _tanh_lowest(z0: Array, drop: Array) -> Array:
    s2 = np.maximum(np.sinh(z0) ** 2 - drop, 0.0)
    return np.asarray(np.sqrt(s2 / (1.0 + s2)))


def _softplus_g(z: Array) -> Array:
    """2∫ log(1 + e^t)(1 + e^-t) dt, with the dilogarithm Li₂(-e^z)."""
    from scipy.special import spence

    z = np.asarray(z, dtype=float)
    sp = np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))
    clipped = np.maximum(z, -30.0)
    ratio = np.where(z < -30.0, 1.0, np.exp(-clipped) * np.log1p(np.exp(np.minimum(clipped, 30.0))))
    ratio = np.where(z > 30.0, sp * np.exp(-np.maximum(z, 0.0)), ratio)
    return np.asarray(2.0 * (-spence(1.0 + np.exp(z)) - ratio + z - sp))


def _softplus_g_slope(z: Array) -> Array:
    sp = np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))
    return np.asarray(2.0 * sp * (1.0 + np.exp(-np.asarray(z))))


def _softplus_lowest(z0: Array, drop: Array) -> Array:
    """G' ≥ 2, so that the solution is at most drop/2 below z0."""
    z0, drop = np.asarray(z0, dtype=float), np.asarray(drop, dtype=float)
    low = z0 - 0.5 * drop
    with np.errstate(over="ignore", invalid="ignore"):
        z = _solve(_softplus_g, _softplus_g_slope, _softplus_g(z0) - drop, low, z0)
    return np.asarray(np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))))


def _softplus_z_inverse(zeta: Array, near: Array) -> Array:
    """Z = z - e^-z, and w = e^-z solves w + log w = -ζ."""
    from scipy.special import wrightomega

    zeta = np.asarray(zeta, dtype=float)
    w = wrightomega(-zeta)
    return np.where(zeta > 0, zeta + w, -np.log(np.maximum(w, 1e-300)))


def _sin_sheet(z: Array) -> tuple[Array, Array]:
    """Return j and (-1)^j for z in ]jπ - π/2, jπ + π/2[."""
    j = np.floor(np.asarray(z, dtype=float) / np.pi + 0.5)
    return j, 1.0 - 2.0 * np.mod(j, 2.0)


def _sin_interval(z: Array) -> tuple[Array, Array]:
    middle = np.pi * _sin_sheet(z)[0]
    return middle - np.pi / 2, middle + np.pi / 2


def _sin_z_inverse(zeta: Array, near: Array) -> Array:
    j, sign = _sin_sheet(near)
    with np.errstate(over="ignore"):  # sinh is infinite far out, and its arctan π/2
        return np.asarray(np.pi * j + sign * np.arctan(np.sinh(zeta)))


def _sin_lowest(z0: Array, drop: Array) -> Array:
    """G(z) = -2 log|cos z|: |cos z| grows by at most e^{drop/2}."""
    cosine = np.abs(np.cos(z0)) * np.exp(0.5 * np.asarray(drop))
    return np.asarray(np.sqrt(np.maximum(1.0 - cosine**2, 0.0)))


def _erf_z_inverse(zeta: Array, near: Array) -> Array:
    """Z = (π/4) erfi z; the larger ones are found from log erfi, where Newton is stable."""
    from scipy.special import dawsn

    y = np.abs(np.asarray(zeta, dtype=float)) * 4.0 / np.pi

    def log_erfi(z: Array) -> Array:
        return np.asarray(z * z + np.log(2.0 / np.sqrt(np.pi) * dawsn(z)))

    with np.errstate(divide="ignore"):
        high = np.sqrt(np.log1p(y)) + 1.0
        tiny = y < 1e-8
        z = _solve(
            log_erfi,
            lambda z: np.asarray(1.0 / dawsn(z)),
            np.log(np.where(tiny, 1.0, y)),
            np.full(y.shape, 1e-9),
            high,
        )
    return np.asarray(np.copysign(np.where(tiny, y * np.sqrt(np.pi) / 2.0, z), zeta))


def _arctan_g(z: Array) -> Array:
    square = np.square(z)
    return np.asarray(
        2.0 * z * (1.0 + square / 3.0) * np.arctan(z) - square / 3.0 - 2.0 / 3.0 * np.log1p(square)
    )


def _closed(activation: Activation) -> Branches | None:
    """Return the closed forms of a built-in activation, where there are any."""
    from scipy.special import erfi

    def even_lowest(g: Function) -> Two:
        """`lowest` of an odd φ that increases on ℝ, from G."""

        def slope(z: Array) -> Array:
            return np.asarray(2.0 * activation.phi(z) / activation.dphi(z))

        def lowest(z0: Array, drop: Array) -> Array:
            z0 = np.abs(np.asarray(z0, dtype=float))
            target = g(z0) - drop
            z = _solve(g, slope, np.maximum(target, 0.0), 0.0 * z0, z0)
            return np.where(target > 0, activation.phi(z), 0.0)

        return lowest

    match activation.name:
        case "sigmoid":
            return Branches(
                *_whole_line(0.0, 1.0),
                lambda z: np.asarray(2.0 * (z + np.sinh(z))),
                lambda zeta, near: _x_plus_sinh_inverse(0.5 * np.asarray(zeta)),
                lambda z: np.asarray(2.0 * (z + np.exp(z))),
                _sigmoid_lowest,
            )
        case "tanh":
            return Branches(
                *_whole_line(-1.0, 1.0),
                lambda z: np.asarray(0.5 * z + 0.25 * np.sinh(2.0 * np.asarray(z))),
                lambda zeta, near: 0.5 * _x_plus_sinh_inverse(4.0 * np.asarray(zeta)),
                lambda z: np.asarray(np.sinh(z) ** 2),
                _tanh_lowest,
            )
        case "softplus":
            return Branches(
                *_whole_line(0.0, np.inf),
                lambda z: np.asarray(z - np.exp(-np.asarray(z))),
                _softplus_z_inverse,
                _softplus_g,
                _softplus_lowest,
            )
        case "sin":
            return Branches(
                _sin_interval,
                lambda z: (np.full(np.shape(z), -1.0), np.full(np.shape(z), 1.0)),
                lambda z: np.asarray(np.arcsinh(np.sin(z) / np.abs(np.cos(z)))),
                _sin_z_inverse,
                lambda z: np.asarray(-2.0 * np.log(np.abs(np.cos(z)))),
                _sin_lowest,
            )
        case "erf":
            table = _tabulated(activation, [], [0.0])
            return Branches(
                *_whole_line(-1.0, 1.0),
                lambda z: np.asarray(np.pi / 4.0 * erfi(z)),
                _erf_z_inverse,
                table.G,
                table.lowest,
            )
        case "arctan":
            return Branches(
                *_whole_line(-np.pi / 2, np.pi / 2),
                lambda z: np.asarray(z + np.asarray(z) ** 3 / 3.0),
                lambda zeta, near: np.asarray(
                    2.0 * np.sinh(np.arcsinh(1.5 * np.asarray(zeta)) / 3)
                ),
                _arctan_g,
                even_lowest(_arctan_g),
            )
    return None


def _sign_changes(f: Function) -> list[float]:
    """Return the sign changes of f in [-50, 50], each to double precision."""
    from scipy.optimize import brentq

    grid = np.linspace(-SEARCHED, SEARCHED, 20_002)  # does not contain 0
    grid = grid[f(grid) != 0.0]  # far out φ and φ' may underflow
    signs = np.sign(f(grid))
    ends = [(grid[i], grid[i + 1]) for i in np.flatnonzero(signs[:-1] != signs[1:])]
    return [brentq(lambda x: float(f(np.array([x]))[0]), a, b, xtol=1e-15) for a, b in ends]


@functools.lru_cache(maxsize=64)
def branches_of(activation: Activation) -> Branches:
    """Return the branches of an activation; of a user's φ those that end in [-50, 50]."""
    closed = _closed(activation) if activation.built_in else None
    if closed is not None:
        return closed
    if isinstance(activation.monotone, str):
        critical = _sign_changes(activation.dphi)
        return _tabulated(activation, critical, _sign_changes(activation.phi))
    found = _tabulated(activation, [], _sign_changes(activation.phi))
    low, high = activation.monotone.infimum, activation.monotone.supremum
    interval, image = _whole_line(
        -np.inf if low is None else float(low[0]), np.inf if high is None else float(high[1])
    )
    return replace(found, interval=interval, image=image)
