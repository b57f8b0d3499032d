"""How wide a two-layer network must be: Theorems 4.1 and B.1 and their sharper relatives.

    import kltheory as kl
    print(kl.width(n=5, m=5, activation="sigmoid", train="both", sigma_f=0.5, norm_f=1,
                   y_norm=5**0.5, failure=0.05))

The network is g(u) = V φ(W u)/√k with k neurons; W(0) is Gaussian, V(0) has iid columns with
identity covariance and entries bounded by D.  A row is never a number alone: it names its
theorem, its constants and where they come from, and the probability with which it holds.
"""

from __future__ import annotations

import decimal
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kltheory.errors import InputError
from kltheory.numeric.user_activation import resolve
from kltheory.numeric.width_bounds import LARGEST, exactly
from kltheory.numeric.width_cases import Case, printed_for, theorems_for
from kltheory.numeric.width_problem import (
    Number,
    WidthLoss,
    WidthProblem,
    integer_of,
    problem_of,
)
from kltheory.numeric.width_row import AtWidth, WidthRow, power_of_ten
from kltheory.numeric.width_zero import without_width

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = ["AtWidth", "WidthLoss", "WidthRow", "Widths", "width"]

THEORIES = ("all", "printed", "corrected", "sharp")
"""What `theory` can be."""


@dataclass(frozen=True, slots=True)
class Widths:
    """The widths that the theorems ask for, side by side."""

    problem: WidthProblem
    """What was asked."""
    rows: tuple[WidthRow, ...]
    """One row a theorem."""
    warnings: tuple[str, ...]
    """What was assumed, in words."""

    def __getitem__(self, theorem: str) -> WidthRow:
        """Return the strongest row of that theorem: the last that is not the printed one."""
        found = [row for row in self.rows if row.theorem == theorem]
        if not found:
            names = ", ".join(dict.fromkeys(row.theorem for row in self.rows))
            raise InputError(f"no row {theorem!r}; there are: {names}.")
        return found[-1]

    def at(self, k: int) -> tuple[AtWidth, ...]:
        """Say for a given k which theorems hold, by what margin, and what they could afford."""
        k = integer_of("k", k, high=10**LARGEST)
        shown = {(row.theorem, row.theory) for row in self.rows}
        found = []
        with decimal.localcontext(exactly(60)):
            for case in printed_for(self.problem):
                if (case.name, "printed") in shown:
                    found.append(case.at(k))
            for theorem in theorems_for(self.problem):
                if (theorem.name, theorem.theory) in shown:
                    found.append(Case(self.problem, theorem).at(k))
        for row in without_width(self.problem):
            if (row.theorem, row.theory) in shown:
                found.append(_at_without_width(row, k))
        return tuple(found)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the number of neurons that each theorem asks for.

        With a path (.png, .svg, .pdf) it is written too, with its data as CSV and a manifest as
        JSON beside it.  Needs Matplotlib: pip install 'kltheory[plot]'.
        """
        drawn = importlib.import_module("kltheory.drawn")  # above all rooms that compute
        figure: Figure = drawn.shown(drawn.widths_figure(self), path, self.to_dict())
        return figure

    def to_dict(self) -> dict[str, Any]:
        """Return the answer of the command: schema, question, rows, warnings."""
        return {
            "schema": "kltheory/width/1",
            "problem": self.problem.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "warnings": list(self.warnings),
        }

    def __repr__(self) -> str:
        rows = [
            f"{row.theorem:<28} {row.theory:<10} {_k_text(row):>16}  {row.scaling}"
            for row in self.rows
        ]
        return "\n".join([f"{'theorem':<28} {'theory':<10} {'k':>16}  scaling", *rows])

    def _repr_markdown_(self) -> str:
        rows = [
            f"| {row.theorem} | {row.theory} | {_k_text(row)} | {row.scaling} |"
            for row in self.rows
        ]
        return "\n".join(["| theorem | theory | k | scaling |", "|---|---|---:|---|", *rows])


def _k_text(row: WidthRow) -> str:
    if row.k is not None and row.k < 10**15:
        return f"{row.k:,}"
    return "none" if row.log10_k is None else power_of_ten(row.log10_k)


# -- together --------------------------------------------------------------------------------------


def _at_without_width(row: WidthRow, k: int) -> AtWidth:
    holds = row.k is not None and k >= row.k
    margin = k / row.k if row.k else None
    return AtWidth(row.theorem, row.theory, holds, margin, None, None, None, row.reason)


def width(
    *,
    n: int,
    m: int,
    activation: Any = "sigmoid",
    train: str = "hidden",
    sigma_f: Number,
    norm_f: Number,
    failure: Number,
    y_norm: Number | None = None,
    x_inf: Number | None = None,
    noise_inf: Number | None = None,
    x_norm: Number | None = None,
    rank: int | None = None,
    entry_bound: Number = 1,
    d: int | None = None,
    loss: str | WidthLoss = "mse",
    params: Mapping[str, Number] | None = None,
    C: Number | None = None,
    C_prime: Number | None = None,
    theory: str = "all",
) -> Widths:
    """Return the number of neurons that each theorem asks for.

    Theorems 4.1 and B.1 of the paper as printed (with the constants C and C', which the paper
    does not give), by the paper's route with every constant, and sharp; the certificate in the
    row space of a linear F; attainability; and the theorems that need no width.  What the text of
    the two theorems lacks: `kltheory audit E19`, `kltheory audit E27`.

    Args:
        n: size of the signal.
        m: size of the observation.
        activation: φ: a name, a text or SymPy expression in x, or an `Activation`.
        train: the layers that are trained, "hidden" or "both".
        sigma_f: σ_F > 0, the smallest nonzero singular value of J_F.
        norm_f: L_{F,0}, a bound on ‖J_F‖; F(0) = 0.
        failure: the probability with which the theorem may fail.
        y_norm: a bound on ‖y‖; or else
        x_inf: ‖F(x̄)‖∞ and
        noise_inf: ‖ε‖∞, for ‖y‖ ≤ √m(‖F(x̄)‖∞ + ‖ε‖∞).
        x_norm: a bound on ‖A⁺y‖ for attainability (default ‖y‖/σ_F).
        rank: a bound on the rank of a linear F, for S4Q and M (default min(n, m)).
        entry_bound: D ≥ 1, a bound on the entries of V(0).
        d: size of the input, for the printed theorems.
        loss: a name or a `WidthLoss`.
        params: the parameters of the loss by name.
        C: the constant C of the printed theorems.
        C_prime: the constant C' of the printed theorems.
        theory: "all", "printed", "corrected" or "sharp".

    Raises:
        InputError: a value is not allowed; the message says what is.

    >>> found = width(n=5, m=5, train="hidden", sigma_f=0.5, norm_f=1, y_norm=5**0.5, failure=0.05)
    >>> found["B.1"].k
    15485
    """
    if theory not in THEORIES:
        raise InputError(f"theory: got {theory!r}; allowed are {', '.join(THEORIES)}.")
    problem = problem_of(
        n=n,
        m=m,
        activation=resolve(activation),
        train=train,
        sigma_f=sigma_f,
        norm_f=norm_f,
        failure=failure,
        y_norm=y_norm,
        x_inf=x_inf,
        noise_inf=noise_inf,
        x_norm=x_norm,
        rank=rank,
        entry_bound=entry_bound,
        d=d,
        loss=loss,
        params=params,
        C=C,
        C_prime=C_prime,
    )
    rows = []
    if theory in ("all", "printed"):
        rows += [case.row() for case in printed_for(problem)]
    for theorem in theorems_for(problem):
        if theory in ("all", theorem.theory):
            rows.append(Case(problem, theorem).row())
    if theory in ("all", "sharp"):
        rows += without_width(problem)
    printed = theory in ("all", "printed")
    warnings = [text for text in problem.assumed if printed or text.startswith("noise_inf")]
    if not problem.activation.proved:
        warnings.append(
            f"the constants of the activation {problem.activation.name} are sampled or given, "
            "not proved: the widths are as good as they are"
        )
    return Widths(problem, tuple(rows), tuple(warnings))
