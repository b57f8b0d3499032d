"""Hostile manifests and stores: refused in two lines, or used; never changed where they are bad."""

import copy
import json
import random
import shutil
import sqlite3
import warnings

import pytest
from test_hostile_options import InThread, complaint

from kltheory import __version__, cli, plot
from kltheory.paper import sweep

SETTINGS = ["n=12", "k=20,40", "beta=0", "steps=20"]
CALL = ["reproduce", "fig2b", *(w for s in SETTINGS for w in ("--set", s)), "--runs", "2"]


@pytest.fixture(autouse=True)
def _in_thread(monkeypatch, request):
    """No new processes; pictures, which take longest, in the slow tests only."""
    monkeypatch.setattr(sweep, "_LocalPool", InThread)
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(plot, "draw_reproduction", lambda shown, path: path.touch())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a tiny figure, its manifest and its store."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "_LocalPool", InThread)
        assert cli.main([*CALL, "--out", str(folder), "--output", str(folder / "said.txt")]) == 0
    return folder


def called(words, capsys):
    """Run a call; return its exit code after looking at how it ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code = cli.main(words)
    out, err = capsys.readouterr()
    assert complaint(code, out, err) is None, (complaint(code, out, err), err[:400])
    return code, err


# -- manifests -------------------------------------------------------------------------------------

VALUES = [
    *[None, True, 0, -1, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x" * 9999],
    *["fig3", "\x1b[31m", "paper", "1/2", [], [[]], [1], {}, {"name": "k"}, [{"name": "k"}]],
]


def places(value, path=()):
    """Every place in a manifest, the lists by their first entries."""
    yield path
    pairs = value.items() if isinstance(value, dict) else []
    pairs = enumerate(value[:3]) if isinstance(value, list) else pairs
    for key, inner in pairs:
        yield from places(inner, (*path, key))


def harmed(manifest, path, value):
    """The manifest with another value at a place; KeyError removes it."""
    if not path:
        return value
    changed = copy.deepcopy(manifest)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


def every_harm(manifest):
    """Every place with every value; a setting also with what is far out of its range."""
    names = ("schema", "figure", "scale", "engine", "seed", "settings", "files", "versions")
    for path in places(manifest):
        if path and path[0] not in names:
            continue
        for value in [*VALUES, KeyError]:
            # A setting that is left out has the size of the figure, which takes long.
            left_out = len(path) < 3 and path[:1] == ("settings",) and value in (KeyError, [])
            if (path or value is not KeyError) and not left_out:
                yield path, value


def hold_manifests(some, made, tmp_path, capsys):
    """Each harmed manifest is refused and left, or made again."""
    manifest = json.loads((made / "fig2b.json").read_text("utf-8"))
    bad = tmp_path / "bad.json"
    for i, (path, value) in enumerate(some):
        text = json.dumps(harmed(manifest, path, value))
        bad.write_text(text)
        out = tmp_path / f"out{i}"
        code, err = called(["reproduce", "--manifest", str(bad), "--out", str(out)], capsys)
        assert bad.read_text() == text
        assert code in (0, 1) or (err and not list(out.glob("*.csv"))), (path, str(value)[:40])


def test_a_sample_of_harmed_manifests_is_refused(made, tmp_path, capsys):
    """Some of the places and values below."""
    manifest = json.loads((made / "fig2b.json").read_text("utf-8"))
    some = random.Random(0).sample(list(every_harm(manifest)), 100)
    hold_manifests(some, made, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_every_harmed_manifest_is_refused(made, tmp_path, capsys, part):
    """Another value, or none, at every place that is read."""
    manifest = json.loads((made / "fig2b.json").read_text("utf-8"))
    hold_manifests(list(every_harm(manifest))[part::20], made, tmp_path, capsys)


def test_a_manifest_in_pieces_is_refused(made, tmp_path, capsys):
    """Truncated anywhere, or with bytes changed, it is no manifest, or the figure is made."""
    whole = (made / "fig2b.json").read_bytes()
    chance = random.Random(3)
    bad = tmp_path / "bad.json"
    for i in range(30):
        data = bytearray(whole[: chance.randrange(len(whole) - 3)] if i % 2 else whole)
        for _ in range(chance.choice([0, 1, 5]) if data else 0):
            data[chance.randrange(len(data))] = chance.randrange(256)
        bad.write_bytes(data)
        words = ["reproduce", "--manifest", str(bad), "--out", str(tmp_path / f"o{i}")]
        code, _ = called(words, capsys)
        assert code == 2 or i % 2 == 0
        assert bad.read_bytes() == data


def test_a_manifest_of_another_figure_is_refused(made, tmp_path, capsys):
    """The settings of one figure under the name of another."""
    manifest = json.loads((made / "fig2b.json").read_text("utf-8"))
    (tmp_path / "bad.json").write_text(json.dumps({**manifest, "figure": "fig1a"}))
    code, err = called(["reproduce", "--manifest", str(tmp_path / "bad.json")], capsys)
    assert code == 2
    assert "is no manifest of a figure: its setting n" in err
    (tmp_path / "bad.json").write_text(json.dumps({**manifest, "schema": "kltheory/reproduce/2"}))
    code, err = called(["reproduce", "--manifest", str(tmp_path / "bad.json")], capsys)
    assert (code, "kltheory/reproduce/1" in err) == (2, True)


def test_again_is_never_compared_with_itself(made, tmp_path, capsys):
    """--out that would write over the manifest itself is refused."""
    shutil.copytree(made, tmp_path / "copy")
    manifest = tmp_path / "copy" / "fig2b.json"
    before = manifest.read_bytes()
    words = ["reproduce", "--manifest", str(manifest), "--out", str(tmp_path / "copy")]
    code, err = called(words, capsys)
    assert (code, "is read: write to another file" in err) == (2, True)
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("name", ["fig2b.csv", "fig2b.png", "fig2b.json"])
def test_files_of_others_are_kept(made, tmp_path, capsys, name):
    """What has the name of a result and is none is refused before the work."""
    (tmp_path / name).write_text("mine\n")
    code, err = called([*CALL, "--out", str(tmp_path)], capsys)
    assert (code, "move it away" in err) == (2, True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine\n")]
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    code, err = called([*CALL, "--out", str(tmp_path)], capsys)
    assert (code, "is a directory" in err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_results_without_their_store_are_made_again(made, tmp_path, capsys):
    """A manifest says that the files beside it are results, also where the store is gone."""
    shutil.copytree(made, tmp_path / "copy")
    (tmp_path / "copy" / "fig2b.sqlite").unlink()
    (tmp_path / "copy" / "fig2b.csv").write_text("lost")
    assert called([*CALL, "--out", str(tmp_path / "copy")], capsys)[0] == 0
    assert (tmp_path / "copy/fig2b.csv").read_bytes() == (made / "fig2b.csv").read_bytes()


# -- stores ----------------------------------------------------------------------------------------


STATEMENTS = [
    "DROP TABLE about",
    "DROP TABLE runs",
    "DROP TABLE failures",
    "DELETE FROM about",
    "DELETE FROM about WHERE name = 'settings'",
    "UPDATE about SET value = '2' WHERE name = 'schema'",
    "UPDATE about SET value = 'fig3' WHERE name = 'name'",
    "UPDATE about SET value = '{' WHERE name = 'settings'",
    "UPDATE about SET value = '[]' WHERE name = 'settings'",
    "UPDATE about SET value = x'00ff' WHERE name = 'settings'",
    f"UPDATE about SET value = replace(value, '{__version__}', '9.9.9') WHERE name = 'settings'",
    "UPDATE runs SET rows = '['",
    "UPDATE runs SET rows = ''",
    "UPDATE runs SET rows = '{}'",
    "UPDATE runs SET rows = '7'",
    "UPDATE runs SET rows = '[7]'",
    "UPDATE runs SET rows = '[[1]]'",
    "UPDATE runs SET rows = '[[]]'",
    "UPDATE runs SET rows = '[[1,2,3,4,NaN]]'",
    'UPDATE runs SET rows = \'[["a","b","c","d","e"]]\'',
    "UPDATE runs SET rows = '[[{},[],null,true,false]]'",
    "UPDATE runs SET rows = x'00ff'",
    "UPDATE runs SET rows = 7",
    "UPDATE runs SET seed = 'x'",
    "UPDATE runs SET seed = seed + 1",
    "UPDATE runs SET cpu = 'x'",
    "UPDATE runs SET run = run + 100",
    "UPDATE runs SET run = 'x' WHERE run = 0 AND cell LIKE '%20%'",
    "UPDATE runs SET cell = '{}' WHERE run = 0 AND cell LIKE '%20%'",
    "INSERT INTO failures VALUES ('{}', 0, 0, 'x')",
    "INSERT INTO failures SELECT cell, run + 1000, seed, x'ff00' FROM runs",
    "ALTER TABLE runs DROP COLUMN cpu",
    "ALTER TABLE about RENAME COLUMN value TO worth",
    "PRAGMA application_id = 7",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_store_that_holds_something_else_is_refused_or_used(made, tmp_path, capsys, statement):
    """A sound database of a wrong content: another version, figure, schema, rows that are none."""
    shutil.copytree(made, tmp_path / "copy")
    store = tmp_path / "copy" / "fig2b.sqlite"
    db = sqlite3.connect(store)
    db.execute(statement)
    db.commit()
    db.close()
    before = store.read_bytes(), (tmp_path / "copy/fig2b.csv").read_bytes()
    code, _ = called([*CALL, "--out", str(tmp_path / "copy")], capsys)
    after = store.read_bytes(), (tmp_path / "copy/fig2b.csv").read_bytes()
    assert (code == 2 and after == before) or (code == 0 and after[1] == before[1])


def hold_stores(made, tmp_path, capsys, seeds):
    """Bytes changed, lost or added anywhere: refused and left as it is, or the same data."""
    whole = (made / "fig2b.sqlite").read_bytes()
    data = (made / "fig2b.csv").read_bytes()
    for seed in seeds:
        chance = random.Random(seed)
        harm = bytearray(whole)
        for _ in range(chance.choice([1, 2, 20])):
            harm[chance.randrange(len(harm))] = chance.randrange(256)
        if seed % 4 == 3:
            harm = harm[: chance.randrange(len(harm))]
        folder = tmp_path / f"s{seed}"
        folder.mkdir()
        (folder / "fig2b.sqlite").write_bytes(harm)
        code, err = called([*CALL, "--out", str(folder)], capsys)
        assert code in (0, 2), err
        if code == 2:
            assert (folder / "fig2b.sqlite").read_bytes() == harm, (seed, err)
        elif len(harm):
            assert (folder / "fig2b.csv").read_bytes() == data, seed


def test_some_stores_with_changed_bytes(made, tmp_path, capsys):
    """A few of the harms below."""
    hold_stores(made, tmp_path, capsys, range(30))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_many_stores_with_changed_bytes(made, tmp_path, capsys, part):
    """Many single and several changes of bytes."""
    hold_stores(made, tmp_path, capsys, range(40 + part, 1000, 8))
