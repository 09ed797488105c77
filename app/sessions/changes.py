"""Wakes what waits in this process for a change of a session. In memory; a wake-up is a hint to read again.

Must not read the database: the lifecycle manager publishes what Postgres announces, whichever replica made the change.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator

from app.aio import within


class Subscription:
    """Changes for one listener, by session id. Those that come while it does not look fold into one set."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._event = asyncio.Event()
        self._closed = False

    def note(self, session_id: str) -> None:
        self._ids.add(session_id)
        self._event.set()

    def open(self) -> bool:
        """Whether there may be more to come."""
        return not self._closed

    def close(self) -> None:
        self._closed = True
        self._event.set()

    async def wait(self, timeout: float) -> set[str]:
        """The ids that changed since the last look; empty after `timeout` seconds, or once closed."""
        if not self._ids and not self._closed:
            await within(self._event, timeout)
        ids, self._ids = self._ids, set()
        if not self._closed:
            self._event.clear()
        return ids


class Changes:
    """Publish and subscribe by user."""

    def __init__(self) -> None:
        self._by_user: dict[str, set[Subscription]] = defaultdict(set)
        self._closed = False

    @contextlib.contextmanager
    def subscribe(self, user_id: object) -> Iterator[Subscription]:
        subscription = Subscription()
        if self._closed:
            subscription.close()
        self._by_user[str(user_id)].add(subscription)
        try:
            yield subscription
        finally:
            self._by_user[str(user_id)].discard(subscription)
            if not self._by_user[str(user_id)]:
                del self._by_user[str(user_id)]

    def publish(self, user_id: str, session_id: str) -> None:
        for subscription in self._by_user.get(user_id, ()):
            subscription.note(session_id)

    def publish_all(self) -> None:
        """Changes may have been missed: everybody looks again."""
        for subscriptions in self._by_user.values():
            for subscription in subscriptions:
                subscription.note("")

    def close(self) -> None:
        """The replica is leaving: release every listener."""
        self._closed = True
        for subscriptions in self._by_user.values():
            for subscription in subscriptions:
                subscription.close()
