"""Starts a run: takes its lock, detaches, and has the program on its PTY before anything slow is imported.

Must import only what is cheap (asyncio and websockets come with `supervise`, while VisiData loads), and must not need
the program's co-operation: what it does with its terminal is its own affair.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from app.agent.waiting import Waiting

CREDENTIAL = "HUB_RUN_CREDENTIAL"
ALREADY_RUNNING = 75  # EX_TEMPFAIL of sysexits.h.
USAGE_ERROR = 2  # What argparse exits with.


MIN_ROWS = 4  # In fewer rows VisiData hides an open prompt.


class Size(NamedTuple):
    """A terminal's size in characters."""

    columns: int
    rows: int

    def usable(self) -> Size:
        """The size that the program gets: never fewer rows than `MIN_ROWS`."""
        return self if self.rows >= MIN_ROWS else Size(self.columns, MIN_ROWS)


class Run(NamedTuple):
    """A started run. The working directory of the process is the run's folder from here on."""

    pid: int  # The program's: leader of its session and process group.
    master: int  # The file descriptor of its PTY.
    size: Size
    credential: str
    listen: tuple[str, int]
    gotty: str | None  # GoTTY's path, or None where the agent plays its part.
    grace: float  # Seconds from asking the program to end to ending it.
    ending_file: str | None  # Where the ending is written too, if anywhere: the container's termination message.
    stop_asked: list[int]  # Signals that came before there was an event loop to take them.
    waiting: Waiting | None  # Where the program waits for its first client: how to let it begin.


def main(arguments: list[str], read: Callable[[Sequence[str]], list[str]] = list) -> int:
    """`run`: returns the exit code once the run is over (in the starter: once it has been detached).

    With --wait, `read` makes the program's own arguments of what its first client brings.
    """
    options, command = _parse(arguments)
    credential = os.environ.get(CREDENTIAL, "")
    if not credential:
        return _fail(f"{CREDENTIAL} must hold the run's credential, as user:secret.", USAGE_ERROR)
    listen = _address(options.listen)
    if listen is None:
        return _fail(f"--listen takes HOST:PORT, not {options.listen!r}.", USAGE_ERROR)
    gotty = os.path.abspath(options.gotty) if options.gotty and not _is_empty(options.gotty) else None  # noqa: PTH100
    cwd = os.path.abspath(options.cwd or ".")  # noqa: PTH100
    ending_file = os.path.abspath(options.ending_file) if options.ending_file else None  # noqa: PTH100
    if not os.path.isdir(cwd):  # noqa: PTH112
        return _fail(f"--cwd: there is no folder {cwd}.", USAGE_ERROR)
    try:
        os.chdir(options.dir)
        locked = take_lock()
    except OSError as error:
        return _fail(f"{options.dir}: {error.strerror}", USAGE_ERROR)
    if not locked:
        return _fail(f"A run is alive in {options.dir} already: its lock is held.", ALREADY_RUNNING)
    if options.detach and not _detach():
        return 0
    stop_asked: list[int] = []
    _note_stops(stop_asked)  # Before anybody can know whom to stop.
    _write_pid()
    for record in ("agent.json", "exit.json"):
        _remove(record)
    # Closed after a failure, so that one for want of descriptors can be recorded.
    spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = _first_size(os.environ)
        waiting = None
        if options.wait:
            from app.agent.waiting import Waiting  # Slow, and needed by few.

            waiting = Waiting(read)
            command = [*command, str(waiting.theirs)]
        environment = program_environment(os.environ)
        pid, master = spawn(command, environment, size, cwd, waiting.theirs if waiting else None)

        from app.agent.supervise import supervise  # Slow, and the program loads meanwhile.

        run = Run(pid, master, size, credential, listen, gotty, options.grace, ending_file, stop_asked, waiting)
        return supervise(run)
    except BaseException as error:
        os.close(spare)
        from app.agent.endings import record_failure

        record_failure(error, ending_file)
        return 1


def take_lock() -> bool:
    """Hold `lock` in the working directory until this process has ended; False when another run holds it.

    A run is alive if and only if its lock is held. The lock is the open file's, so it goes along to a forked child,
    and not to a program that the child executes.
    """
    lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def _write_pid() -> None:
    """Say who holds the lock, so that a run can be ended before it listens, or when it never does."""
    descriptor = os.open("pid", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.write(descriptor, str(os.getpid()).encode())
    os.close(descriptor)


def spawn(
    command: list[str], environment: Mapping[str, str], size: Size, cwd: str, handed: int | None = None
) -> tuple[int, int]:
    """Start the command as leader of a session on a PTY of its own; (its pid, the PTY's descriptor).

    What cannot be started says so on its terminal and ends with 127, as in a shell. `handed` is a descriptor that the
    command keeps, and this process does not.
    """
    master, slave = os.openpty()
    set_size(master, size)
    pid = os.fork()
    if pid == 0:
        try:
            os.login_tty(slave)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.chdir(cwd)
            if handed is not None:
                os.set_inheritable(handed, True)
            os.execvpe(command[0], command, environment)  # noqa: S606  (no shell is wanted)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)
    os.close(slave)
    if handed is not None:
        os.close(handed)
    return pid, master


def set_size(master: int, size: Size) -> None:
    """Tell the PTY its size; the program gets SIGWINCH when it has changed."""
    termios.tcsetwinsize(master, (size.rows, size.columns))


def program_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the program sees: nothing of the Hub's, and the terminal that the agent is."""
    dropped = ("LINES", "COLUMNS")  # Of the starter's terminal; curses would believe them over the real size.
    kept = {name: value for name, value in environment.items() if not name.startswith("HUB_") and name not in dropped}
    return kept | {"TERM": "xterm-256color"}


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m app.agent run", usage="%(prog)s [options] -- COMMAND [ARGUMENT...]"
    )
    parser.add_argument("--dir", required=True, help="the run's folder, which exists")
    parser.add_argument("--listen", default="127.0.0.1:0", help="HOST:PORT; port 0 takes a free one (%(default)s)")
    parser.add_argument(
        "--gotty", help="path of GoTTY; without it, and where the file is empty, the agent plays its part"
    )
    parser.add_argument("--grace", type=float, default=5.0, help="seconds from asking to killing (%(default)s)")
    parser.add_argument("--detach", action="store_true", help="go on in the background; the starter exits at once")
    parser.add_argument("--cwd", help="the program's working directory")
    parser.add_argument("--ending-file", help="where the ending is written too, as JSON, such as /dev/termination-log")
    parser.add_argument(
        "--wait",
        action="store_true",
        help="the command begins with its first client: it gets one more argument, the number of a socket, writes a "
        "byte there once it has loaded, and reads its own arguments from there, a list in JSON and a line's end",
    )
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options, command = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    if not command:
        parser.error("no command after --")
    return options, command


def _is_empty(path: str) -> bool:
    """Whether there is an empty file at a path: an image that was built without GoTTY has one."""
    try:
        return os.stat(path).st_size == 0  # noqa: PTH116  (pathlib is slow to import)
    except OSError:
        return False


def _address(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        return None
    return host.strip("[]"), int(port)


def show_address(host: str, port: int) -> str:
    """HOST:PORT as it is written in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _first_size(environment: Mapping[str, str]) -> Size:
    """HUB_COLS by HUB_ROWS, else the size of the terminals of old that every program can draw on."""
    columns, rows = environment.get("HUB_COLS", ""), environment.get("HUB_ROWS", "")
    return Size(
        int(columns) if columns.isdecimal() and 1 <= int(columns) <= 1000 else 80,
        int(rows) if rows.isdecimal() and 1 <= int(rows) <= 1000 else 24,
    ).usable()


def _detach() -> bool:
    """Fork and leave the starter's session. True in the process that goes on, False in the starter.

    The starter need not wait: its child belongs to init as soon as it has exited, and init reaps it.
    """
    if os.fork():
        return False
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    # The starter's own output may be a pipe that somebody reads to its end, so it must not be held open.
    log = os.open("agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(log)
    return True


def _note_stops(asked: list[int]) -> None:
    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)


def _remove(name: str) -> None:
    try:
        os.unlink(name)  # noqa: PTH108
    except FileNotFoundError:
        return


def _fail(message: str, code: int) -> int:
    sys.stderr.write(message + "\n")
    return code
