"""The Kubernetes runtime on a real cluster, with no more rights than deploy/kubernetes gives it: the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from contract import RuntimeContract
from test_kubernetes import KubernetesHarness
from test_local import Screen

from app.runtimes.base import Observed, RunSpec
from app.settings import Settings
from cluster.conftest import IMAGE, Place


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
