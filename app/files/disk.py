"""Walking, reading and naming what is on the disk, by descriptors, without ever following a link.

Everything here blocks: it runs in the threads of `app.threads.FILES`. What goes wrong becomes a HubError in `translated`.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from app.errors import BadInput, Conflict, Forbidden, HubError, NotFound, Unavailable
from app.files.names import spellings

log = logging.getLogger("hub.files")

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe waits for its other end indefinitely.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_LATEST = datetime.max.replace(tzinfo=UTC).timestamp() - 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder of a home. `path` is posix, from the top of the home; `size` is in bytes, 0 for folders."""

    name: str
    path: str
    kind: Literal["file", "folder"]
    size: int
    modified: datetime


def entry_of(name: str, path: str, information: os.stat_result) -> Entry | None:
    """None for what is neither a file nor a folder: a link, a pipe, a socket."""
    if stat.S_ISDIR(information.st_mode):
        return Entry(name, path, "folder", 0, when(information))
    if stat.S_ISREG(information.st_mode):
        return Entry(name, path, "file", information.st_size, when(information))
    return None


def when(information: os.stat_result) -> datetime:
    # `touch -d` takes years that a datetime does not.
    return datetime.fromtimestamp(min(max(information.st_mtime, 0), _LATEST), UTC)


@contextmanager
def opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def walk_down(top: int, names: tuple[str, ...]) -> int:
    """Open the folder that the names lead to, and close `top` in any case."""
    for name in names:
        with opened(top):
            top = os.open(spelled(name, top), FOLDER, dir_fd=top)
    return top


def look(name: str, folder: int) -> os.stat_result | None:
    """What has this name, a link as the link; None where nothing has."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise


def spelled(name: str, folder: int) -> str:
    """The name as the folder has it: this one, or where nothing has this one, its other spelling in Unicode."""
    return name if not spellings(name) or look(name, folder) else look_alike(name, folder) or name


def look_alike(name: str, folder: int) -> str | None:
    """A name in the folder that looks the same on a page, but is another one."""
    return next((other for other in spellings(name) if look(other, folder)), None)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise what the disk refuses as a HubError with words for the person; what an administrator must see is logged."""
    try:
        yield
    except (BlockingIOError, IsADirectoryError):
        raise
    except OSError as error:
        raise words_for(error, path) from error


def words_for(error: OSError, path: str) -> HubError:
    match error.errno:
        # ELOOP and ENOTDIR: a link, or something else that is no folder. ENXIO: a socket, or a device without one.
        case errno.ENOENT | errno.ENOTDIR | errno.ELOOP | errno.ENXIO | errno.ENODEV:
            return not_found(path)
        case errno.ENOTEMPTY | errno.EEXIST:
            return Conflict(f"The folder “{path}” is not empty. Delete what is in it first, hidden files included.")
        case errno.EACCES | errno.EPERM:
            return Forbidden(f"The permissions of “{path}” do not allow this. Change them in a session (chmod).")
        # EFBIG: a limit on the size of files, set for this process or by the file system.
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return Unavailable("There is no room left on the disk: nothing was stored. Delete something, or try later.")
        case errno.ENAMETOOLONG:
            return BadInput(f"The name “{path}” is too long for the disk. Choose a shorter one.", field="path")
    log.error("the disk refused “%s”: %s", path, error)
    match error.errno:
        case errno.EROFS:
            return Unavailable("The disk with your files is read-only: nothing was changed. Tell an administrator.")
        case errno.EMFILE | errno.ENFILE:
            return Unavailable("The Hub has too many files open at the moment. Try again in a minute.")
        case errno.ESTALE | errno.ETIMEDOUT | errno.EHOSTDOWN | errno.EHOSTUNREACH | errno.ENOTCONN:
            return Unavailable("The disk with your files does not answer. Try again in a moment.")
    return Unavailable(
        f"The disk with your files reports an error ({os.strerror(error.errno or 0)}). Tell an administrator."
    )


def not_found(path: str) -> NotFound:
    return NotFound(f"There is nothing at “{path}” in your files." if path else "There is no such folder.")
