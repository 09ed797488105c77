"""The line to a Postgres, which tests can cut without a word, as a network does that drops packets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

from app.aio import Supervisor


class Line:
    """A relay to a Postgres that listens on a Unix socket. While it is `cut`, connections are accepted and nothing is
    carried."""

    def __init__(self, url: str) -> None:
        query = parse_qs(urlsplit(url).query)
        self._path = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._whole = asyncio.Event()
        self._whole.set()
        self._tasks = Supervisor()
        self.url = ""

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def replace(self) -> None:
        """Carry new connections, and leave those that there are dead: as when another machine takes the address over."""
        self._whole = asyncio.Event()
        self._whole.set()

    async def _serve(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        whole = self._whole
        try:
            await whole.wait()
            there, forth = await asyncio.open_unix_connection(self._path)
            self._tasks.spawn("answers", self._carry(there, back, whole))
            await self._carry(here, forth, whole)
        finally:
            await _close(back)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, whole: asyncio.Event) -> None:
        try:
            while data := await source.read(65536):
                await whole.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            await _close(target)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """A line to the Postgres at `url`; connect to its own `url`."""
    line = Line(url)

    def accept(here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        line._tasks.spawn("questions", line._serve(here, back))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    line.url = f"postgresql://hub@127.0.0.1:{server.sockets[0].getsockname()[1]}/postgres"
    try:
        yield line
    finally:
        server.close()
        await line._tasks.close()
