"""The person's own configuration, loaded last, so that theirs wins."""

from __future__ import annotations

from visidata import vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.


def install() -> None:
    own = str(vd.config_file)
    try:
        vd.loadConfigFile(own)
    except (
        Exception,
        SystemExit,
    ) as error:  # An error that VisiData itself lets through must not keep it from starting.
        vd.status(f"{own}: {type(error).__name__}: {error}", priority=2)
    vd.options.config = own  # `gO` opens it, and options are saved there.
