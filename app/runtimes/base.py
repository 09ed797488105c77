"""The Runtime protocol: what the lifecycle manager may ask of the place where runs live.

Pure: shapes only, no I/O. `tests/runtimes/contract.py` is the suite that every implementation must pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from app.errors import RuntimeFailure


class Reason(StrEnum):
    """Why a session is not running (any more). `app.sessions.state.REASON_TEXTS` has the words for people."""

    QUIT = "quit"
    STOPPED_BY_USER = "stopped_by_user"
    STOPPED_BY_ADMIN = "stopped_by_admin"
    IDLE = "idle"
    TOO_OLD = "too_old"
    OUT_OF_MEMORY = "out_of_memory"
    EVICTED = "evicted"
    IMAGE_UNAVAILABLE = "image_unavailable"
    NO_ROOM = "no_room"
    NO_VOLUME = "no_volume"
    START_TIMEOUT = "start_timeout"
    LOST = "lost"
    MACHINE_RESTARTED = "machine_restarted"
    ENDED_OUTSIDE = "ended_outside"
    CRASHED = "crashed"
    REFUSED = "refused"


class Phase(StrEnum):
    """Where one run is. `ENDED` is final."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class RunId:
    """Identity of a run: one launch of a session. A new run always has a new generation."""

    session_id: str
    generation: int

    def __str__(self) -> str:
        return f"{self.session_id}-{self.generation}"


@dataclass(frozen=True, slots=True)
class Source:
    """What a session opens: nothing (VisiData lists the home), a sample by name, or a path in the user's home."""

    kind: Literal["empty", "sample", "file"] = "empty"
    value: str = ""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """All that a runtime needs to launch a run. `credential` is `user:secret`, random, for this run alone.

    A guest's run may keep nothing: what is theirs goes when they go.
    """

    run: RunId
    user_id: str
    credential: str
    source: Source = field(default_factory=Source)
    guest: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What a runtime sees of one run.

    `address` is `host:port` of its GoTTY endpoint, set while RUNNING. `uid` tells this very run from a later one of
    the same name. `reason` is why it ended or, while PENDING, what it is held up by, if anything. `detail` is a short
    sentence for the person: progress while PENDING, the cause once ENDED. `credential` is set while RUNNING where the
    run has one from birth, and not the one that it was launched with: where it was kept warm. `unclaimed`: it does not
    say whose it is, so only a session's row can; without one it is left alone. `waits`, while PENDING: for the place
    where runs live (a machine with room, a volume, the image); nothing of it has begun.
    """

    run: RunId
    phase: Phase
    uid: str
    address: str | None = None
    reason: Reason | None = None
    detail: str = ""
    credential: str | None = field(default=None, repr=False)
    unclaimed: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every run there is. Until the first one, what is not known is unknown, never gone."""

    runs: tuple[Observed, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """One run came, moved on, or (`gone`) left no trace any more."""

    run: Observed
    gone: bool = False


Event = Snapshot | Changed


class Runtime(Protocol):
    """Where runs live. All methods raise `app.errors.RuntimeFailure` and nothing of the client library's."""

    async def launch(self, spec: RunSpec) -> Observed:
        """Start the run, or adopt it when it is there already (idempotent by `spec.run`).

        Raises RuntimeFailure; with NO_ROOM there is none of it, and it may be asked for again once others have ended.
        """

    async def look(self, run: RunId, uid: str | None = None) -> Observed | None:
        """Ask for one run directly, past whatever `observe` has cached; None where there is none.

        `uid` is what was written down as the run's. Without it, one that was kept warm is not found before `observe`
        has shown it.
        """

    async def stop(self, run: RunId, uid: str | None, grace: float) -> None:
        """Ask the run to end and make sure that it does after `grace` seconds; a run that is not there is fine.

        With a `uid`, only that very run is stopped. Returns once the runtime has taken it on; the end itself is
        seen by `observe`.
        """

    async def forget(self, run: RunId) -> None:
        """Drop what is kept of an ended run (its record), so that `observe` no longer lists it."""

    def observe(self) -> AsyncIterator[Event]:
        """A full snapshot first, then changes, for ever; another snapshot whenever changes may have been missed."""

    @property
    def synced_at(self) -> float | None:
        """When `observe` last heard from where the runs live (time.monotonic()); None before the first full list."""

    @property
    def away(self) -> bool:
        """Whether the place where runs live does not answer at the moment, so that nothing is known of them."""

    @property
    def foreign_runs(self) -> int:
        """Number of runs that belong to another installation: to another database. They are never touched."""

    def offer_warm(self, spec: RunSpec) -> str | None:
        """The uid of a run that is kept warm and could become this one.

        Empty where none is ready, None where such a run never is one. To be written down before `take_warm` or
        `launch` is called, so that whoever goes on with a start that was broken off makes the same choice: two replicas
        that choose for themselves would give one session two runs.
        """

    async def take_warm(self, spec: RunSpec, uid: str) -> Observed | None:
        """Make the warm run this run (idempotent). None where it is not to be had, now or ever: choose again.

        It has a credential of its own, and begins with what its first viewer says that it opens.
        """

    async def keep_warm(self, count: int, *, make: bool) -> None:
        """Bring the number of runs that are kept warm to `count`: drop those that are too many, old or of no more use,
        and, with `make`, make what is missing. To be called again and again, in one replica at a time.
        """

    async def delete_home(self, user_id: str) -> None:
        """Delete what belongs to a user who has gone. Idempotent."""

    async def close(self) -> None:
        """Let go of connections and tasks. Runs go on."""


@contextlib.contextmanager
def disk_may_refuse(what: str) -> Iterator[None]:
    """Make an OSError a RuntimeFailure that begins with `what`: such a start or stop may be asked for again."""
    try:
        yield
    except OSError as error:
        raise RuntimeFailure(
            f"{what}: {error.strerror}. An administrator has to look.", reason=Reason.NO_ROOM, retry=True
        ) from error
