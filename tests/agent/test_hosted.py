"""What a session's image starts: VisiData on the agent's own Python, with its end told where a container tells it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from agent_run import CREDENTIAL, PROJECT, Client, until
from test_gotty_front import stand_in

from app.settings import Settings

gotty = pytest.fixture(stand_in)


async def start(
    tmp_path: Path, *path: str, options: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "home" / "fruit.csv").write_text("name,colour\npear,green\n")
    (tmp_path / "ending").touch()  # As the cluster mounts it.
    return await asyncio.create_subprocess_exec(
        str(Settings().session_python),
        *("-m", "app.agent", "visidata", "--listen", "127.0.0.1:0", "--ending-file", str(tmp_path / "ending")),
        *options,
        *(("--", *path) if path else ()),
        cwd=PROJECT,
        env={
            "HUB_RUN_CREDENTIAL": CREDENTIAL,
            "HOME": str(tmp_path / "home"),
            "TMPDIR": str(tmp_path / "tmp"),
            **(environment or {}),
        },
        stderr=asyncio.subprocess.PIPE,
    )


async def attach(tmp_path: Path, size: tuple[int, int] | None = (80, 24), arguments: Sequence[str] = ()) -> Client:
    record = await until(lambda: list(tmp_path.glob("tmp/hub-run-*/agent.json")), "the agent listens")
    return await Client.attach(json.loads(record[0].read_text())["address"], size=size, arguments=arguments)


@pytest.mark.parametrize(("path", "shown"), [((), "fruit"), (("fruit.csv",), "colour")])
async def test_it_opens_the_home_or_a_path_in_it_and_tells_that_it_was_quit(
    tmp_path: Path, path: tuple[str, ...], shown: str
) -> None:
    process = await start(tmp_path, *path)
    try:
        client = await attach(tmp_path)
        await client.see(shown)
        await client.type("gq")
        await client.see("quit")
        await client.type("y")
        assert await client.closed() == 1000
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
    assert json.loads((tmp_path / "ending").read_text())["reason"] == "quit"


async def test_asked_to_stop_it_tells_that(tmp_path: Path) -> None:
    process = await start(tmp_path)
    try:
        client = await attach(tmp_path)
        await client.see("fruit")
        os.kill(process.pid, signal.SIGTERM)
        assert await client.closed() == 1000
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
    assert json.loads((tmp_path / "ending").read_text())["reason"] == "stopped"


# Loaded ahead


@asynccontextmanager
async def loaded_ahead(tmp_path: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await start(tmp_path, options=("--wait", *options))
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("front", ["the agent", "GoTTY"])
@pytest.mark.parametrize(
    ("source", "shown"), [((), "fruit"), (("empty", ""), "fruit"), (("file", "-odd & städte.csv"), "Köln")]
)
async def test_it_waits_for_its_first_viewer_and_opens_what_that_one_came_for(
    tmp_path: Path, gotty: str, front: str, source: tuple[str, ...], shown: str
) -> None:
    async with loaded_ahead(tmp_path, *(("--gotty", gotty) if front == "GoTTY" else ())):
        (tmp_path / "home" / "-odd & städte.csv").write_text("city,people\nKöln,1085664\n")
        client = await attach(tmp_path, (91, 31), source)
        await client.see(shown)
        # It drew for the window that there is from the start: its status line is on the last row, and nowhere else.
        await client.type("F")
        await client.find(rb"\x1b\[31;\d+H|\x1b\[31d")


async def test_a_sample_is_opened_by_its_name(tmp_path: Path) -> None:
    async with loaded_ahead(tmp_path):
        client = await attach(tmp_path, arguments=("sample", "no-such-sample.csv"))
        await client.see("/samples/no-such-sample.csv")  # There are none on this machine; VisiData says what it misses.


async def test_who_comes_later_sees_what_the_first_one_opened(tmp_path: Path) -> None:
    async with loaded_ahead(tmp_path):
        first = await attach(tmp_path, arguments=("file", "fruit.csv"))
        await first.see("colour", "green")
        await first.vanish()
        second = await attach(tmp_path, arguments=("file", "another.csv"))
        seen = await second.see("colour", "green")
        assert "another" not in seen


async def test_one_who_goes_before_it_begins_leaves_it_to_the_next(tmp_path: Path) -> None:
    async with loaded_ahead(tmp_path):
        hasty = await attach(tmp_path, None, ("file", "fruit.csv"))
        await hasty.vanish()
        client = await attach(tmp_path, arguments=("empty", ""))
        await client.see("filename", "fruit")


async def test_who_listens_has_loaded_and_has_drawn_nothing(tmp_path: Path) -> None:
    """So whoever comes then waits for no import, and nothing was drawn for a window of another size."""
    async with loaded_ahead(tmp_path) as process:
        await until(lambda: list(tmp_path.glob("tmp/hub-run-*/agent.json")), "the agent listens")
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert "_curses" in Path(f"/proc/{child}/maps").read_text()
        assert not list((tmp_path / "home").glob(".*"))  # The configuration makes folders there.


async def test_it_can_be_stopped_while_it_waits(tmp_path: Path) -> None:
    async with loaded_ahead(tmp_path) as process:
        await until(lambda: list(tmp_path.glob("tmp/hub-run-*/agent.json")), "the agent listens")
        os.kill(process.pid, signal.SIGTERM)
        assert await process.wait() == 0
        assert json.loads((tmp_path / "ending").read_text())["reason"] == "stopped"


async def test_one_that_cannot_load_ends_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "modules" / "visidata").mkdir(parents=True)
    (tmp_path / "modules" / "visidata" / "__init__.py").write_text("raise SystemExit('it is broken')")
    process = await start(
        tmp_path, options=("--wait",), environment={"PYTHONPATH": f"{tmp_path / 'modules'}:{PROJECT}"}
    )
    await process.communicate()
    ending = json.loads((tmp_path / "ending").read_text())
    assert (ending["reason"], "it is broken" in ending["detail"]) == ("crashed", True)


async def test_two_paths_are_one_too_many(tmp_path: Path) -> None:
    process = await start(tmp_path, "fruit.csv", "other.csv")
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"one path" in said
