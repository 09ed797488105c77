"""A replica goes while somebody works: how long their page is without its terminal, and when the process has gone.

Two replicas behind the load balancer of the end-to-end tests, which looks at each every half second, and a real browser.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from pathlib import Path

from playwright.async_api import async_playwright

from bench.table import Table, quantile
from e2e.browser import create_and_open, launch, make_first_admin, until
from e2e.replicas import Replicas

ROUNDS = 7
SIGNALS = (signal.SIGTERM, signal.SIGKILL)


def run() -> Table:
    absences, gone = asyncio.run(_measure())
    table = Table("A replica goes", ("", "p50 s", "most s"))
    for number in SIGNALS:
        _add(table, f"{number.name}: the page is without its terminal", absences[number])
    _add(table, "SIGTERM to the end of the process", gone)
    table.note(f"{ROUNDS} of each, in turns; aims: 3 s at most for the page, 10 s for the process")
    return table


def _add(table: Table, name: str, values: list[float]) -> None:
    table.add(name, f"{quantile(values, 0.5):.2f}", f"{max(values):.2f}")


async def _measure() -> tuple[dict[signal.Signals, list[float]], list[float]]:
    absences: dict[signal.Signals, list[float]] = {number: [] for number in SIGNALS}
    gone: list[float] = []
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        async with Replicas(Path(folder)) as replicas, async_playwright() as playwright:
            browser = await launch(playwright)
            page = await browser.new_page()
            await make_first_admin(page, await replicas.first_link(), "bench@example.org")
            terminal = await create_and_open(page, replicas.url, "sample:penguins.csv")
            await terminal.watch()
            count = 0
            for _ in range(ROUNDS):
                for number in SIGNALS:
                    began = time.perf_counter()
                    await (await replicas.with_terminals())[0].end(number)
                    if number == signal.SIGTERM:
                        gone.append(time.perf_counter() - began)
                    count += 1
                    await until(page, f"watched.absences.length === {count}")
                    absences[number].append((await terminal.absences())[-1])
                    await replicas.all_ready()
            await browser.close()
    return absences, gone
