"""The page of one's own files: upload (form, and drag and drop with progress), download, open, delete."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from quart import Blueprint, Response, flash, jsonify, render_template, request
from quart.typing import ResponseReturnValue

from app.accounts.models import Account
from app.errors import BadInput, NotFound
from app.files.homes import MOST_LISTED, Download, Entry
from app.files.names import clean_name, openable, size_text
from app.web.context import homes_of, hub
from app.web.htmx import go, wants_fragment
from app.web.limits import ADDRESS_UPLOADS, UPLOADS, limited
from app.web.multipart import stream_file
from app.web.security import me

LEFT_IN = ".cache/visidata-hub"  # Made by app/agent/visidata/hosted, which also reads what is left there.
LEFT = frozenset({"clipboard", "open"})

blueprint = Blueprint("files", __name__, url_prefix="/files")


@blueprint.get("")
async def index() -> ResponseReturnValue:
    account, folder = me(), request.args.get("folder", "").strip("/")
    entries = await homes_of(account).list(str(account.id), folder)
    template = "_files.html" if wants_fragment() else "files.html"
    return await render_template(
        template,
        entries=entries,
        folder=folder,
        crumbs=_crumbs(folder),
        openable=openable,
        max_upload=hub().settings.max_upload,
        most=MOST_LISTED,
    )


@blueprint.post("")
@limited(UPLOADS, ADDRESS_UPLOADS)
async def upload_form() -> ResponseReturnValue:
    """A plain form (multipart/form-data, one file, streamed to disk)."""
    account, folder = me(), request.args.get("folder", "").strip("/")
    name, chunks = await stream_file(request)
    if not name:
        raise BadInput("Choose a file first.", field="file")
    entry = await _store(account, folder, name, chunks, None)
    await flash(f"“{entry.name}” is here ({size_text(entry.size)}).", "info")
    return go(_folder_url(folder))


@blueprint.put("/upload/<path:path>")
@limited(UPLOADS, ADDRESS_UPLOADS)
async def upload(path: str) -> ResponseReturnValue:
    """The page's own upload: the body is the file. Never replaces: a name that is taken gets a number."""
    account = me()
    folder, _, name = path.rpartition("/")
    expected = request.content_length
    entry = await _store(account, folder, name, request.body, expected)
    return jsonify(name=entry.name, path=entry.path, openable=openable(entry.name)), 201


@blueprint.put("/left/<what>")
@limited(UPLOADS, ADDRESS_UPLOADS)
async def leave(what: str) -> ResponseReturnValue:
    """What a terminal's page leaves for VisiData to fetch at a key: text to paste, or the path of a file to open."""
    if what not in LEFT:
        raise NotFound("There is nothing at this address.")
    account, size = me(), request.content_length
    await homes_of(account).write(
        str(account.id), f"{LEFT_IN}/{what}", request.body, overwrite=True, expected_size=size
    )
    return "", 204


@blueprint.get("/get/<path:path>")
async def download(path: str) -> ResponseReturnValue:
    account = me()
    return send(await homes_of(account).read(str(account.id), path))


@blueprint.get("/delete/<path:path>")
async def delete_form(path: str) -> ResponseReturnValue:
    account = me()
    entry = await asyncio.to_thread(homes_of(account).entry, str(account.id), path)
    if wants_fragment():
        return await render_template("_delete_file.html", entry=entry)
    return await render_template("dialog.html", body="_delete_file.html", title="Delete a file", entry=entry)


@blueprint.post("/delete/<path:path>")
async def delete(path: str) -> ResponseReturnValue:
    account = me()
    await homes_of(account).delete(str(account.id), path, recursive=True)
    folder, _, name = path.rpartition("/")
    await flash(f"“{name}” is deleted.", "info")
    return go(_folder_url(folder))


async def _store(account: Account, folder: str, name: str, chunks: AsyncIterator[bytes], expected: int | None) -> Entry:
    homes = homes_of(account)
    homes.ensure(str(account.id))
    path = f"{folder}/{clean_name(name)}" if folder else clean_name(name)
    return await homes.write(str(account.id), path, chunks, keep_both=True, expected_size=expected)


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


def _folder_url(folder: str) -> str:
    return f"/files?folder={quote(folder)}" if folder else "/files"
