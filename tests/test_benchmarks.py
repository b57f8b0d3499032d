"""The report of the benchmarks: its plumbing, on tiny sizes; no speed is asked for here."""

import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def load(name):
    """A module of benchmarks/, which is a folder of programs, not a package."""
    folder = str(ROOT / "benchmarks")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def report():
    return load("report")


@pytest.fixture(scope="module")
def tiny(report):
    """The sections on derivations and on many times, with two ψ each."""
    derive, times = load("derive"), load("times")
    chosen = [case for case in derive.cases() if case["id"] in ("P02", "P06")]
    assert len(chosen) == 2
    sections = (
        report.Section("derive", "Derivations",
                       lambda quick: derive.derivations(chosen, 2, 1.0), report.derive_lines),
        report.Section("times", "Times",
                       lambda quick: [times.many_times(10, times.PSIS[:2], 1)], report.times_lines),
        report.Section("widths", "Widths", lambda quick: 1 / 0, report.widths_lines),
    )  # fmt: skip
    kept = []
    found = report.run(sections, True, lambda part: kept.append(len(part["sections"])))
    assert kept == [1, 2, 3]
    return found


def test_a_part_that_fails_is_named_and_the_others_are_there(tiny, report):
    """Each part is measured alone: numbers of those that end, the error of one that does not."""
    derived, timed, failed = tiny["sections"]
    assert derived["error"] is None
    assert timed["error"] is None
    assert "ZeroDivisionError" in failed["error"]
    valid, refused, middle, worst, *_ = derived["tables"][0]["rows"][0]
    assert (valid, refused) == (2, 0)
    assert 0 < middle <= worst
    assert [row[1] for row in timed["tables"][0]["rows"]] == [1, 10, 1, 10]
    assert all(row[2] > 0 and row[3] > 0 for row in timed["tables"][0]["rows"])
    assert "Not measured: ZeroDivisionError" in report.page(tiny)


def test_the_page_comes_from_the_raw_numbers_alone(tiny, report):
    """Raw numbers that went through a file give the same page and the same block, to the letter."""
    again = json.loads(json.dumps(tiny, allow_nan=False))
    assert report.page(again) == report.page(tiny)
    assert report.block(again) == report.block(tiny)
    for name in ("numpy", "scipy", "sympy"):
        assert f"{name} {sys.modules[name].__version__}" in report.page(tiny)
    assert f"{os.cpu_count()} cores" in report.page(tiny)


def test_readme_keeps_everything_but_its_block(tiny, report, tmp_path):
    """The block is replaced, all else stays, and to do it again changes nothing."""
    raw, out, readme = (tmp_path / name for name in ("b.json", "b.md", "README.md"))
    raw.write_text(json.dumps(tiny), encoding="utf-8")
    readme.write_text(f"before\n{report.START}\nold\n{report.END}\nafter\n", encoding="utf-8")
    assert report.from_numbers(raw, out, readme, True) == 1
    assert "old" in readme.read_text("utf-8")
    assert report.from_numbers(raw, out, readme, False) == 0
    first = readme.read_text("utf-8")
    assert first.startswith(f"before\n{report.START}\n")
    assert first.endswith(f"{report.END}\nafter\n")
    assert "old" not in first
    assert "regimes of a ψ, 2 ψ" in first
    assert report.from_numbers(raw, out, readme, True) == 0
    assert report.from_numbers(raw, out, readme, False) == 0
    assert readme.read_text("utf-8") == first
    assert {path.name for path in tmp_path.iterdir()} == {"b.json", "b.md", "README.md"}


def test_the_page_is_written_whole_or_not_at_all(report, tmp_path, monkeypatch):
    """Where the last step of writing fails, the old page is still there, and nothing beside it."""
    out = tmp_path / "page.md"
    out.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        report.write(out, "new")
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]


def test_page_and_readme_say_what_the_raw_numbers_say(report):
    """docs/benchmarks.md and the block of README are made from docs/benchmarks.json."""
    raw = report.PAGE.with_suffix(".json")
    assert report.from_numbers(raw, report.PAGE, report.README, True) == 0


def test_without_a_framework_its_row_says_so(monkeypatch):
    """PyTorch and JAX are no dependencies: where they are missing, a row says it."""
    dynamics = load("dynamics")
    monkeypatch.setattr(dynamics, "version", lambda module: None)
    rows = dynamics.against_frameworks(True, cases=()).rows
    assert [row[0] for row in rows] == [
        "jax, compiled step: not installed",
        "torch, bare tensors: not installed",
        "torch, modules and SGD: not installed",
    ]


def test_without_a_compiler_the_row_says_so(monkeypatch):
    """The floor in C is left out where nothing compiles it."""
    floor = load("floor")
    monkeypatch.setattr(floor.shutil, "which", lambda name: None)
    ((said, *rest),) = floor.against_floor(True).rows
    assert said.startswith("not measured: no C compiler")
    assert set(rest) == {None}


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
def test_plain_c_trains_as_kltheory_does():
    """Over 200 steps floor.c gives the same losses, to 1e-10 of each, and the same z."""
    floor, dynamics = load("floor"), load("dynamics")
    from kltheory.empirical.dynamics import descend

    with floor.compiled() as library:
        for train in ("hidden", "both"):
            problem, net = dynamics.gaussian(6, 12, 70, seed=1, d=5)
            run = floor.prepare(library, problem, net, train)
            losses, z = run(200)
            mine = descend(problem, net, train, step=floor.STEP, steps=200, tol=0.0)
            assert mine.losses[-1] > floor.NOISE * mine.losses[0] or train == "both"
            assert floor.difference(run, problem, net, train) <= 1e-10
            assert np.abs(z[: net.k] - mine.network.z).max() <= 1e-10
            assert losses[0] == pytest.approx(mine.losses[0], rel=1e-13)


def test_exponents_are_those_of_exact_powers():
    """The slope of c x^p in logarithms is p."""
    measure = load("measure")
    for p in (-1.0, 0.0, 1.5):
        assert measure.slope([1, 2, 4, 16], [3 * x**p for x in (1, 2, 4, 16)]) == pytest.approx(p)
