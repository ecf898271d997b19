import pytest

from jobs import transitions
from jobs.listing import JobFilter
from jobs.service import NotFound
from jobs.states import State
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
    timeline,
)


@pytest.fixture
def web(database):
    """A fleet of five that waits, and its service."""
    service = make_service(database)
    service.submit(fleet_request({"count": 3}, {"count": 2, "region": "eu-west"}), tenant=TENANT, actor=ACTOR)
    return service, [job.id for job in service.jobs(TENANT, fleet="web")]


def cancel(service, ref="web", **options):
    """Cancel as the default tenant."""
    return service.cancel(ref, TENANT, actor="person", **options)


def test_a_part_of_a_fleet_is_cancelled(database, web):
    """Filters and ids narrow a cancel; the rest goes on."""
    service, ids = web
    assert cancel(service, where=JobFilter(region="eu-west")).cancelled == 2
    assert cancel(service, ids=(ids[0],)).cancelled == 1
    assert cancel(service, ids=(ids[1],), where=JobFilter(label="web-0003")).cancelled == 0
    assert service.fleet("web", TENANT).states == {"queued": 2, "cancelled": 3}
    assert timeline(database, ids[0])[-1]["actor"] == "person"


def test_a_state_narrows_a_cancel(database, web, clock):
    """A filter by state leaves those in other states alone, also those that could be cancelled."""
    service, ids = web
    set_job(database, ids[0], state="creating", lease_until=clock.now)
    done = cancel(service, where=JobFilter(state=State.QUEUED))
    assert (done.cancelled, done.noted) == (4, 0)
    assert read_job(database, ids[0]).ending is None


def test_what_is_under_way_is_noted(database, web, clock):
    """A job that is being created is finished and then deleted: its cancel is noted, and told."""
    service, ids = web
    set_job(database, ids[0], state="creating", lease_until=clock.now)
    done = cancel(service, ids=(ids[0], ids[1]))
    assert (done.cancelled, done.noted, done.refused) == (1, 1, ())
    assert cancel(service, ids=(ids[0], ids[1])).refused == ()


def test_a_cancel_voids_a_retry(database):
    """A job whose failed instance is deleted for a new attempt gets none after a cancel."""
    fleet = add_fleet(database, name="web")
    job = add_job(database, State.DELETING, fleet_id=fleet, afterwards="retry")
    done = cancel(make_service(database))
    assert (done.cancelled, done.noted) == (0, 1)
    job = read_job(database, job.id)
    assert (job.state, job.afterwards) == (State.DELETING, None)
    with database.write() as tx:
        transitions.gone(tx, job, actor=ACTOR)
    assert read_job(database, job.id).state is State.DELETED


@pytest.mark.parametrize(
    ("state", "columns", "words"),
    [
        (State.RUNNING, {"linode_id": 7}, "it is running and owns instance 7"),
        (State.FAILED, {"error_code": "no_capacity"}, "it is failed already"),
        (State.REJECTED, {"error_code": "unknown_type"}, "it is rejected already"),
    ],
)
def test_what_cannot_be_cancelled_is_refused_by_name(database, web, state, columns, words):
    """A job that is named and owns an instance, or ended otherwise, is refused, by name; the others are cancelled."""
    service, ids = web
    set_job(database, ids[0], state=state.value, **columns)
    done = cancel(service, ids=(ids[0], ids[1]))
    (refused,) = done.refused
    assert (done.cancelled, refused.job_id, refused.code) == (1, ids[0], "not_cancellable")
    assert words in refused.message
    assert read_job(database, ids[0]).state is state
    assert cancel(service).refused == ()


def test_unknown_jobs_refuse_the_whole_cancel(database, web):
    """An id that is none of the fleet's is not found, and nothing is cancelled."""
    service, ids = web
    add_tenant(database, "other")
    theirs = add_job(database, State.QUEUED, tenant_id="other", label="x", position=9)
    for unknown in (theirs.id, "nonsense"):
        with pytest.raises(NotFound):
            cancel(service, ids=(ids[0], unknown))
    assert service.fleet("web", TENANT).states == {"queued": 5}
