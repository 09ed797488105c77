"""From the click to VisiData's first screen on a cluster, cold and warm, beside `kubectl run` of the same image to Ready.

Needs KUBECONFIG, kubectl, and the image on the nodes: HUB_K8S_IMAGE in HUB_K8S_NAMESPACE, as the Hub's own settings.
This machine must reach pods by their addresses. In turns, in one run; each turn begins when the last one's pods are gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

from app.runtimes.kubernetes import names
from app.runtimes.kubernetes.manifests import CREDENTIAL, TMP
from app.settings import Settings
from bench.hub import RunningHub, a_hub
from bench.start import first_screen
from bench.table import Table, quantile

ROUNDS = 10
WARM = 2
MEMORY = "256Mi"
PATIENCE = 120.0  # Seconds for pods to come or to go.

COLD_HUB, WARM_HUB, PLAIN = (f"bench-{secrets.token_hex(3)}" for _ in range(3))


def run() -> Table:
    if not os.environ.get("KUBECONFIG"):
        raise SystemExit("bench cluster: KUBECONFIG must name a cluster whose nodes have the image of a session.")
    if shutil.which("kubectl") is None:
        raise SystemExit("bench cluster: kubectl is missing (on Debian: apt-get install kubernetes-client).")
    settings = Settings(
        k8s_namespace=os.environ.get("HUB_K8S_NAMESPACE", "default"),
        k8s_image=os.environ.get("HUB_K8S_IMAGE", Settings().k8s_image),
    )
    given = {
        "HUB_RUNTIME": "kubernetes",
        "HUB_SECRET_KEY": secrets.token_hex(32),
        "HUB_K8S_NAMESPACE": settings.k8s_namespace,
        "HUB_K8S_IMAGE": settings.k8s_image,
        "HUB_K8S_MEMORY": MEMORY,
    }
    took: dict[str, list[float]] = {"kubectl run, to Ready": [], "the Hub, cold": [], "the Hub, warm": []}
    with (
        a_hub(**given, HUB_K8S_HUB_NAME=COLD_HUB) as cold,
        a_hub(**given, HUB_K8S_HUB_NAME=WARM_HUB, HUB_WARM_RUNS=str(WARM)) as warm,
    ):
        ways: list[Callable[[], float]] = [lambda: _kubectl_run(settings), lambda: _new(cold), lambda: _new(warm)]
        try:
            for number in range(ROUNDS + 1):
                for way, times in zip(ways, took.values(), strict=True):
                    _settle(settings)
                    seconds = way()
                    if number:  # The first fills the caches.
                        times.append(seconds)
        finally:
            _drop(settings)
    table = Table("Start to VisiData's first screen on a cluster", ("", "p50 s", "p90 s", "most s"))
    for title, times in took.items():
        table.add(title, f"{quantile(times, 0.5):.2f}", f"{quantile(times, 0.9):.2f}", f"{max(times):.2f}")
    table.note(f"{ROUNDS} turns, image present; the first row has no screen yet, only a pod that is Ready")
    return table


def _new(hub: RunningHub) -> float:
    return asyncio.run(first_screen(hub))


def _kubectl_run(settings: Settings) -> float:
    """Seconds until a pod of the image is Ready; it is deleted then."""
    name = f"{PLAIN}-{secrets.token_hex(3)}"
    container = {
        "name": name,
        "image": settings.k8s_image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": CREDENTIAL, "value": "hub:bench"}, {"name": "HOME", "value": TMP}],
        "resources": {"limits": {"memory": MEMORY, "cpu": "2"}, "requests": {"cpu": "100m"}},
    }
    options = [
        f"--image={settings.k8s_image}",
        "--restart=Never",
        f"--labels={names.HUB}={PLAIN}",
        f"--overrides={json.dumps({'apiVersion': 'v1', 'spec': {'containers': [container]}})}",
    ]
    began = time.perf_counter()
    _kubectl(settings, "run", name, *options)
    _kubectl(settings, "wait", f"pod/{name}", "--for=condition=Ready", f"--timeout={PATIENCE:.0f}s")
    took = time.perf_counter() - began
    _kubectl(settings, "delete", "pod", name, "--wait=false")
    return took


def _settle(settings: Settings) -> None:
    """Wait until there are none but the warm pods, and those are ready."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        pods = _pods(settings, WARM_HUB)
        waiting = [
            pod
            for pod in pods
            if (pod["metadata"]["labels"].get(names.POOL) and names.SESSION not in pod["metadata"]["labels"])
            and _listens(pod)
        ]
        if len(waiting) == len(pods) == WARM and not _pods(settings, COLD_HUB) and not _pods(settings, PLAIN):
            return
        time.sleep(0.2)
    raise SystemExit("bench cluster: pods neither come nor go.")


def _listens(pod: dict[str, Any]) -> bool:
    return all(one.get("started") for one in pod["status"].get("containerStatuses", [{}]))


def _pods(settings: Settings, hub: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        _kubectl(settings, "get", "pods", "--selector", names.selector(hub), "--output=json")
    )["items"]
    return found


def _drop(settings: Settings) -> None:
    for hub in (COLD_HUB, WARM_HUB, PLAIN):
        _kubectl(settings, "delete", "pods", "--selector", names.selector(hub), "--wait=false")


def _kubectl(settings: Settings, *arguments: str) -> str:
    argv = ["kubectl", "--namespace", settings.k8s_namespace, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench cluster: {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout
