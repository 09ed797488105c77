"""The cookie that names a browser's login, and which login a page was made for.

Each page carries the id of its login: in every form (`FormsCarryLogin`), in a header of what its scripts ask, in the address
of its streams and WebSockets. The id is no secret; the signed cookie alone proves a login. A request of a page whose login was
another person's is refused, so that nothing of one person's page is done in another person's name.
"""

from __future__ import annotations

import contextlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import partial
from hashlib import sha512
from typing import Any
from uuid import UUID

from itsdangerous import URLSafeSerializer
from jinja2.ext import Extension
from quart import Quart, after_this_request, g, request, websocket
from quart.sessions import SecureCookieSessionInterface
from quart_auth import AuthUser, QuartAuth, current_user, login_user, logout_user

from app.accounts.logins import How, Login, Why
from app.accounts.models import Account
from app.errors import DatabaseOutage, NotLoggedIn, OtherLogin
from app.web.backpressure import BoundedBody
from app.web.context import hub

Identity = tuple[Account | None, Login | None, UUID | None]
COOKIE = "hub_login_id"
# Of versions that had no logins as rows. Replicas of both kinds may serve during an update, so the names differ.
FORMER_COOKIE = "hub_login"
HEADER = "Hub-Login"
FIELD = "login"


class UntimedSerializer(URLSafeSerializer):
    """Signs what a cookie says, without a time.

    When a login ends is in its row, by Postgres's clock. A time in the cookie would be a replica's, and one whose clock is
    behind would refuse it as from the future.
    """

    def __init__(self, secret: Any, salt: Any) -> None:
        super().__init__(secret, salt, signer_kwargs={"digest_method": sha512})

    def loads(self, s: str | bytes, salt: str | bytes | None = None, **kwargs: Any) -> Any:
        kwargs.pop("max_age", None)
        return super().loads(s, salt, **kwargs)


class Notices(SecureCookieSessionInterface):
    """Quart's session, which carries flashed notices, with the same regard for clocks."""

    def get_signing_serializer(self, app: Quart) -> Any:
        return UntimedSerializer(app.secret_key, "hub notices") if app.secret_key else None


class FormsCarryLogin(Extension):
    """Puts the page's login into every form that posts, so that no template has to think of it."""

    FORM = re.compile(r"""<form\b[^>]*\bmethod="post"[^>]*>""", re.IGNORECASE)

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        field = f'<input type=hidden name={FIELD} value="{{{{ page_login }}}}">'  # A list of sessions has sixty.
        return self.FORM.sub(lambda form: form[0] + field, source)


def set_up(app: Quart) -> None:
    settings = app.extensions["hub"].settings
    app.config.update(
        QUART_AUTH_COOKIE_SECURE=settings.secure,
        QUART_AUTH_COOKIE_SAMESITE="Lax",
        QUART_AUTH_DURATION=int(settings.login_lifetime.total_seconds()),
        SESSION_COOKIE_NAME="hub_notices",  # Quart's own "session" carries flashed notices and nothing else.
        SESSION_COOKIE_SECURE=settings.secure,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_HTTPONLY=True,
    )
    app.session_interface = Notices()
    QuartAuth(app, cookie_name=COOKIE, serializer_class=UntimedSerializer)  # type: ignore[arg-type]
    app.jinja_env.add_extension(FormsCarryLogin)
    app.context_processor(_page_context)
    app.teardown_request(_leave_watch)


def page_login() -> str:
    """The login that the page is made for, as pages carry it; empty without a login."""
    login = this_login()
    return urlsafe_b64encode(login.id.bytes).decode().rstrip("=") if login else ""


def _page_context() -> dict[str, str]:
    """What every template is given; a variable, since a list has it in each of its forms."""
    return {"page_login": page_login()}


def _id_of(said: str) -> UUID:
    """The id that `page_login` gives. Raises ValueError for anything else."""
    return UUID(bytes=urlsafe_b64decode(f"{said}=="))


def this_login() -> Login | None:
    """The login of the browser that sent the request."""
    login: Login | None = g.get("login")
    return login


def identity() -> Identity:
    """The request's account, its login, and the id of what proves it; for an answer that outlives the request's context."""
    return g.get("account"), g.get("login"), g.get("proof")


def assume(who: Identity) -> None:
    g.account, g.login, g.proof = who


async def log_in(account: Account, how: How, *, keep: bool = False) -> None:
    """Log this browser in. A login that it had ends: its cookie is replaced."""
    former = this_login()
    login = await hub().accounts.logins.begin(account, how, keep=keep)
    if former is not None:
        await hub().accounts.logins.end(former, Why.REPLACED)
    g.account, g.login, g.proof = account, login, login.id
    login_user(AuthUser(f"{account.id}:{login.id}"), remember=keep)


async def log_out() -> None:
    """Log this browser out. While Postgres is away, this replica takes the login no more; its row ends when Postgres is back."""
    login = this_login()
    if login is not None:
        hub().remembered.forget(login.id)
        end_row = partial(hub().accounts.logins.end, login, Why.LOGGED_OUT)
        try:
            await end_row()
        except DatabaseOutage:
            hub().watch.end_later(login.id, end_row)
    g.account = g.login = g.proof = None
    logout_user()

    @after_this_request
    async def forget(response: Any) -> Any:
        response.delete_cookie(FORMER_COOKIE)
        return response


async def by_cookie(*, in_outage: bool = False) -> tuple[Login, Account] | None:
    """The login that the request's cookie names, where it has not ended.

    With `in_outage`, while Postgres is away, one that this replica remembers.
    """
    try:
        login_id = UUID((current_user.auth_id or "").partition(":")[2])
    except ValueError:
        return None
    try:
        return await hub().accounts.logins.get(login_id)
    except DatabaseOutage:
        named = hub().remembered.get_login(login_id, hub().outage()) if in_outage else None
        if named is None:
            raise
        return named


async def check_page() -> None:
    """Raises OtherLogin for a request of a page that was made for another person's login."""
    said = request.headers.get(HEADER) or request.args.get(FIELD)
    if not said and request.method == "POST" and request.mimetype == "application/x-www-form-urlencoded":
        said = (await request.form).get(FIELD)
    await _check(said)


async def check_socket() -> None:
    """The same for a WebSocket's page."""
    await _check(websocket.args.get(FIELD))


async def _check(said: str | None) -> None:
    account: Account | None = g.get("account")
    if not said or account is None or said == page_login():
        return
    owner = None
    with contextlib.suppress(ValueError):
        owner = await hub().accounts.logins.owner(_id_of(said))
    if owner != account.id:  # The same person may have logged in again.
        who = account.email or "a guest"
        raise OtherLogin(
            f"This page was made for another login. In this browser, {who} is logged in now, so nothing was done. Load the page "
            f"again to go on as {who}; or log out, and log in as yourself."
        )


def end_body_with_login() -> None:
    """From now on, the request's body breaks off when the login or token ends that proves the request."""
    proof: UUID | None = g.get("proof")
    body = request.body
    if proof is not None and isinstance(body, BoundedBody):
        g.watching = contextlib.ExitStack()
        ended = NotLoggedIn("The login that this came with has ended. Log in, then send it again.")
        g.watching.enter_context(hub().watch.open(proof, partial(body.break_off, ended)))


async def _leave_watch(_: BaseException | None) -> None:
    watching: contextlib.ExitStack | None = g.pop("watching", None)
    if watching is not None:
        watching.close()
