"""What the Hub prints, whoever reads it: that a reader has ended keeps it neither from serving nor from stopping.

As in `hub serve | tee log`, where `tee` ends at the same Ctrl-C. Must not know what is printed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from typing import TextIO

GONE = (errno.EPIPE, errno.EIO)  # A pipe without a reader, a terminal that has hung up. A full disk is another matter.


def say(text: str) -> None:
    """Print `text` and a line's end at once; nobody hears it, and nothing is raised, where nobody reads any more.

    Raises OSError where somebody should have had it and does not, as on a full disk.
    """
    _print(text, sys.stdout)


def complain(text: str) -> None:
    """The same, as an error."""
    _print(text, sys.stderr)


def finish() -> None:
    """To be called last: what is still unread then counts for nothing, and not as a failure of the process.

    Python ends with the exit code 120 where it cannot write out what is left, be it a line of a log.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
                if _nobody_reads(stream):  # What Python itself says at its end would fail.
                    _to_nobody(stream)
        except OSError as error:
            if error.errno in GONE:
                _to_nobody(stream)
            # Else Python finds it too, and says so.


def _print(text: str, stream: TextIO | None) -> None:
    if stream is None:  # It was closed before this process began.
        return
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        if error.errno not in GONE:
            raise
        _to_nobody(stream)


def _nobody_reads(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # An error, as of a pipe without a reader, is told unasked.
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _to_nobody(stream: TextIO) -> None:
    with contextlib.suppress(OSError):  # With no descriptor to be had there is nothing better to do.
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, stream.fileno())
        os.close(nobody)
