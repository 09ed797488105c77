"""The project's own checks find what they are for, and the browser libraries arrive whole."""

from __future__ import annotations

import gzip
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import PROJECT

VENDOR = runpy.run_path(str(PROJECT / "tools" / "vendor.py"))
PROBLEMS = runpy.run_path(str(PROJECT / "tools" / "check_tree.py"))["problems"]


@pytest.fixture
def node_modules(tmp_path: Path) -> Path:
    folder = tmp_path / "node_modules"
    for package, names in VENDOR["FILES"].items():
        for name in names:
            path = folder / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"export const is = '{path.name}';\n//# sourceMappingURL={path.name}.map\n")
        (folder / package / "LICENSE").write_text(f"The licence of {package}")
    return folder


def test_libraries_come_with_their_licences_and_gzip_copies_and_point_to_no_source_map(
    node_modules: Path, tmp_path: Path
) -> None:
    target = tmp_path / "static" / "vendor"
    VENDOR["vendor"](node_modules, target)
    assert (target / "xterm.mjs").read_text() == "export const is = 'xterm.mjs';\n"
    for path in target.glob("*.gz"):
        assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()
    for package, names in VENDOR["FILES"].items():
        assert (target / f"LICENSE.{package.rpartition('/')[2]}").read_text() == f"The licence of {package}"
        assert all((target / f"{Path(name).name}.gz").exists() for name in names)


def test_a_library_that_is_gone_from_the_list_is_gone_from_the_folder(node_modules: Path, tmp_path: Path) -> None:
    target = tmp_path / "vendor"
    target.mkdir()
    (target / "old.js").touch()
    VENDOR["vendor"](node_modules, target)
    assert not (target / "old.js").exists()


def test_a_missing_library_is_named_and_the_old_ones_stay(node_modules: Path, tmp_path: Path) -> None:
    target = tmp_path / "vendor"
    VENDOR["vendor"](node_modules, target)
    (node_modules / "htmx.org" / "dist" / "htmx.min.js").unlink()
    done = subprocess.run(
        [sys.executable, str(PROJECT / "tools" / "vendor.py"), str(node_modules), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "htmx.min.js is missing" in done.stderr
    assert (target / "htmx.min.js").exists()


def test_a_change_of_the_tables_without_a_migration_is_found(tmp_path: Path) -> None:
    for name in ("app", "piccolo_migrations", "tools"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    check = [sys.executable, str(tmp_path / "tools" / "check_migrations.py")]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    tables = tmp_path / "app" / "db" / "tables.py"
    with tables.open("a") as file:
        file.write(
            "\nfrom piccolo.columns import Text\nfrom piccolo.table import Table\n"
            "\nclass Forgotten(Table):\n    note = Text()\n\nTABLES = [*TABLES, Forgotten]\n"
        )
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Forgotten" in done.stderr
    assert "piccolo migrations new hub --auto" in done.stderr


@pytest.mark.parametrize(
    ("name", "line", "count"),
    [
        ("package-lock.json", '"resolved": "x"', 1),
        ("requirements/hub.txt", "--index-url https://mirror.example/simple", 1),
        ("requirements/hub.txt", "quart==0.23.1 \\", 0),
        ("docs/use.md", "see https://example.org", 0),
        ("docs/use.md", "cd /home/me/hub/app", 1),
    ],
)
def test_addresses_in_lock_files_and_paths_of_this_checkout_are_found(name: str, line: str, count: int) -> None:
    assert len(PROBLEMS(name, f"\n{line}\n", "/home/me/hub/")) == count


def test_make_dev_asks_the_server_for_nothing_that_it_does_not_know() -> None:
    command = next(line for line in (PROJECT / "Makefile").read_text().splitlines() if "hypercorn --reload" in line)
    options = command.partition("hypercorn ")[2].replace('"$$bind"', "127.0.0.1:0").split()
    server = Path(sys.executable).with_name("hypercorn")
    # Options are read in their order, and --help, at their end, ends it all.
    read = subprocess.run([server, *options[:-1], "--help"], capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
