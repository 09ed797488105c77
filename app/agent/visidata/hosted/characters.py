"""Characters from the terminal, one at a time, none of them lost.

VisiData reads with curses' `get_wch`, mostly with a time limit of 0. curses gives up on a character of several bytes when
the limit passes between them, and forgets those that it has: the character is lost, and its other bytes are an error. A
terminal cuts its input anywhere, about every 4,096 bytes. So bytes are read here, and half a character waits for the rest.
"""

from __future__ import annotations

import codecs
import curses
from typing import Any

from visidata import VisiData  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

_decoder = codecs.getincrementaldecoder("utf-8")("replace")
_decoded: list[str] = []  # Characters that were decoded and not asked for yet.


def install() -> None:
    VisiData.api(get_wch)


def get_wch(vd, scr: Any) -> str | int:  # type: ignore[no-untyped-def]
    """The next character, or the number of a function key. Raises curses.error when none comes in the time limit."""
    while not _decoded:
        key: int = scr.getch()
        if key == -1:
            raise curses.error("no input")
        if key > 0xFF:
            return key
        _decoded.extend(_decoder.decode(bytes([key])))
    return _decoded.pop(0)
