"""The emulated cluster of a chaos run: machines with moods, a hand that ends pods, and a witness of every write."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web
from kube.node import Ending, Node, Program, _Pretended
from kube.server import KubeApi
from kube.shapes import ApiError
from kube.store import Change

from chaos.check import Finding, Pod
from chaos.plan import Blow

NAMESPACE = "hub"
FAILING = 0.1  # The part of the API's calls that fail while there are faults.
SLOW = 0.6  # Seconds that its answers then take at most.
# Seconds for which two pods of one session may live. A replica that was frozen in the middle of a start may finish it
# after another has taken over and the person has stopped and started: the sweep ends such a pod within so long.
TOGETHER = 90.0


class SlowApi(KubeApi):
    """An API server that takes its time, while there are faults: much is under way when a replica is hit."""

    def __init__(self, *arguments: Any, dice: random.Random, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.longest_delay = 0.0
        self._moods = dice

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.longest_delay * self._moods.random() ** 2)
        return await super()._handle(request)


class Mood(_Pretended):
    """A program that takes its time to come up, and to go: some do not go before they are killed."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice.uniform(0.1, 2.0))
        self._goes_after = dice.choice((0.0, 0.0, 0.3, 1.5, None))

    def terminate(self) -> None:
        if self._goes_after is not None:
            asyncio.get_running_loop().call_later(self._goes_after, self.end, Ending(0))


class Machines(Node):
    """A node whose pods have no processes, and moods."""

    def __init__(self, *arguments: Any, dice: random.Random, **options: Any) -> None:
        super().__init__(*arguments, processes=False, **options)
        self._dice = dice

    async def _program(self, container: Any) -> Program:
        return Mood(self._dice)


class Witness:
    """Sees every write to the cluster. What must never be, however short, is a finding of its own."""

    def __init__(self, api: KubeApi) -> None:
        self.runs: Counter[tuple[str, int]] = Counter()
        """How many pods each run (session, generation) has had."""
        self.longest = 0.0
        """Seconds for which two runs of one session lived together, at most."""
        self.together = 0
        self._living: dict[str, dict[str, Pod]] = {}
        self._since: dict[str, float] = {}
        self._watch = api.store.watch("pods")

    async def look(self) -> None:
        """Never returns."""
        while True:
            await self._watch.wait()
            for kind, change in self._watch.taken():
                self._take(kind, change)

    def findings(self) -> list[Finding]:
        if self.longest <= TOGETHER:
            return []
        return [Finding("doubled", "", f"two runs of one session lived together for {self.longest:.0f} s")]

    def _take(self, kind: str, change: Change) -> None:
        pod = Pod.of(change.obj)
        if pod.session is None:
            return
        living = self._living.setdefault(pod.session, {})
        if kind != "DELETED" and pod.live and not pod.going:
            if pod.uid not in living:
                self.runs[pod.session, pod.generation] += 1
            living[pod.uid] = pod
        else:
            living.pop(pod.uid, None)
        now = asyncio.get_running_loop().time()
        if len(living) > 1 and pod.session not in self._since:
            self.together += 1
            self._since[pod.session] = now
        elif len(living) < 2 and pod.session in self._since:
            self.longest = max(self.longest, now - self._since.pop(pod.session))


class ChaosCluster:
    """The API server and its node, from `start` to `stop`. `ended` holds the runs that it ended by itself."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.dice = random.Random(seed + 1)
        self.api = SlowApi(NAMESPACE, seed=seed, dice=random.Random(seed + 4))
        self.node = Machines(self.api.store, folder / "node", dice=random.Random(seed + 2))
        self.witness = Witness(self.api)
        self.ended: set[tuple[str, int]] = set()
        self.kubeconfig = folder / "kubeconfig"
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.api.start()
        await self.node.start()
        self.api.write_kubeconfig(self.kubeconfig)
        self._looking = asyncio.create_task(self.witness.look(), name="witness")

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.node.stop()
        await self.api.stop()

    def pods(self) -> list[Pod]:
        return [Pod.of(obj) for obj in self.api.store.find("pods", NAMESPACE)]

    # Faults

    def begin(self) -> None:
        self.api.failure_rate = FAILING
        self.api.longest_delay = SLOW

    def end(self) -> None:
        self.api.lift_faults()
        self.api.longest_delay = 0.0

    def hit_watches(self, how: str) -> None:
        match how:
            case "close":
                self.api.close_watches()
            case "drop":
                self.api.drop_watches()
            case "silence":
                self.api.silence_watches()
            case "garble":
                self.api.garble_watches()
            case "expire":
                self.api.expire_watches()
            case "disorder":
                self.api.disordered = not self.api.disordered
            case "compact":  # Whoever lists in parts, or comes back with an old version, is told to begin again.
                self.api.store.compact()
                self.api.drop_watches()
                self.api.fault("list", status=410)

    async def hang(self, verb: str, seconds: float) -> None:
        fault = self.api.fault(verb, times=3, hang=True)
        await asyncio.sleep(seconds)
        fault.lift()

    async def outage(self, seconds: float) -> None:
        await self.api.stop()
        await asyncio.sleep(seconds)
        await self.api.start()

    def hit_pod(self, blow: Blow) -> str:
        """End one of the pods that run, from outside; what was done, for the log."""
        running = [pod for pod in self.pods() if pod.live and not pod.going and pod.address]
        if not running:
            return "no pod to hit"
        pod = running[int(blow.target * len(running))]
        if pod.session is not None:
            self.ended.add((pod.session, pod.generation))
        with contextlib.suppress(ApiError, StopIteration):
            match blow.how:
                case "quit":
                    self.node.finish(pod.name)
                case "crash":
                    self.node.finish(pod.name, 1)
                case "evict":
                    self.node.evict(pod.name)
                case "vanish":
                    self.api.store.delete("pods", NAMESPACE, pod.name, {"gracePeriodSeconds": 0})
                case "delete":
                    self.api.store.delete("pods", NAMESPACE, pod.name)
        return f"{blow.how} {pod.name}"
