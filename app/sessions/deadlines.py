"""When a running session is stopped, as one SQL expression that the display, the warning and the stop all read.

By Postgres's clock alone, so that no replica's clock matters. A deadline never passes without its warning having been shown for
HUB_WARN_BEFORE: the row records since when a warning is shown, for which deadline, and when it was last renewed. A warning
that was not renewed for `RENEWED_WITHIN`, as during an outage or while a laptop slept, starts again. Pure: builds text.
"""

from __future__ import annotations

from datetime import timedelta

from app.settings import Settings

INPUT_FLUSH = timedelta(seconds=5)  # How long input may wait in a replica's memory before it is written.
LATEST_INPUT = 2 * INPUT_FLUSH  # The longest that it takes, on a slow machine.
LEAD = timedelta(
    seconds=10
)  # The warning begins this much earlier than it has to, since it is looked for now and then.
RENEWED_WITHIN = timedelta(seconds=15)


class Deadlines:
    """The SQL for one Hub's settings. `columns` is for every query that a Session is made of."""

    def __init__(self, settings: Settings) -> None:
        idle, age = _interval(settings.idle_timeout + LATEST_INPUT), _interval(settings.max_age)
        warn_before = settings.warn_before
        self.tick = timedelta(seconds=min(5.0, max(0.5, settings.idle_timeout.total_seconds() / 10)))
        """How often deadlines are looked at. Viewers of another replica hear of a warning this much later."""
        lead, spare = (LEAD, self.tick) if warn_before else (timedelta(0), timedelta(0))
        quiet_at, old_at = f"COALESCE(last_input_at, started_at) + {idle}", f"started_at + {age}"
        due = f"LEAST({quiet_at}, {old_at})"
        live = "(state = 'running' AND wanted = 'running' AND started_at IS NOT NULL)"
        warned = f"COALESCE(warned_for = {due} AND warning_renewed_at > now() - {_interval(RENEWED_WITHIN)}, false)"
        why = f"CASE WHEN {old_at} <= {quiet_at} THEN 'too_old' ELSE 'idle' END"
        warned_since = f"CASE WHEN {warned} THEN warned_at ELSE now() END"
        stops_at = f"GREATEST({due}, {warned_since} + {_interval(warn_before + spare)})"
        soon = f"{due} <= now() + {_interval(warn_before + lead)}"

        self.columns = (
            f"CASE WHEN {live} THEN {stops_at} END AS stops_at, CASE WHEN {live} THEN {why} END AS stops_why, "
            f"COALESCE({live} AND {soon}, false) AS ends_soon"
        )
        # Every replica renews all warnings; one that another has just renewed is left alone.
        self.warn = f"""UPDATE sessions
            SET warned_at = {warned_since}, warned_for = {due}, warning_renewed_at = now()
            WHERE {live} AND {soon} AND NOT ({warned} AND warning_renewed_at > now() - {_interval(self.tick / 2)})"""  # noqa: S608
        self.stop = f"""UPDATE sessions SET wanted = 'stopped', due_at = now(), wanted_reason = {why}
            WHERE {live} AND {warned} AND {stops_at} <= now()"""  # noqa: S608


def _interval(length: timedelta) -> str:
    return f"interval '{length.total_seconds():.6f} seconds'"
