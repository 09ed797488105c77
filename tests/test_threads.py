"""Work of one kind, or of one person, never waits for threads that another one holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from app.errors import LimitReached
from app.threads import FILES, MAX_WAITING, PASSWORDS, Pool


@asynccontextmanager
async def stuck(pool: Pool, owner: str, count: int) -> AsyncIterator[Callable[[], int]]:
    """So many jobs of one owner that do not end until the block does; gives how many of them have begun."""
    may_end, begun = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        may_end.wait()

    jobs = [asyncio.create_task(pool.run(owner, work)) for _ in range(count)]
    for _ in range(min(count, pool.each)):
        await asyncio.to_thread(begun.acquire)
    try:
        yield lambda: begun._value
    finally:
        may_end.set()
        await asyncio.gather(*jobs)


async def test_one_persons_slow_work_delays_neither_others_files_nor_a_login() -> None:
    async with stuck(FILES, "ada", 6) as more:
        async with asyncio.timeout(30):
            assert await FILES.run("bob", lambda: "listed") == "listed"
            assert await PASSWORDS.run("", lambda: "verified") == "verified"
        assert more() == 0  # The other four wait for a thread of their own person's.


async def test_a_pool_takes_people_in_turn_however_much_one_of_them_asks_for() -> None:
    pool = Pool("turns", 1)
    done: list[str] = []
    async with stuck(pool, "ada", 1):
        jobs = [asyncio.create_task(pool.run("ada", done.append, "ada")) for _ in range(3)]
        jobs += [asyncio.create_task(pool.run(name, done.append, name)) for name in ("bob", "cy", "bob")]
        await asyncio.sleep(0)  # All are in the queue.
    await asyncio.gather(*jobs)
    assert done == ["ada", "bob", "cy", "ada", "bob", "ada"]


async def test_what_one_person_has_waiting_is_bounded_and_what_frees_something_is_never_refused() -> None:
    pool = Pool("bounded", 1)
    async with stuck(pool, "ada", 1):
        waiting = [pool.submit("ada", int) for _ in range(MAX_WAITING)]
        with pytest.raises(LimitReached):
            await pool.run("ada", int)
        closing = asyncio.create_task(pool.run_surely("ada", int))
        other = asyncio.create_task(pool.run("bob", int))
        await asyncio.sleep(0)
    assert await closing == await other == 0
    assert all(job.result() == 0 for job in waiting)


async def test_a_cancelled_job_that_has_not_begun_never_begins_unless_it_frees_something() -> None:
    pool = Pool("cancelled", 1)
    done: list[str] = []
    async with stuck(pool, "ada", 1):
        jobs = [
            asyncio.create_task(pool.run("bob", done.append, "work")),
            asyncio.create_task(pool.run_surely("bob", done.append, "close")),
        ]
        await asyncio.sleep(0)
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs[:1])  # The one that may be cancelled is, before a thread is free.
    await asyncio.wait(jobs)
    assert all(job.cancelled() for job in jobs)
    assert done == ["close"]


async def test_what_a_job_raises_reaches_its_caller_and_the_thread_goes_on() -> None:
    pool = Pool("raising", 1)
    with pytest.raises(ZeroDivisionError):
        await pool.run("ada", lambda: 1 // 0)
    assert await pool.run("ada", lambda: 1) == 1


async def test_two_jobs_that_come_at_once_run_at_once_though_only_one_thread_was_idle() -> None:
    pool = Pool("together", 2)
    await pool.run("ada", int)
    while not pool._idle:  # Its one thread is about to wait for a job.
        await asyncio.sleep(0)
    both = threading.Barrier(2)
    jobs = [pool.submit(owner, lambda: both.wait(30)) for owner in ("ada", "bob")]
    assert {await asyncio.wrap_future(job) for job in jobs} == {0, 1}
