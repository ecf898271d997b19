from sqlalchemy import select

from jobs import fleets as fleet_rows
from jobs.fleets import Guards
from jobs.records import fleets, jobs, tenants
from jobs.requests import InvalidRequest
from jobs.states import State
from tests.support.clock import START
from tests.support.fleets import ROOMY, catalog, fleet_request, job_columns, make_service, submit

TYPES = ["g6-nanode-1", "g6-standard-2"]
REGIONS = ["us-east", "eu-west"]
SOLD_OUT = catalog(availability=[{"region": "us-east", "plan": "g6-nanode-1", "available": False}])


def rows(database, *names):
    """Return columns of every job, in order."""
    with database.read() as tx:
        return [
            tuple(row) for row in tx.execute(select(*(jobs.c[name] for name in names)).order_by("position"))
        ]


def held(database):
    """Return what the tenant's guard counts: jobs, and micro-dollars per hour."""
    with database.read() as tx:
        row = tx.execute(select(tenants).where(tenants.c.id == "default")).one()
    return row.alive, row.hourly_microusd


def test_a_job_begins_with_the_first_alternative(database):
    """A row says what is asked for now, what that costs, and the dearest that it may become."""
    submit(database, {"type": TYPES, "region": REGIONS})
    names = ("choice", "type", "region", "hourly_microusd", "reserved_microusd")
    assert rows(database, *names) == [(0, "g6-nanode-1", "us-east", 7_500, 36_000)]
    assert held(database) == (1, 36_000)


def test_a_job_begins_with_what_is_not_sold_out(database):
    """Where the catalog says that the first alternative is sold out, jobs begin with the next one."""
    service = make_service(database, catalogs=lambda _: SOLD_OUT)
    accepted = service.submit(fleet_request({"region": REGIONS}), tenant="default", actor="x")
    assert [one.code for one in accepted.warnings] == ["alternative_skipped"]
    assert rows(database, "choice", "region") == [(1, "eu-west")]


def test_the_guard_counts_the_dearest(database):
    """A fleet that could come to cost more than is left is refused, although it begins cheaper."""
    service = make_service(database, guards=Guards(max_hourly_microusd=20_000))
    cheap = fleet_request({"type": TYPES})
    try:
        service.submit(cheap, tenant="default", actor="x")
    except InvalidRequest as error:
        (fault,) = error.faults
    assert fault.code == "quota_exceeded"
    assert "$0.036 an hour are more than" in fault.message


def test_a_spread_is_decided_at_submit(database):
    """Each row of a spread has its region from the beginning, by weight and in order."""
    submit(database, {"count": 3, "region": None, "regions": {"us-east": 2, "eu-west": 1}})
    assert rows(database, "position", "region") == [(1, "us-east"), (2, "us-east"), (3, "eu-west")]


def test_what_was_asked_stays_in_the_fleet(database):
    """The fleet keeps its alternatives and its spread as they were asked for."""
    fleet = submit(database, {"type": TYPES, "region": None, "regions": {"us-east": 2}}).fleet
    with database.read() as tx:
        group, _, _ = fleet_rows.load_group(tx, fleet.id, 0)
    assert (group["type"], group["regions"]) == (TYPES, {"us-east": 2})


def test_times_and_policy_are_kept(database):
    """A fleet keeps its times and its policy, and each job what it needs of them."""
    times = {"not_before": "2026-03-01T13:00:00Z", "deadline": "2026-03-01T14:00:00Z", "ttl": "2h"}
    fleet = submit(database, **times, boot_timeout="5m", on_failure={"stop_after": 3}).fleet
    with database.read() as tx:
        row = tx.execute(select(fleets).where(fleets.c.id == fleet.id)).one()
    assert (row.not_before.hour, row.deadline_at.hour, row.ttl_seconds) == (13, 14, 7200)
    assert (row.boot_timeout_seconds, row.on_failure) == (300, {"stop_after": 3, "same_cause": False})
    assert rows(database, "run_after", "ttl_seconds", "boot_timeout_seconds") == [(row.not_before, 7200, 300)]


def test_a_beginning_in_the_past_is_now(database):
    """A `not_before` that has passed holds nothing up."""
    submit(database, not_before=START.isoformat())
    assert rows(database, "run_after") == [(None,)]


def accepted_without_catalog(database, *groups):
    """Accept a fleet that came by Celery before the first catalog; return its job's id."""
    service = make_service(database, catalogs=lambda _: None)
    fleet_id = "01890000-0000-7000-8000-00000000abcd"
    service.accept(fleet_request(*groups), fleet_id=fleet_id, tenant="default", actor="celery")
    ((job_id,),) = rows(database, "id")
    return job_id


def validated(database, known):
    """Let the intake go through what waits for a catalog."""
    with database.write() as tx:
        fleet_rows.validate_submitted(tx, known, account_id="default", actor="intake", guards=ROOMY)


def test_alternatives_are_settled_when_the_catalog_comes(database):
    """A job that waited for the catalog begins with the first alternative that it allows, and reserves the dearest."""
    job_id = accepted_without_catalog(database, {"type": TYPES, "region": REGIONS})
    validated(database, SOLD_OUT)
    job = job_columns(database, job_id)
    assert (job["state"], job["choice"], job["type"], job["region"]) == (
        State.QUEUED,
        1,
        "g6-nanode-1",
        "eu-west",
    )
    assert (job["hourly_microusd"], job["reserved_microusd"]) == (7_500, 36_000)
    assert held(database) == (1, 36_000)


def test_a_wrong_member_is_rejected_when_the_catalog_comes(database):
    """A job one of whose alternatives does not exist is rejected, as it would have been at a submit."""
    job_id = accepted_without_catalog(database, {"region": ["us-east", "moon"]})
    validated(database, catalog())
    job = job_columns(database, job_id)
    assert (job["state"], job["error_code"]) == (State.REJECTED, "unknown_region")
