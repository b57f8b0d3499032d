"""The public entry: ψ in, its rate law and its bounds out."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from kltheory import report
from kltheory.errors import InputError
from kltheory.numeric import guarantees
from kltheory.numeric.curve import Curve
from kltheory.numeric.guarantees import THEORIES, constants
from kltheory.symbolic import rate as symbolic
from kltheory.symbolic.desingularizer import Desingularizer

if TYPE_CHECKING:
    from pathlib import Path

    import sympy as sp
    from matplotlib.figure import Figure

#: Seconds of symbolic and of numeric work, unless the caller says otherwise.
LIMIT = symbolic.DEFAULT_LIMIT


class RateLaw(symbolic.RateLaw):
    """The rate law of a ψ, and the door to its numbers.

    >>> import kltheory as kl
    >>> law = kl.rate("sqrt(2*s)")
    >>> law.Psi, law.Psi_inverse, law.regime.loss
    (-log(s)/2, exp(-2*gamma), 'exponential')
    >>> bound = law.bound(sigma_f=1, sigma_j=1, loss0=1)
    >>> bound.loss(0), bound.loss(2) >= 0.36787944117144233
    (1.0, True)
    """

    def bound(
        self,
        *,
        loss0: Any,
        kappa: Any = None,
        sigma_f: Any = None,
        sigma_j: Any = None,
        noise: Any = None,
        mu: Any = None,
        lip_f: Any = None,
        dist: Any = None,
        theory: str = "corrected",
        digits: int = 17,
        limit: float | None = None,
        certified: bool | None = None,
        **parameters: Any,
    ) -> Bound:
        """The bounds of Theorem 3.2 for these constants, as functions of time.

        `kappa`, or `sigma_f` and `sigma_j` (κ = σ_F² σ_J²/4); `loss0` the loss at time 0; `noise` =
        ‖ε‖ for the stopping time; `mu`, `lip_f`, `dist` for the signal; numbers, fractions or
        decimal text, all exact.  Values for ψ's parameters go by their names.  `theory="printed"`
        gives the formulas of the paper's text (HAL v1) where they differ (`kltheory audit E11`,
        `kltheory audit E12`, `kltheory audit E13`).

        Raises `InputError` for a value out of range, for example a loss outside ψ's domain.
        """
        if theory not in THEORIES:
            raise InputError(f"theory = {theory!r} is given; choose {', '.join(THEORIES)}")
        if theory == "sharp":
            raise InputError("the sharp bound needs the deviation Λ: see kl.sharp_bound")
        if parameters:
            return rate(self.desingularizer.with_values(**parameters), limit=limit or LIMIT).bound(
                loss0=loss0, kappa=kappa, sigma_f=sigma_f, sigma_j=sigma_j, noise=noise, mu=mu,
                lip_f=lip_f, dist=dist, theory=theory, digits=digits, limit=limit,
                certified=certified,
            )  # fmt: skip
        d = self.desingularizer
        if d.parameters:
            names = ", ".join(str(q) for q in d.parameters)
            raise InputError(f"ψ has parameters without a value: {names}; give them by name")
        given = constants(
            kappa=kappa, sigma_f=sigma_f, sigma_j=sigma_j, loss0=loss0, noise=noise, mu=mu,
            lip_f=lip_f, dist=dist,
        )  # fmt: skip
        finite = {"finite-time": True, "undetermined": None}.get(self.regime.loss, False)
        curve = Curve(
            d.loss,
            d.value,
            d.symbol,
            loss0=given.loss0,
            radius=None if d.radius.is_infinite else d.radius,
            digits=digits,
            deadline=LIMIT if limit is None else limit,
            certified=certified,
            finite_time=finite,
        )
        printed = None
        if theory == "printed":
            from kltheory.numeric.printed import theorem_3_2

            printed = theorem_3_2(self, curve, given)
        return Bound(self, curve, given, printed)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw ψ, and how the loss falls from L0 = 1 over κt.

        With a path (.png, .svg, .pdf) it is written too, with its data as CSV and a manifest as
        JSON beside it.  Needs Matplotlib: pip install 'kltheory[plot]'.
        """
        from kltheory.drawn import law_figure, shown

        return shown(law_figure(self), path, self.to_dict())

    # -- how it shows itself ------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """What `kltheory bound --format json` prints for this law."""
        return report.law_dict(self)

    def to_latex(self) -> str:
        """A LaTeX snippet for an article with amsmath."""
        return report.latex_snippet(report.page(report.Answer(self)))

    def __repr__(self) -> str:
        d = self.desingularizer
        return f"<RateLaw {d}, r0 = {d.radius}, {self.regime.loss}, {self.tier}>"

    def __str__(self) -> str:
        return report.law_text(self)

    def _repr_html_(self) -> str:
        return report.law_html(self)

    def _repr_latex_(self) -> str:
        return report.law_latex(self)

    def __rich__(self) -> Any:
        return report.law_rich(self)


class Bound(guarantees.Bound):
    """The guarantees of Theorem 3.2 for one law and one set of constants; it shows itself."""

    def __init__(self, law: RateLaw, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.law = law

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the guarantees over time.

        With a path (.png, .svg, .pdf) it is written too, with its data as CSV and a manifest as
        JSON beside it.  Needs Matplotlib: pip install 'kltheory[plot]'.
        """
        from kltheory.drawn import bound_figure, shown

        return shown(bound_figure(self.law, self), path, self.to_dict())

    def to_dict(self, times: Any = None) -> dict[str, Any]:
        """What `kltheory bound --format json` prints, at these times or at well chosen ones."""
        return report.bound_dict(self.law, self, times)

    def to_latex(self, times: Any = None) -> str:
        """A LaTeX snippet for an article with amsmath."""
        return report.latex_snippet(report.page(report.answer_of(self.law, self, times)))

    def __repr__(self) -> str:
        psi, c = self.law.desingularizer, self.constants
        return f"<Bound {psi}, κ = {self.kappa:.6g}, L0 = {float(c.loss0):.6g}, {self.theory}>"

    def __str__(self) -> str:
        return report.bound_text(self.law, self)

    def _repr_html_(self) -> str:
        return report.bound_html(self.law, self)

    def __rich__(self) -> Any:
        return report.bound_rich(self.law, self)


def rate(
    psi: str | sp.Expr | Desingularizer,
    *,
    radius: Any = None,
    limit: float = LIMIT,
    **parameters: Any,
) -> RateLaw:
    """The rate law of a desingularizing function ψ: Ψ, Ψ⁻¹, the regime, and bounds.

    `psi` is text in s ("sqrt(s) + s"), a SymPy expression, a `Desingularizer` or `kl.loss(...)`;
    `radius` is r0 where it cannot be found or shall be smaller; `limit` bounds the seconds of
    symbolic work, after which numbers are computed without closed forms; parameters of ψ go by
    their names.

    Raises `ParseError`, `NotDesingularizing` or `InputError`, each with the reason.

    >>> rate("sqrt(s)/log(1/s)", radius="1/e").regime.loss
    'finite-time'
    >>> rate("c*s**alpha", alpha="1/2").loss_bound
    L0*exp(-4*kappa*t/c**2)
    """
    started = time.thread_time()
    if isinstance(psi, Desingularizer):
        if radius is not None:
            raise InputError("radius is given with a desingularizer, which has its own")
        d = psi.with_values(**parameters) if parameters else psi
    else:
        d = Desingularizer.from_psi(psi, radius=radius, parameters=parameters)
        unknown = [n for n, v in parameters.items() if v is not None and not _mentions(psi, n)]
        if unknown:
            raise InputError(f"ψ = {psi} has no parameter {unknown[0]}")
    law = symbolic.derive(d, max(0.2 * limit, limit - (time.thread_time() - started)))
    return RateLaw(**{f.name: getattr(law, f.name) for f in fields(law)})


def _mentions(psi: Any, name: str) -> bool:
    import re

    return re.search(rf"\b{re.escape(name)}\b", str(psi)) is not None


__all__ = ["LIMIT", "Bound", "RateLaw", "rate"]
