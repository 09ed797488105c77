"""The server's side of GoTTY's protocol, message by message. The source of each row: sorenisanerd/gotty 1.7.2."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent import gotty
from app.agent.gotty import Decoder, Ignored, Input, Ping, ProtocolViolation, Resize


@pytest.mark.parametrize(
    ("message", "token"),
    [
        ('{"Arguments": "", "AuthToken": "user:secret"}', "user:secret"),
        ('{"AuthToken": "user:secret"}', "user:secret"),
        ('{"Arguments": "?arg=x"}', ""),  # GoTTY's own page sends no token where none is needed.
        ("{}", ""),
    ],
)
def test_the_first_message_carries_the_token(message: str, token: str) -> None:
    assert gotty.read_hello(message).token == token


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("", ()),
        ("?", ()),
        ("?arg=file&arg=a+b.csv", ("file", "a b.csv")),
        ("?arg=empty&arg=", ("empty", "")),
        ("?arg=sample&x=1&arg=%26%3D%3F%20st%C3%A4dte.csv", ("sample", "&=? städte.csv")),
    ],
)
def test_the_first_message_may_say_what_to_open(query: str, arguments: tuple[str, ...]) -> None:
    assert gotty.read_hello(json.dumps({"Arguments": query})).arguments == arguments


@pytest.mark.parametrize(
    "message",
    [b'{"AuthToken": "a:b"}', "", "hello", "[]", '"a:b"', "null", '{"AuthToken": 1}', '{"Arguments": ["arg"]}'],
)
def test_a_first_message_of_another_shape_is_a_violation(message: str | bytes) -> None:
    with pytest.raises(ProtocolViolation):
        gotty.read_hello(message)


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("1j", Input(b"j")),
        ("1Köln", Input("Köln".encode())),
        ("1\x1b[A", Input(b"\x1b[A")),
        ("1", Ignored()),
        ("2", Ping()),
        ('3{"columns": 200, "rows": 50}', Resize(200, 50)),
        ('3{"columns": 200.0, "rows": 50.9}', Resize(200, 50)),  # GoTTY reads floats and cuts them.
        ('3{"columns": 1, "rows": 1000}', Resize(1, 1000)),
        ('3{"columns": 0, "rows": 0}', Ignored()),
        ('3{"columns": 1001, "rows": 50}', Ignored()),
        ('3{"columns": 80, "rows": -1}', Ignored()),
        ("4base64", Ignored()),
        ("4something", Ignored()),
        (b"1j", Ignored()),
    ],
)
def test_each_message_of_a_client(message: str | bytes, meaning: gotty.Message) -> None:
    assert Decoder().decode(message) == meaning


@pytest.mark.parametrize(
    "message",
    [
        "",
        "0",
        "5",
        "x",
        "3",
        "3{}",
        "3[]",
        "3null",
        '3{"columns": 80}',
        '3{"columns": 1e999, "rows": 24}',
        '3{"columns": NaN, "rows": 24}',
        '3{"columns": "wide", "rows": 24}',
        "3" + "[" * 100_000,
        "1" + "x" * gotty.MESSAGE_LIMIT,
        "2" + "x" * gotty.MESSAGE_LIMIT,
        "1" + "ä" * (gotty.MESSAGE_LIMIT // 2),
    ],
)
def test_what_gotty_drops_a_client_for_is_a_violation(message: str) -> None:
    with pytest.raises(ProtocolViolation):
        Decoder().decode(message)


def test_input_may_be_as_long_as_announced() -> None:
    longest = "x" * (gotty.MESSAGE_LIMIT - 1)
    assert Decoder().decode("1" + longest) == Input(longest.encode())


def test_input_is_base64_once_a_client_says_so_and_until_it_says_null() -> None:
    decoder = Decoder()
    decoder.decode("4base64")
    assert decoder.decode("1" + base64.b64encode(b"\xff\x00j").decode()) == Input(b"\xff\x00j")
    with pytest.raises(ProtocolViolation):
        decoder.decode("1not base64!")
    decoder.decode("4null")
    assert decoder.decode("1not base64!") == Input(b"not base64!")


def test_what_the_server_sends() -> None:
    assert gotty.encode_output(b"\x1b[Hhi") == b"1G1tIaGk="
    assert gotty.encode_title("a – b") == "3a – b".encode()
    assert gotty.encode_message_limit(1024) == b"61024"
    assert gotty.PONG == b"2"


@given(st.binary())
def test_output_comes_through_whole(data: bytes) -> None:
    message = gotty.encode_output(data)
    message.decode("ascii")
    assert (message[:1], base64.b64decode(message[1:], validate=True)) == (b"1", data)


def read_all_ways(message: str | bytes) -> None:
    for read in (Decoder().decode, gotty.read_hello):
        with contextlib.suppress(ProtocolViolation):
            read(message)


@given(st.text() | st.binary())
def test_nothing_that_a_client_sends_raises_anything_else(message: str | bytes) -> None:
    read_all_ways(message)


sizes = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(["columns", "rows", "AuthToken", "Arguments"]), sizes))
def test_nor_does_any_json(value: object) -> None:
    read_all_ways("3" + json.dumps(value))
    read_all_ways(json.dumps(value))
