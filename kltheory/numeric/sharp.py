"""The sharp form of Theorem 3.2, and gradient descent.

The paper bounds σ_min(J_g(t)) from below by σ_J/2 as long as the trajectory stays in a ball.  With
a constant Λ such that ‖J_g(θ) - J_g(θ(0))‖ <= Λ‖θ - θ(0)‖, the singular value at path length ρ is
at least σ_J - Λρ, and p(t) = ψ(L(y(t))) satisfies -ṗ >= (a0 - a1 ρ) ρ̇, a0 = σ_F σ_J, a1 = σ_F Λ.
Integrated, with p0 = p(0):

    p0 - p >= a0 ρ - a1 ρ²/2,        so (a0 - a1 ρ)² >= a0² - 2 a1 (p0 - p) = A + B p,
    A = a0² - 2 a1 p0,  B = 2 a1,    if p0 < a0²/(2 a1), that is A > 0.

Then V' <= -(A + B ψ(V))/ψ'(V)².  This contains the paper's law: under R' < R it is faster at every
time, and the condition is weaker by a factor 2 in ψ(L0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from kltheory.errors import InputError, LimitReached, brief
from kltheory.numeric.curve import Curve, exact_number
from kltheory.numeric.guarantees import Bound, Constants, constants, positive
from kltheory.numeric.march import Integrand
from kltheory.numeric.rounding import down, sqrt_down, up
from kltheory.symbolic.desingularizer import Desingularizer
from kltheory.symbolic.evaluate import compile_expr

__all__ = ["DescentBound", "SharpBound", "affine_constants", "descent_bound", "sharp_bound"]


class _AffineCurve(Curve):
    """The law V' = -(A + B ψ(V))/ψ'(V)²: as `Curve`, with kt the time itself."""

    def __init__(
        self, S: Any, P: Any, symbol: Any, A: Fraction, B: Fraction, **options: Any
    ) -> None:
        super().__init__(S, P, symbol, **options)
        speed = A + B * self.P
        w = symbol * self.P.diff(symbol) ** 2 / (self.S.diff(symbol) * speed)
        if speed.has(symbol) and type(self.P).__name__ == "Integral":
            raise LimitReached("the sharp bound needs a closed form of ψ, and none was found")
        self._program = compile_expr(w, symbol)
        self._integrand = Integrand(self, self._program)
        self._reset()


@dataclass(frozen=True, slots=True)
class Affine:
    """A and B of the law, and the condition for it."""

    A: Fraction
    """a0² - 2 a1 ψ(L0)/c, rounded down; the squared singular value that is left in the end."""
    B: Fraction
    """2 a1/c."""
    psi0: float
    """ψ(L0), rounded up."""
    threshold: float
    """c a0²/(2 a1): what ψ(L0) must stay below; inf for Λ = 0."""
    sigma_f: Fraction
    """σ_F."""
    sigma_j: Fraction
    """σ_J."""
    c: Fraction
    """1 for the flow, 1 - ηβ/2 for gradient descent."""

    @property
    def margin(self) -> float:
        """threshold/ψ(L0): more than 1 if the condition holds."""
        return self.threshold / self.psi0

    @property
    def holds(self) -> bool:
        """Whether ψ(L0) < threshold."""
        return self.A > 0


def affine_constants(
    psi0: float, sigma_f: Fraction, sigma_j: Fraction, deviation: Fraction, c: Fraction
) -> Affine:
    """A and B from ψ(L0) and exact constants; c = 1 for the flow, 1 - ηβ/2 for descent.

    >>> affine_constants(1.0, Fraction(1), Fraction(2), Fraction(1), Fraction(1)).A
    Fraction(2, 1)
    """
    a0, a1 = sigma_f * sigma_j, sigma_f * deviation / c
    threshold = math.inf if not a1 else down(a0**2 / (2 * a1))
    A = a0**2 - 2 * a1 * Fraction(psi0)
    return Affine(A, 2 * a1, psi0, threshold, sigma_f, sigma_j, c)


class SharpBound(Bound):
    """The guarantees of Theorem 3.2 in their sharp form, with the methods of `Bound`.

    Assumes A-1 to A-6, ‖J_g(θ) - J_g(θ(0))‖ <= Λ‖θ - θ(0)‖ and ψ(L0) < σ_F σ_J²/(2Λ).  They are
    attained, for F = Id and y = σ_J θ - Λθ²/2 with a radial loss: no better ones follow from ψ, L0,
    σ_F, σ_J and Λ alone.
    """

    def __init__(self, curve: Curve, given: Constants, affine: Affine) -> None:
        super().__init__(curve, given, None)
        self.affine = affine

    @property
    def theory(self) -> str:
        """ "sharp"."""
        return "sharp"

    @property
    def path_length(self) -> float:
        """‖θ(t) - θ(0)‖ <= (a0 - √A)/a1 = 2 ψ(L0)/(a0 + √A) for all t; the sharp R'."""
        q = self.affine
        return up(2 * Fraction(q.psi0) / ((q.sigma_f * q.sigma_j + sqrt_down(q.A)) * q.c))

    @property
    def final_singular_value(self) -> float:
        """A lower bound on σ_min(J_g(t)) for all t: √A/σ_F."""
        return down(sqrt_down(self.affine.A) / self.affine.sigma_f)

    def _kt(self, t: Any) -> Any:
        return positive(t, "t", zero=True, side=-1)

    @property
    def _speed(self) -> Fraction:
        return Fraction(1)

    def _time(self, kt: float) -> float:
        return kt

    def _paths_left(self, errors: Any) -> Any:
        """As `_parameters`, for an array of values of ψ."""
        import numpy as np

        A, B, c = self.affine.A, self.affine.B, self.affine.c
        low, slope, root = down(A), down(B), down(sqrt_down(A))
        if not (1e-290 < low < 1e290 and slope < 1e290):
            return np.array([self._left(p) for p in errors.tolist()], dtype=float)
        with np.errstate(over="ignore", under="ignore"):
            # each of the operations below errs by at most 2^-53
            below = np.sqrt(low + np.minimum(slope * errors, 1e290)) + root
            below *= down(c) * (1 - 2.0**-49)
            found = np.nextafter(2 * (errors / below), np.inf)
        return np.where(errors > 0, found, 0.0)

    def _parameters(self, t: Any) -> float:
        """(√(A+Bp) - √A)/a1 = 2p/(√(A+Bp) + √A)."""
        return self._left(self.curve.psi(self._kt(t)))

    def _left(self, error: float) -> float:
        A, B = self.affine.A, self.affine.B
        if math.isinf(error):
            return error
        p = Fraction(error)
        return up(2 * p / ((sqrt_down(A + B * p) + sqrt_down(A)) * self.affine.c)) if p else 0.0


def sharp_bound(
    psi: Desingularizer,
    *,
    sigma_f: Any,
    sigma_j: Any,
    deviation: Any,
    loss0: Any,
    noise: Any = None,
    mu: Any = None,
    lip_f: Any = None,
    dist: Any = None,
    step: Any = None,
    smoothness: Any = None,
    finite_time: bool | None = None,
    digits: int = 17,
    limit: float | None = None,
    certified: bool | None = None,
) -> SharpBound:
    """The sharp guarantees for ψ and measured constants, as functions of time.

    `deviation` is Λ; `step` η with `smoothness` β gives what holds for gradient descent at time
    t = η(1 - ηβ/2)j, see `descent_bound`.  All numbers are exact (text, fraction, float).
    Raises `InputError` if the condition ψ(L0) < σ_F σ_J²/(2Λ) fails, saying by how much.

    >>> bound = sharp_bound(Desingularizer.from_psi("sqrt(2*s)"), sigma_f=1, sigma_j=1,
    ...     deviation=0, loss0=1)
    >>> bound.loss(1), bound.theory  # e^{-2 t}: four times the paper's exponent
    (0.135335283236612..., 'sharp')
    """
    given = constants(
        sigma_f=sigma_f, sigma_j=sigma_j, loss0=loss0, noise=noise, mu=mu, lip_f=lip_f, dist=dist
    )
    if psi.parameters:
        names = ", ".join(str(q) for q in psi.parameters)
        raise InputError(f"ψ has parameters without a value: {names}; give them by name")
    c = Fraction(1) if step is None else _descent_factor(step, smoothness)[2]
    options: dict[str, Any] = {
        "loss0": given.loss0,
        "radius": None if psi.radius.is_infinite else psi.radius,
        "digits": digits,
        "deadline": limit,
        "certified": certified,
        "finite_time": finite_time,
    }
    psi0 = Curve(psi.loss, psi.value, psi.symbol, **options).psi0
    if math.isinf(psi0):
        raise InputError("ψ(L0) is above 1e308: the sharp bound needs it below σ_F σ_J²/(2Λ)")
    assert given.sigma_f is not None
    assert given.sigma_j is not None
    lip = positive(deviation, "deviation", zero=True)
    affine = affine_constants(psi0, given.sigma_f, given.sigma_j, lip, c)
    if not affine.holds:
        times = f"{psi0 / affine.threshold:.3g}" if affine.threshold else "1e308 or more"
        raise InputError(
            f"the sharp bound needs ψ(L0) < σ_F σ_J²/(2Λ) = {affine.threshold:.6g}, and ψ(L0) ="
            f" {psi0:.6g} is {times} times too large; start nearer to y, or widen the network"
            " (Λ falls like 1/√k)"
        )
    curve = _AffineCurve(psi.loss, psi.value, psi.symbol, affine.A, affine.B, **options)
    return SharpBound(curve, given, affine)


# ---------------------------------------------------------------------------------------------
# Gradient descent


@dataclass(frozen=True, slots=True)
class DescentBound:
    """The guarantees for gradient descent θ⁺ = θ - η∇f(θ), as functions of the iteration j.

    Statement: L_j <= Ψ⁻¹(Ψ(L0) + κ_η j) with κ_η = η(1 - ηβ/2)κ, and Σ_{i>=j} ‖θ_{i+1} - θ_i‖ <=
    ψ(L_j)/((1 - ηβ/2)√κ).
    Proof: L_{j+1} <= L_j - η(1-ηβ/2)‖∇f‖² <= L_j - κ_η/ψ'(L_j)², and ∫ψ'² over [L_{j+1}, L_j] is at
    least (L_j - L_{j+1}) ψ'(L_j)² because ψ' does not increase.
    Assumes: ψ concave, ∇f β-Lipschitz along the iterates, η < 2/β, R' < (1 - ηβ/2) R.
    """

    bound: Bound
    """The bound for the flow, at time t = η(1 - ηβ/2) j."""
    step: Fraction
    """η."""
    smoothness: Fraction
    """β, a Lipschitz constant of the gradient of θ -> L(F(g(θ)))."""

    @property
    def factor(self) -> Fraction:
        """c = 1 - ηβ/2, in ]0, 1[."""
        return 1 - self.step * self.smoothness / 2

    @property
    def theory(self) -> str:
        """That of the bound for the flow."""
        return self.bound.theory

    def loss(self, j: Any) -> Any:
        """(10): an upper bound on L_j."""
        return self._at(self.bound.loss, j)

    def log_decrease(self, j: Any) -> Any:
        """A lower bound on log(L0/L_j)."""
        return self._at(self.bound.log_decrease, j)

    def observation(self, j: Any) -> Any:
        """(18): ‖y_j - y‖ <= ψ(L_j)."""
        return self._at(self.bound.observation, j)

    def signal(self, j: Any) -> Any:
        """(13), corrected: an upper bound on ‖x_j - x̄‖; see E13 in `kltheory audit E13`."""
        return self._at(self.bound.signal, j)

    def parameters(self, j: Any) -> Any:
        """(11): ‖θ_j - θ_∞‖ <= the bound for the flow divided by c."""
        if isinstance(self.bound, SharpBound):  # has c in its constants
            return self._at(self.bound.parameters, j)
        found = self._at(self.bound.parameters, j)
        c = down(self.factor)
        if hasattr(found, "shape"):
            import numpy as np

            return np.nextafter(found / c, np.inf)
        return math.nextafter(found / c, math.inf) if found else 0.0

    def stopping_iteration(self, noise: Any = None) -> float:
        """(12): the first j from which ‖y_j - ȳ‖ <= 2‖ε‖; inf if none (`kltheory audit E12`)."""
        return self._count(self.bound.stopping_time(noise))

    def iterations_to_loss(self, loss: Any) -> float:
        """The first j from which L_j <= loss."""
        return self._count(self.bound.time_to_loss(loss))

    def _at(self, f: Any, j: Any) -> Any:
        """f at the times of the iterations; exact for one, for arrays to the safe side."""
        speed = self.step * self.factor
        if hasattr(j, "shape") or isinstance(j, list | tuple):
            import numpy as np

            steps = np.asarray(j)
            if not np.all((steps >= 0) & (steps == np.floor(steps))):
                raise InputError("iterations are whole numbers >= 0")
            return f(np.vectorize(lambda n: down(speed * int(n)), otypes=[float])(steps))
        number = exact_number(j, "j")
        if number < 0 or number != int(number):
            raise InputError(f"j = {j} is given; an iteration is a whole number >= 0")
        return f(speed * number)

    def _count(self, time: float) -> float:
        if math.isinf(time):
            return time
        return float(math.ceil(Fraction(time) / (self.step * self.factor)))


def descent_bound(bound: Bound, *, step: Any, smoothness: Any) -> DescentBound:
    """The guarantees for gradient descent with step η < 2/β, from those for the flow.

    A `SharpBound` must have been made with the same `step` and `smoothness`.

    >>> flow = sharp_bound(Desingularizer.from_psi("sqrt(2*s)"), sigma_f=1, sigma_j=1,
    ...     deviation=0, loss0=1, step="0.5", smoothness=1)
    >>> descent_bound(flow, step="0.5", smoothness=1).loss(10)  # e^{-2 t}, t = 0.5 * 0.75 * 10
    0.000553084370147...
    """
    eta, beta, c = _descent_factor(step, smoothness)
    if isinstance(bound, SharpBound) and bound.affine.c != c:
        raise InputError(
            "the sharp bound was made for another step; give step= and smoothness= to it"
        )
    if not concave(bound.curve):
        raise InputError(
            "ψ is not concave on [0, L0], and the bound for gradient descent is proved for concave"
            " ψ only; start from a smaller loss"
        )
    return DescentBound(bound, eta, beta)


def concave(curve: Curve) -> bool:
    """Whether ψ' = P'/S' does not increase, from L0 down to L0 e^{-1e6}.

    Seen at samples, and at each of them between two that are close: the sign of ψ'' there.  Where
    what is between two samples is not what ψ'' at both says, as around a bend, there are more.
    """
    slope = compile_expr(curve.P.diff(curve.symbol) / curve.S.diff(curve.symbol), curve.symbol)
    ctx = curve._ctx
    start = curve._start(ctx.prec)
    # no two distances are alike, so that no period hides between the samples
    grid = [0.0] + [(k + k * _GOLDEN % 1 / 2) / 8 for k in range(1, 160)]
    grid += [20.5 * 1.5**k for k in range(28)]

    def sample(x: float) -> tuple[float, Any, Any]:
        """x, log ψ' there, and how log ψ' grows with x: what rounds to 0 is 0."""
        here, ahead = (slope.at_exp(ctx, start + y) for y in (x, x + _CLOSE))
        change = ctx.log(ahead / here)
        return x, ctx.log(here), ctx.zero if abs(change) < _NOISE else change / _CLOSE

    samples = [sample(x) for x in grid]
    if any(growth < 0 for _, _, growth in samples):
        return False
    todo = [(a, b, _HALVINGS) for a, b in pairwise(samples)]
    while todo:
        a, b, depth = todo.pop()
        rise = b[1] - a[1]
        if rise < -_NOISE:
            return False
        expected = (a[2] + b[2]) / 2 * (b[0] - a[0])
        if depth and abs(rise - expected) > _ASTRAY * abs(rise) + _CLOSE and b[0] <= 30:
            middle = sample((a[0] + b[0]) / 2)
            if middle[2] < 0:
                return False
            todo += [(a, middle, depth - 1), (middle, b, depth - 1)]
    return True


_GOLDEN = 0.6180339887498949
_CLOSE = 1e-6
"""How far apart two samples are that tell the sign of ψ''."""
_NOISE = 1e-15
"""What log ψ' may seem to fall by."""
_ASTRAY = 0.01
"""Where log ψ' rises by another amount than expected, by more than this share of it ..."""
_HALVINGS = 12
"""... the place is looked at, in an interval halved so often at most."""


def _descent_factor(step: Any, smoothness: Any) -> tuple[Fraction, Fraction, Fraction]:
    """(η, β, 1 - ηβ/2)."""
    if smoothness is None:
        raise InputError(
            "the bound for gradient descent needs β, a Lipschitz constant of the gradient"
        )
    eta, beta = positive(step, "step"), positive(smoothness, "smoothness")
    c = 1 - eta * beta / 2
    if c <= 0:
        raise InputError(
            f"step = {brief(eta)} is not below 2/β = {brief(2 / beta)}: descent need not"
            " decrease the loss; take a smaller step"
        )
    return eta, beta, c
