"""What a real GoTTY runs for each connection: carries bytes between its terminal and the holder of the program's PTY.

Run as a script, `python bridge.py SOCKET [ARGUMENT...]`; it starts for each connection, so it imports next to nothing. It must not
read what it carries, and ends when either side does.

The holder gets messages, each a HEADER (kind, length of the payload) and its payload, the first of them the arguments;
what comes back is raw output.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import termios
import tty
from types import FrameType

HEADER = struct.Struct("!cH")
ARGUMENTS = b"a"  # What the client wants to see, for a program that has not begun: joined by NULs, which none holds.
INPUT = b"i"
RESIZE = b"r"
SIZE = struct.Struct("!HH")  # The payload of RESIZE: columns, rows.
PIECE = 16 * 1024  # Bytes read at once. Nothing more is read from a side until the other has taken it.


def attach(path: str, arguments: list[str]) -> int:
    """Carry until either side ends. Returns the exit code."""
    with socket.socket(socket.AF_UNIX) as holder:
        try:
            holder.connect(path)
            # A larger one than this is no path; the kernel takes it whole.
            holder.sendall(_message(ARGUMENTS, "\0".join(arguments).encode("utf-8", "surrogateescape")[:PIECE]))
        except OSError as error:
            sys.stderr.write(f"The session does not answer: {error.strerror}\n")
            return 1
        holder.setblocking(False)
        os.set_blocking(0, False)
        tty.setraw(0, termios.TCSANOW)  # Keys that were faster than we are stay.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with contextlib.suppress(OSError):  # Either side may go away in the middle of anything.
            _carry(holder, _watch_size())
    return 0


def _watch_size() -> int:
    """A descriptor that can be read when the terminal's size has changed."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)

    def note(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writable, b".")

    signal.signal(signal.SIGWINCH, note)
    note(signal.SIGWINCH, None)  # The size that it has already counts as a change.
    return readable


def _carry(holder: socket.socket, resized: int) -> None:
    to_holder, to_terminal = b"", b""
    while True:
        readable, writable, _ = select.select(
            ([] if to_holder else [0, resized]) + ([] if to_terminal else [holder]),
            ([holder] if to_holder else []) + ([1] if to_terminal else []),
            [],
        )
        if resized in readable:
            os.read(resized, PIECE)
            rows, columns = termios.tcgetwinsize(0)
            if rows and columns:  # GoTTY's terminal measures 0 by 0 until its client has said more.
                to_holder += _message(RESIZE, SIZE.pack(columns, rows))
        if 0 in readable:
            typed = os.read(0, PIECE)
            if not typed:
                return
            to_holder += _message(INPUT, typed)
        if holder in readable:
            to_terminal = holder.recv(PIECE)
            if not to_terminal:
                return
        if holder in writable:
            to_holder = to_holder[holder.send(to_holder) :]
        if 1 in writable:
            to_terminal = to_terminal[os.write(1, to_terminal) :]


def _message(kind: bytes, payload: bytes) -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


if __name__ == "__main__":
    sys.exit(attach(sys.argv[1], sys.argv[2:]))
