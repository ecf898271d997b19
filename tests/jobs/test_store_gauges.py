from datetime import timedelta

import pytest
from sqlalchemy import insert, update

from jobs import admission, chores, house, tallies
from jobs.gauges import gauges
from jobs.records import accounts, fleets, installation, job_events, webhook_deliveries, webhooks
from jobs.states import State
from tests.support.fleets import (
    ACCOUNT,
    ACTOR,
    PARTS,
    TOKEN,
    add_fleet,
    add_job,
    add_tenant,
    admit,
    make_service,
    move_in,
    set_job,
    submit,
)


@pytest.fixture
def ready(database):
    """A database with an account whose window allows three creates."""
    move_in(database, admission.Limit(3, 15.0))
    return database


def present(database):
    """Return the gauges."""
    with database.read() as tx:
        return gauges(tx)


def age_of_queue(database):
    """Return the age of the oldest job that waits, or None."""
    found = present(database)
    return found.oldest_waiting_at and (found.now - found.oldest_waiting_at).total_seconds()


def test_the_oldest_job_that_waits(ready, clock):
    """Of every tenant and every priority the oldest counts, though younger ones go first."""
    assert age_of_queue(ready) is None
    submit(ready, name="low", priority=-1)
    clock.advance(10)
    submit(ready, name="high", priority=5)
    clock.advance(10)
    add_tenant(ready, "other")
    submit(ready, name="other", tenant="other")
    clock.advance(10)
    assert age_of_queue(ready) == 30
    make_service(ready).cancel("low", "default", actor=ACTOR)
    assert age_of_queue(ready) == 20
    make_service(ready).cancel("high", "default", actor=ACTOR)
    assert age_of_queue(ready) == 10


def test_what_waits_for_something_else_is_not_in_the_queue(ready, clock):
    """A job that is snoozed, or whose fleet is paused, does not wait for the rate limit."""
    submit(ready, name="later", not_before=clock.at(1000).isoformat())
    submit(ready, name="held")
    with ready.write() as tx:
        tx.execute(update(fleets).where(fleets.c.name == "held").values(held_at=tx.now))
    clock.advance(10)
    assert age_of_queue(ready) is None


def test_what_is_left_of_a_window(ready, clock):
    """What was granted is not left, until the window is over; what was refused is remembered."""
    submit(ready, {"count": 5})
    admit(ready)
    (window,) = present(ready).windows
    assert (window.account, window.token, window.route) == (ACCOUNT, TOKEN, admission.CREATE)
    assert (window.limit, window.left, window.seconds, window.refused) == (3, 0, 15.0, 0)
    clock.advance(60)
    assert present(ready).windows[0].left == 3


def test_without_a_limit_nothing_is_left_or_missing(database):
    """A limit of 0 means that there is none."""
    move_in(database, admission.Limit(0, 1.0))
    assert [(one.limit, one.left) for one in present(database).windows] == [(0, 0)]


def test_what_instances_cost_an_hour(ready):
    """Every instance that is there is paid for, failed and being deleted ones too; nothing else is."""
    fleet = add_fleet(ready)
    for position, state in enumerate(State, start=1):
        add_job(
            ready,
            state,
            fleet_id=fleet,
            position=position,
            **({"linode_id": position} if state in PAID else {}),
        )
    failed = add_job(
        ready, State.FAILED, fleet_id=fleet, position=50, linode_id=50, created_at=present(ready).now
    )
    assert present(ready).hourly_microusd == 4 * 7_500
    set_job(ready, failed.id, hourly_microusd=1_000_000)
    assert present(ready).hourly_microusd == 3 * 7_500 + 1_000_000


PAID = {State.BOOTING, State.RUNNING, State.DELETING}


def test_parked_jobs(ready):
    """Only jobs that a person has to settle are parked."""
    with ready.read() as tx:
        now = tx.now
    fleet = add_fleet(ready)
    add_job(ready, State.UNCERTAIN, fleet_id=fleet, position=1)
    add_job(ready, State.UNCERTAIN, fleet_id=fleet, position=2, parked_at=now)
    assert present(ready).parked == 1


def test_who_paused_what(ready):
    """Accounts are paused by the API or by a person, and a person may pause everything."""
    assert (present(ready).paused, present(ready).held) == ({"api": 0, "person": 0}, False)
    with ready.write() as tx:
        tx.execute(update(accounts).values(paused_at=tx.now, paused_code="unauthorized", held_at=tx.now))
        tx.execute(update(installation).values(held_at=tx.now))
    assert (present(ready).paused, present(ready).held) == ({"api": 1, "person": 1}, True)


def test_catalogs_chores_and_events(ready, clock):
    """Each catalog has its age, each chore says whether it fails, and the counters say how far they are behind."""
    with ready.write() as tx:
        house.store_catalogs(tx, ACCOUNT, PARTS)
        chores.ensure(tx, ["tally", "watch:default"])
        claim = chores.claim(tx, "watch:default", owner="one", lease=timedelta(seconds=30))
        chores.finish(tx, claim, due_at=tx.now, error="no")
        line = {"job_id": "018f0000-0000-7000-8000-000000000001", "at": tx.now, "actor": "test"}
        tx.execute(insert(job_events), [{**line, "event": "sent", "state": "creating"}] * 3)
        tallies.fold(tx, upto=2)
    clock.advance(7)
    found = present(ready)
    assert {(account, kind) for account, kind, _ in found.catalogs} == {(ACCOUNT, kind) for kind in PARTS}
    assert {(found.now - at).total_seconds() for *_, at in found.catalogs} == {7}
    assert found.chores == (("tally", False), ("watch:default", True))
    assert found.unfolded == 1


def test_deliveries_that_wait_or_are_dead(ready):
    """The backlog of webhooks counts what waits and what was given up; and endpoints that are disabled."""
    with ready.write() as tx:
        hook = {"id": "018f0000-0000-7000-8000-00000000000a", "tenant_id": "default", "url": "https://x"}
        hook |= {"kinds": [], "sealed": b"", "after_event": 0, "created_at": tx.now, "disabled_at": tx.now}
        tx.execute(insert(webhooks), hook)
        for number, state in enumerate(("pending", "dead", "dead", "delivered")):
            row = {
                "id": f"018f0000-0000-7000-8000-0000000000b{number}",
                "webhook_id": hook["id"],
                "kind": "job.running",
                "subject": str(number),
                "payload": "",
                "state": state,
                "tries": 1,
                "due_at": tx.now,
                "created_at": tx.now,
            }
            tx.execute(insert(webhook_deliveries), row)
    found = present(ready)
    assert (found.deliveries, found.endpoints_disabled) == ({"pending": 1, "dead": 2}, 1)
