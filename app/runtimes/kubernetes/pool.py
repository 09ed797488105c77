"""The pods that are kept warm: what is known of one, and which are to come and to go. Pure.

Each waits for a run with VisiData loaded, becomes one run's, and is never used again. Must not decide how many there
should be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.runtimes.base import Phase, RunId
from app.runtimes.kubernetes import status
from app.runtimes.kubernetes.manifests import WARM_AGE
from app.runtimes.kubernetes.status import Pod

# Seconds that a pod is left alone once this replica knows it, however old it seems: with a clock that is wrong, the
# pool would be made anew all the time.
SETTLED = 300.0


@dataclass(frozen=True, slots=True)
class Warm:
    """A pod that waits for a run, as of `version`. `pool` is what it is like (`manifests.pool`); `detail` is as of a run."""

    name: str
    uid: str
    version: str
    pool: str
    phase: Phase
    crowded: bool  # No machine has room for it.
    going: bool
    created_at: datetime
    detail: str = ""
    waits: bool = False  # For a machine, a volume or the image.


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. `crowded`: the cluster has no room, so what is missing has to wait. `broken`: those of `drop` that
    have ended or did not get ready.
    """

    drop: tuple[Warm, ...]
    make: int
    crowded: bool
    broken: tuple[Warm, ...] = ()


def read(pod: Pod, pool: str, port: int) -> Warm:
    metadata = pod["metadata"]
    seen = status.observed(pod, RunId("", 0), port)
    return Warm(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        pool=pool,
        phase=seen.phase,
        crowded=status.finds_no_room(seen),
        going=status.is_going(pod),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"].replace("Z", "+00:00")).astimezone(UTC),
        detail=seen.detail,
        waits=seen.waits,
    )


def is_ready(warm: Warm, pool: str) -> bool:
    """Whether a run may have it."""
    return warm.phase is Phase.RUNNING and warm.pool == pool and not warm.going


class Clock:
    """How long this replica has known each pod in its present part: waiting for the cluster, or getting ready and after."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, bool], float] = {}  # By UID and `waits`.

    def read(self, there: Iterable[Warm], now: float) -> list[tuple[Warm, float]]:
        """Each pod with its seconds. Forgets pods that are not among them."""
        since = [(warm, self._since.get((warm.uid, warm.waits), now)) for warm in there]
        self._since = {(warm.uid, warm.waits): began for warm, began in since}
        return [(warm, now - began) for warm, began in since]


def plan(
    there: Collection[tuple[Warm, float]],
    pool: str,
    count: int,
    *,
    now: datetime,
    patience: float,
    in_want: bool,
    scheduling: float,
) -> Plan:
    """What brings the pods that are there (each with its seconds by `Clock`) to `count`.

    `patience`: seconds that one may take to get ready; `scheduling`: seconds that it may wait for the cluster before. `in_want`: a
    person's pod finds no room, which goes before: one of these is given up for it.
    """
    staying = [(warm, known_for) for warm, known_for in there if not warm.going]
    fitting = [(warm, known_for) for warm, known_for in staying if warm.pool == pool and not warm.crowded]
    broken = [
        warm
        for warm, known_for in fitting
        if warm.phase is Phase.ENDED
        or (warm.phase is Phase.PENDING and known_for > (scheduling if warm.waits else patience))
    ]
    drop = [warm for warm, _ in staying if warm.pool != pool or warm.crowded or warm in broken]
    crowded = in_want or any(warm.crowded for warm in drop)
    kept = sorted(
        ((warm, known_for) for warm, known_for in staying if warm not in drop),
        key=lambda one: (one[0].phase is Phase.RUNNING, one[0].created_at, one[0].name),
    )
    surplus = max(len(kept) - count, 1 if in_want and not drop else 0)
    drop += [warm for warm, _ in kept[:surplus]]
    kept = kept[surplus:]
    if not crowded and len(kept) == count and all(warm.phase is Phase.RUNNING for warm, _ in kept):
        # One at a time, and when all others are ready: else there would be none for a while.
        old = [warm for warm, known_for in kept if _age(warm, now) > WARM_AGE and known_for > SETTLED]
        drop += old[:1]
    return Plan(tuple(drop), 0 if crowded else max(0, count - len(kept)), crowded, tuple(broken))


def _age(warm: Warm, now: datetime) -> float:
    return (now - warm.created_at).total_seconds()
