"""Live terminals of one replica: one upstream connection for each run, any number of viewers, and the tasks between.

All decisions about output are `fanout`'s, all frames are `webtty`'s and `wire`'s; here are the sockets, the clock and
the tasks. Must not know the web framework (a viewer is a `ViewerIO`), the database, or who may attach: whoever calls
`serve_viewer` has checked that.

A viewer that cannot be served is closed with a code, never with an exception: 1000 the run ended, 1008 it broke its
protocol, 1009 its message was too large, 1012 come back (the run did not answer, or the replica is leaving), 1013 too
many viewers, or its typing got stuck.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from app.aio import Supervisor, backoff, cancel_and_wait, within
from app.terminal import webtty
from app.terminal.events import (
    MAX_MESSAGE,
    MAX_SIDE,
    Ack,
    Deadline,
    Keys,
    Message,
    Mode,
    Ping,
    Pong,
    ProtocolError,
    Resize,
    Size,
    State,
    ViewerCodec,
)
from app.terminal.fanout import Fanout, Limits, Viewer
from app.terminal.wire import HubTty

log = logging.getLogger("hub.terminal")

ViewerProtocol = Literal["hub.tty.v1", "webtty"]

LEAVING = State("leaving", None, "The server is restarting.")
MAX_FRAME = 128 * 1024  # Bytes of one frame from upstream; the largest of any GoTTY has 44 KiB.


class Disconnected(Exception):
    """The viewer has gone. Raised by a ViewerIO."""


class ViewerIO(Protocol):
    """A viewer's WebSocket. Every method may raise Disconnected; a send returns when there is room for the next."""

    async def send_bytes(self, data: bytes) -> None: ...

    async def send_text(self, text: str) -> None: ...

    async def receive(self) -> Message: ...

    async def close(self, code: int, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class TerminalTarget:
    """One run, and how to reach it. `address` is `host:port`, `credential` is GoTTY's `user:secret`.

    `arguments` say what it opens: one that was kept warm is told by its first viewer, all others know.
    """

    session_id: str
    generation: int
    address: str
    credential: str = field(repr=False)
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, in seconds, and for how much."""

    grace: float = 30.0  # Upstream outlives the last viewer: a reload or a train's tunnel needs no new connection.
    give_up: float = 15.0  # Upstream is down for this long: viewers come back, and their session is looked at anew.
    retry: float = 2.0  # The longest wait between two tries to reach upstream.
    keepalive: float = 20.0  # A ping each; upstream that is silent for twice as long is dead.
    redraw: float = 0.05  # Between the two resizes that make a program draw everything: both must be seen.
    handshake: float = 10.0  # For the first frame of a GoTTY client.
    farewell: float = 2.0  # For a viewer to take the last output before it is closed.
    parting: float = 0.01  # Between two terminals that are closed since the replica leaves,
    partings: float = 1.0  # and for all of them at most.
    last_words: float = 0.5  # For a viewer who is told so to go by itself: what it typed until then is still taken in.
    viewers: int = 32  # Of one terminal. Each costs memory, and nobody has so many windows.
    typed: int = 1024 * 1024  # Bytes that wait for an upstream that takes none.


@dataclass(eq=False)
class _Attached:
    """A viewer with its socket."""

    viewer: Viewer
    io: ViewerIO
    codec: ViewerCodec
    keys: webtty.KeyDecoder = field(default_factory=webtty.KeyDecoder)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    timed: bool = False  # Whether a timer will wake it.
    # Once set, the viewer is sent what is left and this notice, and is closed with this code and these words.
    farewell: tuple[State | None, int, str] | None = None
    patience: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))  # For taking what is left.
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class _Terminal:
    """The terminal of one run: the upstream connection and the viewers of it."""

    def __init__(self, target: TerminalTarget, limits: Limits, patience: Patience, on_input: Callable[[str], None]):
        self.target = target
        self.attached: list[_Attached] = []
        self._patience = patience
        self._on_input = on_input
        self._fanout = Fanout(limits)
        self._client: webtty.Client | None = None  # Set while upstream is connected.
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._pending_more = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._told_size: Size | None = None
        self._redrawing: asyncio.Task[None] | None = None
        self._heard = 0.0
        # A GoTTY client is never told when it may type, so what it types before upstream is there is kept; then None.
        self._early: str | None = ""
        self._used = asyncio.Event()  # Set while there are viewers,
        self._vacant = asyncio.Event()  # and this one while there are none.

    # Viewers.

    def attach(self, io: ViewerIO, codec: ViewerCodec, mode: Mode, size: Size | None) -> _Attached:
        attached = _Attached(self._fanout.attach(mode, size), io, codec)
        self.attached.append(attached)
        self._used.set()
        self._vacant.clear()
        self._settle()
        return attached

    def detach(self, attached: _Attached) -> None:
        self.attached.remove(attached)
        self._fanout.detach(attached.viewer)
        attached.gone.set()
        if not self.attached:
            self._used.clear()
            self._vacant.set()
        self._settle()

    def tell(self, notice: State | Deadline) -> None:
        self._fanout.tell(notice)
        self._settle()

    def dismiss(self, attached: _Attached, notice: State | None, code: int, reason: str) -> None:
        """Let a viewer take what is left, then close it."""
        if attached.farewell is None:
            attached.farewell = (notice, code, reason)
            attached.patience.reschedule(asyncio.get_running_loop().time() + self._patience.farewell)
            attached.wake.set()

    def dismiss_all(self, notice: State | None, code: int, reason: str) -> None:
        for attached in self.attached:
            self.dismiss(attached, notice, code, reason)

    async def receive(self, attached: _Attached) -> tuple[int, str]:
        """Take in a viewer's messages until it goes or breaks a rule. Returns the close code and the words for it.

        Never waits for upstream, so that nothing heaps up in the web server's own queue.
        """
        viewer = attached.viewer
        try:
            while True:
                message = await attached.io.receive()
                if len(message) > MAX_MESSAGE:
                    return 1009, f"a message has {MAX_MESSAGE} bytes at most"
                match attached.codec.decode(message):
                    case Keys(data):
                        if viewer.drives and not self._type(attached, data):
                            notice = State("running", "input_stuck", "The session takes no input just now.")
                            self.dismiss(attached, notice, 1013, notice.text)
                            await attached.gone.wait()
                    case Resize(size):
                        self._fanout.resize(viewer, size)
                    case Ack(total):
                        self._fanout.ack(viewer, total)
                        attached.wake.set()
                    case Ping():
                        viewer.tell(Pong())
                self._settle()
        except ProtocolError as error:
            return 1008, str(error)
        except Disconnected:
            return 1001, ""

    def _type(self, attached: _Attached, data: bytes) -> bool:
        """Pass on what was typed. Returns False where too much waits already."""
        text = attached.keys.decode(data)
        self._fanout.typed(attached.viewer)
        self._on_input(self.target.session_id)
        if self._early is not None:
            self._early += text
            return len(self._early) <= self._patience.typed
        if self._client is not None and self._fanout.up:
            for frame in self._client.input(text):
                self._push(frame)
        # Else the viewer has been told that nobody listens: to send it later would be worse than never.
        return self._pending_bytes <= self._patience.typed

    async def send(self, attached: _Attached) -> tuple[int, str]:
        """Send a viewer its output and notices until it is dismissed. Returns the close code and the words for it."""
        try:
            async with attached.patience:
                await self._send_all(attached.io, attached.codec.greeting())
                while not await self._send_next(attached):
                    pass
        except Disconnected:
            return 1001, ""
        except TimeoutError:
            log.info("session %s: a viewer did not take its last output", self.target.session_id)
        assert attached.farewell is not None  # noqa: S101  (Nothing else ends the loop or starts the clock.)
        return attached.farewell[1:]

    async def _send_next(self, attached: _Attached) -> bool:
        """Send what is due, or wait until something may be. Returns whether that was the last."""
        viewer, codec, io = attached.viewer, attached.codec, attached.io
        attached.wake.clear()
        for notice in viewer.take_notices():
            await self._send_all(io, codec.notice(notice))
        now = time.monotonic()
        due = self._fanout.due(viewer, now)
        if due is not None and (due <= now or attached.farewell):
            message = codec.output(self._fanout.take(viewer, now))
            self._settle()
            await self._send_all(io, [message])
        elif attached.farewell is not None:
            if attached.farewell[0] is not None:
                await self._send_all(io, codec.notice(attached.farewell[0]))
            return True
        elif due is None:
            await attached.wake.wait()
        else:
            timer = asyncio.get_running_loop().call_later(due - now, attached.wake.set)
            attached.timed = True
            try:
                await attached.wake.wait()
            finally:
                attached.timed = False
                timer.cancel()
        return False

    @staticmethod
    async def _send_all(io: ViewerIO, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, str):
                await io.send_text(message)
            else:
                await io.send_bytes(message)

    # Between viewers and upstream.

    def _settle(self) -> None:
        """Put what the fanout has decided into effect."""
        fanout = self._fanout
        if fanout.paused:
            self._may_read.clear()
        else:
            self._may_read.set()
        if self._client is not None and fanout.size is not None:
            if fanout.repaint_wanted:
                fanout.repaint_wanted = False
                if self._redrawing is None:
                    self._redrawing = asyncio.create_task(self._redraw(fanout.size), name="terminal redraw")
            elif self._redrawing is None:
                self._tell_size(fanout.size)
        now = time.monotonic()
        for attached in self.attached:
            due = fanout.due(attached.viewer, now)
            # A sender that waits for a later time has a timer; to wake it for each frame would undo the coalescing.
            if attached.viewer.has_notices or (due is not None and (due <= now or not attached.timed)):
                attached.wake.set()

    def _tell_size(self, size: Size) -> None:
        if self._client is not None and size != self._told_size:
            self._told_size = size
            self._push(self._client.resize(size))

    async def _redraw(self, size: Size) -> None:
        """Make the program draw everything: one row more, then the right number again. Each is a SIGWINCH.

        Not one less: where its bottom line goes away, VisiData forgets what is being typed there.
        """
        try:
            self._tell_size(Size(size.cols, size.rows + 1 if size.rows < MAX_SIDE else size.rows - 1))
            await asyncio.sleep(self._patience.redraw)
        finally:
            self._redrawing = None
            self._settle()

    def _push(self, frame: bytes) -> None:
        self._pending.append(frame)
        self._pending_bytes += len(frame)
        self._pending_more.set()

    # Upstream.

    async def run(self) -> None:
        """Keep upstream connected while there are viewers and it can be reached. Returns when it is given up."""
        patience = self._patience
        delays = backoff(0.05, patience.retry)
        down_since = time.monotonic()
        while True:
            try:
                await self._connect()
            except (OSError, TimeoutError, WebSocketException, ProtocolError) as error:
                log.debug("session %s: upstream: %s: %s", self.target.session_id, type(error).__name__, error)
            if self._fanout.up:
                self._fanout.broken()
                self._settle()
                delays = backoff(0.05, patience.retry)
                down_since = time.monotonic()
            if not self.attached or time.monotonic() - down_since > patience.give_up:
                return
            await asyncio.sleep(next(delays))

    async def _connect(self) -> None:
        """One connection, from beginning to end. Raises when it breaks; returns when it is unused for long enough."""
        target = self.target
        async with connect(
            f"ws://{target.address}/ws",
            subprotocols=list(webtty.SUBPROTOCOLS),  # type: ignore[arg-type]  # A NewType of str.
            origin=None,
            compression=None,
            proxy=None,
            user_agent_header=None,
            max_size=MAX_FRAME,
            open_timeout=5,
            close_timeout=1,
            # While reading rests, so do the pongs; `_keep_alive` knows about that and the library does not.
            ping_interval=None,
        ) as socket:
            client = webtty.Client(socket.subprotocol)
            self._pending.clear()
            self._pending_bytes = 0
            self._told_size = None
            await socket.send(webtty.init(target.credential, target.arguments), text=True)
            self._heard = time.monotonic()
            self._client = client
            self._settle()
            tasks = [
                asyncio.create_task(self._read(socket, client), name="terminal read"),
                asyncio.create_task(self._write(socket), name="terminal write"),
                asyncio.create_task(self._keep_alive(client), name="terminal keep-alive"),
                asyncio.create_task(self._unused(), name="terminal grace"),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._client = None
                redrawing = [self._redrawing] if self._redrawing is not None else []
                await cancel_and_wait(*tasks, *redrawing)
            for task in done:
                task.result()

    async def _read(self, socket: ClientConnection, client: webtty.Client) -> None:
        while True:
            frame = await socket.recv(decode=False)
            self._heard = time.monotonic()
            event = client.decode(frame)
            if not self._fanout.up:
                # GoTTY says nothing to a wrong token, so only its first frame shows that it took ours.
                self._fanout.connected()
                self._settle()
                early, self._early = self._early, None
                for typed in client.input(early or ""):
                    self._push(typed)
            if isinstance(event, webtty.Output) and event.data:
                self._fanout.feed(event.data)
                self._settle()
                await self._may_read.wait()

    async def _write(self, socket: ClientConnection) -> None:
        while True:
            await self._pending_more.wait()
            self._pending_more.clear()
            while self._pending:
                frame = self._pending.popleft()
                await socket.send(frame, text=True)
                self._pending_bytes -= len(frame)

    async def _keep_alive(self, client: webtty.Client) -> None:
        """Ping upstream, and find out when it is dead. While reading rests, nothing can be heard: that is no sign."""
        while True:
            await asyncio.sleep(self._patience.keepalive)
            if not self._may_read.is_set():
                self._heard = time.monotonic()
            elif time.monotonic() - self._heard > 2 * self._patience.keepalive:
                raise TimeoutError("upstream is silent")
            self._push(client.ping())

    async def _unused(self) -> None:
        """Return when there has been no viewer for the grace time."""
        while True:
            await self._vacant.wait()
            if not await within(self._used, self._patience.grace):
                return


class Terminals:
    """Every live terminal of this replica, from the first viewer's coming to some time after the last one's going.

    `on_input(session_id)` is called for each message of keys from a driver; it must be quick and not raise.
    """

    def __init__(
        self,
        *,
        on_input: Callable[[str], None] = lambda session_id: None,
        limits: Limits | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._on_input = on_input
        self._limits = limits or Limits()
        self.patience = patience or Patience()
        self._terminals: dict[tuple[str, int], _Terminal] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._supervisor = Supervisor()
        self._leaving = False

    def open_terminals(self) -> int:
        """How many runs this replica is connected to."""
        return len(self._terminals)

    def session_ids(self) -> set[str]:
        """The sessions whose terminals this replica is connected to."""
        return {session_id for session_id, _ in self._terminals}

    def generations(self, session_id: str) -> list[int]:
        """Which runs of a session this replica is connected to."""
        return [generation for owner, generation in self._terminals if owner == session_id]

    def viewers(self, session_id: str) -> int:
        """How many viewers of a session are attached here."""
        return sum(len(terminal.attached) for terminal in self._of(session_id))

    def terminal(self, target: TerminalTarget) -> _Terminal | None:
        """The terminal of a run, connected or about to be; None while the replica is leaving."""
        if self._leaving:
            return None
        key = (target.session_id, target.generation)
        terminal = self._terminals.get(key)
        if terminal is None:
            terminal = _Terminal(target, self._limits, self.patience, self._on_input)
            self._terminals[key] = terminal
            self._tasks[key] = self._supervisor.spawn(f"terminal {key[0]}-{key[1]}", self._run(key, terminal))
        terminal.target = target
        return terminal

    async def _run(self, key: tuple[str, int], terminal: _Terminal) -> None:
        try:
            await terminal.run()
        finally:
            if self._terminals.get(key) is terminal:
                del self._terminals[key]
                del self._tasks[key]
            terminal.dismiss_all(None, 1012, "The session does not answer.")

    def _of(self, session_id: str) -> list[_Terminal]:
        return [terminal for (owner, _), terminal in self._terminals.items() if owner == session_id]

    async def end(self, session_id: str, generation: int, state: str, reason: str | None, text: str = "") -> None:
        """The run has ended: its viewers get what is left, are told why, and are closed with 1000."""
        terminal = self._terminals.pop((session_id, generation), None)
        if terminal is None:
            return
        task = self._tasks.pop((session_id, generation))
        terminal.dismiss_all(State(state, reason, text), 1000, "The session ended.")
        await cancel_and_wait(task)
        await self._wait_gone(terminal)

    def push_state(self, session_id: str, state: str, reason: str | None = None, text: str = "") -> None:
        """Tell the viewers of a session that its state changed, and keep them."""
        for terminal in self._of(session_id):
            terminal.tell(State(state, reason, text))

    def push_deadline(self, session_id: str, at: str | None, why: str = "") -> None:
        """Tell the viewers of a session when it will be stopped (ISO 8601), or with None that it will not be."""
        for terminal in self._of(session_id):
            terminal.tell(Deadline(at, why))

    async def close_all(self) -> None:
        """Close every viewer with 1012 (come back, to another replica) and every upstream. Runs go on. Final.

        Not all in one moment: they come back as fast as they are let go, and whoever takes them on has work with each.
        """
        self._leaving = True
        terminals = list(self._terminals.values())
        for terminal in terminals:
            terminal.dismiss_all(LEAVING, 1012, LEAVING.text)
            await asyncio.sleep(min(self.patience.parting, self.patience.partings / len(terminals)))
        await asyncio.gather(*(self._wait_gone(terminal) for terminal in terminals))
        await self._supervisor.close()

    async def _wait_gone(self, terminal: _Terminal) -> None:
        for attached in list(terminal.attached):
            await attached.gone.wait()


async def serve_viewer(
    terminals: Terminals,
    target: TerminalTarget,
    io: ViewerIO,
    *,
    protocol: ViewerProtocol = "hub.tty.v1",
    mode: Mode = "drive",
    size: Size | None = None,
    deadline: Deadline | None = None,
) -> None:
    """Serve one viewer of a run until it goes or is closed; its socket is closed when this returns or is cancelled.

    The socket has been accepted with `protocol`. `size` is the viewer's window, where it is known beforehand: it saves
    the program one repaint. `deadline` is the one that holds now, if any.
    """
    code, reason = 1011, ""
    try:
        code, reason = await _serve(terminals, target, io, protocol, mode, size, deadline)
    finally:
        with suppress(Disconnected):
            await io.close(code, reason[:100])


async def _serve(
    terminals: Terminals,
    target: TerminalTarget,
    io: ViewerIO,
    protocol: ViewerProtocol,
    mode: Mode,
    size: Size | None,
    deadline: Deadline | None,
) -> tuple[int, str]:
    codec: ViewerCodec
    if protocol == "webtty":
        codec = server = webtty.Server()
        try:
            async with asyncio.timeout(terminals.patience.handshake):
                server.begin(await io.receive())
        except ProtocolError as error:
            return 1008, str(error)
        except (TimeoutError, Disconnected):
            return 1008, "no first frame"
    else:
        codec = HubTty()
    terminal = terminals.terminal(target)
    if terminal is None:
        return 1012, LEAVING.text
    if len(terminal.attached) >= terminals.patience.viewers:
        return 1013, "This session is open in too many windows."
    attached = terminal.attach(io, codec, mode, size)
    if deadline is not None:
        terminal.tell(deadline)
    receiver = asyncio.create_task(terminal.receive(attached), name="viewer receive")
    sender = asyncio.create_task(terminal.send(attached), name="viewer send")
    try:
        await asyncio.wait({receiver, sender}, return_when=asyncio.FIRST_COMPLETED)
        if attached.farewell is not None and attached.farewell[0] is LEAVING:
            await asyncio.wait({receiver}, timeout=terminals.patience.last_words)
        return (sender if sender.done() else receiver).result()
    finally:
        await cancel_and_wait(receiver, sender)
        terminal.detach(attached)
