"""The commands that VisiData runs to copy and to paste: `clipboard.py` beside the configuration."""

from __future__ import annotations

import sys
from pathlib import Path

from visidata import vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.


def install(folder: Path) -> None:
    """`folder` holds `clipboard.py`."""
    script = folder / "clipboard.py"
    vd.options.clipboard_copy_cmd = command(script, "copy")
    vd.options.clipboard_paste_cmd = command(script, "paste")


def command(script: Path, action: str) -> str:
    """The command line for VisiData, which splits it at spaces, quoted or not."""
    words = [sys.executable, "-I", "-S", str(script), action]
    plain = " ".join(words)
    if plain.split() == words:
        return plain
    # `env -S` has another way to write spaces.
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "$": "\\$", " ": "\\_"})
    return "env -S" + "\\_".join(f'"{word.translate(escapes)}"' for word in words)
