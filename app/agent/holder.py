"""Holds the PTY of the one program of a run, whoever comes and goes.

Clients attach and detach; the program never notices. All get its output, each may type, the last resize wins. A client
that joins, or that fell too far behind, gets the modes that the program has set and then a repaint by the program
itself, so nobody keeps its screen here. Must not know how clients are connected (see the `front_` modules) and must
never hold more than OUTPUT_LIMIT and one read of output for a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Sequence

from app.agent.children import signal_group
from app.agent.modes import ModeTracker, size_report
from app.agent.start import Size, set_size

FRAME = 64 * 1024  # Most bytes given to a client at once: a message costs more than its bytes, up to about here.
# Bytes that wait for even the fastest client at which the program is made to wait: people still see all of them after
# they have interrupted it.
ENOUGH = 1 << 17
OUTPUT_LIMIT = 1 << 20  # Bytes that may wait for one client while others keep up; then it is repainted instead.
INPUT_LIMIT = 1 << 20  # Bytes that may wait for the program. Who types more waits.
READ_AT_ONCE = 64 * 1024  # So that a program that prints without end leaves the event loop to others too.
# Seconds. Output is gathered for this long after a frame has gone out, unless a key was typed since.
GATHER = 0.002
# Seconds to wait for a new client's size, and between the two sizes of a repaint: curses programs must see both of
# them, and VisiData handles one within a few milliseconds.
FIRST_SIZE = 0.2
BETWEEN_SIZES = 0.04
SLOW_REPAINT = 5.0  # Seconds that a program may take to see the first of them, on a machine that is busy.
# Seconds for the last output of a program that has ended to reach the clients.
LAST_OUTPUT = 2.0
QUIET = 0.1  # Seconds without output after the program's end that mean there is no more.
# Seconds without another change of size after which the other clients are told. A row more may be the first half of a
# client's own repaint, which it takes back once the program has drawn.
SETTLED = 0.2
SETTLED_FROM_REPAINT = 6.0
# The beginning of a sequence or of a character.
TORN = re.compile(
    rb"(?:\x1b(?:\[[0-?]*[ -/]*|[\]P^_X][^\x07\x1b]*|[ -/]*)"
    rb"|[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})$"
)
TAIL = 4096  # Bytes of output kept to tell how the program ended.


class Client:
    """One reader of the program's output, made by `Holder.attach`. Not live yet, it gets nothing.

    `arguments` are what it wants to see, for a program that has not begun.
    """

    def __init__(self, holder: Holder, arguments: Sequence[str]) -> None:
        self.arguments = arguments
        self._holder = holder
        self._waiting = bytearray()
        self._wake = asyncio.Event()
        self._sent = 0.0  # When the last frame was taken, in the loop's time.
        self._typed = False  # Since then.
        self.size: Size | None = None  # What it gave last, or was told.
        self.told = False  # It was the latter, which may have crossed what it gives next: that is confirmed to it.
        self.live = False
        self.behind = False  # Was dropped for falling behind; goes live again once it asks for more.

    @property
    def backlog(self) -> int:
        """Bytes that wait for this client."""
        return len(self._waiting)

    async def output(self) -> bytes:
        """The next output, at most FRAME bytes; empty once all is over. The first after a keystroke comes at once, and so
        does a whole frame."""
        clock = asyncio.get_running_loop()
        gathered = False
        while True:
            if self.behind:
                self._holder.begin(self)
            if not self._waiting:
                if self._holder.closed:
                    return b""
                self._wake.clear()
                await self._wake.wait()
            elif not gathered and not self._typed and self.backlog < FRAME and clock.time() - self._sent < GATHER:
                gathered = True
                await asyncio.sleep(GATHER)
            else:
                break
        data = bytes(self._waiting[:FRAME])
        del self._waiting[:FRAME]
        self._sent, self._typed = clock.time(), False
        self._holder.taken()
        return data

    def push(self, data: bytes) -> None:
        self._waiting += data
        self._wake.set()

    def drop(self) -> None:
        """Forget what waits: the client is too far behind to get there in good time."""
        self._waiting.clear()
        self.size = None
        self.live, self.behind = False, True

    def note_typing(self) -> None:
        self._typed = True

    def wake(self) -> None:
        self._wake.set()


class Holder:
    """The program's terminal. `closed` once all output has been handed out and the run is over.

    A program that waits begins with its first live client: `begin_program` is called with that client's arguments,
    once, when the terminal has that client's size.
    """

    def __init__(self, master: int, size: Size, begin_program: Callable[[Sequence[str]], None] | None = None) -> None:
        self.closed = False
        self._begin_program = begin_program
        self._master = master
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._clients: set[Client] = set()
        self._modes = ModeTracker()
        self._tail = b""
        self._input = bytearray()
        self._room = asyncio.Event()  # Set while more input may be added.
        self._room.set()
        self._progress = asyncio.Event()  # Set when a client has taken output.
        self._ending = False
        self._read_count = 0  # Bytes that the program has put out.
        self._paused = False  # Whether the program is held back because no client keeps up.
        self._hung_up = asyncio.Event()
        self._repainting: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        os.set_blocking(master, False)
        self._loop.add_reader(master, self._read)

    @property
    def title(self) -> str:
        """The title that the program has set; empty when it has set none."""
        return self._modes.title

    @property
    def last_printed(self) -> bytes:
        """The end of what the program has printed; nothing while it draws on the alternate screen."""
        return b"" if self._modes.alternate_screen else self._tail

    # Clients

    def attach(self, arguments: Sequence[str] = ()) -> Client:
        """A new client. Its output begins with its first size, or soon without one."""
        client = Client(self, arguments)
        self._clients.add(client)
        self._loop.call_later(FIRST_SIZE, self._begin_without_size, client)
        return client

    def detach(self, client: Client) -> None:
        self._clients.discard(client)
        client.live = client.behind = False
        self.taken()

    def begin(self, client: Client) -> None:
        """Let the client have output from here on: first the modes, then what makes the program repaint all."""
        client.live, client.behind = True, False
        client.push(self._modes.restore())
        if client.size != self._size:
            self._tell(client)
        if self._begin_program is not None:
            self._set_size(self._size)
            self._begin_program(client.arguments)
            self._begin_program = None
        elif self._read_count:
            self._repaint()
        else:
            self._set_size(self._size)
        self.taken()

    def _begin_without_size(self, client: Client) -> None:
        if client in self._clients and not client.live and not client.behind:
            self.begin(client)

    def resize(self, client: Client, size: Size) -> None:
        """Give the program the size of this client's window."""
        size = size.usable()
        before = self._size
        self._size = size
        client.size, client.told = None if client.told else size, False
        if self._telling is not None:
            self._telling.cancel()
        repaints = size == (before[0], before[1] + 1)
        self._telling = self._loop.call_later(SETTLED_FROM_REPAINT if repaints else SETTLED, self._tell_size)
        if not client.live and not client.behind:
            self.begin(client)
        elif self._repainting is None:
            self._set_size(size)

    def _tell_size(self) -> None:
        """Tell the clients that do not know it the size, between two sequences of the program's."""
        self._telling = None
        told = [client for client in self._clients if client.live and client.size != self._size]
        if told and TORN.search(self._tail[-256:]):
            self._telling = self._loop.call_later(BETWEEN_SIZES, self._tell_size)
            return
        for client in told:
            self._tell(client)

    def _tell(self, client: Client) -> None:
        client.size, client.told = self._size, True
        client.push(size_report(*self._size))

    def _repaint(self) -> None:
        """Change the size and change it back: curses repaints all when the size is not what it was.

        One row more, never less: where its bottom line goes away, VisiData forgets what is being typed there.
        """
        columns, rows = self._size
        self._set_size(Size(columns, rows + 1))
        if self._repainting is not None:
            self._repainting.cancel()
        until = self._loop.time() + SLOW_REPAINT
        self._repainting = self._loop.call_later(BETWEEN_SIZES, self._repainted, self._read_count, until)

    def _repainted(self, before: int, until: float) -> None:
        if self._read_count == before and self._loop.time() < until:
            # It has not drawn since, so it may not have looked yet; then it would see no change at all.
            self._repainting = self._loop.call_later(BETWEEN_SIZES, self._repainted, before, until)
            return
        self._repainting = None
        self._set_size(self._size)

    def _nudge(self) -> None:
        if not self.closed:
            with contextlib.suppress(OSError):
                signal_group(os.tcgetpgrp(self._master), signal.SIGWINCH)

    def _set_size(self, size: Size) -> None:
        if not self.closed:
            set_size(self._master, size)

    # Output

    def _read(self) -> None:
        chunks: list[bytes] = []
        length = 0
        while length < READ_AT_ONCE:
            try:
                chunk = os.read(self._master, READ_AT_ONCE)
            except BlockingIOError:
                break
            except OSError:  # EIO: nobody has the other side open any more.
                chunk = b""
            if not chunk:
                self._loop.remove_reader(self._master)
                self._hung_up.set()
                break
            chunks.append(chunk)
            length += len(chunk)
        if length:
            self._read_count += length
            self._hand_out(b"".join(chunks))

    def _hand_out(self, data: bytes) -> None:
        self._modes.feed(data)
        self._tail = (self._tail + data)[-TAIL:]
        live = [client for client in self._clients if client.live]
        if live and self._read_count == len(data):
            # The program started while a client gave its size: it may have read the old one before it listened for
            # changes, so it is told once more.
            self._loop.call_later(BETWEEN_SIZES, self._nudge)
        for client in live:
            client.push(data)
        if not live or any(client.backlog <= ENOUGH for client in live):
            for client in live:
                if client.backlog > OUTPUT_LIMIT:
                    client.drop()
        elif not self._paused and not self._ending and not self._hung_up.is_set():
            self._paused = True
            self._loop.remove_reader(self._master)

    def taken(self) -> None:
        """A client took output, or has gone: the program may go on when one that is left keeps up."""
        self._progress.set()
        if not self._paused:
            return
        live = [client for client in self._clients if client.live]
        if not live or any(client.backlog <= ENOUGH // 2 for client in live):
            self._resume()

    def _resume(self) -> None:
        self._paused = False
        self._loop.add_reader(self._master, self._read)

    # Input

    async def type(self, client: Client, data: bytes) -> None:
        """Give the program bytes from a keyboard. Waits while it does not take what is there already."""
        self._begin_without_size(client)  # Who types wants to see the answer.
        client.note_typing()
        await self._room.wait()
        self._input += data
        self._write()

    def _write(self) -> None:
        try:
            taken = 0 if self.closed else os.write(self._master, self._input)
        except BlockingIOError:
            taken = 0
        except OSError:  # EIO: there is no program any more.
            taken = len(self._input)
        del self._input[:taken]
        if self._input and not self.closed:
            self._loop.add_writer(self._master, self._write)
        else:
            self._loop.remove_writer(self._master)
        if len(self._input) < INPUT_LIMIT:
            self._room.set()
        else:
            self._room.clear()

    # The end

    async def finish(self) -> None:
        """The program has ended: read what it left in the PTY, and wait until the clients have it, but not for long."""
        self._ending = True  # What is left is little, so nobody is held back any more.
        if self._paused:
            self._resume()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_OUTPUT):
                await self._read_out()
                while any(client.live and client.backlog for client in self._clients):
                    self._progress.clear()
                    await self._progress.wait()

    async def _read_out(self) -> None:
        """Wait until the PTY has no more. It hangs up at the end, unless a daemon of the person's holds it open."""
        read_before = -1
        while not self._hung_up.is_set() and read_before != self._read_count:
            read_before = self._read_count
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIET):
                    await self._hung_up.wait()

    def close(self) -> None:
        """Tell the clients that all is over, once they have taken what waits for them."""
        self.closed = True
        if self._telling is not None:
            self._telling.cancel()
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        os.close(self._master)
        self._room.set()
        for client in self._clients:
            client.wake()
