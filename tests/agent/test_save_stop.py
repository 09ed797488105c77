"""A hangup ends the process at once while nothing is saved, else after the save; a second one gives the save up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_run import PATIENCE, PROJECT

PREPARE = """
import asyncio, os, signal, sys, threading
from pathlib import Path
from app.agent.visidata.hosted import save_stop
from app.agent.visidata.hosted.save_draft import Draft
saves = save_stop.RunningSaves()
save_stop.install(saves, lambda text: print(text, flush=True))
def save(file, events):
    with saves.running("data.csv", [file]):
        draft = Draft(file)
        with saves.drafting(draft):
            draft.path.write_text("new")
            print("saving", flush=True)
            sys.stdin.readline()
            draft.commit(None)
"""
IDLE = "print('ready', flush=True)\nthreading.Event().wait()\n"
# What an event loop in the same process does: it takes the pipe of signals for itself, and leaves none.
EVENT_LOOP = """
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
asyncio.run(main())
"""


@contextmanager
def process(*code: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", "\n".join((PREPARE, *code))]
    with subprocess.Popen(command, cwd=PROJECT, stdin=-1, stdout=-1, text=True, start_new_session=True) as started:
        try:
            yield started
        finally:
            started.kill()


def line(started: subprocess.Popen[str]) -> str:
    assert started.stdout
    return started.stdout.readline().strip()


@pytest.mark.parametrize("other", ["", EVENT_LOOP])
def test_without_a_save_a_hangup_ends_it_at_once(other: str) -> None:
    with process(other, IDLE) as started:
        assert line(started) == "ready"
        os.kill(started.pid, signal.SIGHUP)
        assert started.wait(PATIENCE) == -signal.SIGHUP


@pytest.mark.parametrize("other", ["", EVENT_LOOP])
def test_a_save_is_finished_first(tmp_path: Path, other: str) -> None:
    save = f"threading.Thread(target=save, args=(Path({str(tmp_path / 'data.csv')!r}), None)).start()\n"
    with process(other, save, "threading.Event().wait()") as started:
        assert line(started) == "saving"
        os.kill(started.pid, signal.SIGHUP)
        assert line(started) == "this session stops as soon as data.csv is saved"
        assert started.poll() is None
        assert started.stdin
        started.stdin.write("\n")
        started.stdin.flush()
        assert started.wait(PATIENCE) == -signal.SIGHUP
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]
    assert (tmp_path / "data.csv").read_text() == "new"


@pytest.mark.parametrize("other", ["", EVENT_LOOP])
def test_a_second_hangup_gives_it_up(tmp_path: Path, other: str) -> None:
    save = f"threading.Thread(target=save, args=(Path({str(tmp_path / 'data.csv')!r}), None)).start()\n"
    with process(other, save, "threading.Event().wait()") as started:
        assert line(started) == "saving"
        os.kill(started.pid, signal.SIGHUP)
        assert line(started) == "this session stops as soon as data.csv is saved"
        os.kill(started.pid, signal.SIGHUP)
        assert started.wait(PATIENCE) == -signal.SIGHUP
    assert list(tmp_path.iterdir()) == []
