"""What an API server knows of an object's shape: defaults, validation, selectors, patches and quota arithmetic.

Pure. Messages and reasons are those of k8s.io/apimachinery (api/errors, util/validation) and of its quota admission,
since a client shows them to people or decides by them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

Object = dict[str, Any]
Causes = list[tuple[str, str, str]]
"""What is wrong with an object: (field, reason, message) of each."""

KINDS = {
    "pods": "Pod",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "events": "Event",
    "resourcequotas": "ResourceQuota",
    "namespaces": "Namespace",
}

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
FIELDS = {
    "pods": {"spec.nodeName", "status.phase", "status.podIP", "spec.restartPolicy"},
    "events": {"involvedObject.kind", "involvedObject.name", "involvedObject.uid", "reason", "type"},
    "namespaces": {"status.phase"},
}
MERGE_KEYS = {
    "containers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "conditions": "type",
    "ownerReferences": "uid",
}
UNITS = {"m": Decimal("0.001"), "": Decimal(1), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9)} | {
    f"{letter}i": Decimal(1024**power) for power, letter in enumerate("KMGT", start=1)
}


class ApiError(Exception):
    """A request that the API server refuses; `status` is the body it answers with."""

    def __init__(self, code: int, message: str, *, reason: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason or REASONS[code],
            **({"details": details} if details else {}),
            "code": code,
        }


def invalid(kind: str, name: str, causes: Causes) -> ApiError:
    shown = [f"{field}: {message}" for field, _, message in causes]
    message = f'{kind} "{name}" is invalid: ' + (shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]")
    listed = [{"reason": reason, "message": text, "field": field} for field, reason, text in causes]
    return ApiError(422, message, name=name, kind=kind, causes=listed)


# Defaults and validation


def with_defaults(resource: str, obj: Object) -> Object:
    """The object as it is stored when it is created; changes and returns what it is given."""
    if resource == "pods":
        spec = obj.setdefault("spec", {})
        for container in spec.get("containers") or []:
            resources = container.setdefault("resources", {})
            if limits := resources.get("limits"):
                resources["requests"] = {**limits, **resources.get("requests", {})}
            container.setdefault("terminationMessagePath", "/dev/termination-log")
            container.setdefault("terminationMessagePolicy", "File")
            image = str(container.get("image", ""))
            tagged = ":" in image.rpartition("/")[2] and not image.endswith(":latest")
            container.setdefault("imagePullPolicy", "IfNotPresent" if tagged or "@" in image else "Always")
        spec.setdefault("restartPolicy", "Always")
        spec.setdefault("terminationGracePeriodSeconds", 30)
        spec.setdefault("dnsPolicy", "ClusterFirst")
        spec.setdefault("enableServiceLinks", True)
        spec.setdefault("schedulerName", "default-scheduler")
        spec.setdefault("securityContext", {})
        spec.setdefault("serviceAccountName", "default")
        obj["status"] = {"phase": "Pending", "qosClass": _quality(spec.get("containers") or [])}
    elif resource == "persistentvolumeclaims":
        obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        obj["metadata"].setdefault("finalizers", ["kubernetes.io/pvc-protection"])
        obj["status"] = {"phase": "Pending"}
    elif resource == "namespaces":
        obj.setdefault("spec", {})
        obj["status"] = {"phase": "Active"}
    return obj


def _quality(containers: Iterable[Object]) -> str:
    sizes = [(c["resources"].get("requests", {}), c["resources"].get("limits", {})) for c in containers]
    if not any(requests or limits for requests, limits in sizes):
        return "BestEffort"
    equal = all(requests == limits and {"cpu", "memory"} <= limits.keys() for requests, limits in sizes)
    return "Guaranteed" if equal else "Burstable"


def check(resource: str, obj: Object) -> None:
    """Raises the 422 that a manifest like this gets. Fields that nobody knows are let through, as by default."""
    metadata = obj["metadata"]
    name = str(metadata.get("name", ""))
    causes: Causes = []
    if not name:
        causes.append(("metadata.name", "FieldValueRequired", "Required value: name or generateName is required"))
    elif len(name) > 253 or not SUBDOMAIN.fullmatch(name):
        causes.append(_bad("metadata.name", name, "a lowercase RFC 1123 subdomain must consist of lower case " + ALNUM))
    for value in (metadata.get("labels") or {}).values():
        if not isinstance(value, str) or len(value) > 63 or not LABEL_VALUE.fullmatch(value):
            causes.append(
                _bad("metadata.labels", value, "a valid label must be an empty string or consist of " + ALNUM)
            )
    if resource == "pods":
        causes += _check_pod(obj.get("spec") or {})
    elif resource == "persistentvolumeclaims":
        spec = obj.get("spec") or {}
        if not spec.get("accessModes"):
            causes.append(
                ("spec.accessModes", "FieldValueRequired", "Required value: at least 1 access mode is required")
            )
        if "storage" not in (spec.get("resources") or {}).get("requests", {}):
            causes.append(("spec.resources[storage]", "FieldValueRequired", "Required value"))
    if causes:
        raise invalid(KINDS[resource], name, causes)


ALNUM = "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"


def _bad(field: str, value: object, why: str) -> tuple[str, str, str]:
    return (field, "FieldValueInvalid", f'Invalid value: "{value}": {why}')


def _check_pod(spec: Object) -> Causes:
    causes: Causes = []
    required = ("FieldValueRequired", "Required value")
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    if not spec.get("containers"):
        causes.append(("spec.containers", *required))
    for index, container in enumerate(spec.get("containers") or []):
        where = f"spec.containers[{index}]"
        name = str(container.get("name", ""))
        if not name:
            causes.append((f"{where}.name", *required))
        elif len(name) > 63 or not LABEL.fullmatch(name):
            causes.append(_bad(f"{where}.name", name, "a lowercase RFC 1123 label must consist of lower case " + ALNUM))
        if not container.get("image"):
            causes.append((f"{where}.image", *required))
        for mount, asked in enumerate(container.get("volumeMounts") or []):
            if asked.get("name") not in volumes:
                text = f'Not found: "{asked.get("name")}"'
                causes.append((f"{where}.volumeMounts[{mount}].name", "FieldValueNotFound", text))
        limits = container.get("resources", {}).get("limits", {})
        for what, request in container.get("resources", {}).get("requests", {}).items():
            if what in limits and quantity(request) > quantity(limits[what]):
                why = f"must be less than or equal to {what} limit"
                causes.append(_bad(f"{where}.resources.requests", request, why))
    policy = spec.get("restartPolicy", "Always")
    if policy not in ("Always", "OnFailure", "Never"):
        text = f'Unsupported value: "{policy}": supported values: "Always", "OnFailure", "Never"'
        causes.append(("spec.restartPolicy", "FieldValueNotSupported", text))
    return causes


def check_update(resource: str, old: Object, new: Object) -> None:
    """Raises the 422 for a change of what cannot be changed: of a pod's spec, all but images and its deadline."""

    def fixed(obj: Object) -> Object:
        spec = copy.deepcopy(obj.get("spec", {}))
        spec.pop("activeDeadlineSeconds", None)
        spec.pop("tolerations", None)
        for container in spec.get("containers", []):
            container.pop("image", None)
        return spec  # type: ignore[no-any-return]

    check(resource, new)
    if resource == "pods" and fixed(old) != fixed(new):
        why = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`, "
        why += "`spec.activeDeadlineSeconds` or `spec.tolerations`"
        raise invalid("Pod", old["metadata"]["name"], [("spec", "FieldValueForbidden", why)])


# Quantities and quotas


def quantity(text: object) -> Decimal:
    """A Kubernetes quantity ("250m", "1Gi", 2) as a number."""
    found = re.fullmatch(r"([0-9.]+)(m|k|M|G|[KMGT]i)?", str(text))
    if found is None:
        raise ApiError(400, "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*)$'")
    return Decimal(found[1]) * UNITS[found[2] or ""]


def show_quantity(number: Decimal) -> str:
    if number != int(number):
        return f"{int(number * 1000)}m"
    for letter in ("Ti", "Gi", "Mi", "Ki"):
        if number and number % UNITS[letter] == 0:
            return f"{int(number / UNITS[letter])}{letter}"
    return str(int(number))


def usage(resource: str, obj: Object) -> dict[str, Decimal]:
    """What an object counts for against a quota. A pod that has ended holds no room, only its own record."""
    used = {f"count/{resource}": Decimal(1)}
    if resource == "persistentvolumeclaims":
        storage = obj["spec"].get("resources", {}).get("requests", {}).get("storage", 0)
        return used | {resource: Decimal(1), "requests.storage": quantity(storage)}
    if resource != "pods" or obj["status"]["phase"] in ("Succeeded", "Failed"):
        return used
    used["pods"] = Decimal(1)
    for container in obj["spec"]["containers"]:
        for side in ("requests", "limits"):
            for what, amount in container["resources"].get(side, {}).items():
                for key in (f"{side}.{what}", what) if side == "requests" else (f"{side}.{what}",):
                    used[key] = used.get(key, Decimal(0)) + quantity(amount)
    return used


def check_quota(quota: Object, resource: str, obj: Object, there: Iterable[Object]) -> None:
    """Raises the 403 when the quota has no room for the object beside those that are there."""
    asked = usage(resource, obj)
    hard = {what: quantity(most) for what, most in quota["spec"].get("hard", {}).items()}
    name, quota_name = obj["metadata"]["name"], quota["metadata"]["name"]
    refusal = {"name": name, "kind": resource}
    if resource == "pods":
        sizes = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
        if missing := [what for what in sizes if what in hard and what not in asked]:
            why = f"failed quota: {quota_name}: must specify {','.join(sorted(missing))}"
            raise ApiError(403, f'{resource} "{name}" is forbidden: {why}', **refusal)
    used: dict[str, Decimal] = {}
    for other in there:
        for what, amount in usage(resource, other).items():
            used[what] = used.get(what, Decimal(0)) + amount
    over = sorted(what for what in asked.keys() & hard.keys() if used.get(what, 0) + asked[what] > hard[what])
    if over:

        def listed(amounts: Mapping[str, Decimal]) -> str:
            return ",".join(f"{what}={show_quantity(amounts.get(what, Decimal(0)))}" for what in over)

        why = f"requested: {listed(asked)}, used: {listed(used)}, limited: {listed(hard)}"
        raise ApiError(403, f'{resource} "{name}" is forbidden: exceeded quota: {quota_name}, {why}', **refusal)


# Selectors


def selected_by_labels(selector: str) -> Callable[[Object], bool]:
    """`a=b,c!=d,e in (x,y),f notin (z),g,!h` as a predicate over objects; 400 for what cannot be read."""
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    for part in re.findall(r"(?:[^,(]|\([^)]*\))+", selector):
        sets = re.fullmatch(r"\s*([^\s!=]+)\s+(in|notin)\s+\(([^)]*)\)\s*", part)
        pair = re.fullmatch(r"\s*([^\s!=]+)\s*(==?|!=)\s*([^\s!=]*)\s*", part)
        bare = re.fullmatch(r"\s*(!?)\s*([^\s!=()]+)\s*", part)
        if sets:
            wanted = {value.strip() for value in sets[3].split(",")}
            tests.append(lambda labels, k=sets[1], w=wanted, o=sets[2] == "in": (labels.get(k) in w) == o)  # type: ignore[misc]
        elif pair:
            tests.append(lambda labels, k=pair[1], v=pair[3], o=pair[2] != "!=": (labels.get(k) == v) == o)  # type: ignore[misc]
        elif bare:
            tests.append(lambda labels, k=bare[2], o=not bare[1]: (k in labels) == o)  # type: ignore[misc]
        else:
            raise ApiError(400, f"unable to parse requirement: found '{part.strip()}', expected: identifier")
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def selected_by_fields(resource: str, selector: str) -> Callable[[Object], bool]:
    """`metadata.name=x,status.phase!=Running` as a predicate over objects; 400 for a field that is not indexed."""
    known = {"metadata.name", "metadata.namespace"} | FIELDS.get(resource, set())
    tests = []
    for part in filter(None, selector.split(",")):
        found = re.fullmatch(r"([^!=]+)(==?|!=)(.*)", part)
        if found is None:
            raise ApiError(400, f"invalid selector: '{part}'; can't understand '{part}'")
        if found[1] not in known:
            raise ApiError(400, f"field label not supported: {found[1]}")
        tests.append((found[1].split("."), found[3], found[2] != "!="))

    def value(obj: Any, path: list[str]) -> str:
        for key in path:
            obj = obj.get(key) or {}
        return obj if isinstance(obj, str) else ""

    return lambda obj: all((value(obj, path) == wanted) == equal for path, wanted, equal in tests)


# Patches


def patched(obj: Object, patch: Any, content_type: str) -> Object:
    """A changed copy of the object. Raises 400, 415 or 422 for what cannot be applied."""
    new = copy.deepcopy(obj)
    if content_type == "application/json-patch+json" and isinstance(patch, list):
        for step in patch:
            _apply(new, step)
        return new
    if content_type not in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
        raise ApiError(415, "the body of the request was in an unknown format")
    if not isinstance(patch, dict):
        raise ApiError(400, "error decoding patch: json: cannot unmarshal into a map")
    merged: Object = _merge(new, patch, strategic=content_type.startswith("application/strategic"))
    return merged


def _merge(old: Any, patch: Any, *, strategic: bool, key: str = "") -> Any:
    """RFC 7396; strategic merges also go into lists whose items have a key of their own."""
    if isinstance(patch, dict):
        new = dict(old) if isinstance(old, dict) else {}
        for name, value in patch.items():
            if value is None:
                new.pop(name, None)
            else:
                new[name] = _merge(new.get(name), value, strategic=strategic, key=name)
        return new
    if strategic and isinstance(patch, list) and isinstance(old, list):
        if key == "finalizers":
            return old + [item for item in patch if item not in old]
        if by := MERGE_KEYS.get(key):
            items = {item.get(by): item for item in old}
            for item in patch:
                items[item.get(by)] = _merge(items.get(item.get(by)), item, strategic=True)
            return list(items.values())
    return patch


def _apply(obj: Object, step: Object) -> None:
    """One operation of a JSON patch (RFC 6902): add, replace, remove or test."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in str(step["path"]).split("/")[1:]]
    try:
        place: Any = obj
        for part in parents:
            place = place[int(part) if isinstance(place, list) else part]
        key = int(last) if isinstance(place, list) and last != "-" else last
        match step["op"]:
            case "add" if isinstance(place, list):
                place.insert(len(place) if key == "-" else int(key), step["value"])
            case "add":
                place[key] = step["value"]
            case "replace":
                _ = place[key]
                place[key] = step["value"]
            case "remove":
                del place[key]
            case "test" if place[key] == step["value"]:
                pass
            case _:
                raise KeyError(last)
    except (KeyError, IndexError, TypeError, ValueError):
        raise ApiError(422, "the server rejected our request due to an error in our request") from None
