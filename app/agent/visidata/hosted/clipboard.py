"""Copying to and pasting from the computer's clipboard, by the commands of `clipboard.py` beside the configuration.

VisiData itself says "copied" whatever happened. Text that the terminal cannot carry becomes a file in the home, and
VisiData says so.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

from visidata import Path as VisiDataPath  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
from visidata import Sheet, asyncthread, vd

# Characters. static/terminal/clipboard.js takes as many, and xterm.js drops a sequence of 10,000,000 bytes in silence.
LIMIT = 5_000_000


def install(folder: Path) -> None:
    """`folder` holds `clipboard.py`."""
    script = folder / "clipboard.py"
    vd.options.clipboard_copy_cmd = command(script, "copy")
    vd.options.clipboard_paste_cmd = command(script, "paste")
    Sheet.api(syscopyValue)
    Sheet.api(syscopyCells_async)


def command(script: Path, action: str) -> str:
    """The command line for VisiData, which splits it at spaces, quoted or not."""
    words = [sys.executable, "-I", "-S", str(script), action]
    plain = " ".join(words)
    if plain.split() == words:
        return plain
    # `env -S` has another way to write spaces.
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "$": "\\$", " ": "\\_"})
    return "env -S" + "\\_".join(f'"{word.translate(escapes)}"' for word in words)


def syscopyValue(sheet: Any, val: str) -> None:  # noqa: N802  (VisiData's name)
    _copy(sheet, val, "txt")


@asyncthread  # type: ignore[untyped-decorator]
def syscopyCells_async(sheet: Any, cols: list[Any], rows: list[Any], filetype: str) -> None:  # noqa: N802
    part = sheet.__copy__()
    part.rows = rows or vd.fail(f"no {sheet.rowtype} selected")
    part.columns = cols
    with io.StringIO() as text:
        path = VisiDataPath(f"copied.{filetype}", fptext=text)
        vd.sync(vd.saveSheets(path, part, confirm_overwrite=False))
        _copy(sheet, text.getvalue(), filetype)


def _copy(sheet: Any, text: str, filetype: str) -> None:
    """Hand the text to the clipboard command; raises what `vd.fail` raises when it fails."""
    data = text.encode(errors="replace")  # Only lone surrogates, which are no characters, cannot be encoded.
    if len(text) > LIMIT:
        path = _free_path(filetype)
        path.write_bytes(data)
        vd.warning(f"too large to copy: saved as {path.name}")
        return
    done = subprocess.run(
        sheet.options.clipboard_copy_cmd.split(),
        input=data,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        vd.fail(f"not copied: {done.stderr.decode(errors='replace').strip()[-200:] or 'the copy command failed'}")
    vd.status("copied to the clipboard")


def _free_path(filetype: str) -> Path:
    """A path in the home that nothing has yet."""
    number = 1
    while (path := Path.home() / f"copied{'' if number == 1 else f'-{number}'}.{filetype}").exists():
        number += 1
    return path
