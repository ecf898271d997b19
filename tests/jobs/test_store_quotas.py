import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from jobs import fleets as fleet_rows
from jobs import tenants as tenant_rows
from jobs.fleets import Guards
from jobs.records import jobs, tenants
from jobs.requests import InvalidRequest
from tests.support.fleets import (
    ACCOUNT,
    ACTOR,
    NANODE_MICROUSD,
    TENANT,
    add_tenant,
    catalog,
    fleet_request,
    make_service,
    set_job,
)

AT_ONCE = 200
QUOTA = 100


def send(service, count=1, *, name="web", tenant=TENANT, **group):
    """Submit a fleet of one group."""
    request = fleet_request({"count": count, **group}, name=name)
    return service.submit(request, tenant=tenant, actor=ACTOR)


def held(database):
    """Return what the table holds at one moment: what is counted, and what its rows add up to."""
    mine = (jobs.c.tenant_id == TENANT, jobs.c.counted)
    count = select(func.count()).select_from(jobs).where(*mine).scalar_subquery()
    spend = select(func.coalesce(func.sum(jobs.c.hourly_microusd), 0)).where(*mine).scalar_subquery()
    statement = select(tenants.c.alive, tenants.c.hourly_microusd, count, spend)
    with database.read() as tx:
        return tuple(tx.execute(statement.where(tenants.c.id == TENANT)).one())


@contextmanager
def watching(database):
    """Look at the table again and again until the end of the block; give what was seen."""
    seen, over = [], threading.Event()

    def look():
        while not over.is_set():
            seen.append(held(database))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize(
    "guards",
    [
        Guards(max_instances=QUOTA, max_hourly_microusd=10**12),
        Guards(max_instances=10**6, max_hourly_microusd=QUOTA * NANODE_MICROUSD + 1),
    ],
    ids=["instances", "spend"],
)
def test_two_hundred_submits_at_once(database, guards):
    """Of 200 submits of one at the same moment, against a quota of 100, exactly 100 are accepted, and never more."""
    start = threading.Barrier(AT_ONCE)

    def act(number):
        service = make_service(database, guards=guards, dice=Random(number))
        start.wait()
        try:
            return send(service, name=f"f{number}").fleet.count
        except InvalidRequest as error:
            return [(fault.code, fault.message) for fault in error.faults]

    with watching(database) as seen, ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(act, range(AT_ONCE)))
    refused = [one for one in results if one != 1]
    assert len(refused) == AT_ONCE - QUOTA
    assert {code for faults in refused for code, _ in faults} == {"quota_exceeded"}
    assert all("the 0 left" in words or "left of" in words for faults in refused for _, words in faults)
    assert held(database) == (QUOTA, QUOTA * NANODE_MICROUSD) * 2
    assert all(row[:2] == row[2:] and row[0] <= QUOTA for row in seen)
    assert len(set(seen)) > 2


def test_jobs_per_fleet(database):
    """A tenant's own limit on one fleet goes before the setting, by whichever way the fleet comes."""
    add_tenant(database, "small", max_count=2)
    service = make_service(database)
    with pytest.raises(InvalidRequest, match="asks for 3 instances, and one fleet may have 2"):
        send(service, 3, tenant="small")
    assert send(service, 2, tenant="small").fleet.count == 2
    blind = make_service(database, catalogs=lambda _account: None)
    with pytest.raises(InvalidRequest, match="3 instances are more than the 2 that one fleet may have"):
        blind.accept(
            fleet_request({"count": 3}, name="big"), fleet_id=str(uuid4()), tenant="small", actor=ACTOR
        )


def test_the_first_catalog_overspends_nothing(database):
    """Jobs whose price was not known at submit are rejected where it would exceed their tenant's spend."""
    blind = make_service(database, catalogs=lambda _account: None)
    done = blind.accept(fleet_request({"count": 5}), fleet_id=str(uuid4()), tenant=TENANT, actor=ACTOR)
    guards = Guards(max_hourly_microusd=3 * NANODE_MICROUSD)
    with database.write() as tx:
        fleet_rows.validate_submitted(tx, catalog(), account_id=ACCOUNT, actor=ACTOR, guards=guards)
    assert blind.fleet(done.fleet.id, TENANT).states == {"rejected": 2, "queued": 3}
    errors = {job.error.code for job in blind.jobs(TENANT, fleet=done.fleet.id) if job.error}
    assert errors == {"quota_exceeded"}
    with database.write() as tx:
        assert tenant_rows.view(tx, TENANT).hourly_microusd == 3 * NANODE_MICROUSD


def test_nothing_more_is_refused_than_what_costs(database):
    """A guard that was lowered below what is held refuses what adds to it, and a rejected fleet adds nothing."""
    service = make_service(database, guards=Guards(max_instances=4))
    send(service, 4)
    lowered = make_service(database, guards=Guards(max_instances=2), dice=Random(8))
    with pytest.raises(InvalidRequest, match="1 instances are more than the 0 left of 2"):
        send(lowered, name="more")
    request = fleet_request({"type": "g6-gone-1"}, name="none", on_invalid="skip")
    assert lowered.submit(request, tenant=TENANT, actor=ACTOR).fleet.states == {"rejected": 1}


# Tenants -------------------------------------------------------------------------------------------------------------


def test_a_tenant_is_shown_with_what_it_holds_now(database):
    """A tenant's view counts what is alive, without what ended since."""
    service = make_service(database)
    send(service, 3)
    first = service.jobs(TENANT, fleet="web")[0]
    set_job(database, first.id, state="cancelled")
    with database.write() as tx:
        (found,) = tenant_rows.list_tenants(tx)
    assert (found.id, found.alive, found.hourly_microusd) == (TENANT, 2, 2 * NANODE_MICROUSD)
    assert (found.weight, found.max_count, found.accounts) == (1, None, ("default",))


def test_a_tenant_is_added_once_and_changed(database):
    """A tenant is added once; its weight and guards are its own from then on."""
    with database.write() as tx:
        assert tenant_rows.add(tx, "acme")
        assert not tenant_rows.add(tx, "acme")
        tenant_rows.change(tx, "acme", {"weight": 3, "max_instances": 7})
        tenant_rows.change(tx, "acme", {})
        found = tenant_rows.view(tx, "acme")
    assert (found.weight, found.max_instances, found.max_hourly_microusd) == (3, 7, None)
    with pytest.raises(InvalidRequest, match="the 7 left of 7"):
        send(make_service(database), 8, tenant="acme")
