"""`hub doctor`: looks for what is missing or wrong on this machine, in the settings and in the cluster, and says what to do.

Must change nothing but what the Hub's first start does too (the data folder, the secret key, the tables), except that on a
cluster two pods try the network and are deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.accounts.models import Account
from app.errors import HubError, SettingsError
from app.files.names import size_text
from app.preflight import NOT_APART, check_data_folder
from app.runtimes.local import sandbox
from app.settings import PROJECT, Settings, load_secret_key

if TYPE_CHECKING:
    from app.runtimes.kubernetes.checkup import Finding  # Slow to import, and for clusters alone.


async def findings(
    settings: Settings,
    people: Callable[[], Awaitable[Sequence[Account]]],
    installation: Callable[[], Awaitable[str]],
    kubeconfig: Path | None = None,
    patience: float | None = None,
) -> AsyncIterator[Finding]:
    """Each thing that was looked at, in order. `people` asks the database for the accounts, `installation` for its id."""
    yield "ok", "Python", platform.python_version()
    yield "ok", "settings", f"{settings.public_url}, sessions run {settings.runtime}"
    yield await asyncio.to_thread(_data_folder, settings)
    async for finding in _database(people, prints_links=settings.prints_links):
        yield finding
    if settings.runtime == "kubernetes":
        from app.runtimes.kubernetes import checkup  # Slow, and for clusters alone.

        id_there = ""
        with contextlib.suppress(SettingsError, HubError, OSError):  # Told above, as the database's.
            id_there = await installation()
        of_the_cluster = checkup.findings(
            settings, kubeconfig, installation=id_there, patience=patience or checkup.PATIENCE
        )
        async for finding in of_the_cluster:
            yield finding
    else:
        async for finding in _this_machine(settings):
            yield finding
    if (PROJECT / "static" / "vendor" / "xterm.mjs").is_file():
        yield "ok", "browser libraries", "there"
    else:
        yield "BAD", "browser libraries", "missing: run `make run`"
    if settings.smtp_url:
        yield "ok", "mail", "SMTP"
    elif settings.prints_links:
        yield "note", "mail", "printed where the Hub runs"
    else:
        yield (
            "note",
            "mail",
            "not sent: set HUB_SMTP_URL, or hand out links from the Admin page or `hub user reset EMAIL`",
        )


def _data_folder(settings: Settings) -> Finding:
    try:
        check_data_folder(settings)
        load_secret_key(settings)
        free = shutil.disk_usage(settings.data_dir).free
    except SettingsError as error:
        return "BAD", "data folder", str(error)
    return "ok" if free > 10**9 else "BAD", "data folder", f"{settings.data_dir} ({size_text(free)} free)"


async def _database(
    people: Callable[[], Awaitable[Sequence[Account]]], *, prints_links: bool
) -> AsyncIterator[Finding]:
    try:
        accounts = [person for person in await people() if not person.guest]
    except (SettingsError, HubError, OSError) as error:
        yield "BAD", "Postgres", str(error)
        return
    yield "ok", "Postgres", f"answers, and is up to date; {len(accounts)} accounts"
    if not any(person.admin for person in accounts):
        first = "`hub serve` prints a link, " if prints_links else ""
        yield "note", "administrator", f"none yet: {first}`hub user add EMAIL --admin` makes one"


async def _this_machine(settings: Settings) -> AsyncIterator[Finding]:
    """What sessions need that run as processes."""
    probe = [str(settings.session_python), "-c", "import visidata; print(visidata.__version__)"]
    try:
        found = await asyncio.to_thread(subprocess.run, probe, capture_output=True, text=True, check=True, timeout=60)
        yield "ok", "VisiData", found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        words = f"not at {settings.session_python}. `make run` puts it there; HUB_SESSION_PYTHON names another."
        yield "BAD", "VisiData", words
    try:
        yield "ok", "GoTTY", settings.gotty_path or "none: the agent plays its part"
    except SettingsError as error:
        yield "BAD", "GoTTY", str(error)
    bwrap = None if settings.sandbox == "none" else await asyncio.to_thread(sandbox.usable)
    yield ("ok", "sandbox", " ".join(bwrap)) if bwrap else ("note", "sandbox", NOT_APART)
    if os.geteuid() == 0:
        yield "note", "user", "root: whoever breaks out of a session is root too. Run the Hub as a user of its own."
