"""A file on its way out: open, of a known size, and read in a thread, a piece at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Self

from app.errors import Conflict
from app.files.disk import translated, when
from app.threads import FILES

CHUNK = 256 * 1024  # Bytes read by one thread hop.


class Download:
    """An open file: `name`, `size` in bytes, `modified` (UTC), and its bytes by `async for`, once.

    The file is closed when the iteration ends or fails; a caller that may not get that far calls `aclose`. Exactly
    `size` bytes come; raises Conflict where the file shrank meanwhile, so that a download that was announced as whole
    cannot end early and look complete.
    """

    def __init__(
        self, user_id: str, name: str, file: io.FileIO, information: os.stat_result, closed: Callable[[], None]
    ) -> None:
        self.name = name
        self.size = information.st_size
        self.modified = when(information)
        self._user_id = user_id
        self._file = file
        self._left = self.size
        self._closed = closed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            await self.aclose()
            raise StopAsyncIteration
        try:
            chunk = await FILES.run(self._user_id, self._read)
            if not chunk:
                raise Conflict(f"“{self.name}” was cut short while it was read. Try again.")
        except BaseException:
            await self.aclose()
            raise
        self._left -= len(chunk)
        return chunk

    def __del__(self) -> None:
        self._closed()  # Dropped before an answer began; the file closes itself.

    async def aclose(self) -> None:
        """What Quart calls once a response has been sent, or its client has gone, at whatever point."""
        if not self._file.closed:
            self._closed()
            self._closed = _nothing
            await FILES.run_surely(self._user_id, self._file.close)

    def _read(self) -> bytes:
        with translated(self.name):
            return self._file.read(min(CHUNK, self._left)) or b""


def _nothing() -> None:
    """Already counted as closed."""
