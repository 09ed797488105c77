"""The relay between viewers and a run, over real sockets to a server that speaks GoTTY's protocol."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest
from fake_gotty import CREDENTIAL, FakeGotty
from fake_viewer import FakeViewer

from app.terminal.events import Deadline, Size
from app.terminal.fanout import Limits
from app.terminal.terminal import Patience, Terminals, TerminalTarget

QUICK = Patience(
    grace=0.1,
    give_up=0.3,
    retry=0.05,
    redraw=0.01,
    handshake=0.2,
    farewell=0.2,
    last_words=0.2,
    viewers=3,
    typed=50_000,
)


def target(gotty: FakeGotty, generation: int = 1, credential: str = CREDENTIAL) -> TerminalTarget:
    return TerminalTarget("s1", generation, gotty.address, credential)


@pytest.fixture
async def gotty() -> AsyncIterator[FakeGotty]:
    async with FakeGotty() as server:
        yield server


@pytest.fixture
async def terminals() -> AsyncIterator[Terminals]:
    live = Terminals(patience=QUICK)
    yield live
    await live.close_all()


@pytest.mark.parametrize("dialect", ["gotty", "webtty"])
async def test_a_person_types_and_sees_what_the_program_answers(dialect: str):
    async with FakeGotty(dialect) as gotty:
        terminals = Terminals(patience=QUICK)
        viewer = FakeViewer(terminals, target(gotty), size=Size(200, 50))
        assert await viewer.until_told("hello") == {
            "type": "hello",
            "mode": "drive",
            "cols": 200,
            "rows": 50,
            "yours": True,
        }
        await gotty.until(lambda: gotty.sizes == [(200, 50)])
        viewer.say("größe".encode())
        await gotty.until(lambda: gotty.typed == "größe")
        await gotty.write(b"\x1b[Hcities\xc3")
        await gotty.write(b"\xa9")
        await viewer.until(lambda: viewer.screen == b"\x1b[Hcit" + "iesé".encode())
        viewer.say({"type": "resize", "cols": 100, "rows": 30})
        await gotty.until(lambda: gotty.sizes[-1] == (100, 30))
        assert terminals.typed_in == {"s1"}
        await viewer.leave()
        await terminals.close_all()


async def test_the_run_is_told_the_credential_and_nothing_of_the_browser(gotty: FakeGotty, terminals: Terminals):
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    assert gotty.openings == [{"Arguments": "", "AuthToken": CREDENTIAL}]
    assert not {"origin", "cookie", "authorization", "sec-websocket-extensions"} & gotty.headers[0].keys()
    assert CREDENTIAL not in repr(target(gotty))
    await viewer.leave()


async def test_any_number_of_viewers_share_one_connection_and_only_drivers_type(gotty: FakeGotty, terminals: Terminals):
    owner = FakeViewer(terminals, target(gotty), size=Size(80, 24))
    watcher = FakeViewer(terminals, target(gotty), mode="watch")
    await owner.until_told("hello")
    assert (await watcher.until_told("hello"))["mode"] == "watch"
    assert terminals.viewers("s1") == 2
    watcher.say(b"q")
    watcher.say({"type": "resize", "cols": 10, "rows": 10})
    watcher.say({"type": "ping"})
    await watcher.until_told("pong")
    owner.say(b"j")
    await gotty.until(lambda: gotty.typed == "j")
    await gotty.write(b"shown to both")
    await owner.until(lambda: owner.screen == b"shown to both")
    await watcher.until(lambda: watcher.screen == b"shown to both")
    assert len(gotty.connections) == 1
    assert gotty.sizes == [(80, 24)]
    await asyncio.gather(owner.leave(), watcher.leave())


async def test_a_reload_finds_the_connection_again_and_gets_a_repaint(gotty: FakeGotty, terminals: Terminals):
    first = FakeViewer(terminals, target(gotty), size=Size(80, 24))
    await first.until_told("hello")
    await gotty.write(b"\x1b[?1049h\x1b[?1hsheet")
    await first.until(lambda: first.screen.endswith(b"sheet"))
    await first.leave()
    gotty.on_resize = lambda: b"<%dx%d>" % gotty.sizes[-1]
    again = FakeViewer(terminals, target(gotty), size=Size(80, 24))
    await again.until(lambda: again.screen.endswith(b"<80x24>"))
    assert again.screen.index(b"\x1b[?1049h") < again.screen.index(b"<80x25>"), "the modes come before the repaint"
    assert gotty.sizes == [(80, 24), (80, 25), (80, 24)]
    assert len(gotty.openings) == 1
    await again.leave()


async def test_a_program_that_is_slow_to_look_still_draws_everything(gotty: FakeGotty, terminals: Terminals):
    first = FakeViewer(terminals, target(gotty), size=Size(80, 24))
    await first.until_told("hello")
    await gotty.write(b"sheet")
    await first.until(lambda: first.screen.endswith(b"sheet"))
    again = FakeViewer(terminals, target(gotty), size=Size(80, 24))
    await gotty.until(lambda: gotty.sizes == [(80, 24), (80, 25)])
    await asyncio.sleep(10 * QUICK.redraw)
    assert gotty.sizes == [(80, 24), (80, 25)], "it has drawn nothing, so it may not have seen the first size"
    await gotty.write(b"all of it")
    await gotty.until(lambda: gotty.sizes == [(80, 24), (80, 25), (80, 24)])
    await asyncio.gather(first.leave(), again.leave())


async def test_the_connection_goes_some_time_after_the_last_viewer(gotty: FakeGotty, terminals: Terminals):
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    await viewer.leave()
    assert len(gotty.connections) == 1
    await gotty.until(lambda: not gotty.connections)


async def test_a_broken_connection_comes_back_and_what_is_typed_meanwhile_is_never_sent_late(
    gotty: FakeGotty, terminals: Terminals
):
    viewer = FakeViewer(terminals, target(gotty), size=Size(80, 24))
    await viewer.until_told("hello")
    await gotty.write(b"before\x1b[")
    await viewer.until(lambda: viewer.screen == b"before\x1b[")
    await gotty.stop()
    assert (await viewer.until_told("state"))["state"] == "reconnecting"
    viewer.say(b"lost")
    await gotty.start()
    await viewer.until_told("hello", 2)
    viewer.say(b"j")
    await gotty.until(lambda: gotty.typed == "j")
    await gotty.write(b"after")
    await viewer.until(lambda: viewer.screen == b"before\x1b[\x18after")
    await gotty.until(lambda: gotty.sizes[-1] == (80, 24))
    assert viewer.closed is None
    await viewer.leave()


async def test_a_run_that_does_not_answer_is_given_up_and_the_page_asks_again(terminals: Terminals):
    gotty = FakeGotty()
    await gotty.start()
    await gotty.stop()
    viewer = FakeViewer(terminals, target(gotty))
    assert (await viewer.until_closed())[0] == 1012
    assert viewer.texts == [], "nobody was told that it is live"
    assert terminals.open_terminals() == 0


async def test_a_wrong_credential_is_never_taken_for_a_live_terminal(gotty: FakeGotty, terminals: Terminals):
    viewer = FakeViewer(terminals, target(gotty, credential="hub:wrong"))
    assert (await viewer.until_closed())[0] == 1012
    assert viewer.texts == []


async def test_a_run_that_sends_garbage_is_left_and_tried_again(gotty: FakeGotty, terminals: Terminals):
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    await gotty.send("1not base64")
    await viewer.until_told("hello", 2)
    assert len(gotty.openings) == 2
    await viewer.leave()


async def test_a_silent_upstream_is_found_out():
    async with FakeGotty() as gotty:
        terminals = Terminals(patience=Patience(keepalive=0.05, retry=0.05))
        viewer = FakeViewer(terminals, target(gotty))
        await viewer.until_told("hello")
        await gotty.until(lambda: gotty.pings >= 5)
        assert len(gotty.openings) == 1, "one that answers is kept"
        gotty.silent = True
        await gotty.until(lambda: len(gotty.openings) >= 2)
        await viewer.leave()
        await terminals.close_all()


async def test_when_the_run_ends_viewers_get_the_rest_are_told_why_and_are_closed(
    gotty: FakeGotty, terminals: Terminals
):
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    await gotty.write(b"bye")
    await viewer.until(lambda: viewer.screen == b"bye")
    await terminals.end("s1", 1, "stopped", "quit", "You quit VisiData.")
    assert await viewer.until_closed() == (1000, "The session ended.")
    assert viewer.notices[-1] == {"type": "state", "state": "stopped", "reason": "quit", "text": "You quit VisiData."}
    await gotty.until(lambda: not gotty.connections)
    assert terminals.open_terminals() == 0


async def test_the_end_of_one_run_leaves_the_next_one_alone(gotty: FakeGotty, terminals: Terminals):
    viewer = FakeViewer(terminals, target(gotty, generation=2))
    await viewer.until_told("hello")
    await terminals.end("s1", 1, "stopped", "quit")
    await gotty.write(b"still here")
    await viewer.until(lambda: viewer.screen == b"still here")
    await viewer.leave()


async def test_a_viewer_that_takes_nothing_does_not_hold_up_the_end(gotty: FakeGotty, terminals: Terminals):
    viewer = FakeViewer(terminals, target(gotty), stuck=True)
    await gotty.until(lambda: bool(gotty.connections))
    await gotty.write(b"x" * 1000)
    async with asyncio.timeout(30):
        await terminals.end("s1", 1, "stopped", "quit")
    assert (await viewer.until_closed())[0] == 1000


async def test_a_replica_that_leaves_sends_its_viewers_to_another(gotty: FakeGotty):
    terminals = Terminals(patience=QUICK)
    viewers = [FakeViewer(terminals, target(gotty)), FakeViewer(terminals, target(gotty), mode="watch")]
    for viewer in viewers:
        await viewer.until_told("hello")
    await terminals.close_all()
    for viewer in viewers:
        assert (await viewer.until_closed())[0] == 1012
        assert (await viewer.until_told("state"))["state"] == "leaving"
    await gotty.until(lambda: not gotty.connections)
    late = FakeViewer(terminals, target(gotty))
    assert (await late.until_closed())[0] == 1012


async def test_what_is_typed_until_one_hears_that_the_replica_leaves_arrives(gotty: FakeGotty):
    terminals = Terminals(patience=QUICK)
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    leaving = asyncio.create_task(terminals.close_all())
    await viewer.until_told("state")
    viewer.say(b"on its way")
    await viewer.leave()
    await leaving
    await gotty.until(lambda: gotty.typed == "on its way")


async def test_a_program_that_goes_on_printing_keeps_no_replica_from_leaving(gotty: FakeGotty):
    terminals = Terminals(patience=dataclasses.replace(QUICK, farewell=60))
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    leaving = asyncio.create_task(terminals.close_all())
    async with asyncio.timeout(30):
        while not leaving.done():
            await gotty.write(b"still going\r\n")
            await asyncio.sleep(QUICK.last_words / 4)
    assert (await viewer.until_closed())[0] == 1012


async def test_many_terminals_are_let_go_one_after_the_other(gotty: FakeGotty):
    terminals = Terminals(patience=dataclasses.replace(QUICK, parting=60, partings=0.3))
    runs = [TerminalTarget(f"s{number}", 1, gotty.address, CREDENTIAL) for number in range(3)]
    viewers = [FakeViewer(terminals, run) for run in runs]
    for viewer in viewers:
        await viewer.until_told("hello")
    leaving = asyncio.create_task(terminals.close_all())
    await viewers[0].until_told("state")
    assert not [viewer for viewer in viewers[1:] if viewer.notices[-1]["type"] == "state"]
    async with asyncio.timeout(30):
        await leaving
    assert [(await viewer.until_closed())[0] for viewer in viewers] == [1012] * 3


async def test_people_are_warned_of_a_deadline_and_told_when_it_is_off(gotty: FakeGotty, terminals: Terminals):
    viewer = FakeViewer(terminals, target(gotty), deadline=Deadline("2030-01-01T00:00:00+00:00", "idle"))
    await viewer.until_told("hello")
    assert (await viewer.until_told("deadline"))["why"] == "idle"
    terminals.push_deadline("s1", None)
    assert (await viewer.until_told("deadline", 2))["at"] is None
    before = len(viewer.notices)
    for _ in range(3):
        terminals.push_deadline("s1", None)
    await asyncio.sleep(0.05)
    assert len(viewer.notices) == before, "what is known is not said again: it would only wake phones"
    terminals.push_state("s1", "stopping", "idle")
    assert (await viewer.until_told("state"))["state"] == "stopping"
    terminals.push_state("another", "stopping")
    await viewer.leave()


async def test_a_slow_viewer_never_slows_a_fast_one_and_memory_stays_bounded(gotty: FakeGotty):
    limits = Limits(high=20_000, low=10_000, skip=40_000, chunk=8_000)
    terminals = Terminals(patience=QUICK, limits=limits)
    fast = FakeViewer(terminals, target(gotty), size=Size(80, 24))
    slow = FakeViewer(terminals, target(gotty))
    await fast.until_told("hello")
    await slow.until_told("hello")
    slow.gate.clear()
    flood = b"".join(b"%07d\n" % line for line in range(50_000))
    for start in range(0, len(flood), 1_000):
        await gotty.write(flood[start : start + 1_000])
    await fast.until(lambda: len(fast.screen) == len(flood))
    assert fast.screen == flood
    assert len(fast.messages) < len(flood) / 1_000, "it comes in fewer messages than GoTTY sent"
    gotty.on_resize = lambda: b"repainted"
    slow.gate.set()
    await slow.until(lambda: slow.screen.endswith(b"repainted"))
    assert len(slow.screen) < len(flood) / 2
    await asyncio.gather(fast.leave(), slow.leave())
    await terminals.close_all()


async def test_what_comes_in_many_small_pieces_arrives_whole_and_in_few_messages(
    gotty: FakeGotty, terminals: Terminals
):
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    lines = [b"%05d the quick brown fox\r\n" % line for line in range(3000)]
    for line in lines:
        await gotty.write(line)
    await viewer.until(lambda: len(viewer.screen) == sum(map(len, lines)))
    assert viewer.screen == b"".join(lines)
    assert len(viewer.messages) < len(lines) / 5
    await viewer.leave()


async def test_a_key_is_answered_at_once_even_while_output_is_gathered(gotty: FakeGotty):
    terminals = Terminals(patience=QUICK, limits=Limits(coalesce=60.0))
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    await gotty.write(b"first ")
    await viewer.until(lambda: viewer.screen == b"first ")
    await gotty.write(b"second ")
    await gotty.write(b"third ")
    await asyncio.sleep(0.1)
    assert viewer.screen == b"first ", "what nobody asked for waits for more"
    viewer.say(b"x")
    await gotty.until(lambda: gotty.typed == "x")
    await gotty.write(b"\x1b]2;cities\x07answer")
    await viewer.until(lambda: viewer.screen == b"first second third \x1b]2;cities\x07answer")
    viewer.say(b"y")
    await gotty.until(lambda: gotty.typed == "xy")
    await gotty.write(b"\x1b]2;towns\x07")
    assert (await viewer.until_told("title", 2))["text"] == "towns", "it is looked at, though it was sent before"
    await viewer.leave()
    await terminals.close_all()


async def test_a_key_that_draws_a_page_is_answered_by_one_message(gotty: FakeGotty):
    """As VisiData does: it moves its hidden cursor, then draws, which takes GoTTY some frames, then moves it again."""
    terminals = Terminals(patience=QUICK, limits=Limits(coalesce=0.5))
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    await gotty.write(b"\x1b[?1049h\x1b[?25l\x1b[?1h\x1b=first")
    await viewer.until(lambda: viewer.screen.endswith(b"first"))
    before, drawn = len(viewer.messages), viewer.screen
    for page in (b"x", b"y"):
        viewer.say(page)
        await gotty.until(lambda page=page: gotty.typed.endswith(page.decode()))
        await gotty.write(b"\x1b[50;200H")
        await asyncio.sleep(0.02)
        for size in (1021, 1021, 361):
            await gotty.write(page * size)
        drawn += b"\x1b[50;200H" + page * 2403
        await viewer.until(lambda drawn=drawn: len(viewer.screen) >= len(drawn))
        await gotty.write(b"\x1b[50;200H\x1b[1;132H\x1b[?1h\x1b=\r")
        await asyncio.sleep(0.02)
        assert viewer.screen == drawn
        drawn += b"\x1b[50;200H\x1b[1;132H\x1b[?1h\x1b=\r"
    await asyncio.sleep(0.8)
    assert len(viewer.messages) - before == 2
    await viewer.leave()
    await terminals.close_all()


async def test_a_page_that_acknowledges_nothing_more_holds_the_program_back(gotty: FakeGotty):
    terminals = Terminals(patience=QUICK, limits=Limits(high=20_000, low=10_000, skip=200_000))
    viewer = FakeViewer(terminals, target(gotty))
    viewer.say({"type": "ack", "bytes": 0})
    await viewer.until_told("hello")
    total = 40 * 1024 * 1024
    written = 0

    async def flood() -> None:
        nonlocal written
        while written < total:
            await gotty.write(b"x" * 30_000)
            written += 30_000

    writing = asyncio.create_task(flood())
    done, _ = await asyncio.wait({writing}, timeout=1.0)
    assert not done, "the program waits"
    assert len(viewer.screen) <= 20_000 + 64 * 1024
    held, before = written, len(viewer.screen)
    viewer.say({"type": "ack", "bytes": before})
    await viewer.until(lambda: len(viewer.screen) > before)
    assert held < total / 2
    writing.cancel()
    await viewer.leave()
    await terminals.close_all()


async def test_who_comes_to_watch_when_nobody_else_is_there_sees_the_program(gotty: FakeGotty, terminals: Terminals):
    gotty.on_resize = lambda: b"drawn anew "
    watcher = FakeViewer(terminals, target(gotty), mode="watch")
    hello = await watcher.until_told("hello")
    await gotty.write(b"something")
    await watcher.until(lambda: b"something" in watcher.screen)
    later = FakeViewer(terminals, target(gotty), mode="watch")
    await later.until(lambda: b"drawn anew" in later.screen)
    await gotty.until(lambda: gotty.sizes[-1:] == [(hello["cols"], hello["rows"])])
    await asyncio.gather(watcher.leave(), later.leave())


async def test_ctrl_c_shows_soon_though_a_flood_is_still_on_its_way_to_a_slow_line(gotty: FakeGotty):
    terminals = Terminals(patience=QUICK, limits=Limits(high=20_000, low=10_000, highest=20_000))
    viewer = FakeViewer(terminals, target(gotty))
    viewer.say({"type": "ack", "bytes": 0})
    await viewer.until_told("hello")

    async def flood() -> None:
        while "\x03" not in gotty.typed:
            await gotty.write(b"0123456789\r\n" * 1000)
        await gotty.write(b"^C\r\n$ ")

    writing = asyncio.create_task(flood())
    done, _ = await asyncio.wait({writing}, timeout=0.5)
    assert not done, "the program waits"
    viewer.say(b"\x03")
    await writing
    viewer.say({"type": "ack", "bytes": len(viewer.screen)})  # It has taken what it had been sent.
    await viewer.until(lambda: viewer.screen.endswith(b"^C\r\n$ "))
    assert len(viewer.screen) < 120_000
    await viewer.leave()
    await terminals.close_all()


async def test_typing_into_a_program_that_takes_none_is_bounded_and_said(gotty: FakeGotty, terminals: Terminals):
    gotty.deaf = True
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    for _ in range(1000):
        if viewer.closed:
            break
        viewer.say(b"x" * 60_000)
        await asyncio.sleep(0)
    assert (await viewer.until_closed())[0] == 1013
    assert viewer.notices[-1]["reason"] == "input_stuck"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"x" * 65_537, 1009),
        ("{", 1008),
        ('{"type":"resize","cols":0,"rows":1}', 1008),
        ('{"type":"ack","bytes":9}', 1008),
    ],
)
async def test_a_viewer_that_breaks_the_rules_is_closed_and_nobody_else(
    gotty: FakeGotty, terminals: Terminals, message: bytes | str, code: int
):
    good, bad = FakeViewer(terminals, target(gotty)), FakeViewer(terminals, target(gotty))
    await bad.until_told("hello")
    bad.say(message)
    assert (await bad.until_closed())[0] == code
    await gotty.write(b"fine")
    await good.until(lambda: good.screen == b"fine")
    await good.leave()


async def test_one_session_has_a_limit_of_windows(gotty: FakeGotty, terminals: Terminals):
    viewers = [FakeViewer(terminals, target(gotty)) for _ in range(3)]
    for viewer in viewers:
        await viewer.until_told("hello")
    assert (await FakeViewer(terminals, target(gotty)).until_closed())[0] == 1013
    await viewers.pop().leave()
    again = FakeViewer(terminals, target(gotty))
    await again.until_told("hello")
    await asyncio.gather(*(viewer.leave() for viewer in [*viewers, again]))


async def test_a_viewer_whose_request_is_cancelled_leaves_nothing_behind(gotty: FakeGotty, terminals: Terminals):
    viewer = FakeViewer(terminals, target(gotty))
    await viewer.until_told("hello")
    before = asyncio.all_tasks()
    viewer.task.cancel()
    await asyncio.gather(viewer.task, return_exceptions=True)
    assert terminals.viewers("s1") == 0
    assert viewer.closed is not None
    assert not [task for task in asyncio.all_tasks() & before if task.get_name().startswith("viewer")]


async def test_a_gotty_client_attaches_to_a_session_as_to_gotty(gotty: FakeGotty, terminals: Terminals):
    viewer = FakeViewer(terminals, target(gotty), protocol="webtty")
    viewer.say('{"Arguments":"","AuthToken":""}')
    await viewer.until(lambda: viewer.texts[:2] == ["3VisiData", "665536"])
    viewer.say('3{"columns":90,"rows":20}')
    viewer.say("1j")
    await gotty.until(lambda: gotty.typed == "j" and gotty.sizes == [(90, 20)])
    await gotty.write(b"hi")
    await viewer.until(lambda: viewer.texts[-1] == "1aGk=")
    viewer.say("2")
    await viewer.until(lambda: viewer.texts[-1] == "2")
    await viewer.leave()


@pytest.mark.parametrize(("opens", "told"), [((), ""), (("sample", "a b.csv"), "?arg=sample&arg=a+b.csv")])
async def test_a_run_is_told_what_its_session_opens_and_never_what_a_viewer_asks_for(
    gotty: FakeGotty, terminals: Terminals, opens: tuple[str, ...], told: str
):
    viewer = FakeViewer(terminals, dataclasses.replace(target(gotty), arguments=opens), protocol="webtty")
    viewer.say('{"Arguments":"?arg=file&arg=%2Fetc%2Fpasswd","AuthToken":""}')
    await gotty.until(lambda: gotty.openings != [])
    assert [opening["Arguments"] for opening in gotty.openings] == [told]
    await viewer.leave()


@pytest.mark.parametrize("first", ["1j", None])
async def test_a_gotty_client_that_does_not_introduce_itself_is_closed(
    gotty: FakeGotty, terminals: Terminals, first: str | None
):
    viewer = FakeViewer(terminals, target(gotty), protocol="webtty")
    if first is not None:
        viewer.say(first)
    assert (await viewer.until_closed())[0] == 1008
    assert gotty.openings == []
