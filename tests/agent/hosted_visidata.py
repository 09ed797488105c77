"""VisiData with the hosted configuration, without a terminal: opens files and reports what a person would see."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_run import PROJECT

from app.agent import visidata

PYTHON = PROJECT / ".venv-session" / "bin" / "python"
CASES = Path(__file__).with_name("cases")

# One process opens all files, since VisiData takes half a second to start.
OPEN_ALL = """
import json, sys
from visidata import AttrDict, BaseSheet, vd
vd.loadConfigAndPlugins(AttrDict())

def shown(sheet):
    columns = sheet.visibleCols
    return {
        "name": sheet.name, "kind": type(sheet).__name__, "problem": sheet.load_problem, "source": str(sheet.source),
        "names": [column.name for column in columns],
        "rows": [[column.getDisplayValue(row) for column in columns] for row in sheet.rows],
        "status": sheet.leftStatus(),
    }

def open_one(path):
    sheet = vd.openSource(path, create=True)
    vd.sync(sheet.ensureLoaded())
    vd.sync()
    found = shown(sheet)
    if sheet.rows and all(isinstance(row, BaseSheet) for row in sheet.rows):
        for each in sheet.rows:
            vd.sync(each.ensureLoaded())
        vd.sync()  # The sheet that lists them may have begun to load them.
        found["sheets"] = [shown(each) for each in sheet.rows]
    return found

for path in json.loads(sys.argv[1]):
    vd.statuses.clear()
    found = open_one(path)
    said = [" ".join(map(str, message)) for _, message in vd.statuses]
    print(json.dumps(found | {"said": said}), flush=True)
"""


# As VisiData itself ends: libraries may still have threads.
END = "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)\n"


@dataclass(frozen=True)
class Opened:
    """A file as VisiData shows it. `sheets` are those that it lists, as a workbook does."""

    name: str
    kind: str
    problem: str | None
    source: str
    names: list[str]
    rows: list[list[str]]
    status: str
    said: list[str]
    sheets: list[Opened]

    @classmethod
    def of(cls, found: dict[str, Any]) -> Opened:
        sheets = [cls.of(each) for each in found.pop("sheets", ())]
        return cls(**{"said": [], **found}, sheets=sheets)


def run_script(home: Path, script: str, *arguments: str) -> list[Any]:
    """Run a script in the sessions' Python as a session in `home` would; what it printed, one JSON value a line."""
    done = subprocess.run(
        [str(PYTHON), "-P", "-c", script + END, *arguments],
        cwd=home,
        env=visidata.environment(str(home)) | {"VD_CONFIG": str(visidata.CONFIG), "VD_DIR": visidata.NO_FOLDER},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def open_files(home: Path, paths: Sequence[str]) -> list[Opened]:
    """Open each path with one VisiData, whose home and working directory is `home`."""
    return [Opened.of(found) for found in run_script(home, OPEN_ALL, json.dumps(list(paths)))]
