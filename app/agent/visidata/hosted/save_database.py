"""SQLite databases as targets of a save, which adds tables to what is there. Must not import VisiData.

The database is copied into the draft first, so that a save that is cut off leaves the old one. A database in WAL mode
has its newest rows in a second file; they are brought into the first one, which needs that no other program uses it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from .save_draft import Fingerprint, fingerprint

_PATIENCE = 5.0  # Seconds to wait for another program's lock.


def is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


def tables(path: Path) -> set[str]:
    """The names of a database's tables; none where it cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_PATIENCE)) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return set()


def copy(target: Path, draft: Path, patience: float = _PATIENCE) -> tuple[bool, Fingerprint | None]:
    """Copy a database into a draft. Returns whether it is in WAL mode, and the state of `target` that was copied."""
    with (
        contextlib.closing(sqlite3.connect(target, timeout=patience)) as old,
        contextlib.closing(sqlite3.connect(draft)) as new,
    ):
        wal = old.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        if wal and old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise sqlite3.OperationalError("another program uses the database: save to another name")
        state = fingerprint(target)  # Before the copy: a change during it must not pass for the state that was copied.
        old.backup(new)
        if wal:
            new.execute("PRAGMA journal_mode = DELETE")
    _check_alone(target)
    return wal, state


def finish(target: Path, draft: Path, wal: bool) -> None:
    """The draft is written: give it the journal mode that it had."""
    if wal:
        with contextlib.closing(sqlite3.connect(draft)) as new:
            new.execute("PRAGMA journal_mode = WAL")
    _check_alone(target)


def _check_alone(target: Path) -> None:
    """A log with rows would be taken for the new database's, and ruin it."""
    with contextlib.suppress(FileNotFoundError):
        if target.with_name(target.name + "-wal").stat().st_size:
            raise sqlite3.OperationalError("another program writes to the database: save to another name")
