"""The Hub's processes and their Postgres: started, killed, stopped and frozen, and brought back as a supervisor would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from pathlib import Path

from app.db.embedded import PrivatePostgres, parse_server_file
from e2e.hub import free_port

PROJECT = Path(__file__).resolve().parents[2]
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}


class Postgres:
    """A private Postgres of the run. Its `url` stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self._server = PrivatePostgres(folder)
        self._pid_file = folder.resolve() / "postgres" / "data" / "postmaster.pid"
        self._restarting = asyncio.Lock()
        self.url = ""

    async def start(self) -> None:
        self.url = await asyncio.to_thread(self._server.start)

    async def stop(self) -> None:
        await asyncio.to_thread(self._server.stop)

    async def restart(self, how: str, away: float) -> None:
        """Stop it in one of three ways, and bring it back after `away` seconds."""
        async with self._restarting:  # One that is only just starting does not come up when it is told to stop.
            server = parse_server_file(self._pid_file.read_text())
            if server is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server.pid, SIGNALS[how])
            await asyncio.sleep(away)
            await self.start()


class Replica:
    """One Hub process after the other at one address, from `start` to `stop`."""

    def __init__(self, number: int, folder: Path, settings: dict[str, str]) -> None:
        self.port = free_port()
        self.number = number
        self.log = folder / f"replica-{number}.log"
        self.starts = 0
        self._folder = folder
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._away = 0.0  # Seconds until the next one, once this one has ended.
        self._over = False
        self._frozen = False
        self._keeping: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether a load balancer would take it for alive."""
        return self._process is not None and self._process.returncode is None and not self._frozen

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        self._keeping = asyncio.create_task(self._keep(), name=f"replica {self.number}")

    async def stop(self) -> None:
        self._over = True
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        if self._keeping is not None:
            try:
                async with asyncio.timeout(15):
                    await self._keeping
            except TimeoutError:
                self.send(signal.SIGKILL)

    def end(self, number: signal.Signals, away: float) -> None:
        """Send it a signal that ends it. The next one comes `away` seconds after it has gone."""
        self._away = away
        self.send(number)

    async def freeze(self, seconds: float) -> None:
        """It does nothing for a while, and does not notice."""
        self._frozen = True
        self.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.send(signal.SIGCONT)
        self._frozen = False

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _keep(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        environment |= {
            "PYTHONPATH": str(PROJECT),
            "HUB_BIND": f"127.0.0.1:{self.port}",
            "HUB_DATA_DIR": str(self._folder / f"data-{self.number}"),
            **self._settings,
        }
        while not self._over:
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "app", "serve", env=environment, cwd=self._folder, stdout=log, stderr=log
                )
            self.starts += 1
            await self._process.wait()
            if not self._over:
                await asyncio.sleep(self._away)
                self._away = 0.5  # One that ends by itself is given a moment.


def settings(database_url: str, kubeconfig: Path, **more: str) -> dict[str, str]:
    """What all replicas of one Hub have in common, beside their own address. `more` are HUB_ settings."""
    return {
        "KUBECONFIG": str(kubeconfig),
        "HUB_DATABASE_URL": database_url,
        "HUB_RUNTIME": "kubernetes",
        "HUB_SECRET_KEY": secrets.token_urlsafe(32),
        "HUB_K8S_NAMESPACE": "hub",
        "HUB_TRUSTED_PROXIES": "1",
        **more,
    }
