"""Saving in a real VisiData: nothing is lost, whatever happens during a save, and a question names what would be."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import signal
import sqlite3
import subprocess
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pyte
import pytest
from agent_run import PATIENCE, PROJECT, Agent, Client, start_agent, until
from websockets.exceptions import ConnectionClosed

from app.agent import visidata
from app.runtimes.local import sandbox

PYTHON = PROJECT / ".venv-session" / "bin" / "python"
CITIES = "city,people\nKöln,1085664\n東京,13960000\nSão Paulo,12330000\n"
SAVE, COMMIT, TO_START = "\x13", "z\x13", "\x01\x0b"
ROWS = 300_000
# A format that is written in two halves, and a csv whose load stops for a while. Each goes on once there is a file "go".
SLOW = """
import os, time
from visidata import Progress, VisiData, vd
from visidata.loaders.csv import CsvSheet

def wait():
    while not os.path.exists('go'):
        time.sleep(0.01)

@VisiData.api
def save_slow(vd, p, *sheets):
    with p.open(mode='w', encoding='ascii') as file:
        file.write('first half, ')
        file.flush()
        wait()
        file.write('second half')

class SlowSheet(CsvSheet):
    def iterload(self):
        for number, row in enumerate(super().iterload()):
            if number == 11:
                wait()
            yield row

@VisiData.api
def open_csv(vd, p):
    return SlowSheet(p.base_stem, source=p)
"""


class Screen:
    """What a person sees of a client's terminal."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._screen = pyte.Screen(100, 30)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        """All words, without the frames around them."""
        lines = [re.sub(r"\blq|q{2,}\w?|[▐▌▗▖█▄│║]|\bx | x$", " ", line) for line in self._screen.display]
        return " ".join(" ".join(lines).split())

    async def shows(self, *texts: str) -> str:
        """Wait until all of the texts are on the screen at once."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    self._stream.feed(self.client.seen)
                    self.client.seen = b""
                    if all(text in self.text for text in texts):
                        return self.text
                    await self.client.receive()
        except (TimeoutError, ConnectionClosed) as error:
            raise AssertionError(f"looked in vain for {texts}; on the screen: {self.text}") from error

    async def type(self, keys: str) -> None:
        await self.client.type(keys)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "cities.csv").write_text(CITIES)
    return home


@asynccontextmanager
async def session(
    home: Path, source: str, *options: str, wrapped: tuple[str, ...] = (), run: str = "run"
) -> AsyncIterator[tuple[Agent, Screen]]:
    folder = home.parent / run
    folder.mkdir()
    async with start_agent(
        folder,
        *wrapped,
        *visidata.command(str(PYTHON), source),
        options=("--cwd", str(home), "--grace", "60", *options),
        environment=visidata.environment(str(home)),
    ) as agent:
        yield agent, Screen(await agent.client(size=(100, 30)))


def files(home: Path) -> list[str]:
    """What lies in a home, but for the folders of settings."""
    return sorted(
        path.name for path in home.iterdir() if path.name not in (".cache", ".config", ".local", ".visidatarc")
    )


async def save_as(screen: Screen, name: str) -> None:
    await screen.type(SAVE)
    await screen.shows("save to:")
    await screen.type(f"{TO_START}{name}\r")


def test_every_format_ends_as_the_old_file_or_as_the_new_one(tmp_path: Path) -> None:
    """Interrupted in the middle, on a full disk, or refused by the format: the old file, nothing beside it, and the sheet
    still counts as modified."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    script = PROJECT / "tests/agent/save_formats.py"
    subprocess.run(
        [PYTHON, "-P", script, visidata.CONFIG, tmp_path / "results"],
        cwd=tmp_path / "work",
        env=visidata.environment(str(tmp_path / "home")),
        capture_output=True,
        check=True,
        timeout=80,
    )
    results = json.loads((tmp_path / "results").read_text())
    kept = {"failed": True, "old": True, "modified": True, "beside": []}
    saved = {"failed": False, "old": False, "modified": False, "beside": []}
    wrong = {
        (filetype, way): result
        for filetype, ways in results.items()
        for way, result in ways.items()
        if result != kept and (way == "interrupted" or result != saved)
    }
    assert not wrong
    for filetype in ("csv", "tsv", "jsonl", "json", "sqlite", "xlsx", "zip", "npy", "html", "vds", "dta", "md"):
        assert results[filetype]["whole"] == saved, filetype
        assert results[filetype]["full"] == kept or filetype in ("xlsx",), filetype


def batch(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*visidata.command(str(PYTHON), None), "-b", *arguments]
    environment = visidata.environment(str(home))
    return subprocess.run(command, cwd=home, env=environment, check=False, capture_output=True, text=True, timeout=60)


def test_a_batch_saves_in_the_same_way(home: Path) -> None:
    """Compressed, as one file for each sheet, through a link, and over itself; a failure is one for the shell too."""
    (home / "link.csv").symlink_to("cities.csv")
    (home / "cities.csv").chmod(0o640)
    assert batch(home, "cities.csv", "-o", "out.csv.gz").returncode == 0
    assert gzip.decompress((home / "out.csv.gz").read_bytes()).decode() == CITIES.replace("\n", "\r\n")
    assert batch(home, "cities.csv", "-o", "folder/").returncode == 0
    assert (home / "folder/cities.tsv").read_text() == CITIES.replace(",", "\t")
    assert batch(home, "cities.csv", "-o", "link.csv").returncode == 0
    assert (home / "link.csv").is_symlink()
    assert (home / "cities.csv").read_text() == CITIES
    assert (home / "cities.csv").stat().st_mode & 0o777 == 0o640
    failed = batch(home, "cities.csv", "-o", "cities.csv", "--save-encoding", "latin-1")
    assert failed.returncode
    assert "cities.csv was not saved; it is as it was" in failed.stderr
    assert (home / "cities.csv").read_text() == CITIES
    assert files(home) == ["cities.csv", "folder", "link.csv", "out.csv.gz"]


async def test_a_save_that_fails_keeps_the_file_and_what_was_changed(home: Path) -> None:
    (home / ".visidatarc").write_text("options.save_encoding = 'latin-1'\n")
    async with session(home, "cities.csv") as (_, screen):
        await screen.shows("Köln")
        await screen.type("eWien\r")
        await screen.shows("Wien", "[M]")
        await screen.type(f"{SAVE}\r")
        await screen.shows("cities.csv exists. overwrite?")
        await screen.type("y")
        await screen.shows("cities.csv was not saved; it is as it was", "can't encode", "[M]")
        assert (home / "cities.csv").read_text() == CITIES
        assert files(home) == ["cities.csv"]
        await screen.type("gq")
        await screen.shows("1 sheet(s) modified")


async def test_prompts_work_where_what_is_typed_cannot_be_kept(home: Path) -> None:
    """As on a full or read-only disk: the way out is to save elsewhere."""
    folder = home / ".local/share/visidata"
    folder.mkdir(parents=True)
    (folder / "input_history.jsonl").symlink_to("nowhere/at-all")
    async with session(home, "cities.csv") as (_, screen):
        await screen.shows("Köln")
        await screen.type("eWien\r")
        await screen.shows("Wien", "[M]")
        await save_as(screen, "../elsewhere.csv")
        await screen.shows("saved ../elsewhere.csv")
    assert "Wien" in (home.parent / "elsewhere.csv").read_text()


async def test_who_saves_second_is_asked_first(home: Path) -> None:
    """Also by the commands that ask nothing else."""
    async with session(home, "cities.csv") as (_, first), session(home, "cities.csv", run="run-2") as (_, second):
        await first.shows("Köln", "3 rows")
        await second.shows("Köln", "3 rows")
        await first.type("eWien\r")
        await first.shows("Wien", "[M]")
        await first.type(f"{SAVE}\r")
        await first.shows("cities.csv exists. overwrite?")
        await first.type("y")
        await first.shows("saved cities.csv")
        of_first = (home / "cities.csv").read_text()
        assert "Wien" in of_first
        await second.type("eBonn\r")
        await second.shows("Bonn", "[M]")
        for command in (f"{SAVE}\r", " save-sheet-really\r", " save-source\r"):
            await second.type(command)
            await second.shows("has changed since it was read at", "overwrite cities.csv all the same?")
            await second.type("n")
            await second.shows("not saved")
            assert (home / "cities.csv").read_text() == of_first
        await first.type("eGraz\r")
        await first.shows("Graz", "[M]")
        await first.type(" save-sheet-really\r")  # It knows the file as it is: its own.
        await until(lambda: "Graz" in (home / "cities.csv").read_text(), "the first saves again")


async def test_the_first_screen_of_a_workbook_or_an_archive_never_takes_its_place(home: Path) -> None:
    make = (
        "import openpyxl, zipfile\n"
        "book = openpyxl.Workbook()\n"
        "for name in ('two', 'three'): book.create_sheet(name).append([name])\n"
        "book.save('book.xlsx')\n"
        "zipfile.ZipFile('files.zip', 'w').write('cities.csv')\n"
    )
    await asyncio.to_thread(subprocess.run, [PYTHON, "-c", make], cwd=home, check=True)
    for name, row in (("book.xlsx", "three"), ("files.zip", "cities.csv")):
        before = (home / name).read_bytes()
        async with session(home, name, run=name) as (_, screen):
            await screen.shows(row)
            await screen.type(SAVE)
            await screen.shows(f"save to: {name.split('.')[0]}-list.tsv")
            await screen.type(f"{TO_START}{name}\r")
            await screen.shows(f"{name} is not replaced")
            await screen.type(" save-source\r")
            await screen.shows(f"{name} is not replaced")
            if name == "book.xlsx":
                await screen.type("\r")
                await screen.shows("2›book_Sheet")
                await save_as(screen, name)
                await screen.shows("2 other sheets of book.xlsx would be lost: two, three")
                await screen.type("n")
                await screen.shows("not saved")
        assert (home / name).read_bytes() == before


async def test_a_file_that_could_not_be_opened_is_never_replaced_by_nothing(home: Path) -> None:
    before = (Path(__file__).with_name("cases") / "encrypted.xlsx").read_bytes()
    (home / "secret.xlsx").write_bytes(before)
    async with session(home, "secret.xlsx", run="secret") as (_, screen):
        await screen.shows("encrypted")
        await save_as(screen, "secret.xlsx")
        await screen.shows("secret.xlsx is not replaced")
    assert (home / "secret.xlsx").read_bytes() == before


async def test_a_file_is_taken_out_of_an_archive_whole_or_not_at_all(home: Path) -> None:
    with zipfile.ZipFile(home / "files.zip", "w") as archive:
        archive.writestr("good.csv", "new")
        archive.writestr("../bad.csv", "new" * 100)
    packed = (home / "files.zip").read_bytes()
    (home / "files.zip").write_bytes(packed.replace(b"newnew", b"nawnew", 1))  # Its checksum is wrong now.
    for name in ("good.csv", "bad.csv"):
        (home / name).write_text("old")
    async with session(home, "files.zip") as (_, screen):
        await screen.shows("good.csv")
        await screen.type("gsgx")
        for _ in range(2):
            await screen.shows("exists. overwrite?")
            await screen.type("y")
        await screen.shows("Bad CRC-32")
        await until(lambda: (home / "good.csv").read_text() == "new", "the good one is replaced")
    assert (home / "bad.csv").read_text() == "old"
    assert files(home) == ["bad.csv", "cities.csv", "files.zip", "good.csv"]


async def test_some_rows_of_a_file_do_not_replace_it_unasked(home: Path) -> None:
    async with session(home, "cities.csv") as (_, screen):
        await screen.shows("Köln", "3 rows")
        await screen.type('s"')
        await screen.shows("cities_selectedref")
        await screen.type(f"{SAVE}\r")
        await screen.shows("2 rows of cities.csv would be lost")
        await screen.type("n")
        await screen.shows("not saved")
        await screen.type("q-")
        await screen.shows("1›cities|")
        await save_as(screen, "cities.csv")
        await screen.shows("1 column would be lost: city")
        await screen.type("y")
        await screen.shows("saved cities.csv")
        await save_as(screen, "cities.csv")
        await screen.shows("cities.csv exists. overwrite?")  # The file has no such column any more.
        await screen.type("n")
        await screen.shows("not saved")
        assert "[M]" not in screen.text
        await screen.type("U")
        await screen.shows("hide-col undone", "city", "[M]")  # The column is back here, and not in the file.


async def test_a_save_during_a_load_waits_for_it_or_says_what_is_missing(home: Path) -> None:
    (home / ".visidatarc").write_text(SLOW)
    text = "n\n" + "".join(f"{number}\n" for number in range(100))
    (home / "big.csv").write_text(text)
    async with session(home, "big.csv") as (_, screen):
        await screen.shows("10 rows")
        await screen.type(f"{SAVE}\r")
        await screen.shows("big is still loading: 10 of about 100 rows so far", "all", "part", "no")
        await screen.type("p")
        await screen.shows("about 90 rows of big are not loaded", "still loading overwrite big.csv all the same?")
        await screen.type("n")
        await screen.shows("not saved")
        await screen.type(f"{SAVE}\r")
        await screen.shows("save once all is loaded, or only this part?")
        await screen.type("a")
        await screen.shows("big.csv exists. overwrite?")
        await screen.type("y")
        await screen.shows("saving 1 sheet to")
        (home / "go").touch()
        await screen.shows("saved big.csv", "100 rows")
        assert (home / "big.csv").read_bytes() == text.replace("\n", "\r\n").encode()
        (home / "go").unlink()
        await screen.type("\x12")  # Reload.
        await screen.shows("10 rows")
        await screen.type(f"{SAVE}\r")
        await screen.shows("only this part?")
        await screen.type("p")
        await screen.shows("overwrite big.csv all the same?")
        await screen.type("y")
        await screen.shows("saved big.csv")
        assert (home / "big.csv").read_text().count("\n") == 11
        (home / "go").touch()
        await screen.shows("100 rows")  # It goes on reading the file that it has opened.
    assert files(home) == ["big.csv", "cities.csv", "go"]


async def test_a_save_after_an_interrupted_load_names_what_is_missing(home: Path) -> None:
    (home / ".visidatarc").write_text(SLOW)
    text = "n\n" + "".join(f"{number}\n" for number in range(100))
    (home / "big.csv").write_text(text)
    async with session(home, "big.csv") as (_, screen):
        await screen.shows("10 rows")
        await screen.type("\x03")
        await screen.shows("aborted")
        for name, question in (
            ("big.csv", "overwrite big.csv all the same?"),
            ("new.csv", "save new.csv without them?"),
        ):
            await save_as(screen, name)
            await screen.shows("about 90 rows of big are not loaded", question)
            await screen.type("n")
            await screen.shows("not saved")
    assert (home / "big.csv").read_text() == text
    assert "new.csv" not in files(home)


async def test_a_sample_is_saved_in_the_home(home: Path, tmp_path: Path) -> None:
    bwrap = sandbox.usable()
    assert bwrap, "bubblewrap cannot be used here; `make test` installs it"
    samples = tmp_path / "samples"
    samples.mkdir()
    (samples / "sample.csv").write_text(CITIES)
    read_only = (*bwrap, "--dev-bind", "/", "/", "--ro-bind", str(samples), str(samples))
    async with session(home, f"{samples}/sample.csv", wrapped=read_only) as (_, screen):
        await screen.shows("Köln")
        await screen.type("eWien\r")
        await screen.shows("Wien", "[M]")
        await save_as(screen, f"{samples}/sample.csv")
        await screen.shows("exists. overwrite?")
        await screen.type("y")
        await screen.shows("Read-only file system", "was not saved", "[M]")
        await screen.type(SAVE)
        await screen.shows("save to: sample.csv")
        await screen.type("\r")
        await screen.shows("saved sample.csv")
        assert "[M]" not in screen.text
    assert "Wien" in (home / "sample.csv").read_text()
    assert (samples / "sample.csv").read_text() == CITIES


async def test_a_sheet_is_added_to_a_database(home: Path) -> None:
    with closing(sqlite3.connect(home / "a.sqlite")) as database:
        database.execute("CREATE TABLE t (a TEXT)")
        database.commit()
    async with session(home, "cities.csv") as (_, screen):
        await screen.shows("3 rows")
        for _ in range(2):
            await save_as(screen, "a.sqlite")
            await screen.shows("add to the database a.sqlite?")
            await screen.type("y")
            await screen.shows("saved a.sqlite")
            await screen.type("jk")  # The message goes.
        await save_as(screen, "a.sqlite")
        await screen.shows("rows would be added to what is in the table cities")
    with closing(sqlite3.connect(home / "a.sqlite")) as database:
        assert save_tables(database) == {"t", "cities"}
        assert database.execute("SELECT count(*) FROM cities").fetchone() == (6,)
    assert files(home) == ["a.sqlite", "cities.csv"]


def save_tables(database: sqlite3.Connection) -> set[str]:
    return {name for (name,) in database.execute("SELECT name FROM sqlite_master")}


async def test_changes_of_a_database_that_is_locked_are_kept(home: Path) -> None:
    (home / ".visidatarc").write_text("vd.option('sqlite_connect_timeout', 0.1, 'seconds to wait for a lock')\n")
    with closing(sqlite3.connect(home / "a.sqlite")) as database:
        database.execute("CREATE TABLE t (a TEXT)")
        database.execute("INSERT INTO t VALUES ('old')")
        database.commit()
        async with session(home, "a.sqlite") as (_, screen):
            await screen.shows("1 tables")
            await screen.type("\r")
            await screen.shows("old")
            await screen.type("enew\r")
            await screen.shows("new", "[M]")
            database.execute("BEGIN IMMEDIATE")
            await screen.type(COMMIT)
            await screen.shows("really change 1 values?")
            await screen.type("y")
            await screen.shows("locked", "[M]")
            database.rollback()
            await screen.type(COMMIT)
            await screen.shows("really change 1 values?")
            await screen.type("y")
            await until(lambda: database.execute("SELECT a FROM t").fetchall() == [("new",)], "the change is saved")


async def test_a_save_can_be_interrupted_and_quitting_waits_for_it(home: Path) -> None:
    (home / ".visidatarc").write_text(SLOW)
    (home / "go").touch()
    (home / "out.slow").write_text("old")
    async with session(home, "cities.csv") as (agent, screen):
        await screen.shows("3 rows")
        (home / "go").unlink()
        await save_as(screen, "out.slow")
        await screen.shows("out.slow exists. overwrite?")
        await screen.type("y")
        await screen.shows("saving 1 sheet to")
        await screen.type("\x03")
        await screen.shows("out.slow was not saved; it is as it was", "save_slow aborted")
        assert (home / "out.slow").read_text() == "old"
        assert files(home) == ["cities.csv", "out.slow"]
        await save_as(screen, "out.slow")
        await screen.shows("out.slow exists. overwrite?")
        await screen.type("y")
        await screen.shows("saving 1 sheet to")
        await screen.type("gq")
        await screen.shows("quit once out.slow is saved?")
        await screen.type("y")
        await screen.shows("waiting for the save")
        await screen.type("\x03")
        await screen.shows("not quit; the save continues")
        await screen.type("gq")
        await screen.shows("quit once out.slow is saved?")
        await screen.type("y")
        await screen.shows("waiting for the save")
        (home / "go").touch()
        await screen.shows("exit VisiData (nothing modified)")
        assert (home / "out.slow").read_text() == "first half, second half"
        await screen.type("y")
        assert (await agent.ending())["reason"] == "quit"


@pytest.mark.parametrize("patient", [True, False])
async def test_a_stop_waits_for_a_save_and_no_longer_than_its_grace(home: Path, patient: bool) -> None:
    (home / ".visidatarc").write_text(SLOW)
    (home / "go").touch()
    (home / "out.slow").write_text("old")
    async with session(home, "cities.csv", *(() if patient else ("--grace", "2"))) as (agent, screen):
        await screen.shows("3 rows")
        (home / "go").unlink()
        await save_as(screen, "out.slow")
        await screen.shows("out.slow exists. overwrite?")
        await screen.type("y")
        await until(lambda: any("hub-save" in name for name in files(home)), "the save has begun")
        await agent.stop()
        await screen.shows("this session stops as soon as out.slow is saved")
        if patient:
            (home / "go").touch()
        ending = await agent.ending()
    assert (ending["reason"], ending["signal"]) == ("stopped", signal.SIGHUP)
    given_up = "The save of out.slow took too long and was given up: the file is as it was before."
    assert ending["detail"] == ("" if patient else given_up)
    assert (home / "out.slow").read_text() == ("first half, second half" if patient else "old")
    assert [name for name in files(home) if name != "go"] == ["cities.csv", "out.slow"]


@pytest.mark.parametrize("part", [0, 0.6])
async def test_all_rows_are_left_whenever_a_session_is_stopped(home: Path, part: float) -> None:
    """300,000 rows saved over themselves; the session is stopped when `part` of them are written."""
    text = "n,text\r\n" + "".join(f"{number},row {number}\r\n" for number in range(ROWS))
    (home / "big.csv").write_bytes(text.encode())
    async with session(home, "big.csv") as (agent, screen):
        await screen.shows(f"{ROWS} rows")
        await screen.type("e9\r")
        await screen.shows("[M]")
        await screen.type(f"{SAVE}\r")
        await screen.shows("big.csv exists. overwrite?")
        await screen.type("y")

        def written() -> bool:
            drafts = [path.stat().st_size for path in home.glob(".hub-save-*") if os.path.lexists(path)]
            return (bool(drafts) and drafts[0] >= part * len(text)) or (home / "big.csv").read_bytes()[8:9] == b"9"

        await until(written, "so much is written")
        await agent.stop()
        await agent.ending()
    assert (home / "big.csv").read_bytes() == text.replace("\r\n0,", "\r\n9,", 1).encode()
    assert files(home) == ["big.csv", "cities.csv"]
