"""What a session says of itself: its state as people should see it, and why it is not running."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from app.errors import BadInput
from app.runtimes.base import Reason, RunId, Source
from app.sessions.models import Session
from app.sessions.service import clean_name
from app.sessions.state import REASON_TEXTS, State, Wanted

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)

SESSION = Session(
    id="abcdefghijkm",
    user_id=UUID(int=1),
    name="Penguins",
    source=Source("sample", "penguins.csv"),
    created_at=NOON,
    wanted=Wanted.RUNNING,
    wanted_reason=None,
    state=State.RUNNING,
    reason=None,
    detail="",
    generation=3,
    run_uid="uid",
    address="127.0.0.1:1",
    credential="hub:x",
    queued_at=NOON,
    put_back_at=None,
    launched_at=NOON,
    started_at=NOON,
    last_input_at=None,
    ended_at=None,
    attempts=0,
)


@pytest.mark.parametrize(
    ("wanted", "state", "shown"),
    [
        (Wanted.RUNNING, State.STOPPED, State.STARTING),
        (Wanted.RUNNING, State.FAILED, State.STARTING),
        (Wanted.RUNNING, State.QUEUED, State.QUEUED),
        (Wanted.RUNNING, State.STARTING, State.STARTING),
        (Wanted.RUNNING, State.RUNNING, State.RUNNING),
        (Wanted.RUNNING, State.STOPPING, State.STOPPING),
        (Wanted.STOPPED, State.STOPPED, State.STOPPED),
        (Wanted.STOPPED, State.FAILED, State.FAILED),
        (Wanted.STOPPED, State.STARTING, State.STOPPING),
        (Wanted.STOPPED, State.RUNNING, State.STOPPING),
        (Wanted.STOPPED, State.STOPPING, State.STOPPING),
        (Wanted.DELETED, State.RUNNING, State.STOPPING),
    ],
)
def test_what_a_person_asked_for_shows_before_anybody_has_acted_on_it(
    wanted: Wanted, state: State, shown: State
) -> None:
    assert replace(SESSION, wanted=wanted, state=state).shown is shown


def test_why_it_is_not_running_is_told_until_it_is_to_run_again() -> None:
    ended = replace(SESSION, wanted=Wanted.STOPPED, state=State.FAILED, reason=Reason.CRASHED)
    assert ended.reason_text == REASON_TEXTS[Reason.CRASHED]
    assert replace(ended, wanted=Wanted.RUNNING).reason_text == ""
    assert replace(ended, state=State.STOPPED, reason=None).reason_text == ""
    assert SESSION.reason_text == ""


def test_what_it_has_open_is_told_in_a_word() -> None:
    assert SESSION.opens == "penguins.csv"
    assert replace(SESSION, source=Source()).opens == "Your files"


def test_a_run_is_known_by_the_session_and_the_generation() -> None:
    assert SESSION.run == RunId("abcdefghijkm", 3)
    assert str(SESSION.run) == "abcdefghijkm-3"


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Penguins", "Penguins"),
        ("  two words  ", "two words"),
        ("Zeile\r\nzwei\tdrei", "Zeile zwei drei"),
        ("gpj.\u202eexe", "gpj. exe"),
        ("nul\x00l", "nul l"),
        ("half a pair: \ud83d", "half a pair:"),
        ("日本 🐧", "日本 🐧"),
        ("x" * 100, "x" * 100),
    ],
)
def test_a_name_is_one_line_that_shows_as_it_is(raw: str, name: str) -> None:
    assert clean_name(raw) == name


@pytest.mark.parametrize("raw", ["", "   ", "\x00\n", "\u2028", "\ud83d", "x" * 101])
def test_a_name_that_cannot_be_one_is_refused_with_a_word_about_the_field(raw: str) -> None:
    with pytest.raises(BadInput) as raised:
        clean_name(raw)
    assert raised.value.field == "name"
