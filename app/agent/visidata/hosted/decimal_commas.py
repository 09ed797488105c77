"""Numbers with decimal commas, in the columns of a csv that have them: they are numbers for `%`, `#` and `$` too.

Their text stays as it is, on the screen until a type is set, and in files always.
"""

from __future__ import annotations

import re
from typing import Any

from visidata import Column, date, vd, vlen, wrapply  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

from . import sniffing

_typed_value = Column.getTypedValue


def install() -> None:
    Column.getTypedValue = getTypedValue


def getTypedValue(col, row):  # type: ignore[no-untyped-def]  # noqa: N802
    if not _has_commas(col):
        return _typed_value(col, row)
    value = wrapply(col.getValue, row)
    return wrapply(col.type, number_text(col, value) if isinstance(value, str) else value)


def number_text(col: Any, text: str) -> str:
    """The text of a cell as the type of its column reads it."""
    if not _has_commas(col):
        return text
    # The types for whole numbers and floats take nothing but numbers, that for currencies takes other signs too.
    return sniffing.with_decimal_point(text if col.type in (int, float) else re.sub(r"[^\d.,+-]", "", text))


def _has_commas(col: Any) -> bool:
    shape: Any = getattr(col.sheet, "text_shape", None)
    if not isinstance(shape, sniffing.CsvShape) or getattr(col, "expr", None) not in shape.comma_columns:
        return False
    return col.type in vd.numericTypes and col.type not in (date, vlen)
