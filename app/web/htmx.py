"""Answering htmx: whether a request wants a fragment, and how redirects and errors reach it. Nothing of the Hub's own."""

from __future__ import annotations

from quart import Response, redirect, request
from werkzeug.urls import iri_to_uri


def wants_fragment() -> bool:
    """Whether htmx asked for a part of a page. (Restoring history asks for the whole page.)"""
    return request.headers.get("HX-Request") == "true" and "HX-History-Restore-Request" not in request.headers


def go(location: str) -> Response:
    """Send the person to another page: a redirect for forms, HX-Redirect for htmx (which would follow a redirect)."""
    location = iri_to_uri(location)  # A header holds ASCII.
    if wants_fragment():
        return Response("", 200, {"HX-Redirect": location})
    return redirect(location, 303)  # type: ignore[return-value]
