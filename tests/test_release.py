"""The release: wheel and sdist hold what they should, and work in an empty environment."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import kltheory
from kltheory import cli

ROOT = Path(__file__).parents[1]


# -- pages that carry the version ------------------------------------------------------------------


def test_changelog_has_a_place_for_what_is_new():
    """CHANGELOG.md begins with Unreleased, has each version once, and the package's is no older."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    titles = re.findall(r"^## \[?([^\]\n ]+)", text, re.M)
    assert titles[0] == "Unreleased"
    assert len(set(titles)) == len(titles)
    released = [tuple(map(int, title.split("."))) for title in titles[1:]]
    assert released == sorted(released, reverse=True)
    here = tuple(map(int, re.findall(r"\d+", kltheory.__version__)[:3]))
    assert all(version <= here for version in released)


def test_citation_is_of_this_version(capsys):
    """`--cite`, `--version` and CITATION.cff say one version; CITATION.cff names the paper."""
    assert cli.main(["--cite"]) == 0
    cited = re.search(r"version = \{(.*)\}", capsys.readouterr().out)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"kltheory {kltheory.__version__}\n"
    page = (ROOT / "CITATION.cff").read_text("utf-8")
    assert cited is not None
    assert cited[1] == re.search(r"^version: (.*)$", page, re.M)[1] == kltheory.__version__
    assert "hal-04059168v1" in page


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


def tracked():
    """The files of the checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    found = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in found.stdout.split("\0") if name and (ROOT / name).is_file()]


def run(*words, cwd):
    """Run a program outside the checkout, with nothing of its surroundings."""
    kept = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "LANG")
    hidden = ("PIP_", "UV_", "HTTP", "HTTPS", "http", "https", "NO_PROXY", "no_proxy")
    env = {k: v for k, v in os.environ.items() if k in kept or k.startswith(hidden)}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def environment(place, *what, creator=sys.executable):
    """A new virtual environment with some packages in it; its Python."""
    run(creator, "-m", "venv", place, cwd=place.parent)
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *what,
        cwd=place.parent)  # fmt: skip
    return python


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(wheel, sdist), built from the tracked files alone."""
    place = tmp_path_factory.mktemp("release")
    for name in tracked():
        (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / "source" / name)
    python = environment(place / "builder", "build")
    run(python, "-m", "build", "--outdir", place / "dist", place / "source", cwd=place)
    (wheel,) = (place / "dist").glob("*.whl")
    (sdist,) = (place / "dist").glob("*.tar.gz")
    return wheel, sdist


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(built):
    """All modules, schemas, py.typed and the licence; no tests, no notebooks, no caches."""
    wheel, _ = built
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in tracked() if name.startswith("kltheory/")}
    info = f"kltheory-{kltheory.__version__}.dist-info/"
    assert {name for name in names if not name.startswith(info)} == package
    assert "kltheory/py.typed" in names
    assert f"{info}licenses/LICENSE" in names
    page = zipfile.ZipFile(wheel).read(f"{info}METADATA").decode()
    said = HeaderParser().parsestr(page)
    assert said["Version"] == kltheory.__version__
    needed = {re.split(r"[>=;\[ ]", line)[0] for line in said.get_all("Requires-Dist")
              if "extra ==" not in line}  # fmt: skip
    assert needed == {"sympy", "numpy", "scipy", "click", "rich"}
    scripts = zipfile.ZipFile(wheel).read(f"{info}entry_points.txt").decode()
    assert "kltheory = kltheory.cli:main" in scripts


@pytest.mark.slow
def test_the_sdist_holds_the_tracked_files(built):
    """Tests, docs, notebooks and pages are in it, nothing that git does not know."""
    _, sdist = built
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = {name for name in names if name}
    assert files - {"PKG-INFO"} <= set(tracked())
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "tests/conftest.py"):
        assert name in files
    assert {name for name in tracked() if name.startswith("kltheory/")} <= files


OUTSIDE = """
import importlib.util as found, kltheory
assert "site-packages" in kltheory.__file__, kltheory.__file__
assert not [m for m in ("matplotlib", "flint", "distributed") if found.find_spec(m)]
print(kltheory.rate("sqrt(s)").regime.loss, kltheory.__version__)
"""


def interpreter(version):
    """A Python of this version, or skip."""
    if version is None:
        return sys.executable
    found = shutil.which(f"python{version}")
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    if found is not None:
        done = subprocess.run([found, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return found
    pytest.skip(f"there is no python{version} on PATH")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "version"),
    [("wheel", None), ("sdist", None), ("wheel", "3.11"), ("wheel", "3.12"), ("wheel", "3.13")],
)
def test_installed_outside_the_checkout_it_works(built, tmp_path, kind, version):
    """With its core dependencies alone, in an empty environment and another folder."""
    file = built[0] if kind == "wheel" else built[1]
    python = environment(tmp_path / "venv", file, creator=interpreter(version))
    said = run(python, "-c", OUTSIDE, cwd=tmp_path)
    assert said.split() == ["exponential", kltheory.__version__]
    program = python.with_name("kltheory" + (".exe" if os.name == "nt" else ""))
    page = run(program, "bound", "--loss", "lojasiewicz", "--alpha", "0.5", cwd=tmp_path)
    assert "exponential" in page
    assert kltheory.__version__ in run(program, "--version", cwd=tmp_path)
    assert "@software" in run(program, "--cite", cwd=tmp_path)
    assert "mse" in run(program, "losses", cwd=tmp_path)
    answer = run(program, "certify", "--gaussian", "2x4", "--k", "200", "--train", "both",
                 "--output-init", "zero", "--format", "json", cwd=tmp_path)  # fmt: skip
    assert json.loads(answer)["verdict"] == "certified"
    run(python, "-m", "kltheory", "reproduce", "fig2b", "--jobs", "1", "--set", "k=20", "--set",
        "n=30", "--set", "steps=20", "--runs", "1", cwd=tmp_path)  # fmt: skip
