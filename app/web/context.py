"""The collaborators that views may use, put together once by `app.factory`. No logic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from quart import current_app

from app.accounts.service import Accounts
from app.files.homes import Homes
from app.sessions.changes import Changes
from app.sessions.service import Sessions
from app.settings import Settings
from app.terminal.terminal import Terminals


@dataclass
class Hub:
    """What the Hub is made of, as far as views are concerned.

    `synced` gives the age in seconds of the runtime's last word, or None before its first full list. `warnings` are
    sentences for administrators. `leaving` is set once this replica shuts down.
    """

    settings: Settings
    accounts: Accounts
    sessions: Sessions
    homes: Homes
    changes: Changes
    terminals: Terminals
    synced: Callable[[], float | None]
    ready: Callable[[], bool]
    warnings: list[str] = field(default_factory=list)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)


def hub() -> Hub:
    found: Hub = current_app.extensions["hub"]
    return found
