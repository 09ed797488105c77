"""Follows the terminal modes that a program sets, so that a screen that joins later can be put into the same ones.

Pure and incremental: bytes in, a short restore sequence out; any chunking of the same stream gives the same answer. It
must not keep the screen's contents (the program repaints that when its window changes size), and must stay cheap on
bulk output: one regular expression per chunk, no loop over bytes.

The sequences and what resets them are xterm's (ctlseqs, "DEC Private Mode Set", DECSTR, RIS); where xterm and xterm.js
differ, xterm.js is followed, since that is what people look at.
"""

from __future__ import annotations

import re

TITLE_BYTES = 2048  # A longer title is ignored whole: it is no title, and must not be held in memory.
TITLE_CHARACTERS = 256
_PARAMETER_BYTES = 64  # Programs set a handful of modes at once; xterm allows 30 parameters.

# An ESC always starts something new and ends what it stands in, so strings (DCS, OSC 52) need no states of their own.
# The title's end is looked at and not taken, since it may be the ESC of ST, or of the next sequence.
_SEQUENCE = re.compile(
    rb"\x1b(?:"
    rb"\[\?([0-9;]{1,%d})([hl])"
    rb"|([=>c]|\[!p)"
    rb"|\]8379;([0-9]{1,4});([0-9]{1,4})\x07"
    rb"|\][02];([^\x07\x18\x1a\x1b]{0,%d})(?=[\x07\x1b])"
    rb")" % (_PARAMETER_BYTES, TITLE_BYTES)
)
# What may still become one of the above when more bytes come.
_UNFINISHED = re.compile(
    rb"\x1b(?:\[(?:\?[0-9;]{0,%d}|!)?|\](?:8(?:3(?:7(?:9(?:;[0-9]{0,4}){0,2})?)?)?|[02](?:;[^\x07\x18\x1a\x1b]{0,%d})?)?)?"
    % (_PARAMETER_BYTES, TITLE_BYTES)
)
_LONGEST = TITLE_BYTES + 8

_MOUSE = {9: 9, 1000: 1000, 1002: 1002, 1003: 1003}
_MOUSE_ENCODINGS = (1006, 1016)  # xterm.js has no others, and goes on with what it had where one of those is asked for.
_ALTERNATE = (47, 1047, 1049)
_SWITCHES = {1: False, 7: True, 25: True, 66: False, 1004: False, 2004: False}  # Mode: whether it is on after a reset.


class ModeTracker:
    """The modes set so far in one output stream.

    `alternate_screen` says whether the program draws on the alternate screen. `size` is (columns, rows) as the agent last
    said it in the stream (`size_report`); None before. `title` is the last title it set, as
    text without control characters, at most `TITLE_CHARACTERS` long (untrusted: the program chose it).
    """

    __slots__ = ("_encoding", "_mouse", "_rest", "_switches", "alternate_screen", "size", "title")

    def __init__(self) -> None:
        self.title = ""
        self.size: tuple[int, int] | None = None
        self._rest = b""
        self._reset()

    def _reset(self) -> None:
        self.alternate_screen = False
        self._mouse = 0
        self._encoding = 0
        self._switches = dict(_SWITCHES)

    def is_on(self, mode: int) -> bool:
        """Whether one of the modes 1, 7, 25, 1004 and 2004 of DECSET, or 66 for DECKPAM, is on. Raises KeyError for others."""
        return self._switches[mode]

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Cuts may fall anywhere, within a sequence or a character too."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if b"\x1b" not in data:  # Many times faster than to let the expression find that out.
            return
        for found in _SEQUENCE.finditer(data):
            parameters, switch, short, columns, rows, title = found.groups()
            if parameters is not None:
                for parameter in parameters.split(b";"):
                    if parameter:
                        self._switch(int(parameter), switch == b"h")
            elif short is not None:
                self._short(short)
            elif rows is not None:
                self.size = int(columns), int(rows)
            else:
                self.title = _clean(title)
        start = data.rfind(b"\x1b", max(0, len(data) - _LONGEST))
        if start >= 0 and _UNFINISHED.fullmatch(data, start):
            self._rest = data[start:]

    def _switch(self, mode: int, on: bool) -> None:
        if mode in _SWITCHES:
            self._switches[mode] = on
        elif mode in _ALTERNATE:
            self.alternate_screen = on
        elif mode in _MOUSE:
            self._mouse = mode if on else 0  # One at a time: each replaces the last, and switching any off ends all.
        elif mode in _MOUSE_ENCODINGS:
            self._encoding = mode if on else 0

    def _short(self, sequence: bytes) -> None:
        if sequence == b"c":  # RIS
            self._reset()
        elif sequence == b"[!p":  # DECSTR leaves the mouse and the screen in use alone.
            self._switches = dict(_SWITCHES)
        else:  # DECKPAM, DECKPNM
            self._switches[66] = sequence == b"="

    def restore(self) -> bytes:
        """What puts a terminal in any state into these modes, with a blank screen. The program must then repaint."""
        parts = [
            b"\x18",  # CAN ends a sequence that was cut off, without carrying it out.
            b"\x1b[!p",
            _set(1049, self.alternate_screen),
            b"\x1b[H\x1b[2J",
            b"\x1b[?1000l\x1b[?1006l",
        ]
        if self._encoding:
            parts.append(_set(self._encoding, True))
        if self._mouse:
            parts.append(_set(self._mouse, True))
        for mode, on in self._switches.items():
            parts.append((b"\x1b=" if on else b"\x1b>") if mode == 66 else _set(mode, on))
        if self.title:
            parts.append(b"\x1b]2;" + self.title.encode() + b"\x07")
        return b"".join(parts)


def _set(mode: int, on: bool) -> bytes:
    return b"\x1b[?%d%c" % (mode, b"h" if on else b"l")


def _clean(title: bytes) -> str:
    text = title.decode("utf-8", "replace")
    return "".join(character for character in text if character.isprintable())[:TITLE_CHARACTERS]


def size_report(columns: int, rows: int) -> bytes:
    """Tells the Hub what size the program has. An OSC of our own, which no program sends and every screen ignores."""
    return b"\x1b]8379;%d;%d\x07" % (columns, rows)
