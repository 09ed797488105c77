"""Who people are: passwords, one-time links, guests, API tokens.

Gives nothing away: an unknown address, one without a password and a wrong password look and take the same. Tokens are
random (256 bits) and kept as SHA-256 alone; passwords are kept as Argon2id. Must not know of cookies or pages.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.accounts.logins import Login, Logins, Why
from app.accounts.mail import Mailer
from app.accounts.models import Account
from app.accounts.preferences import Preferences
from app.aio import Supervisor
from app.db.tables import User as Row
from app.errors import BadInput, Conflict, LimitReached, NotFound, NotLoggedIn, Unavailable
from app.settings import Settings
from app.threads import PASSWORDS

log = logging.getLogger("hub.accounts")

LINK_LIFETIME = timedelta(minutes=15)
FIRST_LINK_LIFETIME = timedelta(days=1)
INVITE_LIFETIME = timedelta(days=7)
RESET_LIFETIME = timedelta(days=1)  # Of a link that an administrator makes for a person who cannot log in.
PASSWORD_LENGTH = 10, 200  # Least and most characters.
SEEN_EVERY = timedelta(minutes=5)  # How often a page view writes that the person was there.

GUEST_WITHOUT_SESSION = timedelta(minutes=15)  # A guest that has no session and is not there is deleted after this.
GUESTS_AGAIN = (
    f"A place that is not used is free again after {GUEST_WITHOUT_SESSION.seconds // 60} minutes: try again then, or ask "
    "for an account."
)
GUESTS_RETRY = 60  # Seconds.
GUESTS_LOCK = 0x48554247  # "HUBG": the advisory lock under which guests are counted.

BAD_LOGIN = "That address and password do not go together. Check both, or ask for a login link."
BAD_LINK = "This link has been used or is too old. Ask for a new one."


def clean_email(raw: str) -> str:
    """An e-mail address as the Hub keeps it: spellings that look the same (case, width, composition) are the same.

    Raises BadInput unless it looks like an address.
    """
    if len(raw) > 1000:  # Composition may make it shorter, but not by that much.
        raw = ""
    email = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", raw).strip().lower())
    unseen = any(unicodedata.category(character) in ("Cf", "Cc", "Cs") for character in email)
    if unseen or len(email) > 254 or not re.fullmatch(r"[^\s@<>\"',;]+@[^\s@<>\"',;]+", email):
        raise BadInput("Give an e-mail address, like ada@example.org.", field="email")
    return email


def clean_token(raw: str) -> str:
    """A link's token, without what a mail or a sentence may put behind it: `.`, `>`, `)` and the like."""
    found = re.match(r"[A-Za-z0-9_-]+", raw)
    return found[0] if found else ""


def check_password(password: str) -> str:
    """A password that may be set. Raises BadInput when it is too short or too long."""
    least, most = PASSWORD_LENGTH
    if not least <= len(password) <= most:
        raise BadInput(f"Use a password of {least} to {most} characters. A few words are fine.", field="password")
    return password


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Accounts:
    """Accounts and what proves them."""

    def __init__(self, settings: Settings, mailer: Mailer, tasks: Supervisor, hasher: PasswordHasher | None = None):
        self.settings = settings
        self.mailer = mailer
        self.tasks = tasks
        self.logins = Logins(settings.login_lifetime)
        self.hasher = hasher or PasswordHasher()
        # What a password is checked against where there is none, so that it takes as long.
        self._decoy = self.hasher.hash(secrets.token_urlsafe())

    # People

    async def get(self, user_id: UUID) -> Account | None:
        rows = await Row.raw("SELECT * FROM users WHERE id = {} AND deleted_at IS NULL", user_id)
        return Account.from_row(rows[0]) if rows else None

    async def find(self, email: str) -> Account | None:
        rows = await Row.raw("SELECT * FROM users WHERE email = {} AND deleted_at IS NULL", clean_email(email))
        return Account.from_row(rows[0]) if rows else None

    async def list(self) -> Sequence[Account]:
        rows = await Row.raw("SELECT * FROM users WHERE deleted_at IS NULL ORDER BY email NULLS LAST, created_at")
        return [Account.from_row(row) for row in rows]

    async def anybody(self) -> bool:
        """Whether there is an account at all (guests do not count)."""
        rows = await Row.raw("SELECT EXISTS (SELECT 1 FROM users WHERE email IS NOT NULL) AS found")
        return bool(rows[0]["found"])

    async def add(self, email: str, *, admin: bool = False, password: str | None = None) -> Account:
        """Make an account. Raises Conflict when there is one with this address."""
        email = clean_email(email)
        digest = await self._hash(check_password(password)) if password else None
        rows = await Row.raw(
            """INSERT INTO users (id, email, password_hash, admin, login_epoch, created_at, seen_at)
               VALUES (gen_random_uuid(), {}, {}, {}, 0, now(), now()) ON CONFLICT (email) DO NOTHING RETURNING *""",
            email,
            digest,
            admin,
        )
        if not rows:
            raise Conflict(f"There is an account for {email} already.", field="email")
        log.info("user %s added%s", rows[0]["id"], " as an administrator" if admin else "")
        return Account.from_row(rows[0])

    async def add_guest(self, origin: str | None = None) -> Account:
        """A new guest; `origin` stands for the network that they come from. Raises LimitReached when there are too many.

        No network may take more than a share of the places, so that one cannot keep all others out.
        """
        if not self.settings.guests:
            raise NotFound("This Hub takes no guests. Log in with your account.")
        async with Row._meta.db.transaction():
            await Row.raw("SELECT pg_advisory_xact_lock({})", GUESTS_LOCK)
            counted = await Row.raw(
                """SELECT count(*) AS taken, count(*) FILTER (WHERE guest_from = {}) AS near
                   FROM users WHERE email IS NULL AND deleted_at IS NULL""",
                origin,
            )
            taken, near = counted[0]["taken"], counted[0]["near"]
            if taken >= self.settings.max_guests:
                raise LimitReached(f"All guest places are taken. {GUESTS_AGAIN}", retry_after=GUESTS_RETRY)
            if near >= self.settings.guest_share:
                raise LimitReached(
                    f"All guest places for your network are taken. {GUESTS_AGAIN}", retry_after=GUESTS_RETRY
                )
            rows = await Row.raw(
                """INSERT INTO users (id, email, admin, login_epoch, guest_from, created_at, seen_at)
                   VALUES (gen_random_uuid(), NULL, false, 0, {}, now(), now()) RETURNING *""",
                origin,
            )
        return Account.from_row(rows[0])

    async def seen(self, account: Account, login: Login | None = None) -> None:
        """The person was there; written at most every few minutes."""
        rows = await Row.raw(
            """UPDATE users SET seen_at = now()
               WHERE id = {} AND (seen_at < now() - {}::interval OR seen_at = created_at) RETURNING id""",
            account.id,
            SEEN_EVERY,
        )
        if rows and login is not None:
            await self.logins.seen(login)

    async def prefer(self, account: Account, preferences: Preferences) -> None:
        """Keep what the person has chosen for their terminals."""
        await Row.raw("UPDATE users SET preferences = {} WHERE id = {}", preferences.as_row(), account.id)

    async def leave(self, user_id: UUID, why: str = "they left") -> None:
        """The user goes: their logins, links and tokens are void at once; the manager stops and deletes the rest."""
        rows = await Row.raw(
            """WITH gone AS (
                 UPDATE users SET deleted_at = now(), email = NULL, password_hash = NULL, login_epoch = login_epoch + 1
                 WHERE id = {} AND deleted_at IS NULL RETURNING id),
               tokens AS (DELETE FROM api_tokens WHERE "user" IN (SELECT id FROM gone))
               SELECT id FROM gone""",
            user_id,
        )
        if rows:
            log.info("user %s removed: %s", user_id, why)
        await Row.raw('DELETE FROM login_links WHERE "user" = {}', user_id)
        await self.logins.end_all(user_id, Why.REMOVED)

    # Passwords

    async def log_in(self, email: str, password: str) -> Account:
        """The account that the address and password prove. Raises NotLoggedIn, in the same words and time for all."""
        try:
            address = clean_email(email)
        except BadInput:
            address = ""  # Handled as any other unknown address.
        rows = await Row.raw("SELECT * FROM users WHERE email = {} AND deleted_at IS NULL", address)
        digest = rows[0]["password_hash"] if rows else None
        most = PASSWORD_LENGTH[1]
        right = await self._verify(digest or self._decoy, password[:most]) and len(password) <= most
        if not rows or digest is None or not right:
            who = f"user {rows[0]['id']}" if rows else "an address without an account"
            log.info("log-in refused for %s: %s", who, "wrong password" if digest else "no password is set")
            raise NotLoggedIn(BAD_LOGIN)
        if self.hasher.check_needs_rehash(digest):
            await Row.raw(
                "UPDATE users SET password_hash = {} WHERE id = {} AND password_hash = {}",
                await self._hash(password),
                rows[0]["id"],
                digest,
            )
        return Account.from_row(rows[0])

    async def set_password(
        self, account: Account, password: str, *, current: str | None, login: Login | None = None
    ) -> Account:
        """Set the password and end all logins but `login`. API tokens stay.

        An account that has one must show it, unless `login` was made by a link moments ago: a link by mail or from an
        administrator is the way in for a person who has forgotten theirs.
        """
        check_password(password)
        if account.has_password and not (login and login.may_set_password):
            rows = await Row.raw("SELECT password_hash FROM users WHERE id = {}", account.id)
            if not rows or not await self._verify(rows[0]["password_hash"], current or ""):
                raise BadInput("That is not your current password.", field="current")
        digest = await self._hash(password)
        await Row.raw('DELETE FROM login_links WHERE "user" = {}', account.id)
        rows = await Row.raw(
            """UPDATE users SET password_hash = {}, login_epoch = login_epoch + 1 WHERE id = {} AND deleted_at IS NULL
               RETURNING *""",
            digest,
            account.id,
        )
        if not rows:
            raise NotLoggedIn
        log.info("user %s set a new password", account.id)
        await self.logins.end_all(account.id, Why.NEW_PASSWORD, keep=login)
        if login is not None:
            await self.logins.close_password_window(login)
        return Account.from_row(rows[0])

    async def end_logins(self, account: Account, *, keep: Login | None = None) -> Account:
        """Log out everywhere but `keep`. Links that were not used are void too; API tokens stay."""
        await Row.raw('DELETE FROM login_links WHERE "user" = {}', account.id)
        await self.logins.end_all(account.id, Why.ELSEWHERE, keep=keep)
        # Raised for replicas of the previous version, whose cookies name it.
        rows = await Row.raw("UPDATE users SET login_epoch = login_epoch + 1 WHERE id = {} RETURNING *", account.id)
        return Account.from_row(rows[0])

    # Links

    def link(self, token: str) -> str:
        return f"{self.settings.public_url}/login/link/{token}"

    async def make_link(self, account: Account | None, lifetime: timedelta = LINK_LIFETIME) -> str:
        """A one-time link that logs the account in; for None, the one that makes the first administrator."""
        token = secrets.token_urlsafe(32)
        await Row.raw("DELETE FROM login_links WHERE expires_at < now() - interval '1 day'")
        await Row.raw(
            """INSERT INTO login_links (id, "user", token_hash, created_at, expires_at)
               VALUES (gen_random_uuid(), {}, {}, now(), now() + {}::interval)""",
            account.id if account else None,
            hashed(token),
            lifetime,
        )
        return self.link(token)

    async def send_link(self, email: str) -> None:
        """Send a link to the address if it has an account. Whether it has shows neither in answer nor in time.

        Raises Unavailable where no mail goes out.
        """
        if not self.settings.mails_links:
            raise Unavailable("This Hub sends no mail. Ask an administrator for a link to log in with.")
        self.tasks.spawn("mail a login link", self._send_link(clean_email(email)))

    async def _send_link(self, email: str) -> None:
        account = await self.find(email)
        if account is None:
            log.info("a login link was asked for an address without an account")
            return
        link = await self.make_link(account)
        try:
            await self.mailer.send(
                email,
                "Your link to VisiData Hub",
                f"Open this link to log in:\n\n{link}\n\nIt works once, for 15 minutes. If you did not ask for it, "
                "you need do nothing.",
            )
        except Unavailable as error:
            log.error("a login link could not be mailed: %s", error.__cause__)

    async def look_at_link(self, token: str) -> Account | None:
        """Whose link it is (None: the first administrator's), leaving it unused. Raises BadInput when it is void."""
        rows = await Row.raw(
            """SELECT l."user" AS owner FROM login_links l
               WHERE l.token_hash = {} AND l.used_at IS NULL AND l.expires_at > now()
                 AND (l."user" IS NOT NULL OR NOT EXISTS (SELECT 1 FROM users WHERE email IS NOT NULL))""",
            hashed(token),
        )
        if not rows:
            raise BadInput(BAD_LINK)
        if rows[0]["owner"] is None:
            return None
        account = await self.get(rows[0]["owner"])
        if account is None:
            raise BadInput(BAD_LINK)
        return account

    async def use_link(self, token: str) -> Account:
        """Log in by a link, once. Raises BadInput when it is void, or the first administrator's."""
        rows = await Row.raw(
            """UPDATE login_links SET used_at = now()
               WHERE token_hash = {} AND used_at IS NULL AND expires_at > now() AND "user" IS NOT NULL
               RETURNING "user" AS owner""",
            hashed(token),
        )
        account = await self.get(rows[0]["owner"]) if rows else None
        if account is None:
            raise BadInput(BAD_LINK)
        return account

    async def make_first_admin(self, token: str, email: str, password: str) -> Account:
        """Use the first administrator's link. Of two at once, one makes the account; the other raises Conflict."""
        email, digest = clean_email(email), await self._hash(check_password(password))
        async with Row._meta.db.transaction():
            await Row.raw("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
            if await self.anybody():
                raise Conflict("The first administrator has been made already. Log in.")
            used = await Row.raw(
                """UPDATE login_links SET used_at = now() WHERE token_hash = {} AND used_at IS NULL
                   AND expires_at > now() AND "user" IS NULL RETURNING id""",
                hashed(token),
            )
            if not used:
                raise BadInput(BAD_LINK)
            rows = await Row.raw(
                """INSERT INTO users (id, email, password_hash, admin, login_epoch, created_at, seen_at)
                   VALUES (gen_random_uuid(), {}, {}, true, 0, now(), now()) RETURNING *""",
                email,
                digest,
            )
        return Account.from_row(rows[0])

    # Tokens for the JSON API

    async def make_token(self, account: Account, label: str = "") -> str:
        """A new token; it is shown once and kept as a hash."""
        token = f"hub_{secrets.token_urlsafe(32)}"
        await Row.raw(
            """INSERT INTO api_tokens (id, "user", token_hash, label, created_at)
               VALUES (gen_random_uuid(), {}, {}, {}, now())""",
            account.id,
            hashed(token),
            label.strip()[:100],
        )
        return token

    async def find_token(self, token: str) -> tuple[UUID, Account] | None:
        """The id of the token, and whose it is."""
        rows = await Row.raw(
            """SELECT u.*, t.used_at AS token_used_at, t.id AS token_id FROM api_tokens t JOIN users u ON u.id = t."user"
               WHERE t.token_hash = {} AND u.deleted_at IS NULL""",
            hashed(token),
        )
        if not rows:
            return None
        used_at = rows[0]["token_used_at"]
        if used_at is None or datetime.now(UTC) - used_at > SEEN_EVERY:
            await Row.raw("UPDATE api_tokens SET used_at = now() WHERE id = {}", rows[0]["token_id"])
        return rows[0]["token_id"], Account.from_row(rows[0])

    async def tokens(self, account: Account) -> Sequence[dict[str, object]]:
        """`id`, `label`, `created_at`, `used_at` of the account's tokens, the newest first."""
        rows: Sequence[dict[str, object]] = await Row.raw(
            'SELECT id, label, created_at, used_at FROM api_tokens WHERE "user" = {} ORDER BY created_at DESC',
            account.id,
        )
        return rows

    async def drop_tokens(self, account: Account) -> None:
        await Row.raw('DELETE FROM api_tokens WHERE "user" = {}', account.id)

    async def drop_token(self, account: Account, token_id: UUID) -> None:
        await Row.raw('DELETE FROM api_tokens WHERE id = {} AND "user" = {}', token_id, account.id)

    # Hashing runs in threads of its own: it takes tens of milliseconds of a core.

    async def _hash(self, password: str) -> str:
        return await PASSWORDS.run("", self.hasher.hash, password)

    async def _verify(self, digest: str, password: str) -> bool:
        try:
            return await PASSWORDS.run("", self.hasher.verify, digest, password)
        except (VerificationError, InvalidHashError):
            return False
