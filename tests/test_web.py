"""The page that runs in a browser: what it is told, and that it needs neither NumPy nor SciPy."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kltheory as kl

WEB = Path(__file__).resolve().parents[1] / "web"
CHROMIUM = shutil.which("chromium")

spec = importlib.util.spec_from_file_location("live", WEB / "live.py")
live = importlib.util.module_from_spec(spec)
spec.loader.exec_module(live)


def ask(what, *arguments):
    return json.loads(live.answer(json.dumps({"what": what, "arguments": arguments})))


@pytest.mark.parametrize(
    ("psi", "regime"),
    [("sqrt(s)", "exponential"), ("s", "finite-time"), ("s**(1/4)", "polynomial"),
     ("sqrt(s)+s", "exponential"), ("-1/log(s)", "polynomial")],
)  # fmt: skip
def test_the_page_says_what_the_package_says(psi, regime):
    """Regime and formulas are those of the law."""
    said = ask("law", psi)
    assert said["ok"]
    assert said["regime"] == kl.rate(psi).regime.loss == regime
    assert said["formulas"][0][1]
    assert said["parameters"] == []


@pytest.mark.parametrize("psi", ["sqrt(s)", "s", "s**(1/4)", "sqrt(s)+s", "c*s**alpha"])
def test_the_curve_is_the_bound(psi):
    """The points of the curve lie on Ψ⁻¹(κt + Ψ(L0)) as the package computes it."""
    values = {"c": "2", "alpha": "0.3"} if "alpha" in psi else {}
    drawn = ask("curve", psi, values, "0.5", "0.5")
    bound = kl.rate(psi, **values).bound(kappa="1/2", loss0="1/2")
    for t, loss in list(zip(drawn["t"], drawn["loss"], strict=True))[::9]:
        assert bound.loss(t) == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(
    ("request_", "words"),
    [(("law", "s*log(s)"), "must increase"), (("law", "__import__('os')"), ""),
     (("curve", "sqrt(s)", {}, "0", "1"), "positive"), (("curve", "sqrt(s)", {}, "x", "1"), ""),
     (("curve", "c*sqrt(s)", {}, "1", "1"), "c"), (("law", ""), "")],
)  # fmt: skip
def test_a_bad_request_gets_a_sentence(request_, words):
    """Nothing that is typed breaks the page."""
    said = ask(*request_)
    assert not said["ok"]
    assert words in said["error"]


def test_the_symbolic_part_needs_no_numpy():
    """In a Python without NumPy and SciPy the page's module answers."""
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numpy", "scipy", "rich", "click", "flint"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import live
print(live.answer('{"what": "law", "arguments": ["sqrt(s)+s"]}'))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=WEB,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout)["regime"] == "exponential"


in_a_browser = pytest.mark.skipif(
    not (CHROMIUM and shutil.which("npm")), reason="needs chromium and npm"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The folder of the page, as a server would give it out."""
    folder = tmp_path_factory.mktemp("web") / "page"
    done = subprocess.run(
        [sys.executable, str(WEB / "build.py"), str(folder)],
        capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@in_a_browser
def test_the_page_is_built(page):
    """All that the page needs is in one folder."""
    assert (page / "index.html").read_bytes() == (WEB / "index.html").read_bytes()
    assert (page / "pyodide" / "pyodide.asm.wasm").exists()
    wheels = json.loads((page / "wheels" / "list.json").read_text("utf-8"))
    assert {wheel.partition("-")[0] for wheel in wheels} == {"kltheory", "mpmath", "sympy"}


@pytest.mark.slow
@in_a_browser
def test_the_page_works_in_a_browser(page):
    """Driven in headless Chromium: right answers, and no foreign request."""
    check = "import sys, pathlib, build; build.check(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", check, str(page)],
        cwd=WEB, capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "all answers right" in done.stdout
