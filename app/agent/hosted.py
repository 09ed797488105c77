"""A run of VisiData by the Python that runs the agent: what a session's image starts, with all of it in one place.

python -m app.agent visidata [the options of `run`, but for --dir and --cwd] [-- PATH]

With --wait, VisiData is loaded ahead, and the first client says what it opens: two arguments, the kind and the value of
what the Hub calls a source, or none. The image knows where its Python is and this package knows where its configuration
is, so who starts the container need know neither. Must not start anything itself.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence

from app.agent import start, visidata


def main(arguments: list[str]) -> int:
    """Runs as `run` does; the working directory is $HOME, and PATH is relative to that."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options, paths = arguments[:split], arguments[split + 1 :]
    waits = "--wait" in options
    if len(paths) > (0 if waits else 1):
        sys.stderr.write("VisiData opens one path at most, and with --wait its first client says which.\n")
        return start.USAGE_ERROR
    home = os.environ.get("HOME", "/")
    for name, value in visidata.environment(home).items():
        os.environ.setdefault(name, value)  # What the container's own environment says goes first.
    # The records in it are for whoever looks into the container; nobody else can reach them.
    folder = tempfile.mkdtemp(prefix="hub-run-")
    python = sys.executable
    command = visidata.command_ahead(python) if waits else visidata.command(python, paths[0] if paths else None)
    return start.main(["--dir", folder, "--cwd", home, *options, "--", *command], _opened)


def _opened(source: Sequence[str]) -> list[str]:
    """VisiData's own arguments for what a client brings."""
    kind, value = source if len(source) == 2 else ("", "")
    return visidata.arguments(visidata.path_of(kind, value))
