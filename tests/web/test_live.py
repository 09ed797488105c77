"""The list is live in every tab, whichever replica made the change."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from quart import template_rendered
from quart.testing import connections
from serving import Browser, Site, serve

from app.runtimes.base import Source
from app.settings import Settings
from app.web.live import MAX_STREAMS_OF_USER, MAX_WAITS_OF_USER


class Stream:
    """A live list as the page sees it: the HTML of each event."""

    def __init__(self, connection: connections.TestHTTPConnection) -> None:
        self.connection = connection
        self._rest = ""

    async def event(self) -> str:
        """The next event that has data."""
        while "\n\n" not in self._rest:
            self._rest += (await self.connection.receive()).decode()
        event, _, self._rest = self._rest.partition("\n\n")
        lines = event.splitlines()
        if not any(line.startswith("data: ") for line in lines):
            return await self.event()
        return "\n".join(line.removeprefix("data: ") for line in lines)

    async def until(self, *shown: str) -> str:
        """The first list that shows all of these. How soon it comes is for `bench` to say."""
        async with asyncio.timeout(30):
            while True:
                html = await self.event()
                if all(text in html for text in shown):
                    return html


@asynccontextmanager
async def live(browser: Browser) -> AsyncIterator[Stream]:
    async with browser.stream("/sessions/events") as connection:
        stream = Stream(connection)
        try:
            yield stream
        finally:
            await connection.disconnect()


@pytest.fixture
async def other(settings: Settings, site: Site) -> AsyncIterator[Site]:
    """Another replica, on the same Postgres and with the same runs."""
    async with serve(settings, beside=site) as other:
        yield other


async def test_the_list_comes_at_once_as_html_and_is_no_page(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    async with live(ada) as stream:
        html = await stream.until("No sessions yet")
        assert "<html" not in html
        assert stream.connection.status_code == 200
        headers = stream.connection.headers
        assert headers is not None
        assert headers["Content-Type"].startswith("text/event-stream")
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"


async def test_every_tab_sees_what_is_done_in_any_of_them(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    async with live(ada) as one, live(ada) as two:
        await asyncio.gather(one.until("No sessions yet"), two.until("No sessions yet"))
        await ada.post("/sessions", {"name": "Penguins"})
        await asyncio.gather(one.until("Penguins", "Running"), two.until("Penguins", "Running"))


async def test_a_change_that_another_replica_made_is_seen_in_time(site: Site, other: Site) -> None:
    ada, here = await site.person("ada@example.org")
    there = await other.browser().log_in(ada)
    async with live(here) as stream:
        await stream.until("No sessions yet")
        session_id = (await there.post("/sessions", {"name": "Whales", "open": "1"})).location.rpartition("/")[2]
        await stream.until("Whales", "Running")
        await there.post(f"/sessions/{session_id}/rename", {"name": "Seals"})
        await stream.until("Seals")
        await there.post(f"/sessions/{session_id}/stop", {})
        await stream.until("Stopped", "You stopped it.")
        await there.post(f"/sessions/{session_id}/delete", {})
        await stream.until("No sessions yet")


async def test_nobody_sees_anybody_elses_changes(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    _, eve = await site.person("eve@example.org")
    async with live(eve) as stream:
        await stream.until("No sessions yet")
        await ada.post("/sessions", {"name": "Secret plans"})
        await eve.post("/sessions", {"name": "Whales"})
        assert "Secret plans" not in await stream.until("Whales", "Running")


async def test_the_list_ends_with_the_login(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    async with live(ada) as stream:
        await stream.until("No sessions yet")
        await site.hub.accounts.end_logins(account)
        await site.hub.sessions.create(account.id, guest=False, name="Later", source=Source())
        async with asyncio.timeout(30):
            await stream.connection._task  # The answer is over.
        sent = await (await stream.connection.as_response()).get_data(as_text=True)
        assert "Later" not in sent


async def test_a_change_is_rendered_once_however_many_tabs_look_on(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    session_id = (await ada.post("/sessions", {"name": "Penguins", "open": "1"})).location.rpartition("/")[2]
    rendered: list[str] = []

    def note(sender: object, template: Any, context: object) -> None:
        rendered.append(template.name)

    template_rendered.connect(note, site.app)
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(live(ada)) for _ in range(MAX_STREAMS_OF_USER)]
        await asyncio.gather(*(stream.until("Penguins", "Running") for stream in streams))
        rendered.clear()
        await ada.post(f"/sessions/{session_id}/rename", {"name": "Whales"})
        await asyncio.gather(*(stream.until("Whales") for stream in streams))
        assert rendered == ["_sessions.html"]


async def test_who_has_too_many_live_lists_is_told_and_others_are_not_held_up(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    _, eve = await site.person("eve@example.org")
    asked = {"Accept": "text/event-stream"}
    async with AsyncExitStack() as stack:
        for _ in range(MAX_STREAMS_OF_USER):
            stream = await stack.enter_async_context(live(ada))
            await stream.until("No sessions yet")
        refused = await ada.get("/sessions/events", headers=asked)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "60")
        assert "This one is refreshed every 15 seconds" in refused.json["detail"]
        async with live(eve) as hers:
            await hers.until("No sessions yet")
    async with live(ada) as stream:
        await stream.until("No sessions yet")


async def test_who_waits_with_too_many_requests_at_once_is_told_when_to_come_again(site: Site) -> None:
    ada, program = await site.person("ada@example.org")
    eve, other = await site.person("eve@example.org")
    site.runtime.hold()
    mine = await site.hub.sessions.create(ada.id, guest=False, name="Mine", source=Source())
    hers = await site.hub.sessions.create(eve.id, guest=False, name="Hers", source=Source())
    path = f"/sessions/{mine.id}/state?wait=running&timeout=30"
    waits = [asyncio.create_task(program.get(path)) for _ in range(MAX_WAITS_OF_USER + 1)]
    done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    assert [(one.result().status, one.result().headers["Retry-After"]) for one in done] == [(429, "5")]
    assert (await other.get(f"/sessions/{hers.id}/state?wait=running&timeout=0")).status == 200
    site.runtime.let_go()
    statuses = sorted(answer.status for answer in await asyncio.gather(*waits))
    assert statuses == [200] * MAX_WAITS_OF_USER + [429]


async def test_input_wakes_no_list(site: Site) -> None:
    """Sessions that are typed in write it down every 5 seconds: every replica would hear of each of them."""
    account, ada = await site.person("ada@example.org")
    session_id = (await ada.post("/sessions", {"open": "1"})).location.rpartition("/")[2]
    await site.until_state(account.id, session_id, "running")
    with site.hub.changes.subscribe(account.id) as changes:
        await site.hub.sessions.rename(account.id, session_id, "Heard")
        while session_id not in await changes.wait(30):
            pass
        await site.hub.sessions.note_input([session_id])
        other = await site.hub.sessions.create(account.id, guest=False, name="Next", source=Source())
        heard: set[str] = set()
        while other.id not in heard:
            heard |= await changes.wait(30)
        assert session_id not in heard
    assert (await site.hub.sessions.get(account.id, session_id)).last_input_at is not None


async def test_a_place_in_the_queue_is_current_although_others_made_the_change(
    settings: Settings, database: object
) -> None:
    async with serve(dataclasses.replace(settings, max_runs=0)) as site:
        eve, _ = await site.person("eve@example.org")
        ada, hers = await site.person("ada@example.org")
        before = await site.hub.sessions.create(eve.id, guest=False, name="Before", source=Source())
        await site.until_state(eve.id, before.id, "queued")
        after = await site.hub.sessions.create(ada.id, guest=False, name="After", source=Source())
        await site.until_state(ada.id, after.id, "queued")
        async with live(hers) as stream:
            await stream.until("After", "Number 2 in line")
            await site.hub.sessions.delete(eve.id, before.id)
            async with asyncio.timeout(10):  # It used to take a minute.
                await stream.until("After", "Number 1 in line")


async def test_a_replica_that_leaves_says_so_serves_on_and_then_lets_go_of_those_who_look_on(
    settings: Settings, site: Site
) -> None:
    async with asyncio.timeout(60), serve(settings, beside=site) as leaving:
        _, ada = await leaving.person("ada@example.org")
        async with live(ada) as stream:
            await stream.until("No sessions yet")
            answer = await leaving.browser().get("/readyz")
            assert (answer.status, answer.headers.get("Connection")) == (200, None)

            await leaving.app.extensions["hand_over"]()
            answer = await leaving.browser().get("/readyz")
            assert (answer.status, answer.text) == (503, "leaving\n")
            assert (await leaving.browser().get("/healthz")).status == 200
            page = await ada.get("/sessions")
            assert (page.status, page.headers["Connection"]) == (200, "close"), "the next request goes elsewhere"
            leaving.runtime.latency = 60.0  # So only the other replica can start it, and the list here tells.
            await ada.post("/sessions", {"name": "Penguins"})
            await stream.until("Penguins", "Running")

            await leaving.app.extensions["let_go"]()
            await stream.connection._task


async def test_a_session_goes_on_when_the_replica_that_started_it_has_gone(settings: Settings, site: Site) -> None:
    async with serve(settings, beside=site) as other:
        ada, there = await other.person("ada@example.org")
        session_id = (await there.post("/sessions", {"open": "1"})).location.rpartition("/")[2]
        await other.until_state(ada.id, session_id, "running")
    here = await site.browser().log_in(ada)
    assert "Running" in (await here.get("/sessions")).text
    await here.post(f"/sessions/{session_id}/stop", {})
    await site.until_state(ada.id, session_id, "stopped")
    assert site.runtime.world.living() == []
