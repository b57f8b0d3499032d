"""What a check leaves behind, and how it shows itself."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kltheory import report
from kltheory.checks.observed import Observed
from kltheory.checks.verdicts import VERDICTS, Check, counts

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = ["SCHEMA", "CheckResult"]

SCHEMA = "kltheory/check/1"
"""The schema of `CheckResult.to_dict`; its text is kltheory/schemas/check.json."""

_LETTERS = {
    "loss0": "L0", "psi0": "ψ(L0)", "sigma_F": "σ_F", "sigma_J": "σ_J", "kappa": "κ",
    "Lambda": "Λ", "noise": "‖ε‖", "mu": "μ", "L_F": "L_F", "dist": "dist(x̄, Σ)", "L_J": "L_J",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class CheckResult:
    """Every guarantee that was held against one trajectory."""

    checks: tuple[Check, ...]
    """One for each guarantee and form."""
    observed: Observed
    """The trajectory."""
    psi: str
    """ψ."""
    title: str
    """What was checked, in a line."""
    constants: Mapping[str, float]
    """The constants that were used."""
    tol: float
    """The loss below which a run counts as converged."""
    train: str | None
    """"hidden" or "both"; None for data."""
    warnings: tuple[str, ...] = ()
    """What the reader should know."""

    @property
    def holds(self) -> bool:
        """Whether no corrected or sharp guarantee is violated."""
        return not any(c.verdict == "violated" and c.theory != "printed" for c in self.checks)

    @property
    def printed_violated(self) -> int:
        """How many of the printed forms (HAL v1) are violated."""
        return sum(c.verdict == "violated" and c.theory == "printed" for c in self.checks)

    @property
    def final_loss(self) -> float:
        """The loss at the end."""
        return self.observed.final_loss

    @property
    def converged(self) -> bool:
        """Whether the loss fell below the tolerance."""
        return bool(self.final_loss < self.tol)

    @property
    def findings(self) -> tuple[str, ...]:
        """What was found that is no violation of a theorem, in sentences."""
        over = [c for c in self.checks if c.finding == "step size"]
        if not over:
            return ()
        worst = max(over, key=lambda c: c.worst_ratio or 0.0)
        return (
            f"step size: descent goes over {len(over)} bounds on the flow, most over"
            f" {worst.bound} {worst.theory} (by a factor {worst.worst_ratio:.4g} at t ="
            f" {worst.at:.4g}); the theorems on the flow do not speak of steps this large",
        )

    def __getitem__(self, key: tuple[str, str]) -> Check:
        """Return the check of a bound in a form, such as result["(10)", "sharp"]."""
        for check in self.checks:
            if (check.bound, check.theory) == tuple(key):
                return check
        names = ", ".join(dict.fromkeys(c.bound for c in self.checks))
        raise KeyError(f"there is no check {key!r}; bounds here: {names}")

    # -- formats ----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return what `kltheory check --format json` prints."""
        o = self.observed
        return {
            "schema": SCHEMA,
            "title": self.title,
            "method": o.method,
            "train": self.train,
            "psi": self.psi,
            "constants": {name: _plain(value) for name, value in self.constants.items()},
            "t": [float(t) for t in o.t],
            "trajectory": {
                name: [_plain(v) for v in column.values] for name, column in o.columns.items()
            },
            "checks": [c.to_dict() for c in self.checks],
            "holds": self.holds,
            "printed_violated": self.printed_violated,
            "final_loss": _plain(self.final_loss),
            "converged": self.converged,
            "floor": _plain(o.floor),
            "decrease": _plain(o.decrease),
            "findings": list(self.findings),
            "warnings": list(self.warnings),
        }

    def to_csv(self) -> str:
        """Return one line for each check."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("bound", "theory", "verdict", "worst_ratio", "at", "quantity", "reason"))
        for c in self.checks:
            ratio = "" if c.worst_ratio is None else repr(c.worst_ratio)
            at = "" if c.at is None else repr(c.at)
            writer.writerow((c.bound, c.theory, c.verdict, ratio, at, c.quantity, c.reason))
        return stream.getvalue()

    def curves(self) -> dict[str, Any]:
        """Return the trajectory and every bound over time, as columns."""
        found: dict[str, Any] = {"t": self.observed.t}
        for name, column in self.observed.columns.items():
            found[name] = column.values
        for c in self.checks:
            if c.curve is not None:
                found[f"{c.bound} {c.theory}"] = c.curve
        return found

    def figure(self) -> Any:
        """Return the figure of `--plot`: theory as lines, the trajectory as a band."""
        from kltheory.plot import check_figure

        return check_figure(self)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the trajectory as a band and the guarantees as lines.

        With a path (.png, .svg, .pdf) it is written too, with its data as CSV and a manifest as
        JSON beside it.  Needs Matplotlib: pip install 'kltheory[plot]'.
        """
        from kltheory.drawn import shown
        from kltheory.plot import check_figure

        return shown((check_figure(self), self.curves()), path, self.to_dict())

    def page(self) -> report.Page:
        """Return the page that every format shows."""
        said = counts(self.checks)
        summary = ", ".join(f"{n} {verdict}" for verdict, n in said.items() if n)
        o = self.observed
        pairs = [
            ("guarantees", f"{summary}: {self._conclusion()}"),
            ("loss", f"{o.columns['loss'].values[0]:.6g} → {self.final_loss:.6g}"
                     f" ({'below' if self.converged else 'not below'} {self.tol:g})"),
            ("run", o.reason),
            ("ψ", self.psi),
            ("constants", ", ".join(f"{_LETTERS[n]} = {v:.5g}" for n, v in self.constants.items())),
        ]  # fmt: skip
        if o.method == "descent" and o.decrease is not None:
            factor = f"f(θ⁺) ≤ f(θ) - cη‖∇f‖² at every step with c = {o.decrease:.4g}"
            pairs.insert(3, ("descent", factor))
        made = [c for c in self.checks if c.verdict != "not-applicable" or c.finding]
        rest = [c for c in self.checks if c not in made]
        header = ("bound", "theory", "verdict", "worst ratio", "at t", "bounds", "bound/actual")
        merged = _merged(made)
        rows = tuple(
            _row(c.bound, theory, c.verdict, _number(c.worst_ratio), _number(c.at), c.quantity,
                 _room(c))
            for c, theory in merged
        )  # fmt: skip
        why = tuple(_row(c.bound, theory, c.reason) for c, theory in merged if c.verdict != "holds")
        parts: list[report.Pairs | report.Grid] = [
            report.Pairs(
                "Trajectory",
                tuple((report.words(name), report.words(text)) for name, text in pairs),
            ),
        ]
        if rows:
            note = "worst ratio: the largest actual/bound; above 1 is a violation"
            note += "; printed: in this version of the paper (HAL v1)"
            parts.append(report.Grid("Guarantees", _row(*header), rows, words=True, note=note))
        if why:
            parts.append(
                report.Grid(
                    "What else there is to say", _row("bound", "theory", "why"), why, words=True
                )
            )
        if rest:
            parts.append(_not_made(rest))
        notes = (*self.warnings, *self.findings)
        return report.Page(report.words(f"Check: {self.title}"), tuple(parts), notes)

    def _conclusion(self) -> str:
        if all(c.verdict == "not-applicable" for c in self.checks):
            return "none applies here"
        if not self.holds:
            return "a corrected or sharp guarantee is violated"
        if self.printed_violated:
            return f"{self.printed_violated} only as printed (HAL v1), none as corrected"
        return "none is violated"

    def __repr__(self) -> str:
        said = counts(self.checks)
        summary = ", ".join(f"{said[v]} {v}" for v in VERDICTS if said[v])
        lines = [f"CheckResult({self.title})", f"  {summary}: {self._conclusion()}"]
        lines += [
            f"  {c.bound} {c.theory}: {c.verdict}, {c.reason}"
            for c in self.checks
            if c.verdict in ("violated", "floor") or c.finding
        ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return report.text(self.page())

    def _repr_html_(self) -> str:
        return report.html(self.page())

    def __rich__(self) -> Any:
        return report.rich_page(self.page())


def _plain(value: Any) -> float | str | None:
    if value is None or np.isnan(value):
        return None
    return "inf" if math.isinf(value) else float(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _room(c: Check) -> str:
    """How far the bound is from the actual value."""
    known = c.tightness[~np.isnan(c.tightness)] if c.tightness is not None else np.zeros(0)
    if known.size == 0:
        return ""
    return f"{known.min():.3g} to {known.max():.3g}"


def _row(*cells: str) -> tuple[report.Text, ...]:
    return tuple(map(report.words, cells))


def _merged(checks: list[Check]) -> list[tuple[Check, str]]:
    """Checks with their forms; what is the same printed and corrected is one row."""
    rows: list[tuple[Check, str]] = []
    for c in checks:
        for i, (other, theory) in enumerate(rows):
            if (c.bound, c.statement, c.reason, c.worst_ratio) == (
                other.bound, other.statement, other.reason, other.worst_ratio,
            ):  # fmt: skip
                rows[i] = other, f"{theory} = {c.theory}"
                break
        else:
            rows.append((c, c.theory))
    return rows


def _family(bound: str) -> str:
    """The theorem that a guarantee belongs to."""
    name = bound.removesuffix(" descent")
    if name.startswith(("Corollary", "Lemma", "(10)", "(11)", "(12)", "(17)", "(18)")):
        name = "Theorem 3.2"
    return name + " for descent" if bound.endswith(" descent") else name


def _not_made(rest: list[Check]) -> report.Grid:
    """What does not apply, one line for one reason."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for c in rest:
        names, theories = found.setdefault(c.reason, ({}, {}))
        names[_family(c.bound)] = None
        theories[c.theory] = None
    rows = tuple(_row(", ".join(n), ", ".join(t), reason) for reason, (n, t) in found.items())
    return report.Grid("Not applicable", _row("guarantee", "theory", "why"), rows, words=True)
