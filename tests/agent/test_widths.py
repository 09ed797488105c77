"""VisiData and curses count the columns of text alike, and no text reaches a neighbouring cell."""

from __future__ import annotations

import csv
import importlib.util
import unicodedata
from pathlib import Path
from types import ModuleType

import pytest
from agent_run import PROJECT
from hosted_visidata import CASES, run_script
from width_strings import CURSES, generated

from app.agent.visidata.hosted import cells


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("widths_tool", PROJECT / "tools" / "widths.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_same_table_as_the_sessions() -> None:
    made = tool()
    assert made.COPY.read_text() == made.render_copy(*made.load()), "run tools/widths.py"


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("abcd", 4),
        ("日本", 4),
        ("e\u0301a\u0308", 2),
        ("กำลัง", 4),
        ("क्षि", 3),
        ("👍🏽", 4),
        ("1\ufe0f\u20e3", 1),
        ("각", 2),
        ("a\u200bb", 2),
        ("a\u00adb", 3),
        ("\u0301", 1),
        ("a\x1b[31mb\tc", 9),
        ("🫨", 2),
    ],
)
def test_the_columns_of_text(text: str, columns: int) -> None:
    assert cells.columns(text) == columns


def test_text_is_cut_between_cells_and_never_wider_than_its_room() -> None:
    with (CASES / "widths.csv").open(newline="") as file:
        texts = [cell for row in csv.reader(file) for cell in row]
    for text in [*texts, *generated(500)]:
        for room in range(12):
            drawn, columns = cells.clip(cells.units(text), room, "…")
            assert columns == cells.columns(drawn) <= room
            if cells.columns(text) <= room:
                assert columns == cells.columns(text)
    assert cells.clip(cells.units("e\u0301e\u0301e\u0301"), 2, "…") == ("e\u0301…", 2)
    assert cells.clip(cells.units("日本"), 3, "…") == ("日…", 3)


def test_what_would_colour_or_move_a_neighbour_is_drawn_as_a_sign() -> None:
    drawn = "".join(cell for cell, _ in cells.units("\x1b[31m\ta\u202ecb\u200f\u2067\x9b\u2028\u00ad", "·"))
    assert drawn == "·[31m·a·cb····"
    assert not any(unicodedata.category(character) in ("Cc", "Zl") for character in drawn)


def test_curses_counts_what_is_drawn_as_the_table_does(tmp_path: Path) -> None:
    """A large set, made of all of Unicode by chance, and each file of the cases."""
    (tmp_path / "strings").write_text("\n".join(f"{text!a}" for text in generated(20_000)))
    (found,) = run_script(tmp_path, CURSES)
    assert found["differing"] == []
    assert found["count"] > 19_000


def test_the_strings_hold_what_shifted_rows() -> None:
    together = "".join(generated(2000))
    for kind in ("\u0301", "\u200d", "\ufe0f", "\u0e33", "\u093f", "\u1161", "🏽", "🇩", "\u202e", "\x1b", "日"):
        assert kind in together
