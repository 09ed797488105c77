"""What one local run leaves on disk, and how to read it. A run is a folder `runs/<session>-<generation>`:

spec.json   written by the Hub: uid, user, at, boot (the id of the machine's boot in which it was launched)
lock        held by the agent, exclusively, for its whole life: a run is alive if and only if its lock is held
pid         written by the agent as soon as it has detached
agent.json  written by the agent once it listens: pid, address
exit.json   written by the agent when the program has ended: code, signal, reason, detail, at
stop        made by the Hub when it asks the run to end; its age tells when to stop asking nicely

Since all of it is on disk and the lock is the kernel's, a run outlives the Hub and is found again by any later one.
Must start and signal nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import re
import secrets
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.runtimes.base import Observed, Phase, Reason, RunId

SPAWN_TIME = 10.0  # Seconds within which a launched agent has taken its lock, on the slowest machine that we know.
_NAME = re.compile(r"([a-z0-9]+)-(\d+)")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @property
    def run(self) -> RunId:
        session_id, _, generation = self.path.name.rpartition("-")
        return RunId(session_id, int(generation))

    def spec(self) -> dict[str, Any] | None:
        return _read(self.path / "spec.json")

    def agent(self) -> dict[str, Any] | None:
        return _read(self.path / "agent.json")

    def exit(self) -> dict[str, Any] | None:
        return _read(self.path / "exit.json")

    def pid(self) -> int | None:
        """The agent's process id, once it has detached. Only of use while it is alive."""
        try:
            return int((self.path / "pid").read_text())
        except (OSError, ValueError):
            return None

    def alive(self) -> bool:
        """Whether the agent lives: whether its lock is held."""
        try:
            handle = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def observe(self) -> Observed | None:
        """What is to be seen of the run; None where there is no such run (any more)."""
        spec = self.spec()
        if spec is None:
            return None
        run, uid = self.run, spec["uid"]
        alive = self.alive()
        ended = self.exit()
        if ended is not None and not alive:
            reason, detail = self._ending(ended, spec)
            return Observed(run, Phase.ENDED, uid, reason=reason, detail=detail)
        if alive:
            agent = self.agent()
            if agent is not None and ended is None:
                return Observed(run, Phase.RUNNING, uid, address=agent["address"])
            return Observed(run, Phase.PENDING, uid, detail="Starting VisiData")
        if time.time() - spec["at"] < SPAWN_TIME and self.agent() is None:
            return Observed(run, Phase.PENDING, uid, detail="Starting VisiData")
        return Observed(run, Phase.ENDED, uid, reason=Reason.MACHINE_RESTARTED if _rebooted(spec) else Reason.LOST)

    def _ending(self, ended: dict[str, Any], spec: dict[str, Any]) -> tuple[Reason, str]:
        """Reason and detail of a recorded ending.

        A shutdown and `systemctl stop` send the same signals as the Hub. Only the Hub's own mark means that it asked.
        """
        reason = _REASONS.get(ended.get("reason", ""), Reason.CRASHED)
        detail = str(ended.get("detail") or "")
        by_signal = ended.get("signal") or max(0, (ended.get("code") or 0) - _SHELL_SIGNAL)
        stopped = reason is Reason.STOPPED_BY_USER
        if (stopped and (self.path / "stop").exists()) or not (stopped or by_signal):
            return reason, detail
        if _rebooted(spec):
            return Reason.MACHINE_RESTARTED, ""
        if stopped or by_signal in (signal.SIGTERM, signal.SIGHUP):
            return Reason.ENDED_OUTSIDE, ""
        return reason, detail


_SHELL_SIGNAL = 128  # bubblewrap exits with 128 and the number of the signal that ended its child.

_REASONS = {
    "quit": Reason.QUIT,
    "crashed": Reason.CRASHED,
    "out_of_memory": Reason.OUT_OF_MEMORY,
    "stopped": Reason.STOPPED_BY_USER,
}


def boot_id() -> str:
    """Identifies the time since the machine's last boot; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _rebooted(spec: dict[str, Any]) -> bool:
    """Whether the machine has booted since the run was launched. Runs of an older Hub did not record their boot."""
    return spec.get("boot", "") not in ("", boot_id())


def folders(root: Path) -> list[RunFolder]:
    """All run folders below `root`; whatever else lies there is passed over."""
    try:
        entries = sorted(root.iterdir())
    except FileNotFoundError:
        return []
    return [RunFolder(entry) for entry in entries if _NAME.fullmatch(entry.name)]


def write_json(path: Path, value: dict[str, Any], *, only_first: bool = False) -> None:
    """Write whole or not at all, readable by the Hub's user alone. With `only_first`, what is there already stays."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(value, file)
        if only_first:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(partial)
        else:
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        there = path.stat()
        return _parsed(path, there.st_ino, there.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


@functools.lru_cache(maxsize=10_000)
def _parsed(path: Path, inode: int, written_ns: int) -> dict[str, Any] | None:
    """What stands in a file that is written whole: every run is looked at several times a second, and hardly any changes."""
    value = json.loads(path.read_bytes())
    return value if isinstance(value, dict) else None
