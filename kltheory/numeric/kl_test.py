"""Does a loss satisfy the KL inequality with this ψ?  A test by points, not a proof."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.errors import InputError
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.slope import Slope

__all__ = ["KLTest", "ball_points", "kl_test"]


@dataclass(frozen=True, slots=True)
class KLTest:
    """What the points say about ψ'(L(v)) ‖∇L(v)‖ >= 1."""

    consistent: bool
    """True if no point violates the inequality."""
    points: int
    """How many points were judged: those with 0 < L(v) < r0."""
    skipped: int
    """How many points were outside."""
    smallest: float
    """The smallest ψ'(L) ‖∇L‖ that was seen."""
    at: NDArray[np.float64] | None
    """The point of the smallest value: the counterexample if it is below 1."""
    loss: float | None
    """L at that point."""
    gradient_norm: float | None
    """‖∇L‖ at that point."""
    tolerance: float
    """How far below 1 a value may be by rounding."""

    def __str__(self) -> str:
        return self.verdict

    @property
    def verdict(self) -> str:
        """The answer as a sentence."""
        if not self.points:
            return "no point has 0 < L < r0: nothing was tested"
        if self.consistent:
            return (
                f"consistent on {self.points} points; the smallest ψ'(L)‖∇L‖ is {self.smallest:.6g}"
            )
        where = np.array2string(np.asarray(self.at), threshold=6, precision=6)
        return (
            f"not a desingularizing function of this loss: ψ'(L)‖∇L‖ = {self.smallest:.6g} < 1 at"
            f" v = {where}, where L = {self.loss:.6g} and ‖∇L‖ = {self.gradient_norm:.6g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "consistent": self.consistent,
            "points": self.points,
            "skipped": self.skipped,
            "smallest": self.smallest if math.isfinite(self.smallest) else None,
            "at": None if self.at is None else self.at.tolist(),
            "loss": self.loss,
            "gradient_norm": self.gradient_norm,
            "tolerance": self.tolerance,
            "verdict": self.verdict,
        }


def kl_test(
    value: Callable[[NDArray[np.float64]], Any],
    gradient: Callable[[NDArray[np.float64]], Any],
    psi: Desingularizer,
    points: ArrayLike,
    *,
    minimum: float = 0.0,
    tolerance: float = 1e-9,
) -> KLTest:
    """Test ψ'(L(v) - min L) ‖∇L(v)‖ >= 1 (Definition 2.2) at points.

    A violated point refutes ψ for this loss; consistency on any number of points proves nothing.

    Args:
        value: v -> L(v), for v of shape (m,).
        gradient: v -> ∇L(v), of shape (m,).
        psi: the desingularizing function, without free parameters.
        points: shape (N, m); those outside ]min L, min L + r0[ are skipped.
        minimum: min L.
        tolerance: a value of 1 - tolerance still counts as 1.

    >>> psi = Desingularizer.from_psi("sqrt(2*s)")
    >>> points = ball_points([0.0, 0.0], radius=2.0, n=100, seed=0)
    >>> kl_test(lambda v: v @ v / 2, lambda v: v, psi, points).consistent
    True
    >>> half = Desingularizer.from_psi("sqrt(s)")
    >>> kl_test(lambda v: v @ v / 2, lambda v: v, half, points).verdict[:40]
    'not a desingularizing function of this l'
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or not np.all(np.isfinite(array)):
        raise InputError(
            f"points have shape {array.shape}; finite numbers of shape (N, m) are needed"
        )
    slope = Slope(psi)
    losses = np.array([_number(value(v), "value") for v in array]) - minimum
    inside = (losses > 0) & (losses < slope.radius)
    smallest, at = math.inf, None
    found: tuple[float, float] | tuple[None, None] = (None, None)
    for i in np.flatnonzero(inside)[np.argsort(losses[inside])]:
        g = np.asarray(gradient(array[i]), dtype=np.float64)
        if g.shape != array[i].shape or not np.all(np.isfinite(g)):
            raise InputError(
                f"the gradient has shape {g.shape};"
                f" finite numbers of shape {array[i].shape} are needed"
            )
        norm = float(np.linalg.norm(g))
        product = slope(float(losses[i])) * norm
        if not product >= smallest:
            smallest, at, found = product, array[i].copy(), (float(losses[i]), norm)
    if at is not None:
        at.setflags(write=False)
    count = int(inside.sum())
    return KLTest(
        bool(smallest >= 1 - tolerance),
        count,
        len(array) - count,
        smallest,
        at,
        found[0],
        found[1],
        tolerance,
    )


def ball_points(center: ArrayLike, *, radius: float, n: int, seed: int) -> NDArray[np.float64]:
    """n points around `center`, at distances spread evenly on a log scale up to `radius`.

    Small distances matter: near the minimiser the exponent of ψ shows itself.

    >>> ball_points([1.0, 2.0], radius=0.5, n=3, seed=0).shape
    (3, 2)
    """
    middle = np.asarray(center, dtype=np.float64)
    if middle.ndim != 1 or not (radius > 0 and math.isfinite(radius)) or n < 1:
        raise InputError("ball_points needs a center of shape (m,), a radius > 0 and n >= 1")
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((n, len(middle)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distances = radius * 10 ** rng.uniform(-6, 0, (n, 1))
    return np.asarray(middle + distances * directions)


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name} returned {value!r}; a finite number is needed")
    return number
