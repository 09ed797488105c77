"""Giving a finished upload its name without ever replacing what has that name, on any file system.

No single call works everywhere: NFS has no RENAME_NOREPLACE; CIFS, Azure Files, FUSE and many object stores have no hard
links. So there are three ways, tried in order. Each either claims the name in one step or raises FileExistsError.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

Way = Callable[[str, int, str, int], None]

# What a file system, a kernel or a seccomp filter answers to a call that it does not have.
UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOTTY})

_RENAME_NOREPLACE = 1
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28 and musl 1.2.5 have it.


def by_renameat2(source: str, home: int, name: str, folder: int) -> None:
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _renameat2(home, os.fsencode(source), folder, os.fsencode(name), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def by_link(source: str, home: int, name: str, folder: int) -> None:
    os.link(source, name, src_dir_fd=home, dst_dir_fd=folder, follow_symlinks=False)
    os.unlink(source, dir_fd=home)


def by_placeholder(source: str, home: int, name: str, folder: int) -> None:
    """An empty file claims the name, then the upload replaces it. A Hub that dies in between leaves the empty file."""
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder))
    try:
        os.rename(source, name, src_dir_fd=home, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


WAYS: tuple[Way, ...] = (by_renameat2, by_link, by_placeholder)


def place_new(source: str, home: int, name: str, folder: int, ways: Sequence[Way] = WAYS) -> None:
    """Move `source` in `home` to `name` in `folder`. Raises FileExistsError where the name is taken, by anything."""
    *others, last = ways
    for way in others:
        try:
            way(source, home, name, folder)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
        else:
            return
    last(source, home, name, folder)
