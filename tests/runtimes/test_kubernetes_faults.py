"""No fault of a cluster loses a run, doubles one or leaves its person without a word.

The API server is our own (`tests/kube`), over HTTP; pods have no processes, and are ready at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract import GRACE, a_spec, first_event, watching
from kube.node import Image, Node
from kube.server import KubeApi
from kube.store import now

from app.errors import RuntimeFailure, SettingsError
from app.runtimes.base import Phase, Reason, RunSpec, Snapshot
from app.runtimes.kubernetes import manifests, names
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.settings import Settings

FOR_EVER = float("inf")
CALL_TIME, PATIENCE = 1.5, 6.0  # Seconds. Not less: a call that a busy machine holds up would be made twice.


class World:
    """A cluster with a node, and what it takes to be one of the Hub's replicas on it."""

    def __init__(self, settings: Settings, api: KubeApi, node: Node, kubeconfig: Path, stack: AsyncExitStack) -> None:
        self.settings, self.api, self.node, self._kubeconfig, self._stack = settings, api, node, kubeconfig, stack

    async def replica(
        self, *, watch_time: float = 30.0, overdue: float = 30.0, forbidden_time: float = 30.0, **settings: Any
    ) -> KubernetesRuntime:
        times = {"call_time": CALL_TIME, "patience": PATIENCE, "forbidden_time": forbidden_time}
        cluster = await Cluster.connect("hub", self._kubeconfig, **times)
        chosen = replace(self.settings, **settings)
        runtime = KubernetesRuntime(chosen, cluster, watch_time=watch_time, overdue=overdue)
        self._stack.push_async_callback(runtime.close)
        return runtime

    def pods(self) -> list[dict[str, Any]]:
        return self.api.store.find("pods", "hub")

    def pod(self, spec: RunSpec) -> dict[str, Any]:
        return self.api.store.get("pods", "hub", names.pod_name(spec.run))

    def delete_behind_its_back(self, spec: RunSpec) -> None:
        self.api.store.delete("pods", "hub", names.pod_name(spec.run))

    def limit(self, pods: int) -> None:
        quota = {"metadata": {"name": "sessions"}, "spec": {"hard": {"pods": str(pods)}}}
        self.api.store.create("resourcequotas", "hub", quota)


@pytest.fixture
async def world(make_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[World]:
    settings = make_settings(k8s_namespace="hub")
    images = {settings.k8s_image: Image()}
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubeApi("hub"))
        node = await stack.enter_async_context(Node(api.store, tmp_path, images=images, processes=False))
        yield World(settings, api, node, api.write_kubeconfig(tmp_path / "kubeconfig"), stack)


# In the good case


async def test_a_stopped_run_costs_one_create_and_one_delete_whatever_the_replicas(world: World) -> None:
    one, other = await world.replica(), await world.replica()
    spec = a_spec()
    async with watching(one) as until, watching(other) as until_there:
        seen = await one.launch(spec)
        await until(spec.run, Phase.RUNNING)
        await until_there(spec.run, Phase.RUNNING)
        await one.stop(spec.run, seen.uid, GRACE)
        await one.stop(spec.run, seen.uid, GRACE)
        await until(spec.run, Phase.ENDED)
        await until_there(spec.run, Phase.ENDED)
        for replica in (one, other):
            await replica.forget(spec.run)
        await until(spec.run, None)
        await until_there(spec.run, None)
    of_pods = {verb: count for (verb, kind), count in world.api.requests.items() if kind == "pods"}
    assert of_pods == {"create": 1, "delete": 1, "list": 2, "watch": 2}


async def test_a_run_that_ended_by_itself_costs_one_create_and_one_delete(world: World) -> None:
    runtime = await world.replica()
    spec = a_spec()
    async with watching(runtime) as until:
        await runtime.launch(spec)
        await until(spec.run, Phase.RUNNING)
        world.node.finish(names.pod_name(spec.run))
        assert (await until(spec.run, Phase.ENDED)).reason is Reason.QUIT
        await runtime.forget(spec.run)
        await until(spec.run, None)
    assert (world.api.requests["create", "pods"], world.api.requests["delete", "pods"]) == (1, 1)
    await world.api.until(lambda: not world.pods())


# Launching


@pytest.mark.parametrize("status", [500, 503, 504])
async def test_a_server_that_stumbles_is_asked_again(world: World, status: int) -> None:
    runtime = await world.replica()
    fault = world.api.fault("create", "/pods$", status=status, times=2)
    seen = await runtime.launch(a_spec())
    assert fault.hits == 2
    assert [pod["metadata"]["uid"] for pod in world.pods()] == [seen.uid]


async def test_a_server_that_is_busy_is_left_alone_for_as_long_as_it_says(world: World) -> None:
    runtime = await world.replica()
    world.api.fault("create", "/pods$", status=429, retry_after=1)
    began = time.monotonic()
    await runtime.launch(a_spec())
    assert time.monotonic() - began >= 1
    assert world.api.requests["create", "pods"] == 2
    assert len(world.pods()) == 1


async def test_a_server_that_is_busy_for_longer_than_a_lease_is_not_waited_for(world: World) -> None:
    runtime = await world.replica()
    world.api.fault("create", "/pods$", status=429, retry_after=3600)
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.launch(a_spec())
    assert caught.value.retry


@pytest.mark.parametrize("done", [False, True], ids=["before the deed", "after the deed"])
@pytest.mark.parametrize("hang", [False, True], ids=["dropped", "no answer"])
async def test_a_create_whose_answer_is_lost_makes_one_pod(world: World, done: bool, hang: bool) -> None:
    runtime = await world.replica()
    fault = world.api.fault("create", "/pods$", done=done, hang=hang)
    seen = await runtime.launch(a_spec())
    assert fault.hits == 1
    assert [pod["metadata"]["uid"] for pod in world.pods()] == [seen.uid]
    assert world.api.requests["create", "pods"] == (1 if done else 2)


async def test_a_create_whose_answer_is_lost_is_not_taken_for_want_of_room(world: World) -> None:
    """The pod that was made fills the quota, which is checked before the name."""
    world.limit(pods=1)
    runtime = await world.replica()
    world.api.fault("create", "/pods$", done=True)
    seen = await runtime.launch(a_spec())
    assert [pod["metadata"]["uid"] for pod in world.pods()] == [seen.uid]


async def test_a_run_that_another_replica_has_launched_is_not_taken_for_want_of_room(world: World) -> None:
    """It fills the quota, which is checked before the name, and this replica has not heard of it yet."""
    world.limit(pods=1)
    one, other = await world.replica(), await world.replica()
    spec = a_spec()
    seen = await one.launch(spec)
    assert (await other.launch(spec)).uid == seen.uid


async def test_a_quota_that_is_full_is_told_at_once(world: World) -> None:
    world.limit(pods=1)
    runtime = await world.replica()
    await runtime.launch(a_spec())
    with pytest.raises(RuntimeFailure, match="room") as caught:
        await runtime.launch(a_spec())
    assert (caught.value.reason, caught.value.retry) == (Reason.NO_ROOM, False)
    assert world.api.requests["create", "pods"] == 2, "it is not tried again"


async def test_a_refusal_is_told_at_once(world: World) -> None:
    runtime = await world.replica()
    world.api.fault("create", "/pods$", status=422, times=FOR_EVER)
    with pytest.raises(RuntimeFailure, match="administrator") as caught:
        await runtime.launch(a_spec())
    assert not caught.value.retry
    assert world.api.requests["create", "pods"] == 1


async def test_a_403_of_an_api_server_that_has_just_started_is_tried_again(world: World) -> None:
    runtime = await world.replica()
    spec = a_spec()
    world.api.fault("create", "/pods$", status=403)
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.launch(spec)
    assert caught.value.retry
    await runtime.launch(spec)
    assert len(world.pods()) == 1


async def test_a_403_that_stays_is_final_after_a_while_and_again_for_the_next_start(world: World) -> None:
    runtime = await world.replica(forbidden_time=0.2)
    world.api.fault("create", "/pods$", status=403, times=FOR_EVER)
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.launch(a_spec())
    assert caught.value.retry
    await asyncio.sleep(0.2)
    for _ in range(2):
        with pytest.raises(RuntimeFailure, match="administrator") as caught:
            await runtime.launch(a_spec())
        assert not caught.value.retry


async def test_a_pod_of_the_same_name_that_is_not_ours_is_left_alone(world: World) -> None:
    runtime = await world.replica()
    spec = a_spec()
    stranger = manifests.pod(spec, replace(world.settings, k8s_hub_name="another"))
    world.api.store.create("pods", "hub", stranger)
    with pytest.raises(RuntimeFailure, match="not this Hub's") as caught:
        await runtime.launch(spec)
    assert not caught.value.retry
    await runtime.stop(spec.run, None, GRACE)
    await runtime.forget(spec.run)
    assert await runtime.look(spec.run) is None
    assert world.api.requests["delete", "pods"] == 0
    assert len(world.pods()) == 1


@pytest.mark.parametrize("what", ["launch", "look", "stop", "delete_home"])
async def test_a_cluster_that_does_not_answer_is_told_in_time_and_may_be_asked_again(world: World, what: str) -> None:
    runtime = await world.replica(k8s_home="pvc")
    spec = a_spec()
    world.api.fault(hang=True, times=FOR_EVER)
    calls = {
        "launch": lambda: runtime.launch(spec),
        "look": lambda: runtime.look(spec.run),
        "stop": lambda: runtime.stop(spec.run, "some-uid", GRACE),
        "delete_home": lambda: runtime.delete_home(spec.user_id),
    }
    with pytest.raises(RuntimeFailure) as caught:
        async with asyncio.timeout(60):
            await calls[what]()
    assert caught.value.retry


async def test_a_cluster_that_is_not_there_is_told_and_found_again(world: World) -> None:
    runtime = await world.replica()
    await world.api.stop()
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.launch(a_spec())
    assert caught.value.retry
    await world.api.start()
    await runtime.launch(a_spec())


# Stopping


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {}, {"done": True}, {"hang": True}], ids=str)
async def test_a_stop_gets_through(world: World, fault: dict[str, Any]) -> None:
    runtime = await world.replica()
    spec = a_spec()
    async with watching(runtime) as until:
        seen = await runtime.launch(spec)
        world.api.fault("delete", **fault)
        await runtime.stop(spec.run, seen.uid, GRACE)
        assert (await until(spec.run, Phase.ENDED)).reason is Reason.STOPPED_BY_USER


async def test_a_stop_for_an_earlier_pod_of_the_name_does_not_touch_this_one(world: World) -> None:
    runtime = await world.replica()
    spec = a_spec()
    await runtime.launch(spec)
    await runtime.stop(spec.run, "the uid of an earlier one", GRACE)
    assert "deletionTimestamp" not in world.pod(spec)["metadata"]


async def test_what_has_not_started_can_be_stopped(world: World) -> None:
    world.node.refuse()
    runtime = await world.replica()
    spec = a_spec()
    async with watching(runtime) as until:
        seen = await runtime.launch(spec)
        await runtime.stop(spec.run, seen.uid, GRACE)
        await until(spec.run, Phase.ENDED)
    assert not world.pods()


async def test_a_stop_without_a_uid_finds_the_run_itself(world: World) -> None:
    spec = a_spec()
    await (await world.replica()).launch(spec)
    await (await world.replica()).stop(spec.run, None, GRACE)
    await world.api.until(lambda: not world.pods())


async def test_a_machine_that_never_confirms_the_end_is_not_waited_for(world: World) -> None:
    runtime = await world.replica(overdue=-10.0)
    spec = a_spec()
    async with watching(runtime) as until:
        seen = await runtime.launch(spec)
        await until(spec.run, Phase.RUNNING)
        world.node.reachable.clear()
        await runtime.stop(spec.run, seen.uid, GRACE)
        assert "deletionTimestamp" in world.pod(spec)["metadata"]
        await runtime.stop(spec.run, seen.uid, GRACE)
        await until(spec.run, Phase.ENDED)
    assert not world.pods()


# What happens to a run is told


async def test_an_image_that_does_not_exist_is_told_within_seconds(world: World) -> None:
    runtime = await world.replica(k8s_image="nope:1")
    spec = a_spec()
    async with watching(runtime) as until:
        await runtime.launch(spec)
        ended = await until(spec.run, Phase.ENDED)
        assert ended.reason is Reason.IMAGE_UNAVAILABLE
        assert "nope:1" in ended.detail
        await runtime.forget(spec.run)
        await until(spec.run, None)
    await world.api.until(lambda: not world.pods())


async def test_want_of_room_is_told_while_it_lasts(world: World) -> None:
    world.node.refuse("0/1 nodes are available: 1 Insufficient memory.")
    runtime = await world.replica()
    spec = a_spec()
    async with watching(runtime) as until:
        await runtime.launch(spec)
        await world.api.until(lambda: world.pod(spec)["status"].get("conditions"))
        seen = await runtime.look(spec.run)
        assert seen is not None
        assert (seen.phase, seen.reason) == (Phase.PENDING, Reason.NO_ROOM)
        assert "Insufficient memory" in seen.detail
        world.node.refuse(None)
        await until(spec.run, Phase.RUNNING)


@pytest.mark.parametrize(
    ("happen", "reason"),
    [
        (lambda world, spec: world.node.out_of_memory(names.pod_name(spec.run)), Reason.OUT_OF_MEMORY),
        (lambda world, spec: world.node.evict(names.pod_name(spec.run)), Reason.EVICTED),
        (lambda world, spec: world.node.lose(), Reason.LOST),
        (lambda world, spec: world.delete_behind_its_back(spec), Reason.LOST),
        (lambda world, spec: world.node.finish(names.pod_name(spec.run), 3), Reason.CRASHED),
    ],
    ids=["out of memory", "evicted", "node lost", "deleted", "crashed"],
)
async def test_why_it_ended_is_told(world: World, happen: Callable[[World, RunSpec], None], reason: Reason) -> None:
    runtime = await world.replica()
    spec = a_spec()
    async with watching(runtime) as until:
        await runtime.launch(spec)
        await until(spec.run, Phase.RUNNING)
        happen(world, spec)
        assert (await until(spec.run, Phase.ENDED)).reason is reason


# Following


async def test_before_the_first_list_nothing_is_known(world: World) -> None:
    spec = a_spec()
    await (await world.replica()).launch(spec)
    await world.api.stop()
    runtime = await world.replica()
    first = asyncio.create_task(first_event(runtime))
    with pytest.raises(RuntimeFailure):
        await runtime.look(spec.run)
    assert runtime.synced_at is None
    assert not first.done(), "unknown is not gone"
    await world.api.start()
    event = await first
    assert isinstance(event, Snapshot)
    assert [seen.run for seen in event.runs] == [spec.run]
    assert runtime.synced_at is not None


async def _restart(world: World) -> None:
    await world.api.stop()
    await world.api.start()


async def _fail_lists(world: World) -> None:
    for status in (500, 403, 429):
        world.api.fault("list", status=status)
    world.api.expire_watches()


async def _fail_watches(world: World) -> None:
    for status in (500, 403, 410):
        world.api.fault("watch", status=status)
    world.api.drop_watches()


def _at_once(fault: str) -> Callable[[World], Any]:
    async def happen(world: World) -> None:
        getattr(world.api, fault)()

    happen.__name__ = fault
    return happen


FAULTS = [
    *map(_at_once, ("close_watches", "drop_watches", "garble_watches", "expire_watches", "silence_watches")),
    _restart,
    _fail_lists,
    _fail_watches,
]


@pytest.mark.parametrize("happen", FAULTS, ids=lambda happen: happen.__name__)
async def test_whatever_happens_to_a_watch_all_that_comes_after_is_seen(
    world: World, happen: Callable[[World], Any], caplog: pytest.LogCaptureFixture
) -> None:
    runtime, other = await world.replica(watch_time=1.0), await world.replica()
    before, after, gone = a_spec(), a_spec(), a_spec()
    async with watching(runtime) as until:
        for spec in (before, gone):
            await other.launch(spec)
            await until(spec.run, Phase.RUNNING)
        await happen(world)
        await other.launch(after)
        world.delete_behind_its_back(gone)
        await until(after.run, Phase.RUNNING)
        assert (await until(gone.run, Phase.ENDED)).reason is Reason.LOST
        await until(before.run, Phase.RUNNING)
        synced_at = runtime.synced_at
        assert synced_at is not None and time.monotonic() - synced_at < 2
    assert not [record for record in caplog.records if record.levelname == "ERROR"], "nothing of it was unforeseen"


async def test_what_happens_while_nobody_can_look_is_seen_later(world: World) -> None:
    """The history is gone by then, so only a list can tell."""
    runtime, other = await world.replica(), await world.replica()
    spec, later = a_spec(), a_spec()
    async with watching(runtime) as until:
        await other.launch(spec)
        await until(spec.run, Phase.RUNNING)
        fault = world.api.fault("watch", status=503, times=FOR_EVER)
        world.api.drop_watches()
        await fault.hit()
        world.delete_behind_its_back(spec)
        await world.api.until(lambda: not world.pods())
        await other.launch(later)
        world.api.store.compact()
        world.api.lift_faults()
        assert (await until(spec.run, Phase.ENDED)).reason is Reason.LOST
        await until(later.run, Phase.RUNNING)


async def test_a_watch_that_is_quiet_is_asked_for_again_and_not_listed_again(world: World) -> None:
    runtime = await world.replica(watch_time=1.0)
    async with watching(runtime):
        await world.api.until(lambda: world.api.requests["watch", "pods"] >= 3)
    assert world.api.requests["list", "pods"] == 1


async def test_events_out_of_order_and_doubled_end_in_what_is(world: World) -> None:
    world.api.disordered = True
    runtime = await world.replica()
    specs = [a_spec() for _ in range(10)]
    async with watching(runtime) as until:
        await asyncio.gather(*(runtime.launch(spec) for spec in specs))
        for spec in specs:
            await until(spec.run, Phase.RUNNING)
        for spec in specs[:5]:
            world.delete_behind_its_back(spec)
        for spec in specs[:5]:
            await until(spec.run, Phase.ENDED)
        for spec in specs[5:]:
            await until(spec.run, Phase.RUNNING)


async def test_more_pods_than_a_page_are_listed(world: World) -> None:
    one = await world.replica()
    specs = [a_spec() for _ in range(502)]
    for spec in specs:
        world.api.store.create("pods", "hub", manifests.pod(spec, world.settings))
    event = await first_event(one)
    assert isinstance(event, Snapshot)
    assert {seen.run for seen in event.runs} == {spec.run for spec in specs}
    assert world.api.requests["list", "pods"] == 2


async def test_pods_of_others_in_the_namespace_are_left_alone(world: World) -> None:
    another = replace(world.settings, k8s_hub_name="another")
    world.api.store.create("pods", "hub", manifests.pod(a_spec(), another))
    event = await first_event(await world.replica())
    assert event == Snapshot(())


# Homes


async def test_a_home_is_made_once_kept_when_its_sessions_go_and_deleted_with_its_user(world: World) -> None:
    runtime = await world.replica(k8s_home="pvc")
    first = a_spec()
    second = replace(a_spec(), user_id=first.user_id)
    async with watching(runtime) as until:
        for spec in (first, second):
            seen = await runtime.launch(spec)
            await until(spec.run, Phase.RUNNING)
            await runtime.stop(spec.run, seen.uid, GRACE)
            await until(spec.run, Phase.ENDED)
    claims = world.api.store.find("persistentvolumeclaims", "hub")
    assert [claim["metadata"]["name"] for claim in claims] == [names.claim_name(first.user_id)]
    assert world.api.requests["create", "persistentvolumeclaims"] == 1
    await world.api.until(lambda: not world.pods())
    for _ in range(2):
        await runtime.delete_home(first.user_id)
    assert not world.api.store.find("persistentvolumeclaims", "hub")


async def test_another_replica_finds_the_home_that_is_there(world: World) -> None:
    first = a_spec()
    await (await world.replica(k8s_home="pvc")).launch(first)
    await (await world.replica(k8s_home="pvc")).launch(replace(a_spec(), user_id=first.user_id))
    assert len(world.api.store.find("persistentvolumeclaims", "hub")) == 1


async def test_a_volume_that_was_deleted_by_hand_is_made_again_at_the_next_start(world: World) -> None:
    runtime = await world.replica(k8s_home="pvc")
    first = a_spec()
    await runtime.launch(first)
    world.api.store.delete("persistentvolumeclaims", "hub", names.claim_name(first.user_id))
    async with watching(runtime) as until:
        second = replace(a_spec(), user_id=first.user_id)
        await runtime.launch(second)
        await until(second.run, Phase.RUNNING)


async def test_a_volume_that_is_being_deleted_is_waited_for(world: World) -> None:
    runtime = await world.replica(k8s_home="pvc")
    spec = a_spec()
    going = manifests.claim(spec.user_id, replace(world.settings, k8s_home="pvc"))
    going["metadata"]["deletionTimestamp"] = now()  # A pod that ends still uses it.
    world.api.store.create("persistentvolumeclaims", "hub", going)
    with pytest.raises(RuntimeFailure, match="being deleted") as caught:
        await runtime.launch(spec)
    assert caught.value.retry


async def test_a_guest_gets_no_volume(world: World) -> None:
    await (await world.replica(k8s_home="pvc")).launch(replace(a_spec(), guest=True))
    assert not world.api.store.find("persistentvolumeclaims", "hub")


async def test_a_volume_that_is_not_ours_is_neither_used_nor_deleted(world: World) -> None:
    spec = a_spec()
    stranger = manifests.claim(spec.user_id, replace(world.settings, k8s_hub_name="another"))
    world.api.store.create("persistentvolumeclaims", "hub", stranger)
    runtime = await world.replica(k8s_home="pvc")
    with pytest.raises(RuntimeFailure, match="not this Hub's"):
        await runtime.launch(spec)
    assert not world.pods()
    await runtime.delete_home(spec.user_id)
    assert world.api.store.find("persistentvolumeclaims", "hub")


# Finding the cluster


async def test_no_cluster_is_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="KUBECONFIG"):
        await Cluster.connect("hub", tmp_path / "nowhere")
    (tmp_path / "broken").write_text("clusters: [")
    with pytest.raises(SettingsError, match="KUBECONFIG"):
        await Cluster.connect("hub", tmp_path / "broken")
