"""Bounds on what is held in memory for a request that is still coming in.

Quart takes in a request's body, and a WebSocket's messages, as fast as they come, whether or not anybody reads them: an
upload to a slow disk would lie in memory whole. Here the server's `receive` is not asked for more until there is room, so
that TCP holds the sender back. Knows nothing of the Hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from quart import Quart, Request
from quart.asgi import ASGIHTTPConnection, ASGIWebsocketConnection
from quart.formparser import FormDataParser
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

HELD = 1 << 20  # Bytes of a body that may wait to be read; also the largest body that is read in one piece.
MESSAGES = 64  # WebSocket messages that may wait to be read.


class BoundedBody(Body):
    """A body that is read in parts holds back its sender; one that is read whole may have HELD bytes."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, None)
        self._expected = expected_content_length or 0
        self._in_one_piece = False
        self._taken = asyncio.Event()

    def __aiter__(self) -> BoundedBody:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await super().__anext__()
        except StopAsyncIteration:
            if self._must_raise is not None:
                raise self._must_raise from None  # It was broken off while its reader waited.
            raise
        self._taken.set()
        return data

    def __await__(self) -> Generator[Any, None, Any]:
        self._in_one_piece = True
        if max(self._expected, len(self._data)) > HELD:
            raise RequestEntityTooLarge
        self._taken.set()
        return super().__await__()

    def append(self, data: bytes) -> None:
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
        while len(self._data) > HELD and not self._in_one_piece:
            self._taken.clear()
            await self._taken.wait()


class PlainForms(FormDataParser):
    """Forms without files. Quart's parser takes in a multipart body part by part, past any bound of ours."""

    parse_functions = {  # noqa: RUF012  (Quart's own shape)
        kind: parse for kind, parse in FormDataParser.parse_functions.items() if kind != "multipart/form-data"
    }


class BoundedRequest(Request):
    body_class = BoundedBody
    form_data_parser_class = PlainForms


class HttpConnection(ASGIHTTPConnection):
    async def handle_messages(self, request: Request, receive: Any) -> None:
        assert isinstance(request.body, BoundedBody)  # noqa: S101  (by `set_up`)
        while True:
            await request.body.room()
            message = await receive()
            if message["type"] == "http.request":
                request.body.append(message.get("body", b""))
                if not message.get("more_body", False):
                    request.body.set_complete()
            elif message["type"] == "http.disconnect":
                return


class WebSocketConnection(ASGIWebsocketConnection):
    def __init__(self, app: Quart, scope: Any) -> None:
        super().__init__(app, scope)
        self.queue = asyncio.Queue(MESSAGES)


def set_up(app: Quart) -> None:
    app.request_class = BoundedRequest
    app.asgi_http_class = HttpConnection
    app.asgi_websocket_class = WebSocketConnection
    app.config["MAX_CONTENT_LENGTH"] = None  # Uploads have their own limit, everything else HELD.
    app.config["BODY_TIMEOUT"] = 60
