"""One Postgres: opening it (a private one when no address is given), migrating it, and hearing its notifications.

Must not know what the tables mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg
from piccolo.apps.migrations.commands.forwards import run_forwards
from piccolo.apps.migrations.tables import Migration

from app.aio import within
from app.db.embedded import PrivatePostgres
from app.db.engine import HubEngine, close
from app.db.outage import Health, in_words, is_outage
from app.db.tables import TABLES
from app.errors import SettingsError
from app.settings import PROJECT, Settings

log = logging.getLogger("hub.db")

MIGRATION_LOCK = 0x48554221  # "HUB!": the advisory lock under which one replica at a time migrates.
WATCH = 2.0  # Seconds between two looks at whether the private Postgres lives. A look costs some file reads.
MIGRATE_WITHIN = 300.0  # Seconds for one step of a migration, and for another replica to finish migrating.
# An outage is noticed within the sum of the first two, even where packets are dropped.
PROBE = 1.0  # Seconds between two looks at whether Postgres answers.
PROBE_WITHIN = 3.0  # Seconds for its answer, and for a new connection.
RECONNECT = 0.5  # Seconds between two tries to reach Postgres during an outage.


class Database:
    """The Hub's Postgres, from `start` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.private = None if settings.database_url else PrivatePostgres(settings.data_dir)
        self.health = Health()
        self.engine = HubEngine(settings.database_url, self.health)

    async def start(self) -> None:
        """Start the private Postgres where there is no other, open the pool and bind the tables to it.

        Raises SettingsError where HUB_DATABASE_URL does not lead to a Postgres.
        """
        if self.private is not None:
            starting = asyncio.create_task(asyncio.to_thread(self.private.start))
            try:
                self.engine.config["dsn"] = await asyncio.shield(starting)
            except asyncio.CancelledError:
                await asyncio.wait({starting})  # A thread cannot be cancelled; `stop` ends the server that it starts.
                raise
        try:
            await self.engine.open_pool(self.settings.database_pool)
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            raise SettingsError(
                f"HUB_DATABASE_URL: no Postgres answers there ({in_words(error)}). Start it, or correct the address; "
                "leave the setting empty for a private Postgres."
            ) from error
        for table in TABLES:
            table._meta.db = self.engine

    async def watch(self) -> None:
        """Restart the private Postgres whenever it has died, indefinitely. Does nothing with a Postgres of the operator's."""
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
        lock = await self.engine.get_new_connection()
        usual, self.engine.answer_within = self.engine.answer_within, MIGRATE_WITHIN
        try:
            with self.engine.outages_named():
                await lock.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK, timeout=MIGRATE_WITHIN)
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                result = await run_forwards(app_name="hub")
            if not result.success:
                raise SettingsError(f"The database could not be migrated: {result.message}\n{said.getvalue()}")
            log.debug("migrated: %s", said.getvalue())
        finally:
            self.engine.answer_within = usual
            await close(lock)

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

    async def listen(self, channels: Mapping[str, Callable[[str], None]], connected: Callable[[], None]) -> None:
        """Call a channel's function with each notification's payload, indefinitely, and keep `health` true meanwhile.

        `connected` is called whenever listening has begun: earlier notifications were missed.
        """
        while True:
            try:
                connection = await self._connect_to_listen()
            except asyncpg.TooManyConnectionsError:
                self.health.answers()  # It has no free connection; the pool keeps those that it has.
                await asyncio.sleep(PROBE)
                continue
            except Exception as error:
                if not is_outage(error):
                    raise
                self._lost(error)
                await asyncio.sleep(RECONNECT)
                continue
            try:
                await self._listen_on(connection, channels, connected)
            except TimeoutError as error:
                self._lost(error)
            except Exception as error:
                if not is_outage(error):
                    raise
            finally:
                connection.terminate()
            await asyncio.sleep(0.1)  # Perhaps only this connection was cut: the next attempt shows that.

    def _lost(self, error: BaseException) -> None:
        if self.health.away_for is None:
            self.engine.drop_connections()
        self.health.lost(error)

    async def _connect_to_listen(self) -> Any:
        async with asyncio.timeout(PROBE_WITHIN):
            return await asyncpg.connect(**self.engine.config)

    async def _listen_on(
        self, connection: Any, channels: Mapping[str, Callable[[str], None]], connected: Callable[[], None]
    ) -> None:
        """Returns once the connection was cut; raises TimeoutError where nothing answers any more."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        async with asyncio.timeout(PROBE_WITHIN):
            for channel in channels:
                await connection.add_listener(channel, lambda _connection, _pid, said, payload: channels[said](payload))
        self.health.answers()
        connected()
        while not await within(lost, PROBE):
            # A cut line says nothing by itself.
            async with asyncio.timeout(PROBE_WITHIN):
                await connection.execute("SELECT 1")
            self.health.answers()
