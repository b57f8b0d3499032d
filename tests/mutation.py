"""Would the tests notice a wrong line?  Change one thing, and run the tests that reach it.

    python tests/mutation.py symbolic --sample 200 --seed 0

A mutant is one change of one place: a comparison, a sign, a number, a word, a condition, a returned
value, a keyword, a call.  Nothing is changed in docstrings, annotations, decorators, f-strings,
assertions and `raise` statements.  The sample is uniform over all places and the same for a seed,
as far as the code is the same.

Each mutant is judged in a private copy of the checkout, which is removed however this program ends,
by the tests that reach its line (else by those that reach its file), one of each test function
first, the fastest first, as many as normally take `--budget` seconds, until the first fails.  What
the tests reach is measured once per test file.  Symbolic work runs within the tests' process,
except for mutants of worker.py.  Each test has a limit of its processor time.  A failure of a test
that may have lacked time counts only if the same test passes on the unchanged code.

Verdicts are appended to verdicts.jsonl in the folder `--out`; what was killed is not judged again
while its function is the same, what survived only by other tests.  Mutants that no test can kill
are listed in tests/mutation_equivalent.toml, with the reason.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import difflib
import hashlib
import importlib
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = "tests/mutation_equivalent.toml"
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.Pow: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
Reach = dict[str, dict[str, Any]]


def digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Mutant:
    """One change of one place."""

    path: str
    function: str
    line: int
    was: str
    becomes: str
    span: tuple[int, int]
    """In the bytes of the module."""
    text: str
    """What stands there instead."""
    key: str
    """The same as long as the function, and the place within it, are the same."""

    def apply(self, original: str) -> str:
        raw, (first, last) = original.encode(), self.span
        return (raw[:first] + self.text.encode() + raw[last:]).decode()

    def diff(self, original: str) -> str:
        new, old = self.apply(original).splitlines(), original.splitlines()
        return "\n".join([*difflib.unified_diff(old, new, self.path, self.function, "", "", 2, "")])


def changes(node: ast.AST, returns_bool: bool) -> Iterator[ast.AST]:
    """What `node` may be changed into, for what is changed at this very node."""
    new: Any = copy.deepcopy(node)
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            new = copy.deepcopy(node)
            new.ops[i] = SWAPS[type(op)]()
            yield new
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        sides = ast.walk(node)
        words = (v for v in sides if isinstance(v, ast.Constant) and type(v.value) is str)
        if isinstance(node, ast.BoolOp) or not any(words):  # text is joined by + and nothing else
            new.op = SWAPS[type(node.op)]()
            yield new
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield ast.Constant(not value)
        elif isinstance(value, int):
            yield ast.Constant(value + 1)
        elif isinstance(value, float):
            yield ast.Constant(2 * value if value else 1.0)
        elif isinstance(value, str) and value.isidentifier():
            yield ast.Constant(value + "_")
    elif isinstance(node, ast.Return) and node.value is not None:
        if returns_bool:
            yield ast.Return(ast.UnaryOp(ast.Not(), node.value))
        elif not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Name) and node.id in NAMES:
        yield ast.Name(NAMES[node.id])
    elif isinstance(node, ast.Call):
        for i in range(len(node.keywords)):
            new = copy.deepcopy(node)
            del new.keywords[i]
            yield new
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Expr(ast.Constant(...))


def conditions(node: ast.AST) -> list[ast.expr]:
    tests = [node.test] if isinstance(node, ast.If | ast.IfExp | ast.While) else []
    tests += node.ifs if isinstance(node, ast.comprehension) else []
    same = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)  # negated by their own change
    return [
        test
        for test in tests
        if not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not))
        if not (
            isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], same)
        )
    ]


def mutants(path: str, source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its text."""
    raw = source.encode()
    starts = [0]
    for row in raw.splitlines(keepends=True):
        starts.append(starts[-1] + len(row))
    found: dict[str, Mutant] = {}
    tree = ast.parse(source)
    bodies = {top: digest(ast.get_source_segment(source, top)) for top in tree.body}

    def place(old: ast.stmt | ast.expr, new: ast.AST, owner: list[ast.stmt]) -> None:
        assert old.end_lineno is not None
        assert old.end_col_offset is not None
        first = starts[old.lineno - 1] + old.col_offset
        last = starts[old.end_lineno - 1] + old.end_col_offset
        text = ast.unparse(ast.fix_missing_locations(new))
        if isinstance(old, ast.expr) and not isinstance(new, ast.Constant | ast.Name | ast.Call):
            text = f"({text})"
        begin = raw.rfind(b"\n", 0, first) + 1
        end = raw.find(b"\n", last)
        was = b" ".join(raw[begin:end].split()).decode()
        tail = raw[last:end]
        becomes = b" ".join((raw[begin:first] + text.encode() + tail).split()).decode()
        name = ".".join(v.name for v in owner if isinstance(v, ast.FunctionDef | ast.ClassDef))
        at = (old.lineno - getattr(owner[0], "lineno", 0), old.col_offset)
        key = digest(path, name, bodies[owner[0]], at, becomes)
        found[key] = Mutant(path, name, old.lineno, was, becomes, (first, last), text, key)

    def visit(node: ast.AST, owner: list[ast.stmt], returns_bool: bool) -> None:
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert | ast.Import | ast.ImportFrom):
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Assign | ast.AnnAssign):
            if "__all__" in ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node):
                return
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node not in owner:
            owner = [*owner, node]
        if isinstance(node, ast.FunctionDef):
            returns_bool = isinstance(node.returns, ast.Name) and node.returns.id == "bool"
        if isinstance(node, ast.stmt | ast.expr):
            for new in changes(node, returns_bool):
                place(node, new, owner)
        for test in conditions(node):
            place(test, ast.UnaryOp(ast.Not(), test), owner)
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns", "decorator_list", "bases", "type_params"):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        visit(child, owner, returns_bool)

    for top in tree.body:
        visit(top, [top], False)
    return list(found.values())


# ---------------------------------------------------------------------------------------------
# Processes: each in a group of its own, named by a file, so that all can be ended


def janitor(place: Path) -> None:
    """Start a process that ends all others and removes `place` once this process is gone."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(writing)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends last, by itself
        os.read(reading, 1)  # nothing is written: this ends with the last holder of the other end
        for _ in range(3):
            for file in place.glob("*.group"):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(int(file.stem), signal.SIGKILL)
            time.sleep(0.1)
        shutil.rmtree(place, ignore_errors=True)
        os._exit(0)
    os.close(reading)
    os.environ["MUTATION_PIPE"] = str(writing)


def start(place: Path, work: Any) -> int:
    """Run `work` in a forked process; its exit code is what `work` returns."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        (place / f"{os.getpid()}.group").touch()
        pipe = os.environ.pop("MUTATION_PIPE", None)
        if pipe is not None:
            os.close(int(pipe))
        code = work()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.__stderr__, flush=True)
    finally:
        os._exit(code)


def wait(place: Path, pid: int, seconds: float) -> int | None:
    """The exit code; None where the process was ended by a limit."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        late = time.monotonic() > end
        if done or late:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            if late and not done:
                os.waitpid(pid, 0)
            (place / f"{pid}.group").unlink(missing_ok=True)
            return None if not done or os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        time.sleep(0.03)


class Chosen:
    """A plugin of pytest: runs the chosen tests in the given order, and notes what happened."""

    def __init__(self, tests: dict[str, float] | None, notes: Path, inline: bool) -> None:
        self.tests, self.notes, self.inline = tests, notes, inline
        self.seen: dict[str, list[Any]] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self.tests is not None:
            by_id = {item.nodeid: item for item in items}
            items[:] = [by_id[name] for name in self.tests if name in by_id]
        if self.inline:
            self.work_here()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.tests is not None:
            spent = resource.getrusage(resource.RUSAGE_SELF)
            limit = spent.ru_utime + spent.ru_stime + 15 + 5 * self.tests.get(nodeid, 0.0)
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))

    def pytest_runtest_logreport(self, report: Any) -> None:
        entry = self.seen.setdefault(report.nodeid, [0.0, "passed"])
        entry[0] += report.duration
        if report.outcome != "passed":
            entry[1] = report.outcome

    def pytest_sessionfinish(self) -> None:
        self.notes.write_text(json.dumps(self.seen))

    def work_here(self) -> None:
        """Symbolic work in this process, so that the lines it reaches belong to a test."""
        worker: Any = importlib.import_module("kltheory.symbolic.worker")
        rate = importlib.import_module("kltheory.symbolic.rate")

        def events(task: Any, seconds: float) -> Iterator[Any]:
            end = time.monotonic() + seconds

            def attempt(f: Any, share: float) -> Any:
                if threading.current_thread() is not threading.main_thread():
                    return worker._unlimited(f)
                return worker._timed(f, min(share, end - time.monotonic()))

            try:
                yield from rate.work(task, seconds, attempt)
            except Exception as error:  # as the worker does
                yield {"kind": "note", "text": f"symbolic work failed: {error}"}

        worker.events = events


def run_tests(tree: Path, arguments: list[str], plugin: Chosen) -> int:
    import pytest

    out = os.open(plugin.notes.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(tree)
    sys.path[0] = str(tree)
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    loaded = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # Hypothesis is there already
    always = ["-q", "-p", "no:cacheprovider", "--tb=line", *loaded]
    return int(pytest.main([*always, *arguments], plugins=[plugin]))


def copy_tree(to: Path) -> None:
    """What git knows or would add, with the times of the files, and compiled once."""
    names = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(names, cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    subprocess.run([sys.executable, "-m", "compileall", "-q", to / "kltheory"], check=True)


# ---------------------------------------------------------------------------------------------
# What the tests reach, and the verdicts


def reach(room: str, words: list[str], tree: Path, place: Path, out: Path) -> Reach:
    """Per test: its time, whether it passed, its file's state, the lines that it reaches.

    Where the code has changed since, the lines that are still the same are found again.
    """
    sources = sorted((tree / "kltheory" / room).glob("*.py"))
    texts = {file.relative_to(tree).as_posix(): file.read_text() for file in sources}
    states = {path: digest(text) for path, text in texts.items()}
    for path, state in states.items():
        (out / f"source-{state}.py").write_text(texts[path])
    files = [
        f for f in sorted((tree / "tests").glob("test_*.py")) if f"kltheory.{room}" in f.read_text()
    ]
    files += [file for file in sources if ">>> " in file.read_text()]
    files = [file for file in files if any(word in str(file.relative_to(tree)) for word in words)]
    known: Reach = {}
    for file in files:
        name = file.relative_to(tree).as_posix()
        cached = out / f"reach-{room}-{digest(name, file.read_text())}.json"
        if not cached.exists():
            began = time.monotonic()
            tests = measure(room, name, tree, place)
            cached.write_text(json.dumps({"sources": states, "tests": tests}))
            print(f"measured {name} in {time.monotonic() - began:.0f} s", flush=True)
        entry = json.loads(cached.read_text())
        for path in {p for p, state in entry["sources"].items() if states.get(p, state) != state}:
            old = (out / f"source-{entry['sources'][path]}.py").read_text()
            now = dict(same_lines(old, texts[path]))
            for test in entry["tests"].values():
                lines = test["lines"].get(path, [])
                test["lines"][path] = [now[line] for line in lines if line in now]
        known |= entry["tests"]
    return known


def same_lines(old: str, new: str) -> Iterator[tuple[int, int]]:
    """The numbers of the lines that both have."""
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    for i, j, size in matcher.get_matching_blocks():
        yield from zip(range(i + 1, i + size + 1), range(j + 1, j + size + 1), strict=True)


def measure(room: str, name: str, tree: Path, place: Path) -> Reach:
    import coverage

    notes = place / "measure.json"
    data_file = place / "coverage"
    data_file.unlink(missing_ok=True)

    def work() -> int:
        os.environ["COVERAGE_FILE"] = str(data_file)
        options = [f"--cov=kltheory/{room}", "--cov-context=test", "--cov-report="]
        return run_tests(tree, [*options, name], Chosen(None, notes, True))

    notes.write_text("{}")
    if wait(place, start(place, work), 1200.0) not in (0, 1):  # 1: a test failed
        log = notes.with_suffix(".log")
        raise SystemExit(f"{name} could not be run:\n{log.read_text() if log.exists() else ''}")
    state = digest((tree / name).read_text())
    tests: Reach = {
        test: {
            "seconds": seconds,
            "passed": how == "passed",
            "file": name,
            "state": state,
            "lines": {},
        }
        for test, (seconds, how) in json.loads(notes.read_text()).items()
        if how != "skipped"
    }
    data = coverage.CoverageData(str(data_file))
    if data_file.exists():
        data.read()
    for measured in data.measured_files():
        lines = defaultdict(list)
        for line, contexts in data.contexts_by_lineno(measured).items():
            for test in {context.rpartition("|")[0] for context in contexts} & tests.keys():
                lines[test].append(line)
        for test, numbers in lines.items():
            path = Path(measured).resolve().relative_to(tree.resolve()).as_posix()
            tests[test]["lines"][path] = sorted(numbers)
    return tests


def judges(mutant: Mutant, known: Reach, budget: float) -> tuple[bool, dict[str, float]]:
    """Whether a test reaches the line; the tests to run, in order, with their normal times."""
    at_file = {t: v for t, v in known.items() if v["lines"].get(mutant.path)}
    at_line = {t: v for t, v in at_file.items() if mutant.line in v["lines"][mutant.path]}
    cases = {(v["file"], t.partition("[")[2]) for t, v in at_line.items() if "[" in t}
    # What one test of a case has computed, the others take from a cache: they judge it as well.
    at_line |= {t: v for t, v in known.items() if (v["file"], t.partition("[")[2]) in cases}
    rank: Counter[str] = Counter()
    order = []
    for test, v in sorted((at_line or at_file).items(), key=lambda item: item[1]["seconds"]):
        function = test.partition("[")[0]
        order.append((rank[function], v["seconds"], test))
        rank[function] += 1
    chosen: dict[str, float] = {}
    for _, seconds, test in sorted(order):
        if sum(chosen.values()) + seconds <= budget or not chosen:
            chosen[test] = seconds
    return bool(at_line), chosen


def judge(mutant: Mutant, tests: dict[str, float], known: Reach, tree: Path, place: Path) -> Any:
    """(verdict, the test that failed, seconds)."""
    began = time.monotonic()
    file = tree / mutant.path
    original, times = file.read_text(), file.stat()
    notes = place / f"{tree.name}.json"

    def run(chosen: dict[str, float]) -> tuple[int | None, list[str]]:
        files = sorted({test.partition("::")[0] for test in chosen})
        notes.write_text("{}")
        plugin = Chosen(chosen, notes, not mutant.path.endswith("worker.py"))
        pid = start(place, lambda: run_tests(tree, ["-x", *files], plugin))
        code = wait(place, pid, 120 + 10 * sum(chosen.values()))
        failed = [t for t, (_, how) in json.loads(notes.read_text()).items() if how == "failed"]
        return code, failed

    tests = dict(tests)
    verdict, by = "survived", ""
    while tests:
        file.write_text(mutant.apply(original))
        try:
            code, failed = run(tests)
        finally:
            file.write_text(original)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        if code == 0:
            break
        by = failed[0] if failed else ""
        verdict = "timed out" if code is None else "killed"
        doubtful = by in tests and (tests[by] > 0.5 or not known[by]["passed"])
        if not doubtful or run({by: tests[by]})[0] == 0:
            break
        del tests[by]
        verdict, by = "survived", ""
    return verdict, by, round(time.monotonic() - began, 1)


def wilson(hits: int, of: int) -> str:
    """A share with its 95 % interval (Wilson 1927)."""
    if not of:
        return "none"
    z, p = 1.96, hits / of
    middle, width = p + z * z / 2 / of, z * math.sqrt(p * (1 - p) / of + z * z / 4 / of / of)
    low, high = ((middle + sign * width) / (1 + z * z / of) for sign in (-1, 1))
    return f"{100 * p:.1f} % ({hits} of {of}; 95 % interval {100 * low:.1f} to {100 * high:.1f})"


def accepted(points: list[Mutant], room: str) -> dict[str, str]:
    """Keys of the listed equivalent mutants, with the reasons; each entry must fit the code."""
    listed = tomllib.loads((ROOT / EQUIVALENT).read_text())["equivalent"]
    found: dict[str, str] = {}
    for entry in listed:
        place = tuple(entry[name] for name in ("path", "function", "was", "becomes"))
        keys = [m.key for m in points if (m.path, m.function, m.was, m.becomes) == place]
        if entry["path"].startswith(f"kltheory/{room}/") and not keys:
            raise SystemExit(f"{EQUIVALENT}: no mutant fits {place}")
        found |= dict.fromkeys(keys, entry["reason"])
    return found


def report(sample: list[Mutant], verdicts: dict[str, Any], equivalent: dict[str, str]) -> None:
    judged = [m for m in sample if m.key in verdicts]
    alive = [m for m in judged if verdicts[m.key]["verdict"] in ("survived", "not covered")]
    open_ = [m for m in alive if m.key not in equivalent]
    for mutant in open_:
        print("\n" + verdicts[mutant.key]["verdict"], f"{mutant.path}:{mutant.line}")
        print(mutant.diff((ROOT / mutant.path).read_text()))
    print(
        "\n"
        + ", ".join(
            f"{n} {v}" for v, n in Counter(verdicts[m.key]["verdict"] for m in judged).items()
        )
    )
    for path, n in Counter(m.path for m in judged).items():
        print(f"  {path}: {n - sum(m.path == path for m in open_)} of {n}")
    hits = len(judged) - len(alive)
    print("score:", wilson(hits, len(judged)))
    print("score without equivalent mutants:", wilson(hits, hits + len(open_)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("room", choices=["symbolic", "numeric"])
    parser.add_argument("--sample", type=int, default=200, help="how many mutants; 0: only measure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only mutants whose path contains this")
    parser.add_argument("--tests", nargs="*", default=[""], help="only files that contain these")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--budget", type=float, default=20.0, help="seconds of tests per mutant")
    parser.add_argument("--out", type=Path, help="folder of what was measured and of the verdicts")
    options = parser.parse_args()
    room, out = options.room, options.out or Path(tempfile.gettempdir()) / "kltheory-mutation"
    out.mkdir(parents=True, exist_ok=True)
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for name in ("pytest", "hypothesis", "sympy", "scipy.optimize", "scipy.special", "coverage"):
        importlib.import_module(name)  # once for all processes
    place = Path(tempfile.mkdtemp(prefix="kltheory-mutants-"))
    janitor(place)
    trees = [place / f"tree{i}" for i in range(max(1, options.jobs))]
    for tree in trees:
        copy_tree(tree)
    known = reach(room, options.tests, trees[0], place, out)
    files = sorted((trees[0] / "kltheory" / room).glob("*.py"))
    points = [
        mutant
        for file in files
        for mutant in mutants(file.relative_to(trees[0]).as_posix(), file.read_text())
    ]
    equivalent = accepted(points, room)
    points = [m for m in points if options.only in m.path]
    sample = sorted(points, key=lambda m: digest(options.seed, m.key))[: options.sample]
    log = out / "verdicts.jsonl"
    print(
        f"{len(points)} places, {len(sample)} in the sample, {len(known)} tests; {log}", flush=True
    )

    def read() -> dict[str, Any]:
        lines = log.read_text().splitlines() if log.exists() else []
        return {entry["key"]: entry for entry in map(json.loads, lines)}

    def work(i: int) -> int:
        before = read()
        for mutant in sample[i :: len(trees)]:
            covered, tests = judges(mutant, known, options.budget)
            state = digest(*(test + known[test]["state"] for test in tests))
            old = before.get(mutant.key, {"verdict": "", "state": ""})
            if old["verdict"] in ("killed", "timed out") or old["state"] == state:
                continue
            verdict, by, seconds = judge(mutant, tests, known, trees[i], place)
            if verdict == "survived" and not covered:
                verdict = "not covered"
            entry = {"key": mutant.key, "verdict": verdict, "by": by, "tests": len(tests)}
            entry |= {"seconds": seconds, "state": state, "path": mutant.path, "line": mutant.line}
            entry |= {"was": mutant.was, "becomes": mutant.becomes, "function": mutant.function}
            with log.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(f"{verdict:11} {seconds:6.1f} s  {mutant.path}:{mutant.line}", flush=True)
        return 0

    codes = [
        wait(place, pid, math.inf)
        for pid in [start(place, lambda i=i: work(i)) for i in range(len(trees))]
    ]
    if any(code != 0 for code in codes):
        raise SystemExit("a process of this program failed; what it had judged is kept")
    report(sample, read(), equivalent)


if __name__ == "__main__":
    main()
