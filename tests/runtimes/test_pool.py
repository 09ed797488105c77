"""Which pods are kept warm, and that what was kept for anybody is never two people's. Pure: no cluster."""

from __future__ import annotations

import dataclasses
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.runtimes.base import Phase, RunId, RunSpec, Snapshot
from app.runtimes.kubernetes import manifests, names, pool
from app.runtimes.kubernetes.known import Known
from app.runtimes.kubernetes.pool import SETTLED, Plan, Warm
from app.settings import Settings

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
LONG = SETTLED + 1
RUN = RunId("srrmx3qydgjz", 3)


def warm(name: str, phase: Phase = Phase.RUNNING, *, age: float = 60, like: str = "ours", **changes: Any) -> Warm:
    made = Warm(name, f"uid-{name}", "1", like, phase, False, False, NOW - timedelta(seconds=age))
    return dataclasses.replace(made, **changes)


def plan(*there: Warm, count: int = 2, known_for: float = LONG, in_want: bool = False) -> Plan:
    return plan_timed([(one, known_for) for one in there], count, in_want)


def plan_timed(there: list[tuple[Warm, float]], count: int = 2, in_want: bool = False) -> Plan:
    return pool.plan(there, "ours", count, now=NOW, patience=60, scheduling=600, in_want=in_want)


def outcome(plan: Plan) -> tuple[list[str], int]:
    return [one.name for one in plan.drop], plan.make


A, B = warm("a", age=70), warm("b")
COMING = warm("coming", Phase.PENDING, age=5)
OLD, OLDER = (warm(name, age=manifests.WARM_AGE + more) for name, more in (("old", 1), ("older", 2)))


@pytest.mark.parametrize(
    ("there", "drop", "make"),
    [
        ((), [], 2),
        ((A,), [], 1),
        ((A, B), [], 0),
        ((A, warm("going", going=True)), [], 1),
        ((A, warm("ended", Phase.ENDED)), ["ended"], 1),
        ((A, warm("of another image", like="theirs")), ["of another image"], 1),
        ((B, A, warm("c", age=50)), ["a"], 0),  # Too many: the oldest goes,
        ((A, B, COMING), ["coming"], 0),  # and before it one that is not ready.
        ((A, OLD), ["old"], 0),
        ((OLD, OLDER), ["older"], 0),  # One at a time,
        ((OLD, warm("c", Phase.PENDING, age=1)), ["c"], 1),  # and not while another is on its way (this one hangs).
    ],
    ids=str,
)
def test_what_is_missing_is_made_and_what_is_of_no_use_goes(
    there: tuple[Warm, ...], drop: list[str], make: int
) -> None:
    assert outcome(plan(*there)) == (drop, make)


def test_the_time_to_get_ready_counts_once_the_cluster_has_a_place_for_it() -> None:
    clock = pool.Clock()
    waiting, starting = warm("a", Phase.PENDING, waits=True), warm("a", Phase.PENDING)
    assert plan_timed(clock.read([waiting], 0.0), 1).drop == ()
    assert plan_timed(clock.read([waiting], 500.0), 1).drop == (), "a machine for it is being added"
    assert plan_timed(clock.read([starting], 510.0), 1).drop == (), "it has just begun"
    assert plan_timed(clock.read([starting], 569.0), 1).drop == ()
    assert plan_timed(clock.read([starting], 571.0), 1).broken == (starting,)


def test_one_that_waits_too_long_for_the_cluster_is_given_up() -> None:
    clock = pool.Clock()
    waiting = warm("a", Phase.PENDING, waits=True)
    clock.read([waiting], 0.0)
    assert plan_timed(clock.read([waiting], 601.0), 1).broken == (waiting,)


def test_one_that_is_on_its_way_is_waited_for_but_not_for_ever() -> None:
    assert outcome(plan(A, COMING, known_for=59)) == ([], 0)
    assert outcome(plan(A, COMING, known_for=61)) == (["coming"], 1)


def test_a_clock_that_is_wrong_does_not_make_the_pool_anew_all_the_time() -> None:
    assert outcome(plan(OLD, OLDER, known_for=SETTLED - 1)) == ([], 0)


def test_without_a_pool_all_of_it_goes() -> None:
    assert outcome(plan(A, B, COMING, count=0)) == (["coming", "a", "b"], 0)


def test_where_people_want_for_room_one_is_given_up_at_a_time_and_none_is_made() -> None:
    assert outcome(plan(A, B, in_want=True)) == (["a"], 0)
    assert outcome(plan(COMING, in_want=True, known_for=1)) == (["coming"], 0)
    assert outcome(plan(in_want=True)) == ([], 0)


def test_one_that_finds_no_room_itself_is_in_nobodys_way_and_no_more_are_made() -> None:
    found = plan(A, warm("no room", Phase.PENDING, crowded=True))
    assert outcome(found) == (["no room"], 0)
    assert found.crowded


# The pod


def session_of(pod: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in pod["spec"]["containers"] if one["name"] == names.CONTAINER)


def test_it_is_a_guests_pod_but_for_its_name_its_labels_and_that_it_waits() -> None:
    settings = dataclasses.replace(Settings(), k8s_home="pvc")
    guests = manifests.pod(RunSpec(RUN, "a-guest", "hub:secret", guest=True), settings)
    one = manifests.warm_pod("vd-warm-1", "hub:secret", settings)
    assert session_of(one)["args"] == [*session_of(guests)["args"], "--wait"]
    session_of(one)["args"] = session_of(guests)["args"]
    assert one["spec"]["activeDeadlineSeconds"] == guests["spec"]["activeDeadlineSeconds"] + manifests.WARM_AGE
    one["spec"]["activeDeadlineSeconds"] = guests["spec"]["activeDeadlineSeconds"]
    assert one["spec"] == guests["spec"]
    assert one["metadata"]["name"] == "vd-warm-1"
    labels = one["metadata"]["labels"]
    assert labels.keys() == {"app.kubernetes.io/name", "app.kubernetes.io/managed-by", names.HUB, names.POOL}
    assert labels[names.POOL] == manifests.pool(settings)
    for label in labels.keys() - {names.POOL}:
        assert labels[label] == guests["metadata"]["labels"][label]


@pytest.mark.parametrize(
    "changed",
    [
        {"k8s_image": "another:2"},
        {"k8s_memory": 2 << 30},
        {"k8s_port": 9000},
        {"max_age": timedelta(days=1)},
        {"stop_grace": timedelta(seconds=9)},
        {"k8s_home_size": 5 << 30},
    ],
    ids=str,
)
def test_a_setting_that_shapes_pods_makes_the_old_ones_of_no_use(changed: dict[str, Any]) -> None:
    settings = Settings()
    assert manifests.pool(dataclasses.replace(settings, **changed)) != manifests.pool(settings)


def test_so_does_a_template_and_nothing_else_does() -> None:
    settings = Settings()
    template = {"spec": {"nodeSelector": {"disk": "fast"}}}
    assert manifests.pool(settings, template) != manifests.pool(settings)
    assert manifests.pool(settings, template) == manifests.pool(settings, dict(template))
    assert manifests.pool(dataclasses.replace(settings, max_runs=7)) == manifests.pool(settings)


# What a replica knows of them


def a_pod(version: int, *, run: RunId | None = None, uid: str = "u1", phase: str = "Running") -> dict[str, Any]:
    pod = manifests.warm_pod("vd-warm-1", "hub:its own", dataclasses.replace(Settings(), k8s_hub_name="hub"))
    metadata = {**pod["metadata"], "uid": uid, "resourceVersion": str(version)}
    metadata["creationTimestamp"] = "2026-11-24T08:00:00Z"
    if run is not None:
        metadata["labels"] = metadata["labels"] | names.run_labels(run, "ada")
    status = {
        "phase": phase,
        "podIP": "10.0.0.1",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{"name": names.CONTAINER, "state": {"running": {}}, "started": phase == "Running"}],
    }
    return {**pod, "metadata": metadata, "status": status}


def test_one_that_waits_is_no_run_and_becomes_one_with_the_credential_that_it_was_born_with() -> None:
    known = Known(names.Owner("hub"), 8080)
    assert known.take(a_pod(1)) is None
    assert known.snapshot() == Snapshot(())
    assert [one.phase for one in known.warm()] == [Phase.RUNNING]
    changed = known.take(a_pod(2, run=RUN))
    assert changed is not None
    assert (changed.run.run, changed.run.phase, changed.run.credential) == (RUN, Phase.RUNNING, "hub:its own")
    assert "its own" not in repr(changed)
    assert known.warm() == []


def test_whatever_the_order_of_what_comes_it_is_one_runs_in_the_end() -> None:
    words = [a_pod(1, phase="Pending"), a_pod(2), a_pod(3, run=RUN), a_pod(4, run=RUN)]
    for seed in range(30):
        known = Known(names.Owner("hub"), 8080)
        for pod in [*random.Random(seed).choices(words, k=8), words[3]]:
            known.take(pod)
        for pod in words:
            known.take(pod)  # Late words change nothing.
        entry = known.get(RUN)
        assert entry is not None and (entry.seen.phase, entry.name) == (Phase.RUNNING, "vd-warm-1")
        assert known.warm() == []


def test_of_one_that_has_ended_or_gone_nothing_comes_back() -> None:
    known = Known(names.Owner("hub"), 8080)
    known.take(a_pod(1))
    known.deleted(a_pod(2))
    known.take(a_pod(1))
    assert known.warm() == []
    known.take(a_pod(3, uid="u2"))
    known.listed([], "4")
    known.take(a_pod(3, uid="u2"))
    assert known.warm() == []
    known.take(a_pod(6, uid="u3"))
    known.listed([], "5")  # A list from before it was made.
    assert len(known.warm()) == 1


def test_one_of_another_hub_is_not_ours() -> None:
    known = Known(names.Owner("another"), 8080)
    known.take(a_pod(1))
    known.take(a_pod(2, run=RUN))
    assert (known.warm(), known.get(RUN)) == ([], None)


def test_a_persons_pod_cannot_pass_for_one_that_was_kept_warm() -> None:
    pod = manifests.pod(RunSpec(RUN, "ada", "hub:secret"), Settings())
    pod["metadata"]["name"] = "vd-warm-1"
    assert names.run_of(pod, names.Owner(Settings().k8s_hub_name)) is None
