"""The private Postgres, on the real thing: what the people who entrust their work to it need to be true."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest

from app.db.embedded import PrivatePostgres, ServerFile, parse_server_file
from app.errors import SettingsError, Unavailable

# A Hub as far as its database goes: starts it, says where, and stops using it when told to.
# Ctrl-C is for it also where these tests were started in the background of a script, whose programs are deaf to it.
HUB = """
import signal, sys
from pathlib import Path
from app.db.embedded import PrivatePostgres

signal.signal(signal.SIGINT, signal.default_int_handler)
postgres = PrivatePostgres(Path(sys.argv[1]))
print(postgres.start(), flush=True)
sys.stdin.readline()
postgres.stop()
"""


class Hub:
    """Another process that uses the database; in a process group of its own, as under a terminal."""

    def __init__(self, data_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HUB, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def dsn(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> None:
        self.process.communicate("\n", timeout=20)
        assert self.process.returncode == 0

    def interrupt(self, how: signal.Signals) -> None:
        os.killpg(self.process.pid, how)
        self.process.communicate(timeout=20)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a database in it, to copy: making one takes half a second."""
    folder = tmp_path_factory.mktemp("made")
    postgres = PrivatePostgres(folder)
    postgres.start()
    postgres.stop()
    return folder


@pytest.fixture
def data_dir(made: Path, tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["cp", "-a", str(made), str(tmp_path / "data")], check=True)
    yield tmp_path / "data"
    stop_for_good(tmp_path / "data")


def stop_for_good(data_dir: Path) -> None:
    if (found := server(data_dir)) is not None:
        kill(found.pid)


def server(data_dir: Path) -> ServerFile | None:
    """The server whose file lies in the data folder, if that process lives."""
    path = data_dir / "postgres" / "data" / "postmaster.pid"
    found = parse_server_file(path.read_text()) if path.exists() else None
    return found if found and psutil.Process(found.pid).status() != psutil.STATUS_ZOMBIE else None


def server_pid(data_dir: Path) -> int:
    found = server(data_dir)
    assert found is not None
    return found.pid


def kill(pid: int) -> None:
    """Kill a process that is not our child, and wait until it is dead."""
    handle = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([handle], [], [], 10)[0]
    os.close(handle)


def other_program(account: os.stat_result) -> subprocess.Popen[bytes]:
    """A program of the very account that the server runs as: what Postgres by itself takes for a server."""
    if os.geteuid() == 0:
        return subprocess.Popen(["sleep", "60"], user=account.st_uid, group=account.st_gid, extra_groups=[])
    return subprocess.Popen(["sleep", "60"])


async def ask(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def test_what_was_stored_is_there_after_a_stop_and_a_start(tmp_path: Path) -> None:
    postgres = PrivatePostgres(tmp_path / "data")
    dsn = postgres.start()
    try:
        await ask(dsn, "create table work (note text)")
        await ask(dsn, "insert into work values ('Fleiß')")
        postgres.stop()
        assert server(tmp_path / "data") is None
        dsn = postgres.start()
        assert await ask(dsn, "select upper(note) from work") == "FLEIß"
    finally:
        postgres.stop()


async def test_it_holds_work_safely_and_keeps_to_itself(data_dir: Path) -> None:
    postgres = PrivatePostgres(data_dir)
    dsn = postgres.start()
    for name, value in {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "listen_addresses": "",
        "shared_buffers": "32MB",
        "max_connections": "200",
    }.items():
        assert await ask(dsn, f"select current_setting('{name}')") == value, name
    assert (data_dir / "postgres").stat().st_mode & 0o077 == 0
    assert psutil.Process(server_pid(data_dir)).uids().real != 0
    assert psutil.Process(server_pid(data_dir)).net_connections("inet") == []
    postgres.stop()


async def test_a_command_beside_a_running_hub_does_not_stop_it_and_the_last_one_does(data_dir: Path) -> None:
    hub, command = Hub(data_dir), Hub(data_dir)
    dsn = hub.dsn()
    assert command.dsn() == dsn
    command.leave()
    assert await ask(dsn, "select 1") == 1
    hub.leave()
    assert server(data_dir) is None


async def test_two_that_start_at_once_on_an_empty_folder_share_one_server(tmp_path: Path) -> None:
    hubs = [Hub(tmp_path / "data") for _ in range(3)]
    assert len({hub.dsn() for hub in hubs}) == 1
    for hub in hubs:
        hub.leave()
    assert server(tmp_path / "data") is None


async def test_a_killed_hub_leaves_its_database_to_the_next_one_and_does_not_keep_it_alive(data_dir: Path) -> None:
    hub = Hub(data_dir)
    dsn = hub.dsn()
    pid = server_pid(data_dir)
    hub.interrupt(signal.SIGKILL)
    assert await ask(dsn, "select 1") == 1
    successor = PrivatePostgres(data_dir)
    assert successor.start() == dsn
    assert server_pid(data_dir) == pid
    successor.stop()
    assert server(data_dir) is None


async def test_ctrl_c_in_the_terminal_does_not_take_the_database_from_under_the_hub(data_dir: Path) -> None:
    hub = Hub(data_dir)
    dsn = hub.dsn()
    hub.interrupt(signal.SIGINT)
    assert await ask(dsn, "select 1") == 1
    assert os.getsid(server_pid(data_dir)) != os.getsid(0)


async def test_a_stop_is_quick_though_connections_are_open(data_dir: Path) -> None:
    postgres = PrivatePostgres(data_dir)
    connection = await asyncpg.connect(postgres.start())
    postgres.stop()
    assert "received fast shutdown request" in (data_dir / "postgres" / "log").read_text(), "it waits for nobody"
    assert server(data_dir) is None
    connection.terminate()


async def test_a_server_that_died_comes_back_with_all_that_was_committed(data_dir: Path) -> None:
    postgres = PrivatePostgres(data_dir)
    dsn = postgres.start()
    await ask(dsn, "create table work as select 42 as answer")
    kill(server_pid(data_dir))
    assert postgres.start() == dsn
    assert await ask(dsn, "select answer from work") == 42
    postgres.stop()


async def test_after_a_crash_of_the_machine_its_number_may_belong_to_another_program(data_dir: Path) -> None:
    postgres = PrivatePostgres(data_dir)
    dsn = postgres.start()
    await ask(dsn, "create table work as select 42 as answer")
    pid_file = data_dir / "postgres" / "data" / "postmaster.pid"
    left = pid_file.read_text().splitlines()
    kill(int(left[0]))
    other = other_program(pid_file.stat())
    try:
        pid_file.write_text("\n".join([str(other.pid), *left[1:], ""]))
        assert postgres.start() == dsn
        assert await ask(dsn, "select answer from work") == 42
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
        postgres.stop()
    assert server(data_dir) is None


def test_a_folder_that_was_moved_under_its_running_server_is_not_opened_twice(data_dir: Path, tmp_path: Path) -> None:
    hub = Hub(data_dir)
    hub.dsn()
    pid = server_pid(data_dir)
    hub.interrupt(signal.SIGKILL)
    moved = data_dir.rename(tmp_path / "moved")
    try:
        with pytest.raises(Unavailable, match=f"PID {pid}"):
            PrivatePostgres(moved).start()
        assert server_pid(moved) == pid
    finally:
        kill(pid)
    postgres = PrivatePostgres(moved)
    postgres.start()
    postgres.stop()


@pytest.mark.parametrize("left", ["", "\0" * 80, "no number\n"], ids=["empty", "zeros", "words"])
def test_lock_files_that_a_crash_of_the_machine_spoilt_do_not_keep_it_down(data_dir: Path, left: str) -> None:
    (data_dir / "postgres" / "data" / "postmaster.pid").write_text(left)
    postgres = PrivatePostgres(data_dir)
    postgres.start()
    postgres.stop()
    assert server(data_dir) is None


@pytest.mark.parametrize("name", ["with spaces", "odd \"$(quotes)', and; more", "deep/" * 60 + "down"])
async def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    postgres = PrivatePostgres(tmp_path / name)
    dsn = postgres.start()
    socket_dir = Path(parse_qs(urlsplit(dsn).query)["host"][0])
    assert await ask(dsn, "select 1") == 1
    assert socket_dir.stat().st_mode & 0o077 == 0
    postgres.stop()
    assert not (socket_dir / ".s.PGSQL.5432").exists()


async def test_a_closed_home_works_and_stays_closed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    before = [path.stat().st_mode for path in (home, *home.parents)]
    postgres = PrivatePostgres(home / "project" / "data")
    assert await ask(postgres.start(), "select 1") == 1
    postgres.stop()
    assert [path.stat().st_mode for path in (home, *home.parents)] == before


def test_a_socket_folder_that_somebody_else_laid_out_is_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 30)
    postgres = PrivatePostgres(data_dir)
    socket_dir = Path(parse_qs(urlsplit(postgres.start()).query)["host"][0])
    postgres.stop()
    assert socket_dir.parent == Path(tempfile.gettempdir())
    assert not socket_dir.exists()
    trap = tmp_path / "trap"
    trap.mkdir()
    socket_dir.symlink_to(trap)
    try:
        with pytest.raises(Unavailable, match="belongs to somebody else"):
            postgres.start()
        assert list(trap.iterdir()) == []
    finally:
        socket_dir.unlink()


def test_a_server_that_cannot_start_says_why_and_counts_as_nobodys(data_dir: Path) -> None:
    config = data_dir / "postgres" / "data" / "postgresql.conf"
    right = config.read_text()
    config.write_text(right + "\nno_such_setting = 1\n")
    postgres = PrivatePostgres(data_dir)
    with pytest.raises(Unavailable, match=r"(?s)no_such_setting.*HUB_DATABASE_URL"):
        postgres.start()
    config.write_text(right)
    other = PrivatePostgres(data_dir)
    other.start()
    other.stop()
    assert server(data_dir) is None


async def test_a_first_start_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    postgres = PrivatePostgres(tmp_path)
    assert await ask(postgres.start(), "select 1") == 1
    postgres.stop()


def test_the_data_of_another_postgres_is_left_alone(data_dir: Path) -> None:
    (data_dir / "postgres" / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(SettingsError, match=r"PostgreSQL 16.*HUB_DATABASE_URL"):
        PrivatePostgres(data_dir).start()


RUNNING = "4711\n/data\n1700000000\n5432\n/data/socket\n\n  123456   7\nready   \n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RUNNING, ServerFile(4711, "/data/socket", "ready")),
        (RUNNING[: RUNNING.index("\n\n")], ServerFile(4711, "/data/socket", "")),
        ("4711\n", ServerFile(4711, "", "")),
        ("", None),
        ("-4711\n/data\n", None),
        ("\x00\x00\x00\x00", None),
    ],
)
def test_the_servers_file_is_read_though_it_may_be_half_written(text: str, expected: ServerFile | None) -> None:
    assert parse_server_file(text) == expected
