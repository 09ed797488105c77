"""The operator's template of a session's pod (HUB_K8S_TEMPLATE): what may be in it, and whether this one is right.

A template is part of a Pod, in YAML or JSON: `metadata.labels`, `metadata.annotations` and `spec`. It is laid over the
Hub's own pod (`manifests.merged`): the session's container is called `visidata`, others come beside it. What would make
it another run's, or let it out, is refused; so is a field that Kubernetes does not have. A mistake is found at the start,
with the field's path, and not by the first person who wants a session.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes_asyncio.client import models

from app.agent.start import CREDENTIAL
from app.errors import SettingsError
from app.runtimes.kubernetes import names
from app.runtimes.kubernetes.manifests import HOME, KEYS, TMP

# What a security context may add. The rest of one is the Hub's own, for every container.
_POD_SECURITY = {
    "appArmorProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "runAsGroup",
    "runAsUser",
    "seLinuxChangePolicy",
    "seLinuxOptions",
    "supplementalGroups",
    "supplementalGroupsPolicy",
}
_CONTAINER_SECURITY = {"appArmorProfile", "runAsGroup", "runAsUser", "seLinuxOptions"}
_OWN_SPEC = {
    "activeDeadlineSeconds": "HUB_MAX_AGE decides",
    "automountServiceAccountToken": "a session has no access to the cluster",
    "enableServiceLinks": "it is the Hub's own",
    "ephemeralContainers": "they cannot be part of a new pod",
    "hostIPC": "a session sees nothing of its machine",
    "hostNetwork": "a session sees nothing of its machine",
    "hostPID": "a session sees nothing of its machine",
    "nodeName": "the scheduler decides; use nodeSelector",
    "restartPolicy": "a run that has ended is never started again",
    "shareProcessNamespace": "a session's containers do not see each other",
    "terminationGracePeriodSeconds": "HUB_STOP_GRACE decides",
}
_OWN_CONTAINER = {
    "args": "it is the Hub's own; an entry point of yours goes into command",
    "stdin": "the agent holds the terminal",
    "terminationMessagePath": "the agent tells the end there",
    "terminationMessagePolicy": "the agent tells the end there",
    "tty": "the agent holds the terminal",
}
_OWN_ENVIRONMENT = {CREDENTIAL, "HOME", "TMPDIR"}
_OWN_LABELS = {"app.kubernetes.io/managed-by", "app.kubernetes.io/name"}
_QUANTITIES = {"limits", "requests", "sizeLimit", "storage", "divisor", "overhead"}


def load(path: Path) -> dict[str, Any]:
    """Read and check a template. Raises SettingsError that names each field which is wrong."""
    try:
        template = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"HUB_K8S_TEMPLATE: {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"HUB_K8S_TEMPLATE: {path} is no YAML: {error}") from error
    if template is None:
        return {}
    if wrong := problems(template):
        raise SettingsError("\n".join(f"HUB_K8S_TEMPLATE: {path}: {problem}" for problem in wrong))
    kept = template.items() if isinstance(template, dict) else ()
    return {name: value for name, value in kept if name in ("metadata", "spec")}


def problems(template: object) -> list[str]:
    """What is wrong with a template, each with the path of its field; empty where nothing is."""
    return list(_misfits(template, "V1Pod", "")) or [*_foreign(template), *_protected(template)]


def _misfits(value: object, kind: str, path: str) -> Iterator[str]:
    """What does not fit the API's own description of `kind` (its names: str, int, list[str], dict(str, str), V1Pod...)."""
    if value is None:
        yield f"{path or 'the file'} is empty."
    elif found := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            yield f"{path} takes a list."
            return
        for number, item in enumerate(value):
            yield from _misfits(item, found[1], f"{path}[{number}]")
    elif found := re.fullmatch(r"dict\(str, (.+)\)", kind):
        if not isinstance(value, dict):
            yield f"{path} takes names with values."
            return
        for name, item in value.items():
            yield from _misfits(item, found[1], f"{path}.{name}")
    elif (model := getattr(models, kind, None)) is not None:
        yield from _misfits_of(value, model, path)
    elif wanted := _plain(value, kind, path):
        yield f"{path} takes {wanted}, not {value!r}."


def _misfits_of(value: object, model: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path or 'the file'} takes fields with values."
        return
    kinds = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    for name, item in value.items():
        inner = f"{path}.{name}" if path else str(name)
        if name in kinds:
            yield from _misfits(item, kinds[name], inner)
        else:
            near = difflib.get_close_matches(str(name), kinds, n=1)
            yield f"{inner}: Kubernetes has no such field." + (f" Did you mean {near[0]}?" if near else "")
    key = KEYS.get(re.sub(r".*\.|\[\d+\]", "", path)) if path.endswith("]") else None
    if key is not None and key not in value:
        yield f"{path} has no {key}."


def _plain(value: object, kind: str, path: str) -> str:
    """What a field of a plain kind takes, where the value is not that."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "str":
        quantity = number and not _QUANTITIES.isdisjoint(path.split("."))
        return "" if isinstance(value, str) or quantity else "text (quote it where it looks like a number)"
    if kind == "bool":
        return "" if isinstance(value, bool) else "true or false"
    if kind == "int":
        return "" if number and not isinstance(value, float) else "a whole number"
    return ""


def _foreign(template: Any) -> Iterator[str]:
    """What is part of a Pod and not of a template."""
    for name in template:
        if name not in ("apiVersion", "kind", "metadata", "spec"):
            yield f"{name}: a template has metadata and spec alone."
    if template.get("apiVersion", "v1") != "v1" or template.get("kind", "Pod") != "Pod":
        yield "kind: a template is part of a Pod, apiVersion v1."
    metadata = template.get("metadata", {})
    for name in metadata:
        if name not in ("annotations", "labels"):
            yield f"metadata.{name} is the Hub's own; a template may have labels and annotations."
    for label in metadata.get("labels", {}):
        if label.startswith(names.PREFIX) or label in _OWN_LABELS:
            yield f"metadata.labels.{label} is the Hub's own."


def _protected(template: Any) -> Iterator[str]:
    spec: Mapping[str, Any] = template.get("spec", {})
    for name, why in _OWN_SPEC.items():
        if name in spec:
            yield f"spec.{name} cannot be set: {why}."
    yield from _security(spec.get("securityContext", {}), _POD_SECURITY, "spec.securityContext")
    for number, volume in enumerate(spec.get("volumes", [])):
        path = f"spec.volumes[{number}]"
        if volume["name"] in ("home", "tmp"):
            yield f"{path}.name: the volume {volume['name']} is the Hub's own."
        if "hostPath" in volume:
            yield f"{path}.hostPath: a session sees nothing of its machine; use a persistentVolumeClaim."
    for group in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(group, [])):
            path = f"spec.{group}[{number}]"
            yield from _security(container.get("securityContext", {}), _CONTAINER_SECURITY, f"{path}.securityContext")
            if group == "containers" and container["name"] == names.CONTAINER:
                yield from _protected_session(container, path)
            elif "image" not in container:
                yield f"{path} has no image. (The session's own container is called {names.CONTAINER}.)"


def _security(context: Mapping[str, Any], allowed: set[str], path: str) -> Iterator[str]:
    for name, value in context.items():
        if name not in allowed:
            yield f"{path}.{name} is the Hub's own: no container of a session can do more than the Hub lets it."
        elif name in ("runAsUser", "runAsGroup", "fsGroup") and value == 0:
            yield f"{path}.{name}: a session does not run as root."


def _protected_session(container: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, why in _OWN_CONTAINER.items():
        if name in container:
            yield f"{path}.{name} cannot be set: {why}."
    for number, variable in enumerate(container.get("env", [])):
        if variable["name"] in _OWN_ENVIRONMENT:
            yield f"{path}.env[{number}]: {variable['name']} is the Hub's own."
    for number, mount in enumerate(container.get("volumeMounts", [])):
        if mount["mountPath"].rstrip("/") in (HOME, TMP):
            yield f"{path}.volumeMounts[{number}].mountPath: {mount['mountPath']} is the Hub's own."
