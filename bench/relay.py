"""The terminal's way, beside others: GoTTY (or the agent in its part) directly, through the Hub, through
configurable-http-proxy (what JupyterHub uses) and through nginx. One run, one machine, in turns.

A shell stands in for VisiData where only bytes count: `cat` echoes keys, a file of 60 MB is the flood. A proxy that is not
installed (nginx, configurable-http-proxy) is left out, and the table says so; `make bench` installs both where it can.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from app.settings import Settings
from bench.hub import RunningHub, a_hub
from bench.table import Table, quantile
from e2e.hub import free_port

KEYS = 2000  # Of one measurement of echoes.
ROUNDS = 3  # Each way is measured so often, in turns, so that no way has the quiet minute to itself.
PROXIES = Path(__file__).parent / "node_modules" / ".bin"  # Where `make bench` puts configurable-http-proxy.
FLOOD = 60_000_000  # Bytes.
ACK_EVERY = 48 * 1024  # As the page does (static/terminal/link.js).
PROMPT = b"ready> "
SHEET = "seattle-weather.csv"

SHELL = """#!/bin/sh
# Stands in for VisiData's Python: with a sample to open it is that, else a shell.
case "$*" in *samples*) exec {python} "$@";; esac
export PS1='{prompt}'
exec bash --norc --noprofile --noediting -i
"""


@dataclass(frozen=True)
class Way:
    """How to reach a run. `hub`: by the page's protocol, else by GoTTY's."""

    name: str
    url: str
    headers: tuple[tuple[str, str], ...]
    token: str = ""
    hub: bool = False
    pid: int = 0  # Of the process in between, if there is one.


class Viewer(WSListener):
    """One attached viewer: counts what comes, and answers as a page would."""

    def __init__(self, way: Way, *, acknowledge: bool = True) -> None:
        self.way = way
        self.acknowledge = acknowledge
        self.received = 0  # Bytes of output.
        self.frames = 0
        self.wire = 0  # Bytes of payload, as they came.
        self.tail = b""
        self.greeted = not way.hub  # Whether it is live.
        self.transport: WSTransport | None = None
        self._acked = 0
        self._waits: tuple[Callable[[], bool], asyncio.Future[None]] | None = None
        self.key: asyncio.Future[None] | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if frame.msg_type == WSMsgType.CLOSE or frame.msg_type == WSMsgType.PING:
            if frame.msg_type == WSMsgType.PING:
                transport.send_pong(payload)
            return
        if self.way.hub:
            if frame.msg_type != WSMsgType.BINARY:
                if payload.startswith(b'{"type":"hello"'):
                    self.greeted = True
                    self._look()
                return
            data = payload
        else:
            if payload[:1] != b"1":
                return
            data = b64decode(payload[1:])
        self.frames += 1
        self.wire += len(payload)
        self.received += len(data)
        if self.key is not None and not self.key.done():
            self.key.set_result(None)
        if self.way.hub and self.acknowledge and self.received - self._acked >= ACK_EVERY:
            self._acked = self.received
            transport.send(WSMsgType.TEXT, b'{"type":"ack","bytes":%d}' % self.received)
        self.tail = (self.tail + data)[-200:]
        self._look()

    def _look(self) -> None:
        if self._waits is not None and self._waits[0]() and not self._waits[1].done():
            self._waits[1].set_result(None)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        for wait in (self.key, self._waits[1] if self._waits else None):
            if wait is not None and not wait.done():
                wait.set_exception(ConnectionError("the terminal closed"))

    async def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        if not holds():
            self._waits = holds, asyncio.get_running_loop().create_future()
            async with asyncio.timeout(seconds):
                await self._waits[1]

    def type(self, keys: bytes) -> None:
        assert self.transport is not None
        if self.way.hub:
            self.transport.send(WSMsgType.BINARY, keys)
        else:
            self.transport.send(WSMsgType.TEXT, b"1" + keys)

    def resize(self, cols: int, rows: int) -> None:
        assert self.transport is not None
        if self.way.hub:
            self.transport.send(WSMsgType.TEXT, b'{"type":"resize","cols":%d,"rows":%d}' % (cols, rows))
        else:
            self.transport.send(WSMsgType.TEXT, b'3{"columns":%d,"rows":%d}' % (cols, rows))


@asynccontextmanager
async def attached(way: Way, *, cols: int = 120, rows: int = 40, **options: bool) -> AsyncIterator[Viewer]:
    headers = [("Sec-WebSocket-Protocol", "hub.tty.v1" if way.hub else "webtty"), *way.headers]
    transport, viewer = await ws_connect(lambda: Viewer(way, **options), way.url, extra_headers=headers)
    assert isinstance(viewer, Viewer)
    if not way.hub:
        transport.send(WSMsgType.TEXT, json.dumps({"Arguments": "", "AuthToken": way.token}).encode())
    viewer.resize(cols, rows)
    try:
        yield viewer
    finally:
        transport.disconnect()
        await transport.wait_disconnected()


# What is measured


async def echoes(way: Way, count: int = KEYS) -> list[float]:
    """Microseconds from a key to its echo, one at a time."""
    took = []
    async with attached(way) as viewer:
        await asyncio.sleep(0.3)
        viewer.type(b"stty -echoctl; cat >/dev/null\r")
        await viewer.until(lambda: b"/dev/null\r\n" in viewer.tail)
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        for number in range(count + 100):
            viewer.key = loop.create_future()
            began = time.perf_counter()
            viewer.type(b"x" if number % 50 else b"\r")
            await viewer.key
            if number >= 100:
                took.append((time.perf_counter() - began) * 1e6)
            if not number % 50:
                await asyncio.sleep(0.005)
        viewer.key = None
        viewer.type(b"\x03")
        await viewer.until(lambda: viewer.tail.endswith(PROMPT))
    return took


async def flood(way: Way) -> tuple[float, float]:
    """(MB/s, CPU seconds of the process in between for each 100 MB) of a file that is shown."""
    async with attached(way) as viewer:
        await asyncio.sleep(0.3)
        start, cpu = viewer.received, cpu_seconds(way.pid)
        began = time.perf_counter()
        viewer.type(b"cat flood\r")
        await viewer.until(lambda: viewer.received - start > FLOOD and viewer.tail.endswith(PROMPT), 120)
        took = time.perf_counter() - began
        return FLOOD / took / 1e6, (cpu_seconds(way.pid) - cpu) / (FLOOD / 1e8)


def cpu_seconds(pid: int) -> float:
    """Of a process so far; 0 for none."""
    return sum(psutil.Process(pid).cpu_times()[:2]) if pid else 0.0


async def interrupted(way: Way) -> float:
    """Seconds from Ctrl-C on a flood to the prompt."""
    async with attached(way) as viewer:
        await asyncio.sleep(0.3)
        viewer.type(b"cat flood flood flood\r")
        await asyncio.sleep(3.0)
        assert not viewer.tail.endswith(PROMPT), "the flood was over before it was interrupted"
        began = time.perf_counter()
        viewer.type(b"\x03")
        await viewer.until(lambda: viewer.tail.endswith(PROMPT))
        return time.perf_counter() - began


async def beside_a_slow_one(way: Way, slow: Way) -> tuple[float, int]:
    """(MB/s of the fast viewer, bytes by which the Hub grew) while another takes 20 kB/s."""
    async with attached(slow) as other, attached(way) as viewer:
        await asyncio.sleep(0.5)
        start, memory = viewer.received, _resident(way.pid)
        began = time.perf_counter()
        viewer.type(b"cat flood\r")
        most = memory

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, _resident(way.pid))
                await asyncio.sleep(0.05)

        looking = asyncio.create_task(look())
        await viewer.until(lambda: viewer.received - start > FLOOD and viewer.tail.endswith(PROMPT), 120)
        took = time.perf_counter() - began
        looking.cancel()
        assert other.received < FLOOD / 4
        return FLOOD / took / 1e6, most - memory


async def page_downs(way: Way, presses: int = 20) -> tuple[float, float]:
    """(messages, bytes of payload) of one page-down in VisiData at 200x50."""
    async with attached(way, cols=200, rows=50) as viewer:
        await viewer.until(lambda: viewer.received > 3000)
        await asyncio.sleep(1.5)
        frames, wire = viewer.frames, viewer.wire
        for _ in range(presses):
            viewer.type(b"\x1b[6~")
            await asyncio.sleep(0.4)
        return (viewer.frames - frames) / presses, (viewer.wire - wire) / presses


def _resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


@asynccontextmanager
async def a_line(way: Way, bytes_per_second: int) -> AsyncIterator[Way]:
    """The same way over a line that brings so much to the viewer."""
    _, _, rest = way.url.partition("://")
    address, _, path = rest.partition("/")
    host, _, port = address.partition(":")

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            raw.setblocking(False)
            await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
            down, up = await asyncio.open_connection(sock=raw, limit=16384)

            async def upwards() -> None:
                while data := await reader.read(4096):
                    up.write(data)
                    await up.drain()

            async def downwards() -> None:
                while data := await down.read(max(512, bytes_per_second // 50)):
                    writer.write(data)
                    await writer.drain()
                    await asyncio.sleep(len(data) / bytes_per_second)

            both = [asyncio.create_task(upwards()), asyncio.create_task(downwards())]
            with suppress(asyncio.CancelledError):  # At the end of a measurement all that is left is cancelled.
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for one in both:
                    one.cancel()
                await asyncio.gather(*both, return_exceptions=True)
            writer.close()
            up.close()

    server = await asyncio.start_server(carry, "127.0.0.1", 0, limit=16384)
    try:
        yield replace(way, url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/{path}")
    finally:
        server.close()


# The ways


@contextmanager
def ways() -> Iterator[tuple[list[Way], list[Way]]]:
    """Each way that this machine has to a shell; and directly and through the Hub, to VisiData."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        shell = made_shell(folder)
        gotty = os.environ.get("HUB_GOTTY", "")
        settings = {"HUB_SANDBOX": "none", "HUB_SESSION_PYTHON": str(shell), "HUB_GOTTY": gotty or "none"}
        hub = stack.enter_context(a_hub(HUB_MAX_RUNS="1000", HUB_SESSIONS_PER_USER="1000", **settings))
        direct = "GoTTY, directly" if gotty else "the agent, directly"
        # A run of its own for the Hub, which stays attached for a while: what is faster must not hold up the others.
        address, token = hub.run_of(hub.create())
        found = [Way(direct, f"ws://{address}/ws", (), token), through_hub(hub, hub.create())]
        sheets = hub.create(f"sample:{SHEET}"), hub.create(f"sample:{SHEET}")
        sheet_address, sheet_token = hub.run_of(sheets[0])
        to_sheets = [Way(direct, f"ws://{sheet_address}/ws", (), sheet_token), through_hub(hub, sheets[1])]
        if gotty:
            port, process = _gotty_with_visidata(gotty, hub.data_dir / "samples" / SHEET)
            stack.callback(_end, process)
            _wait_for(port)
            to_sheets.insert(0, Way("GoTTY with VisiData, no agent", f"ws://127.0.0.1:{port}/ws", ()))
        _write_flood(next((hub.data_dir / "homes").iterdir()) / "flood")
        for proxy in (_configurable_http_proxy, _nginx):
            started = proxy(folder, address)
            if started is not None:
                title, port, process = started
                stack.callback(_end, process)
                _wait_for(port)
                found.append(Way(title, f"ws://127.0.0.1:{port}/ws", (), token, pid=_worker(process.pid)))
        yield found, to_sheets


def made_shell(folder: Path) -> Path:
    """A program to be given as HUB_SESSION_PYTHON."""
    shell = folder / "shell"
    shell.write_text(SHELL.format(python=Settings().session_python, prompt=PROMPT.decode()))
    shell.chmod(0o755)
    return shell


def through_hub(hub: RunningHub, session: str) -> Way:
    headers = (("Cookie", hub.cookie), ("Origin", f"http://127.0.0.1:{hub.port}"))
    return Way("the Hub", f"ws://127.0.0.1:{hub.port}/sessions/{session}/tty", headers, hub=True, pid=hub.pid)


def _gotty_with_visidata(gotty: str, sheet: Path) -> tuple[int, subprocess.Popen[bytes]]:
    """GoTTY as its manual has it, with a program for each connection."""
    port = free_port()
    argv = [gotty, "-a", "127.0.0.1", "-p", str(port), "-w"]
    argv += [str(Path(Settings().session_python).with_name("vd")), str(sheet)]
    environment = os.environ | {"TERM": "xterm-256color"}
    return port, subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _configurable_http_proxy(folder: Path, address: str) -> tuple[str, int, subprocess.Popen[bytes]] | None:
    program = shutil.which("configurable-http-proxy", path=f"{PROXIES}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        return None
    port = free_port()
    argv = [program, "--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1", "--api-port", str(free_port())]
    argv += ["--default-target", f"http://{address}", "--log-level", "error"]
    environment = os.environ | {"CONFIGPROXY_AUTH_TOKEN": "bench"}
    return "configurable-http-proxy", port, subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL)


NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://{address}; proxy_http_version 1.1; proxy_read_timeout 1h;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
    }}
  }}
}}
"""


def _nginx(folder: Path, address: str) -> tuple[str, int, subprocess.Popen[bytes]] | None:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        return None
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, address=address))
    return "nginx", port, subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)


def _wait_for(port: int) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit("a proxy did not start")


def _worker(pid: int) -> int:
    """The process that does the work: nginx has it in a child."""
    children = psutil.Process(pid).children()
    return int(children[0].pid) if children else pid


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)


def _write_flood(path: Path) -> None:
    lines = b"".join(
        b"%06d the quick brown fox jumps over the lazy dog 0123456789 abcdefg\r\n" % n for n in range(1000)
    )
    with path.open("wb") as file:
        while file.tell() < FLOOD + 1_000_000:
            file.write(lines)


# All of it


COLUMNS = (
    ("echo p50 µs", "p99 µs"),
    ("flood MB/s", "CPU s for 100 MB"),
    ("Ctrl-C, s",),
    ("page-down, messages", "bytes"),
)

Cells = Mapping[str, tuple[str, ...]]  # By the name of a way.


def run() -> Table:
    uvloop.install()
    with ways() as (found, sheets):
        parts = _echo_cells(found), _flood_cells(found), _interrupt_cells(found), _page_cells(sheets)
        beside = _beside_a_slow_one(found[1])
    table = Table("The terminal's way, beside others", ("", *(column for part in COLUMNS for column in part)))
    for name in dict.fromkeys([way.name for way in found] + [way.name for way in sheets]):
        cells = [part.get(name, ("–",) * len(head)) for part, head in zip(parts, COLUMNS, strict=True)]
        table.add(name, *(cell for part in cells for cell in part))
    table.note(
        f"{ROUNDS} times {KEYS} keys and {ROUNDS} floods of 60 MB each, in turns; speeds are medians, CPU is the mean."
    )
    table.note(
        "Ctrl-C: from the key to the prompt, on a flood over a line of 1 MB/s. Page-down: in VisiData at 200x50."
    )
    table.note(beside)
    ways_found = {way.name for way in found}
    for name in ("configurable-http-proxy", "nginx"):
        if name not in ways_found:
            table.note(f"{name} is not installed and was left out.")
    if not os.environ.get("HUB_GOTTY"):
        table.note("The agent stands in for GoTTY, since HUB_GOTTY names none.")
    return table


def _echo_cells(found: list[Way]) -> Cells:
    took: dict[str, list[float]] = {way.name: [] for way in found}
    for _ in range(ROUNDS):
        for way in found:
            gc.collect()
            took[way.name] += asyncio.run(echoes(way))
    return {name: (f"{quantile(one, 0.5):.0f}", f"{quantile(one, 0.99):.0f}") for name, one in took.items()}


def _flood_cells(found: list[Way]) -> Cells:
    results: dict[str, list[tuple[float, float]]] = {way.name: [] for way in found}
    for _ in range(ROUNDS):
        for way in found:
            results[way.name].append(asyncio.run(flood(way)))
    cells = {}
    for way in found:
        speeds, cpus = zip(*results[way.name], strict=True)
        cells[way.name] = f"{quantile(speeds, 0.5):.1f}", f"{sum(cpus) / ROUNDS:.2f}" if way.pid else "–"
    return cells


def _interrupt_cells(found: list[Way]) -> Cells:
    async def measure(way: Way) -> float:
        async with a_line(way, 1_000_000) as line:
            return await interrupted(line)

    return {way.name: (f"{quantile([asyncio.run(measure(way)) for _ in range(ROUNDS)], 0.5):.2f}",) for way in found}


def _page_cells(sheets: list[Way]) -> Cells:
    cells = {}
    for way in sheets:
        messages, size = asyncio.run(page_downs(way))
        cells[way.name] = f"{messages:.1f}", f"{size:.0f}"
    return cells


def _beside_a_slow_one(way: Way) -> str:
    async def measure() -> tuple[float, tuple[float, int]]:
        alone, _ = await flood(way)
        async with a_line(way, 20_000) as slow:
            return alone, await beside_a_slow_one(way, slow)

    alone, (beside, growth) = asyncio.run(measure())
    return (
        f"A flood beside a viewer that takes 20 kB/s: {beside:.1f} MB/s (alone {alone:.1f}), "
        f"and the Hub grew by {growth / 1e6:.1f} MB."
    )
