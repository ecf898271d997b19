from datetime import timedelta

import pytest

from jobs.listing import JobFilter, is_place, list_jobs, place_of
from jobs.states import State
from tests.support.fleets import TENANT, add_tenant, make_service, set_job, submit


@pytest.fixture
def service(database):
    """A service over the database."""
    return make_service(database)


def labels(service, tenant=TENANT, **where):
    """Return the labels that a filter finds."""
    return [job.label for job in service.jobs(tenant, JobFilter(**where))]


def test_each_filter_narrows_the_list(database, clock, service):
    """Every filter finds what it names, and nothing else; several hold together."""
    submit(
        database,
        {"count": 2, "tags": ["front"]},
        {"region": "eu-west", "tags": ["back"]},
        name="a",
        tags=["all"],
    )
    clock.advance(60)
    submit(database, {"type": "g6-standard-2"}, name="b")
    ids = {job.label: job.id for job in service.jobs(TENANT)}
    set_job(database, ids["a-0001"], state="failed", error_code="no_capacity")
    set_job(database, ids["a-0002"], state="running", linode_id=7, got_region="us-west")

    assert labels(service) == ["b-0001", "a-0003", "a-0002", "a-0001"]
    assert labels(service, label="a-0002") == ["a-0002"]
    assert labels(service, state=State.QUEUED) == ["b-0001", "a-0003"]
    assert labels(service, region="eu-west") == ["a-0003"]
    assert labels(service, region="us-west") == ["a-0002"], "where the instance says that it is"
    assert labels(service, type="g6-standard-2") == ["b-0001"]
    assert labels(service, tag="front") == ["a-0002", "a-0001"]
    assert labels(service, tag="back") == ["a-0003"]
    assert labels(service, tag="all") == ["a-0003", "a-0002", "a-0001"]
    assert labels(service, tag="al") == []
    assert labels(service, error_code="no_capacity") == ["a-0001"]
    assert labels(service, since=clock.now) == ["b-0001"]
    assert labels(service, since=clock.now + timedelta(milliseconds=1)) == []
    assert labels(service, tag="all", state=State.RUNNING) == ["a-0002"]


def test_filters_never_leave_the_tenant(database, service):
    """Whatever is asked for, another tenant's jobs are not among it."""
    add_tenant(database, "other")
    theirs = submit(database, {"tags": ["front"]}, name="theirs", tenant="other").fleet
    found = service.jobs("other")[0]

    for where in ({}, {"tag": "front"}, {"label": found.label}, {"fleet_id": theirs.id}):
        assert labels(service, **where) == []
        assert labels(service, "other", **where) == [found.label]


def test_pages_are_stable_under_inserts(database, clock, service):
    """Jobs that are submitted between two pages neither repeat nor hide others, with and without a fleet."""
    submit(database, {"count": 6}, name="a")
    for where in (JobFilter(), JobFilter(fleet_id=service.fleet("a", TENANT).id)):
        seen, after = [], None
        while page := service.jobs(TENANT, where, limit=2, after=after):
            seen += [job.position for job in page if job.fleet == "a"]
            after = place_of(page[-1], where)
            clock.advance(1)
            submit(database, {"count": 2}, name=f"more{len(seen)}{where.fleet_id is None}")
        assert sorted(seen) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("text", ["", "-1", "x", "9" * 30, "²", "00000000-0000-0000-0000-00000000000g"])
def test_nonsense_is_no_place(text):
    """Only a position, or an id, is a place to go on from."""
    assert not is_place(text, JobFilter(fleet_id="f"))
    assert not is_place(text, JobFilter())


def test_a_place_far_out_is_an_empty_page(database):
    """Behind the last job there is nothing, and that is no fault."""
    submit(database)
    with database.read() as tx:
        first = "00000000-0000-0000-0000-000000000000"
        assert list_jobs(tx, tenant=TENANT, where=JobFilter(), limit=5, after=first) == []
