"""What a save would lose, in words, and the question that is asked before it. Pure: facts in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_MAX_NAMES = 3
_MAX_NAME = 40  # Characters of a file's name in a question.


@dataclass(frozen=True)
class Unloaded:
    """Rows of a sheet that are in its file and not in the sheet."""

    sheet: str
    loaded: int
    total: int | None  # Where it can be estimated.
    why: str  # Such as "loading was stopped".


@dataclass(frozen=True)
class Facts:
    """What is known about a save of one file that exists."""

    name: str
    unloaded: tuple[Unloaded, ...] = ()
    changed: str = ""  # Such as "read at 10:02": the file has changed since.
    old_format: str = ""
    new_format: str = ""
    columns: tuple[str, ...] = ()  # Names of columns that were read and are not saved.
    rows: int = 0  # Rows that were read and are not saved.
    tables: tuple[str, ...] = ()  # Sheets or files of a container that are not saved.
    adds: bool = False  # The file is a database, and gets one more table.
    added_to: tuple[str, ...] = ()  # Tables of a database that exist: rows are added to them.


def losses(facts: Facts) -> list[str]:
    """One sentence for each thing that the save would lose or mix up."""
    found = [_unloaded(one) for one in facts.unloaded]
    if facts.changed:
        found.append(f"{facts.name} has changed since it was {facts.changed}; those changes would be lost")
    if facts.tables:
        found.append(f"{_count(len(facts.tables), 'other sheet')} of {facts.name} would be lost: {_list(facts.tables)}")
    if facts.rows:
        found.append(f"{_count(facts.rows, 'row')} of {facts.name} would be lost: this sheet has only some of its rows")
    if facts.columns:
        found.append(f"{_count(len(facts.columns), 'column')} would be lost: {_list(facts.columns)}")
    if facts.old_format and facts.new_format and facts.old_format != facts.new_format:
        found.append(f"{facts.name} is {facts.old_format} and would become {facts.new_format}")
    if facts.added_to:
        found.append(f"rows would be added to what is in the table {_list(facts.added_to)}")
    return found


def overwrite_question(name: str, lost: Sequence[str]) -> str:
    """The question for a file that exists. It is short where nothing would be lost."""
    return f"overwrite {clip(name)} all the same?" if lost else f"{clip(name)} exists. overwrite?"


def add_question(name: str) -> str:
    """The question for a database, which keeps what it has."""
    return f"add to the database {clip(name)}?"


def save_question(name: str) -> str:
    """The question for a new file, where rows are missing."""
    return f"save {clip(name)} without them?"


def still_loading(sheet: str, loaded: int, total: int | None) -> str:
    return f"{sheet} is still loading: {_of(loaded, total)} so far"


def index_refusal(name: str, tables: int, instead: str) -> str:
    """Why the list of a container's sheets must not replace the container, and what to do."""
    return (
        f"{name} is not replaced: this sheet is only the list of its {tables:,} parts. Choose another name, such as "
        f"{instead}; to save the parts, select them (gs) and press gCtrl+S"
    )


def unopened_refusal(name: str, problem: str) -> str:
    """Why a sheet into which nothing could be loaded must not replace its own file."""
    return f"{name} is not replaced: nothing of it is loaded. {problem[:1].upper()}{problem[1:]}"


def clip(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"…{name[1 - _MAX_NAME :]}"


def _unloaded(one: Unloaded) -> str:
    if not one.loaded:
        return f"nothing of {one.sheet} is loaded: {one.why}"
    if one.total is None or one.total <= one.loaded:
        return f"{one.sheet} may not be all that is in its file ({_count(one.loaded, 'row')}): {one.why}"
    missing = _count(one.total - one.loaded, "row")
    return f"about {missing} of {one.sheet} are not loaded ({_of(one.loaded, one.total)}): {one.why}"


def _of(loaded: int, total: int | None) -> str:
    return f"{_count(loaded, 'row')}" if total is None or total <= loaded else f"{loaded:,} of about {total:,} rows"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(clip(name) for name in names[:_MAX_NAMES])
    return shown if len(names) <= _MAX_NAMES else f"{shown} and {len(names) - _MAX_NAMES:,} more"
