"""What the Hub's log looks like: one format, and no secret of an address in it.

An address may hold a secret that logs in by itself (`/login/link/<token>`). Whatever logs an address, be it the server's
access log or a traceback, only the address without it is written.
"""

from __future__ import annotations

import logging
import re

SECRETS = re.compile(r"(/login/link/)[^\s?#\"'<>]+")


def hide_secrets(text: str) -> str:
    """The text without the secrets that addresses in it hold."""
    return SECRETS.sub(r"\1(hidden)", text)


class Format(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return hide_secrets(super().format(record))


def set_up() -> None:
    """Log to standard error, for the whole process."""
    handler = logging.StreamHandler()
    handler.setFormatter(Format())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
