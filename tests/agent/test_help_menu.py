"""Every entry of VisiData's Help menu leads somewhere."""

from __future__ import annotations

import base64
from pathlib import Path

from hosted_visidata import run_script
from test_visidata import folder, home, start

__all__ = ["folder", "home"]  # Fixtures.

ENTRIES = """
import json, sys
from visidata import AttrDict, vd
vd.loadConfigAndPlugins(AttrDict())
sheet = vd.openSource("cities.csv")
vd.push(sheet)
vd.sync()
for command, path in vd.iterMenuPaths():
    if not path.startswith("Help"):
        continue
    vd.statuses.clear()
    failed = sheet.execCommand(command)
    vd.sync()
    top = vd.sheets[0]
    found = {"path": path, "failed": failed, "says": [" ".join(map(str, words)) for level, words in vd.statuses]}
    found["worst"] = max((level for level, _ in vd.statuses), default=0)
    found["rows"] = None if top is sheet else [[column.getDisplayValue(row) for column in top.visibleCols] for row in top.rows]
    if top is not sheet:
        if "Guides" in path:
            guides = [top.openRow(row) for row in top.rows]
            for guide in guides:
                vd.sync(guide.ensureLoaded())
            found["empty"] = [guide.name for guide in guides if not guide.rows or guide.load_problem]
        vd.sheets.remove(top)
    print(json.dumps(found))
"""


def test_every_entry_shows_something(home: Path) -> None:
    entries = {found["path"]: found for found in run_script(home, ENTRIES)}
    assert {"Help > Quick reference", "Help > VisiData tutorial", "Help > VisiData Feature Guides"} <= entries.keys()
    for found in entries.values():
        assert not found["failed"] and found["worst"] == 0, found
        assert found["rows"] or found["says"], found
    assert entries["Help > VisiData Feature Guides"]["empty"] == []
    keys = {row[-1]: row[1] for row in entries["Help > Quick reference"]["rows"]}
    assert (keys["save-sheet"], keys["freq-col"], keys["quit-all"]) == ("Ctrl+S", "Shift+F", "gq")


async def test_f1_shows_the_keys_and_the_tutorials_address_is_copied(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client(size=(120, 30))
        await client.see("Köln")
        await client.type("\x1bOP")
        await client.see("open current row", "zCtrl+H")
        await client.type("q open-tutorial-visidata\r")
        copied = await client.find(rb"\x1b\]52;c;([^\x07]*)\x07")
        assert base64.b64decode(copied[1]).decode() == "https://jsvine.github.io/intro-to-visidata/"
        await client.see("was copied:", "in another tab of your browser")
