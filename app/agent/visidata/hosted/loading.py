"""Loads csv, tsv, json, xml and text as they were meant, and says in one line what was taken.

`sniffing` does the guessing. What the person sets (`encoding`, `delimiter`, `csv_*`) is never guessed.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from typing import Any

from visidata import (  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
    CsvSheet,
    Path,
    TsvSheet,
    TypedExceptionWrapper,
    VisiData,
    stacktrace,
)
from visidata.loaders import json as json_loader  # type: ignore[import-not-found]
from visidata.loaders import tsv as tsv_loader
from visidata.loaders.xml import XmlSheet  # type: ignore[import-not-found]

from . import encodings, sniffing

_csv_rows, _tsv_rows = CsvSheet.iterload, TsvSheet.iterload
_save_csv = VisiData.save_csv


def install() -> None:
    CsvSheet.iterload, TsvSheet.iterload = csv_rows, tsv_rows
    XmlSheet.open_text_source = open_xml_text
    VisiData.api(guess_csv)
    VisiData.api(save_csv)
    json_loader.json = _Json()


def note_of(sheet: Any, replaced_bytes: int) -> str:
    """What was taken when the sheet was loaded, or "" where all was as usual."""
    source = sheet.source
    reading = encodings.reading_of(source) if isinstance(source, Path) else None
    return sniffing.describe(reading, getattr(sheet, "text_shape", None), replaced_bytes)


def _head_text(sheet: Any) -> tuple[str, bool]:
    """The beginning of the sheet's text, and whether it is all of it."""
    source = sheet.source
    if source.has_fp() or source.given == "-":
        text = ""
        with sheet.open_text_source() as file:
            for line in file:
                text += line if line.endswith("\n") else line + "\n"
                if len(text) >= sniffing.HEAD_BYTES:
                    return text, False
        return text, True
    head, whole = encodings.head_of(source)
    if encodings.is_set("encoding", sheet, source):
        return sniffing.decode_head(head, sheet.options.encoding), whole
    return sniffing.decode_head(head, sniffing.sniff_encoding(head, whole).encoding), whole


def csv_rows(sheet):  # type: ignore[no-untyped-def]
    sheet.text_shape = None
    options = ("csv_delimiter", "csv_dialect", "csv_quotechar", "delimiter")
    if any(encodings.is_set(option, sheet, sheet.source) for option in options):
        yield from _csv_rows(sheet)
        return
    sheet.text_shape = shape = sniffing.sniff_csv(*_head_text(sheet))
    csv.field_size_limit(2**31 - 1)
    settings = sheet.source.options.getall("csv_") | {"delimiter": shape.delimiter}
    with sheet.open_text_source(newline="") as file:
        lines = (line.replace("\0", "") for line in file) if sheet.options.safety_first else file
        if shape.sep_line:
            next(iter(lines), None)
        reader = csv.reader(lines, **settings)
        while True:
            try:
                row = next(reader)
            except csv.Error as error:
                error.stacktrace = stacktrace()  # type: ignore[attr-defined]  # VisiData shows it for the cell.
                row = [TypedExceptionWrapper(None, exception=error)]
            except StopIteration:
                return
            if row:
                yield row


def tsv_rows(sheet):  # type: ignore[no-untyped-def]
    sheet.text_shape = None
    if any(encodings.is_set(option, sheet, sheet.source) for option in ("delimiter", "row_delimiter")):
        yield from _tsv_rows(sheet)
        return
    shape = sheet.text_shape = sniffing.sniff_tsv(*_head_text(sheet))
    with sheet.open_text_source(newline="") as file:
        skip = getattr(file, "_regex_skip", None)
        lines: Iterator[str] = tsv_loader.splitter(tsv_loader.adaptive_bufferer(file), shape.row_end)
        if skip:
            lines = (line for line in lines if not skip.match(line))
        rows: Iterator[list[Any]]
        if shape.quoted:
            rows = sniffing.split_quoted(lines, shape.row_end)
        else:
            rows = (line.removesuffix("\r").split("\t") for line in lines if line and line != "\r")
        for row in rows:
            if len(row) < sheet.nVisibleCols:  # VisiData's rows are as long as its columns are many.
                row += [None] * (sheet.nVisibleCols - len(row))
            yield row


def guess_csv(vd, p):  # type: ignore[no-untyped-def]
    """A file of an unknown type is a csv where a delimiter splits all its lines alike; loading finds out which."""
    if p.has_fp():
        with p.open() as file:
            text, whole = next(iter(file), ""), True
            found = "," in text
    else:
        head, whole = encodings.head_of(p)
        found = sniffing.has_delimiter(sniffing.decode_head(head, sniffing.sniff_encoding(head, whole).encoding), whole)
    return {"filetype": "csv", "_likelihood": 0} if found else None


def save_csv(vd, p, sheet):  # type: ignore[no-untyped-def]
    """A csv that was read with semicolons is saved with semicolons."""
    shape = getattr(sheet, "text_shape", None)
    names = ("csv_delimiter", "delimiter")
    path = p.options._obj  # The path that a draft stands for.
    if not isinstance(shape, sniffing.CsvShape) or any(encodings.is_set(name, sheet, path) for name in names):
        return _save_csv(vd, p, sheet)
    return _save_csv(vd, _Delimited(p, shape.delimiter), sheet)


class _Delimited:
    """A path, or its options, for a saver of csv. The option itself stays unset: a reload meanwhile would find it."""

    def __init__(self, whole: Any, delimiter: str) -> None:
        self._whole, self._delimiter = whole, delimiter

    @property
    def options(self) -> _Delimited:
        return _Delimited(self._whole.options, self._delimiter)

    def getall(self, prefix: str) -> dict[str, Any]:
        return {**self._whole.getall(prefix), "delimiter": self._delimiter}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


def open_xml_text(sheet, **kwargs):  # type: ignore[no-untyped-def]
    """The text of an XML file, without the declaration of an encoding: it has been decoded already."""
    return _Undeclared(encodings.open_text_source(sheet, **kwargs))  # type: ignore[no-untyped-call]


class _Undeclared:
    def __init__(self, file: Any) -> None:
        self._file = file
        self._begun = False

    def read(self, size: int = -1) -> str:
        text: str = self._file.read(size)
        if not self._begun:
            self._begun = True
            text = re.sub(r"^(\s*<\?xml[^>]{,99}?)\sencoding\s{,9}=\s{,9}(\"[^\"]*\"|'[^']*')", r"\1", text)
        return text

    def __enter__(self) -> _Undeclared:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class _Json:
    r"""The module `json` for VisiData's loader, for which an escape like \ud800 alone is no character."""

    def __getattr__(self, name: str) -> Any:
        return getattr(json, name)

    def loads(self, text: str, **kwargs: Any) -> Any:
        value = json.loads(text, **kwargs)
        return _without_surrogates(value) if "\\ud" in text or "\\uD" in text else value

    def load(self, file: Any, **kwargs: Any) -> Any:
        return self.loads(file.read(), **kwargs)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        value[:] = map(_without_surrogates, value)
    elif isinstance(value, dict):
        items = [(_without_surrogates(key), _without_surrogates(each)) for key, each in value.items()]
        value.clear()
        value.update(items)
    return value
