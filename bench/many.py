"""Many attached sessions on one core: a real Hub whose runs are all one small server that echoes, 2 keys a second each.

The Hub has a core for itself; the server that plays GoTTY and the viewers have the other. `python -m bench.many HUB-PORT
GOTTY-PORT FOLDER` is the Hub's own process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from app.settings import PROJECT, Settings
from bench.relay import Viewer, Way, attached, cpu_seconds
from bench.table import Table, quantile
from e2e.hub import free_port

SESSIONS = 500
USERS = 10  # No person may attach to so many terminals in a minute.
EACH = 0.5  # Seconds between two keys of one session.
SECONDS = 30


def run() -> Table:
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("this one needs two cores: one for the Hub, one for the viewers")
    os.sched_setaffinity(0, {1})
    try:
        return asyncio.run(_run())
    finally:
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))


async def _run() -> Table:
    uvloop.install()
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        port, gotty_port = free_port(), free_port()
        server = await ws_create_server(_Echo.answer, "127.0.0.1", gotty_port)
        argv = [sys.executable, "-m", "bench.many", str(port), str(gotty_port), folder]
        pin = lambda: os.sched_setaffinity(0, {0})  # noqa: E731
        hub = subprocess.Popen(  # noqa: ASYNC220  (nothing else is going on)
            argv, cwd=PROJECT, preexec_fn=pin, stdout=subprocess.PIPE, text=True
        )
        try:
            assert hub.stdout is not None
            for line in hub.stdout:
                if line.startswith("{"):
                    break
            else:
                raise SystemExit("the Hub did not start")
            made: dict[str, list[str]] = json.loads(line)
            ways = [
                Way(
                    session,
                    f"ws://127.0.0.1:{port}/sessions/{session}/tty",
                    (("Authorization", f"Bearer {token}"),),
                    hub=True,
                )
                for token, sessions in made.items()
                for session in sessions
            ]
            return await _measure(ways, hub.pid)
        finally:
            hub.terminate()
            await asyncio.to_thread(hub.communicate, timeout=20)
            server.close()


async def _measure(ways: list[Way], pid: int) -> Table:
    process = psutil.Process(pid)
    async with AsyncExitStack() as stack:
        viewers: list[Viewer] = [await stack.enter_async_context(attached(ways[0]))]
        await viewers[0].until(lambda: viewers[0].greeted)
        before = process.memory_full_info().uss  # What is its own.
        for way in ways[1:]:
            viewers.append(await stack.enter_async_context(attached(way)))  # noqa: PERF401  (one after the other)
        for viewer in viewers:
            await viewer.until(lambda viewer=viewer: viewer.greeted)
        await asyncio.sleep(2)
        each = (process.memory_full_info().uss - before) / (len(ways) - 1)
        cpu = cpu_seconds(pid)
        took: list[float] = []
        await asyncio.gather(*(_type(viewer, took) for viewer in viewers))
        busy = (cpu_seconds(pid) - cpu) / SECONDS
    table = Table(f"{len(ways)} attached sessions on one core, {1 / EACH:.0f} keys a second each", ("", ""))
    table.add("echo, p50 ms", f"{quantile(took, 0.5) * 1e3:.2f}")
    table.add("echo, p99 ms", f"{quantile(took, 0.99) * 1e3:.2f}")
    table.add("the core's use", f"{busy:.0%}")
    table.add("memory for each session, kB", f"{each / 1e3:.0f}")
    table.note(f"{len(took)} keys; aim: p99 under 30 ms, under 100 kB")
    return table


async def _type(viewer: Viewer, took: list[float]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(random.uniform(0, EACH))  # noqa: S311  (so that they do not type in step)
    until = loop.time() + SECONDS
    while loop.time() < until:
        viewer.key = loop.create_future()
        began = time.perf_counter()
        viewer.type(b"x")
        await viewer.key
        took.append(time.perf_counter() - began)
        await asyncio.sleep(EACH)


class _Echo(WSListener):
    """GoTTY with a program that says what was typed."""

    @classmethod
    def answer(cls, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        headers = {"Sec-WebSocket-Protocol": "webtty"}
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), cls())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if payload[:1] == b"{":
            transport.send(WSMsgType.TEXT, b"3vd")
        elif payload[:1] == b"1":
            transport.send(WSMsgType.TEXT, b"1" + b64encode(payload[1:]))
        elif payload[:1] == b"2":
            transport.send(WSMsgType.TEXT, b"2")


# The Hub's process


async def _serve(port: int, gotty_port: int, folder: Path) -> None:
    sys.path.insert(0, str(PROJECT / "tests" / "runtimes"))
    from fake import FakeRuntime

    from app.factory import create_app
    from app.runtimes.base import Source
    from app.server import Server, config

    settings = Settings(bind=f"127.0.0.1:{port}", data_dir=folder / "data", max_runs=10_000, sessions_per_user=10_000)
    app = create_app(settings, runtime=FakeRuntime(address=f"127.0.0.1:{gotty_port}"))
    await app.startup()
    hub = app.extensions["hub"]
    made: dict[str, list[str]] = {}
    for number in range(USERS):
        account = await hub.accounts.add(f"u{number}@example.org")
        token = await hub.accounts.make_token(account)
        made[token] = []
        for one in range(SESSIONS // USERS):
            session = await hub.sessions.create(account.id, guest=False, name=f"{one}", source=Source())
            made[token].append(session.id)
    for session_id in (one for ids in made.values() for one in ids):
        while (await hub.sessions.get_any(session_id)).state != "running":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    server = Server(config(app, settings))
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: setattr(server, "should_exit", True))
    print(json.dumps(made), flush=True)
    await server.serve([listener])
    await app.shutdown()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
