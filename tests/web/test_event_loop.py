"""The event loop never touches a file of a home or of a run: homes may be on a network, and one slow disk would stop all."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from quart.datastructures import FileStorage
from serving import Site

from app.files.disk import Entry
from app.files.listing import MAX_LISTED, Listing
from app.files.names import openable
from app.runtimes.base import Phase, RunId, RunSpec
from app.runtimes.local.runtime import LocalRuntime
from app.settings import Settings
from app.web.rendering import render_long

APP = str(Path(__file__).parents[2] / "app")
# Parts of our own installation, on the same disk as the code.
OWN_FILES = ("/web/static.py", "/output.py")
HARMLESS = {
    "urandom",
    "getpid",
    "fspath",
    "register_at_fork",
    "cpu_count",
    "sched_getaffinity",
    "getppid",
    "kill",
    "writev",
}


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collects the calls of the system for files that this thread, the loop's, makes on behalf of a module of app/."""
    found: list[str] = []
    loop_thread = threading.get_ident()
    watching = True

    def note(what: str, frame: FrameType | None) -> None:
        at = frame
        while at is not None and not at.f_code.co_filename.startswith(APP):
            if at.f_code.co_filename.endswith(("/jinja2/loaders.py", "/logging/__init__.py")):
                return  # Our own templates; standard error.
            at = at.f_back
        if at is not None and not at.f_code.co_filename.endswith(OWN_FILES):
            found.append(f"{what} in {at.f_code.co_filename.removeprefix(APP)}:{at.f_lineno}")

    def called(frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and what.__module__ in ("posix", "fcntl") and what.__name__ not in HARMLESS:
            note(what.__name__, frame)
        elif (
            event == "c_call"
            and type(getattr(what, "__self__", None)).__module__ == "_io"
            and what.__name__ != "getvalue"
        ):
            note(f"a file's {what.__name__}", frame)

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and threading.get_ident() == loop_thread:
            note(f"open {arguments[0]!r}", sys._getframe(1))

    sys.addaudithook(audited)
    before = sys.getprofile()
    sys.setprofile(called)
    try:
        yield found
    finally:
        sys.setprofile(before)
        watching = False  # An audit hook cannot be removed.


async def test_no_page_and_no_call_of_the_api_touches_a_file_in_the_event_loop(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    program = await site.program(account)
    home = site.hub.homes.ensure(str(account.id))
    (home / ".cache" / "visidata-hub").mkdir(parents=True)
    (home / "folder" / "deep").mkdir(parents=True)
    await ada.get("/files")  # Templates are read and compiled once.
    await ada.get("/sessions")
    await ada.get("/files/delete/folder")
    with watched() as touched:
        answers = [
            await ada.send("PUT", "/files/upload/x.csv", data=b"a\n" * 400_000),
            await ada.post("/files", files={"file": FileStorage(filename="y.csv")}),
            await ada.send("PUT", "/files/left/open", data=b"[]"),
            await program.send("PUT", "/api/v1/files/z.csv", data=b"a\n"),
            await ada.get("/files"),
            await ada.get("/files/get/x.csv"),
            await ada.send("HEAD", "/files/get/x.csv"),
            await program.get("/api/v1/files/x.csv"),
            await program.get("/api/v1/files/"),
            await ada.get("/sessions"),
            await ada.post("/sessions", {"source": "path:x.csv"}),
            await ada.get("/files/delete/folder"),
            await ada.post("/files/delete/folder", {}),
            await program.send("DELETE", "/api/v1/files/z.csv"),
            await ada.get("/files/get/gone.csv"),
        ]
        await site.hub.homes.sweep()
        await site.hub.homes.delete_home(str(account.id))
    assert [answer.status for answer in answers[:-1]] == [201, 303, 204, 201, *[200] * 6, 303, 200, 303, 204]
    assert sorted(set(touched)) == []


@pytest.mark.parametrize("template", ["files.html", "_files.html"])
async def test_a_long_page_lets_others_have_their_turn(site: Site, template: str) -> None:
    """One person's folders with a thousand files, asked for again and again, keep nobody else's pages and keys waiting."""
    entries = Listing(
        [Entry(f"{n}.csv", f"{n}.csv", "file", n, datetime.now(UTC)) for n in range(MAX_LISTED)], cut=False, hidden=0
    )
    turns, under_way = 0, 0
    running: list[int] = []
    given: list[int] = []

    class Watched(Listing):
        def __iter__(self) -> Iterator[Entry]:
            nonlocal under_way
            under_way += 1
            running.append(under_way)
            before = turns
            yield from list.__iter__(self)
            given.append(turns - before)
            under_way -= 1

    async def other_people() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(other_people())
    async with site.app.test_request_context("/files"):
        watched_entries = Watched(entries, cut=False, hidden=0)
        context = {
            "entries": watched_entries,
            "openable": openable,
            "crumbs": [],
            "folder": "",
            "hidden": False,
            "max_upload": 1,
        }
        pages = await asyncio.gather(*(render_long("ada", template, **context) for _ in range(3)))
    others.cancel()
    assert all("999.csv" in page for page in pages)
    assert min(given) >= 3
    assert max(running) == 1, "a person's pages are made one after the other"


async def test_the_local_runtime_touches_no_file_in_the_event_loop(settings: Settings, tmp_path: Path) -> None:
    async def delete_home(user_id: str) -> None:
        raise AssertionError(user_id)

    runtime = LocalRuntime(settings, samples=tmp_path, bwrap=None, delete_home=delete_home)
    run = RunId("abcdefghijkm", 1)
    spec = RunSpec(run, "5e0b1d9e-7a4c-4c41-9a55-0c9f6f3b7a10", "hub:" + "0" * 64)
    with watched() as touched:
        seen = await runtime.launch(spec)
        await runtime.look(run)
        await runtime.stop(run, seen.uid, 0.0)
        events = runtime.observe()
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
    assert sorted(set(touched)) == []
    async with asyncio.timeout(60):
        while (now := await runtime.look(run)) is not None and now.phase is not Phase.ENDED:
            await runtime.stop(run, None, 0.0)
            await asyncio.sleep(0.05)
    await runtime.forget(run)


async def test_the_watch_itself_sees_what_it_is_to_see(tmp_path: Path) -> None:
    from app.files.disk import look

    with watched() as touched:
        look(str(tmp_path), 0)
        (tmp_path / "x").touch()  # Not by app/.
    assert [one.partition(":")[0] for one in touched] == ["stat in /files/disk.py"]
