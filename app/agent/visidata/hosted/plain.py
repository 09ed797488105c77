"""Values as files keep them: full, exact and in plain Python types. Pure: knows neither VisiData nor any library.

`text()` is the one text form of a value: the shortest text that reads back as the same value. Numbers keep every digit,
dates and times are ISO 8601 with their offset, durations are hours, minutes and seconds.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

MAX_EXACT = 2**53  # Integers up to here are exact in a double, the only number of spreadsheets and of JavaScript.
MIDNIGHT = datetime.time()
ISO = re.compile(r"\s*\d{4}-\d\d-\d\d(?!\d)")
DAY_FIRST = re.compile(r"\s*\d{1,2}\.\d{1,2}\.\d{2,4}(?!\d)(?!\.)")
TRUTH = {"true": True, "false": False}


def is_missing(value: object) -> bool:
    """Whether a value is missing: None, NaN, and the NA and NaT of pandas and numpy."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str | bytes | list | tuple | dict):
        return False
    try:
        return bool(value != value)  # NaN alone is not equal to itself.
    except Exception:  # An array compares to an array.
        return False


def native(value: Any) -> Any:
    """Scalars and arrays of numpy, and missing values of any library, as plain Python values."""
    if type(value).__module__ != "numpy":
        return None if is_missing(value) else value
    if getattr(value, "shape", None):
        return [native(one) for one in value.tolist()]
    if is_missing(value):
        return None
    kind = value.dtype.kind
    if kind == "f" and value.dtype.itemsize < 8:
        return float(str(value))  # Its shortest digits, not those of the double that is nearest to it.
    if kind in "mM":
        coarse = value.astype(f"{kind}8[us]")
        if coarse != value or not isinstance(coarse.item(), datetime.date | datetime.timedelta):
            return str(value)  # Finer than a microsecond, or outside the years of Python.
        return coarse.item()
    return native(value.item())


def decoded(value: Any) -> Any:
    """A native value of a format that keeps text as bytes; other bytes stay as they are."""
    value = native(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return [decoded(one) for one in value] if isinstance(value, list) else value


def text(value: Any) -> str:
    """The text of a value in a file. A missing value has none."""
    value = native(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, datetime.datetime):
        return str(value.isoformat(" "))
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return duration(value)
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return "0x" + bytes(value).hex()
    if isinstance(value, dict | list | tuple):
        return json.dumps(jsonable(value), ensure_ascii=False)
    return str(value)


def duration(value: datetime.timedelta) -> str:
    """Hours, minutes and seconds, as spreadsheets and databases read them: `26:03:04`, `-0:00:05.5`."""
    exact = value // datetime.timedelta(microseconds=1)
    nanoseconds = getattr(value, "nanoseconds", 0)  # Of pandas.
    total = abs(exact * 1000 + nanoseconds)
    seconds, fraction = divmod(total, 10**9)
    digits = f"{fraction:09}".rstrip("0")
    sign = "-" if exact * 1000 + nanoseconds < 0 else ""
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (f".{digits}" if digits else "")


def jsonable(value: Any) -> Any:
    """The value as JSON can hold it, exactly: what JSON has no kind for becomes its text, a missing value null."""
    value = native(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else text(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [jsonable(one) for one in value]
    return text(value)


def number(given: str, kind: Callable[[str], Any]) -> Any:
    """The number that a text holds for a numeric type, or the text where it holds none or would lose digits."""
    try:
        value = kind(given)
    except Exception:
        return given
    if not isinstance(value, float):
        return value
    try:
        whole = int(given)
    except ValueError:
        return value
    return whole if abs(whole) > MAX_EXACT and whole != value else value


def as_float(value: Decimal) -> float | Decimal:
    """A decimal number as a float if that has the same digits."""
    number = float(value)
    return number if math.isfinite(number) and Decimal(repr(number)) == value else value


def shown(value: datetime.datetime) -> str:
    """A date for the screen: with its time of day and offset, unless it has neither."""
    if value.tzinfo is None and value.time() == MIDNIGHT:
        return value.date().isoformat()
    return value.isoformat(" ")


def parse_date(given: str, parse: Callable[..., datetime.datetime]) -> datetime.datetime:
    """The date of a text; with dots, the day comes first. `parse` is dateutil's, for all that is not ISO 8601."""
    if ISO.match(given):
        try:
            return datetime.datetime.fromisoformat(given.strip())
        except ValueError:
            pass
    if DAY_FIRST.match(given):
        return parse(given, dayfirst=True)
    return parse(given)


def date_text(given: str, parse: Callable[..., datetime.datetime], separator: str = " ") -> str:
    """What a file keeps of a text in a column of dates: ISO 8601, or the text itself if it is no whole date.

    dateutil fills what is missing from today, such as the year of "5 March" or all but the day of "7".
    """
    if ISO.match(given):
        return given
    try:
        value = parse_date(given, parse)
        years = {
            parse_date(given, lambda *args, year=year, **options: parse(*args, default=year, **options)).year
            for year in (datetime.datetime(2000, 1, 1), datetime.datetime(2004, 1, 1))
        }
    except Exception:
        return given
    return shown(value).replace(" ", separator) if len(years) == 1 else given


def unique(names: Iterable[str], key: Callable[[str], str] = str) -> list[str]:
    """Names with a number added to each that was there before, for formats that know columns by their names alone.

    `key`: what tells names apart there.
    """
    taken: set[str] = set()
    result = []
    for name in names:
        own, count = name, 1
        while key(own) in taken:
            count += 1
            own = f"{name}_{count}"
        taken.add(key(own))
        result.append(own)
    return result


def needs_quotes(cell: str, separator: str) -> bool:
    """Whether a cell of a .tsv would be read as several cells or rows, or as a quoted one, if it stood there as it is."""
    return cell.startswith('"') or separator in cell or "\n" in cell or "\r" in cell


def quoted(cell: str) -> str:
    """The cell as spreadsheets write it into a .tsv where it needs quotes."""
    return '"' + cell.replace('"', '""') + '"'
