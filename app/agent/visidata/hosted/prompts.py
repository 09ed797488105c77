"""VisiData's prompts: what is pasted into them, and what is typed in them while the window shrinks.

While VisiData asks for text, it has the terminal mark pasted text (bracketed paste, xterm's ctlseqs), which the page
takes for a sign that pasting is safe. It is safe even if the prompt closes while a paste is on its way: everything from
the mark that begins a paste to the mark that ends it is one line for a prompt or nothing, and never commands. A paste that
is too long, or breaks off, is refused whole.
"""

from __future__ import annotations

import curses
import os
import re
import time
from typing import Any

from visidata import BaseSheet, Sheet, vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
from visidata import _input as prompts

MAX_PASTE = 64 * 1024  # Characters. VisiData draws a prompt's whole text with each key.
PASTE_PATIENCE = 5.0  # Seconds of silence after which a paste has broken off.
REST_PATIENCE = 30.0  # Seconds of silence for which a late rest of it is still discarded.
_END = "\x1b[201~"

_rest_until = 0.0  # On the monotonic clock: until then, input is the rest of a paste that broke off.
_rest_tail = ""  # The end of that input.
_open: list[object] = []  # The prompts that are open, one inside the other.
# The text of a prompt that VisiData begins again because the window shrank: value, cursor, whether the next key replaces it.
_kept: list[tuple[str, int, bool]] = []

_key_of_prompt = prompts.InputWidget.handle_key
_line_of_prompt = prompts.InputWidget.editline
_prompt_of_cell = Sheet.editCell


def install() -> None:
    prompts.InputWidget.editline = _editline
    prompts.EnableCursor = _MarkedPrompt
    prompts.InputWidget.handle_key = _handle_key
    # VisiData discards what was typed ahead when a prompt closes. That could be the mark that begins a paste.
    curses.flushinp = lambda: None
    Sheet.api(editCell)
    BaseSheet.after(execCommand)


def is_open() -> bool:
    """Whether VisiData asks for text."""
    return bool(_open)


class Pasted(str):
    """Text that is no key, though it may read like the name of one."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def begins_paste(vd: Any, scr: Any) -> bool:
    """Whether the rest of the mark that begins a paste comes next; if not, its keys come again."""
    text = ""
    while len(text) < len("200~"):
        key = _next_key(vd, scr, 1.0 if text else 0.05)
        if key is None or not "200~".startswith(text + key) or not key:
            vd.pendingKeys[:0] = text + (key or "")
            return False
        text += key
    return True


def read_paste(vd: Any, scr: Any) -> str | None:
    """Everything up to the mark that ends the paste; None, once VisiData has said why, for a paste that is refused."""
    global _rest_until, _rest_tail
    text, length, tail = "", 0, ""
    while tail != _END:
        key = _next_key(vd, scr, PASTE_PATIENCE)
        if key is None:
            vd.warning("paste broke off: not typed")
            _rest_until, _rest_tail = time.monotonic() + REST_PATIENCE, tail
            return None
        tail = (tail + key)[-len(_END) :]
        length += len(key)
        if length <= MAX_PASTE + len(_END):
            text += key
    if length > MAX_PASTE + len(_END):
        vd.warning(f"too long to paste: over {MAX_PASTE:,}")
        return None
    return text.removesuffix(_END)


def discards_rest(vd: Any, scr: Any) -> bool:
    """Discard the rest of a paste that broke off, should it still come. False where there is none to wait for any more."""
    global _rest_until, _rest_tail
    if not _rest_until:
        return False
    while time.monotonic() < _rest_until:
        key = _next_key(vd, scr, 0.1)
        if key is None:
            return True
        _rest_tail = (_rest_tail + key)[-len(_END) :]
        _rest_until = 0.0 if _rest_tail == _END else time.monotonic() + REST_PATIENCE
    _rest_until = 0.0
    return False


def one_line(text: str) -> Pasted:
    """Pasted text as a prompt takes it: control characters become spaces."""
    return Pasted(re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text))


class _MarkedPrompt(prompts.EnableCursor):  # type: ignore[misc]
    def __enter__(self):  # type: ignore[no-untyped-def]
        super().__enter__()
        _open.append(self)
        os.write(1, b"\x1b[?2004h")

    def __exit__(self, *error):  # type: ignore[no-untyped-def]
        _open.remove(self)
        if not _open:
            os.write(1, b"\x1b[?2004l")
        super().__exit__(*error)


def _next_key(vd: Any, scr: Any, patience: float) -> str | None:
    """The next character, "" for a key that is none, None after `patience` seconds without any."""
    until = time.monotonic() + patience
    while not vd.pendingKeys:
        scr.timeout(max(0, round((until - time.monotonic()) * 1000)))
        try:
            vd.pendingKeys.append(vd.get_wch(scr))
        except curses.error:  # A signal is one too, before the time is up.
            if time.monotonic() >= until:
                return None
        finally:
            scr.timeout(vd.get_curses_timeout())
    key = vd.pendingKeys.pop(0)
    return key if isinstance(key, str) else ""


def _handle_key(self, key, scr):  # type: ignore[no-untyped-def]
    if key == "KEY_RESIZE":  # VisiData takes it for the first key, after which typed text no longer replaces the value.
        vd.windowConfig |= {"h": 0}  # It would also miss that the window has its old size again as the prompt closes.
        return False
    if key == "KEY_MOUSE":  # Such as the release of the press that opened it. VisiData releases the mouse in prompts.
        return False
    if not isinstance(key, Pasted):
        return _key_of_prompt(self, key, scr)
    if key:
        _key_of_prompt(self, key[0], scr)  # It may replace the value, as the first key in a prompt does.
        rest, at = key[1:], self.current_i
        overwritten = 0 if self.insert_mode else len(rest)
        self.value = self.value[:at] + rest + self.value[at + overwritten :]
        self.current_i += len(rest)
    return False


# When the window shrinks beneath a prompt, VisiData begins it again; a cell's prompt it abandons, or leaves out of sight.
# Here the typed text stays: the new prompt begins with it, and a cell's prompt moves to the last line above the status.


def _of_a_cell(value: str) -> None:
    """Tells a cell's prompt from the others, which draw their question around the typed text."""


def editCell(sheet, *args, **options):  # type: ignore[no-untyped-def]  # noqa: N802
    return _prompt_of_cell(sheet, *args, **{"updater": _of_a_cell} | options)


def _editline(self, scr, y, x, w, *args, **options):  # type: ignore[no-untyped-def]
    def in_sight(value: str) -> None:  # Called before each drawing.
        rows, columns = scr.getmaxyx()
        if x >= columns or (y > rows - 2 and rows > 1):
            raise curses.error("out of sight")

    if _kept:
        self.value, self.current_i, self.first_action = _kept.pop()
    movable = options["updater"] is _of_a_cell
    if movable:
        options["updater"] = in_sight
    while True:
        try:
            return _line_of_prompt(self, scr, y, x, w, *args, **options)
        except curses.error:
            rows, columns = scr.getmaxyx()
            place = max(0, min(y, rows - 2)), max(0, min(x, columns - min(w, columns))), min(w, columns)
            if not movable or place == (y, x, w):
                _kept.append((self.value, self.current_i, self.first_action))
                raise
            y, x, w = place


def execCommand(sheet, *args, **options):  # type: ignore[no-untyped-def]  # noqa: N802
    _kept.clear()  # A prompt that was not begun again leaves it.
