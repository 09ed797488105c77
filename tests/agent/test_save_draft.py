"""A file that is saved is the old one or the new one, at each moment and for every other program."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from agent_run import PROJECT

from app.agent.visidata.hosted import save_database
from app.agent.visidata.hosted.save_draft import PREFIX, ChangedMeanwhile, Draft, fingerprint, sweep


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_draft_takes_the_place_of_its_file_with_the_files_mode(tmp_path: Path) -> None:
    target = tmp_path / "data.csv.gz"
    target.write_text("old")
    target.chmod(0o640)
    draft = Draft(target)
    assert draft.path.name.startswith(PREFIX)
    assert draft.path.name.endswith(".csv.gz"), "programs tell the format by the ending"
    assert draft.path.stat().st_mode & 0o777 == 0o600, "until it is whole, no other user may read it"
    draft.path.write_text("new")
    assert target.read_text() == "old"
    assert draft.commit(fingerprint(target)) == fingerprint(target)
    assert (target.read_text(), target.stat().st_mode & 0o777, names(tmp_path)) == ("new", 0o640, ["data.csv.gz"])


def test_a_new_file_has_the_mode_that_new_files_have(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    draft = Draft(tmp_path / "new.csv")
    draft.commit(None)
    assert (tmp_path / "new.csv").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.csv").symlink_to("folder/real.csv")
    for text in ("first", "second"):  # It leads nowhere at first.
        draft = Draft(tmp_path / "link.csv")
        assert draft.path.parent == tmp_path / "folder"
        draft.path.write_text(text)
        draft.commit(fingerprint(tmp_path / "link.csv"))
        assert (tmp_path / "link.csv").is_symlink()
        assert (tmp_path / "folder/real.csv").read_text() == text


def test_a_draft_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "data.sqlite"
    target.write_text("old")
    draft = Draft(target)
    draft.path.write_text("half")
    draft.path.with_name(draft.path.name + "-journal").write_text("what SQLite leaves")
    draft.discard()
    assert (target.read_text(), names(tmp_path)) == ("old", ["data.sqlite"])


def test_a_file_that_another_program_has_changed_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "data.csv"
    target.write_text("old")
    expected = fingerprint(target)
    draft = Draft(target)
    target.write_text("of the other program")
    with pytest.raises(ChangedMeanwhile):
        draft.commit(expected)
    assert target.read_text() == "of the other program"
    draft.discard()
    draft = Draft(tmp_path / "new.csv")
    (tmp_path / "new.csv").write_text("made meanwhile")
    with pytest.raises(ChangedMeanwhile):
        draft.commit(None)


def test_a_file_that_was_deleted_meanwhile_is_made_anew(tmp_path: Path) -> None:
    target = tmp_path / "data.csv"
    target.write_text("old")
    expected = fingerprint(target)
    draft = Draft(target)
    draft.path.write_text("new")
    target.unlink()
    draft.commit(expected)
    assert target.read_text() == "new"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        Draft(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"in the folder: .*/nowhere"):
        Draft(tmp_path / "nowhere" / "data.csv")


def test_what_a_killed_process_has_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    """A record names the draft. Records of processes that live, and of other files, delete nothing."""
    records, target = tmp_path / "records", tmp_path / "data.csv"
    killed = f"""
import os, sys
from app.agent.visidata.hosted.save_draft import Draft, Path
draft = Draft({str(target)!r}, Path({str(records)!r}))
draft.path.write_text("half")
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", killed], cwd=PROJECT, check=False).returncode == 9
    lives = Draft(target, records)
    mine = tmp_path / "mine.csv"
    mine.touch()
    (records / "0000").write_bytes(os.fsencode(mine))
    assert len([name for name in names(tmp_path) if name.startswith(PREFIX)]) == 2
    sweep(records)
    assert names(tmp_path) == [lives.path.name, "mine.csv", "records"]
    lives.discard()
    assert names(records) == []
    sweep(tmp_path / "none")


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_is_added_to_in_a_copy_that_takes_its_place(tmp_path: Path, mode: str) -> None:
    target, draft = tmp_path / "a.sqlite", tmp_path / "draft.sqlite"
    with closing(sqlite3.connect(target)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("CREATE TABLE old (a)")
        database.execute("INSERT INTO old VALUES (1)")
        database.commit()
    wal, expected = save_database.copy(target, draft)
    assert (wal, expected) == (mode == "wal", fingerprint(target))
    with closing(sqlite3.connect(draft)) as database:
        database.execute("CREATE TABLE new (a)")
        database.commit()
    save_database.finish(target, draft, wal)
    draft.replace(target)
    assert names(tmp_path) == ["a.sqlite"]
    assert save_database.tables(target) == {"old", "new"}
    with closing(sqlite3.connect(target)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == (mode,)
        assert database.execute("SELECT a FROM old").fetchall() == [(1,)]


def test_a_database_with_newer_rows_in_its_log_is_not_replaced_while_it_is_in_use(tmp_path: Path) -> None:
    target = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(target)) as database:
        database.execute("PRAGMA journal_mode = wal")
        database.execute("CREATE TABLE old (a)")
        database.commit()
        reader = sqlite3.connect(target)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM old").fetchall()
        database.execute("INSERT INTO old VALUES (1)")
        database.commit()
        with pytest.raises(sqlite3.OperationalError, match="another program"):
            save_database.copy(target, tmp_path / "draft.sqlite", patience=0.1)
        reader.close()
