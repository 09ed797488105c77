"""Logging in and out: passwords, one-time links, guests, and the first administrator. Parses, calls, renders."""

from __future__ import annotations

import re

from quart import Blueprint, flash, redirect, render_template, request, url_for
from quart.typing import ResponseReturnValue

from app.accounts.service import PASSWORD_LENGTH
from app.errors import BadInput, Conflict, HubError, NotLoggedIn
from app.web.context import hub
from app.web.htmx import go
from app.web.limits import GUESTS, LINKS, LOGIN_TRIES, LOGINS, MAILS, limited
from app.web.security import log_in, log_out, maybe_me, me, public

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
    message = "Your login has expired, or you are not logged in. Log in to go on." if "expired" in request.args else ""
    return await _login_page(target=target, notice=message)


@blueprint.post("/login")
@public("logging in by password")
@limited(LOGIN_TRIES, LOGINS)
async def login_post() -> ResponseReturnValue:
    form = await request.form
    target = safe_next(form.get("next"))
    try:
        account = await hub().accounts.log_in(form.get("email", ""), form.get("password", ""))
    except NotLoggedIn as error:
        return await _login_page(target=target, error=error.message, email=form.get("email", ""), status=422)
    log_in(account)
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


@blueprint.get("/login/link/<token>")
@public("a log-in link out of a mail; opening it uses nothing up, since mail scanners open links too")
@limited(LINKS)
async def link(token: str) -> ResponseReturnValue:
    try:
        account = await hub().accounts.look_at_link(token)
    except BadInput as error:
        return await _link_void(error)
    if account is None:
        return await render_template("first.html", token=token, least=PASSWORD_LENGTH[0])
    return await render_template("link.html", token=token, email=account.email)


@blueprint.post("/login/link/<token>")
@public("using a log-in link, once")
@limited(LINKS)
async def link_use(token: str) -> ResponseReturnValue:
    form = await request.form
    accounts = hub().accounts
    try:
        if await accounts.look_at_link(token) is None:
            try:
                account = await accounts.make_first_admin(token, form.get("email", ""), form.get("password", ""))
            except BadInput as error:
                if error.field is None:
                    raise
                page = await render_template(
                    "first.html",
                    token=token,
                    least=PASSWORD_LENGTH[0],
                    error=error.message,
                    field=error.field,
                    email=form.get("email", ""),
                )
                return page, 422
        else:
            account = await accounts.use_link(token)
    except (BadInput, Conflict) as error:
        return await _link_void(error)
    log_in(account)
    if not account.has_password:
        await flash("You are logged in. Set a password on your account's page if you want one.", "info")
    return go("/sessions")


@blueprint.post("/login/guest")
@public("trying it without an account, where the Hub takes guests")
@limited(GUESTS)
async def guest() -> ResponseReturnValue:
    if maybe_me():
        # Sent twice, or already logged in: whoever they are, they stay that.
        return go("/sessions")
    log_in(await hub().accounts.add_guest())
    return go("/sessions")


@blueprint.get("/logout")
@public("asks before it logs out; there is nothing to protect once nobody is logged in")
async def logout_page() -> ResponseReturnValue:
    account = maybe_me()
    if account is None:
        return redirect(url_for("auth.login"))
    return await render_template("logout.html", guest=account.guest)


@blueprint.post("/logout")
async def logout() -> ResponseReturnValue:
    account = me()
    if account.guest:
        form = await request.form
        if form.get("sure") != "1":
            return redirect(url_for("auth.logout_page"), 303)
        # What is a guest's goes when they go: nobody could ever reach it again.
        await hub().sessions.delete_all(account.id)
        await hub().accounts.leave(account.id)
    log_out()
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
        first=not await hub().accounts.anybody(),
    )
    return page, status


async def _link_void(error: HubError) -> ResponseReturnValue:
    page = await render_template("link_void.html", message=error.message)
    return page, error.status if error.status != 422 else 410
