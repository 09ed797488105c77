"""Names and paths of people's files, as text: what is allowed, what a browser's name becomes, what VisiData opens.

Pure: must not touch a disk. What a name leads to once it is on a disk is the business of `homes`.
"""

from __future__ import annotations

import re
import unicodedata

from app.errors import BadInput

NAME_BYTES = 255  # The longest name that Linux file systems take.
PATH_BYTES = 4096  # PATH_MAX on Linux; homes are walked name by name, but VisiData is given the whole path.
CLEAN_BYTES = 200  # For new names from browsers: leaves room for a counter and for what programs add (`~`, `.tmp`).

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
_REORDERING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


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
    """Raises BadInput for a name that may exist but should not be made: control characters, the Hub's own prefix."""
    if name.startswith(UPLOAD_PREFIX):
        raise BadInput(f"Names that begin with {UPLOAD_PREFIX} are the Hub's own: choose another.", field="path")
    if any(_is_control(character) for character in name):
        raise BadInput("A file's name cannot hold control characters.", field="path")


def clean_name(raw: str) -> str:
    """A file's name as a browser or a person gave it, made fit to be a file's name here. Never fails.

    Directories in front (`C:\\fakepath\\x.csv`), control and reordering characters go, a leading dot becomes `_`, and
    what is left is cut to CLEAN_BYTES with its ending kept. Letters of every script stay, in Unicode's composed form.
    A clean name is left as it is.
    """
    name = re.split(r"[/\\]", raw)[-1]
    name = "".join(character for character in name if not _is_control(character) and character not in _REORDERING)
    name = unicodedata.normalize("NFC", name).strip()
    if not name.strip("."):
        return "unnamed"
    if name.startswith("."):
        name = "_" + name.lstrip(".")
    return fit(name, CLEAN_BYTES).rstrip()


def numbered(name: str, number: int) -> str:
    """The name with a number before its ending: `data.csv.gz`, 2 -> `data-2.csv.gz`."""
    return fit(name, NAME_BYTES, f"-{number}")


def fit(name: str, most: int, mark: str = "") -> str:
    """The name with `mark` before its ending, its stem cut so that all of it takes `most` bytes of UTF-8 or fewer."""
    stem, ending = _split(name)
    room = most - len((mark + ending).encode())
    return stem.encode()[:room].decode(errors="ignore") + mark + ending


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


def _split(name: str) -> tuple[str, str]:
    """Stem and ending; `.csv.gz` counts as one ending. What is too long or too odd to be one is part of the stem."""
    found = re.fullmatch(rf"(.+?)((?:\.\w{{1,12}})?\.(?:{'|'.join(COMPRESSED)})|\.\w{{1,12}})", name, re.DOTALL | re.I)
    return (found[1], found[2]) if found else (name, "")


def _is_control(character: str) -> bool:
    # Cc: control characters; Cs: halves of pairs, not text; Zl and Zp: line ends that are not in Cc.
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
