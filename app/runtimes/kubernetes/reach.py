"""What a session's pod can reach, proved by two pods that are like one: `hub doctor` starts them and deletes them.

They have a session's labels for network policies to select, without those that make a pod a run of a Hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.errors import RuntimeFailure
from app.runtimes.base import Observed, Phase, RunId, RunSpec
from app.runtimes.kubernetes import manifests, names, probe, status
from app.runtimes.kubernetes.cluster import Cluster, Object
from app.settings import Settings

Finding = tuple[str, str, str]
Targets = dict[str, tuple[str, int]]

LIFE = 900  # Seconds after which the cluster ends such a pod by itself, if the doctor has died.
LOOK = 0.5  # Seconds between two looks at a pod.
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
INTERNET = "the public Internet"
OUTSIDE: Targets = {"the cloud's metadata": ("169.254.169.254", 80), INTERNET: ("1.1.1.1", 443)}

ISOLATE = (
    "a session reaches what it must not. Apply deploy/kubernetes/network.yaml and use a network plug-in that enforces "
    "NetworkPolicy, such as Calico or Cilium (docs/security.md). Give accounts to people you trust alone until then."
)


async def findings(
    cluster: Cluster,
    settings: Settings,
    template: Mapping[str, Any] | None,
    patience: float,
    outside: Targets = OUTSIDE,
) -> AsyncIterator[Finding]:
    """One finding for each thing that was tried, then what to do. `patience`: seconds for each of the two pods."""
    mark = secrets.token_hex(4)
    peer = _pod(f"vd-doctor-{mark}-listens", ["listen", str(settings.k8s_port)], settings, template, listens=True)
    made: list[Object] = []
    try:
        made.append(await cluster.create_pod(peer))
        seen = await _wait(cluster, peer, settings.k8s_port, patience, lambda seen, _: seen.phase is Phase.RUNNING)
        address = (seen.address or "").rpartition(":")[0].strip("[]")
        yield await _from_hub(address, settings.k8s_port)
        own_address = _own_address(address)
        inside = await _resolved(targets(settings, cluster.host, own_address), own_address)
        tried: Targets = {**inside, "another session": (address, settings.k8s_port), **outside}
        arguments = ["try", json.dumps(tried), manifests.ENDING_FILE]
        prober = _pod(f"vd-doctor-{mark}-tries", arguments, settings, template, listens=False)
        made.append(await cluster.create_pod(prober))
        results: dict[str, Any] = {}

        def is_over(seen: Observed, pod: Object) -> bool:
            results.update(_results(pod))
            return bool(results) or seen.phase is Phase.ENDED

        await _wait(cluster, prober, settings.k8s_port, patience, is_over)
        if not results:
            yield (
                "BAD",
                "a session's network",
                "could not be tried: the pod ended without a result. Does the image have python3?",
            )
            return
        found = [verdict(name, *results[name]) for name in tried if name in results]
        for one in found:
            yield one
        if any(level == "BAD" for level, _, _ in found):
            yield "BAD", "a session's network", ISOLATE
    except RuntimeFailure as failure:
        yield "BAD", "a session's network", f"could not be tried: {failure.message}"
    finally:
        for pod in made:
            await cluster.delete_pod(pod["metadata"]["name"], pod["metadata"]["uid"], 0)


def targets(settings: Settings, api: tuple[str, int] | None, own_address: str) -> Targets:
    """What a session must not reach, in the cluster and around it. `api` is the API server as the Hub reaches it."""
    found: Targets = {
        "the API server": ("@KUBERNETES_SERVICE_HOST", 443),
        "its node's port 6443": ("@NODE_ADDRESS", 6443),
        "its node's kubelet": ("@NODE_ADDRESS", 10250),
        "the Hub": (own_address, int(settings.bind.rpartition(":")[2])),
    }
    if api is not None and not api[0].startswith(("127.", "localhost", "[::1]")):
        found["the API server, as the Hub reaches it"] = api
    database = urlsplit(settings.database_url)
    if database.hostname:  # Else it is a Unix socket of this machine.
        found["Postgres"] = (database.hostname, database.port or 5432)
    if NAMESPACE_FILE.is_file():
        found["the Hub's service"] = (f"visidata-hub.{NAMESPACE_FILE.read_text().strip()}.svc", 80)
    return found


async def _resolved(found: Targets, own_address: str) -> Targets:
    """The same with the database's address instead of its name, which a session may not be able to look up."""
    host, port = found.get("Postgres", ("", 0))
    if not host:
        return found
    with contextlib.suppress(OSError):
        host = str((await asyncio.get_running_loop().getaddrinfo(host, port))[0][4][0])
    return {**found, "Postgres": (own_address if host.startswith("127.") or host == "::1" else host, port)}


def verdict(name: str, address: str, result: str) -> Finding:
    """One row of the table."""
    row = f"{address:<28} {result}"
    if name == INTERNET:
        return ("ok" if result == "reached" else "note"), f"session to {name}", row
    if result == "reached":
        return "BAD", f"session to {name}", row
    if result == "refused":  # A policy may answer so, or nothing listens there while the way is open.
        return "note", f"session to {name}", f"{row} (nothing listens, or a policy rejects it)"
    return "ok", f"session to {name}", row


def _pod(
    name: str, arguments: list[str], settings: Settings, template: Mapping[str, Any] | None, *, listens: bool
) -> manifests.Manifest:
    """A session's pod with the probe in place of VisiData."""
    spec = RunSpec(RunId("doctor", 0), "doctor", "hub:none", guest=True)
    pod = copy.deepcopy(manifests.pod(spec, settings, template))
    labels = {key: text for key, text in pod["metadata"]["labels"].items() if not key.startswith(names.PREFIX)}
    pod["metadata"] |= {"name": name, "labels": labels}
    pod["spec"]["activeDeadlineSeconds"] = LIFE
    main = next(one for one in pod["spec"]["containers"] if one["name"] == names.CONTAINER)
    main["command"] = ["python3", "-I", "-c", Path(probe.__file__).read_text()]
    main["args"] = arguments
    main["env"] = [*main["env"], {"name": "NODE_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]
    if not listens:
        del main["startupProbe"]
    return pod


async def _wait(
    cluster: Cluster,
    pod: manifests.Manifest,
    port: int,
    patience: float,
    holds: Callable[[Observed, Object], bool],
) -> Observed:
    """The pod as it is once `holds` is true. Raises RuntimeFailure if it ends first, or after `patience` seconds."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        found = await cluster.get_pod(pod["metadata"]["name"])
        if found is None:
            raise RuntimeFailure("its pod was deleted meanwhile.", reason="lost")
        seen = status.observed(found, RunId("doctor", 0), port)
        if holds(seen, found):
            return seen
        if seen.phase is Phase.ENDED or asyncio.get_running_loop().time() > deadline:
            words = seen.detail or "it did not start in time."
            raise RuntimeFailure(f"its pod does not start: {words}", reason=seen.reason or "start_timeout")
        await asyncio.sleep(LOOK)


def _results(pod: Object) -> dict[str, Any]:
    """What the probe has written; empty until it has ended."""
    for one in (pod.get("status") or {}).get("containerStatuses") or []:
        terminated = (one.get("state") or {}).get("terminated") or {}
        if one.get("name") == names.CONTAINER and terminated.get("exitCode") == 0:
            return dict(json.loads(terminated.get("message") or "{}"))
    return {}


async def _from_hub(address: str, port: int) -> Finding:
    """Whether the Hub reaches a session's terminal, without which there is no session."""
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(address, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        words = f"{address}:{port} is not reached ({str(error) or 'no answer'}). Run the Hub in the cluster; check its policies."
        return "BAD", "Hub to a session's terminal", words
    return "ok", "Hub to a session's terminal", f"{address}:{port}"


def _own_address(peer: str) -> str:
    """This machine's own address on the way to a peer. Nothing is sent."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe_socket:
        probe_socket.connect((peer, 9))
        return str(probe_socket.getsockname()[0])
