"""What things are called in the cluster: pods, claims, labels. Pure, and the only place that makes or reads a name.

A pod is named for its run, so a start never waits for an old pod to go, and asking for a run twice makes one. A pod
that is kept warm has a name of its own and becomes a run's by its labels. Labels are written by the Hub alone and say
whose a pod is; one informer follows all pods that a label selector gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.runtimes.base import RunId

CONTAINER = "visidata"
PREFIX = "visidata-hub/"  # All labels that begin with it are the Hub's own.
HUB = PREFIX + "hub"
SESSION = PREFIX + "session"
GENERATION = PREFIX + "generation"
USER = PREFIX + "user"
POOL = PREFIX + "pool"  # What a pod that was made to be kept warm is like; see `manifests.pool`.
WARM = "vd-warm-"  # No session's id is so short, so it is the beginning of no other pod's name.


def pod_name(run: RunId) -> str:
    return f"vd-{run.session_id}-{run.generation}"


def claim_name(user_id: str) -> str:
    """The volume claim that holds a user's home."""
    return f"home-{user_id}"


def selector(hub: str) -> str:
    """The label selector of everything that this Hub made."""
    return f"{HUB}={hub}"


def warm_selector(hub: str) -> str:
    """The label selector of the pods that were made to be kept warm, whether they are a run's by now or not."""
    return f"{HUB}={hub},{POOL}"


def pod_labels(hub: str, run: RunId, user_id: str) -> dict[str, str]:
    return {**_session_labels(hub), **run_labels(run, user_id)}


def run_labels(run: RunId, user_id: str) -> dict[str, str]:
    """What makes a pod this run's."""
    return {SESSION: run.session_id, GENERATION: str(run.generation), USER: user_id}


def warm_labels(hub: str, pool: str) -> dict[str, str]:
    return {**_session_labels(hub), POOL: pool}


def _session_labels(hub: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "visidata-session",
        "app.kubernetes.io/managed-by": "visidata-hub",
        HUB: hub,
    }


def claim_labels(hub: str, user_id: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "visidata-home",
        "app.kubernetes.io/managed-by": "visidata-hub",
        HUB: hub,
        USER: user_id,
    }


def run_of(pod: Mapping[str, Any], hub: str) -> RunId | None:
    """Whose run a pod is; None where it is none of this Hub's, whatever it is called."""
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    session_id, generation = labels.get(SESSION, ""), labels.get(GENERATION, "")
    if labels.get(HUB) != hub or not session_id or not generation.isdecimal():
        return None
    run = RunId(session_id, int(generation))
    name = metadata.get("name") or ""
    return run if name == pod_name(run) or (POOL in labels and name.startswith(WARM)) else None


def pool_of(pod: Mapping[str, Any], hub: str) -> str | None:
    """The pool of a pod that waits for a run; None where it does not, or is none of this Hub's."""
    labels = pod["metadata"].get("labels") or {}
    return labels.get(POOL) if labels.get(HUB) == hub and SESSION not in labels else None


def home_of(claim: Mapping[str, Any], hub: str) -> str | None:
    """The id of the user whose home a claim is; None where it is none of this Hub's."""
    labels = claim["metadata"].get("labels") or {}
    return labels.get(USER) if labels.get(HUB) == hub else None
