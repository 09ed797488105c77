"""Pictures of every page in every state, wide and on a phone, light and dark, for people to look at:

    .venv/bin/python -m e2e.screenshots FOLDER

Starts Hubs of its own and brings their sessions into each state there is. No test: nothing is compared.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Playwright, Route, async_playwright, expect

from e2e.browser import Person, Terminal, create_and_open, invite, launch, make_first_admin, row
from e2e.conftest import as_person
from e2e.hub import HubProcess

SIZES: dict[str, dict[str, Any]] = {
    "wide": {"viewport": {"width": 1200, "height": 750}},
    # At one pixel for each: where Chromium only plays a sharper screen, it tells WebGL the wrong size.
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
Shoot = Callable[[Page, str], Awaitable[None]]


async def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for take, settings in [(_all, {"HUB_MAX_RUNS": "3", "HUB_IDLE_TIMEOUT": "3m"}), (_for_the_readme, {})]:
        with tempfile.TemporaryDirectory() as temporary:
            hub = HubProcess(Path(temporary), **settings)
            await hub.start()
            try:
                async with async_playwright() as playwright:
                    browser = await launch(playwright)
                    await take(hub, browser, playwright, folder)
                    await browser.close()
            finally:
                await hub.close()


async def _all(hub: HubProcess, browser: Browser, playwright: Playwright, folder: Path) -> None:
    url = hub.url
    link = (await hub.said(r"http://\S+/login/link/\S+"))[0]

    async def for_each(what: Callable[[Page, Shoot], Awaitable[None]], person: Person | None = None) -> None:
        for (size, options), colours in product(SIZES.items(), ("light", "dark")):
            context = await browser.new_context(
                **options, color_scheme=colours, storage_state=person.state if person else None
            )

            async def shoot(page: Page, name: str, suffix: str = f"{size}-{colours}", size: str = size) -> None:
                # The terminal page is as high as the window, and Chromium forgets the touch screen for a whole page.
                whole = size == "phone" and not name.startswith("terminal")
                await page.screenshot(path=folder / f"{name}-{suffix}.png", full_page=whole)

            await what(await context.new_page(), shoot)
            await context.close()

    async def new_hub(page: Page, shoot: Shoot) -> None:
        await page.goto(f"{url}/login")
        await shoot(page, "login-new-hub")
        await page.goto(link)
        await shoot(page, "first-admin")

    await for_each(new_hub)
    page = await browser.new_page()
    await make_first_admin(page, link, "ada@example.org")
    ada = await as_person(page, url, "ada@example.org", playwright)
    desk = await (await browser.new_context(storage_state=ada.state)).new_page()
    invitation = await invite(desk, url, "grace@example.org")

    async def nobody(page: Page, shoot: Shoot) -> None:
        await page.goto(f"{url}/login?expired=1")
        await page.get_by_label("E-mail").fill("ada@example.org")
        await page.get_by_label("Password").fill("wrong")
        await shoot(page, "login-expired")
        await page.get_by_role("button", name="Log in", exact=True).click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await shoot(page, "login-wrong")
        await page.get_by_role("button", name="Send me a link instead").click()
        await expect(page.get_by_role("heading", name="Check your e-mail")).to_be_visible()
        await shoot(page, "login-link-sent")
        await page.goto(invitation)
        await shoot(page, "login-invitation")
        reset = re.search(r"http\S+", await hub.command("user", "reset", "ada@example.org"))
        assert reset is not None
        await page.goto(reset[0])
        await shoot(page, "login-link")
        await page.context.clear_cookies()
        await page.get_by_role("button", name="Log in", exact=True).click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await shoot(page, "login-without-cookies")
        await page.get_by_role("button", name="Log in", exact=True).click()
        await expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
        await page.goto(f"{url}/account")
        await shoot(page, "account-after-link")
        await page.goto(f"{url}/files")
        other = await page.context.new_page()
        await other.goto(f"{url}/account")
        await other.get_by_role("button", name="Log out", exact=True).click()
        await page.locator("input[type=file]").set_input_files(
            {"name": "late.csv", "mimeType": "text/csv", "buffer": b"a"}
        )
        await expect(page.get_by_role("alert")).to_be_visible()
        await shoot(page, "files-login-ended")
        await other.goto(url)
        await other.get_by_role("button", name="Try it without an account").click()
        await expect(other.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Continue").click()
        await expect(page.locator(".failed")).to_be_visible()
        await shoot(page, "files-another-login")
        await page.get_by_role("button", name="Log out", exact=True).click()
        await expect(page.get_by_role("heading", name="Another login")).to_be_visible()
        await shoot(page, "error-another-login")
        await page.context.clear_cookies()
        await page.goto(link)
        await shoot(page, "login-link-void")

    await for_each(nobody)

    async def guest(page: Page, shoot: Shoot) -> None:
        await page.goto(url)
        await page.get_by_role("button", name="Try it without an account").click()
        await expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
        await shoot(page, "sessions-empty")
        await page.goto(f"{url}/files")
        await shoot(page, "files-empty")
        await page.goto(f"{url}/account")
        await shoot(page, "account-guest")
        await page.goto(f"{url}/logout")
        await shoot(page, "leave-guest")
        await page.goto(f"{url}/admin")
        await shoot(page, "error-404")

    await for_each(guest)

    for name in (
        "sales-2023.csv",
        "a rather long file name that somebody gave it, final version (2).xlsx",
        "notes.txt",
    ):
        await ada.api.put(f"/api/v1/files/{name}", data=b"a,b\n1,2\n" * 9000)
    await ada.api.put("/api/v1/files/program.exe", data=b"MZ")
    lost = await ada.create(name="World population", source={"sample": "population.parquet"})
    agent = json.loads(next(hub.data.glob(f"runs/{lost}-*/agent.json")).read_text())
    os.kill(agent["pid"], signal.SIGKILL)
    await ada.reaches(lost, "failed")
    stopped = await ada.create(name="Films", source={"sample": "movies.sqlite"})
    await ada.api.post(f"/api/v1/sessions/{stopped}/stop")
    await ada.reaches(stopped, "stopped")
    await create_and_open(desk, url, "sample:penguins.csv", "Palmer penguins")
    running = desk.url
    await Terminal(desk).sees("Adelie")
    await Terminal(desk).press("Shift+F")
    await Terminal(desk).sees("species_freq")
    await ada.create(name="A session with quite a long name, since people do that", source={"file": "sales-2023.csv"})
    await ada.create()
    queued = await (
        await ada.api.post("/api/v1/sessions", data={"name": "Weather", "source": {"sample": "seattle-weather.csv"}})
    ).json()
    await ada.reaches(queued["id"], "queued")

    async def somebody(page: Page, shoot: Shoot) -> None:
        await page.goto(f"{url}/sessions")
        await expect(page.locator("#offline")).to_be_hidden()
        await shoot(page, "sessions")
        await page.get_by_role("link", name="Rename Palmer").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.get_by_label("New name").fill(" ")
        await page.get_by_role("button", name="Rename").click()
        await expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
        await shoot(page, "sessions-rename")
        await page.keyboard.press("Escape")
        await page.get_by_role("link", name="Delete Palmer").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await shoot(page, "sessions-delete")
        await page.goto(f"{url}/sessions/{stopped}/delete")
        await shoot(page, "sessions-delete-plain")
        await page.goto(f"{url}/sessions/{stopped}/stop")
        await shoot(page, "sessions-stop-plain")
        await page.goto(f"{url}/sessions")
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("Network.enable")
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 150_000}
        await devtools.send("Network.emulateNetworkConditions", slow)
        await page.locator("input[type=file]").set_input_files(
            {"name": "measurements.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n" * 90_000}
        )
        await expect(page.get_by_role("progressbar")).to_be_visible()
        await expect(page.locator("#uploads")).to_contain_text(re.compile("[1-9] %"))
        await shoot(page, "sessions-uploading")
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.locator("#uploads")).to_contain_text("Nothing was stored")
        await shoot(page, "sessions-upload-failed")
        await page.goto(f"{url}/files")
        await shoot(page, "files")
        await page.get_by_role("link", name="Delete notes.txt").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await shoot(page, "files-delete")
        await page.goto(f"{url}/account")
        await page.get_by_label("What it is for").fill("reports")
        await page.get_by_role("button", name="Make a token").click()
        await expect(page.get_by_text("This is the new token")).to_be_visible()
        await shoot(page, "account-token")
        await page.goto(f"{url}/admin")
        await shoot(page, "admin")
        await page.get_by_role("button", name="Make a login link for grace").click()
        await expect(page.get_by_role("heading", name="A link for")).to_be_visible()
        await shoot(page, "admin-link")

    await for_each(somebody, ada)

    async def at_the_terminal(page: Page, shoot: Shoot) -> None:
        terminal = Terminal(page)
        await page.goto(running)
        await terminal.is_connected()
        await terminal.sees("152")
        await expect(page.locator("#deadline")).to_be_visible()
        await shoot(page, "terminal-freq")
        await terminal.press("q")
        await terminal.sees("Torgersen", but_not="histogram")
        await shoot(page, "terminal-sheet")
        if page.viewport_size and page.viewport_size["width"] > 1000:
            await terminal.press("Alt+h")
            await terminal.sees("pushes sheet")
            await shoot(page, "terminal-menu")
            await terminal.press("Escape")
            await terminal.sees("press Esc again to exit")
            await terminal.press("Escape")
            await terminal.sees("Adelie", but_not="pushes sheet")
        await page.locator("#menu summary").click()
        await shoot(page, "terminal-more")
        await page.get_by_role("button", name="Stop the session").click()
        await shoot(page, "terminal-stop")
        await page.keyboard.press("Escape")
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await page.evaluate("navigator.clipboard.writeText('river\\tlength\\nElbe\\t1094\\nOder\\t866')")
        await terminal.press("Control+v")
        await expect(page.get_by_role("dialog", name="Paste")).to_be_visible()
        await shoot(page, "terminal-paste")
        await page.keyboard.press("Escape")
        await terminal.press("Control+,")  # A phone has no button for it in the bar.
        await shoot(page, "terminal-palette")
        await page.keyboard.type("sort")
        await shoot(page, "terminal-palette-found")
        await page.keyboard.press("Escape")
        await page.locator("#screen").click(button="right", position={"x": 80, "y": 120})
        await expect(page.get_by_role("menu")).to_be_visible()
        await shoot(page, "terminal-right-click")
        await page.keyboard.press("Escape")
        for name, entry in (("settings", "Theme, font"), ("help", "Keys and help")):
            await page.locator("#menu summary").click()
            await page.get_by_role("button", name=entry).click()
            await shoot(page, f"terminal-{name}")
            await page.keyboard.press("Escape")
        if page.viewport_size and page.viewport_size["width"] < 1000:
            await page.get_by_role("button", name="Text…").click()
            await page.get_by_label("Line or text").fill("A line that somebody writes")
            await shoot(page, "terminal-compose")
            await page.get_by_role("button", name="Close", exact=True).click()
        await terminal.press("Control+,")
        await page.keyboard.type("theme: high contrast")
        await page.keyboard.press("Enter")
        await expect(page.locator("html")).to_have_attribute("data-theme", "contrast")
        await shoot(page, "terminal-contrast")
        await terminal.press("Control+,")
        await page.keyboard.type("theme: as the system")
        await page.keyboard.press("Enter")
        await expect(page.locator("html")).to_have_attribute("data-theme", "system")
        await terminal.press("Shift+F")
        await terminal.sees("152")
        for name, session in (("queued", queued["id"]), ("stopped", stopped), ("failed", lost)):
            await page.goto(f"{url}/sessions/{session}")
            await expect(page.locator("#panel")).to_be_visible()
            await shoot(page, f"terminal-{name}")
        await page.goto(running)
        await terminal.is_connected()
        small = await page.context.new_page()
        await small.set_viewport_size({"width": 700, "height": 500})
        await small.goto(running)
        await Terminal(small).is_connected()
        await expect(page.locator(".letterbox")).to_be_visible()
        await shoot(page, "terminal-letterbox")
        await small.close()
        await page.goto(f"{running}?watch=1")
        await terminal.is_connected()
        await page.locator("#menu summary").click()
        await shoot(page, "terminal-watching")
        await page.emulate_media(contrast="more")
        await page.goto(running)
        await terminal.is_connected()
        await shoot(page, "terminal-more-contrast")
        missing = re.compile(r"/screen\.js")
        await page.route(missing, lambda route: route.abort("connectionreset"))
        await page.goto(running)
        await expect(page.locator("#panel")).to_contain_text("could not be loaded", timeout=30_000)
        await shoot(page, "terminal-part-missing")
        await page.unroute(missing)
        held: list[Route] = []
        await page.route(missing, lambda route: held.append(route))
        await page.goto(running, wait_until="commit")
        await expect(page.locator("#slow")).to_be_visible(timeout=30_000)
        await shoot(page, "terminal-slow")
        for one in held:
            await one.abort()

    await for_each(at_the_terminal, ada)

    async def cut_off(page: Page, shoot: Shoot) -> None:
        terminal = Terminal(page)
        await page.goto(running)
        await terminal.is_connected()
        await terminal.sees("152")
        listed = await page.context.new_page()
        await listed.goto(f"{url}/sessions")
        await expect(row(listed, "Palmer")).to_be_visible()
        await hub.end(signal.SIGKILL)
        await expect(page.get_by_role("button", name="Now")).to_be_visible(timeout=30_000)
        await shoot(page, "terminal-reconnecting")
        await expect(listed.locator("#offline")).to_be_visible(timeout=30_000)
        await listed.get_by_role("button", name="Stop Palmer").click()
        await expect(listed.locator("#notices p")).to_be_visible()
        await shoot(listed, "sessions-offline")
        await hub.start()
        await terminal.is_connected(within=30_000)
        await page.context.clear_cookies()
        await page.reload()
        await shoot(page, "login-from-terminal")

    await for_each(cut_off, ada)


async def _for_the_readme(hub: HubProcess, browser: Browser, playwright: Playwright, folder: Path) -> None:
    """The one picture that goes into docs/: films by year, counted."""
    url = hub.url
    page = await browser.new_page()
    await make_first_admin(page, (await hub.said(r"http://\S+/login/link/\S+"))[0], "ada@example.org")
    ada = await as_person(page, url, "ada@example.org", playwright)
    page = await (await browser.new_context(**SIZES["wide"], color_scheme="dark", storage_state=ada.state)).new_page()
    # VisiData's sign for a frequency table is an emoji, for which not every machine has a font.
    await ada.api.put("/api/v1/files/.visidatarc", data="vd.getGlobals()['FreqTableSheet'].icon = '›'\n".encode())
    terminal = await create_and_open(page, url, "sample:movies.sqlite", "Films and their reviews")
    await terminal.sees("films", "17472")
    await terminal.press("Enter")
    await terminal.sees("Title", "Year", "Rating")
    await terminal.press("c")
    await terminal.sees("column name regex")
    await terminal.type("^Year")
    await terminal.press("Enter", "Shift+F")
    await terminal.sees("films_Year_freq", "Frequency Table", "75 bins")
    await terminal.press("]")
    await terminal.sees(" 2014 ", "sort-desc")
    await page.mouse.move(600, 400)
    await page.screenshot(path=folder / "readme.png")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
