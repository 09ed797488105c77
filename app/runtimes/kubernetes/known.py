"""What one replica knows of this Hub's pods: a book that lists, watch events and answers are entered in. Pure.

What comes may be late, doubled or out of order: a list that was taken before a pod was made, an event that was overtaken.
So each entry has the version that it was read from, and nothing older changes it. That a run has ended is final. A run
whose pod has gone stays in the book until it is forgotten, so that nobody launches it again. A pod that is kept warm is
in another part of the book until it becomes a run's, and then never again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.runtimes.base import Changed, Observed, Phase, RunId, Snapshot
from app.runtimes.kubernetes import names, pool, status
from app.runtimes.kubernetes.names import Owner
from app.runtimes.kubernetes.pool import Warm
from app.runtimes.kubernetes.status import Pod

REMEMBERED = 10_000  # UIDs of pods that are gone, of whom a late word may still come. None comes after so many others.


@dataclass(frozen=True, slots=True)
class Entry:
    """One run's pod. `going`: its deletion was asked for; `gone`: there is no pod any more."""

    seen: Observed
    name: str
    version: str
    going: bool = False
    gone: bool = False


class Known:
    """The book of one replica. `port` is the setting HUB_K8S_PORT."""

    def __init__(self, owner: Owner, port: int) -> None:
        self._owner = owner
        self._port = port
        self._entries: dict[RunId, Entry] = {}
        self._warm: dict[str, Warm] = {}  # By UID.
        self._taken: set[str] = set()  # UIDs of pods that were warm and have become a run's.
        self._asked: dict[str, float] = {}  # By UID of a pod, when this replica first asked for its end.
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._foreign: set[str] = set()  # UIDs of pods of another installation.

    def get(self, run: RunId) -> Entry | None:
        return self._entries.get(run)

    def warm(self) -> list[Warm]:
        """The pods that wait for a run, those that are about to go included."""
        return list(self._warm.values())

    def get_warm(self, uid: str) -> Warm | None:
        return self._warm.get(uid)

    @property
    def in_want(self) -> bool:
        """Whether some run's pod finds no room in the cluster."""
        return any(status.finds_no_room(entry.seen) for entry in self._entries.values())

    @property
    def foreign(self) -> int:
        """Number of pods that bear this Hub's name and another installation's id. They are never touched."""
        return len(self._foreign)

    def snapshot(self) -> Snapshot:
        return Snapshot(tuple(entry.seen for entry in self._entries.values()))

    def listed(self, pods: Iterable[Pod], version: str) -> None:
        """Enter a full list, read at `version`. What was known, and is neither there nor newer, has gone."""
        there: set[str] = set()
        for pod in pods:
            there.add(pod["metadata"]["uid"])
            self.take(pod)
        for run, entry in list(self._entries.items()):
            if entry.seen.uid not in there and not entry.gone and not is_newer(entry.version, version):
                self.missed(run)
        self._foreign &= there
        for warm in self.warm():
            if warm.uid not in there and not is_newer(warm.version, version):
                self._remember(warm.uid)

    def take(self, pod: Pod) -> Changed | None:
        """Enter a pod as it was at some time. Gives the change, where there is one."""
        run = names.run_of(pod, self._owner)
        metadata = pod["metadata"]
        uid, version = metadata["uid"], metadata["resourceVersion"]
        if uid in self._gone:
            return None
        if names.is_foreign(metadata.get("labels") or {}, self._owner):
            self._foreign.add(uid)
            return None
        if run is None:
            self._take_warm(pod)
            return None
        if names.POOL in metadata["labels"]:
            self._taken.add(uid)
            self._warm.pop(uid, None)
        entry = self._entries.get(run)
        if entry is not None and entry.seen.uid == uid:
            if not is_newer(version, entry.version):
                return None
            if entry.seen.phase is Phase.ENDED:
                self._entries[run] = replace(entry, version=version, going=status.is_going(pod))
                return None
        seen = status.observed(pod, run, self._port, asked=uid in self._asked)
        if self._owner.installation and names.is_unclaimed(metadata["labels"]):
            seen = replace(seen, unclaimed=True)
        self._entries[run] = Entry(seen, metadata["name"], version, going=status.is_going(pod))
        return Changed(seen) if entry is None or entry.seen != seen else None

    def _take_warm(self, pod: Pod) -> None:
        pool_name = names.pool_of(pod, self._owner)
        uid, version = pod["metadata"]["uid"], pod["metadata"]["resourceVersion"]
        if pool_name is None or uid in self._taken:
            return
        known = self._warm.get(uid)
        if known is None or is_newer(version, known.version):
            self._warm[uid] = pool.read(pod, pool_name, self._port)

    def deleted(self, pod: Pod) -> Changed | None:
        """Enter that a pod is gone; `pod` is the last that there was of it."""
        run = names.run_of(pod, self._owner)
        uid = pod["metadata"]["uid"]
        self._foreign.discard(uid)
        entry = self._entries.get(run) if run is not None else None
        if run is None or entry is None or entry.seen.uid != uid or entry.gone:
            self._remember(uid)
            return None
        last = status.deleted(pod, run, self._port, asked=uid in self._asked)
        return self._end(run, entry, last)

    def missed_warm(self, uid: str) -> None:
        """Enter that a pod that waited for a run is gone, or is no such pod, where nobody has seen it go."""
        if uid in self._warm:
            self._remember(uid)

    def missed(self, run: RunId) -> Changed | None:
        """Enter that a run's pod is gone, where nobody has seen it go."""
        entry = self._entries.get(run)
        if entry is None or entry.gone:
            return None
        return self._end(run, entry, status.vanished(entry.seen, asked=entry.seen.uid in self._asked))

    def ask(self, uid: str, now: float) -> float:
        """The end of this pod is being asked for, so it will be no surprise. When it was asked for first."""
        return now if uid in self._gone else self._asked.setdefault(uid, now)

    def forget(self, run: RunId) -> Changed | None:
        """Drop a run. Nothing that comes of its pod later brings it back."""
        entry = self._entries.pop(run, None)
        if entry is None:
            return None
        self._remember(entry.seen.uid)
        return Changed(entry.seen, gone=True)

    def _end(self, run: RunId, entry: Entry, last: Observed) -> Changed | None:
        """The pod is gone, and the run with it, if it had not ended before."""
        ended = entry.seen.phase is Phase.ENDED
        self._entries[run] = replace(entry, seen=entry.seen if ended else last, going=True, gone=True)
        self._remember(entry.seen.uid)
        return None if ended else Changed(last)

    def _remember(self, uid: str) -> None:
        self._asked.pop(uid, None)
        self._warm.pop(uid, None)
        self._taken.discard(uid)
        self._gone[uid] = None
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)


def is_newer(version: str, than: str) -> bool:
    """Whether a resource version is later than another. They are numbers (KEP-5504); what is none counts as later."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
