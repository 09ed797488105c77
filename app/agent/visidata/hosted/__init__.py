"""The hosted configuration of VisiData: one module for each concern, each with an `install()` that changes VisiData.

Runs inside the session, in the sessions' Python, as the package `visidata_hub` (see `visidatarc.py`), so its modules
import each other relatively and must import nothing else of the Hub. A person's own configuration is loaded last and
may change everything again.
"""

from __future__ import annotations

from pathlib import Path


def install(folder: Path) -> None:
    """Configure VisiData. `folder` holds `clipboard.py`, the commands that copy and paste."""
    # Imported here and not above: tests import the modules that need no VisiData without it.
    from . import (
        characters,
        clipboard,
        compressed,
        decimal_commas,
        encodings,
        help_menu,
        home,
        keys,
        load_problems,
        loading,
        mouse,
        opening,
        own_config,
        paths,
        prompts,
        reading,
        saving,
        sqlite,
        text_files,
        typed_files,
        values,
        what_opens,
        widths,
        workbooks,
    )

    home.install()
    clipboard.install(folder)
    characters.install()
    prompts.install()
    mouse.install()
    keys.install()
    opening.install()
    paths.install()
    what_opens.install()
    compressed.install()
    encodings.install()
    loading.install()
    decimal_commas.install()
    load_problems.install()
    workbooks.install()
    saving.install()
    widths.install()
    values.install()
    reading.install()
    text_files.install()
    typed_files.install()
    sqlite.install()
    help_menu.install()
    own_config.install()
