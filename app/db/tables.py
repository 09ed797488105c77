"""The Hub's tables. Shapes only; queries live in the domains, and rules that Postgres itself must keep (the trigger that
announces changes, the index of due work) in the migrations.
"""

from __future__ import annotations

from piccolo.columns import (
    JSONB,
    UUID,
    Boolean,
    ForeignKey,
    Integer,
    Text,
    Timestamptz,
    Varchar,
)
from piccolo.columns.base import OnDelete
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.columns.defaults.uuid import UUID4
from piccolo.constraints import Unique
from piccolo.table import Table


class User(Table, tablename="users"):
    """A person with an account, or a guest: a guest has no e-mail, and what is theirs goes when they go."""

    id = UUID(primary_key=True, default=UUID4())
    email = Varchar(length=254, null=True, default=None, unique=True)
    password_hash = Text(null=True, default=None)
    admin = Boolean(default=False)
    login_epoch = Integer(default=0, help_text="A login made in another epoch is void: raised to log out everywhere.")
    preferences = JSONB(default="{}", help_text="How they want their terminals: app/accounts/preferences.py.")
    guest_from = Varchar(length=64, null=True, default=None, help_text="A guest's network, as a keyed hash.")
    created_at = Timestamptz(default=TimestamptzNow())
    seen_at = Timestamptz(default=TimestamptzNow())
    deleted_at = Timestamptz(null=True, default=None, help_text="Going: sessions are being stopped, then the row goes.")


class Login(Table, tablename="logins"):
    """One browser that is signed in. Its signed cookie names the row; the id itself is no secret."""

    id = UUID(primary_key=True, default=UUID4())
    user = ForeignKey(references=User, null=False, on_delete=OnDelete.cascade)
    how = Varchar(length=10, help_text="password, link or guest")
    kept = Boolean(default=False, help_text="The cookie outlives the browser: stay logged in on this computer.")
    created_at = Timestamptz(default=TimestamptzNow())
    seen_at = Timestamptz(default=TimestamptzNow())
    ends_at = Timestamptz()
    password_until = Timestamptz(null=True, default=None, help_text="Until then a new password needs no old one.")
    ended_at = Timestamptz(
        null=True, default=None, help_text="Kept for a while: pages of this login may still be open."
    )


class LoginLink(Table, tablename="login_links"):
    """A link that logs in once. Only the hash of its token is kept. No user: the link that makes the first one."""

    id = UUID(primary_key=True, default=UUID4())
    user = ForeignKey(references=User, null=True, default=None, on_delete=OnDelete.cascade)
    token_hash = Varchar(length=64, unique=True)
    created_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz()
    used_at = Timestamptz(null=True, default=None)


class ApiToken(Table, tablename="api_tokens"):
    """A token for the JSON API. Only its hash is kept."""

    id = UUID(primary_key=True, default=UUID4())
    user = ForeignKey(references=User, null=False, on_delete=OnDelete.cascade)
    token_hash = Varchar(length=64, unique=True)
    label = Varchar(length=100, default="")
    created_at = Timestamptz(default=TimestamptzNow())
    used_at = Timestamptz(null=True, default=None)


class Session(Table, tablename="sessions"):
    """A person's named VisiData. `wanted` is written by views, the rest of its life by the lifecycle manager alone."""

    id = Varchar(length=12, primary_key=True, default="")
    user = ForeignKey(references=User, null=False, on_delete=OnDelete.restrict)
    name = Varchar(length=100)
    source_kind = Varchar(length=10, default="empty")
    source_value = Text(default="")
    form_key = Varchar(length=64, null=True, default=None, help_text="Makes a form that is sent twice count once.")
    created_at = Timestamptz(default=TimestamptzNow())

    wanted = Varchar(length=10, default="running")
    wanted_reason = Varchar(length=20, null=True, default=None)

    state = Varchar(length=10, default="stopped")
    reason = Varchar(length=20, null=True, default=None)
    detail = Text(default="")
    generation = Integer(default=0)
    run_uid = Varchar(length=64, null=True, default=None)
    address = Varchar(length=100, null=True, default=None)
    credential = Varchar(length=100, null=True, default=None)
    queued_at = Timestamptz(null=True, default=None)
    put_back_at = Timestamptz(null=True, default=None, help_text="When there was no room for it after all.")
    launched_at = Timestamptz(null=True, default=None)
    counted_from = Timestamptz(null=True, default=None, help_text="Since when the present part of the start counts.")
    start_waits = Boolean(default=False, help_text="Whether that part is the wait for the cluster.")
    started_at = Timestamptz(null=True, default=None)
    last_input_at = Timestamptz(null=True, default=None)
    ended_at = Timestamptz(null=True, default=None)
    warned_at = Timestamptz(null=True, default=None, help_text="Since when its viewers are warned of its stop.")
    warned_for = Timestamptz(null=True, default=None, help_text="The deadline that they are warned of.")
    warning_renewed_at = Timestamptz(null=True, default=None, help_text="When that was last found to hold.")

    due_at = Timestamptz(null=True, default=TimestamptzNow(), help_text="When a manager has something to do for it.")
    lease_by = Varchar(length=64, null=True, default=None)
    lease_until = Timestamptz(null=True, default=None)
    attempts = Integer(default=0, help_text="Failed tries of the present step; sets how long the next one waits.")

    one_session_for_each_form = Unique(["user", "form_key"])


class Duty(Table, tablename="duties"):
    """What one replica does for all, until a time: a lease of its own."""

    name = Varchar(length=40, primary_key=True, default="")
    replica = Varchar(length=64)
    until = Timestamptz()


class Installation(Table, tablename="installation"):
    """One row: the id that tells this database's runs from those of any other, and the state of the sweep."""

    name = Varchar(length=10, primary_key=True, default="")
    id = Varchar(length=32)
    held_at = Timestamptz(null=True, default=None, help_text="Since when the sweep waits for an administrator.")
    held_why = Text(default="")
    held_runs = Text(default="", help_text="The runs that it would end or give up, separated by spaces.")
    confirmed_runs = Text(default="", help_text="Those that an administrator has confirmed.")


TABLES: tuple[type[Table], ...] = (User, Login, LoginLink, ApiToken, Session, Duty, Installation)
