"""Bounds on what is held in memory for a request that is still coming in.

Quart takes in a request's body, and a WebSocket's messages, as fast as they come, whether or not anybody reads them: an
upload to a slow disk would lie in memory whole. Here the server's `receive` is not asked for more until there is room, so
that TCP holds the sender back. A sender that stalls is given up, and one that is refused while it still sends gets to
read why. Knows nothing of the Hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import suppress
from functools import partial
from typing import Any

from quart import Quart, Request
from quart.asgi import ASGIHTTPConnection, ASGIWebsocketConnection
from quart.formparser import FormDataParser
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

HELD = 1 << 20  # Bytes of a body that may wait to be read; also the largest body that is read in one piece.
LEAST = 64 * 1024  # Bytes of a body that must come within PATIENCE, the time in which the Hub itself is busy left out.
PATIENCE = 60.0  # Seconds.
# A client that is answered before it has sent all often reads nothing until it has. What it still sends is taken in and
# dropped up to these bounds: closing earlier would reset the connection, and take the answer away with it.
DRAINED = 128 << 20  # Bytes.
DRAIN_TIME = 30.0  # Seconds.
DRAIN_SILENCE = 5.0  # Seconds with less than LEAST bytes, after which a client is taken to wait for the answer.
MESSAGES = 64  # WebSocket messages that may wait to be read.


class BoundedBody(Body):
    """A body that is read in parts holds back its sender; one that is read whole may have HELD bytes."""

    patience = PATIENCE

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, None)
        self._expected = expected_content_length or 0
        self._in_one_piece = False
        self._taken = asyncio.Event()
        self._left, self._came = self.patience, 0
        self._dropped: int | None = None  # Bytes, once the rest is not wanted any more.
        self.wanted = asyncio.Event()  # A view has begun to read it.
        self.whole = False  # All of it has come.

    def __aiter__(self) -> BoundedBody:
        return self

    async def __anext__(self) -> bytes:
        """The next bytes. Raises RequestTimeout when too few have come for too long."""
        self.wanted.set()
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._left):
                data = await super().__anext__()
        except TimeoutError:
            raise RequestTimeout from None
        except StopAsyncIteration:
            if self._must_raise is not None:
                raise self._must_raise from None  # It was broken off while its reader waited.
            raise
        self._left -= clock() - began
        self._came += len(data)
        if self._came >= LEAST:
            self._left, self._came = self.patience, 0
        self._taken.set()
        return data

    def __await__(self) -> Generator[Any, None, Any]:
        self._in_one_piece = True
        self.wanted.set()
        if max(self._expected, len(self._data)) > HELD:
            raise RequestEntityTooLarge
        self._taken.set()
        return super().__await__()

    def append(self, data: bytes) -> None:
        if self._dropped is not None:
            self._dropped += len(data)
            self._has_data.set()
            return
        super().append(data)
        if self._in_one_piece and len(self._data) > HELD:
            self._must_raise = RequestEntityTooLarge()
            self.set_complete()

    def break_off(self, error: Exception) -> None:
        """Its reader gets this error instead of what is still to come."""
        self._must_raise = error
        self._data.clear()
        self.set_complete()

    async def room(self) -> None:
        """Wait until more may be taken in."""
        while self._is_full():
            self._taken.clear()
            await self._taken.wait()

    async def drop_rest(self) -> None:
        """Take in what still comes, within bounds, and drop it."""
        clock = asyncio.get_running_loop().time
        ends = clock() + DRAIN_TIME
        self._dropped = 0
        self._data.clear()
        self._taken.set()
        with suppress(TimeoutError):
            while not self._has_dropped(DRAINED):
                enough = min(self._dropped + LEAST, DRAINED)
                async with asyncio.timeout(min(DRAIN_SILENCE, ends - clock())):
                    while not self._has_dropped(enough):
                        self._has_data.clear()
                        await self._has_data.wait()

    def _has_dropped(self, count: int) -> bool:
        return self.whole or (self._dropped or 0) >= count

    def _is_full(self) -> bool:
        if self._dropped is not None:
            return self._dropped >= DRAINED
        return len(self._data) > HELD and not self._in_one_piece


class PlainForms(FormDataParser):
    """Forms without files. Quart's parser takes in a multipart body part by part, past any bound of ours."""

    parse_functions = {  # noqa: RUF012  (Quart's own shape)
        kind: parse for kind, parse in FormDataParser.parse_functions.items() if kind != "multipart/form-data"
    }


class BoundedRequest(Request):
    body_class = BoundedBody
    form_data_parser_class = PlainForms


def asks_first(request: Request) -> bool:
    """Whether the client sends its body only once the Hub says that it wants it."""
    return request.headers.get("Expect", "").lower() == "100-continue"


class HttpConnection(ASGIHTTPConnection):
    async def handle_messages(self, request: Request, receive: Any) -> None:
        body = request.body
        assert isinstance(body, BoundedBody)  # noqa: S101  (by `set_up`)
        if asks_first(request):
            await body.wanted.wait()  # To receive is to say "100 Continue", and a refused body need not be sent at all.
        while True:
            await body.room()
            message = await receive()
            if message["type"] == "http.request":
                body.append(message.get("body", b""))
                if not message.get("more_body", False):
                    body.whole = True
                    body.set_complete()
            elif message["type"] == "http.disconnect":
                return

    async def handle_request(self, request: Request, send: Any) -> None:
        await super().handle_request(request, partial(self._send, request, send))

    async def _send(self, request: Request, send: Any, message: Any) -> None:
        """Send a part of the answer; where it comes before the whole request has, the last part comes after that."""
        body = request.body
        assert isinstance(body, BoundedBody)  # noqa: S101  (by `set_up`)
        sends = request.content_length or "Transfer-Encoding" in request.headers
        if sends and not body.whole:
            if message["type"] == "http.response.start":
                if request.http_version.startswith("1."):
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            elif not message.get("more_body", False) and (body.wanted.is_set() or not asks_first(request)):
                await body.drop_rest()
        await send(message)


class WebSocketConnection(ASGIWebsocketConnection):
    def __init__(self, app: Quart, scope: Any) -> None:
        super().__init__(app, scope)
        self.queue = asyncio.Queue(MESSAGES)


def set_up(app: Quart) -> None:
    class BodyOfThisApp(BoundedBody):
        """Each app has its own patience."""

    class RequestOfThisApp(BoundedRequest):
        body_class = BodyOfThisApp

    app.request_class = RequestOfThisApp
    app.asgi_http_class = HttpConnection
    app.asgi_websocket_class = WebSocketConnection
    app.config["MAX_CONTENT_LENGTH"] = None  # Uploads have their own limit, everything else HELD.
    app.config["BODY_TIMEOUT"] = 60
