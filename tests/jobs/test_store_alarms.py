from datetime import timedelta

import pytest

from jobs import admission, chores, house
from jobs.alarms import alarms
from jobs.states import State
from tests.support.fleets import ACCOUNT, add_fleet, add_job, move_in


@pytest.fixture
def ring(database):
    """Returns the alarms that ring now, by their code."""

    def look():
        with database.read() as tx:
            return {alarm.code: alarm for alarm in alarms(tx, ACCOUNT)}

    return look


def _reconcile_found(database, **state):
    """Write down what a reconcile found."""
    name = f"reconcile:{ACCOUNT}"
    with database.write() as tx:
        chores.ensure(tx, [name])
        claim = chores.claim(tx, name, owner="w", lease=timedelta(seconds=5))
        chores.finish(tx, claim, due_at=tx.now, state=state)


def test_nothing_rings_when_all_is_well(database, ring):
    """A fresh installation, and jobs in every usual state, raise no alarm."""
    move_in(database)
    fleet = add_fleet(database)
    for position, state in enumerate((State.QUEUED, State.UNCERTAIN, State.RUNNING), start=1):
        add_job(database, state, fleet_id=fleet, position=position)
    _reconcile_found(database, strange=[], untagged=[], orphans={})
    assert ring() == {}


def test_a_silent_worker_rings_after_30_seconds(database, clock, ring):
    """Without a heartbeat for more than 30 s nothing moves, which is said with the time; a heartbeat ends it."""
    clock.advance(30)
    assert ring() == {}
    clock.advance(12)
    assert "no worker was seen for 42 s" in ring()["no_worker"].message
    assert ring()["no_worker"].since == clock.at(-42)
    with database.write() as tx:
        house.heartbeat(tx)
    assert ring() == {}


@pytest.mark.parametrize("code", ["unauthorized", "missing_scope", "account_limit"])
def test_a_paused_account_rings_with_what_to_do(database, ring, code):
    """A paused account says the API's words and what to do; it is silent once a create was answered sensibly."""
    move_in(database)
    with database.write() as tx:
        admission.pause(tx, ACCOUNT, code=code, reason="The API's words")
    assert "The API's words" in ring()[code].message
    assert "go on by themselves" in ring()[code].remedy
    with database.write() as tx:
        admission.healthy(tx, ACCOUNT)
    assert ring() == {}


def test_a_failing_api_rings(database, ring):
    """Five faults in a row are an alarm, fewer are not."""
    move_in(database)
    for _ in range(4):
        with database.write() as tx:
            admission.fault(tx, ACCOUNT)
    assert ring() == {}
    with database.write() as tx:
        admission.fault(tx, ACCOUNT)
    assert "5 creates in a row" in ring()["api_failing"].message


def test_parked_jobs_are_named(database, clock, ring):
    """Parked jobs are counted and some of them named, with the moment since when."""
    fleet = add_fleet(database)
    for position in range(1, 6):
        add_job(database, State.UNCERTAIN, fleet_id=fleet, position=position, parked_at=clock.at(-position))
    alarm = ring()["parked"]
    assert "5 jobs are parked (made-0001, made-0002, made-0003 and 2 more)" in alarm.message
    assert alarm.since == clock.at(-5)
    assert "nodewright resolve" in alarm.remedy


def test_deletes_that_do_not_succeed_ring(database, ring):
    """A delete of another job's instance rings at once, one that fails rings from the third time on."""
    fleet = add_fleet(database)
    wrong = {"error_code": "delete_failed", "error_reason": "no"}
    add_job(database, State.DELETING, fleet_id=fleet, position=1, linode_id=1, looks=2, **wrong)
    assert ring() == {}
    add_job(database, State.DELETING, fleet_id=fleet, position=2, linode_id=2, looks=3, **wrong)
    add_job(database, State.DELETING, fleet_id=fleet, position=3, linode_id=3, error_code="not_ours")
    assert "1 job is to be deleted (made-0002)" in ring()["delete_failed"].message
    assert "1 job is to be deleted (made-0003)" in ring()["not_ours"].message


def test_what_reconcile_found_rings(database, clock, ring):
    """Instances with our tag and no row, those that lost it, and orphans that resist are named by their ids."""
    orphans = {"5": clock.at(-301).isoformat(), "6": clock.at(-10).isoformat()}
    _reconcile_found(database, strange=[11, 12], untagged=[13], orphans=orphans)
    found = ring()
    assert "instances 11, 12 carry our tag" in found["strange_instance"].message
    assert "instance 13 lost our tag" in found["untagged_instance"].message
    assert "instance 5 carries the tag of a job that ended" in found["orphan_instance"].message
