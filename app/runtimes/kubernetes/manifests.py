"""What the Hub asks the cluster for: a pod for each run, pods that are kept warm, a volume claim for each home.

Pure: settings in, manifests out.

A person has a shell in a pod, so it may do nothing that VisiData does not need. `merged` lays an operator's template
over it; `template.py` says what may be in one.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from app.agent.start import CREDENTIAL
from app.agent.visidata import path_of
from app.runtimes.base import RunId, RunSpec
from app.runtimes.kubernetes import names
from app.settings import Settings

Manifest = dict[str, Any]

HOME = "/home/visidata"
TMP = "/tmp"  # noqa: S108  (the pod's own)
ENDING_FILE = "/dev/termination-log"  # What is in it at the end is the container's termination message.
UID = 1000
WARM_AGE = 3600  # Seconds that a pod is kept warm; then another takes its place.
AGE_MARGIN = 600  # Seconds past HUB_MAX_AGE at which the cluster ends a pod that no Hub has ended.
GRACE_MARGIN = 3  # Seconds past HUB_STOP_GRACE that the agent has to write down the end.
LOGS = 256 << 20  # Bytes of a node's disk for what a container prints, which is little.
DISK_REQUEST = 64 << 20  # Bytes of it that are kept free for each session: most need next to nothing.

HARDENED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
}
"""The security context of every container of a pod, a template's too."""

KEYS = {
    "containers": "name",
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "resourceClaims": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""What tells one item of a list from another, as in Kubernetes' strategic merge patch. Other lists are joined."""


def pod(
    spec: RunSpec, settings: Settings, template: Mapping[str, Any] | None = None, *, installation: str = ""
) -> Manifest:
    """The pod of a run. The name makes it this run's; labels say whose it is; the template adds to it."""
    labels = names.pod_labels(names.Owner(settings.k8s_hub_name, installation), spec.run, spec.user_id)
    return _pod(names.pod_name(spec.run), labels, spec, settings, template)


def warm_pod(
    name: str,
    credential: str,
    settings: Settings,
    template: Mapping[str, Any] | None = None,
    *,
    installation: str = "",
) -> Manifest:
    """A pod that waits for a run: as any other, but that its VisiData begins when its first viewer comes."""
    owner = names.Owner(settings.k8s_hub_name, installation)
    labels = names.warm_labels(owner, pool(settings, template, installation=installation))
    return _pod(name, labels, _anybodys(credential), settings, template, waits=True)


def pool(settings: Settings, template: Mapping[str, Any] | None = None, *, installation: str = "") -> str:
    """What pods that are kept warm are like now, in a few letters: of one that says anything else, none is wanted."""
    manifest = _pod("", {}, _anybodys(""), settings, template, waits=True)
    told = json.dumps(manifest, sort_keys=True, default=str) + installation
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _anybodys(credential: str) -> RunSpec:
    """A run that needs nothing of anybody's. Its id is not used."""
    return RunSpec(RunId("", 0), "", credential, guest=True)


def _pod(
    name: str,
    labels: Mapping[str, str],
    spec: RunSpec,
    settings: Settings,
    template: Mapping[str, Any] | None,
    *,
    waits: bool = False,
) -> Manifest:
    claimed = has_claim(spec, settings)
    age = math.ceil(settings.max_age.total_seconds()) + (WARM_AGE if waits else 0)
    own: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": settings.k8s_namespace, "labels": dict(labels)},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": age + AGE_MARGIN,
            "terminationGracePeriodSeconds": termination_grace(settings.stop_grace.total_seconds()),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": UID,
                "runAsGroup": UID,
                "fsGroup": UID,
                "fsGroupChangePolicy": "OnRootMismatch",  # Else a large home is gone through at each start.
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(spec, settings, waits=waits)],
            "volumes": [
                {"name": "home", **_home(spec, settings)},
                {"name": "tmp", "emptyDir": {"sizeLimit": quantity(settings.k8s_tmp_size)}},
            ],
        },
    }
    if claimed and settings.k8s_home == "pvc" and settings.k8s_home_access == "ReadWriteOnce":
        own["spec"]["affinity"] = _with_others_of(spec.user_id, settings)
    whole: Manifest = copy.deepcopy(merged(own, template or {}))
    for group in ("initContainers", "containers"):
        for container in whole["spec"].get(group, []):
            container["securityContext"] = merged(copy.deepcopy(HARDENED), container.get("securityContext", {}))
    return whole


def claim(user_id: str, settings: Settings, *, installation: str = "") -> Manifest:
    """The volume claim of a user's home: made on first use, kept when sessions go, deleted with the user."""
    spec: Manifest = {
        "accessModes": [settings.k8s_home_access],
        "resources": {"requests": {"storage": quantity(settings.k8s_home_size)}},
    }
    if settings.k8s_storage_class:
        spec["storageClassName"] = settings.k8s_storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": names.claim_name(user_id),
            "namespace": settings.k8s_namespace,
            "labels": names.claim_labels(names.Owner(settings.k8s_hub_name, installation), user_id),
        },
        "spec": spec,
    }


def has_claim(spec: RunSpec, settings: Settings) -> bool:
    """Whether the run's home is on a volume that outlives it. A guest's never is."""
    return settings.k8s_home != "emptydir" and not spec.guest


def termination_grace(grace: float) -> int:
    """Seconds that a pod has to end by itself, where the program in it has `grace` seconds."""
    return math.ceil(grace) + GRACE_MARGIN


def quantity(size: int) -> str:
    """Bytes as Kubernetes writes them: 1Gi, 1536Mi."""
    for unit, power in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if size and size % (1 << power) == 0:
            return f"{size >> power}{unit}"
    return str(size)


def merged(base: Any, extra: Any) -> Any:
    """`extra` laid over `base`: maps key by key, lists by `KEYS` or joined, all else replaced.

    Neither is changed; what is taken over from them is shared.
    """
    if isinstance(base, Mapping) and isinstance(extra, Mapping):
        joined = dict(base)
        for name, value in extra.items():
            old = base.get(name)
            if isinstance(old, list) and isinstance(value, list):
                joined[name] = _merged_lists(old, value, KEYS.get(name))
            else:
                joined[name] = merged(old, value)
        return joined
    return extra


def _merged_lists(base: list[Any], extra: list[Any], key: str | None) -> list[Any]:
    if key is None:
        return [*base, *extra]
    given = {item[key]: item for item in extra}
    kept = [merged(item, given.pop(item[key], {})) for item in base]
    return [*kept, *given.values()]


def _container(spec: RunSpec, settings: Settings, *, waits: bool) -> Manifest:
    grace = settings.stop_grace.total_seconds()
    # The image's entry point is the agent. A name may hold a $, which Kubernetes would take for a variable's.
    path = path_of(spec.source.kind, spec.source.value)
    opened = ["--wait"] if waits else ["--", path.replace("$", "$$")] if path is not None else []
    listen = f"0.0.0.0:{settings.k8s_port}"
    disk = settings.k8s_tmp_size + LOGS + (0 if has_claim(spec, settings) else settings.k8s_home_size)
    return {
        "name": names.CONTAINER,
        "image": settings.k8s_image,
        "imagePullPolicy": settings.k8s_pull_policy,
        "args": ["--listen", listen, "--grace", f"{grace:g}", "--ending-file", ENDING_FILE, *opened],
        "env": [
            {"name": "HOME", "value": HOME},
            {"name": "TMPDIR", "value": TMP},
            {"name": CREDENTIAL, "value": spec.credential},
        ],
        "ports": [{"name": "terminal", "containerPort": settings.k8s_port, "protocol": "TCP"}],
        # Only until it listens: an agent that listens no more has ended, and its container with it.
        "startupProbe": {"tcpSocket": {"port": settings.k8s_port}, "periodSeconds": 1, "failureThreshold": 600},
        "resources": {
            "requests": {
                "cpu": _cores(settings.k8s_cpu_request),
                "memory": quantity(settings.k8s_memory),
                "ephemeral-storage": quantity(min(DISK_REQUEST, disk)),
            },
            # As much memory as is asked for: a node that has promised more than it has kills somebody else's session.
            "limits": {
                "cpu": _cores(settings.k8s_cpu),
                "memory": quantity(settings.k8s_memory),
                "ephemeral-storage": quantity(disk),
            },
        },
        "terminationMessagePath": ENDING_FILE,
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "home", "mountPath": HOME, **_part_of_home(spec, settings)},
            {"name": "tmp", "mountPath": TMP},
        ],
    }


def _home(spec: RunSpec, settings: Settings) -> Manifest:
    if has_claim(spec, settings):
        shared = settings.k8s_home == "shared"
        name = settings.k8s_home_claim if shared else names.claim_name(spec.user_id)
        return {"persistentVolumeClaim": {"claimName": name}}
    return {"emptyDir": {"sizeLimit": quantity(settings.k8s_home_size)}}


def _part_of_home(spec: RunSpec, settings: Settings) -> Manifest:
    """Of a volume with everybody's homes, a pod is given one alone: the folder that `app.files.homes` has made."""
    return {"subPath": spec.user_id} if settings.k8s_home == "shared" and has_claim(spec, settings) else {}


def _with_others_of(user_id: str, settings: Settings) -> Manifest:
    """On the node where the user's other sessions are: their volume can be on one node only.

    The first of them may go anywhere, since a pod that matches its own rule is let in where no other does.
    """
    theirs = {names.HUB: settings.k8s_hub_name, names.USER: user_id}
    term = {"labelSelector": {"matchLabels": theirs}, "topologyKey": "kubernetes.io/hostname"}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _cores(cores: float) -> str:
    return f"{round(cores * 1000)}m"
