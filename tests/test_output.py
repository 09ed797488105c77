"""What the Hub prints though nobody reads it any more, as the reader of a pipe may end before the Hub does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

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


@pytest.mark.parametrize("prints", ["say('x')", "complain('x')", "sys.stdout.write('x')"])
def test_what_a_full_disk_does_not_take_is_no_success(prints: str) -> None:
    """As of a token that is printed once: `hub token create ada@example.org > file`."""
    with Path("/dev/full").open("w") as full:
        ended = _run(f"from app.output import complain, finish, say\n{prints}\nfinish()", stdout=full, stderr=full)
    assert ended != 0


def test_a_program_whose_output_was_closed_beforehand_ends_well_too() -> None:
    shell = ["sh", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable]
    ends = "from app.output import complain, finish, say\nsay('x'); complain('y'); finish()"
    assert subprocess.run([*shell, ends], timeout=60).returncode == 0


def _run_unread(ends: str) -> int:
    """The exit code of a program that prints into a pipe without a reader, through the buffers that Python has there."""
    read, write = os.pipe()
    os.close(read)
    try:
        return _run(ends, stdout=write, stderr=write)
    finally:
        os.close(write)


def _run(ends: str, **streams: IO[str] | int) -> int:
    program = f"import logging, sys, weakref\n{ends}"
    environment = {"PATH": os.environ["PATH"]}  # No unbuffered output, whatever the tests themselves have.
    return subprocess.run([sys.executable, "-c", program], env=environment, timeout=60, **streams).returncode
