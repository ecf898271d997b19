from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from jobs import admission, holds, places, transitions
from jobs.admission import CREATE
from jobs.records import accounts, fleets, installation, jobs, rate_windows
from jobs.service import NotFound
from jobs.states import State
from jobs.transitions import InstanceFacts
from tests.support.fleets import (
    ACCOUNT,
    ACTOR,
    TENANT,
    add_fleet,
    add_job,
    add_tenant,
    admit,
    admit_in,
    make_service,
    move_in,
    read_job,
    submit,
    timeline,
)
from worker.app import TIMEOUTS
from worker.config import Pace


@pytest.fixture
def waited():
    """The pauses between two looks at what a pause waits for."""
    return []


@pytest.fixture
def service(database, clock, waited):
    """A service whose waiting moves the test's clock."""

    def wait(seconds):
        waited.append(seconds)
        clock.advance(seconds)

    move_in(database)
    return make_service(database, wait=wait)


def scope_of(service, kind, fleet):
    """Return what is paused: the fleet, its account, or everything."""
    if kind == "fleet":
        return service.fleet_scope(fleet.id, TENANT)
    return service.account_scope(ACCOUNT) if kind == "account" else holds.ALL


def granted(database):
    """Return the fleets of what is admitted now, by name."""
    with database.read() as tx:
        names = {row.id: row.name for row in tx.execute(select(fleets.c.id, fleets.c.name))}
    return sorted(names[job.fleet_id] for job in admit(database).granted)


def send(database, job):
    """Commit the intent to create."""
    with database.write() as tx:
        moved = transitions.sent(tx, job, actor=ACTOR, lease=timedelta(seconds=60))
    assert moved is not None
    return moved


KINDS = pytest.mark.parametrize("kind", ["fleet", "account", "everything"])


@KINDS
def test_paused_is_kept_and_resumed_goes_on(database, service, waited, kind):
    """A paused scope is granted nothing until it is resumed; nothing of it is lost, and both can be said twice."""
    fleet = submit(database, {"count": 3}).fleet
    scope = scope_of(service, kind, fleet)
    done = service.pause(scope, actor=ACTOR)
    assert (done.changed, done.settled, done.waiting, done.in_flight) == (True, True, 3, 0)
    assert (done.scope, waited) == (kind, [])
    assert admit(database).granted == ()
    again = service.pause(scope, actor=ACTOR)
    assert (again.changed, again.held_at) == (False, done.held_at)
    resumed = service.resume(scope)
    assert (resumed.changed, resumed.held_at, resumed.waiting) == (True, None, 3)
    assert len(admit(database).granted) == 3
    assert not service.resume(scope).changed


def test_others_go_on(database, service):
    """A paused fleet keeps no other one waiting, also where it stands first in the queue."""
    first = submit(database, {"count": 30}, name="first", priority=5).fleet
    submit(database, {"count": 4}, name="second")
    service.pause(service.fleet_scope(first.name, TENANT), actor=ACTOR)
    assert granted(database) == ["second"] * 4
    with database.read() as tx:
        assert not admission.anything_ready(tx, ACCOUNT), "a loop would look again and again"


def test_an_accounts_pause_costs_no_spin(database, service, clock):
    """While an account is paused its worker looks again after a second, not at once."""
    submit(database, {"count": 1})
    service.pause(service.account_scope(ACCOUNT), actor=ACTOR)
    with database.read() as tx:
        chance = admission.next_chance(tx, account_id=ACCOUNT, token_id="t0ken")
    assert chance == clock.at(1)
    assert admit(database).next_at == clock.at(1)


@KINDS
def test_grants_are_given_back(database, service, kind):
    """What was granted and not yet sent waits again, at no attempt's cost, and its timeline says why."""
    fleet = submit(database, {"count": 2}).fleet
    first, _ = admit(database).granted
    assert service.pause(scope_of(service, kind, fleet), actor="key 1").waiting == 2
    job = read_job(database, first.id)
    assert (job.state, job.attempt, job.sends, job.lease_until) == (State.QUEUED, 1, 0, None)
    line = timeline(database, first.id)[-1]
    assert (line["event"], line["actor"], line["detail"]) == ("given_back", "key 1", {"why": "paused"})
    with database.write() as tx:
        assert transitions.sent(tx, first, actor=ACTOR, lease=timedelta(seconds=60)) is None


@KINDS
def test_a_create_that_may_be_sent_is_waited_for(database, service, clock, waited, kind):
    """A pause is acknowledged once what is being created has its answer, or is too old to be sent."""
    fleet = submit(database, {"count": 2}).fleet
    job, _ = admit(database).granted
    send(database, job)
    done = service.pause(scope_of(service, kind, fleet), actor=ACTOR)
    assert (done.settled, done.waiting, done.in_flight) == (True, 1, 1)
    assert clock.now >= read_job(database, job.id).sent_at + holds.LATEST_SEND
    assert sum(waited) == pytest.approx(holds.LATEST_SEND.total_seconds(), abs=0.1)


def test_an_answer_ends_the_wait(database, clock):
    """Nobody waits longer than the create takes."""
    move_in(database)
    fleet = submit(database, {"count": 1}).fleet
    (job,) = admit(database).granted
    sent = send(database, job)

    def answer(seconds):
        clock.advance(seconds)
        with database.write() as tx:
            transitions.owned(tx, sent, InstanceFacts(7), actor=ACTOR, proof="our own 200")

    service = make_service(database, wait=answer)
    done = service.pause(service.fleet_scope(fleet.id, TENANT), actor=ACTOR)
    assert (done.settled, done.in_flight, clock.now) == (True, 0, clock.at(0))
    assert read_job(database, job.id).state is State.BOOTING


def test_longer_than_a_send_can_take():
    """What a pause waits for is longer than a worker holds a send before it gives up connecting."""
    held = Pace().stale_send.total_seconds() + TIMEOUTS.pool + TIMEOUTS.connect
    assert holds.LATEST_SEND.total_seconds() > held


def test_an_admission_under_way_is_waited_for(postgres_database, clock):
    """An admission that looked before the pause is waited for, and what it granted is given back."""
    database = postgres_database
    move_in(database)
    fleet = submit(database, {"count": 5}).fleet
    admitting = database.write()
    tx = admitting.__enter__()
    looked = admit_in(tx)
    waited = []

    def commit(seconds):
        waited.append(clock.advance(seconds))
        if len(waited) == 3:
            admitting.__exit__(None, None, None)

    service = make_service(database, wait=commit)
    done = service.pause(service.fleet_scope(fleet.id, TENANT), actor=ACTOR)
    assert (len(looked.granted), len(waited)) == (5, 3)
    assert (done.settled, done.waiting) == (True, 5)
    assert {read_job(database, job_id).state for job_id in looked.granted} == {State.QUEUED}


def test_a_worker_that_hangs_is_told_of(postgres_database, clock):
    """Where a worker hangs in mid-admission the pause holds all the same, but is not called settled."""
    database = postgres_database
    move_in(database)
    fleet = submit(database, {"count": 1}).fleet
    with database.write() as tx:
        tx.execute(select(rate_windows.c.bucket).where(rate_windows.c.route == CREATE).with_for_update())
        service = make_service(database, wait=clock.advance)
        done = service.pause(service.fleet_scope(fleet.id, TENANT), actor=ACTOR)
        assert (done.settled, done.held_at is not None) == (False, True)
    assert admit(database).granted == ()


def test_a_grant_that_is_being_used_is_waited_for(postgres_database, clock):
    """A claim under way is neither waited for with a lock in hand nor overlooked."""
    database = postgres_database
    move_in(database)
    fleet = submit(database, {"count": 1}).fleet
    (job,) = admit(database).granted
    claiming = database.write()
    tx = claiming.__enter__()
    assert transitions.sent(tx, job, actor=ACTOR, lease=timedelta(seconds=60)) is not None
    waited = []

    def commit(seconds):
        waited.append(clock.advance(seconds))
        if len(waited) == 2:
            claiming.__exit__(None, None, None)

    service = make_service(database, wait=commit)
    done = service.pause(service.fleet_scope(fleet.id, TENANT), actor=ACTOR)
    assert (done.settled, done.in_flight) == (True, 1)
    assert clock.now >= read_job(database, job.id).sent_at + holds.LATEST_SEND


def test_what_else_holds_it(database, service):
    """Whoever resumes a fleet is told what else keeps it paused."""
    fleet = submit(database, {"count": 1}).fleet
    mine = service.fleet_scope(fleet.id, TENANT)
    for scope in (holds.ALL, service.account_scope(ACCOUNT), mine):
        service.pause(scope, actor=ACTOR)
    assert service.resume(mine).held_by == ("everything", f"account {ACCOUNT}")
    assert admit(database).granted == ()
    service.resume(holds.ALL)
    assert service.resume(mine).held_by == (f"account {ACCOUNT}",)
    service.resume(service.account_scope(ACCOUNT))
    assert len(admit(database).granted) == 1


def test_nothing_paused_is_taken_over(database, service, clock):
    """A paused fleet's jobs stay where they are, and a paused account helps no other one."""
    fleet = submit(database, {"count": 2}).fleet
    move_in(database, account="idle", token="idle-token")
    clock.advance(5)
    with database.write() as tx:
        tx.execute(update(accounts).values(epoch=1))
        tx.execute(text("INSERT INTO tenant_accounts VALUES ('default', 'default'), ('default', 'idle')"))

    def movable():
        with database.read() as tx:
            return len(places.movable(tx, "idle", places.helped_by(tx, "idle"), 20))

    assert movable() == 2
    for scope in (service.fleet_scope(fleet.id, TENANT), service.account_scope("idle"), holds.ALL):
        service.pause(scope, actor=ACTOR)
        assert movable() == 0
        service.resume(scope)
    assert movable() == 2


def test_a_stopped_fleet_is_left_out(database, service):
    """A fleet that its own policy stopped is granted nothing."""
    stopped = submit(database, {"count": 2}, name="stopped").fleet
    submit(database, {"count": 1}, name="other")
    with database.write() as tx:
        tx.execute(update(fleets).where(fleets.c.id == stopped.id).values(stopped_at=tx.now))
    assert granted(database) == ["other"]


def test_only_the_scopes_jobs_are_touched(database, service):
    """Another fleet's grants are not given back, nor are its creates waited for."""
    mine = submit(database, {"count": 1}, name="mine").fleet
    other = add_fleet(database, name="other")
    add_job(database, State.DISPATCHED, fleet_id=other)
    add_job(database, State.CREATING, fleet_id=other, position=2)
    assert service.pause(service.fleet_scope(mine.id, TENANT), actor=ACTOR).settled
    with database.read() as tx:
        states = tx.execute(select(jobs.c.state).where(jobs.c.fleet_id == other)).scalars().all()
    assert sorted(states) == ["creating", "dispatched"]


@pytest.mark.parametrize("ref", ["none", "x\x00", "0193cbc0-0000-7000-8000-000000000000"])
def test_unknown_scopes(database, service, ref):
    """What there is not, or is another tenant's, cannot be paused."""
    with pytest.raises(NotFound):
        service.fleet_scope(ref, TENANT)
    with pytest.raises(NotFound):
        service.account_scope(ref)
    fleet = submit(database, {"count": 1}).fleet
    with pytest.raises(NotFound):
        service.fleet_scope(fleet.id, "other")


def test_what_is_paused_is_listed(database, clock):
    """Everything, each account with why it is paused, and the tenant's own fleets that are."""
    move_in(database)
    add_tenant(database, "other")
    add_fleet(database, name="theirs", tenant_id="other", held_at=clock.now)
    add_fleet(database, name="goes on")
    mine = add_fleet(database, name="mine", held_at=clock.now)

    with database.read() as tx:
        held = holds.held(tx, [ACCOUNT], TENANT)
    assert held.everything is None
    assert held.accounts == (holds.AccountHold(ACCOUNT, None, None, None, None),)
    assert held.fleets == (holds.FleetHold(mine, "mine", clock.now),)

    with database.write() as tx:
        why = {"paused_at": tx.now, "paused_code": "unauthorized", "paused_reason": "Invalid Token"}
        tx.execute(update(accounts).values(held_at=tx.now, **why))
        tx.execute(update(installation).values(held_at=tx.now))
        held, nobodys = holds.held(tx, [ACCOUNT], TENANT), holds.held(tx, [], "other")
    now = clock.now
    assert held.everything == now
    assert held.accounts == (holds.AccountHold(ACCOUNT, now, now, "unauthorized", "Invalid Token"),)
    assert (nobodys.accounts, [one.name for one in nobodys.fleets]) == ((), ["theirs"])
