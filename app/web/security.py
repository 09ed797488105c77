"""Who may call what, for every route at once: each is login-required, CSRF-safe and rate-limited, or says why not.

- Login: a view is for logged-in people unless it is marked `public(reason)`; `admins_only` narrows it further, and
  `by_token` opens it to API tokens (and closes it to cookies, so that no page of another site can use it). A view that is
  `same_for_all` does not look up the login, so it answers while Postgres is away.
- Pages: each page says with its requests which login it was made for (`page_login`). Under another person's login they are
  refused, so that nothing of one person's page is done in another person's name.
- CSRF: a request that changes something and is proved by a cookie must come from our own origin, by Sec-Fetch-Site or by
  Origin, and so must every WebSocket. There are no form tokens to forget.
- Rate: every route but the static files counts against a limit, by account or by address (`app.web.limits`).

`tests/web/test_routes.py` walks every route and holds it to this. Must not know what views do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from quart import Quart, Response, current_app, g, request, websocket
from quart_auth import current_user
from werkzeug.exceptions import NotFound as NoSuchAddress

from app.accounts.models import Account
from app.accounts.service import SEEN_EVERY
from app.errors import DatabaseOutage, Forbidden, NotLoggedIn
from app.web import limits, logins
from app.web.context import hub
from app.web.origin import check_host, foreign

View = TypeVar("View", bound=Callable[..., Any])

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def public(reason: str, *, same_for_all: bool = False) -> Callable[[View], View]:
    """Marks a view as open to everybody, and says why that is right. `same_for_all`: the login is not looked up."""

    def mark(view: View) -> View:
        view.hub_public = reason  # type: ignore[attr-defined]
        view.hub_same_for_all = same_for_all  # type: ignore[attr-defined]
        return view

    return mark


def admins_only(view: View) -> View:
    """Marks a view as for administrators. To others it does not exist."""
    view.hub_admins_only = True  # type: ignore[attr-defined]
    return view


def by_token(view: View) -> View:
    """Marks a view as proved by an API token in `Authorization: Bearer`, never by a cookie."""
    view.hub_by_token = True  # type: ignore[attr-defined]
    return view


def by_cookie_or_token(view: View) -> View:
    """Marks a WebSocket as proved by a login cookie or by an API token. Where there is neither, the view closes it."""
    view.hub_by_either = True  # type: ignore[attr-defined]
    return view


def in_outage(view: View) -> View:
    """Marks a view that also answers while Postgres is away, for logins that this replica remembers."""
    view.hub_in_outage = True  # type: ignore[attr-defined]
    return view


def me() -> Account:
    """The account that the request is made by. Only in views that are not public."""
    account: Account | None = g.get("account")
    if account is None:
        raise NotLoggedIn
    return account


def maybe_me() -> Account | None:
    account: Account | None = g.get("account")
    return account


def set_up(app: Quart) -> None:
    """Hook the rules into the app."""
    logins.set_up(app)
    limits.set_up(app)
    app.before_request(_admit_request)
    app.before_websocket(_admit_websocket)
    app.after_request(_harden)


async def _admit_request() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    settings = hub().settings
    if request.blueprint != "health":  # Load balancers ask by address.
        check_host(request.headers, settings)
    limits.spend_request(view, _cookie_for(view), _token_for(view, request.headers))
    await _identify(view, request.headers.get("Authorization"))
    by_token = hasattr(view, "hub_by_token")
    if request.method not in SAFE_METHODS:
        if not by_token and (why := foreign(request.headers, settings)):
            raise Forbidden(why)
        logins.end_body_with_login()
    if not by_token and not hasattr(view, "hub_public"):
        await logins.check_page()
    await limits.spend_limits(view)


async def _admit_websocket() -> None:
    view = current_app.view_functions.get(websocket.endpoint or "")
    check_host(websocket.headers, hub().settings)
    authorization = websocket.headers.get("Authorization")
    # A page of another site cannot send a token, so that one needs no origin.
    if not _token(authorization) and foreign(websocket.headers, hub().settings, required=True):
        raise Forbidden("Terminals are opened from this Hub's own pages, or with an API token.")
    limits.spend_request(view, _cookie_for(view), _token_for(view, websocket.headers))
    await _account(view, authorization)
    await limits.spend_limits(view)
    # The terminal accepts first and then sends a close code: browsers show a page no other answer.
    if g.account is None and not hasattr(view, "hub_by_either"):
        raise NotLoggedIn


async def _identify(view: object, authorization: str | None) -> None:
    g.account = g.login = g.proof = None
    if not getattr(view, "hub_same_for_all", False):
        await _account(view, authorization)
    if g.account is None:
        if view is None or hasattr(view, "hub_public"):
            return
        if hasattr(view, "hub_by_token"):
            raise NotLoggedIn("Send `Authorization: Bearer <token>`; `hub token create EMAIL` makes a token.")
        raise NotLoggedIn
    if hasattr(view, "hub_admins_only") and not g.account.admin:
        raise NoSuchAddress


def _token(authorization: str | None) -> str:
    """The token in `Authorization: Bearer <token>`; empty where there is none."""
    kind, _, token = (authorization or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _token_for(view: object, headers: Any) -> str:
    """The API token of a request, where the view takes one."""
    takes = hasattr(view, "hub_by_token") or hasattr(view, "hub_by_either")
    return _token(headers.get("Authorization")) if takes else ""


def _cookie_for(view: object) -> str:
    """The id of the login that a cookie names, where the view takes one: by its signature alone, it may have ended."""
    if hasattr(view, "hub_by_token") or getattr(view, "hub_same_for_all", False):
        return ""
    return str(current_user.auth_id or "")


async def _account(view: object, authorization: str | None) -> None:
    """Find out who asks: `g.account`, and `g.proof`, the id of the `g.login` or of the API token that proves it."""
    accounts = hub().accounts
    g.account = g.login = g.proof = None
    if hasattr(view, "hub_by_token") or hasattr(view, "hub_by_either"):
        if token := _token(authorization):
            found = await accounts.find_token(token)
            limits.spend_token(token, found[1].id if found else None)
            if found:
                g.proof, g.account = found
            return
        if hasattr(view, "hub_by_token"):
            return
    if (named := await logins.by_cookie(in_outage=hasattr(view, "hub_in_outage"))) is None:
        return
    g.login, g.account = named
    g.proof = g.login.id
    limits.spend_account(g.account.id)
    if g.account.last_seen is None or datetime.now(UTC) - g.account.last_seen > SEEN_EVERY:
        with contextlib.suppress(DatabaseOutage):  # It is written the next time.
            await accounts.seen(g.account, g.login)


async def until_logged_out() -> None:
    """Returns once the login or token of the WebSocket has ended."""
    ended = asyncio.Event()
    with hub().watch.open(g.proof, ended.set):
        await ended.wait()


async def _harden(response: Response) -> Response:
    styles = "'self'" if not g.get("inline_styles") else "'self' 'unsafe-inline'"
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY.format(styles=styles))
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("X-Frame-Options", "DENY")
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    if hub().settings.secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
        response.vary.update(("HX-Request", "Cookie"))
    return response
