"""How a local session is kept apart from the rest of the machine: bubblewrap's arguments, and whether it can be used.

`bwrap_argv` is pure. In the sandbox there are the person's own home, the samples, a read-only system, an empty /tmp, and
processes of its own; nothing else of the machine: no other home, none of the Hub's data, code or environment.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

HOME = "/home/visidata"
SAMPLES = "/samples"
UID = 1000  # Whom the program takes itself for, whoever runs the Hub.

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# From /etc only what programs need to run and to reach the network: no password hashes, no keys, no other configuration.
SYSTEM_ETC = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/ssl/certs",
    "/etc/terminfo",
)


IGNORE_HANGUP = ("env", "--ignore-signal=HUP")
OBEY_HANGUP = ("env", "--default-signal=HUP")
"""A run is asked to end by SIGHUP to its process group. bubblewrap must outlive that, or its --die-with-parent kills the
program before it could save anything; so bubblewrap ignores it, and the program gets its default back."""

Bwrap = tuple[str, ...]
"""How bubblewrap is called on this machine: its path and what else it can do."""


def bwrap_argv(
    bwrap: Bwrap, *, home: Path, samples: Path, readable: Iterable[Path], passwd: Path, network: bool
) -> list[str]:
    """The arguments that come before the program's own. `readable` are further paths it may read, as they are."""
    argv = [
        *IGNORE_HANGUP,
        *bwrap,
        "--unshare-all",
        *(("--share-net",) if network else ()),
        *("--uid", str(UID), "--gid", str(UID)),
        "--die-with-parent",
        "--clearenv",
        *("--hostname", "visidata"),
        *("--proc", "/proc"),
        *("--dev", "/dev"),
        *("--tmpfs", "/tmp"),  # noqa: S108  (a new one, inside)
        *("--tmpfs", "/run"),
        *("--dir", "/var/tmp"),  # noqa: S108
    ]
    for path in (*SYSTEM, *SYSTEM_ETC):
        argv += ["--ro-bind-try", path, path]
    argv += ["--ro-bind", str(passwd), "/etc/passwd"]
    for readable_path in readable:
        argv += ["--ro-bind", str(readable_path), str(readable_path)]
    argv += ["--ro-bind", str(samples), SAMPLES, "--bind", str(home), HOME, "--chdir", HOME]
    return argv


def passwd_line() -> str:
    return f"visidata:x:{UID}:{UID}:VisiData:{HOME}:/bin/sh\n"


def within(path: Path, readable: Iterable[Path]) -> Path | None:
    """Which of the paths that a session may read holds `path`, if any: what is there is not hidden from sessions."""
    system = [Path(one) for one in (*SYSTEM, *SYSTEM_ETC)]
    return next((one for one in (*system, *readable) if path.resolve().is_relative_to(one.resolve())), None)


def usable(bwrap: str = "bwrap") -> Bwrap | None:
    """How to call bubblewrap, when it works on this machine (it may be installed and yet be forbidden), else None."""
    path = shutil.which(bwrap)
    if path is None:
        return None
    # A newer one can forbid further user namespaces inside, which are a way to attack the kernel.
    for call in ((path, "--unshare-user", "--disable-userns"), (path, "--unshare-user")):
        probe = [*IGNORE_HANGUP, *call, "--unshare-all", "--share-net", "--uid", str(UID), "--ro-bind", "/", "/"]
        probe += ["--proc", "/proc", "--dev", "/dev", *OBEY_HANGUP, "true"]
        try:
            done = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode == 0:
            return call
    return None
