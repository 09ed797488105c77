"""Limits that a person feels: sessions that nobody uses are stopped, a full Hub queues, and pages stay light."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, Playwright, expect

from e2e.browser import Browse, Person, Terminal, make_first_admin, row, until
from e2e.conftest import as_person
from e2e.hub import HubProcess

MOST_BYTES = 60_000
ROWS = 20


@pytest.fixture(scope="module")
async def first(strict_hub: HubProcess, chromium: Browser, playwright: Playwright) -> Person:
    page = await chromium.new_page()
    link = (await strict_hub.said(r"http://\S+/login/link/\S+"))[0]
    await make_first_admin(page, link, "owner@example.org")
    return await as_person(page, strict_hub.url, "owner@example.org", playwright)


@pytest.fixture
async def owner(first: Person) -> AsyncIterator[Person]:
    """The one person of the strict Hub, with no sessions."""
    yield first
    await first.clear()


async def test_an_unused_session_is_stopped_with_a_warning_and_stay_or_typing_keeps_it(
    strict_hub: HubProcess, owner: Person, browse: Browse
) -> None:
    async def open_one(name: str) -> tuple[Page, Terminal]:
        session_id = await owner.create(name=name, source={"sample": "penguins.csv"})
        page = await browse(owner)
        await page.goto(f"{strict_hub.url}/sessions/{session_id}")
        terminal = Terminal(page)
        await terminal.is_connected()
        await terminal.sees("Adelie")
        return page, terminal

    left, unused = await open_one("left open")
    await expect(left.locator("#deadline")).to_contain_text("Stops in")
    (staying, kept), (_, typed_in) = await asyncio.gather(open_one("kept"), open_one("typed in"))

    async def work_on() -> None:
        while await unused.state.get_attribute("data-terminal-state") != "ended":
            stay = staying.get_by_role("button", name="Stay")
            if await stay.is_visible():
                await stay.click()
            await typed_in.press("j")
            await left.wait_for_timeout(500)  # As a person would, now and then.

    # The limit is 8 s, and input may take another 10 to be seen.
    await asyncio.wait_for(work_on(), 40)
    await expect(left.locator("#panel")).to_contain_text("Nothing was typed for a long time")
    for terminal in (kept, typed_in):
        await expect(terminal.state).to_have_attribute("data-terminal-state", "connected")
        await terminal.sees("Adelie")


async def test_room_that_comes_free_goes_to_the_next_in_line_and_the_page_sees_it_come(
    strict_hub: HubProcess, owner: Person, browse: Browse
) -> None:
    page = await browse(owner)
    await page.goto(f"{strict_hub.url}/sessions")
    for number in range(5):
        source = {"sample": "penguins.csv"}
        answer = await owner.api.post("/api/v1/sessions", data={"name": f"Session {number}", "source": source})
        assert answer.status == 201
    await expect(page.locator("#sessions tbody tr").filter(has_text="Running")).to_have_count(3)
    await expect(row(page, "Session 3")).to_contain_text("Number 1 in line")
    await expect(row(page, "Session 4")).to_contain_text("Number 2 in line")
    await page.get_by_role("button", name="Stop Session 0").click()
    await expect(row(page, "Session 3")).to_contain_text("Running")
    await expect(row(page, "Session 4")).to_contain_text("Number 1 in line")


async def test_a_full_list_is_a_light_page_that_does_not_jump(url: str, ada: Person, browse: Browse) -> None:
    made = []
    for number in range(ROWS):
        answer = await ada.api.post("/api/v1/sessions", data={"name": f"Session {number}"})
        assert answer.status == 201
        made.append((await answer.json())["id"])
        if number >= 2:
            await ada.api.post(f"/api/v1/sessions/{made[-1]}/stop")
    answer = await ada.api.post("/api/v1/sessions", data={"name": "One more"})
    assert answer.status == 429
    for session_id in made:
        await ada.reaches(session_id, "running" if session_id in made[:2] else "stopped")

    page = await browse(ada)
    await page.add_init_script(
        """window.shifts = []; window.swaps = 0;
        const seen = (node) => node?.outerHTML ?? node?.textContent?.trim() ?? "something that is gone";
        const moved = (entry) => entry.sources.map((one) => seen(one.node)).filter((words) => words !== "");
        new PerformanceObserver((list) => window.shifts.push(...list.getEntries().flatMap(moved)))
          .observe({ type: "layout-shift", buffered: true });
        document.addEventListener("htmx:after:swap", () => window.swaps++);"""
    )
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Network.enable")
    # A slow line: the page comes in pieces, and what is shown of a half of it must not move when the rest comes.
    slow = {"offline": False, "latency": 20, "downloadThroughput": 60_000, "uploadThroughput": 60_000}
    await devtools.send("Network.emulateNetworkConditions", slow)
    sizes: dict[str, float] = {}
    paths: dict[str, str] = {}
    devtools.on("Network.responseReceived", lambda event: paths.update({event["requestId"]: event["response"]["url"]}))
    devtools.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    await page.goto(f"{url}/sessions", wait_until="load")
    await expect(page.locator("#sessions tbody tr")).to_have_count(ROWS)
    await until(page, "window.swaps > 0")  # The live list has come, and taken the place of the first.
    loaded = {paths[request].removeprefix(url): size for request, size in sizes.items()}
    assert len(loaded) >= 5, loaded
    assert sum(loaded.values()) < MOST_BYTES, loaded
    assert await page.evaluate("window.shifts") == []
