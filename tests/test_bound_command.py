"""`kltheory bound` as a person meets it: whole runs, every format, every kind of bad input."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from importlib.resources import files

import jsonschema
import pytest

from kltheory.cli import main

SCHEMA = json.loads((files("kltheory") / "schemas" / "bound.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

MSE = ("--loss", "mse")
NUMBERS = ("--sigma-f", "1", "--sigma-j", "2", "--loss0", "2")
ANSI = "\x1b"


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "KLTHEORY_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bound(capsys):
    """Run the command; give its exit code, standard output and standard error."""

    def run(*arguments):
        code = main(["bound", *arguments])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return code, shown.out, shown.err

    return run


@pytest.fixture
def answer(bound):
    """Run the command; give its JSON, which fits the schema and has plain numbers only."""

    def run(*arguments):
        code, out, err = bound(*arguments, "--format", "json")
        assert (code, err) == (0, "")
        found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
        VALIDATOR.validate(found)
        return found

    return run


def program(*arguments, **env):
    """Run the command as a program of its own, its output piped."""
    return subprocess.run(
        [sys.executable, "-m", "kltheory", "bound", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        encoding="utf-8",
        timeout=150,
    )


# -- what it answers ---------------------------------------------------------------------------


def test_the_schema_is_a_schema():
    """The shipped schema is valid, and refuses an answer with a key too few."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert list(VALIDATOR.iter_errors({"schema": "kltheory/bound/1"}))


def test_the_first_example(answer):
    """α = 1/2 gives the exponential law of Corollary 3.3, with c left as it is."""
    found = answer("--loss", "lojasiewicz", "--alpha", "0.5")
    assert found["psi"] == {"expr": "c*sqrt(s)", "latex": r"c \sqrt{s}", "closed_form": True}
    assert found["Psi"]["expr"] == "-c**2*log(s)/4"
    assert found["Psi_inverse"]["expr"] == "exp(-4*gamma/c**2)"
    assert found["psi_inverse"]["expr"] == "p**2/c**2"
    assert found["rate"]["loss"] == "L0*exp(-4*kappa*t/c**2)"
    assert found["regime"] == found["parameter_regime"] == "exponential"
    assert found["parameters_without_value"] == ["c"]
    assert found["values"] == []
    assert found["kappa"] is found["stopping_time"] is found["extinction_time"] is None


def test_a_symbolic_exponent_gives_all_cases(answer):
    """Without α the law has three cases, and A-1 is said to exclude α > 1/2."""
    found = answer("--loss", "lojasiewicz")
    assert found["rate"]["loss"].startswith("Piecewise(")
    assert found["regime"] == "undetermined"
    smooth = next(a for a in found["assumptions"] if a["id"] == "A-1")
    assert "α > 1/2" in smooth["reason"]


def test_numbers_of_the_square_loss(answer):
    """For ψ = √(2s), κ = 1: L0 e^{-2t}, √(2L0) e^{-t}, t* = log(√(2L0)/‖ε‖), and (13)."""
    more = ("--noise", "0.5", "--mu", "2", "--lip-f", "3", "--dist", "0.25", "--at", "0,1/2,3")
    found = answer(*MSE, *NUMBERS, *more)
    assert found["kappa"] == 1.0
    assert found["constants"]["dist"] == "1/4"
    assert found["stopping_time"] == pytest.approx(1.3862943611198906, rel=1e-14)
    assert found["extinction_time"] is None
    assert [row["t"] for row in found["values"]] == [0.0, 0.5, 3.0]
    for row in found["values"]:
        decay = 2.718281828459045 ** -row["t"]
        assert row["loss"] == pytest.approx(2 * decay**2, rel=1e-14)
        assert row["log_decrease"] == pytest.approx(2 * row["t"], rel=1e-14)
        assert row["parameters"] == pytest.approx(2 * decay, rel=1e-14)
        assert row["observation"] == pytest.approx(2 * decay, rel=1e-14)
        assert row["signal"] == pytest.approx((2 * decay + 0.5) / 2 + 2.5 * 0.25, rel=1e-14)


def test_numbers_stay_exact(answer):
    """0.1 and 1/3 are the numbers that they say."""
    found = answer(*MSE, "--kappa", "1/3", "--loss0", "0.1", "--at", "1/3")
    assert found["constants"] == {"kappa": "1/3", "loss0": "1/10"}
    assert found["values"][0]["t_exact"] == "1/3"


def test_a_psi_that_starts_with_a_minus_sign(answer):
    """--psi takes -1/log(s), with or without an equals sign, and finds r0 = 1."""
    one = answer("--psi", "-1/log(s)")
    assert one == answer("--psi=-1/log(s)")
    assert one["radius"] == "1"
    assert (one["regime"], one["order"]) == ("polynomial", 1.0)
    assert one["parameter_regime"] == "logarithmic"
    assert one["rate"]["loss"].startswith("1/t up to factors")


def test_extinction_violates_the_smoothness_assumption(answer):
    """ψ = s: the loss is L0 - κt until it is 0; A-1 is violated and the rest is assumed."""
    found = answer("--psi", "s", "--kappa", "1", "--loss0", "2", "--noise", "0", "--at", "0,1,3")
    assert found["regime"] == "finite-time"
    assert found["extinction_time"] == found["stopping_time"]
    assert 2 <= found["extinction_time"] <= 2 + 1e-14
    losses = [row["loss"] for row in found["values"]]
    assert losses == pytest.approx([2, 1, 0], rel=1e-14)
    assert losses[2] == 0
    assert found["values"][-1]["log_decrease"] == "inf"
    status = {a["id"]: a["status"] for a in found["assumptions"]}
    assert status == {
        "A-1": "violated", "A-2": "assumed", "A-3": "assumed", "A-4": "assumed", "A-5": "assumed",
        "A-6": "assumed", "(8)": "assumed",
    }  # fmt: skip


def test_no_noise_means_never_stopping(answer):
    """Without noise the stopping time of a loss that never vanishes is infinite, in words."""
    found = answer(*MSE, *NUMBERS, "--noise", "0", "--at", "1")
    assert found["stopping_time"] == "inf"


def test_losses_far_below_and_above_all_floats(answer, bound):
    """A loss that underflows keeps its logarithm; one above all floats is a power of ten."""
    row = answer(*MSE, *NUMBERS, "--at", "1e6")["values"][0]
    assert row["loss"] == 5e-324
    assert row["log_decrease"] == pytest.approx(2e6)
    arguments = (*MSE, "--kappa", "1", "--loss0", "1e400", "--at", "0,10")
    rows = answer(*arguments)["values"]
    assert [r["loss"] for r in rows] == [None, None]
    assert rows[1]["log_decrease"] == pytest.approx(20)
    _, out, _ = bound(*arguments)
    assert "10^400" in out
    assert "10^391.315" in out  # 400 - 20/log(10) = 391.3141...
    assert "< 1e-323" in bound(*MSE, *NUMBERS, "--at", "1e6")[1]


def test_times_for_which_none_are_given(answer):
    """The default table starts at 0 and goes on until the loss has fallen by a million."""
    rows = answer(*MSE, *NUMBERS)["values"]
    assert rows[0]["t"] == 0
    assert 5 <= len(rows) <= 12
    assert rows[-1]["loss"] <= 2e-6


def test_printed_beside_corrected(answer):
    """The printed (11) lacks a factor, and the printed (12) depends on the constant in Ψ."""
    found = answer(*MSE, "--kappa", "1/4", "--loss0", "1", "--noise", "1/10", "--at", "0",
                   "--theory", "printed")  # fmt: skip
    assert found["values"][0]["parameters"] == pytest.approx(2 * 2**0.5)
    assert found["printed"]["values"][0]["parameters"] == pytest.approx(1.0)
    assert found["printed"]["stopping_time"] == pytest.approx(found["stopping_time"])
    assert found["theory"] == "corrected"


def test_sharp_form(answer):
    """With Λ = 0 the sharp law of the square loss decays like e^{-2 σ_F² σ_J² t}."""
    found = answer(*MSE, *NUMBERS, "--theory", "sharp", "--deviation", "0", "--at", "1")
    assert found["theory"] == "sharp"
    assert found["values"][0]["log_decrease"] == pytest.approx(8, rel=1e-12)
    assert next(a for a in found["assumptions"] if a["id"] == "(8)")["status"] == "met"


def test_gradient_descent(answer):
    """Descent has κ_η = η(1 - ηβ/2)κ: log(L0/L_j) = 2 κ_η j for the square loss."""
    found = answer(*MSE, *NUMBERS, "--step-size", "0.1", "--smoothness", "4", "--iterations",
                   "0,50", "--noise", "0.5")  # fmt: skip
    descent = found["descent"]
    assert [row["iteration"] for row in descent["values"]] == [0, 50]
    assert descent["values"][1]["log_decrease"] == pytest.approx(2 * 0.08 * 50)
    assert descent["stopping_iteration"] == 18  # log(2/0.5)/0.08 = 17.3


def test_derivation_in_every_format(bound, answer):
    """--derivation shows the steps and what was checked."""
    found = answer(*MSE, "--derivation")
    assert len(found["derivation"]) >= 8
    assert all(step["check"] for step in found["derivation"])
    for name in ("text", "markdown", "latex"):
        _, out, _ = bound(*MSE, "--derivation", "--format", name)
        assert "difference quotients at 5 points" in out


@pytest.mark.parametrize(
    ("arguments", "psi"),
    [
        (("--radial", "x**2/2"), "sqrt(2)*sqrt(s)"),
        (("--growth", "x**2/2"), "2*sqrt(2)*sqrt(s)"),
        (("--uniform-convexity", "mu*x**2/2", "--param", "mu=4"), "sqrt(2)*sqrt(s)/2"),
        (("--loss", "power", "--param", "p=1"), "sqrt(2)*s**(1/4)"),
        (("--psi", "c*s**a", "--param", "a=1/2"), "c*sqrt(s)"),
    ],
)
def test_ways_to_say_psi(arguments, psi, answer):
    """A loss, a growth condition, a modulus and a radial profile lead to their ψ."""
    assert answer(*arguments)["psi"]["expr"] == psi


def test_a_curve_has_no_psi_of_its_own(answer):
    """ℓ = e^x - 1 - x has no closed inverse: ψ is a curve, and ψ⁻¹ = ℓ is closed."""
    found = answer("--radial", "exp(x)-1-x")
    assert found["psi"]["closed_form"] is False
    assert found["curve"]["s"]["expr"] == "-x + exp(x) - 1"
    assert found["psi_inverse"]["expr"] == "-p + exp(p) - 1"


# -- samples -----------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """√(2s) at 33 samples from 1e-4 to 1e4."""
    lines = [f"{10 ** (k / 4)!r},{(2 * 10 ** (k / 4)) ** 0.5!r}" for k in range(-16, 17)]
    path = tmp_path / "psi.csv"
    path.write_text("s,psi\n0,0\n" + "\n".join(lines) + "\n")
    return str(path)


def test_samples_give_numbers_near_those_of_the_formula(table, answer):
    """33 samples of √(2s) reproduce e^{-2t} to a few per mille, and stop at the smallest one."""
    found = answer("--psi-table", table, "--kappa", "1", "--loss0", "1", "--at", "0,1,4,50",
                   "--noise", "0.1")  # fmt: skip
    losses = [row["loss"] for row in found["values"]]
    assert losses[:3] == pytest.approx([1, 2.718281828**-2, 2.718281828**-8], rel=5e-3)
    assert losses[3] == pytest.approx(1e-4)
    assert found["stopping_time"] == pytest.approx(2.649, rel=2e-3)
    assert found["regime"] == "undetermined"
    assert any("below s = 0.0001 nothing is claimed" in w for w in found["warnings"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "first line must be: s,psi"),
        ("a,b\n1,2\n", "first line must be: s,psi"),
        ("s,psi\n1,2\n", "1 samples with s > 0"),
        ("s,psi\n1,2\n2,1\n", "must increase"),
        ("s,psi\n1,2\n1,3\n", "twice"),
        ("s,psi\n1,2\n2\n", "line 3: two numbers"),
        ("s,psi\n1,nan\n2,3\n", "line 2: 'nan' is not a number"),
        ("s,psi\n0,1\n1,2\n2,3\n", "it must be 0"),
        ("s,psi\n-1,1\n1,2\n2,3\n", "not negative"),
        (b"\x89PNG\xff\xfe\x00", "not a text file"),
    ],
)
def test_bad_tables(content, message, tmp_path, bound):
    """A table that is not a table of an increasing ψ is refused, with the line."""
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, _, err = bound("--psi-table", str(path))
    assert code == 2
    assert message in err


# -- formats -----------------------------------------------------------------------------------


def test_piped_text_has_no_colours_and_no_cuts():
    """Piped output has no ANSI codes, no ellipsis, and formulas in one line, in 40 columns too."""
    done = program("--psi", "sqrt(s)/log(1/s)", "--limit", "100", COLUMNS="40")
    assert done.returncode == 0
    assert ANSI not in done.stdout
    assert "…" not in done.stdout
    assert "exp(-2/((-24κt + 1 - 6/log(L₀) + 12/log(L₀)² - 8/log(L₀)³)^(1/3) - 1))" in done.stdout


def test_a_stream_that_knows_only_ascii():
    """Where the terminal has no Greek, formulas are written as they would be typed."""
    done = program(*MSE, *NUMBERS, "--at", "1", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "?" not in done.stdout
    assert re.search(r"psi\(s\) +sqrt\(2\)\*sqrt\(s\)", done.stdout)


def test_colours_where_they_are_wanted(bound, monkeypatch):
    """FORCE_COLOR brings the page in colours with every number whole; NO_COLOR wins over it."""
    arguments = (*MSE, *NUMBERS, "--at", "0.3,0.7,1e-9,12345", "--theory", "printed")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = bound(*arguments)
    assert ANSI in out
    assert "…" not in out
    assert "assumed" in out
    monkeypatch.setenv("NO_COLOR", "1")
    _, plain, _ = bound(*arguments)
    assert ANSI not in plain
    numbers = re.findall(r"\d\.\d{4,}e?-?\d*", plain)
    assert len(numbers) > 5
    assert all(n in out for n in numbers)


def test_csv_is_the_table_of_values(bound):
    """CSV has a header, one row a time, and every digit."""
    code, out, _ = bound(*MSE, *NUMBERS, "--at", "0,1", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["t"] for row in rows] == ["0", "1"]
    assert float(rows[1]["loss"]) == pytest.approx(2 * 2.718281828459045**-2, rel=1e-15)
    assert rows[1]["signal"] == ""
    assert bound(*MSE, "--format", "csv")[0] == 2


def test_markdown_has_tables_and_formulas(bound):
    """Markdown has headings, formulas between dollars, and tables whose rows are equally long."""
    _, out, _ = bound(*MSE, *NUMBERS, "--at", "0,1", "--format", "markdown")
    assert out.startswith("## Convergence rate for $\\psi(s) = \\sqrt{2 s}$")
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", out, re.M)
    assert len(blocks) == 2
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_output_goes_to_a_file(bound, tmp_path):
    """--output writes the answer, and nothing else, to the file."""
    path = tmp_path / "answer.json"
    code, out, _ = bound(*MSE, "--format", "json", "--output", str(path))
    assert (code, out) == (0, "")
    VALIDATOR.validate(json.loads(path.read_text("utf-8")))


def test_help_has_an_example_for_every_way_in(bound):
    """The help shows examples, each of which is a command that works."""
    _, out, _ = bound("-h")
    examples = re.findall(r"kltheory bound (.*)", out)
    assert len(examples) >= 5


# -- what it refuses ---------------------------------------------------------------------------

BAD = [
    ((), "nothing says what ψ is"),
    ((*MSE, "--psi", "s"), "--loss and --psi are given"),
    (("--loss", "mes"), "did you mean mse?"),
    (("--loss", "logistic"), "not attained"),
    (("--loss", "mse", "--alpha", "1/2"), "--alpha belongs to --loss lojasiewicz"),
    (("--loss", "mse", "--param", "p=1"), "no parameter p"),
    (("--loss", "power", "--param", "p=-1"), "p >= 0"),
    (("--loss", "lojasiewicz", "--alpha", "2"), "alpha <= 1"),
    (("--loss", "lojasiewicz", "--alpha", "1/2", "--param", "alpha=1/2"), "by --alpha and by"),
    (("--loss", "mse", "--radius", "1"), "--radius does not go"),
    (("--psi", "log(s)"), "did you mean log(s + 1)?"),
    (("--psi", "s+"), "^"),
    (("--psi", "__import__('os')"), "^"),
    (("--psi", "s", "--param", "q=1"), "no parameter q"),
    (("--psi", "s", "--radius", "0"), "radius"),
    ((*MSE, "--loss0", "1"), "--kappa (or --sigma-f with --sigma-j)"),
    ((*MSE, "--at", "1"), "--loss0"),
    ((*MSE, "--noise", "1"), "--loss0"),
    ((*MSE, "--sigma-f", "1", "--loss0", "1"), "--sigma-j"),
    ((*MSE, "--kappa", "1", "--sigma-f", "1", "--loss0", "1"), "kappa"),
    ((*MSE, "--kappa", "nan", "--loss0", "1"), "'nan' is not a number"),
    ((*MSE, "--kappa", "inf", "--loss0", "1"), "'inf' is not a number"),
    ((*MSE, "--kappa", "-1", "--loss0", "1"), "positive"),
    ((*MSE, "--kappa", "0", "--loss0", "1"), "positive"),
    ((*MSE, "--kappa", "1", "--loss0", "0"), "positive"),
    ((*MSE, "--kappa", "1", "--loss0", "1", "--noise", "-1"), "non-negative"),
    ((*MSE, "--kappa", "1", "--loss0", "1", "--at", "1,x"), "'x' is not a number"),
    ((*MSE, "--kappa", "1", "--loss0", "1", "--at", "-1"), "non-negative"),
    ((*MSE, "--kappa", "1", "--loss0", "1", "--at", ""), "not a number"),
    (("--loss", "welsch", "--kappa", "1", "--loss0", "1"), "radius"),
    (("--loss", "lojasiewicz", "--kappa", "1", "--loss0", "1"), "--alpha and --c"),
    (("--psi", "c*s", "--kappa", "1", "--loss0", "1"), "--param c=..."),
    ((*MSE, "--theory", "printed"), "--loss0"),
    ((*MSE, "--theory", "sharp", "--kappa", "1", "--loss0", "1"), "instead of --kappa"),
    ((*MSE, "--theory", "sharp", *NUMBERS), "--deviation"),
    ((*MSE, "--theory", "sharp", *NUMBERS, "--deviation", "9"), "times too large"),
    ((*MSE, *NUMBERS, "--deviation", "1"), "belongs to --theory sharp"),
    ((*MSE, *NUMBERS, "--step-size", "1"), "--iterations and --smoothness"),
    ((*MSE, *NUMBERS, "--step-size", "1", "--smoothness", "2", "--iterations", "1"), "2/β"),
    ((*MSE, *NUMBERS, "--step-size", "0.1", "--smoothness", "2", "--iterations", "1.5"), "whole"),
    ((*MSE, "--limit", "0"), "--limit"),
    ((*MSE, "--digits", "0"), "--digits"),
    ((*MSE, "--format", "yaml"), "--format"),
    ((*MSE, "--output", "/no/such/folder/x"), "no directory"),
    (("--psi-table", "/no/such/file.csv"), "No such file"),
    (("--growth", "exp(-1/x)"), "too flat"),
    (("--uniform-convexity", "x**1.5"), "no differentiable function"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda a: " ".join(a)[:40])
def test_bad_input_is_refused_in_words(arguments, message, bound):
    """Bad input gives exit code 2 and at most four lines that say what is wrong."""
    code, out, err = bound(*arguments)
    assert code == 2, err
    assert out == ""
    assert message in err
    assert len(err.splitlines()) <= 4


def test_running_out_of_time_is_exit_code_3(bound):
    """A limit that is too small for the numbers gives exit code 3 and says how to raise it."""
    times = ",".join(map(str, range(1, 1000)))
    arguments = ("--kappa", "1", "--loss0", "1", "--limit", "0.001", "--at", times)
    code, _, err = bound("--psi", "sqrt(s)+s", *arguments)
    assert code == 3
    assert "--limit" in err


def test_what_the_first_example_loads():
    """The symbolic power law starts no worker, and loads neither NumPy nor SciPy nor rich."""
    code = """
import sys
from kltheory.cli import main
assert main(["bound", "--loss", "lojasiewicz", "--alpha", "0.5"]) == 0
loaded = [m for m in ("numpy", "scipy", "rich", "matplotlib") if m in sys.modules]
assert not loaded, loaded
from kltheory.symbolic import worker
assert not worker._idle
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
