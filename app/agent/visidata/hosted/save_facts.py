"""What is known about a save before it begins: what the file holds now, what was read from it, what the sheets have."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path as SystemPath
from typing import Any

from visidata import BaseSheet, vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

from . import load_records, save_database
from .save_draft import Fingerprint
from .save_questions import Facts, Unloaded

_SAME_FORMAT = {"htm": "html", "ndjson": "jsonl", "ldjson": "jsonl", "db": "sqlite", "sqlite3": "sqlite"}


@dataclass
class Job:
    """One file of a save."""

    given: Any  # VisiData's Path.
    sheets: tuple[Any, ...]
    expected: Fingerprint | None = None  # The state of the file that the user was asked about.

    @property
    def target(self) -> SystemPath:
        return SystemPath(os.path.realpath(self.given))


def gather(job: Job, filetype: str, *, adds: bool, whole: bool) -> Facts:
    """`adds`: the saver adds to a database. `whole`: loads that still run will have ended before the save begins."""
    unloaded = tuple(one for sheet in job.sheets for one in _unloaded(sheet, whole=whole))
    if job.expected is None:
        return Facts(job.given.name, unloaded)
    if adds and save_database.is_database(job.target):
        tables = save_database.tables(job.target)
        added = tuple(name for name in (vd.cleanName(sheet.name) for sheet in job.sheets) if name in tables)
        return Facts(job.given.name, unloaded, adds=True, added_to=added)
    record = load_records.record_of(job.sheets, job.target)
    old = record.filetype if record and record.filetype else job.given.ext.lower()
    changed = record.when if record and record.state != job.expected else ""
    columns, rows = _left_out(job, record)
    return Facts(
        job.given.name,
        unloaded,
        changed,
        old_format=_SAME_FORMAT.get(old, old),
        new_format=_SAME_FORMAT.get(filetype, filetype),
        columns=columns,
        rows=rows,
        tables=_other_parts(job),
    )


def _unloaded(sheet: Any, *, whole: bool) -> list[Unloaded]:
    """`whole`: a load that still runs will have ended before the save begins."""
    original = load_records.original(sheet)
    loading = bool(load_records.loads(original))
    why = "it is still loading" if loading else load_records.load_problem(sheet)
    if not why or (loading and whole):
        return []
    return [Unloaded(sheet.name, sheet.nRows, load_records.estimated_rows(original), why)]


def _left_out(job: Job, record: load_records.FileRecord | None) -> tuple[tuple[str, ...], int]:
    """The columns and the number of rows that were read from the file and are not saved."""
    if record is None or len(job.sheets) != 1 or load_records.container(job.target) is not None:
        return (), 0
    sheet = job.sheets[0]
    visible = list(sheet.visibleCols)
    names = {column.name for column in visible}
    gone = tuple(one.name for one in record.columns if one not in visible and one.name not in names)
    own = record.belongs_to(sheet) or record.belongs_to(
        load_records.original(sheet)
    )  # A copy, such as of the selected rows, has fewer.
    rows = 0 if own or record.rows is None else max(0, record.rows - sheet.nRows)
    return (gone if len(visible) < len(record.columns) else ()), rows


def _other_parts(job: Job) -> tuple[str, ...]:
    index = load_records.container(job.target)
    if index is None:
        return ()
    saved = {sheet.name for sheet in job.sheets} | {sheet.names[-1] for sheet in job.sheets if sheet.names}
    parts = [row for row in index.rows if not any(row is sheet for sheet in job.sheets)]
    names = [part.names[-1] if isinstance(part, BaseSheet) and part.names else _part_name(part) for part in parts]
    return tuple(name for name in names if name not in saved)


def _part_name(row: Any) -> str:
    first = row[0] if isinstance(row, list | tuple) and row else row
    return str(getattr(first, "filename", None) or getattr(first, "name", None) or first)
