"""A Hub for a benchmark: a real `hub serve` with a data folder of its own, and a logged-in client. Measures nothing."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from app.db.embedded import PrivatePostgres
from e2e.hub import free_port

HUB = Path(sys.executable).with_name("hub")


@dataclass
class RunningHub:
    """`cookie` is an administrator's login."""

    port: int
    data_dir: Path
    pid: int
    cookie: str = ""

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def create(self, source: str = "") -> str:
        """A session that runs; its id."""
        connection = self.connect()
        path = self.post(connection, "/sessions", source=source, open="1").getheader("Location") or ""
        connection.request("GET", f"{path}/state?wait=running&timeout=25", headers={"Cookie": self.cookie})
        answer = connection.getresponse().read()
        assert b'"running"' in answer, answer
        return path.rpartition("/")[2]

    def run_of(self, session: str) -> tuple[str, str]:
        """Address and credential of a session's run, to go to it past the Hub."""
        (agent,) = (json.loads(one.read_text()) for one in self.data_dir.glob(f"runs/{session}-*/agent.json"))
        environment = Path(f"/proc/{agent['pid']}/environ").read_bytes().split(b"\0")
        name = b"HUB_RUN_CREDENTIAL="
        (credential,) = (one.removeprefix(name).decode() for one in environment if one.startswith(name))
        return agent["address"], credential

    def post(self, connection: http.client.HTTPConnection, path: str, **form: str) -> http.client.HTTPResponse:
        """A form as a browser sends it."""
        headers = {
            "Cookie": self.cookie,
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"http://127.0.0.1:{self.port}",
        }
        connection.request("POST", path, urlencode(form), headers)
        response = connection.getresponse()
        response.read()
        return response


@contextmanager
def a_hub(*, core: int | None = None, **settings: str) -> Iterator[RunningHub]:
    """A Hub that serves, on one `core` if one is named; it and its runs are ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        port = free_port()
        data_dir = Path(folder) / "data"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        environment |= {"HUB_DATA_DIR": str(data_dir), "HUB_BIND": f"127.0.0.1:{port}", **settings}
        postgres = PrivatePostgres(Path(folder) / "database")
        if settings.get("HUB_RUNTIME") == "kubernetes":
            environment["HUB_DATABASE_URL"] = postgres.start()
        pin = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
        server = subprocess.Popen(
            [HUB, "serve"], env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=pin, cwd=folder
        )
        assert server.stdout is not None
        try:
            for line in server.stdout:
                if "is at http" in line:
                    break
            else:
                raise SystemExit("the Hub did not start")
            yield _log_in(port, data_dir, environment, server.pid)
        finally:
            for agent in data_dir.glob("runs/*/agent.json"):
                with suppress(ProcessLookupError):
                    os.kill(json.loads(agent.read_text())["pid"], signal.SIGTERM)
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=30)
            postgres.stop()


def _log_in(port: int, data_dir: Path, environment: dict[str, str], pid: int) -> RunningHub:
    command = [HUB, "user", "add", "bench@example.org", "--admin"]
    added = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    link = re.search(r"/login/link/\S+", added)
    assert link is not None
    running = RunningHub(port, data_dir, pid)
    response = running.post(running.connect(), link[0])
    cookies = [value.partition(";")[0] for name, value in response.getheaders() if name.lower() == "set-cookie"]
    running.cookie = "; ".join(cookie for cookie in cookies if cookie.startswith("hub_login_id="))
    return running
