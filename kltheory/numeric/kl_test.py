"""Does a loss satisfy the KL inequality with this ψ?  A test by points, not a proof."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.errors import InputError
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.loss_expression import LossExpression, functions, read_loss
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
    warnings: tuple[str, ...] = ()
    """What was read in a way that may surprise, in a loss given as text."""

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
            "warnings": [*self.warnings],
        }


@overload
def kl_test(
    value: Callable[[NDArray[np.float64]], Any],
    gradient: Callable[[NDArray[np.float64]], Any],
    psi: Desingularizer,
    points: ArrayLike,
    *,
    minimum: float = 0.0,
    tolerance: float = 1e-9,
) -> KLTest: ...


@overload
def kl_test(
    value: Any,
    gradient: None = None,
    *,
    psi: Desingularizer,
    points: ArrayLike,
    variables: Sequence[Any] | None = None,
    minimum: float = 0.0,
    tolerance: float = 1e-9,
) -> KLTest: ...


def kl_test(
    value: Any,
    gradient: Callable[[NDArray[np.float64]], Any] | None = None,
    psi: Desingularizer | None = None,
    points: ArrayLike | None = None,
    *,
    variables: Sequence[Any] | None = None,
    minimum: float = 0.0,
    tolerance: float = 1e-9,
) -> KLTest:
    """Test ψ'(L(v) - min L) ‖∇L(v)‖ >= 1 (Definition 2.2) at points.

    A violated point refutes ψ for this loss; consistency on any number of points proves nothing.
    A loss given as an expression is differentiated symbolically and computed at 100 digits, so
    that near a minimiser no rounding of log(1 + v1**2) looks like a counterexample.

    Args:
        value: v -> L(v), for v of shape (m,); or L as text, or as a SymPy expression.
        gradient: v -> ∇L(v), of shape (m,); none for an expression.
        psi: the desingularizing function, without free parameters.
        points: shape (N, m); those outside ]min L, min L + r0[ are skipped.
        variables: of an expression, in the order of the coordinates: m names (v1, v2, ... if none
            are given) or m symbols, each real.
        minimum: min L.  In an expression, subtract an irrational one there: "... - log(2)".
        tolerance: a value of 1 - tolerance still counts as 1.

    Raises:
        ParseError: the text is not an expression in the variables; with the place.
        InputError: L or ∇L is not real and finite at a point, or arguments do not fit.

    >>> psi = Desingularizer.from_psi("sqrt(2*s)")
    >>> points = ball_points([0.0, 0.0], radius=2.0, n=100, seed=0)
    >>> kl_test(lambda v: v @ v / 2, lambda v: v, psi, points).consistent
    True
    >>> half = Desingularizer.from_psi("sqrt(s)")
    >>> kl_test("v1**2/2 + v2**2/2", psi=half, points=points).verdict[:40]
    'not a desingularizing function of this l'
    """
    if psi is None or points is None:
        raise InputError("kl_test needs psi and points")
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or not np.all(np.isfinite(array)):
        raise InputError(
            f"points have shape {array.shape}; finite numbers of shape (N, m) are needed"
        )
    slope = Slope(psi)
    warnings: tuple[str, ...] = ()
    called = callable(value) and not hasattr(value, "free_symbols")
    if gradient is not None:
        if variables is not None or not called:
            raise InputError("a loss given as an expression needs no gradient: leave it out")
        losses = np.array([_number(value(v), "value") for v in array]) - minimum
    else:
        if called:
            raise InputError("a loss given as a function needs its gradient: give both")
        names = [f"v{k + 1}" for k in range(array.shape[1])] if variables is None else variables
        if len(names) != array.shape[1]:
            raise InputError(f"{len(names)} variables are given; points have {array.shape[1]}")
        loss = read_loss(value, names)
        warnings = loss.warnings
        losses = _computed(loss, (loss.value,), array, "L", minimum)[:, 0]
    inside = np.flatnonzero((losses > 0) & (losses < slope.radius))
    if gradient is not None:
        gradients = np.array([_vector(gradient(v), v.shape) for v in array[inside]])
    else:
        gradients = _computed(loss, loss.gradient, array[inside], "∇L")
    smallest, at = math.inf, None
    found: tuple[float, float] | tuple[None, None] = (None, None)
    for i in np.argsort(losses[inside]):
        level, norm = float(losses[inside[i]]), math.hypot(*gradients[i])
        product = slope(level) * norm
        if not product >= smallest:
            smallest, at, found = product, array[inside[i]].copy(), (level, norm)
    if at is not None:
        at.setflags(write=False)
    return KLTest(
        bool(smallest >= 1 - tolerance),
        len(inside),
        len(array) - len(inside),
        smallest,
        at,
        found[0],
        found[1],
        tolerance,
        warnings,
    )


def _computed(
    loss: LossExpression,
    wanted: Sequence[int],
    points: NDArray[np.float64],
    name: str,
    minimum: float = 0.0,
) -> NDArray[np.float64]:
    """Return the wanted steps at points (N, m), less the minimum, as floats (N, len(wanted))."""
    number, table = functions()
    column = np.frompyfunc(number, 1, 1)
    known = {k: np.frompyfunc(f, arity, 1) for k, (f, arity) in table.items()}
    done: list[Any] = []
    for step, on in loss.steps[: max(wanted) + 1]:
        if step == "variable":
            done.append(column(points[:, on]))
        elif step == "number":
            done.append(
                np.full(len(points), on if isinstance(on, bool) else number(on), dtype=object)
            )
        else:
            done.append(known[step](*(done[k] for k in on)))
    values = np.stack([done[k] - number(minimum) for k in wanted], axis=1).astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(wrong):
        where = np.array2string(points[wrong[0]], threshold=6, precision=6)
        raise InputError(
            f"{name} is not real and finite at v = {where}, for L = {loss.text};"
            " give points where it is"
        )
    return values


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


def _vector(value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    g = np.asarray(value, dtype=np.float64)
    if g.shape != shape or not np.all(np.isfinite(g)):
        raise InputError(
            f"the gradient has shape {g.shape}; finite numbers of shape {shape} are needed"
        )
    return g
