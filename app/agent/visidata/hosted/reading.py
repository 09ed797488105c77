"""Cells as the loaders of typed formats give them: dates are dates, text is text, missing is missing, numbers are Python's.

Where a loader takes a type for a column that cannot hold its cells (a time of day as a date, bytes by their length), the
column gets none: the cells themselves have theirs.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

from visidata import (  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
    AttrColumn,
    ItemColumn,
    Progress,
    anytype,
    date,
    vd,
    vlen,
)
from visidata.loaders import arrow  # type: ignore[import-not-found]
from visidata.loaders._pandas import PandasSheet  # type: ignore[import-not-found]
from visidata.loaders.hdf5 import Hdf5ObjSheet  # type: ignore[import-not-found]
from visidata.loaders.npy import NpySheet  # type: ignore[import-not-found]
from visidata.loaders.xlsx import XlsSheet, XlsxSheet  # type: ignore[import-not-found]

from . import plain

_type_of_arrow = arrow.arrow_to_vdtype
_value_of_pandas = PandasSheet.getValue
_rows_of_hdf5, _rows_of_numpy = Hdf5ObjSheet.iterload, NpySheet.iterload
_columns_of_numpy = NpySheet.reloadCols
_add_to_xlsx = XlsxSheet.addColumn


def install() -> None:
    arrow.arrow_to_vdtype = _arrow_type
    PandasSheet.getValue = _pandas_value
    Hdf5ObjSheet.iterload = lambda sheet: _native_rows(sheet, _rows_of_hdf5)
    NpySheet.iterload = lambda sheet: _native_rows(sheet, _rows_of_numpy)
    NpySheet.reloadCols = _numpy_columns
    XlsxSheet.addColumn = _add_xlsx_columns
    XlsSheet.iterload = _xls_rows


def _arrow_type(kind: Any) -> Any:
    pa = vd.importExternal("pyarrow")
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return anytype
    found = _type_of_arrow(kind)
    return anytype if found in (bool, bytes, vlen) else found


# pandas


def _pandas_value(sheet: Any, col: Any, row: Any) -> Any:
    value = plain.native(_value_of_pandas(sheet, col, row))
    return value.date() if isinstance(value, datetime.datetime) and _has_days(sheet, col.expr) else value


def _has_days(sheet: Any, name: str) -> bool:
    """Whether a column holds dates without a time, for which pandas has no kind of its own."""
    column = sheet.df[name]
    found = sheet.__dict__.setdefault("_columns_with_days", {})
    known: tuple[Any, bool] | None = found.get(name)
    if known is None or known[0] is not sheet.df:
        times = getattr(column, "dt", None)
        days = times is not None and times.tz is None and bool((column.dropna() == times.normalize().dropna()).all())
        found[name] = known = (sheet.df, days)
    return known[1]


# numpy and HDF5


def _native_rows(sheet: Any, rows: Callable[[Any], Iterator[Any]]) -> Iterator[Any]:
    for row in rows(sheet):
        # A row of a table is numpy's own, or a list with one cell. Others are sheets.
        listed = isinstance(row, list | tuple) or type(row).__module__ == "numpy"
        yield [plain.decoded(cell) for cell in row] if listed else row


def _numpy_columns(sheet: Any) -> None:
    _columns_of_numpy(sheet)
    if len(sheet.npy.shape) == 1:
        for index, col in enumerate(sheet.columns):
            if col.type is date:  # It would take the text of a date, and that of none.
                sheet.columns[index] = own = ItemColumn(col.name, index, type=date)
                own.recalc(sheet)


# Excel


def _add_xlsx_columns(sheet, *cols, index=None):  # type: ignore[no-untyped-def]
    for col in cols:
        if isinstance(col, AttrColumn) and str(col.expr).endswith(".value"):
            col.getter = _xlsx_value
            col.putValue = _put_xlsx_value.__get__(col)
    return _add_to_xlsx(sheet, *cols, index=index)


def _xlsx_value(col: Any, row: Any) -> Any:
    cell = row.get(str(col.expr).removesuffix(".value"))
    value = getattr(cell, "value", None)
    if isinstance(value, datetime.datetime) and value.time() == plain.MIDNIGHT and _is_day(cell.number_format):
        return value.date()
    return value


def _is_day(number_format: object) -> bool:
    """Whether a format of Excel shows a date without a time."""
    numbers = vd.importExternal("openpyxl.styles.numbers", "openpyxl")
    return bool(numbers.is_datetime(str(number_format)) == "date")


class _Edited:
    """A cell that a person has edited. openpyxl's own cannot be changed."""

    def __init__(self, cell: Any, value: Any) -> None:
        self._cell, self.value = cell, value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._cell, name, None)


def _put_xlsx_value(col: Any, row: Any, value: Any) -> None:
    letter = str(col.expr).removesuffix(".value")
    cell = row.get(letter)
    row[letter] = _Edited(cell._cell if isinstance(cell, _Edited) else cell, value)


def _xls_rows(sheet):  # type: ignore[no-untyped-def]
    xlrd = vd.importExternal("xlrd")
    for rownum in Progress(range(sheet.source.nrows)):
        yield [_xls_value(xlrd, sheet.source.book, cell) for cell in sheet.source.row(rownum)]


def _xls_value(xlrd: Any, book: Any, cell: Any) -> Any:
    value = cell.value
    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            found = xlrd.xldate_as_datetime(value, book.datemode)
        except (ValueError, OverflowError, xlrd.xldate.XLDateError):
            return value
        if value < 1:
            return found.time()
        return found.date() if value == int(value) else found
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return bool(value)
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return xlrd.error_text_from_code.get(value, "#ERROR!")
    if cell.ctype in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK):
        return None
    if cell.ctype == xlrd.XL_CELL_NUMBER and value == value // 1 and abs(value) <= plain.MAX_EXACT:
        return int(value)  # The format has no whole numbers of its own.
    return value
