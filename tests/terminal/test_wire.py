"""hub.tty.v1: what the terminal page and the Hub say to each other."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.terminal.events import (
    Ack,
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
from app.terminal.wire import HubTty


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (b"", b""),
        (b"j\xc3", b"j\xc3"),
        ('{"type":"resize","cols":1,"rows":1000}', Resize(Size(1, 1000))),
        ('{"type":"resize","cols":80,"rows":1}', Resize(Size(80, 4))),  # In fewer rows VisiData hides a prompt.
        ('{"type":"ack","bytes":0}', Ack(0)),
        ('{"type":"ack","bytes":131072}', Ack(131072)),
        ('{"type":"ack","bytes":7,"later":1}', Ack(7)),
        ('{ "bytes": 7, "type": "ack" }', Ack(7)),
        ('{"type":"ping"}', Ping()),
        ('{"type":"from a later page","x":1}', Nothing()),
        ("{}", Nothing()),
    ],
)
def test_what_the_page_says_is_understood(message: bytes | str, event: object):
    assert HubTty().decode(message) == event


@pytest.mark.parametrize(
    "message",
    [
        "",
        "j",
        "[]",
        "null",
        '{"type":"resize"}',
        '{"type":"resize","cols":0,"rows":24}',
        '{"type":"resize","cols":80,"rows":1001}',
        '{"type":"resize","cols":80.5,"rows":24}',
        '{"type":"resize","cols":true,"rows":24}',
        '{"type":"ack"}',
        '{"type":"ack","bytes":-1}',
        '{"type":"ack","bytes":"9"}',
        '{"type":"' + "x" * 2000 + '"}',
        "[" * 1000,
    ],
)
def test_what_is_out_of_range_is_an_error(message: str):
    with pytest.raises(ProtocolError):
        HubTty().decode(message)


@given(st.one_of(st.text(), st.binary()))
def test_no_message_whatever_crashes_the_codec(message: bytes | str):
    with contextlib.suppress(ProtocolError):
        HubTty().decode(message)


def test_output_is_the_programs_bytes_untouched():
    assert HubTty().output(b"\x1b[H\xc3") == b"\x1b[H\xc3"
    assert HubTty().greeting() == []


@pytest.mark.parametrize(
    ("notice", "message"),
    [
        (
            Hello("watch", Size(100, 30)),
            {"type": "hello", "mode": "watch", "cols": 100, "rows": 30, "yours": False},
        ),
        (Title("städte"), {"type": "title", "text": "städte"}),
        (State("reconnecting"), {"type": "state", "state": "reconnecting", "reason": None}),
        (
            State("stopped", "quit", "You quit."),
            {"type": "state", "state": "stopped", "reason": "quit", "text": "You quit."},
        ),
        (
            Deadline("2030-01-01T00:00:00+00:00", "idle"),
            {"type": "deadline", "at": "2030-01-01T00:00:00+00:00", "why": "idle"},
        ),
        (Pong(), {"type": "pong"}),
        (Deadline(None), {"type": "deadline", "at": None, "why": ""}),
    ],
)
def test_what_the_hub_says_is_one_json_object(notice: object, message: dict[str, object]):
    (text,) = HubTty().notice(notice)  # type: ignore[arg-type]
    assert isinstance(text, str)
    assert json.loads(text) == message
