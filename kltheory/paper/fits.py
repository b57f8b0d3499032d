"""The numbers that a figure is read by: borders and their exponents, slopes, expected noise.

Intervals are of 95 %, by the bootstrap over runs; they say how far chance in the runs can move a
fit, and nothing about whether the model of the fit is right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Border",
    "border_ratio",
    "expected_uniform_norm",
    "fit_border",
    "log_slope",
    "mean_interval",
]

Array = NDArray[np.float64]

_BOOTSTRAP = 500
_LEVELS = (2.5, 97.5)


@cache
def border_ratio(power: float = 1.0) -> float:
    """Return k/m at which half of the runs of Figure 1 can reach zero loss: about 9.2.

    y = N a with a in [0, 1]^k, N of independent Gaussian entries of variance 1/k and y Gaussian of
    variance `power` in R^m.  Gordon's comparison: for large m dist(y, N[0,1]^k) is positive exactly
    if √m √(power + E a²) > √k E[g a] for every function a(g) in [0, 1] of a standard Gaussian g.
    The best one is a = clip(c g), with E[g a] = c P and E a² = c² (P - φ(1/c)/c) + 1/2 - P, where
    P = Φ(1/c) - 1/2.  A heuristic for N = A V/√k with any n ≥ m: independent of n and of A.

    >>> round(border_ratio(), 2)
    9.2
    """
    from scipy.optimize import minimize_scalar

    def ratio(log_c: float) -> float:
        c = math.exp(log_c)
        inside = 0.5 * math.erf(1.0 / (c * math.sqrt(2.0)))
        density = math.exp(-0.5 / c**2) / math.sqrt(2.0 * math.pi)
        square = c**2 * (inside - density / c) + 0.5 - inside
        return (power + square) / (c * inside) ** 2

    return float(minimize_scalar(ratio, bounds=(-3.0, 4.0), method="bounded").fun)


@dataclass(frozen=True, slots=True)
class Border:
    """Where half of the runs converge: k = k_at · (x / x_at)^exponent."""

    exponent: float | None
    """Of k against x; None with a single x."""
    interval: tuple[float, float] | None
    """95 % of the bootstrap."""
    k_at: float
    """k at x_at."""
    k_interval: tuple[float, float]
    """95 % of the bootstrap."""
    x_at: float
    """The geometric mean of the x that were run."""
    width: float
    """The factor in k from 12 % to 88 %: e^(4/steepness)."""

    def k(self, x: ArrayLike) -> Array:
        """Return the border at x."""
        power = 0.0 if self.exponent is None else self.exponent
        return np.asarray(self.k_at * (np.asarray(x, float) / self.x_at) ** power)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "exponent": self.exponent,
            "exponent_interval": None if self.interval is None else list(self.interval),
            "k_at": self.k_at,
            "k_interval": list(self.k_interval),
            "x_at": self.x_at,
            "width": self.width,
        }


def fit_border(
    x: ArrayLike, k: ArrayLike, successes: ArrayLike, trials: ArrayLike, *, seed: int = 0
) -> Border | None:
    """Fit P(success) = logistic(b (log k - a - e log x)) to cells by maximum likelihood.

    All arguments have one entry for each cell.  None if no border lies among the cells.

    >>> k = np.geomspace(10, 1000, 30)
    >>> x, k = np.repeat([1.0, 2.0, 4.0], 30), np.tile(k, 3)
    >>> share = 1 / (1 + (30 * x**2 / k) ** 8)
    >>> border = fit_border(x, k, 50 * share, np.full(90, 50))
    >>> round(border.exponent, 3), round(float(border.k(1.0)), 1)
    (2.0, 30.0)
    """
    log_x, log_k = np.log(np.asarray(x, float)), np.log(np.asarray(k, float))
    wins, tries = np.asarray(successes, float), np.asarray(trials, float)
    here = tries > 0
    log_x, log_k, wins, tries = log_x[here], log_k[here], wins[here], tries[here]
    if not (0.0 < wins.sum() < tries.sum()):
        return None
    middle, centre = float(log_x.mean()), float(log_k.mean())
    design = np.column_stack([log_k - centre, np.ones_like(log_k), log_x - middle])
    if np.ptp(log_x) == 0.0:
        design = design[:, :2]
    best = _logistic(design, wins, tries)
    if best is None or not best[0] > 0.0:
        return None
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(_BOOTSTRAP):
        again = rng.binomial(tries.astype(int), wins / tries).astype(np.float64)
        found = _logistic(design, again, tries, start=best)
        if found is not None and found[0] > 0.0:
            draws.append(_read(found, centre))
    exponent, at = _read(best, centre)
    if not 0.1 * math.exp(log_k.min()) <= at <= 10.0 * math.exp(log_k.max()):
        return None
    spread = np.percentile(np.array(draws), _LEVELS, axis=0)
    several = best.size == 3
    return Border(
        exponent if several else None,
        (float(spread[0, 0]), float(spread[1, 0])) if several else None,
        at,
        (float(spread[0, 1]), float(spread[1, 1])),
        math.exp(middle),
        math.exp(min(4.0 / float(best[0]), 700.0)),
    )


def _read(beta: Array, centre: float) -> tuple[float, float]:
    """Return (exponent, k at the middle of x)."""
    exponent = -float(beta[2] / beta[0]) if beta.size == 3 else 0.0
    return exponent, math.exp(min(700.0, max(-700.0, centre - float(beta[1] / beta[0]))))


def _logistic(design: Array, wins: Array, tries: Array, start: Array | None = None) -> Array | None:
    """Return the coefficients of largest likelihood, a slight ridge keeping them finite."""
    ridge = 1e-4
    beta = np.zeros(design.shape[1]) if start is None else start.copy()

    def value(b: Array) -> float:
        eta = design @ b
        return float(wins @ eta - tries @ np.logaddexp(0.0, eta) - 0.5 * ridge * b @ b)

    now = value(beta)
    for _ in range(100):
        share = 0.5 * (1.0 + np.tanh(0.5 * (design @ beta)))
        gradient = design.T @ (wins - tries * share) - ridge * beta
        curvature = (design.T * (tries * share * (1.0 - share))) @ design
        step = np.linalg.solve(curvature + ridge * np.eye(beta.size), gradient)
        size, ahead = 1.0, value(beta + step)
        while not ahead >= now and size > 1e-8:
            size *= 0.5
            ahead = value(beta + size * step)
        if not ahead >= now:
            return beta if np.abs(gradient).max() < 1e-3 * tries.sum() else None
        beta = beta + size * step
        if ahead - now <= 1e-10 * (1.0 + abs(now)):
            return beta
        now = ahead
    return None


@cache
def expected_uniform_norm(m: int) -> float:
    """Return E‖ε‖ for m independent entries uniform on [-1, 1].

    √S = (1/√π) ∫ (1 - e^{-s² S}) s^{-2} ds over s > 0, and E e^{-s² ε²} = √π erf(s)/(2s).

    >>> expected_uniform_norm(1), round(expected_uniform_norm(10), 4)
    (0.5, 1.8066)
    """
    if m == 1:
        return 0.5
    from scipy.integrate import quad

    def rest(s: float) -> float:
        if s < 1e-4:
            return m / 3.0
        return (1.0 - (math.sqrt(math.pi) * math.erf(s) / (2.0 * s)) ** m) / s**2

    near = quad(rest, 0.0, 10.0, limit=200, epsabs=1e-13, epsrel=1e-12)[0]
    # Beyond 10 erf is 1: ∫ (1 - c^m s^-m) s^-2 ds = 1/10 - c^m 10^(-m-1)/(m+1).
    c = math.sqrt(math.pi) / 2.0
    return float((near + 0.1 - c**m * 10.0 ** (-m - 1) / (m + 1)) / math.sqrt(math.pi))


def mean_interval(values: ArrayLike, *, seed: int = 0) -> tuple[float, float, float, float]:
    """Return mean, standard deviation and the bootstrap interval of the mean.

    >>> mean_interval([1.0, 1.0, 1.0])
    (1.0, 0.0, 1.0, 1.0)
    """
    sample = np.asarray(values, float)
    rng = np.random.default_rng(seed)
    means = sample[rng.integers(0, sample.size, (_BOOTSTRAP, sample.size))].mean(axis=1)
    low, high = np.percentile(means, _LEVELS)
    spread = float(sample.std(ddof=1)) if sample.size > 1 else 0.0
    return float(sample.mean()), spread, float(low), float(high)


def log_slope(x: ArrayLike, runs: ArrayLike, *, seed: int = 0) -> tuple[float, float, float] | None:
    """Return the slope of log mean(runs) against log x, with its bootstrap interval over runs.

    runs: (count, points), positive.  None with fewer than three points.

    >>> x = np.geomspace(1, 100, 9)
    >>> slope, low, high = log_slope(x, np.array([2.0, 3.0])[:, None] * x**-1.5)
    >>> round(slope, 9), round(low, 9), round(high, 9)
    (-1.5, -1.5, -1.5)
    """
    sample, log_x = np.asarray(runs, float), np.log(np.asarray(x, float))
    if log_x.size < 3:
        return None
    offsets = log_x - log_x.mean()

    def slope(mean: Array) -> Array:
        return np.asarray(np.log(mean) @ offsets / (offsets @ offsets))

    rng = np.random.default_rng(seed)
    count = sample.shape[0]
    weights = rng.multinomial(count, np.full(count, 1.0 / count), _BOOTSTRAP) / count
    low, high = np.percentile(slope(weights @ sample), _LEVELS)
    return float(slope(sample.mean(axis=0))), float(low), float(high)
