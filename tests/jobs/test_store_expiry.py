from datetime import timedelta

import pytest
from sqlalchemy import select

from jobs import expiry, transitions
from jobs.records import fleets
from jobs.requests import LONGEST_SECONDS
from jobs.states import State
from jobs.transitions import InstanceFacts
from tests.support.fleets import add_fleet, add_job, job_columns, read_job, timeline

HOUR = 3600


def deadline_of(database, fleet_id):
    """Return the fleet's deadline, None where it was seen to."""
    with database.read() as tx:
        return tx.execute(select(fleets.c.deadline_at).where(fleets.c.id == fleet_id)).scalar()


def due(database):
    """Return when there is something to do next."""
    with database.read() as tx:
        return expiry.next_due(tx)


def do(database, step):
    """Take a step until nothing is left; return how many were seen to."""
    with database.write() as tx:
        done = step(tx, actor="chore")
        assert step(tx, actor="chore") == 0
    return done


def test_a_deadline_ends_what_waits(database, clock):
    """At its deadline what waits ends, unknown ones are noted, and what was bought stays."""
    fleet_id = add_fleet(database, deadline_at=clock.at(60))
    states = [State.SUBMITTED, State.QUEUED, State.DISPATCHED, State.UNCERTAIN, State.BOOTING, State.RUNNING]
    unknown = {State.UNCERTAIN: {"last_unknown_at": clock.now, "error_code": "outcome_unknown"}}
    found = [
        add_job(database, state, fleet_id=fleet_id, position=at, linode_id=None, **unknown.get(state, {}))
        if state not in {State.BOOTING, State.RUNNING}
        else add_job(database, state, fleet_id=fleet_id, position=at, linode_id=at)
        for at, state in enumerate(states, 1)
    ]
    assert due(database) == clock.at(60)
    assert do(database, expiry.end_overdue) == 0
    clock.advance(60)
    assert do(database, expiry.end_overdue) == 4
    ended = [read_job(database, job.id) for job in found]
    assert [job.state.value for job in ended] == ["failed"] * 3 + ["uncertain", "booting", "running"]
    assert {job.error_code for job in ended[:4]} == {"deadline_exceeded"}
    assert (ended[3].ending, timeline(database, ended[3].id)[-1]["event"]) == ("fail", "ending_noted")
    assert (deadline_of(database, fleet_id), due(database)) == (None, None)


def test_a_create_under_way_at_the_deadline_decides_itself(database, clock):
    """What is being created at the deadline is waited for; if it comes back to the queue the deadline ends it."""
    fleet_id = add_fleet(database, deadline_at=clock.now)
    job = add_job(database, State.CREATING, fleet_id=fleet_id)
    assert do(database, expiry.end_overdue) == 0
    assert due(database) == clock.now
    with database.write() as tx:
        event = transitions.Event.THROTTLED
        transitions.requeued(tx, job, event, None, actor="x", run_after=None)
    assert do(database, expiry.end_overdue) == 1
    assert read_job(database, job.id).error_code == "deadline_exceeded"
    assert due(database) is None


def test_many_overdue_fleets(database, clock):
    """Every fleet whose deadline has passed is seen to, however long ago that was."""
    for number in range(3):
        fleet_id = add_fleet(database, name=f"f{number}", deadline_at=clock.at(number))
        for position in (1, 2):
            label = f"f{number}-{position}"
            add_job(database, State.QUEUED, fleet_id=fleet_id, position=position, label=label)
    clock.advance(HOUR)
    with database.write() as tx:
        counts = [expiry.end_overdue(tx, actor="chore") for _ in range(4)]
    assert counts == [2, 2, 2, 0]
    assert due(database) is None


def test_a_time_to_live_counts_from_the_create(database, clock):
    """An instance is deleted so long after its create, a failed one too; who has none is left alone."""
    job = add_job(database, State.CREATING, ttl_seconds=HOUR)
    clock.advance(10)
    with database.write() as tx:
        transitions.owned(tx, job, InstanceFacts(1), actor="x", proof="our own 200")
    assert due(database) == clock.at(HOUR)
    failed = add_job(
        database,
        State.FAILED,
        position=2,
        linode_id=2,
        fleet_id=job.fleet_id,
        expires_at=clock.at(HOUR),
        ttl_seconds=HOUR,
    )
    gone = add_job(database, State.FAILED, position=3, fleet_id=job.fleet_id, expires_at=clock.at(5))
    clock.advance(HOUR - 1)
    assert do(database, expiry.end_expired) == 0
    clock.advance(1)
    assert do(database, expiry.end_expired) == 2
    states = [read_job(database, one.id).state for one in (job, failed, gone)]
    assert states == [State.DELETING, State.DELETING, State.FAILED]
    assert timeline(database, job.id)[-1]["event"] == "ttl_over"
    assert due(database) is None


def test_what_vanished_has_no_time_to_live_left(database, clock):
    """An instance that is gone is not to be deleted any more."""
    job = add_job(database, State.RUNNING, expires_at=clock.at(60), ttl_seconds=60)
    with database.write() as tx:
        why = transitions.Reason("vanished", "404")
        transitions.lost(tx, job, transitions.Event.VANISHED, why, actor="x")
    assert job_columns(database, job.id)["expires_at"] is None


def test_the_end_is_announced_before(database, clock):
    """What is deleted soon is told when a tenth of its time is left, an hour at most: by fleet, in order."""
    for name, ttl in (("short", 600), ("long", 48 * HOUR)):
        fleet_id = add_fleet(database, name=name, count=2)
        for position in (1, 2):
            expires = {"ttl_seconds": ttl, "expires_at": clock.at(ttl + position)}
            number = ttl + position
            label = f"{name}-{position}"
            add_job(
                database,
                State.RUNNING,
                fleet_id=fleet_id,
                position=position,
                linode_id=number,
                label=label,
                **expires,
            )

    def announced():
        with database.read() as tx:
            return [(one.fleet, one.count, one.expires_at) for one in expiry.soon(tx)]

    start = clock.now
    clock.advance(540)
    assert announced() == []
    clock.advance(1)
    assert announced() == [("short", 2, start + timedelta(seconds=601))]
    clock.now = start + timedelta(hours=47, seconds=1)
    assert [name for name, _, _ in announced()] == ["short", "long"]


def test_an_extension(database, clock):
    """A longer time to live holds for the fleet and for all its jobs, but for what is being deleted."""
    fleet_id = add_fleet(database, ttl_seconds=HOUR, count=3)
    states = [State.QUEUED, State.RUNNING, State.DELETING]
    found = [
        add_job(
            database,
            state,
            fleet_id=fleet_id,
            position=at,
            ttl_seconds=HOUR,
            linode_id=None if state is State.QUEUED else at,
            expires_at=None if state is State.QUEUED else clock.at(60),
        )
        for at, state in enumerate(states, 1)
    ]
    with database.write() as tx:
        assert expiry.extend(tx, fleet_id, HOUR) == 2 * HOUR
        assert expiry.extend_jobs(tx, fleet_id, HOUR, after=None) == (2, None)
    waiting, running, deleting = (job_columns(database, job.id) for job in found)
    assert (waiting["ttl_seconds"], waiting["expires_at"]) == (2 * HOUR, None)
    assert (running["ttl_seconds"], running["expires_at"]) == (2 * HOUR, clock.at(60 + HOUR))
    assert deleting["expires_at"] == clock.at(60)


def test_an_extension_reaches_a_create_under_way(database, clock):
    """Whoever is writing an instance down has read the old time to live: he is told to read again."""
    fleet_id = add_fleet(database, ttl_seconds=HOUR)
    job = add_job(database, State.CREATING, fleet_id=fleet_id, ttl_seconds=HOUR)
    with database.write() as tx:
        expiry.extend_jobs(tx, fleet_id, HOUR, after=None)
        facts = InstanceFacts(1)
        assert transitions.owned(tx, job, facts, actor="x", proof="our own 200") is None
        again = transitions.load(tx, job.id)
        assert transitions.owned(tx, again, facts, actor="x", proof="our own 200").expires_at == clock.at(
            2 * HOUR
        )


@pytest.mark.parametrize("ttl", [None, LONGEST_SECONDS])
def test_what_cannot_be_extended(database, ttl):
    """A fleet without a time to live has none to extend, and none grows beyond the longest."""
    fleet_id = add_fleet(database, ttl_seconds=ttl)
    with database.write() as tx:
        assert expiry.extend(tx, fleet_id, 1) is None
