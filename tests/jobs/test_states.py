import itertools

import pytest

from jobs.states import (
    HOLDING,
    PENDING,
    SETTLED,
    TRANSITIONS,
    WAITING,
    Event,
    IllegalTransition,
    State,
    after,
    mermaid,
    sources,
)

LAW = {(row.source, row.event): row for row in TRANSITIONS}
LEADS_NOWHERE = {Event.SUBMITTED, Event.ORPHAN_DELETED}


@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda row: f"{row.source}-{row.event}")
def test_each_row_leads_where_it_says(row):
    """A state and an event lead to the target of their row, and each row says why."""
    assert after(row.source, row.event) is row.target
    assert row.source in sources(row.event)
    assert row.why


def test_the_law_has_no_second_opinion():
    """No two rows share state and event."""
    assert len(LAW) == len(TRANSITIONS)


def test_whatever_the_law_does_not_name_is_refused():
    """Every pair of state and event without a row raises, and says which."""
    for state, event in itertools.product(State, Event):
        if (state, event) in LAW:
            continue
        with pytest.raises(IllegalTransition, match=f"a job that is {state} cannot be {event}") as caught:
            after(state, event)
        assert (caught.value.state, caught.value.event) == (state, event)


def test_every_event_happens_somewhere():
    """Only the two words that merely stand in timelines have no row."""
    assert {event for event in Event if not sources(event)} == LEADS_NOWHERE


def test_what_has_ended_for_good_stays():
    """Nothing moves a rejected, cancelled or deleted job."""
    for state in (State.REJECTED, State.CANCELLED, State.DELETED):
        assert not [row for row in TRANSITIONS if row.source is state]


def test_every_state_is_reached_and_everything_open_can_end():
    """From the first state every other one is reached, and from every one that is open a settled one is."""
    reached = grown({State.SUBMITTED})
    assert reached == set(State)
    for state in set(State) - SETTLED:
        assert grown({state}) & SETTLED


def grown(known):
    """Return the states that can follow those that are known, themselves included."""
    while True:
        more = known | {row.target for row in TRANSITIONS if row.source in known}
        if more == known:
            return known
        known = more


def test_money_is_spent_only_after_the_intent():
    """Only a job whose intent is committed, or that is looked up, can come to own an instance."""
    owning = {State.BOOTING, State.RUNNING, State.DELETING}
    into = {row.source for row in TRANSITIONS if row.target in owning} - owning
    assert into - {State.FAILED} == {
        State.CREATING,
        State.UNCERTAIN,
    }  # a failed one may own its instance already
    into = {row.source for row in TRANSITIONS if row.target is State.CREATING}
    assert into - {State.CREATING} == {State.DISPATCHED}


def test_unknown_is_left_by_a_look_only():
    """An uncertain job is moved by what was seen at the API, never by an answer, a timer or a cancel."""
    leaving = {
        row.event for row in TRANSITIONS if row.source is State.UNCERTAIN and row.target is not row.source
    }
    assert leaving == {
        Event.ADOPTED,
        Event.ADOPTED_UNWANTED,
        Event.ABSENT,
        Event.ABSENT_CANCELLED,
        Event.ABSENT_FAILED,
        Event.FELL_BACK,
        Event.LABEL_TAKEN,
    }


def test_the_groups_of_states():
    """Waiting is part of pending; pending, deleting and settled are all there is."""
    assert WAITING < PENDING
    assert PENDING | SETTLED | {State.DELETING} == set(State)
    assert not PENDING & SETTLED
    assert {State.RUNNING, State.DELETING, State.UNCERTAIN, State.QUEUED} <= HOLDING
    assert not HOLDING & {State.REJECTED, State.CANCELLED, State.FAILED, State.DELETED}


def test_the_diagram_shows_the_whole_law():
    """Each state, each event and each arrow of the law stands in the Mermaid diagram."""
    lines = mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    for row in TRANSITIONS:
        edge = next(line for line in lines if line.startswith(f"    {row.source} --> {row.target}:"))
        assert row.event in edge.partition(": ")[2].split(", ")
    assert {state for state in State if state in mermaid()} == set(State)
    assert sum("[*]" in line for line in lines) == 6
