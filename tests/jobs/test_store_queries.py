import json
from datetime import timedelta

import pytest
from sqlalchemy import update

from jobs import admission, chores, house, queries, transitions
from jobs.listing import JobFilter
from jobs.records import accounts, jobs
from jobs.remembered import Means
from jobs.service import NotFound
from jobs.states import State
from jobs.transitions import InstanceFacts
from tests.support.fleets import (
    ACCOUNT,
    ACTOR,
    PARTS,
    TENANT,
    add_fleet,
    add_job,
    add_tenant,
    admit_in,
    make_service,
    move_in,
    set_job,
    submit,
)

STRANGE = [
    "",
    "web\x00",
    "%",
    "019b76da-a800-7226-b63c-5ab791b7584a",
    "0" * 32,
    "x" * 5000,
    "'; DROP TABLE jobs",
    "é",
]


@pytest.fixture
def service(database):
    """A service over the database."""
    return make_service(database)


def names(views):
    """Return the names of fleets."""
    return [view.name for view in views]


def test_fleets_are_listed_newest_first_and_paged(database, clock, service):
    """Pages follow each other without gap or repetition, also while new fleets arrive."""
    for number in range(5):
        submit(database, name=f"f{number}")
        clock.advance(1)
    first = service.fleets(TENANT, limit=2)
    submit(database, name="new")
    second = service.fleets(TENANT, limit=2, after=first[-1].id)
    third = service.fleets(TENANT, limit=2, after=second[-1].id)
    assert names([*first, *second, *third]) == ["f4", "f3", "f2", "f1", "f0"]
    assert service.fleets(TENANT, after=third[-1].id) == []


def of(service, fleet, **where):
    """A filter for one fleet's jobs."""
    return JobFilter(fleet_id=service.fleet(fleet, TENANT).id, **where)


def test_a_fleet_is_found_by_id_or_newest_name(database, clock, service):
    """A name means the newest fleet of that name; an id means that fleet."""
    old = submit(database, name="web").fleet
    clock.advance(1)
    service.cancel("web", TENANT, actor=ACTOR)
    new = submit(database, {"count": 2}, name="web").fleet
    clock.advance(1)
    assert service.fleet("web", TENANT).id == new.id
    assert service.fleet(old.id, TENANT).states == {"cancelled": 1}
    assert service.fleet(old.id.upper(), TENANT).id == old.id


def test_states_are_counted_and_settled(database, service):
    """A fleet shows its states in the order of a job's life, says when nothing is at work, and when all run."""
    submit(database, {"count": 4})
    ids = [job.id for job in service.jobs(TENANT, fleet="web")]
    set_job(database, ids[0], state="running", linode_id=1)
    set_job(database, ids[1], state="failed", error_code="no_capacity")
    view = service.fleet("web", TENANT)
    assert list(view.states.items()) == [("queued", 2), ("running", 1), ("failed", 1)]
    assert (view.settled, view.all_running) == (False, False)
    for number, job_id in enumerate(ids[1:], start=2):
        set_job(database, job_id, state="running", linode_id=number)
    view = service.fleet("web", TENANT)
    assert (view.settled, view.all_running, view.states) == (True, True, {"running": 4})
    assert json.loads(json.dumps(view.to_json()))["states"] == {"running": 4}


def test_jobs_are_paged_by_position_or_age(database, clock, service):
    """A fleet's jobs come by position, a tenant's newest first; pages meet exactly, whatever moves meanwhile."""
    submit(database, {"count": 7}, name="a")
    clock.advance(1)
    submit(database, {"count": 3}, name="b")
    pages, last = [], None
    while page := service.jobs(TENANT, fleet="a", limit=3, after=last):
        pages.append([job.position for job in page])
        last = str(page[-1].position)
        with database.write() as tx:
            tx.execute(update(jobs).where(jobs.c.id == page[-1].id).values(priority=9))
    assert pages == [[1, 2, 3], [4, 5, 6], [7]]
    everything = service.jobs(TENANT, limit=100)
    assert [job.id for job in everything] == sorted((job.id for job in everything), reverse=True)
    first = service.jobs(TENANT, limit=4)
    rest = service.jobs(TENANT, limit=100, after=first[-1].id)
    assert [*first, *rest] == everything
    assert list(service.iter_jobs(TENANT)) == everything
    assert {job.fleet for job in everything} == {"a", "b"}


def test_jobs_by_state(database, service):
    """A state narrows a list, with and without a fleet."""
    submit(database, {"count": 3})
    job = service.jobs(TENANT)[0]
    set_job(database, job.id, state="running", linode_id=1)
    assert [found.id for found in service.jobs(TENANT, JobFilter(state=State.RUNNING))] == [job.id]
    assert len(service.jobs(TENANT, JobFilter(state=State.QUEUED), fleet="web")) == 2
    assert list(service.iter_jobs(TENANT, of(service, "web", state=State.DELETED))) == []


def test_a_long_list_is_read_in_chunks(database, service):
    """More jobs than one chunk holds come each once, in order."""
    submit(database, {"count": 2300})
    assert [job.position for job in service.iter_jobs(TENANT, of(service, "web"))] == list(range(1, 2301))


def test_tenants_do_not_see_each_other(database, service):
    """Fleets and jobs of another tenant are not found, listed, paged from or cancelled."""
    add_tenant(database, "other")
    theirs = submit(database, name="web", tenant="other").fleet
    job = service.jobs("other")[0]
    assert service.fleets(TENANT) == []
    assert service.jobs(TENANT) == []
    for call in (
        lambda: service.fleet(theirs.id, TENANT),
        lambda: service.fleet("web", TENANT),
        lambda: service.job(job.id, TENANT),
        lambda: service.fleets(TENANT, after=theirs.id),
        lambda: service.cancel(theirs.id, TENANT, actor=ACTOR),
    ):
        with pytest.raises(NotFound):
            call()


@pytest.mark.parametrize("ref", STRANGE, ids=range(len(STRANGE)))
def test_strange_references_are_not_found(database, service, ref):
    """Whatever somebody types as an id, a name or a page's end, it is simply not found."""
    submit(database)
    for call in (
        lambda: service.fleet(ref, TENANT),
        lambda: service.job(ref, TENANT),
        lambda: service.jobs(TENANT, fleet=ref),
        lambda: service.fleets(TENANT, after=ref),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_jobs_story(database, clock, service):
    """One job shows its row and its timeline, in order, ready for JSON."""
    move_in(database)
    submit(database, {"count": 1})
    clock.advance(1)
    with database.write() as tx:
        (job_id,) = admit_in(tx, actor="w1", most=1).granted
        job = transitions.load(tx, job_id)
    clock.advance(1)
    with database.write() as tx:
        job = transitions.sent(tx, job, actor="w1", lease=timedelta(seconds=60))
    clock.advance(1)
    with database.write() as tx:
        facts = InstanceFacts(77, "192.0.2.1", type="g6-nanode-1", region="us-east")
        job = transitions.owned(tx, job, facts, actor="w1", proof="our own 200")
    clock.advance(20)
    with database.write() as tx:
        transitions.seen_running(tx, [job], actor="w2")
    story = service.job(job.id.upper(), TENANT)
    assert [line.event for line in story.timeline] == [
        "validated",
        "admitted",
        "sent",
        "created",
        "seen_running",
    ]
    assert [line.at.second for line in story.timeline] == [0, 1, 2, 3, 23]
    shown = json.loads(json.dumps(story.to_json()))
    assert (shown["state"], shown["linode_id"], shown["error"]) == ("running", 77, None)
    assert shown["running_at"] == "2026-03-01T12:00:23.000Z"
    assert shown["hourly_usd"] == 0.0075
    assert shown["timeline"][3]["detail"] == {"linode_id": 77, "proof": "our own 200"}


def test_why_a_job_waits_or_ended(database, service):
    """An ended job shows its code and words; a queued one of a paused account shows the account's."""
    move_in(database)
    submit(database, {"count": 2})
    first, second = service.jobs(TENANT, fleet="web")
    set_job(database, first.id, state="failed", error_code="no_capacity", error_reason="sold out")
    with database.write() as tx:
        admission.pause(tx, ACCOUNT, code="unauthorized", reason="Invalid Token")
    first, second = service.jobs(TENANT, fleet="web")
    assert (first.error.code, first.error.reason, first.error.field) == ("no_capacity", "sold out", None)
    assert (second.error.code, second.error.reason) == ("unauthorized", "Invalid Token")
    with database.write() as tx:
        tx.execute(update(accounts).values(paused_at=None))
    assert service.job(second.id, TENANT).job.error is None


def test_what_ended_is_parked_no_longer(database, service):
    """A parked job is shown and alarmed as such until it is settled."""
    job = add_job(
        database, State.UNCERTAIN, last_unknown_at=None, error_code="outcome_unknown", ending="fail"
    )
    with database.write() as tx:
        job = transitions.parked(tx, job, actor=ACTOR)
    assert service.job(job.id, TENANT).job.parked
    assert [alarm.code for alarm in service.status().alarms] == ["parked"]
    with database.write() as tx:
        transitions.absent(tx, job, actor=ACTOR)
    assert not service.job(job.id, TENANT).job.parked
    assert service.status().alarms == ()


def test_the_status(database, clock, service):
    """The status shows catalog, windows, alarms, the last heartbeat and all states counted."""
    move_in(database)
    submit(database, {"count": 2})
    status = service.status()
    assert (status.catalog, status.states, status.alarms) == ("none", {"queued": 2}, ())
    assert [(window.route, window.allowed) for window in status.windows] == [(admission.CREATE, 20)]
    with database.write() as tx:
        name = f"catalogs:{ACCOUNT}"
        chores.ensure(tx, [name])
        claim = chores.claim(tx, name, owner="w", lease=timedelta(seconds=5))
        chores.finish(tx, claim, due_at=clock.at(5), error="down")
    assert service.catalog_state() == "failed"
    with database.write() as tx:
        house.store_catalogs(tx, ACCOUNT, PARTS)
        admission.pause(tx, ACCOUNT, code="unauthorized", reason="Invalid Token")
    assert service.catalog_state() == "fresh"
    clock.advance(15 * 60)
    with database.write() as tx:
        house.heartbeat(tx)
    status = service.status()
    assert status.catalog == "stale"
    assert [(alarm.code, alarm.since) for alarm in status.alarms] == [("unauthorized", clock.at(-15 * 60))]
    assert json.dumps(status.to_json())


def test_counting_that_takes_long_is_done_seldom(database, monkeypatch):
    """The states are counted for each status, unless that took long: then what was counted is shown for a moment."""
    monkeypatch.setattr("jobs.service._MANY", 1)
    now, later = [0.0], []

    def monotonic():
        now[0] += 0.1
        return now[0]

    service = make_service(database, means=Means(monotonic, later.append))
    fleet = add_fleet(database)
    found = []
    for position in range(1, 5):
        add_job(database, State.QUEUED, fleet_id=fleet, position=position)
        found.append(service.status().states["queued"])
        now[0] += 4
    assert found == [1, 1, 1, 4]
    assert len(later) == 1


def test_what_a_large_fleet_costs_is_summed_up_seldom(database, clock, monkeypatch):
    """Of a large fleet the cost is that of a moment ago where summing took long; of others it is that of now."""
    monkeypatch.setattr("jobs.service._LARGE", 2)
    now = iter(range(10))
    service = make_service(database, means=Means(lambda: next(now), lambda _: None))
    for number, (name, count) in enumerate((("large", 2), ("small", 1))):
        fleet = add_fleet(database, name=name, count=count)
        facts = {"linode_id": number + 1, "created_at": clock.at(0), "hourly_microusd": 1000}
        add_job(database, State.RUNNING, fleet_id=fleet, label=name, **facts)
    costs = []
    for _ in range(2):
        costs.append({fleet.name: fleet.spend.spent_microusd for fleet in service.fleets(TENANT)})
        clock.advance(3601)
    assert costs == [{"large": 1000, "small": 1000}, {"large": 1000, "small": 2000}]
    assert service.fleet("small", TENANT).spend.spent_microusd == 3000


@pytest.mark.parametrize("counted", [(2, 4), (2, 100), (100, 200)])
def test_large_fleets_are_counted_by_what_is_left(database, monkeypatch, counted):
    """Of a large fleet the state that most jobs are in is what is left of the others; the counts are exact."""
    monkeypatch.setattr(queries, "_MANY", 5)  # the real ones would need a hundred thousand rows
    monkeypatch.setattr(queries, "_COUNTED", counted)
    expected = {
        "even": {"queued": 6, "running": 5, "cancelled": 5},
        "most": {"queued": 1, "running": 9, "failed": 2},
        "one": {"cancelled": 7},
        "small": {"queued": 2, "running": 2},
    }
    number = 0
    for name, states in expected.items():
        fleet = add_fleet(database, name=name, count=sum(states.values()))
        for position, state in enumerate(
            (state for state, count in states.items() for _ in range(count)), start=1
        ):
            number += 1
            owner = {"linode_id": number} if state == "running" else {}
            add_job(
                database, State(state), fleet_id=fleet, position=position, label=f"{name}-{position}", **owner
            )
    found = {fleet.name: fleet.states for fleet in make_service(database).fleets(TENANT)}
    assert found == expected
    assert list(found["most"]) == ["queued", "running", "failed"]
