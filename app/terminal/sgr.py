"""Says in fewer bytes how a program wants its text to look (SGR: "select graphic rendition", ECMA-48, 8.3.117).

curses switches each attribute and each colour with a sequence of its own, and sets all of them anew whenever one goes
off: a third of what VisiData sends for a page is that. A screen shows the same after the shorter form, whatever state it
was in before. Pure, and without memory: each call starts by knowing nothing, so what is lost or skipped between two calls
cannot make it wrong. It must not touch anything else, and leaves alone what it does not know.

As xterm.js reads it: an ESC, and a control character of C1, ends whatever sequence or string it stands in.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

PARAMETERS = 32  # xterm.js takes no more.
FEW = 4  # With fewer sequences than this there is nothing to gain.

# Cursor movements, erasing, scrolling, and the modes that VisiData sets all the time: none changes how text looks.
_HARMLESS = rb"\[[0-9;]{0,16}[@A-HJ-MPSTXZ`abdefg]|[=>]|\[\?(?:1|7|12|25|100\d|2004|2026)[hl]"
_RUN = re.compile(rb"((?:\x1b\[[0-9;]{0,40}m|\x1b\(B){1,8})|\x1b(?!%b)|\xc2[\x80-\x9f]" % _HARMLESS)
# Where such a thing comes next, nothing can be left out whole: else a combining mark would join the letter before it, halves of
# a character would find each other, and a letter be repeated (REP) that was not.
_UNSAFE = re.compile(rb"$|[^ -~\x1b]|\x1b(?!\[[0-9;]{0,16}[A-HJ-MPSTXd])")
_PART = re.compile(rb"\x1b\[([0-9;]*)m|\x1b\(B")

_ON = {1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 7: 32, 8: 64, 9: 128}  # The parameter: the attribute's bit.
_OFF = {22: 1 | 2, 23: 4, 24: 8, 25: 16, 27: 32, 28: 64, 29: 128}
_FOREGROUND = {*range(30, 38), 39, *range(90, 98)}
_BACKGROUND = {*range(40, 48), 49, *range(100, 108)}
_COLOUR_PARAMETERS = {5: 2, 2: 4}  # After 38 or 48: 5;INDEX, or 2;RED;GREEN;BLUE.


class Look(NamedTuple):
    """How text looks: the attributes' bits, and the parameters of both colours."""

    attributes: int
    foreground: tuple[int, ...]
    background: tuple[int, ...]


PLAIN = Look(0, (39,), (49,))


class _Known(NamedTuple):
    """What is known of the screen at one place: its look, or None, and whether its character set is ASCII for certain."""

    look: Look | None
    ascii: bool


_NOTHING = _Known(None, False)


def shorten(output: bytes) -> bytes:
    """The same output, with no more bytes, and the same on every screen."""
    if output.count(b"\x1b") < FEW:
        return output
    known = _NOTHING

    def shorter(found: re.Match[bytes]) -> bytes:
        nonlocal known
        run = found[1]
        if run is None:
            known = _NOTHING
            return found[0]
        short, known = _shorter(run, known)
        return short if short or not _UNSAFE.match(output, found.end()) else run

    return _RUN.sub(shorter, output)


@lru_cache(4096)
def _shorter(run: bytes, known: _Known) -> tuple[bytes, _Known]:
    """What says the same as some sequences in a row, and what is known after it."""
    look = known.look
    to_ascii = False
    for part in _PART.finditer(run):
        if part[1] is None:
            to_ascii = True
        else:
            look = _after(look, part[1])
    known_after = _Known(look, known.ascii or to_ascii)
    if look is None:
        return (run.replace(b"\x1b(B", b"") if known.ascii else run), known_after
    short = _change(known.look, look)
    if to_ascii and not known.ascii:
        short += b"\x1b(B"
    return min(run, short, key=len), known_after


def _after(look: Look | None, parameters: bytes) -> Look | None:
    """How text looks after one SGR. None while that is unknown: there was no reset, or it says what we do not know."""
    known, look = look is not None, look or PLAIN
    numbers = [int(number or 0) for number in parameters.split(b";")]
    if len(numbers) > PARAMETERS:
        return None
    while numbers:
        number = numbers.pop(0)
        if number == 0:
            known, look = True, PLAIN
        elif number in _ON:
            look = look._replace(attributes=look.attributes | _ON[number])
        elif number in _OFF:
            look = look._replace(attributes=look.attributes & ~_OFF[number])
        elif number in _FOREGROUND:
            look = look._replace(foreground=(number,))
        elif number in _BACKGROUND:
            look = look._replace(background=(number,))
        elif number in (38, 48):
            more = _COLOUR_PARAMETERS.get(numbers[0] if numbers else 0, 0)
            colour, numbers = (number, *numbers[:more]), numbers[more:]
            if not more or len(colour) <= more or max(colour) > 255:
                return None
            look = look._replace(foreground=colour) if number == 38 else look._replace(background=colour)
        else:
            return None
    return look if known else None


def _change(before: Look | None, after: Look) -> bytes:
    """The shorter of the ways to one look: from another that is known, or from any."""
    afresh = [0, *_parameters(after.attributes)]
    afresh += after.foreground if after.foreground != PLAIN.foreground else ()
    afresh += after.background if after.background != PLAIN.background else ()
    if before is None:
        return _sequence(afresh)
    if before == after:
        return b""
    gone, new = before.attributes & ~after.attributes, after.attributes & ~before.attributes
    change = [number for number, bits in _OFF.items() if gone & bits]
    if gone & _OFF[22]:
        new |= after.attributes & _OFF[22]  # Bold and faint go off together.
    change += _parameters(new)
    change += after.foreground if after.foreground != before.foreground else ()
    change += after.background if after.background != before.background else ()
    return min(_sequence(afresh), _sequence(change), key=len)


def _parameters(attributes: int) -> list[int]:
    return [number for number, bit in _ON.items() if attributes & bit]


def _sequence(numbers: list[int]) -> bytes:
    """An SGR. A 0 is an empty parameter at its beginning."""
    return b"\x1b[%bm" % b";".join(b"%d" % number if number or at else b"" for at, number in enumerate(numbers))
