"""The Hub, served in this process on a real Postgres, with runs in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from serving import Site, serve

from app.accounts.mail import Mailer
from app.db.database import Database
from app.settings import Settings


@pytest.fixture
async def site(settings: Settings, database: Database, outbox: Mailer) -> AsyncIterator[Site]:
    async with serve(settings, mailer=outbox) as site:
        yield site
