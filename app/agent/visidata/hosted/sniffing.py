"""Guess what a text file is from its first 64 KiB: encoding, delimiter, quoting, line ends. Pure: no I/O, no VisiData.

UTF-8 stays UTF-8: bytes that are valid UTF-8 are read as another encoding only where most are the zeros of UTF-16, or
where all are ASCII and the text declares another. A comma stays the delimiter of a csv unless another one splits the
rows better.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import legacy

HEAD_BYTES = 65536
SAMPLE_ROWS = 1000
# A quoted cell of a tsv spans at most this many lines, else its quote is taken for text.
MAX_CELL_LINES = 1000
# After this many quotes that never close, quotes are text in the rest of the file.
MAX_OPEN_QUOTES = 20

NAMES = {
    "cp1251": "Windows-1251",
    "cp1252": "Windows-1252",
    "cp866": "DOS Cyrillic (cp866)",
    "cp932": "Shift JIS",
    "cp949": "EUC-KR",
    "euc_jp": "EUC-JP",
    "koi8_r": "KOI8-R",
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
}
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # Before UTF-16, whose mark it begins with.
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)|<meta[^>]*?charset\s*=\s*[\"']?([\w.:-]+)", re.I)
# A quote or a line end is no delimiter.
_SEP_LINE = re.compile(r"\"?sep=([^\"\r\n\0])\"?(?:\r\n|\r|\n)", re.I)
_DECIMAL_COMMA = re.compile(r"[-+]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+")
_GROUPED = re.compile(r"[-+]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d+)?")
_DECIMAL_POINT = re.compile(r"[-+]?\d*\.\d+")
_QUOTED_FIELD = re.compile(r'"((?:[^"]|"")*+)"')


@dataclass(frozen=True)
class Reading:
    """How the bytes become text: the codec, and whether it is a mere guess."""

    encoding: str
    guessed: bool = False

    @property
    def name(self) -> str:
        """The encoding's name as people know it."""
        return NAMES.get(self.encoding, self.encoding.upper())


@dataclass(frozen=True)
class CsvShape:
    """How the text of a csv becomes rows. `sep_line`: its first line names the delimiter and is no data."""

    delimiter: str = ","
    sep_line: bool = False
    comma_columns: frozenset[int] = frozenset()  # Those whose numbers have decimal commas, counted from 0.


@dataclass(frozen=True)
class TsvShape:
    """How the text of a tsv becomes rows. `quoted`: cells with tabs or line ends are in quotes."""

    quoted: bool = False
    row_end: str = "\n"


def sniff_encoding(head: bytes, whole: bool) -> Reading:
    """The encoding of a file that begins with `head`. `whole`: there is no more of it."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return Reading(encoding)
    if wide := _wide_encoding(head):
        return Reading(wide)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, whole)
    except UnicodeDecodeError:
        pass
    else:
        if head.isascii() and (declared := _declared_encoding(head)):
            return Reading(declared)  # Characters beyond ASCII may follow.
        return Reading("utf-8")
    if declared := _declared_encoding(head):
        return Reading(declared)
    text = head.decode("utf-8", "surrogateescape")
    invalid = sum("\udc80" <= character <= "\udcff" for character in text)
    valid = sum(character > "\x7f" for character in text) - invalid
    return Reading("utf-8") if valid > 4 * invalid else Reading(legacy.guess(head), guessed=True)


def decode_head(head: bytes, encoding: str, errors: str = "replace") -> str:
    """The text of `head`, whose last character may be incomplete."""
    return codecs.getincrementaldecoder(encoding)(errors).decode(head)


def sniff_csv(text: str, whole: bool) -> CsvShape:
    """The shape of a csv that begins with `text`."""
    found = _SEP_LINE.match(text)
    if found:
        text = text[found.end() :]
    delimiter = found[1] if found else _best_delimiter(text, whole)
    columns = () if delimiter == "," else itertools.zip_longest(*_csv_sample(text, delimiter, whole), fillvalue="")
    return CsvShape(
        delimiter, bool(found), frozenset(i for i, cells in enumerate(columns) if _has_decimal_commas(cells))
    )


def with_decimal_point(text: str) -> str:
    """A number of a column with decimal commas as Python reads it; any other text unchanged."""
    number = text.strip()
    return number.replace(".", "").replace(",", ".") if _GROUPED.fullmatch(number) else text


def has_delimiter(text: str, whole: bool) -> bool:
    """Whether text of an unknown kind is a table: every row is split into as many cells as the first."""
    shape = sniff_csv(text, whole)
    return shape.sep_line or _score(_csv_sample(text, shape.delimiter, whole)) == 1


def sniff_tsv(text: str, whole: bool) -> TsvShape:
    """The shape of a tsv that begins with `text`. Quotes are text unless they must be meant otherwise."""
    row_end = "\r" if "\r" in text and "\n" not in text else "\n"
    lines = text.split(row_end)
    if not whole:
        lines.pop()
    lines = [line for line in lines if line]
    if not any(line.startswith('"') or '\t"' in line for line in lines):
        return TsvShape(False, row_end)
    records = _Records(iter(lines), row_end)
    rows = list(records)
    if records.open_quotes > (0 if whole else 1) or records.ill_formed:
        return TsvShape(False, row_end)
    plain = [line.removesuffix("\r").split("\t") for line in lines]
    proven = (records.spanning and _score(rows) > _score(plain)) or (records.doubled and _score(rows) >= _score(plain))
    return TsvShape(proven or _quotes_a_column(plain), row_end)


def split_quoted(lines: Iterable[str], row_end: str) -> Iterator[list[str]]:
    """The rows of a tsv whose cells may be quoted, from its lines, which have lost their `row_end`."""
    return iter(_Records(iter(lines), row_end))


def describe(reading: Reading | None, shape: CsvShape | TsvShape | None, replaced_bytes: int = 0) -> str:
    """One line that says what was taken, or "" where all is as usual."""
    parts = []
    if reading and reading.name != "UTF-8":
        parts.append(f"read as {reading.name}{' (a guess; zO encoding changes it)' if reading.guessed else ''}")
    if isinstance(shape, CsvShape):
        if shape.delimiter != ",":
            parts.append(f"{DELIMITERS.get(shape.delimiter, repr(shape.delimiter))}-separated")
        if shape.comma_columns:
            parts.append("decimal commas")
    if isinstance(shape, TsvShape) and shape.quoted:
        parts.append("quoted cells")
    line = ", ".join(parts)
    if reading and reading.name != "UTF-8":
        line += "; saves as UTF-8"
    if replaced_bytes and not (reading and reading.guessed):
        count = f"{replaced_bytes} {'byte is' if replaced_bytes == 1 else 'bytes are'}"
        name = reading.name if reading else "UTF-8"
        line += f"{'; ' if line else ''}{count} not {name}, read as Windows-1252"
    return line


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 without a mark: Latin text has a zero in every second byte."""
    pairs = len(head) // 2
    if pairs < 2:
        return None
    low, high = head[: 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if high > 0.6 * pairs and low < 0.05 * pairs:
        return "utf-16-le"
    if low > 0.6 * pairs and high < 0.05 * pairs:
        return "utf-16-be"
    return None


def _declared_encoding(head: bytes) -> str | None:
    """The encoding that XML or HTML declares, as browsers understand it; None where it cannot be true."""
    if head.lstrip()[:1] != b"<" or not (found := _DECLARED.search(head[:4096])):
        return None
    name = (found[1] or found[2]).decode("ascii", "replace")
    try:
        encoding = codecs.lookup(name).name
        ascii_stays = b"<".decode(encoding) == "<" and "<".encode(encoding) == b"<"
    except (LookupError, UnicodeError):
        return None
    if not ascii_stays or encoding.startswith("utf-8"):  # The bytes are no UTF-16, whatever they say.
        return None
    return "cp1252" if encoding in ("iso8859-1", "ascii") else encoding


def _csv_sample(text: str, delimiter: str, whole: bool) -> list[list[str]]:
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t")
        for row in reader:
            rows.append(row)
            if len(rows) > SAMPLE_ROWS:
                break
    if len(rows) > 1 and (len(rows) > SAMPLE_ROWS or not whole):
        rows.pop()  # It may be cut off.
    return [row for row in rows if row]


def _best_delimiter(text: str, whole: bool) -> str:
    samples = {delimiter: _csv_sample(text, delimiter, whole) for delimiter in DELIMITERS if delimiter in text}
    scores = {delimiter: _score(rows) for delimiter, rows in samples.items()}
    best = max(scores, key=lambda delimiter: scores[delimiter], default=",")
    if best == ",":
        # Another delimiter that splits every row alike is meant where each comma is in a number.
        rivals = (one for one, score in scores.items() if one != "," and score == scores[","])
        return next((one for one in rivals if _has_only_decimal_commas(samples[one])), ",")
    return best if scores[best] > max(0.5, scores.get(",", 0)) else ","


def _has_decimal_commas(cells: Iterable[str]) -> bool:
    numbers = [cell.strip() for cell in cells]
    return any(map(_DECIMAL_COMMA.fullmatch, numbers)) and all(
        _GROUPED.fullmatch(number) for number in numbers if _DECIMAL_POINT.fullmatch(number)
    )


def _has_only_decimal_commas(rows: list[list[str]]) -> bool:
    """Whether all commas are between digits, the columns' names aside."""
    return len(rows) > 1 and not any("," in re.sub(r"(?<=\d),(?=\d)", "", cell) for row in rows[1:] for cell in row)


def _score(rows: list[list[str]]) -> float:
    """From 0 to 1: the share of rows with as many cells as most have; half of it where the first row differs."""
    if not rows:
        return 0
    (cells, times), *_ = Counter(map(len, rows)).most_common(1)
    if cells < 2:
        return 0
    return times / len(rows) * (1 if len(rows[0]) == cells else 0.5)


def _quotes_a_column(rows: list[list[str]]) -> bool:
    """Whether a column is quoted throughout, its name included, as writers do that quote all text."""
    if len(rows) < 2:
        return False
    for column in range(len(rows[0])):
        cells = [row[column] for row in rows if column < len(row) and row[column]]
        if cells and rows[0][column] and all(len(cell) > 1 and _QUOTED_FIELD.fullmatch(cell) for cell in cells):
            return True
    return False


def _ends_cell(line: str, at: int) -> bool:
    return line[at : at + 1] in ("", "\t") or line[at:] == "\r"


class _Records:
    """Iterates over the rows of a quoted tsv, and counts the proofs that it is one."""

    def __init__(self, lines: Iterator[str], row_end: str) -> None:
        self._lines = lines
        self._row_end = row_end
        self._again: list[str] = []  # Lines that were read ahead, the next one last.
        self.open_quotes = 0  # Cells that begin with a quote which is never closed.
        self.ill_formed = 0  # Cells in which more text follows the closing quote.
        self.spanning = False  # A quoted cell contains a tab or a line end.
        self.doubled = False  # A quoted cell contains a quote, doubled.

    def __iter__(self) -> Iterator[list[str]]:
        while (line := self._next()) is not None:
            if not line:
                continue
            row = self._split(line) if '"' in line and self.open_quotes <= MAX_OPEN_QUOTES else None
            yield line.removesuffix("\r").split("\t") if row is None else row

    def _next(self) -> str | None:
        return self._again.pop() if self._again else next(self._lines, None)

    def _split(self, line: str) -> list[str] | None:
        """The cells of the record that begins with `line`, or None where its quotes are text."""
        cells: list[str] = []
        at = 0
        while True:
            end = line.find("\t", at)
            end = len(line) if end < 0 else end
            if line.startswith('"', at):
                found = _QUOTED_FIELD.match(line, at)
                if found is None:
                    if (whole := self._read_cell(line[at:])) is None:
                        return None
                    line = line[:at] + whole
                    continue
                if _ends_cell(line, found.end()):
                    text, end = found[1], found.end()
                    self.spanning |= "\t" in text or self._row_end in text
                    self.doubled |= '""' in text
                    cells.append(text.replace('""', '"'))
                    if line[end:] in ("", "\r"):
                        return cells
                    at = end + 1
                    continue
                self.ill_formed += 1
            cells.append(line[at:end])
            if end == len(line):
                cells[-1] = cells[-1].removesuffix("\r")
                return cells
            at = end + 1

    def _read_cell(self, start: str) -> str | None:
        """`start` with the lines that its first cell needs to be closed, or None, and they are read again."""
        parts = [start]
        while len(parts) <= MAX_CELL_LINES and (line := self._next()) is not None:
            parts.append(line)
            if line.count('"') % 2:
                cell = self._row_end.join(parts)
                if (found := _QUOTED_FIELD.match(cell)) and _ends_cell(cell, found.end()):
                    return cell
                break
        self._again += reversed(parts[1:])
        self.open_quotes += 1
        return None
