"""That Postgres is away is told apart from a query that is wrong: the first passes by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from app.db.database import Database, is_outage
from app.db.embedded import PrivatePostgres, parse_server_file
from app.db.tables import User as Row
from app.settings import Settings


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
async def test_whatever_comes_of_a_postgres_that_goes_away_in_the_middle_is_an_outage(
    make_settings: Callable[..., Settings], tmp_path: Path, how: signal.Signals
) -> None:
    server = PrivatePostgres(tmp_path)
    url = await asyncio.to_thread(server.start)
    database = Database(make_settings(database_url=url))
    await database.start()
    asked = asyncio.Event()
    failures: list[BaseException] = []

    async def ask() -> None:
        try:
            while True:
                async with database.engine.transaction():
                    await Row.raw("SELECT 1")
                await Row.raw("SELECT pg_sleep(0.001)")
                asked.set()
        except Exception as error:
            failures.append(error)

    try:
        asking = [asyncio.create_task(ask()) for _ in range(10)]
        await asked.wait()
        found = parse_server_file((tmp_path / "postgres" / "data" / "postmaster.pid").read_text())
        assert found is not None
        os.kill(found.pid, how)
        async with asyncio.timeout(30):
            await asyncio.gather(*asking)
    finally:
        await database.stop()
        await asyncio.to_thread(server.stop)
    assert len(failures) == 10
    assert [failure for failure in failures if not is_outage(failure)] == []


def test_what_the_client_makes_of_a_dying_servers_last_word_is_an_outage() -> None:
    said = "cannot switch to state 15; another operation (2) is in progress"
    assert is_outage(asyncpg.InternalClientError(said))
    assert not is_outage(asyncpg.InternalClientError("got result for unknown protocol state 3"))


async def test_a_wrong_query_is_none(database: Database) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await Row.raw("SELECT nothing_of_this_name")
    assert not is_outage(caught.value)


async def test_a_connection_that_is_given_back_is_asked_nothing(database: Database) -> None:
    async def last() -> str:
        rows = await Row.raw(
            "SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%given back%' OR query = ''"
        )
        return " ".join(row["query"] for row in rows)

    async with asyncio.TaskGroup() as group:  # On two connections.
        group.create_task(Row.raw("SELECT pg_sleep(0.2) -- given back").run())
        group.create_task(Row.raw("SELECT pg_sleep(0.2) -- given back").run())
    assert "given back" in await last()
