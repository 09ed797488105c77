"""What tests share: one real Postgres for the whole run, an empty database for each test, and the Hub in this process.

Nothing is patched and nothing is faked here; `tests/runtimes/fake.py` has the one fake, of our own Runtime protocol.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from argon2 import PasswordHasher

from app.accounts.service import Accounts
from app.aio import Supervisor
from app.db.database import Database
from app.db.embedded import PrivatePostgres
from app.db.tables import TABLES
from app.sessions.service import Sessions
from app.settings import Settings

FAST = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Argon2 at its least: the tests are about what is done with hashes, not about how long one takes."""


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A private Postgres for the run of the tests."""
    server = PrivatePostgres(tmp_path_factory.mktemp("postgres"))
    url = server.start()
    yield url
    server.stop()


@pytest.fixture
def make_settings(postgres_url: str, tmp_path: Path) -> Callable[..., Settings]:
    """Settings for one test: its own data folder, the shared Postgres, anything else by keyword."""

    def make(**changes: Any) -> Settings:
        plain: dict[str, Any] = {"data_dir": tmp_path / "data", "database_url": postgres_url, "gotty": "none"}
        return dataclasses.replace(Settings(), **{**plain, **changes})

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The database, migrated and empty."""
    database = Database(settings)
    await database.start()
    await database.migrate()
    await empty(database)
    yield database
    await database.stop()


async def empty(database: Database) -> None:
    names = ", ".join(f'"{table._meta.tablename}"' for table in TABLES)
    await database.engine._run_in_new_connection(f"TRUNCATE {names} CASCADE")


class Outbox:
    """A Mailer that keeps what it is given."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str, str]] = []
        self._came = asyncio.Event()

    async def send(self, to: str, subject: str, text: str) -> None:
        self.mails.append((to, subject, text))
        self._came.set()

    async def wait(self) -> tuple[str, str, str]:
        """The next mail, once it has come."""
        async with asyncio.timeout(30):
            await self._came.wait()
        self._came.clear()
        return self.mails[-1]


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
async def accounts(settings: Settings, database: Database, outbox: Outbox) -> AsyncIterator[Accounts]:
    tasks = Supervisor()
    yield Accounts(settings, outbox, tasks, FAST)
    await tasks.close()


@pytest.fixture
def sessions(settings: Settings, database: Database) -> Sessions:
    return Sessions(settings)


@pytest.fixture
async def ada(accounts: Accounts) -> UUID:
    """A user with an account; her id."""
    return (await accounts.add("ada@example.org")).id
