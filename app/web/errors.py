"""What goes wrong becomes an answer here and nowhere else: a page, an htmx fragment, or problem+json.

An outage of Postgres is no bug: its page tries again by itself, and it is logged in one place, by `app.db`. A bug is logged
whole.
"""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from urllib.parse import quote

import asyncpg
from quart import Quart, Response, has_websocket_context, render_template, request
from quart.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app.errors import BadInput, HubError, NotLoggedIn, system_trouble
from app.log import hide_secrets
from app.web.forms import page_of, page_with_input
from app.web.htmx import go, wants_fragment

log = logging.getLogger("hub.web")

TEXTS = {
    400: "The Hub could not read this request. Go back and try again.",
    403: "You may not do that.",
    404: "There is nothing at this address. It may have been moved or deleted.",
    405: "This address does not take that kind of request.",
    408: "The upload stalled, so it was ended and nothing was stored. Try again on a better connection.",
    413: "This is larger than the Hub takes here.",
    429: "Too many requests. Wait a little, then try again.",
    500: "Something went wrong in the Hub. It has been logged; try again, and tell an administrator if it stays.",
    503: "The Hub cannot do this just now. Try again in a moment.",
}


def wants_json() -> bool:
    """Whether a script or program asks, and not a browser for a page."""
    return request.path.startswith("/api/") or request.accept_mimetypes.best in (
        "application/json",
        "text/event-stream",
    )


def problem(status: int, title: str, detail: str, **more: object) -> Response:
    """RFC 9457, application/problem+json."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return Response(json.dumps(body), status, content_type="application/problem+json")


async def answer(
    status: int, title: str, message: str, *, field: str | None = None, retry_after: int | None = None
) -> Response:
    """The one way in which an error reaches the client. `retry_after`: seconds until the same request may work."""
    response = await _answer(status, title, message, field, retry_after)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


async def _answer(status: int, title: str, message: str, field: str | None, retry_after: int | None) -> Response:
    if has_websocket_context():
        # Refused before it stands. Once it does, views answer with close codes.
        return Response(message, status, content_type="text/plain; charset=utf-8")
    if wants_json():
        return problem(status, title, message, **({"field": field} if field else {}))
    if wants_fragment():
        # Whatever the fragment was for stays as it is; the words go where notices go.
        html = await render_template("_notice.html", message=message, kind="error")
        return Response(html, status, {"HX-Retarget": "#notices", "HX-Reswap": "innerHTML"})
    page = await render_template(
        "error.html", status=status, title=title, message=message, retry_after=retry_after if _safe() else None
    )
    return Response(page, status)


def _opens_a_form(error: MethodNotAllowed) -> bool:
    """Whether a browser opens the address of a form as a page, as it does when a person reloads the answer to one."""
    return _safe() and "POST" in (error.valid_methods or ())


def _safe() -> bool:
    """Whether the browser may send the same request again by itself."""
    return request.method in ("GET", "HEAD")


def set_up(app: Quart) -> None:
    @app.errorhandler(NotLoggedIn)
    async def not_logged_in(error: NotLoggedIn) -> ResponseReturnValue:
        if has_websocket_context():
            return await answer(401, error.title, error.message)
        if wants_json():
            response = problem(401, error.title, error.message)
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        back = await page_with_input()
        if not back and wants_fragment():
            current = request.headers.get("HX-Current-URL", "")
            back = "/" + current.partition("://")[2].partition("/")[2]
        elif not back:
            back = request.full_path.rstrip("?") if request.method == "GET" else page_of(request.path)
        return go(f"/login?expired=1&next={quote(back or '/sessions')}")

    @app.errorhandler(HubError)
    async def hub_error(error: HubError) -> ResponseReturnValue:
        return await answer(error.status, error.title, error.message, field=error.field, retry_after=error.retry_after)

    @app.errorhandler(asyncpg.CharacterNotInRepertoireError)
    async def no_text(error: asyncpg.CharacterNotInRepertoireError) -> ResponseReturnValue:
        # Postgres keeps no NUL character in a text. One answer here, rather than a check for every field there is.
        return await answer(
            BadInput.status, BadInput.title, "There is a NUL character in it. Take it out and try again."
        )

    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> ResponseReturnValue:
        status = error.code or 500
        if status in (301, 302, 303, 307, 308):
            return error.get_response()
        if isinstance(error, MethodNotAllowed) and _opens_a_form(error) and not wants_json():
            return go(page_of(request.path))
        response = await answer(
            status, HTTPStatus(status).phrase.capitalize(), TEXTS.get(status, error.description or TEXTS[400])
        )
        if isinstance(error, MethodNotAllowed):
            response.allow.update(error.valid_methods or ())
        return response

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> ResponseReturnValue:
        where = "a WebSocket" if has_websocket_context() else f"{request.method} {hide_secrets(request.path)}"
        log.exception("%s failed", where)
        status, text = (system_trouble(error) if isinstance(error, OSError) else None) or (500, TEXTS[500])
        return await answer(status, "Something went wrong", text)
