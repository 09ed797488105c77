"""Rules that hold for every route there is: each is login-required, CSRF-safe and rate-limited, or says why not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from quart import websocket
from quart.testing.connections import WebsocketDisconnectError, WebsocketResponseError
from serving import Answer, Browser, Site
from werkzeug.routing import Rule

from app.web.limits import ACCOUNT_REQUESTS, ADDRESS_REQUESTS
from app.web.security import SAFE_METHODS

PUBLIC = {
    "GET /",
    "GET /login",
    "POST /login",
    "POST /login/link",
    "GET /login/link/<token>",
    "POST /login/link/<token>",
    "POST /login/guest",
    "GET /logout",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /static/<path:name>",
}
"""All that may be had without a login. A route is added here by hand, after somebody has thought about it."""

EVIL = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


def routes(site: Site, *, websockets: bool = False) -> Iterator[tuple[str, Rule, Any]]:
    """(method, address to try, view) of every route; the address is asked for as a stranger would guess it."""
    for rule in site.app.url_map.iter_rules():
        if rule.websocket is websockets:
            for method in sorted((rule.methods or {"GET"}) - {"HEAD", "OPTIONS"}):
                yield method, rule, site.app.view_functions[rule.endpoint]


def address(rule: Rule) -> str:
    values = dict.fromkeys(rule.arguments - set(rule.defaults or ()), "x")
    built = rule.build(values)
    assert built is not None
    return built[1]


def asks_for_login(answer: Answer) -> bool:
    if answer.status == 303:
        return answer.location.startswith("/login?expired=1&next=") and not answer.body.strip().startswith(b"{")
    return answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer"


async def test_there_are_routes_to_look_at(site: Site) -> None:
    assert len(list(routes(site))) > 40
    assert len(list(routes(site, websockets=True))) == 1


async def test_every_route_asks_for_a_login_unless_it_is_public_for_a_reason(site: Site) -> None:
    public = set()
    for method, rule, view in routes(site):
        answer = await site.browser().send(method, address(rule))
        if getattr(view, "hub_public", ""):
            assert not asks_for_login(answer) or rule.rule == "/"
            public.add(f"{method} {rule.rule}")
        else:
            assert asks_for_login(answer), f"{method} {rule.rule} answered {answer.status}"
    assert public == PUBLIC


async def test_a_login_that_was_made_up_or_has_ended_is_none(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    forger = site.browser()
    forger.client.set_cookie("localhost", "hub_login_id", f"{ada.id}:{uuid4()}")
    assert asks_for_login(await forger.get("/sessions"))
    await site.hub.accounts.end_logins(ada)
    assert asks_for_login(await browser.get("/sessions"))


async def test_every_route_that_changes_something_refuses_another_sites_page_even_with_a_good_cookie(
    site: Site,
) -> None:
    _, admin = await site.person("ada@example.org", admin=True)
    tried = 0
    for method, rule, view in routes(site):
        if method in SAFE_METHODS or hasattr(view, "hub_by_token"):
            continue
        for lie in (
            EVIL,
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
            {"Sec-Fetch-Site": "same-origin", "Origin": "https://localhost.evil.example"},
        ):
            answer = await admin.send(method, address(rule), headers=lie)
            assert answer.status == 403, f"{method} {rule.rule} with {lie}"
            tried += 1
    assert tried >= 6 * 15


async def test_our_own_pages_are_let_through_under_any_address_of_this_hub(site: Site) -> None:
    for origin in ("http://localhost", site.hub.settings.public_url):
        answer = await site.browser().post("/login", {}, headers={"Origin": origin})
        assert answer.status == 422, origin


async def test_every_route_but_the_static_files_is_limited_by_account_and_without_a_login_by_address(
    site: Site,
) -> None:
    ada, person = await site.person("ada@example.org", admin=True)
    program = await site.program(ada)
    site.use_up(ADDRESS_REQUESTS, "192.0.2.1")
    site.use_up(ACCOUNT_REQUESTS, ada.id)
    free = set()
    for method, rule, view in routes(site):
        answers = [await site.browser().send(method, address(rule), remote_addr="192.0.2.1")]
        if not getattr(view, "hub_same_for_all", False):  # These do not ask whose the cookie is.
            answers.append(await (program if hasattr(view, "hub_by_token") else person).send(method, address(rule)))
        if getattr(view, "hub_unlimited", ""):
            free.add(rule.rule)
            assert 429 not in {answer.status for answer in answers}
            continue
        for answer in answers:
            assert answer.status == 429, f"{method} {rule.rule}"
            assert int(answer.headers["Retry-After"]) >= 1, f"{method} {rule.rule}"
    assert free == {"/static/<path:name>"}
    assert (await site.browser().get("/healthz", remote_addr="192.0.2.3")).status == 200
    assert await refused(person, "/sessions/x/tty", Origin="http://localhost") == 429


async def test_administrators_routes_do_not_exist_for_others(site: Site) -> None:
    _, admin = await site.person("ada@example.org", admin=True)
    _, person = await site.person("bob@example.org")
    tried = 0
    for method, rule, view in routes(site):
        marked = hasattr(view, "hub_admins_only")
        assert marked == (rule.rule.startswith("/admin") or rule.rule.endswith("-any")), rule.rule
        if marked:
            answer = await person.send(method, address(rule), form={} if method == "POST" else None)
            missing = await person.get(f"{address(rule)}/nothing")
            assert (answer.status, answer.body) == (404, missing.body), rule.rule
            tried += 1
    assert tried >= 4
    assert (await admin.get("/admin")).status == 200


async def test_what_takes_a_token_takes_no_cookie_and_what_takes_a_cookie_takes_no_token(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    program = await site.program(ada)
    tried = set()
    for method, rule, view in routes(site):
        if hasattr(view, "hub_by_token"):
            assert rule.rule.startswith("/api/v1/")
            assert (await browser.send(method, address(rule))).status == 401, rule.rule
            assert (await program.send(method, address(rule))).status != 401, rule.rule
            tried.add(method)
        elif not hasattr(view, "hub_public"):
            assert not rule.rule.startswith("/api/")
            assert asks_for_login(await program.send(method, address(rule))), rule.rule
    assert tried == {"GET", "POST", "PUT", "PATCH", "DELETE"}


async def test_a_new_route_without_any_mark_is_closed(site: Site) -> None:
    called = []

    async def forgotten() -> str:
        called.append(True)
        return "secret"

    site.app._got_first_request = False  # Quart takes no routes once it serves.
    site.app.add_url_rule("/forgotten", "forgotten", forgotten, methods=["GET", "POST"])
    for method in ("GET", "POST"):
        assert asks_for_login(await site.browser().send(method, "/forgotten"))
    ada, person = await site.person("ada@example.org")
    assert (await person.post("/forgotten", {}, headers=EVIL)).status == 403
    assert called == []
    answer = await person.get("/forgotten")
    assert answer.text == "secret"
    site.use_up(ACCOUNT_REQUESTS, ada.id)
    assert (await person.get("/forgotten")).status == 429


async def test_a_new_websocket_without_any_mark_is_closed(site: Site) -> None:
    called = []

    async def forgotten() -> None:
        called.append(True)
        await websocket.accept()

    site.app._got_first_request = False
    site.app.add_websocket("/forgotten", "forgotten", forgotten)
    assert await refused(site.browser(), "/forgotten", Origin="http://localhost") == 401
    ada, person = await site.person("ada@example.org")
    assert await refused(await site.program(ada), "/forgotten") == 401
    assert await refused(person, "/forgotten", Origin="https://evil.example") == 403
    assert called == []


async def refused(browser: Browser, path: str, **headers: str) -> int:
    """The status with which a WebSocket is refused before it stands."""
    async with browser.websocket(path, "hub.tty.v1", **headers) as socket:
        with pytest.raises(WebsocketResponseError) as raised:
            async with asyncio.timeout(30):
                await socket.receive()
        return int(raised.value.response.status_code)


async def test_websockets_come_from_our_own_pages_or_with_a_token(site: Site) -> None:
    ada, person = await site.person("ada@example.org")
    for headers in (
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
        # Names and passwords in an address reach a server too, whichever page the address is on.
        {"Origin": "https://evil.example", "Authorization": "Basic eDp5"},
        {"Origin": "https://evil.example", "Authorization": "Bearer "},
    ):
        assert await refused(person, "/sessions/x/tty", **headers) == 403, headers
    del person.headers["Sec-Fetch-Site"]
    assert await refused(person, "/sessions/x/tty") == 403
    program = await site.program(ada)
    async with program.websocket("/sessions/x/tty", "webtty") as socket:
        with pytest.raises(WebsocketDisconnectError, match="4404"):
            await socket.receive()


async def test_every_answer_tells_the_browser_what_it_must_not_do(site: Site) -> None:
    _, person = await site.person("ada@example.org", admin=True)
    answers = {}
    for method, rule, _ in routes(site):
        if rule.rule == "/sessions/events":
            continue  # Has no end; see test_live.py.
        answers[f"{method} {rule.rule}"] = await person.send(method, address(rule))
        answers[f"{method} {rule.rule}, by nobody"] = await site.browser().send(method, address(rule))
    answers["nowhere"] = await person.get("/no-such-page")
    answers["not that way"] = await person.send("DELETE", "/sessions")
    answers["from elsewhere"] = await person.post("/sessions", {}, headers=EVIL)
    for name, answer in answers.items():
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';"), name
        assert "frame-ancestors 'none'" in policy, name
        assert "unsafe" not in policy, name
        assert answer.headers["X-Content-Type-Options"] == "nosniff", name
        assert answer.headers["X-Frame-Options"] == "DENY", name
        assert answer.headers["Referrer-Policy"] == "same-origin", name
        if not name.startswith("GET /static"):
            assert answer.headers["Cache-Control"] == "no-store", name
            assert {"HX-Request", "Cookie"} <= set(answer.headers["Vary"].split(", ")), name
        assert answer.status < 500 or "readyz" in name, name
