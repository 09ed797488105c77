"""A screen that joins late is put into the modes that the program has set, however its output was cut up."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent.modes import TITLE_BYTES, TITLE_CHARACTERS, ModeTracker

# What VisiData itself sends when it starts and when it ends, as recorded from a PTY (xterm-256color).
VISIDATA_START = (
    b"\x1b[?1049h\x1b[22;0;0t\x1b[1;24r\x1b(B\x1b[m\x1b[4l\x1b[?7h\x1b[39;49m\x1b[?1h\x1b=\x1b[?1000h\x1b[?25l"
)
VISIDATA_END = b"\x1b[24;1H\x1b[?12l\x1b[?25h\x1b[?1049l\x1b[23;0;0t\r\x1b[?1l\x1b>"


def tracked(*chunks: bytes) -> ModeTracker:
    tracker = ModeTracker()
    for chunk in chunks:
        tracker.feed(chunk)
    return tracker


@pytest.mark.parametrize(
    ("stream", "restored"),
    [
        (b"\x1b[?1h", b"\x1b[?1h"),
        (b"\x1b[?1h\x1b[?1l", b"\x1b[?1l"),
        (b"\x1b[?7l", b"\x1b[?7l"),
        (b"\x1b[?25l", b"\x1b[?25l"),
        (b"\x1b[?25l\x1b[?25h", b"\x1b[?25h"),
        (b"\x1b[?47h", b"\x1b[?1049h"),
        (b"\x1b[?1047h", b"\x1b[?1049h"),
        (b"\x1b[?1049h", b"\x1b[?1049h"),
        (b"\x1b[?1049h\x1b[?1049l", b"\x1b[?1049l"),
        (b"\x1b[?9h", b"\x1b[?9h"),
        (b"\x1b[?1000h", b"\x1b[?1000h"),
        (b"\x1b[?1002;1006h", b"\x1b[?1006h\x1b[?1002h"),
        (b"\x1b[?1003;1016h", b"\x1b[?1016h\x1b[?1003h"),
        (b"\x1b[?1004h", b"\x1b[?1004h"),
        (b"\x1b[?2004h", b"\x1b[?2004h"),
        (b"\x1b=", b"\x1b="),
        (b"\x1b=\x1b>", b"\x1b>"),
        (b"\x1b[?66h", b"\x1b="),
        (b"\x1b]2;penguins.csv\x07", b"\x1b]2;penguins.csv\x07"),
        (b"\x1b]0;K\xc3\xb6ln\x1b\\", b"\x1b]2;K\xc3\xb6ln\x07"),
    ],
)
def test_what_was_set_is_restored(stream: bytes, restored: bytes) -> None:
    assert restored in tracked(stream).restore()


@pytest.mark.parametrize(
    ("stream", "absent"),
    [
        (b"", b"\x1b[?1000h"),
        (b"\x1b[?1000h\x1b[?1000l", b"\x1b[?1000h"),
        (b"\x1b[?1000h\x1b[?1003h\x1b[?1000l", b"\x1b[?1003h"),  # One mouse mode at a time: any `l` ends it.
        (b"\x1b[?1000h\x1b[?1002h", b"\x1b[?1000h"),
        (b"\x1b[?1006h\x1b[?1006l", b"\x1b[?1006h"),
        (b"\x1b[?1049h\x1bc", b"\x1b[?1049h"),
        (b"\x1b[?1000h\x1bc", b"\x1b[?1000h"),
        (b"\x1b[?1h\x1b[!p", b"\x1b[?1h"),
        (b"\x1b[?2004h\x1b[!p", b"\x1b[?2004h"),
        (b"\x1b]52;c;" + b"QUJD" * 1000 + b"\x07", b"QUJD"),
        (b"\x1b]2;cut off by CAN\x18", b"cut off"),
    ],
)
def test_what_was_reset_is_not_restored(stream: bytes, absent: bytes) -> None:
    assert absent not in tracked(stream).restore()


def test_a_soft_reset_leaves_the_screen_and_the_mouse_alone() -> None:
    restored = tracked(b"\x1b[?1049h\x1b[?1002h\x1b[!p").restore()
    assert b"\x1b[?1049h" in restored
    assert b"\x1b[?1002h" in restored


def test_visidata_comes_and_goes() -> None:
    tracker = tracked(VISIDATA_START)
    assert tracker.alternate_screen
    restored = tracker.restore()
    for sequence in (b"\x1b[?1049h", b"\x1b[?1h", b"\x1b=", b"\x1b[?1000h", b"\x1b[?25l"):
        assert sequence in restored
    tracker.feed(VISIDATA_END)
    assert not tracker.alternate_screen
    assert b"\x1b[?25h" in tracker.restore()


def test_a_title_is_cleaned_and_capped() -> None:
    tracker = tracked(b"\x1b]2;a\x01b\x9b\xff\xe2\x80\xaec" + b"x" * 500 + b"\x07")
    assert tracker.title.startswith("ab\N{REPLACEMENT CHARACTER}")
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in tracker.title
    assert tracker.title.isprintable()
    assert len(tracker.title) == TITLE_CHARACTERS
    tracker.feed(b"\x1b]2;" + b"y" * (TITLE_BYTES + 1) + b"\x07")
    assert "y" not in tracker.title


def test_an_endless_string_is_not_kept_in_memory() -> None:
    tracker = tracked(b"\x1b]2;")
    for _ in range(100):
        tracker.feed(b"z" * 100_000)
    assert len(tracker._rest) <= TITLE_BYTES + 8
    tracker.feed(b"\x07\x1b]2;short\x07")
    assert tracker.title == "short"


def test_restoring_ends_a_sequence_that_was_cut_off() -> None:
    assert ModeTracker().restore().startswith(b"\x18")


pieces = st.one_of(
    st.sampled_from(
        [
            b"\x1b[?1049h",
            b"\x1b[?1049l",
            b"\x1b[?1;25;2004h",
            b"\x1b[?1000h",
            b"\x1b[?1003;1006h",
            b"\x1b[?1003l",
            b"\x1b[?25l",
            b"\x1b=",
            b"\x1b>",
            b"\x1b[!p",
            b"\x1bc",
            b"\x1b]2;first\x07",
            b"\x1b]0;second\x1b\\",
            b"\x1b]2;" + b"t" * (TITLE_BYTES - 1) + b"\x07",
            b"\x1b]2;" + b"t" * (TITLE_BYTES + 1) + b"\x07",
            b"\x1b[?" + b"1" * 70 + b"h",
            b"\x1b]52;c;QUJD\x07",
            b"\x1bP+q\x1b\\",
            b"\x1b[38;5;12mtext\x1b[m",
            b"\x1b]8379;189;53\x07",
            b"\x1b]8379;2\x07",
            VISIDATA_START,
            VISIDATA_END,
        ]
    ),
    st.text(alphabet="\x1b\x07\x18[]?!;0129hlpc=>\\ä", max_size=12).map(str.encode),
    st.binary(max_size=8),
)


@given(st.lists(pieces, max_size=12).map(b"".join), st.data())
def test_any_chunking_gives_the_same_answer(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    whole = tracked(stream)
    chunked = tracked(*(stream[start:end] for start, end in itertools.pairwise(edges)))
    assert chunked.restore() == whole.restore()
    assert (chunked.title, chunked.alternate_screen) == (whole.title, whole.alternate_screen)
    assert chunked.size == whole.size


@given(st.lists(pieces, max_size=12).map(b"".join))
def test_a_restored_terminal_is_in_the_same_modes(stream: bytes) -> None:
    """The restore sequence, sent to a terminal in whatever state, tells the same story as the stream did."""
    tracker = tracked(stream)
    for before in (b"", VISIDATA_START, b"\x1b[?1003;1006;2004h\x1b]2;half a title"):
        assert (
            tracked(before, tracker.restore()).restore().split(b"\x1b]2;")[0] == tracker.restore().split(b"\x1b]2;")[0]
        )
