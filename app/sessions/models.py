"""What a session is to the rest of the Hub: a frozen view of its row. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.runtimes.base import Reason, RunId
from app.runtimes.base import Source as Source
from app.sessions.state import AT_REST, REASON_TEXTS, STATE_TEXTS, State, Wanted

NAME_LENGTH = 100  # Characters.


@dataclass(frozen=True, slots=True)
class Session:
    """A row of `sessions`. Times are aware, in UTC."""

    id: str
    user_id: UUID
    name: str
    source: Source
    created_at: datetime
    wanted: Wanted
    wanted_reason: Reason | None
    state: State
    reason: Reason | None
    detail: str
    generation: int
    run_uid: str | None  # While it starts: of the warm run that was chosen for it; empty: it is to be launched.
    address: str | None
    credential: str | None
    queued_at: datetime | None
    put_back_at: datetime | None
    launched_at: datetime | None
    started_at: datetime | None
    last_input_at: datetime | None
    ended_at: datetime | None
    attempts: int
    counted_from: datetime | None = None
    start_waits: bool = False
    # Only where a manager has read it to act on it:
    read_at: datetime | None = None  # When, by Postgres's clock.
    guest: bool = False  # Whether it is a guest's.
    # When it is stopped unless there is input before, and why; None unless it runs. See `app.sessions.deadlines`.
    stops_at: datetime | None = None
    stops_why: str = ""
    ends_soon: bool = False  # So soon that its viewers are warned.

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Session:
        return cls(
            id=row["id"],
            user_id=row["user"],
            name=row["name"],
            source=Source(row["source_kind"], row["source_value"]),
            created_at=row["created_at"],
            wanted=Wanted(row["wanted"]),
            wanted_reason=Reason(row["wanted_reason"]) if row["wanted_reason"] else None,
            state=State(row["state"]),
            reason=Reason(row["reason"]) if row["reason"] else None,
            detail=row["detail"],
            generation=row["generation"],
            run_uid=row["run_uid"],
            address=row["address"],
            credential=row["credential"],
            queued_at=row["queued_at"],
            put_back_at=row["put_back_at"],
            launched_at=row["launched_at"],
            started_at=row["started_at"],
            last_input_at=row["last_input_at"],
            ended_at=row["ended_at"],
            attempts=row["attempts"],
            counted_from=row["counted_from"],
            start_waits=row["start_waits"],
            read_at=row.get("read_at"),
            guest=bool(row.get("guest")),
            stops_at=row.get("stops_at"),
            stops_why=row.get("stops_why") or "",
            ends_soon=bool(row.get("ends_soon")),
        )

    @property
    def run(self) -> RunId:
        return RunId(self.id, self.generation)

    @property
    def start_clock(self) -> tuple[datetime | None, bool]:
        """Since when the present part of its start counts, and whether that part is the wait for the cluster."""
        if self.launched_at is None or self.counted_from is None or self.counted_from < self.launched_at:
            return self.launched_at, False  # What is written there is of an earlier start.
        return self.counted_from, self.start_waits

    @property
    def shown(self) -> State:
        """The state as people should see it: what they asked for shows at once, before a manager has acted on it."""
        if self.wanted is Wanted.RUNNING and self.state in AT_REST:
            return State.STARTING
        if self.wanted is not Wanted.RUNNING and self.state in (State.STARTING, State.RUNNING):
            return State.STOPPING
        return self.state

    @property
    def state_text(self) -> str:
        return STATE_TEXTS[self.shown]

    @property
    def reason_text(self) -> str:
        """Why it is not running, in words; empty while it runs or before its first run."""
        if self.shown not in (State.STOPPED, State.FAILED, State.STOPPING) or self.reason is None:
            return ""
        return REASON_TEXTS[self.reason]

    @property
    def opens(self) -> str:
        """What it has open, in a few words."""
        return self.source.value or "Your files"
