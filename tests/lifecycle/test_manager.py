"""The lifecycle manager on a real Postgres: whatever happens, each session ends up with exactly the run it should have."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fake import FakeRuntime, World

from app.accounts.service import Accounts
from app.aio import at_most
from app.db.database import Database
from app.db.embedded import PrivatePostgres
from app.db.tables import Session as Row
from app.errors import NotFound, RuntimeFailure
from app.factory import HAND_OVER
from app.lifecycle import queries
from app.lifecycle.manager import Manager
from app.runtimes.base import Observed, Phase, Reason, RunId, Source
from app.sessions.changes import Changes
from app.sessions.models import Session
from app.sessions.service import Sessions
from app.sessions.state import State, Wanted
from app.settings import Settings
from app.terminal.terminal import Terminals, TerminalTarget

MakeManager = Callable[..., Manager]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def make_manager(
    settings: Settings, database: Database, sessions: Sessions, world: World
) -> AsyncIterator[MakeManager]:
    """Starts managers (replicas) that share one Postgres and one world of runs."""
    made: list[Manager] = []

    def make(runtime: FakeRuntime | None = None, changed: Settings | None = None, *, start: bool = True) -> Manager:
        manager = Manager(
            changed or settings, database, runtime or FakeRuntime(world), sessions, Changes(), Terminals()
        )
        made.append(manager)
        if start:
            manager.start()
        return manager

    yield make
    for manager in made:
        await manager.close()


async def until(
    sessions: Sessions, session_id: str, holds: Callable[[Session], bool], *, within: float = 30.0
) -> Session:
    """The session, once it is as it should be."""
    session: Session | None = None
    try:
        async with asyncio.timeout(within):
            while True:
                session = await sessions.get_any(session_id)
                if holds(session):
                    return session
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it did not get there; it is {session}") from None


async def gone(sessions: Sessions, session_id: str) -> None:
    async with asyncio.timeout(10):
        while await Row.raw("SELECT 1 FROM sessions WHERE id = {}", session_id):
            await asyncio.sleep(0.01)


def running(session: Session) -> bool:
    return session.state is State.RUNNING


def at_rest(session: Session) -> bool:
    return session.state in (State.STOPPED, State.FAILED) and session.wanted is not Wanted.RUNNING


async def a_session(sessions: Sessions, user_id: UUID, name: str = "one") -> Session:
    return await sessions.create(user_id, guest=False, name=name, source=Source())


# From birth to death


async def test_a_new_session_runs(make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World) -> None:
    make_manager()
    made = await a_session(sessions, ada)
    session = await until(sessions, made.id, running)
    seen = world.runs[session.run]
    assert (session.generation, session.address, session.run_uid) == (1, seen.address, seen.uid)
    assert session.started_at is not None
    assert session.credential is not None and len(session.credential) > 60


async def test_a_session_that_was_wanted_while_no_replica_lived_runs_once_one_does(
    make_manager: MakeManager, sessions: Sessions, ada: UUID
) -> None:
    made = await a_session(sessions, ada)
    make_manager()
    await until(sessions, made.id, running)


async def test_stopping_says_who_stopped_it_and_starting_makes_a_new_run(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    make_manager()
    made = await a_session(sessions, ada)
    first = await until(sessions, made.id, running)
    await sessions.stop(ada, made.id)
    stopped = await until(sessions, made.id, at_rest)
    assert (stopped.state, stopped.reason) == (State.STOPPED, Reason.STOPPED_BY_USER)
    assert (stopped.address, stopped.credential) == (None, None)
    await sessions.start(ada, made.id)
    second = await until(sessions, made.id, running)
    assert second.generation == first.generation + 1
    assert second.reason is None
    assert world.living() == [second.run]


async def test_an_administrators_stop_is_told_as_such(make_manager: MakeManager, sessions: Sessions, ada: UUID) -> None:
    make_manager()
    made = await a_session(sessions, ada)
    await until(sessions, made.id, running)
    await sessions.stop_any(made.id)
    assert (await until(sessions, made.id, at_rest)).reason is Reason.STOPPED_BY_ADMIN


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        (Reason.QUIT, State.STOPPED),
        (Reason.CRASHED, State.FAILED),
        (Reason.OUT_OF_MEMORY, State.FAILED),
        (Reason.EVICTED, State.FAILED),
    ],
)
async def test_a_run_that_ends_by_itself_is_told_with_its_reason_and_not_started_again(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World, reason: Reason, state: State
) -> None:
    runtime = FakeRuntime(world)
    make_manager(runtime)
    made = await a_session(sessions, ada)
    session = await until(sessions, made.id, running)
    runtime.end(session.run, reason, "the last words")
    ended = await until(sessions, made.id, at_rest)
    assert (ended.state, ended.reason, ended.detail) == (state, reason, "the last words")
    async with asyncio.timeout(30):
        while world.runs:  # Its record is dropped.
            await asyncio.sleep(0.01)
    assert world.launched == 1


async def test_a_run_that_vanishes_is_lost(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    make_manager(runtime)
    made = await a_session(sessions, ada)
    session = await until(sessions, made.id, running)
    runtime.vanish(session.run)
    ended = await until(sessions, made.id, at_rest)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.LOST)


async def test_deleting_ends_the_run_and_drops_the_row(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    make_manager()
    made = await a_session(sessions, ada)
    await until(sessions, made.id, running)
    await sessions.delete(ada, made.id)
    with pytest.raises(NotFound):
        await sessions.get(ada, made.id)
    await gone(sessions, made.id)
    assert world.living() == []


async def test_each_start_stop_end_and_deletion_is_one_line_of_the_log_with_ids_and_reason(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hub.lifecycle")
    runtime = FakeRuntime(world)
    make_manager(runtime)
    made = await a_session(sessions, ada, "A secret name")
    await until(sessions, made.id, running)
    await sessions.stop(ada, made.id)
    await until(sessions, made.id, at_rest)
    await sessions.start(ada, made.id)
    second = await until(sessions, made.id, running)
    runtime.end(second.run, Reason.CRASHED)
    await until(sessions, made.id, at_rest)
    await sessions.delete(ada, made.id)
    await gone(sessions, made.id)
    lines = [record.message for record in caplog.records if record.levelno == logging.INFO]
    assert lines == [
        f"session {made.id} {what} (run {made.id}-{generation}, user {ada})"
        for generation, what in [
            (1, "started"),
            (1, "stopping: stopped_by_user"),
            (1, "stopped: stopped_by_user"),
            (2, "started"),
            (2, "failed: crashed"),
            (2, "deleted: stopped_by_user"),
        ]
    ]
    assert "secret name" not in caplog.text


# Stop works in every state, and start never waits for long


async def test_a_start_that_hangs_can_be_stopped(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    runtime.hold()
    make_manager(runtime)
    made = await a_session(sessions, ada)
    await until(sessions, made.id, lambda session: session.state is State.STARTING and session.detail == "Held")
    await sessions.stop(ada, made.id)
    ended = await until(sessions, made.id, at_rest)
    assert (ended.state, ended.reason) == (State.STOPPED, Reason.STOPPED_BY_USER)
    assert world.living() == []


async def test_a_session_in_the_queue_can_be_stopped(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, make_settings: Callable[..., Settings], world: World
) -> None:
    make_manager(changed=make_settings(max_runs=0))
    made = await a_session(sessions, ada)
    await until(sessions, made.id, lambda session: session.state is State.QUEUED)
    await sessions.stop(ada, made.id)
    await until(sessions, made.id, at_rest)
    assert world.launched == 0


async def test_a_program_that_will_not_end_stays_stopping_and_ends_when_it_does(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    make_manager(runtime)
    made = await a_session(sessions, ada)
    session = await until(sessions, made.id, running)
    runtime.stubborn = True
    await sessions.stop(ada, made.id)
    await until(sessions, made.id, lambda session: session.state is State.STOPPING)
    runtime.stubborn = False
    runtime.end(session.run, Reason.CRASHED)
    assert (await until(sessions, made.id, at_rest)).reason is Reason.STOPPED_BY_USER


async def test_started_again_while_it_stops_it_runs_again_in_a_new_run(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    make_manager(runtime)
    made = await a_session(sessions, ada)
    first = await until(sessions, made.id, running)
    runtime.stubborn = True
    await sessions.stop(ada, made.id)
    await until(sessions, made.id, lambda session: session.state is State.STOPPING)
    await sessions.start(ada, made.id)
    runtime.stubborn = False
    runtime.end(first.run, Reason.QUIT)
    second = await until(sessions, made.id, running)
    assert second.generation == first.generation + 1
    assert world.living() == [second.run]


# Starts that go wrong


async def time_is_up(manager: Manager, session_id: str) -> None:
    """As if the session's start had begun long ago."""
    await Row.raw(
        """UPDATE sessions SET launched_at = launched_at - interval '1 hour',
             counted_from = counted_from - interval '1 hour', due_at = now() WHERE id = {}""",
        session_id,
    )
    manager.wake()


async def test_a_start_that_takes_too_long_fails_says_so_and_leaves_nothing(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    runtime.hold()
    manager = make_manager(runtime)
    made = await a_session(sessions, ada)
    await until(sessions, made.id, lambda session: "Held" in session.detail)
    await time_is_up(manager, made.id)
    ended = await until(sessions, made.id, at_rest)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.START_TIMEOUT)
    assert "Held" in ended.detail
    assert world.living() == []


async def looked_at(session_id: str) -> None:
    """A manager has looked at the session since it was due."""
    async with asyncio.timeout(30):
        while await Row.raw("SELECT 1 FROM sessions WHERE id = {} AND (due_at <= now() OR lease_by <> '')", session_id):
            await asyncio.sleep(0.01)


async def test_a_start_that_waits_for_the_cluster_has_a_limit_of_its_own_and_its_full_time_after_that(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, make_settings: Callable[..., Settings], world: World
) -> None:
    """No machine has room, or the image is being fetched: an autoscaler and a first pull take minutes."""
    runtime = FakeRuntime(world)
    runtime.hold(waits=True)
    manager = make_manager(runtime, make_settings(k8s_scheduling_timeout=timedelta(hours=2)))
    made = await a_session(sessions, ada)
    session = await until(sessions, made.id, lambda session: session.start_waits)
    await time_is_up(manager, made.id)
    await looked_at(made.id)
    assert (await sessions.get_any(made.id)).state is State.STARTING
    begun = replace(world.runs[session.run], waits=False, detail="Starting VisiData")
    world.put(begun)
    await until(sessions, made.id, lambda session: session.detail == "Starting VisiData")
    await looked_at(made.id)
    assert (await sessions.get_any(made.id)).state is State.STARTING
    runtime.let_go()
    await until(sessions, made.id, running)


async def test_a_cluster_that_stays_full_is_told_when_the_wait_is_over(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    runtime.hold(waits=True)
    manager = make_manager(runtime)
    made = await a_session(sessions, ada)
    session = await until(sessions, made.id, lambda session: session.start_waits)
    world.put(replace(world.runs[session.run], reason=Reason.NO_ROOM, detail="No machine has room for it yet"))
    await until(sessions, made.id, lambda session: "No machine" in session.detail)
    await time_is_up(manager, made.id)
    ended = await until(sessions, made.id, at_rest)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NO_ROOM)
    assert "No machine has room" in ended.detail
    assert world.living() == []


async def test_the_time_that_the_cluster_is_away_does_not_count_for_a_start(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    runtime.hold()
    manager = make_manager(runtime)
    made = await a_session(sessions, ada)
    await until(sessions, made.id, lambda session: "Held" in session.detail)
    runtime.away = True
    await time_is_up(manager, made.id)
    await looked_at(made.id)
    runtime.away = False  # It is back, and has not said yet that the run is ready.
    await Row.raw("UPDATE sessions SET due_at = now() WHERE id = {}", made.id)
    manager.wake()
    await looked_at(made.id)
    assert (await sessions.get_any(made.id)).state is State.STARTING
    runtime.let_go()
    await until(sessions, made.id, running)


async def test_a_start_that_could_not_be_asked_for_is_asked_for_once_the_cluster_is_back(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    runtime.fail(RuntimeFailure("The cluster does not answer just now.", reason=Reason.LOST, retry=True))
    manager = make_manager(runtime, start=False)
    made = await a_session(sessions, ada)
    await queries.admit(10)
    await Row.raw("UPDATE sessions SET launched_at = now() - interval '1 hour'")  # No replica was there for an hour.
    manager.start()
    await until(sessions, made.id, running)
    assert world.launched == 1


async def test_a_refusal_is_shown_at_once_in_its_own_words(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    runtime.fail(RuntimeFailure("The image is not on the list.", reason=Reason.REFUSED))
    make_manager(runtime)
    made = await a_session(sessions, ada)
    ended = await until(sessions, made.id, at_rest)
    assert (ended.state, ended.reason, ended.detail) == (
        State.FAILED,
        Reason.REFUSED,
        "The image is not on the list.",
    )


async def test_a_start_is_not_given_up_before_one_direct_look(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    runtime.hold()
    runtime.deaf = True  # It runs, and nobody hears of it.
    manager = make_manager(runtime)
    made = await a_session(sessions, ada)
    await until(sessions, made.id, lambda session: session.run_uid is not None)
    runtime.let_go()
    await time_is_up(manager, made.id)
    assert (await until(sessions, made.id, lambda session: session.state is not State.STARTING)).state is State.RUNNING


async def test_what_may_pass_is_tried_again(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    runtime.fail(*[RuntimeFailure("Not just now.", reason=Reason.NO_ROOM, retry=True)] * 2)
    make_manager(runtime)
    made = await a_session(sessions, ada)
    await until(sessions, made.id, lambda session: session.detail == "Not just now.")
    await until(sessions, made.id, running)
    assert world.launched == 1


# The queue


async def test_more_sessions_than_room_wait_in_a_fair_line(
    make_manager: MakeManager,
    sessions: Sessions,
    accounts: Accounts,
    ada: UUID,
    make_settings: Callable[..., Settings],
) -> None:
    """Round robin over users: somebody with many sessions does not keep out somebody with one."""
    bob = (await accounts.add("bob@example.org")).id
    make_manager(changed=make_settings(max_runs=1))
    first = await a_session(sessions, ada, "first")
    await until(sessions, first.id, running)
    waiting = [await a_session(sessions, ada, f"a{number}") for number in range(3)]
    for one in waiting:
        await until(sessions, one.id, lambda session: session.state is State.QUEUED)
    his = await a_session(sessions, bob, "his")
    queued = await until(sessions, his.id, lambda session: session.state is State.QUEUED)
    positions = await sessions.queue_positions([queued, await sessions.get_any(waiting[2].id)])
    assert positions == {his.id: 1, waiting[2].id: 4}, "she has been served already, he has not"
    await sessions.stop(ada, first.id)
    await until(sessions, his.id, running)
    again = await a_session(sessions, bob, "again")
    await until(sessions, again.id, lambda session: session.state is State.QUEUED)
    await sessions.stop(bob, his.id)
    await until(sessions, waiting[0].id, running)
    await sessions.stop(ada, waiting[0].id)
    await until(sessions, again.id, running)


# Deadlines


async def test_where_the_runtime_has_no_room_sessions_wait_in_line_and_run_once_others_end(
    make_manager: MakeManager, sessions: Sessions, accounts: Accounts, ada: UUID, world: World
) -> None:
    bob = (await accounts.add("bob@example.org")).id
    runtime = FakeRuntime(world)
    make_manager(runtime)
    first = await a_session(sessions, ada)
    await until(sessions, first.id, running)
    runtime.room = 1
    waiting = [await a_session(sessions, user) for user in (ada, bob, ada)]
    put_back = await until(sessions, waiting[0].id, lambda session: session.put_back_at is not None)
    assert "no room" in put_back.detail
    for made in waiting:
        await until(sessions, made.id, lambda session: session.state is State.QUEUED)
    line = await sessions.queue_positions([await sessions.get_any(made.id) for made in waiting])
    assert [line[made.id] for made in waiting] == [2, 1, 3], "bob has had nothing yet"
    asked = runtime.asked
    await sessions.stop(ada, first.id)
    await until(sessions, waiting[1].id, running, within=3)  # As soon as there is room again, and its turn.
    assert runtime.asked - asked <= 2, "one at a time is tried, not the whole line"
    runtime.room = None
    for made in waiting:
        await until(sessions, made.id, running, within=15)
    assert len(world.living()) == 3


async def test_a_session_without_room_can_be_stopped(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    runtime.room = 0
    make_manager(runtime)
    made = await a_session(sessions, ada)
    await until(sessions, made.id, lambda session: session.put_back_at is not None)
    await sessions.stop(ada, made.id)
    ended = await until(sessions, made.id, at_rest)
    assert (ended.state, ended.reason) == (State.STOPPED, Reason.STOPPED_BY_USER)


async def test_no_more_sessions_start_in_a_while_than_the_pace_allows(
    sessions: Sessions, accounts: Accounts, ada: UUID
) -> None:
    bob = (await accounts.add("bob@example.org")).id
    for number in range(5):
        await a_session(sessions, (ada, bob)[number % 2])
    started = await queries.admit(100, per_minute=20)
    _, waiting = await queries.live_and_waiting()
    assert (len(started), waiting) == (2, 3), "20 a minute are 2 in 6 s"
    assert {session.user_id for session in started} == {ada, bob}
    started = await queries.admit(100, per_minute=20)
    _, waiting = await queries.live_and_waiting()
    assert (len(started), waiting) == (0, 3)
    await Row.raw("UPDATE sessions SET launched_at = launched_at - interval '7 seconds'")
    started = await queries.admit(100, per_minute=20)
    _, waiting = await queries.live_and_waiting()
    assert (len(started), waiting) == (2, 1)


async def test_a_duty_is_one_replicas_until_it_leaves_or_is_gone_for_long(database: Database) -> None:
    minute = timedelta(minutes=1)
    assert await queries.hold("pool", "one", minute)
    assert await queries.hold("pool", "one", minute)
    assert not await queries.hold("pool", "two", minute)
    await queries.release_all("one")
    assert await queries.hold("pool", "two", timedelta(0))
    assert await queries.hold("pool", "one", minute)


async def test_an_address_that_is_another_runs_by_now_is_not_dialled(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    manager = make_manager()
    made = await a_session(sessions, ada)
    session = await until(sessions, made.id, running)
    assert await manager.where(session) == session.address
    assert await manager.where(replace(session, run_uid="another")) is None
    assert await manager.where(replace(session, generation=session.generation + 1)) is None
    elsewhere = replace(world.runs[session.run], address="127.0.0.2:2")
    world.put(elsewhere)
    async with asyncio.timeout(30):
        while await manager.where(session) != elsewhere.address:
            await asyncio.sleep(0.01)


async def test_without_input_a_session_is_stopped_as_idle_and_input_keeps_it(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, make_settings: Callable[..., Settings]
) -> None:
    make_manager(changed=make_settings(idle_timeout=timedelta(minutes=10), warn_before=timedelta(0)))
    quiet, busy = await a_session(sessions, ada, "quiet"), await a_session(sessions, ada, "busy")
    for one in (quiet, busy):
        await until(sessions, one.id, running)
    await Row.raw("UPDATE sessions SET started_at = now() - interval '1 hour'")
    await sessions.note_input([busy.id])
    await Row.raw("UPDATE sessions SET last_input_at = now() - interval '11 minutes' WHERE id = {}", quiet.id)
    ended = await until(sessions, quiet.id, at_rest)
    assert (ended.state, ended.reason) == (State.STOPPED, Reason.IDLE)
    assert (await sessions.get_any(busy.id)).state is State.RUNNING


async def test_a_session_may_not_run_for_ever(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, make_settings: Callable[..., Settings]
) -> None:
    make_manager(changed=make_settings(max_age=timedelta(hours=1), warn_before=timedelta(0)))
    made = await a_session(sessions, ada)
    await until(sessions, made.id, running)
    await Row.raw("UPDATE sessions SET started_at = now() - interval '2 hours', last_input_at = now()")
    assert (await until(sessions, made.id, at_rest)).reason is Reason.TOO_OLD


async def test_input_that_is_still_in_memory_is_written_before_the_replica_leaves(
    make_manager: MakeManager, sessions: Sessions, ada: UUID
) -> None:
    manager = make_manager()
    made = await a_session(sessions, ada)
    await until(sessions, made.id, running)
    manager.terminals.typed_in.add(made.id)
    await manager.close()
    assert (await sessions.get_any(made.id)).last_input_at is not None


# Orphans, both ways


async def test_a_run_that_no_session_has_is_ended_but_only_after_the_grace_time(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    orphan = RunId("nobodys", 1)
    world.runs[orphan] = Observed(orphan, Phase.RUNNING, "uid-0", address="127.0.0.1:1")
    manager = make_manager()
    made = await a_session(sessions, ada)
    mine = await until(sessions, made.id, running)
    await manager.sweep(grace=60)
    assert orphan in world.living()
    await manager.sweep(grace=0)
    assert world.living() == [mine.run]
    await manager.sweep(grace=0)
    assert orphan not in world.runs, "its record stayed"


async def test_an_old_run_of_a_session_that_has_a_newer_one_is_an_orphan(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    manager = make_manager()
    made = await a_session(sessions, ada)
    mine = await until(sessions, made.id, running)
    old = RunId(made.id, 0)
    world.put(Observed(old, Phase.RUNNING, "uid-old", address="127.0.0.1:1"))
    async with asyncio.timeout(30):
        while old not in manager.seen:
            await asyncio.sleep(0.01)
    await manager.sweep(grace=0)
    assert world.living() == [mine.run]


async def test_before_the_first_full_list_nothing_is_concluded(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    """A runtime that does not answer is no reason to take anybody's session for lost."""
    first = make_manager()
    made = await a_session(sessions, ada)
    session = await until(sessions, made.id, running)
    await first.close()

    class Silent(FakeRuntime):
        async def observe(self) -> AsyncIterator[Any]:
            await asyncio.Event().wait()
            yield

    manager = make_manager(Silent(world))
    assert manager.synced is None
    await asyncio.sleep(0.5)
    assert (await sessions.get_any(made.id)).state is State.RUNNING
    assert world.living() == [session.run]


async def test_a_change_that_was_never_heard_is_found_in_the_next_full_list(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    runtime = FakeRuntime(world)
    make_manager(runtime)
    made = await a_session(sessions, ada)
    session = await until(sessions, made.id, running)
    runtime.deaf = True
    runtime.quit(session.run)
    await asyncio.sleep(0.1)
    assert (await sessions.get_any(made.id)).state is State.RUNNING
    runtime.resync()
    assert (await until(sessions, made.id, at_rest)).reason is Reason.QUIT


# Replicas


async def test_many_replicas_start_each_session_exactly_once(
    make_manager: MakeManager,
    sessions: Sessions,
    accounts: Accounts,
    world: World,
    make_settings: Callable[..., Settings],
) -> None:
    """People who start and stop at random, three replicas, a runtime that takes its time: nothing doubled, none lost."""
    chance = random.Random(7)
    people = [(await accounts.add(f"p{number}@example.org")).id for number in range(4)]
    for _ in range(3):
        runtime = FakeRuntime(world)
        runtime.latency = 0.02
        make_manager(runtime, make_settings(max_runs=30))
    made = [(person, await a_session(sessions, person)) for person in people for _ in range(8)]
    for _ in range(100):
        person, session = chance.choice(made)
        await chance.choice([sessions.start, sessions.stop])(person, session.id)
        await asyncio.sleep(0.005)
    wanted: dict[str, bool] = {}
    for number, (person, session) in enumerate(made):
        wanted[session.id] = number % 2 == 0
        await (sessions.start if wanted[session.id] else sessions.stop)(person, session.id)
    final = [
        await until(sessions, session.id, running if wanted[session.id] else at_rest, within=20) for _, session in made
    ]
    assert sorted(map(str, world.living())) == sorted(str(session.run) for session in final if running(session))
    assert max(world.started.values()) == 1, "a run was launched twice"


async def test_a_replica_that_dies_in_the_middle_of_a_start_is_taken_over(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    class Stuck(FakeRuntime):
        async def launch(self, spec: Any) -> Observed:
            await super().launch(spec)  # It did happen, and nobody was told.
            await asyncio.Event().wait()
            raise AssertionError

    dying = make_manager(Stuck(world), start=False)
    dying.lease = timedelta(seconds=1)
    dying.start()
    made = await a_session(sessions, ada)
    async with asyncio.timeout(30):
        while not world.living():
            await asyncio.sleep(0.01)
    await dying._tasks.close()  # As by SIGKILL: nothing is given back.
    make_manager()
    session = await until(sessions, made.id, running)
    assert world.started[session.run] == 1


async def test_a_replica_that_leaves_gives_its_work_back_at_once(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    class Slow(FakeRuntime):
        async def launch(self, spec: Any) -> Observed:
            await asyncio.sleep(60)
            raise AssertionError

    leaving = make_manager(Slow(world))
    made = await a_session(sessions, ada)
    await until(sessions, made.id, lambda session: session.state is State.STARTING)
    await asyncio.sleep(0.1)
    other = make_manager()
    with other.changes.subscribe(ada) as changes:
        assert await changes.wait(30) == {""}  # It listens now.
        await leaving.hand_over()
        assert await changes.wait(20) == {made.id}, "the other is told, and need not find it by its poll"
    session = await until(sessions, made.id, running)
    assert session.attempts == 0, "work that is broken off has not failed"


async def test_a_replica_that_leaves_releases_its_leases_although_one_of_its_tasks_does_not_end(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    released = asyncio.Event()

    class Stubborn(FakeRuntime):
        async def launch(self, spec: Any) -> Observed:
            while not released.is_set():  # As a client library that waits for its server's answer.
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()
            raise RuntimeFailure("Too late.", reason=Reason.LOST, retry=True)

    leaving = make_manager(Stubborn(world))
    made = await a_session(sessions, ada)
    await until(sessions, made.id, lambda session: session.state is State.STARTING)
    await Row.raw("SELECT 1")
    async with asyncio.timeout(30):
        while not await Row.exists().where(Row.lease_by == leaving.replica):
            await asyncio.sleep(0.01)
    await at_most(HAND_OVER, leaving.hand_over())
    assert not await Row.exists().where(Row.lease_by == leaving.replica)
    make_manager()
    session = await until(sessions, made.id, running, within=10)  # A lease would have to run out: 30 s.
    released.set()
    assert world.started[session.run] == 1


async def test_a_viewer_that_takes_nothing_delays_nobody_elses_news(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    manager = make_manager()
    stuck, other = [await a_session(sessions, ada, name) for name in ("stuck", "other")]
    for made in (stuck, other):
        await until(sessions, made.id, running)

    class FullSink:
        writable = False

        def send(self, message: object) -> None:
            """Takes nothing."""

    target = TerminalTarget(stuck.id, 1, "127.0.0.1:1", "user:secret")
    attachment = manager.terminals.attach(target, FullSink())
    with manager.changes.subscribe(ada) as changes:
        await sessions.stop(ada, stuck.id)
        await until(sessions, stuck.id, at_rest)
        await sessions.rename(ada, other.id, "renamed")
        heard: set[str] = set()
        async with asyncio.timeout(30):
            while other.id not in heard:
                heard |= await changes.wait(1)
        assert not attachment.over.done(), "the news came before it was given up"
        await attachment.over
    attachment.leave()


async def test_a_notification_that_is_lost_delays_and_loses_nothing(
    make_manager: MakeManager, sessions: Sessions, ada: UUID
) -> None:
    manager = make_manager(start=False)

    async def deaf() -> None:
        await asyncio.Event().wait()

    manager._hear = deaf  # type: ignore[method-assign]
    manager.start()
    await asyncio.sleep(0.2)
    made = await a_session(sessions, ada)
    await until(sessions, made.id, running, within=30)


async def test_what_one_replica_does_the_listeners_of_another_hear(
    make_manager: MakeManager, sessions: Sessions, ada: UUID
) -> None:
    make_manager()
    other = make_manager()
    with other.changes.subscribe(ada) as changes:
        made = await a_session(sessions, ada)
        heard: set[str] = set()
        async with asyncio.timeout(30):
            while made.id not in heard:
                heard |= await changes.wait(1)


# Guests


async def test_a_guest_who_has_gone_goes_with_all_that_was_theirs(
    make_manager: MakeManager, sessions: Sessions, accounts: Accounts, database: Database, world: World
) -> None:
    manager = make_manager()
    guest = await accounts.add_guest()
    made = await sessions.create(guest.id, guest=True, name="mine", source=Source())
    await until(sessions, made.id, running)
    await manager.keep_house()
    assert str(guest.id) in world.homes
    await Row.raw("UPDATE users SET seen_at = now() - interval '2 days'")
    await manager.keep_house()
    await gone(sessions, made.id)
    await manager.keep_house()
    assert await Row.raw("SELECT 1 FROM users WHERE id = {}", guest.id) == []
    assert (world.living(), world.homes) == ([], set())


async def test_a_guest_who_types_is_there_although_no_page_was_opened(
    make_manager: MakeManager, sessions: Sessions, accounts: Accounts
) -> None:
    manager = make_manager()
    guest = await accounts.add_guest()
    made = await sessions.create(guest.id, guest=True, name="mine", source=Source())
    await until(sessions, made.id, running)
    await Row.raw("UPDATE users SET seen_at = now() - interval '2 days'")
    await sessions.note_input([made.id])
    await manager.keep_house()
    assert (await sessions.get_any(made.id)).wanted is Wanted.RUNNING


# Postgres


async def test_postgres_restarted_in_the_middle_of_starts_and_stops_loses_nothing(
    tmp_path: Path, make_settings: Callable[..., Settings], world: World
) -> None:
    server = PrivatePostgres(tmp_path)
    url = await asyncio.to_thread(server.start)
    settings = make_settings(database_url=url)
    database = Database(settings)
    await database.start()
    await database.migrate()
    sessions = Sessions(settings)
    ada = UUID(int=1)
    await Row.raw(
        "INSERT INTO users (id, email, admin, login_epoch, created_at, seen_at) VALUES ({}, 'a@b', false, 0, now(), now())",
        ada,
    )
    async with _replicas(settings, database, sessions, world, 2):
        made = [await a_session(sessions, ada, str(number)) for number in range(12)]
        await until(sessions, made[0].id, running)
        stopped = {one.id for one in made[::2]}
        for session_id in stopped:
            await sessions.stop(ada, session_id)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.3)
        assert await asyncio.to_thread(server.start) == url
        final = [
            await _patiently(lambda one=one: until(sessions, one.id, at_rest if one.id in stopped else running))  # type: ignore[misc]
            for one in made
        ]
    assert sorted(map(str, world.living())) == sorted(str(one.run) for one in final if running(one))
    assert max(world.started.values()) == 1
    await database.stop()
    await asyncio.to_thread(server.stop)


async def _patiently(look: Callable[[], Awaitable[Session]]) -> Session:
    """The pool may hand out connections that the restart has cut: a page would say "try again"; here we do."""
    async with asyncio.timeout(80):
        while True:
            try:
                return await look()
            except (OSError, AssertionError) as error:
                if isinstance(error, AssertionError):
                    raise
            except Exception:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def _replicas(
    settings: Settings, database: Database, sessions: Sessions, world: World, count: int
) -> AsyncIterator[None]:
    managers = [Manager(settings, database, FakeRuntime(world), sessions, Changes(), Terminals()) for _ in range(count)]
    for manager in managers:
        manager.lease = timedelta(seconds=2)
        manager.start()
    yield
    for manager in managers:
        await manager.close()


async def test_a_private_postgres_that_is_killed_comes_back_by_itself(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    database = Database(settings)
    await database.start()
    watching = asyncio.create_task(database.watch())
    assert database.private is not None
    pid = int((tmp_path / "data" / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while True:
            try:
                await Row.raw("SELECT 1")
                break
            except Exception:  # asyncpg has many words for a lost connection.
                await asyncio.sleep(0.1)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await database.stop()


async def test_a_home_that_cannot_be_deleted_does_not_keep_the_others(
    make_manager: MakeManager, accounts: Accounts, database: Database, world: World
) -> None:
    class Stubborn(FakeRuntime):
        async def delete_home(self, user_id: str) -> None:
            if user_id == str(cursed.id):
                raise RuntimeFailure("The volume is stuck.", reason=Reason.LOST, retry=True)
            await super().delete_home(user_id)

    cursed, other = await accounts.add_guest(), await accounts.add_guest()
    for guest in (cursed, other):
        await accounts.leave(guest.id)
    manager = make_manager(Stubborn(world))
    await manager.keep_house()
    assert await Row.raw("SELECT id FROM users") == [{"id": cursed.id}]


async def test_a_run_that_moves_to_another_address_is_reached_there(
    make_manager: MakeManager, sessions: Sessions, ada: UUID, world: World
) -> None:
    make_manager()
    made = await a_session(sessions, ada)
    session = await until(sessions, made.id, running)
    world.put(replace(world.runs[session.run], address="127.0.0.1:2"))
    await until(sessions, made.id, lambda session: session.address == "127.0.0.1:2")
