"""The table of README: what it says is what its command makes."""

import re
import subprocess
import sys
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


@pytest.mark.slow
def test_the_table_is_what_is_computed_now():
    """Made anew, both files are what they are."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make_width_ladder.py"), "--check"],
        capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
