"""`kltheory check` as it is called: formats, exit codes, files, and what it refuses."""

import csv
import io
import json
from importlib.resources import files

import jsonschema
import numpy as np
import pytest

from kltheory import cli

SCHEMA = json.loads((files("kltheory") / "schemas" / "check.json").read_text("utf-8"))
SMALL = ["check", "--gaussian", "2x3", "--k", "30", "--times", "0,1,5"]


def run(words, capsys):
    """Exit code, standard output, standard error."""
    code = cli.main(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def data(tmp_path):
    """A run of θ' = -r on the square loss, in closed form."""
    t = np.linspace(0, 5, 11)
    r = np.exp(-t)
    path = tmp_path / "run.csv"
    rows = "\n".join(
        f"{a!r},{b**2 / 2!r},{b!r}" for a, b in zip(t.tolist(), r.tolist(), strict=True)
    )
    path.write_text(f"t,loss,parameters\n{rows}\n", encoding="utf-8")
    return path


GIVEN = ["--psi", "sqrt(2*s)", "--sigma-f", "1", "--sigma-j", "1"]


@pytest.mark.parametrize(
    "more",
    [
        ["--train", "both"],
        ["--activation", "tanh", "--loss", "huber", "--param", "delta=2"],
        ["--train", "both", "--output-init", "zero", "--noise-level", "0.1"],
    ],
)
def test_json_keeps_its_schema(more, capsys):
    """Every JSON answer is valid by the schema that is shipped, and says whether all holds."""
    code, out, _ = run([*SMALL, *more, "--format", "json"], capsys)
    answer = json.loads(out)
    jsonschema.validate(answer, SCHEMA)
    assert code == 0
    assert answer["holds"] is True
    assert answer["t"] == [0, 1, 5]
    names = {(c["bound"], c["theory"]) for c in answer["checks"]}
    for bound in ("(10)", "(11)"):
        assert {(bound, theory) for theory in ("printed", "corrected", "sharp")} <= names


def test_descent_answers_by_the_schema_too(capsys):
    """Descent has its factor c in the answer, and its own guarantees beside those of the flow."""
    words = ["check", "--gaussian", "2x3", "--k", "30", "--method", "descent", "--steps", "10"]
    code, out, _ = run([*words, "--verified", "--train", "both", "--format", "json"], capsys)
    answer = json.loads(out)
    jsonschema.validate(answer, SCHEMA)
    assert code == 0
    assert answer["decrease"] >= 0.48
    assert "(10) descent" in {c["bound"] for c in answer["checks"]}


def test_a_violation_ends_with_code_1(data, capsys):
    """With a σ_F that is too large the corrected bound is violated; printed violations alone are
    counted and leave the code at 0."""
    code, out, _ = run(["check", "--trajectory", str(data), *GIVEN, "--format", "json"], capsys)
    answer = json.loads(out)
    jsonschema.validate(answer, SCHEMA)
    assert (code, answer["holds"], answer["printed_violated"]) == (0, True, 1)
    wrong = ["--psi", "sqrt(2*s)", "--sigma-f", "3", "--sigma-j", "1"]
    code, out, _ = run(["check", "--trajectory", str(data), *wrong, "--format", "json"], capsys)
    assert code == 1
    assert json.loads(out)["holds"] is False


def test_the_loss_may_be_named(data, capsys):
    """--loss mse is --psi sqrt(2*s)."""
    first = run(["check", "--trajectory", str(data), *GIVEN, "--format", "csv"], capsys)
    named = ["--loss", "mse", "--sigma-f", "1", "--sigma-j", "1", "--format", "csv"]
    assert run(["check", "--trajectory", str(data), *named], capsys) == first


def test_trajectories_come_from_standard_input_and_npz(data, tmp_path, capsys, monkeypatch):
    """`-` reads CSV; an NPZ with the same columns gives the same answer."""
    words = [*GIVEN, "--format", "csv"]
    expected = run(["check", "--trajectory", str(data), *words], capsys)
    monkeypatch.setattr("sys.stdin", io.StringIO(data.read_text("utf-8")))
    assert run(["check", "--trajectory", "-", *words], capsys) == expected
    columns = np.genfromtxt(data, delimiter=",", names=True)
    path = tmp_path / "run.npz"
    np.savez(path, **{name: columns[name] for name in columns.dtype.names})
    assert run(["check", "--trajectory", str(path), *words], capsys) == expected


def test_csv_has_one_line_for_each_check(data, capsys):
    """The CSV is read back with its verdicts."""
    _, out, _ = run(["check", "--trajectory", str(data), *GIVEN, "--format", "csv"], capsys)
    rows = list(csv.DictReader(io.StringIO(out)))
    found = {(r["bound"], r["theory"]): r["verdict"] for r in rows}
    assert found["(10)", "corrected"] == "holds"
    assert found["Corollary 3.3, θ", "printed"] == "violated"
    assert len(found) == len(rows)


def test_pages_say_what_was_found(data, capsys):
    """Text and Markdown name the guarantee, its verdict and that it is the printed one."""
    for kind in ("text", "markdown"):
        _, out, _ = run(["check", "--trajectory", str(data), *GIVEN, "--format", kind], capsys)
        assert "Corollary 3.3" in out
        assert "violated" in out
        assert "as printed (HAL v1)" in out


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_figure_has_its_data_and_its_manifest(data, tmp_path, capsys, suffix):
    """--plot writes the figure, a CSV of every curve and a JSON by the schema; the same call gives
    the same bytes."""
    pytest.importorskip("matplotlib")
    plot = tmp_path / f"figure{suffix}"
    words = ["check", "--trajectory", str(data), *GIVEN, "--plot", str(plot)]
    code, _, _ = run(words, capsys)
    assert code == 0
    written = {p.suffix: p.read_bytes() for p in tmp_path.glob("figure.*")}
    assert set(written) == {suffix, ".csv", ".json"}
    assert len(written[suffix]) > 5000
    rows = list(csv.DictReader(io.StringIO(written[".csv"].decode())))
    assert [float(r["t"]) for r in rows] == np.linspace(0, 5, 11).tolist()
    assert float(rows[0]["(10) corrected"]) == 0.5
    manifest = json.loads(written[".json"])
    assert manifest.pop("figure") == plot.name
    assert manifest.pop("version")
    jsonschema.validate(manifest, SCHEMA)
    run(words, capsys)
    assert {p.suffix: p.read_bytes() for p in tmp_path.glob("figure.*")} == written


def test_drawing_changes_no_setting_of_matplotlib(data, tmp_path, capsys):
    """The figure is made without pyplot: the user's settings stay as they are."""
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    run(["check", "--trajectory", str(data), *GIVEN, "--plot", str(tmp_path / "f.png")], capsys)
    assert dict(matplotlib.rcParams) == before


def test_several_runs_are_drawn_as_a_band():
    """A figure of several runs at the same times has the band of the least and the largest."""
    pytest.importorskip("matplotlib")
    from kltheory.checks import check_trajectory
    from kltheory.plot import check_figure

    t = np.linspace(0, 4, 9)
    runs = [
        check_trajectory(t, np.exp(-2 * a * t) / 2, psi="sqrt(2*s)", sigma_f=1, sigma_j=1)
        for a in (1.0, 1.5, 2.0)
    ]
    axes = check_figure(runs).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[0] == "3 trajectories"
    edge = axes.get_lines()[0].get_ydata()
    assert np.allclose(edge, np.exp(-2 * t) / 2)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "--operator FILE and --gaussian"),
        (["--gaussian", "2x3", "--psi", "s"], "--psi goes with --trajectory"),
        (["--gaussian", "2x3", "--steps", "5"], "--steps is for --method descent"),
        (["--gaussian", "2x3", "--plot", "figure.txt"], "a figure is written as"),
        (["--gaussian", "2x3", "--method", "descent", "--steps", "1/2"], "--steps"),
        (["--gaussian", "2x3", "--times", "1,0"], "increasing"),
        (["--trajectory", "no-such.csv", *GIVEN], "no-such.csv"),
        (["--trajectory", "RUN", "--sigma-f", "1", "--sigma-j", "1"], "--psi"),
        (["--trajectory", "RUN", *GIVEN, "--loss", "mse"], "one of --psi"),
        (["--trajectory", "RUN", *GIVEN, "--k", "5"], "--k is for a network"),
        (["--trajectory", "RUN", "--psi", "sqrt(2*s)"], "sigma_f and sigma_j"),
        (["--trajectory", "RUN", "--psi", "sqrt(2*", "--kappa", "1"], "sqrt(2*"),
        (["--trajectory", "RUN", *GIVEN, "--precision", "float7"], "precision"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line_or_two(words, part, data, capsys):
    """Wrong options end with code 2 and say which, what is allowed, and nothing on stdout."""
    given = [str(data) if word == "RUN" else word for word in words]
    code, out, err = run(["check", *given], capsys)
    assert (code, out) == (2, "")
    assert part in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 4


def test_columns_are_named(tmp_path, capsys):
    """A table without loss is refused with the columns it has; one that is not known is named."""
    path = tmp_path / "run.csv"
    path.write_text("t,l\n0,1\n1,0.5\n")
    code, _, err = run(["check", "--trajectory", str(path), *GIVEN], capsys)
    assert code == 2
    assert "no column loss; it has: t, l" in err
    path.write_text("t,loss,lr\n0,1,0.1\n1,0.5,0.1\n")
    code, out, _ = run(["check", "--trajectory", str(path), *GIVEN, "--format", "json"], capsys)
    assert json.loads(out)["warnings"] == ["columns that are not used: lr"]
