"""Pasting never runs commands unasked: VisiData reads text as commands, so what is pasted goes where a person says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from e2e.browser import PHONE, Browse, Person, Terminal, penguins, set_clipboard, until

RIVERS = "river\tlength\nElbe\t1094\nOder\t866"


async def paste(terminal: Terminal, text: str) -> None:
    await set_clipboard(terminal.page, text)
    await terminal.press("Control+v")


def offer(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Paste")


async def choose(page: Page, name: str) -> None:
    await offer(page).get_by_role("button", name=name).click()


async def is_untouched(terminal: Terminal) -> None:
    """Nothing was typed: the next key is the first that VisiData hears of."""
    await terminal.press("j")
    await terminal.sees("go-down", "344 rows", but_not="freq")


# Quits, freezes a column, runs Python, and each of the commands that begin with g.
@pytest.mark.parametrize("text", ["quick note", "q", "=__import__('os').getpid()", "gq\ny", "\x1b[1;4R", RIVERS])
async def test_what_is_pasted_where_nothing_asks_for_text_is_not_typed(
    url: str, ada: Person, browse: Browse, text: str
) -> None:
    terminal = await penguins(browse, ada, url)
    await paste(terminal, text)
    await expect(offer(terminal.page)).to_contain_text("VisiData treats pasted text as commands")
    await expect(offer(terminal.page).locator("pre")).to_have_text(text)
    await terminal.press("Escape")
    await expect(offer(terminal.page)).to_be_hidden()
    await is_untouched(terminal)


async def test_one_line_goes_into_an_open_prompt_at_once(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.press("/")
    await terminal.sees("search regex:")
    await paste(terminal, "quick note\n")  # As spreadsheets and terminals copy a line, with its end.
    await terminal.sees("quick note")
    await terminal.press("Escape")
    await terminal.sees("344 rows", but_not="search regex:")


async def test_more_than_a_line_goes_into_a_prompt_as_one(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.press("/")
    await terminal.sees("search regex:")
    await paste(terminal, "first\tline\nsecond line\n\x1b[201~q")
    await terminal.sees("search regex:", "first line second line [201~q", in_order=True)
    await terminal.press("Escape")
    await terminal.sees("344 rows", but_not="search regex:")  # Else the next key would be taken for Alt with it.
    await is_untouched(terminal)


async def test_a_program_that_does_not_say_how_it_pastes_gets_a_line_only_if_a_person_says_so(
    url: str, ada: Person, browse: Browse
) -> None:
    own = """
import os
from visidata import BaseSheet, SuspendCurses

def run_cat():
    with SuspendCurses():
        os.system("cat")

vd.addGlobals(run_cat=run_cat)
BaseSheet.addCommand("", "run-cat", "run_cat()")
"""
    await ada.api.put("/api/v1/files/.visidatarc", data=own.encode())
    terminal = await penguins(browse, ada, url)
    await terminal.press("Space")
    await terminal.type("run-cat")
    await terminal.press("Enter")
    await terminal.sees(but_not="Adelie")
    await terminal.type("hello")
    await terminal.sees("hello")
    await paste(terminal, "first\nsecond")
    await expect(offer(terminal.page)).to_contain_text("This was not typed")
    await expect(offer(terminal.page).get_by_role("button", name="Open as a new sheet")).to_be_hidden()
    await choose(terminal.page, "Type it as one line")
    await terminal.sees("hellofirst second")
    # The prompt may close while it is asked what to do, as by another window.
    await paste(terminal, "gFq")
    await expect(offer(terminal.page)).to_contain_text("This was not typed")
    other = Terminal(await terminal.page.context.new_page())
    await other.page.goto(terminal.page.url)
    await other.is_connected()
    await other.press("Enter", "Control+d")
    await terminal.sees("344 rows")
    await choose(terminal.page, "Type it as one line")
    await expect(offer(terminal.page)).to_contain_text(
        "VisiData treats pasted text as commands unless a prompt is open."
    )
    await terminal.press("Escape", "j")
    await terminal.sees("go-down", "344 rows", but_not="freq")


async def test_a_paste_right_behind_the_enter_that_closes_a_prompt_is_not_typed_into_the_sheet(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    await set_clipboard(terminal.page, "quick note")
    for _ in range(5):
        await terminal.press("/")
        await terminal.sees("search regex:")
        await terminal.press("D", "Enter", "Control+v")
        # It depends on the moment whether the page knows already, or VisiData throws it away.
        await until(
            terminal.page,
            "document.getElementById('paste').open"
            " || document.getElementById('terminal').hubScreen().join('').includes('not pasted: nothing asks')",
        )
        if await offer(terminal.page).is_visible():
            await terminal.press("Escape")
            await expect(offer(terminal.page)).to_be_hidden()
        await is_untouched(terminal)


async def test_a_question_with_yes_and_no_is_no_prompt(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.press("q")
    await terminal.sees("quit", "yes", "no")
    await paste(terminal, "yes")
    await expect(offer(terminal.page)).to_be_visible()
    await terminal.press("Escape", "n")
    await is_untouched(terminal)


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
async def test_a_table_becomes_a_sheet_and_a_file(
    url: str, ada: Person, browse: Browse, options: dict[str, Any]
) -> None:
    terminal = await penguins(browse, ada, url, **options)
    await paste(terminal, RIVERS)
    await expect(offer(terminal.page).get_by_label("Name, as a file")).to_have_value("pasted.tsv")
    await choose(terminal.page, "Open as a new sheet")
    await asyncio.gather(  # A note goes after some seconds.
        expect(terminal.page.locator("#toasts")).to_contain_text("Stored as “pasted.tsv” among your files"),
        terminal.sees("river", "length", "Elbe", "1094", "2 rows"),
    )
    await terminal.press("q")
    await terminal.sees("344 rows")
    assert await (await ada.api.get("/api/v1/files/pasted.tsv")).text() == RIVERS


async def test_a_paste_is_stored_under_the_name_that_a_person_gives_and_replaces_nothing(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    for _ in range(2):
        await paste(terminal, "just some words")
        await offer(terminal.page).get_by_label("Name, as a file").fill("notes.txt")
        await choose(terminal.page, "Store as a file")
        await expect(offer(terminal.page)).to_be_hidden()
    await expect(terminal.page.locator("#toasts")).to_contain_text("Stored as “notes-2.txt”")
    await is_untouched(terminal)


async def test_a_table_goes_into_the_cells_at_the_cursor_and_can_be_undone(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    await terminal.press("ArrowRight")
    await paste(terminal, "Atlantis\t1\nUtopia\t2")
    await choose(terminal.page, "Into the cells here")
    await terminal.sees("Atlantis", "Utopia")
    await terminal.press("Shift+U")
    await terminal.sees("Torgersen", but_not="Atlantis")


async def test_it_is_typed_anyway_if_a_person_says_so_knowing_what_that_means(
    url: str, ada: Person, browse: Browse
) -> None:
    terminal = await penguins(browse, ada, url)
    await paste(terminal, "F")
    await expect(offer(terminal.page)).to_contain_text("it may change or delete data, run programs, or quit VisiData")
    await choose(terminal.page, "Type it anyway")
    await terminal.sees("species_freq")


async def test_the_menu_pastes_too_and_as_carefully(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    await set_clipboard(terminal.page, "quick note")
    await terminal.page.locator("#screen").click(button="right", position={"x": 200, "y": 200})
    await terminal.page.get_by_role("menuitem", name="Paste").click()
    await expect(offer(terminal.page)).to_be_visible()
    await terminal.press("Escape")
    await is_untouched(terminal)


async def test_what_cannot_be_stored_is_told_and_can_be_tried_again(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    page = terminal.page
    await paste(terminal, RIVERS)
    await page.context.set_offline(True)
    await choose(page, "Store as a file")
    await expect(page.locator("#toasts")).to_contain_text("The Hub cannot be reached just now.")
    await page.context.set_offline(False)
    await page.get_by_role("button", name="Try again").click()
    await choose(page, "Store as a file")
    await expect(page.locator("#toasts")).to_contain_text("Stored as “pasted.tsv”")


KINDS = {
    "a\tb\n1\t2": "tsv",
    "a,b\n1,2\n3,4": "csv",
    'name,words\nada,"one, two"': "csv",
    '[{"a": 1}]': "json",
    '{\n  "a": 1\n}': "json",
    '{"a": 1}\n{"a": 2}': "jsonl",
    "a line": "txt",
    "a line, with a comma": "txt",
    "one, two\nthree": "txt",
    "42": "txt",
}


async def test_a_file_is_named_by_what_is_in_it(url: str, ada: Person, browse: Browse) -> None:
    terminal = await penguins(browse, ada, url)
    for text, kind in KINDS.items():
        await paste(terminal, text)
        await expect(offer(terminal.page).get_by_label("Name, as a file")).to_have_value(f"pasted.{kind}")
        await terminal.press("Escape")
        await expect(offer(terminal.page)).to_be_hidden()
