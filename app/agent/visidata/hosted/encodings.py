"""Reads text files in the encoding that they are in, unless the person has set one (option `encoding`).

Bytes that do not fit become Windows-1252 characters, never lone surrogates, so text can always be saved and copied.
"""

from __future__ import annotations

import codecs
import itertools
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from visidata import (  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
    BaseSheet,
    Path,
    RepeatFile,
    vd,
)
from visidata.loaders import http  # type: ignore[import-not-found]

from . import sniffing

ERRORS = "read-as-windows-1252"  # The name of the error handler.
_UNSET = ("utf-8", "utf-8-sig", "utf8", None)  # What loaders ask for when they have no opinion.

_split_answer = http.splitter
_open_text, _read_text = Path.open_text, Path.read_text
_open_source = BaseSheet.open_text_source


class Chosen(str):
    """The name of an encoding that the person has set."""

    __slots__ = ()


def install() -> None:
    codecs.register_error(ERRORS, _replace)
    vd.options.encoding_errors = ERRORS
    vd._options["encoding"].pop("JsonSheet", None)  # It would hide what the person sets for all sheets.
    Path.open_text, Path.read_text = open_text, read_text
    BaseSheet.api(open_text_source)
    RepeatFile.read = read_lines
    http.splitter = decode_answer


def is_set(option: str, *objects: Any) -> bool:
    """Whether the person has set the option, for all sheets or for one of `objects` (a sheet, a path)."""
    values = vd._options.get(option, {})
    levels = {vd._options.objname(one) for each in objects for one in vd._options._mappings(each)}
    return any(level in values for level in levels | {"global"} if level != "default")


def reading_of(path: Any) -> sniffing.Reading | None:
    """How the path was read last; None where the person set the encoding."""
    found = getattr(path, "__dict__", {}).get("reading")
    return found if isinstance(found, sniffing.Reading) else None


def head_of(path: Any) -> tuple[bytes, bool]:
    """The first bytes of a local file, and whether they are all of it."""
    with path.open_bytes() as file:
        head = b""
        while len(head) <= sniffing.HEAD_BYTES and (part := file.read(sniffing.HEAD_BYTES + 1 - len(head))):
            head += part
    return head[: sniffing.HEAD_BYTES], len(head) <= sniffing.HEAD_BYTES


def count_replaced() -> int:
    """The number of bytes that this thread has read as Windows-1252 because they did not fit, since the last call."""
    count: int = vars(_replaced).pop("bytes", 0)
    return count


def open_text_source(sheet, **kwargs):  # type: ignore[no-untyped-def]
    if is_set("encoding", sheet):
        kwargs.setdefault("encoding", Chosen(sheet.options.encoding))
    return _open_source(sheet, **kwargs)


def open_text(self, mode="rt", encoding=None, encoding_errors=None, newline=None):  # type: ignore[no-untyped-def]
    if "r" in mode and not self.rfile and not self.fptext and self.given != "-":
        self.reading = None
        if encoding in _UNSET and not isinstance(encoding, Chosen):
            encoding = Chosen(self.options.encoding) if is_set("encoding", self) else None
        if isinstance(encoding, Chosen) and encoding.lower() in ("utf-8", "utf8"):
            encoding = "utf-8-sig"  # The same, and a byte order mark is no part of the text.
        if self.fp:
            self.fptext = _decode(self, self.fp, encoding, encoding_errors or vd.options.encoding_errors)
        elif encoding is None:
            self.reading = sniffing.sniff_encoding(*head_of(self))
            encoding = self.reading.encoding
    return _open_text(self, mode=mode, encoding=encoding, encoding_errors=encoding_errors, newline=newline)


def read_text(self, *args, **kwargs):  # type: ignore[no-untyped-def]
    if args or kwargs or self.lines or self.has_fp():
        return _read_text(self, *args, **kwargs)
    with self.open_text() as file:
        return file.read()


def _decode(path: Any, chunks: Iterable[bytes], encoding: str | None, errors: str) -> Iterator[str]:
    """The lines of an open file, such as a member of a zip."""
    parts = iter(chunks)
    head = b"".join(_take(parts, sniffing.HEAD_BYTES))
    if encoding is None:
        path.reading = sniffing.sniff_encoding(head, whole=False)
        encoding = path.reading.encoding
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    rest = ""
    for chunk in itertools.chain((head,), parts):
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from (line + "\n" for line in lines)
    if rest := rest + decoder.decode(b"", True):
        yield rest


def _take(parts: Iterator[bytes], enough: int) -> Iterator[bytes]:
    size = 0
    while size < enough and (part := next(parts, None)) is not None:
        size += len(part)
        yield part


class _Answer:
    """What a server has sent, in the place of a path."""

    reading: sniffing.Reading | None = None


def decode_answer(response, delim):  # type: ignore[no-untyped-def]
    """The lines of a response, as UTF-8, the only encoding that VisiData's loader of addresses decodes."""
    if is_set("encoding"):
        yield from _split_answer(response, delim)
        return
    answer = _Answer()
    for line in _decode(answer, response, None, ERRORS):
        yield line.encode()
    if note := sniffing.describe(answer.reading, None, count_replaced()):
        vd.status(note)


def read_lines(self, n=None):  # type: ignore[no-untyped-def]
    """As VisiData's `RepeatFile.read`, which adds a second line end to lines that have one."""
    limit = 10**12 if n is None or n < 0 else n
    parts: list[Any] = []
    size = 0
    while (not parts or size < limit) and (line := next(self.iter, None)) is not None:
        end: Any = b"\n" if isinstance(line, bytes) else "\n"
        parts.append(line if line.endswith(end) else line + end)
        size += len(line)
    return (b"" if parts and isinstance(parts[0], bytes) else "").join(parts)


_replaced = threading.local()


def _replace(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        part = error.object[error.start : error.end]
        _replaced.bytes = getattr(_replaced, "bytes", 0) + len(part)
        if "16" in error.encoding or "32" in error.encoding:
            return "\ufffd", error.end
        return part.decode("cp1252", "hub-latin"), error.end
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return "\ufffd" * (error.end - error.start), error.end
    raise error


def _latin(error: UnicodeError) -> tuple[str, int]:
    """The five bytes that Windows-1252 leaves undefined are control characters, as browsers read them."""
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("hub-latin", _latin)
