"""For administrators: accounts, sessions, warnings."""

from __future__ import annotations

from uuid import UUID

from quart import Blueprint, flash, render_template, request
from quart.typing import ResponseReturnValue

from app.accounts.models import Account
from app.accounts.service import INVITE_LIFETIME, RESET_LIFETIME
from app.errors import BadInput, Conflict, NotFound
from app.web.context import hub
from app.web.htmx import go, wants_fragment
from app.web.security import admins_only, me
from app.web.shown import Shown

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


@blueprint.get("")
@admins_only
async def index() -> ResponseReturnValue:
    return await _page(email=request.args.get("email", ""), admin=request.args.get("admin") == "1")


@blueprint.post("/users")
@admins_only
async def add_user() -> ResponseReturnValue:
    form = await request.form
    accounts = hub().accounts
    try:
        account = await accounts.add(form.get("email", ""), admin=form.get("admin") == "1")
    except (BadInput, Conflict) as error:
        return await _page(error=error, email=form.get("email", ""), admin=form.get("admin") == "1"), error.status
    link = await accounts.make_link(account, INVITE_LIFETIME)
    return await _page(link=link, invited=account, link_days=INVITE_LIFETIME.days)


@blueprint.post("/users/link")
@admins_only
async def user_link() -> ResponseReturnValue:
    """A new log-in link, for a person who cannot log in."""
    form = await request.form
    account = await hub().accounts.find(form.get("email", ""))
    if account is None:
        await flash("There is no such account any more.", "error")
        return go("/admin")
    link = await hub().accounts.make_link(account, RESET_LIFETIME)
    return await _page(link=link, invited=account, link_days=RESET_LIFETIME.days)


@blueprint.post("/sweep")
@admins_only
async def confirm_sweep() -> ResponseReturnValue:
    """An administrator confirms that the runs are orphans, so the sweep may end them."""
    if await hub().sweep.confirm():
        await flash("Confirmed. Runs without a session are being stopped.", "info")
    else:
        await flash("Nothing waits for a confirmation any more.", "info")
    return go("/admin")


@blueprint.get("/users/<user_id>/remove")
@admins_only
async def remove_form(user_id: str) -> ResponseReturnValue:
    person = await _person(user_id)
    if wants_fragment():
        return await render_template("_remove_user.html", person=person)
    return await render_template("dialog.html", body="_remove_user.html", title="Remove an account", person=person)


@blueprint.post("/users/<user_id>/remove")
@admins_only
async def remove(user_id: str) -> ResponseReturnValue:
    """Their logins, links and tokens are void at once; the manager ends their sessions and deletes their files."""
    person = await _person(user_id)
    await hub().sessions.delete_all(person.id)
    await hub().accounts.leave(person.id, f"by administrator {me().id}")
    await flash(f"The account of {person.label} is removed.", "info")
    return go("/admin")


async def _person(user_id: str) -> Account:
    try:
        person = await hub().accounts.get(UUID(user_id))
    except ValueError:
        person = None
    if person is None:
        raise NotFound("There is no such account. It may have been removed.")
    if person.id == me().id:
        raise Conflict("This is your own account. Ask another administrator to remove it.")
    return person


async def _page(
    *,
    error: BadInput | Conflict | None = None,
    email: str = "",
    admin: bool = False,
    link: str = "",
    invited: Account | None = None,
    link_days: int = 0,
) -> str:
    services = hub()
    owned = await services.sessions.list_all()
    people = await services.accounts.list()
    return await render_template(
        "admin.html",
        people=[person for person in people if not person.guest],
        guests=sum(person.guest for person in people),
        sessions=[(Shown(session), owner or "Guest") for session, owner in owned],
        warnings=services.warnings,
        synced=services.synced(),
        terminals=services.terminals.open_terminals(),
        held=await services.sweep.why(),
        foreign=services.sweep.foreign(),
        settings=services.settings,
        error=error,
        email=email,
        admin=admin,
        link=link,
        invited=invited,
        link_days=link_days,
    )
