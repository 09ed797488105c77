"""The Kubernetes runtime: each run a pod of its own, known by its name and labels, so that any replica finds it.

A run that needs no volume may be given a pod that was kept warm: one change of labels, which only one can make.
Stopping a run deletes its pod; of a run that ended by itself the pod stays as its record until it is forgotten. In the
good case that is one create and one delete for a run's whole life, whatever the number of replicas. Must not decide what
runs; the lifecycle manager does.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from app.aio import Supervisor
from app.errors import RuntimeFailure
from app.runtimes.base import Event, Observed, Phase, Reason, RunId, RunSpec, disk_may_refuse
from app.runtimes.kubernetes import manifests, names, pool, template
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.informer import WATCH_TIME, Informer
from app.runtimes.kubernetes.known import Known
from app.runtimes.kubernetes.pool import Warm
from app.settings import Settings
from app.threads import RUNTIME

log = logging.getLogger("hub.kubernetes")

# Seconds past its grace time after which a pod that was told to go is dropped without its machine's consent: that one is
# down or cut off, and people should not wait for it.
OVERDUE = 30.0
OFFER_TIME = 30.0  # Seconds that a warm pod is held for the run that was told to take it: a lease of the manager's.
CROWDED_TIME = 30.0  # Seconds without new warm pods after the cluster had no room: people's own go first.


class Homes(Protocol):
    """The homes on the volume that the Hub and its sessions share (HUB_K8S_HOME=shared)."""

    def ensure(self, user_id: str) -> object:
        """Make the user's folder, if it is not there. Raises OSError."""

    async def delete_home(self, user_id: str) -> None:
        """Delete it with all that is in it. Idempotent."""


class KubernetesRuntime:
    """Runs as pods. `pod_template` is laid over each (see `template.py`); `watch_time` is the informer's.

    `installation` is the id that the database has; it is written on pods and claims, and those with another are left
    alone.
    `overdue`: seconds past its grace time after which a pod goes without its machine's consent.
    """

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        *,
        installation: str = "",
        pod_template: Mapping[str, Any] | None = None,
        homes: Homes | None = None,
        watch_time: float = WATCH_TIME,
        overdue: float = OVERDUE,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._template = pod_template
        self._shared = homes
        self._overdue = overdue
        self._owner = names.Owner(settings.k8s_hub_name, installation)
        self._known = Known(self._owner, settings.k8s_port)
        self._listeners: set[asyncio.Queue[Event]] = set()
        selector = names.selector(settings.k8s_hub_name)
        self._informer = Informer(cluster, selector, self._known, self._tell, watch_time=watch_time)
        self._tasks = Supervisor()
        self._following = False
        self._pool = manifests.pool(settings, pod_template, installation=installation)
        self._offered: dict[str, float] = {}  # Warm pods by UID, and when a run was told to take them.
        self._warm_clock = pool.Clock()
        self._no_more_until = 0.0  # Until when no pod is made to be kept warm, since there was no room.
        self._once_ready: set[str] = set()  # UIDs of warm pods that were ready at some time.
        self._trouble = ""  # Why the last one could not be made or did not get ready.

    @classmethod
    async def connect(cls, settings: Settings, installation: str, homes: Homes | None = None) -> KubernetesRuntime:
        """For the cluster that this runs in or that KUBECONFIG names. Raises SettingsError for what cannot be used."""
        pod_template = template.load(settings.k8s_template) if settings.k8s_template else None
        cluster = await Cluster.connect(settings.k8s_namespace)
        return cls(settings, cluster, installation=installation, pod_template=pod_template, homes=homes)

    async def launch(self, spec: RunSpec) -> Observed:
        entry = self._known.get(spec.run)
        if entry is not None and entry.seen.phase is Phase.ENDED:
            return entry.seen
        if manifests.has_claim(spec, self._settings):
            await self._ensure_home(spec.user_id)
        try:
            pod = await self._cluster.create_pod(self._manifest(spec))
        except RuntimeFailure as failure:
            if failure.reason == Reason.NO_ROOM and await self._give_up_a_warm_one():
                raise RuntimeFailure(failure.message, reason=failure.reason, retry=True) from failure
            raise
        if names.run_of(pod, self._owner) != spec.run:
            raise RuntimeFailure(
                f"There is a pod {names.pod_name(spec.run)} already, and it is not this Hub's. An administrator has to look.",
                reason=Reason.REFUSED,
            )
        return self._enter(spec.run, pod) or Observed(spec.run, Phase.ENDED, pod["metadata"]["uid"], reason=Reason.LOST)

    async def look(self, run: RunId, uid: str | None = None) -> Observed | None:
        entry = self._known.get(run)
        pod = await self._cluster.get_pod(entry.name if entry is not None else names.pod_name(run))
        if pod is None and entry is None and uid:
            pod = await self._find_warm(uid)
        if pod is not None:
            return self._enter(run, pod)
        self._tell(self._known.missed(run))
        entry = self._known.get(run)
        return entry.seen if entry is not None else None

    async def stop(self, run: RunId, uid: str | None, grace: float) -> None:
        entry = self._known.get(run)
        if entry is None:
            await self.look(run, uid)
            entry = self._known.get(run)
        if entry is None:
            return
        uid = uid or entry.seen.uid
        now = time.monotonic()
        asked_at = self._known.ask(uid, now)
        seconds: int = manifests.termination_grace(grace)
        if entry.seen.uid == uid:
            if entry.seen.phase is Phase.ENDED:
                return
            if entry.going and asked_at < now:
                if now - asked_at < seconds + self._overdue:
                    return  # It is on its way.
                log.warning("run %s: its machine does not confirm its end; dropping its pod", run)
                seconds = 0
        pod = await self._cluster.delete_pod(entry.name, uid, seconds)
        if pod is not None:
            self._enter(run, pod)

    async def forget(self, run: RunId) -> None:
        entry = self._known.get(run)
        if entry is None:
            await self.look(run)
            entry = self._known.get(run)
        if entry is None or entry.seen.phase is not Phase.ENDED:
            return
        if not entry.going:
            await self._cluster.delete_pod(entry.name, entry.seen.uid)
        self._tell(self._known.forget(run))

    async def observe(self) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        if self._informer.synced_at is not None:
            queue.put_nowait(self._known.snapshot())
        self._listeners.add(queue)
        if not self._following:
            self._following = True
            self._tasks.keep("follow the pods", self._informer.run)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    @property
    def synced_at(self) -> float | None:
        return self._informer.synced_at

    @property
    def away(self) -> bool:
        return self._informer.failing

    @property
    def foreign_runs(self) -> int:
        return self._known.foreign

    def offer_warm(self, spec: RunSpec) -> str | None:
        if not self._settings.warm_runs or manifests.has_claim(spec, self._settings):
            return None
        now = time.monotonic()
        self._offered = {uid: at for uid, at in self._offered.items() if now - at < OFFER_TIME}
        ready = [
            warm.uid for warm in self._known.warm() if pool.is_ready(warm, self._pool) and warm.uid not in self._offered
        ]
        if not ready:
            return ""
        uid = random.choice(ready)  # noqa: S311  (so that replicas seldom choose the same)
        self._offered[uid] = now
        return uid

    async def take_warm(self, spec: RunSpec, uid: str) -> Observed | None:
        labels = names.run_labels(spec.run, spec.user_id)
        if self._known.get_warm(uid) is None and (pod := await self._find_warm(uid)) is not None:
            self._tell(self._known.take(pod))
        while (entry := self._known.get(spec.run)) is None:
            warm = self._known.get_warm(uid)
            if warm is None or warm.going or warm.phase is Phase.ENDED:
                return None
            try:
                pod = await self._cluster.label_pod(warm.name, uid, warm.version, labels)
            except RuntimeFailure as failure:
                if failure.retry and failure.reason != Reason.REFUSED:
                    raise
                log.warning("a pod that was kept warm cannot be used: %s", failure.message)
                return None
            if pod is None or pod["metadata"]["uid"] != uid:
                self._known.missed_warm(uid)
            else:
                self._tell(self._known.take(pod))  # It is this run's now, or another's, or at a later version.
        return entry.seen

    async def keep_warm(self, count: int, *, make: bool) -> None:
        if self._informer.synced_at is None:
            return
        now = time.monotonic()
        there = self._warm_clock.read(self._known.warm(), now)
        plan = pool.plan(
            there,
            self._pool,
            count,
            now=datetime.now(UTC),
            patience=self._settings.start_timeout.total_seconds(),
            scheduling=self._settings.k8s_scheduling_timeout.total_seconds(),
            in_want=self._known.in_want,
        )
        for warm in plan.drop:
            await self._drop_warm(warm)
        ready = {warm.uid for warm, _ in there if warm.phase is Phase.RUNNING}
        self._once_ready = ready | {warm.uid for warm, _ in there if warm.uid in self._once_ready}
        never_ready = [warm for warm in plan.broken if warm.uid not in self._once_ready]
        if never_ready:  # Others would not get ready either, and so it would go on.
            self._complain(never_ready[0].detail or "they do not get ready in time.")
        elif len(ready) >= count:
            self._trouble = ""
        if plan.crowded:
            self._no_more_until = now + CROWDED_TIME
        if make and now >= self._no_more_until:
            await self._make_warm(plan.make)

    async def delete_home(self, user_id: str) -> None:
        """Delete the user's volume, once no pod uses it any more: the cluster waits for that by itself."""
        if self._shared is not None:
            await self._shared.delete_home(user_id)
        if self._settings.k8s_home != "pvc":
            return
        claim = await self._cluster.get_claim(names.claim_name(user_id))
        if claim is not None and names.home_of(claim, self._owner) == user_id:
            await self._cluster.delete_claim(names.claim_name(user_id), claim["metadata"]["uid"])

    async def close(self) -> None:
        await self._tasks.close()
        await self._cluster.close()

    def _manifest(self, spec: RunSpec) -> manifests.Manifest:
        return manifests.pod(spec, self._settings, self._template, installation=self._owner.installation)

    async def _ensure_home(self, user_id: str) -> None:
        # At each start: an operator may have deleted it since the last one.
        if self._shared is not None:
            # The cluster would make the folder too, but as root's.
            with disk_may_refuse("The Hub cannot write to the volume with the homes"):
                await RUNTIME.run(user_id, self._shared.ensure, user_id)
            return
        claim = await self._cluster.get_claim(names.claim_name(user_id))
        if claim is None:
            claim = await self._cluster.create_claim(
                manifests.claim(user_id, self._settings, installation=self._owner.installation)
            )
        if names.home_of(claim, self._owner) != user_id:
            raise RuntimeFailure(
                f"There is a volume {names.claim_name(user_id)} already, and it is not this Hub's. An administrator has to look.",
                reason=Reason.REFUSED,
            )
        if claim["metadata"].get("deletionTimestamp") is not None:
            raise RuntimeFailure("Its volume is being deleted.", reason=Reason.NO_ROOM, retry=True)

    async def _make_warm(self, count: int) -> None:
        for _ in range(count):
            name = f"{names.WARM}{secrets.token_hex(6)}"
            credential = f"hub:{secrets.token_hex(32)}"
            manifest = manifests.warm_pod(
                name, credential, self._settings, self._template, installation=self._owner.installation
            )
            try:
                pod = await self._cluster.create_pod(manifest)
            except RuntimeFailure as failure:
                self._complain(failure.message)
                return
            self._tell(self._known.take(pod))

    def _complain(self, trouble: str) -> None:
        """No more are made for a while. Says why, but not each time that it is tried again."""
        self._no_more_until = time.monotonic() + CROWDED_TIME
        if self._trouble != trouble:
            log.warning("no pod can be kept warm just now: %s", trouble)
        self._trouble = trouble

    async def _drop_warm(self, warm: Warm) -> None:
        """At the version that is known: one that has become a run's meanwhile stays."""
        pod = await self._cluster.delete_pod(warm.name, warm.uid, version=warm.version)
        if pod is not None:
            self._tell(self._known.take(pod))

    async def _give_up_a_warm_one(self) -> bool:
        """Make room for a person's pod. Whether there will be some."""
        self._no_more_until = time.monotonic() + CROWDED_TIME
        there = self._known.warm()
        staying = [warm for warm in there if not warm.going and warm.uid not in self._offered]
        if staying:
            await self._drop_warm(min(staying, key=lambda warm: warm.created_at))
        return bool(staying) or any(warm.going for warm in there)

    async def _find_warm(self, uid: str) -> dict[str, Any] | None:
        """The pod that was made to be kept warm and has this uid, whether it still waits or is a run's."""
        warm = self._known.get_warm(uid)
        if warm is not None:
            pod = await self._cluster.get_pod(warm.name)
            return pod if pod is not None and pod["metadata"]["uid"] == uid else None
        pods = await self._cluster.all_pods(names.warm_selector(self._settings.k8s_hub_name))
        return next((pod for pod in pods if pod["metadata"]["uid"] == uid), None)

    def _enter(self, run: RunId, pod: Mapping[str, Any]) -> Observed | None:
        """Take in a pod that was asked for by name; what is known of its run then."""
        self._tell(self._known.take(pod))
        entry = self._known.get(run)
        return entry.seen if entry is not None else None

    def _tell(self, event: Event | None) -> None:
        if event is not None:
            for queue in self._listeners:
                queue.put_nowait(event)
