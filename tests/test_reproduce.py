"""`kltheory reproduce`: one command a figure, and again from its manifest."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from kltheory import cli

SCHEMA = json.loads((files("kltheory") / "schemas" / "reproduce.json").read_text("utf-8"))
QUICK = ["--jobs", "1", "--set", "n=30", "--set", "steps=500", "--runs", "3"]
FIG2B = ["reproduce", "fig2b", *QUICK, "--set", "k=20,60,200", "--set", "beta=0,1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a small Figure 2b in it."""
    folder = tmp_path_factory.mktemp("made")
    assert cli.main([*FIG2B, "--out", str(folder), "--output", str(folder / "said.txt")]) == 0
    return folder


def test_what_is_written_is_said(made):
    """The caption, the files and the time are on the page; the CSV has a row for each run."""
    said = (made / "said.txt").read_text(encoding="utf-8")
    assert said.startswith("Figure 2b: final loss over k under noise\n")
    for name in ("fig2b.csv", "fig2b.png", "fig2b.json"):
        assert str(made / name) in said
        assert (made / name).exists()
    assert len((made / "fig2b.csv").read_text().splitlines()) == 1 + 3 * 2 * 3


@pytest.mark.parametrize("figure", ["fig1a", "fig1b", "fig2a", "fig2b", "fig3"])
def test_every_manifest_fits_its_schema(figure, tmp_path, capsys):
    """`--format json` is the manifest, valid, without NaN."""
    grid = {
        "fig1a": ["k=30,100,300", "n=20,40", "steps=500"],
        "fig1b": ["k=30,100,300", "m=3,6", "steps=500"],
        "fig2a": ["beta=0,0.1", "k=100", "steps=500"],
        "fig2b": ["k=20,100", "beta=0,1", "n=30", "steps=500"],
        "fig3": ["p=0,1", "n=30", "k=100", "steps=500"],
    }[figure]
    settings = [word for setting in grid for word in ("--set", setting)]
    words = ["reproduce", figure, *settings, "--runs", "2", "--jobs", "1", "--format", "json"]
    assert cli.main([*words, "--out", str(tmp_path)]) == 0
    answer = json.loads(capsys.readouterr().out, parse_constant=_never)
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(answer)
    assert answer == json.loads((tmp_path / f"{figure}.json").read_text(encoding="utf-8"))


def _never(name):
    raise AssertionError(name)


def test_schema_refuses_what_is_no_manifest():
    """An unknown key, a missing one, a wrong kind are seen."""
    valid = Draft202012Validator(SCHEMA)
    assert not valid.is_valid({})
    assert not valid.is_valid({"schema": "kltheory/reproduce/1", "surprise": 1})


def test_again_from_the_manifest(made, capsys):
    """The same bytes from the manifest alone, in a folder of its own; code 1 if they differ."""
    assert cli.main(["reproduce", "--manifest", str(made / "fig2b.json"), "--jobs", "1"]) == 0
    assert "the same, byte for byte" in capsys.readouterr().out
    again = made / "again"
    assert (again / "fig2b.csv").read_bytes() == (made / "fig2b.csv").read_bytes()
    assert (again / "fig2b.png").read_bytes() == (made / "fig2b.png").read_bytes()
    manifest = json.loads((made / "fig2b.json").read_text(encoding="utf-8"))
    manifest["files"]["csv_sha256"] = "0" * 64
    manifest["versions"]["numpy"] = "1.0"
    (made / "other.json").write_text(json.dumps(manifest), encoding="utf-8")
    words = ["reproduce", "--manifest", str(made / "other.json"), "--out", str(again)]
    assert cli.main(words) == 1
    said = capsys.readouterr().out
    assert "not the same" in said
    assert "numpy was 1.0, is" in said
    assert cli.main([*words, "--format", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    Draft202012Validator(SCHEMA).validate(answer)
    assert answer["again"]["same"] is False


def test_going_on_does_nothing_twice(made, capsys):
    """The same command again finds all runs there; other settings are refused with the reason."""
    before = (made / "fig2b.csv").read_bytes()
    assert cli.main([*FIG2B, "--out", str(made)]) == 0
    assert "18 runs were there already" in capsys.readouterr().out
    assert cli.main([*FIG2B, "--set", "step=2", "--out", str(made)]) == 2
    assert "other settings" in capsys.readouterr().err
    assert (made / "fig2b.csv").read_bytes() == before


def test_markdown_shows_the_picture_and_the_settings(made, capsys):
    """A page for a lab book: picture, caption, table of settings with their source."""
    assert cli.main([*FIG2B, "--out", str(made), "--format", "markdown"]) == 0
    said = capsys.readouterr().out
    assert f"![Figure 2b: final loss over k under noise]({made / 'fig2b.png'})" in said
    assert "| n | 30 | changed |" in said
    assert "| output | rademacher | chosen |" in said
    assert "| m | 10 | text |" in said


def test_settings_are_listed_without_running(tmp_path, capsys, monkeypatch):
    """`--settings` names each setting, its value and who says so."""
    monkeypatch.chdir(tmp_path)
    words = ["reproduce", "fig1a", "--scale", "paper", "--settings", "--set", "step=1"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "d           500  (text)" in said
    assert "step        1.0  (changed)" in said
    assert "by default 4.0" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a FIGURE"),
        (["fig9"], "fig9"),
        (["fig1a", "--set", "k"], "NAME=VALUE"),
        (["fig1a", "--set", "k=1", "--set", "k=2"], "given twice"),
        (["fig1a", "--set", "colour=blue"], "no setting 'colour'"),
        (["fig1a", "--runs", "0"], "runs"),
        (["fig1a", "--seed", "-1"], "seed"),
        (["fig1a", "--jobs", "0"], "jobs"),
        (["fig1a", "--executor", "mpi"], "dask://HOST:PORT"),
        (["fig1a", "--executor", "dask://a:1", "--jobs", "2"], "not both"),
        (["fig1a", "--engine", "guess"], "guess"),
        (["fig1a", "--manifest", "m.json"], "no FIGURE"),
        (["--manifest", "m.json", "--set", "k=1"], "no settings"),
        (["--manifest", "m.json"], "cannot read 'm.json'"),
    ],
)
def test_what_makes_no_sense_is_refused(words, said, capsys, tmp_path, monkeypatch):
    """Exit code 2 and a sentence, before anything is run."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("*.csv"))


def test_failed_runs_give_exit_code_3(tmp_path, capsys, monkeypatch):
    """The figure is made of the others; the failed run is named with its seed."""
    from kltheory.paper import figures

    whole = figures.reproduce

    def with_failure(*args, **options):
        result = whole(*args, **options)
        failure = {"cell": {"k": 20}, "run": 1, "seed": 77, "error": "MemoryError"}
        result.manifest["failures"].append(failure)
        return result

    monkeypatch.setattr(figures, "reproduce", with_failure)
    assert cli.main([*FIG2B, "--out", str(tmp_path)]) == 3
    assert "failed: k=20, run 1, seed 77: MemoryError" in capsys.readouterr().out


def test_ctrl_c_says_that_the_work_is_kept(tmp_path):
    """Interrupted, the command says how to go on; the next one does, to the same data."""
    words = ["reproduce", "fig2b", "--set", "n=30", "--set", "k=10,20,30,40,50,60,70,80,90,100",
             "--runs", "5000", "--jobs", "1", "--out", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "kltheory", *words], stderr=subprocess.PIPE, start_new_session=True
    )
    store = tmp_path / "fig2b.sqlite"
    while process.poll() is None and not (store.exists() and store.stat().st_size > 0):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=150)[1].decode()
    assert process.returncode == 130
    assert error.strip() == "interrupted; finished runs are kept, the same command goes on."
    assert not Path(tmp_path, "fig2b.csv").exists()


def test_progress_is_drawn_on_a_terminal_only(tmp_path, made, capsys):
    """Nothing but the answer is written where no terminal is."""
    assert cli.main([*FIG2B, "--out", str(made), "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.startswith("{")
