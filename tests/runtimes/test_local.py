"""The local runtime, with real processes and the real VisiData: the contract, and what it promises beyond."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from contract import RuntimeContract, a_spec, watching
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.errors import RuntimeFailure
from app.files.homes import Homes
from app.files.samples import ensure_samples
from app.runtimes.base import Observed, Phase, Reason, RunSpec, Source
from app.runtimes.local import sandbox
from app.runtimes.local.runs import RunFolder, boot_id, folders
from app.runtimes.local.runtime import LocalRuntime
from app.settings import Settings

BWRAP = sandbox.usable()


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_samples(tmp_path_factory.mktemp("samples"), Settings().session_python)


def end_all(data_dir: Path) -> None:
    """No test leaves a run behind."""
    for folder in folders(data_dir / "runs"):
        agent = folder.agent()
        if agent and folder.alive():
            os.kill(agent["pid"], signal.SIGKILL)


def local_runtime(settings: Settings, samples: Path, bwrap: sandbox.Bwrap | None = None) -> LocalRuntime:
    homes = Homes(settings.data_dir / "homes", settings.max_upload)
    return LocalRuntime(settings, samples=samples, bwrap=bwrap, delete_home=homes.delete_home)


class LocalHarness:
    def __init__(self, settings: Settings, samples: Path, bwrap: sandbox.Bwrap | None) -> None:
        self.settings, self.samples, self.bwrap = settings, samples, bwrap
        self.runtime = self.restarted()

    def restarted(self) -> LocalRuntime:
        return local_runtime(self.settings, self.samples, self.bwrap)

    async def quit(self, seen: Observed, spec: RunSpec) -> None:
        async with Screen(seen, spec) as screen:
            await screen.until("│")  # VisiData has drawn its list of files.
            await screen.type("gq")
            await screen.until("quit")
            await screen.type("y")


class Screen:
    """A GoTTY client: what is shown since it came, and a keyboard."""

    def __init__(self, seen: Observed, spec: RunSpec) -> None:
        self.address, self.credential = seen.address, seen.credential or spec.credential
        self.shown = b""

    async def __aenter__(self) -> Screen:
        self.socket = await connect(f"ws://{self.address}/ws", subprotocols=["webtty"], compression=None)  # type: ignore[list-item]
        await self.socket.send(json.dumps({"Arguments": "", "AuthToken": self.credential}))
        await self.socket.send('3{"columns": 100, "rows": 30}')
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()

    async def type(self, keys: str) -> None:
        await self.socket.send(f"1{keys}")

    async def until(self, text: str) -> None:
        async with asyncio.timeout(15):
            while text.encode() not in self.shown:
                frame = await self.socket.recv()
                assert isinstance(frame, str)
                if frame.startswith("1"):
                    self.shown += base64.b64decode(frame[1:])


@pytest.fixture
def make_harness(
    make_settings: Callable[..., Settings], samples: Path
) -> Iterator[Callable[[sandbox.Bwrap | None], LocalHarness]]:
    made: list[Settings] = []

    def make(bwrap: sandbox.Bwrap | None) -> LocalHarness:
        made.append(make_settings())
        return LocalHarness(made[-1], samples, bwrap)

    yield make
    for settings in made:
        end_all(settings.data_dir)


class TestWithoutASandbox(RuntimeContract):
    @pytest.fixture
    def harness(self, make_harness: Callable[[sandbox.Bwrap | None], LocalHarness]) -> LocalHarness:
        return make_harness(None)


class TestInASandbox(RuntimeContract):
    @pytest.fixture
    def harness(self, make_harness: Callable[[sandbox.Bwrap | None], LocalHarness]) -> LocalHarness:
        assert BWRAP, "bubblewrap cannot be used here; `make test` installs it"
        return make_harness(BWRAP)


@pytest.fixture
async def running(
    make_harness: Callable[[sandbox.Bwrap | None], LocalHarness],
) -> AsyncIterator[tuple[LocalHarness, RunSpec, Observed]]:
    """A sandboxed run on a sample."""
    harness = make_harness(BWRAP)
    spec = RunSpec(a_spec().run, a_spec().user_id, "hub:secret", Source("sample", "penguins.csv"))
    async with watching(harness.runtime) as until:
        await harness.runtime.launch(spec)
        seen = await until(spec.run, Phase.RUNNING)
    yield harness, spec, seen


Running = tuple[LocalHarness, RunSpec, Observed]


async def test_a_sample_is_open_on_the_screen(running: Running) -> None:
    _, spec, seen = running
    async with Screen(seen, spec) as screen:
        await screen.until("bill_length_mm")


async def test_the_terminal_is_closed_to_whoever_lacks_the_runs_own_credential(running: Running) -> None:
    _, _, seen = running
    async with connect(f"ws://{seen.address}/ws", subprotocols=["webtty"]) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"Arguments": "", "AuthToken": "hub:guessed"}))
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(10):
                await socket.recv()


async def test_a_run_holds_nothing_of_the_hubs_open(running: Running) -> None:
    """Neither the agent nor VisiData has a socket of this process: above all not the one that it listens on."""
    harness, _, seen = running
    agent = psutil.Process(RunFolder(harness.runtime.root / str(seen.run)).agent()["pid"])  # type: ignore[index]
    mine = _sockets(psutil.Process())
    assert mine
    for process in [agent, *agent.children(recursive=True)]:
        assert not _sockets(process) & mine


def _sockets(process: psutil.Process) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(descriptor.readlink()))
    return {link for link in found if link.startswith("socket:")}


async def test_the_hubs_environment_and_the_credential_are_out_of_visidatas_reach(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, _, seen = running
    agent = psutil.Process(RunFolder(harness.runtime.root / str(seen.run)).agent()["pid"])  # type: ignore[index]
    programs = agent.children(recursive=True)
    assert programs
    for process in programs:
        environment = process.environ()
        assert not [name for name in environment if name.startswith("HUB_")]
        assert "secret" not in "".join(process.cmdline())
    assert "secret" not in "".join(agent.cmdline())


async def test_an_agent_killed_without_warning_is_reported_as_lost(running: Running) -> None:
    harness, spec, seen = running
    folder = RunFolder(harness.runtime.root / str(seen.run))
    agent = psutil.Process(folder.agent()["pid"])  # type: ignore[index]
    programs = agent.children(recursive=True)
    async with watching(harness.runtime) as until:
        agent.kill()
        ended = await until(spec.run, Phase.ENDED)
    assert ended.reason is Reason.LOST
    _, alive = await asyncio.to_thread(psutil.wait_procs, programs, 5)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE], "VisiData outlived its run"


async def test_an_agent_stopped_by_others_than_the_hub_is_not_reported_as_stopped_by_its_user(running: Running) -> None:
    """`systemctl stop` and a shutdown signal every process of the unit or machine."""
    harness, spec, seen = running
    folder = RunFolder(harness.runtime.root / str(seen.run))
    async with watching(harness.runtime) as until:
        os.kill(folder.agent()["pid"], signal.SIGTERM)  # type: ignore[index]
        ended = await until(spec.run, Phase.ENDED)
    assert ended.reason is Reason.ENDED_OUTSIDE
    # The same seen after a reboot: the machine has another boot id than at the launch.
    spec_file = folder.path / "spec.json"
    spec_file.write_text(json.dumps(json.loads(spec_file.read_text()) | {"boot": "an earlier one"}))
    after_boot = folder.observe()
    assert after_boot is not None
    assert after_boot.reason is Reason.MACHINE_RESTARTED


@pytest.mark.parametrize(
    ("record", "marked", "rebooted", "reason"),
    [
        ({"reason": "stopped", "signal": 1}, True, False, Reason.STOPPED_BY_USER),
        ({"reason": "stopped", "signal": 1}, True, True, Reason.STOPPED_BY_USER),
        ({"reason": "stopped", "signal": 1}, False, False, Reason.ENDED_OUTSIDE),
        ({"reason": "stopped", "signal": 1}, False, True, Reason.MACHINE_RESTARTED),
        # VisiData itself was signalled, before the agent was or in its place; in the sandbox bubblewrap says so.
        ({"reason": "crashed", "signal": 15}, False, False, Reason.ENDED_OUTSIDE),
        ({"reason": "crashed", "code": 143}, False, False, Reason.ENDED_OUTSIDE),
        ({"reason": "crashed", "code": 143}, False, True, Reason.MACHINE_RESTARTED),
        ({"reason": "crashed", "signal": 9}, False, False, Reason.CRASHED),
        ({"reason": "crashed", "signal": 9}, False, True, Reason.MACHINE_RESTARTED),
        # It ended by itself before the reboot.
        ({"reason": "quit", "code": 0}, False, True, Reason.QUIT),
        ({"reason": "crashed", "code": 1}, False, True, Reason.CRASHED),
        # The power failed: nothing was recorded.
        (None, False, True, Reason.MACHINE_RESTARTED),
        (None, False, False, Reason.LOST),
    ],
)
def test_only_the_hubs_own_mark_means_that_its_user_stopped_it(
    tmp_path: Path, record: dict[str, object] | None, marked: bool, rebooted: bool, reason: Reason
) -> None:
    folder = RunFolder(tmp_path / "abc-1")
    folder.path.mkdir()
    boot = "an earlier one" if rebooted else boot_id()
    (folder.path / "spec.json").write_text(json.dumps({"uid": "u", "user": "x", "at": 0, "boot": boot}))
    if record is not None:
        (folder.path / "exit.json").write_text(json.dumps(record))
    if marked:
        (folder.path / "stop").touch()
    seen = folder.observe()
    assert seen is not None
    assert (seen.phase, seen.reason) == (Phase.ENDED, reason)


async def test_visidata_killed_by_the_kernel_is_reported_with_words(running: Running) -> None:
    harness, spec, seen = running
    agent = psutil.Process(RunFolder(harness.runtime.root / str(seen.run)).agent()["pid"])  # type: ignore[index]
    async with watching(harness.runtime) as until:
        agent.children()[0].kill()
        ended = await until(spec.run, Phase.ENDED)
    assert ended.reason in (Reason.CRASHED, Reason.OUT_OF_MEMORY)
    assert ended.detail


async def test_a_program_that_will_not_end_is_killed_after_the_grace_time(
    make_harness: Callable[[sandbox.Bwrap | None], LocalHarness],
) -> None:
    harness = make_harness(None)
    spec = a_spec()
    async with watching(harness.runtime) as until:
        seen = await harness.runtime.launch(spec)
        await until(spec.run, Phase.RUNNING)
        agent = psutil.Process(RunFolder(harness.runtime.root / str(spec.run)).agent()["pid"])  # type: ignore[index]
        agent.suspend()  # Deaf to SIGTERM.
        began = time.monotonic()
        while (now := await harness.runtime.look(spec.run)) and now.phase is not Phase.ENDED:
            assert time.monotonic() - began < 15, "it is still there"
            await harness.runtime.stop(spec.run, seen.uid, 0.5)
            await asyncio.sleep(0.2)


async def test_a_disk_that_refuses_is_told_in_words(make_settings: Callable[..., Settings], samples: Path) -> None:
    settings = make_settings()
    settings.data_dir.mkdir(parents=True)
    (settings.data_dir / "runs").write_text("a file where the folder should be")
    runtime = local_runtime(settings, samples)
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.launch(a_spec())
    assert "data folder" in caught.value.message
    assert caught.value.retry


async def test_a_visidata_that_is_not_there_is_told_and_not_waited_for(
    make_settings: Callable[..., Settings], samples: Path
) -> None:
    settings = make_settings(session_python=Path("/nonexistent/python"))
    runtime = local_runtime(settings, samples)
    spec = a_spec()
    async with watching(runtime) as until:
        await runtime.launch(spec)
        ended = await until(spec.run, Phase.ENDED)
    assert ended.reason is Reason.CRASHED
    assert "nonexistent" in ended.detail


async def test_a_run_whose_gotty_never_answers_can_be_stopped(
    make_settings: Callable[..., Settings], samples: Path
) -> None:
    settings = make_settings(gotty="/bin/false")
    runtime = local_runtime(settings, samples)
    spec = a_spec()
    async with watching(runtime) as until:
        launching = asyncio.create_task(runtime.launch(spec))
        await until(spec.run, Phase.PENDING)
        async with asyncio.timeout(10):
            while RunFolder(runtime.root / str(spec.run)).pid() is None:
                await asyncio.sleep(0.01)
        await runtime.stop(spec.run, None, 1.0)
        ended = await until(spec.run, Phase.ENDED)
        await launching
    assert ended.reason is Reason.STOPPED_BY_USER
    end_all(settings.data_dir)


async def test_a_run_whose_gotty_never_answers_is_given_up_in_words(
    make_settings: Callable[..., Settings], samples: Path
) -> None:
    settings = make_settings(gotty="/bin/false")
    runtime = local_runtime(settings, samples)
    spec = a_spec()
    async with watching(runtime) as until:
        await runtime.launch(spec)
        ended = await until(spec.run, Phase.ENDED)
    assert ended.reason is Reason.CRASHED
    assert "GoTTY" in ended.detail


SAVER = """
import os, signal, time

def save(*_):
    time.sleep(0.3)
    open("saved", "w").write("all of it")
    os._exit(0)

signal.signal(signal.SIGHUP, save)
"""


async def test_a_sandboxed_program_has_the_grace_time_to_save_its_work(
    make_harness: Callable[[sandbox.Bwrap | None], LocalHarness],
) -> None:
    """bubblewrap must not die of the very signal that asks the program to end."""
    harness = make_harness(BWRAP)
    spec = a_spec()
    home = harness.runtime.homes / spec.user_id
    home.mkdir(parents=True)
    (home / ".visidatarc").write_text(SAVER)
    async with watching(harness.runtime) as until:
        seen = await harness.runtime.launch(spec)
        async with Screen(seen, spec) as screen:
            await screen.until("│")
        await harness.runtime.stop(spec.run, seen.uid, 5.0)
        await until(spec.run, Phase.ENDED)
    assert (home / "saved").exists()


def test_a_folder_that_sessions_may_read_is_recognised() -> None:
    assert sandbox.within(Path("/usr/local/hub-data"), []) is not None
    assert sandbox.within(Path("/opt/hub/.venv-session/data"), [Path("/opt/hub/.venv-session")]) is not None
    assert sandbox.within(Path("/srv/hub"), [Path("/opt/hub/.venv-session")]) is None
