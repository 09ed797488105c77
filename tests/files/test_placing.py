"""A finished upload gets its name on any file system, and never takes one from another file."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.files.placing import UNSUPPORTED, WAYS, Way, place_new


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_places_a_file_whole_and_leaves_nothing_else(way: Way, tmp_path: Path, folder: int) -> None:
    (tmp_path / "hidden").write_text("new")
    way("hidden", folder, "x\n.csv", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["x\n.csv"]
    assert (tmp_path / "x\n.csv").read_text() == "new"


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
@pytest.mark.parametrize("way", WAYS)
def test_no_way_replaces_what_is_there(way: Way, kind: str, tmp_path: Path, folder: int) -> None:
    (tmp_path / "hidden").write_text("new")
    there = tmp_path / "x.csv"
    match kind:
        case "file":
            there.write_text("old")
        case "folder":
            there.mkdir()
        case "link":
            there.symlink_to("nowhere")
    before = os.lstat(there)
    with pytest.raises(FileExistsError):
        way("hidden", folder, "x.csv", folder)
    assert os.lstat(there) == before
    assert (tmp_path / "hidden").read_text() == "new"


@pytest.mark.parametrize("way", WAYS)
def test_of_many_who_claim_one_name_one_gets_it(way: Way, tmp_path: Path, folder: int) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def claim(number: int) -> None:
        (tmp_path / f"hidden-{number}").write_text(str(number))
        start.wait()
        try:
            way(f"hidden-{number}", folder, "x.csv", folder)
        except FileExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert (tmp_path / "x.csv").read_text() == str(won[0])


@pytest.mark.parametrize("number", sorted(UNSUPPORTED))
@pytest.mark.parametrize("missing", [1, 2])
def test_what_a_file_system_does_not_have_is_done_the_next_way(
    number: int, missing: int, tmp_path: Path, folder: int
) -> None:
    def refuse(source: str, home: int, name: str, folder: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "hidden").write_text("new")
    place_new("hidden", folder, "x.csv", folder, (*[refuse] * missing, *WAYS[missing:]))
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    (tmp_path / "hidden").write_text("newer")
    with pytest.raises(FileExistsError):
        place_new("hidden", folder, "x.csv", folder, (*[refuse] * missing, *WAYS[missing:]))


def test_a_full_disk_is_not_taken_for_a_missing_call(tmp_path: Path, folder: int) -> None:
    def full(source: str, home: int, name: str, folder: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space"):
        place_new("hidden", folder, "x.csv", folder, (full, *WAYS))


def test_a_placeholder_does_not_stay_where_the_upload_has_gone(tmp_path: Path, folder: int) -> None:
    with pytest.raises(FileNotFoundError):
        WAYS[-1]("gone", folder, "x.csv", folder)
    assert not (tmp_path / "x.csv").exists()
