"""A user's activation: a text in x, or a Python callable with its derivative, checked for A-5.

For a text the constants are proved in ball arithmetic, if python-flint is installed and a proof is
found within seconds; else, and for a callable, they are sampled and say so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kltheory.activation import ACTIVATIONS, Activation, OneBranch, get
from kltheory.activation_constants import decimal_ends, enclosed_constants
from kltheory.errors import InputError, brief

if TYPE_CHECKING:
    from kltheory.symbolic.half_lines import HalfLines
    from kltheory.symbolic.line_bounds import LineBounds, Monotone

__all__ = ["from_callable", "from_text", "resolve"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

NEAR, FAR = 50.0, 500.0
"""φ' is sampled densely in [-50, 50] and its growth is looked for up to 500."""
MARGIN = 1e-9
"""Sampled suprema are enlarged by this share."""

_REFUSED = {
    "relu": "max(x, 0): φ' jumps from 0 to 1 at 0",
    "leaky-relu": "φ' jumps at 0",
    "leaky_relu": "φ' jumps at 0",
    "prelu": "φ' jumps at 0",
    "hardtanh": "φ' jumps at ±1",
    "relu6": "φ' jumps at 0 and 6",
    "selu": "φ' jumps at 0",
    "step": "φ jumps at 0",
    "softmax": "it does not act on each coordinate alone (softplus does)",
}


def resolve(activation: Any) -> Activation:
    """Return the activation of that name, or the one that a text or SymPy expression in x writes.

    >>> resolve("swish").name, resolve("x*exp(-x**2)").formula
    ('silu', 'x*exp(-x**2)')
    >>> resolve("relu")
    Traceback (most recent call last):
        ...
    kltheory.errors.InputError: activation relu: max(x, 0): φ' jumps from 0 to 1 at 0, but A-5 ...
    """
    if isinstance(activation, Activation):
        return activation
    if hasattr(activation, "free_symbols"):
        from kltheory.symbolic.parse import to_text

        return from_text(to_text(activation))
    if not isinstance(activation, str):
        raise InputError(
            f"activation: got {brief(activation)}; give a name, a text in x, or an Activation "
            "(from_callable makes one of a function and its derivative)."
        )
    name = {"swish": "silu", "atan": "arctan"}.get(activation.lower(), activation.lower())
    if name in ACTIVATIONS:
        return get(name)
    if name in _REFUSED:
        raise InputError(
            f"activation {name}: {_REFUSED[name]}, but A-5 asks for a φ with bounded and Lipschitz "
            "φ'; a smooth relative is softplus, gelu or silu."
        )
    if not any(character in activation for character in "x(+-*/"):
        raise InputError(
            f"activation: got {brief(activation)}; allowed are {', '.join(ACTIVATIONS)}, or a "
            'text in x such as "x/(1 + x**2)".'
        )
    return from_text(activation)


@functools.lru_cache(maxsize=64)
def from_text(text: str) -> Activation:
    """Return the activation that a text in x writes; φ' and φ'' are derived, constants enclosed.

    Raises:
        ParseError: the text is not an expression.
        InputError: φ is not defined on ℝ, or violates A-5.

    >>> from_text("x/sqrt(1 + x**2)").dphi(np.array([0.0])).tolist()
    [1.0]
    """
    from kltheory.symbolic.half_lines import NAMES, read_half_lines

    halves = read_half_lines(text)
    table: dict[str, Callable[..., Any]] = {}
    for name in NAMES:
        if name in ("erf", "erfc"):
            table[name] = functools.partial(_special, name)
        else:
            table[name] = _heaviside if name == "heaviside" else getattr(np, name)
    pieces = [halves.evaluator(order, table) for order in range(3)]
    if pieces[0] is None or pieces[1] is None:
        raise InputError(f"activation {text!r}: it has a function that is not available for φ.")
    d2phi = None if pieces[2] is None else _on_line(pieces[2])
    made = from_callable(_on_line(pieces[0]), _on_line(pieces[1]), d2phi=d2phi, name=text)
    found = _proofs(halves)
    if isinstance(found, str):
        unproved = f" (not proved: {found})"
        return replace(
            made,
            slope_bound=_told(made.slope_bound, unproved),
            curvature_bound=_told(made.curvature_bound, unproved),
            monotone=found,
        )
    suprema = "branch and bound in ball arithmetic, rounded outwards"
    ends = {
        "B1": found.slope,
        "B2": found.curvature,
        "square": found.square,
        "slope": found.slope_square,
        "absolute": found.absolute,
        "fourth": found.fourth,
    }
    enclosed = enclosed_constants(
        {name: (interval.low, interval.high) for name, interval in ends.items()},
        suprema,
        "quadrature enclosed in ball arithmetic, with a bound on the tail",
    )
    return replace(
        made,
        slope_bound=(enclosed.B1.upper, suprema),
        curvature_bound=(enclosed.B2.upper, suprema),
        enclosed=enclosed,
        monotone=found.branch if isinstance(found.branch, str) else _one_branch(found.branch),
    )


def _one_branch(proved: Monotone) -> OneBranch:
    """A φ of one sign never reaches 0 if |φ| is bounded below, or if ∫ φ/φ' diverges (`slow`)."""
    low, high = (
        None if end is None else decimal_ends(end.low, end.high)
        for end in (proved.infimum, proved.supremum)
    )
    positive = low is not None and low[0] >= 0
    negative = high is not None and high[1] <= 0
    apart = (low is not None and low[0] > 0) or (high is not None and high[1] < 0)
    never_zero = apart or ((positive or negative) and proved.slow)
    return OneBranch(low, high, never_zero, proved.levels)


def _told(bound: tuple[float, str] | None, more: str) -> tuple[float, str] | None:
    return None if bound is None else (bound[0], bound[1] + more)


def _proofs(halves: HalfLines) -> LineBounds | str:
    """Return what is proved of φ, or why nothing is."""
    from kltheory.numeric.march import BALL_LOCK
    from kltheory.symbolic.fields import have_balls
    from kltheory.symbolic.line_bounds import bounds_on_line
    from kltheory.symbolic.tails import Undecided

    if not have_balls():
        return "python-flint is not installed"
    with BALL_LOCK:
        try:
            return bounds_on_line(halves)
        except Undecided as reason:
            return str(reason)


def _special(name: str, x: Array) -> Array:
    import scipy.special

    return np.asarray(getattr(scipy.special, name)(x))


def _heaviside(x: Array) -> Array:
    return np.heaviside(x, 0.5)


def _on_line(halves: Callable[..., Any]) -> Function:
    """Join the two half-lines; 0 is seen as a point just right of it."""

    def f(z: Array) -> Array:
        z = np.asarray(z, dtype=float)
        x = np.maximum(np.abs(z), 1e-150)
        with np.errstate(all="ignore"):
            right, left = (np.broadcast_to(halves(x, side), z.shape) for side in (True, False))
        return np.where(z >= 0, right, left)

    return f


def from_callable(
    phi: Function,
    dphi: Function,
    *,
    d2phi: Function | None = None,
    name: str = "user",
    slope_bound: float | None = None,
    curvature_bound: float | None = None,
) -> Activation:
    """Return an activation from elementwise functions on arrays, after a check of A-5.

    A-5: φ' is bounded and Lipschitz continuous.  The check samples: it finds jumps and growth of
    φ', and a wrong derivative, but it proves nothing; B1 = sup|φ'| and B2 = Lip(φ') are sampled as
    well, unless they are given.

    Args:
        phi: φ.
        dphi: φ'.
        d2phi: φ'', if there is one.
        name: what to call it.
        slope_bound: a proved bound on sup|φ'|.
        curvature_bound: a proved bound on the Lipschitz constant of φ'.

    Raises:
        InputError: A-5 is violated, φ' is not the derivative of φ, or φ is constant.

    >>> from_callable(np.sin, np.cos, name="sine").B1 > 1.0
    True
    """
    grid = np.linspace(-NEAR, NEAR, 200_002)
    values, slopes = (_sampled(f, grid, name, what) for f, what in ((phi, "φ"), (dphi, "φ'")))
    if not np.ptp(values) > 0:
        raise InputError(f"activation {name}: φ is constant.")
    _check_growth(dphi, slopes, name)
    steepest = _steepest(dphi, grid, slopes, name)
    _check_derivative(phi, dphi, name)
    if d2phi is not None:
        steepest = _supremum(d2phi, grid, _sampled(d2phi, grid, name, "φ''"))
    bounds = []
    for given, found, what in (
        (slope_bound, _supremum(dphi, grid, slopes), "sup|φ'|"),
        (curvature_bound, steepest, "Lip(φ')"),
    ):
        if given is None:
            text = f"{what} sampled in [-{NEAR:g}, {NEAR:g}]: an indication, no proof"
            bounds.append((found * (1 + MARGIN), text))
        elif not found <= given * (1 + 1e-6) < np.inf:
            raise InputError(f"activation {name}: {what} is at least {found:.6g}, not {given!r}.")
        else:
            bounds.append((float(given), f"{what} given"))
    return Activation(name, name, phi, dphi, d2phi, bounds[0], bounds[1])


def _sampled(f: Function, grid: Array, name: str, what: str) -> Array:
    with np.errstate(all="ignore"):
        values = np.asarray(f(grid), dtype=float)
    if values.shape != grid.shape:
        raise InputError(f"activation {name}: {what} must act elementwise on arrays.")
    if not np.isfinite(values).all():
        where = grid[np.flatnonzero(~np.isfinite(values))[0]]
        raise InputError(f"activation {name}: {what} is not finite at x = {where:.4g}.")
    return values


def _supremum(f: Function, grid: Array, values: Array) -> float:
    """Return the largest |f| found: on the grid, between its points by ternary search, far out."""
    best = np.argsort(np.abs(values))[-32:]
    a, b = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, len(grid) - 1)]
    for _ in range(60):
        third = (b - a) / 3
        rising = np.abs(f(a + third)) < np.abs(f(b - third))
        a, b = np.where(rising, a + third, a), np.where(rising, b, b - third)
    with np.errstate(all="ignore"):
        far = np.abs(f(np.array([-1e6, -FAR, FAR, 1e6])))
    found = np.concatenate([np.abs(values), np.abs(f(0.5 * (a + b))), far[np.isfinite(far)]])
    return float(np.max(found))


def _check_derivative(phi: Function, dphi: Function, name: str) -> None:
    """Compare ∫ φ' with the change of φ over short intervals."""
    ends = np.linspace(-8.0, 8.0, 1602)
    nodes, weights = np.polynomial.legendre.leggauss(5)
    half = 0.5 * np.diff(ends)
    points = ends[:-1, None] + half[:, None] * (1 + nodes)
    integral = np.sum(half[:, None] * weights * dphi(points), axis=1)
    gap = np.abs(np.diff(phi(ends)) - integral)
    scale = np.max(np.abs(dphi(ends))) * half[0] + 1e-12 * np.max(np.abs(phi(ends)))
    if not np.max(gap) <= 1e-3 * scale:
        where = ends[int(np.argmax(gap))]
        raise InputError(
            f"activation {name}: near x = {where:.3g} φ' is not the derivative of φ, or φ jumps; "
            "A-5 asks for a φ with bounded and Lipschitz φ'."
        )


def _check_growth(dphi: Function, slopes: Array, name: str) -> None:
    far = np.linspace(-FAR, FAR, 100_002)
    with np.errstate(all="ignore"):
        outside = np.abs(np.asarray(dphi(far), dtype=float))
    outside = outside[np.isfinite(outside)]
    if not np.max(outside, initial=0.0) <= 1.2 * np.max(np.abs(slopes)):
        raise InputError(
            f"activation {name}: φ' grows without bound, but A-5 asks for sup|φ'| < ∞."
        )


def _steepest(dphi: Function, grid: Array, slopes: Array, name: str) -> float:
    """Return the largest slope of φ' found, looking closer where it is steepest.

    Where the slope keeps growing as the interval shrinks, φ' jumps or has a vertical tangent.
    """
    steep = np.abs(np.diff(slopes)) / np.diff(grid)
    chosen = np.unique(np.concatenate([np.argsort(steep)[-64:], [len(grid) // 2 - 1]]))
    a, b = grid[chosen], grid[chosen + 1]
    coarse = float(np.max(steep))
    for _ in range(16):
        middle = 0.5 * (a + b)
        fa, fm, fb = dphi(a), dphi(middle), dphi(b)
        left = np.abs(fm - fa) >= np.abs(fb - fm)
        a, b = np.where(left, a, middle), np.where(left, middle, b)
    fine = np.abs(dphi(b) - dphi(a)) / (b - a)
    worst = int(np.argmax(fine))
    if not fine[worst] <= 10 * coarse + 1e-3:
        raise InputError(
            f"activation {name}: φ' is not Lipschitz near x = {a[worst]:.3g} (it jumps, or has a "
            "vertical tangent), but A-5 asks for a φ with bounded and Lipschitz φ'."
        )
    return max(coarse, float(fine[worst]))
