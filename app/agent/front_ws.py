"""GoTTY's protocol, served by the agent itself: WebSockets at `/ws`, and `/healthz` for who wants to know.

Must not know what the program is; it moves messages between `gotty` (the codec) and `holder`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import http
import logging
import socket
from collections.abc import AsyncIterator, Callable

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from app.agent import gotty
from app.agent.holder import Client, Holder
from app.agent.start import Size, show_address

FIRST_MESSAGE = 10.0  # Seconds that a new connection has to say who it is.
PING_EVERY = 20.0  # Seconds: load balancers cut connections that are silent for 60.
# Seconds without an answer to a ping. Long, since a client that holds the output back does not read pings either.
PING_TIMEOUT = 120.0
# Bytes of output that the kernel may hold for a client. Linux would let it grow to megabytes, and all of them are still
# shown after a person has interrupted a flood.
ON_THE_WAY = 64 * 1024
LAST_CLOSE = 1.0  # Seconds that a client has to answer a close.

# Broken handshakes (port scans, probes) would otherwise be logged with tracebacks.
log = logging.getLogger("app.agent.websockets")
log.setLevel(logging.CRITICAL)


@contextlib.asynccontextmanager
async def websocket_front(
    holder: Holder, credential: str, listen: tuple[str, int], announce: Callable[[str], None]
) -> AsyncIterator[None]:
    """Serve until left; by then the holder should be closed, so that clients end by themselves.

    Calls `announce` with host:port once it listens. Raises OSError when it cannot listen there.
    """
    serving = serve(
        lambda connection: _serve(connection, holder, credential),
        *listen,
        process_request=_answer,
        subprotocols=[Subprotocol(gotty.SUBPROTOCOL)],
        compression=None,
        max_size=gotty.MESSAGE_LIMIT,
        ping_interval=PING_EVERY,
        ping_timeout=PING_TIMEOUT,
        server_header=None,
        logger=log,
    )
    async with serving as server:
        for listener in server.sockets:  # Connections take it over.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ON_THE_WAY)
        announce(show_address(*next(iter(server.sockets)).getsockname()[:2]))
        try:
            yield
        finally:
            server.close(close_connections=False)  # Each ends by itself, with its own code,
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_CLOSE):
                    await server.wait_closed()
            for connection in server.connections:  # except who does not read, and so never gets to the end.
                connection.transport.abort()


def _answer(connection: ServerConnection, request: Request) -> Response | None:
    path = request.path.partition("?")[0]
    if path == "/ws":
        return None
    if path == "/healthz":
        return connection.respond(http.HTTPStatus.OK, "ok\n")
    return connection.respond(http.HTTPStatus.NOT_FOUND, "Not found\n")


async def _serve(connection: ServerConnection, holder: Holder, credential: str) -> None:
    try:
        async with asyncio.timeout(FIRST_MESSAGE):
            hello = gotty.read_hello(await connection.recv())
    except (gotty.ProtocolViolation, ConnectionClosed, TimeoutError):
        hello = gotty.Hello("")
    if not hmac.compare_digest(hello.token.encode("utf-8", "surrogatepass"), credential.encode()):
        await _close(connection, 1008)
        return
    client = holder.attach(hello.arguments)
    pinged = asyncio.Event()
    pumps = [
        asyncio.create_task(_send_output(connection, client, holder.title), name="output"),
        asyncio.create_task(_take_messages(connection, client, holder, pinged), name="messages"),
        # Pongs go out by a task of their own: a client that holds the output back must still be able to type.
        asyncio.create_task(_send_pongs(connection, pinged), name="pongs"),
    ]
    code = 1000
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        holder.detach(client)
        for pump in pumps:
            pump.cancel()
        for result in await asyncio.gather(*pumps, return_exceptions=True):
            if isinstance(result, gotty.ProtocolViolation):
                code = 1002
        await _close(connection, code)


async def _close(connection: ServerConnection, code: int) -> None:
    try:
        async with asyncio.timeout(LAST_CLOSE):
            await connection.close(code)
    except TimeoutError:  # The client does not read, so what is on its way to it will not get there.
        connection.transport.abort()


async def _send_output(connection: ServerConnection, client: Client, title: str) -> None:
    with contextlib.suppress(ConnectionClosed):
        await connection.send(gotty.encode_title(title or "VisiData"), text=True)
        await connection.send(gotty.encode_message_limit(), text=True)
        while data := await client.output():
            await connection.send(gotty.encode_output(data), text=True)


async def _take_messages(connection: ServerConnection, client: Client, holder: Holder, pinged: asyncio.Event) -> None:
    decoder = gotty.Decoder()
    async for message in connection:
        match decoder.decode(message):
            case gotty.Input(data):
                await holder.type(client, data)
            case gotty.Resize(columns, rows):
                holder.resize(client, Size(columns, rows))
            case gotty.Ping():
                pinged.set()


async def _send_pongs(connection: ServerConnection, pinged: asyncio.Event) -> None:
    with contextlib.suppress(ConnectionClosed):
        while await pinged.wait():
            pinged.clear()
            await connection.send(gotty.PONG, text=True)
