"""The page of one's own files: upload (form, and drag and drop with progress), download, open, delete."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from quart import Blueprint, Quart, Response, flash, jsonify, render_template, request
from quart.typing import ResponseReturnValue
from werkzeug.routing import PathConverter

from app.errors import BadInput, NotFound
from app.files import sets
from app.files.downloads import Download
from app.files.listing import MAX_LISTED
from app.files.names import clean_name, openable, size_text, visible
from app.numbers import whole_number
from app.web.context import homes_of, hub
from app.web.htmx import go, wants_fragment
from app.web.limits import ADDRESS_UPLOADS, UPLOADS, limited
from app.web.multipart import stream_files
from app.web.rendering import render_long
from app.web.security import me

LEFT_IN = ".cache/visidata-hub"  # Made by app/agent/visidata/hosted, which also reads what is left there.
LEFT = {"clipboard": 16_000_000, "open": 64_000}  # Bytes: more text than cells can show, and some hundred paths.
MAX_NAMES = 1000  # Names in one question about sets.

blueprint = Blueprint("files", __name__, url_prefix="/files")


@blueprint.get("")
async def index() -> ResponseReturnValue:
    account, folder = me(), request.args.get("folder", "").strip("/")
    hidden = request.args.get("hidden") == "1"
    listing = await homes_of(account).list(str(account.id), folder, hidden=hidden)
    template = "_files.html" if wants_fragment() else "files.html"
    return await render_long(
        str(account.id),
        template,
        entries=listing,
        hidden=hidden,
        folder=folder,
        crumbs=_crumbs(folder),
        openable=openable,
        max_upload=hub().settings.max_upload,
        most=MAX_LISTED,
    )


@blueprint.post("")
@limited(UPLOADS, ADDRESS_UPLOADS)
async def upload_form() -> ResponseReturnValue:
    """A plain form (multipart/form-data, streamed to disk). Its files are stored together: all of them or none."""
    account, folder = me(), request.args.get("folder", "").strip("/")
    homes = homes_of(account)
    async with homes.batch(str(account.id), folder) as batch:
        async for name, chunks in stream_files(request):
            await homes.add(batch, clean_name(name), chunks)
        if not batch.staged:
            raise BadInput("Choose a file first.", field="file")
        stored = await homes.place(batch, batch.place)
    for one in stored:
        await flash(one.note or f"“{visible(one.name)}” is here ({size_text(one.size)}).", "info")
    return go(_folder_url(folder, hidden=any(one.name.startswith(".") for one in stored)))


@blueprint.post("/sets")
async def group() -> ResponseReturnValue:
    """Which of these names are of one set, as their indices: the page uploads each set in this order, by `upload`."""
    try:
        names = json.loads(await request.get_data())["names"]
    except (ValueError, RecursionError, TypeError, KeyError):
        names = None
    if not isinstance(names, list) or len(names) > MAX_NAMES or not all(isinstance(name, str) for name in names):
        raise BadInput(f"Send a JSON object with `names`, a list of up to {MAX_NAMES} strings.")
    return jsonify(sets=sets.groups([clean_name(name) for name in names]))


@blueprint.put("/upload/<path:path>")
@limited(UPLOADS, ADDRESS_UPLOADS)
async def upload(path: str) -> ResponseReturnValue:
    """The page's own upload: the body is the file. Never replaces: a name that is taken gets a number.

    `?set=`, once for each name: the set that it belongs to, which is numbered as a whole; `?number=`: the number that
    the first of the set was given.
    """
    account = me()
    folder, _, name = path.rpartition("/")
    name = clean_name(name)
    stored = await homes_of(account).write(
        str(account.id),
        f"{folder}/{name}" if folder else name,
        request.body,
        keep_both=True,
        expected_size=request.content_length,
        together=_set(name, request.args.getlist("set")),
        number=_number(request.args.get("number")),
    )
    return jsonify(
        name=stored.name,
        path=stored.path,
        openable=openable(stored.name),
        number=stored.number,
        note=stored.note,
    ), 201


@blueprint.put("/left/<what>")
@limited(UPLOADS, ADDRESS_UPLOADS)
async def leave(what: str) -> ResponseReturnValue:
    """What a terminal's page leaves for VisiData to fetch at a key: text to paste, or the path of a file to open."""
    if what not in LEFT:
        raise NotFound("There is nothing at this address.")
    account, size = me(), request.content_length
    await homes_of(account).write(
        str(account.id), f"{LEFT_IN}/{what}", request.body, overwrite=True, expected_size=size, most=LEFT[what]
    )
    return "", 204


@blueprint.get("/get/<path:path>")
async def download(path: str) -> ResponseReturnValue:
    account = me()
    return send(await homes_of(account).read(str(account.id), path))


@blueprint.get("/delete/<path:path>")
async def delete_form(path: str) -> ResponseReturnValue:
    account = me()
    entry = await homes_of(account).entry(str(account.id), path)
    if wants_fragment():
        return await render_template("_delete_file.html", entry=entry)
    return await render_template("dialog.html", body="_delete_file.html", title="Delete a file", entry=entry)


@blueprint.post("/delete/<path:path>")
async def delete(path: str) -> ResponseReturnValue:
    account = me()
    await homes_of(account).delete(str(account.id), path, recursive=True)
    folder, _, name = path.rpartition("/")
    await flash(f"“{visible(name)}” is deleted.", "info")
    return go(_folder_url(folder, hidden=name.startswith(".")))


def send(file: Download) -> Response:
    """A download as a response: streamed, never sniffed, never shown as a page of this site."""
    ascii_name = re.sub(r"[^A-Za-z0-9._-]", "_", file.name)
    return Response(
        file,
        headers={
            "Content-Length": str(file.size),
            "Content-Disposition": f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(file.name, safe='')}",
        },
        content_type="application/octet-stream",
    )


def _crumbs(folder: str) -> list[tuple[str, str]]:
    """(name, path) of each folder on the way down."""
    names = [name for name in folder.split("/") if name]
    return [(name, "/".join(names[: index + 1])) for index, name in enumerate(names)]


def _folder_url(folder: str, *, hidden: bool = False) -> str:
    asked = [f"folder={quote(folder)}"] if folder else []
    return "?".join(("/files", "&".join(asked + ["hidden=1"] * hidden))).rstrip("?")


def _set(name: str, raw: list[str]) -> list[str]:
    names = [clean_name(one) for one in raw]
    if len(names) > sets.MAX_SET or any(sets.stem(one) != sets.stem(name) for one in names):
        raise BadInput("These names are not of one set.", field="set")
    return names


def _number(raw: str | None) -> int | None:
    if raw is None:
        return None
    try:
        return whole_number(raw, 1, 999_999_999)
    except ValueError as error:
        raise BadInput(f"`number` takes {error}.", field="number") from None


class AnyPath(PathConverter):
    """A path in an address. Names of files may hold line ends, which Werkzeug's own pattern does not match."""

    regex = "(?s:[^/].*?)"
    part_isolating = False


def set_up(app: Quart) -> None:
    """Before any route is added."""
    app.url_map.converters["path"] = AnyPath
