"""A tab that only watches: it shows what happens, whatever its size, and nothing that is done in it reaches VisiData."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from playwright.async_api import expect

from e2e.browser import Browse, Person, Terminal, create_and_open, penguins, until
from e2e.hub import HubProcess

SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1600, "height": 1000}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
SHAPE = "Object.values(document.getElementById('terminal').hubSize()).join('x')"


@pytest.mark.parametrize("size", SIZES)
async def test_who_watches_sees_all_and_changes_nothing(url: str, ada: Person, browse: Browse, size: str) -> None:
    terminal = await penguins(browse, ada, url, viewport={"width": 1000, "height": 700})
    shape = await terminal.page.evaluate(SHAPE)
    page = await browse(ada, **SIZES[size])
    await page.goto(f"{terminal.page.url}?watch=1")
    watcher = Terminal(page)
    await watcher.is_connected()
    await expect(page.get_by_text("Watching", exact=True)).to_be_visible()
    await watcher.sees("Adelie")
    assert await page.evaluate(SHAPE) == shape
    screen = await page.locator(".xterm-screen").bounding_box()
    assert screen is not None
    assert screen["width"] <= SIZES[size]["viewport"]["width"], "all of it shows"
    await expect(page.get_by_role("toolbar", name="Keys")).to_be_hidden()

    await watcher.press("Shift+F")
    await expect(page.get_by_text("You are watching: your keys are not sent.")).to_be_visible()
    await page.set_viewport_size({"width": 700, "height": 500})
    await terminal.press("Shift+I")
    await terminal.sees("penguins_describe")
    await watcher.sees("penguins_describe", but_not="freq")
    assert await page.evaluate(SHAPE) == shape == await terminal.page.evaluate(SHAPE)

    await terminal.page.set_viewport_size({"width": 800, "height": 600})
    await until(terminal.page, f"{SHAPE} !== '{shape}'")
    await until(page, f"{SHAPE} === '{await terminal.page.evaluate(SHAPE)}'")


async def test_a_hub_that_starts_anew_knows_how_large_the_screen_is(
    ada: Person, browse: Browse, mortal_hub: HubProcess
) -> None:
    """And who only watches does not change it for those who work."""
    page = await browse(ada, viewport={"width": 1400, "height": 800})
    terminal = await create_and_open(page, mortal_hub.url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    shape = await page.evaluate(SHAPE)
    address = page.url
    await page.close()
    await mortal_hub.end(signal.SIGKILL)
    await mortal_hub.start()
    page = await browse(ada, viewport={"width": 900, "height": 900})
    await page.goto(f"{address}?watch=1")
    watcher = Terminal(page)
    await watcher.is_connected()
    await until(page, f"{SHAPE} === '{shape}'")
    lines = await watcher.sees("Adelie", "344 rows")
    assert "Adelie" not in lines[-1]
    assert "344 rows" in lines[-1], "it is drawn for another size"


async def test_a_window_that_is_alone_again_fills_itself(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url, viewport={"width": 1400, "height": 800})
    shape = await terminal.page.evaluate(SHAPE)
    phone = await browse(ada, **SIZES["phone"])
    await phone.goto(terminal.page.url)
    await Terminal(phone).is_connected()
    await until(terminal.page, f"{SHAPE} !== '{shape}'")
    await phone.close()
    await until(terminal.page, f"{SHAPE} === '{shape}'")
    await terminal.page.set_viewport_size({"width": 900, "height": 600})
    await until(terminal.page, f"{SHAPE} !== '{shape}'")
    await terminal.sees("Adelie", "344 rows")


async def test_one_goes_from_working_to_watching_and_back(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.page.locator("#menu summary").click()
    async with terminal.page.context.expect_page() as opened:
        await terminal.page.get_by_role("link", name="Watch in another tab").click()
    page = await opened.value
    watcher = Terminal(page)
    await watcher.is_connected()
    await terminal.page.close()
    await watcher.sees("Adelie")
    await page.reload()
    await watcher.is_connected()
    await watcher.sees("Adelie")  # Though nobody else is there.
    await page.locator("#menu summary").click()
    await page.get_by_role("link", name="Work in this session").click()
    await watcher.is_connected()
    await expect(page.get_by_text("Watching", exact=True)).to_be_hidden()
    await watcher.press("Shift+F")
    await watcher.sees("freq", "Adelie")
