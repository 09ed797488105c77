"""Commands of the terminal's page: open the files that it has uploaded, paste into cells.

No person presses these keys by chance, no prompt takes them for text, and the page need type no command: a key that is
lost, or comes where it means nothing, does no harm.
"""

from __future__ import annotations

import json
from pathlib import Path

from visidata import BaseSheet, Sheet, VisiData  # type: ignore[import-not-found]  # It is in the sessions' Python alone.


def install() -> None:
    VisiData.api(open_left)
    BaseSheet.addCommand("Alt+Shift+F3", "open-left", "vd.open_left()", "open the file that the page has uploaded")
    Sheet.bindkey("Alt+Shift+F2", "syspaste-cells")


def open_left(vd):  # type: ignore[no-untyped-def]
    """Open the files whose paths in the home the page has left, as a JSON list; in a replay, the files of that time."""
    named = vd.getLastArgs()
    if not named:
        left = Path.home() / ".cache/visidata-hub/open"
        try:
            named = left.read_text()
            left.unlink()
        except OSError:
            vd.fail("there is nothing to open")
        vd.setLastArgs(named)
    try:
        paths = json.loads(named)  # A path may hold line ends.
    except ValueError:
        paths = named.splitlines()  # From a page that was loaded from an older Hub.
    for path in paths:
        vd.push(vd.openSource(str(Path.home() / path), create=True))  # One that is not there opens its folder.
