"""uvicorn's WebSockets, with a short way for terminals: past the queue, the task and the dictionaries that ASGI has for each
message.

The handshake, pings and the end are uvicorn's own, and every route is reached by ASGI as with any server: who may attach
is asked in one place. A view that finds a `Direct` by `direct(websocket)` may take the socket over with it; where there is
none (another server), it uses ASGI's messages. Must not know what is carried.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from typing import Any, cast

from quart.wrappers import Websocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.speedups import apply_mask
from websockets.streams import StreamReader

from app.terminal.events import Message

EXTENSION = "hub.direct"
EARLY = 64  # Messages that may come before the view has asked the database who this is.


class Direct:
    """One WebSocket, to be written to at once: a `Sink` of `app.terminal.terminal`.

    Call `hold` before the socket is accepted and `take_over` after. ASGI reports a lost peer, as with other servers.
    """

    def __init__(self, socket: Socket) -> None:
        self.writable = True
        self.received: Callable[[Message], None] | None = None
        self._drained: Callable[[], None] | None = None
        self._early: list[Message] = []
        self._socket = socket
        self._transport = socket.transport
        self._descriptor: int = socket.transport.get_extra_info("socket").fileno()

    def hold(self) -> None:
        """Messages come here from now on, and not by ASGI."""
        self.received = self._keep

    def take_over(self, received: Callable[[Message], None], drained: Callable[[], None]) -> None:
        """`received` is called for each message, `drained` when `writable` is true again."""
        early, self._early = self._early, []
        self.received, self._drained = received, drained
        for message in early:
            received(message)
        self._transport.resume_reading()

    def send(self, message: Message) -> None:
        """Write it; what the peer does not take waits in memory, and `writable` says so.

        One whole, unmasked frame (RFC 6455, 5.2), past the connection's own book: it has none for data.
        """
        head = 0x82
        if isinstance(message, str):
            head, message = 0x81, message.encode()
        size = len(message)
        transport = self._transport
        if self._socket.close_sent or transport.is_closing():
            return
        if size < 126:
            start = bytes((head, size))
        elif size < 65536:
            start = bytes((head, 126)) + size.to_bytes(2, "big")
        else:
            start = bytes((head, 127)) + size.to_bytes(8, "big")
        sent = 0
        if not transport.get_write_buffer_size():
            # Into the kernel at once, where it takes it: the transport would do so when all else has been done.
            with contextlib.suppress(OSError):  # Full or broken: the transport sees to that.
                sent = os.writev(self._descriptor, (start, message))
        if sent < len(start):
            transport.write(start[sent:] + message)
        elif sent < len(start) + size:
            transport.write(memoryview(message)[sent - len(start) :])

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def __deepcopy__(self, memo: object) -> Direct:
        return self  # Middleware copies scopes; the socket stays the same.

    # For the socket

    def note_room(self, room: bool) -> None:
        self.writable = room
        if room and self._drained is not None:
            self._drained()

    def _keep(self, message: Message) -> None:
        self._early.append(message)
        if len(self._early) >= EARLY:
            self._socket.transport.pause_reading()


class _Reader(StreamReader):
    """websockets' input buffer, which also knows whether its parser stands between two frames.

    An empty buffer does not say so: the parser takes a frame's header out of it before the rest of the frame has come.
    """

    def __init__(self) -> None:
        super().__init__()
        self.between_frames = False

    def at_eof(self) -> Generator[None, None, bool]:
        """The parser calls this before each frame, and before nothing else."""
        self.between_frames = True
        ended = yield from super().at_eof()
        self.between_frames = False
        return ended


class Socket(WebSocketsSansIOProtocol):
    """uvicorn's protocol for one WebSocket (`uvicorn.Config(ws=Socket)`)."""

    _direct: Direct

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._reader = self.conn.reader = _Reader()
        self.conn.parser = self.conn.parse()  # Nothing has come yet, so it may begin again, with our reader.
        next(self.conn.parser)

    def handle_connect(self, event: Any) -> None:
        self._direct = Direct(self)
        super().handle_connect(event)  # Starts the app's task, which runs later.
        if not self.close_sent:
            cast("dict[str, object]", self.scope["extensions"])[EXTENSION] = self._direct

    def data_received(self, data: bytes) -> None:
        # What people type and pages acknowledge comes in small frames, most often one at a time. Where they are whole and
        # nothing was begun before them, they need none of the parser's machinery.
        if (
            len(data) < 256
            and self.handshake_complete
            and self._direct.received is not None
            and self._reader.between_frames
            and not self.frames
            and not self.close_sent
            and (messages := _small_messages(data)) is not None
        ):
            for text, message in messages:
                self._hand_on(message, text=text)
        else:
            super().data_received(data)

    def send_receive_event_to_app(self) -> None:
        if not hasattr(self, "_direct") or self._direct.received is None or self.close_sent:
            super().send_receive_event_to_app()
            return
        data = b"".join(self.frames)
        self.frames = []
        self._hand_on(data, text=self.curr_msg_data_type == "text")

    def _hand_on(self, data: bytes, *, text: bool) -> None:
        received = self._direct.received
        if received is None or self.close_sent:
            return  # A message before this one has ended it.
        if not text:
            received(data)
            return
        try:
            message = data.decode()
        except UnicodeDecodeError:
            self.conn.fail(1007)
            self.handle_parser_exception()
            return
        received(message)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._direct.note_room(False)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._direct.note_room(True)


def _small_messages(data: bytes) -> list[tuple[bool, bytes]] | None:
    """(whether it is text, what it says) of each frame (RFC 6455, 5.2); None unless all are small, whole, masked messages."""
    messages = []
    while data:
        size = len(data)
        if size < 6 or data[0] not in (0x81, 0x82):
            return None
        end = 6 + (data[1] & 0x7F)
        if data[1] < 0x80 or data[1] > 0x80 | 125 or size < end:
            return None
        messages.append((data[0] == 0x81, apply_mask(data[6:end], data[2:6])))
        data = data[end:]
    return messages


def direct(websocket: Websocket) -> Direct | None:
    """The short way to this socket, where the server has one."""
    found = (websocket.scope.get("extensions") or {}).get(EXTENSION)
    return cast("Direct | None", found)
