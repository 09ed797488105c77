"""A small server that speaks GoTTY's protocol, for the relay's tests. It plays the program too, as the test says."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

CREDENTIAL = "hub:secret"
CODES = {"gotty": ("0", "1", "2", "0", "1", "2"), "webtty": ("1", "2", "3", "1", "2", "3")}


class FakeGotty:
    """Serves on an ephemeral port. What it saw is in `typed`, `sizes`, `openings` and `headers`."""

    def __init__(self, subprotocol: str = "webtty") -> None:
        self.subprotocol = subprotocol
        self.typed = ""
        self.sizes: list[tuple[int, int]] = []
        self.openings: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.pings = 0
        self.deaf = False  # Whether it stops reading, as a program that is stuck does.
        self.silent = False  # Whether it stops answering pings.
        self.on_resize: Callable[[], bytes] | None = None
        self.connections: set[ServerConnection] = set()
        self.address = ""
        self._changed = asyncio.Condition()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        port = int(self.address.rpartition(":")[2] or 0)
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            port,
            subprotocols=[self.subprotocol],  # type: ignore[list-item]
            compression=None,
            ping_interval=None,
            close_timeout=0.1,
        )
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Break every connection, as a crash does: no farewell."""
        assert self._server is not None
        for connection in list(self.connections):
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(seen)

    async def write(self, data: bytes) -> None:
        """The program writes: to all connections, as one that many clients hold does."""
        text = CODES[self.subprotocol][3] + base64.b64encode(data).decode()
        for connection in list(self.connections):
            await connection.send(text)

    async def send(self, frame: str) -> None:
        for connection in list(self.connections):
            await connection.send(frame)

    async def break_all(self) -> None:
        for connection in list(self.connections):
            connection.transport.abort()
        await self.until(lambda: not self.connections)

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, connection: ServerConnection) -> None:
        typed, ping, resize, _, pong, title = CODES[self.subprotocol]
        assert connection.request is not None
        self.headers.append({name.lower(): value for name, value in connection.request.headers.raw_items()})
        opening = await connection.recv()
        assert isinstance(opening, str), "GoTTY rejects a binary frame"
        self.openings.append(json.loads(opening))
        if self.openings[-1]["AuthToken"] != CREDENTIAL:
            await self._note()
            connection.transport.abort()
            return
        await connection.send(title + "vd@host")
        if self.subprotocol == "webtty":
            await connection.send("61024")
        self.connections.add(connection)
        await self._note()
        try:
            while True:
                frame = await connection.recv()
                assert isinstance(frame, str), "GoTTY takes text frames alone"
                assert len(frame.encode()) <= 1024, "GoTTY hangs up above its buffer size"
                if frame[0] == typed:
                    self.typed += frame[1:]
                elif frame[0] == resize:
                    size = json.loads(frame[1:])
                    self.sizes.append((size["columns"], size["rows"]))
                    if self.on_resize is not None:
                        await self.write(self.on_resize())
                elif frame[0] == ping:
                    self.pings += 1
                    if not self.silent:
                        await connection.send(pong)
                else:
                    raise AssertionError(f"an unknown code is fatal to GoTTY: {frame!r}")
                await self._note()
                if self.deaf:
                    await connection.wait_closed()
        except ConnectionClosed:
            pass
        finally:
            self.connections.discard(connection)
            await self._note()
