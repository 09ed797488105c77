"""How a run ended, in words for the person whose session it was."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent.endings import LAST_WORDS, Ending, last_words, read_ending

TRACEBACK = (
    b"\x1b[?1049l\x1b[?25h\r\nTraceback (most recent call last):\r\n  File \x1b[35mx\x1b[0m\r\nValueError: no\r\n"
)


def exited(code: int) -> int:
    return code << 8


@pytest.mark.parametrize(
    ("status", "asked", "out_of_memory", "printed", "ending"),
    [
        (exited(0), False, False, b"bye\r\n", Ending(0, None, "quit", "")),
        (exited(0), True, False, b"", Ending(0, None, "stopped", "")),
        (signal.SIGHUP, True, False, b"", Ending(None, 1, "stopped", "")),
        (signal.SIGKILL, True, True, b"", Ending(None, 9, "stopped", "")),
        (
            exited(1),
            False,
            False,
            TRACEBACK,
            Ending(1, None, "crashed", "VisiData ended with exit code 1: ValueError: no"),
        ),
        (exited(3), False, False, b" \r\n", Ending(3, None, "crashed", "VisiData ended with exit code 3.")),
        (
            signal.SIGSEGV,
            False,
            False,
            b"",
            Ending(None, 11, "crashed", "VisiData ended by signal 11 (SIGSEGV)."),
        ),
        (
            signal.SIGKILL,
            False,
            False,
            b"",
            Ending(None, 9, "crashed", "VisiData was killed, maybe for want of memory."),
        ),
        (
            signal.SIGKILL,
            False,
            True,
            b"",
            Ending(None, 9, "out_of_memory", "VisiData was killed: it had used up its memory."),
        ),
        # bubblewrap and shells say 128 + the signal's number for their child.
        (
            exited(137),
            False,
            True,
            b"",
            Ending(137, None, "out_of_memory", "VisiData was killed: it had used up its memory."),
        ),
        (exited(1), False, True, b"", Ending(1, None, "crashed", "VisiData ended with exit code 1.")),
    ],
)
def test_each_way_to_end(status: int, asked: bool, out_of_memory: bool, printed: bytes, ending: Ending) -> None:
    assert read_ending(status, asked=asked, out_of_memory=out_of_memory, printed=printed) == ending


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (b"", ""),
        (b"one\r\ntwo\r\n", "two"),
        (b"progress 1%\rprogress 2%", "progress 2%"),
        (b"\x1b]2;title\x07\x1b[1mbold\x1b[0m\r\n\r\n", "bold"),
        (b"\x1b(B\x1b)0plain\x07", "plain"),
        (b"drawing\x1b[?1049lwords\r\n", "words"),
        (b"\xffK\xc3\xb6ln", "\N{REPLACEMENT CHARACTER}Köln"),
    ],
)
def test_the_last_words(printed: bytes, words: str) -> None:
    assert last_words(printed) == words


@given(st.binary())
def test_the_last_words_are_always_fit_for_a_page(printed: bytes) -> None:
    words = last_words(printed * 20)
    assert len(words) <= LAST_WORDS
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in words)
