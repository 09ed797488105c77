"""The file name that a save proposes: never a place that takes no files, nor a container for the list of its parts."""

from __future__ import annotations

import os
from pathlib import Path as SystemPath
from typing import Any

from visidata import BaseSheet  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
from visidata.shell import DirSheet  # type: ignore[import-not-found]

from . import load_records


def install() -> None:
    for kind in (BaseSheet, DirSheet):
        _wrap(kind)


def of_index(sheet: Any) -> str:
    """The name beside a container for the list of its parts."""
    return f"{sheet.source.base_stem}-list.{sheet.options.save_filetype}"


def proposed(name: str, home: SystemPath) -> str:
    """`name`, or the same name in the home where its folder cannot be written to."""
    if os.access(SystemPath(os.path.realpath(name)).parent, os.W_OK | os.X_OK):
        return name
    base = SystemPath(name).name
    return base if SystemPath.cwd().samefile(home) else str(home / base)


def _wrap(kind: Any) -> None:
    propose = kind.__dict__["getDefaultSaveName"]

    def getDefaultSaveName(sheet: Any) -> str:  # noqa: N802  (VisiData's name)
        if load_records.is_index(sheet) and not isinstance(sheet, DirSheet):
            return proposed(str(SystemPath(sheet.source).with_name(of_index(sheet))), SystemPath.home())
        return proposed(propose(sheet), SystemPath.home())

    kind.getDefaultSaveName = getDefaultSaveName
