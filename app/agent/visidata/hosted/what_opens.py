"""Decides what opens for a path: the folder of a file that is not there, and a misnamed file as what it is."""

from __future__ import annotations

import os
from typing import Any

from visidata import (  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
    Path,
    Sheet,
    VisiData,
    vd,
)
from visidata.shell import DirSheet  # type: ignore[import-not-found]

from . import kinds
from .load_problems import LoadProblem

_open_path = VisiData.openPath
_types: dict[str, str] = {}  # By path, the types that were taken from the file's name or bytes.


def install() -> None:
    VisiData.api(openPath)


def openPath(vd, p, filetype=None, create=False):  # type: ignore[no-untyped-def]  # noqa: N802
    if p.has_fp() or p.is_url() or p.given == "-":
        return _open_path(vd, p, filetype=filetype, create=create)
    try:
        p._path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _missing(p, filetype, create)
    except OSError as error:
        vd.warning(f"{p}: {error.strerror}")
        return vd.open_dir(_folder(p))
    try:
        return _open(p, filetype, create)
    except Exception as error:
        if vd.sheets or not create:
            raise
        # VisiData would end where it has nothing else to show.
        vd.exceptionCaught(error)
        return vd.open_dir(_folder(p))


def _open(path: Any, filetype: str | None, create: bool) -> Any:
    extension = path.ext.lower()
    asked = filetype or path.options.filetype
    if asked and asked.lower() != extension and _types.get(str(path)) != asked:
        return _open_path(vd, path, filetype=asked, create=create)  # The person chose the type.
    plan = _plan(path, extension) if path._path.is_file() else kinds.Plan()
    if plan.says:
        vd.warning(plan.says)
    if plan.problem:
        return Unreadable(path.base_stem, source=path, why=plan.problem)
    filetype = plan.filetype or (filetype if path.is_dir() else None)
    vd._options["filetype"].pop(vd._options.objname(path), None)
    vd.options._cache.clear()
    try:
        return _open_path(vd, path, filetype=filetype, create=create)
    finally:
        _types[str(path)] = path.options.filetype


def _plan(path: Any, extension: str) -> kinds.Plan:
    """How to open the file. Also corrects whether it is compressed, which VisiData takes from the name."""
    try:
        with path._path.open("rb") as file:
            kind = kinds.identify(file)
            if kind == "sqlite" and kinds.uses_log(file) and not os.path.lexists(f"{path}-wal"):
                # A program that closes the database removes the log. A copy without it looks the same.
                vd.warning(f"there is no {path.name}-wal: if it was left behind, the newest rows are missing here")
    except OSError:
        return kinds.Plan()  # Loading it will say why.
    if path.compression:
        if kind not in kinds.COMPRESSED and kind != "empty":
            path.compression = None
            return kinds.Plan(says=f"{path.name} is not compressed, whatever its name says")
        return kinds.Plan()
    if kind in kinds.COMPRESSED and (plan := kinds.plan(path.name, extension, kind)).says:
        path.compression = kind
        return plan
    return kinds.plan(path.name, extension, kind)


def _missing(path: Any, filetype: str | None, create: bool) -> Any:
    kind = filetype or path.options.filetype or path.ext.lower()
    if create and getattr(vd, f"new_{kind}", None) and kind != "rows":
        return _open_path(vd, path, filetype=filetype, create=create)  # VisiData's own sheets, such as `.top`.
    text = f"there is no file {_shown(path)}"
    if create:
        folder = _folder(path)
        vd.warning(f"{text}: this is the folder {_shown(folder)}")
        return vd.open_dir(folder)
    if isinstance(vd.activeSheet, DirSheet):
        vd.activeSheet.reload()
        vd.fail(f"there is no file {path.name} any more; the list was read again")
    return None


def _shown(path: Any) -> str:
    """The path for a message."""
    home = os.path.expanduser("~")  # noqa: PTH111  (a folder that does not exist is no error here)
    text = str(path)
    return text.replace(home, "~", 1) if text == home or text.startswith(f"{home}/") else text


def _folder(path: Any) -> Any:
    """The nearest folder above the path that exists."""
    parents = (folder for folder in path._path.absolute().parents if os.path.isdir(folder))  # noqa: PTH112
    return Path(next(parents))


class Unreadable(Sheet):  # type: ignore[misc]
    """A file that cannot be opened, and why."""

    rowtype = "rows"
    guide = "# This file was not opened\n{sheet.why}\n"

    def iterload(self):  # type: ignore[no-untyped-def]
        yield from ()
        vd.warning(f"{self.name}: {self.why}")
        raise LoadProblem(self.why)
