"""Rate limits: on what can be guessed (logins, links, tokens) and on what costs (requests, new sessions, uploads).

Each limit counts by account or by address, never both in one number: the students behind one address do not use up each
other's requests, and a person with many addresses has one account. Static files are not limited.

The store is in memory, for this replica alone. It holds at most MAX_KEYS keys for each limit, and a request costs the same
whatever clients send. Must not know what views do.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from uuid import UUID

from quart import Quart, current_app, g, has_websocket_context, request, websocket

from app.accounts.service import clean_email
from app.errors import BadInput, TooManyRequests

View = TypeVar("View", bound=Callable[..., Any])

MAX_KEYS = 10_000  # For each limit. Above it, the key that was used least recently is evicted.


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` in `period` seconds for each key. All of them may come at once."""

    name: str
    count: int
    period: float
    by: Literal["account", "address", "email", "address and email"]

    @property
    def step(self) -> float:
        return self.period / self.count


# Every request counts by account, or by address where there is none. A person on a live page makes a twentieth of the first.
ACCOUNT_REQUESTS = Limit("requests of an account", 1200, 60, "account")
COOKIE_REQUESTS = Limit("requests with one login cookie", 1200, 60, "account")  # Before Postgres is asked whose it is.
TOKEN_REQUESTS = Limit("requests with one API token", 1200, 60, "account")  # The same, of a token that has worked.
ADDRESS_REQUESTS = Limit("requests without a login", 600, 60, "address")
BAD_TOKENS = Limit("API tokens that do not exist", 60, 60, "address")

LOGIN_TRIES = Limit("logins to one account from one address", 10, 300, "address and email")
LOGINS = Limit("logins from one address", 300, 300, "address")  # A lecture hall behind one address.
LINKS = Limit("login links from one address", 300, 300, "address")
GUESTS = Limit("guests from one address", 60, 300, "address")
MAILS = Limit("mails to one address", 10, 3600, "email")
PASSWORDS = Limit("passwords set", 10, 300, "account")

RUNS = Limit("starts of sessions of an account", 60, 60, "account")
ADDRESS_RUNS = Limit("starts of sessions from one address", 600, 60, "address")
UPLOADS = Limit("uploads of an account", 300, 60, "account")
ADDRESS_UPLOADS = Limit("uploads from one address", 3000, 60, "address")
TERMINALS = Limit("terminal connections of an account", 120, 60, "account")


def limited(*limits: Limit) -> Callable[[View], View]:
    """Marks a view as limited further than by the number of requests."""

    def mark(view: View) -> View:
        view.hub_limits = (*getattr(view, "hub_limits", ()), *limits)  # type: ignore[attr-defined]
        return view

    return mark


def unlimited(reason: str) -> Callable[[View], View]:
    """Marks a view as not limited at all, and says why that is right."""

    def mark(view: View) -> View:
        view.hub_unlimited = reason  # type: ignore[attr-defined]
        return view

    return mark


def limits_of(view: object) -> Sequence[Limit]:
    """The limits of a view besides those on the number of requests."""
    found: Sequence[Limit] = getattr(view, "hub_limits", ())
    return found


class Limiter:
    """Counts uses by the generic cell rate algorithm: one time for each key, when its uses are all paid off."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_keys: int = MAX_KEYS) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._paid_off: dict[str, OrderedDict[str, float]] = {}  # By limit, then by key, the least recently used first.
        self._good_tokens: OrderedDict[bytes, None] = OrderedDict()  # Digests.

    def spend(self, limit: Limit, key: str) -> None:
        """Count one use of `key`. Raises TooManyRequests, with the time to wait, where there are no more."""
        self.check(limit, key)
        now = self._clock()
        keys = self._paid_off.setdefault(limit.name, OrderedDict())
        keys[key] = max(keys.get(key, now), now) + limit.step
        keys.move_to_end(key)
        # At most two evictions for each use: expired keys go faster than new ones come, and no request pays for many.
        for _ in range(2):
            oldest = next(iter(keys))  # The key above is the newest and has not expired, so there is always one.
            if keys[oldest] > now and len(keys) <= self._max_keys:
                break
            del keys[oldest]

    def check(self, limit: Limit, key: str) -> None:
        """Raises TooManyRequests where `key` has no use left; counts none."""
        now = self._clock()
        keys = self._paid_off.get(limit.name)
        paid_off = keys.get(key, now) if keys else now
        wait = paid_off - now - (limit.period - limit.step)
        if wait > 1e-6:
            raise TooManyRequests(math.ceil(wait))

    def check_token(self, token: str, address: str) -> None:
        """Count a request with a token that has worked; for any other, check how many from its address did not exist.

        Raises TooManyRequests. So neither guesses nor a program in a loop cost a query for each request, and a program that
        works continues beside one behind the same address that does not.
        """
        digest = _digest(token)
        if digest in self._good_tokens:
            self.spend(TOKEN_REQUESTS, digest.hex())
        else:
            self.check(BAD_TOKENS, address)

    def note_token(self, token: str) -> None:
        """This token works."""
        digest = _digest(token)
        self._good_tokens[digest] = None
        self._good_tokens.move_to_end(digest)
        if len(self._good_tokens) > self._max_keys:
            self._good_tokens.popitem(last=False)

    def forget_token(self, token: str) -> None:
        """This token does not exist; it may have been revoked."""
        self._good_tokens.pop(_digest(token), None)

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._paid_off.values())


def limiter() -> Limiter:
    found: Limiter = current_app.extensions["limiter"]
    return found


def set_up(app: Quart) -> None:
    app.extensions["limiter"] = Limiter()


def spend_request(view: object, cookie: str, token: str) -> None:
    """Count a request before anything is asked of Postgres.

    `cookie` is the id in a login cookie with a good signature, `token` an API token, each empty where there is none or the
    view does not take it. Once it is known whose they are, `spend_account` or `spend_token` counts the account's request.
    """
    if hasattr(view, "hub_unlimited"):
        return
    if token:
        limiter().check_token(token, client_address())
    elif cookie:
        limiter().spend(COOKIE_REQUESTS, cookie)
    else:
        limiter().spend(ADDRESS_REQUESTS, client_address())


def spend_account(user_id: UUID) -> None:
    """Count a request with a login cookie of this account."""
    limiter().spend(ACCOUNT_REQUESTS, str(user_id))


def spend_token(token: str, user_id: UUID | None) -> None:
    """Count a request with an API token that belongs to this account (None: there is no such token)."""
    if user_id is None:
        limiter().forget_token(token)
        limiter().spend(BAD_TOKENS, client_address())
        return
    limiter().note_token(token)
    limiter().spend(ACCOUNT_REQUESTS, str(user_id))


async def spend_limits(view: object) -> None:
    """Count a use against each limit of the view."""
    limits = limits_of(view)
    keys = [(limit, await _key(limit)) for limit in limits]
    for limit, key in keys:
        limiter().check(limit, key)  # All before any: what is refused uses up nothing.
    for limit, key in keys:
        limiter().spend(limit, key)


async def _key(limit: Limit) -> str:
    account = g.get("account")
    match limit.by:
        case "account":
            return str(account.id) if account else client_address()
        case "address":
            return client_address()
        case "email":
            return await _email()
        case "address and email":
            return f"{client_address()} {await _email()}"


def client_address() -> str:
    """The key of the address that the request comes from. HUB_TRUSTED_PROXIES says whose X-Forwarded-For is believed."""
    return address_key((websocket if has_websocket_context() else request).remote_addr or "")


def address_key(raw: str) -> str:
    """The key that an address counts by: itself, or its /64 in IPv6, the least that one customer has.

    Some proxies write the port too: `192.0.2.1:4711`, `[2001:db8::1]:4711`.
    """
    if raw.startswith("["):
        raw = raw[1:].partition("]")[0]
    elif raw.count(":") == 1:
        raw = raw.partition(":")[0]
    try:
        address = ipaddress.ip_address(raw.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:  # As a dual-stack socket gives it.
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


async def _email() -> str:
    """The e-mail in the form, as a hash: it is of one length, and the limiter keeps no addresses of people."""
    form = await request.form
    raw = form.get("email", "")
    try:
        raw = clean_email(raw)  # All spellings of an account count together.
    except BadInput:
        raw = raw.strip().lower()
    return _digest(raw).hex()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:16]
