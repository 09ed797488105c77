"""Viewers whose sockets are awaited, as those of every ASGI server are: a task reads and a task writes.

Where a socket can be written to at once, it attaches to `Terminals` itself and needs none of this.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from app.aio import cancel_and_wait
from app.terminal.events import Deadline, Message, Mode, Size
from app.terminal.terminal import Attachment, Terminals, TerminalTarget, ViewerProtocol


class Disconnected(Exception):
    """The viewer has gone. Raised by a ViewerIO."""


class ViewerIO(Protocol):
    """A viewer's WebSocket. Every method may raise Disconnected; a send returns when there is room for the next."""

    async def send_bytes(self, data: bytes) -> None: ...

    async def send_text(self, text: str) -> None: ...

    async def receive(self) -> Message: ...

    async def close(self, code: int, reason: str) -> None: ...


class _Outbox:
    """What is on its way to a viewer: a `Sink` that takes more once all of it has been sent."""

    def __init__(self, io: ViewerIO) -> None:
        self._io = io
        self._waiting: deque[Message] = deque()
        self._more = asyncio.Event()
        self._busy = False

    @property
    def writable(self) -> bool:
        return not self._busy

    def send(self, message: Message) -> None:
        self._busy = True
        self._waiting.append(message)
        self._more.set()

    async def deliver(self, drained: Callable[[], None]) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                message = self._waiting.popleft()
                if isinstance(message, str):
                    await self._io.send_text(message)
                else:
                    await self._io.send_bytes(message)
            self._busy = False
            drained()


async def serve_viewer(
    terminals: Terminals,
    target: TerminalTarget,
    io: ViewerIO,
    *,
    protocol: ViewerProtocol = "hub.tty.v1",
    mode: Mode = "drive",
    size: Size | None = None,
    deadline: Deadline | None = None,
) -> None:
    """Serve one viewer of a run until it goes or is closed; its socket is closed when this returns or is cancelled.

    The arguments are those of `Terminals.attach`.
    """
    outbox = _Outbox(io)
    attachment = terminals.attach(target, outbox, protocol=protocol, mode=mode, size=size, deadline=deadline)
    tasks = [
        asyncio.create_task(_receive(io, attachment), name="viewer receive"),
        asyncio.create_task(_deliver(outbox, attachment), name="viewer send"),
    ]
    code, reason = 1011, ""
    try:
        waits: set[asyncio.Future[Any]] = {attachment.over, *tasks}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        code, reason = attachment.over.result()
    finally:
        await cancel_and_wait(*tasks)
        attachment.leave()
        with suppress(Disconnected):
            await io.close(code, reason[:100])


async def _receive(io: ViewerIO, attachment: Attachment) -> None:
    try:
        while not attachment.over.done():
            attachment.received(await io.receive())
    except Disconnected:
        attachment.finish(1001, "")


async def _deliver(outbox: _Outbox, attachment: Attachment) -> None:
    try:
        await outbox.deliver(attachment.drained)
    except Disconnected:
        attachment.finish(1001, "")
