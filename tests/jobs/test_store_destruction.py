from datetime import timedelta

import pytest
from sqlalchemy import select

from jobs import destruction, transitions
from jobs.destruction import GOOD_FOR, ConfirmationRefused
from jobs.listing import JobFilter
from jobs.picks import Pick
from jobs.records import jobs
from jobs.service import NotFound
from jobs.states import State
from jobs.transitions import Reason
from tests.support.fleets import (
    ACTOR,
    TENANT,
    add_fleet,
    add_job,
    job_columns,
    make_service,
    read_job,
    set_job,
    timeline,
)

ANY = JobFilter()
GROUPS = [{"type": "g6-nanode-1", "region": "us-east", "count": 1, "tags": ["blue"]}]


@pytest.fixture
def fleet(database):
    """A fleet without jobs."""
    return add_fleet(database, name="web", groups=GROUPS)


@pytest.fixture
def add(database, fleet):
    """Adds a job in a state to the fleet."""
    made = []

    def one(state, **columns):
        made.append(state)
        number = len(made)
        owns = {"linode_id": 100 + number} if state in {State.BOOTING, State.RUNNING, State.DELETING} else {}
        return add_job(database, state, fleet_id=fleet, position=number, **{**owns, **columns}).id

    return one


@pytest.fixture
def service(database, clock):
    """A service whose waiting moves the test's clock."""
    return make_service(database, wait=clock.advance)


@pytest.fixture
def destroy(service, fleet):
    """Destroys what a dry run shows now."""

    def act(where=ANY, ids=None):
        made = service.plan_destroy("web", TENANT, where, ids)
        return service.destroy("web", TENANT, where, ids, confirm=made.confirm, actor="key 1")

    return act


def test_each_state_goes_its_way(database, add, destroy):
    """What has an instance is deleted, what waits is cancelled, what is under way ends as soon as it is known."""
    made = {state: add(state) for state in State if state is not State.FAILED}
    made["owning"] = add(State.FAILED, linode_id=1)
    made["empty"] = add(State.FAILED)
    made["unsure"] = add(State.QUEUED, last_unknown_at=read_job(database, made[State.QUEUED]).submitted_at)
    done = destroy()
    assert (done.deleting, done.cancelled, done.noted, done.refused) == (4, 3, 3, [])
    for one in (State.BOOTING, State.RUNNING, "owning"):
        job = read_job(database, made[one])
        assert (job.state, job.run_after is not None) == (State.DELETING, True)
        assert timeline(database, job.id)[-1]["event"] == "destroyed"
        assert timeline(database, job.id)[-1]["actor"] == "key 1"
    for one in (State.SUBMITTED, State.QUEUED, State.DISPATCHED):
        assert read_job(database, made[one]).state is State.CANCELLED
    for one in (State.CREATING, State.UNCERTAIN, "unsure"):
        assert read_job(database, made[one]).ending == "cancel"
    assert read_job(database, made["unsure"]).state is State.UNCERTAIN
    for one in (State.REJECTED, State.CANCELLED, State.DELETED):
        assert read_job(database, made[one]).state is one


def test_a_dry_run_changes_nothing(database, add, service):
    """A dry run lists what would go, counts it and says what an hour of it costs; no row is touched."""
    ids = [add(State.RUNNING), add(State.QUEUED), add(State.DELETED)]
    before = [job_columns(database, one) for one in ids]
    made = service.plan_destroy("web", TENANT, ANY, None)
    assert [one.id for one in made.targets] == ids[:2]
    assert (made.count(owns=True), made.count(owns=False), made.hourly_microusd) == (1, 1, 7_500)
    assert [job_columns(database, one) for one in ids] == before


def test_only_what_was_shown_goes(database, add, service):
    """A confirmation holds for those very jobs and instances, the same filters and the same tenant."""
    add(State.RUNNING)
    boots = add(State.BOOTING)
    made = service.plan_destroy("web", TENANT, ANY, None)
    refusals = []

    def refused(where=ANY, ids=None, confirm=made.confirm):
        with pytest.raises(ConfirmationRefused) as caught:
            service.destroy("web", TENANT, where, ids, confirm=confirm, actor=ACTOR)
        refusals.append(caught.value.code)

    refused(where=JobFilter(region="us-east"))
    refused(ids=[boots])
    set_job(database, boots, linode_id=999)
    refused()
    set_job(database, boots, linode_id=102)
    late = add(State.RUNNING)
    refused()
    set_job(database, late, state="deleted")
    assert refusals == ["confirmation_outdated"] * 4
    assert service.destroy("web", TENANT, ANY, None, confirm=made.confirm, actor=ACTOR).deleting == 2


def test_a_confirmation_of_another_tenant(add, service):
    """What one tenant confirmed is no confirmation for another."""
    add(State.RUNNING)
    made = service.plan_destroy("web", TENANT, ANY, None)
    where = JobFilter(fleet_id=made.targets[0].id)
    mine, others = (
        destruction.confirmation(Pick(tenant, where), made.targets, made.expires_at)
        for tenant in (TENANT, "other")
    )
    assert mine != others
    with pytest.raises(NotFound):
        service.destroy("web", "other", ANY, None, confirm=made.confirm, actor=ACTOR)


def test_a_confirmation_ages(add, service, clock):
    """A confirmation is good for 15 minutes and no longer."""
    add(State.RUNNING)
    made = service.plan_destroy("web", TENANT, ANY, None)
    clock.advance(GOOD_FOR.total_seconds() + 1)
    with pytest.raises(ConfirmationRefused, match="too old") as caught:
        service.destroy("web", TENANT, ANY, None, confirm=made.confirm, actor=ACTOR)
    assert caught.value.code == "confirmation_expired"
    again = service.plan_destroy("web", TENANT, ANY, None)
    clock.advance(GOOD_FOR.total_seconds() - 1)
    assert service.destroy("web", TENANT, ANY, None, confirm=again.confirm, actor=ACTOR).deleting == 1


@pytest.mark.parametrize(
    "token", ["", "yes", "-", "zz-1", "ffffffffffffffff-1", "7fffffff-00", "\ud800", "1" * 9000]
)
def test_what_is_no_confirmation(add, service, token):
    """Anything that no dry run printed confirms nothing."""
    add(State.RUNNING)
    with pytest.raises(ConfirmationRefused) as caught:
        service.destroy("web", TENANT, ANY, None, confirm=token, actor=ACTOR)
    assert caught.value.code == "confirmation_invalid"


@pytest.mark.parametrize(
    "where",
    [
        JobFilter(state=State.RUNNING),
        JobFilter(label="chosen"),
        JobFilter(region="eu-west"),
        JobFilter(type="g6-standard-2"),
        JobFilter(error_code="vanished"),
    ],
    ids=str,
)
def test_filters(database, add, destroy, where):
    """Only jobs that fit every filter go."""
    mine = add(
        State.RUNNING, label="chosen", got_region="eu-west", type="g6-standard-2", error_code="vanished"
    )
    other = add(State.BOOTING)
    assert destroy(where).deleting == 1
    assert [read_job(database, one).state for one in (mine, other)] == [State.DELETING, State.BOOTING]


def test_a_filter_by_tag(add, destroy):
    """A tag of the fleet's document is a filter too."""
    add(State.RUNNING)
    assert destroy(JobFilter(tag="red")).deleting == 0
    assert destroy(JobFilter(tag="blue")).deleting == 1


def test_jobs_by_their_ids(database, add, destroy):
    """Named jobs go, in whatever spelling; those that have nothing to delete are refused with the reason."""
    mine, other, gone = add(State.RUNNING), add(State.RUNNING), add(State.DELETED)
    done = destroy(ids=[mine.upper(), gone])
    assert (done.deleting, [(one.job_id, one.code) for one in done.refused]) == (
        1,
        [(gone, "nothing_to_destroy")],
    )
    assert read_job(database, other).state is State.RUNNING


@pytest.mark.parametrize("stranger", ["0193cbc0-0000-7000-8000-000000000000", "x", "\x00", ""])
def test_unknown_jobs(database, add, destroy, stranger):
    """One job that is not the fleet's refuses the whole, and nothing is done."""
    mine = add(State.RUNNING)
    with pytest.raises(NotFound, match="there is no job"):
        destroy(ids=[mine, stranger])
    assert read_job(database, mine).state is State.RUNNING


def test_another_fleets_job(database, add, destroy):
    """A job of another fleet of the same tenant is not this fleet's."""
    add(State.RUNNING)
    other = add_job(
        database, State.RUNNING, fleet_id=add_fleet(database, name="db"), linode_id=1, label="db-1"
    ).id
    with pytest.raises(NotFound):
        destroy(ids=[other])
    assert destroy().deleting == 1
    assert read_job(database, other).state is State.RUNNING


def test_a_retry_that_was_noted_is_void(database, add, destroy):
    """A failed instance that was to be replaced is deleted, and nothing follows."""
    job_id = add(State.DELETING, afterwards="retry", error_code="boot_timeout")
    assert destroy().deleting == 1
    with database.write() as tx:
        transitions.gone(tx, read_job(database, job_id), actor=ACTOR)
    assert read_job(database, job_id).state is State.DELETED


def test_many_in_chunks(database, add, destroy):
    """More than one transaction's worth goes all the same; said again it is found to go already."""
    for _ in range(450):
        add(State.RUNNING)
    assert destroy().deleting == 450
    with database.read() as tx:
        assert set(tx.execute(select(jobs.c.state)).scalars()) == {"deleting"}
    assert destroy().deleting == 450


def test_what_changed_since_is_left(database, add, service):
    """A job that has another instance by the time of its turn is left alone, and that is said."""
    job_id = add(State.RUNNING)
    made = service.plan_destroy("web", TENANT, ANY, None)
    set_job(database, job_id, linode_id=555)
    done = destruction.destroy(database, made.targets, actor=ACTOR, wait=lambda _: None)
    assert (done.deleting, [one.code for one in done.refused]) == (0, ["job_changed"])
    assert read_job(database, job_id).state is State.RUNNING


def test_nobody_is_waited_for_with_locks(postgres_database, clock):
    """A job that somebody else holds is left until it is free; the others go at once."""
    database = postgres_database
    fleet = add_fleet(database, name="web", groups=GROUPS)
    busy, free = (
        add_job(database, State.RUNNING, fleet_id=fleet, position=number, linode_id=number).id
        for number in (1, 2)
    )
    holding = database.write()
    tx = holding.__enter__()
    transitions.lost(
        tx, transitions.load(tx, busy), transitions.Event.VANISHED, Reason("vanished", "gone"), actor=ACTOR
    )
    seen = []

    def wait(seconds):
        seen.append(read_job(database, free).state)
        clock.advance(seconds)
        if len(seen) == 2:
            holding.__exit__(None, None, None)

    service = make_service(database, wait=wait)
    made = service.plan_destroy("web", TENANT, ANY, None)
    done = service.destroy("web", TENANT, ANY, None, confirm=made.confirm, actor=ACTOR)
    assert seen == [State.DELETING] * 2
    assert (done.deleting, [one.code for one in done.refused]) == (1, ["job_changed"])


def test_a_job_that_is_held_for_long(postgres_database):
    """What somebody holds for ten seconds is left, and that is said."""
    database = postgres_database
    fleet = add_fleet(database, name="web", groups=GROUPS)
    job = add_job(database, State.RUNNING, fleet_id=fleet)
    with database.write() as tx:
        transitions.hold(tx, [job.id])
        waited = []
        service = make_service(database, wait=waited.append)
        made = service.plan_destroy("web", TENANT, ANY, None)
        done = service.destroy("web", TENANT, ANY, None, confirm=made.confirm, actor=ACTOR)
    assert [one.code for one in done.refused] == ["job_busy"]
    assert timedelta(seconds=9) < timedelta(seconds=sum(waited)) < timedelta(seconds=11)
