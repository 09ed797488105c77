"""Savers of formats whose columns or cells have types: .xlsx, .parquet, .arrow, .dta, .npy.

A cell keeps its type. A column that holds values of several kinds where the format takes only one is saved as text, and
a message names it: nothing is left out, and no save fails for one cell.
"""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from visidata import VisiData, date, vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

from . import plain, values
from .text_files import column_names

XLSX_ROWS, XLSX_TEXT = 2**20, 2**15 - 1  # What one sheet and one cell of Excel can hold.
XLSX_FIRST_YEAR = 1900


def install() -> None:
    VisiData.api(save_xlsx)
    VisiData.api(save_parquet)
    VisiData.api(save_arrow)
    VisiData.api(save_arrows)
    VisiData.api(save_dta)
    VisiData.api(save_npy)


def _as_text(col: Any, sheet: Any, cells: Sequence[Any]) -> list[str | None]:
    """The column as text, which a message says: one type of the format cannot hold all of its cells."""
    texts = [values.text(col, row) for row in sheet.iterrows("saving")]
    kinds = Counter(type(cell) for cell in cells if cell is not None)
    odd = kinds.most_common()[-1][0]  # The rarest kind is the most telling one.
    example = next(text for cell, text in zip(cells, texts, strict=True) if type(cell) is odd)
    vd.warning(
        f"column `{col.name}` is saved as text: no one type can hold all of its values, such as {example[:30]!r}"
    )
    return [None if cell is None else text for cell, text in zip(cells, texts, strict=True)]


# Excel


def save_xlsx(vd, p, *sheets):  # type: ignore[no-untyped-def]
    openpyxl = vd.importExternal("openpyxl")
    cells = vd.importExternal("openpyxl.cell.cell", "openpyxl")

    workbook = openpyxl.Workbook(write_only=True)
    for vs in sheets:
        if vs.nRows >= XLSX_ROWS:
            vd.fail(f"{vs.name} has {vs.nRows:,} rows, and a sheet of Excel at most {XLSX_ROWS - 1:,}: save it as .csv")
        if vs.xls_name != vs.names[-1]:
            vd.warning(f"saving {vs.name} as {vs.xls_name}")
        sheet = workbook.create_sheet(title=vs.xls_name)
        lost: dict[str, int] = {}

        def cell(name: str, value: Any, sheet: Any = sheet, lost: dict[str, int] = lost) -> Any:
            value = xlsx_value(value)
            if isinstance(value, float) and float(f"{value:.16g}") != value:
                made = cells.WriteOnlyCell(sheet, value)
                made._value = repr(value)  # openpyxl writes 16 digits.
                return made
            if not isinstance(value, str):
                return value
            clean = cells.ILLEGAL_CHARACTERS_RE.sub(" ", value)[:XLSX_TEXT]
            if clean != value:
                lost[name] = lost.get(name, 0) + 1
            made = cells.WriteOnlyCell(sheet, clean)
            made.data_type = "s"  # Text that begins with = is no formula.
            return made

        sheet.append([cell(col.name, col.name) for col in vs.visibleCols])
        for row in vs.iterdispvals(format=False):
            sheet.append([cell(col.name, value) for col, value in row.items()])
        for name, count in lost.items():
            vd.warning(f"column `{name}`: {count} cells hold more, or other characters, than Excel can; they are cut")
    workbook.save(filename=p)


def xlsx_value(value: Any) -> Any:
    """The value as Excel can hold it exactly, else its text."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Decimal):
        value = plain.as_float(value)
    if isinstance(value, int):
        return value if abs(value) <= plain.MAX_EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else plain.text(value)
    if isinstance(value, datetime.timedelta):
        return value if value >= datetime.timedelta() else plain.text(value)  # Excel shows no negative times.
    if isinstance(value, datetime.datetime | datetime.time) and not (
        value.tzinfo or value.microsecond % 1000 or _nanoseconds(value)
    ):
        return value if isinstance(value, datetime.time) or value.year > XLSX_FIRST_YEAR else plain.text(value)
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime) and value.year > XLSX_FIRST_YEAR:
        return value
    return plain.text(value)


def _nanoseconds(value: Any) -> int:
    return int(getattr(value, "nanosecond", 0))  # Of pandas.


# Arrow


def save_parquet(vd, p, sheet):  # type: ignore[no-untyped-def]
    parquet = vd.importExternal("pyarrow.parquet", "pyarrow")
    table = arrow_table(sheet)
    with p.open_bytes(mode="w") as file:
        parquet.write_table(table, file)


def save_arrow(vd, p, sheet, streaming=False):  # type: ignore[no-untyped-def]
    arrow = vd.importExternal("pyarrow")
    table = arrow_table(sheet)
    with p.open_bytes(mode="w") as file:
        make = arrow.ipc.new_stream if streaming else arrow.ipc.new_file
        with make(file, table.schema) as writer:
            writer.write_table(table)


def save_arrows(vd, p, sheet):  # type: ignore[no-untyped-def]
    return vd.save_arrow(p, sheet, streaming=True)


def arrow_table(sheet: Any) -> Any:
    """The sheet as a table of pyarrow, each column of the type that it was read as if its cells are still of that type."""
    arrow = vd.importExternal("pyarrow")
    cols = sheet.visibleCols
    cells: list[list[Any]] = [[] for _ in cols]
    for row in sheet.iterrows("saving"):
        for col, column in zip(cols, cells, strict=True):
            column.append(_arrow_cell(col, row))
    arrays, fields = [], []
    for col, name, column in zip(cols, column_names(cols, "this format"), cells, strict=True):
        array = arrow_array(arrow, column, _arrow_types(arrow, col, column))
        if array is None:
            array = arrow.array(_as_text(col, sheet, column), arrow.string())
        arrays.append(array)
        fields.append(arrow.field(name, array.type))
    schema = arrow.schema(fields, metadata=_geo_metadata(sheet, cols))
    return arrow.Table.from_arrays(arrays, schema=schema)


def _arrow_cell(col: Any, row: Any) -> Any:
    shape = values.typed(col, row)
    return shape.wkb if hasattr(shape, "wkb") else shape


def _geo_metadata(sheet: Any, cols: Sequence[Any]) -> dict[bytes, bytes] | None:
    """GeoParquet's note on the columns with shapes, while all of those that it names are there."""
    table = getattr(sheet, "tbl", None)
    note = (table.schema.metadata or {}).get(b"geo") if table is not None else None
    shapes = [col for col in getattr(sheet, "columns", []) if type(col).__name__ == "GeometryColumn"]
    return {b"geo": note} if note and all(col in cols for col in shapes) else None


def _arrow_types(arrow: Any, col: Any, cells: Sequence[Any]) -> list[Any]:
    """The types to try, the best first. None lets pyarrow find one."""
    types = []
    read_as = getattr(getattr(col, "source", None), "type", None)  # Of a column of a .parquet.
    if read_as is None and hasattr(col.sheet, "coldata") and isinstance(col.expr, int):  # Of an .arrow.
        read_as = col.sheet.coldata.schema.types[col.expr]
    if isinstance(read_as, arrow.DataType):
        types.append(read_as)
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int} and kinds:
        types += [arrow.int64(), arrow.uint64()]
    elif kinds and kinds <= {int, float}:
        types.append(arrow.float64())
    elif kinds <= {str}:
        types.append(arrow.string())
    elif all(issubclass(kind, datetime.datetime) for kind in kinds):
        aware = {bool(cell.tzinfo) for cell in cells if cell is not None}
        if len(aware) == 1:
            zone = "UTC" if True in aware else None
            types += [arrow.timestamp("us", zone), arrow.timestamp("ns", zone)]
    elif str not in kinds or len(kinds) == 1:
        types.append(None)
    if col.type is date and kinds == {datetime.date, datetime.datetime}:
        types.append(arrow.timestamp("us"))
    return types


def arrow_array(arrow: Any, cells: Sequence[Any], types: Sequence[Any]) -> Any:
    """The cells as an array of the first of the types that keeps each of them; None if none does."""
    for kind in types:
        if kind is not None and arrow.types.is_boolean(kind):
            # A cell that was edited is text.
            cells = [plain.TRUTH.get(cell.lower(), cell) if isinstance(cell, str) else cell for cell in cells]
        try:
            array = arrow.array(cells, type=kind)
        except (arrow.ArrowException, TypeError, ValueError, OverflowError):
            continue
        if kind is not None and arrow.types.is_floating(kind):
            pairs = zip(array.to_pylist(), cells, strict=True)
            if any(isinstance(cell, int) and kept != cell for kept, cell in pairs):
                continue  # A whole number too large for it.
        return array
    return None


# Stata and numpy


def save_dta(vd, p, *sheets):  # type: ignore[no-untyped-def]
    """Only the first sheet: the format holds one table."""
    pandas = vd.importExternal("pandas")
    numpy = vd.importExternal("numpy")
    sheet = sheets[0]
    if len(sheets) > 1:
        vd.warning(f"a .dta file holds one table: only {sheet.name} is saved")
    cols = sheet.visibleCols
    columns = [_column(numpy, col, sheet, missing_text=True) for col in cols]
    frame = pandas.DataFrame(dict(zip(column_names(cols, "Stata"), columns, strict=True)))
    frame.to_stata(p, version=118, write_index=False)


def save_npy(vd, p, sheet):  # type: ignore[no-untyped-def]
    numpy = vd.importExternal("numpy")
    cols = sheet.visibleCols
    columns = [_column(numpy, col, sheet, missing_text=False) for col in cols]
    kinds = [(name, column.dtype) for name, column in zip(column_names(cols, "numpy"), columns, strict=True)]
    table = numpy.empty(sheet.nRows, dtype=kinds)
    for (name, _), column in zip(kinds, columns, strict=True):
        table[name] = column
    with p.open_bytes(mode="w") as file:
        numpy.save(file, table, allow_pickle=False)


def _column(numpy: Any, col: Any, sheet: Any, missing_text: bool) -> Any:
    """A column as an array: of numbers or times if all of its cells are, else of text (as objects if `missing_text`)."""
    cells = [values.typed(col, row) for row in sheet.iterrows("saving")]
    kinds = {type(cell) for cell in cells if cell is not None}
    gaps = None in cells
    if kinds == {bool} and not gaps:
        return numpy.array(cells, dtype=bool)
    if kinds == {int} and not gaps and all(abs(cell) < 2**63 for cell in cells):
        return numpy.array(cells, dtype="i8")
    if kinds and kinds <= {int, float} and all(abs(cell) <= plain.MAX_EXACT for cell in cells if type(cell) is int):
        return numpy.array([math.nan if cell is None else cell for cell in cells], dtype="f8")
    if kinds and all(issubclass(kind, datetime.date) for kind in kinds) and not any(map(_needs_text, cells)):
        return numpy.array(cells, dtype="M8[us]")
    texts = _as_text(col, sheet, cells) if kinds - {str} else cells
    return numpy.array([text or "" for text in texts], dtype=object if missing_text else str)


def _needs_text(cell: Any) -> bool:
    return bool(getattr(cell, "tzinfo", None)) or bool(_nanoseconds(cell))
