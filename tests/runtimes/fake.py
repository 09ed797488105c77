"""A runtime in memory: our own Runtime protocol, for tests of what stands on it. It passes `contract.py` like the real ones.

Faults are asked for by name: `fail(...)` makes the next launches raise, `hold()` keeps new runs pending, `deaf` loses
changes (only a snapshot repairs that), `crash(run)` and `quit(run)` end a run from outside.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

from app.errors import RuntimeFailure
from app.runtimes.base import Changed, Event, Observed, Phase, Reason, RunId, RunSpec, Snapshot


class World:
    """What outlives a Hub: the runs themselves. Several FakeRuntimes (replicas) may share one."""

    def __init__(self) -> None:
        self.runs: dict[RunId, Observed] = {}
        self.listeners: set[asyncio.Queue[Event]] = set()
        self.started: Counter[RunId] = Counter()
        self.launched = 0
        self.homes: set[str] = set()

    def put(self, seen: Observed) -> None:
        self.runs[seen.run] = seen
        self.tell(Changed(seen))

    def tell(self, event: Event) -> None:
        for queue in self.listeners:
            queue.put_nowait(event)

    def living(self) -> list[RunId]:
        return [run for run, seen in self.runs.items() if seen.phase is not Phase.ENDED]


class FakeRuntime:
    def __init__(self, world: World | None = None, *, address: str = "127.0.0.1:1") -> None:
        self.world = world or World()
        self.address = address
        self.deaf = False
        self.stubborn = False  # Runs do not end when asked to.
        self.latency = 0.0
        self.room: int | None = None  # Runs that there may be at once.
        self.foreign = 0
        self.asked = 0  # Launches, those that failed too.
        self._failures: list[RuntimeFailure] = []
        self._held = self._waits = False
        self.away = False
        self._synced_at: float | None = None

    # Faults

    def fail(self, *failures: RuntimeFailure) -> None:
        self._failures.extend(failures)

    def hold(self, *, waits: bool = False) -> None:
        """New runs stay pending. `waits`: for the place where runs live."""
        self._held, self._waits = True, waits

    def let_go(self) -> None:
        self._held = False
        for run, seen in list(self.world.runs.items()):
            if seen.phase is Phase.PENDING:
                self.world.put(replace(self.world.runs[run], phase=Phase.RUNNING, address=self.address, detail=""))

    def quit(self, run: RunId) -> None:
        self.end(run, Reason.QUIT)

    def end(self, run: RunId, reason: Reason, detail: str = "") -> None:
        self.world.put(replace(self.world.runs[run], phase=Phase.ENDED, address=None, reason=reason, detail=detail))

    def vanish(self, run: RunId) -> None:
        """The run goes without leaving a record."""
        seen = self.world.runs.pop(run)
        self.world.tell(Changed(seen, gone=True))

    # The protocol

    async def launch(self, spec: RunSpec) -> Observed:
        await asyncio.sleep(self.latency)
        self.asked += 1
        if self._failures:
            raise self._failures.pop(0)
        if self.room is not None and spec.run not in self.world.runs and len(self.world.living()) >= self.room:
            raise RuntimeFailure("The quota is used up.", reason=Reason.NO_ROOM)
        self.world.homes.add(spec.user_id)
        known = self.world.runs.get(spec.run)
        if known is not None:
            return known
        self.world.launched += 1
        self.world.started[spec.run] += 1
        uid = f"uid-{self.world.launched}"
        if self._held:
            self.world.put(Observed(spec.run, Phase.PENDING, uid, detail="Held", waits=self._waits))
        else:
            self.world.put(Observed(spec.run, Phase.RUNNING, uid, address=self.address))
        return self.world.runs[spec.run]

    async def look(self, run: RunId, uid: str | None = None) -> Observed | None:
        return self.world.runs.get(run)

    async def stop(self, run: RunId, uid: str | None, grace: float) -> None:
        await asyncio.sleep(self.latency)
        seen = self.world.runs.get(run)
        if seen is None or seen.phase is Phase.ENDED or uid not in (None, seen.uid) or self.stubborn:
            return
        self.end(run, Reason.STOPPED_BY_USER)

    async def forget(self, run: RunId) -> None:
        seen = self.world.runs.get(run)
        if seen is not None and seen.phase is Phase.ENDED:
            self.vanish(run)

    async def observe(self) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self.world.listeners.add(queue)
        try:
            self._synced_at = time.monotonic()
            yield Snapshot(tuple(self.world.runs.values()))
            while True:
                event = await queue.get()
                self._synced_at = time.monotonic()
                if not self.deaf or isinstance(event, Snapshot):
                    yield event
        finally:
            self.world.listeners.discard(queue)

    def resync(self) -> None:
        """What a runtime does after it may have missed something."""
        self.world.tell(Snapshot(tuple(self.world.runs.values())))

    @property
    def synced_at(self) -> float | None:
        return self._synced_at

    @property
    def foreign_runs(self) -> int:
        return self.foreign

    def offer_warm(self, spec: RunSpec) -> None:
        """Nothing is kept warm."""

    async def take_warm(self, spec: RunSpec, uid: str) -> None:
        """Nothing is kept warm."""

    async def keep_warm(self, count: int, *, make: bool) -> None:
        """Nothing is kept warm."""

    async def delete_home(self, user_id: str) -> None:
        self.world.homes.discard(user_id)

    async def close(self) -> None:
        """Nothing is held."""
