"""Ends what is open in this process (terminals, live lists, uploads) once the login or API token that proves it has ended.

Postgres's notification is a hint to check at once; a check every few seconds is the guarantee. One query checks all that is
open. Must not know what is open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from uuid import UUID

from app.aio import within
from app.db.tables import Login as Row
from app.errors import DatabaseOutage

CHANNEL = "hub_logins"  # Triggers in the migrations say the id of a login or token here that has ended.
CHECK_EVERY = 3.0  # Seconds: how late a lost notification is made good.


class LoginWatch:
    """What is open, by the id of the login or API token that proves it.

    `forget` is called for each that has ended, open here or not, and `forget_all` when that may have been missed.
    """

    def __init__(
        self, forget: Callable[[UUID], None] = lambda _: None, forget_all: Callable[[], None] = lambda: None
    ) -> None:
        self._forget = forget
        self._forget_all = forget_all
        self._open: dict[UUID, list[Callable[[], None]]] = {}
        self._owed: dict[UUID, Callable[[], Awaitable[None]]] = {}  # Ends of rows that Postgres has not been told.
        self._check_now = asyncio.Event()

    @contextlib.contextmanager
    def open(self, proof: UUID, end: Callable[[], None]) -> Iterator[None]:
        """Within the context, `end` is called once when the login or token has ended."""
        self._open.setdefault(proof, []).append(end)
        try:
            yield
        finally:
            ends = self._open.get(proof, [])
            if end in ends:  # It was not called.
                ends.remove(end)
                if not ends:
                    del self._open[proof]

    def end(self, proof: UUID) -> None:
        """End what this login or token has open here."""
        for end in self._open.pop(proof, ()):
            end()

    def end_later(self, proof: UUID, end_row: Callable[[], Awaitable[None]]) -> None:
        """End what this login has open here now; and once Postgres is back, by `end_row`, the login itself."""
        self._owed[proof] = end_row
        self._forget(proof)
        self.end(proof)

    def hear(self, proof: str) -> None:
        """This login or token may have ended."""
        with contextlib.suppress(ValueError):
            self._forget(UUID(proof))
            if UUID(proof) in self._open:
                self._check_now.set()

    def check_now(self) -> None:
        """Notifications may have been missed."""
        self._forget_all()
        self._check_now.set()

    async def run(self) -> None:
        """Check until cancelled. While Postgres does not answer, connections stay open."""
        while True:
            await within(self._check_now, CHECK_EVERY)
            self._check_now.clear()
            with contextlib.suppress(DatabaseOutage):
                await self.check()

    async def check(self) -> None:
        for proof, end_row in list(self._owed.items()):
            await end_row()
            del self._owed[proof]
        proofs = list(self._open)
        if not proofs:
            return
        rows = await Row.raw(
            """SELECT l.id FROM logins l JOIN users u ON u.id = l."user"
               WHERE l.id = ANY({}) AND l.ended_at IS NULL AND l.ends_at > now() AND u.deleted_at IS NULL
               UNION ALL
               SELECT t.id FROM api_tokens t JOIN users u ON u.id = t."user" WHERE t.id = ANY({}) AND u.deleted_at IS NULL""",
            proofs,
            proofs,
        )
        good = {row["id"] for row in rows}
        for proof in proofs:
            if proof not in good:
                self._forget(proof)
                self.end(proof)
