"""What is kept warm becomes one run and no other, whatever happens meanwhile, and never takes a person's place.

The API server is our own (`tests/kube`), over HTTP; pods have no processes, and are ready at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract import GRACE, a_spec, watching
from kube.node import Image, Node
from kube.server import KubeApi
from test_kubernetes_faults import FOR_EVER, World

from app.agent.start import CREDENTIAL
from app.errors import RuntimeFailure, SettingsError
from app.runtimes.base import Observed, Phase, Reason, RunSpec
from app.runtimes.kubernetes import names
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.settings import Settings


class WarmWorld(World):
    """Waits and looks for what is kept warm."""

    def warm(self) -> list[dict[str, Any]]:
        """The pods that wait for a run."""
        return [
            pod for pod in self.pods() if names.pool_of(pod, names.Owner(self.settings.k8s_hub_name)) and not going(pod)
        ]

    def of(self, spec: RunSpec) -> list[str]:
        """The names of the pods of a run: one, or something is wrong."""
        hub = self.settings.k8s_hub_name
        return [pod["metadata"]["name"] for pod in self.pods() if names.run_of(pod, names.Owner(hub)) == spec.run]

    async def ready(self, *runtimes: KubernetesRuntime, count: int) -> None:
        """So many are ready, and each of these replicas knows it."""
        async with asyncio.timeout(10):
            await self.api.until(lambda: sum(is_ready(pod) for pod in self.warm()) == count)
            for runtime in runtimes:
                while sum(one.phase is Phase.RUNNING for one in runtime._known.warm()) != count:
                    await asyncio.sleep(0.01)


def going(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@pytest.fixture
async def world(make_settings: Callable[..., Settings], tmp_path: Path) -> AsyncIterator[WarmWorld]:
    settings = make_settings(k8s_namespace="hub", runtime="kubernetes", secret_key="s" * 32, warm_runs=2)
    images = {settings.k8s_image: Image(), "visidata:2": Image()}
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubeApi("hub"))
        node = await stack.enter_async_context(Node(api.store, tmp_path, images=images, processes=False))
        yield WarmWorld(settings, api, node, api.write_kubeconfig(tmp_path / "kubeconfig"), stack)


@asynccontextmanager
async def a_pool(world: WarmWorld, count: int = 2, **settings: Any) -> AsyncIterator[tuple[KubernetesRuntime, Any]]:
    """A replica that follows its pods and has filled its pool; (it, `until` as of `watching`)."""
    runtime = await world.replica(warm_runs=count, **settings)
    async with watching(runtime) as until:
        while runtime.synced_at is None:
            await asyncio.sleep(0.01)
        await runtime.keep_warm(count, make=True)
        await world.ready(runtime, count=count)
        yield runtime, until


def guests(spec: RunSpec | None = None) -> RunSpec:
    return replace(spec or a_spec(), guest=True)


# One becomes a run


async def test_it_becomes_the_run_that_it_is_taken_for_with_one_call(world: WarmWorld) -> None:
    async with a_pool(world) as (runtime, until):
        before = world.api.requests.copy()
        spec = a_spec()
        uid = runtime.offer_warm(spec)
        assert uid
        seen = await runtime.take_warm(spec, uid)
        assert seen is not None
        assert (seen.run, seen.uid, seen.phase) == (spec.run, uid, Phase.RUNNING)
        assert world.api.requests - before == {("patch", "pods"): 1}
        (name,) = world.of(spec)
        pod = world.api.store.get("pods", "hub", name)
        assert pod["metadata"]["labels"][names.USER] == spec.user_id
        env = {one["name"]: one["value"] for one in pod["spec"]["containers"][0]["env"]}
        assert seen.credential == env[CREDENTIAL] != spec.credential
        assert await until(spec.run, Phase.RUNNING) == seen


async def test_each_has_a_credential_of_its_own(world: WarmWorld) -> None:
    async with a_pool(world, 5):
        credentials = {
            one["value"]
            for pod in world.warm()
            for one in pod["spec"]["containers"][0]["env"]
            if one["name"] == CREDENTIAL
        }
        assert len(credentials) == 5
        assert min(len(one) for one in credentials) > 60


async def test_it_is_stopped_seen_to_end_and_forgotten_like_any_other(world: WarmWorld) -> None:
    async with a_pool(world, 1) as (runtime, until):
        spec = a_spec()
        seen = await runtime.take_warm(spec, runtime.offer_warm(spec) or "")
        assert seen is not None
        await runtime.stop(spec.run, seen.uid, GRACE)
        assert (await until(spec.run, Phase.ENDED)).reason is Reason.STOPPED_BY_USER
        await runtime.forget(spec.run)
        await until(spec.run, None)
        assert world.pods() == []


async def test_one_that_is_quit_is_forgotten_with_its_own_pod(world: WarmWorld) -> None:
    async with a_pool(world, 2) as (runtime, until):
        spec, other = a_spec(), a_spec()
        seen = await runtime.take_warm(spec, runtime.offer_warm(spec) or "")
        await runtime.take_warm(other, runtime.offer_warm(other) or "")
        assert seen is not None
        world.node.finish(world.of(spec)[0])
        assert (await until(spec.run, Phase.ENDED)).reason is Reason.QUIT
        await runtime.forget(spec.run)
        await until(spec.run, None)
        await world.api.until(lambda: len(world.pods()) == 1)
        assert world.of(other)


async def test_another_replica_finds_and_stops_it_before_it_has_followed_anything(world: WarmWorld) -> None:
    async with a_pool(world, 1) as (runtime, until):
        spec = a_spec()
        uid = runtime.offer_warm(spec)
        seen = await runtime.take_warm(spec, uid or "")
        later = await world.replica()
        assert await later.look(spec.run, uid) == seen
        newest = await world.replica()
        await newest.stop(spec.run, uid, GRACE)
        await until(spec.run, Phase.ENDED)


async def test_whose_run_is_being_stopped_before_it_was_taken_leaves_the_pool_alone(world: WarmWorld) -> None:
    async with a_pool(world, 1) as (runtime, _):
        spec = a_spec()
        uid = runtime.offer_warm(spec)
        assert await runtime.look(spec.run, uid) is None
        await runtime.stop(spec.run, uid, GRACE)
        other = await world.replica()
        assert await other.look(spec.run, uid) is None
        await other.stop(spec.run, uid, GRACE)
        assert len(world.warm()) == 1


async def test_people_with_a_volume_get_none_and_guests_do(world: WarmWorld) -> None:
    async with a_pool(world, 1, k8s_home="pvc") as (runtime, _):
        assert runtime.offer_warm(a_spec()) is None
        assert runtime.offer_warm(guests())


async def test_where_none_is_ready_that_is_said(world: WarmWorld) -> None:
    async with a_pool(world, 1) as (runtime, _):
        assert runtime.offer_warm(a_spec())
        assert runtime.offer_warm(a_spec()) == "", "one is not offered twice"
    assert (await world.replica(warm_runs=0)).offer_warm(a_spec()) is None


# Never two runs of one, nor two of a run


async def test_two_replicas_that_choose_the_same_one_do_not_both_get_it(world: WarmWorld) -> None:
    async with a_pool(world, 1) as (runtime, _):
        other = await world.replica()
        one, two = a_spec(), a_spec()
        uid = runtime.offer_warm(one) or ""
        taken = await asyncio.gather(runtime.take_warm(one, uid), other.take_warm(two, uid))
        assert [seen is None for seen in taken].count(True) == 1
        assert len(world.of(one) + world.of(two)) == 1


async def test_many_that_race_for_few_get_each_its_own_or_nothing(world: WarmWorld) -> None:
    async with a_pool(world, 5) as (runtime, _), a_pool(world, 5) as (other, _):
        specs = [a_spec() for _ in range(16)]

        async def take(number: int, spec: RunSpec) -> Observed | None:
            replica = (runtime, other)[number % 2]
            while uid := replica.offer_warm(spec):
                if (seen := await replica.take_warm(spec, uid)) is not None:
                    return seen
            return None

        taken = [seen for seen in await asyncio.gather(*map(take, range(16), specs)) if seen is not None]
        assert len({seen.uid for seen in taken}) == len(taken)
        for seen in taken:
            (pod,) = [pod for pod in world.pods() if pod["metadata"]["uid"] == seen.uid]
            assert names.run_of(pod, names.Owner(world.settings.k8s_hub_name)) == seen.run
        assert len(taken) + len(world.warm()) == 5


async def test_replicas_that_go_on_with_the_same_start_get_the_same_run(world: WarmWorld) -> None:
    async with a_pool(world) as (runtime, _):
        replicas = [runtime, await world.replica(), await world.replica()]
        spec = a_spec()
        uid = runtime.offer_warm(spec) or ""
        seen = await asyncio.gather(*(replica.take_warm(spec, uid) for replica in replicas))
        assert {one.uid if one else None for one in seen} == {uid}
        assert len(world.of(spec)) == 1


@pytest.mark.parametrize("done", [False, True], ids=["before the deed", "after the deed"])
@pytest.mark.parametrize("fault", [{}, {"hang": True}, {"status": 500}, {"status": 429}], ids=str)
async def test_taking_one_gets_through_though_an_answer_is_lost(
    world: WarmWorld, fault: dict[str, Any], done: bool
) -> None:
    async with a_pool(world, 2) as (runtime, _):
        spec = a_spec()
        uid = runtime.offer_warm(spec) or ""
        met = world.api.fault("patch", "/pods/", done=done, **fault)
        seen = await runtime.take_warm(spec, uid)
        assert met.hits == 1
        assert seen is not None and seen.uid == uid
        assert len(world.of(spec)) == 1
        assert len(world.warm()) == 1


async def test_a_cluster_that_does_not_answer_leaves_the_choice_as_it_is(world: WarmWorld) -> None:
    """It may have been done, so another choice would give the session two runs."""
    async with a_pool(world, 2) as (runtime, _):
        spec = a_spec()
        uid = runtime.offer_warm(spec) or ""
        world.api.fault("patch", "/pods/", done=True)
        world.api.fault("get", "/pods/", times=FOR_EVER, status=500)
        with pytest.raises(RuntimeFailure) as caught:
            await runtime.take_warm(spec, uid)
        assert caught.value.retry
        world.api.lift_faults()
        seen = await runtime.take_warm(spec, uid)
        assert seen is not None and seen.uid == uid
        assert len(world.of(spec)) == 1


async def test_one_that_has_changed_meanwhile_is_taken_all_the_same(world: WarmWorld) -> None:
    async with a_pool(world, 1) as (runtime, _):
        spec = a_spec()
        uid = runtime.offer_warm(spec) or ""
        world.api.silence_watches()
        name = world.warm()[0]["metadata"]["name"]
        note = {"metadata": {"annotations": {"example.org/note": "x"}}}
        world.api.store.patch("pods", "hub", name, note, "application/merge-patch+json")
        assert await runtime.take_warm(spec, uid) is not None
        assert world.of(spec) == [name]


async def test_one_that_has_gone_or_ended_meanwhile_is_not_to_be_had(world: WarmWorld) -> None:
    async with a_pool(world, 2) as (runtime, _):
        one, two = a_spec(), a_spec()
        uids = runtime.offer_warm(one) or "", runtime.offer_warm(two) or ""
        by_uid = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in world.warm()}
        world.api.silence_watches()
        world.api.store.delete("pods", "hub", by_uid[uids[0]], {"gracePeriodSeconds": 0})
        world.node.finish(by_uid[uids[1]], 1)
        ended = by_uid[uids[1]]
        await world.api.until(lambda: world.api.store.get("pods", "hub", ended)["status"]["phase"] == "Failed")
        assert await runtime.take_warm(one, uids[0]) is None
        # Its end was not heard of, so it is labelled; then it is seen that it ended, and it is nobody else's.
        seen = await runtime.take_warm(two, uids[1])
        assert seen is None or seen.phase is Phase.ENDED
        assert await runtime.take_warm(one, "the uid of a pod that never was") is None


async def test_a_hub_that_may_not_change_pods_starts_runs_as_if_there_were_none(
    world: WarmWorld, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_pool(world, 1) as (runtime, _):
        spec = a_spec()
        world.api.fault("patch", "/pods/", status=403)
        assert await runtime.take_warm(spec, runtime.offer_warm(spec) or "") is None
        assert "cannot be used" in caplog.text


# Kept at its number


async def test_what_was_taken_is_made_again(world: WarmWorld) -> None:
    async with a_pool(world) as (runtime, _):
        spec = a_spec()
        await runtime.take_warm(spec, runtime.offer_warm(spec) or "")
        await runtime.keep_warm(2, make=True)
        await world.ready(runtime, count=2)
        before = world.api.requests.copy()
        await runtime.keep_warm(2, make=True)
        assert world.api.requests == before, "a full pool costs nothing"
        assert len(world.of(spec)) == 1


async def test_before_the_first_list_nothing_is_made(world: WarmWorld) -> None:
    runtime = await world.replica()
    await runtime.keep_warm(2, make=True)
    assert world.pods() == []


async def test_another_image_replaces_them_and_leaves_runs_alone(world: WarmWorld) -> None:
    async with a_pool(world) as (runtime, _):
        spec = a_spec()
        await runtime.take_warm(spec, runtime.offer_warm(spec) or "")
        async with watching(later := await world.replica(k8s_image="visidata:2")):
            await world.ready(later, count=1)
            assert later.offer_warm(a_spec()) == "", "one of the old image is nobody's"
            await later.keep_warm(2, make=True)
            await world.api.until(
                lambda: [pod["spec"]["containers"][0]["image"] for pod in world.warm()] == ["visidata:2"] * 2
            )
        assert len(world.of(spec)) == 1


async def test_without_a_pool_what_is_left_of_it_goes(world: WarmWorld) -> None:
    async with a_pool(world) as (runtime, _):
        spec = a_spec()
        await runtime.take_warm(spec, runtime.offer_warm(spec) or "")
        async with watching(later := await world.replica(warm_runs=0)):
            await world.ready(later, count=1)
            await later.keep_warm(0, make=True)
            await world.api.until(lambda: len(world.pods()) == 1)
        assert len(world.of(spec)) == 1


async def test_one_that_is_taken_as_it_is_to_be_dropped_stays(world: WarmWorld) -> None:
    async with a_pool(world, 1) as (runtime, _), a_pool(world, 1) as (other, _):
        world.api.silence_watches()
        spec = a_spec()
        await runtime.take_warm(spec, runtime.offer_warm(spec) or "")
        await other.keep_warm(0, make=True)  # It has not heard that the pod is a run's now.
        (name,) = world.of(spec)
        assert not going(world.api.store.get("pods", "hub", name))


async def test_one_that_dies_is_replaced(world: WarmWorld) -> None:
    async with a_pool(world, 1) as (runtime, _):
        name = world.warm()[0]["metadata"]["name"]
        await runtime.keep_warm(1, make=True)
        world.node.finish(name, 1)
        await world.ready(runtime, count=0)
        await runtime.keep_warm(1, make=True)
        await world.ready(runtime, count=1)
        assert world.warm()[0]["metadata"]["name"] != name


async def test_where_they_do_not_start_that_is_told_once_and_not_tried_all_the_time(
    world: WarmWorld, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = await world.replica(k8s_image="nope:1")
    async with watching(runtime):
        while runtime.synced_at is None:
            await asyncio.sleep(0.01)
        await runtime.keep_warm(1, make=True)
        async with asyncio.timeout(10):
            while not any(one.phase is Phase.ENDED for one in runtime._known.warm()):
                await asyncio.sleep(0.01)
        for _ in range(3):
            await runtime.keep_warm(1, make=True)
        assert world.api.requests["create", "pods"] == 1
        assert "nope:1" in caplog.text
        await world.api.until(lambda: world.pods() == [])


# Never a person's place


async def test_a_quota_that_is_full_is_told_once_and_left_alone(
    world: WarmWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.limit(pods=1)
    async with a_pool(world, 1) as (runtime, _):
        for _ in range(3):
            await runtime.keep_warm(2, make=True)
        assert world.api.requests["create", "pods"] == 2
        warnings = [one for one in caplog.records if one.levelno >= logging.WARNING]
        assert [one.message for one in warnings if "kept warm" in one.message] != []
        assert len(warnings) == 1


async def test_a_person_whom_the_quota_refuses_gets_the_room_of_one(world: WarmWorld) -> None:
    world.limit(pods=2)
    async with a_pool(world, 2, k8s_home="pvc") as (runtime, until):
        spec = a_spec()
        with pytest.raises(RuntimeFailure) as caught:
            await runtime.launch(spec)
        assert caught.value.retry, "room is being made"
        await world.api.until(lambda: len(world.pods()) == 1)
        await runtime.keep_warm(2, make=True)
        await runtime.launch(spec)
        await until(spec.run, Phase.RUNNING)
        with pytest.raises(RuntimeFailure):
            await runtime.launch(a_spec())
        await world.api.until(lambda: world.warm() == [])
        last = a_spec()
        await runtime.launch(last)
        with pytest.raises(RuntimeFailure) as caught:
            await runtime.launch(a_spec())
        assert not caught.value.retry, "there is no more to give"


async def test_a_person_whose_pod_fits_nowhere_gets_the_room_of_one(world: WarmWorld) -> None:
    async with a_pool(world, 2, k8s_home="pvc") as (runtime, _):
        world.node.refuse()
        spec = a_spec()
        await runtime.launch(spec)
        while not runtime._known.in_want:
            await asyncio.sleep(0.01)
        await runtime.keep_warm(2, make=True)
        await world.ready(runtime, count=1)
        await runtime.keep_warm(2, make=True)
        await world.ready(runtime, count=0)
        await runtime.keep_warm(2, make=True)
        assert world.warm() == []


async def test_one_that_finds_no_room_itself_is_dropped_and_not_made_again_at_once(world: WarmWorld) -> None:
    async with a_pool(world, 1) as (runtime, _):
        world.node.refuse()
        await runtime.keep_warm(2, make=True)
        async with asyncio.timeout(10):
            while not any(one.crowded for one in runtime._known.warm()):
                await asyncio.sleep(0.01)
        for _ in range(3):
            await runtime.keep_warm(2, make=True)
        assert len(world.warm()) == 1
        assert world.api.requests["create", "pods"] == 2


async def test_none_is_made_while_people_wait(world: WarmWorld) -> None:
    async with a_pool(world, 1) as (runtime, _):
        await runtime.keep_warm(3, make=False)
        assert len(world.warm()) == 1


def test_only_kubernetes_keeps_any_and_a_hub_that_is_told_otherwise_does_not_start() -> None:
    with pytest.raises(SettingsError, match="HUB_WARM_RUNS"):
        Settings.from_env({"HUB_WARM_RUNS": "2"}, Path("none"))
