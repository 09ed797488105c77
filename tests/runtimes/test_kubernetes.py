"""The Kubernetes runtime on an API server and a node of this machine: the contract, and that no fault loses a run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from contract import RuntimeContract
from kube.node import Image, Node
from kube.server import KubeApi
from test_local import Screen

from app.runtimes.base import Observed, RunSpec
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.settings import PROJECT, Settings


def session_image(folder: Path, settings: Settings) -> Image:
    """What deploy/visidata has in it: an entry point that runs VisiData below the agent."""
    entry_point = folder / "entry-point"
    start = f'PYTHONPATH={PROJECT} exec {settings.session_python} -m app.agent visidata "$@"'
    entry_point.write_text(f"#!/bin/sh\n{start}\n")
    entry_point.chmod(0o755)
    return Image(argv=("/entry-point",), paths={"/entry-point": entry_point})


class KubernetesHarness:
    def __init__(self, settings: Settings, api: KubeApi, node: Node, kubeconfig: Path) -> None:
        self.settings, self.api, self.node, self.kubeconfig = settings, api, node, kubeconfig
        self.made: list[KubernetesRuntime] = []

    async def start(self) -> None:
        self.clusters = [await Cluster.connect(self.settings.k8s_namespace, self.kubeconfig) for _ in range(5)]
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


@pytest.fixture
async def harness(make_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[KubernetesHarness]:
    settings = make_settings(k8s_namespace="hub")
    image = session_image(tmp_path, settings)
    async with KubeApi("hub") as api, Node(api.store, tmp_path / "node", images={settings.k8s_image: image}) as node:
        harness = KubernetesHarness(settings, api, node, api.write_kubeconfig(tmp_path / "kubeconfig"))
        await harness.start()
        yield harness
        for runtime in harness.made:
            await runtime.close()
        for cluster in harness.clusters:
            await cluster.close()


class TestOnKubernetes(RuntimeContract):
    pass
