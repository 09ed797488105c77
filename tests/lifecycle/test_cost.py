"""What the managing of sessions costs: no more calls and no more work than there is something to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from kube.node import Image, Node
from kube.server import KubeApi
from test_manager import at_rest, gone, running, until

from app.db.database import Database
from app.db.tables import Session as Row
from app.lifecycle import queries
from app.lifecycle.manager import Manager
from app.runtimes.base import Observed, Phase, Reason, Source
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.sessions.changes import Changes
from app.sessions.models import Session
from app.sessions.service import Sessions
from app.settings import Settings
from app.terminal.terminal import Terminals

LEASE = timedelta(seconds=30)


@pytest.fixture
async def api(settings: Settings, database: Database, sessions: Sessions, tmp_path: Path) -> AsyncIterator[KubeApi]:
    """A cluster, with one replica on it."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubeApi("hub"))
        images = {settings.k8s_image: Image()}
        await stack.enter_async_context(
            Node(api.store, tmp_path / "node", images=images, processes=False, ready_after=0.2)
        )
        chosen = replace(settings, k8s_namespace="hub", runtime="kubernetes", secret_key="s" * 32)
        cluster = await Cluster.connect("hub", api.write_kubeconfig(tmp_path / "kubeconfig"))
        runtime = KubernetesRuntime(chosen, cluster)
        manager = Manager(chosen, database, runtime, sessions, Changes(), Terminals())
        stack.push_async_callback(runtime.close)
        stack.push_async_callback(manager.close)
        manager.start()
        yield api


async def test_a_sessions_whole_life_costs_one_create_and_one_delete(
    api: KubeApi, sessions: Sessions, ada: UUID
) -> None:
    made = [await sessions.create(ada, guest=False, name=f"number {n}", source=Source()) for n in range(10)]
    for session in made:
        await until(sessions, session.id, running)
    for session in made:
        await sessions.stop(ada, session.id)
    for session in made:
        await until(sessions, session.id, at_rest)
        await sessions.delete(ada, session.id)
    for session in made:
        await gone(sessions, session.id)
    of_pods = {verb: count for (verb, kind), count in api.requests.items() if kind == "pods"}
    assert of_pods == {"create": 10, "delete": 10, "list": 1, "watch": 1}


@pytest.fixture
async def starting(sessions: Sessions, ada: UUID) -> Session:
    """A session that starts, and that no manager looks at."""
    made = await sessions.create(ada, guest=False, name="one", source=Source())
    (started,) = await queries.admit(10)
    assert started.id == made.id
    await Row.raw("UPDATE sessions SET due_at = NULL")
    return started


def pending(session: Session, detail: str) -> Observed:
    return Observed(session.run, Phase.PENDING, "u1", detail=detail)


def at(session: Session, address: str) -> Observed:
    return Observed(session.run, Phase.RUNNING, "u1", address=address)


async def test_only_news_make_a_manager_look_at_a_session(starting: Session) -> None:
    """Every replica hears of every change: what the row says already is no news."""
    (due,) = [starting]
    assert await queries.requeue_runs({due.run: pending(due, "Looking for a machine")})
    (due,) = await queries.take_due("one", 10, LEASE)
    await queries.note_progress(due, "one", uid="u1", detail="Looking for a machine")
    assert not await queries.requeue_runs({due.run: pending(due, "Looking for a machine")})
    assert await queries.requeue_runs({due.run: pending(due, "A machine was found")})
    assert await queries.requeue_runs({due.run: at(due, "10.0.0.1:80")})
    await queries.mark_running(due, "one", uid="u1", address="10.0.0.1:80")
    assert not await queries.requeue_runs({due.run: pending(due, "Looking for a machine")}), "heard late"
    assert not await queries.requeue_runs({due.run: at(due, "10.0.0.1:80")})
    assert await queries.requeue_runs({due.run: at(due, "10.0.0.2:80")})
    assert await queries.requeue_runs({due.run: Observed(due.run, Phase.ENDED, "u1", reason=Reason.QUIT)})
    assert await queries.requeue_runs({due.run: None})
    await queries.mark_ended(due, "one", state="stopped", reason=Reason.QUIT, detail="")
    assert not await queries.requeue_runs({due.run: None})


async def test_many_changes_are_told_at_once_and_each_to_its_own_session(starting: Session) -> None:
    other = replace(starting, id="nobody")
    earlier = replace(starting, generation=0)
    assert not await queries.requeue_runs({other.run: None, earlier.run: None})
    assert await queries.requeue_runs({other.run: None, earlier.run: None, starting.run: None})


async def test_what_a_replica_has_let_fall_it_takes_up_again_at_once(starting: Session) -> None:
    """As when Postgres goes away in the middle of a step: nobody else may work on it for half a minute."""
    await Row.raw("UPDATE sessions SET due_at = now()")
    assert [session.id for session in await queries.take_due("one", 10, LEASE)] == [starting.id]
    assert await queries.take_due("one", 10, LEASE, {starting.id}) == [], "it is at it"
    assert await queries.take_due("other", 10, LEASE) == [], "it is another's"
    assert [session.id for session in await queries.take_due("one", 10, LEASE)] == [starting.id]


async def test_the_queue_is_gone_through_only_while_somebody_waits(sessions: Sessions, ada: UUID) -> None:
    assert not await queries.anybody_waits()
    made = await sessions.create(ada, guest=False, name="one", source=Source())
    assert await queries.anybody_waits()
    await queries.admit(0)
    assert await queries.anybody_waits(), "there was no room"
    await queries.admit(1)
    assert not await queries.anybody_waits()
    await sessions.stop(ada, made.id)
    assert not await queries.anybody_waits()
