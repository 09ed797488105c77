"""What live lists share in one replica: how many streams there may be, one rendering for each change, the queue's order.

A person with many tabs, or a guest who opens streams without end, costs one rendering for each change and not one for each
stream. Must not know what is rendered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.errors import LimitReached, TooManyRequests

T = TypeVar("T")

MAX_STREAMS_OF_USER = 8  # Tabs of one browser share a stream, so these are browsers.
MAX_STREAMS = 1000  # In this replica.
RETRY_AFTER = 60  # Seconds.
MAX_WAITS_OF_USER = 32  # Requests that wait for a state at once: a browser has six connections, a program needs one.


@dataclass(frozen=True, slots=True)
class Page:
    """A list as it is sent."""

    html: str
    positions: Mapping[str, int] = field(default_factory=dict)  # Places in the queue, by session.
    ends_soon: bool = False  # Whether it shows a session that is about to be stopped.


class Shared(Generic[T]):
    """A value that many readers want and one makes. A reader that needs a newer one makes it; the others wait for it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._made: tuple[float, T] | None = None

    async def get(self, since: float, make: Callable[[], Awaitable[T]]) -> T:
        """The value as it was at `since` (the loop's time) or later."""
        async with self._lock:
            if self._made is None or self._made[0] < since:
                began = asyncio.get_running_loop().time()
                self._made = began, await make()
            return self._made[1]


class LiveLists:
    """The live lists of this replica."""

    def __init__(self, queue: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        """`queue` asks for the position of every session that waits."""
        self._queue = queue
        self._positions: Shared[Mapping[str, int]] = Shared()
        self._streams: Counter[str] = Counter()  # By user.
        self._pages: dict[str, Shared[Page]] = {}  # By login.
        self._readers: Counter[str] = Counter()
        self._waits: Counter[str] = Counter()  # By user.

    def check(self, user_id: object) -> None:
        """Raises LimitReached, in words for the person, where there may be no further stream."""
        if self._streams[str(user_id)] >= MAX_STREAMS_OF_USER:
            raise LimitReached(
                f"You have {MAX_STREAMS_OF_USER} live lists open in other browsers, the maximum. This one is refreshed every "
                "15 seconds. Close one of the others to make it live.",
                retry_after=RETRY_AFTER,
            )
        if self._streams.total() >= MAX_STREAMS:
            raise LimitReached("The Hub is busy: this list is refreshed every 15 seconds.", retry_after=RETRY_AFTER)

    @contextlib.contextmanager
    def stream(self, user_id: object, login: str) -> Iterator[Shared[Page]]:
        """Within the context there is one more stream, of this user and login. Gives what its login's streams share.

        Call `check` before the answer begins. Streams that begin in the same moment may exceed the limit by a few.
        """
        self._streams[str(user_id)] += 1
        self._readers[login] += 1
        try:
            yield self._pages.setdefault(login, Shared())
        finally:
            self._streams[str(user_id)] -= 1
            if not self._streams[str(user_id)]:
                del self._streams[str(user_id)]
            self._readers[login] -= 1
            if not self._readers[login]:
                del self._readers[login], self._pages[login]

    @contextlib.contextmanager
    def wait(self, user_id: object) -> Iterator[None]:
        """Within the context one more request of this user waits. Raises TooManyRequests where too many do."""
        key = str(user_id)
        if self._waits[key] >= MAX_WAITS_OF_USER:
            raise TooManyRequests(5)
        self._waits[key] += 1
        try:
            yield
        finally:
            self._waits[key] -= 1
            if not self._waits[key]:
                del self._waits[key]

    async def have_moved(self, positions: Mapping[str, int], since: float) -> bool:
        """Whether these sessions have other places in the queue at `since` or later."""
        queue = await self._positions.get(since, self._queue)
        return any(queue.get(session_id) != position for session_id, position in positions.items())
