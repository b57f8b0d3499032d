"""README tells the truth: its commands print what it shows, its Python runs."""

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?P<language>console|python)\n(?P<body>.*?)^```$", re.M | re.S)
BLOCKS = [(match["language"], match["body"]) for match in BLOCK.finditer(README)]
PYTHON = [body for language, body in BLOCKS if language == "python"]


def commands(body: str) -> list[tuple[str, str]]:
    r"""Split a console block into commands and what each prints.

    >>> commands("$ kltheory a \\\n    -b\n1\n2\n\n$ kltheory c\n")
    [('kltheory a     -b', '1\n2'), ('kltheory c', '')]
    """
    parts = re.split(r"^\$ ", body.replace("\\\n", ""), flags=re.M)[1:]
    split = [part.partition("\n") for part in parts]
    return [(command, clean(printed)) for command, _, printed in split]


def clean(text: str) -> str:
    """Drop white space at the ends of lines and empty lines at the end."""
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip("\n")


CONSOLE = [
    pair for language, body in BLOCKS if body.startswith("$ kltheory") for pair in commands(body)
]


def test_readme_has_examples():
    """There is something to test, and no example is missed by a misspelt fence."""
    assert len(CONSOLE) >= 1
    assert len(CONSOLE) == README.count("$ kltheory")
    assert len(PYTHON) == README.count("```py")


@pytest.mark.parametrize(("command", "printed"), CONSOLE)
def test_commands_print_what_readme_shows(command, printed, tmp_path):
    """Each `$ kltheory ...` of README prints exactly the lines below it."""
    program, *arguments = shlex.split(command, comments=True)
    assert program == "kltheory"
    done = subprocess.run(
        [sys.executable, "-m", "kltheory", *arguments],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=60,
    )
    assert clean(done.stdout) == printed


@pytest.mark.parametrize("body", PYTHON)
def test_python_runs_as_readme_shows(body, tmp_path, monkeypatch):
    """Each Python block runs alone, and says itself what must come out."""
    monkeypatch.chdir(tmp_path)
    if ">>>" not in body:
        assert re.search(r"^assert ", body, re.M), "a Python block of README asserts nothing"
        exec(compile(body, "README.md", "exec"), {"__name__": "readme"})
        return
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    test = doctest.DocTestParser().get_doctest(body, {}, "README.md", "README.md", 0)
    lines: list[str] = []
    result = doctest.DocTestRunner(optionflags=flags).run(test, out=lines.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(lines)
