"""`python -m bench [NAME ...]`: runs the benchmarks named, or all that need nothing, and prints their tables."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import import_module

NAMES = ("start", "pages", "relay", "many", "leave", "scale")
NEED_A_CLUSTER = ("cluster",)
LONG = ("soak",)
NEEDS = {"leave": "chromium", "soak": "chromium"}  # Programs without which a benchmark is left out.


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES + NEED_A_CLUSTER + LONG]
    if unknown:
        print(
            f"There is no benchmark {unknown[0]!r}; there are: {', '.join(NAMES + NEED_A_CLUSTER + LONG)}.",
            file=sys.stderr,
        )
        return 2
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}\n")
    for name in names or NAMES:
        program = NEEDS.get(name)
        if program and shutil.which(program) is None:
            print(f"### {name}: left out\n\nIt needs {program}, which is not installed.\n", flush=True)
            continue
        print(import_module(f"bench.{name}").run(), end="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
