"""When something goes wrong people are told what, and what to do; and the Hub recovers by itself."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest
from serving import PASSWORD, Answer, Browser, Site, serve

from app.db.embedded import PrivatePostgres, parse_server_file
from app.db.tables import Session as Row
from app.settings import Settings


async def test_an_address_that_leads_nowhere_says_so_in_the_form_that_was_asked_for(site: Site) -> None:
    page = await site.browser().get("/no-such-page")
    assert page.status == 404
    assert "There is nothing at this address." in page.text
    assert "<html" in page.text
    fragment = await site.browser().get("/no-such-page", htmx=True)
    assert fragment.status == 404
    assert "<html" not in fragment.text
    assert fragment.headers["HX-Retarget"] == "#notices"
    json = await site.browser().get("/no-such-page", headers={"Accept": "application/json"})
    assert json.json["status"] == 404


async def test_a_wrong_method_names_the_right_ones(site: Site) -> None:
    answer = await site.browser().send("DELETE", "/login")
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "POST"}


async def test_a_form_of_more_than_a_megabyte_is_refused(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    big = b"name=" + b"x" * (1 << 20)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for browser, path in ((ada, "/sessions"), (site.browser(), "/login")):
        answer = await browser.send("POST", path, data=big, headers=kind)
        assert answer.status == 413, path
        assert "larger than the Hub takes" in answer.text
    # The same without saying beforehand how much there is.
    async with ada.client.request(
        "/sessions", method="POST", headers={**ada.headers, **kind, "Transfer-Encoding": "chunked"}
    ) as connection:
        for _ in range(20):
            await connection.send(b"x" * (1 << 16))
    assert (await connection.as_response()).status_code == 413


async def test_a_bug_is_logged_whole_and_told_in_a_few_words(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> str:
        raise LookupError("the inner secret")

    broken.hub_public = "for this test"  # type: ignore[attr-defined]
    site.app._got_first_request = False
    site.app.add_url_rule("/broken", "broken", broken)
    answer = await site.browser().get("/broken")
    assert answer.status == 500
    assert "Something went wrong in the Hub. It has been logged" in answer.text
    assert "inner secret" not in answer.text
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "the inner secret" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (OSError(errno.EROFS, "Read-only file system"), 500, "disk is read-only"),
        (OSError(errno.ENOSPC, "No space left on device"), 507, "disk is full"),
        (OSError(errno.EMFILE, "Too many open files"), 503, "too many files open"),
        (OSError(errno.ESTALE, "Stale file handle"), 500, "does not answer as it should"),
        (OSError(errno.EPERM, "Operation not permitted"), 500, "It has been logged"),
        (TimeoutError(), 500, "It has been logged"),
        (ConnectionResetError(), 500, "It has been logged"),
    ],
)
async def test_trouble_of_the_machine_is_not_blamed_on_the_database(
    site: Site, caplog: pytest.LogCaptureFixture, error: Exception, status: int, words: str
) -> None:
    async def broken() -> str:
        raise error

    broken.hub_public = "for this test"  # type: ignore[attr-defined]
    site.app._got_first_request = False
    site.app.add_url_rule("/broken", "broken", broken)
    answer = await site.browser().get("/broken")
    assert (answer.status, words in answer.text) == (status, True)
    assert "database" not in answer.text
    assert "GET /broken failed" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_nul_character_anywhere_is_no_bug(site: Site) -> None:
    _, admin = await site.person("ada@example.org", admin=True)
    session_id = (await admin.post("/sessions", {"open": "1"})).location.rpartition("/")[2]
    for path, form in [
        ("/login", {"email": "a\0@example.org", "password": "x\0"}),
        ("/login/link", {"email": "a\0@example.org"}),
        ("/sessions", {"name": "a\0", "source": "\0", "form_key": "\0"}),
        (f"/sessions/{session_id}/rename", {"name": "\0"}),
        ("/sessions/%00/stop", {}),
        ("/account/tokens", {"label": "a\0"}),
        ("/account/password", {"current": "\0", "password": "\0" * 10}),
        ("/admin/users", {"email": "a\0@example.org"}),
        ("/admin/users/link", {"email": "a\0@example.org"}),
        ("/login/link/%00", {}),
    ]:
        answer = await admin.post(path, form)
        assert 400 <= answer.status < 500, path
    for path in ("/login/link/%00", "/files?folder=%00", "/files/get/%00", "/sessions?source=%00", "/login?next=%00"):
        assert (await admin.get(path)).status < 500, path


@dataclasses.dataclass
class Server:
    """A Postgres of one's own, to stop and to start again."""

    postgres: PrivatePostgres
    folder: Path
    url: str

    async def die(self) -> None:
        """Killed, without a farewell, as a machine that fails does."""
        found = parse_server_file((self.folder / "postgres" / "data" / "postmaster.pid").read_text())
        assert found is not None
        family = [psutil.Process(found.pid), *psutil.Process(found.pid).children(recursive=True)]
        os.kill(found.pid, signal.SIGKILL)
        await asyncio.to_thread(psutil.wait_procs, family, 10)

    async def come_back(self) -> None:
        await asyncio.to_thread(self.postgres.start)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    postgres = PrivatePostgres(tmp_path)
    yield Server(postgres, tmp_path, await asyncio.to_thread(postgres.start))
    await asyncio.to_thread(postgres.stop)


async def test_while_postgres_is_away_people_are_told_and_when_it_is_back_all_goes_on(
    settings: Settings, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(dataclasses.replace(settings, database_url=server.url)) as site, AsyncExitStack() as stack:
        account, ada = await site.person("ada@example.org")
        session_id = (await ada.post("/sessions", {"name": "Penguins", "open": "1"})).location.rpartition("/")[2]
        await site.until_state(account.id, session_id, "running")
        program = await site.program(account)
        async with asyncio.timeout(30):  # A lease that is lost in the fall is taken up only when it has run out.
            while await Row.exists().where(Row.lease_by.is_not_null() | Row.due_at.is_not_null()):
                await asyncio.sleep(0.01)

        live = await stack.enter_async_context(ada.stream("/sessions/events"))
        assert b"Penguins" in await live.receive()
        await server.die()
        page = await ada.get("/sessions")
        assert page.status == 503
        assert "database does not answer. Your sessions continue" in page.text
        assert '<meta http-equiv="refresh" content="3">' in page.text, "it tries again by itself"
        assert page.headers["Retry-After"] == "3"
        fragment = await ada.post(f"/sessions/{session_id}/stop", {}, htmx=True)
        assert fragment.status == 503
        assert "<html" not in fragment.text
        api = await program.get("/api/v1/sessions")
        assert (api.status, api.json["status"]) == (503, 503)
        assert (await ada.post("/login", {"email": "ada@example.org", "password": PASSWORD})).status == 503
        # The replica stays in service: attached terminals are here, and so are the pages that say what is wrong.
        async with asyncio.timeout(30):
            while "Postgres has not answered for" not in (ready := await ada.get("/readyz")).text:
                await asyncio.sleep(0.05)
        assert ready.status == 200
        metrics = await ada.get("/metrics")
        assert metrics.status == 200
        assert "hub_database_up 0" in metrics.text
        assert "hub_terminals 0" in metrics.text
        assert "hub_sessions" not in metrics.text
        # What needs no database is there, with a good cookie too: the page that says so has its styles.
        assert (await ada.get("/healthz")).status == 200
        assert (await ada.get("/static/app.css")).status == 200
        assert site.runtime.world.living(), "the runs go on"

        await server.come_back()
        page = await _once_back(ada, "/sessions")
        assert "Penguins" in page.text
        assert "Running" in page.text
        assert (await ada.get("/readyz")).text == "ready\n"
        assert "hub_database_up 1" in (await ada.get("/metrics")).text
        await ada.post(f"/sessions/{session_id}/rename", {"name": "Renamed"})
        async with asyncio.timeout(30):
            while b"Renamed" not in await live.receive():
                pass  # The same live list has outlived the outage.
        await live.disconnect()
        await ada.post(f"/sessions/{session_id}/stop", {})
        async with asyncio.timeout(60):  # The manager tries again by itself, waiting longer each time.
            while (await site.hub.sessions.get(account.id, session_id)).state != "stopped":
                await asyncio.sleep(0.05)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2, "one line when it begins and one when it ends"
    assert "Postgres does not answer" in told[0]
    assert "Postgres answers again" in told[1]


async def _once_back(browser: Browser, path: str) -> Answer:
    """The page, as soon as it is there again: somebody presses `Try again`."""
    async with asyncio.timeout(60):
        while (answer := await browser.get(path)).status == 503:
            await asyncio.sleep(0.05)
    return answer
