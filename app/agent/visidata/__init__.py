"""VisiData as a session runs it: its command line and its environment. What is set in it: `hosted`, which
`visidatarc.py` loads.

Must not touch the person's home: that is for VisiData itself to do, which runs as them and inside their sandbox.
"""

from __future__ import annotations

import shutil
from pathlib import Path

CONFIG = Path(__file__).with_name("visidatarc.py")
AHEAD = Path(__file__).with_name("ahead.py")
NO_FOLDER = "/nonexistent"
SAMPLES = "/samples"  # In the session's image.
PATH = "/usr/local/bin:/usr/bin:/bin"


def command(python: str, source_path: str | None, config_path: str = str(CONFIG)) -> list[str]:
    """The command line that opens `source_path`, or a list of the working directory's files where it is None.

    `python` is one that has VisiData; `config_path` is `visidatarc.py` as the session sees it, with `clipboard.py`
    beside it. It goes by the environment, since an option would hold for each sheet and hide the person's own file.
    Without -P, a file like `csv.py` among the person's own would take the standard library's place.
    """
    return ["env", *_configuration(config_path), python, "-P", "-m", "visidata", *arguments(source_path)]


def command_ahead(python: str, config_path: str = str(CONFIG)) -> list[str]:
    """The command line, but for a descriptor's number, that loads VisiData and has it wait; see `ahead.py`."""
    return ["env", *_configuration(config_path), python, "-P", str(AHEAD)]


def _configuration(config_path: str) -> list[str]:
    """Variables that have VisiData load the hosted configuration, and no plugins before it: it loads them itself."""
    return [f"VD_CONFIG={config_path}", f"VD_DIR={NO_FOLDER}"]


def arguments(source_path: str | None) -> list[str]:
    """VisiData's own arguments that have it open a path."""
    if source_path is None:
        return []
    # VisiData takes - for its standard input, -x for an option, +x for a cell to go to and ~x for somebody's home.
    plain = source_path if source_path.startswith("/") else f"./{source_path}"
    return ["--", plain]


def path_of(kind: str, value: str) -> str | None:
    """The path of what the Hub calls a source, in a session's image: `sample` or `file`, and else nothing."""
    if kind == "sample":
        return f"{SAMPLES}/{value}"
    return value if kind == "file" else None


def environment(home: str) -> dict[str, str]:
    """The whole environment of VisiData for a person whose home is `home`. Nothing of ours is passed on.

    LC_ALL stays unset: VisiData loses borders and wide characters where it says C. EDITOR and SHELL are named where
    this machine has them, since VisiData offers to open them.
    """
    variables = {
        "HOME": home,
        "PATH": PATH,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
    }
    for name, programs in (("EDITOR", ("nano", "vim", "vi")), ("SHELL", ("bash", "sh"))):
        found = next(filter(None, (shutil.which(program, path=PATH) for program in programs)), None)
        if found:
            variables[name] = found
    return variables
