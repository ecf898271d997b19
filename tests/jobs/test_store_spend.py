from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from jobs import spend, transitions
from jobs.cost import cost_of
from jobs.states import State
from jobs.views import Spend
from tests.support.fleets import (
    ACTOR,
    TENANT,
    add_fleet,
    add_job,
    add_tenant,
    fleet_request,
    make_service,
    read_job,
    set_job,
)

HOUR = 3600


@pytest.mark.parametrize(
    "age", [0, 0.000001, 1, HOUR - 0.000001, HOUR, HOUR + 0.000001, 2.5 * HOUR, 1000 * HOUR, -5]
)
def test_each_hour_begun_is_paid(database, clock, age):
    """The sum in the database is to the microsecond what the price's own arithmetic says, for each row and for all."""
    fleet = add_fleet(database)
    created = clock.now - timedelta(seconds=age)
    add_job(database, State.RUNNING, fleet_id=fleet, created_at=created)
    cost = cost_of(7_500, created, clock.now)
    service = make_service(database)
    assert service.fleet(fleet, TENANT).spend == Spend(cost, 0, 7_500, 1)
    (job,) = service.jobs(TENANT, fleet=fleet)
    assert (job.spent_microusd, job.wasted_microusd) == (cost, 0)


def test_what_is_paid_for(database, clock):
    """Instances that boot, run, failed or are being deleted cost; what was closed stays; failed ones are a waste."""
    fleet = add_fleet(database)
    then = clock.now
    made = [
        (State.BOOTING, {}),
        (State.RUNNING, {"spent_microusd": 500, "wasted_microusd": 400}),
        (State.FAILED, {"linode_id": 3, "created_at": then, "error_code": "boot_timeout"}),
        (State.DELETING, {"wasted_microusd": 15_000}),
        (State.DELETED, {"linode_id": 5, "created_at": then, "spent_microusd": 22_500}),
        (State.FAILED, {"created_at": then, "spent_microusd": 7_500, "wasted_microusd": 7_500}),
        (State.QUEUED, {"spent_microusd": 100, "wasted_microusd": 100}),
        (State.CANCELLED, {}),
    ]
    for position, (state, columns) in enumerate(made, start=1):
        add_job(
            database,
            state,
            fleet_id=fleet,
            position=position,
            **{"linode_id": None, **instance(state, position), **columns},
        )
    clock.advance(1.5 * HOUR)
    service = make_service(database)
    found = service.fleet(fleet, TENANT).spend
    assert (found.hourly_microusd, found.instances) == (4 * 7_500, 4)
    assert found.spent_microusd == 4 * 15_000 + 500 + 22_500 + 7_500 + 100
    assert found.wasted_microusd == 15_000 + 400 + 15_000 + 7_500 + 100
    rows = service.jobs(TENANT, fleet=fleet)
    assert sum(job.spent_microusd for job in rows) == found.spent_microusd
    assert sum(job.wasted_microusd for job in rows) == found.wasted_microusd
    assert service.fleet(fleet, TENANT).to_json()["spent_usd"] == found.spent_microusd / 1e6


def instance(state, number):
    """Return the instance of a job that must have one."""
    return {"linode_id": number} if state in {State.BOOTING, State.RUNNING, State.DELETING} else {}


def test_a_failed_instance_is_a_waste_until_it_is_gone_and_after(database, clock):
    """What a machine that never came up has cost is wasted: while it stands, while it goes, and in the next attempt."""
    service = make_service(database)
    service.submit(fleet_request(), tenant=TENANT, actor=ACTOR)
    (job,) = service.jobs(TENANT, fleet="web")
    error = {"error_code": "boot_timeout", "error_reason": "not up"}
    set_job(database, job.id, state="failed", linode_id=7, created_at=clock.now, **error)
    clock.advance(600)
    wasted = [service.fleet("web", TENANT).spend.wasted_microusd]
    service.retry("web", TENANT, actor=ACTOR)
    going = read_job(database, job.id)
    with database.write() as tx:
        moved = transitions.delete_postponed(tx, going, None, actor=ACTOR, run_after=tx.now)
    wasted.append(service.fleet("web", TENANT).spend.wasted_microusd)
    with database.write() as tx:
        transitions.gone(tx, moved, actor=ACTOR)
    after = service.fleet("web", TENANT)
    wasted.append(after.spend.wasted_microusd)
    assert wasted == [7_500] * 3
    assert (after.spend.spent_microusd, after.spend.hourly_microusd, after.states) == (
        7_500,
        0,
        {"queued": 1},
    )


def test_spend_by_tenant_and_fleet(database, clock):
    """Each tenant's sum and each fleet's are told: one tenant's own, or all of them."""
    add_tenant(database, "other")
    mine, theirs = add_fleet(database, name="a"), add_fleet(database, name="b", tenant_id="other")
    add_fleet(database, name="idle")
    add_job(database, State.RUNNING, fleet_id=mine, linode_id=1)
    add_job(database, State.RUNNING, fleet_id=theirs, tenant_id="other", linode_id=2, label="x", position=2)
    add_job(database, State.DELETED, fleet_id=mine, position=3, spent_microusd=10, wasted_microusd=10)
    service = make_service(database)
    tenants, fleets = service.spend(TENANT)
    assert [(one.tenant, one.spend) for one in tenants] == [(TENANT, Spend(7_510, 10, 7_500, 1))]
    assert {one.name: one.spend.spent_microusd for one in fleets} == {"a": 7_510, "idle": 0}
    tenants, fleets = service.spend(None)
    assert [(one.tenant, one.spend.spent_microusd) for one in tenants] == [(TENANT, 7_510), ("other", 7_500)]
    assert {(one.name, one.tenant) for one in fleets} == {("a", TENANT), ("b", "other"), ("idle", TENANT)}
    first = service.spend(None, limit=1)[1]
    assert len(service.spend(None, after=first[0].id)[1]) == 2
    assert service.spend("nobody") == ([spend.TenantSpend("nobody", Spend())], [])


def test_the_results_view_says_what_it_costs(database):
    """In SQL too each row says what it has cost so far: closed attempts, and the present instance by the hour begun."""
    now = datetime.now(UTC)  # the view asks the database's own clock
    rows = [
        (
            State.RUNNING,
            {"linode_id": 1, "created_at": now - timedelta(minutes=90), "spent_microusd": 500_000},
        ),
        (State.FAILED, {"linode_id": 2, "created_at": now - timedelta(minutes=30)}),
        (State.QUEUED, {"spent_microusd": 20_000, "wasted_microusd": 10_000}),
    ]
    fleet = add_fleet(database)
    for position, (state, columns) in enumerate(rows, start=1):
        add_job(database, state, fleet_id=fleet, position=position, **columns)
    with database.read() as tx:
        found = tx.execute(text("SELECT spent_usd, wasted_usd FROM job_results ORDER BY position")).all()
    shown = [(float(row.spent_usd), float(row.wasted_usd)) for row in found]
    assert shown == [(0.515, 0.0), (0.0075, 0.0075), (0.02, 0.01)]
