"""Names and paths of people's files, as text: what is allowed, what a browser's name becomes, what VisiData opens.

Pure: must not touch a disk. What a name leads to once it is on a disk is the business of `homes`.
"""

from __future__ import annotations

import re
import unicodedata

from app.errors import BadInput

NAME_BYTES = 255  # The longest name that Linux file systems take.
PATH_BYTES = 4096  # PATH_MAX on Linux; homes are walked name by name, but VisiData is given the whole path.

# Uploads on their way are named like this until they are whole; nothing else may be.
UPLOAD_PREFIX = ".hub-upload-"

COMPRESSED = frozenset({"gz", "bz2", "xz", "zst", "lzma"})

# VisiData's `open_<type>` functions whose loaders are installed or built in. What runs code on opening (`pickle`,
# `vds`) is not offered, nor what is not data (fonts, programs' own formats).
OPENABLE = COMPRESSED | frozenset(
    re.findall(
        r"\w+",
        "arrow arrows csv db dta eml feather geojson h5 hdf5 htm html json jsonl jsonla ldjson lsv mbox md "
        "msgpack ndjson npy npz ods orc org parquet psv sqlite sqlite3 svg tar tbz2 tgz toml tsv txt txz usv "
        "vd vdj vdx xls xlsx xml yaml yml zip",
    )
)

# Characters that reorder the text around them: with these, `gpj.exe` can be shown as `exe.jpg`.
_MARKS = {
    **{
        character: f"⟨U+{ord(character):04X}⟩"
        for character in "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    },
    "\n": "↵",
    "\t": "⇥",
}


def parse_path(path: str) -> tuple[str, ...]:
    """The names of a path inside a home, from the top; none for the home itself (the empty path).

    Raises BadInput for whatever could mean another place (absolute, `.`, `..`, empty names), and for what no file
    system takes (NUL, over-long, not text).
    """
    if not path:
        return ()
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise BadInput("This path is not valid text.", field="path") from None
    if b"\0" in encoded:
        raise BadInput("A path cannot hold a NUL character.", field="path")
    if path.startswith("/"):
        raise BadInput("Give the path from the top of your files, without a slash in front.", field="path")
    names = tuple(path.split("/"))
    if "" in names:
        raise BadInput("A path cannot hold an empty name: take out the extra slash.", field="path")
    if "." in names or ".." in names:
        raise BadInput("A path cannot hold “.” or “..”: give it from the top of your files.", field="path")
    if len(encoded) > PATH_BYTES or any(len(name.encode()) > NAME_BYTES for name in names):
        raise BadInput(f"This path is too long: a name may have {NAME_BYTES} bytes.", field="path")
    return names


def check_new_name(name: str) -> None:
    """Raises BadInput for a name that may exist but should not be made: those with the Hub's own prefix."""
    if name.startswith(UPLOAD_PREFIX):
        raise BadInput(f"Names that begin with {UPLOAD_PREFIX} are the Hub's own: choose another.", field="path")


def clean_name(raw: str) -> str:
    """A file's name as a browser or a person gave it, as it is stored here. Never fails.

    Every name that Linux takes stays as it is, in Unicode's composed form. Folders in front go (`C:\\fakepath\\x.csv`),
    characters that are not text and NUL go, and what is left is cut to NAME_BYTES with its ending kept.
    """
    if re.match(r"[A-Za-z]:\\|\\\\", raw):
        raw = raw.rpartition("\\")[2]
    name = raw.rpartition("/")[2].replace("\0", "").encode(errors="ignore").decode()
    name = fit(unicodedata.normalize("NFC", name), NAME_BYTES)
    if name.startswith(UPLOAD_PREFIX):
        name = "_" + name.lstrip(".")
    return name if name.strip(".") else "unnamed"


def spellings(name: str) -> tuple[str, ...]:
    """The other ways to spell this text in Unicode (composed, decomposed): names that look the same on a page."""
    if name.isascii():
        return ()
    return tuple({unicodedata.normalize(form, name) for form in ("NFC", "NFD")} - {name})


def spelling(name: str) -> str:
    """How a name with accents spells them, for a page with two that look the same."""
    if unicodedata.is_normalized("NFC", name):
        return "composed"
    return "decomposed" if unicodedata.is_normalized("NFD", name) else "mixed"


def visible(name: str) -> str:
    """The name for a page: characters that show nothing, or reorder the text around them, are made visible."""
    shown = "".join(_MARKS.get(character) or _picture(character) for character in name)
    inner = shown.strip(" ")
    before = len(shown) - len(shown.lstrip(" "))
    return "␣" * before + inner + "␣" * (len(shown) - before - len(inner))


def fit(name: str, most: int) -> str:
    """The name, its stem cut so that all of it takes `most` bytes of UTF-8 or fewer."""
    stem, ending = split(name)
    return stem.encode()[: most - len(ending.encode())].decode(errors="ignore") + ending


def openable(name: str) -> bool:
    """Whether VisiData has a loader for files of this name."""
    dot, ending = name.rpartition(".")[1:]
    return bool(dot) and ending.lower() in OPENABLE


def size_text(count: int) -> str:
    """Bytes in the unit that leaves up to three digits before the point: `0 B`, `1.4 MB` (powers of 1,000)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def split(name: str) -> tuple[str, str]:
    """Stem and ending; `.csv.gz` counts as one ending. What is too long or too odd to be one is part of the stem."""
    found = re.fullmatch(rf"(.+?)((?:\.\w{{1,12}})?\.(?:{'|'.join(COMPRESSED)})|\.\w{{1,12}})", name, re.DOTALL | re.I)
    return (found[1], found[2]) if found else (name, "")


def _picture(character: str) -> str:
    # Cc: the other control characters; Zl and Zp: line ends that are not in Cc.
    return f"⟨U+{ord(character):04X}⟩" if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character
