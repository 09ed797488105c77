"""Fails when a file of the project knows the machine that it was made on.

Lock files name versions and hashes, never the address of a registry: everybody's own mirror must do. No file holds the
path of this very checkout. Must not judge anything else; formatting and types have tools of their own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements/", "package-lock.json", "package.json", "bench/package-lock.json", "bench/package.json")


def problems(name: str, text: str, checkout: str) -> list[str]:
    """What is wrong with the file `name`, as `name:line: words`."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if name.startswith(LOCKS) and ("://" in line or '"resolved"' in line):
            found.append(f"{name}:{number}: a lock file holds an address; make it again with `make requirements`")
        if checkout in line:
            found.append(f"{name}:{number}: the path of this checkout")
    return found


def main() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = PROJECT / name
        try:
            found += problems(name, path.read_text(), f"{PROJECT}/")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # A picture, or a file that was just deleted.
    print(*found, sep="\n", file=sys.stderr)
    if found:
        sys.exit(1)
    print("No file knows this machine.")


if __name__ == "__main__":
    main()
