"""While Postgres is away, a reload of the same browser reaches its running session again, and nothing else opens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from fake_gotty import CREDENTIAL, FakeGotty
from line import Line, line_to
from quart.testing.connections import WebsocketDisconnectError, WebsocketResponseError
from serving import Browser, Site, serve

from app.accounts.logins import How, Login, Why
from app.accounts.models import Account
from app.db.tables import Session as Row
from app.runtimes.base import Source
from app.sessions.models import Session
from app.sessions.state import State, Wanted
from app.settings import Settings
from app.web.remembered import MAX_LOGINS, MAX_SESSIONS, OUTAGE_LIMIT, RECENT, Remembered

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
ADA = Account(UUID(int=1), "ada@example.org", False, True, 0, NOON, NOON)
SESSION = Session(
    id="abcdefghijkm",
    user_id=ADA.id,
    name="Penguins",
    source=Source(),
    created_at=NOON,
    wanted=Wanted.RUNNING,
    wanted_reason=None,
    state=State.RUNNING,
    reason=None,
    detail="",
    generation=1,
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


def a_login() -> Login:
    return Login(uuid4(), How.PASSWORD, False, False)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def remembered(clock: Clock) -> Remembered:
    return Remembered(clock)


def test_a_login_is_remembered_with_its_own_sessions_alone(remembered: Remembered) -> None:
    mine, other = a_login(), a_login()
    remembered.note(mine, ADA, SESSION)
    assert remembered.get_login(mine.id, 1.0) == (mine, ADA)
    assert remembered.get_session(mine.id, SESSION.id, 1.0) is SESSION
    assert remembered.get_session(mine.id, "another", 1.0) is None
    assert remembered.get_login(other.id, 1.0) is None
    assert remembered.get_session(other.id, SESSION.id, 1.0) is None


def test_it_is_bounded_in_size_and_keeps_what_was_seen_last(remembered: Remembered) -> None:
    first = a_login()
    for number in range(MAX_SESSIONS + 1):
        remembered.note(first, ADA, replace(SESSION, id=f"s{number}"))
    assert remembered.get_session(first.id, "s0", 1.0) is None
    assert remembered.get_session(first.id, f"s{MAX_SESSIONS}", 1.0) is not None
    for _ in range(MAX_LOGINS):
        remembered.note(a_login(), ADA, SESSION)
    assert remembered.get_login(first.id, 1.0) is None


def test_it_is_bounded_in_age(remembered: Remembered, clock: Clock) -> None:
    idle, attached = a_login(), a_login()
    for login in (idle, attached):
        remembered.note(login, ADA, SESSION)
    with remembered.open(attached.id):
        clock.now += RECENT + 1
        assert remembered.get_login(idle.id, 1.0) is None
        assert remembered.get_login(attached.id, 1.0) is not None, "its terminal is open, so it is checked all the time"
        assert remembered.get_login(attached.id, OUTAGE_LIMIT + 1) is None, "but it is not checked during an outage"
    assert remembered.get_login(attached.id, 1.0) is not None, "it was seen just now"


def test_a_login_that_ends_is_forgotten_and_so_are_all_whose_end_may_have_been_missed(remembered: Remembered) -> None:
    ended, closed, attached = a_login(), a_login(), a_login()
    for login in (ended, closed, attached):
        remembered.note(login, ADA, SESSION)
    remembered.forget(ended.id)
    assert remembered.get_login(ended.id, 1.0) is None
    remembered.note(ended, ADA, SESSION)  # By a request that was under way.
    assert remembered.get_login(ended.id, 1.0) is None
    with remembered.open(attached.id):
        remembered.forget_closed()
        assert remembered.get_login(closed.id, 1.0) is None
        assert remembered.get_login(attached.id, 1.0) is not None


# The same with a real Postgres that is cut off


@asynccontextmanager
async def attached(browser: Browser, session_id: str) -> AsyncIterator[Any]:
    """A terminal page that has been greeted."""
    async with browser.terminal(session_id) as page, asyncio.timeout(60):
        await page.send(json.dumps({"type": "resize", "cols": 80, "rows": 24}))
        while not isinstance(text := await page.receive(), str) or json.loads(text)["type"] != "hello":
            pass
        yield page


async def until_away(site: Site, line: Line) -> None:
    line.cut()
    async with asyncio.timeout(30):
        while site.hub.outage() is None:
            await asyncio.sleep(0.05)


async def until_back(site: Site, line: Line) -> None:
    line.mend()
    async with asyncio.timeout(30):
        while site.hub.outage() is not None:
            await asyncio.sleep(0.05)


async def test_while_postgres_is_cut_off_terminals_work_and_a_reload_finds_its_own_again(
    settings: Settings, database: object, postgres_url: str
) -> None:
    async with (
        FakeGotty() as gotty,
        line_to(postgres_url) as line,
        serve(replace(settings, database_url=line.url), address=gotty.address) as site,
    ):
        ada, browser = await site.person("ada@example.org")
        _, eve = await site.person("eve@example.org")
        session_id = (await browser.post("/sessions", {"open": "1"})).location.rpartition("/")[2]
        await site.until_state(ada.id, session_id, "running")
        await Row.update({Row.credential: CREDENTIAL}).where(Row.id == session_id)
        path = f"/sessions/{session_id}"
        assert (await browser.get(path)).status == 200
        async with attached(browser, session_id) as page:
            await until_away(site, line)
            await page.send(b"typed during the outage")
            await gotty.until(lambda: "typed during the outage" in gotty.typed)
        # The reload.
        answer = await browser.get(path)
        assert answer.status == 200
        assert "Keep it running" in answer.text
        assert (await browser.get(f"{path}/state?wait=running")).json["state"] == "running"
        async with attached(browser, session_id) as page:
            await page.send(b"typed after the reload")
            await gotty.until(lambda: "typed after the reload" in gotty.typed)
        # Nothing else is open, neither to her nor to anybody else.
        for who, closed in [(browser, "/sessions"), (browser, "/account"), (eve, path), (site.browser(), "/login")]:
            assert (await who.get(closed)).status == 503, closed
        async with eve.terminal(session_id) as socket:
            with pytest.raises((WebsocketResponseError, WebsocketDisconnectError)):
                await socket.receive()
        # Logged out during the outage, this browser reaches nothing more, and its terminals here are closed.
        (login,) = _logins(site)
        async with browser.terminal(session_id) as socket, asyncio.timeout(60):
            assert (await browser.post("/logout", {})).location == "/login"
            with pytest.raises(WebsocketDisconnectError) as raised:
                while True:
                    await socket.receive()
        assert raised.value.args[0] == 4401
        assert "/login" in (await browser.get(path)).location
        await until_back(site, line)
        async with asyncio.timeout(30):  # It ends in every replica, once Postgres can tell them.
            while await site.hub.accounts.logins.get(login.id) is not None:
                await asyncio.sleep(0.05)

        await browser.log_in(ada)
        # A login that ended while Postgres answered is not remembered in the next outage.
        assert (await browser.get(path)).status == 200
        (login,) = _logins(site)
        await site.hub.accounts.logins.end(login, Why.LOGGED_OUT)
        async with asyncio.timeout(30):
            while _logins(site):
                await asyncio.sleep(0.05)
        await until_away(site, line)
        assert (await browser.get(path)).status == 503
        await until_back(site, line)


def _logins(site: Site) -> list[Login]:
    return [seen.login for seen in site.hub.remembered._seen.values()]
