"""Figures 1a, 1b, 2a, 2b and 3 of Buskulic, Fadili and Quéau (HAL hal-04059168v1) as recipes.

A recipe has a name for every number that its figure depends on, and says of each whether the text
of the paper gives it or whether it was chosen here.  `reproduce` runs a recipe as a sweep and
writes its data, its picture and a manifest from which it can be run again.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kltheory.errors import InputError, brief
from kltheory.paper import readings, runs
from kltheory.paper.store import write_whole
from kltheory.paper.sweep import Progress, Sweep, SweepResult, run_seed, run_sweep

__all__ = ["ENGINES", "FIGURES", "SCALES", "Recipe", "Reproduction", "Setting", "read_manifest",
           "recipe", "reproduce"]  # fmt: skip

ENGINES = ("descent", "exact", "both")
"""Train, decide where the flow goes, or both on the same draws."""

SCALES = ("small", "paper")
"""A minute, or the resolution of the paper."""

_TEXT, _CHOSEN, _CHANGED = "text", "chosen", "changed"
_SCHEMA = "kltheory/reproduce/1"


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that the numbers of a figure depend on."""

    name: str
    """How it is called in `--set NAME=VALUE`."""
    value: Any
    """A number, a word, or a list of numbers for what varies."""
    source: str
    """ "text": the paper gives it; "chosen": it does not; "changed": by the user."""
    note: str
    """What it is, and for a choice why."""

    def read(self, text: str) -> Setting:
        """Return the setting with a value from text, of the kind that it has.

        >>> Setting("k", [20, 50], "chosen", "neurons").read("30,60").value
        [30, 60]
        """
        parts = [part.strip() for part in text.split(",")]
        sample = self.value[0] if isinstance(self.value, list) else self.value
        try:
            values = [_number(part, type(sample)) for part in parts]
        except ValueError:
            kinds = {int: "a whole number >= 1", float: "a number >= 0"}
            raise InputError(
                f"{self.name}: got {text[:60]!r}; it must be {kinds[type(sample)]}."
            ) from None
        if not isinstance(self.value, list) and len(values) > 1:
            raise InputError(f"{self.name}: got {text[:60]!r}; give one value.")
        return self.changed(values if isinstance(self.value, list) else values[0])

    def changed(self, value: Any) -> Setting:
        """Return the setting with another value."""
        if value == self.value:
            return self
        said = "the text gives" if self.source == _TEXT else "by default"
        return replace(
            self, value=value, source=_CHANGED, note=f"{self.note} ({said} {self.value})"
        )


def _number(text: str, kind: type) -> Any:
    if kind is str:
        return text
    value = kind(text)
    if "_" in text or not (0 <= value < float("inf")) or (kind is int and value < 1):
        raise ValueError
    return value


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a figure is made."""

    figure: str
    """Its name."""
    title: str
    """What it shows."""
    axes: tuple[str, ...]
    """The settings that make the grid."""
    settings: tuple[Setting, ...]
    """All settings at the paper's scale."""
    small: Mapping[str, Any]
    """Values of some of them at the small scale."""
    work: Callable[..., Any]
    """What is run, see `kltheory.paper.runs`."""
    columns: tuple[str, ...]
    """What a row holds."""
    read: Callable[..., tuple[dict[str, Any], dict[str, Any], str]]
    """(columns, settings) -> results for the manifest, data for the picture, the caption."""
    chunk: int
    """Runs in one piece of work."""
    cost: Callable[[Mapping[str, Any]], float]
    """The time of a run, up to a factor."""
    seed_axes: tuple[str, ...] | None = None
    """The axes that a seed depends on."""

    def at(self, scale: str) -> Recipe:
        """Return the recipe at a scale."""
        if scale not in SCALES:
            raise InputError(f"scale: got {brief(scale)}; allowed are {', '.join(SCALES)}.")
        if scale == "paper":
            return self
        note = "; the small scale"
        return replace(
            self,
            settings=tuple(
                replace(s, value=self.small[s.name], source=_CHOSEN, note=s.note + note)
                if s.name in self.small
                else s
                for s in self.settings
            ),
        )

    def with_values(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with some settings changed; texts are read, other values taken."""
        names = {s.name for s in self.settings}
        for name in values:
            if name not in names:
                raise InputError(
                    f"{self.figure} has no setting {name[:40]!r}; it has "
                    f"{', '.join(s.name for s in self.settings)}."
                )
        return replace(
            self,
            settings=tuple(_with_value(s, values[s.name]) if s.name in values else s
                           for s in self.settings),
        )  # fmt: skip

    def value(self, name: str) -> Any:
        """Return the value of a setting."""
        return next(s.value for s in self.settings if s.name == name)

    def sweep(self, engine: str, seed: int) -> Sweep:
        """Return what is to be run."""
        if engine not in ENGINES:
            raise InputError(f"engine: got {brief(engine)}; allowed are {', '.join(ENGINES)}.")
        rest = {s.name: s.value for s in self.settings if s.name not in (*self.axes, "runs")}
        rest["engine"] = engine
        if self.figure == "fig2a":
            rest["operator_seed"] = run_seed(seed, {"of": "operator"}, 0)
        _check(self, rest)
        return Sweep(
            name=self.figure,
            axes={axis: self.value(axis) for axis in self.axes},
            runs=self.value("runs"),
            work=self.work,
            columns=self.columns,
            settings=rest,
            seed=seed,
            seed_axes=self.seed_axes,
            chunk=self.chunk,
            cost=lambda cell: self.cost({**rest, **cell}),
        )


def _with_value(setting: Setting, value: Any) -> Setting:
    if isinstance(value, str) and not isinstance(setting.value, str):
        return setting.read(value)
    return setting.changed(value)


_MOST = {"runs": 10**6, "marks": 10**4, "steps": 10**8, "k": 10**7, "p": 100.0}
"""The largest values of settings; of other whole numbers 10⁶, of others 10⁹."""
_MOST_RUNS = 10**8
_MOST_ENTRIES = 2**24


def _check_sizes(found: Recipe) -> None:
    """Refuse numbers out of range, and a grid that no machine can hold."""
    cells = 1
    marked = any(s.name == "marks" for s in found.settings)  # a picture over log(steps)
    for setting in found.settings:
        values = setting.value if isinstance(setting.value, list) else [setting.value]
        if isinstance(values[0], str):
            continue
        whole = isinstance(values[0], int)
        low, high = int(whole), _MOST.get(setting.name, 10**6 if whole else 1e9)
        if marked and setting.name in ("marks", "steps"):
            low = 2 if setting.name == "marks" else 20
        for value in values:
            if not low <= value <= high:
                raise InputError(
                    f"{setting.name}: got {brief(value)}; it is a number from {low} to {high:g}."
                )
        cells *= len(values) if setting.name in found.axes else 1
    if cells * found.value("runs") > _MOST_RUNS:
        raise InputError(f"{cells} cells of {found.value('runs')} runs are too many for one sweep.")
    k, m, n, d = (int(np.max(found.value(name))) for name in "kmnd")
    if max(k * max(n, d), m * n) > _MOST_ENTRIES:
        raise InputError(
            f"k = {k}, m = {m}, n = {n}, d = {d}: a matrix may have {_MOST_ENTRIES} entries."
        )


def _check(found: Recipe, rest: Mapping[str, Any]) -> None:
    """Refuse what would make every single run fail."""
    _check_sizes(found)
    from kltheory.activation import get
    from kltheory.empirical.seeded import check_law

    get(rest["activation"])
    check_law(rest["output"])
    if rest.get("variance", runs.VARIANCES[0]) not in runs.VARIANCES:
        raise InputError(
            f"variance: got {brief(rest['variance'])}; allowed are {', '.join(runs.VARIANCES)}."
        )
    if not rest["step"] > 0:
        raise InputError("step: it must be positive.")
    m, n = np.max(found.value("m")), np.min(found.value("n"))
    if m > n:
        raise InputError(f"m = {m} observations of n = {n} unknowns: the figures are of m <= n.")
    if found.figure == "fig2a" and m != n:
        raise InputError(f"m = {m} and n = {n}: the operator of Figure 2a is square, set both.")


@dataclass(frozen=True, slots=True, eq=False)
class Reproduction:
    """A figure that was made."""

    manifest: dict[str, Any]
    """What was run, and what came of it: plain data."""
    folder: Path
    """Where FIG.csv, FIG.json and the picture are."""

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest."""
        return self.manifest

    def __repr__(self) -> str:
        """Return the caption."""
        return f"{self.manifest['title']}\n{self.manifest['caption']}"

    def _repr_png_(self) -> bytes | None:
        """Return the picture, for Jupyter."""
        image = self.manifest["files"]["image"]
        return None if image is None else (self.folder / image).read_bytes()


def recipe(figure: str) -> Recipe:
    """Return the recipe of a figure.

    >>> recipe("fig3").value("k")
    800
    """
    if figure not in FIGURES:
        raise InputError(f"figure: got {figure[:40]!r}; allowed are {', '.join(FIGURES)}.")
    return FIGURES[figure]


def reproduce(
    figure: str,
    out: str | Path = ".",
    *,
    scale: str = "small",
    engine: str = "both",
    runs: int | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    executor: Executor | str | None = None,
    jobs: int | None = None,
    resume: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> Reproduction:
    """Make a figure: out/FIG.csv, FIG.png and FIG.json, from the store out/FIG.sqlite.

    settings: values for named settings, see `recipe(figure).settings`.
    The other arguments are those of `run_sweep`.  The same settings, seed and versions give the
    same CSV, byte for byte.
    """
    values = dict(settings or {})
    if runs is not None:
        values["runs"] = runs
    chosen = recipe(figure).at(scale).with_values(values)
    _keep_others(Path(out), figure)
    started = datetime.datetime.now(datetime.UTC)
    sweep = chosen.sweep(engine, seed)
    result = run_sweep(sweep, out, executor=executor, jobs=jobs, resume=resume, progress=progress)
    if not result.rows:
        raise InputError(f"all runs failed, the first with: {result.failures[0]}")
    return _write(chosen, sweep, scale, result, Path(out), started)


def _keep_others(folder: Path, figure: str) -> None:
    """Refuse, before any work, to write over files that `reproduce` did not make."""
    manifest = folder / f"{figure}.json"
    files = [folder / f"{figure}.csv", folder / f"{figure}.png", manifest]
    for file in files:
        if os.path.isdir(file):
            raise InputError(f"{brief(str(file), 80)} is a directory: write to another directory.")
    if os.path.exists(folder / f"{figure}.sqlite"):
        return  # the store says whose it is
    for file in filter(os.path.exists, files):
        try:
            read_manifest(manifest)
        except InputError:
            raise InputError(
                f"{brief(str(file), 80)} is there and was not made by reproducing {figure}: move "
                "it away, or write to another directory."
            ) from None


def _write(
    chosen: Recipe,
    sweep: Sweep,
    scale: str,
    result: SweepResult,
    folder: Path,
    started: datetime.datetime,
) -> Reproduction:
    """Read the rows, draw them, and write the manifest last: it is there when all is."""
    table = {name: np.array(result.column(name), dtype=object) for name in result.columns}
    values = {s.name: s.value for s in chosen.settings}
    results, shown, caption = chosen.read(table, {**values, "engine": sweep.settings["engine"]})
    warnings = list(result.warnings)
    if result.failures:
        warnings.append(f"{len(result.failures)} runs failed and are missing")
    image = folder / f"{chosen.figure}.png"
    try:
        from kltheory.plot import draw_reproduction

        draw_reproduction(shown, image)
    except ImportError:
        warnings.append("no picture: pip install 'kltheory[plot]' for Matplotlib")
        image.unlink(missing_ok=True)
    manifest = {
        "schema": _SCHEMA,
        "figure": chosen.figure,
        "title": chosen.title,
        "caption": caption,
        "source": "Buskulic, Fadili, Quéau: Convergence and Recovery Guarantees of Unsupervised "
        "Neural Networks for Inverse Problems, HAL hal-04059168v1, Section 5",
        "scale": scale,
        "engine": sweep.settings["engine"],
        "seed": sweep.seed,
        "seeds": "63 bits of NumPy's SeedSequence(seed, spawn_key = SHA-256 of [axis values, "
        "run]); each row of the CSV has its own",
        "settings": [
            {"name": s.name, "value": s.value, "source": s.source, "note": s.note}
            for s in chosen.settings
        ],
        "results": results,
        "failures": [
            {"cell": dict(f.cell), "run": f.run, "seed": f.seed, "error": f.error}
            for f in result.failures[:1000]
        ],
        "files": {
            "csv": result.csv.name,
            "csv_sha256": hashlib.sha256(result.csv.read_bytes()).hexdigest(),
            "image": image.name if image.exists() else None,
        },
        "time": {
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(result.seconds, 3),
            "cpu_seconds": round(result.cpu_seconds, 3),
            "resumed_runs": result.resumed,
        },
        "versions": _versions(),
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "workers": list(result.workers),
        },
        "warnings": warnings,
    }
    text = json.dumps(manifest, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(folder / f"{chosen.figure}.json", text)
    return Reproduction(manifest, folder)


def _versions() -> dict[str, str]:
    import scipy

    import kltheory

    return {
        "kltheory": kltheory.__version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Return what `reproduce` is to be called with to make the figure of a manifest again.

    Raises InputError if the file is no manifest of a figure.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a regular file")
        if path.stat().st_size > 2**26:
            raise ValueError("it is too large")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.get("schema") != _SCHEMA:
            raise ValueError(f"its schema is not {_SCHEMA}")
        settings = {s["name"]: s["value"] for s in found["settings"]}
        figure, scale, engine, seed = (found[k] for k in ("figure", "scale", "engine", "seed"))
        if not all(isinstance(word, str) for word in (figure, scale, engine, *settings)):
            raise ValueError("its figure, scale, engine or the name of a setting is no text")
        known = {s.name: s.value for s in recipe(figure).settings}
        for name, value in settings.items():
            if name in known and not _alike(value, known[name]):
                raise ValueError(f"its setting {name[:40]} is {str(value)[:40]!r}")
        if type(seed) is not int:
            raise ValueError("its seed is no whole number")
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}.") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r} is no manifest of a figure: {error}.") from None
    return {"figure": figure, "scale": scale, "engine": engine, "seed": seed, "settings": settings}


def _alike(value: Any, known: Any) -> bool:
    """Whether a value is of the kind of another."""
    if isinstance(known, list):
        return isinstance(value, list) and bool(value) and all(_alike(v, known[0]) for v in value)
    if isinstance(known, float):
        return type(value) in (int, float)
    return type(value) is type(known)


# -- the recipes -----------------------------------------------------------------------------------


def _spread(low: float, high: float, count: int) -> list[int]:
    """Return whole numbers, evenly in log."""
    return [round(float(v)) for v in np.geomspace(low, high, count)]


def _common(**changes: Setting) -> tuple[Setting, ...]:
    """What the five figures share."""
    shared = {
        "runs": Setting("runs", 50, _TEXT, "networks for each cell"),
        "activation": Setting("activation", "sigmoid", _TEXT, "φ; W alone is trained"),
        "output": Setting(
            "output", "rademacher", _CHOSEN,
            "law of V: bounded, centred, identity covariance (A-10); or uniform",
        ),
        "variance": Setting(
            "variance", "1/n", _CHOSEN,
            "N(0, 1/√n) for the entries of F, read as this variance: the one that keeps ‖F‖ of "
            "constant order, as the text wants; or 1/sqrt(n)",
        ),
    }  # fmt: skip
    found = {**shared, **changes}
    return tuple(s for s in found.values() if s.value is not None)


def _figure1(figure: str, title: str, axis: str, **changes: Setting) -> Recipe:
    small = {"k": _spread(20, 1000, 12), "runs": 10}
    fewer = {"n": _spread(20, 1000, 6)} if axis == "n" else {"m": [5, 10, 20, 30, 45, 60]}
    return Recipe(
        figure,
        title,
        ("k", axis),
        _common(
            k=Setting(
                "k", _spread(20, 1000, 20), _CHOSEN,
                "neurons: the text says from 20 to 1000; 20 values, evenly in log",
            ),
            **changes,
            d=Setting("d", 500, _TEXT, "size of the input u"),
            steps=Setting("steps", 25_000, _TEXT, "descent steps at most"),
            tol=Setting("tol", 1e-7, _TEXT, "a run converges where its loss is below this"),
            step=Setting(
                "step", 4.0, _CHOSEN,
                "step size η: at most half of what is stable at the start, wherever zero loss "
                "can be reached",
            ),
        ),
        {**small, **fewer},
        runs.convergence,
        runs.CONVERGENCE,
        readings.convergence,
        chunk=50,
        cost=_cost_of_convergence,
    )  # fmt: skip


def _cost_of_convergence(given: Mapping[str, Any]) -> float:
    """Drawing, deciding, and training, which takes longest where k is near the border."""
    m, n, k = given["m"], given["n"], given["k"]
    cost = 1.0 + 2e-5 * k * n
    if given["engine"] != "exact":
        far = abs(np.log(k / (9.2 * m))) / 0.5
        cost += 1e-5 * k * given["d"] + 1e-2 * k * m / (1.0 + far**2)
    return float(cost)


_FIG1A = _figure1(
    "fig1a",
    "Figure 1a: share of networks that reach zero loss, over k and n",
    "n",
    n=Setting(
        "n", _spread(20, 1000, 20), _CHOSEN, "unknowns: 20 values from 2m to 100m, evenly in log"
    ),
    m=Setting("m", 10, _TEXT, "observations"),
)

_FIG1B = _figure1(
    "fig1b",
    "Figure 1b: share of networks that reach zero loss, over k and m",
    "m",
    m=Setting("m", list(range(3, 61, 3)), _CHOSEN, "observations: 20 values up to n"),
    n=Setting("n", 60, _TEXT, "unknowns"),
)

_FIG2A = Recipe(
    "fig2a",
    "Figure 2a: distance to the true signal under noise",
    ("beta",),
    _common(
        beta=Setting(
            "beta", [0.0, 0.02, 0.05, 0.1], _CHOSEN, "noise levels β: ε uniform on [-β, β]"
        ),
        n=Setting("n", 10, _TEXT, "unknowns"),
        m=Setting("m", 10, _TEXT, "observations"),
        p=Setting("p", 0.2, _TEXT, "the loss is ‖v - y‖^(2p+2)/(2p+2)"),
        k=Setting(
            "k", 1000, _CHOSEN, "neurons: enough that the noise, magnified by 1/σ, can be fitted"
        ),
        d=Setting("d", 10, _CHOSEN, "size of the input u: plays no part"),
        steps=Setting("steps", 200_000, _TEXT, "descent steps"),
        tol=Setting("tol", 0.0, _CHOSEN, "no early stop: the error of the signal comes down last"),
        step=Setting("step", 16.0, _CHOSEN, "step size η: the largest power of two that is stable"),
        marks=Setting("marks", 60, _CHOSEN, "steps that are shown, evenly in log"),
        variance=Setting("variance", None, _CHOSEN, ""),
    ),
    {"beta": [0.0, 0.05, 0.1], "runs": 5},
    runs.signal,
    runs.SIGNAL,
    readings.signal,
    chunk=5,
    cost=lambda given: 1.0,
)

_FIG2B = Recipe(
    "fig2b",
    "Figure 2b: final loss over k under noise",
    ("k", "beta"),
    _common(
        k=Setting("k", _spread(10, 1000, 20), _CHOSEN, "neurons: 20 values, evenly in log"),
        beta=Setting(
            "beta", [0.0, 1.0, 2.0], _CHOSEN, "three noise levels β: ε uniform on [-β, β]"
        ),
        n=Setting("n", 1000, _TEXT, "unknowns"),
        m=Setting("m", 10, _TEXT, "observations"),
        p=Setting("p", 0.1, _TEXT, "the loss is ‖v - y‖^(2p+2)/(2p+2)"),
        d=Setting("d", 10, _TEXT, "size of the input u"),
        steps=Setting("steps", 25_000, _TEXT, "descent steps at most"),
        tol=Setting("tol", 1e-7, _TEXT, "a run ends where its loss is below this"),
        step=Setting("step", 1.0, _CHOSEN, "step size η"),
    ),
    {"k": _spread(10, 1000, 9), "runs": 8},
    runs.losses,
    runs.LOSSES,
    readings.losses,
    chunk=50,
    cost=lambda given: 300.0 + given["k"],
)

_FIG3 = Recipe(
    "fig3",
    "Figure 3: loss over the iterations for the losses of exponent p",
    ("p",),
    _common(
        p=Setting(
            "p", [0.0, 0.1, 0.2, 0.5, 1.0], _CHOSEN,
            "the loss is ‖v - y‖^(2p+2)/(2p+2): values between 0 and 1",
        ),
        n=Setting("n", 1000, _TEXT, "unknowns"),
        m=Setting("m", 10, _TEXT, "observations"),
        k=Setting("k", 800, _TEXT, "neurons"),
        d=Setting("d", 10, _CHOSEN, "size of the input u: plays no part"),
        steps=Setting("steps", 1_000_000, _TEXT, "descent steps at most"),
        tol=Setting("tol", 1e-14, _TEXT, "a run ends where its loss is below this"),
        step=Setting("step", 1.0, _CHOSEN, "step size η: stable for all p"),
        marks=Setting("marks", 120, _CHOSEN, "steps that are shown, evenly in log"),
    ),
    {"steps": 100_000, "marks": 80, "runs": 6},
    runs.profiles,
    runs.PROFILES,
    readings.profiles,
    chunk=5,
    cost=lambda given: min(float(given["steps"]), 600.0 * 30.0 ** (5.0 * min(given["p"], 0.4))),
    seed_axes=(),
)  # fmt: skip

FIGURES: dict[str, Recipe] = {r.figure: r for r in (_FIG1A, _FIG1B, _FIG2A, _FIG2B, _FIG3)}
"""The five recipes at the paper's scale."""


def settings_table(chosen: Recipe) -> Sequence[tuple[str, str, str, str]]:
    """Return (name, value, source, note) of each setting, as text.

    >>> settings_table(recipe("fig3"))[7][:3]
    ('k', '800', 'text')
    """
    return [
        (
            s.name,
            ", ".join(map(str, s.value)) if isinstance(s.value, list) else str(s.value),
            s.source,
            s.note,
        )
        for s in chosen.settings
    ]
