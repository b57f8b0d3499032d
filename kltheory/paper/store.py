"""Results on disk: one SQLite file, one transaction for each finished piece of work.

What was added is there after any kill; what was under way is not.  A store belongs to one sweep: it
keeps the sweep's name and settings and refuses any other, and it is held by one program at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from kltheory.errors import InputError, KLTheoryError, LimitReached

__all__ = ["Store", "canonical", "write_whole"]

_APPLICATION = 0x6B6C7468  # "klth"
_SCHEMA = "2"
_TABLES = (
    f"PRAGMA application_id = {_APPLICATION}",
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE runs (cell TEXT, run INTEGER, seed INTEGER NOT NULL, rows TEXT NOT NULL, "
    "cpu REAL NOT NULL, sum TEXT NOT NULL, PRIMARY KEY (cell, run)) WITHOUT ROWID",
    "CREATE TABLE failures (cell TEXT, run INTEGER, seed INTEGER NOT NULL, error TEXT NOT NULL, "
    "PRIMARY KEY (cell, run)) WITHOUT ROWID",
)

_UNWRITABLE = ("readonly", "unable to open", "is full", "disk I/O error")
"""What SQLite says where a file cannot be written; all else is damage."""


class Busy(KLTheoryError):
    """Another program holds the store."""

    exit_code = 3


def canonical(value: Any) -> str:
    """Return JSON text that is the same for equal values.

    >>> canonical({"n": 60, "k": 20})
    '{"k":20,"n":60}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sum(cell: str, run: int, seed: int, rows: str) -> str:
    """Return what changes with any bit of a run that is kept."""
    text = canonical([cell, run, seed, rows])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_whole(path: Path, text: str) -> None:
    """Write a file that is then there whole or not at all."""
    draft = path.with_name(f".kltheory-{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


class Store:
    """The results of one sweep; a context manager that holds the file.

    Raises InputError for a file that is damaged, or is not a store of this sweep; `Busy` if another
    program has it open.  The file is left as it was in each case.
    """

    def __init__(
        self, path: str | Path, name: str, settings: Mapping[str, Any], *, fresh: bool = False
    ) -> None:
        """Open the store of the sweep `name`, or make it; `fresh` empties one that is there."""
        self.path = Path(path)
        self._about = {"schema": _SCHEMA, "name": name, "settings": canonical(settings)}
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=0.5)
        except sqlite3.Error as error:
            raise InputError(f"cannot open {str(self.path)!r}: {error}.") from None
        try:
            self._open(fresh)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._db.close()
            if "locked" in str(error):
                raise Busy(
                    f"{str(self.path)!r} is in use by another run: wait for it, or write to "
                    "another directory."
                ) from None
            if any(words in str(error) for words in _UNWRITABLE):
                raise InputError(f"cannot write {str(self.path)!r}: {error}.") from None
            raise InputError(
                f"{str(self.path)!r} is damaged or no store of results ({error}); it was left as "
                "it is. Move it away, or write to another directory."
            ) from None
        except BaseException:
            self._db.close()
            raise

    def _open(self, fresh: bool) -> None:
        # Held from here until `close`, or until this process ends in any way.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            count = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if count == 0:
                self._create()
                return
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            if self._db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
                raise sqlite3.DatabaseError("it holds something else")
            self._check(fresh)

    def _create(self) -> None:
        for statement in _TABLES:
            self._db.execute(statement)
        self._db.executemany("INSERT INTO about VALUES (?, ?)", self._about.items())

    def _check(self, fresh: bool) -> None:
        """Refuse the store of another sweep, and say what differs; and one that is damaged."""
        tables = {sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_master")}
        about = {}
        if _TABLES[1] in tables:
            about = dict(self._db.execute("SELECT name, value FROM about").fetchall())
        for key, what in (("schema", "format"), ("name", "figure")):
            if about.get(key) != self._about[key]:
                raise InputError(
                    f"{str(self.path)!r} holds the {what} {about.get(key)!r}, not "
                    f"{self._about[key]!r}; write to another directory."
                )
        if tables != set(_TABLES[1:]):
            raise sqlite3.DatabaseError("its tables are others")
        if fresh:
            self._db.execute("DELETE FROM runs")
            self._db.execute("DELETE FROM failures")
            self._db.executemany("REPLACE INTO about VALUES (?, ?)", self._about.items())
            return
        try:
            old, new = (json.loads(a["settings"]) for a in (about, self._about))
        except (ValueError, KeyError, TypeError):
            raise sqlite3.DatabaseError("its settings are unreadable") from None
        if not isinstance(old, dict):
            raise sqlite3.DatabaseError("its settings are unreadable")
        if old != new:
            names = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
            shown = "; ".join(f"{k}: {old.get(k)!r}, now {new.get(k)!r}" for k in names[:4])
            raise InputError(
                f"{str(self.path)!r} holds results of other settings ({shown}): write to another "
                "directory, or start over without resuming."
            )
        for *run, found in self._db.execute("SELECT cell, run, seed, rows, sum FROM runs"):
            if not all(map(isinstance, run, (str, int, int, str))) or found != _sum(*run):
                raise sqlite3.DatabaseError("a run in it was changed")

    @contextmanager
    def _transaction(self) -> Any:
        self._db.execute("BEGIN EXCLUSIVE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise

    def add(
        self,
        runs: Iterable[tuple[str, int, int, str, float]] = (),
        failures: Iterable[tuple[str, int, int, str]] = (),
    ) -> None:
        """Add finished runs (cell, run, seed, rows, cpu) and failed ones, all or none.

        Raises LimitReached if the disk is full; what was added before is kept.
        """
        runs = list(runs)
        try:
            with self._transaction():
                self._db.executemany(
                    "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)",
                    ((*run, _sum(*run[:4])) for run in runs),
                )
                self._db.executemany(
                    "DELETE FROM failures WHERE cell = ? AND run = ?", [r[:2] for r in runs]
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", failures
                )
        except sqlite3.OperationalError as error:
            raise LimitReached(
                f"cannot write {str(self.path)!r}: {error}. What was finished before is kept: make "
                "room, and the same call goes on."
            ) from None

    def done(self) -> set[tuple[str, int]]:
        """Return the (cell, run) that are there."""
        return set(self._db.execute("SELECT cell, run FROM runs"))

    def rows(self, cell: str, runs: int) -> list[tuple[int, int, str]]:
        """Return (run, seed, rows) of a cell, in order, of the first so many runs."""
        return self._db.execute(
            "SELECT run, seed, rows FROM runs WHERE cell = ? AND run < ? ORDER BY run", (cell, runs)
        ).fetchall()

    def failures(self) -> list[tuple[str, int, int, str]]:
        """Return the (cell, run, seed, error) of runs that failed and were not done since."""
        return self._db.execute(
            "SELECT cell, run, seed, error FROM failures ORDER BY cell, run"
        ).fetchall()

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time spent on each cell, over all sessions."""
        return dict(self._db.execute("SELECT cell, sum(cpu) FROM runs GROUP BY cell"))

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
