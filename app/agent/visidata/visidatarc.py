"""The hosted configuration, which VisiData executes by VD_CONFIG; ends with the person's own, so that theirs wins.

VisiData puts every name that is left at the end among its own globals, so all is done in one function, and that goes.
"""


def _host() -> None:
    import contextlib
    import curses
    import os
    import re
    import shutil
    import sys
    from pathlib import Path
    from typing import Any

    # It is in the sessions' Python alone.
    from visidata import BaseSheet, Sheet, VisiData, vd  # type: ignore[import-not-found]
    from visidata import _input as prompts

    # VisiData keeps macros and the history of input there, and complains where it cannot. In the last, the terminal's
    # page leaves what is to be pasted or opened.
    for folder in (".config/visidata", ".local/share/visidata", ".cache/visidata-hub"):
        with contextlib.suppress(OSError):
            (Path.home() / folder).mkdir(parents=True, exist_ok=True)

    def clipboard(action: str) -> str:
        words = [sys.executable, "-I", "-S", str(Path(vd.options.config).with_name("clipboard.py")), action]
        command = " ".join(words)
        if command.split() == words:
            return command
        # VisiData splits the command at spaces, quoted or not. `env -S` has another way to write them.
        escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "$": "\\$", " ": "\\_"})
        return "env -S" + "\\_".join(f'"{word.translate(escapes)}"' for word in words)

    vd.options.clipboard_copy_cmd = clipboard("copy")
    vd.options.clipboard_paste_cmd = clipboard("paste")
    # After a key VisiData draws all anew for some time, for what may have changed by itself. While something runs in the
    # background it always does, so once more is enough: each costs as much as the key did, and is sent to the page.
    vd.timeouts_before_idle = 6  # Counted each time it asks how long to wait, about three times for each drawing.
    vd.options.quitguard = True
    vd.options.motd_url = ""  # It would ask a server of VisiData's each day.
    if shutil.which("free"):  # VisiData asks it how much memory is left.
        vd.options.min_memory_mb = 64

    @VisiData.api
    def suspend(vd):  # type: ignore[no-untyped-def]
        vd.status("nothing to suspend to: leave the page and come back, VisiData stays")

    # While VisiData asks for text, it has the terminal mark what is pasted (bracketed paste, xterm's ctlseqs), which the
    # page takes for a sign that pasting is safe. It is, even if the prompt closes while a paste is on its way: what is
    # marked is one line for a prompt or nothing, and never commands.
    asking: list[object] = []

    class Asking(prompts.EnableCursor):  # type: ignore[misc]
        def __enter__(self):  # type: ignore[no-untyped-def]
            super().__enter__()
            asking.append(self)
            os.write(1, b"\x1b[?2004h")

        def __exit__(self, *error):  # type: ignore[no-untyped-def]
            asking.remove(self)
            if not asking:
                os.write(1, b"\x1b[?2004l")
            super().__exit__(*error)

    class Pasted(str):
        """Text that is no key, though it may read like the name of one."""

        __slots__ = ()
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            return self is other

    def next_key(vd: Any, scr: Any, patience: int) -> str | None:
        """The next character, "" for a key that is none, None after so many milliseconds without any."""
        if not vd.pendingKeys:
            scr.timeout(patience)
            try:
                vd.pendingKeys.append(vd.get_wch(scr))
            except curses.error:
                return None
            finally:
                scr.timeout(vd.get_curses_timeout())
        key = vd.pendingKeys.pop(0)
        return key if isinstance(key, str) else ""

    def pasted(vd: Any, scr: Any) -> str | None:
        """What was pasted, when the rest of the mark that begins a paste comes next; else None, and it comes again."""
        text = ""
        while len(text) < len("200~"):
            key = next_key(vd, scr, 1000 if text else 50)
            if key is None or not "200~".startswith(text + key) or not key:
                vd.pendingKeys[:0] = text + (key or "")
                return None
            text += key
        text = ""
        while not text.endswith("\x1b[201~"):
            key = next_key(vd, scr, 5000)
            if key is None:
                return text  # It broke off. What comes later is not waited for.
            text += key
        return text.removesuffix("\x1b[201~")

    key_of_prompt = prompts.InputWidget.handle_key

    def handle_key(self, key, scr):  # type: ignore[no-untyped-def]
        if key == "KEY_RESIZE":  # VisiData takes it for the first key, after which what is typed no longer replaces.
            vd.windowConfig |= {"h": 0}  # And misses it when the window has its old size again as the prompt closes.
            return False
        if key == "KEY_MOUSE":  # As the release of the press that opened it. VisiData lets go of the mouse in prompts.
            return False
        if not isinstance(key, Pasted):
            return key_of_prompt(self, key, scr)
        for one in key:  # Drawn once, when all of them are in.
            key_of_prompt(self, one, scr)
        return False

    # When the window shrinks beneath a prompt, VisiData begins it anew; that of a cell it gives up, or leaves out of sight.
    # What was typed stays: the new prompt begins with it, and that of a cell goes to the last line above the status.
    typed: list[tuple[str, int, bool]] = []
    line_of_prompt, prompt_of_cell = prompts.InputWidget.editline, Sheet.editCell

    def of_a_cell(value: str) -> None:
        """Tells a cell's prompt from the others, which draw what they ask around what is typed."""

    @Sheet.api
    def editCell(sheet, *args, **options):  # type: ignore[no-untyped-def]  # noqa: N802
        return prompt_of_cell(sheet, *args, **{"updater": of_a_cell} | options)

    def editline(self, scr, y, x, w, *args, **options):  # type: ignore[no-untyped-def]
        def in_sight(value: str) -> None:  # Called before each drawing.
            rows, columns = scr.getmaxyx()
            if x >= columns or (y > rows - 2 and rows > 1):
                raise curses.error("out of sight")

        if typed:
            self.value, self.current_i, self.first_action = typed.pop()
        movable = options["updater"] is of_a_cell
        if movable:
            options["updater"] = in_sight
        while True:
            try:
                return line_of_prompt(self, scr, y, x, w, *args, **options)
            except curses.error:
                rows, columns = scr.getmaxyx()
                place = max(0, min(y, rows - 2)), max(0, min(x, columns - min(w, columns))), min(w, columns)
                if not movable or place == (y, x, w):
                    typed.append((self.value, self.current_i, self.first_action))
                    raise
                y, x, w = place

    # A prompt and a menu use up, while they are open, the time in which VisiData draws by itself. What is found as soon as
    # they close (by a search that ends between its look at the cursor and its drawing) would show with the next key only.
    @BaseSheet.after
    def execCommand(sheet, *args, **options):  # type: ignore[no-untyped-def]  # noqa: N802
        vd.numTimeouts = 0
        typed.clear()  # A prompt that was not begun anew leaves it.

    prompts.InputWidget.editline = editline
    prompts.EnableCursor = Asking
    prompts.InputWidget.handle_key = handle_key
    # VisiData throws away what was typed ahead when a prompt closes; of a paste, that could be the mark that begins it.
    curses.flushinp = lambda: None

    # What the mouse does while VisiData is busy comes to it late: of several events the last, and a button that was pressed
    # and let go as one click, for which most sheets have no command. Here all come, in their order, and clicks in their
    # parts, as at all other times; but whole for whoever has set how long a click may take.
    events: list[tuple[int, ...]] = []  # Each has a KEY_MOUSE of its own, which is returned or in vd.pendingKeys.
    event, character = curses.getmouse, VisiData.get_wch
    buttons = 0  # All that the first three can do. The others are the wheel.
    clicks: dict[int, tuple[int, ...]] = {}  # The parts of each.
    for button in (1, 2, 3):
        kinds = ("PRESSED", "RELEASED", "CLICKED", "DOUBLE_CLICKED", "TRIPLE_CLICKED")
        pressed, released, *whole = (getattr(curses, f"BUTTON{button}_{kind}") for kind in kinds)
        clicks |= {click: (pressed, released) * times for times, click in enumerate(whole, start=1)}
        buttons |= pressed | released | sum(whole)

    def parts(*where: int) -> list[tuple[int, ...]]:
        *place, state = where
        for click, states in clicks.items():
            if state & click and vd.options.mouse_interval == 1:
                return [(*place, state & ~click | part) for part in states]
        return [where]

    @VisiData.api
    def get_wch(vd, scr):  # type: ignore[no-untyped-def]
        key = character(vd, scr)
        if key == curses.KEY_MOUSE:
            newest_first = []
            with contextlib.suppress(curses.error):
                while True:
                    newest_first.append(event())
            came = [part for one in reversed(newest_first) for part in parts(*one)]
            events.extend(came)
            vd.pendingKeys += [key] * (len(came) - 1)
        return key

    def getmouse() -> Any:
        if not events:
            raise curses.error("there was no event")
        return events.pop(0)

    curses.getmouse = getmouse

    key_of_visidata = VisiData.getkeystroke

    @VisiData.api
    def getkeystroke(vd, scr, vs=None):  # type: ignore[no-untyped-def]
        key = key_of_visidata(vd, scr, vs)
        if key == "KEY_MOUSE":
            del events[: -1 - vd.pendingKeys.count(curses.KEY_MOUSE)]  # Nobody has asked for those.
            if not events:
                return ""
            if events[0][-1] & buttons and not vd.mousereg and not asking:
                vd.draw_all()  # What is where is forgotten with each command, and known again when all is drawn.
            return key
        if key == "Alt+[" and (text := pasted(vd, scr)) is not None:
            if asking:
                return Pasted(re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text))
            vd.warning("not pasted: nothing asks for text")
            return ""
        # The window's size changes whenever somebody comes to look. VisiData takes that for a key: it would forget its
        # messages, a search's marks and the first half of a command.
        if key != "KEY_RESIZE" or vs is None or scr is not vd.scrFull:
            return key
        vd.redraw()
        vd.draw_all()
        return ""

    @VisiData.api
    def open_left(vd):  # type: ignore[no-untyped-def]
        """Open the files whose paths in the home the page has left, one a line; in a replay, those that it were then."""
        named = vd.getLastArgs()
        if not named:
            left = Path.home() / ".cache/visidata-hub/open"
            try:
                named = left.read_text()
                left.unlink()
            except OSError:
                vd.fail("there is nothing to open")
            vd.setLastArgs(named)
        for path in named.splitlines():
            vd.push(vd.openSource(str(Path.home() / path)))

    # No person presses these by chance, no prompt takes them for text, and the page need type no command: a key
    # that is lost, or comes where it means nothing, does no harm.
    BaseSheet.addCommand("Alt+Shift+F3", "open-left", "vd.open_left()", "open the file that the page has uploaded")
    Sheet.bindkey("Alt+Shift+F2", "syspaste-cells")

    own = str(vd.config_file)
    try:
        vd.loadConfigFile(own)
    except (Exception, SystemExit) as error:  # What VisiData itself lets through must not keep it from starting.
        vd.status(f"{own}: {type(error).__name__}: {error}", priority=2)
    vd.options.config = own  # What gO opens, and where options are saved.


_host()
del _host
