"""Copies the browser libraries that pages load from node_modules into static/vendor, each with a gzip copy beside it.

    python3 tools/vendor.py [NODE_MODULES TARGET]

Runs on a plain Python, before anything is installed. What it copies is `FILES`; versions are package.json's alone. Must
not change a library, but for the last line that points to a source map which is not shipped.
"""

from __future__ import annotations

import gzip
import re
import shutil
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
FILES = {
    "htmx.org": ("dist/htmx.min.js",),
    "@xterm/xterm": ("lib/xterm.mjs", "css/xterm.css"),
    "@xterm/addon-fit": ("lib/addon-fit.mjs",),
    "@xterm/addon-web-links": ("lib/addon-web-links.mjs",),
    "@xterm/addon-webgl": ("lib/addon-webgl.mjs",),
}
SOURCE_MAP = re.compile(rb"\n?//# sourceMappingURL=\S+\s*\Z")


def vendor(node_modules: Path, target: Path) -> list[Path]:
    """Fill `target` anew and return what was copied. Raises FileNotFoundError naming a file that a package lacks."""
    fresh = node_modules / ".vendor.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for package, names in FILES.items():
        for name in names:
            content = SOURCE_MAP.sub(b"\n", (node_modules / package / name).read_bytes())
            copy = fresh / Path(name).name
            copy.write_bytes(content)
            # No time and no name in it: the same library always gives the same bytes.
            copy.with_name(copy.name + ".gz").write_bytes(gzip.compress(content, mtime=0))
        license_file = node_modules / package / "LICENSE"
        if license_file.exists():
            shutil.copyfile(license_file, fresh / f"LICENSE.{package.rpartition('/')[2]}")
    # The old copies are replaced all at once, so that an interrupted run never leaves half of them.
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(fresh, target)
    return sorted(target.iterdir())


def main() -> None:
    given = [Path(argument) for argument in sys.argv[1:]]
    node_modules, target = given or (PROJECT / "node_modules", PROJECT / "static" / "vendor")
    try:
        copied = vendor(node_modules, target)
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is missing: the packages of package-lock.json are not installed (npm ci).")
    print(f"{len(copied)} files in {target}")


if __name__ == "__main__":
    main()
