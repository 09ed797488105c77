"""GoTTY's wire protocol, from the server's side, as the maintained GoTTY (sorenisanerd/gotty 1.4 and later) speaks it.

A pure codec of WebSocket messages; it must do no I/O. Subprotocol `webtty`. The client's first message is JSON with its
token; after that a message is one code character and its payload:

| from the client | | from the server | |
|---|---|---|---|
| `1` | input: raw UTF-8, or base64 after `4base64` | `1` | output: base64 of the program's bytes |
| `2` | ping | `2` | pong |
| `3` | resize: `{"columns": n, "rows": n}` | `3` | title |
| `4` | encoding of input: `base64` or `null` | `6` | the longest message that the client may send, in bytes |

Each server message here is the bytes of one TEXT message.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from urllib.parse import parse_qsl

SUBPROTOCOL = "webtty"
# GoTTY announces 1,024 and drops who sends more. A larger one lets a paste through in fewer messages.
MESSAGE_LIMIT = 65536
LARGEST_SIDE = 1000  # More columns or rows than any screen has: a window of that size is a mistake or an attack.
PONG = b"2"


class ProtocolViolation(Exception):
    """The client broke the protocol. GoTTY drops such a connection, and so must the caller."""


@dataclass(frozen=True, slots=True)
class Input:
    """Bytes for the program."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """Wants a PONG."""


@dataclass(frozen=True, slots=True)
class Resize:
    """The client's window, in characters, each side from 1 to LARGEST_SIDE."""

    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """Allowed, and nothing is to be done."""


Message = Input | Ping | Resize | Ignored


@dataclass(frozen=True, slots=True)
class Hello:
    """A client's first message: its token, and the arguments that it has for a program which has not begun yet."""

    token: str
    arguments: tuple[str, ...] = ()


def read_hello(message: str | bytes) -> Hello:
    """A client's first message. Its Arguments are a URL's query: `?arg=one&arg=two` (GoTTY's `handlers.go`)."""
    if not isinstance(message, str):
        raise ProtocolViolation("the first message must be text")
    try:
        hello = json.loads(message)
    except (ValueError, RecursionError):
        raise ProtocolViolation("the first message must be JSON") from None
    if not isinstance(hello, dict):
        raise ProtocolViolation("the first message must be an object")
    token, query = hello.get("AuthToken", ""), hello.get("Arguments", "")
    if not isinstance(token, str) or not isinstance(query, str):
        raise ProtocolViolation("AuthToken and Arguments must be text")
    found = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
    return Hello(token, tuple(value for name, value in found if name == "arg"))


class Decoder:
    """Reads the messages of one client after its first, and keeps the input encoding that it chose."""

    def __init__(self) -> None:
        self._base64 = False

    def decode(self, message: str | bytes) -> Message:
        """What one message asks for. Raises ProtocolViolation."""
        if isinstance(message, bytes):
            return Ignored()  # GoTTY skips binary messages.
        if not message:
            raise ProtocolViolation("empty message")
        code, payload = message[0], message[1:]
        if code == "1":
            return self._input(payload)
        if len(message) > MESSAGE_LIMIT:
            raise ProtocolViolation("message over the announced size")
        if code == "2":
            return Ping()
        if code == "3":
            return _resize(payload)
        if code == "4":
            if payload in ("base64", "null"):
                self._base64 = payload == "base64"
            return Ignored()
        raise ProtocolViolation("unknown code")

    def _input(self, payload: str) -> Message:
        data = payload.encode()
        if len(data) >= MESSAGE_LIMIT:
            raise ProtocolViolation("message over the announced size")
        if self._base64:
            try:
                data = base64.b64decode(data, validate=True)
            except binascii.Error:
                raise ProtocolViolation("input is not base64") from None
        return Input(data) if data else Ignored()


def _resize(payload: str) -> Message:
    try:
        size = json.loads(payload)
        columns, rows = int(size["columns"]), int(size["rows"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise ProtocolViolation("malformed resize") from None
    if 1 <= columns <= LARGEST_SIDE and 1 <= rows <= LARGEST_SIDE:
        return Resize(columns, rows)
    return Ignored()  # A hidden window measures 0 by 0; the program keeps the size it has.


def encode_output(data: bytes) -> bytes:
    return b"1" + base64.b64encode(data)


def encode_title(title: str) -> bytes:
    return b"3" + title.encode()


def encode_message_limit(size: int = MESSAGE_LIMIT) -> bytes:
    return b"6%d" % size
