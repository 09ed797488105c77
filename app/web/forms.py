"""What becomes of a form whose address is opened as a page, and of one that comes after the login has expired.

No input is lost: after the login the person is back at the form's page, which is filled with what they typed. Passwords and
files are not kept.
"""

from __future__ import annotations

from urllib.parse import urlencode

from quart import current_app, request
from werkzeug.exceptions import HTTPException

# Fields that people fill in. Nothing else of a form goes into an address.
KEPT = ("source", "name", "label", "email", "admin", "theme", "font", "size", "reader", "guard")
MAX_KEPT = 300  # Characters of one field.


def page_of(path: str) -> str:
    """The page that the form of this address is on: the nearest address above it that a browser can open."""
    adapter = current_app.create_url_adapter(request)
    while path and not (adapter and adapter.test(path, method="GET")):
        path = path.rstrip("/").rpartition("/")[0]
    return path or "/"


async def page_with_input() -> str:
    """The page of the form that the request is, with what was typed as its query; empty where nothing was."""
    if request.method != "POST" or request.mimetype != "application/x-www-form-urlencoded":
        return ""
    try:
        form = await request.form
    except HTTPException:  # Too large, or no form after all.
        return ""
    typed = {name: form[name] for name in KEPT if form.get(name) and len(form[name]) <= MAX_KEPT}
    return f"{page_of(request.path)}?{urlencode({**typed, 'kept': '1'})}" if typed else ""
