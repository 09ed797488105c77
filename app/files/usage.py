"""How much a home holds, where there is a limit to it. Measured by a bounded walk, and remembered for a minute.

Only what the Hub itself writes is held to the limit. The count is a lower bound for homes with more than MAX_ENTRIES
entries or more than MAX_DEPTH levels of folders.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from app.files.names import UPLOAD_PREFIX
from app.threads import FILES

FRESH = 60.0  # Seconds that a measurement is used.
SLICE = 0.05  # Seconds that a thread measures before other jobs have their turn.
MAX_ENTRIES = 100_000
MAX_DEPTH = 50

Opener = Callable[[tuple[str, ...]], AbstractContextManager[int]]


class Usage:
    """The bytes of each home, and of the uploads that are on their way into it. `limit` is in bytes; None: no limit."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._measured: dict[str, tuple[float, int]] = {}
        self._coming: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def room(self, user_id: str, opener: Opener) -> int | None:
        """Bytes that may still be stored in the home; None where there is no limit."""
        if self.limit is None:
            return None
        known = self._measured.get(user_id)
        if known is None or time.monotonic() - known[0] > FRESH:
            lock = self._locks.setdefault(user_id, asyncio.Lock())
            async with lock:  # One walk for all uploads that begin together.
                known = self._measured.get(user_id)
                if known is None or time.monotonic() - known[0] > FRESH:
                    known = time.monotonic(), await _measure(user_id, opener)
                    self._measured[user_id] = known
                    self._forget()
            self._locks.pop(user_id, None)
        return max(0, self.limit - known[1] - self._coming.get(user_id, 0))

    def expect(self, user_id: str, count: int) -> None:
        """Bytes of an upload have come; a negative count: it was stored or dropped."""
        if self.limit is not None:
            self._coming[user_id] = self._coming.get(user_id, 0) + count
            if not self._coming[user_id]:
                del self._coming[user_id]

    def exceeded(self, user_id: str) -> bool:
        """Whether the uploads that are on their way have filled the home by now, as far as it was measured."""
        known = self._measured.get(user_id)
        return self.limit is not None and known is not None and known[1] + self._coming.get(user_id, 0) > self.limit

    def stored(self, user_id: str, count: int) -> None:
        if (known := self._measured.get(user_id)) is not None:
            self._measured[user_id] = known[0], known[1] + count

    def changed(self, user_id: str) -> None:
        """Something was deleted: measure again before the next upload."""
        self._measured.pop(user_id, None)

    def _forget(self) -> None:
        old = time.monotonic() - FRESH
        for user_id in [one for one, (at, _) in self._measured.items() if at < old and one not in self._coming]:
            del self._measured[user_id]


async def _measure(user_id: str, opener: Opener) -> int:
    total, left = 0, MAX_ENTRIES
    folders: list[tuple[str, ...]] = [()]

    def look() -> None:
        nonlocal total, left
        ends = time.monotonic() + SLICE
        while folders and left > 0 and time.monotonic() < ends:
            names = folders.pop()
            # It may be gone by now, or shut: what cannot be looked at is not counted.
            with suppress(OSError), opener(names) as folder, os.scandir(folder) as found:
                for item in found:
                    left -= 1
                    if left < 0:
                        return
                    if not names and item.name.startswith(UPLOAD_PREFIX):
                        continue  # Counted as coming.
                    with suppress(OSError):
                        information = item.stat(follow_symlinks=False)
                        if stat.S_ISDIR(information.st_mode):
                            if len(names) < MAX_DEPTH:
                                folders.append((*names, item.name))
                        else:
                            total += information.st_size

    while folders and left > 0:
        await FILES.run(user_id, look)
    return total
