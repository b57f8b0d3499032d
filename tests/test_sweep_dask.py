"""Sweeps on a real Dask cluster of this machine: processes, talked to by address."""

import os
import signal
import sqlite3
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import sweep_cells

from kltheory.errors import InputError
from kltheory.paper.sweep import run_sweep

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.slow,
    # Of Dask's own processes and event loops.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes and a scheduler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        )
        yield made
        made.close()


def _address(cluster) -> str:
    return cluster.scheduler_address.replace("tcp://", "dask://")


def test_dask_gives_the_same_bytes(cluster, tmp_path):
    """A cluster by its address, and one process of this machine: the same CSV."""
    wanted = sweep_cells.sweep()
    with ThreadPoolExecutor(1) as pool:
        expected = run_sweep(wanted, tmp_path / "here", executor=pool).csv.read_bytes()
    result = run_sweep(wanted, tmp_path / "there", executor=_address(cluster))
    assert result.csv.read_bytes() == expected
    assert not result.failures
    assert not result.warnings


def test_a_dask_worker_killed_in_the_middle_loses_nothing(cluster, tmp_path):
    """SIGKILL to a worker while it works: its tasks are done by others."""
    wanted = sweep_cells.sweep(runs=20, settings={"sleep": 0.05})
    with ThreadPoolExecutor(1) as pool:
        quiet = sweep_cells.sweep(runs=20, settings={"sleep": 0.05})
        expected = run_sweep(quiet, tmp_path / "here", executor=pool).csv.read_bytes()
    killed = []

    def kill(progress) -> None:
        if progress.done >= 12 and not killed:
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

    result = run_sweep(wanted, tmp_path / "there", executor=_address(cluster), progress=kill)
    assert killed
    assert not result.failures
    assert result.csv.read_bytes() == expected
    deadline = time.monotonic() + 20
    while len(cluster.workers) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)


def test_a_run_that_kills_dask_workers_is_given_up(cluster, tmp_path):
    """Dask gives a task up after some deaths; the sweep reports its seed and goes on."""
    bad = sweep_cells.sweep().seed_of({"k": 2, "n": 2}, 1)
    axes = {"k": [2], "n": [2]}
    wanted = sweep_cells.sweep(
        sweep_cells.always_dies, axes=axes, runs=2, chunk=1, settings={"bad_seed": bad}
    )
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.run_on_scheduler(_be_strict)
        result = run_sweep(wanted, tmp_path, executor=_address(cluster))
    assert [f.seed for f in result.failures] == [bad]
    assert len(result.rows) == 2


def _be_strict(dask_scheduler) -> None:
    """Let the scheduler give a task up at its first death, so that the test is short."""
    dask_scheduler.allowed_failures = 0


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch):
    """The sentence says where nobody answered; the store is there for the next try."""
    with pytest.raises(InputError, match=r"no Dask scheduler answers at 127\.0\.0\.1:9"):
        run_sweep(sweep_cells.sweep(), tmp_path, executor="dask://127.0.0.1:9")
    with sqlite3.connect(tmp_path / "small.sqlite") as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    db.close()
