"""The house: what may import what, what is loaded when, and how errors leave the command line."""

import ast
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kltheory
from kltheory import cli
from kltheory.cli import options
from kltheory.errors import InputError, LimitReached, ParseError

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kltheory"


def python(code: str, *, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


# -- imports ---------------------------------------------------------------------------------


def imported(source: str, package: str) -> set[str]:
    """The absolute names of all modules that a source text imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None]
            base = ".".join([*parents, node.module or ""]) if node.level else node.module or ""
            # `from package import module` imports package.module; of others the base is enough.
            inner = base.rstrip(".") == "kltheory"
            names |= {f"kltheory.{alias.name}" for alias in node.names} if inner else {base}
    return names


def allowed_in_symbolic(name: str) -> bool:
    """Whether kltheory.symbolic may import this module."""
    if name.split(".")[0] == "kltheory":
        return name.startswith(("kltheory.errors", "kltheory.symbolic"))
    return name.split(".")[0] in {*sys.stdlib_module_names, "sympy", "mpmath", "flint"}


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("from kltheory.errors import InputError", True),
        ("from kltheory import errors", True),
        ("from . import parse", True),
        ("from .parse import read", True),
        ("import sympy.core", True),
        ("import json", True),
        ("import kltheory", False),
        ("from kltheory import problem", False),
        ("from .. import problem", False),
        ("from ..problem import Problem", False),
        ("def f():\n    import kltheory.numeric.curve", False),
        ("def f():\n    from numpy import array", False),
    ],
)
def test_the_reader_of_imports_sees_every_form(line, allowed):
    """Each form of import is recognised, also inside a function."""
    names = imported(line, "kltheory.symbolic")
    assert names
    assert all(map(allowed_in_symbolic, names)) == allowed


def test_symbolic_imports_only_errors_of_ours():
    """The exact statements stand on SymPy and on kltheory.errors alone."""
    files = sorted((PACKAGE / "symbolic").rglob("*.py"))
    assert files
    for file in files:
        package = ".".join(file.relative_to(ROOT).parent.parts)
        bad = {n for n in imported(file.read_text("utf-8"), package) if not allowed_in_symbolic(n)}
        assert not bad, f"{file.relative_to(ROOT)} imports {bad}"


def test_symbolic_works_without_numpy_and_scipy(tmp_path):
    """Every module of kltheory.symbolic is imported where numpy and scipy do not exist."""
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in sorted((PACKAGE / "symbolic").rglob("[a-z]*.py"))
    ]
    code = f"""
import importlib, sys
for name in ("numpy", "scipy"):
    sys.modules[name] = None
for name in {["kltheory.symbolic", *names]!r}:
    importlib.import_module(name)
"""
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "action",
    [
        "import kltheory; kltheory.__version__; dir(kltheory)",
        "from kltheory.cli import main; assert main(['--help']) == 0",
        "from kltheory.cli import main; assert main(['--version']) == 0",
        "from kltheory.cli import main; assert main(['--cite']) == 0",
        "from kltheory.cli import main; assert main(['nonsense']) == 2",
    ],
)
def test_what_needs_no_mathematics_loads_none(action, tmp_path):
    """Importing the package and asking for help load neither SymPy nor NumPy nor SciPy nor rich."""
    heavy = ("sympy", "mpmath", "numpy", "scipy", "rich", "matplotlib", "flint")
    code = f"import sys\n{action}\nassert not [m for m in {heavy} if m in sys.modules]"
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_violating_import_breaks_its_contract(tmp_path):
    """Each import contract is broken by an import that it forbids, and none without one."""
    shutil.copytree(PACKAGE, tmp_path / "kltheory", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    contracts = re.findall(r'^name = "([A-Z].*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert len(contracts) >= 7

    def broken() -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200", "NO_COLOR": "1"},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        names = {name for name in contracts if re.search(re.escape(name) + r" BROKEN", done.stdout)}
        assert all(
            re.search(re.escape(name) + r" (KEPT|BROKEN)", done.stdout) for name in contracts
        )
        assert (done.returncode != 0) == bool(names), done.stdout + done.stderr
        return names

    assert broken() == set()
    (tmp_path / "kltheory/empirical/intruder.py").write_text(
        "import kltheory.numeric, kltheory.symbolic\n\ndef f():\n    import click, matplotlib\n"
    )
    (tmp_path / "kltheory/symbolic/intruder.py").write_text("import numpy\nimport kltheory.cli\n")
    (tmp_path / "kltheory/numeric/intruder.py").write_text("def f():\n    import sympy.core\n")
    assert broken() == set(contracts)


# -- the project's pages -----------------------------------------------------------------------


def test_all_pages_name_the_same_version():
    """CITATION.cff and the command line say the version of the package."""
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version: {kltheory.__version__}\n" in citation
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", kltheory.__version__)


def test_ci_runs_the_commands_of_readme():
    """CI runs each command that README promises, builds the documentation, and nothing else."""
    promised = set(
        re.findall(r"^python3 dev\.py \w+", (ROOT / "README.md").read_text("utf-8"), re.M)
    )
    run = set(re.findall(r"^python3 dev\.py \w+", (ROOT / ".ci/run").read_text("utf-8"), re.M))
    assert promised == {"python3 dev.py demo", "python3 dev.py test"}
    assert run == promised | {"python3 dev.py docs"}


def test_constraints_are_plain_versions():
    """constraints.txt pins what the package needs to versions, and names no address."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pin = re.compile(r"([a-z0-9-]+)==[0-9][0-9a-z.]*( ; [a-z_]+ [<=>!]+ '[\w.*]+'( (and|or) .*)?)?")
    assert all(pin.fullmatch(line) for line in lines)
    names = {line.split("==")[0] for line in lines}
    assert names >= {"sympy", "numpy", "scipy", "click", "rich", "pytest", "ruff", "mypy"}


# -- the command line --------------------------------------------------------------------------


def run(monkeypatch, capsys, failure):
    """Run a command that raises `failure`; return the exit code and what stderr shows."""

    @click.command()
    def command():
        raise failure

    monkeypatch.setattr(cli.cli, "get_command", lambda ctx, name: command)
    code = cli.main(["bound"])
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return code, err


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_listed_command_loads_and_has_help(name, capsys):
    """Each command of the table exists, and its help says what it does and shows an example."""
    module, line = cli.COMMANDS[name]
    assert isinstance(importlib.import_module(module).command, click.Command)
    assert line
    assert cli.main([name, "-h"]) == 0
    assert f"kltheory {name} " in capsys.readouterr().out.partition("\n")[2]


def test_help_lists_every_command(capsys):
    """`kltheory` alone, `-h` and `--help` show all commands with one line each."""
    shown = []
    for words in ([], ["-h"], ["--help"]):
        assert cli.main(words) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] == shown[2]
    for name, (_, line) in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", shown[0], re.M)


def test_cite_prints_software_and_paper(capsys):
    """`--cite` gives one BibTeX entry each for the software and the paper."""
    assert cli.main(["--cite"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("@software{kltheory,")
    assert f"version = {{{kltheory.__version__}}}" in out
    assert "@misc{buskulic2023convergence," in out
    assert "hal-04059168v1" in out
    assert out.count("{") == out.count("}")


def test_an_error_shows_its_caret_under_its_place(monkeypatch, capsys):
    """The caret line of a parse error stays aligned with the text above it."""
    code, err = run(monkeypatch, capsys, ParseError("no name q", text="s + q*s", position=4))
    assert code == 2
    assert err == "kltheory: no name q\n  s + q*s\n      ^\n"


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        (InputError("alpha is 2"), 2, "kltheory: alpha is 2\n"),
        (LimitReached("10 s"), 3, "kltheory: 10 s\n"),
        (click.UsageError("no"), 2, "kltheory: no\nTry 'kltheory bound -h' for help.\n"),
        (click.FileError("f.csv", "gone"), 2, "kltheory: Could not open file 'f.csv': gone\n"),
        (MemoryError(), 3, "kltheory: the memory limit was reached; ask for less at once\n"),
        (OSError(28, "No space left", "f"), 2, "kltheory: No space left: f\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.exceptions.Exit(1), 1, ""),
        (
            ZeroDivisionError("x"),
            70,
            "kltheory: internal error, ZeroDivisionError: x\nKLTHEORY_DEBUG=1 shows where.\n",
        ),
    ],
)
def test_errors_become_exit_codes(monkeypatch, capsys, failure, code, text):
    """Every kind of failure has its exit code and its message, and none a traceback."""
    monkeypatch.delenv("KLTHEORY_DEBUG", raising=False)
    assert run(monkeypatch, capsys, failure) == (code, text)


def test_debug_shows_the_traceback(monkeypatch, capsys):
    """KLTHEORY_DEBUG=1 lets the error through."""
    monkeypatch.setenv("KLTHEORY_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, capsys, ZeroDivisionError())


def test_a_command_returns_its_exit_code(monkeypatch):
    """What a command returns is the exit code of the program."""
    for result, code in ((None, 0), (0, 0), (1, 1), (3, 3)):
        command = click.Command("bound", callback=lambda result=result: result)
        monkeypatch.setattr(cli.cli, "get_command", lambda ctx, name, command=command: command)
        assert cli.main(["bound"]) == code


@pytest.mark.skipif(os.name == "nt", reason="pipes are different there")
@pytest.mark.parametrize("words", [["-h"], ["--cite"]])
def test_a_reader_that_goes_away_is_no_error(words):
    """When the reader of a pipe has gone, the command ends without a word."""
    read, write = os.pipe()
    os.close(read)
    program = [sys.executable, "-m", "kltheory", *words]
    done = subprocess.run(program, stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line():
    """When standard output cannot be written, one line says so."""
    with open("/dev/full", "w") as full:
        program = [sys.executable, "-m", "kltheory", "--cite"]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "kltheory: No space left on device\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_terminal_shows_any_letter(encoding, tmp_path):
    """ψ, √ and bytes that are no text at all never crash a terminal, whatever its encoding."""
    code = """
import sys
from kltheory import cli
from kltheory.cli.options import emit
print(cli.main(["--version"]))
emit("ψ(s) = √s ≤ 1 é \\udcff")
sys.exit(cli.main(["α\\udcff"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    printed = done.stdout.decode(encoding)
    assert "ψ(s) = √s ≤ 1" in printed or "psi(s) = sqrts <= 1" in printed
    assert b"Traceback" not in done.stderr
    assert b"No such command" in done.stderr


# -- shared options ----------------------------------------------------------------------------


@given(st.fractions(), st.integers(-30, 30))
def test_a_number_is_read_exactly(number, power):
    """Reading what was written gives the same rational number."""
    assert options.exact(str(number)) == number
    assert options.exact(f"{number.numerator}e{power}") == number.numerator * Fraction(10) ** power


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", Fraction(1, 2)),
        (" 1/3 ", Fraction(1, 3)),
        ("-.25", Fraction(-1, 4)),
        ("5.", Fraction(5)),
        ("1e-300", Fraction(1, 10**300)),
        ("1e400", Fraction(10**400)),
        ("1E+10000", Fraction(10**10000)),
    ],
)
def test_numbers_that_floats_cannot_hold(text, value):
    """Decimals and fractions stay exact, far beyond the range of floats."""
    assert options.exact(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *["", "nan", "inf", "-Infinity", "True", "one", "1/0", "1/2/3", "1_000", "0x10", "1e", "٣"],
        *["--1", "1e10001", "1e-10001", "1e999999999", "1e9999999999", "9" * 1001],
        *["1,5", "1 2", "1/", "1j", "1e1/", "\n", "1\n2"],
    ],
)
def test_what_is_no_number_is_refused_in_one_line(text):
    """Anything that is not a finite decimal or fraction of reasonable size is refused at once."""
    with pytest.raises(InputError) as caught:
        options.exact(text)
    assert 0 < len(str(caught.value)) < 150
    assert "\n" not in str(caught.value)


def answer(words, capsys):
    """Call a command that has all shared options; return its exit code and its lines."""

    @click.command()
    @click.option("--alpha", type=options.EXACT, default="1/2")
    @click.option("--psi")
    @click.option("--at", type=options.EXACT_LIST, default="0")
    @options.param_option
    @options.format_option("text", "json")
    @options.output_option
    def command(alpha, psi, at, params, output_format, output):
        shown = [str(x) for x in at]
        named = {k: str(v) for k, v in params.items()}
        options.emit(f"{alpha} {psi} {shown} {named} {output_format}", output)

    group_get = cli.cli.get_command
    cli.cli.get_command = lambda ctx, name: command
    try:
        code = cli.main(["bound", *words])
    finally:
        cli.cli.get_command = group_get
    return code, capsys.readouterr()


def test_options_are_read_exactly(capsys):
    """Numbers, lists and parameters arrive as rationals; a minus sign may begin a value."""
    words = "--alpha 0.1 --psi -1/log(s) --at 0,1/3,-1e2 --param p=0.2 --param α=3 --format json"
    code, printed = answer(words.split(), capsys)
    assert (code, printed.err) == (0, "")
    assert printed.out == "1/10 -1/log(s) ['0', '1/3', '-100'] {'p': '1/5', 'α': '3'} json\n"
    assert answer([], capsys)[1].out == "1/2 None ['0'] {} text\n"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--alpha nan", "'nan' is not a number: a number is decimal text"),
        ("--at 1,,2", "separate numbers by commas"),
        ("--param 0.2", "'0.2' is not NAME=VALUE, such as p=0.2"),
        ("--param p=x", "p: 'x' is not a number"),
        ("--param p=1 --param p=2", "a name is given twice"),
        ("--format csv", "'csv' is not one of 'text', 'json'"),
        ("--output .", "'.' is a directory; give a file in it"),
        ("--output no/such/place/f", "there is no directory 'no/such/place'; make it first"),
        ("--output " + 5000 * "x", "File name too long"),
    ],
)
def test_wrong_options_are_explained(words, part, capsys):
    """A wrong value is refused before any work, in two lines that say what is allowed."""
    code, printed = answer(words.split(), capsys)
    assert (code, printed.out) == (2, "")
    assert part in printed.err
    assert printed.err.count("\n") == 2


def test_json_has_schema_and_warnings_and_only_numbers():
    """An answer names its schema, always has warnings, and NaN never becomes JSON."""
    assert options.json_text({"schema": "kltheory/x/1"}).endswith('"warnings": []\n}')
    assert '"warnings": [\n    "w"\n  ]' in options.json_text(
        {"schema": "kltheory/x/1", "warnings": ("w",)}
    )
    for wrong in ({}, {"schema": "kltheory/x/1", "t": float("nan")}):
        with pytest.raises(ValueError, match=r"schema|[Oo]ut of range"):
            options.json_text(wrong)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """A failing write leaves the old file and no leftovers; a good one replaces it."""
    target = tmp_path / "answer.json"
    options.emit("old", target)
    target.chmod(0o640)

    def fail(*_):
        raise OSError(5, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(InputError, match=r"cannot write .*answer\.json.*: broken"):
            options.emit("new", target)
    assert target.read_text() == "old\n"
    options.emit("ψ\n", target)
    assert target.read_text(encoding="utf-8") == "ψ\n"
    assert list(tmp_path.iterdir()) == [target]
    assert os.name == "nt" or target.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links and devices")
def test_links_and_devices_stay_what_they_are(tmp_path):
    """A link still points to its file, and a device is written, not replaced."""
    target, link, null = tmp_path / "file", tmp_path / "link", tmp_path / "null"
    link.symlink_to(target)
    null.symlink_to("/dev/null")
    options.emit("text", link)
    options.emit("text", null)
    assert link.is_symlink()
    assert target.read_text() == "text\n"
    assert Path("/dev/null").is_char_device()


def test_no_module_hides_a_public_name():
    """`kl.certify` is the function, whatever was imported before: no module has its name."""
    modules = {module.name for module in pkgutil.iter_modules(kltheory.__path__)}
    assert not modules & set(kltheory.__all__)
