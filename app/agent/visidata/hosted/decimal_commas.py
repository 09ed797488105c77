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
    shape: Any = getattr(col.sheet, "text_shape", None)
    if not isinstance(shape, sniffing.CsvShape) or getattr(col, "expr", None) not in shape.comma_columns:
        return _typed_value(col, row)
    if col.type not in vd.numericTypes or col.type in (date, vlen):
        return _typed_value(col, row)
    value = wrapply(col.getValue, row)
    if isinstance(value, str):
        # The types for whole numbers and floats take nothing but numbers, that for currencies takes other signs too.
        text = value if col.type in (int, float) else re.sub(r"[^\d.,+-]", "", value)
        value = sniffing.with_decimal_point(text)
    return wrapply(col.type, value)
