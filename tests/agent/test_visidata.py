"""VisiData as a session runs it, in a real run: it opens what it is given, stays, is repainted, copies and quits."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import sqlite3
import termios
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import pyte
import pytest
from agent_run import PATIENCE, PROJECT, Agent, Client, start_agent, until
from hosted_visidata import CASES

from app.agent import visidata

OPEN, INTO_CELLS = "\x1b[1;4R", "\x1b[1;4Q"  # The keys that static/terminal/keys.js sends: Alt-Shift-F3 and -F2.
PYTHON = PROJECT / ".venv-session" / "bin" / "python"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "cities.csv").write_text("city,people\nKöln,1085664\n東京,13960000\nSão Paulo,12330000\n")
    return home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def start(
    folder: Path, home: Path, source: str | None, config: Path = visidata.CONFIG
) -> AbstractAsyncContextManager[Agent]:
    return start_agent(
        folder,
        *visidata.command(str(PYTHON), source, str(config)),
        options=("--cwd", str(home)),
        environment=visidata.environment(str(home)),
    )


@pytest.mark.parametrize(
    "name", ["cities.csv", "-odd.csv", "+odd.csv", "~odd.csv", "-", "with space.csv", "städte.csv"]
)
async def test_it_opens_a_file_of_any_name(folder: Path, home: Path, name: str) -> None:
    (home / "cities.csv").rename(home / name)
    async with start(folder, home, name) as agent:
        await (await agent.client()).see("city", "Köln", "東京")


async def test_without_a_file_it_lists_the_home(folder: Path, home: Path) -> None:
    async with start(folder, home, None) as agent:
        await (await agent.client()).see("filename", "cities")


async def test_a_module_of_the_persons_own_does_no_harm(folder: Path, home: Path) -> None:
    (home / "csv.py").write_text("raise SystemExit('the wrong csv')")
    async with start(folder, home, "cities.csv") as agent:
        await (await agent.client()).see("city", "Köln")


async def test_who_comes_back_finds_all_as_it_was(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client(size=(100, 30))
        await client.see("city", "Köln")
        await client.type("F")
        await client.see("count", "percent")
        await client.vanish()
        client = await agent.client(size=(100, 30))
        # All of it once more: the menu, the columns' names, the rows, and the status line at the bottom.
        await client.see("File", "count", "percent", "Köln", "東京", "São Paulo", "cities_city_freq")


async def test_coming_to_look_is_no_key(folder: Path, home: Path) -> None:
    """Messages stay on the screen, and so does the first half of a command."""
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("zY")
        await client.see("copied to the clipboard")
        await client.vanish()
        client = await agent.client()
        seen = await client.see("copied to the clipboard", "Köln")
        assert "KEY_RESIZE" not in seen
        await client.type("g")
        await client.vanish()
        client = await agent.client()
        await client.see("Köln")
        await client.type("q")
        await client.see("exit VisiData")


CLICK = "\x1b[<{0};{1};{2}M\x1b[<{0};{1};{2}m"  # Button, column and row; the places count from 1.
LEFT, RIGHT = 0, 2


async def test_a_click_does_the_same_however_busy_visidata_is(folder: Path, home: Path) -> None:
    """As when it comes to the press only once the release is there, or the next click, or a key."""
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client(size=(80, 24))
        await client.see("Köln", "3 rows")
        await client.type(CLICK.format(RIGHT, 3, 4))
        await client.see("edit-cell")
        await client.type("京都\r")
        await client.see("京都")
        await client.type(CLICK.format(LEFT, 3, 3) + "zY" + CLICK.format(LEFT, 3, 5))
        assert await copied(client) == "Köln"
        await client.type("zY")
        assert await copied(client) == "São Paulo"
        await client.type(CLICK.format(LEFT, 7, 1))
        await client.see("Open new empty sheet")  # The menu "File" is open, and stays so.


async def test_no_turn_of_the_wheel_is_lost(folder: Path, home: Path) -> None:
    (home / "numbers.csv").write_text("number\n" + "".join(f"{number}\n" for number in range(1000)))
    async with start(folder, home, "numbers.csv") as agent:
        client = await agent.client(size=(200, 50))
        await client.see("number", "1000 rows")
        for _ in range(5):
            await client.type("\x1b[<65;3;9M" * 6)
        await client.type("zY")
        assert await copied(client) == str(30 * 3)


async def test_who_sets_how_long_a_click_may_take_gets_clicks(folder: Path, home: Path) -> None:
    (home / ".visidatarc").write_text(
        "options.mouse_interval = 300\nSheet.bindkey('BUTTON1_DOUBLE_CLICKED', 'open-row')\n"
    )
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client(size=(80, 24))
        await client.see("Köln", "3 rows")
        await client.type(CLICK.format(LEFT, 3, 4) * 2)
        await client.see("open-row")


async def test_a_click_leaves_nothing_in_the_prompt_that_it_opens(folder: Path, home: Path) -> None:
    # As a press on the sheet's name does, which is on the window's last line, wherever that is just now.
    (home / ".visidatarc").write_text("Sheet.bindkey('BUTTON3_PRESSED', 'rename-sheet')\n")
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client(size=(80, 24))
        await client.see("Köln", "3 rows")
        await client.type(CLICK.format(RIGHT, 4, 4))
        await client.see("rename")
        await client.type("towns\r")
        await client.see("1›towns|")


async def copied(client: Client) -> str:
    """What was copied last, by OSC 52."""
    found = await client.find(rb"\x1b\]52;c;([^\x07]*)\x07")
    client.seen = client.seen[found.end() :]
    return base64.b64decode(found[1]).decode()


async def copied_cell(client: Client) -> str:
    """The cell at the cursor, by way of the clipboard."""
    client.seen = b""
    await client.type("zY")
    return await copied(client)


@pytest.mark.parametrize("where", ["as installed", "in a folder with spaces"])
async def test_copying_reaches_the_terminal(folder: Path, home: Path, tmp_path: Path, where: str) -> None:
    config = visidata.CONFIG
    if where != "as installed":
        moved = tmp_path / 'with spaces, "quotes" and $'
        shutil.copytree(config.parent, moved)
        config = moved / config.name
    async with start(folder, home, "cities.csv", config) as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("zY")
        copied = await client.find(rb"\x1b\]52;c;([^\x07]*)\x07")
        assert base64.b64decode(copied[1]).decode() == "Köln"


async def test_text_that_is_too_large_for_the_clipboard_becomes_a_file(folder: Path, home: Path) -> None:
    """The terminal would drop it without a word."""
    (home / "large.tsv").write_text("cell\n" + "x" * 5_000_001 + "\nsmall\n")
    async with start(folder, home, "large.tsv") as agent:
        client = await agent.client()
        await client.see("xxx")
        await client.type("zY")
        await client.see("too large to copy")
        assert (home / "copied.txt").read_text() == "x" * 5_000_001
        await client.type("Y\r")
        await client.see("too large to copy")
        assert (home / "copied.tsv").read_text() == "cell\n" + "x" * 5_000_001 + "\n"


async def test_text_that_cannot_be_encoded_is_copied_as_far_as_it_can_be(folder: Path, home: Path) -> None:
    (home / "odd.jsonl").write_text(r'{"cell": "half \ud83d of a character"}')
    async with start(folder, home, "odd.jsonl") as agent:
        client = await agent.client()
        await client.see("of a character")
        assert await copied_cell(client) in ("half ? of a character", "half � of a character")


async def test_a_copy_that_fails_says_so(folder: Path, home: Path) -> None:
    (home / ".visidatarc").write_text("vd.options.clipboard_copy_cmd = 'false'")
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("zY")
        await client.see("not copied")


async def test_pasting_what_the_page_left(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        clipboard = home / ".cache" / "visidata-hub" / "clipboard"
        clipboard.write_text("Zürich")
        await client.type("zP")
        await client.see("Zürich")


def paste(text: str) -> str:
    """As terminals mark it where a program has asked for that (bracketed paste)."""
    return f"\x1b[200~{text}\x1b[201~"


async def test_a_paste_is_one_line_for_a_prompt_whatever_is_in_it(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("/")
        await client.find(rb"\x1b\[\?2004h")
        await client.see("search regex")
        for piece in ("\x1b", "[20", "0~Tab", "\r東京\n\ngq\x03y\x1b[2", "01~"):  # However the line cuts it.
            await client.type(piece)
        await client.see("Tab 東京 gq y")
        await client.type("\x15東京\r")
        await client.find(rb"\x1b\[\?2004l")
        await client.type("zY")
        copied = await client.find(rb"\x1b\]52;c;([^\x07]*)\x07")
        assert base64.b64decode(copied[1]).decode() == "東京"


@pytest.mark.parametrize("before", ["", "/東京\r"])
async def test_a_paste_that_comes_when_nothing_asks_for_text_is_not_typed(
    folder: Path, home: Path, before: str
) -> None:
    """So even where the prompt that it was for has just been closed: all of this comes in one piece."""
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type(before + paste("gqyFd =exit()"))
        await client.see("not pasted: nothing asks for text")
        await client.type("F")
        await client.see("percent")


async def test_a_paste_of_a_megabyte_is_taken_whole(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type(paste("gqy " * 4096))
        await client.see("not pasted: nothing asks for text")
        await client.type("F")
        await client.see("percent")


async def test_a_large_paste_in_any_script_is_typed_whole_and_never_as_commands(folder: Path, home: Path) -> None:
    """A terminal's input is cut about every 4,096 bytes, within a character too."""
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        for shift in range(6):
            text = "gq" * shift + "a" * (shift % 3) + "東京é" * 4000
            await client.type("e")
            await client.find(rb"\x1b\[\?2004h")
            await client.type(paste(text))
            await client.type("\r")
            await client.find(rb"\x1b\[\?2004l")
            assert await copied_cell(client) == text


async def test_a_paste_that_is_too_long_for_a_prompt_is_refused_whole_and_keys_work_at_once(
    folder: Path, home: Path
) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("e")
        await client.find(rb"\x1b\[\?2004h")
        await client.type("\x1b[200~")
        for _ in range(100):
            await client.type("gqé" * 1000)
        await client.type("\x1b[201~")
        await client.see("too long to paste: over 65,536")
        await client.type("Bonn\r")
        await client.find(rb"\x1b\[\?2004l")
        assert await copied_cell(client) == "Bonn"


async def test_the_late_rest_of_a_paste_that_broke_off_is_not_typed(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("e")
        await client.find(rb"\x1b\[\?2004h")
        await client.type("\x1b[200~half\rgq")
        await client.see("paste broke off: not typed")
        await client.type("Fgq\r=exit()\r")
        await client.type("\x1b[201~Bonn\r")
        await client.find(rb"\x1b\[\?2004l")
        assert await copied_cell(client) == "Bonn"


async def test_a_character_that_comes_in_two_halves_is_one(home: Path) -> None:
    """Though VisiData looks for more input between them, without waiting, as it does after each key."""
    master, slave = os.openpty()
    termios.tcsetwinsize(master, (24, 80))
    program = await asyncio.create_subprocess_exec(
        *visidata.command(str(PYTHON), "cities.csv"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=home,
        env=visidata.environment(str(home)),
    )
    os.close(slave)
    os.set_blocking(master, False)
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)

    async def see(text: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while text not in "\n".join(screen.display):
                with suppress(BlockingIOError):
                    stream.feed(os.read(master, 65536))
                await asyncio.sleep(0.01)

    try:
        await see("Köln")
        os.write(master, b"/")
        await see("search regex")
        os.write(master, "grö".encode()[:-1])
        await see("gr")
        os.write(master, "ö".encode()[-1:] + "ße".encode())
        await see("größe")
    finally:
        program.kill()
        await program.wait()
        os.close(master)


async def test_the_key_that_a_paste_begins_with_is_a_key_all_the_same(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        for keys in ("\x1b[", "F"):
            await client.type(keys)
        await client.see('no command for "Alt+[Shift+F"')
        await client.type("F")
        await client.see("percent")


async def test_the_page_has_a_file_opened_without_typing_a_command(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        (home / "pasted.tsv").write_text("river\tlength\nElbe\t1094\n")
        (home / "more.csv").write_text("lake,area\nMüritz,117\n")
        (home / ".cache/visidata-hub/open").write_text("pasted.tsv\nmore.csv")
        await client.type(OPEN)
        await client.see("lake", "Müritz")
        await client.type("q")
        await client.see("river", "Elbe", "1094")
        await client.type(OPEN)
        await client.see("there is nothing to open")
        (home / ".cache/visidata-hub/open").write_text('["gone.csv"]')
        await client.type(OPEN)
        await client.see("file ~/gone.csv: this is", "pasted.tsv")


async def test_the_page_has_text_pasted_into_the_cells_at_the_cursor(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        (home / ".cache/visidata-hub/clipboard").write_text("Zürich\t1\nBern\t2")
        await client.type(INTO_CELLS)
        await client.see("Zürich", "Bern")


@pytest.mark.parametrize("key", [OPEN, INTO_CELLS])
async def test_where_the_pages_keys_mean_nothing_they_do_no_harm(folder: Path, home: Path, key: str) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("/")
        await client.see("search regex")
        await client.type(f"{key}東京\r")  # In a prompt, they are no text.
        await client.type("zY")
        copied = await client.find(rb"\x1b\]52;c;([^\x07]*)\x07")
        assert base64.b64decode(copied[1]).decode() == "東京"


async def test_ctrl_z_is_harmless(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("\x1a")
        await client.see("VisiData stays")
        await client.type("F")
        await client.see("percent")


async def test_what_a_background_task_says_late_shows_without_a_key(folder: Path, home: Path) -> None:
    (home / ".visidatarc").write_text(
        "def late(sheet):\n import time\n time.sleep(1.5)\n vd.status('late is not never')\n"
        "BaseSheet.late = asyncthread(late)\nBaseSheet.addCommand('zU', 'late', 'late()')\n"
    )
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("zU")
        await client.see("late is not never")


async def test_what_is_found_as_soon_as_a_prompt_closes_shows_without_a_key(folder: Path, home: Path) -> None:
    """A search in the background may end after VisiData looked where the cursor is and before it waits for a key."""
    (home / "many.csv").write_text("n\n" + "row\n" * 123 + "sought\n" + "row\n" * 376)
    (home / ".visidatarc").write_text(
        "draw = TableSheet.draw\n"
        "def drawn(sheet, *args):\n sheet.cursorRowIndex, vd.found = vd.found or sheet.cursorRowIndex, 0\n draw(sheet, *args)\n"
        "vd.found, TableSheet.draw = 0, drawn\n"
        "def find(sheet):\n vd.found = int(vd.input('which one? '))\n"
        "BaseSheet.find = find\nBaseSheet.addCommand('zU', 'find', 'find()')\n"
    )
    async with start(folder, home, "many.csv") as agent:
        client = await agent.client()
        await client.see("row", "500 rows")
        await client.type("zU")
        await client.see("which one?")
        await client.type("123456\x7f\x7f\x7f\r")
        await client.see("sought")


class Screen:
    """What a client's terminal shows. VisiData sends what changed alone, so that text comes in pieces."""

    def __init__(self, client: Client, columns: int, rows: int) -> None:
        self.client = client
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)

    async def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        self.screen.erase_in_display(2)  # So that what it shows then is what has come since.
        await self.client.resize(columns, rows)

    async def shows(self, *texts: str, lines: slice = slice(None)) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not all(any(text in line for line in self.screen.display[lines]) for text in texts):
                    await self.client.receive()
                    seen, self.client.seen = self.client.seen, b""
                    self.stream.feed(seen)
        except TimeoutError as error:
            raise AssertionError(f"looked in vain for {texts} on:\n" + "\n".join(self.screen.display)) from error


# Down, narrow and high again, and by one line.
SHRINKING = [(70, 12), (40, 8), (44, 20), (44, 19)]


async def test_a_prompt_shows_in_a_window_one_row_high(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client(size=(80, 1))
        await client.see("Köln")
        await client.type("/")
        await client.see("search regex")
        await client.type("東京")
        await client.see("東京")


@pytest.mark.parametrize("key", ["/", "e", "^"])
async def test_what_is_typed_stays_when_the_window_shrinks(folder: Path, home: Path, key: str) -> None:
    """As it does when a phone's keyboard opens or a window is tiled. What is asked for stays in sight too."""
    (home / "many.csv").write_text("n" * 25 + "\n" + "a row of some width\n" * 60)
    async with start(folder, home, "many.csv") as agent:
        client = await agent.client(size=(100, 40))
        screen = Screen(client, 100, 40)
        await screen.shows("some width", "60 rows")
        await client.type("j" * 30 + key)
        await client.type("yes and more")
        asked = "search regex: " if key == "/" else ""
        await screen.shows(f"{asked}yes and more_")
        for size in SHRINKING:
            await screen.resize(*size)
            await screen.shows(f"{asked}yes and more_")
            if key == "e":
                assert "yes and more_" not in screen.screen.display[-1], "The status line stays free."
        await client.type("?\r")
        await screen.shows("0 matches", "/yes") if key == "/" else await screen.shows("yes and more? ")


async def test_a_cell_that_is_edited_comes_into_sight_when_the_window_narrows(folder: Path, home: Path) -> None:
    (home / "wide.csv").write_text("a,b,c\n" + ",".join(["some words and more"] * 3) + "\n")
    async with start(folder, home, "wide.csv") as agent:
        client = await agent.client(size=(100, 20))
        screen = Screen(client, 100, 20)
        await screen.shows("1 rows")
        await client.type("lleabc")
        await screen.shows("abc_")
        await screen.resize(30, 20)
        await screen.shows("abc_")
        await client.type("d\r")
        await screen.resize(100, 20)
        await screen.shows("abcd ")


async def test_the_first_key_still_replaces_after_the_window_has_changed(folder: Path, home: Path) -> None:
    """Else an edit of 3750 by 7 would be 73750."""
    (home / "many.csv").write_text("number\n" + "3750\n" * 60)
    async with start(folder, home, "many.csv") as agent:
        client = await agent.client(size=(80, 40))
        screen = Screen(client, 80, 40)
        await screen.shows("60 rows")
        await client.type("j" * 30 + "e")
        await screen.shows("3750_")
        for size in [*SHRINKING, (80, 40)]:
            await screen.resize(*size)
            await screen.shows("3750_")
        await client.type("7\r")
        await screen.shows(" 7 ")
        await screen.shows("60 rows", lines=slice(-1, None))  # The sheet fills the window again.


async def test_quitting_asks_first(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("gq")
        await client.see("exit VisiData")
        await client.type("n")
        await client.type("F")
        await client.see("percent")
        await client.type("gq")
        await client.see("exit VisiData")
        await client.type("y")
        await client.closed()
        ending = await agent.ending()
        assert (ending["reason"], ending["code"]) == ("quit", 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("this is no Python", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("options.debug = True; 1/0", "ZeroDivisionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("VisiData.draw_all = None", "was not loaded: VisiData ended with it"),  # The first screen cannot be drawn.
    ],
)
async def test_broken_settings_of_the_persons_do_not_keep_it_from_starting(
    folder: Path, home: Path, settings: str, said: str
) -> None:
    (home / ".visidatarc").write_text(settings)
    async with start(folder, home, "cities.csv") as agent:
        await (await agent.client()).see("Köln", said)


@pytest.mark.parametrize("file", [".visidatarc", ".config/visidata/config.py", ".config/visidata/plugins/__init__.py"])
async def test_settings_that_end_visidata_are_left_out_of_the_next_start_until_they_change(
    folder: Path, home: Path, file: str
) -> None:
    settings = home / file
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("import os; os._exit(3)\n")
    async with start(folder, home, "cities.csv") as agent:
        assert (await agent.ending())["code"] == 3
    for said, number in (("was not loaded: VisiData ended with it", 1), ("was not loaded", 2), ("mine again", 3)):
        if number == 3:
            settings.write_text("from visidata import vd; vd.status('mine again')\n")
        (again := folder / str(number)).mkdir()
        async with start(again, home, "cities.csv") as agent:
            await (await agent.client()).see("Köln", said)


async def test_plugins_are_loaded_and_a_session_that_is_stopped_at_once_does_not_count(
    folder: Path, home: Path
) -> None:
    plugins = home / ".config/visidata/plugins"
    plugins.mkdir(parents=True)
    (plugins / "__init__.py").write_text("from visidata import vd; vd.status('a plugin of mine')\n")
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln", "a plugin of mine")
        await client.type("gqy")
        assert (await agent.ending())["reason"] == "quit"
    assert not list((home / ".cache/visidata-hub").glob("trial-*"))
    (again := folder / "again").mkdir()
    async with start(again, home, "cities.csv") as agent:
        await (await agent.client()).see("Köln", "a plugin of mine")
        await agent.stop()
        assert (await agent.ending())["reason"] == "stopped"
    assert not list((home / ".cache/visidata-hub").glob("trial-*"))


@pytest.mark.parametrize("file", [".visidatarc", ".config/visidata/config.py"])
async def test_the_persons_settings_win_and_are_theirs_to_edit(folder: Path, home: Path, file: str) -> None:
    settings = home / file
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("options.quitguard = False  # mine\n")
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        await client.type("gO")
        await client.see("# mine")
        await client.type("gq")
        await client.closed()
        assert (await agent.ending())["reason"] == "quit"


async def test_it_calls_nobody_and_has_a_place_for_what_it_keeps(folder: Path, home: Path) -> None:
    (home / ".visidatarc").write_text("vd.status(f'asks <{vd.options.motd_url}>')")
    async with start(folder, home, "cities.csv") as agent:
        await (await agent.client()).see("Köln", "asks <>")
        assert (home / ".config/visidata").is_dir()
        assert (home / ".local/share/visidata").is_dir()


def test_the_environment_is_whole_and_nothing_of_ours() -> None:
    variables = visidata.environment("/home/somebody")
    assert variables["HOME"] == "/home/somebody"
    assert variables["TERM"] == "xterm-256color"
    assert variables["LANG"] == "C.UTF-8"
    assert variables.keys() <= {"HOME", "PATH", "TERM", "COLORTERM", "LANG", "EDITOR", "SHELL"}


async def test_a_changed_table_of_a_database_is_saved_to_it(folder: Path, home: Path) -> None:
    shutil.copy(CASES / "odd-tables.sqlite", home / "odd.sqlite")
    async with start(folder, home, "odd.sqlite") as agent:
        client = await agent.client()
        await client.see("plain", "5 tables")  # Later names may be cut to the width of the first.
        await client.type("\r")
        await client.see("not a day")
        await client.type("l" + "enew\r")
        await client.see("set 1 cells")
        await client.type("z\x13")
        await client.see("really change 1 values?")
        await client.type("y")

        def saved() -> bool:
            with contextlib.closing(sqlite3.connect(home / "odd.sqlite")) as database:
                return database.execute("SELECT t, d FROM plain WHERE id < 3").fetchall() == [
                    ("new", "2024-02-29"),
                    (None, "not a day"),
                ]

        await until(saved, "the change is in the database")
