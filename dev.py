"""Set up, show and test kltheory on a machine that has only Python 3.11 or newer.

python3 dev.py demo            the answer of `kltheory bound --loss lojasiewicz --alpha 0.5`
python3 dev.py test [-- ARGS]  lint, types, import contracts, all tests; ARGS go to pytest
python3 dev.py lint            the same without the tests
python3 dev.py docs            the theory with its proofs and the reference: docs/_build/html
python3 dev.py release         wheel and sdist in dist/, tried on every Python that is here; with
                               --full by all tests that are not slow

The first run makes a virtual environment in .venv (another place: KLTHEORY_VENV) and installs
into it, with uv where it is on PATH, else with pip.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("KLTHEORY_VENV") or ROOT / ".venv").resolve()
BIN, EXE = (VENV / "Scripts", ".exe") if os.name == "nt" else (VENV / "bin", "")
PYTHON = str(BIN / f"python{EXE}")
DEMO = [[PYTHON, "-m", "kltheory", "bound", "--loss", "lojasiewicz", "--alpha", "0.5"]]
LINT = [
    [PYTHON, "-m", "ruff", "check", "."],
    [PYTHON, "-m", "ruff", "format", "--check", "."],
    [PYTHON, "-m", "mypy", "--strict", "kltheory"],
    [str(BIN / f"lint-imports{EXE}")],
]
# Every warning and every broken link is an error; nothing is fetched from a network.
DOCS = [
    [PYTHON, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", "-E", "docs", "docs/_build/html"]
]


def install(extras: str) -> None:
    """Install the package with its extras, once per Python and state of its requirements."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    needs = hashlib.sha256(b"\0".join([*parts, str(ROOT).encode()])).hexdigest()
    state = ["Python " + sys.version.replace("\n", " "), needs]
    stamp = VENV / "kltheory-installed.txt"
    found = stamp.read_text().splitlines() if stamp.exists() else []
    done = found[2:] if found[:2] == state else []
    if extras in done or (not extras and done):
        return
    print(f"dev.py: installing into {VENV} (once, about a minute)", file=sys.stderr, flush=True)
    if not done:
        # Only an environment of this script, made by another Python, is made anew.
        venv.create(VENV, with_pip=True, clear=bool(found) and found[0] != state[0])
        stamp.unlink(missing_ok=True)
    uv = shutil.which("uv")
    pip = [uv, "pip", "install", "--python", PYTHON] if uv else [PYTHON, "-m", "pip", "install"]
    what = ["-q", "-c", "constraints.txt", "-e", f".[{extras}]" if extras else "."]
    subprocess.run([*pip, *what], cwd=ROOT, check=True)
    stamp.write_text("\n".join([*state, *done, extras]) + "\n")


def main(arguments: list[str]) -> int:
    """Run all steps of a task; 1 if any of them failed."""
    task, rest = (arguments or [""])[0], arguments[1:]
    test = [*LINT, [PYTHON, "-m", "pytest", *rest[1:]]]
    release = [[PYTHON, "release.py", *rest]]
    tasks = {"demo": DEMO, "lint": LINT, "docs": DOCS, "test": test, "release": release}
    allowed = {"test": rest[:1] == ["--"], "release": rest == ["--full"]}
    if task not in tasks or (rest and not allowed.get(task, False)):
        print(__doc__, file=sys.stderr)
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036
        print("dev.py: kltheory needs Python 3.11 or newer, this is", sys.version, file=sys.stderr)
        return 2
    try:
        install(
            {"demo": "", "release": "", "docs": "docs"}.get(task, "dev,plot,certified,notebooks")
        )
    except subprocess.CalledProcessError as error:
        print("dev.py: the installation failed:", *error.cmd, file=sys.stderr)
        print(f"dev.py: for a fresh start remove {VENV}", file=sys.stderr)
        return 1
    failed = []
    for step in tasks[task]:
        print("dev.py: $", Path(step[0]).name, *step[1:], file=sys.stderr, flush=True)
        if subprocess.run(step, cwd=ROOT).returncode != 0:
            failed.append(" ".join([Path(step[0]).name, *step[1:]]))
    for step in failed:
        print("dev.py: FAILED:", step, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
