"""Child processes: tells when one has ended, and ends what it leaves behind.

It reaps every child, also those that it did not start: in a container the agent may be process 1, to which orphans
fall. So nothing else in the agent may wait for a child, and asyncio's own subprocesses must not be used beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2)


class Children:
    """The children of this process. There is one instance, made where its event loop runs."""

    def __init__(self) -> None:
        self._ends: dict[int, asyncio.Future[int]] = {}
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def watch(self, pid: int) -> asyncio.Future[int]:
        """The child's end: its wait status, as os.waitpid gives it. Watch a child before the loop runs again."""
        end = self._ends[pid] = asyncio.get_running_loop().create_future()
        self._reap()  # A child that ended before there was a handler sends no second signal.
        return end

    def start(self, command: list[str], environment: Mapping[str, str]) -> tuple[int, asyncio.Future[int]]:
        """Start a child that cannot outlive this process; (its pid, its end)."""
        pid = os.fork()
        if pid == 0:
            try:
                _die_with_parent()
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
                    signal.signal(number, signal.SIG_DFL)
                os.execvpe(command[0], command, environment)  # noqa: S606  (no shell is wanted)
            except OSError as error:
                os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            finally:
                os._exit(127)
        return pid, self.watch(pid)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            end = self._ends.pop(pid, None)
            if end is not None and not end.done():
                end.set_result(status)


def kill_session(leader: int) -> None:
    """Kill what runs in the session that `leader` leads or led, where the system tells (Linux's /proc)."""
    for pid in _members(leader):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def signal_group(group: int, number: int) -> None:
    """Signal a process group that may be gone, or may hold processes of other users."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _members(session: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name) state parent group session ...; the name may hold spaces and brackets.
            fields = entry.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                yield int(entry.parent.name)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes  # Needed in GoTTY's parent alone, and slow.

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
