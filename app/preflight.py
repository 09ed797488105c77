"""What must be right on this machine before the Hub starts anything: its data folder, and what local sessions need.

Must start nothing that outlives a check.
"""

from __future__ import annotations

import tempfile

from app.errors import SettingsError
from app.runtimes.local import sandbox
from app.runtimes.local.runtime import readable
from app.settings import Settings, data_folder_unusable

NOT_APART = (
    "Sessions are not kept apart: bubblewrap cannot be used here, so whoever has a session can do all that the Hub's own "
    "user can. Install bubblewrap (on Debian: apt-get install bubblewrap) and restart the Hub."
)


def check_data_folder(settings: Settings) -> None:
    """Make the data folder if it is not there. Raises SettingsError where the Hub cannot write to it."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.data_dir):
            pass
    except OSError as error:
        raise data_folder_unusable(settings, error) from error


def check_local_sessions(settings: Settings) -> sandbox.Bwrap | None:
    """How to call bubblewrap, None where sessions are not kept apart. Raises SettingsError for what sessions lack."""
    _ = settings.gotty_path  # Raises where HUB_GOTTY names no program.
    if not settings.session_python.is_file():
        raise SettingsError(
            f"HUB_SESSION_PYTHON: there is no Python at {settings.session_python}. Run `make`, which creates it."
        )
    return _find_sandbox(settings)


def _find_sandbox(settings: Settings) -> sandbox.Bwrap | None:
    """How to call bubblewrap. Raises SettingsError where sessions would not be kept apart from more than this machine."""
    if settings.sandbox != "none" and (bwrap := sandbox.usable()) is not None:
        inside = sandbox.within(settings.data_dir, readable(settings.session_python))
        if inside is not None:
            raise SettingsError(
                f"HUB_DATA_DIR={settings.data_dir} lies in {inside}, which every session may read. Choose another folder."
            )
        return bwrap
    if settings.sandbox == "bubblewrap":
        raise SettingsError(
            "HUB_SANDBOX=bubblewrap, but bubblewrap cannot be used here. Install it, or allow user namespaces."
        )
    if settings.exposed and not settings.allow_unsandboxed_bind:
        raise SettingsError(
            f"HUB_BIND={settings.bind}, HUB_PUBLIC_URL={settings.public_url} and HUB_TRUSTED_PROXIES="
            f"{settings.trusted_proxies} let other machines in, and without bubblewrap sessions are not kept apart. "
            "Install bubblewrap (`hub doctor` says whether it works), or serve this machine alone, or set "
            "HUB_ALLOW_UNSANDBOXED_BIND=true if everybody who can reach the Hub may do all that its user can."
        )
    return None
