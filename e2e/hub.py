"""A real Hub for the tests to use: the process `hub serve` on a free port, with a data folder of its own.

What it prints is kept and can be waited for, since links and mails are printed there. Must not know of browsers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path

import psutil

HUB = Path(sys.executable).with_name("hub")
START_WITHIN = 60.0  # Seconds. The first start makes the database and the samples.
STOP_WITHIN = 40.0


class HubProcess:
    """One Hub: it may be killed and started again, at the same address and on the same data. `url` has no slash."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.data = folder / "data"
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = ""
        # Nothing of the environment of the tests is handed on: HUB_URL, for one, is no setting of the Hub's.
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", str(folder)),
            "HUB_BIND": f"127.0.0.1:{self.port}",
            "HUB_DATA_DIR": str(self.data),
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._printed = asyncio.Condition()

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it; returns once it says that it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before = len(self.log)
        # A pipe of our own: a killed Hub's Postgres goes on and may hold its end, and the Hub is gone all the same.
        read, write = os.pipe()
        process = self._process = await asyncio.create_subprocess_exec(
            HUB, "serve", env=self._environment, cwd=self.folder, stdout=write, stderr=write, start_new_session=True
        )
        os.close(write)
        self._reader = asyncio.create_task(self._read(read), name="read what the Hub prints")
        serves = asyncio.create_task(self.said(r"Ctrl-C stops it", since=before, within=START_WITHIN))
        ends = asyncio.create_task(process.wait())
        await asyncio.wait({serves, ends}, return_when=asyncio.FIRST_COMPLETED)
        ends.cancel()
        if process.returncode is not None:
            serves.cancel()
            self._process = None
            raise AssertionError(f"The Hub did not start. It said:\n{self.log[before:]}")
        await serves

    async def command(self, *arguments: str) -> str:
        """Run `hub` with these arguments on the same data; what it prints."""
        process = await asyncio.create_subprocess_exec(
            HUB, *arguments, env=self._environment, cwd=self.folder, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        assert process.returncode == 0, f"hub {' '.join(arguments)} ended with {process.returncode}"
        return printed.decode()

    async def said(self, pattern: str, *, since: int = 0, within: float = 20.0) -> re.Match[str]:
        """The first match in what it has printed from character `since` on, as soon as there is one."""
        try:
            async with asyncio.timeout(within), self._printed:
                while not (found := re.search(pattern, self.log[since:])):
                    await self._printed.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"The Hub did not say {pattern!r}. It said:\n{self.log[since:]}") from None

    async def end(self, number: signal.Signals) -> int:
        """Send it the signal and wait until it has ended; gives its exit code, negative for a signal's number."""
        assert self._process is not None
        self._process.send_signal(number)
        async with asyncio.timeout(STOP_WITHIN):
            code = await self._process.wait()
        self._process = None
        return code

    async def close(self) -> None:
        """End the Hub and every run that it has started."""
        if self._process is not None:
            await self.end(signal.SIGTERM)
        await asyncio.to_thread(self._end_runs)
        await self.read_no_more()

    async def read_no_more(self) -> None:
        """Close the pipe that it prints into, as a log collector does that ends."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while line := await reader.readline():
                async with self._printed:
                    self.log += line.decode(errors="replace")
                    self._printed.notify_all()
        finally:
            transport.close()

    def _end_runs(self) -> None:
        agents = []
        for record in self.data.glob("runs/*/agent.json"):
            with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
                agents.append(psutil.Process(json.loads(record.read_text())["pid"]))
        for agent in agents:
            with contextlib.suppress(psutil.NoSuchProcess):
                agent.terminate()
        _, left = psutil.wait_procs(agents, timeout=STOP_WITHIN)
        for agent in left:
            agent.kill()
        shutil.rmtree(self.data / "runs", ignore_errors=True)


async def fetch(hub: HubProcess, path: str) -> tuple[int, str]:
    """Status and body of what this very Hub answers to a GET, whatever stands in front of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    finally:
        writer.close()
    return int(head.split()[1]), body


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
