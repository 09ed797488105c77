"""What 2,000 sessions cost beside 200, on the emulated cluster: calls to the API, time, memory, processor, queries.

All are asked for at once, in one statement, so that what is measured is the managing of sessions and not the pages. A pod
is ready one second after its container has started. Postgres logs its statements, and they are counted there.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from bench.table import Table
from e2e.balancer import is_ready

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # The emulated cluster is the tests'.

from chaos.replicas import Postgres, Replica, settings
from kube.node import Node
from kube.server import KubeApi

CASES = ((200, 1), (2_000, 1), (2_000, 3))  # (sessions, replicas)
USERS = 100
READY_AFTER = 1.0  # Seconds from a container's start to its first answer.
IDLE = 60.0  # Seconds for which nothing happens, and statements are counted.
STATEMENT = re.compile(rb"LOG:  (?:execute [^:]+|statement): *(.{0,60})", re.DOTALL)


@dataclass
class Measured:
    sessions: int
    replicas: int
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    until_run: float = 0.0
    until_stopped: float = 0.0
    cpu_start: float = 0.0
    cpu_idle: float = 0.0
    cpu_stop: float = 0.0
    memory_before: float = 0.0
    memory: float = 0.0
    statements_start: int = 0
    statements_idle: int = 0
    statements_stop: int = 0
    emulator: float = 0.0


def run() -> Table:
    done = [asyncio.run(_measure(sessions, replicas)) for sessions, replicas in CASES]
    head = [f"{one.sessions:,} sessions, {one.replicas} replica{'s' if one.replicas > 1 else ''}" for one in done]
    table = Table("What sessions cost in Kubernetes", ("", *head))

    def row(name: str, number: Any, form: str = ".2f") -> None:
        table.add(name, *(format(number(one), form) for one in done))

    for verb in ("create", "delete", "get"):
        row(
            f"API calls for a session's whole life: {verb}",
            lambda one, verb=verb: one.calls[verb, "pods"] / one.sessions,
        )
    row("API calls in all: list and watch", lambda one: one.calls["list", "pods"] + one.calls["watch", "pods"], ".0f")
    row("seconds until all run", lambda one: one.until_run, ".1f")
    row("seconds until all have stopped", lambda one: one.until_stopped, ".1f")
    row("processor, ms for a start", lambda one: one.cpu_start / one.sessions * 1e3, ".1f")
    row("processor, ms for a stop", lambda one: one.cpu_stop / one.sessions * 1e3, ".1f")
    row(
        "processor when idle, % of a core for each replica", lambda one: one.cpu_idle / IDLE / one.replicas * 100, ".1f"
    )
    row("memory of one replica with all running, MB", lambda one: one.memory / one.replicas / 1e6, ".0f")
    row(
        "of that, kB for a session",
        lambda one: (one.memory - one.memory_before) / one.replicas / one.sessions / 1e3,
        ".1f",
    )
    row("queries for a start", lambda one: one.statements_start / one.sessions, ".1f")
    row("queries for a stop", lambda one: one.statements_stop / one.sessions, ".1f")
    row("queries when idle, a session-minute", lambda one: one.statements_idle * 60 / IDLE / one.sessions, ".3f")
    row("queries when idle, a minute and replica", lambda one: one.statements_idle * 60 / IDLE / one.replicas, ".0f")
    emulator = ", ".join(f"{one.emulator:.0f} s" for one in done)
    table.note(
        f"Asked for all at once; a pod is ready after {READY_AFTER:g} s. The emulated cluster, on the same machine, took "
        f"{emulator} of processor itself."
    )
    return table


async def _measure(sessions: int, replicas: int) -> Measured:
    measured = Measured(sessions, replicas)
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as name:
        folder = Path(name)
        postgres, api = Postgres(folder), KubeApi("hub")
        node = Node(api.store, folder / "node", processes=False, ready_after=READY_AFTER)
        await postgres.start()
        async with api, node:
            common = settings(
                postgres.url,
                api.write_kubeconfig(folder / "kubeconfig"),
                HUB_MAX_RUNS=str(sessions),
                HUB_START_TIMEOUT="1h",  # On a slow machine the emulator is slow, which is not to be measured.
            )
            hubs = [Replica(number, folder, common) for number in range(replicas)]
            for hub in hubs:
                hub.start()
            try:
                for hub in hubs:
                    await _ready(hub)
                connection = await asyncpg.connect(postgres.url)
                try:
                    await _count(measured, connection, api, hubs, folder / "postgres" / "log")
                finally:
                    await connection.close()
            finally:
                await asyncio.gather(*(hub.stop() for hub in hubs))
        await postgres.stop()
    return measured


async def _count(
    measured: Measured, connection: asyncpg.Connection[Any], api: KubeApi, hubs: list[Replica], log: Path
) -> None:
    loop = asyncio.get_running_loop()
    processes = [psutil.Process(hub.pid) for hub in hubs]
    own = psutil.Process()
    await connection.execute("ALTER SYSTEM SET log_statement = 'all'")
    await connection.execute("SELECT pg_reload_conf()")
    await asyncio.sleep(2)
    measured.memory_before = _memory(processes)
    before, emulator = _cpu(processes), _cpu([own])
    at, began = log.stat().st_size, loop.time()
    await connection.execute(
        """INSERT INTO users (id, email, admin, login_epoch, created_at, seen_at)
           SELECT gen_random_uuid(), 'user' || n || '@example.org', false, 0, now(), now() FROM generate_series(1, $1) n""",
        USERS,
    )
    await connection.execute(
        """INSERT INTO sessions (id, "user", name, source_kind, source_value, wanted, state, detail, generation, attempts,
             due_at, created_at)
           SELECT 's' || lpad(n::text, 6, '0'), u.id, 'number ' || n, 'empty', '', 'running', 'stopped', '', 0, 0, now(), now()
           FROM generate_series(1, $1::int) n
             JOIN (SELECT id, row_number() OVER (ORDER BY email) AS number FROM users) u ON u.number = n % $2 + 1""",
        measured.sessions,
        USERS,
    )
    await _until(connection, "running", measured.sessions)
    measured.until_run = loop.time() - began
    await asyncio.sleep(10)  # What is still under way counts as part of the start.
    measured.memory = _memory(processes)
    measured.cpu_start = _cpu(processes) - before
    measured.statements_start = _statements(log, at)

    before, at = _cpu(processes), log.stat().st_size
    await asyncio.sleep(IDLE)
    measured.cpu_idle = _cpu(processes) - before
    measured.statements_idle = _statements(log, at)

    before, at, began = _cpu(processes), log.stat().st_size, loop.time()
    await connection.execute(
        "UPDATE sessions SET wanted = 'stopped', wanted_reason = 'stopped_by_user', due_at = now()"
    )
    await _until(connection, "stopped", measured.sessions)
    measured.until_stopped = loop.time() - began
    await asyncio.sleep(5)
    measured.cpu_stop = _cpu(processes) - before
    measured.statements_stop = _statements(log, at)
    measured.calls = Counter(api.requests)
    measured.emulator = _cpu([own]) - emulator
    assert not api.store.find("pods", "hub")


async def _until(connection: asyncpg.Connection[Any], state: str, sessions: int) -> None:
    while await connection.fetchval("SELECT count(*) FROM sessions WHERE state = $1", state) < sessions:  # noqa: ASYNC110
        await asyncio.sleep(0.25)


async def _ready(hub: Replica) -> None:
    while True:
        with suppress(OSError, EOFError):
            if await is_ready(hub.port):
                return
        await asyncio.sleep(0.05)


def _memory(processes: list[psutil.Process]) -> float:
    return sum(float(process.memory_info().rss) for process in processes)


def _cpu(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(float(one.user + one.system) for one in times)


def _statements(log: Path, since: int) -> int:
    """How many statements were logged, our own left out: those that begin a query by its first words tell them apart."""
    with log.open("rb") as file:
        file.seek(since)
        found = STATEMENT.findall(file.read())
    return sum(not one.startswith((b"SELECT count(*) FROM sessions WHERE state = $1", b"INSERT INTO")) for one in found)
