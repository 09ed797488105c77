"""Who may call what, for every route at once: each is login-required, CSRF-safe and rate-limited, or says why not.

- Login: a view is for logged-in people unless it is marked `public(reason)`; `admins_only` narrows it further, and
  `by_token` opens it to API tokens (and closes it to cookies, so that no page of another site can use it). What is the
  same for everybody is not even asked who it is for, so that it is there while Postgres is not.
- CSRF: a request that changes something and is proved by a cookie must come from our own origin, by Sec-Fetch-Site or by
  Origin, and so must every WebSocket. There are no form tokens to forget.
- Rate: every route but the static files counts against a limit, by account or by address (`app.web.limits`).

`tests/web/test_routes.py` walks every route and holds it to this. Must not know what views do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from quart import Quart, Response, current_app, g, request, websocket
from quart_auth import AuthUser, QuartAuth, current_user, login_user, logout_user
from werkzeug.exceptions import NotFound as NoSuchAddress

from app.accounts.models import Account
from app.errors import DatabaseOutage, Forbidden, Misdirected, NotLoggedIn
from app.web import limits
from app.web.context import hub

View = TypeVar("View", bound=Callable[..., Any])

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
RECHECK = 15.0  # Seconds between two looks at whether a terminal's login still holds.

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def public(reason: str, *, same_for_all: bool = False) -> Callable[[View], View]:
    """Marks a view as open to everybody, and says why that is right. `same_for_all`: it never asks who is there."""

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
    """Marks a WebSocket as proved by a login cookie or by an API token. It says itself, in a close code, who is nobody."""
    view.hub_by_either = True  # type: ignore[attr-defined]
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


def log_in(account: Account) -> None:
    g.account = account
    login_user(AuthUser(f"{account.id}:{account.login_epoch}"), remember=True)


def log_out() -> None:
    g.account = None
    logout_user()


def set_up(app: Quart) -> None:
    """Hook the rules into the app."""
    settings = app.extensions["hub"].settings
    app.config.update(
        QUART_AUTH_COOKIE_NAME="hub_login",
        QUART_AUTH_COOKIE_SECURE=settings.secure,
        QUART_AUTH_COOKIE_SAMESITE="Lax",
        QUART_AUTH_DURATION=int(settings.login_lifetime.total_seconds()),
        SESSION_COOKIE_NAME="hub_notices",  # Quart's own "session" carries flashed notices and nothing else.
        SESSION_COOKIE_SECURE=settings.secure,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_HTTPONLY=True,
    )
    QuartAuth(app)
    limits.set_up(app)
    app.before_request(_admit_request)
    app.before_websocket(_admit_websocket)
    app.after_request(_harden)


async def _admit_request() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    if request.blueprint != "health":  # Load balancers ask by address.
        _check_host(request.headers)
    limits.spend_request(view, _user_of_cookie(view), _token_for(view, request.headers))
    await _identify(view, request.headers.get("Authorization"))
    if request.method not in SAFE_METHODS and not hasattr(view, "hub_by_token") and not _same_origin(request.headers):
        raise Forbidden("This form did not come from this Hub's own pages. Open the page again and try once more.")
    await limits.spend_limits(view)


async def _admit_websocket() -> None:
    view = current_app.view_functions.get(websocket.endpoint or "")
    _check_host(websocket.headers)
    authorization = websocket.headers.get("Authorization")
    # A page of another site cannot send a token, so that one needs no origin.
    if not _token(authorization) and not _same_origin(websocket.headers, required=True):
        raise Forbidden("Terminals are opened from this Hub's own pages, or with an API token.")
    limits.spend_request(view, _user_of_cookie(view), _token_for(view, websocket.headers))
    g.account = await _account(view, authorization)
    await limits.spend_limits(view)
    # The terminal tells in a close code, once it stands: browsers show no other answer to a page.
    if g.account is None and not hasattr(view, "hub_by_either"):
        raise NotLoggedIn


async def _identify(view: object, authorization: str | None) -> None:
    g.account = None if getattr(view, "hub_same_for_all", False) else await _account(view, authorization)
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


def _user_of_cookie(view: object) -> UUID | None:
    """Whose login cookie this is, by its signature alone: the login itself may have ended."""
    if hasattr(view, "hub_by_token"):
        return None
    try:
        return UUID((current_user.auth_id or "").partition(":")[0])
    except ValueError:
        return None


async def _account(view: object, authorization: str | None) -> Account | None:
    accounts = hub().accounts
    if hasattr(view, "hub_by_token") or hasattr(view, "hub_by_either"):
        if token := _token(authorization):
            account = await accounts.by_token(token)
            limits.spend_token(token, account.id if account else None)
            return account
        if hasattr(view, "hub_by_token"):
            return None
    user_id, _, epoch = (current_user.auth_id or "").partition(":")
    if not user_id:
        return None
    try:
        account = await accounts.get(UUID(user_id))
    except ValueError:
        return None
    if account is None or str(account.login_epoch) != epoch:
        return None
    if datetime.now(UTC) - account.seen_at > timedelta(minutes=5):
        await accounts.seen(account)
    return account


async def until_logged_out() -> None:
    """Returns once the WebSocket's login or token holds no more. For connections that would outlive it."""
    account = me()
    view = current_app.view_functions.get(websocket.endpoint or "")
    while True:
        await asyncio.sleep(RECHECK)
        try:
            now = await _account(view, websocket.headers.get("Authorization"))
        except DatabaseOutage:
            continue  # That Postgres is away says nothing about who somebody is.
        if now is None or now.id != account.id:
            return


def _check_host(headers: Any) -> None:
    """Refuse a name that is not ours: by one of their own, another site's page could pass for ours (DNS rebinding)."""
    settings = hub().settings
    bound = settings.bind.rpartition(":")[0].strip("[]")
    ours = {urlsplit(settings.public_url).hostname, bound, "localhost", "127.0.0.1", "::1"}
    try:
        asked = urlsplit(f"//{headers.get('Host', '')}").hostname
    except ValueError:
        asked = None
    if asked not in ours:
        raise Misdirected(
            f"This Hub is at {settings.public_url}. Open it there; if people are to use this address instead, an "
            "administrator sets HUB_PUBLIC_URL to it."
        )


def _same_origin(headers: Any, *, required: bool = False) -> bool:
    """Whether a browser says that one of our own pages made the request.

    Sec-Fetch-Site is the browser's own word; Origin is compared with the address that people use and with the one that
    was asked (a Hub on one machine has several). What sends neither is no browser page, and is let through unless
    `required`: it cannot carry a person's cookie without their doing.
    """
    origin = headers.get("Origin")
    site = headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    if origin is None:
        return not required or site == "same-origin"
    own = hub().settings.public_url
    asked = headers.get("Host", "")
    return bool(origin == own or (urlsplit(origin).netloc == asked and urlsplit(origin).scheme in ("http", "https")))


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
