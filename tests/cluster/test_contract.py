"""The Kubernetes runtime on a real cluster, with no more rights than deploy/kubernetes gives it: the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from contract import RuntimeContract
from test_local import Screen

from app.runtimes.base import Observed, RunSpec
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.settings import Settings
from cluster.conftest import IMAGE, Place


class ClusterHarness:
    def __init__(self, settings: Settings, place: Place) -> None:
        self.settings, self.place = settings, place
        self.made: list[KubernetesRuntime] = []

    async def start(self) -> None:
        connect = [Cluster.connect(self.place.namespace, self.place.kubeconfig) for _ in range(5)]
        self.clusters = [await one for one in connect]
        self.runtime = self.restarted()

    def restarted(self) -> KubernetesRuntime:
        self.made.append(KubernetesRuntime(self.settings, self.clusters.pop()))
        return self.made[-1]

    async def quit(self, seen: Observed, spec: RunSpec) -> None:
        async with Screen(seen, spec) as screen:
            await screen.until("│")
            await screen.type("gq")
            await screen.until("quit")
            await screen.type("y")
            # GoTTY hangs up on whoever is gone, and a key that it has not passed on yet is lost then.
            await screen.socket.wait_closed()

    async def close(self) -> None:
        for runtime in self.made:
            await runtime.close()
        for cluster in self.clusters:
            await cluster.close()
        await self.place.clear()


@pytest.fixture
async def harness(make_settings: Callable[..., Settings], place: Place) -> AsyncIterator[ClusterHarness]:
    harness = ClusterHarness(make_settings(k8s_namespace=place.namespace, k8s_image=IMAGE, k8s_memory=256 << 20), place)
    await harness.start()
    yield harness
    await harness.close()


class TestOnACluster(RuntimeContract):
    pass
