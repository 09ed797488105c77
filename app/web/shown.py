"""What templates show: times in words, sizes in units, a session as a row. Pure, except for the clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from app.sessions.models import Session
from app.sessions.state import State, Wanted
from app.settings import Settings


def ago(when: datetime | None, now: datetime | None = None) -> str:
    """`just now`, `5 minutes ago`, `in 2 hours`: one unit. Empty for None."""
    if when is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - when).total_seconds()
    words = length(abs(seconds))
    if abs(seconds) < 45:
        return "just now" if seconds >= 0 else "in a moment"
    return f"{words} ago" if seconds >= 0 else f"in {words}"


def length(seconds: float) -> str:
    """A length of time in its largest unit that fits once, to the nearest whole number of it."""
    seconds = round(seconds)
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return "a moment"


def count(number: int, thing: str) -> str:
    """`1 session`, `1,000 sessions`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def exact(when: datetime | None) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if when else ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A session as pages and the API show it."""

    session: Session
    position: int | None = None

    @property
    def stops_at(self) -> datetime | None:
        return self.session.stops_at

    @property
    def ends_soon(self) -> bool:
        return self.session.ends_soon

    @property
    def can_stop(self) -> bool:
        return self.session.wanted is Wanted.RUNNING

    @property
    def may_have_changes(self) -> bool:
        """Whether it holds work that was perhaps not saved: it runs and was used. The Hub cannot see what VisiData holds."""
        return self.session.shown is State.RUNNING and self.session.last_input_at is not None

    @property
    def can_stay(self) -> bool:
        """Whether input would keep it from being stopped soon."""
        return self.ends_soon and self.session.stops_why == "idle"

    @property
    def progress(self) -> str:
        """What is happening, beyond the state's own word."""
        session = self.session
        if session.shown is State.QUEUED:
            place = f"Number {self.position} in line" if self.position else "In line"
            return f"{place}. {session.detail}" if session.detail else place
        if session.shown is State.STARTING:
            return session.detail or "Starting VisiData"
        return session.detail if session.state in (State.FAILED, State.STOPPING) else ""

    def as_json(self, settings: Settings) -> dict[str, object]:
        """The session of the JSON API; times in ISO 8601, UTC."""
        session = self.session
        address = f"{settings.public_url}/sessions/{session.id}"
        tty = f"{'wss' if settings.secure else 'ws'}{address[address.index(':') :]}/tty"
        return {
            "id": session.id,
            "name": session.name,
            "state": session.shown.value,
            "reason": session.reason.value if session.reason and session.reason_text else None,
            "detail": self.progress or session.reason_text,
            "source": {session.source.kind: session.source.value} if session.source.kind != "empty" else None,
            "position": self.position,
            "created_at": _iso(session.created_at),
            "started_at": _iso(session.started_at),
            "last_input_at": _iso(session.last_input_at),
            "stops_at": _iso(self.stops_at),
            "url": address,
            "tty_url": tty,
        }


def _iso(when: datetime | None) -> str | None:
    return when.astimezone(UTC).isoformat() if when else None
