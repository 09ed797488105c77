"""The Hub for an ASGI server: `hypercorn --reload app.asgi:app`. Reads the settings and makes the app; nothing else."""

from __future__ import annotations

from app.factory import create_app
from app.settings import Settings

app = create_app(Settings.from_env(), say=print)
