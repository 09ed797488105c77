"""The terminal where less can be taken for granted: plain http, a keyboard of another script, a screen reader."""

from __future__ import annotations

import re

from playwright.async_api import Page, expect

from e2e.browser import Browse, Person, create_and_open, penguins, set_clipboard, until

# As a browser has it on plain http of any address but this machine's own.
NO_CLIPBOARD = "Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined })"


async def press_by_place(page: Page, key: str, code: str) -> None:
    """A key as a keyboard of another script presses it."""
    await page.evaluate(
        """([key, code]) => document.querySelector(".xterm-helper-textarea")
        .dispatchEvent(new KeyboardEvent("keydown", { key, code, keyCode: 0, bubbles: true, cancelable: true }))""",
        [key, code],
    )


async def test_copying_works_on_plain_http_too(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada)
    await page.add_init_script(NO_CLIPBOARD)
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    await terminal.press("z", "Shift+Y")
    await expect(page.locator("#toasts")).to_contain_text("Copied 6 characters.")
    # The terminal has the keyboard again, and a paste brings the copy.
    await terminal.press("/")
    await terminal.sees("search regex:")
    await terminal.press("Control+v")
    await terminal.sees("search regex: Adelie")


async def test_a_keyboard_of_another_script_gives_visidatas_commands_by_place(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    await press_by_place(page, "о", "KeyJ")  # A Russian keyboard's j.
    await terminal.sees("go-down")
    await expect(page.locator("#toasts")).to_contain_text("another script")
    await press_by_place(page, "х", "BracketLeft")
    await terminal.sees("sort-asc")
    # In a prompt, every script is text.
    await terminal.press("/")
    await terminal.sees("search regex:")
    await terminal.type("остров")
    await terminal.sees("search regex: остров")


async def test_a_screen_reader_hears_the_row_under_the_cursor_and_not_the_whole_screen(
    url: str, ada: Person, browse: Browse
) -> None:
    page = await browse(ada)
    await page.goto(f"{url}/account")
    await page.get_by_label(re.compile("screen reader", re.I)).check()
    await page.get_by_role("button", name=re.compile("Keep|Save", re.I)).first.click()
    try:
        terminal = await create_and_open(page, url, "sample:penguins.csv")
        await terminal.sees("Adelie")
        spoken = page.locator("#spoken")
        await expect(spoken).to_contain_text("Adelie, Torgersen, 39.1")
        await expect(page.locator(".xterm .live-region")).to_have_attribute("aria-live", "off")
        await terminal.press("j")
        await expect(spoken).to_contain_text("Adelie, Torgersen, 39.5")
    finally:
        await page.goto(f"{url}/account")
        await page.get_by_label(re.compile("screen reader", re.I)).uncheck()
        await page.get_by_role("button", name=re.compile("Keep|Save", re.I)).first.click()


async def test_a_paste_that_is_too_long_for_a_prompt_is_offered_as_a_file(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.press("/")
    await terminal.sees("search regex:")
    await set_clipboard(terminal.page, "gqé" * 100_000)
    await terminal.press("Control+v")
    offer = terminal.page.get_by_role("dialog", name="Paste")
    await expect(offer).to_contain_text("too long for a prompt")
    await expect(offer.get_by_role("button")).to_have_text(["Store as a file", "Cancel"])
    await terminal.press("Escape")
    await terminal.type("Gentoo")
    await terminal.sees("search regex: Gentoo")
    await until(terminal.page, "!document.getElementById('paste').open")
