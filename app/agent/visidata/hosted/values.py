"""What files and copies get of a cell: its full value, as it was read or typed. What the screen gets: dates with their time.

VisiData saves what it displays: floats with two digits, dates without their time, `#ERR` for text that is no number. Here
a display format stays on the screen. Untouched text stays the text that it is, whatever type its column has. Only dates
are written anew, as ISO 8601. Savers of typed formats are in `typed_files.py`, those of text in `text_files.py`.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from typing import Any

from visidata import (  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
    Column,
    Sheet,
    TypedExceptionWrapper,
    TypedWrapper,
    VisiData,
    anytype,
    date,
    vd,
    vlen,
    wrapply,
)
from visidata.column import INPROGRESS  # type: ignore[import-not-found]

from . import decimal_commas, plain


def install() -> None:
    VisiData.date_parse = property(lambda vd: parse_date)
    date.__str__ = _shown_date
    vd.typemap[date].formatter = lambda pattern, value: value.strftime(pattern) if pattern else _shown_date(value)
    vd.typemap[anytype].formatter = lambda pattern, value: _shown(value)
    Column.api(getFullDisplayValue)
    Sheet.api(iterdispvals)
    VisiData.api(get_json_value)


# On the screen


def _dateutil(given: str, **options: Any) -> datetime.datetime:
    # Here and not above: it is slow to import, and few sessions need it.
    from dateutil.parser import parse  # type: ignore[import-untyped]

    value: datetime.datetime = parse(given, **options)
    return value


def parse_date(text: str) -> datetime.datetime:
    return plain.parse_date(text, _dateutil)


def _shown_date(value: datetime.datetime) -> str:
    format = str(vd.options.disp_date_fmt)  # noqa: A001
    return plain.shown(value) if format == vd.options.getdefault("disp_date_fmt") else value.strftime(format)


def _shown(value: object) -> str:
    return plain.duration(value) if isinstance(value, datetime.timedelta) else str(value)


# In files


def typed(col: Any, row: Any) -> Any:
    """The cell's value as a plain Python value of its column's type; text where it is none of that type; None if missing."""
    return _typed_cell(col, _read(col, row))


def text(col: Any, row: Any) -> str:
    """The cell's value as text files get it."""
    given = _read(col, row)
    if isinstance(given, str):
        if col.type is date:
            return plain.date_text(given, _dateutil)
        if col.type is not vlen:
            return given
    return plain.text(_typed_cell(col, given))


def raw(col: Any, row: Any) -> Any:
    """The cell's value as a plain Python value, whatever type its column has."""
    return _read(col, row)


def _read(col: Any, row: Any) -> Any:
    value = wrapply(col.getValue, row)
    if isinstance(value, threading.Thread):  # A column that is computed in the background.
        value.join()
        value = wrapply(col.getValue, row)
    if value is INPROGRESS or isinstance(value, threading.Thread):
        value = wrapply(col.calcValue, row)
    if isinstance(value, TypedExceptionWrapper):  # A formula that failed: there is no value.
        return col.sheet.options.safe_error or str(value.exception)
    if isinstance(value, TypedWrapper):
        return None
    return plain.native(value)


def _typed_cell(col: Any, given: Any) -> Any:
    if not isinstance(given, str):
        return _typed(col.type, given)
    value = _typed(col.type, decimal_commas.number_text(col, given))
    return given if isinstance(value, str) else value


def _typed(kind: Any, value: Any) -> Any:
    if value is None or kind is anytype or kind is None:
        return value
    if kind is str:
        return plain.text(value)
    if isinstance(value, str) and kind in vd.numericTypes and kind not in (date, vlen):
        return plain.number(value, kind)
    if isinstance(value, bool | int | float) and kind in vd.numericTypes and kind not in (date, vlen):
        # No number loses digits, also not one that a type for whole numbers shows without its fraction.
        return int(value) if kind is int and value == value // 1 else value
    if kind is not date or not isinstance(value, datetime.date | datetime.time | datetime.timedelta):
        try:
            value = plain.native(kind(value))
        except Exception:
            return value
    if isinstance(value, date):  # VisiData's own kind, which has no dates without a time.
        whole_day = value.tzinfo is None and value.time() == plain.MIDNIGHT
        return value.date() if whole_day else datetime.datetime.combine(value.date(), value.timetz())
    return value


def getFullDisplayValue(col, row):  # type: ignore[no-untyped-def]  # noqa: N802
    """The text that is copied, and that editing a cell begins with: with that of the screen, a key would round a value."""
    return text(col, row)


def iterdispvals(sheet, *cols, format=False, delimiter=None) -> Iterator[dict[Any, Any]]:  # type: ignore[no-untyped-def]  # noqa: A002
    """For each row its cells by their columns: as text if `format`, else as values."""
    cols = cols or sheet.visibleCols
    safe = sheet.safe_trdict(delimiter=delimiter)  # Of a person who has set `safety_first`.
    for row in sheet.iterrows("saving"):
        if not format:
            yield {col: typed(col, row) for col in cols}
        elif safe:
            yield {col: text(col, row).translate(safe) for col in cols}
        else:
            yield {col: text(col, row) for col in cols}


def get_json_value(vd, col, row):  # type: ignore[no-untyped-def]
    given = _read(col, row)
    if isinstance(given, str) and col.type is date:
        return plain.date_text(given, _dateutil, separator="T")
    return plain.jsonable(_typed_cell(col, given))
