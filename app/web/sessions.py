"""The page of a person's sessions, and what can be done with them. Each action works as a plain form post and by htmx.

The list is live: `/sessions/events` sends it again whenever one of the person's sessions has changed, whichever replica
changed it. Parses, calls one service, renders.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from urllib.parse import unquote

from quart import Blueprint, Response, flash, g, render_template, request, stream_with_context
from quart.typing import ResponseReturnValue

from app.accounts.models import Account
from app.errors import BadInput, DatabaseOutage, HubError, LimitReached
from app.files import samples
from app.files.names import openable, parse_path
from app.sessions.models import Session, Source
from app.web.context import hub
from app.web.errors import wants_json
from app.web.htmx import go, wants_fragment
from app.web.limits import ADDRESS_RUNS, RUNS, limited
from app.web.live import Page
from app.web.logins import Identity, assume, identity, page_login
from app.web.security import admins_only, me
from app.web.shown import Shown

blueprint = Blueprint("sessions", __name__, url_prefix="/sessions")

MAX_OFFERED = 200  # Files in the form. One that is not among them is opened from the page of files.
HEARTBEAT = 20.0  # Seconds between two signs of life on a quiet stream: load balancers cut silent ones at 60.
REFRESH = 60.0  # Seconds after which a list is rendered again in any case: relative times move on.
GATHER = 0.05  # Seconds in which changes that come together are sent together.
OUTAGE_POLL = 5.0  # Seconds between two tries to render a list while Postgres is away.
QUEUE_POLL = 2.0  # Seconds between two reads of the queue, while a list shows a place in it.
SOON_POLL = 5.0  # Seconds between two reads of a session that is about to be stopped: input at any replica keeps it.


async def shown_sessions(account: Account) -> list[Shown]:
    found = await hub().sessions.list(account.id)
    positions = await hub().sessions.queue_positions(found)
    return [Shown(session, positions.get(session.id)) for session in found]


async def show(session: Session) -> Shown:
    positions = await hub().sessions.queue_positions([session])
    return Shown(session, positions.get(session.id))


async def parse_source(account: Account, raw: str) -> Source:
    """`sample:penguins.csv`, `file:data/x.csv`, or nothing. Raises BadInput for what is not there (any more).

    `path:` is `file:` in percent-encoding, as the pages send it: browsers change line ends in a form's values.
    """
    kind, _, value = raw.partition(":")
    if kind == "path":
        kind, value = "file", unquote(value)
    if not raw or kind == "empty":
        return Source()
    if kind == "sample":
        return Source("sample", samples.get(value).name)
    if kind == "file":
        if not await _may_be_there(account, value):
            raise BadInput(f"There is no file “{value}” among yours. Upload it first.", field="source")
        return Source("file", value)
    raise BadInput("Choose what to open: nothing, a sample, or one of your files.", field="source")


async def _may_be_there(account: Account, path: str) -> bool:
    """Whether there is such a file among the account's. In a home that the Hub does not reach, VisiData itself says."""
    settings = hub().settings
    if settings.reaches_home(guest=account.guest):
        return await hub().homes.exists(str(account.id), path)
    return settings.keeps_home(guest=account.guest) and bool(parse_path(path))


def default_name(source: Source) -> str:
    return source.value.rpartition("/")[2][:100] if source.value else "Scratch"


@blueprint.get("")
async def index() -> ResponseReturnValue:
    account = me()
    if wants_fragment():
        return await _list(account)
    return await _page(account, name=request.args.get("name", ""))


@blueprint.post("")
@limited(RUNS, ADDRESS_RUNS)
async def create() -> ResponseReturnValue:
    account, form = me(), await request.form
    try:
        source = await parse_source(account, form.get("source", ""))
        session = await hub().sessions.create(
            account.id,
            guest=account.guest,
            name=form.get("name", "").strip() or default_name(source),
            source=source,
            form_key=form.get("form_key", "")[:64] or None,
        )
    except (BadInput, LimitReached) as error:
        if wants_fragment():
            raise
        return await _page(account, error=error, name=form.get("name", ""), source=form.get("source", ""))
    if form.get("open"):
        return go(f"/sessions/{session.id}")
    return await _after(account, f"“{session.name}” is starting.", form_key=True)


@blueprint.get("/events")
async def events() -> ResponseReturnValue:
    account = me()
    hub().live.check(account.id)
    stream = Response(stream_with_context(_events)(account, identity()), content_type="text/event-stream")
    stream.timeout = None  # A live list has no end.
    stream.headers["X-Accel-Buffering"] = "no"
    return stream


async def _events(account: Account, who: Identity) -> AsyncIterator[bytes]:
    """The stream. It ends with the login; the page finds out when it asks again."""
    assume(who)  # The stream's context is another than the request's.
    services, clock = hub(), asyncio.get_running_loop().time
    sent, sent_at, since = "", 0.0, clock()
    with (
        services.live.stream(account.id, page_login()) as shared,
        services.changes.subscribe(account.id) as changes,
        services.watch.open(g.proof, changes.close),
    ):
        while changes.open():
            try:
                if account.guest:
                    await services.accounts.seen(account)  # A guest with a list open is present.
                page = await shared.get(since, partial(_live_page, account))
            except DatabaseOutage:
                yield b": the database does not answer\n\n"
                await changes.wait(OUTAGE_POLL)  # All are announced as changed when it is back.
                continue
            if page.html != sent:
                yield b"".join(b"data: " + line.encode() + b"\n" for line in page.html.splitlines()) + b"\n"
                sent, sent_at = page.html, clock()
            refresh_at = clock() + REFRESH
            while True:
                if clock() - sent_at >= HEARTBEAT:
                    yield b": still here\n\n"
                    sent_at = clock()
                if await changes.wait(_pause(page)) or not changes.open():
                    since = clock()  # All streams notice within GATHER, so one rendering does for all.
                    await asyncio.sleep(GATHER)
                    break
                # Nothing was announced. The queue moves when others' sessions start, and input is not announced.
                with contextlib.suppress(DatabaseOutage):
                    if page.positions and await services.live.have_moved(page.positions, clock() - QUEUE_POLL / 2):
                        since = clock() - QUEUE_POLL / 2
                        break
                if page.ends_soon or clock() >= refresh_at:
                    since = clock() - SOON_POLL / 2  # What another stream has just rendered will do.
                    break


def _pause(page: Page) -> float:
    """Seconds until a list is looked at again without an announcement."""
    return QUEUE_POLL if page.positions else SOON_POLL if page.ends_soon else HEARTBEAT


async def _live_page(account: Account) -> Page:
    context = await _list_context(account)
    html = await render_template("_sessions.html", **context)
    shown = context["sessions"]
    positions = {one.session.id: one.position for one in shown if one.position is not None}
    return Page(html, positions, any(one.ends_soon for one in shown))


@blueprint.get("/<session_id>/rename")
async def rename_form(session_id: str) -> ResponseReturnValue:
    session = await hub().sessions.get(me().id, session_id)
    return await _dialog("_rename.html", "Rename a session", session=session, name=request.args.get("name"))


@blueprint.post("/<session_id>/rename")
async def rename(session_id: str) -> ResponseReturnValue:
    account, form = me(), await request.form
    name = form.get("name", "")
    try:
        session = await hub().sessions.rename(account.id, session_id, name)
    except BadInput as error:
        session = await hub().sessions.get(account.id, session_id)
        body = await _dialog("_rename.html", "Rename a session", session=session, error=error.message, name=name)
        return body, 422
    return await _after(account, f"It is now called “{session.name}”.")


@blueprint.post("/<session_id>/start")
@limited(RUNS, ADDRESS_RUNS)
async def start(session_id: str) -> ResponseReturnValue:
    account = me()
    session = await hub().sessions.start(account.id, session_id)
    if (await request.form).get("open"):
        return go(f"/sessions/{session.id}")
    return await _after(account, f"“{session.name}” is starting.")


@blueprint.get("/<session_id>/stop")
async def stop_form(session_id: str) -> ResponseReturnValue:
    return await _dialog(
        "_stop.html", "Stop a session", shown=await show(await hub().sessions.get(me().id, session_id))
    )


@blueprint.post("/<session_id>/stop")
async def stop(session_id: str) -> ResponseReturnValue:
    """Ends the run. Asks first where unsaved changes may be lost, unless `sure` says that the person was asked."""
    account = me()
    session = await hub().sessions.get(account.id, session_id)
    if not wants_json() and await _must_ask(session):
        return await _ask(f"/sessions/{session.id}/stop", "_stop.html", shown=await show(session))
    session = await hub().sessions.stop(account.id, session_id)
    return await _after(account, f"“{session.name}” is stopping. {_kept(account)}")


@blueprint.post("/<session_id>/stay")
async def stay(session_id: str) -> ResponseReturnValue:
    account = me()
    session = await hub().sessions.stay(account.id, session_id)
    return await _after(account, f"“{session.name}” stays.")


@blueprint.get("/<session_id>/delete")
async def delete_form(session_id: str) -> ResponseReturnValue:
    session = await hub().sessions.get(me().id, session_id)
    return await _dialog("_delete_session.html", "Delete a session", session=session)


@blueprint.post("/<session_id>/delete")
async def delete(session_id: str) -> ResponseReturnValue:
    account = me()
    session = await hub().sessions.delete(account.id, session_id)
    return await _after(account, f"“{session.name}” is deleted. {_kept(account)}")


@blueprint.get("/<session_id>/stop-any")
@admins_only
async def stop_any_form(session_id: str) -> ResponseReturnValue:
    return await _dialog("_stop_any.html", "Stop a session", **await _anyones(session_id))


@blueprint.post("/<session_id>/stop-any")
@admins_only
async def stop_any(session_id: str) -> ResponseReturnValue:
    """As `stop`, for a session of any user."""
    session = await hub().sessions.get_any(session_id)
    if await _must_ask(session):
        return await _ask(f"/sessions/{session.id}/stop-any", "_stop_any.html", **await _anyones(session_id))
    session = await hub().sessions.stop_any(session_id)
    await flash(f"“{session.name}” is stopping.", "info")
    return go("/admin")


async def _after(account: Account, message: str, *, form_key: bool = False) -> ResponseReturnValue:
    """The answer to an action that worked: the new list for htmx, the page again for a plain form."""
    if wants_json():
        return Response("{}", content_type="application/json")
    if not wants_fragment():
        await flash(message, "info")
        return go("/sessions")
    return await _list(account, message=message, form_key=form_key)


async def _list(account: Account, *, message: str = "", form_key: bool = False) -> str:
    html = await render_template("_sessions.html", **await _list_context(account))
    if message:
        notice = await render_template("_notice.html", message=message, kind="info")
        html += f'<hx-partial hx-target="#notices" hx-swap="innerHTML">{notice}</hx-partial>'
    if form_key:
        # The form was used: the next one is another, so that it makes another session.
        html += f'<input type="hidden" name="form_key" id="form-key" value="{_form_key()}" hx-swap-oob="true">'
    return html


async def _list_context(account: Account) -> dict[str, Any]:
    return {"sessions": await shown_sessions(account), "limit": hub().sessions.limit_for(guest=account.guest)}


async def _page(
    account: Account, *, error: HubError | None = None, name: str = "", source: str = ""
) -> ResponseReturnValue:
    reachable = hub().settings.reaches_home(guest=account.guest)
    entries = await hub().homes.list(str(account.id)) if reachable else ()
    files = [entry for entry in entries if entry.kind == "file"]
    page = await render_template(
        "sessions.html",
        **await _list_context(account),
        samples=samples.CATALOGUE,
        files=[entry for entry in files if openable(entry.name)][:MAX_OFFERED],
        form_key=_form_key(),
        error=error,
        name=name,
        source=source or request.args.get("source", ""),
        max_upload=hub().settings.max_upload if reachable else 0,
    )
    return page, error.status if error else 200


async def _dialog(template: str, title: str, **context: object) -> str:
    """A small form: into the page's dialog for htmx, on a page of its own where there is no script."""
    if wants_fragment():
        return await render_template(template, **context)
    return await render_template("dialog.html", body=template, title=title, **context)


async def _must_ask(session: Session) -> bool:
    """Whether stopping it may lose work that the person at this form was not asked about."""
    used = Shown(session).may_have_changes or session.id in hub().terminals.typed_in
    return used and (await request.form).get("sure") != "1"


async def _ask(address: str, template: str, **context: object) -> ResponseReturnValue:
    """The question before an action: in the page's dialog for htmx, else a page of its own at `address`."""
    if not wants_fragment():
        return go(address)
    return Response(
        await render_template(template, **context), 200, {"HX-Retarget": "#dialog", "HX-Reswap": "innerHTML"}
    )


async def _anyones(session_id: str) -> dict[str, object]:
    """A session of any user, and its owner's e-mail (None: a guest's)."""
    session = await hub().sessions.get_any(session_id)
    owner = await hub().accounts.get(session.user_id)
    return {"shown": Shown(session), "owner": owner.email if owner else None}


def _kept(account: Account) -> str:
    return "Files in your home are kept." if hub().settings.keeps_home(guest=account.guest) else "Its files go with it."


def _form_key() -> str:
    return secrets.token_urlsafe(16)
