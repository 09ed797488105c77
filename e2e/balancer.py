"""A small load balancer in front of several replicas, as the ones out there are: it looks at /readyz now and then, hands
each new connection to the next replica that said 200 when last asked, and leaves alone what is open.

It never tries a second replica for a connection: one that is handed to a replica that has gone breaks.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

LOOK_EVERY = 0.5  # Seconds between two looks at a replica,
ANSWER_WITHIN = 5.0  # and the longest that an answer may take.


class Balancer:
    """Listens on a port of this machine from `async with` on. Replicas are known by their ports."""

    def __init__(self) -> None:
        self.port = 0
        self.ready: list[int] = []
        self._last: dict[int, bool] = {}
        self._turn = 0
        self._changed = asyncio.Condition()
        self._looks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Balancer:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._looks | self._open:
            task.cancel()
        await asyncio.gather(*self._looks, *self._open, return_exceptions=True)

    def add(self, port: int) -> None:
        """Look at this replica from now on."""
        self._looks.add(asyncio.create_task(self._look(port), name=f"look at {port}"))

    async def until_ready(self, *ports: int) -> None:
        """Wait until new connections go to these replicas and to no other."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: set(self.ready) == set(ports))

    async def _look(self, port: int) -> None:
        while True:
            ready = False
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                # One that is dead refuses at once, and one that leaves says so at once: this is for one that is busy.
                async with asyncio.timeout(ANSWER_WITHIN):
                    ready = await is_ready(port)
            if ready != (port in self.ready):
                async with self._changed:
                    self.ready = [*self.ready, port] if ready else [one for one in self.ready if one != port]
                    self._changed.notify_all()
            await asyncio.sleep(LOOK_EVERY)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            if self.ready:
                self._turn += 1
                await _carry(reader, writer, self.ready[self._turn % len(self.ready)])
        finally:
            writer.close()


async def is_ready(port: int) -> bool:
    """Whether a Hub at this port says that people may be sent to it. Raises OSError and EOFError where none answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return b" 200 " in await reader.readuntil(b"\r\n")
    finally:
        writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Carry bytes both ways until either side has closed."""
    with suppress(OSError):
        there, back = await asyncio.open_connection("127.0.0.1", port)
        ways = [asyncio.create_task(_pour(reader, back)), asyncio.create_task(_pour(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.close()


async def _pour(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(64 * 1024):
            to.write(data)
            await to.drain()
