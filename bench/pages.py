"""How long the page of sessions takes with 20 rows, on one core, beside the same server's shortest answer."""

from __future__ import annotations

import time

from bench.hub import RunningHub, a_hub
from bench.table import Table, quantile

ROWS, REQUESTS = 20, 400


def run() -> Table:
    # No room to run: the rows are real and queued, and nothing else uses the core meanwhile.
    with a_hub(core=0, HUB_MAX_RUNS="0") as hub:
        connection = hub.connect()
        for number in range(ROWS):
            hub.post(connection, "/sessions", source="sample:penguins.csv", name=f"Look number {number}")
        floor, _ = _time(hub, "/healthz")
        page, weight = _time(hub, "/sessions")
    table = Table(f"/sessions with {ROWS} rows, one core", ("", "p50 ms", "p99 ms", "kB"))
    table.add(
        "/healthz (the server alone)", f"{quantile(floor, 0.5) * 1e3:.2f}", f"{quantile(floor, 0.99) * 1e3:.2f}", "0"
    )
    table.add(
        "/sessions", f"{quantile(page, 0.5) * 1e3:.2f}", f"{quantile(page, 0.99) * 1e3:.2f}", f"{weight / 1e3:.1f}"
    )
    table.note(f"{REQUESTS} requests one after the other, kept alive; aim: p50 under 10 ms")
    return table


def _time(hub: RunningHub, path: str) -> tuple[list[float], int]:
    connection = hub.connect()
    took, weight = [], 0
    for number in range(REQUESTS + 20):
        began = time.perf_counter()
        connection.request("GET", path, headers={"Cookie": hub.cookie})
        response = connection.getresponse()
        weight = len(response.read())
        assert response.status == 200, response.status
        if number >= 20:
            took.append(time.perf_counter() - began)
        time.sleep(0.1 if number % 100 == 99 else 0)  # Stay below the rate limit of one address.
    return took, weight
