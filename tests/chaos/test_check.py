"""The reckoning of a chaos run: what is wrong in a world is found, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from chaos.check import Finding, Pod, Row, Wish, findings, summary
from chaos.plan import FROZEN, plan

RUNNING = Row("a", "running", "running", 2, run_uid="u2", address="10.0.0.2:8080")
STOPPED = Row("a", "stopped", "stopped", 2, reason="stopped_by_user")
QUEUED = Row("a", "running", "queued", 1)
POD = Pod("vd-a-2", "u2", "a", 2, address="10.0.0.2")
WARM = Pod("vd-warm-1", "w1", None)


def kinds(
    rows: list[Row],
    pods: list[Pod],
    wish: Wish | None,
    *,
    ended: Collection[tuple[str, int]] = (),
    most: int = 10,
    warm: int = 0,
) -> list[str]:
    wishes: dict[str, Wish] = {} if wish is None else {"a": wish}
    return [found.kind for found in findings(rows, pods, wishes, ended=ended, most=most, warm=warm)]


@pytest.mark.parametrize(
    ("rows", "pods", "wish"),
    [
        ([RUNNING], [POD], "running"),
        ([STOPPED], [], "stopped"),
        ([replace(STOPPED, state="failed", reason="lost")], [], "stopped"),
        ([], [], "deleted"),
    ],
)
def test_a_world_in_which_all_is_as_it_was_asked_for_is_well(rows: list[Row], pods: list[Pod], wish: Wish) -> None:
    assert kinds(rows, pods, wish) == []


@pytest.mark.parametrize(
    ("rows", "pods"),
    [
        ([RUNNING], []),
        ([RUNNING], [replace(POD, uid="another")]),
        ([replace(RUNNING, address="10.0.0.9:8080")], [POD]),
        ([replace(STOPPED, state="failed", reason="lost")], []),
        ([], []),
    ],
    ids=["no pod", "another pod", "another address", "failed by itself", "no row"],
)
def test_a_session_that_should_run_and_does_not_is_lost(rows: list[Row], pods: list[Pod]) -> None:
    assert kinds(rows, pods, "running") == ["lost"]


def test_a_session_whose_pod_was_ended_from_outside_may_be_at_rest() -> None:
    row = replace(STOPPED, state="failed", reason="lost")
    assert kinds([row], [], "running", ended={("a", 2)}) == []
    assert kinds([row], [], "running", ended={("a", 1)}) == ["lost"]


def test_a_row_says_that_it_runs_on_a_pod_that_has_ended() -> None:
    assert kinds([RUNNING], [replace(POD, live=False)], "running") == ["lost"]


def test_two_live_pods_of_one_session_are_doubled_and_one_of_them_is_an_orphan() -> None:
    earlier = Pod("vd-a-1", "u1", "a", 1, address="10.0.0.1")
    assert kinds([RUNNING], [earlier, POD], "running") == ["doubled", "orphans"]


@pytest.mark.parametrize("live", [True, False], ids=["live", "left over"])
@pytest.mark.parametrize(
    ("rows", "wish"),
    [([STOPPED], "stopped"), ([], "deleted"), ([], None), ([QUEUED], "running")],
    ids=["stopped", "deleted", "unknown", "queued"],
)
def test_a_pod_that_no_session_has_is_an_orphan(rows: list[Row], wish: Wish | None, live: bool) -> None:
    assert kinds(rows, [replace(POD, live=live)], wish, most=0) == ["orphans"]


def test_a_session_that_was_stopped_and_runs_is_one_too_many() -> None:
    assert kinds([RUNNING], [POD], "stopped") == ["orphans"]


def test_a_session_that_nobody_asked_for_is_one_too_many() -> None:
    assert kinds([STOPPED], [], None) == ["orphans"]


@pytest.mark.parametrize(
    ("row", "wish"),
    [
        (replace(RUNNING, state="starting"), "running"),
        (replace(RUNNING, state="stopping"), "running"),
        (replace(RUNNING, wanted="stopped"), "running"),
        (replace(STOPPED, wanted="running"), "running"),
        (replace(RUNNING, wanted="stopped", state="stopping"), "stopped"),
        (replace(QUEUED, wanted="stopped", generation=2), "stopped"),
        (replace(RUNNING, wanted="deleted", state="stopping"), "deleted"),
    ],
)
def test_a_session_that_does_not_get_where_it_is_to_be_is_stuck(row: Row, wish: Wish) -> None:
    assert "stuck" in kinds([row], [POD] if row.state != "queued" else [], wish)


def test_a_place_in_the_queue_is_right_as_long_as_there_is_no_room() -> None:
    other = Row("b", "running", "running", 1, run_uid="b1", address="10.0.0.3:8080")
    pod = Pod("vd-b-1", "b1", "b", 1, address="10.0.0.3")
    assert [one.kind for one in findings([QUEUED, other], [pod], {"a": "running", "b": "running"}, most=1)] == []
    assert [one.kind for one in findings([QUEUED, other], [pod], {"a": "running", "b": "running"}, most=2)] == ["stuck"]


def test_the_warm_pool_may_have_so_many_live_pods_and_no_more() -> None:
    assert kinds([STOPPED], [WARM], "stopped", warm=1) == []
    assert kinds([STOPPED], [WARM, replace(WARM, name="vd-warm-2")], "stopped", warm=1) == ["orphans"]
    assert kinds([STOPPED], [replace(WARM, live=False)], "stopped", warm=1) == ["orphans"]


def test_the_last_line_counts_each_kind() -> None:
    found = [Finding("lost", "a", ""), Finding("stuck", "b", ""), Finding("lost", "c", "")]
    assert summary(found, 7) == "lost 2, doubled 0, orphans 0, stuck 1 (seed 7)"
    assert summary([], 7) == "lost 0, doubled 0, orphans 0, stuck 0 (seed 7)"


def test_a_pod_is_read_as_the_api_gives_it() -> None:
    metadata = {
        "name": "vd-a-2",
        "uid": "u2",
        "labels": {"visidata-hub/session": "a", "visidata-hub/generation": "2"},
    }
    assert Pod.of({"metadata": metadata, "status": {"phase": "Running", "podIP": "10.0.0.2"}}) == POD
    gone = Pod.of({"metadata": {**metadata, "deletionTimestamp": "now"}, "status": {"phase": "Failed"}})
    assert (gone.live, gone.going) == (False, True)
    assert Pod.of({"metadata": {"name": "vd-warm-1", "uid": "w1", "labels": {}}, "status": {}}).session is None


def test_one_seed_gives_one_plan_and_another_gives_another() -> None:
    assert plan(1, 90) == plan(1, 90)
    assert plan(1, 90) != plan(2, 90)


def test_a_plan_has_faults_of_every_kind_in_order() -> None:
    blows = plan(3, 90)
    assert {blow.kind for blow in blows} == {
        "kill", "leave", "freeze", "postgres", "watches", "hang", "outage", "pod",
    }  # fmt: skip
    assert [blow.at for blow in blows] == sorted(blow.at for blow in blows)
    assert all(0 < blow.at < 90 for blow in blows)
    assert [blow.lasts for blow in blows if blow.kind == "freeze"] == [FROZEN, FROZEN]
    assert [blow.how for blow in blows[-3:]] == ["silence", "expire", "drop"], "no replica is started anew after them"
