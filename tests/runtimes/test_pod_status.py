"""What a pod's status says, in words for the person: how far a start has got, and why a run ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtimes.base import Observed, Phase, Reason, RunId
from app.runtimes.kubernetes import status

RUN = RunId("srrmx3qydgjz", 3)
SCHEDULED = {"type": "PodScheduled", "status": "True"}
READY = {"type": "Ready", "status": "True"}
NOT_READY = {"type": "Ready", "status": "False"}


def a_pod(
    *conditions: dict[str, str],
    phase: str = "Pending",
    state: dict[str, Any] | None = None,
    going: bool = False,
    name: str = "visidata",
    started: bool = False,
    **more: Any,
) -> dict[str, Any]:
    one = {"name": name, "image": "sessions:1", "state": state, "started": started}
    statuses = [one] if state is not None else []
    return {
        "metadata": {"uid": "u1", **({"deletionTimestamp": "2026-11-24T08:00:00Z"} if going else {})},
        "status": {"phase": phase, "conditions": list(conditions), "containerStatuses": statuses, **more},
    }


def read(pod: dict[str, Any], *, asked: bool = False) -> Observed:
    return status.observed(pod, RUN, 8080, asked=asked)


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def over(code: int = 0, reason: str = "", message: str = "") -> dict[str, Any]:
    return {
        "terminated": {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "message": message}
    }


def told(reason: str, detail: str = "") -> str:
    return json.dumps(
        {"code": 0, "signal": None, "reason": reason, "detail": detail, "at": "2026-11-24T08:00:00+00:00"}
    )


RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-11-24T08:00:00Z"}}
NO_ROOM = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient memory.",
}


def disrupted(reason: str) -> dict[str, str]:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason}


# Starting


@pytest.mark.parametrize(
    ("pod", "waits"),
    [
        (a_pod(), True),
        (a_pod(NO_ROOM), True),
        (a_pod(SCHEDULED, state=waiting("ContainerCreating")), True),
        (a_pod(SCHEDULED, state=waiting("ErrImagePull", "registry: 503")), True),
        (a_pod(SCHEDULED, NOT_READY, phase="Running", state=RUNNING, podIP="10.1.2.3"), False),
    ],
)
def test_until_its_container_runs_a_start_waits_for_the_cluster(pod: dict[str, Any], waits: bool) -> None:
    assert read(pod).waits is waits


@pytest.mark.parametrize(
    "message",
    [
        "0/1 nodes are available: 1 pod has unbound immediate PersistentVolumeClaims.",
        '0/1 nodes are available: 1 persistentvolumeclaim "home-1" not found.',
        "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.",
        "0/3 nodes are available: 3 node(s) had volume node affinity conflict.",
    ],
)
def test_a_volume_that_is_not_there_is_called_that_and_not_want_of_room(message: str) -> None:
    seen = read(a_pod({**NO_ROOM, "message": message}))
    assert (seen.phase, seen.reason) == (Phase.PENDING, Reason.NO_VOLUME)
    assert seen.detail.startswith("Its volume is not ready yet")
    assert not status.finds_no_room(seen), "warm pods are not given up for it"


@pytest.mark.parametrize(
    ("pod", "held_up", "words"),
    [
        ({"metadata": {"uid": "u1"}}, None, "Looking for a machine"),
        (a_pod(), None, "Looking for a machine"),
        (a_pod(NO_ROOM), Reason.NO_ROOM, "Insufficient memory"),
        (a_pod(SCHEDULED), None, "made ready"),
        (a_pod(SCHEDULED, state=waiting("ContainerCreating")), None, "made ready"),
        (
            a_pod(
                SCHEDULED,
                {"type": "PodReadyToStartContainers", "status": "False"},
                state=waiting("ContainerCreating"),
            ),
            None,
            "made ready",
        ),
        (a_pod(SCHEDULED, state=waiting("ErrImagePull", "registry: 503")), Reason.IMAGE_UNAVAILABLE, "registry: 503"),
        (a_pod(SCHEDULED, NOT_READY, phase="Running", state=RUNNING, podIP="10.1.2.3"), None, "Starting VisiData"),
    ],
)
def test_a_start_says_how_far_it_has_got(pod: dict[str, Any], held_up: Reason | None, words: str) -> None:
    seen = read(pod)
    assert (seen.phase, seen.reason, seen.address) == (Phase.PENDING, held_up, None)
    assert words in seen.detail


@pytest.mark.parametrize(
    ("address", "shown"), [("10.1.2.3", "10.1.2.3:8080"), ("fd00::7", "[fd00::7]:8080")], ids=["IPv4", "IPv6"]
)
def test_one_whose_terminal_listens_has_an_address(address: str, shown: str) -> None:
    seen = read(a_pod(SCHEDULED, READY, phase="Running", state=RUNNING, started=True, podIP=address))
    assert seen == Observed(RUN, Phase.RUNNING, "u1", address=shown)


def test_nobody_waits_for_what_is_beside_the_terminal_or_for_a_kubelet_that_is_late() -> None:
    """Kubernetes 1.20 left one pod of eight not Ready for a minute after its startup probe had been answered."""
    seen = read(a_pod(SCHEDULED, NOT_READY, phase="Running", state=RUNNING, started=True, podIP="10.1.2.3"))
    assert (seen.phase, seen.address) == (Phase.RUNNING, "10.1.2.3:8080")


def test_a_pod_that_is_asked_to_end_runs_until_it_has_ended() -> None:
    for conditions in ((SCHEDULED, READY), (SCHEDULED, NOT_READY)):
        pod = a_pod(*conditions, phase="Running", state=RUNNING, podIP="10.1.2.3", going=True)
        assert read(pod, asked=True).phase is not Phase.ENDED


@pytest.mark.parametrize("state", [None, waiting("ContainerCreating"), waiting("PodInitializing")])
def test_a_stop_before_anything_has_begun_is_not_waited_for(state: dict[str, Any] | None) -> None:
    seen = read(a_pod(SCHEDULED, NOT_READY, state=state, going=True), asked=True)
    assert (seen.phase, seen.reason, seen.detail) == (Phase.ENDED, Reason.STOPPED_BY_USER, "")


# Failing to start


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("ImagePullBackOff", Reason.IMAGE_UNAVAILABLE),
        ("InvalidImageName", Reason.IMAGE_UNAVAILABLE),
        ("ErrImageNeverPull", Reason.IMAGE_UNAVAILABLE),
        ("CreateContainerConfigError", Reason.CRASHED),
        ("CreateContainerError", Reason.CRASHED),
        ("RunContainerError", Reason.CRASHED),
    ],
)
def test_what_cannot_start_is_over_at_once_and_says_why(why: str, reason: Reason) -> None:
    seen = read(a_pod(SCHEDULED, state=waiting(why, 'Back-off: "nope:1"')))
    assert (seen.phase, seen.reason) == (Phase.ENDED, reason)
    assert 'Back-off: "nope:1"' in seen.detail
    assert read(a_pod(SCHEDULED, state=waiting(why))).detail, "there are words where the cluster has none"


def test_a_container_beside_it_that_cannot_start_is_told_too() -> None:
    init = [{"name": "prepare", "image": "nope:1", "state": waiting("ImagePullBackOff", "nope")}]
    pod = a_pod(SCHEDULED, state=waiting("PodInitializing"), initContainerStatuses=init)
    assert read(pod).reason is Reason.IMAGE_UNAVAILABLE


# Ended


@pytest.mark.parametrize(
    ("pod", "asked", "reason", "words"),
    [
        # The agent's own word.
        (a_pod(phase="Succeeded", state=over(message=told("quit"))), False, Reason.QUIT, ""),
        (a_pod(phase="Succeeded", state=over(message=told("quit"))), True, Reason.QUIT, ""),
        (a_pod(phase="Succeeded", state=over(message=told("crashed", "No."))), False, Reason.CRASHED, "No."),
        (
            a_pod(phase="Succeeded", state=over(message=told("out_of_memory", "Much."))),
            False,
            Reason.OUT_OF_MEMORY,
            "Much.",
        ),
        (a_pod(phase="Running", state=over(message=told("quit"))), False, Reason.QUIT, ""),
        # Stopped: by the Hub, or by somebody else.
        (a_pod(phase="Succeeded", state=over(message=told("stopped")), going=True), True, Reason.STOPPED_BY_USER, ""),
        (a_pod(phase="Failed", state=over(137), going=True), True, Reason.STOPPED_BY_USER, ""),
        (
            a_pod(phase="Succeeded", state=over(message=told("stopped")), going=True),
            False,
            Reason.LOST,
            "not by the Hub",
        ),
        (a_pod(NOT_READY, phase="Running", state=RUNNING, going=True), False, Reason.LOST, "not by the Hub"),
        (a_pod(phase="Succeeded", state=over(message=told("stopped"))), False, Reason.LOST, "does not say why"),
        # Memory.
        (a_pod(phase="Failed", state=over(137, "OOMKilled")), False, Reason.OUT_OF_MEMORY, ""),
        (
            a_pod(phase="Succeeded", state=over(0, "OOMKilled", told("crashed", "Killed."))),
            False,
            Reason.OUT_OF_MEMORY,
            "",
        ),
        (a_pod(phase="Succeeded", state=over(0, "OOMKilled", told("quit"))), False, Reason.QUIT, ""),
        # The cluster's word.
        (a_pod(phase="Failed", reason="Evicted", message="Low on memory."), False, Reason.EVICTED, "Low on memory."),
        (a_pod(phase="Failed", reason="Evicted", message="Low.", state=over(137)), False, Reason.EVICTED, "Low."),
        (a_pod(phase="Failed", reason="Terminated", message="Node shutdown."), False, Reason.EVICTED, "Node shutdown."),
        (a_pod(phase="Failed", reason="DeadlineExceeded", state=over(137)), False, Reason.TOO_OLD, ""),
        (
            a_pod(phase="Failed", reason="OutOfmemory", message="Node had less."),
            False,
            Reason.NO_ROOM,
            "Node had less.",
        ),
        (a_pod(NOT_READY, phase="Running", state=RUNNING, reason="NodeLost"), False, Reason.LOST, "does not answer"),
        (a_pod(phase="Unknown"), False, Reason.LOST, "does not answer"),
        (
            a_pod(
                disrupted("EvictionByEvictionAPI"), phase="Succeeded", state=over(message=told("stopped")), going=True
            ),
            False,
            Reason.EVICTED,
            "maintenance",
        ),
        (
            a_pod(NOT_READY, disrupted("DeletionByTaintManager"), phase="Running", state=RUNNING, going=True),
            False,
            Reason.LOST,
            "stopped answering",
        ),
        (a_pod(disrupted("PreemptionByScheduler"), phase="Failed", state=over(143)), False, Reason.EVICTED, "room"),
        (a_pod(phase="Failed", state=over(137, "ContainerStatusUnknown")), False, Reason.LOST, ""),
        # An image without the agent, and one that cannot run.
        (a_pod(phase="Succeeded", state=over(0)), False, Reason.QUIT, ""),
        (a_pod(phase="Failed", state=over(3)), False, Reason.CRASHED, "exit code 3"),
        (a_pod(phase="Failed", state=over(128, "StartError", "no such file")), False, Reason.CRASHED, "no such file"),
        (
            a_pod(
                phase="Failed",
                state=waiting("PodInitializing"),
                initContainerStatuses=[{"name": "prepare", "state": over(4)}],
            ),
            False,
            Reason.CRASHED,
            "exit code 4",
        ),
        (a_pod(phase="Failed"), False, Reason.LOST, ""),
    ],
)
def test_why_it_ended(pod: dict[str, Any], asked: bool, reason: Reason, words: str) -> None:
    seen = read(pod, asked=asked)
    assert (seen.phase, seen.reason, seen.address) == (Phase.ENDED, reason, None)
    assert words in seen.detail
    assert bool(seen.detail) == bool(words)


@pytest.mark.parametrize(
    ("pod", "asked", "reason"),
    [
        (a_pod(SCHEDULED, READY, phase="Running", state=RUNNING, podIP="10.1.2.3"), True, Reason.STOPPED_BY_USER),
        (a_pod(SCHEDULED, READY, phase="Running", state=RUNNING, podIP="10.1.2.3"), False, Reason.LOST),
        (a_pod(), False, Reason.LOST),
        (a_pod(phase="Succeeded", state=over(message=told("quit"))), False, Reason.QUIT),
    ],
)
def test_one_whose_pod_is_no_more_has_ended(pod: dict[str, Any], asked: bool, reason: Reason) -> None:
    seen = status.deleted(pod, RUN, 8080, asked=asked)
    assert (seen.phase, seen.reason, seen.uid) == (Phase.ENDED, reason, "u1")


@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
        ).map(json.dumps),
        st.fixed_dictionaries(
            {"reason": st.none() | st.text() | st.integers(), "detail": st.none() | st.text() | st.integers()}
        ).map(json.dumps),
    )
)
def test_whatever_a_person_writes_as_the_ending_is_read_and_fit_for_a_page(message: str) -> None:
    seen = read(a_pod(phase="Succeeded", state=over(message=message)))
    assert seen.phase is Phase.ENDED
    assert seen.reason is not None
    assert len(seen.detail) <= status.LONGEST + 50
    assert seen.detail.isprintable()


# Refusals


@pytest.mark.parametrize(
    "message",
    [
        'pods "vd-a-1" is forbidden: exceeded quota: sessions, requested: pods=1, used: pods=5, limited: pods=5',
        'pods "vd-a-1" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
        'pods "vd-a-1" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
        'admission webhook "policy.example.org" denied the request: no pull secret',
        "pods \"vd-a-1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
    ],
)
def test_what_is_refused_for_what_it_is_is_not_tried_again(message: str) -> None:
    assert status.is_verdict(message)


@pytest.mark.parametrize(
    "message",
    [
        'pods is forbidden: User "x" cannot create resource "pods" in API group "" in the namespace "y"',
        'pods "vd-a-1" is forbidden: error looking up service account y/default: serviceaccount "default" not found',
        'pods "vd-a-1" is forbidden: status unknown for quota: sessions, resources: pods',
        'pods "vd-a-1" is forbidden: not yet ready to handle request',
    ],
)
def test_what_an_api_server_refuses_whose_caches_are_not_filled_may_pass(message: str) -> None:
    assert not status.is_verdict(message)
    assert status.refusal(403, message, retry=True).retry


def test_a_quota_is_told_as_want_of_room() -> None:
    message = 'pods "vd-a-1" is forbidden: exceeded quota: sessions, requested: pods=1, used: pods=5, limited: pods=5'
    failure = status.refusal(403, message)
    assert failure.reason == Reason.NO_ROOM
    assert "limited: pods=5" in failure.message
    assert not failure.retry


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (403, 'pods is forbidden: User "x" cannot create resource "pods"'),
        (422, "Pod is invalid: spec: Required"),
        (400, ""),
    ],
)
def test_a_refusal_that_stays_is_shown_and_not_tried_again(code: int, message: str) -> None:
    failure = status.refusal(code, message)
    assert not failure.retry
    assert message in failure.message
    assert "administrator" in failure.message
    Reason(failure.reason)
