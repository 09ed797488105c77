"""A WebSocket that is taken over from ASGI loses no message, mixes up none, and is refused what the protocol refuses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.speedups import apply_mask

from app.terminal.events import Message
from app.web.sockets import EARLY, EXTENSION, Direct, Socket


class Taker:
    """An ASGI app that takes each socket over, some time after it has accepted it."""

    def __init__(self) -> None:
        self.direct: Direct | None = None
        self.messages: list[Message] = []
        self.drained = 0
        self.ready = asyncio.Event()  # Until then it asks its database.
        self.ready.set()
        self.gone = asyncio.Event()
        self.changed = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        direct: Direct = scope["extensions"][EXTENSION]
        direct.hold()
        await send({"type": "websocket.accept"})
        await self.ready.wait()
        direct.take_over(self.take, self.note_drained)
        self.direct = direct
        self.changed.set()
        while (await receive())["type"] != "websocket.disconnect":
            raise AssertionError("a message came by ASGI")
        self.gone.set()

    def take(self, message: Message) -> None:
        self.messages.append(message)
        self.changed.set()

    def note_drained(self) -> None:
        self.drained += 1
        self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.messages) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def taker() -> Taker:
    return Taker()


@pytest.fixture
async def address(taker: Taker) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(taker, lifespan="off", ws=Socket, ws_max_size=100_000, log_config=None)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listener]))
    yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = server.force_exit = True
    await serving


async def raw(client: ClientConnection, *frames: Frame) -> None:
    """Frames as they are, in one packet."""
    client.transport.write(b"".join(frame.serialize(mask=True) for frame in frames))


async def test_keys_and_text_come_as_they_were_sent_and_in_order(taker: Taker, address: str) -> None:
    sent: list[Message] = [b"j", "é", b"", b"x" * 125, b"x" * 126, b"y" * 90_000, '{"type":"ping"}', bytes(range(100))]
    async with connect(address, compression=None) as client:
        for message in sent:
            await client.send(message)
        await taker.until(len(sent))
    assert taker.messages == sent
    async with asyncio.timeout(30):
        await taker.gone.wait()


async def test_what_comes_before_anybody_has_taken_over_is_kept(taker: Taker, address: str) -> None:
    taker.ready.clear()
    async with connect(address, compression=None) as client:
        many = [b"%d" % number for number in range(3 * EARLY)]
        for message in many:
            await client.send(message)
        taker.ready.set()
        await taker.until(len(many))
    assert taker.messages == many


async def test_frames_that_come_together_or_in_pieces_are_the_same_messages(taker: Taker, address: str) -> None:
    async with connect(address, compression=None) as client:
        await raw(client, Frame(Opcode.BINARY, b"a"), Frame(Opcode.TEXT, b"t"), Frame(Opcode.BINARY, b"b"))
        await raw(client, Frame(Opcode.BINARY, b""), Frame(Opcode.BINARY, b"x" * 125))
        await raw(client, Frame(Opcode.BINARY, b"y"), Frame(Opcode.BINARY, b"z" * 126))
        await raw(client, Frame(Opcode.BINARY, b"c", fin=False))
        await asyncio.sleep(0.05)
        await raw(client, Frame(Opcode.PING, b"?"))
        await asyncio.sleep(0.05)
        await raw(client, Frame(Opcode.CONT, b"d", fin=True))
        whole = Frame(Opcode.BINARY, b"efg").serialize(mask=True)
        for at in range(len(whole)):
            client.transport.write(whole[at : at + 1])
            await asyncio.sleep(0.005)
        await taker.until(9)
        await (await client.ping())
    assert taker.messages == [b"a", "t", b"b", b"", b"x" * 125, b"y", b"z" * 126, b"cd", b"efg"]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
async def test_what_is_written_arrives_whole(taker: Taker, address: str, size: int) -> None:
    async with connect(address, compression=None, max_size=None) as client:
        await client.send(b"hello")
        await taker.until(1)
        assert taker.direct is not None
        taker.direct.send(b"x" * size)
        taker.direct.send("ü" * size)
        assert await client.recv() == b"x" * size
        assert await client.recv() == "ü" * size


async def test_a_peer_that_takes_nothing_is_noticed_and_one_that_takes_again_too(taker: Taker, address: str) -> None:
    async with connect(address, compression=None, max_size=None, max_queue=1) as client:
        await client.send(b"hello")
        await taker.until(1)
        assert taker.direct is not None
        sent = 0
        while taker.direct.writable:
            taker.direct.send(b"x" * 100_000)
            sent += 1
        assert sent < 1000
        for _ in range(sent):
            assert len(await client.recv()) == 100_000
        async with asyncio.timeout(30):
            while not taker.drained:
                taker.changed.clear()
                await taker.changed.wait()
        assert taker.direct.writable


@pytest.mark.parametrize(
    ("frame", "code"),
    [(Frame(Opcode.BINARY, b"x" * 100_001), 1009), (Frame(Opcode.TEXT, b"\xff\xfe"), 1007)],
    ids=["too long", "no text"],
)
async def test_what_the_protocol_forbids_ends_it_with_a_code(
    taker: Taker, address: str, frame: Frame, code: int
) -> None:
    async with connect(address, compression=None) as client:
        await raw(client, frame)
        with suppress(ConnectionClosed):
            await client.recv()
        assert client.close_code == code
    assert taker.messages == []
    async with asyncio.timeout(30):
        await taker.gone.wait()


async def test_one_that_is_cut_off_is_gone_at_once(taker: Taker, address: str) -> None:
    async with connect(address, compression=None) as client:
        await client.send(b"hello")
        await taker.until(1)
        assert taker.direct is not None
        taker.direct.abort()
        async with asyncio.timeout(30):
            await taker.gone.wait()
        taker.direct.send(b"into the void")


FRAME_LIKE = b"\x82\x80abcd"  # A whole frame, of an empty message.
MASK = FRAME_LIKE[:4]  # With this, a frame's mask and payload can read like whole frames themselves.
MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.text("aé日{", max_size=8),
        st.integers(1, 40).map(lambda count: apply_mask((FRAME_LIKE * count)[4:], MASK)),
    ),
    max_size=12,
)


def masked(frame: Frame) -> bytes:
    """The frame as a client sends it (RFC 6455, 5.2), with MASK."""
    size = len(frame.data)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([frame.fin << 7 | frame.opcode]) + length + MASK + apply_mask(frame.data, MASK)


async def test_messages_are_the_same_wherever_the_network_cuts_them(taker: Taker, address: str) -> None:
    """A packet may end anywhere: within a frame's head, its mask or its payload, between fragments, before a ping."""
    async with connect(address, compression=None):
        while taker.direct is None:
            taker.changed.clear()
            await taker.changed.wait()
        socket = taker.direct._socket

        @settings(max_examples=400, deadline=None)
        @given(MESSAGES, st.integers(0, 2**32))
        def check(messages: list[Message], seed: int) -> None:
            random = Random(seed)  # All that is drawn comes first: an example that broke off would leave half a frame.
            stream = bytearray()
            for message in messages:
                opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
                payload = message.encode() if isinstance(message, str) else message
                split = random.choice([0, len(payload) // 2, len(payload)])
                if random.random() < 0.3:  # In two fragments, with a ping between them.
                    stream += masked(Frame(opcode, payload[:split], fin=False))
                    stream += masked(Frame(Opcode.PING, b"?"))
                    opcode, payload = Opcode.CONT, payload[split:]
                stream += masked(Frame(opcode, payload))
            taker.messages.clear()
            while stream:
                size = random.choice([1, 2, 3, 4, 5, 8, 130, len(stream)])
                socket.data_received(bytes(stream[:size]))
                del stream[:size]
            assert taker.messages == messages

        check()
