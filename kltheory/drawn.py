"""The figures of laws, bounds and widths, and what the sliders of `kl.explore` show.

They are made with the strokes of `kltheory.plot`: theory as lines, what happened as a band.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kltheory.plot import INK, LEVELS, THEORY, band, figure_file, line, new_figure, save, shade
from kltheory.symbolic.show import formulas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kltheory.numeric.guarantees import Bound
    from kltheory.numeric.width import Widths
    from kltheory.sliders import Scene
    from kltheory.symbolic.rate import RateLaw

__all__ = [
    "Columns",
    "bound_figure",
    "curve_times",
    "law_figure",
    "scene_figure",
    "shown",
    "widths_figure",
]

Array = NDArray[np.float64]
Columns = dict[str, Any]
"""The data of a figure: name -> column."""

_FALL = 10**6
"""The loss falls by this factor over a figure."""
_POINTS = 161
"""Points of a curve."""
_MARKERS = {"printed": "^", "corrected": "o", "sharp": "s"}


def shown(
    made: tuple[Figure, Columns], path: str | Path | None, manifest: Mapping[str, Any]
) -> Figure:
    """Return a figure; with a path write it first, its data and its manifest beside it."""
    figure, columns = made
    if path is not None:
        figure_file(Path(path))
        save(figure, Path(path), manifest, columns)
    return figure


# ---------------------------------------------------------------------------------------------
# A law and its bounds


def law_figure(law: Any) -> tuple[Figure, Columns]:
    """Draw ψ, and the loss over κt from L0 = 1 (from r0/2 where r0 is at most 1)."""
    radius = law.desingularizer.radius
    start = 1 if radius.is_infinite or radius > 1 else radius / 2
    bound = law.bound(kappa=1, loss0=start)
    t, logarithmic = curve_times(bound)
    loss, psi = np.asarray(bound.loss(t)), np.asarray(bound.observation(t))
    figure, (left, right) = new_figure(1, 2)
    _curve(left, loss, psi)
    left.set(xlabel="loss s", ylabel=r"$\psi(s)$", xlim=(0, None), ylim=(0, None))
    _curve(right, t, loss)
    _time_axis(right, t, logarithmic, r"$\kappa t$")
    _loss_axis(right, loss, r"$\Psi^{-1}(\kappa t + \Psi(L_0))$")
    _extinct(right, bound)
    figure.suptitle(f"{_psi(law)}: {law.regime.loss}, from $L_0$ = {float(start):.3g}",
                    fontsize=9, color=INK)  # fmt: skip
    return figure, {"kappa_t": t, "loss": loss, "psi": psi}


def bound_figure(law: RateLaw, bound: Bound) -> tuple[Figure, Columns]:
    """Draw the guarantees over time: loss, parameters, and the signal where it is bounded."""
    t, logarithmic = curve_times(bound)
    c = bound.constants
    panels = {"loss": r"loss $\mathcal{L}(y(t))$", "parameters": r"$\|\theta(t)-\theta_\infty\|$"}
    if None not in (c.mu, c.noise, c.lip_f, c.dist):
        panels["signal"] = r"$\|x(t)-\bar x\|$"
    stop = bound.stopping_time() if c.noise is not None else math.inf
    figure, axes = new_figure(1, len(panels))
    columns: Columns = {"t": t}
    for ax, (name, words) in zip(axes, panels.items(), strict=True):
        values = columns[name] = np.asarray(getattr(bound, name)(t))
        line(ax, t, _positive(values), bound.theory, f"bound, {bound.theory}")
        _time_axis(ax, t, logarithmic, "t")
        _loss_axis(ax, values, words)
        _extinct(ax, bound)
        if ax.get_xlim()[0] < stop <= ax.get_xlim()[1]:
            ax.axvline(stop, color=INK, linewidth=0.9, linestyle=(0, (4, 2)),
                       label=f"$t^* = {stop:.4g}$: stop early")  # fmt: skip
        if bound.theory != "printed":
            shade(ax, t, _positive(values), label="possible")
        ax.legend(fontsize=7, frameon=False)
    signs = {"kappa": r"$\kappa$", "loss0": r"$L_0$", "noise": r"$\|\varepsilon\|$",
             "mu": r"$\mu$"}  # fmt: skip
    given = {sign: getattr(c, name) for name, sign in signs.items()}
    said = ", ".join(f"{sign} = {float(v):.4g}" for sign, v in given.items() if v is not None)
    figure.suptitle(f"{_psi(law)}\n{said}", fontsize=9, color=INK)
    return figure, columns


def _psi(law: RateLaw) -> str:
    """ψ in one line of letters, or where it comes from."""
    psi = formulas(law).psi
    said = None if psi is None else "ψ(s) = " + psi.unicode.replace("\n", "; ")
    return said if said and len(said) <= 90 else f"ψ: {law.desingularizer.source}"[:90]


def curve_times(bound: Bound, points: int = _POINTS) -> tuple[Array, bool]:
    """Times at which the loss falls by a factor 10^6, and whether they ask for a log axis."""
    loss0 = bound.constants.loss0
    extinct = bound.extinction_time()
    end = bound.time_to_loss(loss0 / _FALL)
    if extinct is not None and math.isfinite(extinct):
        end = 1.08 * extinct
    end = min(end, 1e300)
    if end < 60 * bound.time_to_loss(loss0 / 2):
        return np.linspace(0.0, end, points), False
    first = max(bound.time_to_loss(loss0 * 99 / 100), 1e-300)
    return np.geomspace(first, end, points), True


def _positive(values: Array) -> Array:
    """The values where a log axis can show them."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _curve(ax: Axes, x: Array, values: Array) -> None:
    line(ax, x, _positive(values), "corrected", "")


def _time_axis(ax: Axes, t: Array, logarithmic: bool, words: str) -> None:
    if logarithmic:
        ax.set_xscale("log")
    ax.set_xlim(t[0], t[-1])
    ax.set_xlabel(words, fontsize=9)


def _loss_axis(ax: Axes, values: Array, words: str) -> None:
    """A log axis that shows where the values start and not how far they fall to nothing."""
    ax.set_yscale("log")
    seen = _positive(values)
    top = float(np.nanmax(seen))
    ax.set_ylim(max(float(np.nanmin(seen)), top / (3 * _FALL)) / 2, 2 * top)
    ax.set_ylabel(words, fontsize=9)
    ax.tick_params(axis="y", which="minor", labelsize=7)


def _extinct(ax: Axes, bound: Bound) -> None:
    extinct = bound.extinction_time()
    if extinct is not None and math.isfinite(extinct):
        ax.axvline(extinct, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        ax.annotate(f"extinct at {extinct:.4g} ", (extinct, 1), (0, -2), fontsize=7, ha="right",
                    va="top", xycoords=("data", "axes fraction"),
                    textcoords="offset points")  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Widths


def widths_figure(found: Widths) -> tuple[Figure, Columns]:
    """Draw the number of neurons that each theorem asks for; printed ones have open markers."""
    rows, p = found.rows, found.problem
    figure, (ax,) = new_figure(1, 1, width=7.2, height=1.3 + 0.28 * len(rows))
    powers = [row.log10_k for row in rows]
    known = [x for x in powers if x is not None]
    end = max([1.0, *known])
    named: set[str] = set()
    for place, (row, x) in enumerate(zip(rows, powers, strict=True)):
        if x is None:
            ax.annotate("none", (0, place), (4, 0), fontsize=7, va="center", color="#777777",
                        textcoords="offset points")  # fmt: skip
            continue
        colour = THEORY[row.theory][0]
        fill = "white" if row.theory == "printed" else colour
        ax.plot([0, x], [place, place], color=colour, linewidth=1, alpha=0.5, zorder=2)
        ax.plot([x], [place], color=colour, marker=_MARKERS[row.theory], markersize=6,
                markerfacecolor=fill, linestyle="none", zorder=3,
                label=None if row.theory in named else row.theory)  # fmt: skip
        named.add(row.theory)
        small = row.k is not None and row.k < 10**7
        ax.annotate(f"{row.k:,}" if small else f"$10^{{{x:.1f}}}$", (x, place), (6, 0), fontsize=7,
                    va="center", textcoords="offset points")  # fmt: skip
    ax.set_yticks(range(len(rows)), [row.theorem for row in rows], fontsize=8)
    ax.set(xlim=(-0.02 * end, 1.15 * end), ylim=(len(rows) - 0.5, -0.5))
    ticks = range(0, math.ceil(end) + 1, max(1, math.ceil(end / 8)))
    ax.set_xticks(list(ticks), [f"$10^{{{x}}}$" for x in ticks])
    ax.set_xlabel("neurons k that are enough", fontsize=9)
    ax.grid(False, axis="y")
    if named:
        ax.legend(fontsize=8, frameon=False, ncols=3, loc="upper center",
                  bbox_to_anchor=(0.5, -0.55 / (1.3 + 0.28 * len(rows)) - 0.06))  # fmt: skip
    figure.suptitle(
        f"n = {p.n}, m = {p.m}, {p.activation.name}, {p.train} trained, loss {p.loss.name}\n"
        rf"$\sigma_F$ = {float(p.sigma_f):.4g}, $L_F$ = {float(p.norm_f):.4g}, "
        rf"$\|y\|$ = {float(p.y_norm):.4g}, p = {float(p.failure):.4g}",
        fontsize=9, color=INK,
    )  # fmt: skip
    columns: Columns = {
        "theorem": [row.theorem for row in rows],
        "theory": [row.theory for row in rows],
        "log10_k": [math.nan if x is None else x for x in powers],
    }
    return figure, columns


# ---------------------------------------------------------------------------------------------
# kltheory explore


def scene_figure(scene: Scene) -> Figure:
    """Draw a trajectory, the bound on it, and how far each certificate is from holding."""
    figure, (left, right) = new_figure(1, 2, width=4.9, height=3.4)
    t, loss, top = scene.t, _positive(scene.loss), 3 * float(np.nanmax(scene.loss))
    left.set_yscale("log")
    band(left, t, loss, loss, "trajectory")
    label = "(10)" if scene.holds["P"] else "(10), not in force: R' < R fails"
    line(left, t, _positive(scene.bound), "corrected", label)
    left.lines[-1].set_alpha(1.0 if scene.holds["P"] else 0.4)
    left.set_ylim(max(float(np.nanmin(loss)), top / (100 * _FALL)) / 3, top)
    if scene.certified is not None:
        line(left, t, _positive(scene.certified), "sharp", f"certificate {scene.best}")
        shade(left, t, _positive(scene.certified))
    left.axhline(scene.noise_loss, color=LEVELS[4], linewidth=0.9, linestyle=(0, (4, 2)),
                 label=r"where $\|y(t)-y\| = \|\varepsilon\|$")  # fmt: skip
    _time_axis(left, t[1:] if scene.logarithmic else t, scene.logarithmic, "t")
    left.set_ylabel(r"loss $\mathcal{L}(y(t))$", fontsize=9)
    left.legend(fontsize=7, frameon=False)
    least, most = 1e-3, 1e3
    for place, (name, margin) in enumerate(scene.margins.items()):
        holds = scene.holds[name]
        end = max(1.2 * least, min(most, margin))
        right.barh(place, end - least, left=least, height=0.6, edgecolor=INK, linewidth=0.8,
                   color=THEORY["sharp"][0] if holds else "white",
                   hatch=None if holds else "///")  # fmt: skip
    right.axvline(1, color=INK, linewidth=1)
    right.set(xscale="log", xlim=(least, most), ylim=(len(scene.margins) - 0.5, -0.5))
    right.set_yticks(range(len(scene.margins)), list(scene.margins))
    right.set_xlabel(r"threshold / $\psi(L_0)$: above 1 proved", fontsize=9)
    right.set_title(scene.verdict, fontsize=9, color=INK)
    right.grid(False, axis="y")
    figure.suptitle(scene.title, fontsize=9, color=INK)
    return figure
