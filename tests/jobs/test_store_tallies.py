import threading
from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from jobs import chores, tallies, transitions
from jobs.database import Database
from jobs.feed import Horizon
from jobs.records import job_events, jobs
from jobs.states import TRANSITIONS, Event, State
from jobs.transitions import InstanceFacts, Reason
from tests.support.fleets import ACTOR, add_job, admit, make_service, move_in, submit

HOUR = timedelta(hours=1)


def latest(database):
    """Return the highest event id."""
    with database.read() as tx:
        return tx.execute(select(job_events.c.id).order_by(job_events.c.id.desc())).scalar() or 0


def fold(database, upto=None):
    """Count the next events in a transaction of its own; whether there are more."""
    with database.write() as tx:
        return tallies.fold(tx, upto=latest(database) if upto is None else upto)


def read(database, metric):
    """Return a counter by the values of its labels."""
    with database.read() as tx:
        found = tallies.read(tx).get(metric, [])
    return {tuple(labels.values()): value for labels, value in found}


def rows(database, event, state, number=1, **columns):
    """Write events as transitions do."""
    with database.write() as tx:
        job_id = "018f0000-0000-7000-8000-000000000001"
        line = {"job_id": job_id, "at": tx.now, "event": event, "state": state, "actor": "test", **columns}
        tx.execute(insert(job_events), [line] * number)


def step(database, act):
    """Do a transition with the only job; return it moved."""
    with database.write() as tx:
        (job,) = transitions.select_records(tx)
        found = act(tx, job)
    assert found
    return found


def test_each_event_is_counted_once(database):
    """However often it is folded, and up to wherever: each event counts once."""
    rows(database, "validated", "queued", 7)
    rows(database, "cancelled", "cancelled", 3)
    for upto in (4, 4, 2, 9, 9):
        fold(database, upto=upto)
    assert read(database, tallies.EVENTS) == {("validated",): 7, ("cancelled",): 2}
    fold(database)
    fold(database)
    assert read(database, tallies.EVENTS) == {("validated",): 7, ("cancelled",): 3}


def test_old_events_are_counted_in_short_transactions(database, monkeypatch):
    """An installation that has events already catches up, so many at a time."""
    monkeypatch.setattr(tallies, "SPAN", 10)  # a smaller span than 5,000, so that the test is quick
    rows(database, "validated", "queued", 25)
    assert [fold(database) for _ in range(4)] == [True, True, False, False]
    assert read(database, tallies.EVENTS) == {("validated",): 25}


def test_a_fold_that_dies_counts_nothing(database):
    """Counts and horizon are one transaction: what is rolled back is counted by the next fold."""
    rows(database, "validated", "queued", 5)
    with database.write() as tx, suppress(ZeroDivisionError), tx.connection.begin_nested():
        tallies.fold(tx, upto=5)
        raise ZeroDivisionError
    assert read(database, tallies.EVENTS) == {}
    fold(database)
    assert read(database, tallies.EVENTS) == {("validated",): 5}


@pytest.mark.postgres
def test_two_that_fold_at_once_count_once(postgres_database, clock):
    """A worker that was frozen, and whose lease another has by now, waits for the row and finds nothing left."""
    rows(postgres_database, "validated", "queued", 5)
    other = Database(postgres_database.url.render_as_string(hide_password=False), clock=clock)
    with postgres_database.write() as tx:
        tallies.fold(tx, upto=5)
        late = threading.Thread(target=fold, args=(other, 5))
        late.start()
    late.join()
    assert read(postgres_database, tallies.EVENTS) == {("validated",): 5}
    other.close()


@pytest.mark.postgres
def test_an_event_that_is_committed_late_is_counted(postgres_database, clock):
    """A writer that is slow to commit holds the horizon back, so that its event is not passed over."""
    job = add_job(postgres_database, State.QUEUED)
    other = Database(postgres_database.url.render_as_string(hide_password=False), clock=clock)
    horizon = Horizon(lambda: 0.0)
    with other.write() as slow:
        slow.execute(update(jobs).where(jobs.c.id == job.id).values(changed_at=slow.now))
        line = {"job_id": job.id, "at": slow.now, "event": "sent", "state": "creating", "actor": "test"}
        slow.execute(insert(job_events), line)
        rows(postgres_database, "cancelled", "cancelled")
        for _ in range(2):
            with postgres_database.read() as tx:
                horizon.advance(tx)
            fold(postgres_database, upto=horizon.settled)
        assert read(postgres_database, tallies.EVENTS) == {}
    with postgres_database.read() as tx:
        horizon.advance(tx)
    fold(postgres_database, upto=horizon.settled)
    assert read(postgres_database, tallies.EVENTS) == {("cancelled",): 1, ("sent",): 1}
    other.close()


# What ended ----------------------------------------------------------------------------------------------------------


def test_what_ends_a_job_is_what_the_law_says():
    """Each event that ends a job leads to one state only, an end; those that end none are not among them."""
    targets = {event: {row.target for row in TRANSITIONS if row.event is event} for event in tallies.ENDINGS}
    assert all(len(states) == 1 and states <= set(tallies.ENDS) for states in targets.values())
    assert {Event.SEEN_RUNNING, Event.VANISHED, Event.GONE, Event.REFUSED, Event.INVALID} <= tallies.ENDINGS
    assert {Event.ORPHAN_DELETED, Event.RETRIED, Event.GONE_RETRIED, Event.UNKNOWN}.isdisjoint(
        tallies.ENDINGS
    )


def test_ends_are_counted_with_their_codes(database):
    """Outcome is the state, code why: by the event's own words, or what the event alone implies; else none."""
    rows(database, "refused", "failed", 2, detail={"code": "account_limit", "reason": "no"})
    rows(database, "invalid", "rejected", detail={"code": "unknown_type"})
    rows(database, "stopped", "failed")
    rows(database, "deadline_passed", "failed")
    rows(database, "cancelled", "cancelled")
    rows(database, "gone", "deleted", detail={"linode_id": 5})
    rows(database, "seen_running", "running")
    rows(database, "orphan_deleted", "failed")
    rows(database, "unknown", "uncertain", detail={"code": "outcome_unknown"})
    fold(database)
    assert read(database, tallies.ENDED) == {
        ("account_limit", "failed"): 2,
        ("unknown_type", "rejected"): 1,
        ("stopped_by_policy", "failed"): 1,
        ("deadline_exceeded", "failed"): 1,
        ("", "cancelled"): 1,
        ("", "deleted"): 1,
        ("", "running"): 1,
    }


def test_a_retried_job_ends_again(database):
    """A job that failed, was retried and cancelled ended twice, though its row tells of the last end only."""
    move_in(database)
    submit(database)
    admit(database)
    step(database, lambda tx, job: transitions.sent(tx, job, actor=ACTOR, lease=HOUR))
    step(database, lambda tx, job: transitions.refused(tx, job, Reason("no_capacity", "no"), actor=ACTOR))
    step(database, lambda tx, job: transitions.retried(tx, job, actor=ACTOR))
    make_service(database).cancel("web", "default", actor=ACTOR)
    fold(database)
    assert read(database, tallies.ENDED) == {("no_capacity", "failed"): 1, ("", "cancelled"): 1}


# How long it took ----------------------------------------------------------------------------------------------------


def live(database, clock, *, waiting, creating, booting):
    """Let the only job that waits come to run, in so many seconds each."""
    clock.advance(waiting)
    admit(database)
    step(database, lambda tx, job: transitions.sent(tx, job, actor=ACTOR, lease=HOUR))
    clock.advance(creating)
    facts = InstanceFacts(linode_id=17)
    step(database, lambda tx, job: transitions.owned(tx, job, facts, actor=ACTOR, proof="our own 200"))
    clock.advance(booting)
    step(database, lambda tx, job: transitions.seen_running(tx, [job], actor=ACTOR))


def heights(database, name):
    """Return a histogram's buckets as they are kept, and its sum."""
    with database.read() as tx:
        found = tallies.read(tx)
    ((_, total),) = found[f"{name}_sum"]
    return {labels["le"]: value for labels, value in found[f"{name}_bucket"]}, total


def test_how_long_jobs_take_is_kept_in_buckets(database, clock):
    """Waiting, creating and booting each go into one bucket, its upper bound included, and into an exact sum."""
    move_in(database)
    submit(database)
    live(database, clock, waiting=60.0, creating=0.300001, booting=2000)
    fold(database)
    assert heights(database, tallies.WAITING) == ({"60.0": 1}, 60.0)
    assert heights(database, tallies.CREATING) == ({"0.5": 1}, 0.300001)
    assert heights(database, tallies.BOOTING) == ({"+Inf": 1}, 2000.0)


def test_a_retried_job_waits_anew(database, clock):
    """After a retry a job's wait counts from the retry, and it does not matter how late all of it is folded."""
    move_in(database)
    submit(database)
    clock.advance(500)
    admit(database)
    step(database, lambda tx, job: transitions.sent(tx, job, actor=ACTOR, lease=HOUR))
    step(database, lambda tx, job: transitions.refused(tx, job, Reason("no_capacity", "no"), actor=ACTOR))
    clock.advance(500)
    step(database, lambda tx, job: transitions.retried(tx, job, actor=ACTOR))
    live(database, clock, waiting=3, creating=1, booting=30)
    step(database, lambda tx, job: transitions.destroyed(tx, job, actor=ACTOR))
    fold(database)
    assert heights(database, tallies.WAITING) == ({"5.0": 1}, 3.0)
    assert heights(database, tallies.CREATING) == ({"1.0": 1}, 1.0)
    assert heights(database, tallies.BOOTING) == ({"30.0": 1}, 30.0)


def test_a_forgotten_send_is_left_out(database):
    """An instance that was adopted by a database that forgot the send has no length, and breaks nothing."""
    rows(database, "adopted", "booting", detail={"linode_id": 5})
    fold(database)
    with database.read() as tx:
        assert set(tallies.read(tx)) == {tallies.EVENTS}


def test_a_clock_that_was_set_back_makes_no_negative_length(database, clock):
    """A length is never below zero."""
    move_in(database)
    submit(database)
    live(database, clock, waiting=-5, creating=1, booting=1)
    fold(database)
    assert heights(database, tallies.WAITING) == ({"1.0": 1}, 0.0)


# Other counters ------------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_many_add_at_once(postgres_database, clock):
    """What several processes add at the same moment, to the same counters, is all there."""
    keys = [(f"m{number}", tallies.labelled(a="b")) for number in range(5)]

    def adding(rounds, ordered):
        database = Database(postgres_database.url.render_as_string(hide_password=False), clock=clock)
        for _ in range(rounds):
            with database.write() as tx:
                tallies.add(tx, dict.fromkeys(ordered, 1))
        database.close()

    threads = [threading.Thread(target=adding, args=(25, keys[::turn])) for turn in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(postgres_database, "m3") == {("b",): 100}


def test_a_chore_that_fails_is_counted(database):
    """Each run that ends with an error counts, by chore and account; one whose lease was lost does not."""
    lease = timedelta(seconds=30)
    with database.write() as tx:
        chores.ensure(tx, ["watch:default"])
        claim = chores.claim(tx, "watch:default", owner="one", lease=lease)
        assert chores.finish(tx, claim, due_at=tx.now, error="the API was not reached")
        assert not chores.finish(
            tx, chores.Claim(claim.name, 0, claim.lease_until, {}), due_at=tx.now, error="late"
        )
        again = chores.claim(tx, "watch:default", owner="one", lease=lease)
        chores.finish(tx, again, due_at=tx.now)
    assert read(database, tallies.CHORES_FAILED) == {("default", "watch"): 1}


def test_one_set_of_labels_is_one_row():
    """However labels are given, they are kept as one text."""
    assert tallies.labelled(b="2", a="1") == tallies.labelled(a="1", b="2") == '{"a":"1","b":"2"}'


def test_equal_to_a_plain_count(database, clock):
    """Of a random-looking history the counters say what a plain count of all events says."""
    for number, row in enumerate(TRANSITIONS):
        rows(database, row.event.value, row.target.value, number % 3 + 1)
    fold(database)
    with database.read() as tx:
        plain = Counter(tx.execute(select(job_events.c.event)).scalars())
    assert read(database, tallies.EVENTS) == {(event,): count for event, count in plain.items()}
