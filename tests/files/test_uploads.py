"""Uploads: sets keep together, look-alikes are told apart, homes have a limit, and what runs is never swept."""

from __future__ import annotations

import asyncio
import errno
import os
import time
import unicodedata
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.aio import cancel_and_wait
from app.errors import Conflict, LimitReached, NotFound, TooLarge, Unavailable
from app.files.disk import translated
from app.files.homes import MAX_TRANSFERS, Homes
from app.files.uploads import Stored

ANN = "5e0b1d9e-7a4c-4c41-9a55-0c9f6f3b7a10"
SET = ["x.sqlite", "x.sqlite-wal", "x.sqlite-shm"]


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    return Homes(tmp_path / "homes", 4 << 20)


@pytest.fixture
def home(homes: Homes) -> Path:
    return homes.ensure(ANN)


async def sent(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def upload_set(homes: Homes, names: list[str], content: bytes) -> list[Stored]:
    """As a page does: one request for each, which says what belongs together."""
    stored: list[Stored] = []
    for name in names:
        number = stored[0].number if stored else None
        stored.append(await homes.write(ANN, name, sent(content), keep_both=True, together=names, number=number))
    return stored


async def keep(homes: Homes, name: str) -> Stored:
    return await homes.write(ANN, name, sent(b"x"), keep_both=True)


# Sets


async def test_a_second_upload_of_a_database_and_its_log_is_renamed_as_a_set(homes: Homes, home: Path) -> None:
    for count in range(1, 4):
        stored = await upload_set(homes, SET, b"%d" % count)
        stem = f"x-{count}" if count > 1 else "x"
        assert [one.name for one in stored] == [f"{stem}.sqlite", f"{stem}.sqlite-wal", f"{stem}.sqlite-shm"]
        assert all((home / one.name).read_bytes() == b"%d" % count for one in stored)


@pytest.mark.parametrize("taken", SET)
async def test_a_set_of_which_one_name_is_taken_is_renamed_whole(homes: Homes, home: Path, taken: str) -> None:
    (home / taken).write_text("old")
    stored = await upload_set(homes, SET, b"new")
    assert [one.name for one in stored] == ["x-2.sqlite", "x-2.sqlite-wal", "x-2.sqlite-shm"]
    assert (home / taken).read_text() == "old"


async def test_two_who_upload_a_set_at_once_each_get_a_set_of_their_own(homes: Homes, home: Path) -> None:
    contents = [b"%d" % number for number in range(6)]
    results = await asyncio.gather(*(upload_set(homes, SET, content) for content in contents))
    for stored, content in zip(results, contents, strict=True):
        assert len({one.number for one in stored}) == 1
        assert [(home / one.name).read_bytes() for one in stored] == [content] * 3
    assert len(list(home.iterdir())) == 18


async def test_files_of_one_batch_are_placed_in_their_sets(homes: Homes, home: Path) -> None:
    for name in ("x.sqlite", "b.csv"):
        (home / name).write_text("old")
    async with homes.batch(ANN, "") as batch:
        for name in ("x.sqlite-wal", "b.csv", "x.sqlite", "c.csv"):
            await homes.add(batch, name, sent(name.encode()))
        stored = await homes.place(batch, batch.place)
    assert [one.name for one in stored] == ["x-2.sqlite-wal", "b-2.csv", "x-2.sqlite", "c.csv"]
    assert (home / "x-2.sqlite-wal").read_text() == "x.sqlite-wal"


async def test_a_log_alone_never_attaches_itself_to_an_older_database(homes: Homes, home: Path) -> None:
    (home / "x.sqlite").write_text("older")
    stored = await keep(homes, "x.sqlite-wal")
    assert stored.name == "x-2.sqlite-wal"
    assert "does not change “x.sqlite”" in stored.note
    assert "upload both at once" in stored.note
    # Nor does a database that comes alone find the log of another one.
    assert (await keep(homes, "x.sqlite")).name == "x-3.sqlite"
    (home / "y.db-wal").write_text("left over")
    second = await keep(homes, "y.db")
    assert (second.name, second.note) == ("y-2.db", "")


async def test_a_number_that_was_taken_meanwhile_is_said_and_tears_nothing(homes: Homes, home: Path) -> None:
    (first,) = await upload_set(homes, SET[:1], b"x")
    (home / SET[1]).write_text("a session's")
    with pytest.raises(Conflict, match="already something"):
        await homes.write(ANN, SET[1], sent(b"x"), keep_both=True, together=SET, number=first.number)
    assert (home / SET[1]).read_text() == "a session's"


async def test_the_thousandth_upload_of_one_name_is_as_quick_as_the_second(homes: Homes, home: Path) -> None:
    for number in range(2, 1500):
        (home / f"x-{number}.csv").touch()
    (home / "x.csv").touch()
    looks = 0
    async with homes.batch(ANN, "") as batch:
        free = batch._is_free

        def counting(whole: list[str], number: int) -> bool:
            nonlocal looks
            looks += 1
            return free(whole, number)

        batch._is_free = counting  # type: ignore[method-assign]
        await homes.add(batch, "x.csv", sent(b"new"))
        (stored,) = await homes.place(batch, batch.place)
    assert stored.name == "x-1500.csv"
    assert looks < 40


# Look-alikes

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "über.csv") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("there", "given"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
async def test_no_upload_makes_a_second_file_that_looks_the_same(
    homes: Homes, home: Path, there: str, given: str
) -> None:
    (home / there).write_text("old")
    for overwrite in (True, False):
        with pytest.raises(Conflict):
            await homes.write(ANN, given, sent(b"new"), overwrite=overwrite)
    stored = await keep(homes, given)
    assert unicodedata.normalize("NFC", stored.name) == "über-2.csv"
    assert (home / there).read_text() == "old"
    # Asked for in the other spelling, it is that file.
    assert b"".join([chunk async for chunk in await homes.read(ANN, given)]) == b"old"
    await homes.delete(ANN, given)
    assert not (home / there).exists()


async def test_of_two_that_look_the_same_the_one_that_was_meant_is_taken(homes: Homes, home: Path) -> None:
    for name in (COMPOSED, DECOMPOSED, "other.csv"):
        (home / name).write_text(ascii(name))
    listing = await homes.list(ANN)
    assert listing.twins == {COMPOSED, DECOMPOSED}
    for entry in listing:
        content = b"".join([chunk async for chunk in await homes.read(ANN, entry.path)])
        assert content.decode() == ascii(entry.name)
    await homes.delete(ANN, DECOMPOSED)
    assert (home / COMPOSED).exists()
    (home / unicodedata.normalize("NFD", "größe")).mkdir()
    assert (await homes.write(ANN, "größe/x.csv", sent(b"x"))).size == 1


# Listings


async def test_a_listing_is_cut_without_reading_the_whole_folder_and_says_so(homes: Homes, home: Path) -> None:
    for number in range(30):
        (home / f"{number}.csv").touch()
    listing = await homes.list(ANN, most=10)
    assert (len(listing), listing.cut) == (10, True)
    listing = await homes.list(ANN, most=30)
    assert (len(listing), listing.cut) == (30, False)


async def test_hidden_files_are_counted_where_they_are_left_out(homes: Homes, home: Path) -> None:
    for name in (".visidatarc", ".config", "x.csv"):
        (home / name).touch()
    assert ((await homes.list(ANN)).hidden, (await homes.list(ANN, hidden=True)).hidden) == (2, 0)


# A home's limit


async def test_a_home_that_is_full_takes_no_upload_until_something_is_deleted(tmp_path: Path) -> None:
    homes = Homes(tmp_path / "homes", 1000, max_home=1000)
    home = homes.ensure(ANN)
    (home / "deep" / "er").mkdir(parents=True)
    (home / "deep" / "er" / "x.csv").write_bytes(b"x" * 600)
    with pytest.raises(TooLarge, match=r"1.0 kB in all, and 400 B of that is left"):
        await homes.write(ANN, "a.csv", sent(b"x"), expected_size=401)
    with pytest.raises(TooLarge, match="is left"):
        await homes.write(ANN, "a.csv", sent(b"x" * 300, b"x" * 101))
    await homes.write(ANN, "a.csv", sent(b"x" * 300))
    with pytest.raises(TooLarge, match="100 B of that is left"):
        await homes.write(ANN, "b.csv", sent(b"x" * 101))
    await homes.write(ANN, "a.csv", sent(b"y" * 100), overwrite=True)  # Replaces 300 bytes.
    await homes.write(ANN, "c.csv", sent(b"x" * 300))
    await homes.delete(ANN, "c.csv")
    await homes.write(ANN, "a.csv", sent(b"x" * 300), overwrite=True)
    await homes.delete(ANN, "deep", recursive=True)
    await homes.write(ANN, "b.csv", sent(b"x" * 700))
    assert sorted(path.name for path in home.iterdir()) == ["a.csv", "b.csv"]


async def test_uploads_at_the_same_time_share_the_room_that_is_left(tmp_path: Path) -> None:
    homes = Homes(tmp_path / "homes", 1000, max_home=1000)
    first, second = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 600
        first.set()
        await second.wait()

    uploading = asyncio.create_task(homes.write(ANN, "a.csv", slow()))
    await first.wait()
    with pytest.raises(TooLarge):
        await homes.write(ANN, "b.csv", sent(b"x" * 500))
    await homes.write(ANN, "b.csv", sent(b"x" * 400))
    await cancel_and_wait(uploading)
    await homes.write(ANN, "c.csv", sent(b"x" * 600))
    assert homes.usage._coming == {}


async def test_one_person_cannot_hold_all_descriptors_with_transfers_that_do_not_end(homes: Homes, home: Path) -> None:
    (home / "x.csv").write_text("x")
    open_ones = [await homes.read(ANN, "x.csv") for _ in range(MAX_TRANSFERS)]
    with pytest.raises(LimitReached):
        await homes.read(ANN, "x.csv")
    with pytest.raises(LimitReached):
        await keep(homes, "y.csv")
    await homes.write("9c7c6f0a-2c55-4f0d-8a64-5a1d8d7b7f22", "y.csv", sent(b"another person's"))
    for download in open_ones:
        await download.aclose()
        await download.aclose()
    with pytest.raises(NotFound):
        await homes.read(ANN, "gone.csv")
    await keep(homes, "y.csv")
    assert not homes._transfers


# Sweeping


async def test_an_upload_that_is_still_running_is_never_swept_however_long_it_takes(homes: Homes, home: Path) -> None:
    sending, may_end = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"begun, "
        sending.set()
        await may_end.wait()
        yield b"done"

    uploading = asyncio.create_task(homes.write(ANN, "x.csv", slow()))
    await sending.wait()
    (hidden,) = home.iterdir()
    dead = home / ".hub-upload-dead"
    dead.touch()
    for path in (hidden, dead):
        os.utime(path, (time.time() - 10**6,) * 2)
    await Homes(homes.root, 1).sweep()  # Another replica's.
    assert list(home.iterdir()) == [hidden]
    may_end.set()
    await uploading
    assert (home / "x.csv").read_text() == "begun, done"
    await homes.sweep(timedelta(0))
    assert [path.name for path in home.iterdir()] == ["x.csv"]


# A disk that fails


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "read-only"),
        (errno.ESTALE, "does not answer"),
        (errno.ETIMEDOUT, "does not answer"),
        (errno.EMFILE, "too many files open"),
        (errno.ENFILE, "too many files open"),
        (errno.EIO, "Input/output error"),
        (errno.EDQUOT, "no room"),
    ],
)
def test_a_disk_that_fails_is_told_for_what_it_is(number: int, words: str) -> None:
    with pytest.raises(Unavailable, match=words), translated("x.csv"):
        raise OSError(number, os.strerror(number))
