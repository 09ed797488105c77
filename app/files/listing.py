"""What lies in a folder, read no further than it is shown."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence

from app.files.disk import Entry, entry_of
from app.files.names import UPLOAD_PREFIX

MAX_LISTED = 1000  # Entries. A page of more is of no use, and takes a second to make.
MAX_SCANNED = 10 * MAX_LISTED  # Names read for one listing: links and hidden files are passed over.


class Listing(list[Entry]):
    """The entries of a folder. `cut`: it holds more, of which nothing is known. `hidden`: how many dot files are left out.

    `twins` are the paths of entries whose names look the same as another's here, in another spelling of Unicode.
    """

    def __init__(self, entries: Sequence[Entry], *, cut: bool, hidden: int) -> None:
        super().__init__(sorted(entries, key=lambda entry: (entry.kind == "file", entry.name.casefold(), entry.name)))
        self.cut = cut
        self.hidden = hidden
        self.twins = _twins(entries)


def scan(folder: int, names: tuple[str, ...], *, hidden: bool, most: int) -> Listing:
    """The entries of the folder that the descriptor is of; `names` lead to it from the home. Blocks."""
    entries: list[Entry] = []
    passed = scanned = 0
    with os.scandir(folder) as found:
        for item in found:
            if len(entries) >= most or scanned >= MAX_SCANNED:
                return Listing(entries, cut=True, hidden=passed)
            scanned += 1
            if item.name.startswith(UPLOAD_PREFIX):
                continue
            if not hidden and item.name.startswith("."):
                passed += 1
            elif entry := _entry(item, names):
                entries.append(entry)
    return Listing(entries, cut=False, hidden=passed)


def _entry(item: os.DirEntry[str], folder: tuple[str, ...]) -> Entry | None:
    try:
        item.name.encode()
        return entry_of(item.name, "/".join((*folder, item.name)), item.stat(follow_symlinks=False))
    except (UnicodeEncodeError, FileNotFoundError):  # No text, or gone since the folder was read.
        return None


def _twins(entries: Sequence[Entry]) -> frozenset[str]:
    composed = {entry.path: unicodedata.normalize("NFC", entry.name) for entry in entries if not entry.name.isascii()}
    many = Counter(composed.values())
    return frozenset(path for path, name in composed.items() if many[name] > 1)
