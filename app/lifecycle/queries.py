"""What the lifecycle manager reads and writes, as SQL. Every write to a session is guarded by its generation and by the
lease, so that a replica which has lost its lease (it was too slow, or its clock is wrong) changes nothing. All times are
Postgres's own. Must decide nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from uuid import UUID

from app.accounts.service import GUEST_WITHOUT_SESSION
from app.db.tables import Duty
from app.db.tables import Session as Row
from app.runtimes.base import Observed, Reason, RunId
from app.sessions.deadlines import Deadlines
from app.sessions.models import Session
from app.sessions.service import QUEUE

CHANNEL = "hub_sessions"  # The trigger in the migrations says `<user> <session>` here.
ADMISSION_LOCK = 0x48554251  # "HUBQ": one replica at a time lets sessions in, so that the limit holds.
PACE = timedelta(seconds=6)  # Starts are counted over this long: a pace of 60 a minute lets 6 in at once.
TRY_AGAIN = timedelta(seconds=5)  # Room that others than the Hub make or take is looked for this often.
LOGINS_KEPT = timedelta(days=30)  # After their end: a page may stay open, and still say which login it was made for.
FULL_FOR = timedelta(minutes=1)  # After no try has failed for this long, as many as wait are let in again.


async def take_due(replica: str, most: int, lease: timedelta, working: Collection[str] = ()) -> list[Session]:
    """Lease up to `most` sessions that are due, or whose lease ran out with its work undone.

    So are sessions that this replica has leased and is not `working` on (ids): Postgres was away when they should have been
    released.
    """
    rows = await Row.raw(
        """UPDATE sessions SET lease_by = {}, lease_until = now() + {}::interval, due_at = NULL
           WHERE id IN (SELECT id FROM sessions
                        WHERE (due_at <= now() OR lease_by IS NOT NULL)
                          AND (lease_until IS NULL OR lease_until < now() OR lease_by = {}) AND id <> ALL ({})
                        ORDER BY due_at NULLS FIRST LIMIT {} FOR UPDATE SKIP LOCKED)
           RETURNING *, now() AS read_at, (SELECT email IS NULL FROM users WHERE users.id = "user") AS guest""",
        replica,
        lease,
        replica,
        list(working),
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
    """The replica leaves: others may take on its work at once, and are told that there is some."""
    await Row.raw(
        """WITH freed AS (
             UPDATE sessions SET lease_by = NULL, lease_until = NULL, due_at = now() WHERE lease_by = {}
             RETURNING id, "user")
           SELECT pg_notify({}, "user" || ' ' || id) FROM freed""",
        replica,
        CHANNEL,
    )
    await Duty.raw("DELETE FROM duties WHERE replica = {}", replica)


async def requeue_runs(seen: Mapping[RunId, Observed | None]) -> bool:
    """Make the sessions of these runs due, given what is seen of each run (None: nothing). Returns whether any is.

    A session whose row says the same already is skipped: every replica sees every change, and the first one has recorded it.
    """
    rows = await Row.raw(
        """UPDATE sessions SET due_at = now()
           FROM unnest({}::text[], {}::int[], {}::text[], {}::text[], {}::text[], {}::text[])
             AS seen (id, generation, phase, uid, address, detail)
           WHERE sessions.id = seen.id AND sessions.generation = seen.generation AND CASE seen.phase
             WHEN 'pending' THEN state = 'starting'
               AND (run_uid, sessions.detail) IS DISTINCT FROM (seen.uid, seen.detail)
             WHEN 'running' THEN state = 'starting' OR (state = 'running' AND sessions.address IS DISTINCT FROM seen.address)
             ELSE state IN ('starting', 'running', 'stopping') END
           RETURNING sessions.id""",
        [run.session_id for run in seen],
        [run.generation for run in seen],
        [one.phase.value if one else "" for one in seen.values()],
        [one.uid if one else None for one in seen.values()],
        [one.address if one else None for one in seen.values()],
        [one.detail if one else None for one in seen.values()],
    )
    return bool(rows)


async def anybody_waits() -> bool:
    """Whether `admit` would find anything to do."""
    rows = await Row.raw(
        "SELECT 1 FROM sessions WHERE wanted = 'running' AND state IN ('stopped', 'failed', 'queued') LIMIT 1"
    )
    return bool(rows)


async def admit(max_runs: int, per_minute: int = 0) -> list[Session]:
    """Queue what is to run and start as many as there is room for, round robin over users, each user's oldest first.

    At most `max_runs` at once; at most `per_minute` starts, counted over `PACE` (0: any number). After one was put back
    since the runtime had no room, one at a time is tried, and only once a run has ended or some time has passed. Gives
    the sessions that were started (due at once, generation raised, `credential` new).
    """
    at_once = -(-per_minute * PACE // timedelta(minutes=1)) if per_minute else max_runs
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
               lately AS (SELECT count(*) AS n FROM sessions WHERE launched_at > now() - {{}}::interval),
               full_at AS (SELECT max(put_back_at) AS t FROM sessions WHERE put_back_at > now() - {{}}::interval),
               room AS (SELECT LEAST({{}} - (SELECT n FROM taken), {{}} - (SELECT n FROM lately), CASE
                   WHEN (SELECT t FROM full_at) IS NULL THEN {{}}
                   WHEN EXISTS (SELECT FROM sessions WHERE state = 'starting' AND COALESCE(run_uid, '') = '') THEN 0
                   WHEN (SELECT t FROM full_at) < now() - {{}}::interval THEN 1
                   WHEN EXISTS (SELECT FROM sessions WHERE ended_at > (SELECT t FROM full_at)) THEN 1
                   ELSE 0 END) AS n),
               line AS ({QUEUE}),
               next AS (SELECT id FROM line ORDER BY position LIMIT GREATEST(0, (SELECT n FROM room)))
               UPDATE sessions SET state = 'starting', generation = generation + 1, run_uid = NULL, address = NULL,
                 credential = 'hub:' || encode(sha256(gen_random_uuid()::text::bytea || gen_random_uuid()::text::bytea),
                                               'hex'),
                 detail = '', launched_at = now(), last_input_at = NULL, due_at = now(), attempts = 0
               WHERE id IN (SELECT id FROM next) RETURNING *""",  # noqa: S608
            PACE if per_minute else timedelta(0),
            FULL_FOR,
            max_runs,
            at_once,
            max_runs,
            TRY_AGAIN,
        )
    return [Session.from_row(row) for row in rows]


async def put_back(session: Session, replica: str, *, detail: str) -> None:
    """The runtime has no room for it: requeue it at its old position."""
    await Row.raw(
        """UPDATE sessions SET state = 'queued', put_back_at = now(), detail = {}, launched_at = NULL, run_uid = NULL,
             address = NULL, credential = NULL
           WHERE id = {} AND generation = {} AND lease_by = {} AND state = 'starting'""",
        detail[:500],
        session.id,
        session.generation,
        replica,
    )


async def note_choice(session: Session, replica: str, *, uid: str) -> bool:
    """Which warm run this session is to get; empty where it is to be launched. False when the lease is lost."""
    rows = await Row.raw(
        """UPDATE sessions SET run_uid = {}
           WHERE id = {} AND generation = {} AND lease_by = {} AND state = 'starting' RETURNING id""",
        uid,
        session.id,
        session.generation,
        replica,
    )
    return bool(rows)


async def mark_running(
    session: Session, replica: str, *, uid: str, address: str, credential: str | None = None
) -> bool:
    """It runs. `credential` is the run's own, where that is not the one that it was launched with."""
    rows = await Row.raw(
        """UPDATE sessions SET state = 'running', run_uid = {}, address = {}, credential = COALESCE({}, credential),
             detail = '', reason = NULL, started_at = now()
           WHERE id = {} AND generation = {} AND lease_by = {} AND state = 'starting' RETURNING id""",
        uid,
        address,
        credential,
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


async def note_progress(session: Session, replica: str, *, uid: str, detail: str, waits: bool = False) -> None:
    """What a starting run is doing, for the page. Another part of the start (`waits`) is timed from now on."""
    await Row.raw(
        """UPDATE sessions SET run_uid = {}, detail = {}, start_waits = {},
             counted_from = CASE WHEN {} THEN now() ELSE counted_from END
           WHERE id = {} AND generation = {} AND lease_by = {} AND state = 'starting'""",
        uid,
        detail,
        waits,
        session.start_clock[1] != waits,
        session.id,
        session.generation,
        replica,
    )


async def restart_clock(session: Session, replica: str) -> None:
    """The runtime does not answer: the present part of the start is timed from now on."""
    await Row.raw(
        """UPDATE sessions SET counted_from = now(), start_waits = {}
           WHERE id = {} AND generation = {} AND lease_by = {} AND state = 'starting'""",
        session.start_clock[1],
        session.id,
        session.generation,
        replica,
    )


async def note_trouble(session: Session, replica: str, *, detail: str) -> None:
    """What a start or a stop is held up by, for the page."""
    await Row.raw(
        """UPDATE sessions SET detail = {}
           WHERE id = {} AND generation = {} AND lease_by = {} AND state IN ('starting', 'stopping')""",
        detail[:500],
        session.id,
        session.generation,
        replica,
    )


async def mark_stopping(session: Session, replica: str) -> bool:
    rows = await Row.raw(
        """UPDATE sessions SET state = 'stopping', reason = wanted_reason, detail = ''
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


async def warn_and_stop(deadlines: Deadlines, *, may_stop: bool) -> None:
    """Record which sessions are warned of their stop, and stop those whose time is up. See `app.sessions.deadlines`.

    Each is one statement, so that input which came in the meantime counts.
    """
    await Row.raw(deadlines.warn)
    if may_stop:
        await Row.raw(deadlines.stop)


async def live_runs(older_than: timedelta) -> list[RunId]:
    """The runs that sessions should have, launched at least `older_than` ago."""
    rows = await Row.raw(
        """SELECT id, generation FROM sessions
           WHERE state IN ('starting', 'running', 'stopping') AND launched_at < now() - {}::interval""",
        older_than,
    )
    return [RunId(row["id"], row["generation"]) for row in rows]


async def placed_runs(older_than: timedelta) -> dict[RunId, str]:
    """The runs that sessions have had for at least `older_than`, as far as the database knows, with their uids."""
    rows = await Row.raw(
        """SELECT id, generation, run_uid FROM sessions
           WHERE state IN ('running', 'stopping') AND run_uid <> '' AND started_at < now() - {}::interval""",
        older_than,
    )
    return {RunId(row["id"], row["generation"]): row["run_uid"] for row in rows}


async def unknown_runs(runs: Collection[RunId]) -> list[RunId]:
    """Those of these runs that the database cannot have launched: of no session, or of a later launch than any of it."""
    rows = await Row.raw(
        """SELECT run.id, run.generation
           FROM unnest({}::text[], {}::int[]) AS run (id, generation) LEFT JOIN sessions ON sessions.id = run.id
           WHERE sessions.id IS NULL OR run.generation > sessions.generation""",
        [run.session_id for run in runs],
        [run.generation for run in runs],
    )
    return [RunId(row["id"], row["generation"]) for row in rows]


async def runs_ahead(runs: Collection[RunId]) -> list[RunId]:
    """Those of these runs that are of a later launch of their session than the database knows."""
    rows = await Row.raw(
        """SELECT run.id, run.generation
           FROM unnest({}::text[], {}::int[]) AS run (id, generation) JOIN sessions ON sessions.id = run.id
           WHERE run.generation > sessions.generation""",
        [run.session_id for run in runs],
        [run.generation for run in runs],
    )
    return [RunId(row["id"], row["generation"]) for row in rows]


async def known_runs() -> set[RunId]:
    rows = await Row.raw("SELECT id, generation FROM sessions WHERE state IN ('starting', 'running', 'stopping')")
    return {RunId(row["id"], row["generation"]) for row in rows}


async def expire_guests(lifetime: timedelta) -> list[tuple[UUID, str]]:
    """Mark guests as deleted who were not seen for `lifetime` (unless a session of theirs has had input since), or who have no
    session and were not seen for a few minutes. Returns their ids, each with the reason.
    """
    rows = await Row.raw(
        """WITH gone AS (
             UPDATE users u SET deleted_at = now(), login_epoch = login_epoch + 1
             WHERE u.email IS NULL AND u.deleted_at IS NULL AND (
               (u.seen_at < now() - {}::interval
                AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s."user" = u.id AND s.last_input_at > now() - {}::interval))
               OR (u.seen_at < now() - {}::interval
                   AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s."user" = u.id AND s.wanted <> 'deleted')))
             RETURNING u.id, u.seen_at < now() - {}::interval AS long),
           ended AS (UPDATE logins SET ended_at = now() WHERE ended_at IS NULL AND "user" IN (SELECT id FROM gone))
           SELECT id, long FROM gone""",
        lifetime,
        lifetime,
        GUEST_WITHOUT_SESSION,
        lifetime,
    )
    await Row.raw(
        """UPDATE sessions SET wanted = 'deleted', wanted_reason = 'stopped_by_user', due_at = now()
           WHERE wanted <> 'deleted' AND "user" IN (SELECT id FROM users WHERE deleted_at IS NOT NULL)"""
    )
    return [(row["id"], "not seen for long" if row["long"] else "without a session who has gone") for row in rows]


async def purge_logins() -> None:
    """Forget logins that ended so long ago that no page of theirs is open any more."""
    await Row.raw(
        "DELETE FROM logins WHERE ended_at < now() - {}::interval OR ends_at < now() - {}::interval",
        LOGINS_KEPT,
        LOGINS_KEPT,
    )


async def users_to_purge() -> list[UUID]:
    """Users who go and have no session left."""
    rows = await Row.raw(
        """SELECT id FROM users u WHERE deleted_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s."user" = u.id) LIMIT 100"""
    )
    return [row["id"] for row in rows]


async def purge_user(user_id: UUID) -> None:
    await Row.raw("DELETE FROM users WHERE id = {} AND deleted_at IS NOT NULL", user_id)


async def live_and_waiting() -> tuple[int, int]:
    """How many sessions have a run or are about to, and how many wait for one or for another try."""
    rows = await Row.raw(
        """SELECT count(*) FILTER (WHERE state IN ('starting', 'running', 'stopping')) AS live,
             count(*) FILTER (WHERE wanted = 'running' AND (
               state IN ('stopped', 'failed', 'queued') OR (state = 'starting' AND attempts > 0))) AS waiting
           FROM sessions WHERE wanted = 'running' OR state IN ('starting', 'running', 'stopping')"""
    )
    return int(rows[0]["live"]), int(rows[0]["waiting"])


async def hold(duty: str, replica: str, lease: timedelta) -> bool:
    """Take on a duty, or keep it, for `lease`; False while another replica has it."""
    rows = await Duty.raw(
        """INSERT INTO duties (name, replica, until) VALUES ({}, {}, now() + {}::interval)
           ON CONFLICT (name) DO UPDATE SET replica = EXCLUDED.replica, until = EXCLUDED.until
             WHERE duties.replica = EXCLUDED.replica OR duties.until < now()
           RETURNING name""",
        duty,
        replica,
        lease,
    )
    return bool(rows)
