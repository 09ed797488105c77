"""The node turns pods into processes of this machine, and tells of them as a kubelet does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from kube.node import MARK, Image, Node
from kube.store import Store

PATIENCE = 10.0
Object = dict[str, Any]

SERVE = """
import http.server as web, os, sys
os.chdir(sys.argv[1])
web.ThreadingHTTPServer((sys.argv[2], 8080), web.SimpleHTTPRequestHandler).serve_forever()
"""
EVERYWHERE = "0.0.0.0"  # noqa: S104  (the node makes it the pod's own address)


class World:
    """A store, a node, and pods made and waited for by name."""

    def __init__(self, store: Store, node: Node) -> None:
        self.store = store
        self.node = node
        self._written = asyncio.Event()
        store.on_change.append(self._written.set)

    def create(self, name: str, *argv: str, container: Object | None = None, **spec: Any) -> Object:
        made = {"name": "main", "image": "python:3", **({"command": list(argv)} if argv else {}), **(container or {})}
        manifest = {"metadata": {"name": name}, "spec": {"containers": [made], "restartPolicy": "Never", **spec}}
        return self.store.create("pods", "hub", manifest)

    def pod(self, name: str) -> Object | None:
        return next(iter(self.store.find("pods", "hub", fields=f"metadata.name={name}")), None)

    async def until(self, name: str, true: Callable[[Any], object]) -> Any:
        """The pod (None once it has gone), as soon as this is true of it; asked after each write to the store."""
        async with asyncio.timeout(PATIENCE):
            while not true(pod := self.pod(name)):
                self._written.clear()
                await self._written.wait()
        return pod

    async def said(self, name: str, word: str) -> None:
        """Returns once the program has written this; of that there is no event."""
        await self.until(name, phase("Running"))
        async with asyncio.timeout(PATIENCE):
            while word not in self.node.logs(name):
                await asyncio.sleep(0.02)

    def events(self, name: str) -> list[str]:
        """The reasons of the pod's events, in the order in which they came."""
        found = self.store.find("events", "hub", fields=f"involvedObject.name={name}")
        return [e["reason"] for e in sorted(found, key=lambda event: int(event["metadata"]["resourceVersion"]))]


@pytest.fixture
def images() -> dict[str, Image]:
    return {"python:3": Image(argv=[sys.executable])}


@pytest.fixture
async def world(tmp_path: Path, images: dict[str, Image]) -> AsyncIterator[World]:
    store = Store("hub")
    async with Node(store, tmp_path, images=images) as node:
        yield World(store, node)


def phase(wanted: str) -> Callable[[Any], bool]:
    return lambda pod: pod is not None and pod["status"]["phase"] == wanted


def ready(pod: Any) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def state(pod: Object) -> Object:
    found: Object = pod["status"]["containerStatuses"][0]["state"]
    return found


def waits_for(reason: str) -> Callable[[Any], bool]:
    return lambda pod: state(pod).get("waiting", {}).get("reason") == reason if "hostIP" in pod["status"] else False


def processes_of(pod: Object) -> list[int]:
    """The living processes whose environment says that they are the pod's."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(pod["metadata"]["uid"]):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def test_a_command_runs_and_its_end_is_told(world: World) -> None:
    world.create("fine", "sh", "-c", "echo said; exit 0")
    world.create("wrong", "sh", "-c", "exit 3")
    fine, wrong = await world.until("fine", phase("Succeeded")), await world.until("wrong", phase("Failed"))
    assert (state(fine)["terminated"]["exitCode"], state(fine)["terminated"]["reason"]) == (0, "Completed")
    assert (state(wrong)["terminated"]["exitCode"], state(wrong)["terminated"]["reason"]) == (3, "Error")
    assert world.node.logs("fine") == "said\n"
    assert not ready(fine)
    assert world.events("fine") == ["Scheduled", "Pulling", "Pulled", "Started"]


async def test_each_pod_has_its_own_address_and_is_ready_when_it_answers(world: World, tmp_path: Path) -> None:
    for name in ("one", "two"):
        world.create(
            name,
            container={
                "args": ["-c", SERVE, "/srv", EVERYWHERE],
                "ports": [{"name": "web", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "web"}},
                "volumeMounts": [{"name": "files", "mountPath": "/srv"}],
            },
            volumes=[{"name": "files", "emptyDir": {}}],
        )
    one, two = await world.until("one", ready), await world.until("two", ready)
    assert one["status"]["podIP"] != two["status"]["podIP"]
    for pod in (one, two):
        reader, writer = await asyncio.open_connection(pod["status"]["podIP"], 8080)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200 OK" in await reader.readline()
        writer.close()


async def test_environment_arguments_and_volumes_are_as_the_manifest_says(world: World) -> None:
    claim = {
        "metadata": {"name": "home"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    world.store.create("persistentvolumeclaims", "hub", claim)
    script = 'echo "$NAME $WHO $POD_IP $ADDRESS $0 $HOME"; cat $HOME/kept 2>/dev/null; echo here >> $HOME/kept; pwd'
    container = {
        "command": ["sh", "-c", script, "$(NAME)-$$(NAME)"],
        "env": [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "WHO", "value": "$(NAME)!"},
            {"name": "ADDRESS", "value": f"{EVERYWHERE}:80"},
            {"name": "HOME", "value": "/home/visidata"},
        ],
        "workingDir": "/home/visidata/",
        "volumeMounts": [{"name": "home", "mountPath": "/home/visidata"}],
    }
    volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}]
    world.create("one", container=container, volumes=volumes)
    pod = await world.until("one", phase("Succeeded"))
    address = pod["status"]["podIP"]
    first, where = world.node.logs("one").splitlines()
    assert first == f"one one! {address} {address}:80 one-$(NAME) {where}"
    assert world.store.get("persistentvolumeclaims", "hub", "home")["status"]["phase"] == "Bound"

    world.create("two", container=container, volumes=volumes)
    await world.until("two", phase("Succeeded"))
    assert "here" in world.node.logs("two").splitlines()  # What the first one left.

    world.store.delete("persistentvolumeclaims", "hub", "home")
    assert "deletionTimestamp" in world.store.get("persistentvolumeclaims", "hub", "home")["metadata"]
    for name in ("one", "two"):
        world.store.delete("pods", "hub", name)
    assert world.store.find("persistentvolumeclaims", "hub") == []


async def test_a_deleted_pod_is_asked_to_end_and_all_its_processes_go(world: World) -> None:
    script = "setsid sleep 300 & trap 'echo asked > $OUT; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    container = {"env": [{"name": "OUT", "value": "/dev/termination-log"}]}
    pod = world.create("one", "bash", "-c", script, container=container)
    await world.said("one", "up")
    assert len(processes_of(pod)) >= 2
    watch = world.store.watch("pods", "hub", since=world.store.version)
    world.store.delete("pods", "hub", "one", {"gracePeriodSeconds": 5})
    await world.until("one", lambda pod: pod is None)
    events = watch.taken()
    assert "deletionTimestamp" in events[0][1].obj["metadata"]
    kind, last = events[-1]
    assert kind == "DELETED"
    assert state(last.obj)["terminated"]["exitCode"] == 0
    assert state(last.obj)["terminated"]["message"] == "asked\n"
    assert processes_of(pod) == []


async def test_who_does_not_listen_is_killed_when_the_grace_is_over(world: World) -> None:
    world.create("deaf", "bash", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    await world.said("deaf", "up")
    watch = world.store.watch("pods", "hub", since=world.store.version)
    world.store.delete("pods", "hub", "deaf", {"gracePeriodSeconds": 1})
    await world.until("deaf", lambda pod: pod is None)
    assert state(watch.taken()[-1][1].obj)["terminated"]["exitCode"] == 137


async def test_a_pod_removed_by_force_takes_its_processes_along(world: World) -> None:
    pod = world.create("one", "sleep", "300")
    await world.until("one", phase("Running"))
    world.store.delete("pods", "hub", "one", {"gracePeriodSeconds": 0})
    assert world.pod("one") is None
    again = world.create("one", "sleep", "300")
    async with asyncio.timeout(PATIENCE):
        while processes_of(pod):
            await asyncio.sleep(0.05)
    assert (await world.until("one", phase("Running")))["metadata"]["uid"] == again["metadata"]["uid"]


async def test_a_removal_by_force_ends_a_long_grace(world: World) -> None:
    pod = world.create("deaf", "bash", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    await world.said("deaf", "up")
    world.store.delete("pods", "hub", "deaf", {"gracePeriodSeconds": 60})
    await world.until("deaf", lambda _: "Killing" in world.events("deaf"))
    world.store.delete("pods", "hub", "deaf", {"gracePeriodSeconds": 0})
    async with asyncio.timeout(PATIENCE):
        while processes_of(pod):
            await asyncio.sleep(0.05)


async def test_an_image_that_is_not_there_is_told_until_it_is(world: World, images: dict[str, Image]) -> None:
    world.create("one", "true", container={"image": "nobody/nothing:1"})
    pod = await world.until("one", waits_for("ErrImagePull"))
    assert "nobody/nothing:1" in state(pod)["waiting"]["message"]
    pod = await world.until("one", waits_for("ImagePullBackOff"))
    assert state(pod)["waiting"]["message"] == 'Back-off pulling image "nobody/nothing:1"'
    assert pod["status"]["phase"] == "Pending"
    images["nobody/nothing:1"] = Image()
    await world.until("one", phase("Succeeded"))


async def test_what_cannot_start_says_why(world: World) -> None:
    world.create("no-program", "/no/such/program")
    ended = state(await world.until("no-program", phase("Failed")))["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert '"/no/such/program": No such file or directory' in ended["message"]
    secret = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}
    world.create("no-secret", "true", container={"env": [secret]})
    pod = await world.until("no-secret", waits_for("CreateContainerConfigError"))
    assert state(pod)["waiting"]["message"] == 'secret "keys" not found'
    world.store.delete("pods", "hub", "no-secret")
    await world.until("no-secret", lambda pod: pod is None)


async def test_a_pod_that_does_not_fit_waits_and_says_so(world: World) -> None:
    world.node.refuse()
    world.create("one", "true")
    pod = await world.until("one", lambda pod: pod["status"].get("conditions"))
    (condition,) = pod["status"]["conditions"]
    assert (condition["reason"], condition["message"][:27]) == ("Unschedulable", "0/1 nodes are available: 1 ")
    world.node.refuse(None)
    await world.until("one", phase("Succeeded"))
    assert world.events("one") == ["FailedScheduling", "Scheduled", "Pulling", "Pulled", "Started"]


async def test_a_pod_waits_for_its_claim(world: World) -> None:
    world.create("one", "true", volumes=[{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}])
    pod = await world.until("one", lambda pod: pod["status"].get("conditions"))
    assert 'persistentvolumeclaim "home" not found' in pod["status"]["conditions"][0]["message"]
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    world.store.create("persistentvolumeclaims", "hub", {"metadata": {"name": "home"}, "spec": claim})
    await world.until("one", phase("Succeeded"))


async def test_out_of_memory_evicted_and_too_old_are_told_apart(world: World) -> None:
    for name in ("big", "evicted"):
        world.create(name, "sleep", "300")
        await world.until(name, phase("Running"))
    world.create("old", "sleep", "300", activeDeadlineSeconds=1)
    world.node.out_of_memory("big")
    ended = state(await world.until("big", phase("Failed")))["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    world.node.evict("evicted")
    status = (await world.until("evicted", phase("Failed")))["status"]
    assert (status["reason"], status["message"]) == ("Evicted", "The node was low on resource: memory. ")
    assert (await world.until("old", phase("Failed")))["status"]["reason"] == "DeadlineExceeded"


async def test_a_node_that_is_cut_off_keeps_its_pods_until_it_is_back(world: World) -> None:
    pod = world.create("one", "sleep", "300")
    await world.until("one", ready)
    world.node.lose()
    lost = await world.until("one", lambda pod: not ready(pod))
    assert lost["status"]["reason"] == "NodeLost"
    assert processes_of(pod)
    world.store.delete("pods", "hub", "one", {"gracePeriodSeconds": 1})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await world.until("one", lambda pod: pod is None)
    assert processes_of(pod)
    world.node.recover()
    await world.until("one", lambda pod: pod is None)
    assert processes_of(pod) == []


async def test_a_node_that_comes_back_says_how_its_pods_are(world: World) -> None:
    for name in ("on", "over"):
        world.create(name, "sleep", "300")
        await world.until(name, ready)
    world.node.lose()
    await world.until("on", lambda pod: not ready(pod))
    world.node.out_of_memory("over")
    world.node.recover()
    on, over = await world.until("on", ready), await world.until("over", phase("Failed"))
    assert "reason" not in on["status"]
    assert state(over)["terminated"]["reason"] == "OOMKilled"


async def test_without_processes_pods_are_ready_after_a_time_and_end_when_told(tmp_path: Path) -> None:
    store = Store("hub")
    async with Node(store, tmp_path, processes=False, ready_after=0.05, max_pods=2) as node:
        world = World(store, node)
        for name in ("one", "two", "three"):
            world.create(name)
        for name in ("one", "two"):
            await world.until(name, ready)
        await world.until("three", lambda pod: "1 Too many pods" in str(pod["status"].get("conditions")))
        node.finish("one")
        await world.until("one", phase("Succeeded"))
        await world.until("three", ready)
        node.finish("two", code=1)
        await world.until("two", phase("Failed"))
        store.delete("pods", "hub", "three")
        await world.until("three", lambda pod: pod is None)
