"""The sweep: ends runs that no session has, and looks at sessions whose run is nowhere to be seen.

It has a brake. A database that is empty, restored from an older backup, or another Hub's makes orphans of people's living
runs; so where many runs would end at once, or one is newer than its session's row, the sweep is held for all replicas
until an administrator confirms it. While it is held, deadlines and the expiry of guests stop no run either.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from datetime import timedelta

from app.lifecycle import installation, queries
from app.lifecycle.installation import Hold
from app.runtimes.base import Observed, Phase, RunId, Runtime
from app.settings import Settings

log = logging.getLogger("hub.lifecycle")

ORPHAN_GRACE = 30.0  # Seconds that a run without a row, or a row without a run, is left alone.
FEW = 3  # Runs that may become orphans at once without a question, however few there are.
PART = 0.1  # The same, as a part of all.

HOW_ON = (
    "Nothing is stopped until an administrator confirms it on the admin page or with `hub sweep --confirm`. "
    "If this is not the database that the runs were started from, correct HUB_DATABASE_URL and restart instead."
)


def is_many(count: int, total: int) -> bool:
    """Whether so many of `total` are not taken for orphans without a question."""
    return count > max(FEW, total * PART)


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
        live = self._live()
        placed = await queries.placed_runs()
        unknown = [run for run in await queries.unknown_runs(live) if run in live]
        await self._brake(await installation.read_hold(), unknown, [run for run in placed if run not in self._seen()])
        self.surveyed.set()

    async def sweep(self, grace: float = ORPHAN_GRACE) -> None:
        """End runs that no session has (for `grace` seconds), and look at sessions whose run is nowhere to be seen."""
        self._report_foreign()
        hold = await installation.read_hold()
        known = await queries.known_runs()
        now = time.monotonic()
        orphans = {run: seen for run, seen in self._seen().items() if run not in known and not seen.unclaimed}
        self._orphans = {run: self._orphans.get(run, now) for run in orphans}
        due = {run: seen for run, seen in orphans.items() if now - self._orphans[run] >= grace}
        missing = [run for run in await queries.live_runs(timedelta(seconds=grace)) if run not in self._seen()]
        if await self._brake(hold, [run for run, seen in due.items() if seen.phase is not Phase.ENDED], missing):
            return
        for run, seen in due.items():
            if seen.phase is Phase.ENDED:
                await self.runtime.forget(run)
                self._seen().pop(run, None)
            else:
                log.warning("run %s belongs to no session; stopping it", run)
                await self.runtime.stop(run, seen.uid, self.settings.stop_grace.total_seconds())
        if missing and await queries.poke(dict.fromkeys(missing)):
            self._wake()

    async def _brake(self, hold: Hold, orphans: Collection[RunId], missing: Collection[RunId]) -> bool:
        """Whether the sweep is held, for what it would do now or from before."""
        new = [run for run in orphans if str(run) not in hold.confirmed]
        lost = [run for run in missing if str(run) not in hold.confirmed]
        live, rows = self._live(), await queries.known_runs() if lost else ()
        ahead = await queries.runs_ahead(new) if new else []
        why: list[str] = []
        if is_many(len(new), len(live)):
            why.append(f"{len(new)} of {len(live)} live runs belong to no session in this database.")
        if ahead:
            why.append(f"{len(ahead)} live runs are newer than this database knows: it was restored from a backup.")
        if is_many(len(lost), len(rows)):
            why.append(f"{len(lost)} of {len(rows)} running sessions have no run here.")
        if why or hold.since is not None:
            runs = {str(run) for run in (*orphans, *missing)}
            if await installation.hold(" ".join(why), runs) and why:
                log.error("the sweep is held: %s %s", " ".join(why), HOW_ON)
        self.held = bool(why) or hold.since is not None
        return self.held

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
