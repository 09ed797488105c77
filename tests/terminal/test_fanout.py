"""The heart of the relay: who gets which bytes, when, and who has to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.terminal.events import Deadline, Hello, ProtocolError, Size, State, Title
from app.terminal.fanout import CANCEL, Fanout, Limits, Viewer

SMALL = Limits(
    high=100,
    low=40,
    highest=100,
    skip=160,
    tail=50,
    bulk=20,
    chunk=30,
    full=15,
    unseen=12,
    piece=16,
    coalesce=0.004,
    repaint=1.0,
)


def feed(fanout: Fanout, data: bytes) -> None:
    """Output comes, and is looked at."""
    fanout.feed(data)
    fanout.settle()


def drain(fanout: Fanout, viewer: Viewer, now: float = 100.0) -> bytes:
    """All that the viewer may be sent, from `now` on, before it acknowledges anything."""
    sent = b""
    while (due := fanout.due(viewer, now)) is not None:
        now = due
        sent += fanout.take(viewer, now)
    fanout.settle()
    return sent


def test_two_windows_of_one_person_show_the_same():
    fanout = Fanout()
    first, second = fanout.attach("drive"), fanout.attach("drive")
    feed(fanout, b"\x1b[Hcities")
    assert drain(fanout, first) == drain(fanout, second) == b"\x1b[Hcities"
    assert fanout.held == 0


def test_a_window_opened_later_gets_the_terminals_modes_and_asks_for_a_repaint():
    fanout = Fanout()
    first = fanout.attach("drive")
    feed(fanout, b"\x1b[?1049h\x1b[?1hcities")
    drain(fanout, first)
    assert not fanout.repaint_wanted
    later = fanout.attach("drive")
    restored = drain(fanout, later)
    assert b"\x1b[?1049h" in restored
    assert b"\x1b[?1h" in restored
    assert b"cities" not in restored
    assert fanout.repaint_wanted
    feed(fanout, b"repainted")
    assert drain(fanout, later, 200.0) == b"repainted"


def test_the_answer_to_a_key_goes_out_at_once_and_a_flood_in_few_messages():
    fanout = Fanout(SMALL)
    viewer = fanout.attach("drive")
    feed(fanout, b"first")
    assert fanout.due(viewer, 10.0) == 10.0
    fanout.take(viewer, 10.0)
    feed(fanout, b"more")
    assert fanout.due(viewer, 10.001) == pytest.approx(10.005)
    viewer.urgent = True
    assert fanout.due(viewer, 10.001) == 10.001
    fanout.take(viewer, 10.001)
    feed(fanout, b"x" * SMALL.bulk)
    assert fanout.due(viewer, 10.002) == 10.002
    assert len(fanout.take(viewer, 10.002)) == SMALL.bulk
    feed(fanout, b"after a while")
    assert fanout.due(viewer, 11.0) == pytest.approx(11.004), "as much as comes together goes out together"
    assert fanout.due(viewer, 11.002) == pytest.approx(11.004)


def test_what_shows_nothing_goes_with_what_comes_next():
    """VisiData moves its hidden cursor before each page and after it."""
    fanout = Fanout()
    feed(fanout, b"\x1b[?25l\x1b[?1h\x1b=")
    assert fanout.hold(b"\x1b[50;200H") == b""
    assert fanout.hold(b"\x1b[1;132H\x1b[?1h\x1b=\r") == b""
    assert fanout.hold(b"\x1b[3;8Hpage") == b"\x1b[50;200H\x1b[1;132H\x1b[?1h\x1b=\r\x1b[3;8Hpage"
    assert fanout.hold(b"next") == b"next"


@pytest.mark.parametrize(
    ("before", "output"),
    [
        (b"\x1b[?25l\x1b[?25h", b"\x1b[5;5H"),
        (b"\x1b[?25l", b"\x1b[5;5H\x1b[?25h"),
        (b"\x1b[?25l\x1b[?1l", b"\x1b[?1h"),
        (b"\x1b[?25l\x1b>", b"\x1b="),
        (b"\x1b[?25l", b"\x1b[5;5Hx"),
        (b"\x1b[?25l", b"\x1b[2J"),
        (b"\x1b[?25l", b"\r\n"),
        (b"\x1b[?25l", b"\x1b[5;5H" * 50),
    ],
    ids=[
        "a cursor that shows",
        "one that comes",
        "what arrows send",
        "the keypad",
        "text",
        "erasing",
        "a line",
        "much",
    ],
)
def test_what_may_matter_to_somebody_does_not_wait(before: bytes, output: bytes):
    fanout = Fanout()
    feed(fanout, before)
    assert fanout.hold(output) == output


def test_a_cursor_that_has_just_come_moves_at_once():
    fanout = Fanout()
    feed(fanout, b"\x1b[?25l")
    fanout.feed(b"\x1b[?25h")  # Not looked at yet, as after a key.
    assert fanout.hold(b"\x1b[5;5H") == b"\x1b[5;5H"


def test_what_shows_nothing_is_not_kept_for_another_connection():
    fanout = Fanout()
    fanout.connected()
    feed(fanout, b"\x1b[?25l")
    assert fanout.hold(b"\r") == b""
    fanout.broken()
    assert fanout.hold(b"anew") == b"anew"


@pytest.mark.parametrize(
    ("modes", "echo", "part"),
    [
        (b"", b"echo", b"x" * 1021),
        (b"\x1b[?1049h\x1b[?25h", b"echo", b"x" * 1021),
        (b"\x1b[?1049h\x1b[?25l", b"", b"x" * 60),
    ],
    ids=["full frames of GoTTY's", "after typing into a prompt", "whatever comes while no cursor shows"],
)
def test_a_drawing_that_comes_in_parts_is_one_message(modes: bytes, echo: bytes, part: bytes):
    fanout = Fanout()
    feed(fanout, modes)
    viewer = fanout.attach("drive")
    drain(fanout, viewer)
    if echo:
        viewer.urgent = True
        assert fanout.at_once(viewer, len(echo))
        feed(fanout, echo)
    viewer.urgent = True
    for _ in range(3):
        assert not fanout.at_once(viewer, len(part))
        feed(fanout, part)
        assert fanout.due(viewer, 10.0) == pytest.approx(10.004)
    assert fanout.take(viewer, 10.004) == part * 3


def test_a_page_that_acknowledges_never_has_more_in_flight_than_the_mark():
    fanout = Fanout(SMALL)
    viewer = fanout.attach("drive")
    fanout.ack(viewer, 0, 0.0)
    feed(fanout, b"x" * 130)
    sent = drain(fanout, viewer)
    assert SMALL.high <= len(sent) < SMALL.high + SMALL.chunk
    assert fanout.due(viewer, 200.0) is None
    fanout.ack(viewer, len(sent), 0.0)
    assert len(drain(fanout, viewer, 200.0)) == 130 - len(sent)


def test_a_client_that_never_acknowledges_is_held_back_by_tcp_alone():
    fanout = Fanout(SMALL)
    viewer = fanout.attach("drive")
    feed(fanout, b"x" * 130)
    assert len(drain(fanout, viewer)) == 130


def test_a_fast_page_may_have_as_much_in_flight_as_it_takes_in_a_twentieth_of_a_second():
    fanout = Fanout()
    viewer = fanout.attach("drive")
    now = 0.0
    fanout.ack(viewer, 0, now)
    for speed, mark in ((1_000_000, 96 * 1024), (4_000_000, 200_000), (30_000_000, 256 * 1024), (100_000, 96 * 1024)):
        for _ in range(20):
            feed(fanout, b"x" * (speed // 1000))
            drain(fanout, viewer)
            now += 0.001
            fanout.ack(viewer, viewer.sent, now)
        assert viewer.high == pytest.approx(mark, rel=0.1)


def behind(fanout: Fanout, viewer: Viewer) -> int:
    """Put a viewer at its mark, with more waiting; how much it was sent."""
    fanout.ack(viewer, 0, 0.0)
    feed(fanout, b"flood\n" * 22)
    sent = len(drain(fanout, viewer))
    assert fanout.paused
    return sent


def interrupted() -> tuple[Fanout, Viewer, int]:
    """A viewer on a slow line that interrupts a flood at 10.0, and how much of it it was sent."""
    fanout = Fanout(SMALL)
    viewer = fanout.attach("drive")
    sent = behind(fanout, viewer)
    fanout.interrupt(viewer, 10.0)
    fanout.settle()
    return fanout, viewer, sent


def test_who_interrupts_a_flood_on_a_slow_line_need_not_see_the_rest_of_it():
    fanout, viewer, sent = interrupted()
    assert not fanout.paused, "what is on its way is read"
    for _ in range(50):
        feed(fanout, b"flood\n")
        assert not fanout.at_once(viewer, SMALL.bulk)
    assert fanout.held <= SMALL.tail + SMALL.piece, "and let go"
    feed(fanout, b"\x1b[?2004h^C\n$ ")
    assert fanout.due(viewer, 10.1) == pytest.approx(10.1 + SMALL.quiet), "it comes to rest first"
    feed(fanout, b"\a")
    assert fanout.due(viewer, 10.14) == pytest.approx(10.14 + SMALL.quiet)
    assert fanout.due(viewer, 10.2) is None, "not before it has taken what it has"
    fanout.ack(viewer, sent, 10.3)
    assert fanout.due(viewer, 10.3) == 10.3
    shown = fanout.take(viewer, 10.3) + drain(fanout, viewer, 10.3)
    assert shown.startswith(b"\x18\x1b[!p"), "no sequence is cut, and the modes are those of now"
    assert shown.endswith(b"\x1b[?2004hflood\nflood\nflood\nflood\nflood\n\x1b[?2004h^C\n$ \a")
    assert shown.count(b"flood") == 5, "its first line is a whole one"
    fanout.ack(viewer, viewer.sent, 10.5)
    feed(fanout, b"next\n")
    assert drain(fanout, viewer, 11.0) == b"next\n"


def test_it_makes_no_difference_how_much_it_has_just_taken():
    """Between the marks reading still rests, so there is more to come than is in flight."""
    fanout = Fanout(SMALL)
    viewer = fanout.attach("drive")
    sent = behind(fanout, viewer)
    drain(fanout, viewer)
    fanout.ack(viewer, sent - SMALL.low, 9.0)
    drain(fanout, viewer, 9.0)
    fanout.settle()
    fanout.ack(viewer, viewer.sent - SMALL.low - 1, 9.5)
    fanout.settle()
    assert fanout.paused
    assert viewer.in_flight + fanout.end - viewer.cursor < SMALL.high
    fanout.interrupt(viewer, 10.0)
    assert viewer.hurries is not None


def test_a_flood_that_cannot_be_interrupted_goes_on():
    fanout = Fanout(SMALL)
    viewer = fanout.attach("drive")
    fanout.ack(viewer, behind(fanout, viewer), 9.0)
    fanout.settle()
    fanout.interrupt(viewer, 10.0)
    assert viewer.hurries is None, "nothing is on its way"
    behind(fanout, viewer)
    fanout.interrupt(viewer, 10.0)
    for moment in range(25):
        feed(fanout, b"flood\n" * 4)
        due = fanout.due(viewer, 10.0 + moment / 25)
    assert due == pytest.approx(10.0 + SMALL.hurry)
    assert fanout.due(viewer, 11.0) is None, "it has not taken what it has"
    feed(fanout, b"flood\n" * 4)
    assert fanout.paused, "and holds the program back again"
    fanout.ack(viewer, viewer.sent, 11.0)
    assert b"flood" in drain(fanout, viewer, 11.0)


def test_who_interrupts_what_has_ended_by_itself_keeps_its_screen():
    fanout, viewer, sent = interrupted()
    fanout.ack(viewer, sent, 10.01)
    feed(fanout, b"^C\n$ ")
    assert drain(fanout, viewer, 10.02) == (b"flood\n" * 22)[sent:] + b"^C\n$ "
    behind(fanout, viewer)
    fanout.interrupt(viewer, 11.0)
    assert fanout.due(viewer, 11.1) is None
    assert viewer.hurries is None, "nothing has come, so it is over"


def test_one_driver_in_a_hurry_takes_nothing_from_another():
    fanout = Fanout(SMALL)
    first, other = fanout.attach("drive"), fanout.attach("drive")
    for viewer in (first, other):
        fanout.ack(viewer, 0, 0.0)
    feed(fanout, b"flood\n" * 22)
    for viewer in (first, other):
        drain(fanout, viewer)
    fanout.interrupt(first, 10.0)
    fanout.settle()
    assert fanout.paused


def test_who_hurries_past_the_beginning_of_a_whole_screen_has_it_drawn_anew():
    fanout, viewer, sent = interrupted()
    feed(fanout, b"\x1b[?1049h" + b"all over the screen" * 5)
    fanout.ack(viewer, sent, 10.0)
    assert fanout.due(viewer, 10.0) == pytest.approx(10.05)
    shown = drain(fanout, viewer, 10.1)
    assert b"\x1b[?1049h" in shown
    assert b"all over" not in shown
    assert fanout.repaint_wanted


@pytest.mark.parametrize("mode", ["drive", "watch"])
@pytest.mark.parametrize("screen", [b"", b"\x1b[?1049h"])
@pytest.mark.parametrize("speed", ["slow", "fast"])
def test_nothing_is_left_out_for_who_is_fast_or_only_watches_nor_of_a_whole_screen(mode, screen, speed):
    fanout = Fanout(SMALL)
    driver, viewer = fanout.attach("drive"), fanout.attach(mode)
    fanout.detach(driver)
    feed(fanout, screen)
    fanout.ack(viewer, 0, 0.0)
    feed(fanout, b"flood\n" * 22)
    drain(fanout, viewer)
    if speed == "fast":
        viewer.high = SMALL.high + 1
    fanout.interrupt(viewer, 10.0)
    assert (viewer.hurries is not None) == ((mode, screen, speed) == ("drive", b"", "slow"))


def test_an_acknowledgement_of_more_than_was_sent_is_an_error():
    fanout = Fanout()
    viewer = fanout.attach("drive")
    feed(fanout, b"12345")
    drain(fanout, viewer)
    fanout.ack(viewer, 5, 0.0)
    fanout.ack(viewer, 3, 0.0)
    assert viewer.in_flight == 0
    with pytest.raises(ProtocolError):
        fanout.ack(viewer, 6, 0.0)


def test_reading_rests_only_while_every_driver_is_behind_and_goes_on_below_the_low_mark():
    fanout = Fanout(SMALL)
    fast, slow = fanout.attach("drive"), fanout.attach("drive")
    feed(fanout, b"x" * 110)
    assert fanout.paused
    drain(fanout, fast)
    assert not fanout.paused
    fanout.detach(fast)
    fanout.settle()
    assert fanout.paused
    fanout.take(slow, 100.0)
    fanout.take(slow, 101.0)
    fanout.settle()
    assert fanout.paused, "between the marks it stays as it was"
    drain(fanout, slow)
    assert not fanout.paused


def test_a_driver_that_lost_its_place_does_not_keep_reading_going_for_one_that_has_not():
    fanout = Fanout(SMALL)
    keen, lost = fanout.attach("drive"), fanout.attach("drive")
    for _ in range(10):
        feed(fanout, b"x" * 20)
        drain(fanout, keen)
    assert lost.lost
    feed(fanout, b"y" * 110)
    assert fanout.paused
    assert drain(fanout, keen) == b"y" * 110


def test_somebody_who_only_watches_holds_nobody_up():
    fanout = Fanout(SMALL)
    watcher = fanout.attach("watch")
    for _ in range(50):
        feed(fanout, b"x" * 20)
        assert not fanout.paused
    assert fanout.held <= SMALL.skip + 20
    assert watcher.lost


def test_a_slow_window_skips_ahead_once_it_has_drained_and_not_more_than_once_a_second():
    fanout = Fanout(SMALL)
    fast, slow = fanout.attach("drive"), fanout.attach("drive")
    fanout.ack(slow, 0, 0.0)
    total = 0
    now = 0.0
    for _ in range(40):
        feed(fanout, b"x" * 20)
        total += len(drain(fanout, fast, now))
        drain(fanout, slow, now)
        now += 0.01
    assert total == 800, "the fast one got everything"
    assert slow.lost
    assert fanout.due(slow, now) is None, "what is in flight must reach the screen first"
    fanout.ack(slow, slow.sent, 0.0)
    assert fanout.due(slow, now) == now
    assert fanout.take(slow, now).startswith(b"\x18")
    assert fanout.repaint_wanted
    fanout.ack(slow, slow.sent, 0.0)
    for _ in range(10):
        feed(fanout, b"x" * 20)
        drain(fanout, fast, now)
    assert slow.lost
    assert fanout.due(slow, now + 0.1) == pytest.approx(now + 1.0)


def test_the_last_driver_to_give_its_size_decides_and_the_others_are_told():
    fanout = Fanout()
    desk, phone = fanout.attach("drive", Size(200, 50)), fanout.attach("drive")
    fanout.connected()
    assert fanout.size == Size(200, 50)
    desk.take_notices(), phone.take_notices()
    fanout.resize(phone, Size(40, 20))
    assert fanout.size == Size(40, 20)
    assert desk.take_notices() == [Hello("drive", Size(40, 20))]
    assert phone.take_notices() == [Hello("drive", Size(40, 20), yours=True)]
    fanout.detach(phone)
    assert fanout.size == Size(200, 50), "the desk's window is the only one left"
    assert desk.take_notices() == [Hello("drive", Size(200, 50), yours=True)]


def test_a_watchers_window_changes_nothing():
    fanout = Fanout()
    watcher = fanout.attach("watch", Size(10, 10))
    fanout.connected()
    fanout.resize(watcher, Size(11, 11))
    assert fanout.size is None
    (hello,) = watcher.take_notices()
    assert isinstance(hello, Hello)
    assert hello.mode == "watch"


def test_a_break_upstream_is_told_and_cut_sequences_are_ended():
    fanout = Fanout()
    viewer = fanout.attach("drive")
    fanout.connected()
    feed(fanout, b"a\x1b[3")
    viewer.take_notices()
    fanout.broken()
    assert viewer.take_notices() == [State("reconnecting")]
    assert drain(fanout, viewer) == b"a\x1b[3\x18"
    fanout.connected()
    assert [type(notice) for notice in viewer.take_notices()] == [Hello]


def test_only_the_newest_notice_of_a_kind_waits_for_a_viewer():
    fanout = Fanout()
    viewer = fanout.attach("drive")
    for minute in range(1000):
        fanout.tell(Deadline(f"2030-01-01T00:{minute % 60:02}:00Z", "idle"))
        feed(fanout, b"\x1b]2;sheet %d\x07" % minute)
    assert viewer.take_notices() == [Deadline("2030-01-01T00:39:00Z", "idle"), Title("sheet 999")]


def test_a_window_opened_later_knows_the_title_and_the_deadline():
    fanout = Fanout()
    feed(fanout, b"\x1b]2;cities\x07")
    fanout.tell(Deadline("2030-01-01T00:00:00Z", "idle"))
    assert fanout.attach("watch").take_notices() == [Title("cities"), Deadline("2030-01-01T00:00:00Z", "idle")]
    fanout.tell(Deadline(None))
    assert fanout.attach("watch").take_notices() == [Title("cities")]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.binary(min_size=1, max_size=50)),
        st.tuples(st.just("feed"), st.sampled_from([b"\x1b[?25l", b"\x1b[?25h", b"\r", b"\x1b[9;9H"])),
        st.tuples(st.just("settle"), st.just(0)),
        st.tuples(st.just("type"), st.integers(0, 3)),
        st.tuples(st.just("interrupt"), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(0, 3)),
        st.tuples(st.just("ack"), st.integers(0, 3)),
        st.tuples(st.just("come"), st.sampled_from(["drive", "watch"])),
        st.tuples(st.just("go"), st.integers(1, 3)),
    ),
    max_size=200,
)


@given(st.booleans(), steps)
def test_any_interleaving_gives_a_lone_driver_every_byte_and_everybody_else_no_wrong_one(
    acknowledges: bool, course: list[tuple[str, object]]
):
    """The owner's window is there all the time, others come and go, slow or dead. Upstream respects the pause.

    Who interrupts a flood may miss some of it, and then goes on without a gap.

    As in the terminal: who has just typed may have output before it is fed, and what is fed is settled now or later.
    """
    fanout = Fanout(SMALL)
    owner = fanout.attach("drive")
    if acknowledges:
        fanout.ack(owner, 0, 0.0)
    viewers = [owner]
    screens: dict[Viewer, bytearray] = {owner: bytearray()}
    since: dict[Viewer, int] = {owner: 0}  # Where in the stream the viewer's unbroken output begins.
    said = bytearray()  # By the program,
    stream = bytearray()  # and so much of it is not held.
    other_driver = interrupted = False
    now = 0.0
    for step, value in course:
        now += 0.5
        if step == "feed" and not fanout.paused:
            assert isinstance(value, bytes)
            said += value
            value = fanout.hold(value)
            for viewer in viewers if value else ():
                if fanout.at_once(viewer, len(value)):
                    screens[viewer] += value
            stream += value
            if value and fanout.feed(value):
                fanout.settle()
            assert said.startswith(stream)
            assert len(said) - len(stream) <= SMALL.unseen
        elif step == "settle":
            fanout.settle()
        elif step == "come" and len(viewers) < 4:
            other_driver |= value == "drive"
            viewer = fanout.attach(value)  # type: ignore[arg-type]
            viewers.append(viewer)
            screens[viewer] = bytearray()
            since[viewer] = len(stream)
        elif step == "go" and isinstance(value, int) and value < len(viewers):
            fanout.detach(viewers.pop(value))
        elif step in ("take", "type", "interrupt", "ack") and isinstance(value, int) and value < len(viewers):
            viewer = viewers[value]
            if step == "type":
                viewer.urgent = True
            elif step == "interrupt":
                fanout.interrupt(viewer, now)
                interrupted |= viewer.hurries is not None
            elif step == "ack":
                if viewer is not owner or acknowledges:
                    fanout.ack(viewer, viewer.sent, 0.0)
            elif (due := fanout.due(viewer, now)) is not None and due <= now:
                lost, skipped, cursor = viewer.lost, viewer.skipped, viewer.cursor
                data = fanout.take(viewer, now)
                if skipped:
                    part = bytes(stream[cursor : viewer.cursor])
                    assert data.startswith(CANCEL)
                    assert data.endswith(part[part.find(b"\n") + 1 :])
                if lost or skipped:
                    screens[viewer].clear()
                    since[viewer] = viewer.cursor
                else:
                    screens[viewer] += data
        for viewer in viewers:
            at = since[viewer]
            assert stream[at : at + len(screens[viewer])] == screens[viewer]
        assert fanout.held <= SMALL.skip + SMALL.piece + SMALL.bulk + 50, "memory is bounded whoever is slow"
    if not other_driver:
        assert not owner.lost
        assert interrupted or since[owner] == 0
        while owner.cursor < len(stream):
            if acknowledges:
                fanout.ack(owner, owner.sent, 0.0)
            now += 1.0
            assert fanout.due(owner, now) is not None, "the owner is never stuck"
            screens[owner] += fanout.take(owner, now)
        assert interrupted or screens[owner] == stream


def test_the_size_that_the_program_says_it_has_is_what_people_are_told():
    """A window that nobody looks at gives none; and windows elsewhere, at another replica, decide too."""
    fanout = Fanout()
    hidden, watcher = fanout.attach("drive"), fanout.attach("watch")
    fanout.connected()
    fanout.feed(b"\x1b]8379;189;53\x07")
    fanout.settle()
    assert fanout.size == fanout.reported == Size(189, 53)
    assert hidden.take_notices() == [Hello("drive", Size(189, 53))]
    assert watcher.take_notices() == [Hello("watch", Size(189, 53))]
    fanout.resize(hidden, Size(100, 40))
    assert hidden.take_notices() == [Hello("drive", Size(100, 40), yours=True)]
    fanout.feed(b"\x1b]8379;189;53\x07")
    fanout.settle()
    assert fanout.size == Size(189, 53)
    assert hidden.take_notices() == [Hello("drive", Size(189, 53))]


def test_a_size_that_cannot_be_is_made_one():
    fanout = Fanout()
    fanout.connected()
    fanout.feed(b"\x1b]8379;9999;0\x07")
    fanout.settle()
    assert fanout.size == Size(1000, 1)


def test_one_window_decides_and_answers_what_the_program_asks():
    fanout = Fanout()
    first, second = fanout.attach("drive", Size(100, 40)), fanout.attach("drive", Size(100, 40))
    fanout.attach("watch")
    fanout.connected()
    told = [viewer.take_notices() for viewer in fanout.viewers]
    assert [notice.yours for (notice,) in told] == [False, True, False], "the one that came last"
    fanout.resize(first, Size(100, 40))
    assert first.take_notices() == [Hello("drive", Size(100, 40), yours=True)]
    assert second.take_notices() == [Hello("drive", Size(100, 40))]
    fanout.detach(first)
    assert second.take_notices() == [Hello("drive", Size(100, 40), yours=True)]


def test_a_window_that_speaks_after_the_program_has_the_last_word():
    """Though nobody has looked yet at what the program said."""
    fanout = Fanout()
    desk = fanout.attach("drive", Size(100, 40))
    fanout.connected()
    fanout.feed(b"\x1b]8379;189;53\x07")
    fanout.resize(desk, Size(130, 45))
    fanout.settle()
    assert fanout.size == Size(130, 45)
    assert desk.take_notices() == [Hello("drive", Size(130, 45), yours=True)]
