"""Two replicas of one Hub behind a load balancer: on one Postgres, one data folder and one key. Must not know browsers."""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from types import TracebackType

from app.db.embedded import PrivatePostgres
from e2e.balancer import Balancer
from e2e.hub import HubProcess, fetch


class Replicas:
    """Serves from `async with` on. `url` is the balancer's, which is the only address that people know.

    `settings` are those of every replica.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self.settings = settings
        self._postgres = PrivatePostgres(folder / "database")
        self.database = (folder / "database" / "postgres" / "data").resolve()
        self.balancer = Balancer()
        self.hubs: list[HubProcess] = []

    @property
    def url(self) -> str:
        return self.balancer.url

    @property
    def log(self) -> str:
        return "\n".join(f"--- the replica at {hub.port}\n{hub.log}" for hub in self.hubs)

    async def __aenter__(self) -> Replicas:
        await self.balancer.__aenter__()
        self.settings |= {
            "HUB_DATABASE_URL": await asyncio.to_thread(self._postgres.start),
            "HUB_PUBLIC_URL": self.url,
            "HUB_SECRET_KEY": secrets.token_urlsafe(32),
        }
        for _ in range(2):
            self.hubs.append(HubProcess(self._folder, **self.settings))
            self.balancer.add(self.hubs[-1].port)
            await self.hubs[-1].start()
        await self.all_ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(hub.close() for hub in self.hubs))
        await asyncio.to_thread(self._postgres.stop)
        await self.balancer.__aexit__(kind, error, trace)

    async def first_link(self) -> str:
        """Where the first administrator's account is made."""
        return (await self.hubs[0].said(r"http://\S+/login/link/\S+"))[0]

    async def all_ready(self) -> None:
        """Start those that do not run, and wait until the balancer uses all."""
        for hub in self.hubs:
            if not hub.running:
                await hub.start()
        await self.balancer.until_ready(*(hub.port for hub in self.hubs))

    async def with_terminals(self) -> tuple[HubProcess, HubProcess]:
        """The replica with the most terminals, and the other one."""
        counts = []
        for hub in self.hubs:
            found = re.search(r"^hub_terminals (\d+)", (await fetch(hub, "/metrics"))[1], re.MULTILINE)
            assert found
            counts.append(int(found[1]))
        first, second = self.hubs
        return (first, second) if counts[0] >= counts[1] else (second, first)
