"""GoTTY's protocol: what the Hub says to each of the three dialects, and to GoTTY clients of its own."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.terminal import webtty
from app.terminal.events import (
    Deadline,
    Hello,
    Nothing,
    Ping,
    Pong,
    ProtocolError,
    Resize,
    Size,
    State,
    Title,
)
from app.terminal.webtty import BufferSize, Client, Ignored, Server, ServerPong, ServerTitle, Utf8

# yudai v1 speaks `gotty`; yudai v2 and sorenisanerd speak `webtty`.
TO_SERVER = [
    ("gotty", b"0", b"1", b"2"),
    ("webtty", b"1", b"2", b"3"),
]
FROM_SERVER = [
    ("gotty", b"0aGk=", b"hi"),
    ("gotty", b"0", b""),
    ("gotty", b"1", ServerPong()),
    ("gotty", b"2vd@host", ServerTitle("vd@host")),
    ("gotty", b"3{}", Ignored()),
    ("gotty", b"410", Ignored()),
    ("gotty", b"61024", Ignored()),
    ("webtty", b"1aGk=", b"hi"),
    ("webtty", b"1w6k=", "é".encode()),
    ("webtty", b"1ww==", b"\xc3"),
    ("webtty", b"2", ServerPong()),
    ("webtty", "3größe".encode(), ServerTitle("größe")),
    ("webtty", b"4{}", Ignored()),
    ("webtty", b"510", Ignored()),
    ("webtty", b"61024", BufferSize(1024)),
    ("webtty", b"7what a later one may say", Ignored()),
    ("webtty", b"0", Ignored()),
]
BROKEN = [
    ("gotty", b""),
    ("gotty", b"0not base64!"),
    ("webtty", b""),
    ("webtty", b"1aGk"),
    ("webtty", b"1aG\nk="),
    ("webtty", b"1\xff\xff\xff\xff"),
    ("webtty", b"6"),
    ("webtty", b"6many"),
    ("webtty", b"6-1"),
    ("webtty", b"60"),
    ("webtty", b"6" + b"9" * 5000),
]


def test_the_first_frame_carries_the_credential_as_json():
    assert json.loads(webtty.init('hub:s3"cret')) == {"Arguments": "", "AuthToken": 'hub:s3"cret'}


def test_what_a_run_is_to_open_goes_as_the_query_of_a_url():
    frame = json.loads(webtty.init("hub:secret", ("file", "a&b=ü +%.csv")))
    assert frame == {"Arguments": "?arg=file&arg=a%26b%3D%C3%BC+%2B%25.csv", "AuthToken": "hub:secret"}


@pytest.mark.parametrize(("subprotocol", "typed", "ping", "resize"), TO_SERVER)
def test_each_dialect_has_its_own_codes(subprotocol: str, typed: bytes, ping: bytes, resize: bytes):
    client = Client(subprotocol)
    assert list(client.input("jé".encode())) == [typed + "jé".encode()]
    assert client.ping() == ping
    frame = client.resize(Size(200, 50))
    assert frame[:1] == resize
    assert json.loads(frame[1:]) == {"columns": 200, "rows": 50}


@pytest.mark.parametrize("subprotocol", [None, "", "tty"])
def test_a_server_of_another_kind_is_refused(subprotocol: str | None):
    with pytest.raises(ProtocolError):
        Client(subprotocol)


@pytest.mark.parametrize(("subprotocol", "frame", "event"), FROM_SERVER)
def test_server_frames_are_understood_and_unknown_ones_ignored(subprotocol: str, frame: bytes, event: object):
    assert Client(subprotocol).decode(frame) == event


@pytest.mark.parametrize(("subprotocol", "frame"), BROKEN)
def test_broken_server_frames_are_an_error_and_not_a_crash(subprotocol: str, frame: bytes):
    with pytest.raises(ProtocolError):
        Client(subprotocol).decode(frame)


@given(st.sampled_from(["gotty", "webtty"]), st.binary(max_size=200))
def test_no_frame_whatever_crashes_the_codec(subprotocol: str, frame: bytes):
    with contextlib.suppress(ProtocolError):
        Client(subprotocol).decode(frame)


@given(st.text(max_size=3000), st.one_of(st.none(), st.integers(16, 70_000)))
def test_long_input_is_split_below_the_servers_limit_and_never_within_a_character(text: str, announced: int | None):
    client = Client("webtty")
    if announced is not None:
        client.decode(b"6%d" % announced)
    frames = client.input(text.encode())
    assert all(len(frame) <= (announced or 1024) for frame in frames)
    assert "".join(frame[1:].decode() for frame in frames) == text


@given(st.text(max_size=60), st.lists(st.integers(0, 240), max_size=12))
def test_characters_cut_between_two_messages_arrive_whole(text: str, cuts: list[int]):
    data = text.encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    utf8 = Utf8()
    pieces = [utf8.take(data[a:b]) for a, b in itertools.pairwise(edges)]
    assert b"".join(pieces) == data
    for piece in pieces:
        piece.decode()


def test_bytes_that_are_not_text_never_reach_the_server_as_such():
    typed = Utf8().take(b"a\xff\xfeb")
    assert b"".join(Client("webtty").input(typed)).decode() == "1a\ufffd\ufffdb"


def test_a_gotty_client_of_the_hub_gets_what_gotty_would_send():
    server = Server()
    server.begin('{"Arguments":"","AuthToken":""}')
    title, size = server.greeting()
    assert title == "3VisiData"
    assert Client("webtty").decode(str(size).encode()) == BufferSize(65536)
    output = server.output(b"\x1b[Hhi\xc3")
    assert isinstance(output, str)
    assert output[0] == "1"
    assert base64.b64decode(output[1:]) == b"\x1b[Hhi\xc3"
    assert server.notice(Title("cities")) == ["3cities"]
    assert server.notice(Pong()) == ["2"]
    for notice in (Hello("drive", Size(80, 24)), State("stopped", "quit"), Deadline(None)):
        assert server.notice(notice) == []


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        ("1q", b"q"),
        ("1é", "é".encode()),
        ("1", b""),
        ("2", Ping()),
        ('3{"columns":100,"rows":30}', Resize(Size(100, 30))),
        ("4null", Nothing()),
    ],
)
def test_gotty_clients_are_understood(frame: str, event: object):
    assert Server().decode(frame) == event


def test_a_gotty_client_may_send_its_keys_as_base64():
    server = Server()
    server.decode("4base64")
    assert server.decode("1w6k=") == "é".encode()
    with pytest.raises(ProtocolError):
        server.decode("1é")
    server.decode("4null")
    assert server.decode("1w6k=") == b"w6k="


@pytest.mark.parametrize(
    "frame", ["", b"1q", "0", "9", "3", "3[]", '3{"columns":0,"rows":5}', '3{"columns":"9","rows":5}', "4rot13", "é"]
)
def test_what_gotty_would_not_take_is_an_error(frame: bytes | str):
    with pytest.raises(ProtocolError):
        Server().decode(frame)


@pytest.mark.parametrize("frame", ["", "[]", "1q", b'{"Arguments":"","AuthToken":""}'])
def test_a_gotty_client_must_open_with_its_json_in_a_text_frame(frame: bytes | str):
    with pytest.raises(ProtocolError):
        Server.begin(frame)
