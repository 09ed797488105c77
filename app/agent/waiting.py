"""A program that is loaded ahead, and begins once its first client says with what.

It is on its terminal already and has drawn nothing. A socket leads to it: it writes one byte once it has loaded, and
reads the arguments that it begins with. When this process ends, the socket does too, and the program with it.
Must not know what the arguments mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Sequence


class Waiting:
    """The way to the program, made before it is started. `read` makes its arguments of what a client brings."""

    def __init__(self, read: Callable[[Sequence[str]], list[str]]) -> None:
        self._read = read
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        self.theirs = theirs.detach()  # The descriptor that the program is handed.

    async def loaded(self) -> None:
        """Returns once the program waits, or is no more."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_recv(self._ours, 1)

    def begin(self, arguments: Sequence[str]) -> None:
        """Let it begin. Once."""
        line = json.dumps(self._read(arguments)).encode() + b"\n"
        with self._ours, contextlib.suppress(OSError):  # One that is no more needs nothing.
            self._ours.send(line)  # A message of a client is at most 64 KiB, and the socket holds more.
