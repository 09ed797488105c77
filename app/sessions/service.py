"""What people may do with sessions. Every call is on behalf of one user and sees that user's sessions alone.

Writes what is wanted and nothing of what is observed: the lifecycle manager moves the state.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from uuid import UUID

from app.db.tables import Session as Row
from app.errors import BadInput, LimitReached, NotFound
from app.runtimes.base import Reason, Source
from app.sessions.deadlines import Deadlines
from app.sessions.models import NAME_LENGTH, Session
from app.sessions.state import State, Wanted
from app.settings import Settings

ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # No l, o, 0, 1: an id may be read aloud. Fit for a pod's name.

QUEUE = """WITH waiting AS MATERIALIZED (
             SELECT id, "user", queued_at, created_at FROM sessions WHERE state = 'queued' AND wanted = 'running'),
           theirs AS MATERIALIZED (
             SELECT "user", max(launched_at) AS served FROM sessions
             WHERE "user" IN (SELECT "user" FROM waiting) GROUP BY "user")
           SELECT id, row_number() OVER (ORDER BY turn, served NULLS FIRST, queued_at, created_at, id) AS position FROM (
             SELECT *, row_number() OVER (PARTITION BY "user" ORDER BY queued_at, created_at, id) AS turn
             FROM waiting JOIN theirs USING ("user")) AS line"""
"""The queue in its order: round robin over users, the one served longest ago first, each user's oldest first."""


def clean_name(raw: str) -> str:
    """A session's name: one line of text, no control characters. Raises BadInput when nothing is left or it is too long."""
    name = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+", " ", raw).strip()
    if not name:
        raise BadInput("Give the session a name.", field="name")
    if len(name) > NAME_LENGTH:
        raise BadInput(f"The name is too long: {NAME_LENGTH} characters at most.", field="name")
    return name


class Sessions:
    """Sessions of users. All methods raise NotFound for a session that is not there or not the user's."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._all = f"*, {Deadlines(settings).columns}"  # What a Session is made of.

    def limit_for(self, *, guest: bool) -> int:
        return self.settings.guest_sessions if guest else self.settings.sessions_per_user

    async def list(self, user_id: UUID) -> Sequence[Session]:
        """The user's sessions, the newest first."""
        rows = await Row.raw(
            f"""SELECT {self._all} FROM sessions WHERE "user" = {{}} AND wanted <> 'deleted'
                ORDER BY created_at DESC, id""",  # noqa: S608
            user_id,
        )
        return [Session.from_row(row) for row in rows]

    async def get(self, user_id: UUID, session_id: str) -> Session:
        rows = await Row.raw(
            f"""SELECT {self._all} FROM sessions WHERE id = {{}} AND "user" = {{}} AND wanted <> 'deleted'""",  # noqa: S608
            session_id,
            user_id,
        )
        if not rows:
            raise NotFound("There is no such session among yours. It may have been deleted.")
        return Session.from_row(rows[0])

    async def get_any(self, session_id: str) -> Session:
        """A session of any user: for administrators and for the Hub itself."""
        rows = await Row.raw(
            f"SELECT {self._all} FROM sessions WHERE id = {{}} AND wanted <> 'deleted'",  # noqa: S608
            session_id,
        )
        if not rows:
            raise NotFound("There is no such session. It may have been deleted.")
        return Session.from_row(rows[0])

    async def by_ids(self, session_ids: Iterable[str]) -> Sequence[Session]:
        """Those of these sessions that exist, of any user: for the Hub itself."""
        rows = await Row.raw(f"SELECT {self._all} FROM sessions WHERE id = ANY({{}})", [*session_ids])  # noqa: S608
        return [Session.from_row(row) for row in rows]

    async def list_all(self) -> Sequence[tuple[Session, str | None]]:
        """Every session with its owner's e-mail (None: a guest), those that run first."""
        rows = await Row.raw(
            f"""SELECT s.*, u.email AS owner FROM (SELECT {self._all} FROM sessions) s JOIN users u ON u.id = s."user"
                WHERE s.wanted <> 'deleted'
                ORDER BY s.state IN ('stopped', 'failed'), s.created_at DESC LIMIT 500"""  # noqa: S608
        )
        return [(Session.from_row(row), row["owner"]) for row in rows]

    async def create(
        self, user_id: UUID, *, guest: bool, name: str, source: Source, form_key: str | None = None
    ) -> Session:
        """Make a session that is to run. The same form sent again (`form_key`, name and source) gives the same session.

        Not one that has been deleted since, though it may still be stopping: then the form makes a new one.

        Raises BadInput for a bad name, LimitReached when the user has as many sessions as they may.
        """
        name = clean_name(name)
        most = self.limit_for(guest=guest)
        session_id = "".join(secrets.choice(ID_ALPHABET) for _ in range(12))
        async with Row._meta.db.transaction():
            # The user's row is the lock under which their sessions are counted.
            if not await Row.raw("SELECT id FROM users WHERE id = {} AND deleted_at IS NULL FOR UPDATE", user_id):
                raise NotFound("Your account is gone. Log in again.")
            if form_key:
                # With what the form says: one that was changed and sent again asks for something else.
                form_key = hashlib.sha256("\n".join((form_key, name, source.kind, source.value)).encode()).hexdigest()
                await Row.raw(
                    """UPDATE sessions SET form_key = NULL WHERE "user" = {} AND form_key = {} AND wanted = 'deleted'""",
                    user_id,
                    form_key,
                )
                same = await Row.raw('SELECT * FROM sessions WHERE "user" = {} AND form_key = {}', user_id, form_key)
                if same:
                    return Session.from_row(same[0])
            count = await Row.raw(
                """SELECT count(*) AS n FROM sessions WHERE "user" = {} AND wanted <> 'deleted'""", user_id
            )
            if count[0]["n"] >= most:
                have = "1 session" if most == 1 else f"{count[0]['n']} sessions"
                raise LimitReached(
                    f"You have {have}, which is as many as you may have. Delete one that you no longer need, then try again."
                )
            rows = await Row.raw(
                """INSERT INTO sessions (id, "user", name, source_kind, source_value, form_key, wanted, state,
                     detail, generation, attempts, due_at, created_at)
                   VALUES ({}, {}, {}, {}, {}, {}, 'running', 'stopped', '', 0, 0, now(), now()) RETURNING *""",
                session_id,
                user_id,
                name,
                source.kind,
                source.value,
                form_key,
            )
        return Session.from_row(rows[0])

    async def rename(self, user_id: UUID, session_id: str, name: str) -> Session:
        return await self._write(user_id, session_id, "name = {}", clean_name(name))

    async def start(self, user_id: UUID, session_id: str) -> Session:
        """It is to run. One that runs already is left as it is."""
        return await self._want(user_id, session_id, Wanted.RUNNING, None)

    async def stop(self, user_id: UUID, session_id: str) -> Session:
        """It is to stop. One that is stopped already is left as it is."""
        return await self._want(user_id, session_id, Wanted.STOPPED, Reason.STOPPED_BY_USER)

    async def delete(self, user_id: UUID, session_id: str) -> Session:
        """It is to stop and go. Files in the home stay."""
        return await self._want(user_id, session_id, Wanted.DELETED, Reason.STOPPED_BY_USER)

    async def stop_any(self, session_id: str) -> Session:
        """An administrator stops a session of any user."""
        session = await self.get_any(session_id)
        return await self._want(session.user_id, session_id, Wanted.STOPPED, Reason.STOPPED_BY_ADMIN)

    async def stay(self, user_id: UUID, session_id: str) -> Session:
        """The person says that they are still there: counts as input."""
        return await self._write(user_id, session_id, "last_input_at = now()")

    async def delete_all(self, user_id: UUID) -> None:
        """All of the user's sessions are to stop and go: the user goes."""
        await Row.raw(
            """UPDATE sessions SET wanted = 'deleted', wanted_reason = {}, due_at = now() WHERE "user" = {}""",
            Reason.STOPPED_BY_USER.value,
            user_id,
        )

    async def note_input(self, session_ids: Iterable[str]) -> None:
        """These sessions got input within the last few seconds."""
        await Row.raw(
            "UPDATE sessions SET last_input_at = now() WHERE id = ANY({}) AND state = {}",
            list(session_ids),
            State.RUNNING.value,
        )

    async def queue_positions(self, sessions: Iterable[Session]) -> dict[str, int]:
        """Of those that are queued, each one's place in the queue, from 1. Asks nothing when none is."""
        queued = [session.id for session in sessions if session.state is State.QUEUED]
        if not queued:
            return {}
        rows = await Row.raw(f"SELECT id, position FROM ({QUEUE}) AS line WHERE id = ANY({{}})", queued)  # noqa: S608
        return {row["id"]: row["position"] for row in rows}

    async def queue(self) -> dict[str, int]:
        """The place in the queue of every session that waits, from 1."""
        rows = await Row.raw(f"SELECT id, position FROM ({QUEUE}) AS line")  # noqa: S608
        return {row["id"]: row["position"] for row in rows}

    async def _want(self, user_id: UUID, session_id: str, wanted: Wanted, reason: Reason | None) -> Session:
        # Asking for what is wanted already changes nothing, so that a form sent twice counts once.
        rows = await Row.raw(
            f"""UPDATE sessions SET wanted = {{}}, wanted_reason = {{}}, due_at = now(), attempts = 0
               WHERE id = {{}} AND "user" = {{}} AND wanted <> {{}} AND wanted <> 'deleted'
               RETURNING {self._all}""",  # noqa: S608
            wanted.value,
            reason.value if reason else None,
            session_id,
            user_id,
            wanted.value,
        )
        return Session.from_row(rows[0]) if rows else await self.get(user_id, session_id)

    async def _write(self, user_id: UUID, session_id: str, change: str, *values: object) -> Session:
        rows = await Row.raw(
            f"""UPDATE sessions SET {change} WHERE id = {{}} AND "user" = {{}} AND wanted <> 'deleted'
                RETURNING {self._all}""",  # noqa: S608  (`change` is one of two literals above)
            *values,
            session_id,
            user_id,
        )
        if not rows:
            raise NotFound("There is no such session among yours. It may have been deleted.")
        return Session.from_row(rows[0])
