"""The WebSocket to one run's GoTTY: connects, joins fragments, and hands each frame on at once.

No task and no queue lies between a frame's arrival and `on_frame`: this is the Hub's hot path. Must not know what a
frame says.

A person may replace the GoTTY of their run, so everything that comes is hostile. All of it is bounded here: the size of a
message, the number of its fragments, the rate of small frames, and the memory for frames that the run does not read.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable

from picows import WSError, WSFrame, WSListener, WSMsgType, WSParsedURL, WSTransport, ws_connect

from app.terminal import webtty
from app.terminal.events import ProtocolError

# Looked up once: an enum's members take their time.
TEXT, BINARY, CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
PING, CLOSE = WSMsgType.PING, WSMsgType.CLOSE
MAX_FRAME = 128 * 1024  # Bytes of one frame from upstream; the largest of any GoTTY has 44 KiB, our agent's 86.
MAX_FRAGMENTS = 1024  # Of one message. No GoTTY sends any.
# Bytes that may wait for the run to read them, all viewers' keys included. A run that leaves more unread is cut off.
MAX_UNREAD = 8 * 1024 * 1024
# A frame costs the event loop some microseconds, however small it is, so small frames have a rate. GoTTY fills its frames
# (1,024 bytes of output) when a program floods; while reading pauses, the program's output collects into such frames.
SMALL_FRAME = 512  # Bytes.
SMALL_FRAME_RATE = 10_000  # Frames per second, in the long run.
SMALL_FRAME_BURST = 2_000  # Frames at once.
THROTTLE = 0.02  # Seconds for which reading pauses once the burst is used up.
AT_ONCE = 256  # Held messages that are handed on before other connections get their turn.
# Bytes that the kernel may hold on the way here. Linux would let it grow to megabytes, all of which are still to be shown
# after a person has pressed Ctrl-C. This much is enough for 64 MB/s at a round trip of 1 ms.
ON_THE_WAY = 64 * 1024
READ_BUFFER = 4096  # Bytes to begin with: there is one for each session, and most are idle. It grows by itself.


class Upstream(WSListener):
    """One connection. `over` is set once it has broken or was closed; a frame that `on_frame` refuses breaks it.

    The memory of a frame is valid only until `on_frame` returns.
    """

    transport: WSTransport

    def __init__(self, on_frame: Callable[[bytes | memoryview], None]) -> None:
        self.over = asyncio.Event()
        self.gathering = False  # Whether output is left to the kernel for now.
        self._on_frame = on_frame
        self._parts: list[bytes] = []  # Fragments of a message that is not whole yet.
        self._parts_size = 0
        self._resting = False  # Viewers are behind: the program is held back.
        self._throttled = False  # The run sends too many small frames.
        self._flowing = True  # Frames are handed on as they come: nothing rests, is held or was begun.
        self._held: deque[bytes] = deque()  # Messages that had been read already when reading paused.
        self._reading_on = False  # Whether more of them are handed on in the loop's next turn.
        self._small_frames_left = float(SMALL_FRAME_BURST)
        self._refilled_at = time.monotonic()

    @classmethod
    async def connect(cls, address: str, on_frame: Callable[[bytes | memoryview], None]) -> Upstream:
        """Raises OSError where nothing answers, or not as GoTTY does. No header of a browser's is passed on."""
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
                enable_auto_pong=False,
                use_aiofastnet=False,
                socket_factory=_small_socket,
            )
        except (WSError, ValueError) as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        except BaseException:
            upstream.over.set()  # The answer may still come, when this is no longer wanted.
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
        """Send a text frame. A run that leaves more than `MAX_UNREAD` bytes unread is cut off."""
        self.transport.send(TEXT, frame)
        if self.waiting > MAX_UNREAD:
            self.close()

    def rest(self, resting: bool) -> None:
        """Read nothing for now, so that TCP holds the program back; or read on."""
        if self._resting is not resting and not self.over.is_set():
            self._resting = resting
            if resting:
                self._flowing = False
                self._pause_or_resume()
            else:
                asyncio.get_running_loop().call_soon(self._read_on)

    def gather(self, gathering: bool) -> None:
        """Leave output to the kernel for now, since many small frames are cheaper read together; or read it.

        Messages that have been read already are still handed on.
        """
        if self.gathering is not gathering:
            self.gathering = gathering
            self._pause_or_resume()

    def close(self) -> None:
        self.over.set()
        self._flowing = False
        self._held.clear()
        self.transport.disconnect(graceful=False)

    # What picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        if self.over.is_set():
            transport.disconnect(graceful=False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if frame.payload_size < SMALL_FRAME:
            self._small_frames_left -= 1
            if self._small_frames_left < 0 and not self._throttled:
                self._refill_or_throttle()
        if self._flowing and kind is TEXT and frame.fin:  # As GoTTY sends all.
            self._hand_on(frame.get_payload_as_memoryview())
        elif self.over.is_set():
            return
        elif kind is CLOSE:
            self.close()
        elif kind is PING:
            if not self.waiting:  # A run that does not read its pongs needs no more of them.
                transport.send_pong(frame.get_payload_as_bytes())
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
        """A message that comes in fragments, or while reading pauses. One that grows too long breaks the connection."""
        self._flowing = False
        self._parts.append(part)
        self._parts_size += len(part)
        if self._parts_size > MAX_FRAME or len(self._parts) > MAX_FRAGMENTS:
            self.close()
        elif last:
            self._held.append(b"".join(self._parts))
            self._parts.clear()
            self._parts_size = 0
            self._read_on()

    # Pausing

    @property
    def _paused(self) -> bool:
        return self._resting or self._throttled

    def _read_on(self) -> None:
        """Hand on the messages that are held, then read more, unless reading pauses."""
        for _ in range(AT_ONCE):
            if not self._held or self._paused or self.over.is_set():
                break
            self._hand_on(self._held.popleft())
        if self._paused or self.over.is_set():
            return
        if not self._held:
            self._flowing = not self._parts
            self._pause_or_resume()
        elif not self._reading_on:
            self._reading_on = True
            asyncio.get_running_loop().call_soon(self._read_on_again)

    def _read_on_again(self) -> None:
        self._reading_on = False
        self._read_on()

    def _pause_or_resume(self) -> None:
        if self.over.is_set():
            return
        if self._paused or self.gathering:
            self.transport.underlying_transport.pause_reading()
        else:
            self.transport.underlying_transport.resume_reading()

    def _refill_or_throttle(self) -> None:
        """Small frames that the time since the last call allows; with none left, reading pauses for `THROTTLE`."""
        now = time.monotonic()
        earned = (now - self._refilled_at) * SMALL_FRAME_RATE
        self._small_frames_left = min(SMALL_FRAME_BURST, self._small_frames_left + earned)
        self._refilled_at = now
        if self._small_frames_left < 0:
            self._throttled = True
            self._flowing = False
            self._pause_or_resume()
            asyncio.get_running_loop().call_later(THROTTLE, self._end_throttle)

    def _end_throttle(self) -> None:
        self._throttled = False
        self._refill_or_throttle()
        self._read_on()


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
