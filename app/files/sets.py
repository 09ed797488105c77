"""Files that belong together by their names: a database with its log, a shapefile, an image with its header.

Members of a set have one stem (`x` of `x.sqlite`, `x.sqlite-wal`, `x.shp`, `x.shp.xml`). A set that needs another name
is numbered as a whole, so that a program that looks for `x-2.sqlite-wal` beside `x-2.sqlite` finds it. Pure: must not
touch a disk.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from app.files.names import NAME_BYTES, split

MAX_SET = 40  # Names. A larger group of equal stems is no set, and is cut.

# SQLite takes these up by itself when it opens the database of that name.
SQLITE_TAILS = ("-wal", "-shm", "-journal")

_TAIL = re.compile(rf"(.*\.\w{{1,12}})(?:{'|'.join(SQLITE_TAILS)})", re.DOTALL)
# Files that describe another one, and have its whole name before their own ending.
_SIDE = re.compile(
    r"(.*\.(?:\w{1,12}(?=\.aux\.xml$|\.(?:aux|ovr|msk|md5|sha256)$)|(?:shp|dbf|csv|img|jp2|jpe?g|png|tiff?)(?=\.xml$)))\..*",
    re.DOTALL | re.IGNORECASE,
)


def stem(name: str) -> str:
    """What the names of a set begin with, and where a number goes: `data` of `data.csv.gz` and of `data.db-wal`.

    An ending that is too long or too odd to be one is part of the stem.
    """
    for pattern in (_TAIL, _SIDE):
        if found := pattern.fullmatch(name):
            name = found[1]
    return split(name)[0]


def numbered(name: str, number: int, together: Iterable[str] = ()) -> str:
    """The name with a number after its stem: `data.csv.gz`, 2 -> `data-2.csv.gz`. 1 is the name as it is.

    The stem is cut where the whole would be too long for a disk; with `together`, as far as the longest member needs.
    """
    if number == 1:
        return name
    base, mark = stem(name), f"-{number}"
    tails = [member[len(base) :] for member in together if stem(member) == base]
    room = NAME_BYTES - len(mark) - max(len(tail.encode()) for tail in (name[len(base) :], *tails))
    return base.encode()[:room].decode(errors="ignore") + mark + name[len(base) :]


def groups(names: Sequence[str]) -> list[list[int]]:
    """The sets among the names, as their indices; a name that belongs to no other is a set of its own.

    Each set begins with its leader, the shortest name: the first to claim a number, so that two uploads of one set at
    the same time cannot mix. A name that comes twice is not in a set with itself.
    """
    found: dict[str, list[list[int]]] = {}
    times: Counter[str] = Counter()  # How often each name came, which is the set that it is too late for.
    for index, name in enumerate(names):
        many = found.setdefault(stem(name), [])
        at = times[name]
        while at < len(many) and len(many[at]) >= MAX_SET:
            at += 1
        times[name] = at + 1
        if at == len(many):
            many.append([])
        many[at].append(index)
    sets = [
        sorted(members, key=lambda index: (len(names[index]), names[index]))
        for many in found.values()
        for members in many
    ]
    return sorted(sets, key=min)


def attaches_to(name: str) -> str | None:
    """The database that SQLite would read together with this file; None for any other file."""
    found = _TAIL.fullmatch(name)
    return found[1] if found else None


def strangers(names: Sequence[str]) -> Iterator[str]:
    """Names outside of the set that SQLite would take for members of it, if they were there."""
    for name in names:
        main = attaches_to(name)
        if main is not None:
            if main not in names:
                yield main
        else:
            yield from (name + tail for tail in SQLITE_TAILS if name + tail not in names)
