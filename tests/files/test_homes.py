"""People's own files, on a real disk, with people who have a shell in their home and use it against the Hub."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_ISREG
from typing import Any

import pytest

from app.aio import cancel_and_wait
from app.errors import BadInput, Conflict, Forbidden, HubError, NotFound, TooLarge, Unavailable
from app.files.disk import translated, write_all
from app.files.homes import Homes
from app.files.uploads import CHUNK
from app.threads import FILES

ANN = "5e0b1d9e-7a4c-4c41-9a55-0c9f6f3b7a10"
BOB = "9c7c6f0a-2c55-4f0d-8a64-5a1d8d7b7f22"
LIMIT = 4 * 1024 * 1024


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    return Homes(tmp_path / "homes", LIMIT)


@pytest.fixture
def home(homes: Homes) -> Path:
    return homes.ensure(ANN)


async def sent(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(homes: Homes, path: str, user: str = ANN) -> bytes:
    return b"".join([chunk async for chunk in await homes.read(user, path)])


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


# What people do every day.


async def test_what_was_uploaded_comes_back_byte_for_byte(homes: Homes, home: Path) -> None:
    data = os.urandom(2 * CHUNK + 17)
    entry = await homes.write(ANN, "a.bin", sent(data[:5], data[5:CHUNK], data[CHUNK:]), expected_size=len(data))
    assert (entry.name, entry.path, entry.kind, entry.size) == ("a.bin", "a.bin", "file", len(data))
    assert abs(entry.modified - datetime.now(UTC)) < timedelta(minutes=1)
    download = await homes.read(ANN, "a.bin")
    assert (download.name, download.size, download.modified) == ("a.bin", len(data), entry.modified)
    chunks = [chunk async for chunk in download]
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= CHUNK
    assert everything(home) == ["a.bin"]
    (listed,) = await homes.list(ANN)
    assert (listed.name, listed.size, listed.modified) == (entry.name, entry.size, entry.modified)


@pytest.mark.parametrize("chunks", [(), (b"",)])
async def test_an_empty_file_is_a_file(homes: Homes, chunks: tuple[bytes, ...]) -> None:
    assert (await homes.write(ANN, "empty.csv", sent(*chunks), expected_size=0)).size == 0
    assert await content(homes, "empty.csv") == b""
    assert await homes.exists(ANN, "empty.csv")


async def test_names_of_every_script_and_with_spaces_work(homes: Homes, home: Path) -> None:
    (home / "Umfrage 2024").mkdir()
    for path in ("人口.csv", "Umfrage 2024/réponses #1?.csv", "x" * 251 + ".csv", "🐧.csv"):
        entry = await homes.write(ANN, path, sent(b"a"))
        assert entry.path == path
        assert await content(homes, path) == b"a"


async def test_a_folder_is_listed_folders_first_then_by_name(homes: Homes, home: Path) -> None:
    for name in ("b.csv", "A.csv", "c.csv", ".hidden"):
        (home / name).write_text("x")
    for name in ("Zoo", "data", ".config"):
        (home / name).mkdir()
    assert [entry.name for entry in await homes.list(ANN)] == ["data", "Zoo", "A.csv", "b.csv", "c.csv"]
    shown = await homes.list(ANN, hidden=True)
    assert [entry.name for entry in shown] == [".config", "data", "Zoo", ".hidden", "A.csv", "b.csv", "c.csv"]
    (home / "data" / "in.csv").write_text("xyz")
    (inner,) = await homes.list(ANN, "data")
    assert (inner.name, inner.path, inner.size) == ("in.csv", "data/in.csv", 3)


async def test_a_new_person_has_an_empty_home_that_is_theirs_alone(homes: Homes) -> None:
    assert list(await homes.list(ANN)) == []
    assert homes.ensure(ANN).stat().st_mode & 0o777 == 0o700
    assert homes.root.stat().st_mode & 0o777 == 0o700


async def test_two_people_never_see_each_others_files(homes: Homes) -> None:
    await homes.write(ANN, "a.csv", sent(b"ann's"))
    assert list(await homes.list(BOB)) == []
    assert not await homes.exists(BOB, "a.csv")
    for path in (f"../{ANN}/a.csv", f"/{homes.root}/{ANN}/a.csv"):
        with pytest.raises(BadInput):
            await homes.read(BOB, path)


@pytest.mark.parametrize("user_id", ["", "..", "../x", ANN.upper(), ANN.replace("-", ""), "{" + ANN + "}"])
async def test_only_a_user_id_leads_to_a_home(homes: Homes, user_id: str) -> None:
    with pytest.raises(ValueError, match=r"user id|UUID"):
        homes.ensure(user_id)
    with pytest.raises(ValueError, match=r"user id|UUID"):
        await homes.exists(user_id, "a")
    with pytest.raises(ValueError, match=r"user id|UUID"):
        await homes.delete_home(user_id)


async def test_deleting_takes_files_and_empty_folders_and_asks_for_more(homes: Homes, home: Path) -> None:
    (home / "old" / "deep").mkdir(parents=True)
    (home / "old" / ".hidden").write_text("x")
    (home / "a.csv").write_text("x")
    await homes.delete(ANN, "a.csv")
    await homes.delete(ANN, "old/deep")
    with pytest.raises(Conflict, match="not empty"):
        await homes.delete(ANN, "old")
    assert everything(home) == ["old", "old/.hidden"]
    await homes.delete(ANN, "old", recursive=True)
    assert everything(homes.root) == [ANN]
    with pytest.raises(NotFound):
        await homes.delete(ANN, "old", recursive=True)
    with pytest.raises(BadInput):
        await homes.delete(ANN, "", recursive=True)


async def test_a_file_in_a_folder_that_is_not_there_is_refused(homes: Homes, home: Path) -> None:
    (home / "a.csv").write_text("x")
    for path in ("gone/b.csv", "a.csv/b.csv"):
        with pytest.raises(NotFound):
            await homes.write(ANN, path, sent(b"x"))
    with pytest.raises(NotFound):
        await homes.list(ANN, "gone")
    with pytest.raises(NotFound):
        await homes.list(ANN, "a.csv")
    assert everything(home) == ["a.csv"]


async def test_a_folder_is_no_file(homes: Homes, home: Path) -> None:
    (home / "data").mkdir()
    assert not await homes.exists(ANN, "data")
    with pytest.raises(BadInput, match="is a folder"):
        await homes.read(ANN, "data")
    with pytest.raises(Conflict):
        await homes.write(ANN, "data", sent(b"x"), overwrite=True)
    assert (await homes.write(ANN, "data", sent(b"x"), keep_both=True)).path == "data-2"


# A name that is taken.


async def test_a_taken_name_is_refused_before_anything_is_sent(homes: Homes, home: Path) -> None:
    (home / "a.csv").write_text("old")
    asked = False

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal asked
        asked = True
        yield b"new"

    with pytest.raises(Conflict, match=r"a\.csv"):
        await homes.write(ANN, "a.csv", chunks())
    assert not asked
    assert (home / "a.csv").read_text() == "old"


async def test_a_replaced_file_is_whole_for_those_who_read_it(homes: Homes) -> None:
    await homes.write(ANN, "a.csv", sent(b"old" * CHUNK))
    reader = aiter(await homes.read(ANN, "a.csv"))
    read = await anext(reader)
    await homes.write(ANN, "a.csv", sent(b"new"), overwrite=True)
    assert read + b"".join([chunk async for chunk in reader]) == b"old" * CHUNK
    assert await content(homes, "a.csv") == b"new"


async def test_both_files_can_be_kept(homes: Homes, home: Path) -> None:
    (home / "in").mkdir()
    paths = [(await homes.write(ANN, "in/a.csv.gz", sent(b"%d" % n), keep_both=True)).path for n in range(3)]
    assert paths == ["in/a.csv.gz", "in/a-2.csv.gz", "in/a-3.csv.gz"]
    assert [(home / path).read_bytes() for path in paths] == [b"0", b"1", b"2"]


async def at_once(
    homes: Homes, count: int, *, overwrite: bool = False, keep_both: bool = False
) -> list[str | HubError]:
    """Uploads to one name that all have sent everything but their last byte before the first one ends."""
    gate = asyncio.Barrier(count)

    async def upload(letter: bytes) -> str | HubError:
        async def chunks() -> AsyncIterator[bytes]:
            yield letter * CHUNK
            await gate.wait()
            yield letter

        try:
            return (await homes.write(ANN, "a.csv", chunks(), overwrite=overwrite, keep_both=keep_both)).path
        except HubError as error:
            return error

    return await asyncio.gather(*(upload(b"%c" % (97 + number)) for number in range(count)))


async def test_of_two_who_upload_to_one_name_one_istranslated(homes: Homes, home: Path) -> None:
    results = await at_once(homes, 4)
    assert results.count("a.csv") == 1
    assert sum(isinstance(result, Conflict) for result in results) == 3
    winner = b"%c" % (97 + results.index("a.csv"))
    assert (home / "a.csv").read_bytes() == winner * (CHUNK + 1)
    assert everything(home) == ["a.csv"]


async def test_of_two_who_upload_to_one_name_both_can_be_kept(homes: Homes, home: Path) -> None:
    results = await at_once(homes, 4, keep_both=True)
    assert sorted(map(str, results)) == everything(home) == ["a-2.csv", "a-3.csv", "a-4.csv", "a.csv"]
    assert len({(home / str(result)).read_bytes() for result in results}) == 4


async def test_of_two_who_replace_one_file_the_last_wins_whole(homes: Homes, home: Path) -> None:
    assert await at_once(homes, 4, overwrite=True) == ["a.csv"] * 4
    assert (home / "a.csv").read_bytes() in [bytes([letter]) * (CHUNK + 1) for letter in b"abcd"]
    assert everything(home) == ["a.csv"]


# Limits and faults: nothing is left behind.


async def test_a_file_at_the_limit_passes_and_one_byte_more_does_not(homes: Homes, home: Path) -> None:
    assert (await homes.write(ANN, "a.csv", sent(b"x" * LIMIT))).size == LIMIT
    with pytest.raises(TooLarge, match=r"4\.2 MB"):
        await homes.write(ANN, "b.csv", sent(b"x" * LIMIT, b"x"))
    assert everything(home) == ["a.csv"]


async def test_an_endless_upload_ends_at_the_limit(homes: Homes, home: Path) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += CHUNK
            yield b"x" * CHUNK

    with pytest.raises(TooLarge):
        await homes.write(ANN, "a.csv", endless())
    assert taken <= LIMIT + CHUNK
    assert everything(home) == []


async def test_an_announced_size_over_the_limit_is_refused_at_once(homes: Homes, home: Path) -> None:
    never_asked = sent(b"x")
    with pytest.raises(TooLarge):
        await homes.write(ANN, "a.csv", never_asked, expected_size=LIMIT + 1)
    assert await anext(never_asked) == b"x"
    assert everything(home) == []


@pytest.mark.parametrize("announced", [9, 11])
async def test_an_upload_that_broke_off_is_not_kept(homes: Homes, home: Path, announced: int) -> None:
    (home / "a.csv").write_text("old")
    with pytest.raises(BadInput, match=f"10 of {announced}"):
        await homes.write(ANN, "a.csv", sent(b"x" * 10), overwrite=True, expected_size=announced)
    assert (home / "a.csv").read_text() == "old"
    assert everything(home) == ["a.csv"]


async def test_a_client_that_fails_leaves_nothing(homes: Homes, home: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * CHUNK
        raise ConnectionResetError(errno.ECONNRESET, "gone")

    before = open_descriptors()
    with pytest.raises(ConnectionResetError):
        await homes.write(ANN, "a.csv", broken())
    assert everything(home) == []
    assert open_descriptors() == before


async def test_a_cancelled_upload_leaves_nothing(homes: Homes, home: Path) -> None:
    sending = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"x" * CHUNK
        sending.set()
        await asyncio.Event().wait()

    before = open_descriptors()
    upload = asyncio.create_task(homes.write(ANN, "a.csv", stalled()))
    await sending.wait()
    assert [path.name.startswith(".hub-upload-") for path in home.iterdir()] == [True]
    assert list(await homes.list(ANN)) == []
    await cancel_and_wait(upload)
    assert upload.cancelled()
    assert everything(home) == []
    assert open_descriptors() == before


async def test_cancelled_at_any_moment_an_upload_is_whole_or_not_there(homes: Homes, home: Path) -> None:
    before = open_descriptors()
    loop = asyncio.get_running_loop()
    done = 0
    for step in range(40):
        upload = asyncio.create_task(homes.write(ANN, f"{step}.csv", sent(b"x" * CHUNK, b"y" * CHUNK)))
        loop.call_later(step * 0.0002, upload.cancel)
        await asyncio.wait([upload])
        left = everything(home)
        if left:
            assert left == [f"{step}.csv"]
            assert (home / left[0]).stat().st_size == 2 * CHUNK
            (home / left[0]).unlink()
        done += not upload.cancelled()
    assert open_descriptors() == before
    assert done < 40


async def test_a_cancelled_download_closes_its_file(homes: Homes) -> None:
    await homes.write(ANN, "a.csv", sent(b"x" * (4 * CHUNK)))
    before = open_descriptors()
    for step in range(20):
        download = await homes.read(ANN, "a.csv")

        async def drain(chunks: AsyncIterator[bytes]) -> None:
            async for _ in chunks:
                pass
            await asyncio.Event().wait()

        reading = asyncio.create_task(drain(download))
        asyncio.get_running_loop().call_later(step * 0.0001, reading.cancel)
        await asyncio.wait([reading])
        await download.aclose()  # One that was cancelled before its first step was never iterated.
        assert open_descriptors() == before
    assert open_descriptors() == before


async def test_nothing_is_closed_while_a_cancelled_read_or_write_is_still_at_it() -> None:
    started, may_end = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        may_end.wait()

    task = asyncio.create_task(FILES.run(ANN, work))
    await asyncio.to_thread(started.wait)
    try:
        for _ in range(3):  # However often it is cancelled.
            task.cancel()
            await asyncio.wait([task], timeout=0.01)
            assert not task.done()
    finally:
        may_end.set()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_download_that_nobody_reads_to_its_end_can_be_closed(homes: Homes) -> None:
    await homes.write(ANN, "a.csv", sent(b"x" * (4 * CHUNK)))
    before = open_descriptors()
    await (await homes.read(ANN, "a.csv")).aclose()
    download = await homes.read(ANN, "a.csv")
    await anext(download)
    await download.aclose()
    assert open_descriptors() == before


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """The kernel's own limit on this process: it refuses for real."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


async def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing(homes: Homes, home: Path) -> None:
    (home / "a.csv").write_text("old")
    with limited(resource.RLIMIT_FSIZE, CHUNK + CHUNK // 2), pytest.raises(Unavailable, match="no room"):
        await homes.write(ANN, "a.csv", sent(b"x" * CHUNK, b"y" * CHUNK), overwrite=True)
    assert (home / "a.csv").read_text() == "old"
    assert everything(home) == ["a.csv"]


def test_a_full_disk_is_told_in_the_same_words() -> None:
    with open("/dev/full", "wb") as full, pytest.raises(Unavailable, match="no room"), translated("a.csv"):  # noqa: PTH123
        write_all(full.fileno(), b"x")


async def test_a_file_that_shrinks_under_a_download_does_not_look_complete(homes: Homes, home: Path) -> None:
    (home / "a.csv").write_bytes(b"x" * (3 * CHUNK))
    reader = aiter(await homes.read(ANN, "a.csv"))
    await anext(reader)
    os.truncate(home / "a.csv", CHUNK)
    with pytest.raises(Conflict):
        await anext(reader)


async def test_a_file_that_grows_under_a_download_ends_where_it_was_announced(homes: Homes, home: Path) -> None:
    (home / "a.csv").write_bytes(b"x" * CHUNK)
    download = await homes.read(ANN, "a.csv")
    with (home / "a.csv").open("ab") as file:
        file.write(b"more")
    assert b"".join([chunk async for chunk in download]) == b"x" * CHUNK


async def test_what_a_killed_hub_left_is_swept_and_what_goes_on_is_not(homes: Homes, home: Path) -> None:
    long_ago = time.time() - 7200
    for name in (".hub-upload-dead", ".hub-upload-live", "mine.csv"):
        (home / name).write_text("x")
        if name != ".hub-upload-live":
            os.utime(home / name, (long_ago, long_ago))
    for name in (".trash-dead", ".trash-live"):
        (homes.root / name / "0" / "deep").mkdir(parents=True)
        (homes.root / name / "0" / "deep" / "x").write_text("x")
    os.utime(homes.root / ".trash-dead", (long_ago, long_ago))
    (homes.root / BOB).symlink_to(home)
    await homes.sweep()
    assert everything(home) == [".hub-upload-live", "mine.csv"]
    assert sorted(path.name for path in homes.root.iterdir()) == sorted([".trash-live", ANN, BOB])


async def test_sweeping_before_the_first_home_is_fine(homes: Homes) -> None:
    await homes.sweep()
    assert not homes.root.exists()


# A person with a shell in the home.


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "a.csv").write_text("SECRET")
    return folder


async def test_links_are_not_followed_and_not_shown(homes: Homes, home: Path, outside: Path) -> None:
    (home / "out").symlink_to(outside)
    (home / "a.csv").symlink_to(outside / "a.csv")
    (home / "dangling").symlink_to("nowhere")
    assert list(await homes.list(ANN)) == []
    for path in ("a.csv", "out/a.csv", "dangling", "out"):
        assert not await homes.exists(ANN, path)
        with pytest.raises(NotFound):
            await homes.read(ANN, path)
    for attempt in (
        homes.list(ANN, "out"),
        homes.write(ANN, "out/new.csv", sent(b"x")),
        homes.write(ANN, "out/a.csv", sent(b"x"), overwrite=True),
        homes.delete(ANN, "out/a.csv"),
    ):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(Conflict):
        await homes.write(ANN, "dangling", sent(b"x"))
    assert everything(outside) == ["a.csv"]


async def test_replacing_or_deleting_a_link_leaves_what_it_points_to(homes: Homes, home: Path, outside: Path) -> None:
    (home / "a.csv").symlink_to(outside / "a.csv")
    os.link(outside / "a.csv", home / "hard.csv")
    (home / "out").symlink_to(outside)
    await homes.write(ANN, "a.csv", sent(b"mine"), overwrite=True)
    await homes.write(ANN, "hard.csv", sent(b"mine"), overwrite=True)
    await homes.delete(ANN, "out", recursive=True)
    assert (outside / "a.csv").read_text() == "SECRET"
    assert everything(home) == ["a.csv", "hard.csv"]
    assert await content(homes, "a.csv") == await content(homes, "hard.csv") == b"mine"


async def test_deleting_a_folder_or_a_home_leaves_what_its_links_point_to(
    homes: Homes, home: Path, outside: Path
) -> None:
    for folder in (home, home / "in"):
        folder.mkdir(exist_ok=True)
        (folder / "link").symlink_to(outside)
        (folder / "file").symlink_to(outside / "a.csv")
    await homes.delete(ANN, "in", recursive=True)
    await homes.delete_home(ANN)
    assert (outside / "a.csv").read_text() == "SECRET"
    assert everything(homes.root) == []


async def test_pipes_and_sockets_neither_hang_nor_open(homes: Homes, home: Path) -> None:
    os.mkfifo(home / "pipe")
    with chdir(home), socket.socket(socket.AF_UNIX) as listener:  # A socket's path may have 108 bytes.
        listener.bind("socket")
    hung = threading.Event()

    def free() -> None:
        hung.set()
        os.close(os.open(home / "pipe", os.O_RDWR | os.O_NONBLOCK))  # What waits for the other end goes on.

    watch = threading.Timer(5, free)
    watch.start()
    try:
        for path in ("pipe", "socket"):
            with pytest.raises(NotFound):
                await homes.read(ANN, path)
            assert not await homes.exists(ANN, path)
        assert list(await homes.list(ANN)) == []
        await homes.write(ANN, "pipe", sent(b"x"), overwrite=True)
        await homes.delete(ANN, "socket")
    finally:
        watch.cancel()
    assert not hung.is_set()
    assert await content(homes, "pipe") == b"x"
    assert everything(home) == ["pipe"]


@contextmanager
def swapping(home: Path, outside: Path) -> Iterator[None]:
    """A person's shell that turns the folder `d` into a link and back, as fast as it can."""
    stop, real, link = threading.Event(), home / "real", home / "link"
    (home / "d").mkdir()
    link.symlink_to(outside)

    def swap() -> None:
        while not stop.is_set():
            (home / "d").rename(real)
            link.rename(home / "d")
            (home / "d").rename(link)
            real.rename(home / "d")

    shell = threading.Thread(target=swap)
    shell.start()
    try:
        yield
    finally:
        stop.set()
        shell.join()


async def test_a_folder_swapped_for_a_link_at_any_moment_leads_nowhere_else(
    homes: Homes, home: Path, outside: Path
) -> None:
    seen: set[str] = set()

    async def try_all() -> None:
        attempts: list[Callable[[], object]] = [
            lambda: homes.list(ANN, "d"),
            lambda: content(homes, "d/a.csv"),
            lambda: homes.write(ANN, "d/a.csv", sent(b"mine"), overwrite=True),
            lambda: homes.write(ANN, "d/new.csv", sent(b"mine"), keep_both=True),
            lambda: homes.delete(ANN, "d/a.csv"),
        ]
        for attempt in attempts:
            try:
                result = await attempt()  # type: ignore[misc]
            except HubError as error:
                seen.add(type(error).__name__)
            else:
                seen.add("done")
                assert result != b"SECRET"

    with swapping(home, outside):
        async with asyncio.timeout(60):
            for _ in range(100):
                await try_all()
            while len(seen) < 2:  # Until both sides of the race have been met.
                await try_all()
    assert seen == {"done", "NotFound"}
    assert everything(outside) == ["a.csv"]
    assert (outside / "a.csv").read_text() == "SECRET"


async def test_deleting_a_folder_that_is_swapped_for_a_link_takes_nothing_else(
    homes: Homes, home: Path, outside: Path
) -> None:
    stop, folder, aside = threading.Event(), home / "d", home / "aside"
    steps: list[Callable[[], object]] = [
        lambda: (folder / "in").mkdir(parents=True),
        lambda: folder.rename(aside),
        lambda: folder.symlink_to(outside),
        folder.unlink,
        lambda: aside.rename(folder),
    ]

    def swap() -> None:
        while not stop.is_set():
            for step in steps:
                with suppress(OSError):
                    step()

    shell = threading.Thread(target=swap)
    shell.start()
    deleted = 0
    try:
        async with asyncio.timeout(60):
            while deleted < 50:
                with suppress(NotFound):
                    await homes.delete(ANN, "d", recursive=True)
                    deleted += 1
    finally:
        stop.set()
        shell.join()
    assert (outside / "a.csv").read_text() == "SECRET"
    await homes.sweep(timedelta(0))
    assert [path.name for path in homes.root.iterdir()] == [ANN]


@pytest.mark.parametrize("recursive", [True, False])
async def test_a_file_that_turns_into_a_folder_as_it_is_deleted_is_deleted_as_that(
    homes: Homes, home: Path, monkeypatch: pytest.MonkeyPatch, recursive: bool
) -> None:
    (home / "d").write_text("a file")
    look = os.stat

    def stat(name: Any, **how: Any) -> os.stat_result:
        seen = look(name, **how)
        if name == "d" and S_ISREG(seen.st_mode):
            (home / "d").unlink()
            (home / "d").mkdir()
        return seen

    with monkeypatch.context() as patched:
        patched.setattr("app.files.homes.os.stat", stat)
        await homes.delete(ANN, "d", recursive=recursive)
    assert not (home / "d").exists()


async def test_folders_thousands_deep_can_be_deleted_by_a_hub_with_few_descriptors(homes: Homes, home: Path) -> None:
    at = os.open(home, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=at)
        deeper = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    os.close(at)
    with limited(resource.RLIMIT_NOFILE, open_descriptors() + 20):
        await homes.delete(ANN, "d", recursive=True)
    assert everything(homes.root) == [ANN]


async def test_read_only_folders_do_not_keep_a_home_alive(homes: Homes, home: Path) -> None:
    (home / "cache" / "module").mkdir(parents=True)
    (home / "cache" / "module" / "x.py").write_text("x")
    (home / "shut").mkdir()
    for folder, mode in ((home / "cache" / "module", 0o555), (home / "cache", 0o555), (home / "shut", 0o000)):
        folder.chmod(mode)
    await homes.delete_home(ANN)
    assert everything(homes.root) == []
    await homes.delete_home(ANN)


async def test_odd_names_and_times_do_not_break_the_list(homes: Homes, home: Path) -> None:
    (home / "a\nb.csv").write_text("x")
    (home / "ancient.csv").write_text("x")
    os.utime(home / "ancient.csv", (-(10**10), -(10**10)))
    (home / "future.csv").write_text("x")
    os.utime(home / "future.csv", (10**12, 10**12))
    os.close(os.open(os.fsencode(home) + b"/\xff.csv", os.O_CREAT))
    listed = await homes.list(ANN)
    assert [entry.name for entry in listed] == ["a\nb.csv", "ancient.csv", "future.csv"]
    assert all(entry.modified.tzinfo is UTC for entry in listed)
    assert await content(homes, "a\nb.csv") == b"x"


async def test_the_hubs_own_names_cannot_be_taken(homes: Homes, home: Path) -> None:
    with pytest.raises(BadInput):
        await homes.write(ANN, ".hub-upload-1", sent(b"x"))
    assert everything(home) == []


def test_permissions_that_shut_the_hub_out_are_said() -> None:
    for number in (errno.EACCES, errno.EPERM):
        with pytest.raises(Forbidden, match="permissions"), translated("a.csv"):
            raise OSError(number, os.strerror(number))
