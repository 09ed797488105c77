"""The state machine of a session, as pure tables.

`stopped -> queued -> starting -> running -> stopping -> stopped`, and `failed` from `starting` or `running`.
Views write what is wanted; `decide` says what the lifecycle manager does next, from what is wanted, what the row says
and what the runtime sees. Must do no I/O and know no clock.
"""

from __future__ import annotations

from enum import StrEnum

from app.runtimes.base import Observed, Phase, Reason


class Wanted(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


class State(StrEnum):
    STOPPED = "stopped"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


LIVE = frozenset({State.STARTING, State.RUNNING, State.STOPPING})
"""States in which a run may exist."""

AT_REST = frozenset({State.STOPPED, State.FAILED})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.STOPPED: frozenset({State.QUEUED}),
    State.FAILED: frozenset({State.QUEUED}),
    State.QUEUED: frozenset({State.STARTING, State.STOPPED}),
    # Back to the queue: there was no room for it after all.
    State.STARTING: frozenset({State.RUNNING, State.QUEUED, State.STOPPING, State.STOPPED, State.FAILED}),
    State.RUNNING: frozenset({State.STOPPING, State.STOPPED, State.FAILED}),
    State.STOPPING: frozenset({State.STOPPED}),
}
"""The states that may follow each state. Every guarded write in SQL has the same condition."""


class Do(StrEnum):
    """What a lifecycle manager does next for a session."""

    NOTHING = "nothing"
    ADMIT = "admit"  # Queue it, and start it as soon as there is room.
    LAUNCH = "launch"  # Ask the runtime for the run (idempotent).
    MARK_RUNNING = "mark_running"
    MARK_ENDED = "mark_ended"  # The run ended by itself: quit, crashed, lost, ...
    STOP = "stop"  # Ask the runtime to end the run, and look again.
    MARK_STOPPED = "mark_stopped"  # It was to end, and nothing is there any more.
    DELETE = "delete"  # Nothing is there any more: drop the row.


_GONE = (None, Phase.ENDED)

_TABLE: dict[tuple[Wanted, State], dict[Phase | None, Do]] = {
    (Wanted.RUNNING, State.STOPPED): dict.fromkeys((None, *Phase), Do.ADMIT),
    (Wanted.RUNNING, State.FAILED): dict.fromkeys((None, *Phase), Do.ADMIT),
    (Wanted.RUNNING, State.QUEUED): dict.fromkeys((None, *Phase), Do.ADMIT),
    (Wanted.RUNNING, State.STARTING): {
        None: Do.LAUNCH,
        Phase.PENDING: Do.NOTHING,
        Phase.RUNNING: Do.MARK_RUNNING,
        Phase.ENDED: Do.MARK_ENDED,
    },
    (Wanted.RUNNING, State.RUNNING): {
        None: Do.MARK_ENDED,
        Phase.PENDING: Do.NOTHING,
        Phase.RUNNING: Do.NOTHING,
        Phase.ENDED: Do.MARK_ENDED,
    },
    # It is to run again although its old run is still going: that one goes first, under its own generation.
    (Wanted.RUNNING, State.STOPPING): {
        None: Do.MARK_STOPPED,
        Phase.PENDING: Do.STOP,
        Phase.RUNNING: Do.STOP,
        Phase.ENDED: Do.MARK_STOPPED,
    },
    (Wanted.STOPPED, State.STOPPED): dict.fromkeys((None, *Phase), Do.NOTHING),
    (Wanted.STOPPED, State.FAILED): dict.fromkeys((None, *Phase), Do.NOTHING),
    (Wanted.STOPPED, State.QUEUED): dict.fromkeys((None, *Phase), Do.MARK_STOPPED),
    **{
        (Wanted.STOPPED, state): {
            # Stopping what was never seen is asked for once all the same: a launch may be under way.
            None: Do.MARK_STOPPED if state is State.STOPPING else Do.STOP,
            Phase.PENDING: Do.STOP,
            Phase.RUNNING: Do.STOP,
            Phase.ENDED: Do.MARK_STOPPED,
        }
        for state in LIVE
    },
    **{
        (Wanted.DELETED, state): dict.fromkeys((None, *Phase), Do.DELETE)
        for state in (State.STOPPED, State.FAILED, State.QUEUED)
    },
    **{
        (Wanted.DELETED, state): {
            None: Do.DELETE if state is State.STOPPING else Do.STOP,
            Phase.PENDING: Do.STOP,
            Phase.RUNNING: Do.STOP,
            Phase.ENDED: Do.DELETE,
        }
        for state in LIVE
    },
}


def decide(wanted: Wanted, state: State, seen: Phase | None) -> Do:
    """What to do next. `seen` is the phase of the run of the row's own generation; None where there is no such run."""
    return _TABLE[wanted, state][seen]


def ending(state: State, observed: Observed | None) -> tuple[State, Reason, str]:
    """State, reason and detail of a session whose run ended although it was to run."""
    if observed is None:
        return State.FAILED, Reason.LOST, ""
    reason = observed.reason or Reason.CRASHED
    return (State.STOPPED if reason is Reason.QUIT else State.FAILED), reason, observed.detail


STATE_TEXTS: dict[State, str] = {
    State.STOPPED: "Stopped",
    State.QUEUED: "Waiting for room",
    State.STARTING: "Starting",
    State.RUNNING: "Running",
    State.STOPPING: "Stopping",
    State.FAILED: "Failed",
}

REASON_TEXTS: dict[Reason, str] = {
    Reason.QUIT: "VisiData was quit.",
    Reason.STOPPED_BY_USER: "You stopped it.",
    Reason.STOPPED_BY_ADMIN: "An administrator stopped it.",
    Reason.IDLE: "Nothing was typed for a long time, so it was stopped.",
    Reason.TOO_OLD: "It reached the longest time that a session may run.",
    Reason.OUT_OF_MEMORY: "It needed more memory than it may have. Start it again and open less at once.",
    Reason.EVICTED: "It was stopped for want of room on its machine. Start it again.",
    Reason.IMAGE_UNAVAILABLE: "Its program could not be fetched. An administrator has to look.",
    Reason.NO_ROOM: "There is no room for it just now. Try again in a while.",
    Reason.NO_VOLUME: "Its volume was not provided. Start it again; if that fails too, an administrator has to look.",
    Reason.START_TIMEOUT: "It did not start in time. Start it again; if that fails too, an administrator has to look.",
    Reason.LOST: "It ended unexpectedly; its machine may have restarted. Start it again.",
    Reason.MACHINE_RESTARTED: "Its machine restarted. Start it again.",
    Reason.ENDED_OUTSIDE: "It was ended from outside the Hub, as by an administrator of its machine. Start it again.",
    Reason.CRASHED: "VisiData ended with an error. Start it again.",
    Reason.REFUSED: "The cluster refused to run it. An administrator has to look.",
}
