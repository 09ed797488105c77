"""How many columns of the screen text takes, and what of it may be drawn there. Pure: knows neither VisiData nor curses.

`width_table` rules here, and its copy in the page's xterm.js. A screen is made of cells, so each character counts by
itself: an emoji that is joined from three takes the columns of three. Marks of width 0 share the cell before them.
"""

from __future__ import annotations

import functools
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator

from . import width_table

MAX_MARKS = 4  # In one cell; curses drops more.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LONE_MARK = "\N{DOTTED CIRCLE}"  # What a mark is shown on that follows nothing.
# They would turn the text of neighbouring cells around: those that show in the text's own direction alone are left out.
EMBEDDINGS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
DIRECTIONS = frozenset("\u200e\u200f\u061c")
# Curses counts columns for them, and browsers draw nothing: the soft hyphen and fillers of Hangul.
IGNORED = frozenset("\u00ad\u115f\u3164\uffa0")


def _starts(table: str, width: int) -> list[tuple[int, int]]:
    """Each range as two points: where its width begins, and where width 1 does again."""
    points = []
    for item in table.split():
        first, _, last = item.partition("-")
        points += [(int(first, 16), width), (int(last or first, 16) + 1, 1)]
    return points


def _points() -> tuple[list[int], list[int]]:
    points = _starts(width_table.ZERO, 0) + _starts(width_table.WIDE, 2)
    # Where one range follows another, the beginning counts and not the end.
    found = {0: 1} | dict(sorted(points, key=lambda point: (point[0], point[1] != 1)))
    return list(found), list(found.values())


_codes, _widths = _points()


@functools.cache
def width(character: str) -> int:
    """Columns of one character."""
    return _widths[bisect_right(_codes, ord(character)) - 1]


@functools.cache
def is_hidden(character: str) -> bool:
    """Whether a sign is drawn in its place: controls, line ends, spaces that are no space, what turns or takes no room."""
    hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp", "Zs") and character != " "
    return hidden or character in EMBEDDINGS or character in IGNORED


def units(
    text: Iterable[str], hidden: str = " ", can_draw: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, int]]:
    """What is drawn for the text, cell by cell: a character with its marks, and its columns.

    `hidden` is drawn in place of each character that `is_hidden`; `can_draw` says whether curses counts a character as this does.
    """
    cell, columns, marks = "", 0, 0
    for character in text:
        if is_hidden(character):
            drawn, own = hidden, 1
        elif character in DIRECTIONS:
            continue
        else:
            drawn, own = character, width(character)
            if not can_draw(character):
                drawn = "" if own == 0 else REPLACEMENT + " " * (own - 1)
        if own == 0:
            if cell and marks < MAX_MARKS:
                cell += drawn
                marks += 1
            elif not cell:
                cell, columns, marks = LONE_MARK + drawn, 1, 1
            continue
        if cell:
            yield cell, columns
        cell, columns, marks = drawn, own, 0
    if cell:
        yield cell, columns


def columns(text: str, most: int | None = None) -> int:
    """Columns that the text takes; counted up to `most` only, if that is given."""
    if text.isascii():
        return len(text)
    used = 0
    for _, own in units(text):
        used += own
        if most is not None and used > most:
            break
    return used


def clip(cells: Iterable[tuple[str, int]], room: int, ending: str = "") -> tuple[str, int]:
    """As much as fits into `room` columns; where it does not fit, `ending` comes last. Returns it and its columns."""
    tail = columns(ending)
    if tail > room:
        ending, tail = "", 0
    drawn: list[str] = []
    used = kept = kept_columns = 0
    for cell, own in cells:
        if used + own > room:
            return "".join(drawn[:kept]) + ending, kept_columns + tail
        drawn.append(cell)
        used += own
        if used + tail <= room:
            kept, kept_columns = len(drawn), used
    return "".join(drawn), used
