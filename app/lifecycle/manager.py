"""The background task manager of one replica: owns runs from birth to death.

Supervised tasks: follow the runtime; take due sessions by lease and act on them outside any transaction; let queued
sessions in; watch deadlines; sweep orphans both ways; hear what other replicas changed. Notifications are hints and a
poll is the guarantee, so that a replica which hears nothing is slower and nothing else. A replica that dies loses its
leases and nothing else. Must not render or answer anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import socket
import time
from datetime import timedelta

from app.accounts.watch import CHANNEL as LOGINS_CHANNEL
from app.accounts.watch import LoginWatch
from app.aio import Supervisor, within
from app.db.database import Database
from app.errors import DatabaseOutage, HubError, RuntimeFailure
from app.lifecycle import queries
from app.lifecycle.sweep import ORPHAN_GRACE, Sweeper
from app.runtimes.base import Changed, Observed, Phase, Reason, RunId, RunSpec, Runtime, Snapshot
from app.sessions.changes import Changes
from app.sessions.deadlines import INPUT_FLUSH, Deadlines
from app.sessions.models import Session
from app.sessions.service import Sessions
from app.sessions.state import LIVE, Do, State, Wanted, decide, ending
from app.settings import Settings
from app.terminal.terminal import Terminals

log = logging.getLogger("hub.lifecycle")

LEASE = timedelta(seconds=30)  # How long a replica may take over one step of one session.
POLL = 2.0  # Seconds. How late a lost notification is made good.
AT_ONCE = 16  # Sessions that one replica works on at the same time.
LOOKED_AT = 50  # Sessions that are looked at before the event loop gets its turn: people's keys must not wait for more.
SWEEP = 15.0  # Seconds between two sweeps.
START_LOOK = timedelta(seconds=5)  # How often a start is looked at of which nothing is heard, so that it fails in time.
NO_ROOM_TEXT = "The cluster has no room for more just now."
KEEP_WARM = timedelta(seconds=15)  # How long a replica may keep the warm runs without saying so again.
TASKS_END_WITHIN = 0.5  # Seconds for cancelled tasks to end when the replica leaves.
RELEASE_WITHIN = 1.0  # Seconds for Postgres to take back the leases then, and the last input.
HOUSEKEEPING = 60.0  # Seconds between two looks for guests who have gone.


class Manager:
    """Owns the runs. One for each replica; any number on one Postgres."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        runtime: Runtime,
        sessions: Sessions,
        changes: Changes,
        terminals: Terminals,
        watch: LoginWatch | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.runtime = runtime
        self.sessions = sessions
        self.changes = changes
        self.terminals = terminals
        self.watch = watch or LoginWatch()
        self.replica = f"{socket.gethostname()[:40]}-{secrets.token_hex(6)}"
        self.seen: dict[RunId, Observed] = {}
        self._listed = False  # Whether there has been a full list. Before it, what is not known is unknown, not gone.
        # What has changed of runs since Postgres was last told (None: it is gone), and whether to compare all with it.
        self._changed: dict[RunId, Observed | None] = {}
        self._compare_all = False
        self._changed_event = asyncio.Event()
        self.lease = LEASE
        self._tasks = Supervisor(logged_elsewhere=(DatabaseOutage,))
        # Runs on while the replica leaves: viewers are still attached then.
        self._news = Supervisor(logged_elsewhere=(DatabaseOutage,))
        self._leaving = False
        self._wake = asyncio.Event()
        self._working: set[str] = set()
        self._room = False  # Whether a run has ended since the queue was last looked at.
        self.sweeper = Sweeper(settings, runtime, lambda: self.seen, self.wake)
        self._warm_taken = asyncio.Event()
        self._heard: dict[str, str] = {}
        self._heard_event = asyncio.Event()

    def start(self) -> None:
        self._tasks.keep("follow the runtime", self._follow)
        self._tasks.keep("note changes of runs", self._note_changes, most=5)
        self._tasks.keep("work on due sessions", self._work, most=5)
        self._news.keep("hear changes", self._hear, most=5)
        self._news.keep("tell about changes", self._tell, most=5)
        self._news.keep("write down input", self._write_input, most=5)
        self._tasks.keep("watch deadlines", self._watch_deadlines, most=5)
        self._tasks.keep("sweep", self._sweep)
        self._tasks.keep("keep house", self._keep_house)
        if self.settings.runtime == "kubernetes":  # No other has any; with a count of 0, what is left of them goes.
            self._tasks.keep("keep warm", self._keep_warm)

    async def hand_over(self) -> None:
        """Take no more work and release the leases, so that other replicas continue it at once. Idempotent.

        Viewers here still get every change, until `close`. Runs continue.
        """
        if self._leaving:
            return
        self._leaving = True
        late = await self._tasks.close(within=TASKS_END_WITHIN)
        if late:
            # Their writes are guarded by the lease, so another replica may take over while they still run.
            log.warning("leaving without waiting for: %s", ", ".join(late))
        with contextlib.suppress(Exception):
            async with asyncio.timeout(RELEASE_WITHIN):
                await queries.release_all(self.replica)

    async def close(self) -> None:
        """Hand over, and write down what is in memory."""
        await self.hand_over()
        await self._news.close(within=TASKS_END_WITHIN)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(RELEASE_WITHIN):
                await self._flush_input()

    @property
    def synced(self) -> float | None:
        """The age in seconds of the runtime's last word; None before its first full list."""
        at = self.runtime.synced_at
        return time.monotonic() - at if at is not None and self._listed else None

    async def where(self, session: Session) -> str | None:
        """The address of a running session's run, to be dialled; None where that is not the run that the row speaks of.

        Addresses are used again, so the row's alone will not do.
        """
        seen = self.seen.get(session.run)
        if seen is None:
            try:
                seen = await self.runtime.look(session.run, session.run_uid)
            except RuntimeFailure:
                return session.address  # Unreachable is not gone, and the run's credential is its own.
        if seen is None or seen.phase is Phase.ENDED or seen.uid != session.run_uid:
            return None
        return seen.address or session.address

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    # Following the runtime

    async def _follow(self) -> None:
        async for event in self.runtime.observe():
            if isinstance(event, Snapshot):
                self.seen = {one.run: one for one in event.runs}
                self._listed = self._compare_all = True
            else:
                self._take_in(event)
            self._changed_event.set()

    def _take_in(self, event: Changed) -> None:
        run = event.run.run
        if event.gone:
            self.seen.pop(run, None)
        else:
            self.seen[run] = event.run
        self._changed[run] = None if event.gone else event.run

    async def _note_changes(self) -> None:
        """Make the sessions due whose runs have changed, all changes since the last time in one statement.

        After a snapshot these are the sessions whose run is missing in it, or differs there from their row.
        """
        while True:
            await self._changed_event.wait()
            self._changed_event.clear()
            changed, self._changed = self._changed, {}
            everything, self._compare_all = self._compare_all, False
            try:
                if everything:
                    await self.sweeper.survey()
                    live = await queries.live_runs(timedelta(0))
                    changed |= {run: self.seen.get(run) for run in live if run in self.seen or not self.sweeper.held}
                if changed and await queries.requeue_runs(changed):
                    self.wake()
            except BaseException:
                self._changed = changed | self._changed  # Not told, so not forgotten.
                self._compare_all = self._compare_all or everything
                self._changed_event.set()
                raise

    # Working on sessions

    async def _work(self) -> None:
        delay = 0.0
        while True:
            await within(self._wake, delay)
            self._wake.clear()
            delay = POLL * random.uniform(0.5, 1.0)  # noqa: S311  (replicas should not poll in step)
            free = AT_ONCE - len(self._working)
            if free <= 0:
                continue  # A slot that comes free wakes us.
            due = await queries.take_due(self.replica, free, self.lease, self._working)
            ready: list[Session] = []
            waits_for_room = False
            for session in due:
                if decide(session.wanted, session.state, None) is Do.ADMIT:
                    waits_for_room = True
                    await queries.release(session, self.replica, again_in=None)
                else:
                    ready.append(session)
            for session in ready:
                self._working.add(session.id)
                self._tasks.spawn(f"work on session {session.id}", self._act(session))
            # Room comes free when a run ended; when nothing was due, the queue is looked at in any case.
            look, self._room = self._room or not due, False
            some_wait = waits_for_room or (look and await queries.anybody_waits())
            if some_wait and await queries.admit(self.settings.max_runs, self.settings.starts_per_minute):
                self.wake()
            if len(due) == free:
                self.wake()

    async def _act(self, session: Session) -> None:
        """One step for a leased session. Whatever goes wrong, the lease is given back with a time to try again."""
        again: timedelta | None = timedelta(seconds=min(30, 0.5 * 2 ** min(session.attempts, 6)))
        failed = True
        try:
            again = await self._step(session)
            failed = False
        except RuntimeFailure as error:
            if session.state is State.STARTING and error.reason == Reason.NO_ROOM and not error.retry:
                log.warning("session %s: %s", session.id, error.message)
                await queries.put_back(session, self.replica, detail=NO_ROOM_TEXT)
                again, failed = None, False
            elif session.state is State.STARTING and not error.retry:
                why = Reason(error.reason)
                if await queries.mark_ended(
                    session, self.replica, state=State.FAILED, reason=why, detail=error.message
                ):
                    _record("failed", session, why)
                again, failed, self._room = None, False, True
            else:
                log.warning("session %s: %s; trying again", session.id, error.message)
                if session.state is State.STARTING and error.reason == Reason.LOST:
                    with contextlib.suppress(Exception):  # The time that the runtime is away does not count.
                        await queries.restart_clock(session, self.replica)
                if session.detail != error.message:
                    with contextlib.suppress(Exception):  # It is only for the page.
                        await queries.note_trouble(session, self.replica, detail=error.message)
        finally:
            # Work that is broken off since the replica leaves has not failed: `hand_over` gives its lease back.
            if not self._leaving:
                with contextlib.suppress(Exception):  # A lease that cannot be released is taken again by `take_due`.
                    await queries.release(session, self.replica, again_in=again, failed=failed)
            self._working.discard(session.id)
            self.wake()

    async def _step(self, session: Session) -> timedelta | None:
        """Do what `decide` says. Returns the time until the session must be checked again; None if it need not be."""
        run = session.run
        seen = self.seen.get(run)
        to_launch = (session.wanted, session.state, session.run_uid) == (Wanted.RUNNING, State.STARTING, None)
        if seen is None and session.state in LIVE and not to_launch:
            # What is not known is unknown, not gone: ask before anything is concluded. A launch asks by itself.
            seen = await self.runtime.look(run, session.run_uid)
            if seen is not None:
                self.seen[run] = seen
        do = decide(session.wanted, session.state, seen.phase if seen else None)
        log.debug("session %s: wanted %s, %s, seen %s: %s", run, session.wanted, session.state, seen, do)
        match do:
            case Do.NOTHING:
                if session.state is State.RUNNING and seen is not None and seen.address not in (None, session.address):
                    await queries.note_address(session, self.replica, address=seen.address)
                return await self._wait_for_start(session, seen)
            case Do.ADMIT:
                return None
            case Do.LAUNCH:
                return await self._launch(session)
            case Do.MARK_RUNNING:
                await self._running(session, seen)
                return None
            case Do.MARK_ENDED:
                state, reason, detail = ending(session.state, seen)
                await self._ended(session, state=state, reason=reason, detail=detail)
                return None
            case Do.STOP:
                if session.state is not State.STOPPING and await queries.mark_stopping(session, self.replica):
                    _record("stopping", session, session.wanted_reason)
                grace = self.settings.stop_grace.total_seconds()
                await self.runtime.stop(run, seen.uid if seen else session.run_uid or None, grace)
                # `observe` reports the end; this is the retry in case it does not. A run that was never seen has none.
                return timedelta(seconds=0.5 if seen is None else grace + 2)
            case Do.MARK_STOPPED:
                why = session.wanted_reason if session.wanted is Wanted.STOPPED else session.reason
                await self._ended(session, state=State.STOPPED, reason=why, detail="")
                return timedelta(0) if session.wanted is Wanted.RUNNING else None
            case Do.DELETE:
                if await queries.delete(session, self.replica):
                    _record("deleted", session, session.wanted_reason)
                self._room = True
                await self._forget(session)
                return None

    async def _launch(self, session: Session) -> timedelta | None:
        if session.attempts and self._overdue(session):  # One that no replica has tried is tried first, however late.
            return await self._give_up(session)
        assert session.credential is not None  # noqa: S101  (set in the statement that made it `starting`)
        spec = RunSpec(session.run, str(session.user_id), session.credential, session.source, session.guest)
        seen = await self._take_warm(session, spec) or await self.runtime.launch(spec)
        self.seen[session.run] = seen
        if seen.phase is Phase.RUNNING:
            await self._running(session, seen)
            return None
        if seen.phase is Phase.ENDED:
            state, reason, detail = ending(session.state, seen)
            await self._ended(session, state=state, reason=reason, detail=detail)
            return None
        return await self._wait_for_start(session, seen)

    async def _take_warm(self, session: Session, spec: RunSpec) -> Observed | None:
        """A run that was kept warm, where there is one for this session; None where one is to be launched.

        The choice is recorded first, so that another replica which continues this start makes the same one.
        """
        chosen = session.run_uid
        while True:
            if chosen is None:
                chosen = self.runtime.offer_warm(spec)
                if chosen is None:
                    return None
                if not await queries.note_choice(session, self.replica, uid=chosen):
                    raise RuntimeFailure("Another replica goes on with it.", reason=Reason.LOST, retry=True)
            if not chosen:
                return None
            seen = await self.runtime.take_warm(spec, chosen)
            if seen is not None:
                self._warm_taken.set()
                return seen
            chosen = None

    async def _wait_for_start(self, session: Session, seen: Observed | None) -> timedelta | None:
        if session.state is not State.STARTING:
            return None
        if self.runtime.away:  # A start may continue unseen: this time does not count.
            await queries.restart_clock(session, self.replica)
            return START_LOOK
        if seen is not None and seen.waits != session.start_clock[1]:  # Another limit holds, counted from now on.
            await self._note_progress(session, seen)
            return START_LOOK
        if self._overdue(session):
            return await self._give_up(session)
        if seen is not None and (seen.uid, seen.detail) != (session.run_uid, session.detail):
            await self._note_progress(session, seen)
        left = self._left(session)
        return START_LOOK if left is None else min(START_LOOK, max(left, timedelta(seconds=0.1)))

    async def _note_progress(self, session: Session, seen: Observed) -> None:
        await queries.note_progress(session, self.replica, uid=seen.uid, detail=seen.detail, waits=seen.waits)

    def _overdue(self, session: Session) -> bool:
        left = self._left(session)
        return left is not None and left < timedelta(0)

    def _left(self, session: Session) -> timedelta | None:
        """How long the present part of a start may still take."""
        # By Postgres's clock alone: a replica whose own is wrong must not fail every start.
        since, waits = session.start_clock
        if since is None or session.read_at is None:
            return None
        limit = self.settings.k8s_scheduling_timeout if waits else self.settings.start_timeout
        return limit - (session.read_at - since)

    async def _give_up(self, session: Session) -> timedelta | None:
        # The last event may be old: look at the run directly before the session fails.
        seen = await self.runtime.look(session.run, session.run_uid)
        if seen is not None and seen.phase is Phase.RUNNING:
            await self._running(session, seen)
            return None
        if seen is not None and seen.phase is Phase.PENDING and seen.waits != session.start_clock[1]:
            await self._note_progress(session, seen)
            return START_LOOK
        await self.runtime.stop(session.run, seen.uid if seen else None, self.settings.stop_grace.total_seconds())
        detail = f"It was last seen at: {seen.detail}." if seen and seen.detail else ""
        reason = (seen.reason if seen else None) or Reason.START_TIMEOUT  # What held it up, where that is known.
        await self._ended(session, state=State.FAILED, reason=reason, detail=detail)
        return None

    async def _running(self, session: Session, seen: Observed | None) -> None:
        if seen is None or seen.address is None:
            return
        if await queries.mark_running(
            session, self.replica, uid=seen.uid, address=seen.address, credential=seen.credential
        ):
            _record("started", session, None)

    async def _ended(self, session: Session, *, state: State, reason: Reason | None, detail: str) -> None:
        if await queries.mark_ended(session, self.replica, state=state, reason=reason, detail=detail):
            _record(state.value, session, reason or session.reason or session.wanted_reason)
            self._room = True
            await self._forget(session)

    async def _forget(self, session: Session) -> None:
        seen = self.seen.get(session.run)
        if seen is not None and seen.phase is Phase.ENDED:
            self.seen.pop(session.run, None)
            await self.runtime.forget(session.run)

    # What is kept warm

    async def _keep_warm(self) -> None:
        while True:
            self._warm_taken.clear()
            if self._listed and await queries.hold("keep warm", self.replica, KEEP_WARM):
                live, waiting = await queries.live_and_waiting()
                count = self.settings.warm_runs
                # Queued sessions have priority; near the run limit a warm run could not be used anyway.
                make = not waiting and live + count <= self.settings.max_runs
                try:
                    await self.runtime.keep_warm(count, make=make)
                except RuntimeFailure as failure:
                    log.warning("what is kept warm: %s", failure.message)
            await within(self._warm_taken, POLL if self.settings.warm_runs else HOUSEKEEPING)

    # Hearing and telling

    async def _hear(self) -> None:
        def heard(payload: str) -> None:
            user_id, _, session_id = payload.partition(" ")
            self._heard[session_id] = user_id
            self._heard_event.set()
            self.wake()

        def connected() -> None:
            self.changes.publish_all()
            self.watch.check_now()
            self.terminals_look_again()
            self.wake()

        await self.database.listen({queries.CHANNEL: heard, LOGINS_CHANNEL: self.watch.hear}, connected)

    def terminals_look_again(self) -> None:
        """Changes may have been missed: every terminal's session is read again."""
        for session_id in self.terminals.session_ids():
            self._heard.setdefault(session_id, "")
        self._heard_event.set()

    async def _tell(self) -> None:
        while True:
            await self._heard_event.wait()
            self._heard_event.clear()
            heard, self._heard = self._heard, {}
            for session_id, user_id in heard.items():
                self.changes.publish(user_id, session_id)
            attached = self.terminals.session_ids()
            try:
                for part in _parts([one for one in heard if one in attached]):
                    await self._tell_terminals(part)
            except BaseException:
                self._heard = heard | self._heard  # Not told, so not forgotten.
                self._heard_event.set()
                raise

    async def _tell_terminals(self, session_ids: list[str]) -> None:
        """Bring the viewers of these sessions up to date, without waiting for any of them."""
        found = {session.id: session for session in await self.sessions.by_ids(session_ids)}
        for session_id in session_ids:
            session = found.get(session_id)
            lives = session is not None and session.state in (State.RUNNING, State.STOPPING)
            for generation in self.terminals.generations(session_id):
                if session is not None and lives and generation == session.generation:
                    reason = session.reason.value if session.reason else None
                    self.terminals.push_state(session_id, session.shown.value, reason)
                else:
                    # On its own: it waits for viewers, and one that takes nothing must not delay the news of all others.
                    name = f"end terminal {session_id}-{generation}"
                    self._news.spawn(name, self._end_terminal(session_id, generation, session))

    async def _end_terminal(self, session_id: str, generation: int, session: Session | None) -> None:
        if session is None:
            await self.terminals.end(session_id, generation, State.STOPPED.value, None, "It was deleted.")
        elif session.generation != generation:  # Its end was missed: another run has begun since.
            await self.terminals.end(session_id, generation, State.STOPPED.value, None)
        else:
            reason = session.reason.value if session.reason else None
            await self.terminals.end(session_id, generation, session.state.value, reason, session.reason_text)

    # Deadlines

    async def _write_input(self) -> None:
        while True:
            await asyncio.sleep(INPUT_FLUSH.total_seconds())
            await self._flush_input()

    async def _flush_input(self) -> None:
        typed_in = self.terminals.typed_in
        ids = set(typed_in)
        if not ids:
            return
        typed_in -= ids  # What is typed from now on is to be written the next time.
        try:
            await self.sessions.note_input(ids)
        except BaseException:
            typed_in |= ids  # Not written, so not forgotten.
            raise

    async def _watch_deadlines(self) -> None:
        deadlines = Deadlines(self.settings)
        while True:
            await queries.warn_and_stop(deadlines, may_stop=self.sweeper.may_stop)
            for part in _parts(list(self.terminals.session_ids())):
                for session in await self.sessions.by_ids(part):
                    at = session.stops_at
                    if at is not None and session.id not in self.terminals.typed_in:
                        told = at.isoformat() if session.ends_soon else None
                        self.terminals.push_deadline(session.id, told, session.stops_why)
            await asyncio.sleep(deadlines.tick.total_seconds())

    # Sweeping, both ways

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            if self._listed:
                await self.sweep()

    async def sweep(self, grace: float = ORPHAN_GRACE) -> None:
        await self.sweeper.sweep(grace)

    async def _keep_house(self) -> None:
        await self.sweeper.surveyed.wait()
        while True:
            if self.sweeper.may_stop:
                await self.keep_house()
            await asyncio.sleep(HOUSEKEEPING)

    async def keep_house(self) -> None:
        """Delete guests who left, with their files, and logins that ended long ago."""
        for user_id, why in await queries.expire_guests(self.settings.guest_lifetime):
            log.info("user %s removed: a guest %s", user_id, why)
        await queries.purge_logins()
        for user_id in await queries.users_to_purge():
            try:
                await self.runtime.delete_home(str(user_id))
            except (RuntimeFailure, HubError, OSError):
                log.exception("the home of user %s could not be deleted; trying again later", user_id)
                continue  # One that cannot be deleted must not keep all others.
            await queries.purge_user(user_id)


def _record(what: str, session: Session, reason: Reason | None) -> None:
    """Log one line for each start, stop, end and deletion, with the ids of session, run and user alone."""
    why = f": {reason.value}" if reason else ""
    log.info("session %s %s%s (run %s, user %s)", session.id, what, why, session.run, session.user_id)


def _parts(session_ids: list[str]) -> list[list[str]]:
    return [session_ids[start : start + LOOKED_AT] for start in range(0, len(session_ids), LOOKED_AT)]
