"""The exception tree. What goes wrong for a person is one of these; `app.web.errors` turns each into a page, a
fragment, a problem+json or a close code, in one place. No other module builds an error answer.

HubError
├── BadInput          422  what was sent cannot be used; the message says what to do
├── NotLoggedIn       401  nobody, or a login that has expired
├── Forbidden         403  somebody, but not allowed
├── NotFound          404  no such thing, or not theirs (the two look the same on purpose)
├── OtherLogin        412  the page was made for another login than the browser now has
├── Conflict          409  fine in itself, but not in this state
├── TooLarge          413  over a size limit
├── Misdirected       421  asked by a name that is not the Hub's
├── LimitReached      429  over a number limit: of sessions, guests, live lists, uploads under way
├── TooManyRequests   429  over a rate limit; says when to try again
└── Unavailable       503  a part that the Hub needs does not answer; trying again may help
    └── DatabaseOutage     Postgres cannot be reached; `app.db` raises it, and logs the outage once
SettingsError              the settings are wrong; the Hub does not start
RuntimeFailure             a runtime could not do what it was asked; carries a reason and words for the person
"""

from __future__ import annotations

import errno


class HubError(Exception):
    """Something to tell a person. `message` is a whole sentence, fit for a page, and gives nothing away."""

    status = 500
    title = "Something went wrong"
    retry_after: int | None = None  # Seconds after which the same request may work.

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field  # The form field it is about, if it is about one.


class BadInput(HubError):
    status = 422
    title = "Please check your input"


class NotLoggedIn(HubError):
    status = 401
    title = "Please log in"

    def __init__(self, message: str = "Log in to go on.") -> None:
        super().__init__(message)


class Forbidden(HubError):
    status = 403
    title = "Not allowed"


class NotFound(HubError):
    status = 404
    title = "Not found"


class OtherLogin(HubError):
    status = 412
    title = "Another login"


class Conflict(HubError):
    status = 409
    title = "Not possible right now"


class TooLarge(HubError):
    status = 413
    title = "Too large"


class LimitReached(HubError):
    """`retry_after` where waiting helps; a quota has none, since something must be deleted first."""

    status = 429
    title = "Limit reached"

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyRequests(HubError):
    status = 429
    title = "Too many requests"

    def __init__(self, retry_after: int) -> None:
        unit = "second" if retry_after == 1 else "seconds"
        super().__init__(f"Too many requests. Try again in {retry_after} {unit}.")
        self.retry_after = retry_after


class Misdirected(HubError):
    status = 421
    title = "Wrong address"


class Unavailable(HubError):
    status = 503
    title = "Not available right now"


class DatabaseOutage(Unavailable):
    retry_after = 3

    def __init__(self) -> None:
        super().__init__("The Hub's database does not answer. Your sessions continue; try again in a moment.")


class SettingsError(Exception):
    """A setting is missing, misspelt or out of range. The message names the setting and what it takes."""


class RuntimeFailure(Exception):
    """A runtime could not do what it was asked.

    `reason` is a value of `app.runtimes.base.Reason` (a string, so that this module imports nothing); `message` is
    for the person. `retry` says whether the same call may succeed later.
    """

    def __init__(self, message: str, *, reason: str, retry: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.retry = retry


def system_trouble(error: OSError) -> tuple[int, str] | None:
    """The status and a true sentence for what the operating system refused, where it is no bug of the Hub's."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return 507, "The Hub's disk is full, so this was not stored. Tell an administrator."
        case errno.EROFS:
            return 500, "The Hub's disk is read-only, so nothing can be stored. Tell an administrator."
        case errno.EMFILE | errno.ENFILE:
            return 503, "The Hub has too many files open. Try again in a moment; tell an administrator if this stays."
        case errno.EIO | errno.ESTALE | errno.ENODEV:
            return 500, "The Hub's disk does not answer as it should. Tell an administrator."
        case errno.EOPNOTSUPP | errno.ENOSYS | errno.EMLINK:
            return 500, "The Hub's disk cannot do what this needs. Tell an administrator."
    return None
