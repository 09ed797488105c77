"""Makes the table of the widths of characters, or the page's copy of it.

    .venv/bin/python tools/widths.py      writes static/terminal/width-table.js from the table that the sessions use
    .venv/bin/python tools/widths.py new  makes that table again, before anything else, from this machine's C library

The table follows glibc, which counts for curses, as far as it knows a character, and the package wcwidth for newer ones.
A session whose C library differs draws a sign of the right width instead (`hosted/widths.py`), so no table can shift a row.
"""

from __future__ import annotations

import ctypes
import importlib
import locale
import sys
import unicodedata
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
TABLE = PROJECT / "app" / "agent" / "visidata" / "hosted" / "width_table.py"
COPY = PROJECT / "static" / "terminal" / "width-table.js"
SURROGATES = range(0xD800, 0xE000)


def measure(code: int) -> int:
    """The width of a character: 0, 1 or 2."""
    character = chr(code)
    if code in SURROGATES or unicodedata.category(character) in ("Cc", "Zl", "Zp"):
        return 1  # A sign stands for it.
    width: int = ctypes.CDLL(None).wcwidth(ctypes.c_wchar(character))
    if width < 0:
        width = importlib.import_module("wcwidth").wcwidth(character)
    return max(int(width), 0)


def ranges(width: int) -> str:
    found: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if measure(code) == width:
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    return " ".join(f"{first:X}" if first == last else f"{first:X}-{last:X}" for first, last in found)


def wrapped(text: str, indent: str, ending: str = " ") -> str:
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) > 100:
            lines.append(line)
            line = ""
        line += f"{word} "
    lines.append(line.rstrip())
    return "\n".join(
        f'{indent}"{line}"{ending if last < len(lines) else ""}'.rstrip() for last, line in enumerate(lines, 1)
    )


def render_table(zero: str, wide: str) -> str:
    return f'''"""The widths of characters that are not 1, as ranges of code points. Made by tools/widths.py; do not edit."""

ZERO = (
{wrapped(zero, "    ", "")}
)
WIDE = (
{wrapped(wide, "    ", "")}
)
'''


def render_copy(zero: str, wide: str) -> str:
    return f"""/** The widths of characters that are not 1, as ranges of code points. Made by tools/widths.py; do not edit. */

export const ZERO =
{wrapped(zero, "  ", " +")};
export const WIDE =
{wrapped(wide, "  ", " +")};
"""


def load() -> tuple[str, str]:
    names: dict[str, str] = {}
    exec(TABLE.read_text(), names)  # noqa: S102  # It cannot be imported: its package needs VisiData.
    return names["ZERO"], names["WIDE"]


def main() -> None:
    if sys.argv[1:] == ["new"]:
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
        TABLE.write_text(render_table(ranges(0), ranges(2)))
    COPY.write_text(render_copy(*load()))
    print(f"{COPY.relative_to(PROJECT)} is written")


if __name__ == "__main__":
    main()
