"""What a network whose hidden layer is trained can reach at all.  V fixed, F = A, N = A V/√k.

Each neuron gives a value in an interval, the image of the branch of φ on which it starts, and
keeps to it; so the observations that can be reached are {N a : low < a < high}.  For a convex loss
the gradient flow comes to the infimum of the loss over this set, from every start: reachable and
"the flow converges to zero loss" are the same question, and it is a linear program.

>>> import numpy as np
>>> N = np.array([[0.5, -0.5, 0.5]])
>>> low, high = np.zeros(3), np.ones(3)
>>> reachability(N, np.array([0.7]), low, high).attainable
True
>>> print(reachability(N, np.array([2.0]), low, high))
impossible: ⟨v, y⟩ exceeds what any state of the network gives; the loss stays above 0.4999
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kltheory.errors import InputError
from kltheory.numeric.reach_border import decide
from kltheory.numeric.reach_path import closest
from kltheory.numeric.reach_proof import BoxImage, gamma
from kltheory.shown import figure

if TYPE_CHECKING:
    from kltheory.activation import Activation

__all__ = [
    "BoxImage",
    "BoxLimit",
    "Reach",
    "box_limit",
    "branch_box",
    "gap_certificate",
    "product_error",
    "reachability",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """Whether y is in the image of a box, and the proof."""

    attainable: bool | None
    """Whether y = N a for some a in the closed box; None: on its border, within rounding."""
    interior: bool | None
    """y = N a for some a in the open box: then the flow reaches zero loss, and θ converges."""
    verified: str | None
    """How the verdict was proved: "interval" (floats with bounds on every rounding error),
    "exact" (rational arithmetic), or None."""
    reason: str
    """The verdict in a sentence."""
    margin: float = 0.0
    """With interior=True: some a with N a = y keeps this far from the ends of the box (proved)."""
    distance: float = 0.0
    """With attainable=False: dist(y, image) is at least this (proved)."""
    witness: Array | None = None
    """a, next to which N a = y has a solution (attainable), or the point whose image is closest."""
    witness_error: float = math.inf
    """With interior=True: the solution is within this of the witness, in every entry."""
    separating: Array | None = None
    """With attainable=False: v, ‖v‖ = 1, with ⟨v, y⟩ - distance ≥ ⟨v, N a⟩ on the box (rounded)."""
    separating_exact: tuple[Fraction, ...] | None = None
    """With verified="exact" and interior=False: v (of some length) such that ⟨v, y⟩ is above
    ⟨v, N a⟩ for all a in the open box, exactly; in the closed one, if attainable=False."""
    limit_loss: float = 0.0
    """½‖N a - y‖² at its infimum over the box: the limit of the square loss (a lower bound)."""
    limit_loss_upper: float = 0.0
    """What the witness gives: an upper bound on that infimum."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; a number that is not finite is None."""
        return {
            "attainable": self.attainable,
            "interior": self.interior,
            "verified": self.verified,
            "margin": self.margin if math.isfinite(self.margin) else None,
            "distance": self.distance,
            "witness": None if self.witness is None else self.witness.tolist(),
            "witness_error": self.witness_error if math.isfinite(self.witness_error) else None,
            "separating": None if self.separating is None else self.separating.tolist(),
            "separating_exact": None
            if self.separating_exact is None
            else [str(f) for f in self.separating_exact],
            "limit_loss": self.limit_loss,
            "limit_loss_upper": self.limit_loss_upper,
            "reason": self.reason,
        }

    def __repr__(self) -> str:
        """Return the reason."""
        return self.reason


@dataclass(frozen=True, slots=True, eq=False)
class BoxLimit:
    """inf ½‖N a - y‖² over a closed box, between two proved bounds."""

    lower: float
    """A lower bound, from a separating direction; 0 if there is none."""
    upper: float
    """An upper bound: the value at `a`."""
    a: Array
    """A point of the box."""
    v: Array | None
    """The direction that proves the lower bound, ‖v‖ = 1."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "lower": self.lower,
            "upper": self.upper,
            "a": self.a.tolist(),
            "v": None if self.v is None else self.v.tolist(),
        }

    def __repr__(self) -> str:
        """Return both bounds."""
        return f"BoxLimit({figure(self.lower, 6, -1)} <= inf <= {figure(self.upper, 6, 1)})"


def branch_box(activation: Activation, z0: ArrayLike) -> tuple[Array, Array, float]:
    """Return (low, high, error): where φ(z_i) stays for ever, and how exactly the ends are known.

    The image of the branch of φ around z_i(0), on which the flow stays; a neuron of a user's φ with
    φ'(z_i(0)) = 0 never moves, and has low = high.  (No built-in φ' has a zero among the floats;
    where it underflows, the neuron still moves.)  The ends are proved for the built-in φ and for a
    φ given as text that was proved monotone; else they are φ at sampled points, and no proof.

    >>> from kltheory.activation import get
    >>> branch_box(get("sigmoid"), [0.3])
    (array([0.]), array([1.]), 0.0)
    """
    z = np.asarray(z0, dtype=np.float64)
    low, high = activation.branches.image(z)
    still = (activation.dphi(z) == 0.0) & (not activation.built_in)
    value = activation.phi(z)
    low, high = np.where(still, value, low), np.where(still, value, high)
    if activation.built_in and activation.name in _EXACT_ENDS:
        return low, high, 0.0
    finite = np.abs(np.concatenate([low[np.isfinite(low)], high[np.isfinite(high)]]))
    error = 1e-13 * (1.0 + float(finite.max(initial=0.0)))
    if not isinstance(activation.monotone, str):
        for ends in (activation.monotone.infimum, activation.monotone.supremum):
            error += 0.0 if ends is None else float(ends[1] - ends[0])
    return low, high, error


_EXACT_ENDS = ("sigmoid", "tanh", "softplus", "sin", "erf")


def reachability(
    N: ArrayLike,
    y: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    tol: float = 1e-6,
    matrix_error: ArrayLike = 0.0,
    end_error: float = 0.0,
) -> Reach:
    """Decide whether y = N a for some low ≤ a ≤ high, and prove it.

    Impossible: a direction v with ⟨v, y⟩ > sup ⟨v, N a⟩ over the box; then ½‖r‖² stays above
    ½ dist² along the flow, and with any method of training that leaves each neuron in its interval
    (which is all of φ(ℝ) if φ is monotone).  Attainable in the interior:
    a point next to which N a = y has a solution in the open box; then the flow of every convex
    loss, from every start on these branches, takes the loss to 0 and θ to a limit.  Both proofs
    cover all rounding; where floats are too coarse, integers decide.  What remains undecided is on
    the border within rounding, and is said to be so.

    N is (m, k), y (m,), the ends (k,) or numbers, infinite where there is none.  `tol`: how close
    the two bounds on `limit_loss` come (relative, in the distance).  `matrix_error` bounds what N
    is off by, entry for entry (A V/√k is itself rounded, see `product_error`), and `end_error`
    what the finite ends are off by; the verdict then holds for all such N and ends.

    Raises InputError for shapes that do not fit, ends in the wrong order, or entries not finite.
    """
    with np.errstate(all="ignore"):  # what overflows proves nothing
        search = _Search.of(N, y, low, high, matrix_error, end_error)
        if not search.image.N.any() and not np.any(matrix_error):
            return _of_nothing(search)
        return search.found() if search.run(tol) or search.whitened(tol) else search.border()


def box_limit(
    N: ArrayLike,
    y: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    tol: float = 1e-8,
    matrix_error: ArrayLike = 0.0,
    end_error: float = 0.0,
) -> BoxLimit:
    """Bound inf ½‖N a - y‖² over the closed box from both sides.

    The limit of the square loss along the flow of the hidden layer, from every start; the limit of
    another radial loss ℓ(‖r‖) is ℓ(√(2 inf)).  Arguments as in `reachability`; `tol` is relative,
    in the distance.

    >>> box_limit([[1.0, 1.0]], [3.0], [0.0, 0.0], [1.0, 1.0])
    BoxLimit(0.499999 <= inf <= 0.500001)
    """
    with np.errstate(all="ignore"):
        search = _Search.of(N, y, low, high, matrix_error, end_error)
        search.run(tol)
        return BoxLimit(search.loss(), search.upper(), search.point, search.direction)


def gap_certificate(image: BoxImage, y: Array, r: Array, S: Array | None = None) -> Array:
    """Return proved lower bounds on dist(y, image), one an iterate, from its residual r = y(t) - y.

    The direction -r, and with S = ∫ r dt (or Σ η r of a descent) also -S, which is where the
    directions tend to if y cannot be reached.  A positive value d says: ‖r‖ stays above d as long
    as the neurons keep to the box.  r and S are (..., m); O(mk) an iterate, to be used on line.

    >>> image = BoxImage.of(np.array([[1.0, 1.0]]), np.zeros(2), np.ones(2), 0.0, 0.0)
    >>> gap_certificate(image, np.array([3.0]), np.array([[-2.0], [-1.5]])).round(6).tolist()
    [1.0, 1.0]
    """
    best = image.distance(y, -np.asarray(r))
    return best if S is None else np.maximum(best, image.distance(y, -np.asarray(S)))


def product_error(row_norms: ArrayLike, column_norms: ArrayLike, n: int) -> Array:
    """Return a bound on the rounding errors of the entries of A V/√k: ‖A_i‖ ‖V_j‖ γ, (m, k).

    `row_norms` are those of A, `column_norms` those of V/√k; n is the length of the sums.

    >>> bool(product_error([1.0], [0.5], 10)[0, 0] < 2e-15)
    True
    """
    size = np.multiply.outer(np.asarray(row_norms, float), np.asarray(column_norms, float))
    return np.asarray(size * gamma(n))


class _Search:
    """The path of `closest`, and what it proves on the way."""

    def __init__(self, image: BoxImage, y: Array, unit: float = 1.0) -> None:
        self.image, self.y, self.unit = image, y, unit
        self.distance = 0.0
        self.direction: Array | None = None
        self.residual = math.inf
        self.point = np.clip(np.zeros(image.low.size), image.low, image.high)
        self.radius: Array | None = None
        self.last = y

    @classmethod
    def of(
        cls,
        N: ArrayLike,
        y: ArrayLike,
        low: ArrayLike,
        high: ArrayLike,
        matrix_error: ArrayLike,
        end_error: float,
    ) -> _Search:
        """Check the input, and measure N and y in a power of two near the largest entry of N."""
        N, y, low, high = _checked(N, y, low, high)
        unit = math.ldexp(1.0, min(1023, math.frexp(float(np.abs(N).max()))[1]))
        if not all(np.array_equal(x / unit * unit, x) for x in (N, y)):
            unit = 1.0  # what underflows would be lost to the exact verdicts
        error = np.asarray(matrix_error, dtype=np.float64) / unit
        return cls(BoxImage.of(N / unit, low, high, error, end_error), y / unit, unit)

    def run(self, tol: float) -> bool:
        """Follow the path until something is proved; return whether it is."""
        moving = _Moving(self.image, self.y)
        for a, v in moving.path():
            length = float(np.linalg.norm(self.y - self.image.N @ a))
            if length < self.residual:
                self.residual, self.point = length, a
                self.last = v if v.any() else self.last
            self._separate(v)
            if self.distance > 0.0:
                if self.distance >= (1.0 - tol) * self.residual:
                    break
            elif self._solve(moving.corrected(a)):
                return True
        return self.distance > 0.0

    def whitened(self, tol: float) -> bool:
        """Try again with rows that are orthonormal: P(N a - y) = 0, P the whitening of N.

        For an N of a large condition number, which is squared in the equations of the path.  P y
        stands as one more column of P N, with a = 1; the rounding of P N and P y are errors of this
        matrix.  P is regular, for a proof in these rows includes that P N has full rank.
        """
        image, y = self.image, self.y
        m, k = image.N.shape
        left, values, _ = np.linalg.svd(image.N, full_matrices=False)
        if values.size < m or not values[-1] > 1e-14 * values[0]:
            return False
        P = (left / values).T
        rows = np.column_stack([image.N, -y])
        doubt = np.column_stack([np.broadcast_to(image.errors, (m, k)), np.zeros(m)])
        error = np.abs(P) @ (gamma(m) * np.abs(rows) + doubt) * (1.0 + gamma(m))
        low, high = (np.append(ends, 1.0) for ends in (image.low, image.high))
        again = _Search(BoxImage.of(P @ rows, low, high, error, image.end_error), np.zeros(m))
        if not again.run(tol):
            return False
        if again.radius is not None:
            self.point, self.radius, self.residual = again.point[:k], again.radius[:k], 0.0
        elif again.direction is not None:
            v = again.direction @ P
            self._separate(v)
            if not self.distance > 0.0:
                length = float(np.linalg.norm(v)) * (1.0 + gamma(2 * m))
                length += gamma(2 * m) * float(np.linalg.norm(P)) * 2.0
                self.distance, self.direction = (
                    again.distance / length * (1.0 - gamma(m)),
                    v / length,
                )
        return True

    def _separate(self, v: Array) -> None:
        bound = float(self.image.distance(self.y, v))
        if not (bound > 0.0 or self.image.bounded):
            v = self.image.turned(v)
            bound = float(self.image.distance(self.y, v))
        if bound > self.distance:
            self.distance, self.direction = bound, v / np.linalg.norm(v)

    def _solve(self, a: Array | None) -> bool:
        if a is None:
            return False
        radius = self.image.proves(self.y, a)
        if radius is None:
            return False
        self.point, self.radius = a, radius
        self.residual = 0.0
        return True

    def loss(self, distance: float | None = None) -> float:
        """Return ½ distance², rounded down (default: the distance proved)."""
        distance = (self.distance if distance is None else distance) * self.unit
        return max(0.0, math.nextafter(0.5 * distance * distance * (1.0 - 4e-16), 0.0))

    def upper(self) -> float:
        """Return an upper bound on inf ½‖N a - y‖²."""
        if self.radius is not None:
            return 0.0
        image, a = self.image, self.point
        m, k = image.N.shape
        size = np.abs(a)
        error = gamma(k) * (float(np.abs(self.y).sum()) + float(size @ image.norms))
        error += float(size @ image.errors) + float(image.norms.sum()) * image.end_error
        most = (self.residual + error) * self.unit
        least = math.ulp(0.0) if self.residual + error > 0.0 else 0.0  # where squares underflow
        return max(0.5 * most**2 * (1.0 + gamma(m + k)), least)

    def found(self) -> Reach:
        """Return what was proved."""
        if self.radius is None:
            loss = self.loss()
            reason = (
                "impossible: ⟨v, y⟩ exceeds what any state of the network gives; "
                f"the loss stays above {figure(loss, side=-1)}"
            )
            return Reach(
                False,
                False,
                "interval",
                reason,
                distance=self.distance * self.unit,
                witness=self.point,
                separating=self.direction,
                limit_loss=loss,
                limit_loss_upper=max(self.upper(), loss),
            )
        image, a = self.image, self.point
        free = image.low != image.high
        room = np.minimum(a - image.low, image.high - a)[free] * (1.0 - gamma(2))
        margin = float((room - image.end_error - self.radius[free]).min(initial=math.inf))
        inside = figure(margin, 3, -1)
        reason = f"attainable: y = N a with every neuron at least {inside} inside its interval"
        return Reach(
            True,
            True,
            "interval",
            reason,
            margin=margin,
            witness=a,
            witness_error=float(self.radius.max()),
        )

    def border(self) -> Reach:
        """Return what rational arithmetic says, where floats decide nothing."""
        dependent = self._in_range()
        if dependent is not None:
            return dependent
        exact = decide(self.image, self.y, self.point, self.last)
        attainable, interior = exact.attainable, exact.interior
        verified: str | None = "exact"
        if interior:
            reason = (
                "attainable, by less than floats can tell: exactly y = N a with every neuron at "
                f"least {figure(exact.margin, 3, -1)} inside its interval"
            )
        elif attainable:
            reason = (
                "on the border of what can be reached, exactly: the loss tends to 0, and no "
                "state inside all intervals has zero loss"
            )
        elif attainable is False:
            reason = (
                "impossible: exactly ⟨v, y⟩ > sup ⟨v, N a⟩ over all states of the network; "
                f"the loss stays above {figure(self.loss(exact.margin), side=-1)}"
            )
        else:
            verified = None if interior is None else "exact"
            reason = "on the border of what can be reached, within rounding"
        witness = self.point if exact.witness is None else exact.witness
        return Reach(
            attainable,
            interior,
            verified,
            reason,
            margin=exact.margin if interior else 0.0,
            distance=exact.margin * self.unit if attainable is False else 0.0,
            witness=witness,
            witness_error=math.ulp(float(np.abs(witness).max())) if interior else math.inf,
            separating=exact.normal,
            separating_exact=exact.rational,
            limit_loss=self.loss(exact.margin) if attainable is False else 0.0,
            limit_loss_upper=0.0 if attainable else self.upper(),
        )

    def _in_range(self) -> Reach | None:
        """If rows of N depend on each other within rounding, and y has their dependence likewise:
        what can be said.  Which of them are off by 1e-16 is then no question for a proof."""
        image, y = self.image, self.y
        left, values, _ = np.linalg.svd(image.N, full_matrices=False)
        kept = left[:, values > 1e-13 * max(image.N.shape) * values[0]]
        lost = float(np.linalg.norm(y - kept @ (kept.T @ y)))
        if kept.shape[1] == y.size or not lost <= 1e-13 * float(np.linalg.norm(y)):
            return None
        part = BoxImage.of(kept.T @ image.N, image.low, image.high, 0.0, image.end_error)
        search = _Search(part, kept.T @ y)
        inside = search.run(1e-6) and search.radius is not None
        reason = (
            f"N has a rank below {y.size}, and y is in its range but for {lost * self.unit:.2g}: "
            + (
                "that part is y = N a inside the box, within rounding"
                if inside
                else "that part is on the border of what can be reached, within rounding"
            )
        )
        self.point = search.point
        self.residual = float(np.linalg.norm(y - image.N @ search.point))
        verdict = True if inside else None
        return Reach(
            verdict, verdict, None, reason, witness=self.point, limit_loss_upper=self.upper()
        )


def _of_nothing(search: _Search) -> Reach:
    """Return what is reached with N = 0: y = 0 from every state, and nothing else."""
    low, high, y = search.image.low, search.image.high, search.y * search.unit
    a = np.where(np.isfinite(low), low + 1.0, np.where(np.isfinite(high), high - 1.0, 0.0))
    a = np.where(np.isfinite(low) & np.isfinite(high), low + (high - low) / 2, a)
    if not y.any():
        room = np.minimum(a - low, high - a)[low < high]
        reason = "attainable: N = 0 gives y = 0 in every state"
        return Reach(
            True,
            True,
            "exact",
            reason,
            margin=float(room.min(initial=1.0)),
            witness=a,
            witness_error=0.0,
        )
    size = math.hypot(*y.tolist())
    slack = 16 * math.ulp(1.0)
    loss = min(0.5 * size * size, 0.5 * float(np.finfo(float).max))
    reason = "impossible: N = 0 gives 0 in every state, and y is not 0"
    return Reach(
        False,
        False,
        "exact",
        reason,
        distance=size * (1 - slack),
        witness=a,
        separating=y / size,
        separating_exact=tuple(Fraction(float(entry)) for entry in y),
        limit_loss=loss * (1 - slack),
        limit_loss_upper=loss * (1 + slack),
    )


class _Moving:
    """The columns that can move, without those that have no end at all."""

    def __init__(self, image: BoxImage, y: Array) -> None:
        self.image, self.y = image, y
        low, high = image.low, image.high
        self.free = np.isinf(low) & np.isinf(high)
        self.boxed = ~self.free & (low < high)
        self.base = np.where(self.free | self.boxed, 0.0, np.where(np.isfinite(low), low, 0.0))
        self.plain = bool(self.boxed.all())

    def path(self) -> Any:
        """Yield (a, v) of `closest` in all columns."""
        N, y = self.image.N, self.y
        if self.plain:
            yield from closest(N, y, self.image.low, self.image.high)
            return
        rest = y - N @ self.base
        F, B = N[:, self.free], N[:, self.boxed]
        across = _complement(F)
        a = self.base.copy()
        if not self.boxed.any():
            a[self.free] = np.linalg.lstsq(F, rest)[0]
            yield a, y - N @ a
            return
        low, high = self.image.low[self.boxed], self.image.high[self.boxed]
        for b, v in closest(across.T @ B, across.T @ rest, low, high):
            a = self.base.copy()
            a[self.boxed] = b
            if F.size:
                a[self.free] = np.linalg.lstsq(F, rest - B @ b)[0]
            yield a, across @ v

    def corrected(self, a: Array) -> Array | None:
        """Return the solution of N a = y nearest to a in the metric of the room that is left."""
        image = self.image
        room = np.minimum(np.minimum(a - image.low, image.high - a), 1.0 + np.abs(a))
        weighted = image.N * np.square(room)
        r = self.y - image.N @ a
        try:
            x = np.linalg.solve(weighted @ image.N.T, r)
        except np.linalg.LinAlgError:
            return None
        step = x @ weighted
        if not (np.abs(step) < 0.9 * room)[room > 0.0].all():
            return None
        return np.asarray(a + step)


def _complement(F: Array) -> Array:
    """Return an orthonormal basis of the complement of the columns of F."""
    if F.size == 0:
        return np.eye(F.shape[0])
    left, values, _ = np.linalg.svd(F, full_matrices=True)
    rank = int((values > 1e-12 * values.max(initial=0.0)).sum())
    return np.asarray(left[:, rank:])


def _checked(
    N: ArrayLike, y: ArrayLike, low: ArrayLike, high: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    N = np.asarray(N, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64)
    if N.ndim != 2 or N.size == 0 or y.shape != N.shape[:1]:
        raise InputError(f"N has shape {N.shape} and y {y.shape}; they must be (m, k) and (m,).")
    if not (np.isfinite(N).all() and np.isfinite(y).all()):
        raise InputError("N and y must be finite.")
    try:
        low = np.broadcast_to(np.asarray(low, dtype=np.float64), N.shape[1:])
        high = np.broadcast_to(np.asarray(high, dtype=np.float64), N.shape[1:])
    except ValueError:
        raise InputError(
            f"the ends have shapes {np.shape(low)} and {np.shape(high)}; N is {N.shape}."
        ) from None
    if not (low <= high).all() or np.isposinf(low).any() or np.isneginf(high).any():
        raise InputError("the ends of the box must be low <= high, with low < inf and high > -inf.")
    return N, y, low, high
