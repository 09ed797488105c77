"""What is around VisiData on its page: all keys can be had, what is chosen stays, and the status says what is so."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Dialog, Page, Route, WebSocketRoute, expect

from e2e.browser import (
    PHONE,
    Browse,
    Person,
    Terminal,
    create_and_open,
    drag_in,
    get_clipboard,
    note_sent,
    penguins,
    set_clipboard,
    until,
    until_sent,
)
from e2e.hub import HubProcess

VISIDATA_PYTHON = Path(__file__).resolve().parent.parent / ".venv-session" / "bin" / "python"
SIZES: dict[str, dict[str, Any]] = {"desktop": {}, "phone": PHONE}


@contextmanager
def held_up(hub: HubProcess) -> Iterator[None]:
    """It stands still, with all its connections."""
    os.kill(hub.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(hub.pid, signal.SIGCONT)


async def open_palette(terminal: Terminal) -> None:
    await terminal.press("Control+,")
    await expect(terminal.page.get_by_role("dialog", name="Commands and keys")).to_be_visible()


async def run(terminal: Terminal, *words: str) -> None:
    """Choose from the palette as people do: some words, and Enter."""
    await open_palette(terminal)
    await terminal.type(" ".join(words))
    await terminal.press("Enter")
    await expect(terminal.page.get_by_role("dialog", name="Commands and keys")).to_be_hidden()


async def colour_behind(terminal: Terminal) -> str:
    """The colour behind the screen, as the browser has it."""
    colour: str = await terminal.page.evaluate("getComputedStyle(document.getElementById('terminal')).backgroundColor")
    return colour


# The palette


async def test_commands_are_found_by_what_they_do(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await run(terminal, "count", "values")
    await terminal.sees("species_freq", "Adelie", "Chinstr", "Gentoo")
    await run(terminal, "close", "this", "sheet")
    await terminal.sees("344 rows", but_not="species_freq")
    await run(terminal, "describe-sheet")  # And by VisiData's own names.
    await terminal.sees("penguins_describe")


async def test_the_palette_opens_by_a_button_too_and_goes_away_without_a_trace(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.page.get_by_role("banner").get_by_role("button", name="Commands and keys").click()
    await terminal.type("nothing has such words")
    await expect(terminal.page.locator("#palette-none")).to_be_visible()
    await terminal.press("Enter", "Escape")
    await open_palette(terminal)
    await terminal.press("Control+,", "j")
    await terminal.sees("go-down", "344 rows")


async def test_the_keys_that_a_tab_never_sees_are_in_the_palette(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.press("/")
    await terminal.sees("search regex:")
    await terminal.type("one two")
    await terminal.sees("one two")
    await run(terminal, "Ctrl+W")
    await terminal.sees("search regex: one", but_not="two")
    await run(terminal, "Ctrl+Q")
    await terminal.sees("344 rows", but_not="search regex:")
    await run(terminal, "Ctrl+T")
    await terminal.sees("threads")


async def test_while_visidata_asks_for_text_no_command_can_be_chosen_that_would_go_there(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.press("/")
    await terminal.sees("search regex:")
    await open_palette(terminal)
    await terminal.type("count")
    option = terminal.page.get_by_role("option", name="Count the values")
    await expect(option).to_have_attribute("aria-disabled", "true")
    await expect(option).to_contain_text("press Esc first")
    await terminal.press("Enter", "Escape", "Escape")
    await terminal.sees("344 rows", but_not="freq")


async def test_the_palette_tells_a_screen_reader_where_it_is(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await open_palette(terminal)
    await terminal.type("sort")
    find = terminal.page.get_by_role("combobox", name="Find a command or a key")
    chosen = terminal.page.locator("#palette [aria-selected=true]")
    await expect(chosen).to_contain_text("smallest first")
    await terminal.press("ArrowDown")
    await expect(chosen).to_contain_text("largest first")
    assert await find.get_attribute("aria-activedescendant") == await chosen.get_attribute("id")
    await terminal.press("Enter")
    await terminal.sees("sort-desc")


async def test_each_command_that_is_offered_is_what_visidata_has_on_these_keys(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    main = await page.locator("script[src*='main.js']").get_attribute("src")
    assert main is not None
    offered = await page.evaluate(f"import('{main.replace('main.js', 'keys.js')}').then((keys) => keys.COMMANDS)")
    assert len(offered) > 40
    asked = (
        "import json, sys; import visidata.main; from visidata import vd, Sheet; sheet = Sheet('x', columns=[])\n"
        "print(json.dumps([sheet.getCommand(vd.prettykeys(keys)).longname for keys in json.load(sys.stdin)]))"
    )
    visidata = await asyncio.create_subprocess_exec(
        VISIDATA_PYTHON, "-c", asked, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await visidata.communicate(json.dumps([keys for keys, _, _ in offered]).encode())
    assert json.loads(answer) == [longname for _, longname, _ in offered]
    # And what is typed for it is these keys: characters, where a word with a plus would be seven commands.
    sent = await page.evaluate(
        f"import('{main.replace('main.js', 'keys.js')}').then((keys) => keys.COMMANDS.map(([on]) => keys.typed(on)))"
    )
    typed = dict(zip([keys for keys, _, _ in offered], sent, strict=True))
    assert typed["zCtrl+H"] == "z\x08"
    assert (typed["Ctrl+S"], typed["Enter"], typed["+"], typed["gq"]) == ("\x13", "\r", "+", "gq")
    assert max(map(len, sent)) == 2


# Keys and the mouse


async def test_help_says_which_keys_differ_and_leaves_visidata_its_own(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    help_ = terminal.page.get_by_role("dialog", name="Keys that differ here")
    await terminal.press("Shift+F1")
    await expect(help_).to_contain_text("A browser’s tab keeps these")
    await terminal.press("Escape", "j")
    await terminal.sees("go-down")
    await run(terminal, "keys and help")
    await expect(help_).to_be_visible()


async def test_ctrl_c_copies_what_is_selected_and_else_is_visidatas(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await set_clipboard(terminal.page, "as it was")
    await terminal.press("Control+c")
    await terminal.sees("cancel-sheet")
    assert await get_clipboard(terminal.page) == "as it was"
    await select(terminal.page)
    await terminal.press("Control+c")
    await expect(terminal.page.locator("#toasts")).to_contain_text(re.compile(r"Copied \d+ characters\."))
    assert "Torgersen" in await get_clipboard(terminal.page)
    await terminal.press("j")
    await terminal.sees("go-down")


async def select(page: Page) -> None:
    """Drag over the top rows, with Shift: VisiData has the mouse."""
    box = await page.locator(".xterm-screen").bounding_box()
    assert box is not None
    await page.keyboard.down("Shift")
    await page.mouse.move(box["x"] + 2, box["y"] + 40)
    await page.mouse.down()
    await page.mouse.move(box["x"] + 400, box["y"] + 90, steps=4)
    await page.mouse.up()
    await page.keyboard.up("Shift")


async def test_a_right_click_opens_a_menu_of_our_own(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    await set_clipboard(page, "as it was")
    await page.locator("#screen").click(button="right", position={"x": 150, "y": 150})
    menu = page.get_by_role("menu", name="Terminal")
    await expect(menu.get_by_role("menuitem", name="Copy")).to_have_attribute("aria-disabled", "true")
    box = await menu.bounding_box()
    screen = await page.locator("#screen").bounding_box()
    assert box is not None
    assert screen is not None
    assert (box["x"], box["y"]) == (screen["x"] + 150, screen["y"] + 150)
    await terminal.press("Escape")
    await expect(menu).to_be_hidden()
    await select(page)
    await page.locator("#screen").click(button="right", position={"x": 150, "y": 150})
    await menu.get_by_role("menuitem", name="Copy").click()
    await expect(page.locator("#toasts")).to_contain_text("Copied")
    assert "Torgersen" in await get_clipboard(page)
    await terminal.press("j")
    await terminal.sees("go-down", "344 rows")  # VisiData, which edits a cell at a right click, saw none of them.


async def test_the_menu_is_worked_from_the_keyboard_and_stays_on_the_page(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    size = page.viewport_size
    assert size is not None
    await page.mouse.click(size["width"] - 3, size["height"] - 3, button="right")
    menu = page.get_by_role("menu", name="Terminal")
    box = await menu.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= size["width"]
    assert box["y"] + box["height"] <= size["height"]
    await terminal.press("End", "Enter")
    await expect(page.get_by_role("dialog", name="Keys that differ here")).to_be_visible()


async def test_the_menu_goes_at_a_press_elsewhere_and_the_next_key_is_visidatas(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    menu = page.get_by_role("menu", name="Terminal")
    for leave in [
        lambda: page.keyboard.press("Escape"),
        lambda: page.keyboard.press("Tab"),
        lambda: page.locator("#status").click(),
        lambda: page.locator("#screen").click(position={"x": 40, "y": 40}),
    ]:
        await page.locator("#screen").click(button="right", position={"x": 150, "y": 150})
        await expect(menu).to_be_visible()
        await menu.click(position={"x": 1, "y": 1})  # Its edge, which is no entry: all goes on as before.
        await leave()
        await expect(menu).to_be_hidden()
        await expect(page.get_by_role("textbox", name="Terminal input")).to_be_focused()
    await terminal.press("F")
    await terminal.sees("percent")


async def test_visidata_gets_the_right_click_that_the_menu_hands_on(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    cell = await page.evaluate(
        "[document.querySelector('.xterm-screen').clientWidth, document.querySelector('.xterm-screen').clientHeight]"
    )
    at = {"x": cell[0] * 0.02, "y": cell[1] * 0.3}
    await page.locator(".xterm-screen").click(button="right", position={"x": at["x"], "y": at["y"]})
    await page.get_by_role("menuitem", name="Right-click in VisiData").click()
    await terminal.sees("edit-cell")


async def test_a_file_of_this_computer_is_opened_in_visidata(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    await page.locator("#menu summary").click()
    async with page.expect_file_chooser() as chosen:
        await page.get_by_role("button", name="Open a file from here").click()
    file = {"name": "rivers & lakes.csv", "mimeType": "text/csv", "buffer": b"river,length\nElbe,1094\n"}
    await (await chosen.value).set_files([file])
    await asyncio.gather(  # A note goes after some seconds.
        expect(page.locator("#toasts")).to_contain_text("“rivers & lakes.csv” is among your files"),
        terminal.sees("river", "Elbe", "1094"),
    )


async def test_files_that_are_dropped_are_opened_too_and_a_folder_is_named_as_one(
    url: str, ada: Person, browse: Browse, tmp_path: Path
) -> None:
    terminal = await penguins(browse, ada, url)
    drop = """(names) => {
      const data = new DataTransfer();
      for (const name of names) data.items.add(new File(["river\\tlength\\nOder\\t866\\n"], name));
      const event = (kind) => new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
      const screen = document.getElementById("screen");
      screen.dispatchEvent(event("dragenter"));
      const invited = document.body.classList.contains("dropping");
      const taken = !screen.dispatchEvent(event("drop"));
      return [invited, taken, document.body.classList.contains("dropping")];
    }"""
    assert await terminal.page.evaluate(drop, ["dropped.tsv"]) == [True, True, False]
    await asyncio.gather(
        expect(terminal.page.locator("#toasts")).to_contain_text("VisiData opens it."),
        terminal.sees("river", "Oder", "866"),
    )
    await terminal.press("/")
    await terminal.sees("search regex:")
    assert await terminal.page.evaluate(drop, ["dropped.tsv", "more.tsv"]) == [True, True, False]
    await expect(terminal.page.locator("#toasts")).to_contain_text("2 files are among yours")
    await expect(terminal.page.locator("#toasts")).to_contain_text("so they were not opened")
    await terminal.sees("search regex:")
    await drag_in(terminal.page, tmp_path)
    await expect(terminal.page.locator("#toasts")).to_contain_text(f"“{tmp_path.name}” is a folder.")
    await expect(terminal.page.locator("#toasts")).not_to_contain_text("broke")


async def test_full_screen_says_how_to_leave_it(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    await page.get_by_role("button", name="Full screen").click()
    await until(page, "document.fullscreenElement !== null")
    await expect(page.locator("#toasts")).to_contain_text("all keys go to VisiData. Hold Esc to leave.")
    await terminal.press("j")
    await terminal.sees("go-down")
    await page.get_by_role("button", name="Full screen").click()
    await until(page, "document.fullscreenElement === null")


# What a person has chosen


@pytest.fixture
async def chooser(grace: Person, url: str, browse: Browse) -> AsyncIterator[Person]:
    """Grace, who has chosen nothing; and again when the test is done, whatever became of it."""
    yield grace
    page = await browse(grace)
    form = {"theme": "system", "font": "system", "size": "14", "guard": "on"}
    answer = await page.request.post(f"{url}/account/terminal", form=form, headers={"Origin": url})
    assert answer.ok, answer.status


@pytest.mark.parametrize("size", SIZES)
async def test_a_theme_is_kept_for_the_person_and_comes_with_the_page(
    url: str, chooser: Person, browse: Browse, size: str
) -> None:
    terminal = await penguins(browse, chooser, url, color_scheme="light", **SIZES[size])
    page = terminal.page
    for theme, colour in {
        "dark": "rgb(18, 20, 23)",
        "high contrast": "rgb(0, 0, 0)",
        "light": "rgb(253, 253, 251)",
    }.items():
        async with page.expect_response("**/account/terminal") as kept:
            await run(terminal, "theme:", theme)
        assert (await kept.value).status == 204
        assert await colour_behind(terminal) == colour
        other = await browse(chooser, color_scheme="dark", java_script_enabled=False)
        await other.goto(page.url)
        shown = await other.locator("#terminal").evaluate("(element) => getComputedStyle(element).backgroundColor")
        assert shown == colour
    await run(terminal, "theme: as the system")
    await page.emulate_media(color_scheme="dark")
    assert await colour_behind(terminal) == "rgb(18, 20, 23)"


async def test_what_was_chosen_last_is_kept_however_slow_the_line(url: str, chooser: Person, browse: Browse) -> None:
    terminal = await penguins(browse, chooser, url)
    page = terminal.page
    under_way, most, kept = 0, 0, []

    async def slow(route: Route) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1.5)
        under_way -= 1
        await route.continue_()

    await page.route("**/account/terminal", slow)
    page.on("requestfinished", lambda request: kept.append(request.post_data) if request.method == "POST" else None)
    async with page.expect_request("**/account/terminal"):
        await run(terminal, "theme:", "dark")
    await run(terminal, "theme:", "high contrast")
    async with asyncio.timeout(20):
        while len(kept) < 2:
            await asyncio.sleep(0.05)
    assert ["theme=dark" in kept[0], "theme=contrast" in kept[1]] == [True, True]
    assert most == 1, "one after the other, so that none overtakes a newer one"
    await page.goto(f"{url}/account")
    await expect(page.get_by_label("Theme")).to_have_value("contrast")


async def test_what_could_not_be_kept_is_said_and_sent_again(url: str, chooser: Person, browse: Browse) -> None:
    terminal = await penguins(browse, chooser, url)
    page = terminal.page
    await page.route("**/account/terminal", lambda route: route.fulfill(status=503))
    await run(terminal, "theme:", "dark")
    await expect(page.locator("#toasts")).to_contain_text("the Hub could not keep it")
    await page.unroute("**/account/terminal")
    await run(terminal, "theme, font")
    async with page.expect_response("**/account/terminal") as kept:
        await page.get_by_role("button", name="Done").click()
    assert (await kept.value).status == 204


async def test_the_font_is_chosen_in_a_dialog_and_seen_at_once(url: str, chooser: Person, browse: Browse) -> None:
    terminal = await penguins(browse, chooser, url)
    page = terminal.page
    rows = len(await terminal.sees("Adelie"))
    await page.locator("#menu summary").click()
    await page.get_by_role("button", name="Theme, font and more").click()
    async with page.expect_response("**/account/terminal"):
        await page.get_by_label("Font size").fill("28")
    await until(page, f"document.getElementById('terminal').hubScreen().length < {rows * 0.6}")
    await page.get_by_role("button", name="Done").click()
    await terminal.press("Shift+F")
    await terminal.sees("Chinstr")
    await page.reload()
    await terminal.is_connected()
    assert len(await terminal.sees("Chinstr")) < rows * 0.6
    async with page.expect_response("**/account/terminal"):
        await run(terminal, "smaller font")
    await page.goto(f"{url}/account")
    await expect(page.get_by_label("Font size")).to_have_value("27")
    await page.get_by_label("Font size").fill("20")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Your terminals will look like that.")).to_be_visible()


async def test_a_size_that_cannot_be_is_not_taken(url: str, chooser: Person, browse: Browse) -> None:
    terminal = await penguins(browse, chooser, url)
    rows = len(await terminal.sees("Adelie"))
    await run(terminal, "theme, font")
    await terminal.page.get_by_label("Font size").fill("400")
    await terminal.press("Escape")
    await run(terminal, "theme, font")
    await expect(terminal.page.get_by_label("Font size")).to_have_value("14")
    await terminal.press("Escape")
    assert len(await terminal.sees("Adelie")) == rows


async def test_a_wrong_size_does_not_undo_what_was_chosen_before(url: str, chooser: Person, browse: Browse) -> None:
    terminal = await penguins(browse, chooser, url)
    page = terminal.page
    async with page.expect_response("**/account/terminal"):
        await run(terminal, "theme: high contrast")
    await run(terminal, "theme, font")
    await page.get_by_label("Font size").fill("")
    await terminal.press("Escape")
    await run(terminal, "theme, font")
    await expect(page.get_by_label("Theme")).to_have_value("contrast")


async def test_a_screen_reader_can_be_given_the_screen_as_text(url: str, chooser: Person, browse: Browse) -> None:
    terminal = await penguins(browse, chooser, url)
    page = terminal.page
    await expect(page.locator(".xterm-accessibility")).to_have_count(0)
    await run(terminal, "screen reader")
    async with page.expect_response("**/account/terminal"):
        await page.get_by_label("screen reader").check()
    await terminal.press("Escape")
    await expect(page.locator(".xterm-accessibility")).to_contain_text("Torgersen")


async def test_webgl_draws_each_character_as_itself(
    url: str, ada: Person, browse: Browse, chromium_with_webgl: Browser
) -> None:
    page = await browse(ada, browser=chromium_with_webgl)

    async def pictures(text: str, *rows: int) -> list[bytes]:
        """A new session on a file with this text, and how the beginnings of these rows of its screen look."""
        await ada.api.put("/api/v1/files/money.csv", data=text.encode())
        terminal = await create_and_open(page, url, "path:money.csv")
        await terminal.sees("3 rows")
        await expect(terminal.state).to_have_attribute("data-renderer", "webgl")
        await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        screen = await page.locator(".xterm-screen").bounding_box()
        assert screen is not None
        height = screen["height"] / len(await terminal.sees())
        clips = [{"x": screen["x"], "y": screen["y"] + row * height, "width": 50, "height": height} for row in rows]
        return [await page.screenshot(clip=clip) for clip in clips]  # type: ignore[arg-type]

    plain, empty = await pictures("price\n1\na\nb\n", 3, 12)
    euro, rouble, below = await pictures("price\n1\n€\n₽\n", 3, 4, 12)
    assert below == empty
    assert len({plain, euro, rouble}) == 3


async def test_the_screen_stays_when_the_browser_takes_webgl_away(
    url: str, ada: Person, browse: Browse, chromium_with_webgl: Browser
) -> None:
    terminal = await penguins(browse, ada, url, browser=chromium_with_webgl)
    page = terminal.page
    await expect(terminal.state).to_have_attribute("data-renderer", "webgl")
    await page.evaluate(
        """() => [...document.querySelectorAll(".xterm-screen canvas")]
          .map((canvas) => canvas.getContext("webgl2")).filter(Boolean)
          .forEach((context) => context.getExtension("WEBGL_lose_context").loseContext())"""
    )
    await expect(terminal.state).to_have_attribute("data-renderer", "html")
    await expect(page.locator(".xterm-rows")).to_contain_text("Torgersen")
    await terminal.press("Shift+F")
    await expect(page.locator(".xterm-rows")).to_contain_text("Chinstr")


# Leaving, and what the status says


async def asks_before_it_closes(page: Page) -> bool:
    """Close the tab as a person does; whether the browser asked. (Then the person stays.)"""
    asked: list[str] = []
    closed, answered = asyncio.Event(), asyncio.Event()

    async def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.dismiss()
        answered.set()

    page.on("dialog", stay)
    page.on("close", lambda _: closed.set())
    await page.close(run_before_unload=True)
    await asyncio.wait(
        {asyncio.create_task(closed.wait()), asyncio.create_task(answered.wait())},
        timeout=10,
        return_when=asyncio.FIRST_COMPLETED,
    )
    assert closed.is_set() or asked == ["beforeunload"]
    return bool(asked)


async def test_a_tab_in_which_somebody_has_typed_asks_before_it_closes(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.press("j")
    await terminal.sees("go-down")
    assert await asks_before_it_closes(terminal.page)
    await terminal.press("j")
    await terminal.page.get_by_role("link", name="Sessions").click()  # The page's own way out needs no question.
    await expect(terminal.page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()


async def test_a_tab_in_which_nobody_has_typed_just_closes(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.page.locator("#menu summary").click()  # Browsers ask only where somebody has done something at all.
    assert not await asks_before_it_closes(terminal.page)


async def test_nothing_is_asked_where_that_was_not_wanted_or_nothing_runs(
    url: str, chooser: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, chooser, url)
    page = terminal.page
    await terminal.press("j")
    await terminal.sees("go-down")
    await run(terminal, "theme, font")
    async with page.expect_response("**/account/terminal"):
        await page.get_by_label("Ask before a tab closes").uncheck()
    await terminal.press("Escape")
    assert not await asks_before_it_closes(page)
    other = Terminal(await browse(chooser))
    await other.page.goto(page.url)
    await other.is_connected()
    await run(other, "theme, font")
    async with other.page.expect_response("**/account/terminal"):
        await other.page.get_by_label("Ask before a tab closes").check()
    await other.press("Escape", "j")
    await run(other, "stop the session")
    await other.page.get_by_role("button", name="Stop it").click()
    await expect(other.page.locator("#panel")).to_contain_text("You stopped it.")
    assert not await asks_before_it_closes(other.page)


async def test_the_status_tells_the_round_trip(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await expect(terminal.page.locator("#status")).to_have_attribute("title", re.compile(r"Round trip \d+ ms"))


async def test_the_status_does_not_say_connected_while_the_hub_does_not_answer(
    ada: Person, browse: Browse, mortal_hub: HubProcess
) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, mortal_hub.url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    with held_up(mortal_hub):
        await page.locator("#status").hover()
        await expect(page.locator("#status")).to_contain_text("No answer…")
    await expect(page.locator("#status")).to_contain_text("Connected")
    await terminal.press("j")
    await terminal.sees("go-down")


async def test_what_is_typed_without_a_connection_is_told_and_never_sent_later(
    ada: Person, browse: Browse, mortal_hub: HubProcess
) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, mortal_hub.url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    await mortal_hub.end(signal.SIGKILL)
    await expect(terminal.state).to_have_attribute("data-terminal-state", "reconnecting")
    await terminal.press("Shift+F")
    await expect(page.locator("#toasts")).to_contain_text("Not connected: that key was not sent.")
    await set_clipboard(page, "quick note")
    await terminal.press("Control+v")
    await expect(page.locator("#toasts")).to_contain_text("Not connected: the paste was not sent.")
    await mortal_hub.start()
    await terminal.is_connected(within=20_000)
    await terminal.press("j")
    await terminal.sees("go-down", "344 rows", but_not="freq")


async def test_what_is_typed_while_the_hub_does_not_answer_is_told_and_never_runs_late(
    ada: Person, browse: Browse, mortal_hub: HubProcess
) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, mortal_hub.url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    with held_up(mortal_hub):
        await page.locator("#status").hover()
        await expect(page.locator("#status")).to_contain_text("No answer…")
        await terminal.press("Shift+F")
        await expect(page.locator("#toasts")).to_contain_text("The Hub does not answer: that key was not sent.")
    await expect(page.locator("#status")).to_contain_text("Connected")
    await terminal.press("j")
    await terminal.sees("go-down", "344 rows", but_not="freq")


@pytest.mark.parametrize("answers", [True, False], ids=["it lives", "it has died"])
async def test_a_line_is_taken_for_dead_only_when_nothing_answers_a_ping(
    url: str, ada: Person, browse: Browse, answers: bool
) -> None:
    """Output in the moment of a ping is no answer to it, and a clock that jumps, as in a tab that nobody sees, no silence."""
    session_id = await ada.create(name="Birds")
    page = await browse(ada)
    await page.clock.install()
    lines: list[WebSocketRoute] = []

    def serve(line: WebSocketRoute) -> None:
        lines.append(line)

        def heard(message: str | bytes) -> None:
            if isinstance(message, str) and json.loads(message)["type"] == "ping":
                line.send(b"output")
                if answers or len(lines) > 1:
                    line.send(json.dumps({"type": "pong"}))

        line.on_message(heard)
        line.send(json.dumps({"type": "hello", "mode": "drive", "cols": 100, "rows": 30, "yours": True}))

    await page.route_web_socket(re.compile("/tty"), serve)
    await page.goto(f"{url}/sessions/{session_id}")
    terminal = Terminal(page)
    await terminal.is_connected()
    await terminal.sees("output")
    if answers:
        for _ in range(5):
            await page.clock.fast_forward(60_000)
            await asyncio.sleep(0.2)
        await terminal.is_connected()
        assert len(lines) == 1
        return
    lines[0].on_message(lambda _: None)  # From here on there is nothing.
    for _ in range(50):
        await page.clock.fast_forward(1_000)
        await asyncio.sleep(0.02)
    async with asyncio.timeout(10):
        while len(lines) < 2:
            await page.clock.fast_forward(1_000)
            await asyncio.sleep(0.02)
    await terminal.is_connected()


async def test_a_key_of_which_nobody_knows_whether_it_arrived_is_told(
    ada: Person, browse: Browse, mortal_hub: HubProcess
) -> None:
    page = await browse(ada, **PHONE)
    terminal = await create_and_open(page, mortal_hub.url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    os.kill(mortal_hub.pid, signal.SIGSTOP)
    try:
        await terminal.press("j")
    finally:
        await mortal_hub.end(signal.SIGKILL)
    await expect(page.locator("#toasts")).to_contain_text("What you typed last may not have arrived.")
    await expect(terminal.state).to_have_attribute("data-terminal-state", "reconnecting")
    await page.locator("#screen textarea").focus()
    await page.keyboard.insert_text("j")  # As a phone's keyboard does, whose keys have no names.
    await expect(page.locator("#toasts")).to_contain_text("Not connected: that key was not sent.")


async def test_a_question_of_the_programs_is_answered_by_one_window(url: str, ada: Person, browse: Browse) -> None:
    """A second answer would be typed into whatever comes next."""
    terminal = await penguins(browse, ada, url)
    pages = [terminal.page, await terminal.page.context.new_page()]
    sent = [note_sent(page) for page in pages]
    for page in pages:
        await page.goto(terminal.page.url)
        await Terminal(page).is_connected()
        await Terminal(page).sees("Adelie")
    ask = "import os; os.write(1, b'\\x1b[c\\x1b[6n\\x1b]11;?\\x07')"
    second = Terminal(pages[1])
    await second.press("Control+x")
    await second.sees("eval")
    await second.type(f"exec({ask!r})")
    for keys in sent:
        keys.clear()
    await second.press("Enter")
    await until_sent(sent[1], lambda sent: any(b"\x1b[?1;2c" in keys for keys in sent))
    await asyncio.sleep(0.3)
    assert not any(sent[0]), "the other one answered too"


async def test_all_that_a_mouse_reaches_a_keyboard_does(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    await terminal.press("Shift+F6")
    assert await page.evaluate("document.activeElement.closest('.bar') !== null")
    await terminal.press("Tab")
    assert await page.evaluate("document.activeElement.closest('.bar') !== null"), "and goes on from there"
    await page.locator("#screen").click(position={"x": 400, "y": 300})
    await page.evaluate(
        "import(document.querySelector('script[src*=\"main.js\"]').src.replace('main.js', 'words.js'))"
        ".then(({ toast }) => toast('A thing happened.', { action: 'Mend it', run: () => (window.mended = true) }))"
    )
    await expect(page.locator("#toasts")).to_contain_text("A thing happened.")
    await run(terminal, "mend it")
    await until(page, "window.mended === true")


@pytest.mark.parametrize("part", ["/link.js", "/addon-web-links.mjs"])
async def test_a_part_of_the_page_that_does_not_arrive_is_fetched_again_by_itself(
    url: str, ada: Person, browse: Browse, part: str
) -> None:
    """As when a phone goes from one network to another: browsers break off what they are loading."""
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    failures = 0

    async def fail(route: Route) -> None:
        nonlocal failures
        failures += 1
        await (route.abort("connectionreset") if failures == 1 else route.continue_())

    pattern = re.compile(re.escape(part))
    fresh = await browse(ada)  # What is in the other's memory would not be asked for.
    await fresh.route(pattern, fail)
    await fresh.goto(page.url)
    await Terminal(fresh).is_connected()
    await Terminal(fresh).sees("Adelie")
    assert failures >= 2


async def test_what_comes_after_the_screen_is_asked_for_again_when_it_is_used(
    url: str, ada: Person, browse: Browse
) -> None:
    session_id = await ada.create(name="Birds")
    page = await browse(ada)
    missing = re.compile(r"/tools\.js")
    async with page.expect_event("requestfailed"):
        await page.route(missing, lambda route: route.abort("connectionreset"))
        await page.goto(f"{url}/sessions/{session_id}")
    terminal = Terminal(page)
    await terminal.is_connected()
    await terminal.press("Control+,")
    await expect(page.locator("#toasts")).to_contain_text("A part of this page did not arrive.")
    await page.unroute(missing)
    await page.get_by_role("button", name="Load the page again").click()
    await terminal.is_connected()
    await terminal.press("Control+,")
    await expect(page.get_by_role("dialog", name="Commands and keys")).to_be_visible()


async def test_a_part_of_the_page_that_never_arrives_is_told_with_a_way_on(
    url: str, ada: Person, browse: Browse
) -> None:
    session_id = await ada.create(name="Birds")
    page = await browse(ada)
    missing = re.compile(r"terminal/.*/screen\.js")
    await page.route(missing, lambda route: route.abort("connectionreset"))
    await page.goto(f"{url}/sessions/{session_id}")
    panel = page.locator("#panel")
    await expect(panel).to_contain_text("The terminal could not be loaded")
    await expect(panel).to_contain_text("The session itself continues.")
    await page.unroute(missing)
    await panel.get_by_role("link", name="Load it again").click()
    await Terminal(page).is_connected()


# The app


async def test_it_can_be_installed_as_an_app(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    devtools = await page.context.new_cdp_session(page)
    found = await devtools.send("Page.getAppManifest")
    assert found["errors"] == []
    manifest = json.loads(found["data"])
    assert (manifest["start_url"], manifest["display"], manifest["scope"]) == ("/sessions", "standalone", "/")
    missing = (await devtools.send("Page.getInstallabilityErrors"))["installabilityErrors"]
    assert [error["errorId"] for error in missing] == ["in-incognito"]  # As each profile of these tests is.
    sizes = set()
    for icon in manifest["icons"]:
        fetched = await page.evaluate(
            """(address) => fetch(address).then((answer) => answer.blob()).then((blob) => new Promise((done) => {
              const reader = new FileReader();
              reader.onload = () => done([blob.type, reader.result.split(",")[1]]);
              reader.readAsDataURL(blob);
            }))""",
            f"{url}/static/{icon['src']}",
        )
        assert fetched[0] == icon["type"]
        if icon["type"] == "image/png":
            width, height = struct.unpack(">II", base64.b64decode(fetched[1])[16:24])
            assert icon["sizes"] == f"{width}x{height}"
            sizes.add((width, icon.get("purpose", "any")))
    assert {(192, "any"), (512, "any"), (512, "maskable")} <= sizes
