"""GoTTY's WebSocket protocol, as a codec: the client's side in all three dialects, and the server's side of `webtty`.

Pure: bytes in, events out. Must not open a connection or keep a clock. The dialects are those of yudai/gotty v1
(subprotocol `gotty`), yudai/gotty v2 and sorenisanerd/gotty (both `webtty`); the codes come from their sources
(`server/handlers.go`, `webtty/message_types.go`) and were measured against their programs.

    subprotocol   to the server                 to the client
    gotty         0 input 1 ping 2 resize       0 output 1 pong 2 title 3 preferences 4 reconnect
    webtty        1 input 2 ping 3 resize       1 output 2 pong 3 title 4 preferences 5 reconnect
                  4 encoding                    6 buffer size (sorenisanerd)

All frames are TEXT. Output is base64 of raw bytes and may cut a character in two, so it stays bytes from end to end.
"""

from __future__ import annotations

import binascii
import codecs
import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import pybase64

from app.terminal.events import (
    MAX_MESSAGE,
    Deadline,
    FromViewer,
    Hello,
    Message,
    Nothing,
    Ping,
    Pong,
    ProtocolError,
    Resize,
    Size,
    State,
    Title,
    ToViewer,
)

SUBPROTOCOLS = ("webtty", "gotty")  # In the order in which a client offers them.

MAX_TITLE = 1024  # Bytes of GoTTY's own title that are looked at; it is for a log at most.
SAFE_INPUT = 900  # yudai's GoTTY reads 1,024 bytes and loses the rest in silence; sorenisanerd's hangs up above it.


# The client's side: what the Hub says to a run.


@dataclass(frozen=True, slots=True)
class Dialect:
    """The codes of one subprotocol; each is the first byte of a frame."""

    input: bytes
    ping: bytes
    resize: bytes
    output: int
    pong: int
    title: int
    buffer_size: int | None


DIALECTS = {
    "gotty": Dialect(b"0", b"1", b"2", output=ord("0"), pong=ord("1"), title=ord("2"), buffer_size=None),
    "webtty": Dialect(b"1", b"2", b"3", output=ord("1"), pong=ord("2"), title=ord("3"), buffer_size=ord("6")),
}


@dataclass(frozen=True, slots=True)
class ServerTitle:
    """GoTTY's own title. It names the command line and the machine, so nobody but a log should see it."""

    text: str


@dataclass(frozen=True, slots=True)
class ServerPong:
    """The server is there."""


@dataclass(frozen=True, slots=True)
class BufferSize:
    """The largest frame, in bytes, that the server takes."""

    size: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """Preferences, reconnect, and whatever a later GoTTY may say."""


# Bytes are output: what the program wrote to its terminal.
FromServer = bytes | ServerTitle | ServerPong | BufferSize | Ignored

_PONG, _IGNORED = ServerPong(), Ignored()


def init(credential: str, arguments: Sequence[str] = ()) -> bytes:
    """The client's first frame. `credential` is `user:secret`, or empty where the server asks for none.

    `arguments` are for the program, and are passed over unless the server was told to let clients give them.
    """
    query = "?" + urlencode([("arg", argument) for argument in arguments]) if arguments else ""
    return json.dumps({"Arguments": query, "AuthToken": credential}).encode()


class Client:
    """The client's side of one connection. All that it encodes is to be sent as TEXT frames.

    Raises ProtocolError for a subprotocol that is neither `gotty` nor `webtty`.
    """

    def __init__(self, subprotocol: str | None) -> None:
        dialect = DIALECTS.get(subprotocol or "")
        if dialect is None:
            raise ProtocolError(f"the server speaks none of {', '.join(SUBPROTOCOLS)}")
        self._dialect = dialect
        self._input = dialect.input
        self._output = dialect.output
        self._room = SAFE_INPUT

    def input(self, keys: bytes) -> Sequence[bytes]:
        """Frames with what was typed, which is UTF-8: none above the server's limit, no character cut in two."""
        if 0 < len(keys) <= self._room:
            return (self._input + keys,)
        frames = []
        start = 0
        while start < len(keys):
            end = min(start + self._room, len(keys))
            while end < len(keys) and keys[end] & 0xC0 == 0x80:  # A continuation byte belongs to the one before it.
                end -= 1
            frames.append(self._input + keys[start:end])
            start = end
        return frames

    def ping(self) -> bytes:
        return self._dialect.ping

    def resize(self, size: Size) -> bytes:
        return self._dialect.resize + json.dumps({"columns": size.cols, "rows": size.rows}).encode()

    def decode(self, frame: bytes | memoryview) -> FromServer:
        """What a frame of the server's says. Unknown codes are Ignored; a broken frame is a ProtocolError."""
        if not frame:
            raise ProtocolError("the server sent an empty frame")
        code = frame[0]
        if code == self._output:
            try:
                return pybase64.b64decode(frame[1:], None, True)
            except binascii.Error as error:
                raise ProtocolError(f"output is not base64: {error}") from error
        if code == self._dialect.pong:
            return _PONG
        if code == self._dialect.title:
            return ServerTitle(bytes(frame[1 : 1 + MAX_TITLE]).decode(errors="replace"))
        if code == self._dialect.buffer_size:
            digits = bytes(frame[1:])
            if not digits.isdigit() or len(digits) > 9 or int(digits) < 16:
                raise ProtocolError(f"no buffer size: {digits[:20]!r}")
            # The limit holds for the whole frame, so the code takes one byte of it.
            self._room = min(int(digits), MAX_MESSAGE) - 1
            return BufferSize(int(digits))
        return _IGNORED


class Utf8:
    """One viewer's keyboard bytes as whole characters, since GoTTY takes TEXT frames alone. Half a character waits for its
    other half; bytes that are not UTF-8 become U+FFFD, since they cannot be carried."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._half = False  # Whether one is waiting.

    def take(self, data: bytes) -> bytes:
        if not self._half and data.isascii():
            return data
        text = self._decoder.decode(data)
        self._half = bool(self._decoder.getstate()[0])
        return text.encode()


# The server's side: what the Hub says to a GoTTY client that attaches to a session.


class Server:
    """The server's side of `webtty`, as sorenisanerd/gotty speaks it. Every message it makes is text."""

    def __init__(self) -> None:
        self._base64 = False

    @staticmethod
    def begin(message: Message) -> None:
        """Check the client's first frame. Its token is not looked at: the route has asked who it is already."""
        try:
            opening = json.loads(message)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("the first frame is not JSON") from error
        if not isinstance(opening, dict) or not isinstance(message, str):
            raise ProtocolError("the first frame is not a JSON object in a text frame")

    def decode(self, message: Message) -> FromViewer:
        if not isinstance(message, str) or not message:
            raise ProtocolError("every frame of webtty is text and has a code")
        code, rest = message[0], message[1:]
        if code == "1":
            return self._keys(rest)
        if code == "2":
            return Ping()
        if code == "3":
            try:
                asked = json.loads(rest)
                return Resize(Size.checked(asked["columns"], asked["rows"]))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ProtocolError("a resize is a JSON object with columns and rows") from error
        if code == "4":
            if rest not in ("base64", "null"):
                raise ProtocolError("an encoding is base64 or null")
            self._base64 = rest == "base64"
            return Nothing()
        raise ProtocolError(f"no such code: {code!r}")

    def _keys(self, text: str) -> bytes:
        if not self._base64:
            return text.encode(errors="replace")
        try:
            return pybase64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ProtocolError(f"input is not base64: {error}") from error

    def greeting(self) -> list[Message]:
        return ["3VisiData", f"6{MAX_MESSAGE}"]

    def output(self, data: bytes) -> Message:
        return "1" + pybase64.b64encode_as_string(data)

    def notice(self, notice: ToViewer) -> list[Message]:
        match notice:
            case Title(text):
                return ["3" + text]
            case Pong():
                return ["2"]
            case Hello() | State() | Deadline():
                return []
