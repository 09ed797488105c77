"""Names are names: the file that was asked for opens, and never one that its name could also be read as.

VisiData expands `$HOME` and `~user` in names, takes `-` for its standard input and any `://` for an address, and sqlite
takes `?`, `#` and `%` for parts of an address. Only `~/` at the beginning of typed text still means the home.
"""

from __future__ import annotations

import os
import pathlib
import re
import sqlite3
import urllib.parse

from visidata import Path  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
from visidata.loaders import sqlite as sqlite_loader  # type: ignore[import-not-found]

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_init = Path.__init__


def install() -> None:
    Path.__init__, Path.is_url = initialize, is_url
    sqlite_loader.SqliteSheet.conn = connect


def initialize(self, given, fp=None, fptext=None, lines=None, filesize=None):  # type: ignore[no-untyped-def]
    _init(self, "", fp=fp, fptext=fptext, lines=lines, filesize=filesize)
    self.given = exact(given)


def exact(given: str | os.PathLike[str]) -> str:
    """The path as VisiData takes it exactly."""
    text = str(given)
    if isinstance(given, str):
        if text == "~" or text.startswith("~/"):
            return str(pathlib.Path.home()) + text[1:]
        if text == "-" or _URL.match(text):
            return text
    # A file of this name, which is not VisiData's standard input.
    return str(pathlib.Path(text).absolute()) if str(pathlib.Path(text)) == "-" else text


def is_url(self):  # type: ignore[no-untyped-def]
    return bool(_URL.match(self.given))


def connect(sheet):  # type: ignore[no-untyped-def]
    path = sheet.rootSheet().source
    url = path.given if path.is_url() else "file:" + urllib.parse.quote(str(path.resolve()))
    url = sqlite_loader.requery(url, **sheet.options.getall("sqlite_param_"))
    connection = sqlite3.connect(url, uri=True, **sheet.options.getall("sqlite_connect_"))
    encoding, errors = sheet.options.encoding, sheet.options.encoding_errors
    connection.text_factory = lambda text: text.decode(encoding, errors)
    if sheet.options.sqlite_onconnect:
        connection.execute(sheet.options.sqlite_onconnect)
    return connection
