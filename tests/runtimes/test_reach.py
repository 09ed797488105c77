"""`hub doctor` proves what a session's pod reaches, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from kube.node import Image, Node
from kube.server import KubeApi

from app.runtimes.kubernetes import probe, reach
from app.runtimes.kubernetes.cluster import Cluster
from app.settings import Settings


@pytest.fixture
async def api(make_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[KubeApi]:
    """A cluster without any network policy."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubeApi("hub"))
        await stack.enter_async_context(Node(api.store, tmp_path / "node", images={make_settings().k8s_image: Image()}))
        yield api


async def found_in(api: KubeApi, settings: Settings, tmp_path: Path, patience: float = 60) -> list[reach.Finding]:
    cluster = await Cluster.connect("hub", api.write_kubeconfig(tmp_path / "kubeconfig"))
    try:
        return [one async for one in reach.findings(cluster, settings, None, patience, outside={})]
    finally:
        await cluster.close()


async def test_where_nothing_keeps_sessions_apart_it_says_so_and_how_to_go_on(
    api: KubeApi, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        settings = make_settings(
            k8s_namespace="hub", bind=f"127.0.0.1:{port}", database_url=f"postgres://hub@localhost:{port}/hub"
        )
        found = {what: (mark, words) for mark, what, words in await found_in(api, settings, tmp_path)}
    assert found["Hub to a session's terminal"][0] == "ok"
    for what in ("the Hub", "another session", "Postgres"):
        mark, words = found[f"session to {what}"]
        assert (mark, "reached" in words) == ("BAD", True), what
    assert "NetworkPolicy" in found["a session's network"][1]
    await api.until(lambda: not api.store.find("pods", "hub"))


async def test_a_session_that_cannot_be_started_is_told_and_left_nowhere(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    async with KubeApi("hub") as api:  # No node: nothing is ever scheduled.
        ((mark, what, words),) = await found_in(api, make_settings(k8s_namespace="hub"), tmp_path, patience=0.1)
        assert (mark, what) == ("BAD", "a session's network")
        assert "does not start" in words
        assert not api.store.find("pods", "hub")


def test_its_pods_are_sessions_for_network_policies_and_runs_for_no_hub(make_settings: Callable[..., Settings]) -> None:
    pod = reach._pod("vd-doctor-1", ["listen", "8080"], make_settings(), None, listens=True)
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "visidata-session"
    assert not [label for label in pod["metadata"]["labels"] if label.startswith("visidata-hub/")]
    (container,) = pod["spec"]["containers"]
    assert "$" not in "".join(container["command"]), "Kubernetes would expand it"


@pytest.mark.parametrize(
    ("name", "result", "mark"),
    [
        ("the API server", "reached", "BAD"),
        ("the API server", "no answer", "ok"),
        ("the API server", "No route to host", "ok"),
        ("Postgres", "refused", "note"),
        (reach.INTERNET, "reached", "ok"),
        (reach.INTERNET, "no answer", "note"),
    ],
)
def test_what_is_reached_and_must_not_be_is_bad(name: str, result: str, mark: str) -> None:
    assert reach.verdict(name, "10.0.0.1:1", result)[0] == mark


def test_everything_that_a_session_has_no_business_with_is_tried(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(bind="0.0.0.0:8000", database_url="postgres://hub:secret@db.example.org/hub")
    tried = reach.targets(settings, ("10.96.0.1", 443), "10.1.0.7")
    assert tried["Postgres"] == ("db.example.org", 5432)
    assert tried["the Hub"] == ("10.1.0.7", 8000)
    assert ("10.96.0.1", 443) in tried.values()
    assert ("@NODE_ADDRESS", 10250) in tried.values()
    assert reach.OUTSIDE["the cloud's metadata"] == ("169.254.169.254", 80)
    local = reach.targets(replace(settings, database_url=""), ("127.0.0.1", 6443), "10.1.0.7")
    assert "Postgres" not in local
    assert ("127.0.0.1", 6443) not in local.values(), "from a pod that is the pod"


def test_the_probe_tells_what_it_found_in_less_than_a_termination_message_holds(tmp_path: Path) -> None:
    targets = {f"number {n} of the targets": ["127.0.0.1", 1] for n in range(10)} | {"a node": ["@NOWHERE", 1]}
    assert probe.main(["try", json.dumps(targets), str(tmp_path / "found")]) == 0
    told = (tmp_path / "found").read_text()
    assert len(told) < 4096
    assert json.loads(told)["number 1 of the targets"] == ["127.0.0.1:1", "refused"]
    assert json.loads(told)["a node"][1] == "not known"
