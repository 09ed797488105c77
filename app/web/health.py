"""For load balancers and monitors: alive, ready, and a few numbers. Tells nothing about people."""

from __future__ import annotations

import asyncio

from quart import Blueprint, Quart, Response, request
from quart.typing import ResponseReturnValue

from app.db.tables import Session as Row
from app.errors import DatabaseOutage, Unavailable
from app.sessions.state import State
from app.web.context import hub
from app.web.security import public

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@public("a load balancer asks whether the process answers; it has no login", same_for_all=True)
async def healthz() -> ResponseReturnValue:
    return Response("ok\n", content_type="text/plain")


@blueprint.get("/readyz")
@public("a load balancer asks whether to send people here; it has no login", same_for_all=True)
async def readyz() -> ResponseReturnValue:
    services = hub()
    if services.leaving.is_set():
        return Response("leaving\n", 503, content_type="text/plain")
    if not services.ready():
        raise Unavailable("The runtime has not answered yet.")
    # Postgres away is no reason to send users elsewhere: attached terminals and the pages that say so are here.
    outage = services.outage()
    text = "ready\n" if outage is None else f"ready, but Postgres has not answered for {outage:.0f} s\n"
    return Response(text, content_type="text/plain")


def set_up(app: Quart) -> None:
    app.after_request(_move_on)


async def _move_on(response: Response) -> Response:
    """A replica that leaves closes its connections, so that the next request goes to another one."""
    if hub().leaving.is_set() and request.http_version.startswith("1"):  # HTTP/2 has no such header.
        response.headers["Connection"] = "close"
    return response


@blueprint.get("/metrics")
@public("a monitor collects counts; it has no login, and the counts name no user", same_for_all=True)
async def metrics() -> ResponseReturnValue:
    """Prometheus's text format, version 0.0.4."""
    lines = ["# HELP hub_database_up Whether Postgres answers.", "# TYPE hub_database_up gauge"]
    try:
        rows = await Row.raw("SELECT state, count(*) AS n FROM sessions GROUP BY state")
    except DatabaseOutage:
        lines += ["hub_database_up 0"]
    else:
        counts = {row["state"]: row["n"] for row in rows}
        lines += ["hub_database_up 1", "# HELP hub_sessions Sessions by state.", "# TYPE hub_sessions gauge"]
        lines += [f'hub_sessions{{state="{state.value}"}} {counts.get(state.value, 0)}' for state in State]
    synced = hub().synced()
    lines += [
        "# HELP hub_terminals Runs that this replica is connected to.",
        "# TYPE hub_terminals gauge",
        f"hub_terminals {hub().terminals.open_terminals()}",
        "# HELP hub_tasks What this replica's event loop has under way.",
        "# TYPE hub_tasks gauge",
        f"hub_tasks {len(asyncio.all_tasks())}",
        "# HELP hub_runtime_age_seconds Since the runtime's last word; NaN before the first.",
        "# TYPE hub_runtime_age_seconds gauge",
        f"hub_runtime_age_seconds {synced if synced is not None else 'NaN'}",
        "# HELP hub_sweep_held Whether the sweep of orphans waits for an administrator.",
        "# TYPE hub_sweep_held gauge",
        f"hub_sweep_held {int(hub().sweep.held())}",
        "# HELP hub_foreign_runs Runs of this Hub's name that belong to another database.",
        "# TYPE hub_foreign_runs gauge",
        f"hub_foreign_runs {hub().sweep.foreign()}",
    ]
    return Response("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4")
