"""An update keeps what is in the database, and replicas of the version before work on the new tables."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import asyncpg
import pytest
from piccolo.apps.migrations.commands.forwards import run_forwards
from piccolo.apps.migrations.tables import Migration

import piccolo_conf
from app.db.database import Database
from app.db.tables import Session as SessionRow
from app.db.tables import User as UserRow
from app.sessions.models import Session
from app.sessions.state import State
from app.settings import Settings

BEFORE_LOGINS = "2026-11-24T11:30:00:000000"  # The last migration of the version whose logins were cookies alone.


@pytest.fixture
async def older(make_settings: Callable[..., Settings], postgres_url: str) -> AsyncIterator[Database]:
    """The database as the version before left it."""
    name = f"older_{uuid4().hex}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE DATABASE {name}")
    database = Database(make_settings(database_url=postgres_url.replace("/postgres?", f"/{name}?")))
    await database.start()
    try:
        piccolo_conf.DB = Migration._meta.db = database.engine
        with contextlib.redirect_stdout(io.StringIO()):
            assert (await run_forwards(app_name="hub", migration_id=BEFORE_LOGINS)).success
        yield database
    finally:
        await database.stop()
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


async def add_session(email: str, session_id: str) -> None:
    """A user with a running session, as the version before writes them."""
    rows = await UserRow.raw(
        """INSERT INTO users (id, email, password_hash, admin, login_epoch, created_at, seen_at)
           VALUES (gen_random_uuid(), {}, 'hash', false, 0, now(), now()) RETURNING id""",
        email,
    )
    await SessionRow.raw(
        """INSERT INTO sessions (id, "user", name, wanted, state, generation, run_uid, address, launched_at, started_at)
           VALUES ({}, {}, 'sales', 'running', 'running', 3, 'uid', '10.0.0.1:80', now(), now())""",
        session_id,
        rows[0]["id"],
    )


async def test_an_update_keeps_users_and_running_sessions_and_the_version_before_still_writes(older: Database) -> None:
    await add_session("\u00c5ngstr\u00f6m@example.org", "before123456")
    await older.migrate()
    await add_session("later@example.org", "later1234567")
    rows = await SessionRow.raw("SELECT * FROM sessions ORDER BY id")
    found = [Session.from_row(row) for row in rows]
    assert [(one.id, one.state, one.generation) for one in found] == [
        ("before123456", State.RUNNING, 3),
        ("later1234567", State.RUNNING, 3),
    ]
    assert all(one.start_clock[0] is not None and one.start_clock[1] is False for one in found)
    emails = [row["email"] for row in await UserRow.raw("SELECT email FROM users ORDER BY email")]
    assert emails == ["later@example.org", "\u00e5ngstr\u00f6m@example.org"]
