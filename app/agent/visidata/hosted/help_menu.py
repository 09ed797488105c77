"""VisiData's Help menu, of which every entry leads somewhere.

VisiData's package has no manual, several guides are not written yet, and no browser can be started from inside a session.
"""

from __future__ import annotations

import subprocess

from visidata import (  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
    BaseSheet,
    ItemColumn,
    Sheet,
    VisiData,
    vd,
)

# The commands of the quick reference. Keys and descriptions are VisiData's own, so that they are those in force.
TOPICS = {
    "Help and leaving": "help-commands exec-longname open-statuses quit-sheet quit-all cancel-sheet",
    "Open and save": "open-file open-row save-sheet reload-sheet undo-last undo-last-quit redo-last sheets-stack",
    "Move": "go-left go-right go-up go-down go-top go-bottom go-pagedown go-pageup go-col-regex search-col search-next",
    "Rows": "select-row unselect-row select-rows unselect-rows select-col-regex dup-selected delete-row add-row",
    "Columns": "hide-col resize-col-max rename-col key-col slide-left slide-right columns-sheet addcol-expr unhide-cols",
    "Types": "type-int type-float type-date type-string type-currency",
    "Sort": "sort-asc sort-desc",
    "Summaries": "freq-col describe-sheet pivot transpose melt aggregate-col",
    "Cells": "edit-cell setcol-input copy-cell copy-row paste-after syscopy-cell syspaste-cells open-cell",
    "Options": "options-global options-sheet",
}


def install() -> None:
    VisiData.api(launchBrowser)
    VisiData.api(openManPage)
    vd.GuideIndex.iterload = written_guides
    vd.GuideIndex.guide = "# VisiData Guides\n- [:keystrokes]Enter[/] opens the guide at the cursor\n"
    BaseSheet.addCommand(None, "sysopen-help", "openManPage()", "list the keys of the most used commands")
    BaseSheet.addCommand(
        None,
        "open-tutorial-visidata",
        'launchBrowser("https://jsvine.github.io/intro-to-visidata/")',
        "copy the address of a VisiData tutorial",
    )


def launchBrowser(vd, *args):  # type: ignore[no-untyped-def]  # noqa: N802
    """Hand an address to the person's own browser: it is shown, where the page makes it a link, and copied."""
    address = str(args[0])
    if "://" not in address:
        vd.fail(f"{address} is no address")
    command = vd.options.clipboard_copy_cmd.split()
    done = subprocess.run(
        command, input=address.encode(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    vd.status(f"{address}{' was copied' if done.returncode == 0 else ''}: open it in another tab of your browser")


def openManPage(vd):  # type: ignore[no-untyped-def]  # noqa: N802
    vd.push(QuickReference("quick_reference", source=vd.activeSheet))


class QuickReference(Sheet):  # type: ignore[misc]
    """The most used commands with their keys."""

    rowtype = "commands"  # A row is (topic, keys, description, name).
    precious = False
    columns = [  # noqa: RUF012  (as VisiData's sheets have it)
        ItemColumn("topic", 0, width=18),
        ItemColumn("keys", 1, width=16),
        ItemColumn("description", 2, width=70),
        ItemColumn("command", 3, width=20),
    ]
    guide = "# Quick reference\n- `zCtrl+H` lists all commands of a sheet\n- `Space` runs a command by its name\n"

    def iterload(self):  # type: ignore[no-untyped-def]
        keys: dict[str, list[str]] = {}
        for (key, _), name in vd.bindkeys.iter(self.source):
            if not vd.isLongname(key) and "Btn" not in key and key not in keys.setdefault(name, []):
                keys[name].append(key)
        for topic, names in TOPICS.items():
            for name in names.split():
                command = self.source.getCommand(name)
                if command and name in keys:
                    yield (topic, " or ".join(keys[name][:2]), command.helpstr.replace("**", ""), name)


def written_guides(index):  # type: ignore[no-untyped-def]
    from visidata.guide import guides_list  # type: ignore[import-not-found]

    for number, line in enumerate(filter(None, map(str.strip, guides_list.splitlines()))):
        name, _, topic = line.partition(' ("')
        if not line.startswith("#"):
            vd.addGuide(name.strip())
            if name.strip() in vd.guides:
                yield [number, name.strip(), topic.rpartition('")')[0]]
