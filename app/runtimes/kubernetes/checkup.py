"""Checks a cluster with the Hub's own account, for `hub doctor`: its rights, whether a session's pod would be admitted, and what
it would reach.

A session's pod is sent as a dry run, which admission controllers, quotas and pod security all judge. Two more are started
to try the network (`reach.py`), and deleted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from app.errors import RuntimeFailure, SettingsError
from app.runtimes.base import RunId, RunSpec
from app.runtimes.kubernetes import manifests, reach, template
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.names import Owner, is_foreign, selector
from app.settings import Settings

PATIENCE = 120.0  # Seconds for a pod: the image may have to be fetched.

RIGHTS = {
    "pods": ("create", "delete", "get", "list", "patch", "watch"),
    "persistentvolumeclaims": ("create", "delete", "get"),
}
"""What the Hub's account must be allowed in its namespace; deploy/ gives it just that."""

Finding = tuple[str, str, str]
"""`ok`, `note` or `BAD` (it keeps the Hub from working); what was looked at; words that say what was found or what to do."""


async def findings(
    settings: Settings, kubeconfig: Path | None = None, *, installation: str = "", patience: float = PATIENCE
) -> AsyncIterator[Finding]:
    """Each check with its result, in order. Ends early where the remaining checks are impossible.

    `installation` is the database's id; empty where it is not known. `patience`: seconds that each pod which tries the
    network may take.
    """
    try:
        laid_over = template.load(settings.k8s_template) if settings.k8s_template else None
        cluster = await Cluster.connect(settings.k8s_namespace, kubeconfig, patience=5.0)
    except SettingsError as error:
        yield "BAD", "Kubernetes", str(error)
        return
    try:
        async for finding in _of(cluster, settings, laid_over, installation, patience):
            yield finding
    except RuntimeFailure as error:
        yield "BAD", "Kubernetes", f"{error.message} Check KUBECONFIG, and that the cluster runs."
    finally:
        await cluster.close()


async def _of(
    cluster: Cluster, settings: Settings, laid_over: manifests.Manifest | None, installation: str, patience: float
) -> AsyncIterator[Finding]:
    yield "ok", "Kubernetes", f"answers: {await cluster.version()}"
    where = settings.k8s_namespace
    missing = [
        f"{verb} {kind}"
        for kind, verbs in RIGHTS.items()
        if kind == "pods" or settings.k8s_home == "pvc"
        for verb in verbs
        if not await cluster.may(verb, kind)
    ]
    if missing:
        words = f"it may not {', '.join(missing)} in {where}. Apply deploy/kubernetes, or give it these in a Role."
        yield "BAD", "the Hub's account", words
    else:
        yield "ok", "the Hub's account", f"may do what it needs in {where}"
    if "list pods" not in missing:
        pods = await cluster.all_pods(selector(settings.k8s_hub_name))
        owner = Owner(settings.k8s_hub_name, installation)
        foreign = [pod for pod in pods if installation and is_foreign(pod["metadata"]["labels"], owner)]
        yield "ok", "namespace", f"{where}: {len(pods) - len(foreign)} pods of this Hub"
        if foreign:
            words = f"{len(foreign)} pods of a Hub of this name belong to another one. Is HUB_DATABASE_URL right?"
            yield "BAD", "database", words
    if "create pods" not in missing:
        spec = RunSpec(RunId("hubdoctor", 1), "doctor", "hub:none", guest=True)
        refusal = await cluster.refused(manifests.pod(spec, settings, laid_over))
        if refusal is None:
            yield "ok", "a session's pod", f"would be let in; its image is {settings.k8s_image}"
            if not missing:
                async for finding in reach.findings(cluster, settings, laid_over, patience):
                    yield finding
        else:
            yield "BAD", "a session's pod", refusal.message
