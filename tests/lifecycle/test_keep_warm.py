"""Runs that are kept warm, as people meet them: on a real Postgres and a cluster of our own (`tests/kube`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from kube.node import Image, Node
from kube.server import KubeApi
from test_manager import at_rest, running, until

from app.accounts.service import Accounts
from app.db.database import Database
from app.db.tables import Session as Row
from app.lifecycle import queries
from app.lifecycle.manager import Manager
from app.runtimes.base import RunId, RunSpec, Source
from app.runtimes.kubernetes import manifests, names
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.sessions.changes import Changes
from app.sessions.models import Session
from app.sessions.service import Sessions
from app.settings import Settings
from app.terminal.terminal import Terminals

Pod = dict[str, Any]


class Replicas:
    """A cluster, and replicas of the Hub's manager on it. `settings` are those of the next one."""

    def __init__(self, settings: Settings, database: Database, sessions: Sessions, api: KubeApi, folder: Path) -> None:
        self.settings, self.database, self.sessions, self.api = settings, database, sessions, api
        self._kubeconfig = api.write_kubeconfig(folder / "kubeconfig")
        self._made: list[Manager] = []

    async def start(self, **settings: Any) -> Manager:
        chosen = replace(self.settings, **settings)
        cluster = await Cluster.connect("hub", self._kubeconfig, call_time=8.0, patience=20.0)
        runtime = KubernetesRuntime(chosen, cluster)
        manager = Manager(chosen, self.database, runtime, self.sessions, Changes(), Terminals())
        self._made.append(manager)
        manager.start()
        return manager

    async def close(self) -> None:
        for manager in self._made:
            await manager.close()
            await manager.runtime.close()

    def pods(self) -> list[Pod]:
        return [pod for pod in self.api.store.find("pods", "hub") if "deletionTimestamp" not in pod["metadata"]]

    def warm(self) -> list[Pod]:
        return [pod for pod in self.pods() if names.pool_of(pod, names.Owner(self.settings.k8s_hub_name))]

    def of(self, session: Session) -> list[Pod]:
        return [pod for pod in self.pods() if names.run_of(pod, names.Owner(self.settings.k8s_hub_name)) == session.run]

    async def filled(self, count: int, manager: Manager | None = None) -> None:
        """So many wait and are ready, and this replica knows it."""

        def all_ready() -> bool:
            conditions = [pod["status"].get("conditions", []) for pod in self.warm()]
            ready = [any(one["type"] == "Ready" and one["status"] == "True" for one in some) for some in conditions]
            return ready == [True] * count

        async with asyncio.timeout(20):
            await self.api.until(all_ready)
            while manager is not None and not manager.runtime.offer_warm(A_GUEST):
                await asyncio.sleep(0.01)
            if manager is not None:
                manager.runtime._offered.clear()  # type: ignore[attr-defined]


A_GUEST = RunSpec(RunId("", 0), "", "", guest=True)


def credential_of(pod: Pod) -> str:
    env = {one["name"]: one["value"] for one in pod["spec"]["containers"][0]["env"]}
    return str(env[manifests.CREDENTIAL])


def is_warm_born(pod: Pod) -> bool:
    return names.POOL in pod["metadata"]["labels"]


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(k8s_namespace="hub", runtime="kubernetes", secret_key="s" * 32, warm_runs=2)


@pytest.fixture
async def replicas(
    settings: Settings, database: Database, sessions: Sessions, tmp_path: Path
) -> AsyncIterator[Replicas]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubeApi("hub"))
        images = {settings.k8s_image: Image()}
        await stack.enter_async_context(Node(api.store, tmp_path / "node", images=images, processes=False))
        replicas = Replicas(settings, database, sessions, api, tmp_path)
        yield replicas
        await replicas.close()


async def a_session(sessions: Sessions, user_id: UUID, **how: Any) -> Session:
    return await sessions.create(user_id, guest=False, name="one", source=Source(), **how)


async def test_a_session_gets_one_that_is_ready_with_its_credential_and_another_takes_its_place(
    replicas: Replicas, sessions: Sessions, ada: UUID
) -> None:
    manager = await replicas.start()
    await replicas.filled(2, manager)
    waited = {pod["metadata"]["uid"] for pod in replicas.warm()}
    session = await until(sessions, (await a_session(sessions, ada)).id, running)
    (pod,) = replicas.of(session)
    assert session.run_uid == pod["metadata"]["uid"] in waited
    assert session.credential == credential_of(pod)
    assert session.address == f"{pod['status']['podIP']}:{manager.settings.k8s_port}"
    await replicas.filled(2)


async def test_one_that_was_used_is_never_used_again(replicas: Replicas, sessions: Sessions, ada: UUID) -> None:
    manager = await replicas.start(warm_runs=1)
    made = await a_session(sessions, ada)
    used: set[str] = set()
    for _ in range(3):
        await replicas.filled(1, manager)
        await sessions.start(ada, made.id)
        session = await until(sessions, made.id, running)
        assert session.run_uid is not None and session.run_uid not in used
        used.add(session.run_uid)
        await sessions.stop(ada, made.id)
        await until(sessions, made.id, at_rest)
        assert replicas.of(session) == []


async def test_a_guest_gets_one_where_people_have_volumes_and_they_do_not(
    replicas: Replicas, sessions: Sessions, accounts: Accounts, ada: UUID
) -> None:
    manager = await replicas.start(k8s_home="pvc")
    await replicas.filled(2, manager)
    guest = await accounts.add_guest()
    theirs = await sessions.create(guest.id, guest=True, name="one", source=Source())
    hers = await a_session(sessions, ada)
    (pod,) = replicas.of(await until(sessions, theirs.id, running))
    assert is_warm_born(pod)
    (pod,) = replicas.of(await until(sessions, hers.id, running))
    assert not is_warm_born(pod)


async def test_replicas_together_keep_as_many_as_one_would(replicas: Replicas, sessions: Sessions, ada: UUID) -> None:
    managers = [await replicas.start(warm_runs=3) for _ in range(3)]
    for manager in managers:
        await replicas.filled(3, manager)
    made = [await a_session(sessions, ada) for _ in range(6)]
    live = [await until(sessions, one.id, running) for one in made]
    assert [len(replicas.of(session)) for session in live] == [1] * 6
    assert len({session.run_uid for session in live}) == 6
    await replicas.filled(3)
    assert len(replicas.pods()) == 9


# A replica that dies on the way


async def begun(sessions: Sessions, ada: UUID) -> Session:
    """A session whose start a replica has taken on, which dies then; its lease runs out soon."""
    made = await a_session(sessions, ada)
    await queries.admit(100)
    (session,) = await queries.take_due("a replica that dies", 1, timedelta(seconds=0.5))
    assert session.id == made.id
    return session


async def a_pool_without_a_replica(replicas: Replicas) -> KubernetesRuntime:
    """A pool, and a runtime that follows the cluster; no manager is there any more."""
    manager = await replicas.start()
    await replicas.filled(2, manager)
    await manager.hand_over()
    assert isinstance(manager.runtime, KubernetesRuntime)
    return manager.runtime


def spec_of(session: Session) -> RunSpec:
    assert session.credential is not None
    return RunSpec(session.run, str(session.user_id), session.credential, session.source)


@pytest.mark.parametrize("died", ["before it took it", "before it wrote down that it runs"])
async def test_another_replica_goes_on_with_the_same_one(
    replicas: Replicas, sessions: Sessions, ada: UUID, died: str
) -> None:
    runtime = await a_pool_without_a_replica(replicas)
    session = await begun(sessions, ada)
    uid = runtime.offer_warm(spec_of(session)) or ""
    assert await queries.note_choice(session, "a replica that dies", uid=uid)
    if died != "before it took it":
        await runtime.take_warm(spec_of(session), uid)
    await replicas.start()
    live = await until(sessions, session.id, running)
    (pod,) = replicas.of(live)
    assert (live.generation, live.run_uid) == (session.generation, uid)
    assert live.credential == credential_of(pod)
    await replicas.filled(2)


async def test_a_start_that_was_begun_without_one_goes_on_without_one(
    replicas: Replicas, sessions: Sessions, ada: UUID
) -> None:
    """The first replica may have asked for a pod of the run's own name: with another there would be two."""
    runtime = await a_pool_without_a_replica(replicas)
    session = await begun(sessions, ada)
    assert await queries.note_choice(session, "a replica that dies", uid="")
    await replicas.start()
    live = await until(sessions, session.id, running)
    await runtime.launch(spec_of(session))  # The first replica's request arrives after all.
    (pod,) = replicas.of(live)
    assert not is_warm_born(pod)


async def test_a_choice_of_a_replica_that_has_lost_its_lease_is_not_written_down(
    replicas: Replicas, sessions: Sessions, ada: UUID
) -> None:
    await a_session(sessions, ada)
    await queries.admit(100)
    (session,) = await queries.take_due("one", 1, timedelta(0))
    (again,) = await queries.take_due("another", 1, timedelta(minutes=1))
    assert again.id == session.id
    assert not await queries.note_choice(session, "one", uid="a choice")
    assert (await sessions.get_any(session.id)).run_uid is None


async def test_a_session_that_is_stopped_before_it_has_taken_one_leaves_it_to_others(
    replicas: Replicas, sessions: Sessions, ada: UUID
) -> None:
    runtime = await a_pool_without_a_replica(replicas)
    session = await begun(sessions, ada)
    uid = runtime.offer_warm(spec_of(session)) or ""
    assert await queries.note_choice(session, "a replica that dies", uid=uid)
    await sessions.stop(ada, session.id)
    await replicas.start()
    await until(sessions, session.id, at_rest)
    assert uid in {pod["metadata"]["uid"] for pod in replicas.warm()}


# Never a person's place


async def test_near_the_limit_and_while_people_wait_none_is_made(
    replicas: Replicas, sessions: Sessions, ada: UUID
) -> None:
    manager = await replicas.start(max_runs=2, warm_runs=2)
    await replicas.filled(2, manager)
    made = [await a_session(sessions, ada) for _ in range(3)]
    live = [await until(sessions, one.id, running) for one in made[:2]]
    await sessions.stop(ada, live[0].id)
    third = await until(sessions, made[2].id, running)
    assert [is_warm_born(pod) for pod in replicas.of(third)] == [False]
    creates = replicas.api.requests["create", "pods"]
    assert creates == 3  # Two for the pool, and the third session's own.


async def test_it_is_no_orphan(replicas: Replicas, sessions: Sessions, ada: UUID) -> None:
    manager = await replicas.start()
    await replicas.filled(2, manager)
    session = await until(sessions, (await a_session(sessions, ada)).id, running)
    await replicas.filled(2)
    await manager.sweep(grace=0)
    await manager.sweep(grace=0)
    assert len(replicas.warm()) == 2
    assert len(replicas.of(session)) == 1
    await Row.delete().where(Row.id == session.id)
    await manager.sweep(grace=0)
    await manager.sweep(grace=0)
    await replicas.api.until(lambda: not replicas.of(session))
    assert len(replicas.warm()) == 2
