"""Files that are taken out of archives and mails replace others as saves do: whole, and only when the user agrees."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Callable
from pathlib import Path as SystemPath
from typing import Any

from visidata import Progress, ZipSheet, asyncthread, vd  # type: ignore[import-not-found]  # In the sessions' Python alone.
from visidata.loaders.eml import EmailSheet  # type: ignore[import-not-found]

from .save_draft import Draft, fingerprint
from .save_stop import RunningSaves

_saves = RunningSaves()  # Replaced by `install`.
_records = SystemPath()


def install(saves: RunningSaves, records: SystemPath) -> None:
    global _saves, _records
    _saves, _records = saves, records
    ZipSheet.extract_async = asyncthread(extract_async)
    EmailSheet.api(extract_part)


def extract_async(sheet: Any, *rows: Any, path: Any = None) -> None:
    for info, _ in Progress(rows):
        # As zipfile does: a name in an archive leads to no other folder.
        names = [name for name in info.filename.split("/") if name not in ("", ".", "..")]
        target = SystemPath(path or ".").joinpath(*names)
        if info.filename.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with sheet.zfp.open(info.filename) as packed:
            _write(target, functools.partial(shutil.copyfileobj, packed))
        vd.status(f"extracted {info.filename}")


def extract_part(sheet: Any, givenpath: Any, part: Any) -> None:
    payload = part.get_payload(decode=True)
    if payload is None:
        vd.warning("empty payload")
        return
    if threading.current_thread() is threading.main_thread():  # Else `extract_parts` has asked.
        vd.confirmOverwrite(givenpath)
    _write(SystemPath(givenpath), lambda file: file.write(payload))


def _write(target: SystemPath, write: Callable[[Any], Any]) -> None:
    expected = fingerprint(target)
    with _saves.running(target.name, [target]):
        draft = Draft(target, _records)
        with _saves.drafting(draft):
            try:
                with draft.path.open("wb") as file:
                    write(file)
                with _saves.sealed():
                    draft.commit(expected)
            finally:
                draft.discard()
