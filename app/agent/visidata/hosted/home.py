"""Folders and options that VisiData needs in a home that may be empty and on a machine that it does not own."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

from visidata import VisiData, vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

# VisiData keeps macros and the history of input in the first two, and complains where it cannot. In the last, the page of
# the terminal leaves text to paste and the names of files to open.
FOLDERS = (".config/visidata", ".local/share/visidata", ".cache/visidata-hub")


def install() -> None:
    for folder in FOLDERS:
        with contextlib.suppress(OSError):
            (Path.home() / folder).mkdir(parents=True, exist_ok=True)
    vd.options.quitguard = True
    vd.options.motd_url = ""  # VisiData would ask its own server for a message each day.
    if shutil.which("free"):  # VisiData runs it to learn how much memory is left.
        vd.options.min_memory_mb = 64
    VisiData.api(suspend)
    vd.StoredList.append = append


_append = vd.StoredList.append


def append(self: Any, value: Any) -> None:
    """What was typed into prompts is kept for later sessions. A prompt works also where it cannot be, as on a full disk."""
    try:
        _append(self, value)
    except OSError:
        if self is not vd._inputHistoryList:
            raise


def suspend(vd: Any) -> None:
    vd.status("nothing to suspend to: leave the page and come back, VisiData stays")
