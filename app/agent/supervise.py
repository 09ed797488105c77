"""The life of one run once its program has been started: a front for clients, the end, and the record of it.

Writes `exit.json` before the connections close and the lock is released, so that a client which sees either finds the
reason. What is raised here ends the program; `start` records it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

from app.agent.children import Children, kill_session, signal_group
from app.agent.endings import Ending, oom_kills, read_ending, record_ending, write_record
from app.agent.holder import Holder
from app.agent.start import Run
from app.agent.waiting import Waiting

LAST_CHANCE = 0.5  # Seconds of the grace period that a program has after the second hangup.


def supervise(run: Run) -> int:
    """Run until the program has ended or SIGTERM or SIGINT asks for its end. Returns the agent's exit code."""
    # asyncio reads into 256 KiB at a time, for which glibc would get memory from the kernel and give it back with every
    # key. Once a larger piece has been freed, it keeps such memory (mallopt(3), "dynamic mmap threshold").
    bytearray(1024 * 1024)
    try:
        return asyncio.run(_supervise(run))
    except BaseException:
        _kill(run)
        raise


async def _supervise(run: Run) -> int:
    kills_before = oom_kills()
    children = Children()
    ended = children.watch(run.pid)
    asked = _stop_event(run)
    holder = Holder(run.master, run.size, run.waiting.begin if run.waiting else None)
    try:
        if run.waiting is not None:
            await _loaded(run.waiting, asked)  # Whoever finds us listening finds a program that begins at once.
        async with _front(run, holder, children):
            stopped = await _end(run, ended, asked)
            await holder.finish()
            out_of_memory = oom_kills() > kills_before
            status, printed = ended.result(), holder.last_printed
            ending = read_ending(status, asked=stopped, out_of_memory=out_of_memory, printed=printed)
            record_ending(ending, run.ending_file)
            holder.close()
        return 0
    except OSError as error:
        # Nobody can reach the program, so it is of no use to anybody.
        _kill(run)
        trouble = f"The terminal could not be served: {error.strerror or error}."
        sys.stderr.write(trouble + "\n")
        record_ending(Ending(None, None, "crashed", trouble), run.ending_file)
        return 1


def _front(run: Run, holder: Holder, children: Children) -> AbstractAsyncContextManager[None]:
    if run.gotty is None:
        from app.agent.front_ws import websocket_front

        return websocket_front(holder, run.credential, run.listen, _announce)
    from app.agent.front_gotty import gotty_front

    permit = run.waiting is not None
    return gotty_front(holder, children, run.gotty, run.credential, run.listen, _announce, permit_arguments=permit)


def _stop_event(run: Run) -> asyncio.Event:
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    if run.stop_asked:
        asked.set()
    return asked


async def _loaded(waiting: Waiting, asked: asyncio.Event) -> None:
    """Wait until the program has loaded or has ended, or its end is asked for."""
    either = [
        asyncio.create_task(waiting.loaded(), name="loading"),
        asyncio.create_task(asked.wait(), name="stop asked"),
    ]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    for task in either:
        task.cancel()
    await asyncio.gather(*either, return_exceptions=True)


async def _end(run: Run, ended: asyncio.Future[int], asked: asyncio.Event) -> bool:
    """Wait for the program's end, or bring it about when asked to. Returns whether it had been asked for."""
    asking = asyncio.create_task(asked.wait(), name="stop asked")
    either: list[asyncio.Future[Any]] = [ended, asking]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    stopped = not ended.done()
    if stopped:
        # VisiData ends by the first hangup once it has saved what it is saving. By the second it gives up: it deletes
        # what it has written so far (`visidata/hosted/save_stop.py`). Other programs end by the first one.
        last_chance = min(LAST_CHANCE, run.grace / 2)
        await _hang_up(run, ended, run.grace - last_chance)
        if not ended.done():
            await _hang_up(run, ended, last_chance)
    _kill(run)
    await ended
    return stopped


async def _hang_up(run: Run, ended: asyncio.Future[int], patience: float) -> None:
    signal_group(run.pid, signal.SIGHUP)
    signal_group(run.pid, signal.SIGCONT)  # A program that was suspended must wake up to end.
    await asyncio.wait([ended], timeout=patience)


def _kill(run: Run) -> None:
    signal_group(run.pid, signal.SIGKILL)
    kill_session(run.pid)


def _announce(address: str) -> None:
    write_record("agent.json", {"pid": os.getpid(), "address": address})
