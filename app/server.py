"""How `hub serve` serves: uvicorn on the Hub's address, from the first connection to the last.

uvicorn, and not Hypercorn as for development, since it lets a terminal's bytes past ASGI (`app.web.sockets`):
docs/performance.md has the numbers. Must not know what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from hypercorn.middleware import ProxyFixMiddleware
from quart import Quart

from app.aio import cancel_and_wait, within
from app.errors import SettingsError
from app.factory import create_app
from app.output import complain, say
from app.settings import Settings
from app.web.sockets import Socket

HELD_UP = 2.5  # Seconds that requests and connections have to end by themselves.
GONE_AFTER = 7.5  # Seconds after the linger in which the process has gone in any case; people are told 8.


async def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises SettingsError for what keeps the Hub from starting."""
    began = time.monotonic()
    listener = _bind(settings.bind)
    app = create_app(settings, say=say)
    leaving, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def leave(at_once: bool) -> None:
        if at_once:
            hurry.set()
        if not leaving.is_set():
            leaving.set()
            _be_gone_in(settings.linger.total_seconds() + GONE_AFTER)
            say("\nStopping. Sessions go on, and are found again at the next start.")

    loop.add_signal_handler(signal.SIGTERM, leave, False)
    loop.add_signal_handler(signal.SIGINT, leave, True)  # A user who presses Ctrl-C waits for the end.
    loop.set_exception_handler(_report)

    starting = asyncio.create_task(app.startup(), name="start")
    stopping = asyncio.create_task(leaving.wait(), name="stop")
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await cancel_and_wait(stopping)
    if not starting.done():
        await cancel_and_wait(starting)
        await app.shutdown()
        return 0
    await starting
    server = Server(config(app, settings))
    running = asyncio.create_task(server.serve([listener]), name="serve")
    await _accepts(settings.bind)
    say(f"VisiData Hub is at {settings.public_url} ({time.monotonic() - began:.1f} s). Ctrl-C stops it.")
    await leaving.wait()
    await app.extensions["hand_over"]()
    # Until load balancers have noticed, browsers that are let go would only come back here.
    await within(hurry, settings.linger.total_seconds())
    await app.extensions["let_go"]()
    server.should_exit = True
    # Connections that do not end in time are cut with the process. That is no error and is not logged.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    loop.set_exception_handler(lambda _loop, _context: None)
    await asyncio.wait({running}, timeout=HELD_UP)
    await app.shutdown()
    return 0


class Server(uvicorn.Server):
    """uvicorn, with the Hub's own way of leaving in place of its handling of signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def config(app: Quart, settings: Settings) -> uvicorn.Config:
    """uvicorn's settings, each for a reason."""
    served = ProxyFixMiddleware(app, mode="legacy", trusted_hops=settings.trusted_proxies)
    return uvicorn.Config(
        served if settings.trusted_proxies else app,
        lifespan="off",  # `serve` starts and stops the app: what goes wrong then is told in words.
        http="httptools",
        ws=Socket,
        ws_max_size=256 * 1024,
        ws_ping_interval=20.0,  # Load balancers cut silent sockets at 60 s; dead peers are found so.
        ws_ping_timeout=20.0,
        ws_per_message_deflate=False,
        timeout_keep_alive=75,  # Longer than a load balancer keeps its own connections.
        timeout_graceful_shutdown=1,  # Live lists and terminals have been let go by then.
        proxy_headers=False,  # HUB_TRUSTED_PROXIES says what is believed.
        server_header=False,
        access_log=settings.access_log,
        log_config=None,
        log_level="info" if settings.access_log else "warning",
    )


def _bind(address: str) -> socket.socket:
    """Bind the address before anything else is started. Raises SettingsError where another process has it."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"HUB_BIND={address}: {(error.strerror or str(error)).lower()}. "
            "Is a Hub running already? Stop it, or set HUB_BIND to another address."
        ) from error
    return listener


async def _accepts(address: str) -> None:
    """Wait until the address accepts connections: what is printed as ready is ready."""
    host, _, port = address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
    for _attempt in range(100):
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log exceptions that no task handles, except cancellations when the Hub stops."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


def _be_gone_in(seconds: float) -> None:
    """End this process then, whatever holds it: a thread on a dead disk, a database that does not answer.

    Unfinished work is not lost: leases expire, and another replica or the next Hub continues it.
    """

    def go() -> None:
        try:
            complain("hub: not everything has ended in time; leaving all the same.")
        finally:
            os._exit(0)

    timer = threading.Timer(seconds, go)
    timer.daemon = True
    timer.start()
