"""Figures, all in one style: theory as lines, trajectories as bands, certified regions shaded.

Figures are made without pyplot, so that no setting of Matplotlib is changed.  Colours are those of
Okabe and Ito (2008), which are told apart by the colour-blind; every line has a style of its own,
so that a figure can be read without colour too.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kltheory.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kltheory.check import CheckResult

__all__ = ["FORMATS", "check_figure", "figure_file", "new_figure", "save"]

Array = NDArray[np.float64]

FORMATS = (".png", ".svg", ".pdf")
"""What figures are written as."""

INK = "#222222"
BAND = "#56B4E9"
REGION = "#009E73"
THEORY = {
    "corrected": ("#0072B2", "-"),
    "sharp": ("#009E73", "--"),
    "printed": ("#D55E00", ":"),
}
"""Form of a theorem -> colour and line style."""
OTHERS = ("#CC79A7", "#E69F00", "#999999", "#F0E442", "#000000")
"""Colours of what is neither."""
_STYLES = ((0, (1, 1)), (0, (4, 1, 1, 1)), (0, (6, 2)), (0, (2, 2)), (0, (5, 1, 1, 1, 1, 1)))


# ---------------------------------------------------------------------------------------------
# What all figures share


def figure_file(path: Path) -> None:
    """Refuse a name that is no figure's, or an installation without Matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path.name!r}: a figure is written as {', '.join(FORMATS)}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError("figures need Matplotlib: pip install 'kltheory[plot]'") from None


def new_figure(
    rows: int, columns: int, *, width: float = 4.6, height: float = 3.4
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, a list of rows * columns, in the style of all figures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=150)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for ax in axes:
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        ax.tick_params(labelsize=8, colors=INK)
        ax.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def save(
    figure: Figure, path: Path, manifest: Mapping[str, Any], columns: Mapping[str, Any]
) -> None:
    """Write a figure, its data as CSV and its manifest as JSON beside it, each whole or not at all.

    The same data give the same bytes: no date is written into the file.
    """
    import kltheory

    stream = io.BytesIO()
    kind = path.suffix.lower()[1:]
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    figure.savefig(stream, format=kind, metadata=undated)
    _write(path, stream.getvalue())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow("" if v != v else repr(float(v)) for v in row)
    _write(path.with_suffix(".csv"), table.getvalue().encode())
    made = {"version": kltheory.__version__, "figure": path.name, **manifest}
    _write(path.with_suffix(".json"), (json.dumps(made, indent=2, allow_nan=False) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".kltheory-{secrets.token_hex(8)}.tmp")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def shade(
    ax: Axes, t: Array, edge: Array, *, above: bool = False, label: str = "certified"
) -> None:
    """Shade the region that a guarantee leaves: below an upper bound, above a lower one."""
    low, high = ax.get_ylim()
    far = high if above else low
    with np.errstate(invalid="ignore"):
        inside = np.clip(edge, low, high)
    ax.fill_between(
        t, inside, far, where=np.isfinite(edge).tolist(), color=REGION, alpha=0.10, linewidth=0,
        label=f"{label} region", zorder=0,
    )  # fmt: skip
    ax.set_ylim(low, high)


def band(ax: Axes, t: Array, low: Array, high: Array, label: str) -> None:
    """Draw trajectories as a band between two curves, with the upper one as its edge."""
    ax.fill_between(t, low, high, color=BAND, alpha=0.45, linewidth=0, zorder=2)
    ax.plot(t, high, color=BAND, linewidth=4, alpha=0.6, solid_capstyle="round", zorder=2,
            label=label)  # fmt: skip


def line(ax: Axes, t: Array, values: Array, theory: str, label: str, order: int = 0) -> None:
    """Draw a guarantee as a line; `order` tells apart those that are none of the three forms."""
    colour, style = THEORY.get(theory, (OTHERS[order % 5], _STYLES[order % 5]))
    ax.plot(t, values, color=colour, linestyle=style, linewidth=1.6, label=label, zorder=3)


# ---------------------------------------------------------------------------------------------
# kltheory check

_PANELS = {
    "loss": r"loss $\mathcal{L}(y(t))$",
    "parameters": r"$\|\theta(t)-\theta_\infty\|$",
    "observation": r"$\|y(t)-y\|$",
    "error": r"$\|y(t)-\bar y\|$",
    "signal": r"$\|x(t)-\bar x\|$",
    "sigma_min": r"$\sigma_{\min}(J_g(t))$",
    "path": r"path length up to $t$",
}
_FIRST = ("loss", "parameters", "signal", "error", "observation", "sigma_min", "path")


def check_figure(results: CheckResult | Sequence[CheckResult]) -> Figure:
    """Draw one check, or several at the same times as bands: up to four panels of what was bounded.

    In each panel the guarantees are lines, the trajectory is a band (of several runs: from the
    least to the largest; of one: its numerical uncertainty), and what the best corrected or sharp
    guarantee leaves is shaded.
    """
    found = [results] if not isinstance(results, Sequence) else list(results)
    first = found[0]
    bounded = {c.column for c in first.checks if c.curve is not None}
    names = [name for name in _FIRST if name in bounded and name in first.observed.columns][:4]
    if not names:
        names = ["loss"]
    columns = 1 if len(names) == 1 else 2
    figure, axes = new_figure(-(-len(names) // columns), columns)
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes, names, strict=False):
        _check_panel(ax, found, name)
    c = first.constants
    said = {"sigma_F": r"$\sigma_F$", "sigma_J": r"$\sigma_J$", "Lambda": r"$\Lambda$",
            "kappa": r"$\kappa$", "noise": r"$\|\varepsilon\|$"}  # fmt: skip
    numbers = ", ".join(f"{sign} = {c[key]:.3g}" for key, sign in said.items() if key in c)
    figure.suptitle(f"{first.title}\n{numbers}", fontsize=9, color=INK)
    return figure


def _check_panel(ax: Axes, results: list[CheckResult], name: str) -> None:
    first = results[0]
    t = first.observed.t
    same = [r.observed.columns[name] for r in results if np.array_equal(r.observed.t, t)]
    with np.errstate(invalid="ignore"):
        high = np.array([np.where(m.values > m.below, m.values, np.nan) for m in same])
        low = np.array([np.where(m.values > m.below, m.values - m.below, np.nan) for m in same])
    some = ~np.isnan(high).all(axis=0)
    top, bottom = np.full(t.size, np.nan), np.full(t.size, np.nan)
    top[some], bottom[some] = np.nanmax(high[:, some], axis=0), np.nanmin(low[:, some], axis=0)
    logarithmic = name != "sigma_min"
    if logarithmic:
        ax.set_yscale("log")
    band(ax, t, bottom, top, "trajectory" if len(same) == 1 else f"{len(same)} trajectories")
    chosen = _lines(first, name)
    for i, (label, theory, curve) in enumerate(chosen):
        line(ax, t, np.where(np.isfinite(curve), curve, np.nan), theory, label, i)
    _limits(ax, np.concatenate([top, bottom]), [c for _, _, c in chosen], logarithmic)
    kept = [curve for _, theory, curve in chosen if theory != "printed"]
    if kept:
        above = name == "sigma_min"
        edge = np.max(kept, axis=0) if above else np.min(kept, axis=0)
        shade(ax, t, edge, above=above)
    ax.set_xlim(0, t[-1])
    ax.set_xlabel("t", fontsize=9)
    ax.set_ylabel(_PANELS[name], fontsize=9)
    ax.legend(fontsize=7, frameon=False)


def _lines(result: CheckResult, name: str) -> list[tuple[str, str, Array]]:
    """The guarantees of a panel; what is the same as another is drawn once."""
    found: list[tuple[str, str, Array]] = []
    order = {"corrected": 0, "sharp": 1, "printed": 2}
    descent = any(c.column == name and c.law == "descent" and c.curve is not None
                  for c in result.checks)  # fmt: skip
    for c in sorted(result.checks, key=lambda c: order[c.theory]):
        if c.column != name or c.curve is None or c.verdict == "not-applicable":
            continue
        if (descent and c.law != "descent") or not np.isfinite(c.curve).any():
            continue
        if any(np.allclose(c.curve, other, rtol=1e-6, atol=0.0) for _, _, other in found):
            continue
        twice = any(theory == c.theory for _, theory, _ in found)
        found.append((f"{c.bound} {c.theory}", "other" if twice else c.theory, c.curve))
    return found


def _limits(ax: Axes, measured: Array, curves: list[Array], logarithmic: bool) -> None:
    """Frame what was measured and where the guarantees start, not how far they fall below."""
    seen = measured[np.isfinite(measured) & ((measured > 0) | (not logarithmic))]
    starts = [c[np.isfinite(c)] for c in curves]
    tops = [float(c.max()) for c in starts if c.size and c.max() > 0]
    if not seen.size:
        return
    if logarithmic:
        low = float(seen.min())
        ax.set_ylim(low / 3, 3 * max([float(seen.max()), *tops]))
    else:
        bottoms = [float(c.min()) for c in starts if c.size]
        low, high = min([float(seen.min()), *bottoms]), max([float(seen.max()), *tops])
        room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        ax.set_ylim(low - room, high + room)
