"""The Kubernetes runtime on a real cluster, with no more rights than deploy/kubernetes gives it: the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from contract import RuntimeContract
from test_kubernetes import KubernetesHarness
from test_local import Screen

from app.runtimes.base import Observed, RunSpec
from app.runtimes.kubernetes import reach
from app.runtimes.kubernetes.cluster import Cluster
from app.settings import Settings
from cluster.conftest import IMAGE, PATIENCE, Place


class ClusterHarness(KubernetesHarness):
    async def quit(self, seen: Observed, spec: RunSpec) -> None:
        async with Screen(seen, spec) as screen:
            await screen.until("│")
            await screen.type("gq")
            await screen.until("quit")
            await screen.type("y")
            # GoTTY hangs up on whoever is gone, and a key that it has not passed on yet is lost then.
            await screen.socket.wait_closed()


@pytest.fixture
async def harness(make_settings: Callable[..., Settings], place: Place) -> AsyncIterator[ClusterHarness]:
    settings = make_settings(k8s_namespace=place.namespace, k8s_image=IMAGE, k8s_memory=256 << 20)
    harness = ClusterHarness(settings, place.kubeconfig)
    await harness.start()
    yield harness
    await harness.close()
    await place.clear()


class TestOnACluster(RuntimeContract):
    pass


async def test_the_doctor_tries_what_a_session_reaches_and_leaves_nothing(
    make_settings: Callable[..., Settings], place: Place
) -> None:
    """Whether it is reached is the cluster's to say: one without an enforcing network plug-in shows BAD rows."""
    settings = make_settings(k8s_namespace=place.namespace, k8s_image=IMAGE, k8s_memory=256 << 20)
    cluster = await Cluster.connect(place.namespace, place.kubeconfig)
    try:
        found = {what: mark async for mark, what, _ in reach.findings(cluster, settings, None, PATIENCE, outside={})}
    finally:
        await cluster.close()
    assert found["Hub to a session's terminal"] == "ok"
    assert {"session to another session", "session to its node's kubelet", "session to the API server"} <= found.keys()
    assert not await place.pods()
