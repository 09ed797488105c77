"""How VisiData reads keys and when it draws: mouse events, pastes and changes of the window's size are no plain keys."""

from __future__ import annotations

from visidata import BaseSheet, VisiData, vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

from . import mouse, prompts

_next_keystroke = VisiData.getkeystroke


def install() -> None:
    # After a key VisiData redraws everything for some time, in case something changes by itself. While something runs in
    # the background it always does, so once more is enough: each redraw costs as much as the key did, and is sent to the page.
    vd.timeouts_before_idle = 6  # Counted each time it asks how long to wait, about three times for each drawing.
    VisiData.api(getkeystroke)
    BaseSheet.after(execCommand)


# A prompt and a menu use up, while they are open, the time in which VisiData redraws by itself. A search that ends
# between its look at the cursor and its drawing would show with the next key only.
def execCommand(sheet, *args, **options):  # type: ignore[no-untyped-def]  # noqa: N802
    vd.numTimeouts = 0


def getkeystroke(vd, scr, vs=None):  # type: ignore[no-untyped-def]
    if prompts.discards_rest(vd, scr):
        return ""
    key = _next_keystroke(vd, scr, vs)
    if key == "KEY_MOUSE":
        state = mouse.begin_event(vd)
        if state is None:
            return ""
        if mouse.is_button(state) and not vd.mousereg and not prompts.is_open():
            vd.draw_all()  # VisiData forgets with each command where things are on the screen, and learns it by drawing.
        return key
    if key == "Alt+[" and prompts.begins_paste(vd, scr):
        text = prompts.read_paste(vd, scr)
        if text and prompts.is_open():
            return prompts.one_line(text)
        if text:
            vd.warning("not pasted: nothing asks for text")
        return ""
    # The window's size changes whenever another viewer attaches. VisiData takes that for a key: it would forget its
    # messages, a search's marks and the first half of a command.
    if key != "KEY_RESIZE" or vs is None or scr is not vd.scrFull:
        return key
    vd.redraw()
    vd.draw_all()
    return ""
