"""What the Hub prints, whoever reads it: that a reader has ended keeps it neither from serving nor from stopping.

As in `hub serve | tee log`, where `tee` ends at the same Ctrl-C. Must not know what is printed.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TextIO


def say(text: str) -> None:
    """Print `text` and a line's end at once; nobody hears it, and nothing is raised, where nobody reads any more."""
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
            stream.flush()
        except OSError:
            _to_nobody(stream)
        else:
            if _nobody_reads(stream):  # What Python itself says at its end would fail then.
                _to_nobody(stream)


def _print(text: str, stream: TextIO) -> None:
    try:
        print(text, file=stream, flush=True)
    except OSError:
        _to_nobody(stream)


def _nobody_reads(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # An error, as of a pipe without a reader, is told unasked.
    return bool(poll.poll(0))


def _to_nobody(stream: TextIO) -> None:
    nobody = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nobody, stream.fileno())
    os.close(nobody)
