"""Half an hour of people who come and go: that nothing of them stays behind. `MINUTES=30 python -m bench soak`.

Viewers attach to a few sessions, type, watch output scroll by, and leave: with a goodbye, cut off, or in the middle of a flood;
some come back within the grace time, some after it. Sockets, tasks and memory of the Hub are looked at each minute, with
nobody attached.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import uvloop
from picows import WSError

from bench.hub import RunningHub, a_hub
from bench.relay import Way, attached, made_shell, through_hub
from bench.table import Table

MINUTES = float(os.environ.get("MINUTES", "30"))
SESSIONS, PEOPLE = 6, 12
SETTLE = 40.0  # Seconds: longer than the relay keeps a run's connection for whoever may come back.


def run() -> Table:
    uvloop.install()
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        shell = str(made_shell(Path(folder)))
        with a_hub(HUB_SANDBOX="none", HUB_SESSION_PYTHON=shell, HUB_MAX_RUNS="100") as hub:
            ways = [through_hub(hub, hub.create()) for _ in range(SESSIONS)]
            return asyncio.run(_soak(hub, ways))


async def _soak(hub: RunningHub, ways: list[Way]) -> Table:
    table = Table("People who come and go", ("after", "visits", "sockets", "tasks", "memory MB"))
    began = time.monotonic()
    visits = 0

    def look() -> None:
        connection = hub.connect()
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
        connection.close()
        tasks = next(line.split()[1] for line in metrics.splitlines() if line.startswith("hub_tasks "))
        process = psutil.Process(hub.pid)
        memory, sockets = process.memory_info().rss, len(process.net_connections("all"))
        minutes = (time.monotonic() - began) / 60
        table.add(f"{minutes:.0f} min", str(visits), str(sockets), tasks, f"{memory / 1e6:.1f}")

    async def person(until: float) -> None:
        nonlocal visits
        while time.monotonic() < until:
            with suppress(
                ConnectionError, TimeoutError, OSError, WSError
            ):  # Now and then they are too many in a minute.
                await _visit(random.choice(ways))  # noqa: S311
                visits += 1
            await asyncio.sleep(random.expovariate(0.3))

    rounds = 6
    await asyncio.sleep(2)
    look()
    for number in range(1, rounds + 1):
        until = began + MINUTES * 60 * number / rounds - SETTLE
        await asyncio.gather(*(person(until) for _ in range(PEOPLE)))
        await asyncio.sleep(SETTLE)
        look()
    table.note(f"{PEOPLE} people, {SESSIONS} sessions; each line after {SETTLE:.0f} s with nobody attached")
    return table


async def _visit(way: Way) -> None:
    async with attached(way, cols=random.randint(80, 220), rows=random.randint(20, 60)) as viewer:  # noqa: S311
        await viewer.until(lambda: viewer.greeted, 10)
        for _ in range(random.randint(0, 20)):  # noqa: S311
            viewer.type(random.choice((b"echo hello\r", b"x", b"\x7f", b"seq 2000\r", b"seq 200000\r", b"\x03")))  # noqa: S311
            await asyncio.sleep(random.uniform(0, 0.3))  # noqa: S311
        if random.random() < 0.5 and viewer.transport is not None:  # noqa: S311
            viewer.transport.underlying_transport.abort()
