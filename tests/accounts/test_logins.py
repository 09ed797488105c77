"""A login is a row: what begins it, what ends it, and what is told to whatever is open under it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import re
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

import piccolo_migrations
from app.__main__ import user_reset
from app.accounts.logins import How, Why
from app.accounts.models import Account
from app.accounts.service import GUEST_WITHOUT_SESSION, Accounts, clean_email, clean_token
from app.accounts.watch import CHANNEL, LoginWatch
from app.db.database import Database
from app.db.tables import Login as Row
from app.db.tables import User
from app.errors import BadInput, LimitReached, NotLoggedIn, SettingsError, Unavailable
from app.lifecycle import queries
from app.runtimes.base import Source
from app.sessions.service import Sessions
from app.settings import Settings

PASSWORD = "a few plain words"


@pytest.fixture
async def person(accounts: Accounts) -> Account:
    return await accounts.add("bob@example.org", password=PASSWORD)


async def test_a_login_is_the_person_until_it_ends(accounts: Accounts, person: Account) -> None:
    login = await accounts.logins.begin(person, How.PASSWORD)
    assert await accounts.logins.get(login.id) == (login, person)
    await accounts.logins.end(login, Why.LOGGED_OUT)
    assert await accounts.logins.get(login.id) is None
    assert await accounts.logins.owner(login.id) == person.id, "pages that were made for it may still be open"


async def test_a_login_ends_by_itself_by_postgres_s_clock(accounts: Accounts, person: Account) -> None:
    login = await accounts.logins.begin(person, How.PASSWORD)
    await Row.raw("UPDATE logins SET ends_at = now() - interval '1 second'")
    assert await accounts.logins.get(login.id) is None


async def test_a_new_password_ends_all_logins_but_the_one_that_set_it(accounts: Accounts, person: Account) -> None:
    here, there = [await accounts.logins.begin(person, How.PASSWORD) for _ in range(2)]
    await accounts.set_password(person, "other plain words", current=PASSWORD, login=here)
    assert await accounts.logins.get(here.id) is not None
    assert await accounts.logins.get(there.id) is None


async def test_a_login_that_was_proved_before_all_were_ended_does_not_begin_after(
    accounts: Accounts, person: Account
) -> None:
    """Somebody logs in with the old password in the very moment in which it is changed."""
    await accounts.set_password(person, "other plain words", current=PASSWORD)
    with pytest.raises(NotLoggedIn):
        await accounts.logins.begin(person, How.PASSWORD)


async def test_a_login_by_link_sets_a_new_password_without_the_old_one_for_15_minutes(
    accounts: Accounts, person: Account
) -> None:
    login = await accounts.logins.begin(person, How.LINK)
    await Row.raw("UPDATE logins SET password_until = password_until - interval '14 minutes'")
    found = await accounts.logins.get(login.id)
    assert found is not None
    changed = await accounts.set_password(person, "other plain words", current=None, login=found[0])
    assert (await accounts.log_in("bob@example.org", "other plain words")).id == person.id
    again = await accounts.logins.get(login.id)
    assert again is not None
    with pytest.raises(BadInput, match="current password"):
        await accounts.set_password(changed, "third plain words", current=None, login=again[0])


async def test_after_15_minutes_and_for_other_logins_the_old_password_is_asked_for(
    accounts: Accounts, person: Account
) -> None:
    link, other = await accounts.logins.begin(person, How.LINK), await accounts.logins.begin(person, How.PASSWORD)
    await Row.raw("UPDATE logins SET password_until = password_until - interval '15 minutes'")
    for login in (link, other):
        found = await accounts.logins.get(login.id)
        assert found is not None
        with pytest.raises(BadInput, match="current password"):
            await accounts.set_password(person, "other plain words", current=None, login=found[0])


async def test_logins_that_ended_long_ago_are_forgotten_and_no_others(accounts: Accounts, person: Account) -> None:
    logins = [await accounts.logins.begin(person, How.PASSWORD) for _ in range(3)]
    for login in logins[:2]:
        await accounts.logins.end(login, Why.LOGGED_OUT)
    await Row.raw("UPDATE logins SET ended_at = ended_at - interval '31 days' WHERE id = {}", logins[0].id)
    await queries.purge_logins()
    assert {row["id"] for row in await Row.select(Row.id)} == {logins[1].id, logins[2].id}


# What is open under a login


async def ended(event: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        await event.wait()


@pytest.mark.parametrize("by", ["login", "token"])
async def test_what_is_open_ends_with_its_login_or_token_and_nothing_else_does(
    accounts: Accounts, person: Account, by: str
) -> None:
    watch, mine, other = LoginWatch(), asyncio.Event(), asyncio.Event()
    login, stays = [await accounts.logins.begin(person, How.PASSWORD) for _ in range(2)]
    found = await accounts.find_token(await accounts.make_token(person))
    assert found is not None
    proof = login.id if by == "login" else found[0]
    running = asyncio.create_task(watch.run())
    with watch.open(proof, mine.set), watch.open(stays.id, other.set):
        await watch.check()
        assert not mine.is_set()
        if by == "login":
            await accounts.logins.end(login, Why.LOGGED_OUT)
        else:
            await accounts.drop_token(person, found[0])
        await ended(mine)  # Without any notification: the poll is the guarantee.
        assert not other.is_set()
    running.cancel()


async def test_postgres_announces_ended_logins_and_revoked_tokens(
    accounts: Accounts, person: Account, database: Database
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    connected = asyncio.Event()
    listening = asyncio.create_task(database.listen({CHANNEL: heard.put_nowait}, connected.set))
    await ended(connected)
    first, second, third = [await accounts.logins.begin(person, How.PASSWORD) for _ in range(3)]
    found = await accounts.find_token(await accounts.make_token(person))
    assert found is not None
    async with asyncio.timeout(30):
        await accounts.logins.end(first, Why.LOGGED_OUT)
        assert await heard.get() == str(first.id)
        await accounts.drop_token(person, found[0])
        assert await heard.get() == str(found[0])
        await accounts.leave(person.id)
        assert {await heard.get(), await heard.get()} == {str(second.id), str(third.id)}
    listening.cancel()


# Guests


async def test_a_guest_without_a_session_goes_after_minutes_and_one_who_is_there_or_has_one_stays(
    accounts: Accounts, sessions: Sessions
) -> None:
    away, there, works = [await accounts.add_guest() for _ in range(3)]
    await sessions.create(works.id, guest=True, name="x", source=Source())
    login = await accounts.logins.begin(away, How.GUEST)
    await User.raw("UPDATE users SET seen_at = seen_at - {}::interval WHERE id <> {}", GUEST_WITHOUT_SESSION, there.id)
    gone = await queries.expire_guests(timedelta(days=1))
    assert [user_id for user_id, _ in gone] == [away.id]
    assert {account.id for account in await accounts.list()} == {there.id, works.id}
    assert await accounts.logins.get(login.id) is None


async def test_one_network_may_not_take_all_places_of_guests(
    accounts: Accounts, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(max_guests=6)
    accounts = Accounts(settings, accounts.mailer, accounts.tasks, accounts.hasher)
    tried = await asyncio.gather(*(accounts.add_guest("one") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(one, Account) for one in tried) == 2
    assert sum(isinstance(one, LimitReached) for one in tried) == 8
    for origin in ("two", "two", "three", "three"):
        await accounts.add_guest(origin)
    with pytest.raises(LimitReached, match="All guest places are taken"):
        await accounts.add_guest("four")


# Spellings


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Ada@Example.ORG", "ada@example.org"),
        ("zoe\u0308@example.org", "zo\u00eb@example.org"),  # Decomposed, as macOS types it.
        ("ZOE\u0308@example.org", "zo\u00eb@example.org"),
        ("\uff41da\uff20example.org", "ada@example.org"),  # Full width.
        ("\u00a0ada@example.org\u3000", "ada@example.org"),
    ],
)
async def test_spellings_that_look_the_same_are_one_account(accounts: Accounts, typed: str, kept: str) -> None:
    account = await accounts.add(typed, password=PASSWORD)
    assert account.email == kept
    assert (await accounts.log_in(kept, PASSWORD)).id == account.id
    assert (await accounts.log_in(typed, PASSWORD)).id == account.id


@pytest.mark.parametrize(
    "raw", ["ad\u200ba@example.org", "ada@example\u202e.org", "ada\u00ad@example.org", "a" * 2000 + "@b"]
)
def test_an_address_with_characters_that_do_not_show_is_refused(raw: str) -> None:
    with pytest.raises(BadInput):
        clean_email(raw)


@pytest.mark.parametrize("behind", ["", ".", ">", ")", ",", "'", "/", "%3E", ">.", "\u201d"])
def test_a_link_works_with_what_a_mail_puts_behind_it(behind: str) -> None:
    assert clean_token(f"ab_-9{behind}") == "ab_-9"


# The log


async def test_log_ins_log_outs_and_removals_are_one_line_each_with_ids_and_reasons(
    accounts: Accounts, person: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hub.accounts")
    login = await accounts.logins.begin(person, How.LINK)
    await accounts.logins.end(login, Why.LOGGED_OUT)
    await accounts.logins.end(login, Why.LOGGED_OUT)
    with pytest.raises(NotLoggedIn):
        await accounts.log_in("bob@example.org", "wrong")
    await accounts.leave(person.id, "by administrator 7")
    await accounts.leave(person.id, "by administrator 7")
    assert [record.getMessage() for record in caplog.records] == [
        f"login {login.id}: user {person.id} logged in (link)",
        f"login {login.id} of user {person.id} ended: logged out",
        f"log-in refused for user {person.id}: wrong password",
        f"user {person.id} removed: by administrator 7",
    ]


async def test_on_a_cluster_without_mail_no_link_is_made_and_so_none_is_printed(
    accounts: Accounts, make_settings: Callable[..., Settings], person: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(runtime="kubernetes", secret_key="x" * 32)
    accounts = Accounts(settings, accounts.mailer, accounts.tasks, accounts.hasher)
    with pytest.raises(Unavailable, match="Ask an administrator"):
        await accounts.send_link("bob@example.org")
    assert "/login/link/" not in capsys.readouterr().out


# The command line


async def test_hub_user_reset_prints_a_link_for_a_person_who_has_lost_the_way_in(
    settings: Settings, accounts: Accounts, person: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await user_reset(settings, Namespace(email="BOB@example.org")) == 0
    found = re.search(r"/login/link/([\w-]+)", capsys.readouterr().out)
    assert found is not None
    with pytest.raises(SettingsError, match="no account for eve"):
        await user_reset(settings, Namespace(email="eve@example.org"))
    async with _database(settings):
        assert (await accounts.use_link(found[1])).id == person.id


@contextlib.asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[None]:
    """The command closes the one that it opened, and the tables are bound to the last one."""
    database = Database(settings)
    await database.start()
    yield
    await database.stop()


# Accounts of before


async def test_addresses_that_were_kept_in_other_spellings_are_found_after_the_update(
    accounts: Accounts, database: Database
) -> None:
    """Of two accounts whose addresses look the same, both stay as they are, for an administrator to decide."""
    migration = next(Path(piccolo_migrations.__path__[0]).glob("*_ended_logins.py"))
    one_spelling = importlib.import_module(f"piccolo_migrations.{migration.stem}").ONE_SPELLING
    for email in ("zoe\u0308@example.org", "\uff41da@example.org", "bob@example.org", "bo\uff42@example.org", None):
        await User.raw(
            "INSERT INTO users (id, email, admin, login_epoch) VALUES (gen_random_uuid(), {}, false, 0)", email
        )
    await User.raw(one_spelling.replace("{", "{{").replace("}", "}}"))
    emails = {account.email for account in await accounts.list()}
    assert emails == {"zo\u00eb@example.org", "ada@example.org", "bob@example.org", "bo\uff42@example.org", None}
    assert await accounts.find("ZOE\u0308@example.org") is not None
