"""Files that belong together keep belonging together under any other name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.files.names import NAME_BYTES, parse_path
from app.files.sets import MAX_SET, attaches_to, groups, numbered, stem

DATABASE = ["x.sqlite", "x.sqlite-wal", "x.sqlite-shm"]
SHAPES = ["x.shp", "x.dbf", "x.shx", "x.prj", "x.cpg", "x.shp.xml"]


@pytest.mark.parametrize(
    ("names", "second"),
    [
        (DATABASE, ["x-2.sqlite", "x-2.sqlite-wal", "x-2.sqlite-shm"]),
        (["a.b.db", "a.b.db-journal"], ["a.b-2.db", "a.b-2.db-journal"]),
        (SHAPES, ["x-2.shp", "x-2.dbf", "x-2.shx", "x-2.prj", "x-2.cpg", "x-2.shp.xml"]),
        (["scene.hdr", "scene.img"], ["scene-2.hdr", "scene-2.img"]),
        (["map.tif", "map.tfw", "map.tif.aux.xml"], ["map-2.tif", "map-2.tfw", "map-2.tif.aux.xml"]),
        (["big.csv.gz", "big.csv.gz.md5"], ["big-2.csv.gz", "big-2.csv.gz.md5"]),
    ],
)
def test_a_set_is_one_and_is_numbered_as_one(names: list[str], second: list[str]) -> None:
    (members,) = groups(names)
    assert sorted(members) == list(range(len(names)))
    assert [numbered(name, 2, names) for name in names] == second
    assert len({stem(name) for name in second}) == 1


def test_files_of_other_stems_are_no_set() -> None:
    names = ["b.csv", "x.sqlite-wal", "README", "x.sqlite", "report.v1.csv", "report.v2.csv", "b.csv"]
    assert groups(names) == [[0], [3, 1], [2], [4], [5], [6]]


def test_a_set_is_uploaded_with_its_main_file_first() -> None:
    assert [DATABASE[::-1][index] for index in groups(DATABASE[::-1])[0]] == [
        "x.sqlite",
        "x.sqlite-shm",
        "x.sqlite-wal",
    ]


def test_names_that_are_cut_stay_one_set() -> None:
    long = ["x" * 244 + ending for ending in (".sqlite", ".sqlite-wal")]
    second = [numbered(name, 2, long) for name in long]
    assert second[1] == f"{second[0]}-wal"
    assert len(second[1].encode()) <= NAME_BYTES


@pytest.mark.parametrize(
    ("name", "database"), [("x.db-wal", "x.db"), ("x.db", None), ("travel-journal", None), ("a.b.db-shm", "a.b.db")]
)
def test_what_sqlite_would_read_along_is_known(name: str, database: str | None) -> None:
    assert attaches_to(name) == database


@given(st.lists(st.text(st.sampled_from("ab.-walxml"), min_size=1, max_size=12), max_size=80), st.integers(2, 10**6))
def test_every_name_is_in_one_set_and_keeps_its_place_in_it(names: list[str], number: int) -> None:
    found = groups(names)
    assert sorted(index for members in found for index in members) == list(range(len(names)))
    for members in found:
        own = [names[index] for index in members]
        assert len(own) == len(set(own)) <= MAX_SET
        renamed = [numbered(name, number, own) for name in own]
        assert len(set(renamed)) == len(own)
        assert not set(renamed) & set(own)
        for name in renamed:
            assert parse_path(name) == (name,)
