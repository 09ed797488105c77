"""When a running session is stopped: shown, warned of and carried out by one rule, by Postgres's clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.db.tables import Session as Row
from app.lifecycle import queries
from app.runtimes.base import Source
from app.sessions.deadlines import LATEST_INPUT, Deadlines
from app.sessions.models import Session
from app.sessions.service import Sessions
from app.sessions.state import Wanted
from app.settings import Settings

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


class Clock:
    """One session that runs, whose past can be moved."""

    def __init__(self, settings: Settings, session: Session) -> None:
        self.deadlines = Deadlines(settings)
        self.sessions = Sessions(settings)
        self.id = session.id

    async def set(self, **ago: timedelta | None) -> None:
        """Set columns to so long ago."""
        for column, length in ago.items():
            change = f"UPDATE sessions SET {column} = now() - {{}}::interval WHERE id = {{}}"  # noqa: S608
            await Row.raw(change, length, self.id)

    async def passes(self, length: timedelta, *, watched: bool = True) -> None:
        """So much time passes, in which a Hub watches the deadlines or not."""
        await Row.raw(
            """UPDATE sessions SET started_at = started_at - {}::interval, last_input_at = last_input_at - {}::interval,
                 warned_at = warned_at - {}::interval, warned_for = warned_for - {}::interval,
                 warning_renewed_at = warning_renewed_at - {}::interval""",
            *[length] * 4,
            timedelta(0) if watched else length,
        )

    async def look(self) -> Session:
        """What a Hub does every few seconds; the session after it."""
        await queries.warn_and_stop(self.deadlines, may_stop=True)
        return await self.sessions.get_any(self.id)

    async def now(self) -> datetime:
        moment: datetime = (await Row.raw("SELECT now() AS now"))[0]["now"]
        return moment


@pytest.fixture
async def clock(make_settings: Callable[..., Settings], ada: UUID) -> Clock:
    settings = make_settings(idle_timeout=8 * HOUR, max_age=24 * HOUR, warn_before=5 * MINUTE)
    made = await Sessions(settings).create(ada, guest=False, name="one", source=Source())
    await Row.raw("UPDATE sessions SET state = 'running', started_at = now()")
    return Clock(settings, made)


def stopped(session: Session) -> bool:
    return session.wanted is Wanted.STOPPED


async def test_it_stops_when_nobody_types_or_when_it_is_too_old_whichever_is_first(clock: Clock) -> None:
    cases: list[tuple[dict[str, Any], timedelta, str]] = [
        ({"started_at": HOUR, "last_input_at": None}, 7 * HOUR + LATEST_INPUT, "idle"),
        ({"started_at": 10 * HOUR, "last_input_at": HOUR}, 7 * HOUR + LATEST_INPUT, "idle"),
        ({"started_at": 20 * HOUR, "last_input_at": HOUR}, 4 * HOUR, "too_old"),
        # Where both are due at once, input would not keep it.
        ({"started_at": 20 * HOUR, "last_input_at": 4 * HOUR + LATEST_INPUT}, 4 * HOUR, "too_old"),
    ]
    for columns, left, why in cases:
        await clock.set(**columns)
        session = await clock.sessions.get_any(clock.id)
        assert session.stops_at is not None
        assert abs(session.stops_at - await clock.now() - left) < 20 * SECOND, columns
        assert (session.stops_why, session.ends_soon) == (why, False)


async def test_what_does_not_run_or_is_to_stop_has_no_time_to_stop_at(clock: Clock) -> None:
    for change in ("state = 'starting'", "state = 'stopped'", "state = 'running', wanted = 'stopped'"):
        await Row.raw(f"UPDATE sessions SET {change}")  # noqa: S608
        session = await clock.sessions.get_any(clock.id)
        assert (session.stops_at, session.stops_why, session.ends_soon) == (None, "", False)


async def test_the_warning_is_shown_for_its_whole_time_before_the_stop_that_was_shown(clock: Clock) -> None:
    await clock.set(started_at=7 * HOUR + 50 * MINUTE)
    assert not (await clock.look()).ends_soon
    await clock.passes(5 * MINUTE)
    warned = await clock.look()
    assert warned.ends_soon
    assert warned.stops_at is not None
    left = warned.stops_at - await clock.now()
    assert abs(left - 5 * MINUTE - LATEST_INPUT) < 20 * SECOND
    await clock.passes(left - 30 * SECOND)
    assert not stopped(await clock.look())
    await clock.passes(31 * SECOND)
    ended = await clock.look()
    assert (stopped(ended), ended.wanted_reason) == (True, "idle")


@pytest.mark.parametrize("warned", [False, True])
async def test_a_deadline_that_passed_while_no_hub_watched_is_warned_of_first(clock: Clock, warned: bool) -> None:
    """After an outage, or in the morning on a laptop that slept."""
    await clock.set(started_at=8 * HOUR - MINUTE if warned else HOUR)
    assert (await clock.look()).ends_soon is warned
    await clock.passes(9 * HOUR, watched=False)
    # What was on its way when the machine fell asleep stops nothing either.
    await Row.raw(clock.deadlines.stop)
    session = await clock.look()
    assert not stopped(session)
    assert session.ends_soon
    assert session.stops_at is not None
    assert session.stops_at - await clock.now() >= 5 * MINUTE
    await clock.passes(5 * MINUTE - 20 * SECOND)
    assert not stopped(await clock.look())
    await clock.passes(40 * SECOND)
    assert stopped(await clock.look())


async def test_input_withdraws_the_warning_and_the_next_one_is_shown_in_full(clock: Clock) -> None:
    await clock.set(started_at=8 * HOUR - MINUTE)
    assert (await clock.look()).ends_soon
    await clock.passes(4 * MINUTE)
    await clock.sessions.note_input([clock.id])
    assert not (await clock.look()).ends_soon
    await clock.passes(8 * HOUR, watched=False)
    again = await clock.look()
    assert again.ends_soon
    assert not stopped(again)


async def test_a_short_limit_still_leaves_time_for_the_warning(
    make_settings: Callable[..., Settings], clock: Clock
) -> None:
    short = Deadlines(make_settings(idle_timeout=MINUTE, warn_before=5 * MINUTE))
    clock.deadlines = short
    for _ in range(5):
        assert not stopped(await clock.look())
        await clock.passes(59 * SECOND)
    await clock.passes(20 * SECOND)
    assert stopped(await clock.look())


async def test_without_a_warning_it_stops_at_its_deadline(make_settings: Callable[..., Settings], clock: Clock) -> None:
    clock.deadlines = Deadlines(make_settings(idle_timeout=HOUR, warn_before=timedelta(0)))
    await clock.set(started_at=HOUR)
    assert not stopped(await clock.look())
    await clock.passes(LATEST_INPUT)
    assert stopped(await clock.look())


async def test_a_sweep_that_waits_for_an_administrator_stops_nothing(clock: Clock) -> None:
    await clock.set(started_at=9 * HOUR)
    await clock.look()
    await clock.passes(HOUR)
    await queries.warn_and_stop(clock.deadlines, may_stop=False)
    assert not stopped(await clock.sessions.get_any(clock.id))
