"""The terminal page, its WebSocket, and what the page asks while a session is not running.

Checks login, ownership and origin, then hands the WebSocket to `app.terminal`. Must not look into what is carried.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

from quart import Blueprint, Quart, Request, Websocket, g, jsonify, render_template, request, websocket
from quart.typing import ResponseReturnValue

from app.accounts.logins import Login
from app.accounts.models import Account
from app.aio import cancel_and_wait
from app.errors import BadInput, DatabaseOutage, NotFound, OtherLogin
from app.numbers import seconds, whole_number
from app.sessions.models import Session
from app.sessions.state import AT_REST, State
from app.terminal.awaited import Disconnected, serve_viewer
from app.terminal.events import MAX_SIDE, Deadline, Mode, Size
from app.terminal.terminal import LEAVING, Terminals, TerminalTarget
from app.web.context import hub
from app.web.limits import TERMINALS, limited
from app.web.logins import check_socket
from app.web.security import by_cookie_or_token, in_outage, maybe_me, me, until_logged_out
from app.web.sessions import show
from app.web.shown import Shown
from app.web.sockets import Direct, direct

blueprint = Blueprint("terminal", __name__, url_prefix="/sessions")

MAX_WAIT = 30.0  # Seconds that a request may wait for a state; below every load balancer's limit.


async def _get(account: Account, session_id: str) -> Session:
    """The account's session; while Postgres is away, as this replica remembers it for this browser."""
    login: Login | None = g.login
    try:
        session = await hub().sessions.get(account.id, session_id)
    except DatabaseOutage:
        found = hub().remembered.get_session(login.id, session_id, hub().outage()) if login else None
        if found is None:
            raise
        return found
    if login is not None and session.state is State.RUNNING:
        hub().remembered.note(login, account, session)
    return session


@blueprint.get("/<session_id>")
@in_outage
async def page(session_id: str) -> ResponseReturnValue:
    session = await _get(me(), session_id)
    g.inline_styles = True  # xterm.js's DOM renderer writes style elements; without them the screen is black.
    return await render_template(
        "terminal.html",
        session=session,
        shown=await show(session),
        watching=_mode(request) == "watch",
        max_upload=hub().settings.max_upload,
    )


@blueprint.get("/<session_id>/state")
@in_outage
async def state(session_id: str) -> ResponseReturnValue:
    """The session's state as JSON; `?wait=running&timeout=25` answers when it gets there or time is up.

    With `seen`, the `detail` of an earlier answer, it also answers once there is more to say.
    """
    asked = request.args
    try:
        shown = await wait_for(me().id, session_id, asked.get("wait"), asked.get("timeout"), asked.get("seen"))
    except DatabaseOutage:
        shown = Shown(await _get(me(), session_id))
    session = shown.session
    return jsonify(
        state=session.shown.value,
        reason=session.reason.value if session.reason and session.reason_text else None,
        reason_text=session.reason_text,
        detail=shown.progress,
        generation=session.generation,
        stops_at=shown.stops_at.isoformat() if shown.stops_at else None,
    )


async def wait_for(
    user_id: Any, session_id: str, state: str | None, timeout: str | None, seen: str | None = None
) -> Shown:
    """The session once it is in `state` (or cannot get there by itself any more), or after `timeout` seconds.

    Or once its progress is not what was `seen`.
    """
    if state is not None and state not in State.__members__.values():
        raise BadInput(f"`wait` takes one of {', '.join(State)}.", field="wait")
    try:
        patience = seconds(timeout, MAX_WAIT) if timeout else MAX_WAIT
    except ValueError:
        raise BadInput("`timeout` takes a number of seconds.", field="timeout") from None
    sessions = hub().sessions
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    counted = False  # Among the requests of the user's that wait, once it does.
    with (
        hub().changes.subscribe(user_id) as changes,
        hub().watch.open(g.proof, changes.close),
        contextlib.ExitStack() as waiting,
    ):
        while True:
            shown = await show(await sessions.get(user_id, session_id))
            there = state is None or shown.session.shown == state or shown.session.shown in AT_REST
            more = seen is not None and shown.progress != seen
            left = until - loop.time()
            if there or more or left <= 0 or not changes.open():
                return shown
            if not counted:
                waiting.enter_context(hub().live.wait(user_id))
                counted = True
            # Notifications are hints: look again now and then in any case.
            await changes.wait(min(left, 2.0))


class _Viewer:
    """Quart's WebSocket as `app.terminal` wants it. Quart reports a lost peer by cancelling the handler's task."""

    farewell: tuple[int, str] | None = None  # Said instead of what the terminal would say.

    async def send_bytes(self, data: bytes) -> None:
        with _translated():
            await websocket.send(data)

    async def send_text(self, text: str) -> None:
        with _translated():
            await websocket.send(text)

    async def receive(self) -> bytes | str:
        message: bytes | str | None = await websocket.receive()
        return message or b""  # Quart gives None for an empty frame.

    async def close(self, code: int, reason: str) -> None:
        with _translated():
            await websocket.close(*(self.farewell or (code, reason)))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """What a send raises differs from server to server; it always means that the viewer has gone."""
    try:
        yield
    except Exception as error:
        raise Disconnected from error


@by_cookie_or_token
@in_outage
@limited(TERMINALS)
async def tty(session_id: str) -> None:
    offered = websocket.requested_subprotocols
    protocol: Literal["hub.tty.v1", "webtty"] = "webtty"
    if "hub.tty.v1" in offered:
        protocol = "hub.tty.v1"
    elif "webtty" not in offered:
        raise BadInput("Offer the subprotocol hub.tty.v1 or webtty.")
    if hub().leaving.is_set():
        # At once, so that the browser has another replica before its person notices.
        await websocket.accept(subprotocol=protocol)
        await websocket.close(1012, LEAVING.text)
        return
    account = maybe_me()
    short = direct(websocket)
    if short is not None:
        short.hold()
    await websocket.accept(subprotocol=protocol)
    if account is None:
        await websocket.close(4401, "Log in first.")
        return
    try:
        await check_socket()
        session = await _get(account, session_id)
    except OtherLogin as error:
        await websocket.close(4403, error.message[:100])
        return
    except NotFound:
        await websocket.close(4404, "There is no such session among yours.")
        return
    except DatabaseOutage:
        await websocket.close(1012, "The Hub's database does not answer. Come back.")
        return
    if session.state is not State.RUNNING or session.address is None or session.credential is None:
        await websocket.close(4409, f"The session is not running: {session.state_text.lower()}.")
        return
    address = await hub().where(session)
    if address is None:
        await websocket.close(1012, "The session has just ended or moved. Come back.")
        return
    source = session.source
    opens = (source.kind, source.value) if source.kind != "empty" else ()
    target = TerminalTarget(session.id, session.generation, address, session.credential, opens)
    viewer = _Viewer()
    serve = partial(_serve_directly, short) if short is not None else serve_viewer
    serving = asyncio.create_task(
        serve(
            hub().terminals,
            target,
            viewer,
            protocol=protocol,
            mode=_mode(websocket),
            size=_size(),
            deadline=_deadline(session),
        ),
        name="serve viewer",
    )
    watching = asyncio.create_task(until_logged_out(), name="watch login")
    try:
        with hub().remembered.open(g.proof):
            done, _ = await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
        if serving not in done:
            viewer.farewell = (4401, "Your login has ended.")
        for task in done:
            task.result()
    finally:
        await cancel_and_wait(serving, watching)


async def _serve_directly(
    socket: Direct, terminals: Terminals, target: TerminalTarget, viewer: _Viewer, **options: Any
) -> None:
    """As `serve_viewer`, where messages come and go without ASGI."""
    attachment = terminals.attach(target, socket, **options)
    socket.take_over(attachment.received, attachment.drained)
    code, reason = 1011, ""
    try:
        code, reason = await attachment.over
    finally:
        attachment.leave()
        if socket.writable:
            with contextlib.suppress(Disconnected):
                await viewer.close(code, reason[:100])
        else:
            socket.abort()  # It takes nothing, so it would not take the goodbye either.


def _mode(asked: Request | Websocket) -> Mode:
    """`?watch=1` is for a viewer that only watches, on a second screen or a projector."""
    return "watch" if asked.args.get("watch") == "1" else "drive"


def _size() -> Size | None:
    """The window's size, where the page says it with its address: saves the program one repaint."""
    try:
        return Size(*(whole_number(websocket.args[side], 1, MAX_SIDE) for side in ("cols", "rows")))
    except (KeyError, ValueError):
        return None


def _deadline(session: Session) -> Deadline | None:
    if session.stops_at is None or not session.ends_soon:
        return None
    return Deadline(session.stops_at.isoformat(), session.stops_why)


def set_up(app: Quart) -> None:
    app.add_websocket("/sessions/<session_id>/tty", "terminal.tty", tty)
