"""The systemd unit: a restart of the Hub, or one session's end, leaves all sessions running."""

from __future__ import annotations

from app.server import GONE_AFTER
from app.settings import PROJECT, Settings


def unit() -> dict[str, str]:
    lines = (PROJECT / "deploy/systemd/visidata-hub.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_a_stop_signals_the_hub_alone_and_gives_it_time_to_leave() -> None:
    assert unit()["KillMode"] == "process"
    assert float(unit()["TimeoutStopSec"]) > Settings().linger.total_seconds() + GONE_AFTER


def test_a_session_that_runs_out_of_memory_does_not_stop_the_unit() -> None:
    assert unit()["OOMPolicy"] == "continue"


def test_it_runs_as_a_user_of_its_own_with_the_data_that_the_docs_name() -> None:
    assert unit()["User"] == "visidata-hub"
    assert unit()["StateDirectory"] == "visidata-hub"
    assert "/var/lib/visidata-hub" in (PROJECT / "docs/operations.md").read_text()
