"""Who may attach to which running session, as this replica saw it last: so that a reload finds its terminal again while
Postgres is away. Bounded in size and age; a login that ends is forgotten as soon as Postgres says so.

Must not be asked while Postgres answers.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

from app.accounts.logins import Login
from app.accounts.models import Account
from app.sessions.models import Session

MAX_LOGINS = 5000
MAX_SESSIONS = 32  # Of one login.
RECENT = 3600.0  # Seconds since a login was seen here, unless it has a terminal open.
OUTAGE_LIMIT = 1800.0  # Seconds of an outage: logins may have ended meanwhile at replicas that Postgres answers.


@dataclass(slots=True)
class _Seen:
    at: float
    login: Login
    account: Account
    sessions: OrderedDict[str, Session] = field(default_factory=OrderedDict)


class Remembered:
    """In memory, for one replica."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[UUID, _Seen] = OrderedDict()  # By login, the one seen last at the end.
        self._open: Counter[UUID] = Counter()  # Terminals, by login.
        self._ended: OrderedDict[UUID, None] = OrderedDict()  # Logins that a request under way must not bring back.

    def note(self, login: Login, account: Account, session: Session) -> None:
        """Postgres has just said that this login has not ended and that the session is its account's."""
        if login.id in self._ended:
            return  # It ended since.
        seen = self._seen.pop(login.id, None) or _Seen(0.0, login, account)
        seen.at, seen.login, seen.account = self._clock(), login, account
        self._seen[login.id] = seen
        seen.sessions.pop(session.id, None)
        seen.sessions[session.id] = session
        while len(seen.sessions) > MAX_SESSIONS:
            seen.sessions.popitem(last=False)
        while len(self._seen) > MAX_LOGINS:
            self._seen.popitem(last=False)

    @contextlib.contextmanager
    def open(self, login_id: UUID) -> Iterator[None]:
        """Within the context the login has a terminal open here, and is checked every few seconds."""
        self._open[login_id] += 1
        try:
            yield
        finally:
            self._open[login_id] -= 1
            if not self._open[login_id]:
                del self._open[login_id]
            if login_id in self._seen:
                self._seen[login_id].at = self._clock()

    def get_login(self, login_id: UUID, outage: float | None) -> tuple[Login, Account] | None:
        """A login, `outage` seconds after Postgres has last answered."""
        seen = self._get(login_id, outage)
        return (seen.login, seen.account) if seen else None

    def get_session(self, login_id: UUID, session_id: str, outage: float | None) -> Session | None:
        seen = self._get(login_id, outage)
        return seen.sessions.get(session_id) if seen else None

    def forget(self, login_id: UUID) -> None:
        """It has ended."""
        self._seen.pop(login_id, None)
        self._ended[login_id] = None
        while len(self._ended) > MAX_LOGINS:
            self._ended.popitem(last=False)

    def forget_closed(self) -> None:
        """Ends may have been missed. Logins with an open terminal are checked anyway."""
        for login_id in [one for one in self._seen if one not in self._open]:
            del self._seen[login_id]

    def _get(self, login_id: UUID, outage: float | None) -> _Seen | None:
        seen = self._seen.get(login_id)
        if seen is None or (outage or 0.0) > OUTAGE_LIMIT:
            return None
        if login_id not in self._open and self._clock() - seen.at > RECENT:
            return None
        return seen
