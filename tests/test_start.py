"""A Hub that cannot start says why in one sentence, and leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

HUB = Path(sys.executable).with_name("hub")


async def start(tmp_path: Path, **settings: str) -> tuple[int, str]:
    """Exit code and output of `hub serve`."""
    environment = {
        "PATH": os.environ["PATH"],
        "HUB_BIND": "127.0.0.1:0",
        "HUB_DATA_DIR": str(tmp_path / "data"),
        **{name: value.replace("TMP", str(tmp_path)) for name, value in settings.items()},
    }
    process = await asyncio.create_subprocess_exec(
        *(HUB, "serve"), env=environment, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"HUB_GOTTY": "/nope"}, "HUB_GOTTY: no program at /nope"),
        ({"HUB_GOTTY": "TMP/plain"}, "HUB_GOTTY: no program at"),
        ({"HUB_SANDBOX": "bubblewrap", "PATH": "/nowhere"}, "bubblewrap cannot be used here"),
        ({"HUB_SESSION_PYTHON": "/nope"}, "HUB_SESSION_PYTHON: there is no Python at /nope"),
        ({"HUB_DATA_DIR": "TMP/plain"}, "HUB_DATA_DIR=TMP/plain"),
        ({"HUB_DATA_DIR": "TMP/plain/data"}, "HUB_DATA_DIR=TMP/plain/data: not a directory"),
        ({"HUB_DATA_DIR": "/proc/self/data"}, "HUB_DATA_DIR=/proc/self/data"),
        ({"HUB_DATABASE_URL": "postgresql://hub@127.0.0.1:1/hub"}, "HUB_DATABASE_URL: no Postgres answers there"),
    ],
)
async def test_a_wrong_setting_is_named_in_one_sentence_before_anything_is_started(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    (tmp_path / "plain").write_text("not a program, and no folder")
    code, said = await start(tmp_path, **settings)
    assert code == 2
    (sentence,) = [line for line in said.splitlines() if not line.startswith("Connecting to")]
    assert sentence.startswith("hub: ")
    assert words.replace("TMP", str(tmp_path)) in sentence
    assert not (tmp_path / "data" / "postgres").exists()


async def test_what_was_started_is_stopped_when_a_later_step_fails(tmp_path: Path) -> None:
    python = tmp_path / "environment" / "bin" / "python"  # Sessions may read the environment, so the data lies outside.
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'it has no VisiData' >&2; exit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    code, said = await start(tmp_path, HUB_SESSION_PYTHON=str(python))
    assert code == 2
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("hub: HUB_SESSION_PYTHON")
    postgres = tmp_path / "data" / "postgres"
    assert (postgres / "data" / "PG_VERSION").exists(), "it was started"
    assert not (postgres / "data" / "postmaster.pid").exists(), "and stopped"
