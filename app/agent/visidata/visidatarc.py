"""The hosted configuration, which VisiData executes by VD_CONFIG; ends with the person's own, so that theirs wins.

VisiData puts every name that is left at the end among its own globals, so all is done in one function, and that goes.
"""


def _host() -> None:
    import contextlib
    import shutil
    import sys
    from pathlib import Path

    from visidata import BaseSheet, Sheet, VisiData, vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

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
    vd.options.quitguard = True
    vd.options.motd_url = ""  # It would ask a server of VisiData's each day.
    if shutil.which("free"):  # VisiData asks it how much memory is left.
        vd.options.min_memory_mb = 64

    @VisiData.api
    def suspend(vd):  # type: ignore[no-untyped-def]
        vd.status("nothing to suspend to: leave the page and come back, VisiData stays")

    key_of_visidata = VisiData.getkeystroke

    @VisiData.api
    def getkeystroke(vd, scr, vs=None):  # type: ignore[no-untyped-def]
        # The window's size changes whenever somebody comes to look. VisiData takes that for a key: it would forget its
        # messages, a search's marks and the first half of a command.
        key = key_of_visidata(vd, scr, vs)
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
