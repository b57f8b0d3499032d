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


def test_no_time_at_all_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Without time for any number the law is shown, and what is missing is named: a time that was
    not computed is not said to be "never"."""
    code, out, err = run(capsys, "--limit", "0.001", "--noise", "1/10", "--format", "text")
    if code == 0:
        pytest.skip("a thousandth of a second was enough")
    assert code == 3
    assert "--limit" in err
    assert "exp(-2" in out or not out
    assert "never" not in out


def test_a_complete_table_has_no_such_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """With all rows there is no warning, and exit code 0."""
    code, out, err = run(capsys, "--format", "json")
    assert code == 0
    assert not err
    assert json.loads(out)["warnings"] == []
