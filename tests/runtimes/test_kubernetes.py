"""The Kubernetes runtime on an API server and a node of this machine: the contract, and that no fault loses a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from contract import PATIENCE, RuntimeContract
from kube.node import Image, Node
from kube.server import KubeApi
from test_local import Screen

from app.aio import cancel_and_wait
from app.runtimes.base import Observed, Phase, RunId, RunSpec
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
    """Runtimes on one cluster, each with a client of its own, as replicas have."""

    def __init__(self, settings: Settings, kubeconfig: Path) -> None:
        self.settings, self.kubeconfig = settings, kubeconfig
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

    async def close(self) -> None:
        for runtime in self.made:
            await runtime.close()
        for cluster in self.clusters:
            await cluster.close()


H = TypeVar("H", bound=KubernetesHarness)


@asynccontextmanager
async def serving(kind: type[H], settings: Settings, folder: Path) -> AsyncIterator[H]:
    image = session_image(folder, settings)
    async with KubeApi("hub") as api, Node(api.store, folder / "node", images={settings.k8s_image: image}):
        harness = kind(settings, api.write_kubeconfig(folder / "kubeconfig"))
        await harness.start()
        yield harness
        await harness.close()


@pytest.fixture
async def harness(make_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[KubernetesHarness]:
    async with serving(KubernetesHarness, make_settings(k8s_namespace="hub"), tmp_path) as harness:
        yield harness


class TestOnKubernetes(RuntimeContract):
    pass


class Pooled(KubernetesRuntime):
    """Gives each run that is launched one that was kept warm, as the lifecycle manager does: `rows` is its database."""

    rows: dict[RunId, str]
    keeper: KubernetesRuntime  # Follows the cluster, so it knows what is there.

    async def launch(self, spec: RunSpec) -> Observed:
        if spec.run not in self.rows:
            self.rows[spec.run] = self.keeper.offer_warm(spec) or ""
        seen = await self.take_warm(spec, self.rows[spec.run])
        assert seen is not None, "there was one for each"
        return seen

    async def look(self, run: RunId, uid: str | None = None) -> Observed | None:
        return await super().look(run, uid or self.rows.get(run))


class PooledHarness(KubernetesHarness):
    async def start(self) -> None:
        self.rows: dict[RunId, str] = {}
        self.keeper = KubernetesRuntime(self.settings, await Cluster.connect("hub", self.kubeconfig))
        self.made.append(self.keeper)
        self.following = asyncio.create_task(self.follow())
        while self.keeper.synced_at is None:
            await asyncio.sleep(0.01)
        await self.keeper.keep_warm(2, make=True)
        async with asyncio.timeout(PATIENCE):
            while sum(one.phase is Phase.RUNNING for one in self.keeper._known.warm()) < 2:
                await asyncio.sleep(0.01)
        await super().start()

    async def follow(self) -> None:
        async for _ in self.keeper.observe():
            pass

    def restarted(self) -> Pooled:
        runtime = Pooled(self.settings, self.clusters.pop())
        runtime.rows, runtime.keeper = self.rows, self.keeper
        self.made.append(runtime)
        return runtime


class TestFromAPool(RuntimeContract):
    @pytest.fixture
    async def harness(self, make_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[PooledHarness]:
        settings = make_settings(k8s_namespace="hub", runtime="kubernetes", secret_key="s" * 32, warm_runs=2)
        async with serving(PooledHarness, settings, tmp_path) as harness:
            yield harness
            await cancel_and_wait(harness.following)
