"""What every runtime must do, as tests: subclass `RuntimeContract` and give a `harness` fixture.

The lifecycle manager relies on nothing that is not here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Protocol
from uuid import uuid4

from app.runtimes.base import Changed, Event, Observed, Phase, Reason, RunId, RunSpec, Runtime, Snapshot, Source

PATIENCE = 15.0  # Seconds for anything to be seen.
GRACE = 2.0


class Harness(Protocol):
    """A runtime under test, and how to act on its runs from outside."""

    runtime: Runtime

    def restarted(self) -> Runtime:
        """Another runtime object on the same world: what a restarted Hub, or another replica, would have."""

    async def quit(self, seen: Observed, spec: RunSpec) -> None:
        """Make the program of a running run end by itself, in peace."""


def a_spec(generation: int = 1, session_id: str | None = None) -> RunSpec:
    session_id = session_id or uuid4().hex[:12]
    return RunSpec(RunId(session_id, generation), str(uuid4()), f"hub:{uuid4().hex}", Source())


@asynccontextmanager
async def watching(runtime: Runtime) -> AsyncIterator[Callable[..., asyncio.Future[Observed]]]:
    """Follows the runtime; `until(run, phase)` waits for the run to be seen in that phase."""
    seen: dict[RunId, Observed] = {}
    came = asyncio.Condition()

    async def follow() -> None:
        async with aclosing(runtime.observe()) as events:  # type: ignore[type-var]
            async for event in events:
                async with came:
                    if isinstance(event, Snapshot):
                        seen.clear()
                        seen.update({one.run: one for one in event.runs})
                    elif event.gone:
                        seen.pop(event.run.run, None)
                    else:
                        seen[event.run.run] = event.run
                    came.notify_all()

    async def until(run: RunId, phase: Phase | None) -> Observed | None:
        async with asyncio.timeout(PATIENCE), came:
            await came.wait_for(lambda: (seen[run].phase if run in seen else None) == phase)
        return seen.get(run)

    task = asyncio.create_task(follow())
    try:
        yield until  # type: ignore[misc]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def first_event(runtime: Runtime) -> Event:
    async with aclosing(runtime.observe()) as events, asyncio.timeout(PATIENCE):  # type: ignore[type-var]
        async for event in events:
            return event
    raise AssertionError("observe ended")


class RuntimeContract:
    async def test_a_launched_run_is_seen_running_at_an_address(self, harness: Harness) -> None:
        spec = a_spec()
        async with watching(harness.runtime) as until:
            launched = await harness.runtime.launch(spec)
            seen = await until(spec.run, Phase.RUNNING)
        assert seen.run == launched.run == spec.run
        assert seen.uid == launched.uid != ""
        assert seen.address is not None and seen.address.rpartition(":")[2].isdecimal()

    async def test_observing_begins_with_all_there_is(self, harness: Harness) -> None:
        one, other = a_spec(), a_spec()
        await harness.runtime.launch(one)
        await harness.runtime.launch(other)
        event = await first_event(harness.runtime)
        assert isinstance(event, Snapshot)
        assert {one.run, other.run} <= {seen.run for seen in event.runs}
        assert harness.runtime.synced_at is not None

    async def test_launching_the_same_run_again_gives_the_same_run(self, harness: Harness) -> None:
        spec = a_spec()
        first = await harness.runtime.launch(spec)
        again = await harness.runtime.launch(spec)
        assert again.uid == first.uid

    async def test_launching_the_same_run_many_times_at_once_makes_one(self, harness: Harness) -> None:
        spec = a_spec()
        replicas = [harness.runtime, harness.restarted(), harness.restarted(), harness.restarted()]
        seen = await asyncio.gather(*(replica.launch(spec) for replica in replicas))
        assert len({one.uid for one in seen}) == 1
        async with watching(harness.runtime) as until:
            await until(spec.run, Phase.RUNNING)

    async def test_another_generation_is_another_run(self, harness: Harness) -> None:
        old = a_spec(generation=1)
        new = a_spec(generation=2, session_id=old.run.session_id)
        first = await harness.runtime.launch(old)
        second = await harness.runtime.launch(new)
        assert first.uid != second.uid
        async with watching(harness.runtime) as until:
            await until(old.run, Phase.RUNNING)
            await until(new.run, Phase.RUNNING)
            await harness.runtime.stop(old.run, first.uid, GRACE)
            await until(old.run, Phase.ENDED)
            assert (await harness.runtime.look(new.run)).phase is Phase.RUNNING

    async def test_a_stopped_run_ends(self, harness: Harness) -> None:
        spec = a_spec()
        async with watching(harness.runtime) as until:
            seen = await harness.runtime.launch(spec)
            await until(spec.run, Phase.RUNNING)
            await harness.runtime.stop(spec.run, seen.uid, GRACE)
            ended = await until(spec.run, Phase.ENDED)
        assert ended.uid == seen.uid
        assert ended.address is None
        assert ended.reason is not None

    async def test_stopping_twice_or_what_is_not_there_is_fine(self, harness: Harness) -> None:
        spec = a_spec()
        await harness.runtime.stop(spec.run, None, GRACE)
        seen = await harness.runtime.launch(spec)
        async with watching(harness.runtime) as until:
            await harness.runtime.stop(spec.run, seen.uid, GRACE)
            await harness.runtime.stop(spec.run, seen.uid, GRACE)
            await until(spec.run, Phase.ENDED)
            await harness.runtime.stop(spec.run, seen.uid, GRACE)

    async def test_a_stop_meant_for_another_run_of_the_name_does_nothing(self, harness: Harness) -> None:
        spec = a_spec()
        async with watching(harness.runtime) as until:
            await harness.runtime.launch(spec)
            await until(spec.run, Phase.RUNNING)
            await harness.runtime.stop(spec.run, "the uid of an earlier one", GRACE)
        assert (await harness.runtime.look(spec.run)).phase is Phase.RUNNING

    async def test_a_program_that_is_quit_ends_its_run_and_says_so(self, harness: Harness) -> None:
        spec = a_spec()
        async with watching(harness.runtime) as until:
            await harness.runtime.launch(spec)
            seen = await until(spec.run, Phase.RUNNING)
            await harness.quit(seen, spec)
            ended = await until(spec.run, Phase.ENDED)
        assert ended.reason is Reason.QUIT

    async def test_an_ended_run_is_not_launched_again(self, harness: Harness) -> None:
        spec = a_spec()
        async with watching(harness.runtime) as until:
            first = await harness.runtime.launch(spec)
            await harness.runtime.stop(spec.run, first.uid, GRACE)
            await until(spec.run, Phase.ENDED)
        again = await harness.runtime.launch(spec)
        assert (again.uid, again.phase) == (first.uid, Phase.ENDED)

    async def test_an_ended_run_that_is_forgotten_leaves_nothing(self, harness: Harness) -> None:
        spec = a_spec()
        async with watching(harness.runtime) as until:
            seen = await harness.runtime.launch(spec)
            await harness.runtime.stop(spec.run, seen.uid, GRACE)
            await until(spec.run, Phase.ENDED)
            await harness.runtime.forget(spec.run)
            await until(spec.run, None)
        assert await harness.runtime.look(spec.run) is None
        await harness.runtime.forget(spec.run)

    async def test_a_living_run_cannot_be_forgotten(self, harness: Harness) -> None:
        spec = a_spec()
        async with watching(harness.runtime) as until:
            await harness.runtime.launch(spec)
            await until(spec.run, Phase.RUNNING)
            await harness.runtime.forget(spec.run)
        assert (await harness.runtime.look(spec.run)).phase is Phase.RUNNING

    async def test_a_run_outlives_the_hub_and_is_found_again(self, harness: Harness) -> None:
        spec = a_spec()
        async with watching(harness.runtime) as until:
            await harness.runtime.launch(spec)
            before = await until(spec.run, Phase.RUNNING)
        await harness.runtime.close()
        later = harness.restarted()
        event = await first_event(later)
        assert isinstance(event, Snapshot)
        assert before in event.runs
        assert await later.look(spec.run) == before

    async def test_what_another_replica_does_is_seen(self, harness: Harness) -> None:
        spec = a_spec()
        other = harness.restarted()
        async with watching(harness.runtime) as until:
            seen = await other.launch(spec)
            await until(spec.run, Phase.RUNNING)
            await other.stop(spec.run, seen.uid, GRACE)
            await until(spec.run, Phase.ENDED)

    async def test_deleting_a_home_that_is_not_there_is_fine(self, harness: Harness) -> None:
        spec = a_spec()
        await harness.runtime.launch(spec)
        await harness.runtime.delete_home(spec.user_id)
        await harness.runtime.delete_home(spec.user_id)


__all__ = ["Changed", "Harness", "RuntimeContract", "a_spec", "watching"]
