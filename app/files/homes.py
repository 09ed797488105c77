"""People's own files on this machine: one folder for each user, the HOME of their local sessions.

The person has a shell in there and may change anything at any moment: links, pipes, folders swapped for links while a
request is on its way. So a path is never handed to the system whole. It is walked name by name from the home's own
descriptor, no link is ever followed, and what was opened is looked at, not what was there before. Must not know about
requests, users' rows or sessions. All that touches the disk runs in the threads of `app.threads.FILES`, a bounded piece
at a time and in turn with other people's: homes may be on a network.
"""

from __future__ import annotations

import asyncio
import os
import stat
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from app.errors import BadInput, Conflict, HubError, LimitReached, NotFound, TooLarge
from app.files import removal, uploads
from app.files.disk import FOLDER, READ, Entry, entry_of, not_found, opened, spelled, translated, walk_down
from app.files.downloads import Download
from app.files.listing import MAX_LISTED, Listing, scan
from app.files.names import parse_path, size_text
from app.files.uploads import Batch, Stored
from app.files.usage import Usage
from app.threads import FILES

Result = TypeVar("Result")

MAX_DELETE_ATTEMPTS = 10  # The entry may change between stat() and unlink().
MAX_TRANSFERS = 32  # Uploads and downloads of one person at the same time; each holds descriptors.
TRANSFER_RETRY = 5  # Seconds after which a refused transfer may be tried again.
SWEEPER = "sweeper"  # Owns the work that is no person's.


class Homes:
    """The homes under one folder, each at `root/<user id>`.

    `max_upload` is the largest file taken, in bytes; `max_home` is what a home may hold before uploads are refused.
    Every `user_id` is a UUID in its usual spelling; ValueError otherwise, since ids never come from people. Every
    `path` is one that a person may have typed; a name that is not there leads to its other spelling in Unicode. All
    methods raise BadInput for a path that cannot be one, NotFound for what is not there (and for what is there but is
    no file or folder: a link, a pipe), Forbidden where the person's own permissions shut the Hub out, and Unavailable
    when the disk is full or fails.
    """

    def __init__(self, root: Path, max_upload: int, max_home: int | None = None) -> None:
        self.root = root
        self.max_upload = max_upload
        self.usage = Usage(max_home)
        self._transfers: Counter[str] = Counter()

    def ensure(self, user_id: str) -> Path:
        """The home's path; the folder is made on first use (mode 0700). Blocks."""
        home = self._home(user_id)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
        return home

    async def list(self, user_id: str, folder: str = "", *, hidden: bool = False, most: int = MAX_LISTED) -> Listing:
        """What lies in a folder: folders first, then files, each by name without regard to case.

        Links, pipes and names that are no text are left out, since nothing could be done with them here; so are the
        dot files, unless `hidden`. Of more than `most`, some: a person can make a million files, and no more of them
        is read than is shown.
        """
        names = parse_path(folder)

        def look() -> Listing:
            with translated(folder), self._open_folder(user_id, names) as descriptor:
                return scan(descriptor, names, hidden=hidden, most=most)

        return await FILES.run(user_id, look)

    async def entry(self, user_id: str, path: str) -> Entry:
        """The file or folder at the path."""

        def look() -> Entry:
            with self._open_parent(user_id, path) as (parent, name):
                given = "/".join((*parse_path(path)[:-1], name))
                entry = entry_of(name, given, os.stat(name, dir_fd=parent, follow_symlinks=False))
            if entry is None:
                raise not_found(path)
            return entry

        return await FILES.run(user_id, look)

    async def exists(self, user_id: str, path: str) -> bool:
        """Whether there is a file (not a folder) at the path."""
        try:
            return (await self.entry(user_id, path)).kind == "file"
        except NotFound:
            return False

    async def read(self, user_id: str, path: str) -> Download:
        """Open a file for download. Raises BadInput for a folder."""
        made: list[Download] = []
        end = self._begin_transfer(user_id)

        def start() -> None:
            with self._open_parent(user_id, path) as (folder, name):
                descriptor = os.open(name, READ, dir_fd=folder)
                information = os.fstat(descriptor)
                if stat.S_ISREG(information.st_mode):
                    made.append(Download(user_id, name, FileIO(descriptor), information, end))
                    return
                os.close(descriptor)
            if stat.S_ISDIR(information.st_mode):
                raise BadInput(f"“{path}” is a folder: download the files in it one by one.", field="path")
            raise not_found(path)

        try:
            await FILES.run(user_id, start)
        except BaseException:
            for download in made:
                await download.aclose()
            if not made:
                end()
            raise
        return made[0]

    async def write(
        self,
        user_id: str,
        path: str,
        chunks: AsyncIterator[bytes],
        *,
        overwrite: bool = False,
        keep_both: bool = False,
        expected_size: int | None = None,
        most: int | None = None,
        together: Sequence[str] = (),
        number: int | None = None,
    ) -> Stored:
        """Store a file whole or not at all, and return what is there now.

        Where the name is taken: Conflict; with `overwrite` the old one is replaced in one step; with `keep_both` the
        new one becomes `name-2.csv`, `name-3.csv`..., under the same number as the other names of its set (`together`,
        `number`: see `Batch.place`). The folder must exist. Raises TooLarge as soon as more than `max_upload` bytes
        (or `most`) are announced (`expected_size`) or came, or more than the home has room for, and BadInput when
        another number came than was announced. Nothing is left behind by a failure or a cancellation.
        """
        self._check_size(expected_size or 0, most)
        *folders, name = parse_path(path) or ("",)
        if not name:
            raise _whole()
        async with self.batch(user_id, "/".join(folders)) as batch:
            if not overwrite and not keep_both:
                await FILES.run(user_id, batch.check_free, name)
            await self.add(batch, name, chunks, expected_size=expected_size, most=most)
            place = batch.replace if overwrite else lambda: batch.place(together, number, renames=keep_both)
            (stored,) = await self.place(batch, place)
            return stored

    @asynccontextmanager
    async def batch(self, user_id: str, folder: str) -> AsyncIterator[Batch]:
        """Uploads that are placed together: see `add` and `place`. What was not placed at the end is dropped."""
        names = parse_path(folder)
        batch = Batch(user_id, names)
        end = self._begin_transfer(user_id)

        def start() -> None:
            with translated(folder):
                home = os.open(self.ensure(user_id), FOLDER)
                try:
                    batch.open(home, walk_down(os.dup(home), names))
                except BaseException:
                    os.close(home)
                    raise

        try:
            try:
                await FILES.run(user_id, start)
            except NotFound:
                raise NotFound(
                    f"There is no folder “{folder}” in your files, so nothing was stored. Store it in one that is there."
                ) from None
            yield batch
        finally:
            self.usage.expect(user_id, -sum(upload.size for upload in batch.staged))
            await FILES.run_surely(user_id, batch.close)
            end()

    async def add(
        self,
        batch: Batch,
        name: str,
        chunks: AsyncIterator[bytes],
        *,
        expected_size: int | None = None,
        most: int | None = None,
    ) -> None:
        """Take in one file of a batch."""
        self._check_size(expected_size or 0, most)
        room = await self.usage.room(batch.user_id, lambda names: self._open_folder(batch.user_id, names))
        before = sum(upload.size for upload in batch.staged)
        self._check_room(expected_size or 0, room)
        counted = 0

        def taken(size: int) -> HubError | None:
            nonlocal counted
            self.usage.expect(batch.user_id, size - counted)
            counted = size
            try:
                self._check_size(size, most)
                self._check_room(size, room)
                if self.usage.exceeded(batch.user_id):  # By another upload that began later.
                    self._check_room(1, 0)
            except TooLarge as error:
                return error
            return None

        try:
            await batch.add(name, chunks, expected_size=expected_size, taken=taken)
        finally:
            staged = sum(upload.size for upload in batch.staged) - before
            self.usage.expect(batch.user_id, staged - counted)

    async def place(self, batch: Batch, place: Callable[[], Sequence[Stored]]) -> Sequence[Stored]:
        """Give the files of a batch their names: `place` is its `place` or `replace`."""
        stored = await FILES.run(batch.user_id, place)
        self.usage.stored(batch.user_id, sum(one.size - one.replaced for one in stored))
        return stored

    async def delete(self, user_id: str, path: str, *, recursive: bool = False) -> None:
        """Delete a file, a link or an empty folder; with `recursive`, a folder and all that is in it.

        Raises Conflict for a folder that is not empty, and BadInput for the home itself.
        """

        def remove() -> str | None:
            with self._open_parent(user_id, path) as (folder, name):
                for _ in range(MAX_DELETE_ATTEMPTS):
                    # The person's programs may put something else there between the look and the deed.
                    with suppress(IsADirectoryError, NotADirectoryError):
                        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                            os.unlink(name, dir_fd=folder)
                        elif recursive:
                            with opened(os.open(self.root, FOLDER)) as root:
                                return removal.discard(name, folder, root)
                        else:
                            os.rmdir(name, dir_fd=folder)
                        return None
                raise Conflict(f"“{path}” is changed all the time by something else. Try again.")

        async def all_of_it() -> None:
            if trash := await FILES.run(user_id, remove):
                await self._clear(user_id, trash, path)

        self.usage.changed(user_id)
        await _to_its_end(all_of_it())

    async def delete_home(self, user_id: str) -> None:
        """Delete a home and all that is in it. Idempotent: no home is fine."""
        home = self._home(user_id)

        def remove() -> str | None:
            with suppress(FileNotFoundError), opened(os.open(self.root, FOLDER)) as root:
                if stat.S_ISDIR(os.stat(home.name, dir_fd=root, follow_symlinks=False).st_mode):
                    return removal.discard(home.name, root, root)
            return None

        async def all_of_it() -> None:
            if trash := await FILES.run(user_id, remove):
                await self._clear(user_id, trash)

        await _to_its_end(all_of_it())

    async def sweep(self, older_than: timedelta = timedelta(hours=1)) -> None:
        """Clear away what a Hub that was killed has left: parts of uploads, and folders that were being deleted.

        Folders in which nothing has happened for `older_than` are taken to be abandoned, and uploads that no running
        Hub has a lock on.
        """
        seconds = older_than.total_seconds()

        def found() -> list[str]:
            return os.listdir(self.root) if self.root.is_dir() else []  # noqa: PTH208  (names, not paths)

        def clear(name: str) -> bool:
            # One home whose permissions are odd must not keep the others from being swept.
            with suppress(OSError), opened(os.open(self.root / name, FOLDER)) as folder:
                if name.startswith(removal.TRASH_PREFIX):
                    return removal.is_abandoned(folder, seconds)
                uploads.sweep(folder, seconds)
            return False

        for name in await FILES.run(SWEEPER, found):
            if await FILES.run(SWEEPER, clear, name):
                with suppress(OSError, HubError):
                    await self._clear(SWEEPER, name)

    async def _clear(self, owner: str, trash: str, path: str = "") -> None:
        def clear() -> bool:
            with translated(path):
                return removal.clear_slice(trash, self.root)

        while True:
            try:
                if await FILES.run(owner, clear):
                    return
            except LimitReached:
                await asyncio.sleep(0.1)  # The folder is out of sight already; it has to go in the end.

    def _home(self, user_id: str) -> Path:
        if str(uuid.UUID(user_id)) != user_id:
            raise ValueError(f"not a user id in its usual spelling: {user_id!r}")
        return self.root / user_id

    @contextmanager
    def _open_folder(self, user_id: str, names: tuple[str, ...]) -> Iterator[int]:
        """A descriptor of a folder, reached from the home without following a link."""
        with opened(walk_down(os.open(self.ensure(user_id), FOLDER), names)) as descriptor:
            yield descriptor

    @contextmanager
    def _open_parent(self, user_id: str, path: str) -> Iterator[tuple[int, str]]:
        """The folder that a path lies in, as a descriptor, and the last name. Translates the disk's errors."""
        names = parse_path(path)
        if not names:
            raise _whole()
        with translated(path), self._open_folder(user_id, names[:-1]) as folder:
            yield folder, spelled(names[-1], folder)

    def _begin_transfer(self, user_id: str) -> Callable[[], None]:
        """Count an upload or a download; gives what ends it. Raises LimitReached at MAX_TRANSFERS of one person."""
        if self._transfers[user_id] >= MAX_TRANSFERS:
            raise LimitReached(
                "Too many of your files are on their way at once. Try again when some have arrived.",
                retry_after=TRANSFER_RETRY,
            )
        self._transfers[user_id] += 1

        def end() -> None:
            self._transfers[user_id] -= 1
            if not self._transfers[user_id]:
                del self._transfers[user_id]

        return end

    def _check_size(self, size: int, most: int | None) -> None:
        limit = min(self.max_upload, most if most is not None else self.max_upload)
        if size > limit:
            raise TooLarge(f"This file is too large: the most that can be uploaded is {size_text(limit)}.")

    def _check_room(self, size: int, room: int | None) -> None:
        if room is not None and size > room:
            raise TooLarge(
                f"Your files may take {size_text(self.usage.limit or 0)} in all, and {size_text(room)} of that is left: "
                "nothing was stored. Delete something first."
            )


async def _to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work; when cancelled, finish it before the cancellation takes effect."""
    task = asyncio.create_task(work, name="delete files")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # Retrieved: the cancellation takes precedence.
        raise


def _whole() -> BadInput:
    return BadInput("Name a file: this is the whole of your files.", field="path")
