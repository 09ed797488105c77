"""The clipboard of a session, as commands that VisiData calls: `clipboard.py copy` and `clipboard.py paste`.

Copying writes its standard input to the terminal as OSC 52 (xterm's ctlseqs), which the browser's page puts on the
person's clipboard. Pasting prints what the page has left in the home, or nothing. Must not import anything slow.
"""

from __future__ import annotations

import base64
import os
import sys

LEFT_BY_THE_PAGE = "~/.cache/visidata-hub/clipboard"


def copy() -> None:
    sequence = b"\x1b]52;c;" + base64.b64encode(sys.stdin.buffer.read()) + b"\x07"
    terminal = os.open("/dev/tty", os.O_WRONLY)
    # In one write, so that what VisiData draws meanwhile does not get in between.
    while sequence:
        sequence = sequence[os.write(terminal, sequence) :]


def paste() -> None:
    try:
        with open(os.path.expanduser(LEFT_BY_THE_PAGE), "rb") as file:  # noqa: PTH111, PTH123  (pathlib is slow to import)
            text = file.read()
            # A carriage return would become part of a cell.
            sys.stdout.buffer.write(text.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    except OSError:
        return  # Nothing has been left there.


if __name__ == "__main__":
    {"copy": copy, "paste": paste}[sys.argv[1]]()
