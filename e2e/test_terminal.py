"""A session stays: through a reload, a killed Hub, a restarted Hub. When it ends, the page says how."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from playwright.async_api import expect

from e2e.browser import Browse, Person, Terminal, create_and_open, row
from e2e.hub import HubProcess, fetch


async def _at_row_3_of_islands(terminal: Terminal) -> None:
    """Leave a mark that only this very VisiData has: a sheet of its own on top, and a cursor that was moved."""
    await terminal.sees("Adelie")
    await terminal.press("j", "j", "j", "ArrowRight", "Shift+F")
    await _islands_are_counted(terminal)
    await _go_down(terminal)


async def _go_down(terminal: Terminal) -> None:
    # Until VisiData says so, the key may still be on its way, and would be lost with the Hub.
    await terminal.press("j")
    await terminal.sees("go-down")


async def _islands_are_counted(terminal: Terminal) -> None:
    # Rows come as they are found, and are sorted once all are there.
    await terminal.sees("↓count", "Biscoe", "Dream", "Torgersen", "penguins_island_freq", in_order=True)


async def _is_as_it_was_left(terminal: Terminal) -> None:
    await terminal.is_connected(within=20_000)
    await _islands_are_counted(terminal)
    # Where the cursors are shows when a row is opened: the second island, then the row of the fourth penguin.
    await terminal.press("Enter")
    await terminal.sees("_Dream", "124 rows")
    await terminal.press("q", "q")
    await terminal.sees("344 rows", but_not="island_freq")
    await terminal.press("Enter")
    await terminal.sees("penguins[3]")
    # And back to where it was, for the next look.
    await terminal.press("q", "Shift+F")
    await _islands_are_counted(terminal)
    await _go_down(terminal)


async def test_a_reload_finds_the_same_sheet_and_cursor(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await _at_row_3_of_islands(terminal)
    await page.reload()
    await _is_as_it_was_left(terminal)
    await page.goto(f"{url}/sessions")
    await page.get_by_role("link", name="Open penguins.csv").click()
    await terminal.is_connected()
    await _islands_are_counted(terminal)


async def test_two_tabs_show_the_same_session(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await _at_row_3_of_islands(terminal)
    second = await page.context.new_page()
    await second.goto(page.url)
    other = Terminal(second)
    await other.is_connected()
    await other.sees("penguins_island_freq")
    await other.press("q")
    await terminal.sees("344 rows", but_not="island_freq")


async def test_a_killed_hub_comes_back_to_the_same_page_without_a_click(
    ada: Person, browse: Browse, mortal_hub: HubProcess
) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, mortal_hub.url, "sample:penguins.csv")
    await _at_row_3_of_islands(terminal)
    assert await mortal_hub.end(signal.SIGKILL) == -signal.SIGKILL
    await expect(terminal.state).to_have_attribute("data-terminal-state", "reconnecting")
    await expect(page.locator("#status")).to_contain_text("Reconnecting")
    await mortal_hub.start()
    await _is_as_it_was_left(terminal)
    await page.goto(f"{mortal_hub.url}/sessions")
    await expect(row(page, "penguins.csv")).to_contain_text("Running")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_hub_serves_and_stops_though_nobody_reads_what_it_prints_any_more(
    tmp_path: Path, number: signal.Signals
) -> None:
    """As `hub serve 2>&1 | tee log` at Ctrl-C, where tee may end first."""
    hub = HubProcess(tmp_path, HUB_ACCESS_LOG="true")
    await hub.start()
    try:
        await hub.read_no_more()
        status, _ = await fetch(hub, "/login")  # Which it logs.
        assert status == 200
        assert await hub.end(number) == 0
    finally:
        await hub.close()


async def test_a_restarted_hub_says_goodbye_and_finds_its_sessions_again(
    ada: Person, browse: Browse, mortal_hub: HubProcess
) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, mortal_hub.url, "sample:penguins.csv")
    await _at_row_3_of_islands(terminal)
    listed = await page.context.new_page()
    await listed.goto(f"{mortal_hub.url}/sessions")
    await expect(row(listed, "penguins.csv")).to_contain_text("Running")
    before = len(mortal_hub.log)
    assert await mortal_hub.end(signal.SIGINT) == 0  # What Ctrl-C sends.
    assert "Stopping. Sessions go on" in mortal_hub.log[before:]
    assert "Traceback" not in mortal_hub.log[before:]
    await expect(terminal.state).to_have_attribute("data-terminal-state", "reconnecting")
    await expect(listed.locator("#offline")).to_be_visible()
    await mortal_hub.start()
    await _is_as_it_was_left(terminal)
    await expect(listed.locator("#offline")).to_be_hidden(timeout=20_000)
    await listed.get_by_role("button", name="Stop penguins.csv").click()
    await listed.get_by_role("button", name="Stop it").click()
    await expect(row(listed, "penguins.csv")).to_contain_text("You stopped it.")


async def test_quitting_visidata_is_told_and_it_starts_again(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    await terminal.press("q")
    await terminal.sees("quit")  # It asks first, since the work may not be saved.
    await terminal.press("y")
    panel = page.locator("#panel")
    await expect(panel.get_by_role("heading", name="This session is stopped")).to_be_visible()
    await expect(panel).to_contain_text("VisiData was quit.")
    await expect(terminal.state).to_have_attribute("data-terminal-state", "ended")
    await terminal.press("Enter")  # One that was still meant for VisiData starts nothing.
    await expect(terminal.state).to_have_attribute("data-terminal-state", "ended")
    await terminal.press("Tab", "Enter")
    await terminal.is_connected()
    await terminal.press("g", "q")
    await terminal.sees("quit")
    await terminal.press("y")
    await panel.get_by_role("button", name="Start again").click()
    await terminal.is_connected()
    await terminal.sees("species", "Adelie")


async def test_all_sheets_quit_at_once_end_it_too(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await _at_row_3_of_islands(terminal)
    await terminal.press("g", "q")
    await terminal.sees("quit")
    await terminal.press("y")
    await expect(page.locator("#panel")).to_contain_text("VisiData was quit.")
    await page.goto(f"{url}/sessions")
    await expect(row(page, "penguins.csv")).to_contain_text("VisiData was quit.")


async def test_a_session_that_is_stopped_from_the_list_says_why_on_its_page(
    url: str, ada: Person, browse: Browse
) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    listed = await page.context.new_page()
    await listed.goto(f"{url}/sessions")
    await listed.get_by_role("button", name="Stop penguins.csv").click()
    await expect(page.locator("#panel")).to_contain_text("You stopped it.")
    await expect(terminal.state).to_have_attribute("data-terminal-state", "ended")
    await listed.get_by_role("link", name="Delete penguins.csv").click()
    await listed.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(listed.get_by_role("heading", name="No sessions yet")).to_be_visible()
    await page.get_by_role("button", name="Start again").click()
    await expect(page.get_by_role("heading", name="There is no such session")).to_be_visible()


async def test_the_terminals_own_stop_asks_first(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await page.locator("#menu summary").click()
    await page.get_by_role("button", name="Stop the session").click()
    await page.get_by_role("button", name="Keep it running").click()
    await terminal.sees("Adelie")
    await page.locator("#menu summary").click()
    await page.get_by_role("button", name="Stop the session").click()
    await page.get_by_role("button", name="Stop it").click()
    await expect(page.locator("#panel")).to_contain_text("You stopped it.")


async def test_what_is_copied_in_visidata_is_on_the_clipboard(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada)
    terminal = await create_and_open(page, url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await terminal.press("ArrowRight", "z", "Shift+Y")  # The current cell.
    await expect(page.locator("#toasts")).to_contain_text("Copied")
    assert (await page.evaluate("navigator.clipboard.readText()")).strip() == "Torgersen"
