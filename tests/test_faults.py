"""Faults: kills, a full disk, folders that cannot be written, two processes: nothing lost, said."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from kltheory import cli

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and limits of Unix")

GRID = "reproduce fig2b --jobs 1 --set n=30 --set k=20,60,200 --set beta=0 --set steps=300".split()
RUNS = [*GRID, "--runs", "120"]  # pieces of 50: three for each k
PROGRAM = [sys.executable, "-m", "kltheory"]


def start(words, **options):
    """Start the program as the head of a session of its own."""
    return subprocess.Popen(
        [*PROGRAM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def finish(words, **options):
    """Run the program to its end: exit code and standard error."""
    done = subprocess.run(
        [*PROGRAM, *words], capture_output=True, text=True, timeout=150, check=False, **options
    )
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def kept(folder):
    """How many runs a store holds, as the next program would find it; a copy is opened."""
    with tempfile.TemporaryDirectory() as place:
        for file in folder.glob("fig2b.sqlite*"):  # with the journal that a kill leaves
            shutil.copy(file, place)
        with contextlib.closing(sqlite3.connect(Path(place, "fig2b.sqlite"))) as db:
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return 0
            return db.execute("SELECT count(*) FROM runs").fetchone()[0]


def ended(session):
    """Wait until no process of a session is left (a busy machine takes its time)."""
    for _ in range(1200):
        alive = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, sid = stat.read_text().rpartition(") ")[2].split()[:4]
            except OSError:
                continue
            alive += [stat.parent.name] if int(sid) == session and state != "Z" else []
        if not alive:
            return True
        time.sleep(0.05)
    return False


def worked(process):
    """Return the seconds of CPU time of a process; -1 where the system does not show them."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        time.sleep(3)
        return -1
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The figure of the grid, never disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    code, said = finish([*RUNS, "--out", str(folder)])
    assert code == 0, said
    return folder


# -- kills -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_killed_at_any_moment_the_same_command_goes_on(whole, tmp_path, sent):
    """From the first import to the picture: what was finished stays, in the end the same bytes."""
    chance, before = random.Random(int(sent)), 0
    for attempt in range(8):
        process = start([*RUNS, "--out", str(tmp_path)])
        time.sleep(chance.uniform(0.1, 1.5 + attempt))
        process.send_signal(sent)
        process.communicate(timeout=60)
        assert ended(process.pid)
        if (tmp_path / "fig2b.sqlite").exists() and (tmp_path / "fig2b.sqlite").stat().st_size:
            now = kept(tmp_path)
            assert now >= before
            before = now
        if process.returncode == 0:
            break
    code, said = finish([*RUNS, "--out", str(tmp_path)])
    assert code == 0, said
    assert (tmp_path / "fig2b.csv").read_bytes() == (whole / "fig2b.csv").read_bytes()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_killed_after_the_first_piece_it_is_kept(tmp_path, sent):
    """A kill in the middle of the work leaves what was finished, and no half file."""
    process = start([*RUNS, "--out", str(tmp_path)])
    store = tmp_path / "fig2b.sqlite"
    # Two pages are the empty store; the first piece makes it grow.
    while process.poll() is None and not (store.exists() and store.stat().st_size > 24_576):
        time.sleep(0.02)
    process.send_signal(sent)
    process.communicate(timeout=60)
    assert ended(process.pid)
    assert kept(tmp_path) >= 50
    assert not list(tmp_path.glob("*.csv")) or process.returncode == 0


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(whole, tmp_path):
    """SIGKILL to the worker process alone: its work is done again, the data are the same."""
    process = start([*RUNS, "--out", str(tmp_path)])
    killed = 0
    for _ in range(600):
        if process.poll() is not None or killed == 2:
            break
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(") ")[2].split()
                command = (stat.parent / "cmdline").read_bytes()
            except OSError:
                continue
            if fields[1] == str(process.pid) and b"spawn_main" in command:
                os.kill(int(stat.parent.name), signal.SIGKILL)
                killed += 1
                time.sleep(1.0)
        time.sleep(0.1)
    err = process.communicate(timeout=150)[1]
    # A worker that dies before it ever worked ends the command, with a sentence; the next goes on.
    if process.returncode != 0:
        assert process.returncode == 3
        assert "the worker processes do not start" in err
        code, said = finish([*RUNS, "--out", str(tmp_path)])
        assert code == 0, said
    assert killed > 0
    assert (tmp_path / "fig2b.csv").read_bytes() == (whole / "fig2b.csv").read_bytes()


WRITE = """
import os, signal, sys
from pathlib import Path
from kltheory import plot
from kltheory.cli import options
from kltheory.paper import store
calls = 0
whole = getattr(os, sys.argv[1])
def deadly(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, sys.argv[1], deadly)
options.emit("new\\n" * 1000, Path(sys.argv[2]))
"""


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_an_output_is_whole_at_every_moment(tmp_path, moment):
    """Killed before the bytes are on disk, or before the name changes: the old file is there."""
    target = tmp_path / "answer.json"
    target.write_text("old\n")
    done = subprocess.run([sys.executable, "-c", WRITE, moment, str(target)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "old\n"


# -- a full disk -----------------------------------------------------------------------------------

FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from kltheory.cli import main
sys.exit(main(sys.argv[2:]))
"""


def on_a_full_disk(room, words):
    """Run where no file can be longer than `room` bytes, which is how a full disk shows."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(room), *words],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "internal error" not in done.stderr, done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 2, done.stderr
    return done


@pytest.mark.parametrize(
    "room",
    [pytest.param(0, marks=pytest.mark.slow), 5_000, pytest.param(20_000, marks=pytest.mark.slow)],
)
def test_a_disk_that_fills_up_loses_nothing(tmp_path, room):
    """No room for the store, or for all of it: said in a line; with room the command goes on."""
    words = [*GRID, "--runs", "60", "--out", str(tmp_path)]
    done = on_a_full_disk(room, words)
    assert done.returncode in (2, 3)
    assert "cannot write" in done.stderr or "full" in done.stderr
    assert not list(tmp_path.glob("*.csv"))
    assert not list(tmp_path.glob(".kltheory*"))
    code, said = finish([*GRID[:4], *GRID[4:], "--runs", "1", "--out", str(tmp_path)])
    assert code == 0, said


def test_no_room_for_the_csv(whole, tmp_path):
    """The store fits and the CSV does not: all runs are kept, and nothing half is left."""
    shutil.copytree(whole, tmp_path / "copy")
    folder = tmp_path / "copy"
    for name in ("fig2b.csv", "fig2b.json", "fig2b.png"):
        (folder / name).unlink()
    done = on_a_full_disk(10_000, [*RUNS, "--out", str(folder)])
    assert done.returncode == 3
    assert "All finished runs are kept in fig2b.sqlite" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["fig2b.sqlite"]


@pytest.mark.parametrize("suffix", ["json", "png"])
def test_no_room_for_an_answer(tmp_path, suffix):
    """--output and --plot on a full disk: one line, the old file as it was, no leftovers."""
    target = tmp_path / f"answer.{suffix}"
    words = ["check", "--gaussian", "2x3", "--k", "20", "--times", "0,1"]
    if suffix == "json":
        target.write_text("old\n")
        words += ["--format", "json", "--output", str(target)]
    else:
        pytest.importorskip("matplotlib")
        words += ["--plot", str(target)]
    done = on_a_full_disk(100, words)
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    left = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert left == ({"answer.json": "old\n"} if suffix == "json" else {})


# -- folders that cannot be written ----------------------------------------------------------------


@pytest.fixture
def locked(tmp_path):
    """A folder that its owner may not write into, with a file that he may not change."""
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "old.json").write_text("old\n")
    (folder / "old.json").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


def without_privilege():
    """Give up, in a child, the right of root to write everywhere (prctl PR_CAPBSET_DROP)."""
    ctypes.CDLL(None).prctl(24, 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prctl")
@pytest.mark.parametrize(
    "words",
    [
        "bound --loss mse --output {}/new.txt",
        "bound --loss mse --output {}/old.json",
        "losses --output {}/new.txt",
        "check --gaussian 2x3 --k 20 --times 0,1 --plot {}/new.png",
        "reproduce fig2b --runs 1 --set k=20 --set n=30 --set steps=20 --jobs 1 --out {}",
        "reproduce fig2b --runs 1 --set k=20 --set n=30 --set steps=20 --jobs 1 --out {}/below",
    ],
)
def test_a_folder_that_cannot_be_written_is_named(locked, words):
    """Exit code 2 and a line with the place, before the long work."""
    code, said = finish(
        [word.format(locked) for word in words.split()], preexec_fn=without_privilege
    )
    assert code == 2
    assert str(locked) in said
    assert len(said.splitlines()) <= 2
    assert [path.name for path in locked.iterdir()] == ["old.json"]
    assert (locked / "old.json").read_text() == "old\n"


# -- two processes ---------------------------------------------------------------------------------


def test_two_processes_on_one_store(whole, tmp_path):
    """One works, the other is told at once; afterwards the data are whole."""
    first = start([*RUNS, "--out", str(tmp_path)])
    store = tmp_path / "fig2b.sqlite"
    while first.poll() is None and not (store.exists() and store.stat().st_size):
        time.sleep(0.02)
    code, said = finish([*RUNS, "--out", str(tmp_path)])
    running = first.poll() is None
    first.communicate(timeout=150)
    assert first.returncode == 0
    assert (code, "in use by another run" in said) == (3, True) or not running
    assert (tmp_path / "fig2b.csv").read_bytes() == (whole / "fig2b.csv").read_bytes()


def test_a_program_that_stops_in_the_middle_of_a_page_is_no_error(tmp_path):
    """Ctrl-C during work: code 130, nothing on standard output, no traceback."""
    process = start(["width", "--n", "60", "--m", "10", "--sigma-f", "1", "--norm-f", "1",
                     "--y-norm", "3", "--failure", "0.05", "--k", "300", "--check", "1000000",
                     "--max-work", "1e18"])  # fmt: skip
    time.sleep(1)
    while process.poll() is None and 0 <= worked(process.pid) < 3:  # the first is loading
        time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")


def test_main_in_a_thread_needs_no_signals(capsys):
    """The command line as a function of a program with threads: time limits without signals."""
    import threading

    codes = []
    thread = threading.Thread(target=lambda: codes.append(cli.main(["bound", "--loss", "mse"])))
    thread.start()
    thread.join(timeout=60)
    assert codes == [0]
    assert "mse" in capsys.readouterr().out
