"""Sweeps: the same numbers whatever happens to the machines that compute them."""

import csv
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import sweep_cells
from hypothesis import given
from hypothesis import strategies as st

from kltheory.errors import InputError, KLTheoryError, LimitReached
from kltheory.paper.store import Store
from kltheory.paper.sweep import Failure, Sweep, run_seed, run_sweep

PROGRAM = [sys.executable, str(Path(__file__).with_name("sweep_cells.py"))]


@pytest.fixture
def threads():
    """One thread of this process as the engine: cheap, where the engine does not matter."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The CSV of the small grid, from one worker that is never disturbed."""
    with ThreadPoolExecutor(1) as pool:
        wanted = sweep_cells.sweep(settings={"sleep": 0.02})
        return run_sweep(wanted, tmp_path_factory.mktemp("whole"), executor=pool).csv.read_bytes()


# -- seeds -----------------------------------------------------------------------------------------


def test_a_seed_depends_on_nothing_but_its_own_axes():
    """A run of a cell has the same seed in every grid that it is part of."""
    small = sweep_cells.sweep(axes={"k": [2], "n": [5]}, runs=1)
    large = sweep_cells.sweep(axes={"n": [1, 5, 7], "k": [9, 2]}, runs=40)
    assert small.seed_of({"k": 2, "n": 5}, 0) == large.seed_of({"n": 5, "k": 2}, 0)


def test_seed_values_are_fixed():
    """The seeds are part of the format of the results: they never change."""
    # Computed with NumPy 2.4's SeedSequence, whose stream is stable by NEP 19.
    assert run_seed(0, {"k": 20, "n": 60}, 3) == 3613762030556397561


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), unique=True, max_size=60))
def test_seeds_are_distinct(pairs):
    """Different roots, cells and runs have different seeds."""
    seeds = {run_seed(root, {"k": run % 7}, run) for root, run in pairs}
    assert len(seeds) == len(pairs)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seed_axes_leave_the_others_out():
    """Along an axis that is no seed axis the same draws are compared."""
    paired = sweep_cells.sweep(seed_axes=("n",))
    assert paired.seed_of({"k": 1, "n": 5}, 2) == paired.seed_of({"k": 3, "n": 5}, 2)
    assert paired.seed_of({"k": 1, "n": 2}, 2) != paired.seed_of({"k": 1, "n": 5}, 2)


# -- results ---------------------------------------------------------------------------------------


def test_csv_keeps_every_digit_in_the_order_of_the_grid(tmp_path, threads):
    """Reading the CSV gives back the very numbers, cell by cell and run by run."""
    wanted = sweep_cells.sweep()
    result = run_sweep(wanted, tmp_path, executor=threads)
    with result.csv.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert tuple(header) == result.columns == ("k", "n", "run", "seed", *wanted.columns)
    assert [(int(k), int(n), int(run)) for k, n, run, *_ in lines[::2]] == [
        (k, n, run) for k in (1, 2, 3) for n in (2, 5) for run in range(6)
    ]
    assert [float(v) for v in list(zip(*lines, strict=True))[5]] == result.column("value")
    assert lines[1][6:] == ["false", "a,b"]
    assert repr(result).startswith("SweepResult(72 rows of k, n, run, seed, part")
    assert lines[0][7] == ""
    for k, n, run, seed, *row in result.rows:
        assert seed == wanted.seed_of({"k": k, "n": n}, run)
        assert row in [list(r) for r in sweep_cells.draws({"k": k, "n": n}, {}, [seed])[0]]


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_workers_do_not_change_the_bytes(tmp_path, expected, jobs):
    """One process, two, four, one thread: the same CSV."""
    result = run_sweep(sweep_cells.sweep(settings={"sleep": 0.02}), tmp_path, jobs=jobs)
    assert result.csv.read_bytes() == expected
    assert not result.failures
    assert not result.warnings


def test_any_executor_serves(tmp_path, expected):
    """An executor of the caller is used as it is, and left open."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        result = run_sweep(sweep_cells.sweep(settings={"sleep": 0.02}), tmp_path, executor=pool)
        assert pool.submit(int, "7").result() == 7
    assert result.csv.read_bytes() == expected


def test_environment_is_left_as_it_was(tmp_path, monkeypatch):
    """The thread settings of the workers are not left behind."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    run_sweep(sweep_cells.sweep(axes={"k": [1], "n": [2]}), tmp_path, jobs=1)
    assert dict(os.environ) == before


def test_a_larger_grid_and_more_runs_go_on_from_a_smaller_one(tmp_path, threads, expected):
    """What is there is not done again; the result is that of one session."""
    settings = {"sleep": 0.02}
    first = sweep_cells.sweep(axes={"k": [2], "n": [5, 2]}, runs=3, settings=settings)
    run_sweep(first, tmp_path, executor=threads)
    result = run_sweep(sweep_cells.sweep(settings=settings), tmp_path, executor=threads)
    assert result.resumed == 6
    assert result.csv.read_bytes() == expected
    again = run_sweep(sweep_cells.sweep(settings=settings), tmp_path, executor="dask://nowhere:1")
    assert again.resumed == 36
    assert again.csv.read_bytes() == expected


def test_progress_counts_to_the_end(tmp_path, threads):
    """Progress goes from 0 to all runs; the time left is known after the first piece."""
    seen = []
    wanted = sweep_cells.sweep(cost=lambda cell: cell["k"] * cell["n"])
    run_sweep(wanted, tmp_path, executor=threads, progress=seen.append)
    assert (seen[0].done, seen[0].seconds_left) == (0, None)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert (seen[-1].done, seen[-1].total, seen[-1].seconds_left) == (36, 36, 0.0)
    assert seen[-1].fraction == pytest.approx(1.0)
    assert all(p.seconds_left is not None for p in seen[1:])


# -- failures --------------------------------------------------------------------------------------


def test_a_run_that_fails_is_reported_with_its_seed(tmp_path, threads):
    """Errors spoil their own runs only, and are tried again next time."""
    wanted = sweep_cells.sweep()
    bad = wanted.seed_of({"k": 1, "n": 5}, 3)
    failing = sweep_cells.sweep(sweep_cells.some_fail, settings={"bad_seed": bad})
    result = run_sweep(failing, tmp_path, executor=threads)
    assert len(result.failures) == 7
    assert Failure({"k": 1, "n": 5}, 3, bad, "ValueError: an unlucky seed") in result.failures
    assert f"k=1, n=5, run 3, seed {bad}: ValueError" in str(result.failures[0])
    assert len(result.rows) == 2 * (36 - 7)
    again = run_sweep(failing, tmp_path, executor=threads)
    assert again.resumed == 29
    assert again.failures == result.failures
    assert again.csv.read_bytes() == result.csv.read_bytes()


def test_rows_of_a_wrong_shape_are_failures(tmp_path, threads):
    """A row that does not fit the columns is never stored."""
    result = run_sweep(sweep_cells.sweep(sweep_cells.wrong_width), tmp_path, executor=threads)
    assert len(result.failures) == 36
    assert "1 entries for 4 columns" in result.failures[0].error


def test_a_worker_that_dies_is_replaced(tmp_path):
    """Two cells that end their worker once are done in the end, and nothing is lost."""
    wanted = sweep_cells.sweep(sweep_cells.dies_once, settings={"folder": str(tmp_path)})
    result = run_sweep(wanted, tmp_path / "out", jobs=2)
    assert (tmp_path / "died-2").exists()
    assert not result.failures
    assert len(result.rows) == 72


def test_a_run_that_always_kills_is_given_up_alone(tmp_path):
    """Retries are bounded; the other runs of its cell, and all other cells, are done."""
    bad = sweep_cells.sweep().seed_of({"k": 2, "n": 2}, 1)
    axes = {"k": [2], "n": [2, 5]}
    wanted = sweep_cells.sweep(sweep_cells.always_dies, axes=axes, settings={"bad_seed": bad})
    result = run_sweep(wanted, tmp_path, jobs=1)
    assert [(f.run, f.seed) for f in result.failures] == [(1, bad)]
    assert "died 3 times" in result.failures[0].error
    assert len(result.rows) == 2 * 11


def test_an_executor_that_breaks_keeps_what_is_finished(tmp_path, expected):
    """An executor of the caller cannot be renewed: the error says so, and the next call goes on."""
    bad = sweep_cells.sweep().seed_of({"k": 3, "n": 5}, 5)
    killer = sweep_cells.sweep(sweep_cells.always_dies, settings={"bad_seed": bad})
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(LimitReached, match="What is finished is kept"):
            run_sweep(killer, tmp_path, executor=pool)
    with sqlite3.connect(tmp_path / "small.sqlite") as db:
        count = db.execute("SELECT count(*) FROM runs").fetchone()[0]
    db.close()
    assert count == 34


# -- kills -----------------------------------------------------------------------------------------


def test_killed_at_random_moments_and_resumed_gives_the_same_csv(tmp_path, expected):
    """SIGKILL loses no finished piece and leaves no worker behind."""
    chance = random.Random(7)
    reached = []
    for pieces in (0, 2, 1, 3, 0):
        # It stands still after 3 pieces of 18: on no machine it ends before it is killed.
        process = _start(tmp_path, 1, 3)
        reached.append(int(process.stdout.readline()))  # runs that are there at the start
        for _ in range(pieces):
            process.stdout.readline()
        time.sleep(0.06 * chance.random())
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert _ends(process.pid)
    assert reached == sorted(reached)
    assert 0 < reached[-1] < 36
    process = _start(tmp_path, 2)
    assert int(process.communicate(timeout=60)[0].split()[0]) >= reached[-1]
    assert (tmp_path / "small.csv").read_bytes() == expected
    assert not list(tmp_path.glob(".kltheory*"))


def _start(folder: Path, *arguments: int, **options) -> subprocess.Popen:
    """Start the program of `sweep_cells` as the head of a session of its own."""
    return subprocess.Popen(
        [*PROGRAM, str(folder), *map(str, arguments)],
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def _ends(session: int) -> bool:
    """Whether all processes of a session end soon (a busy machine takes its time)."""
    for _ in range(1200):
        if not _alive(session):
            return True
        time.sleep(0.05)
    return False


def _alive(session: int) -> list[int]:
    """Return the processes of a session that are not dead (where the system shows them)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rpartition(") ")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_ctrl_c_keeps_what_is_finished_and_ends_the_workers(tmp_path, expected):
    """SIGINT to all processes, as a terminal sends it: the next run goes on."""
    process = _start(tmp_path, 2, 6, stderr=subprocess.PIPE)  # 6 pieces of 18
    while int(process.stdout.readline()) == 0:
        pass
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    assert error.count("Traceback") == 1  # of the parent alone
    assert _ends(process.pid)
    assert not (tmp_path / "small.csv").exists()
    with ThreadPoolExecutor(1) as pool:
        wanted = sweep_cells.sweep(settings={"sleep": 0.02})
        result = run_sweep(wanted, tmp_path, executor=pool)
    assert 0 < result.resumed < 36
    assert result.csv.read_bytes() == expected


# -- the store -------------------------------------------------------------------------------------


def test_a_store_that_is_held_refuses_a_second_program(tmp_path, threads):
    """Two runs into one directory: the second is told, and nothing is lost."""
    wanted = sweep_cells.sweep()
    with Store(tmp_path / "small.sqlite", "small", {"a": 1}) as first:
        first.add([("{}", 0, 1, "[]", 0.0)])
        with pytest.raises(KLTheoryError, match="in use by another run"):
            run_sweep(wanted, tmp_path, executor=threads)
        code = "import sys, sweep_cells as s; from kltheory.paper.sweep import run_sweep as r\n"
        code += "r(s.sweep(), sys.argv[1], jobs=1)"
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
        )
        assert "in use by another run" in other.stderr
        assert first.done() == {("{}", 0)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": {"sleep": 0.0}}, r"other settings \(sweep"),
        ({"seed": 1}, r"seed: 0, now 1"),
        ({"seed_axes": ("k",)}, "seed_axes"),
        ({"columns": ("part", "value", "positive", "remark")}, "columns"),
    ],
)
def test_results_of_other_settings_are_refused(tmp_path, threads, changes, said):
    """A store goes on only with what it was made with; otherwise it stays as it is."""
    result = run_sweep(sweep_cells.sweep(), tmp_path, executor=threads)
    before = (tmp_path / "small.sqlite").read_bytes(), result.csv.read_bytes()
    with pytest.raises(InputError, match=said):
        run_sweep(sweep_cells.sweep(**changes), tmp_path, executor=threads)
    assert ((tmp_path / "small.sqlite").read_bytes(), result.csv.read_bytes()) == before
    fresh = run_sweep(sweep_cells.sweep(**changes), tmp_path, executor=threads, resume=False)
    assert fresh.resumed == 0


def test_results_of_another_version_are_refused(tmp_path, threads, monkeypatch):
    """Digits may change with the version of NumPy: results are not mixed."""
    run_sweep(sweep_cells.sweep(), tmp_path, executor=threads)
    monkeypatch.setattr("numpy.__version__", "99.0")
    with pytest.raises(InputError, match=r"now '99\.0'"):
        run_sweep(sweep_cells.sweep(), tmp_path, executor=threads)


def test_a_store_of_another_figure_is_refused(tmp_path, threads):
    """A renamed store is not taken for another sweep's, even to start over."""
    run_sweep(sweep_cells.sweep(), tmp_path, executor=threads)
    (tmp_path / "small.sqlite").rename(tmp_path / "large.sqlite")
    with pytest.raises(InputError, match="figure 'small', not 'large'"):
        run_sweep(sweep_cells.sweep(name="large"), tmp_path, executor=threads, resume=False)


def _overwritten(path):
    path.write_bytes(b"k,n\n1,2\n" * 300)


def _truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def _scrambled(path):
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(255 - b for b in data[4096:])
    path.write_bytes(bytes(data))


def _foreign(path):
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    db.close()


@pytest.mark.parametrize("harm", [_overwritten, _truncated, _scrambled, _foreign])
@pytest.mark.parametrize("resume", [True, False])
def test_a_damaged_or_foreign_file_is_never_touched(tmp_path, threads, harm, resume):
    """A file that is no sound store is refused in one sentence and left byte for byte."""
    run_sweep(sweep_cells.sweep(), tmp_path, executor=threads)
    store = tmp_path / "small.sqlite"
    harm(store)
    before = store.read_bytes()
    with pytest.raises(InputError, match="left as it is"):
        run_sweep(sweep_cells.sweep(), tmp_path, executor=threads, resume=resume)
    assert store.read_bytes() == before


def test_killed_while_the_store_was_made(tmp_path, threads, expected):
    """An empty file, as a kill at the very start leaves it, becomes a store."""
    (tmp_path / "small.sqlite").touch()
    result = run_sweep(
        sweep_cells.sweep(settings={"sleep": 0.02}), tmp_path, executor=threads, resume=True
    )
    assert result.csv.read_bytes() == expected


def test_a_piece_is_added_whole_or_not_at_all(tmp_path):
    """An error in the middle of a transaction leaves nothing of it."""
    with Store(tmp_path / "s.sqlite", "s", {}) as store:
        with pytest.raises(sqlite3.Error):
            store.add([("{}", 0, 1, "[]", 0.0)], [("{}", 1, 1, None)])
        assert store.done() == set()


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"runs": 0},
        {"seed": -1},
        {"axes": {"k": []}},
        {"axes": {"k": [1, 1]}},
        {"axes": {"run": [1]}},
        {"columns": ("a", "a")},
    ],
)
def test_sweeps_that_make_no_sense_are_refused(wrong):
    """No runs, no cells, values twice, names twice."""
    with pytest.raises(InputError):
        sweep_cells.sweep(**wrong)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({"executor": "mpi"}, "dask://HOST:PORT"),
        ({"executor": "dask://"}, "dask://HOST:PORT"),
        ({"jobs": 0}, ">= 1"),
        ({"jobs": 2, "executor": "dask://a:1"}, "not both"),
    ],
)
def test_engines_that_do_not_exist_are_refused(tmp_path, engine, said):
    """The sentence says what is allowed."""
    with pytest.raises(InputError, match=said):
        run_sweep(sweep_cells.sweep(), tmp_path, **engine)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    """A file in the place of the folder is named."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make"):
        run_sweep(sweep_cells.sweep(), tmp_path / "file" / "below")


def test_works_outside_the_main_thread(tmp_path, expected):
    """A sweep may run in a thread of a program with other things to do."""
    found = []

    def work() -> None:
        wanted: Sweep = sweep_cells.sweep(settings={"sleep": 0.02})
        found.append(run_sweep(wanted, tmp_path, jobs=1).csv.read_bytes())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=60)
    assert found == [expected]
