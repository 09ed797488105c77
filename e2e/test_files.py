"""One's own data: in by drag and drop or by choosing, opened and saved in VisiData, and out again."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from playwright.async_api import expect

from e2e.browser import Browse, Person, Terminal, create_and_open, drag_in, until

PEOPLE = "name,town\nAda,London\nGrace,New York\nAlan,London\n"


async def test_a_dropped_file_opens_in_visidata_and_what_is_saved_there_comes_out(
    url: str, ada: Person, browse: Browse, tmp_path: Path
) -> None:
    file = tmp_path / "people.csv"
    file.write_text(PEOPLE)
    page = await browse(ada)
    await page.goto(f"{url}/sessions")
    await expect(page.get_by_text("drop a file anywhere on this page")).to_be_visible()
    await drag_in(page, file, drop=False)
    await expect(page.locator("body.dropping")).to_be_visible()
    await drag_in(page, file)
    await expect(page.locator("body.dropping")).to_have_count(0)
    await page.get_by_role("button", name="Open in VisiData").click()
    terminal = Terminal(page)
    await terminal.is_connected()
    await terminal.sees("name", "town", "Grace", "3 rows")
    await terminal.press("ArrowRight", "Shift+F")
    await terminal.sees("people_town_freq", "London")
    await terminal.press("Control+s")
    await terminal.sees("save to:")
    await terminal.press("Control+k")
    await terminal.type("towns.csv")
    await terminal.sees("towns.csv")
    await terminal.press("Enter")
    await terminal.sees("towns.csv", but_not="save to:")
    async with asyncio.timeout(30):  # VisiData saves beside.
        while len((await (await ada.api.get("/api/v1/files/towns.csv")).text()).splitlines()) < 3:
            await asyncio.sleep(0.1)

    await page.goto(f"{url}/files")
    await expect(page.locator("#files")).to_contain_text("towns.csv")
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Download towns.csv").click()
    download = await coming.value
    assert download.suggested_filename == "towns.csv"
    header, first, second = (await download.path()).read_text().splitlines()
    assert header.startswith("town,count")
    assert first.startswith("London,2")
    assert second.startswith("New York,1")


async def test_a_chosen_file_shows_its_progress_is_listed_opened_and_deleted(
    url: str, ada: Person, browse: Browse
) -> None:
    page = await browse(ada)
    await page.goto(f"{url}/files")
    await expect(page.get_by_role("heading", name="No files yet")).to_be_visible()
    devtools = await page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 400_000}
    await devtools.send("Network.enable")
    await devtools.send("Network.emulateNetworkConditions", slow)
    rows = "".join(f"{number},{number**2}\n" for number in range(100_000))
    content = ("n,square\n" + rows).encode()
    await page.locator("input[type=file]").set_input_files(
        {"name": "squares.csv", "mimeType": "text/csv", "buffer": content}
    )
    bar = page.get_by_role("progressbar", name="Uploading squares.csv")
    await expect(bar).to_be_visible()
    await until(page, "((value) => 0 < value && value < 1)(document.querySelector('#uploads progress')?.value)")
    await expect(page.get_by_role("button", name="Open in VisiData")).to_be_visible()
    await expect(page.locator("#files")).to_contain_text("squares.csv")
    answer = await ada.api.get("/api/v1/files/squares.csv")
    assert await answer.body() == content

    await page.get_by_role("button", name="Open squares.csv in VisiData").click()
    terminal = Terminal(page)
    await terminal.is_connected()
    await terminal.sees("square", "100000 rows")

    await page.goto(f"{url}/files")
    await page.get_by_role("link", name="Delete squares.csv").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Delete “squares.csv”?")
    await page.keyboard.press("Escape")
    await expect(page.locator("#files")).to_contain_text("squares.csv")
    await page.get_by_role("link", name="Delete squares.csv").click()
    await dialog.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("heading", name="No files yet")).to_be_visible()


async def test_a_cancelled_upload_leaves_nothing_behind(url: str, ada: Person, browse: Browse) -> None:
    page = await browse(ada)
    await page.goto(f"{url}/files")
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
    await devtools.send("Network.emulateNetworkConditions", slow)
    await page.locator("input[type=file]").set_input_files(
        {"name": "big.csv", "mimeType": "text/csv", "buffer": b"x" * 3_000_000}
    )
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#uploads")).to_contain_text("Nothing was stored")
    await expect(page.get_by_role("button", name="Try again")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", name="No files yet")).to_be_visible()


async def test_a_name_that_is_taken_keeps_both_files(url: str, ada: Person, browse: Browse) -> None:
    await ada.api.put("/api/v1/files/data.csv", data=b"first\n1\n")
    page = await browse(ada)
    await page.goto(f"{url}/files")
    await page.locator("input[type=file]").set_input_files(
        {"name": "data.csv", "mimeType": "text/csv", "buffer": b"second\n2\n"}
    )
    await expect(page.locator("#files tbody tr")).to_have_count(2)
    assert await (await ada.api.get("/api/v1/files/data.csv")).body() == b"first\n1\n"


def _database_with_a_log(folder: Path) -> list[Path]:
    """A database, the newest rows of which are in its log alone."""
    made = folder / "made.db"
    with closing(sqlite3.connect(made)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE older (n)")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("CREATE TABLE newest (n)")
        database.executemany("INSERT INTO newest VALUES (?)", [(number,) for number in range(50)])
        database.commit()
        return [Path(shutil.copy(f"{made}{tail}", folder / f"sales.sqlite{tail}")) for tail in ("-wal", "", "-shm")]


async def test_a_database_and_its_log_stay_together_however_often_they_come(
    url: str, ada: Person, browse: Browse, tmp_path: Path
) -> None:
    files = _database_with_a_log(tmp_path)
    page = await browse(ada)
    await page.goto(f"{url}/files")
    for count in (3, 6):
        await page.locator("input[type=file]").set_input_files(files)
        await expect(page.locator("#files tbody tr")).to_have_count(count)
    names = {entry["name"] for entry in await (await ada.api.get("/api/v1/files/")).json()}
    assert names == {f"sales{mark}.sqlite{tail}" for mark in ("", "-2") for tail in ("", "-wal", "-shm")}
    await page.get_by_role("button", name="Open sales-2.sqlite in VisiData").click()
    terminal = Terminal(page)
    await terminal.is_connected()
    await terminal.sees("newest", "50")
    devtools = await page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        await devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
    await expect(page.locator("#toasts")).to_contain_text("3 files are among yours")
    await terminal.sees("sales-3", "newest", "50")
    # SQLite moves the rows of a log into its database, and deletes the log, when the last program closes the two.
    names = {entry["name"] for entry in await (await ada.api.get("/api/v1/files/")).json()}
    assert names <= {f"sales{mark}.sqlite{tail}" for mark in ("", "-2", "-3") for tail in ("", "-wal", "-shm")}


async def test_a_file_of_any_name_is_the_one_that_opens(url: str, ada: Person, browse: Browse) -> None:
    names = ["new\nline.csv", "$HOME.csv", " spaces .csv"]
    page = await browse(ada)
    await page.goto(f"{url}/files")
    await page.locator("input[type=file]").set_input_files(
        [
            {"name": name, "mimeType": "text/csv", "buffer": f"which\nnumber {number}\n".encode()}
            for number, name in enumerate(names)
        ]
    )
    await expect(page.locator("#files tbody tr")).to_have_count(len(names))
    for number, name in enumerate(names):
        await page.goto(f"{url}/files")
        shown = name.replace("\n", "↵").replace(" spaces", "␣spaces")
        row = page.locator("tbody tr", has=page.get_by_text(shown, exact=True))
        async with page.expect_download() as coming:
            await row.get_by_role("link", name="Download").last.click()
        assert (await (await coming.value).path()).read_text() == f"which\nnumber {number}\n"
        await row.get_by_role("button", name="Open").click()
        terminal = Terminal(page)
        await terminal.is_connected()
        await terminal.sees("which", f"number {number}")


async def test_a_session_without_a_source_lists_ones_files(url: str, ada: Person, browse: Browse) -> None:
    await ada.api.put("/api/v1/files/people.csv", data=PEOPLE.encode())
    page = await browse(ada)
    terminal = await create_and_open(page, url, "")
    await terminal.sees("people.csv")
