"""What the world should be once all faults are over, and what in it is not so. Pure.

Three accounts of one world are compared: what people asked for last, what the Hub's rows say, and the pods that are there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

HUB = "visidata-hub/hub"
SESSION = "visidata-hub/session"
GENERATION = "visidata-hub/generation"

Wish = Literal["running", "stopped", "deleted"]
Kind = Literal["lost", "doubled", "orphans", "stuck"]

KINDS: tuple[Kind, ...] = ("lost", "doubled", "orphans", "stuck")


@dataclass(frozen=True, slots=True)
class Row:
    """A session as the Hub's table has it."""

    id: str
    wanted: str
    state: str
    generation: int = 1
    reason: str | None = None
    run_uid: str | None = None
    address: str | None = None

    @property
    def at_rest(self) -> bool:
        return self.state in ("stopped", "failed")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of the Hub's. One of the warm pool is no session's. `live`: it has not ended; `going`: it is being deleted."""

    name: str
    uid: str
    session: str | None
    generation: int = 1
    live: bool = True
    going: bool = False
    address: str | None = None

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Pod:
        """From the API's JSON."""
        metadata, status = obj["metadata"], obj.get("status") or {}
        labels = metadata.get("labels") or {}
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            session=labels.get(SESSION),
            generation=int(labels.get(GENERATION, 0)),
            live=status.get("phase") not in ("Succeeded", "Failed"),
            going="deletionTimestamp" in metadata,
            address=status.get("podIP"),
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `session` is empty where it is no session's."""

    kind: Kind
    session: str
    words: str


def findings(
    rows: Iterable[Row],
    pods: Iterable[Pod],
    wishes: Mapping[str, Wish],
    *,
    ended: Collection[tuple[str, int]] = (),
    most: int = 1_000_000,
    warm: int = 0,
) -> list[Finding]:
    """What is wrong. `wishes` is what was asked for last, by session; `ended` holds the runs (session, generation) that
    something else than the Hub ended, whose sessions may be at rest although they were to run; `most` is HUB_MAX_RUNS and
    `warm` HUB_WARM_RUNS.
    """
    table = {row.id: row for row in rows}
    theirs: dict[str, list[Pod]] = defaultdict(list)
    spare: list[Pod] = []
    for pod in pods:
        if pod.session is None:
            spare.append(pod)
        else:
            theirs[pod.session].append(pod)
    taken = sum(row.state in ("starting", "running", "stopping") for row in table.values())
    found: list[Finding] = []
    for session, wish in wishes.items():
        row = table.get(session)
        if row is not None:
            found += _of_row(row, wish, theirs.get(session, []), (session, row.generation) in ended, taken < most)
        elif wish != "deleted":
            found.append(Finding("lost", session, f"it was to be {wish}, and there is no such session"))
    found += [
        Finding("orphans", row.id, "nobody asked for this session") for row in table.values() if row.id not in wishes
    ]
    for session, its in theirs.items():
        found += _of_pods(session, table.get(session), its)
    found += [Finding("orphans", "", f"{pod.name} is of the warm pool, and has ended") for pod in spare if not pod.live]
    if (living := sum(pod.live for pod in spare)) > warm:
        found.append(Finding("orphans", "", f"{living} pods are in the warm pool, which may have {warm}"))
    return found


def _of_row(row: Row, wish: Wish, pods: list[Pod], ended: bool, room: bool) -> Iterable[Finding]:
    if wish == "deleted":
        yield Finding("stuck", row.id, f"it was deleted, and is {row.state}")
        return
    if wish == "stopped":
        if row.wanted == "running":
            yield Finding("orphans", row.id, f"it was stopped, and is to run ({row.state})")
        elif not row.at_rest:
            yield Finding("stuck", row.id, f"it was stopped, and is {row.state}")
        return
    if row.state == "running" and row.wanted == "running":
        if not any(pod.live and pod.uid == row.run_uid and pod.generation == row.generation for pod in pods):
            yield Finding("lost", row.id, "it is said to run, and its pod is not there")
        elif not any(pod.uid == row.run_uid and (row.address or "").startswith(f"{pod.address}:") for pod in pods):
            yield Finding("lost", row.id, f"it is said to be at {row.address}, and its pod is elsewhere")
    elif row.at_rest and row.wanted != "running":
        if not ended:
            yield Finding("lost", row.id, f"it was to run, and is {row.state} ({row.reason}), though nothing ended it")
    elif row.state != "queued" or room:
        yield Finding("stuck", row.id, f"it is to run (wanted: {row.wanted}), and is {row.state}")


def _of_pods(session: str, row: Row | None, pods: list[Pod]) -> Iterable[Finding]:
    living = [pod for pod in pods if pod.live]
    if len(living) > 1:
        yield Finding("doubled", session, f"{len(living)} live pods: {', '.join(pod.name for pod in living)}")
    for pod in pods:
        if row is None or row.at_rest or row.state == "queued" or pod.generation != row.generation:
            what = "no session has" if row is None else f"the session ({row.state}, run {row.generation}) does not have"
            yield Finding("orphans", session, f"{pod.name} is {'live' if pod.live else 'left over'}; {what} it")


def summary(found: Iterable[Finding], seed: int) -> str:
    """The last line of a run."""
    counts = Counter(one.kind for one in found)
    return ", ".join(f"{kind} {counts[kind]}" for kind in KINDS) + f" (seed {seed})"
