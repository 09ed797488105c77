"""People's own files on this machine: one folder for each user, the HOME of their local sessions.

The person has a shell in there and may change anything at any moment: links, pipes, folders swapped for links while a
request is on its way. So a path is never handed to the system whole. It is walked name by name from the home's own
descriptor, no link is ever followed, and what was opened is looked at, not what was there before. Must not know about
requests, users' rows or sessions. Disk work that can take long runs in a thread, a bounded piece at a time.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import secrets
import stat
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Literal, ParamSpec, Self, TypeVar

from app.errors import BadInput, Conflict, Forbidden, HubError, NotFound, TooLarge, Unavailable
from app.files.names import UPLOAD_PREFIX, check_new_name, numbered, parse_path, size_text

Given = ParamSpec("Given")
Result = TypeVar("Result")

CHUNK = 256 * 1024  # Bytes read or written by one thread hop: long enough to be worth it, short enough to cancel.
LOOKS = 10  # At what is to be deleted, while it turns into something else in between.

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe waits for its other end, for ever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# Folders on their way out lie beside the homes, out of the reach of sessions. No user id begins with a dot.
_TRASH_PREFIX = ".trash-"

MOST_LISTED = 1000  # Entries. A page of more is of no use to anybody, and takes a second to make.

_LATEST = datetime.max.replace(tzinfo=UTC).timestamp() - 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder of a home. `path` is posix, from the top of the home; `size` is in bytes, 0 for folders."""

    name: str
    path: str
    kind: Literal["file", "folder"]
    size: int
    modified: datetime


class Download:
    """An open file: `name`, `size` in bytes, `modified` (UTC), and its bytes by `async for`, once.

    The file is closed when the iteration ends or fails; who may not get that far uses the download as a context
    manager, or calls `close`. Exactly `size` bytes come; raises Conflict where the file shrank meanwhile, so that a
    download that was announced as whole cannot end early and look complete.
    """

    def __init__(self, name: str, file: io.FileIO) -> None:
        information = os.fstat(file.fileno())
        self.name = name
        self.size = information.st_size
        self.modified = _when(information)
        self._file = file
        self._left = self.size

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            self.close()
            raise StopAsyncIteration
        try:
            chunk = await _in_thread(self._file.read, min(CHUNK, self._left))
            if not chunk:
                raise Conflict(f"“{self.name}” was cut short while it was read. Try again.")
        except BaseException:
            self.close()
            raise
        self._left -= len(chunk)
        return chunk

    async def aclose(self) -> None:
        """What Quart calls once a response has been sent, or its client has gone, at whatever point."""
        self.close()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Homes:
    """The homes under one folder, each at `root/<user id>`. `max_upload` is the largest file taken, in bytes.

    Every `user_id` is a UUID in its usual spelling; ValueError otherwise, since ids never come from people. Every
    `path` is one that a person may have typed. All methods raise BadInput for a path that cannot be one, NotFound for
    what is not there (and for what is there but is no file or folder: a link, a pipe), Forbidden where the person's
    own permissions shut the Hub out, and Unavailable when the disk is full.
    """

    def __init__(self, root: Path, max_upload: int) -> None:
        self.root = root
        self.max_upload = max_upload

    def ensure(self, user_id: str) -> Path:
        """The home's path; the folder is made on first use (mode 0700)."""
        home = self._home(user_id)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
        return home

    async def list(
        self, user_id: str, folder: str = "", *, hidden: bool = False, most: int = MOST_LISTED
    ) -> Sequence[Entry]:
        """What lies in a folder: folders first, then files, each by name without regard to case.

        Links, pipes and names that are no text are left out, since nothing could be done with them here; so are the
        dot files, unless `hidden`. Of more than `most`, the first so many: a person can make a million files.
        """
        names = parse_path(folder)

        def look() -> Sequence[Entry]:
            with _told(folder), self._open_folder(user_id, names) as descriptor, os.scandir(descriptor) as found:
                entries = [entry for item in found if (entry := _entry(item, names))]
            shown = [entry for entry in entries if hidden or not entry.name.startswith(".")]
            return sorted(shown, key=lambda entry: (entry.kind == "file", entry.name.casefold(), entry.name))[:most]

        return await _in_thread(look)

    def entry(self, user_id: str, path: str) -> Entry:
        """The file or folder at the path."""
        folder, _, _ = path.rpartition("/")
        with self._open_parent(user_id, path) as (parent, name), os.scandir(parent) as found:
            for item in found:
                if item.name == name and (entry := _entry(item, parse_path(folder))) is not None:
                    return entry
        raise _not_found(path)

    def exists(self, user_id: str, path: str) -> bool:
        """Whether there is a file (not a folder) at the path."""
        try:
            with self._open_parent(user_id, path) as (folder, name):
                return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        except NotFound:
            return False

    async def read(self, user_id: str, path: str) -> Download:
        """Open a file for download. Raises BadInput for a folder."""
        with self._open_parent(user_id, path) as (folder, name):
            descriptor = os.open(name, _READ, dir_fd=folder)
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISREG(mode):
                return Download(name, io.FileIO(descriptor))
            os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise BadInput(f"“{path}” is a folder: download the files in it one by one.", field="path")
        raise _not_found(path)

    async def write(
        self,
        user_id: str,
        path: str,
        chunks: AsyncIterator[bytes],
        *,
        overwrite: bool = False,
        keep_both: bool = False,
        expected_size: int | None = None,
    ) -> Entry:
        """Store a file whole or not at all, and return what is there now.

        Where the name is taken: Conflict; with `overwrite` the old one is replaced in one step; with `keep_both` the
        new one becomes `name-2.csv`, `name-3.csv`... The folder must exist. Raises TooLarge as soon as more than
        `max_upload` bytes are announced (`expected_size`) or came, and BadInput when another number came than was
        announced. Nothing is left behind by a failure or a cancellation.
        """
        if expected_size is not None and expected_size > self.max_upload:
            raise self._too_large()
        with self._open_parent(user_id, path) as (folder, name), self._open_folder(user_id, ()) as home:
            check_new_name(name)
            target = _Target(folder, name, path, overwrite, keep_both)
            target.check()
            with _Upload(home, path) as upload:
                async for chunk in chunks:
                    if upload.size + len(chunk) > self.max_upload:
                        raise self._too_large()
                    await upload.add(chunk)
                if expected_size is not None and upload.size != expected_size:
                    raise BadInput(f"The upload broke off: {upload.size} of {expected_size} bytes came. Send it again.")
                return await upload.place(target)

    async def delete(self, user_id: str, path: str, *, recursive: bool = False) -> None:
        """Delete a file, a link or an empty folder; with `recursive`, a folder and all that is in it.

        Raises Conflict for a folder that is not empty, and BadInput for the home itself.
        """

        def remove() -> None:
            with self._open_parent(user_id, path) as (folder, name):
                for _ in range(LOOKS):
                    # The person's programs may put something else there between the look and the deed.
                    with suppress(IsADirectoryError, NotADirectoryError):
                        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                            os.unlink(name, dir_fd=folder)
                        elif recursive:
                            self._discard(name, folder)
                        else:
                            os.rmdir(name, dir_fd=folder)
                        return
                raise Conflict(f"“{path}” is changed all the time by something else. Try again.")

        await _in_thread(remove)

    async def delete_home(self, user_id: str) -> None:
        """Delete a home and all that is in it. Idempotent: no home is fine."""
        home = self._home(user_id)

        def remove() -> None:
            if home.is_dir():
                with suppress(FileNotFoundError), _opened(os.open(self.root, _FOLDER)) as root:
                    self._discard(home.name, root)

        await _in_thread(remove)

    async def sweep(self, older_than: timedelta = timedelta(hours=1)) -> None:
        """Clear away what a Hub that was killed has left: parts of uploads, and folders that were being deleted.

        Those in which nothing has happened for `older_than` are taken to be abandoned.
        """
        oldest = time.time() - older_than.total_seconds()

        def clear() -> None:
            if not self.root.is_dir():
                return
            with _opened(os.open(self.root, _FOLDER)) as root:
                for name in os.listdir(root):  # noqa: PTH208  (a descriptor, which a Path cannot list)
                    # One home whose permissions are odd must not keep the others from being swept.
                    with suppress(OSError), _opened(os.open(name, _FOLDER, dir_fd=root)) as folder:
                        if not name.startswith(_TRASH_PREFIX):
                            _clear_uploads(folder, oldest)
                        elif os.fstat(folder).st_mtime < oldest:
                            _clear_trash(name, root)

        await _in_thread(clear)

    def _home(self, user_id: str) -> Path:
        if str(uuid.UUID(user_id)) != user_id:
            raise ValueError(f"not a user id in its usual spelling: {user_id!r}")
        return self.root / user_id

    @contextmanager
    def _open_folder(self, user_id: str, names: tuple[str, ...]) -> Iterator[int]:
        """A descriptor of a folder, reached from the home without following a link."""
        descriptor = os.open(self.ensure(user_id), _FOLDER)
        try:
            for name in names:
                inner = os.open(name, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _open_parent(self, user_id: str, path: str) -> Iterator[tuple[int, str]]:
        """The folder that a path lies in, as a descriptor, and the last name. Translates the disk's errors."""
        names = parse_path(path)
        if not names:
            raise BadInput("Name a file: this is the whole of your files.", field="path")
        with _told(path), self._open_folder(user_id, names[:-1]) as folder:
            yield folder, names[-1]

    def _discard(self, name: str, parent: int) -> None:
        """Take a folder out of sight in one step, then delete what is in it."""
        with _opened(os.open(self.root, _FOLDER)) as root:
            trash = f"{_TRASH_PREFIX}{secrets.token_hex(8)}"
            os.mkdir(trash, 0o700, dir_fd=root)
            try:
                with _opened(os.open(trash, _FOLDER, dir_fd=root)) as descriptor:
                    _move(name, parent, descriptor)
            finally:
                try:
                    _clear_trash(trash, root)
                except OSError as error:
                    # A program that is still at work in the folder may add to it for ever. For the person it is
                    # gone all the same; `sweep` takes the rest once that program has ended.
                    if error.errno != errno.ENOTEMPTY:
                        raise

    def _too_large(self) -> TooLarge:
        return TooLarge(f"This file is too large: the most that can be uploaded is {size_text(self.max_upload)}.")


@dataclass(frozen=True, slots=True)
class _Target:
    """Where an upload goes, and what happens if the name is taken. `path` is the whole of it, for messages."""

    folder: int
    name: str
    path: str
    overwrite: bool
    keep_both: bool

    def check(self) -> None:
        """Tell a person about a taken name before a gigabyte has been sent. What counts is `take`."""
        with suppress(FileNotFoundError):
            mode = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False).st_mode
            if not self.keep_both and (stat.S_ISDIR(mode) or not self.overwrite):
                raise self._taken()

    def take(self, source: str, home: int) -> str:
        """Give a finished file its name, in one step; returns the name. The source may be left, as a second name."""
        if self.overwrite:
            try:
                os.rename(source, self.name, src_dir_fd=home, dst_dir_fd=self.folder)
            except IsADirectoryError:
                raise self._taken() from None
            return self.name
        name, number = self.name, 1
        while True:
            # Unlike a rename, a link never replaces what has the name already.
            try:
                os.link(source, name, src_dir_fd=home, dst_dir_fd=self.folder, follow_symlinks=False)
            except FileExistsError:
                if not self.keep_both:
                    raise self._taken() from None
                number += 1
                name = numbered(self.name, number)
            else:
                return name

    def _taken(self) -> Conflict:
        return Conflict(f"There is already something named “{self.path}”. Choose another name, or replace it.")


class _Upload:
    """A file on its way: bytes go to a hidden file at the top of the home, which is gone when the context ends."""

    def __init__(self, home: int, path: str) -> None:
        self.size = 0
        self._home = home
        self._path = path
        self._name = f"{UPLOAD_PREFIX}{secrets.token_hex(8)}"
        self._pending = bytearray()
        self._file = os.open(self._name, _CREATE, 0o600, dir_fd=home)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._file)
        with suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._home)

    async def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._pending += chunk
        if len(self._pending) >= CHUNK:
            await _in_thread(self._flush)

    async def place(self, target: _Target) -> Entry:
        """Make sure that the bytes are on the disk, then give the file its name."""

        def finish() -> Entry:
            self._flush()
            os.fsync(self._file)
            name = target.take(self._name, self._home)
            os.fsync(target.folder)
            information = os.fstat(self._file)
            path = self._path.removesuffix(target.name) + name
            return Entry(name, path, "file", information.st_size, _when(information))

        return await _in_thread(finish)

    def _flush(self) -> None:
        for start in range(0, len(self._pending), CHUNK):
            _write_all(self._file, bytes(self._pending[start : start + CHUNK]))
        self._pending.clear()


async def _in_thread(work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """Run work in a thread; even when cancelled, return only once the thread is done with what it was given.

    Otherwise the caller would close a descriptor that the thread is about to use, and by then the number may belong
    to another person's file.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *given, **named))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # Taken note of: the cancellation is what counts.
        raise


@contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])


def _entry(item: os.DirEntry[str], folder: tuple[str, ...]) -> Entry | None:
    try:
        item.name.encode()
        information = item.stat(follow_symlinks=False)
    except (UnicodeEncodeError, FileNotFoundError):  # No text, or gone since the folder was read.
        return None
    path = "/".join((*folder, item.name))
    if stat.S_ISDIR(information.st_mode):
        return Entry(item.name, path, "folder", 0, _when(information))
    if stat.S_ISREG(information.st_mode):
        return Entry(item.name, path, "file", information.st_size, _when(information))
    return None


def _when(information: os.stat_result) -> datetime:
    # `touch -d` takes years that a datetime does not.
    return datetime.fromtimestamp(min(max(information.st_mtime, 0), _LATEST), UTC)


def _clear_uploads(home: int, oldest: float) -> None:
    for name in os.listdir(home):
        if name.startswith(UPLOAD_PREFIX) and os.stat(name, dir_fd=home, follow_symlinks=False).st_mtime < oldest:
            os.unlink(name, dir_fd=home)


def _clear_trash(trash: str, root: int) -> None:
    """Delete a trash folder and all that is in it.

    Folders are moved up into the trash before theirs are looked at. So no depth of folders, which is the person's
    choice, can use up the descriptors or the stack of a process that serves everybody.
    """
    with _opened(os.open(trash, _FOLDER, dir_fd=root)) as descriptor:
        while names := os.listdir(descriptor):  # noqa: PTH208  (a descriptor, as above)
            for name in names:
                if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    _dissolve(name, descriptor)
                else:
                    os.unlink(name, dir_fd=descriptor)
    os.rmdir(trash, dir_fd=root)


def _dissolve(name: str, trash: int) -> None:
    with _opened(_open_writable(name, trash)) as folder:
        with os.scandir(folder) as found:
            items = list(found)
        for item in items:
            if item.is_dir(follow_symlinks=False):
                _move(item.name, folder, trash)
            else:
                os.unlink(item.name, dir_fd=folder)
    os.rmdir(name, dir_fd=trash)


def _move(name: str, parent: int, trash: int) -> None:
    with _opened(_open_writable(name, parent)):  # A folder must be writable to change its parent.
        os.rename(name, secrets.token_hex(8), src_dir_fd=parent, dst_dir_fd=trash)


def _open_writable(name: str, parent: int) -> int:
    """Open a folder whatever its permissions were: people have read-only ones (a cache of packages, say)."""
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)  # A link put here just now leads to nothing but the Hub's own files.
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    os.fchmod(descriptor, 0o700)
    return descriptor


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Translate the disk's errors into words for the person; what they can do nothing about is raised as it is."""
    try:
        yield
    except OSError as error:
        told = _words(error, path)
        if told is None:
            raise
        raise told from error


def _words(error: OSError, path: str) -> HubError | None:
    match error.errno:
        # ELOOP and ENOTDIR: a link, or something else that is no folder. ENXIO: a socket, or a device without one.
        case errno.ENOENT | errno.ENOTDIR | errno.ELOOP | errno.ENXIO | errno.ENODEV:
            return _not_found(path)
        case errno.ENOTEMPTY | errno.EEXIST:
            return Conflict(f"The folder “{path}” is not empty. Delete what is in it first, hidden files included.")
        case errno.EACCES | errno.EPERM:
            return Forbidden(f"The permissions of “{path}” do not allow this. Change them in a session (chmod).")
        # EFBIG: a limit on the size of files, set for this process or by the file system.
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return Unavailable("There is no room left on the disk: nothing was stored. Delete something, or try later.")
    return None


def _not_found(path: str) -> NotFound:
    return NotFound(f"There is nothing at “{path}” in your files." if path else "There is no such folder.")
