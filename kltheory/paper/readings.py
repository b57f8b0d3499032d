"""What the rows of a figure say: numbers for its manifest, data of its picture, its caption.

Each function takes the columns of a sweep and the values of the settings; nothing is drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.paper.fits import (
    Border,
    border_ratio,
    expected_uniform_norm,
    fit_border,
    log_slope,
    mean_interval,
)

__all__ = ["convergence", "losses", "profiles", "signal"]

Array = NDArray[np.float64]
Table = Mapping[str, NDArray[Any]]
Reading = tuple[dict[str, Any], dict[str, Any], str]

_AWAY = 1.6
"""A cell is away from the border where k is off k = 9.2 m by more than this factor: the share of
convergence goes from 12 % to 88 % over a factor of about 1.6² in k."""


def _numbers(column: NDArray[Any]) -> Array:
    """Return a column as floats, NaN where there is nothing."""
    return np.array([math.nan if v is None else float(v) for v in column])


def _engines(values: Mapping[str, Any]) -> tuple[str, ...]:
    engine = str(values["engine"])
    return ("descent", "exact") if engine == "both" else (engine,)


def _said(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return some settings in a line, to be written in the figure."""
    words = {"runs": "{} networks", "steps": "{} steps", "step": "step size {}", "output": "V {}"}
    return ", ".join(
        words.get(name, f"{name} = {{}}").format(
            f"{values[name]:g}" if isinstance(values[name], float) else values[name]
        )
        for name in names
    )


def _taken(values: Mapping[str, Any], steps: int) -> str:
    """Say how far the runs go."""
    if values["engine"] == "exact":
        return f"time t = {steps * values['step']:g} of the gradient flow"
    return f"{steps} descent steps of size {values['step']:g}"


def _clock(values: Mapping[str, Any]) -> str:
    """Return the name of the axis of steps."""
    exact = f"time t of the gradient flow, in units of {values['step']:g}"
    return exact if values["engine"] == "exact" else "descent steps"


# -- Figure 1 --------------------------------------------------------------------------------------


def convergence(table: Table, values: Mapping[str, Any]) -> Reading:
    """Shares of convergence over k and n or m, their border, and how the two engines agree."""
    axis = "n" if isinstance(values["n"], list) else "m"
    xs, ks = np.array(values[axis], float), np.array(values["k"], float)
    x, k = _numbers(table[axis]), _numbers(table["k"])
    m = x if axis == "m" else np.full(x.size, float(values["m"]))
    ratio = border_ratio()
    results: dict[str, Any] = {
        "axis": axis,
        "expected_border": {
            "k_over_m": ratio,
            "why": "Gordon's comparison for Gaussian data: half of the runs can reach zero loss",
        },
        "paper": {
            "says": "k at least quadratic in n" if axis == "n" else "k linear in m",
            "exponent": 2 if axis == "n" else 1,
        },
    }
    maps: dict[str, Any] = {}
    borders: dict[str, Border | None] = {}
    for engine in _engines(values):
        won = table["converged" if engine == "descent" else "reaches"]
        wins, tries = (np.zeros((ks.size, xs.size)) for _ in range(2))
        at = _places(ks, k), _places(xs, x)
        np.add.at(wins, at, (won == True).astype(float))  # noqa: E712 - None is not True
        np.add.at(tries, at, 1.0)
        grid_k, grid_x = np.meshgrid(ks, xs, indexing="ij")
        border = fit_border(grid_x.ravel(), grid_k.ravel(), wins.ravel(), tries.ravel())
        borders[engine] = border
        maps[engine] = (wins / np.where(tries > 0, tries, np.nan)).tolist()
        found = {"share": float(wins.sum() / tries.sum())}
        results[engine] = found if border is None else {**found, **border.to_dict()}
        if border is not None:
            middle = border.x_at if axis == "m" else float(values["m"])
            results[engine]["k_over_m"] = border.k_at / middle
            results[engine]["k_over_m_interval"] = [e / middle for e in border.k_interval]
    if len(borders) == 2:
        results["agreement"] = _agreement(table, np.abs(np.log(k / (ratio * m))))
    shown = {
        "kind": "convergence",
        "axis": axis,
        "x": xs.tolist(),
        "k": ks.tolist(),
        "m": values["m"] if axis == "n" else None,
        "ratio": ratio,
        "maps": maps,
        "borders": {
            engine: None if b is None else {"k": b.k(xs).tolist(), "exponent": b.exponent,
                                            "interval": b.interval}
            for engine, b in borders.items()
        },
        "step": values["step"],
        "steps": values["steps"],
        "tol": values["tol"],
        "said": _said(values, ("m" if axis == "n" else "n", "d", "runs", "output")),
    }  # fmt: skip
    return results, shown, _convergence_caption(axis, values, borders, results)


def _places(axis: Array, found: Array) -> NDArray[np.intp]:
    """Return where on an axis values are."""
    order = np.argsort(axis)
    return np.asarray(order[np.searchsorted(axis, found, sorter=order)])


def _agreement(table: Table, off: Array) -> dict[str, Any]:
    """Count where descent and the limit of the flow agree, and why not."""
    same = np.array([a is b for a, b in zip(table["converged"], table["reaches"], strict=True)])
    away = off > math.log(_AWAY)
    why = [str(w) for w in table["explanation"][~same]]
    return {
        "runs": int(same.size),
        "agree": int(same.sum()),
        "away_from_border": f"k off 9.2 m by a factor of more than {_AWAY}",
        "runs_away": int(away.sum()),
        "agree_away": int((same & away).sum()),
        "differ_because": {w: why.count(w) for w in sorted(set(why))},
        "meaning": {
            "budget": "the flow gets below the tolerance; the descent steps were not enough",
            "step": "the flow gets below the tolerance; the step is unstable at the start",
            "border": "on the border of what can be reached, within rounding",
            "contradiction": "not explained",
        },
    }


def _convergence_caption(
    axis: str,
    values: Mapping[str, Any],
    borders: Mapping[str, Border | None],
    results: Mapping[str, Any],
) -> str:
    parts = [
        f"Share of {values['runs']} networks whose loss falls below {values['tol']:g}"
        + (
            f" within {values['steps']} descent steps of size {values['step']:g}"
            if "descent" in borders
            else " in the limit of the gradient flow"
        )
        + ("; beside it, in the limit of the gradient flow." if len(borders) == 2 else ".")
    ]
    for engine, border in borders.items():
        if border is None:
            parts.append(f"No border among the cells ({engine}).")
            continue
        law = ""
        if border.interval is not None:
            low, high = border.interval
            law = f"k ~ {axis}^{border.exponent:.2f} [95 %: {low:.2f}, {high:.2f}], "
        parts.append(
            f"Border ({engine}): {law}k/m = {results[engine]['k_over_m']:.2f} in the middle."
        )
    if axis == "n":
        parts.append(
            "The paper reads its Figure 1a, in this version (HAL v1), as k at least quadratic in "
            "n. Its text gives neither the step size, nor the law of V, nor the range of n, so "
            "which set-up it shows is not determined; this one is as listed."
        )
    else:
        parts.append(
            "The paper reads its Figure 1b, in this version (HAL v1), as k linear in m, and harder "
            "than its Figure 1a where m/n is not small. What can be reached at all does not depend "
            "on m/n; what the given number of steps reaches does."
        )
    if "agreement" in results:
        a = results["agreement"]
        why = ", ".join(f"{count} {name}" for name, count in a["differ_because"].items())
        parts.append(
            f"Descent and limit agree on {a['agree']} of {a['runs']} runs"
            + (f"; they differ by: {why}." if why else ".")
        )
    return " ".join(parts)


# -- Figure 2a -------------------------------------------------------------------------------------


def signal(table: Table, values: Mapping[str, Any]) -> Reading:
    """Mean and deviation of ‖x - x̄‖ for each noise level, beside both bounds."""
    m, n = int(values["m"]), int(values["n"])
    mu = 1.0 / ((n - 1) ** 2 + 1.0)
    step = _numbers(table["step"])
    steps = sorted({int(s) for s in step if not math.isnan(s)})
    levels, curves = [], []
    for beta in values["beta"]:
        here = _numbers(table["beta"]) == beta
        corrected = beta * expected_uniform_norm(m) / mu
        printed = math.sqrt(m) * beta / (math.sqrt(6.0) * mu)
        level: dict[str, Any] = {
            "beta": beta, "corrected_bound": corrected, "printed_bound": printed
        }  # fmt: skip
        curve: dict[str, Any] = {**level}
        for name, column in (("descent", "signal_error"), ("exact", "flow_error")):
            if name not in _engines(values):
                continue
            runs = _numbers(table[column][here & ~np.isnan(step)]).reshape(-1, len(steps))
            spread = runs.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(steps))
            curve[name] = {"mean": runs.mean(axis=0).tolist(), "std": spread.tolist()}
            mean, std, low, high = mean_interval(runs[:, -1])
            level[name] = {"at_step": steps[-1], "mean": mean, "std": std, "interval": [low, high]}
        if "exact" in _engines(values):
            at = here & np.isnan(step)
            level["limit"], curve["limit"] = _limit(table, at, mu)
        levels.append(level)
        curves.append(curve)
    results = {
        "mu": mu,
        "levels": levels,
        "corrected_bound": "E‖ε‖/μ, the limit of the recovery bound (13) as t → ∞",
        "printed_bound": "√m β/(√6 μ), the dashed line of the paper: below E‖ε‖/μ, as "
        "E‖ε‖ >= √m β/2 > √m β/√6",
    }
    said = _said(values, ("n", "m", "k", "p", "step", "runs", "output"))
    shown = {
        "time": _clock(values),
        "kind": "signal",
        "steps": steps,
        "levels": curves,
        "said": said,
    }
    last = "; ".join(
        f"β = {level['beta']:g}: {level[_engines(values)[0]]['mean']:.3g} "
        f"± {level[_engines(values)[0]]['std']:.2g}, bound {level['corrected_bound']:.3g}, "
        f"printed {level['printed_bound']:.3g}"
        for level in levels
    )
    caption = (
        f"‖x - x̄‖, mean and standard deviation of {values['runs']} networks for each noise level, "
        f"after {_taken(values, steps[-1])}: {last}. Dashed: the recovery bound "
        "E‖ε‖/μ as t → ∞. Dotted: the line that the paper draws, in this version (HAL v1), as "
        "the expectation of the bound; it is √m β/(√6 μ), which lies below E‖ε‖/μ. The noise "
        "levels, k and the step size are not in the text."
    )
    return results, shown, caption


def _limit(table: Table, at: NDArray[np.bool_], mu: float) -> tuple[dict[str, Any], Any]:
    """Read the limits t = ∞ of a noise level, and hold each against its own ‖ε‖/μ."""
    errors, noise = _numbers(table["flow_error"][at]), _numbers(table["noise_norm"][at])
    reached = ~np.isnan(errors)
    found: dict[str, Any] = {"runs": int(at.sum()), "reach_zero_loss": int(reached.sum())}
    if not reached.any():
        return found, None
    mean, std, low, high = mean_interval(errors[reached])
    allowed = noise[reached] / mu * (1.0 + 1e-6) + 1e-6
    above = int((~(errors[reached] <= allowed)).sum())
    found |= {"mean": mean, "std": std, "interval": [low, high], "above_own_bound": above}
    return found, mean


# -- Figure 2b -------------------------------------------------------------------------------------


def losses(table: Table, values: Mapping[str, Any]) -> Reading:
    """Mean final loss over k for each noise level, beside the limit of the flow."""
    m, ks = int(values["m"]), sorted(values["k"])
    k, beta = _numbers(table["k"]), _numbers(table["beta"])
    levels, curves = [], []
    for b in values["beta"]:
        level: dict[str, Any] = {"beta": b, "k": ks}
        level["expected_border_k"] = m * border_ratio(1.0 + b * b / 3.0)
        cells = [(k == size) & (beta == b) for size in ks]
        if "descent" in _engines(values):
            stats = [mean_interval(_numbers(table["loss"][at])) for at in cells]
            level["descent"] = {
                "mean": [s[0] for s in stats],
                "interval": [[s[2], s[3]] for s in stats],
            }
        if "exact" in _engines(values):
            upper = [_numbers(table["limit_upper"][at]) for at in cells]
            lower = [_numbers(table["limit_lower"][at]) for at in cells]
            level["exact"] = {
                "mean_upper": [float(u.mean()) for u in upper],
                "mean_lower": [float(v.mean()) for v in lower],
                "share_below_tol": [float((u < values["tol"]).mean()) for u in upper],
            }
        if len(_engines(values)) == 2:
            level["difference"] = _difference(table, beta == b, float(values["tol"]))
        levels.append(level)
        curves.append(level)
    said = _said(values, ("n", "m", "d", "p", "steps", "step", "runs", "output"))
    shown = {"kind": "losses", "levels": curves, "tol": values["tol"], "said": said}
    trained = (
        f"after at most {values['steps']} descent steps of size {values['step']:g}, "
        f"for p = {values['p']:g}, with 95 % intervals of the mean"
    )
    limit = (
        "the limit of the gradient flow as t → ∞, by box least squares, without training. "
        "Where the line ends, every network can reach zero loss"
    )
    what = {
        "descent": f"{trained}.",
        "exact": f"for p = {values['p']:g} in {limit}.",
        "both": f"{trained}; lines: {limit}, and the loss that is left is due to the number of "
        "steps.",
    }[str(values["engine"])]
    caption = (
        f"Mean loss of {values['runs']} networks {what} The noise levels, the range of k and "
        "the step size are not in the text of this version (HAL v1)."
    )
    return {"levels": levels}, shown, caption


def _difference(table: Table, here: NDArray[np.bool_], tol: float) -> dict[str, Any]:
    """Compare final losses with their limits, where there is one above the tolerance."""
    final, limit = _numbers(table["loss"])[here], _numbers(table["limit_lower"])[here]
    upper = _numbers(table["limit_upper"])[here]
    stuck = limit > tol
    found: dict[str, Any] = {
        "runs": int(here.sum()),
        "limit_above_tol": int(stuck.sum()),
        "below_limit": int((final[stuck] < limit[stuck] * (1.0 - 1e-6)).sum()),
        "not_converged_though_reachable": int(((upper < tol) & (final >= tol)).sum()),
        "why": "budget: descent comes down to the limit, and has not arrived",
    }
    if stuck.any():
        excess = np.percentile(final[stuck] / limit[stuck] - 1.0, [50, 90])
        found |= {
            "relative_excess_median": float(excess[0]),
            "relative_excess_90": float(excess[1]),
        }
    return found


# -- Figure 3 --------------------------------------------------------------------------------------


def profiles(table: Table, values: Mapping[str, Any]) -> Reading:
    """Mean loss over the steps for each p, beside the slope that Corollary 3.3 gives."""
    tol = float(values["tol"])
    steps = sorted({int(s) for s in table["step"]})
    at = _numbers(table["p"])
    levels, curves = [], []
    for p in values["p"]:
        # ψ ~ s^α with α = 1/(2p+2) < 1/2: the loss falls as t^(-1/(1-2α)) = t^(-(p+1)/p).
        level: dict[str, Any] = {"p": p, "predicted_slope": -(p + 1.0) / p if p > 0 else None}
        level["predicted"] = "exponential" if p == 0 else "power"
        curve: dict[str, Any] = {**level}
        for name, column in (("descent", "loss"), ("exact", "flow_loss")):
            if name not in _engines(values):
                continue
            runs = _numbers(table[column][at == p]).reshape(-1, len(steps))
            mean = runs.mean(axis=0)
            curve[name] = mean.tolist()
            fit = _fitted(np.array(steps), runs, tol if p > 0 else math.inf)
            level[name] = {"final_mean": float(mean[-1]), **fit}
        levels.append(level)
        curves.append(curve)
    said = _said(values, ("n", "m", "k", "step", "runs", "output"))
    shown = {
        "time": _clock(values),
        "kind": "profiles",
        "steps": steps,
        "levels": curves,
        "tol": tol,
        "said": said,
    }
    engine = _engines(values)[0]
    said = "; ".join(
        f"p = {level['p']:g}: {level['predicted_slope']:.3g}"
        + (f" (here {level[engine]['slope']:.3g})" if level[engine]["slope"] is not None else "")
        for level in levels
        if level["predicted_slope"] is not None
    )
    caption = (
        f"Mean loss of the same {values['runs']} networks for each p, up to "
        f"{_taken(values, steps[-1])}; a run that reaches {tol:g} keeps its last loss. Dashed: the "
        f"slope -(p+1)/p of Corollary 3.3 ({said}); for p = 0 the decay is exponential. Smaller p "
        "converge faster, as the paper says; its values of p and the step size are not in the text "
        "of this version (HAL v1)."
    )
    return {"levels": levels}, shown, caption


def _fitted(steps: NDArray[np.int_], runs: Array, tol: float) -> dict[str, Any]:
    """Fit the slope of the mean over the last factor of 4 in which no run has ended."""
    open_ = (runs > 2.0 * tol).all(axis=0) & (steps > 0)
    none = {"slope": None, "slope_interval": None, "slope_over": None}
    if not open_.any():
        return none
    last = int(steps[open_][-1])
    chosen = open_ & (steps >= last / 4.0)
    found = log_slope(steps[chosen], runs[:, chosen])
    if found is None:
        return none
    slope, low, high = found
    over = [int(steps[chosen][0]), last]
    return {"slope": slope, "slope_interval": [low, high], "slope_over": over}
