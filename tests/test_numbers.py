"""A number from outside is what it says, within its bounds, or is refused: whatever its length, script or notation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.numbers import seconds, whole_number


@given(st.integers(0, 99), st.integers(0, 10**6))
def test_every_number_in_range_is_read(least: int, more: int) -> None:
    most = least + more
    for number in {least, most, (least + most) // 2}:
        assert whole_number(str(number), least, most) == whole_number(number, least, most) == number
    for number in (least - 1, most + 1, most * 10 + 10):
        for raw in (number, str(number)):
            with pytest.raises(ValueError, match=f"a whole number from {least} to {most}"):
                whole_number(raw, least, most)


@pytest.mark.parametrize(
    "raw",
    [
        *("", " ", "14 ", " 14", "+14", "-14", "1_4", "14.0", "1e1", "0x14", "014", "0014" + "0" * 5000),
        *("00329999", "9" * 5000, "14" + "0" * 5000, "²", "١٤", "14\n", "14\0", "nan"),
        *(None, True, 14.0, float("nan"), float("inf"), 10**4000, [14], {"14": 14}, b"14"),
    ],
)
def test_nothing_else_is(raw: object) -> None:
    with pytest.raises(ValueError, match="a whole number from 9 to 32"):
        whole_number(raw, 9, 32)


@given(st.one_of(st.text(), st.floats().map(str), st.from_regex(r"[0-9]*\.?[0-9]*", fullmatch=True)))
def test_seconds_are_finite_and_within_bounds(raw: str) -> None:
    try:
        found = seconds(raw, 30)
    except ValueError:
        return
    assert 0 <= found <= 30


def test_seconds_are_plain_decimals() -> None:
    assert [seconds(raw, 30) for raw in ("0", "0.5", "30", "999999999")] == [0, 0.5, 30, 30]
    for raw in ("", "-1", "1e3", "nan", "inf", "soon", ".", "1.", "9" * 5000, "١"):
        with pytest.raises(ValueError, match="a number of seconds"):
            seconds(raw, 30)
