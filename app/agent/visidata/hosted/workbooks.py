"""Excel workbooks: all cells that are there, whatever the sheet says of its size, and formulas without results named."""

from __future__ import annotations

import threading
from typing import Any

from visidata import AttrDict, Progress, vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
from visidata.loaders import xlsx  # type: ignore[import-not-found]

_missing = threading.local()  # A sheet is loaded by one thread.


def install() -> None:
    xlsx.XlsxIndexSheet.iterload = sheets_of
    xlsx.XlsxSheet.iterload = rows_of


def sheets_of(index):  # type: ignore[no-untyped-def]
    openpyxl = vd.importExternal("openpyxl")
    _notice_formulas()
    # By an open file, since openpyxl refuses names that do not end in .xlsx.
    file = index.source._path.open("rb")
    index.workbook = openpyxl.load_workbook(file, data_only=True, read_only=True)
    for name in index.workbook.sheetnames:
        yield xlsx.XlsxSheet(index.name, name, source=index.workbook[name], workbook=index.workbook)


def rows_of(sheet):  # type: ignore[no-untyped-def]
    from openpyxl.utils.cell import get_column_letter  # type: ignore[import-untyped]

    _missing.results = 0
    worksheet = sheet.source
    total = worksheet.max_row or 0
    worksheet.reset_dimensions()
    letters: list[str] = []
    for row in Progress(worksheet.iter_rows(), total=total):
        letters += (get_column_letter(number) for number in range(len(letters) + 1, len(row) + 1))
        yield AttrDict(zip(letters, row, strict=False))
    if count := _missing.results:
        sheet.load_problem = f"{count:,} formula{'s have' if count > 1 else ' has'} no stored result"
        vd.warning(f"{sheet.load_problem}: open the file in a spreadsheet program and save it there")


def _notice_formulas() -> None:
    """Have openpyxl count the formulas whose results no program has stored: their cells are empty."""
    from openpyxl.worksheet import _read_only  # type: ignore[import-untyped]
    from openpyxl.worksheet._reader import (  # type: ignore[import-untyped]
        FORMULA_TAG,
        VALUE_TAG,
        WorkSheetParser,
    )

    if _read_only.WorkSheetParser is not WorkSheetParser:
        return

    class Parser(WorkSheetParser):  # type: ignore[misc]
        def parse_cell(self, element: Any) -> Any:
            cell = super().parse_cell(element)
            formula = cell["value"] is None and element.find(FORMULA_TAG) is not None
            # A result may be an empty text.
            if formula and not (element.get("t") == "str" and element.find(VALUE_TAG) is not None):
                _missing.results = getattr(_missing, "results", 0) + 1
            return cell

    _read_only.WorkSheetParser = Parser
