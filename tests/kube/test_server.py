"""What a client of Kubernetes may rely on, said to our API server and, with HUB_TEST_KUBECONFIG, to a real one.

A real cluster needs an image that its nodes have, which runs until it is told to end: HUB_TEST_IMAGE. Pods that no
scheduler touches do for most of it. What only a test's own API server does (faults) is in `test_faults.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio import client, config

from kube.node import Node
from kube.server import KubeApi

REAL = os.environ.get("HUB_TEST_KUBECONFIG")
IMAGE = os.environ.get("HUB_TEST_IMAGE", "cluster.local/pause:1")
PATIENCE = 60.0 if REAL else 30.0  # Seconds for anything to happen.

Object = dict[str, Any]
NO_TOKEN: Object = {"automountServiceAccountToken": False}  # Old clusters take a moment to make it for a new namespace.
LEFT_ALONE: Object = {"schedulerName": "nobody"}
ANYWHERE: Object = {}
NOWHERE: Object = {"nodeSelector": {"example.org/there-is": "no-such-node"}}


class Cluster:
    """One namespace of its own in a cluster, and the API as JSON."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.v1: Any = client.CoreV1Api(api)  # Its annotations know models only; JSON goes as it is.
        self.namespace = namespace

    async def create(self, name: str, spec: Object = LEFT_ALONE, **changes: Any) -> Object:
        """A pod; `changes` are to its metadata."""
        return await told(self.v1.create_namespaced_pod(self.namespace, a_pod(name, spec, **changes), **RAW))

    async def get(self, name: str) -> Object:
        return await told(self.v1.read_namespaced_pod(name, self.namespace, **RAW))

    async def find(self, **how: Any) -> Object:
        return await told(self.v1.list_namespaced_pod(self.namespace, **how, **RAW))

    async def names(self, **how: Any) -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in (await self.find(**how))["items"])

    async def delete(self, name: str, **options: Any) -> None:
        await told(self.v1.delete_namespaced_pod(name, self.namespace, body=client.V1DeleteOptions(**options), **RAW))

    async def patch(self, name: str, patch: object) -> None:
        await told(self.v1.patch_namespaced_pod(name, self.namespace, patch, **RAW))

    @asynccontextmanager
    async def watch(self, since: str, **how: Any) -> AsyncIterator[Callable[[], Any]]:
        """`await next_event()` gives the next line, decoded; None at the end of the stream."""
        answer = await self.v1.list_namespaced_pod(self.namespace, watch=True, resource_version=since, **how, **RAW)

        async def next_event() -> Object | None:
            async with asyncio.timeout(PATIENCE):
                line = await answer.content.readline()
            return json.loads(line) if line else None

        try:
            yield next_event
        finally:
            answer.close()


RAW: Object = {"_preload_content": False}  # Gives aiohttp's answer, whatever its status.


class Refused(Exception):
    """An answer that is an error; its Status object."""

    def __init__(self, code: int, status: Object) -> None:
        super().__init__(f"{code} {status.get('message')}")
        self.code = code
        self.status = status


async def told(answering: Awaitable[Any]) -> Object:
    answer = await answering
    body: Object = await answer.json()
    if answer.status >= 400:
        raise Refused(answer.status, body)
    return body


def a_pod(name: str, spec: Object, **metadata: Any) -> Object:
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent"}
    plain = {"terminationGracePeriodSeconds": 1, "restartPolicy": "Never", **NO_TOKEN}
    spec = {"containers": [container], **plain, **spec}
    named = {"name": name, **metadata}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {k: v for k, v in named.items() if v}, "spec": spec}


@asynccontextmanager
async def refused(code: int, reason: str) -> AsyncIterator[Object]:
    """What is done in it is answered with this error; gives the answer's Status."""
    status: Object = {}
    with pytest.raises(Refused) as caught:
        yield status
    status |= caught.value.status
    assert (caught.value.code, status["code"], status["reason"]) == (code, code, reason)
    assert (status["kind"], status["status"]) == ("Status", "Failure")


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[str]:
    if REAL:
        yield REAL
        return
    async with KubeApi() as api, Node(api.store, tmp_path / "node", processes=False):
        yield str(api.write_kubeconfig(tmp_path / "kubeconfig"))


@pytest.fixture
async def cluster(kubeconfig: str) -> AsyncIterator[Cluster]:
    settings = client.Configuration()
    await config.load_kube_config(kubeconfig, client_configuration=settings, persist_config=False)
    async with client.ApiClient(settings) as api:
        v1: Any = client.CoreV1Api(api)
        made = await v1.create_namespace({"metadata": {"generateName": "contract-"}})
        namespace = made.metadata.name
        if REAL:  # Pods are refused until a controller has made the namespace's service account.
            while not (await v1.list_namespaced_service_account(namespace)).items:
                await asyncio.sleep(0.1)
        yield Cluster(api, namespace)
        await v1.delete_namespace(namespace, **RAW)


async def test_a_pod_made_again_under_its_name_is_another(cluster: Cluster) -> None:
    first = await cluster.create("one")
    await cluster.delete("one")
    second = await cluster.create("one")
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert int(first["metadata"]["resourceVersion"]) < int(second["metadata"]["resourceVersion"])
    assert second["status"]["phase"] == "Pending"
    assert second["metadata"]["creationTimestamp"].endswith("Z")


async def test_a_name_is_taken_once(cluster: Cluster) -> None:
    await cluster.create("one")
    async with refused(409, "AlreadyExists") as status:
        await cluster.create("one")
    assert status["message"] == 'pods "one" already exists'
    assert status["details"] == {"name": "one", "kind": "pods"}


async def test_of_many_who_make_the_same_pod_one_does(cluster: Cluster) -> None:
    answers = await asyncio.gather(*(cluster.create("one") for _ in range(5)), return_exceptions=True)
    assert [answer.code for answer in answers if isinstance(answer, Refused)] == [409] * 4


async def test_a_generated_name_begins_as_asked(cluster: Cluster) -> None:
    names = {(await cluster.create("", generateName="vd-"))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("vd-") and len(name) == 8 for name in names)


async def test_what_is_not_there_is_not_found(cluster: Cluster) -> None:
    async with refused(404, "NotFound") as status:
        await cluster.get("nobody")
    assert status["message"] == 'pods "nobody" not found'
    async with refused(404, "NotFound"):
        await cluster.delete("nobody")


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"metadata": {"name": "Not_A_Name"}}, "metadata.name", "FieldValueInvalid"),
        ({"metadata": {"name": "a", "labels": {"a": "no spaces"}}}, "metadata.labels", "FieldValueInvalid"),
        ({"spec": {"containers": []}}, "spec.containers", "FieldValueRequired"),
        ({"spec": {"containers": [{"image": "a"}]}}, "spec.containers[0].name", "FieldValueRequired"),
        (
            {"spec": {"containers": [{"name": "a", "image": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}},
            "spec.containers[0].volumeMounts[0].name",
            "FieldValueNotFound",
        ),
    ],
)
async def test_a_wrong_manifest_is_refused_by_field(cluster: Cluster, change: Object, field: str, reason: str) -> None:
    if "spec" in change:
        change = {**change, "spec": {**NO_TOKEN, **change["spec"]}}
    async with refused(422, "Invalid") as status:
        await told(cluster.v1.create_namespaced_pod(cluster.namespace, {**a_pod("one", LEFT_ALONE), **change}, **RAW))
    assert status["details"]["kind"] == "Pod"
    assert (field, reason) in [(cause["field"], cause["reason"]) for cause in status["details"]["causes"]]
    assert status["message"].startswith('Pod "') and field in status["message"]


async def test_a_delete_meant_for_an_earlier_pod_does_nothing(cluster: Cluster) -> None:
    earlier = await cluster.create("one")
    await cluster.delete("one")
    later = await cluster.create("one")
    async with refused(409, "Conflict") as status:
        await cluster.delete("one", preconditions={"uid": earlier["metadata"]["uid"]})
    assert later["metadata"]["uid"] in status["message"]
    assert (await cluster.get("one"))["metadata"]["uid"] == later["metadata"]["uid"]
    await cluster.delete("one", preconditions={"uid": later["metadata"]["uid"]})
    async with refused(404, "NotFound"):
        await cluster.get("one")


async def test_of_two_who_change_the_same_version_one_is_told(cluster: Cluster) -> None:
    pod = await cluster.create("one", labels={"pool": "free"})
    version = pod["metadata"]["resourceVersion"]

    async def claim(who: str) -> None:
        patch = {"metadata": {"resourceVersion": version, "labels": {"pool": None, "session": who}}}
        await cluster.patch("one", patch)

    await claim("a")
    async with refused(409, "Conflict") as status:
        await claim("b")
    assert "the object has been modified; please apply your changes to the latest version" in status["message"]
    after = await cluster.get("one")
    assert after["metadata"]["labels"] == {"session": "a"}
    after["metadata"]["resourceVersion"] = version
    async with refused(409, "Conflict"):
        await told(cluster.v1.replace_namespaced_pod("one", cluster.namespace, after, **RAW))


async def test_a_json_patch_can_insist_on_what_it_found(cluster: Cluster) -> None:
    await cluster.create("one", labels={"pool": "free"})
    patch = [
        {"op": "test", "path": "/metadata/labels/pool", "value": "free"},
        {"op": "replace", "path": "/metadata/labels/pool", "value": "taken"},
    ]
    await cluster.patch("one", patch)
    async with refused(422, "Invalid"):
        await cluster.patch("one", patch)


async def test_a_pods_spec_stays_as_it_was_made(cluster: Cluster) -> None:
    pod = await cluster.create("one")
    async with refused(422, "Invalid"):
        patch = {"spec": {"hostname": "another"}}
        await cluster.patch("one", patch)
    assert (await cluster.get("one"))["metadata"]["resourceVersion"] == pod["metadata"]["resourceVersion"]


async def test_labels_select(cluster: Cluster) -> None:
    await cluster.create("a", labels={"hub": "one", "n": "1"})
    await cluster.create("b", labels={"hub": "one", "n": "2"})
    await cluster.create("c", labels={"hub": "two"})
    for selector, names in {
        "hub=one": ["a", "b"],
        "hub==one,n!=1": ["b"],
        "n!=1": ["b", "c"],
        "hub in (one, two),n": ["a", "b"],
        "hub,!n": ["c"],
        "n notin (1)": ["b", "c"],
        "hub=three": [],
    }.items():
        assert await cluster.names(label_selector=selector) == names, selector
    async with refused(400, "BadRequest"):
        await cluster.find(label_selector="hub in one")


async def test_fields_select(cluster: Cluster) -> None:
    await cluster.create("a")
    await cluster.create("b")
    assert await cluster.names(field_selector="metadata.name=a") == ["a"]
    assert await cluster.names(field_selector="status.phase=Pending,metadata.name!=a") == ["b"]
    async with refused(400, "BadRequest"):
        await cluster.find(field_selector="metadata.labels=a")


async def test_a_list_in_parts_is_one_list(cluster: Cluster) -> None:
    for name in "abc":
        await cluster.create(name)
    first = await cluster.find(limit=2)
    await cluster.create("bb")
    rest = await cluster.find(limit=2, _continue=first["metadata"]["continue"])
    assert [pod["metadata"]["name"] for pod in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert not rest["metadata"].get("continue")


async def test_list_then_watch_sees_everything_once(cluster: Cluster) -> None:
    await cluster.create("before")
    listed = await cluster.find()
    assert [pod["metadata"]["name"] for pod in listed["items"]] == ["before"]
    await cluster.create("between")
    async with cluster.watch(listed["metadata"]["resourceVersion"]) as next_event:
        making = asyncio.gather(*(cluster.create(f"during-{n}") for n in range(5)))
        events = [await next_event() for _ in range(6)]
        await making
        await cluster.create("last")
        while (event := await next_event())["object"]["metadata"]["name"] != "last":
            events.append(event)
    added = sorted(event["object"]["metadata"]["name"] for event in events if event["type"] == "ADDED")
    assert added == ["between", *(f"during-{n}" for n in range(5))]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))


async def test_a_watch_from_nowhere_begins_with_what_is_there(cluster: Cluster) -> None:
    await cluster.create("one")
    async with cluster.watch("0") as next_event:
        event = await next_event()
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "one")
        assert (event["object"]["kind"], event["object"]["apiVersion"]) == ("Pod", "v1")


async def test_a_watch_sees_objects_come_into_its_selection_and_leave_it(cluster: Cluster) -> None:
    await cluster.create("one", labels={"pool": "free"})
    since = (await cluster.find())["metadata"]["resourceVersion"]
    label = {"metadata": {"labels": {"session": "a"}}}
    unlabel = {"metadata": {"labels": {"session": None}}}
    async with cluster.watch(since, label_selector="session=a") as next_event:
        await cluster.patch("one", label)
        assert (await next_event())["type"] == "ADDED"
        await cluster.patch("one", unlabel)
        assert (await next_event())["type"] == "DELETED"


async def test_a_watch_from_an_old_version_is_told_to_list_again(cluster: Cluster) -> None:
    async with cluster.watch("1") as next_event:
        event = await next_event()
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert "too old resource version: 1 (" in event["object"]["message"]
        assert await next_event() is None


async def test_a_watch_ends_when_its_time_is_up_after_a_bookmark(cluster: Cluster) -> None:
    await cluster.create("one", labels={"hub": "other"})
    listed = await cluster.find(label_selector="hub=mine")
    version = listed["metadata"]["resourceVersion"]
    how = {"label_selector": "hub=mine", "allow_watch_bookmarks": True, "timeout_seconds": 3}
    async with cluster.watch(version, **how) as next_event:
        await cluster.create("two", labels={"hub": "other"})
        event = await next_event()
        assert event["type"] == "BOOKMARK"
        assert event["object"]["kind"] == "Pod"
        assert int(event["object"]["metadata"]["resourceVersion"]) > int(version)
        while event is not None:
            event = await next_event()


async def test_a_pod_that_nothing_runs_is_gone_at_once(cluster: Cluster) -> None:
    await cluster.create("one")
    since = (await cluster.find())["metadata"]["resourceVersion"]
    async with cluster.watch(since) as next_event:
        await cluster.delete("one")
        events: list[Object] = []
        while not events or events[-1]["type"] != "DELETED":
            events.append(await next_event())
    assert int(events[-1]["object"]["metadata"]["resourceVersion"]) > int(since)
    assert await cluster.names() == []


async def test_a_running_pod_is_marked_then_ends_then_is_gone(cluster: Cluster) -> None:
    since = (await cluster.find())["metadata"]["resourceVersion"]
    made = await cluster.create("one", ANYWHERE)
    async with cluster.watch(since) as next_event:
        event: Object = await next_event()
        assert event["type"] == "ADDED"
        while event["object"]["status"]["phase"] != "Running":
            event = await next_event()
        status = event["object"]["status"]
        assert "startedAt" in status["containerStatuses"][0]["state"]["running"]
        assert event["object"]["spec"]["nodeName"] and status["podIP"] and status["startTime"]
        while not is_true(event["object"], "Ready"):
            event = await next_event()
        await cluster.delete("one", preconditions={"uid": made["metadata"]["uid"]})
        events: list[Object] = []
        while not events or events[-1]["type"] != "DELETED":
            events.append(await next_event())
    first, last = events[0], events[-1]
    assert first["type"] == "MODIFIED" and first["object"]["metadata"]["deletionTimestamp"]
    assert first["object"]["metadata"]["deletionGracePeriodSeconds"] == 1
    assert first["object"]["status"]["containerStatuses"][0]["state"].keys() == {"running"}
    assert all(event["type"] == "MODIFIED" for event in events[1:-1])
    assert "terminated" in last["object"]["status"]["containerStatuses"][0]["state"]
    assert last["object"]["metadata"]["uid"] == made["metadata"]["uid"]


async def test_a_pod_that_fits_nowhere_says_why(cluster: Cluster) -> None:
    await cluster.create("one", NOWHERE)
    async with asyncio.timeout(PATIENCE), cluster.watch("0") as next_event:
        event: Object = await next_event()
        while not event["object"]["status"].get("conditions"):
            event = await next_event()
    (condition,) = event["object"]["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    assert condition["message"].startswith("0/")


async def test_a_full_quota_refuses_and_says_what(cluster: Cluster) -> None:
    await cluster.create("there")
    quota = {"metadata": {"name": "sessions"}, "spec": {"hard": {"pods": "1"}}}
    await told(cluster.v1.create_namespaced_resource_quota(cluster.namespace, quota, **RAW))
    if REAL:
        while not ((await cluster.v1.read_namespaced_resource_quota("sessions", cluster.namespace)).status.used or {}):
            await asyncio.sleep(0.1)
    async with refused(403, "Forbidden") as status:
        await cluster.create("one")
    refusal = 'pods "one" is forbidden: exceeded quota: sessions, requested: pods=1, used: pods=1, limited: pods=1'
    assert status["message"] == refusal


async def test_a_claim_is_kept_until_it_is_deleted(cluster: Cluster) -> None:
    claim = {
        "metadata": {"name": "home"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await told(cluster.v1.create_namespaced_persistent_volume_claim(cluster.namespace, claim, **RAW))
    async with refused(409, "AlreadyExists"):
        await told(cluster.v1.create_namespaced_persistent_volume_claim(cluster.namespace, claim, **RAW))
    await told(cluster.v1.delete_namespaced_persistent_volume_claim("home", cluster.namespace, **RAW))
    async with asyncio.timeout(PATIENCE):
        while (await cluster.v1.list_namespaced_persistent_volume_claim(cluster.namespace)).items:
            await asyncio.sleep(0.1)


def is_true(pod: Object, condition: str) -> bool:
    return any(one["type"] == condition and one["status"] == "True" for one in pod["status"].get("conditions", []))
