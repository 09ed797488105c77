"""What somebody who means harm tries at the door: another name, a huge form, a login that should have ended."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from quart.testing.connections import WebsocketDisconnectError, WebsocketResponseError
from serving import PASSWORD, Browser, Site
from werkzeug.datastructures import FileStorage

from app.runtimes.base import Source


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]", ""]
)
async def test_a_page_that_points_its_own_name_here_cannot_pass_for_the_hub(site: Site, name: str) -> None:
    """DNS rebinding: to the browser, the other page and the Hub are then the same site."""
    answer = await site.browser().post("/login/guest", headers={"Host": name, "Origin": f"http://{name}"})
    assert answer.status == 421
    assert site.hub.settings.public_url in answer.text
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:80"])
async def test_this_machine_may_be_called_by_all_of_its_names(site: Site, name: str) -> None:
    assert (await site.browser().get("/login", headers={"Host": name})).status == 200


async def test_a_load_balancer_may_ask_by_address(site: Site) -> None:
    assert (await site.browser().get("/healthz", headers={"Host": "10.0.0.7"})).status == 200


async def test_a_terminal_refuses_another_name_too(site: Site) -> None:
    _, browser = await site.person("ada@example.org")
    with pytest.raises(WebsocketResponseError, match="421"):
        async with browser.websocket(
            "/sessions/whatever/tty", "hub.tty.v1", Host="evil.example", Origin="http://evil.example"
        ) as socket:
            await socket.receive()


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Where temporary files go while the test runs."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path)
    yield tmp_path
    tempfile.tempdir = before


async def test_a_form_with_a_huge_file_in_it_is_stored_nowhere(site: Site, scratch: Path) -> None:
    """Nobody needs to be logged in for this form: what comes with it must not fill the disk."""
    seen: list[Path] = []

    async def look() -> None:
        while True:
            seen.extend(path for path in scratch.iterdir() if path.is_file())
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    huge = FileStorage(io.BytesIO(b"0" * (8 << 20)), filename="huge.bin", name="file")
    answer = await site.browser().send("POST", "/login", {"email": "a@b.c", "password": "x"}, files={"file": huge})
    looking.cancel()
    assert answer.status in (413, 422)
    assert seen == []


@pytest.mark.parametrize("by", ["cookie", "token"])
async def test_an_open_terminal_ends_with_the_login_that_opened_it(site: Site, by: str) -> None:
    """Somebody who lost a laptop sets a new password, or revokes a token: what is open there must not stay open."""
    account, browser = await site.person("ada@example.org")
    session = await site.hub.sessions.create(account.id, guest=False, name="mine", source=Source())
    await site.until_state(account.id, session.id, "running")
    client: Browser = browser if by == "cookie" else await site.program(account)
    async with client.terminal(session.id) as socket:
        if by == "cookie":
            await site.hub.accounts.set_password(account, "another few words", current=PASSWORD)
        else:
            token = (await site.hub.accounts.tokens(account))[0]
            await site.hub.accounts.drop_token(account, token["id"])  # type: ignore[arg-type]
        with pytest.raises(WebsocketDisconnectError) as caught:
            async with asyncio.timeout(30):
                while True:
                    await socket.receive()
    assert caught.value.args[0] == 4401


async def test_an_open_terminal_stays_while_its_login_does(site: Site) -> None:
    account, browser = await site.person("ada@example.org")
    session = await site.hub.sessions.create(account.id, guest=False, name="mine", source=Source())
    await site.until_state(account.id, session.id, "running")
    async with browser.terminal(session.id) as socket:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    await socket.receive()


async def test_unused_links_are_void_once_a_password_is_set(site: Site) -> None:
    account, _ = await site.person("ada@example.org")
    link = await site.hub.accounts.make_link(account)
    await site.hub.accounts.set_password(account, "another few words", current=PASSWORD)
    answer = await site.browser().post(link.removeprefix(site.hub.settings.public_url))
    assert answer.status == 410


async def test_an_administrator_removes_an_account_with_all_that_is_its(site: Site) -> None:
    boss, desk = await site.person("boss@example.org", admin=True)
    account, browser = await site.person("ada@example.org")
    session = await site.hub.sessions.create(account.id, guest=False, name="hers", source=Source())
    await site.until_state(account.id, session.id, "running")
    asked = await desk.get(f"/admin/users/{account.id}/remove")
    assert (asked.status, "Remove ada@example.org?" in asked.text) == (200, True)
    await desk.post(f"/admin/users/{account.id}/remove")
    assert (await browser.get("/sessions")).location.startswith("/login")
    assert (await browser.post("/login", {"email": "ada@example.org", "password": PASSWORD})).status == 422
    async with asyncio.timeout(30):
        while site.runtime.world.living():
            await asyncio.sleep(0.01)
    assert (await desk.post(f"/admin/users/{boss.id}/remove")).status == 409, "nobody removes themselves"


async def test_there_is_a_limit_of_guests(site: Site) -> None:
    object.__setattr__(site.hub.settings, "max_guests", 2)
    answers = [await site.browser().post("/login/guest", remote_addr=f"10.0.0.{number}") for number in range(3)]
    assert [answer.status for answer in answers] == [303, 303, 429]
    assert answers[-1].headers["Retry-After"] == "60"


async def test_one_ipv6_network_is_one_caller(site: Site) -> None:
    """Whoever has IPv6 has a whole /64 of addresses to try from."""
    form = {"email": "ada@example.org", "password": "a guess"}
    statuses = [
        (await site.browser().post("/login", form, remote_addr=f"2001:db8::{number:x}")).status for number in range(12)
    ]
    assert statuses[-1] == 429
