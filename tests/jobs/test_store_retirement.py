import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, text, update

from jobs import retirement
from jobs.database import Database
from jobs.records import fleets, job_events, jobs, tenants
from jobs.service import NotFound
from jobs.states import State
from tests.support.fleets import ACTOR, TENANT, add_fleet, add_job, make_service, read_job, set_job, submit

KEEP = timedelta(days=30)
ENDED = (State.REJECTED, State.CANCELLED, State.DELETED, State.FAILED)


@pytest.fixture
def newest(database, clock):
    """A fleet to which something has just happened, so that none of the others is the newest."""

    def happen():
        job = add_job(database, State.CANCELLED, fleet_id=add_fleet(database, name=f"new {clock.now}"))
        _tell(database, job.id)

    return happen


def _tell(database, job_id, count=1):
    with database.write() as tx:
        line = {"job_id": job_id, "at": tx.now, "event": "cancelled", "state": "cancelled", "actor": "t"}
        tx.execute(insert(job_events), [line] * count)


def _candidates(database, keep=KEEP):
    with database.read() as tx:
        return retirement.candidates(tx, keep, limit=10)


def _retire(database, fleet):
    with database.write() as tx:
        return retirement.retire(tx, fleet, KEEP)


def _left(database, table):
    with database.read() as tx:
        return tx.execute(select(func.count()).select_from(table)).scalar_one()


def _ended_fleet(database, count=3, **fleet):
    made = add_fleet(database, **fleet)
    for position in range(1, count + 1):
        job = add_job(database, State.CANCELLED, fleet_id=made, position=position, counted=False)
        _tell(database, job.id, 2)
    return made


def test_only_what_ended_long_ago_is_forgotten(database, clock, newest):
    """A fleet of which any job may own an instance, is at work, or changed lately stays, however old it is."""
    over = [add_fleet(database, name=f"over {state}") for state in ENDED]
    for fleet, state in zip(over, ENDED, strict=True):
        add_job(database, state, fleet_id=fleet, counted=False)
    for number, state in enumerate(set(State) - set(ENDED)):
        fleet = add_fleet(database, name=f"open {state}")
        add_job(database, State.CANCELLED, fleet_id=fleet, position=1)
        owner = {"linode_id": number + 1} if state in {State.BOOTING, State.RUNNING, State.DELETING} else {}
        add_job(database, state, fleet_id=fleet, position=2, label=f"open-{number}", **owner)
    add_job(database, State.FAILED, fleet_id=add_fleet(database, name="owns"), linode_id=99)
    clock.advance(KEEP.total_seconds() + 1)
    late = add_fleet(database, name="late", created_at=clock.at(-2 * KEEP.total_seconds()))
    add_job(database, State.CANCELLED, fleet_id=late)
    newest()

    assert sorted(_candidates(database)) == sorted(over)


def test_the_newest_event_stays(database, clock):
    """The fleet that the newest event tells of is kept, so that no number of an event is given twice."""
    _ended_fleet(database, name="a")
    last = _ended_fleet(database, name="b")
    clock.advance(KEEP.total_seconds() + 1)
    assert last not in _candidates(database)
    assert len(_candidates(database)) == 1


def test_a_retired_fleet_is_shown_nowhere(database, clock, newest):
    """From the moment that a fleet is retired it is not found, listed, searched, summed up or in the results."""
    service = make_service(database)
    request = {"idempotency_key": "k"}
    fleet = submit(database, {"count": 2}).fleet
    with database.write() as tx:
        tx.execute(update(fleets).where(fleets.c.id == fleet.id).values(**request))
    service.cancel("web", TENANT, actor=ACTOR)
    job = service.jobs(TENANT)[0]
    clock.advance(KEEP.total_seconds() + 1)
    newest()

    assert _retire(database, fleet.id)

    for look in (lambda: service.fleet(fleet.id, TENANT), lambda: service.job(job.id, TENANT)):
        with pytest.raises(NotFound):
            look()
    assert [one.fleet_id for one in service.jobs(TENANT) if one.fleet_id == fleet.id] == []
    assert fleet.id not in [one.id for one in service.fleets(TENANT)]
    assert fleet.id not in [one.id for one in service.spend(TENANT)[1]]
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM job_results WHERE fleet = 'web'")).scalar_one() == 0
    again = submit(database, {"count": 1}, name="web").fleet
    assert service.fleet("web", TENANT).id == again.id


def test_what_the_guards_count_is_released_first(database, clock, newest):
    """Jobs that the tenant's guard still counts are counted no more before their rows go."""
    fleet = submit(database, {"count": 3}).fleet
    make_service(database).cancel("web", TENANT, actor=ACTOR)
    clock.advance(KEEP.total_seconds() + 1)
    newest()
    assert _retire(database, fleet.id)
    with database.read() as tx:
        assert tx.execute(select(tenants.c.alive, tenants.c.hourly_microusd)).one() == (0, 0)


def test_it_is_forgotten_step_by_step(database, clock, newest, monkeypatch):
    """Events go first, then jobs, then the fleet, so many rows at a time; others' rows stay."""
    monkeypatch.setattr(retirement, "BATCH", 4)
    monkeypatch.setattr(retirement, "_JOBS_AT_ONCE", 2)
    fleet = _ended_fleet(database, count=5)
    clock.advance(KEEP.total_seconds() + 1)
    newest()
    assert _retire(database, fleet)
    steps = []
    while True:
        with database.write() as tx:
            count = retirement.forget_some(tx)
        if not count:
            break
        steps.append((count, _left(database, job_events), _left(database, jobs), _left(database, fleets)))
    assert max(count for count, *_ in steps) <= 4
    assert steps[0] == (4, 7, 6, 2)
    assert steps[-1] == (1, 1, 1, 1)


def test_what_changed_meanwhile_is_kept(database, clock, newest):
    """A retry between the look and the retirement wins: the fleet stays, and so does its idempotency key."""
    fleet = _ended_fleet(database, idempotency_key="k")
    clock.advance(KEEP.total_seconds() + 1)
    newest()
    assert _candidates(database) == [fleet]
    with database.write() as tx:
        tx.execute(update(jobs).where(jobs.c.fleet_id == fleet).values(changed_at=tx.now))
    assert not _retire(database, fleet)
    with database.read() as tx:
        row = tx.execute(select(fleets).where(fleets.c.id == fleet)).one()
    assert (row.retired_at, row.idempotency_key) == (None, "k")


def test_a_retry_that_comes_too_late_finds_nothing(database, clock, newest):
    """Who retries a fleet while it is being retired is told that there is none; nothing is bought."""
    fleet = submit(database, {"count": 1}).fleet
    job = make_service(database).jobs(TENANT)[0]
    set_job(database, job.id, state="failed", error_code="no_capacity")
    clock.advance(KEEP.total_seconds() + 1)
    newest()
    service = make_service(database)
    assert _retire(database, fleet.id)
    with pytest.raises(NotFound):
        service.retry(fleet.id, TENANT, actor=ACTOR)
    assert read_job(database, job.id).state is State.FAILED


@pytest.mark.postgres
def test_a_retry_and_a_retirement_take_turns(postgres_url, clock):
    """A retirement that meets a retry under way waits for it, and leaves the fleet alone."""
    database = Database(postgres_url, clock=clock)
    other = Database(postgres_url, clock=clock)
    fleet = _ended_fleet(database)
    clock.advance(KEEP.total_seconds() + 1)
    _tell(database, add_job(database, State.CANCELLED, fleet_id=add_fleet(database, name="new")).id)
    found = []
    with database.write() as tx:
        tx.execute(select(fleets).where(fleets.c.id == fleet).with_for_update(key_share=True)).one()
        thread = threading.Thread(target=lambda: found.append(_retire(other, fleet)))
        thread.start()
        tx.execute(update(jobs).where(jobs.c.fleet_id == fleet).values(changed_at=tx.now))
    thread.join(30)
    assert found == [False]
    database.close()
    other.close()


def test_a_row_that_may_own_an_instance_is_never_deleted(database, clock, newest):
    """Should a job of a retired fleet be moved after all, its row stays and the fleet is shown again."""
    fleet = _ended_fleet(database, count=1)
    clock.advance(KEEP.total_seconds() + 1)
    newest()
    assert _retire(database, fleet)
    with database.write() as tx:
        moved = update(jobs).where(jobs.c.fleet_id == fleet)
        job = tx.execute(moved.values(state="running", linode_id=7).returning(jobs.c.id)).scalar_one()
    for _ in range(3):
        with database.write() as tx:
            retirement.forget_some(tx)
    assert read_job(database, job).state is State.RUNNING
    assert fleet in [one.id for one in make_service(database).fleets(TENANT)]
