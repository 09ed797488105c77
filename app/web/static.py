"""Static files: read once, compressed once, and kept by browsers for a year under an address that names their content.

A script that imports its neighbours names them by their plain names, so what lies in a folder of MODULES has the version
of the whole folder in its path (`/static/terminal/@<version>/main.js`): a neighbour's address then has it too.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
import time
from dataclasses import dataclass
from pathlib import Path

from quart import Quart, Response, request
from quart.typing import ResponseReturnValue
from werkzeug.security import safe_join

from app.errors import NotFound
from app.web.limits import unlimited
from app.web.security import public

COMPRESSED = frozenset({".css", ".js", ".mjs", ".svg", ".json", ".webmanifest", ".txt"})
MODULES = ("terminal",)
RECHECK_AFTER = 1.0  # Seconds between two checks of a file for changes; a page names a dozen files.
TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".webmanifest": "application/manifest+json"}


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    compressed: bytes | None
    content_type: str
    version: str
    changed: float


class Assets:
    """The files below one folder. A file that changed on disk is read again, so that a developer sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, Asset] = {}
        self._versions: dict[str, tuple[float, str]] = {}
        self._urls: dict[str, tuple[float, str]] = {}

    def get(self, name: str) -> Asset:
        """Raises NotFound for what is not below the folder."""
        joined = safe_join(str(self.folder), name)
        path = Path(joined) if joined else None
        if path is None or not path.is_file():
            raise NotFound("There is nothing at this address.")
        changed = path.stat().st_mtime
        known = self._read.get(name)
        if known is None or known.changed != changed:
            known = self._read[name] = _load(path, changed)
        return known

    def version(self, folder: str) -> str:
        """One for all that lies in a folder: when any of it changes, all of it has new addresses."""
        looked_at, version = self._versions.get(folder, (0.0, ""))
        if time.monotonic() - looked_at < RECHECK_AFTER:
            return version
        names = sorted(path.name for path in (self.folder / folder).iterdir() if path.is_file())
        said = "".join(f"{name} {self.get(f'{folder}/{name}').version}\n" for name in names)
        version = hashlib.sha256(said.encode()).hexdigest()[:12]
        self._versions[folder] = time.monotonic(), version
        return version

    def url(self, name: str) -> str:
        """Where the file is, with its version; without one where the file is missing (the set-up has not run)."""
        looked_at, url = self._urls.get(name, (0.0, ""))
        if not url or time.monotonic() - looked_at >= RECHECK_AFTER:
            url = self._find_url(name)
            self._urls[name] = time.monotonic(), url
        return url

    def _find_url(self, name: str) -> str:
        folder, _, file = name.rpartition("/")
        try:
            if folder in MODULES:
                return f"/static/{folder}/@{self.version(folder)}/{file}"
            return f"/static/{name}?v={self.get(name).version}"
        except NotFound:
            return f"/static/{name}"


def _load(path: Path, changed: float) -> Asset:
    body = path.read_bytes()
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    packed = gzip.compress(body, 9, mtime=0) if path.suffix in COMPRESSED else None
    return Asset(body, packed, kind, hashlib.sha256(body).hexdigest()[:12], changed)


def set_up(app: Quart, folder: Path) -> None:
    assets = Assets(folder)
    app.jinja_env.globals["static"] = assets.url

    @app.get("/static/<path:name>", endpoint="static")
    @public("styles, scripts and pictures, which are the same for everybody", same_for_all=True)
    @unlimited("a page names a dozen files: a class behind one address would use up any limit, and none costs a query")
    async def static(name: str) -> ResponseReturnValue:
        in_folder = re.fullmatch(r"(.+)/@(\w+)/([^/]+)", name)
        if in_folder and in_folder[1] in MODULES:
            asset = assets.get(f"{in_folder[1]}/{in_folder[3]}")
            lasting = in_folder[2] == assets.version(in_folder[1])
        else:
            asset = assets.get(name)
            lasting = request.args.get("v") == asset.version
        pack = asset.compressed is not None and "gzip" in request.headers.get("Accept-Encoding", "")
        response = Response(asset.compressed if pack else asset.body, content_type=asset.content_type)
        if pack:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        response.set_etag(asset.version)
        return await response.make_conditional(request)
