"""Attaching to a terminal: who may, who may not, and in which words a browser is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fake_gotty import CREDENTIAL, FakeGotty
from quart.testing.connections import WebsocketDisconnectError, WebsocketResponseError
from serving import Browser, Site, serve

from app.db.tables import Session as Row
from app.settings import Settings
from app.web.limits import TERMINALS


async def make_session(site: Site, browser: Browser, user_id: Any, state: str = "running") -> str:
    session_id = (await browser.post("/sessions", {"open": "1"})).location.rpartition("/")[2]
    await site.until_state(user_id, session_id, state)
    return session_id


async def closed_with(browser: Browser, session_id: str, protocol: str = "hub.tty.v1") -> int:
    async with browser.terminal(session_id, protocol) as socket, asyncio.timeout(30):
        with pytest.raises(WebsocketDisconnectError) as raised:
            while True:
                await socket.receive()
    assert socket.accepted, "a browser shows a page the close code of a WebSocket that stood, and nothing else"
    return int(raised.value.args[0])


async def test_each_reason_not_to_attach_has_its_own_close_code(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    _, eve = await site.person("eve@example.org")
    session_id = await make_session(site, browser, ada.id)
    assert await closed_with(site.browser(), session_id) == 4401
    assert await closed_with(eve, session_id) == 4404
    assert await closed_with(browser, "abcdefghijkm") == 4404
    for protocol in ("hub.tty.v1", "webtty"):
        assert await closed_with(site.browser(), session_id, protocol) == 4401
    await browser.post(f"/sessions/{session_id}/stop", {})
    await site.until_state(ada.id, session_id, "stopped")
    assert await closed_with(browser, session_id) == 4409
    await browser.post(f"/sessions/{session_id}/delete", {})
    assert await closed_with(browser, session_id) == 4404
    await site.hub.accounts.end_logins(ada)
    assert await closed_with(browser, session_id) == 4401


async def test_a_session_that_is_still_starting_is_not_running(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    site.runtime.hold()
    session_id = await make_session(site, browser, ada.id, "starting")
    assert await closed_with(browser, session_id) == 4409


@pytest.mark.parametrize("protocol", ["hub.tty.v1", "webtty"])
async def test_a_replica_that_leaves_sends_who_comes_to_another(site: Site, protocol: str) -> None:
    ada, browser = await site.person("ada@example.org")
    session_id = await make_session(site, browser, ada.id)
    await site.app.extensions["hand_over"]()
    assert await closed_with(browser, session_id, protocol) == 1012


@pytest.mark.parametrize("protocols", [(), ("gotty",), ("hub.tty.v2",)])
async def test_a_protocol_that_the_hub_does_not_speak_is_refused(site: Site, protocols: tuple[str, ...]) -> None:
    ada, browser = await site.person("ada@example.org")
    session_id = await make_session(site, browser, ada.id)
    async with browser.websocket(f"/sessions/{session_id}/tty", *protocols, Origin="http://localhost") as socket:
        with pytest.raises(WebsocketResponseError) as raised:
            await socket.receive()
    assert raised.value.response.status_code == 422
    assert "hub.tty.v1 or webtty" in (await raised.value.response.get_data(as_text=True))


async def test_another_sites_page_is_refused_before_the_websocket_stands(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    session_id = await make_session(site, browser, ada.id)
    path = f"/sessions/{session_id}/tty"
    async with browser.websocket(path, "hub.tty.v1", Origin="https://evil.example") as socket:
        with pytest.raises(WebsocketResponseError) as raised:
            await socket.receive()
    assert raised.value.response.status_code == 403
    assert not socket.accepted


async def test_attaching_too_often_is_refused(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    for refused in (False, True):
        if refused:
            site.use_up(TERMINALS, ada.id)
        async with browser.terminal("abcdefghijkm") as socket:
            with pytest.raises((WebsocketDisconnectError, WebsocketResponseError)) as raised:
                await socket.receive()
        assert isinstance(raised.value, WebsocketResponseError) is refused
    assert isinstance(raised.value, WebsocketResponseError)
    assert raised.value.response.status_code == 429
    assert raised.value.response.headers["Retry-After"] == "1"


@pytest.fixture
async def gotty() -> Any:
    async with FakeGotty() as gotty:
        yield gotty


async def test_the_page_and_a_gotty_client_with_a_token_see_the_same_program(
    settings: Settings, database: object, gotty: FakeGotty
) -> None:
    async with serve(settings, address=gotty.address) as site:
        ada, browser = await site.person("ada@example.org")
        session_id = await make_session(site, browser, ada.id)
        await Row.update({Row.credential: CREDENTIAL}).where(Row.id == session_id)
        program = await site.program(ada)
        async with (
            browser.terminal(session_id) as page,
            program.websocket(f"/sessions/{session_id}/tty", "webtty") as client,
            asyncio.timeout(30),
        ):
            await page.send(json.dumps({"type": "resize", "cols": 80, "rows": 24}))
            while not isinstance(text := await page.receive(), str) or json.loads(text)["type"] != "hello":
                pass
            assert json.loads(text)["mode"] == "drive"
            await client.send(json.dumps({"Arguments": "", "AuthToken": ""}))
            await page.send(b"typed on the page")
            await gotty.until(lambda: "typed on the page" in gotty.typed)
            await client.send("1typed by the client")
            await gotty.until(lambda: "typed by the client" in gotty.typed)
            await gotty.write(b"for everybody")
            while b"for everybody" not in (message := await page.receive()):
                assert message
            assert gotty.openings[0]["AuthToken"] == CREDENTIAL, "the run's own credential is shown to it"
