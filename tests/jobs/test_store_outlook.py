import pytest
from sqlalchemy import select, update

from jobs import transitions
from jobs.outlook import rate_of
from jobs.records import accounts, fleets, jobs
from jobs.service import NotFound
from jobs.states import State
from jobs.transitions import InstanceFacts
from jobs.windows import Window
from tests.support.clock import START
from tests.support.fleets import (
    ACCOUNT,
    TENANT,
    add_fleet,
    add_job,
    admit,
    make_service,
    move_in,
    read_job,
    submit,
)


def outlook(database, ref="web"):
    """Return what is to come of a fleet."""
    return make_service(database).outlook(ref, TENANT)


def boots_take(database, seconds):
    """Let instances of the account boot for so long."""
    with database.write() as tx:
        tx.execute(update(accounts).where(accounts.c.id == ACCOUNT).values(boot_seconds=seconds))


def create(database, clock, grants):
    """Send the creates of some grants, which are answered at once."""
    with database.write() as tx:
        sent = [transitions.sent(tx, job, actor="t", lease=clock.at(60) - clock.now) for job in grants]
        for number, job in enumerate(sent, 1):
            transitions.owned(tx, job, InstanceFacts(number), actor="t", proof="our own 200")


def test_the_limit_binds_the_estimate(database, clock):
    """40 jobs at 20 in 15 s: the first window is spent, so the last 20 go in the next, and then they boot."""
    move_in(database)
    boots_take(database, 30.0)
    submit(database, {"count": 40})
    admit(database)
    found = outlook(database)
    assert (found.rate.spent, found.rate.allowed) == (20, 20)
    assert 15 <= found.estimate.last_create_seconds <= 21
    assert found.estimate.all_running_seconds == found.estimate.last_create_seconds + 30.0


def test_only_what_was_submitted_before_is_ahead(database, clock):
    """The jobs of an earlier fleet go first; those of a later one do not count."""
    move_in(database)
    for name, count in (("early", 20), ("web", 20), ("late", 60)):
        submit(database, {"count": count}, name=name)
        clock.advance(1)
    assert [outlook(database, name).estimate.jobs_ahead for name in ("early", "web", "late")] == [0, 20, 40]


def test_whatever_waits_of_others_is_ahead(database, clock):
    """Those of another priority count, those that wait for a moment of their own, and those yet to be judged."""
    move_in(database)
    submit(database, {"count": 3}, name="urgent", priority=5)
    submit(database, {"count": 4}, name="snoozed")
    fleet = add_fleet(database, name="unjudged", count=2)
    for position in (1, 2):
        add_job(database, State.SUBMITTED, fleet_id=fleet, position=position, label=f"unjudged-{position}")
    with database.write() as tx:
        mine = select(fleets.c.id).where(fleets.c.name == "snoozed").scalar_subquery()
        tx.execute(update(jobs).where(jobs.c.fleet_id == mine).values(run_after=clock.at(60)))
    clock.advance(1)
    submit(database, {"count": 2})
    assert outlook(database).estimate.jobs_ahead == 9


def test_before_a_large_fleet_is_what_was_there_before_its_first(database, clock, monkeypatch):
    """Its own jobs are not passed over one by one to find others among them."""
    monkeypatch.setattr("jobs.outlook._WALKED", 3)
    move_in(database)
    submit(database, {"count": 5}, name="early")
    clock.advance(1)
    submit(database, {"count": 4})
    clock.advance(1)
    submit(database, {"count": 5}, name="late")
    assert outlook(database).estimate.jobs_ahead == 5
    service = make_service(database)
    service.cancel("early", TENANT, actor="t")
    assert outlook(database).estimate.jobs_ahead == 0


def test_what_boots_is_waited_for(database, clock):
    """With nothing left to send, what is left is the rest of the newest boot."""
    move_in(database)
    boots_take(database, 30.0)
    submit(database, {"count": 2})
    create(database, clock, [read_job(database, grant) for grant in granted(database)])
    clock.advance(10)
    assert outlook(database).estimate.all_running_seconds == 20.0
    clock.advance(100)
    assert outlook(database).estimate.all_running_seconds == 0.0


def test_the_first_boots_are_the_fleets_own(database, clock):
    """While the account has learnt nothing yet, the fleet's own instances say how long a boot takes."""
    move_in(database)
    submit(database, {"count": 2})
    create(database, clock, [read_job(database, grant) for grant in granted(database)])
    assert not outlook(database).estimate.boot_seconds_known
    clock.advance(7)
    with database.write() as tx:
        first = tx.execute(select(jobs.c.id).where(jobs.c.position == 1)).scalar_one()
        transitions.seen_running(tx, [transitions.load(tx, first)], actor="t")
    clock.advance(2)
    found = outlook(database).estimate
    assert (found.boot_seconds, found.boot_seconds_known, found.all_running_seconds) == (7.0, True, 0.0)


def granted(database):
    """Admit all that may go; return the ids."""
    admit(database)
    with database.read() as tx:
        return tx.execute(select(jobs.c.id).where(jobs.c.state == "dispatched")).scalars().all()


def test_what_stands_still_is_said(database):
    """A paused fleet, and one that is to begin later, say so."""
    move_in(database)
    submit(database, {"count": 2}, not_before="2026-03-02T00:00:00Z")
    service = make_service(database)
    service.pause(service.fleet_scope("web", TENANT), actor="t")
    holds = outlook(database).estimate.holds
    assert any("paused" in hold for hold in holds)
    assert any("2026-03-02" in hold for hold in holds)


def test_an_ended_fleet_has_nothing_to_come(database):
    """What is settled is not estimated, while the rate is known all the same."""
    move_in(database)
    submit(database, {"count": 2})
    make_service(database).cancel("web", TENANT, actor="t")
    found = outlook(database).to_json()
    assert found["estimate"] is None
    assert found["rate"] == {"allowed": 20, "spent": 0, "seconds": 15.0, "opens_in_seconds": None}


def test_without_a_worker_nothing_is_known(database):
    """Where no worker ever registered its token there is neither rate nor estimate."""
    submit(database, {"count": 2})
    assert outlook(database).to_json() == {"rate": None, "estimate": None}


def test_another_tenants_fleet_has_no_outlook(database):
    """A fleet that is not the tenant's is not found, and neither are its groups."""
    submit(database, {"count": 1})
    for ask in (make_service(database).outlook, make_service(database).groups):
        with pytest.raises(NotFound):
            ask("web", "another")


def test_groups_with_their_tags(database):
    """A fleet's groups are listed with name and tags, and each job says which one is its own."""
    submit(
        database,
        {"tags": ["prod"], "name": "front", "label_pattern": "f-{index}"},
        {"count": 2, "label_pattern": "b-{index}"},
    )
    service = make_service(database)
    assert [group.to_json() for group in service.groups("web", TENANT)] == [
        {"index": 0, "name": "front", "tags": ["prod"]},
        {"index": 1, "name": None, "tags": []},
    ]
    assert sorted(job.group for job in service.jobs(TENANT)) == [0, 1, 1]


def test_the_rate_over_several_tokens():
    """Windows of several tokens add up, the narrower of one token's counts, and the next opening is the first."""
    spent = Window(20, 15.0, spent=20, opened_at=START, started_by=START)
    free, wide = Window(20, 15.0, spent=5), Window(100, 60.0)
    found = rate_of([[spent], [free, wide]], START)
    assert (found.allowed, found.spent) == (40, 25)
    assert 15 < found.opens_in_seconds < 16
    assert rate_of([[spent], []], START) is None
    assert rate_of([[Window(0, 15.0)]], START) is None
