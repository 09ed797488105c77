"""Clients that send too much, too slowly or for nothing: each gets to read why, and none is held for long."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving import Site, serve

from app.server import Server, config
from app.settings import Settings
from app.web import backpressure

LIMIT = 100_000
SENT = 30_000_000  # Far more than what sockets hold.


@dataclass
class Hub:
    """A Hub on a port, as `hub serve` serves it, and a person there."""

    site: Site
    port: int
    cookie: str
    token: str
    home: Path

    async def ask(self, method: str, path: str, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request's head; what proves the person is the token for the API, and the cookie for pages."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        proof = f"Authorization: {self.token}" if path.startswith("/api/") else f"Cookie: {self.cookie}"
        version = "1.0" if "HTTP/1.0" in headers else "1.1"
        lines = [f"{method} {path} HTTP/{version}", f"Host: 127.0.0.1:{self.port}", proof, "Accept: application/json"]
        lines += ["Sec-Fetch-Site: same-origin", *(header for header in headers if ":" in header)]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        return reader, writer


@pytest.fixture
async def hub(settings: Settings, database: object) -> AsyncIterator[Hub]:
    async with serve(dataclasses.replace(settings, max_upload=LIMIT)) as site:
        account, ada = await site.person("ada@example.org")
        program = await site.program(account)
        listener = socket.create_server(("127.0.0.1", 0))
        server = Server(config(site.app, settings))
        serving = asyncio.create_task(server.serve([listener]))
        cookie = "; ".join(f"{one.name}={one.value}" for one in ada.client.cookie_jar)
        home = site.hub.homes.ensure(str(account.id))
        (home / ".cache" / "visidata-hub").mkdir(parents=True)
        yield Hub(site, listener.getsockname()[1], cookie, program.headers["Authorization"], home)
        server.should_exit = True
        await serving


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The status, and all of the answer."""
    async with asyncio.timeout(60):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        (length,) = re.findall(r"content-length: (\d+)", head)
        return int(head.split()[1]), head + (await reader.readexactly(int(length))).decode()


FORM = "Content-Type: multipart/form-data; boundary=b"
FORM_HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'


@pytest.mark.parametrize(
    ("method", "path", "headers", "head"),
    [
        ("PUT", "/api/v1/files/x.csv", ("Connection: close",), b""),
        ("PUT", "/api/v1/files/x.csv", ("Connection: keep-alive",), b""),
        ("PUT", "/api/v1/files/x.csv", ("HTTP/1.0",), b""),
        ("PUT", "/files/upload/x.csv", ("Connection: close",), b""),
        ("PUT", "/files/left/clipboard", ("Connection: close",), b""),
        ("POST", "/files", ("Connection: close", FORM), FORM_HEAD),
        ("POST", "/api/v1/sessions", ("Connection: close",), b""),
        ("POST", "/sessions", ("Connection: close", "Content-Type: application/x-www-form-urlencoded"), b""),
    ],
)
async def test_who_sends_too_much_and_reads_only_then_reads_why(
    hub: Hub, method: str, path: str, headers: tuple[str, ...], head: bytes
) -> None:
    reader, writer = await hub.ask(method, path, *headers, f"Content-Length: {SENT + len(head)}")
    writer.write(head)
    for _ in range(SENT // 1_000_000):
        writer.write(b"x" * 1_000_000)
        await writer.drain()  # Raises where the connection is reset.
    status, whole = await read_answer(reader)
    assert status == 413
    assert "too large" in whole.lower()
    assert whole.endswith("}")
    writer.close()
    assert [path.name for path in hub.home.rglob("*") if path.is_file()] == []


async def test_who_sends_too_much_in_chunks_reads_why(hub: Hub) -> None:
    reader, writer = await hub.ask("PUT", "/api/v1/files/x.csv", "Connection: close", "Transfer-Encoding: chunked")
    for _ in range(30):
        writer.write(b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    assert (await read_answer(reader))[0] == 413
    writer.close()


async def test_who_asks_first_whether_to_send_is_refused_without_sending(hub: Hub) -> None:
    headers = "Expect: 100-continue", f"Content-Length: {SENT}"
    reader, writer = await hub.ask("PUT", "/api/v1/files/x.csv", *headers)
    status, whole = await read_answer(reader)
    assert status == 413
    assert "100 Continue" not in whole
    writer.close()
    reader, writer = await hub.ask("PUT", "/api/v1/files/x.csv", "Expect: 100-continue", "Content-Length: 3")
    async with asyncio.timeout(30):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"a\n1")
        assert (await reader.readline()).startswith(b"HTTP/1.1 201")
    writer.close()


async def test_what_is_still_sent_after_a_refusal_is_bounded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backpressure, "DRAINED", 1_000_000)
    _, writer = await hub.ask("PUT", "/api/v1/files/x.csv", f"Content-Length: {10**9}")
    sent = 0
    with pytest.raises(ConnectionError):
        async with asyncio.timeout(60):
            while True:
                writer.write(b"x" * 1_000_000)
                await writer.drain()
                sent += 1_000_000
    assert sent < 200_000_000
    writer.close()


@pytest.mark.parametrize(
    ("method", "path", "headers", "head"),
    [
        ("PUT", "/api/v1/files/x.csv", (), b""),
        ("PUT", "/files/upload/x.csv", (), b""),
        ("POST", "/files", (FORM,), FORM_HEAD),
        ("POST", "/files", (FORM,), b"--b\r\n"),
    ],
)
async def test_an_upload_that_stalls_is_ended_and_leaves_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, method: str, path: str, headers: tuple[str, ...], head: bytes
) -> None:
    monkeypatch.setattr(hub.site.app.request_class.body_class, "patience", 0.5)
    monkeypatch.setattr(backpressure, "DRAIN_SILENCE", 0.5)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    reader, writer = await hub.ask(method, path, *headers, "Content-Length: 90000")
    writer.write(head)

    async def drip() -> None:
        while not writer.is_closing():  # Never silent, and never done.
            writer.write(b"x")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    status, whole = await read_answer(reader)
    dripping.cancel()
    assert status == 408
    assert "stalled" in whole
    writer.close()
    assert [path.name for path in hub.home.rglob("*") if path.is_file()] == []
    async with asyncio.timeout(30):
        while len(os.listdir("/dev/fd")) > before:  # noqa: PTH208
            await asyncio.sleep(0.05)


async def test_an_upload_that_is_slow_and_steady_is_not_ended(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.site.app.request_class.body_class, "patience", 5.0)
    monkeypatch.setattr(backpressure, "LEAST", 10)
    reader, writer = await hub.ask("PUT", "/api/v1/files/x.csv", "Connection: close", "Content-Length: 100")
    for _ in range(10):
        writer.write(b"x" * 10)
        await asyncio.sleep(0.05)
    assert (await read_answer(reader))[0] == 201
    writer.close()
