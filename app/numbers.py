"""Numbers that come from outside: form fields, query parameters, JSON. One parser for each kind, bounded before it computes.

Pure. Must not know what a number is for.
"""

from __future__ import annotations

import re


def whole_number(raw: object, least: int, most: int) -> int:
    """`raw` as a whole number from `least` to `most` (neither is negative): plain ASCII digits, or an int from JSON.

    Raises ValueError for anything else. Python's own `int` takes signs, spaces, underscores and digits of every script, and
    fails above 4,300 digits.
    """
    if isinstance(raw, str) and re.fullmatch(r"0|[1-9][0-9]*", raw[: len(str(most)) + 1]):
        raw = int(raw[: len(str(most)) + 1])  # One digit too many makes it too large, so the rest need not be read.
    if isinstance(raw, bool) or not isinstance(raw, int) or not least <= raw <= most:
        raise ValueError(f"a whole number from {least} to {most}")
    return raw


def seconds(raw: str, most: float) -> float:
    """`raw` as a number of seconds; `most` where it is more. Raises ValueError for anything but plain decimals."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", raw):
        raise ValueError("a number of seconds")
    return min(float(raw), most)
