"""Work with a time limit ends in time, whatever it is, and what is owned ends with its owner."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from app.aio import Supervisor, at_most


async def test_work_that_is_done_in_time_is_done_and_what_it_raises_is_heard() -> None:
    done = []

    async def work() -> None:
        done.append(True)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await at_most(5, work())
    assert done


async def test_what_takes_too_long_is_broken_off() -> None:
    broken_off = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            broken_off.set()

    await at_most(0.01, work())
    async with asyncio.timeout(30):
        await broken_off.wait()


async def test_what_does_not_let_itself_be_broken_off_is_not_waited_for() -> None:
    answer, over = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await answer.wait()
            over.set()

    async with asyncio.timeout(30):
        await at_most(0.01, work())
    assert not over.is_set()
    answer.set()
    async with asyncio.timeout(30):
        await over.wait()


async def test_it_ends_with_whoever_waits_for_it() -> None:
    begun, broken_off = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            broken_off.set()

    waiting = asyncio.create_task(at_most(60, work()))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(30):
        await broken_off.wait()


async def test_work_whose_owner_ends_before_it_began_ends_too() -> None:
    """As when a replica leaves in the moment in which it takes a session up: nothing is left over to be warned of."""
    owner = Supervisor()
    work = asyncio.sleep(60)
    task = owner.spawn("work", work)
    await owner.close()
    assert task.cancelled()
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


async def test_work_that_comes_when_its_owner_has_ended_is_refused_and_ends_too() -> None:
    owner = Supervisor()
    await owner.close()
    work = asyncio.sleep(60)
    with pytest.raises(RuntimeError, match="while closing"):
        owner.spawn("work", work)
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
