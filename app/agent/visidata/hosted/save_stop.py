"""A stop waits for running saves: SIGHUP ends VisiData at once when it saves nothing, and else after the last save.

The agent sends SIGHUP twice within its grace period, and SIGKILL at its end. The second SIGHUP means that no time is
left: drafts are deleted, the old files stay, and VisiData ends. Must not import VisiData, and must not need its main
thread, which may be blocked: a thread of its own reads the signals from a pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from .save_draft import Draft

_HANDLED = b"\xff"  # No signal has this number.
AT_HANGUP: list[Callable[[], None]] = []  # Called before a hangup ends this process.
GIVEN_UP = "The save of"  # `app.agent.endings` knows the sentence by its beginning.


class RunningSaves:
    """The saves that run in this process, by thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._names: dict[int, str] = {}
        self._targets: dict[int, list[Path]] = {}
        self._drafts: set[Draft] = set()
        self._sealed: set[int] = set()  # Threads that put a whole file in its place: no time to interrupt them.
        self.failures = 0

    @contextlib.contextmanager
    def running(self, name: str, targets: list[Path]) -> Iterator[None]:
        """The current thread saves what is shown as `name`, to the files `targets` (real paths)."""
        thread = threading.get_ident()
        with self._changed:
            self._names[thread], self._targets[thread] = name, targets
        try:
            yield
        except BaseException:
            self.failures += 1
            raise
        finally:
            with self._changed:
                self._names.pop(thread, None)
                self._targets.pop(thread, None)
                self._sealed.discard(thread)
                self._changed.notify_all()

    @contextlib.contextmanager
    def drafting(self, draft: Draft) -> Iterator[None]:
        self._drafts.add(draft)
        try:
            yield
        finally:
            self._drafts.discard(draft)

    @contextlib.contextmanager
    def sealed(self) -> Iterator[None]:
        """Within it, `interruptible` is false for the current thread."""
        thread = threading.get_ident()
        self._sealed.add(thread)
        try:
            yield
        finally:
            self._sealed.discard(thread)

    def interruptible(self, thread: int | None) -> bool:
        return thread not in self._sealed

    def is_target(self, path: Path) -> bool:
        """Whether a save to the file runs."""
        with self._changed:
            return any(path in targets for targets in self._targets.values())

    def names(self) -> list[str]:
        with self._changed:
            return sorted(set(self._names.values()))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no save runs. Returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._names, timeout)

    def discard_drafts(self) -> None:
        for draft in list(self._drafts):
            draft.discard()


def install(saves: RunningSaves, say: Callable[[str], None]) -> None:
    """Handle SIGHUP in this process. `say` shows a line to the user. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)

    # Each signal writes one byte at once, which the thread below reads, and one more once this thread is free to handle
    # it: another program in this process, such as an event loop, may take the first way for itself.
    def handle(number: int, frame: object) -> None:
        os.write(theirs, _HANDLED)

    signal.signal(signal.SIGHUP, handle)
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours, handle, saves, say), name="stop", daemon=True).start()


def _watch(pipe: int, handler: object, saves: RunningSaves, say: Callable[[str], None]) -> None:
    signalled = handled = 0
    while True:
        for byte in os.read(pipe, 64):
            before = max(signalled, handled)
            signalled += byte == signal.SIGHUP
            handled += byte == _HANDLED[0]
            if max(signalled, handled) == before or signal.getsignal(signal.SIGHUP) is not handler:
                continue  # Nothing new, or a user's own configuration handles the signal instead.
            names = saves.names()
            if not names:
                die()
            if before:
                saves.discard_drafts()
                die(f"{GIVEN_UP} {', '.join(names)} took too long and was given up: the file is as it was before.")
            threading.Thread(target=_end_after, args=(saves,), name="stop after saves", daemon=True).start()
            with contextlib.suppress(Exception):
                say(f"this session stops as soon as {', '.join(names)} is saved")


def _end_after(saves: RunningSaves) -> None:
    saves.wait()
    die()


def die(words: str = "") -> None:
    """End this process by SIGHUP, as it would end without a handler. Any thread may call it.

    `words` are left on the terminal, for the user and for the agent, which records them.
    """
    for call in AT_HANGUP:
        with contextlib.suppress(Exception):
            call()
    with contextlib.suppress(Exception):
        if words and os.isatty(1):
            os.write(1, b"\x1b[?1049l\r\n" + words.encode(errors="replace") + b"\r\n")
        ctypes.CDLL(None).signal(int(signal.SIGHUP), None)  # SIG_DFL; Python's own call is for the main thread alone.
        os.kill(os.getpid(), signal.SIGHUP)
    os._exit(128 + signal.SIGHUP)
