"""How people want their terminals: what a form may say, and what a row is taken for that another version wrote."""

from __future__ import annotations

import json

import pytest

from app.accounts.preferences import FONTS, SIZES, THEMES, Preferences
from app.errors import BadInput

FORM = {"theme": "dark", "font": "courier", "size": "18", "reader": "on"}


def test_what_a_form_says_comes_back_from_the_row() -> None:
    chosen = Preferences.from_form(FORM)
    assert chosen == Preferences("dark", "courier", 18, reader=True, guard=False)
    assert Preferences.from_row(chosen.as_row()) == chosen


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("font", FONTS)
def test_all_that_is_offered_can_be_chosen(theme: str, font: str) -> None:
    for size in SIZES:
        chosen = Preferences.from_form({"theme": theme, "font": font, "size": str(size)})
        assert (chosen.theme, chosen.font, chosen.size) == (theme, font, size)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("theme", ""),
        ("theme", "pink"),
        ("theme", 'dark"><script>'),
        ("font", "Comic Sans"),
        ("size", ""),
        ("size", "8"),
        ("size", "33"),
        ("size", "14.5"),
        ("size", "-14"),
        ("size", "²²"),
        ("size", "00329999"),
        ("size", "0014" + "0" * 5_000),
        ("size", "14" + "0" * 5_000),
        ("size", "9" * 10_000),
    ],
)
def test_nothing_else_can(field: str, value: str) -> None:
    with pytest.raises(BadInput) as raised:
        Preferences.from_form({**FORM, field: value})
    assert raised.value.field == field


@pytest.mark.parametrize(
    "kept",
    [None, "", "{}", "null", "[]", "no JSON", '{"theme": "of a later version"}', '{"size": null}', '{"size": "big"}'],
)
def test_a_row_that_cannot_be_read_is_one_in_which_nothing_was_chosen(kept: str | None) -> None:
    assert Preferences.from_row(kept) == Preferences()


def test_what_was_not_chosen_yet_is_as_it_is_for_everybody() -> None:
    assert Preferences.from_row(json.dumps({"theme": "light", "later": 1})) == Preferences(theme="light")
