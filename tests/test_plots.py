"""Figures of results: each draws itself, and what is written beside it says what it shows."""

import csv
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import kltheory as kl
from kltheory import report, sliders
from kltheory.cli import main
from kltheory.drawn import bound_figure, curve_times, law_figure, shown, widths_figure
from kltheory.errors import InputError

pytest.importorskip("matplotlib")

PSI = ("sqrt(2*s)", "s**(1/4)", "s**(3/4)", "sqrt(s) + s", "-1/log(s)")
WIDTHS = {"n": 20, "m": 10, "sigma_f": 0.5, "norm_f": 1, "y_norm": 3.2, "failure": 0.05}


def bound_of(psi, **more):
    """The bound of a ψ for κ = 1/4, L0 = 1/20."""
    return kl.rate(psi).bound(kappa="1/4", loss0="1/20", **more)


def texts(figure):
    """All that is written in a figure."""
    figure.draw_without_rendering()
    labels = [t.get_text() for ax in figure.axes for t in ax.texts]
    legends = [t.get_text() for ax in figure.axes if ax.get_legend() for t in ax.get_legend().texts]
    return "\n".join([figure.get_suptitle(), *labels, *legends])


@pytest.fixture(scope="module")
def checked():
    """A check of a small network."""
    problem = kl.Problem(np.array([[0.6, 0.8]]), [0.3])
    return kl.check(problem, kl.TwoLayerNetwork.draw(n=2, k=200, d=4, seed=0), points=12)


# -- what is drawn ------------------------------------------------------------------------------


@pytest.mark.parametrize("psi", PSI)
def test_the_line_of_a_bound_is_the_bound(psi):
    """The curves of the figure are the values of the bound, which fall from L0 by a factor 10⁶."""
    bound = bound_of(psi)
    figure, columns = bound_figure(bound.law, bound)
    line = figure.axes[0].lines[0]
    seen = np.isfinite(line.get_ydata())
    assert seen[0]
    assert np.array_equal(line.get_ydata()[seen], bound.loss(line.get_xdata()[seen]))
    assert columns["loss"][0] >= 0.98 * 0.05
    assert columns["loss"][-1] <= 1.01e-6 * 0.05
    assert np.array_equal(columns["parameters"], bound.parameters(columns["t"]))


@pytest.mark.parametrize(("psi", "logarithmic"), [(PSI[0], False), (PSI[1], True)])
def test_the_axis_of_time_suits_the_regime(psi, logarithmic):
    """An exponential law is a straight line over t, a polynomial one over log t."""
    assert curve_times(bound_of(psi))[1] == logarithmic


def test_the_figure_of_a_bound_names_its_constants_and_the_time_to_stop():
    """Parameters and t* are written in the figure."""
    bound = kl.rate("sqrt(2*s)").bound(kappa="1/4", loss0=2, noise="0.1")
    said = texts(bound.plot())
    for word in ("= 0.25", "= 2", "= 0.1", f"{bound.stopping_time():.4g}"):
        assert word in said


def test_the_signal_is_drawn_where_it_is_bounded():
    """With μ, L_F, dist and the noise there is a third panel, with the bound (13)."""
    more = {"noise": "0.1", "mu": "1/2", "lip_f": 1, "dist": 0}
    bound = bound_of("sqrt(2*s)", **more)
    figure, columns = bound_figure(bound.law, bound)
    assert len(figure.axes) == 3
    assert np.array_equal(columns["signal"], bound.signal(columns["t"]))
    assert len(bound_of("sqrt(2*s)").plot().axes) == 2


def test_a_loss_that_vanishes_is_marked_and_not_drawn_as_a_number():
    """Where the bound is 0 there is no line, and the time from which on it is 0 is written."""
    bound = bound_of("s**(3/4)")
    figure, columns = bound_figure(bound.law, bound)
    assert columns["loss"][-1] == 0
    assert math.isnan(figure.axes[0].lines[0].get_ydata()[-1])
    assert f"extinct at {bound.extinction_time():.4g}" in texts(figure)


@pytest.mark.parametrize("psi", PSI)
def test_the_figure_of_a_law_shows_psi(psi):
    """The left panel is ψ: the points (s, ψ(s)) by its own formula."""
    law = kl.rate(psi)
    _, columns = law_figure(law)
    d = law.desingularizer
    for i in (0, 40, 100):
        s = float(columns["loss"][i])
        assert columns["psi"][i] == pytest.approx(float(d.value.subs(d.symbol, s)), rel=1e-9)
    assert law.regime.loss in texts(law.plot())


def test_a_law_with_parameters_says_what_it_needs():
    """Without values for c and α there is nothing to draw."""
    with pytest.raises(InputError, match="parameters without a value"):
        kl.rate("c*s**alpha").plot()


@pytest.mark.parametrize("train", ["hidden", "both"])
def test_each_theorem_has_its_row(train):
    """Every row of the widths is a line of the figure, at its number of neurons."""
    found = kl.width(train=train, **WIDTHS)
    figure, columns = widths_figure(found)
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == [row.theorem for row in found.rows]
    drawn = {
        (round(y[0]), x[0])
        for x, y in (line.get_data() for line in ax.lines)
        if len(x) == 1
    }  # fmt: skip
    assert drawn == {(i, r.log10_k) for i, r in enumerate(found.rows) if r.log10_k is not None}
    assert columns["theory"] == [row.theory for row in found.rows]
    assert "n = 20, m = 10, sigmoid" in texts(figure)


def test_a_check_draws_itself(checked):
    """check.plot() is the figure of --plot."""
    assert checked.title in texts(checked.plot())


# -- what is written ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["law", "bound", "widths", "check"])
def test_data_and_manifest_lie_beside_a_figure(kind, tmp_path, checked):
    """A figure that is written has its numbers as CSV and its settings as JSON beside it."""
    result = {
        "law": lambda: kl.rate("sqrt(2*s)"),
        "bound": lambda: bound_of("sqrt(2*s)"),
        "widths": lambda: kl.width(train="both", **WIDTHS),
        "check": lambda: checked,
    }[kind]()
    path = tmp_path / "figure.svg"
    result.plot(path)
    assert b"<svg" in path.read_bytes()
    manifest = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert manifest["figure"] == path.name
    assert manifest["schema"] == result.to_dict()["schema"]
    rows = list(csv.reader(path.with_suffix(".csv").read_text("utf-8").splitlines()))
    assert len(rows) > 5
    assert len({len(row) for row in rows}) == 1


def test_a_figure_shows_itself_in_a_notebook_without_pyplot():
    """A figure has a PNG of its own, and no setting of Matplotlib is touched."""
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert bound_of("sqrt(2*s)").plot()._repr_png_().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


def test_a_name_that_is_no_figures_is_refused(tmp_path):
    """The message says how figures are written."""
    with pytest.raises(InputError, match="a figure is written as"):
        shown(law_figure(kl.rate("sqrt(s)")), tmp_path / "figure.txt", {})


# -- on the command line ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["bound", "--loss", "mse"],
        ["bound", "--loss", "mse", "--kappa", "1", "--loss0", "1"],
        ["bound", "--loss", "mse", "--sigma-f", "1", "--sigma-j", "2", "--loss0", "1/10",
         "--theory", "sharp", "--deviation", "1"],
        ["width", "--n", "5", "--m", "5", "--sigma-f", "0.5", "--norm-f", "1", "--x-inf", "1",
         "--failure", "0.05"],
    ],
)  # fmt: skip
def test_commands_draw(words, tmp_path, capsys):
    """--plot writes the figure, its data and its manifest, and the answer is as without it."""
    assert main(words) == 0
    plain = capsys.readouterr().out
    assert main([*words, "--plot", str(tmp_path / "f.png")]) == 0
    assert capsys.readouterr().out == plain
    assert {f.name for f in tmp_path.iterdir()} == {"f.png", "f.csv", "f.json"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("f.txt", "a figure is written as"),
        ("nowhere/f.png", "there is no directory"),
        ("-", "a figure goes to a file"),
    ],
)
def test_a_figure_that_cannot_be_written_is_refused_before_the_work(
    name, said, capsys, monkeypatch
):
    """A wrong name ends the command with code 2 and computes nothing."""
    monkeypatch.setattr("kltheory.cli.bound._answer", lambda **_: pytest.fail("it worked"))
    assert main(["bound", "--loss", "mse", "--plot", name]) == 2
    assert said in capsys.readouterr().err


def test_a_table_of_psi_is_drawn_where_there_are_numbers(tmp_path, capsys):
    """Samples have bounds but no law to draw; the title says where ψ comes from."""
    rows = [f"{s:.6g},{math.sqrt(2 * s):.6g}" for s in np.geomspace(1e-8, 2, 60)]
    (tmp_path / "psi.csv").write_text("\n".join(["s,psi", *rows]), "utf-8")
    words = ["bound", "--psi-table", str(tmp_path / "psi.csv"), "--plot", str(tmp_path / "f.svg")]
    assert main(words) == 2
    assert "needs numbers" in capsys.readouterr().err
    assert main([*words, "--kappa", "1", "--loss0", "1"]) == 0
    assert (tmp_path / "f.svg").exists()


def test_the_sketch_falls_as_the_bound_does(capsys):
    """Each column of --sketch is at most as high as the one before, and the ends are named."""
    words = ["bound", "--loss", "mse", "--kappa", "1/4", "--loss0", "2", "--sketch"]
    assert main(words) == 0
    sketch = capsys.readouterr().out.split("L(y(t))\n")[-1]
    rows = [line.split("|")[1] for line in sketch.splitlines() if "|" in line]
    lengths = [len(row) for row in rows]
    assert lengths == sorted(lengths)
    assert lengths[-1] == 60
    assert lengths[0] < 12
    assert "2.0e+00 |" in sketch
    assert re.search(r"t from 0 to 27\.63", sketch)


def test_a_sketch_needs_numbers(capsys):
    """Without numbers there is no curve."""
    assert main(["bound", "--loss", "mse", "--sketch"]) == 2
    assert "--sketch" in capsys.readouterr().err


def test_a_sketch_of_nothing_says_so():
    """Values that a logarithm does not have are no curve."""
    assert "nothing to draw" in report.sketch("L", "t", [0, 1], [0.0, math.inf])


# -- sliders ------------------------------------------------------------------------------------


def test_a_scene_holds_what_the_library_says():
    """The margins and the bound of a scene are those of `certify` and `rate`, in force or not."""
    found = sliders.scene(k=100)
    assert found.margins["S1"] < 1 < found.margins["V"]
    assert found.holds == {"P": False, "S1": False, "V": True, "C": True}
    later = found.t > 0
    assert np.all(found.loss[later] <= found.certified[later])
    assert np.all(np.diff(found.bound) < 0)


def test_alpha_and_c_change_the_clock_and_no_certificate():
    """For functions of ‖v - y‖ the path is the same: so are the margins."""
    plain, other = sliders.scene(k=50), sliders.scene(k=50, alpha="1/4", c=0.7)
    for name, margin in plain.margins.items():
        assert other.margins[name] == pytest.approx(margin, rel=1e-6)
    assert other.t[-1] != pytest.approx(plain.t[-1], rel=0.1)


@pytest.mark.parametrize(
    "wrong", [{"alpha": "0.4"}, {"c": 0}, {"sigma": math.nan}, {"noise": -1}, {"k": 0}]
)
def test_settings_out_of_range_are_refused(wrong):
    """The message names the setting and its range."""
    (name,) = wrong
    with pytest.raises(InputError, match=f"{name}: got"):
        sliders.scene(**wrong)


def test_without_ipywidgets_there_is_a_picture(monkeypatch):
    """The result shows a PNG and a line of text, and no widget."""
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    found = kl.explore(k=20)
    assert found.widget is None
    shows = found._repr_mimebundle_()
    assert set(shows) == {"text/plain", "image/png"}
    assert shows["text/plain"] == repr(sliders.scene(k=20))


def test_a_slider_redraws_the_picture():
    """Moving one changes the picture; a value that cannot be used says why."""
    pytest.importorskip("ipywidgets")
    found = kl.explore(k=20)
    *sliders, said, picture = found.widget.children
    before = bytes(picture.value)
    by_name = {slider.description: slider for slider in sliders}
    assert set(by_name) == {"α", "c", "σ", "‖ε‖", "k"}
    by_name["k"].value = 200
    assert bytes(picture.value) != before
    assert bytes(picture.value).startswith(b"\x89PNG")
    assert said.value == ""
    shows = found._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(shows)


def test_the_notebooks_show_the_picture_without_a_kernel():
    """In the executed notebooks the sliders are stored as a picture."""
    folder = Path(__file__).resolve().parents[1] / "notebooks"
    outputs = [
        output["data"]
        for path in sorted(folder.glob("*.ipynb"))
        for cell in json.loads(path.read_text("utf-8"))["cells"]
        if "kl.explore(" in "".join(cell["source"]) and cell["cell_type"] == "code"
        for output in cell["outputs"]
    ]
    assert len(outputs) >= 2
    for data in outputs:
        assert "image/png" in data
        assert not any("widget" in kind for kind in data)
