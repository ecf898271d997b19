from random import Random

import pytest
from sqlalchemy import select, update

from jobs import fleets as fleet_rows
from jobs.destruction import ConfirmationRefused
from jobs.fleets import Guards
from jobs.records import fleets, jobs, tenants
from jobs.regiven import read_given
from jobs.requests import InvalidRequest
from jobs.scaling import Wish
from jobs.service import CatalogUnavailable, NotFound
from jobs.states import State
from jobs.vault import Vault, new_key
from tests.jobs.test_store_submit import together
from tests.support.fleets import (
    ACTOR,
    NANODE_MICROUSD,
    TENANT,
    add_tenant,
    fleet_request,
    make_service,
    read_job,
    set_job,
    timeline,
)

PASSWORD = "Gl4di0lus+Kn1fe/7"


def send(service, *groups, **fleet):
    """Submit a fleet as the default tenant; return its id."""
    return service.submit(fleet_request(*groups, **fleet), tenant=TENANT, actor=ACTOR).fleet.id


def scale(service, to=None, ref="web", **wish):
    """Scale as the default tenant."""
    return service.scale(ref, TENANT, Wish(to, **wish), actor="person")


def confirmed(service, to=None, **wish):
    """Scale down with the confirmation of a dry run."""
    plan = scale(service, to, dry_run=True, **wish)
    return scale(service, to, confirm=plan.confirm, **wish)


def row_of(database):
    """Return the newest fleet's row."""
    with database.read() as tx:
        return tx.execute(select(fleets).order_by(fleets.c.id.desc())).first()


def alive(database):
    """Return how many instances the tenant's guard counts."""
    with database.write() as tx:
        fleet_rows.release(tx, TENANT)
        return tx.execute(select(tenants.c.alive).where(tenants.c.id == TENANT)).scalar_one()


def ids_of(service, fleet="web"):
    """Return the ids of a fleet's jobs, by position."""
    return [job.id for job in service.jobs(TENANT, fleet=fleet)]


# More ----------------------------------------------------------------------------------------------------------------


def test_more_jobs_go_on_where_the_fleet_ended(database):
    """Scaling up adds jobs of the last group: positions and labels continue, the guard and the counts are true."""
    woken = []
    service = make_service(database, notify=lambda: woken.append(1))
    send(service, {"count": 2}, {"count": 1, "type": "g6-standard-2", "tags": ["big"]}, priority=4)
    woken.clear()
    done = scale(service, 5)
    assert (done.was, done.to, done.labels, done.leaving, woken) == (3, 5, ("web-0004", "web-0005"), (), [1])
    found = service.jobs(TENANT, fleet="web")
    assert [(job.position, job.label, job.type) for job in found[3:]] == [
        (4, "web-0004", "g6-standard-2"),
        (5, "web-0005", "g6-standard-2"),
    ]
    with database.read() as tx:
        added = tx.execute(select(jobs).where(jobs.c.position > 3)).all()
    assert {(row.group_index, row.priority, row.state, row.hourly_microusd) for row in added} == {
        (1, 4, "queued", 36_000)
    }
    row = row_of(database)
    assert (row.count, [group["count"] for group in row.groups]) == (5, [2, 3])
    assert service.fleet("web", TENANT).states == {"queued": 5}
    assert alive(database) == 5
    assert timeline(database, found[4].id)[0]["actor"] == "person"


def test_the_wish_is_absolute(database):
    """Sent again a wish that is fulfilled adds nothing, and says so."""
    service = make_service(database)
    send(service, {"count": 2})
    assert len(scale(service, 4).labels) == 2
    again = scale(service, 4)
    assert (again.was, again.to, again.labels, again.leaving) == (4, 4, (), ())
    assert len(ids_of(service)) == 4


def test_two_wishes_at_once(database):
    """Two simultaneous wishes for one size add no more than that."""
    send(make_service(database), {"count": 2})
    services = [make_service(database, dice=Random(seed)) for seed in range(20, 22)]
    done = together(*(lambda service=service: scale(service, 6) for service in services))
    assert sorted(len(one.labels) for one in done) == [0, 4]
    assert len(ids_of(services[0])) == 6


def test_a_group_is_chosen(database):
    """A group is chosen by its name or its index; labels continue within its pattern."""
    service = make_service(database)
    pattern = "{group}-{index}"
    send(
        service,
        {"count": 2, "name": "app", "label_pattern": pattern},
        {"name": "db", "label_pattern": pattern},
    )
    assert scale(service, 4, group="app").labels == ("app-3",)
    assert scale(service, 5, group=1).labels == ("db-2",)
    with pytest.raises(InvalidRequest, match="choose app, db"):
        scale(service, 9, group="web")
    with pytest.raises(InvalidRequest, match="no group 2"):
        scale(service, 9, group=2)


def test_no_label_comes_twice(database):
    """A label of a job that is gone is not given again: up, down and up it counts on."""
    service = make_service(database)
    send(service, {"count": 3})
    confirmed(service, 1)
    assert scale(service, 2).labels == ("web-0004",)
    assert [job.position for job in service.jobs(TENANT, fleet="web")] == [1, 2, 3, 4]


def test_failed_jobs_are_not_counted_and_named(database):
    """The size is what is there or on its way; failed jobs without an instance are told beside it."""
    service = make_service(database)
    send(service, {"count": 3})
    set_job(database, ids_of(service)[0], state="failed", error_code="no_capacity")
    done = scale(service, 3)
    assert (done.was, done.failed, len(done.labels)) == (2, 1, 1)


def test_time_to_live_and_start_come_from_the_fleet(database, clock):
    """New jobs live as long as the fleet says, and wait as the fleet does."""
    service = make_service(database)
    send(service)
    later = clock.at(600)
    with database.write() as tx:
        tx.execute(update(fleets).values(ttl_seconds=3600, boot_timeout_seconds=900, not_before=later))
    scale(service, 2)
    with database.read() as tx:
        row = tx.execute(select(jobs).where(jobs.c.position == 2)).one()
    assert (row.ttl_seconds, row.boot_timeout_seconds, row.run_after) == (3600, 900, later)


@pytest.mark.parametrize(
    ("guards", "words"),
    [
        (Guards(max_instances=3), "2 instances are more than the 1 left of 3"),
        (Guards(max_count=3), "4 instances are more than the 3 that one fleet may have"),
        (Guards(max_hourly_microusd=3 * NANODE_MICROUSD), "an hour are more than"),
    ],
)
def test_a_guard_refuses_more(database, guards, words):
    """Where a guard does not hold more, nothing is added, and the answer says how much is left."""
    send(make_service(database), {"count": 2})
    with pytest.raises(InvalidRequest, match=words) as caught:
        scale(make_service(database, guards=guards), 4)
    assert {(fault.code, fault.field) for fault in caught.value.faults} == {("quota_exceeded", "to")}
    assert (len(ids_of(make_service(database))), alive(database), row_of(database).count) == (2, 2, 2)


def test_what_refuses_more_jobs(database, clock):
    """A fleet behind its deadline, or stopped by its policy, gets no more jobs: they would end at once."""
    service = make_service(database)
    send(service)
    for columns, code in (
        ({"deadline_at": clock.now}, "deadline_exceeded"),
        ({"stopped_at": clock.now, "stop_reason": "5 failed"}, "stopped_by_policy"),
    ):
        with database.write() as tx:
            tx.execute(update(fleets).values(**columns))
        with pytest.raises(InvalidRequest) as caught:
            scale(service, 2)
        assert [fault.code for fault in caught.value.faults] == [code]


def test_a_taken_label_refuses_more(database):
    """Where the next label belongs to another fleet's job, nothing is added."""
    service = make_service(database)
    send(service)
    other = send(service, name="other")
    (job_id,) = ids_of(service, other)
    set_job(database, job_id, label="web-0002")
    with pytest.raises(InvalidRequest, match="'web-0002' is in use"):
        scale(service, 2)
    assert len(ids_of(service)) == 1


def test_a_pattern_without_an_index(database):
    """A group whose pattern has no index cannot grow."""
    service = make_service(database)
    send(service, {"label_pattern": "only"})
    with pytest.raises(InvalidRequest, match=r"has no \{index\}"):
        scale(service, 2)


def test_more_of_a_group_with_secrets(database):
    """Where the group's secrets were erased more of it needs them again; given, they are sealed for the new jobs."""
    service = make_service(database, vault=Vault([new_key()]))
    send(service, {"root_pass": PASSWORD})
    set_job(database, ids_of(service)[0], state="running", linode_id=1)
    with database.write() as tx:
        fleet_rows.erase_secrets(tx)
    with pytest.raises(InvalidRequest, match="root_pass of group 0 was erased") as caught:
        scale(service, 2)
    assert [fault.code for fault in caught.value.faults] == ["credentials_erased"]
    scale(service, 2, secrets=read_given([{"root_pass": PASSWORD}]))
    row = row_of(database)
    assert service._vault.open(row.sealed) == {"0": {"root_pass": PASSWORD}}
    assert not row.secrets_erased


def test_a_bound_group_stays_in_its_account(database):
    """More jobs of a group that is bound to an account are bound to the same one."""
    service = make_service(database)
    send(service, account="default")
    scale(service, 2)
    with database.read() as tx:
        found = tx.execute(select(jobs.c.account_id, jobs.c.pinned)).all()
    assert {tuple(row) for row in found} == {("default", True)}


def test_no_catalog_no_growth(database):
    """Without a catalog nothing can be judged, so nothing is added."""
    send(make_service(database))
    with pytest.raises(CatalogUnavailable):
        scale(make_service(database, catalogs=lambda _account: None), 2)


def test_more_of_a_spread(database):
    """More jobs of a group that is spread over regions are spread in the same way, with alternatives as asked for."""
    service = make_service(database)
    spread = {
        "region": None,
        "regions": {"us-east": 2, "eu-west": 1},
        "type": ["g6-nanode-1", "g6-standard-2"],
    }
    send(service, {"count": 3, **spread})
    scale(service, 6)
    added = service.jobs(TENANT, fleet="web")[3:]
    assert sorted(job.region for job in added) == ["eu-west", "us-east", "us-east"]
    assert [job.label for job in added] == ["web-0004", "web-0005", "web-0006"]
    with database.read() as tx:
        reserved = tx.execute(select(jobs.c.reserved_microusd).where(jobs.c.position > 3)).scalars().all()
    assert set(reserved) == {36_000}


# Fewer ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(database):
    """A fleet of five: two run, two wait, one is being created; and its service."""
    service = make_service(database)
    send(service, {"count": 5})
    ids = ids_of(service)
    for number, state in ((0, "running"), (2, "running"), (3, "creating")):
        with database.read() as tx:
            lease = {"lease_until": tx.now} if state == "creating" else {"linode_id": number + 1}
        set_job(database, ids[number], state=state, **lease)
    return service, ids


def test_waiting_ones_go_first_then_the_newest(database, mixed):
    """A dry run lists what would go: what is not bought, the newest first, then instances, the newest first."""
    service, ids = mixed
    plan = scale(service, 1, dry_run=True)
    assert [(one.label, one.action) for one in plan.leaving] == [
        ("web-0005", "cancel"),
        ("web-0004", "cancel"),
        ("web-0002", "cancel"),
        ("web-0003", "delete"),
    ]
    assert service.fleet("web", TENANT).states == {"queued": 2, "creating": 1, "running": 2}
    done = scale(service, 1, confirm=plan.confirm)
    assert done.leaving == plan.leaving
    states = [read_job(database, one) for one in ids]
    assert [(job.state.value, job.ending) for job in states] == [
        ("running", None),
        ("cancelled", "cancel"),
        ("deleting", None),
        ("creating", "cancel"),
        ("cancelled", "cancel"),
    ]
    row = row_of(database)
    assert (row.count, row.groups[0]["count"]) == (1, 1)
    assert scale(service, 1, confirm=plan.confirm).leaving == ()


def test_nothing_goes_without_its_confirmation(database, mixed):
    """Without the confirmation of the present list, or with another's, nothing goes."""
    service, ids = mixed
    with pytest.raises(InvalidRequest) as caught:
        scale(service, 2)
    (fault,) = caught.value.faults
    assert (fault.code, fault.field) == ("confirmation_needed", "confirm")
    assert "3 jobs would go" in fault.message
    with pytest.raises(ConfirmationRefused, match="3 jobs would go") as caught:
        scale(service, 2, confirm="0123456789abcdef")
    assert caught.value.code == "confirmation_outdated"
    assert all(read_job(database, one).ending is None for one in ids)
    assert row_of(database).count == 5


def test_an_old_confirmation(database, mixed):
    """What was confirmed for one list does not hold for another, as after a job of it has gone."""
    service, ids = mixed
    plan = scale(service, 2, dry_run=True)
    service.cancel("web", TENANT, actor=ACTOR, ids=(ids[4],))
    with pytest.raises(ConfirmationRefused, match="of another list"):
        scale(service, 2, confirm=plan.confirm)


def test_what_was_bought_since_the_dry_run_needs_another_look(database, mixed):
    """A job that was listed as cancelled, and owns an instance by now, does not go by that confirmation."""
    service, ids = mixed
    plan = scale(service, ids=(ids[4],), dry_run=True)
    set_job(database, ids[4], state="booting", linode_id=5)
    with pytest.raises(ConfirmationRefused):
        scale(service, ids=(ids[4],), confirm=plan.confirm)


def test_named_jobs_go(database, mixed):
    """Jobs that are named go, whatever they are; the size follows from them, or must agree with them."""
    service, ids = mixed
    with pytest.raises(InvalidRequest, match="there are 4 of 5"):
        scale(service, 2, ids=(ids[0],), dry_run=True)
    with pytest.raises(NotFound):
        scale(service, ids=("018f0000-0000-7000-8000-000000000000",), dry_run=True)
    done = confirmed(service, ids=(ids[0],))
    assert (done.was, done.to, [one.job_id for one in done.leaving]) == (5, 4, [ids[0]])
    assert read_job(database, ids[0]).state is State.DELETING
    assert scale(service, 4, ids=(ids[0],)).leaving == ()


@pytest.mark.parametrize(("to", "words"), [(0, "a fleet has one at least"), (None, "is missing")])
def test_sizes_that_are_none(database, mixed, to, words):
    """A fleet has one instance at least, and a size must be said."""
    with pytest.raises(InvalidRequest, match=words):
        scale(mixed[0], to)


def test_a_retry_that_waits_for_its_delete_is_void(database):
    """A job that would be created anew once its failed instance is gone goes with it."""
    service = make_service(database)
    send(service, {"count": 2})
    ids = ids_of(service)
    set_job(database, ids[1], state="failed", error_code="boot_timeout", linode_id=2)
    service.retry("web", TENANT, actor=ACTOR)
    confirmed(service, ids=(ids[1],))
    job = read_job(database, ids[1])
    assert (job.state, job.afterwards) == (State.DELETING, None)


def test_an_emptied_group_can_grow_again(database):
    """A group of which nothing is left keeps what its jobs are made from."""
    service = make_service(database)
    send(service, {"name": "a"}, {"name": "b"})
    confirmed(service, ids=(ids_of(service)[0],))
    assert [group["count"] for group in row_of(database).groups] == [0, 1]
    scale(service, 3, group="a")
    assert [group["count"] for group in row_of(database).groups] == [2, 1]


def test_another_tenants_fleet(database):
    """Another tenant's fleet is not found."""
    add_tenant(database, "other")
    service = make_service(database)
    service.submit(fleet_request(), tenant="other", actor=ACTOR)
    with pytest.raises(NotFound):
        scale(service, 5)


def test_thousands_are_added_and_go(database):
    """Thousands are added at once, and go in chunks."""
    service = make_service(database)
    send(service)
    assert len(scale(service, 1_501).labels) == 1_500
    assert confirmed(service, 1).to == 1
    assert service.fleet("web", TENANT).states == {"queued": 1, "cancelled": 1_500}
