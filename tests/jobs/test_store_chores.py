from datetime import timedelta

import pytest
from sqlalchemy import select

from jobs import chores
from jobs.records import chores as table

LEASE = timedelta(seconds=30)


@pytest.fixture
def ready(database):
    """A database with two chores, both due."""
    with database.write() as tx:
        chores.ensure(tx, ["watch", "sweep"])
    return database


def claim(database, name="watch", owner="one"):
    """Claim a chore in a transaction of its own."""
    with database.write() as tx:
        return chores.claim(tx, name, owner=owner, lease=LEASE)


def finish(database, done, **options):
    """Finish a chore in a transaction of its own, due again a minute later."""
    with database.write() as tx:
        return chores.finish(tx, done, **{"due_at": tx.now + timedelta(seconds=60), **options})


def row(database, name="watch"):
    """Return a chore's row."""
    with database.read() as tx:
        return tx.execute(select(table).where(table.c.name == name)).one()


def due(database):
    """Return the names of the chores that are due, in alphabetical order."""
    with database.read() as tx:
        return sorted(chores.due(tx))


def test_a_chore_is_due_at_once_and_only_made_once(ready, clock):
    """A new chore is due at once; making sure again changes nothing."""
    assert due(ready) == ["sweep", "watch"]
    held = claim(ready)
    with ready.write() as tx:
        chores.ensure(tx, ["watch", "sweep", "third"])
    assert due(ready) == ["sweep", "third"]
    assert row(ready).fence == held.fence


def test_one_worker_at_a_time(ready, clock):
    """A claimed chore is nobody else's until it is finished; then it rests until it is due again."""
    held = claim(ready)
    assert (held.name, held.fence, held.lease_until, held.state) == ("watch", 1, clock.at(30), {})
    assert claim(ready, owner="two") is None
    assert due(ready) == ["sweep"]
    assert finish(ready, held, state={"seen": [1]})
    assert (row(ready).owner, row(ready).lease_until, row(ready).succeeded_at) == (None, None, clock.now)
    assert claim(ready) is None
    clock.advance(60)
    assert claim(ready).state == {"seen": [1]}
    assert claim(ready, name="unknown") is None


def test_a_lost_lease_finishes_nothing(ready, clock):
    """Whoever comes back after somebody else took over changes nothing: neither state nor time."""
    late = claim(ready)
    clock.advance(30)
    taken = claim(ready, owner="two")
    assert taken.fence == 2
    assert not finish(ready, late, state={"late": True}, error="late")
    assert (row(ready).owner, row(ready).state, row(ready).error) == ("two", None, None)
    assert finish(ready, taken)
    assert not finish(ready, late)


def test_a_lease_that_ran_out_unnoticed_still_finishes(ready, clock):
    """Being slow is no harm as long as nobody else took the chore."""
    slow = claim(ready)
    clock.advance(300)
    assert finish(ready, slow)


def test_failure_is_kept_until_the_next_success(ready, clock):
    """An error stays readable with its time, and a success wipes it."""
    assert finish(ready, claim(ready), error="API down")
    assert (row(ready).error, row(ready).failed_at, row(ready).succeeded_at) == ("API down", clock.now, None)
    clock.advance(60)
    assert finish(ready, claim(ready))
    assert (row(ready).error, row(ready).succeeded_at) == (None, clock.now)


def test_state_is_kept_where_nothing_new_is_said(ready, clock):
    """A run that remembers nothing new leaves what was remembered."""
    finish(ready, claim(ready), state={"a": 1})
    clock.advance(60)
    finish(ready, claim(ready))
    assert row(ready).state == {"a": 1}


def test_hastening(ready, clock):
    """A chore can be called earlier, never later."""
    finish(ready, claim(ready))
    with ready.write() as tx:
        chores.hasten(tx, "watch", clock.at(10))
        chores.hasten(tx, "watch", clock.at(20))
    assert row(ready).due_at == clock.at(10)


def test_hastening_what_is_being_done(ready, clock):
    """A chore that is hastened while somebody does it is due again at once, and only once more."""
    held = claim(ready)
    with ready.write() as tx:
        chores.hasten(tx, "watch", clock.at(5))
        chores.hasten(tx, "watch", clock.at(9))
    assert finish(ready, held)
    assert row(ready).due_at == clock.at(5)
    clock.advance(5)
    assert finish(ready, claim(ready))
    assert (row(ready).due_at, row(ready).hastened_at) == (clock.at(60), None)


def test_a_hastened_chore_whose_worker_died(ready, clock):
    """Whoever takes a chore over after a dead worker has heard the call: it is not made twice."""
    claim(ready)
    with ready.write() as tx:
        chores.hasten(tx, "watch", clock.now)
    clock.advance(30)
    assert finish(ready, claim(ready, owner="two"))
    assert row(ready).due_at == clock.at(60)


def test_when_to_wake(ready, clock):
    """The next time to wake is the earliest future due time of a chore that nobody does."""
    finish(ready, claim(ready))
    finish(ready, claim(ready, "sweep"), due_at=clock.at(90))
    with ready.read() as tx:
        assert chores.next_due(tx) == clock.at(60)
    clock.advance(60)
    claim(ready)
    with ready.read() as tx:
        assert chores.next_due(tx) == clock.at(30)
