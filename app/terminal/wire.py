"""`hub.tty.v1`, the protocol between the Hub and its own terminal page, as a codec.

Pure: messages in, events out. Must not open a connection or keep a clock.

Binary messages are bytes: what was typed, to the Hub; what the program wrote, from it. Text messages are JSON objects
with a `type`. To the Hub: `{"type":"resize","cols":c,"rows":r}`, `{"type":"ack","bytes":n}`, n being the total of output
bytes on the screen so far, and `{"type":"ping"}`, since a page cannot send a WebSocket's own ping, nor see one. From the
Hub: `hello`, `title`, `state`, `deadline`, `pong`. Types that are not known are ignored on both sides, so that either
may learn new ones first.
"""

from __future__ import annotations

import json
from contextlib import suppress

from app.numbers import whole_number
from app.terminal.events import (
    Ack,
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

SUBPROTOCOL = "hub.tty.v1"

ACK = '{"type":"ack","bytes":'  # How the page's most frequent message begins.
MAX_TOTAL = 2**53 - 1  # Bytes that a viewer may have drawn: the largest whole number that every script holds exactly.
MAX_TEXT = 1024  # Characters of a JSON message from a viewer; the longest that means something has about 60.


class HubTty:
    """The Hub's side of `hub.tty.v1`."""

    def decode(self, message: Message) -> FromViewer:
        if isinstance(message, bytes):
            return message
        if len(message) > MAX_TEXT:
            raise ProtocolError(f"a text message has {MAX_TEXT} characters at most")
        if message.startswith(ACK) and message[-1] == "}":
            with suppress(ValueError):
                return Ack(whole_number(message[len(ACK) : -1], 0, MAX_TOTAL))
        try:
            asked = json.loads(message)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("a text message is a JSON object") from error
        if not isinstance(asked, dict):
            raise ProtocolError("a text message is a JSON object")
        if asked.get("type") == "resize":
            return Resize(Size.checked(asked.get("cols"), asked.get("rows")))
        if asked.get("type") == "ack":
            total = asked.get("bytes")
            if isinstance(total, str):
                raise ProtocolError("an ack has a number of bytes")
            try:
                return Ack(whole_number(total, 0, MAX_TOTAL))
            except ValueError as error:
                raise ProtocolError(f"the bytes of an ack are {error}") from None
        if asked.get("type") == "ping":
            return Ping()
        return Nothing()

    def greeting(self) -> list[Message]:
        return []

    def output(self, data: bytes) -> Message:
        return data

    def notice(self, notice: ToViewer) -> list[Message]:
        match notice:
            case Hello(mode, size, yours):
                return [_text("hello", mode=mode, cols=size.cols, rows=size.rows, yours=yours)]
            case Title(text):
                return [_text("title", text=text)]
            case State(state, reason, text):
                return [_text("state", state=state, reason=reason, **({"text": text} if text else {}))]
            case Deadline(at, why):
                return [_text("deadline", at=at, why=why)]
            case Pong():
                return [_text("pong")]


def _text(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, **fields}, ensure_ascii=False, separators=(",", ":"))
