from datetime import UTC, timedelta

import pytest
from sqlalchemy import event, select

from jobs import admission, transitions
from jobs.admission import Limit
from jobs.database import Database, Timed
from jobs.records import tenants
from tests.support.fleets import ACTOR, TENANT, add_tenant, admit_in, move_in, submit

TENANTS = Timed(select(tenants.c.id, tenants.c.weight))


@pytest.fixture
def clockwork(database_url):
    """A fresh database on each engine in turn, with the clock that it has in production."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def asked(clockwork):
    """The statements that were executed."""
    found = []

    def note(_connection, _cursor, statement, _parameters, _context, _many):
        found.append(statement)

    event.listen(clockwork.engine, "before_cursor_execute", note)
    return found


def test_the_time_comes_along(clockwork, asked):
    """The server's time costs no statement of its own where a query brings it along, and is read once."""
    with clockwork.read() as tx:
        (first, *_), (again, *_) = tx.rows(TENANTS), tx.rows(TENANTS)
        assert (first.id, first.weight) == (again.id, again.weight) == (TENANT, 1)
        assert tx.now.tzinfo is UTC
        told = tx.now
    assert len([statement for statement in asked if statement != "BEGIN"]) == 2
    with clockwork.read() as tx:
        assert timedelta() <= tx.now - told < timedelta(minutes=1)


def test_no_row_brings_no_time(clockwork):
    """A query that finds nothing leaves the time to be asked for."""
    nobody = Timed(select(tenants.c.id).where(tenants.c.id == "nobody"))
    with clockwork.read() as tx:
        assert list(tx.rows(nobody)) == []
        assert tx.now.tzinfo is UTC


def test_what_runs_often_asks_for_no_time(clockwork, asked):
    """Admission, claims and answers on the server's own clock: the time comes with the first thing that each reads."""
    move_in(clockwork, Limit(0, 15.0))
    add_tenant(clockwork, "other")
    submit(clockwork, {"count": 3})
    submit(clockwork, {"count": 2}, name="theirs", tenant="other")
    asked.clear()
    with clockwork.write() as tx:
        done = admit_in(tx, most=4)
    assert len(done.granted) == 4
    with clockwork.write() as tx:
        grants = admission.load_grants(tx, done.granted)
        assert {grant.job.id for grant in grants.values()} == set(done.granted)
        assert all(grant.unopened and not grant.sick and not grant.held for grant in grants.values())
        jobs = [grant.job for grant in grants.values()]
        sent = transitions.all_sent(tx, jobs, actor=ACTOR, lease=timedelta(minutes=1))
        assert all(job.sent_at == tx.now for job in sent)
    with clockwork.write() as tx:
        transitions.hold(tx, done.granted)
        assert tx.now.tzinfo is UTC
    assert not [statement for statement in asked if statement.startswith("SELECT clock_timestamp")]
