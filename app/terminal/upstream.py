"""The WebSocket to one run's GoTTY: connects, joins what comes in pieces, and hands each frame on at once.

No task and no queue lies between a frame's arrival and `on_frame`: this is the Hub's hot path. Must not know what a
frame says.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from picows import WSError, WSFrame, WSListener, WSMsgType, WSParsedURL, WSTransport, ws_connect

from app.terminal import webtty
from app.terminal.events import ProtocolError

# Looked up once: an enum's members take their time.
TEXT, BINARY, CONTINUATION, CLOSE = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION, WSMsgType.CLOSE
MAX_FRAME = 128 * 1024  # Bytes of one frame from upstream; the largest of any GoTTY has 44 KiB, our agent's 86.
# Bytes that the kernel may hold on the way here. Linux would let it grow to megabytes, all of which are still to be shown
# after a person has pressed Ctrl-C. This much is enough for 64 MB/s at a round trip of 1 ms.
ON_THE_WAY = 64 * 1024
READ_BUFFER = 4096  # Bytes to begin with: there is one for each session, and most are idle. It grows by itself.


class Upstream(WSListener):
    """One connection. `over` is set once it has broken or was closed; a frame that `on_frame` refuses breaks it.

    A frame is only there until `on_frame` returns.
    """

    transport: WSTransport

    def __init__(self, on_frame: Callable[[bytes | memoryview], None]) -> None:
        self.over = asyncio.Event()
        self._on_frame = on_frame
        self._parts: list[bytes] = []
        self.gathering = False  # Whether what comes is left to the kernel for now.
        self._reading = True
        self._flowing = True  # Frames are handed on as they come: nothing rests, is held or was begun.
        self._held: deque[bytes] = deque()  # What had been read already when reading was to rest.

    @classmethod
    async def connect(cls, address: str, on_frame: Callable[[bytes | memoryview], None]) -> Upstream:
        """Raises OSError where nothing answers, or not as GoTTY does. No word of a browser's is passed on."""
        upstream = cls(on_frame)
        offered = ", ".join(webtty.SUBPROTOCOLS)
        try:
            await ws_connect(
                lambda: upstream,
                f"ws://{address}/ws",
                extra_headers={"Sec-WebSocket-Protocol": offered},
                max_frame_size=MAX_FRAME,
                read_buffer_init_size=READ_BUFFER,
                max_redirects=0,
                use_aiofastnet=False,
                socket_factory=_small_socket,
            )
        except (WSError, ValueError) as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        except BaseException:
            upstream.over.set()  # It may yet be answered, when nobody waits for that any more.
            raise
        return upstream

    @property
    def subprotocol(self) -> str | None:
        found = self.transport.response.headers.get("Sec-WebSocket-Protocol")
        return str(found) if found else None

    @property
    def waiting(self) -> int:
        """Bytes that the run has not taken yet."""
        return self.transport.underlying_transport.get_write_buffer_size()

    def send(self, frame: bytes) -> None:
        self.transport.send(TEXT, frame)

    def rest(self, resting: bool) -> None:
        """Read nothing for now, so that TCP holds the program back; or read on."""
        if self._reading is resting and not self.over.is_set():
            self._reading = not resting
            if resting:
                self._flowing = False
                self.transport.underlying_transport.pause_reading()
            else:
                asyncio.get_running_loop().call_soon(self._read_on)

    def gather(self, gathering: bool) -> None:
        """Leave for now to the kernel what comes, since many small frames are cheaper read together; or read it.

        What has been read already is still handed on.
        """
        if self.gathering is not gathering:
            self.gathering = gathering
            if self._reading and not self.over.is_set():
                if gathering:
                    self.transport.underlying_transport.pause_reading()
                else:
                    self.transport.underlying_transport.resume_reading()

    def close(self) -> None:
        self.over.set()
        self._flowing = False
        self.transport.disconnect(graceful=False)

    # What picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        if self.over.is_set():
            transport.disconnect(graceful=False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if self._flowing and kind is TEXT and frame.fin:  # As GoTTY sends all.
            self._hand_on(frame.get_payload_as_memoryview())
        elif self.over.is_set():
            return
        elif kind is CLOSE:
            self.close()
        elif kind in (TEXT, BINARY, CONTINUATION):
            self._collect(frame.get_payload_as_bytes(), frame.fin)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.over.set()

    def _hand_on(self, frame: bytes | memoryview) -> None:
        try:
            self._on_frame(frame)
        except ProtocolError:
            self.close()

    def _collect(self, part: bytes, last: bool) -> None:
        """A message that comes in pieces, or while reading rests. One that grows too long breaks the connection."""
        self._flowing = False
        self._parts.append(part)
        if sum(map(len, self._parts)) > MAX_FRAME:
            self.close()
        elif last:
            self._held.append(b"".join(self._parts))
            self._parts.clear()
            self._read_on()

    def _read_on(self) -> None:
        while self._reading and self._held and not self.over.is_set():
            self._hand_on(self._held.popleft())
        if self._reading and not self.over.is_set():
            self._flowing = True
            if not self.gathering:
                self.transport.underlying_transport.resume_reading()


async def _small_socket(url: WSParsedURL) -> socket.socket:
    """A connection whose window is small from its first packet on. Raises OSError."""
    made = socket.socket(socket.AF_INET6 if ":" in url.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ON_THE_WAY)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, (url.host, url.port))
    except BaseException:
        made.close()
        raise
    return made
