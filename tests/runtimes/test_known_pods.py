"""What a replica knows of the pods is right whatever comes late, doubled, out of order or not at all."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtimes.base import Phase, Reason, RunId, Snapshot
from app.runtimes.kubernetes import names
from app.runtimes.kubernetes.known import Known, is_newer

RUN = RunId("srrmx3qydgjz", 3)


def a_pod(
    version: int, phase: str = "Pending", *, run: RunId = RUN, uid: str = "u1", going: bool = False
) -> dict[str, Any]:
    state = {"terminated": {"exitCode": 0}} if phase == "Succeeded" else {"running": {}}
    return {
        "metadata": {
            "name": names.pod_name(run),
            "uid": uid,
            "resourceVersion": str(version),
            "labels": names.pod_labels(names.Owner("hub"), run, "ada"),
            **({"deletionTimestamp": "2026-11-24T08:00:00Z"} if going else {}),
        },
        "status": {
            "phase": phase,
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(phase == "Running")}],
            "containerStatuses": [{"name": "visidata", "state": state, "started": True}] if phase != "Pending" else [],
        },
    }


@pytest.fixture
def known() -> Known:
    return Known(names.Owner("hub"), 8080)


def phase_of(known: Known, run: RunId = RUN) -> Phase | None:
    entry = known.get(run)
    return entry.seen.phase if entry else None


def test_a_life(known: Known) -> None:
    assert known.take(a_pod(1)) is not None
    assert known.take(a_pod(2, "Running")) is not None
    assert phase_of(known) is Phase.RUNNING
    known.take(a_pod(3, "Succeeded"))
    assert phase_of(known) is Phase.ENDED
    gone = known.forget(RUN)
    assert gone is not None and gone.gone
    assert known.snapshot() == Snapshot(())


def test_what_changes_nothing_is_not_told(known: Known) -> None:
    known.take(a_pod(1, "Running"))
    assert known.take(a_pod(2, "Running")) is None
    assert known.take(a_pod(2, "Running")) is None


def test_what_comes_late_changes_nothing(known: Known) -> None:
    known.take(a_pod(5, "Running"))
    assert known.take(a_pod(4, "Pending")) is None
    assert phase_of(known) is Phase.RUNNING


def test_an_end_is_final(known: Known) -> None:
    known.take(a_pod(1, "Succeeded"))
    assert known.take(a_pod(2, "Running")) is None
    assert phase_of(known) is Phase.ENDED


def test_a_pod_that_is_deleted_by_somebody_is_a_run_that_was_lost(known: Known) -> None:
    known.take(a_pod(1, "Running"))
    changed = known.deleted(a_pod(2, "Running", going=True))
    assert changed is not None and changed.run.reason is Reason.LOST
    assert "not by the Hub" in changed.run.detail


def test_a_pod_that_this_hub_has_deleted_is_a_run_that_was_stopped(known: Known) -> None:
    known.take(a_pod(1, "Running"))
    known.ask("u1", 0.0)
    changed = known.deleted(a_pod(2, "Running", going=True))
    assert changed is not None and changed.run.reason is Reason.STOPPED_BY_USER


def test_a_run_whose_pod_has_gone_stays_ended_until_it_is_forgotten(known: Known) -> None:
    known.take(a_pod(1, "Running"))
    known.deleted(a_pod(3, "Running", going=True))
    assert known.take(a_pod(2, "Running")) is None, "a word that was overtaken"
    assert known.deleted(a_pod(3, "Running", going=True)) is None
    known.listed([], "9")
    assert phase_of(known) is Phase.ENDED
    known.forget(RUN)
    assert known.take(a_pod(2, "Running")) is None
    assert phase_of(known) is None


def test_a_list_shows_who_has_gone_unseen(known: Known) -> None:
    known.take(a_pod(1, "Running"))
    known.listed([], "7")
    assert phase_of(known) is Phase.ENDED


def test_a_list_that_was_read_before_a_pod_was_made_says_nothing_of_it(known: Known) -> None:
    known.take(a_pod(8))
    known.listed([], "7")
    assert phase_of(known) is Phase.PENDING


def test_a_list_that_was_read_before_a_pod_went_does_not_bring_it_back(known: Known) -> None:
    known.take(a_pod(1, "Running"))
    known.deleted(a_pod(9, "Running"))
    known.forget(RUN)
    known.listed([a_pod(1, "Running")], "7")
    assert phase_of(known) is None


def test_a_list_older_than_an_event_does_not_turn_back_time(known: Known) -> None:
    known.take(a_pod(9, "Running"))
    known.listed([a_pod(3)], "7")
    assert phase_of(known) is Phase.RUNNING


def test_the_end_of_an_earlier_pod_of_the_name_is_not_the_end_of_this_one(known: Known) -> None:
    known.take(a_pod(5, "Running", uid="u2"))
    assert known.deleted(a_pod(6, "Running", uid="u1")) is None
    assert phase_of(known) is Phase.RUNNING


def test_pods_of_others_are_passed_over(known: Known) -> None:
    other = a_pod(1)
    other["metadata"]["labels"][names.HUB] = "another"
    assert known.take(other) is None
    assert known.deleted(other) is None
    known.listed([other], "2")
    assert known.snapshot() == Snapshot(())


def test_an_end_is_asked_for_once_and_that_is_remembered_until_it_has_come(known: Known) -> None:
    known.take(a_pod(1, "Running"))
    assert known.ask("u1", 10.0) == 10.0
    assert known.ask("u1", 20.0) == 10.0
    known.deleted(a_pod(2, "Running"))
    assert known.ask("u1", 30.0) == 30.0


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [("10", "9", True), ("9", "10", False), ("9", "9", False), ("b", "a", True), ("a", "a", False)],
)
def test_versions_are_numbers(version: str, than: str, newer: bool) -> None:
    assert is_newer(version, than) is newer


@given(st.integers(), st.booleans())
def test_in_whatever_order_the_events_come_the_last_word_stands(seed: int, deleted: bool) -> None:
    """All events of a life, shuffled and doubled."""
    events: list[tuple[str, dict[str, Any]]] = [
        ("ADDED", a_pod(1)),
        ("MODIFIED", a_pod(2)),
        ("MODIFIED", a_pod(3, "Running")),
        ("MODIFIED", a_pod(4, "Running")),
    ]
    if deleted:
        events.append(("DELETED", a_pod(5, "Running", going=True)))
    known = Known(names.Owner("hub"), 8080)
    shuffled = events * 2
    random.Random(seed).shuffle(shuffled)
    for kind, pod in shuffled:
        known.deleted(pod) if kind == "DELETED" else known.take(pod)
    assert phase_of(known) in ((Phase.ENDED, None) if deleted else (Phase.RUNNING,))
