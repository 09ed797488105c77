"""Every file that VisiData saves ends as the old one or as the new one, and a save asks before anything is lost.

The function that writes a format (a saver, `save_csv`) gets a draft beside the file; see `save_draft`. `save_questions`
has the words, `load_records` what was read, `save_stop` makes a stop wait. A sheet counts as modified until its draft
is in place.
"""

from __future__ import annotations

import inspect
import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path as SystemPath
from typing import Any

from visidata import UNLOADED, Path, VisiData, vd  # type: ignore[import-not-found]  # In the sessions' Python alone.
from visidata import save as savers

from . import (
    load_records,
    save_database,
    save_dialog,
    save_extracts,
    save_facts,
    save_names,
    save_questions,
    save_stop,
    saving_commands,
)
from .save_draft import ChangedMeanwhile, Draft, Fingerprint, fingerprint, sweep
from .save_facts import Job

SAVES = save_stop.RunningSaves()
_ADDS_TO_DATABASE = ("save_sqlite", "save_db")


def install() -> None:
    sweep(_records())
    load_records.install()
    save_names.install()
    saving_commands.install(SAVES)
    save_extracts.install(SAVES, _records())
    save_stop.install(SAVES, lambda text: vd.status(text, priority=2))
    VisiData.api(saveSheets)
    VisiData.api(save_vdj)


class DraftPath(Path):  # type: ignore[misc]
    """A draft, for a saver: it has the name, the format and the options of the path that it stands for."""

    def __init__(self, draft: SystemPath, given: Any) -> None:
        super().__init__("")
        self.given = str(draft)  # Not by the constructor, which would expand variables.
        self.stands_for = given
        self.ext, self.compression, self.base_stem = given.ext, given.compression, given.base_stem

    @property
    def name(self) -> str:
        return str(self.stands_for.name)

    @property
    def options(self) -> Any:
        return self.stands_for.options


def saveSheets(vd: Any, givenpath: Any, *vsheets: Any, confirm_overwrite: bool = True) -> Any:  # noqa: N802
    """Save all sheets to a file, or each to a file of a folder. Asks, then saves in a thread, which it returns."""
    if not vsheets:
        return vd.warning("no sheets to save")
    if not isinstance(givenpath, Path):
        vd.fail("this sheet has no file of its own: save it with Ctrl+S")
    if not givenpath.name:
        return vd.warning("no save path given")
    if threads := vd.ensureLoaded([sheet for sheet in vsheets if sheet.rows is UNLOADED]):
        vd.sync(*threads)
    _refuse_replacing(vd, givenpath, vsheets)
    filetype, saver = _find_saver(vd, givenpath, vsheets)
    vd.clearCaches()
    if _is_stream(givenpath):
        return vd.execAsync(saver, givenpath, *vsheets)
    if givenpath.given.endswith("/"):
        jobs = _jobs_for_folder(givenpath, vsheets, filetype)
    elif givenpath.is_dir():
        vd.fail(f"{givenpath.given} is a folder: end it with / to save each sheet as a file in it")
    elif len(vsheets) > 1 and not _takes_many(saver):
        vd.fail(f"{filetype} holds one sheet only: end the path with / to save each sheet as a file in a folder")
    else:
        jobs = [Job(givenpath, vsheets)]
    busy = [job.given.name for job in jobs if SAVES.is_target(job.target)]
    if busy:
        vd.fail(f"{busy[0]} is being saved: wait for that")
    before = _threads_before(vsheets)
    whole = _ask_to_wait(
        vd, [sheet for thread, sheet in before if thread in load_records.loads(load_records.original(sheet))]
    )
    if not whole:
        before = []
    _ask(vd, givenpath, jobs, filetype, saver, confirm=confirm_overwrite, whole=whole)
    disptype = f"{filetype}.{givenpath.compression}" if givenpath.compression else filetype
    sheets = f"{len(vsheets)} sheet{'' if len(vsheets) == 1 else 's'}"
    vd.status(f"saving {sheets} to {givenpath.given} as {disptype}")

    errors = []

    def save(**_: object) -> None:
        try:
            with SAVES.running(givenpath.name, [job.target for job in jobs]):
                _wait_for(vd, before)
                for job in jobs:
                    _save_reporting(vd, saver, job, filetype)
        except Exception as error:
            errors.append(error)
            raise
        vd.status(f"saved {givenpath.given}")

    save.__name__ = saver.__name__  # At its end VisiData waits for threads that are named like this.
    thread = vd.execAsync(save, _readonly=True)  # It waits by itself for what runs.
    if errors and thread is threading.current_thread():
        raise errors[0]  # In a batch VisiData would go on, and end with success.
    return thread


def save_vdj(vd: Any, path: Any, *sheets: Any) -> Any:
    """The command log's saver, which macros call without `saveSheets`."""
    if isinstance(path, DraftPath) or _is_stream(path):
        return _save_vdj(vd, path, *sheets)
    with SAVES.running(path.name, [SystemPath(os.path.realpath(path))]):
        return save_one(lambda draft, *given: _save_vdj(vd, draft, *given), Job(path, sheets, fingerprint(path)))


_save_vdj = VisiData.save_vdj


def save_one(saver: Callable[..., Any], job: Job, *, adds: bool = False) -> Fingerprint | None:
    """Run a saver on a draft and put that in place. Raises what the saver raises; then the old file is whole."""
    draft = Draft(str(job.given), _records())
    with SAVES.drafting(draft):
        try:
            wal, expected = False, job.expected
            database = adds and save_database.is_database(draft.target)
            if database:
                wal, expected = save_database.copy(draft.target, draft.path)
            thread = _synchronous(saver)(DraftPath(draft.path, job.given), *job.sheets)
            if isinstance(thread, threading.Thread) and thread is not threading.current_thread():
                _join(thread)
            if draft.size == 0 and any(sheet.nRows for sheet in job.sheets):
                raise OSError("this format cannot hold these sheets: nothing was written")
            if database:
                save_database.finish(draft.target, draft.path, wal)
            with SAVES.sealed():
                return draft.commit(expected)
        finally:
            draft.discard()


def _save_reporting(vd: Any, saver: Callable[..., Any], job: Job, filetype: str) -> None:
    changes = [sheet.hub_changes for sheet in job.sheets]
    contents = [(tuple(sheet.visibleCols), sheet.nRows) for sheet in job.sheets]
    try:
        state = save_one(saver, job, adds=saver.__name__ in _ADDS_TO_DATABASE)
    except BaseException as error:
        if isinstance(error, ChangedMeanwhile):
            then = "; it is as the other program left it: save again to be asked about it"
        else:
            then = "; it is as it was" if job.expected else ""
        vd.warning(f"{job.given.name} was not saved{then}")
        raise
    for sheet, before, (columns, rows) in zip(job.sheets, changes, contents, strict=True):
        load_records.record_saved(sheet, job.target, state, filetype, columns, rows)
        sheet.hub_saves += 1
        if sheet.hub_changes == before:  # Else it was changed while it was being saved.
            sheet.hasBeenModified = False


def _find_saver(vd: Any, path: Any, sheets: Sequence[Any]) -> tuple[str, Callable[..., Any]]:
    """As VisiData chooses: the format that was asked for, the file's ending, the default."""

    def saver_of(filetype: str) -> Any:
        return getattr(sheets[0], f"save_{filetype}", None) or getattr(vd, f"save_{filetype}", None)

    asked = path.options.is_set("filetype", path)
    filetype = ""
    if asked:
        filetype, compression = savers.parse_filetype(asked.value)
        path.compression = path.compression or compression
    wanted = [one for one in (filetype, path.ext.lower()) if one]
    for one in wanted:
        if saver := saver_of(one):
            return one, saver
    default = vd.options.save_filetype.lower()
    saver = saver_of(default) or vd.fail(f"no saver for {' or '.join([*wanted, default])}")
    if wanted:
        vd.confirm(f"no `{wanted[0]}` saver, save as {default}? ")
    return default, saver


def _refuse_replacing(vd: Any, path: Any, sheets: Sequence[Any]) -> None:
    """Refuse to replace a container by the list of its parts, and a file by a sheet into which nothing of it could be loaded."""
    target = SystemPath(os.path.realpath(path))
    for sheet in sheets:
        if load_records.is_index(sheet) and load_records.source_path(sheet) == target:
            vd.fail(save_questions.index_refusal(path.name, len(sheet.rows), save_names.of_index(sheet)))
        problem = load_records.load_problem(sheet)
        if problem and not sheet.nRows and load_records.source_path(sheet) == target:
            vd.fail(save_questions.unopened_refusal(path.name, problem))


def _jobs_for_folder(folder: Any, sheets: Sequence[Any], filetype: str) -> list[Job]:
    SystemPath(folder).mkdir(parents=True, exist_ok=True)
    jobs, taken = [], set[str]()
    for sheet in sheets:
        stem = sheet.name.replace("/", "_") or "sheet"
        name, number = f"{stem}.{filetype}", 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}.{filetype}"
        taken.add(name)
        path = Path(folder)
        path.given = str(SystemPath(folder) / name)  # Not by the constructor, which would expand variables.
        jobs.append(Job(path, (sheet,)))
    return jobs


def _ask(
    vd: Any, given: Any, jobs: list[Job], filetype: str, saver: Callable[..., Any], *, confirm: bool, whole: bool
) -> None:
    """Ask before files are replaced or rows left out. Raises where the answer is no."""
    existing, lost, unknown, adds = [], list[str](), False, True
    for job in jobs:
        job.expected = fingerprint(job.target)
        facts = save_facts.gather(job, filetype, adds=saver.__name__ in _ADDS_TO_DATABASE, whole=whole)
        lost += save_questions.losses(facts)
        adds = adds and facts.adds
        if job.expected is not None:
            existing.append(job)
            # A sheet that never saw the file cannot know what is in it.
            unknown = unknown or load_records.record_of(job.sheets, job.target) is None
    if not lost and not (existing and (confirm or (unknown and not vd.options.batch))):
        return
    if vd.options.batch or threading.current_thread() is not threading.main_thread():
        _without_asking(vd, jobs, lost, confirm=confirm)
    elif vd.options.overwrite.startswith("c"):
        if not existing:
            question = save_questions.save_question(given.name)
        elif adds:
            question = save_questions.add_question(given.name)
        elif len(existing) == 1:
            question = save_questions.overwrite_question(existing[0].given.name, lost)
        else:
            question = f"{len(existing)} files in {given.given} exist. overwrite them?"
        save_dialog.ask(vd, lost, question)
    elif existing and not vd.options.overwrite.startswith("y"):
        vd.fail("overwrite disabled")


def _without_asking(vd: Any, jobs: list[Job], lost: list[str], *, confirm: bool) -> None:
    """In a batch, and for what VisiData saves for itself, no question can be asked."""
    for text in lost:
        vd.warning(text)
    if not vd.options.batch:
        return
    for job in jobs:
        if job.expected is not None and any(load_records.load_problem(sheet) for sheet in job.sheets):
            vd.fail(f"{job.given.name} is not replaced: {lost[0]}")
        if job.expected is not None and confirm:
            vd.fail(f"{job.given.name} exists; in a batch, overwriting cannot be confirmed")


def _threads_before(sheets: Sequence[Any]) -> list[tuple[Any, Any]]:
    """What runs on the sheets now, such as a load, and must have ended before they are saved: threads with their sheet."""
    return [
        (thread, sheet)
        for sheet in sheets
        for thread in getattr(load_records.original(sheet), "currentThreads", ())
        if thread is not threading.current_thread()
        and thread.is_alive()
        and not thread.name.startswith("save_")
        and not getattr(thread, "noblock", False)
    ]


def _ask_to_wait(vd: Any, loading: list[Any]) -> bool:
    """Whether to save once the sheets are loaded. Raises where the user wants neither that nor what there is."""
    if not loading or vd.options.batch or threading.current_thread() is not threading.main_thread():
        return True
    facts = [
        save_questions.still_loading(sheet.name, sheet.nRows, load_records.estimated_rows(load_records.original(sheet)))
        for sheet in dict.fromkeys(loading)
    ]
    return save_dialog.ask(vd, facts, "save once all is loaded, or only this part?", ("all", "part", "no")) == "all"


def _wait_for(vd: Any, threads: list[tuple[Any, Any]]) -> None:
    for thread, _ in threads:
        while thread.is_alive():
            thread.join(0.2)
    for thread, sheet in threads:
        original = load_records.original(sheet)
        failed = getattr(thread, "exception", None) or getattr(thread, "status", "") == "aborted by user"
        if failed or load_records.load_problem(original):
            vd.fail(f"not saved: {original.name} was not loaded whole")
        if original is not sheet:
            sheet.rows = list(original.rows)


def _synchronous(saver: Callable[..., Any]) -> Callable[..., Any]:
    """The saver itself where VisiData would run it in one more thread, whose errors only that thread sees."""
    function: Any = getattr(saver, "__func__", saver)
    if function.__code__.co_name != "_execAsync":
        return saver
    own = getattr(saver, "__self__", None)
    plain: Callable[..., Any] = function.__wrapped__
    return plain if own is None else lambda *given: plain(own, *given)


def _join(thread: Any) -> None:
    """Wait for the thread that a saver has started."""
    while thread.is_alive():
        thread.join(0.2)
    if error := getattr(thread, "exception", None):
        raise error


def _takes_many(saver: Callable[..., Any]) -> bool:
    kinds = {parameter.kind for parameter in inspect.signature(saver).parameters.values()}
    return inspect.Parameter.VAR_POSITIONAL in kinds


def _is_stream(path: Any) -> bool:
    """Whether a path is no file: the clipboard, the standard output, an address, a device."""
    if path.has_fp() or path.given == "-" or path.is_url():
        return True
    try:
        mode = SystemPath(path).stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _records() -> SystemPath:
    return SystemPath.home() / ".cache/visidata-hub/saves"
