"""Whether Postgres answers: what counts as an outage, and the one place that knows and logs whether there is one.

Must not retry or connect to anything.
"""

from __future__ import annotations

import logging
import time

import asyncpg

log = logging.getLogger("hub.db")


class Health:
    """The state of the database, as the listening connection finds it. One line is logged when an outage begins and one
    when it ends, whatever fails meanwhile."""

    def __init__(self) -> None:
        self._away_since: float | None = None
        self._failed_calls = 0
        self._first_failure: BaseException | None = None

    @property
    def away_for(self) -> float | None:
        """How long Postgres has not answered, in seconds; None while it does."""
        return None if self._away_since is None else time.monotonic() - self._away_since

    def lost(self, error: BaseException) -> None:
        """The listening connection cannot reach Postgres."""
        self._failed_calls, self._first_failure = 0, None
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("Postgres does not answer (%s). Sessions and attached terminals continue.", in_words(error))

    def answers(self) -> None:
        """The listening connection has reached Postgres."""
        if self._away_since is not None:
            log.warning("Postgres answers again, after %.1f s.", time.monotonic() - self._away_since)
            self._away_since = None
        elif self._first_failure is not None:
            words = in_words(self._first_failure)
            log.warning("Postgres answers, though %d calls of it failed (the first: %s).", self._failed_calls, words)
        self._failed_calls, self._first_failure = 0, None

    def failed(self, error: BaseException) -> None:
        """A call failed. Whether that is an outage shows when the listening connection looks next."""
        self._failed_calls += 1
        self._first_failure = self._first_failure or error


def in_words(error: BaseException) -> str:
    """An error for the log, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def is_outage(error: BaseException) -> bool:
    """Whether what asyncpg raised means that Postgres cannot be reached just now, rather than that a query is wrong.

    For errors of asyncpg's calls alone: elsewhere an OSError or a TimeoutError says nothing about Postgres.
    """
    if isinstance(error, asyncpg.InterfaceError):
        return "connection" in str(error).lower() or "pool" in str(error).lower()
    if isinstance(error, asyncpg.InternalClientError):
        # Used between a dying server's last word and the connection's end: asyncpg takes the word for another answer.
        return "cannot switch to state" in str(error)
    return isinstance(
        error,
        OSError
        | TimeoutError
        | asyncpg.PostgresConnectionError
        | asyncpg.CannotConnectNowError
        | asyncpg.AdminShutdownError
        | asyncpg.CrashShutdownError
        | asyncpg.TooManyConnectionsError,
    )
