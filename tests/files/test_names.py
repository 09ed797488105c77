"""Names and paths of people's files: what is let in, and what becomes of a browser's name."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import BadInput
from app.files.names import NAME_BYTES, check_new_name, clean_name, openable, parse_path, visible
from app.files.sets import numbered

ODD_NAMES: list[str] = json.loads((Path(__file__).parent / "odd_names.json").read_text())
"""Names that Linux takes, and that programs are known to trip over."""

anything = st.text(st.characters(exclude_categories=()))  # Lone surrogates too: they reach us from odd clients.


@given(anything)
@example("/etc/passwd")
@example("a//b")
@example("a/../../b")
@example("..")
@example("a\0b")
@example("\ud800")
def test_a_path_is_walked_down_from_the_home_or_refused(path: str) -> None:
    try:
        names = parse_path(path)
    except BadInput as refusal:
        assert refusal.message.endswith(".")
        assert refusal.field == "path"
    else:
        assert "/".join(names) == path
        assert not {"", ".", ".."} & set(names)
        assert all("\0" not in name and "/" not in name and len(name.encode()) <= NAME_BYTES for name in names)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/etc/passwd", "slash in front"),
        ("../other/data.csv", "“..”"),
        ("a/./b", "“.”"),
        ("a//b", "empty name"),
        ("a/", "empty name"),
        ("a\0.csv", "NUL"),
        ("\udcff.csv", "valid text"),
        ("x" * 256, "too long"),
        ("/".join(["x" * 200] * 30), "too long"),
    ],
)
def test_a_refused_path_is_told_why(path: str, word: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_path(path)
    assert word in refused.value.message


@pytest.mark.parametrize("path", ["a.csv", "réponses/日本.csv", ".config/visidata/x", "a b/c\\d", "x" * 255])
def test_ordinary_paths_pass(path: str) -> None:
    assert parse_path(path) == tuple(path.split("/"))


@given(anything)
@example("." * 300)
@example("a" * 300 + " .csv")
@example("é" * 150 + ".csv.gz")
def test_a_cleaned_name_is_always_fit_for_a_new_file(raw: str) -> None:
    name = clean_name(raw)
    assert parse_path(name) == (name,)
    check_new_name(name)
    assert len(name.encode()) <= NAME_BYTES
    assert unicodedata.is_normalized("NFC", name)
    assert clean_name(name) == name


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("data.csv", "data.csv"),
        ("C:\\fakepath\\Umsätze 2024.xlsx", "Umsätze 2024.xlsx"),
        ("../../etc/passwd", "passwd"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("a\nb\x00.csv", "a\nb.csv"),
        (".hub-upload-1", "_hub-upload-1"),
        ("人口.csv", "人口.csv"),
        ("e\u0301tude.csv", "\u00e9tude.csv"),
        ("x" * 300 + ".csv.gz", "x" * 248 + ".csv.gz"),
        ("日" * 100 + ".csv", "日" * 83 + ".csv"),
    ],
)
def test_a_browsers_name_keeps_what_is_readable(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("data.csv", "data-2.csv"),
        ("data.csv.gz", "data-2.csv.gz"),
        ("report v1.2.csv", "report v1.2-2.csv"),
        ("README", "README-2"),
        (".visidatarc", ".visidatarc-2"),
        ("x" * 251 + ".csv", "x" * 249 + "-2.csv"),
    ],
)
def test_a_numbered_name_keeps_its_ending(name: str, second: str) -> None:
    assert numbered(name, 2) == second


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1), st.integers(2, 10**6))
def test_a_numbered_name_fits_and_differs(name: str, number: int) -> None:
    assert len(numbered(name, number).encode()) <= NAME_BYTES
    assert numbered(name, number) != name


def test_new_names_keep_off_the_hubs_own() -> None:
    with pytest.raises(BadInput):
        check_new_name(".hub-upload-1")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_name_that_a_disk_takes_is_kept_as_it_is(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("new\nline\t.csv", "new↵line⇥.csv"),
        ("a\u202evsc.exe", "a⟨U+202E⟩vsc.exe"),
        (" x.csv  ", "␣x.csv␣␣"),
        ("日本 語.csv", "日本 語.csv"),
        ("a\x85b\u2028", "a⟨U+0085⟩b⟨U+2028⟩"),
        ("   ", "␣␣␣"),
    ],
)
def test_a_page_shows_what_is_invisible_in_a_name(name: str, shown: str) -> None:
    assert visible(name) == shown


@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.csv.gz", "a.parquet", "my.data.sqlite", "a.h5", "a.xlsx"])
def test_visidata_opens_data(name: str) -> None:
    assert openable(name)


@pytest.mark.parametrize("name", ["a.exe", "csv", "a.", "", "a.pickle", "a.vds", "a.csv.bak"])
def test_visidata_is_not_offered_what_is_no_data_or_runs_code(name: str) -> None:
    assert not openable(name)
