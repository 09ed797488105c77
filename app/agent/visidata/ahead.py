"""VisiData, loaded ahead: it is imported, waits to be told what to open, and opens that.

Run as a script, `python ahead.py DESCRIPTOR`; `app.agent.waiting` is at the other end of that socket. Must not open or
draw anything before it is told to: what it is for is not known yet, and neither is the window's size.
"""

from __future__ import annotations

import json
import socket
import sys


def main(descriptor: int) -> None:
    from visidata.main import vd_cli  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

    with socket.socket(fileno=descriptor) as agent:
        agent.sendall(b".")
        line = agent.makefile().readline()
    if line:  # Else the agent is no more, and nobody will come.
        sys.argv = ["visidata", *json.loads(line)]
        vd_cli()


if __name__ == "__main__":
    main(int(sys.argv[1]))
