"""What the lifecycle manager reads and writes, as SQL. Every write to a session is guarded by its generation and by the
lease, so that a replica which has lost its lease (it was too slow, or its clock is wrong) changes nothing. All times are
Postgres's own. Must decide nothing.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from app.db.tables import Session as Row
from app.runtimes.base import Reason, RunId
from app.sessions.models import Session
from app.sessions.service import QUEUE

ADMISSION_LOCK = 0x48554251  # "HUBQ": one replica at a time lets sessions in, so that the limit holds.


async def take_due(replica: str, most: int, lease: timedelta) -> list[Session]:
    """Lease up to `most` sessions that are due, or whose lease ran out with its work undone."""
    rows = await Row.raw(
        """UPDATE sessions SET lease_by = {}, lease_until = now() + {}::interval, due_at = NULL
           WHERE id IN (SELECT id FROM sessions
                        WHERE (due_at <= now() OR lease_by IS NOT NULL) AND (lease_until IS NULL OR lease_until < now())
                        ORDER BY due_at NULLS FIRST LIMIT {} FOR UPDATE SKIP LOCKED)
           RETURNING *, now() AS read_at, (SELECT email IS NULL FROM users WHERE users.id = "user") AS guest""",
        replica,
        lease,
        most,
    )
    return [Session.from_row(row) for row in rows]


async def release(session: Session, replica: str, *, again_in: timedelta | None, failed: bool = False) -> None:
    """Give the lease back; look again after `again_in`, or only when something changes."""
    await Row.raw(
        """UPDATE sessions SET lease_by = NULL, lease_until = NULL, due_at = LEAST(due_at, now() + {}::interval),
             attempts = CASE WHEN {} THEN attempts + 1 ELSE attempts END
           WHERE id = {} AND lease_by = {}""",
        again_in,
        failed,
        session.id,
        replica,
    )


async def release_all(replica: str) -> None:
    """The replica leaves: others may take on its work at once."""
    await Row.raw(
        "UPDATE sessions SET lease_by = NULL, lease_until = NULL, due_at = now() WHERE lease_by = {}", replica
    )


async def poke(run: RunId) -> bool:
    """Something happened to this run: a manager is to look. False when no session is at this generation."""
    rows = await Row.raw(
        """UPDATE sessions SET due_at = now() WHERE id = {} AND generation = {}
             AND state IN ('starting', 'running', 'stopping') RETURNING id""",
        run.session_id,
        run.generation,
    )
    return bool(rows)


async def admit(max_runs: int) -> tuple[list[Session], int]:
    """Queue what is to run and start as many as there is room for, round robin over users, each user's oldest first.

    Gives the sessions that were started (due at once, generation raised, `credential` new) and how many still wait.
    """
    async with Row._meta.db.transaction():
        await Row.raw("SELECT pg_advisory_xact_lock({})", ADMISSION_LOCK)
        await Row.raw(
            """UPDATE sessions SET state = 'queued', reason = NULL, detail = '', queued_at = now(),
                 started_at = NULL, ended_at = NULL
               WHERE wanted = 'running' AND state IN ('stopped', 'failed')"""
        )
        rows = await Row.raw(
            f"""WITH taken AS (
                 SELECT count(*) AS n FROM sessions WHERE state IN ('starting', 'running', 'stopping')),
               line AS ({QUEUE}),
               next AS (
                 SELECT id FROM line ORDER BY position LIMIT GREATEST(0, {{}} - (SELECT n FROM taken)))
               UPDATE sessions SET state = 'starting', generation = generation + 1, run_uid = NULL, address = NULL,
                 credential = 'hub:' || encode(sha256(gen_random_uuid()::text::bytea || gen_random_uuid()::text::bytea),
                                               'hex'),
                 launched_at = now(), last_input_at = NULL, due_at = now(), attempts = 0
               WHERE id IN (SELECT id FROM next) RETURNING *""",  # noqa: S608
            max_runs,
        )
        waiting = await Row.raw("SELECT count(*) AS n FROM sessions WHERE state = 'queued' AND wanted = 'running'")
    return [Session.from_row(row) for row in rows], int(waiting[0]["n"])


async def mark_running(session: Session, replica: str, *, uid: str, address: str) -> bool:
    rows = await Row.raw(
        """UPDATE sessions SET state = 'running', run_uid = {}, address = {}, detail = '', reason = NULL,
             started_at = now()
           WHERE id = {} AND generation = {} AND lease_by = {} AND state = 'starting' RETURNING id""",
        uid,
        address,
        session.id,
        session.generation,
        replica,
    )
    return bool(rows)


async def note_address(session: Session, replica: str, *, address: str | None) -> None:
    """The run is to be reached elsewhere from now on."""
    await Row.raw(
        """UPDATE sessions SET address = {}
           WHERE id = {} AND generation = {} AND lease_by = {} AND state = 'running'""",
        address,
        session.id,
        session.generation,
        replica,
    )


async def note_progress(session: Session, replica: str, *, uid: str, detail: str) -> None:
    """What a starting run is doing, for the page."""
    await Row.raw(
        """UPDATE sessions SET run_uid = {}, detail = {}
           WHERE id = {} AND generation = {} AND lease_by = {} AND state = 'starting'
             AND (run_uid IS DISTINCT FROM {} OR detail <> {})""",
        uid,
        detail,
        session.id,
        session.generation,
        replica,
        uid,
        detail,
    )


async def mark_stopping(session: Session, replica: str) -> bool:
    rows = await Row.raw(
        """UPDATE sessions SET state = 'stopping', reason = wanted_reason
           WHERE id = {} AND generation = {} AND lease_by = {} AND state IN ('starting', 'running') RETURNING id""",
        session.id,
        session.generation,
        replica,
    )
    return bool(rows)


async def mark_ended(session: Session, replica: str, *, state: str, reason: Reason | None, detail: str) -> bool:
    """The run is over. What is wanted becomes `stopped`, unless the person has asked for something else since."""
    rows = await Row.raw(
        """UPDATE sessions SET state = {}, reason = COALESCE({}, reason, wanted_reason), detail = {}, ended_at = now(),
             address = NULL, run_uid = NULL, credential = NULL, queued_at = NULL,
             wanted = CASE WHEN wanted = 'running' AND state IN ('starting', 'running') THEN 'stopped' ELSE wanted END
           WHERE id = {} AND generation = {} AND lease_by = {}
             AND state IN ('queued', 'starting', 'running', 'stopping')
           RETURNING id""",
        state,
        reason.value if reason else None,
        detail[:500],
        session.id,
        session.generation,
        replica,
    )
    return bool(rows)


async def delete(session: Session, replica: str) -> bool:
    rows = await Row.raw(
        "DELETE FROM sessions WHERE id = {} AND generation = {} AND lease_by = {} AND wanted = 'deleted' RETURNING id",
        session.id,
        session.generation,
        replica,
    )
    return bool(rows)


async def stop_overdue(idle: timedelta, max_age: timedelta, margin: timedelta) -> None:
    """Sessions past a deadline are to stop. One statement, so that input which came in the meantime counts.

    `margin` is the longest that input may wait in a replica's memory before it is written.
    """
    await Row.raw(
        """UPDATE sessions SET wanted = 'stopped', due_at = now(),
             wanted_reason = CASE WHEN started_at < now() - {}::interval THEN 'too_old' ELSE 'idle' END
           WHERE state = 'running' AND wanted = 'running'
             AND (started_at < now() - {}::interval OR COALESCE(last_input_at, started_at) < now() - {}::interval)""",
        max_age,
        max_age,
        idle + margin,
    )


async def live_runs(older_than: timedelta) -> list[tuple[RunId, str]]:
    """(run, state) of the sessions that should have a run, launched at least `older_than` ago."""
    rows = await Row.raw(
        """SELECT id, generation, state FROM sessions
           WHERE state IN ('starting', 'running', 'stopping') AND launched_at < now() - {}::interval""",
        older_than,
    )
    return [(RunId(row["id"], row["generation"]), row["state"]) for row in rows]


async def known_runs() -> set[RunId]:
    rows = await Row.raw("SELECT id, generation FROM sessions WHERE state IN ('starting', 'running', 'stopping')")
    return {RunId(row["id"], row["generation"]) for row in rows}


async def sessions_by_id(ids: list[str]) -> list[Session]:
    rows = await Row.raw("SELECT * FROM sessions WHERE id = ANY({})", ids)
    return [Session.from_row(row) for row in rows]


async def expire_guests(lifetime: timedelta) -> None:
    """Guests who were not seen for long go, unless one of their sessions has had input since."""
    await Row.raw(
        """UPDATE users u SET deleted_at = now(), login_epoch = login_epoch + 1
           WHERE u.email IS NULL AND u.deleted_at IS NULL AND u.seen_at < now() - {}::interval
             AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s."user" = u.id AND s.last_input_at > now() - {}::interval)""",
        lifetime,
        lifetime,
    )
    await Row.raw(
        """UPDATE sessions SET wanted = 'deleted', wanted_reason = 'stopped_by_user', due_at = now()
           WHERE wanted <> 'deleted' AND "user" IN (SELECT id FROM users WHERE deleted_at IS NOT NULL)"""
    )


async def users_to_bury() -> list[UUID]:
    """Users who go and have no session left."""
    rows = await Row.raw(
        """SELECT id FROM users u WHERE deleted_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s."user" = u.id) LIMIT 100"""
    )
    return [row["id"] for row in rows]


async def bury(user_id: UUID) -> None:
    await Row.raw("DELETE FROM users WHERE id = {} AND deleted_at IS NOT NULL", user_id)
