"""A run holds its program whoever comes and goes, and leaves word of how it ended. Real processes, real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import stat
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from agent_run import CREDENTIAL, PROJECT, Agent, Client, plain, start_agent, until
from websockets.exceptions import InvalidStatus

from app.agent import gotty
from app.agent.modes import ModeTracker

MOST_GROWTH = 8 << 20  # Bytes by which an agent may grow while clients are slow: far less than what is printed.
SHELL = ("sh", "-c", 'echo ready; while read -r line; do eval "$line"; done')  # Does what it is told.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


# Starting


async def test_a_run_says_where_it_answers(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        record = await agent.listening()
        assert record["pid"] == agent.process.pid
        host, _, port = record["address"].rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0
        assert agent.alive


async def test_detached_it_outlives_its_starter_in_a_session_of_its_own(folder: Path) -> None:
    async with start_agent(folder, *SHELL, options=("--detach",)) as agent:
        assert await agent.process.wait() == 0
        assert agent.alive, "the lock is held as soon as the starter has gone"
        pid = (await agent.listening())["pid"]
        assert pid != agent.process.pid
        assert os.getsid(pid) == os.getpgid(pid) == pid
        client = await agent.client()
        await client.type("echo still $((40 + 2))\n")
        await client.see("still 42")
        await client.leave()
        os.kill(pid, signal.SIGTERM)
        assert (await agent.ending())["reason"] == "stopped"


async def test_a_detached_run_holds_none_of_its_starters_pipes(folder: Path) -> None:
    async with start_agent(folder, *SHELL, options=("--detach",)) as agent:
        async with asyncio.timeout(30):  # The output ends with the starter, while the run goes on.
            _, said = await agent.process.communicate()
        assert said == b""
        assert agent.alive


async def test_a_second_run_in_the_same_folder_is_refused(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        await agent.listening()
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.agent", "run", "--dir", str(folder), "--detach", "--", *SHELL),
            cwd=PROJECT,
            env={"HUB_RUN_CREDENTIAL": CREDENTIAL},
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await second.communicate()
        assert second.returncode == 75
        assert b"alive" in said
        client = await agent.client()
        await client.type("echo undisturbed\n")
        await client.see("undisturbed")


async def test_the_lock_is_not_the_programs(folder: Path) -> None:
    """Else a daemon that the person starts would keep a dead run alive."""
    # setsid -f leaves the program's session, so nobody's signals reach it.
    async with start_agent(
        folder,
        "sh",
        "-c",
        "setsid -f sh -c 'echo $$ > daemon; exec sleep 60'; until [ -s daemon ]; do sleep 0.05; done",
        options=("--cwd", str(folder)),
    ) as agent:
        daemon = folder / "daemon"
        pid = int(await until(lambda: daemon.exists() and daemon.read_text(), "the daemon is there"))
        try:
            assert (await agent.ending())["reason"] == "quit"
        finally:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--dir", ".", "--", "true"), {}),
        (("--dir", "no-such-folder", "--", "true"), {"HUB_RUN_CREDENTIAL": "a:b"}),
        (("--dir", ".", "--listen", "nowhere", "--", "true"), {"HUB_RUN_CREDENTIAL": "a:b"}),
        (("--dir", ".", "--cwd", "no-such-folder", "--", "true"), {"HUB_RUN_CREDENTIAL": "a:b"}),
        (("--dir", "."), {"HUB_RUN_CREDENTIAL": "a:b"}),
        (("--", "true"), {"HUB_RUN_CREDENTIAL": "a:b"}),
    ],
)
async def test_a_wrong_command_line_is_named(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.agent", "run", *arguments),
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT), **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert said
    assert b"Traceback" not in said


async def test_its_files_are_for_nobody_else(folder: Path) -> None:
    async with start_agent(folder, *SHELL, options=("--detach",)) as agent:
        await agent.stop()
        await agent.ending()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("lock", "pid", "agent.json", "exit.json", "agent.log"), 0o600)


async def test_the_program_sees_nothing_of_the_hubs_and_the_right_terminal(folder: Path) -> None:
    environment = {
        "HUB_SECRET_KEY": "x",
        "LINES": "7",
        "TERM": "dumb",
        "KEPT": "yes",
        "HUB_COLS": "90",
        "HUB_ROWS": "30",
    }
    show = 'env | grep -E "^(HUB|LINES|TERM|KEPT)"; stty size; tty < /dev/tty > /dev/null && echo own terminal; pwd'
    async with start_agent(folder, *SHELL, environment=environment, options=("--cwd", "/")) as agent:
        client = await agent.client(size=None)
        # A repaint's change of size may be under way.
        await client.type(f"until [ \"$(stty size)\" = '30 90' ]; do sleep 0.1; done; {show}; echo do''ne.\n")
        seen = await client.see("done.")
        assert "KEPT=yes" in seen
        assert "TERM=xterm-256color" in seen
        assert "30 90" in seen
        assert "own terminal" in seen
        assert "\r\n/\r\n" in seen
        assert "HUB_" not in seen.replace(show, "")
        assert "LINES=" not in seen


# Attaching


async def test_gottys_greeting(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        client = await agent.client()
        await client.type("echo h''i\n")
        await client.see("hi")
        assert client.other == ["3VisiData", f"6{gotty.MESSAGE_LIMIT}"]
        await client.connection.send("2")
        async with asyncio.timeout(30):
            while client.other[-1] != "2":
                await client.receive()


@pytest.mark.parametrize("credential", ["", "user:", "user:s3cre", "user:s3cretx", "\ud800"])
async def test_a_wrong_credential_gets_nothing(folder: Path, credential: str) -> None:
    async with start_agent(folder, *SHELL) as agent:
        client = await agent.client(credential, size=None)
        assert await client.closed() == 1008
        assert (client.seen, client.other, client.connection.close_reason) == (b"", [], "")


@pytest.mark.parametrize("message", ["x", "", "3{}", "1" + "x" * gotty.MESSAGE_LIMIT])
async def test_who_breaks_the_protocol_is_dropped_and_nobody_else(folder: Path, message: str) -> None:
    async with start_agent(folder, *SHELL) as agent:
        other, client = await agent.client(), await agent.client()
        await client.connection.send(message)
        assert await client.closed() in (1002, 1009)
        await other.type("echo undisturbed\n")
        await other.see("undisturbed")


async def test_other_paths(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        address = (await agent.listening())["address"]

        def fetch(path: str) -> tuple[int, bytes]:
            try:
                with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        assert await asyncio.to_thread(fetch, "/healthz") == (200, b"ok\n")
        for path in ("/", "/auth_token.js", "/ws/x"):
            assert (await asyncio.to_thread(fetch, path))[0] == 404
        with pytest.raises(InvalidStatus):
            await Client.attach(f"{address}/elsewhere")


@pytest.mark.parametrize("how", ["leave", "vanish"])
async def test_the_program_goes_on_when_a_client_goes(folder: Path, how: str) -> None:
    async with start_agent(folder, *SHELL) as agent:
        client = await agent.client()
        await client.type("x=kept; echo set\n")
        await client.see("set")
        await (client.leave() if how == "leave" else client.vanish())
        client = await agent.client()
        await client.type("echo the word is $x\n")
        await client.see("the word is kept")


async def test_a_client_that_is_killed_does_no_harm(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        address = (await agent.listening())["address"]
        program = "\n".join(
            (
                "import asyncio, sys, agent_run",
                "async def main():",
                "    client = await agent_run.Client.attach(sys.argv[1])",
                "    await client.type('x=kept; echo set\\n'); await client.see('set'); print('set', flush=True)",
                "    await asyncio.Event().wait()",
                "asyncio.run(main())",
            )
        )
        killed = await asyncio.create_subprocess_exec(
            *python(program),
            address,
            env={"PYTHONPATH": str(Path(__file__).parent)},
            stdout=asyncio.subprocess.PIPE,
        )
        assert killed.stdout is not None
        assert await killed.stdout.readline() == b"set\n"
        killed.kill()
        await killed.communicate()
        client = await agent.client()
        await client.type("echo the word is $x\n")
        await client.see("the word is kept")


async def test_all_clients_see_and_each_may_type(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        one, two = await agent.client(), await agent.client()
        await one.type("echo from $((0 + 1))\n")
        await one.see("from 1")
        await two.see("from 1")
        await two.type("echo from $((1 + 1))\n")
        await one.see("from 2")
        await two.see("from 2")


async def test_a_window_one_row_high_leaves_the_program_four(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        client = await agent.client(size=(70, 1))
        await client.type("until [ \"$(stty size)\" = '4 70' ]; do sleep 0.1; done; stty size\n")
        await client.see("4 70")


async def test_the_last_resize_wins_and_stays(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        one, two = await agent.client(size=(100, 40)), await agent.client(size=(90, 30))
        await two.type("echo he''re\n")
        await two.see("here")
        await one.resize(70, 20)
        # A repaint's change of size may be under way.
        await one.type("until [ \"$(stty size)\" = '20 70' ]; do sleep 0.1; done; stty size\n")
        await one.see("20 70")
        await two.see("20 70")
        await one.leave()
        await two.leave()
        third = await agent.client(size=None)
        await third.type("until [ \"$(stty size)\" = '20 70' ]; do sleep 0.1; done; stty size\n")
        await third.see("20 70")


async def test_who_joins_later_gets_the_modes_first_and_makes_the_program_repaint(folder: Path) -> None:
    program = python(
        """if True:
        import os, signal, sys, termios, tty
        tty.setraw(0)
        def draw(*_):
            rows, columns = termios.tcgetwinsize(0)
            os.write(1, f"<{columns}x{rows}>".encode())
        os.write(1, b"\\x1b[?1049h\\x1b[?1h\\x1b[?1002;1006h\\x1b[?25l\\x1b]2;penguins\\x07")
        signal.signal(signal.SIGWINCH, draw)
        draw()
        while True:
            signal.pause()
        """
    )
    async with start_agent(folder, *program) as agent:
        first = await agent.client(size=(80, 24))
        await first.see("<80x24>")
        await first.leave()
        second = await agent.client(size=(80, 24))
        while not second.seen:
            await second.receive()
        output = second.seen
        for sequence in (
            b"\x1b[?1049h",
            b"\x1b[?1h",
            b"\x1b[?1002h",
            b"\x1b[?1006h",
            b"\x1b[?25l",
            b"\x1b]2;penguins\x07",
        ):
            assert sequence in output
        assert output.index(b"\x1b[?1049h") < (output + b"<").index(b"<")
        seen = await second.see("<80x25>", "<80x24>")
        assert seen.index("<80x25>") < seen.index("<80x24>"), "the size changes, and ends as it was"
        assert second.other[0] == "3penguins"


async def test_a_program_that_is_slow_to_look_still_repaints(folder: Path) -> None:
    program = python(
        """if True:
        import os, termios, time, tty
        tty.setraw(0)
        seen = None
        while True:
            rows, columns = termios.tcgetwinsize(0)
            if (rows, columns) != seen:
                os.write(1, f"<{columns}x{rows}>".encode())
            seen = rows, columns
            time.sleep(0.25)
        """
    )
    async with start_agent(folder, *program) as agent:
        first = await agent.client(size=(80, 24))
        await first.see("<80x24>")
        second = await agent.client(size=(80, 24))
        await second.see("<80x25>", "<80x24>")
        await first.leave()
        await second.leave()


async def test_long_input_arrives_whole(folder: Path) -> None:
    length = 3 * 1024 * 1024
    program = python(
        f"""if True:
        import hashlib, os, tty
        tty.setraw(0)
        os.write(1, b"\\x1b]2;raw\\x07")
        digest, left = hashlib.sha256(), {length}
        while left:
            data = os.read(0, left)
            digest.update(data)
            left -= len(data)
        os.write(1, digest.hexdigest().encode())
        os.read(0, 1)
        """
    )
    text = "".join(f"{number:07}" for number in range(length // 7 + 1))[:length]
    async with start_agent(folder, *program) as agent:
        client = await agent.client()
        await client.title("raw")
        for start in range(0, length, 60_000):
            await client.type(text[start : start + 60_000])
        await client.see(hashlib.sha256(text.encode()).hexdigest())


# Slow clients

FLOOD = python(
    """if True:
    import os, sys, tty
    tty.setraw(0)
    os.write(1, b"\\x1b]2;raw\\x07")
    for line in iter(sys.stdin.readline, ""):
        left = int(line)
        while left:
            left -= os.write(1, (b"0123456789abcdef" * 4096)[:left])
        os.write(1, b"<done>")
    """
)


def most_memory(pid: int) -> int:
    """The most memory that a process has had so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


async def test_a_client_that_reads_slowly_holds_the_program_back_and_loses_nothing(folder: Path) -> None:
    size = 12 * 1024 * 1024
    async with start_agent(folder, *FLOOD) as agent:
        client = await agent.client()
        await client.title("raw")
        before = most_memory(agent.process.pid)
        await client.type(f"{size}\n")
        await until(lambda: is_waiting(agent), "the program is held back")
        client.seen = b""
        async with asyncio.timeout(60):
            while not client.seen.endswith(b"<done>"):
                await client.receive()
        assert client.seen.count(b"0123456789abcdef") == size // 16
        assert most_memory(agent.process.pid) - before < MOST_GROWTH


async def test_a_client_that_does_not_read_holds_up_nobody_and_is_repainted_when_it_does(folder: Path) -> None:
    block, blocks = 256 * 1024, 64
    async with start_agent(folder, *FLOOD) as agent:
        slow, fast = await agent.client(), await agent.client()
        await fast.title("raw")
        before = most_memory(agent.process.pid)
        for _ in range(blocks):
            await fast.type(f"{block}\n")
            await fast.see("<done>")
        assert most_memory(agent.process.pid) - before < MOST_GROWTH
        async with asyncio.timeout(15):
            while not (slow.seen.rfind(RESTORED) > block):
                await slow.receive()
        assert len(slow.seen) < block * blocks
        await fast.type("0\n")
        slow.seen = b""
        await slow.see("<done>")


async def test_a_client_that_does_not_read_can_still_interrupt(folder: Path) -> None:
    async with start_agent(folder, "yes") as agent:
        client = await agent.client()
        await until(lambda: is_waiting(agent), "the program is held back")
        await client.connection.send("2")  # An answer to this cannot get through.
        await client.type("\x03")
        assert (await agent.ending())["signal"] == signal.SIGINT


RESTORED = ModeTracker().restore()[:5]


def is_waiting(agent: Agent) -> bool:
    """Whether the program has got nowhere for a while: what it has written stays the same."""
    wrote = Path(f"/proc/{children_of(agent.process.pid)[0]}/io")
    before = wrote.read_text()
    time.sleep(0.2)
    return "wchar: 0" not in before and before == wrote.read_text()


# The end


async def test_quitting(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        client = await agent.client()
        await client.type("echo good''bye; exit 0\n")
        assert await client.closed() == 1000
        assert agent.record("exit.json") is not None, "who sees the connection close finds out why"
        assert "goodbye" in plain(client.seen), "the last words arrive"
        ending = await agent.ending()
        assert await agent.process.wait() == 0
        at = ending.pop("at")
        assert datetime.fromisoformat(at).utcoffset() == timedelta(0)
        assert ending == {"code": 0, "signal": None, "reason": "quit", "detail": ""}


async def test_the_last_output_reaches_a_client_that_is_behind(folder: Path) -> None:
    size = 512 * 1024
    async with start_agent(folder, *FLOOD) as agent:
        client = await agent.client()
        await client.title("raw")
        await client.type(f"{size}\nthis ends it\n")
        await client.closed()
        assert client.seen.count(b"0123456789abcdef") == size // 16
        assert b"ValueError" in client.seen


async def test_crashing(folder: Path) -> None:
    async with start_agent(folder, *python("raise ValueError('no such column')")) as agent:
        ending = await agent.ending()
        assert (ending["reason"], ending["code"]) == ("crashed", 1)
        assert ending["detail"] == "VisiData ended with exit code 1: ValueError: no such column"


async def test_a_program_that_is_not_there(folder: Path) -> None:
    async with start_agent(folder, "no-such-program") as agent:
        ending = await agent.ending()
        assert ending["code"] == 127
        assert ending["detail"].endswith("no-such-program: No such file or directory")


async def test_being_killed(folder: Path) -> None:
    async with start_agent(folder, "sh", "-c", "kill -9 $$") as agent:
        ending = await agent.ending()
        assert (ending["reason"], ending["signal"]) == ("crashed", signal.SIGKILL)
        assert "killed" in ending["detail"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_being_stopped(folder: Path, number: signal.Signals) -> None:
    async with start_agent(folder, *SHELL) as agent:
        client = await agent.client()
        await agent.stop(number)
        assert await client.closed() == 1000
        ending = await agent.ending()
        assert (ending["reason"], ending["signal"]) == ("stopped", signal.SIGHUP)
        assert await agent.process.wait() == 0


async def test_a_stop_that_comes_before_it_listens(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        # Nothing says when its signals are handled but its lock: the handlers come right after.
        await until(lambda: (folder / "lock").exists() and children_of(agent.process.pid), "the program is there")
        agent.process.send_signal(signal.SIGTERM)
        assert (await agent.ending())["reason"] == "stopped"


async def test_who_will_not_stop_is_killed_with_all_that_it_left(folder: Path) -> None:
    program = "trap '' HUP TERM; set -m; sleep 98 & sleep 99 & echo $! > left; set +m; while :; do wait; sleep 1; done"
    async with start_agent(folder, "sh", "-c", program, options=("--grace", "0.2", "--cwd", str(folder))) as agent:
        left = int(await until(lambda: (folder / "left").exists() and (folder / "left").read_text(), "it has started"))
        await agent.stop()
        ending = await agent.ending()
        assert (ending["reason"], ending["signal"]) == ("stopped", signal.SIGKILL)
        assert gone(left)


async def test_a_suspended_program_can_be_stopped(folder: Path) -> None:
    async with start_agent(folder, "sh", "-c", "kill -STOP $$", options=("--grace", "60")) as agent:
        await agent.stop()
        assert (await agent.ending())["reason"] == "stopped"


async def test_an_address_that_is_taken(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        async with start_agent(folder, *SHELL, options=("--listen", listen)) as agent:
            ending = await agent.ending()
            assert ending["reason"] == "crashed"
            assert "could not be served" in ending["detail"]
            assert await agent.process.wait() == 1
            assert agent.record("agent.json") is None


async def test_when_the_agent_dies_the_run_is_over(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        await agent.listening()
        (program,) = children_of(agent.process.pid)
        agent.process.kill()
        await until(lambda: gone(program), "the program is hung up on")
        await until(lambda: not agent.alive, "the lock is let go")
        assert agent.record("exit.json") is None


@pytest.mark.parametrize("descriptors", range(6, 10))
async def test_an_agent_that_fails_at_any_point_says_so(folder: Path, descriptors: int) -> None:
    """The fewer files it may open, the earlier it fails: at its PTY, its imports, its event loop, its socket."""
    told = folder / "told"
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"),
        *(sys.executable, "-m", "app.agent", "run", "--dir", str(folder), "--ending-file", str(told)),
        *("--", "sh", "-c", f"echo $$ > {folder}/program; sleep 99"),
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "HUB_RUN_CREDENTIAL": CREDENTIAL},
        stderr=asyncio.subprocess.PIPE,
    )
    await process.communicate()
    assert process.returncode == 1
    ending = json.loads((folder / "exit.json").read_text())
    assert ending["reason"] == "crashed"
    assert ending["detail"].endswith(".")
    assert json.loads(told.read_text()) == ending
    if (program := folder / "program").exists() and (pid := program.read_text().strip()):
        await until(lambda: gone(int(pid)), "the program is ended")


async def test_records_of_an_earlier_run_are_not_taken_for_this_ones(folder: Path) -> None:
    (folder / "exit.json").write_text("{}")
    async with start_agent(folder, *SHELL) as agent:
        await agent.listening()
        assert agent.record("exit.json") is None


def gone(pid: int) -> bool:
    """Whether a process has ended; init may not have reaped it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# Sizes


async def has_arrived(client: Client) -> None:
    """All that the client has said so far has: two connections know no order between them."""
    await client.type("echo arr''ived\n")
    await client.find(rb"arrived")
    client.seen = client.seen.replace(b"arrived", b"")


async def two_clients(agent: Agent) -> tuple[Client, Client]:
    """The first has given the program 100x30, and the second has been told."""
    here, there = await agent.client(), await agent.client()
    await has_arrived(there)
    await here.resize(100, 30)
    await there.find(rb"\x1b\]8379;100;30\x07")
    return here, there


async def test_who_comes_without_a_size_is_told_the_programs(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        client = await agent.client()
        await client.resize(123, 45)
        await client.type("until [ \"$(stty size)\" = '45 123' ]; do sleep 0.1; done; echo it is ''so\n")
        await client.see("it is so")
        other = await agent.client(size=None)
        await other.find(rb"\x1b\]8379;123;45\x07")
        await client.type("until [ \"$(stty size)\" = '45 123' ]; do sleep 0.1; done; echo it still ''is\n")
        await client.see("it still is")


async def test_a_size_that_one_client_gives_the_others_are_told_and_not_that_of_a_repaint(folder: Path) -> None:
    """Clients of several replicas: each shows the program in the size that it has, whoever gave it."""
    async with start_agent(folder, *SHELL) as agent:
        here, there = await two_clients(agent)
        await there.resize(100, 31)  # A repaint: one row more, and then the right number again.
        await there.resize(100, 30)
        await has_arrived(there)
        await here.resize(90, 20)
        await there.find(rb"\x1b\]8379;90;20\x07")
        await here.type("echo that was it\n")
        await here.find(rb"\nthat was it")
        assert b"\x1b]8379;100;31\x07" not in here.seen
        assert b"\x1b]8379;90;20\x07" not in here.seen, "it has said so itself"


async def test_a_size_is_told_between_two_sequences(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        here, there = await agent.client(), await agent.client()
        await there.type(r"printf 'be'gun'\033[3'; sleep 1; printf '1mended'" + "\n")
        await there.find(rb"begun\x1b\[3")
        await here.resize(77, 22)
        await there.find(rb"\x1b\[31mended(?s:.*)\x1b\]8379;77;22\x07")


async def test_who_gives_a_size_that_crossed_what_it_was_told_is_told_which_holds(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        here, there = await two_clients(agent)
        await there.resize(120, 50)
        await there.find(rb"\x1b\]8379;120;50\x07")
        await here.find(rb"\x1b\]8379;120;50\x07")


async def test_after_a_character_of_several_bytes_a_size_is_told_too(folder: Path) -> None:
    async with start_agent(folder, *SHELL) as agent:
        here, there = await agent.client(), await agent.client()
        await there.type("stty -echo; printf '\\342\\235\\257'\n")
        await there.find("❯".encode())
        await here.resize(77, 22)
        await there.find(rb"\x1b\]8379;77;22\x07")
