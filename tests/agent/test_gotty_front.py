"""With a real GoTTY in front, the program is held all the same. A stand-in plays GoTTY's part: as it does, it reads its
options from a configuration file and its credential from the environment, and starts its command on a PTY of its own for
each connection. Where GOTTY names a real one, the same tests run against that."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from agent_run import CREDENTIAL, start_agent, until
from test_run import SHELL, children_of, gone

STAND_IN = f"""#!{sys.executable}
import asyncio, base64, fcntl, json, os, pty, signal, struct, sys, termios, urllib.parse
from websockets.asyncio.server import serve

options = dict(line.split(" = ") for line in open(sys.argv[2]).read().splitlines())
options = {{name: json.loads(value) for name, value in options.items()}}
assert sys.argv[1] == "--config" and options["permit_write"] and options["enable_basic_auth"]
credential = os.environ["GOTTY_CREDENTIAL"]

async def connected(socket):
    hello = json.loads(await socket.recv())
    if hello["AuthToken"] != credential:
        return
    query = urllib.parse.parse_qs(hello["Arguments"].removeprefix("?"), keep_blank_values=True)
    arguments = query.get("arg", []) if options["permit_arguments"] else []
    pid, master = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[3], sys.argv[3:] + arguments)
    loop, output = asyncio.get_running_loop(), asyncio.Queue()
    def read():
        try:
            data = os.read(master, 1020)
        except OSError:
            data = b""
            loop.remove_reader(master)
        output.put_nowait(data)
    loop.add_reader(master, read)
    async def send():
        while data := await output.get():
            await socket.send("1" + base64.b64encode(data).decode())
        await socket.close()
    sender = asyncio.create_task(send())
    await socket.send("3VisiData")
    async for message in socket:
        if message[0] == "1":
            os.write(master, message[1:].encode())
        elif message[0] == "3":
            size = json.loads(message[1:])
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size["rows"], size["columns"], 0, 0))
    os.kill(pid, signal.SIGHUP)
    os.waitpid(pid, 0)
    sender.cancel()
    loop.remove_reader(master)
    os.close(master)

async def main():
    async with serve(connected, options["address"], int(options["port"]), subprotocols=["webtty"], compression=None):
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # A path that is too long for a Unix socket's address, as a run's folder may well be.
    folder = tmp_path / ("long" * 30) / "run"
    folder.mkdir(parents=True)
    return folder


def stand_in(tmp_path: Path) -> str:
    """The path of a GoTTY."""
    if real := os.environ.get("GOTTY"):
        return real
    program = tmp_path / "gotty"
    program.write_text(STAND_IN)
    program.chmod(0o700)
    return str(program)


gotty = pytest.fixture(stand_in)


async def test_the_program_outlives_a_connection(folder: Path, gotty: str) -> None:
    async with start_agent(folder, *SHELL, options=("--gotty", gotty)) as agent:
        client = await agent.client(size=(90, 30))
        await client.type("x=kept; until [ \"$(stty size)\" = '30 90' ]; do sleep 0.1; done; echo o''k\n")
        await client.see("ok")
        await client.vanish()
        client = await agent.client(size=(90, 30))
        await client.type("echo the word is $x\n")
        await client.see("the word is kept")
        await client.resize(70, 20)
        await client.type("until [ \"$(stty size)\" = '20 70' ]; do sleep 0.1; done; echo go''od\n")
        await client.see("good")


async def test_keys_come_through_as_they_are(folder: Path, gotty: str) -> None:
    program = (
        "if True:\n    import os, tty\n    tty.setraw(0)\n    os.write(1, b'\\x1b]2;raw\\x07')\n"
        "    while data := os.read(0, 100):\n        os.write(1, repr(data).encode())"
    )
    async with start_agent(folder, sys.executable, "-c", program, options=("--gotty", gotty)) as agent:
        client = await agent.client()
        await client.title("raw")
        for key, shown in (("\x03", r"b'\x03'"), ("\x1a", r"b'\x1a'"), ("\r", r"b'\r'"), ("é", r"b'\xc3\xa9'")):
            await client.type(key)
            await client.see(shown)


async def test_two_connections_show_the_same(folder: Path, gotty: str) -> None:
    async with start_agent(folder, *SHELL, options=("--gotty", gotty)) as agent:
        one, two = await agent.client(), await agent.client()
        for client in (one, two):
            await client.type("echo he''re\n")
            await client.see("here")
        await one.type("echo from $((0 + 1))\n")
        await one.see("from 1")
        await two.see("from 1")


async def test_much_output_comes_through_whole(folder: Path, gotty: str) -> None:
    async with start_agent(folder, *SHELL, options=("--gotty", gotty)) as agent:
        client = await agent.client()
        await client.type("seq -f %06.0f- 30000; echo do''ne\n")
        seen = await client.see("done")
        assert all(f"{number:06}-" in seen for number in range(1, 30_001, 999))
        assert seen.count("-\r\n") == 30_000


async def test_gotty_is_started_again_at_the_same_address(folder: Path, gotty: str) -> None:
    async with start_agent(folder, *SHELL, options=("--gotty", gotty)) as agent:
        client = await agent.client()
        await client.type("x=kept; echo s''et\n")
        await client.see("set")
        address = (await agent.listening())["address"]
        (killed,) = [child for child in children_of(agent.process.pid) if b"--config" in command_line(child)]
        (folder / "agent.json").unlink()
        os.kill(killed, signal.SIGKILL)
        assert (await agent.listening())["address"] == address
        client = await agent.client()
        await client.type("echo the word is $x\n")
        await client.see("the word is kept")


async def test_the_credential_is_asked_for_and_shown_to_nobody(folder: Path, gotty: str) -> None:
    async with start_agent(folder, *SHELL, options=("--gotty", gotty)) as agent:
        client = await agent.client("user:wrong")
        await client.closed()
        assert client.seen == b""
        client = await agent.client()
        await client.type("env\n")
        await client.see("PATH=")
        secret = CREDENTIAL.partition(":")[2]
        processes = [path for path in Path("/proc").glob("[0-9]*") if secret.encode() in command_line(int(path.name))]
        assert processes == []
        files = [path for path in folder.iterdir() if path.is_file() and secret in path.read_text()]
        assert files == []
        assert stat.S_IMODE((folder / "pty.sock").stat().st_mode) == 0o600


async def test_when_the_program_ends_so_do_connections_and_gotty(folder: Path, gotty: str) -> None:
    async with start_agent(folder, *SHELL, options=("--gotty", gotty)) as agent:
        client = await agent.client()
        await client.type("echo he''re\n")
        await client.see("here")
        children = children_of(agent.process.pid)
        assert len(children) == 2
        await client.type("exit 0\n")
        await client.closed()
        assert (await agent.ending())["reason"] == "quit"
        await until(lambda: all(gone(child) for child in children), "nothing is left")


async def test_when_the_agent_dies_gotty_does_too(folder: Path, gotty: str) -> None:
    async with start_agent(folder, *SHELL, options=("--gotty", gotty)) as agent:
        client = await agent.client()
        await client.type("echo he''re\n")
        await client.see("here")
        children = children_of(agent.process.pid)
        agent.process.kill()
        await until(lambda: all(gone(child) for child in children), "nothing is left")


async def test_a_gotty_that_does_not_start_is_tried_again_and_the_run_can_be_stopped(folder: Path) -> None:
    async with start_agent(folder, *SHELL, options=("--gotty", "/bin/false")) as agent:
        assert agent.process.stderr is not None
        for _ in range(2):
            assert b"GoTTY" in await agent.process.stderr.readline()
        assert agent.record("agent.json") is None
        agent.process.send_signal(signal.SIGTERM)
        assert (await agent.ending())["reason"] == "stopped"


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
