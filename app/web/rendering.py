"""Making long pages, such as that of a folder with a thousand files, without holding up anybody else.

A long page takes the event loop a tenth of a second. Made in one piece, and many at once for one person, it would keep
everybody's pages and keys waiting. Must not know what is rendered.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from weakref import WeakValueDictionary

from quart import current_app

SLICE = 0.005  # Seconds of the event loop, after which others have their turn.

_turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


async def render_long(owner: str, template: str, **context: Any) -> str:
    """As `render_template`, in slices, and one page of an owner at a time."""
    turn = _turns.get(owner)
    if turn is None:
        turn = _turns[owner] = asyncio.Lock()
    async with turn:
        await current_app.update_template_context(context)
        parts = []
        ends = time.monotonic() + SLICE
        async for part in current_app.jinja_env.get_template(template).generate_async(context):
            parts.append(part)
            if time.monotonic() > ends:
                await asyncio.sleep(0)
                ends = time.monotonic() + SLICE
        return "".join(parts)
