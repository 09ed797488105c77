"""A viewer's WebSocket in memory, with a task that serves it: a `ViewerIO` that the test reads and writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from app.terminal.awaited import Disconnected, serve_viewer
from app.terminal.terminal import Terminals, TerminalTarget


class FakeViewer:
    """Attached from its making on. `screen` is all output so far, `notices` all JSON, `texts` all text messages."""

    def __init__(self, terminals: Terminals, target: TerminalTarget, *, stuck: bool = False, **options: Any) -> None:
        self.screen = b""
        self.messages: list[bytes] = []
        self.texts: list[str] = []
        self.closed: tuple[int, str] | None = None
        self.gate = asyncio.Event()
        if not stuck:
            self.gate.set()
        self._incoming: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self.task = asyncio.create_task(serve_viewer(terminals, target, self, **options))

    @property
    def notices(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.texts]

    def say(self, message: bytes | str | dict[str, Any]) -> None:
        self._incoming.put_nowait(json.dumps(message) if isinstance(message, dict) else message)

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(seen)

    async def until_told(self, kind: str, count: int = 1) -> dict[str, Any]:
        await self.until(lambda: sum(notice["type"] == kind for notice in self.notices) >= count)
        return [notice for notice in self.notices if notice["type"] == kind][count - 1]

    async def until_closed(self) -> tuple[int, str]:
        await self.until(lambda: self.closed is not None)
        await self.task
        assert self.closed is not None
        return self.closed

    async def leave(self) -> None:
        self._incoming.put_nowait(None)
        await self.task

    # The ViewerIO.

    async def send_bytes(self, data: bytes) -> None:
        await self.gate.wait()
        self.screen += data
        self.messages.append(data)
        await self._note()

    async def send_text(self, text: str) -> None:
        await self.gate.wait()
        self.texts.append(text)
        await self._note()

    async def receive(self) -> bytes | str:
        message = await self._incoming.get()
        if message is None:
            raise Disconnected
        return message

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        await self._note()

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()
