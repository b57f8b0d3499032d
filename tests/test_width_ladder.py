"""The table of README: what it says is what its command makes."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def rows(path):
    found = re.findall(r"^\| (.+?) \| +(.+?) \| +(.+?) \|$", path.read_text(), re.M)
    return [row for row in found if "neurons" in row[0] or "border" in row[0] or ":" in row[0]]


def test_readme_and_page_show_the_same_table():
    """Both copies were written by one run."""
    page = rows(ROOT / "docs" / "width_ladder.md")
    assert len(page) >= 6
    assert set(page) <= set(rows(ROOT / "README.md"))


@pytest.fixture(scope="module")
def made():
    """The program of the table, which keeps what it has computed."""
    spec = importlib.util.spec_from_file_location("ladder", ROOT / "docs" / "make_width_ladder.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("train", ["hidden", "both"])
def test_the_certificates_are_those_of_the_table(made, train):
    """The smallest width of each certificate of this network."""
    shown = {row[1 + (train == "both")] for row in rows(ROOT / "docs" / "width_ladder.md")}
    found = made.certificates(train)
    names = ("P", "S3", "q", "M") if train == "hidden" else ("P", "S1", "V", "C")
    assert {found[name] for name in names} <= shown


@pytest.mark.slow
@pytest.mark.parametrize("train", ["hidden", "both"])
def test_the_border_is_that_of_the_table(made, train):
    """Zero loss can be reached from there on, and a run on the way is proved to reach it."""
    shown = rows(ROOT / "docs" / "width_ladder.md")
    border = made.border(train)
    assert shown[-1][1 + (train == "both")] == border
    assert made.on_line(train, int(border.replace(",", ""))) <= int(border.replace(",", ""))


@pytest.mark.slow
def test_the_table_is_what_is_computed_now(made, capsys):
    """Made anew, both files are what they are."""
    assert made.main(["--check"]) == 0, capsys.readouterr().err
