"""Thread pools for blocking work: one for each kind, so that work of one kind never waits for threads of another.

Each pool is bounded and fair. Its threads serve the owners of waiting jobs in turn, and one owner has at most `each`
threads at a time, so one person's slow work delays neither other people's nor work in another pool. Must not know what
the work is.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from app.errors import LimitReached

Given = ParamSpec("Given")
Result = TypeVar("Result")

MAX_WAITING = 200  # Jobs that one owner may have in the queue.
RETRY_AFTER = 2  # Seconds.

_Job = tuple[Callable[[], Any], "Future[Any]"]


class Pool:
    """A bounded pool of daemon threads, started as they are needed. Usable from any event loop.

    The threads are daemons: a call that hangs on a dead disk must not keep the process from ending.
    """

    def __init__(self, name: str, threads: int, *, each: int | None = None) -> None:
        self.name = name
        self.threads = threads
        self.each = each or threads
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[_Job]] = {}  # By owner; whose turn is next comes first.
        self._running: dict[str, int] = {}
        self._queued = 0  # Jobs in `_waiting`.
        self._started = 0
        self._idle = 0  # Threads that wait for a job. One that was notified counts until it runs again.

    async def run(self, owner: str, work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        """Run `work` in a thread. When cancelled, return only once it has ended or is sure never to begin.

        Otherwise the caller would close a descriptor that the thread is about to use, and by then its number may belong
        to another person's file. Raises LimitReached while MAX_WAITING jobs of this owner wait.
        """
        return await self._run(owner, partial(work, *given, **named), certain=False)

    async def run_surely(
        self, owner: str, work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs
    ) -> Result:
        """As `run`, for work that frees something: it runs even if the caller is cancelled, and is never refused."""
        return await self._run(owner, partial(work, *given, **named), certain=True)

    def submit(self, owner: str, work: Callable[[], Any], *, certain: bool = False) -> Future[Any]:
        """Queue `work` without waiting for it. Raises LimitReached as `run` does, unless `certain`."""
        future: Future[Any] = Future()
        with self._changed:
            jobs = self._waiting.get(owner)
            if jobs is not None and len(jobs) >= MAX_WAITING and not certain:
                raise LimitReached("Too many requests are waiting. Try again in a moment.", retry_after=RETRY_AFTER)
            self._waiting.setdefault(owner, deque()).append((work, future))
            self._queued += 1
            if self._queued > self._idle and self._started < self.threads:
                self._started += 1
                threading.Thread(target=self._serve, name=f"{self.name}-{self._started}", daemon=True).start()
            self._changed.notify()
        return future

    async def _run(self, owner: str, work: Callable[[], Result], *, certain: bool) -> Result:
        future: Future[Result] = self.submit(owner, work, certain=certain)
        running = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if certain or not future.cancel():
                while not running.done():
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait([running])
                if not running.cancelled():
                    running.exception()  # Retrieved: the cancellation takes precedence.
            raise

    def _serve(self) -> None:
        while True:
            with self._changed:
                while (found := self._next()) is None:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
            owner, (work, future) = found
            try:
                if future.set_running_or_notify_cancel():
                    _settle(future, work)
            finally:
                with self._changed:
                    self._running[owner] -= 1
                    if not self._running[owner]:
                        del self._running[owner]
                    self._changed.notify()
            del found, work, future  # Their frames and descriptors must not live until the next job.

    def _next(self) -> tuple[str, _Job] | None:
        """Take the next job of the first owner that has a thread left."""
        for owner, jobs in self._waiting.items():
            if self._running.get(owner, 0) < self.each:
                job = jobs.popleft()
                self._queued -= 1
                del self._waiting[owner]
                if jobs:
                    self._waiting[owner] = jobs  # Its next turn comes after everybody else's.
                self._running[owner] = self._running.get(owner, 0) + 1
                return owner, job
        return None


def _settle(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


PASSWORDS = Pool("passwords", 2)  # Argon2 takes 64 MiB and a core for each check: more at once would starve the pages.
FILES = Pool("files", 16, each=2)  # Everything that touches a home; the owner is the home's user.
RUNTIME = Pool("runtime", 8, each=4)  # Starts, stops and observation of local runs.
