"""Whether a request was made by one of the Hub's own pages, and if not, why not: in words for the person who waits for it.

Must not know of logins.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from app.errors import Misdirected
from app.settings import Settings


def check_host(headers: Any, settings: Settings) -> None:
    """Refuse a name that is not ours: by one of their own, another site's page could pass for ours (DNS rebinding)."""
    bound = settings.bind.rpartition(":")[0].strip("[]")
    ours = {urlsplit(settings.public_url).hostname, bound, "localhost", "127.0.0.1", "::1"}
    try:
        asked = urlsplit(f"//{headers.get('Host', '')}").hostname
    except ValueError:
        asked = None
    if asked not in ours:
        raise Misdirected(
            f"This Hub is at {settings.public_url}. Open it there; if people are to use this address instead, an "
            "administrator sets HUB_PUBLIC_URL to it."
        )


def foreign(headers: Any, settings: Settings, *, required: bool = False) -> str:
    """Why the request was not made by one of our own pages, as a browser tells; empty where it was.

    Sec-Fetch-Site is the browser's own word; Origin is compared with the address that people use and with the one that
    was asked (a Hub on one machine has several). What sends neither is no browser page, and is let through unless
    `required`: it cannot carry a person's cookie without their doing.
    """
    origin = headers.get("Origin")
    site = headers.get("Sec-Fetch-Site")
    own = settings.public_url
    if site is not None and site not in ("same-origin", "none"):
        return f"This form came from a page of another site, so nothing was done. Open {own} and try again there."
    if origin is None:
        return "" if not required or site == "same-origin" else f"This is opened from the Hub's own pages, at {own}."
    if origin == own:
        return ""
    if origin == "null":
        return (
            "The browser did not tell which page this form came from, so nothing was done. A privacy setting or an "
            f"extension does that. Open {own} in an ordinary window and try again."
        )
    try:
        parts = urlsplit(origin)
        name = parts.hostname
    except ValueError:
        name = None
    if not name:
        return f"The browser's word about where this form came from cannot be read. Open {own} and try again."
    asked = headers.get("Host", "")
    if parts.netloc == asked and parts.scheme in ("http", "https"):
        return ""
    shown = f"{parts.scheme}://{parts.netloc}"[:200]
    if site == "same-origin":
        return (
            f"The browser is at {shown}, but the request came to the Hub as {asked[:200]}: a proxy in between changes the "
            f"address, so nothing was done. Open {own} instead; or an administrator sets HUB_PUBLIC_URL={shown}, or has "
            "the proxy pass the Host header on."
        )
    return (
        f"This form came from {shown}, and this Hub is at {own}, so nothing was done. Open {own} and try again there. If "
        f"{shown} is the Hub's own address, a proxy changes it: an administrator sets HUB_PUBLIC_URL={shown}."
    )
