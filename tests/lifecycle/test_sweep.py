"""A wrong, empty or restored database stops nobody's run: the sweep waits for an administrator, and says so loudly."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from kube.node import Image, Node
from kube.server import KubeApi
from test_manager import running, until

from app.accounts.service import Accounts
from app.db.database import Database
from app.db.tables import TABLES
from app.db.tables import Session as Row
from app.lifecycle import installation
from app.lifecycle.manager import Manager
from app.lifecycle.sweep import is_many
from app.runtimes.base import Observed, Phase, RunId, Source
from app.runtimes.kubernetes import names
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.sessions.changes import Changes
from app.sessions.models import Session
from app.sessions.service import Sessions
from app.sessions.state import State
from app.settings import Settings
from app.terminal.terminal import Terminals


class Place:
    """A cluster whose pods outlive every replica and whatever happens to the database."""

    def __init__(self, settings: Settings, database: Database, sessions: Sessions, api: KubeApi, kubeconfig: Path):
        self.settings, self.database, self.sessions, self.api, self._kubeconfig = (
            settings,
            database,
            sessions,
            api,
            kubeconfig,
        )
        self._managers: list[Manager] = []

    async def replica(self, marked: bool = True, **changed: Any) -> Manager:
        """A replica that has compared the database with the cluster. Not `marked`: of a version before ids."""
        cluster = await Cluster.connect("hub", self._kubeconfig)
        runtime = KubernetesRuntime(self.settings, cluster, installation=await installation.get_id() if marked else "")
        settings = replace(self.settings, **changed)
        manager = Manager(settings, self.database, runtime, self.sessions, Changes(), Terminals())
        self._managers.append(manager)
        manager.start()
        await manager.sweeper.surveyed.wait()
        return manager

    async def run(self, user: UUID, count: int) -> list[Session]:
        made = [
            await self.sessions.create(user, guest=False, name=f"number {n}", source=Source()) for n in range(count)
        ]
        return [await until(self.sessions, one.id, running) for one in made]

    async def leave(self) -> None:
        """All replicas end."""
        for manager in self._managers:
            await manager.close()
            await manager.runtime.close()
        self._managers.clear()

    def living(self) -> int:
        pods = self.api.store.find("pods", "hub")
        return sum("deletionTimestamp" not in pod["metadata"] for pod in pods)


@pytest.fixture
async def place(
    make_settings: Callable[..., Settings], database: Database, sessions: Sessions, tmp_path: Path
) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubeApi("hub"))
        settings = make_settings(k8s_namespace="hub", runtime="kubernetes", secret_key="s" * 32)
        images = {settings.k8s_image: Image()}
        await stack.enter_async_context(Node(api.store, tmp_path / "node", images=images, processes=False))
        place = Place(settings, database, sessions, api, api.write_kubeconfig(tmp_path / "kubeconfig"))
        yield place
        await place.leave()


async def empty() -> None:
    """All tables as in a database that was made a moment ago."""
    names_of_tables = ", ".join(f'"{table._meta.tablename}"' for table in TABLES)
    await Row.raw(f"TRUNCATE {names_of_tables} CASCADE")


async def sweep(manager: Manager) -> None:
    for _ in range(2):
        await manager.sweep(grace=0)
        await manager.keep_house()


async def test_an_empty_database_leaves_every_run_alone(
    place: Place, ada: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    await place.replica()
    await place.run(ada, 2)
    await place.leave()
    await empty()
    manager = await place.replica()
    await sweep(manager)
    assert place.living() == 2
    assert (manager.runtime.foreign_runs, manager.sweeper.held) == (2, False)
    assert "belong to another database" in caplog.text


async def test_the_database_of_another_hub_costs_neither_hub_a_run(place: Place, ada: UUID, accounts: Accounts) -> None:
    await place.replica()
    await place.run(ada, 2)
    await place.leave()
    # What another Hub's database holds: its own id, and sessions whose runs are on another cluster.
    await empty()
    other = (await accounts.add("bob@example.org")).id
    theirs = [await place.sessions.create(other, guest=False, name=f"theirs {n}", source=Source()) for n in range(5)]
    await Row.raw(
        """UPDATE sessions SET state = 'running', generation = 1, run_uid = 'u', address = '10.0.0.1:1', due_at = NULL,
             launched_at = now() - interval '1 hour', started_at = now() - interval '1 hour', last_input_at = now()"""
    )
    manager = await place.replica()
    await sweep(manager)
    assert place.living() == 2
    assert [(await place.sessions.get_any(one.id)).state for one in theirs] == [State.RUNNING] * 5
    assert "Not one of 5 running sessions has its run here" in await installation.read_why()


async def test_a_restored_older_database_leaves_every_run_alone_until_an_administrator_confirms(
    place: Place, ada: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    await place.replica()
    made = await place.run(ada, 6)
    await place.leave()
    await Row.raw("DELETE FROM sessions WHERE id = ANY ({})", [one.id for one in made[:4]])
    await Row.raw("UPDATE sessions SET started_at = now() - interval '2 days', last_input_at = NULL")
    one, other = await place.replica(), await place.replica()
    for manager in (one, other):
        assert manager.sweeper.held, "before anything could be stopped"
        await sweep(manager)
    assert place.living() == 6
    held = [record for record in caplog.records if "the sweep is held" in record.message]
    assert [record.levelno for record in held] == [logging.ERROR]
    assert not one.sweeper.may_stop, "the times in an old database are no reason to stop anything"
    assert await installation.confirm()
    assert not await installation.confirm()
    await one.sweep(grace=0)
    assert place.living() == 2
    assert not one.sweeper.held


async def test_a_sweep_that_runs_while_an_administrator_confirms_holds_nothing_again(database: Database) -> None:
    assert await installation.hold("4 of 5 live runs belong to no session.", {"one-1"})
    await installation.renew_hold({"one-1", "two-1"})
    assert await installation.confirm()
    await installation.renew_hold({"one-1", "three-1"})  # By a replica that had read the row before.
    hold = await installation.read_hold()
    assert (hold.since, hold.runs, hold.confirmed) == (None, frozenset(), {"one-1", "two-1"})


async def test_many_runs_that_vanished_while_no_replica_lived_are_lost_and_hold_nothing_up(
    place: Place, ada: UUID
) -> None:
    await place.replica()
    made = await place.run(ada, 6)
    await place.leave()
    await Row.raw("UPDATE sessions SET started_at = now() - interval '1 hour', last_input_at = now()")
    for one in made[1:]:
        place.api.store.delete("pods", "hub", names.pod_name(one.run), {"gracePeriodSeconds": 0})
    manager = await place.replica()
    for one in made[1:]:
        await until(place.sessions, one.id, lambda session: session.state is State.FAILED)
    assert not manager.sweeper.held
    assert (await place.sessions.get_any(made[0].id)).state is State.RUNNING


async def test_one_run_that_is_newer_than_its_row_shows_that_the_database_is_older(place: Place, ada: UUID) -> None:
    manager = await place.replica()
    (made,) = await place.run(ada, 1)
    await place.sessions.stop(ada, made.id)
    await until(place.sessions, made.id, lambda session: session.state is State.STOPPED)
    await place.sessions.start(ada, made.id)
    await until(place.sessions, made.id, running)
    await place.leave()
    await Row.raw("UPDATE sessions SET generation = 1, state = 'stopped', wanted = 'stopped', run_uid = NULL")
    manager = await place.replica()
    await sweep(manager)
    assert place.living() == 1
    assert "newer than this database knows" in await installation.read_why()


async def test_a_pod_of_the_version_before_ids_is_its_sessions_and_without_one_nobodys(place: Place, ada: UUID) -> None:
    await place.replica(marked=False)
    mine, gone = await place.run(ada, 2)
    await place.leave()
    await Row.raw("DELETE FROM sessions WHERE id = {}", gone.id)
    manager = await place.replica()
    await sweep(manager)
    assert place.living() == 2
    assert not manager.sweeper.held
    assert (await place.sessions.get_any(mine.id)).state is State.RUNNING
    await place.sessions.stop(ada, mine.id)
    await until(place.sessions, mine.id, lambda session: session.state is State.STOPPED)
    assert place.living() == 1


async def test_pods_and_volumes_bear_the_id_of_the_database_that_they_were_made_from(place: Place, ada: UUID) -> None:
    place.settings = replace(place.settings, k8s_home="pvc")
    await place.replica()
    await place.run(ada, 1)
    for kind in ("pods", "persistentvolumeclaims"):
        (made,) = place.api.store.find(kind, "hub")
        assert made["metadata"]["labels"][names.INSTALLATION] == await installation.get_id()


async def test_a_replica_that_was_cut_off_holds_nothing_up_with_its_old_view(place: Place, ada: UUID) -> None:
    manager = await place.replica()
    made = await place.run(ada, 5)
    await Row.raw("UPDATE sessions SET started_at = now() - interval '1 hour', last_input_at = now()")
    there = dict(manager.seen)
    manager.seen.clear()  # Runs that others have started since.
    for number in range(5):  # Runs that others have ended since.
        run = RunId(f"ended{number}", 1)
        manager.seen[run] = Observed(run, Phase.RUNNING, f"uid-{number}", address="10.0.0.1:1")
    await sweep(manager)
    assert await installation.read_why() == ""
    assert place.living() == 5
    manager.seen.clear()
    await manager.sweep(grace=0)
    assert await installation.read_why() == ""
    manager.seen.update(there)
    assert {(await place.sessions.get_any(one.id)).state for one in made} == {State.RUNNING}


async def test_an_orphan_that_cannot_be_ended_does_not_keep_the_others(place: Place, ada: UUID) -> None:
    manager = await place.replica()
    await place.run(ada, 2)
    await Row.raw("DELETE FROM sessions")
    place.api.fault("delete", names.pod_name(next(iter(manager.seen))), times=100, status=400)
    await manager.sweep(grace=0)
    assert place.living() == 1
    place.api.lift_faults()
    await manager.sweep(grace=0)
    assert place.living() == 0


@pytest.mark.parametrize(
    ("count", "total", "many"), [(0, 0, False), (3, 3, False), (4, 4, True), (10, 100, False), (11, 100, True)]
)
def test_more_than_three_and_a_tenth_are_many(count: int, total: int, many: bool) -> None:
    assert is_many(count, total) is many
