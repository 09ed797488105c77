"""Puts the parts of the Hub together, and nothing else: every collaborator is made here and handed on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher
from quart import Quart

from app import preflight
from app.accounts.mail import Mailer, PrintMailer, SmtpMailer
from app.accounts.service import FIRST_LINK_LIFETIME, Accounts
from app.accounts.watch import LoginWatch
from app.aio import Supervisor, at_most
from app.db.database import Database
from app.errors import DatabaseOutage, HubError, RuntimeFailure, SettingsError
from app.files.homes import Homes
from app.files.names import size_text, spelling, visible
from app.files.samples import ensure_samples
from app.lifecycle import installation
from app.lifecycle.manager import Manager
from app.runtimes.base import Runtime
from app.runtimes.local import sandbox
from app.runtimes.local.runtime import LocalRuntime
from app.sessions.changes import Changes
from app.sessions.models import Session
from app.sessions.service import Sessions
from app.settings import PROJECT, Settings, load_secret_key
from app.terminal.terminal import Terminals
from app.web import account, admin, api, auth, backpressure, errors, files, health, security, sessions, static, terminal
from app.web.context import Hub, SweepControl
from app.web.live import LiveLists
from app.web.remembered import Remembered
from app.web.shown import ago, count, exact

HAND_OVER = 2.0  # Seconds for the manager to end its tasks and to release its leases; it bounds each by itself.
PATIENCE = 1.0  # Seconds for each part to close. What it has not done by then, another replica or the next Hub does.


class HubApp(Quart):
    def log_exception(self, exception_info: Any) -> None:
        """What an operator can put right is reported in a sentence by `hub serve`, without a traceback before it."""
        if not isinstance(exception_info[1], SettingsError | HubError | RuntimeFailure):
            super().log_exception(exception_info)


def create_app(
    settings: Settings,
    *,
    mailer: Mailer | None = None,
    runtime: Runtime | None = None,
    hasher: PasswordHasher | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Quart:
    """The Hub as an ASGI app. Nothing is opened or started before it serves; `say` is told of each step then.

    `mailer`, `runtime` and `hasher` are there for tests; by default the settings say which.
    """
    logging.getLogger("hub").setLevel(settings.log_level.upper())
    app = HubApp("app", template_folder=str(PROJECT / "templates"), static_folder=None)
    app.secret_key = load_secret_key(settings)
    app.config["RESPONSE_TIMEOUT"] = None  # Downloads and live lists take as long as they take.
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        ago=ago, count=count, exact=exact, size=size_text, visible=visible, spelling=spelling, account=security.maybe_me
    )
    app.jinja_env.globals.update(reaches_home=settings.reaches_home, keeps_home=settings.keeps_home)

    database = Database(settings)
    tasks = Supervisor(logged_elsewhere=(DatabaseOutage,))
    mailer = mailer or (SmtpMailer(settings.smtp_url, settings.mail_from) if settings.smtp_url else PrintMailer())
    accounts = Accounts(settings, mailer, tasks, hasher)
    managers: list[Manager] = []  # One, once the Hub serves.
    terminals = Terminals()
    remembered = Remembered()

    def synced() -> float | None:
        return managers[0].synced if managers else None

    async def where(session: Session) -> str | None:
        return await managers[0].where(session)

    services = Sessions(settings)
    hub = Hub(
        settings=settings,
        accounts=accounts,
        sessions=services,
        homes=Homes(settings.data_dir / "homes", settings.max_upload, settings.max_home),
        changes=Changes(),
        live=LiveLists(services.queue),
        watch=LoginWatch(remembered.forget, remembered.forget_closed),
        terminals=terminals,
        where=where,
        synced=synced,
        ready=lambda: synced() is not None,
        sweep=SweepControl(
            why=installation.read_why,
            confirm=installation.confirm,
            held=lambda: any(manager.sweeper.held for manager in managers),
            foreign=lambda: sum(manager.runtime.foreign_runs for manager in managers),
        ),
        outage=lambda: database.health.away_for,
        remembered=remembered,
    )
    app.extensions["hub"] = hub
    app.jinja_env.globals["hub_warnings"] = hub.warnings

    security.set_up(app)
    errors.set_up(app)
    backpressure.set_up(app)
    health.set_up(app)
    files.set_up(app)
    static.set_up(app, PROJECT / "static")
    terminal.set_up(app)
    account.set_up(app)
    for part in (auth, sessions, terminal, files, account, admin, api, health):
        app.register_blueprint(part.blueprint)

    @app.before_serving
    async def start() -> None:
        try:
            await open_all()
        except BaseException:
            await stop()  # A start that fails leaves nothing running.
            raise

    async def open_all() -> None:
        bwrap = None
        if settings.runtime == "local" or settings.k8s_home == "shared":  # Else nothing of it is used.
            await asyncio.to_thread(preflight.check_data_folder, settings)
        if settings.runtime == "local" and runtime is None:
            bwrap = await asyncio.to_thread(preflight.check_local_sessions, settings)
        say("Starting Postgres" if database.private else "Connecting to Postgres")
        await database.start()
        say("Bringing the tables up to date")
        await database.migrate()
        tasks.keep("watch the database", database.watch, most=5)
        tasks.keep("end what logins left open", hub.watch.run, most=5)
        tasks.keep("sweep homes", lambda: _sweep_homes(hub.homes))
        chosen = runtime or await _make_runtime(settings, hub, bwrap, await installation.get_id(), say)
        managers.append(Manager(settings, database, chosen, hub.sessions, hub.changes, terminals, hub.watch))
        managers[0].start()
        if not await accounts.anybody():
            if settings.prints_links:
                link = await accounts.make_link(None, FIRST_LINK_LIFETIME)
                say(f"Nobody has an account yet. Make the first administrator here, once:\n\n    {link}\n")
            else:
                say("Nobody has an account yet. Make the first administrator: hub user add you@example.org --admin")

    async def hand_over() -> None:
        """Say that this replica leaves (/readyz answers 503, new terminals are sent on) and give its work to others."""
        hub.leaving.set()
        for manager in managers:
            await at_most(HAND_OVER, manager.hand_over())

    async def let_go() -> None:
        """Let go of those who look on: terminals close with 1012 and live lists end, so that browsers come back."""
        await terminals.close_all()
        hub.changes.close()

    @app.after_serving
    async def stop() -> None:
        """Close what is open. Nothing that does not answer holds it up for long."""
        await hand_over()
        await let_go()
        for manager in managers:
            await at_most(HAND_OVER, manager.close())
            await at_most(PATIENCE, manager.runtime.close())
        await at_most(PATIENCE, tasks.close())
        with contextlib.suppress(OSError):
            await database.stop()

    app.extensions.update(hand_over=hand_over, let_go=let_go)
    return app


async def _sweep_homes(homes: Homes) -> None:
    """What broken uploads and deletions left behind is cleared, now and every hour."""
    while True:
        await homes.sweep()
        await asyncio.sleep(3600)


async def _make_runtime(
    settings: Settings, hub: Hub, bwrap: sandbox.Bwrap | None, installation_id: str, say: Callable[[str], None]
) -> Runtime:
    if settings.runtime == "kubernetes":
        from app.runtimes.kubernetes.runtime import KubernetesRuntime  # Slow, and for clusters alone.

        say(f"Connecting to Kubernetes, namespace {settings.k8s_namespace}")
        homes = hub.homes if settings.k8s_home == "shared" else None
        return await KubernetesRuntime.connect(settings, installation_id, homes)
    if bwrap is None:
        hub.warnings.append(preflight.NOT_APART)
    say("Looking for the sample data sets")
    samples = await asyncio.to_thread(ensure_samples, settings.data_dir, settings.session_python)
    return LocalRuntime(settings, samples=samples, bwrap=bwrap, delete_home=hub.homes.delete_home)
