"""Files on their way into a home: hidden until they are whole, then given their names, as a set or not at all.

Each upload holds a lock on its hidden file, so that `sweep` of any replica can tell one that is running, however long it
takes, from one that a dead Hub left behind. The blocking parts run in threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

from app.errors import BadInput, Conflict, HubError
from app.files import sets
from app.files.disk import CREATE, READ, Entry, look, look_alike, opened, translated, when, write_all
from app.files.names import UPLOAD_PREFIX, check_new_name, visible
from app.files.placing import place_new
from app.threads import FILES

CHUNK = 256 * 1024  # Bytes written by one thread hop: long enough to be worth it, short enough to cancel.
MAX_STAGED = 100  # Files of one request; each holds a descriptor.
MAX_TRIES = 100  # Names that may be taken by others between the look and the claim.


@dataclass
class Staged:
    """One upload: `name` is what it is to be called."""

    name: str
    hidden: str
    file: int
    size: int = 0
    pending: bytearray = field(default_factory=bytearray)

    def flush(self) -> None:
        write_all(self.file, self.pending)
        self.pending.clear()

    def finish(self) -> None:
        self.flush()
        os.fsync(self.file)


@dataclass(frozen=True, slots=True)
class Stored(Entry):
    """What became of an upload. `number` is that of its set (1: its own name); `note` is a sentence for the person."""

    number: int = 1
    note: str = ""
    replaced: int = 0  # Bytes of the file that had the name before.


class Batch:
    """Uploads into one folder that are placed together. `path` is the folder's, as the person gave it.

    `open` blocks, as do the other methods that are not async; `close` drops what was not placed.
    """

    def __init__(self, user_id: str, names: tuple[str, ...]) -> None:
        self.user_id = user_id
        self.names = names
        self.home = self.folder = -1
        self.staged: list[Staged] = []

    def open(self, home: int, folder: int) -> None:
        """Take over the descriptors of the home and of the folder in it."""
        self.home, self.folder = home, folder

    def close(self) -> None:
        for upload in self.staged:
            with suppress(OSError):  # What was placed is on the disk since `finish`.
                os.close(upload.file)
            if upload.hidden:
                with suppress(OSError):
                    os.unlink(upload.hidden, dir_fd=self.home)
        self.staged.clear()
        for descriptor in {self.home, self.folder} - {-1}:
            os.close(descriptor)
        self.home = self.folder = -1

    async def add(
        self,
        name: str,
        chunks: AsyncIterator[bytes],
        *,
        expected_size: int | None,
        taken: Callable[[int], HubError | None],
    ) -> None:
        """Take in a file. `taken` gets the number of bytes so far, and returns the error that ends the upload, if any."""
        check_new_name(name)
        if len(self.staged) >= MAX_STAGED:
            raise BadInput(f"Upload {MAX_STAGED} files at a time, at most.", field="file")
        upload = await FILES.run(self.user_id, self._stage, name)
        async for chunk in chunks:
            upload.size += len(chunk)
            if (error := taken(upload.size)) is not None:
                raise error
            upload.pending += chunk
            if len(upload.pending) >= CHUNK:
                await FILES.run(self.user_id, self._told, upload.flush)
        if expected_size is not None and upload.size != expected_size:
            raise BadInput(f"The upload broke off: {upload.size} of {expected_size} bytes came. Send it again.")
        await FILES.run(self.user_id, self._told, upload.finish)

    def check_free(self, name: str) -> None:
        """Tell a person about a taken name before a gigabyte has been sent. The claim itself is in `place`."""
        with self._translated():
            if look(name, self.folder) or look_alike(name, self.folder):
                raise self._taken(name)

    def replace(self) -> list[Stored]:
        """Give each upload its name; what has the name is replaced in one step."""
        placed = []
        with self._translated():
            for upload in self.staged:
                old = look(upload.name, self.folder)
                if old is None and (other := look_alike(upload.name, self.folder)):
                    raise Conflict(
                        f"There is a file here whose name looks the same, in another spelling of Unicode: {other!a}. "
                        "Use that name to replace it, or choose another one."
                    )
                try:
                    os.rename(upload.hidden, upload.name, src_dir_fd=self.home, dst_dir_fd=self.folder)
                except IsADirectoryError:
                    raise self._taken(upload.name) from None
                placed.append(self._placed(upload, upload.name, replaced=old.st_size if old else 0))
        return placed

    def place(self, together: Sequence[str] = (), number: int | None = None, *, renames: bool = True) -> list[Stored]:
        """Give the uploads names that are free, each set under one number.

        `together` are the names of the set that the only upload belongs to, where the others come in other requests;
        `number` is the one that an earlier member of it was given. Without `renames`, a taken name is a Conflict.
        """
        placed: dict[int, Stored] = {}
        names = [upload.name for upload in self.staged]
        for members in sets.groups(names):
            own = [self.staged[index] for index in members]
            whole = sorted({*together, *(upload.name for upload in own)}, key=lambda name: (len(name), name))
            with self._translated():
                found = self._place_set(own, whole, number, renames=renames)
            placed.update(zip(members, found, strict=True))
        return [placed[index] for index in sorted(placed)]

    def _place_set(self, own: list[Staged], whole: list[str], number: int | None, *, renames: bool) -> list[Stored]:
        leader, *others = own
        for _ in range(MAX_TRIES):
            given = number or self._free_number(whole)
            if given > 1 and not renames:
                break
            name = sets.numbered(leader.name, given, whole)
            if number and (look(name, self.folder) or look_alike(name, self.folder)):
                break
            try:
                place_new(leader.hidden, self.home, name, self.folder)
            except FileExistsError:
                if number:
                    break
                continue
            stored = [self._placed(leader, name, given, self._note(leader.name, name, whole))]
            for upload in others:
                name = sets.numbered(upload.name, given, whole)
                try:
                    place_new(upload.hidden, self.home, name, self.folder)
                except FileExistsError:
                    raise self._taken(name) from None  # A session made it just now. What is placed stays.
                stored.append(self._placed(upload, name, given))
            return stored
        raise self._taken(sets.numbered(leader.name, number or 1, whole))

    def _free_number(self, whole: list[str]) -> int:
        """A number under which no name of the set is taken. Few looks, however many numbers are taken already."""
        number = 1
        while not self._is_free(whole, number):
            number = number + 1 if number < 10 else number * 2
        taken = number // 2 if number > 10 else number
        while number - taken > 1:
            middle = (number + taken) // 2
            if self._is_free(whole, middle):
                number = middle
            else:
                taken = middle
        return number

    def _is_free(self, whole: list[str], number: int) -> bool:
        names = [sets.numbered(name, number, whole) for name in whole]
        return not any(look(name, self.folder) or look_alike(name, self.folder) for name in names) and not any(
            look(name, self.folder) for name in sets.strangers(names)
        )

    def _note(self, asked: str, given: str, whole: list[str]) -> str:
        main = sets.attaches_to(asked)
        if main is None or main in whole or given == asked:
            return ""
        return (
            f"“{visible(asked)}” is stored as “{visible(given)}”, so that it does not change “{visible(main)}”, which is "
            "here already. If the two belong together, upload both at once."
        )

    def _stage(self, name: str) -> Staged:
        with self._translated():
            hidden = f"{UPLOAD_PREFIX}{secrets.token_hex(8)}"
            upload = Staged(name, hidden, os.open(hidden, CREATE, 0o600, dir_fd=self.home))
            self.staged.append(upload)  # From here on `close` takes care of it.
            with suppress(OSError):  # A file system without locks: `is_abandoned` goes by the time.
                fcntl.flock(upload.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return upload

    def _placed(self, upload: Staged, name: str, number: int = 1, note: str = "", *, replaced: int = 0) -> Stored:
        upload.hidden = ""
        with suppress(OSError):  # Not every file system can; the file itself is safe on the disk.
            os.fsync(self.folder)
        information = os.fstat(upload.file)
        path = "/".join((*self.names, name))
        return Stored(name, path, "file", information.st_size, when(information), number, note, replaced)

    def _told(self, work: Callable[[], None]) -> None:
        with self._translated():
            work()

    def _translated(self) -> AbstractContextManager[None]:
        return translated("/".join(self.names) or "your files")

    def _taken(self, name: str) -> Conflict:
        path = "/".join((*self.names, name))
        return Conflict(f"There is already something named “{path}”. Choose another name, or replace it.")


def sweep(home: int, older_than: float) -> None:
    """Delete the hidden files of uploads that no longer run, in the home of this descriptor."""
    with os.scandir(home) as found:
        for item in found:
            if item.name.startswith(UPLOAD_PREFIX) and is_abandoned(item.name, home, older_than):
                with suppress(OSError):
                    os.unlink(item.name, dir_fd=home)


def is_abandoned(name: str, home: int, older_than: float) -> bool:
    try:
        descriptor = os.open(name, READ, dir_fd=home)
    except OSError:
        return True  # A link or a pipe that a person named so, or it has gone.
    with opened(descriptor):
        if os.fstat(descriptor).st_mtime > time.time() - older_than:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # NFS has no exclusive lock for a reader.
        except OSError as error:
            return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
