"""The figures of the paper: their settings, their runs, and the numbers that are read off them."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kltheory.empirical.step_size import unstable_from
from kltheory.errors import InputError
from kltheory.numeric.reach import reachability
from kltheory.paper import readings, runs
from kltheory.paper.figures import FIGURES, read_manifest, recipe, reproduce
from kltheory.paper.fits import (
    border_ratio,
    expected_uniform_norm,
    fit_border,
    log_slope,
    mean_interval,
)
from kltheory.plot import draw_reproduction

SMALL = {
    "n": 30, "m": 5, "k": 60, "d": 4, "variance": "1/n", "activation": "sigmoid",
    "output": "rademacher", "engine": "both", "step": 2.0, "steps": 4000, "tol": 1e-7,
}  # fmt: skip


@pytest.fixture
def threads():
    """One thread of this process as the engine."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


# -- settings --------------------------------------------------------------------------------------

GIVEN = {
    "fig1a": {"m": 10, "d": 500, "steps": 25_000, "tol": 1e-7, "runs": 50},
    "fig1b": {"n": 60, "d": 500, "steps": 25_000, "tol": 1e-7, "runs": 50},
    "fig2a": {"n": 10, "m": 10, "p": 0.2, "steps": 200_000, "runs": 50},
    "fig2b": {"n": 1000, "m": 10, "d": 10, "p": 0.1, "steps": 25_000, "tol": 1e-7, "runs": 50},
    "fig3": {"n": 1000, "m": 10, "k": 800, "steps": 1_000_000, "tol": 1e-14, "runs": 50},
}
"""What Section 5 of HAL hal-04059168v1 gives, beside the sigmoid."""


@pytest.mark.parametrize("figure", FIGURES)
def test_settings_are_those_of_the_text_where_it_gives_them(figure):
    """What the text gives has its value and says so; all the rest is marked as chosen."""
    found = {s.name: s for s in recipe(figure).settings}
    given_by_text = {name: s.value for name, s in found.items() if s.source == "text"}
    assert given_by_text == {**GIVEN[figure], "activation": "sigmoid"}
    assert {s.source for s in found.values()} == {"text", "chosen"}
    assert all(s.note for s in found.values())
    assert {"step", "output"} <= {n for n, s in found.items() if s.source == "chosen"}


def test_figure_1_has_the_resolution_and_range_of_the_text():
    """20 x 20 cells of 50 networks, k from 20 to 1000, n >= 2m, m up to n = 60."""
    for figure, axis in (("fig1a", "n"), ("fig1b", "m")):
        chosen = recipe(figure)
        k, other = chosen.value("k"), chosen.value(axis)
        assert (len(k), len(other), k[0], k[-1]) == (20, 20, 20, 1000)
        assert len(list(chosen.sweep("exact", 0).cells())) == 400
    assert max(recipe("fig1b").value("m")) == 60


@pytest.mark.parametrize("figure", FIGURES)
def test_a_change_is_named_as_one(figure):
    """A setting of the user says what it was; the others keep their source."""
    changed = recipe(figure).with_values({"step": "0.5", "runs": 3})
    found = {s.name: s for s in changed.settings}
    assert (found["step"].value, found["step"].source) == (0.5, "changed")
    assert "the text gives 50" in found["runs"].note
    assert sum(s.source == "changed" for s in changed.settings) == 2


@pytest.mark.parametrize(
    ("figure", "values", "said"),
    [
        ("fig1a", {"q": "1"}, "no setting 'q'"),
        ("fig1a", {"k": "ten"}, "k: got 'ten'"),
        ("fig1a", {"k": "1_0"}, "k: got '1_0'"),
        ("fig1a", {"k": "0"}, ">= 1"),
        ("fig1a", {"tol": "nan"}, ">= 0"),
        ("fig1a", {"tol": "-1"}, ">= 0"),
        ("fig1a", {"m": "3,4"}, "give one value"),
        ("fig1a", {"m": "100"}, "m <= n"),
        ("fig2a", {"m": "5"}, "square"),
        ("fig3", {"step": "0"}, "positive"),
        ("fig3", {"output": "cauchy"}, "rademacher"),
        ("fig3", {"variance": "2/n"}, "1/sqrt"),
        ("fig3", {"activation": "relu"}, "sigmoid"),
        ("fig3", {"p": "0,0"}, "distinct"),
    ],
)
def test_settings_that_make_no_sense_are_refused(figure, values, said):
    """The sentence names the setting and what is allowed; nothing is run."""
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        recipe(figure).with_values(values).sweep("exact", 0)


# -- draws -----------------------------------------------------------------------------------------


def test_draws_follow_from_the_seed_alone():
    """The same seed gives the same F, x̄, ε and network; V does not depend on d."""
    (a, net_a), (b, net_b) = (runs.draw({**SMALL, "beta": 0.3}, 11) for _ in range(2))
    assert np.array_equal(a.operator, b.operator)
    assert np.array_equal(a.observation, b.observation)
    assert np.array_equal(net_a.z, net_b.z)
    _, other = runs.draw({**SMALL, "d": 9}, 11)
    assert np.array_equal(net_a.V, other.V)
    assert np.allclose(a.observation, a.operator @ a.signal + a.noise, rtol=1e-15, atol=1e-15)


def test_both_readings_of_the_variance():
    """ "N(0, 1/√n)" read as variance 1/n or 1/√n: the same draws, scaled."""
    given = {**SMALL, "m": 60, "n": 400}
    narrow, wide = (runs.draw({**given, "variance": v}, 3)[0] for v in runs.VARIANCES)
    # 24,000 entries: the deviation of the sample variance is 0.9 %.
    assert abs(narrow.operator.var() * 400 - 1) < 0.04
    assert np.allclose(wide.operator, narrow.operator * 400**0.25, rtol=1e-14)


@given(st.floats(0.0, 3.0), st.integers(0, 2**63 - 1))
@settings(max_examples=20)
def test_noise_is_uniform_on_its_level(beta, seed):
    """|ε_i| <= β, and ε scales with β."""
    noise = runs.draw({**SMALL, "beta": beta}, seed)[0].noise
    unit = runs.draw({**SMALL, "beta": 1.0}, seed)[0].noise
    assert (np.abs(noise) <= beta).all()
    assert np.array_equal(noise, beta * unit)


def test_operator_of_figure_2a():
    """One operator for all runs, with the singular values 1/(z²+1), z = 0 to 9, of Section 5."""
    given = {**SMALL, "n": 10, "m": 10, "operator_seed": 5}
    a, b = runs.draw(given, 1)[0].operator, runs.draw(given, 2)[0].operator
    assert np.array_equal(a, b)
    values = np.linalg.svd(a, compute_uv=False)
    assert np.allclose(values, [1 / (z * z + 1) for z in range(10)], rtol=1e-12)
    assert (
        recipe("fig2a").sweep("exact", 1).settings["operator_seed"]
        != (recipe("fig2a").sweep("exact", 2).settings["operator_seed"])
    )


# -- runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("work", [runs.convergence, runs.losses, runs.profiles])
def test_a_run_does_not_depend_on_its_company(work):
    """Three runs at once give the bits of three runs alone."""
    given = {**SMALL, "marks": 20, "steps": 300}
    together = work({}, given, [1, 2, 3])
    alone = [work({}, given, [seed])[0] for seed in (1, 2, 3)]
    assert together == alone


def test_descent_and_limit_differ_only_for_a_reason():
    """Around the border every disagreement is explained, none contradicts the theory."""
    seen = []
    for k in (30, 45, 60, 90):
        for (row,) in runs.convergence({"k": k}, SMALL, range(15)):
            found = dict(zip(runs.CONVERGENCE, row, strict=True))
            assert (found["explanation"] is None) == (found["converged"] is found["reaches"])
            assert found["explanation"] in (None, "budget", "border")
            if found["converged"]:
                assert found["loss"] < SMALL["tol"]
            else:
                assert found["loss"] >= found["limit_loss"] * (1 - 1e-9)
            seen.append(found["reaches"])
    assert 10 < sum(s is True for s in seen) < 50


def test_an_unstable_step_is_the_reason_where_it_is():
    """With a step beyond 2/λ_max descent fails where the flow does not: "step"."""
    rows = runs.convergence({"k": 200}, {**SMALL, "step": 200.0, "steps": 500}, range(6))
    why = [row[0][6] for row in rows]
    assert "step" in why
    assert set(why) <= {"step", None}


def test_engines_give_their_columns_alone():
    """Each engine fills its own columns, with the numbers that it gives in company."""
    both = runs.convergence({}, SMALL, [4, 5])
    descent = runs.convergence({}, {**SMALL, "engine": "descent"}, [4, 5])
    exact = runs.convergence({}, {**SMALL, "engine": "exact"}, [4, 5])
    assert [r[0][:4] for r in descent] == [r[0][:4] for r in both]
    assert [r[0][4:6] for r in exact] == [r[0][4:6] for r in both]
    assert all(r[0][4:] == [None] * 3 for r in descent)
    assert all(r[0][:4] == [None] * 4 for r in exact)


def test_signal_error_of_descent_follows_the_flow_to_its_limit():
    """Figure 2a: with a small step the two are close, and the limit obeys ‖ε‖/μ."""
    given = {**SMALL, "n": 4, "m": 4, "k": 400, "p": 0.2, "operator_seed": 1, "marks": 12,
             "steps": 20_000, "tol": 0.0, "step": 1.0}  # fmt: skip
    mu = 1 / 10
    for beta in (0.0, 0.1):
        for rows in runs.signal({"beta": beta}, given, [1, 2, 3]):
            *path, limit = rows
            assert [row[0] for row in path] == runs.marks(20_000, 12)
            assert path[0][1] == pytest.approx(path[0][2], rel=1e-12)
            for row in path:
                assert row[1] == pytest.approx(row[2], abs=0.02)
            assert limit[0] is None
            assert limit[5] is True
            assert limit[2] <= limit[4] / mu + 1e-6
            assert path[-1][2] == pytest.approx(limit[2], abs=0.15)


@pytest.mark.parametrize(
    ("figure", "cell", "room"),
    [
        ("fig1a", {"k": 92, "n": 20}, 2.0),
        ("fig1b", {"k": 552, "m": 60}, 2.0),
        ("fig2a", {"beta": 0.1}, 1.0),
        ("fig2b", {"k": 10, "beta": 2.0}, 2.0),
        ("fig3", {"p": 1.0}, 1.0),
    ],
)
def test_step_sizes_are_stable_with_the_room_that_is_claimed(figure, cell, room):
    """Where it is least stable, the step is below 2/λ_max of the start, by the factor of its note.

    Of Figure 1 at the border k = 9.2 m, and at the smaller k the limit is not reachable anyway.
    """
    sweep = recipe(figure).sweep("descent", 0)
    for seed in range(5):
        problem, network = runs.draw({**sweep.settings, **cell, "d": 5}, seed)
        assert room * sweep.settings["step"] <= unstable_from(problem, network, "hidden")


def test_final_loss_comes_down_to_its_limit():
    """Figure 2b: below the border the loss tends to that of box least squares, never below."""
    given = {**SMALL, "k": 12, "p": 0.1, "steps": 20_000, "beta": 1.0}
    close = 0
    for (row,) in runs.losses({}, given, range(6)):
        status, steps, loss, lower, upper = row
        assert lower <= upper <= lower * (1 + 1e-6) + 1e-12
        assert loss >= lower * (1 - 1e-9)
        close += loss <= 1.02 * upper
        assert (status, steps) == ("budget", 20_000)
    assert close >= 4


def test_profiles_end_on_the_slopes_of_corollary_3_3():
    """Figure 3: the loss falls as t^(-(p+1)/p), in descent and in the flow."""
    given = {**SMALL, "k": 200, "steps": 20_000, "marks": 40, "tol": 1e-14, "step": 1.0}
    table = {name: [] for name in ("p", *runs.PROFILES)}
    for p in (0.5, 1.0):
        for rows in runs.profiles({"p": p}, {**given, "p": p}, [1, 2]):
            for row in rows:
                for name, value in zip(table, (p, *row), strict=True):
                    table[name].append(value)
    columns = {name: np.array(values, dtype=object) for name, values in table.items()}
    values = {**given, "p": [0.5, 1.0], "runs": 2}
    results, shown, caption = readings.profiles(columns, values)
    for level, slope in zip(results["levels"], (-3.0, -2.0), strict=True):
        assert level["predicted_slope"] == slope
        for engine in ("descent", "exact"):
            assert level[engine]["slope"] == pytest.approx(slope, rel=0.05)
    assert "HAL v1" in caption
    assert shown["kind"] == "profiles"


def test_marks_are_multiples_of_ten_up_to_the_end():
    """The steps that are shown grow, start at 0, and end at the last multiple of ten."""
    for steps in (9, 10, 25_000, 200_000):
        found = runs.marks(steps, 30)
        assert found == sorted(set(found))
        assert all(s % 10 == 0 for s in found)
        assert (found[0], found[-1]) == (0, steps // 10 * 10)


# -- what is read off ------------------------------------------------------------------------------


def test_border_ratio_is_where_gaussian_boxes_reach():
    """At 0.75 and 1.35 times the expected border few and most Gaussian problems are reachable."""
    rng, m, shares = np.random.default_rng(5), 60, []
    for factor in (0.75, 1.35):
        k = round(factor * border_ratio() * m)
        wins = 0
        for _ in range(12):
            matrix = rng.standard_normal((m, k)) / np.sqrt(k)
            wins += bool(reachability(matrix, rng.standard_normal(m), 0.0, 1.0).attainable)
        shares.append(wins / 12)
    assert shares[0] <= 0.25
    assert shares[1] >= 0.75


def test_border_moves_out_with_the_power_of_the_observation():
    """A larger y needs more neurons, at least in proportion to what is added."""
    assert border_ratio(2.0) > border_ratio(1.0) > border_ratio(0.5) > 0
    # E[g a] <= E[g+] = 1/√(2π), so that k/m >= 2π power.
    assert border_ratio(3.0) >= 2 * np.pi * 3.0


@pytest.mark.parametrize("m", [1, 2, 10, 60])
def test_expected_norm_of_uniform_noise(m):
    """E‖ε‖ is what a simulation gives, between √m/2 and √(m/3), above the printed √(m/6)."""
    value = expected_uniform_norm(m)
    assert np.sqrt(m / 6) < np.sqrt(m) / 2 <= value < np.sqrt(m / 3)
    sample = np.linalg.norm(np.random.default_rng(m).uniform(-1, 1, (200_000, m)), axis=1)
    assert abs(sample.mean() - value) <= 5 * sample.std() / np.sqrt(sample.size)


@given(st.floats(0.0, 2.5), st.floats(20.0, 60.0), st.integers(0, 10**6))
@settings(max_examples=8)
def test_fit_finds_the_border_that_was_put_in(exponent, at, seed):
    """From 50 runs a cell the exponent comes back, within its interval or close to it."""
    x, k = np.meshgrid(np.geomspace(1, 8, 8), np.geomspace(2, 30_000, 30))
    share = 1 / (1 + (at * x**exponent / k) ** 4)
    wins = np.random.default_rng(seed).binomial(50, share)
    border = fit_border(x.ravel(), k.ravel(), wins.ravel(), np.full(x.size, 50))
    low, high = border.interval
    assert low < border.exponent < high
    # The interval has 95 %: allow twice its length, so that chance does not fail the test.
    assert low - (high - low) < exponent < high + (high - low)
    assert border.k(1.0) == pytest.approx(at, rel=0.25)


def test_no_border_no_fit():
    """Where all runs converge, or none, or the border is far away, there is nothing to fit."""
    k = np.array([10.0, 20.0, 40.0])
    for wins in ([0, 0, 0], [9, 9, 9]):
        assert fit_border(np.ones(3), k, wins, [9, 9, 9]) is None
    assert fit_border(np.ones(3), k, [9, 5, 1], [9, 9, 9]) is None
    one = fit_border(np.ones(3), k, [1, 5, 9], [9, 9, 9])
    assert one.exponent is None
    assert 10 < one.k_at < 40


def test_intervals_hold_what_they_say():
    """The bootstrap interval of a mean has the length of 1.96 standard errors to each side."""
    sample = np.random.default_rng(2).standard_normal(400)
    mean, std, low, high = mean_interval(sample)
    assert (mean, std) == (sample.mean(), sample.std(ddof=1))
    assert high - low == pytest.approx(2 * 1.96 * std / 20, rel=0.15)
    assert log_slope([1.0, 2.0], np.ones((3, 2))) is None


# -- making one ------------------------------------------------------------------------------------

TINY = {
    "fig1a": {"k": [30, 60, 120, 240], "n": [20, 40], "runs": 4, "steps": 2000},
    "fig1b": {"k": [30, 60, 120, 240], "m": [3, 9], "runs": 4, "steps": 2000},
    "fig2a": {"beta": [0.0, 0.1], "runs": 2, "steps": 2000, "k": 200},
    "fig2b": {"k": [20, 60, 200], "beta": [0.0, 1.0], "runs": 3, "steps": 1000, "n": 50},
    "fig3": {"p": [0.0, 0.5], "runs": 2, "steps": 3000, "k": 150, "n": 50},
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("engine", ["descent", "exact", "both"])
def test_every_figure_is_made_with_every_engine(figure, engine, tmp_path, threads):
    """Data, picture and manifest are written; the manifest makes the same data again."""
    made = reproduce(figure, tmp_path, engine=engine, settings=TINY[figure], executor=threads)
    manifest = json.loads((tmp_path / f"{figure}.json").read_text(encoding="utf-8"))
    assert manifest == json.loads(json.dumps(made.to_dict()))
    assert (tmp_path / f"{figure}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert made._repr_png_() == (tmp_path / f"{figure}.png").read_bytes()
    assert manifest["caption"] in repr(made)
    assert "HAL v1" in manifest["caption"]
    assert not manifest["failures"]
    if (figure, engine) in (("fig1b", "both"), ("fig2b", "exact")):
        wanted = read_manifest(tmp_path / f"{figure}.json")
        again = reproduce(**wanted, out=tmp_path / "again", executor=threads)
        assert again.manifest["files"] == manifest["files"]
        assert again.manifest["results"] == manifest["results"]


def test_agreement_is_counted(tmp_path, threads):
    """The manifest says on how many runs descent and limit agree, and why not on the others."""
    made = reproduce("fig1b", tmp_path, settings=TINY["fig1b"], executor=threads)
    agreement = made.manifest["results"]["agreement"]
    lines = (tmp_path / "fig1b.csv").read_text().splitlines()
    named = lines[0].split(",")
    rows = [dict(zip(named, line.split(","), strict=True)) for line in lines[1:]]
    assert agreement["runs"] == len(rows) == 32
    assert agreement["agree"] == sum(r["converged"] == r["reaches"] for r in rows)
    assert sum(agreement["differ_because"].values()) == 32 - agreement["agree"]
    assert agreement["agree_away"] <= agreement["runs_away"] <= 32


def test_without_matplotlib_there_is_everything_but_the_picture(tmp_path, threads, monkeypatch):
    """The manifest says what to install."""

    def missing(shown, path):
        raise ImportError("no matplotlib")

    monkeypatch.setattr("kltheory.plot.draw_reproduction", missing)
    made = reproduce("fig2b", tmp_path, settings=TINY["fig2b"], executor=threads)
    assert made.manifest["files"]["image"] is None
    assert made._repr_png_() is None
    assert "kltheory[plot]" in made.manifest["warnings"][0]
    assert (tmp_path / "fig2b.csv").exists()


def test_a_run_that_fails_is_in_the_manifest(tmp_path, threads, monkeypatch):
    """Its cell, its seed and its error; the figure is made of the others."""
    chosen = recipe("fig2b").at("small").with_values(TINY["fig2b"])
    bad = chosen.sweep("both", 0).seed_of({"k": 60, "beta": 1.0}, 2)
    drawn = runs.draw

    def draw(given, seed):
        if seed == bad:
            raise ArithmeticError("no such matrix")
        return drawn(given, seed)

    monkeypatch.setattr(runs, "draw", draw)
    made = reproduce("fig2b", tmp_path, settings=TINY["fig2b"], executor=threads)
    error = "ArithmeticError: no such matrix"
    cell = {"k": 60, "beta": 1.0}
    assert made.manifest["failures"] == [{"cell": cell, "run": 2, "seed": bad, "error": error}]
    assert made.manifest["warnings"] == ["1 runs failed and are missing"]


def test_if_all_fail_the_first_error_is_said(tmp_path, threads, monkeypatch):
    """No figure is made of nothing."""

    def draw(given, seed):
        raise ArithmeticError("no such matrix")

    monkeypatch.setattr(runs, "draw", draw)
    with pytest.raises(InputError, match=r"all runs failed.*no such matrix"):
        reproduce("fig2b", tmp_path, settings=TINY["fig2b"], executor=threads)
    assert not (tmp_path / "fig2b.json").exists()


@pytest.mark.parametrize(
    "harm",
    [
        lambda m: m.update(schema="kltheory/bound/1"),
        lambda m: m.update(figure="fig9"),
        lambda m: m.pop("settings"),
        lambda m: m.update(seed="0"),
        lambda m: m["settings"].append({"name": "k", "value": "many"}),
        lambda m: m["settings"].append({"name": "k", "value": []}),
        lambda m: m["settings"].append(7),
        lambda m: m["settings"].append({"name": "new", "value": 7}),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, threads, harm):
    """What cannot be made again is said to be so, not half made."""
    made = reproduce("fig2b", tmp_path, settings=TINY["fig2b"], engine="exact", executor=threads)
    manifest = json.loads(json.dumps(made.manifest))
    harm(manifest)
    path = tmp_path / "harmed.json"
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError):
        recipe(read_manifest(path)["figure"]).with_values(read_manifest(path)["settings"])


def test_files_that_are_no_manifest_are_refused(tmp_path):
    """Missing, binary, deeply nested: one sentence each."""
    with pytest.raises(InputError, match="cannot read"):
        read_manifest(tmp_path / "none.json")
    for content in (b"\xff\xfe", b"[" * 100_000, b"{}", b"NaN", b""):
        path = tmp_path / "x.json"
        path.write_bytes(content)
        with pytest.raises(InputError, match="no manifest"):
            read_manifest(path)


def test_a_picture_of_one_cell_is_drawn(tmp_path):
    """Axes of one value, maps without a border."""
    shown = {
        "kind": "convergence", "axis": "n", "x": [20], "k": [50], "m": 10, "ratio": 9.2,
        "maps": {"exact": [[1.0]]}, "borders": {"exact": None}, "steps": 10, "step": 1.0,
        "tol": 1e-7, "said": "one cell",
    }  # fmt: skip
    draw_reproduction(shown, tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000
