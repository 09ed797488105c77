"""VisiData on a phone: the keys that it lacks are under the screen, big enough for a thumb."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page, expect

from e2e.browser import PHONE, Browse, Person, Terminal, note_sent, penguins, tap, until, until_sent

SIZES = {"phone": (390, 844), "small phone": (320, 568), "phone on its side": (844, 390), "tablet": (820, 1180)}


def bar(page: Page) -> Locator:
    return page.get_by_role("toolbar", name="Keys")


async def press(terminal: Terminal, *keys: str) -> None:
    for key in keys:
        await tap(bar(terminal.page).get_by_role("button", name=key, exact=True))


async def test_a_desktop_has_no_key_bar(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await expect(bar(terminal.page)).to_be_hidden()


@pytest.mark.parametrize("size", SIZES)
async def test_all_that_is_tapped_is_big_enough_and_on_the_screen(
    url: str, ada: Person, browse: Browse, size: str
) -> None:
    width, height = SIZES[size]
    terminal = await penguins(browse, ada, url, **{**PHONE, "viewport": {"width": width, "height": height}})
    buttons = await bar(terminal.page).get_by_role("button").all()
    assert len(buttons) == 12
    more = await terminal.page.locator(".bar .icon:visible").all()
    for button in buttons + more:
        box = await button.bounding_box()
        assert box is not None
        assert box["width"] >= 44
        assert box["height"] >= 44
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
    assert await terminal.page.evaluate("document.documentElement.scrollWidth") <= width
    await terminal.page.evaluate(
        """() => {
          document.getElementById("deadline").hidden = false;
          document.getElementById("deadline-text").textContent = "Stops in 10 min";
        }"""
    )
    assert await terminal.page.evaluate("document.documentElement.scrollWidth") <= width


async def test_the_keys_do_what_they_say_and_the_keyboard_stays_where_it_is(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url, **PHONE)
    await press(terminal, "Down")
    await terminal.sees("go-down")
    await press(terminal, "Right")
    await terminal.sees("go-right")
    await press(terminal, "Page down")
    await terminal.sees("go-pagedown")
    await press(terminal, "Enter")
    await terminal.sees("8 rows")
    await terminal.press("q", "/")
    await terminal.sees("search regex:")
    await press(terminal, "Esc")
    await terminal.sees("344 rows", but_not="search regex:")
    assert await terminal.page.evaluate("document.activeElement.matches('.xterm textarea')")


async def test_a_key_that_is_held_repeats_until_it_is_let_go(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url, **PHONE)
    sent = note_sent(terminal.page)
    await terminal.page.reload()
    await terminal.is_connected()
    await terminal.sees("Adelie")
    await expect(terminal.page.locator("#keybar")).to_have_attribute("data-ready", "yes")
    down = bar(terminal.page).get_by_role("button", name="Down", exact=True)
    await down.dispatch_event("pointerdown")
    await until_sent(sent, lambda sent: sent.count(b"\x1bOB") >= 5)
    await down.dispatch_event("pointerup")
    await down.dispatch_event("click")
    await terminal.press("g", "k")
    await terminal.sees("go-top")
    assert set(sent[sent.index(b"g") :]) == {b"g", b"k"}, "and no longer"


async def test_ctrl_holds_for_the_next_key_and_for_no_other(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url, **PHONE)
    ctrl = bar(terminal.page).get_by_role("button", name="Ctrl", exact=True)
    await tap(ctrl)
    await expect(ctrl).to_have_attribute("aria-pressed", "true")
    await terminal.type("d")
    await terminal.sees("save cmdlog to:")
    await expect(ctrl).to_have_attribute("aria-pressed", "false")
    await terminal.press("Control+u")
    await terminal.type("dd")
    await terminal.sees("save cmdlog to: dd")
    await terminal.press("Escape")
    await terminal.sees("344 rows", but_not="save cmdlog")
    await tap(ctrl)
    await tap(ctrl)
    await expect(ctrl).to_have_attribute("aria-pressed", "false")
    await terminal.press("j")
    await terminal.sees("go-down")


async def test_the_keys_that_browsers_keep_are_a_tap_away(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url, **PHONE)
    await terminal.press("/")
    await terminal.sees("search regex:")
    await terminal.type("ab cd")  # VisiData shows little of what is longer, where a screen is narrow.
    await terminal.sees("ab cd")
    await press(terminal, "Keys…")
    await tap(terminal.page.get_by_role("option", name="Ctrl+W"))
    await terminal.sees("search regex: ab", but_not="cd")


async def test_a_line_is_composed_and_sent_where_visidata_asks_for_one(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url, **PHONE)
    page = terminal.page
    await terminal.press("/")
    await terminal.sees("search regex:")
    await press(terminal, "Text…")
    await expect(page.locator("#compose-hint")).to_contain_text("this goes there")
    await page.get_by_label("Line or text").fill("Chin")
    await tap(page.get_by_role("button", name="Send and Enter"))
    await terminal.sees("Chinstr", but_not="search regex:")
    await terminal.sees("search-col", but_not="restarting input")
    await expect(page.locator("#compose")).to_be_hidden()


async def test_what_is_composed_where_nothing_asks_for_it_is_not_typed(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url, **PHONE)
    page = terminal.page
    await press(terminal, "Text…")
    await expect(page.locator("#compose-hint")).to_contain_text("does not ask for text")
    await expect(page.get_by_role("button", name="Send and Enter")).to_be_hidden()
    await page.get_by_label("Line or text").fill("quick note")
    await tap(page.get_by_role("button", name="Send", exact=True))
    await expect(page.get_by_role("dialog", name="Paste")).to_be_visible()


async def test_the_keyboard_comes_by_a_tap_on_the_screen_and_not_by_one_on_a_button(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url, **PHONE)
    keys = terminal.page.get_by_role("textbox", name="Terminal input")
    await expect(keys).to_have_attribute("inputmode", "none")
    await terminal.page.locator("#screen").tap(position={"x": 100, "y": 400})
    await expect(keys).not_to_have_attribute("inputmode", "none")
    await expect(keys).to_be_focused()
    await tap(terminal.page.locator("#menu summary"))
    await tap(terminal.page.get_by_role("button", name="Keys and help"))
    await tap(terminal.page.get_by_role("dialog").get_by_role("button", name="Close"))
    await expect(keys).to_have_attribute("inputmode", "none")
    await expect(keys).to_be_focused()  # A keyboard that is plugged in works all the same.
    await terminal.press("Shift+F")
    await terminal.sees("freq-col")


async def test_the_keys_stay_over_the_keyboard(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url, **PHONE)
    await terminal.page.set_viewport_size({"width": 390, "height": 430})  # What a phone's keyboard leaves.
    await until(terminal.page, "Math.round(document.getElementById('keybar').getBoundingClientRect().bottom) === 430")
    await terminal.sees("Adelie", "344 rows")
    await until(terminal.page, "document.querySelector('.xterm-screen').getBoundingClientRect().bottom <= 340")
    await terminal.page.set_viewport_size({"width": 740, "height": 150})  # And lying on its side, one row.
    await until(terminal.page, "document.getElementById('terminal').hubSize().rows === 4")
    await terminal.press("/")
    await terminal.sees("search regex")
    bottoms = "['.xterm-screen', '#screen'].map((part) => document.querySelector(part).getBoundingClientRect().bottom)"
    await until(terminal.page, f"(([text, room]) => text <= room + 1)({bottoms})")


@pytest.mark.parametrize("kind", ["insertText", "insertReplacementText"])
async def test_what_a_keyboard_inserts_whole_is_shown_before_it_runs_as_commands(
    url: str, ada: Person, browse: Browse, kind: str
) -> None:
    """A piece of the clipboard, or a word that the keyboard proposes."""
    terminal = await penguins(browse, ada, url, **PHONE)
    insert = """([kind, data]) => document.activeElement.dispatchEvent(
        new InputEvent("beforeinput", { inputType: kind, data, bubbles: true, cancelable: true }))"""
    await terminal.page.locator("#screen textarea").focus()
    if kind == "insertText":
        await terminal.page.keyboard.insert_text("quick note")
    else:
        await terminal.page.evaluate(insert, [kind, "quick note"])
    await expect(terminal.page.get_by_role("dialog", name="Paste")).to_contain_text("quick note")
    await terminal.press("Escape")
    await terminal.page.keyboard.insert_text("j")  # One character is a key.
    await terminal.sees("go-down", "344 rows")
    await terminal.press("/")
    await terminal.sees("search regex:")
    await terminal.page.keyboard.insert_text("Gentoo")  # And where text is asked for, it is what was asked for.
    await terminal.sees("search regex: Gentoo")


async def test_what_is_composed_stays_until_it_has_got_somewhere(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url, **PHONE)
    await press(terminal, "Text…")
    field = terminal.page.locator("#compose-text")
    await field.fill("a long thought")
    await terminal.page.get_by_role("button", name="Send", exact=True).click()
    await expect(terminal.page.get_by_role("dialog", name="Paste")).to_be_visible()
    await terminal.press("Escape")
    await press(terminal, "Text…")
    await expect(field).to_have_value("a long thought")
    await terminal.page.get_by_role("button", name="Send", exact=True).click()
    await terminal.page.get_by_role("button", name="Store as a file").click()
    await expect(terminal.page.locator("#toasts")).to_contain_text("Stored as")
    await press(terminal, "Text…")
    await expect(field).to_have_value("")
