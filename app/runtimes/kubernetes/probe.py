"""What `hub doctor` runs in a session's pod: tries to connect, or listens to be tried. Its text is sent to any image with
a python3, so it imports the standard library alone.

probe.py listen PORT                accepts connections until it is ended
probe.py try TARGETS RESULT-FILE    TARGETS is JSON: {name: [host, port]}; @NAME for a host is that environment variable
"""

from __future__ import annotations

import json
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

WAIT = 3.0  # Seconds for one connection.


def attempt(host: str, port: int) -> list[str]:
    """The address that was tried, and `reached`, `refused` or what kept it."""
    if host.startswith("@"):
        host = os.environ.get(host[1:], "")
    shown = f"{host}:{port}"
    if not host:
        return [shown, "not known"]
    try:
        with socket.create_connection((host, port), WAIT):
            return [shown, "reached"]
    except ConnectionRefusedError:
        return [shown, "refused"]
    except TimeoutError:
        return [shown, "no answer"]
    except OSError as error:
        return [shown, (error.strerror or str(error))[:60]]


def listen(port: int) -> None:
    with socket.create_server(("0.0.0.0", port)) as server:  # noqa: S104  (the pod's own addresses)
        while True:
            server.accept()[0].close()


def main(arguments: list[str]) -> int:
    if arguments[0] == "listen":
        listen(int(arguments[1]))
    targets = json.loads(arguments[1])
    with ThreadPoolExecutor(max(1, len(targets))) as pool:
        found = dict(zip(targets, pool.map(lambda target: attempt(*target), targets.values()), strict=True))
    with open(arguments[2], "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(found, file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
