"""Logging in and out: passwords, one-time links, guests, and the first administrator. Parses, calls, renders."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any

from quart import (
    Blueprint,
    after_this_request,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    url_for,
)
from quart.typing import ResponseReturnValue

from app.accounts.logins import How
from app.accounts.models import Account
from app.accounts.service import GUEST_WITHOUT_SESSION, PASSWORD_LENGTH, check_password, clean_token
from app.errors import BadInput, Conflict, HubError, NotLoggedIn
from app.web.context import hub
from app.web.htmx import go
from app.web.limits import GUESTS, LINKS, LOGIN_TRIES, LOGINS, MAILS, client_address, limited
from app.web.logins import log_in, log_out, this_login
from app.web.security import in_outage, maybe_me, me, public

COOKIES = "hub_cookies"  # Says nothing but that the browser keeps cookies.

blueprint = Blueprint("auth", __name__)


def safe_next(raw: str | None) -> str:
    """Where to go after logging in: a path of this Hub, whatever the address says."""
    target = (raw or "").strip()
    # Browsers take a backslash for a slash, and leave out tabs and line ends: `/<tab>/evil.example` is another site.
    if not re.fullmatch(r"/(?!/|login|logout)[^\\\x00-\x1f\x7f]*", target):
        return "/sessions"
    return target


@blueprint.get("/")
@public("the front door: leads on to the sessions or to the log-in page")
async def index() -> ResponseReturnValue:
    return redirect(url_for("sessions.index" if maybe_me() else "auth.login"))


@blueprint.get("/login")
@public("the log-in page")
async def login() -> ResponseReturnValue:
    target = safe_next(request.args.get("next"))
    if maybe_me():
        return go(target)
    _try_cookies()
    message = "Your login has expired, or you are not logged in. Log in to go on." if "expired" in request.args else ""
    if message and "kept=1" in target:
        message += " What you typed is kept."
    return await _login_page(target=target, notice=message)


@blueprint.post("/login")
@public("logging in by password")
@limited(LOGIN_TRIES, LOGINS)
async def login_post() -> ResponseReturnValue:
    form = await request.form
    target = safe_next(form.get("next"))
    if blocked := _cookies_blocked(form):
        return await _login_page(target=target, error=blocked, email=form.get("email", ""), status=422)
    try:
        account = await hub().accounts.log_in(form.get("email", ""), form.get("password", ""))
    except NotLoggedIn as error:
        return await _login_page(target=target, error=error.message, email=form.get("email", ""), status=422)
    await log_in(account, How.PASSWORD, keep=form.get("keep") == "1")
    return go(target)


@blueprint.post("/login/link")
@public("asking for a log-in link")
@limited(LOGIN_TRIES, LINKS, MAILS)
async def link_post() -> ResponseReturnValue:
    form = await request.form
    try:
        await hub().accounts.send_link(form.get("email", ""))
    except BadInput as error:
        return await _login_page(target="", error=error.message, email=form.get("email", ""), status=422)
    return await render_template("link_sent.html", printed=not hub().settings.smtp_url)


@blueprint.get("/login/link/<token>", strict_slashes=False)
@public("a log-in link out of a mail; opening it uses nothing up, since mail scanners open links too")
@limited(LINKS)
async def link(token: str) -> ResponseReturnValue:
    try:
        account = await hub().accounts.look_at_link(clean_token(token))
    except BadInput as error:
        return await _link_void(error)
    _try_cookies()
    return await _link_page(account)


@blueprint.post("/login/link/<token>", strict_slashes=False)
@public("using a log-in link, once")
@limited(LINKS)
async def link_use(token: str) -> ResponseReturnValue:
    """Nothing uses the link up before all else is right: what the form says, and that the browser can be logged in."""
    form = await request.form
    accounts, token, keep = hub().accounts, clean_token(token), form.get("keep") == "1"
    try:
        owner = await accounts.look_at_link(token)
        if blocked := _cookies_blocked(form):
            return await _link_page(owner, error=blocked, email=form.get("email", "")), 422
        try:
            if owner is None:
                account = await accounts.make_first_admin(token, form.get("email", ""), form.get("password", ""))
                await log_in(account, How.PASSWORD, keep=keep)
                return go("/sessions")
            password = _first_password(owner, form)
        except BadInput as error:
            if error.field is None:
                raise
            return await _link_page(owner, error=error.message, field=error.field, email=form.get("email", "")), 422
        account = await accounts.use_link(token)
    except (BadInput, Conflict) as error:
        return await _link_void(error)
    await log_in(account, How.LINK, keep=keep)
    if password:
        await accounts.set_password(account, password, current=None, login=this_login())
    elif account.has_password:
        await flash(
            "You are logged in. Forgotten your password? For 15 minutes you can set a new one on your account's page without "
            "the current one.",
            "info",
        )
    else:
        await flash("You are logged in. Set a password on your account's page if you want one.", "info")
    return go("/sessions")


def _first_password(account: Account, form: Mapping[str, str]) -> str:
    """The password that an invited person chooses; empty for one who has one, and for one who skips it where mail goes out.

    Raises BadInput for one that cannot be set.
    """
    password = form.get("password")
    skips = form.get("skip") == "1" and bool(hub().settings.smtp_url)
    if account.has_password or password is None or skips:
        return ""
    return check_password(password)


@blueprint.post("/login/guest")
@public("trying it without an account, where the Hub takes guests")
@limited(GUESTS)
async def guest() -> ResponseReturnValue:
    if maybe_me():
        # Sent twice, or already logged in: that login stays.
        return go("/sessions")
    form = await request.form
    if blocked := _cookies_blocked(form):
        return await _login_page(target="", error=blocked, status=422)
    key = str(current_app.secret_key).encode()
    origin = hmac.new(key, client_address().encode(), "sha256").hexdigest()
    await log_in(await hub().accounts.add_guest(origin), How.GUEST, keep=form.get("keep") == "1")
    return go("/sessions")


@blueprint.get("/logout")
@public("asks before it logs out; without a login there is nothing to protect")
async def logout_page() -> ResponseReturnValue:
    account = maybe_me()
    if account is None:
        return redirect(url_for("auth.login"))
    return await render_template("logout.html", guest=account.guest)


@blueprint.post("/logout")
@in_outage
async def logout() -> ResponseReturnValue:
    account = me()
    if account.guest:
        form = await request.form
        if form.get("sure") != "1":
            return redirect(url_for("auth.logout_page"), 303)
        # A guest cannot log in again, so nothing of theirs is kept.
        await hub().sessions.delete_all(account.id)
        await hub().accounts.leave(account.id, "a guest who left")
    await log_out()
    return go("/login")


async def _login_page(
    *, target: str, notice: str = "", error: str = "", email: str = "", status: int = 200
) -> ResponseReturnValue:
    page = await render_template(
        "login.html",
        target=target,
        notice=notice,
        error=error,
        email=email,
        guests=hub().settings.guests,
        mails_links=hub().settings.mails_links,
        prints_links=hub().settings.prints_links,
        guest_minutes=int(GUEST_WITHOUT_SESSION.total_seconds()) // 60,
        first=not await hub().accounts.anybody(),
    )
    return page, status


async def _link_page(owner: Account | None, *, error: str = "", field: str = "", email: str = "") -> str:
    """The page of a link: of the first administrator's (no account), of an invited person's, or of anybody else's."""
    template = "link.html" if owner else "first.html"
    return await render_template(
        template,
        owner=owner,
        least=PASSWORD_LENGTH[0],
        skip=bool(hub().settings.smtp_url),
        error=error,
        field=field,
        email=email,
    )


def _try_cookies() -> None:
    """Have the browser keep a cookie, so that its next form shows whether it does."""
    if COOKIES not in request.cookies:

        @after_this_request
        async def send(response: Any) -> Any:
            response.set_cookie(COOKIES, "yes", httponly=True, samesite="Lax", secure=hub().settings.secure)
            return response


def _cookies_blocked(form: Mapping[str, str]) -> str:
    """Why this browser cannot be logged in, in words; empty where it can. A form of no page's says nothing about it."""
    if form.get("cookies") != "1" or COOKIES in request.cookies:
        return ""
    _try_cookies()  # For the next try.
    settings = hub().settings
    if settings.secure and not request.is_secure:
        return f"This page was opened without https, so the browser keeps no login. Open {settings.public_url} instead."
    return (
        "Your browser did not keep the Hub's cookie, and cannot be logged in without it. Allow cookies for this site, then "
        "try again. Nothing was used up."
    )


async def _link_void(error: HubError) -> ResponseReturnValue:
    page = await render_template("link_void.html", message=error.message)
    return page, error.status if error.status != 422 else 410
