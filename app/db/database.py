"""One Postgres: opening it (a private one when no address is given), migrating it, and hearing its notifications.

Must not know what the tables mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any

import asyncpg
from piccolo.apps.migrations.commands.forwards import run_forwards
from piccolo.apps.migrations.tables import Migration
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction

from app.aio import within
from app.db.embedded import PrivatePostgres
from app.db.tables import TABLES
from app.errors import SettingsError
from app.settings import PROJECT, Settings

log = logging.getLogger("hub.db")

MIGRATION_LOCK = 0x48554221  # "HUB!": the advisory lock under which one replica at a time migrates.
WATCH = 2.0  # Seconds between two looks at whether the private Postgres lives. A look costs some file reads.
COMMAND_TIMEOUT = 15.0  # Seconds. A page that waits longer for Postgres is better told so.


class HubConnection(asyncpg.Connection):  # type: ignore[misc]
    """One that is given back to the pool as it is: the pool's connections are left with nothing to reset.

    No query here leaves a setting, a cursor, an advisory lock or a LISTEN behind, and asking Postgres to clear them after
    each would double what it is asked. An open transaction is rolled back in any case.
    """

    def get_reset_query(self) -> str:
        return ""


class HubTransaction(PostgresTransaction):
    """Piccolo's, for a world in which requests are cancelled and Postgres is restarted.

    Piccolo's own keeps its connection for ever when it is broken off while it begins or ends, and leaves the task that it
    ran in bound to that connection.
    """

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
        """Nobody knows how far it came: the connection goes, Postgres rolls back, and the pool makes another."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(asyncpg.InterfaceError):  # It has gone by itself.
                self.connection.terminate()
            raise


class HubEngine(PostgresEngine):
    """Piccolo's engine, made without connecting: Piccolo's own asks for the server's version in its constructor."""

    def __init__(self, dsn: str) -> None:
        super().__init__(config={"dsn": dsn, "command_timeout": COMMAND_TIMEOUT})

    async def check_version(self) -> None:
        """Nothing: `Database.start` fails by itself where there is no server."""

    async def prep_database(self) -> None:
        """Nothing: no extension is needed."""

    def transaction(self, allow_nested: bool = True) -> HubTransaction:
        return HubTransaction(engine=self, allow_nested=allow_nested)


class Database:
    """The Hub's Postgres, from `start` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.private = None if settings.database_url else PrivatePostgres(settings.data_dir)
        self.engine = HubEngine(settings.database_url)

    async def start(self) -> None:
        """Start the private Postgres where there is no other, open the pool and bind the tables to it.

        Raises SettingsError where HUB_DATABASE_URL does not lead to a Postgres.
        """
        if self.private is not None:
            self.engine.config["dsn"] = await asyncio.to_thread(self.private.start)
        try:
            await self.engine.start_connection_pool(
                min_size=1, max_size=self.settings.database_pool, connection_class=HubConnection
            )
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            raise SettingsError(
                f"HUB_DATABASE_URL: no Postgres answers there ({error}). Start it, or correct the address; "
                "leave the setting empty for a private Postgres."
            ) from error
        for table in TABLES:
            table._meta.db = self.engine

    async def watch(self) -> None:
        """Bring the private Postgres back whenever it has died, for ever. Nothing to do where there is another."""
        if self.private is None:
            await asyncio.Event().wait()
            return
        while True:
            await asyncio.sleep(WATCH)
            await asyncio.to_thread(self.private.start)

    async def migrate(self) -> None:
        """Bring the tables up to date; safe when several replicas start at once."""
        if str(PROJECT) not in sys.path:
            sys.path.insert(0, str(PROJECT))  # For piccolo_conf, when the Hub was started from another folder.
        import piccolo_conf

        piccolo_conf.DB = self.engine
        Migration._meta.db = self.engine
        async with self._connection() as connection:
            await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK, timeout=300)
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                result = await run_forwards(app_name="hub")
            if not result.success:
                raise SettingsError(f"The database could not be migrated: {result.message}\n{said.getvalue()}")
            log.debug("migrated: %s", said.getvalue())

    async def stop(self) -> None:
        """Close the pool; stop the private Postgres unless another Hub process uses it."""
        if self.engine.pool is not None:
            pool, self.engine.pool = self.engine.pool, None
            try:
                async with asyncio.timeout(1.0):
                    await pool.close()
            except TimeoutError:
                pool.terminate()
        if self.private is not None:
            await asyncio.to_thread(self.private.stop)

    async def listen(self, channel: str, heard: Callable[[str], None], connected: Callable[[], None]) -> None:
        """Call `heard` with each notification's payload, until the connection is lost (then raises OSError).

        `connected` is called once listening has begun: what happened before it was not heard.
        """
        lost = asyncio.Event()
        async with self._connection() as connection:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(channel, lambda _connection, _pid, _channel, payload: heard(payload))
            connected()
            while not lost.is_set():
                if not await within(lost, 30):
                    # A dead peer says nothing: ask, so that a cut line is found within half a minute.
                    await connection.execute("SELECT 1", timeout=10)
        raise OSError("the connection that listens for changes was lost")

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        connection = await self.engine.get_new_connection()
        try:
            yield connection
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):
                    await connection.close()


def is_outage(error: BaseException) -> bool:
    """Whether an exception means that Postgres cannot be reached just now, rather than that a query is wrong."""
    if isinstance(error, asyncpg.InterfaceError):
        return "connection" in str(error).lower() or "pool" in str(error).lower()
    if isinstance(error, asyncpg.InternalClientError):
        # Used between a dying server's last word and the connection's end: asyncpg takes the word for another answer.
        return "cannot switch to state" in str(error)
    return isinstance(
        error,
        OSError
        | TimeoutError
        | asyncpg.PostgresConnectionError
        | asyncpg.CannotConnectNowError
        | asyncpg.AdminShutdownError
        | asyncpg.CrashShutdownError
        | asyncpg.TooManyConnectionsError,
    )
