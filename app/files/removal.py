"""Deleting folders of any depth, in slices, so that other work has its turn in between.

A folder is moved into a trash folder beside the homes, out of the reach of sessions, and is deleted there. Everything
here blocks: `app.files.homes` runs it in threads, one slice at a time.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator

from app.files.disk import FOLDER, opened

TRASH_PREFIX = ".trash-"
SLICE = 0.05  # Seconds that a thread works on a deletion before other jobs have their turn.


def discard(name: str, folder: int, root: int) -> str:
    """Move a folder into a new trash folder in one step; returns the name of the trash folder."""
    trash = f"{TRASH_PREFIX}{secrets.token_hex(8)}"
    os.mkdir(trash, 0o700, dir_fd=root)
    try:
        with opened(os.open(trash, FOLDER, dir_fd=root)) as descriptor:
            _move(name, folder, descriptor)
    except BaseException:
        os.rmdir(trash, dir_fd=root)
        raise
    return trash


def clear_slice(trash: str, root: str | os.PathLike[str]) -> bool:
    """Delete for SLICE seconds in a trash folder; returns whether all of it is gone, or all that can be now."""
    try:
        with opened(os.open(root, FOLDER)) as folder:
            ends = time.monotonic() + SLICE
            for _ in _clear(trash, folder):
                if time.monotonic() > ends:
                    return False
    except FileNotFoundError:
        return True  # Another replica has swept it.
    except OSError as error:
        # A program that is still at work in the folder may keep adding to it. For the person the folder is gone all
        # the same; a later sweep deletes the rest, once that program has ended.
        if error.errno != errno.ENOTEMPTY:
            raise
    return True


def is_abandoned(trash: int, older_than: float) -> bool:
    """Whether nothing has been deleted in this trash folder for so many seconds."""
    return os.fstat(trash).st_mtime < time.time() - older_than


def _clear(trash: str, root: int) -> Iterator[None]:
    """Delete a trash folder and all that is in it, yielding after each entry.

    Folders are moved up into the trash before theirs are looked at. So no depth of folders, which is the person's
    choice, can use up the descriptors or the stack of a process that serves everybody.
    """
    with opened(os.open(trash, FOLDER, dir_fd=root)) as descriptor:
        found = True
        while found:
            found = False
            with os.scandir(descriptor) as items:
                for item in items:
                    found = True
                    if stat.S_ISDIR(os.stat(item.name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                        yield from _dissolve(item.name, descriptor)
                    else:
                        os.unlink(item.name, dir_fd=descriptor)
                        yield
    os.rmdir(trash, dir_fd=root)


def _dissolve(name: str, trash: int) -> Iterator[None]:
    with opened(_open_writable(name, trash)) as folder:
        found = True
        while found:  # Deleting while scanning may skip entries on some file systems.
            found = False
            with os.scandir(folder) as items:
                for item in items:
                    found = True
                    if item.is_dir(follow_symlinks=False):
                        _move(item.name, folder, trash)
                    else:
                        os.unlink(item.name, dir_fd=folder)
                    yield
    os.rmdir(name, dir_fd=trash)


def _move(name: str, parent: int, trash: int) -> None:
    with opened(_open_writable(name, parent)):  # A folder must be writable to change its parent.
        os.rename(name, secrets.token_hex(8), src_dir_fd=parent, dst_dir_fd=trash)


def _open_writable(name: str, parent: int) -> int:
    """Open a folder whatever its permissions were: people have read-only ones (a cache of packages, say)."""
    try:
        descriptor = os.open(name, FOLDER, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)  # A link put here just now leads to nothing but the Hub's own files.
        descriptor = os.open(name, FOLDER, dir_fd=parent)
    os.fchmod(descriptor, 0o700)
    return descriptor
