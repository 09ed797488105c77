"""Pages act for the login that they were made for, and for no other; a log-out ends all that is open in that browser."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from typing import Any

import pytest
from quart.testing.connections import WebsocketDisconnectError
from serving import PASSWORD, Browser, Site, serve
from test_live import live

from app.accounts.models import Account
from app.runtimes.base import Source
from app.settings import Settings


def page_of(text: str) -> str:
    """The login that a page was made for, as its forms say."""
    found = set(re.findall(r'name=login value="([^"]*)"', text))
    assert len(found) == 1, found
    return found.pop()


@pytest.fixture
async def shared(site: Site) -> tuple[Account, Account, Browser, str]:
    """A shared computer: Ada's page is open, and Bob has logged in. (Ada, Bob, the browser, Ada's page.)"""
    ada, browser = await site.person("ada@example.org")
    page = page_of((await browser.get("/sessions")).text)
    await browser.post("/logout", {"login": page})
    bob = await site.hub.accounts.add("bob@example.org", password=PASSWORD)
    await browser.log_in(bob)
    return ada, bob, browser, page


async def test_every_form_of_every_page_carries_the_login(site: Site) -> None:
    ada, browser = await site.person("ada@example.org", admin=True)
    session = await site.hub.sessions.create(ada.id, guest=False, name="mine", source=Source())
    await browser.send("PUT", "/files/upload/x.csv", data=b"a\n1\n")
    other = await site.hub.accounts.add("bob@example.org")
    pages = [
        "/sessions",
        f"/sessions/{session.id}",
        f"/sessions/{session.id}/rename",
        f"/sessions/{session.id}/delete",
        "/files",
        "/files/delete/x.csv",
        "/account",
        "/admin",
        f"/admin/users/{other.id}/remove",
        "/logout",
    ]
    login = page_of((await browser.get("/sessions")).text)
    for page in pages:
        text = (await browser.get(page)).text
        forms = re.findall(r'<form\b[^>]*method="post"[^>]*>', text)
        assert forms, page
        assert text.count(f'name=login value="{login}"') == len(forms), page
        assert f'data-login="{login}"' in text, page


async def test_a_form_of_one_persons_page_does_nothing_under_another_login_and_says_who_is_logged_in(
    site: Site, shared: tuple[Account, Account, Browser, str]
) -> None:
    ada, bob, browser, page = shared
    ways: list[dict[str, Any]] = [
        {"form": {"name": "Hers", "login": page}},
        {"form": {"name": "Hers"}, "headers": {"Hub-Login": page}},
        {"form": {"name": "Hers"}, "headers": {"Hub-Login": page}, "htmx": True},
        {"form": {"name": "Hers", "login": "nonsense"}},
        {"form": {"name": "Hers", "login": "\u00e9"}},
        {"form": {"name": "Hers", "login": "x" * 5000}},
    ]
    for way in ways:
        answer = await browser.send("POST", "/sessions", **way)
        assert answer.status == 412
        assert "bob@example.org is logged in" in answer.text
        assert "Load the page again" in answer.text
    assert await site.hub.sessions.list(bob.id) == []
    assert await site.hub.sessions.list(ada.id) == []
    mine = page_of((await browser.get("/sessions")).text)
    assert (await browser.post("/sessions", {"name": "His", "login": mine})).status == 303
    assert (await browser.post("/logout", {"login": page})).status == 412, "Ada's button does not log Bob out"
    assert (await browser.get("/sessions")).status == 200


async def test_an_upload_of_one_persons_page_does_not_reach_another_ones_home(
    site: Site, shared: tuple[Account, Account, Browser, str]
) -> None:
    _, bob, browser, page = shared
    for path, headers in (
        ("/files/upload/secret.csv", {"Hub-Login": page}),
        ("/files/left/clipboard", {"Hub-Login": page}),
        (f"/files/upload/secret.csv?login={page}", {}),
    ):
        answer = await browser.send("PUT", path, data=b"secret", headers={**headers, "Accept": "application/json"})
        assert answer.status == 412
        assert "bob@example.org is logged in" in answer.json["detail"]
    assert await site.hub.homes.list(str(bob.id)) == []
    await browser.send("PUT", "/files/upload/secret.csv", data=b"Bob's")
    assert (await browser.get(f"/files/get/secret.csv?login={page}")).status == 412, "nor does its link fetch his file"


async def test_a_terminal_and_a_list_of_one_persons_page_are_refused_under_another_login(
    site: Site, shared: tuple[Account, Account, Browser, str]
) -> None:
    _, bob, browser, page = shared
    session = await site.hub.sessions.create(bob.id, guest=False, name="his", source=Source())
    await site.until_state(bob.id, session.id, "running")
    async with browser.websocket(
        f"/sessions/{session.id}/tty?login={page}", "hub.tty.v1", Origin="http://localhost"
    ) as socket:
        with pytest.raises(WebsocketDisconnectError, match="4403"):
            await socket.receive()
    answer = await browser.get(f"/sessions/events?login={page}", headers={"Accept": "text/event-stream"})
    assert answer.status == 412
    answer = await browser.get(f"/sessions/{session.id}/state", headers={"Hub-Login": page})
    assert answer.status == 412


async def test_the_same_person_who_logs_in_again_goes_on_with_the_page_that_was_open(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    page = page_of((await browser.get("/sessions")).text)
    await browser.post("/logout", {"login": page})
    headers = {"Hub-Login": page, "Accept": "application/json"}
    assert (await browser.send("PUT", "/files/upload/x.csv", data=b"a", headers=headers)).status == 401
    await browser.log_in(ada)
    assert (await browser.send("PUT", "/files/upload/x.csv", data=b"a", headers=headers)).status == 201


async def test_a_plain_log_out_ends_the_terminals_and_lists_of_that_browser_in_every_replica_and_no_others(
    settings: Settings, site: Site
) -> None:
    ada, browser = await site.person("ada@example.org")
    elsewhere = await site.browser().log_in(ada)
    session = await site.hub.sessions.create(ada.id, guest=False, name="mine", source=Source())
    await site.until_state(ada.id, session.id, "running")
    async with serve(settings, beside=site) as other:
        there = Browser(other.app)
        there.client.cookie_jar = browser.client.cookie_jar
        async with (
            browser.terminal(session.id) as here,
            there.terminal(session.id) as beside,
            elsewhere.terminal(session.id) as stays,
            live(there) as stream,
            asyncio.timeout(60),
        ):
            assert f'name=login value="{page_of((await browser.get("/sessions")).text)}"' in await stream.until("mine")
            await browser.post("/logout", {})
            for socket in (here, beside):
                with pytest.raises(WebsocketDisconnectError, match="4401"):
                    while True:
                        await socket.receive()
            await stream.connection._task
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    while True:
                        await stays.receive()


async def test_an_upload_that_is_under_way_breaks_off_when_its_login_ends_and_leaves_nothing(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    headers = {**browser.headers, "Accept": "application/json", "Content-Length": "1000000"}
    async with browser.client.request("/files/upload/x.csv", method="PUT", headers=headers) as connection:
        await connection.send(b"a" * 1000)
        while not any(site.hub.watch._open.values()):
            await asyncio.sleep(0.01)
        await site.hub.accounts.end_logins(ada)
        async with asyncio.timeout(30):
            await connection._task  # It is answered though not all of it has come.
    assert connection.status_code == 401
    assert await site.hub.homes.list(str(ada.id)) == []


async def test_another_login_in_the_same_browser_ends_the_one_before(site: Site) -> None:
    _, browser = await site.person("ada@example.org")
    before = site.browser()
    for cookie in browser.client.cookie_jar:
        before.client.cookie_jar.set_cookie(cookie)
    await browser.log_in(await site.hub.accounts.add("bob@example.org", password=PASSWORD))
    assert (await before.get("/sessions")).status == 303


# Cookies


async def test_a_cookie_holds_whatever_the_clock_of_the_replica_that_made_it(site: Site) -> None:
    """A time in it would be in the future for a replica whose clock is behind: people were logged out right after logging in."""
    await site.hub.accounts.add("ada@example.org", password=PASSWORD)
    browser = site.browser()
    await browser.post("/login", {"email": "ada@example.org", "password": PASSWORD})
    await browser.post("/account/logins", {})  # Which flashes a notice.
    cookies = {cookie.name: cookie.value for cookie in browser.client.cookie_jar}
    assert set(cookies) == {"hub_login_id", "hub_notices"}
    for name, value in cookies.items():
        assert len((value or "").lstrip(".").split(".")) == 2, f"{name} is what it says and a signature, without a time"
    assert "logged out everywhere else" in (await browser.get("/account")).text


@pytest.mark.parametrize("path", ["/login", "/login/guest"])
async def test_a_login_ends_with_the_browser_unless_one_chooses_to_stay(site: Site, path: str) -> None:
    await site.hub.accounts.add("ada@example.org", password=PASSWORD)
    form = {"email": "ada@example.org", "password": PASSWORD}
    for keep in (False, True):
        answer = await site.browser().post(path, {**form, **({"keep": "1"} if keep else {})})
        (cookie,) = [one for one in answer.headers.getlist("Set-Cookie") if one.startswith("hub_login_id=")]
        assert ("Max-Age" in cookie) is keep


# What is refused says why


async def test_a_browser_that_keeps_no_cookies_is_told_so_and_uses_no_link_up(site: Site) -> None:
    ada = await site.hub.accounts.add("ada@example.org", password=PASSWORD)
    path = (await site.hub.accounts.make_link(ada)).removeprefix(site.hub.settings.public_url)
    assert 'name="cookies" value="1"' in (await site.browser().get(path)).text
    for address, form in (
        (path, {}),
        ("/login", {"email": "ada@example.org", "password": PASSWORD}),
        ("/login/guest", {}),
    ):
        answer = await site.browser().post(address, {**form, "cookies": "1"})
        assert answer.status == 422
        assert "did not keep the Hub&#39;s cookie" in answer.text
    assert len(await site.hub.accounts.list()) == 1, "and no guest was made"
    browser = site.browser()
    assert (await browser.post(path, {"cookies": "1"})).status == 422, "cookies are allowed from here on"
    assert (await browser.post(path, {"cookies": "1"})).status == 303


async def test_a_page_that_was_opened_without_https_says_where_the_hub_is(settings: Settings, database: object) -> None:
    async with serve(dataclasses.replace(settings, public_url="https://hub.example.org")) as site:
        answer = await site.browser().post("/login/guest", {"cookies": "1"})
        assert answer.status == 422
        assert "Open https://hub.example.org instead" in answer.text


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, "a page of another site"),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://hub.example"}, "a proxy in between changes the address"),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://hub.example"}, "HUB_PUBLIC_URL=https://hub.example"),
        ({"Origin": "null"}, "did not tell which page"),
        ({"Origin": "http://["}, "cannot be read"),
        ({"Origin": "http://[::1"}, "cannot be read"),
        ({"Origin": "x"}, "cannot be read"),
        ({"Origin": ""}, "cannot be read"),
    ],
)
async def test_a_form_that_is_refused_says_what_was_wrong_with_where_it_came_from(
    site: Site, headers: dict[str, str], said: str
) -> None:
    browser = site.browser()
    browser.headers = {}
    answer = await browser.post("/login", {}, headers=headers)
    assert answer.status == 403
    assert said in answer.text


HOSTILE = [
    "http://[",
    "[",
    "é",
    "%",
    "a" * 3000,
    "-1",
    "null",
    "//",
    "http://x:99999999",
    "*/*;q=x",
    "bytes=9-1",
]


async def test_no_header_of_a_request_is_a_bug(site: Site) -> None:
    _, browser = await site.person("ada@example.org")
    names = (
        "Origin Referer HX-Current-URL Hub-Login Accept Content-Type Authorization X-Forwarded-For Range If-None-Match "
    )
    for name in (names + "If-Modified-Since Sec-Fetch-Site Accept-Encoding").split():
        for value in HOSTILE:
            for method, path in (("POST", "/sessions/x/stop"), ("GET", "/sessions?x=1"), ("GET", "/static/app.css")):
                answer = await browser.send(method, path, headers={name: value}, htmx=name == "HX-Current-URL")
                assert answer.status < 500, f"{method} {path} with {name}: {value}"


# Links


@pytest.mark.parametrize("behind", [".", ">", ")", ",", "/", "%3E", ").", "%E2%80%9D"])
async def test_a_link_works_with_what_a_mail_or_a_sentence_puts_behind_it(site: Site, behind: str) -> None:
    ada = await site.hub.accounts.add("ada@example.org", password=PASSWORD)
    path = (await site.hub.accounts.make_link(ada)).removeprefix(site.hub.settings.public_url) + behind
    browser = site.browser()
    assert "ada@example.org" in (await browser.get(path)).text
    assert (await browser.post(path, {"cookies": "1"})).status == 303


async def test_an_invited_person_chooses_a_password_on_the_links_page(site: Site) -> None:
    bob = await site.hub.accounts.add("bob@example.org")
    path = (await site.hub.accounts.make_link(bob)).removeprefix(site.hub.settings.public_url)
    browser = site.browser()
    opened = (await browser.get(path)).text
    assert 'name="password"' in opened
    assert "Log in without one" not in opened, "without mail there would be no other way in"
    for form in ({"password": ""}, {"password": "short"}, {"password": "", "skip": "1"}):
        answer = await browser.post(path, form)
        assert (answer.status, "10 to 200 characters" in answer.text) == (422, True)
    assert (await browser.post(path, {"password": PASSWORD})).status == 303
    assert (await browser.get("/sessions")).status == 200
    await site.browser().log_in(bob)


async def test_where_mail_goes_out_an_invited_person_may_do_without_a_password(
    settings: Settings, database: object, outbox: Any
) -> None:
    async with serve(dataclasses.replace(settings, smtp_url="smtp://mail.example.org"), mailer=outbox) as site:
        bob = await site.hub.accounts.add("bob@example.org")
        path = (await site.hub.accounts.make_link(bob)).removeprefix(site.hub.settings.public_url)
        browser = site.browser()
        assert "Log in without one" in (await browser.get(path)).text
        assert (await browser.post(path, {"password": "", "skip": "1"})).status == 303


async def test_who_has_forgotten_their_password_sets_a_new_one_by_a_link(site: Site) -> None:
    ada, admin = await site.person("ada@example.org", admin=True)
    bob = await site.hub.accounts.add("bob@example.org", password=PASSWORD)
    made = await admin.post("/admin/users/link", {"email": "bob@example.org"})
    found = re.search(r"(/login/link/[\w-]+)", made.text)
    assert found is not None
    browser = site.browser()
    assert "Forgotten your password?" in (await browser.get(found[1])).text
    await browser.post(found[1], {})
    page = (await browser.get("/account")).text
    assert 'name="current"' not in page
    assert "you can set a new password without the current one" in page
    assert (await browser.post("/account/password", {"password": "other plain words"})).status == 303
    assert 'name="current"' in (await browser.get("/account")).text, "once"
    form = {"email": "bob@example.org", "password": "other plain words"}
    assert (await site.browser().post("/login", form)).status == 303
    assert bob.id != ada.id


async def test_the_page_says_which_api_tokens_a_new_password_leaves_and_offers_to_revoke_them(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    program = await site.program(ada)
    form = {"current": PASSWORD, "password": "other plain words"}
    await browser.post("/account/password", form)
    page = (await browser.get("/account")).text
    assert "All other logins have ended. 1 API token still works" in page
    assert "Revoke my API token too" in page
    assert (await program.get("/api/v1/sessions")).status == 200
    await browser.post("/account/password", {**form, "current": form["password"], "tokens": "1"})
    assert "All other logins have ended.</p>" in (await browser.get("/account")).text
    assert (await program.get("/api/v1/sessions")).status == 401


async def test_a_cluster_without_mail_offers_no_link_by_mail(settings: Settings, database: object) -> None:
    changes = {"runtime": "kubernetes", "secret_key": "x" * 32, "guests": True}
    async with serve(dataclasses.replace(settings, **changes)) as site:  # type: ignore[arg-type]
        await site.hub.accounts.add("ada@example.org")
        page = (await site.browser().get("/login")).text
        assert "Send me a link" not in page
        assert "Ask an administrator for a link" in page
        answer = await site.browser().post("/login/link", {"email": "ada@example.org"})
        assert answer.status == 503
        assert "Ask an administrator for a link" in answer.text


# Guests


async def test_one_network_does_not_close_the_hub_to_guests(settings: Settings, database: object) -> None:
    async with serve(dataclasses.replace(settings, max_guests=9)) as site:
        for number in range(6):
            answer = await site.browser().post("/login/guest", remote_addr=f"2001:db8::{number:x}")
            assert answer.status == (303 if number < 3 else 429)
        assert "your network" in answer.text
        assert (await site.browser().post("/login/guest", remote_addr="2001:db8:0:1::1")).status == 303
