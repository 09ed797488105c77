"""Reads a pod: where its run is, and in which words that is told to the person. Pure; pods are the API's JSON.

The agent says itself how VisiData ended, as the container's termination message (`Ending` in `app.agent.endings`); all
else is the cluster's to say. What is not understood is told as it stands rather than hidden.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.agent.start import CREDENTIAL
from app.errors import RuntimeFailure
from app.runtimes.base import Observed, Phase, Reason, RunId
from app.runtimes.kubernetes.names import CONTAINER, POOL

Pod = Mapping[str, Any]

LONGEST = 300  # Characters of a cluster's or an agent's own words.

FROM_OUTSIDE = "Its pod was deleted, and not by the Hub."

# Reasons of a whole pod that has failed: kubelet and node lifecycle controller.
_POD_REASONS = {
    "Evicted": Reason.EVICTED,
    "Preempting": Reason.EVICTED,
    "Shutdown": Reason.EVICTED,
    "NodeShutdown": Reason.EVICTED,
    "Terminated": Reason.EVICTED,
    "DeadlineExceeded": Reason.TOO_OLD,
    "NodeLost": Reason.LOST,
    "NodeAffinity": Reason.NO_ROOM,
    "UnexpectedAdmissionError": Reason.NO_ROOM,
}
# Reasons of the condition DisruptionTarget (Kubernetes 1.26 and later).
_DISRUPTIONS = {
    "PreemptionByScheduler": (Reason.EVICTED, "The cluster needed its room for something else."),
    "EvictionByEvictionAPI": (Reason.EVICTED, "Its machine was cleared, as for maintenance."),
    "TerminationByKubelet": (Reason.EVICTED, "Its machine ran short of room or was shut down."),
    "DeletionByTaintManager": (Reason.LOST, "Its machine stopped answering."),
    "DeletionByPodGC": (Reason.LOST, "Its machine is gone."),
}
# Why a container waits. After the first of an image's failures the kubelet tries again; the others are told as final.
_IMAGE_FAILING = "ErrImagePull"
_IMAGE_FAILED = {
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_CANNOT_START = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "PostStartHookError",
    "PreCreateHookError",
    "RunContainerError",
}
# Words of admission controllers (ResourceQuota, LimitRanger, PodSecurity, webhooks, validating policies) that reject an
# object for what it is.
_VERDICT = re.compile(
    r"exceeded quota|violates PodSecurity|denied the request|denied request|m(?:ax|in)imum \S+ usage per|must specify"
)
# Words of the scheduler about a claim that is not bound, not there, or bound where the pod cannot run.
_VOLUME = re.compile(r"persistent ?volume|volume node affinity|VolumeBinding|max volume count", re.IGNORECASE)
_NEVER_STARTED = {"ContainerCannotRun", "StartError"}  # Why a container that never ran is terminated.
_TOLD = {"quit": Reason.QUIT, "crashed": Reason.CRASHED, "out_of_memory": Reason.OUT_OF_MEMORY}


def observed(pod: Pod, run: RunId, port: int, *, asked: bool = False) -> Observed:
    """What is to be seen of a run whose pod this is. `asked`: this Hub has asked for its end."""
    uid = pod["metadata"]["uid"]
    if ended := _ending(pod, asked):
        reason, detail = ended
        return Observed(run, Phase.ENDED, uid, reason=reason, detail=detail)
    status = pod.get("status") or {}
    address = status.get("podIP")
    if address and _listens(pod):
        host = f"[{address}]" if ":" in address else address
        return Observed(run, Phase.RUNNING, uid, address=f"{host}:{port}", credential=_own_credential(pod))
    held_up, detail = _progress(pod)
    # Until the session's own container runs, all time is the cluster's: to find a machine, bind volumes, fetch images.
    waits = "running" not in (_main(pod).get("state") or {})
    return Observed(run, Phase.PENDING, uid, reason=held_up, detail=detail, waits=waits)


def deleted(pod: Pod, run: RunId, port: int, *, asked: bool) -> Observed:
    """The end of a run whose pod is no more. `pod` is the last that was seen of it."""
    seen = observed(pod, run, port, asked=asked)
    if seen.phase is Phase.ENDED:
        return seen
    reason, detail = _taken_away(pod, asked)
    return Observed(run, Phase.ENDED, seen.uid, reason=reason, detail=detail)


def vanished(seen: Observed, *, asked: bool) -> Observed:
    """The end of a run whose pod is no more, where nothing was seen of that."""
    reason, detail = (Reason.STOPPED_BY_USER, "") if asked else (Reason.LOST, FROM_OUTSIDE)
    return Observed(seen.run, Phase.ENDED, seen.uid, reason=reason, detail=detail)


def is_verdict(message: str) -> bool:
    """Whether a 403 is about the object itself (quota, limits, admission policy), so that time changes nothing."""
    return bool(_VERDICT.search(message))


def refusal(status: int, message: str, *, retry: bool = False) -> RuntimeFailure:
    """What a request's refusal means to the person. `message` is the API server's or an admission controller's.

    `retry`: it may be gone soon.
    """
    words = _short(message) or f"it answered {status}."
    if status == 403 and "exceeded quota" in message:
        return RuntimeFailure(
            f"All the room that the cluster has for sessions is taken: {words}", reason=Reason.NO_ROOM
        )
    if retry:
        return RuntimeFailure(f"The cluster refuses it at the moment: {words}", reason=Reason.REFUSED, retry=True)
    return RuntimeFailure(
        f"The cluster refused what the Hub asked for, so an administrator has to look: {words}",
        reason=Reason.REFUSED,
    )


def _ending(pod: Pod, asked: bool) -> tuple[Reason, str] | None:
    """Reason and words of a run that has ended, or will get no further; else None."""
    status = pod.get("status") or {}
    phase = status.get("phase")
    main = _main(pod)
    terminated = (main.get("state") or {}).get("terminated")
    if phase == "Unknown" or status.get("reason") == "NodeLost":
        return Reason.LOST, "The machine it runs on does not answer."
    if phase in ("Succeeded", "Failed") or terminated:
        return _ended(pod, terminated, asked)
    if is_going(pod) and not asked and _condition(pod, "Ready").get("status") == "False":
        # A machine that is lost never confirms the end, so this is not waited for.
        return _taken_away(pod, asked)
    if is_going(pod) and asked and "running" not in (main.get("state") or {}):
        # Nothing of the person's has begun yet. A kubelet before 1.22 takes up to a minute to let go of such a pod.
        return _taken_away(pod, asked)
    for container in _containers(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        why, message = waiting.get("reason"), _short(waiting.get("message"))
        if why in _IMAGE_FAILED:
            return Reason.IMAGE_UNAVAILABLE, message or f"The image {container.get('image')} cannot be fetched ({why})."
        if why in _CANNOT_START:
            return Reason.CRASHED, f"The cluster cannot start it: {message or why}"
    return None


def _ended(pod: Pod, terminated: Mapping[str, Any] | None, asked: bool) -> tuple[Reason, str]:
    status = pod.get("status") or {}
    why, message = status.get("reason") or "", _short(status.get("message"))
    if why in _POD_REASONS:
        return _POD_REASONS[why], message
    if why.startswith("OutOf"):  # OutOfcpu, OutOfmemory, OutOfpods: the node had less room than the scheduler thought.
        return Reason.NO_ROOM, message
    terminated = terminated or next(_terminated(pod), None)
    told, detail = _told(terminated)
    out_of_memory = terminated is not None and terminated.get("reason") == "OOMKilled"
    if told in _TOLD:
        if told == "crashed" and out_of_memory:
            return Reason.OUT_OF_MEMORY, ""
        return _TOLD[told], detail
    if asked or is_going(pod) or _condition(pod, "DisruptionTarget").get("status") == "True":
        return _taken_away(pod, asked)
    if terminated is None or terminated.get("reason") == "ContainerStatusUnknown":
        return Reason.LOST, message
    if out_of_memory:
        return Reason.OUT_OF_MEMORY, ""
    if told:
        return Reason.LOST, "The cluster ended it, and does not say why."
    if terminated.get("reason") in _NEVER_STARTED:
        return Reason.CRASHED, f"The cluster cannot start it: {_short(terminated.get('message'))}"
    code = terminated.get("exitCode")
    return (Reason.QUIT, "") if code == 0 else (Reason.CRASHED, f"It ended with exit code {code}.")


def _taken_away(pod: Pod, asked: bool) -> tuple[Reason, str]:
    if asked:
        return Reason.STOPPED_BY_USER, ""
    disruption = _condition(pod, "DisruptionTarget")
    if disruption.get("status") == "True" and disruption.get("reason") in _DISRUPTIONS:
        return _DISRUPTIONS[disruption["reason"]]
    return Reason.LOST, FROM_OUTSIDE


def _told(terminated: Mapping[str, Any] | None) -> tuple[str, str]:
    """Reason and detail as the agent wrote them down; empty where it did not. The person could have written it too."""
    try:
        ending = json.loads((terminated or {}).get("message") or "")
        reason, detail = ending["reason"], ending.get("detail") or ""
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", ""
    return (reason, _short(detail)) if isinstance(reason, str) and isinstance(detail, str) else ("", "")


def _progress(pod: Pod) -> tuple[Reason | None, str]:
    """What a run that is starting is held up by, if anything, and how far it has got."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        words = _short(scheduled.get("message"))
        if _VOLUME.search(words):
            return Reason.NO_VOLUME, f"Its volume is not ready yet: {words}"
        return Reason.NO_ROOM, f"No machine has room for it yet: {words}"
    if scheduled.get("status") != "True":
        return None, "Looking for a machine"
    for container in _containers(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") == _IMAGE_FAILING:
            words = f"Its image could not be fetched; trying again: {_short(waiting.get('message'))}"
            return Reason.IMAGE_UNAVAILABLE, words
    main = _main(pod)
    if "running" in (main.get("state") or {}):
        return None, "Starting VisiData"
    if _condition(pod, "PodReadyToStartContainers").get("status") == "True":
        return None, "The machine is ready; fetching VisiData, if it has to be"
    # Before 1.29 Kubernetes says nothing more until the container runs.
    return None, "A machine was found, and is being made ready; it may have to fetch VisiData first"


def _listens(pod: Pod) -> bool:
    """Whether its terminal can be reached: its startup probe has been answered.

    Not whether the pod is Ready: that waits for what a template puts beside it, and a kubelet before 1.21 may notice a
    minute late.
    """
    main = _main(pod)
    return "running" in (main.get("state") or {}) and main.get("started") is True


def _own_credential(pod: Pod) -> str | None:
    """The credential that a pod has from birth, where it was made before anybody had a run for it."""
    if POOL not in pod["metadata"].get("labels", {}):
        return None
    main = next(container for container in pod["spec"]["containers"] if container["name"] == CONTAINER)
    return next((one.get("value") for one in main.get("env", ()) if one["name"] == CREDENTIAL), None)


def _main(pod: Pod) -> Mapping[str, Any]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return next((one for one in statuses if one.get("name") == CONTAINER), {})


def _containers(pod: Pod) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _terminated(pod: Pod) -> Iterator[Mapping[str, Any]]:
    """How containers ended that did not end well."""
    for container in _containers(pod):
        terminated = (container.get("state") or {}).get("terminated")
        if terminated and terminated.get("exitCode"):
            yield terminated


def _condition(pod: Pod, kind: str) -> Mapping[str, Any]:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind), {})


def finds_no_room(seen: Observed) -> bool:
    """Whether its pod waits for a machine that has room."""
    return seen.phase is Phase.PENDING and seen.reason is Reason.NO_ROOM


def is_going(pod: Pod) -> bool:
    """Whether the pod's end was asked for."""
    return pod["metadata"].get("deletionTimestamp") is not None


def _short(text: object) -> str:
    """Somebody else's words, fit for a page: no control characters, LONGEST characters at most."""
    words = "".join(character if character.isprintable() else " " for character in str(text or "")).strip()
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"
