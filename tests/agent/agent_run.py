"""A real run of the agent for tests, and a client that speaks GoTTY's protocol to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

CREDENTIAL = "user:s3cret"
PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # Seconds until a test gives up waiting for something that takes milliseconds.


async def until(found: Any, what: str) -> Any:
    """Ask `found` until its answer is true, and return that. For what other processes do to files and processes."""
    limit = time.monotonic() + PATIENCE
    while not (answer := found()):
        assert time.monotonic() < limit, f"waited in vain until {what}"
        await asyncio.sleep(0.01)
    return answer


class Agent:
    """`python -m app.agent run` in a folder. Use `start_agent`."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.process = process
        self.clients: list[Client] = []

    def record(self, name: str) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            return None
        return record

    async def listening(self) -> dict[str, Any]:
        answer: dict[str, Any] = await until(lambda: self.record("agent.json"), "the agent listens")
        return answer

    async def ending(self) -> dict[str, Any]:
        """Waits until the run is over; its record."""
        await self.process.wait()  # Either the run itself or, when it has been detached, the starter of it.
        await until(lambda: not self.alive, "the lock is let go")
        record = self.record("exit.json")
        assert record is not None
        return record

    @property
    def alive(self) -> bool:
        return lock_is_held(self.folder)

    async def client(
        self, credential: str = CREDENTIAL, size: tuple[int, int] | None = (80, 24), arguments: Sequence[str] = ()
    ) -> Client:
        client = await Client.attach((await self.listening())["address"], credential, size, arguments)
        self.clients.append(client)
        return client

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        os.kill((await self.listening())["pid"], number)


def lock_is_held(folder: Path) -> bool:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.asynccontextmanager
async def start_agent(
    folder: Path, *command: str, options: tuple[str, ...] = (), environment: dict[str, str] | None = None
) -> AsyncIterator[Agent]:
    """A run of `command`, ended with the block at the latest."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "app.agent", "run", "--dir", str(folder), *options, "--", *command),
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "HUB_RUN_CREDENTIAL": CREDENTIAL, **(environment or {})},
        stderr=asyncio.subprocess.PIPE,
    )
    agent = Agent(folder, process)
    try:
        yield agent
    finally:
        for client in agent.clients:
            client.connection.transport.abort()
            await client.connection.wait_closed()
        with contextlib.suppress(ProcessLookupError):
            if "--detach" not in options:
                process.kill()
            elif agent.alive:
                os.kill((await agent.listening())["pid"], signal.SIGKILL)
        await process.communicate()
        await until(lambda: not agent.alive, "the run is over")


class Client:
    """One attached GoTTY client, of the dialect that the server chooses. `seen` is all raw output so far."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        # yudai's GoTTY 1 counts its codes from 0, all others from 1.
        self._first = 0 if connection.subprotocol == "gotty" else 1
        self.seen = b""
        self.other: list[str] = []  # All messages but output.

    @classmethod
    async def attach(
        cls,
        address: str,
        credential: str = CREDENTIAL,
        size: tuple[int, int] | None = (80, 24),
        arguments: Sequence[str] = (),
    ) -> Self:
        dialects = [Subprotocol("webtty"), Subprotocol("gotty")]
        connection = await connect(
            f"ws://{address}/ws", subprotocols=dialects, compression=None, max_size=None, proxy=None
        )
        client = cls(connection)
        query = "?" + urlencode([("arg", argument) for argument in arguments]) if arguments else ""
        await connection.send(json.dumps({"Arguments": query, "AuthToken": credential}))
        if size:
            await client.resize(*size)
        return client

    async def resize(self, columns: int, rows: int) -> None:
        await self.connection.send(f"{self._first + 2}" + json.dumps({"columns": columns, "rows": rows}))

    async def type(self, text: str) -> None:
        await self.connection.send(f"{self._first}{text}")

    async def receive(self) -> None:
        """Take one message."""
        message = await self.connection.recv()
        assert isinstance(message, str), "GoTTY sends text messages alone"
        if message[0] == f"{self._first}":
            self.seen += base64.b64decode(message[1:], validate=True)
        else:
            self.other.append(message)

    async def see(self, *texts: str) -> str:
        """Read output until all of `texts` have come; returns the text since the last call, without escapes."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not all(text in plain(self.seen) for text in texts):
                    await self.receive()
        except (TimeoutError, ConnectionClosed) as error:
            raise AssertionError(f"looked in vain for {texts}; seen: {plain(self.seen)!r}") from error
        seen, self.seen = self.seen, b""
        return plain(seen)

    async def find(self, pattern: bytes) -> re.Match[bytes]:
        """Read output until the pattern is in its raw bytes."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := re.search(pattern, self.seen)):
                    await self.receive()
        except (TimeoutError, ConnectionClosed) as error:
            raise AssertionError(f"looked in vain for {pattern!r}; seen: {plain(self.seen)!r}") from error
        return found

    async def title(self, text: str) -> None:
        """Read output until the program has set this title; one set before this client came is sent to it too."""
        await self.find(re.escape(f"\x1b]2;{text}\x07".encode()))

    async def closed(self) -> int:
        """Read on until the server closes; its code."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.receive()
        assert self.connection.close_code is not None
        return self.connection.close_code

    async def vanish(self) -> None:
        """Break the connection, as a browser does whose laptop is closed."""
        self.connection.transport.abort()
        await self.connection.wait_closed()

    async def leave(self) -> None:
        await self.connection.close()


def plain(output: bytes) -> str:
    """Terminal output as text, roughly: escape sequences go, cursor movements become spaces."""
    text = re.sub(rb"\x1b[\]PX^_].*?(?:\x07|\x1b\\)", b"", output, flags=re.DOTALL)
    text = re.sub(rb"\x1b\[[0-?]*[ -/]*m", b"", text)
    text = re.sub(rb"\x1b\[[0-?]*[ -/]*[@-~]", b" ", text)
    return re.sub(rb"\x1b[ -/]*[0-~]|\x0f|\x0e|\x18", b"", text).decode("utf-8", "replace")
