"""The JSON API, by the same rules as the pages: what a page may do for a person, a token may do too, and nothing else.

Errors are application/problem+json. The shapes are those of docs/api.md.
"""

from __future__ import annotations

import json
from typing import Any

from quart import Blueprint, Response, jsonify, request
from quart.typing import ResponseReturnValue

from app.errors import BadInput
from app.files import samples
from app.web.context import homes_of, hub
from app.web.files import send
from app.web.limits import ADDRESS_RUNS, ADDRESS_UPLOADS, RUNS, UPLOADS, limited
from app.web.security import by_token, me
from app.web.sessions import default_name, parse_source, show, shown_sessions
from app.web.shown import Shown
from app.web.terminal import wait_for

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")


@blueprint.get("/sessions")
@by_token
async def list_sessions() -> ResponseReturnValue:
    return jsonify([_json(shown) for shown in await shown_sessions(me())])


@blueprint.post("/sessions")
@by_token
@limited(RUNS, ADDRESS_RUNS)
async def create_session() -> ResponseReturnValue:
    account, body = me(), await _body("name", "source")
    source = await parse_source(account, _source(body.get("source")))
    session = await hub().sessions.create(
        account.id,
        guest=account.guest,
        name=_name(body) if "name" in body else default_name(source),
        source=source,
    )
    shown = await show(session)
    return jsonify(_json(shown)), 201, {"Location": f"/api/v1/sessions/{session.id}"}


@blueprint.get("/sessions/<session_id>")
@by_token
async def get_session(session_id: str) -> ResponseReturnValue:
    shown = await wait_for(me().id, session_id, request.args.get("wait"), request.args.get("timeout"))
    return jsonify(_json(shown))


@blueprint.patch("/sessions/<session_id>")
@by_token
async def rename_session(session_id: str) -> ResponseReturnValue:
    body = await _body("name")
    return jsonify(_json(await show(await hub().sessions.rename(me().id, session_id, _name(body)))))


@blueprint.delete("/sessions/<session_id>")
@by_token
async def delete_session(session_id: str) -> ResponseReturnValue:
    await hub().sessions.delete(me().id, session_id)
    return "", 204


@blueprint.post("/sessions/<session_id>/start")
@by_token
@limited(RUNS, ADDRESS_RUNS)
async def start_session(session_id: str) -> ResponseReturnValue:
    return jsonify(_json(await show(await hub().sessions.start(me().id, session_id)))), 202


@blueprint.post("/sessions/<session_id>/stop")
@by_token
async def stop_session(session_id: str) -> ResponseReturnValue:
    return jsonify(_json(await show(await hub().sessions.stop(me().id, session_id)))), 202


@blueprint.get("/samples")
@by_token
async def list_samples() -> ResponseReturnValue:
    return jsonify(
        [
            {
                "name": sample.name,
                "title": sample.title,
                "description": sample.description,
                "hint": sample.hint,
                "format": sample.format,
                "size": sample.size,
                "licence": sample.licence,
                "source": sample.source,
            }
            for sample in samples.CATALOGUE
        ]
    )


@blueprint.get("/files/", defaults={"path": ""})
@blueprint.get("/files/<path:path>")
@by_token
async def get_file(path: str) -> ResponseReturnValue:
    """A file's bytes; for the home (no path) or a path that ends in a slash, the folder's entries."""
    account = me()
    homes, user_id = homes_of(account), str(account.id)
    if path and not path.endswith("/"):
        return send(await homes.read(user_id, path))
    entries = await homes.list(user_id, path.rstrip("/"), hidden=request.args.get("hidden") == "1")
    answer = jsonify(
        [
            {"name": e.name, "path": e.path, "kind": e.kind, "size": e.size, "modified": e.modified.isoformat()}
            for e in entries
        ]
    )
    answer.headers["Hub-Cut"] = "true" if entries.cut else "false"
    return answer


@blueprint.put("/files/<path:path>")
@by_token
@limited(UPLOADS, ADDRESS_UPLOADS)
async def put_file(path: str) -> ResponseReturnValue:
    """Store the body as this file, whole or not at all; one that is there is replaced."""
    account = me()
    homes, user_id = homes_of(account), str(account.id)
    existed = await homes.exists(user_id, path)
    entry = await homes.write(user_id, path, request.body, overwrite=True, expected_size=request.content_length)
    return jsonify(name=entry.name, path=entry.path, size=entry.size), 200 if existed else 201


@blueprint.delete("/files/<path:path>")
@by_token
async def delete_file(path: str) -> ResponseReturnValue:
    account = me()
    await homes_of(account).delete(str(account.id), path)
    return Response("", 204)


async def _body(*known: str) -> dict[str, Any]:
    """The request's JSON object. Raises BadInput for anything else, and for keys that are not known."""
    data = (await request.get_data()).strip()
    if not data:
        return {}
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise BadInput("Send a JSON object.")
    for key in body:
        if key not in known:
            raise BadInput(f"There is no `{key}` here; known are: {', '.join(known)}.", field=key)
    return body


def _name(body: dict[str, Any]) -> str:
    name = body.get("name")
    if not isinstance(name, str):
        raise BadInput("`name` takes a string.", field="name")
    return name


def _source(raw: Any) -> str:
    """The API's `source` object as the pages' form value."""
    if raw is None:
        return ""
    if isinstance(raw, dict) and len(raw) == 1:
        ((kind, value),) = raw.items()
        if kind in ("sample", "file") and isinstance(value, str) and value:
            return f"{kind}:{value}"
    raise BadInput('`source` takes {"sample": name} or {"file": path}.', field="source")


def _json(shown: Shown) -> dict[str, object]:
    return shown.as_json(hub().settings)
