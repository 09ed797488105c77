"""The state machine as a table: whatever is wanted is reached, from wherever a session and its run are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise, product

import pytest

from app.runtimes.base import Observed, Phase, Reason, RunId
from app.sessions.state import (
    AT_REST,
    LIVE,
    REASON_TEXTS,
    STATE_TEXTS,
    TRANSITIONS,
    Do,
    State,
    Wanted,
    decide,
    ending,
)

SEEN = (None, *Phase)
EVERYTHING = list(product(Wanted, State, SEEN))
ENOUGH = 7  # Steps. The longest way: end the old run, see it ended, queue, start, launch, see it up, say so.


@dataclass(frozen=True)
class Model:
    """A session and its run. `state` None: the row is gone. `seen` is what the runtime has of the row's generation."""

    wanted: Wanted
    state: State | None
    seen: Phase | None

    @property
    def reached(self) -> bool:
        match self.wanted:
            case Wanted.RUNNING:
                return self.state is State.RUNNING and self.seen is Phase.RUNNING
            case Wanted.STOPPED:
                return self.state in AT_REST
            case Wanted.DELETED:
                return self.state is None

    def step(self) -> Model:
        """What the manager does for it once, and the runtime with it."""
        assert self.state is not None
        match decide(self.wanted, self.state, self.seen):
            case Do.NOTHING:
                return replace(self, seen=Phase.RUNNING if self.seen is Phase.PENDING else self.seen)
            case Do.ADMIT if self.state is not State.QUEUED:
                return replace(self, state=State.QUEUED)
            case Do.ADMIT:  # There is room: it gets a new generation, of which there is no run yet.
                return replace(self, state=State.STARTING, seen=None)
            case Do.LAUNCH:
                return replace(self, seen=Phase.PENDING)
            case Do.MARK_RUNNING:
                return replace(self, state=State.RUNNING)
            case Do.MARK_ENDED:  # What ended by itself is not started again by itself.
                ended, _, _ = ending(self.state, _observed(self.seen))
                return replace(self, state=ended, wanted=Wanted.STOPPED)
            case Do.STOP:
                return replace(self, state=State.STOPPING, seen=self.seen and Phase.ENDED)
            case Do.MARK_STOPPED:
                return replace(self, state=State.STOPPED)
            case Do.DELETE:
                return replace(self, state=None)


def _observed(phase: Phase | None) -> Observed | None:
    return Observed(RunId("s", 1), phase, "uid") if phase else None


def walk(model: Model) -> list[Model]:
    """The way from here until nothing more is to be done."""
    way = [model]
    while not way[-1].reached and len(way) <= ENOUGH:
        way.append(way[-1].step())
    return way


@pytest.mark.parametrize(("wanted", "state", "seen"), EVERYTHING)
def test_what_is_wanted_is_reached_in_a_few_steps_from_everywhere(
    wanted: Wanted, state: State, seen: Phase | None
) -> None:
    assert walk(Model(wanted, state, seen))[-1].reached


@pytest.mark.parametrize(("wanted", "state", "seen"), EVERYTHING)
def test_every_step_is_a_legal_transition(wanted: Wanted, state: State, seen: Phase | None) -> None:
    way = walk(Model(wanted, state, seen))
    for before, after in pairwise(way):
        if after.state is None:
            assert before.wanted is Wanted.DELETED
        elif before.state is not None and after.state is not before.state:
            assert after.state in TRANSITIONS[before.state]


@pytest.mark.parametrize(("state", "seen"), list(product(sorted(LIVE), SEEN)))
@pytest.mark.parametrize("wanted", [Wanted.STOPPED, Wanted.DELETED])
def test_stop_and_delete_leave_no_run_behind_in_any_state(wanted: Wanted, state: State, seen: Phase | None) -> None:
    assert walk(Model(wanted, state, seen))[-1].seen in (None, Phase.ENDED)


@pytest.mark.parametrize(("state", "seen"), list(product(State, SEEN)))
@pytest.mark.parametrize("wanted", [Wanted.STOPPED, Wanted.DELETED])
def test_nothing_is_launched_that_is_not_wanted(wanted: Wanted, state: State, seen: Phase | None) -> None:
    assert decide(wanted, state, seen) not in (Do.ADMIT, Do.LAUNCH, Do.MARK_RUNNING)


def test_a_launch_that_may_be_under_way_is_stopped_before_it_is_called_stopped() -> None:
    assert decide(Wanted.STOPPED, State.STARTING, None) is Do.STOP
    assert decide(Wanted.DELETED, State.STARTING, None) is Do.STOP


def test_a_session_that_starts_again_lets_its_old_run_end_first() -> None:
    assert decide(Wanted.RUNNING, State.STOPPING, Phase.RUNNING) is Do.STOP
    assert [model.state for model in walk(Model(Wanted.RUNNING, State.STOPPING, Phase.RUNNING))] == [
        State.STOPPING,
        State.STOPPING,
        State.STOPPED,
        State.QUEUED,
        State.STARTING,
        State.STARTING,
        State.STARTING,
        State.RUNNING,
    ]


@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING])
def test_what_the_person_quit_is_stopped_and_whatever_else_ended_by_itself_has_failed(state: State) -> None:
    for reason in Reason:
        observed = Observed(RunId("s", 1), Phase.ENDED, "uid", reason=reason, detail="why")
        expected = State.STOPPED if reason is Reason.QUIT else State.FAILED
        assert ending(state, observed) == (expected, reason, "why")
    assert ending(state, Observed(RunId("s", 1), Phase.ENDED, "uid")) == (State.FAILED, Reason.CRASHED, "")


def test_a_run_that_is_nowhere_is_lost() -> None:
    assert ending(State.RUNNING, None) == (State.FAILED, Reason.LOST, "")


def test_every_state_and_every_reason_has_words_for_people() -> None:
    assert STATE_TEXTS.keys() == set(State)
    assert REASON_TEXTS.keys() == set(Reason)
    assert all(text.endswith(".") for text in REASON_TEXTS.values())


def test_every_state_can_be_left_and_reached() -> None:
    assert TRANSITIONS.keys() == set(State)
    assert set().union(*TRANSITIONS.values()) == set(State)
