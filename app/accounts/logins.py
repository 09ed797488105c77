"""Logins: one row for each browser that is signed in, named by its signed cookie.

All times are Postgres's own, so that replicas whose clocks differ agree. A login that has ended keeps its row for a while
(`app.lifecycle.queries.purge_logins`), since pages that were made for it may still be open. Must not know of cookies or pages.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.accounts.models import Account
from app.db.tables import Login as Row
from app.errors import NotLoggedIn

log = logging.getLogger("hub.accounts")

PASSWORD_WINDOW = timedelta(minutes=15)  # How long a login by link may set a new password without the old one.


class How(StrEnum):
    """What a login was made with."""

    PASSWORD = "password"  # noqa: S105  (not one)
    LINK = "link"
    GUEST = "guest"


class Why(StrEnum):
    """Why a login ended, for the log."""

    LOGGED_OUT = "logged out"
    REPLACED = "another login in the same browser"
    NEW_PASSWORD = "a new password was set"  # noqa: S105  (not one)
    ELSEWHERE = "logged out everywhere else"
    REMOVED = "the account was removed"


@dataclass(frozen=True, slots=True)
class Login:
    """A row of `logins`. `may_set_password`: it was made by a link, moments ago, so the old password is not asked for."""

    id: UUID
    how: How
    kept: bool
    may_set_password: bool

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Login:
        return cls(row["id"], How(row["how"]), row["kept"], bool(row["may_set_password"]))


class Logins:
    def __init__(self, lifetime: timedelta) -> None:
        self.lifetime = lifetime

    async def begin(self, account: Account, how: How, *, keep: bool = False) -> Login:
        """Log a browser in. `keep`: its cookie is to outlive the browser.

        Raises NotLoggedIn where all logins of the account were ended since `account` was read: what proved it is void.
        """
        rows = await Row.raw(
            """INSERT INTO logins (id, "user", how, kept, created_at, seen_at, ends_at, password_until)
               SELECT gen_random_uuid(), u.id, {}, {}, now(), now(), now() + {}::interval,
                      CASE WHEN {} THEN now() + {}::interval END
               FROM (SELECT id FROM users WHERE id = {} AND login_epoch = {} AND deleted_at IS NULL FOR SHARE) AS u
               RETURNING id, how, kept, password_until > now() AS may_set_password""",
            how.value,
            keep,
            self.lifetime,
            how is How.LINK,
            PASSWORD_WINDOW,
            account.id,
            account.login_epoch,
        )
        if not rows:
            raise NotLoggedIn("This login was ended just now. Log in again.")
        login = Login.from_row(rows[0])
        log.info("login %s: user %s logged in (%s)", login.id, account.id, how.value)
        return login

    async def get(self, login_id: UUID) -> tuple[Login, Account] | None:
        """A login that has not ended, with its account."""
        rows = await Row.raw(
            """SELECT u.*, l.id AS login_id, l.how, l.kept, l.password_until > now() AS may_set_password
               FROM logins l JOIN users u ON u.id = l."user"
               WHERE l.id = {} AND l.ended_at IS NULL AND l.ends_at > now() AND u.deleted_at IS NULL""",
            login_id,
        )
        if not rows:
            return None
        return Login.from_row({**rows[0], "id": rows[0]["login_id"]}), Account.from_row(rows[0])

    async def owner(self, login_id: UUID) -> UUID | None:
        """The user of a login, also of one that has ended."""
        rows = await Row.raw('SELECT "user" AS owner FROM logins WHERE id = {}', login_id)
        return rows[0]["owner"] if rows else None

    async def seen(self, login: Login) -> None:
        await Row.raw("UPDATE logins SET seen_at = now() WHERE id = {}", login.id)

    async def end(self, login: Login, why: Why) -> None:
        """Log a browser out. A login that has ended is not changed."""
        rows = await Row.raw(
            'UPDATE logins SET ended_at = now() WHERE id = {} AND ended_at IS NULL RETURNING id, "user" AS owner',
            login.id,
        )
        _note(rows, why)

    async def end_all(self, user_id: UUID, why: Why, *, keep: Login | None = None) -> None:
        """Log all browsers of a user out, except the one to `keep`."""
        rows = await Row.raw(
            """UPDATE logins SET ended_at = now() WHERE "user" = {} AND ended_at IS NULL AND id IS DISTINCT FROM {}::uuid
               RETURNING id, "user" AS owner""",
            user_id,
            keep.id if keep else None,
        )
        _note(rows, why)

    async def close_password_window(self, login: Login) -> None:
        """The new password is set: the next one needs it."""
        await Row.raw("UPDATE logins SET password_until = NULL WHERE id = {}", login.id)


def _note(ended: list[Mapping[str, Any]], why: Why) -> None:
    for row in ended:
        log.info("login %s of user %s ended: %s", row["id"], row["owner"], why.value)
