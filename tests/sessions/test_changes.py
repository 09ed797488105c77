"""Who waits for changes hears of those of their own sessions, none is lost, and all are let go at the end."""

from __future__ import annotations

import asyncio
from uuid import UUID

from app.sessions.changes import Changes

ADA, BOB = UUID(int=1), UUID(int=2)


async def test_one_hears_of_ones_own_sessions_alone() -> None:
    changes = Changes()
    with changes.subscribe(ADA) as ada, changes.subscribe(BOB) as bob:
        changes.publish(str(ADA), "s1")
        assert await ada.wait(5) == {"s1"}
        assert await bob.wait(0) == set()


async def test_a_change_wakes_who_waits() -> None:
    changes = Changes()
    with changes.subscribe(ADA) as ada:
        waiting = asyncio.create_task(ada.wait(5))
        await asyncio.sleep(0)
        changes.publish(str(ADA), "s1")
        assert await waiting == {"s1"}


async def test_changes_that_come_while_nobody_looks_are_kept_and_folded() -> None:
    changes = Changes()
    with changes.subscribe(ADA) as ada:
        for session in ("s1", "s2", "s1"):
            changes.publish(str(ADA), session)
        assert await ada.wait(5) == {"s1", "s2"}
        assert await ada.wait(0) == set()


async def test_two_tabs_both_hear() -> None:
    changes = Changes()
    with changes.subscribe(ADA) as one, changes.subscribe(ADA) as two:
        changes.publish(str(ADA), "s1")
        assert await one.wait(5) == await two.wait(5) == {"s1"}


async def test_where_changes_may_have_been_missed_everybody_looks_again() -> None:
    changes = Changes()
    with changes.subscribe(ADA) as ada, changes.subscribe(BOB) as bob:
        changes.publish_all()
        assert await ada.wait(5)
        assert await bob.wait(5)


async def test_nobody_is_kept_waiting_by_a_replica_that_leaves() -> None:
    changes = Changes()
    with changes.subscribe(ADA) as ada:
        waiting = asyncio.create_task(ada.wait(60))
        await asyncio.sleep(0)
        changes.close()
        assert await asyncio.wait_for(waiting, 5) == set()
        assert not ada.open()
        assert await asyncio.wait_for(ada.wait(60), 5) == set()
    with changes.subscribe(ADA) as late:
        assert not late.open()


async def test_who_has_gone_leaves_nothing_behind() -> None:
    changes = Changes()
    with changes.subscribe(ADA):
        pass
    changes.publish(str(ADA), "s1")
    assert not changes._by_user
