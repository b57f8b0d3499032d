"""Hostile input: whatever the options are given, a command works or says in two lines why not."""

import hashlib
import importlib
import io
import json
import os
import random
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import pytest

from kltheory import cli
from kltheory.paper import sweep

LONG = "x" * 100_000
NUMBERS = [
    *["0", "-0", "-1", "1", "2", "nan", "-nan", "inf", "-inf", "1e308", "-1e308", "1e-308"],
    *["1e400", "-1e400", "1e-400", "1e9999", "1e-9999", "1e10001", "1/0", "1/3", "-1/3"],
    *["True", "false", "", " ", "9" * 999, "9" * 5000, LONG, "٣", "½", "1_000", "0x10", "--"],
    *["\udcff", "ψ", "\x1b[31m", "\n", "1,2", "0,1e308", "1e308,1e-308", "nan,1", ","],
]
WORDS = [
    *["=", "a=1", "a=b=c", "p=", "p=nan", "p=1e9999", "p=1e-9999", "p=0", "p=-1", "p=1/3"],
    *["mse", "huber", "sqrt(s)", "s**nan", "2*s", "x**2/2", "exp(exp(exp(s)))", "tanh"],
    *["softplus(x)", "2x3", "0x0", "999999999x999999999", "-1x2", "n=1,2", "m=1e308", "k=1"],
    *["alpha=1/2", "sigma_f=0", "step=nan", "step=1e308", "step=1e-308", "k=0", "k=1e9"],
    *["beta=nan", "beta=1e308", "n=0", "m=1000000000", "tol=nan", "p=inf", "steps=0"],
    *["steps=1000000000000", "marks=0", "marks=1", "runs=0", "d=0", "output=x", "activation=x"],
    *["variance=1", "E1", "e12", "E999", "dask://", "dask://127.0.0.1:1"],
]


def npy(array, **options):
    """The bytes of a .npy file."""
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def header(text):
    """A .npy file that is only this header."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


TWO_GIB = "{'descr': '<f8', 'fortran_order': False, 'shape': (16384, 16384), }\n"
CONTENTS = {
    "good.npy": npy(np.arange(6.0).reshape(2, 3)),
    "vector.npy": npy(np.array([1.0, 2.0])),
    "truncated.npy": npy(np.arange(6.0).reshape(2, 3))[:-5],
    "empty.npy": b"",
    "empty.csv": b"",
    "header.npy": header(TWO_GIB),
    "objects.npy": npy(np.array([object()], dtype=object), allow_pickle=True),
    "nan.npy": npy(np.array([[1.0, np.nan]])),
    "cube.npy": npy(np.zeros((2, 2, 2))),
    "large.npy": npy(np.array([[1e308, -1e308], [1e308, 1e308]])),
    "tiny.npy": npy(np.array([[1e-308, 0], [5e-324, 0]])),
    "zeros.npy": npy(np.zeros((2, 3))),
    "run.csv": b"t,loss\n0,1\n1,0.5\n2,0.25\n",
    "nan.csv": b"t,loss\n0,1\n1,nan\n2,0.25\n",
    "inf.csv": b"t,loss\n0,1\n1,inf\n2,1e308\n",
    "extreme.csv": b"t,loss,drift,error,sigma_min\n0,1e308,0,1e308,1e-308\n1e308,1e-308,1,1,0\n",
    "backward.csv": b"t,loss\n0,-1\n-1,0.5\n",
    "psi.csv": b"s,psi\n0,0\n1,1\n2,1.5\n",
    "psi_nan.csv": b"s,psi\n0,0\n1,1e400\n2,nan\n",
    "bytes.csv": bytes(range(256)) * 4,
    "object.json": b"{}",
    "deep.json": b"[" * 100_000,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a file of every bad kind; their names."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    (folder / "directory.csv").mkdir()
    names = [*CONTENTS, "directory.csv", "missing.npy", "missing/a.png", "x" * 5000 + ".csv"]
    if os.name != "nt":
        (folder / "loop.csv").symlink_to(folder / "loop.csv")
        for suffix in ("csv", "npy", "json"):
            os.mkfifo(folder / f"pipe.{suffix}")
        names += ["loop.csv", "pipe.csv", "pipe.npy", "pipe.json"]
    return folder, [str(folder / name) for name in names] + ["/dev/zero"]


def calls(folder):
    """For each command some calls that work, from which one option at a time is changed."""

    def at(name):
        return str(folder / name)

    width = "--n 6 --m 3 --sigma-f 1 --norm-f 1 --y-norm 3 --failure 0.05 --limit 3".split()
    data = ["check", "--trajectory", at("run.csv"), "--limit", "5"]
    return [
        "losses power --param p=0.2".split(),
        "audit E1".split(),
        "bound --loss lojasiewicz --alpha 1/2 --kappa 1 --loss0 1 --at 0,1 --limit 3".split(),
        "bound --psi sqrt(s) --sigma-f 1 --sigma-j 1 --loss0 1 --noise 0.1 --mu 1 --lip-f 1 "
        "--dist 0 --limit 3".split(),
        "bound --loss mse --sigma-f 1 --sigma-j 2 --loss0 1/10 --theory sharp --deviation 1 "
        "--limit 3".split(),
        "bound --loss mse --kappa 1 --loss0 1 --step-size 0.1 --smoothness 4 --iterations 0,100 "
        "--limit 3 --theory printed".split(),
        ["bound", "--psi-table", at("psi.csv"), "--kappa", "1", "--loss0", "3/2", "--limit", "3"],
        ["width", *width, "--k", "20", "--check", "3"],
        ["width", *width, "--curve", "n=10,20"],
        "certify --gaussian 2x4 --k 30 --limit 5".split(),
        ["certify", "--operator", at("good.npy"), "--observation", at("vector.npy"), "--k", "20",
         "--train", "both", "--limit", "5"],
        "check --gaussian 2x3 --k 20 --method descent --steps 20 --limit 5".split(),
        "check --gaussian 2x3 --k 20 --times 0,1,2 --limit 5".split(),
        [*data, "--psi", "sqrt(2*s)", "--kappa", "1"],
        [*data, "--loss", "mse", "--sigma-f", "1", "--sigma-j", "1", "--noise", "0.1"],
        "reproduce fig2b --set n=12 --set k=20 --set beta=0 --set steps=20 --runs 1".split(),
        "reproduce fig1a --set n=20 --set k=30 --set steps=20 --runs 1".split(),
        "reproduce fig2a --set beta=0 --set k=30 --set steps=20 --runs 1".split(),
        ["reproduce", "--manifest", at("object.json")],
    ]  # fmt: skip


def changed(base, parameter, values):
    """The calls in which one option has each of the values."""
    name, *rest = base
    if isinstance(parameter, click.Argument):
        first = rest[1:] if rest and not rest[0].startswith("-") else rest
        yield from ([name, value, *first] for value in values)
        return
    if parameter.is_flag:
        yield from ([*base, flag] for flag in (*parameter.opts, *parameter.secondary_opts))
        return
    if isinstance(parameter.type, click.Choice):
        values = [*parameter.type.choices, "", "x", "nan", LONG]
    option = parameter.opts[0]
    for value in values:
        kept = []
        for word in rest:
            dropped = kept and kept[-1] == option
            same = word.partition("=")[0] == value.partition("=")[0]
            if dropped and (not parameter.multiple or same):
                kept.pop()
            else:
                kept.append(word)
        yield [name, *kept, option, value]


def all_calls(folder, names):
    """Every option of every command with every value."""
    for base in calls(folder):
        command = importlib.import_module(cli.COMMANDS[base[0]][0]).command
        for parameter in command.params:
            values = [*NUMBERS, *WORDS, *names]
            if parameter.name in ("output", "plot", "out"):  # these are for writing
                values = [v for v in values if v not in names or "missing/" in v]
            yield from changed(base, parameter, values)


def snapshot(folder):
    """What is in the files of a folder."""
    return {
        path.name: hashlib.sha1(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


def formats(name):
    """The output formats of a command."""
    command = importlib.import_module(cli.COMMANDS[name][0]).command
    return next(p.type.choices for p in command.params if p.name == "output_format")


class InThread(sweep._Pool):
    """The engine of `reproduce` without new processes."""

    def __init__(self, jobs):
        super().__init__(ThreadPoolExecutor(1))

    def stop(self):
        self.executor.shutdown(cancel_futures=True)


def complaint(code, out, err):
    """What is wrong with an answer, or None."""
    lines = err.splitlines()
    caret = 2 if lines and lines[-1].strip() == "^" else 0
    if code not in (0, 1, 2, 3):
        return f"exit code {code}"
    if (code in (2, 3)) != bool(lines) and "--help" not in out:
        return f"code {code} with {len(lines)} lines on stderr"
    if len(lines) > 2 + caret or any(len(line) > 400 for line in lines):
        return "an error of more than two lines"
    if "Traceback" in err or "internal error" in err:
        return "an internal error"
    if not all(sign.isprintable() for sign in err.replace("\n", "")):
        return "a control sign on the terminal"
    return None


def _never(name):
    raise AssertionError(f"{name} is no JSON")


def hold(some, folder, tmp_path, capsys, monkeypatch, seed):
    """Run the calls; each must work, or end with code 2 or 3, say why, and change no file."""
    monkeypatch.setattr(sweep, "_LocalPool", InThread)
    monkeypatch.chdir(tmp_path)
    before, chance, seconds = snapshot(folder), random.Random(seed), 0.0
    for i, words in enumerate(some):
        if "--format" not in words:
            words = [*words, "--format", chance.choice(formats(words[0]))]
        if words[0] == "reproduce" and "--out" not in words:
            words += ["--out", str(tmp_path / f"out{i}")]
        shown = [word[:60] for word in words]
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            code = cli.main(words)
        seconds = time.process_time() - start
        out, err = capsys.readouterr()
        assert complaint(code, out, err) is None, (shown, complaint(code, out, err), err[:500])
        assert seconds < 12, (shown, f"{seconds:.1f} s of CPU time")
        if words[-2:] == ["--format", "json"] and out.startswith("{"):
            json.loads(out, parse_constant=_never)
    assert snapshot(folder) == before


def test_a_sample_of_hostile_calls_ends_well(place, tmp_path, capsys, monkeypatch):
    """Some of the calls below, so that each run of the tests has them."""
    every = list(all_calls(*place))
    assert len(every) > 20_000
    some = random.Random(0).sample(every, 250)
    hold(some, place[0], tmp_path, capsys, monkeypatch, 0)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(24))
def test_hostile_calls_end_well(place, tmp_path, capsys, monkeypatch, part):
    """Every option of every command: numbers out of range, words, text, files of every bad kind."""
    every = list(all_calls(*place))
    random.Random(1).shuffle(every)
    hold(every[part::72], place[0], tmp_path, capsys, monkeypatch, part)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_several_hostile_options_at_once(place, tmp_path, capsys, monkeypatch, seed):
    """Two or three options changed together."""
    folder, names = place
    chance, bases = random.Random(seed), calls(folder)
    some = []
    for _ in range(400):
        words = chance.choice(bases)
        command = importlib.import_module(cli.COMMANDS[words[0]][0]).command
        for _ in range(chance.choice([2, 3])):
            parameter = chance.choice(
                [p for p in command.params if p.name not in ("output", "plot", "out", "names")]
            )
            values = [*NUMBERS, *WORDS, *names]
            words = chance.choice(list(changed(words, parameter, values)))
        some.append(words)
    hold(some, folder, tmp_path, capsys, monkeypatch, seed)


# -- what was found, one law each ------------------------------------------------------------------


def refused(words, capsys, *said):
    """The call ends with code 2 and these words."""
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint(2, out, err) is None
    for part in said:
        assert part in err


@pytest.mark.parametrize("limit", ["nan", "inf", "0", "-1", "1e9999", "86401"])
@pytest.mark.parametrize(
    "words",
    [
        "bound --loss mse",
        "certify --gaussian 2x3",
        "width --n 1 --m 1 --sigma-f 1 --norm-f 1 --failure 0.1 --y-norm 1",
        "check --gaussian 2x3",
    ],
)
def test_a_time_limit_is_a_number_of_seconds(words, limit, capsys):
    """What is no time, or more than a day, is refused by every command that has a limit."""
    refused([*words.split(), "--limit", limit], capsys, "--limit")


def test_exact_numbers_of_thousands_of_digits_come_back(capsys):
    """The JSON has the very number that was given, however large or small."""
    words = "bound --loss mse --kappa 1e9999 --loss0 1/3 --noise 1e-9999 --at 1e9999 --format json"
    assert cli.main(words.split()) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["constants"]["kappa"] == "1e9999"
    assert answer["constants"]["noise"] == "1/1e9999"
    assert answer["values"][0]["t_exact"] == "1e9999"


@pytest.mark.parametrize("work", ["-1e400", "-1", "0", "1e-400"])
def test_work_that_no_float_holds_is_too_little(work, capsys):
    """--max-work below every float is a limit that is reached, not an error."""
    words = "width --n 6 --m 3 --sigma-f 1 --norm-f 1 --y-norm 3 --failure 0.05 --check 3"
    assert cli.main([*words.split(), "--max-work", work]) == 3
    assert "raise --max-work" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_operators_that_floats_cannot_square_are_refused(size, tmp_path, capsys):
    """Units in which norms overflow or vanish are named, before any of it is computed."""
    np.save(tmp_path / "A.npy", np.eye(2, 3) * size)
    np.save(tmp_path / "y.npy", np.ones(2))
    for command in ("certify", "check"):
        words = [command, "--operator", str(tmp_path / "A.npy"), "--observation",
                 str(tmp_path / "y.npy"), "--k", "20"]  # fmt: skip
        refused(words, capsys, "choose units")


def test_a_figure_never_overwrites_the_data_that_it_shows(tmp_path, capsys, monkeypatch):
    """run.png has its data in run.csv: where that is there and is no figure's, it is kept."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    data = Path("run.csv")
    data.write_text("t,loss\n0,1\n1,0.05\n")
    words = ["check", "--trajectory", "run.csv", "--psi", "sqrt(2*s)", "--kappa", "1"]
    refused([*words, "--plot", "run.png"], capsys, "'run.csv' is there")
    assert data.read_text() == "t,loss\n0,1\n1,0.05\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.csv"]
    for _ in range(2):  # a figure may be made again
        assert cli.main([*words, "--plot", "figure.png"]) == 0
    capsys.readouterr()
    refused([*words, "--plot", "figure.png", "--output", "figure.csv"], capsys, "written twice")


def test_what_is_read_is_not_written(tmp_path, capsys):
    """--output that names an input of the same call is refused, under any of its names."""
    data, link = tmp_path / "run.csv", tmp_path / "link.csv"
    data.write_text("t,loss\n0,1\n1,0.05\n")
    link.symlink_to(data)
    words = ["check", "--trajectory", str(data), "--psi", "sqrt(2*s)", "--kappa", "1"]
    for name in (data, link):
        refused([*words, "--output", str(name)], capsys, "is read: write to another file")
    assert data.read_text() == "t,loss\n0,1\n1,0.05\n"
    table = tmp_path / "psi.csv"
    table.write_text("s,psi\n0,0\n1,1\n2,1.5\n")
    refused(["bound", "--psi-table", str(table), "--output", str(table)], capsys, "is read")


@pytest.mark.parametrize(
    "words", ["check --gaussian 2x3 --k 20", "bound --loss mse --kappa 1 --loss0 1"]
)
def test_a_figure_goes_to_a_file(words, capsys):
    """--plot - is refused, and not forgotten."""
    pytest.importorskip("matplotlib")
    refused([*words.split(), "--plot", "-"], capsys, "a figure goes to a file")


@pytest.mark.parametrize(
    "words",
    [
        "losses mse",
        "width --n 6 --m 3 --sigma-f 1 --norm-f 1 --y-norm 3 --failure 0.05",
        "check --gaussian 2x3 --k 20 --times 0,1",
        "bound --loss mse",
    ],
)
def test_a_closed_standard_output_is_said(words, capsys, monkeypatch):
    """`kltheory ... >&-` has nowhere to write to: a sentence, and not a fault."""
    monkeypatch.setattr("sys.stdout", None)
    assert cli.main(words.split()) == 2
    assert "standard output is closed" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="it cannot be removed there")
def test_a_working_directory_that_is_gone_is_named(tmp_path, capsys, monkeypatch):
    """Removed by another program in the meantime."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for words in ("check --trajectory run.csv --psi s --kappa 1", "certify --operator a.npy"):
        refused(words.split(), capsys, "the working directory is gone")


def test_a_name_that_no_file_can_have_is_refused(capsys):
    """A NUL, which a program can give and a terminal cannot."""
    for words in ("certify --operator a\0.npy", "check --trajectory a\0.csv --psi s --kappa 1"):
        refused(words.split(), capsys)
    refused(["bound", "--psi-table", "a\0.csv"], capsys)


def test_a_backend_of_figures_that_there_is_not(tmp_path):
    """MPLBACKEND=nonsense, with which Matplotlib does not start, is named before any work."""
    pytest.importorskip("matplotlib")
    words = ["check", "--gaussian", "2x3", "--k", "20", "--plot", "a.png"]
    done = subprocess.run(
        [sys.executable, "-m", "kltheory", *words],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "nonsense"},
        capture_output=True,
        text=True,
    )
    assert complaint(done.returncode, done.stdout, done.stderr) is None
    assert done.returncode == 2
    assert "Matplotlib does not start" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/fd/1"), reason="needs names of open streams")
def test_a_stream_that_is_open_is_added_to(tmp_path):
    """--output /dev/stdout in `kltheory ... >> log` keeps the log, and it goes through a pipe."""
    log = tmp_path / "log"
    log.write_text("old\n")
    (tmp_path / "link").symlink_to("/dev/stdout")
    words = [sys.executable, "-m", "kltheory", "losses", "mse", "--format", "json", "--output"]
    with log.open("a") as stream:
        subprocess.run([*words, "link"], cwd=tmp_path, stdout=stream, check=True)
    old, _, answer = log.read_text().partition("\n")
    assert (old, json.loads(answer)["schema"]) == ("old", "kltheory/losses/1")
    done = subprocess.run([*words, "/dev/fd/1"], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode() == answer


@pytest.mark.skipif(os.name == "nt", reason="needs pipes with names")
@pytest.mark.parametrize(
    "words",
    ["bound --psi-table pipe.csv", "reproduce --manifest pipe.json", "check --trajectory pipe.csv "
     "--loss mse --kappa 1", "certify --operator pipe.npy"],
)  # fmt: skip
def test_a_pipe_without_a_writer_is_not_waited_for(words, tmp_path, capsys, monkeypatch):
    """A named pipe is refused at once; opening it would wait for ever."""
    monkeypatch.chdir(tmp_path)
    for suffix in ("csv", "npy", "json"):
        os.mkfifo(f"pipe.{suffix}")
    refused(words.split(), capsys, "not a regular file")


def test_messages_stay_short_and_plain(capsys):
    """A megabyte of text or a sign that steers the terminal is not given back."""
    refused(["bound", "--loss", "x" * 10**6], capsys)
    refused(["bound", "--digits", "9" * 4000], capsys)
    refused(["\x1b[31m"], capsys)
    refused(["losses", "\x1b[31m\x07"], capsys)
