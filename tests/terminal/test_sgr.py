"""What is said in fewer bytes looks the same, whatever the screen was like before and wherever the output is cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.terminal.sgr import shorten

ROWS, COLUMNS = 6, 40
SHOWN = ["data", "fg", "bg", "bold", "italics", "underscore", "strikethrough", "reverse", "blink"]

colours = ["38;5;0", "38;5;232", "48;5;0", "48;5;255", "38;2;0;0;0", "38;2;1;22;255", "48;2;4;0;7"]
odd = ["", "21", "53", "58;5;0", "58;2;0;0;0", "38;5", "48;2;1", "38"]
plain = map(str, (0, 1, 3, 4, 5, 7, 9, *range(22, 30), 30, 31, 37, 39, 40, 44, 47, 49, 90, 97, 100, 107))
parameter = st.sampled_from([*plain, *colours, *odd])
sgr = st.lists(parameter, min_size=1, max_size=4).map(lambda some: f"\x1b[{';'.join(some)}m")
text = st.sampled_from(["a", "12.5 ", "│", "\r\n", "\t", "x" * 30])
other = st.sampled_from(
    ["\x1b[H", "\x1b[3;8H", "\x1b[53G", "\x1b[K", "\x1b[1J", "\x1b[2X", "\x1b7", "\x1b8", "\x1b[!p", "\x1bc"]
)
piece = st.one_of(sgr, sgr, sgr, text, other)
output = st.lists(piece, max_size=40).map("".join)


def screen_after(*parts: bytes) -> list[list[tuple[Any, ...]]]:
    """All that shows of each character, and of one that comes next."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    for part in (*parts, b"\x1b[6;40Hn"):
        stream.feed(part)
    return [
        [tuple(getattr(screen.buffer[row][column], shown) for shown in SHOWN) for column in range(COLUMNS)]
        for row in range(ROWS)
    ]


@given(output, output)
def test_it_looks_the_same_on_any_screen(before: str, said: str) -> None:
    short = shorten(said.encode())
    assert len(short) <= len(said.encode())
    assert screen_after(before.encode(), short) == screen_after(before.encode(), said.encode())


@given(output, st.lists(st.integers(0, 400)))
def test_it_looks_the_same_wherever_it_is_cut(said: str, cuts: list[int]) -> None:
    whole = said.encode()
    places = [0, *sorted(cuts), len(whole)]
    parts = [shorten(whole[start:end]) for start, end in pairwise(places)]
    assert screen_after(*parts) == screen_after(whole)


def test_a_page_of_visidata_takes_fewer_bytes() -> None:
    row = "\x1b[%d;8H\x1b(B\x1b[0;1m\x1b[37m\x1b[48;5;232m7/06 \x1b(B\x1b[0m\x1b[37m\x1b[40m│ 0.0 \x1b[%d;31H25.0"
    said = "".join(row % (number, number) for number in range(2, 50)).encode()
    short = "\x1b[3;8H\x1b[1;48;5;232m7/06 \x1b[22;40m│ 0.0 \x1b[3;31H25.0"
    assert short.encode() in shorten(said)
    assert len(shorten(said)) < 0.75 * len(said)


BOLD = b"\x1b[;1m\x1b(B"  # After this all is known.


@pytest.mark.parametrize(
    ("said", "short"),
    [
        (b"\x1b[m\x1b[1m", b"\x1b[;1m"),
        (b"\x1b[0;1m\x1b[0m", b"\x1b[m"),
        (BOLD + b"a\x1b[1mb", BOLD + b"ab"),
        (BOLD + b"a\x1b[31;2mb\x1b[22m\x1b[2mc", BOLD + b"a\x1b[31;2mb\x1b[22;2mc"),
        (BOLD + b"a\x1b[0;2mb", BOLD + b"a\x1b[;2mb"),
        (BOLD + b"a\x1b(Bb", BOLD + b"ab"),
        (BOLD + b"a\x1b[1m\x1b[3;8Hb", BOLD + b"a\x1b[3;8Hb"),
        (BOLD + b"a\x1b(0b\x1b(Bc\x1b(Bd", BOLD + b"a\x1b(0b\x1b(Bcd"),
    ],
)
def test_what_is_known_is_not_said_again(said: bytes, short: bytes) -> None:
    assert shorten(said + b"\x1b[H" * 4) == short + b"\x1b[H" * 4


@pytest.mark.parametrize(
    "between",
    [
        "\x1b[21m",  # An attribute that is not followed,
        "\x1b[4:3m",
        "\x1b[58;5;0m",
        "\x1b[38;5m",
        "\x1b[38;5;256m",
        "\x1b8",  # the cursor's return to where it looked otherwise,
        "\x1b[u",
        "\x1b[?1049l",
        "\x1b[!p",
        "\x1bc",
        "\x1b]0;title",  # strings, of which what follows might be the end,
        "\x1bPq",
        "\x1b_",
        "\u009b1m",  # and the same in one character of C1.
        "\x1b[1" + ";1" * 40 + "m",
        "\x1b[" + 38 * ";" + "1m",
        "\x1b[3\n1m",
        "\x1b[1 q",
        "\x1b[>",
        "\x1b",
    ],
)
def test_after_what_it_does_not_know_nothing_is_left_out(between: str) -> None:
    said = BOLD + between.encode() + b"a\x1b[1mb\x1b[31mc\x1b[1md"
    assert shorten(said) == said


@pytest.mark.parametrize("after", ["\u0301", "\x1b[5b", "│", "\x1b7", "\x9b".encode("latin-1"), ""])
def test_nothing_is_left_out_whole_where_its_two_sides_must_not_meet(after: str | bytes) -> None:
    said = BOLD + b"\x1b[H\x1b[H\x1b[He\x1b[1m" + (after.encode() if isinstance(after, str) else after)
    assert shorten(said) == said


def test_a_flood_of_looks_is_not_remembered() -> None:
    from app.terminal import sgr

    for red in range(256):
        shorten(b"".join(b"\x1b[0;38;2;%d;%d;7mx" % (red, green) for green in range(64)))
    assert sgr._shorter.cache_info().currsize <= 4096
    assert len(shorten(b"\x1b[0;1m" * 10_000)) <= 60_000


def test_plain_output_is_not_copied() -> None:
    plain = b"a line of text\r\n" * 1000
    assert shorten(plain) is plain
