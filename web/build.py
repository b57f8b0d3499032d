"""Build the page that needs no installation: static files, no request to any other host.

python web/build.py DIR           build it in DIR (about 15 MB), from the npm registry and PyPI
python web/build.py DIR --check   and try it in headless Chromium (needs node and chromium)

Serve it by any web server: python -m http.server --directory DIR
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = {"pyodide": "314.0.7", "katex": "0.16.22"}
WHEELS = ("sympy==1.14.0", "mpmath==1.3.0")
PYODIDE = (
    "pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json",
)  # fmt: skip


def run(*words: str, cwd: Path) -> str:
    return subprocess.run(words, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def npm(name: str, version: str, folder: Path) -> Path:
    """Fetch a package from the npm registry and unpack it."""
    said = json.loads(run("npm", "pack", "--json", f"{name}@{version}", cwd=folder))
    archive = folder / (said[0] if isinstance(said, list) else said[name])["filename"]
    with tarfile.open(archive) as file:
        file.extractall(folder / name, filter="data")
    return folder / name / "package"


def build(out: Path) -> None:
    """Write the whole page into a new folder, which then takes the place of `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        page = work / "page"
        (page / "wheels").mkdir(parents=True)
        for name in ("index.html", "app.js", "worker.js", "live.py"):
            shutil.copy(HERE / name, page)
        core = npm("pyodide", PACKAGES["pyodide"], work)
        (page / "pyodide").mkdir()
        for name in PYODIDE:
            shutil.copy(core / name, page / "pyodide")
        dist = npm("katex", PACKAGES["katex"], work) / "dist"
        (page / "katex" / "fonts").mkdir(parents=True)
        for name in ("katex.mjs", "katex.min.css"):
            shutil.copy(dist / name, page / "katex")
        for font in dist.glob("fonts/*.woff2"):
            shutil.copy(font, page / "katex" / "fonts")
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        run(*pip, "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(page / "wheels"),
            *WHEELS, cwd=work)  # fmt: skip
        run(
            *pip, "wheel", "-q", "--no-deps", "-w", str(page / "wheels"), str(HERE.parent), cwd=work
        )
        names = sorted(wheel.name for wheel in page.glob("wheels/*.whl"))
        (page / "wheels" / "list.json").write_text(json.dumps(names))
        if out.exists():
            if not (out / "wheels" / "list.json").exists() and any(out.iterdir()):
                sys.exit(f"{out} holds something else; give a new or empty folder")
            shutil.rmtree(out)
        shutil.copytree(page, out)
    files = [path for path in out.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    digest = hashlib.sha256(b"".join(sorted(path.read_bytes() for path in files))).hexdigest()
    print(f"{out}: {len(files)} files, {size / 1e6:.1f} MB, sha256 {digest[:16]}")


def check(out: Path) -> None:
    """Drive the page in headless Chromium: answers, sliders, errors, and no foreign request."""
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        run("npm", "install", "--no-save", "--silent", "playwright-core@1.64.1", cwd=work)
        shutil.copy(HERE / "check.mjs", work)
        print(run("node", "check.mjs", str(out.resolve()), cwd=work), end="")


if __name__ == "__main__":
    arguments = [word for word in sys.argv[1:] if word != "--check"]
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.exit(__doc__)
    build(Path(arguments[0]))
    if "--check" in sys.argv:
        check(Path(arguments[0]))
