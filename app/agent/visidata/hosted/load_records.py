"""What each sheet has read from which file, and when: a save compares it with the file that it would replace.

A record belongs to a sheet and its copies, by the file's real path, as `sheet.hub_files`. Containers (workbooks,
archives, databases) are also known by their first sheet, the list of their parts.
"""

from __future__ import annotations

import os
import time
import weakref
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path as SystemPath
from typing import Any

from visidata import UNLOADED, BaseSheet, IndexSheet, Path, Sheet  # type: ignore[import-not-found]  # In the sessions' Python alone.
from visidata.loaders.archive import TarSheet, ZipSheet  # type: ignore[import-not-found]
from visidata.macros import MacroSheet  # type: ignore[import-not-found]
from visidata.shell import DirSheet  # type: ignore[import-not-found]

from .save_draft import Fingerprint, fingerprint

_INDEXES = (IndexSheet, ZipSheet, TarSheet, DirSheet)
# Formats whose first sheet lists parts though its class is none of the above.
_CONTAINERS = frozenset(["h5", "hdf5", "npz", "eml", "mbox", "mhtml", "pdf", "pcap", "mbtiles"])
_TEXT = frozenset(["csv", "tsv", "txt", "psv", "usv", "lsv", "jsonl", "ndjson", "ldjson", "jsonla", "vdj"])
_READERS = {"CsvSheet": "csv", "TsvSheet": "tsv"}
_COUNT_SECONDS = 0.5  # Lines of a text are counted for this long, then estimated.

_containers: dict[SystemPath, weakref.ref[Any]] = {}  # By real path: the list of the container's parts.


@dataclass
class FileRecord:
    """One state of a file that a sheet has read or saved."""

    state: Fingerprint | None
    action: str  # "read" or "saved".
    owner: weakref.ref[Any]  # The sheet that has read it; its copies have the same record.
    at: datetime = field(default_factory=lambda: datetime.now().astimezone())
    filetype: str = ""
    columns: tuple[Any, ...] = ()
    rows: int | None = None

    def belongs_to(self, sheet: Any) -> bool:
        return self.owner() is sheet

    @property
    def when(self) -> str:
        """Such as "read at 10:02 UTC"."""
        today = self.at.date() == datetime.now().astimezone().date()
        return f"{self.action} at {self.at:%H:%M %Z}" if today else f"{self.action} on {self.at:%d %B at %H:%M %Z}"


def install() -> None:
    BaseSheet.before(ensureLoaded)
    BaseSheet.after(preloadHook)
    Sheet.after(afterLoad)


def ensureLoaded(sheet: Any) -> None:  # noqa: N802  (VisiData's name)
    if sheet.rows is UNLOADED and "reload" not in vars(sheet):  # A copy of selected rows has a `reload` of its own.
        _record_read(sheet)


def preloadHook(sheet: Any) -> None:  # noqa: N802
    _record_read(sheet)


def afterLoad(sheet: Any) -> None:  # noqa: N802
    path = source_path(sheet)
    record: FileRecord | None = files(sheet).get(path) if path else None
    if record is not None and record.belongs_to(sheet) and record.action == "read":
        record.columns, record.rows = tuple(sheet.visibleCols), len(sheet.rows)


def files(sheet: Any) -> dict[SystemPath, FileRecord]:
    found: dict[SystemPath, FileRecord] = getattr(sheet, "hub_files", {})
    return found


def record_saved(
    sheet: Any, target: SystemPath, state: Fingerprint | None, filetype: str, columns: tuple[Any, ...], rows: int
) -> None:
    """`columns` and `rows` are those that were saved: from now on the file has no others."""
    record = FileRecord(state, "saved", weakref.ref(sheet), filetype=filetype, columns=columns, rows=rows)
    sheet.hub_files = {**files(sheet), target: record}
    index = container(target)
    if index is not None and target in files(index):
        files(index)[target].state = state


def record_of(sheets: tuple[Any, ...], target: SystemPath) -> FileRecord | None:
    """What the sheets, or the container that they come from, have read from `target`."""
    index = container(target)
    for sheet in (*sheets, *(() if index is None else (index,))):
        record = files(sheet).get(target)
        if record is not None:
            return record
    return None


def container(target: SystemPath) -> Any:
    """The list of the parts of the container `target`, if this session has read it."""
    known = _containers.get(target)
    return None if known is None else known()


def source_path(sheet: Any) -> SystemPath | None:
    """The real path of the file that a sheet was read from; None for one that has no file of its own."""
    source = sheet.source
    if not isinstance(source, Path) or source.has_fp() or source.is_url() or source.given == "-":
        return None
    return SystemPath(os.path.realpath(source))


def original(sheet: Any) -> Any:
    """The sheet whose rows a copy for `saveCols` has; else the sheet itself."""
    return getattr(sheet, "hub_original", None) or sheet


def is_index(sheet: Any) -> bool:
    """Whether a sheet lists the parts of its file instead of the file's contents."""
    if isinstance(sheet, MacroSheet) or source_path(sheet) is None:
        return False
    return isinstance(sheet, _INDEXES) or sheet.source.ext.lower() in _CONTAINERS


def load_problem(sheet: Any) -> str:
    """Why a sheet may have only some of its rows; empty where it has all."""
    return str(sheet.load_problem or "")


def loads(sheet: Any) -> list[Any]:
    """The threads that are loading a sheet."""
    return [
        thread
        for thread in getattr(sheet, "currentThreads", ())
        if thread.is_alive() and (thread.name in ("reload", "loader") or sheet.loading)
    ]


def estimated_rows(sheet: Any) -> int | None:
    """About how many rows the file of a sheet has, where they can be counted quickly."""
    path = source_path(sheet)
    if path is None or sheet.source.compression or _filetype(sheet) not in _TEXT:
        return None
    until = time.monotonic() + _COUNT_SECONDS
    lines = read = 0
    try:
        size = path.stat().st_size
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(1 << 20):
                lines += chunk.count(b"\n")
                read += len(chunk)
                if time.monotonic() > until:
                    lines = lines * size // read
                    break
    except OSError:
        return None
    return max(0, lines - int(sheet.options.header or 0))


def _record_read(sheet: Any) -> None:
    path = source_path(sheet)
    state = fingerprint(path) if path else None
    if path is None or state is None:
        return
    record = FileRecord(state, "read", weakref.ref(sheet), filetype=_filetype(sheet))
    sheet.hub_files = {**files(sheet), path: record}
    if is_index(sheet):
        _containers[path] = weakref.ref(sheet)


def _filetype(sheet: Any) -> str:
    filetype: str = sheet.source.options.filetype or sheet.source.ext or _READERS.get(type(sheet).__name__, "")
    return filetype.lower()
