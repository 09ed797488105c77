"""The collaborators that views may use, put together once by `app.factory`. No logic."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from quart import current_app

from app.accounts.models import Account
from app.accounts.service import Accounts
from app.accounts.watch import LoginWatch
from app.errors import Conflict
from app.files.homes import Homes
from app.sessions.changes import Changes
from app.sessions.models import Session
from app.sessions.service import Sessions
from app.settings import Settings
from app.terminal.terminal import Terminals
from app.web.live import LiveLists
from app.web.remembered import Remembered


@dataclass
class SweepControl:
    """What administrators see of the sweep: `why` it is held (empty: it is not), and the way to `confirm` it.

    `held` is this replica's last knowledge of it. `foreign` is the number of runs of another installation.
    """

    why: Callable[[], Awaitable[str]]
    confirm: Callable[[], Awaitable[bool]]
    held: Callable[[], bool]
    foreign: Callable[[], int]


@dataclass
class Hub:
    """What the Hub is made of, as far as views are concerned.

    `where` gives the address of a running session's run, or None where it is not there. `synced` gives the age in
    seconds of the runtime's last word, or None before its first full list. `outage` gives how many seconds Postgres has not
    answered, or None while it does. `warnings` are sentences for administrators.
    `leaving` is set once this replica shuts down.
    """

    settings: Settings
    accounts: Accounts
    sessions: Sessions
    homes: Homes
    changes: Changes
    live: LiveLists
    watch: LoginWatch
    terminals: Terminals
    where: Callable[[Session], Awaitable[str | None]]
    synced: Callable[[], float | None]
    ready: Callable[[], bool]
    sweep: SweepControl
    outage: Callable[[], float | None]
    remembered: Remembered
    warnings: list[str] = field(default_factory=list)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)


def homes_of(account: Account) -> Homes:
    """The homes, where this account's is one of them. Raises Conflict where it is not, with what to do instead."""
    if not hub().settings.reaches_home(guest=account.guest):
        raise Conflict(
            "On this Hub your files are in your sessions alone: uploads and the Files page do not reach them. "
            "In VisiData, o opens an address of the web, and Ctrl+S saves into the session."
        )
    return hub().homes


def hub() -> Hub:
    found: Hub = current_app.extensions["hub"]
    return found
