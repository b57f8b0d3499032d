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
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kltheory.errors import InputError, brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kltheory.checks import CheckResult

__all__ = [
    "FORMATS",
    "check_figure",
    "draw_reproduction",
    "figure_file",
    "new_figure",
    "png",
    "save",
]

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
    except ValueError as error:  # such as a backend that there is not, in the environment
        raise InputError(f"Matplotlib does not start: {brief(str(error), 100)}") from None
    for other in (path.with_suffix(".csv"), path.with_suffix(".json")):
        if other.exists() and not _belongs(path):
            raise InputError(
                f"{other.name!r} is there and belongs to no figure {path.name!r}, whose data go by "
                "that name: give another name, or move it away."
            )


def _belongs(path: Path) -> bool:
    """Whether the files beside a figure are those that `save` wrote."""
    try:
        said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("figure") == path.name


def new_figure(
    rows: int, columns: int, *, width: float = 4.6, height: float = 3.4
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, a list of rows * columns, in the style of all figures."""
    figure = _kind_of_figure()(
        figsize=(width * columns, height * rows), layout="constrained", dpi=150
    )
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for ax in axes:
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        ax.tick_params(labelsize=8, colors=INK)
        ax.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


@cache
def _kind_of_figure() -> type[Figure]:
    """Matplotlib's figure, which shows itself in a notebook without pyplot too."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            return png(self)

    return Shown


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def save(
    figure: Figure, path: Path, manifest: Mapping[str, Any], columns: Mapping[str, Any]
) -> None:
    """Write a figure, its data as CSV and its manifest as JSON beside it, each whole or not at all.

    The same data give the same bytes: no date is written into the file.
    """
    from matplotlib import rc_context

    import kltheory

    stream = io.BytesIO()
    kind = path.suffix.lower()[1:]
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    with rc_context({"svg.hashsalt": "kltheory"}):  # ids that do not change from call to call
        figure.savefig(stream, format=kind, metadata=undated)
    _write(path, stream.getvalue())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(_cell(value) for value in row)
    _write(path.with_suffix(".csv"), table.getvalue().encode())
    made = {"version": kltheory.__version__, "figure": path.name, **manifest}
    _write(path.with_suffix(".json"), (json.dumps(made, indent=2, allow_nan=False) + "\n").encode())


def _cell(value: Any) -> str:
    """Return words as they are, and a number in full; nothing for NaN."""
    if isinstance(value, str):
        return value
    return "" if value != value else repr(float(value))


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
        paper = c.bound.startswith(("(", "Corollary", "Lemma", "Theorem"))
        label = f"{c.bound} {c.theory}" if paper else c.bound
        found.append((label, "other" if twice else c.theory, c.curve))
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


# ---------------------------------------------------------------------------------------------
# kltheory reproduce

LEVELS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of a parameter that takes several values."""
_MARKERS = "osD^vP*"


def draw_reproduction(shown: Mapping[str, Any], path: Path) -> None:
    """Draw what a figure of the paper shows, from plain data, and write it whole or not at all."""
    drawn = {
        "convergence": _convergence,
        "signal": _signal,
        "losses": _losses,
        "profiles": _profiles,
    }[shown["kind"]](shown)
    drawn.suptitle(shown["said"], fontsize=9, color=INK)
    stream = io.BytesIO()
    kind = path.suffix.lower()[1:]
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    drawn.savefig(stream, format=kind, metadata=undated)
    _write(path, stream.getvalue())


def _edges(values: Array) -> Array:
    """Return the edges of cells around values on a logarithmic axis."""
    at = np.log(values)
    if at.size == 1:
        return np.asarray(np.exp(np.array([at[0] - 0.1, at[0] + 0.1])))
    middle = 0.5 * (at[1:] + at[:-1])
    ends = (2 * at[0] - middle[0], 2 * at[-1] - middle[-1])
    return np.asarray(np.exp(np.concatenate([[ends[0]], middle, [ends[1]]])))


_ENGINES = {
    "descent": "gradient descent, {steps} steps of size {step:g}",
    "exact": "limit of the gradient flow",
}


def _convergence(shown: Mapping[str, Any]) -> Figure:
    """Shares of convergence as maps, with the border that is fitted and the one expected."""
    from matplotlib.patheffects import withStroke

    engines, outline = list(shown["maps"]), [withStroke(linewidth=3.6, foreground=INK)]
    figure, axes = new_figure(1, len(engines), width=4.9, height=4.1)
    x, k = np.array(shown["x"], dtype=np.float64), np.array(shown["k"], dtype=np.float64)
    rows, columns = np.argsort(k), np.argsort(x)
    mesh: Any = None
    for ax, engine in zip(axes, engines, strict=True):
        share = np.array(shown["maps"][engine])[np.ix_(rows, columns)]
        ax.grid(False)
        ax.set(xscale="log", yscale="log", xlabel=_AXES[shown["axis"]], ylabel="neurons $k$")
        x_edges, k_edges = _edges(x[columns]), _edges(k[rows])
        mesh = ax.pcolormesh(x_edges, k_edges, share, cmap="cividis", vmin=0, vmax=1,
                             linewidth=0, antialiased=False)  # fmt: skip
        m = x_edges if shown["axis"] == "m" else np.full(x_edges.size, float(shown["m"]))
        expected = f"expected: $k = {shown['ratio']:.1f}\\,m$"
        ax.plot(x_edges, shown["ratio"] * m, color="#E69F00", linewidth=2.4, linestyle="--",
                path_effects=outline, label=expected)  # fmt: skip
        border = shown["borders"][engine]
        if border is not None:
            name, exponent = shown["axis"], border["exponent"]
            fitted = f"fitted: $k = {border['k'][0]:.0f}$"
            if exponent is not None:
                low, high = border["interval"]
                fitted = f"fitted: $k \\propto {name}^{{{exponent:.2f}}}$  [{low:.2f}, {high:.2f}]"
            fit = np.array(border["k"])[columns]
            ax.plot(x[columns], fit, color="white", linewidth=2, path_effects=outline,
                    label=fitted)  # fmt: skip
            if name == "n" and exponent is not None:
                middle = float(np.exp(np.mean(np.log(x))))
                anchor = float(np.exp(np.interp(np.log(middle), np.log(x[columns]), np.log(fit))))
                ax.plot(x_edges, anchor * (x_edges / middle) ** 2, color="#FFB0DC", linewidth=1.8,
                        linestyle=":", path_effects=outline,
                        label="slope 2, for comparison")  # fmt: skip
        ax.set_xlim(x_edges[0], x_edges[-1])
        ax.set_ylim(k_edges[0], k_edges[-1])
        _plain_ticks(ax)
        ax.set_title(_ENGINES[engine].format(**shown), fontsize=10, color=INK)
        ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1,
                  frameon=False, labelcolor=INK)  # fmt: skip
    bar = figure.colorbar(mesh, ax=axes, shrink=0.9, pad=0.02)
    bar.set_label(f"share of networks with loss below {_power_of_ten(shown['tol'])}", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


_AXES = {"n": "unknowns $n$", "m": "observations $m$"}


def _plain_ticks(ax: Axes) -> None:
    """Write the ticks of logarithmic axes as whole numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_formatter(NullFormatter())


def _power_of_ten(value: float) -> str:
    exponent = int(np.floor(np.log10(value) + 1e-9)) if value > 0 else 0
    factor = value / 10.0**exponent
    lead = "" if abs(factor - 1.0) < 1e-9 else f"{factor:g}\\cdot"
    return f"${lead}10^{{{exponent}}}$" if value > 0 else "0"


def _key(ax: Axes, entries: Sequence[tuple[str, Mapping[str, Any]]], **where: Any) -> None:
    """Add a legend of line styles to the one that is there."""
    from matplotlib.lines import Line2D

    first = ax.get_legend()
    handles = [Line2D([], [], **style) for _, style in entries]
    ax.legend(handles, [label for label, _ in entries], fontsize=8, frameon=False, **where)
    if first is not None:
        ax.add_artist(first)


def _signal(shown: Mapping[str, Any]) -> Figure:
    """Distance to the signal: mean and deviation, beside the bound and the line of the paper."""
    figure, (ax,) = new_figure(1, 1, width=6.6, height=4.6)
    steps = np.array(shown["steps"], dtype=np.float64)
    later = steps > 0
    first = "descent" if "descent" in shown["levels"][0] else "exact"
    floor = np.inf
    for i, level in enumerate(shown["levels"]):
        colour, marker = LEVELS[i % len(LEVELS)], _MARKERS[i % len(_MARKERS)]
        mean, std = (np.array(level[first][key]) for key in ("mean", "std"))
        low = np.maximum(mean - std, 0.2 * mean)
        floor = min(floor, float(low[later].min()))
        ax.fill_between(steps[later], low[later], (mean + std)[later], color=colour, alpha=0.18,
                        linewidth=0)  # fmt: skip
        ax.plot(steps[later], mean[later], color=colour, linewidth=2, marker=marker, markersize=5,
                markevery=8, label=f"$\\beta = {level['beta']:g}$")  # fmt: skip
        if first == "descent" and "exact" in level:
            flow = np.array(level["exact"]["mean"])
            ax.plot(steps[later], flow[later], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        if level["beta"] > 0:
            ax.axhline(level["corrected_bound"], color=colour, linestyle="--", linewidth=1.5)
            ax.axhline(level["printed_bound"], color=colour, linestyle=":", linewidth=1.5)
        if level.get("limit") is not None and level["limit"] > 0.5 * floor:
            ax.plot([1.0], [level["limit"]], color=colour, marker="<", markersize=8, clip_on=False,
                    transform=ax.get_yaxis_transform(), linestyle="none", zorder=5)  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel=shown["time"], xlim=(steps[later][0], steps[-1]))
    ax.set_ylabel(r"$\|x - \bar x\|$")
    _plain_y(ax)
    ax.legend(fontsize=9, frameon=False, loc="lower left", title="noise level", title_fontsize=9)
    entries: list[tuple[str, Mapping[str, Any]]] = [
        (r"bound $\mathbb{E}\|\varepsilon\|/\mu$", {"color": INK, "linestyle": "--"}),
        (r"printed: $\sqrt{m}\,\beta/(\sqrt{6}\,\mu)$", {"color": INK, "linestyle": ":"}),
    ]
    if "exact" in shown["levels"][0]:
        entries.append(("limit $t = \\infty$", {"color": INK, "marker": "<", "linestyle": "none"}))
        if first == "descent":
            fine = {"color": INK, "linestyle": (0, (1, 2)), "linewidth": 0.8}
            entries.append(("gradient flow, mean", fine))
    _key(ax, entries, loc="lower left", bbox_to_anchor=(0.22, 0.0))
    return figure


def _plain_y(ax: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _losses(shown: Mapping[str, Any]) -> Figure:
    """Final loss over k: descent as markers with intervals, the limit of the flow as a line."""
    figure, (ax,) = new_figure(1, 1, width=6.4, height=4.4)
    ax.set(xscale="log", yscale="log", xlabel="neurons $k$", ylabel="loss at the end")
    bottom = float(shown["tol"]) / 20
    for i, level in enumerate(shown["levels"]):
        colour, marker = LEVELS[i % len(LEVELS)], _MARKERS[i % len(_MARKERS)]
        k = np.array(level["k"], dtype=np.float64)
        label: str | None = f"$\\beta = {level['beta']:g}$"
        if "exact" in level:
            limit = np.array(level["exact"]["mean_upper"])
            seen = limit > bottom
            drop = int(np.argmin(seen)) if not seen.all() else k.size
            ax.plot(k[:drop], limit[:drop], color=colour, linewidth=1.6,
                    label=None if "descent" in level else label)  # fmt: skip
            if 0 < drop < k.size:  # to a point below the frame: from here on it is zero
                fall = [float(limit[drop - 1]), bottom / 100]
                ax.plot(k[drop - 1 : drop + 1], fall, color=colour, linewidth=0.9,
                        linestyle=(0, (4, 2)))  # fmt: skip
        if "descent" in level:
            mean = np.array(level["descent"]["mean"])
            ends = np.array(level["descent"]["interval"])
            ax.errorbar(k, mean, yerr=np.abs(ends.T - mean), color=colour, linestyle="none",
                        marker=marker, markersize=5.5, markerfacecolor="white", capsize=2,
                        label=label)  # fmt: skip
        ax.axvline(level["expected_border_k"], color=colour, linestyle=(0, (1, 3)), linewidth=1.2)
    ax.axhline(shown["tol"], color=INK, linewidth=0.8, linestyle="--")
    ax.set_ylim(bottom, None)
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize=9, frameon=False, loc="lower left", title="noise level", title_fontsize=9)
    entries: list[tuple[str, Mapping[str, Any]]] = []
    if "descent" in shown["levels"][0]:
        marks = {"color": INK, "marker": "o", "linestyle": "none", "markerfacecolor": "white"}
        entries.append(("descent, mean and 95 % interval", marks))
    if "exact" in shown["levels"][0]:
        entries.append(("limit of the flow", {"color": INK}))
    entries.append(("expected border of zero loss", {"color": INK, "linestyle": (0, (1, 3))}))
    entries.append(("tolerance", {"color": INK, "linestyle": "--", "linewidth": 0.8}))
    _key(ax, entries, loc="upper right")
    return figure


def _profiles(shown: Mapping[str, Any]) -> Figure:
    """Loss over the steps for each p, with the slope that is predicted."""
    figure, (ax,) = new_figure(1, 1, width=6.6, height=4.6)
    steps = np.array(shown["steps"], dtype=np.float64)
    later = steps > 0
    first = "descent" if "descent" in shown["levels"][0] else "exact"
    tol = float(shown["tol"])
    ax.set(xscale="log", yscale="log", xlabel=shown["time"], xlim=(steps[later][0], steps[-1]))
    ax.set_ylabel("mean loss")
    for i, level in enumerate(shown["levels"]):
        colour, marker = LEVELS[i % len(LEVELS)], _MARKERS[i % len(_MARKERS)]
        mean = np.array(level[first])
        open_ = later & (mean > 1.5 * tol)
        slope = level["predicted_slope"]
        rule = "exponential" if slope is None else f"slope ${slope:.3g}$"
        ax.plot(steps[later], mean[later], color=colour, linewidth=2, marker=marker, markersize=5,
                markevery=9, label=f"$p = {level['p']:g}$, {rule}")  # fmt: skip
        if first == "descent" and "exact" in level:
            flow = np.array(level["exact"])
            ax.plot(steps[later], flow[later], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        if slope is not None and open_.sum() > 3:
            end = int(np.flatnonzero(open_)[-1])
            span = steps[later & (steps >= steps[end] / 8) & (steps <= steps[end])]
            ax.plot(span, 2.5 * mean[end] * (span / steps[end]) ** slope, color=colour,
                    linewidth=1.6, linestyle="--")  # fmt: skip
    ax.axhline(tol, color=INK, linewidth=0.8, linestyle="--")
    ax.set_ylim(tol / 10, None)
    ax.legend(fontsize=9, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 0.06))
    entries: list[tuple[str, Mapping[str, Any]]] = [
        ("slope of Corollary 3.3", {"color": INK, "linestyle": "--", "linewidth": 1.6}),
    ]
    if first == "descent" and "exact" in shown["levels"][0]:
        fine = {"color": INK, "linestyle": (0, (1, 2)), "linewidth": 0.8}
        entries.append(("gradient flow", fine))
    _key(ax, entries, loc="upper right")
    return figure
