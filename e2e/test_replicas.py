"""Several replicas behind a load balancer: one may go at any time, and people go on with what they do.

The times are those of docs/operations.md, with room for a machine that is busy; `python -m bench leave` measures them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from pathlib import Path
from string import ascii_lowercase

import psutil
import pytest
from playwright.async_api import Browser, Playwright, expect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from e2e.browser import Browse, Person, create_and_open, make_first_admin, row, until
from e2e.conftest import as_person
from e2e.hub import HubProcess, fetch
from e2e.replicas import Replicas

BACK_WITHIN = 5.0  # Seconds; people are promised 3.
GONE_WITHIN = 12.0  # Seconds; operators are promised 10.
CTRL_L = b"\x0c"  # VisiData draws everything anew,
REDRAWN = 10_000  # which is more bytes than this, in a large window.
LARGE = 10_000_000  # Bytes.
STUCK_AFTER = 200_000  # Bytes. What the kernel and the Hub hold for the stuck viewer below is less.


@pytest.fixture(scope="module")
async def first(replicas: Replicas, chromium: Browser, playwright: Playwright) -> Person:
    page = await chromium.new_page()
    await make_first_admin(page, await replicas.first_link(), "owner@example.org")
    return await as_person(page, replicas.url, "owner@example.org", playwright)


@pytest.fixture
async def owner(replicas: Replicas, first: Person) -> AsyncIterator[Person]:
    """The one person there, with no sessions; afterwards all replicas serve again."""
    yield first
    await replicas.all_ready()
    await first.clear()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_when_the_replica_goes_the_terminal_is_back_on_another_without_a_click(
    replicas: Replicas, owner: Person, browse: Browse, number: signal.Signals
) -> None:
    page = await browse(owner)
    terminal = await create_and_open(page, replicas.url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    await terminal.press("Shift+F")
    await terminal.sees("penguins_species_freq", "Gentoo")
    await terminal.press("/")
    await terminal.type("typed before")
    await terminal.sees("search regex: typed before")
    going, _ = await replicas.with_terminals()
    await terminal.watch()

    code = await going.end(number)
    await until(page, "watched.absences.length === 1")
    assert code == (0 if number == signal.SIGTERM else -number)
    await terminal.type(", and after")
    await terminal.sees("search regex: typed before, and after", "Chinstr", "Gentoo", but_not="restarting input")
    (absence,) = await terminal.absences()
    assert absence < BACK_WITHIN
    assert await terminal.keys() == (", and after", "")
    await terminal.press("Control+C", "q")
    await terminal.sees("344 rows", but_not="species_freq")


async def test_one_types_through_a_restart_of_all_replicas(replicas: Replicas, owner: Person, browse: Browse) -> None:
    page = await browse(owner, viewport={"width": 3000, "height": 700})
    terminal = await create_and_open(page, replicas.url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    await terminal.press("/")
    await terminal.sees("search regex:")
    await terminal.watch()

    async def restart_all() -> None:
        for hub in await replicas.with_terminals():
            assert await hub.end(signal.SIGTERM) == 0
            await replicas.all_ready()

    restarting = asyncio.create_task(restart_all())
    letters = cycle(ascii_lowercase)
    while not restarting.done():
        await terminal.press(next(letters))
        await page.wait_for_timeout(200)  # As somebody types who is in no hurry.
    await restarting
    await terminal.is_connected()
    sent, unsent = await terminal.keys()
    # Exactly what the page has sent, once and in order; what it has not it has said.
    await terminal.sees(f"search regex: {sent}_")  # VisiData fills what is empty with _.
    absences = await terminal.absences()
    assert len(absences) == 2, "each replica had the terminal once"
    assert max(absences) < BACK_WITHIN
    assert len(unsent) < len(sent) / 2


async def test_the_list_goes_on_while_replicas_come_and_go(replicas: Replicas, owner: Person, browse: Browse) -> None:
    page = await browse(owner)
    await page.goto(f"{replicas.url}/sessions")
    await expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
    for hub in replicas.hubs:
        assert await hub.end(signal.SIGTERM) == 0
        session_id = await owner.create(name=f"made without {hub.port}")
        await expect(row(page, f"made without {hub.port}")).to_contain_text("Running")
        await owner.api.delete(f"/api/v1/sessions/{session_id}")
        await expect(row(page, f"made without {hub.port}")).to_have_count(0)
        await expect(page.locator("#offline")).to_be_hidden()
        await replicas.all_ready()


async def test_a_replica_that_leaves_says_so_serves_on_and_sends_new_terminals_to_others(
    replicas: Replicas, owner: Person
) -> None:
    session_id = await owner.create(source={"sample": "penguins.csv"})
    leaving, _ = replicas.hubs
    async with _attached(leaving, owner, session_id) as attached:
        await _until_shown(attached, b"Adelie")
        going = asyncio.create_task(leaving.end(signal.SIGTERM))
        await leaving.said("Stopping", since=leaving.log.rindex("Ctrl-C stops it"))
        assert await fetch(leaving, "/readyz") == (503, "leaving\n")
        assert (await fetch(leaving, "/healthz"))[0] == 200
        async with _attached(leaving, owner, session_id) as late:
            assert await _closed_with(late) == 1012
        await attached.send(b"j")  # Whoever is there works on until the balancer has noticed.
        await _until_shown(attached, b"go-down")
        assert await _closed_with(attached) == 1012
        assert await going == 0


async def test_a_replica_is_gone_in_time_whoever_holds_on_to_it(replicas: Replicas, owner: Person) -> None:
    """Twenty viewers and one who takes nothing, an upload that does not come to its end, a download nobody reads."""
    leaving = replicas.hubs[0]
    async with contextlib.AsyncExitStack() as stack:
        # It has more than anybody holds for one who does not read.
        stored, _ = await stack.enter_async_context(_asked(leaving, owner, "PUT", "large.bin", LARGE, LARGE))
        assert b" 201 " in await stored.readline()
        session_ids = [await owner.create(source={"sample": "penguins.csv"}) for _ in range(4)]
        viewers = [
            await stack.enter_async_context(_attached(leaving, owner, session_id))
            for session_id in session_ids
            for _ in range(5)
        ]
        await stack.enter_async_context(_asked(leaving, owner, "GET", "large.bin"))
        await stack.enter_async_context(_asked(leaving, owner, "PUT", "half.bin", LARGE, LARGE // 2))
        stack.enter_context(_stuck(leaving, owner, session_ids[-1]))
        await viewers[-1].send(json.dumps({"type": "resize", "cols": 120, "rows": 400}))
        received = 0
        while received < STUCK_AFTER:
            await viewers[-1].send(CTRL_L)
            enough = received + REDRAWN
            while received < enough:
                received += len(await viewers[-1].recv())

        before, began = len(leaving.log), time.monotonic()
        ends = [asyncio.create_task(_closed_with(viewer)) for viewer in viewers]
        assert await leaving.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < GONE_WITHIN
        assert await asyncio.gather(*ends) == [1012] * 20
        assert "not everything has ended in time" not in leaving.log[before:]
        assert "Traceback" not in leaving.log[before:]
    await replicas.all_ready()
    files = await (await owner.api.get("/api/v1/files/")).json()
    assert {file["name"]: file["size"] for file in files} == {"large.bin": LARGE}


async def test_another_replica_goes_on_at_once_with_what_the_leaving_one_had_begun(
    replicas: Replicas, owner: Person
) -> None:
    answers = await asyncio.gather(*(owner.api.post("/api/v1/sessions", data={"name": str(n)}) for n in range(8)))
    session_ids = [(await answer.json())["id"] for answer in answers]
    began = time.monotonic()
    assert await replicas.hubs[0].end(signal.SIGTERM) == 0
    for session_id in session_ids:
        await owner.reaches(session_id, "running")
    # A lease that nobody gave back would have held its session for 30 s.
    assert time.monotonic() - began < 20
    runs = [folder.name for folder in replicas.hubs[0].data.glob("runs/*-*")]
    assert sorted(run for run in runs if run.partition("-")[0] in session_ids) == sorted(f"{s}-1" for s in session_ids)


async def test_a_replica_is_gone_in_time_though_postgres_does_not_answer(replicas: Replicas, owner: Person) -> None:
    leaving = replicas.hubs[0]
    before, began = len(leaving.log), time.monotonic()
    with _held(replicas):
        async with _asked(leaving, owner, "GET", "waits-for-postgres.csv"):
            assert await leaving.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < GONE_WITHIN
    assert "Traceback" not in leaving.log[before:]


async def test_a_replica_that_is_still_starting_is_gone_in_time_too(replicas: Replicas, tmp_path: Path) -> None:
    late = HubProcess(tmp_path, **replicas.settings)
    with _held(replicas):
        starting = asyncio.create_task(late.start())
        await late.said("Connecting to Postgres")
        began = time.monotonic()
        assert await late.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < GONE_WITHIN
    with pytest.raises(AssertionError, match="The Hub did not start"):
        await starting
    await late.close()


@contextlib.contextmanager
def _held(replicas: Replicas) -> Iterator[None]:
    """Postgres, as a machine that hangs: its connections stand, and nothing comes from them."""
    folder = str(replicas.database)
    server = next(process for process in psutil.process_iter(["cmdline"]) if folder in (process.info["cmdline"] or []))
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def _attached(hub: HubProcess, person: Person, session_id: str) -> connect:
    """A program that is attached to a terminal of this very replica."""
    return connect(
        f"ws://127.0.0.1:{hub.port}/sessions/{session_id}/tty?cols=120&rows=40",
        subprotocols=[Subprotocol("hub.tty.v1")],
        additional_headers={"Authorization": f"Bearer {person.token}"},
        max_queue=None,
        ping_interval=None,
    )


@contextlib.contextmanager
def _stuck(hub: HubProcess, person: Person, session_id: str) -> Iterator[None]:
    """One that is attached, and takes nothing."""
    with socket.socket() as client:
        # The smaller the pieces that it could take, the less the other side's kernel keeps for it.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", hub.port))
        client.sendall(
            f"GET /sessions/{session_id}/tty HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {person.token}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Protocol: hub.tty.v1\r\n\r\n".encode()
        )
        assert b" 101 " in client.recv(64)
        yield


@contextlib.asynccontextmanager
async def _asked(
    hub: HubProcess, person: Person, method: str, file: str, length: int = 0, sent: int = 0
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A request for a file to this very replica, whose answer nobody reads by itself; `sent` of its `length` is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port, limit=1024)
    head = [f"{method} /api/v1/files/{file} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {person.token}"]
    writer.write("\r\n".join([*head, f"Content-Length: {length}", "", ""]).encode() + bytes(sent))
    await writer.drain()
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _until_shown(socket_: ClientConnection, text: bytes) -> None:
    shown = b""
    async with asyncio.timeout(10):
        while text not in shown:
            message = await socket_.recv()
            if isinstance(message, bytes):
                shown = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown[-1000:] + message)


async def _closed_with(socket_: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(GONE_WITHIN):
            while True:
                await socket_.recv()
    return socket_.close_code
