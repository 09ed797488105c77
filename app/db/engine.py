"""Piccolo's engine for Postgres, for a world in which requests are cancelled and Postgres is restarted or cut off.

Every query goes through here. It takes `ANSWER_WITHIN` at most, and raises DatabaseOutage where Postgres cannot be reached.
Must not know what the tables mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import asyncpg
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction
from piccolo.querystring import QueryString

from app.aio import backoff
from app.db.outage import Health, is_outage
from app.errors import DatabaseOutage

ANSWER_WITHIN = 5.0  # Seconds for one call: for a connection of the pool, and for the answer. A page waits no longer.
LEAST_FOR_ANSWER = 0.5  # Seconds of it that are left for the answer where getting a connection took long.
RELEASE_WITHIN = 1.0  # Seconds for Postgres to confirm that a query was cancelled, before its connection is closed.


class HubConnection(asyncpg.Connection):  # type: ignore[misc]
    """One that is given back to the pool as it is: the pool's connections are left with nothing to reset.

    No query here leaves a setting, a cursor, an advisory lock or a LISTEN behind, and asking Postgres to clear them after
    each would double what it is asked. An open transaction is rolled back in any case.
    """

    def get_reset_query(self) -> str:
        return ""


class HubTransaction(PostgresTransaction):
    """Piccolo's, without its leaks.

    Piccolo's own never releases its connection when it is cancelled while it begins or ends, and leaves its task bound to
    that connection.
    """

    engine: HubEngine

    async def get_connection(self) -> Any:
        return await self.engine.acquire()

    async def begin(self) -> None:
        with self._dropped_if_broken_off():
            await super().begin()  # type: ignore[no-untyped-call]

    async def commit(self) -> None:
        with self._dropped_if_broken_off():
            await super().commit()  # type: ignore[no-untyped-call]

    async def rollback(self) -> None:
        with self._dropped_if_broken_off():
            await super().rollback()  # type: ignore[no-untyped-call]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            return await super().__aexit__(kind, error, trace)
        except BaseException:
            if self._parent is None:
                self.engine.current_transaction.reset(self.context)
            raise

    @contextlib.contextmanager
    def _dropped_if_broken_off(self) -> Iterator[None]:
        """Close the connection: how far the statement came is unknown. Postgres rolls back, and the pool makes another."""
        try:
            with self.engine.outages_named():
                yield
        except BaseException:
            _terminate(self.connection)
            raise


class HubEngine(PostgresEngine):
    """Piccolo's engine, made without connecting: Piccolo's own asks for the server's version in its constructor.

    While `health` knows of an outage, calls fail at once.
    """

    def __init__(self, dsn: str, health: Health | None = None) -> None:
        super().__init__(config={"dsn": dsn, "timeout": ANSWER_WITHIN, "command_timeout": ANSWER_WITHIN})
        self.health = health or Health()
        self._pooled: weakref.WeakSet[Any] = weakref.WeakSet()
        self.answer_within = ANSWER_WITHIN

    async def check_version(self) -> None:
        """Nothing: `Database.start` fails by itself where there is no server."""

    async def prep_database(self) -> None:
        """Nothing: no extension is needed."""

    def transaction(self, allow_nested: bool = True) -> HubTransaction:
        return HubTransaction(engine=self, allow_nested=allow_nested)

    async def run_querystring(self, querystring: QueryString, in_pool: bool = True) -> Any:
        query, arguments = querystring.compile_string(engine_type=self.engine_type)
        return await self._run(query, arguments, in_pool)

    async def run_ddl(self, ddl: str, in_pool: bool = True) -> Any:
        return await self._run(ddl, (), in_pool)

    async def _run(self, query: str, arguments: Sequence[Any], in_pool: bool) -> Any:
        transaction = self.current_transaction.get()
        if transaction is not None:
            with self.outages_named(transaction.connection):
                return await transaction.connection.fetch(query, *arguments, timeout=self.answer_within)
        if in_pool and self.pool is not None:
            return await self._run_in_pool(query, arguments)
        return await self._run_in_new_connection(query, arguments)

    async def _run_in_pool(self, query: str, args: Sequence[Any] | None = None) -> Any:
        loop = asyncio.get_running_loop()
        until = loop.time() + self.answer_within
        connection = await self.acquire()
        pool = self.pool
        try:
            with self.outages_named(connection):
                left = max(LEAST_FOR_ANSWER, until - loop.time())
                return await connection.fetch(query, *(args or ()), timeout=left)
        finally:
            with contextlib.suppress(Exception):  # A connection that cannot be released has been closed.
                assert pool is not None  # noqa: S101  (it gave the connection)
                await pool.release(connection, timeout=RELEASE_WITHIN)

    async def _run_in_new_connection(self, query: str, args: Sequence[Any] | None = None) -> Any:
        connection = await self.get_new_connection()
        try:
            with self.outages_named():
                return await connection.fetch(query, *(args or ()), timeout=self.answer_within)
        finally:
            await close(connection)

    async def get_new_connection(self) -> Any:
        with self.outages_named():
            async with asyncio.timeout(ANSWER_WITHIN):
                return await asyncpg.connect(**self.config)

    async def open_pool(self, size: int) -> None:
        """Open the pool, and prove that Postgres answers."""
        # A least number of connections would have asyncpg log a traceback whenever it cannot be kept.
        await self.start_connection_pool(
            min_size=0, max_size=size, connection_class=HubConnection, init=self._note_connection
        )
        assert self.pool is not None  # noqa: S101  (it has just been opened)
        async with self.pool.acquire():
            pass

    async def _note_connection(self, connection: Any) -> None:
        self._pooled.add(connection)

    def drop_connections(self) -> None:
        """Cut the pool's connections: after an outage they may be dead without an error. The pool makes new ones."""
        for connection in list(self._pooled):
            _terminate(connection)

    async def acquire(self) -> Any:
        """A connection of the pool. Where Postgres has none left for us, waits for one of ours to be released."""
        if self.health.away_for is not None:
            raise DatabaseOutage
        if self.pool is None:
            raise ValueError("the pool is not open")
        delays = backoff(0.05, 0.5)
        with self.outages_named():
            async with asyncio.timeout(ANSWER_WITHIN - LEAST_FOR_ANSWER):
                while True:
                    try:
                        return await self.pool.acquire()
                    except asyncpg.TooManyConnectionsError:
                        await asyncio.sleep(next(delays))

    @contextlib.contextmanager
    def outages_named(self, connection: Any = None) -> Iterator[None]:
        """Make what asyncpg raises while Postgres cannot be reached a DatabaseOutage, and close `connection` then.

        (asyncpg itself would wait for the server to confirm that the query was cancelled.)
        """
        try:
            yield
        except Exception as error:
            if not is_outage(error):
                raise
            if connection is not None:
                _terminate(connection)
            self.health.failed(error)
            raise DatabaseOutage from error


async def close(connection: Any) -> None:
    """Close a connection that is not the pool's; cut it where the server does not answer."""
    try:
        async with asyncio.timeout(1.0):
            await connection.close()
    except Exception:
        connection.terminate()


def _terminate(connection: Any) -> None:
    with contextlib.suppress(asyncpg.InterfaceError):  # It is closed already.
        connection.terminate()
