"""The `hub` command: serve, migrate, user, token, doctor. Each reads the same settings and works beside a running Hub."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from getpass import getpass
from typing import Any

import uvloop
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.middleware import ProxyFixMiddleware

from app.accounts.mail import PrintMailer
from app.accounts.service import INVITE_LIFETIME, Accounts
from app.aio import Supervisor
from app.db.database import Database
from app.errors import HubError, SettingsError
from app.factory import NOT_APART, create_app
from app.runtimes.local import sandbox
from app.settings import PROJECT, Settings, load_secret_key


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="hub", description="VisiData Hub: VisiData in the browser.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="run the Hub until Ctrl-C or SIGTERM").set_defaults(run=serve)
    commands.add_parser("migrate", help="bring the database's tables up to date").set_defaults(run=migrate)
    user = commands.add_parser("user", help="accounts").add_subparsers(dest="action", required=True, metavar="ACTION")
    add = user.add_parser("add", help="make an account and print a link that logs it in once")
    add.add_argument("email")
    add.add_argument("--admin", action="store_true", help="an administrator")
    add.add_argument("--password", action="store_true", help="ask for a password now, instead of printing a link")
    add.set_defaults(run=user_add)
    token = commands.add_parser("token", help="API tokens").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    create = token.add_parser("create", help="make an API token and print it, alone")
    create.add_argument("email")
    create.add_argument("--label", default="made on the command line", help="what it is for")
    create.set_defaults(run=token_create)
    commands.add_parser("doctor", help="look for what is missing or wrong").set_defaults(run=doctor)
    arguments = parser.parse_args(argv)
    try:
        settings = Settings.from_env()
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        command: Callable[[Settings, argparse.Namespace], Awaitable[int]] = arguments.run
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(command(settings, arguments))  # type: ignore[arg-type]
    except (SettingsError, HubError) as error:
        print(f"hub: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


async def serve(settings: Settings, _: argparse.Namespace) -> int:
    began = time.monotonic()
    listener = _bind(settings.bind)
    started = asyncio.Event()

    def say(text: str) -> None:
        print(text, flush=True)

    app = create_app(settings, say=say)

    @app.before_serving
    async def started_up() -> None:
        started.set()

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    loop.set_exception_handler(_report)

    async def shutdown() -> None:
        await stopping.wait()
        say("\nStopping. Sessions go on, and are found again at the next start.")
        await app.extensions["leave"]()

    config = hypercorn_config(settings, listener)
    served = ProxyFixMiddleware(app, mode="legacy", trusted_hops=settings.trusted_proxies)
    running = asyncio.create_task(
        hypercorn_serve(served if settings.trusted_proxies else app, config, shutdown_trigger=shutdown),
        name="serve",
    )
    ready = asyncio.create_task(started.wait(), name="ready")
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        await _accepts(settings.bind)
        say(f"VisiData Hub is at {settings.public_url} ({time.monotonic() - began:.1f} s). Ctrl-C stops it.")
    ready.cancel()
    try:
        await running
    except* SettingsError as group:
        raise _first(group) from None
    return 0


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what goes wrong where nobody waits for it.

    Browsers keep connections open, which are cancelled when the Hub stops; the streams of Python 3.11 ask such a task
    for its exception and so report an error where there was none.
    """
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


def hypercorn_config(settings: Settings, listener: socket.socket) -> Config:
    """Hypercorn's settings, each for a reason."""
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.graceful_timeout = 1.0  # Live lists and terminals have been let go by then.
    config.shutdown_timeout = 5.0
    config.startup_timeout = 120.0  # The first start makes the database and the samples.
    config.keep_alive_timeout = 75.0  # Longer than a load balancer keeps its own connections.
    config.websocket_ping_interval = 20.0  # Load balancers cut silent sockets at 60 s; dead peers are found so.
    config.websocket_max_message_size = 256 * 1024
    config.include_server_header = False
    config.accesslog = "-" if settings.access_log else None
    config.errorlog = logging.getLogger("hub.server")
    config.errorlog.setLevel(logging.WARNING)  # That it runs is said by `serve`.
    return config


def _bind(bind: str) -> socket.socket:
    """The address, taken before anything else is started. Raises SettingsError where somebody else has it."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"HUB_BIND={bind}: {(error.strerror or str(error)).lower()}. "
            "Is a Hub running already? Stop it, or set HUB_BIND to another address."
        ) from error
    return listener


async def _accepts(bind: str) -> None:
    """Wait until the address accepts connections: what is printed as ready is ready."""
    host, _, port = bind.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
    for _attempt in range(100):
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextlib.asynccontextmanager
async def _accounts(settings: Settings) -> AsyncIterator[Accounts]:
    """The accounts of a Hub that may or may not be running."""
    database, tasks = Database(settings), Supervisor()
    await database.start()
    try:
        await database.migrate()
        yield Accounts(settings, PrintMailer(), tasks)
    finally:
        await tasks.close()
        await database.stop()


async def migrate(settings: Settings, _: argparse.Namespace) -> int:
    async with _accounts(settings):
        print("The tables are up to date.")
    return 0


async def user_add(settings: Settings, arguments: argparse.Namespace) -> int:
    password = None
    if arguments.password:
        password = await asyncio.to_thread(getpass, "Password: ")
    async with _accounts(settings) as accounts:
        account = await accounts.add(arguments.email, admin=arguments.admin, password=password)
        print(f"{account.email} has an account{' and is an administrator' if account.admin else ''}.")
        if not password:
            print(
                f"This link logs in once, within 7 days:\n\n    {await accounts.make_link(account, INVITE_LIFETIME)}\n"
            )
    return 0


async def token_create(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _accounts(settings) as accounts:
        account = await accounts.find(arguments.email)
        if account is None:
            raise SettingsError(f"There is no account for {arguments.email}. Make one: hub user add {arguments.email}")
        print(await accounts.make_token(account, arguments.label))
    return 0


async def doctor(settings: Settings, _: argparse.Namespace) -> int:
    """Each line is a thing looked at; the exit code is 1 when one of them keeps the Hub from working."""
    broken = 0

    def line(mark: str, what: str, words: str) -> None:
        nonlocal broken
        broken += mark == "BAD"
        print(f"{mark:>4}  {what}: {words}")

    line("ok", "Python", platform.python_version())
    line("ok", "settings", f"{settings.public_url}, sessions run {settings.runtime}")
    try:
        load_secret_key(settings)
        free = shutil.disk_usage(settings.data_dir).free / 1e9
        line("ok" if free > 1 else "BAD", "data folder", f"{settings.data_dir} ({free:.1f} GB free)")
    except OSError as error:
        line("BAD", "data folder", f"{settings.data_dir}: {error.strerror}. Choose another with HUB_DATA_DIR.")
    try:
        async with _accounts(settings) as accounts:
            people = [person for person in await accounts.list() if not person.guest]
            line("ok", "Postgres", f"answers, and is up to date; {len(people)} accounts")
            if not any(person.admin for person in people):
                line(
                    "note",
                    "administrator",
                    "none yet: `hub serve` prints a link, `hub user add EMAIL --admin` makes one",
                )
    except (SettingsError, HubError, OSError) as error:
        line("BAD", "Postgres", str(error))
    probe = [str(settings.session_python), "-c", "import visidata; print(visidata.__version__)"]
    try:
        found = await asyncio.to_thread(subprocess.run, probe, capture_output=True, text=True, check=True, timeout=60)
        line("ok", "VisiData", found.stdout.strip())
    except (OSError, subprocess.SubprocessError):
        line(
            "BAD",
            "VisiData",
            f"not at {settings.session_python}. `make run` puts it there; HUB_SESSION_PYTHON names another.",
        )
    try:
        line("ok", "GoTTY", settings.gotty_path or "none: the agent plays its part")
    except SettingsError as error:
        line("BAD", "GoTTY", str(error))
    bwrap = None if settings.sandbox == "none" else sandbox.usable()
    line("ok" if bwrap else "note", "sandbox", " ".join(bwrap) if bwrap else NOT_APART)
    if os.geteuid() == 0:
        line("note", "user", "root: whoever breaks out of a session is root too. Run the Hub as a user of its own.")
    vendor = PROJECT / "static" / "vendor" / "xterm.mjs"
    line(
        "ok" if vendor.is_file() else "BAD",
        "browser libraries",
        "there" if vendor.is_file() else "missing: run `make run`",
    )
    line("ok" if settings.smtp_url else "note", "mail", "SMTP" if settings.smtp_url else "printed where the Hub runs")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
