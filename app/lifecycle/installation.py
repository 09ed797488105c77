"""The row of the installation: its id, and whether the sweep is held. SQL alone; `sweep.py` decides."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from app.db.tables import Installation as Row

NAME = "hub"  # The key of the one row.


@dataclass(frozen=True, slots=True)
class Hold:
    """The sweep waits for an administrator since then (None: it does not). Runs are `<session>-<generation>`."""

    since: datetime | None = None
    why: str = ""
    runs: frozenset[str] = frozenset()
    confirmed: frozenset[str] = frozenset()


async def get_id() -> str:
    """The id of this database's installation; made at the first call of all."""
    await Row.raw(
        "INSERT INTO installation (name, id) VALUES ({}, {}) ON CONFLICT (name) DO NOTHING", NAME, uuid4().hex
    )
    rows = await Row.raw("SELECT id FROM installation WHERE name = {}", NAME)
    return str(rows[0]["id"])


async def read_hold() -> Hold:
    rows = await Row.raw("SELECT held_at, held_why, held_runs, confirmed_runs FROM installation WHERE name = {}", NAME)
    if not rows:
        return Hold()
    row = rows[0]
    return Hold(
        row["held_at"],
        row["held_why"],
        frozenset(row["held_runs"].split()),
        frozenset(row["confirmed_runs"].split()),
    )


async def read_why() -> str:
    """Why the sweep is held; empty where it is not."""
    found = await read_hold()
    return found.why if found.since is not None else ""


async def hold(why: str, runs: Collection[str]) -> bool:
    """Hold the sweep. False where it is held already."""
    await get_id()
    rows = await Row.raw(
        """UPDATE installation SET held_at = now(), held_why = {}, held_runs = {}
           WHERE name = {} AND held_at IS NULL RETURNING name""",
        why,
        " ".join(sorted(runs)),
        NAME,
    )
    return bool(rows)


async def renew_hold(runs: Collection[str]) -> None:
    """Record the runs that the sweep is held for now. Changes nothing where it is not held: it may have been confirmed."""
    told = " ".join(sorted(runs))
    await Row.raw(
        "UPDATE installation SET held_runs = {} WHERE name = {} AND held_at IS NOT NULL AND held_runs <> {}",
        told,
        NAME,
        told,
    )


async def confirm() -> bool:
    """Release the hold: the sweep may end the runs that it was held for. False where it is not held."""
    rows = await Row.raw(
        """UPDATE installation SET confirmed_runs = held_runs, held_at = NULL, held_why = '', held_runs = ''
           WHERE name = {} AND held_at IS NOT NULL RETURNING name""",
        NAME,
    )
    return bool(rows)
