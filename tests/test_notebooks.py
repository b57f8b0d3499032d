"""The course: every notebook runs from a fresh kernel, and is what its source makes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kltheory.course import COURSE

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))
TEXT = {source.stem: source.read_text() for source in SOURCES}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_notebook_is_what_its_source_makes(source):
    """Executed anew, a notebook has the cells and shows the results of the file beside it."""
    pytest.importorskip("nbclient")
    pytest.importorskip("jupytext")
    done = subprocess.run(
        [sys.executable, str(NOTEBOOKS / "make.py"), "--check", source.name[:2]],
        capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("name", TEXT)
def test_a_notebook_keeps_to_the_template(name):
    """Aim, theory, practice, discussion, exercises, in this order."""
    places = [TEXT[name].find(word) for word in (
        "**Aim.**", "## Theory", "## Practice", "## Discussion", "## Exercises"
    )]  # fmt: skip
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("exercise", list(COURSE), ids=lambda exercise: exercise.name)
def test_an_exercise_is_asked_once_and_solved_once(exercise):
    """Each exercise has a cell for the answer and a solution that the checker accepts."""
    lesson = f"{int(exercise.name.split('.')[0]):02}"
    (text,) = [content for stem, content in TEXT.items() if stem.startswith(lesson)]
    name = re.escape(exercise.name)
    assert len(re.findall(rf'^check\("{name}", \.\.\.\)', text, re.M)) == 1
    assert len(re.findall(rf'^assert check\("{name}", ', text, re.M)) == 1
    assert f"**{exercise.name}**" in text
    assert not exercise.check(...)


def test_every_exercise_of_a_notebook_is_in_the_course():
    """No notebook asks what the checker does not know."""
    asked = {name for text in TEXT.values() for name in re.findall(r'check\("([^"]+)"', text)}
    assert asked == {exercise.name for exercise in COURSE}
