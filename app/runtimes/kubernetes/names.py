"""What things are called in the cluster: pods, claims, labels. Pure, and the only place that makes or reads a name.

A pod is named for its run, so a start never waits for an old pod to go, and asking for a run twice makes one. A pod
that is kept warm has a name of its own and becomes a run's by its labels. Labels are written by the Hub alone and say
whose a pod is; one informer follows all pods that a label selector gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from app.runtimes.base import RunId

CONTAINER = "visidata"
PREFIX = "visidata-hub/"  # All labels that begin with it are the Hub's own.
HUB = PREFIX + "hub"
SESSION = PREFIX + "session"
GENERATION = PREFIX + "generation"
USER = PREFIX + "user"
INSTALLATION = PREFIX + "installation"  # The id of the database that the pod or claim belongs to.
POOL = PREFIX + "pool"  # What a pod that was made to be kept warm is like; see `manifests.pool`.
WARM = "vd-warm-"  # No session's id is so short, so it is the beginning of no other pod's name.


class Owner(NamedTuple):
    """Whose pods and claims these are: the Hub's name (a setting) and the id of its installation (in its database)."""

    hub: str
    installation: str = ""


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


def pod_labels(owner: Owner, run: RunId, user_id: str) -> dict[str, str]:
    return {**_session_labels(owner), **run_labels(run, user_id)}


def run_labels(run: RunId, user_id: str) -> dict[str, str]:
    """What makes a pod this run's."""
    return {SESSION: run.session_id, GENERATION: str(run.generation), USER: user_id}


def warm_labels(owner: Owner, pool: str) -> dict[str, str]:
    return {**_session_labels(owner), POOL: pool}


def _session_labels(owner: Owner) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "visidata-session",
        "app.kubernetes.io/managed-by": "visidata-hub",
        **_owner_labels(owner),
    }


def claim_labels(owner: Owner, user_id: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "visidata-home",
        "app.kubernetes.io/managed-by": "visidata-hub",
        **_owner_labels(owner),
        USER: user_id,
    }


def _owner_labels(owner: Owner) -> dict[str, str]:
    return {HUB: owner.hub} | ({INSTALLATION: owner.installation} if owner.installation else {})


def is_foreign(labels: Mapping[str, str], owner: Owner) -> bool:
    """Whether an object of a Hub of this name belongs to another installation: to another database."""
    return labels.get(HUB) == owner.hub and labels.get(INSTALLATION, owner.installation) != owner.installation


def is_unclaimed(labels: Mapping[str, str]) -> bool:
    """Whether it was made by a version that wrote no installation's id."""
    return INSTALLATION not in labels


def _is_ours(labels: Mapping[str, str], owner: Owner) -> bool:
    return labels.get(HUB) == owner.hub and not is_foreign(labels, owner)


def run_of(pod: Mapping[str, Any], owner: Owner) -> RunId | None:
    """Whose run a pod is; None where it is none of this installation's, whatever it is called."""
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    session_id, generation = labels.get(SESSION, ""), labels.get(GENERATION, "")
    if not _is_ours(labels, owner) or not session_id or not generation.isdecimal():
        return None
    run = RunId(session_id, int(generation))
    name = metadata.get("name") or ""
    return run if name == pod_name(run) or (POOL in labels and name.startswith(WARM)) else None


def pool_of(pod: Mapping[str, Any], owner: Owner) -> str | None:
    """The pool of a pod that waits for a run; None where it does not, or is none of this installation's."""
    labels = pod["metadata"].get("labels") or {}
    return labels.get(POOL) if _is_ours(labels, owner) and SESSION not in labels else None


def home_of(claim: Mapping[str, Any], owner: Owner) -> str | None:
    """The id of the user whose home a claim is; None where it is none of this installation's."""
    labels = claim["metadata"].get("labels") or {}
    return labels.get(USER) if _is_ours(labels, owner) else None
