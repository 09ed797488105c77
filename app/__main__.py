"""The `hub` command: serve, migrate, user, token, sweep, doctor. Each reads the same settings and works beside a running Hub."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from getpass import getpass

import uvloop

from app import log, server
from app.accounts.mail import PrintMailer
from app.accounts.models import Account
from app.accounts.service import INVITE_LIFETIME, RESET_LIFETIME, Accounts
from app.aio import Supervisor
from app.db.database import Database
from app.doctor import findings
from app.errors import HubError, RuntimeFailure, SettingsError
from app.lifecycle import installation
from app.lifecycle.sweep import HELD_ADVICE
from app.output import complain, finish, say
from app.settings import Settings


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
    reset = user.add_parser("reset", help="print a link for a user who has forgotten the password")
    reset.add_argument("email")
    reset.set_defaults(run=user_reset)
    token = commands.add_parser("token", help="API tokens").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    create = token.add_parser("create", help="make an API token and print it, alone")
    create.add_argument("email")
    create.add_argument("--label", default="made on the command line", help="what it is for")
    create.set_defaults(run=token_create)
    sweep = commands.add_parser("sweep", help="show whether the sweep of runs without a session waits for you")
    sweep.add_argument("--confirm", action="store_true", help="let it stop them")
    sweep.set_defaults(run=show_sweep)
    commands.add_parser("doctor", help="look for what is missing or wrong").set_defaults(run=doctor)
    try:
        arguments = parser.parse_args(argv)
        settings = Settings.from_env()
        log.set_up()
        command: Callable[[Settings, argparse.Namespace], Awaitable[int]] = arguments.run
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(command(settings, arguments))  # type: ignore[arg-type]
    except (SettingsError, HubError, RuntimeFailure) as error:
        complain(f"hub: {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        finish()


async def serve(settings: Settings, _: argparse.Namespace) -> int:
    return await server.serve(settings)


@contextlib.asynccontextmanager
async def _accounts(settings: Settings) -> AsyncIterator[Accounts]:
    """The accounts of a Hub that may or may not be running."""
    database, tasks = Database(settings), Supervisor()
    try:
        await database.start()
        await database.migrate()
        yield Accounts(settings, PrintMailer(), tasks)
    finally:
        await tasks.close()
        await database.stop()


async def migrate(settings: Settings, _: argparse.Namespace) -> int:
    async with _accounts(settings):
        say("The tables are up to date.")
    return 0


async def user_add(settings: Settings, arguments: argparse.Namespace) -> int:
    password = None
    if arguments.password:
        password = await asyncio.to_thread(getpass, "Password: ")
    async with _accounts(settings) as accounts:
        account = await accounts.add(arguments.email, admin=arguments.admin, password=password)
        say(f"{account.email} has an account{' and is an administrator' if account.admin else ''}.")
        if not password:
            say(f"This link logs in once, within 7 days:\n\n    {await accounts.make_link(account, INVITE_LIFETIME)}\n")
    return 0


async def user_reset(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _accounts(settings) as accounts:
        account = await _existing(accounts, arguments.email)
        say(
            "This link logs in once, within a day. For 15 minutes then, a new password can be set without the old one:\n\n"
            f"    {await accounts.make_link(account, RESET_LIFETIME)}\n"
        )
    return 0


async def _existing(accounts: Accounts, email: str) -> Account:
    account = await accounts.find(email)
    if account is None:
        raise SettingsError(f"There is no account for {email}. Make one: hub user add {email}")
    return account


async def token_create(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _accounts(settings) as accounts:
        account = await _existing(accounts, arguments.email)
        say(await accounts.make_token(account, arguments.label))
    return 0


async def show_sweep(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _accounts(settings):
        why = await installation.read_why()
        if not why:
            say("Nothing waits for a confirmation.")
        elif arguments.confirm:
            await installation.confirm()
            say("Confirmed: the Hub stops these runs within half a minute.")
        else:
            say(f"{why}\n{HELD_ADVICE}")
    return 0


async def doctor(settings: Settings, _: argparse.Namespace) -> int:
    """Each line is a thing looked at; the exit code is 1 when one of them keeps the Hub from working."""
    broken = False

    async def people() -> Sequence[Account]:
        async with _accounts(settings) as accounts:
            return await accounts.list()

    async def installation_id() -> str:
        async with _accounts(settings):
            return await installation.get_id()

    async for mark, what, words in findings(settings, people, installation_id):
        broken = broken or mark == "BAD"
        say(f"{mark:>4}  {what + ':':<36} {words}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
