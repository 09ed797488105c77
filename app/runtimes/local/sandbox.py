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


def bwrap_argv(bwrap: str, *, home: Path, samples: Path, readable: Iterable[Path], passwd: Path) -> list[str]:
    """The arguments that come before the program's own. `readable` are further paths it may read, as they are."""
    argv = [
        bwrap,
        "--unshare-all",
        "--share-net",  # VisiData opens addresses too.
        "--unshare-user",
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
    for path in SYSTEM:
        argv += ["--ro-bind-try", path, path]
    for path in SYSTEM_ETC:
        argv += ["--ro-bind-try", path, path]
    argv += ["--ro-bind", str(passwd), "/etc/passwd"]
    for readable_path in readable:
        argv += ["--ro-bind", str(readable_path), str(readable_path)]
    argv += ["--ro-bind", str(samples), SAMPLES, "--bind", str(home), HOME, "--chdir", HOME]
    return argv


def passwd_line() -> str:
    return f"visidata:x:{UID}:{UID}:VisiData:{HOME}:/bin/sh\n"


def usable(bwrap: str = "bwrap") -> str | None:
    """bubblewrap's path when it works on this machine (it may be installed and yet be forbidden), else None."""
    path = shutil.which(bwrap)
    if path is None:
        return None
    probe = [path, "--unshare-all", "--unshare-user", "--share-net", "--uid", str(UID), "--ro-bind", "/", "/"]
    probe += ["--proc", "/proc", "--dev", "/dev", "true"]
    try:
        done = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return path if done.returncode == 0 else None
