"""What a session's image starts: VisiData on the agent's own Python, with its end told where a container tells it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from agent_run import CREDENTIAL, PROJECT, Client, until

from app.settings import Settings


async def start(tmp_path: Path, *path: str) -> asyncio.subprocess.Process:
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "home" / "fruit.csv").write_text("name,colour\npear,green\n")
    (tmp_path / "ending").touch()  # As the cluster mounts it.
    return await asyncio.create_subprocess_exec(
        str(Settings().session_python),
        *("-m", "app.agent", "visidata", "--listen", "127.0.0.1:0", "--ending-file", str(tmp_path / "ending")),
        *(("--", *path) if path else ()),
        cwd=PROJECT,
        env={"HUB_RUN_CREDENTIAL": CREDENTIAL, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")},
        stderr=asyncio.subprocess.PIPE,
    )


async def attach(tmp_path: Path) -> Client:
    record = await until(lambda: list(tmp_path.glob("tmp/hub-run-*/agent.json")), "the agent listens")
    return await Client.attach(json.loads(record[0].read_text())["address"])


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


async def test_two_paths_are_one_too_many(tmp_path: Path) -> None:
    process = await start(tmp_path, "fruit.csv", "other.csv")
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"one path" in said
