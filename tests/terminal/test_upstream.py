"""What a hostile run may send: its connection bears it or breaks, and no other session is held up by it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from app.terminal import upstream
from app.terminal.upstream import MAX_FRAGMENTS, MAX_FRAME, SMALL_FRAME_BURST, Upstream

PATIENCE = 30.0


class Run:
    """A run whose server is a person's own: it says the handshake right, and then whatever the test makes it write."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.taken: Callable[[bytes | memoryview], None] = lambda frame: self.messages.append(bytes(frame))

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not seen():
                await asyncio.sleep(0.01)

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Upstream]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            connecting = asyncio.create_task(Upstream.connect(address, lambda frame: self.taken(frame)))
            self.socket, _ = await loop.sock_accept(listener)
            self.socket.setblocking(False)
            server = ServerProtocol(subprotocols=["webtty"])  # type: ignore[list-item]
            while not (events := server.events_received()):
                server.receive_data(await loop.sock_recv(self.socket, 65536))
            assert isinstance(events[0], Request)
            server.send_response(server.accept(events[0]))
            await self.write(b"".join(server.data_to_send()))
            live = await connecting
            try:
                yield live
            finally:
                live.close()
                self.socket.close()


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=False)


@pytest.fixture
def run() -> Run:
    return Run()


async def test_a_message_in_fragments_arrives_whole(run: Run) -> None:
    async with run.connected():
        parts = [frame(Opcode.TEXT, b"1a", fin=False), frame(Opcode.CONT, b"b", fin=False), frame(Opcode.CONT, b"c")]
        await run.write(b"".join(parts) + frame(Opcode.TEXT, b"1d"))
        await run.until(lambda: run.messages == [b"1abc", b"1d"])


@pytest.mark.parametrize("part", [b"", b"x"])
async def test_a_message_of_endless_fragments_breaks_its_connection(run: Run, part: bytes) -> None:
    """Each fragment costs the same, however many came before, and there are never more than a bound in memory."""
    async with run.connected() as live:
        more = frame(Opcode.CONT, part, fin=False) * (MAX_FRAGMENTS // 2)
        await run.write(frame(Opcode.TEXT, b"1", fin=False))
        for _ in range(3):
            await run.write(more)
        await run.until(live.over.is_set)
    assert run.messages == []


async def test_a_message_that_is_too_long_in_all_its_fragments_breaks_its_connection(run: Run) -> None:
    async with run.connected() as live:
        part = bytes(MAX_FRAME // 4)
        await run.write(frame(Opcode.TEXT, b"1", fin=False))
        for _ in range(4):
            await run.write(frame(Opcode.CONT, part, fin=False))
        await run.until(live.over.is_set)
    assert run.messages == []


@pytest.mark.parametrize(
    ("kind", "data"), [(Opcode.TEXT, b"1"), (Opcode.TEXT, b"3"), (Opcode.BINARY, b""), (Opcode.PING, b"")]
)
async def test_a_flood_of_tiny_frames_gives_the_loop_back_all_the_time(run: Run, kind: Opcode, data: bytes) -> None:
    """More of them than the burst are not read at once: they are left to the kernel, and in the end to the run."""
    taken = 0

    def take(message: bytes | memoryview) -> None:
        nonlocal taken
        taken += 1

    run.taken = take
    async with run.connected() as live:
        large = frame(Opcode.TEXT, b"1" + bytes(100_000))  # Makes the reader's buffer as large as it gets.
        await run.write(large)
        await run.until(lambda: taken == 1)
        began = time.monotonic()
        writing = asyncio.create_task(run.write(frame(kind, data) * 200_000))
        turns, most = 0, 0
        while time.monotonic() - began < 0.5:
            before = taken
            await asyncio.sleep(0)
            turns, most = turns + 1, max(most, taken - before)
        assert most <= 2 * SMALL_FRAME_BURST
        assert (
            taken <= SMALL_FRAME_BURST + upstream.SMALL_FRAME_RATE * (time.monotonic() - began) + upstream.AT_ONCE + 1
        )
        assert not live.over.is_set()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def test_after_a_burst_of_tiny_frames_everything_still_arrives_in_its_order(run: Run) -> None:
    count = 2 * SMALL_FRAME_BURST
    async with run.connected():
        await run.write(b"".join(frame(Opcode.TEXT, b"1%d" % number) for number in range(count)))
        await run.until(lambda: len(run.messages) == count)
        await run.write(frame(Opcode.TEXT, b"1end"))
        await run.until(lambda: len(run.messages) > count)
    assert run.messages == [*(b"1%d" % number for number in range(count)), b"1end"]


async def test_a_run_that_reads_nothing_cannot_fill_the_hubs_memory(run: Run) -> None:
    async with run.connected() as live:
        for _ in range(2000):
            live.send(bytes(64 * 1024))
            if live.over.is_set():
                break
        assert live.over.is_set()
        assert live.waiting <= upstream.MAX_UNREAD + 64 * 1024 + 100


async def test_pings_are_answered_and_a_flood_of_them_is_not(run: Run) -> None:
    async with run.connected() as live:
        await run.write(frame(Opcode.PING, b"hello"))
        async with asyncio.timeout(PATIENCE):
            answer = await asyncio.get_running_loop().sock_recv(run.socket, 100)
        assert answer[0] == 0x8A  # A pong.
        for _ in range(200):
            await run.write(frame(Opcode.PING, bytes(125)) * 100)
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert live.waiting < 64 * 1024
