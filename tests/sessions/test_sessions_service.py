"""What people may do with sessions, on a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.accounts.service import Accounts
from app.db.tables import Session as Row
from app.errors import BadInput, LimitReached, NotFound
from app.runtimes.base import Reason, Source
from app.sessions.models import Session
from app.sessions.service import ID_ALPHABET, Sessions
from app.sessions.state import State, Wanted
from app.settings import Settings

PENGUINS = Source("sample", "penguins.csv")


@pytest.fixture
async def bob(accounts: Accounts) -> UUID:
    return (await accounts.add("bob@example.org")).id


async def make(sessions: Sessions, user_id: UUID, name: str = "Penguins", **how: Any) -> Session:
    return await sessions.create(user_id, guest=False, name=name, source=PENGUINS, **how)


async def observe(session: Session, state: State, **more: Any) -> None:
    """What a manager would write: the state of the run."""
    values: dict[Any, Any] = {"state": state.value, **more}
    await Row.update(values, force=True).where(Row.id == session.id)


async def test_a_new_session_is_to_run_and_is_the_first_of_the_list(sessions: Sessions, ada: UUID) -> None:
    first, second = await make(sessions, ada, "One"), await make(sessions, ada, "Two")
    assert (second.wanted, second.state, second.shown) == (Wanted.RUNNING, State.STOPPED, State.STARTING)
    assert second.source == PENGUINS
    assert [session.id for session in await sessions.list(ada)] == [second.id, first.id]
    assert set(first.id) <= set(ID_ALPHABET)
    assert len(first.id) == 12


async def test_of_many_created_at_once_no_more_than_the_limit_come_to_be(
    make_settings: Callable[..., Settings], ada: UUID
) -> None:
    sessions = Sessions(make_settings(sessions_per_user=3))
    made = await asyncio.gather(*(make(sessions, ada) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(one, Session) for one in made) == 3
    assert sum(isinstance(one, LimitReached) for one in made) == 17
    assert len(await sessions.list(ada)) == 3


async def test_a_guest_has_a_limit_of_their_own(make_settings: Callable[..., Settings], ada: UUID) -> None:
    sessions = Sessions(make_settings(sessions_per_user=5, guest_sessions=1))
    await sessions.create(ada, guest=True, name="One", source=Source())
    with pytest.raises(LimitReached, match="You have 1 session"):
        await sessions.create(ada, guest=True, name="Two", source=Source())


async def test_who_has_as_many_as_they_may_can_delete_one_and_go_on(
    make_settings: Callable[..., Settings], ada: UUID, bob: UUID
) -> None:
    sessions = Sessions(make_settings(sessions_per_user=1))
    first = await make(sessions, ada)
    with pytest.raises(LimitReached):
        await make(sessions, ada)
    await make(sessions, bob)  # The limit is each person's own.
    await sessions.delete(ada, first.id)
    await make(sessions, ada)


async def test_a_form_that_is_sent_twice_makes_one_session(sessions: Sessions, ada: UUID, bob: UUID) -> None:
    made = await asyncio.gather(*(make(sessions, ada, form_key="key") for _ in range(5)))
    assert len({session.id for session in made}) == 1
    assert len(await sessions.list(ada)) == 1
    assert (await make(sessions, bob, form_key="key")).id != made[0].id
    assert (await make(sessions, ada, form_key="another")).id != made[0].id


async def test_a_form_that_says_something_else_or_whose_session_was_deleted_makes_a_new_one(
    sessions: Sessions, ada: UUID
) -> None:
    """As after the browser's Back: the person sees the form again, changes it or not, and sends it."""
    first = await make(sessions, ada, form_key="key")
    other = await sessions.create(ada, guest=False, name="Penguins", source=Source(), form_key="key")
    assert (other.id, other.source.value) != (first.id, first.source.value)
    assert (await make(sessions, ada, form_key="key", name="Another")).id not in (first.id, other.id)
    await sessions.delete(ada, first.id)  # It is still to be stopped.
    again = [await make(sessions, ada, form_key="key") for _ in range(2)]
    assert again[0].id == again[1].id != first.id
    assert again[0].wanted == "running"


async def test_a_session_of_nobody_cannot_be_made(sessions: Sessions, database: object) -> None:
    with pytest.raises(NotFound):
        await make(sessions, uuid4())


ON_ONE: dict[str, Callable[[Sessions, UUID, str], Awaitable[Session]]] = {
    "get": lambda sessions, user, session: sessions.get(user, session),
    "rename": lambda sessions, user, session: sessions.rename(user, session, "Mine now"),
    "start": lambda sessions, user, session: sessions.start(user, session),
    "stop": lambda sessions, user, session: sessions.stop(user, session),
    "delete": lambda sessions, user, session: sessions.delete(user, session),
    "stay": lambda sessions, user, session: sessions.stay(user, session),
}


def test_every_call_about_one_session_is_tried_here() -> None:
    takes_user = {
        name
        for name, call in vars(Sessions).items()
        if not name.startswith("_") and getattr(call, "__annotations__", {}).keys() >= {"user_id", "session_id"}
    }
    assert takes_user == ON_ONE.keys()


@pytest.mark.parametrize("call", ON_ONE)
async def test_other_peoples_sessions_do_not_exist(sessions: Sessions, ada: UUID, bob: UUID, call: str) -> None:
    session = await make(sessions, ada)
    before = await sessions.get(ada, session.id)
    with pytest.raises(NotFound) as others:
        await ON_ONE[call](sessions, bob, session.id)
    with pytest.raises(NotFound) as missing:
        await ON_ONE[call](sessions, bob, "nosuchthing")
    assert others.value.message == missing.value.message
    assert await sessions.get(ada, session.id) == before


@pytest.mark.parametrize("call", ON_ONE)
async def test_a_deleted_session_is_gone_at_once_for_its_owner_too(sessions: Sessions, ada: UUID, call: str) -> None:
    session = await make(sessions, ada)
    await sessions.delete(ada, session.id)
    with pytest.raises(NotFound):
        await ON_ONE[call](sessions, ada, session.id)
    assert await sessions.list(ada) == []
    with pytest.raises(NotFound):
        await sessions.get_any(session.id)


async def test_stopping_and_starting_again_and_again_changes_nothing(sessions: Sessions, ada: UUID) -> None:
    session = await make(sessions, ada)
    await observe(session, State.RUNNING)
    stopped = await sessions.stop(ada, session.id)
    assert (stopped.wanted, stopped.wanted_reason) == (Wanted.STOPPED, Reason.STOPPED_BY_USER)
    await Row.update({"due_at": None}, force=True).where(Row.id == session.id)
    assert await sessions.stop(ada, session.id) == stopped
    assert await Row.select(Row.due_at).where(Row.id == session.id) == [{"due_at": None}]
    started = await sessions.start(ada, session.id)
    assert (started.wanted, started.wanted_reason) == (Wanted.RUNNING, None)
    assert await sessions.start(ada, session.id) == started


async def test_what_is_asked_for_is_due_at_once(sessions: Sessions, ada: UUID) -> None:
    session = await make(sessions, ada)
    await Row.update({"due_at": None}, force=True).where(Row.id == session.id)
    await sessions.stop(ada, session.id)
    rows = await Row.select(Row.due_at).where(Row.id == session.id)
    assert rows[0]["due_at"] <= datetime.now(UTC)


async def test_an_administrator_who_stops_it_is_the_reason(sessions: Sessions, ada: UUID) -> None:
    session = await make(sessions, ada)
    stopped = await sessions.stop_any(session.id)
    assert (stopped.wanted, stopped.wanted_reason) == (Wanted.STOPPED, Reason.STOPPED_BY_ADMIN)


async def test_an_administrator_sees_whose_each_session_is(
    sessions: Sessions, accounts: Accounts, ada: UUID, bob: UUID
) -> None:
    at_rest, running, gone = await make(sessions, ada), await make(sessions, bob), await make(sessions, bob)
    guest = (await accounts.add_guest()).id
    guests = await sessions.create(guest, guest=True, name="One", source=Source())
    await observe(running, State.RUNNING)
    await sessions.delete(bob, gone.id)
    assert [(session.id, owner) for session, owner in await sessions.list_all()] == [
        (running.id, "bob@example.org"),
        (guests.id, None),
        (at_rest.id, "ada@example.org"),
    ]


async def test_a_new_name_is_kept_and_a_bad_one_changes_nothing(sessions: Sessions, ada: UUID) -> None:
    session = await make(sessions, ada)
    assert (await sessions.rename(ada, session.id, " Whales ")).name == "Whales"
    with pytest.raises(BadInput):
        await sessions.rename(ada, session.id, "")
    assert (await sessions.get(ada, session.id)).name == "Whales"


async def test_typing_counts_as_input_where_it_runs(sessions: Sessions, ada: UUID) -> None:
    running, stopped = await make(sessions, ada), await make(sessions, ada)
    await observe(running, State.RUNNING)
    await sessions.note_input([running.id, stopped.id, "nosuchthing"])
    assert (await sessions.get(ada, running.id)).last_input_at is not None
    assert (await sessions.get(ada, stopped.id)).last_input_at is None
    await sessions.note_input([])


async def test_saying_that_one_is_there_counts_as_input(sessions: Sessions, ada: UUID) -> None:
    session = await make(sessions, ada)
    await observe(session, State.RUNNING)
    assert (await sessions.stay(ada, session.id)).last_input_at is not None


async def test_the_place_in_the_queue_counts_those_who_came_before(sessions: Sessions, ada: UUID, bob: UUID) -> None:
    now = datetime.now(UTC)
    line = [await make(sessions, user) for user in (ada, bob, ada)]
    for session in line:
        await observe(session, State.QUEUED, queued_at=now)  # The very same moment: who made theirs first decides.
    found = [await sessions.get_any(session.id) for session in line]
    positions = await sessions.queue_positions(found)
    assert [positions[session.id] for session in found] == [1, 2, 3]
    assert await sessions.queue_positions([await make(sessions, ada)]) == {}


async def test_when_somebody_goes_all_of_their_sessions_go_and_nobody_elses(
    sessions: Sessions, ada: UUID, bob: UUID
) -> None:
    await make(sessions, ada)
    await make(sessions, ada)
    kept = await make(sessions, bob)
    await sessions.delete_all(ada)
    assert await sessions.list(ada) == []
    assert [session.id for session in await sessions.list(bob)] == [kept.id]
