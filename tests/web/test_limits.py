"""What is limited, by whom it is counted, and that counting costs the Hub nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import Browser, Site

from app.errors import TooManyRequests
from app.web.limits import (
    ACCOUNT_REQUESTS,
    ADDRESS_REQUESTS,
    BAD_TOKENS,
    RUNS,
    TOKEN_REQUESTS,
    UPLOADS,
    Limit,
    Limiter,
    address_key,
)

FEW = Limit("few", 3, 30, "address")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def wait_of(limiter: Limiter, limit: Limit, key: str) -> int:
    """Seconds to wait for the next use; 0 where it was counted."""
    try:
        limiter.spend(limit, key)
    except TooManyRequests as error:
        assert error.retry_after is not None
        return error.retry_after
    return 0


# Counting


def test_all_uses_may_come_at_once_and_each_comes_back_in_its_time() -> None:
    clock = Clock()
    limiter = Limiter(clock)
    assert [wait_of(limiter, FEW, "a") for _ in range(5)] == [0, 0, 0, 10, 10]
    assert wait_of(limiter, FEW, "b") == 0, "another key counts for itself"
    clock.now += 9
    assert wait_of(limiter, FEW, "a") == 1
    clock.now += 1
    assert [wait_of(limiter, FEW, "a") for _ in range(2)] == [0, 10]
    clock.now += 30
    assert [wait_of(limiter, FEW, "a") for _ in range(4)] == [0, 0, 0, 10]


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 40)), max_size=80))
def test_a_key_never_has_more_uses_in_a_period_than_it_may_twice(uses: list[tuple[int, float]]) -> None:
    """(A burst, and what comes back during the period: the bound of the algorithm.) Who waits as told is let in."""
    clock = Clock()
    limiter = Limiter(clock)
    counted: list[tuple[float, int]] = []
    for key, later in uses:
        clock.now += later
        wait = wait_of(limiter, FEW, str(key))
        if wait:
            clock.now += wait
            assert wait_of(limiter, FEW, str(key)) == 0
        counted.append((clock.now, key))
        lately = [at for at, one in counted if one == key and at > clock.now - FEW.period]
        assert len(lately) < 2 * FEW.count


def test_whatever_clients_send_the_store_stays_small_and_each_use_costs_the_same() -> None:
    clock = Clock()
    limiter = Limiter(clock, max_keys=100)
    for number in range(10_000):
        limiter.spend(FEW, f"2001:db8:{number:x}::/64")
        assert len(limiter) <= 100
    clock.now += FEW.period
    for number in range(60):
        limiter.spend(FEW, f"10.0.0.{number}")
    assert len(limiter) <= 61, "expired keys go as new ones come, two for each"


def test_a_flood_of_other_keys_does_not_free_the_one_that_is_being_tried() -> None:
    limiter = Limiter(Clock(), max_keys=100)
    for _ in range(3):
        limiter.spend(FEW, "guessed")
    for number in range(99):
        limiter.spend(FEW, f"{number}")
    assert wait_of(limiter, FEW, "guessed") == 10


# Where a request comes from


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("", "unknown"),
        ("<local>", "unknown"),
        ("1" * 10_000, "unknown"),
    ],
)
def test_an_ipv6_network_is_one_address(address: str, key: str) -> None:
    assert address_key(address) == key


async def test_a_terminal_without_a_login_counts_by_network_too(site: Site) -> None:
    site.use_up(ADDRESS_REQUESTS, "2001:db8::/64")
    connection = site.browser().client.websocket(
        "/sessions/x/tty",
        headers={"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
        scope_base={"subprotocols": ["hub.tty.v1"], "client": ("2001:db8::5", 1)},
    )
    async with connection as socket:
        with pytest.raises(Exception, match="429"):
            await socket.receive()


# Who is limited by what


async def test_a_class_behind_one_address_gets_every_script_and_style(site: Site) -> None:
    """Students open the page at once: a dozen files for each, as fast as the browser asks."""
    site.use_up(ADDRESS_REQUESTS, "192.0.2.1")
    for _ in range(300):
        answer = await site.browser().get("/static/app.css", remote_addr="192.0.2.1")
        assert answer.status == 200


async def test_those_who_are_logged_in_are_counted_by_account_and_not_by_address(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    _, beside = await site.person("bob@example.org")
    site.use_up(ADDRESS_REQUESTS, "127.0.0.1")
    assert (await site.browser().get("/login")).status == 429
    assert (await browser.get("/sessions")).status == 200
    site.use_up(ACCOUNT_REQUESTS, ada.id)
    assert (await browser.get("/sessions", remote_addr="192.0.2.9")).status == 429
    assert (await beside.get("/sessions")).status == 200


async def test_a_cookie_that_was_made_up_counts_by_address(site: Site) -> None:
    ada, _ = await site.person("ada@example.org")
    site.use_up(ACCOUNT_REQUESTS, ada.id)
    forger = site.browser()
    forger.client.set_cookie("localhost", "hub_login", f"{ada.id}:0")
    assert (await forger.get("/sessions")).status == 303


async def test_guessing_tokens_is_slowed_down_and_a_program_that_works_goes_on_beside_it(site: Site) -> None:
    program = await site.program(await site.hub.accounts.add("ada@example.org"))
    assert (await program.get("/api/v1/sessions")).status == 200
    guesses = [Browser(site.app, Authorization=f"Bearer hub_{number}") for number in range(2 * BAD_TOKENS.count)]
    statuses = [(await guess.get("/api/v1/sessions")).status for guess in guesses]
    assert statuses[: BAD_TOKENS.count] == [401] * BAD_TOKENS.count
    assert 429 in statuses  # Not at once on a slow machine: one more is allowed each second.
    assert (await program.get("/api/v1/sessions")).status == 200
    assert (await guesses[0].get("/api/v1/sessions", remote_addr="192.0.2.1")).status == 401


def test_a_program_in_a_loop_is_refused_before_anything_is_asked_of_postgres() -> None:
    limiter = Limiter(Clock())
    limiter.note_token("hub_1")
    for _ in range(TOKEN_REQUESTS.count):
        limiter.check_token("hub_1", "192.0.2.1")
    with pytest.raises(TooManyRequests):
        limiter.check_token("hub_1", "192.0.2.1")


async def test_a_token_that_was_revoked_counts_as_a_guess(site: Site) -> None:
    program = await site.program(ada := await site.hub.accounts.add("ada@example.org"))
    assert (await program.get("/api/v1/sessions")).status == 200
    await site.hub.accounts.drop_tokens(ada)
    assert (await program.get("/api/v1/sessions")).status == 401
    site.use_up(BAD_TOKENS, "127.0.0.1")
    limiter: Limiter = site.app.extensions["limiter"]
    with pytest.raises(TooManyRequests):
        limiter.check_token(program.headers["Authorization"].partition(" ")[2], "127.0.0.1")


async def test_starts_and_uploads_have_limits_of_their_own(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    program = await site.program(ada)
    site.use_up(RUNS, ada.id)
    site.use_up(UPLOADS, ada.id)
    for client, method, path in (
        (browser, "POST", "/sessions"),
        (browser, "POST", "/sessions/abcdefghijkm/start"),
        (program, "POST", "/api/v1/sessions"),
        (program, "POST", "/api/v1/sessions/abcdefghijkm/start"),
        (browser, "PUT", "/files/upload/a.csv"),
        (browser, "PUT", "/files/left/open"),
        (program, "PUT", "/api/v1/files/a.csv"),
    ):
        answer = await client.send(method, path)
        assert (answer.status, answer.headers.get("Retry-After")) == (429, "1"), path
    assert (await browser.get("/sessions")).status == 200


async def test_a_page_that_is_refused_says_so_and_tries_again_by_itself(site: Site) -> None:
    ada, browser = await site.person("ada@example.org")
    site.use_up(ACCOUNT_REQUESTS, ada.id)
    page = await browser.get("/files")
    assert page.status == 429
    seconds = page.headers["Retry-After"]
    assert f'<meta http-equiv="refresh" content="{seconds}">' in page.text
    assert "This page tries again by itself." in page.text
    form = await browser.post("/account/logins", {})
    assert (form.status, "http-equiv" in form.text) == (429, False), "what was sent is not sent twice unasked"
    fragment = await browser.get("/files", htmx=True)
    assert fragment.headers["Retry-After"]
    assert "Too many requests. Try again in" in fragment.text
