"""The objects of the API server, their versions and their history: what etcd and the registry are to a real one.

No HTTP and no tasks: every write is one synchronous step, so two requests never meet half-way. Objects are never changed
once stored (a write stores another), so that what is handed out may be kept, but must not be changed. The rules are those
of k8s.io/apiserver (registry/generic, storage) and of the pods' own strategy, as of 1.20 to 1.33.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import uuid4

from kube.shapes import (
    KINDS,
    ApiError,
    Object,
    check,
    check_quota,
    check_update,
    patched,
    selected_by_fields,
    selected_by_labels,
    with_defaults,
)

FIRST_VERSION = 1000
"""Where versions begin, so that 1 is older than all history, as it is in any real cluster."""
SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # The letters of generated names (apimachinery, util/rand).
SYSTEM = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def now(after: float = 0) -> str:
    """The time, `after` seconds from now, as the API writes it: UTC, in whole seconds."""
    return (datetime.now(UTC) + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown(resource: str, obj: Object) -> Object:
    """The object as it is answered alone (in lists, items go without kind and apiVersion)."""
    return {"kind": KINDS[resource], "apiVersion": "v1", **obj}


@dataclass(frozen=True)
class Change:
    """One write: what the object was before (None: it came), and what it is now (`removed`: was, at its end)."""

    version: int
    resource: str
    before: Object | None
    obj: Object
    removed: bool = False

    @cached_property
    def json(self) -> bytes:
        return json.dumps(shown(self.resource, self.obj), separators=(",", ":")).encode()


class Watch:
    """A stream of what happens to the objects that are selected, from a version on: (type, change), in order."""

    def __init__(self, store: Store, resource: str, namespace: str | None, selected: Callable[[Object], bool]) -> None:
        self._store = store
        self._resource = resource
        self._namespace = namespace
        self._selected = selected
        self._ready: deque[tuple[str, Change]] = deque()
        self._came = asyncio.Event()

    def offer(self, change: Change) -> None:
        """Takes the change on when it is one for this watch. What is no longer selected is as good as deleted."""
        namespace = change.obj["metadata"].get("namespace")
        if change.resource != self._resource or self._namespace not in (None, namespace):
            return
        before = change.before is not None and self._selected(change.before)
        after = not change.removed and self._selected(change.obj)
        if before or after:
            self._ready.append(("MODIFIED" if before and after else "ADDED" if after else "DELETED", change))
            self._came.set()

    def add_present(self, obj: Object) -> None:
        self._ready.append(("ADDED", Change(int(obj["metadata"]["resourceVersion"]), self._resource, None, obj)))
        self._came.set()

    def taken(self) -> list[tuple[str, Change]]:
        """All that has come and was not taken yet."""
        taken = list(self._ready)
        self._ready.clear()
        self._came.clear()
        return taken

    async def wait(self) -> None:
        """Returns once there is something to take."""
        await self._came.wait()

    def close(self) -> None:
        self._store.watches.discard(self)


class Store:
    """Raises ApiError for all that an API server refuses. `resource` is a key of `shapes.KINDS`; the namespace of a
    namespace is None. `on_change` is called after each write."""

    def __init__(self, *namespaces: str, history: int = 100_000) -> None:
        self.version = FIRST_VERSION
        self.watches: set[Watch] = set()
        self.on_change: list[Callable[[], None]] = []
        self._objects: dict[str, dict[tuple[str | None, str], Object]] = {resource: {} for resource in KINDS}
        self._history: deque[Change] = deque(maxlen=history)
        self._oldest = FIRST_VERSION  # The last version that history no longer has.
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        for namespace in ("default", *namespaces):
            self.create("namespaces", None, {"metadata": {"name": namespace}})

    # Reading

    def get(self, resource: str, namespace: str | None, name: str) -> Object:
        found = self._objects[resource].get((namespace, name))
        if found is None:
            raise ApiError(404, f'{resource} "{name}" not found', name=name, kind=resource)
        return found

    def find(self, resource: str, namespace: str | None = None, labels: str = "", fields: str = "") -> list[Object]:
        selected = self._selector(resource, labels, fields)
        return [
            obj
            for (where, _), obj in sorted(
                self._objects[resource].items(), key=lambda item: (item[0][0] or "", item[0][1])
            )
            if namespace in (None, where) and selected(obj)
        ]

    def page(self, objects: list[Object], limit: int, token: str) -> tuple[int, list[Object], str]:
        """A part of a list, all parts as of one version: (version, objects, token of the next part or "").

        410 for a token that history has gone past.
        """
        version = self.version
        if token:
            if token not in self._pages:
                raise ApiError(410, "The provided continue parameter is too old to display a consistent list result.")
            version, objects = self._pages.pop(token)
        if not limit or len(objects) <= limit:
            return version, objects, ""
        following = uuid4().hex
        self._pages[following] = (version, objects[limit:])
        return version, objects[:limit], following

    def watch(
        self, resource: str, namespace: str | None = None, labels: str = "", fields: str = "", since: int = 0
    ) -> Watch:
        """From the version `since` on; 0 begins with what is there. 410 when history does not reach back so far."""
        watch = Watch(self, resource, namespace, self._selector(resource, labels, fields))
        if since == 0:
            for obj in self.find(resource, namespace, labels, fields):
                watch.add_present(obj)
        elif since < self._oldest:
            raise ApiError(410, f"too old resource version: {since} ({self._oldest})")
        else:
            for change in self._since(since):
                watch.offer(change)
        self.watches.add(watch)
        return watch

    def _since(self, version: int) -> Iterator[Change]:
        newer: deque[Change] = deque()
        for change in reversed(self._history):
            if change.version <= version:
                break
            newer.appendleft(change)
        yield from newer

    def _selector(self, resource: str, labels: str, fields: str) -> Callable[[Object], bool]:
        by_labels, by_fields = selected_by_labels(labels), selected_by_fields(resource, fields)
        return lambda obj: by_labels(obj) and by_fields(obj)

    # Writing

    def create(self, resource: str, namespace: str | None, manifest: Object, *, dry: bool = False) -> Object:
        metadata = {key: value for key, value in (manifest.get("metadata") or {}).items() if value is not None}
        if metadata.setdefault("namespace", namespace) != namespace:
            raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")
        if namespace is None:
            del metadata["namespace"]
        else:
            self.get("namespaces", None, namespace)
        if "name" not in metadata and "generateName" in metadata:
            metadata["name"] = metadata["generateName"] + "".join(random.choices(SUFFIX, k=5))
        if metadata.get("resourceVersion"):
            raise ApiError(400, "resourceVersion should not be set on objects to be created", reason="BadRequest")
        obj = {key: value for key, value in manifest.items() if key not in ("kind", "apiVersion", "metadata", "status")}
        metadata |= {"uid": str(uuid4()), "creationTimestamp": now()}
        obj = with_defaults(resource, {"metadata": metadata, **obj})
        check(resource, obj)
        name = metadata["name"]
        # Admission comes before storage: at a full quota, what is there already is refused and not reported as there.
        for quota in self.find("resourcequotas", namespace) if namespace else []:
            check_quota(quota, resource, obj, self.find(resource, namespace))
        if (namespace, name) in self._objects[resource]:
            raise ApiError(409, f'{resource} "{name}" already exists', reason="AlreadyExists", name=name, kind=resource)
        return obj if dry else self._write(resource, None, obj)

    def replace(self, resource: str, namespace: str | None, name: str, new: Object, sub: str = "") -> Object:
        """What changes nothing is no write. `sub` is "status" or "": each leaves the other's part as it is."""
        old = self.get(resource, namespace, name)
        given = new.get("metadata") or {}
        if given.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            why = "the object has been modified; please apply your changes to the latest version and try again"
            raise self._conflict(resource, name, why)
        if given.get("uid") not in (None, "", old["metadata"]["uid"]):
            uid = old["metadata"]["uid"]
            why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {uid}"
            raise self._conflict(resource, name, why)
        if sub == "status":
            obj = {**old, "status": new.get("status", {})}
        else:
            kept = {key: old["metadata"][key] for key in SYSTEM if key in old["metadata"]}
            metadata = {key: value for key, value in given.items() if key not in SYSTEM} | kept
            metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
            obj = {key: value for key, value in new.items() if key not in ("kind", "apiVersion")}
            obj = {**obj, "metadata": metadata}
            if "status" in old:
                obj["status"] = old["status"]
            check_update(resource, old, obj)
        if obj == old:
            return old
        obj = self._write(resource, old, obj)
        return self._remove_if_done(resource, obj)

    def patch(
        self, resource: str, namespace: str | None, name: str, patch: Any, content_type: str, sub: str = ""
    ) -> Object:
        new = patched(self.get(resource, namespace, name), patch, content_type)
        return self.replace(resource, namespace, name, new, sub)

    def bind(self, namespace: str, name: str, node: str, status: Object) -> Object:
        """The scheduler's write: the pod is the node's from now on."""
        old = self.get("pods", namespace, name)
        return self._write("pods", old, {**old, "spec": {**old["spec"], "nodeName": node}, "status": status})

    def delete(self, resource: str, namespace: str | None, name: str, options: Object | None = None) -> Object:
        """DeleteOptions as in the API. A pod that runs on a node is only marked, until the node says that it is over
        (by deleting it with no grace); a claim in use waits for its pods; finalizers are waited for."""
        options = options or {}
        old = self.get(resource, namespace, name)
        metadata = old["metadata"]
        wanted = options.get("preconditions") or {}
        if wanted.get("uid") not in (None, metadata["uid"]):
            why = (
                f"the UID in the precondition ({wanted['uid']}) does not match the UID in record ({metadata['uid']}). "
            )
            raise self._conflict(KINDS[resource], name, why + "The object might have been deleted and then recreated")
        if wanted.get("resourceVersion") not in (None, metadata["resourceVersion"]):
            why = f"the ResourceVersion in the precondition ({wanted['resourceVersion']}) does not match "
            why += f"the ResourceVersion in record ({metadata['resourceVersion']}). The object might have been modified"
            raise self._conflict(KINDS[resource], name, why)
        grace = self._grace(resource, old, options.get("gracePeriodSeconds"))
        if "deletionTimestamp" in metadata and grace >= (metadata.get("deletionGracePeriodSeconds") or 0):
            return self._remove_if_done(resource, old)
        marked = {**metadata, "deletionTimestamp": now(grace), "deletionGracePeriodSeconds": grace}
        if resource == "namespaces":
            for inside in ("pods", "persistentvolumeclaims", "events", "resourcequotas"):
                for obj in self.find(inside, name):
                    self._remove(inside, obj)
        if grace or metadata.get("finalizers"):
            old = self._write(resource, old, {**old, "metadata": marked})
            return self._remove_if_done(resource, old)
        return self._remove(resource, old)

    def _grace(self, resource: str, obj: Object, asked: int | None) -> int:
        if resource != "pods" or not obj["spec"].get("nodeName") or obj["status"]["phase"] in ("Succeeded", "Failed"):
            return 0
        return int(obj["spec"]["terminationGracePeriodSeconds"] if asked is None else asked)

    def _remove_if_done(self, resource: str, obj: Object) -> Object:
        """Removes what is marked as deleted once nothing holds it: no grace, no finalizer, no pod that uses the claim."""
        metadata = obj["metadata"]
        finalizers = set(metadata.get("finalizers", ()))
        if resource == "persistentvolumeclaims" and not self._claimed(obj):
            finalizers.discard("kubernetes.io/pvc-protection")
        if "deletionTimestamp" in metadata and not metadata.get("deletionGracePeriodSeconds") and not finalizers:
            return self._remove(resource, obj)
        return obj

    def _claimed(self, claim: Object) -> bool:
        """Whether a pod on a node still names the claim; one that has ended counts until it is deleted."""
        return any(
            (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim["metadata"]["name"]
            for pod in self.find("pods", claim["metadata"]["namespace"])
            if pod["spec"].get("nodeName")
            for volume in pod["spec"].get("volumes") or []
        )

    def _write(self, resource: str, before: Object | None, obj: Object, *, removed: bool = False) -> Object:
        self.version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        obj = {**obj, "metadata": metadata}
        key = (metadata.get("namespace"), metadata["name"])
        if removed:
            del self._objects[resource][key]
        else:
            self._objects[resource][key] = obj
        if len(self._history) == self._history.maxlen:
            self._oldest = self._history[0].version
        change = Change(self.version, resource, before, obj, removed)
        self._history.append(change)
        for watch in self.watches:
            watch.offer(change)
        for called in self.on_change:
            called()
        return obj

    def _remove(self, resource: str, obj: Object) -> Object:
        gone = self._write(resource, obj, obj, removed=True)
        if resource == "pods":
            for claim in self.find("persistentvolumeclaims", obj["metadata"]["namespace"]):
                self._remove_if_done("persistentvolumeclaims", claim)
        return gone

    def _conflict(self, resource: str, name: str, why: str) -> ApiError:
        message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
        return ApiError(409, message, name=name, kind=resource)

    # History

    def compact(self) -> None:
        """Forget what was before now: a watch from an older version, and the rest of a list, get 410."""
        self._history.clear()
        self._pages.clear()
        self._oldest = self.version
