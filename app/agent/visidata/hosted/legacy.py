"""Guesses the encoding of old text that is no UTF-8 from the script that it would then be in. Pure.

Windows-1252 unless there is enough text of another script.
"""

from __future__ import annotations

import re

DEFAULT = "cp1252"
MIN_LETTERS = 8  # Bytes beyond ASCII; fewer tell nothing.


def guess(head: bytes) -> str:
    """The codec for `head`, which is no UTF-8."""
    for encoding in ("cp932", "euc_jp"):
        if _share(_decode(head, encoding), "\u3041-\u30fa") > 0.3:
            return encoding
    runs = re.findall(rb"[\x80-\xff]+", head)
    beyond = sum(map(len, runs))
    latin = len(re.findall(rb"[A-Za-z]", head))
    # In the scripts below, a word is a run of such bytes. In Latin script they stand alone.
    if beyond < max(MIN_LETTERS, latin) or beyond < 3 * len(runs):
        return DEFAULT
    return _cyrillic(head) or _east_asian(head) or DEFAULT


def _cyrillic(head: bytes) -> str | None:
    """Read in the wrong one of these encodings, most letters are capitals, or none."""
    best, most = None, 0
    for encoding in ("cp1251", "koi8_r", "cp866"):
        text = head.decode(encoding, "replace")
        small = len(re.findall("[а-яё]", text))
        if _share(text, "А-яЁё") > 0.9 and small > most and small > len(re.findall("[А-ЯЁ]", text)):
            best, most = encoding, small
    return best


def _east_asian(head: bytes) -> str | None:
    if _share(_decode(head, "cp949"), "\uac00-\ud7a3") > 0.9:
        return "cp949"
    # The frequent characters are those whose first byte is in this range.
    pairs = [character.encode("gb18030") for character in _decode(head, "gb18030") if character > "\x7f"]
    common = sum(0xB0 <= pair[0] <= 0xD7 for pair in pairs)
    return "gb18030" if pairs and common > 0.8 * len(pairs) else None


def _decode(head: bytes, encoding: str) -> str:
    """The text, or "" where `head` cannot be of that encoding. Its last character may be cut off."""
    for end in (len(head), -1):
        try:
            return head[:end].decode(encoding)
        except UnicodeDecodeError:
            continue
    return ""


def _share(text: str, letters: str) -> float:
    """The share of the letters among the characters beyond ASCII; 0 where these are too few."""
    beyond = sum(character > "\x7f" for character in text)
    return len(re.findall(f"[{letters}]", text)) / beyond if beyond >= MIN_LETTERS / 2 else 0
