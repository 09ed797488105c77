"""Logging in and out, as people meet it: what works, what helps, and what gives nothing away."""

from __future__ import annotations

import asyncio
import dataclasses
import html
import re
from typing import Any

import pytest
from serving import PASSWORD, Browser, Site, serve

from app.accounts.service import BAD_LOGIN
from app.db.tables import User
from app.settings import Settings
from app.web.limits import LOGINS


async def mailed_link(site: Site, outbox: Any, email: str) -> str:
    """The path of a link that was asked for on the log-in page."""
    answer = await site.browser().post("/login/link", {"email": email})
    assert answer.status == 200
    assert "Check your e-mail" in answer.text
    _, _, text = await outbox.wait()
    return path_of(text)


def path_of(text: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:8000(/login/link/[\w-]+)", text)
    assert found is not None
    return found[1]


async def who(browser: Browser) -> str:
    """Whom the pages take this browser for."""
    found = re.search(r'title="([^"]*)"><span>', (await browser.get("/sessions")).text)
    return found[1] if found else ""


async def test_the_front_door_leads_on(site: Site) -> None:
    assert (await site.browser().get("/")).location == "/login"
    _, ada = await site.person("ada@example.org")
    assert (await ada.get("/")).location == "/sessions"
    assert (await ada.get("/login")).location == "/sessions"


async def test_the_right_password_leads_to_where_one_wanted_to_go(site: Site) -> None:
    await site.hub.accounts.add("ada@example.org", password=PASSWORD)
    browser = site.browser()
    asked = await browser.get("/files?folder=data%20sets")
    assert asked.status == 303
    page = await browser.get(asked.location)
    assert "you are not logged in" in page.text
    target = re.search(r'name="next" value="([^"]*)"', page.text)
    assert target is not None
    answer = await browser.post("/login", {"email": "ada@example.org", "password": PASSWORD, "next": target[1]})
    assert (answer.status, answer.location) == (303, "/files?folder=data%20sets")
    assert await who(browser) == "ada@example.org"


async def test_wrong_unknown_and_without_a_password_are_answered_alike(site: Site) -> None:
    await site.hub.accounts.add("ada@example.org", password=PASSWORD)
    await site.hub.accounts.add("bob@example.org")
    answers = {
        (answer.status, answer.text.replace(email, "…"), answer.headers.get("Set-Cookie"))
        for email, password in [
            ("ada@example.org", "wrong password"),
            ("bob@example.org", PASSWORD),
            ("eve@example.org", PASSWORD),
            ("not an address", PASSWORD),
        ]
        for answer in [await site.browser().post("/login", {"email": email, "password": password})]
    }
    assert len(answers) == 1
    status, text, cookie = answers.pop()
    assert (status, cookie) == (422, None)
    assert BAD_LOGIN in text
    assert 'value="…"' in text, "the address need not be typed again"


async def test_a_password_never_comes_back_in_a_page(site: Site) -> None:
    answer = await site.browser().post("/login", {"email": "ada@example.org", "password": "my secret words"})
    assert "my secret words" not in answer.text


@pytest.mark.parametrize(
    ("target", "goes_to"),
    [
        ("/files", "/files"),
        ("/sessions/abc?x=1&y=2", "/sessions/abc?x=1&y=2"),
        ("/files?folder=Wörter und Zahlen", "/files?folder=W%C3%B6rter%20und%20Zahlen"),
        ("", "/sessions"),
        ("/login", "/sessions"),
        ("/login?next=/login", "/sessions"),
        ("/logout", "/sessions"),
        ("files", "/sessions"),
        ("https://evil.example", "/sessions"),
        ("https:evil.example", "/sessions"),
        ("//evil.example", "/sessions"),
        ("///evil.example", "/sessions"),
        ("/\\evil.example", "/sessions"),
        ("\\\\evil.example", "/sessions"),
        ("\\/evil.example", "/sessions"),
        ("/\t/evil.example", "/sessions"),
        ("\t//evil.example", "/sessions"),
        ("/\t\\evil.example", "/sessions"),
        ("/\n/evil.example", "/sessions"),
        ("/\r\nSet-Cookie: a=b", "/sessions"),
        ("/files\r\n\r\nbody", "/sessions"),
        ("/a\\..\\..\\evil", "/sessions"),
        ("//[", "/sessions"),
        ("http://[", "/sessions"),
        ("javascript:alert(1)", "/sessions"),
        ("/files\0", "/sessions"),
    ],
)
async def test_nobody_is_led_to_another_site(site: Site, target: str, goes_to: str) -> None:
    await site.hub.accounts.add("ada@example.org", password=PASSWORD)
    form = {"email": "ada@example.org", "password": PASSWORD, "next": target}
    answer = await site.browser().post("/login", form)
    assert (answer.status, answer.location) == (303, goes_to)
    answer = await site.browser().post("/login", form, htmx=True)
    assert answer.headers["HX-Redirect"] == goes_to


async def test_a_link_that_is_opened_is_not_used_and_one_that_is_used_is_void(site: Site, outbox: Any) -> None:
    await site.hub.accounts.add("ada@example.org")
    path = await mailed_link(site, outbox, "Ada@example.org")
    for _ in range(3):  # Mail scanners open links, too.
        opened = await site.browser().get(path)
        assert opened.status == 200
        assert "ada@example.org" in opened.text
    browser = site.browser()
    used = await browser.post(path, {})
    assert (used.status, used.location) == (303, "/sessions")
    assert await who(browser) == "ada@example.org"
    again = await browser.post(path, {})
    assert again.status == 410
    assert "To your sessions" in again.text, "a form that was sent twice leads on"
    stranger = await site.browser().post(path, {})
    assert stranger.status == 410
    assert "used or is too old" in stranger.text
    assert 'href="/login"' in stranger.text
    assert (await site.browser().get(path)).status == 410


async def test_asking_for_a_link_does_not_tell_who_has_an_account(site: Site, outbox: Any) -> None:
    await site.hub.accounts.add("ada@example.org")
    known = await site.browser().post("/login/link", {"email": "ada@example.org"})
    unknown = await site.browser().post("/login/link", {"email": "eve@example.org"})
    assert (known.status, known.body) == (unknown.status, unknown.body)
    await outbox.wait()
    assert [to for to, _, _ in outbox.mails] == ["ada@example.org"]


async def test_asking_for_a_link_without_an_address_helps(site: Site) -> None:
    answer = await site.browser().post("/login/link", {"email": "ada"})
    assert answer.status == 422
    assert "like ada@example.org" in answer.text


async def test_of_a_link_that_is_used_twice_at_once_one_gets_in(site: Site, outbox: Any) -> None:
    await site.hub.accounts.add("ada@example.org")
    path = await mailed_link(site, outbox, "ada@example.org")
    answers = await asyncio.gather(*(site.browser().post(path, {}) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [303, 410, 410, 410, 410]


async def test_the_first_administrator_is_made_once_and_mistakes_use_nothing_up(site: Site) -> None:
    assert "There are no accounts yet" in (await site.browser().get("/login")).text
    path = path_of(await site.hub.accounts.make_link(None))
    opened = await site.browser().get(path)
    assert "The first administrator" in opened.text
    browser = site.browser()
    bad = await browser.post(path, {"email": "ada@example.org", "password": "short"})
    assert bad.status == 422
    assert "10 to 200 characters" in bad.text
    assert 'value="ada@example.org"' in bad.text
    form = {"email": "ada@example.org", "password": PASSWORD}
    answers = await asyncio.gather(browser.post(path, form), site.browser().post(path, form))
    assert sorted(answer.status for answer in answers) in ([303, 409], [303, 410])
    assert (await site.browser().get(path)).status == 410
    admin = await site.browser().post("/login", form)
    assert admin.status == 303
    assert "There are no accounts" not in (await site.browser().get("/login")).text


async def test_logging_out_ends_the_login_and_leaves_the_sessions(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    await browser.post("/sessions", {"name": "Mine"})
    stolen = site.browser()
    stolen.client.cookie_jar = browser.client.cookie_jar
    answer = await browser.post("/logout", {})
    assert (answer.status, answer.location) == (303, "/login")
    assert (await browser.get("/sessions")).status == 303
    assert [session.name for session in await site.hub.sessions.list(ada.id)] == ["Mine"]
    assert (await browser.post("/logout", {})).location.startswith("/login"), "sent twice, it still leads on"


async def test_logging_out_everywhere_ends_all_logins_but_this_one(site: Site) -> None:
    ada, here = await site.person("ada@example.org")
    there = await site.browser().log_in(ada)
    answer = await here.post("/account/logins", {})
    assert (answer.status, answer.location) == (303, "/account")
    assert await who(here) == "ada@example.org"
    assert (await there.get("/sessions")).status == 303


async def test_a_new_password_ends_all_logins_but_this_one(site: Site) -> None:
    ada, here = await site.person("ada@example.org")
    there = await site.browser().log_in(ada)
    wrong = await here.post("/account/password", {"current": "wrong", "password": "other plain words"})
    assert wrong.status == 422
    assert "not your current password" in wrong.text
    short = await here.post("/account/password", {"current": PASSWORD, "password": "short"})
    assert short.status == 422
    assert await who(there) == "ada@example.org"
    right = await here.post("/account/password", {"current": PASSWORD, "password": "other plain words"})
    assert (right.status, right.location) == (303, "/account")
    assert await who(here) == "ada@example.org"
    assert (await there.get("/sessions")).status == 303


async def test_a_guest_is_let_in_and_all_that_is_theirs_goes_when_they_leave(site: Site) -> None:
    browser = site.browser()
    answer = await browser.post("/login/guest", {})
    assert (answer.status, answer.location) == (303, "/sessions")
    assert await who(browser) == "Guest"
    await browser.post("/sessions", {"name": "Mine"})
    await browser.send("PUT", "/files/upload/mine.csv", data=b"a,b\n1,2\n")
    (guest,) = await site.hub.accounts.list()
    asked = await browser.post("/logout", {})
    assert asked.location == "/logout", "what destroys asks first"
    assert "Leave and delete everything?" in (await browser.get("/logout")).text
    assert await who(browser) == "Guest"
    left = await browser.post("/logout", {"sure": "1"})
    assert (left.status, left.location) == (303, "/login")
    assert (await browser.get("/sessions")).status == 303
    assert await site.hub.accounts.get(guest.id) is None
    assert await site.hub.sessions.list(guest.id) == []


async def test_who_presses_guest_twice_stays_the_guest_they_are(site: Site) -> None:
    browser = site.browser()
    for _ in range(3):
        assert (await browser.post("/login/guest", {})).location == "/sessions"
    assert len(await site.hub.accounts.list()) == 1


async def test_two_guests_are_two(site: Site) -> None:
    one, two = site.browser(), site.browser()
    for browser in (one, two):
        await browser.post("/login/guest", {})
    await one.post("/sessions", {"name": "Secret of one"})
    assert "Secret of one" in (await one.get("/sessions")).text
    assert "Secret of one" not in (await two.get("/sessions")).text


async def test_guests_get_no_password_and_no_tokens(site: Site) -> None:
    browser = site.browser()
    await browser.post("/login/guest", {})
    assert (await browser.post("/account/password", {"password": PASSWORD})).status == 403
    assert (await browser.post("/account/tokens", {"label": "x"})).status == 403
    assert "API tokens" not in (await browser.get("/account")).text


async def test_a_hub_without_guests_does_not_offer_it_and_refuses(settings: Settings, database: object) -> None:
    async with serve(dataclasses.replace(settings, guests=False)) as site:
        assert "/login/guest" not in (await site.browser().get("/login")).text
        answer = await site.browser().post("/login/guest", {})
        assert answer.status == 404
        assert "takes no guests" in answer.text


async def test_a_login_that_has_expired_sends_the_whole_page_to_log_in_and_back(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    await site.hub.accounts.end_logins(ada)
    answer = await browser.post(
        "/sessions/abc/stop", {}, htmx=True, headers={"HX-Current-URL": "http://localhost/sessions?x=1"}
    )
    assert answer.status == 200, "htmx goes where HX-Redirect says only on an answer that is no redirect"
    assert answer.headers["HX-Redirect"] == "/login?expired=1&next=/sessions%3Fx%3D1"
    assert answer.body == b""
    assert "Your login has expired" in (await browser.get(answer.headers["HX-Redirect"])).text


async def test_a_live_list_whose_login_has_expired_is_told_so_and_not_sent_a_page(site: Site) -> None:
    answer = await site.browser().get("/sessions/events", headers={"Accept": "text/event-stream"})
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_the_login_cookie_is_out_of_reach_of_scripts_and_other_sites(
    settings: Settings, database: object
) -> None:
    for url, secure in (("https://hub.example.org", True), ("http://127.0.0.1:8000", False)):
        async with serve(dataclasses.replace(settings, public_url=url)) as site:
            answer = await site.browser().post("/login/guest", {}, scheme="https" if secure else "http")
            (cookie,) = [one for one in answer.headers.getlist("Set-Cookie") if one.startswith("hub_login_id=")]
            assert "HttpOnly" in cookie
            assert "SameSite=Lax" in cookie
            assert ("Secure" in cookie) is secure
            assert ("Strict-Transport-Security" in answer.headers) is secure


async def test_that_somebody_was_there_is_noted(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    await User.raw("UPDATE users SET seen_at = now() - interval '1 hour'")
    await browser.get("/sessions")
    found = await site.hub.accounts.get(ada.id)
    assert found is not None
    assert found.seen_at >= ada.seen_at


async def test_a_person_who_never_came_was_never_seen(site: Site) -> None:
    _, admin = await site.person("root@example.org", admin=True)
    link = path_of((await admin.post("/admin/users", {"email": "bob@example.org"})).text)
    assert (await admin.get("/admin")).text.count('<td data-label="Last seen"><span class="quiet">never</span>') == 1
    browser = site.browser()
    await browser.post(link, {"password": PASSWORD})
    await browser.get("/sessions")
    page = (await admin.get("/admin")).text
    assert "never" not in page
    assert page.count(">just now</time></td>") == 2


# Forms that come at a bad moment


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("/login/link", "/login"),
        ("/login/guest", "/login"),
        ("/account/password", "/account"),
        ("/account/tokens", "/account"),
        ("/account/tokens/0/delete", "/account"),
        ("/account/terminal", "/account"),
        ("/sessions/abcdefghijkm/stay", "/sessions/abcdefghijkm"),
        ("/admin/users", "/admin"),
        ("/admin/users/link", "/admin"),
    ],
)
async def test_the_address_of_a_form_leads_to_its_page_when_it_is_opened_or_loaded_again(
    site: Site, address: str, page: str
) -> None:
    _, admin = await site.person("root@example.org", admin=True)
    answer = await admin.get(address)
    assert (answer.status, answer.location) == (303, page)
    assert (await admin.get(address, headers={"Accept": "application/json"})).status == 405


async def test_every_form_of_the_pages_has_an_address_that_can_be_opened(site: Site) -> None:
    """(The API's addresses and those that scripts PUT to are no forms.)"""
    _, admin = await site.person("root@example.org", admin=True)
    tried = 0
    for rule in site.app.url_map.iter_rules():
        if "POST" in (rule.methods or ()) and not rule.rule.startswith("/api/"):
            path = rule.build(dict.fromkeys(rule.arguments, "x"))
            assert path is not None
            assert (await admin.get(path[1])).status != 405, rule.rule
            tried += 1
    assert tried > 20


@pytest.mark.parametrize("htmx", [False, True])
@pytest.mark.parametrize(
    ("address", "form", "shows"),
    [
        (
            "/account/terminal",
            {"theme": "dark", "font": "courier", "size": "21", "reader": "on"},
            ['value="dark" selected', 'value="courier" selected', 'value="21"', 'name="reader" checked'],
        ),
        ("/account/tokens", {"label": "My “laptop” & more"}, ['value="My “laptop” &amp; more"']),
        (
            "/sessions",
            {"name": "Whales", "source": "sample:penguins.csv", "form_key": "k"},
            ['value="Whales"', "selected"],
        ),
        ("/sessions/{id}/rename", {"name": "Seals"}, ['value="Seals"']),
        ("/admin/users", {"email": "bob@example.org", "admin": "1"}, ['value="bob@example.org"', 'value="1" checked']),
    ],
)
async def test_what_was_typed_is_there_again_after_the_login_that_had_expired(
    site: Site, address: str, form: dict[str, str], shows: list[str], htmx: bool
) -> None:
    root, browser = await site.person("root@example.org", admin=True)
    session_id = (await browser.post("/sessions", {"open": "1"})).location.rpartition("/")[2]
    await site.hub.accounts.end_logins(root)
    secret = {"password": "a secret of mine", "current": "another one", "login": "x"}
    refused = await browser.post(address.format(id=session_id), {**form, **secret}, htmx=htmx)
    login = refused.headers["HX-Redirect"] if htmx else refused.location
    assert login.startswith("/login?expired=1&next=")
    assert "secret" not in login
    assert "another" not in login
    page = await browser.get(login)
    assert "What you typed is kept." in page.text
    found = re.search(r'name="next" value="([^"]+)"', page.text)
    assert found is not None
    logged_in = await browser.post(
        "/login", {"email": "root@example.org", "password": PASSWORD, "next": html.unescape(found[1])}
    )
    page = await browser.get(logged_in.location)
    assert page.status == 200
    assert "What you typed is here again" in page.text
    for shown in shows:
        assert shown in page.text


async def test_a_form_in_which_nothing_was_typed_leads_back_to_its_page(site: Site) -> None:
    root, browser = await site.person("root@example.org", admin=True)
    await site.hub.accounts.end_logins(root)
    for address, page in (
        ("/account/logins", "/account"),
        ("/sessions/abcdefghijkm/delete", "/sessions/abcdefghijkm/delete"),
    ):
        assert (await browser.post(address, {})).location == f"/login?expired=1&next={page}"
    huge = await browser.post("/sessions", {"name": "x" * 5000})
    assert len(huge.location) < 100


# Too often


async def test_guessing_passwords_is_slowed_down_with_a_word_about_when_to_try_again(site: Site) -> None:
    await site.hub.accounts.add("ada@example.org", password=PASSWORD)
    form = {"email": "ada@example.org", "password": "wrong"}
    statuses = [(await site.browser().post("/login", form)).status for _ in range(10)]
    assert statuses == [422] * 10
    answer = await site.browser().post("/login", {**form, "email": " ADA@example.org"})
    assert answer.status == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert f"Try again in {answer.headers['Retry-After']} seconds" in answer.text
    assert (await site.browser().post("/login", {**form, "email": "bob@example.org"})).status == 422
    right = {**form, "password": PASSWORD}
    assert (await site.browser().post("/login", right, remote_addr="192.0.2.9")).status == 303


async def test_one_address_may_not_try_many_accounts_either(site: Site) -> None:
    """Though a lecture hall behind one address may log in at once."""
    limiter = site.app.extensions["limiter"]
    for _ in range(LOGINS.count - 2):
        limiter.spend(LOGINS, "127.0.0.1")
    statuses = [
        (await site.browser().post("/login", {"email": f"{n}@example.org", "password": "x"})).status for n in range(3)
    ]
    assert statuses == [422, 422, 429]


# Tokens, on the account's page


async def test_a_token_is_shown_once_and_works_until_it_is_revoked(site: Site) -> None:
    _, browser = await site.person("ada@example.org")
    made = await browser.post("/account/tokens", {"label": "laptop"})
    found = re.search(r"hub_[\w-]{43}", made.text)
    assert found is not None
    page = (await browser.get("/account")).text
    assert "laptop" in page
    assert found[0] not in page
    program = Browser(site.app, Authorization=f"Bearer {found[0]}")
    assert (await program.get("/api/v1/sessions")).json == []
    token_id = re.search(r"/account/tokens/([0-9a-f-]{36})/delete", page)
    assert token_id is not None
    gone = await browser.post(f"/account/tokens/{token_id[1]}/delete", {})
    assert (gone.status, gone.location) == (303, "/account")
    assert (await program.get("/api/v1/sessions")).status == 401
    assert (await browser.post("/account/tokens/nonsense/delete", {})).status == 404


# Administrators


async def test_an_administrator_adds_a_person_and_hands_them_a_link(site: Site) -> None:
    _, admin = await site.person("ada@example.org", admin=True)
    made = await admin.post("/admin/users", {"email": "Bob@example.org"})
    assert "within 7 days. They choose a password when they use it." in made.text
    browser = site.browser()
    assert (await browser.post(path_of(made.text), {})).status == 303
    assert await who(browser) == "bob@example.org"
    again = await admin.post("/admin/users", {"email": "bob@example.org"})
    assert again.status == 409
    assert "There is an account for bob@example.org already" in again.text
    bad = await admin.post("/admin/users", {"email": "bob"})
    assert bad.status == 422
    assert 'value="bob"' in bad.text
    other = await admin.post("/admin/users/link", {"email": "bob@example.org"})
    assert (await site.browser().post(path_of(other.text), {})).status == 303
    assert (await admin.post("/admin/users/link", {"email": "gone@example.org"})).location == "/admin"


async def test_an_administrator_sees_all_sessions_and_may_stop_them(site: Site) -> None:
    bob, person = await site.person("bob@example.org")
    _, admin = await site.person("ada@example.org", admin=True)
    session_id = (await person.post("/sessions", {"name": "Whales", "open": "1"})).location.rpartition("/")[2]
    await site.until_state(bob.id, session_id, "running")
    page = (await admin.get("/admin")).text
    assert "Whales" in page
    assert f"/sessions/{session_id}/stop-any" in page
    answer = await admin.post(f"/sessions/{session_id}/stop-any", {})
    assert (answer.status, answer.location) == (303, "/admin")
    await site.until_state(bob.id, session_id, "stopped")
    assert "An administrator stopped it." in (await person.get("/sessions")).text
    assert (await admin.get(f"/sessions/{session_id}")).status == 404, "looking in is another matter"
