"""The `hub` command: serve, migrate, user, token, doctor. Each reads the same settings and works beside a running Hub."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from getpass import getpass
from typing import Any

import uvloop
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.middleware import ProxyFixMiddleware
from hypercorn.utils import UnexpectedMessageError

from app.accounts.mail import PrintMailer
from app.accounts.models import Account
from app.accounts.service import INVITE_LIFETIME, Accounts
from app.aio import Supervisor, within
from app.db.database import Database
from app.doctor import findings
from app.errors import HubError, SettingsError
from app.factory import create_app
from app.settings import Settings

GONE_AFTER = 7.5  # Seconds after the linger in which the process has gone in any case; people are told 8.


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

    leaving, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def leave(at_once: bool) -> None:
        if not leaving.is_set():
            _be_gone_in(settings.linger.total_seconds() + GONE_AFTER)
            say("\nStopping. Sessions go on, and are found again at the next start.")
        leaving.set()
        if at_once:
            hurry.set()

    loop.add_signal_handler(signal.SIGTERM, leave, False)
    loop.add_signal_handler(signal.SIGINT, leave, True)  # Whoever presses Ctrl-C waits for it.
    loop.set_exception_handler(_report)

    async def shutdown() -> None:
        await leaving.wait()
        await app.extensions["hand_over"]()
        # Until load balancers have noticed, browsers that are let go would only come back here.
        await within(hurry, settings.linger.total_seconds())
        await app.extensions["let_go"]()

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


def _be_gone_in(seconds: float) -> None:
    """End this process then, whatever holds it: a thread on a dead disk, a database that does not answer.

    What it has not done by then is lost by nobody: leases run out, and what is in the database stays there.
    """

    def go() -> None:
        print("hub: not everything has ended in time; leaving all the same.", file=sys.stderr, flush=True)
        os._exit(0)

    timer = threading.Timer(seconds, go)
    timer.daemon = True
    timer.start()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what goes wrong where nobody waits for it.

    Browsers keep connections open, which are cancelled when the Hub stops; the streams of Python 3.11 ask such a task
    for its exception and so report an error where there was none. Nor is it an error that an answer comes too late.
    """
    if not isinstance(context.get("exception"), asyncio.CancelledError | UnexpectedMessageError):
        loop.default_exception_handler(context)


def hypercorn_config(settings: Settings, listener: socket.socket) -> Config:
    """Hypercorn's settings, each for a reason."""
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.graceful_timeout = 1.0  # Live lists and terminals have been let go by then.
    config.shutdown_timeout = 60.0  # `_be_gone_in` is the limit, and gives no error.
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
    broken = False

    async def people() -> Sequence[Account]:
        async with _accounts(settings) as accounts:
            return await accounts.list()

    async for mark, what, words in findings(settings, people):
        broken = broken or mark == "BAD"
        print(f"{mark:>4}  {what}: {words}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
