"""Follows this Hub's pods for ever: a list, then a watch from its version, and on from the last version when that ends.

Whatever goes wrong, it goes on: a broken or silent watch is taken up where it was, an expired version leads to another
list. One for each replica, whatever the number of pods. Must conclude nothing; that is for `known` to do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing

from app.aio import backoff
from app.errors import RuntimeFailure
from app.runtimes.base import Changed, Event
from app.runtimes.kubernetes.cluster import Cluster, Expired
from app.runtimes.kubernetes.known import Known

log = logging.getLogger("hub.kubernetes")

# Seconds that one watch is asked to last. One that has not ended soon after is dead, whatever its connection looks like,
# so this is how long silence may hide what happens.
WATCH_TIME = 30.0
LONGEST_DELAY = 5.0  # Seconds between two tries, so that an API server that comes back is found soon.
TRIES = 3  # Failures in a row from one version before everything is listed anew.


class Informer:
    """Enters all that happens in `known`, and tells each change. `watch_time` is in seconds."""

    def __init__(
        self,
        cluster: Cluster,
        selector: str,
        known: Known,
        tell: Callable[[Event], None],
        *,
        watch_time: float = WATCH_TIME,
    ) -> None:
        self.synced_at: float | None = None
        self.failing = False  # Whether the last list or watch failed, and none has begun since.
        self._cluster = cluster
        self._selector = selector
        self._known = known
        self._tell = tell
        self._watch_time = watch_time
        self._version: str | None = None  # Of the last word; None where everything has to be listed.
        self._heard = False  # Whether the watch has said anything, or has run its time.

    async def run(self) -> None:
        """Never returns."""
        delays = backoff(0.1, LONGEST_DELAY)
        failures = 0
        while True:
            self._heard = False
            wait = 0.0
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
            except Expired:
                self._version = None
                log.info("the watch's version has expired; listing all pods again")
            except RuntimeFailure as failure:
                self.failing = True
                wait = getattr(failure, "wait", 0.0)
                failures = 0 if self._heard else failures + 1
                log.warning("following the pods: %s (%s in a row)", failure.message, failures)
                if failures and failures % TRIES == 0:
                    self._version = None
            if self._heard:
                delays = backoff(0.1, LONGEST_DELAY)
            await asyncio.sleep(max(wait, next(delays)))

    async def _list(self) -> None:
        pods, version = await self._cluster.list_pods(self._selector)
        self._known.listed(pods, version)
        self._version = version
        self.synced_at = time.monotonic()
        self._tell(self._known.snapshot())

    async def _watch(self) -> None:
        assert self._version is not None  # noqa: S101  (listed before)
        began = time.monotonic()
        events = self._cluster.watch_pods(self._selector, self._version, self._watch_time)
        async with aclosing(events):  # type: ignore[type-var]
            async for event in events:
                self.synced_at = time.monotonic()
                self.failing = False
                if event is None:
                    continue
                self._heard = True
                self._version = event.object["metadata"]["resourceVersion"]
                changed = self._enter(event.type, event.object)
                if changed is not None:
                    self._tell(changed)
        self.synced_at = time.monotonic()
        self._heard = self._heard or time.monotonic() - began > self._watch_time / 2

    def _enter(self, kind: str, pod: dict[str, object]) -> Changed | None:
        if kind in ("ADDED", "MODIFIED"):
            return self._known.take(pod)
        return self._known.deleted(pod) if kind == "DELETED" else None
