"""Which fault comes when. Pure: the same seed gives the same plan, whatever the machine.

What a fault meets when it comes (which request, which pod) depends on how far the Hub has got, which no seed decides;
targets are drawn as numbers in [0, 1), and mean that part of what is there then.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

KILL_EVERY = 9.0  # Seconds, on average, as all below.
LEAVE_EVERY = 30.0
POSTGRES_EVERY = 30.0
WATCH_EVERY = 5.0
HANG_EVERY = 6.0
POD_EVERY = 0.7
FROZEN = (
    36.0  # Seconds: longer than a lease of the lifecycle manager, so that another replica takes its work on meanwhile.
)

WATCHES = ("close", "drop", "silence", "garble", "expire", "disorder", "compact")
PODS = ("quit", "crash", "vanish", "evict", "delete")


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault. `at` and `lasts` are in seconds."""

    at: float
    kind: str
    how: str = ""
    target: float = 0.0
    lasts: float = 0.0


def plan(seed: int, seconds: float) -> list[Blow]:
    """All faults of a run, in their order."""
    dice = random.Random(seed)
    blows: list[Blow] = []

    def every(mean: float, first: float = 2.0) -> list[float]:
        times, at = [], first + dice.expovariate(1 / mean)
        while at < seconds - 4:
            times.append(at)
            at += 0.3 + dice.expovariate(1 / mean)
        return times

    blows += [Blow(at, "kill", target=dice.random(), lasts=dice.uniform(0.2, 4)) for at in every(KILL_EVERY)]
    blows += [Blow(at, "leave", target=dice.random(), lasts=dice.uniform(0.2, 4)) for at in every(LEAVE_EVERY)]
    blows += [
        Blow(at, "postgres", dice.choice(("fast", "immediate", "kill")), lasts=dice.uniform(0.0, 4))
        for at in every(POSTGRES_EVERY)
    ]
    blows += [Blow(at, "watches", dice.choice(WATCHES)) for at in every(WATCH_EVERY)]
    blows += [
        Blow(at, "hang", dice.choice(("create", "delete", "get", "list", "watch", "")), lasts=dice.uniform(1, 12))
        for at in every(HANG_EVERY)
    ]
    blows += [Blow(at, "pod", dice.choice(PODS), target=dice.random()) for at in every(POD_EVERY)]
    # Two are frozen for longer than a lease, and come back with work in hand that is no longer theirs.
    blows += [Blow(seconds * part, "freeze", target=dice.random(), lasts=FROZEN) for part in (0.1, 0.55)]
    blows += [Blow(seconds * dice.uniform(0.3, 0.6), "outage", lasts=8)]  # Of the whole API.
    # The last of all are watches: a replica that was started anew after them would have made good what they hid.
    blows += [Blow(seconds - 3 + part, "watches", how) for part, how in enumerate(("silence", "expire", "drop"))]
    return sorted(blows, key=lambda blow: blow.at)
