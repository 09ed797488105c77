"""Supervised tasks and backoff: every task of the Hub has an owner, a name and a guard.

Must not know what the tasks do. A task that raises is logged, waits, and is started again; one that is cancelled ends.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

log = logging.getLogger("hub.tasks")


def backoff(first: float = 0.1, most: float = 15.0) -> Iterator[float]:
    """Delays in seconds, doubling from `first` to `most`, each with full jitter (half to all of it)."""
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311  (jitter, not a secret)
        delay = min(delay * 2, most)


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event; False when `seconds` ran out first.

    Not `asyncio.wait_for`: before Python 3.12 it may swallow a cancellation that comes as the time runs out, and a task
    that loops over it then never ends.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def at_most(seconds: float, work: Coroutine[Any, Any, object]) -> None:
    """Do the work, and break it off when it takes longer than that. Returns in time even if it cannot be broken off.

    asyncpg, for one, waits for the server's answer to its own cancelling.
    """
    task = asyncio.create_task(work, name="work with a time limit")
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    for one in done:
        one.result()


class Supervisor:
    """Owns named tasks, from `start` to `close`.

    `keep` restarts a service that raises or returns, with backoff; `spawn` runs something once. Both log what is raised,
    except `logged_elsewhere`.
    """

    def __init__(self, *, logged_elsewhere: tuple[type[Exception], ...] = ()) -> None:
        self._logged_elsewhere = logged_elsewhere
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def keep(self, name: str, run: Callable[[], Awaitable[None]], *, most: float = 15.0) -> asyncio.Task[None]:
        async def guarded() -> None:
            delays = backoff(most=most)
            while True:
                began = asyncio.get_running_loop().time()
                try:
                    await run()
                    log.debug("task %s returned; starting it again", name)
                except self._logged_elsewhere as error:
                    log.debug("task %s: %s; starting it again", name, error)
                except Exception:
                    log.exception("task %s failed; starting it again", name)
                if asyncio.get_running_loop().time() - began > 60:
                    delays = backoff(most=most)
                await asyncio.sleep(next(delays))

        return self._own(name, guarded())

    def spawn(self, name: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except self._logged_elsewhere as error:
                log.debug("task %s: %s", name, error)
            except Exception:
                log.exception("task %s failed", name)

        try:
            task = self._own(name, guarded())
        except RuntimeError:
            work.close()
            raise
        # Cancelled before its first step, the guard never comes to the work, which nobody would then have awaited.
        task.add_done_callback(lambda _: work.close())
        return task

    def _own(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._closing:
            work.close()
            raise RuntimeError(f"task {name} started while closing")
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self, *, within: float | None = None) -> list[str]:
        """Cancel all tasks and wait until the last has ended, or for `within` seconds; the names of those that have not."""
        self._closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if not tasks:
            return []
        _, late = await asyncio.wait(tasks, timeout=within)
        return [task.get_name() for task in late]


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait for their ends; what they raise is theirs and is dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
