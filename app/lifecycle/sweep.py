"""The sweep: ends runs that no session has, and has sessions checked whose run is not seen.

It has a brake. With a database that is empty, restored from an older backup, or another Hub's, the living runs of users look
like orphans. So where many runs would end at once, or one is newer than its session's row, the sweep is held in all replicas
until an administrator confirms it. While it is held, deadlines and the expiry of guests stop no run either.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta

from app.errors import RuntimeFailure
from app.lifecycle import installation, queries
from app.lifecycle.installation import Hold
from app.runtimes.base import Observed, Phase, RunId, Runtime
from app.settings import Settings

log = logging.getLogger("hub.lifecycle")

ORPHAN_GRACE = 30.0  # Seconds that a run without a row, or a row without a run, is left alone.
FEW = 3  # Orphans that are ended without a confirmation, however few runs there are.
PART = 0.1  # The same, as a part of all runs.
SAMPLE = 4  # Runs that the runtime is asked about before the sweep is held.

Runs = dict[RunId, str]
"""Runs with their uids."""

HELD_ADVICE = (
    "Nothing is stopped until an administrator confirms it on the admin page or with `hub sweep --confirm`. "
    "If this is not the database that the runs were started from, correct HUB_DATABASE_URL and restart instead."
)


def is_many(count: int, total: int) -> bool:
    """Whether `count` orphans among `total` live runs are too many to end without a confirmation."""
    return count > max(FEW, total * PART)


def _some(runs: Runs) -> list[tuple[RunId, str]]:
    return random.sample(list(runs.items()), min(SAMPLE, len(runs)))


class Sweeper:
    """The sweep of one replica. `seen` gives what the runtime shows at the moment; `wake` tells the manager of work."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        seen: Callable[[], dict[RunId, Observed]],
        wake: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.runtime = runtime
        self.surveyed = asyncio.Event()  # Set once the database was compared with the first full list.
        self.held = False  # As of the last survey or sweep.
        self._seen = seen
        self._wake = wake
        self._orphans: dict[RunId, float] = {}
        self._foreign = 0

    @property
    def may_stop(self) -> bool:
        """Whether runs may be stopped that no user has asked to stop."""
        return self.surveyed.is_set() and not self.held

    async def survey(self) -> None:
        """Compare the database with the first full list, before anything may stop a run."""
        if self.surveyed.is_set():
            return
        seen = self._seen()
        unknown = {run: seen[run].uid for run in await queries.unknown_runs(self._live()) if run in seen}
        await self._brake(await installation.read_hold(), unknown, await self._lost(ORPHAN_GRACE))
        self.surveyed.set()

    async def sweep(self, grace: float = ORPHAN_GRACE) -> None:
        """End runs that no session has had for `grace` seconds, and have sessions checked whose run is not seen."""
        self._report_foreign()
        hold = await installation.read_hold()
        known = await queries.known_runs()
        now = time.monotonic()
        orphans = {run: seen for run, seen in self._seen().items() if run not in known and not seen.unclaimed}
        self._orphans = {run: self._orphans.get(run, now) for run in orphans}
        due = {run: seen for run, seen in orphans.items() if now - self._orphans[run] >= grace}
        living = {run: seen.uid for run, seen in due.items() if seen.phase is not Phase.ENDED}
        if await self._brake(hold, living, await self._lost(grace)):
            return
        for run, seen in due.items():
            try:
                await self._end(run, seen)
            except RuntimeFailure as failure:  # One that cannot be ended must not keep the others.
                log.warning("run %s could not be ended; trying again: %s", run, failure.message)
                if failure.retry:
                    break  # The runtime does not answer at the moment.
        missing = [run for run in await queries.live_runs(timedelta(seconds=grace)) if run not in self._seen()]
        if missing and await queries.requeue_runs(dict.fromkeys(missing)):
            self._wake()

    async def _end(self, run: RunId, seen: Observed) -> None:
        if seen.phase is Phase.ENDED:
            await self.runtime.forget(run)
            self._seen().pop(run, None)
        else:
            log.warning("run %s belongs to no session; stopping it", run)
            await self.runtime.stop(run, seen.uid, self.settings.stop_grace.total_seconds())

    async def _lost(self, grace: float) -> Runs:
        """The runs that sessions have according to the database, if the runtime shows none of them; else empty.

        Where at least one is seen, the others have really vanished: their sessions fail, and the sweep continues.
        """
        placed = await queries.placed_runs(timedelta(seconds=grace))
        return {} if any(run in self._seen() for run in placed) else placed

    async def _brake(self, hold: Hold, orphans: Runs, lost: Runs) -> bool:
        """Whether nothing may be swept now: the sweep is held, or this replica's view is too old to tell."""
        new = {run: uid for run, uid in orphans.items() if str(run) not in hold.confirmed}
        gone = {run: uid for run, uid in lost.items() if str(run) not in hold.confirmed}
        live = self._live()
        ahead = await queries.runs_ahead(new) if new else []
        why: list[str] = []
        if is_many(len(new), len(live)):
            why.append(f"{len(new)} of {len(live)} live runs belong to no session in this database.")
        if ahead:
            why.append(f"{len(ahead)} live runs are newer than this database knows: it was restored from a backup.")
        if len(gone) > FEW:
            why.append(f"Not one of {len(gone)} running sessions has its run here.")
        self.held = hold.since is not None
        if why and not self.held and not await self._runtime_agrees(new, gone):
            log.info("what is known of runs is out of date (%s); sweeping later", " ".join(why))
            return True
        runs = {str(run) for run in (*orphans, *lost)}
        if self.held:
            await installation.renew_hold(runs)
        elif why:
            if await installation.hold(" ".join(why), runs):
                log.error("the sweep is held: %s %s", " ".join(why), HELD_ADVICE)
            self.held = True
        return self.held

    async def _runtime_agrees(self, orphans: Runs, lost: Runs) -> bool:
        """Ask the runtime directly about some of these runs: a replica that was cut off has an old view of them."""
        try:
            for run, uid in _some(orphans):
                seen = await self.runtime.look(run, uid)
                if seen is None or seen.phase is Phase.ENDED:
                    return False
            for run, uid in _some(lost):
                if await self.runtime.look(run, uid) is not None:
                    return False
        except RuntimeFailure:
            return False
        return True

    def _live(self) -> list[RunId]:
        seen = self._seen().items()
        return [run for run, one in seen if one.phase is not Phase.ENDED and not one.unclaimed]

    def _report_foreign(self) -> None:
        count = self.runtime.foreign_runs
        if count > self._foreign:
            log.warning(
                "%s runs of a Hub of this name belong to another database; they are left alone. If people's sessions are "
                "missing, HUB_DATABASE_URL is wrong.",
                count,
            )
        self._foreign = count
