"""A net under the limits of a command: what is slow inside one call is stopped too."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from kltheory.errors import LimitReached

#: Address space that one command may take besides what is taken when it starts, in bytes.
MEMORY = 1 << 30


class Seconds(click.FloatRange):
    """An option's type: a time limit, above 0 and at most a day."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(0, 86400, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number; NaN, which no comparison refuses, is none."""
        seconds = float(super().convert(value, param, ctx))
        if seconds != seconds:
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


class _Stop(BaseException):
    """Raised by the timer; not an Exception, so that nothing on the way swallows it."""


@contextmanager
def within(seconds: float, *, option: str = "--limit", memory: int = MEMORY) -> Iterator[None]:
    """Run the body for at most `seconds` and in at most `memory` bytes, else `LimitReached`.

    The timer works in the main thread of systems that have one; elsewhere the body's own limits
    hold.
    """
    timed = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()

    def stop(signum: int, frame: Any) -> None:
        raise _Stop

    previous = signal.signal(signal.SIGALRM, stop) if timed else None
    restore = _limit_memory(memory)
    try:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
        yield
    except _Stop:
        raise LimitReached(
            f"no answer within {seconds:g} s; give more time with {option} SECONDS"
        ) from None
    except MemoryError:
        raise LimitReached(f"no answer within {memory >> 20} MiB of memory") from None
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        restore()


def _taken() -> int:
    """The address space of this process now; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return 0


def _limit_memory(memory: int) -> Any:
    """Lower the soft limit of address space; returns what puts it back."""
    try:
        import resource
    except ImportError:  # not a Unix
        return lambda: None
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory += _taken()
    if soft != resource.RLIM_INFINITY and soft <= memory:
        return lambda: None
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
    except (ValueError, OSError):
        return lambda: None
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
