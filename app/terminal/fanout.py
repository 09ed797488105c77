"""One run's output, handed to any number of viewers: the heart of the relay, without a socket, a task or a clock.

There is one log of output, and each viewer has a cursor in it, so no viewer ever waits for another. A viewer that falls
far behind is *lost*: it skips to the end of the log, gets the terminal's modes, and a repaint is asked for. Only when
every driver is above its high mark does reading pause, and then TCP holds the program back. So a lone driver gets
every byte in order, and memory is bounded: the log holds `limits.skip` bytes, a piece and one frame at most.

There is one exception. A driver on a slow line who interrupts a flood *hurries*: what is still on its way is read and let
go, and it goes on with the last of it. A terminal does no less, which flushes its output then (POSIX, "General Terminal
Interface", ISIG and NOFLSH); it cannot reach what has left it.

Each call is cheap, and decides nothing yet: `settle` does, after any number of them.

Times are seconds of any steady clock. Positions are counts of bytes since the log began.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from app.agent.modes import ModeTracker
from app.terminal.events import MAX_SIDE, Deadline, Hello, Mode, ProtocolError, Size, State, Title, ToViewer

UNKNOWN_SIZE = Size(80, 24)  # What a viewer is told while neither a driver nor the program has said a size.

# Ends whatever escape sequence or string a screen may be in the middle of (ECMA-48: CANCEL).
CANCEL = b"\x18"

# Moves the cursor and sets the modes of the keys, and nothing else. VisiData sends it before each page, and when idle.
_UNSEEN = re.compile(rb"(?:\r|\x1b\[[0-9;]{0,16}[A-H`adef]|\x1b\[\?1h|\x1b=)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds. The numbers are those of good terminals in browsers, where there are any.

    A viewer's high mark, which also is how much it may have that it has not acknowledged, is what it takes in `ahead`, at
    least `high` and at most `highest`: so that is the Hub's part of how long Ctrl-C takes to show, and at 1 MB/s a tenth of
    a second. xterm.js asks for 500 KB at most. `skip` must be above `highest` and the largest frame from upstream
    together, or a lone driver might lose output.
    """

    high: int = 96 * 1024
    low: int = 48 * 1024
    highest: int = 256 * 1024
    ahead: float = 0.05
    measured: float = 0.02  # Over at least so long it is measured how fast a viewer is.
    skip: int = 512 * 1024
    bulk: int = 16 * 1024  # So much output is worth a message of its own,
    chunk: int = 64 * 1024  # and this is the largest.
    full: int = 1000  # GoTTY reads 1,021 or 1,024 at once. So much is no echo, but the beginning of something.
    unseen: int = 256  # So much that changes nothing to see waits for what does.
    piece: int = 4096  # What comes in smaller pieces is kept in ones of this size, so that they are few.
    coalesce: float = 0.004  # A quarter of a frame at 60 Hz: nobody sees it, and a repaint becomes few messages.
    repaint: float = 1.0  # Least time between two repaints for one viewer that cannot keep up.
    tail: int = 16 * 1024  # A viewer that hurries goes on with so much of the end: some screens full,
    quiet: float = 0.05  # once nothing has come for so long,
    hurry: float = 1.0  # or after that.


@dataclass(slots=True)
class Hurry:
    """Until when what is on its way to a viewer is let go: it has come to rest, or has come for long enough."""

    most: float
    quiet: float
    end: int  # Of the output, when that was last looked at.


class Viewer:
    """One attached viewer, as the fanout sees it. Made by `Fanout.attach`."""

    def __init__(self, mode: Mode, cursor: int, *, lost: bool, high: int) -> None:
        self.mode: Mode = mode
        self.drives = mode == "drive"
        self.size: Size | None = None
        self.cursor = cursor
        self.lost = lost
        self.sent = 0
        self.acked: int | None = None  # None until the first ack: then TCP alone holds this viewer's output back.
        self.high = high  # Its mark, from how fast it is.
        self.measured: tuple[float, int] | None = None  # A time, and what it had acknowledged then.
        self.hurries: Hurry | None = None
        self.skipped = False  # It has hurried past output, so its screen is not what its next output begins on.
        self.urgent = True  # It has typed, so what comes next should reach it at once, if it is an echo.
        self.waits_since: float | None = None  # When it was first asked when its next output is due.
        self.next_repaint = 0.0
        self._notices: dict[type[ToViewer], ToViewer] = {}

    @property
    def in_flight(self) -> int:
        """Bytes sent and not acknowledged; 0 for a viewer that does not acknowledge."""
        return 0 if self.acked is None else self.sent - self.acked

    @property
    def has_notices(self) -> bool:
        return bool(self._notices)

    def tell(self, notice: ToViewer) -> None:
        """Put a notice before the viewer's next output; a newer one of the same kind takes the place of an older."""
        self._notices[type(notice)] = notice

    def take_notices(self) -> list[ToViewer]:
        notices = list(self._notices.values())
        self._notices.clear()
        return notices


class Fanout:
    """The log, the viewers, the size and the modes of one terminal.

    After `settle` `paused` says whether reading upstream should rest. At any time `size` is what the program should have,
    `reported` the size that it said to have, until somebody sets that back, since others may decide it too,
    and `repaint_wanted` whether it should be made to draw everything anew (whoever does so sets it back).
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.viewers: list[Viewer] = []
        self.size: Size | None = None
        self.reported: Size | None = None
        self._decides: Viewer | None = None  # Whose window has this size.
        self.paused = False
        self.repaint_wanted = False
        self.up = False  # Whether upstream is live.
        self.end = 0  # The position after the last byte of output.
        self._start = 0  # The position of the log's first byte.
        self._log: deque[bytes] = deque()
        self._fresh: list[bytes] = []  # Output that has not been looked at, nor put into the log.
        self._fresh_at = 0  # The position of its first byte.
        self._unseen = b""  # Output that waits to go with what comes next.
        self._modes = ModeTracker()
        self._title = ""
        self._deadline: Deadline | None = None

    @property
    def held(self) -> int:
        """Bytes of output in memory."""
        return self.end - self._start

    # Viewers.

    def attach(self, mode: Mode, size: Size | None = None) -> Viewer:
        """A new viewer, at the end of the log. With output behind it, it starts lost: it needs modes and a repaint."""
        viewer = Viewer(mode, self.end, lost=self.end > 0, high=self.limits.high)
        self.viewers.append(viewer)
        if size is not None:
            self.resize(viewer, size)
        if self.up:
            viewer.tell(self._hello(viewer))
        if self._title:
            viewer.tell(Title(self._title))
        if self._deadline is not None:
            viewer.tell(self._deadline)
        return viewer

    def detach(self, viewer: Viewer) -> None:
        """Forget a viewer. If its window decided the size, the driver that spoke before it decides now."""
        self.look()
        self.viewers.remove(viewer)
        if self._decides is viewer:
            sized = [other for other in self.viewers if other.size is not None]
            self._decides = sized[-1] if sized else None
            if sized:
                self.size = sized[-1].size
                self._tell_hello()

    def resize(self, viewer: Viewer, size: Size) -> None:
        """A viewer says how much room it has. The last driver that does so decides, and the others are told."""
        if not viewer.drives:
            return
        self.look()
        viewer.size = size
        # The list's order is who spoke last, so that `detach` can go back to the one before.
        self.viewers.remove(viewer)
        self.viewers.append(viewer)
        if self._decides is not viewer:
            self._decides, self.size = viewer, size
            self._tell_hello()
        elif size != self.size:
            self.size = size
            self._tell_hello(but=viewer)

    def ack(self, viewer: Viewer, total: int, now: float) -> None:
        """A viewer has put `total` bytes on its screen. Raises ProtocolError for more than it was sent."""
        if total > viewer.sent:
            raise ProtocolError("an ack for more bytes than were sent")
        total = viewer.acked = max(total, viewer.acked or 0)
        if viewer.measured is None:
            viewer.measured = now, total
            return
        since, before = viewer.measured
        if now - since >= self.limits.measured:
            viewer.measured = now, total
            speed = (total - before) / (now - since)
            viewer.high = max(self.limits.high, min(int(speed * self.limits.ahead), self.limits.highest))

    def interrupt(self, viewer: Viewer, now: float) -> None:
        """A viewer has typed Ctrl-C. Where much is on a slow way to it, it need not see all that before the answer.

        Not on the alternate screen: what draws there takes Ctrl-C for a key, and all that it draws counts.
        """
        self.look()
        # While reading rests, as it does until the viewer is below its low mark, what waits is in the program's hands.
        waits = (self.paused or viewer.in_flight + self.end - viewer.cursor >= self.limits.high) and not viewer.lost
        slow = viewer.drives and viewer.high == self.limits.high
        if waits and slow and not self._modes.alternate_screen:
            viewer.hurries = Hurry(now + self.limits.hurry, now + self.limits.quiet, self.end)

    # Upstream.

    def connected(self) -> None:
        """Upstream is live (again)."""
        self.up = True
        self._tell_hello()

    def broken(self) -> None:
        """Upstream broke; it may come back. The next output starts afresh, so what was cut off is cancelled."""
        self.up = False
        self._unseen = b""
        for viewer in self.viewers:
            viewer.hurries = None
        if self.end:
            self.feed(CANCEL)
        self.tell(State("reconnecting"))

    def look(self) -> None:
        """See to modes, title and size in what has come. What is done next goes by them."""
        if self._fresh:
            self._look()

    def hold(self, data: bytes) -> bytes:
        """What is to be sent now of the program's output: all so far, or nothing while that changes nothing to see.

        It then goes with what comes next. Nobody sees where a hidden cursor is; so one message for a key is not three.
        """
        if self._unseen:
            data, self._unseen = self._unseen + data, b""
        if len(data) > self.limits.unseen or not _UNSEEN.fullmatch(data):
            return data
        self.look()
        modes = self._modes
        if modes.is_on(25) or (b"?" in data and not modes.is_on(1)) or (b"=" in data and not modes.is_on(66)):
            return data
        self._unseen = data
        return b""

    def at_once(self, viewer: Viewer, size: int) -> bool:
        """Whether a viewer is to have the next `size` bytes of output before they are fed. It is taken to have been sent them.

        That is for the echo of a key, where every microsecond is on somebody's way, and for bulk, which saves a copy.
        """
        if viewer.urgent and (size >= self.limits.full or self._draws()):
            viewer.urgent = False  # Half a drawing is of no use to anybody, and the rest is some milliseconds away.
        if (
            not (viewer.urgent or size >= self.limits.bulk)
            or viewer.cursor != self.end
            or viewer.lost
            or viewer.hurries is not None
            or viewer.in_flight >= viewer.high
            or viewer.has_notices
            or size > self.limits.chunk
        ):
            return False
        viewer.cursor += size
        viewer.sent += size
        viewer.urgent = False
        viewer.waits_since = None
        return True

    def feed(self, data: bytes) -> bool:
        """Output from the program. Whether so much of it has not been settled that it should be."""
        self._fresh.append(data)
        self.end += len(data)
        return self.end - self._fresh_at >= self.limits.bulk

    # What a viewer is to be sent.

    def due(self, viewer: Viewer, now: float) -> float | None:
        """When the viewer's next output should go out; None while there is none, or no room for it in flight."""
        if viewer.lost:
            return max(now, viewer.next_repaint) if viewer.in_flight <= self.limits.low else None
        if viewer.hurries is not None:
            hurry = viewer.hurries
            if hurry.end != self.end:
                hurry.end, hurry.quiet = self.end, now + self.limits.quiet
            until = min(hurry.quiet, hurry.most)
            if now < until:
                return until
            viewer.hurries = None
        waiting = self.end - viewer.cursor
        if not waiting or viewer.in_flight >= viewer.high:
            return None
        if viewer.urgent or viewer.skipped or waiting >= self.limits.bulk:
            return now
        if viewer.waits_since is None:
            viewer.waits_since = now
        return max(now, viewer.waits_since + self.limits.coalesce)

    def take(self, viewer: Viewer, now: float) -> bytes:
        """The viewer's next output message, which it is taken to have been sent."""
        if self._fresh:
            self._look()
        skipped = viewer.skipped
        viewer.hurries = None
        viewer.skipped = False
        if viewer.lost or (skipped and self._modes.alternate_screen):
            viewer.lost = False
            viewer.cursor = self.end
            viewer.next_repaint = now + self.limits.repaint
            self.repaint_wanted = True
            data = self._modes.restore()
        else:
            data = self._from(viewer.cursor)
            viewer.cursor += len(data)
            if skipped:
                # From the beginning of a line on, where there is one: no sequence nor character is cut there.
                data = self._modes.restore() + data[data.find(b"\n") + 1 :]
        viewer.sent += len(data)
        viewer.urgent = False
        viewer.waits_since = None
        return data

    def tell(self, notice: ToViewer) -> None:
        """Put a notice before the next output of every viewer. A deadline is also told to those who come later."""
        if isinstance(notice, Deadline):
            self._deadline = notice if notice.at is not None else None
        for viewer in self.viewers:
            viewer.tell(notice)

    def settle(self) -> None:
        """See who has lost its place, drop what every viewer has taken, and decide whether upstream may go on."""
        if self._fresh:
            self._look()
        first = end = self.end
        least: int | None = None  # By how much the driver who is best off is above its mark.
        for viewer in self.viewers:
            waiting = end - viewer.cursor
            if waiting > self.limits.skip:
                viewer.lost = True
                viewer.hurries = None
                viewer.skipped = False
            if viewer.lost:
                continue  # It needs nothing that is read now: no reason to keep that, nor to read on.
            if viewer.hurries is not None:
                if waiting > self.limits.tail:
                    viewer.cursor = end - self.limits.tail
                    viewer.skipped = True
                first = min(first, viewer.cursor)
                continue  # Nor does it hold anybody up.
            first = min(first, viewer.cursor)
            if viewer.drives:
                behind = viewer.in_flight + waiting - viewer.high
                least = behind if least is None or behind < least else least
        while self._log and self._start + len(self._log[0]) <= first:
            self._start += len(self._log.popleft())
        self.paused = least is not None and least > (self.limits.low - self.limits.high if self.paused else 0)

    # Inside.

    def _hello(self, viewer: Viewer) -> Hello:
        return Hello(viewer.mode, self.size or UNKNOWN_SIZE, viewer is self._decides)

    def _tell_hello(self, but: Viewer | None = None) -> None:
        if self.up:
            for viewer in self.viewers:
                if viewer is not but:
                    viewer.tell(self._hello(viewer))

    def _take_size(self, columns: int, rows: int) -> None:
        """The program has this size: it had it before anybody came, or a window elsewhere, at another replica, decides."""
        size = Size(min(max(columns, 1), MAX_SIDE), min(max(rows, 1), MAX_SIDE))
        self.reported = size
        if size != self.size:
            self.size, self._decides = size, None
            self._tell_hello()

    def _draws(self) -> bool:
        """Whether the program draws its screen, and nobody types into a line. As far as that has been looked at."""
        return self._modes.alternate_screen and not self._modes.is_on(25)

    def _look(self) -> None:
        """Look at what is fresh, and put it into the log."""
        data = self._fresh[0] if len(self._fresh) == 1 else b"".join(self._fresh)
        self._fresh.clear()
        self._fresh_at = self.end
        if self._log and len(self._log[-1]) + len(data) <= self.limits.piece:
            self._log[-1] += data
        else:
            self._log.append(data)
        self._modes.feed(data)
        if self._modes.size is not None:
            self._take_size(*self._modes.size)
            self._modes.size = None
        if self._modes.title != self._title:
            self._title = self._modes.title
            self.tell(Title(self._title))

    def _from(self, position: int) -> bytes:
        """One message of output from there on. Without a copy where it is one piece, as with a lone viewer it is."""
        skipped, room = position - self._start, self.limits.chunk
        parts = []
        for piece in self._log:
            if skipped >= len(piece):
                skipped -= len(piece)
                continue
            part = piece[skipped : skipped + room]  # The whole of it is itself.
            skipped = 0
            room -= len(part)
            parts.append(part)
            if not room:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)
