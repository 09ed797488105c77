"""Live terminals of one replica: one upstream connection for each run, any number of viewers, and nothing between them
that waits.

A frame from the run is decoded, handed to the fanout, and what is due is in the viewers' sockets before the next frame is
looked at; so is a key on its way to the run. All decisions about output are `fanout`'s, all frames are `webtty`'s and
`wire`'s; here are the connection, the timers, and who is attached. Must not know the web framework (a viewer's socket is a
`Sink`), the database, or who may attach: whoever calls `attach` has checked that.

A viewer that cannot be served is closed with a code, never with an exception: 1000 the run ended, 1008 it broke its
protocol, 1009 its message was too large, 1012 come back (the run did not answer, or the replica is leaving), 1013 too
many viewers, or its typing got stuck.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from app.aio import Supervisor, backoff, cancel_and_wait, within
from app.terminal import webtty
from app.terminal.events import (
    MAX_MESSAGE,
    MAX_SIDE,
    Ack,
    Deadline,
    FromViewer,
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
from app.terminal.fanout import UNKNOWN_SIZE, Fanout, Limits, Viewer
from app.terminal.sgr import shorten
from app.terminal.upstream import Upstream
from app.terminal.wire import HubTty

INTERRUPT = b"\x03"  # What Ctrl-C sends, and a terminal takes for VINTR unless it is told otherwise.

# So many bytes of output are shortened in a second: what a person looks at, and not what a program floods the Hub with.
SPARE = 128 * 1024

LOOKS = 8  # In the time between two pings it is looked so often whether upstream has said anything.

log = logging.getLogger("hub.terminal")

ViewerProtocol = Literal["hub.tty.v1", "webtty"]

LEAVING = State("leaving", None, "The server is restarting.")


class Sink(Protocol):
    """A viewer's socket, to be written to. Nothing waits: what the peer has not taken yet is kept by the sink, which
    says so by `writable` and calls `Attachment.drained` once it is all taken."""

    @property
    def writable(self) -> bool: ...

    def send(self, message: Message) -> None: ...


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
    connect: float = 5.0  # For upstream to answer one.
    keepalive: float = 20.0  # A ping each; upstream that is silent for twice as long is dead.
    look: float = 0.05  # For what somebody has been sent at once to be looked at.
    redraw: float = 0.05  # Between the two resizes that make a program draw everything: both must be seen.
    slow_redraw: float = 5.0  # For the first of them to be seen, on a machine that is busy.
    handshake: float = 10.0  # For the first frame of a GoTTY client.
    farewell: float = 2.0  # For a viewer to take the last output before it is closed.
    parting: float = 0.01  # Between two terminals that are closed since the replica leaves,
    partings: float = 1.0  # and for all of them at most.
    last_words: float = 0.5  # For a viewer who is told so to go by itself: what it typed until then is still taken in.
    viewers: int = 32  # Of one terminal. Each costs memory, and nobody has so many windows.
    typed: int = 1024 * 1024  # Bytes that wait for an upstream that takes none.
    look_again: int = 4096  # Bytes typed, after which it is looked whether they wait.


class Attachment:
    """One viewer's place at a terminal. Made by `Terminals.attach`.

    Whoever has the viewer's socket calls `received` and `drained`, closes it with what `over` gets, and calls `leave` in
    any case.
    """

    def __init__(
        self,
        terminals: Terminals,
        target: TerminalTarget,
        sink: Sink,
        codec: ViewerCodec,
        mode: Mode,
        size: Size | None,
        deadline: Deadline | None,
    ) -> None:
        self.over: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self.sink = sink
        self.codec = codec
        self.show: Callable[[bytes], None] = sink.send if isinstance(codec, HubTty) else self._show
        self.utf8 = webtty.Utf8()
        self.timer: asyncio.Handle | None = None  # Its next output is due then.
        # Once set, it is sent what is left and this notice, and is closed with this code and these words.
        self.farewell: tuple[State | None, int, str] | None = None
        self.told = False  # Whether the farewell's notice has been sent,
        self.parting = False  # and whether it has taken that.
        self.viewer: Viewer | None = None  # None before it has introduced itself.
        self.terminal: _Terminal | None = None
        self._terminals = terminals
        self._target = target
        self._mode = mode
        self._size = size
        self._deadline = deadline
        self._patience: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Take the place, or wait for the first frame where the protocol has one."""
        if isinstance(self.codec, webtty.Server):
            self._finish_in(self._terminals.patience.handshake, 1008, "no first frame")
        else:
            self._join()

    def received(self, message: Message) -> None:
        """The viewer says something."""
        if self.over.done():
            return
        if len(message) > MAX_MESSAGE:
            self.finish(1009, f"a message has {MAX_MESSAGE} bytes at most")
            return
        try:
            if self.terminal is None:
                webtty.Server.begin(message)
                self._join()
                return
            said = self.codec.decode(message)
            if isinstance(said, bytes):
                self.terminal.type(self, said)
            else:
                self.terminal.hear(self, said)
        except ProtocolError as error:
            self.finish(1008, str(error))

    def drained(self) -> None:
        """The sink has room again."""
        if self.terminal is not None:
            self.terminal.flush(self)

    def finish(self, code: int, reason: str) -> None:
        """It is to be closed. The first word counts."""
        if not self.over.done():
            self.over.set_result((code, reason))

    def leave(self) -> None:
        """The viewer has gone, or is going. Idempotent."""
        self.finish(1001, "")
        for timer in (self.timer, self._patience):
            if timer is not None:
                timer.cancel()
        if self.terminal is not None and not self.gone.is_set():
            self.terminal.detach(self)
        self.gone.set()

    def dismiss(self, notice: State | None, code: int, reason: str) -> None:
        """Let the viewer take what is left, then close it."""
        if self.farewell is None:
            self.farewell = (notice, code, reason)
            self._finish_in(self._terminals.patience.farewell, code, reason)

    def say_goodbye(self) -> None:
        """It has been sent all there was: now the notice, and once that has been taken, the end."""
        assert self.farewell is not None  # noqa: S101  (that is when this is called)
        notice, code, reason = self.farewell
        if notice is not None and not self.told:
            self.told = True
            for message in self.codec.notice(notice):
                self.sink.send(message)
        if self.parting or not self.sink.writable:
            return  # A program that goes on to print is no reason to stay.
        self.parting = True
        if notice is LEAVING:
            self._finish_in(self._terminals.patience.last_words, code, reason)
        else:
            self.finish(code, reason)

    def _show(self, output: bytes) -> None:
        self.sink.send(self.codec.output(output))

    def _join(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        terminal = self._terminals.terminal(self._target)
        if terminal is None:
            self.finish(1012, LEAVING.text)
        elif len(terminal.attached) >= self._terminals.patience.viewers:
            self.finish(1013, "This session is open in too many windows.")
        else:
            self.terminal = terminal
            for message in self.codec.greeting():
                self.sink.send(message)
            self.viewer = terminal.attach(self, self._mode, self._size)
            if self._deadline is not None:
                terminal.tell(self._deadline)

    def _finish_in(self, seconds: float, code: int, reason: str) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = asyncio.get_running_loop().call_later(seconds, self.finish, code, reason)


class _Terminal:
    """The terminal of one run: the upstream connection and the viewers of it."""

    def __init__(self, terminals: Terminals, target: TerminalTarget, limits: Limits) -> None:
        self.target = target
        self.attached: list[Attachment] = []
        self.state: State | None = None  # The session's, as it was told last.
        self.deadline = Deadline(None)  # As it was told last.
        self.task: asyncio.Task[None] | None = None  # Keeps upstream connected.
        self._terminals = terminals
        self._patience = terminals.patience
        self._typed_in = terminals.typed_in
        self._fanout = Fanout(limits)
        self._loop = asyncio.get_running_loop()
        self._upstream: Upstream | None = None
        self._client: webtty.Client | None = None  # Set while upstream is connected.
        self._told_size: Size | None = None
        self._redrawing: asyncio.TimerHandle | None = None
        self._vacancy: asyncio.TimerHandle | None = None  # Runs while there are no viewers.
        self._heard = 0.0
        self._spare: float = SPARE
        # A GoTTY client is never told when it may type, so what it types before upstream is there is kept; then None.
        self._early: bytes | None = b""
        self._unsure = 0  # Bytes typed since it was last looked whether they are taken.

    # Viewers.

    def attach(self, attachment: Attachment, mode: Mode, size: Size | None) -> Viewer:
        viewer = attachment.viewer = self._fanout.attach(mode, size)
        self.attached.append(attachment)
        if self._vacancy is not None:
            self._vacancy.cancel()
            self._vacancy = None
        self._settle()
        return viewer

    def detach(self, attachment: Attachment) -> None:
        assert attachment.viewer is not None  # noqa: S101  (it was attached)
        self.attached.remove(attachment)
        self._fanout.detach(attachment.viewer)
        if not self.attached:
            self._vacancy = self._loop.call_later(self._patience.grace, self._unused)
        self._settle()

    def tell(self, notice: State | Deadline) -> None:
        if isinstance(notice, Deadline):
            self.deadline = notice
        self._fanout.tell(notice)
        self._settle()

    def dismiss_all(self, notice: State | None, code: int, reason: str) -> None:
        for attachment in tuple(self.attached):
            attachment.dismiss(notice, code, reason)
            self.flush(attachment)

    def hear(self, attachment: Attachment, said: FromViewer) -> None:
        """What a viewer says beside its keys. Raises ProtocolError."""
        viewer = attachment.viewer
        assert viewer is not None  # noqa: S101  (it was attached)
        match said:
            case Resize(size):
                self._fanout.resize(viewer, size)
            case Ack(total):
                self._fanout.ack(viewer, total, time.monotonic())
                if viewer.cursor == self._fanout.end and not (viewer.lost or self._fanout.paused):
                    return  # Nothing has waited for it.
            case Ping():
                viewer.tell(Pong())
        self._settle()

    def type(self, attachment: Attachment, keys: bytes) -> None:
        """Pass on what was typed, without waiting. A viewer that types while too much of it waits already is closed."""
        viewer, upstream, client = attachment.viewer, self._upstream, self._client
        if viewer is None or not viewer.drives:
            return
        keys = attachment.utf8.take(keys)
        self._unsure += len(keys)
        if upstream is not None and client is not None and self._fanout.up:
            for frame in client.input(keys):
                upstream.send(frame)
            if INTERRUPT in keys:
                self._fanout.interrupt(viewer, time.monotonic())
                self._settle()
        elif self._early is not None:
            self._early += keys
        # Else the viewer has been told that nobody listens: to send it later would be worse than never.
        viewer.urgent = True  # An echo should reach it at once.
        if upstream is not None and upstream.gathering:
            upstream.gather(False)
        self._typed_in.add(self.target.session_id)
        if self._unsure > self._patience.look_again:
            self._look_at_input(attachment)

    def _look_at_input(self, attachment: Attachment) -> None:
        self._unsure = 0
        waiting = len(self._early or b"") + (self._upstream.waiting if self._upstream is not None else 0)
        if waiting > self._patience.typed:
            notice = State("running", "input_stuck", "The session takes no input just now.")
            attachment.dismiss(notice, 1013, notice.text)
            self.flush(attachment)

    def flush(self, attachment: Attachment) -> None:
        """Send one viewer what is due and fits, and put into effect what that changes."""
        self._flush(attachment)
        self._apply()

    def _flush(self, attachment: Attachment) -> None:
        viewer, sink, codec = attachment.viewer, attachment.sink, attachment.codec
        if viewer is None or attachment.over.done():
            return
        while sink.writable:
            if viewer.has_notices:
                for notice in viewer.take_notices():
                    for message in codec.notice(notice):
                        sink.send(message)
                continue
            now = time.monotonic()
            due = self._fanout.due(viewer, now)
            if due is None:
                if attachment.farewell is not None:
                    attachment.say_goodbye()
                return
            if due > now and attachment.farewell is None:
                if attachment.timer is None:
                    attachment.timer = self._loop.call_later(due - now, self._is_due, attachment)
                return
            attachment.show(self._fanout.take(viewer, now))

    def _is_due(self, attachment: Attachment) -> None:
        if self._upstream is not None and self._upstream.gathering:
            self._upstream.gather(False)
            # After the loop has looked at its sockets once more.
            attachment.timer = self._loop.call_soon(self._is_due_soon, attachment)
        else:
            self._is_due_now(attachment)

    def _is_due_soon(self, attachment: Attachment) -> None:
        attachment.timer = self._loop.call_soon(self._is_due_now, attachment)

    def _is_due_now(self, attachment: Attachment) -> None:
        attachment.timer = None
        self.flush(attachment)

    # Between viewers and upstream.

    def _settle(self) -> None:
        """Put what the fanout has decided into effect, after whatever has changed."""
        self._fanout.look()
        for attachment in tuple(self.attached):
            self._flush(attachment)
        self._apply()

    def _apply(self) -> None:
        fanout, upstream = self._fanout, self._upstream
        fanout.settle()
        if upstream is None:
            return
        upstream.gather(False)
        upstream.rest(fanout.paused)
        if fanout.reported is not None:
            self._told_size, fanout.reported = fanout.reported, None
        if fanout.size is None:
            if not fanout.repaint_wanted or any(viewer.drives for viewer in fanout.viewers):
                return
            fanout.size = UNKNOWN_SIZE  # As those who watch were told while nobody drives. The agent says its own.
        if fanout.repaint_wanted:
            fanout.repaint_wanted = False
            if self._redrawing is None:
                self._redraw(fanout.size)
        elif self._redrawing is None:
            self._tell_size(fanout.size)

    def _tell_size(self, size: Size) -> None:
        if size != self._told_size and self._client is not None and self._upstream is not None:
            self._told_size = size
            self._upstream.send(self._client.resize(size))

    def _redraw(self, size: Size) -> None:
        """Make the program draw everything: one row more, then the right number again. Each is a SIGWINCH.

        Not one less: where its bottom line goes away, VisiData forgets what is being typed there.
        """
        until = self._loop.time() + self._patience.slow_redraw
        self._redrawing = self._loop.call_later(self._patience.redraw, self._redrawn, self._fanout.end, until)
        self._tell_size(Size(size.cols, size.rows + 1 if size.rows < MAX_SIDE else size.rows - 1))

    def _redrawn(self, before: int, until: float) -> None:
        if self._fanout.end == before and self._loop.time() < until:
            # It has not drawn since, so it may not have looked yet; then it would see no change at all.
            self._redrawing = self._loop.call_later(self._patience.redraw, self._redrawn, before, until)
            return
        self._redrawing = None
        self._told_size = None  # Somebody else's may have come meanwhile, and the row must be taken back.
        self._settle()

    # Upstream.

    async def run(self) -> None:
        """Keep upstream connected while there are viewers and it can be reached. Returns when it is given up."""
        patience = self._patience
        delays = backoff(0.05, patience.retry)
        down_since = time.monotonic()
        while True:
            try:
                await self._connect()
            except (OSError, TimeoutError, ProtocolError) as error:
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
        async with asyncio.timeout(self._patience.connect):
            upstream = await Upstream.connect(target.address, self._take)
        try:
            client = webtty.Client(upstream.subprotocol)
            self._told_size = None
            self._heard = time.monotonic()
            self._upstream, self._client = upstream, client
            upstream.send(webtty.init(target.credential, target.arguments))
            self._apply()
            keepalive = self._patience.keepalive
            heard, looks, silent = self._heard, 0, 0
            while not await within(upstream.over, keepalive / LOOKS):
                # While reading rests, nothing can be heard: that is no sign. Nor is it that the Hub itself was held up
                # and has not read yet what is there: so looks are counted, and not seconds.
                silent = 0 if self._fanout.paused or self._heard != heard else silent + 1
                heard = self._heard
                if silent > 2 * LOOKS:
                    raise TimeoutError("upstream is silent")
                looks += 1
                if looks % LOOKS == 0:
                    upstream.send(client.ping())
        finally:
            self._upstream = self._client = None
            if self._redrawing is not None:
                self._redrawing.cancel()
                self._redrawing = None
            upstream.close()

    def _take(self, frame: bytes | memoryview) -> None:
        """A frame from upstream. Raises ProtocolError."""
        if self._client is None:
            return
        said = self._client.decode(frame)
        before, self._heard = self._heard, time.monotonic()
        if not self._fanout.up:
            # GoTTY says nothing to a wrong token, so only its first frame shows that it took ours.
            self._live()
        if not isinstance(said, bytes) or not (said := self._fanout.hold(said)):
            return
        self._spare = min(SPARE, self._spare + SPARE * (self._heard - before))
        if len(said) <= self._spare:
            self._spare -= len(said)
            said = shorten(said)
        served = waiting = due = False
        for attachment in self.attached:
            viewer = attachment.viewer
            if viewer is None or attachment.over.done():
                continue
            if attachment.sink.writable and self._fanout.at_once(viewer, len(said)):
                attachment.show(said)
                served = True
            else:
                waiting = True
                due = due or viewer.urgent or attachment.timer is None
        enough = self._fanout.feed(said)
        if due or (enough and waiting):
            self._settle()
        elif enough:
            self._apply()
        elif served:
            self._terminals.look_soon(self)  # The rest can wait until nobody waits for us.
        elif waiting and self._upstream is not None:
            self._upstream.gather(True)  # Everybody is sent it when it is their time, and more with it.

    def look(self) -> None:
        """See to what was put off."""
        self._settle()

    def _live(self) -> None:
        self._fanout.connected()
        self._settle()
        early, self._early = self._early, None
        if early and self._client is not None and self._upstream is not None:
            for typed in self._client.input(early):
                self._upstream.send(typed)

    def _unused(self) -> None:
        """There has been no viewer for the grace time."""
        if self._upstream is not None:
            self._upstream.close()


class Terminals:
    """Every live terminal of this replica, from the first viewer's coming to some time after the last one's going.

    `typed_in` are the sessions in which somebody has typed; whoever writes that down takes them out.
    """

    def __init__(self, *, limits: Limits | None = None, patience: Patience | None = None) -> None:
        self.typed_in: set[str] = set()
        self._limits = limits or Limits()
        self.patience = patience or Patience()
        self._terminals: dict[str, dict[int, _Terminal]] = {}  # By session and generation; no session without any.
        self._supervisor = Supervisor()
        self._leaving = False
        self._put_off: set[_Terminal] = set()

    def open_terminals(self) -> int:
        """How many runs this replica is connected to."""
        return sum(map(len, self._terminals.values()))

    def session_ids(self) -> set[str]:
        """The sessions whose terminals this replica is connected to."""
        return set(self._terminals)

    def generations(self, session_id: str) -> list[int]:
        """Which runs of a session this replica is connected to."""
        return list(self._terminals.get(session_id, ()))

    def viewers(self, session_id: str) -> int:
        """How many viewers of a session are attached here."""
        return sum(len(terminal.attached) for terminal in self._of(session_id))

    def attach(
        self,
        target: TerminalTarget,
        sink: Sink,
        *,
        protocol: ViewerProtocol = "hub.tty.v1",
        mode: Mode = "drive",
        size: Size | None = None,
        deadline: Deadline | None = None,
    ) -> Attachment:
        """A new viewer of a run, whose socket has been accepted with `protocol`.

        `size` is the viewer's window, where it is known beforehand: it saves the program one repaint. `deadline` is the
        one that holds now, if any.
        """
        codec: ViewerCodec = webtty.Server() if protocol == "webtty" else HubTty()
        attachment = Attachment(self, target, sink, codec, mode, size, deadline)
        attachment.begin()
        return attachment

    def terminal(self, target: TerminalTarget) -> _Terminal | None:
        """The terminal of a run, connected or about to be; None while the replica is leaving."""
        if self._leaving:
            return None
        runs = self._terminals.setdefault(target.session_id, {})
        terminal = runs.get(target.generation)
        if terminal is None:
            terminal = runs[target.generation] = _Terminal(self, target, self._limits)
            name = f"terminal {target.session_id}-{target.generation}"
            terminal.task = self._supervisor.spawn(name, self._run(terminal))
        terminal.target = target
        return terminal

    def look_soon(self, terminal: _Terminal) -> None:
        """Have a terminal look at what it has sent before it looked, for modes and a title. One timer does for all."""
        if not self._put_off:
            asyncio.get_running_loop().call_later(self.patience.look, self._look)
        self._put_off.add(terminal)

    def _look(self) -> None:
        put_off = tuple(self._put_off)
        self._put_off.clear()
        for terminal in put_off:
            terminal.look()

    async def _run(self, terminal: _Terminal) -> None:
        try:
            await terminal.run()
        finally:
            self._forget(terminal)
            terminal.dismiss_all(None, 1012, "The session does not answer.")

    def _of(self, session_id: str) -> list[_Terminal]:
        return list(self._terminals.get(session_id, {}).values())

    def _forget(self, terminal: _Terminal) -> None:
        """Idempotent."""
        target = terminal.target
        runs = self._terminals.get(target.session_id, {})
        if runs.get(target.generation) is terminal:
            del runs[target.generation]
            if not runs:
                del self._terminals[target.session_id]

    async def end(self, session_id: str, generation: int, state: str, reason: str | None, text: str = "") -> None:
        """The run has ended: its viewers get what is left, are told why, and are closed with 1000."""
        terminal = self._terminals.get(session_id, {}).get(generation)
        if terminal is None:
            return
        self._forget(terminal)
        terminal.dismiss_all(State(state, reason, text), 1000, "The session ended.")
        if terminal.task is not None:
            await cancel_and_wait(terminal.task)
        await self._wait_gone(terminal)

    def push_state(self, session_id: str, state: str, reason: str | None = None, text: str = "") -> None:
        """Tell the viewers of a session that its state changed, and keep them. They are told once."""
        told = State(state, reason, text)
        for terminal in self._of(session_id):
            if terminal.state != told:
                terminal.state = told
                terminal.tell(told)

    def push_deadline(self, session_id: str, at: str | None, why: str = "") -> None:
        """Tell the viewers of a session when it will be stopped (ISO 8601), or with None that it will not be. Once."""
        told = Deadline(at, why if at else "")
        for terminal in self._of(session_id):
            if terminal.deadline != told:
                terminal.tell(told)

    async def close_all(self) -> None:
        """Close every viewer with 1012 (come back, to another replica) and every upstream. Runs go on. Final.

        Not all in one moment: they come back as fast as they are let go, and whoever takes them on has work with each.
        """
        self._leaving = True
        terminals = [terminal for runs in self._terminals.values() for terminal in runs.values()]
        for terminal in terminals:
            terminal.dismiss_all(LEAVING, 1012, LEAVING.text)
            await asyncio.sleep(min(self.patience.parting, self.patience.partings / len(terminals)))
        await asyncio.gather(*(self._wait_gone(terminal) for terminal in terminals))
        await self._supervisor.close()

    async def _wait_gone(self, terminal: _Terminal) -> None:
        for attached in list(terminal.attached):
            await attached.gone.wait()
