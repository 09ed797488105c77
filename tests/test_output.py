"""What the Hub prints though nobody reads it any more, as the reader of a pipe may end before the Hub does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRINTS = {
    "a word": "say('x'); say('y')",
    "a complaint": "complain('x'); complain('y')",
    "a line of a log": "logging.warning('x')",
    "what is still in a buffer": "sys.stdout.write('x')",
    "Python's own last words": "weakref.finalize(sys.modules['__main__'], lambda: 1 / 0)",
}


@pytest.mark.parametrize("prints", PRINTS.values(), ids=PRINTS.keys())
def test_a_program_ends_well_though_nobody_reads(prints: str) -> None:
    ends = f"from app.output import complain, finish, say\n{prints}\nfinish()"
    assert _run_unread(ends) == 0


def _run_unread(ends: str) -> int:
    """The exit code of a program that prints into a pipe without a reader, through the buffers that Python has there."""
    read, write = os.pipe()
    os.close(read)
    try:
        return subprocess.run(
            [sys.executable, "-c", f"import logging, sys, weakref\n{ends}"],
            stdout=write,
            stderr=write,
            env={"PATH": os.environ["PATH"]},
            timeout=60,
        ).returncode
    finally:
        os.close(write)
