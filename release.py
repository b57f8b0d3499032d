"""Build the release, look into it, and use it on every Python that is here.  Nothing is published.

python3 dev.py release          the fast part of the tests on each Python
python3 dev.py release --full   all tests that are not marked slow

Refuses where the work is not committed, or where the pages name different versions.  Wheel and
sdist are built from the files that git knows and are in dist/ if all went well.  Each Python of
`VERSIONS` that is found (on PATH, of pyenv, of uv) gets empty environments outside the checkout,
where the wheel is used and tested: with its core dependencies alone, then with the extras.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from email.parser import HeaderParser
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VERSIONS = ("3.11", "3.12", "3.13")
EXTRAS = ("plot", "certified")
FAST = ("api", "parse", "files", "problem")
"""The files tests/test_NAME.py of the fast part."""
OF_THE_CHECKOUT = ("house", "release", "web")
"""The files tests/test_NAME.py that look at the source tree."""
CORE = {"sympy", "numpy", "scipy", "click", "rich"}


class Failed(Exception):
    """A program ended with an error, or an answer is not what it should be."""


# -- programs, files, environments -----------------------------------------------------------------


def run(*words: str | Path, cwd: Path, seconds: float = 170, codes: tuple[int, ...] = (0,)) -> str:
    """Run a program with nothing of its surroundings; return what it prints.

    Raises Failed, with the end of what it said, if its exit code is not one of `codes`.
    """
    kept = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "LANG", "SYSTEMROOT")
    hidden = ("PIP_", "UV_", "HTTP", "http", "NO_PROXY", "no_proxy")
    env = {k: v for k, v in os.environ.items() if k in kept or k.startswith(hidden)}
    # Small matrices on several threads cost time and change last digits.
    env |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    shown = " ".join(map(str, (Path(words[0]).name, *words[1:])))
    try:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"$ {shown}\nno end within {seconds:g} s") from None
    if done.returncode not in codes or "Traceback" in done.stderr:
        said = f"{done.stdout}\n{done.stderr}".strip()[-2000:]
        raise Failed(f"$ {shown}\nexit code {done.returncode}\n{said}")
    return done.stdout


def tracked(root: Path = ROOT) -> list[str] | None:
    """Return the files that git knows, or None where there is no git."""
    if shutil.which("git") is None or not (root / ".git").exists():
        return None
    found = run("git", "ls-files", "-z", cwd=root)
    return [name for name in found.split("\0") if name and (root / name).is_file()]


def interpreters(versions: tuple[str, ...] = VERSIONS) -> dict[str, Path | None]:
    """Return for each version of Python one that works: of PATH, of pyenv, of uv; or None."""
    return {version: next(_working(version), None) for version in versions}


def _working(version: str) -> Iterator[Path]:
    code = "import sys, venv; print(sys.executable, '%d.%d' % sys.version_info[:2])"
    for python in _candidates(version):
        try:
            said = run(python, "-c", code, cwd=ROOT.parent, seconds=20).strip()
        except (Failed, OSError):  # such as a shim of pyenv for a version that is not chosen
            continue
        where, _, found = said.rpartition(" ")
        if found == version:
            yield Path(where)


def _candidates(version: str) -> Iterator[str | Path]:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        yield getattr(sys, "_base_executable", sys.executable)
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        yield on_path
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(home.glob(f"versions/{version}.*/bin/python"), reverse=True)
    uv = shutil.which("uv")
    if uv is not None:
        try:
            yield run(
                uv, "python", "find", "--no-python-downloads", version, cwd=ROOT.parent
            ).strip()
        except Failed:
            return


def environment(place: Path, *what: str | Path, creator: str | Path = sys.executable) -> Path:
    """Make a new virtual environment with some packages in it; return its Python."""
    uv = shutil.which("uv")
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if uv is None:
        run(creator, "-m", "venv", place, cwd=place.parent)
    else:
        run(uv, "venv", "-q", "--python", creator, place, cwd=place.parent)
    install(python, *what)
    return python


def install(python: Path, *what: str | Path) -> None:
    """Install packages into an environment, with uv where it is on PATH, else with pip."""
    uv = shutil.which("uv")
    words: list[str | Path]
    if uv is None:
        words = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    else:
        words = [uv, "pip", "install", "-q", "--python", python]
    run(*words, *what, cwd=python.parent, seconds=600)


def build(root: Path, names: list[str], place: Path) -> tuple[Path, Path, Path]:
    """Build (wheel, sdist, the wheel of the sdist) from files of a checkout, in a new folder."""
    for name in names:
        (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, place / "source" / name)
    python = environment(place / "builder", "build")
    run(python, "-m", "build", "--sdist", "--wheel", "--outdir", place / "dist", place / "source",
        cwd=place)  # fmt: skip
    (wheel,) = (place / "dist").glob("*.whl")
    (sdist,) = (place / "dist").glob("*.tar.gz")
    source = unpacked(sdist, place / "unpacked")
    run(python, "-m", "build", "--wheel", "--outdir", place / "again", source, cwd=place)
    (again,) = (place / "again").glob("*.whl")
    return wheel, sdist, again


def unpacked(sdist: Path, place: Path) -> Path:
    """Unpack an sdist in a new folder; return its only folder."""
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    (folder,) = place.iterdir()
    return folder


# -- the pages that carry the version --------------------------------------------------------------


def version_of(root: Path = ROOT) -> str:
    """Return the version that the package says, without importing it."""
    text = (root / "kltheory" / "__init__.py").read_text("utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.M)
    return found[1] if found else "none"


def disagreements(root: Path, cited: str) -> list[str]:
    """Say where version and date differ between package, CITATION.cff, CHANGELOG.md and `cited`.

    `cited` is what `kltheory --cite` prints.
    """
    version, wrong = version_of(root), []

    def said(pattern: str, text: str) -> str:
        found = re.search(pattern, text, re.M)
        return found[1] if found else "none"

    citation = (root / "CITATION.cff").read_text("utf-8")
    changes = (root / "CHANGELOG.md").read_text("utf-8")
    titles = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", changes, re.M)
    latest, day = titles[1] if len(titles) > 1 else ("none", "")
    for page, found in (
        ("CITATION.cff", said(r"^version: (.*)$", citation)),
        ("kltheory --cite", said(r"version = \{(.*)\}", cited)),
        ("CHANGELOG.md, below Unreleased,", latest),
    ):
        if found != version:
            wrong.append(f"{page} names the version {found}; the package is {version}.")
    if not titles or titles[0] != ("Unreleased", ""):
        wrong.append("CHANGELOG.md does not begin with ## [Unreleased].")
    elif changes.partition("## [Unreleased]")[2].partition("\n## [")[0].strip():
        wrong.append("CHANGELOG.md lists changes as Unreleased; they belong to a version.")
    released = said(r"^date-released: (.*)$", citation).strip("\"'")
    if released != day:
        wrong.append(
            f"CITATION.cff says released {released}; CHANGELOG.md says {day or 'no date'}."
        )
    year = said(r"year +[=] \{(.*)\}", cited)
    if year != released[:4]:
        wrong.append(f"kltheory --cite says the year {year}; CITATION.cff says {released}.")
    return wrong


def refusals(root: Path = ROOT) -> list[str]:
    """Say why nothing may be released from this checkout as it is."""
    if tracked(root) is None:
        return ["this is no checkout of git; a release is made from what is committed."]
    wrong = []
    changed = run("git", "status", "--porcelain", cwd=root).splitlines()
    if changed:
        shown = ", ".join(line[3:] for line in changed[:3]) + (", ..." if changed[3:] else "")
        wrong.append(f"not committed ({len(changed)} files): {shown}")
    version = version_of(root)
    tag, head = (
        run("git", "rev-parse", "-q", "--verify", name, cwd=root, codes=(0, 1))
        for name in (f"v{version}^{{commit}}", "HEAD")
    )
    if tag not in ("", head):
        wrong.append(f"the tag v{version} is on another commit: raise the version.")
    cited = run(sys.executable, "-m", "kltheory", "--cite", cwd=root)
    return wrong + disagreements(root, cited)


# -- what is in the files --------------------------------------------------------------------------


def contents(file: Path) -> dict[str, bytes]:
    """Return the files of a wheel or of an sdist, of the latter without the outer folder."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    found = {}
    with tarfile.open(file) as sdist:
        for member in sdist:
            stream = sdist.extractfile(member)
            name = member.name.partition("/")[2] if member.isfile() else member.name
            found[name] = stream.read() if stream else b""
    return found


def complaints(
    files: list[dict[str, bytes]], names: list[str], places: tuple[str, ...] = ()
) -> list[str]:
    """Say what is wrong with the files of a wheel, of an sdist and of the wheel of that sdist.

    `names` are the files of the checkout; `places` are folders that may be named in none of them.
    """
    wheel, sdist, again = files
    version = ""
    for name in wheel:
        if name.endswith(".dist-info/METADATA"):
            version = HeaderParser().parsestr(wheel[name].decode())["Version"]
    info = f"kltheory-{version}.dist-info/"
    package = {name for name in names if name.startswith("kltheory/")}
    said = HeaderParser().parsestr(wheel.get(f"{info}METADATA", b"").decode())
    needed = {
        re.split(r"[>=;\[ ]", line)[0]
        for line in said.get_all("Requires-Dist", [])
        if "extra ==" not in line
    }
    found = {name for name in wheel if not name.startswith(info)}
    schemas = {name for name in names if re.fullmatch(r"kltheory/schemas/.*\.json", name)}
    held = {"kltheory/py.typed", f"{info}licenses/LICENSE", *schemas}
    pages = {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "tests/conftest.py"}
    lists: list[tuple[str, set[str]]] = [
        ("the wheel holds what is not the package", found - package),
        ("the wheel lacks", (package | held) - wheel.keys()),
        ("the sdist holds what git does not know", sdist.keys() - {*names, "PKG-INFO"}),
        ("the sdist lacks", (package | pages) - sdist.keys()),
        ("the sdist makes another wheel", {name for name, _ in wheel.items() ^ again.items()}),
        ("the wheel needs not what it should", needed ^ CORE),
        ("a path of this machine is in", _with_paths(wheel, sdist, places)),
        ("a notebook shows an error in", set(_bad_notebooks(sdist))),
    ]
    if not schemas:
        lists.append(("there are no schemas", {"kltheory/schemas"}))
    if b"kltheory = kltheory.cli:main" not in wheel.get(f"{info}entry_points.txt", b""):
        lists.append(("the wheel has no command", {"kltheory"}))
    return [f"{what}: {', '.join(sorted(those)[:5])}" for what, those in lists if those]


def _with_paths(
    wheel: dict[str, bytes], sdist: dict[str, bytes], places: tuple[str, ...]
) -> set[str]:
    """Names of files that are absolute, or in which a folder of a user is named.

    In programs that are not installed (tests, pages) a folder of nobody here may be meant so.
    """
    named = [re.escape(place.encode()) for place in places if len(place) > 5]
    here = re.compile(b"|".join(named) or rb"(?!)")
    path = re.compile(rb"|".join([rb"/(?:home|Users|root)/\w", rb"[A-Z]:\\Users", *named]))
    return {
        name
        for name, text in {**sdist, **wheel}.items()
        if (here if name.endswith((".py", ".js")) and name not in wheel else path).search(text)
        or name.startswith("/")
        or ".." in name.split("/")
    }


def _bad_notebooks(files: dict[str, bytes]) -> Iterator[str]:
    """Names of notebooks in which a cell failed or complained, or which are very large."""
    for name, text in files.items():
        if name.endswith(".ipynb"):
            cells = json.loads(text)["cells"]
            outputs = [output for cell in cells for output in cell.get("outputs", [])]
            bad = [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
            if bad or len(text) > 2 << 20:
                yield name


# -- the use of what is installed ------------------------------------------------------------------

OUTSIDE = """
import importlib.util as found, sys, kltheory
assert "site-packages" in kltheory.__file__, kltheory.__file__
extras = {"matplotlib", "flint", "distributed"}
print(*sorted(m for m in extras if found.find_spec(m)), kltheory.rate("sqrt(s)").regime.loss,
      kltheory.__version__)
"""


def use(python: Path, folder: Path, version: str, extras: tuple[str, ...] = ()) -> None:
    """Use an installed package from an empty folder; Failed says what does not work."""
    program = python.with_name("kltheory" + (".exe" if os.name == "nt" else ""))

    def hold(said: bool, *what: str) -> None:
        if not said:
            raise Failed(f"unexpected: {' '.join(what)[-2000:]}")

    def answer(words: str, codes: tuple[int, ...] = (0,)) -> dict[str, object]:
        text = run(program, *words.split(), "--format", "json", cwd=folder, codes=codes)
        found: dict[str, object] = json.loads(text)
        hold(str(found["schema"]).startswith("kltheory/"), words, text)
        return found

    there = {"plot": "matplotlib ", "certified": "flint "}
    found = run(python, "-c", OUTSIDE, cwd=folder)
    modules = "".join(sorted(there[extra] for extra in extras))
    hold(found == f"{modules}exponential {version}\n", found)
    page = run(program, "--version", cwd=folder)
    hold(page == f"kltheory {version}\n", page)
    page = run(program, "--cite", cwd=folder)
    hold("@software" in page and f"version = {{{version}}}" in page, page)
    page = run(program, "bound", "--loss", "lojasiewicz", "--alpha", "0.5", cwd=folder)
    hold("exponential" in page, page)
    bound = answer("bound --psi sqrt(s)+s --kappa 1 --loss0 1 --at 0,1")
    hold(bound["regime"] == "exponential", str(bound))
    if not extras:  # on what follows the extras have no influence
        answer("losses")
        answer("width --n 60 --m 10 --sigma-f 1 --norm-f 1 --y-norm 3 --failure 0.05")
        sure = answer("certify --gaussian 2x4 --k 200 --train both --output-init zero")
        hold(sure["verdict"] == "certified", str(sure))
        checked = answer("check --gaussian 2x3 --k 20 --times 0,1,2")
        hold(checked["holds"] is True, str(checked))
        audit = answer("audit E1 E12 E20")
        hold(all(finding["confirmed"] for finding in audit["findings"]), str(audit))  # type: ignore
    run(program, "bound", "--psi", "s*log(s)", cwd=folder, codes=(2,))
    hold(not list(folder.iterdir()), *(path.name for path in folder.iterdir()))
    run(python, "-m", "kltheory", "reproduce", "fig2b", "--jobs", "1", "--set", "k=20", "--set",
        "n=30", "--set", "steps=20", "--runs", "1", cwd=folder)  # fmt: skip
    wanted = {"fig2b.csv", "fig2b.json", "fig2b.sqlite"}
    wanted |= {"fig2b.png"} if "plot" in extras else set()
    hold({path.name for path in folder.iterdir()} == wanted, "files of reproduce")


def tests(
    python: Path, wheel: Path, sdist: Path, place: Path, full: bool, how: tuple[str, ...]
) -> None:
    """Run tests of an sdist, unpacked in `place` without the package, on the installed one."""
    install(python, *how, f"{wheel}[test]")
    source = unpacked(sdist, place)
    shutil.rmtree(source / "kltheory")
    words: list[str] = [f"tests/test_{name}.py" for name in FAST]
    if full:
        words = ["tests", "--pyargs", "kltheory"]
        words += [f"--ignore=tests/test_{name}.py" for name in OF_THE_CHECKOUT]
    run(python, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *words, cwd=source,
        seconds=7200)  # fmt: skip


STEPS = tuple(
    f"{what}: {step}" for what in ("core", "extras") for step in ("install", "use", "tests")
)
"""The columns of the table."""
OLDEST = ("--resolution", "lowest-direct")
"""What makes uv take the oldest versions that the package allows."""


def on_one_python(
    name: str, python: Path, wheel: Path, sdist: Path, place: Path, full: bool, how: tuple[str, ...]
) -> list[str]:
    """Return how each of `STEPS` went: without the extras, then with them, in new environments."""
    cells = []
    for what, extras in (("core", ()), ("extras", EXTRAS)):
        folder = place / what
        (folder / "empty").mkdir(parents=True)
        inside = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        wanted = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
        made = partial(environment, folder / "venv", *how, wanted, creator=python)
        used = partial(use, inside, folder / "empty", wheel.name.split("-")[1], extras)
        tested = partial(tests, inside, wheel, sdist, folder / "sdist", full, how)
        cells.append(tried(f"{name}, {what}: install", made))
        if cells[-1] == "FAILED":  # there is nothing to use
            cells += ["-", "-"]
        else:
            cells.append(tried(f"{name}, {what}: use", used))
            cells.append(tried(f"{name}, {what}: tests", tested))
    return cells


def tried(name: str, step: Callable[[], object]) -> str:
    """Do a step, and say on stderr how it went; "ok" with its seconds, or "FAILED"."""
    start = time.monotonic()
    try:
        step()
    except Failed as error:
        print(f"release: {name}: FAILED\n{error}", file=sys.stderr, flush=True)
        return "FAILED"
    took = f"ok {time.monotonic() - start:.0f} s"
    print(f"release: {name}: {took}", file=sys.stderr, flush=True)
    return took


def on_each_python(wheel: Path, sdist: Path, place: Path, full: bool) -> list[list[str]]:
    """Return the table: a row for each version of Python, a column for each of `STEPS`.

    The first Python that is here is tried once more, with the oldest versions of all packages that
    are allowed, if uv is there to find them.
    """
    rows = [["Python", *STEPS]]
    found = interpreters()
    for version, python in found.items():
        if python is None:
            rows.append([version, *["not here"] * len(STEPS)])
            continue
        rows.append(
            [version, *on_one_python(version, python, wheel, sdist, place / version, full, ())]
        )
    first, python = next(((v, p) for v, p in found.items() if p is not None), ("", None))
    if python is not None and shutil.which("uv") is not None:
        name = f"{first}, oldest"
        rows.append(
            [name, *on_one_python(name, python, wheel, sdist, place / "oldest", full, OLDEST)]
        )
    return rows


def table(rows: list[list[str]]) -> str:
    """Return rows as lines with aligned columns.

    >>> print(table([["Python", "use"], ["3.11", "ok"]]))
    Python  use
    3.11    ok
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def main(arguments: list[str]) -> int:
    """Make the release: 0 if all went well, 1 if anything failed or nothing may be released."""
    if arguments not in ([], ["--full"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        wrong = refusals()
        names = tracked() or []
    except Failed as error:
        wrong, names = [str(error)], []
    for line in wrong:
        print(f"release: refused: {line}", file=sys.stderr)
    if wrong:
        return 1
    with tempfile.TemporaryDirectory(prefix="kltheory-release-") as folder:
        place = Path(folder).resolve()
        files: list[Path] = []
        if tried("build", lambda: files.extend(build(ROOT, names, place))) == "FAILED":
            return 1
        held = [contents(file) for file in files]
        for line in complaints(held, names, (str(ROOT), str(place), str(Path.home()))):
            print(f"release: FAILED: {line}", file=sys.stderr)
            wrong.append(line)
        if wrong:
            return 1
        wheel, sdist, _ = files
        rows = on_each_python(wheel, sdist, place, "--full" in arguments)
        print(table(rows))
        if any("FAILED" in row for row in rows) or not any("ok" in c for r in rows for c in r):
            print("release: FAILED: nothing was put into dist/", file=sys.stderr)
            return 1
        (ROOT / "dist").mkdir(exist_ok=True)
        for file, inside in zip((wheel, sdist), held, strict=False):
            shutil.copy(file, ROOT / "dist" / file.name)
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            size = f"{len(inside)} files, {file.stat().st_size / 1e6:.2f} MB"
            print(f"dist/{file.name}: {size}, sha256 {digest}")
    version = version_of()
    print(f"Nothing was published.  Next: git tag -a v{version} -m 'kltheory {version}' && "
          f"git push origin v{version}")  # fmt: skip
    print(f"then: python -m twine upload dist/kltheory-{version}*")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
