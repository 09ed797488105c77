"""The local runtime: each run a process group on this machine, detached from the Hub so that it outlives it.

The Hub starts an agent for each run (`app.agent`), which holds the terminal and speaks GoTTY's protocol, or has a real
GoTTY speak it. All that is known of a run is in its folder (`runs.py`). Must not write to the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from app.agent import visidata
from app.agent.start import ALREADY_RUNNING, CREDENTIAL
from app.aio import within
from app.errors import RuntimeFailure
from app.runtimes.base import Changed, Event, Observed, Phase, Reason, RunId, RunSpec, Snapshot, disk_may_refuse
from app.runtimes.local import sandbox
from app.runtimes.local.runs import RunFolder, boot_id, folders, write_json
from app.settings import Settings
from app.threads import RUNTIME

log = logging.getLogger("hub.runtime")

HUB, OBSERVER = "hub", "observer"  # Owners of the work that is not done for one person, in the pool of threads.

POLL = 0.25  # Seconds between two looks at the run folders. A look costs six system calls for each run.
READY_WAIT = 3.0  # Seconds that a launch waits for the agent to listen before it leaves the rest to `observe`.


class LocalRuntime:
    """Runs as processes.

    `bwrap` is how to call bubblewrap, or None for runs that are not kept apart. `delete_home` deletes what may lie in a home:
    people make folders there that are not deleted easily.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        samples: Path,
        bwrap: sandbox.Bwrap | None,
        delete_home: Callable[[str], Awaitable[None]],
    ) -> None:
        self._delete_home = delete_home
        self.root = settings.data_dir / "runs"
        self.homes = settings.data_dir / "homes"
        self.samples = samples
        self.bwrap = bwrap
        self.python = settings.session_python
        self.gotty = settings.gotty_path
        self.network = settings.session_network
        self.grace = settings.stop_grace.total_seconds()
        self._observe_now = asyncio.Event()
        self._synced_at: float | None = None

    async def launch(self, spec: RunSpec) -> Observed:
        folder = RunFolder(self.root / str(spec.run))

        def prepare() -> tuple[Observed | None, bool]:
            self._prepare(folder, spec)
            return folder.observe(), folder.alive()

        seen, alive = await RUNTIME.run(spec.user_id, prepare)
        if seen is None or seen.phase is Phase.ENDED or alive:
            # It is running or over already. (A launch never starts a second program for one run.)
            return seen or Observed(spec.run, Phase.ENDED, "", reason=Reason.LOST)
        await self._spawn(folder, spec)
        deadline = time.monotonic() + READY_WAIT
        # A file appears; nothing of ours can set an event for it.
        while (  # noqa: ASYNC110
            (seen := await RUNTIME.run(spec.user_id, folder.observe)) is not None
            and seen.phase is Phase.PENDING
            and time.monotonic() < deadline
        ):
            await asyncio.sleep(0.01)
        self._observe_now.set()
        return seen or Observed(spec.run, Phase.ENDED, "", reason=Reason.LOST)

    async def look(self, run: RunId, uid: str | None = None) -> Observed | None:
        return await RUNTIME.run(HUB, RunFolder(self.root / str(run)).observe)

    async def stop(self, run: RunId, uid: str | None, grace: float) -> None:
        folder = RunFolder(self.root / str(run))

        def end() -> None:
            spec = folder.spec()
            if spec is None or (uid is not None and spec["uid"] != uid):
                return
            with disk_may_refuse("The run could not be stopped"):
                self._end(folder, grace)

        await RUNTIME.run(HUB, end)
        self._observe_now.set()

    def _end(self, folder: RunFolder, grace: float) -> None:
        """Signal the agent: nicely the first time, for good once `grace` has passed since. Raises OSError."""
        if not folder.alive():
            if folder.exit() is None:
                # Nothing lives and nothing was said: leave a word, so that a late look finds it ended.
                write_json(folder.path / "exit.json", {"code": None, "signal": None, "reason": "stopped", "detail": ""})
            return
        pid = folder.pid()
        if pid is None:
            return  # It is about to say so; the manager asks again.
        mark = folder.path / "stop"
        asked = mark.stat().st_mtime if mark.exists() else None
        if asked is None:
            # The mark comes first: it distinguishes this stop from one outside the Hub. A full disk must not keep a run
            # alive.
            try:
                mark.touch(mode=0o600)
            finally:
                self._signal(pid, signal.SIGTERM)
        elif time.time() - asked > grace + 2:
            log.warning("run %s did not end within %s s; killing it", folder.run, grace)
            self._signal(pid, signal.SIGKILL)

    async def forget(self, run: RunId) -> None:
        folder = RunFolder(self.root / str(run))

        def remove() -> None:
            if not folder.alive():
                shutil.rmtree(folder.path, ignore_errors=True)

        await RUNTIME.run(HUB, remove)

    async def observe(self) -> AsyncIterator[Event]:
        known = await RUNTIME.run(OBSERVER, self._look_at_all)
        self._synced_at = time.monotonic()
        yield Snapshot(tuple(known.values()))
        while True:
            await within(self._observe_now, POLL)
            self._observe_now.clear()
            now = await RUNTIME.run(OBSERVER, self._look_at_all)
            self._synced_at = time.monotonic()
            for run, seen in now.items():
                if known.get(run) != seen:
                    yield Changed(seen)
            for run, seen in known.items():
                if run not in now:
                    yield Changed(seen, gone=True)
            known = now

    @property
    def synced_at(self) -> float | None:
        return self._synced_at

    @property
    def away(self) -> bool:
        return False

    @property
    def foreign_runs(self) -> int:
        return 0  # The data folder is one installation's.

    def offer_warm(self, spec: RunSpec) -> None:
        """Nothing is kept warm: a run's sandbox is made for its user's home."""

    async def take_warm(self, spec: RunSpec, uid: str) -> None:
        """There are none."""

    async def keep_warm(self, count: int, *, make: bool) -> None:
        """There are none."""

    async def delete_home(self, user_id: str) -> None:
        await self._delete_home(user_id)

    async def close(self) -> None:
        """Nothing to let go of: runs live by themselves."""

    def _look_at_all(self) -> dict[RunId, Observed]:
        seen = (folder.observe() for folder in folders(self.root))
        return {one.run: one for one in seen if one is not None}

    def _prepare(self, folder: RunFolder, spec: RunSpec) -> None:
        """Make the run's folder and the person's home. Raises RuntimeFailure where the disk refuses."""
        with disk_may_refuse("The Hub cannot write to its data folder"):
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.homes / spec.user_id).mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.path.mkdir(mode=0o700, exist_ok=True)
            write_json(
                folder.path / "spec.json",
                {"uid": uuid.uuid4().hex, "user": spec.user_id, "at": time.time(), "boot": boot_id()},
                only_first=True,
            )

    async def _spawn(self, folder: RunFolder, spec: RunSpec) -> None:
        def start() -> tuple[int, list[str]]:
            code = self._start(*self.command(folder, spec), folder)
            if code in (0, ALREADY_RUNNING):
                return code, []
            return code, (folder.path / "log").read_text(errors="replace").strip().splitlines()

        try:
            code, said = await RUNTIME.run(spec.user_id, start)
        except OSError as error:
            raise RuntimeFailure(
                f"VisiData could not be started: {error.strerror}. An administrator has to look.",
                reason=Reason.CRASHED,
            ) from error
        if code not in (0, ALREADY_RUNNING):
            log.error("the agent of run %s ended with %s: %s", spec.run, code, said[-5:])
            raise RuntimeFailure(
                "VisiData could not be started. An administrator finds the reason in the Hub's log.",
                reason=Reason.CRASHED,
            )

    @staticmethod
    def _start(argv: list[str], environment: dict[str, str], folder: RunFolder) -> int:
        """Start the agent; it detaches itself, so what was started ends at once.

        By the standard library's own means, since they close all other descriptors in the child: an event loop's may
        leave it the server's listening socket, which a person's VisiData must never have.
        """
        with (folder.path / "log").open("ab") as output:
            return subprocess.run(
                argv,
                env=environment,
                cwd=folder.path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                close_fds=True,
                start_new_session=True,
                check=False,
            ).returncode

    def command(self, folder: RunFolder, spec: RunSpec) -> tuple[list[str], dict[str, str]]:
        """The agent's argv and whole environment for a run: nothing of the Hub's own environment is handed on."""
        home = self.homes / spec.user_id
        inside_home, samples = (sandbox.HOME, sandbox.SAMPLES) if self.bwrap else (str(home), str(self.samples))
        source = {
            "empty": None,
            "sample": f"{samples}/{spec.source.value}",
            "file": f"{inside_home}/{spec.source.value}",
        }[spec.source.kind]
        person = visidata.environment(inside_home)
        wrapped: list[str] = []
        if self.bwrap:
            passwd = folder.path / "passwd"
            passwd.write_text(sandbox.passwd_line())
            wrapped = sandbox.bwrap_argv(
                self.bwrap,
                home=home,
                samples=self.samples,
                readable=readable(self.python),
                passwd=passwd,
                network=self.network,
            )
            # bubblewrap empties the environment, so that nothing can slip through; it is set anew here.
            for name, value in person.items():
                wrapped += ["--setenv", name, value]
            wrapped += sandbox.OBEY_HANGUP
        argv = [sys.executable, "-m", "app.agent", "run", "--dir", str(folder.path), "--listen", "127.0.0.1:0"]
        argv += ["--grace", str(self.grace), "--cwd", str(home), "--detach"]
        if self.gotty:
            argv += ["--gotty", self.gotty]
        argv += ["--", *wrapped, *visidata.command(str(self.python), source)]
        return argv, {**person, CREDENTIAL: spec.credential}

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        # Read under a held lock, so the process id is that agent's and nobody else's.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def readable(session_python: Path) -> list[Path]:
    """What of this installation a sandboxed VisiData has to read: its Python and the hosted configuration."""
    environment = session_python.parent.parent  # `.venv-session`
    base = Path(os.path.realpath(session_python)).parent.parent  # The Python it was made from.
    paths = [environment, visidata.CONFIG.parent]
    return paths if base.is_relative_to("/usr") else [*paths, base]
