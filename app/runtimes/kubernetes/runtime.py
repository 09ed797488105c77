"""The Kubernetes runtime: each run a pod of its own, known by its name and labels, so that any replica finds it.

Stopping a run deletes its pod; of a run that ended by itself the pod stays as its record until it is forgotten. In the
good case that is one create and one delete for a run's whole life, whatever the number of replicas. Must not decide what
runs; the lifecycle manager does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from app.aio import Supervisor
from app.errors import RuntimeFailure
from app.runtimes.base import Event, Observed, Phase, Reason, RunId, RunSpec
from app.runtimes.kubernetes import manifests, names, template
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.informer import WATCH_TIME, Informer
from app.runtimes.kubernetes.known import Known
from app.settings import Settings

log = logging.getLogger("hub.kubernetes")

# Seconds past its grace time after which a pod that was told to go is dropped without its machine's consent: that one is
# down or cut off, and people should not wait for it.
OVERDUE = 30.0


class KubernetesRuntime:
    """Runs as pods. `pod_template` is laid over each (see `template.py`); `watch_time` is the informer's.

    `overdue`: seconds past its grace time after which a pod goes without its machine's consent.
    """

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        *,
        pod_template: Mapping[str, Any] | None = None,
        watch_time: float = WATCH_TIME,
        overdue: float = OVERDUE,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._template = pod_template
        self._overdue = overdue
        self._known = Known(settings.k8s_hub_name, settings.k8s_port)
        self._listeners: set[asyncio.Queue[Event]] = set()
        selector = names.selector(settings.k8s_hub_name)
        self._informer = Informer(cluster, selector, self._known, self._tell, watch_time=watch_time)
        self._tasks = Supervisor()
        self._following = False
        self._homes: set[str] = set()  # Users whose home is known to be there.

    @classmethod
    async def connect(cls, settings: Settings) -> KubernetesRuntime:
        """For the cluster that this runs in or that KUBECONFIG names. Raises SettingsError for what cannot be used."""
        pod_template = template.load(settings.k8s_template) if settings.k8s_template else None
        return cls(settings, await Cluster.connect(settings.k8s_namespace), pod_template=pod_template)

    async def launch(self, spec: RunSpec) -> Observed:
        entry = self._known.get(spec.run)
        if entry is not None and entry.seen.phase is Phase.ENDED:
            return entry.seen
        if manifests.has_claim(spec, self._settings):
            await self._ensure_home(spec.user_id)
        pod = await self._cluster.create_pod(manifests.pod(spec, self._settings, self._template))
        if names.run_of(pod, self._settings.k8s_hub_name) != spec.run:
            raise RuntimeFailure(
                f"There is a pod {names.pod_name(spec.run)} already, and it is not this Hub's. An administrator has to look.",
                reason=Reason.CRASHED,
            )
        return self._enter(spec.run, pod) or Observed(spec.run, Phase.ENDED, pod["metadata"]["uid"], reason=Reason.LOST)

    async def look(self, run: RunId) -> Observed | None:
        pod = await self._cluster.get_pod(names.pod_name(run))
        if pod is not None:
            return self._enter(run, pod)
        self._tell(self._known.missed(run))
        entry = self._known.get(run)
        return entry.seen if entry is not None else None

    async def stop(self, run: RunId, uid: str | None, grace: float) -> None:
        entry = self._known.get(run)
        if uid is None:
            seen = entry.seen if entry is not None else await self.look(run)
            if seen is None:
                return
            uid = seen.uid
            entry = self._known.get(run)
        now = time.monotonic()
        asked_at = self._known.ask(uid, now)
        seconds: int = manifests.termination_grace(grace)
        if entry is not None and entry.seen.uid == uid:
            if entry.seen.phase is Phase.ENDED:
                return
            if entry.going and asked_at < now:
                if now - asked_at < seconds + self._overdue:
                    return  # It is on its way.
                log.warning("run %s: its machine does not confirm its end; dropping its pod", run)
                seconds = 0
        pod = await self._cluster.delete_pod(names.pod_name(run), uid, seconds)
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
            await self._cluster.delete_pod(names.pod_name(run), entry.seen.uid)
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

    async def delete_home(self, user_id: str) -> None:
        """Delete the user's volume, once no pod uses it any more: the cluster waits for that by itself."""
        self._homes.discard(user_id)
        if self._settings.k8s_home != "pvc":
            return
        claim = await self._cluster.get_claim(names.claim_name(user_id))
        if claim is not None and names.home_of(claim, self._settings.k8s_hub_name) == user_id:
            await self._cluster.delete_claim(names.claim_name(user_id), claim["metadata"]["uid"])

    async def close(self) -> None:
        await self._tasks.close()
        await self._cluster.close()

    async def _ensure_home(self, user_id: str) -> None:
        if user_id in self._homes:
            return
        claim = await self._cluster.create_claim(manifests.claim(user_id, self._settings))
        if names.home_of(claim, self._settings.k8s_hub_name) != user_id:
            raise RuntimeFailure(
                f"There is a volume {names.claim_name(user_id)} already, and it is not this Hub's. An administrator has to look.",
                reason=Reason.CRASHED,
            )
        self._homes.add(user_id)

    def _enter(self, run: RunId, pod: Mapping[str, Any]) -> Observed | None:
        """Take in a pod that was asked for by name; what is known of its run then."""
        self._tell(self._known.take(pod))
        entry = self._known.get(run)
        return entry.seen if entry is not None else None

    def _tell(self, event: Event | None) -> None:
        if event is not None:
            for queue in self._listeners:
                queue.put_nowait(event)
