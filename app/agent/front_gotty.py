"""GoTTY's protocol, served by a real GoTTY, of any of its dialects.

GoTTY starts its command anew for each connection and hangs up on it at the end, so the command is `bridge`, which
carries one connection to the program's holder over a socket in the run's folder. GoTTY is started again when it dies.
Must keep the run's credential out of command lines and files: GoTTY reads it from its environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from app.agent import bridge
from app.agent.children import Children
from app.agent.holder import Client, Holder
from app.agent.start import Size, show_address

SOCKET = "pty.sock"  # In the working directory, which is the run's folder: a whole path may be too long for a socket.
CONFIG = "gotty.conf"
ANSWER_TIMEOUT = 10.0  # Seconds that GoTTY has to answer its first request.
LOOK_EVERY = 0.02  # Seconds between looks at whether it does; it takes about as long to start.
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  # Seconds between two starts of a GoTTY that does not live.
TRIES = 5  # Starts of a GoTTY that does not come to answer, before the run is given up.
LAST_CLOSE = 1.0  # Seconds that bridges have to pass on the last output.


class GottyFailed(OSError):
    """GoTTY does not come to answer."""


@contextlib.asynccontextmanager
async def gotty_front(
    holder: Holder,
    children: Children,
    path: str,
    credential: str,
    listen: tuple[str, int],
    announce: Callable[[str], None],
    *,
    permit_arguments: bool = False,
) -> AsyncIterator[None]:
    """Serve until left; by then the holder should be closed, so that bridges end by themselves.

    Calls `announce` with host:port each time that a GoTTY answers. Raises OSError when the socket cannot be made, and
    GottyFailed out of the body when GoTTY does not come to answer. `permit_arguments`: clients may bring arguments for a
    program that waits for them.
    """
    bridges: set[asyncio.Task[None]] = set()

    def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_carry(reader, writer, holder), name="bridge")
        bridges.add(task)
        task.add_done_callback(bridges.discard)

    async with await asyncio.start_unix_server(carry, sock=_listen()):
        keeping = _keep(children, path, credential, listen, announce, permit_arguments)
        keeper = asyncio.create_task(keeping, name="gotty")
        body = asyncio.current_task()
        assert body is not None  # noqa: S101  (this is a coroutine)
        keeper.add_done_callback(lambda task: None if task.cancelled() else body.cancel())
        try:
            yield
        except asyncio.CancelledError:
            if keeper.done() and not keeper.cancelled() and (trouble := keeper.exception()) is not None:
                body.uncancel()
                raise trouble from None
            raise
        finally:
            if bridges:
                await asyncio.wait(bridges, timeout=LAST_CLOSE)
            left = [keeper, *bridges]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


def _listen() -> socket.socket:
    Path(SOCKET).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listening.bind(SOCKET)
    finally:
        os.umask(mask)
    return listening


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, holder: Holder) -> None:
    try:
        kind, payload = await _message(reader)
    except (ConnectionError, asyncio.IncompleteReadError):  # The client has gone already.
        writer.close()
        return
    given = payload.decode("utf-8", "surrogateescape") if kind == bridge.ARGUMENTS else ""
    client = holder.attach(given.split("\0") if given else [])
    pumps = [
        asyncio.create_task(_send_output(writer, client), name="output"),
        asyncio.create_task(_take_messages(reader, client, holder), name="messages"),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        holder.detach(client)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        writer.close()


async def _send_output(writer: asyncio.StreamWriter, client: Client) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await client.output():
            writer.write(data)
            await writer.drain()


async def _take_messages(reader: asyncio.StreamReader, client: Client, holder: Holder) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            kind, payload = await _message(reader)
            if kind == bridge.INPUT:
                await holder.type(client, payload)
            elif kind == bridge.RESIZE:
                holder.resize(client, Size(*bridge.SIZE.unpack(payload)))


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next message of a bridge: (kind, payload)."""
    kind, length = bridge.HEADER.unpack(await reader.readexactly(bridge.HEADER.size))
    return kind, await reader.readexactly(length)


async def _keep(
    children: Children,
    path: str,
    credential: str,
    listen: tuple[str, int],
    announce: Callable[[str], None],
    permit_arguments: bool,
) -> None:
    """Have a GoTTY running. It keeps its port when it has answered there once, so that clients find it.

    Raises GottyFailed when it has not come to answer in so many tries: a run that nobody can reach is no run.
    """
    host, port = listen
    delay, failures = FIRST_DELAY, 0
    while failures < TRIES:
        port = port or _free_port(host)
        Path(CONFIG).write_text(_config(host, port, permit_arguments))  # noqa: ASYNC240  (it serves this run alone)
        command = [path, "--config", CONFIG, sys.executable, "-I", bridge.__file__, SOCKET]
        pid, ended = children.start(command, _environment(os.environ, credential))
        try:
            if await _answers(host, port, ended):
                announce(show_address(host, port))
                delay, failures = FIRST_DELAY, 0
                await ended
            else:
                failures += 1
                port = listen[1]
        finally:
            if not ended.done():
                os.kill(pid, signal.SIGKILL)
        sys.stderr.write("GoTTY has ended; starting it again.\n")
        await asyncio.sleep(delay)
        delay = min(delay * 2, LONGEST_DELAY)
    raise GottyFailed(f"GoTTY ({path}) did not answer in {TRIES} tries.")


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _config(host: str, port: int, permit_arguments: bool) -> str:
    """GoTTY's options, in the names that all dialects know; what one does not know it passes over.

    Basic authentication is asked for by name: without it, yudai's 2.0 alpha shows the credential to anybody at
    `/auth_token.js`. Pings are off, since one version ends busy connections 10 s after its first ping; clients ping.
    """
    options: dict[str, str | bool | int] = {
        "address": host,
        "port": str(port),
        "permit_write": True,
        "permit_arguments": permit_arguments,
        "enable_basic_auth": True,
        "enable_reconnect": False,
        "title_format": "VisiData",
        "ping_interval": 0,
    }
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())


def _environment(environment: Mapping[str, str], credential: str) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if not name.startswith(("HUB_", "GOTTY_"))}
    return kept | {"GOTTY_CREDENTIAL": credential}


async def _answers(host: str, port: int, ended: asyncio.Future[int]) -> bool:
    """Wait until GoTTY answers HTTP requests; False when it ends or does not get there in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_TIMEOUT):
            while not ended.done():
                if await _speaks_http(host, port):
                    return not ended.done()
                await asyncio.sleep(LOOK_EVERY)
    return False


async def _speaks_http(host: str, port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    try:
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        return await reader.read(5) == b"HTTP/"
    except OSError:
        return False
    finally:
        writer.close()
