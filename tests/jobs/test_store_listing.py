from datetime import timedelta
from random import Random

import pytest

from jobs import listing
from jobs.listing import JobFilter, Sort, is_place, job_page, list_jobs, place_of
from jobs.states import State
from tests.support.fleets import (
    TENANT,
    add_fleet,
    add_job,
    add_tenant,
    make_service,
    move_in,
    set_job,
    submit,
)


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


# Search --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("web-0002", ["web-0002"]),
        ("web-00", ["web-0002", "web-0001"]),
        ("WEB", []),
        ("4711", ["web-0001"]),
        ("471", []),
        ("192.0.2.7", ["web-0001"]),
        ("192.0.2.70", []),
        ("2600:3C00::1", ["web-0002"]),
        ("2600:3c00::1/128", ["web-0002"]),
        ("%", []),
        ("9" * 40, []),
        ("192.0.2.7/99", []),
        ("\U0010ffff", []),
    ],
)
def test_a_search_finds_what_people_paste(database, service, q, found):
    """What a label begins with, an instance's id and its addresses find the job; nothing else does."""
    move_in(database)
    submit(database, {"count": 2})
    submit(database, name="other")
    ids = {job.label: job.id for job in service.jobs(TENANT)}
    set_job(database, ids["web-0001"], state="running", linode_id=4711, ipv4="192.0.2.7")
    set_job(database, ids["web-0002"], state="running", linode_id=47_110, ipv6="2600:3c00::1/128")
    assert labels(service, q=q) == found


def test_a_search_by_a_jobs_id(database, service):
    """A job's id finds it, in capitals too, among a tenant's own jobs only."""
    add_tenant(database, "other")
    submit(database, {"count": 2})
    job = service.jobs(TENANT)[0]
    assert labels(service, q=job.id.upper()) == [job.label]
    assert labels(service, "other", q=job.id) == []


# Orders, and pages that look at so many rows -------------------------------------------------------------------------


def _crowd(database, clock):
    """Add jobs of all kinds in random order of label; return the fleets' ids."""
    dice, fleets = Random(5), []
    states = [State.QUEUED, State.RUNNING, State.FAILED, State.CANCELLED]
    for name in ("a", "b", "c"):
        tags = [["blue"], []][name == "c"]
        group = {"type": "g6-nanode-1", "region": "us-east", "image": None, "count": 30, "tags": tags}
        fleets.append(add_fleet(database, name=name, groups=[group]))
        numbers = dice.sample(range(90), 30)
        for position, number in enumerate(numbers, start=1):
            state = dice.choices(states, (6, 6, 1, 3))[0]
            columns = {"region": dice.choice(["us-east", "us-east", "eu-west"])}
            if state is State.RUNNING:
                columns |= {
                    "linode_id": len(fleets) * 100 + position,
                    "ipv4": f"192.0.{len(fleets)}.{position}",
                }
            if state is State.FAILED:
                columns |= {"error_code": dice.choice(["no_capacity", "vanished"])}
            label = f"{name}-{number:04d}"
            add_job(database, state, fleet_id=fleets[-1], position=position, label=label, **columns)
            clock.advance(1)
    return fleets


def _questions(fleets, clock):
    yield from ({"state": state} for state in (State.RUNNING, State.FAILED, State.DELETED))
    yield from ({"error_code": "vanished", "state": state} for state in (None, State.FAILED, State.QUEUED))
    yield from ({"q": q, "region": region} for q in ("a", "b-00", "x", "101") for region in (None, "eu-west"))
    yield from ({"tag": "blue", "state": state} for state in (None, State.FAILED))
    yield from ({"since": clock.at(-40), "region": region} for region in (None, "eu-west"))
    yield from (
        {"fleet_id": fleets[1], "state": state, "q": q}
        for state in (None, State.QUEUED)
        for q in (None, "b-00")
    )
    yield {}
    yield {"type": "g6-standard-2"}


def _wanted(everything, where):
    """Return the jobs that fit, by the plainest means."""
    fits = {
        "state": lambda job, value: job.state == value,
        "error_code": lambda job, value: job.error is not None and job.error.code == value,
        "q": lambda job, value: job.label.startswith(value) or str(job.linode_id) == value,
        "region": lambda job, value: job.region == value,
        "type": lambda job, value: job.type == value,
        "tag": lambda job, _: job.fleet != "c",
        "since": lambda job, value: job.submitted_at >= value,
        "fleet_id": lambda job, value: job.fleet_id == value,
    }
    return [
        job
        for job in everything
        if all(fits[key](job, value) for key, value in where.items() if value is not None)
    ]


@pytest.mark.parametrize(("looked_at", "gathered"), [(7, 0), (7, 12), (25_000, 10_000)])
def test_pages_hold_exactly_what_was_asked_for(database, clock, monkeypatch, looked_at, gathered):
    """However a list is found, its pages together are all jobs that fit, each once, in the order asked for."""
    monkeypatch.setattr(listing, "LOOKED_AT", looked_at)  # the real ones would need a hundred thousand rows
    monkeypatch.setattr(listing, "GATHERED", gathered)
    fleets = _crowd(database, clock)
    orders = {
        None: lambda job: job.id,
        Sort.NEWEST: lambda job: job.id,
        Sort.OLDEST: lambda job: job.id,
        Sort.LABEL: lambda job: job.label,
    }
    with database.read() as tx:
        everything = list_jobs(tx, tenant=TENANT, where=JobFilter(), limit=100)
        assert len(everything) == 90
        for question in _questions(fleets, clock):
            where = JobFilter(**question)
            for sort, key in orders.items():
                reverse = sort is Sort.NEWEST or (sort is None and where.fleet_id is None)
                wanted = sorted(_wanted(everything, question), key=key, reverse=reverse)
                found, after, pages = [], None, 0
                while pages == 0 or after is not None:
                    page = job_page(tx, tenant=TENANT, where=where, limit=4, after=after, sort=sort)
                    found, after, pages = [*found, *page.jobs], page.next, pages + 1
                    assert after is None or is_place(after, where, sort)
                assert [job.label for job in found] == [job.label for job in wanted], (question, sort)
                assert pages <= 2 + len(wanted) // 4 + 90 // looked_at


def test_a_page_says_where_to_go_on(database, clock, monkeypatch):
    """A page that has looked at so many rows and found nothing is empty, and has a next one."""
    monkeypatch.setattr(listing, "LOOKED_AT", 7)
    _crowd(database, clock)
    with database.read() as tx:
        page = job_page(tx, tenant=TENANT, where=JobFilter(type="g6-standard-2"), limit=4)
        assert (page.jobs, page.next is not None) == ((), True)


@pytest.mark.parametrize("sort", [Sort.NEWEST, Sort.OLDEST])
def test_a_state_that_jobs_stay_in_is_found_at_once(database, clock, monkeypatch, sort):
    """However many jobs of other states stand in between, a page of such a state is full."""
    monkeypatch.setattr(listing, "LOOKED_AT", 3)
    monkeypatch.setattr(listing, "GATHERED", 0)
    fleet = add_fleet(database, count=40)
    for position in range(1, 41):
        state = State.CANCELLED if position in {5, 25, 35} else State.QUEUED
        add_job(database, state, fleet_id=fleet, position=position, label=f"job-{position}")
        clock.advance(1)
    with database.read() as tx:
        page = job_page(tx, tenant=TENANT, where=JobFilter(state=State.CANCELLED), limit=2, sort=sort)
    found = [job.label for job in page.jobs]
    assert found == (["job-35", "job-25"] if sort is Sort.NEWEST else ["job-5", "job-25"])
    assert page.next is not None


def test_a_retired_fleets_jobs_are_listed_nowhere(database, clock, service):
    """What is being pruned is shown to nobody."""
    fleet = add_fleet(database, retired_at=clock.now)
    job = add_job(database, State.CANCELLED, fleet_id=fleet)
    assert labels(service) == []
    assert labels(service, q=job.id) == []
    assert service.fleets(TENANT) == []
