"""Symbolic work in a process that can be killed: a hanging integrator cannot be interrupted.

The parent sends one task as a line of JSON and reads events as they are found, so that what was
found before a limit is kept.  Expressions travel as plain lists (`kltheory.symbolic.wire`); nothing
that is received is executed.  A worker that is idle is used again.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Memory of one worker, in bytes of address space.
MEMORY = 1 << 30

_START = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    " from kltheory.symbolic.worker import serve; serve()"
)
#: Seconds within which a worker must have started.
_START_LIMIT = 60.0
_idle: list[_Worker] = []
_places = threading.BoundedSemaphore(max(1, os.cpu_count() or 1))
_lock = threading.Lock()


class _OutOfTime(BaseException):
    """Stops one attempt; not an Exception, so that no `except Exception` swallows it."""


class _Worker:
    """A child process and the lines that it has written."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self.ready = False
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was not yet sent is lost with the process
                    stream.close()


def prepare() -> None:
    """Start a worker now, so that it imports SymPy while the caller does something else."""
    with _lock:
        if not _idle and _can_spawn():
            _idle.append(_Worker())


def _can_spawn() -> bool:
    return bool(sys.executable) and sys.platform not in ("emscripten", "wasi")


@atexit.register
def _stop_all() -> None:
    with _lock:
        while _idle:
            _idle.pop().stop()


def _take() -> _Worker:
    """An idle worker that is alive, or a new one."""
    with _lock:
        while _idle:
            worker = _idle.pop()
            if worker.process.poll() is None:
                return worker
            worker.stop()
    return _Worker()


def events(task: dict[str, Any], seconds: float) -> Iterator[dict[str, Any]]:
    """The events of `kltheory.symbolic.rate.work` on `task`, for at most `seconds`.

    Where no process can be started (a browser) the work runs here, without a limit that can be
    enforced.
    """
    if not _can_spawn():
        from kltheory.symbolic.rate import work

        yield from work(task, seconds, lambda f, share: _unlimited(f))
        return
    with _places:  # no more workers than processors: each has its whole time
        yield from _exchange(task, seconds)


def _exchange(task: dict[str, Any], seconds: float) -> Iterator[dict[str, Any]]:
    worker = _take()
    finished = False
    try:
        with suppress(OSError):  # it died just now: its output ends, which is handled below
            worker.send({"task": task, "seconds": seconds})
        deadline = time.monotonic() + (seconds if worker.ready else _START_LIMIT)
        while True:
            try:
                line = worker.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                yield {"kind": "note", "text": f"symbolic work was stopped after {seconds:g} s"}
                return
            if line is None:
                yield {"kind": "note", "text": "symbolic work was stopped at its memory limit"}
                return
            event = json.loads(line)
            if event["kind"] == "ready":  # its start is not symbolic work
                worker.ready = True
                deadline = time.monotonic() + seconds + 0.2
            elif event["kind"] == "done":
                finished = True
                return
            else:
                yield event
    finally:
        if finished:
            with _lock:
                _idle.append(worker)
        else:
            worker.stop()


def _unlimited(f: Callable[[], Any]) -> Any:
    try:
        return f()
    except (Exception, RecursionError):
        return None


# ---------------------------------------------------------------------------------------------
# In the child


def serve() -> None:
    """Read tasks from standard input until it closes; write events to standard output."""
    _limit_memory()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not enter the protocol
    from kltheory.symbolic.rate import work

    out.write('{"kind": "ready"}\n')
    out.flush()
    for line in sys.stdin:
        message = json.loads(line)
        seconds = float(message["seconds"])
        end = time.monotonic() + seconds

        def attempt(f: Callable[[], Any], share: float, end: float = end) -> Any:
            return _timed(f, share, end - time.monotonic())

        try:
            for event in work(message["task"], seconds, attempt):
                out.write(json.dumps(event) + "\n")
                out.flush()
        except Exception as error:
            note = {
                "kind": "note",
                "text": f"symbolic work failed: {type(error).__name__}: {error}",
            }
            out.write(json.dumps(note) + "\n")
        out.write('{"kind": "done"}\n')
        out.flush()


def _timed(f: Callable[[], Any], work: float, left: float) -> Any:
    """f() for at most `work` CPU seconds and `left` seconds; None if it was stopped or failed.

    A busy machine makes an attempt longer, and does not take its share from it.
    """
    if left <= 0.01:
        return None
    over = False

    def stop(signum: int, frame: Any) -> None:
        nonlocal over
        if not over:  # once, whichever clock is the first
            over = True
            raise _OutOfTime

    if not hasattr(signal, "setitimer"):  # no interval timer: only the parent's limit holds
        return _unlimited(f)
    clocks = {
        signal.SIGALRM: (signal.ITIMER_REAL, left),
        signal.SIGPROF: (signal.ITIMER_PROF, work),
    }
    previous = {name: signal.signal(name, stop) for name in clocks}
    try:
        for timer, seconds in clocks.values():
            signal.setitimer(timer, seconds)
        try:
            return f()
        finally:
            for timer, _ in clocks.values():
                signal.setitimer(timer, 0)
    except (_OutOfTime, Exception):
        return None
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
