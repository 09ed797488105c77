"""A file that is written beside the one that it replaces, and takes its name once it is whole and on the disk.

Must not import VisiData. A draft lies in the folder of its target, so the rename is atomic. Its name begins with a dot,
so lists of files do not show it. A record of it, which its process keeps locked, lets a later session delete a draft
whose process was killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import threading
from pathlib import Path
from typing import NamedTuple

PREFIX = ".hub-save-"
# What SQLite leaves beside a database that it is writing.
SIDE_FILES = ("", "-journal", "-wal", "-shm")
_MAX_RECORD = 8192  # Bytes; a path has at most 4,096.


class Fingerprint(NamedTuple):
    """Tells one state of a file from another."""

    modified: int  # Nanoseconds.
    size: int
    inode: int


class ChangedMeanwhile(Exception):
    """Another program has changed the target since the save began."""


def fingerprint(path: str | Path) -> Fingerprint | None:
    """The state of the file that `path` leads to; None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return Fingerprint(found.st_mtime_ns, found.st_size, found.st_ino)


class Draft:
    """One save of `target`. Ends with `commit` or `discard`; after `discard` a commit does nothing.

    Symbolic links are followed: the file that they lead to is replaced. Raises OSError where the folder takes no file.
    """

    def __init__(self, target: str | Path, records: Path | None = None) -> None:
        self.target = Path(os.path.realpath(target))
        self._old = _regular(self.target)
        self._ended = False
        self._lock = threading.Lock()
        token = os.urandom(8).hex()
        self.path = self.target.with_name(f"{PREFIX}{token}{_ending(self.target.name)}")
        self._record = _Record(records / token, self.path) if records else None
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            self.discard()
            raise OSError(error.errno, f"{error.strerror} in the folder", str(self.target.parent)) from None
        try:
            # Until it is whole, no other user may read it.
            self._mode = stat.S_IMODE((self._old or os.fstat(file)).st_mode)
            os.fchmod(file, 0o600)
        finally:
            os.close(file)

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def commit(self, expected: Fingerprint | None) -> Fingerprint | None:
        """Put the draft in the place of its target, unless that is no longer as `expected`. Returns its new state.

        A target that was deleted meanwhile is made anew: nothing is lost by that.
        """
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if self._old is not None:
                with contextlib.suppress(OSError):  # A user may not give files away.
                    os.fchown(file, self._old.st_uid, self._old.st_gid)
            os.fchmod(file, self._mode)
            os.fsync(file)
        finally:
            os.close(file)
        with self._lock:
            if self._ended:
                return None
            if fingerprint(self.target) not in (expected, None):
                raise ChangedMeanwhile(f"{self.target.name} was changed by another program meanwhile")
            self.path.replace(self.target)
            self._ended = True
        with contextlib.suppress(OSError):
            _sync_folder(self.target.parent)
        self._forget()
        return fingerprint(self.target)

    def discard(self) -> None:
        """Delete the draft and leave the target as it is. Any number of times, also after a commit."""
        with self._lock:
            if not self._ended:
                self._ended = True
                _remove(self.path)
        self._forget()

    def _forget(self) -> None:
        if self._record is not None:
            self._record.close()


class _Record:
    """Names a draft, and is locked while its process lives. A disk that takes no more files has none."""

    def __init__(self, path: Path, draft: Path) -> None:
        self._path = path
        self._file = -1
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._file, os.fsencode(draft))

    def close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(file)


def sweep(records: Path) -> None:
    """Delete the drafts that killed processes have left."""
    with contextlib.suppress(OSError):
        for record in list(records.iterdir()):
            with contextlib.suppress(OSError):
                _sweep_one(record)


def _sweep_one(record: Path) -> None:
    file = os.open(record, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Raises BlockingIOError while its process lives.
        draft = Path(os.fsdecode(os.read(file, _MAX_RECORD)))
        if draft.name.startswith(PREFIX):
            _remove(draft)
        record.unlink()
    finally:
        os.close(file)


def _remove(path: Path) -> None:
    for side in SIDE_FILES:
        with contextlib.suppress(OSError):
            path.with_name(path.name + side).unlink()


def _regular(path: Path) -> os.stat_result | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a folder", str(path))
    return found


def _ending(name: str) -> str:
    """The ending of a file's name by which programs tell its format: `.csv`, `.csv.gz`."""
    found = re.search(r"(?:\.\w{1,12}){1,2}$", name[1:])
    return found[0] if found else ""


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
