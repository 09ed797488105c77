"""Run by the sessions' Python: tries every saver of VisiData with the hosted configuration, in the working directory.

Each saver writes over a file: once to its end, once until it is interrupted in the middle, as Ctrl+C does, and once
until no more can be written, as on a full disk. Writes a JSON object: for each format, what was left.
"""

import json
import os
import resource
import sys
from pathlib import Path as SystemPath

from visidata import Column, EscapeException, Path, Sheet, VisiData, vd

ROWS = 1500
OLD = b"the old file\n"


DISK = 4096  # Bytes that a file may have while the disk is "full".


def sheet(interrupted: bool) -> Sheet:
    def value(column: object, row: int) -> str:
        if interrupted and row == ROWS // 2:
            raise EscapeException("interrupted")
        return f"row {row}"

    made = Sheet("made", columns=[Column("a", getter=value), Column("b", getter=lambda column, row: row)])
    made.rows = list(range(ROWS))
    made.setKeys(made.columns)
    made.hasBeenModified = True
    return made


def attempt(filetype: str, way: str) -> dict[str, object]:
    target = SystemPath(f"target.{filetype}")
    target.write_bytes(OLD)
    saved = sheet(way == "interrupted")
    if way == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (DISK, resource.RLIM_INFINITY))
    try:
        thread = vd.saveSheets(Path(str(target)), saved, confirm_overwrite=False)
        thread.join()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    kept = target.read_bytes() == OLD
    answer = {
        "failed": thread.status != "ended",
        "old": kept,
        "modified": saved.hasBeenModified,
        "beside": [name for name in os.listdir() if name != target.name],  # noqa: PTH208
    }
    target.unlink()
    return answer


def main(config: str) -> None:
    vd.options.config = config
    exec(compile(SystemPath(config).read_text(), config, "exec"), {})  # noqa: S102
    vd.options.batch = True
    vd.options.quitguard = False
    formats = sorted(name.removeprefix("save_") for name in dir(VisiData) if name.startswith("save_"))
    results = {
        filetype: {way: attempt(filetype, way) for way in ("whole", "interrupted", "full")} for filetype in formats
    }
    SystemPath(sys.argv[2]).write_text(json.dumps(results))


main(sys.argv[1])
