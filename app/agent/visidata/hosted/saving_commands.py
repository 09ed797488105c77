"""VisiData's commands that depend on saves: quit, interrupt, commit, and the mark of changes that are not saved."""

from __future__ import annotations

import threading
from copy import copy
from typing import Any

from visidata import BaseSheet, Sheet, VisiData, vd  # type: ignore[import-not-found]  # In the sessions' Python alone.

from .save_stop import RunningSaves

_quit = VisiData.quit
_cancel_thread = VisiData.cancelThread
_saves = RunningSaves()  # Replaced by `install`.


def install(saves: RunningSaves) -> None:
    global _saves
    _saves = saves
    BaseSheet.hub_changes = 0  # Counts changes: one that comes during a save is not saved by it.
    BaseSheet.hub_saves = 0
    BaseSheet.hub_changed_by = None  # The command whose change was the last one.
    BaseSheet.api(setModified)
    Sheet.api(commit)
    VisiData.api(saveCols)
    VisiData.api(cancelThread)
    VisiData.api(quit)


def setModified(sheet: Any) -> None:  # noqa: N802  (VisiData's name)
    sheet.hub_changes += 1
    command = vd.modifyCommand
    if not sheet.hasBeenModified:
        vd.addUndo(_unmark, sheet, sheet.hub_saves, False)
    elif command is not sheet.hub_changed_by:
        vd.addUndo(_unmark, sheet, sheet.hub_saves, True)
    sheet.hub_changed_by = command
    sheet.hasBeenModified = True


def _unmark(sheet: Any, saves: int, was_modified: bool) -> None:
    """Undo the mark of a change. A change that has been saved since is in the file, so undoing it is one more change."""
    sheet.hub_changes += 1
    sheet.hasBeenModified = was_modified or sheet.hub_saves != saves


def saveCols(vd: Any, cols: Any) -> Any:  # noqa: N802
    """As VisiData's own, but the copy knows its sheet, which may still be loading."""
    sheet = cols[0].sheet
    part = copy(sheet)
    part.columns = list(cols)
    part.rows = list(sheet.rows)
    part.hub_original = sheet
    what = f"{cols[0].name} column" if len(cols) == 1 else f"{len(cols)} columns"
    return vd.saveSheets(vd.inputPath(f"save {what} to: ", value=sheet.getDefaultSaveName()), part)


def commit(sheet: Any, *rows: Any) -> None:
    """Write changes into the source. The sheet stays modified, and keeps its changes, where that fails."""
    if not sheet.defer:
        vd.fail("commit-sheet is not enabled for this sheet type")
    source = sheet.rootSheet().source
    vd.confirmOverwrite(source, f"really {sheet.changestr(*sheet.getDeferredChanges())}? ")
    put = sheet.putChanges
    function = getattr(put, "__func__", put)
    runs_in_thread = function.__code__.co_name == "_execAsync"
    was_modified = sheet.hasBeenModified

    def save_changes() -> None:
        with _saves.running(getattr(source, "name", "") or sheet.name, []):
            # VisiData reloads the sheet at the end, and would ask about changes.
            sheet.hasBeenModified = False
            try:
                if runs_in_thread:
                    function.__wrapped__(sheet)
                else:
                    put()
            except BaseException:
                sheet.hasBeenModified = was_modified
                raise

    if runs_in_thread:
        vd.execAsync(save_changes, sheet=sheet)
    else:
        save_changes()


def cancelThread(vd: Any, *threads: Any, **options: Any) -> None:  # noqa: N802
    _cancel_thread(vd, *[thread for thread in threads if _saves.interruptible(thread.ident)], **options)


def quit(vd: Any, *sheets: Any) -> Any:  # noqa: A001
    """Before the last sheet is closed, wait for running saves, in sight of the user. One that fails keeps VisiData."""
    names = _saves.names()
    if names and not set(vd.stackedSheets) - set(sheets) and threading.current_thread() is threading.main_thread():
        vd.confirm(f"quit once {names[0][:40]} is saved? ")
        failures = _saves.failures
        vd.status("waiting for the save; Ctrl+C to stay")
        while not _saves.wait(0.1):
            if vd.scrFull:
                vd.draw_all()
                vd.scrFull.timeout(0)
                if vd.getkeystroke(vd.scrFull) == "Ctrl+C":
                    vd.fail("not quit; the save continues")
        if _saves.failures > failures:
            vd.fail("not quit: the save failed")
    return _quit(vd, *sheets)
