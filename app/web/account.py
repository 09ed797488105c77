"""The person's own account: password, API tokens, logging out everywhere, how terminals look."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from uuid import UUID

from quart import Blueprint, Quart, flash, render_template, request
from quart.typing import ResponseReturnValue

from app.accounts.logins import PASSWORD_WINDOW
from app.accounts.preferences import FONTS, SIZES, THEMES, Preferences
from app.accounts.service import GUEST_WITHOUT_SESSION, PASSWORD_LENGTH
from app.errors import BadInput, Forbidden, NotFound
from app.web.context import hub
from app.web.errors import wants_json
from app.web.htmx import go
from app.web.limits import PASSWORDS, limited
from app.web.logins import this_login
from app.web.security import me

blueprint = Blueprint("account", __name__, url_prefix="/account")


@blueprint.get("")
async def index() -> ResponseReturnValue:
    return await _page(typed=request.args)


@blueprint.post("/password")
@limited(PASSWORDS)
async def password() -> ResponseReturnValue:
    account, form = me(), await request.form
    _no_guests()
    accounts = hub().accounts
    try:
        await accounts.set_password(account, form.get("password", ""), current=form.get("current"), login=this_login())
    except BadInput as error:
        return await _page(error=error), 422
    if form.get("tokens") == "1":
        await accounts.drop_tokens(account)
    text = "Your password is set. All other logins have ended."
    if tokens := len(await accounts.tokens(account)):
        text += f" {tokens} API {'token still works' if tokens == 1 else 'tokens still work'}: revoke below what is not used."
    await flash(text, "info")
    return go("/account")


@blueprint.post("/logins")
async def end_logins() -> ResponseReturnValue:
    await hub().accounts.end_logins(me(), keep=this_login())
    await flash("You are logged out everywhere else.", "info")
    return go("/account")


@blueprint.post("/tokens")
async def make_token() -> ResponseReturnValue:
    _no_guests()
    form = await request.form
    token = await hub().accounts.make_token(me(), form.get("label", ""))
    # Shown in the answer itself, once: it is never in an address, a cookie or a log.
    return await _page(token=token)


@blueprint.post("/tokens/<token_id>/delete")
async def drop_token(token_id: str) -> ResponseReturnValue:
    try:
        await hub().accounts.drop_token(me(), UUID(token_id))
    except ValueError:
        raise NotFound("There is no such token.") from None
    await flash("The token no longer works.", "info")
    return go("/account")


@blueprint.post("/terminal")
async def prefer() -> ResponseReturnValue:
    """How the person wants their terminals: the whole form, from this page or (as JSON) from a terminal's."""
    try:
        preferences = Preferences.from_form(await request.form)
    except BadInput as error:
        if wants_json():
            raise
        return await _page(error=error, typed=await request.form), 422
    await hub().accounts.prefer(me(), preferences)
    if wants_json():
        return "", 204
    await flash("Your terminals will look like that.", "info")
    return go("/account")


async def _page(*, error: BadInput | None = None, token: str = "", typed: Mapping[str, str] | None = None) -> str:
    """`typed` is what the forms show instead of what is kept."""
    account, typed = me(), typed or {}
    chosen = account.preferences
    if "theme" in typed:
        with contextlib.suppress(BadInput):
            chosen = Preferences.from_form(typed)
    return await render_template(
        "account.html",
        tokens=await hub().accounts.tokens(account),
        login=this_login(),
        window=int(PASSWORD_WINDOW.total_seconds()) // 60,
        guest_minutes=int(GUEST_WITHOUT_SESSION.total_seconds()) // 60,
        mails_links=hub().settings.mails_links,
        least=PASSWORD_LENGTH[0],
        error=error,
        token=token,
        chosen=chosen,
        label=typed.get("label", ""),
    )


def _no_guests() -> None:
    if me().guest:
        raise Forbidden("Guests have no password and no tokens. Ask an administrator for an account.")


def set_up(app: Quart) -> None:
    """What the form for terminals offers, for the two pages that have it."""
    app.jinja_env.globals.update(themes=THEMES, fonts=FONTS, sizes=SIZES)
