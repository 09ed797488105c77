"""What viewers and the Hub say to each other, whichever protocol carries it: `wire` and `webtty` make frames of it.

Pure: shapes only. Must not know how anything is encoded, or where it goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from app.numbers import whole_number

Mode = Literal["drive", "watch"]
Message = bytes | str  # A WebSocket message: binary or text.

MAX_MESSAGE = 64 * 1024  # Bytes of one message from a viewer; a keystroke has a few, a long paste is sent in pieces.
MIN_ROWS = 4  # In fewer rows VisiData hides an open prompt.
MAX_SIDE = 1000  # Columns or rows; larger terminals do not exist, and a program would be made to draw them.


class ProtocolError(Exception):
    """The other side sent what its protocol does not allow. The message is fit for a log and a close reason."""


class Size(NamedTuple):
    """The size of a screen, in character cells, each side from 1 to MAX_SIDE."""

    cols: int
    rows: int

    @classmethod
    def checked(cls, cols: object, rows: object) -> Size:
        """A size from the outside, with at least `MIN_ROWS`. Raises ProtocolError for anything but whole numbers in range."""
        if isinstance(cols, str) or isinstance(rows, str):
            raise ProtocolError("a size has two numbers")
        try:
            return cls(whole_number(cols, 1, MAX_SIDE), max(whole_number(rows, 1, MAX_SIDE), MIN_ROWS))
        except ValueError as error:
            raise ProtocolError(f"each side of a size is {error}") from None


# From a viewer. Bytes are from its keyboard, in the order they were typed; a character may be cut in two between one
# message and the next.


@dataclass(frozen=True, slots=True)
class Resize:
    """The viewer's window has room for this much."""

    size: Size


@dataclass(frozen=True, slots=True)
class Ack:
    """Total output bytes that the viewer has put on its screen since it attached."""

    total: int


@dataclass(frozen=True, slots=True)
class Ping:
    """The viewer asks whether anybody is there."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """A message that needs nothing done."""


FromViewer = bytes | Resize | Ack | Ping | Nothing


# To a viewer, beside output. Of each kind only the newest matters, so a viewer never has more than one waiting.


@dataclass(frozen=True, slots=True)
class Hello:
    """The terminal is live, with this size. Sent again whenever another window changes the size, or decides it from now on.

    `yours` says that this viewer's window decides it: it also is the one that answers what the program asks a terminal.
    """

    mode: Mode
    size: Size
    yours: bool = False


@dataclass(frozen=True, slots=True)
class Title:
    """The title that the program set: printable, of moderate length, and still not to be trusted."""

    text: str


@dataclass(frozen=True, slots=True)
class State:
    """The session's state changed, or one of two of the Hub's own: `reconnecting` (the run does not answer, keys go
    nowhere) and `leaving` (this replica goes: type no more, close, come back; whoever stays is closed with 1012).
    """

    state: str
    reason: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The run will be stopped at `at` (ISO 8601, with an offset) because of `why`; None: it will not be."""

    at: str | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a Ping."""


ToViewer = Hello | Title | State | Deadline | Pong


class ViewerCodec(Protocol):
    """How one viewer's protocol looks. `decode` raises ProtocolError; what a protocol lacks words for is `[]`."""

    def decode(self, message: Message) -> FromViewer: ...

    def greeting(self) -> list[Message]: ...

    def output(self, data: bytes) -> Message: ...

    def notice(self, notice: ToViewer) -> list[Message]: ...
