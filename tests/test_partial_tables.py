"""A limit that is reached at one time loses nothing that was found at others."""

from __future__ import annotations

import csv
import io
import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from kltheory.cli import main
from kltheory.errors import LimitReached
from kltheory.numeric.guarantees import Bound
from kltheory.numeric.table import Budget

SCHEMA = json.loads((files("kltheory") / "schemas" / "bound.json").read_text("utf-8"))
ARGUMENTS = ("--loss", "mse", "--kappa", "1", "--loss0", "1", "--at", "0,1,10,20")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the bound on the observation fail at t = 10."""
    whole = Bound.observation

    def observation(self: Bound, t: Any) -> Any:
        if t == 10:
            raise LimitReached("no accurate number")
        return whole(self, t)

    monkeypatch.setattr(Bound, "observation", observation)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    code = main(["bound", *ARGUMENTS, *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.mark.usefixtures("failing")
def test_json_keeps_the_other_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is valid, has null for what is missing, all else, a warning that says which time,
    why, and which bounds hold there; exit code 3."""
    code, out, err = run(capsys, "--format", "json")
    answer = json.loads(out)
    jsonschema.Draft202012Validator(SCHEMA).validate(answer)
    assert code == 3
    loss = [row["loss"] for row in answer["values"]]
    assert [v is None for v in loss] == [False, False, True, False]
    assert all(answer["values"][2][k] is None for k in ("log_decrease", "observation"))
    text = "t = 10: not computed: no accurate number; what holds at t = 1 holds there too"
    assert text in answer["warnings"]
    assert text in err


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize("form", ["text", "csv", "latex", "markdown"])
def test_every_format_keeps_the_other_rows(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Every format shows the last row, and exit code 3 says that one is missing."""
    code, out, err = run(capsys, "--format", form)
    assert code == 3
    assert "t = 10: not computed" in err
    assert "4.24" in out
    if form == "csv":
        rows = list(csv.reader(io.StringIO(out)))
        assert rows[3] == ["10", "", "", "", "", ""]


@pytest.mark.usefixtures("failing")
def test_printed_and_descent_beside_a_missing_row(capsys: pytest.CaptureFixture[str]) -> None:
    """The printed values and those of descent are there although one time is missing."""
    descent = ("--step-size", "0.1", "--smoothness", "4", "--iterations", "0,100")
    code, out, _ = run(capsys, "--theory", "printed", *descent, "--format", "json")
    answer = json.loads(out)
    assert code == 3
    assert all(v["loss"] is not None for v in answer["printed"]["values"])
    assert all(v["loss"] is not None for v in answer["descent"]["values"])


def test_no_time_at_all_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without time for any number the law is shown, and what is missing is named: a time that was
    not computed is not said to be "never"."""

    def spent(self: Budget, bound: Any, work: Any) -> Any:
        raise LimitReached("no time is left (--limit 60)")

    monkeypatch.setattr(Budget, "call", spent)
    code, out, err = run(capsys, "--noise", "1/10", "--theory", "printed")
    assert code == 3
    assert "--limit" in err
    assert "sqrt(2s)" in out or "√(2s)" in out
    assert "never" not in out
    for name in ("t = 0, 1, 10, 20", "stopping time", "extinction time", "printed bounds"):
        assert f"{name}: not computed" in out
        assert f"{name}: not computed" in err


def test_no_time_for_the_choice_of_times(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where even the times of the table were not found, t = 0 is shown, and that is said."""

    def none(*_: Any) -> Any:
        raise LimitReached("no time is left")

    monkeypatch.setattr("kltheory.numeric.table.default_times", none)
    code = main(["bound", *ARGUMENTS[:-2], "--format", "json"])
    shown = capsys.readouterr()
    assert code == 3
    assert "table of times: not computed" in shown.err
    assert [v["loss"] for v in json.loads(shown.out)["values"]] == [1.0]


def test_a_complete_table_has_no_such_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """With all rows there is no warning, and exit code 0."""
    code, out, err = run(capsys, "--format", "json")
    assert code == 0
    assert not err
    assert json.loads(out)["warnings"] == []
