"""From the click to VisiData's first screen, beside plain `vd` in a PTY on the same file. In turns, in one run.

The Hub's way is the browser's: the form post, the page, its wait for `running`, the WebSocket, and the first output that
shows the sample's column names. Drawing it on a screen comes on top in both cases.
"""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import termios
import time

from websockets.asyncio.client import connect

from app.agent import visidata
from app.settings import Settings
from bench.hub import RunningHub, a_hub
from bench.table import Table, quantile

SAMPLE, NEEDLE = "penguins.csv", b"bill_length_mm"
ROUNDS = 15


def run() -> Table:
    with a_hub(HUB_SESSIONS_PER_USER="1000", HUB_MAX_RUNS="1000") as hub:
        plain, through = [], []
        for round_number in range(ROUNDS + 2):
            one = _plain(hub)
            other = asyncio.run(first_screen(hub))
            if round_number >= 2:  # The first two fill the caches.
                plain.append(one)
                through.append(other)
    differences = [other - one for one, other in zip(plain, through, strict=True)]
    table = Table("Click to VisiData's first screen", ("", "p50 s", "p90 s"))
    table.add("plain vd in a PTY", f"{quantile(plain, 0.5):.3f}", f"{quantile(plain, 0.9):.3f}")
    table.add("through the Hub", f"{quantile(through, 0.5):.3f}", f"{quantile(through, 0.9):.3f}")
    table.add("difference, pair by pair", f"{quantile(differences, 0.5):.3f}", f"{quantile(differences, 0.9):.3f}")
    table.note(f"{ROUNDS} pairs; aim: a difference of 0.3 s at most")
    return table


def _plain(hub: RunningHub) -> float:
    sample = hub.data_dir / "samples" / SAMPLE
    argv = visidata.command(str(Settings().session_python), str(sample))
    began = time.perf_counter()
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, visidata.environment(str(hub.data_dir)))  # noqa: S606  (no shell is wanted)
    termios.tcsetwinsize(master, (40, 120))
    shown = b""
    while NEEDLE not in _plain_text(shown):
        select.select([master], [], [])
        shown += os.read(master, 65536)
    took = time.perf_counter() - began
    os.kill(pid, signal.SIGKILL)
    os.close(master)
    os.waitpid(pid, 0)
    return took


async def first_screen(hub: RunningHub) -> float:
    """Seconds from the click to the first screen of a new session, which is then deleted."""
    connection = hub.connect()
    began = time.perf_counter()
    response = hub.post(connection, "/sessions", source=f"sample:{SAMPLE}", open="1")
    path = response.getheader("Location") or ""
    for address in (path, f"{path}/state?wait=running&timeout=25"):
        connection.request("GET", address, headers={"Cookie": hub.cookie})
        answer = connection.getresponse().read()
    assert b'"running"' in answer, answer
    async with connect(
        f"ws://127.0.0.1:{hub.port}{path}/tty?cols=120&rows=40",
        subprotocols=["hub.tty.v1"],  # type: ignore[list-item]
        origin=f"http://127.0.0.1:{hub.port}",  # type: ignore[arg-type]
        additional_headers={"Cookie": hub.cookie},
    ) as socket:
        shown = b""
        while NEEDLE not in _plain_text(shown):
            message = await socket.recv()
            if isinstance(message, bytes):
                shown += message
        took = time.perf_counter() - began
    hub.post(connection, f"{path}/delete")
    return took


def _plain_text(shown: bytes) -> bytes:
    """What is shown, without the sequences that colour it and move about."""
    return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown)
