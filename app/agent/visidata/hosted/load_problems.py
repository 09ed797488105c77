"""A sheet whose load failed or was stopped says so in its status line until it is reloaded.

`BaseSheet.load_problem` is that text, or None where all rows are there. Savers ask it, since such a sheet is not the
whole file.
"""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Callable
from typing import Any

from visidata import (  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
    BaseSheet,
    EscapeException,
    ExpectedException,
    Path,
    VisiData,
    vd,
)

from . import encodings, loading

_exec_async = VisiData.execAsync
_left_status = BaseSheet.leftStatus


class LoadProblem(ExpectedException):  # type: ignore[misc]
    """A load that cannot succeed, and why in a user's words."""


def install() -> None:
    BaseSheet.load_problem = None
    VisiData.api(execAsync)
    BaseSheet.leftStatus = left_status


def execAsync(vd, func, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: N802
    """Start a thread, as VisiData does, and watch it if it loads a sheet: some kinds of sheets have a `reload` of their own."""
    if args and isinstance(args[0], BaseSheet) and getattr(func, "__name__", "") == "reload":
        func = _watch(func)
    return _exec_async(vd, func, *args, **kwargs)


def _watch(reload: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(reload)
    def load(sheet: Any, *args: Any, **kwargs: Any) -> Any:
        if sheet.nRows and _is_gone(sheet.source):
            vd.fail(f"not reloaded: there is no file {sheet.source} any more")
        sheet.load_problem = None
        encodings.count_replaced()
        try:
            result = reload(sheet, *args, **kwargs)
            sheet.load_problem = _missing_rows(sheet) or sheet.load_problem  # A loader may have set it.
            return result
        except EscapeException:
            sheet.load_problem = f"stopped: only {sheet.nRows:,} row{'s were' if sheet.nRows != 1 else ' was'} loaded"
            raise
        except BaseException as error:
            sheet.load_problem = _missing_rows(sheet) or describe(error)
            raise
        finally:
            if note := loading.note_of(sheet, encodings.count_replaced()):
                vd.status(f"{sheet.name}: {note}")

    return load


def _is_gone(source: Any) -> bool:
    return isinstance(source, Path) and source.is_local() and source.given != "-" and not os.path.exists(source)  # noqa: PTH110


def _missing_rows(sheet: Any) -> str | None:
    """What a load that ended by itself has left out."""
    if _is_gone(sheet.source):
        return "there is no such file any more"
    if sheet.precious and sheet.nRows >= sheet.options.max_rows:
        return f"only the first {sheet.nRows:,} rows were loaded (option max_rows)"
    return None


def describe(error: BaseException) -> str:
    """The problem in a few words."""
    text = " ".join(str(error).split())
    if isinstance(error, LoadProblem):
        return text
    if isinstance(error, zipfile.BadZipFile):
        return "not loaded: the file is damaged or cut off"
    if isinstance(error, PermissionError):
        return "not loaded: you may not read this file"
    if "workbook is encrypted" in text.lower():
        return "the file is encrypted: remove its password in the program that made it"
    if isinstance(error, ExpectedException):
        return f"not loaded: {text}"
    if isinstance(error, EOFError):
        return "not loaded to the end: the file is cut off"
    return f"not loaded: {type(error).__name__}: {text}" if text else f"not loaded: {type(error).__name__}"


def left_status(sheet):  # type: ignore[no-untyped-def]
    status = _left_status(sheet)
    problem: Any = sheet.load_problem
    # First, since a long list of sheets is cut off at its end.
    return f"[:error] {str(problem).replace('[:', '[ :')} [/] {status}" if problem else status
