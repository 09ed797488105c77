"""uvicorn's WebSockets, with a short way for terminals: past the queue, the task and the dictionaries that ASGI has for each
message.

The handshake, pings and the end are uvicorn's own, and every route is reached by ASGI as with any server: who may attach
is asked in one place. A view that finds a `Direct` by `direct(websocket)` may take the socket over with it; where there is
none (another server), it uses ASGI's messages. Must not know what is carried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from quart.wrappers import Websocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.speedups import apply_mask

from app.terminal.events import Message

EXTENSION = "hub.direct"
EARLY = 64  # Messages that may come before the view has asked the database who this is.


class Direct:
    """One WebSocket, to be written to at once: a `Sink` of `app.terminal.terminal`.

    Call `hold` before the socket is accepted and `take_over` after. That the peer has gone is told by ASGI, as ever.
    """

    def __init__(self, socket: Socket) -> None:
        self.writable = True
        self._socket = socket
        self._early: list[Message] = []
        self._received: Callable[[Message], None] | None = None
        self._drained: Callable[[], None] | None = None

    def hold(self) -> None:
        """Messages come here from now on, and not by ASGI."""
        self._received = self._keep

    def take_over(self, received: Callable[[Message], None], drained: Callable[[], None]) -> None:
        """`received` is called for each message, `drained` when `writable` is true again."""
        early, self._early = self._early, []
        self._received, self._drained = received, drained
        for message in early:
            received(message)
        self._socket.transport.resume_reading()

    def send(self, message: Message) -> None:
        """Write it; what the peer does not take waits in memory, and `writable` says so."""
        if isinstance(message, str):
            self._socket.write_frame(0x81, message.encode())
        else:
            self._socket.write_frame(0x82, message)

    def abort(self) -> None:
        """Cut the connection."""
        self._socket.transport.abort()

    def __deepcopy__(self, memo: object) -> Direct:
        return self  # Middleware copies scopes; the socket stays the same.

    # For the socket

    @property
    def held(self) -> bool:
        return self._received is not None

    def take(self, message: Message) -> None:
        if self._received is not None:
            self._received(message)

    def note_room(self, room: bool) -> None:
        self.writable = room
        if room and self._drained is not None:
            self._drained()

    def _keep(self, message: Message) -> None:
        self._early.append(message)
        if len(self._early) >= EARLY:
            self._socket.transport.pause_reading()


class Socket(WebSocketsSansIOProtocol):
    """uvicorn's protocol for one WebSocket (`uvicorn.Config(ws=Socket)`)."""

    _direct: Direct

    def handle_connect(self, event: Any) -> None:
        self._direct = Direct(self)
        super().handle_connect(event)  # Starts the app's task, which runs later.
        if not self.close_sent:
            cast("dict[str, object]", self.scope["extensions"])[EXTENSION] = self._direct

    def data_received(self, data: bytes) -> None:
        # What people type comes in small frames, one at a time. They need none of the parser's machinery.
        if len(data) < 132 and self.handshake_complete and self._direct.held and self._alone(data):
            self._hand_on(apply_mask(data[6:], data[2:6]), text=data[0] == 0x81)
        else:
            super().data_received(data)

    def _alone(self, data: bytes) -> bool:
        """Whether this is one whole frame with a message, and nothing was begun before it."""
        return (
            len(data) >= 6
            and data[0] in (0x81, 0x82)
            and data[1] == 0x80 | (len(data) - 6)
            and not self.frames
            and not self.conn.reader.buffer
            and not self.close_sent
        )

    def send_receive_event_to_app(self) -> None:
        if not hasattr(self, "_direct") or not self._direct.held or self.close_sent:
            super().send_receive_event_to_app()
            return
        data = b"".join(self.frames)
        self.frames = []
        self._hand_on(data, text=self.curr_msg_data_type == "text")

    def _hand_on(self, data: bytes, *, text: bool) -> None:
        try:
            self._direct.take(data.decode() if text else data)
        except UnicodeDecodeError:
            self.conn.fail(1007)
            self.handle_parser_exception()

    def write_frame(self, head: int, payload: bytes) -> None:
        """One whole, unmasked frame (RFC 6455, 5.2), past the connection's own book: it has none for data."""
        if self.close_sent or self.transport.is_closing():
            return
        size = len(payload)
        if size < 126:
            start = bytes((head, size))
        elif size < 65536:
            start = bytes((head, 126)) + size.to_bytes(2, "big")
        else:
            start = bytes((head, 127)) + size.to_bytes(8, "big")
        self.transport.write(start + payload)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._direct.note_room(False)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._direct.note_room(True)


def direct(websocket: Websocket) -> Direct | None:
    """The short way to this socket, where the server has one."""
    found = (websocket.scope.get("extensions") or {}).get(EXTENSION)
    return cast("Direct | None", found)
