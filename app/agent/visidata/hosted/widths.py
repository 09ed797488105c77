"""VisiData counts the columns of text by the table of `cells`, as curses and the page's xterm.js do.

VisiData has a count of its own, curses the C library's, which differs from machine to machine. What the C library counts
otherwise is drawn as a sign of the right width, so the cells beside it stay where they are.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable
from typing import Any

from visidata import cliptext, vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

from . import cells

_libc_width = ctypes.CDLL(None).wcwidth
_libc_width.argtypes = [ctypes.c_wchar]


def install() -> None:
    cliptext.wcwidth = wcwidth
    cliptext.dispwidth = dispwidth
    cliptext._clipstr = _clipstr
    cliptext._dispch = _dispch
    vd.addGlobals(dispwidth=dispwidth)
    _replace_imported()


def _replace_imported() -> None:
    """Modules of VisiData have imported `dispwidth` by its name."""
    import sys

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "visidata" and getattr(module, "dispwidth", dispwidth) is not dispwidth:
            module.dispwidth = dispwidth  # type: ignore[attr-defined]


@functools.cache
def can_draw(character: str) -> bool:
    """Whether the C library, and with it curses, counts the character as the table does."""
    return bool(_libc_width(character) == cells.width(character))


def wcwidth(character: str, ambig: int = 1) -> int:
    return 1 if cells.is_hidden(character) else cells.width(character)


@functools.lru_cache(maxsize=100_000)
def dispwidth(ss: str, maxwidth: int | None = None, literal: bool = False) -> int:
    """Columns of the text, at most `maxwidth` if that is given; markup takes none unless it is `literal`."""
    used = 0
    for _, chunk in cliptext.iterchunks(ss, literal=literal):
        used += cells.columns(chunk, maxwidth)
        if maxwidth and used > maxwidth:
            return maxwidth
    return used


def _dispch(c: str, oddspacech: str = "", combch: str = "", modch: str = "") -> tuple[str, int]:
    return next(iter(cells.units(c, oddspacech or " ", can_draw)), ("", 0))


@functools.lru_cache(maxsize=100_000)
def _clipstr(
    s: Iterable[str], dispw: int | None, trunch: str = "", oddspacech: str = "", combch: str = "", modch: str = ""
) -> tuple[str, int]:
    if not s or (dispw is not None and dispw < 1):
        return "", 0
    if isinstance(s, str) and s.isascii() and s.isprintable() and (dispw is None or len(s) <= dispw):
        return s, len(s)
    text: Any = _with_marks(s, combch) if combch else s  # The option `visibility` shows what has no width.
    found = cells.units(text, oddspacech or " ", can_draw)
    if dispw is None:
        whole = list(found)
        return "".join(cell for cell, _ in whole), sum(own for _, own in whole)
    return cells.clip(found, dispw, trunch)


def _with_marks(text: Iterable[str], mark: str) -> Iterable[str]:
    return (mark if character in cliptext.ZERO_WIDTH_CF else character for character in text)
