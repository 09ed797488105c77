"""The mouse while VisiData is busy: every event arrives, in its order.

By itself VisiData sees only the last of several events, and a button that was pressed and released meanwhile as one
click, for which most sheets have no command. Here all of them come, clicks in their parts, as at all other times. Clicks
stay whole for a person who has set how long a click may take (`mouse_interval`).
"""

from __future__ import annotations

import contextlib
import curses
from typing import Any

from visidata import VisiData, vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

from . import characters

_events: list[tuple[int, ...]] = []  # Each has a KEY_MOUSE of its own, which is returned or in vd.pendingKeys.
_next_event = curses.getmouse


def _states(button: int) -> tuple[int, int, list[int]]:
    """Of a button: pressed, released, and its kinds of clicks."""
    kinds = ("PRESSED", "RELEASED", "CLICKED", "DOUBLE_CLICKED", "TRIPLE_CLICKED")
    pressed, released, *clicks = (getattr(curses, f"BUTTON{button}_{kind}") for kind in kinds)
    return pressed, released, clicks


_parts: dict[int, tuple[int, ...]] = {}  # The presses and releases that each kind of click consists of.
_buttons = 0  # Every state of the first three buttons. The others are the wheel.
for _pressed, _released, _clicks in map(_states, (1, 2, 3)):
    _parts |= {click: (_pressed, _released) * times for times, click in enumerate(_clicks, start=1)}
    _buttons |= _pressed | _released | sum(_clicks)


def install() -> None:
    curses.getmouse = _getmouse
    VisiData.api(get_wch)


def begin_event(vd: Any) -> int | None:
    """The state of the mouse event whose KEY_MOUSE came just now, or None if it was taken already."""
    del _events[: -1 - vd.pendingKeys.count(curses.KEY_MOUSE)]  # Events that no command asked for.
    return _events[0][-1] if _events else None


def is_button(state: int) -> bool:
    """Whether the event is of a button, and not of the wheel."""
    return bool(state & _buttons)


def get_wch(vd, scr):  # type: ignore[no-untyped-def]
    key = characters.get_wch(vd, scr)
    if key == curses.KEY_MOUSE:
        newest_first = []
        with contextlib.suppress(curses.error):
            while True:
                newest_first.append(_next_event())
        came = [part for event in reversed(newest_first) for part in _split(*event)]
        _events.extend(came)
        vd.pendingKeys += [key] * (len(came) - 1)
    return key


def _split(*event: int) -> list[tuple[int, ...]]:
    *place, state = event
    for click, states in _parts.items():
        if state & click and vd.options.mouse_interval == 1:
            return [(*place, state & ~click | part) for part in states]
    return [event]


def _getmouse() -> Any:
    if not _events:
        raise curses.error("there was no event")
    return _events.pop(0)
