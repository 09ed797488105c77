"""What is written down about a run: where it answers (`agent.json`) and how it ended (`exit.json`).

The text of an ending is for the person whose session it was. `read_ending` and `last_words` are pure.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

LAST_WORDS = 300  # Characters: enough for the last line of a traceback, and fit for a page.
SAVE_GIVEN_UP = "The save of"  # How VisiData's last words begin where a stop has cut off a save.
_SHELL_SIGNAL = 128  # Shells and bubblewrap exit with 128 and the number of the signal that ended their child.

_ESCAPES = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    rb"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # OSC and the other strings
    rb"|\x1b[ -/]*[0-~]"
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Ending(NamedTuple):
    """How a run ended: an exit code or a signal's number, a reason, and a sentence (empty where none is needed)."""

    code: int | None
    signal: int | None
    reason: Literal["quit", "crashed", "out_of_memory", "stopped"]
    detail: str


def read_ending(status: int, *, asked: bool, out_of_memory: bool, printed: bytes) -> Ending:
    """Read a wait status. `asked`: the agent had been told to stop; `printed`: the last that the program printed."""
    exit_code = os.waitstatus_to_exitcode(status)
    code, number = (exit_code, None) if exit_code >= 0 else (None, -exit_code)
    if asked:
        words = last_words(printed)
        return Ending(code, number, "stopped", words if words.startswith(SAVE_GIVEN_UP) else "")
    if code == 0:
        return Ending(code, number, "quit", "")
    if signal.SIGKILL in (number, (code or 0) - _SHELL_SIGNAL):
        if out_of_memory:
            return Ending(code, number, "out_of_memory", "VisiData was killed: it had used up its memory.")
        return Ending(code, number, "crashed", "VisiData was killed, maybe for want of memory.")
    if number is not None:
        return Ending(code, number, "crashed", f"VisiData ended by signal {number} ({_signal_name(number)}).")
    words = last_words(printed)
    return Ending(code, number, "crashed", f"VisiData ended with exit code {code}" + (f": {words}" if words else "."))


def last_words(printed: bytes) -> str:
    """The last line of text in terminal output, without control sequences, at most LAST_WORDS long."""
    # What came before the program left the alternate screen is a drawing, not words.
    text = _ESCAPES.sub(b"", printed.rpartition(b"\x1b[?1049l")[2]).decode("utf-8", "replace")
    lines = [_CONTROLS.sub("", line.replace("\t", " ")).strip() for line in text.replace("\r", "\n").split("\n")]
    return next((line for line in reversed(lines) if line), "")[:LAST_WORDS]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def oom_kills() -> int:
    """How many processes of our control group the kernel has killed for want of memory (0 where it does not tell)."""
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text().split()
        return int(events[events.index("oom_kill") + 1])
    except (OSError, ValueError):
        return 0


def record_ending(ending: Ending, ending_file: str | None) -> None:
    """Write `exit.json`, and the same into `ending_file`. A disk that refuses is reported on stderr."""
    record = ending._asdict() | {"at": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        write_record("exit.json", record)
        if ending_file is not None:
            # In place: a container's termination message is a mount, which nothing can be renamed onto.
            Path(ending_file).write_text(json.dumps(record))
    except OSError as error:
        sys.stderr.write(f"The run's end could not be written down: {error}\n")


def record_failure(error: BaseException, ending_file: str | None) -> None:
    """Record that the agent itself failed. An ending that was recorded before stays."""
    traceback.print_exception(error)
    if Path("exit.json").exists():
        return
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        words = error.strerror
    detail = f"The session's own program failed ({_CONTROLS.sub(' ', words)[:LAST_WORDS]})."
    record_ending(Ending(None, None, "crashed", detail), ending_file)


def write_record(name: str, record: Mapping[str, object]) -> None:
    """Write a JSON file of mode 0600 in the working directory; whoever reads it sees all of it or none."""
    draft = Path(f"{name}.new")
    with open(draft, "w", opener=_private) as file:
        json.dump(record, file)
    draft.replace(name)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
