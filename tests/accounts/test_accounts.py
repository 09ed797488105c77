"""Who people are, on a real Postgres: what proves somebody, what proves it once, and what gives nothing away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from argon2 import PasswordHasher

from app.accounts.models import Account
from app.accounts.service import Accounts, check_password, clean_email
from app.db.database import Database
from app.db.tables import TABLES, ApiToken, LoginLink, User
from app.errors import BadInput, Conflict, NotFound, NotLoggedIn
from app.settings import Settings

PASSWORD = "a few plain words"
LINK = "http://127.0.0.1:8000/login/link/"


class CountingHasher(PasswordHasher):
    """Argon2 at its least, that counts how much work it was given."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.work: Counter[str] = Counter()

    def hash(self, *arguments: Any, **named: Any) -> str:
        self.work["hash"] += 1
        return super().hash(*arguments, **named)

    def verify(self, *arguments: Any, **named: Any) -> Any:
        self.work["verify"] += 1
        return super().verify(*arguments, **named)


@pytest.fixture
async def person(accounts: Accounts) -> Account:
    return await accounts.add("bob@example.org", password=PASSWORD)


def token_of(link: str) -> str:
    assert link.startswith(LINK)
    return link.removeprefix(LINK)


async def account_of(accounts: Accounts, token: str) -> Account | None:
    found = await accounts.find_token(token)
    return found[1] if found else None


# Passwords


async def test_the_right_password_logs_in_however_the_address_is_written(accounts: Accounts, person: Account) -> None:
    assert await accounts.log_in(" Bob@Example.ORG ", PASSWORD) == person


async def test_whoever_cannot_log_in_is_not_told_why_and_costs_the_same_work(
    accounts: Accounts, person: Account, ada: UUID
) -> None:
    hasher = CountingHasher()
    accounts = Accounts(accounts.settings, accounts.mailer, accounts.tasks, hasher)
    guest = await accounts.add_guest()
    await accounts.leave((await accounts.add("gone@example.org", password=PASSWORD)).id)
    answers = set()
    for address, password in [
        ("nobody@example.org", PASSWORD),
        ("ada@example.org", PASSWORD),  # Has no password.
        ("ada@example.org", ""),
        ("bob@example.org", "wrong"),
        ("bob@example.org", ""),
        ("bob@example.org", PASSWORD + " and more" * 100),
        ("gone@example.org", PASSWORD),
        ("not an address", PASSWORD),
        ("nul\0@example.org", PASSWORD),
        ("bob@example.org", "nul\0"),
        ("", ""),
        (guest.label, PASSWORD),
    ]:
        hasher.work.clear()
        with pytest.raises(NotLoggedIn) as raised:
            await accounts.log_in(address, password)
        answers.add((raised.value.message, *hasher.work.items()))
    assert len(answers) == 1
    assert answers.pop()[1:] == (("verify", 1),)


async def test_the_longest_password_works_and_no_longer_one_passes_for_it(accounts: Accounts) -> None:
    longest = "x" * 200
    await accounts.add("long@example.org", password=longest)
    assert (await accounts.log_in("long@example.org", longest)).email == "long@example.org"
    with pytest.raises(NotLoggedIn):
        await accounts.log_in("long@example.org", longest + "y")


async def test_a_hash_of_weaker_settings_is_made_anew_at_the_next_login(accounts: Accounts, person: Account) -> None:
    before = await User.select(User.password_hash).where(User.id == person.id)
    stronger = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
    accounts = Accounts(accounts.settings, accounts.mailer, accounts.tasks, stronger)
    assert (await accounts.log_in("bob@example.org", PASSWORD)).id == person.id
    after = await User.select(User.password_hash).where(User.id == person.id)
    assert before != after
    assert ",t=2," in after[0]["password_hash"]
    assert (await accounts.log_in("bob@example.org", PASSWORD)).id == person.id


@pytest.mark.parametrize("password", ["", "short", "x" * 9, "x" * 201])
def test_a_password_that_is_too_short_or_too_long_is_refused(password: str) -> None:
    with pytest.raises(BadInput, match="10 to 200 characters"):
        check_password(password)


async def test_a_new_password_ends_all_other_logins_and_the_old_one(accounts: Accounts, person: Account) -> None:
    changed = await accounts.set_password(person, "other plain words", current=PASSWORD)
    assert changed.login_epoch == person.login_epoch + 1
    with pytest.raises(NotLoggedIn):
        await accounts.log_in("bob@example.org", PASSWORD)
    assert await accounts.log_in("bob@example.org", "other plain words") == changed


@pytest.mark.parametrize("current", ["wrong", "", None])
async def test_a_password_is_changed_only_by_who_knows_it(
    accounts: Accounts, person: Account, current: str | None
) -> None:
    with pytest.raises(BadInput) as raised:
        await accounts.set_password(person, "other plain words", current=current)
    assert raised.value.field == "current"
    assert await accounts.log_in("bob@example.org", PASSWORD) == person


async def test_who_has_no_password_yet_sets_one_without_showing_any(accounts: Accounts, ada: UUID) -> None:
    account = await accounts.get(ada)
    assert account is not None
    assert not account.has_password
    assert (await accounts.set_password(account, PASSWORD, current=None)).has_password
    assert (await accounts.log_in("ada@example.org", PASSWORD)).id == ada


async def test_logging_out_everywhere_voids_every_login(accounts: Accounts, person: Account) -> None:
    assert (await accounts.end_logins(person)).login_epoch == person.login_epoch + 1


# Accounts


@pytest.mark.parametrize(
    "raw",
    ["", "ada", "@example.org", "ada@", "a@b@c", "a b@c", "a,b@c", "<a@b>", "a\0@b", "a@b\nBcc: c@d", "x" * 254 + "@b"],
)
def test_what_is_no_address_is_refused(raw: str) -> None:
    with pytest.raises(BadInput) as raised:
        clean_email(raw)
    assert raised.value.field == "email"


async def test_an_address_has_one_account_even_when_it_is_added_twice_at_once(
    accounts: Accounts, database: Database
) -> None:
    made = await asyncio.gather(
        *(accounts.add(address) for address in ("eve@example.org", "EVE@example.org") * 5), return_exceptions=True
    )
    assert sum(isinstance(one, Account) for one in made) == 1
    assert sum(isinstance(one, Conflict) for one in made) == 9
    assert [account.email for account in await accounts.list()] == ["eve@example.org"]


async def test_guests_do_not_count_as_accounts(accounts: Accounts, database: Database) -> None:
    guest = await accounts.add_guest()
    assert guest.guest
    assert not guest.admin
    assert not await accounts.anybody()
    await accounts.add("ada@example.org")
    assert await accounts.anybody()


async def test_a_hub_that_takes_no_guests_says_so(accounts: Accounts, make_settings: Callable[..., Settings]) -> None:
    closed = Accounts(make_settings(guests=False), accounts.mailer, accounts.tasks, accounts.hasher)
    with pytest.raises(NotFound, match="takes no guests"):
        await closed.add_guest()


async def test_that_somebody_was_there_is_written_once_in_a_while(accounts: Accounts, person: Account) -> None:
    assert person.last_seen is None, "an account was made, and its person has not come yet"
    await accounts.seen(person)
    first = await accounts.get(person.id)
    assert first is not None
    assert first.last_seen is not None
    await accounts.seen(person)
    assert await accounts.get(person.id) == first
    long_ago = person.seen_at - timedelta(hours=1)
    await User.update({User.seen_at: long_ago}).where(User.id == person.id)
    await accounts.seen(person)
    found = await accounts.get(person.id)
    assert found is not None
    assert found.seen_at > first.seen_at


async def test_when_somebody_leaves_nothing_of_theirs_opens_a_door_any_more(
    accounts: Accounts, person: Account
) -> None:
    token, link = await accounts.make_token(person), token_of(await accounts.make_link(person))
    await accounts.leave(person.id)
    assert await accounts.get(person.id) is None
    assert await accounts.find("bob@example.org") is None
    assert await accounts.find_token(token) is None
    with pytest.raises(BadInput):
        await accounts.use_link(link)
    with pytest.raises(NotLoggedIn):
        await accounts.log_in("bob@example.org", PASSWORD)
    assert await accounts.list() == []
    assert (await accounts.add("bob@example.org")).id != person.id, "the address is free again"


# Links


async def test_a_link_logs_in_once(accounts: Accounts, person: Account) -> None:
    token = token_of(await accounts.make_link(person))
    assert await accounts.look_at_link(token) == person
    assert await accounts.look_at_link(token) == person, "looking at it uses nothing up"
    assert await accounts.use_link(token) == person
    with pytest.raises(BadInput, match="used or is too old"):
        await accounts.use_link(token)
    with pytest.raises(BadInput):
        await accounts.look_at_link(token)


async def test_of_many_who_use_a_link_at_once_one_gets_in(accounts: Accounts, person: Account) -> None:
    token = token_of(await accounts.make_link(person))
    used = await asyncio.gather(*(accounts.use_link(token) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(one, Account) for one in used) == 1
    assert sum(isinstance(one, BadInput) for one in used) == 9


async def test_a_link_expires(accounts: Accounts, person: Account) -> None:
    token = token_of(await accounts.make_link(person, timedelta(0)))
    with pytest.raises(BadInput):
        await accounts.look_at_link(token)
    with pytest.raises(BadInput):
        await accounts.use_link(token)


@pytest.mark.parametrize("token", ["", "x", "x" * 5000, "nul\0"])
async def test_a_made_up_link_is_void(accounts: Accounts, database: Database, token: str) -> None:
    with pytest.raises(BadInput):
        await accounts.look_at_link(token)
    with pytest.raises(BadInput):
        await accounts.use_link(token)


async def test_links_and_tokens_are_nowhere_in_the_tables_nor_are_passwords(
    accounts: Accounts, person: Account
) -> None:
    secrets = [PASSWORD, token_of(await accounts.make_link(person)), await accounts.make_token(person, "laptop")]
    stored = "\n".join([str(await table.select()) for table in TABLES])
    assert "laptop" in stored
    assert "$argon2id$" in stored
    assert [secret for secret in secrets if secret in stored or secret.removeprefix("hub_") in stored] == []


async def test_old_links_are_swept_out(accounts: Accounts, person: Account) -> None:
    await accounts.make_link(person, timedelta(days=-2))
    await accounts.make_link(person)
    assert await LoginLink.count() == 1


async def test_a_link_is_mailed_to_who_has_an_account_and_lets_them_in(
    accounts: Accounts, person: Account, outbox: Any
) -> None:
    await accounts.send_link(" BOB@example.org")
    to, subject, text = await outbox.wait()
    assert to == "bob@example.org"
    assert "VisiData Hub" in subject
    (link,) = [line for line in text.splitlines() if line.startswith("http")]
    assert await accounts.use_link(token_of(link)) == person


async def test_nothing_is_mailed_to_who_has_none_and_it_does_not_show(
    accounts: Accounts, person: Account, outbox: Any
) -> None:
    await accounts.send_link("nobody@example.org")
    await accounts.send_link("bob@example.org")
    await outbox.wait()
    await accounts.tasks.close()  # Whatever else was under way has ended.
    assert [to for to, _, _ in outbox.mails] == ["bob@example.org"]


# The first administrator


async def test_of_two_who_make_the_first_administrator_at_once_one_is_it(
    accounts: Accounts, database: Database
) -> None:
    tokens = [token_of(await accounts.make_link(None, timedelta(days=1))) for _ in range(2)]
    made = await asyncio.gather(
        *(accounts.make_first_admin(token, f"{n}@example.org", PASSWORD) for n, token in enumerate(tokens * 3)),
        return_exceptions=True,
    )
    (admin,) = [one for one in made if isinstance(one, Account)]
    assert admin.admin
    assert [type(one) for one in made if not isinstance(one, Account)] == [Conflict] * 5
    assert await accounts.list() == [admin]
    assert await accounts.log_in(admin.email or "", PASSWORD) == admin


async def test_the_first_administrators_link_is_void_once_there_is_an_account(
    accounts: Accounts, database: Database
) -> None:
    token = token_of(await accounts.make_link(None, timedelta(days=1)))
    assert await accounts.look_at_link(token) is None
    await accounts.add("ada@example.org")
    with pytest.raises(BadInput):
        await accounts.look_at_link(token)
    with pytest.raises(Conflict):
        await accounts.make_first_admin(token, "eve@example.org", PASSWORD)


@pytest.mark.parametrize(("email", "password"), [("eve", PASSWORD), ("eve@example.org", "short")])
async def test_a_mistake_in_the_form_does_not_use_the_link_up(
    accounts: Accounts, database: Database, email: str, password: str
) -> None:
    token = token_of(await accounts.make_link(None, timedelta(days=1)))
    with pytest.raises(BadInput):
        await accounts.make_first_admin(token, email, password)
    assert (await accounts.make_first_admin(token, "eve@example.org", PASSWORD)).admin


async def test_a_persons_link_makes_no_administrator_and_the_first_ones_logs_nobody_in(
    accounts: Accounts, database: Database
) -> None:
    guest = await accounts.add_guest()
    persons = token_of(await accounts.make_link(guest))
    first = token_of(await accounts.make_link(None, timedelta(days=1)))
    with pytest.raises(BadInput):
        await accounts.make_first_admin(persons, "eve@example.org", PASSWORD)
    with pytest.raises(BadInput):
        await accounts.use_link(first)


# Tokens


async def test_a_token_is_its_owner_until_it_is_dropped(accounts: Accounts, person: Account) -> None:
    token = await accounts.make_token(person, "  laptop ")
    assert token.startswith("hub_")
    assert await account_of(accounts, token) == person
    (listed,) = await accounts.tokens(person)
    assert listed["label"] == "laptop"
    assert listed["used_at"] is not None
    assert isinstance(listed["id"], UUID)
    await accounts.drop_token(person, listed["id"])
    assert await accounts.find_token(token) is None
    await accounts.drop_token(person, listed["id"])


async def test_nobody_drops_anybody_elses_token(accounts: Accounts, person: Account, ada: UUID) -> None:
    token = await accounts.make_token(person)
    other = await accounts.get(ada)
    assert other is not None
    (listed,) = await ApiToken.select(ApiToken.id)
    await accounts.drop_token(other, listed["id"])
    assert await account_of(accounts, token) == person
    assert await accounts.tokens(other) == []


@pytest.mark.parametrize("token", ["", "hub_", "hub_wrong", "nul\0"])
async def test_a_made_up_token_is_nobody(accounts: Accounts, person: Account, token: str) -> None:
    await accounts.make_token(person)
    assert await accounts.find_token(token) is None


async def test_an_account_that_never_was_is_nobody(accounts: Accounts, database: Database) -> None:
    assert await accounts.get(uuid4()) is None
    assert await accounts.find("nobody@example.org") is None
