"""That Postgres is away is told apart from a query that is wrong: the first passes by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from line import line_to

from app.aio import cancel_and_wait
from app.db.database import Database
from app.db.embedded import PrivatePostgres, parse_server_file
from app.db.outage import is_outage
from app.db.tables import User as Row
from app.errors import DatabaseOutage
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
    assert [failure for failure in failures if not isinstance(failure, DatabaseOutage)] == []


def test_what_the_client_makes_of_a_dying_servers_last_word_is_an_outage() -> None:
    said = "cannot switch to state 15; another operation (2) is in progress"
    assert is_outage(asyncpg.InternalClientError(said))
    assert not is_outage(asyncpg.InternalClientError("got result for unknown protocol state 3"))


async def test_a_postgres_that_drops_what_it_is_sent_is_noticed_within_five_seconds_and_logged_once(
    postgres_url: str, make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    async with line_to(postgres_url) as line:
        database = Database(make_settings(database_url=line.url))
        await database.start()
        heard: list[str] = []
        connections = 0

        def connected() -> None:
            nonlocal connections
            connections += 1

        listening = asyncio.create_task(database.listen({"line": heard.append}, connected))
        try:
            async with asyncio.timeout(30):
                while not connections:
                    await asyncio.sleep(0.01)
                line.cut()
                began = time.monotonic()
                # More than there are connections: some wait for an answer, the others for a connection.
                asked = [asyncio.create_task(_ask(database)) for _ in range(database.settings.database_pool + 5)]
                answers = await asyncio.gather(*asked, return_exceptions=True)
                assert {type(answer) for answer in answers} == {DatabaseOutage}
                waited = time.monotonic() - began
                while database.health.away_for is None:
                    await asyncio.sleep(0.01)
                noticed = time.monotonic() - began
                with pytest.raises(DatabaseOutage):  # At once, now that it is known.
                    await Row.raw("SELECT 1")
                await asyncio.sleep(1.5)  # It stays one outage, however often it is looked.
                line.mend()
                while database.health.away_for is not None:
                    await asyncio.sleep(0.01)
                await _ask(database)
                await Row.raw("SELECT pg_notify('line', 'it works')")
                while not heard:
                    await asyncio.sleep(0.01)
            assert connections == 2
            assert waited < 10  # 5 s on a machine with time to spare.
            assert noticed < 10
            lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
            assert len(lines) == 2, lines
            assert "does not answer" in lines[0]
            assert "answers again" in lines[1]
        finally:
            await cancel_and_wait(listening)
            line.mend()
            await database.stop()


async def test_after_an_outage_no_call_meets_a_connection_that_leads_nowhere(
    postgres_url: str, make_settings: Callable[..., Settings]
) -> None:
    async with line_to(postgres_url) as line:
        database = Database(make_settings(database_url=line.url))
        await database.start()
        connected = asyncio.Event()
        listening = asyncio.create_task(database.listen({}, connected.set))
        try:
            async with asyncio.timeout(60):
                await connected.wait()
                await asyncio.gather(*(Row.raw("SELECT pg_sleep(0.1)").run() for _ in range(5)))  # On five connections.
                line.cut()
                while database.health.away_for is None:
                    await asyncio.sleep(0.01)
                line.replace()
                while database.health.away_for is not None:
                    await asyncio.sleep(0.01)
                for _ in range(5):
                    await _ask(database)
        finally:
            await cancel_and_wait(listening)
            await database.stop()


async def _ask(database: Database) -> None:
    async with database.engine.transaction():
        await Row.raw("SELECT 1")


async def test_a_single_call_that_fails_is_no_outage_and_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    listening = asyncio.create_task(database.listen({"single": lambda _: None}, lambda: None))
    with pytest.raises(DatabaseOutage):
        await Row.raw("SELECT pg_terminate_backend(pg_backend_pid())")
    async with asyncio.timeout(30):
        while "though 1 calls of it failed" not in caplog.text:
            await asyncio.sleep(0.05)
    assert database.health.away_for is None
    await cancel_and_wait(listening)


async def test_where_postgres_has_no_connection_left_calls_wait_for_one_of_ours(
    postgres_url: str, make_settings: Callable[..., Settings], database: Database
) -> None:
    await Row.raw("DROP ROLE IF EXISTS limited")
    await Row.raw("CREATE ROLE limited LOGIN CONNECTION LIMIT 2")
    limited = Database(make_settings(database_url=postgres_url.replace("//hub@", "//limited@"), database_pool=8))
    await limited.start()
    try:
        answers = await asyncio.gather(*(Row.raw("SELECT pg_sleep(0.05)").run() for _ in range(20)))
        assert len(answers) == 20
    finally:
        await limited.stop()


async def test_the_private_postgres_has_connections_for_ten_replicas(database: Database) -> None:
    (row,) = await Row.raw("SELECT current_setting('max_connections')::int AS most")
    of_one = database.settings.database_pool + 2  # One listens, and one migrates at the start.
    assert row["most"] > 10 * of_one


async def test_a_wrong_query_is_none(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedColumnError):
        await Row.raw("SELECT nothing_of_this_name")


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
