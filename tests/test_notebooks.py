"""The course: every notebook runs from a fresh kernel, and is what its source makes."""

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kltheory.course import COURSE
from kltheory.errors import InputError
from kltheory.teaching import answers_in

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


def test_there_are_enough_exercises():
    """Each lesson has at least three, the course at least 24."""
    assert len(list(COURSE)) >= 24
    lessons = [exercise.name.split(".")[0] for exercise in COURSE]
    assert {int(lesson) for lesson in lessons} == set(range(1, 9))
    assert min(map(lessons.count, lessons)) >= 3


# -- the page for teachers -----------------------------------------------------------------------

PAGE = (NOTEBOOKS / "README.md").read_text("utf-8")


def test_the_syllabus_is_that_of_the_notebooks():
    """Each lesson is listed with the minutes that its own table says; four hours in class."""
    listed = re.findall(r"^\| \[\d · .*?\]\((\w+)\.ipynb\) \| (\d+) \| (\d+) \|", PAGE, re.M)
    assert [name for name, _, _ in listed] == list(TEXT)
    for name, in_class, at_home in listed:
        part = dict(re.findall(r"^# \| (theory|practice|exercises) \| (\d+) \|", TEXT[name], re.M))
        assert int(part["theory"]) + int(part["practice"]) == int(in_class)
        assert int(part["exercises"]) == int(at_home)
    assert sum(int(minutes) for _, minutes, _ in listed) == 240


def test_the_page_for_teachers_runs(monkeypatch):
    """What it shows of grading is what happens."""
    monkeypatch.chdir(NOTEBOOKS.parent)
    blocks = [b for b in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S) if ">>>" in b]
    test = doctest.DocTestParser().get_doctest("".join(blocks), {}, "README", "README.md", 0)
    assert len(test.examples) >= 5
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "".join(said)


def test_a_student_gets_marks_for_what_is_right(tmp_path):
    """From a student's notebook, filled in, to marks; what is left open counts as open."""
    path = NOTEBOOKS / "student/02_from_psi_to_a_rate.ipynb"
    notebook = json.loads(path.read_text("utf-8"))
    filled = {"2.1": '"-9/4*log(s) + 3"', "2.4": '"polynomial"', "2.5": "2.3 * 12"}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        for name, answer in filled.items():
            if source.startswith(f'check("{name}"'):
                cell["source"] = [f'check("{name}", {answer})']
    (tmp_path / "handed_in.ipynb").write_text(json.dumps(notebook), "utf-8")
    answers = answers_in(tmp_path / "handed_in.ipynb")
    assert set(answers) == {"2.1", "2.2", "2.3", "2.4", "2.5"}
    marks = COURSE.grade(answers)
    right = {f.exercise for f in marks.feedback if f.right}
    assert right == {"2.1", "2.5"}


@pytest.mark.parametrize("text", ["", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}'])
def test_what_is_no_notebook_is_refused(text, tmp_path):
    """One line says which file."""
    (tmp_path / "x.ipynb").write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"x\.ipynb' is no notebook"):
        answers_in(tmp_path / "x.ipynb")


def test_nothing_of_a_notebook_is_executed(tmp_path):
    """Code, magic and slips of students are read, not run."""
    sources = ['check("2.5", __import__("os").abort())', "%matplotlib inline", 'check("2.1", "',
               'check("9.9")', 'check("2.2", 1)\ncheck("2.2", "x")']  # fmt: skip
    cells = [{"cell_type": "code", "source": [source]} for source in sources]
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": cells}), "utf-8")
    answers = answers_in(tmp_path / "x.ipynb")
    assert answers == {"2.5": "__import__('os').abort()", "2.2": "x"}
    assert COURSE.grade(answers).got == 0
