"""The person's own configuration and plugins, loaded last, so that theirs win, and left out where they end VisiData.

Each start is a trial: a file in the home holds a checksum of the configuration, and a lock for as long as VisiData has not
yet shown its first screen. A file without a lock is what a start that ended in its trial has left. That configuration is not
loaded again until it changes or the person asks for it.
"""

from __future__ import annotations

import contextlib
import curses
import fcntl
import importlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from visidata import (  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
    BaseSheet,
    VisiData,
    vd,
)

from . import save_stop

PATIENCE = 30  # Seconds that the configuration may take to load.
TRIAL = 1.0  # Seconds of the first screen after which it has not ended VisiData.
FOLDER = Path.home() / ".cache/visidata-hub"
PREFIX = "trial-"

_mainloop = VisiData.mainloop
_trial: list[tuple[int, Path]] = []  # The file of this start's trial, and its descriptor, which holds the lock.


def install() -> None:
    own = str(vd.config_file)
    vd.options.config = own  # `gO` opens it, and options are saved there.
    # The Hub's command line named another folder, to keep VisiData from loading plugins before this point.
    vd.options.visidata_dir = vd.options.getdefault("visidata_dir")
    plugins = str(vd.options.visidata_dir)
    sys.path[:] = [entry for entry in sys.path if entry not in _unused_paths()]
    sys.path += [plugins, f"{plugins}/plugins-deps"]
    VisiData.mainloop = mainloop
    VisiData.api(load_own_config)
    BaseSheet.addCommand(None, "load-own-config", "vd.load_own_config()", "load the configuration that was left out")
    checksum = _checksum(own, plugins)
    if checksum is None:
        return
    failed = _failed()
    if checksum in failed:
        vd.status(
            f"{own} was not loaded: VisiData ended with it. Change it (gO), or try it again: Space load-own-config",
            priority=2,
        )
        return
    for file in failed.values():  # Of configurations that have changed since.
        file.unlink(missing_ok=True)
    _begin_trial(checksum)
    _load(own)


def load_own_config(vd):  # type: ignore[no-untyped-def]
    """Load it although it ended VisiData before, which may happen again."""
    for file in _files():
        file.unlink(missing_ok=True)
    _load(str(vd.options.config))


def mainloop(vd, scr):  # type: ignore[no-untyped-def]
    timer = threading.Timer(TRIAL, _end_trial)
    timer.daemon = True
    timer.start()
    save_stop.AT_HANGUP.append(_end_trial)  # A session that is stopped here was not ended by its configuration.
    try:
        result = _mainloop(vd, scr)
    except (Exception, SystemExit):
        if not _trial:
            raise
        with contextlib.suppress(curses.error):
            curses.endwin()
        # The new process finds this trial without its lock, since that is closed with this process.
        os.execv(sys.executable, [sys.executable, "-P", "-m", "visidata", *sys.argv[1:]])  # noqa: S606
    _end_trial()
    return result


def _load(own: str) -> None:
    problem = ""
    errors = len(vd.lastErrors)
    try:
        with _patience():
            if vd.options.plugins_autoload:
                _load_plugins()
            vd.loadConfigFile(own)
    except BaseException as error:  # VisiData lets some through; none must keep it from starting.
        problem = f"{type(error).__name__}: {error}"
    if not problem and len(vd.lastErrors) > errors:
        problem = vd.lastErrors[-1][-1]
    if problem:
        vd.status(f"{own} was loaded only up to its error: {problem}", priority=2)


def _load_plugins() -> None:
    for name in str(vd.options.imports or "").split():
        try:
            vd.addGlobals(vars(importlib.import_module(name)))
        except ModuleNotFoundError as error:
            if error.name != name or name != "plugins":  # Most people have no plugins.
                vd.exceptionCaught(error)
        except Exception as error:
            vd.exceptionCaught(error)


@contextlib.contextmanager
def _patience() -> Any:
    def give_up(*_: object) -> None:
        raise TimeoutError(f"it took more than {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _unused_paths() -> set[str]:
    named = os.environ.get("VD_DIR", "")
    return {named, f"{named}/plugins-deps"} if named else set()


def _checksum(own: str, plugins: str) -> str | None:
    """Of the files that are loaded, or None where there are none."""
    names = (Path(own), Path(plugins) / "plugins/__init__.py", Path(plugins) / "plugins.py")
    contents = []
    for file in names:
        with contextlib.suppress(OSError):
            contents.append(file.read_bytes())
    if not contents:
        return None
    import hashlib  # Slow, and most users have no configuration.

    return hashlib.sha256(b"\0".join(contents)).hexdigest()


def _files() -> list[Path]:
    return sorted(FOLDER.glob(PREFIX + "*"))


def _failed() -> dict[str, Path]:
    """The checksums of configurations whose trial did not end well, and the files that say so."""
    failed = {}
    for file in _files():
        with contextlib.suppress(OSError), file.open() as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # Another session's trial.
            failed[opened.read(64)] = file
    return failed


def _begin_trial(checksum: str) -> None:
    with contextlib.suppress(OSError):
        descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=FOLDER)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, checksum.encode())
        _trial.append((descriptor, Path(name)))


def _end_trial() -> None:
    while _trial:
        descriptor, file = _trial.pop()
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
        os.close(descriptor)
