"""The node: scheduler, kubelet and volume binder in one. It turns pods into processes of this machine (Linux).

It talks to the store itself, not over HTTP. What a pod gets here, and what it does not:

- A container is a process with its descendants, in a session of its own, found by a variable in its environment
  (`KUBE_CONTAINER`) and killed together when the first of them ends. It is no sandbox: users, limits, capabilities and
  file permissions of the manifest are taken as they are and do nothing, and there are no init containers.
- Its address is one of 127.0.0.0/8, its own, so that two pods may listen on one port. 0.0.0.0 in command, arguments and
  environment becomes that address, which is also in `POD_IP`.
- A volume (emptyDir, PVC, hostPath) is a folder. Mount paths in command, arguments, environment and working directory are
  rewritten to it, and so is `terminationMessagePath`. A program finds its places by these, not by paths of its own.
- An image is an `Image`: what to run by default, with which environment, and where its folders are on this machine.
- Probes of readiness and startup (tcpSocket, httpGet) are asked ten times a second until they answer, whatever their
  periods, so that tests need not wait; then at their period. Liveness is not asked, and restartPolicy is always Never.

With `processes=False` pods have no processes: they are ready after a time, and end when told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kube.shapes import ApiError, Object
from kube.store import Change, Store, now

MARK = "KUBE_CONTAINER"
BACK_OFF = 0.3  # Seconds from a failed pull to the next; the kubelet's begin at 10 s.
PROBE_EVERY = 0.1
MESSAGE_LIMIT = 4096  # Bytes of a termination message (kubelet).
OUT_OF_MEMORY = "OOMKilled"


@dataclass(frozen=True)
class Image:
    """What an image is on this machine. `argv` is its entry point, used where the manifest gives no command (and its
    arguments, where it gives none); `paths` says where the folders that it holds are: {path in the image: path here}."""

    argv: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """How a container ended."""

    code: int
    reason: str = ""
    message: str = ""


class Program(Protocol):
    """What runs in a container, once it has started."""

    async def ready(self) -> None:
        """Returns once it answers its probe; again after it has stopped answering, never before."""

    async def failing(self) -> None:
        """Returns once it no longer answers."""

    async def ended(self) -> Ending: ...

    def terminate(self) -> None: ...

    def kill(self, reason: str = "") -> None:
        """End it at once, and give this as the reason."""


class CannotStart(Exception):
    """The container cannot be made, for a reason that the kubelet tells while the pod waits, or (`final`) ends it."""

    def __init__(self, reason: str, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.final = final


class Node:
    """One node, from `start` to `stop`, for all pods in the store.

    `images` names what can be pulled (None: anything, which then must be run by a command). `schedule_after`,
    `pull_after` and `ready_after` (the last without processes only) are in seconds. `max_pods` is its room.
    """

    def __init__(
        self,
        store: Store,
        root: Path,
        *,
        images: dict[str, Image] | None = None,
        processes: bool = True,
        schedule_after: float = 0,
        pull_after: float = 0,
        ready_after: float = 0,
        max_pods: int | None = None,
        labels: Mapping[str, str] | None = None,
        name: str = "node1",
    ) -> None:
        self.store = store
        self.root = root
        self.images = images
        self.processes = processes
        self.schedule_after = schedule_after
        self.pull_after = pull_after
        self.ready_after = ready_after
        self.max_pods = max_pods
        self.labels = {"kubernetes.io/hostname": name, **(labels or {})}
        self.name = name
        self.reachable = asyncio.Event()
        self.reachable.set()
        self.full: str | None = None  # Why nothing fits, when nothing is to fit.
        self._room = asyncio.Event()
        self._pods: dict[str, _Pod] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._network = f"127.{random.randint(2, 254)}"  # Another node on this machine hardly has the same.
        self._addresses = 0

    async def start(self) -> None:
        self._watch = self.store.watch("pods")
        self._claims = self.store.watch("persistentvolumeclaims")
        self.spawn(self._follow())

    async def stop(self) -> None:
        """Kill all that runs, without a word to the API server. Raises what went wrong in the node itself."""
        self._watch.close()
        self._claims.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pod in self._pods.values():
            pod.kill()
        await asyncio.gather(*(program.ended() for pod in self._pods.values() for program in pod.programs.values()))
        if self._failures:
            raise self._failures[0]

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # What a test can do to it. Pods are named; KeyError for one that the node does not have.

    def refuse(self, message: str | None = "0/1 nodes are available: 1 Insufficient memory.") -> None:
        """Nothing fits any more, until it is called with None."""
        self.full = message
        self.look_for_room()

    def finish(self, name: str, code: int = 0, reason: str = "") -> None:
        """End the program of a pod that has no processes, as if by itself."""
        for program in self._named(name).programs.values():
            assert isinstance(program, _Pretended)
            program.end(Ending(code, reason))

    def out_of_memory(self, name: str) -> None:
        for program in self._named(name).programs.values():
            program.kill(OUT_OF_MEMORY)

    def evict(self, name: str, message: str = "The node was low on resource: memory. ") -> None:
        self._named(name).fail("Evicted", message)

    def lose(self) -> None:
        """The node is cut off: its programs run on, nobody hears of them, and pods that are deleted stay."""
        self.reachable.clear()
        for pod in self._pods.values():
            pod.lost()

    def recover(self) -> None:
        self.reachable.set()
        for pod in self._pods.values():
            pod.report()

    def logs(self, name: str) -> str:
        return self._named(name).logs()

    def _named(self, name: str) -> _Pod:
        return next(pod for pod in reversed(self._pods.values()) if pod.name == name)

    # For its pods

    def spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name="node")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append(failure)

    def address(self) -> str:
        """The next one, from .0.1 to .255.254 and round again."""
        self._addresses = self._addresses % 65_000 + 1
        return f"{self._network}.{self._addresses // 254}.{self._addresses % 254 + 1}"

    def look_for_room(self) -> None:
        self._room.set()
        self._room = asyncio.Event()

    async def room(self) -> None:
        """Returns when there may be room where there was none."""
        await self._room.wait()

    def unfit(self, pod: Object) -> str | None:
        """Why the pod cannot be scheduled; None when it can."""
        if self.full:
            return self.full
        for claim in _claims(pod):
            try:
                self.store.get("persistentvolumeclaims", pod["metadata"]["namespace"], claim)
            except ApiError:
                return f'0/1 nodes are available: persistentvolumeclaim "{claim}" not found.'
        if not (pod["spec"].get("nodeSelector") or {}).items() <= self.labels.items():
            return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        if self.max_pods is not None and sum(other.holds_room for other in self._pods.values()) >= self.max_pods:
            return "0/1 nodes are available: 1 Too many pods."
        return None

    def tell(self, pod: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """An Event about a pod, unless its namespace has gone."""
        metadata, when = pod["metadata"], now()
        by = "default-scheduler" if reason in ("Scheduled", "FailedScheduling") else "kubelet"
        event = {
            "metadata": {"generateName": f"{metadata['name'][:200]}."},
            "involvedObject": {"kind": "Pod", "apiVersion": "v1"}
            | {key: metadata[key] for key in ("namespace", "name", "uid")},
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "source": {"component": by, "host": self.name},
            "firstTimestamp": when,
            "lastTimestamp": when,
            "count": 1,
        }
        with contextlib.suppress(ApiError):
            self.store.create("events", metadata["namespace"], event)

    def claim_folder(self, namespace: str, name: str) -> Path:
        return self.root / "claims" / str(self.store.get("persistentvolumeclaims", namespace, name)["metadata"]["uid"])

    async def _follow(self) -> None:
        while True:
            changes = self._watch.taken()
            for kind, change in changes:
                self._see(kind, change)
            for kind, change in self._claims.taken():
                if kind == "DELETED":
                    shutil.rmtree(self.root / "claims" / change.obj["metadata"]["uid"], ignore_errors=True)
                self.look_for_room()
            waits = [asyncio.create_task(watch.wait()) for watch in (self._watch, self._claims)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def _see(self, kind: str, change: Change) -> None:
        uid = change.obj["metadata"]["uid"]
        if kind == "ADDED":
            self._pods[uid] = _Pod(self, change.obj)
            self.spawn(self._pods[uid].live())
        elif kind == "DELETED" and uid in self._pods:
            self._pods[uid].removed()
            self.look_for_room()
        elif "deletionTimestamp" in change.obj["metadata"] and uid in self._pods:
            self._pods[uid].delete(change.obj["metadata"].get("deletionGracePeriodSeconds") or 0)

    def forget(self, uid: str) -> None:
        self._pods.pop(uid, None)


class _Pod:
    """A pod's life: scheduled, pulled, started, ready; then it ends by itself, fails, or is deleted."""

    def __init__(self, node: Node, obj: Object) -> None:
        self.node = node
        self.obj = obj  # As it was made; its spec does not change in what matters here.
        self.name: str = obj["metadata"]["name"]
        self.namespace: str = obj["metadata"]["namespace"]
        self.uid: str = obj["metadata"]["uid"]
        self.containers: list[Object] = obj["spec"]["containers"]
        self.programs: dict[str, Program] = {}
        self.folder = node.root / "pods" / self.uid
        self._scheduled = False
        self._address = ""
        self._started_at = ""
        self._states: dict[str, Object] = {}
        self._conditions_since: dict[str, tuple[str, str]] = {}
        self._ready: set[str] = set()
        self._started: set[str] = set()  # Those whose startup probe has been answered once.
        self._doom: tuple[str, str] | None = None  # Why the pod as a whole has failed: (reason, message).
        self._unfit: str | None = None
        self._grace: float | None = None  # Seconds, once it is deleted.
        self._interrupted = asyncio.Event()

    # What happens to it from outside

    def delete(self, grace: float) -> None:
        if self._grace is None:
            self._grace = grace
            self._interrupted.set()

    def removed(self) -> None:
        """Its object has gone: nobody waits for its programs any more."""
        self._grace = 0
        if self.node.reachable.is_set():
            self.kill()
        self._interrupted.set()

    def fail(self, reason: str, message: str) -> None:
        if self._doom is None and self.holds_room:
            self._doom = (reason, message)
            self._interrupted.set()

    def lost(self) -> None:
        """Said by the control plane: the node does not answer, so the pod is not known to be ready."""
        ready, self._ready = self._ready, set()
        message = f"Node {self.node.name} which was running pod {self.name} is unresponsive"
        self._write({**self._status(), "reason": "NodeLost", "message": message})
        self._ready = ready

    def kill(self) -> None:
        for program in self.programs.values():
            program.kill()

    @property
    def holds_room(self) -> bool:
        return self._scheduled and self._phase() not in ("Succeeded", "Failed")

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    # Its life

    async def live(self) -> None:
        running = asyncio.create_task(self._run(), name=f"pod {self.name}")
        interrupted = asyncio.create_task(self._interrupted.wait())
        try:
            while self._grace is None:
                self._interrupted.clear()
                waits = {interrupted} if running.done() else {running, interrupted}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if interrupted.done():
                    interrupted = asyncio.create_task(self._interrupted.wait())
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                elif running.done():
                    running.result()
                if self._doom and self._phase() != "Failed":
                    self.kill()
                    await self._end()
            await self._terminate(self._grace)
        finally:
            running.cancel()
            interrupted.cancel()

    async def _run(self) -> None:
        await self._schedule()
        if seconds := self.obj["spec"].get("activeDeadlineSeconds"):
            message = "Pod was active on the node longer than the specified deadline"
            asyncio.get_running_loop().call_later(seconds, self.fail, "DeadlineExceeded", message)
        for container in self.containers:
            await self._pull(container)
        for container in self.containers:
            await self._start(container)
        for container in self.containers:
            if container["name"] in self.programs:
                self.node.spawn(self._follow_readiness(container["name"]))
        await self._end()

    async def _schedule(self) -> None:
        if self.obj["spec"]["schedulerName"] != "default-scheduler":
            await asyncio.Event().wait()  # Somebody else's affair.
        await asyncio.sleep(self.node.schedule_after)
        while (unfit := self.node.unfit(self.obj)) is not None:
            if unfit != self._unfit:
                self._unfit = unfit
                self.node.tell(self.obj, "FailedScheduling", unfit, warning=True)
                self.report()
            await self.node.room()
        self._scheduled = True
        self._started_at = now()
        self._unfit = None
        for container in self.containers:
            self._states[container["name"]] = {"waiting": {"reason": "ContainerCreating"}}
        if self._stored() is None:
            await asyncio.Event().wait()  # It has gone meanwhile; the news is on its way.
        self.node.store.bind(self.namespace, self.name, self.node.name, self._status())
        where = f"{self.namespace}/{self.name} to {self.node.name}"
        self.node.tell(self.obj, "Scheduled", f"Successfully assigned {where}")
        for claim in _claims(self.obj):
            self.node.store.patch(
                "persistentvolumeclaims",
                self.namespace,
                claim,
                {"status": {"phase": "Bound"}},
                "application/merge-patch+json",
                "status",
            )

    async def _pull(self, container: Object) -> None:
        name, image, policy = container["name"], container["image"], container["imagePullPolicy"]
        if policy != "Never":
            self.node.tell(self.obj, "Pulling", f'Pulling image "{image}"')
            await asyncio.sleep(self.node.pull_after)
        while self.node.images is not None and image not in self.node.images:
            if policy == "Never":
                reason, message = (
                    "ErrImageNeverPull",
                    f'Container image "{image}" is not present with pull policy of Never',
                )
                self._waits(name, reason, message)
            else:
                message = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": not found'
                self.node.tell(self.obj, "Failed", f'Failed to pull image "{image}": {message}', warning=True)
                self._waits(name, "ErrImagePull", f"rpc error: code = NotFound desc = {message}")
                await asyncio.sleep(BACK_OFF / 2)
                self.node.tell(self.obj, "BackOff", f'Back-off pulling image "{image}"')
                self._waits(name, "ImagePullBackOff", f'Back-off pulling image "{image}"')
            await asyncio.sleep(BACK_OFF)
        if policy != "Never":
            self.node.tell(self.obj, "Pulled", f'Successfully pulled image "{image}"')

    async def _start(self, container: Object) -> None:
        name = container["name"]
        self._address = self._address or self.node.address()
        try:
            self.programs[name] = await self._program(container)
        except CannotStart as failure:
            self.node.tell(self.obj, "Failed", f"Error: {failure.message}", warning=True)
            if not failure.final:
                self._waits(name, failure.reason, failure.message)
                await asyncio.Event().wait()  # As the kubelet would, until the pod is deleted.
            self._states[name] = _terminated(Ending(128, failure.reason, failure.message), now())
            return
        self._states[name] = {"running": {"startedAt": now()}}
        self.node.tell(self.obj, "Started", f"Started container {name}")
        self.report()

    async def _program(self, container: Object) -> Program:
        if self.node.processes:
            return await start_process(container, self.obj, self.node, self._address, self.folder)
        return _Pretended(self.node.ready_after)

    async def _follow_readiness(self, name: str) -> None:
        program = self.programs[name]
        while True:
            await program.ready()
            if "running" not in self._states[name]:
                return
            self._ready.add(name)
            self._started.add(name)
            self.report()
            await program.failing()
            self._ready.discard(name)
            self.report()

    async def _end(self) -> None:
        """Wait for the end of all programs, and report each."""

        async def one(name: str, program: Program) -> None:
            ending = await program.ended()
            began = self._states[name].get("running", {}).get("startedAt", self._started_at)
            self._states[name] = _terminated(ending, began)
            self._ready.discard(name)
            await self.node.reachable.wait()
            self.report()

        running = [(n, p) for n, p in self.programs.items() if "terminated" not in self._states[n]]
        await asyncio.gather(*(one(name, program) for name, program in running))
        self.report()
        self.node.look_for_room()

    async def _terminate(self, grace: float) -> None:
        """It is deleted: end what runs, in peace if there is time for that, then say that it is over."""
        await self.node.reachable.wait()
        if any("running" in state for state in self._states.values()):
            self.node.tell(self.obj, "Killing", f"Stopping container {self.containers[0]['name']}")
        for program in self.programs.values():
            program.terminate()
        ending = asyncio.create_task(self._end())
        await asyncio.wait({ending}, timeout=grace)
        self.kill()
        await ending
        with contextlib.suppress(ApiError):
            confirmed = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
            self.node.store.delete("pods", self.namespace, self.name, confirmed)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.node.forget(self.uid)
        self.node.look_for_room()

    # Its status

    def report(self) -> None:
        if self.node.reachable.is_set():
            self._write(self._status())

    def _write(self, status: Object) -> None:
        if self._stored():
            self.node.store.replace("pods", self.namespace, self.name, {"status": status}, "status")

    def _stored(self) -> Object | None:
        """The pod as the API server has it; it may have gone, and another may have its name."""
        with contextlib.suppress(ApiError):
            obj = self.node.store.get("pods", self.namespace, self.name)
            if obj["metadata"]["uid"] == self.uid:
                return obj
        return None

    def _waits(self, name: str, reason: str, message: str) -> None:
        self._states[name] = {"waiting": {"reason": reason, "message": message}}
        self.report()

    def _phase(self) -> str:
        if self._doom:
            return "Failed" if all("running" not in state for state in self._states.values()) else "Running"
        states = list(self._states.values())
        if not states or any("waiting" in state for state in states):
            return "Pending"
        if any("running" in state for state in states):
            return "Running"
        return "Succeeded" if all(state["terminated"]["exitCode"] == 0 for state in states) else "Failed"

    def _status(self) -> Object:
        phase = self._phase()
        status: Object = {"phase": phase, "conditions": self._conditions(phase)}
        status["qosClass"] = self.obj["status"]["qosClass"]
        if not self._scheduled:
            return status
        status |= {"hostIP": "127.0.0.1", "startTime": self._started_at}
        if self._address:
            status |= {"podIP": self._address, "podIPs": [{"ip": self._address}]}
        if self._doom and phase == "Failed":
            status |= {"reason": self._doom[0], "message": self._doom[1]}
        status["containerStatuses"] = [
            {
                "name": name,
                "image": container["image"],
                "imageID": "" if "waiting" in self._states[name] else f"sha256:{container['image']}",
                **({} if "waiting" in self._states[name] else {"containerID": f"containerd://{self.uid}.{name}"}),
                "ready": name in self._ready,
                "started": name in self._started and "running" in self._states[name],
                "restartCount": 0,
                "state": self._states[name],
                "lastState": {},
            }
            for container in self.containers
            for name in (container["name"],)
        ]
        return status

    def _conditions(self, phase: str) -> list[Object]:
        def condition(kind: str, true: bool, reason: str = "", message: str = "") -> Object:
            told = {key: text for key, text in (("reason", reason), ("message", message)) if text and not true}
            if self._conditions_since.get(kind, ("", ""))[0] != str(true):
                self._conditions_since[kind] = (str(true), now())
            changed = {"lastProbeTime": None, "lastTransitionTime": self._conditions_since[kind][1]}
            return {"type": kind, "status": str(true), **changed, **told}

        if not self._scheduled:
            return [condition("PodScheduled", False, "Unschedulable", self._unfit)] if self._unfit else []
        ready = len(self._ready) == len(self.containers)
        over = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
        names = [container["name"] for container in self.containers if container["name"] not in self._ready]
        why = (over or "ContainersNotReady", "" if over else f"containers with unready status: [{' '.join(names)}]")
        return [
            condition("Initialized", True),
            condition("Ready", ready, *why),
            condition("ContainersReady", ready, *why),
            condition("PodScheduled", True),
        ]


def _claims(pod: Object) -> list[str]:
    volumes = pod["spec"].get("volumes") or []
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume.get("persistentVolumeClaim")]


def _terminated(ending: Ending, began: str) -> Object:
    reason = ending.reason or ("Completed" if ending.code == 0 else "Error")
    state: Object = {"exitCode": ending.code, "reason": reason, "startedAt": began, "finishedAt": now()}
    return {"terminated": state | ({"message": ending.message} if ending.message else {})}


class _Pretended:
    """A program that is none: ready after a time, and ended when told to."""

    def __init__(self, ready_after: float) -> None:
        self._ready_after = ready_after
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    async def ready(self) -> None:
        await asyncio.sleep(self._ready_after)

    async def failing(self) -> None:
        await asyncio.Event().wait()

    async def ended(self) -> Ending:
        return await asyncio.shield(self._ending)

    def end(self, ending: Ending) -> None:
        if not self._ending.done():
            self._ending.set_result(ending)

    def terminate(self) -> None:
        self.end(Ending(0))

    def kill(self, reason: str = "") -> None:
        self.end(Ending(137, reason))


async def start_process(container: Object, pod: Object, node: Node, address: str, folder: Path) -> Program:
    """Start a container's command as processes of this machine. Raises CannotStart."""
    image = (node.images or {}).get(container["image"], Image())
    mounts = {
        mount["mountPath"].rstrip("/"): _mounted(mount, pod, node, folder)
        for mount in container.get("volumeMounts") or []
    }
    for path in mounts.values():
        path.mkdir(parents=True, exist_ok=True)
    message_file = folder / f"{container['name']}.message"
    folder.mkdir(parents=True, exist_ok=True)
    here = _rewriter({**image.paths, **mounts, container["terminationMessagePath"]: message_file, "0.0.0.0": address})  # noqa: S104
    env = dict(image.env)
    for entry in container.get("env") or []:
        value = _field(entry["valueFrom"], pod, node, address) if entry.get("valueFrom") else entry.get("value", "")
        env[entry["name"]] = _expanded(value, env)
    command = list(container.get("command") or image.argv[:1])
    arguments = list(container.get("args") or ([] if container.get("command") else image.argv[1:]))
    argv = [here(_expanded(word, env)) for word in command + arguments]
    if not argv:
        raise CannotStart("CreateContainerError", "no command specified")
    mark = f"{pod['metadata']['uid']}/{container['name']}"
    plain = {"PATH": os.environ["PATH"], "HOSTNAME": pod["metadata"]["name"], "HOME": str(folder), "POD_IP": address}
    log = folder / f"{container['name']}.log"
    try:
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**plain, **{name: here(value) for name, value in env.items()}, MARK: mark},
                cwd=here(container["workingDir"]) if container.get("workingDir") else folder,
                start_new_session=True,
            )
    except OSError as error:
        message = f'failed to create containerd task: exec: "{argv[0]}": {error.strerror}: unknown'
        raise CannotStart("StartError", message, final=True) from error
    return _Process(process, mark, container, address, message_file, log)


def _mounted(mount: Object, pod: Object, node: Node, folder: Path) -> Path:
    volume = next(one for one in pod["spec"]["volumes"] if one["name"] == mount["name"])
    if claim := volume.get("persistentVolumeClaim"):
        path = node.claim_folder(pod["metadata"]["namespace"], claim["claimName"])
    elif host := volume.get("hostPath"):
        path = Path(host["path"])
    elif "emptyDir" in volume:
        path = folder / "volumes" / volume["name"]
    else:
        message = f'MountVolume.SetUp failed for volume "{volume["name"]}": not found'
        node.tell(pod, "FailedMount", message, warning=True)
        raise CannotStart("ContainerCreating", message)
    return path / str(mount.get("subPath", ""))


def _rewriter(places: Mapping[str, object]) -> Callable[[str], str]:
    """Replaces each path (or address) where it stands whole or begins a longer path; the longest one wins."""
    words = sorted(places, key=len, reverse=True)
    found = re.compile(r"(?<![\w./-])(" + "|".join(re.escape(word) for word in words) + r")(?![\w.-])")
    return lambda text: found.sub(lambda match: str(places[match[1]]), text)


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """$(NAME) as in command, args and env of a container; what is not known stays, and $$ is one $."""
    return re.sub(
        r"\$\$|\$\(([^)]+)\)",
        lambda found: "$" if found[1] is None else env.get(found[1], found[0]),
        text,
    )


def _field(source: Object, pod: Object, node: Node, address: str) -> str:
    """The value of an environment variable that comes from the pod itself; CannotStart for one from elsewhere."""
    path = (source.get("fieldRef") or {}).get("fieldPath", "")
    metadata = pod["metadata"]
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path):
        return str((metadata.get(found[1]) or {}).get(found[2], ""))
    values = {"status.podIP": address, "status.hostIP": "127.0.0.1", "spec.nodeName": node.name}
    values |= {f"metadata.{key}": metadata[key] for key in ("name", "namespace", "uid")}
    if path in values:
        return values[path]
    for kind, key in (("secret", "secretKeyRef"), ("configmap", "configMapKeyRef")):
        if key in source:
            raise CannotStart("CreateContainerConfigError", f'{kind} "{source[key].get("name")}" not found')
    raise CannotStart("CreateContainerConfigError", f"unsupported source of an environment variable: {source}")


class _Process:
    """A program that is one: a process, and all that it has started."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        mark: str,
        container: Object,
        address: str,
        message_file: Path,
        log: Path,
    ) -> None:
        self._process = process
        self._mark = mark
        self._container = container
        self._address = address
        self._message_file = message_file
        self._log = log
        self._killed_for = ""
        self._ending = asyncio.ensure_future(self._wait())

    async def _wait(self) -> Ending:
        code = await self._process.wait()
        while self._kill_others():
            await asyncio.sleep(
                0.01
            )  # A signal takes a moment, and one that forks may have got a child past the last look.
        return Ending(128 - code if code < 0 else code, self._killed_for, self._message(code))

    def _message(self, code: int) -> str:
        if self._message_file.exists():
            return self._message_file.read_bytes()[:MESSAGE_LIMIT].decode(errors="replace")
        if code and self._container["terminationMessagePolicy"] == "FallbackToLogsOnError":
            return self._log.read_bytes()[-2048:].decode(errors="replace")
        return ""

    async def ended(self) -> Ending:
        return await asyncio.shield(self._ending)

    def terminate(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()

    def kill(self, reason: str = "") -> None:
        if self._process.returncode is None:
            self._killed_for = reason
            self._process.kill()

    def _kill_others(self) -> bool:
        """End what the first process has left behind, as a container ends with it; whether there was anything."""
        found = False
        mark = f"{MARK}={self._mark}".encode()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found = True
                    os.kill(int(entry.name), signal.SIGKILL)
        return found

    async def ready(self) -> None:
        for probe in (self._container.get("startupProbe"), self._container.get("readinessProbe")):
            while probe and not self._ending.done() and not await self._answers(probe):
                await asyncio.sleep(PROBE_EVERY)

    async def failing(self) -> None:
        probe = self._container.get("readinessProbe")
        failures = 0
        while probe is None or failures < probe.get("failureThreshold", 3):
            await asyncio.sleep(probe.get("periodSeconds", 10) if probe else 3600)
            failures = 0 if probe is None or await self._answers(probe) else failures + 1

    async def _answers(self, probe: Object) -> bool:
        """One probe. A kind that is not known here is taken as answered."""
        http, tcp = probe.get("httpGet"), probe.get("tcpSocket")
        asked = http or tcp
        if not asked:
            return True
        port = asked["port"]
        if isinstance(port, str):
            port = next(one["containerPort"] for one in self._container["ports"] if one.get("name") == port)
        try:
            async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
                reader, writer = await asyncio.open_connection(self._address, port)
                try:
                    if not http:
                        return True
                    headers = {"Host": self._address, "Connection": "close"}
                    headers |= {header["name"]: header["value"] for header in http.get("httpHeaders") or []}
                    lines = [
                        f"GET {http.get('path', '/')} HTTP/1.1",
                        *(f"{key}: {text}" for key, text in headers.items()),
                    ]
                    writer.write("\r\n".join([*lines, "", ""]).encode())
                    return 200 <= int((await reader.readline()).split()[1]) < 400
                finally:
                    writer.close()
        except (OSError, TimeoutError, IndexError, ValueError):
            return False
