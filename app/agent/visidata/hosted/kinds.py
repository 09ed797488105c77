"""What kind of file bytes are, whatever the file's name says. Needs a file to read from; knows nothing of VisiData."""

from __future__ import annotations

import re
import struct
import zipfile
from typing import IO, NamedTuple

from . import sniffing

MAX_SECTORS = 64  # Of the directory of an OLE file: 256 entries and more.

# The first bytes of each kind. A kind is the extension that VisiData opens it by, where it has one.
_MAGIC = (
    (b"SQLite format 3\0", "sqlite"),
    (b"PAR1", "parquet"),
    (b"PARE", "encrypted"),
    (b"ARROW1", "arrow"),
    (b"\x89HDF\r\n\x1a\n", "h5"),
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
)
COMPRESSED = {"gz", "bz2", "xz", "zst"}
# Possessive, so that no text takes long to be found not to match.
_HTML = re.compile(
    r"(?:<\?xml[^>]*+>)?+\s*+(?:<!--(?:(?!-->).)*+-->\s*+)*+<(?:!doctype\s+html|html|head|body|table|meta)\b",
    re.I | re.S,
)

NAMES = {
    "arrow": "Arrow",
    "bz2": "compressed (bzip2)",
    "csv": "CSV",
    "gz": "compressed (gzip)",
    "h5": "HDF5",
    "html": "HTML",
    "json": "JSON",
    "jsonl": "JSON lines",
    "ods": "an OpenDocument spreadsheet",
    "parquet": "Parquet",
    "pdf": "PDF",
    "png": "a PNG picture",
    "sqlite": "SQLite",
    "tsv": "TSV",
    "txt": "text",
    "xls": "Excel (xls)",
    "xlsb": "Excel (xlsb)",
    "xlsx": "Excel (xlsx)",
    "xml": "XML",
    "xz": "compressed (xz)",
    "zip": "a zip archive",
    "zst": "compressed (Zstandard)",
}
_CLAIMS = {"db": "sqlite", "sqlite3": "sqlite", "hdf5": "h5", "xlsm": "xlsx", "htm": "html", "ndjson": "jsonl"}
_BINARY = {"xlsx", "xls", "xlsb", "ods", "zip", "sqlite", "parquet", "arrow", "h5", "png", "pdf"}
_TEXT = {"csv", "tsv", "json", "jsonl", "txt", "xml", "html"}


class Plan(NamedTuple):
    """How to open a file: by which type (None: as its name says), and what to say about it first."""

    filetype: str | None = None
    says: str = ""
    problem: str = ""  # Why it cannot be opened at all.


def identify(file: IO[bytes]) -> str:
    """The kind of a seekable file: an extension, or "ole", "encrypted", "empty", "damaged" or "unknown"."""
    head = file.read(sniffing.HEAD_BYTES + 1)
    if not head:
        return "empty"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return _zip_kind(file)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _ole_kind(file, head)
    whole = len(head) <= sniffing.HEAD_BYTES
    head = head[: sniffing.HEAD_BYTES]
    text = sniffing.decode_head(head, sniffing.sniff_encoding(head, whole).encoding)
    if len(re.findall(r"[\0-\x08\x0e-\x1a\x1c-\x1f]", text)) > len(text) // 100:
        return "unknown"
    start = text.lstrip("\ufeff \t\r\n")
    if _HTML.match(start):
        return "html"
    if start.startswith("<?xml"):
        return "xml"
    if re.match(r'\{\s*"|\[\s*[\[{"\d\]]', start):
        return "json"
    return "csv" if sniffing.has_delimiter(text, whole) else "txt"


def uses_log(file: IO[bytes]) -> bool:
    """Whether a SQLite database keeps its newest rows in a file of their own, the write-ahead log."""
    file.seek(18)
    return file.read(2) == b"\2\2"


def plan(name: str, extension: str, kind: str) -> Plan:
    """How to open the file `name`, whose extension claims one kind and whose bytes are of another."""
    claim = _CLAIMS.get(extension, extension)
    if claim not in _BINARY | _TEXT or kind in (claim, "unknown"):
        return Plan()
    if kind == "empty":  # As text it has no rows, and as a database no tables.
        return Plan(problem="the file is empty") if claim in _BINARY - {"sqlite"} else Plan()
    if kind == "ole" and claim not in ("xlsx", "xlsb", "ods"):
        return Plan()
    if kind in ("encrypted", "ole"):  # These three are zip archives, unless they are wrapped to be encrypted.
        return Plan(problem="the file is encrypted: remove its password in the program that made it")
    if kind == "damaged":
        return Plan(problem="damaged or cut off: get the file again") if claim in _BINARY else Plan()
    if claim == "zip" and kind in ("xlsx", "xlsb", "ods"):
        return Plan()  # They are zip archives too, and their name says to show them as that.
    # Any text opens as any type of text, but a page is no table: a server sends one in place of a file.
    if claim in _TEXT and kind in _TEXT and (kind != "html" or claim in ("txt", "xml")):
        return Plan()
    if kind in COMPRESSED:
        return Plan(says=f"{name} is {NAMES[kind]}: opened as the {extension} inside") if claim in _TEXT else Plan()
    kind = "jsonl" if kind == "json" else kind
    what = NAMES["json" if kind == "jsonl" else kind]
    return Plan(kind, f"{name} is {what}, not {NAMES[claim]}: opened as what it is")


def _zip_kind(file: IO[bytes]) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            if "xl/workbook.xml" in names:
                return "xlsx"
            if "xl/workbook.bin" in names:
                return "xlsb"
            if "mimetype" in names and "META-INF/manifest.xml" in names:
                with archive.open("mimetype") as part:
                    spreadsheet = b"opendocument.spreadsheet" in part.read(200)
                with archive.open("META-INF/manifest.xml") as part:
                    if b"encryption-data" in part.read(1 << 20):
                        return "encrypted"
                return "ods" if spreadsheet else "zip"
            return "zip"
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        return "damaged"


def _ole_kind(file: IO[bytes], head: bytes) -> str:
    names = _ole_names(file)
    if "EncryptedPackage" in names or "EncryptedPackage".encode("utf-16-le") in head:
        return "encrypted"
    return "xls" if names & {"Workbook", "Book"} else "ole"


def _ole_names(file: IO[bytes]) -> set[str]:
    """The names in the directory of an OLE file, which old Excel files are, and the envelopes of encrypted ones."""
    names = set()
    try:
        file.seek(0)
        header = file.read(512)
        size = 1 << min(header[30], 16)
        tables = struct.unpack("<109I", header[76:512])
        (sector,) = struct.unpack_from("<I", header, 48)
        for _ in range(MAX_SECTORS):
            file.seek((sector + 1) * size)
            entries = file.read(size)
            for at in range(0, len(entries) - 127, 128):
                (length,) = struct.unpack_from("<H", entries, at + 64)
                names.add(entries[at : at + min(max(length - 2, 0), 64)].decode("utf-16-le", "replace"))
            table, place = divmod(sector, size // 4)
            file.seek((tables[table] + 1) * size + 4 * place)
            (sector,) = struct.unpack("<I", file.read(4))
    except (struct.error, IndexError, OSError, ValueError, ZeroDivisionError):
        pass  # The chain's end is a sector that there is not.
    return names
