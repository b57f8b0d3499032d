"""The release: wheel and sdist hold what they should, and work in an empty environment."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kltheory
from kltheory import cli

ROOT = Path(__file__).parents[1]

# The program beside the package: what it does for a release is what is tested here.
SPEC = importlib.util.spec_from_file_location("release", ROOT / "release.py")
release = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(release)


# -- pages that carry the version ------------------------------------------------------------------

PAGES = ("CITATION.cff", "CHANGELOG.md", "kltheory/__init__.py")


@pytest.fixture
def cited(capsys):
    """What `kltheory --cite` prints."""
    assert cli.main(["--cite"]) == 0
    return capsys.readouterr().out


@pytest.fixture
def copy(tmp_path):
    """The pages that carry the version, to be changed."""
    for name in PAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_all_pages_say_one_version_and_one_day(cited):
    """Package, `--cite`, CITATION.cff and CHANGELOG.md agree; what is new is allowed."""
    assert release.version_of() == kltheory.__version__
    wrong = release.disagreements(ROOT, cited)
    assert [line for line in wrong if "as Unreleased" not in line] == []
    assert "hal-04059168v1" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_the_command_says_its_version(capsys):
    """`--version` is the version of the package."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"kltheory {kltheory.__version__}\n"


def test_changelog_has_each_version_once():
    """CHANGELOG.md begins with Unreleased, has each version once, newest first."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    titles = re.findall(r"^## \[?([^\]\n ]+)", text, re.M)
    assert titles[0] == "Unreleased"
    assert len(set(titles)) == len(titles)
    released = [tuple(map(int, title.split("."))) for title in titles[1:]]
    assert released == sorted(released, reverse=True)


@pytest.mark.parametrize(
    ("page", "old", "new", "said"),
    [
        (
            "kltheory/__init__.py",
            r'__version__ = ".*"',
            '__version__ = "9.9.9"',
            "package is 9.9.9",
        ),
        (
            "CITATION.cff",
            r"(?m)^version: .*",
            "version: 9.9.9",
            "CITATION.cff names the version 9.9.9",
        ),
        ("CITATION.cff", "date-released: .*", "", "CITATION.cff says released none"),
        ("CITATION.cff", "date-released: .*", "date-released: 1999-01-01", "the year"),
        ("CHANGELOG.md", r"## \[\d.*", "## [9.9.9] - 2026-01-01", "CHANGELOG.md, below Unreleased"),
        ("CHANGELOG.md", r" - \d{4}-\d\d-\d\d", "", "CHANGELOG.md says no date"),
        ("CHANGELOG.md", r"## \[Unreleased\]\n", "", "does not begin with"),
        ("CHANGELOG.md", r"## \[Unreleased\]\n", "## [Unreleased]\n\n- New.\n", "as Unreleased"),
    ],
)
def test_a_page_that_says_something_else_is_named(copy, cited, page, old, new, said):
    """Each disagreement of the pages is one line that names the page."""
    text, count = re.subn(old, new, (copy / page).read_text("utf-8"), count=1)
    assert count == 1
    (copy / page).write_text(text, "utf-8")
    wrong = release.disagreements(copy, cited)
    assert any(said in line for line in wrong), wrong
    assert all("\n" not in line for line in wrong)


def test_a_citation_of_another_version_is_named(copy, cited):
    """What `--cite` prints is compared too."""
    other = cited.replace(f"{{{kltheory.__version__}}}", "{9.9.9}").replace("{2026}", "{1999}")
    wrong = release.disagreements(copy, other)
    assert any("--cite names the version 9.9.9" in line for line in wrong)
    assert any("--cite says the year 1999" in line for line in wrong)


def test_what_is_not_committed_is_not_released(copy):
    """A folder without git, a changed file and a tag on another commit are refused in a line."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    assert release.refusals(copy) == [
        "this is no checkout of git; a release is made from what is committed."
    ]

    def git(*words):
        release.run("git", "-c", "user.name=a", "-c", "user.email=a@b", *words, cwd=copy)

    # Of the package only its version is there, and how to cite it.
    (copy / "kltheory/__main__.py").write_text(
        "from kltheory import __version__\n"
        "print('version = {' + __version__ + '},\\n  year = {2026}')\n"
    )
    (copy / ".gitignore").write_text("__pycache__/\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    git("tag", f"v{kltheory.__version__}")
    (copy / "LICENSE").write_text("new\n")
    assert "not committed (1 files): LICENSE" in release.refusals(copy)
    git("add", "LICENSE")
    git("commit", "-q", "-m", "more")
    assert f"the tag v{kltheory.__version__} is on another commit: raise the version." in (
        release.refusals(copy)
    )
    assert not [line for line in release.refusals(copy) if "not committed" in line]


# -- what is missing is said -----------------------------------------------------------------------

WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from kltheory.cli import main
sys.exit(main(sys.argv[2:]))
"""


def without(names, words, folder):
    """Run the command line where some packages do not exist."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, names, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("names", "words", "said"),
    [
        (
            "matplotlib",
            "check --gaussian 2x3 --k 20 --times 0,1 --plot a.png",
            "pip install 'kltheory[plot]'",
        ),
        (
            "matplotlib",
            "bound --loss mse --kappa 1 --loss0 1 --plot a.png",
            "pip install 'kltheory[plot]'",
        ),
        (
            "distributed",
            "reproduce fig2b --set k=20 --runs 1 --executor dask://127.0.0.1:1",
            "pip install 'kltheory[distributed]'",
        ),
    ],
)
def test_a_missing_extra_is_named(tmp_path, names, words, said):
    """Exit code 2 and a sentence with what to install, before any work."""
    done = without(names, words.split(), tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize(
    "words",
    [
        "bound --psi sqrt(s)+s --kappa 1 --loss0 1 --format json",
        "certify --gaussian 2x4 --k 60 --format json",
        "width --n 60 --m 10 --sigma-f 1 --norm-f 1 --y-norm 3 --failure 0.05 --format json",
    ],
)
def test_answers_without_python_flint_and_matplotlib(tmp_path, words):
    """The extras are extras: the same commands answer without them."""
    done = without("flint,matplotlib,distributed", words.split(), tmp_path)
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["schema"].startswith("kltheory/")


def test_a_figure_without_matplotlib_has_its_data(tmp_path):
    """`reproduce` without Matplotlib writes data and manifest, and says what is missing."""
    words = "reproduce fig2b --jobs 1 --set k=20 --set n=30 --set steps=20 --runs 1".split()
    done = without("matplotlib", words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pip install 'kltheory[plot]'" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fig2b.csv",
        "fig2b.json",
        "fig2b.sqlite",
    ]


# -- what is built ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def names():
    """The files of the checkout."""
    found = release.tracked()
    if found is None:
        pytest.skip("this is no checkout")
    return found


@pytest.fixture(scope="module")
def built(names, tmp_path_factory):
    """(wheel, sdist, wheel of the sdist), built from the tracked files alone."""
    return release.build(ROOT, names, tmp_path_factory.mktemp("release"))


def good(names):
    """Files as a sound build would hold them, without their texts."""
    info = f"kltheory-{kltheory.__version__}.dist-info/"
    page = f"Version: {kltheory.__version__}\n" + "".join(
        f"Requires-Dist: {name}>=1\n" for name in sorted(release.CORE)
    )
    wheel = {name: b"" for name in names if name.startswith("kltheory/")} | {
        f"{info}METADATA": page.encode(),
        f"{info}licenses/LICENSE": b"",
        f"{info}entry_points.txt": b"[console_scripts]\nkltheory = kltheory.cli:main\n",
    }
    return wheel, {name: b"" for name in names if not name.endswith(".ipynb")}, dict(wheel)


def test_sound_files_are_not_complained_about(names):
    """The checks of what is built pass on what they ask for."""
    assert release.complaints(good(names), names) == []


NOTEBOOK = {"cells": [{"outputs": [{"output_type": "stream", "name": "stderr", "text": "!"}]}]}


@pytest.mark.parametrize(
    ("which", "name", "text", "said"),
    [
        (0, "tests/test_a.py", b"", "the wheel holds what is not the package: tests/test_a.py"),
        (0, "kltheory/py.typed", None, "the wheel lacks: kltheory/py.typed"),
        (0, "kltheory/schemas/bound.json", None, "the wheel lacks: kltheory/schemas/bound.json"),
        (1, "LICENSE", None, "the sdist lacks: LICENSE"),
        (1, ".coverage", b"", "the sdist holds what git does not know: .coverage"),
        (2, "kltheory/errors.py", b"new", "the sdist makes another wheel: kltheory/errors.py"),
        (1, "README.md", b"see /home/me/README", "a path of this machine is in: README.md"),
        (1, "README.md", b"C:\\Users\\me", "a path of this machine is in: README.md"),
        (1, "README.md", b"built in /srv/place", "a path of this machine is in: README.md"),
        (1, "notebooks/a.ipynb", json.dumps(NOTEBOOK).encode(), "a notebook shows an error"),
    ],
)
def test_what_does_not_belong_there_is_named(names, which, name, text, said):
    """Each fault of what is built is one line that names the file."""
    files = good(names)
    if text is None:
        del files[which][name]
    else:
        files[which][name] = text
    assert any(line.startswith(said) for line in release.complaints(files, names, ("/srv/place",)))


@pytest.mark.slow
def test_what_is_built_holds_what_it_should(names, built):
    """All modules, schemas, py.typed and the licence; no tests in the wheel, nothing unknown."""
    files = [release.contents(file) for file in built]
    assert release.complaints(files, names, (str(ROOT), str(built[0].parent))) == []


def test_a_program_that_hangs_or_fails_says_so(tmp_path):
    """`run` raises what the program said, and does not wait longer than it was told."""
    with pytest.raises(release.Failed, match="exit code 3\nnot so"):
        release.run(sys.executable, "-c", "print('not so'); raise SystemExit(3)", cwd=tmp_path)
    with pytest.raises(release.Failed, match=r"no end within 0\.2 s"):
        release.run(sys.executable, "-c", "import time; time.sleep(9)", cwd=tmp_path, seconds=0.2)


def test_a_python_that_is_not_there_is_said(tmp_path, monkeypatch):
    """A version that nobody has is None; the table says so, and nothing is made for it."""
    assert release.interpreters(("3.0",)) == {"3.0": None}
    monkeypatch.setattr(release, "interpreters", lambda: {"3.0": None})
    rows = release.on_each_python(Path("kltheory-1.whl"), Path("a"), tmp_path, False)
    assert rows[1] == ["3.0", *["not here"] * (len(rows[0]) - 1)]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "version"),
    [("wheel", None), ("sdist", None), *(("wheel", version) for version in release.VERSIONS)],
)
def test_installed_outside_the_checkout_it_works(built, tmp_path, kind, version):
    """With its core dependencies alone, in an empty environment and another folder."""
    python = Path(sys.executable) if version is None else release.interpreters((version,))[version]
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    file = built[0] if kind == "wheel" else built[1]
    inside = release.environment(tmp_path / "venv", file, creator=python)
    (tmp_path / "empty").mkdir()
    release.use(inside, tmp_path / "empty", kltheory.__version__)
