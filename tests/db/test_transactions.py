"""A transaction that is broken off costs nothing afterwards: neither a connection nor the task that it ran in."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from app.db.database import Database
from app.db.tables import User as Row
from app.errors import DatabaseOutage
from app.settings import Settings


@pytest.fixture
async def small(make_settings: Callable[..., Settings]) -> AsyncIterator[Database]:
    """A database with two connections."""
    database = Database(make_settings(database_pool=2))
    await database.start()
    yield database
    await database.stop()


async def work() -> None:
    async with Row._meta.db.transaction():
        await Row.raw("SELECT 1")
        await Row.raw("SELECT 2")


async def test_however_late_it_is_cancelled_its_connection_comes_back(small: Database) -> None:
    """(A request is cancelled when its browser goes away.)"""
    ended_by_itself = cancelled = 0
    for steps in itertools.count(0, 3):
        if ended_by_itself >= 3 and steps > 150:
            break
        task = asyncio.create_task(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        ended_by_itself += result is None
        cancelled += steps > 0 and result is not None  # After none it had not begun.
    assert cancelled > 0
    async with asyncio.timeout(30):
        await asyncio.gather(*(work() for _ in range(10)))


async def test_where_postgres_cuts_it_off_the_same_task_goes_on_with_another_connection(small: Database) -> None:
    with pytest.raises(DatabaseOutage):
        async with Row._meta.db.transaction():
            await Row.raw("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await Row.raw("SELECT 1 AS one") == [{"one": 1}]
    await work()


async def test_what_was_broken_off_did_not_happen(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with Row._meta.db.transaction():
            await Row.raw("INSERT INTO users (id, admin, login_epoch) VALUES (gen_random_uuid(), false, 0)")
            raise RuntimeError
    assert await Row.count() == 0
